//! `Granularity`: which elements share a scale, and where they lie in a shape.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::format::whole_number;

/// How many elements share a scale and a zero point. The elements that do are a block; the last block along an axis may be shorter
/// than the others and still has a scale of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Granularity {
    /// All of them: one scale. Shape [64, 384] has 1.
    PerTensor,
    /// All with the same index on this axis, from 0: one scale a channel. Shape [64, 384] on axis 0 has 64.
    PerAxis(usize),
    /// Runs of this many along the last axis. Shape [64, 384] in groups of 128 has 64 · 3, shape [64, 130] has 64 · 2.
    PerGroup(usize),
    /// Runs of this many along any axis, from 0: ONNX's blocked quantization. Shape [64, 384] in groups of 32 on axis 0 has 2 · 384.
    PerGroupOn {
        /// The axis, from 0.
        axis: usize,
        /// Elements to a group.
        group_size: usize,
    },
    /// Rectangles of this many rows and columns on the last two axes, one by one over the axes before them: DeepSeek's FP8 weights
    /// have [128, 128]. Shape [256, 384] has 2 · 3.
    PerBlock([usize; 2]),
}

/// As in a scheme's name: `tensor`, `axis0`, `g128`, `g32@0`, `b128x128`.
impl fmt::Display for Granularity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&match self {
            Self::PerTensor => "tensor".to_owned(),
            Self::PerAxis(axis) => format!("axis{axis}"),
            Self::PerGroup(group_size) => format!("g{group_size}"),
            Self::PerGroupOn { axis, group_size } => format!("g{group_size}@{axis}"),
            Self::PerBlock([rows, columns]) => format!("b{rows}x{columns}"),
        })
    }
}

impl FromStr for Granularity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            if text == "tensor" {
                return Some(Self::PerTensor);
            }
            if let Some(axis) = text.strip_prefix("axis") {
                return whole_number(axis).map(Self::PerAxis);
            }
            if let Some(group) = text.strip_prefix('g') {
                return match group.split_once('@') {
                    Some((size, axis)) => Some(Self::PerGroupOn { axis: whole_number(axis)?, group_size: whole_number(size)? }),
                    None => whole_number(group).map(Self::PerGroup),
                };
            }
            let (rows, columns) = text.strip_prefix('b')?.split_once('x')?;
            Some(Self::PerBlock([whole_number(rows)?, whole_number(columns)?]))
        };
        parse().ok_or_else(|| {
            format!("`{text}` is no granularity: it is tensor, axis0, g128, g32@0 (groups of 32 on axis 0) or b128x128")
        })
    }
}

/// So that bits and bytes of as many elements can be counted in 64 bits.
const MAX_ELEMENTS: usize = usize::MAX >> 8;

/// Where the blocks of a granularity lie in a shape: every granularity is a length of block along each axis. Blocks are numbered in
/// row-major order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    shape: Vec<usize>,
    /// Elements of a block along each axis, at most the axis' length.
    block: Vec<usize>,
    elements: usize,
    blocks: usize,
    /// The last axis that blocks divide: rows end with it, and the axes after it are whole. 0 if no axis is divided.
    axis: usize,
    /// Elements of a step along that axis.
    inner: usize,
    /// Elements of a row: the length of that axis, and all after it.
    row: usize,
    /// Whether blocks go on from row to row as they do in a row: none spans two rows, and each row has whole ones.
    is_flat: bool,
}

/// Contiguous elements of one row, and which blocks they belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) elements: Range<usize>,
    /// The block of the first element.
    pub(crate) block: usize,
    pub(crate) belonging: Belonging,
}

/// Whose the elements of a segment are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Belonging {
    /// All are of one block.
    Shared,
    /// Each run of so many elements is of the next block; of the first run some have passed before the segment.
    Runs { length: usize, passed: usize },
}

/// Shorter runs of one block are taken together.
const LONG: usize = 256;

impl Segment {
    /// The same elements in segments of which each is of one block.
    pub(crate) fn each(self) -> impl Iterator<Item = Self> {
        let Self { elements, mut block, belonging } = self;
        let (length, passed) = match belonging {
            Belonging::Shared => (elements.len(), 0),
            Belonging::Runs { length, passed } => (length, passed),
        };
        let (mut at, end) = (elements.start, elements.end);
        let mut next = at + length - passed;
        std::iter::from_fn(move || {
            if at >= end {
                return None;
            }
            let segment = Self { elements: at..next.min(end), block, belonging: Belonging::Shared };
            (at, next, block) = (next, next + length, block + 1);
            Some(segment)
        })
    }

