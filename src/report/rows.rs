//! The rows of a report: which quantizers are measured together, and what is read for them.

use std::ops::Range;
use std::sync::Arc;

use polars::prelude::DataFrame;

use super::Quantizer;
use super::each::tensors_of;
use super::plan::{HELD, Measured, Plan, WantedRanges};
use super::row::{ReportRow, frame_of_rows};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::kernels::{Job, Tally, Values, least_common_multiple};
use crate::progress::{Work, is_interrupted};
use crate::qparams::BlockRanges;
use crate::source::{Source, TensorInfo};
use crate::tensor::{Real, Tensor};

/// A row, or why there is none. Reading a tensor fails once for all its rows.
type Outcome = Result<ReportRow, Arc<Error>>;

/// Not generic, so that a notebook cell that asks for a report has none of it to compile.
pub(super) fn report_of(source: &dyn Source, quantizers: &[&dyn Quantizer]) -> Result<DataFrame> {
    frame_of_rows(&rows_of(source, quantizers)?)
}

/// Likewise.
pub(super) fn rows_of(source: &dyn Source, quantizers: &[&dyn Quantizer]) -> Result<Vec<ReportRow>> {
    let infos = tensors_of("report", source, quantizers)?;
    let elements = infos.iter().fold(0_usize, |total, info| total.saturating_add(info.elements()));
    let mut work = Work::new("report", elements.saturating_mul(quantizers.len())).in_units("values");
    let mut rows = Vec::with_capacity(infos.len() * quantizers.len());
    let mut first_error = None;
    for (index, info) in infos.iter().enumerate() {
        for (quantizer, outcome) in quantizers.iter().zip(outcomes_of(source, index, info, quantizers, &mut work)?) {
            rows.push(outcome.unwrap_or_else(|cause| {
                let row = ReportRow::failed(info, *quantizer, cause.without_names());
                first_error.get_or_insert((info.name.clone(), quantizer.name(), cause));
                row
            }));
        }
    }
    match first_error {
        Some((tensor, scheme, cause)) if rows.iter().all(|row| row.error.is_some()) => Err(match Arc::try_unwrap(cause) {
            // Of a single row there is no doubt whose it is.
            Ok(cause) if rows.len() == 1 => cause.named(&tensor, &scheme),
            Ok(cause) => Error::of(Arc::new(cause), &tensor, &scheme),
            Err(cause) => Error::of(cause, &tensor, &scheme),
        }),
        _ => Ok(rows),
    }
}

/// The row of one tensor in memory under one quantizer.
pub(crate) fn row_of(tensor: &Tensor, quantizer: &dyn Quantizer) -> Result<ReportRow> {
    let mut work = Work::new("report", tensor.len()).in_units("values");
    let outcomes = outcomes_of(tensor, 0, &tensor.info(), &[quantizer], &mut work)?;
    match outcomes.into_iter().next() {
        Some(Ok(row)) => Ok(row),
        Some(Err(cause)) => Err(match Arc::try_unwrap(cause) {
            Ok(cause) => cause.named(tensor.name(), &quantizer.name()),
            Err(cause) => Error::of(cause, tensor.name(), &quantizer.name()),
        }),
        None => Err(Error::Empty { name: tensor.name().to_owned() }),
    }
}

/// One outcome a quantizer. An error only of an interrupt.
fn outcomes_of(
    source: &dyn Source,
    index: usize,
    info: &TensorInfo,
    quantizers: &[&dyn Quantizer],
    work: &mut Work<'static>,
) -> Result<Vec<Outcome>> {
    let end = work.progress().done.saturating_add(info.elements().saturating_mul(quantizers.len()));
    let outcomes = match info.dtype {
        Dtype::F32 => of_type::<f32>(source, index, info, quantizers, work),
        Dtype::F64 => of_type::<f64>(source, index, info, quantizers, work),
    };
    let outcomes = match outcomes {
        Ok(outcomes) => outcomes,
        Err(Stop::Interrupted) => return Err(work.interrupted()),
        Err(Stop::Unreadable(error)) => {
            let error = Arc::new(error);
            quantizers.iter().map(|_| Err(Arc::clone(&error))).collect()
        }
    };
    // What failed is done, too.
    work.advance(end - work.progress().done);
    Ok(outcomes)
}

/// Why all rows of a tensor end.
enum Stop {
    Interrupted,
    Unreadable(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Unreadable(error)
    }
}

fn go_on() -> Result<(), Stop> {
    if is_interrupted() { Err(Stop::Interrupted) } else { Ok(()) }
}

/// Slabs of so many elements share the work evenly, however few there are.
const SMALL_SLAB: usize = 1 << 18;

/// Elements after which the work says how far it is.
const TILE: usize = 4 << 20;

