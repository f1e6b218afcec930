//! `TensorReport`: the rows of one tensor from parts of its values, wherever and in whatever order they are measured.

use std::collections::BTreeMap;
use std::ops::Range;

use super::Quantizer;
use super::part::{Piece, RangesPart, ReportPart, TallyPart, note_first};
use super::plan::{HELD, Measured, Plan, WantedRanges};
use super::row::ReportRow;
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::kernels::{Tally, Values, least_common_multiple};
use crate::qparams::BlockRanges;
use crate::source::{Source, TensorInfo, TileBuffer, no_tensor};
use crate::tensor::{Real, Slice, Tensor, all_finite};

/// The rows of one tensor's [`report`](crate::report()) from parts of its values: threads, processes or machines measure some of them each into a
/// [`ReportPart`], the parts are merged in any order, and the rows have the same bits as the report of the tensor in one piece.
///
/// It is a plan, made anew wherever it is needed from what is known of the tensor and its quantizers; the parts are what travels. A quantizer with one
/// scale for more than a few rows needs the ranges of its blocks first: [`TensorReport::wants_ranges`] says so, [`TensorReport::add_ranges`] gathers
/// them, and [`TensorReport::with_ranges`] is the plan that knows them. Without them, the values that such a quantizer needs to see at once are kept
/// in the parts until all are there: the rows are the same, but values travel.
///
/// ```
/// # use quantlens::{RangesPart, ReportPart, Scheme, Slice, Source, Synthetic, TensorReport, frame_of_rows, report};
/// let x = Synthetic::normal(0.0, 1.0).seed(1).tensor::<f32>("x", &[64, 128])?;
/// let schemes = [Scheme::symmetric(8), Scheme::symmetric(4).per_group(32)];
/// let info = &x.infos()[0];
/// let (low, high) = x.values::<f32>().unwrap().split_at(4000);
///
/// // First the ranges, each half by itself, then merged.
/// let plan = TensorReport::new(info, &schemes);
/// assert!(plan.wants_ranges());
/// let (mut ranges, mut others) = (RangesPart::default(), RangesPart::default());
/// plan.add_ranges(&mut others, 4000, Slice::F32(high))?;
/// plan.add_ranges(&mut ranges, 0, Slice::F32(low))?;
/// ranges.merge(others);
///
/// // Then the errors.
/// let plan = plan.with_ranges(&ranges)?;
/// let (mut part, mut other) = (ReportPart::default(), ReportPart::default());
/// plan.add(&mut other, 4000, Slice::F32(high))?;
/// plan.add(&mut part, 0, Slice::F32(low))?;
/// plan.merge(&mut part, other)?;
/// assert!(frame_of_rows(&plan.rows(part)?)?.equals_missing(&report(&x, &schemes)?));
/// # Ok::<(), quantlens::Error>(())
/// ```
pub struct TensorReport<'a> {
    info: TensorInfo,
    quantizers: Vec<&'a dyn Quantizer>,
    plans: Plans<'a>,
    /// Why a value cannot be used, and its place, if the ranges say so.
    unusable: Option<(u64, String)>,
}

