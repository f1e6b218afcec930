//! `Scheme`: how numbers become codes, as a value with a name that parses back.

mod cost;
mod name;
mod preset;
mod rules;

use serde::{Deserialize, Serialize};

use crate::calibrate::Calibration;
use crate::convention::Convention;
use crate::format::{Codebook, Format, Minifloat, Rounding, Signedness};
use crate::granularity::Granularity;
use crate::scale::{ScaleFormat, ScaleRule, ScaleStorage, SecondLevel};

/// How a value is placed on the grid of codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mapping {
    /// The values' own range; an integer zero point says which code means 0. Integers only.
    Asymmetric,
    /// ± the largest magnitude, centred on 0.
    Symmetric,
    /// The values' own range; the smallest value is stored as a number of its own, and 0 need not be a code: ggml's Q4_1, HQQ's, and
    /// torchao's float zero points. Unsigned integers only.
    Minimum,
    /// No scale: the nearest value of the format itself.
    Cast,
}

impl Mapping {
    fn name(self) -> &'static str {
        match self {
            Self::Asymmetric => "asymmetric",
            Self::Symmetric => "symmetric",
            Self::Minimum => "minimum",
            Self::Cast => "cast",
        }
    }

    /// One bit has two codes: enough for a range, but not for -1, 0 and 1.
    fn min_bits(self) -> u32 {
        match self {
            Self::Symmetric => 2,
            _ => 1,
        }
    }
}

/// Which codes a symmetric mapping to integers uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SymmetricRange {
    /// All of them, -128 to 127 at 8 bits. The convention says what the largest magnitude becomes: ±127.5, clipped (ONNX,
    /// PyTorch, torchao) or ±127 (TFLite, ai-edge-quantizer, the original).
    Full,
    /// One fewer, so that there are as many to each side of 0: -127 to 127 at 8 bits, and the largest magnitude is ±127.
    Restricted,
    /// All of them, and the scale is the smallest that clips nothing, max(min / quant_min, max / quant_max): torchao's
    /// `SYMMETRIC_NO_CLIPPING_ERR`.
    NoClipping,
}

/// What a number beyond the largest of a float format becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Overflow {
    /// The largest: ONNX's `saturate = 1`, and what FP8 hardware does.
    Saturate,
    /// ±∞ where the format has it, else NaN: a plain cast in numpy and PyTorch, ONNX's `saturate = 0`. Such an element is an error where
    /// values come back from codes.
    Special,
}

/// How numbers become codes: format × granularity × mapping × calibration × scale × rounding × convention.
///
/// A value, built by a sentence in any order, printed as a short name and parsed back from it. It may be held in an invalid
/// state (17 bits, say); every use of it is then an error.
///
/// ```
/// # use quantlens::{Convention, Minifloat, Scheme, ScaleFormat, ScaleRule};
/// let scheme = Scheme::symmetric(8).per_group(128);
/// assert_eq!(scheme.to_string(), "int8-sym-g128");
/// assert_eq!("int8-sym-g128".parse::<Scheme>()?, scheme);
/// assert_eq!((scheme.quant_min(), scheme.quant_max()), (-127, 127));
///
/// let torch = Scheme::symmetric(8).with_convention(Convention::PyTorch).per_axis(0);
/// assert_eq!(torch.to_string(), "int8-sym-axis0-pytorch");
/// assert_eq!((torch.quant_min(), torch.quant_max()), (-128, 127));
///
/// for (scheme, name) in [
///     (Scheme::float(Minifloat::E4M3FN).per_axis(0), "e4m3fn-axis0"),
///     (Scheme::cast(Minifloat::BF16), "bf16-cast"),
///     (Scheme::mxfp8_e4m3().with_scale_rule(ScaleRule::Ceil), "mxfp8-e4m3-ceil"),
///     (Scheme::nf4().per_group(64).double_quantized(), "nf4-g64-dq"),
///     (Scheme::symmetric(4).per_group(32).with_scale_format(ScaleFormat::F16), "int4-sym-g32-sf16"),
///     (Scheme::asymmetric(4).with_float_minimum().per_group(64), "uint4-min-g64"),
///     (Scheme::float(Minifloat::E4M3FN).per_block([128, 128]), "e4m3fn-b128x128"),
///     (Scheme::symmetric(8).per_group_on(0, 32), "int8-sym-g32@0"),
/// ] {
///     assert_eq!(scheme.to_string(), name);
///     assert_eq!(name.parse::<Scheme>()?, scheme);
/// }
/// # Ok::<(), quantlens::Error>(())
/// ```
///
/// A name is a head and then what differs from it, in this order. The head is `int8-sym`, `uint4-asym`, `uint4-min` (a float minimum),
/// a float format or codebook (`e4m3fn`, `nf4`), one of these without a scale (`bf16-cast`), or a preset, which says granularity and scales
/// too (`mxfp8-e4m3`, `mxfp8-e5m2`, `mxfp6-e2m3`, `mxfp6-e3m2`, `mxfp4`, `mxint8`, `nvfp4`). What may follow: `full`, `restricted` or
/// `noclip`; `axisN`, `gN` (group size), `gN@A` (on axis A), `bRxC` (rectangles) or `tensor`; `pN` (percentile), `mse`, `lpN`, `kl`,
/// `sigmaN`, `absmean` or `minmax`; `sF` (scales stored in format F: `sf16`, `spow2`); `floor`, `ceil`, `rceil`, `even` or `nearest`
/// (which power of two); `ts` (a scale for the tensor above those of the blocks) or `dq` (double quantization); a rounding, as `half-away`
/// or `stochastic7`; `nosat` (overflow is not clipped); and a convention: `pytorch`, `tflite`, `torchao`, `aiedge` or `original`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Scheme {
    format: Format,
    granularity: Granularity,
    mapping: Mapping,
    symmetric_range: Option<SymmetricRange>,
    calibration: Calibration,
    scale: ScaleStorage,
    rounding: Option<Rounding>,
    overflow: Overflow,
    convention: Convention,
}

