//! Is the error what the textbook says?

use quantlens::{Scheme, Synthetic, Tensor, noise, quantizer};

use super::{close, is_null, notebook, number, synthetic, text};

const ASSUMPTIONS: [&str; 5] = ["uniform", "power", "unbiased", "white", "uncorrelated"];

#[test]
fn statistics_as_they_are_defined() {
    for tensor in synthetic() {
        let scheme = Scheme::symmetric(6).per_axis(0);
        let table = noise(&tensor, &[scheme]).unwrap();
        let x = tensor.to_f64_vec();
        let y = scheme.fake_quantize(&tensor).unwrap().to_f64_vec();
        let qparams = scheme.qparams(&tensor).unwrap();
        let n = x.len() as f64;
        let e: Vec<f64> = x.iter().zip(&y).map(|(x, y)| x - y).collect();
        let step = |i: usize| qparams.scales()[i / tensor.shape()[1]];
        let mean = |values: &[f64]| values.iter().sum::<f64>() / n;
        let (mean_e, mean_x) = (mean(&e), mean(&x));
        let variance = e.iter().map(|e| (e - mean_e).powi(2)).sum::<f64>() / n;
        let power = e.iter().map(|e| e * e).sum::<f64>() / n;

        let relative: Vec<f64> = (0..e.len()).map(|i| e[i] / step(i)).collect();
        let below = |limit: f64| relative.iter().filter(|x| **x <= limit).count() as f64 / n;
        let strictly = |limit: f64| relative.iter().filter(|x| **x < limit).count() as f64 / n;
        let cdf = |x: f64| (x + 0.5).clamp(0.0, 1.0);
        let distance = relative.iter().map(|&x| (below(x) - cdf(x)).abs().max((strictly(x) - cdf(x)).abs())).fold(0.0, f64::max);
        assert!((number(&table, "effect", 0) - distance).abs() < 1e-12, "{}", tensor.name());

        let expected = (0..e.len()).map(|i| step(i).powi(2)).sum::<f64>() / n / 12.0;
        assert!((number(&table, "effect", 1) - 10.0 * (power / expected).log10()).abs() < 1e-9);
        let z = (relative.iter().map(|x| x * x).sum::<f64>() / n - 1.0 / 12.0) / (1.0 / (180.0 * n)).sqrt();
        assert!(close(number(&table, "statistic", 1), z, 1e-9));

        assert!(close(number(&table, "statistic", 2), n.sqrt() * mean_e / variance.sqrt(), 1e-9));
        assert!(close(number(&table, "effect", 2), mean_e / power.sqrt(), 1e-9));

        let r = |lag: usize| (lag..e.len()).map(|i| (e[i] - mean_e) * (e[i - lag] - mean_e)).sum::<f64>() / (n * variance);
        let lags = 20.min(e.len() / 5);
        let q: f64 = (1..=lags).map(|lag| r(lag).powi(2) / (n - lag as f64)).sum::<f64>() * n * (n + 2.0);
        assert!(close(number(&table, "statistic", 3), q, 1e-9));

        let covariance = (0..e.len()).map(|i| (e[i] - mean_e) * (x[i] - mean_x)).sum::<f64>() / n;
        let variance_x = x.iter().map(|x| (x - mean_x).powi(2)).sum::<f64>() / n;
        assert!((number(&table, "effect", 4) - covariance / (variance * variance_x).sqrt()).abs() < 1e-9);
        for (row, assumption) in ASSUMPTIONS.iter().enumerate() {
            assert_eq!(&text(&table, "assumption", row), assumption);
        }
    }
}

fn verdict(table: &polars::prelude::DataFrame, row: usize) -> String {
    text(table, "verdict", row)
}

/// Fine steps: the model holds. Coarse steps, or values that are on the grid halves: it does not.
#[test]
fn where_the_model_holds_and_where_it_fails() {
    let x = Synthetic::laplace(0.0, 1.0).seed(1).tensor::<f64>("x", &[1 << 16]).unwrap();
    let fine = noise(&x, &[Scheme::symmetric(12)]).unwrap();
    assert!((0..5).all(|row| verdict(&fine, row) == "holds"), "{fine:?}");
    let coarse = noise(&x, &[Scheme::symmetric(3)]).unwrap();
    for (row, assumption) in ASSUMPTIONS.iter().enumerate() {
        let expected = if matches!(*assumption, "unbiased" | "white") { "holds" } else { "fails" };
        assert_eq!(verdict(&coarse, row), expected, "{assumption}");
    }
    // Tenths on steps of 1/4, slowly rising: every error follows from the one before.
    let ramp = Tensor::from_vec("ramp", (0..10_000).map(|i| f64::from(i) * 1e-4).collect()).unwrap();
    let ramp = noise(&ramp, &[Scheme::asymmetric(8)]).unwrap();
    assert_eq!((verdict(&ramp, 0).as_str(), verdict(&ramp, 3).as_str()), ("holds", "fails"));
    // All on one side of the grid's values.
    let shifted: Vec<f64> = (0..4096).map(|i| f64::from(i % 200) + 0.3).chain([0.0, 255.0]).collect();
    let shifted = noise(&Tensor::from_vec("shifted", shifted).unwrap(), &[Scheme::asymmetric(8)]).unwrap();
    assert_eq!((verdict(&shifted, 0).as_str(), verdict(&shifted, 2).as_str()), ("fails", "fails"));
}

/// P-values of true hypotheses are uniform: a twentieth is below 1/20.
#[test]
fn false_alarms_are_as_rare_as_they_say() {
    let mut alarms = [0; 5];
    let tries = 400;
    for seed in 0..tries {
        let x = Synthetic::uniform(-1.0, 1.0).seed(seed).tensor::<f64>("x", &[400]).unwrap();
        // 16 bits on a percentile that keeps all but the ends: errors are uniform.
        let table = noise(&x, &[Scheme::symmetric(12)]).unwrap();
        for (row, alarms) in alarms.iter_mut().enumerate() {
            *alarms += u32::from(number(&table, "p_value", row) < 0.05);
        }
    }
    // 20 are expected, with a standard deviation of 4.4.
    assert!(alarms.iter().all(|alarms| (4..=40).contains(alarms)), "{alarms:?}");
}

#[test]
fn what_is_not_defined_is_undecided() {
    let exact = Tensor::from_vec("exact", (0..16).map(f64::from).collect()).unwrap();
    let few = Tensor::from_vec("few", vec![0.3, 1.0, 2.2]).unwrap();
    for tensor in [exact, few] {
        let table = noise(&tensor, &[Scheme::asymmetric(4)]).unwrap();
        assert!((0..5).all(|row| verdict(&table, row) == "undecided" && is_null(&table, "p_value", row)));
    }
    let x = Synthetic::normal(0.0, 1.0).seed(1).tensor::<f32>("x", &[4, 256]).unwrap();
    for name in ["nf4-g64", "q8_0", "f16-cast"] {
        let table = noise(&x, &[quantizer(name).unwrap()]).unwrap();
        assert!(is_null(&table, "statistic", 0) && is_null(&table, "statistic", 1), "{name}");
        assert!(!is_null(&table, "statistic", 2) && !is_null(&table, "statistic", 4), "{name}");
    }
    // Twenty numbers cannot tell.
    let table = noise(&notebook(), &[Scheme::asymmetric(8)]).unwrap();
    assert!((0..5).all(|row| verdict(&table, row) != "fails"), "{table:?}");
}
