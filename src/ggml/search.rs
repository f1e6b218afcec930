//! The searches for scales: weighted least squares on codes that are themselves searched for.
//!
//! Each works on several groups of elements at once, one to a lane, because the sums within a group must be added in the C's
//! order, one after the other, while groups have nothing to do with each other: the compiler does lanes several at a time.

use std::array::from_fn;

use super::bits::nearest;

/// Groups of which no element is as large as this count as all zero (`GROUP_MAX_EPS` in the C).
pub(super) const ALL_ZERO: f32 = 1e-15;

/// N elements of each of W groups; element i of all groups stands together.
#[derive(Clone, Copy)]
pub(super) struct Columns<const N: usize, const W: usize, T = f32>(pub [[T; W]; N]);

impl<const N: usize, const W: usize> Columns<N, W> {
    /// Of consecutive elements, N to a group.
    pub fn of(x: &[f32]) -> Self {
        Self::from_fn(|i, lane| x[lane * N + i])
    }
}

impl<const N: usize, const W: usize, T: Copy> Columns<N, W, T> {
    /// From (element, group).
    pub fn from_fn(value: impl Fn(usize, usize) -> T) -> Self {
        Self(from_fn(|i| from_fn(|lane| value(i, lane))))
    }

    /// The elements one group after the other; L is N · W.
    pub fn rows<const L: usize>(&self) -> [T; L] {
        from_fn(|index| self.0[index % N][index / N])
    }
}

impl<const N: usize, const W: usize> Columns<N, W> {
    /// The sum of each group, in order.
    pub fn sums(&self) -> [f32; W] {
        let mut sums = [0.0; W];
        for column in &self.0 {
            for lane in 0..W {
                sums[lane] += column[lane];
            }
        }
        sums
    }

    /// The element of largest magnitude of each group with its sign, the first of several; 0 where none reaches [`ALL_ZERO`].
    pub fn signed_extremes(&self) -> [f32; W] {
        let (mut magnitude, mut extreme) = ([0.0; W], [0.0; W]);
        for column in &self.0 {
            for lane in 0..W {
                let larger = column[lane].abs() > magnitude[lane];
                magnitude[lane] = if larger { column[lane].abs() } else { magnitude[lane] };
                extreme[lane] = if larger { column[lane] } else { extreme[lane] };
            }
        }
        from_fn(|lane| if magnitude[lane] < ALL_ZERO { 0.0 } else { extreme[lane] })
    }
}

/// Σ w·x·l and Σ w·l², from which `Σ w·x·l / Σ w·l²` is the best scale for levels l.
pub(super) struct Moments<const W: usize> {
    pub xl: [f32; W],
    pub l2: [f32; W],
}

impl<const W: usize> Moments<W> {
    /// `level` is that of (element, group), `product` is w·x·l, whose factors the C takes in different orders.
    #[inline(always)]
    pub fn of<const N: usize>(
        x: &Columns<N, W>,
        weights: &Columns<N, W>,
        level: impl Fn(usize, usize) -> f32,
        product: impl Fn(f32, f32, f32) -> f32,
    ) -> Self {
        let (mut xl, mut l2) = ([0.0; W], [0.0; W]);
        for i in 0..N {
            for lane in 0..W {
                let (x, w, l) = (x.0[i][lane], weights.0[i][lane], level(i, lane));
                xl[lane] += product(w, x, l);
                l2[lane] += w * l * l;
            }
        }
        Self { xl, l2 }
    }
}

/// The best scale over candidates, by the squared error it leaves, for levels that each candidate picks.
pub(super) struct Best<const W: usize> {
    pub scale: [f32; W],
    pub gain: [f32; W],
}

impl<const W: usize> Best<W> {
    pub fn of(first: &Moments<W>) -> Self {
        let scale = from_fn(|lane| if first.l2[lane] == 0.0 { 0.0 } else { first.xl[lane] / first.l2[lane] });
        Self { scale, gain: from_fn(|lane| scale[lane] * first.xl[lane]) }
    }

