//! Tables: their columns, and their numbers against the pieces they are made of.

use polars::prelude::{DataFrame, DataType};
use quantlens::{
    Convention, Dtype, Error, Ggml, Metrics, Minifloat, Quantizer, ReportRow, Result, Scheme, Synthetic, Tensor, convention_diff,
    convention_summary, elements, levels, plot, report, report_rows, sweep,
};

use crate::naive;

fn names(frame: &DataFrame) -> Vec<&str> {
    frame.get_column_names().into_iter().map(|name| name.as_str()).collect()
}

#[test]
fn a_reports_columns() {
    let x = Synthetic::normal(0.0, 1.0).tensor::<f32>("x", &[4, 8]).unwrap();
    let table = report(&[x], &[Scheme::asymmetric(8), Scheme::symmetric(4).per_group(4)]).unwrap();
    let expected = [
        "tensor",
        "dtype",
        "shape",
        "elements",
        "scheme",
        "format",
        "bits",
        "granularity",
        "calibration",
        "bits_per_element",
        "scale",
        "zero_point",
        "mse",
        "rmse",
        "mae",
        "max_abs_error",
        "mean_error",
        "relative_error",
        "sqnr_db",
        "cosine",
        "clipped_fraction",
        "levels_used",
        "code_entropy_bits",
        "error",
    ];
    assert_eq!(names(&table), expected);
    assert_eq!(table.column("shape").unwrap().str().unwrap().get(0), Some("[4, 8]"));
    assert_eq!(table.column("granularity").unwrap().str().unwrap().get(1), Some("g4"));
    assert_eq!(table.column("scale").unwrap().f64().unwrap().get(1), None);
    assert_eq!(table.column("bits").unwrap().dtype(), &DataType::UInt32);
}

/// The fused pass against quantize, dequantize, and count.
#[test]
fn a_row_has_the_numbers_of_its_pieces() {
    let shape = [37, 330];
    let x = Synthetic::laplace(0.1, 1.0).outliers(0.01, 10.0).seed(4).tensor::<f32>("x", &shape).unwrap();
    let x64 = Synthetic::laplace(0.1, 1.0).outliers(0.01, 10.0).seed(4).tensor::<f64>("x", &shape).unwrap();
    for bits in [1, 2, 3, 8, 11, 16] {
        for base in naive::schemes(bits) {
            for scheme in [base, base.percentile(95.0), base.per_axis(0), base.per_axis(1), base.per_group(50).percentile(99.0)] {
                for x in [&x, &x64] {
                    check_row(x, scheme);
                }
            }
        }
    }
}

fn check_row(x: &Tensor, scheme: Scheme) {
    let quantized = scheme.quantize(x).unwrap();
    let row = scheme.report_row(x).unwrap();
    assert_eq!(row.metrics, Metrics::between(x, &quantized.dequantize().unwrap()).unwrap(), "{scheme}");
    let codes = quantized.codes().to_vec();
    let n = codes.len() as f64;
    let mut counts = std::collections::BTreeMap::new();
    codes.iter().for_each(|code| *counts.entry(code).or_insert(0_u64) += 1);
    assert_eq!(row.levels_used, Some(counts.len() as u64), "{scheme}");
    let entropy: f64 = counts.values().map(|&count| count as f64 / n).map(|p| -p * p.log2()).sum();
    assert!((row.code_entropy_bits.unwrap() - entropy).abs() < 1e-9, "{scheme}");
    let codes = f64::from(scheme.quant_max() - scheme.quant_min() + 1);
    assert!(row.code_entropy_bits.unwrap() <= codes.log2() + 1e-9, "{scheme}");
    if let Some(scale) = row.scale {
        let zero_point = row.zero_point.unwrap();
        let outside = |x: &f64| {
            let code = match x_dtype(x, scale, zero_point, scheme, quantized.qparams().dtype()) {
                code if code < f64::from(scheme.quant_min()) => 1,
                code if code > f64::from(scheme.quant_max()) => 1,
                _ => 0,
            };
            code as u64
        };
        let clipped: u64 = x.to_f64_vec().iter().map(outside).sum();
        assert_eq!(row.clipped_fraction, Some(clipped as f64 / n), "{scheme}");
    }
}

