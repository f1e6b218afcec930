//! DataFusion alone, in this process.

use std::fs;
use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, Float64Array};
use datafusion::prelude::SessionContext;
use datafusion::scalar::ScalarValue;
use object_store::{ObjectStoreExt, memory::InMemory};
use quantlens::{Source, frame_of_rows};
use quantlens_ballista::{Error, ModelTable, Partitions, cluster, register_parquet, report, report_rows, store};

use super::models::{SCHEMES, assert_same, expected, model, write_safetensors};

fn context(place: &str, partitions: Partitions) -> SessionContext {
    let context = cluster::local().unwrap();
    context.register_table("model", Arc::new(ModelTable::open(place, partitions).unwrap())).unwrap();
    context
}

#[tokio::test(flavor = "multi_thread")]
async fn the_report_is_the_librarys_for_any_partitions() {
    let folder = tempfile::tempdir().unwrap();
    let path = model(folder.path());
    let expected = expected(&path, &SCHEMES);
    assert!(expected.iter().any(|row| row.error.is_some()) && expected.iter().any(|row| row.error.is_none()));
    for partitions in [
        Partitions::PerTensor(1),
        Partitions::PerTensor(2),
        Partitions::PerTensor(4),
        Partitions::PerTensor(7),
        Partitions::Bytes(1),
        Partitions::Bytes(100_000),
        Partitions::default(),
    ] {
        let context = context(path.to_str().unwrap(), partitions);
        assert_same(&report_rows(&context, "model", &SCHEMES).await.unwrap(), &expected);
    }
    let context = context(path.to_str().unwrap(), Partitions::default());
    let frame = report(&context, "model", &SCHEMES).await.unwrap();
    assert!(frame.equals_missing(&frame_of_rows(&expected).unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_gives_the_numbers_of_the_report() {
    let folder = tempfile::tempdir().unwrap();
    let path = model(folder.path());
    let context = context(path.to_str().unwrap(), Partitions::PerTensor(3));
    let rows = expected(&path, &["int4-sym-g128"]);
    let query = "SELECT tensor, row['sqnr_db'] AS sqnr_db, row['bits'] AS bits, row['error'] AS error FROM \
        (SELECT number, tensor, quant_report(tile, 'int4-sym-g128') AS row FROM model GROUP BY number, tensor) ORDER BY number";
    let mut found = Vec::new();
    for batch in context.sql(query).await.unwrap().collect().await.unwrap() {
        let sqnr: &Float64Array = batch.column(1).as_primitive();
        for row in 0..batch.num_rows() {
            found.push((
                batch.column(0).as_string::<i32>().value(row).to_owned(),
                sqnr.is_valid(row).then(|| sqnr.value(row).to_bits()),
            ));
        }
    }
    let expected: Vec<_> =
        rows.iter().map(|row| (row.tensor.clone(), row.error.is_none().then(|| row.metrics.sqnr_db.to_bits()))).collect();
    assert_eq!(found, expected);

    for (query, said) in [
        ("SELECT quant_report(tile, 'int4-sym-g128, mxfp4') FROM model GROUP BY number", "takes one scheme"),
        ("SELECT quant_report(tile, 'int99') FROM model GROUP BY number", "int99"),
        ("SELECT quant_report(tile, tensor) FROM model GROUP BY number, tensor", "takes a literal"),
        ("SELECT quant_report(tile, 'mxfp4') FROM model", "are in one group: group by number and tensor"),
    ] {
        let error = match context.sql(query).await {
            Ok(query) => query.collect().await.map(|_| ()).unwrap_err(),
            Err(error) => error,
        };
        assert!(error.to_string().contains(said), "{query}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tiles_in_a_parquet_file_have_the_same_report() {
    let folder = tempfile::tempdir().unwrap();
    let tensor = quantlens::Synthetic::normal(0.0, 1.0).seed(9).tensor::<f32>("w", &[64, 500]).unwrap();
    let path = folder.path().join("w.safetensors");
    write_safetensors(&path, &[tensor]);
    let expected = expected(&path, &SCHEMES);
    let context = context(path.to_str().unwrap(), Partitions::PerTensor(5));
    let file = folder.path().join("tiles.parquet");
    let copy = format!(
        "COPY (SELECT tensor, tile['shape'] AS shape, tile['first'] AS first, tile['f32'] AS values FROM model) TO '{}'",
        file.display()
    );
    context.sql(&copy).await.unwrap().collect().await.unwrap();
    register_parquet(&context, "tiles", file.to_str().unwrap()).await.unwrap();
    assert_same(&report_rows(&context, "tiles", &SCHEMES).await.unwrap(), &expected);

    // As somebody writes such a view: 0 is an Int64.
    context.register_parquet("file", file.to_str().unwrap(), Default::default()).await.unwrap();
    let view = "CREATE VIEW view AS SELECT 0 AS number, tensor, tile(tensor, shape, first, values) AS tile FROM file";
    context.sql(view).await.unwrap().collect().await.unwrap();
    assert_same(&report_rows(&context, "view", &SCHEMES).await.unwrap(), &expected);
}

/// A query that does not name the tiles needs no values.
#[tokio::test(flavor = "multi_thread")]
async fn names_are_told_without_reading_values() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.safetensors");
    let tensors = ["a", "b"].map(|name| quantlens::Synthetic::normal(0.0, 1.0).seed(1).tensor::<f32>(name, &[64, 512]).unwrap());
    write_safetensors(&path, &tensors);
    let context = context(path.to_str().unwrap(), Partitions::PerTensor(2));
    // Without most of its values, of which a tile would say that it cannot be read.
    let length = fs::metadata(&path).unwrap().len();
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(length / 10).unwrap();
    let count = async |query: &str| {
        let batches = context.sql(query).await.unwrap().collect().await.unwrap();
        let ScalarValue::Int64(Some(count)) = ScalarValue::try_from_array(batches[0].column(0), 0).unwrap() else { panic!() };
        count
    };
    assert_eq!(count("SELECT count(DISTINCT tensor) FROM model").await, 2);
    assert_eq!(count("SELECT count(*) FROM model").await, 4);
    assert_eq!(count("SELECT count(tile['error']) FROM model").await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_cannot_be_used_are_rows_with_the_librarys_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.safetensors");
    let tensors = ["a", "b"].map(|name| quantlens::Synthetic::normal(0.0, 1.0).seed(1).tensor::<f32>(name, &[64, 512]).unwrap());
    write_safetensors(&path, &tensors);
    let mut bytes = fs::read(&path).unwrap();
    // The last value of `b`, and one in its middle.
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::INFINITY.to_le_bytes());
    bytes[end - 40_000..end - 39_996].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&path, &bytes).unwrap();
    let schemes = ["int8-sym", "int8-sym-axis0", "mxfp4", "int4-sym-mse"];
    let expected = expected(&path, &schemes);
    assert!(expected[4].error.as_ref().unwrap().contains("NaN at index"), "{:?}", expected[4]);
    for partitions in [Partitions::PerTensor(4), Partitions::default()] {
        let context = context(path.to_str().unwrap(), partitions);
        assert_same(&report_rows(&context, "model", &schemes).await.unwrap(), &expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_is_an_error_that_names_file_tensor_and_offset() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.safetensors");
    let tensors = ["a", "b"].map(|name| quantlens::Synthetic::normal(0.0, 1.0).seed(1).tensor::<f32>(name, &[64, 512]).unwrap());
    write_safetensors(&path, &tensors);
    let context = context(path.to_str().unwrap(), Partitions::PerTensor(2));
    // Cut short after it was opened.
    let bytes = fs::read(&path).unwrap();
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(bytes.len() as u64 - 1000).unwrap();
    let rows = report_rows(&context, "model", &["int8-sym-axis0"]).await.unwrap();
    assert_eq!(rows[0].error, None);
    let error = rows[1].error.as_deref().unwrap();
    assert!(error.contains("m.safetensors, tensor `b`, byte ") && error.contains("the file ends here"), "{error}");
    // Opened so.
    let error = ModelTable::open(path.to_str().unwrap(), Partitions::default()).unwrap_err().to_string();
    assert!(error.contains("m.safetensors, tensor `b`, byte "), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_to_report_and_nothing_that_works_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = model(folder.path());
    let context = context(path.to_str().unwrap(), Partitions::default());
    let error = report(&context, "model", &[]).await.unwrap_err().to_string();
    assert!(error.contains("it needs a tensor and a scheme, and has 6 and 0"), "{error}");
    let error = report(&context, "no_such", &["mxfp4"]).await.unwrap_err().to_string();
    assert!(error.contains("no_such"), "{error}");
    let error = report(&context, "model", &["e4m3fn-axis4"]).await.unwrap_err();
    assert!(matches!(&error, Error::AllFailed { tensor, .. } if tensor == "dense.weight"), "{error}");
    for (place, said) in
        [("nowhere://x/y", "nowhere"), ("s3://bucket/folder", "feature aws"), ("/no/such/file", "it cannot be opened")]
    {
        let error = ModelTable::open(place, Partitions::default()).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
    let error = cluster::connect("somewhere").await.map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("it has no port"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_in_a_store_of_objects_is_that_of_its_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = model(folder.path());
    let objects = Arc::new(InMemory::new());
    for file in fs::read_dir(&path).unwrap() {
        let file = file.unwrap();
        let name = format!("models/one/{}", file.file_name().to_str().unwrap());
        objects.put(&name.into(), fs::read(file.path()).unwrap().into()).await.unwrap();
    }
    let (objects, expected) = (objects as Arc<dyn object_store::ObjectStore>, quantlens::open(&path).unwrap());
    let opened = store::open_in(Arc::clone(&objects), &"models/one".into(), "memory://models/one").unwrap();
    assert_eq!(opened.infos(), expected.infos());
    for index in 0..expected.infos().len() {
        assert_eq!(opened.tensor_at(index).unwrap().to_f64_vec(), expected.tensor_at(index).unwrap().to_f64_vec());
    }
    let one = store::open_in(Arc::clone(&objects), &"models/one/model-00002-of-00002.safetensors".into(), "one").unwrap();
    assert_eq!(one.infos().len(), 3);
    let error = store::open_in(Arc::clone(&objects), &"models/two".into(), "memory://models/two").unwrap_err().to_string();
    assert!(error.contains("`memory://models/two` cannot be opened: there is no such object"), "{error}");

    // What does not belong to the model: hidden, below, or not named by the index.
    let shard = fs::read(path.join("model-00001-of-00002.safetensors")).unwrap();
    for name in ["models/one/.hidden.safetensors", "models/one/old/model.safetensors"] {
        objects.put(&name.into(), shard.clone().into()).await.unwrap();
    }
    assert_eq!(store::open_in(Arc::clone(&objects), &"models/one".into(), "one").unwrap().infos(), expected.infos());
    objects.put(&"models/one/whole.safetensors".into(), shard.into()).await.unwrap();
    assert!(store::open_in(Arc::clone(&objects), &"models/one".into(), "one").is_err(), "the same tensors twice");
    let index = br#"{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}"#;
    let name = "models/one/model.safetensors.index.json";
    objects.put(&name.into(), index.to_vec().into()).await.unwrap();
    for place in ["models/one", name] {
        assert_eq!(store::open_in(Arc::clone(&objects), &place.into(), place).unwrap().infos(), expected.infos());
    }
    objects.delete(&"models/one/model-00002-of-00002.safetensors".into()).await.unwrap();
    let error = store::open_in(objects, &name.into(), "one").unwrap_err().to_string();
    assert!(error.contains("names `model-00002-of-00002.safetensors`, which is not beside it"), "{error}");
    // As a URL.
    let url = format!("file://{}", path.display());
    assert_eq!(ModelTable::open(&url, Partitions::default()).unwrap().infos(), expected.infos());
}
