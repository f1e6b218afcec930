//! The parts of a squared error.

use quantlens::{
    Calibration, Convention, Dtype, Granularity, Quantizer, ScaleFormat, Scheme, Synthetic, Tensor, known_formats, ledger,
    quantizer, report,
};

use super::{all_weights, close, is_null, notebook, number, squared_error, synthetic, text};

const PARTS: [&str; 7] = ["rounding", "clipping", "widening_to_zero", "zero_point", "symmetry", "scale_storage", "arithmetic"];

/// The parts add up, and to what a report says.
fn check(tensor: &Tensor, scheme: &dyn Quantizer) {
    let table = ledger(tensor, &[scheme]).unwrap();
    let at = format!("{} under {}", tensor.name(), scheme.name());
    let total = number(&table, "squared_error", 0);
    assert!(close(total, squared_error(tensor, scheme), 1e-12), "{at}");
    let row = scheme.report_row(tensor).unwrap();
    assert!(close(total, row.metrics.mse * tensor.len() as f64, 1e-12), "{at}");
    assert!(close(number(&table, "sqnr_db", 0), row.metrics.sqnr_db, 1e-12) || row.metrics.sqnr_db.is_nan(), "{at}");
    let bias = tensor.len() as f64 * row.metrics.mean_error.powi(2);
    assert!((number(&table, "bias", 0) - bias).abs() <= 1e-12 * total, "{at}");
    if scheme.as_scheme().is_none() {
        assert!(PARTS.iter().all(|part| is_null(&table, part, 0)), "{at}");
        return;
    }
    let parts = PARTS.map(|part| number(&table, part, 0));
    assert!((parts.iter().sum::<f64>() - total).abs() <= 1e-12 * total, "{at}: {parts:?}, {total}");
    // Only the arithmetic of f32 may be to the good.
    assert!(parts[..6].iter().all(|part| *part >= 0.0), "{at}: {parts:?}");
    assert!(parts[6].abs() <= if tensor.dtype() == Dtype::F64 { 1e-9 * total } else { 1e-2 * total }, "{at}: {parts:?}");
}

#[test]
fn the_parts_add_up_for_every_known_format() {
    let formats = known_formats().unwrap();
    let names: Vec<String> = (0..formats.height()).map(|row| text(&formats, "name", row)).collect();
    assert!(names.len() > 40);
    let weights = Synthetic::normal(0.0, 0.02).seed(8).tensor::<f32>("weights", &[16, 256]).unwrap();
    for name in names {
        let quantizer = quantizer(&name).unwrap();
        for tensor in synthetic().iter().chain([&weights]) {
            // ggml has rows of whole blocks.
            if quantizer.fake_quantize(tensor).is_ok() {
                check(tensor, &quantizer);
            }
        }
        check(&weights, &quantizer);
    }
}

#[test]
fn the_parts_add_up_for_every_convention_calibration_and_granularity() {
    let calibrations = [
        Calibration::MinMax,
        Calibration::Percentile(95.0),
        Calibration::Mse,
        Calibration::Lp(2.5),
        Calibration::Kl,
        Calibration::Sigma(2.0),
        Calibration::AbsMean,
    ];
    let granularities = [
        Granularity::PerTensor,
        Granularity::PerAxis(0),
        Granularity::PerAxis(1),
        Granularity::PerGroup(16),
        Granularity::PerGroupOn { axis: 0, group_size: 5 },
        Granularity::PerBlock([5, 16]),
    ];
    let bases = [
        Scheme::asymmetric(4),
        Scheme::asymmetric(8).signed(),
        Scheme::symmetric(4),
        Scheme::symmetric(8).full_range(),
        Scheme::symmetric(8).without_clipping(),
        Scheme::symmetric(5).unsigned(),
        Scheme::asymmetric(4).with_float_minimum(),
        Scheme::nf4(),
        Scheme::mxfp4(),
    ];
    let storages = [ScaleFormat::Data, ScaleFormat::F16, ScaleFormat::E8M0];
    let mut checked = 0;
    for tensor in synthetic() {
        for (a, base) in bases.into_iter().enumerate() {
            for (b, convention) in Convention::ALL.into_iter().enumerate() {
                for (c, calibration) in calibrations.into_iter().enumerate() {
                    for (d, granularity) in granularities.into_iter().enumerate() {
                        // An eighth of them: every two together, not every four.
                        if (a + b + c + d) % 8 != 0 {
                            continue;
                        }
                        let scheme = base
                            .with_convention(convention)
                            .with_calibration(calibration)
                            .with_granularity(granularity)
                            .with_scale_format(storages[d % storages.len()]);
                        // Many cannot be, or not of these values.
                        if scheme.validate().is_ok() && scheme.fake_quantize(&tensor).is_ok() {
                            check(&tensor, &scheme);
                            checked += 1;
                        }
                    }
                }
            }
        }
    }
    assert!(checked > 500, "{checked}");
}

