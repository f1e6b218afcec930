//! What the blocks are built of: f16 numbers, codes packed into bytes, and the C's ways to round.

use crate::tensor::min_max;

/// The f16 nearest to `x`, ties to even, as its bits; ±∞ from ±65520 on, NaN for NaN.
#[inline(always)]
pub(super) fn f16_bits(x: f32) -> u16 {
    let bits = x.to_bits();
    let sign = (bits >> 16 & 0x8000) as u16;
    let magnitude = bits & 0x7fff_ffff;
    if magnitude > 0x7f80_0000 {
        return sign | 0x7e00;
    }
    if magnitude >= 0x477f_f000 {
        return sign | 0x7c00;
    }
    if magnitude < 0x3880_0000 {
        // Subnormal: the step is 2⁻²⁴. Beside 0.5 the steps of f32 are 2⁻²⁴ too, so the addition itself rounds.
        return sign | (f32::from_bits(magnitude) + 0.5).to_bits().wrapping_sub(0.5_f32.to_bits()) as u16;
    }
    // 13 bits fall away. Adding less than half of what they count, and 1 where the last kept bit is odd, rounds ties to even.
    let odd = magnitude >> 13 & 1;
    sign | ((magnitude - 0x3800_0000 + 0xfff + odd) >> 13) as u16
}

/// The number that these bits of an f16 stand for, exact.
#[inline(always)]
pub(super) fn f16_value(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let magnitude = u32::from(bits & 0x7fff);
    let value = match magnitude >> 10 {
        0 => (magnitude as f32 / 16_777_216.0).to_bits(),
        0x1f => 0x7f80_0000 | (magnitude & 0x3ff) << 13,
        _ => (magnitude << 13) + 0x3800_0000,
    };
    f32::from_bits(sign | value)
}

/// Writes an f16 and returns the number it stands for, which most layouts compute their codes with.
#[inline(always)]
pub(super) fn put_f16(out: &mut [u8], x: f32) -> f32 {
    let bits = f16_bits(x);
    out.copy_from_slice(&bits.to_le_bytes());
    f16_value(bits)
}

/// The f16 in the first two bytes.
#[inline(always)]
pub(super) fn get_f16(bytes: &[u8]) -> f32 {
    f16_value(u16::from_le_bytes([bytes[0], bytes[1]]))
}

/// Nearest whole number, ties to even, of |x| ≤ 2²². Beyond that, and for ±∞ and NaN, what the bits of the sum happen to be:
/// the C (`nearest_int`) goes on with them, so the same bytes need the same number.
#[inline(always)]
pub(super) fn nearest(x: f32) -> i32 {
    ((x + 12_582_912.0).to_bits() & 0x007f_ffff) as i32 - 0x0040_0000
}

/// Towards 0, as x86-64 converts: `i32::MIN` for NaN and what no i32 holds. (Undefined in C; Rust's `as` saturates.)
#[inline(always)]
pub(super) fn truncated(x: f32) -> i32 {
    const LIMIT: f32 = 2_147_483_648.0;
    let is_held = (-LIMIT..LIMIT).contains(&x);
    // Without branches, so that several are converted at a time.
    let held = if is_held { x } else { 0.0 };
    // SAFETY: it is no NaN, and its whole part is an i32.
    let whole = unsafe { held.to_int_unchecked::<i32>() };
    if is_held { whole } else { i32::MIN }
}

/// Nearest whole number, ties away from 0: C's `roundf`, converted as [`truncated`] does.
#[inline(always)]
pub(super) fn half_away(x: f32) -> i32 {
    let whole = truncated(x);
    // Exact: x and its whole part are within a factor of two, or the whole part is 0.
    let rest = x - whole as f32;
    let rounded = whole.wrapping_add(i32::from(rest >= 0.5)).wrapping_sub(i32::from(rest <= -0.5));
    if whole == i32::MIN { whole } else { rounded }
}

/// 1 / d, or 0 where d is 0.
#[inline(always)]
pub(super) fn reciprocal(d: f32) -> f32 {
    if d == 0.0 { 0.0 } else { 1.0 / d }
}

