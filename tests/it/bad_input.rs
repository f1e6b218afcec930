//! Input at and beyond the edge: a clear error or a documented value, never a panic, never NaN.

use polars::prelude::{NamedFrom, Series};
use quantlens::{
    Convention, DataFrameQuantExt, Dtype, Error, Mapping, QParams, Result, Scheme, SeriesQuantExt, Tensor, quantize_with, report,
};

use crate::naive;

#[test]
fn what_is_not_finite_is_refused_with_its_index() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let error = Tensor::from_vec("x", vec![1.0, bad]).unwrap_err();
        assert!(matches!(&error, Error::NotFinite { index: 1, .. }), "{error}");
        let series = Series::new("s".into(), [1.0, 2.0, f64::from(bad)]);
        assert!(matches!(series.fake_quantize(&Scheme::symmetric(8)), Err(Error::NotFinite { index: 2, .. })));
        assert!(matches!(series.into_frame().quant_report(&[Scheme::symmetric(8)]), Err(Error::NotFinite { index: 2, .. })));
    }
}

#[test]
fn widths_out_of_range_are_refused_wherever_a_scheme_is_used() {
    let x = Tensor::from_vec("x", vec![1.0, 2.0]).unwrap();
    for bits in [0, 17, 64, u32::MAX] {
        for scheme in
            [Scheme::asymmetric(bits), Scheme::symmetric(bits), Scheme::symmetric(bits).with_convention(Convention::Original)]
        {
            let refused = |result: Result<()>| assert!(matches!(result, Err(Error::BitsOutOfRange { .. })), "{bits}");
            refused(scheme.quantize(&x).map(drop));
            refused(scheme.fake_quantize(&x).map(drop));
            refused(scheme.bits_per_element(&[2], Dtype::F32).map(drop));
            refused(report(std::slice::from_ref(&x), &[scheme]).map(drop));
            refused(quantlens::levels(&x, &scheme).map(drop));
            refused(QParams::new(scheme, Dtype::F32, vec![1.0], vec![0]).map(drop));
        }
    }
    assert!(Scheme::asymmetric(1).quantize(&x).is_ok());
    let error = Scheme::symmetric(1).quantize(&x).unwrap_err().to_string();
    assert_eq!(error, "symmetric quantization takes 2 to 16 bits, not 1");
}

#[test]
fn one_value_is_a_constant() {
    for value in [3.0, -3.0] {
        let x = Tensor::from_vec("x", vec![value]).unwrap();
        for scheme in naive::schemes(8) {
            let result = scheme.fake_quantize(&x);
            if scheme.convention() == Convention::Original && scheme.mapping() == Mapping::Asymmetric {
                assert!(fails!(result, Error::ZeroScale { .. }, in block 0), "{scheme}");
            } else {
                let error = (result.unwrap().min() - value).abs();
                assert!(error <= 3.0 / 127.0, "{scheme}: {error}");
            }
        }
        assert_eq!(Scheme::asymmetric(8).fake_quantize(&x).unwrap().min(), value);
        assert_eq!(Scheme::symmetric(8).fake_quantize(&x).unwrap().min(), value);
    }
}

#[test]
fn all_zero_is_lossless_and_its_sqnr_undefined() {
    for zero in [0.0, -0.0] {
        let x = Tensor::from_vec("x", vec![zero; 7]).unwrap();
        for scheme in naive::schemes(4) {
            if scheme.convention() == Convention::Original {
                assert!(fails!(scheme.quantize(&x), Error::ZeroScale { .. }), "{scheme}");
                continue;
            }
            let back = scheme.fake_quantize(&x).unwrap();
            assert_eq!((back.min(), back.max()), (0.0, 0.0), "{scheme}");
            let row = &quantlens::report_rows(std::slice::from_ref(&x), &[scheme]).unwrap()[0];
            assert!(row.metrics.sqnr_db.is_nan() && row.metrics.mse == 0.0);
            assert_eq!((row.levels_used, row.code_entropy_bits), (Some(1), Some(0.0)));
        }
        assert_eq!(Scheme::asymmetric(8).qparams(&x).unwrap().scale(), Some(1.0));
    }
}

