//! Σ(x - s · q)², exactly.
//!
//! With u = 1/s, D(u) = Σ(ux - q)² and X = Σx², the error is D(u)/u². q is the code vector with the least D, so
//! X u² - D(u) = max over q of (2u Σxq - Σq²) is a maximum of straight lines, that is convex: between two u its chord is
//! above it. So for u₁ ≤ u ≤ u₂
//!
//! ```text
//! error(u) ≥ [chord of D - X (u - u₁)(u₂ - u)] / u²,
//! ```
//!
//! a parabola in 1/u whose minimum is a formula. What the bound is off by shrinks with the square of the range. From the
//! triangle inequality, |√D(u) - √D(u')| ≤ |u - u'| √X, would follow a bound that is off by its first power.
//!
//! D needs no pass over the values: in sorted data the values of a code are neighbours, so with sums of the values below each
//! rank, D is a sum over the thresholds. Large terms cancel there, hence [`DoubleDouble`]. Few values on many levels are
//! looked at one by one instead.

use super::levels::Levels;
use super::{Measure, Measured};
use crate::double_double::DoubleDouble;
use crate::sorted::Sorted;

pub(super) struct Squared<'a>(pub(super) &'a Sorted);

#[derive(Clone, Copy)]
pub(super) struct Point {
    u: f64,
    /// Σ(ux - q)², Σq(ux - q), Σq², of the codes at u.
    distance: f64,
    slope: f64,
    codes_squared: f64,
    /// How many breakpoints are below u, but for a constant.
    passed: f64,
}

impl Measured for Point {
    fn u(&self) -> f64 {
        self.u
    }

    fn error(&self) -> f64 {
        self.distance / (self.u * self.u)
    }

    /// The best scale for these codes, Σxq / Σq².
    fn better(&self) -> Option<(f64, f64)> {
        let step = self.slope / self.codes_squared;
        let scale = (1.0 + step) / self.u;
        (scale > 0.0).then(|| (scale, (self.distance - self.slope * step).max(0.0) / (self.u * self.u)))
    }
}

/// A u where the code of one value, or of several equal ones, changes.
struct Event {
    u: f64,
    rank: u32,
    threshold: u32,
}

/// How many breakpoints are worth sweeping, beside what measuring one u costs.
const FEW: f64 = 64.0;

impl Measure for Squared<'_> {
    type Point = Point;
    const TOLERANCE: f64 = 0.0;

    fn at(&self, levels: Levels, u: f64) -> Point {
        if self.by_threshold(levels) { self.at_by_threshold(levels, u) } else { self.at_by_value(levels, u) }
    }

    fn bound(&self, _: Levels, low: &Point, high: &Point) -> f64 {
        let (from, to, energy) = (low.u, high.u, self.0.energy().value());
        let rise = (high.distance - low.distance) / (to - from);
        // The bound is energy + linear · s + square · s², by s = 1/u.
        let linear = rise - energy * (from + to);
        let square = low.distance - rise * from + energy * from * to;
        let ends = low.error().min(high.error());
        let u = (-2.0 * square / linear).clamp(from, to);
        if u.is_nan() {
            return ends;
        }
        let chord = (low.distance * (to - u) + high.distance * (u - from)) / (to - from);
        ((chord - energy * (u - from) * (to - u)) / (u * u)).min(ends)
    }

    fn sweep(&self, levels: Levels, low: &Point, high: &Point) -> Option<Option<(f64, f64)>> {
        let few = FEW.max(self.work(levels) / 2.0);
        // A range that rounding does not allow to split is swept whatever it holds.
        let narrow = high.u - low.u <= 4.0 * f64::EPSILON * low.u;
        if high.passed - low.passed > few && !narrow {
            return None;
        }
        let mut events = self.events(levels, low.u, high.u);
        events.sort_unstable_by(|a, b| a.u.total_cmp(&b.u).then(a.threshold.cmp(&b.threshold)).then(a.rank.cmp(&b.rank)));

        // Around the scale at the lower end: ‖x - s q‖² = error - 2 (s - scale) slope + (s - scale)² square.
        let scale = 1.0 / low.u;
        let (mut error, mut slope, mut square) = (low.error(), low.slope * scale, low.codes_squared);
        let mut best = low.better();
        for event in events {
            let (threshold, index) = (levels.threshold(event.threshold as usize), event.threshold as usize);
            let value = self.0.values()[event.rank as usize];
            let width = (levels.level(index + 1) - levels.level(index)) * threshold.signum() * self.0.weight(event.rank as usize);
            error -= 2.0 * width * scale * (value - scale * threshold);
            slope += width * (value - 2.0 * scale * threshold);
            square += 2.0 * width * threshold;
            let step = slope / square;
            let found = error - slope * step;
            if scale + step > 0.0 && best.is_none_or(|(_, least)| found < least) {
                best = Some((scale + step, found.max(0.0)));
            }
        }
        Some(best)
    }

    fn error_of_zeros(&self) -> f64 {
        self.0.energy().value()
    }

    fn work(&self, levels: Levels) -> f64 {
        self.work_by_threshold(levels).min(self.work_by_value(levels))
    }

    fn noise(&self) -> f64 {
        1e-28 * self.0.energy().value()
    }

    fn root(&self) -> f64 {
        0.5
    }
}

