//! Metrics against hand numbers and compensated sums, and the same bits however the data is cut.

use quantlens::{Metrics, MetricsAccumulator, Real, Synthetic, Tensor};

use crate::naive;

fn close(found: f64, expected: f64, relative: f64) {
    assert!((found - expected).abs() <= relative * expected.abs(), "{found} against {expected}");
}

#[test]
fn hand_numbers() {
    let x = Tensor::from_vec("x", vec![1.0, 2.0, -2.0, 4.0]).unwrap();
    let y = Tensor::from_vec("y", vec![1.5, 2.0, -1.0, 4.0]).unwrap();
    let m = Metrics::between(&x, &y).unwrap();
    assert_eq!(m.elements, 4);
    assert_eq!(m.mse, 1.25 / 4.0);
    assert_eq!(m.rmse, (1.25_f64 / 4.0).sqrt());
    assert_eq!(m.mae, 1.5 / 4.0);
    assert_eq!(m.max_abs_error, 1.0);
    assert_eq!(m.mean_error, -1.5 / 4.0);
    assert_eq!(m.relative_error, (1.25_f64 / 25.0).sqrt());
    assert_eq!(m.sqnr_db, 10.0 * 20_f64.log10());
    close(m.cosine, 23.5 / (25_f64.sqrt() * 23.25_f64.sqrt()), 1e-15);
}

#[test]
fn edges() {
    let metrics = |x: &[f64], y: &[f64]| {
        Metrics::between(&Tensor::from_slice("x", x).unwrap(), &Tensor::from_slice("y", y).unwrap()).unwrap()
    };
    let lossless = metrics(&[1.0, -2.0], &[1.0, -2.0]);
    assert_eq!((lossless.mse, lossless.sqnr_db, lossless.relative_error, lossless.cosine), (0.0, f64::INFINITY, 0.0, 1.0));
    for zero in [metrics(&[0.0, 0.0], &[0.0, 0.0]), metrics(&[0.0, -0.0], &[1.0, 0.0])] {
        assert!(zero.sqnr_db.is_nan() && zero.relative_error.is_nan() && zero.cosine.is_nan());
    }
    let lost = metrics(&[1.0, -2.0], &[0.0, 0.0]);
    assert_eq!((lost.sqnr_db, lost.relative_error), (0.0, 1.0));
    assert!(lost.cosine.is_nan());
    // Squares of the smallest and largest f32 are fine in f64.
    let tiny = Tensor::from_vec("x", vec![f32::from_bits(1), 0.0]).unwrap();
    let none = Tensor::from_vec("y", vec![0.0_f32, 0.0]).unwrap();
    assert_eq!(Metrics::between(&tiny, &none).unwrap().sqnr_db, 0.0);
    // The quotient of energies overflows; the ratio in decibels does not.
    let wide = metrics(&[127.0 * 2_f64.powi(400), 2_f64.powi(-400)], &[127.0 * 2_f64.powi(400), 0.0]);
    close(wide.sqnr_db, 20.0 * (127_f64.log10() + 800.0 * 2_f64.log10()), 1e-12);
    close(wide.relative_error, 2_f64.powi(-800) / 127.0, 1e-12);
    let huge = Tensor::from_vec("x", vec![f32::MAX, f32::MIN]).unwrap();
    assert!(Metrics::between(&huge, &none).unwrap().mse.is_finite());
}

/// Sixteen million values, the error a sawtooth as quantization's is.
fn large<T: Real>() -> (Vec<T>, Vec<T>) {
    let n = 1 << 24;
    let mut state = 1_u64;
    let x: Vec<T> = (0..n)
        .map(|_| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            T::from_f64((state >> 11) as f64 / (1_u64 << 53) as f64 * 3.0 - 1.0)
        })
        .collect();
    let y = x.iter().map(|x| T::from_f64((x.to_f64() * 42.0).round() / 42.0)).collect();
    (x, y)
}

fn check_sums<T: Real>(relative: f64) {
    let (x, y) = large::<T>();
    let n = x.len() as f64;
    let pairs = || x.iter().zip(&y).map(|(x, y)| (x.to_f64(), y.to_f64()));
    let noise = naive::sum(pairs().map(|(x, y)| (x - y) * (x - y)));
    let signal = naive::sum(pairs().map(|(x, _)| x * x));
    let approximation = naive::sum(pairs().map(|(_, y)| y * y));
    let m = Metrics::between(&Tensor::from_slice("x", &x).unwrap(), &Tensor::from_slice("y", &y).unwrap()).unwrap();
    close(m.mse, noise / n, relative);
    close(m.rmse, (noise / n).sqrt(), relative);
    close(m.mae, naive::sum(pairs().map(|(x, y)| (x - y).abs())) / n, relative);
    close(m.mean_error, naive::sum(pairs().map(|(x, y)| x - y)) / n, relative);
    close(m.relative_error, (noise / signal).sqrt(), relative);
    close(m.sqnr_db, 10.0 * (signal / noise).log10(), relative);
    close(m.cosine, naive::sum(pairs().map(|(x, y)| x * y)) / (signal.sqrt() * approximation.sqrt()), relative);
    assert_eq!(m.max_abs_error, pairs().map(|(x, y)| (x - y).abs()).fold(0.0, f64::max));
}

#[test]
fn sums_of_16_million_f32_are_accurate() {
    check_sums::<f32>(1e-12);
}

#[test]
fn sums_of_16_million_f64_are_accurate() {
    check_sums::<f64>(1e-12);
}

