//! `Scheme`: how numbers become codes, as a value with a name that parses back.

mod name;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::calibrate::Calibration;
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::format::{Format, Rounding, Signedness};
use crate::granularity::{Granularity, Layout};

/// Whether the codes cover the values' own range or one centred on 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mapping {
    /// The values' own range; a zero point says which code means 0.
    Asymmetric,
    /// ± the largest magnitude, centred on 0.
    Symmetric,
}

impl Mapping {
    fn name(self) -> &'static str {
        match self {
            Self::Asymmetric => "asymmetric",
            Self::Symmetric => "symmetric",
        }
    }

    fn short_name(self) -> &'static str {
        match self {
            Self::Asymmetric => "asym",
            Self::Symmetric => "sym",
        }
    }

    /// One bit has two codes: enough for a range, but not for -1, 0 and 1.
    fn min_bits(self) -> u32 {
        match self {
            Self::Asymmetric => 1,
            Self::Symmetric => 2,
        }
    }
}

/// Which codes a symmetric mapping uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SymmetricRange {
    /// All of them, -128 to 127 at 8 bits. The convention says what the largest magnitude becomes: ±127.5, clipped (ONNX,
    /// PyTorch) or ±127 (TFLite, the original).
    Full,
    /// One fewer, so that there are as many to each side of 0: -127 to 127 at 8 bits, and the largest magnitude is ±127.
    Restricted,
}

/// Whose arithmetic. They agree on most values, and differ on ties, degenerate input and the last code.
///
/// | | range | scale | code | ties |
/// |--|--|--|--|--|
/// | [`Onnx`](Self::Onnx) | widened to contain 0 | (max-min)/(quant_max-quant_min) | round(x/s) + z | to even |
/// | [`PyTorch`](Self::PyTorch) | widened to contain 0 | the same, at least 2⁻²³ | round(x · (1/s)) + z | to even |
/// | [`TfLite`](Self::TfLite) | widened to contain 0 | the same, computed in f64 | round(x/s) + z | away from 0 |
/// | [`Original`](Self::Original) | as it is | (max-min)/(2^bits-1) | round(x/s + z) | to even |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Convention {
    /// ONNX `DynamicQuantizeLinear` and `QuantizeLinear` as ONNX Runtime computes them, at every width and sign. Divides,
    /// rounds, then adds the zero point. Symmetric signed codes are restricted by default (as its int8 and int16 are),
    /// unsigned ones full with the zero point in the middle. A block whose scale would be 0 or subnormal (all zero, or far
    /// too small) has scale 1 and zero point 0, or the code nearest to it, and becomes all zero.
    /// Source: <https://onnx.ai/onnx/operators/onnx__QuantizeLinear.html>
    Onnx,
    /// PyTorch's `MinMaxObserver` and `quantize_per_tensor`. Multiplies by the reciprocal of the scale. The scale is at
    /// least 2⁻²³ (`torch.finfo(torch.float32).eps`), so a tensor smaller than about 3e-5 loses most of its codes.
    /// Symmetric codes are full by default: the largest magnitude is ±127.5 at 8 bits, and its positive side is clipped.
    /// Source: `torch/ao/quantization/observer.py`
    PyTorch,
    /// TensorFlow Lite's `ChooseQuantizationParams` and `AffineQuantize`: parameters in f64, the zero point from whichever
    /// end of the range gives it the smaller error, ties away from zero. Symmetric codes are restricted by default. A block whose
    /// scale would be 0 or subnormal has scale 1 and becomes all zero, as an all-zero one has in TFLite's symmetric routine (its
    /// asymmetric one says 0, which nothing can be divided by).
    /// Source: `tensorflow/lite/kernels/internal/quantization_util.cc`
    TfLite,
    /// The numpy notebook this library began as, oddities kept: the range is not widened to contain 0, so the zero point may be
    /// far outside the codes; it is added before rounding; the symmetric lower bound is -2^bits - 1 (Python reads `-2**bits-1`
    /// so), which no 8-bit integer holds. Where its formulas divide by 0 there is an error.
    Original,
}

impl Convention {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Onnx, Self::PyTorch, Self::TfLite, Self::Original];

    /// How it rounds a tie.
    pub fn rounding(self) -> Rounding {
        match self {
            Self::Onnx | Self::PyTorch | Self::Original => Rounding::HalfToEven,
            Self::TfLite => Rounding::HalfAwayFromZero,
        }
    }
}

impl fmt::Display for Convention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Onnx => "onnx",
            Self::PyTorch => "pytorch",
            Self::TfLite => "tflite",
            Self::Original => "original",
        })
    }
}

impl FromStr for Convention {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = |convention: &Self| convention.to_string() == text;
        Self::ALL.into_iter().find(known).ok_or_else(|| format!("`{text}` is no convention"))
    }
}

