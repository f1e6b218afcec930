//! `Rounding`: which of the two values around a number it becomes.

use std::fmt;
use std::str::FromStr;

/// Which of the two neighbouring values of a grid a number between them becomes. On integers the neighbours are whole numbers, on
/// a float format its values; a number that is on the grid stays.
///
/// It is about codes alone: the zero point is rounded as the convention rounds it, whatever is said here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rounding {
    /// To the nearer one; halfway between, to the one whose code is even: 0.5 → 0, 1.5 → 2, -2.5 → -2. IEEE 754's default,
    /// numpy's `rint`, ONNX's and PyTorch's, and that of casts to float formats.
    HalfToEven,
    /// Halfway between, to the one further from 0: 0.5 → 1, -2.5 → -3. C's `round`, TFLite's.
    HalfAwayFromZero,
    /// Halfway between, to the one nearer to 0: 0.5 → 0, -2.5 → -2. ggml's for FP4 elements.
    HalfTowardZero,
    /// Halfway between, to the larger one: 0.5 → 1, -2.5 → -2.
    HalfUp,
    /// Halfway between, to the smaller one: 0.5 → 0, -2.5 → -3. bitsandbytes' for its codebooks.
    HalfDown,
    /// To the one nearer to 0, however far: 0.9 → 0, -0.9 → 0.
    TowardZero,
    /// To the smaller one: 0.9 → 0, -0.1 → -1.
    Down,
    /// To the larger one: 0.1 → 1, -0.9 → 0.
    Up,
    /// To either, the nearer one more often: up with probability (x - lower) / (upper - lower), so that the error is 0 on average.
    /// The choice depends on the seed and on the element's index in the tensor, and on nothing else.
    Stochastic {
        /// The same seed gives the same codes.
        seed: u64,
    },
}

impl Rounding {
    /// The share of the way from the lower to the upper neighbour at which this element goes up, for the two that do not look at ties.
    ///
    /// SplitMix64 of the index-th state after the seed (Steele, Lea and Flood, "Fast splittable pseudorandom number generators",
    /// OOPSLA 2014), its upper 53 bits as a number in [0, 1).
    pub(crate) fn threshold(seed: u64, index: u64) -> f64 {
        let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(index.wrapping_add(1)));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

const NAMES: [(Rounding, &str); 8] = [
    (Rounding::HalfToEven, "half-even"),
    (Rounding::HalfAwayFromZero, "half-away"),
    (Rounding::HalfTowardZero, "half-toward"),
    (Rounding::HalfUp, "half-up"),
    (Rounding::HalfDown, "half-down"),
    (Rounding::TowardZero, "trunc"),
    (Rounding::Down, "down"),
    (Rounding::Up, "up"),
];

impl fmt::Display for Rounding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, NAMES.iter().find(|(rounding, _)| rounding == self)) {
            (_, Some((_, name))) => f.pad(name),
            (Self::Stochastic { seed }, None) => f.pad(&format!("stochastic{seed}")),
            (_, None) => f.pad(""),
        }
    }
}

impl FromStr for Rounding {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some((rounding, _)) = NAMES.iter().find(|(_, name)| *name == text) {
            return Ok(*rounding);
        }
        let seed = text.strip_prefix("stochastic").and_then(super::whole_number);
        seed.map(|seed| Self::Stochastic { seed })
            .ok_or_else(|| format!("`{text}` is no rounding: it is half-even, half-away, half-toward, half-up, half-down, trunc, down, up or stochastic with a seed, as stochastic7"))
    }
}
