//! The searches against brute force.

use crate::codebook_search::optimal_levels;
use crate::divergence::kl_threshold;
use crate::optimum::{Grid, Optimum, TOLERANCE, best_of, optimal_scale, optimal_scale_and_zero_point};
use proptest::prelude::*;

/// splitmix64.
struct Draws(u64);

impl Draws {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / 9_007_199_254_740_992.0
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * (1.0 - self.uniform()).ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
    }

    fn below(&mut self, n: usize) -> usize {
        ((self.uniform() * n as f64) as usize).min(n - 1)
    }

    /// Normal, with heavy tails, all of one sign, on a lattice, or few distinct values.
    fn values(&mut self, n: usize) -> Vec<f64> {
        let kind = self.below(6);
        (0..n)
            .map(|_| match kind {
                0 => self.normal(),
                1 => self.normal() / (0.05 + self.uniform()),
                2 => self.normal().abs() + 1.0,
                3 => (self.normal() * 8.0).round() / 4.0,
                4 => self.below(3) as f64 - 1.7,
                _ => f64::from((self.normal() * 0.02) as f32) - 0.01,
            })
            .collect()
    }
}

fn minifloat(exponent_bits: i32, mantissa_bits: i32, max: f64) -> Vec<f64> {
    let bias = (1 << (exponent_bits - 1)) - 1;
    let mut levels = vec![0.0];
    for code in 1..1 << (exponent_bits + mantissa_bits) {
        let (exponent, mantissa) = (code >> mantissa_bits, f64::from(code % (1 << mantissa_bits)) / 2f64.powi(mantissa_bits));
        let level = if exponent == 0 { mantissa * 2f64.powi(1 - bias) } else { (1.0 + mantissa) * 2f64.powi(exponent - bias) };
        if level <= max {
            levels.extend([level, -level]);
        }
    }
    levels.sort_by(f64::total_cmp);
    levels
}

const NF4: [f64; 16] = [
    -1.0,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0.0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1.0,
];

fn integers(min: i32, max: i32) -> Vec<f64> {
    (min..=max).map(f64::from).collect()
}

/// Grids as lists; what is uniform is searched both ways.
fn grids() -> Vec<Vec<f64>> {
    vec![
        integers(-1, 1),
        integers(-2, 1),
        integers(-8, 7),
        integers(0, 3),
        integers(-3, 12),
        integers(-40, 87),
        NF4.to_vec(),
        minifloat(2, 1, 6.0),
        minifloat(3, 2, 28.0),
        minifloat(4, 3, 448.0),
        vec![-1.0, 1.0],
        vec![-5.0, -1.5, 0.25, 0.5, 7.0],
        vec![0.5, 1.0, 4.0],
    ]
}

fn nearest(levels: &[f64], y: f64) -> f64 {
    let above = levels.partition_point(|level| *level < y).min(levels.len() - 1);
    let (a, b) = (levels[above.saturating_sub(1)], levels[above]);
    if (y - a).abs() < (b - y).abs() { a } else { b }
}

/// ‖x - s q‖ₚ.
fn error(values: &[f64], levels: &[f64], scale: f64, p: f64) -> f64 {
    let sum: f64 = values.iter().map(|x| (x - scale * nearest(levels, x / scale)).abs().powf(p)).sum();
    sum.powf(1.0 / p)
}

