//! Observers, and that no scale and no codebook is better than the best.

use quantlens::{
    Codebook, Dtype, Error, Format, Mapping, Metrics, Minifloat, Observer, QParams, Scheme, Synthetic, Tensor, fake_quantize_with,
};

use crate::naive::{Grid, Rng};

/// Rows of a tensor as a tensor.
fn rows(x: &Tensor, from: usize, to: usize) -> Tensor {
    let columns = x.shape()[1];
    let values = x.values::<f32>().unwrap()[from * columns..to * columns].to_vec();
    Tensor::new("rows", &[to - from, columns], values).unwrap()
}

/// However the batches are cut, and whether one observer sees them all or several are merged.
#[test]
fn batches_give_the_parameters_of_all_of_them_together() {
    let x = Synthetic::laplace(0.2, 1.0).seed(31).tensor::<f32>("x", &[60, 8]).unwrap();
    let mut rng = Rng::new(31);
    for name in [
        "uint8-asym",
        "int8-sym-p99",
        "uint4-asym-p95",
        "int4-sym-mse",
        "uint4-asym-mse",
        "e2m1-mse",
        "int8-sym-kl",
        "int8-sym-sigma2",
        "nf4",
        "ternary",
        "uint8-asym-axis1",
        "int4-sym-axis1-mse",
        "int8-sym-axis1-spow2-ceil",
        "uint4-min-axis1",
        "mxfp4-tensor",
    ] {
        let scheme: Scheme = name.parse().unwrap();
        let whole = scheme.qparams(&x).unwrap();
        for _ in 0..4 {
            let cuts = [0, 1 + rng.next() as usize % 20, 21 + rng.next() as usize % 20, 41 + rng.next() as usize % 18, 60];
            let mut one = Observer::new(scheme).unwrap();
            let mut merged = Observer::new(scheme).unwrap();
            for pair in cuts.windows(2) {
                let batch = rows(&x, pair[0], pair[1]);
                one.observe(&batch).unwrap();
                let mut other = Observer::new(scheme).unwrap();
                other.observe(&batch).unwrap();
                merged.merge(other).unwrap();
            }
            assert_eq!(one.qparams().unwrap(), whole, "{name} {cuts:?}");
            assert_eq!(merged.qparams().unwrap(), whole, "{name} {cuts:?}");
        }
    }
}

/// Batches of very different magnitudes, in any order, cut and merged anyhow: the histogram is that of all values.
#[test]
fn a_histogram_does_not_depend_on_the_order_of_batches() {
    let mut rng = Rng::new(5);
    for name in ["int4-sym-mse", "uint8-asym-p99.9", "int8-sym-kl", "uint4-asym-mse", "int8-sym-sigma2", "ternary", "e2m1-lp3"] {
        let scheme: Scheme = name.parse().unwrap();
        for bins in [2, 16, 2048] {
            let mut values: Vec<f32> =
                Synthetic::normal(0.0, 1.0).seed(6).tensor::<f32>("x", &[600]).unwrap().values::<f32>().unwrap().to_vec();
            values.extend([0.0, -0.0, 1e-30, -1e-30, 1e-42, 3.0, 3.0]);
            if bins == 16 {
                values.extend([1e30, -2e30]);
            }
            let mut found: Option<QParams> = None;
            for round in 0..6 {
                // Shuffled, and cut into batches.
                for index in (1..values.len()).rev() {
                    values.swap(index, rng.next() as usize % (index + 1));
                }
                let mut observers: Vec<Observer> = Vec::new();
                let mut at = 0;
                while at < values.len() {
                    let end = (at + 1 + rng.next() as usize % 200).min(values.len());
                    let batch = Tensor::from_slice("batch", &values[at..end]).unwrap();
                    if observers.is_empty() || rng.next().is_multiple_of(2) {
                        observers.push(Observer::histogram(scheme, bins).unwrap());
                    }
                    observers.last_mut().unwrap().observe(&batch).unwrap();
                    at = end;
                }
                while observers.len() > 1 {
                    let other = observers.swap_remove(rng.next() as usize % observers.len());
                    let into = rng.next() as usize % observers.len();
                    observers[into].merge(other).unwrap();
                }
                let qparams = observers[0].qparams().unwrap();
                assert_eq!(*found.get_or_insert(qparams.clone()), qparams, "{name} {bins} {round}");
            }
        }
    }
}

