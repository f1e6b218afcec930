//! Scales as they are stored, and what the presets make of blocks that have little to scale.

use quantlens::{Convention, Error, Format, Minifloat, ScaleFormat, ScaleRule, Scheme, SymmetricRange, Synthetic, Tensor};

use crate::naive;

const FORMATS: [ScaleFormat; 7] = [
    ScaleFormat::F16,
    ScaleFormat::BF16,
    ScaleFormat::E4M3,
    ScaleFormat::E8M0,
    ScaleFormat::Float(Minifloat::E5M2),
    ScaleFormat::PowerOfTwo,
    ScaleFormat::F32,
];

/// The nearest number of the type for those that round, ties to even; a power of two at most a factor of two away by every rule.
#[test]
fn every_stored_scale_is_one_of_its_type_and_next_to_the_exact_one() {
    let x = Synthetic::laplace(0.0, 1.0).seed(21).tensor::<f64>("x", &[64, 32]).unwrap();
    for base in ["int8-sym-g16", "uint4-asym-g16", "uint4-min-g16", "e2m1-g16", "nf4-g16", "int4-sym-noclip-g16-torchao"] {
        let base: Scheme = base.parse().unwrap();
        let exact = base.qparams(&x).unwrap();
        for format in FORMATS {
            let rules = [ScaleRule::Floor, ScaleRule::Ceil, ScaleRule::RoundUp, ScaleRule::Even, ScaleRule::Nearest];
            for rule in rules.into_iter().filter(|rule| format.is_power_of_two() || *rule == ScaleRule::Floor) {
                let scheme = base.with_scale_format(format).with_scale_rule(rule);
                let stored = scheme.qparams(&x).unwrap();
                for (&stored, &exact) in stored.scales().iter().zip(exact.scales()) {
                    match format {
                        ScaleFormat::Float(float) if float != Minifloat::E8M0 => {
                            let grid = naive::Grid::new(Format::Float(float));
                            assert_eq!(stored, grid.round(exact, quantlens::Rounding::HalfToEven), "{scheme}");
                        }
                        ScaleFormat::F32 => assert_eq!(stored, f64::from(exact as f32), "{scheme}"),
                        _ => {
                            assert_eq!(stored.log2().fract(), 0.0, "{scheme}: {stored}");
                            let ratio = stored / exact;
                            // The floor rule takes the largest code for a power of two, which it is not.
                            assert!((0.25..=4.0).contains(&ratio), "{scheme}: {stored} for {exact}");
                            let is_smallest =
                                rule == ScaleRule::RoundUp && scheme.symmetric_range() != SymmetricRange::NoClipping;
                            assert!(!is_smallest || (1.0..2.0).contains(&ratio), "{scheme}: {stored} for {exact}");
                        }
                    }
                }
            }
        }
    }
}

/// f64 data, whose scales no other type holds.
#[test]
fn a_scale_that_its_type_cannot_hold_is_an_error() {
    let block = |size: f64| Tensor::from_vec("x", vec![0.3 * size, -size]).unwrap();
    for format in [ScaleFormat::F16, ScaleFormat::BF16, ScaleFormat::E4M3, ScaleFormat::F32, ScaleFormat::Float(Minifloat::E2M1)]
    {
        for base in [Scheme::symmetric(8), Scheme::asymmetric(4), Scheme::float(Minifloat::E4M3FN)] {
            let scheme = base.with_scale_format(format);
            assert!(fails!(scheme.qparams(&block(1e-80)), Error::ScaleUnderflow { .. }, in block 0), "{scheme}");
            assert!(fails!(scheme.qparams(&block(1e80)), Error::ScaleOverflow { .. }, in block 0), "{scheme}");
        }
    }
    for format in [ScaleFormat::E8M0, ScaleFormat::PowerOfTwo] {
        let scheme = Scheme::float(Minifloat::E4M3FN).with_scale_format(format);
        assert!(fails!(scheme.qparams(&block(1e80)), Error::ScaleOverflow { .. }, in block 0), "{scheme}");
        let smallest = if format == ScaleFormat::E8M0 { -127_f64 } else { -126.0 };
        assert_eq!(scheme.qparams(&block(1e-80)).unwrap().scale(), Some(smallest.exp2()), "{scheme}");
    }
    // Of several blocks the first one's.
    let x = Tensor::from_vec("x", vec![1.0, 1.0, 1e80, 0.0, 1e-80, 0.0]).unwrap();
    let error = "int8-sym-g2-sf16".parse::<Scheme>().unwrap().qparams(&x).unwrap_err();
    assert!(matches!(error.cause(), Error::ScaleOverflow { .. }) && error.block() == Some(1), "{error}");
}

