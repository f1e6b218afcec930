//! `MetricsAccumulator`: metrics of data that comes in parts.

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{BLOCK, Metrics, Sums};
use crate::error::{Error, Result};
use crate::tensor::{Real, TASK_LEN};

/// Metrics of data that comes in parts: one after the other by [`push`](Self::push), or apart, each into an accumulator of its own that says
/// [where it begins](Self::starting_at), and [`merge`](Self::merge)d in any order. The result has the same bits however the data was cut and whoever
/// added up which part: threads, processes or machines. Serializable, so that parts can travel.
///
/// What it keeps are sums over whole blocks of 4096 elements, added in a fixed tree of which every part knows its place, and the elements of blocks that
/// are not complete: at most two of them for a part that is in one piece, some 130 kB, and mostly a few kB.
///
/// ```
/// # use quantlens::MetricsAccumulator;
/// let (x, y) = ([1.0_f32, 2.0, -2.0, 4.0], [1.5_f32, 2.0, -1.0, 4.0]);
/// let mut whole = MetricsAccumulator::default();
/// whole.push(&x, &y)?;
///
/// let mut end = MetricsAccumulator::starting_at(3);
/// end.push(&x[3..], &y[3..])?;
/// assert_eq!(end.metrics(), None); // the beginning is missing
/// let mut merged = MetricsAccumulator::default();
/// merged.push(&x[..3], &y[..3])?;
/// merged.merge(end)?;
/// assert_eq!(merged.metrics(), whole.metrics());
/// # Ok::<(), quantlens::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(into = "Parts", try_from = "Parts")]
pub struct MetricsAccumulator {
    /// Where the next element that is pushed stands.
    next: u64,
    /// Sums over runs of 2^level blocks that begin at a multiple of as many, as large as they can be; by the number of the first block.
    subtrees: BTreeMap<u64, (u32, Sums)>,
    /// Reference and approximation of neighbouring elements of a block that is not complete, by the position of the first.
    pieces: BTreeMap<u64, Vec<[f64; 2]>>,
}

const BLOCK_LEN: u64 = BLOCK as u64;

/// Positions stay below, far from where they overflow.
const MOST: u64 = 1 << 60;

impl MetricsAccumulator {
    /// For a part of the data whose first element is this one, counted from 0. The default is for data from its beginning.
    pub fn starting_at(first: u64) -> Self {
        Self { next: first, ..Self::default() }
    }

    /// Adds the next elements.
    ///
    /// # Errors
    /// [`Error::Length`] if the slices differ in length; [`Error::Overlap`] if a part was merged that has some of these elements;
    /// [`Error::Accumulator`] for positions beyond 2^60.
    pub fn push<T: Real, U: Real>(&mut self, reference: &[T], approximation: &[U]) -> Result<()> {
        self.check_push(reference.len(), approximation.len())?;
        let missing = (BLOCK_LEN - self.next % BLOCK_LEN) as usize % BLOCK;
        let (x_head, x_rest) = reference.split_at(missing.min(reference.len()));
        let (y_head, y_rest) = approximation.split_at(x_head.len());
        self.push_piece(x_head, y_head);
        for (x, y) in x_rest.chunks(BLOCK).zip(y_rest.chunks(BLOCK)) {
            if x.len() == BLOCK {
                self.push_block(Sums::of(x, y));
            } else {
                self.push_piece(x, y);
            }
        }
        Ok(())
    }

    /// As [`MetricsAccumulator::push`] into an empty accumulator, on all threads.
    pub(super) fn push_parallel<T: Real, U: Real>(&mut self, x: &[T], y: &[U]) -> Result<()> {
        self.check_push(x.len(), y.len())?;
        let whole = x.len() / BLOCK * BLOCK;
        let blocks = x[..whole].par_chunks(BLOCK).zip(y[..whole].par_chunks(BLOCK)).with_min_len(TASK_LEN / BLOCK);
        let sums: Vec<Sums> = blocks.map(|(x, y)| Sums::of(x, y)).collect();
        sums.into_iter().for_each(|sums| self.push_block(sums));
        self.push_piece(&x[whole..], &y[whole..]);
        Ok(())
    }

