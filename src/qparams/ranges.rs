//! `BlockRanges`: the smallest and the largest value of each block, of values that come in parts.

use rayon::prelude::*;

use crate::granularity::{Belonging, Layout};
use crate::simd::for_vectors;
use crate::tensor::{Real, TASK_LEN, min_max, min_max_in, spanning};

/// The smallest and the largest value of each block that were met so far.
#[derive(Debug, Clone)]
pub(crate) struct BlockRanges<T>(Vec<Option<(T, T)>>);

/// The first of some blocks in turn, and what was met of each.
pub(crate) type Met<T> = (usize, Vec<(T, T)>);

impl<T: Real> BlockRanges<T> {
    /// Of a layout's blocks, before any value.
    pub(crate) fn new(layout: &Layout) -> Self {
        Self(vec![None; layout.blocks()])
    }

    /// Looks at values without NaN, of which the first has this number in the layout.
    pub(crate) fn look(&mut self, values: &[T], first: usize, layout: &Layout) {
        if values.len() <= TASK_LEN {
            return self.add(Self::met(values, first, layout));
        }
        // In the order of memory, whatever the blocks are. Each task gathers the ranges of the blocks it meets.
        let chunks = values.par_chunks(TASK_LEN).enumerate();
        let tasks: Vec<Vec<Met<T>>> = chunks.map(|(task, chunk)| Self::met(chunk, first + task * TASK_LEN, layout)).collect();
        tasks.into_iter().for_each(|met| self.add(met));
    }

    /// Adds what [`BlockRanges::met`] says.
    pub(crate) fn add(&mut self, met: Vec<Met<T>>) {
        for (first, ranges) in met {
            for (known, range) in self.0[first..].iter_mut().zip(ranges) {
                *known = Some(known.map_or(range, |known| spanning(known, range)));
            }
        }
    }

    /// What one task finds in some values, of which the first has this number in the layout.
    pub(crate) fn met(values: &[T], first: usize, layout: &Layout) -> Vec<Met<T>> {
        let mut met: Vec<Met<T>> = Vec::new();
        for segment in layout.segments(first..first + values.len()) {
            let values = &values[segment.elements.start - first..segment.elements.end - first];
            let ranges = match segment.belonging {
                Belonging::Shared => vec![min_max(values)],
                Belonging::Runs { length, passed } => ranges_of_runs(values, length, passed),
            };
            match met.last_mut() {
                // The next row of the same blocks, as of a channel on the last axis.
                Some((first, known)) if *first == segment.block && known.len() == ranges.len() => {
                    known.iter_mut().zip(ranges).for_each(|(known, range)| *known = spanning(*known, range));
                }
                _ => met.push((segment.block, ranges)),
            }
        }
        met
    }

    /// Those of the blocks that were met, each with its number.
    pub(crate) fn into_met(self) -> impl Iterator<Item = (usize, (T, T))> {
        self.0.into_iter().enumerate().filter_map(|(block, range)| Some((block, range?)))
    }

    /// Those of all blocks; (0, 0) of one without values.
    pub(crate) fn into_ranges(self) -> Vec<(T, T)> {
        self.0.into_iter().map(|range| range.unwrap_or((T::ZERO, T::ZERO))).collect()
    }
}

for_vectors! {
    /// The range of each run of `length` values; of the first some have passed before.
    fn ranges_of_runs<T: Real>(values: &[T], length: usize, passed: usize) -> Vec<(T, T)> {
        if length == 1 {
            return values.iter().map(|&x| (x, x)).collect();
        }
        let (first, rest) = values.split_at((length - passed).min(values.len()));
        let mut ranges = Vec::with_capacity(rest.len().div_ceil(length) + 1);
        ranges.push(min_max_in::<V, T>(first));
        // Not by an iterator's `map`, which may be compiled without these vectors.
        for run in rest.chunks(length) {
            ranges.push(min_max_in::<V, T>(run));
        }
        ranges
    }
}
