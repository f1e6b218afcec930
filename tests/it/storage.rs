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
            assert!(matches!(scheme.qparams(&block(1e-80)), Err(Error::ScaleUnderflow { block: 0, .. })), "{scheme}");
            assert!(matches!(scheme.qparams(&block(1e80)), Err(Error::ScaleOverflow { block: 0, .. })), "{scheme}");
        }
    }
    for format in [ScaleFormat::E8M0, ScaleFormat::PowerOfTwo] {
        let scheme = Scheme::float(Minifloat::E4M3FN).with_scale_format(format);
        assert!(matches!(scheme.qparams(&block(1e80)), Err(Error::ScaleOverflow { block: 0, .. })), "{scheme}");
        let smallest = if format == ScaleFormat::E8M0 { -127_f64 } else { -126.0 };
        assert_eq!(scheme.qparams(&block(1e-80)).unwrap().scale(), Some(smallest.exp2()), "{scheme}");
    }
    // Of several blocks the first one's.
    let x = Tensor::from_vec("x", vec![1.0, 1.0, 1e80, 0.0, 1e-80, 0.0]).unwrap();
    let error = "int8-sym-g2-sf16".parse::<Scheme>().unwrap().qparams(&x).unwrap_err();
    assert!(matches!(error, Error::ScaleOverflow { block: 1, .. }), "{error}");
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
        Err(Error::ScaleOverflow { .. }) => "scale overflows".to_owned(),
        Err(Error::ScaleUnderflow { .. }) => "scale underflows".to_owned(),
        Err(Error::RangeOverflow { .. }) => "range overflows".to_owned(),
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