/// Where bits of codes lie in bytes, which is all that the layouts differ in: a run of `stride` bytes holds `8 / width` runs of
/// `stride` codes, the first in the lowest `width` bits; then comes the next run of bytes.
#[derive(Clone, Copy)]
pub(super) struct Plane {
    /// Bytes to a run.
    pub stride: usize,
    /// Bits of a code that lie here.
    pub width: u32,
    /// The lowest of these bits.
    pub shift: u32,
}

impl Plane {
    fn mask(self) -> u8 {
        (1 << self.width) - 1
    }

    fn codes_per_run(self) -> usize {
        self.stride * (8 / self.width as usize)
    }

    /// Writes these bits of the codes. `out` needs no particular content before.
    #[inline(always)]
    pub fn pack(self, codes: &[u8], out: &mut [u8]) {
        for (codes, out) in codes.chunks_exact(self.codes_per_run()).zip(out.chunks_exact_mut(self.stride)) {
            out.fill(0);
            for (codes, place) in codes.chunks_exact(self.stride).zip((0..8).step_by(self.width as usize)) {
                for (out, code) in out.iter_mut().zip(codes) {
                    *out |= (code >> self.shift & self.mask()) << place;
                }
            }
        }
    }

    /// Adds these bits to the codes.
    #[inline(always)]
    pub fn unpack(self, bytes: &[u8], codes: &mut [u8]) {
        for (codes, bytes) in codes.chunks_exact_mut(self.codes_per_run()).zip(bytes.chunks_exact(self.stride)) {
            for (codes, place) in codes.chunks_exact_mut(self.stride).zip((0..8).step_by(self.width as usize)) {
                for (code, byte) in codes.iter_mut().zip(bytes) {
                    *code |= (byte >> place & self.mask()) << self.shift;
                }
            }
        }
    }
}

/// `scale · code + offset` for each run of `out.len() / G` elements, with the (scale, offset) of the run.
#[inline(always)]
pub(super) fn affine(codes: &[u8], runs: &[(f32, f32)], out: &mut [f32]) {
    let run = out.len() / runs.len();
    for ((out, codes), &(scale, offset)) in out.chunks_exact_mut(run).zip(codes.chunks_exact(run)).zip(runs) {
        for (out, &code) in out.iter_mut().zip(codes) {
            *out = scale * f32::from(code) + offset;
        }
    }
}

/// `scale · (code - zero)` for each run, with the scale of the run.
#[inline(always)]
pub(super) fn linear(codes: &[u8], zero: i32, scales: &[f32], out: &mut [f32]) {
    let run = out.len() / scales.len();
    for ((out, codes), &scale) in out.chunks_exact_mut(run).zip(codes.chunks_exact(run)).zip(scales) {
        for (out, &code) in out.iter_mut().zip(codes) {
            *out = scale * (i32::from(code) - zero) as f32;
        }
    }
}

/// `scale · table[code]` for each run, with the scale of the run.
#[inline(always)]
pub(super) fn looked_up(codes: &[u8], table: &[i8; 16], scales: &[f32], out: &mut [f32]) {
    let run = out.len() / scales.len();
    for ((out, codes), &scale) in out.chunks_exact_mut(run).zip(codes.chunks_exact(run)).zip(scales) {
        for (out, &code) in out.iter_mut().zip(codes) {
            *out = scale * f32::from(table[usize::from(code & 15)]);
        }
    }
}

/// The element of largest magnitude with its sign, the first of several; 0 if all are 0.
#[inline(always)]
pub(super) fn signed_extreme(x: &[f32]) -> f32 {
    let (min, max) = min_max(x);
    if max > -min {
        max
    } else if max < -min {
        min
    } else if max == 0.0 {
        0.0
    } else {
        x.iter().copied().find(|x| x.abs() == max).unwrap_or(0.0)
    }
}

/// The smallest and the largest element, of several the first: 0 and -0 are not the same bytes.
#[inline(always)]
pub(super) fn first_min_max(x: &[f32]) -> (f32, f32) {
    let first = |value: f32| if value == 0.0 { x.iter().copied().find(|x| *x == 0.0).unwrap_or(value) } else { value };
    let (min, max) = min_max(x);
    (first(min), first(max))
}