/// Every breakpoint s = x/t, and on each piece the parabola's minimum.
fn brute_force(values: &[f64], levels: &[f64]) -> f64 {
    let mut breakpoints = Vec::new();
    for x in values {
        for pair in levels.windows(2) {
            let s = x / ((pair[0] + pair[1]) / 2.0);
            if s > 0.0 && s.is_finite() {
                breakpoints.push(s);
            }
        }
    }
    breakpoints.sort_by(f64::total_cmp);
    let (Some(first), Some(last)) = (breakpoints.first(), breakpoints.last()) else {
        return values.iter().map(|x| x * x).sum::<f64>().sqrt();
    };
    let mut middles = vec![first / 2.0, last * 2.0];
    middles.extend(breakpoints.windows(2).map(|pair| (pair[0] + pair[1]) / 2.0));
    let mut least = values.iter().map(|x| x * x).sum::<f64>().sqrt();
    for middle in middles {
        let (mut xq, mut qq) = (0.0, 0.0);
        for x in values {
            let q = nearest(levels, x / middle);
            xq += x * q;
            qq += q * q;
        }
        if xq > 0.0 {
            least = least.min(error(values, levels, xq / qq, 2.0));
        }
    }
    least
}

/// The error of what was found; of storing zeros if nothing was.
fn error_of(found: Option<Optimum>, values: &[f64], levels: &[f64], p: f64) -> f64 {
    found.map_or_else(
        || values.iter().map(|x| x.abs().powf(p)).sum::<f64>().powf(1.0 / p),
        |found| error(values, levels, found.scale, p),
    )
}

fn size(values: &[f64]) -> f64 {
    values.iter().map(|x| x * x).sum::<f64>().sqrt()
}

#[test]
fn the_scale_is_the_best_of_all_pieces() {
    let mut draws = Draws(1);
    for round in 0..40 {
        for levels in grids() {
            let n = [1, 2, 5, 16, 40][round % 5];
            let values = draws.values(n);
            let least = brute_force(&values, &levels);
            let found = optimal_scale(&values, Grid::Listed(&levels), 2.0);
            let got = error_of(found, &values, &levels, 2.0);
            assert!(got <= least * (1.0 + 1e-12) + 1e-13 * size(&values), "{got} > {least}: {levels:?} {values:?} {found:?}");
            assert!(found.is_none_or(|found| found.gap == 0.0));
            let whole = levels.windows(2).all(|pair| pair[1] - pair[0] == 1.0) && levels[0].fract() == 0.0;
            if whole {
                let grid = Grid::Uniform { min: levels[0] as i32, max: levels[levels.len() - 1] as i32 };
                let got = error_of(optimal_scale(&values, grid, 2.0), &values, &levels, 2.0);
                assert!(got <= least * (1.0 + 1e-12) + 1e-13 * size(&values));
            }
        }
    }
}

#[test]
fn no_scale_of_a_hundred_thousand_is_better() {
    let mut draws = Draws(2);
    for (levels, n) in [
        (integers(-128, 127), 50),
        (integers(-8, 7), 20),
        (integers(-8, 7), 300),
        (NF4.to_vec(), 100),
        (minifloat(4, 3, 448.0), 50),
        (minifloat(2, 1, 6.0), 100),
    ] {
        let values = draws.values(n);
        let largest = values.iter().fold(0.0_f64, |largest, x| largest.max(x.abs()));
        let top = levels.iter().fold(0.0_f64, |top, level| top.max(level.abs()));
        let found = optimal_scale(&values, Grid::Listed(&levels), 2.0).unwrap();
        let best = error(&values, &levels, found.scale, 2.0);
        for step in 0..100_000 {
            let scale = largest / top * (0.01 + 3.0 * f64::from(step) / 100_000.0);
            let other = error(&values, &levels, scale, 2.0);
            assert!(best <= other * (1.0 + 1e-12), "{scale}: {other} < {best} at {}", found.scale);
        }
    }
}

