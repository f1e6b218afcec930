//! The K-quants: super-blocks of 256 in groups of 16 or 32, whose scales (and minima) are codes themselves.
//!
//! All go the same way: fit each group, fit the groups' scales, write them, and then pick every code again for the scale that
//! can be read back.

use super::bits::{Plane, affine, get_f16, linear, nearest, put_f16};
use super::search::{AFFINE_WEIGHTED, ALL_ZERO, AffineSearch, Columns, affine_fit, scale_fit, symmetric_descent, symmetric_fit};
use super::{ByteBlock, Weighting};

pub(super) const QK_K: usize = 256;

/// Two low bits of Q2_K and Q3_K, two high bits of Q6_K.
const fn pairs(shift: u32) -> Plane {
    Plane { stride: 32, width: 2, shift }
}

/// The highest bit of Q3_K and Q5_K.
const fn single(shift: u32) -> Plane {
    Plane { stride: 32, width: 1, shift }
}

/// Four low bits of Q4_K, Q5_K (stride 32) and Q6_K (64).
const fn nibbles(stride: usize) -> Plane {
    Plane { stride, width: 4, shift: 0 }
}

/// The importances times √(variance + x²), which large elements gain by.
pub(super) fn scaled_weights<const N: usize, const W: usize>(
    x: &Columns<N, W>,
    variance: f32,
    importance: &[f32],
) -> Columns<N, W> {
    Columns::from_fn(|i, lane| importance[lane * N + i] * (variance + x.0[i][lane] * x.0[i][lane]).sqrt())
}

/// Σ x², in order.
pub(super) fn sum_of_squares(x: &[f32]) -> f32 {
    x.iter().fold(0.0, |sum, x| sum + x * x)
}

/// The largest of the numbers above 0, else 0.
fn largest(x: &[f32]) -> f32 {
    x.iter().fold(0.0, |largest, &x| if x > largest { x } else { largest })
}

/// The number of largest magnitude with its sign, the first of several, and its magnitude; 0 if there is none.
pub(super) fn signed_largest(x: &[f32]) -> (f32, f32) {
    x.iter().fold((0.0, 0.0), |(largest, magnitude), &x| if x.abs() > magnitude { (x, x.abs()) } else { (largest, magnitude) })
}

/// Picks each code again for `x = scale · code - min` with the (scale, min) of its group; groups of scale 0 keep theirs.
fn recode_affine(x: &[f32], groups: &[(f32, f32)], max_code: i32, codes: &mut [u8]) {
    let run = x.len() / groups.len();
    for ((x, codes), &(scale, min)) in x.chunks_exact(run).zip(codes.chunks_exact_mut(run)).zip(groups) {
        if scale != 0.0 {
            for (code, x) in codes.iter_mut().zip(x) {
                *code = nearest((x + min) / scale).max(0).min(max_code) as u8;
            }
        }
    }
}

/// Likewise for `x = scale · (code - half)`.
fn recode_symmetric(x: &[f32], scales: &[f32], half: i32, codes: &mut [u8]) {
    let run = x.len() / scales.len();
    for ((x, codes), &scale) in x.chunks_exact(run).zip(codes.chunks_exact_mut(run)).zip(scales) {
        if scale != 0.0 {
            for (code, x) in codes.iter_mut().zip(x) {
                *code = (nearest(x / scale).max(-half).min(half - 1) + half) as u8;
            }
        }
    }
}

/// Q2_K: 16 groups of 16, `x = d · s · code - dmin · m`, s and m of four bits.
pub(super) struct Q2K;

impl Q2K {
    const MAX_SCALE: i32 = 15;
    const SEARCH: AffineSearch = AffineSearch { first: -0.5, step: 0.1, last: 15, absolute: true, clamp_first: false };

    /// (scale, min) of each group, as they are read back.
    fn groups(d: f32, d_min: f32, scales: &[u8]) -> [(f32, f32); 16] {
        std::array::from_fn(|group| (d * f32::from(scales[group] & 15), d_min * f32::from(scales[group] >> 4)))
    }

    /// Codes of the scales of all groups as fractions of the largest, and the largest.
    fn fractions(x: &[f32; 16]) -> ([u8; 16], f32) {
        let largest = largest(x);
        let inverse = if largest > 0.0 { Self::MAX_SCALE as f32 / largest } else { 0.0 };
        let code = |x: f32| if largest > 0.0 { nearest(inverse * x) as u8 } else { 0 };
        (x.map(code), if largest > 0.0 { largest / Self::MAX_SCALE as f32 } else { 0.0 })
    }
}

