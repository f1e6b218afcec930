//! (Σ|x - s · q|ᵖ)^(1/p) for p ≥ 1, to a tolerance.
//!
//! No code vector's error is a parabola here, and for p < 2 the error is not even smooth where x is on the grid. The bound for
//! a range of scales takes each value by itself. Where its code stays the same and it stays on one side of it, |x - s · q|ᵖ is
//! convex in s, and so at least its tangent at the middle of the range; all tangents add up to one straight line, whose lower
//! end counts. Where it meets a level, its least error is 0. Where it passes one threshold and meets no level, its error rises
//! and falls again, and is least at an end of the range. In a range of width h, a part of the values that is proportional to h
//! is not convex, and each is off by no more than h: together the bound is off by the square of h. The triangle inequality,
//! ‖e(s)‖ ≤ ‖e(s')‖ + |s - s'| ‖q(s')‖, is off by its first power.

use rayon::prelude::*;

use super::levels::Levels;
use super::{Measure, Measured, TOLERANCE};
use crate::sorted::Sorted;

pub(super) struct Norm<'a> {
    pub(super) data: &'a Sorted,
    pub(super) p: f64,
}

#[derive(Clone, Copy)]
pub(super) struct Point {
    u: f64,
    error: f64,
}

impl Measured for Point {
    fn u(&self) -> f64 {
        self.u
    }

    fn error(&self) -> f64 {
        self.error
    }

    fn better(&self) -> Option<(f64, f64)> {
        Some((1.0 / self.u, self.error))
    }
}

/// How many values are added up before their sum is added to the others': by rank, so that the bits do not depend on threads.
const CHUNK: usize = 1 << 14;

impl Measure for Norm<'_> {
    type Point = Point;
    const TOLERANCE: f64 = TOLERANCE;

    fn at(&self, levels: Levels, u: f64) -> Point {
        let scale = 1.0 / u;
        let [sum, _] = self.sums(|value| {
            let residual = (value - scale * levels.level(levels.nearest(u * value))).abs();
            [residual * self.power(residual), 0.0]
        });
        Point { u, error: sum.powf(self.root()) }
    }

    fn bound(&self, levels: Levels, low: &Point, high: &Point) -> f64 {
        // Rising s.
        let (from, to) = (1.0 / high.u, 1.0 / low.u);
        let (middle, half) = (from + (to - from) / 2.0, (to - from) / 2.0);
        let [sum, slope] = self.sums(|value| {
            let (i, j) = (levels.nearest(value * high.u), levels.nearest(value * low.u));
            let (at_from, at_to) = (levels.level(i), levels.level(j));
            let (a, b) = (value - from * at_from, value - to * at_to);
            if i == j {
                if a.is_sign_positive() != b.is_sign_positive() {
                    return [0.0, 0.0];
                }
                let signed = value - middle * at_from;
                let residual = signed.abs();
                let power = self.power(residual);
                return [residual * power, -self.p * power * at_from.copysign(at_from * signed)];
            }
            // From level to threshold to level without meeting one: away from the first, towards the second.
            let rises = at_to > at_from;
            if i.abs_diff(j) == 1 && (a > 0.0) == rises && (b < 0.0) == rises {
                let residual = a.abs().min(b.abs());
                [residual * self.power(residual), 0.0]
            } else {
                [0.0, 0.0]
            }
        });
        (sum - slope.abs() * half).max(0.0).powf(self.root()).min(low.error).min(high.error)
    }

    fn sweep(&self, _: Levels, _: &Point, _: &Point) -> Option<Option<(f64, f64)>> {
        None
    }

    fn error_of_zeros(&self) -> f64 {
        self.sums(|value| [value.abs() * self.power(value.abs()), 0.0])[0].powf(self.root())
    }

    fn work(&self, _: Levels) -> f64 {
        // One u and two bounds, each of the order of three steps of a search in sorted values.
        10.0 * self.data.values().len() as f64
    }

    fn noise(&self) -> f64 {
        1e-14 * self.data.energy().value().sqrt()
    }

    fn root(&self) -> f64 {
        1.0 / self.p
    }
}

impl Norm<'_> {
    /// |r|^(p - 1).
    #[inline(always)]
    fn power(&self, residual: f64) -> f64 {
        match self.p {
            1.0 => 1.0,
            3.0 => residual * residual,
            4.0 => residual * residual * residual,
            p => residual.powf(p - 1.0),
        }
    }

    /// The sums over all values of what the function says of each.
    fn sums(&self, of: impl Fn(f64) -> [f64; 2] + Sync) -> [f64; 2] {
        let chunk = |(index, values): (usize, &[f64])| {
            let mut sums = [0.0; 2];
            for (offset, value) in values.iter().enumerate() {
                let weight = self.data.weight(index * CHUNK + offset);
                let [a, b] = of(*value);
                sums[0] += weight * a;
                sums[1] += weight * b;
            }
            sums
        };
        let values = self.data.values();
        if values.len() <= CHUNK {
            return chunk((0, values));
        }
        let sums: Vec<[f64; 2]> = values.par_chunks(CHUNK).enumerate().map(chunk).collect();
        sums.iter().fold([0.0; 2], |total, sums| [total[0] + sums[0], total[1] + sums[1]])
    }
}