/// How numbers become codes: format × granularity × mapping × calibration × rounding × convention.
///
/// A value, built by a sentence in any order, printed as a short name and parsed back from it. It may be held in an invalid
/// state (17 bits, say); every use of it is then an error.
///
/// ```
/// # use quantlens::{Convention, Scheme};
/// let scheme = Scheme::symmetric(4).per_group(128);
/// assert_eq!(scheme.to_string(), "int4-sym-g128");
/// assert_eq!("int4-sym-g128".parse::<Scheme>()?, scheme);
/// assert_eq!((scheme.quant_min(), scheme.quant_max()), (-7, 7));
///
/// let torch = Scheme::symmetric(8).with_convention(Convention::PyTorch).per_axis(0);
/// assert_eq!(torch.to_string(), "int8-sym-axis0-pytorch");
/// assert_eq!((torch.quant_min(), torch.quant_max()), (-128, 127));
/// # Ok::<(), quantlens::Error>(())
/// ```
///
/// A name is `format-mapping`, then what differs from the convention's own way, in this order: `full` or `restricted`; `axisN`
/// or `gN` (group size); `pN` (percentile); `half-even` or `half-away`; `pytorch`, `tflite` or `original`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Scheme {
    format: Format,
    granularity: Granularity,
    mapping: Mapping,
    symmetric_range: Option<SymmetricRange>,
    calibration: Calibration,
    rounding: Option<Rounding>,
    convention: Convention,
}

impl Scheme {
    /// Unsigned codes of 1 to 16 bits over the values' own range, per tensor, min-max, ONNX's arithmetic.
    pub fn asymmetric(bits: u32) -> Self {
        Self {
            format: Format::uint(bits),
            granularity: Granularity::PerTensor,
            mapping: Mapping::Asymmetric,
            symmetric_range: None,
            calibration: Calibration::MinMax,
            rounding: None,
            convention: Convention::Onnx,
        }
    }

    /// Signed codes of 2 to 16 bits, centred on 0, per tensor, min-max, ONNX's arithmetic.
    pub fn symmetric(bits: u32) -> Self {
        Self { format: Format::int(bits), mapping: Mapping::Symmetric, ..Self::asymmetric(bits) }
    }

    /// The same scheme at another width, in bits.
    pub fn with_bits(self, bits: u32) -> Self {
        Self { format: self.format.with_bits(bits), ..self }
    }

    /// With signed codes: `Scheme::asymmetric(8).signed()` is TFLite's for activations.
    pub fn signed(self) -> Self {
        Self { format: Format::int(self.format.bits()), ..self }
    }

    /// With unsigned codes: `Scheme::symmetric(8).unsigned()` has its zero point in the middle, 128.
    pub fn unsigned(self) -> Self {
        Self { format: Format::uint(self.format.bits()), ..self }
    }

    /// One scale for the whole tensor.
    pub fn per_tensor(self) -> Self {
        Self { granularity: Granularity::PerTensor, ..self }
    }

    /// One scale for each index of this axis, from 0.
    pub fn per_axis(self, axis: usize) -> Self {
        Self { granularity: Granularity::PerAxis(axis), ..self }
    }

    /// One scale for each run of `group_size` elements along the last axis.
    pub fn per_group(self, group_size: usize) -> Self {
        Self { granularity: Granularity::PerGroup(group_size), ..self }
    }

    /// Symmetric codes from -2^(bits-1) to 2^(bits-1) - 1.
    pub fn full_range(self) -> Self {
        Self { symmetric_range: Some(SymmetricRange::Full), ..self }
    }

    /// Symmetric codes from -(2^(bits-1) - 1) to 2^(bits-1) - 1.
    pub fn restricted_range(self) -> Self {
        Self { symmetric_range: Some(SymmetricRange::Restricted), ..self }
    }

    /// With another way to find the range.
    pub fn with_calibration(self, calibration: Calibration) -> Self {
        Self { calibration, ..self }
    }

    /// Keeps this share of the values in percent, in (0, 100], and clips the rest; see [`Calibration::Percentile`].
    pub fn percentile(self, percentile: f64) -> Self {
        self.with_calibration(Calibration::Percentile(percentile))
    }

    /// With ties rounded this way, whatever the convention does.
    pub fn with_rounding(self, rounding: Rounding) -> Self {
        Self { rounding: Some(rounding), ..self }
    }

    /// With the arithmetic of this convention, its rounding and symmetric range too unless they were said.
    pub fn with_convention(self, convention: Convention) -> Self {
        Self { convention, ..self }
    }

    /// The number format of a code.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Width of a code in bits.
    pub fn bits(&self) -> u32 {
        self.format.bits()
    }

