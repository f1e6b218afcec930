//! `Granularity`: which elements share a scale, and where they lie in a shape.

use std::fmt;
use std::ops::Range;

use crate::error::{Error, Result};

/// How many elements share a scale and a zero point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Granularity {
    /// All of them: one scale. Shape [64, 384] has 1.
    PerTensor,
    /// All with the same index on this axis, from 0: one scale a channel. Shape [64, 384] on axis 0 has 64.
    PerAxis(usize),
    /// Runs of this many along the last axis; the last run of a row may be shorter and still has a scale of its own.
    /// Shape [64, 384] in groups of 128 has 64 · 3, shape [64, 130] has 64 · 2.
    PerGroup(usize),
}

impl fmt::Display for Granularity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&match self {
            Self::PerTensor => "tensor".to_owned(),
            Self::PerAxis(axis) => format!("axis{axis}"),
            Self::PerGroup(group_size) => format!("g{group_size}"),
        })
    }
}

/// Where the blocks of a granularity lie in a shape. A block is one or more runs: contiguous elements that share parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    elements: usize,
    /// The length of a row: runs do not cross its end.
    row: usize,
    /// The length of a run, but for the last of a row.
    run: usize,
    /// After this many runs the blocks start over; more than there are runs if they never do.
    blocks: usize,
}

impl Layout {
    pub(crate) fn new(granularity: Granularity, shape: &[usize]) -> Result<Self> {
        let elements = shape.iter().try_fold(1_usize, |product, &length| product.checked_mul(length));
        let elements = match elements {
            Some(0) => return Err(Error::Empty { name: format!("{shape:?}") }),
            Some(elements) => elements,
            None => {
                let (name, shape) = (format!("{shape:?}"), shape.to_vec());
                return Err(Error::Shape { name, shape, needed: usize::MAX, elements: 0 });
            }
        };
        Ok(match granularity {
            Granularity::PerTensor => Self { elements, row: elements, run: elements, blocks: 1 },
            Granularity::PerAxis(axis) => {
                let Some(&channels) = shape.get(axis) else { return Err(Error::Axis { axis, shape: shape.to_vec() }) };
                let run = shape[axis + 1..].iter().product();
                Self { elements, row: run, run, blocks: channels }
            }
            Granularity::PerGroup(0) => return Err(Error::GroupSize),
            Granularity::PerGroup(group_size) => {
                let row = shape.last().copied().unwrap_or(1);
                Self { elements, row, run: group_size.min(row), blocks: elements / row * row.div_ceil(group_size) }
            }
        })
    }

    pub(crate) fn elements(&self) -> usize {
        self.elements
    }

    pub(crate) fn blocks(&self) -> usize {
        self.blocks
    }

    fn runs_per_row(&self) -> usize {
        self.row.div_ceil(self.run)
    }

    fn runs(&self) -> usize {
        self.elements / self.row * self.runs_per_row()
    }

    fn run(&self, index: usize) -> Range<usize> {
        let (row, run) = (index / self.runs_per_row(), index % self.runs_per_row());
        let start = row * self.row + run * self.run;
        start..(start + self.run).min((row + 1) * self.row)
    }

    /// The runs of one block, in order.
    pub(crate) fn runs_of(self, block: usize) -> impl Iterator<Item = Range<usize>> {
        (block..self.runs()).step_by(self.blocks).map(move |index| self.run(index))
    }

    /// The pieces of runs inside a range of elements, each with its block, in order.
    pub(crate) fn runs_in(self, elements: Range<usize>) -> impl Iterator<Item = (Range<usize>, usize)> {
        let first = elements.start / self.row * self.runs_per_row() + elements.start % self.row / self.run;
        (first..self.runs())
            .map(move |index| (self.run(index), index % self.blocks))
            .take_while(move |(run, _)| run.start < elements.end)
            .map(move |(run, block)| (run.start.max(elements.start)..run.end.min(elements.end), block))
    }
}
