//! `Codec`: the formulas between values and codes, and the only home of `round(x / scale) + zero_point`.
//!
//! A codec is chosen once for a tensor and a scheme, and works on runs of values in steps, so that clipping can be seen: `encode` gives codes that
//! may lie one outside; `count_clipped` counts those; `clip` moves them to the first or last; `patterns` says which integers are stored for them;
//! `decode` makes of them the values that they stand for. Until then a code is a number of the data's type: of an integer format the code itself,
//! of a float format the value before scaling, of a list its position. `of_patterns` goes back from the stored integers to these numbers.

mod float;
mod list;
mod round;

use crate::convention::{Convention, Order};
use crate::error::{Error, Result};
use crate::format::{Format, Minifloat, Rounding};
use crate::scheme::{Mapping, Overflow, Scheme};
use crate::simd::for_vectors;
use crate::tensor::{Real, limit};

use float::FloatGrid;
use list::ListGrid;
pub(crate) use round::round;
use round::round_each;

/// The parameters of each element of a run: a scale, its reciprocal for arithmetic that multiplies by it, and the zero point or minimum.
pub(crate) trait Params<T>: Copy {
    fn scale(&self, index: usize) -> T;
    fn reciprocal(&self, index: usize) -> T;
    fn offset(&self, index: usize) -> T;
}

/// One block's, for all.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shared<T> {
    pub(crate) scale: T,
    pub(crate) reciprocal: T,
    pub(crate) offset: T,
}

impl<T: Copy> Params<T> for Shared<T> {
    #[inline(always)]
    fn scale(&self, _: usize) -> T {
        self.scale
    }
    #[inline(always)]
    fn reciprocal(&self, _: usize) -> T {
        self.reciprocal
    }
    #[inline(always)]
    fn offset(&self, _: usize) -> T {
        self.offset
    }
}

/// A block's for each element. All are as long as the run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Each<'a, T> {
    pub(crate) scales: &'a [T],
    pub(crate) reciprocals: &'a [T],
    pub(crate) offsets: &'a [T],
}

impl<T: Copy> Params<T> for Each<'_, T> {
    #[inline(always)]
    fn scale(&self, index: usize) -> T {
        self.scales[index]
    }
    #[inline(always)]
    fn reciprocal(&self, index: usize) -> T {
        self.reciprocals[index]
    }
    #[inline(always)]
    fn offset(&self, index: usize) -> T {
        self.offsets[index]
    }
}

#[derive(Debug)]
pub(crate) struct Codec<T> {
    grid: Grid<T>,
    /// The first and the last code, as numbers.
    low: T,
    high: T,
    /// `quant_min`, which positions count from.
    first: T,
    arithmetic: Arithmetic<T>,
    rounding: Rounding,
    overflow: Overflow,
}

#[derive(Debug)]
enum Grid<T> {
    Integers,
    Float(FloatGrid<T>),
    List(ListGrid<T>),
}

/// What is done to a value before it is rounded, and undone after.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Arithmetic<T> {
    DivideRoundAdd,
    MultiplyRoundAdd,
    DivideAddRound,
    /// A minimum is taken off first.
    SubtractDivide,
    SubtractMultiply,
    /// torchao's tinygemm: the offset is what this code, in the middle, means.
    AboutMiddle(T),
    Nothing,
}