    /// The same elements in pieces of at most this many.
    pub(crate) fn pieces(self, length: usize) -> impl Iterator<Item = Self> {
        let (elements, end) = (self.elements.clone(), self.elements.end);
        elements.clone().step_by(length).map(move |start| {
            let elements = start..(start + length).min(end);
            match self.belonging {
                Belonging::Shared => Self { elements, ..self },
                Belonging::Runs { length, passed } => {
                    let before = passed + start - self.elements.start;
                    let belonging = Belonging::Runs { length, passed: before % length };
                    Self { elements, block: self.block + before / length, belonging }
                }
            }
        })
    }
}

impl Layout {
    pub(crate) fn new(granularity: Granularity, shape: &[usize]) -> Result<Self> {
        let elements = shape.iter().try_fold(1_usize, |product, &length| product.checked_mul(length));
        let elements = match elements {
            Some(0) => return Err(Error::Empty { name: format!("{shape:?}") }),
            Some(elements) if elements <= MAX_ELEMENTS => elements,
            _ => return Err(Error::TooLarge { shape: shape.to_vec() }),
        };
        let mut block = shape.to_vec();
        let no_axis = |axis| Error::Axis { axis, shape: shape.to_vec() };
        let mut divide = |axis: usize, size: usize| match (block.get_mut(axis), size) {
            (_, 0) => Err(Error::GroupSize),
            (None, _) => Err(no_axis(axis)),
            (Some(length), size) => {
                *length = size.min(*length);
                Ok(())
            }
        };
        match granularity {
            Granularity::PerTensor => {}
            Granularity::PerAxis(axis) => divide(axis, 1)?,
            Granularity::PerGroup(0) => return Err(Error::GroupSize),
            // A single number, of no axis, is its own group.
            Granularity::PerGroup(_) if shape.is_empty() => {}
            Granularity::PerGroup(group_size) => {
                (0..shape.len() - 1).try_for_each(|axis| divide(axis, 1))?;
                divide(shape.len() - 1, group_size)?;
            }
            Granularity::PerGroupOn { axis, group_size } => {
                if axis >= shape.len() {
                    return Err(no_axis(axis));
                }
                (0..shape.len()).filter(|&other| other != axis).try_for_each(|other| divide(other, 1))?;
                divide(axis, group_size)?;
            }
            Granularity::PerBlock([rows, columns]) => {
                let Some(before) = shape.len().checked_sub(2) else { return Err(no_axis(1)) };
                (0..before).try_for_each(|axis| divide(axis, 1))?;
                divide(before, rows)?;
                divide(before + 1, columns)?;
            }
        }
        let blocks = shape.iter().zip(&block).map(|(length, size)| length.div_ceil(*size)).product();
        let axis = (0..shape.len()).rev().find(|&axis| block[axis] < shape[axis]).unwrap_or(0);
        let inner = shape.iter().skip(axis + 1).product();
        let row = inner * shape.get(axis).copied().unwrap_or(1);
        let is_flat =
            block.iter().take(axis).all(|&size| size == 1) && (shape.is_empty() || shape[axis].is_multiple_of(block[axis]));
        Ok(Self { shape: shape.to_vec(), block, elements, blocks, axis, inner, row, is_flat })
    }

    pub(crate) fn elements(&self) -> usize {
        self.elements
    }

    pub(crate) fn blocks(&self) -> usize {
        self.blocks
    }

    /// Elements of the largest block.
    pub(crate) fn largest_block(&self) -> usize {
        self.block.iter().product()
    }

    /// Blocks along each axis that has several.
    pub(crate) fn blocks_on_axes(&self) -> Vec<usize> {
        (0..self.shape.len()).map(|axis| self.blocks_on(axis)).filter(|&blocks| blocks > 1).collect()
    }

    /// Blocks along an axis.
    fn blocks_on(&self, axis: usize) -> usize {
        self.shape[axis].div_ceil(self.block[axis])
    }

    /// The first block of a row, from the indices of the axes before the divided one.
    fn first_block(&self, mut row: usize) -> usize {
        let mut block = 0;
        let mut stride = self.blocks_of_a_row();
        for axis in (0..self.axis).rev() {
            let index = row % self.shape[axis];
            row /= self.shape[axis];
            block += index / self.block[axis] * stride;
            stride *= self.blocks_on(axis);
        }
        block
    }

