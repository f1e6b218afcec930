//! Codes, parameters and values against the naive formulas.

use proptest::prelude::*;
use quantlens::{
    Calibration, Convention, Dtype, Error, Granularity, Mapping, QParams, Quantized, Scheme, Synthetic, Tensor, clamp,
    fake_quantize_with, quantize_with,
};

use crate::NOTEBOOK;
use crate::naive::{self, in_f32, in_f64};

#[test]
fn the_original_notebook_comes_out_to_the_last_digit() {
    let x = Tensor::from_slice("parameters", &NOTEBOOK).unwrap();
    let asymmetric = Scheme::asymmetric(8).with_convention(Convention::Original).quantize(&x).unwrap();
    assert_eq!(asymmetric.qparams().scale(), Some(0.6520392156862745));
    assert_eq!(asymmetric.qparams().zero_point(), Some(30));
    assert_eq!(
        asymmetric.codes().to_vec(),
        [152, 185, 103, 161, 0, 170, 157, 19, 168, 123, 134, 72, 207, 249, 190, 160, 255, 109, 223, 223]
    );
    let symmetric = Scheme::symmetric(8).with_convention(Convention::Original).quantize(&x).unwrap();
    assert_eq!(symmetric.qparams().scale(), Some(1.154251968503937));
    assert_eq!(
        symmetric.codes().to_vec(),
        [69, 87, 41, 74, -17, 79, 72, -6, 78, 53, 59, 24, 100, 124, 90, 73, 127, 44, 109, 109]
    );
    let rounded = |q: Quantized| {
        q.dequantize().unwrap().to_f64_vec().into_iter().map(|x| (x * 100.0).round_ties_even() / 100.0).collect::<Vec<_>>()
    };
    assert_eq!(
        rounded(asymmetric),
        [
            79.55, 101.07, 47.6, 85.42, -19.56, 91.29, 82.81, -7.17, 89.98, 60.64, 67.81, 27.39, 115.41, 142.8, 104.33, 84.77,
            146.71, 51.51, 125.84, 125.84
        ]
    );
    assert_eq!(
        rounded(symmetric),
        [
            79.64, 100.42, 47.32, 85.41, -19.62, 91.19, 83.11, -6.93, 90.03, 61.18, 68.1, 27.7, 115.43, 143.13, 103.88, 84.26,
            146.59, 50.79, 125.81, 125.81
        ]
    );
}

