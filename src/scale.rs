//! How a scale is stored: its type, how it is rounded to it, and a second level of scales above it.

use std::fmt;
use std::str::FromStr;

use crate::binary::{exponent, power_of_two};
use crate::format::Minifloat;

/// The type that scales are stored in. Codes are computed with the scale as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ScaleFormat {
    /// The type of the data: f32 or f64.
    Data,
    /// f32, for f64 data too.
    F32,
    /// A float format of at most 16 bits, rounded to nearest, ties to even; [`ScaleFormat::E8M0`] by a [`ScaleRule`].
    Float(Minifloat),
    /// A power of two from 2⁻¹²⁶ to 2¹²⁷, stored as its exponent in 8 bits, by a [`ScaleRule`]: a shift in hardware.
    PowerOfTwo,
}

impl ScaleFormat {
    /// 16 bits, IEEE 754's half precision: 2⁻²⁴ to 65504.
    pub const F16: Self = Self::Float(Minifloat::F16);
    /// 16 bits, the range of f32 with 8 bits of precision.
    pub const BF16: Self = Self::Float(Minifloat::BF16);
    /// 8 bits, 2⁻⁹ to 448: NVFP4's.
    pub const E4M3: Self = Self::Float(Minifloat::E4M3FN);
    /// 8 bits, powers of two: that of the OCP's MX formats.
    pub const E8M0: Self = Self::Float(Minifloat::E8M0);

    /// Whether a scale is a power of two, which a [`ScaleRule`] chooses.
    pub fn is_power_of_two(self) -> bool {
        matches!(self, Self::E8M0 | Self::PowerOfTwo)
    }

    /// Width in bits; `data_bits` is the width of the data's type.
    pub(crate) fn bits(self, data_bits: u32) -> u32 {
        match self {
            Self::Data => data_bits,
            Self::F32 => 32,
            Self::Float(float) => float.bits(),
            Self::PowerOfTwo => 8,
        }
    }

    /// The smallest and the largest exponent of a power of two that is stored.
    pub(crate) fn exponents(self) -> (i32, i32) {
        if self == Self::PowerOfTwo { (-126, 127) } else { (-127, 127) }
    }
}

/// As in a scheme's name, without its `s`: `f16`, `bf16`, `e4m3fn`, `e8m0`, `f32`, `pow2`.
impl fmt::Display for ScaleFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Data => f.pad("data"),
            Self::F32 => f.pad("f32"),
            Self::Float(float) => float.fmt(f),
            Self::PowerOfTwo => f.pad("pow2"),
        }
    }
}

impl FromStr for ScaleFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "data" => Ok(Self::Data),
            "f32" => Ok(Self::F32),
            "pow2" => Ok(Self::PowerOfTwo),
            _ => text.parse().map(Self::Float).map_err(|_| {
                format!("`{text}` is no type of scales: it is data, f32, pow2, or a float format as f16, bf16, e4m3fn or e8m0")
            }),
        }
    }
}

/// Which power of two a scale becomes. amax is the block's largest magnitude; largest and emax = ⌊log₂ largest⌋ are the element
/// format's, and of an integer its largest code and that code's exponent.
///
/// | | exponent | of a block with amax just below a power of two |
/// |--|--|--|
/// | [`Floor`](Self::Floor) | ⌊log₂ amax⌋ - emax | clips its largest values |
/// | [`Ceil`](Self::Ceil) | ⌈log₂ amax⌉ - emax | clips nothing |
/// | [`RoundUp`](Self::RoundUp) | ⌈log₂(amax / largest)⌉ | clips nothing, the smallest such scale |
/// | [`Even`](Self::Even) | ⌊log₂ of amax rounded to the element's mantissa⌋ - emax | clips little |
/// | [`Nearest`](Self::Nearest) | log₂(amax / largest) rounded, half up | clips up to a factor of √2 |
///
/// A range with a zero point or a minimum has no emax: there the rule is about log₂((max - min)/(quant_max - quant_min)), and
/// `Even` is `Nearest`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ScaleRule {
    /// The OCP's MX specification, section 6.3. <https://www.opencompute.org/documents/ocp-microscaling-formats-mx-v1-0-spec-final-pdf>
    Floor,
    /// torchao's `ScaleCalculationMode.CEIL`.
    Ceil,
    /// torchao's `RCEIL`, NVIDIA's hardware conversion for MXFP8, ModelOpt's and MLX's.
    RoundUp,
    /// torchao's `EVEN`, after <https://arxiv.org/abs/2310.10537>'s emulation library.
    Even,
    /// To the nearest exponent, as MLX had it before.
    Nearest,
}

