//! `Format`: the finite grid of values that a code can stand for.

mod codebook;
mod dynamic;
mod minifloat;
mod rounding;

use std::fmt;
use std::str::FromStr;

pub use codebook::Codebook;
pub use minifloat::{Minifloat, Specials};
pub use rounding::Rounding;

/// Whether an integer code has a sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Signedness {
    /// Two's complement, -2^(bits-1) to 2^(bits-1) - 1.
    Signed,
    /// 0 to 2^bits - 1.
    Unsigned,
}

/// A number format: the finite grid of values that codes stand for, before scale and zero point. [`Format::decode`] defines it;
/// encoding is going to the nearest value of the grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// Whole numbers of 1 to 16 bits, ONNX's `uint4`, `int8`, `uint16` and every width between.
    Int {
        /// Width of a code in bits.
        bits: u32,
        /// Whether codes go below 0.
        signedness: Signedness,
    },
    /// Floating-point numbers of 3 to 16 bits.
    Float(Minifloat),
    /// Any list of values.
    Codebook(Codebook),
}

impl Format {
    /// The widest integer format, in bits.
    pub const MAX_BITS: u32 = 16;

    /// A signed integer of this many bits.
    pub const fn int(bits: u32) -> Self {
        Self::Int { bits, signedness: Signedness::Signed }
    }

    /// An unsigned integer of this many bits.
    pub const fn uint(bits: u32) -> Self {
        Self::Int { bits, signedness: Signedness::Unsigned }
    }

    /// Width of a code in bits.
    pub fn bits(self) -> u32 {
        match self {
            Self::Int { bits, .. } => bits,
            Self::Float(float) => float.bits(),
            Self::Codebook(codebook) => codebook.bits(),
        }
    }

    /// Whether integer codes go below 0; the codes of other formats are bit patterns and do not.
    pub fn signedness(self) -> Signedness {
        match self {
            Self::Int { signedness, .. } => signedness,
            Self::Float(_) | Self::Codebook(_) => Signedness::Unsigned,
        }
    }

    /// The integer of another width with the same sign; any other format as it is, for its width is fixed.
    pub fn with_bits(self, bits: u32) -> Self {
        match self {
            Self::Int { signedness, .. } => Self::Int { bits, signedness },
            other => other,
        }
    }

    /// The smallest and the largest code: (0, 255) for `uint8`, (-128, 127) for `int8`. Of a float format or a codebook codes are bit
    /// patterns: (0, 15) for `e2m1` and `nf4`. A width outside 1 to 16 is answered as the nearest one inside; a scheme with such a
    /// width is refused where it is used.
    pub fn code_range(self) -> (i32, i32) {
        let bits = self.bits().clamp(1, Self::MAX_BITS);
        match self.signedness() {
            Signedness::Signed => (-(1 << (bits - 1)), (1 << (bits - 1)) - 1),
            Signedness::Unsigned => (0, (1 << bits) - 1),
        }
    }

    /// What a code stands for: NaN and ±∞ for those of a float format that mean them, NaN for a code that the format does not have.
    ///
    /// ```
    /// # use quantlens::{Codebook, Format, Minifloat};
    /// assert_eq!(Format::int(8).decode(-128), -128.0);
    /// assert_eq!(Format::Float(Minifloat::E2M1).decode(0b1111), -6.0);
    /// assert_eq!(Format::Codebook(Codebook::NF4).decode(15), 1.0);
    /// assert!(Format::uint(4).decode(16).is_nan());
    /// ```
    pub fn decode(self, code: i32) -> f64 {
        let (min, max) = self.code_range();
        match self {
            _ if code < min || code > max => f64::NAN,
            Self::Int { .. } => code.into(),
            Self::Float(float) => float.decode(code as u32),
            Self::Codebook(codebook) => codebook.decode(code as u32),
        }
    }

    /// Every code that stands for a number, and the number, rising; -0 stands before 0.
    ///
    /// ```
    /// # use quantlens::{Format, Minifloat};
    /// let grid = Format::Float(Minifloat::E2M1).grid();
    /// assert_eq!(grid.len(), 16);
    /// assert_eq!((grid[0], grid[15]), ((0b1111, -6.0), (0b0111, 6.0)));
    /// ```
    pub fn grid(self) -> Vec<(i32, f64)> {
        let (min, max) = self.code_range();
        let mut grid: Vec<(i32, f64)> =
            (min..=max).map(|code| (code, self.decode(code))).filter(|(_, value)| value.is_finite()).collect();
        grid.sort_by(|a, b| a.1.total_cmp(&b.1));
        grid
    }

    /// The numbers of the grid, rising, with one 0.
    pub(crate) fn distinct_values(self) -> Vec<f64> {
        let mut values: Vec<f64> = self.grid().into_iter().map(|(_, value)| value).collect();
        values.dedup();
        values
    }

    /// The largest number of the grid.
    pub fn largest(self) -> f64 {
        match self {
            Self::Int { .. } => self.code_range().1.into(),
            Self::Float(float) => float.largest(),
            Self::Codebook(codebook) => codebook.levels().last().copied().unwrap_or(f64::NAN),
        }
    }

    /// The smallest number of the grid, that furthest below 0 where it has negative ones.
    pub fn lowest(self) -> f64 {
        match self {
            Self::Int { .. } => self.code_range().0.into(),
            Self::Float(Minifloat::E8M0) => Minifloat::E8M0.smallest(),
            Self::Float(float) => -float.largest(),
            Self::Codebook(codebook) => codebook.levels().first().copied().unwrap_or(f64::NAN),
        }
    }
}

impl From<Minifloat> for Format {
    fn from(float: Minifloat) -> Self {
        Self::Float(float)
    }
}

impl From<Codebook> for Format {
    fn from(codebook: Codebook) -> Self {
        Self::Codebook(codebook)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int { bits, signedness: Signedness::Signed } => f.pad(&format!("int{bits}")),
            Self::Int { bits, signedness: Signedness::Unsigned } => f.pad(&format!("uint{bits}")),
            Self::Float(float) => float.fmt(f),
            Self::Codebook(codebook) => codebook.fmt(f),
        }
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        for (prefix, make) in [("uint", Self::uint as fn(u32) -> Self), ("int", Self::int)] {
            if let Some(digits) = text.strip_prefix(prefix)
                && digits.chars().all(|digit| digit.is_ascii_digit())
            {
                return whole_number(digits).map(make).ok_or_else(|| format!("`{digits}` is no width in bits"));
            }
        }
        let float = text.parse().ok().map(Self::Float);
        float.or_else(|| text.parse().ok().map(Self::Codebook)).ok_or_else(|| {
            format!("`{text}` is no format: it is an integer as int8 or uint4, a float as e4m3fn or f16, or a codebook as nf4")
        })
    }
}

/// Decimal digits only, so that a name has one spelling: no sign, no leading zero.
pub(crate) fn whole_number<N: FromStr + fmt::Display>(digits: &str) -> Option<N> {
    digits.parse().ok().filter(|number: &N| number.to_string() == digits)
}