impl ByteBlock for Q2K {
    const ELEMENTS: usize = QK_K;
    const BYTES: usize = 84;
    const BITS: u32 = 2;
    const USES_IMPORTANCE: bool = true;

    fn encode(x: &[f32], weighting: Option<Weighting<'_>>, out: &mut [u8]) {
        let columns = Columns::<16, 16>::of(x);
        let (mut codes, (scales, d), (mins, d_min)): ([u8; QK_K], _, _);
        if let Some(by) = weighting {
            let weights = scaled_weights(&columns, sum_of_squares(x) / QK_K as f32, by.importance);
            let fit = affine_fit(3, &AFFINE_WEIGHTED, &columns, &weights);
            (scales, d) = scale_fit(Self::MAX_SCALE, &fit.scales, &weights.sums());
            (mins, d_min) = scale_fit(Self::MAX_SCALE, &fit.mins, &weights.sums());
            codes = fit.codes.rows();
        } else {
            let weights = Columns(columns.0.map(|column| column.map(f32::abs)));
            let fit = affine_fit(3, &Self::SEARCH, &columns, &weights);
            (scales, d) = Self::fractions(&fit.scales);
            (mins, d_min) = Self::fractions(&fit.mins);
            codes = fit.codes.rows();
        }
        let (packed_scales, rest) = out.split_at_mut(16);
        let (low, d_out) = rest.split_at_mut(64);
        for ((packed, scale), min) in packed_scales.iter_mut().zip(scales).zip(mins) {
            *packed = scale | min << 4;
        }
        let (d, d_min) = (put_f16(&mut d_out[..2], d), put_f16(&mut d_out[2..], d_min));
        recode_affine(x, &Self::groups(d, d_min, packed_scales), 3, &mut codes);
        pairs(0).pack(&codes, low);
    }

    fn codes(bytes: &[u8], codes: &mut [u8]) {
        codes.fill(0);
        pairs(0).unpack(&bytes[16..80], codes);
    }

    fn decode_codes(bytes: &[u8], codes: &[u8], out: &mut [f32]) {
        let groups = Self::groups(get_f16(&bytes[80..]), get_f16(&bytes[82..]), &bytes[..16]);
        affine(codes, &groups.map(|(scale, min)| (scale, -min)), out);
    }
}

/// Q3_K: 16 groups of 16, `x = d · (s - 32) · (code - 4)`, s of six bits.
pub(super) struct Q3K;

impl Q3K {
    /// Low four bits of the 16 scales in bytes 0 to 7, the two above them in bytes 8 to 11.
    const SCALES_LOW: Plane = Plane { stride: 8, width: 4, shift: 0 };
    const SCALES_HIGH: Plane = Plane { stride: 4, width: 2, shift: 4 };

    /// The scale of each group, as it is read back.
    fn scales(d: f32, packed: &[u8]) -> [f32; 16] {
        let mut scales = [0; 16];
        Self::SCALES_LOW.unpack(&packed[..8], &mut scales);
        Self::SCALES_HIGH.unpack(&packed[8..], &mut scales);
        scales.map(|scale| d * (i32::from(scale) - 32) as f32)
    }

    /// Codes of the groups' scales, and their scale.
    fn fractions(x: &[f32; 16]) -> ([u8; 16], f32) {
        let (largest, _) = signed_largest(x);
        if largest == 0.0 {
            return ([0; 16], 0.0);
        }
        let inverse = -32.0 / largest;
        let code = |x: f32| (i32::from(nearest(inverse * x) as i8).clamp(-32, 31) + 32) as u8;
        (x.map(code), 1.0 / inverse)
    }
}

impl ByteBlock for Q3K {
    const ELEMENTS: usize = QK_K;
    const BYTES: usize = 110;
    const BITS: u32 = 3;
    const USES_IMPORTANCE: bool = true;