    fn check_push(&self, reference: usize, approximation: usize) -> Result<()> {
        if reference != approximation {
            return Err(Error::Length { reference, approximation });
        }
        let end = self.next.saturating_add(reference as u64);
        if end > MOST {
            return Err(Error::Accumulator { what: "its elements are numbered beyond 2^60" });
        }
        match self.ranges().find(|&(first, past)| first < end && past > self.next) {
            Some((first, _)) => Err(Error::Overlap { element: first.max(self.next) }),
            None => Ok(()),
        }
    }

    /// Elements of one block.
    fn push_piece<T: Real, U: Real>(&mut self, x: &[T], y: &[U]) {
        if !x.is_empty() {
            let pairs = x.iter().zip(y).map(|(x, y)| [x.to_f64(), y.to_f64()]).collect();
            self.add_piece(self.next, pairs);
            self.next += x.len() as u64;
        }
    }

    /// Adds the sums of the next block, which begins where [`MetricsAccumulator::push`] stands. The last may be short; nothing comes after it.
    pub(crate) fn push_block(&mut self, sums: Sums) {
        self.add_subtree(self.next / BLOCK_LEN, 0, sums);
        self.next += sums.elements;
    }

    /// Adds a run of blocks, and joins it with its neighbour as long as the two are halves of a run of twice as many.
    fn add_subtree(&mut self, mut block: u64, mut level: u32, mut sums: Sums) {
        loop {
            let blocks = 1 << level;
            let is_second = block & blocks != 0;
            let sibling = if is_second { block - blocks } else { block + blocks };
            match self.subtrees.get(&sibling) {
                Some(&(its_level, its_sums)) if its_level == level => {
                    self.subtrees.remove(&sibling);
                    sums = if is_second { its_sums.plus(sums) } else { sums.plus(its_sums) };
                    (block, level) = (block.min(sibling), level + 1);
                }
                _ => break,
            }
        }
        self.subtrees.insert(block, (level, sums));
    }

    /// Adds elements of one block, and takes the sums of the block if these were the last that it missed.
    fn add_piece(&mut self, mut first: u64, mut pairs: Vec<[f64; 2]>) {
        let block = first / BLOCK_LEN;
        if let Some((&before, earlier)) = self.pieces.range_mut(block * BLOCK_LEN..first).next_back()
            && before + earlier.len() as u64 == first
        {
            earlier.append(&mut pairs);
            (first, pairs) = (before, std::mem::take(earlier));
            self.pieces.remove(&first);
        }
        let end = first + pairs.len() as u64;
        if end < (block + 1) * BLOCK_LEN
            && let Some(later) = self.pieces.remove(&end)
        {
            pairs.extend(later);
        }
        if pairs.len() == BLOCK {
            self.add_subtree(block, 0, sums_of(&pairs));
        } else {
            self.pieces.insert(first, pairs);
        }
    }

    /// Adds a part of the same data. What is pushed afterwards goes on from where this accumulator's own elements end.
    ///
    /// # Errors
    /// [`Error::Overlap`] if both have an element; then nothing was added.
    pub fn merge(&mut self, other: Self) -> Result<()> {
        check_apart(self.ranges().chain(other.ranges()))?;
        for (block, (level, sums)) in other.subtrees {
            self.add_subtree(block, level, sums);
        }
        for (first, pairs) in other.pieces {
            self.add_piece(first, pairs);
        }
        Ok(())
    }