/// Values of many sizes, some on a grid so that ties happen.
fn values() -> impl Strategy<Value = Vec<f64>> {
    let any_size = (-6.0..6.0_f64, -1.0..1.0_f64).prop_map(|(exponent, x)| x * 10_f64.powf(exponent));
    let on_grid = (-40..40_i32).prop_map(|x| f64::from(x) / 4.0);
    prop_oneof![
        prop::collection::vec(any_size, 1..200),
        prop::collection::vec(on_grid, 1..200),
        prop::collection::vec(prop_oneof![Just(0.0), Just(-0.0), Just(1.5)], 1..20),
        prop::collection::vec(90.0..100.0_f64, 1..50),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_scheme_matches_naive(values in values(), bits in 1..=16_u32) {
        for scheme in naive::all_schemes(bits) {
            let x = Tensor::from_slice("x", &values).unwrap();
            let (min, max) = (x.min(), x.max());
            let (scale, zero_point) = in_f64::params(scheme, min, max);
            match scheme.quantize(&x) {
                Err(error) if matches!(error.cause(), Error::ZeroScale { .. } | Error::ZeroPointOverflow { .. }) => {
                    prop_assert_eq!(scheme.convention(), Convention::Original);
                    prop_assert!(scale == 0.0 || !(1.0 / scale).is_finite() || zero_point.abs() >= i64::MAX as f64);
                }
                Err(other) => prop_assert!(false, "{}: {}", scheme, other),
                Ok(quantized) => {
                    prop_assert_eq!(quantized.qparams().scale(), Some(scale), "{}", scheme);
                    prop_assert_eq!(quantized.qparams().zero_point(), Some(zero_point as i64), "{}", scheme);
                    let codes: Vec<i32> = values.iter().map(|&x| in_f64::code(scheme, x, scale, zero_point)).collect();
                    prop_assert_eq!(quantized.codes().to_vec(), codes.clone(), "{}", scheme);
                    let output: Vec<f64> = codes.iter().map(|&code| in_f64::dequantize(code, scale, zero_point)).collect();
                    prop_assert_eq!(quantized.dequantize().unwrap().to_f64_vec(), output, "{}", scheme);
                }
            }
        }
    }

    #[test]
    fn every_scheme_matches_naive_in_f32(values in values(), bits in 1..=16_u32) {
        let values: Vec<f32> = values.into_iter().map(|x| x as f32).collect();
        let x = Tensor::from_slice("x", &values).unwrap();
        for scheme in naive::all_schemes(bits) {
            let (scale, zero_point) = in_f32::params(scheme, x.min() as f32, x.max() as f32);
            let Ok(quantized) = scheme.quantize(&x) else {
                prop_assert!(scale == 0.0 || !(1.0 / scale).is_finite() || !zero_point.is_finite());
                continue;
            };
            prop_assert_eq!(quantized.qparams().scale(), Some(f64::from(scale)), "{}", scheme);
            let codes: Vec<i32> = values.iter().map(|&x| in_f32::code(scheme, x, scale, zero_point)).collect();
            prop_assert_eq!(quantized.codes().to_vec(), codes.clone(), "{}", scheme);
            let output: Vec<f64> = codes.iter().map(|&code| in_f32::dequantize(code, scale, zero_point).into()).collect();
            prop_assert_eq!(quantized.dequantize().unwrap().to_f64_vec(), output.clone(), "{}", scheme);
            prop_assert_eq!(scheme.fake_quantize(&x).unwrap().to_f64_vec(), output, "{}", scheme);
        }
    }

    #[test]
    fn given_parameters_clip_what_is_outside(values in values(), scale in 1e-4..10.0_f64, zero_point in 0..=255_i64) {
        let x = Tensor::from_slice("x", &values).unwrap();
        for scheme in naive::schemes(8).into_iter().filter(|scheme| scheme.quant_min() == 0 && scheme.mapping() == Mapping::Asymmetric) {
            let qparams = QParams::new(scheme, Dtype::F64, vec![scale], vec![zero_point]).unwrap();
            let codes: Vec<i32> = values.iter().map(|&x| in_f64::code(scheme, x, scale, zero_point as f64)).collect();
            prop_assert_eq!(quantize_with(&x, &qparams).unwrap().codes().to_vec(), codes);
        }
    }

    #[test]
    fn nothing_inside_the_range_errs_by_more_than_half_a_step(values in values(), bits in 2..=12_u32) {
        let x = Tensor::from_slice("x", &values).unwrap();
        let scheme = Scheme::symmetric(bits);
        let scale = scheme.qparams(&x).unwrap().scale().unwrap();
        for (x, y) in values.iter().zip(scheme.fake_quantize(&x).unwrap().to_f64_vec()) {
            prop_assert!((x - y).abs() <= scale / 2.0 * (1.0 + 1e-9));
        }
    }

    #[test]
    fn quantizing_again_changes_nothing(values in values(), bits in 2..=12_u32) {
        let x = Tensor::from_slice("x", &values).unwrap();
        let scheme = Scheme::symmetric(bits);
        let qparams = scheme.qparams(&x).unwrap();
        let once = fake_quantize_with(&x, &qparams).unwrap();
        prop_assert_eq!(fake_quantize_with(&once, &qparams).unwrap(), once);
    }
}

/// The block of an element, by the definition of the granularity: which index it has on each axis, and which part of the axis that is.
fn block_of(granularity: Granularity, shape: &[usize], index: usize) -> usize {
    let mut rest = index;
    let mut indices: Vec<usize> = shape
        .iter()
        .rev()
        .map(|length| {
            let index = rest % length;
            rest /= length;
            index
        })
        .collect();
    indices.reverse();
    let last = shape.len() - 1;
    let size_on = |axis: usize| match granularity {
        Granularity::PerTensor => shape[axis],
        Granularity::PerAxis(own) => {
            if axis == own {
                1
            } else {
                shape[axis]
            }
        }
        Granularity::PerGroup(size) => {
            if axis == last {
                size
            } else {
                1
            }
        }
        Granularity::PerGroupOn { axis: own, group_size } => {
            if axis == own {
                group_size
            } else {
                1
            }
        }
        Granularity::PerBlock([rows, columns]) => {
            if axis == last {
                columns
            } else if axis + 1 == last {
                rows
            } else {
                1
            }
        }
        _ => unreachable!("the test knows every granularity"),
    };
    (0..shape.len()).fold(0, |block, axis| block * shape[axis].div_ceil(size_on(axis)) + indices[axis] / size_on(axis))
}

#[test]
fn every_block_is_quantized_as_a_tensor_of_its_own() {
    for shape in [vec![3, 4, 5], vec![5, 7, 3], vec![1, 7], vec![6, 1], vec![130], vec![2, 5000], vec![2, 3, 4, 35]] {
        let x = Synthetic::laplace(0.3, 1.0).seed(5).tensor::<f32>("x", &shape).unwrap();
        let values = x.to_f64_vec();
        let axes = (0..shape.len()).map(Granularity::PerAxis);
        let groups = [1, 2, 3, 4, 5, 7, 32, 10_000].map(Granularity::PerGroup);
        let groups_on =
            (0..shape.len()).flat_map(|axis| [1, 2, 3, 32].map(|group_size| Granularity::PerGroupOn { axis, group_size }));
        let rectangles = [[1, 1], [2, 2], [3, 2], [1, 4], [4, 1], [128, 128]].map(Granularity::PerBlock);
        let rectangles = rectangles.into_iter().filter(|_| shape.len() > 1);
        for granularity in [Granularity::PerTensor].into_iter().chain(axes).chain(groups).chain(groups_on).chain(rectangles) {
            let members = members(granularity, &shape);
            for base in [
                "uint4-asym",
                "int5-sym-p90",
                "uint8-asym-tflite",
                "uint4-min",
                "int4-sym-mse",
                "mxfp4-tensor",
                "nf4",
                "e4m3fn-torchao",
                "ternary",
            ] {
                let base: Scheme = base.parse().unwrap();
                if base.calibration() == Calibration::Mse && members.len() > 1000 {
                    continue;
                }
                let scheme = base.with_granularity(granularity);
                let quantized = scheme.quantize(&x).unwrap();
                let output = quantized.dequantize().unwrap().to_f64_vec();
                let codes = quantized.codes().to_vec();
                assert_eq!(scheme.fake_quantize(&x).unwrap().to_f64_vec(), output);
                assert_eq!(quantized.qparams().scales().len(), members.len(), "{scheme} {shape:?}");
                for (block, members) in members.iter().enumerate() {
                    let own = Tensor::from_vec("own", members.iter().map(|&index| values[index] as f32).collect()).unwrap();
                    let own = base.quantize(&own).unwrap();
                    assert_eq!(own.qparams().scale(), Some(quantized.qparams().scales()[block]), "{scheme} {shape:?}");
                    let found: Vec<i32> = members.iter().map(|&index| codes[index]).collect();
                    assert_eq!(found, own.codes().to_vec(), "{scheme} {shape:?} block {block}");
                    let found: Vec<f64> = members.iter().map(|&index| output[index]).collect();
                    assert_eq!(found, own.dequantize().unwrap().to_f64_vec(), "{scheme} {shape:?} block {block}");
                }
            }
        }
    }
}

/// The elements of each block.
fn members(granularity: Granularity, shape: &[usize]) -> Vec<Vec<usize>> {
    let mut members = Vec::new();
    for index in 0..shape.iter().product() {
        let block = block_of(granularity, shape, index);
        if block >= members.len() {
            members.resize(block + 1, Vec::new());
        }
        members[block].push(index);
    }
    members
}

/// What a group becomes has nothing to do with where it stands.
#[test]
fn permuting_groups_permutes_what_they_become() {
    let x = Synthetic::normal(0.2, 1.0).outliers(0.01, 20.0).seed(6).tensor::<f32>("x", &[10, 96]).unwrap();
    let values = x.values::<f32>().unwrap();
    // 7 has no divisor in common with 30, so this meets each group once.
    let permuted: Vec<f32> = (0..30).flat_map(|group| values[group * 7 % 30 * 32..][..32].to_vec()).collect();
    let permuted = Tensor::new("permuted", &[10, 96], permuted).unwrap();
    for name in [
        "uint4-asym-g32",
        "int3-sym-g32-pytorch",
        "mxfp8-e4m3",
        "mxfp4-rceil",
        "mxint8",
        "nvfp4-g32",
        "nf4-g32",
        "uint4-min-g32",
        "e4m3fn-g32-half-down",
    ] {
        let scheme: Scheme = name.parse().unwrap();
        let (codes, other) = (scheme.quantize(&x).unwrap(), scheme.quantize(&permuted).unwrap());
        let (found, other_found) = (codes.codes().to_vec(), other.codes().to_vec());
        for group in 0..30 {
            assert_eq!(other_found[group * 32..][..32], found[group * 7 % 30 * 32..][..32], "{name} {group}");
            assert_eq!(other.qparams().scales()[group], codes.qparams().scales()[group * 7 % 30], "{name} {group}");
        }
    }
}

/// Tensors of many values are searched another way: the same numbers as sorting gives.
#[test]
fn the_percentile_of_many_values_is_that_of_the_sorted_ones() {
    let exact = |mut values: Vec<f64>, p: f64| {
        values.sort_by(f64::total_cmp);
        let rank = p / 100.0 * (values.len() - 1) as f64;
        let (low, high) = (values[rank.floor() as usize], values[rank.ceil() as usize]);
        let (step, weight) = (high / 2.0 - low / 2.0, rank - rank.floor());
        if weight < 0.5 { low + 2.0 * weight * step } else { high - 2.0 * (1.0 - weight) * step }
    };
    let normal = Synthetic::normal(0.1, 1.0).outliers(0.01, 50.0).seed(5);
    let f64 = normal.tensor::<f64>("x", &[70_001]).unwrap();
    let f32 = normal.tensor::<f32>("x", &[300_000]).unwrap();
    let few = Tensor::from_vec("x", (0..100_000).map(|index| f64::from(index % 3) - 1.0).collect()).unwrap();
    for x in [f64, f32, few] {
        for p in [100.0, 99.99, 99.0, 60.0, 12.5] {
            let magnitudes: Vec<f64> = x.to_f64_vec().iter().map(|x| x.abs()).collect();
            let magnitude = exact(magnitudes, p);
            match Scheme::symmetric(8).percentile(p).qparams(&x) {
                Ok(qparams) => {
                    let expected = match x.dtype() {
                        Dtype::F32 => f64::from(magnitude as f32 / 127.0),
                        Dtype::F64 => magnitude / 127.0,
                    };
                    assert_eq!(qparams.scale(), Some(expected), "{p} of {}", x.len());
                }
                Err(error) if matches!(error.cause(), Error::CalibratedToZero { .. }) => assert_eq!(magnitude, 0.0),
                Err(other) => panic!("{other}"),
            }
            let (low, high) = (exact(x.to_f64_vec(), (100.0 - p) / 2.0), exact(x.to_f64_vec(), (100.0 + p) / 2.0));
            if x.dtype() == Dtype::F64 && low < high {
                let scheme = Scheme::asymmetric(8).with_convention(Convention::Original).percentile(p);
                assert_eq!(scheme.qparams(&x).unwrap().scale(), Some((high - low) / 255.0), "{p} of {}", x.len());
            }
        }
    }
}

#[test]
fn percentile_is_numpys() {
    // numpy.percentile([15, 20, 35, 40, 50], [2.5, 97.5]) == [15.5, 49.0]; of |x| the 40th is 29.
    let x = Tensor::from_vec("x", vec![15.0, 20.0, 35.0, 40.0, 50.0]).unwrap();
    let asymmetric = Scheme::asymmetric(8).with_convention(Convention::Original).percentile(95.0).qparams(&x).unwrap();
    assert_eq!(asymmetric.scale(), Some((49.0 - 15.5) / 255.0));
    let symmetric = Scheme::symmetric(8).percentile(40.0).qparams(&x).unwrap();
    assert_eq!(symmetric.scale(), Some(29.0 / 127.0));
    let all = Scheme::symmetric(8).percentile(100.0).qparams(&x).unwrap();
    assert_eq!(all.scale(), Some(50.0 / 127.0));
}

#[test]
fn a_percentile_clips_outliers_and_keeps_the_rest_finer() {
    let x = Synthetic::normal(0.0, 1.0).outliers(0.001, 50.0).seed(9).tensor::<f32>("x", &[20_000]).unwrap();
    let wide = Scheme::symmetric(8).qparams(&x).unwrap().scale().unwrap();
    let narrow = Scheme::symmetric(8).percentile(99.9).qparams(&x).unwrap().scale().unwrap();
    assert!(narrow < wide / 4.0, "{narrow} against {wide}");
}

#[test]
fn onnx_dynamic_quantize_linear_examples() {
    // Source: tract issue 2672.
    let codes = |values: &[f32]| Scheme::asymmetric(8).quantize(&Tensor::from_slice("x", values).unwrap()).unwrap();
    assert_eq!(codes(&[-127.0, 128.0, 0.5]).codes().to_vec(), [0, 255, 127]);
    assert_eq!(codes(&[-253.0, 257.0]).qparams().zero_point(), Some(126));
}

#[test]
fn the_originals_dead_clamp_lets_codes_out_that_no_byte_holds() {
    let scheme = Scheme::symmetric(8).with_convention(Convention::Original);
    assert_eq!((scheme.quant_min(), scheme.quant_max()), (-257, 127));
    let qparams = QParams::new(scheme, Dtype::F64, vec![1.0], vec![0]).unwrap();
    let x = Tensor::from_vec("x", vec![-1e6, -200.0, 200.0]).unwrap();
    assert_eq!(quantize_with(&x, &qparams).unwrap().codes().to_vec(), [-257, -200, 127]);
}

#[test]
fn json_gives_the_same_value_back() {
    let x = Synthetic::normal(0.0, 1.0).seed(1).tensor::<f32>("x", &[3, 7]).unwrap();
    for scheme in [Scheme::asymmetric(8), Scheme::symmetric(16).per_axis(1), Scheme::symmetric(4).per_group(3).percentile(99.5)] {
        let quantized = scheme.quantize(&x).unwrap();
        let json = serde_json::to_string(&quantized).unwrap();
        assert_eq!(serde_json::from_str::<Quantized>(&json).unwrap(), quantized);
        let json = serde_json::to_string(quantized.qparams()).unwrap();
        assert_eq!(&serde_json::from_str::<QParams>(&json).unwrap(), quantized.qparams());
    }
    let broken = r#"{"name":"x","shape":[2],"qparams":{"scheme":"uint4-asym","dtype":"f32","scales":[1.0],"zero_points":[0]},"codes":{"u8":[3,16]}}"#;
    let error = serde_json::from_str::<Quantized>(broken).unwrap_err().to_string();
    assert!(error.contains("code 16 at index 1 is outside 0 to 15"), "{error}");
}

#[test]
fn clamp_copies_and_checks_its_bounds() {
    let values = [-1.0_f32, 0.5, f32::INFINITY];
    assert_eq!(clamp(&values, 0.0, 1.0).unwrap(), [0.0, 0.5, 1.0]);
    assert_eq!(values[0], -1.0);
    assert!(matches!(clamp(&values, 1.0, 0.0), Err(Error::ClampBounds { .. })));
    assert!(matches!(clamp(&values, f32::NAN, 0.0), Err(Error::ClampBounds { .. })));
    assert!(matches!(clamp(&[0.0, f64::NAN], 0.0, 1.0), Err(Error::NotFinite { index: 1, .. })));
}