/// The values are those of many at once: both ways to measure a scale, by threshold and by value, are used.
#[test]
fn bounds_lose_nothing_on_many_values() {
    let mut draws = Draws(3);
    for n in [100, 1000, 3000] {
        for levels in [integers(-8, 7), NF4.to_vec(), minifloat(3, 2, 28.0), integers(0, 15), integers(-30, 97)] {
            let values = draws.values(n);
            // Every piece in O(1): the codes' sums are kept up to date from breakpoint to breakpoint.
            let mut events = Vec::new();
            for x in &values {
                for pair in levels.windows(2) {
                    let t = (pair[0] + pair[1]) / 2.0;
                    if x * t > 0.0 {
                        let change = (pair[1] - pair[0]) * t.signum();
                        events.push((t / x, change * x, (pair[1] * pair[1] - pair[0] * pair[0]) * t.signum()));
                    }
                }
            }
            events.sort_by(|a, b| a.0.total_cmp(&b.0));
            let start = events[0].0 / 2.0;
            let mut xq: f64 = values.iter().map(|x| x * nearest(&levels, x * start)).sum();
            let mut qq: f64 = values.iter().map(|x| nearest(&levels, x * start).powi(2)).sum();
            let (mut gain, mut scale) = (0.0, 0.0);
            for event in events {
                xq += event.1;
                qq += event.2;
                if xq > 0.0 && xq * xq / qq > gain {
                    (gain, scale) = (xq * xq / qq, xq / qq);
                }
            }
            let found = optimal_scale(&values, Grid::Listed(&levels), 2.0);
            let (got, least) = (error_of(found, &values, &levels, 2.0), error(&values, &levels, scale, 2.0));
            assert!(got <= least * (1.0 + 1e-11) + 1e-13 * size(&values), "{got} {least} {scale} {found:?}");
        }
    }
}

#[test]
fn the_zero_point_is_the_best_of_all() {
    let mut draws = Draws(4);
    for round in 0..60 {
        let values = draws.values([1, 3, 20, 60, 400][round % 5]);
        let (low, high) = [(0, 15), (0, 3), (-8, 7), (0, 63), (-4, 3), (0, 255)][round % 6];
        let found = optimal_scale_and_zero_point(&values, low, high, 2.0);
        let mut least = f64::INFINITY;
        for z in low..=high {
            let grid = Grid::Uniform { min: (low - z) as i32, max: (high - z) as i32 };
            let levels = integers((low - z) as i32, (high - z) as i32);
            least = least.min(error_of(optimal_scale(&values, grid, 2.0), &values, &levels, 2.0));
        }
        let z = found.map_or(low, |found| found.zero_point);
        assert!((low..=high).contains(&z));
        let got = error_of(found, &values, &integers((low - z) as i32, (high - z) as i32), 2.0);
        assert!(got <= least * (1.0 + 1e-12) + 1e-13 * size(&values), "{got} {least} {found:?} {values:?}");
    }
}

#[test]
fn other_norms_are_within_tolerance() {
    let mut draws = Draws(5);
    for (round, p) in [1.0, 1.0, 1.5, 2.4, 3.0, 4.0, 8.0, 1.0, 2.4, 16.0].into_iter().enumerate() {
        for levels in [integers(-8, 7), integers(0, 15), NF4.to_vec(), minifloat(2, 1, 6.0), integers(-128, 127)] {
            let values = draws.values([1, 7, 50, 300][round % 4]);
            let largest = values.iter().fold(0.0_f64, |largest, x| largest.max(x.abs()));
            let top = levels.iter().fold(0.0_f64, |top, level| top.max(level.abs()));
            let found = optimal_scale(&values, Grid::Listed(&levels), p);
            let best = error_of(found, &values, &levels, p);
            for step in 0..20_000 {
                let scale = largest / top * 20.0 * (f64::from(step + 1) / 20_000.0).powi(3);
                let other = error(&values, &levels, scale, p);
                assert!(best <= other * (1.0 + TOLERANCE) + 1e-12 * largest, "p {p}: {other} < {best}, {scale} {found:?}");
            }
        }
    }
}