/// Largest magnitude next to the places where a rule changes its mind, in exact arithmetic.
#[test]
fn powers_of_two_are_those_of_the_rules() {
    let exponent = |rule: &str, amax: f64| {
        let scheme: Scheme = format!("mxfp8-e4m3{rule}").parse().unwrap();
        scheme.qparams(&Tensor::from_vec("x", vec![-amax, 0.0]).unwrap()).unwrap().scales()[0].log2()
    };
    for shift in [0, -100, 60] {
        let shifted = |rule, amax: f64| exponent(rule, amax * f64::from(shift).exp2()) - f64::from(shift);
        for (rule, amax, expected) in [
            ("", 256.0, 0.0),
            ("", 512.0_f64.next_down(), 0.0),
            ("", 512.0, 1.0),
            ("-ceil", 256.0, 0.0),
            ("-ceil", 256.0_f64.next_up(), 1.0),
            ("-ceil", 512.0, 1.0),
            ("-rceil", 448.0, 0.0),
            ("-rceil", 448.0_f64.next_up(), 1.0),
            ("-rceil", 224.0, -1.0),
            // 1.9375 · 2⁸ rounds up to 2⁹ with three bits.
            ("-even", 496.0_f64.next_down(), 0.0),
            ("-even", 496.0, 1.0),
        ] {
            assert_eq!(shifted(rule, amax), expected, "{rule} {amax} shifted by {shift}");
        }
    }
}

/// The f64 next to √2 is above it.
#[test]
fn the_nearest_power_of_two_changes_at_the_root_of_two() {
    let scheme: Scheme = "int2-sym-restricted-spow2-nearest".parse().unwrap();
    for exponent in [-90, -1, 0, 1, 100] {
        let scale = |amax: f64| {
            let x = Tensor::from_vec("x", vec![amax * f64::from(exponent).exp2(), 0.0]).unwrap();
            scheme.qparams(&x).unwrap().scales()[0].log2() - f64::from(exponent)
        };
        assert_eq!(scale(std::f64::consts::SQRT_2.next_down()), 0.0);
        assert_eq!(scale(std::f64::consts::SQRT_2), 1.0);
    }
}

/// A line for each scheme and block: the scale, or the error, and the values that come back.
const DEGENERATE: &str = include_str!("degenerate.txt");

/// Scale (or error) and values of a block, in words.
fn outcome(scheme: Scheme, block: &[f32]) -> String {
    let x = Tensor::from_slice("x", block).unwrap();
    match scheme.quantize(&x) {
        Err(error) if matches!(error.cause(), Error::ScaleOverflow { .. }) => "scale overflows".to_owned(),
        Err(error) if matches!(error.cause(), Error::ScaleUnderflow { .. }) => "scale underflows".to_owned(),
        Err(error) if matches!(error.cause(), Error::RangeOverflow { .. }) => "range overflows".to_owned(),
        Err(other) => panic!("{scheme}: {other}"),
        Ok(quantized) => {
            let values = match quantized.dequantize() {
                Err(Error::DequantizedOverflow { .. }) => "value overflows".to_owned(),
                y => y.unwrap().to_f64_vec().iter().map(|y| format!("{y:e}")).collect::<Vec<_>>().join(" "),
            };
            format!("{:e}: {values}", quantized.qparams().scales()[0] as f32)
        }
    }
}

