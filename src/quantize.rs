//! From numbers to codes and back: the only home of `round(x / scale) + zero_point`.
//!
//! ```text
//! scale, zero_point  from a block's range, as the scheme's convention computes them
//! q = clamp(round(x / scale) + zero_point, quant_min, quant_max)
//! x̂ = (q - zero_point) · scale
//! ```

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::calibrate::Calibration;
use crate::error::{Error, Result};
use crate::format::{Rounding, Signedness};
use crate::scheme::{Convention, Layout, Mapping, Scheme};
use crate::tensor::{Dtype, Real, TASK_LEN, Tensor, min_max, with_values};

/// The parameters of a quantization: a scale and a zero point for each block, and the scheme they belong to.
///
/// Computed by [`Scheme::qparams`], or given ([`QParams::new`]) for static quantization. Blocks are in row-major order: one per
/// tensor; one per index of the axis; or one per group, row by row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "UncheckedQParams")]
pub struct QParams {
    scheme: Scheme,
    dtype: Dtype,
    scales: Vec<f64>,
    zero_points: Vec<i64>,
}

#[derive(Deserialize)]
struct UncheckedQParams {
    scheme: Scheme,
    dtype: Dtype,
    scales: Vec<f64>,
    zero_points: Vec<i64>,
}

impl TryFrom<UncheckedQParams> for QParams {
    type Error = Error;

    fn try_from(raw: UncheckedQParams) -> Result<Self> {
        Self::new(raw.scheme, raw.dtype, raw.scales, raw.zero_points)
    }
}

impl QParams {
    /// Given parameters. `dtype` is the type of the data they are for; a scale is rounded to it.
    ///
    /// # Errors
    /// [`Error::QParamsCount`] unless there is one zero point per scale and at least one; [`Error::Scale`] unless each scale is
    /// finite and above 0 in `dtype`, its reciprocal too; [`Error::ZeroPoint`] unless each zero point is a code (of the original
    /// convention, any integer); an invalid scheme.
    pub fn new(scheme: Scheme, dtype: Dtype, scales: Vec<f64>, zero_points: Vec<i64>) -> Result<Self> {
        scheme.validate()?;
        if scales.is_empty() || scales.len() != zero_points.len() {
            let blocks = scales.len().max(1);
            return Err(Error::QParamsCount { scales: scales.len(), zero_points: zero_points.len(), blocks });
        }
        let scales: Vec<f64> = match dtype {
            Dtype::F32 => scales.into_iter().map(|scale| f64::from(scale as f32)).collect(),
            Dtype::F64 => scales,
        };
        let largest_reciprocal = match dtype {
            Dtype::F32 => f64::from(f32::MAX),
            Dtype::F64 => f64::MAX,
        };
        let usable = |scale: f64| scale.is_finite() && scale > 0.0 && 1.0 / scale <= largest_reciprocal;
        if let Some(block) = scales.iter().position(|&scale| !usable(scale)) {
            return Err(Error::Scale { scale: scales[block], block, dtype });
        }
        let (quant_min, quant_max) = (scheme.quant_min(), scheme.quant_max());
        let is_code = |zero_point: i64| (i64::from(quant_min)..=i64::from(quant_max)).contains(&zero_point);
        let confined = scheme.convention() != Convention::Original;
        if let Some(block) = zero_points.iter().position(|&zero_point| confined && !is_code(zero_point)) {
            return Err(Error::ZeroPoint { zero_point: zero_points[block], block, quant_min, quant_max });
        }
        Ok(Self { scheme, dtype, scales, zero_points })
    }

    /// The scheme they belong to.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The type of the data they are for.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// The scale of each block: the step between neighbouring codes, in units of the data. f32 scales are held exactly.
    pub fn scales(&self) -> &[f64] {
        &self.scales
    }

    /// The zero point of each block: the code that means 0.
    pub fn zero_points(&self) -> &[i64] {
        &self.zero_points
    }

    /// The scale, where there is one for all; else `None`.
    pub fn scale(&self) -> Option<f64> {
        single(&self.scales)
    }

    /// The zero point, where there is one for all; else `None`.
    pub fn zero_point(&self) -> Option<i64> {
        single(&self.zero_points)
    }

