//! `QParams`: scale and zero point of each block, computed as the scheme's convention does, or given.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::affine::{Affine, limit, round};
use crate::calibrate::Calibration;
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::format::{Rounding, Signedness};
use crate::granularity::Layout;
use crate::scheme::{Convention, Mapping, Scheme};
use crate::tensor::{Real, Tensor, min_max, spanning, with_values};

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
    /// convention, any integer that `dtype` holds exactly, else [`Error::ZeroPointInexact`]); an invalid scheme.
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
        // A zero point that the type computed in cannot hold would be another one in the formula.
        let exact = |zero_point: i64| match dtype {
            Dtype::F32 => zero_point as f32 as i64 == zero_point && (zero_point as f32) < i64::MAX as f32,
            Dtype::F64 => zero_point as f64 as i64 == zero_point && (zero_point as f64) < i64::MAX as f64,
        };
        if let Some(block) = zero_points.iter().position(|&zero_point| !exact(zero_point)) {
            return Err(Error::ZeroPointInexact { zero_point: zero_points[block], block, dtype });
        }
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

    /// What codes of the first block stand for, computed in the data's type; ±∞ where that overflows.
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
    /// original's convention, [`Error::ZeroScale`] and [`Error::ZeroPointOverflow`] where its formulas give a scale of 0 (or one
    /// whose reciprocal overflows) or leave 64-bit integers; [`Error::CalibratedToZero`] where a percentile keeps only zeros. Of
    /// several blocks the first one's.
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
        let params: Vec<Result<(f64, i64)>> = (0..layout.blocks())
            .into_par_iter()
            .map(|block| {
                let runs = layout.runs_of(block).map(|run| &values[run]);
                let (min, max) = if min_max_only {
                    runs.map(min_max).reduce(spanning).unwrap_or((T::ZERO, T::ZERO))
                } else {
                    match self.mapping() {
                        Mapping::Asymmetric => self.calibration().range(runs.flatten().copied()),
                        Mapping::Symmetric => self.calibration().magnitude(runs.flatten().copied()),
                    }
                };
                let keeps_only_zeros = !min_max_only && min == T::ZERO && max == T::ZERO;
                if keeps_only_zeros && layout.runs_of(block).any(|run| values[run].iter().any(|&x| x != T::ZERO)) {
                    return Err(Error::CalibratedToZero { block, calibration: self.calibration().to_string() });
                }
                self.params_of_range(block, min, max)
            })
            .collect();
        // Collected in order first: of several errors the first block's is told, whichever thread came first.
        params.into_iter().collect()
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
                    return Err(Error::ZeroScale { block, min, max, scale: scale.to_f64() });
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
}
