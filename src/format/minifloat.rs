//! `Minifloat`: small floating-point formats, described by four numbers.

use std::fmt;
use std::str::FromStr;

use crate::binary::{exponent, power_of_two};
use crate::error::{Error, Result};

/// What the codes with the largest exponent mean, and whether there is a negative zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Specials {
    /// As IEEE 754: the largest exponent is for ±∞ (mantissa 0) and NaN (any other). E5M2, f16, bf16.
    Ieee,
    /// "FN": no infinity; the one code of each sign whose bits are all ones is NaN. E4M3FN.
    NanOnly,
    /// "FNUZ": no infinity and no negative zero, whose code is the only NaN. E4M3FNUZ, E5M2FNUZ.
    NanIsNegativeZero,
    /// Every code is a number. E2M1, E3M2, E2M3.
    None,
    /// Only an exponent: no sign, no mantissa, no zero; all ones is NaN. E8M0, the scales of the OCP's MX formats.
    ScaleOnly,
}

/// A floating-point format of at most 16 bits: a sign, an exponent with this bias, a mantissa with an implicit leading one, and
/// subnormals below the smallest exponent.
///
/// ```text
/// (-1)^sign · 2^(exponent - bias) · (1 + mantissa / 2^mantissa_bits)      exponent > 0
/// (-1)^sign · 2^(1 - bias) · mantissa / 2^mantissa_bits                    exponent = 0
/// ```
///
/// The ones in use are constants, and [`Minifloat::new`] makes any other. E8M0 is 2^(code - 127).
///
/// | | bits | bias | largest | smallest normal | smallest | defined by |
/// |--|--|--|--|--|--|--|
/// | [`E4M3FN`](Self::E4M3FN) | 8 | 7 | 448 | 2⁻⁶ | 2⁻⁹ | [OCP OFP8](https://www.opencompute.org/documents/ocp-8-bit-floating-point-specification-ofp8-revision-1-0-2023-12-01-pdf-1) |
/// | [`E4M3FNUZ`](Self::E4M3FNUZ) | 8 | 8 | 240 | 2⁻⁷ | 2⁻¹⁰ | [arXiv:2206.02915](https://arxiv.org/abs/2206.02915) |
/// | [`E4M3`](Self::E4M3) | 8 | 7 | 240 | 2⁻⁶ | 2⁻⁹ | IEEE 754's scheme |
/// | [`E3M4`](Self::E3M4) | 8 | 3 | 15.5 | 2⁻² | 2⁻⁶ | IEEE 754's scheme |
/// | [`E5M2`](Self::E5M2) | 8 | 15 | 57344 | 2⁻¹⁴ | 2⁻¹⁶ | OCP OFP8 |
/// | [`E5M2FNUZ`](Self::E5M2FNUZ) | 8 | 16 | 57344 | 2⁻¹⁵ | 2⁻¹⁷ | arXiv:2206.02915 |
/// | [`E3M2`](Self::E3M2) | 6 | 3 | 28 | 2⁻² | 2⁻⁴ | [OCP MX 1.0](https://www.opencompute.org/documents/ocp-microscaling-formats-mx-v1-0-spec-final-pdf) |
/// | [`E2M3`](Self::E2M3) | 6 | 1 | 7.5 | 1 | 2⁻³ | OCP MX 1.0 |
/// | [`E2M1`](Self::E2M1) | 4 | 1 | 6 | 1 | 2⁻¹ | OCP MX 1.0 |
/// | [`E8M0`](Self::E8M0) | 8 | 127 | 2¹²⁷ | | 2⁻¹²⁷ | OCP MX 1.0 |
/// | [`F16`](Self::F16) | 16 | 15 | 65504 | 2⁻¹⁴ | 2⁻²⁴ | IEEE 754 binary16 |
/// | [`BF16`](Self::BF16) | 16 | 127 | 3.39·10³⁸ | 2⁻¹²⁶ | 2⁻¹³³ | the upper half of binary32 |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Minifloat {
    exponent_bits: u8,
    mantissa_bits: u8,
    bias: i16,
    specials: Specials,
}