#[test]
fn degenerate_blocks_have_a_definite_result() {
    let blocks: [(&str, [f32; 4]); 7] = [
        ("zeros", [0.0; 4]),
        ("constant", [-0.75; 4]),
        ("outlier", [1e-3, -1e-3, 0.0, 1e4]),
        ("subnormal", [3e-42, -1e-42, 0.0, 0.0]),
        ("small", [3e-20, -1e-20, 0.0, 0.0]),
        ("large", [3e20, -1e20, 0.0, 0.0]),
        ("largest", [f32::MAX, -f32::MAX, 0.0, 1.0]),
    ];
    let mut table = String::new();
    for name in [
        "mxfp8-e4m3",
        "mxfp8-e5m2",
        "mxfp6-e2m3",
        "mxfp6-e3m2",
        "mxfp4",
        "mxfp4-ceil",
        "mxint8",
        "nvfp4",
        "nvfp4-torchao",
        "nf4",
        "nf4-torchao",
        "nf4-dq",
        "fp4",
        "ternary",
        "binary",
        "e4m3fn",
        "int4-sym-sf16",
        "uint4-min-sbf16",
        "uint4-asym-se4m3fn",
    ] {
        let scheme: Scheme = name.parse().unwrap();
        for (what, block) in &blocks {
            table += &format!("{name} {what} {}\n", outcome(scheme, block));
        }
    }
    assert_eq!(table.trim(), DEGENERATE.trim());
}

/// The original has no scale for them.
#[test]
fn a_block_of_zeros_comes_back_as_zeros() {
    let x = Tensor::from_vec("x", vec![0.0_f32; 40]).unwrap();
    let mut schemes: Vec<Scheme> =
        (2..=16).flat_map(naive::all_schemes).filter(|scheme| scheme.convention() != Convention::Original).collect();
    for name in ["mxfp8-e4m3", "mxfp4", "mxint8", "nvfp4", "nf4-g32", "nf4-g32-dq", "fp4-g32", "ternary", "uint4-min-g16"] {
        let scheme: Scheme = name.parse().unwrap();
        schemes.extend([scheme, scheme.with_convention(Convention::TorchAo), scheme.with_convention(Convention::PyTorch)]);
    }
    for scheme in schemes {
        assert!(scheme.fake_quantize(&x).unwrap().to_f64_vec().iter().all(|&y| y == 0.0), "{scheme}");
    }
}

/// Double quantization takes the mean of the scales off, and that of a block of zeros is 0 as bitsandbytes has it.
#[test]
fn zeros_and_small_blocks_under_double_quantization() {
    let scheme: Scheme = "nf4-g4-dq".parse().unwrap();
    let x = Tensor::from_vec("x", vec![0.0_f32, 0.0, 0.0, 0.0, 3.0, 1.0, -1.0, 0.5, 6.0, 1.0, 1.0, 1.0]).unwrap();
    let qparams = scheme.qparams(&x).unwrap();
    let stored = &serde_json::to_value(&qparams).unwrap()["stored"]["double"];
    assert_eq!(stored["mean"], 3.0);
    assert!((qparams.scales()[1] - 3.0).abs() < 0.01 && (qparams.scales()[2] - 6.0).abs() < 0.01);
    // The nearest code of 0 is one of the smallest, and the next that is above 0 is taken.
    assert!(qparams.scales()[0] > 0.0 && qparams.scales()[0] < 0.2, "{:?}", qparams.scales());
    assert_eq!(scheme.fake_quantize(&x).unwrap().to_f64_vec()[..4], [0.0; 4]);
    let zeros = Tensor::from_vec("x", vec![0.0_f32; 12]).unwrap();
    assert_eq!(scheme.qparams(&zeros).unwrap().scales(), [1.0; 3]);
    // Magnitudes of many sizes, whose smallest would come out below 0.
    for seed in 0..50 {
        let normal = Synthetic::normal(0.0, 3.0).seed(seed).tensor::<f32>("x", &[1200]).unwrap();
        let magnitudes = normal.to_f64_vec().into_iter().map(|x| x.exp() as f32).collect();
        let qparams = scheme.qparams(&Tensor::from_vec("x", magnitudes).unwrap()).unwrap();
        assert!(qparams.scales().iter().all(|&scale| scale > 0.0), "{seed}");
    }
}