fn of_type<T: Real>(
    source: &dyn Source,
    index: usize,
    info: &TensorInfo,
    quantizers: &[&dyn Quantizer],
    work: &mut Work<'static>,
) -> Result<Vec<Outcome>, Stop> {
    let elements = info.elements();
    let held = match source.held(index) {
        None if elements <= HELD => Some(source.tensor_at(index)?),
        held => held,
    };
    let values = held.as_ref().map_or_else(|| Values::unchecked(source, index, &info.name), Values::of);

    // Small enough to share the work evenly.
    let longest_slab = SMALL_SLAB.max(elements / (4 * rayon::current_num_threads()));
    let mut plans = Vec::with_capacity(quantizers.len());
    for quantizer in quantizers {
        go_on()?;
        plans.push(Plan::of(*quantizer, info, held.as_ref(), longest_slab));
    }
    calibrate_by_ranges(&values, info, &mut plans)?;

    let mut outcomes: Vec<Option<Outcome>> = quantizers.iter().map(|_| None).collect();
    let mut measured: Group<T> = Vec::new();
    let mut whole = Vec::new();
    for (number, plan) in plans.into_iter().enumerate() {
        match plan {
            Plan::Measured(one) => measured.push((number, one)),
            Plan::Failed(error) => outcomes[number] = Some(Err(Arc::new(error))),
            Plan::Whole | Plan::Ranges { .. } => whole.push(number),
        }
    }
    for group in together(measured) {
        measure_group(&values, info, quantizers, group, work, &mut outcomes)?;
    }
    if !whole.is_empty() {
        let tensor = held.clone().map_or_else(|| source.tensor_at(index), Ok)?;
        for number in whole {
            go_on()?;
            outcomes[number] = Some(quantizers[number].report_row(&tensor).map_err(Arc::new));
            work.advance(elements);
        }
    }
    Ok(outcomes.into_iter().flatten().collect())
}

/// Calibrates the schemes for which that takes a pass over all values.
fn calibrate_by_ranges<T: Real>(values: &Values, info: &TensorInfo, plans: &mut [Plan<T>]) -> Result<(), Stop> {
    let wanted = WantedRanges::of(info, plans)?;
    if wanted.is_nothing() {
        return Ok(());
    }
    let mut ranges: Vec<BlockRanges<T>> = wanted.layouts().iter().map(BlockRanges::new).collect();
    for tile in tiles(info.elements(), TILE) {
        go_on()?;
        values.ranges(tile, wanted.layouts(), &mut ranges)?;
    }
    wanted.calibrate(&ranges.into_iter().map(BlockRanges::into_ranges).collect::<Vec<_>>(), plans);
    Ok(())
}

/// Quantizers that are measured in one pass, each with its number among all.
type Group<'a, T> = Vec<(usize, Measured<'a, T>)>;

/// Jobs that are done in one pass: their work can be cut at the same places, which are not too far apart.
fn together<T: Real>(measured: Group<T>) -> Vec<Group<T>> {
    let mut groups: Vec<(usize, Group<T>)> = Vec::new();
    for (number, one) in measured {
        let own = one.job.period();
        let joined = |period: usize| least_common_multiple(period, own);
        match groups.iter_mut().find(|(period, _)| joined(*period) <= TILE.max(own).max(*period)) {
            Some((period, group)) => {
                *period = joined(*period);
                group.push((number, one));
            }
            None => groups.push((own, vec![(number, one)])),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

/// Measures some quantizers in one pass.
fn measure_group<T: Real>(
    values: &Values,
    info: &TensorInfo,
    quantizers: &[&dyn Quantizer],
    group: Group<T>,
    work: &mut Work<'static>,
    outcomes: &mut [Option<Outcome>],
) -> Result<(), Stop> {
    let jobs: Vec<&Job<T>> = group.iter().map(|(_, measured)| &measured.job).collect();
    let mut tallies: Vec<Tally> = jobs.iter().map(|_| Tally::default()).collect();
    let period = jobs.iter().fold(1, |period, job| least_common_multiple(period, job.period()));
    for tile in tiles(info.elements(), TILE.next_multiple_of(period)) {
        let steps = tile.len() * jobs.len();
        if !values.measure(tile, &jobs, &mut tallies, &is_interrupted)? {
            return Err(Stop::Interrupted);
        }
        work.advance(steps);
    }
    for (tally, (number, Measured { about, .. })) in tallies.into_iter().zip(group) {
        outcomes[number] = Some(about.row(info, quantizers[number], tally).map_err(Arc::new));
    }
    Ok(())
}

fn tiles(elements: usize, length: usize) -> impl Iterator<Item = Range<usize>> {
    (0..elements).step_by(length).map(move |start| start..(start + length).min(elements))
}
