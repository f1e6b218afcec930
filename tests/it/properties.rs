//! What holds for every format under every rounding, compared with the definition: find the neighbours in the sorted grid and decide.

use quantlens::{
    Codebook, Dtype, Format, Minifloat, QParams, Rounding, Scheme, Specials, Synthetic, Tensor, fake_quantize_with, quantize_with,
};

use crate::naive::{self, Rng};

const DETERMINISTIC: [Rounding; 8] = [
    Rounding::HalfToEven,
    Rounding::HalfAwayFromZero,
    Rounding::HalfTowardZero,
    Rounding::HalfUp,
    Rounding::HalfDown,
    Rounding::TowardZero,
    Rounding::Down,
    Rounding::Up,
];

/// Every known format that numbers are stored in, and others of each kind.
fn formats() -> Vec<Format> {
    let minifloat = |exponent, mantissa, bias, specials| Minifloat::new(exponent, mantissa, bias, specials).unwrap();
    let mut formats: Vec<Format> = (1..=8).chain([12]).flat_map(|bits| [Format::int(bits), Format::uint(bits)]).collect();
    formats.extend(Minifloat::ALL.into_iter().filter(|format| *format != Minifloat::E8M0).map(Format::Float));
    formats.extend(
        [
            minifloat(3, 0, 3, Specials::None),
            minifloat(4, 0, 7, Specials::NanOnly),
            minifloat(2, 2, 1, Specials::None),
            minifloat(1, 2, 0, Specials::None),
            minifloat(1, 6, 1, Specials::NanIsNegativeZero),
            minifloat(4, 3, 11, Specials::NanIsNegativeZero),
            minifloat(3, 3, -20, Specials::Ieee),
            minifloat(3, 2, 40, Specials::NanOnly),
            minifloat(5, 4, 15, Specials::Ieee),
        ]
        .map(Format::Float),
    );
    formats.extend(Codebook::ALL.map(Format::Codebook));
    formats.extend(own_codebooks().map(Format::Codebook));
    formats
}

/// Few values, unevenly; and more than are compared one by one.
fn own_codebooks() -> [Codebook; 2] {
    let many: Vec<f64> = (0..300).map(|i| (f64::from(i) - 120.5) * (f64::from(i) + 1.0) / 64.0).collect();
    [Codebook::new("property_thirds", &[-1.0, -1.0 / 3.0, 0.0, 0.7]).unwrap(), Codebook::new("property_many", &many).unwrap()]
}

/// Every value of the grid and every threshold between two of them, the numbers next to these, and numbers outside, in this type.
macro_rules! points {
    ($t:ident, $format:expr) => {{
        let grid = naive::Grid::new($format);
        let mut places: Vec<f64> = grid.values().to_vec();
        places.extend((1..grid.values().len()).map(|position| grid.threshold(position)));
        let (low, high) = (grid.values()[0], grid.values()[grid.values().len() - 1]);
        places.extend([2.0 * low, 1.01 * low, 1.01 * high, 2.0 * high, high + 0.5, low - 0.5]);
        let places = places.into_iter().map(|x| x as $t).filter(|x| x.is_finite() && x.abs() < $t::MAX);
        places.flat_map(|x| [x.next_down(), x, x.next_up()]).collect::<Vec<$t>>()
    }};
}

macro_rules! check_rounding {
    ($t:ident) => {
        for format in formats() {
            let grid = naive::Grid::new(format).stored_as(|value| f64::from(value as $t));
            let points = points!($t, format);
            let x = Tensor::from_slice("x", &points).unwrap();
            let (first, last) = format.code_range();
            for rounding in DETERMINISTIC {
                let scheme = Scheme::cast(format).with_rounding(rounding);
                let quantized = scheme.quantize(&x).unwrap();
                let values = quantized.dequantize().unwrap();
                assert_eq!(scheme.fake_quantize(&x).unwrap(), values, "{scheme}");
                let values: &[$t] = values.values().unwrap();
                for (index, (&x, &found)) in points.iter().zip(values).enumerate() {
                    let code = quantized.codes().get(index).unwrap();
                    assert!((first..=last).contains(&code), "{scheme}: code {code} of {x:e}");
                    assert_eq!(format.decode(code) as $t, found, "{scheme}: {x:e}");
                    let expected = grid.round(x.into(), rounding) as $t;
                    assert_eq!(found, expected, "{scheme}: {x:e}");
                }
            }
        }
    };
}

#[test]
fn every_format_rounds_to_the_neighbour_that_the_rounding_says_in_f32() {
    check_rounding!(f32);
}

#[test]
fn every_format_rounds_to_the_neighbour_that_the_rounding_says_in_f64() {
    check_rounding!(f64);
}