    /// What codes of the first block stand for, in f64, exact.
    pub(crate) fn decode_codes(&self, codes: &[i32]) -> Vec<f64> {
        fn decode<T: Real>(affine: Affine<T>, codes: &[i32]) -> Vec<f64> {
            let mut values: Vec<T> = codes.iter().map(|&code| T::from_f64(code.into())).collect();
            affine.decode(&mut values);
            values.into_iter().map(T::to_f64).collect()
        }
        match self.dtype {
            Dtype::F32 => decode(self.affine::<f32>(0), codes),
            Dtype::F64 => decode(self.affine::<f64>(0), codes),
        }
    }

    /// The blocks of this shape, if these parameters are for it.
    pub(crate) fn layout(&self, shape: &[usize]) -> Result<Layout> {
        let layout = Layout::new(self.scheme.granularity(), shape)?;
        if layout.blocks() == self.scales.len() {
            Ok(layout)
        } else {
            let (scales, zero_points) = (self.scales.len(), self.zero_points.len());
            Err(Error::QParamsCount { scales, zero_points, blocks: layout.blocks() })
        }
    }

    pub(crate) fn affine<T: Real>(&self, block: usize) -> Affine<T> {
        Affine::new(self.scheme, T::from_f64(self.scales[block]), T::from_f64(self.zero_points[block] as f64))
    }
}

fn single<N: Copy>(values: &[N]) -> Option<N> {
    match values {
        [value] => Some(*value),
        _ => None,
    }
}

impl Scheme {
    /// Calibrates: the scale and zero point of each block of this tensor.
    ///
    /// # Errors
    /// An invalid scheme; [`Error::Axis`]; [`Error::RangeOverflow`] where max - min overflows the data's type; under the
    /// original's convention, [`Error::ZeroScale`] and [`Error::ZeroPointOverflow`] where its formulas divide by 0 or leave
    /// 64-bit integers.
    pub fn qparams(&self, tensor: &Tensor) -> Result<QParams> {
        self.validate()?;
        let layout = Layout::new(self.granularity(), tensor.shape())?;
        let params = with_values!(tensor, |values| self.block_params(tensor, values, layout))?;
        let (scales, zero_points) = params.into_iter().unzip();
        Ok(QParams { scheme: *self, dtype: tensor.dtype(), scales, zero_points })
    }

    fn block_params<T: Real>(&self, tensor: &Tensor, values: &[T], layout: Layout) -> Result<Vec<(f64, i64)>> {
        let min_max_only = self.calibration() == Calibration::MinMax;
        if min_max_only && layout.blocks() == 1 {
            // The gate has looked already.
            let (min, max) = (T::from_f64(tensor.min()), T::from_f64(tensor.max()));
            return Ok(vec![self.params_of_range(0, min, max)?]);
        }
        (0..layout.blocks())
            .into_par_iter()
            .map(|block| {
                let runs = layout.runs_of(block).map(|run| &values[run]);
                let (min, max) = if min_max_only {
                    runs.map(min_max)
                        .reduce(|a, b| (if b.0 < a.0 { b.0 } else { a.0 }, if b.1 > a.1 { b.1 } else { a.1 }))
                        .unwrap_or((T::ZERO, T::ZERO))
                } else {
                    match self.mapping() {
                        Mapping::Asymmetric => self.calibration().range(runs.flatten().copied()),
                        Mapping::Symmetric => self.calibration().magnitude(runs.flatten().copied()),
                    }
                };
                self.params_of_range(block, min, max)
            })
            .collect()
    }

