//! Rounding to float formats: the mantissa's last place is found from the number's exponent, and a multiple of it is a whole number.

use std::sync::OnceLock;

use super::round::round_each;
use crate::binary::power_of_two;
use crate::format::{Minifloat, Rounding, Specials};
use crate::tensor::{Real, limit};

/// A float format with a mantissa, whose even codes are its even mantissas.
#[derive(Debug)]
pub(super) struct FloatGrid<T> {
    format: Minifloat,
    smallest_normal: T,
    /// The last place of a number between 1 and 2: 2^-mantissa_bits.
    last_place: T,
    /// Where the smallest step is above 1, the smallest number that it does not divide to 0; else 0.
    negligible: T,
    /// Far enough outside to be seen, near enough not to overflow.
    limit: T,
    /// The value of each code where they are few, else none. Made when it is asked for: rounding one number needs no table.
    values: OnceLock<Vec<f64>>,
}

impl<T: Real> FloatGrid<T> {
    /// `None` for formats without a mantissa.
    pub(super) fn new(format: Minifloat) -> Option<Self> {
        if format.mantissa_bits() == 0 {
            return None;
        }
        let outside = 2.0 * format.largest();
        let limit = if T::from_f64(outside).is_finite() { T::from_f64(outside) } else { T::MAX };
        let smallest_step = format.smallest_normal() * power_of_two(-(format.mantissa_bits() as i32));
        let negligible = if smallest_step > 1.0 { T::from_f64(smallest_step) * T::MIN_NORMAL } else { T::ZERO };
        Some(Self {
            format,
            negligible,
            smallest_normal: T::from_f64(format.smallest_normal()),
            last_place: T::from_f64(power_of_two(-(format.mantissa_bits() as i32))),
            limit,
            values: OnceLock::new(),
        })
    }

    /// The number of the format, its largest exponent unbounded, that each becomes.
    #[inline(always)]
    pub(super) fn round(&self, numbers: &mut [T], rounding: Rounding, index: usize) {
        // A piece at a time, whose steps stay in the first-level cache.
        const PIECE: usize = 128;
        let mut steps = [T::ZERO; PIECE];
        if self.negligible > T::ZERO {
            // Rounded down, a number just below 0 is not 0 however small it is.
            for x in numbers.iter_mut().filter(|x| **x != T::ZERO && x.abs() < self.negligible) {
                *x = self.negligible.with_sign_of(*x);
            }
        }
        for (piece, numbers) in numbers.chunks_mut(PIECE).enumerate() {
            for (step, x) in steps.iter_mut().zip(&mut *numbers) {
                let bounded = limit(*x, -self.limit, self.limit);
                let power = bounded.power_of_two_below();
                let power = if power < self.smallest_normal { self.smallest_normal } else { power };
                let last_place = power * self.last_place;
                *x = bounded / last_place;
                // Rounding to a whole number forgets the sign of 0, which a float format keeps.
                *step = last_place.with_sign_of(bounded);
            }
            round_each(numbers, rounding, index + piece * PIECE);
            for (step, x) in steps.iter().zip(&mut *numbers) {
                *x = (*x * *step).with_sign_of(*step);
            }
            if self.format.specials() == Specials::NanIsNegativeZero {
                // Adding 0 makes -0 a 0, and nothing else another number.
                numbers.iter_mut().for_each(|x| *x = *x + T::ZERO);
            }
        }
    }

    /// What a number beyond the largest is without saturation.
    pub(super) fn beyond(&self) -> f64 {
        if self.format.specials() == Specials::Ieee { f64::INFINITY } else { f64::NAN }
    }

    /// The codes of numbers of the format, or of what numbers beyond the largest became.
    #[inline(always)]
    pub(super) fn patterns(&self, values: &[T], patterns: &mut [u32]) {
        let (mantissa_bits, sign_at) = (self.format.mantissa_bits(), self.format.bits() - 1);
        // Exponent and mantissa stand side by side in the data's type, too, with another bias.
        let bias = (T::EXPONENT_OF_ONE.wrapping_add_signed(-self.format.bias())) << mantissa_bits;
        let smallest_step = T::from_f64(self.format.smallest_normal() * power_of_two(-(mantissa_bits as i32)));
        // What a number beyond the largest became: ±∞, or the one NaN there is. ONNX's and numpy's casts give NaN the sign of that number.
        let overflow = self.format.overflow_code().unwrap_or(0);
        let keeps_sign = self.format.specials() != Specials::NanIsNegativeZero;
        for (pattern, &value) in patterns.iter_mut().zip(values) {
            let magnitude = value.abs();
            let normal = magnitude.exponent_and_mantissa(mantissa_bits).wrapping_sub(bias);
            let subnormal = (magnitude / smallest_step).small_to_u32();
            let sign = value.sign_bit() << sign_at;
            let number = sign | if magnitude < self.smallest_normal { subnormal } else { normal };
            *pattern = if magnitude.is_finite() { number } else { overflow | if keeps_sign { sign } else { 0 } };
        }
    }

    /// What codes stand for.
    #[inline(always)]
    pub(super) fn values(&self, patterns: &[u32], values: &mut [T]) {
        let decode = |code| self.format.decode(code);
        let few = || if self.format.bits() <= 8 { (0..1 << self.format.bits()).map(decode).collect() } else { Vec::new() };
        let table = self.values.get_or_init(few);
        for (value, &pattern) in values.iter_mut().zip(patterns) {
            *value = T::from_f64(table.get(pattern as usize).copied().unwrap_or_else(|| decode(pattern)));
        }
    }
}