impl Squared<'_> {
    fn work_by_threshold(&self, levels: Levels) -> f64 {
        levels.last() as f64 * (8.0 + (self.0.values().len() as f64).log2())
    }

    fn work_by_value(&self, levels: Levels) -> f64 {
        let search = match levels {
            Levels::Uniform { .. } => 0.0,
            Levels::Listed { thresholds, .. } => (thresholds.len().max(1) as f64).log2(),
        };
        self.0.values().len() as f64 * (6.0 + search)
    }

    fn by_threshold(&self, levels: Levels) -> bool {
        self.work_by_threshold(levels) < self.work_by_value(levels)
    }

    fn at_by_threshold(&self, levels: Levels, u: f64) -> Point {
        let (below, to_zero) = levels.thresholds_below_and_to_zero();
        let (low, high) = self.0.range();
        let (first, last) = (levels.nearest(u * low), levels.nearest(u * high));
        let len = self.0.values().len();
        // Thresholds that all values are beyond, on the side of 0 where values cross them.
        let beyond = first.saturating_sub(to_zero) + below.saturating_sub(last);
        let mut passed = (len * beyond) as f64;

        // Σxq and Σq², with the values of a code being those below its upper threshold less those below its lower.
        let (count, sum) = self.0.below(len);
        let mut codes_values = sum.times(levels.level(last));
        let mut codes_squared = DoubleDouble::default();
        let mut counted = 0.0;
        for index in first..last {
            let threshold = levels.threshold(index);
            let rank = self.0.rank(threshold / u);
            let (count, sum) = self.0.below(rank);
            let level = levels.level(index);
            codes_values = codes_values.add(sum.times(level - levels.level(index + 1)));
            codes_squared = codes_squared.add(DoubleDouble::product(level, level).times(count - counted));
            counted = count;
            passed += if threshold > 0.0 {
                (len - rank) as f64
            } else if threshold < 0.0 {
                rank as f64
            } else {
                0.0
            };
        }
        let level = levels.level(last);
        codes_squared = codes_squared.add(DoubleDouble::product(level, level).times(count - counted));
        let scaled = codes_values.times(u);
        let slope = scaled.add(codes_squared.negated());
        // u²X - 2uΣxq + Σq²
        let distance = self.0.energy().times(u).times(u).add(scaled.negated()).add(slope.negated());
        Point { u, distance: distance.value().max(0.0), slope: slope.value(), codes_squared: codes_squared.value(), passed }
    }

    fn at_by_value(&self, levels: Levels, u: f64) -> Point {
        let mut point = Point { u, distance: 0.0, slope: 0.0, codes_squared: 0.0, passed: 0.0 };
        for (rank, value) in self.0.values().iter().enumerate() {
            let weight = self.0.weight(rank);
            let y = DoubleDouble::product(u, *value);
            let index = levels.nearest(y.value());
            let level = levels.level(index);
            // On 2¹⁶ levels, rounding ux would leave 12 digits of the residual.
            let residual = (y.value() - level) + y.rest();
            point.distance += weight * residual * residual;
            point.slope += weight * level * residual;
            point.codes_squared += weight * level * level;
            point.passed += if *value > 0.0 {
                index as f64
            } else if *value < 0.0 {
                -(index as f64)
            } else {
                0.0
            };
        }
        point
    }

    /// The breakpoints from `low` to `high`, in no order, consistent with the codes that [`Measure::at`] sees at both.
    fn events(&self, levels: Levels, low: f64, high: f64) -> Vec<Event> {
        let mut events = Vec::new();
        let values = self.0.values();
        let event = |rank: usize, threshold: usize| Event {
            u: levels.threshold(threshold) / values[rank],
            rank: rank as u32,
            threshold: threshold as u32,
        };
        if self.by_threshold(levels) {
            let (least, most) = self.0.range();
            let first = levels.nearest(low * least).min(levels.nearest(high * least));
            let last = levels.nearest(low * most).max(levels.nearest(high * most));
            for index in first..last {
                let threshold = levels.threshold(index);
                if threshold != 0.0 {
                    let (a, b) = (self.0.rank(threshold / low), self.0.rank(threshold / high));
                    events.extend((a.min(b)..a.max(b)).map(|rank| event(rank, index)));
                }
            }
        } else {
            for (rank, value) in values.iter().enumerate().filter(|(_, value)| **value != 0.0) {
                let (a, b) = (levels.nearest(low * value), levels.nearest(high * value));
                events.extend((a.min(b)..a.max(b)).map(|index| event(rank, index)));
            }
        }
        events
    }
}
