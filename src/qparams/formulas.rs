//! Each convention's scale and zero point for a range. One function for a convention and a mapping; where its formulas come from stands with it.

use crate::codec::{middle_between, round};
use crate::convention::Convention;
use crate::error::{Error, Result};
use crate::format::{Format, Rounding};
use crate::scheme::{Mapping, Scheme, SymmetricRange};
use crate::tensor::{Real, larger_magnitude, limit};

/// A scale and the code that means 0, or the number that code 0 means.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pair<T> {
    pub(super) scale: T,
    pub(super) offset: T,
}

/// The range to cover, and what there is to cover it with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Problem<T> {
    pub(super) scheme: Scheme,
    pub(super) min: T,
    pub(super) max: T,
    /// The magnitude of the grid's value furthest from 0, as [`furthest`] says: the same for all blocks.
    pub(super) furthest: f64,
    pub(super) smallest: Smallest,
}

/// The magnitude of the grid's value furthest from 0, which amax becomes.
pub(super) fn furthest(scheme: Scheme) -> f64 {
    match scheme.format() {
        Format::Int { .. } => f64::from(scheme.quant_max() - scheme.middle_code()),
        format => format.largest().abs().max(format.lowest().abs()),
    }
}

/// How small a scale may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Smallest {
    /// As small as the convention allows.
    OfConvention,
    /// As small as the range says: for what-if comparisons. Of a range of nothing it is 0.
    Any,
}

/// How a scale is stored: the scale as it will be, of the one that the formula gives. An error where its type cannot hold it.
pub(super) trait Store<T> {
    fn store(&self, scale: T) -> Result<T>;
    /// The same of a minimum.
    fn store_minimum(&self, minimum: T) -> Result<T>;
}

/// torch.finfo(torch.float32).eps, PyTorch's smallest scale.
const EPSILON: f64 = f32::EPSILON as f64;

impl<T: Real> Problem<T> {
    fn quant_min(&self) -> T {
        T::from_f64(self.scheme.quant_min().into())
    }

    fn quant_max(&self) -> T {
        T::from_f64(self.scheme.quant_max().into())
    }

    /// Steps between the first and the last code.
    fn steps(&self) -> T {
        self.quant_max() - self.quant_min()
    }

    fn magnitude(&self) -> T {
        larger_magnitude((self.min, self.max))
    }

    /// With 0 in the range. Zero must be a code: padding, ReLU and masks rely on it.
    fn widened(self) -> Self {
        let min = if self.min < T::ZERO { self.min } else { T::ZERO };
        let max = if self.max > T::ZERO { self.max } else { T::ZERO };
        Self { min, max, ..self }
    }

    fn finite(&self, scale: T) -> Result<T> {
        if scale.is_finite() {
            Ok(scale)
        } else {
            Err(Error::RangeOverflow { min: self.min.to_f64(), max: self.max.to_f64(), dtype: T::DTYPE })
        }
    }

    /// The parameters, the scale as it is stored.
    pub(super) fn solve(&self, storage: &impl Store<T>) -> Result<Pair<T>> {
        match (self.scheme.mapping(), self.scheme.convention(), self.scheme.format()) {
            (Mapping::Cast, ..) => Ok(Pair { scale: T::ONE, offset: T::ZERO }),
            (Mapping::Symmetric, _, Format::Float(_) | Format::Codebook(_)) => self.of_levels(storage),
            (Mapping::Symmetric, ..) if self.scheme.symmetric_range() == SymmetricRange::NoClipping => self.no_clipping(storage),
            (Mapping::Asymmetric, Convention::Onnx, _) => self.widened().onnx_asymmetric(storage),
            (Mapping::Symmetric, Convention::Onnx, _) => self.onnx_symmetric(storage),
            (Mapping::Asymmetric, Convention::PyTorch | Convention::TorchAo, _) => self.widened().pytorch_asymmetric(storage),
            (Mapping::Symmetric, Convention::PyTorch | Convention::TorchAo, _) => self.pytorch_symmetric(storage),
            (Mapping::Asymmetric, Convention::TfLite, _) => self.widened().tflite_asymmetric(storage),
            (Mapping::Symmetric, Convention::TfLite, _) => self.tflite_symmetric(storage),
            (Mapping::Asymmetric, Convention::AiEdge, _) => self.widened().ai_edge_asymmetric(storage),
            (Mapping::Symmetric, Convention::AiEdge, _) => self.ai_edge_symmetric(storage),
            (Mapping::Asymmetric, Convention::Original, _) => self.original_asymmetric(),
            (Mapping::Symmetric, Convention::Original, _) => self.original_symmetric(),
            (Mapping::Minimum, ..) => self.minimum(storage),
        }
    }

    fn bounded(&self, scale: T) -> T {
        match self.smallest {
            Smallest::OfConvention => bounded(self.scheme.convention(), scale),
            Smallest::Any => scale,
        }
    }