/// Random numbers rather than chosen ones, of every magnitude that the format has.
#[test]
fn the_default_rounding_is_to_the_nearest() {
    let mut rng = Rng::new(1);
    for format in formats() {
        let largest = format.largest().max(-format.lowest());
        let numbers: Vec<f64> =
            (0..4000).map(|_| largest * 1.1 * (2.0 * rng.unit() - 1.0) * (-20.0 * rng.unit() * rng.unit()).exp2()).collect();
        let x = Tensor::from_slice("x", &numbers).unwrap();
        let grid = naive::Grid::new(format);
        // FP4's thresholds are not quite the middles, and NF4's are those of f32.
        let slack = if [Format::from(Codebook::FP4), Codebook::NF4.into()].contains(&format) { 1e-6 } else { 0.0 };
        for (x, y) in numbers.iter().zip(Scheme::cast(format).fake_quantize(&x).unwrap().to_f64_vec()) {
            let nearest = grid.values().iter().map(|value| (value - x).abs()).fold(f64::INFINITY, f64::min);
            assert!((x - y).abs() <= nearest + slack, "{format}: {x} became {y}");
        }
    }
}

/// -0 keeps its code where a format has a mantissa; elsewhere it may be that of 0.
#[test]
fn what_is_on_the_grid_keeps_its_code_whatever_the_rounding() {
    for format in formats() {
        let grid = format.grid();
        let values: Vec<f64> = grid.iter().map(|(_, value)| *value).collect();
        let x = Tensor::from_slice("x", &values).unwrap();
        for rounding in DETERMINISTIC.into_iter().chain([Rounding::Stochastic { seed: 3 }]) {
            let codes = Scheme::cast(format).with_rounding(rounding).quantize(&x).unwrap().codes().to_vec();
            for (code, (expected, value)) in codes.into_iter().zip(&grid) {
                let has_one_zero = matches!(format, Format::Float(float) if float.mantissa_bits() > 0) || *value != 0.0;
                assert!(
                    code == *expected || (!has_one_zero && format.decode(code) == 0.0),
                    "{format} {rounding}: {value} became {code}"
                );
            }
        }
    }
}

/// Of integers, under every convention: half a step where the code is not at an end, and a step for those that do not round to nearest.
#[test]
fn nothing_inside_the_range_errs_by_more_than_the_rounding_allows() {
    let x = Synthetic::laplace(0.4, 1.0).seed(11).tensor::<f64>("x", &[700]).unwrap();
    let mut inside = 0;
    for scheme in (2..=16).flat_map(naive::all_schemes) {
        let stochastic = scheme.with_rounding(Rounding::Stochastic { seed: 5 });
        for scheme in [scheme, stochastic] {
            let quantized = scheme.quantize(&x).unwrap();
            let scale = quantized.qparams().scale().unwrap();
            let to_nearest = DETERMINISTIC[..5].contains(&scheme.rounding());
            let allowed = scale * if to_nearest { 0.5 } else { 1.0 } * (1.0 + 1e-9);
            let values = quantized.dequantize().unwrap().to_f64_vec();
            for ((x, y), code) in x.to_f64_vec().into_iter().zip(values).zip(quantized.codes().to_vec()) {
                if (scheme.quant_min() + 1..scheme.quant_max()).contains(&code) {
                    assert!((x - y).abs() <= allowed, "{scheme}: {x} became {y} with a scale of {scale}");
                    inside += 1;
                }
            }
        }
    }
    assert!(inside > 1_000_000);
}

#[test]
fn quantizing_again_with_the_same_parameters_changes_nothing() {
    let x = Synthetic::normal(0.1, 1.0).seed(12).tensor::<f32>("x", &[500]).unwrap();
    for format in formats() {
        let base = match format {
            Format::Int { bits: 1, .. } => continue,
            Format::Int { bits, .. } => Scheme::symmetric(bits),
            Format::Float(float) => Scheme::float(float),
            Format::Codebook(codebook) => Scheme::codebook(codebook),
            _ => unreachable!("the test knows every format"),
        };
        for rounding in &DETERMINISTIC[..5] {
            let scheme = base.with_rounding(*rounding);
            let qparams = scheme.qparams(&x).unwrap();
            let once = fake_quantize_with(&x, &qparams).unwrap();
            assert_eq!(fake_quantize_with(&once, &qparams).unwrap(), once, "{scheme}");
        }
    }
}

/// With a scale that is no power of two q · s is rounded, and q · s / s may be just below q.
#[test]
fn quantizing_again_may_change_something_where_numbers_are_rounded_down() {
    let scheme = Scheme::symmetric(8).with_rounding(Rounding::Down);
    let x = Tensor::from_vec("x", (1..=127).map(|code| code as f32 * 0.3).collect()).unwrap();
    let mut moved = 0;
    for scale in [0.3, 0.7, 1.1, 0.0123] {
        let qparams = QParams::new(scheme, Dtype::F32, vec![scale], vec![0]).unwrap();
        let once = fake_quantize_with(&x, &qparams).unwrap();
        moved += usize::from(fake_quantize_with(&once, &qparams).unwrap() != once);
    }
    assert!(moved > 0);
    let qparams = QParams::new(scheme, Dtype::F32, vec![0.25], vec![0]).unwrap();
    let once = fake_quantize_with(&x, &qparams).unwrap();
    assert_eq!(fake_quantize_with(&once, &qparams).unwrap(), once);
}

