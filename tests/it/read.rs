//! Model files: those that the formats' own packages wrote, bit for bit, and those that nobody should write, each with its message.

mod damaged;
mod golden;
mod ranges;

use std::path::PathBuf;

use quantlens::{Model, Slice, Source, TileBuffer};

/// A file of `golden/files`.
fn path(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/golden/files")).join(name)
}

/// The bits of values, as wide as they are.
fn bits(values: Slice<'_>) -> Vec<u64> {
    match values {
        Slice::F32(values) => values.iter().map(|value| value.to_bits().into()).collect(),
        Slice::F64(values) => values.iter().map(|value| value.to_bits()).collect(),
    }
}

/// All of a tensor, at once.
fn all_bits(model: &Model, tensor: usize) -> Vec<u64> {
    let elements = model.infos()[tensor].elements();
    bits(model.read(tensor, 0..elements, &mut TileBuffer::default()).unwrap())
}

/// A safetensors file with this header and so many bytes of values.
fn safetensors(header: &str, values: usize) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend((0..values).map(|i| i as u8));
    file
}

/// An npy file with this header and so many bytes of values.
fn npy(header: &str, values: usize) -> Vec<u8> {
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((header.len() as u16).to_le_bytes());
    file.extend(header.as_bytes());
    file.extend((0..values).map(|i| i as u8));
    file
}
