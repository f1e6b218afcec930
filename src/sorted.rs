//! `Sorted`: the values of a block in rising order, equal ones counted, with sums of those below any rank.

use rayon::slice::ParallelSliceMut;

use crate::binary::{exponent, scaled};
use crate::double_double::DoubleDouble;
use crate::sample::Sample;

/// Ranks between two stored sums: 2 bytes a value for the sums, and a few additions to get from a stored sum to a rank.
const STRIDE: usize = 8;

/// From here on sorting is worth several threads.
const PARALLEL: usize = 1 << 16;

/// The distinct values, rising, times 2⁻ᵏ such that the largest magnitude is in [1, 2): squares then neither overflow nor
/// underflow where they matter.
pub(crate) struct Sorted {
    values: Vec<f64>,
    /// How often each occurs; empty if each occurs once. One that occurs 2³² times is two values.
    counts: Vec<u32>,
    /// Σ count · value and Σ count of all ranks below a multiple of [`STRIDE`]; the second only if there are counts.
    sums: Vec<DoubleDouble>,
    counts_below: Vec<f64>,
    total: (f64, DoubleDouble),
    energy: DoubleDouble,
    exponent: i32,
}

impl Sorted {
    /// None if there is no value other than 0.
    pub(crate) fn new<'a>(sample: impl Into<Sample<'a, f64>>) -> Option<Self> {
        Self::of_sample(sample.into())
    }

    fn of_sample(sample: Sample<f64>) -> Option<Self> {
        let values = sample.values;
        let largest = values.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
        if largest == 0.0 {
            return None;
        }
        let exponent = exponent(largest);
        // Adding 0 makes -0 to 0.
        let mut values: Vec<f64> = values.iter().map(|value| scaled(*value, -exponent) + 0.0).collect();
        let counts = match sample.counts() {
            Some(counts) => {
                let pairs = values.into_iter().zip(counts.iter().copied()).collect();
                let counts;
                (values, counts) = with_counts(pairs);
                counts
            }
            None => {
                if values.len() < PARALLEL {
                    values.sort_unstable_by(f64::total_cmp);
                } else {
                    values.par_sort_unstable_by(f64::total_cmp);
                }
                count(&mut values)
            }
        };
        let mut data = Self {
            values,
            counts,
            sums: Vec::new(),
            counts_below: Vec::new(),
            total: (0.0, DoubleDouble::default()),
            energy: DoubleDouble::default(),
            exponent,
        };
        data.add_up();
        Some(data)
    }

    fn add_up(&mut self) {
        let (mut count, mut sum, mut energy) = (0.0, DoubleDouble::default(), DoubleDouble::default());
        self.sums.reserve_exact(self.values.len() / STRIDE + 1);
        for (rank, value) in self.values.iter().enumerate() {
            if rank % STRIDE == 0 {
                self.sums.push(sum);
                if !self.counts.is_empty() {
                    self.counts_below.push(count);
                }
            }
            let weight = self.weight(rank);
            count += weight;
            sum = sum.add(DoubleDouble::product(*value, weight));
            energy = energy.add(DoubleDouble::product(*value, *value).times(weight));
        }
        (self.total, self.energy) = ((count, sum), energy);
    }

    pub(crate) fn values(&self) -> &[f64] {
        &self.values
    }

    /// How often the value of this rank occurs.
    #[inline(always)]
    pub(crate) fn weight(&self, rank: usize) -> f64 {
        self.counts.get(rank).map_or(1.0, |count| f64::from(*count))
    }

    /// How many values are below the rank, equal ones counted each, and their sum.
    #[inline(always)]
    pub(crate) fn below(&self, rank: usize) -> (f64, DoubleDouble) {
        if rank == self.values.len() {
            return self.total;
        }
        let start = rank / STRIDE * STRIDE;
        let mut sum = self.sums[rank / STRIDE];
        if self.counts.is_empty() {
            for value in &self.values[start..rank] {
                sum = sum.plus(*value);
            }
            return (rank as f64, sum);
        }
        let mut count = self.counts_below[rank / STRIDE];
        for (value, weight) in self.values[start..rank].iter().zip(&self.counts[start..rank]) {
            count += f64::from(*weight);
            sum = sum.add(DoubleDouble::product(*value, (*weight).into()));
        }
        (count, sum)
    }

    /// The rank of the first value that is not below y.
    #[inline(always)]
    pub(crate) fn rank(&self, y: f64) -> usize {
        self.values.partition_point(|value| *value < y)
    }

    /// Σx².
    pub(crate) fn energy(&self) -> DoubleDouble {
        self.energy
    }

    pub(crate) fn range(&self) -> (f64, f64) {
        (self.values.first().copied().unwrap_or(0.0), self.values.last().copied().unwrap_or(0.0))
    }

    /// The smallest and the largest |x| that is not 0.
    pub(crate) fn magnitudes(&self) -> (f64, f64) {
        let (low, high) = self.range();
        let negative = self.rank(0.0).checked_sub(1).map_or(f64::INFINITY, |rank| -self.values[rank]);
        let positive = self.values.get(self.values.partition_point(|value| *value <= 0.0)).copied().unwrap_or(f64::INFINITY);
        (negative.min(positive), high.max(-low))
    }

    /// The k of 2⁻ᵏ.
    pub(crate) fn exponent(&self) -> i32 {
        self.exponent
    }
}

/// The values that occur, rising, and how often; one that occurs 2³² times is two values.
fn with_counts(mut pairs: Vec<(f64, u64)>) -> (Vec<f64>, Vec<u32>) {
    pairs.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let (mut values, mut counts) = (Vec::with_capacity(pairs.len()), Vec::with_capacity(pairs.len()));
    for equal in pairs.chunk_by(|a, b| a.0 == b.0) {
        let mut left = equal.iter().fold(0_u64, |total, (_, count)| total.saturating_add(*count));
        while left > 0 {
            let count = u32::try_from(left).unwrap_or(u32::MAX);
            values.push(equal[0].0);
            counts.push(count);
            left -= u64::from(count);
        }
    }
    (values, counts)
}

/// Removes repeated values of a sorted list, and says how often each occurred; nothing if each occurred once.
fn count(values: &mut Vec<f64>) -> Vec<u32> {
    if !values.windows(2).any(|pair| pair[0] == pair[1]) {
        return Vec::new();
    }
    let mut counts: Vec<u32> = Vec::new();
    let mut kept = 0;
    for index in 0..values.len() {
        let value = values[index];
        match counts.last_mut() {
            Some(count) if values[kept - 1] == value && *count < u32::MAX => *count += 1,
            _ => {
                values[kept] = value;
                counts.push(1);
                kept += 1;
            }
        }
    }
    values.truncate(kept);
    counts
}