#[test]
fn a_tensor_whose_second_level_vanishes_keeps_its_values_apart() {
    let mut values = vec![0.0_f32; 16];
    (values[0], values[1]) = (3e-42, -1e-42);
    let x = Tensor::from_vec("x", values).unwrap();
    let qparams = Scheme::nvfp4().qparams(&x).unwrap();
    assert_eq!(qparams.tensor_scale(), Some(f64::from(f32::from_bits(1))));
    let y = Scheme::nvfp4().fake_quantize(&x).unwrap().to_f64_vec();
    assert!((y[0] - 3e-42).abs() < 1e-43 && (y[1] + 1e-42).abs() < 3e-43, "{y:?}");
}

/// The scale of data is finite, and what it would have to be is not.
#[test]
fn a_scale_beyond_the_type_is_an_error() {
    let small = quantlens::Codebook::new("storage_small", &[-0.25, 0.0, 0.125]).unwrap();
    let x = Tensor::from_vec("x", vec![f32::MAX, 1.0]).unwrap();
    for scheme in [Scheme::codebook(small), Scheme::codebook(small).with_convention(Convention::PyTorch)] {
        assert!(fails!(scheme.qparams(&x), Error::RangeOverflow { .. }), "{scheme}");
    }
}

/// Of MX the codes are fractions; of other integers a stored power of two is the scale itself, and the convention says which codes there are.
#[test]
fn powers_of_two_of_integers() {
    let x = Tensor::from_vec("x", vec![0.0_f32, 127.5]).unwrap();
    let bytes = |name: &str| name.parse::<Scheme>().unwrap().quantize(&x).unwrap().to_bytes().unwrap().scales;
    assert_eq!(bytes("mxint8"), [127 + 6]);
    assert_eq!(bytes("uint8-asym-se8m0"), [127 - 1]);
    assert_eq!(bytes("uint8-sym-se8m0"), [127]);
    assert_eq!(bytes("int8-sym-spow2"), [0]);
    let range = |name: &str| name.parse::<Scheme>().unwrap().symmetric_range();
    assert_eq!(range("mxint8"), SymmetricRange::Full);
    assert_eq!(range("mxint8-tensor-tflite"), SymmetricRange::Full);
    assert_eq!(range("int8-sym-spow2-tflite"), SymmetricRange::Restricted);
    // The most negative value is the largest code: 128 steps of 1 below 0, none clipped.
    let below = Tensor::from_vec("x", vec![-128.0_f32, 64.0]).unwrap();
    for rule in ["", "-ceil", "-rceil", "-even", "-nearest"] {
        let scheme: Scheme = format!("int8-sym-noclip-spow2{rule}").parse().unwrap();
        assert_eq!(scheme.qparams(&below).unwrap().scale(), Some(1.0), "{scheme}");
    }
}

/// What is written of a second level is read back, and refused where its parts do not fit together.
#[test]
fn a_second_level_is_read_as_it_was_written() {
    let x = Synthetic::normal(0.0, 1.0).seed(2).tensor::<f32>("x", &[2000]).unwrap();
    for name in ["nf4-g4-dq", "nvfp4"] {
        let qparams = name.parse::<Scheme>().unwrap().qparams(&x).unwrap();
        let written = serde_json::to_value(&qparams).unwrap();
        assert_eq!(serde_json::from_value::<quantlens::QParams>(written.clone()).unwrap(), qparams);
        let broken = |pointer: &str, value: serde_json::Value| {
            let mut broken = written.clone();
            *broken.pointer_mut(pointer).unwrap() = value;
            serde_json::from_value::<quantlens::QParams>(broken).unwrap_err().to_string()
        };
        let parts: &[&str] = match name {
            "nvfp4" => &["/stored/tensor/tensor_scale", "/stored/tensor/block_scales"],
            _ => &["/stored/double/mean", "/stored/double/group_scales", "/stored/double/codes"],
        };
        for part in parts {
            let changed = match written.pointer(part).unwrap() {
                serde_json::Value::Array(values) => values[1..].into(),
                // No f32.
                _ => 0.1.into(),
            };
            assert!(broken(part, changed).contains("second level"), "{name}: {part}");
        }
        assert_ne!(broken("/scales/0", 3.0.into()), "");
    }
}