    /// The metrics of all elements; `None` before the first, and while parts are missing before the last.
    pub fn metrics(&self) -> Option<Metrics> {
        let mut complete = self.clone();
        // The last block may be short.
        if let Some((first, pairs)) = complete.pieces.pop_last() {
            let block = first / BLOCK_LEN;
            if first % BLOCK_LEN != 0 || complete.subtrees.range(block..).next().is_some() {
                return None;
            }
            complete.add_subtree(block, 0, sums_of(&pairs));
        }
        let mut next = 0;
        for (&block, &(level, _)) in &complete.subtrees {
            if block != next {
                return None;
            }
            next += 1 << level;
        }
        let runs = complete.subtrees.into_values().map(|(_, sums)| sums);
        // Later runs are shorter, and stand lower in the tree.
        complete.pieces.is_empty().then(|| runs.rev().reduce(|later, earlier| earlier.plus(later)).map(Sums::metrics)).flatten()
    }

    /// From where to where it has elements.
    fn ranges(&self) -> impl Iterator<Item = (u64, u64)> {
        let blocks = self.subtrees.iter().map(|(&block, (level, _))| (block * BLOCK_LEN, (block + (1 << level)) * BLOCK_LEN));
        blocks.chain(self.pieces.iter().map(|(&first, pairs)| (first, first + pairs.len() as u64)))
    }
}

fn check_apart(ranges: impl Iterator<Item = (u64, u64)>) -> Result<()> {
    let mut ranges: Vec<(u64, u64)> = ranges.collect();
    ranges.sort_unstable();
    match ranges.windows(2).find(|pair| pair[1].0 < pair[0].1) {
        Some(pair) => Err(Error::Overlap { element: pair[1].0 }),
        None => Ok(()),
    }
}

fn sums_of(pairs: &[[f64; 2]]) -> Sums {
    let (x, y): (Vec<f64>, Vec<f64>) = pairs.iter().map(|&[x, y]| (x, y)).unzip();
    Sums::of(&x, &y)
}

/// An accumulator as it is written.
#[derive(Clone, Serialize, Deserialize)]
struct Parts {
    next: u64,
    subtrees: Vec<(u64, u32, Sums)>,
    pieces: Vec<(u64, Vec<[f64; 2]>)>,
}

impl From<MetricsAccumulator> for Parts {
    fn from(accumulator: MetricsAccumulator) -> Self {
        Self {
            next: accumulator.next,
            subtrees: accumulator.subtrees.into_iter().map(|(block, (level, sums))| (block, level, sums)).collect(),
            pieces: accumulator.pieces.into_iter().collect(),
        }
    }
}

impl TryFrom<Parts> for MetricsAccumulator {
    type Error = Error;

    fn try_from(parts: Parts) -> Result<Self> {
        let whole = |&(block, level, sums): &(u64, u32, Sums)| {
            level < 48 && block < MOST / BLOCK_LEN && block % (1 << level) == 0 && sums.elements == BLOCK_LEN << level
        };
        let partial = |(first, pairs): &(u64, Vec<[f64; 2]>)| {
            (1..BLOCK_LEN).contains(&(pairs.len() as u64)) && *first < MOST && first % BLOCK_LEN + pairs.len() as u64 <= BLOCK_LEN
        };
        let broken = |what: &'static str| Error::Accumulator { what };
        if parts.next > MOST || !parts.subtrees.iter().all(whole) {
            return Err(broken("a run of blocks does not stand where one of its size can"));
        }
        if !parts.pieces.iter().all(partial) {
            return Err(broken("elements of an incomplete block are not within one block"));
        }
        let mut accumulator = Self::starting_at(parts.next);
        for (block, level, sums) in parts.subtrees {
            let one = Self { subtrees: BTreeMap::from([(block, (level, sums))]), ..Self::default() };
            accumulator.merge(one)?;
        }
        for (first, pairs) in parts.pieces {
            accumulator.merge(Self { pieces: BTreeMap::from([(first, pairs)]), ..Self::default() })?;
        }
        Ok(accumulator)
    }
}