    /// The convention's scale and zero point for the range min to max.
    fn params_of_range<T: Real>(&self, block: usize, min: T, max: T) -> Result<(f64, i64)> {
        let (quant_min, quant_max) = (T::from_f64(self.quant_min().into()), T::from_f64(self.quant_max().into()));
        let levels = quant_max - quant_min;
        let overflow = || Error::RangeOverflow { min: min.to_f64(), max: max.to_f64(), dtype: T::DTYPE };
        let finite = |scale: T| if scale.is_finite() { Ok(scale) } else { Err(overflow()) };
        let magnitude = if min.abs() > max.abs() { min.abs() } else { max.abs() };
        // Zero must be a code: padding, ReLU and masks rely on it. All but the original widen the range for it.
        let widened_min = if min < T::ZERO { min } else { T::ZERO };
        let widened_max = if max > T::ZERO { max } else { T::ZERO };

        let (scale, zero_point) = match (self.convention(), self.mapping()) {
            (Convention::Onnx, Mapping::Asymmetric) => {
                let scale = finite((widened_max - widened_min) / levels)?;
                if scale < T::MIN_NORMAL {
                    (T::ONE, T::ZERO)
                } else {
                    (scale, round(limit(quant_min - widened_min / scale, quant_min, quant_max), Rounding::HalfToEven))
                }
            }
            (Convention::Onnx, Mapping::Symmetric) => {
                let scale = magnitude / (levels / T::from_f64(2.0));
                if scale < T::MIN_NORMAL { (T::ONE, limit(T::ZERO, quant_min, quant_max)) } else { (scale, self.middle_code()) }
            }
            (Convention::PyTorch, mapping) => {
                let smallest = T::from_f64(f32::EPSILON.into());
                let at_least = |scale: T| if scale < smallest { smallest } else { scale };
                match mapping {
                    Mapping::Asymmetric => {
                        let scale = at_least(finite((widened_max - widened_min) / levels)?);
                        let steps_below = limit(widened_min / scale, -levels, T::ZERO);
                        (scale, limit(quant_min - round(steps_below, Rounding::HalfToEven), quant_min, quant_max))
                    }
                    Mapping::Symmetric => (at_least(magnitude / (levels / T::from_f64(2.0))), self.middle_code()),
                }
            }
            (Convention::TfLite, mapping) => {
                let (low, high) = (widened_min.to_f64(), widened_max.to_f64());
                let (code_min, code_max) = (quant_min.to_f64(), quant_max.to_f64());
                let (scale, zero_point) = match mapping {
                    Mapping::Asymmetric => {
                        let scale = (high - low) / (code_max - code_min);
                        // Either end of the range gives a zero point; take it from the one whose numbers are smaller.
                        let (from_min, from_max) = (code_min - low / scale, code_max - high / scale);
                        let error_of_min = code_min.abs() + (low / scale).abs();
                        let error_of_max = code_max.abs() + (high / scale).abs();
                        let zero_point = if error_of_min < error_of_max { from_min } else { from_max };
                        (scale, round(limit(zero_point, code_min, code_max), Rounding::HalfAwayFromZero))
                    }
                    Mapping::Symmetric => {
                        let middle = self.middle_code::<f64>();
                        (magnitude.to_f64() / (code_max - middle), middle)
                    }
                };
                let scale = finite(T::from_f64(scale))?;
                match mapping {
                    _ if scale >= T::MIN_NORMAL => (scale, T::from_f64(zero_point)),
                    Mapping::Asymmetric => (T::ONE, T::ZERO),
                    Mapping::Symmetric => (T::ONE, T::from_f64(zero_point)),
                }
            }
            (Convention::Original, mapping) => {
                let (scale, zero_point) = match mapping {
                    Mapping::Asymmetric => {
                        let scale = finite((max - min) / levels)?;
                        (scale, -(min / scale).to_f64().round_ties_even())
                    }
                    Mapping::Symmetric => (magnitude / quant_max, 0.0),
                };
                let (min, max) = (min.to_f64(), max.to_f64());
                if scale == T::ZERO || !(T::ONE / scale).is_finite() {
                    return Err(Error::ZeroScale { block, min, max });
                }
                if zero_point.abs() >= i64::MAX as f64 {
                    return Err(Error::ZeroPointOverflow { block, min, max, zero_point });
                }
                (scale, T::from_f64(zero_point))
            }
        };
        Ok((scale.to_f64(), zero_point.to_f64() as i64))
    }

    /// The code that means 0 under a symmetric mapping.
    fn middle_code<T: Real>(&self) -> T {
        let half = 1_i32 << (self.bits() - 1);
        let middle = match (self.format().signedness(), self.convention(), self.bits()) {
            (Signedness::Signed, _, _) => 0,
            // PyTorch knows the middle of its own quint8 and quint16; of a custom range it takes (quant_min + quant_max) // 2.
            (Signedness::Unsigned, Convention::PyTorch, bits) if bits != 8 && bits != 16 => {
                (self.quant_min() + self.quant_max()) / 2
            }
            (Signedness::Unsigned, _, _) => half,
        };
        T::from_f64(middle.into())
    }

