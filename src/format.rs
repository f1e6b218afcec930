//! `Format`: the grid of values a code can stand for, and how a number is rounded to it.

use std::fmt;
use std::str::FromStr;

/// Whether an integer code has a sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Signedness {
    /// Two's complement, -2^(bits-1) to 2^(bits-1) - 1.
    Signed,
    /// 0 to 2^bits - 1.
    Unsigned,
}

/// A number format: the finite grid of values that a code stands for before scale and zero point.
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
        let Self::Int { bits, .. } = self;
        bits
    }

    /// Whether codes go below 0.
    pub fn signedness(self) -> Signedness {
        let Self::Int { signedness, .. } = self;
        signedness
    }

    /// The same kind of number at another width.
    pub fn with_bits(self, bits: u32) -> Self {
        Self::Int { bits, signedness: self.signedness() }
    }

    /// The smallest and the largest code of the whole format: (0, 255) for `uint8`, (-128, 127) for `int8`. A width outside
    /// 1 to 16 is answered as the nearest one inside; a scheme with such a width is refused where it is used.
    pub fn code_range(self) -> (i32, i32) {
        let bits = self.bits().clamp(1, Self::MAX_BITS);
        match self.signedness() {
            Signedness::Signed => (-(1 << (bits - 1)), (1 << (bits - 1)) - 1),
            Signedness::Unsigned => (0, (1 << bits) - 1),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&match self.signedness() {
            Signedness::Signed => format!("int{}", self.bits()),
            Signedness::Unsigned => format!("uint{}", self.bits()),
        })
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (make, digits): (fn(u32) -> Self, &str) = match (text.strip_prefix("uint"), text.strip_prefix("int")) {
            (Some(digits), _) => (Self::uint, digits),
            (None, Some(digits)) => (Self::int, digits),
            (None, None) => return Err(format!("`{text}` is no format, which is `int` or `uint` and a width")),
        };
        match whole_number(digits) {
            Some(bits) => Ok(make(bits)),
            None => Err(format!("`{digits}` is no width in bits")),
        }
    }
}

/// Decimal digits only, so that a name has one spelling: no sign, no leading zero.
pub(crate) fn whole_number<N: FromStr + fmt::Display>(digits: &str) -> Option<N> {
    digits.parse().ok().filter(|number: &N| number.to_string() == digits)
}

/// Which whole number a number halfway between two becomes. Everything else goes to the nearest one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rounding {
    /// To the even one: 0.5 → 0, 1.5 → 2, -2.5 → -2. IEEE 754's default, numpy's `rint`, ONNX's and PyTorch's.
    HalfToEven,
    /// To the one further from 0: 0.5 → 1, -2.5 → -3. C's `round`, TFLite's.
    HalfAwayFromZero,
}