const RULES: [(ScaleRule, &str); 5] = [
    (ScaleRule::Floor, "floor"),
    (ScaleRule::Ceil, "ceil"),
    (ScaleRule::RoundUp, "rceil"),
    (ScaleRule::Even, "even"),
    (ScaleRule::Nearest, "nearest"),
];

/// `floor`, `ceil`, `rceil`, `even` or `nearest`.
impl fmt::Display for ScaleRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(RULES.iter().find(|(rule, _)| rule == self).map_or("", |(_, name)| name))
    }
}

impl FromStr for ScaleRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rule = RULES.iter().find(|(_, name)| *name == text);
        rule.map(|(rule, _)| *rule).ok_or_else(|| format!("`{text}` is no scale rule: it is floor, ceil, rceil, even or nearest"))
    }
}

/// What a block's largest magnitude is compared with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    /// The element format's largest number.
    pub(crate) largest: f64,
    /// Bits of the element's mantissa, for [`ScaleRule::Even`].
    pub(crate) mantissa_bits: u32,
}

impl ScaleRule {
    /// The exponent of the scale for amax > 0; `quotient` is amax / largest in the type of the data, where it may have been rounded.
    pub(crate) fn exponent(self, amax: f64, quotient: f64, target: Target) -> i32 {
        let emax = exponent(target.largest);
        match self {
            Self::Floor => exponent(amax) - emax,
            Self::Ceil => ceil_exponent(amax) - emax,
            Self::RoundUp => ceil_exponent(quotient),
            Self::Even => {
                let half_step = power_of_two(exponent(amax) - target.mantissa_bits as i32 - 1);
                exponent(amax + half_step) - emax
            }
            // √2 is no f64, so no quotient is exactly halfway; the f64 next to it is above.
            Self::Nearest => {
                let floor = exponent(quotient);
                floor + i32::from(quotient / power_of_two(floor) >= std::f64::consts::SQRT_2)
            }
        }
    }
}

/// ⌈log₂ x⌉, exact.
fn ceil_exponent(x: f64) -> i32 {
    let floor = exponent(x);
    floor + i32::from(x > power_of_two(floor))
}

/// What stands above the scales of the blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SecondLevel {
    /// One f32 scale for the whole tensor, amax / (largest scale · largest element); a block's scale is stored relative to it. NVFP4's.
    TensorScale,
    /// The blocks' scales less their mean, quantized to 8 bits in groups of 256 with bitsandbytes' dynamic map ("double
    /// quantization" of QLoRA, <https://arxiv.org/abs/2305.14314>, section 3): 8 bits a block, an f32 for each 256 blocks and one
    /// for the tensor. Codes are computed with the scales that this gives; bitsandbytes computes them before, with the exact ones.
    DoubleQuantized,
}

/// The type of the scales, the rule for powers of two, and the second level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ScaleStorage {
    pub(crate) format: ScaleFormat,
    pub(crate) rule: ScaleRule,
    pub(crate) second: Option<SecondLevel>,
}

impl ScaleStorage {
    pub(crate) const DATA: Self = Self { format: ScaleFormat::Data, rule: ScaleRule::Floor, second: None };
}

/// As in a scheme's name: `ts`, `dq`.
impl fmt::Display for SecondLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::TensorScale => "ts",
            Self::DoubleQuantized => "dq",
        })
    }
}

impl SecondLevel {
    /// Blocks whose scales are quantized together.
    pub(crate) const GROUP: usize = 256;
}
