//! A tensor that cannot be quantized under a scheme has a row that says why, and takes nothing from the others.

use polars::prelude::DataFrame;
use quantlens::{
    Bootstrap, Error, Granularity, Model, Objective, Result, Scheme, Source, Tensor, allocate, bias_correction, blame, channels,
    concentration, frontier, ledger, lorenz, noise, plot, report, uncertainty, what_if,
};

use super::{is_null, text};

/// Values of two axes, of one, and some with NaN among them.
fn model() -> Model {
    let header = r#"{"w":{"dtype":"F32","shape":[4,8],"data_offsets":[0,128]},"b":{"dtype":"F32","shape":[8],"data_offsets":[128,160]},"bad":{"dtype":"F32","shape":[4,8],"data_offsets":[160,288]}}"#;
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    let value = |i: usize| if i == 50 { f32::NAN } else { (i as f32 * 0.7).sin() * (1.0 + i as f32 / 9.0) };
    file.extend((0..72).flat_map(|i| value(i).to_le_bytes()));
    Model::from_bytes("m.safetensors", file).unwrap()
}

fn schemes() -> [Scheme; 2] {
    [Scheme::symmetric(8), Scheme::symmetric(4).per_axis(1)]
}

const NO_AXIS: &str = "axis 1 does not exist in shape [8], whose axes are counted from 0";

/// A table of any source under any schemes.
fn check(name: &str, table: impl Fn(&dyn Source, &[Scheme]) -> Result<DataFrame>) {
    let model = model();
    let tensor = |name: &str| -> Tensor { model.tensor(name).unwrap() };
    let all = table(&model, &schemes()).unwrap();
    let (w, b) = (table(&tensor("w"), &schemes()).unwrap(), table(&tensor("b"), &schemes()[..1]).unwrap());
    assert!(all.slice(0, w.height()).equals_missing(&w), "{name}: {all}");
    assert!(all.slice(w.height() as i64, b.height()).equals_missing(&b), "{name}: {all}");
    let failed = w.height() + b.height();
    assert_eq!(all.height(), failed + 3, "{name}: {all}");
    let nan = "tensor `bad` has NaN at index 10: every value must be finite, remove or replace it first";
    for (row, tensor, scheme, error) in
        [(0, "b", "int4-sym-axis1", NO_AXIS), (1, "bad", "int8-sym", nan), (2, "bad", "int4-sym-axis1", nan)]
    {
        let row = failed + row;
        assert_eq!((text(&all, "tensor", row).as_str(), text(&all, "scheme", row).as_str()), (tensor, scheme));
        assert_eq!(text(&all, "error", row), error, "{name}");
        let others =
            all.get_column_names().into_iter().filter(|column| !["tensor", "scheme", "error"].contains(&column.as_str()));
        others.for_each(|column| assert!(is_null(&all, column, row), "{name}: {column}"));
    }
    // Where nothing can be told, the table is an error.
    let error = table(&tensor("b"), &schemes()[1..]).unwrap_err();
    assert!(matches!(error, Error::At { .. }) && matches!(error.cause(), Error::Axis { .. }), "{name}: {error}");
}

#[test]
fn one_row_says_why_and_the_others_are_as_without_it() {
    check("ledger", |source, schemes| ledger(source, schemes));
    check("frontier", |source, schemes| frontier(source, schemes));
    check("blame", |source, schemes| blame(source, schemes, 3));
    check("concentration", |source, schemes| {
        concentration(source, schemes, &[Granularity::PerGroup(1), Granularity::PerAxis(0)])
    });
    check("lorenz", |source, schemes| lorenz(source, schemes, Granularity::PerGroup(1), 4));
    check("channels", |source, schemes| channels(source, schemes, Granularity::PerAxis(0)));
    check("bias_correction", |source, schemes| bias_correction(source, schemes, 0));
    check("noise", |source, schemes| noise(source, schemes));
    check("what_if", |source, schemes| what_if(source, schemes, 0.1, Granularity::PerAxis(0)));
    check("uncertainty", |source, schemes| uncertainty(source, schemes, Bootstrap { resamples: 20, ..Bootstrap::default() }));
}

#[test]
fn an_allocation_does_without_what_cannot_be() {
    let model = model();
    let table = allocate(&model, &schemes(), 64.0, Objective::SquaredError).unwrap();
    let names: Vec<String> = (0..3).map(|row| text(&table, "scheme", row)).collect();
    assert_eq!(names, ["int8-sym", "int8-sym", "null"]);
    assert!(is_null(&table, "error", 0));
    assert_eq!(text(&table, "error", 1), format!("int4-sym-axis1: {NO_AXIS}"));
    assert!(text(&table, "error", 2).starts_with("int8-sym: tensor `bad` has NaN at index 10"));
    assert!(is_null(&table, "bits", 2) && is_null(&table, "gap", 2) && is_null(&table, "cost_share", 2));
    // The budget is of those that can be quantized.
    let fewest = match allocate(&model, &schemes(), 1.0, Objective::SquaredError) {
        Err(Error::Budget { fewest, .. }) => fewest,
        other => panic!("{other:?}"),
    };
    let bits = |scheme: usize, name: &str| {
        let tensor = model.tensor(name).unwrap();
        schemes()[scheme].bits_per_element(tensor.shape(), tensor.dtype()).unwrap() * tensor.len() as f64
    };
    assert_eq!(fewest, (bits(0, "w").min(bits(1, "w")) + bits(0, "b")) / 40.0);
}

#[test]
fn figures_leave_them_out() {
    let (model, schemes) = (model(), schemes());
    let before = allocate(&model, &schemes[..1], 64.0, Objective::SquaredError).unwrap();
    let after = allocate(&model, &schemes, 10.0, Objective::SquaredError).unwrap();
    let figures = [
        plot::ledger(&ledger(&model, &schemes).unwrap()),
        plot::lorenz(&lorenz(&model, &schemes, Granularity::PerGroup(1), 4).unwrap()),
        plot::sensitivity(&report(&model, &schemes).unwrap()),
        plot::intervals(&uncertainty(&model, &schemes, Bootstrap::default()).unwrap()),
        plot::allocation(&before, &after),
        plot::frontier(&frontier(&model, &schemes).unwrap().slice(0, 2)),
    ];
    for figure in figures {
        let figure = figure.unwrap();
        assert!(!figure.title().contains("NaN") && !figure.title().contains("inf"), "{}", figure.title());
        figure.to_svg().unwrap();
    }
    // Of the third tensor nothing is known.
    let bad = frontier(&model, &schemes).unwrap().slice(4, 2);
    assert!(matches!(plot::frontier(&bad), Err(Error::Nothing { .. })));
}
