//! Reports from parts: the same bits however the values are cut, whoever measures them, and in whatever order the parts are merged.

use proptest::prelude::*;
use quantlens::{
    Error, RangesPart, ReportPart, ReportRow, Slice, Source, Synthetic, Tensor, TensorInfo, TensorReport, report_rows,
};

use crate::schemes::{SCHEMES, quantizers};

fn slice(values: &Tensor, from: usize, to: usize) -> Slice<'_> {
    match values.as_slice() {
        Slice::F32(values) => Slice::F32(&values[from..to]),
        Slice::F64(values) => Slice::F64(&values[from..to]),
    }
}

/// As it travels.
fn sent<T: serde::Serialize + serde::de::DeserializeOwned>(part: &T) -> T {
    serde_json::from_str(&serde_json::to_string(part).unwrap()).unwrap()
}

fn text(rows: &[ReportRow]) -> Vec<String> {
    rows.iter().map(|row| serde_json::to_string(row).unwrap()).collect()
}

fn ranges(plan: &TensorReport, info: &TensorInfo, tensor: &Tensor, cuts: &[usize]) -> RangesPart {
    let mut all = RangesPart::default();
    for cut in pieces(info, cuts) {
        let mut part = RangesPart::default();
        plan.add_ranges(&mut part, cut.0, slice(tensor, cut.0, cut.1)).unwrap();
        all.merge(sent(&part));
    }
    all
}

/// The pieces between cuts, the later half first.
fn pieces(info: &TensorInfo, cuts: &[usize]) -> Vec<(usize, usize)> {
    let mut bounds = [&[0, info.elements()], cuts].concat();
    bounds.sort_unstable();
    bounds.dedup();
    let mut pieces: Vec<(usize, usize)> = bounds.windows(2).map(|pair| (pair[0], pair[1])).collect();
    let half = pieces.len() / 2;
    pieces.rotate_left(half);
    pieces
}

/// The rows from parts, with the ranges known first or not; each two pieces are in one part.
fn rows_of_parts(tensor: &Tensor, names: &[&str], cuts: &[usize], ranges_first: bool) -> Vec<ReportRow> {
    let (info, quantizers) = (tensor.infos().remove(0), quantizers(names));
    let mut plan = TensorReport::new(&info, &quantizers);
    if ranges_first && plan.wants_ranges() {
        let ranges = ranges(&plan, &info, tensor, cuts);
        plan = plan.with_ranges(&ranges).unwrap();
        assert!(!plan.wants_ranges());
    }
    let mut all = ReportPart::default();
    for cuts in pieces(&info, cuts).chunks(2) {
        let mut part = ReportPart::default();
        for &(from, to) in cuts {
            plan.add(&mut part, from, slice(tensor, from, to)).unwrap();
        }
        plan.merge(&mut all, sent(&part)).unwrap();
    }
    plan.rows(sent(&all)).unwrap()
}

fn tensors() -> Vec<Tensor> {
    let normal = |seed| Synthetic::normal(0.0, 1.0).outliers(0.01, 20.0).seed(seed);
    vec![
        normal(1).tensor::<f32>("a", &[60, 256]).unwrap(),
        normal(2).tensor::<f64>("b", &[30, 50, 6]).unwrap(),
        normal(3).tensor::<f32>("c", &[12_345]).unwrap(),
        normal(4).tensor::<f32>("d", &[1, 512, 20]).unwrap(),
        Tensor::new("zero", &[2, 4100], vec![0.0_f32; 8200]).unwrap(),
        Tensor::new("one", &[], vec![-2.5_f64]).unwrap(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rows_from_parts_are_those_of_the_tensor_in_one_piece(cuts in proptest::collection::vec(0..20_000_usize, 0..9), known: bool) {
        for tensor in tensors() {
            let cuts: Vec<usize> = cuts.iter().map(|cut| cut % tensor.len()).collect();
            let found = rows_of_parts(&tensor, &SCHEMES, &cuts, known);
            let whole = report_rows(&[tensor.clone(), tensors().remove(0)], &quantizers(&SCHEMES)).unwrap();
            for (found, whole) in text(&found).into_iter().zip(text(&whole)) {
                prop_assert_eq!(found, whole);
            }
        }
    }
}

#[test]
fn parts_cut_where_the_plan_says_have_no_values() {
    let tensor = Synthetic::normal(0.0, 1.0).seed(1).tensor::<f32>("w", &[64, 4096]).unwrap();
    let (info, quantizers) =
        (tensor.infos().remove(0), quantizers(&["int8-sym-axis0", "int4-sym-g128", "mxfp4", "q4_k", "int8-sym"]));
    let plan = TensorReport::new(&info, &quantizers);
    assert_eq!(plan.period(), tensor.len(), "before the range of the tensor is known, it takes all values");
    let ranges = ranges(&plan, &info, &tensor, &[]);
    let plan = plan.with_ranges(&ranges).unwrap();
    assert_eq!(plan.period(), 4096);
    let mut part = ReportPart::default();
    plan.add(&mut part, 16 * 4096, slice(&tensor, 16 * 4096, 48 * 4096)).unwrap();
    let length = serde_json::to_string(&part).unwrap().len();
    assert!(length < 6_000, "{length} bytes for five quantizers");
}

#[test]
fn what_cannot_be_used_is_every_rows_error_as_in_a_report() {
    struct Unchecked(Vec<f32>);
    impl Source for Unchecked {
        fn infos(&self) -> Vec<TensorInfo> {
            let whole = Tensor::from_vec("x", vec![0.0_f32; self.0.len()]).unwrap();
            [whole.infos(), Tensor::from_vec("y", vec![1.0_f32]).unwrap().infos()].concat()
        }
        fn read<'a>(
            &'a self,
            index: usize,
            elements: std::ops::Range<usize>,
            _: &'a mut quantlens::TileBuffer,
        ) -> quantlens::Result<Slice<'a>> {
            Ok(Slice::F32(if index == 0 { &self.0[elements] } else { &[1.0] }))
        }
    }
    let mut values = vec![0.5_f32; 10_000];
    (values[7000], values[9000]) = (f32::NAN, f32::INFINITY);
    let source = Unchecked(values.clone());
    let quantizers = quantizers(&["int8-sym-axis0", "q4_0", "int4-sym-g128"]);
    let expected = report_rows(&source, &quantizers).unwrap();
    let info = source.infos().remove(0);
    for cuts in [vec![], vec![8000], vec![4000, 8000, 9000]] {
        let plan = TensorReport::new(&info, &quantizers);
        let mut all = ReportPart::default();
        for (from, to) in pieces(&info, &cuts) {
            let mut part = ReportPart::default();
            plan.add(&mut part, from, Slice::F32(&values[from..to])).unwrap();
            plan.merge(&mut all, sent(&part)).unwrap();
        }
        assert_eq!(text(&plan.rows(all).unwrap()), text(&expected[..3]));
    }
    assert!(expected[0].error.as_ref().unwrap().contains("NaN at index 7000"));

    // Ranges that say so need no second look.
    let one_scale = self::quantizers(&["int8-sym"]);
    let plan = TensorReport::new(&info, &one_scale);
    let (mut ranges, mut others) = (RangesPart::default(), RangesPart::default());
    plan.add_ranges(&mut others, 8000, Slice::F32(&values[8000..])).unwrap();
    plan.add_ranges(&mut ranges, 0, Slice::F32(&values[..8000])).unwrap();
    others.merge(sent(&ranges));
    let plan = plan.with_ranges(&others).unwrap();
    assert!(plan.is_unusable());
    assert_eq!(plan.rows(ReportPart::default()).unwrap()[0].error, expected[0].error);

    // What a file says instead of values.
    let plan = TensorReport::new(&info, &quantizers);
    let mut part = ReportPart::default();
    let fault = Error::File { path: "m".into(), tensor: Some("x".into()), offset: Some(12), reason: "it ends here".into() };
    plan.add_unusable(&mut part, 0, &fault.cause().to_string());
    plan.add(&mut part, 0, Slice::F32(&[0.0; 64])).unwrap();
    let rows = plan.rows(part).unwrap();
    assert_eq!(rows[0].error.as_deref(), Some("m, tensor `x`, byte 12: it ends here"));
}