/// With more bins than values differ it is exact; with 2048 bins it is near.
#[test]
fn a_histogram_is_near_to_all_values() {
    let whole: Vec<f64> = (-100_i32..=100).flat_map(|k| vec![f64::from(k); 1 + k.unsigned_abs() as usize % 3]).collect();
    let normal = Synthetic::normal(0.1, 1.0).outliers(0.001, 5.0).seed(7).tensor::<f64>("x", &[65_536]).unwrap();
    for name in [
        "int4-sym-mse",
        "uint8-asym-p99",
        "int8-sym-p99.9",
        "uint4-asym-mse",
        "e2m1-mse",
        "nf4-lp1",
        "int8-sym-sigma3",
        "ternary",
    ] {
        let scheme: Scheme = name.parse().unwrap();
        let seen = |x: &Tensor, mut observer: Observer| {
            observer.observe(x).unwrap();
            observer.qparams().unwrap()
        };
        let (near, exact) =
            (seen(&normal, Observer::histogram(scheme, 2048).unwrap()), seen(&normal, Observer::new(scheme).unwrap()));
        let ratio = mse(&normal, &near) / mse(&normal, &exact);
        assert!((0.98..1.02).contains(&ratio), "{name}: {ratio}");
        let relative = near.scales()[0] / exact.scales()[0] - 1.0;
        assert!(relative.abs() < 0.02, "{name}: {relative}");
        // Bins of a 2^20th hold one value each, half a bin from its middle.
        let x = Tensor::from_slice("x", &whole).unwrap();
        let (near, exact) = (seen(&x, Observer::histogram(scheme, 1 << 24).unwrap()), seen(&x, Observer::new(scheme).unwrap()));
        assert!((near.scales()[0] / exact.scales()[0] - 1.0).abs() < 1e-5, "{name}: {near:?} {exact:?}");
    }
    // A block of zeros, a constant, and min-max, which is exact.
    for (values, name) in [(vec![0.0; 5], "int8-sym-mse"), (vec![3.0; 5], "int8-sym-p99"), (vec![-1.0, 0.3, 7.0], "uint8-asym")] {
        let x = Tensor::from_vec("x", values).unwrap();
        let scheme: Scheme = name.parse().unwrap();
        let mut observer = Observer::histogram(scheme, 64).unwrap();
        observer.observe(&x).unwrap();
        assert_eq!(observer.qparams().unwrap(), scheme.qparams(&x).unwrap(), "{name}");
    }
}

#[test]
fn observers_refuse_what_does_not_belong_together() {
    let scheme: Scheme = "int8-sym-g4-mse".parse().unwrap();
    assert!(matches!(Observer::histogram(scheme, 1), Err(Error::Calibration { .. })));
    assert!(matches!(Observer::histogram(scheme, (1 << 24) + 1), Err(Error::Calibration { .. })));
    let batch = |shape: &[usize]| Synthetic::normal(0.0, 1.0).seed(1).tensor::<f32>("batch", shape).unwrap();
    let mut observer = Observer::histogram(scheme, 64).unwrap();
    observer.observe(&batch(&[2, 8])).unwrap();
    let before = observer.qparams().unwrap();
    // As many blocks, but others.
    assert!(matches!(observer.observe(&batch(&[4, 4])), Err(Error::BatchBlocks { .. })));
    assert!(matches!(observer.merge(Observer::new(scheme).unwrap()), Err(Error::Merge { .. })));
    assert!(matches!(observer.merge(Observer::histogram(scheme, 65).unwrap()), Err(Error::Merge { .. })));
    assert_eq!(observer.qparams().unwrap(), before);
    observer.observe(&batch(&[1, 2, 8])).unwrap();
}

