//! The fused pass: one read of the values gives metrics, clipping and code counts of all quantizers, and stores nothing.
//!
//! While a block of values is in the first-level cache, each scheme in turn encodes, decodes and adds up its errors on it. Schemes whose blocks lie
//! within few rows are calibrated just before, on the rows that a task has.

mod counts;

use std::ops::Range;

use rayon::prelude::*;

use crate::codec::{Codec, round_trip};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::granularity::{Layout, Slabs};
use crate::metrics::{BLOCK, Lanes, MetricsAccumulator, sum_of_squares};
use crate::qparams::{BlockParams, BlockRanges, EachBuffers, QParams, qparams_of};
use crate::quantize::for_params;
use crate::scheme::Scheme;
use crate::simd::for_vectors;
use crate::source::{Source, TileBuffer};
use crate::tensor::{Real, Tensor, all_finite};

use counts::Counts;

/// What quantizing a tensor does to its elements, as far as they were measured.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) accumulator: MetricsAccumulator,
    /// Elements outside the codes, moved to the first or last one.
    pub(crate) clipped: u64,
    /// How often each code occurs, counted from `quant_min`.
    pub(crate) counts: Vec<u64>,
    /// The first element's error, of those that say one. What comes after it is not measured.
    pub(crate) error: Option<Error>,
}

/// A quantizer's part of a pass.
#[expect(clippy::large_enum_variant, reason = "there are few, and they stand where they are made")]
pub(crate) enum Job<'a, T> {
    /// A scheme whose parameters are known.
    Calibrated(Calibrated<T>),
    /// A scheme whose blocks are within few rows. Of one with a scale above those of the blocks, the tensor's largest magnitude is known.
    ByRows { scheme: Scheme, slabs: Slabs, tensor_magnitude: Option<T> },
    /// Another quantizer, which takes rows.
    Rows(Box<dyn RowQuantizer + 'a>),
}

/// A quantizer without parameters over the whole tensor: each piece of so many elements is quantized by itself.
pub trait RowQuantizer: Sync {
    /// Elements of a piece.
    fn period(&self) -> usize;

    /// How many codes there are.
    fn codes_in_all(&self) -> usize;

    /// What some whole pieces come back as, adding to the counts of codes.
    fn round_trip(&self, values: &[f32], approximation: &mut [f32], counts: &mut [u64]);
}

/// A scheme with the parameters of some of a tensor's elements.
pub(crate) struct Calibrated<T> {
    scheme: Scheme,
    params: BlockParams<T>,
    /// Of these elements.
    layout: Layout,
    /// The number of the first of them in the tensor.
    first: usize,
    codec: Codec<T>,
}

impl<T: Real> Calibrated<T> {
    /// The parameters of a tensor's elements from this one on, which have this layout.
    pub(crate) fn new(qparams: &QParams, layout: Layout, first: usize) -> Self {
        let scheme = qparams.scheme();
        Self { scheme, params: qparams.in_type(), layout, first, codec: Codec::new(scheme) }
    }
}

fn codes_in_all(scheme: Scheme) -> usize {
    (scheme.quant_max() - scheme.quant_min()) as usize + 1
}

impl<T: Real> Job<'_, T> {
    /// Elements between two places where its work can be cut.
    pub(crate) fn period(&self) -> usize {
        match self {
            Self::Calibrated(_) => 1,
            Self::ByRows { slabs, .. } => slabs.period(),
            Self::Rows(quantizer) => quantizer.period(),
        }
    }

    fn codes_in_all(&self) -> usize {
        match self {
            Self::Calibrated(calibrated) => codes_in_all(calibrated.scheme),
            Self::ByRows { scheme, .. } => codes_in_all(*scheme),
            Self::Rows(quantizer) => quantizer.codes_in_all(),
        }
    }
}

/// Measures all of a tensor under one scheme's parameters.
pub(crate) fn measure_one(tensor: &Tensor, qparams: &QParams) -> Result<Tally> {
    fn of_type<T: Real>(tensor: &Tensor, qparams: &QParams) -> Result<Tally> {
        let job = Job::<T>::Calibrated(Calibrated::new(qparams, qparams.layout(tensor.shape())?, 0));
        let mut tallies = [Tally::default()];
        Values::of(tensor).measure(0..tensor.len(), &[&job], &mut tallies, &|| false)?;
        let [tally] = tallies;
        match tally.error {
            Some(error) => Err(error),
            None => Ok(tally),
        }
    }
    match tensor.dtype() {
        Dtype::F32 => of_type::<f32>(tensor, qparams),
        Dtype::F64 => of_type::<f64>(tensor, qparams),
    }
}

