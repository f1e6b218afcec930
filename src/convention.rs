//! `Convention`: whose arithmetic.

use std::fmt;
use std::str::FromStr;

use crate::format::Rounding;

/// Whose arithmetic. They agree on most values, and differ on ties, degenerate input and the last code.
///
/// | | range | scale of an asymmetric mapping | code | ties |
/// |--|--|--|--|--|
/// | [`Onnx`](Self::Onnx) | widened to contain 0 | (max-min)/(quant_max-quant_min) | round(x/s) + z | to even |
/// | [`PyTorch`](Self::PyTorch) | widened to contain 0 | the same, at least 2⁻²³ | round(x · (1/s)) + z | to even |
/// | [`TfLite`](Self::TfLite) | widened to contain 0 | the same, computed in f64 | round(x/s) + z | away from 0 |
/// | [`TorchAo`](Self::TorchAo) | widened to contain 0 | the same, at least the smallest normal number | round(x · (1/s)) + z | to even |
/// | [`AiEdge`](Self::AiEdge) | widened to contain 0 | the same, of a range of at least 10⁻⁹ | round(x/s + z) | to even |
/// | [`Original`](Self::Original) | as it is | (max-min)/(2^bits-1) | round(x/s + z) | to even |
///
/// Of float formats and codebooks, which have no zero point, the scale is amax / largest, and the conventions differ in whether x is divided by
/// it or multiplied by its reciprocal, and in how small it may be; they round as the format does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Convention {
    /// ONNX `DynamicQuantizeLinear` and `QuantizeLinear` as ONNX Runtime computes them, at every width and sign. Divides,
    /// rounds, then adds the zero point. A block whose scale would be 0 or subnormal (all zero, or far too small) has scale 1 and zero
    /// point 0, or the code nearest to it, and becomes all zero.
    ///
    /// Symmetric signed codes of 8 bits and more are restricted by default, as ONNX Runtime's tool has int8 and int16 (-127 to 127,
    /// absmax/127); narrower ones are full, as it has int4 (-8 to 7, absmax/7.5), and so are unsigned ones, with the zero point in the
    /// middle.
    /// Sources: <https://onnx.ai/onnx/operators/onnx__QuantizeLinear.html>, and `compute_scale_zp` in
    /// <https://github.com/microsoft/onnxruntime/blob/v1.22.0/onnxruntime/python/tools/quantization/quant_utils.py>
    Onnx,
    /// PyTorch's `MinMaxObserver` and `quantize_per_tensor`. Multiplies by the reciprocal of the scale. The scale is at
    /// least 2⁻²³ (`torch.finfo(torch.float32).eps`), so a tensor smaller than about 3e-5 loses most of its codes.
    /// Symmetric codes are full by default: the largest magnitude is ±127.5 at 8 bits, and its positive side is clipped.
    /// Source: <https://github.com/pytorch/pytorch/blob/v1.13.1/torch/ao/quantization/observer.py>
    PyTorch,
    /// TensorFlow Lite's `ChooseQuantizationParams` and `AffineQuantize`: parameters in f64, the zero point from whichever
    /// end of the range gives it the smaller error, ties away from zero. Symmetric codes are restricted by default. A block whose
    /// scale would be 0 or subnormal has scale 1 and becomes all zero, as an all-zero one has in TFLite's symmetric routine (its
    /// asymmetric one says 0, which nothing can be divided by).
    /// Source: <https://github.com/tensorflow/tensorflow/blob/v2.16.1/tensorflow/lite/kernels/internal/quantization_util.cc>
    TfLite,
    /// torchao's `choose_qparams_affine` and `quantize_affine`: as PyTorch, but a scale may be as small as the type's smallest normal number.
    /// A float minimum is its tinygemm variant: what is stored is what the middle between the codes means.
    /// Source: <https://github.com/pytorch/ao/blob/v0.18.0/torchao/quantization/quant_primitives.py>
    TorchAo,
    /// ai-edge-quantizer, which makes LiteRT models: the zero point is added before rounding. Symmetric codes are restricted from 8
    /// bits on, and below that full with absmax at the largest code (absmax/7 at 4 bits).
    /// Source: <https://github.com/google-ai-edge/ai-edge-quantizer/blob/v0.10.0/ai_edge_quantizer/algorithms/uniform_quantize/uniform_quantize_tensor.py>
    AiEdge,
    /// The numpy notebook this library began as, oddities kept: the range is not widened to contain 0, so the zero point may be
    /// far outside the codes; it is added before rounding; the symmetric lower bound is -2^bits - 1 (Python reads `-2**bits-1`
    /// so), which no 8-bit integer holds. Where its formulas divide by 0 there is an error. Integers only.
    Original,
}

/// The order of the arithmetic between a value and its code, which is where conventions differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    DivideRoundAdd,
    MultiplyRoundAdd,
    DivideAddRound,
}

impl Convention {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Onnx, Self::PyTorch, Self::TfLite, Self::TorchAo, Self::AiEdge, Self::Original];

    /// How it rounds the tie between two integers.
    pub fn rounding(self) -> Rounding {
        match self {
            Self::TfLite => Rounding::HalfAwayFromZero,
            _ => Rounding::HalfToEven,
        }
    }

    pub(crate) fn order(self) -> Order {
        match self {
            Self::Onnx | Self::TfLite => Order::DivideRoundAdd,
            Self::PyTorch | Self::TorchAo => Order::MultiplyRoundAdd,
            Self::AiEdge | Self::Original => Order::DivideAddRound,
        }
    }
}

impl fmt::Display for Convention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Onnx => "onnx",
            Self::PyTorch => "pytorch",
            Self::TfLite => "tflite",
            Self::TorchAo => "torchao",
            Self::AiEdge => "aiedge",
            Self::Original => "original",
        })
    }
}

impl FromStr for Convention {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = |convention: &Self| convention.to_string() == text;
        let names: Vec<String> = Self::ALL.iter().map(Self::to_string).collect();
        Self::ALL.into_iter().find(known).ok_or_else(|| format!("`{text}` is no convention: it is {}", names.join(", ")))
    }
}