#[test]
fn a_moving_average_follows_its_formula() {
    let batches: [[f32; 3]; 4] = [[-1.0, 0.5, 2.0], [-3.0, 0.1, 0.7], [0.2, 0.3, 9.0], [-0.1, 0.0, 0.1]];
    for constant in [0.01, 0.3, 1.0] {
        let scheme = Scheme::asymmetric(8);
        let mut observer = Observer::moving_average(scheme, constant).unwrap();
        let (mut min, mut max) = (batches[0][0], batches[0][2]);
        let c = constant as f32;
        for (number, batch) in batches.iter().enumerate() {
            observer.observe(&Tensor::from_slice("batch", batch).unwrap()).unwrap();
            if number > 0 {
                min += c * (batch[0] - min);
                max += c * (batch[2] - max);
            }
            let range = Tensor::from_vec("range", vec![min, max]).unwrap();
            assert_eq!(observer.qparams().unwrap(), scheme.qparams(&range).unwrap(), "{constant} batch {number}");
        }
    }
}

fn mse(x: &Tensor, qparams: &QParams) -> f64 {
    Metrics::between(x, &fake_quantize_with(x, qparams).unwrap()).unwrap().mse
}

/// 4000 scales from far too small to twice min-max's, and with a zero point every one.
#[test]
fn no_scale_of_a_fine_search_beats_the_optimal_one() {
    for (seed, base) in [
        (1, Scheme::symmetric(2)),
        (2, Scheme::symmetric(3)),
        (3, Scheme::symmetric(4).restricted_range()),
        (4, Scheme::symmetric(4).unsigned()),
        (5, Scheme::asymmetric(2)),
        (6, Scheme::asymmetric(3).signed()),
        (7, Scheme::float(Minifloat::E2M1)),
        (8, Scheme::float(Minifloat::E2M3)),
        (9, Scheme::codebook(Codebook::NF4)),
        (10, Scheme::codebook(Codebook::BINARY)),
        (11, Scheme::codebook(Codebook::TERNARY)),
    ] {
        let x = Synthetic::laplace(0.3, 1.0).seed(seed).tensor::<f64>("x", &[120]).unwrap();
        let scheme = base.mse_optimal();
        let best = mse(&x, &scheme.qparams(&x).unwrap());
        let widest = base.with_calibration(quantlens::Calibration::MinMax).qparams(&x).unwrap();
        let is_asymmetric = scheme.mapping() == Mapping::Asymmetric;
        let zero_points: Vec<i64> = match is_asymmetric {
            true => (scheme.quant_min().into()..=scheme.quant_max().into()).collect(),
            false => widest.zero_points().to_vec(),
        };
        for step in 1..=4000 {
            let scale = widest.scales()[0] * f64::from(step) / 2000.0;
            for &zero_point in &zero_points {
                let qparams = QParams::new(scheme, Dtype::F64, vec![scale], vec![zero_point]).unwrap();
                let found = mse(&x, &qparams);
                assert!(best <= found * (1.0 + 1e-12), "{scheme}: {found:e} with {scale} and {zero_point} is below {best:e}");
            }
        }
    }
}

/// Of powers of two the best is taken among them.
#[test]
fn no_power_of_two_beats_the_optimal_one() {
    for name in ["int4-sym-mse-spow2", "mxfp4-tensor-mse", "mxfp8-e4m3-tensor-mse", "mxint8-tensor-mse"] {
        let scheme: Scheme = name.parse().unwrap();
        for seed in 0..20 {
            let x = Synthetic::normal(0.0, 1.0).outliers(0.02, 6.0).seed(seed).tensor::<f64>("x", &[64]).unwrap();
            let qparams = scheme.qparams(&x).unwrap();
            let best = mse(&x, &qparams);
            for exponent in -20..10 {
                let scale = qparams.scales()[0] * f64::from(exponent).exp2();
                let other = QParams::new(scheme, Dtype::F64, vec![scale], vec![0]).unwrap();
                assert!(best <= mse(&x, &other) * (1.0 + 1e-12), "{name} {seed}: {scale}");
            }
        }
    }
}

