//! Codes 0, 1, 2 for -d, 0, d, with d = max |x| of 256 elements: TQ1_0 and TQ2_0.

use super::bits::{Plane, get_f16, half_away, linear, put_f16, reciprocal, signed_extreme};
use super::k_quants::QK_K;
use super::{ByteBlock, Weighting};

/// d and the code of each element, halves rounded away from 0.
fn ternary(x: &[f32]) -> (f32, [u8; QK_K]) {
    let d = signed_extreme(x).abs();
    let inverse = reciprocal(d);
    // The C adds 1 and keeps the low bits, which makes 1, the code of 0, of what no integer holds.
    (d, std::array::from_fn(|i| half_away(x[i] * inverse).wrapping_add(1) as u8))
}

/// TQ1_0: five codes to a byte, as digits to base 3.
///
/// The number n of five digits is stored as ⌈n · 256 / 243⌉, a fraction of 256, so that multiplying by 3 shifts its first digit
/// above the byte.
pub(super) struct Tq1_0;

impl Tq1_0 {
    /// Runs of (bytes, digits to a byte): byte j of a run has elements j, j + bytes, j + 2 · bytes and so on of those the run holds.
    const RUNS: [(usize, usize); 3] = [(32, 5), (16, 5), (4, 4)];
    const BASE: u8 = 3;

    /// Calls with (byte, element, digit) for each element of a run.
    fn each(mut action: impl FnMut(usize, usize, u32)) {
        let (mut byte, mut element) = (0, 0);
        for (bytes, digits) in Self::RUNS {
            for j in 0..bytes {
                (0..digits).for_each(|digit| action(byte + j, element + j + digit * bytes, digit as u32));
            }
            (byte, element) = (byte + bytes, element + bytes * digits);
        }
    }
}

impl ByteBlock for Tq1_0 {
    const ELEMENTS: usize = QK_K;
    const BYTES: usize = 54;
    const BITS: u32 = 2;
    const USES_IMPORTANCE: bool = false;

    fn encode(x: &[f32], _: Option<Weighting<'_>>, out: &mut [u8]) {
        let (d, codes) = ternary(x);
        let (digits, scale) = out.split_at_mut(52);
        digits.fill(0);
        // The first digit counts 81. A byte of four digits has a 0 for its fifth.
        Self::each(|byte, element, digit| digits[byte] += codes[element] * Self::BASE.pow(4 - digit));
        digits.iter_mut().for_each(|byte| *byte = (u16::from(*byte) * 256).div_ceil(243) as u8);
        put_f16(scale, d);
    }

    fn codes(bytes: &[u8], codes: &mut [u8]) {
        Self::each(|byte, element, digit| {
            let shifted = bytes[byte].wrapping_mul(Self::BASE.pow(digit));
            codes[element] = ((u16::from(shifted) * u16::from(Self::BASE)) >> 8) as u8;
        });
    }

    fn decode_codes(bytes: &[u8], codes: &[u8], out: &mut [f32]) {
        linear(codes, 1, &[get_f16(&bytes[52..])], out);
    }
}

/// TQ2_0: four codes to a byte.
pub(super) struct Tq2_0;

impl Tq2_0 {
    const PAIRS: Plane = Plane { stride: 32, width: 2, shift: 0 };
}

impl ByteBlock for Tq2_0 {
    const ELEMENTS: usize = QK_K;
    const BYTES: usize = 66;
    const BITS: u32 = 2;
    const USES_IMPORTANCE: bool = false;

    fn encode(x: &[f32], _: Option<Weighting<'_>>, out: &mut [u8]) {
        let (d, codes) = ternary(x);
        let (pairs, scale) = out.split_at_mut(64);
        Self::PAIRS.pack(&codes, pairs);
        put_f16(scale, d);
    }

    fn codes(bytes: &[u8], codes: &mut [u8]) {
        codes.fill(0);
        Self::PAIRS.unpack(&bytes[..64], codes);
    }

    fn decode_codes(bytes: &[u8], codes: &[u8], out: &mut [f32]) {
        linear(codes, 1, &[get_f16(&bytes[64..])], out);
    }
}
