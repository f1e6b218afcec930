//! The levels of the best codebook for given values.

use std::ops::Range;

use crate::binary::scaled;
use crate::double_double::DoubleDouble;
use crate::error::Result;
use crate::format::Codebook;
use crate::sorted::Sorted;
use crate::tensor::Tensor;

/// Up to how many cut positions a search keeps at once, at 4 bytes each.
const KEPT: usize = 1 << 25;

/// From how many ranks on a search is worth two threads.
const PARALLEL: usize = 1 << 13;

/// The k levels with the least Σ(x - nearest level)², rising: the global optimum, that is one-dimensional k-means. The distinct
/// values themselves if there are at most k; none of no values or for k = 0. The values may have any finite magnitude.
///
/// An optimal codebook cuts the sorted values into k runs and has the mean of each as level. So the gain over storing the mean
/// of all, F(m, j) for the first j values in m runs, follows from
///
/// ```text
/// F(m, j) = max over i of F(m - 1, i) + (S(j) - S(i))² / (W(j) - W(i)),
/// ```
///
/// S and W the sum and number of values below a rank. The best i grows with j, so the middle j is solved first and divides what
/// the others have to look at: O(k n log n) for n distinct values, 1.4 s for 2²⁰ of
/// them and k = 16 on two cores. Wang & Song 2011, "Ckmeans.1d.dp"; Grønlund et al. 2017,
/// "Fast exact k-means, k-medians and Bregman divergence clustering in 1D".
///
/// S counts from the mean of all values and keeps 32 digits, so that differences of it have all of f64's. F is in f64, so
/// codebooks whose errors differ by less than some 10⁻¹⁵ Σ(x - mean)² are equal to this search; its cuts are then refined, by
/// Lloyd's steps with the exact means, until they are those of a local optimum.
///
/// Memory: some 60 bytes a distinct value, and 4 k n bytes for the cuts if that is at most 128 MiB. Otherwise the cut halfway is
/// found first and each half by itself, which takes twice as long. The same bits for any number of threads and order of values.
pub(crate) fn optimal_levels(values: &[f64], k: usize) -> Vec<f64> {
    if k == 0 || values.is_empty() {
        return Vec::new();
    }
    let Some(data) = Sorted::new(values) else { return vec![0.0] };
    let in_units = |level: &f64| scaled(*level, data.exponent());
    if data.values().len() <= k {
        return data.values().iter().map(in_units).collect();
    }
    let mut cuts = Vec::with_capacity(k + 1);
    cuts.push(0);
    Runs::new(&data).cut(0..data.values().len(), k, &mut cuts);
    refined(&data, cuts).iter().map(in_units).collect()
}

impl Codebook {
    /// The best `levels` values for this tensor: those for which Σ (x - nearest value)² is least, exactly, and not only better than their
    /// neighbours, as those that Lloyd's algorithm finds. For use without a scale: `Scheme::cast(codebook)`. Of a tensor with no more
    /// distinct values than `levels`, they are those. It takes 1.4 s for a million values and 16 levels.
    ///
    /// Its name is made of its values, so that the same values always give the same codebook.
    ///
    /// ```
    /// # use quantlens::{Codebook, Scheme, Tensor};
    /// let x = Tensor::from_vec("x", vec![0.0, 0.5, 5.0, 5.5, 9.0])?;
    /// let codebook = Codebook::optimal(&x, 3)?;
    /// assert_eq!(codebook.levels(), [0.25, 5.25, 9.0]);
    /// assert_eq!(Scheme::cast(codebook).quantize(&x)?.codes().to_vec(), [0, 0, 1, 1, 2]);
    /// # Ok::<(), quantlens::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Codebook`](crate::Error::Codebook) for fewer than 2 levels or more than 65 536, and for a tensor whose values are all the same, which
    /// needs none.
    pub fn optimal(tensor: &Tensor, levels: usize) -> Result<Self> {
        let wanted = if levels > Self::MAX_LEVELS { Vec::new() } else { optimal_levels(&tensor.to_f64_vec(), levels) };
        // FNV-1a of the bits, http://www.isthe.com/chongo/tech/comp/fnv/
        let bytes = wanted.iter().flat_map(|level| level.to_bits().to_le_bytes());
        let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        Self::new(&format!("optimal{levels}_{hash:016x}"), &wanted)
    }
}

