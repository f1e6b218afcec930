//! Blocks of 32 with one f16 scale, and a minimum for the types whose name ends in 1: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0.

use super::bits::{Plane, affine, first_min_max, get_f16, half_away, linear, put_f16, reciprocal, signed_extreme, truncated};
use super::search::{AFFINE_WEIGHTED, Columns, affine_fit, symmetric_fit};
use super::{ByteBlock, Weighting};

const QK: usize = 32;
/// Low four bits: element j in the low half of byte j, element j + 16 in the high half.
const LOW: Plane = Plane { stride: QK / 2, width: 4, shift: 0 };
/// Fifth bits: element j is bit j of 32, little endian.
const HIGH: Plane = Plane { stride: 1, width: 1, shift: 4 };

/// The importances of a block times √(mean square of the row + x²), which large elements gain by.
fn weights(x: &[f32], by: Weighting<'_>) -> Columns<QK, 1> {
    Columns::from_fn(|i, _| by.importance[i] * (by.row_mean_square + x[i] * x[i]).sqrt())
}

/// Codes of `BITS` bits, 4 or 5, to the bytes after the scale: fifth bits first, where there are any.
#[inline(always)]
fn pack<const BITS: u32>(codes: &[u8; QK], out: &mut [u8]) {
    let (high, low) = out.split_at_mut(if BITS == 5 { QK / 8 } else { 0 });
    HIGH.pack(codes, high);
    LOW.pack(codes, low);
}

#[inline(always)]
fn unpack<const BITS: u32>(bytes: &[u8], codes: &mut [u8]) {
    let (high, low) = bytes.split_at(if BITS == 5 { QK / 8 } else { 0 });
    codes.fill(0);
    HIGH.unpack(high, codes);
    LOW.unpack(low, codes);
}

/// Q4_0 and Q5_0: `x = d · (code - 2^(BITS-1))`, d such that the element of largest magnitude gets code 0.
pub(super) struct Symmetric<const BITS: u32>;

impl<const BITS: u32> Symmetric<BITS> {
    const ZERO: i32 = 1 << (BITS - 1);

    #[inline(always)]
    fn nearest_codes(x: &[f32]) -> (f32, [u8; QK]) {
        let d = signed_extreme(x) / -Self::ZERO as f32;
        let inverse = reciprocal(d);
        let mut codes = [0; QK];
        for (code, x) in codes.iter_mut().zip(x) {
            // Truncation after adding a half more than `ZERO` rounds, halves up; the C takes the low byte as signed.
            *code = i32::from(truncated(x * inverse + (Self::ZERO as f32 + 0.5)) as i8).min(2 * Self::ZERO - 1) as u8;
        }
        (d, codes)
    }

    fn weighted_codes(x: &[f32], by: Weighting<'_>) -> (f32, [u8; QK]) {
        let (codes, [d]) = symmetric_fit::<QK, 1>(Self::ZERO, &Columns::of(x), &weights(x, by));
        (d, codes.rows())
    }
}

impl<const BITS: u32> ByteBlock for Symmetric<BITS> {
    const ELEMENTS: usize = QK;
    const BYTES: usize = 2 + QK * BITS as usize / 8;
    const BITS: u32 = BITS;
    const USES_IMPORTANCE: bool = true;

    #[inline(always)]
    fn encode(x: &[f32], weighting: Option<Weighting<'_>>, out: &mut [u8]) {
        let (d, codes) = match weighting {
            None => Self::nearest_codes(x),
            Some(by) => Self::weighted_codes(x, by),
        };
        let (scale, rest) = out.split_at_mut(2);
        put_f16(scale, d);
        pack::<BITS>(&codes, rest);
    }

    #[inline(always)]
    fn codes(bytes: &[u8], codes: &mut [u8]) {
        unpack::<BITS>(&bytes[2..], codes);
    }

    #[inline(always)]
    fn decode_codes(bytes: &[u8], codes: &[u8], out: &mut [f32]) {
        linear(codes, Self::ZERO, &[get_f16(bytes)], out);
    }
}

/// Q4_1 and Q5_1: `x = d · code + m`.
pub(super) struct Affine<const BITS: u32>;

impl<const BITS: u32> Affine<BITS> {
    const MAX: i32 = (1 << BITS) - 1;

    #[inline(always)]
    fn nearest_codes(x: &[f32]) -> (f32, f32, [u8; QK]) {
        let (min, max) = first_min_max(x);
        let d = (max - min) / Self::MAX as f32;
        let inverse = reciprocal(d);
        let mut codes = [0; QK];
        for (code, x) in codes.iter_mut().zip(x) {
            *code = i32::from(truncated((x - min) * inverse + 0.5) as i8).min(Self::MAX) as u8;
        }
        (d, min, codes)
    }

    fn weighted_codes(x: &[f32], by: Weighting<'_>) -> (f32, f32, [u8; QK]) {
        let fit = affine_fit::<QK, 1>(Self::MAX, &AFFINE_WEIGHTED, &Columns::of(x), &weights(x, by));
        (fit.scales[0], -fit.mins[0], fit.codes.rows())
    }
}

impl<const BITS: u32> ByteBlock for Affine<BITS> {
    const ELEMENTS: usize = QK;
    const BYTES: usize = 4 + QK * BITS as usize / 8;
    const BITS: u32 = BITS;
    const USES_IMPORTANCE: bool = true;

    #[inline(always)]
    fn encode(x: &[f32], weighting: Option<Weighting<'_>>, out: &mut [u8]) {
        let (d, min, codes) = match weighting {
            None => Self::nearest_codes(x),
            Some(by) => Self::weighted_codes(x, by),
        };
        let (scales, rest) = out.split_at_mut(4);
        put_f16(&mut scales[..2], d);
        put_f16(&mut scales[2..], min);
        pack::<BITS>(&codes, rest);
    }

    #[inline(always)]
    fn codes(bytes: &[u8], codes: &mut [u8]) {
        unpack::<BITS>(&bytes[4..], codes);
    }

    #[inline(always)]
    fn decode_codes(bytes: &[u8], codes: &[u8], out: &mut [f32]) {
        affine(codes, &[(get_f16(bytes), get_f16(&bytes[2..]))], out);
    }
}

/// Q8_0: `x = d · q`, q the code as a signed byte, d = max |x| / 127, halves rounded away from 0.
pub(super) struct Q8_0;

impl ByteBlock for Q8_0 {
    const ELEMENTS: usize = QK;
    const BYTES: usize = 2 + QK;
    const BITS: u32 = 8;
    const USES_IMPORTANCE: bool = false;

    #[inline(always)]
    fn encode(x: &[f32], _: Option<Weighting<'_>>, out: &mut [u8]) {
        let d = signed_extreme(x).abs() / 127.0;
        let inverse = reciprocal(d);
        let (scale, codes) = out.split_at_mut(2);
        put_f16(scale, d);
        for (code, x) in codes.iter_mut().zip(x) {
            *code = half_away(x * inverse) as u8;
        }
    }

    #[inline(always)]
    fn codes(bytes: &[u8], codes: &mut [u8]) {
        codes.copy_from_slice(&bytes[2..]);
    }

    #[inline(always)]
    fn decode_codes(bytes: &[u8], codes: &[u8], out: &mut [f32]) {
        let d = get_f16(bytes);
        for (out, &code) in out.iter_mut().zip(codes) {
            *out = d * f32::from(code as i8);
        }
    }
}