    fn at_least(&self, scale: T, smallest: f64) -> T {
        match self.smallest {
            Smallest::OfConvention => at_least(scale, smallest),
            Smallest::Any => scale,
        }
    }

    fn or_one(&self, scale: T) -> Option<T> {
        match self.smallest {
            Smallest::OfConvention => or_one(scale),
            Smallest::Any => Some(scale),
        }
    }

    /// amax / largest, for grids that are no integers. PyTorch's smallest scale holds here, too.
    fn of_levels(&self, storage: &impl Store<T>) -> Result<Pair<T>> {
        let scale = self.finite(self.magnitude() / T::from_f64(self.furthest))?;
        let scale = match self.scheme.format() {
            // With no 0 among the values no scale makes a block all zero: the smallest comes nearest.
            Format::Codebook(codebook) if !codebook.levels().contains(&0.0) => self.at_least(scale, T::MIN_NORMAL.to_f64()),
            _ => self.bounded(scale),
        };
        Ok(Pair { scale: storage.store(scale)?, offset: T::ZERO })
    }

    /// torchao's `SYMMETRIC_NO_CLIPPING_ERR`: max(min / quant_min, max / quant_max), the convention saying how small it may be.
    fn no_clipping(&self, storage: &impl Store<T>) -> Result<Pair<T>> {
        let widened = self.widened();
        let (below, above) = (widened.min / self.quant_min(), widened.max / self.quant_max());
        let scale = self.finite(if below > above { below } else { above })?;
        Ok(Pair { scale: storage.store(self.bounded(scale))?, offset: T::ZERO })
    }

    /// `DynamicQuantizeLinear` at every width: <https://onnx.ai/onnx/operators/onnx__DynamicQuantizeLinear.html>
    fn onnx_asymmetric(&self, storage: &impl Store<T>) -> Result<Pair<T>> {
        let (quant_min, quant_max) = (self.quant_min(), self.quant_max());
        match self.or_one(self.finite((self.max - self.min) / self.steps())?) {
            None => Ok(Pair { scale: storage.store(T::ONE)?, offset: limit(T::ZERO, quant_min, quant_max) }),
            Some(scale) => {
                let scale = storage.store(scale)?;
                let code = limit(quant_min - self.min / scale, quant_min, quant_max);
                Ok(Pair { scale, offset: round(code, Rounding::HalfToEven) })
            }
        }
    }

    /// ONNX Runtime's tool, `compute_scale_zp(…, symmetric=True)`: the range ±amax over all steps.
    fn onnx_symmetric(&self, storage: &impl Store<T>) -> Result<Pair<T>> {
        match self.or_one(self.finite(self.magnitude() / (self.steps() / T::from_f64(2.0)))?) {
            None => Ok(Pair { scale: storage.store(T::ONE)?, offset: limit(T::ZERO, self.quant_min(), self.quant_max()) }),
            Some(scale) => Ok(Pair { scale: storage.store(scale)?, offset: self.middle_code() }),
        }
    }

    /// `_calculate_qparams` of PyTorch's observers, `qscheme` affine; torchao's `_choose_qparams_affine`.
    fn pytorch_asymmetric(&self, storage: &impl Store<T>) -> Result<Pair<T>> {
        let (quant_min, quant_max, steps) = (self.quant_min(), self.quant_max(), self.steps());
        let scale = storage.store(self.bounded(self.finite((self.max - self.min) / steps)?))?;
        let steps_below = limit(self.min / scale, -steps, T::ZERO);
        Ok(Pair { scale, offset: limit(quant_min - round(steps_below, Rounding::HalfToEven), quant_min, quant_max) })
    }

    /// The same, `qscheme` symmetric: 127.5 steps to each side at 8 bits.
    fn pytorch_symmetric(&self, storage: &impl Store<T>) -> Result<Pair<T>> {
        let scale = self.bounded(self.finite(self.magnitude() / (self.steps() / T::from_f64(2.0)))?);
        Ok(Pair { scale: storage.store(scale)?, offset: self.middle_code() })
    }

    /// `ChooseQuantizationParams`, in f64.
    fn tflite_asymmetric(&self, storage: &impl Store<T>) -> Result<Pair<T>> {
        let (low, high) = (self.min.to_f64(), self.max.to_f64());
        let (code_min, code_max) = (self.quant_min().to_f64(), self.quant_max().to_f64());
        let exact = (high - low) / (code_max - code_min);
        let Some(scale) = self.or_one(self.finite(T::from_f64(exact))?) else {
            return Ok(Pair { scale: storage.store(T::ONE)?, offset: T::ZERO });
        };
        let stored = storage.store(scale)?;
        // The zero point is computed from the scale before it is rounded to the data's type.
        let exact = if stored == scale { exact } else { stored.to_f64() };
        // Either end of the range gives a zero point; take it from the one whose numbers are smaller.
        let (from_min, from_max) = (code_min - low / exact, code_max - high / exact);
        let error_of_min = code_min.abs() + (low / exact).abs();
        let error_of_max = code_max.abs() + (high / exact).abs();
        let zero_point = if error_of_min < error_of_max { from_min } else { from_max };
        let code = round(limit(zero_point, code_min, code_max), Rounding::HalfAwayFromZero);
        Ok(Pair { scale: stored, offset: T::from_f64(code) })
    }

