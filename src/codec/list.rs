//! Rounding to a list of values: thresholds between neighbours, however ties are rounded.

use crate::format::{Codebook, Format, Minifloat, Rounding};
use crate::tensor::Real;

/// A list of levels, rising. Codes are positions in it.
#[derive(Debug)]
pub(super) struct ListGrid<T> {
    levels: Vec<T>,
    exact_levels: Vec<f64>,
    /// A number goes past a level if it is larger than this threshold after it; ties are in the thresholds, which are the largest numbers of
    /// the type that stay.
    thresholds: Vec<T>,
    /// A number below the first or above the second is outside by more than half the last gap.
    inside: (T, T),
    /// The code of each level, and the position of each code.
    codes: Vec<u32>,
    positions: Vec<T>,
}

/// Up to this many thresholds each number is compared with all of them, several numbers at a time; more are searched.
const COMPARED: usize = 32;

impl<T: Real> ListGrid<T> {
    pub(super) fn of_codebook(codebook: Codebook, rounding: Rounding) -> Self {
        let levels = codebook.levels().to_vec();
        let middles = (0..levels.len() - 1).map(|position| codebook.threshold(position)).collect();
        let codes = (0..levels.len()).map(|position| codebook.code_of(position)).collect();
        Self::new(levels, middles, codes, rounding)
    }

    pub(super) fn of_float(format: Minifloat, rounding: Rounding) -> Self {
        let (codes, levels): (Vec<i32>, Vec<f64>) = Format::Float(format).grid().into_iter().unzip();
        let middles = levels.windows(2).map(|pair| pair[0] / 2.0 + pair[1] / 2.0).collect();
        Self::new(levels, middles, codes.into_iter().map(|code| code as u32).collect(), rounding)
    }

    /// `middles` are those of the exact levels; what is compared with a level itself is compared with the number of the type that stands for it.
    fn new(exact_levels: Vec<f64>, middles: Vec<f64>, codes: Vec<u32>, rounding: Rounding) -> Self {
        let levels: Vec<T> = exact_levels.into_iter().map(T::from_f64).collect();
        let exact_levels: Vec<f64> = levels.iter().map(|level| level.to_f64()).collect();
        let largest_code = codes.iter().copied().max().unwrap_or(0);
        let mut positions = vec![T::from_f64(f64::NAN); largest_code as usize + 1];
        for (position, &code) in codes.iter().enumerate() {
            positions[code as usize] = T::from_f64(position as f64);
        }
        let thresholds = (0..middles.len())
            .map(|position| {
                let (low, high) = (exact_levels[position], exact_levels[position + 1]);
                let middle = middles[position];
                // -0 and 0 are no two numbers to be between; 0 is 0.
                let toward_zero_is_down = low.abs() < high.abs() || (low.abs() == high.abs() && high == 0.0 && middle > 0.0);
                let codes_even = codes[position].is_multiple_of(2);
                let is_between_zeros = low == 0.0 && high == 0.0;
                let (threshold, tie_stays) = match rounding {
                    _ if is_between_zeros => (0.0, false),
                    Rounding::HalfToEven => (middle, codes_even),
                    Rounding::HalfAwayFromZero => (middle, !toward_zero_is_down),
                    Rounding::HalfTowardZero => (middle, toward_zero_is_down),
                    Rounding::HalfUp => (middle, false),
                    Rounding::HalfDown => (middle, true),
                    Rounding::TowardZero if toward_zero_is_down => (high, false),
                    Rounding::TowardZero => (low, true),
                    Rounding::Down | Rounding::Stochastic { .. } => (high, false),
                    Rounding::Up => (low, true),
                };
                largest_staying(threshold, tie_stays)
            })
            .collect();
        let gap = |a: usize, b: usize| (exact_levels[b] - exact_levels[a]).abs() / 2.0;
        let last = exact_levels.len() - 1;
        let inside = (exact_levels[0] - gap(0, 1.min(last)), exact_levels[last] + gap(last.saturating_sub(1), last));
        Self { levels, exact_levels, thresholds, inside: (T::from_f64(inside.0), T::from_f64(inside.1)), codes, positions }
    }

    pub(super) fn last_position(&self) -> usize {
        self.levels.len() - 1
    }

    /// The position of the level that each number becomes; one outside for what is far outside.
    #[inline(always)]
    pub(super) fn positions(&self, numbers: &mut [T], rounding: Rounding, index: usize) {
        let (below, above) = (-T::ONE, T::from_f64(self.levels.len() as f64));
        let outside = |x: T, position: T| {
            if x < self.inside.0 {
                below
            } else if x > self.inside.1 {
                above
            } else {
                position
            }
        };
        if let Rounding::Stochastic { seed } = rounding {
            for (index, x) in (index as u64..).zip(numbers) {
                let position = self.search(*x);
                let rises = match (self.exact_levels.get(position), self.exact_levels.get(position + 1)) {
                    (Some(low), Some(high)) => (x.to_f64() - low) / (high - low) > Rounding::threshold(seed, index),
                    _ => false,
                };
                *x = outside(*x, T::from_f64((position + usize::from(rises)) as f64));
            }
        } else if self.thresholds.len() <= COMPARED {
            // As many at a time as stay in registers.
            const PIECE: usize = 32;
            let (pieces, rest) = numbers.as_chunks_mut::<PIECE>();
            for numbers in pieces {
                let mut positions = [0_u32; PIECE];
                for &threshold in &self.thresholds {
                    for lane in 0..PIECE {
                        // A sum that is checked for overflow is not made in vectors.
                        positions[lane] = positions[lane].wrapping_add(u32::from(numbers[lane] > threshold));
                    }
                }
                for lane in 0..PIECE {
                    numbers[lane] = outside(numbers[lane], T::from_small(positions[lane]));
                }
            }
            rest.iter_mut().for_each(|x| *x = outside(*x, T::from_f64(self.search(*x) as f64)));
        } else {
            numbers.iter_mut().for_each(|x| *x = outside(*x, T::from_f64(self.search(*x) as f64)));
        }
    }

    fn search(&self, x: T) -> usize {
        self.thresholds.partition_point(|&threshold| x > threshold)
    }

    /// Positions to levels.
    #[inline(always)]
    pub(super) fn levels(&self, positions: &mut [T]) {
        let nan = T::from_f64(f64::NAN);
        let (levels, last) = (&self.levels[..], self.last_position());
        for position in positions {
            let level = levels[(position.small_to_u32() as usize).min(last)];
            *position = if *position >= T::ZERO { level } else { nan };
        }
    }

    /// The code of the level at a position.
    #[inline(always)]
    pub(super) fn pattern(&self, position: u32) -> u32 {
        self.codes.get(position as usize).copied().unwrap_or(0)
    }

    /// The position of a code's level; NaN of a code that there is not.
    #[inline(always)]
    pub(super) fn position(&self, pattern: u32) -> T {
        self.positions.get(pattern as usize).copied().unwrap_or(T::from_f64(f64::NAN))
    }
}

/// The largest number of the type that does not go past this threshold, at which a number stays or not.
fn largest_staying<T: Real>(threshold: f64, tie_stays: bool) -> T {
    let nearest = T::from_f64(threshold);
    let value = nearest.to_f64();
    if value > threshold || (value == threshold && !tie_stays) { nearest.next_below() } else { nearest }
}