fn x_dtype(x: &f64, scale: f64, zero_point: i64, scheme: Scheme, dtype: Dtype) -> f64 {
    match dtype {
        Dtype::F32 => naive::in_f32::unclamped(scheme, *x as f32, scale as f32, zero_point as f32).into(),
        Dtype::F64 => naive::in_f64::unclamped(scheme, *x, scale, zero_point as f64),
    }
}

#[test]
fn tensors_and_schemes_are_in_order() {
    let a = Tensor::from_vec("a", vec![1.0, -1.0]).unwrap();
    let b = Tensor::from_vec("b", vec![2.0_f32, 5.0]).unwrap();
    let rows = report_rows(&[a, b], &[Scheme::symmetric(8), Scheme::asymmetric(4)]).unwrap();
    let order: Vec<(&str, &str)> = rows.iter().map(|row| (row.tensor.as_str(), row.scheme.as_str())).collect();
    assert_eq!(order, [("a", "int8-sym"), ("a", "uint4-asym"), ("b", "int8-sym"), ("b", "uint4-asym")]);
    assert_eq!((rows[0].dtype, rows[2].dtype), (Dtype::F64, Dtype::F32));
}

#[test]
fn rows_survive_json_lossless_ones_too() {
    let x = Tensor::from_vec("x", vec![0.0, 127.0, -127.0]).unwrap();
    let rows = report_rows(&[x], &[Scheme::symmetric(8), Scheme::symmetric(3).per_group(2)]).unwrap();
    assert_eq!(rows[0].metrics.sqnr_db, f64::INFINITY);
    let json = serde_json::to_string(&rows).unwrap();
    assert_eq!(serde_json::from_str::<Vec<ReportRow>>(&json).unwrap(), rows);
}

struct Half;

impl Quantizer for Half {
    fn name(&self) -> String {
        "half".to_owned()
    }
    fn bits_per_element(&self, _: &[usize], _: Dtype) -> Result<f64> {
        Ok(16.0)
    }
    fn fake_quantize(&self, tensor: &Tensor) -> Result<Tensor> {
        Tensor::from_vec(tensor.name(), tensor.to_f64_vec().iter().map(|x| x / 2.0).collect())
    }
}

struct Short;

impl Quantizer for Short {
    fn name(&self) -> String {
        "short".to_owned()
    }
    fn bits_per_element(&self, _: &[usize], _: Dtype) -> Result<f64> {
        Ok(1.0)
    }
    fn fake_quantize(&self, _: &Tensor) -> Result<Tensor> {
        Tensor::from_vec("short", vec![1.0])
    }
}

#[test]
fn a_quantizer_of_ones_own_goes_into_the_same_report() {
    let x = Tensor::from_vec("x", vec![2.0, 4.0]).unwrap();
    let both: [&dyn Quantizer; 2] = [&Half, &Scheme::asymmetric(8)];
    let table = report(std::slice::from_ref(&x), &both).unwrap();
    assert_eq!(table.column("mse").unwrap().f64().unwrap().get(0), Some((1.0 + 4.0) / 2.0));
    assert_eq!(table.column("format").unwrap().str().unwrap().iter().collect::<Vec<_>>(), [None, Some("uint8")]);
    assert!(matches!(report(&[x], &[Short]), Err(Error::Length { reference: 2, approximation: 1 })));
}