#[test]
fn other_norms_find_the_best_zero_point() {
    let mut draws = Draws(6);
    for p in [1.0, 2.4, 4.0] {
        for n in [5, 60] {
            let values = draws.values(n);
            let found = optimal_scale_and_zero_point(&values, 0, 15, p).unwrap();
            let z = found.zero_point as i32;
            let got = error(&values, &integers(-z, 15 - z), found.scale, p);
            for z in 0..16 {
                let levels = integers(-z, 15 - z);
                let other = error_of(optimal_scale(&values, Grid::Listed(&levels), p), &values, &levels, p);
                assert!(got <= other * (1.0 + TOLERANCE) + 1e-12 * size(&values));
            }
        }
    }
}

/// The bound for p = 2 and the general one meet where both apply: a norm next to 2.
#[test]
fn norms_next_to_two_agree_with_two() {
    let values = Draws(7).values(500);
    let grid = Grid::Uniform { min: -8, max: 7 };
    let (exact, near) = (optimal_scale(&values, grid, 2.0).unwrap(), optimal_scale(&values, grid, 2.000_000_1).unwrap());
    let levels = integers(-8, 7);
    let (a, b) = (error(&values, &levels, exact.scale, 2.0), error(&values, &levels, near.scale, 2.0));
    assert!(a <= b && b <= a * (1.0 + 3e-6));
}

#[test]
fn degenerate_values() {
    let int8 = Grid::Uniform { min: -127, max: 127 };
    for p in [1.0, 2.0, 2.4] {
        assert_eq!(optimal_scale(&[], int8, p), None);
        assert_eq!(optimal_scale(&[0.0, -0.0], int8, p), None);
        assert_eq!(optimal_scale_and_zero_point(&[0.0; 4], 0, 255, p), None);
        // Of the scales that store them without error, the one that clips nothing.
        assert_eq!(optimal_scale(&[3.0], int8, p).unwrap().scale, 3.0 / 127.0);
        assert_eq!(optimal_scale(&[-3.0; 100], int8, p).unwrap().scale, 3.0 / 127.0);
        let constant = optimal_scale_and_zero_point(&[3.0; 5], 0, 255, p).unwrap();
        assert_eq!((constant.scale, constant.zero_point), (3.0 / 255.0, 0));
        let constant = optimal_scale_and_zero_point(&[-3.0; 5], 0, 255, p).unwrap();
        assert_eq!((constant.scale, constant.zero_point), (3.0 / 255.0, 255));
        // A sign that the grid lacks.
        assert_eq!(optimal_scale(&[-1.0, -2.0], Grid::Uniform { min: 0, max: 15 }, 2.0), None);
        assert_eq!(optimal_scale(&[1.0], Grid::Uniform { min: 0, max: 0 }, p), None);
        assert_eq!(optimal_scale(&[1.0], Grid::Listed(&[]), p), None);
    }
    assert_eq!(optimal_scale(&[1.0], int8, 0.5), None);
    assert_eq!(optimal_scale(&[1.0], int8, f64::NAN), None);
    assert_eq!(optimal_scale_and_zero_point(&[1.0], 3, 3, 2.0), None);
    // One level: the least-squares fit.
    assert_eq!(optimal_scale(&[1.0, 2.0], Grid::Listed(&[3.0]), 2.0).unwrap().scale, 0.5);
    // A scale that f64 does not have.
    assert_eq!(optimal_scale(&[1e300], Grid::Listed(&[-1e-300, 1e-300]), 2.0), None);
    assert_eq!(optimal_scale(&[5e-324], int8, 2.0), None);
    for size in [1e-300, 1e300, f64::MIN_POSITIVE, f64::MAX] {
        let found = optimal_scale(&[size, -size * 0.317, size * 0.0131, 0.0], int8, 2.0).unwrap();
        let one = optimal_scale(&[1.0, -0.317, 0.0131, 0.0], int8, 2.0).unwrap();
        assert!((found.scale / size / one.scale - 1.0).abs() < 1e-9);
    }
    // Magnitudes that share no bits.
    assert!(optimal_scale(&[1e-300, 1.0, -1e-200, 1e-5], int8, 2.0).is_some());
    assert!(optimal_scale(&[1e-300, 1.0, -1e-200, 1e-5], int8, 1.0).is_some());
    assert!(optimal_scale_and_zero_point(&[1e-300, 1.0, -1e-200, 1e-5], 0, 255, 2.0).is_some());
}