    fn encode(x: &[f32], weighting: Option<Weighting<'_>>, out: &mut [u8]) {
        let columns = Columns::<16, 16>::of(x);
        let (mut codes, (scales, d)): ([u8; QK_K], _);
        if let Some(by) = weighting {
            let weights = scaled_weights(&columns, 2.0 * sum_of_squares(x) / QK_K as f32, by.importance);
            let (fitted, fitted_scales) = symmetric_fit(4, &columns, &weights);
            // The 16 scales are one group of 16.
            let (codes_of_scales, [scale]) =
                symmetric_fit::<16, 1>(32, &Columns::of(&fitted_scales), &Columns::of(&weights.sums()));
            (scales, d) = (codes_of_scales.rows(), scale);
            codes = fitted.rows();
        } else {
            let (fitted, fitted_scales) = symmetric_descent(4, &columns);
            (scales, d) = Self::fractions(&fitted_scales);
            codes = fitted.rows();
        }
        let (high, rest) = out.split_at_mut(32);
        let (low, rest) = rest.split_at_mut(64);
        let (packed_scales, d_out) = rest.split_at_mut(12);
        Self::SCALES_LOW.pack(&scales, &mut packed_scales[..8]);
        Self::SCALES_HIGH.pack(&scales, &mut packed_scales[8..]);
        let d = put_f16(d_out, d);
        recode_symmetric(x, &Self::scales(d, packed_scales), 4, &mut codes);
        single(2).pack(&codes, high);
        pairs(0).pack(&codes, low);
    }

    fn codes(bytes: &[u8], codes: &mut [u8]) {
        codes.fill(0);
        single(2).unpack(&bytes[..32], codes);
        pairs(0).unpack(&bytes[32..96], codes);
    }

    fn decode_codes(bytes: &[u8], codes: &[u8], out: &mut [f32]) {
        linear(codes, 4, &Self::scales(get_f16(&bytes[108..]), &bytes[96..108]), out);
    }
}

/// Q4_K and Q5_K: 8 groups of 32, `x = d · s · code - dmin · m`, s and m of six bits.
pub(super) struct Affine32<const BITS: u32>;

impl<const BITS: u32> Affine32<BITS> {
    const MAX_CODE: i32 = (1 << BITS) - 1;
    const MAX_SCALE: u8 = 63;
    const SEARCH: AffineSearch = AffineSearch {
        first: if BITS == 4 { -1.0 } else { -0.5 },
        step: 0.1,
        last: if BITS == 4 { 20 } else { 15 },
        absolute: false,
        clamp_first: false,
    };

    /// Scales and minima of groups 0 to 3 in the low six bits of a byte each; those of groups 4 to 7 have their low four bits
    /// in bytes of their own and the other two above the former.
    fn pack_scales(scales: [u8; 8], mins: [u8; 8]) -> [u8; 12] {
        std::array::from_fn(|byte| match byte {
            0..4 => scales[byte] | scales[byte + 4] >> 4 << 6,
            4..8 => mins[byte - 4] | mins[byte] >> 4 << 6,
            _ => scales[byte - 4] & 15 | mins[byte - 4] << 4,
        })
    }

    /// (scale, min) of each group, as they are read back.
    fn groups(d: f32, d_min: f32, packed: &[u8]) -> [(f32, f32); 8] {
        std::array::from_fn(|group| {
            let (scale, min) = match group {
                0..4 => (packed[group] & 63, packed[group + 4] & 63),
                _ => (packed[group + 4] & 15 | packed[group - 4] >> 6 << 4, packed[group + 4] >> 4 | packed[group] >> 6 << 4),
            };
            (d * f32::from(scale), d_min * f32::from(min))
        })
    }

    /// Codes of the scales of all groups as fractions of the largest, and their scale.
    fn fractions(x: &[f32; 8]) -> ([u8; 8], f32) {
        let largest = largest(x);
        let inverse = if largest > 0.0 { f32::from(Self::MAX_SCALE) / largest } else { 0.0 };
        (x.map(|x| (nearest(inverse * x) as u8).min(Self::MAX_SCALE)), largest / f32::from(Self::MAX_SCALE))
    }
}

impl<const BITS: u32> ByteBlock for Affine32<BITS> {
    const ELEMENTS: usize = QK_K;
    const BYTES: usize = 16 + QK_K * BITS as usize / 8;
    const BITS: u32 = BITS;
    const USES_IMPORTANCE: bool = true;