    /// Quantizes: parameters from the tensor's own values, and a code for each element.
    ///
    /// ```
    /// # use quantlens::{Scheme, Tensor};
    /// let x = Tensor::from_vec("x", vec![-1.0, 0.0, 0.25, 2.0])?;
    /// let q = Scheme::asymmetric(8).quantize(&x)?;
    /// assert_eq!(q.codes().to_vec(), [0, 85, 106, 255]);
    /// assert_eq!(q.qparams().zero_point(), Some(85));
    /// assert_eq!(q.dequantize()?, Scheme::asymmetric(8).fake_quantize(&x)?);
    /// # Ok::<(), quantlens::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Scheme::qparams`].
    pub fn quantize(&self, tensor: &Tensor) -> Result<Quantized> {
        quantize_with(tensor, &self.qparams(tensor)?)
    }

    /// Quantizes and dequantizes in one pass: the tensor as the codes will have it. The same numbers as
    /// `quantize(…)?.dequantize()`, without the codes.
    ///
    /// # Errors
    /// As [`Scheme::qparams`].
    pub fn fake_quantize(&self, tensor: &Tensor) -> Result<Tensor> {
        fake_quantize_with(tensor, &self.qparams(tensor)?)
    }
}

/// Quantizes with given parameters: static quantization. What lies outside their range is clipped.
///
/// # Errors
/// [`Error::DtypeMismatch`] if they are for the other type; [`Error::QParamsCount`] if this shape has another number of blocks.
pub fn quantize_with(tensor: &Tensor, qparams: &QParams) -> Result<Quantized> {
    check_dtype(tensor, qparams)?;
    let layout = qparams.layout(tensor.shape())?;
    let codes = with_values!(tensor, |values| encode(values, qparams, layout));
    let (name, shape) = (tensor.name().to_owned(), tensor.shape().to_vec());
    Ok(Quantized { name, shape, qparams: qparams.clone(), codes })
}

/// Quantizes and dequantizes with given parameters, in one pass.
///
/// # Errors
/// As [`quantize_with`]; [`Error::DequantizedOverflow`] where (q - zero_point) · scale overflows.
pub fn fake_quantize_with(tensor: &Tensor, qparams: &QParams) -> Result<Tensor> {
    check_dtype(tensor, qparams)?;
    let layout = qparams.layout(tensor.shape())?;
    with_values!(tensor, |values| {
        let mut output = vec![Default::default(); values.len()];
        for_each_task(&mut output, |start, output| {
            for (run, block) in layout.runs_in(start..start + output.len()) {
                let output = &mut output[run.start - start..run.end - start];
                let affine = qparams.affine(block);
                affine.encode(&values[run], output);
                affine.clamp_codes(output);
                affine.decode(output);
            }
        });
        Tensor::new(tensor.name(), tensor.shape(), output).map_err(overflow_of)
    })
}

/// A product that overflowed, said as such: the caller's own values were finite.
fn overflow_of(error: Error) -> Error {
    match error {
        Error::NotFinite { name, index, .. } => Error::DequantizedOverflow { name, index },
        other => other,
    }
}

fn check_dtype(tensor: &Tensor, qparams: &QParams) -> Result<()> {
    let (expected, found) = (qparams.dtype, tensor.dtype());
    if expected == found { Ok(()) } else { Err(Error::DtypeMismatch { expected, found }) }
}