/// In the type of the tensor's values.
enum Plans<'a> {
    F32(Vec<Plan<'a, f32>>),
    F64(Vec<Plan<'a, f64>>),
}

macro_rules! with_plans {
    ($report:expr, |$plans:ident| $body:expr) => {
        match &$report.plans {
            Plans::F32($plans) => $body,
            Plans::F64($plans) => $body,
        }
    };
}

impl<'a> TensorReport<'a> {
    /// Slabs of at most so many elements, 64 MiB of f32, are calibrated where they are met, without ranges. The same everywhere, so that parts of
    /// different machines fit.
    pub const LONGEST_SLAB: usize = HELD;

    /// The plan for a tensor. That a quantizer cannot quantize it becomes its row's error, as in a report.
    pub fn new<Q: Quantizer>(info: &TensorInfo, quantizers: &'a [Q]) -> Self {
        let quantizers: Vec<&dyn Quantizer> = quantizers.iter().map(|quantizer| quantizer as &dyn Quantizer).collect();
        fn of<'a, T: Real>(info: &TensorInfo, quantizers: &[&'a dyn Quantizer]) -> Vec<Plan<'a, T>> {
            let plan = |quantizer: &&'a dyn Quantizer| match Plan::of(*quantizer, info, None, TensorReport::LONGEST_SLAB) {
                // As a report, which reads such a tensor whole.
                Plan::Failed(Error::NeedsWhole { .. }) if info.elements() <= HELD => Plan::Whole,
                plan => plan,
            };
            quantizers.iter().map(plan).collect()
        }
        let plans = match info.dtype {
            Dtype::F32 => Plans::F32(of(info, &quantizers)),
            Dtype::F64 => Plans::F64(of(info, &quantizers)),
        };
        Self { info: info.clone(), quantizers, plans, unusable: None }
    }

    /// Whether some quantizer needs to know ranges of blocks, without which it keeps all values until it has them.
    pub fn wants_ranges(&self) -> bool {
        with_plans!(self, |plans| plans.iter().any(|plan| matches!(plan, Plan::Ranges { .. })))
    }

    /// Elements between two places where values can be cut so that no quantizer has to keep any: the least common multiple of the lengths of slabs, and
    /// all elements if a quantizer takes the whole tensor at once.
    pub fn period(&self) -> usize {
        let elements = self.info.elements();
        let periods: Vec<usize> = with_plans!(self, |plans| plans.iter().filter_map(|plan| slab_of(plan, elements)).collect());
        periods.into_iter().fold(1, least_common_multiple).min(elements.max(1))
    }

    /// Whether these values are of the tensor: of its type, and not past its end.
    fn check(&self, first: usize, values: Slice) -> Result<()> {
        let (count, elements) = (values.len(), self.info.elements());
        if values.dtype() != self.info.dtype {
            return Err(Error::DtypeMismatch { expected: self.info.dtype, found: values.dtype() });
        }
        if first.checked_add(count).is_none_or(|end| end > elements) {
            let wanted = format!("`{}`, elements {first} to {}", self.info.name, first.saturating_add(count));
            return Err(no_tensor(wanted, std::slice::from_ref(&self.info)));
        }
        Ok(())
    }

    /// Looks at the ranges of some values, of which the first has this number in the tensor. A value that is not finite is kept for the rows.
    ///
    /// # Errors
    /// [`Error::DtypeMismatch`] and [`Error::NoTensor`] if these cannot be values of the tensor.
    pub fn add_ranges(&self, part: &mut RangesPart, first: usize, values: Slice) -> Result<()> {
        self.check(first, values)?;
        let elements = values.len() as u64;
        if let Some(unusable) = self.not_finite(first, values) {
            part.merge(RangesPart { elements, unusable: Some(unusable), layouts: Vec::new() });
            return Ok(());
        }
        let layouts = match (&self.plans, values) {
            (Plans::F32(plans), Slice::F32(values)) => ranges_of(&self.info, plans, first, values)?,
            (Plans::F64(plans), Slice::F64(values)) => ranges_of(&self.info, plans, first, values)?,
            // Checked above.
            _ => Vec::new(),
        };
        part.merge(RangesPart { elements, unusable: None, layouts });
        Ok(())
    }

    /// As [`TensorReport::add_unusable`], for the ranges.
    pub fn add_unusable_ranges(&self, part: &mut RangesPart, first: usize, cause: &str) {
        note_first(&mut part.unusable, Some((first as u64, cause.to_owned())));
    }

    /// The plan that knows all ranges. If they could not be read, it needs no more values: [`TensorReport::rows`] says why of an empty part.
    ///
    /// # Errors
    /// [`Error::Parts`] if the ranges are not of all values of the tensor.
    pub fn with_ranges(mut self, ranges: &RangesPart) -> Result<Self> {
        if ranges.unusable.is_some() {
            self.unusable.clone_from(&ranges.unusable);
            return Ok(self);
        }
        if ranges.elements != self.info.elements() as u64 {
            return Err(self.incomplete(ranges.elements));
        }
        match &mut self.plans {
            Plans::F32(plans) => calibrate(&self.info, ranges, plans)?,
            Plans::F64(plans) => calibrate(&self.info, ranges, plans)?,
        }
        Ok(self)
    }

    /// Whether the ranges say that the tensor cannot be used.
    pub fn is_unusable(&self) -> bool {
        self.unusable.is_some()
    }

    /// The first value that is not finite.
    fn not_finite(&self, first: usize, values: Slice) -> Option<(u64, String)> {
        fn found<T: Real>(values: &[T]) -> Option<(usize, f64)> {
            if all_finite(values) {
                return None;
            }
            values.iter().map(|value| value.to_f64()).enumerate().find(|(_, value)| !value.is_finite())
        }
        let (at, value) = match values {
            Slice::F32(values) => found(values)?,
            Slice::F64(values) => found(values)?,
        };
        let index = first + at;
        Some((index as u64, Error::NotFinite { name: self.info.name.clone(), index, value }.without_names()))
    }

    fn incomplete(&self, seen: u64) -> Error {
        Error::Parts { name: self.info.name.clone(), elements: self.info.elements(), seen }
    }

    /// Measures some values, of which the first has this number in the tensor. A value that is not finite, and what a quantizer says of the values, is
    /// kept for the rows.
    ///
    /// # Errors
    /// [`Error::DtypeMismatch`] and [`Error::NoTensor`] if these cannot be values of the tensor; [`Error::Overlap`] if the part has some of them.
    pub fn add(&self, part: &mut ReportPart, first: usize, values: Slice) -> Result<()> {
        self.check(first, values)?;
        part.make_room(self.quantizers.len());
        part.elements += values.len() as u64;
        if let Some(unusable) = self.not_finite(first, values) {
            part.note_unusable(unusable);
            return Ok(());
        }
        match (&self.plans, values) {
            (Plans::F32(plans), Slice::F32(values)) => self.add_values(plans, part, first, values),
            (Plans::F64(plans), Slice::F64(values)) => self.add_values(plans, part, first, values),
            // Checked above.
            _ => Ok(()),
        }
    }

    /// Notes that the values from this one on cannot be read, and why, as an error's [`cause`](Error::cause) says it: every row of the tensor will say the
    /// first such cause.
    pub fn add_unusable(&self, part: &mut ReportPart, first: usize, cause: &str) {
        part.make_room(self.quantizers.len());
        part.note_unusable((first as u64, cause.to_owned()));
    }

    /// Adds a part of other values of the same tensor, under the same plan.
    ///
    /// # Errors
    /// [`Error::Overlap`] if both have a value; [`Error::DamagedPart`] if a part that was read from somewhere cannot be of this plan. What the part is then
    /// is of no use.
    pub fn merge(&self, part: &mut ReportPart, other: ReportPart) -> Result<()> {
        part.make_room(self.quantizers.len());
        part.elements = part.elements.saturating_add(other.elements);
        if let Some(unusable) = other.unusable {
            part.note_unusable(unusable);
        }
        if part.unusable.is_some() {
            return Ok(());
        }
        for (tally, other) in part.tallies.iter_mut().zip(other.tallies) {
            tally.merge(other)?;
        }
        for (period, pieces) in other.pieces {
            for (first, piece) in pieces {
                let first = self.checked(period, first, &piece)?;
                match (&self.plans, &piece) {
                    (Plans::F32(plans), Piece::F32(_)) => self.add_piece(plans, part, period as usize, first, piece)?,
                    (Plans::F64(plans), Piece::F64(_)) => self.add_piece(plans, part, period as usize, first, piece)?,
                    (Plans::F32(_), _) => return Err(Error::DtypeMismatch { expected: Dtype::F32, found: Dtype::F64 }),
                    (Plans::F64(_), _) => return Err(Error::DtypeMismatch { expected: Dtype::F64, found: Dtype::F32 }),
                }
            }
        }
        Ok(())
    }

    /// The number of a piece's first value, if the piece lies in one slab of the tensor.
    fn checked(&self, period: u64, first: u64, piece: &Piece) -> Result<usize> {
        let damaged = |reason| Error::DamagedPart { name: self.info.name.clone(), reason };
        let slab = first.checked_div(period).ok_or_else(|| damaged("its slabs have no length"))?;
        let slab_end = (slab + 1).saturating_mul(period).min(self.info.elements() as u64);
        match first.checked_add(piece.as_slice().len() as u64) {
            Some(end) if first < end && end <= slab_end => Ok(first as usize),
            _ => Err(damaged("some of its values lie outside of the tensor or across slabs")),
        }
    }

    /// The tensor's rows of a report, one a quantizer.
    ///
    /// # Errors
    /// [`Error::Parts`] if the part is not of all values of the tensor.
    pub fn rows(self, part: ReportPart) -> Result<Vec<ReportRow>> {
        let Self { info, quantizers, plans, unusable } = self;
        let mut part = part;
        if let Some(unusable) = unusable {
            part.note_unusable(unusable);
        }
        match plans {
            Plans::F32(plans) => rows(&info, &quantizers, plans, part),
            Plans::F64(plans) => rows(&info, &quantizers, plans, part),
        }
    }

    fn add_values<T: Real>(&self, plans: &[Plan<T>], part: &mut ReportPart, first: usize, values: &[T]) -> Result<()> {
        if part.unusable.is_some() {
            return Ok(());
        }
        let elements = self.info.elements();
        let mut periods: Vec<usize> = plans.iter().filter_map(|plan| slab_of(plan, elements)).collect();
        periods.sort_unstable();
        periods.dedup();
        for period in periods {
            let end = first + values.len();
            let whole_from = first.next_multiple_of(period).min(end);
            let whole_to = if end == elements { end } else { (end / period * period).max(whole_from) };
            self.measure(plans, part, period, whole_from, &values[whole_from - first..whole_to - first])?;
            for piece in [first..whole_from, whole_to..end] {
                if !piece.is_empty() {
                    let values = Piece::of(&values[piece.start - first..piece.end - first]);
                    self.add_piece(plans, part, period, piece.start, values)?;
                }
            }
        }
        Ok(())
    }

    /// Keeps values of one slab until the slab is complete, and measures it then.
    fn add_piece<T: Real>(
        &self,
        plans: &[Plan<T>],
        part: &mut ReportPart,
        period: usize,
        first: usize,
        piece: Piece,
    ) -> Result<()> {
        let start = first / period * period;
        let slab = start..start.saturating_add(period).min(self.info.elements());
        let Some(slab) = part.joined(period, slab, first, piece)? else { return Ok(()) };
        let values = T::of_slice(slab.as_slice()).ok_or(Error::DtypeMismatch { expected: T::DTYPE, found: self.info.dtype })?;
        self.measure(plans, part, period, start, values)
    }

    /// Measures whole slabs under the quantizers that have slabs of this length.
    fn measure<T: Real>(
        &self,
        plans: &[Plan<T>],
        part: &mut ReportPart,
        period: usize,
        first: usize,
        values: &[T],
    ) -> Result<()> {
        let elements = self.info.elements();
        if values.is_empty() {
            return Ok(());
        }
        let (mut jobs, mut numbers) = (Vec::new(), Vec::new());
        for (number, plan) in plans.iter().enumerate().filter(|(_, plan)| slab_of(plan, elements) == Some(period)) {
            match plan {
                Plan::Measured(Measured { job, .. }) => {
                    jobs.push(job);
                    numbers.push(number);
                }
                _ => {
                    let tensor = Tensor::new(&self.info.name, &self.info.shape, values.to_vec());
                    let row = tensor.and_then(|tensor| self.quantizers[number].report_row(&tensor));
                    let tally = match row {
                        Ok(row) => TallyPart { row: Some(row), ..TallyPart::default() },
                        Err(error) => TallyPart { error: Some((0, error.without_names())), ..TallyPart::default() },
                    };
                    part.tallies[number].merge(tally)?;
                }
            }
        }
        let mut tallies: Vec<Tally> = jobs.iter().map(|_| Tally::default()).collect();
        let run = first..first + values.len();
        let source = Run { info: &self.info, first, values: T::as_slice(values) };
        Values::checked(&source, 0, &self.info.name).measure(run, &jobs, &mut tallies, &|| false)?;
        for (tally, number) in tallies.into_iter().zip(numbers) {
            let error = tally.error.map(|error| (first as u64, error.without_names()));
            let Tally { accumulator, clipped, counts, .. } = tally;
            part.tallies[number].merge(TallyPart { accumulator, clipped, counts, error, row: None })?;
        }
        Ok(())
    }
}