#[test]
fn nothing_to_report_is_an_error() {
    let x = Tensor::from_vec("x", vec![2.0]).unwrap();
    assert!(matches!(report::<Scheme>(std::slice::from_ref(&x), &[]), Err(Error::Nothing { .. })));
    assert!(matches!(report(&[], &[Scheme::asymmetric(8)]), Err(Error::Nothing { .. })));
    assert!(matches!(elements(&x, &[]), Err(Error::Nothing { .. })));
    let nothing = std::slice::from_ref(&x);
    let no_width = sweep(nothing, &[Scheme::asymmetric(8)], []).unwrap_err().to_string();
    assert_eq!(no_width, "sweep: it needs at least one width in bits");
    assert!(matches!(sweep(nothing, &[Scheme::nf4()], 2..4), Err(Error::Unsupported { .. })));
    assert!(matches!(plot::error_against_bits(&x, &[Scheme::mxfp4()], 2..4), Err(Error::Unsupported { .. })));
    assert!(matches!(elements(&x, &[Scheme::asymmetric(8); 2]), Err(Error::Polars(_))));
}

#[test]
fn a_sweep_has_a_row_for_each_width() {
    let x = Synthetic::uniform(-1.0, 1.0).seed(8).tensor::<f32>("x", &[50_000]).unwrap();
    let table = sweep(std::slice::from_ref(&x), &[Scheme::asymmetric(8), Scheme::symmetric(8)], 4..=12).unwrap();
    assert_eq!(table.height(), 18);
    let sqnr: Vec<f64> = table.column("sqnr_db").unwrap().f64().unwrap().into_no_null_iter().collect();
    for pair in sqnr[..9].windows(2) {
        assert!((pair[1] - pair[0] - 6.02).abs() < 0.4, "{pair:?}");
    }
    assert!(matches!(sweep(&x, &[Scheme::symmetric(8)], 1..=1), Err(Error::BitsOutOfRange { bits: 1, .. })));
    let table = sweep(&x, &[Scheme::symmetric(8)], 1..=2).unwrap();
    assert!(table.column("error").unwrap().str().unwrap().get(0).unwrap().contains("1"));
    assert_eq!(table.column("error").unwrap().str().unwrap().get(1), None);
}

#[test]
fn elements_stand_side_by_side() {
    let x = Tensor::from_slice("x", &crate::NOTEBOOK).unwrap();
    let schemes = [Scheme::asymmetric(8), Scheme::symmetric(8)].map(|scheme| scheme.with_convention(Convention::Original));
    let one = elements(&x, &schemes[..1]).unwrap();
    assert_eq!(names(&one), ["index", "original", "code", "dequantized", "error"]);
    let both = elements(&x, &schemes).unwrap();
    assert_eq!(both.width(), 8);
    assert_eq!(
        one.column("error").unwrap().f64().unwrap().to_vec(),
        both.column("error:uint8-asym-original").unwrap().f64().unwrap().to_vec()
    );
    let original = both.column("original").unwrap().f64().unwrap();
    let dequantized = both.column("dequantized:int8-sym-original").unwrap().f64().unwrap();
    let error = both.column("error:int8-sym-original").unwrap().f64().unwrap();
    for i in 0..20 {
        assert_eq!(original.get(i).unwrap() - dequantized.get(i).unwrap(), error.get(i).unwrap());
    }
}

#[test]
fn levels_count_every_code() {
    let x = Synthetic::normal(0.0, 1.0).seed(3).tensor::<f32>("x", &[10_000]).unwrap();
    let scheme = Scheme::asymmetric(4);
    let table = levels(&x, &scheme).unwrap();
    let columns = vec!["code", "value", "count", "fraction", "mean", "squared_error", "is_dead", "information_bits"];
    assert_eq!((names(&table), table.height()), (columns, 16));
    let counts: Vec<u64> = table.column("count").unwrap().u64().unwrap().into_no_null_iter().collect();
    let codes = scheme.quantize(&x).unwrap().codes().to_vec();
    for (code, &count) in counts.iter().enumerate() {
        assert_eq!(count, codes.iter().filter(|&&c| c == code as i32).count() as u64);
    }
    let fraction: f64 = table.column("fraction").unwrap().f64().unwrap().into_no_null_iter().sum();
    assert!((fraction - 1.0).abs() < 1e-12);
    let values: Vec<f64> = table.column("value").unwrap().f64().unwrap().into_no_null_iter().collect();
    assert!(values.is_sorted() && values.contains(&0.0));
    assert!(matches!(levels(&x, &scheme.per_group(10)), Err(Error::SeveralBlocks { blocks: 1000, .. })));
}