impl Scheme {
    /// Any format centred on 0 with one scale for the tensor, amax / largest, by ONNX's arithmetic.
    fn of(format: Format) -> Self {
        Self {
            format,
            granularity: Granularity::PerTensor,
            mapping: Mapping::Symmetric,
            symmetric_range: None,
            calibration: Calibration::MinMax,
            scale: ScaleStorage::DATA,
            rounding: None,
            overflow: Overflow::Saturate,
            convention: Convention::Onnx,
        }
    }

    /// Unsigned codes of 1 to 16 bits over the values' own range, per tensor, min-max, ONNX's arithmetic.
    pub fn asymmetric(bits: u32) -> Self {
        Self { mapping: Mapping::Asymmetric, ..Self::of(Format::uint(bits)) }
    }

    /// Signed codes of 2 to 16 bits, centred on 0, per tensor, min-max, ONNX's arithmetic.
    pub fn symmetric(bits: u32) -> Self {
        Self::of(Format::int(bits))
    }

    /// A float format, its largest number at the largest magnitude: scale = amax / largest, one for the tensor.
    pub fn float(format: Minifloat) -> Self {
        Self::of(Format::Float(format))
    }

    /// A codebook, its value furthest from 0 at the largest magnitude: scale = amax / max |level|, one for the tensor. Of
    /// [`Codebook::TERNARY`] and [`Codebook::BINARY`] the scale is mean |x| ([`Calibration::AbsMean`]).
    pub fn codebook(codebook: Codebook) -> Self {
        let by_mean = codebook == Codebook::TERNARY || codebook == Codebook::BINARY;
        let calibration = if by_mean { Calibration::AbsMean } else { Calibration::MinMax };
        Self { calibration, ..Self::of(Format::Codebook(codebook)) }
    }

    /// What a plain cast to the format keeps: no scale; see [`Overflow`] for numbers beyond its largest.
    ///
    /// ```
    /// # use quantlens::{Minifloat, Scheme, Tensor};
    /// let x = Tensor::from_vec("x", vec![0.1_f32, 300.0, 1e6])?;
    /// let y = Scheme::cast(Minifloat::E4M3FN).fake_quantize(&x)?;
    /// assert_eq!(y.to_f64_vec(), [0.1015625, 288.0, 448.0]);
    /// # Ok::<(), quantlens::Error>(())
    /// ```
    pub fn cast(format: impl Into<Format>) -> Self {
        Self { mapping: Mapping::Cast, ..Self::of(format.into()) }
    }

    /// The same scheme with integers of another width, in bits. Float formats and codebooks have one width and keep it.
    pub fn with_bits(self, bits: u32) -> Self {
        Self { format: self.format.with_bits(bits), ..self }
    }

    /// With signed codes: `Scheme::asymmetric(8).signed()` is TFLite's for activations. Of no effect but on integers.
    pub fn signed(self) -> Self {
        self.with_signedness(Signedness::Signed)
    }

    /// With unsigned codes: `Scheme::symmetric(8).unsigned()` has its zero point in the middle, 128. Of no effect but on integers.
    pub fn unsigned(self) -> Self {
        self.with_signedness(Signedness::Unsigned)
    }

    fn with_signedness(self, signedness: Signedness) -> Self {
        match self.format {
            Format::Int { bits, .. } => Self { format: Format::Int { bits, signedness }, ..self },
            _ => self,
        }
    }