#[test]
fn the_same_bits_for_any_chunking_and_any_number_of_threads() {
    let n = 700_001;
    let x = Synthetic::normal(0.0, 1.0).seed(2).tensor::<f32>("x", &[n]).unwrap();
    let y = quantlens::Scheme::symmetric(4).fake_quantize(&x).unwrap();
    let expected = Metrics::between(&x, &y).unwrap();
    for threads in [1, 2, 3, 7] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        assert_eq!(pool.install(|| Metrics::between(&x, &y).unwrap()), expected, "{threads} threads");
        let rows = pool.install(|| quantlens::report_rows(std::slice::from_ref(&x), &[quantlens::Scheme::symmetric(4)]).unwrap());
        assert_eq!(rows[0].metrics, expected, "{threads} threads, fused");
    }
    let (xs, ys) = (x.values::<f32>().unwrap(), y.values::<f32>().unwrap());
    for chunk in [1, 7, 100, 4095, 4096, 4097, 65_536, n] {
        let mut accumulator = MetricsAccumulator::default();
        assert_eq!(accumulator.metrics(), None);
        for (x, y) in xs.chunks(chunk).zip(ys.chunks(chunk)) {
            accumulator.push(x, y).unwrap();
        }
        assert_eq!(accumulator.metrics(), Some(expected), "chunks of {chunk}");
    }
    assert!(MetricsAccumulator::default().push(&[1.0], &[1.0, 2.0]).is_err());
}

#[test]
fn json_keeps_infinities() {
    let x = Tensor::from_vec("x", vec![0.1, -2.0]).unwrap();
    let lossless = Metrics::between(&x, &x).unwrap();
    let json = serde_json::to_string(&lossless).unwrap();
    assert!(json.contains(r#""sqnr_db":"inf""#), "{json}");
    assert_eq!(serde_json::from_str::<Metrics>(&json).unwrap(), lossless);
    let zeros = Tensor::from_vec("x", vec![0.0]).unwrap();
    let json = serde_json::to_string(&Metrics::between(&zeros, &zeros).unwrap()).unwrap();
    assert!(serde_json::from_str::<Metrics>(&json).unwrap().sqnr_db.is_nan());
    assert!(serde_json::from_str::<Metrics>(&json.replace("nan", "many")).is_err());
}

/// The part of x and y from here to there.
fn part(x: &[f32], y: &[f32], from: usize, to: usize) -> MetricsAccumulator {
    let mut accumulator = MetricsAccumulator::starting_at(from as u64);
    accumulator.push(&x[from..to], &y[from..to]).unwrap();
    accumulator
}

#[test]
fn the_same_bits_for_any_cut_and_any_order_of_merging() {
    let n = 100_003;
    let x = Synthetic::normal(0.0, 1.0).seed(3).tensor::<f32>("x", &[n]).unwrap();
    let y = quantlens::Scheme::symmetric(4).fake_quantize(&x).unwrap();
    let expected = Metrics::between(&x, &y).unwrap();
    let (xs, ys) = (x.values::<f32>().unwrap(), y.values::<f32>().unwrap());
    let mut rng = naive::Rng::new(3);
    for round in 0..60 {
        let mut cuts: Vec<usize> = (0..1 + rng.next() as usize % 12).map(|_| rng.next() as usize % (n + 1)).collect();
        // Some cuts at the ends of blocks, and parts inside one block.
        cuts.extend([0, n, 4096 * (1 + rng.next() as usize % 20), 8192, 8195, 8200]);
        cuts.sort_unstable();
        let mut parts: Vec<_> = cuts.windows(2).map(|pair| part(xs, ys, pair[0], pair[1])).collect();
        while parts.len() > 1 {
            // Two at random, the one travelling as JSON.
            let other = parts.swap_remove(rng.next() as usize % parts.len());
            let json = serde_json::to_string(&other).unwrap();
            let other = serde_json::from_str::<MetricsAccumulator>(&json).unwrap();
            let into = rng.next() as usize % parts.len();
            parts[into].merge(other).unwrap();
        }
        assert_eq!(parts[0].metrics(), Some(expected), "{round}: {cuts:?}");
    }
}

#[test]
fn parts_that_do_not_fit_are_refused() {
    let x: Vec<f32> = (0..20_000).map(|i| i as f32).collect();
    let y = vec![0.5_f32; x.len()];
    let mut first = part(&x, &y, 0, 9000);
    let before = first.clone();
    for (from, to, element) in [(8999, 9001, 8999), (0, 1, 0), (4000, 20_000, 4096), (5000, 5001, 5000)] {
        let error = first.merge(part(&x, &y, from, to)).unwrap_err();
        assert!(matches!(error, quantlens::Error::Overlap { element: found } if found.abs_diff(element) <= 4096), "{error}");
        assert_eq!(first, before);
    }
    // A gap: no metrics until it is filled; and what is pushed may not run into what was merged.
    first.merge(part(&x, &y, 9010, 20_000)).unwrap();
    assert_eq!(first.metrics(), None);
    assert!(matches!(first.push(&x[9000..9011], &y[9000..9011]), Err(quantlens::Error::Overlap { element: 9010 })));
    first.push(&x[9000..9010], &y[9000..9010]).unwrap();
    assert_eq!(first.metrics(), part(&x, &y, 0, 20_000).metrics());
    assert!(MetricsAccumulator::starting_at(u64::MAX).push(&[1.0], &[1.0]).is_err());
    let json = serde_json::to_value(&first).unwrap();
    for (pointer, value) in [("/subtrees/0/0", 1), ("/subtrees/0/1", 60), ("/subtrees/0/2/elements", 4095), ("/pieces/0/0", 4000)]
    {
        let mut broken = json.clone();
        *broken.pointer_mut(pointer).unwrap() = value.into();
        assert!(serde_json::from_value::<MetricsAccumulator>(broken).is_err(), "{pointer}");
    }
}