#[test]
fn the_widest_range_overflows_with_an_error_or_is_quantized() {
    let x = Tensor::from_vec("x", vec![f32::MIN, 0.0, f32::MAX]).unwrap();
    for bits in [1, 2, 8, 16] {
        for scheme in naive::schemes(bits) {
            match scheme.fake_quantize(&x) {
                Err(error) if matches!(error.cause(), Error::RangeOverflow { .. }) => {
                    let ends = (f64::from(f32::MIN), f64::from(f32::MAX));
                    let Error::RangeOverflow { min, max, dtype: Dtype::F32 } = *error.cause() else { panic!("{error}") };
                    assert_eq!((min, max), ends);
                    assert_eq!(scheme.mapping(), Mapping::Asymmetric);
                }
                Err(Error::DequantizedOverflow { .. }) => {}
                Err(other) => panic!("{scheme}: {other}"),
                Ok(back) => assert!(back.min() < 0.0 && back.max() > 0.0, "{scheme}: {back:?}"),
            }
        }
    }
    assert!(fails!(Scheme::asymmetric(8).quantize(&x), Error::RangeOverflow { .. }));
    // MAX / 127 rounds up, so 127 times it is too large: an error, in the report too, and fine at another width.
    assert!(matches!(Scheme::symmetric(8).fake_quantize(&x), Err(Error::DequantizedOverflow { index: 0, .. })));
    assert!(matches!(
        report(std::slice::from_ref(&x), &[Scheme::symmetric(8)]),
        Err(Error::DequantizedOverflow { index: 0, .. })
    ));
    let back = Scheme::symmetric(2).restricted_range().fake_quantize(&x).unwrap();
    assert_eq!((back.min(), back.max()), (f32::MIN.into(), f32::MAX.into()));
    // TFLite computes its parameters in f64, where the range fits.
    let scale = Scheme::asymmetric(8).with_convention(Convention::TfLite).qparams(&x).unwrap().scale();
    assert_eq!(scale, Some(f64::from((2.0 * f64::from(f32::MAX) / 255.0) as f32)));
    // The report says the same as quantization does.
    assert!(fails!(report(&[x], &[Scheme::asymmetric(8)]), Error::RangeOverflow { .. }));
}

#[test]
fn subnormal_values_have_documented_results() {
    let least = f32::from_bits(1);
    let x = Tensor::from_vec("x", vec![least, -7.0 * least, 3.0 * least]).unwrap();
    for scheme in naive::schemes(8) {
        match scheme.convention() {
            // A scale below the smallest normal number is 1, and everything is 0.
            Convention::Onnx | Convention::TfLite => {
                let q = scheme.quantize(&x).unwrap();
                assert_eq!(q.qparams().scale(), Some(1.0), "{scheme}");
                assert_eq!(q.dequantize().unwrap().max(), 0.0, "{scheme}");
            }
            Convention::PyTorch => assert_eq!(scheme.qparams(&x).unwrap().scale(), Some(f32::EPSILON.into()), "{scheme}"),
            Convention::Original => {
                assert!(fails!(scheme.quantize(&x), Error::ZeroScale { .. }), "{scheme}")
            }
            _ => assert!(scheme.qparams(&x).unwrap().scale() >= Some(f32::MIN_POSITIVE.into()), "{scheme}"),
        }
    }
    let row = &quantlens::report_rows(&[x], &[Scheme::symmetric(8)]).unwrap()[0];
    assert_eq!(row.metrics.sqnr_db, 0.0);
}

#[test]
fn numbers_far_from_zero_have_a_zero_point_no_code_holds_under_the_original() {
    let x = Tensor::from_vec("x", vec![100.0, 101.0, 102.5]).unwrap();
    let original = Scheme::asymmetric(8).with_convention(Convention::Original);
    assert_eq!(original.qparams(&x).unwrap().zero_point(), Some(-10200));
    for convention in [Convention::Onnx, Convention::PyTorch, Convention::TfLite] {
        let qparams = Scheme::asymmetric(8).with_convention(convention).qparams(&x).unwrap();
        assert_eq!((qparams.zero_point(), qparams.scale()), (Some(0), Some(102.5 / 255.0)));
    }
    let close = f64::from_bits(1e30_f64.to_bits() + 1);
    let x = Tensor::from_vec("x", vec![1e30, close]).unwrap();
    assert!(fails!(original.with_bits(16).qparams(&x), Error::ZeroPointOverflow { .. }));
}

