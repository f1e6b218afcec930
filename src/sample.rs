//! `Sample`: values, and how often each occurs.

/// Values in no order, the same one perhaps several times, each with the number of its occurrences.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample<'a, T> {
    pub(crate) values: &'a [T],
    /// As long as the values; empty if each occurs once.
    counts: &'a [u64],
}

impl<'a, T: Copy> Sample<'a, T> {
    /// `counts` is as long as `values`, or empty if each occurs once.
    pub(crate) fn new(values: &'a [T], counts: &'a [u64]) -> Self {
        Self { values, counts }
    }

    /// How often each value occurs, if some occur more than once.
    pub(crate) fn counts(&self) -> Option<&'a [u64]> {
        if self.counts.is_empty() { None } else { Some(self.counts) }
    }

    /// Each value with the number of its occurrences.
    pub(crate) fn weighted(&self) -> impl Iterator<Item = (T, u64)> + use<'a, T> {
        let (values, counts) = (self.values, self.counts);
        values.iter().enumerate().map(move |(index, &value)| (value, counts.get(index).copied().unwrap_or(1)))
    }

    /// All occurrences.
    pub(crate) fn len(&self) -> u64 {
        if self.counts.is_empty() { self.values.len() as u64 } else { self.counts.iter().sum() }
    }
}

impl<'a, T: Copy> From<&'a [T]> for Sample<'a, T> {
    fn from(values: &'a [T]) -> Self {
        Self::new(values, &[])
    }
}

impl<'a, T: Copy, const N: usize> From<&'a [T; N]> for Sample<'a, T> {
    fn from(values: &'a [T; N]) -> Self {
        Self::new(values, &[])
    }
}

impl<'a, T: Copy> From<&'a Vec<T>> for Sample<'a, T> {
    fn from(values: &'a Vec<T>) -> Self {
        Self::new(values, &[])
    }
}