const fn minifloat(exponent_bits: u8, mantissa_bits: u8, bias: i16, specials: Specials) -> Minifloat {
    Minifloat { exponent_bits, mantissa_bits, bias, specials }
}

impl Minifloat {
    /// 8 bits, largest 448: what "FP8" mostly is, for weights and activations. No infinity.
    pub const E4M3FN: Self = minifloat(4, 3, 7, Specials::NanOnly);
    /// 8 bits, largest 240, no negative zero: the E4M3 of AMD's MI300 and of Graphcore.
    pub const E4M3FNUZ: Self = minifloat(4, 3, 8, Specials::NanIsNegativeZero);
    /// 8 bits, largest 240, with infinities: E4M3 as IEEE 754 would have it.
    pub const E4M3: Self = minifloat(4, 3, 7, Specials::Ieee);
    /// 8 bits, largest 15.5, with infinities.
    pub const E3M4: Self = minifloat(3, 4, 3, Specials::Ieee);
    /// 8 bits, largest 57344, with infinities: FP8 for gradients.
    pub const E5M2: Self = minifloat(5, 2, 15, Specials::Ieee);
    /// 8 bits, largest 57344, no negative zero.
    pub const E5M2FNUZ: Self = minifloat(5, 2, 16, Specials::NanIsNegativeZero);
    /// 6 bits, largest 28: MXFP6's wide one.
    pub const E3M2: Self = minifloat(3, 2, 3, Specials::None);
    /// 6 bits, largest 7.5: MXFP6's fine one.
    pub const E2M3: Self = minifloat(2, 3, 1, Specials::None);
    /// 4 bits: 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives. The elements of MXFP4 and NVFP4.
    pub const E2M1: Self = minifloat(2, 1, 1, Specials::None);
    /// 8 bits, powers of two from 2⁻¹²⁷ to 2¹²⁷: the scales of the MX formats. It holds neither 0 nor negative numbers.
    pub const E8M0: Self = minifloat(8, 0, 127, Specials::ScaleOnly);
    /// 16 bits, IEEE 754's half precision.
    pub const F16: Self = minifloat(5, 10, 15, Specials::Ieee);
    /// 16 bits, f32 with a short mantissa.
    pub const BF16: Self = minifloat(8, 7, 127, Specials::Ieee);

    /// Those with a name of their own.
    pub const ALL: [Self; 12] = [
        Self::E4M3FN,
        Self::E4M3FNUZ,
        Self::E4M3,
        Self::E3M4,
        Self::E5M2,
        Self::E5M2FNUZ,
        Self::E3M2,
        Self::E2M3,
        Self::E2M1,
        Self::E8M0,
        Self::F16,
        Self::BF16,
    ];

    /// A format of 1 sign bit, 1 to 8 exponent bits and 0 to 10 mantissa bits, 3 to 16 bits in all. Without a mantissa, -0 becomes 0 when it is
    /// rounded to the format.
    ///
    /// ```
    /// # use quantlens::{Minifloat, Specials};
    /// let e2m2 = Minifloat::new(2, 2, 1, Specials::None)?;
    /// assert_eq!((e2m2.bits(), e2m2.largest(), e2m2.to_string()), (5, 7.0, "e2m2finite".to_owned()));
    /// assert_eq!(Minifloat::new(4, 3, 7, Specials::NanOnly)?, Minifloat::E4M3FN);
    /// # Ok::<(), quantlens::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Minifloat`] for other widths, for a format whose numbers are not all f32 ones (normal down to 2^-126 and up to
    /// below 2^128), for one whose specials leave no normal number, and for [`Specials::ScaleOnly`] unless it is E8M0.
    pub fn new(exponent_bits: u32, mantissa_bits: u32, bias: i32, specials: Specials) -> Result<Self> {
        let refuse = |reason| Err(Error::Minifloat { exponent_bits, mantissa_bits, bias, reason });
        if specials == Specials::ScaleOnly {
            return match (exponent_bits, mantissa_bits, bias) {
                (8, 0, 127) => Ok(Self::E8M0),
                _ => refuse("a format of scales alone is E8M0, with 8 exponent bits and a bias of 127"),
            };
        }
        let bits = exponent_bits.saturating_add(mantissa_bits).saturating_add(1);
        if !(1..=8).contains(&exponent_bits) || mantissa_bits > 10 || !(3..=16).contains(&bits) {
            return refuse("it has 1 to 8 exponent bits, 0 to 10 mantissa bits, and with its sign 3 to 16 bits");
        }
        // The largest exponent is all specials under IEEE, and under the others if there is no mantissa for anything else.
        let lost = match specials {
            Specials::Ieee => 1,
            Specials::NanOnly if mantissa_bits == 0 => 1,
            _ => 0,
        };
        let largest_exponent = (1_i32 << exponent_bits) - 1 - lost;
        if largest_exponent < 1 {
            return refuse("its specials leave no normal number: take another exponent bit, or other specials");
        }
        if !(-1023..=1023).contains(&bias) || 1 - bias < -126 || largest_exponent - bias > 127 {
            return refuse("its numbers must be f32 ones: from 2^-126, the smallest normal, to below 2^128");
        }
        Ok(minifloat(exponent_bits as u8, mantissa_bits as u8, bias as i16, specials))
    }