/// The levels of the runs between the cuts, after Lloyd's steps until no cut moves.
fn refined(data: &Sorted, mut cuts: Vec<usize>) -> Vec<f64> {
    let means = |cuts: &[usize]| -> Vec<f64> {
        let below: Vec<(f64, DoubleDouble)> = cuts.iter().map(|cut| data.below(*cut)).collect();
        below.windows(2).map(|pair| pair[1].1.add(pair[0].1.negated()).value() / (pair[1].0 - pair[0].0)).collect()
    };
    let mut levels = means(&cuts);
    // The search leaves next to nothing to do; the number only keeps rounding from going round in circles.
    for _ in 0..64 {
        let mut moved = cuts.clone();
        for (cut, pair) in moved.iter_mut().skip(1).zip(levels.windows(2)) {
            *cut = data.rank(pair[0] / 2.0 + pair[1] / 2.0);
        }
        if moved == cuts || moved.windows(2).any(|pair| pair[0] >= pair[1]) {
            break;
        }
        cuts = moved;
        levels = means(&cuts);
    }
    levels
}

/// What the gain of a run is made of: S as two parts, and W, of the values below each rank.
struct Runs {
    sums: Vec<f64>,
    rests: Vec<f64>,
    weights: Vec<f64>,
    /// Up to how many cut positions are kept at once.
    kept: usize,
}

impl Runs {
    fn new(data: &Sorted) -> Self {
        let len = data.values().len();
        let (weight, sum) = data.below(len);
        let mean = sum.value() / weight;
        let mut runs = Self {
            sums: Vec::with_capacity(len + 1),
            rests: Vec::with_capacity(len + 1),
            weights: Vec::with_capacity(len + 1),
            kept: KEPT,
        };
        let (mut sum, mut weight) = (DoubleDouble::default(), 0.0);
        for rank in 0..=len {
            runs.sums.push(sum.value());
            runs.rests.push(sum.rest());
            runs.weights.push(weight);
            if let Some(value) = data.values().get(rank) {
                sum = sum.add(DoubleDouble::sum(*value, -mean).times(data.weight(rank)));
                weight += data.weight(rank);
            }
        }
        runs
    }

    /// Appends the ends of the best `k` runs of these ranks, of which there are at least `k`.
    fn cut(&self, ranks: Range<usize>, k: usize, cuts: &mut Vec<usize>) {
        if k == 1 {
            cuts.push(ranks.end);
            return;
        }
        let len = ranks.len();
        let keep_all = len * k <= self.kept;
        // gains[j]: of the first j values in as many runs as there were layers. 0 runs hold 0 values.
        let mut gains: Vec<f64> = (0..=len).map(|end| self.gain(ranks.start, ranks.start + end)).collect();
        let mut next = vec![f64::NEG_INFINITY; len + 1];
        let mut starts = vec![0_u32; len + 1];
        let mut kept: Vec<Vec<u32>> = Vec::new();
        // Where the run that is number k/2 ends, on the way to each j.
        let half = k / 2;
        let mut halfway: Vec<u32> = (0..=len as u32).collect();
        for runs in 2..=k {
            // Each run has a value at least, those to come too. Of the last layer, only the end counts.
            let ends = if runs == k { len..len + 1 } else { runs..len - (k - runs) + 1 };
            next.fill(f64::NEG_INFINITY);
            let layer = Layer { runs: self, offset: ranks.start, gains: &gains };
            let (from, to) = (ends.start, ends.end);
            layer.solve(ends, runs - 1..to - 1, &mut next[from..to], &mut starts[from..to]);
            if keep_all {
                kept.push(starts.clone());
            } else if runs > half {
                halfway = starts.iter().map(|start| halfway[*start as usize]).collect();
            }
            std::mem::swap(&mut gains, &mut next);
        }
        if keep_all {
            let mut ends = vec![len];
            for starts in kept.iter().rev() {
                let end = ends.last().map_or(len, |end| starts[*end] as usize);
                ends.push(end);
            }
            cuts.extend(ends.iter().rev().map(|end| ranks.start + end));
            return;
        }
        let middle = ranks.start + halfway[len] as usize;
        drop((gains, next, starts, halfway));
        self.cut(ranks.start..middle, half, cuts);
        self.cut(middle..ranks.end, k - half, cuts);
    }

