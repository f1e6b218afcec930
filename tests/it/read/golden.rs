//! What the formats' own packages wrote. See `golden/make_files.py` for how.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use quantlens::{Dtype, Model, ReadAt, Source, open};
use serde::Deserialize;

use super::{all_bits, path};

#[derive(Deserialize)]
struct Listed {
    tensors: Vec<Listing>,
    skipped: Vec<Left>,
}

#[derive(Deserialize)]
struct Listing {
    name: String,
    shape: Vec<usize>,
    stored: String,
    dtype: String,
    bits: String,
}

#[derive(Deserialize)]
struct Left {
    name: String,
    stored: String,
}

/// The bits in hex, as `files.json` has them.
fn words(listing: &Listing) -> Vec<u64> {
    let digits = if listing.dtype == "float64" { 16 } else { 8 };
    listing
        .bits
        .as_bytes()
        .chunks(digits)
        .map(|word| u64::from_str_radix(std::str::from_utf8(word).unwrap(), 16).unwrap())
        .collect()
}

/// The same bits, where NaN is NaN: which of its bits are kept in a conversion is not said.
fn assert_same_bits(what: &str, found: &[u64], expected: &[u64], dtype: Dtype) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let is_nan = |bits: u64| match dtype {
        Dtype::F32 => f32::from_bits(bits as u32).is_nan(),
        Dtype::F64 => f64::from_bits(bits).is_nan(),
    };
    for (i, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        assert!(found == expected || is_nan(found) && is_nan(expected), "{what}, element {i}: {found:x}, not {expected:x}");
    }
}

fn check(file: &str, model: &Model, listed: &Listed) -> usize {
    let infos = model.infos();
    let names: Vec<_> = infos.iter().map(|info| info.name.as_str()).collect();
    assert_eq!(names, listed.tensors.iter().map(|tensor| tensor.name.as_str()).collect::<Vec<_>>(), "{file}");
    for (number, (info, listing)) in infos.iter().zip(&listed.tensors).enumerate() {
        let what = format!("{file}, {}", info.name);
        assert_eq!((&info.shape, &info.stored), (&listing.shape, &listing.stored), "{what}");
        let dtype = if listing.dtype == "float64" { Dtype::F64 } else { Dtype::F32 };
        assert_eq!(info.dtype, dtype, "{what}");
        assert_same_bits(&what, &all_bits(model, number), &words(listing), dtype);
    }
    let mut skipped: Vec<_> = model.skipped().iter().map(|skipped| (skipped.name.as_str(), skipped.stored.as_str())).collect();
    let mut expected: Vec<_> = listed.skipped.iter().map(|left| (left.name.as_str(), left.stored.as_str())).collect();
    skipped.sort_unstable();
    expected.sort_unstable();
    assert_eq!(skipped, expected, "{file}");
    assert!(model.skipped().iter().all(|skipped| !skipped.reason.is_empty()));
    infos.len()
}

fn listed() -> BTreeMap<String, Listed> {
    serde_json::from_str(include_str!("../golden/files.json")).unwrap()
}

fn check_all(formats: &[&str], least: usize) {
    let mut tensors = 0;
    for (file, listed) in listed() {
        let ending = if file == "sharded" { "safetensors" } else { file.rsplit_once('.').unwrap().1 };
        if formats.contains(&ending) {
            let model = open(path(&file)).unwrap();
            assert_eq!(model.format().to_string(), ending);
            tensors += check(&file, &model, &listed);
            if file != "sharded" && file != "external.onnx" {
                // The same bytes in memory.
                check(&file, &Model::from_bytes(&file, std::fs::read(path(&file)).unwrap()).unwrap(), &listed);
            }
        }
    }
    assert!(tensors >= least, "{tensors} tensors");
}

#[test]
fn safetensors_as_its_writer_has_it() {
    check_all(&["safetensors"], 16);
}

#[test]
fn arrays_as_numpy_has_them() {
    check_all(&["npy", "npz"], 50);
}

#[test]
fn blocks_as_ggufs_decoders_have_them() {
    check_all(&["gguf"], 40);
}

#[test]
fn initializers_as_onnx_has_them() {
    check_all(&["onnx"], 18);
}

#[cfg(feature = "parquet")]
#[test]
fn columns_as_pyarrow_has_them() {
    check_all(&["parquet"], 45);
}