/// A table's column of text.
fn texts(frame: &DataFrame, name: &str) -> Vec<String> {
    frame.column(name).unwrap().str().unwrap().iter().map(|text| text.unwrap().to_owned()).collect()
}

#[test]
fn levels_and_elements_work_for_any_grid() {
    let x = Tensor::from_vec("x", vec![-6.0, -0.1, 0.0, 0.3, 2.4, 6.0]).unwrap();
    let e2m1 = levels(&x, &Scheme::float(Minifloat::E2M1)).unwrap();
    assert_eq!(e2m1.height(), 16);
    let values: Vec<f64> = e2m1.column("value").unwrap().f64().unwrap().into_no_null_iter().collect();
    assert!(values.is_sorted());
    // Which code -0.1 becomes is -0's.
    let counts: Vec<u64> = e2m1.column("count").unwrap().u64().unwrap().into_no_null_iter().collect();
    assert_eq!(counts, [1, 0, 0, 0, 0, 0, 0, 1, 1, 1, 0, 0, 1, 0, 0, 1]);
    let nf4 = levels(&x, &Scheme::nf4()).unwrap();
    assert_eq!(nf4.column("value").unwrap().f64().unwrap().get(15), Some(6.0));
    let table = elements(&x, &[Scheme::nf4()]).unwrap();
    assert_eq!(table.column("code").unwrap().i32().unwrap().get(0), Some(0));
    // 256 codes, of which 2 are NaN.
    assert_eq!(levels(&x, &Scheme::float(Minifloat::E4M3FN)).unwrap().height(), 254);
}

#[test]
fn a_report_takes_a_mixture_and_fills_every_column() {
    let x = Synthetic::normal(0.0, 1.0).seed(2).tensor::<f32>("x", &[8, 256]).unwrap();
    let schemes: [Box<dyn Quantizer>; 4] =
        [Box::new(Scheme::mxfp4()), Box::new(Ggml::Q4_K), Box::new(Scheme::nvfp4()), Box::new(Scheme::ternary())];
    let table = report(std::slice::from_ref(&x), &schemes).unwrap();
    assert_eq!(texts(&table, "scheme"), ["mxfp4", "q4_k", "nvfp4", "ternary"]);
    assert_eq!(texts(&table, "granularity"), ["g32", "g256", "g16", "tensor"]);
    for name in ["levels_used", "code_entropy_bits", "bits", "format", "bits_per_element"] {
        assert_eq!(table.column(name).unwrap().null_count(), 0, "{name}");
    }
    // The same numbers as one step after the other, for every kind of codec.
    for scheme in ["mxfp4", "nvfp4", "nf4-g64-dq", "e4m3fn-axis1", "e5m2-cast", "int4-sym-g3@0", "uint4-min-g32", "ternary"] {
        let scheme: Scheme = scheme.parse().unwrap();
        let row = scheme.report_row(&x).unwrap();
        assert_eq!(row.metrics, Metrics::between(&x, &scheme.fake_quantize(&x).unwrap()).unwrap(), "{scheme}");
        let quantized = scheme.quantize(&x).unwrap();
        assert_eq!(quantized.dequantize().unwrap(), scheme.fake_quantize(&x).unwrap(), "{scheme}");
        let mut codes = quantized.codes().to_vec();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(row.levels_used, Some(codes.len() as u64), "{scheme}");
    }
}