/// Elements worth a task of their own: not so many that one thread ends long after the others, nor so few that tables of counts cost more than they.
/// A multiple of the periods of all jobs.
pub(crate) fn task_len<T: Real>(elements: usize, jobs: &[&Job<T>]) -> usize {
    let codes = jobs.iter().map(|job| job.codes_in_all()).max().unwrap_or(1);
    let even = elements / (8 * rayon::current_num_threads());
    let wanted = even.clamp(SHORTEST_TASK, LONGEST_TASK).max(16 * codes);
    let period = jobs.iter().fold(1, |period, job| least_common_multiple(period, job.period()));
    // Where possible whole blocks of sums.
    match least_common_multiple(period, BLOCK) {
        both if both <= LONGEST_TASK => wanted.next_multiple_of(both),
        _ => wanted.next_multiple_of(period),
    }
}

const SHORTEST_TASK: usize = 4 * BLOCK;
const LONGEST_TASK: usize = 16 * BLOCK;

/// The smallest number that both divide, neither being 0.
pub(crate) fn least_common_multiple(a: usize, b: usize) -> usize {
    let (mut divisor, mut rest) = (a, b);
    while rest > 0 {
        (divisor, rest) = (rest, divisor % rest);
    }
    (a / divisor).saturating_mul(b)
}

/// Where the values of a tensor are read from, piece by piece.
pub(crate) struct Values<'a> {
    source: &'a dyn Source,
    /// The tensor's number in the source.
    index: usize,
    /// The tensor's name.
    name: &'a str,
    /// Whether the gate has seen them.
    are_finite: bool,
}

impl<'a> Values<'a> {
    /// Of a source that may hold NaN and infinities.
    pub(crate) fn unchecked(source: &'a dyn Source, index: usize, name: &'a str) -> Self {
        Self { source, index, name, are_finite: false }
    }

    /// Of a source whose values are known to be finite.
    pub(crate) fn checked(source: &'a dyn Source, index: usize, name: &'a str) -> Self {
        Self { are_finite: true, ..Self::unchecked(source, index, name) }
    }

    /// Of a tensor in memory.
    pub(crate) fn of(tensor: &'a Tensor) -> Self {
        Self::checked(tensor, 0, tensor.name())
    }

    /// Some of them, finite.
    fn read<'b, T: Real>(&'b self, elements: Range<usize>, buffer: &'b mut TileBuffer) -> Result<&'b [T]> {
        let (first, count) = (elements.start, elements.len());
        let slice = self.source.read(self.index, elements, buffer)?;
        let values = T::of_slice(slice).ok_or(Error::DtypeMismatch { expected: T::DTYPE, found: slice.dtype() })?;
        if values.len() != count {
            return Err(Error::Length { reference: count, approximation: values.len() });
        }
        if !self.are_finite && !all_finite(values) {
            let index = values.iter().position(|value| !value.is_finite()).unwrap_or(0);
            let (name, value) = (self.name.to_owned(), values[index].to_f64());
            return Err(Error::NotFinite { name, index: first + index, value });
        }
        Ok(values)
    }

    /// The ranges of the blocks of each of these layouts.
    pub(crate) fn ranges<T: Real>(
        &self,
        elements: Range<usize>,
        layouts: &[Layout],
        ranges: &mut [BlockRanges<T>],
    ) -> Result<()> {
        let starts: Vec<usize> = elements.clone().step_by(LONGEST_TASK).collect();
        let met: Vec<Result<Vec<_>>> = starts
            .into_par_iter()
            .map_init(TileBuffer::default, |buffer, start| {
                let values = self.read::<T>(start..(start + LONGEST_TASK).min(elements.end), buffer)?;
                Ok(layouts.iter().map(|layout| BlockRanges::met(values, start, layout)).collect())
            })
            .collect();
        for met in met {
            ranges.iter_mut().zip(met?).for_each(|(ranges, met)| ranges.add(met));
        }
        Ok(())
    }