/// PyTorch's int8 clips the largest of 127.5 steps to 127: calibrated anew, what comes back is finer than what went in.
#[test]
fn calibrating_again_may_change_the_scale() {
    let x = Tensor::from_vec("x", vec![1.0, 0.3]).unwrap();
    let torch: Scheme = "int8-sym-pytorch".parse().unwrap();
    let once = torch.fake_quantize(&x).unwrap();
    assert!(torch.qparams(&once).unwrap().scale() < torch.qparams(&x).unwrap().scale());
    let onnx = Scheme::symmetric(8);
    let once = onnx.fake_quantize(&x).unwrap();
    assert_eq!(onnx.fake_quantize(&once).unwrap(), once);
}

/// SplitMix64 one number after the other, as its paper has it; the share of the way up that it gives decides.
#[test]
fn stochastic_rounding_goes_up_where_the_generator_says() {
    let mut rng = Rng::new(2);
    let numbers: Vec<f64> = (0..5000).map(|_| 20.0 * rng.unit() - 10.0).collect();
    let x = Tensor::from_slice("x", &numbers).unwrap();
    for seed in [0, 7, u64::MAX] {
        let found = Scheme::cast(Format::int(8)).with_rounding(Rounding::Stochastic { seed }).quantize(&x).unwrap();
        let mut rng = Rng::new(seed);
        for (index, x) in numbers.iter().enumerate() {
            let rises = x - x.floor() > rng.unit();
            assert_eq!(found.codes().get(index), Some(x.floor() as i32 + i32::from(rises)), "{index}: {x}");
        }
    }
}

/// The mean of n roundings is within five standard deviations, gap · √(p (1 - p) / n), of the number.
#[test]
fn stochastic_rounding_is_right_on_average() {
    let n = 40_000;
    let schemes =
        [Format::int(8), Minifloat::E4M3FN.into(), Minifloat::E2M1.into(), Codebook::NF4.into(), own_codebooks()[1].into()];
    for format in schemes {
        let grid = naive::Grid::new(format);
        for (number, seed) in [(0.3, 1), (-0.62, 2), (0.501, 3), (0.8, 4), (0.01, 5)] {
            let (low, high) = grid.neighbours(number);
            let x = Tensor::from_vec("x", vec![number; n]).unwrap();
            let y = Scheme::cast(format).with_rounding(Rounding::Stochastic { seed }).fake_quantize(&x).unwrap().to_f64_vec();
            assert!(y.iter().all(|y| *y == low || *y == high), "{format} {number}");
            let share = (number - low) / (high - low);
            let deviation = (high - low) * (share * (1.0 - share) / n as f64).sqrt();
            let mean = y.iter().sum::<f64>() / n as f64;
            assert!((mean - number).abs() <= 5.0 * deviation, "{format} {number}: {mean}");
        }
    }
}

/// A choice depends on the seed and the element's index: not on threads, shape or blocks.
#[test]
fn stochastic_rounding_is_the_same_however_the_tensor_is_cut() {
    let (rows, columns) = (120, 1000);
    let x = Synthetic::normal(0.0, 1.0).seed(4).tensor::<f32>("x", &[rows, columns]).unwrap();
    for base in ["int8-sym-stochastic9", "e4m3fn-stochastic9", "e3m0finite-stochastic9", "nf4-stochastic9"] {
        let base: Scheme = base.parse().unwrap();
        let codes = |scheme: Scheme, x: &Tensor, blocks: usize| {
            let qparams = QParams::new(scheme, Dtype::F32, vec![0.05; blocks], vec![0; blocks]).unwrap();
            let values = fake_quantize_with(x, &qparams).unwrap();
            let quantized = quantize_with(x, &qparams).unwrap();
            assert_eq!(quantized.dequantize().unwrap(), values);
            quantized.codes().clone()
        };
        let whole = codes(base, &x, 1);
        for (scheme, blocks) in [
            (base.per_axis(0), rows),
            (base.per_axis(1), columns),
            (base.per_group(7), rows * columns.div_ceil(7)),
            (base.per_group_on(0, 7), rows.div_ceil(7) * columns),
            (base.per_block([16, 33]), rows.div_ceil(16) * columns.div_ceil(33)),
        ] {
            assert_eq!(codes(scheme, &x, blocks), whole, "{scheme}");
        }
        assert_eq!(codes(base, &x.clone().with_shape(&[rows * columns]).unwrap(), 1), whole);
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            assert_eq!(pool.install(|| codes(base, &x, 1)), whole, "{threads} threads");
        }
        let other = base.with_rounding(Rounding::Stochastic { seed: 10 });
        assert_ne!(codes(other, &x, 1), whole);
    }
}
