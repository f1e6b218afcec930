//! The magnitude to clip at, by relative entropy: the calibration of TensorRT.

use crate::sample::Sample;

/// Bins of the histogram, where the levels do not need more.
const BINS: usize = 2048;

/// Bins to a level, at least: as in 2048 bins for 128 levels.
const BINS_PER_LEVEL: usize = 16;

/// Divergences that differ by less are equal, and the larger threshold is taken.
const SAME: f64 = 1e-12;

/// The threshold t for which the distribution of the magnitudes loses least, as relative entropy, when those above t are
/// clipped and the others are told apart by `levels` even steps only. `levels` is the number of magnitudes that the grid has,
/// 128 for int8. In units of the data, at most the largest magnitude. None for no values, only zeros, and no levels.
///
/// After Migacz 2017, "8-bit inference with TensorRT": a histogram of B bins from 0 to the largest magnitude. For a candidate
/// of i bins, P is the histogram of the first i bins, with all that is above added to the last. Q is made of the same bins
/// without what is above: their counts are merged into `levels` even parts and each part is spread evenly over those of its
/// bins that P has anything in. Both are normalized, and the candidate with the least
///
/// ```text
/// KL(P‖Q) = Σ P ln(P/Q)
/// ```
///
/// is taken, the largest of those within 10⁻¹². Where P has something and Q nothing, which only happens in the last bin, the
/// divergence is infinite and the candidate is out: it would clip what is above to where no value is. So nothing is smoothed.
/// The candidate of all B bins is always finite. Zeros are not counted, since every grid stores them exactly.
///
/// B is the larger of 2048 and 16 · levels. A histogram with as many bins as there are levels, ONNX Runtime's default of 128
/// and 128, has one candidate, the whole range, so that it never clips. PyTorch's `HistogramObserver` searches for 2⁸ levels
/// whatever range of codes it is given; here the levels of the grid count.
///
/// Few values (fewer than levels, say) mostly fall in bins of their own, which Q then reproduces: the divergence of the whole
/// range is near 0, and nothing is clipped.
///
/// Cost: O(n) to count, then O(min(levels, n)) for each of at most 2048 candidates, by sums over the bins below:
/// 8 ms for 2²⁰ values, and 0.1 ms for a block of 32 on 8 levels or 128 on 128.
pub(crate) fn kl_threshold<'a>(magnitudes: impl Into<Sample<'a, f64>>, levels: usize) -> Option<f64> {
    let magnitudes = magnitudes.into();
    let largest = magnitudes.values.iter().fold(0.0_f64, |largest, x| largest.max(x.abs()));
    if largest == 0.0 || levels == 0 {
        return None;
    }
    let bins = BINS.max(BINS_PER_LEVEL * levels);
    let histogram = Histogram::new(magnitudes, largest, bins);
    let mut best: Option<(f64, usize)> = None;
    // From the whole range down, in as many steps as 2048 bins have.
    for end in (levels..=bins).rev().step_by(bins / BINS) {
        // Most candidates need no more than a look at their last part.
        let (least, _) = best.unwrap_or((f64::INFINITY, bins));
        if histogram.bound(end, levels) < least
            && let Some(divergence) = histogram.divergence(end, levels)
            && best.is_none_or(|(least, _)| divergence < least - SAME)
        {
            best = Some((divergence, end));
        }
    }
    best.map(|(_, end)| largest * (end as f64 / bins as f64))
}

/// Sums of the counts of all bins below each.
struct Histogram {
    /// Σ count, the number of bins with any, and Σ count · ln(count).
    counts: Vec<u64>,
    occupied: Vec<usize>,
    entropy: Vec<f64>,
    /// The bins with any, rising.
    bins: Vec<usize>,
    /// ln of the first whole numbers.
    logarithms: Vec<f64>,
}

impl Histogram {
    fn new(magnitudes: Sample<f64>, largest: f64, bins: usize) -> Self {
        let mut counts = vec![0_u64; bins];
        for (x, count) in magnitudes.weighted() {
            if x != 0.0 {
                let bin = (x.abs() / largest * bins as f64) as usize;
                counts[bin.min(bins - 1)] += count;
            }
        }
        let most = 4096.min((magnitudes.len() as usize).max(bins) + 1);
        let mut histogram = Self {
            counts: vec![0],
            occupied: vec![0],
            entropy: vec![0.0],
            bins: Vec::new(),
            logarithms: (0..most).map(|count| (count as f64).ln()).collect(),
        };
        let (mut sum, mut entropy) = (0, 0.0);
        for (bin, count) in counts.into_iter().enumerate() {
            if count > 0 {
                histogram.bins.push(bin);
                sum += count;
                entropy += histogram.count_ln_count(count);
            }
            histogram.counts.push(sum);
            histogram.occupied.push(histogram.bins.len());
            histogram.entropy.push(entropy);
        }
        histogram
    }

    fn ln(&self, count: u64) -> f64 {
        self.logarithms.get(count as usize).copied().unwrap_or_else(|| (count as f64).ln())
    }

    fn count_ln_count(&self, count: u64) -> f64 {
        if count == 0 { 0.0 } else { count as f64 * self.ln(count) }
    }

    /// At most KL(P‖Q): the divergence with all parts but the last merged into one, which never is more.
    fn bound(&self, end: usize, levels: usize) -> f64 {
        let total = self.counts.last().copied().unwrap_or(0) as f64;
        let within = self.counts[end] as f64;
        let below = self.counts[(levels - 1) * end / levels] as f64;
        let (last, last_in_all) = (within - below, total - below);
        // Where the last part is empty in P too, it adds nothing.
        let last_term = if last_in_all > 0.0 { last_in_all * (last_in_all * within / (last * total)).ln() } else { 0.0 };
        let below_term = if below > 0.0 { below * (within / total).ln() } else { 0.0 };
        (last_term + below_term) / total
    }

    /// KL(P‖Q) for the first `end` bins; None if it is infinite.
    ///
    /// With counts c of bins (the last with what is above), N in all, and counts m of parts (without), M in all, spread over b
    /// bins each: Σ c/N · ln(c/N ÷ m/(bM)) = [Σ c ln c - Σ over parts of (Σc) ln(m/b)]/N + ln(M/N).
    fn divergence(&self, end: usize, levels: usize) -> Option<f64> {
        let total = *self.counts.last()?;
        let within = self.counts[end];
        let above = total - within;
        let in_last = self.counts[end] - self.counts[end - 1];
        let mut sum = self.entropy[end - 1] + self.count_ln_count(in_last + above);
        let mut last_part = 0;
        let mut next = 0;
        // From one part with any count to the next.
        while next < self.occupied[end] {
            let bin = self.bins[next];
            let part = ((bin + 1) * levels - 1) / end;
            let part_end = (part + 1) * end / levels;
            let count = self.counts[part_end] - self.counts[bin];
            let mut spread_over = self.occupied[part_end] - next;
            let mut counted = count;
            if part_end == end {
                spread_over += usize::from(in_last == 0 && above > 0);
                counted += above;
                last_part = count;
            }
            sum -= counted as f64 * (self.ln(count) - self.ln(spread_over as u64));
            next = self.occupied[part_end];
        }
        if above > 0 && last_part == 0 {
            return None;
        }
        Some(sum / total as f64 + (within as f64 / total as f64).ln())
    }
}
