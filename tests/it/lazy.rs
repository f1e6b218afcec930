//! Expressions of lazy frames: the numbers of tensors, on either engine, in however many pieces the column lies.

use polars::prelude::*;
use quantlens::{Dtype, ExprQuantExt, Metrics, QParams, Quantizer, Scheme, Synthetic, Tensor, quantizer, report_rows};

/// A column `w` of so many chunks, and `layer`, which changes every 1000 rows.
fn frame(chunks: usize, rows: usize) -> (DataFrame, Vec<f32>) {
    let tensor = Synthetic::normal(0.0, 1.0).outliers(0.01, 20.0).seed(4).tensor::<f32>("w", &[chunks * rows]).unwrap();
    let values: Vec<f32> = tensor.to_f64_vec().into_iter().map(|x| x as f32).collect();
    let piece = |(number, values): (usize, &[f32])| {
        let layers: Vec<u32> = (0..rows).map(|row| ((number * rows + row) / 1000) as u32).collect();
        df!("layer" => layers, "w" => values.to_vec()).unwrap()
    };
    let mut pieces = values.chunks(rows).enumerate().map(piece);
    let mut frame = pieces.next().unwrap();
    for piece in pieces {
        frame.vstack_mut(&piece).unwrap();
    }
    (frame, values)
}

fn quantizers() -> Vec<String> {
    let names = [
        "int8-sym",
        "uint4-asym-g32-sf16",
        "int4-sym-mse",
        "int8-sym-p99.9",
        "mxfp4",
        "nvfp4",
        "nf4-g64",
        "q4_0",
        "e4m3fn-axis0",
    ];
    names.map(str::to_owned).into()
}

/// A quantizer by name that threads may share.
struct Named(String);

impl Quantizer for Named {
    fn name(&self) -> String {
        self.0.clone()
    }
    fn bits_per_element(&self, shape: &[usize], dtype: Dtype) -> quantlens::Result<f64> {
        quantizer(&self.0)?.bits_per_element(shape, dtype)
    }
    fn fake_quantize(&self, tensor: &Tensor) -> quantlens::Result<Tensor> {
        quantizer(&self.0)?.fake_quantize(tensor)
    }
    fn report_row(&self, tensor: &Tensor) -> quantlens::Result<quantlens::ReportRow> {
        quantizer(&self.0)?.report_row(tensor)
    }
}

/// The same frame from both engines, where both are compiled in.
fn collect(lazy: LazyFrame) -> DataFrame {
    let in_memory = lazy.clone().collect_with_engine(Engine::InMemory).unwrap().unwrap_single();
    if cfg!(feature = "streaming") {
        let streamed = lazy.collect_with_engine(Engine::Streaming).unwrap().unwrap_single();
        assert!(streamed.equals_missing(&in_memory), "{streamed}\n{in_memory}");
    }
    in_memory
}

#[test]
fn a_whole_column_is_one_tensor_on_both_engines() {
    // More rows than the streaming engine takes at a time, in pieces that no block ends with.
    let (frame, values) = frame(32, 9973);
    let tensor = Tensor::new("w", &[values.len()], values).unwrap();
    for name in quantizers() {
        let named = || Named(name.clone());
        let expressions = [
            col("w").quant().fake_quantize(named()).alias("back"),
            col("w").quant().mse(named()).alias("mse"),
            col("w").quant().sqnr_db(named()).alias("sqnr_db"),
        ];
        let table = collect(frame.clone().lazy().select(expressions));
        let expected = named().fake_quantize(&tensor).unwrap().to_series().with_name("back".into());
        assert!(table.column("back").unwrap().as_materialized_series().equals(&expected), "{name}");
        let metrics = named().report_row(&tensor).unwrap().metrics;
        assert_eq!(table.column("mse").unwrap().f64().unwrap().get(0), Some(metrics.mse), "{name}");
        assert_eq!(table.column("sqnr_db").unwrap().f64().unwrap().get(7), Some(metrics.sqnr_db), "{name}");
    }
}

#[test]
fn a_group_is_a_tensor_of_its_own() {
    let (frame, values) = frame(5, 2200);
    let scheme = Scheme::symmetric(4);
    let of_layers = frame.clone().lazy().group_by_stable([col("layer")]).agg([
        col("w").quant().qparams(scheme).alias("qparams"),
        col("w").quant().metrics(scheme).alias("metrics"),
        col("w").quant().sqnr_db(scheme).alias("sqnr_db"),
    ]);
    let table = collect(of_layers.sort(["layer"], SortMultipleOptions::default()));
    assert_eq!(table.height(), 11);
    let field = |column: &str, field: &str| {
        table.column(column).unwrap().struct_().unwrap().field_by_name(field).unwrap().cast(&DataType::Float64).unwrap()
    };
    let mut back = Vec::new();
    for (layer, values) in values.chunks(1000).enumerate() {
        let tensor = Tensor::new("w", &[values.len()], values.to_vec()).unwrap();
        let row = &report_rows(&tensor, &[scheme]).unwrap()[0];
        assert_eq!(field("qparams", "scale").f64().unwrap().get(layer), row.scale);
        assert_eq!(field("qparams", "zero_point").f64().unwrap().get(layer), Some(0.0));
        for (name, value) in Metrics::COLUMNS {
            assert_eq!(field("metrics", name).f64().unwrap().get(layer), Some(value(&row.metrics)), "{name}");
        }
        assert_eq!(table.column("sqnr_db").unwrap().f64().unwrap().get(layer), Some(row.metrics.sqnr_db));
        back.extend(scheme.fake_quantize(&tensor).unwrap().to_f64_vec());
    }
    // The same with the rows in their places.
    let over = col("w").quant().fake_quantize(scheme).over([col("layer")]).unwrap();
    let table = collect(frame.lazy().with_columns([over.cast(DataType::Float64)]));
    assert_eq!(table.column("w").unwrap().f64().unwrap().iter().flatten().collect::<Vec<_>>(), back);
}