/// The chain as its documentation says it, one element at a time, for one block.
struct Naive {
    steps: Vec<(f64, f64)>,
    codes: (f64, f64),
}

impl Naive {
    /// Squared errors of step `step`: of elements that are not clipped, and of those that are.
    fn errors(&self, x: &[f64], step: usize) -> (f64, f64) {
        let ((scale, zero), (first, last)) = (self.steps[step], self.codes);
        let mut sums = (0.0, 0.0);
        for &x in x {
            let code = (x / scale + zero).round_ties_even();
            let error = (x - (code.clamp(first, last) - zero) * scale).powi(2);
            if (first..=last).contains(&code) { sums.0 += error } else { sums.1 += error }
        }
        sums
    }

    fn check(&self, tensor: &Tensor, scheme: Scheme) {
        let table = ledger(tensor, &[scheme]).unwrap();
        let x = tensor.to_f64_vec();
        let sums: Vec<(f64, f64)> = (0..self.steps.len()).map(|step| self.errors(&x, step)).collect();
        let all: Vec<f64> = sums.iter().map(|sums| sums.0 + sums.1).collect();
        // Each step may take the grid of a later one.
        let least: Vec<f64> = (0..all.len()).map(|step| all[step..].iter().copied().fold(f64::INFINITY, f64::min)).collect();
        let first = all.iter().position(|error| *error == least[0]).unwrap();
        let total = squared_error(tensor, &scheme);
        let mut expected = vec![sums[first].0, sums[first].1];
        expected.extend(least.windows(2).map(|pair| pair[1] - pair[0]));
        expected.push(total - all.last().unwrap());
        for (part, expected) in PARTS.iter().zip(&expected) {
            let found = number(&table, part, 0);
            assert!((found - expected).abs() <= 1e-9 * total, "{scheme}, {part}: {found} {expected}");
        }
    }
}

#[test]
fn an_asymmetric_chain_as_it_is_written() {
    let x = Synthetic::normal(4.0, 0.5).seed(1).tensor::<f64>("x", &[1000]).unwrap();
    let (low, high) = (x.min(), x.max());
    // Scales are stored in f16.
    let scheme = Scheme::asymmetric(6).with_scale_format(ScaleFormat::F16);
    let qparams = scheme.qparams(&x).unwrap();
    let (tight, wide) = ((high - low) / 63.0, high / 63.0);
    let steps = vec![(tight, -low / tight), (wide, 0.0), (wide, 0.0), (wide, 0.0), (qparams.scale().unwrap(), 0.0)];
    Naive { steps, codes: (0.0, 63.0) }.check(&x, scheme);
}

#[test]
fn a_chain_with_zero_inside_as_it_is_written() {
    let x = Synthetic::normal(0.3, 1.0).seed(2).tensor::<f64>("x", &[1000]).unwrap();
    let (low, high) = (x.min(), x.max());
    let scheme = Scheme::asymmetric(5).signed();
    let scale = (high - low) / 31.0;
    let zero = -16.0 - low / scale;
    let (real, whole) = ((scale, zero), (scale, zero.round_ties_even()));
    let steps = vec![real, real, whole, whole, whole];
    Naive { steps, codes: (-16.0, 15.0) }.check(&x, scheme);
}

#[test]
fn a_full_symmetric_chain_as_it_is_written() {
    let x = Synthetic::normal(1.0, 1.0).seed(3).tensor::<f64>("x", &[1000]).unwrap();
    let (low, high) = (x.min(), x.max());
    assert!(low < 0.0 && high > -low);
    let scheme = Scheme::symmetric(4).with_convention(Convention::AiEdge);
    let (tight, about_zero) = ((high - low) / 15.0, high / 7.0);
    let zero = -8.0 - low / tight;
    let real = (tight, zero);
    let steps = vec![real, real, (tight, zero.round_ties_even()), (about_zero, 0.0), (about_zero, 0.0)];
    Naive { steps, codes: (-8.0, 7.0) }.check(&x, scheme);
}

