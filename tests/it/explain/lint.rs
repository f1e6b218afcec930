//! What fails silently elsewhere.

use std::ops::Range;

use polars::prelude::DataFrame;
use quantlens::{
    Convention, Dtype, Error, Result, Scheme, Slice, Source, Synthetic, Tensor, TensorInfo, TileBuffer, known_formats, lint,
    quantizer,
};

use super::{all_weights, is_null, number, text};

/// Raw values, whatever they are.
struct Raw(Vec<f32>);

impl Source for Raw {
    fn infos(&self) -> Vec<TensorInfo> {
        vec![TensorInfo { name: "raw".to_owned(), shape: vec![self.0.len()], dtype: Dtype::F32, stored: "f32".to_owned() }]
    }

    fn read<'a>(&'a self, _: usize, elements: Range<usize>, _: &'a mut TileBuffer) -> Result<Slice<'a>> {
        Ok(Slice::F32(&self.0[elements]))
    }
}

fn lints(table: &DataFrame) -> Vec<String> {
    (0..table.height()).map(|row| text(table, "lint", row)).collect()
}

fn of(tensor: &Tensor, scheme: &str) -> DataFrame {
    lint(tensor, &[quantizer(scheme).unwrap()]).unwrap()
}

fn tensor(values: Vec<f32>) -> Tensor {
    Tensor::from_vec("x", values).unwrap()
}

/// The row of a finding.
fn find(table: &DataFrame, name: &str) -> usize {
    lints(table).iter().position(|found| found == name).unwrap_or_else(|| panic!("{name} is not among {:?}", lints(table)))
}

#[test]
fn nan_and_infinities_are_counted_over_tiles() {
    let mut values = vec![0.5; (1 << 20) + 10];
    values[3] = f32::INFINITY;
    values[1 << 20] = f32::NAN;
    values[(1 << 20) + 5] = f32::NEG_INFINITY;
    let table = lint(&Raw(values), &[Scheme::asymmetric(8)]).unwrap();
    assert_eq!(lints(&table), ["not_finite"]);
    assert_eq!((number(&table, "count", 0), number(&table, "of", 0)), (3.0, f64::from((1 << 20) + 10)));
    assert_eq!((text(&table, "where", 0), text(&table, "severity", 0)), ("inf at index 3".to_owned(), "error".to_owned()));
    assert!(is_null(&table, "scheme", 0));
    assert_eq!(lints(&lint(&Raw(vec![]), &[Scheme::asymmetric(8)]).unwrap()), ["empty"]);
    assert!(matches!(lint(&Vec::<Tensor>::new(), &[Scheme::asymmetric(8)]), Err(Error::Nothing { .. })));
}

#[test]
fn dead_and_constant_channels() {
    let mut values = Synthetic::normal(0.0, 1.0).seed(1).tensor::<f64>("x", &[4, 6]).unwrap().to_f64_vec();
    values[6..12].fill(0.0);
    values[18..24].fill(0.25);
    (0..4).for_each(|row| values[row * 6 + 2] = 0.0);
    let x = Tensor::new("x", &[4, 6], values).unwrap();
    let table = lint::<Scheme>(&x, &[]).unwrap();
    // Row 3 has a 0 in column 2 and is no longer constant.
    assert_eq!(lints(&table), ["dead_channels", "dead_channels"]);
    assert_eq!(text(&table, "where", 0), "axis 0, channel 1");
    assert_eq!(text(&table, "where", 1), "axis 1, channel 2");
    let constant = Tensor::new("x", &[2, 2], vec![1.0, 1.0, 2.0, 3.0]).unwrap();
    let table = lint::<Scheme>(&constant, &[]).unwrap();
    assert_eq!((lints(&table), text(&table, "severity", 0)), (vec!["constant_channels".to_owned()], "note".to_owned()));
    assert_eq!(lints(&lint::<Scheme>(&tensor(vec![2.0; 5]), &[]).unwrap()), ["constant"]);
    assert_eq!(lints(&lint::<Scheme>(&tensor(vec![2.0]), &[]).unwrap()), Vec::<String>::new());
}

#[test]
fn scales_that_their_type_cannot_hold() {
    let large = of(&tensor(vec![1e9, -2.0, 3.0]), "int8-sym-sf16");
    assert_eq!((find(&large, "scale_overflow"), text(&large, "severity", 0)), (0, "error".to_owned()));
    let vanishing = of(&tensor(vec![1e-9, -2e-9, 3e-9]), "int8-sym-sf16");
    assert_eq!((find(&vanishing, "scale_underflow"), text(&vanishing, "severity", 0)), (0, "error".to_owned()));
    // 0.6 · 2⁻²⁴, which becomes 2⁻²⁴.
    let smallest = of(&tensor(vec![0.6 * 127.0 / 16_777_216.0, 1e-9]), "int8-sym-sf16");
    assert_eq!(text(&smallest, "severity", find(&smallest, "scale_underflow")), "warning");
    let subnormal = of(&tensor(vec![2.45 * 127.0 / 16_777_216.0, 1e-9]), "int8-sym-sf16");
    find(&subnormal, "scale_subnormal");
    // Beside a block of 448 · 6 the other's scale is next to nothing.
    let mut values = vec![1e-4; 32];
    values[0] = 5000.0;
    let relative = of(&tensor(values), "nvfp4");
    assert_eq!(text(&relative, "where", find(&relative, "scale_underflow")), "block 1");
}

