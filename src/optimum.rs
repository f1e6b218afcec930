//! The scale, or scale and zero point, with the least error: x is stored as s · q, q the nearest value of a grid to x/s.
//!
//! Which code is nearest depends on u = 1/s alone, and changes only where u · x passes a threshold, halfway between two
//! values of the grid. Between those breakpoints the squared error is a parabola in s, so the best scale can be found exactly,
//! but a million values on 8 bits have 10⁸ breakpoints and the error has a local minimum at most of them. So the scales are
//! searched by branch and bound: a cell is a range of u; a bound says what no scale of it can do better than; the cell with
//! the lowest bound is split, or swept breakpoint by breakpoint when few are left in it; and the search ends when the lowest
//! bound is no better than the best scale met. With zero points a cell is a range of them too: the union of their grids
//! does at least as well as each of them.
//!
//! [`squared`] has the bound for squares, [`norm`] that for every other exponent.

mod levels;
mod norm;
mod squared;

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use levels::Levels;
use norm::Norm;
use squared::Squared;

use crate::binary::scaled;
use crate::sample::Sample;
use crate::sorted::Sorted;

/// The values that codes stand for, at scale 1.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Grid<'a> {
    /// The whole numbers min to max: codes less their zero point.
    Uniform { min: i32, max: i32 },
    /// Finite values, rising. Magnitudes within a factor 2¹⁰⁰ of each other count; a float format has 2⁴⁵ at most.
    Listed(&'a [f64]),
}

/// What a search found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Optimum {
    /// In units of the data.
    pub(crate) scale: f64,
    /// 0 where it was not searched for.
    pub(crate) zero_point: i64,
    /// How far the error ‖x - s · q‖ₚ may be above the least possible one, relative to that one. 0 if the search came to its
    /// end with p = 2: then nothing is lost but rounding, 10⁻¹³. At most [`TOLERANCE`] if it came to its end with another p.
    /// More where it gave up, after [`WORK`] steps; ∞ where it then knows no bound at all.
    pub(crate) gap: f64,
}

/// How far above the least possible error, relative to it, a search with p ≠ 2 may end.
pub(crate) const TOLERANCE: f64 = 1e-6;

/// The largest exponent of a norm: beyond it powers of small errors underflow.
pub(crate) const MAX_EXPONENT: f64 = 32.0;

/// After how many steps, each a value or a threshold looked at, a search returns the best scale it has met: some ten seconds.
/// With p = 2, grids of up to 2¹² values stay below it.
const WORK: f64 = 2_147_483_648.0;

/// Errors that differ by less, relative to them, are equal: of the scales met the first is kept. The first scale met is the
/// one that just avoids clipping, so a block that several scales store without error gets that one.
const SAME: f64 = 1e-13;

/// u · x beyond this, in multiples of the largest level and of the largest x: s · q is then too small to change any error.
const FAR: f64 = 1_267_650_600_228_229_401_496_703_205_376.0;

/// The s > 0 with the least ‖x - s · q(x/s)‖ₚ, p from 1 to [`MAX_EXPONENT`]. The global minimum over all s > 0, to rounding
/// for p = 2 and to [`TOLERANCE`] for others; see [`Optimum::gap`].
///
/// None where no scale beats storing 0 for everything by more than rounding (no values, only zeros, a sign that the grid lacks),
/// where the best scale is not a positive f64, and for p out of range. The data may have any finite magnitude.
///
/// Every sum runs over the sorted values in one order: the result is the same bits for every number of threads and every
/// order of the values, and data times 2ᵏ gives the scale times 2ᵏ.
///
/// Cost for n values and L levels. p = 2: a sort, then some hundreds of steps of O(min(L log n, n log L)), and 10 to 15 bytes
/// a value. Other p: O(n log L) in each of some hundreds of steps.
///
/// In milliseconds on two cores of 2.8 GHz, p = 2, normal values: 2²⁰ values on int4 70, int8 120, E4M3 500; the same in blocks of
/// 32 (one thread) on int4 500, int8 3500, in blocks of 64 on NF4 600; with zero point, uint8, 2¹² values 13 and 2²⁰ values 350.
/// 2²⁰ values on 12 bits take 4 s; on 16 bits and f16 the search gives up. p = 1: 2¹² values on int8 60, 2²⁰ on int4 4000;
/// 2²⁰ on int8 with p ≠ 2 gives up as a rule.
pub(crate) fn optimal_scale<'a>(values: impl Into<Sample<'a, f64>>, grid: Grid, p: f64) -> Option<Optimum> {
    let data = Sorted::new(values)?;
    let (mut listed, mut thresholds) = (Vec::new(), Vec::new());
    let (levels, levels_exponent) = Levels::of(grid, &mut listed, &mut thresholds)?;
    let optimum = optimum(&data, Family::Fixed(levels), p)?;
    in_units(optimum, data.exponent() - levels_exponent)
}