#[test]
fn a_percentile_clips_and_min_max_does_not() {
    let x = notebook();
    let clipped = |scheme: Scheme| number(&ledger(&x, &[scheme]).unwrap(), "clipping", 0);
    assert_eq!(clipped(Scheme::asymmetric(8)), 0.0);
    assert_eq!(clipped(Scheme::symmetric(3).with_convention(Convention::PyTorch)), 0.0);
    let scheme = Scheme::asymmetric(8).percentile(80.0);
    // The percentiles 10 and 90 leave two values outside on each side.
    let mut sorted = x.to_f64_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |rank: f64| sorted[rank as usize] + rank.fract() * (sorted[rank as usize + 1] - sorted[rank as usize]);
    let (low, high) = (at(1.9), at(17.1));
    // A range with 0 in it clips the two values below 0 less, and all steps may take it.
    assert!(low > 0.0);
    let beyond = |low: f64| x.to_f64_vec().iter().map(|x| (x - x.clamp(low, high)).powi(2)).sum::<f64>();
    assert!(close(clipped(scheme), beyond(0.0), 1e-9), "{} {} {}", clipped(scheme), beyond(0.0), beyond(low));
}

/// Coarse steps that miss 0, where most values are, serve nobody: the freest quantizer is not worse than the scheme.
#[test]
fn a_freedom_that_does_harm_is_not_used() {
    let mut values = Synthetic::normal(0.0, 0.01).seed(3).tensor::<f64>("x", &[1000]).unwrap().to_f64_vec();
    values[7] = 7.9;
    let x = Tensor::from_vec("x", values).unwrap();
    let table = ledger(&x, &[Scheme::asymmetric(4)]).unwrap();
    assert_eq!(number(&table, "zero_point", 0), 0.0);
    assert!(number(&table, "rounding", 0) > 0.999 * number(&table, "squared_error", 0));
}

#[test]
fn the_smallest_scale_of_a_runtime_is_in_the_ledger() {
    let x = Synthetic::normal(0.0, 1e-6).seed(3).tensor::<f32>("x", &[1000]).unwrap();
    let table = ledger(&x, &[Scheme::asymmetric(8), Scheme::asymmetric(8).with_convention(Convention::PyTorch)]).unwrap();
    let share = |row: usize| number(&table, "scale_storage", row) / number(&table, "squared_error", row);
    assert!(share(0).abs() < 1e-3 && share(1) > 0.95, "{} {}", share(0), share(1));
}

#[test]
fn a_power_of_two_costs_what_a_finer_scale_saves() {
    let x = Synthetic::normal(0.0, 1.0).seed(3).tensor::<f64>("x", &[8, 64]).unwrap();
    let power: Scheme = "mxfp4-mse".parse().unwrap();
    let table = ledger(&x, &[power]).unwrap();
    let best: Scheme = "e2m1-g32-mse".parse().unwrap();
    let found = number(&table, "rounding", 0) + number(&table, "clipping", 0);
    assert!(close(found, squared_error(&x, &best), 1e-9));
    let stored = number(&table, "scale_storage", 0);
    assert!(close(stored, squared_error(&x, &power) - squared_error(&x, &best), 1e-9) && stored > 0.0);
}

#[test]
fn real_weights() {
    let schemes = ["int8-sym", "uint4-asym-g128-sf16", "mxfp4", "nvfp4", "nf4-g64-dq", "int4-sym-g32-pytorch"];
    for tensor in all_weights() {
        for scheme in schemes {
            check(&tensor, &quantizer(scheme).unwrap());
        }
    }
}

#[test]
fn one_row_a_pair_as_in_a_report() {
    let tensors = synthetic();
    let schemes = [Scheme::asymmetric(8), Scheme::nf4().per_group(8)];
    let (table, report) = (ledger(&tensors, &schemes).unwrap(), report(&tensors, &schemes).unwrap());
    for name in ["tensor", "scheme", "elements"] {
        assert_eq!(table.column(name).unwrap(), report.column(name).unwrap());
    }
}