#[test]
fn scales_that_a_runtime_sets() {
    let tiny = Synthetic::normal(0.0, 1e-7).seed(1).tensor::<f32>("x", &[64]).unwrap();
    for (scheme, found) in
        [("uint8-asym-pytorch", true), ("uint8-asym-torchao", false), ("int8-sym-pytorch", true), ("uint8-asym", false)]
    {
        assert_eq!(lints(&of(&tiny, scheme)).contains(&"scale_epsilon".to_owned()), found, "{scheme}");
    }
    let tinier = tensor(vec![1e-11, -2e-11]);
    find(&of(&tinier, "int8-sym-aiedge"), "scale_epsilon");
    // ONNX's scale 1 where it would be subnormal.
    let subnormal = of(&tensor(vec![1e-40, -2e-40]), "int8-sym");
    find(&subnormal, "scale_epsilon");
    find(&subnormal, "all_zero");
    // A block of zeros asks for nothing.
    assert!(
        lints(&of(&tensor(vec![0.0; 8]), "int8-sym")).is_empty()
            || !lints(&of(&tensor(vec![0.0; 8]), "int8-sym")).contains(&"scale_epsilon".to_owned())
    );
}

#[test]
fn zero_points_at_their_end() {
    let x = tensor(vec![1e-7, -2e-7, 3e-7, -1e-5]);
    // PyTorch's smallest scale leaves no room below: min/scale rounds to few steps, so nothing is lost there.
    assert!(!lints(&of(&x, "uint8-asym-pytorch")).contains(&"zero_point_saturated".to_owned()));
    let above = tensor(vec![100.0, 101.0, 102.0]);
    let original = of(&above, "uint8-asym-original");
    assert_eq!(text(&original, "where", find(&original, "zero_point_outside")), "block 0");
    assert!(!lints(&of(&above, "uint8-asym")).contains(&"zero_point_outside".to_owned()));
    // 11/15 becomes 1/2, and -10 is twenty steps below 0, of which there are fifteen: then 1 has no code.
    let power = of(&tensor(vec![-10.0, 1.0]), "uint4-asym-spow2");
    assert_eq!(text(&power, "where", find(&power, "zero_point_saturated")), "block 0");
}

#[test]
fn codes_and_values_that_are_lost() {
    let mut values = Synthetic::normal(0.0, 0.01).seed(1).tensor::<f32>("x", &[8192]).unwrap().to_f64_vec();
    values[17] = 10.0;
    let x = Tensor::from_vec("x", values.iter().map(|&x| x as f32).collect()).unwrap();
    let table = of(&x, "int8-sym");
    find(&table, "unused_codes");
    find(&table, "values_vanish");
    assert_eq!(text(&table, "severity", find(&table, "outlier_owns_range")), "warning");
    let without = of(&Synthetic::normal(0.0, 0.01).seed(1).tensor::<f32>("x", &[8192]).unwrap(), "int8-sym");
    for name in ["unused_codes", "values_vanish", "outlier_owns_range"] {
        assert!(!lints(&without).contains(&name.to_owned()), "{name}");
    }
}

#[test]
fn clipping_that_nobody_asked_for() {
    let x = Synthetic::normal(0.0, 1.0).seed(2).tensor::<f32>("x", &[64, 64]).unwrap();
    let clipped = |scheme: &str| lints(&of(&x, scheme)).contains(&"clipped_by_scale".to_owned());
    assert!(clipped("mxfp4"));
    assert!(!clipped("mxfp4-ceil"));
    assert!(!clipped("int8-sym"));
    assert!(!clipped("int8-sym-p99"));
    find(&of(&tensor(vec![500.0, 1.0]), "e4m3fn-cast"), "clipped_by_scale");
}

#[test]
fn ties_on_which_runtimes_differ() {
    let x = tensor(vec![-127.0, 0.5, 1.5, 2.5, 3.25, 127.0]);
    let table = of(&x, "int8-sym");
    let row = find(&table, "ties");
    // 1.5 is 2 for both.
    assert_eq!((text(&table, "where", row), number(&table, "count", row)), ("elements 1, 3".to_owned(), 2.0));
    assert!(!lints(&of(&x, "int8-sym-p50")).contains(&"ties".to_owned()));
    let converted = quantlens::convention_diff(&x, &Scheme::symmetric(8), Convention::Onnx, Convention::TfLite).unwrap();
    assert_eq!(converted.height(), 2);
}

#[test]
fn bits_that_cost_more_than_the_values() {
    let x = Synthetic::normal(0.0, 1.0).seed(2).tensor::<f32>("x", &[64]).unwrap();
    find(&of(&x, "int8-sym-g1"), "costs_more");
    assert!(!lints(&of(&x, "int8-sym-g4")).contains(&"costs_more".to_owned()));
}

/// Good weights have few findings, none of them an error, whatever the format; what cannot be quantized is one and does not end the table.
#[test]
fn every_format_can_be_linted() {
    let formats = known_formats().unwrap();
    let quantizers: Vec<_> = (0..formats.height()).map(|row| quantizer(&text(&formats, "name", row)).unwrap()).collect();
    let table = lint(&all_weights()[..1], &quantizers).unwrap();
    for row in 0..table.height() {
        let severity = text(&table, "severity", row);
        // 384 is no multiple of 256.
        assert!(severity != "error" || text(&table, "lint", row) == "cannot_quantize", "{table:?}");
    }
}