/// Elements of a slab that a quantizer has to see at once; `None` of one that cannot quantize the tensor.
fn slab_of<T: Real>(plan: &Plan<T>, elements: usize) -> Option<usize> {
    match plan {
        Plan::Measured(measured) => Some(measured.job.period()),
        Plan::Ranges { .. } | Plan::Whole => Some(elements),
        Plan::Failed(_) => None,
    }
}

/// Some values of a tensor, as a source of that tensor.
struct Run<'a> {
    info: &'a TensorInfo,
    /// The number of the first in the tensor.
    first: usize,
    values: Slice<'a>,
}

impl Source for Run<'_> {
    fn infos(&self) -> Vec<TensorInfo> {
        vec![self.info.clone()]
    }

    fn read<'a>(&'a self, _: usize, elements: Range<usize>, _: &'a mut TileBuffer) -> Result<Slice<'a>> {
        let within = elements.start.saturating_sub(self.first)..elements.end.saturating_sub(self.first);
        let values = match self.values {
            Slice::F32(values) => values.get(within).map(Slice::F32),
            Slice::F64(values) => values.get(within).map(Slice::F64),
        };
        values.ok_or_else(|| no_tensor(format!("elements {} to {}", elements.start, elements.end), &self.infos()))
    }
}

/// The ranges of the blocks that these values meet, one map a layout.
fn ranges_of<T: Real>(
    info: &TensorInfo,
    plans: &[Plan<T>],
    first: usize,
    values: &[T],
) -> Result<Vec<BTreeMap<u64, (f64, f64)>>> {
    let wanted = WantedRanges::of(info, plans)?;
    let mut ranges: Vec<BlockRanges<T>> = wanted.layouts().iter().map(BlockRanges::new).collect();
    let source = Run { info, first, values: T::as_slice(values) };
    Values::unchecked(&source, 0, &info.name).ranges(first..first + values.len(), wanted.layouts(), &mut ranges)?;
    let exact = |(block, (min, max)): (usize, (T, T))| (block as u64, (min.to_f64(), max.to_f64()));
    Ok(ranges.into_iter().map(|ranges| ranges.into_met().map(exact).collect()).collect())
}