/// The s > 0 and whole z in quant_min to quant_max with the least ‖x - s · (q - z)‖ₚ, q = clamp(round(x/s) + z, quant_min,
/// quant_max): the global minimum over both. Otherwise as [`optimal_scale`].
///
/// Cost: most zero points are discarded many at a time, by bounds: 8 bits take some three times as long as one symmetric grid.
pub(crate) fn optimal_scale_and_zero_point<'a>(
    values: impl Into<Sample<'a, f64>>,
    quant_min: i64,
    quant_max: i64,
    p: f64,
) -> Option<Optimum> {
    if quant_min >= quant_max {
        return None;
    }
    let data = Sorted::new(values)?;
    let optimum = optimum(&data, Family::Shifted { quant_min, quant_max }, p)?;
    in_units(optimum, data.exponent())
}

/// The candidate s > 0 with the least ‖x - s · q(x/s)‖ₚ, p from 1 to [`MAX_EXPONENT`]; the largest of those with equal errors,
/// which clips least. For scales that are stored in few bits: powers of two, E4M3.
///
/// Candidates that are not positive, or 2¹⁰⁰ away from any use, are passed over; None if none is left, and for no values,
/// only zeros, and p out of range. Cost: a sort of the values, and O(min(L log n, n log L)) a candidate for p = 2, O(n log L)
/// for others.
pub(crate) fn best_of<'a>(
    values: impl Into<Sample<'a, f64>>,
    grid: Grid,
    candidates: impl Iterator<Item = f64>,
    p: f64,
) -> Option<f64> {
    let data = Sorted::new(values)?;
    let (mut listed, mut thresholds) = (Vec::new(), Vec::new());
    let (levels, levels_exponent) = Levels::of(grid, &mut listed, &mut thresholds)?;
    if !(1.0..=MAX_EXPONENT).contains(&p) {
        return None;
    }
    let mut best: Option<(f64, f64)> = None;
    for scale in candidates.filter(|scale| *scale > 0.0 && scale.is_finite()) {
        let u = 1.0 / scaled(scale, levels_exponent - data.exponent());
        if !(1.0 / FAR..=FAR * levels.magnitude()).contains(&u) {
            continue;
        }
        let error = if p == 2.0 { Squared(&data).at(levels, u).error() } else { Norm { data: &data, p }.at(levels, u).error() };
        if best.is_none_or(|(best_error, best_scale)| error < best_error || (error == best_error && scale > best_scale)) {
            best = Some((error, scale));
        }
    }
    best.map(|(_, scale)| scale)
}

/// The optimum of data and levels that powers of two were taken out of.
fn in_units(optimum: Optimum, exponent: i32) -> Option<Optimum> {
    let scale = scaled(optimum.scale, exponent);
    (scale > 0.0 && scale.is_finite()).then_some(Optimum { scale, ..optimum })
}

/// The grids that are searched: one, or one per zero point.
#[derive(Clone, Copy)]
enum Family<'a> {
    Fixed(Levels<'a>),
    Shifted { quant_min: i64, quant_max: i64 },
}

