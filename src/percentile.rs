//! Exact percentiles: numpy's, without sorting.

use rayon::prelude::*;

use crate::sample::Sample;
use crate::tensor::{Real, TASK_LEN, min_max};

/// `numpy.percentile(values, p)` of the values that `map` makes of the sample's: the value at rank (n - 1)·p/100, interpolated linearly between its
/// neighbours, in f64; 0 of none.
pub(crate) fn percentile<T: Real>(sample: Sample<T>, map: impl Fn(T) -> T + Copy + Sync, p: f64) -> T {
    let Some(last) = sample.len().checked_sub(1) else { return T::ZERO };
    let rank = (p / 100.0).clamp(0.0, 1.0) * last as f64;
    let (low, high) = match sample.counts() {
        Some(_) => ranked(sample, map, rank.floor() as u64),
        None => selected(sample.values, map, rank.floor() as usize),
    };
    let (low, high, weight) = (low.to_f64(), high.to_f64(), rank - rank.floor());
    // From the nearer end, as numpy does, so that weight 1 gives exactly `high`. Half-differences cannot overflow.
    let step = high / 2.0 - low / 2.0;
    T::from_f64(if weight < 0.5 { low + 2.0 * weight * step } else { high - 2.0 * (1.0 - weight) * step })
}

/// The value of this rank among all occurrences, counted from 0 in rising order, and the next.
fn ranked<T: Real>(sample: Sample<T>, map: impl Fn(T) -> T + Copy + Sync, rank: u64) -> (T, T) {
    let mut pairs: Vec<(T, u64)> = sample.weighted().filter(|(_, count)| *count > 0).map(|(x, count)| (map(x), count)).collect();
    pairs.sort_unstable_by(|a, b| a.0.to_f64().total_cmp(&b.0.to_f64()));
    let at = |rank: u64| {
        let mut passed = 0_u64;
        let is_there = |(_, count): &&(T, u64)| {
            passed = passed.saturating_add(*count);
            passed > rank
        };
        pairs.iter().find(is_there).or(pairs.last()).map_or(T::ZERO, |(value, _)| *value)
    };
    (at(rank), at(rank.saturating_add(1)))
}

/// From here on it is worth counting first which values can be the ones.
const MANY: usize = 1 << 16;

/// The value of this rank, below the number of values, and the next; of the last rank the last value twice.
fn selected<T: Real>(values: &[T], map: impl Fn(T) -> T + Copy + Sync, rank: usize) -> (T, T) {
    if values.len() < MANY {
        return select(values.iter().map(|&x| map(x)).collect(), rank);
    }
    // Values in rising order have rising keys, of which a few thousand are counted; only the values of the keys that hold the two ranks are sorted.
    let counts = values
        .par_chunks(TASK_LEN)
        .map(|chunk| {
            let mut counts = vec![0_u64; T::KEYS];
            for &x in chunk {
                let count = &mut counts[map(x).key()];
                *count = count.wrapping_add(1);
            }
            counts
        })
        .reduce(
            || vec![0_u64; T::KEYS],
            |mut all, counts| {
                all.iter_mut().zip(counts).for_each(|(total, count)| *total += count);
                all
            },
        );
    let key_of = |rank: usize| {
        let mut passed = 0;
        counts.iter().position(|&count| {
            passed += count;
            passed > rank as u64
        })
    };
    let last = T::KEYS - 1;
    let (first, second) = (key_of(rank).unwrap_or(last), key_of((rank + 1).min(values.len() - 1)).unwrap_or(last));
    let below: u64 = counts[..first].iter().sum();
    let candidates = values
        .par_chunks(TASK_LEN)
        .flat_map_iter(|chunk| {
            chunk.iter().map(|&x| map(x)).filter(|x| {
                let key = x.key();
                key == first || key == second
            })
        })
        .collect();
    select(candidates, rank - below as usize)
}

fn select<T: Real>(mut values: Vec<T>, rank: usize) -> (T, T) {
    let (_, &mut value, above) = values.select_nth_unstable_by(rank, |a, b| a.to_f64().total_cmp(&b.to_f64()));
    (value, if above.is_empty() { value } else { min_max(above).0 })
}
