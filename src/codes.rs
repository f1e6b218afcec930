//! `Codes`: what a quantized tensor stores for each element.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::scheme::Scheme;

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

pub(crate) use with_codes;

impl Codes {
    /// The number of codes.
    #[expect(clippy::len_without_is_empty, reason = "there are as many as a tensor has values, at least 1")]
    pub fn len(&self) -> usize {
        with_codes!(self, |codes| codes.len())
    }

    /// The code at this index, row-major; `None` past the end.
    pub fn get(&self, index: usize) -> Option<i32> {
        with_codes!(self, |codes| codes.get(index).copied().map(widen))
    }

    /// All codes, widened.
    pub fn to_vec(&self) -> Vec<i32> {
        with_codes!(self, |codes| codes.iter().copied().map(widen).collect())
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

pub(crate) fn widen<C: Into<i32>>(code: C) -> i32 {
    code.into()
}

/// The narrowest type that holds all the codes of a scheme, unsigned where none is negative.
pub(crate) enum Width {
    I8,
    U8,
    I16,
    U16,
    I32,
}

impl Width {
    pub(crate) fn of(scheme: Scheme) -> Self {
        let fits = |min: i32, max: i32| scheme.quant_min() >= min && scheme.quant_max() <= max;
        if fits(0, u8::MAX.into()) {
            Self::U8
        } else if fits(i8::MIN.into(), i8::MAX.into()) {
            Self::I8
        } else if fits(0, u16::MAX.into()) {
            Self::U16
        } else if fits(i16::MIN.into(), i16::MAX.into()) {
            Self::I16
        } else {
            Self::I32
        }
    }
}