    /// Takes a candidate where it is better, and says where.
    pub fn offer(&mut self, next: &Moments<W>) -> [bool; W] {
        from_fn(|lane| {
            let (xl, l2) = (next.xl[lane], next.l2[lane]);
            let better = l2 > 0.0 && xl * xl > self.gain[lane] * l2;
            if better {
                self.scale[lane] = xl / l2;
                self.gain[lane] = self.scale[lane] * xl;
            }
            better
        })
    }
}

/// A level of -half to half - 1.
#[inline(always)]
fn symmetric_level(x: f32, half: i32) -> i32 {
    nearest(x).max(-half).min(half - 1)
}

/// Codes `level + half` and scales d for `x ≈ d · level`: levels as they fall under 19 steps around -extreme / half, for each
/// the best scale, and of these the best. (`make_qx_quants` with `rmse_type` 1.) Groups of zeros get code 0 and scale 0.
pub(super) fn symmetric_fit<const N: usize, const W: usize>(
    half: i32,
    x: &Columns<N, W>,
    weights: &Columns<N, W>,
) -> (Columns<N, W, u8>, [f32; W]) {
    let extremes = x.signed_extremes();
    let moments = |inverse: &[f32; W]| {
        let level = |i: usize, lane: usize| symmetric_level(inverse[lane] * x.0[i][lane], half) as f32;
        Moments::of(x, weights, level, |w, x, l| w * x * l)
    };
    let mut inverse = extremes.map(|extreme| -half as f32 / extreme);
    let mut best = Best::of(&moments(&inverse));
    for step in (-9..=9).filter(|&step| step != 0) {
        let candidate = extremes.map(|extreme| -(half as f32 + 0.1 * step as f32) / extreme);
        let better = best.offer(&moments(&candidate));
        inverse = from_fn(|lane| if better[lane] { candidate[lane] } else { inverse[lane] });
    }
    let code = |i: usize, lane: usize| match extremes[lane] {
        0.0 => 0,
        _ => (symmetric_level(inverse[lane] * x.0[i][lane], half) + half) as u8,
    };
    (Columns::from_fn(code), from_fn(|lane| if extremes[lane] == 0.0 { 0.0 } else { best.scale[lane] }))
}

/// As [`symmetric_fit`] with weights x², but from one step, and then moving single elements to another level as long as that
/// helps, in at most five passes. (`make_q3_quants`.)
pub(super) fn symmetric_descent<const N: usize, const W: usize>(half: i32, x: &Columns<N, W>) -> (Columns<N, W, u8>, [f32; W]) {
    let extremes = x.signed_extremes();
    let inverse = extremes.map(|extreme| -half as f32 / extreme);
    let weights = Columns::<N, W>::from_fn(|i, lane| x.0[i][lane] * x.0[i][lane]);
    let mut levels = Columns::<N, W>::from_fn(|i, lane| symmetric_level(inverse[lane] * x.0[i][lane], half) as f32);
    let Moments { mut xl, mut l2 } = Moments::of(x, &weights, |i, lane| levels.0[i][lane], |w, x, l| w * x * l);
    for _pass in 0..5 {
        let mut changed = false;
        for i in 0..N {
            for lane in 0..W {
                let (x, w, l) = (x.0[i][lane], weights.0[i][lane], levels.0[i][lane]);
                // The sums without this element, and with it at its best level for them.
                let (others_xl, others_l2) = (xl[lane] - w * x * l, l2[lane] - w * l * l);
                let level = symmetric_level(x * others_l2 / others_xl, half) as f32;
                let (new_xl, new_l2) = (others_xl + w * x * level, others_l2 + w * level * level);
                let better =
                    others_xl > 0.0 && level != l && new_l2 > 0.0 && new_xl * new_xl * l2[lane] > xl[lane] * xl[lane] * new_l2;
                if better {
                    (levels.0[i][lane], xl[lane], l2[lane]) = (level, new_xl, new_l2);
                    changed = true;
                }
            }
        }
        if !changed {
            break;
        }
    }
    let zero = |lane: usize| extremes[lane] == 0.0;
    let codes = Columns::from_fn(|i, lane| if zero(lane) { 0 } else { (levels.0[i][lane] as i32 + half) as u8 });
    (codes, from_fn(|lane| if l2[lane] > 0.0 && !zero(lane) { xl[lane] / l2[lane] } else { 0.0 }))
}