impl<T: Real> Codec<T> {
    pub(crate) fn new(scheme: Scheme) -> Self {
        let format = scheme.format();
        let rounding = scheme.rounding();
        let grid = match format {
            Format::Int { .. } => Grid::Integers,
            Format::Float(float) => match FloatGrid::new(float) {
                Some(grid) => Grid::Float(grid),
                None => Grid::List(ListGrid::of_float(float, rounding)),
            },
            Format::Codebook(codebook) => Grid::List(ListGrid::of_codebook(codebook, rounding)),
        };
        let (low, high) = match &grid {
            Grid::Integers => (scheme.quant_min().into(), scheme.quant_max().into()),
            Grid::Float(_) => (format.lowest(), format.largest()),
            Grid::List(list) => (0.0, list.last_position() as f64),
        };
        let order = match scheme.convention().order() {
            // The same number, but the reciprocal of MX's smallest scales overflows f32.
            Order::MultiplyRoundAdd if scheme.scale_format().is_power_of_two() => Order::DivideRoundAdd,
            order => order,
        };
        let arithmetic = match (scheme.mapping(), order) {
            (Mapping::Cast, _) => Arithmetic::Nothing,
            (Mapping::Minimum, _) if scheme.convention() == Convention::TorchAo => {
                Arithmetic::AboutMiddle(middle_between(scheme))
            }
            (Mapping::Minimum, Order::MultiplyRoundAdd) => Arithmetic::SubtractMultiply,
            (Mapping::Minimum, _) => Arithmetic::SubtractDivide,
            (_, Order::DivideRoundAdd) => Arithmetic::DivideRoundAdd,
            (_, Order::MultiplyRoundAdd) => Arithmetic::MultiplyRoundAdd,
            (_, Order::DivideAddRound) => Arithmetic::DivideAddRound,
        };
        let (low, high) = (T::from_f64(low), T::from_f64(high));
        let first = T::from_f64(scheme.quant_min().into());
        Self { grid, low, high, first, arithmetic, rounding, overflow: scheme.overflow() }
    }

    #[inline(always)]
    fn integers_in_one_pass(
        &self,
        values: &[T],
        params: impl Params<T>,
        steps: impl Fn(usize, T) -> T,
        approximation: &mut [T],
        patterns: &mut [u32],
    ) -> u64 {
        let (low, high, first) = (self.low, self.high, self.first);
        let count = approximation.len();
        let (values, patterns) = (&values[..count], &mut patterns[..count]);
        let mut clipped = 0_u32;
        for index in 0..count {
            let code = rounded_steps(steps(index, values[index]), low, high, params.offset(index));
            // A sum that is checked for overflow is not made in vectors.
            clipped = clipped.wrapping_add(u32::from((code < low) | (code > high)));
            let code = limit(code, low, high);
            patterns[index] = (code - first).small_to_u32();
            approximation[index] = (code - params.offset(index)) * params.scale(index);
        }
        clipped.into()
    }

    /// Codes before the last clamp: what lies outside is at most one code outside. `index` is that of the first value in its tensor, which
    /// stochastic rounding depends on. `codes` is as long as `values`.
    #[inline(always)]
    pub(crate) fn encode(&self, values: &[T], index: usize, params: impl Params<T>, codes: &mut [T]) {
        let values = &values[..codes.len()];
        match self.arithmetic {
            Arithmetic::DivideRoundAdd => each(values, codes, |i, x| x / params.scale(i)),
            Arithmetic::MultiplyRoundAdd => each(values, codes, |i, x| x * params.reciprocal(i)),
            Arithmetic::DivideAddRound => each(values, codes, |i, x| x / params.scale(i) + params.offset(i)),
            Arithmetic::SubtractDivide => each(values, codes, |i, x| (x - params.offset(i)) / params.scale(i)),
            Arithmetic::SubtractMultiply => each(values, codes, |i, x| (x - params.offset(i)) * params.reciprocal(i)),
            Arithmetic::AboutMiddle(middle) => {
                each(values, codes, |i, x| (x - (params.offset(i) - params.scale(i) * middle)) / params.scale(i));
            }
            Arithmetic::Nothing => codes.copy_from_slice(values),
        }
        match &self.grid {
            Grid::Integers => {
                // Clamping to whole numbers and rounding commute; clamping first keeps the rounded number small.
                let (low, high) = (self.low - T::ONE, self.high + T::ONE);
                match self.arithmetic {
                    Arithmetic::DivideRoundAdd | Arithmetic::MultiplyRoundAdd => {
                        each_in(codes, |i, v| limit(v, low - params.offset(i), high - params.offset(i)));
                        round_each(codes, self.rounding, index);
                        each_in(codes, |i, v| v + params.offset(i));
                    }
                    _ => {
                        each_in(codes, |_, v| limit(v, low, high));
                        round_each(codes, self.rounding, index);
                    }
                }
            }
            Grid::Float(float) => float.round(codes, self.rounding, index),
            Grid::List(list) => list.positions(codes, self.rounding, index),
        }
    }