#[test]
fn conventions_differ_for_the_reason_that_is_told() {
    let causes = |values: Vec<f64>, scheme: Scheme, first: Convention, second: Convention| {
        let x = Tensor::from_vec("x", values).unwrap();
        let mut causes = texts(&convention_diff(&x, &scheme, first, second).unwrap(), "cause");
        causes.dedup();
        causes
    };
    let (onnx, torch, tflite, original) = (Convention::Onnx, Convention::PyTorch, Convention::TfLite, Convention::Original);
    let byte = Scheme::asymmetric(8);
    // Scale 1, zero point 1: 0.5 is a tie.
    assert_eq!(causes(vec![-1.0, 0.5, 254.0], byte, onnx, tflite), ["tie"]);
    assert_eq!(causes(vec![-1.0, 0.5, 254.0], byte, onnx, original), ["order_of_addition"]);
    assert_eq!(causes(vec![100.0, 101.0, 102.5], byte, onnx, original), ["range"]);
    assert_eq!(causes(vec![-1e-6, 1e-6], byte, onnx, torch), ["epsilon"]);
    assert_eq!(causes(vec![-1.0, 0.3, 1.0], Scheme::symmetric(8), onnx, torch), ["denominator"]);
    // The pair of FBGEMM's comment, its scale being that of 0 to 255 steps.
    let scale: f32 = "0.00214854861".parse().unwrap();
    let pair = Tensor::from_vec("x", vec!["0.273939937".parse::<f32>().unwrap(), 255.0 * scale, 0.0]).unwrap();
    assert_eq!(byte.qparams(&pair).unwrap().scale(), Some(scale.into()));
    let table = convention_diff(&pair, &byte, onnx, torch).unwrap();
    assert_eq!(texts(&table, "cause"), ["reciprocal"]);
    let codes = ["code:onnx", "code:pytorch"].map(|name| table.column(name).unwrap().i32().unwrap().get(0));
    assert_eq!(codes, [Some(127), Some(128)]);

    // Both divide the percentile by 7, and only ai-edge-quantizer has the code -8 for what is beyond it.
    let clipped: Vec<f64> = (0..100).map(|i| f64::from(i - 50)).collect();
    assert_eq!(causes(clipped, Scheme::symmetric(4).percentile(80.0), tflite, Convention::AiEdge), ["code_range"]);
    // torchao stores what the middle code means, and takes it off in two steps.
    let minimum = Scheme::asymmetric(4).with_float_minimum();
    let normal = Synthetic::normal(0.0, 1.0).seed(5).tensor::<f32>("x", &[4096]).unwrap();
    let table = convention_diff(&normal, &minimum.per_group(32), torch, Convention::TorchAo).unwrap();
    let causes_of_minimums = texts(&table, "cause");
    assert!(causes_of_minimums.iter().all(|cause| cause == "order_of_addition" || cause == "scale_rounding"), "{table}");
    assert!(table.height() < 8, "{table}");

    let x = Synthetic::normal(0.0, 1.0).seed(4).tensor::<f32>("x", &[64, 64]).unwrap();
    for scheme in [byte.per_axis(1), Scheme::symmetric(4).per_group(16)] {
        let summary = convention_summary(&x, &scheme, &[onnx, torch, tflite]).unwrap();
        let differing: Vec<u64> = summary.column("differing").unwrap().u64().unwrap().into_no_null_iter().collect();
        let pairs = [(onnx, torch), (onnx, tflite), (torch, tflite)];
        for ((first, second), differing) in pairs.into_iter().zip(differing) {
            let codes = |convention| scheme.with_convention(convention).quantize(&x).unwrap().codes().to_vec();
            let counted = codes(first).iter().zip(codes(second)).filter(|(a, b)| **a != *b).count() as u64;
            assert_eq!(differing, counted, "{scheme} {first} {second}");
            assert_eq!(convention_diff(&x, &scheme, first, second).unwrap().height() as u64, counted);
        }
    }
    assert!(matches!(convention_diff(&x, &byte, onnx, onnx), Err(Error::Nothing { .. })));
    assert!(matches!(convention_summary(&x, &byte, &[onnx]), Err(Error::Nothing { .. })));
}