    /// With the smallest value of each block stored as a number instead of a zero point; see [`Mapping::Minimum`].
    ///
    /// ```text
    /// scale = (max - min) / (2^bits - 1)     q = clamp(round((x - min) / scale))     x̂ = q · scale + min
    /// ```
    pub fn with_float_minimum(self) -> Self {
        Self { mapping: Mapping::Minimum, ..self }
    }

    /// One scale for the whole tensor.
    pub fn per_tensor(self) -> Self {
        self.with_granularity(Granularity::PerTensor)
    }

    /// One scale for each index of this axis, from 0.
    pub fn per_axis(self, axis: usize) -> Self {
        self.with_granularity(Granularity::PerAxis(axis))
    }

    /// One scale for each run of `group_size` elements along the last axis.
    pub fn per_group(self, group_size: usize) -> Self {
        self.with_granularity(Granularity::PerGroup(group_size))
    }

    /// One scale for each run of `group_size` elements along this axis, from 0: ONNX's blocked quantization.
    pub fn per_group_on(self, axis: usize, group_size: usize) -> Self {
        self.with_granularity(Granularity::PerGroupOn { axis, group_size })
    }

    /// One scale for each rectangle of this many rows and columns of the last two axes.
    pub fn per_block(self, rows_and_columns: [usize; 2]) -> Self {
        self.with_granularity(Granularity::PerBlock(rows_and_columns))
    }

    /// With this many elements to a scale.
    pub fn with_granularity(self, granularity: Granularity) -> Self {
        Self { granularity, ..self }
    }

    /// Symmetric codes from -2^(bits-1) to 2^(bits-1) - 1.
    pub fn full_range(self) -> Self {
        Self { symmetric_range: Some(SymmetricRange::Full), ..self }
    }

    /// Symmetric codes from -(2^(bits-1) - 1) to 2^(bits-1) - 1.
    pub fn restricted_range(self) -> Self {
        Self { symmetric_range: Some(SymmetricRange::Restricted), ..self }
    }

    /// Symmetric codes from -2^(bits-1) to 2^(bits-1) - 1 with the smallest scale that clips nothing.
    pub fn without_clipping(self) -> Self {
        Self { symmetric_range: Some(SymmetricRange::NoClipping), ..self }
    }

    /// With another way to find the range.
    pub fn with_calibration(self, calibration: Calibration) -> Self {
        Self { calibration, ..self }
    }

    /// Keeps this share of the values in percent, in (0, 100], and clips the rest; see [`Calibration::Percentile`].
    pub fn percentile(self, percentile: f64) -> Self {
        self.with_calibration(Calibration::Percentile(percentile))
    }

    /// With the scale of least mean squared error; see [`Calibration::Mse`].
    pub fn mse_optimal(self) -> Self {
        self.with_calibration(Calibration::Mse)
    }

    /// With scales stored in this format.
    pub fn with_scale_format(self, format: ScaleFormat) -> Self {
        Self { scale: ScaleStorage { format, ..self.scale }, ..self }
    }

    /// With powers of two chosen by this rule, where scales are powers of two.
    pub fn with_scale_rule(self, rule: ScaleRule) -> Self {
        Self { scale: ScaleStorage { rule, ..self.scale }, ..self }
    }

    /// With one f32 scale for the tensor above those of the blocks; see [`SecondLevel::TensorScale`].
    pub fn with_tensor_scale(self) -> Self {
        Self { scale: ScaleStorage { second: Some(SecondLevel::TensorScale), ..self.scale }, ..self }
    }

    /// With the scales quantized in their turn; see [`SecondLevel::DoubleQuantized`].
    pub fn double_quantized(self) -> Self {
        Self { scale: ScaleStorage { second: Some(SecondLevel::DoubleQuantized), ..self.scale }, ..self }
    }

    /// With codes rounded this way, whatever the convention or the format does. The zero point is rounded as the convention does.
    pub fn with_rounding(self, rounding: Rounding) -> Self {
        Self { rounding: Some(rounding), ..self }
    }

    /// With numbers beyond the largest of a float format treated this way.
    pub fn with_overflow(self, overflow: Overflow) -> Self {
        Self { overflow, ..self }
    }

    /// With the arithmetic of this convention, its rounding and symmetric range too unless they were said.
    pub fn with_convention(self, convention: Convention) -> Self {
        Self { convention, ..self }
    }

    /// The same codes with scales of the data's type, so that they are what a formula or a search gives: for what-if comparisons.
    pub(crate) fn with_exact_scales(self) -> Self {
        let has_range = self.mapping == Mapping::Symmetric && matches!(self.format, Format::Int { .. });
        // E8M0 says another range than the convention.
        let is_said = has_range && self.scale.format == ScaleFormat::E8M0;
        let symmetric_range = if is_said { Some(self.symmetric_range()) } else { self.symmetric_range };
        Self { scale: ScaleStorage::DATA, symmetric_range, ..self }
    }