#[test]
fn given_parameters_need_not_see_the_column() {
    let (frame, values) = frame(11, 30_011);
    let tensor = Tensor::new("w", &[values.len()], values).unwrap();
    let scheme = Scheme::asymmetric(8).percentile(99.0);
    let qparams = scheme.qparams(&tensor).unwrap();
    let expected = scheme.fake_quantize(&tensor).unwrap().to_series();
    let table = collect(frame.lazy().select([col("w").quant().fake_quantize_with(qparams)]));
    assert!(table.column("w").unwrap().as_materialized_series().equals(&expected));
}

#[test]
fn a_minimum_is_a_field() {
    let name = "uint4-min-torchao";
    let scheme: Scheme = name.parse().unwrap();
    let table = collect(df!("w" => [1.0, 2.0, 4.0]).unwrap().lazy().select([col("w").quant().qparams(scheme)]));
    let qparams = scheme.qparams(&Tensor::from_vec("w", vec![1.0, 2.0, 4.0]).unwrap()).unwrap();
    let fields = table.column("w").unwrap().struct_().unwrap();
    assert_eq!(fields.field_by_name("minimum").unwrap().f64().unwrap().get(0), Some(qparams.minimums()[0]));
    assert_eq!(fields.field_by_name("scale").unwrap().f64().unwrap().get(0), Some(qparams.scales()[0]));
}

#[test]
fn nothing_gives_nothing() {
    let empty = df!("layer" => Vec::<i32>::new(), "w" => Vec::<f32>::new()).unwrap().lazy();
    let scheme = Scheme::asymmetric(8);
    let quant = || col("w").quant();
    let numbers =
        [quant().mse(scheme).alias("mse"), quant().qparams(scheme).alias("qparams"), quant().metrics(scheme).alias("all")];
    let table = collect(empty.clone().select(numbers.clone()));
    assert_eq!(table.height(), 1);
    assert_eq!(table.column("mse").unwrap().null_count(), 1);
    let scale = table.column("qparams").unwrap().struct_().unwrap().field_by_name("scale").unwrap();
    assert_eq!((scale.null_count(), scale.dtype()), (1, &DataType::Float64));
    assert_eq!(collect(empty.clone().group_by([col("layer")]).agg(numbers)).height(), 0);
    let table = collect(empty.select([quant().fake_quantize(scheme)]));
    assert_eq!((table.height(), table.column("w").unwrap().dtype()), (0, &DataType::Float32));
}

#[test]
fn errors_say_what_to_do() {
    let error = |frame: DataFrame, expression: Expr| frame.lazy().select([expression]).collect().unwrap_err().to_string();
    let scheme = Scheme::symmetric(8);
    let message = error(df!("w" => [Some(1.0), None]).unwrap(), col("w").quant().mse(scheme));
    assert!(message.contains("column `w` is null in row 1"), "{message}");
    let message = error(df!("w" => [1.0, f64::NAN]).unwrap(), col("w").quant().fake_quantize(scheme));
    assert!(message.contains("NaN at index 1"), "{message}");
    let message = error(df!("w" => ["a"]).unwrap(), col("w").quant().sqnr_db(scheme));
    assert!(message.contains("column `w` is str: cast it to f32 or f64 first"), "{message}");
    let message = error(df!("w" => [1.0, 2.0]).unwrap(), col("w").quant().qparams(scheme.per_group(1)));
    assert!(message.contains("in each of this tensor's 2 blocks"), "{message}");
    let message = error(df!("w" => [1.0, 2.0]).unwrap(), col("w").quant().mse(scheme.per_axis(1)));
    assert!(message.contains("axis 1"), "{message}");
    let qparams = QParams::new(scheme.per_group(2), Dtype::F64, vec![1.0], vec![0]).unwrap();
    let message = error(df!("w" => [1.0, 2.0]).unwrap(), col("w").quant().fake_quantize_with(qparams));
    assert!(message.contains("take a scheme with one scale"), "{message}");
    let qparams = QParams::new(scheme, Dtype::F32, vec![1.0], vec![0]).unwrap();
    let message = error(df!("w" => [1.0, 2.0]).unwrap(), col("w").quant().fake_quantize_with(qparams));
    assert!(message.contains("f32") && message.contains("f64"), "{message}");
}

#[test]
fn a_plan_says_what_it_does() {
    let plan = df!("w" => [1.0]).unwrap().lazy().select([col("w").quant().sqnr_db(Scheme::symmetric(4).per_group(128))]);
    let text = plan.explain(true).unwrap();
    assert!(text.contains("quant.sqnr_db(int4-sym-g128)"), "{text}");
}
