//! `Histogram`: what an observer with bounded memory keeps of a block.

use crate::binary::{exponent, scaled};
use crate::tensor::{Real, larger_magnitude, min_max, spanning};

/// How often values fell into each of some bins, bin k being from k·2ᵉ to below (k + 1)·2ᵉ. e is the smallest for which the values' range takes at
/// most so many bins. Widths are powers of two and bins begin at 0, so those of a wider range are unions of those of a narrower one: the counts do not
/// depend on the order in which values came.
#[derive(Debug, Clone)]
pub(super) struct Histogram<T> {
    range: (T, T),
    zeros: u64,
    exponent: i32,
    /// The number k of each bin that has any values but 0, rising, and how many.
    bins: Vec<(i64, u64)>,
}

impl<T: Real> Histogram<T> {
    /// Of some values in at most so many bins.
    pub(super) fn new(values: &[T], most: usize) -> Self {
        let range = min_max(values);
        let exponent = exponent_for(range, most);
        let mut keys: Vec<i64> = values.iter().filter(|x| **x != T::ZERO).map(|x| bin(x.to_f64(), exponent)).collect();
        keys.sort_unstable();
        let bins: Vec<(i64, u64)> = keys.chunk_by(|a, b| a == b).map(|equal| (equal[0], equal.len() as u64)).collect();
        Self { range, zeros: (values.len() - keys.len()) as u64, exponent, bins }
    }

    /// Adds the values of another.
    pub(super) fn merge(&mut self, other: Self, most: usize) {
        self.range = spanning(self.range, other.range);
        self.zeros = self.zeros.saturating_add(other.zeros);
        let exponent = exponent_for(self.range, most);
        let mut bins = coarser(&self.bins, exponent - self.exponent);
        bins.extend(coarser(&other.bins, exponent - other.exponent));
        bins.sort_unstable();
        self.bins = added_up(bins);
        self.exponent = exponent;
    }

    pub(super) fn range(&self) -> (T, T) {
        self.range
    }

    /// Each bin's values as its middle, which is not beyond the smallest and the largest value; zeros as they are.
    pub(super) fn sample(&self) -> (Vec<T>, Vec<u64>) {
        let (min, max) = (self.range.0.to_f64(), self.range.1.to_f64());
        let middle = |bin: i64| T::from_f64(scaled(bin as f64 + 0.5, self.exponent).clamp(min, max));
        let zeros = (self.zeros > 0).then_some((T::ZERO, self.zeros));
        zeros.into_iter().chain(self.bins.iter().map(|&(bin, count)| (middle(bin), count))).unzip()
    }
}

/// The k of the bin that a number other than 0 is in.
fn bin(x: f64, exponent: i32) -> i64 {
    // A number just below 0 may vanish, and is in bin -1 nevertheless.
    if x < 0.0 { (scaled(x, -exponent).floor() as i64).min(-1) } else { scaled(x, -exponent).floor() as i64 }
}

/// The bins 2^levels times as wide.
fn coarser(bins: &[(i64, u64)], levels: i32) -> Vec<(i64, u64)> {
    // Shifting rounds down, as the numbers of bins do.
    added_up(bins.iter().map(|&(bin, count)| (bin >> levels.clamp(0, 63), count)).collect())
}

/// Neighbours of the same bin as one.
fn added_up(bins: Vec<(i64, u64)>) -> Vec<(i64, u64)> {
    let total = |equal: &[(i64, u64)]| equal.iter().fold(0, |total: u64, (_, count)| total.saturating_add(*count));
    bins.chunk_by(|a, b| a.0 == b.0).map(|equal| (equal[0].0, total(equal))).collect()
}

/// The smallest e for which the range takes at most so many bins; 0 of nothing but zeros. Numbers of bins stay below 2⁵³, so that they are exact.
fn exponent_for<T: Real>(range: (T, T), most: usize) -> i32 {
    let magnitude = larger_magnitude(range).to_f64();
    if magnitude == 0.0 {
        return 0;
    }
    let (min, max) = (range.0.to_f64(), range.1.to_f64());
    let finest = (exponent(magnitude) - 52).max(-1074);
    let half_span = max / 2.0 - min / 2.0;
    // With half as many bins as it would take, then up to the first that is enough.
    let start = if half_span > 0.0 { exponent(half_span) - most.ilog2() as i32 - 1 } else { finest };
    let first_or_last = |x: f64, exponent: i32| if x == 0.0 { 0 } else { bin(x, exponent) };
    let count = |exponent: i32| first_or_last(max, exponent) - first_or_last(min, exponent) + 1;
    (start.max(finest)..).find(|&exponent| exponent >= 1023 || count(exponent) <= most as i64).unwrap_or(1023)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_width_is_the_smallest_that_is_enough() {
        for (range, most, expected) in [
            ((0.0, 1.0), 4, -1),
            ((0.0, 0.99), 4, -2),
            ((-1.0, 0.99), 4, -1),
            ((-1e300, 1e300), 2, exponent(1e300) + 1),
            ((3.0, 3.0), 16, 1 - 52),
            ((-5e-324, 5e-324), 16, -1074),
            ((0.0, 0.0), 16, 0),
        ] {
            assert_eq!(exponent_for::<f64>(range, most), expected, "{range:?} in {most}");
        }
    }

    #[test]
    fn bins_hold_what_is_in_them() {
        let values = [-1.0, -1e-320, 0.0, -0.0, 1e-320, 0.25, 0.26, 0.999];
        let histogram = Histogram::new(&values, 4);
        assert_eq!((histogram.exponent, histogram.zeros), (-1, 2));
        assert_eq!(histogram.bins, [(-2, 1), (-1, 1), (0, 3), (1, 1)]);
        assert_eq!(histogram.sample(), (vec![0.0, -0.75, -0.25, 0.25, 0.75], vec![2, 1, 1, 3, 1]));
        // More values than 32 bits count.
        let mut many = histogram.clone();
        for _ in 0..33 {
            many.merge(many.clone(), 4);
        }
        assert_eq!(many.bins[2], (0, 3 << 33));
        assert_eq!(many.exponent, -1);
    }
}
