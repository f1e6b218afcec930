//! What is known of a tensor from some of its values: what travels, and how it is merged. The plan that it is part of is
//! [`TensorReport`](super::TensorReport)'s.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::row::ReportRow;
use crate::error::{Error, Result};
use crate::metrics::MetricsAccumulator;
use crate::tensor::{Real, Slice, spanning};

/// What is known of a tensor's ranges from some of its values; see [`TensorReport`](crate::TensorReport). Serializable.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RangesPart {
    /// How many values were looked at.
    pub(super) elements: u64,
    /// Why a value cannot be used, and its place: of the first.
    pub(super) unusable: Option<(u64, String)>,
    /// The smallest and the largest value of each block that was met, by its number; one map a layout.
    pub(super) layouts: Vec<BTreeMap<u64, (f64, f64)>>,
}

/// What some values of a tensor say of its report; see [`TensorReport`](crate::TensorReport). Serializable.
///
/// It has a few kilobytes for each quantizer: a [`MetricsAccumulator`] and the counts of codes. To that come the values of slabs that were not met as a
/// whole: none, if values are cut where [`TensorReport::period`](crate::TensorReport::period) says.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ReportPart {
    /// How many values were added.
    pub(super) elements: u64,
    /// Why a value cannot be used, and its place: of the first.
    pub(super) unusable: Option<(u64, String)>,
    /// One a quantizer.
    pub(super) tallies: Vec<TallyPart>,
    /// Values of slabs that are not complete, by the first: one map for each length of slabs.
    pub(super) pieces: BTreeMap<u64, BTreeMap<u64, Piece>>,
}

/// One quantizer's.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct TallyPart {
    pub accumulator: MetricsAccumulator,
    pub clipped: u64,
    pub counts: Vec<u64>,
    /// Why it cannot quantize the tensor, and where the values begin that say so: the first.
    pub error: Option<(u64, String)>,
    /// Of one that takes the whole tensor at once, when it has.
    pub row: Option<ReportRow>,
}

/// Neighbouring values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Piece {
    F32(Vec<f32>),
    F64(Vec<f64>),
}

impl Piece {
    pub fn of<T: Real>(values: &[T]) -> Self {
        match T::as_slice(values) {
            Slice::F32(values) => Self::F32(values.to_vec()),
            Slice::F64(values) => Self::F64(values.to_vec()),
        }
    }

    pub fn as_slice(&self) -> Slice<'_> {
        match self {
            Self::F32(values) => Slice::F32(values),
            Self::F64(values) => Slice::F64(values),
        }
    }

    fn append(&mut self, later: Self) {
        match (self, later) {
            (Self::F32(values), Self::F32(mut later)) => values.append(&mut later),
            (Self::F64(values), Self::F64(mut later)) => values.append(&mut later),
            // A tensor has values of one type, which is checked when they are added.
            _ => {}
        }
    }
}

impl RangesPart {
    /// Adds what was met of other values of the same tensor, under the same plan.
    pub fn merge(&mut self, other: Self) {
        self.elements += other.elements;
        note_first(&mut self.unusable, other.unusable);
        self.layouts.resize_with(self.layouts.len().max(other.layouts.len()), BTreeMap::new);
        for (known, met) in self.layouts.iter_mut().zip(other.layouts) {
            for (block, range) in met {
                let known = known.entry(block).or_insert(range);
                *known = spanning(*known, range);
            }
        }
    }
}

impl ReportPart {
    /// Has a place for what each of so many quantizers says.
    pub(super) fn make_room(&mut self, quantizers: usize) {
        self.tallies.resize_with(quantizers, TallyPart::default);
    }

    pub(super) fn note_unusable(&mut self, unusable: (u64, String)) {
        note_first(&mut self.unusable, Some(unusable));
        // Nothing else is said of the tensor then.
        self.tallies.fill(TallyPart::default());
        self.pieces.clear();
    }

    /// Puts values of a slab beside those that are there, and takes out the slab if that completes it. An error if some are there already.
    pub(super) fn joined(&mut self, period: usize, slab: Range<usize>, first: usize, piece: Piece) -> Result<Option<Piece>> {
        let end = |first: u64, piece: &Piece| first + piece.as_slice().len() as u64;
        let pieces = self.pieces.entry(period as u64).or_default();
        let (mut first, mut piece) = (first as u64, piece);
        if let Some((&before, earlier)) = pieces.range(slab.start as u64..=first).next_back() {
            let its_end = end(before, earlier);
            if its_end > first {
                return Err(Error::Overlap { element: first });
            }
            if its_end == first
                && let Some(mut earlier) = pieces.remove(&before)
            {
                earlier.append(piece);
                (first, piece) = (before, earlier);
            }
        }
        let own_end = end(first, &piece);
        match pieces.range(first..slab.end as u64).next() {
            Some((&after, _)) if after < own_end => return Err(Error::Overlap { element: after }),
            Some((&after, _)) if after == own_end => {
                if let Some(later) = pieces.remove(&after) {
                    piece.append(later);
                }
            }
            _ => {}
        }
        if piece.as_slice().len() == slab.len() {
            return Ok(Some(piece));
        }
        pieces.insert(first, piece);
        Ok(None)
    }
}

impl TallyPart {
    pub fn merge(&mut self, other: Self) -> Result<()> {
        note_first(&mut self.error, other.error);
        if self.error.is_some() {
            // Nothing else is said of it then.
            *self = Self { error: self.error.take(), ..Self::default() };
            return Ok(());
        }
        self.accumulator.merge(other.accumulator)?;
        self.clipped = self.clipped.saturating_add(other.clipped);
        self.counts.resize(self.counts.len().max(other.counts.len()), 0);
        self.counts.iter_mut().zip(other.counts).for_each(|(total, count)| *total = total.saturating_add(count));
        self.row = self.row.take().or(other.row);
        Ok(())
    }
}

/// Keeps what is said of the first value.
pub(super) fn note_first(known: &mut Option<(u64, String)>, other: Option<(u64, String)>) {
    if let Some(other) = other
        && known.as_ref().is_none_or(|known| other.0 < known.0)
    {
        *known = Some(other);
    }
}
