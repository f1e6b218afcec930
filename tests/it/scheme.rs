//! Names, axes and what a scheme costs.

use proptest::prelude::*;
use quantlens::{
    Calibration, Codebook, Convention, Dtype, Error, Format, Granularity, Minifloat, Overflow, QParams, Rounding, ScaleFormat,
    ScaleRule, Scheme, Specials,
};

use crate::naive::{self, Rng};

/// Every valid scheme of a width under many granularities and calibrations.
fn all_schemes(bits: u32) -> impl Iterator<Item = Scheme> {
    naive::all_schemes(bits).into_iter().flat_map(|scheme| {
        let granular = [scheme, scheme.per_axis(0), scheme.per_axis(3), scheme.per_group(1), scheme.per_group(128)];
        let calibrated = granular.into_iter().flat_map(|scheme| [scheme, scheme.percentile(99.9), scheme.percentile(100.0)]);
        calibrated.filter(|scheme| scheme.validate().is_ok())
    })
}

#[test]
fn every_name_parses_back() {
    let mut names = std::collections::HashSet::new();
    for scheme in (1..=16).flat_map(all_schemes) {
        let name = scheme.to_string();
        assert_eq!(name.parse::<Scheme>().unwrap(), scheme, "{name}");
        assert!(names.insert(name), "two schemes have the name of {scheme}");
        let json = serde_json::to_string(&scheme).unwrap();
        assert_eq!(serde_json::from_str::<Scheme>(&json).unwrap(), scheme);
    }
}

/// 100 000 of the schemes that any combination of the axes makes, the valid ones.
#[test]
fn every_combination_of_axes_parses_back() {
    let mut rng = Rng::new(51);
    let minifloats =
        [Minifloat::new(2, 2, 1, Specials::None).unwrap(), Minifloat::new(4, 3, 11, Specials::NanIsNegativeZero).unwrap()];
    let mut formats: Vec<Format> = Minifloat::ALL.into_iter().chain(minifloats).map(Format::Float).collect();
    formats.extend(Codebook::ALL.map(Format::Codebook));
    formats.push(Codebook::new("names_of_schemes", &[-1.0, 0.5, 2.0]).unwrap().into());
    let presets =
        [Scheme::mxfp8_e4m3(), Scheme::mxfp8_e5m2(), Scheme::mxfp6_e2m3(), Scheme::mxfp4(), Scheme::mxint8(), Scheme::nvfp4()];
    let granularities = [
        Granularity::PerTensor,
        Granularity::PerAxis(0),
        Granularity::PerAxis(11),
        Granularity::PerGroup(32),
        Granularity::PerGroupOn { axis: 1, group_size: 16 },
        Granularity::PerBlock([128, 64]),
    ];
    let calibrations = [
        Calibration::MinMax,
        Calibration::Percentile(99.9),
        Calibration::Mse,
        Calibration::Lp(2.4),
        Calibration::Kl,
        Calibration::Sigma(3.5),
        Calibration::AbsMean,
    ];
    let scale_formats = [
        ScaleFormat::Data,
        ScaleFormat::F32,
        ScaleFormat::F16,
        ScaleFormat::BF16,
        ScaleFormat::E4M3,
        ScaleFormat::E8M0,
        ScaleFormat::PowerOfTwo,
    ];
    let rules = [ScaleRule::Floor, ScaleRule::Ceil, ScaleRule::RoundUp, ScaleRule::Even, ScaleRule::Nearest];
    let roundings = [
        Rounding::HalfToEven,
        Rounding::HalfAwayFromZero,
        Rounding::HalfTowardZero,
        Rounding::HalfUp,
        Rounding::HalfDown,
        Rounding::TowardZero,
        Rounding::Down,
        Rounding::Up,
        Rounding::Stochastic { seed: 0 },
        Rounding::Stochastic { seed: u64::MAX },
    ];
    let mut known = std::collections::HashMap::new();
    let mut valid = 0;
    while valid < 100_000 {
        let bits = 1 + rng.next() as u32 % 16;
        let format = rng.pick(&formats);
        let own = match format {
            Format::Float(float) => Scheme::float(float),
            Format::Codebook(codebook) => Scheme::codebook(codebook),
            _ => Scheme::symmetric(bits),
        };
        let integers = [Scheme::asymmetric(bits), Scheme::symmetric(bits), Scheme::symmetric(bits).unsigned()];
        let casts = [Scheme::cast(format), Scheme::cast(Format::int(bits)), Scheme::cast(Format::uint(bits))];
        let minimum = Scheme::asymmetric(bits).with_float_minimum();
        let mut scheme = match rng.next() % 8 {
            0 => rng.pick(&presets),
            1 | 2 => own,
            3 => rng.pick(&casts),
            4 => minimum,
            5 => rng.pick(&integers).signed(),
            _ => rng.pick(&integers),
        };
        // Each axis as it is, half the time.
        let mut says = || rng.next().is_multiple_of(2);
        let said: Vec<bool> = (0..9).map(|_| says()).collect();
        if said[0] {
            scheme = scheme.with_granularity(rng.pick(&granularities));
        }
        if said[1] {
            scheme = scheme.with_calibration(rng.pick(&calibrations));
        }
        if said[2] {
            scheme = scheme.with_scale_format(rng.pick(&scale_formats)).with_scale_rule(rng.pick(&rules));
        }
        if said[3] {
            scheme = scheme.with_rounding(rng.pick(&roundings));
        }
        if said[4] {
            scheme = scheme.with_convention(rng.pick(&Convention::ALL));
        }
        let ranges = [Scheme::full_range, Scheme::restricted_range, Scheme::without_clipping];
        if said[5] && said[6] {
            scheme = ranges[rng.next() as usize % 3](scheme);
        }
        scheme = match rng.next() % 8 {
            0 => scheme.with_tensor_scale(),
            1 => scheme.double_quantized(),
            2 => scheme.with_overflow(Overflow::Special),
            _ => scheme,
        };
        if scheme.validate().is_err() {
            continue;
        }
        valid += 1;
        let name = scheme.to_string();
        assert_eq!(name.parse::<Scheme>().unwrap(), scheme, "{name}");
        let json = serde_json::to_string(&scheme).unwrap();
        assert_eq!(json, format!("\"{name}\""));
        assert_eq!(serde_json::from_str::<Scheme>(&json).unwrap(), scheme);
        let first = *known.entry(name).or_insert(scheme);
        assert_eq!(first, scheme, "two schemes have one name");
    }
    assert!(known.len() > 50_000, "{}", known.len());
}

