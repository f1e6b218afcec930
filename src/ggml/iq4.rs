//! Four-bit codes for 16 values that lie denser around 0: IQ4_NL in blocks of 32, IQ4_XS in super-blocks of 256.

use std::array::from_fn;

use super::bits::{Plane, get_f16, looked_up, nearest, put_f16, reciprocal};
use super::k_quants::{QK_K, scaled_weights, signed_largest, sum_of_squares};
use super::search::{Best, Columns, Moments};
use super::{ByteBlock, Weighting};

/// The values that 4-bit codes stand for in IQ4_NL and IQ4_XS.
const VALUES: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// The code of the value nearest to x, the larger of two as near; 15 for NaN.
///
/// Counting the midpoints that x is not below gives what the C's binary search does: near a midpoint both of its differences
/// are exact, so its comparison is one with the midpoint.
fn code_of(x: f32) -> u8 {
    VALUES.windows(2).map(|pair| u8::from(not_below_midpoint(x, pair))).sum()
}

/// The value nearest to x: sums of small whole numbers are exact, and this one takes no look-up.
#[inline(always)]
fn value_of(x: f32) -> f32 {
    let mut value = f32::from(VALUES[0]);
    for pair in VALUES.windows(2) {
        let step = (i32::from(pair[1]) - i32::from(pair[0])) as f32;
        value += if not_below_midpoint(x, pair) { step } else { 0.0 };
    }
    value
}

#[inline(always)]
#[expect(clippy::neg_cmp_op_on_partial_ord, reason = "NaN is not below anything")]
fn not_below_midpoint(x: f32, pair: &[i8]) -> bool {
    !(x < (i32::from(pair[0]) + i32::from(pair[1])) as f32 * 0.5)
}

/// Scales d for `x ≈ d · value`: values as they fall under 15 steps around -127 / extreme, for each the best scale, and of these
/// the best. (The first half of `quantize_row_iq4_nl_impl`, `ntry` 7.) Groups of zeros get scale 0.
fn fitted_scales<const N: usize, const W: usize>(x: &Columns<N, W>, weights: &Columns<N, W>) -> [f32; W] {
    const TRIES: i32 = 7;
    let first = VALUES[0];
    let extremes = x.signed_extremes();
    let moments = |inverse: [f32; W]| {
        // All values first: unlike the sums they do not wait for one another.
        let values = Columns::<N, W>::from_fn(|i, lane| value_of(inverse[lane] * x.0[i][lane]));
        Moments::of(x, weights, |i, lane| values.0[i][lane], |w, x, value| w * value * x)
    };
    let opening = moments(extremes.map(|extreme| 1.0 / (-extreme / f32::from(first))));
    let mut best = Best::of(&opening);
    // Unlike `make_qx_quants`, this one takes a scale only of positive sums of squares.
    best.scale = from_fn(|lane| if opening.l2[lane] > 0.0 { best.scale[lane] } else { 0.0 });
    best.gain = from_fn(|lane| best.scale[lane] * opening.xl[lane]);
    for step in -TRIES..=TRIES {
        best.offer(&moments(extremes.map(|extreme| (step + i32::from(first)) as f32 / extreme)));
    }
    from_fn(|lane| if extremes[lane] == 0.0 { 0.0 } else { best.scale[lane] })
}

/// Codes of one group under a scale.
fn recode(x: &[f32], scale: f32, codes: &mut [u8]) {
    let inverse = reciprocal(scale);
    for (code, x) in codes.iter_mut().zip(x) {
        *code = code_of(inverse * x);
    }
}

/// Element j of a group of 32 in the low half of byte j, element j + 16 in the high half.
const NIBBLES: Plane = Plane { stride: 16, width: 4, shift: 0 };

/// The best scale of each of W groups of 32.
fn group_scales<const W: usize>(x: &[f32], weighting: Option<Weighting<'_>>) -> [f32; W] {
    let columns = Columns::<32, W>::of(x);
    let weights = match weighting {
        Some(by) => scaled_weights(&columns, sum_of_squares(x) * (2.0 / x.len() as f32), by.importance),
        None => Columns(columns.0.map(|column| column.map(|x| x * x))),
    };
    fitted_scales(&columns, &weights)
}

/// IQ4_NL: `x = d · value[code]`.
pub(super) struct Iq4Nl;

impl ByteBlock for Iq4Nl {
    const ELEMENTS: usize = 32;
    const BYTES: usize = 18;
    const BITS: u32 = 4;
    const USES_IMPORTANCE: bool = true;

    fn encode(x: &[f32], weighting: Option<Weighting<'_>>, out: &mut [u8]) {
        let [d] = group_scales(x, weighting);
        let mut codes = [0; 32];
        recode(x, d, &mut codes);
        put_f16(&mut out[..2], d);
        NIBBLES.pack(&codes, &mut out[2..]);
    }

    fn codes(bytes: &[u8], codes: &mut [u8]) {
        codes.fill(0);
        NIBBLES.unpack(&bytes[2..], codes);
    }

    fn decode_codes(bytes: &[u8], codes: &[u8], out: &mut [f32]) {
        looked_up(codes, &VALUES, &[get_f16(bytes)], out);
    }
}

/// IQ4_XS: 8 groups of 32, `x = d · (s - 32) · value[code]`, s of six bits.
pub(super) struct Iq4Xs;

impl Iq4Xs {
    /// The two high bits of the eight s in bytes 2 and 3, the four low ones in bytes 4 to 7.
    const SCALES_HIGH: Plane = Plane { stride: 1, width: 2, shift: 4 };
    const SCALES_LOW: Plane = Plane { stride: 1, width: 4, shift: 0 };
}

impl ByteBlock for Iq4Xs {
    const ELEMENTS: usize = QK_K;
    const BYTES: usize = 136;
    const BITS: u32 = 4;
    const USES_IMPORTANCE: bool = true;

    fn encode(x: &[f32], weighting: Option<Weighting<'_>>, out: &mut [u8]) {
        let scales: [f32; 8] = group_scales(x, weighting);
        let d = -signed_largest(&scales).0 / 32.0;
        let inverse = reciprocal(d);
        let (head, nibbles) = out.split_at_mut(8);
        put_f16(&mut head[..2], d);
        let (mut packed, mut codes) = ([0; 8], [0; QK_K]);
        for (group, scale) in scales.into_iter().enumerate() {
            let level = nearest(inverse * scale).clamp(-32, 31);
            packed[group] = (level + 32) as u8;
            // Unlike the K-quants, with d as it was before it became an f16.
            let run = group * 32..(group + 1) * 32;
            recode(&x[run.clone()], d * level as f32, &mut codes[run]);
        }
        Self::SCALES_HIGH.pack(&packed, &mut head[2..4]);
        Self::SCALES_LOW.pack(&packed, &mut head[4..]);
        NIBBLES.pack(&codes, nibbles);
    }

    fn codes(bytes: &[u8], codes: &mut [u8]) {
        codes.fill(0);
        NIBBLES.unpack(&bytes[8..], codes);
    }

    fn decode_codes(bytes: &[u8], codes: &[u8], out: &mut [f32]) {
        let (d, mut scales) = (get_f16(bytes), [0; 8]);
        Self::SCALES_HIGH.unpack(&bytes[2..4], &mut scales);
        Self::SCALES_LOW.unpack(&bytes[4..8], &mut scales);
        looked_up(codes, &VALUES, &scales.map(|scale| d * (i32::from(scale) - 32) as f32), out);
    }
}
