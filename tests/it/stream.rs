//! Sources whose values are read piece by piece: the same rows as of tensors in memory.

use std::ops::Range;

use quantlens::{
    Dtype, Error, Quantizer, ReportRow, Result, Scheme, Slice, Source, Synthetic, Tensor, TensorInfo, TileBuffer, quantizer,
    report, report_rows,
};

use crate::schemes::{SCHEMES, quantizers};

/// A tensor that is read piece by piece.
struct Streamed {
    tensor: Tensor,
    /// Where reading fails.
    fails_at: Option<usize>,
}

impl Streamed {
    fn new(tensor: &Tensor) -> Self {
        Self { tensor: tensor.clone(), fails_at: None }
    }
}

impl Source for Streamed {
    fn infos(&self) -> Vec<TensorInfo> {
        self.tensor.infos()
    }

    fn read<'a>(&'a self, tensor: usize, elements: Range<usize>, buffer: &'a mut TileBuffer) -> Result<Slice<'a>> {
        if self.fails_at.is_some_and(|element| elements.contains(&element)) {
            return Err(Error::NoTensor { wanted: "element".to_owned(), there_are: "others".to_owned() });
        }
        // Through the buffer, as a file is.
        match self.tensor.read(tensor, elements, &mut TileBuffer::default())? {
            Slice::F32(values) => {
                buffer.f32.clear();
                buffer.f32.extend_from_slice(values);
                Ok(Slice::F32(&buffer.f32))
            }
            Slice::F64(values) => {
                buffer.f64.clear();
                buffer.f64.extend_from_slice(values);
                Ok(Slice::F64(&buffer.f64))
            }
        }
    }
}

fn rows(source: &(impl Source + ?Sized), names: &[&str]) -> Vec<ReportRow> {
    report_rows(source, &quantizers(names)).unwrap()
}

/// What each row must be: the metrics of the values that come back.
fn check(tensor: &Tensor, rows: &[ReportRow], names: &[&str]) {
    for (row, name) in rows.iter().zip(names) {
        let back = quantizer(name).unwrap().fake_quantize(tensor).unwrap();
        assert_eq!(row.metrics, quantlens::Metrics::between(tensor, &back).unwrap(), "{name}");
        assert_eq!(row.scheme, *name);
    }
}

#[test]
fn a_tensor_read_in_pieces_has_the_rows_of_one_in_memory() {
    let normal = Synthetic::normal(0.1, 1.0).outliers(0.01, 8.0).seed(7);
    for shape in [vec![96, 512], vec![768, 256], vec![3, 64, 256]] {
        let f32 = normal.tensor::<f32>("x", &shape).unwrap();
        let f64 = normal.tensor::<f64>("x", &shape).unwrap();
        for tensor in [f32, f64] {
            let found = rows(&Streamed::new(&tensor), &SCHEMES);
            assert_eq!(found, rows(&tensor, &SCHEMES), "{shape:?} {}", tensor.dtype());
            check(&tensor, &found, &SCHEMES);
        }
    }
}

/// More values than are read whole, so that they are read piece by piece indeed: once, and twice for what needs all ranges.
#[test]
fn a_tensor_too_large_to_be_held_has_the_same_rows() {
    let tensor = Synthetic::normal(0.0, 1.0).seed(3).tensor::<f32>("x", &[1030, 16_512]).unwrap();
    let names = ["uint8-asym", "int8-sym-axis1", "int4-sym-g128", "nvfp4", "mxfp4", "e4m3fn-b128x128", "nf4-g64-dq", "q4_0"];
    let found = rows(&Streamed::new(&tensor), &names);
    assert_eq!(found, rows(&tensor, &names));
    // A search over all values is refused, and the other row is there; within groups it is possible.
    let searches = rows(&Streamed::new(&tensor), &["int4-sym-mse", "int4-sym-g128-p99", "int8-sym"]);
    assert!(searches[0].error.as_deref().unwrap().contains("looks at all values of a block at once"), "{:?}", searches[0].error);
    assert_eq!(searches[1..], rows(&tensor, &["int4-sym-g128-p99", "int8-sym"]));
}