impl<'a> Family<'a> {
    /// The union of the grids of the zero points `first` to `last`.
    fn levels(self, (first, last): (i64, i64)) -> Levels<'a> {
        match self {
            Self::Fixed(levels) => levels,
            Self::Shifted { quant_min, quant_max } => Levels::uniform(quant_min - last, quant_max - first),
        }
    }

    fn zero_points(self) -> (i64, i64) {
        match self {
            Self::Fixed(_) => (0, 0),
            Self::Shifted { quant_min, quant_max } => (quant_min, quant_max),
        }
    }

    /// The smallest scale that clips nothing, and its zero point: what min-max calibration gives.
    fn min_max(self, data: &Sorted) -> (f64, i64) {
        let (low, high) = data.range();
        match self {
            Self::Fixed(levels) => {
                let (lowest, highest) = levels.range();
                let below = if low < 0.0 && lowest < 0.0 { low / lowest } else { 0.0 };
                let above = if high > 0.0 && highest > 0.0 { high / highest } else { 0.0 };
                (below.max(above), 0)
            }
            Self::Shifted { quant_min, quant_max } => {
                let (low, high) = (low.min(0.0), high.max(0.0));
                let scale = (high - low) / (quant_max - quant_min) as f64;
                (scale, (quant_min - (low / scale).round_ties_even() as i64).clamp(quant_min, quant_max))
            }
        }
    }
}

/// The error at one u, and what else its measure knows there.
trait Measured: Copy {
    fn u(&self) -> f64;
    /// At scale 1/u.
    fn error(&self) -> f64;
    /// A scale that is at least as good, with its error.
    fn better(&self) -> Option<(f64, f64)>;
}

/// An error to minimise.
trait Measure {
    type Point: Measured;
    /// At the scale 1/u.
    fn at(&self, levels: Levels, u: f64) -> Self::Point;
    /// No scale from 1/high.u to 1/low.u has a smaller error than this.
    fn bound(&self, levels: Levels, low: &Self::Point, high: &Self::Point) -> f64;
    /// Where it is cheap enough to look at every breakpoint between the two: a scale that is at least as good as every scale
    /// between them, and its error, or none if storing zeros is.
    fn sweep(&self, levels: Levels, low: &Self::Point, high: &Self::Point) -> Option<Option<(f64, f64)>>;
    /// The error of storing 0 for everything.
    fn error_of_zeros(&self) -> f64;
    /// How many steps [`Measure::at`] takes.
    fn work(&self, levels: Levels) -> f64;
    /// An error that is rounding alone.
    fn noise(&self) -> f64;
    /// The exponent that makes the error a norm.
    fn root(&self) -> f64;
    /// How far above the least norm, relative to it, a search may end.
    const TOLERANCE: f64;
}

/// A range of zero points and of u, ordered so that the lowest bound comes out of the heap first.
struct Cell<P> {
    bound: f64,
    zero_points: (i64, i64),
    low: P,
    high: P,
}

impl<P> PartialEq for Cell<P> {
    fn eq(&self, that: &Self) -> bool {
        self.cmp(that) == Ordering::Equal
    }
}
impl<P> Eq for Cell<P> {}
impl<P> PartialOrd for Cell<P> {
    fn partial_cmp(&self, that: &Self) -> Option<Ordering> {
        Some(self.cmp(that))
    }
}
impl<P> Ord for Cell<P> {
    fn cmp(&self, that: &Self) -> Ordering {
        that.bound.total_cmp(&self.bound)
    }
}

fn optimum(data: &Sorted, family: Family, p: f64) -> Option<Optimum> {
    if p == 2.0 {
        search(&Squared(data), data, family)
    } else if (1.0..=MAX_EXPONENT).contains(&p) {
        search(&Norm { data, p }, data, family)
    } else {
        None
    }
}

/// The best scale met so far.
struct Best {
    scale: f64,
    zero_point: i64,
    error: f64,
}

impl Best {
    fn offer(&mut self, measure: &impl Measure, found: Option<(f64, f64)>, zero_point: i64) {
        if let Some((scale, error)) = found
            && error < self.error - measure.noise().max(SAME * self.error)
        {
            *self = Self { scale, zero_point, error };
        }
    }
}

