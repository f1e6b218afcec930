//! The fused pass: one read of the values gives metrics, clipping and code counts of all schemes, and stores nothing.
//!
//! While a block of values is in the first-level cache, each scheme in turn encodes, decodes and adds up its errors on it.

use rayon::prelude::*;

use crate::codec::Codec;
use crate::error::{Error, Result};
use crate::granularity::Layout;
use crate::metrics::{BLOCK, Metrics, MetricsAccumulator, Sums};
use crate::qparams::{BlockParams, EachBuffers, QParams};
use crate::quantize::{fake_quantize_with, for_params};
use crate::simd::for_vectors;
use crate::tensor::{Real, TASK_LEN, Tensor, with_values};

/// What quantizing a tensor does to it.
#[derive(Debug, Clone)]
pub(crate) struct Measured {
    pub(crate) metrics: Metrics,
    /// Elements outside the codes, moved to the first or last one.
    pub(crate) clipped: u64,
    /// How often each code occurs, counted from `quant_min`.
    pub(crate) counts: Vec<u64>,
}

/// [`measure`] under one scheme's parameters.
pub(crate) fn measure_one(tensor: &Tensor, qparams: &QParams) -> Result<Measured> {
    let measured = measure(tensor, &[qparams], || false).and_then(|mut each| each.pop());
    measured.unwrap_or_else(|| Err(Error::Empty { name: tensor.name().to_owned() }))
}

/// The numbers that `Metrics::between(tensor, fake_quantize(tensor))` and the codes would give, bit for bit, under each of these parameters.
/// `None` if `is_stopped` says so before the end; it is asked for every block of values.
pub(crate) fn measure(
    tensor: &Tensor,
    qparams: &[&QParams],
    is_stopped: impl Fn() -> bool + Sync,
) -> Option<Vec<Result<Measured>>> {
    let layouts: Vec<Result<Layout>> = qparams.iter().map(|qparams| qparams.layout(tensor.shape())).collect();
    let parts = with_values!(tensor, |values| {
        let pairs = qparams.iter().zip(&layouts).filter_map(|(qparams, layout)| Some((*qparams, layout.as_ref().ok()?)));
        let jobs: Vec<Job<_>> = pairs.map(|(qparams, layout)| Job::new(qparams, layout)).collect();
        measure_values(values, &jobs, &is_stopped)?
    });
    let mut parts = parts.into_iter();
    let mut result = |(qparams, layout): (&&QParams, Result<Layout>)| {
        layout?;
        let Part { accumulator, clipped, counts } = parts.next().unwrap_or_default();
        let metrics = accumulator.metrics().ok_or_else(|| Error::Empty { name: tensor.name().to_owned() })?;
        // The largest error passes over NaN, which the sums keep.
        if metrics.max_abs_error.is_finite() && !metrics.mse.is_nan() {
            Ok(Measured { metrics, clipped, counts })
        } else {
            // Rare: look again to say where.
            Err(fake_quantize_with(tensor, qparams)
                .err()
                .unwrap_or_else(|| Error::DequantizedOverflow { name: tensor.name().to_owned(), index: 0 }))
        }
    };
    Some(qparams.iter().zip(layouts).map(&mut result).collect())
}

/// A scheme's part of the pass.
struct Job<'a, T> {
    params: BlockParams<T>,
    layout: &'a Layout,
    codec: Codec<T>,
    codes_in_all: usize,
}

impl<'a, T: Real> Job<'a, T> {
    fn new(qparams: &QParams, layout: &'a Layout) -> Self {
        let scheme = qparams.scheme();
        let codes_in_all = (scheme.quant_max() - scheme.quant_min()) as usize + 1;
        Self { params: qparams.in_type(), layout, codec: Codec::new(scheme), codes_in_all }
    }
}

/// What a scheme does to some of the elements.
#[derive(Default)]
struct Part {
    accumulator: MetricsAccumulator,
    clipped: u64,
    counts: Vec<u64>,
}

/// One part a job.
fn measure_values<T: Real>(values: &[T], jobs: &[Job<T>], is_stopped: &(dyn Fn() -> bool + Sync)) -> Option<Vec<Part>> {
    // A wide format's table of counts is large, so tasks are few; runs of sums stay whole, so they do not depend on it.
    let task_len = (values.len() / (4 * rayon::current_num_threads())).next_multiple_of(BLOCK).clamp(TASK_LEN, MAX_TASK_LEN);
    let tasks: Option<Vec<Vec<Task>>> = values
        .par_chunks(task_len)
        .enumerate()
        .map(|(index, chunk)| {
            let mut tasks: Vec<Task> = jobs.iter().map(|job| Task::new(job.codes_in_all)).collect();
            measure_task(chunk, index * task_len, jobs, &mut tasks, is_stopped).then_some(tasks)
        })
        .collect();
    let mut parts: Vec<Part> = jobs.iter().map(|job| Part { counts: vec![0; job.codes_in_all], ..Part::default() }).collect();
    for tasks in tasks? {
        for (part, task) in parts.iter_mut().zip(tasks) {
            task.sums.into_iter().for_each(|sums| part.accumulator.push_block(sums));
            part.clipped += task.clipped;
            task.counts.add_to(&mut part.counts);
        }
    }
    Some(parts)
}