    /// (Σx)²/n of a run, x counted from the mean of all values; 0 of none.
    #[inline(always)]
    fn gain(&self, start: usize, end: usize) -> f64 {
        let sum = (self.sums[end] - self.sums[start]) + (self.rests[end] - self.rests[start]);
        if start == end { 0.0 } else { sum * sum / (self.weights[end] - self.weights[start]) }
    }
}

/// From the gains in m - 1 runs to those in m.
#[derive(Clone, Copy)]
struct Layer<'a> {
    runs: &'a Runs,
    /// The rank that the first value has.
    offset: usize,
    gains: &'a [f64],
}

impl Layer<'_> {
    /// The gains up to each of `ends`, whose last run starts in `starts`, and where it starts.
    fn solve(self, ends: Range<usize>, starts: Range<usize>, gains: &mut [f64], found: &mut [u32]) {
        if ends.is_empty() {
            return;
        }
        let middle = ends.len() / 2;
        let end = ends.start + middle;
        let (gain, start) = self.best(end, starts.start..starts.end.min(end));
        (gains[middle], found[middle]) = (gain, start as u32);
        let (gains_below, gains_above) = gains.split_at_mut(middle);
        let (found_below, found_above) = found.split_at_mut(middle);
        let mut below = || self.solve(ends.start..end, starts.start..start + 1, gains_below, found_below);
        let mut above = || self.solve(end + 1..ends.end, start..starts.end, &mut gains_above[1..], &mut found_above[1..]);
        if ends.len() > PARALLEL {
            rayon::join(below, above);
        } else {
            below();
            above();
        }
    }

    /// The largest gain up to `end`, and the first of the starts of the last run that have it.
    fn best(self, end: usize, starts: Range<usize>) -> (f64, usize) {
        // A gain is a division and some sums, which a CPU does several at a time as long as nothing is compared.
        const AT_ONCE: usize = 32;
        let Runs { sums, rests, weights, .. } = self.runs;
        let at = self.offset + end;
        let (sum, rest, weight) = (sums[at], rests[at], weights[at]);
        let (mut best, mut best_start) = (f64::NEG_INFINITY, starts.start);
        let mut from = starts.start;
        while from < starts.end {
            let to = (from + AT_ONCE).min(starts.end);
            let ranks = self.offset + from..self.offset + to;
            let mut gains = [f64::NEG_INFINITY; AT_ONCE];
            let parts = sums[ranks.clone()].iter().zip(&rests[ranks.clone()]).zip(&weights[ranks]);
            for ((gain, before), ((s, r), w)) in gains.iter_mut().zip(&self.gains[from..to]).zip(parts) {
                let sum = (sum - s) + (rest - r);
                *gain = before + sum * sum / (weight - w);
            }
            let most = gains.iter().fold(f64::NEG_INFINITY, |most, gain| if *gain > most { *gain } else { most });
            if most > best {
                best = most;
                best_start = from + gains.iter().position(|gain| *gain == most).unwrap_or(0);
            }
            from = to;
        }
        (best, best_start)
    }
}

#[cfg(test)]
mod tests {
    use super::Runs;
    use crate::sorted::Sorted;

    #[test]
    fn halving_finds_the_cuts_that_keeping_them_finds() {
        let values: Vec<f64> = (0..500).map(|i| f64::from(i * 7919 % 1009).sqrt()).collect();
        let data = Sorted::new(&values).unwrap();
        let len = data.values().len();
        for k in 1..40 {
            let (mut kept, mut halved) = (Vec::new(), Vec::new());
            Runs::new(&data).cut(0..len, k, &mut kept);
            Runs { kept: 0, ..Runs::new(&data) }.cut(0..len, k, &mut halved);
            assert_eq!(kept, halved, "{k}");
        }
    }
}