#[test]
fn powers_of_two_scale_the_result_and_order_does_not_matter() {
    let mut draws = Draws(8);
    for p in [1.0, 2.0, 3.0] {
        let values = draws.values(300);
        let mut turned = values.clone();
        turned.rotate_left(77);
        turned.reverse();
        let times = |k: i32| values.iter().map(|x| x * 2f64.powi(k)).collect::<Vec<f64>>();
        for grid in [Grid::Uniform { min: -8, max: 7 }, Grid::Listed(&NF4)] {
            let found = optimal_scale(&values, grid, p).unwrap();
            assert_eq!(optimal_scale(&turned, grid, p), Some(found));
            for k in [-900, -3, 11, 900] {
                assert_eq!(optimal_scale(&times(k), grid, p).unwrap().scale, found.scale * 2f64.powi(k));
            }
        }
        let found = optimal_scale_and_zero_point(&values, 0, 15, p).unwrap();
        assert_eq!(optimal_scale_and_zero_point(&turned, 0, 15, p), Some(found));
        let scaled = optimal_scale_and_zero_point(&times(9), 0, 15, p).unwrap();
        assert_eq!((scaled.scale, scaled.zero_point), (found.scale * 512.0, found.zero_point));
        assert_eq!(optimal_levels(&turned, 9), optimal_levels(&values, 9));
        let levels: Vec<f64> = optimal_levels(&values, 9).iter().map(|level| level * 512.0).collect();
        assert_eq!(optimal_levels(&times(9), 9), levels);
        assert_eq!(kl_threshold(&turned, 8), kl_threshold(&values, 8));
        assert_eq!(kl_threshold(&times(9), 8), kl_threshold(&values, 8).map(|t| t * 512.0));
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    let mut draws = Draws(9);
    let values: Vec<f64> = (0..100_000).map(|_| draws.normal()).collect();
    let run = || {
        (
            optimal_scale(&values, Grid::Uniform { min: -8, max: 7 }, 2.0),
            optimal_scale(&values, Grid::Uniform { min: -8, max: 7 }, 3.0),
            optimal_scale_and_zero_point(&values, 0, 15, 2.0),
            optimal_levels(&values, 8),
        )
    };
    let on = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(run);
    let one = on(1);
    for threads in [2, 3, 8] {
        assert_eq!(on(threads), one);
    }
}

#[test]
fn the_best_of_candidates() {
    let mut draws = Draws(10);
    for levels in grids() {
        let values = draws.values(50);
        for p in [1.0, 2.0, 2.4] {
            let candidates: Vec<f64> = (-20..20).map(|k| 2f64.powi(k)).collect();
            let found = best_of(&values, Grid::Listed(&levels), candidates.iter().copied(), p).unwrap();
            let least = candidates
                .iter()
                .map(|scale| error(&values, &levels, *scale, p))
                .fold(f64::INFINITY, |least, error| least.min(error));
            assert!(error(&values, &levels, found, p) <= least * (1.0 + 1e-12) + 1e-14 * size(&values));
        }
    }
    // Equal errors: the larger.
    assert_eq!(best_of(&[1.0], Grid::Uniform { min: -8, max: 7 }, [0.25, 1.0, 0.5].into_iter(), 2.0), Some(1.0));
    assert_eq!(best_of(&[1.0], Grid::Uniform { min: -8, max: 7 }, [f64::NAN, -1.0, 0.0, f64::INFINITY].into_iter(), 2.0), None);
    assert_eq!(best_of(&[0.0], Grid::Uniform { min: -8, max: 7 }, [1.0].into_iter(), 2.0), None);
}

fn squared(values: &[f64], levels: &[f64]) -> f64 {
    error(values, levels, 1.0, 2.0).powi(2)
}

#[test]
fn the_codebook_is_the_best_partition() {
    fn least(sorted: &[f64], k: usize) -> f64 {
        let spread = |run: &[f64]| {
            let mean = run.iter().sum::<f64>() / run.len() as f64;
            run.iter().map(|x| (x - mean).powi(2)).sum::<f64>()
        };
        if k == 1 || sorted.len() <= 1 {
            return spread(sorted);
        }
        (1..sorted.len()).map(|cut| spread(&sorted[..cut]) + least(&sorted[cut..], k - 1)).fold(spread(sorted), f64::min)
    }
    let mut draws = Draws(11);
    for round in 0..100 {
        let mut values = draws.values(2 + round % 11);
        values.sort_by(f64::total_cmp);
        for k in 1..=4 {
            let levels = optimal_levels(&values, k);
            let (got, least) = (squared(&values, &levels), least(&values, k));
            assert!(levels.len() <= k && levels.is_sorted());
            assert!(got <= least * (1.0 + 1e-11) + 1e-26 * size(&values).powi(2), "{k} {got} {least} {values:?}");
        }
    }
}

#[test]
fn lloyd_never_does_better() {
    let mut draws = Draws(12);
    for k in [2, 5, 16] {
        let values = draws.values(2000);
        let best = squared(&values, &optimal_levels(&values, k));
        for _ in 0..10 {
            let mut levels: Vec<f64> = (0..k).map(|_| values[draws.below(2000)]).collect();
            for _ in 0..50 {
                levels.sort_by(f64::total_cmp);
                let mut sums = vec![(0.0, 0.0); k];
                for x in &values {
                    let nearest = nearest(&levels, *x);
                    let index = levels.partition_point(|level| *level < nearest);
                    sums[index] = (sums[index].0 + x, sums[index].1 + 1.0);
                }
                for (level, (sum, count)) in levels.iter_mut().zip(sums) {
                    *level = if count > 0.0 { sum / count } else { *level };
                }
            }
            levels.sort_by(f64::total_cmp);
            assert!(best <= squared(&values, &levels) * (1.0 + 1e-11) + 1e-26);
        }
    }
}

#[test]
fn codebooks_of_few_or_distant_values() {
    assert_eq!(optimal_levels(&[], 4), [] as [f64; 0]);
    assert_eq!(optimal_levels(&[1.0], 0), [] as [f64; 0]);
    assert_eq!(optimal_levels(&[0.0, -0.0], 3), [0.0]);
    assert_eq!(optimal_levels(&[2.0, -1.0, 2.0], 2), [-1.0, 2.0]);
    assert_eq!(optimal_levels(&[2.0, -1.0, 2.0], 1), [1.0]);
    assert_eq!(optimal_levels(&[1e300, 1e300, -1e300, 5.0], 3), [-1e300, 5.0, 1e300]);
    assert_eq!(optimal_levels(&[1e-320, 3e-320, 9e-320], 2).len(), 2);
    // A mean that is far from 0 costs no digits.
    let values: Vec<f64> = (0..4000).map(|i| 1e9 + f64::from(i % 4) + f64::from(i % 7) / 16.0).collect();
    let levels = optimal_levels(&values, 4);
    for (level, at) in levels.iter().zip(0..4) {
        assert!((level - (1e9 + f64::from(at) + 3.0 / 16.0)).abs() < 0.01);
    }
}

#[test]
fn the_entropy_threshold_is_tensorrts() {
    /// The procedure of the slides, literally, with the bins of each part listed.
    fn naive(magnitudes: &[f64], levels: usize) -> (f64, Vec<f64>) {
        let largest = magnitudes.iter().fold(0.0_f64, |largest, x| largest.max(*x));
        let bins = 2048;
        let mut counts = vec![0.0; bins];
        for x in magnitudes.iter().filter(|x| **x > 0.0) {
            counts[((x / largest * bins as f64) as usize).min(bins - 1)] += 1.0;
        }
        let (mut least, mut at, mut all) = (f64::INFINITY, bins, vec![f64::INFINITY; bins + 1]);
        for i in (levels..=bins).rev() {
            let mut p = counts[..i].to_vec();
            p[i - 1] += counts[i..].iter().sum::<f64>();
            let mut q = vec![0.0; i];
            for part in 0..levels {
                let range = part * i / levels..(part + 1) * i / levels;
                let nonzero = p[range.clone()].iter().filter(|p| **p > 0.0).count() as f64;
                let mass: f64 = counts[range.clone()].iter().sum();
                for bin in range {
                    q[bin] = if p[bin] > 0.0 { mass / nonzero } else { 0.0 };
                }
            }
            let (p_sum, q_sum): (f64, f64) = (p.iter().sum(), q.iter().sum());
            let mut divergence = 0.0;
            for (p, q) in p.iter().zip(&q).filter(|(p, _)| **p > 0.0) {
                divergence += p / p_sum * ((p / p_sum) / (q / q_sum)).ln();
            }
            all[i] = divergence;
            if divergence < least - 1e-12 {
                (least, at) = (divergence, i);
            }
        }
        (largest * (at as f64 / bins as f64), all)
    }
    let mut draws = Draws(13);
    for (n, levels) in [(3, 8), (40, 8), (500, 8), (5000, 128), (20_000, 8), (300, 128), (3000, 1), (2000, 100)] {
        let mut magnitudes: Vec<f64> = (0..n).map(|_| draws.normal().abs()).collect();
        magnitudes[0] = 20.0;
        let (threshold, divergences) = naive(&magnitudes, levels);
        let got = kl_threshold(&magnitudes, levels).unwrap();
        let index = |t: f64| (t / 20.0 * 2048.0).round() as usize;
        assert!((divergences[index(got)] - divergences[index(threshold)]).abs() < 1e-11, "{n} {levels}: {got} {threshold}");
    }
    // One outlier at 50: the whole range with as many bins as levels, a tenth of it here.
    let mut magnitudes: Vec<f64> = (0..100_000).map(|_| draws.normal().abs()).collect();
    magnitudes.push(50.0);
    let threshold = kl_threshold(&magnitudes, 128).unwrap();
    assert!((3.0..8.0).contains(&threshold), "{threshold}");
    assert_eq!(kl_threshold(&[], 128), None);
    assert_eq!(kl_threshold(&[0.0], 128), None);
    assert_eq!(kl_threshold(&[1.0], 0), None);
    assert_eq!(kl_threshold(&[3.0; 7], 128), Some(3.0));
    assert_eq!(kl_threshold(&[1.0, 2.0, 3.0], 128), Some(3.0));
    assert!(kl_threshold(&[5e-324, 1e-310], 8).is_some());
    assert!(kl_threshold(&[f64::MAX, 1.0], 8).is_some());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn nothing_beats_the_optimum(
        values in prop::collection::vec(prop_oneof![-1.0..1.0, -100.0..100.0, Just(0.0), Just(0.5)], 1..60),
        levels in prop::collection::btree_set(-64_i32..64, 1..20),
        factor in 0.01_f64..4.0,
    ) {
        let levels: Vec<f64> = levels.into_iter().map(|level| f64::from(level) / 8.0).collect();
        let found = optimal_scale(&values, Grid::Listed(&levels), 2.0);
        let got = error_of(found, &values, &levels, 2.0);
        let least = brute_force(&values, &levels);
        prop_assert!(got <= least * (1.0 + 1e-12) + 1e-13 * size(&values), "{} {} {:?}", got, least, found);
        if let Some(found) = found {
            prop_assert!(got <= error(&values, &levels, found.scale * factor, 2.0) * (1.0 + 1e-12) + 1e-13 * size(&values));
        }
    }
}