#[cfg(feature = "csv")]
#[test]
fn columns_of_text_as_python_parses_them() {
    check_all(&["csv"], 4);
}

#[test]
fn the_index_and_the_folder_are_the_same_model() {
    let index = open(path("sharded/model.safetensors.index.json")).unwrap();
    assert_eq!(index.infos(), open(path("sharded")).unwrap().infos());
    assert_eq!(format!("{index:?}"), format!("Model {}: safetensors, 2 tensors, 1 skipped", index.path().display()));
    assert_eq!(
        index.tensor("b").unwrap_err().to_string(),
        "tensor `b` has inf at index 5: every value must be finite, remove or replace it first"
    );
}

#[test]
fn gguf_files_of_a_folder_are_one_model() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(path("types_v3.gguf"), folder.path().join("m-00001-of-00002.gguf")).unwrap();
    let model = open(folder.path()).unwrap();
    assert_eq!(model.format().to_string(), "gguf");
    assert_eq!(model.infos(), open(path("types_v3.gguf")).unwrap().infos());
    std::fs::copy(path("types_v3.gguf"), folder.path().join("m-00002-of-00002.gguf")).unwrap();
    let error = open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("m-00002-of-00002.gguf, tensor") && error.contains("is in m-00001-of-00002.gguf too"), "{error}");
}

/// Bytes that are read at given places, and cannot be read from one place on.
struct Reader(Vec<u8>, u64);

impl ReadAt for Reader {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        if offset + out.len() as u64 > self.1 {
            return Err(std::io::Error::other("the store is away"));
        }
        out.copy_from_slice(&self.0[offset as usize..][..out.len()]);
        Ok(())
    }
}

#[test]
fn files_that_readers_stand_for_are_one_model() {
    let shard =
        |name: &str| super::safetensors(&format!(r#"{{"{name}":{{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}}}"#), 16);
    let file = |file: &str, bytes: Vec<u8>, end: u64| (PathBuf::from(file), Arc::new(Reader(bytes, end)) as Arc<dyn ReadAt>);
    let model =
        Model::from_readers("far/model", vec![file("far/1", shard("x"), u64::MAX), file("far/2", shard("y"), u64::MAX)]).unwrap();
    let names: Vec<String> = model.infos().into_iter().map(|info| info.name).collect();
    assert_eq!(names, ["x", "y"]);
    let whole = Model::from_bytes("y", shard("y")).unwrap();
    assert_eq!(all_bits(&model, 1), all_bits(&whole, 0));

    let error = |files| Model::from_readers("far/model", files).unwrap_err().to_string();
    assert!(error(Vec::new()).contains("it needs at least one file"));
    let twice = error(vec![file("far/1", shard("x"), u64::MAX), file("far/2", shard("x"), u64::MAX)]);
    assert!(twice.contains("far/2, tensor `x`: a tensor of this name is in 1 too"), "{twice}");
    let npy = std::fs::read(path("float32.npy")).unwrap();
    let mixed = error(vec![file("far/1", shard("x"), u64::MAX), file("far/2.npy", npy, u64::MAX)]);
    assert!(mixed.contains("far/2.npy: it is of the format npy, but 1 of safetensors"), "{mixed}");
    assert!(error(vec![file("far/1", shard("x"), 4)]).contains("far/1, byte 0: it cannot be read: the store is away"));
    let header = shard("x").len() as u64 - 16;
    let away =
        Model::from_readers("far/model", vec![file("far/1", shard("x"), header)]).unwrap().tensor("x").unwrap_err().to_string();
    assert!(away.contains(&format!("far/1, tensor `x`, byte {header}: it cannot be read: the store is away")), "{away}");
}

/// The slices beside the notebooks, and where they were taken from.
#[test]
fn a_model_file_in_memory_holds_what_was_put_there() {
    let raw = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/notebooks/data/minilm-l6.layer_norm.f32")).unwrap();
    let file = [super::safetensors(r#"{"norm":{"dtype":"F32","shape":[384],"data_offsets":[0,1536]}}"#, 0), raw.clone()].concat();
    let tensor = Model::from_bytes("slice.safetensors", file).unwrap().tensor("norm").unwrap();
    let values: Vec<u8> = tensor.values::<f32>().unwrap().iter().flat_map(|value| value.to_le_bytes()).collect();
    assert_eq!(values, raw);
}