    /// Weights of TFLite's specification: <https://ai.google.dev/edge/litert/models/quantization_spec>
    fn tflite_symmetric(&self, storage: &impl Store<T>) -> Result<Pair<T>> {
        let middle = self.middle_code();
        let scale = self.magnitude().to_f64() / (self.quant_max() - middle).to_f64();
        let scale = self.or_one(self.finite(T::from_f64(scale))?).unwrap_or(T::ONE);
        Ok(Pair { scale: storage.store(scale)?, offset: middle })
    }

    /// ai-edge-quantizer's `tensor_zp_scale_from_min_max`, asymmetric.
    fn ai_edge_asymmetric(&self, storage: &impl Store<T>) -> Result<Pair<T>> {
        let range = self.at_least(self.finite(self.max - self.min)?, SMALLEST_AI_EDGE_BOUND);
        let scale = storage.store(range / self.steps())?;
        let code = limit(self.quant_min() - self.min / scale, self.quant_min(), self.quant_max());
        Ok(Pair { scale, offset: round(code, Rounding::HalfToEven) })
    }

    /// The same, symmetric: absmax at the largest code.
    fn ai_edge_symmetric(&self, storage: &impl Store<T>) -> Result<Pair<T>> {
        let middle = self.middle_code();
        let scale = self.at_least(self.magnitude(), SMALLEST_AI_EDGE_BOUND) / (self.quant_max() - middle);
        Ok(Pair { scale: storage.store(scale)?, offset: middle })
    }

    /// The notebook's `asymmetric_quantization`.
    fn original_asymmetric(&self) -> Result<Pair<T>> {
        let scale = self.finite((self.max - self.min) / self.steps())?;
        self.divisible(scale)?;
        let (min, max) = (self.min.to_f64(), self.max.to_f64());
        let zero_point = -(self.min / scale).to_f64().round_ties_even();
        if zero_point.abs() >= i64::MAX as f64 {
            return Err(Error::ZeroPointOverflow { min, max, zero_point });
        }
        Ok(Pair { scale, offset: T::from_f64(zero_point) })
    }

    /// The notebook's `symmetric_quantization`.
    fn original_symmetric(&self) -> Result<Pair<T>> {
        let scale = self.magnitude() / self.quant_max();
        self.divisible(scale)?;
        Ok(Pair { scale, offset: T::ZERO })
    }

    fn divisible(&self, scale: T) -> Result<()> {
        if scale == T::ZERO || !(T::ONE / scale).is_finite() {
            let (min, max) = (self.min.to_f64(), self.max.to_f64());
            return Err(Error::ZeroScale { min, max, scale: scale.to_f64() });
        }
        Ok(())
    }

    /// (max - min) / steps, and the minimum itself; a constant block has scale 1 and is exact. torchao's `_choose_qparams_affine_tinygemm` keeps
    /// what the middle between the codes means instead.
    fn minimum(&self, storage: &impl Store<T>) -> Result<Pair<T>> {
        let scale = storage.store(self.bounded(self.finite((self.max - self.min) / self.steps())?))?;
        let offset = match self.scheme.convention() {
            Convention::TorchAo => self.min + scale * middle_between(self.scheme),
            _ => self.min,
        };
        Ok(Pair { scale, offset: storage.store_minimum(offset)? })
    }

    /// The code that means 0 under a symmetric mapping.
    pub(super) fn middle_code(&self) -> T {
        T::from_f64(self.scheme.middle_code().into())
    }
}

/// ai-edge-quantizer's smallest range or magnitude.
const SMALLEST_AI_EDGE_BOUND: f64 = 1e-9;

/// None for a scale that would be 0 or subnormal: it becomes 1. Then integers, and all formats whose smallest number is not as small as the
/// data, are all zero.
fn or_one<T: Real>(scale: T) -> Option<T> {
    if scale < T::MIN_NORMAL { None } else { Some(scale) }
}

fn at_least<T: Real>(scale: T, smallest: f64) -> T {
    let smallest = T::from_f64(smallest);
    if scale < smallest { smallest } else { scale }
}

/// A scale, or the smallest that the convention has.
pub(super) fn bounded<T: Real>(convention: Convention, scale: T) -> T {
    match convention {
        Convention::PyTorch => at_least(scale, EPSILON),
        Convention::TorchAo => at_least(scale, T::MIN_NORMAL.to_f64()),
        _ => or_one(scale).unwrap_or(T::ONE),
    }
}
