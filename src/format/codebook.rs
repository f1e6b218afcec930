//! `Codebook`: a grid of any values, each with a code.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use super::{Minifloat, Rounding};
use crate::error::{Error, Result};

/// A list of up to 65 536 values, of which a number becomes the nearest.
///
/// The known ones are constants; [`Codebook::new`] makes one of your own values and keeps it, under its name, until the program ends,
/// so that a codebook is as small to copy as a number and a scheme's name can be read back.
///
/// ```
/// # use quantlens::{Codebook, Scheme, Tensor};
/// let thirds = Codebook::new("thirds", &[-1.0, -1.0 / 3.0, 1.0 / 3.0, 1.0])?;
/// let x = Tensor::from_vec("x", vec![-2.0, 0.1, 0.7])?;
/// assert_eq!(Scheme::codebook(thirds).quantize(&x)?.codes().to_vec(), [0, 2, 2]); // x / 2 is -1, 0.05, 0.35
/// assert_eq!("thirds-g32".parse::<Scheme>()?, Scheme::codebook(thirds).per_group(32));
/// # Ok::<(), quantlens::Error>(())
/// ```
#[derive(Clone, Copy)]
pub struct Codebook(&'static Grid);

#[derive(Debug)]
struct Grid {
    name: &'static str,
    /// Rising.
    levels: &'static [f64],
    /// Where a number goes over to the next level; halfway between them unless said.
    thresholds: Option<&'static [f64]>,
    /// The stored code of each level; its position unless said.
    codes: Option<&'static [u8]>,
    bits: u32,
    ties: Rounding,
}

const NF4_LEVELS: [f64; 16] = [
    -1.0,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0.0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1.0,
];

/// The middles, rounded to f32: those of bitsandbytes' kernels.
static NF4_THRESHOLDS: [f64; 15] = {
    let mut thresholds = [0.0; 15];
    let mut position = 0;
    while position < 15 {
        thresholds[position] = ((NF4_LEVELS[position] + NF4_LEVELS[position + 1]) / 2.0) as f32 as f64;
        position += 1;
    }
    thresholds
};

static NF4: Grid =
    Grid { name: "nf4", levels: &NF4_LEVELS, thresholds: Some(&NF4_THRESHOLDS), codes: None, bits: 4, ties: Rounding::HalfDown };

/// The thresholds of bitsandbytes' CUDA kernel for FP4, which are not quite the middles.
const FP4_POSITIVE_THRESHOLDS: [f32; 7] = [0.00260417, 0.0859375, 0.20833333, 0.29166667, 0.4166667, 0.583333, 0.8333333];

static FP4_THRESHOLDS: [f64; 15] = {
    let mut thresholds = [0.0; 15];
    let mut position = 0;
    while position < 7 {
        thresholds[8 + position] = FP4_POSITIVE_THRESHOLDS[position] as f64;
        thresholds[6 - position] = -(FP4_POSITIVE_THRESHOLDS[position] as f64);
        position += 1;
    }
    thresholds
};

static FP4: Grid = Grid {
    name: "fp4",
    levels: &[
        -1.0,
        -0.6666666865348816,
        -0.5,
        -0.3333333432674408,
        -0.25,
        -0.1666666716337204,
        -0.0052083334885537624,
        0.0,
        0.0,
        0.0052083334885537624,
        0.1666666716337204,
        0.25,
        0.3333333432674408,
        0.5,
        0.6666666865348816,
        1.0,
    ],
    thresholds: Some(&FP4_THRESHOLDS),
    codes: Some(&[11, 10, 13, 12, 15, 14, 9, 8, 0, 1, 6, 7, 4, 5, 2, 3]),
    bits: 4,
    ties: Rounding::HalfTowardZero,
};

static DYNAMIC: Grid =
    Grid { name: "dynamic8", levels: &super::dynamic::LEVELS, thresholds: None, codes: None, bits: 8, ties: Rounding::HalfDown };

static TERNARY: Grid =
    Grid { name: "ternary", levels: &[-1.0, 0.0, 1.0], thresholds: None, codes: None, bits: 2, ties: Rounding::HalfTowardZero };

static BINARY: Grid =
    Grid { name: "binary", levels: &[-1.0, 1.0], thresholds: None, codes: None, bits: 1, ties: Rounding::HalfUp };

/// What [`Codebook::new`] was given; they are few, and stay.
static OWN: Mutex<Vec<Codebook>> = Mutex::new(Vec::new());

impl Codebook {
    /// 4 bits, 16 values at the quantiles of a normal distribution within ±1: QLoRA's and bitsandbytes' "4-bit NormalFloat".
    /// Source: <https://arxiv.org/abs/2305.14314>, appendix E.
    pub const NF4: Self = Self(&NF4);
    /// 4 bits, bitsandbytes' own FP4, which is not E2M1: ±{0, 1/192, 1/6, 1/4, 1/3, 1/2, 2/3, 1}.
    /// It has two codes for 0: 8 is what a number below 0 becomes. Source: `dDequantizeFP4` and `dQuantizeFP4` of bitsandbytes 0.50.2's kernels.
    pub const FP4: Self = Self(&FP4);
    /// 8 bits, 256 values over seven decades within ±1, the finer the larger: bitsandbytes' dynamic map, for optimizer states and for the
    /// scales of double quantization. Source: <https://arxiv.org/abs/1511.04561>.
    pub const DYNAMIC: Self = Self(&DYNAMIC);
    /// -1, 0 and 1 in 2 bits (1.58 bits of information), as BitNet b1.58 has its weights. Source: <https://arxiv.org/abs/2402.17764>.
    pub const TERNARY: Self = Self(&TERNARY);
    /// -1 and 1 in 1 bit; 0 becomes 1. Source: <https://arxiv.org/abs/1603.05279>.
    pub const BINARY: Self = Self(&BINARY);

    /// Those that need not be made.
    pub const ALL: [Self; 5] = [Self::NF4, Self::FP4, Self::DYNAMIC, Self::TERNARY, Self::BINARY];

    /// The most values a codebook can have.
    pub const MAX_LEVELS: usize = 1 << 16;

    /// A codebook of these values, in any order; a code is the position in rising order. The same name and values give the same codebook.
    ///
    /// Its name is known from then on in this program: `"mine-g64".parse::<Scheme>()` works, and so does reading a scheme of it from JSON. Another
    /// program must make the codebook first.
    ///
    /// # Errors
    /// [`Error::Codebook`] for fewer than 2 values or more than 65 536, one that is not finite, one that is there twice; for a name that is
    /// not lower-case letters, digits and underscores, starting with a letter, or that another format or codebook has.
    pub fn new(name: &str, values: &[f64]) -> Result<Self> {
        let refuse = |reason: String| Err(Error::Codebook { name: name.to_owned(), reason });
        let mut levels = values.to_vec();
        levels.sort_by(f64::total_cmp);
        if let Some(value) = levels.iter().find(|value| !value.is_finite()) {
            return refuse(format!("{value} is among its values, which must be finite"));
        }
        if let Some(pair) = levels.windows(2).find(|pair| pair[0] == pair[1]) {
            return refuse(format!("{} is there twice", pair[1]));
        }
        if !(2..=Self::MAX_LEVELS).contains(&levels.len()) {
            return refuse(format!("it has {} values, and needs 2 to {}", levels.len(), Self::MAX_LEVELS));
        }
        let spelled = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.chars().all(spelled) {
            return refuse("its name must be of lower-case letters, digits and underscores, and start with a letter".to_owned());
        }
        if is_taken(name) {
            return refuse("its name is another format's".to_owned());
        }
        let mut own = OWN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = own.iter().find(|known| known.name() == name) {
            return if known.levels() == levels {
                Ok(*known)
            } else {
                refuse(format!("there is one of this name with {} other values: take another name", known.levels().len()))
            };
        }
        let bits = usize::BITS - (levels.len() - 1).leading_zeros();
        let (name, levels) = (String::leak(name.to_owned()), Vec::leak(levels));
        let grid = Grid { name, levels, thresholds: None, codes: None, bits, ties: Rounding::HalfDown };
        let codebook = Self(Box::leak(Box::new(grid)));
        own.push(codebook);
        Ok(codebook)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.0.name
    }

    /// Its values, rising.
    pub fn levels(self) -> &'static [f64] {
        self.0.levels
    }

    /// Width of a code in bits: ⌈log₂ of the number of values⌉.
    pub fn bits(self) -> u32 {
        self.0.bits
    }

    /// How a number halfway between two values is rounded unless a scheme says otherwise: NF4 to the smaller value, FP4 and ternary to
    /// the one nearer to 0, binary to 1, one of your own to the smaller.
    pub fn rounding(self) -> Rounding {
        self.0.ties
    }

    /// The stored code of the value at this position, counted from the smallest.
    pub(crate) fn code_of(self, position: usize) -> u32 {
        self.0.codes.map_or(position as u32, |codes| codes.get(position).copied().unwrap_or(0).into())
    }

    /// What a code stands for; NaN of a code that it does not have.
    pub fn decode(self, code: u32) -> f64 {
        let position = match self.0.codes {
            None => Some(code as usize),
            Some(codes) => codes.iter().position(|&known| u32::from(known) == code),
        };
        position.and_then(|position| self.levels().get(position)).copied().unwrap_or(f64::NAN)
    }

    /// Where a number goes over from the level at this position to the next: halfway.
    pub(crate) fn threshold(self, position: usize) -> f64 {
        let levels = self.levels();
        match self.0.thresholds {
            Some(thresholds) => thresholds.get(position).copied().unwrap_or(f64::INFINITY),
            None => levels[position] / 2.0 + levels[position + 1] / 2.0,
        }
    }
}