    /// Whether a code that [`Codec::encode`] gave is outside.
    #[inline(always)]
    pub(crate) fn is_outside(&self, code: T) -> bool {
        (code < self.low) | (code > self.high)
    }

    /// How many codes are outside.
    #[inline(always)]
    pub(crate) fn count_clipped(&self, codes: &[T]) -> u64 {
        let (low, high) = (self.low, self.high);
        let outside = |code: T| u32::from((code < low) | (code > high));
        // In lanes, so that several are compared at a time.
        let mut counts = [0_u32; 8];
        let (chunks, rest) = codes.as_chunks::<8>();
        for chunk in chunks {
            for lane in 0..8 {
                counts[lane] = u32::wrapping_add(counts[lane], outside(chunk[lane]));
            }
        }
        u64::from(counts.iter().sum::<u32>() + rest.iter().map(|&code| outside(code)).sum::<u32>())
    }

    /// Clips what [`Codec::encode`] left outside; where a float format does not saturate, it becomes ±∞ or NaN.
    #[inline(always)]
    pub(crate) fn clip(&self, codes: &mut [T]) {
        let (low, high) = (self.low, self.high);
        match (self.overflow, &self.grid) {
            (Overflow::Special, Grid::Float(float)) => {
                let beyond = T::from_f64(float.beyond());
                each_in(codes, |_, code| {
                    if code > high {
                        beyond
                    } else if code < low {
                        -beyond
                    } else {
                        code
                    }
                });
            }
            _ => each_in(codes, |_, code| limit(code, low, high)),
        }
    }

    /// Clipped codes counted from the scheme's `quant_min`, for tables and to store: of an integer format that many codes above it, else the
    /// bit pattern.
    #[inline(always)]
    pub(crate) fn patterns(&self, codes: &[T], patterns: &mut [u32]) {
        match &self.grid {
            Grid::Integers => {
                let first = self.first;
                patterns.iter_mut().zip(codes).for_each(|(pattern, &code)| *pattern = (code - first).small_to_u32());
            }
            Grid::Float(float) => float.patterns(codes, patterns),
            Grid::List(list) => list.patterns(codes, patterns),
        }
    }

    /// The numbers that [`Codec::decode`] takes, of patterns as [`Codec::patterns`] gives them. NaN of one that stands for nothing.
    #[inline]
    pub(crate) fn of_patterns(&self, patterns: &[u32], codes: &mut [T]) {
        let pairs = codes.iter_mut().zip(patterns);
        match &self.grid {
            Grid::Integers => pairs.for_each(|(code, &pattern)| *code = T::from_f64(pattern.into()) + self.first),
            Grid::Float(float) => float.values(patterns, codes),
            Grid::List(list) => pairs.for_each(|(code, &pattern)| *code = list.position(pattern)),
        }
    }

    /// Clipped codes to the values they stand for.
    #[inline(always)]
    pub(crate) fn decode(&self, codes: &mut [T], params: impl Params<T>) {
        if let Grid::List(list) = &self.grid {
            list.levels(codes);
        }
        match self.arithmetic {
            Arithmetic::Nothing => {}
            Arithmetic::SubtractDivide | Arithmetic::SubtractMultiply => {
                each_in(codes, |i, code| code * params.scale(i) + params.offset(i));
            }
            Arithmetic::AboutMiddle(middle) => {
                each_in(codes, |i, code| (code - middle) * params.scale(i) + params.offset(i));
            }
            _ if matches!(self.grid, Grid::Integers) => each_in(codes, |i, code| (code - params.offset(i)) * params.scale(i)),
            _ => each_in(codes, |i, code| code * params.scale(i)),
        }
    }
}