    /// Width in bits.
    pub fn bits(self) -> u32 {
        self.exponent_bits() + self.mantissa_bits() + u32::from(self.specials != Specials::ScaleOnly)
    }

    /// Width of the exponent in bits.
    pub fn exponent_bits(self) -> u32 {
        self.exponent_bits.into()
    }

    /// Width of the mantissa in bits, without the implicit one.
    pub fn mantissa_bits(self) -> u32 {
        self.mantissa_bits.into()
    }

    /// What is taken from the stored exponent.
    pub fn bias(self) -> i32 {
        self.bias.into()
    }

    /// What the codes at the end mean.
    pub fn specials(self) -> Specials {
        self.specials
    }

    /// What a code of [`Minifloat::bits`] bits stands for: a number, ±∞ or NaN. Higher bits are ignored.
    pub fn decode(self, code: u32) -> f64 {
        let (exponent_bits, mantissa_bits) = (self.exponent_bits(), self.mantissa_bits());
        let ones = |bits: u32| (1_u32 << bits) - 1;
        let code = code & ones(self.bits());
        if self.specials == Specials::ScaleOnly {
            return if code == ones(8) { f64::NAN } else { power_of_two(code as i32 - self.bias()) };
        }
        let magnitude = code & ones(exponent_bits + mantissa_bits);
        let is_negative = code != magnitude;
        let (exponent, mantissa) = (magnitude >> mantissa_bits, magnitude & ones(mantissa_bits));
        let value = match self.specials {
            Specials::Ieee if exponent == ones(exponent_bits) && mantissa == 0 => f64::INFINITY,
            Specials::Ieee if exponent == ones(exponent_bits) => f64::NAN,
            Specials::NanOnly if magnitude == ones(exponent_bits + mantissa_bits) => f64::NAN,
            Specials::NanIsNegativeZero if is_negative && magnitude == 0 => f64::NAN,
            _ => {
                let (implicit, exponent) = if exponent == 0 { (0, 1) } else { (1 << mantissa_bits, exponent) };
                f64::from(implicit + mantissa) * power_of_two(exponent as i32 - self.bias() - mantissa_bits as i32)
            }
        };
        if is_negative { -value } else { value }
    }

    /// The code of the largest finite number.
    pub(crate) fn largest_code(self) -> u32 {
        let magnitudes = 1_u32 << (self.exponent_bits() + self.mantissa_bits());
        match self.specials {
            Specials::Ieee => magnitudes - (1 << self.mantissa_bits()) - 1,
            Specials::NanOnly | Specials::ScaleOnly => magnitudes - 2,
            Specials::NanIsNegativeZero | Specials::None => magnitudes - 1,
        }
    }

    /// The largest finite number.
    pub fn largest(self) -> f64 {
        self.decode(self.largest_code())
    }

    /// The smallest positive number.
    pub fn smallest(self) -> f64 {
        match self.specials {
            Specials::ScaleOnly => self.decode(0),
            _ => self.decode(1),
        }
    }