/// Nor does another scale that can be stored: of 8 bits any, of 16 bits its neighbours.
#[test]
fn no_stored_scale_beats_the_optimal_one() {
    let formats = [("e4m3fn", Minifloat::E4M3FN), ("e5m2", Minifloat::E5M2), ("f16", Minifloat::F16), ("bf16", Minifloat::BF16)];
    let mut improved = 0;
    for (base, (name, format)) in
        ["int4-sym", "int3-sym", "e2m1", "nf4"].iter().flat_map(|base| formats.map(|format| (base, format)))
    {
        let scheme: Scheme = format!("{base}-mse-s{name}").parse().unwrap();
        let exact: Scheme = format!("{base}-mse").parse().unwrap();
        for seed in 0..20 {
            let x = Synthetic::normal(0.0, 1.0).outliers(0.02, 6.0).seed(seed).tensor::<f64>("x", &[64]).unwrap();
            let with = |scale: f64| mse(&x, &QParams::new(scheme, Dtype::F64, vec![scale], vec![0]).unwrap());
            let qparams = scheme.qparams(&x).unwrap();
            let best = mse(&x, &qparams);
            let grid: Vec<f64> =
                Format::Float(format).grid().into_iter().map(|(_, value)| value).filter(|value| *value > 0.0).collect();
            let at = grid.iter().position(|value| *value == qparams.scales()[0]).unwrap();
            let others = if format.bits() == 8 { 0..grid.len() } else { at - 1..at + 2 };
            for &scale in &grid[others] {
                assert!(best <= with(scale) * (1.0 + 1e-12), "{scheme} {seed}: {scale}");
            }
            let rounded =
                Grid::new(Format::Float(format)).round(exact.qparams(&x).unwrap().scales()[0], quantlens::Rounding::HalfToEven);
            improved += usize::from(best < with(rounded) * (1.0 - 1e-9));
        }
    }
    // Rounding the best scale of all is not always the best that can be stored.
    assert!(improved > 5, "{improved} of 320");
}

#[test]
fn no_random_codebook_beats_the_optimal_one() {
    let mut rng = Rng::new(41);
    for (seed, levels) in [(1, 2), (2, 3), (3, 4), (4, 8), (5, 16)] {
        let x = Synthetic::laplace(0.0, 1.0).seed(seed).tensor::<f64>("x", &[150]).unwrap();
        let values = x.to_f64_vec();
        let error = |levels: &[f64]| -> f64 {
            let nearest = |x: f64| levels.iter().map(|level| (level - x).powi(2)).fold(f64::INFINITY, f64::min);
            values.iter().map(|&x| nearest(x)).sum()
        };
        let codebook = Codebook::optimal(&x, levels).unwrap();
        let best = error(codebook.levels());
        // What the codec makes of it is as good as that.
        let scheme = Scheme::cast(codebook);
        let found = Metrics::between(&x, &scheme.fake_quantize(&x).unwrap()).unwrap().mse * values.len() as f64;
        assert!((found - best).abs() <= 1e-12 * best, "{levels}: {found} and {best}");
        let grid = Grid::new(Format::Codebook(codebook));
        for _ in 0..3000 {
            // Values of the tensor, or the best levels moved a little.
            let random: Vec<f64> = match rng.next() % 2 {
                0 => (0..levels).map(|_| rng.pick(&values)).collect(),
                _ => grid.values().iter().map(|level| level + 0.1 * (rng.unit() - 0.5)).collect(),
            };
            assert!(best <= error(&random) * (1.0 + 1e-12), "{levels}: {random:?}");
        }
    }
}
