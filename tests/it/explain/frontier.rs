//! Error against bits.

use quantlens::{Codebook, Scheme, Synthetic, frontier, quantizer};

use super::{all_weights, close, is_null, notebook, number, squared_error};

#[test]
fn a_front_is_what_nothing_beats() {
    let x = notebook();
    let schemes: Vec<Scheme> = (2..=10).flat_map(|bits| [Scheme::asymmetric(bits), Scheme::symmetric(bits)]).collect();
    let table = frontier(&x, &schemes).unwrap();
    let points: Vec<(f64, f64)> = schemes
        .iter()
        .map(|scheme| (scheme.bits_per_element(&[20], x.dtype()).unwrap(), squared_error(&x, scheme) / 20.0))
        .collect();
    for (row, own) in points.iter().enumerate() {
        assert!(close(number(&table, "mse", row), own.1, 1e-12));
        let is_beaten = points.iter().any(|other| (other.0 < own.0 && other.1 <= own.1) || (other.0 <= own.0 && other.1 < own.1));
        assert_eq!(table.column("is_pareto").unwrap().bool().unwrap().get(row), Some(!is_beaten), "{}", schemes[row]);
    }
}

/// No scale out of thousands does better than the floor, and the regret is measured from it.
#[test]
fn no_scale_beats_the_floor() {
    let x = Synthetic::laplace(0.0, 1.0).seed(3).tensor::<f64>("x", &[200]).unwrap();
    for scheme in ["int3-sym", "int4-sym-full", "e2m1", "nf4"] {
        let scheme: Scheme = scheme.parse().unwrap();
        let table = frontier(&x, &[scheme]).unwrap();
        let (floor, mse) = (number(&table, "best_scale_mse", 0), number(&table, "mse", 0));
        let scale = scheme.qparams(&x).unwrap().scale().unwrap();
        for step in 1..4000 {
            let qparams = quantlens::QParams::new(scheme, x.dtype(), vec![scale * f64::from(step) / 2000.0], vec![0]).unwrap();
            let y = quantlens::fake_quantize_with(&x, &qparams).unwrap();
            let found = quantlens::Metrics::between(&x, &y).unwrap().mse;
            assert!(found >= floor * (1.0 - 1e-12), "{scheme}: {found} {floor}");
        }
        assert!(close(number(&table, "regret_db", 0), 10.0 * (mse / floor).log10(), 1e-12));
        assert!(number(&table, "regret_db", 0) >= 0.0);
    }
}

#[test]
fn the_codebooks_floor_is_what_the_codebook_gives() {
    let x = Synthetic::normal(0.0, 1.0).seed(3).tensor::<f64>("x", &[500]).unwrap();
    let table = frontier(&x, &[Scheme::asymmetric(3), Scheme::asymmetric(4)]).unwrap();
    for (row, levels) in [(0, 8), (1, 16)] {
        let best = Scheme::cast(Codebook::optimal(&x, levels).unwrap());
        let expected = squared_error(&x, &best) / 500.0;
        assert!(close(number(&table, "best_codebook_mse", row), expected, 1e-9));
        assert!(number(&table, "codebook_regret_db", row) >= 0.0);
    }
}

/// A Gaussian of σ = 1 about 3: the bound is of the variance, the ratio of the values themselves.
#[test]
fn bounds_are_those_of_the_textbook() {
    let x = Synthetic::normal(3.0, 1.0).seed(3).tensor::<f64>("x", &[4096]).unwrap();
    let values = x.to_f64_vec();
    let mean = values.iter().sum::<f64>() / 4096.0;
    let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 4096.0;
    let power = values.iter().map(|x| x * x).sum::<f64>() / 4096.0;
    let scheme = Scheme::asymmetric(5);
    let table = frontier(&x, &[scheme]).unwrap();
    let bits = number(&table, "bits_per_element", 0);
    let gaussian = variance * 2_f64.powf(-2.0 * bits);
    let b = (variance / 2.0).sqrt();
    let entropy = (2.0 * std::f64::consts::E * b).log2();
    let laplacian = 2_f64.powf(2.0 * entropy - 2.0 * bits) / (2.0 * std::f64::consts::PI * std::f64::consts::E);
    assert!(close(number(&table, "gaussian_bound_db", 0), 10.0 * (power / gaussian).log10(), 1e-12));
    assert!(close(number(&table, "laplacian_bound_db", 0), 10.0 * (power / laplacian).log10(), 1e-12));
    let gap = number(&table, "gaussian_bound_db", 0) - number(&table, "sqnr_db", 0);
    assert_eq!(number(&table, "gaussian_gap_db", 0), gap);
}

/// Of independent Gaussian and Laplacian numbers nothing gets past the bound, and a good quantizer is near it.
#[test]
fn nothing_exceeds_the_bound_of_its_own_distribution() {
    let schemes: Vec<Scheme> = (1..=8).map(|bits| Scheme::asymmetric(bits).mse_optimal()).collect();
    let normal = Synthetic::normal(0.0, 1.0).seed(3).tensor::<f32>("normal", &[1 << 14]).unwrap();
    let laplace = Synthetic::laplace(0.0, 1.0).seed(3).tensor::<f32>("laplace", &[1 << 14]).unwrap();
    let table = frontier(&[normal, laplace], &schemes).unwrap();
    for row in 0..schemes.len() {
        let gap = number(&table, "gaussian_gap_db", row);
        assert!(gap > 1.0 && gap < 9.0, "{row}: {gap}");
        let laplacian = schemes.len() + row;
        assert!(number(&table, "laplacian_bound_db", laplacian) > number(&table, "sqnr_db", laplacian));
    }
}

#[test]
fn what_has_no_floor_is_null() {
    let x = Synthetic::normal(0.0, 1.0).seed(3).tensor::<f32>("x", &[4, 256]).unwrap();
    let names = ["f16-cast", "uint4-min-g64", "int8-sym-original", "q4_k", "nf4-g64"];
    let quantizers: Vec<_> = names.iter().map(|name| quantizer(name).unwrap()).collect();
    let table = frontier(&x, &quantizers).unwrap();
    for (row, name) in names[..4].iter().enumerate() {
        assert!(is_null(&table, "regret_db", row), "{name}");
    }
    assert!(is_null(&table, "best_codebook_mse", 3) && !is_null(&table, "best_codebook_mse", 4));
    assert!(!is_null(&table, "regret_db", 4));
}

#[test]
fn lossless_has_no_regret() {
    let x = quantlens::Tensor::from_vec("x", vec![0.0, 1.0, -7.0, 7.0]).unwrap();
    let table = frontier(&x, &[Scheme::symmetric(4).restricted_range()]).unwrap();
    assert_eq!((number(&table, "mse", 0), number(&table, "regret_db", 0)), (0.0, 0.0));
    let zeros = quantlens::Tensor::from_vec("x", vec![0.0; 4]).unwrap();
    let table = frontier(&zeros, &[Scheme::symmetric(4)]).unwrap();
    assert_eq!(number(&table, "regret_db", 0), 0.0);
    assert!(number(&table, "gaussian_bound_db", 0).is_nan());
}

#[test]
fn real_weights() {
    let quantizers: Vec<_> =
        ["int4-sym-g32-sf16", "mxfp4", "nvfp4", "nf4-g64", "q4_0", "int8-sym"].map(|name| quantizer(name).unwrap()).into();
    let table = frontier(&all_weights()[..1], &quantizers).unwrap();
    for row in 0..table.height() {
        assert!(is_null(&table, "regret_db", row) || number(&table, "regret_db", row) >= 0.0);
    }
}