#[test]
fn axes_may_be_said_in_any_order() {
    let a = Scheme::symmetric(4).per_group(32).percentile(99.0).full_range().with_convention(Convention::PyTorch);
    let b = Scheme::symmetric(8).with_convention(Convention::PyTorch).full_range().percentile(99.0).per_group(32).with_bits(4);
    assert_eq!(a, b);
    assert_eq!(a.to_string(), "int4-sym-full-g32-p99-pytorch");
}

#[test]
fn a_convention_brings_its_rounding_unless_one_was_said() {
    let tflite = Scheme::asymmetric(8).with_convention(Convention::TfLite);
    assert_eq!(tflite.rounding(), Rounding::HalfAwayFromZero);
    let said = Scheme::asymmetric(8).with_rounding(Rounding::HalfToEven).with_convention(Convention::TfLite);
    assert_eq!(said.rounding(), Rounding::HalfToEven);
    assert_eq!(said.to_string(), "uint8-asym-half-even-tflite");
}

#[test]
fn wrong_names_say_what_is_wrong() {
    let message = |text: &str| text.parse::<Scheme>().unwrap_err().to_string();
    assert!(message("int8").contains("it has no mapping"));
    assert!(message("float8-sym").contains("`float8` is no format"));
    assert!(message("int8-foo").contains("`foo` is no mapping"));
    assert!(message("int8-sym-g").contains("`g` is not known"));
    assert!(message("int8-sym-").contains("its parts spell `int8-sym`"));
    assert!(message("int8-sym-g32-").contains("ends in a hyphen"));
    assert!(message("int08-sym").contains("`08` is no width"));
    assert!(message("int8-sym-pytorch-g32").contains("its parts spell `int8-sym-g32-pytorch`"));
    assert!(message("int8-sym-half-evenly").contains("is not known"));
    assert!(message("int8-sym-p0").contains("not in (0, 100]"));
    assert!(matches!("uint17-asym".parse::<Scheme>(), Err(Error::BitsOutOfRange { bits: 17, min: 1, max: 16, .. })));
    assert!(matches!("int1-sym".parse::<Scheme>(), Err(Error::BitsOutOfRange { bits: 1, min: 2, .. })));
    assert!(matches!("uint8-asym-full".parse::<Scheme>(), Err(Error::Unsupported { .. })));
    assert!(matches!("int8-asym-original".parse::<Scheme>(), Err(Error::Unsupported { .. })));
    assert!(matches!("e3m0fn-nosat".parse::<Scheme>(), Err(Error::Unsupported { .. })));
    assert!(matches!("uint4-asym-mse-spow2".parse::<Scheme>(), Err(Error::Unsupported { .. })));
    assert!(matches!("uint4-asym-mse-se4m3fn".parse::<Scheme>(), Err(Error::Unsupported { .. })));
    assert!("uint4-asym-mse-sf16".parse::<Scheme>().is_ok());
    let cast = Scheme::cast(Minifloat::E4M3FN);
    assert!(QParams::new(cast, Dtype::F32, vec![1.0], vec![0]).is_ok());
    assert!(matches!(QParams::new(cast, Dtype::F32, vec![2.0], vec![0]), Err(Error::Unsupported { .. })));
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "(u?int)?[0-9]{0,3}(-(asym|sym|full|g[0-9]*|p[0-9.e]*|axis[0-9]*|half-even|half|tflite|é|-)){0,5}") {
        if let Ok(scheme) = text.parse::<Scheme>() {
            prop_assert_eq!(scheme.to_string(), text);
        }
    }
}

