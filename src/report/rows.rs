//! The rows of a report: which quantizers are measured together, and what is read for them.

use std::ops::Range;
use std::sync::Arc;

use super::Quantizer;
use super::row::{Codes, ReportRow};
use crate::calibrate::Calibration;
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::granularity::{Granularity, Layout};
use crate::kernels::{Calibrated, Job, Tally, Values, least_common_multiple};
use crate::progress::{Work, is_interrupted};
use crate::qparams::{BlockRanges, QParams, qparams_of_ranges};
use crate::scale::SecondLevel;
use crate::scheme::Scheme;
use crate::source::{Source, TensorInfo};
use crate::tensor::{Real, Tensor, larger_magnitude, spanning};

/// A row, or why there is none. Reading a tensor fails once for all its rows.
type Outcome = Result<ReportRow, Arc<Error>>;

/// Not generic, so that a notebook cell that asks for a report has none of it to compile.
pub(super) fn rows_of(source: &dyn Source, quantizers: &[&dyn Quantizer]) -> Result<Vec<ReportRow>> {
    let infos = source.infos();
    if infos.is_empty() || quantizers.is_empty() {
        let reason = format!("it needs a tensor and a scheme, and has {} and {}", infos.len(), quantizers.len());
        return Err(Error::Nothing { what: "report", reason });
    }
    let elements = infos.iter().fold(0_usize, |total, info| total.saturating_add(info.elements()));
    let mut work = Work::new("report", elements.saturating_mul(quantizers.len())).in_units("values");
    let mut rows = Vec::with_capacity(infos.len() * quantizers.len());
    let mut first_error = None;
    for (index, info) in infos.iter().enumerate() {
        for (quantizer, outcome) in quantizers.iter().zip(outcomes_of(source, index, info, quantizers, &mut work)?) {
            rows.push(outcome.unwrap_or_else(|cause| {
                let bits_per_element = quantizer.bits_per_element(&info.shape, info.dtype).unwrap_or(f64::NAN);
                let row = ReportRow::failed(info, quantizer.name(), bits_per_element, &cause);
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

/// A tensor of a file with at most so many elements is read whole: 64 MiB of f32.
const HELD: usize = 16 << 20;

/// Elements after which the work says how far it is.
const TILE: usize = 4 << 20;

/// A quantizer of one tensor.
#[expect(clippy::large_enum_variant, reason = "there are few, and most are the large one")]
enum Plan<'a, T> {
    /// It is measured with others.
    Measured(Measured<'a, T>),
    /// A scheme that can be measured when the ranges of the blocks of this layout are known.
    Ranges {
        scheme: Scheme,
        layout: Layout,
    },
    /// It takes the whole tensor at once.
    Whole,
    Failed(Error),
}

struct Measured<'a, T> {
    job: Job<'a, T>,
    codes: Codes,
    /// Where there is one for all.
    scale: Option<f64>,
    zero_point: Option<i64>,
}

impl<'a, T: Real> Measured<'a, T> {
    fn calibrated(qparams: &QParams, layout: Layout) -> Self {
        let (scale, zero_point) = (qparams.scale(), qparams.zero_point());
        Self { job: Job::Calibrated(Calibrated::new(qparams, layout, 0)), codes: codes_of(qparams.scheme()), scale, zero_point }
    }

    fn by_rows(job: Job<'a, T>, codes: Codes) -> Self {
        Self { job, codes, scale: None, zero_point: None }
    }
}

fn codes_of(scheme: Scheme) -> Codes {
    Codes {
        format: scheme.format().to_string(),
        bits: scheme.bits(),
        granularity: scheme.granularity().to_string(),
        calibration: Some(scheme.calibration().to_string()),
    }
}

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

    let mut plans = Vec::with_capacity(quantizers.len());
    for quantizer in quantizers {
        go_on()?;
        plans.push(plan::<T>(*quantizer, info, held.as_ref()).unwrap_or_else(Plan::Failed));
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

/// How a quantizer is measured on a tensor, which may be in memory.
fn plan<'a, T: Real>(quantizer: &'a dyn Quantizer, info: &TensorInfo, held: Option<&Tensor>) -> Result<Plan<'a, T>> {
    let Some(scheme) = quantizer.as_scheme() else {
        return Ok(match quantizer.by_rows(&info.name, &info.shape) {
            Some(rows) => {
                let (codes, rows) = rows?;
                Plan::Measured(Measured::by_rows(Job::Rows(rows), codes))
            }
            None => Plan::Whole,
        });
    };
    scheme.validate()?;
    let layout = Layout::new(scheme.granularity(), &info.shape)?;
    let is_min_max = scheme.calibration() == Calibration::MinMax;
    let may_be_by_rows = match scheme.second_level() {
        None => true,
        // Of which more than the range of the whole need not be known.
        Some(SecondLevel::TensorScale) => is_min_max,
        Some(_) => false,
    };
    if let Some(slabs) = layout.slabs(scheme.granularity()).filter(|slabs| may_be_by_rows && is_worth(slabs.period(), info)) {
        let tensor_magnitude = match (scheme.second_level(), held) {
            (None, _) => None,
            (Some(_), Some(tensor)) => Some(larger_magnitude((T::from_f64(tensor.min()), T::from_f64(tensor.max())))),
            (Some(_), None) => return Ok(Plan::Ranges { scheme, layout }),
        };
        let job = Job::ByRows { scheme, slabs, tensor_magnitude };
        return Ok(Plan::Measured(Measured::by_rows(job, codes_of(scheme))));
    }
    match held {
        Some(tensor) => Ok(Plan::Measured(Measured::calibrated(&scheme.qparams(tensor)?, layout))),
        None if is_min_max => Ok(Plan::Ranges { scheme, layout }),
        None => Err(Error::NeedsWhole { calibration: scheme.calibration().to_string(), elements: info.elements() }),
    }
}

/// Whether slabs of so many elements are small enough to share the work evenly.
fn is_worth(period: usize, info: &TensorInfo) -> bool {
    const SMALL: usize = 1 << 18;
    period <= SMALL.max(info.elements() / (4 * rayon::current_num_threads()))
}

/// Calibrates the schemes for which that takes a pass over all values.
fn calibrate_by_ranges<T: Real>(values: &Values, info: &TensorInfo, plans: &mut [Plan<T>]) -> Result<(), Stop> {
    let of_all = Layout::new(Granularity::PerTensor, &info.shape)?;
    let mut layouts = vec![&of_all];
    let mut schemes = Vec::new();
    for (number, plan) in plans.iter().enumerate() {
        if let Plan::Ranges { scheme, layout } = plan {
            let is_by_rows = scheme.second_level() == Some(SecondLevel::TensorScale);
            let known = if is_by_rows { Some(0) } else { layouts.iter().position(|known| *known == layout) };
            let place = known.unwrap_or(layouts.len());
            if known.is_none() {
                layouts.push(layout);
            }
            schemes.push((number, *scheme, place));
        }
    }
    if schemes.is_empty() {
        return Ok(());
    }
    let mut ranges: Vec<BlockRanges<T>> = layouts.iter().map(|layout| BlockRanges::new(layout)).collect();
    for tile in tiles(info.elements(), TILE) {
        go_on()?;
        values.ranges(tile, &layouts, &mut ranges)?;
    }
    let layouts: Vec<Layout> = layouts.into_iter().cloned().collect();
    let ranges: Vec<Vec<(T, T)>> = ranges.into_iter().map(BlockRanges::into_ranges).collect();
    for (number, scheme, place) in schemes {
        let granularity = scheme.granularity();
        let calibrated = if scheme.second_level() == Some(SecondLevel::TensorScale) {
            let magnitude = ranges[0].iter().copied().reduce(spanning).map(larger_magnitude);
            let slabs = Layout::new(granularity, &info.shape)?.slabs(granularity);
            slabs
                .map(|slabs| Measured::by_rows(Job::ByRows { scheme, slabs, tensor_magnitude: magnitude }, codes_of(scheme)))
                .ok_or_else(|| Error::NeedsWhole { calibration: scheme.calibration().to_string(), elements: info.elements() })
        } else {
            let qparams = qparams_of_ranges(scheme, ranges[place].clone());
            qparams.map(|qparams| Measured::calibrated(&qparams, layouts[place].clone()))
        };
        plans[number] = calibrated.map_or_else(Plan::Failed, Plan::Measured);
    }
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
    let (mut jobs, mut about) = (Vec::new(), Vec::new());
    for (number, Measured { job, codes, scale, zero_point }) in group {
        jobs.push(job);
        about.push((number, codes, scale, zero_point));
    }
    let mut tallies: Vec<Tally> = jobs.iter().map(|_| Tally::default()).collect();
    let period = jobs.iter().fold(1, |period, job| least_common_multiple(period, job.period()));
    for tile in tiles(info.elements(), TILE.next_multiple_of(period)) {
        let steps = tile.len() * jobs.len();
        if !values.measure(tile, &jobs, &mut tallies, &is_interrupted)? {
            return Err(Stop::Interrupted);
        }
        work.advance(steps);
    }
    for ((tally, job), (number, codes, scale, zero_point)) in tallies.into_iter().zip(&jobs).zip(about) {
        let quantizer = quantizers[number];
        let row = || {
            if let Some(error) = tally.error {
                return Err(error);
            }
            let bits_per_element = quantizer.bits_per_element(&info.shape, info.dtype)?;
            let metrics = tally.accumulator.metrics().ok_or_else(|| Error::Empty { name: info.name.clone() })?;
            let clipped_fraction = match job {
                Job::Rows(_) => None,
                _ => Some(tally.clipped as f64 / metrics.elements as f64),
            };
            let row = ReportRow::measured(info, quantizer.name(), bits_per_element, codes, metrics, &tally.counts);
            Ok(ReportRow { clipped_fraction, scale, zero_point, ..row })
        };
        outcomes[number] = Some(row().map_err(Arc::new));
    }
    Ok(())
}

fn tiles(elements: usize, length: usize) -> impl Iterator<Item = Range<usize>> {
    (0..elements).step_by(length).map(move |start| start..(start + length).min(elements))
}