fn for_each_task<C: Send>(output: &mut [C], task: impl Fn(usize, &mut [C]) + Sync) {
    output.par_chunks_mut(TASK_LEN).enumerate().for_each(|(index, chunk)| task(index * TASK_LEN, chunk));
}

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
    fn new(scheme: Scheme, scale: T, zero_point: T) -> Self {
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
fn limit<T: Real>(x: T, low: T, high: T) -> T {
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

fn round<T: Real>(x: T, rounding: Rounding) -> T {
    match rounding {
        Rounding::HalfToEven => x.round_small(),
        Rounding::HalfAwayFromZero => round_half_away(x),
    }
}

/// Codes, one a whole number of the narrowest type that holds all the scheme's codes; a 4-bit code is one byte here. What a
/// packed tensor costs is what [`Scheme::bits_per_element`] says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Codes {
    /// -128 to 127.
    I8(Vec<i8>),
    /// 0 to 255.
    U8(Vec<u8>),
    /// -32768 to 32767.
    I16(Vec<i16>),
    /// 0 to 65535.
    U16(Vec<u16>),
    /// Wider, for the original's symmetric lower bound.
    I32(Vec<i32>),
}

/// Runs one body for whichever type the codes are.
macro_rules! with_codes {
    ($codes:expr, |$values:ident| $body:expr) => {
        match $codes {
            Codes::I8($values) => $body,
            Codes::U8($values) => $body,
            Codes::I16($values) => $body,
            Codes::U16($values) => $body,
            Codes::I32($values) => $body,
        }
    };
}

impl Codes {
    /// The number of codes.
    #[expect(clippy::len_without_is_empty, reason = "there are as many as a tensor has values, at least 1")]
    pub fn len(&self) -> usize {
        with_codes!(self, |codes| codes.len())
    }

    /// The code at this index, row-major; `None` past the end.
    pub fn get(&self, index: usize) -> Option<i32> {
        with_codes!(self, |codes| codes.get(index).map(|&code| code.into()))
    }

    /// All codes, widened.
    pub fn to_vec(&self) -> Vec<i32> {
        with_codes!(self, |codes| codes.iter().map(|&code| code.into()).collect())
    }

    /// Codes from whole numbers, in the type the scheme's codes have.
    ///
    /// # Errors
    /// [`Error::CodeOutOfRange`] with the first that the scheme does not have.
    pub(crate) fn from_integers(scheme: Scheme, integers: impl Iterator<Item = i64>) -> Result<Self> {
        let (quant_min, quant_max) = (scheme.quant_min(), scheme.quant_max());
        let check = |(index, code): (usize, i64)| match i32::try_from(code) {
            Ok(narrow) if (quant_min..=quant_max).contains(&narrow) => Ok(narrow),
            _ => Err(Error::CodeOutOfRange { code, index, quant_min, quant_max }),
        };
        let codes = integers.enumerate().map(check).collect::<Result<Vec<i32>>>()?;
        Ok(match Width::of(scheme) {
            // Each fits, by the choice of width.
            Width::I8 => Self::I8(codes.into_iter().map(|code| code as i8).collect()),
            Width::U8 => Self::U8(codes.into_iter().map(|code| code as u8).collect()),
            Width::I16 => Self::I16(codes.into_iter().map(|code| code as i16).collect()),
            Width::U16 => Self::U16(codes.into_iter().map(|code| code as u16).collect()),
            Width::I32 => Self::I32(codes),
        })
    }
}

/// The narrowest type that holds all the codes of a scheme.
enum Width {
    I8,
    U8,
    I16,
    U16,
    I32,
}

impl Width {
    fn of(scheme: Scheme) -> Self {
        let fits = |min: i32, max: i32| scheme.quant_min() >= min && scheme.quant_max() <= max;
        if fits(i8::MIN.into(), i8::MAX.into()) {
            Self::I8
        } else if fits(u8::MIN.into(), u8::MAX.into()) {
            Self::U8
        } else if fits(i16::MIN.into(), i16::MAX.into()) {
            Self::I16
        } else if fits(u16::MIN.into(), u16::MAX.into()) {
            Self::U16
        } else {
            Self::I32
        }
    }
}

fn encode<T: Real>(values: &[T], qparams: &QParams, layout: Layout) -> Codes {
    macro_rules! codes {
        ($variant:ident, $t:ty) => {
            Codes::$variant(encode_to(values, qparams, layout, |code| code as $t))
        };
    }
    match Width::of(qparams.scheme) {
        Width::I8 => codes!(I8, i8),
        Width::U8 => codes!(U8, u8),
        Width::I16 => codes!(I16, i16),
        Width::U16 => codes!(U16, u16),
        Width::I32 => codes!(I32, i32),
    }
}

/// Values that fit the first-level cache with their codes.
const BUFFER: usize = 1024;

fn encode_to<T: Real, C: Copy + Default + Send>(
    values: &[T],
    qparams: &QParams,
    layout: Layout,
    narrow: impl Fn(i32) -> C + Sync,
) -> Vec<C> {
    let quant_min = qparams.scheme.quant_min();
    let mut output = vec![C::default(); values.len()];
    for_each_task(&mut output, |start, output| {
        let mut buffer = [T::ZERO; BUFFER];
        for (run, block) in layout.runs_in(start..start + output.len()) {
            let affine = qparams.affine::<T>(block);
            let output = &mut output[run.start - start..run.end - start];
            for (values, output) in values[run].chunks(BUFFER).zip(output.chunks_mut(BUFFER)) {
                let codes = &mut buffer[..values.len()];
                affine.encode(values, codes);
                affine.clamp_codes(codes);
                for (output, &code) in output.iter_mut().zip(&*codes) {
                    *output = narrow(affine.level(code) as i32 + quant_min);
                }
            }
        }
    });
    output
}

/// A quantized tensor: codes, the parameters that give them meaning, name and shape.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "UncheckedQuantized")]
pub struct Quantized {
    name: String,
    shape: Vec<usize>,
    qparams: QParams,
    codes: Codes,
}

#[derive(Deserialize)]
struct UncheckedQuantized {
    name: String,
    shape: Vec<usize>,
    qparams: QParams,
    codes: Codes,
}

impl TryFrom<UncheckedQuantized> for Quantized {
    type Error = Error;

    fn try_from(raw: UncheckedQuantized) -> Result<Self> {
        Self::from_integers(raw.name, raw.shape, raw.qparams, raw.codes.to_vec().into_iter().map(i64::from))
    }
}

impl Quantized {
    /// A quantized tensor from codes that somebody else made.
    ///
    /// # Errors
    /// [`Error::CodeOutOfRange`] with the first code the scheme does not have; [`Error::Shape`] unless there is one code per
    /// element; [`Error::QParamsCount`] if the shape has another number of blocks.
    pub fn from_integers(
        name: impl Into<String>,
        shape: Vec<usize>,
        qparams: QParams,
        codes: impl Iterator<Item = i64>,
    ) -> Result<Self> {
        let name = name.into();
        let codes = Codes::from_integers(qparams.scheme, codes)?;
        let needed = qparams.layout(&shape)?.elements();
        if codes.len() != needed {
            return Err(Error::Shape { name, shape, needed, elements: codes.len() });
        }
        Ok(Self { name, shape, qparams, codes })
    }

    /// The tensor's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The length of each axis.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Scale and zero point of each block.
    pub fn qparams(&self) -> &QParams {
        &self.qparams
    }

    /// One code per element, row-major.
    pub fn codes(&self) -> &Codes {
        &self.codes
    }

    /// The values the codes stand for, `(q - zero_point) · scale`, in the type that was quantized.
    ///
    /// # Errors
    /// [`Error::DequantizedOverflow`] where the product overflows, as it may for data at the edge of its type.
    pub fn dequantize(&self) -> Result<Tensor> {
        match self.qparams.dtype {
            Dtype::F32 => self.decode::<f32>(),
            Dtype::F64 => self.decode::<f64>(),
        }
    }

    fn decode<T: Real>(&self) -> Result<Tensor> {
        let layout = self.qparams.layout(&self.shape)?;
        let mut output = vec![T::ZERO; self.codes.len()];
        with_codes!(&self.codes, |codes| for_each_task(&mut output, |start, output| {
            for (run, block) in layout.runs_in(start..start + output.len()) {
                let output = &mut output[run.start - start..run.end - start];
                for (output, &code) in output.iter_mut().zip(&codes[run]) {
                    *output = T::from_f64(code.into());
                }
                self.qparams.affine(block).decode(output);
            }
        }));
        Tensor::new(self.name.as_str(), &self.shape, output).map_err(overflow_of)
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
    if !(lower <= upper) {
        return Err(Error::ClampBounds { lower: lower.to_f64(), upper: upper.to_f64() });
    }
    if let Some(index) = values.iter().position(|value| value.to_f64().is_nan()) {
        return Err(Error::NotFinite { name: "values".to_owned(), index, value: f64::NAN });
    }
    Ok(values.iter().map(|&value| limit(value, lower, upper)).collect())
}