    /// Adds what each job does to some elements to its tally; the numbers are those that `Metrics::between(tensor, fake_quantize(tensor))` and the
    /// codes would give, bit for bit, however the tensor is cut. The elements begin where the work of all jobs can be cut, and end there or with
    /// the tensor. False if `is_stopped`, which is asked for every block of values, said so: then the tallies are of no use.
    ///
    /// # Errors
    /// What reading the values says; what a job says is in its tally.
    pub(crate) fn measure<T: Real>(
        &self,
        elements: Range<usize>,
        jobs: &[&Job<T>],
        tallies: &mut [Tally],
        is_stopped: &(dyn Fn() -> bool + Sync),
    ) -> Result<bool> {
        let task_len = task_len(elements.len(), jobs);
        let is_over: Vec<bool> = tallies.iter().map(|tally| tally.error.is_some()).collect();
        let starts: Vec<usize> = elements.clone().step_by(task_len).collect();
        let tasks: Vec<Result<Option<Vec<Task>>>> = starts
            .into_par_iter()
            .map_init(TileBuffer::default, |buffer, start| {
                if is_stopped() {
                    return Ok(None);
                }
                let values = self.read(start..(start + task_len).min(elements.end), buffer)?;
                let task = |(job, &is_over): (&&Job<T>, &bool)| Task::new(job, start, is_over);
                let mut tasks: Vec<Task> = jobs.iter().zip(&is_over).map(task).collect();
                Ok(self.run(values, start, jobs, &mut tasks, is_stopped).then_some(tasks))
            })
            .collect();
        for tasks in tasks {
            let Some(tasks) = tasks? else { return Ok(false) };
            tallies.iter_mut().zip(tasks).for_each(|(tally, task)| task.add_to(tally));
        }
        Ok(true)
    }

    /// One task a job, on some of the values.
    fn run<T: Real>(
        &self,
        values: &[T],
        first: usize,
        jobs: &[&Job<T>],
        tasks: &mut [Task],
        is_stopped: &(dyn Fn() -> bool + Sync),
    ) -> bool {
        let mut own = Vec::with_capacity(jobs.len());
        let mut scratch = Scratch::default();
        for (job, task) in jobs.iter().zip(&mut *tasks) {
            let mut calibrated = None;
            if !task.is_over() && !is_stopped() {
                match job {
                    Job::Calibrated(_) => {}
                    Job::ByRows { scheme, slabs, tensor_magnitude } => {
                        match calibrate_rows(*scheme, slabs, *tensor_magnitude, values, first) {
                            Ok(found) => calibrated = Some(found),
                            Err(error) => task.error = Some(error.in_blocks_from(slabs.first_block(first))),
                        }
                    }
                    Job::Rows(quantizer) => measure_rows(&**quantizer, self.name, values, first, task, &mut scratch),
                }
            }
            own.push(calibrated);
        }
        let schemes = jobs.iter().zip(&own).map(|(job, own)| match job {
            Job::Calibrated(calibrated) => Some(calibrated),
            _ => own.as_ref(),
        });
        measure_task(self.name, values, first, &schemes.collect::<Vec<_>>(), tasks, is_stopped)
    }
}

/// A scheme with the parameters of whole slabs.
fn calibrate_rows<T: Real>(
    scheme: Scheme,
    slabs: &Slabs,
    tensor_magnitude: Option<T>,
    values: &[T],
    first: usize,
) -> Result<Calibrated<T>> {
    let layout = slabs.layout(values.len())?;
    let qparams = qparams_of(scheme, values, &layout, None, tensor_magnitude)?;
    Ok(Calibrated::new(&qparams, layout, first))
}

/// What a row quantizer reads and writes, kept from one to the next.
#[derive(Default)]
struct Scratch {
    /// Of data that is not f32.
    rounded: Vec<f32>,
    approximation: Vec<f32>,
}

fn measure_rows<T: Real>(
    quantizer: &dyn RowQuantizer,
    name: &str,
    values: &[T],
    first: usize,
    task: &mut Task,
    scratch: &mut Scratch,
) {
    let Scratch { rounded, approximation } = scratch;
    let f32_values = T::as_f32(values).unwrap_or_else(|| {
        rounded.clear();
        rounded.extend(values.iter().map(|value| value.to_f64() as f32));
        rounded
    });
    if !all_finite(f32_values)
        && let Some(index) = f32_values.iter().position(|value| !value.is_finite())
    {
        let (name, value) = (name.to_owned(), values[index].to_f64());
        task.error = Some(Error::F32Overflow { name, index: first + index, value });
        return;
    }
    approximation.resize(values.len(), 0.0);
    quantizer.round_trip(f32_values, approximation, &mut task.row_counts);
    task.error = match all_finite(approximation) {
        true => task.accumulator.push(values, approximation).err(),
        false => overflow(name, approximation, first),
    };
}

