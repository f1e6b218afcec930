//! Rounding to a list of values: thresholds between neighbours, however ties are rounded.

use crate::format::{Codebook, Format, Minifloat, Rounding};
use crate::tensor::Real;

/// A list of levels, rising. Codes are positions in it.
#[derive(Debug)]
pub(super) struct ListGrid<T> {
    levels: Vec<T>,
    /// The same where there are at most 256, and NaN after them.
    few_levels: Option<Box<[T; 256]>>,
    exact_levels: Vec<f64>,
    /// A number goes past a level if it is larger than this threshold after it; ties are in the thresholds, which are the largest numbers of
    /// the type that stay.
    thresholds: Vec<T>,
    /// A number below the first or above the second is outside by more than half the last gap.
    inside: (T, T),
    /// The code of each level, where it is not the level's position; and the position of each code.
    codes: Option<Vec<u32>>,
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
        let inside = (T::from_f64(inside.0), T::from_f64(inside.1));
        let are_positions = codes.iter().enumerate().all(|(position, &code)| position == code as usize);
        let few_levels = (levels.len() <= 256).then(|| {
            let mut few = Box::new([T::from_f64(f64::NAN); 256]);
            few[..levels.len()].copy_from_slice(&levels);
            few
        });
        Self { levels, few_levels, exact_levels, thresholds, inside, codes: (!are_positions).then_some(codes), positions }
    }

    pub(super) fn last_position(&self) -> usize {
        self.levels.len() - 1
    }

    /// The position of the level that each number becomes; one outside for what is far outside.
    #[inline(always)]
    pub(super) fn positions(&self, numbers: &mut [T], rounding: Rounding, index: usize) {
        let (below, above) = (-T::ONE, T::from_f64(self.levels.len() as f64));
        // In registers: the compiler cannot know that writing positions leaves them as they are.
        let inside = self.inside;
        let outside = |x: T, position: T| {
            if x < inside.0 {
                below
            } else if x > inside.1 {
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
            // A piece at a time, which stays in the first-level cache.
            const PIECE: usize = 128;
            let mut passed = [0_u32; PIECE];
            let (fours, rest) = self.thresholds.as_chunks::<4>();
            for numbers in numbers.chunks_mut(PIECE) {
                let passed = &mut passed[..numbers.len()];
                passed.fill(0);
                // Loops over elements, of which the compiler makes vectors whatever surrounds them. Four thresholds at a time: fewer sums are written.
                for &[a, b, c, d] in fours {
                    for (passed, &mut x) in passed.iter_mut().zip(&mut *numbers) {
                        let of_four = u32::from(x > a) + u32::from(x > b) + u32::from(x > c) + u32::from(x > d);
                        // A sum that is checked for overflow is not made in vectors.
                        *passed = passed.wrapping_add(of_four);
                    }
                }
                for &threshold in rest {
                    for (passed, &mut x) in passed.iter_mut().zip(&mut *numbers) {
                        *passed = passed.wrapping_add(u32::from(x > threshold));
                    }
                }
                for (passed, x) in passed.iter().zip(numbers) {
                    *x = outside(*x, T::from_small(*passed));
                }
            }
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
        let level_or_nan = |position: T, level: T| if position >= T::ZERO { level } else { nan };
        if let Some(levels) = &self.few_levels {
            for position in positions {
                // Such an index needs no test.
                *position = level_or_nan(*position, levels[usize::from(position.small_to_u32() as u8)]);
            }
        } else {
            for position in positions {
                let level = self.levels.get(position.small_to_u32() as usize).copied().unwrap_or(nan);
                *position = level_or_nan(*position, level);
            }
        }
    }

    /// The codes of the levels at these positions.
    #[inline(always)]
    pub(super) fn patterns(&self, positions: &[T], patterns: &mut [u32]) {
        for (pattern, position) in patterns.iter_mut().zip(positions) {
            *pattern = position.small_to_u32();
        }
        if let Some(codes) = &self.codes {
            for pattern in patterns {
                *pattern = codes.get(*pattern as usize).copied().unwrap_or(0);
            }
        }
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