/// A task's counts are 32 bits wide.
const MAX_TASK_LEN: usize = 1 << 30;

/// What a scheme does to the elements of a task.
struct Task {
    /// Of each block.
    sums: Vec<Sums>,
    clipped: u64,
    counts: Counts,
}

impl Task {
    fn new(codes_in_all: usize) -> Self {
        Self { sums: Vec::new(), clipped: 0, counts: Counts::new(codes_in_all) }
    }
}

for_vectors! {
    /// One task a job. False if it was stopped before the end.
    fn measure_task<T: Real>(
        chunk: &[T],
        start: usize,
        jobs: &[Job<T>],
        tasks: &mut [Task],
        is_stopped: &(dyn Fn() -> bool + Sync),
    ) -> bool {
        let (mut buffer, mut patterns, mut buffers) = ([T::ZERO; BLOCK], [0_u32; PIECE], EachBuffers::default());
        let mut at = start;
        for x in chunk.chunks(BLOCK) {
            if is_stopped() {
                return false;
            }
            let mut squared_reference = None;
            let approximation = &mut buffer[..x.len()];
            for (Job { params: all_params, layout, codec, .. }, task) in jobs.iter().zip(&mut *tasks) {
                for segment in layout.segments(at..at + x.len()).flat_map(|segment| segment.pieces(PIECE)) {
                    let local = segment.elements.start - at..segment.elements.end - at;
                    let (x, codes) = (&x[local.clone()], &mut approximation[local]);
                    let patterns = &mut patterns[..x.len()];
                    for_params!(all_params, segment, &mut buffers, |params| {
                        task.clipped += codec.round_trip(x, segment.elements.start, params, codes, patterns);
                    });
                    task.counts.count(patterns);
                }
                let sums = Sums::in_lanes(x, approximation, squared_reference);
                squared_reference = Some(sums.squared_reference());
                task.sums.push(sums);
            }
            at += x.len();
        }
        true
    }
}

/// Elements whose values, codes and patterns stay in the first-level cache.
const PIECE: usize = 1024;

/// How often each code occurs, counted from `quant_min`.
struct Counts {
    /// Neighbouring elements often have the same code; counting them in turn in several tables keeps one increment from waiting for the
    /// last. Not worth it where the tables would leave the cache: then only the first is used.
    tables: [Vec<u32>; 4],
}

impl Counts {
    /// Codes of at most 8 bits: no index can be past the end of such a table.
    const BYTE: usize = 256;

    fn new(codes_in_all: usize) -> Self {
        let length = codes_in_all.max(Self::BYTE);
        let table = |index: usize| vec![0; if index == 0 || length == Self::BYTE { length } else { 0 }];
        Self { tables: [0, 1, 2, 3].map(table) }
    }

    #[inline(always)]
    fn count(&mut self, patterns: &[u32]) {
        let [a, b, c, d] = &mut self.tables;
        if let (Some(a), Some(b), Some(c), Some(d)) = (byte_table(a), byte_table(b), byte_table(c), byte_table(d)) {
            let (quads, rest) = patterns.as_chunks::<4>();
            for quad in quads {
                increment(&mut a[usize::from(quad[0] as u8)]);
                increment(&mut b[usize::from(quad[1] as u8)]);
                increment(&mut c[usize::from(quad[2] as u8)]);
                increment(&mut d[usize::from(quad[3] as u8)]);
            }
            rest.iter().for_each(|&pattern| increment(&mut a[usize::from(pattern as u8)]));
        } else {
            for &pattern in patterns {
                if let Some(count) = a.get_mut(pattern as usize) {
                    increment(count);
                }
            }
        }
    }

    fn add_to(self, counts: &mut [u64]) {
        for table in self.tables {
            counts.iter_mut().zip(table).for_each(|(total, count)| *total += u64::from(count));
        }
    }
}

#[inline(always)]
fn byte_table(table: &mut [u32]) -> Option<&mut [u32; Counts::BYTE]> {
    table.try_into().ok()
}

#[inline(always)]
fn increment(count: &mut u32) {
    // Tasks are too short for it to overflow.
    *count = count.wrapping_add(1);
}