/// The error of the first that is not finite.
fn overflow<T: Real>(name: &str, approximation: &[T], at: usize) -> Option<Error> {
    let index = approximation.iter().position(|value| !value.is_finite())?;
    Some(Error::DequantizedOverflow { name: name.to_owned(), index: at + index })
}

/// What a job does to the elements of a task.
struct Task {
    accumulator: MetricsAccumulator,
    clipped: u64,
    counts: Counts,
    /// Of a row quantizer.
    row_counts: Vec<u64>,
    error: Option<Error>,
    /// An earlier tile had an error.
    is_over: bool,
}

impl Task {
    fn new<T: Real>(job: &Job<T>, first: usize, is_over: bool) -> Self {
        let (codes, row_codes) = match job {
            Job::Rows(quantizer) => (0, quantizer.codes_in_all()),
            job => (job.codes_in_all(), 0),
        };
        let (counts, row_counts) = (Counts::new(codes), vec![0; row_codes]);
        let accumulator = MetricsAccumulator::starting_at(first as u64);
        Self { accumulator, clipped: 0, counts, row_counts, error: None, is_over }
    }

    fn is_over(&self) -> bool {
        self.is_over || self.error.is_some()
    }

    /// Keeps a piece of a block of sums that is not whole, and looks whether all approximations are finite.
    #[inline(always)]
    fn look<T: Real>(&mut self, name: &str, x: &[T], approximation: &[T], at: usize, lanes: &Lanes, is_whole: bool) {
        if !is_whole && let Err(error) = self.accumulator.push(x, approximation) {
            self.error = Some(error);
        }
        if !lanes.is_finite() && self.error.is_none() {
            self.error = overflow(name, approximation, at);
        }
    }

    fn add_to(self, tally: &mut Tally) {
        if tally.error.is_some() {
            return;
        }
        tally.clipped += self.clipped;
        for counts in [self.counts.totals(), self.row_counts] {
            tally.counts.resize(tally.counts.len().max(counts.len()), 0);
            tally.counts.iter_mut().zip(counts).for_each(|(total, count)| *total += count);
        }
        tally.error = self.error.or_else(|| tally.accumulator.merge(self.accumulator).err());
    }
}

for_vectors! {
    /// One task a calibrated scheme. False if it was stopped before the end.
    fn measure_task<T: Real>(
        name: &str,
        chunk: &[T],
        first: usize,
        schemes: &[Option<&Calibrated<T>>],
        tasks: &mut [Task],
        is_stopped: &(dyn Fn() -> bool + Sync),
    ) -> bool {
        let (mut buffer, mut patterns, mut buffers) = ([T::ZERO; PIECE], [0_u32; PIECE], EachBuffers::default());
        let (mut at, mut rest) = (first, chunk);
        while !rest.is_empty() {
            if is_stopped() {
                return false;
            }
            let (x, later) = rest.split_at((BLOCK - at % BLOCK).min(rest.len()));
            let squared_reference = sum_of_squares::<V, T>(x);
            // Others may come that are of the same block of sums.
            let is_whole = x.len() == BLOCK;
            for (scheme, task) in schemes.iter().zip(&mut *tasks) {
                let Some(Calibrated { params: all_params, layout, first, codec, .. }) = scheme else { continue };
                if task.is_over() {
                    continue;
                }
                let mut lanes = Lanes::default();
                for (index, x) in x.chunks(PIECE).enumerate() {
                    let at = at + index * PIECE;
                    let start = at - first;
                    let (approximation, patterns) = (&mut buffer[..x.len()], &mut patterns[..x.len()]);
                    for segment in layout.segments(start..start + x.len()) {
                        let local = segment.elements.start - start..segment.elements.end - start;
                        let index = first + segment.elements.start;
                        let (x, codes, patterns) = (&x[local.clone()], &mut approximation[local.clone()], &mut patterns[local]);
                        for_params!(all_params, segment, &mut buffers, |params| {
                            task.clipped += round_trip(codec, x, index, params, codes, patterns);
                        });
                    }
                    task.counts.count_adding::<V, T>(&mut lanes, x, approximation, patterns);
                    task.look(name, x, approximation, at, &lanes, is_whole);
                }
                if is_whole {
                    task.accumulator.push_block(lanes.sums(squared_reference));
                }
            }
            (at, rest) = (at + x.len(), later);
        }
        true
    }
}

/// Elements whose values, codes and patterns stay in the first-level cache.
const PIECE: usize = 1024;
