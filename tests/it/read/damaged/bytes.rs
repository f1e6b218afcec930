//! Every cut of a file and every changed byte is an error or other numbers, and no panic.

use quantlens::{Model, Source, TileBuffer};

use super::super::path;

fn read_all(name: &str, bytes: Vec<u8>) {
    let Ok(model) = Model::from_bytes(name, bytes) else { return };
    let mut buffer = TileBuffer::default();
    for (number, info) in model.infos().iter().enumerate() {
        let _ = model.read(number, 0..info.elements().min(10_000), &mut buffer);
    }
}

#[test]
fn any_cut_and_any_changed_byte() {
    let mut files =
        vec!["dtypes.safetensors", "float32.npy", "arrays.npz", "compressed.npz", "types_v2.gguf", "initializers.onnx"];
    if cfg!(feature = "csv") {
        files.push("table.csv");
    }
    if cfg!(feature = "parquet") {
        files.extend(["plain.parquet", "snappy.parquet", "zstd_v2.parquet", "split.parquet", "gzip_delta.parquet"]);
    }
    for file in files {
        let bytes = std::fs::read(path(file)).unwrap();
        // Some 500 places of each.
        let step = 1 + bytes.len() / 500;
        for at in (0..bytes.len()).step_by(step) {
            read_all(file, bytes[..at].to_vec());
            for change in [0x01, 0x80, 0xff] {
                let mut bytes = bytes.clone();
                bytes[at] ^= change;
                read_all(file, bytes);
            }
        }
    }
}