/// Names of integers, floats, presets and ggml's types, there or to come.
fn is_taken(name: &str) -> bool {
    let numbered = |prefix: &str| name.strip_prefix(prefix).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    let digits = |rest: &str| rest.chars().all(|c| c.is_ascii_digit());
    let whole = |prefix: &str| name.strip_prefix(prefix).is_some_and(digits);
    ["mxfp", "mxint", "nvfp", "ggml", "q", "iq", "tq"].into_iter().any(numbered)
        || ["int", "uint"].into_iter().any(whole)
        || name.parse::<Minifloat>().is_ok()
        || Codebook::ALL.iter().any(|known| known.name() == name)
}

impl PartialEq for Codebook {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.0, other.0)
    }
}

impl Eq for Codebook {}

impl Hash for Codebook {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

impl fmt::Debug for Codebook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Codebook `{}` {:?}", self.name(), self.levels())
    }
}

impl fmt::Display for Codebook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Codebook {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let own = OWN.lock().unwrap_or_else(PoisonError::into_inner);
        let known = Self::ALL.iter().chain(own.iter()).find(|known| known.name() == text);
        known.copied().ok_or_else(|| {
            format!("`{text}` is no codebook: it is nf4, fp4, dynamic8, ternary, binary, or one that this program has made with Codebook::new")
        })
    }
}
