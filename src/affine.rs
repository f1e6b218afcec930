//! The formula: the only home of `round(x / scale) + zero_point`.

use crate::error::{Error, Result};
use crate::format::Rounding;
use crate::scheme::{Convention, Scheme};
use crate::tensor::Real;

/// One block's parameters in the type they are computed in: the formula.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Affine<T> {
    scale: T,
    zero_point: T,
    quant_min: T,
    quant_max: T,
    step: Step,
    rounding: Rounding,
}

/// The order of the arithmetic, which is where conventions differ.
#[derive(Debug, Clone, Copy)]
enum Step {
    DivideRoundAdd,
    MultiplyRoundAdd,
    DivideAddRound,
}

impl<T: Real> Affine<T> {
    pub(crate) fn new(scheme: Scheme, scale: T, zero_point: T) -> Self {
        let step = match scheme.convention() {
            Convention::Onnx | Convention::TfLite => Step::DivideRoundAdd,
            Convention::PyTorch => Step::MultiplyRoundAdd,
            Convention::Original => Step::DivideAddRound,
        };
        let (quant_min, quant_max) = (T::from_f64(scheme.quant_min().into()), T::from_f64(scheme.quant_max().into()));
        Self { scale, zero_point, quant_min, quant_max, step, rounding: scheme.rounding() }
    }

    /// Codes before the last clamp, as numbers: what lies outside is at most one code outside, so that clipping can be seen.
    /// `output` is as long as `values`.
    #[inline(always)]
    pub(crate) fn encode(&self, values: &[T], output: &mut [T]) {
        match self.rounding {
            Rounding::HalfToEven => self.encode_rounding(values, output, T::round_small),
            Rounding::HalfAwayFromZero => self.encode_rounding(values, output, round_half_away),
        }
    }

    #[inline(always)]
    fn encode_rounding(&self, values: &[T], output: &mut [T], round: impl Fn(T) -> T) {
        let Self { scale, zero_point, quant_min, quant_max, .. } = *self;
        // Clamping to whole numbers and rounding commute; clamping first keeps the rounded number small.
        let (low, high) = (quant_min - T::ONE, quant_max + T::ONE);
        let (low_steps, high_steps) = (low - zero_point, high - zero_point);
        match self.step {
            Step::DivideRoundAdd => {
                each(values, output, |x| round(limit(x / scale, low_steps, high_steps)) + zero_point);
            }
            Step::MultiplyRoundAdd => {
                let reciprocal = T::ONE / scale;
                each(values, output, |x| round(limit(x * reciprocal, low_steps, high_steps)) + zero_point);
            }
            Step::DivideAddRound => each(values, output, |x| round(limit(x / scale + zero_point, low, high))),
        }
    }

    /// Clips what [`Affine::encode`] left one code outside.
    #[inline(always)]
    pub(crate) fn clamp_codes(&self, codes: &mut [T]) {
        for code in codes {
            *code = limit(*code, self.quant_min, self.quant_max);
        }
    }

    /// How many codes are outside.
    #[inline(always)]
    pub(crate) fn count_clipped(&self, codes: &[T]) -> u64 {
        let outside = |code: T| u32::from(code < self.quant_min) | u32::from(code > self.quant_max);
        u64::from(codes.iter().fold(0_u32, |count, &code| count + outside(code)))
    }

    /// Clamped codes counted from `quant_min`, for a table.
    #[inline(always)]
    pub(crate) fn level(&self, code: T) -> u32 {
        (code - self.quant_min).small_to_u32()
    }

    /// Codes, as numbers, to the values they stand for.
    #[inline(always)]
    pub(crate) fn decode(&self, codes: &mut [T]) {
        for code in codes {
            *code = (*code - self.zero_point) * self.scale;
        }
    }
}

#[inline(always)]
fn each<T: Real>(values: &[T], output: &mut [T], f: impl Fn(T) -> T) {
    for (output, &x) in output.iter_mut().zip(values) {
        *output = f(x);
    }
}

#[inline(always)]
pub(crate) fn limit<T: Real>(x: T, low: T, high: T) -> T {
    let x = if x < low { low } else { x };
    if x > high { high } else { x }
}

/// As [`Real::round_small`], ties away from zero.
#[inline(always)]
fn round_half_away<T: Real>(x: T) -> T {
    let even = x.round_small();
    // Exact, as both are close; ± 1/2 is a tie, and one that went towards zero if it points away from it.
    let rest = x - even;
    let half = T::from_f64(0.5);
    if rest == half && x > T::ZERO {
        even + T::ONE
    } else if rest == -half && x < T::ZERO {
        even - T::ONE
    } else {
        even
    }
}

pub(crate) fn round<T: Real>(x: T, rounding: Rounding) -> T {
    match rounding {
        Rounding::HalfToEven => x.round_small(),
        Rounding::HalfAwayFromZero => round_half_away(x),
    }
}

/// A copy of the values with what lies outside [lower, upper] moved to the bound. The caller's values stay as they are; the
/// original's `clamp` overwrote them.
///
/// ```
/// # use quantlens::clamp;
/// let x = [-3.0, 0.5, 300.0];
/// assert_eq!(clamp(&x, 0.0, 255.0)?, [0.0, 0.5, 255.0]);
/// assert_eq!(x, [-3.0, 0.5, 300.0]);
/// # Ok::<(), quantlens::Error>(())
/// ```
///
/// # Errors
/// [`Error::ClampBounds`] unless lower ≤ upper; [`Error::NotFinite`] at the first NaN, which no bound could hold. Infinities
/// move to the bounds.
pub fn clamp<T: Real>(values: &[T], lower: T, upper: T) -> Result<Vec<T>> {
    if lower.partial_cmp(&upper).is_none_or(|order| order.is_gt()) {
        return Err(Error::ClampBounds { lower: lower.to_f64(), upper: upper.to_f64() });
    }
    if let Some(index) = values.iter().position(|value| value.to_f64().is_nan()) {
        return Err(Error::NotFinite { name: "values".to_owned(), index, value: f64::NAN });
    }
    Ok(values.iter().map(|&value| limit(value, lower, upper)).collect())
}