#[test]
fn codes_span_what_the_formats_hold() {
    assert_eq!(Format::uint(8).code_range(), (0, 255));
    assert_eq!(Format::int(16).code_range(), (-32768, 32767));
    assert_eq!(Format::uint(1).code_range(), (0, 1));
    assert_eq!(Format::int(1).code_range(), (-1, 0));
    let range = |scheme: Scheme| (scheme.quant_min(), scheme.quant_max());
    assert_eq!(range(Scheme::symmetric(8)), (-127, 127));
    assert_eq!(range(Scheme::symmetric(8).full_range()), (-128, 127));
    assert_eq!(range(Scheme::symmetric(8).unsigned()), (0, 255));
    assert_eq!(range(Scheme::symmetric(8).unsigned().restricted_range()), (1, 255));
    // ONNX Runtime's int4 is full, its int8 and int16 are not.
    assert_eq!(range(Scheme::symmetric(4)), (-8, 7));
    assert_eq!(range(Scheme::symmetric(2).restricted_range()), (-1, 1));
    assert_eq!(range(Scheme::symmetric(4).with_convention(Convention::TfLite)), (-7, 7));
    assert_eq!(range(Scheme::symmetric(4).with_convention(Convention::AiEdge)), (-8, 7));
}

#[test]
fn bits_per_element_counts_scales_and_zero_points_of_the_actual_shape() {
    let bits = |scheme: Scheme, shape: &[usize]| scheme.bits_per_element(shape, Dtype::F32).unwrap();
    assert_eq!(bits(Scheme::asymmetric(8), &[10, 10]), 8.0 + 40.0 / 100.0);
    assert_eq!(bits(Scheme::symmetric(8).per_axis(0), &[4, 100]), 8.0 + 4.0 * 32.0 / 400.0);
    assert_eq!(bits(Scheme::symmetric(4).per_group(32), &[8, 64]), 5.0);
    // A partial group pays for a whole scale.
    assert_eq!(bits(Scheme::symmetric(4).per_group(32), &[8, 65]), 4.0 + 3.0 * 32.0 / 65.0);
    assert_eq!(Scheme::asymmetric(8).bits_per_element(&[20], Dtype::F64).unwrap(), 8.0 + 72.0 / 20.0);
    assert!(matches!(Scheme::symmetric(4).per_axis(2).bits_per_element(&[8, 65], Dtype::F32), Err(Error::Axis { axis: 2, .. })));
    assert!(matches!(Scheme::symmetric(4).bits_per_element(&[0, 65], Dtype::F32), Err(Error::Empty { .. })));
    assert!(matches!(Scheme::symmetric(4).bits_per_element(&[usize::MAX, 2], Dtype::F32), Err(Error::TooLarge { .. })));
}