    fn blocks_of_a_row(&self) -> usize {
        if self.shape.is_empty() { 1 } else { self.blocks_on(self.axis) }
    }

    /// Elements of a block in a row, but for the last of a row.
    fn run(&self) -> usize {
        self.inner * self.block.get(self.axis).copied().unwrap_or(1)
    }

    /// Where the tensor can be cut into pieces that have blocks of their own; `None` if no cut does that, as for one scale for all.
    pub(crate) fn slabs(&self, granularity: Granularity) -> Option<Slabs> {
        let axis = self.shape.iter().position(|&length| length > 1)?;
        let inner: usize = self.shape.iter().skip(axis + 1).product();
        let is_cut = self.block[axis] < self.shape[axis];
        let blocks = self.blocks / self.blocks_on(axis);
        is_cut.then(|| Slabs { granularity, shape: self.shape.clone(), axis, inner, period: self.block[axis] * inner, blocks })
    }

    /// The segments of a range of elements, in order.
    pub(crate) fn segments(&self, elements: Range<usize>) -> impl Iterator<Item = Segment> {
        let (row_len, run) = (if self.is_flat { self.elements } else { self.row }, self.run());
        let mut at = elements.start;
        let mut row = usize::MAX;
        let mut first_block = 0;
        std::iter::from_fn(move || {
            if at >= elements.end {
                return None;
            }
            if at / row_len != row {
                row = at / row_len;
                first_block = self.first_block(row);
            }
            let (in_row, start) = (at % row_len, at);
            let row_end = (row + 1) * row_len;
            let block = first_block + in_row / run;
            let (end, belonging) = if run < LONG && run < row_len {
                (row_end, Belonging::Runs { length: run, passed: in_row % run })
            } else {
                ((start - in_row % run + run).min(row_end), Belonging::Shared)
            };
            at = end.min(elements.end);
            Some(Segment { elements: start..at, block, belonging })
        })
    }

    /// The contiguous runs of one block, in order.
    pub(crate) fn runs_of(&self, block: usize) -> impl Iterator<Item = Range<usize>> {
        let run = self.run();
        let in_row = block % self.blocks_of_a_row() * run;
        let length = run.min(self.row - in_row);
        let rows = self.rows_of(block / self.blocks_of_a_row());
        rows.into_iter().map(move |row| row * self.row + in_row..row * self.row + in_row + length)
    }

    /// The rows that the blocks of this row of blocks lie in, rising.
    fn rows_of(&self, mut row_of_blocks: usize) -> Vec<usize> {
        let mut rows = vec![0];
        let mut stride = 1;
        for axis in (0..self.axis).rev() {
            let index = row_of_blocks % self.blocks_on(axis);
            row_of_blocks /= self.blocks_on(axis);
            let start = index * self.block[axis];
            let indices = start..(start + self.block[axis]).min(self.shape[axis]);
            // The outer axis varies slowest.
            rows = indices.flat_map(|index| rows.iter().map(move |row| row + index * stride).collect::<Vec<_>>()).collect();
            stride *= self.shape[axis];
        }
        rows
    }
}

/// How a tensor falls apart along its first axis into slabs whose blocks are their own: each can be calibrated without the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slabs {
    granularity: Granularity,
    shape: Vec<usize>,
    /// The first axis that has more than one index.
    axis: usize,
    /// Elements of one index of that axis.
    inner: usize,
    /// Elements between two places where a slab may begin.
    period: usize,
    /// Blocks between two such places.
    blocks: usize,
}

impl Slabs {
    /// Elements between two places where a slab may begin.
    pub(crate) fn period(&self) -> usize {
        self.period
    }

    /// The shape of so many elements that begin at such a place.
    pub(crate) fn shape(&self, elements: usize) -> Vec<usize> {
        let mut shape = self.shape.clone();
        shape[self.axis] = elements / self.inner;
        shape
    }

    /// Their blocks.
    pub(crate) fn layout(&self, elements: usize) -> Result<Layout> {
        Layout::new(self.granularity, &self.shape(elements))
    }

    /// The number in the tensor of the block that begins with this element.
    pub(crate) fn first_block(&self, element: usize) -> usize {
        element / self.period * self.blocks
    }
}