    /// With the symmetric codes of another convention's scheme, where it is one that can be said: not the original's.
    pub(crate) fn with_codes_of(self, other: Self) -> Self {
        match (self.mapping, self.format, other.convention) {
            (Mapping::Symmetric, Format::Int { .. }, convention) if convention != Convention::Original => {
                Self { symmetric_range: Some(other.symmetric_range()), ..self }
            }
            _ => self,
        }
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

    /// How a value is placed on the grid.
    pub fn mapping(&self) -> Mapping {
        self.mapping
    }

    /// How the range is found.
    pub fn calibration(&self) -> Calibration {
        self.calibration
    }

    /// The type that scales are stored in.
    pub fn scale_format(&self) -> ScaleFormat {
        self.scale.format
    }

    /// Which power of two a scale becomes, where it is one.
    pub fn scale_rule(&self) -> ScaleRule {
        self.scale.rule
    }

    /// What stands above the scales of the blocks.
    pub fn second_level(&self) -> Option<SecondLevel> {
        self.scale.second
    }

    pub(crate) fn scale_storage(&self) -> ScaleStorage {
        self.scale
    }

    /// How codes are rounded: as said, else integers as the convention does, floats to even, codebooks as [`Codebook::rounding`] says.
    pub fn rounding(&self) -> Rounding {
        self.rounding.unwrap_or(match self.format {
            Format::Int { .. } => self.convention.rounding(),
            Format::Float(_) => Rounding::HalfToEven,
            Format::Codebook(codebook) => codebook.rounding(),
        })
    }

    /// What a number beyond the largest of a float format becomes.
    pub fn overflow(&self) -> Overflow {
        self.overflow
    }

    /// Whose arithmetic.
    pub fn convention(&self) -> Convention {
        self.convention
    }

    /// Which codes a symmetric mapping to integers uses: as said, else as the convention and the width have it (see [`Convention`];
    /// signed codes with E8M0 scales, as MX has them, are full). The original's own lower bound, -2^bits - 1, is neither, and is what [`Scheme::quant_min`] says unless a
    /// range was said; other mappings have none.
    pub fn symmetric_range(&self) -> SymmetricRange {
        let is_narrow = self.bits() < 8;
        self.symmetric_range.unwrap_or(match (self.convention, self.format.signedness()) {
            (_, Signedness::Signed) if self.scale.format == ScaleFormat::E8M0 => SymmetricRange::Full,
            (Convention::PyTorch | Convention::TorchAo, _) | (Convention::Onnx, Signedness::Unsigned) => SymmetricRange::Full,
            (Convention::Onnx | Convention::AiEdge, Signedness::Signed) if is_narrow => SymmetricRange::Full,
            _ => SymmetricRange::Restricted,
        })
    }

    /// The smallest code; of a float format or a codebook, whose codes are bit patterns, 0.
    pub fn quant_min(&self) -> i32 {
        let (min, _) = self.format.code_range();
        let Format::Int { .. } = self.format else { return min };
        match (self.mapping, self.convention, self.symmetric_range, self.symmetric_range()) {
            // `-2**bits-1` is -(2^bits) - 1: far below any code, so the lower clamp never acts.
            (Mapping::Symmetric, Convention::Original, None, _) => -(1 << self.bits().clamp(1, Format::MAX_BITS)) - 1,
            (Mapping::Symmetric, _, _, SymmetricRange::Restricted) => min + 1,
            _ => min,
        }
    }

    /// The largest code; of a float format or a codebook, whose codes are bit patterns, the pattern of all ones.
    pub fn quant_max(&self) -> i32 {
        self.format.code_range().1
    }

    /// The code that means 0 under a symmetric mapping to integers; 0 under other mappings and of other formats.
    pub(crate) fn middle_code(&self) -> i32 {
        match (self.mapping, self.format, self.convention) {
            // PyTorch knows the middle of its own quint8 and quint16; of a custom range it takes (quant_min + quant_max) // 2.
            (Mapping::Symmetric, Format::Int { signedness: Signedness::Unsigned, bits }, Convention::PyTorch)
                if bits != 8 && bits != 16 =>
            {
                (self.quant_min() + self.quant_max()) / 2
            }
            (Mapping::Symmetric, Format::Int { signedness: Signedness::Unsigned, bits }, _) => {
                1 << (bits.clamp(1, Format::MAX_BITS) - 1)
            }
            _ => 0,
        }
    }

    /// Of a signed integer with E8M0 scales, which is what MX has, the stored scale is that of its fraction, of so many bits: MXINT8's code 64 is 1.
    pub(crate) fn fraction_bits(&self) -> i32 {
        match (self.scale.format, self.mapping, self.format) {
            (ScaleFormat::E8M0, Mapping::Symmetric, Format::Int { bits, signedness: Signedness::Signed }) => bits as i32 - 2,
            _ => 0,
        }
    }
}