fn search<M: Measure>(measure: &M, data: &Sorted, family: Family) -> Option<Optimum> {
    let all = family.zero_points();
    let union = family.levels(all);
    let mut best = Best { scale: 0.0, zero_point: 0, error: measure.error_of_zeros() };
    let (scale, zero_point) = family.min_max(data);
    if scale > 0.0 {
        let point = measure.at(family.levels((zero_point, zero_point)), 1.0 / scale);
        best.offer(measure, Some((scale, point.error())), zero_point);
        best.offer(measure, point.better(), zero_point);
    }

    let mut work = 0.0;
    let mut cells = BinaryHeap::new();
    let (low, high) = breakpoints(data, union);
    let (low, high) = (measure.at(union, low), measure.at(union, high));
    // Outside of its ends no code changes, so with a fixed grid the ends speak for all that is beyond them.
    if all.0 == all.1 {
        best.offer(measure, low.better(), all.0);
        best.offer(measure, high.better(), all.0);
    }
    cells.push(Cell { bound: 0.0, zero_points: all, low, high });
    let mut gap = M::TOLERANCE;
    // Rounding makes bounds as uncertain as errors.
    let hopeless = |bound: f64, best: &Best| bound >= best.error - measure.noise().max(SAME.max(M::TOLERANCE) * best.error);
    while let Some(Cell { bound, zero_points, low, high }) = cells.pop() {
        if hopeless(bound, &best) {
            break;
        }
        if work > WORK {
            gap = (best.error / bound).powf(measure.root()) - 1.0;
            break;
        }
        let levels = family.levels(zero_points);
        let single = zero_points.0 == zero_points.1;
        let mut push = |best: &Best, zero_points: (i64, i64), low: M::Point, high: M::Point| {
            // The bound of the whole cell holds for its parts.
            let bound = measure.bound(family.levels(zero_points), &low, &high).max(bound);
            if !hopeless(bound, best) {
                cells.push(Cell { bound, zero_points, low, high });
            }
        };
        // Where the union of the grids itself does better than the best grid met, smaller ranges of u do not help.
        if !single && low.error().min(high.error()) < best.error {
            let middle = zero_points.0 + (zero_points.1 - zero_points.0) / 2;
            for half in [(zero_points.0, middle), (middle + 1, zero_points.1)] {
                let levels = family.levels(half);
                let (low, high) = (measure.at(levels, low.u()), measure.at(levels, high.u()));
                work += 3.0 * measure.work(levels);
                if half.0 == half.1 {
                    best.offer(measure, low.better(), half.0);
                    best.offer(measure, high.better(), half.0);
                } else {
                    let probed = half.0 + (half.1 - half.0) / 2;
                    let u = if low.error() < high.error() { low.u() } else { high.u() };
                    best.offer(measure, measure.at(family.levels((probed, probed)), u).better(), probed);
                }
                push(&best, half, low, high);
            }
            continue;
        }
        if single && let Some(found) = measure.sweep(levels, &low, &high) {
            work += measure.work(levels);
            best.offer(measure, found, zero_points.0);
            continue;
        }
        let wide = high.u() > 2.0 * low.u();
        let u = if wide { low.u().sqrt() * high.u().sqrt() } else { low.u() + (high.u() - low.u()) / 2.0 };
        if u <= low.u() || u >= high.u() {
            continue;
        }
        let point = measure.at(levels, u);
        work += measure.work(levels);
        if single {
            best.offer(measure, point.better(), zero_points.0);
        }
        push(&best, zero_points, low, point);
        push(&best, zero_points, point, high);
    }

    if best.scale <= 0.0 {
        return None;
    }
    // The sums of a sweep carry some rounding; these of the codes at its scale carry none that matters.
    for _ in 0..8 {
        let point = measure.at(family.levels((best.zero_point, best.zero_point)), 1.0 / best.scale);
        match point.better() {
            Some((scale, error)) if error < best.error => best = Best { scale, error, ..best },
            _ => break,
        }
    }
    Some(Optimum { scale: best.scale, zero_point: best.zero_point, gap })
}

/// A range of u that all changes of codes lie within.
fn breakpoints(data: &Sorted, levels: Levels) -> (f64, f64) {
    let (lowest, highest) = levels.threshold_magnitudes();
    let (smallest, largest) = data.magnitudes();
    let low = (lowest / largest).clamp(1.0 / FAR, FAR);
    (low / 2.0, (2.0 * highest / smallest).clamp(low, FAR * levels.magnitude().max(1.0)))
}