    /// The smallest number with a full mantissa: 2^(1 - bias), and of E8M0 its smallest, 2⁻¹²⁷.
    pub fn smallest_normal(self) -> f64 {
        match self.specials {
            Specials::ScaleOnly => self.decode(0),
            _ => power_of_two(1 - self.bias()),
        }
    }

    /// ⌊log₂ largest⌋, what the OCP's MX specification calls emax: 8 for E4M3FN, 2 for E2M1.
    pub fn largest_exponent(self) -> i32 {
        exponent(self.largest())
    }

    /// What a number beyond the largest becomes where it does not saturate: the code of +∞ where there is one, else of NaN; `None`
    /// where there is neither.
    pub(crate) fn overflow_code(self) -> Option<u32> {
        match self.specials {
            Specials::Ieee | Specials::NanOnly | Specials::ScaleOnly => Some(self.largest_code() + 1),
            Specials::NanIsNegativeZero => Some(1 << (self.exponent_bits() + self.mantissa_bits())),
            Specials::None => None,
        }
    }
}

impl Minifloat {
    fn known_name(self) -> Option<&'static str> {
        const NAMES: [&str; 12] =
            ["e4m3fn", "e4m3fnuz", "e4m3", "e3m4", "e5m2", "e5m2fnuz", "e3m2", "e2m3", "e2m1", "e8m0", "f16", "bf16"];
        Self::ALL.iter().zip(NAMES).find(|(known, _)| **known == self).map(|(_, name)| name)
    }

    fn usual_bias(exponent_bits: u32, specials: Specials) -> i32 {
        let ieee = (1 << (exponent_bits - 1)) - 1;
        if specials == Specials::NanIsNegativeZero { ieee + 1 } else { ieee }
    }
}

const SUFFIXES: [(Specials, &str); 4] =
    [(Specials::NanIsNegativeZero, "fnuz"), (Specials::NanOnly, "fn"), (Specials::None, "finite"), (Specials::Ieee, "ieee")];

/// The field's name where there is one, as `e4m3fn`; else exponent and mantissa bits, the bias where it is not the usual one
/// (2^(exponent_bits - 1) - 1, one more for FNUZ), and `ieee`, `fn`, `fnuz` or `finite`: `e4m3b11fnuz`.
impl fmt::Display for Minifloat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = self.known_name() {
            return f.pad(name);
        }
        let bias = match self.bias() {
            bias if bias == Self::usual_bias(self.exponent_bits(), self.specials) => String::new(),
            bias if bias < 0 => format!("bm{}", -bias),
            bias => format!("b{bias}"),
        };
        let suffix = SUFFIXES.iter().find(|(specials, _)| *specials == self.specials).map_or("", |(_, suffix)| suffix);
        f.pad(&format!("e{}m{}{bias}{suffix}", self.exponent_bits, self.mantissa_bits))
    }
}

impl FromStr for Minifloat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(known) = Self::ALL.into_iter().find(|known| known.known_name() == Some(text)) {
            return Ok(known);
        }
        let parse = || {
            let (specials, rest) =
                SUFFIXES.iter().find_map(|(specials, suffix)| Some((*specials, text.strip_suffix(suffix)?)))?;
            let (exponent_bits, rest) = rest.strip_prefix('e')?.split_once('m')?;
            let exponent_bits: u32 = super::whole_number(exponent_bits)?;
            let (mantissa_bits, bias) = match rest.split_once('b') {
                Some((mantissa_bits, bias)) => {
                    let magnitude = |digits| super::whole_number::<u16>(digits).map(i32::from);
                    let negative = bias.strip_prefix('m').map(|digits| magnitude(digits).map(|bias| -bias));
                    (mantissa_bits, negative.unwrap_or_else(|| magnitude(bias))?)
                }
                None => (rest, Self::usual_bias(exponent_bits.clamp(1, 8), specials)),
            };
            Self::new(exponent_bits, super::whole_number(mantissa_bits)?, bias, specials).ok()
        };
        // One format, one name.
        parse().filter(|format| format.to_string() == text).ok_or_else(|| {
            format!("`{text}` is no float format: it is one such as e4m3fn, f16, or as e3m3finite and e4m3b11fnuz (ieee, fn, fnuz, finite)")
        })
    }
}