    /// How many elements share a scale.
    pub fn granularity(&self) -> Granularity {
        self.granularity
    }

    /// Asymmetric or symmetric.
    pub fn mapping(&self) -> Mapping {
        self.mapping
    }

    /// How the range is found.
    pub fn calibration(&self) -> Calibration {
        self.calibration
    }

    /// How ties are rounded: as said, else as the convention does.
    pub fn rounding(&self) -> Rounding {
        self.rounding.unwrap_or(self.convention.rounding())
    }

    /// Whose arithmetic.
    pub fn convention(&self) -> Convention {
        self.convention
    }

    /// Which codes a symmetric mapping uses: as said, else as the convention does (PyTorch full; ONNX full for unsigned
    /// codes; restricted otherwise). The original's own lower bound, -2^bits - 1, is neither, and is what [`Scheme::quant_min`] says
    /// unless a range was said; an asymmetric mapping has none.
    pub fn symmetric_range(&self) -> SymmetricRange {
        self.symmetric_range.unwrap_or(match (self.convention, self.format.signedness()) {
            (Convention::PyTorch, _) | (Convention::Onnx, Signedness::Unsigned) => SymmetricRange::Full,
            _ => SymmetricRange::Restricted,
        })
    }

    /// The smallest code.
    pub fn quant_min(&self) -> i32 {
        let (min, _) = self.format.code_range();
        match (self.mapping, self.convention, self.symmetric_range, self.symmetric_range()) {
            // `-2**bits-1` is -(2^bits) - 1: far below any code, so the lower clamp never acts.
            (Mapping::Symmetric, Convention::Original, None, _) => -(1 << self.bits().clamp(1, Format::MAX_BITS)) - 1,
            (Mapping::Symmetric, _, _, SymmetricRange::Restricted) => min + 1,
            _ => min,
        }
    }

    /// The largest code.
    pub fn quant_max(&self) -> i32 {
        self.format.code_range().1
    }

    /// Bits an element costs in a tensor of this shape: codes, and for each block a scale in the data's type and, for an
    /// asymmetric mapping, a zero point of the codes' width.
    ///
    /// ```text
    /// bits + blocks · (scale_bits + zero_point_bits) / elements
    /// ```
    ///
    /// The zero point of a symmetric mapping is fixed by the format and costs nothing. The original's is not confined to the
    /// codes and counts 64 bits, which is what holds it here; its symmetric codes below what `bits` hold are not counted as wider.
    ///
    /// # Errors
    /// An invalid scheme, an axis the shape does not have, a shape without elements.
    pub fn bits_per_element(&self, shape: &[usize], dtype: Dtype) -> Result<f64> {
        self.validate()?;
        let layout = Layout::new(self.granularity, shape)?;
        let zero_point_bits = match (self.mapping, self.convention) {
            (Mapping::Symmetric, _) => 0,
            (Mapping::Asymmetric, Convention::Original) => i64::BITS,
            (Mapping::Asymmetric, _) => self.bits(),
        };
        let parameter_bits = layout.blocks() as f64 * f64::from(dtype.bits() + zero_point_bits);
        Ok(f64::from(self.bits()) + parameter_bits / layout.elements() as f64)
    }

    /// Refuses what cannot be. Everything that uses a scheme asks here first.
    ///
    /// # Errors
    /// [`Error::BitsOutOfRange`], [`Error::GroupSize`], [`Error::Percentile`], or [`Error::Unsupported`] for a symmetric range
    /// on an asymmetric mapping and for codes the original does not have.
    pub fn validate(&self) -> Result<()> {
        let (bits, mapping) = (self.bits(), self.mapping);
        if bits < mapping.min_bits() || bits > Format::MAX_BITS {
            let (min, max) = (mapping.min_bits(), Format::MAX_BITS);
            return Err(Error::BitsOutOfRange { bits, min, max, mapping: mapping.name() });
        }
        if self.granularity == Granularity::PerGroup(0) {
            return Err(Error::GroupSize);
        }
        self.calibration.validate()?;
        let unsupported = |reason| Err(Error::Unsupported { scheme: self.to_string(), reason });
        if mapping == Mapping::Asymmetric && self.symmetric_range.is_some() {
            return unsupported("full and restricted ranges are for symmetric mappings");
        }
        match (self.convention, mapping, self.format.signedness()) {
            (Convention::Original, Mapping::Asymmetric, Signedness::Signed) => {
                unsupported("the original's asymmetric codes start at 0: use unsigned ones, or another convention")
            }
            (Convention::Original, Mapping::Symmetric, Signedness::Unsigned) => {
                unsupported("the original's symmetric codes have a sign: use signed ones, or another convention")
            }
            _ => Ok(()),
        }
    }
}