fn calibrate<T: Real>(info: &TensorInfo, part: &RangesPart, plans: &mut [Plan<T>]) -> Result<()> {
    let wanted = WantedRanges::of(info, plans)?;
    let in_type = |(min, max): (f64, f64)| (T::from_f64(min), T::from_f64(max));
    let ranges: Vec<Vec<(T, T)>> = wanted
        .layouts()
        .iter()
        .enumerate()
        .map(|(place, layout)| {
            let met = part.layouts.get(place);
            let of_block =
                |block| met.and_then(|met| met.get(&(block as u64))).map_or((T::ZERO, T::ZERO), |&range| in_type(range));
            (0..layout.blocks()).map(of_block).collect()
        })
        .collect();
    wanted.calibrate(&ranges, plans);
    Ok(())
}

fn rows<T: Real>(
    info: &TensorInfo,
    quantizers: &[&dyn Quantizer],
    plans: Vec<Plan<T>>,
    mut part: ReportPart,
) -> Result<Vec<ReportRow>> {
    if part.unusable.is_none() && part.elements != info.elements() as u64 {
        return Err(Error::Parts { name: info.name.clone(), elements: info.elements(), seen: part.elements });
    }
    part.make_room(quantizers.len());
    let ReportPart { tallies, unusable, .. } = part;
    let row = |((quantizer, plan), tally): ((&&dyn Quantizer, Plan<T>), TallyPart)| {
        let failed = |cause: String| ReportRow::failed(info, *quantizer, cause);
        if let Some((_, cause)) = &unusable {
            return failed(cause.clone());
        }
        if let Some((_, cause)) = tally.error {
            return failed(cause);
        }
        let row = match (plan, tally.row) {
            (Plan::Failed(error), _) => Err(error),
            (_, Some(row)) => Ok(row),
            (Plan::Measured(Measured { about, .. }), None) => {
                let TallyPart { accumulator, clipped, counts, .. } = tally;
                about.row(info, *quantizer, Tally { accumulator, clipped, counts, error: None })
            }
            // All values are there, so it was measured; but for a part that another plan made.
            (Plan::Whole | Plan::Ranges { .. }, None) => {
                Err(Error::Parts { name: info.name.clone(), elements: info.elements(), seen: 0 })
            }
        };
        row.unwrap_or_else(|error| failed(error.without_names()))
    };
    Ok(quantizers.iter().zip(plans).zip(tallies).map(row).collect())
}