for_vectors! {
    /// All steps at once: how many values are clipped, what they come back as, and their patterns. See [`Codec::encode`] for the arguments.
    pub(crate) fn round_trip<T: Real, P: Params<T>>(
        codec: &Codec<T>,
        values: &[T],
        index: usize,
        params: P,
        approximation: &mut [T],
        patterns: &mut [u32],
    ) -> u64 {
        if let (Grid::Integers, Rounding::HalfToEven) = (&codec.grid, codec.rounding) {
            // The same steps as below in one pass: what nearly everybody uses.
            match codec.arithmetic {
                Arithmetic::DivideRoundAdd => {
                    let divide = |i: usize, x: T| x / params.scale(i);
                    return codec.integers_in_one_pass(values, params, divide, approximation, patterns);
                }
                Arithmetic::MultiplyRoundAdd => {
                    let multiply = |i: usize, x: T| x * params.reciprocal(i);
                    return codec.integers_in_one_pass(values, params, multiply, approximation, patterns);
                }
                _ => {}
            }
        }
        codec.encode(values, index, params, approximation);
        let clipped = codec.count_clipped(approximation);
        codec.clip(approximation);
        codec.patterns(approximation, patterns);
        codec.decode(approximation, params);
        clipped
    }
}

for_vectors! {
    /// What patterns stand for.
    pub(crate) fn decode_patterns<T: Real, P: Params<T>>(codec: &Codec<T>, patterns: &[u32], params: P, values: &mut [T]) {
        codec.of_patterns(patterns, values);
        codec.decode(values, params);
    }
}

/// The code of a number of steps, half to even: at most one code outside of low to high.
#[inline(always)]
fn rounded_steps<T: Real>(steps: T, low: T, high: T, zero_point: T) -> T {
    let (low, high) = (low - T::ONE - zero_point, high + T::ONE - zero_point);
    limit(steps, low, high).round_small() + zero_point
}

/// Single numbers in a float format: for scales.
#[derive(Debug)]
pub(crate) struct ScalarCodec {
    codec: Codec<f64>,
    format: Minifloat,
}

impl ScalarCodec {
    pub(crate) fn new(format: Minifloat) -> Self {
        Self { codec: Codec::new(Scheme::cast(format)), format }
    }

    /// The nearest numbers of the format, ties to even; the largest for what is beyond.
    pub(crate) fn nearest(&self, values: &[f64]) -> Vec<f64> {
        let (mut nearest, mut patterns) = (vec![0.0; values.len()], vec![0; values.len()]);
        round_trip(&self.codec, values, 0, Shared { scale: 1.0, reciprocal: 1.0, offset: 0.0 }, &mut nearest, &mut patterns);
        nearest
    }

    /// The code and the value of the nearest number, ties to even; `None` beyond the largest.
    pub(crate) fn encode(&self, value: f64) -> Option<(u32, f64)> {
        let (mut code, mut pattern) = ([0.0], [0]);
        self.codec.encode(&[value], 0, Shared { scale: 1.0, reciprocal: 1.0, offset: 0.0 }, &mut code);
        if self.codec.count_clipped(&code) > 0 {
            return None;
        }
        self.codec.patterns(&code, &mut pattern);
        Some((pattern[0], self.format.decode(pattern[0])))
    }
}

/// (quant_max + quant_min + 1) / 2, which torchao's float zero points are about: 8 of 0 to 15.
pub(crate) fn middle_between<T: Real>(scheme: Scheme) -> T {
    T::from_f64(f64::from(scheme.quant_max() + scheme.quant_min() + 1) / 2.0)
}

// By index, which compiles to vector instructions where iterators of pairs with numbers do not.
#[inline(always)]
fn each<T: Real>(values: &[T], output: &mut [T], f: impl Fn(usize, T) -> T) {
    let count = output.len();
    let values = &values[..count];
    for index in 0..count {
        output[index] = f(index, values[index]);
    }
}

#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "as above")]
fn each_in<T: Real>(codes: &mut [T], f: impl Fn(usize, T) -> T) {
    for index in 0..codes.len() {
        codes[index] = f(index, codes[index]);
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