#[test]
fn given_parameters_that_cannot_be_are_refused() {
    let new = |scales: Vec<f64>, zero_points: Vec<i64>| QParams::new(Scheme::asymmetric(8), Dtype::F32, scales, zero_points);
    for scale in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-50, 1e300, f64::from(f32::from_bits(1))] {
        assert!(fails!(new(vec![1.0, scale], vec![0, 0]), Error::Scale { .. }, in block 1), "{scale}");
    }
    assert!(fails!(new(vec![1.0], vec![256]), Error::ZeroPoint { zero_point: 256, quant_max: 255, .. }));
    assert!(matches!(new(vec![1.0], vec![]), Err(Error::QParamsCount { .. })));
    assert!(matches!(new(vec![], vec![]), Err(Error::QParamsCount { .. })));
    let x = Tensor::from_vec("x", vec![1.0_f32, 2.0]).unwrap();
    let two = new(vec![1.0, 1.0], vec![0, 0]).unwrap();
    assert!(matches!(quantize_with(&x, &two), Err(Error::QParamsCount { scales: 2, blocks: 1, .. })));
    let double = QParams::new(Scheme::asymmetric(8), Dtype::F64, vec![1.0], vec![0]).unwrap();
    assert!(matches!(quantize_with(&x, &double), Err(Error::DtypeMismatch { .. })));
    let huge = QParams::new(Scheme::asymmetric(8), Dtype::F32, vec![f64::from(f32::MAX / 2.0)], vec![0]).unwrap();
    let x = Tensor::from_vec("x", vec![f32::MAX]).unwrap();
    assert_eq!(quantize_with(&x, &huge).unwrap().codes().to_vec(), [2]);
    let x = Tensor::from_vec("x", vec![1.0_f32]).unwrap();
    let clipped = quantlens::Quantized::from_integers("x", vec![1], huge, [255].into_iter()).unwrap();
    assert!(matches!(clipped.dequantize(), Err(Error::DequantizedOverflow { index: 0, .. })));
    drop(x);
}

#[test]
fn a_zero_point_that_the_type_would_round_is_refused() {
    let original = Scheme::asymmetric(8).with_convention(Convention::Original);
    let new = |dtype, zero_point| QParams::new(original, dtype, vec![1.0], vec![zero_point]);
    assert!(fails!(new(Dtype::F32, 16_777_217), Error::ZeroPointInexact { zero_point: 16_777_217, .. }));
    assert!(new(Dtype::F64, 16_777_217).is_ok() && new(Dtype::F32, -16_777_216).is_ok());
    for extreme in [i64::MAX, i64::MAX - 1, (1 << 53) + 1] {
        assert!(fails!(new(Dtype::F64, extreme), Error::ZeroPointInexact { .. }), "{extreme}");
    }
    assert!(new(Dtype::F64, i64::MIN).is_ok());
}

#[test]
fn a_percentile_of_nothing_but_zeros_is_refused() {
    let mut values = vec![0.0; 1000];
    values[500] = 100.0;
    let x = Tensor::from_vec("sparse", values).unwrap();
    for scheme in naive::schemes(8) {
        assert!(fails!(scheme.percentile(99.0).quantize(&x), Error::CalibratedToZero { .. }, in block 0), "{scheme}");
    }
    assert!(Scheme::symmetric(8).percentile(100.0).quantize(&x).is_ok());
}

#[test]
fn of_several_errors_the_first_blocks_is_told() {
    let x = Tensor::new("rows", &[1000, 2], (0..2000).map(|i| f64::from(i / 2)).collect()).unwrap();
    let scheme = Scheme::asymmetric(8).with_convention(Convention::Original).per_axis(0);
    for threads in [1, 2, 7] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        assert!(fails!(pool.install(|| scheme.quantize(&x)), Error::ZeroScale { .. }, in block 0));
    }
}

#[test]
fn granularities_that_cannot_be_are_refused() {
    let x = Tensor::new("x", &[2, 3], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
    assert!(matches!(Scheme::symmetric(8).per_axis(2).quantize(&x), Err(Error::Axis { axis: 2, .. })));
    assert!(matches!(Scheme::symmetric(8).per_group(0).quantize(&x), Err(Error::GroupSize)));
    for percentile in [0.0, -1.0, 100.1, f64::NAN] {
        assert!(matches!(Scheme::symmetric(8).percentile(percentile).quantize(&x), Err(Error::Percentile { .. })));
    }
    // A group larger than the row is the row.
    let row = Scheme::symmetric(8).per_group(usize::MAX).quantize(&x).unwrap();
    assert_eq!(row.qparams().scales().len(), 2);
}

#[test]
fn a_scalar_and_a_single_row_have_their_granularities() {
    let scalar = Tensor::new("x", &[], vec![2.0]).unwrap();
    assert_eq!(Scheme::symmetric(8).per_group(4).fake_quantize(&scalar).unwrap().to_f64_vec(), [2.0]);
    assert!(matches!(Scheme::symmetric(8).per_axis(0).quantize(&scalar), Err(Error::Axis { .. })));
}
