//! The fused pass: one read of the values gives metrics, clipping and code counts of a scheme, and stores nothing.

use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::granularity::Layout;
use crate::metrics::{BLOCK, Metrics, MetricsAccumulator, Sums};
use crate::qparams::QParams;
use crate::quantize::fake_quantize_with;

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
    let measured = with_values!(tensor, |values| measure_values(values, qparams, layout));
    let measured = measured.ok_or_else(|| Error::Empty { name: tensor.name().to_owned() })?;
    if measured.metrics.max_abs_error.is_finite() {
        Ok(measured)
    } else {
        // Rare: look again to say where.
        Err(fake_quantize_with(tensor, qparams)
            .err()
            .unwrap_or_else(|| Error::DequantizedOverflow { name: tensor.name().to_owned(), index: 0 }))
    }
}

struct Task {
    blocks: Vec<Sums>,
    clipped: u64,
    counts: Vec<u32>,
}

fn measure_values<T: Real>(values: &[T], qparams: &QParams, layout: Layout) -> Option<Measured> {
    let scheme = qparams.scheme();
    let levels = (scheme.quant_max() - scheme.quant_min()) as usize + 1;
    // A wide format's table of counts is large, so tasks are few; blocks stay whole, so sums do not depend on it.
    let task_len = (values.len() / (4 * rayon::current_num_threads())).next_multiple_of(BLOCK).clamp(TASK_LEN, MAX_TASK_LEN);
    let tasks: Vec<Task> = values
        .par_chunks(task_len)
        .enumerate()
        .map(|(index, chunk)| measure_task(chunk, index * task_len, qparams, layout, levels))
        .collect();

    let mut accumulator = MetricsAccumulator::default();
    let (mut clipped, mut counts) = (0, vec![0_u64; levels]);
    for task in tasks {
        task.blocks.into_iter().for_each(|sums| accumulator.push_block(sums));
        clipped += task.clipped;
        counts.iter_mut().zip(task.counts).for_each(|(total, count)| *total += u64::from(count));
    }
    Some(Measured { metrics: accumulator.metrics()?, clipped, counts })
}

/// A task's counts are 32 bits wide.
const MAX_TASK_LEN: usize = 1 << 30;

fn measure_task<T: Real>(chunk: &[T], start: usize, qparams: &QParams, layout: Layout, levels: usize) -> Task {
    let mut task = Task { blocks: Vec::with_capacity(chunk.len().div_ceil(BLOCK)), clipped: 0, counts: vec![0; levels] };
    // Neighbouring elements often have the same code; counting them in turn in several tables keeps one increment from
    // waiting for the last. Not worth it where the tables would leave the cache.
    let mut spare =
        if levels <= SMALL_TABLE { [vec![0_u32; levels], vec![0; levels], vec![0; levels]] } else { Default::default() };
    let single = qparams.scales().len() == 1;
    let first = qparams.affine::<T>(0);
    let mut buffer = [T::ZERO; BLOCK];
    let mut block_start = start;
    for x in chunk.chunks(BLOCK) {
        let approximation = &mut buffer[..x.len()];
        for (run, block) in layout.runs_in(block_start..block_start + x.len()) {
            let affine = if single { first } else { qparams.affine(block) };
            let local = run.start - block_start..run.end - block_start;
            let codes = &mut approximation[local.clone()];
            affine.encode(&x[local], codes);
            task.clipped += affine.count_clipped(codes);
            affine.clamp_codes(codes);
            if levels <= SMALL_TABLE {
                let [b, c, d] = &mut spare;
                let (quads, rest) = codes.as_chunks::<4>();
                for quad in quads {
                    count(&mut task.counts, affine.level(quad[0]));
                    count(b, affine.level(quad[1]));
                    count(c, affine.level(quad[2]));
                    count(d, affine.level(quad[3]));
                }
                rest.iter().for_each(|&code| count(&mut task.counts, affine.level(code)));
            } else {
                codes.iter().for_each(|&code| count(&mut task.counts, affine.level(code)));
            }
            affine.decode(codes);
        }
        task.blocks.push(Sums::of(x, approximation));
        block_start += x.len();
    }
    for table in spare {
        task.counts.iter_mut().zip(table).for_each(|(total, count)| *total += count);
    }
    task
}

const SMALL_TABLE: usize = 1024;

#[inline(always)]
fn count(table: &mut [u32], level: u32) {
    if let Some(count) = table.get_mut(level as usize) {
        *count += 1;
    }
}