    fn encode(x: &[f32], weighting: Option<Weighting<'_>>, out: &mut [u8]) {
        let columns = Columns::<32, 8>::of(x);
        let (mut codes, (scales, d), (mins, d_min)): ([u8; QK_K], _, _);
        if let Some(by) = weighting {
            let weights = scaled_weights(&columns, 2.0 * sum_of_squares(x) / QK_K as f32, by.importance);
            let fit = affine_fit(Self::MAX_CODE, &AFFINE_WEIGHTED, &columns, &weights);
            // The C caps the scales of Q5_K alone. A code above the cap is a negative one of a fit gone wrong, as a byte.
            let capped =
                |(codes, d): ([u8; 8], f32)| (codes.map(|code| if BITS == 5 { code.min(Self::MAX_SCALE) } else { code }), d);
            (scales, d) = capped(scale_fit(i32::from(Self::MAX_SCALE), &fit.scales, &weights.sums()));
            (mins, d_min) = capped(scale_fit(i32::from(Self::MAX_SCALE), &fit.mins, &weights.sums()));
            codes = fit.codes.rows();
        } else {
            let mut weights = columns;
            for group in 0..8 {
                let average = (sum_of_squares(&x[group * 32..][..32]) / 32.0).sqrt();
                weights.0.iter_mut().for_each(|column| column[group] = average + column[group].abs());
            }
            let fit = affine_fit(Self::MAX_CODE, &Self::SEARCH, &columns, &weights);
            (scales, d) = Self::fractions(&fit.scales);
            (mins, d_min) = Self::fractions(&fit.mins);
            codes = fit.codes.rows();
        }
        let (head, rest) = out.split_at_mut(16);
        let (d, d_min) = (put_f16(&mut head[..2], d), put_f16(&mut head[2..4], d_min));
        head[4..].copy_from_slice(&Self::pack_scales(scales, mins));
        recode_affine(x, &Self::groups(d, d_min, &head[4..]), Self::MAX_CODE, &mut codes);
        let (high, low) = rest.split_at_mut(if BITS == 5 { 32 } else { 0 });
        single(4).pack(&codes, high);
        nibbles(32).pack(&codes, low);
    }

    fn codes(bytes: &[u8], codes: &mut [u8]) {
        codes.fill(0);
        let (high, low) = bytes[16..].split_at(if BITS == 5 { 32 } else { 0 });
        single(4).unpack(high, codes);
        nibbles(32).unpack(low, codes);
    }

    fn decode_codes(bytes: &[u8], codes: &[u8], out: &mut [f32]) {
        let groups = Self::groups(get_f16(bytes), get_f16(&bytes[2..]), &bytes[4..16]);
        affine(codes, &groups.map(|(scale, min)| (scale, -min)), out);
    }
}

/// Q6_K: 16 groups of 16, `x = d · s · (code - 32)`, s a signed byte.
pub(super) struct Q6K;

impl Q6K {
    /// The scale of each group, as it is read back.
    fn scales(d: f32, packed: &[u8]) -> [f32; 16] {
        std::array::from_fn(|group| d * f32::from(packed[group] as i8))
    }
}

impl ByteBlock for Q6K {
    const ELEMENTS: usize = QK_K;
    const BYTES: usize = 210;
    const BITS: u32 = 6;
    const USES_IMPORTANCE: bool = true;

    fn encode(x: &[f32], weighting: Option<Weighting<'_>>, out: &mut [u8]) {
        let columns = Columns::<16, 16>::of(x);
        let weights = match weighting {
            Some(by) => Columns::of(by.importance),
            None => Columns(columns.0.map(|column| column.map(|x| x * x))),
        };
        let (codes, scales) = symmetric_fit(32, &columns, &weights);
        let (largest, magnitude) = signed_largest(&scales);
        if magnitude < ALL_ZERO {
            out.fill(0);
            return;
        }
        let inverse = -128.0 / largest;
        let (low, rest) = out.split_at_mut(128);
        let (high, rest) = rest.split_at_mut(64);
        let (packed_scales, d_out) = rest.split_at_mut(16);
        for (packed, scale) in packed_scales.iter_mut().zip(scales) {
            *packed = nearest(inverse * scale).min(127) as u8;
        }
        let d = put_f16(d_out, 1.0 / inverse);
        let mut codes: [u8; QK_K] = codes.rows();
        recode_symmetric(x, &Self::scales(d, packed_scales), 32, &mut codes);
        nibbles(64).pack(&codes, low);
        pairs(4).pack(&codes, high);
    }

    fn codes(bytes: &[u8], codes: &mut [u8]) {
        codes.fill(0);
        nibbles(64).unpack(&bytes[..128], codes);
        pairs(4).unpack(&bytes[128..192], codes);
    }

    fn decode_codes(bytes: &[u8], codes: &[u8], out: &mut [f32]) {
        linear(codes, 32, &Self::scales(get_f16(&bytes[208..]), &bytes[192..208]), out);
    }
}