/// What distinguishes the uses of [`affine_fit`].
pub(super) struct AffineSearch {
    /// Candidate i has a step of (max - min) / (max code + first + i · step).
    pub first: f32,
    pub step: f32,
    /// The number of candidates less 1.
    pub last: i32,
    /// Whether |error| is summed rather than its square.
    pub absolute: bool,
    /// Whether (x - min) / step is clamped before it is rounded rather than after: the same unless it is beyond ±2²².
    pub clamp_first: bool,
}

/// With importances (`make_qkx3_quants`).
pub(super) const AFFINE_WEIGHTED: AffineSearch =
    AffineSearch { first: -0.9, step: 0.05, last: 36, absolute: false, clamp_first: true };

/// `x ≈ scale · code - min`; min is ≥ 0.
pub(super) struct AffineFit<const N: usize, const W: usize> {
    pub codes: Columns<N, W, u8>,
    pub scales: [f32; W],
    pub mins: [f32; W],
}

/// Codes, scales and minima: codes as they fall under each candidate step, for each the best scale and minimum of at most 0,
/// and of these the best. (`make_qkx2_quants`, `make_qkx3_quants`.) A candidate starts from the minimum that was best so far.
pub(super) fn affine_fit<const N: usize, const W: usize>(
    max_code: i32,
    search: &AffineSearch,
    x: &Columns<N, W>,
    weights: &Columns<N, W>,
) -> AffineFit<N, W> {
    let (mut min, mut max) = (x.0[0], x.0[0]);
    let mut sum_w = weights.0[0];
    let mut sum_x: [f32; W] = from_fn(|lane| weights.0[0][lane] * x.0[0][lane]);
    for i in 1..N {
        for lane in 0..W {
            let (x, w) = (x.0[i][lane], weights.0[i][lane]);
            min[lane] = if x < min[lane] { x } else { min[lane] };
            max[lane] = if x > max[lane] { x } else { max[lane] };
            sum_w[lane] += w;
            sum_x[lane] += w * x;
        }
    }
    min = min.map(|min| if min > 0.0 { 0.0 } else { min });
    let flat: [bool; W] = from_fn(|lane| max[lane] == min[lane]);
    let flat_min = min;

    let clamped = |x: f32| nearest(x).max(0).min(max_code) as f32;
    let error_of = |levels: &Columns<N, W>, scale: &[f32; W], min: &[f32; W]| {
        let mut error = [0.0; W];
        for i in 0..N {
            for lane in 0..W {
                let difference = scale[lane] * levels.0[i][lane] + min[lane] - x.0[i][lane];
                let loss = if search.absolute { difference.abs() } else { difference * difference };
                error[lane] += weights.0[i][lane] * loss;
            }
        }
        error
    };
    let inverse: [f32; W] = from_fn(|lane| max_code as f32 / (max[lane] - min[lane]));
    let mut scale = inverse.map(|inverse| 1.0 / inverse);
    let mut best = Columns::<N, W>::from_fn(|i, lane| clamped(inverse[lane] * (x.0[i][lane] - min[lane])));
    let mut best_error = error_of(&best, &scale, &min);
    let mut levels = best;
    for candidate in 0..=search.last {
        let steps = search.first + search.step * candidate as f32 + max_code as f32;
        let inverse: [f32; W] = from_fn(|lane| steps / (max[lane] - min[lane]));
        let (mut sum_l, mut sum_l2, mut sum_xl) = ([0.0; W], [0.0; W], [0.0; W]);
        for i in 0..N {
            for lane in 0..W {
                let (x, w) = (x.0[i][lane], weights.0[i][lane]);
                let level = inverse[lane] * (x - min[lane]);
                let l = if search.clamp_first {
                    let below_max = if level < max_code as f32 { level } else { max_code as f32 };
                    nearest(if level > 0.0 { below_max } else { 0.0 }) as f32
                } else {
                    clamped(level)
                };
                levels.0[i][lane] = l;
                sum_l[lane] += w * l;
                sum_l2[lane] += w * l * l;
                sum_xl[lane] += w * l * x;
            }
        }
        let (mut solvable, mut this_scale, mut this_min) = ([false; W], [0.0; W], [0.0; W]);
        for lane in 0..W {
            let determinant = sum_w[lane] * sum_l2[lane] - sum_l[lane] * sum_l[lane];
            solvable[lane] = determinant > 0.0;
            this_scale[lane] = (sum_w[lane] * sum_xl[lane] - sum_x[lane] * sum_l[lane]) / determinant;
            this_min[lane] = (sum_l2[lane] * sum_x[lane] - sum_l[lane] * sum_xl[lane]) / determinant;
            if this_min[lane] > 0.0 {
                this_min[lane] = 0.0;
                this_scale[lane] = sum_xl[lane] / sum_l2[lane];
            }
        }
        let error = error_of(&levels, &this_scale, &this_min);
        for lane in 0..W {
            if solvable[lane] && error[lane] < best_error[lane] {
                (best_error[lane], scale[lane], min[lane]) = (error[lane], this_scale[lane], this_min[lane]);
                for (best, levels) in best.0.iter_mut().zip(&levels.0) {
                    best[lane] = levels[lane];
                }
            }
        }
    }
    AffineFit {
        codes: Columns::from_fn(|i, lane| if flat[lane] { 0 } else { best.0[i][lane] as u8 }),
        scales: from_fn(|lane| if flat[lane] { 0.0 } else { scale[lane] }),
        mins: from_fn(|lane| if flat[lane] { -flat_min[lane] } else { -min[lane] }),
    }
}

