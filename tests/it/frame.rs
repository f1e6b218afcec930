//! The methods on polars' own types.

use polars::prelude::{Column, DataFrame, DataType, NamedFrom, Series};
use quantlens::{DataFrameQuantExt, Error, Scheme, SeriesQuantExt, Tensor, report};

use crate::NOTEBOOK;

#[test]
fn a_series_there_and_back() {
    let x = Series::new("x".into(), NOTEBOOK);
    let scheme = Scheme::asymmetric(8);
    let (codes, qparams) = x.quantize(&scheme).unwrap();
    assert_eq!((codes.name().as_str(), codes.dtype()), ("x", &DataType::Int32));
    let back = codes.dequantize(&qparams).unwrap();
    assert_eq!(back, x.fake_quantize(&scheme).unwrap());
    assert_eq!(x.quant_error(&scheme).unwrap(), (&x - &back).unwrap());
    assert_eq!(codes.cast(&DataType::Int64).unwrap().dequantize(&qparams).unwrap(), back);
}

#[test]
fn f32_stays_f32() {
    let x = Series::new("x".into(), [0.5_f32, -1.0]);
    assert_eq!(SeriesQuantExt::fake_quantize(&x, &Scheme::symmetric(8)).unwrap().dtype(), &DataType::Float32);
    assert_eq!(x.quant_error(&Scheme::symmetric(8)).unwrap().dtype(), &DataType::Float32);
}

#[test]
fn chunks_make_no_difference() {
    let whole = Series::new("x".into(), NOTEBOOK);
    let mut chunked = Series::new("x".into(), &NOTEBOOK[..7]);
    chunked.append(&Series::new("x".into(), &NOTEBOOK[7..])).unwrap();
    let scheme = Scheme::symmetric(4).per_group(6);
    assert_eq!(chunked.fake_quantize(&scheme).unwrap(), whole.fake_quantize(&scheme).unwrap());
    assert_eq!(chunked.quantize(&scheme).unwrap().1, whole.quantize(&scheme).unwrap().1);
}

#[test]
fn codes_that_are_none_are_refused() {
    let (_, qparams) = Series::new("x".into(), NOTEBOOK).quantize(&Scheme::asymmetric(4)).unwrap();
    let dequantize = |series: Series| series.dequantize(&qparams).unwrap_err();
    assert!(matches!(
        dequantize(Series::new("c".into(), [0_i32, 16])),
        Error::CodeOutOfRange { code: 16, index: 1, quant_max: 15, .. }
    ));
    assert!(matches!(dequantize(Series::new("c".into(), [-1_i64])), Error::CodeOutOfRange { code: -1, index: 0, .. }));
    assert!(matches!(dequantize(Series::new("c".into(), [Some(1_i32), None])), Error::Null { row: 1, .. }));
    assert!(matches!(dequantize(Series::new("c".into(), [1.0])), Error::NotCodes { .. }));
    assert!(matches!(dequantize(Series::new("c".into(), [u64::MAX])), Error::CodeOutOfRange { index: 0, .. }));
    assert!(matches!(dequantize(Series::new("c".into(), Vec::<i32>::new())), Error::Empty { name } if name == "c"));
}

#[test]
fn a_frames_float_columns_are_reported() {
    let columns: Vec<Column> = vec![
        Series::new("name".into(), ["a", "b"]).into(),
        Series::new("w".into(), [1.0_f32, -0.3]).into(),
        Series::new("n".into(), [1_i32, 2]).into(),
        Series::new("b".into(), [0.25_f64, 0.5]).into(),
    ];
    let frame = DataFrame::new(2, columns).unwrap();
    let schemes = [Scheme::asymmetric(8), Scheme::symmetric(4)];
    let tensors = [Tensor::from_vec("w", vec![1.0_f32, -0.3]).unwrap(), Tensor::from_vec("b", vec![0.25, 0.5]).unwrap()];
    assert!(frame.quant_report(&schemes).unwrap().equals_missing(&report(&tensors, &schemes).unwrap()));

    let without = frame.select(["name", "n"]).unwrap();
    assert!(matches!(without.quant_report(&schemes), Err(Error::NoFloatColumn { columns: 2 })));
    let nulls = DataFrame::new(3, vec![Series::new("w".into(), [Some(1.0), Some(2.0), None]).into()]).unwrap();
    let error = nulls.quant_report(&schemes).unwrap_err().to_string();
    assert_eq!(error, "column `w` is null in row 2: fill or drop its nulls first");
}
