//! E2M1 elements (0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives) under scales of one byte: ggml's MXFP4 and NVFP4.

use super::bits::{Plane, looked_up, signed_extreme, truncated};
use super::{ByteBlock, Weighting};

/// What codes stand for, doubled, so that they are whole; scales are halved to make up for it.
const DOUBLED: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// The code of the value nearest to x under a (halved) scale, the one of lower magnitude of two as near. -0 is never used.
#[inline(always)]
fn code(x: f32, scale: f32) -> u8 {
    let magnitude = x.abs();
    let (mut best, mut best_error) = (0, magnitude);
    for (code, &value) in DOUBLED.iter().enumerate().take(8).skip(1) {
        let error = (f32::from(value) * scale - magnitude).abs();
        best = if error < best_error { code as u8 } else { best };
        best_error = if error < best_error { error } else { best_error };
    }
    if x < 0.0 && best > 0 { best | 8 } else { best }
}

fn encode_group(x: &[f32], scale: f32, out: &mut [u8], plane: Plane) {
    let mut codes = [0; 32];
    let codes = &mut codes[..x.len()];
    for (out, &x) in codes.iter_mut().zip(x) {
        *out = code(x, scale);
    }
    plane.pack(codes, out);
}

/// MXFP4: blocks of 32 under a power of two, `x = 2^(e-127) · element`.
pub(super) struct Mxfp4;

impl Mxfp4 {
    const NIBBLES: Plane = Plane { stride: 16, width: 4, shift: 0 };

    /// ⌊log₂ extreme⌋ - 2, plus the bias of 127, as a byte.
    ///
    /// The C rounds the logarithm to f32 before it rounds it down, and does not look whether the sum is below 0: extremes right
    /// below a power of two may get the next one, and those below 2⁻¹²⁵ a byte that wraps around.
    fn exponent(extreme: f32) -> u8 {
        if extreme == 0.0 {
            return 0;
        }
        let logarithm = f64::from(extreme.abs()).log2() as f32;
        truncated(logarithm.floor() - 2.0 + 127.0) as u8
    }

    /// 2^(e-128).
    fn halved_scale(e: u8) -> f32 {
        f32::from_bits(if e < 2 { 0x0020_0000 << e } else { u32::from(e - 1) << 23 })
    }
}

impl ByteBlock for Mxfp4 {
    const ELEMENTS: usize = 32;
    const BYTES: usize = 17;
    const BITS: u32 = 4;
    const USES_IMPORTANCE: bool = false;

    fn encode(x: &[f32], _: Option<Weighting<'_>>, out: &mut [u8]) {
        out[0] = Self::exponent(signed_extreme(x));
        let scale = Self::halved_scale(out[0]);
        encode_group(x, scale, &mut out[1..], Self::NIBBLES);
    }

    fn codes(bytes: &[u8], codes: &mut [u8]) {
        codes.fill(0);
        Self::NIBBLES.unpack(&bytes[1..], codes);
    }

    fn decode_codes(bytes: &[u8], codes: &[u8], out: &mut [f32]) {
        looked_up(codes, &DOUBLED, &[Self::halved_scale(bytes[0])], out);
    }
}

/// NVFP4: 4 groups of 16 in a block, each under a scale with four bits of exponent and three of mantissa. (The scale of the
/// tensor that the format has elsewhere is no part of ggml's blocks.)
pub(super) struct Nvfp4;

impl Nvfp4 {
    const GROUP: usize = 16;
    const NIBBLES: Plane = Plane { stride: 8, width: 4, shift: 0 };

    /// The UE4M3 nearest to x ≥ 0, the larger of two as near; but no subnormal is rounded up to the first normal, and the C
    /// makes 448, the largest, of all that rounds to 256 or more.
    fn scale_code(x: f32) -> u8 {
        const LAST_EXPONENT: u32 = 15;
        const LARGEST: u8 = 0x7e;
        const FIRST_NORMAL: f32 = 1.0 / 64.0;
        if x < FIRST_NORMAL {
            return truncated(x * 512.0 + 0.5).min(7) as u8;
        }
        // Exponent and mantissa of x, rounded to three bits by adding half of what falls away; 1 has exponent 7.
        let code = ((x.to_bits() + (1 << 19)) >> 20) - (127 - 7) * 8;
        if code >= LAST_EXPONENT * 8 { LARGEST } else { code as u8 }
    }

    /// Half of the UE4M3; codes 0 and 127 are 0.
    fn halved_scale(code: u8) -> f32 {
        let (exponent, mantissa) = (i32::from(code >> 3 & 15), f32::from(code & 7));
        match (code, exponent) {
            (0 | 0x7f, _) => 0.0,
            (_, 0) => mantissa / 1024.0,
            // 2^(exponent - 8), from the bits of its exponent.
            _ => (1.0 + mantissa / 8.0) * f32::from_bits(((exponent - 8 + 127) as u32) << 23),
        }
    }
}

impl ByteBlock for Nvfp4 {
    const ELEMENTS: usize = 64;
    const BYTES: usize = 36;
    const BITS: u32 = 4;
    const USES_IMPORTANCE: bool = false;

    fn encode(x: &[f32], _: Option<Weighting<'_>>, out: &mut [u8]) {
        let (scales, nibbles) = out.split_at_mut(4);
        for ((x, scale), nibbles) in x.chunks_exact(Self::GROUP).zip(scales).zip(nibbles.chunks_exact_mut(Self::GROUP / 2)) {
            *scale = Self::scale_code(signed_extreme(x).abs() / 6.0);
            encode_group(x, Self::halved_scale(*scale), nibbles, Self::NIBBLES);
        }
    }

    fn codes(bytes: &[u8], codes: &mut [u8]) {
        codes.fill(0);
        Self::NIBBLES.unpack(&bytes[4..], codes);
    }

    fn decode_codes(bytes: &[u8], codes: &[u8], out: &mut [f32]) {
        looked_up(codes, &DOUBLED, &std::array::from_fn::<_, 4, _>(|group| Self::halved_scale(bytes[group])), out);
    }
}
