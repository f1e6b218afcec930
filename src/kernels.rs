//! The fused pass: one read of the values gives metrics, clipping and code counts of a scheme, and stores nothing.

use rayon::prelude::*;

use crate::codec::Codec;
use crate::error::{Error, Result};
use crate::granularity::Layout;
use crate::metrics::{BLOCK, Metrics, MetricsAccumulator, Sums};
use crate::qparams::{EachBuffers, QParams};
use crate::quantize::{fake_quantize_with, for_params};

use crate::tensor::{Real, TASK_LEN, Tensor, with_values};

/// What quantizing a tensor does to it.
pub(crate) struct Measured {
    pub(crate) metrics: Metrics,
    /// Elements outside the codes, moved to the first or last one.
    pub(crate) clipped: u64,
    /// How often each code occurs, counted from `quant_min`.
    pub(crate) counts: Vec<u64>,
}

/// The numbers that `Metrics::between(tensor, fake_quantize(tensor))` and the codes would give, bit for bit.
pub(crate) fn measure(tensor: &Tensor, qparams: &QParams) -> Result<Measured> {
    let layout = qparams.layout(tensor.shape())?;
    let measured = with_values!(tensor, |values| measure_values(values, qparams, &layout));
    let measured = measured.ok_or_else(|| Error::Empty { name: tensor.name().to_owned() })?;
    // The largest error passes over NaN, which the sums keep.
    if measured.metrics.max_abs_error.is_finite() && !measured.metrics.mse.is_nan() {
        Ok(measured)
    } else {
        // Rare: look again to say where.
        Err(fake_quantize_with(tensor, qparams)
            .err()
            .unwrap_or_else(|| Error::DequantizedOverflow { name: tensor.name().to_owned(), index: 0 }))
    }
}

struct Task {
    /// Of each run of elements that sums are taken over.
    sums: Vec<Sums>,
    clipped: u64,
    counts: Vec<u32>,
}

fn measure_values<T: Real>(values: &[T], qparams: &QParams, layout: &Layout) -> Option<Measured> {
    let scheme = qparams.scheme();
    let codes_in_all = (scheme.quant_max() - scheme.quant_min()) as usize + 1;
    // A wide format's table of counts is large, so tasks are few; runs of sums stay whole, so they do not depend on it.
    let task_len = (values.len() / (4 * rayon::current_num_threads())).next_multiple_of(BLOCK).clamp(TASK_LEN, MAX_TASK_LEN);
    let tasks: Vec<Task> = values
        .par_chunks(task_len)
        .enumerate()
        .map(|(index, chunk)| measure_task(chunk, index * task_len, qparams, layout, codes_in_all))
        .collect();

    let mut accumulator = MetricsAccumulator::default();
    let (mut clipped, mut counts) = (0, vec![0_u64; codes_in_all]);
    for task in tasks {
        task.sums.into_iter().for_each(|sums| accumulator.push_block(sums));
        clipped += task.clipped;
        counts.iter_mut().zip(task.counts).for_each(|(total, count)| *total += u64::from(count));
    }
    Some(Measured { metrics: accumulator.metrics()?, clipped, counts })
}

/// A task's counts are 32 bits wide.
const MAX_TASK_LEN: usize = 1 << 30;

fn measure_task<T: Real>(chunk: &[T], start: usize, qparams: &QParams, layout: &Layout, codes_in_all: usize) -> Task {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the CPU has AVX2, as was just asked.
        return unsafe { measure_task_avx2(chunk, start, qparams, layout, codes_in_all) };
    }
    measure_task_in_place(chunk, start, qparams, layout, codes_in_all)
}

/// The same code with wider vectors, and so the same bits: AVX2 has no fused multiply-add.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn measure_task_avx2<T: Real>(chunk: &[T], start: usize, qparams: &QParams, layout: &Layout, codes_in_all: usize) -> Task {
    measure_task_in_place(chunk, start, qparams, layout, codes_in_all)
}

#[inline(always)]
fn measure_task_in_place<T: Real>(chunk: &[T], start: usize, qparams: &QParams, layout: &Layout, codes_in_all: usize) -> Task {
    let mut task = Task { sums: Vec::with_capacity(chunk.len().div_ceil(BLOCK)), clipped: 0, counts: vec![0; codes_in_all] };
    // Neighbouring elements often have the same code; counting them in turn in several tables keeps one increment from
    // waiting for the last. Not worth it where the tables would leave the cache.
    let mut spare = if codes_in_all <= SMALL_TABLE {
        [vec![0_u32; codes_in_all], vec![0; codes_in_all], vec![0; codes_in_all]]
    } else {
        Default::default()
    };
    let codec = Codec::new(qparams.scheme());
    let (mut buffer, mut patterns, mut buffers) = ([T::ZERO; BLOCK], [0_u32; PIECE], EachBuffers::default());
    let mut at = start;
    for x in chunk.chunks(BLOCK) {
        let approximation = &mut buffer[..x.len()];
        for segment in layout.segments(at..at + x.len()).flat_map(|segment| segment.pieces(PIECE)) {
            let local = segment.elements.start - at..segment.elements.end - at;
            let (x, codes) = (&x[local.clone()], &mut approximation[local]);
            let patterns = &mut patterns[..x.len()];
            for_params!(qparams, segment, &mut buffers, |params| {
                codec.encode(x, segment.elements.start, params, codes);
                task.clipped += codec.count_clipped(codes);
                codec.clip(codes);
                codec.patterns(codes, patterns);
                codec.decode(codes, params);
            });
            if codes_in_all <= SMALL_TABLE {
                let [b, c, d] = &mut spare;
                let (quads, rest) = patterns.as_chunks::<4>();
                for quad in quads {
                    count(&mut task.counts, quad[0]);
                    count(b, quad[1]);
                    count(c, quad[2]);
                    count(d, quad[3]);
                }
                rest.iter().for_each(|&pattern| count(&mut task.counts, pattern));
            } else {
                patterns.iter().for_each(|&pattern| count(&mut task.counts, pattern));
            }
        }
        task.sums.push(Sums::of(x, approximation));
        at += x.len();
    }
    for table in spare {
        task.counts.iter_mut().zip(table).for_each(|(total, count)| *total += count);
    }
    task
}

const SMALL_TABLE: usize = 1024;

/// Elements whose values, codes and patterns stay in the first-level cache.
const PIECE: usize = 1024;

#[inline(always)]
fn count(table: &mut [u32], pattern: u32) {
    if let Some(count) = table.get_mut(pattern as usize) {
        *count += 1;
    }
}