#[test]
fn a_row_that_fails_leaves_the_others() {
    let good = Synthetic::normal(0.0, 1.0).seed(1).tensor::<f32>("good", &[4, 32]).unwrap();
    let odd = Synthetic::normal(0.0, 1.0).seed(2).tensor::<f32>("odd", &[5, 31]).unwrap();
    let flat = Tensor::from_vec("flat", vec![1.0_f32; 64]).unwrap();
    let tensors = [good, odd, flat];
    let names = ["int8-sym-axis1", "q4_0", "uint8-asym-original"];
    let found = rows(&tensors, &names);
    let failed: Vec<(&str, &str)> =
        found.iter().filter(|row| row.error.is_some()).map(|row| (row.tensor.as_str(), row.scheme.as_str())).collect();
    assert_eq!(failed, [("odd", "q4_0"), ("flat", "int8-sym-axis1"), ("flat", "uint8-asym-original")]);
    assert!(found[4].error.as_deref().unwrap().contains("has rows of 31 values"));
    assert!(found[4].metrics.mse.is_nan() && found[4].bits_per_element.is_nan());

    let table = report(&tensors, &quantizers(&names)).unwrap();
    let (errors, mse) = (table.column("error").unwrap(), table.column("mse").unwrap());
    assert_eq!((errors.null_count(), mse.null_count()), (6, 3));
    // Rows go through JSON, failed ones too.
    let back: Vec<ReportRow> = serde_json::from_str(&serde_json::to_string(&found).unwrap()).unwrap();
    assert_eq!(format!("{back:?}"), format!("{found:?}"));

    // Where nothing worked, the report is an error that names the first row.
    let error = report(&tensors[2..], &quantizers(&names[..1])).unwrap_err();
    assert!(matches!(error, Error::Axis { .. }), "{error}");
    let two = [tensors[2].clone(), tensors[2].clone()];
    let error = report(&two, &quantizers(&names[..1])).unwrap_err();
    assert!(error.to_string().starts_with("tensor `flat` under `int8-sym-axis1`: "), "{error}");
}

#[test]
fn a_source_may_fail_or_hold_what_is_not_finite() {
    let tensor = Synthetic::normal(0.0, 1.0).seed(3).tensor::<f32>("x", &[1030, 16_512]).unwrap();
    let broken = Streamed { fails_at: Some(17_000_000), ..Streamed::new(&tensor) };
    assert!(matches!(report(&broken, &[Scheme::symmetric(8)]), Err(Error::NoTensor { .. })));

    struct Wild;
    impl Source for Wild {
        fn infos(&self) -> Vec<TensorInfo> {
            vec![TensorInfo { name: "wild".to_owned(), shape: vec![17 << 20], dtype: Dtype::F32, stored: "F32".to_owned() }]
        }

        fn read<'a>(&'a self, _: usize, elements: Range<usize>, buffer: &'a mut TileBuffer) -> Result<Slice<'a>> {
            buffer.f32 = elements.map(|index| if index == 10_000_000 { f32::INFINITY } else { 0.5 }).collect();
            Ok(Slice::F32(&buffer.f32))
        }
    }
    for scheme in [Scheme::symmetric(8), Scheme::symmetric(8).per_group(32)] {
        let error = report(&Wild, &[scheme]).unwrap_err();
        assert!(matches!(error, Error::NotFinite { index: 10_000_000, .. }), "{error}");
    }
}

#[test]
fn an_error_has_the_block_of_the_whole_tensor() {
    // Under the original's convention a constant group has no scale.
    let mut values: Vec<f32> = (0..(1 << 20)).map(|index| (index % 37) as f32).collect();
    values[700_000 / 32 * 32..700_000 / 32 * 32 + 32].fill(3.0);
    let tensor = Tensor::new("x", &[1024, 1024], values).unwrap();
    let error = report(&tensor, &[quantizer("uint8-asym-g32-original").unwrap()]).unwrap_err();
    assert!(matches!(error.cause(), Error::ZeroScale { .. }) && error.block() == Some(21_875), "{error}");
}