#[test]
fn values_that_are_missing_or_come_twice_or_are_anothers_are_errors() {
    let tensor = Synthetic::normal(0.0, 1.0).seed(1).tensor::<f32>("w", &[10_000]).unwrap();
    let (info, quantizers) = (tensor.infos().remove(0), quantizers(&["int8-sym", "int4-sym-g32"]));
    let plan = || TensorReport::new(&info, &quantizers);
    let part = |from, to| {
        let mut part = ReportPart::default();
        plan().add(&mut part, from, slice(&tensor, from, to)).unwrap();
        part
    };
    let mut some = part(0, 4000);
    plan().merge(&mut some, part(5000, 10_000)).unwrap();
    assert!(fails!(plan().rows(some.clone()), Error::Parts { elements: 10_000, seen: 9000, .. }));
    assert!(fails!(plan().merge(&mut some.clone(), part(3999, 4001)), Error::Overlap { .. }));
    assert!(fails!(plan().add(&mut some.clone(), 5001, slice(&tensor, 5001, 5003)), Error::Overlap { .. }));
    let mut ranges = RangesPart::default();
    plan().add_ranges(&mut ranges, 0, slice(&tensor, 0, 9999)).unwrap();
    assert!(fails!(plan().with_ranges(&ranges), Error::Parts { seen: 9999, .. }));
    assert!(fails!(plan().add(&mut some, 9999, Slice::F32(&[0.0; 2])), Error::NoTensor { .. }));
    assert!(fails!(plan().add(&mut some, 4000, Slice::F64(&[0.0; 2])), Error::DtypeMismatch { .. }));
    assert!(fails!(plan().rows(ReportPart::default()), Error::Parts { seen: 0, .. }));
}

/// What comes from elsewhere may be anything.
#[test]
fn damaged_parts_are_errors() {
    let tensor = Synthetic::normal(0.0, 1.0).seed(1).tensor::<f32>("w", &[8, 100]).unwrap();
    let (info, quantizers) = (tensor.infos().remove(0), quantizers(&["int8-sym-axis0"]));
    let plan = TensorReport::new(&info, &quantizers);
    let mut part = ReportPart::default();
    plan.add(&mut part, 110, slice(&tensor, 110, 150)).unwrap();
    let written = serde_json::to_value(&part).unwrap();
    let piece = written["pieces"]["100"]["110"].clone();
    assert!(piece.is_object(), "{written}");
    for (period, first) in
        [("0", "110"), ("100", "170"), ("100", "790"), ("100", "18446744073709551610"), ("18446744073709551615", "790")]
    {
        let mut damaged = written.clone();
        damaged["pieces"] = serde_json::json!({ period: { first: piece } });
        let damaged: ReportPart = serde_json::from_value(damaged).unwrap();
        let error = plan.merge(&mut ReportPart::default(), damaged).unwrap_err();
        assert!(matches!(&error, Error::DamagedPart { name, .. } if name == "w"), "{period} {first}: {error}");
    }
}