/// Codes of at most `max_code` and a scale for the scales (or minima) of a super-block, which are ≥ 0: the best of nine steps,
/// then single codes moved as in [`symmetric_descent`]. (`make_qp_quants`.)
pub(super) fn scale_fit<const N: usize>(max_code: i32, x: &[f32; N], weights: &[f32; N]) -> ([u8; N], f32) {
    // Not `f32::max`, which skips NaN: a group whose squares overflow has a NaN for its scale.
    let max = x.iter().fold(0.0, |max, &x| if max > x { max } else { x });
    if max < ALL_ZERO {
        return ([0; N], 0.0);
    }
    let squared_error = |inverse: f32, codes: [f32; N]| {
        let scale = 1.0 / inverse;
        let mut sum = 0.0;
        for ((x, w), code) in x.iter().zip(weights).zip(codes) {
            let difference = x - scale * code;
            sum += w * difference * difference;
        }
        sum
    };
    let at_most = |x: f32| nearest(x).min(max_code);
    let mut inverse = max_code as f32 / max;
    let mut best = squared_error(inverse, x.map(|x| f32::from(nearest(inverse * x) as u8)));
    for step in (-4..=4).filter(|&step| step != 0) {
        let candidate = (0.1 * step as f32 + max_code as f32) / max;
        let error = squared_error(candidate, x.map(|x| at_most(candidate * x) as f32));
        if error < best {
            (best, inverse) = (error, candidate);
        }
    }
    let (mut codes, mut xl, mut l2) = ([0_u8; N], 0.0, 0.0);
    for ((code, x), w) in codes.iter_mut().zip(x).zip(weights) {
        let level = at_most(inverse * x);
        *code = level as u8;
        xl += w * x * level as f32;
        l2 += w * level as f32 * level as f32;
    }
    for _pass in 0..5 {
        let mut changed = false;
        for ((code, x), w) in codes.iter_mut().zip(x).zip(weights) {
            let level = f32::from(*code);
            let (others_xl, others_l2) = (xl - w * x * level, l2 - w * level * level);
            if !(others_xl > 0.0 && others_l2 > 0.0) {
                continue;
            }
            let level = at_most(x * others_l2 / others_xl);
            if level == i32::from(*code) {
                continue;
            }
            let new_xl = others_xl + w * x * level as f32;
            let new_l2 = others_l2 + w * level as f32 * level as f32;
            if new_xl * new_xl * l2 > xl * xl * new_l2 {
                (*code, xl, l2, changed) = (level as u8, new_xl, new_l2, true);
            }
        }
        if !changed {
            break;
        }
    }
    (codes, if l2 > 0.0 { xl / l2 } else { 0.0 })
}
