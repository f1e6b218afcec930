//! Headers that cannot be, of safetensors, npy, GGUF and ONNX.

use super::super::{npy, safetensors};
use super::refused;

#[test]
fn safetensors_headers() {
    let of = |header: &str, values, expected| refused("m.safetensors", safetensors(header, values), expected);
    of("", 0, "m.safetensors, byte 0: a header has 2 to 100000000 bytes, not 0: this is no safetensors file");
    of("[]", 0, "m.safetensors, byte 8: a header begins with `{`: this is no safetensors file");
    // Not closed, followed by something, without its last byte, with one more.
    of(
        r#"{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}"#,
        8,
        "m.safetensors, byte 60: the header cannot be read, EOF while parsing an object: the file is damaged, or of another format",
    );
    of(
        r#"{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}} x"#,
        8,
        "m.safetensors, byte 63: the header cannot be read, trailing characters: the file is damaged, or of another format",
    );
    of(
        r#"{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#,
        7,
        "m.safetensors, tensor `x`, byte 62: its data_offsets are 0 and 8, but there are 7 bytes of values: the file is cut short or damaged, get it again",
    );
    of(
        r#"{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#,
        9,
        "m.safetensors, byte 70: the bytes up to 71 belong to no tensor: the file is damaged, or something was appended to it",
    );
    // Wrong shapes.
    of(
        r#"{"x":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}"#,
        8,
        "m.safetensors, tensor `x`, byte 62: shape [3] of F32 needs 12 bytes, but its data_offsets hold 8: the file is damaged",
    );
    of(
        r#"{"x":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}"#,
        8,
        "m.safetensors, tensor `x`, byte 38: the header cannot be read, invalid value: integer `-2`, expected u64: the file is damaged, or of another format",
    );
    of(
        r#"{"x":{"dtype":"F32","shape":[2.5],"data_offsets":[0,8]}}"#,
        8,
        "m.safetensors, tensor `x`, byte 39: the header cannot be read, invalid type: floating point `2.5`, expected u64: the file is damaged, or of another format",
    );
    of(
        r#"{"x":{"dtype":"F32","shape":[18446744073709551615,2],"data_offsets":[0,8]}}"#,
        8,
        "m.safetensors, tensor `x`, byte 83: shape [18446744073709551615, 2] of F32 needs more bytes than can be counted, but its data_offsets hold 8: the file is damaged",
    );
    of(
        r#"{"x":{"dtype":"F32","shape":[4611686018427387905,4],"data_offsets":[0,16]}}"#,
        16,
        "m.safetensors, tensor `x`, byte 83: shape [4611686018427387905, 4] of F32 needs more bytes than can be counted, but its data_offsets hold 16: the file is damaged",
    );
    // Offsets: reversed, beyond any file, of two tensors at once, leaving a hole.
    of(
        r#"{"x":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#,
        8,
        "m.safetensors, tensor `x`, byte 70: its data_offsets are 8 and 0, but there are 8 bytes of values: the file is cut short or damaged, get it again",
    );
    of(
        r#"{"x":{"dtype":"F32","shape":[2],"data_offsets":[18446744073709551607,18446744073709551615]}}"#,
        8,
        "m.safetensors, tensor `x`, byte 108: its data_offsets are 18446744073709551607 and 18446744073709551615, but there are 8 bytes of values: the file is cut short or damaged, get it again",
    );
    of(
        r#"{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"y":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#,
        12,
        "m.safetensors, tensor `y`, byte 120: this byte is also one of tensor `x`: the file is damaged or made to mislead",
    );
    of(
        r#"{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"y":{"dtype":"F32","shape":[2],"data_offsets":[9,17]}}"#,
        17,
        "m.safetensors, byte 124: the bytes up to 125 belong to no tensor: the file is damaged, or something was appended to it",
    );
    of(
        r#"{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"x":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}}"#,
        16,
        "m.safetensors, tensor `x`, byte 64: the header cannot be read, there are two of this name: the file is damaged, or of another format",
    );
    of(
        r#"{"x":{"dtype":"F32","data_offsets":[0,8]}}"#,
        8,
        "m.safetensors, tensor `x`, byte 48: the header cannot be read, missing field `shape`: the file is damaged, or of another format",
    );
    // Deep.
    of(
        &format!(r#"{{"x":{}"#, "[".repeat(1_000_000)),
        8,
        "m.safetensors, tensor `x`, byte 13: the header cannot be read, invalid type: sequence, expected a string: the file is damaged, or of another format",
    );
    of(
        &format!(r#"{{"__metadata__":{}"#, "[".repeat(1_000_000)),
        8,
        "m.safetensors, byte 1000023: the header cannot be read, EOF while parsing a list: the file is damaged, or of another format",
    );
}

#[test]
fn safetensors_lengths() {
    let good = safetensors(r#"{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, 8);
    let changed = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    // Not UTF-8; a header of 2^63 bytes, of 100 MB in a file that has them, of less than there is.
    refused(
        "m.safetensors",
        changed(10, 0xff),
        "m.safetensors, byte 10: the header cannot be read, invalid unicode code point: the file is damaged, or of another format",
    );
    refused(
        "m.safetensors",
        changed(7, 0x80),
        "m.safetensors, byte 0: the header is said to have 9223372036854775862 bytes, but the file ends at byte 70: it is cut short, or no safetensors file",
    );
    refused(
        "m.safetensors",
        [&200_000_000_u64.to_le_bytes()[..], &vec![b'{'; 200_000_000]].concat(),
        "m.safetensors, byte 0: a header has 2 to 100000000 bytes, not 200000000: this is no safetensors file",
    );
    refused(
        "m.safetensors",
        changed(0, 20),
        "m.safetensors, tensor `x`, byte 27: the header cannot be read, EOF while parsing a value: the file is damaged, or of another format",
    );
    refused(
        "m.safetensors",
        good[..5].to_vec(),
        "m.safetensors, byte 0: 8 bytes are expected here, but the file ends at byte 5: it is cut short or damaged, get it again",
    );
    refused("m.safetensors", vec![], "m.safetensors, byte 0: the file is empty: get it again");
}

#[test]
fn what_is_of_no_format() {
    refused(
        "m.bin",
        b"hello, world. this is text".to_vec(),
        "m.bin, byte 0: this is no file of a format that is read, which are safetensors, gguf, npy, npz, onnx, csv, parquet",
    );
    refused(
        "m",
        b"\x89HDF\r\n\x1a\n and so on".to_vec(),
        "m, byte 0: this is no file of a format that is read, which are safetensors, gguf, npy, npz, onnx, csv, parquet: it is an HDF5 file, store its arrays with numpy.savez",
    );
    refused(
        "m.pt",
        b"\x80\x02} and so on".to_vec(),
        "m.pt, byte 0: this is no file of a format that is read, which are safetensors, gguf, npy, npz, onnx, csv, parquet: it is a Python pickle, which may run anything when it is read, store its tensors as safetensors",
    );
    refused(
        "m.gz",
        b"\x1f\x8b and so on".to_vec(),
        "m.gz, byte 0: this is no file of a format that is read, which are safetensors, gguf, npy, npz, onnx, csv, parquet: it is compressed by gzip, decompress it first",
    );
    refused(
        "m.bin",
        b"version https://git-lfs.github.com/spec/v1\n".to_vec(),
        "m.bin, byte 0: this is no file of a format that is read, which are safetensors, gguf, npy, npz, onnx, csv, parquet: it is what Git LFS keeps in place of a file, run `git lfs pull`",
    );
    refused(
        "m.safetensors",
        b"hello, world. this is text".to_vec(),
        "m.safetensors, byte 0: the header is said to have 8583909746840200552 bytes, but the file ends at byte 26: it is cut short, or no safetensors file",
    );
    refused(
        "m.npy",
        b"hello, world. this is text".to_vec(),
        "m.npy, tensor `m`, byte 0: an array begins with \\x93NUMPY: this is none",
    );
    refused(
        "m.gguf",
        b"hello, world. this is text".to_vec(),
        "m.gguf, byte 0: a file of this format begins with GGUF: this is none",
    );
    refused(
        "m.npz",
        b"hello, world. this is text".to_vec(),
        "m.npz, byte 26: the directory of this zip archive, which is its last part, is missing: it is cut short, get it again",
    );
    refused(
        "m.onnx",
        b"hello, world. this is text".to_vec(),
        "m.onnx, byte 2: there is no field of wire type 4: the file is damaged, or of another format",
    );
}

#[test]
fn npy_headers() {
    let of = |header: &str, values, expected| refused("m.npy", npy(header, values), expected);
    of(
        "",
        0,
        "m.npy, tensor `m`, byte 10: its header is not one that numpy writes, it ends too early: the file is damaged, or of another format",
    );
    of(
        "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }",
        8,
        "m.npy, tensor `m`, byte 67: shape [3] of <f4 needs 12 bytes, but 8 follow: it is cut short or damaged, get it again",
    );
    of(
        "{'descr': '<f4', 'fortran_order': True, 'shape': (4294967296, 4294967296), }",
        8,
        "m.npy, tensor `m`, byte 86: shape [4294967296, 4294967296] of <f4 needs more bytes than can be counted, but 8 follow: it is cut short or damaged, get it again",
    );
    of(
        "{'descr': '<f4', 'fortran_order': False, 'shape': (18446744073709551615, 18446744073709551615), }",
        8,
        "m.npy, tensor `m`, byte 107: shape [18446744073709551615, 18446744073709551615] of <f4 needs more bytes than can be counted, but 8 follow: it is cut short or damaged, get it again",
    );
    of(
        "{'descr': '<f4', 'fortran_order': False, 'shape': (18446744073709551616,), }",
        8,
        "m.npy, tensor `m`, byte 61: its header is not one that numpy writes, from `18446744073709551616` on: the file is damaged, or of another format",
    );
    of(
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }",
        8,
        "m.npy, tensor `m`, byte 61: its header is not one that numpy writes, from `-1,), }` on: the file is damaged, or of another format",
    );
    of(
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2.5,), }",
        8,
        "m.npy, tensor `m`, byte 62: its header is not one that numpy writes, from `.5,), }` on: the file is damaged, or of another format",
    );
    of(
        "{'descr': '<f4', 'fortran_order': 1, 'shape': (2,), }",
        8,
        "m.npy, tensor `m`, byte 44: its header is not one that numpy writes, from `1, 'shape': (2,), }` on: the file is damaged, or of another format",
    );
    of(
        "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2,), }",
        8,
        "m.npy, tensor `m`, byte 27: its header is not one that numpy writes, from `'descr': '<f4', 'for` on: the file is damaged, or of another format",
    );
    of(
        &format!("{{'descr': {}", "[".repeat(60_000)),
        8,
        "m.npy, tensor `m`, byte 60020: its header is not one that numpy writes, it ends too early: the file is damaged, or of another format",
    );
    of(
        "{'descr': '<f4', 'shape': (2,), }",
        8,
        "m.npy, tensor `m`, byte 43: its header is not one that numpy writes, it ends too early: the file is damaged, or of another format",
    );
    of(
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), } and",
        8,
        "m.npy, tensor `m`, byte 68: its header is not one that numpy writes, from `and` on: the file is damaged, or of another format",
    );
    refused(
        "m.npy",
        b"\x93NUMPY\x02\x00\xff\xff\xff\xff{".to_vec(),
        "m.npy, tensor `m`, byte 8: its header is said to have 4294967295 bytes, but at most 1048576 are read",
    );
    refused(
        "m.npy",
        b"\x93NUMPY\x02\x00\xff\x00\x00\x00{".to_vec(),
        "m.npy, tensor `m`, byte 12: 255 bytes are expected here, but it ends after 13: it is cut short or damaged, get it again",
    );
    refused(
        "m.npy",
        b"\x93NUMPY\x09\x00\xff\x00\x00\x00{".to_vec(),
        "m.npy, tensor `m`, byte 6: version 9 of the format is not known: 1 to 3 are read",
    );
    refused(
        "m.npy",
        b"\x93NUMPY".to_vec(),
        "m.npy, tensor `m`, byte 0: 8 bytes are expected here, but it ends after 6: it is cut short or damaged, get it again",
    );
}

/// The parts of a GGUF file, in its order.
struct Gguf(Vec<u8>);

impl Gguf {
    fn new(tensors: u64, pairs: u64) -> Self {
        let mut file = b"GGUF".to_vec();
        file.extend(3_u32.to_le_bytes());
        file.extend(tensors.to_le_bytes());
        file.extend(pairs.to_le_bytes());
        Self(file)
    }

    fn text(mut self, text: &[u8]) -> Self {
        self.0.extend((text.len() as u64).to_le_bytes());
        self.0.extend(text);
        self
    }

    fn u32(mut self, number: u32) -> Self {
        self.0.extend(number.to_le_bytes());
        self
    }

    fn u64(mut self, number: u64) -> Self {
        self.0.extend(number.to_le_bytes());
        self
    }

    fn tensor(self, name: &str, axes: &[u64], kind: u32, offset: u64) -> Self {
        let file = self.text(name.as_bytes()).u32(axes.len() as u32);
        axes.iter().fold(file, |file, &length| file.u64(length)).u32(kind).u64(offset)
    }

    /// With so many bytes of values.
    fn values(mut self, bytes: usize) -> Self {
        self.0.resize(self.0.len().next_multiple_of(32) + bytes, 1);
        self
    }

    fn refused(self, expected: &str) {
        refused("m.gguf", self.0, expected);
    }
}

#[test]
fn gguf_headers() {
    let good = || Gguf::new(1, 0).tensor("x", &[32, 2], 8, 0).values(68);
    assert_eq!(quantlens::Model::from_bytes("m", good().0).unwrap().format().to_string(), "gguf");
    let version = |version: [u8; 4]| [&b"GGUF"[..], &version, &[0; 16]].concat();
    refused("m.gguf", version([1, 0, 0, 0]), "m.gguf, byte 4: version 1 of the format is not read: convert the model anew");
    refused(
        "m.gguf",
        version([0, 0, 0, 3]),
        "m.gguf, byte 4: it is a big-endian file: convert it with gguf_convert_endian.py of the package gguf",
    );
    refused("m.gguf", version([9, 0, 0, 0]), "m.gguf, byte 4: version 9 of the format is not known: 2 and 3 are read");
    // More tensors and pairs than there are; each takes the file's end to find out.
    Gguf::new(5, 0).refused(
        "m.gguf, byte 24: 8 bytes are expected here, but the file ends at byte 24: it is cut short or damaged, get it again",
    );
    Gguf::new(u64::MAX, 0).refused(
        "m.gguf, byte 8: there are said to be 18446744073709551615 tensors, but at most 1000000 are read: the file is damaged",
    );
    Gguf::new(0, u64::MAX).refused(
        "m.gguf, byte 24: 8 bytes are expected here, but the file ends at byte 24: it is cut short or damaged, get it again",
    );
    // Lengths that overflow: of a text, an array, an array of texts, arrays in arrays.
    Gguf::new(0, 1).u64(u64::MAX).u64(0).refused("m.gguf, byte 32: 18446744073709551615 bytes are expected here, but the file ends at byte 40: it is cut short or damaged, get it again");
    Gguf::new(0, 1).text(b"a").u32(9).u32(5).u64(u64::MAX).refused("m.gguf, byte 49: 18446744073709551615 bytes are expected here, but the file ends at byte 49: it is cut short or damaged, get it again");
    Gguf::new(0, 1).text(b"a").u32(9).u32(8).u64(u64::MAX).u64(0).refused(
        "m.gguf, byte 57: 8 bytes are expected here, but the file ends at byte 57: it is cut short or damaged, get it again",
    );
    (0..20)
        .fold(Gguf::new(0, 1).text(b"a").u32(9), |file, _| file.u32(9).u64(1))
        .refused("m.gguf, byte 133: arrays lie in one another more than 8 deep: the file is damaged");
    Gguf::new(0, 1).text(b"a").u32(77).refused("m.gguf, byte 37: there is no metadata of type 77: the file is damaged");
    Gguf::new(0, 1)
        .text(b"\xff\xfe")
        .u32(4)
        .u32(1)
        .refused("m.gguf, byte 32: a key of the metadata is not UTF-8 text: the file is damaged, or of another format");
    Gguf::new(0, 1)
        .text(b"general.alignment")
        .u32(4)
        .u32(0)
        .refused("m.gguf, byte 53: general.alignment must be a power of two, of type u32: the file is damaged");
    Gguf::new(0, 1)
        .text(b"general.alignment")
        .u32(4)
        .u32(24)
        .refused("m.gguf, byte 53: general.alignment must be a power of two, of type u32: the file is damaged");
    // Tensors.
    Gguf::new(1, 0)
        .text(&vec![b'x'; 70_000])
        .refused("m.gguf, byte 32: the name of a tensor has 70000 bytes, but at most 65535 are read");
    Gguf::new(1, 0)
        .text(b"x")
        .u32(u32::MAX)
        .values(8)
        .refused("m.gguf, tensor `x`, byte 37: a tensor has at most 8 axes, not 4294967295: the file is damaged");
    Gguf::new(2, 0)
        .tensor("x", &[32], 8, 0)
        .tensor("x", &[32], 8, 64)
        .values(98)
        .refused("m.gguf, tensor `x`, byte 57: there are two tensors of this name: the file is damaged");
    Gguf::new(1, 0).tensor("x", &[32, u64::MAX], 8, 0).values(68).refused("m.gguf, tensor `x`, byte 96: shape [18446744073709551615, 32] of Q8_0 needs more bytes than can be counted, but the file ends at byte 164: it is cut short or damaged, get it again");
    Gguf::new(1, 0).tensor("x", &[33, 2], 8, 0).values(68).refused("m.gguf, tensor `x`, byte 96: its rows have 33 elements, which is no multiple of the 32 of a block of Q8_0: the file is damaged");
    Gguf::new(1, 0).tensor("x", &[32, 3], 8, 0).values(68).refused("m.gguf, tensor `x`, byte 96: shape [3, 32] of Q8_0 needs 102 bytes, but the file ends at byte 164: it is cut short or damaged, get it again");
    Gguf::new(1, 0).tensor("x", &[32, 2], 8, u64::MAX - 31).values(68).refused("m.gguf, tensor `x`, byte 164: its values are said to begin 18446744073709551584 bytes after byte 96, but the file ends at byte 164: it is cut short or damaged, get it again");
    Gguf::new(1, 0).tensor("x", &[32, 2], 8, 64).values(68).refused("m.gguf, tensor `x`, byte 160: shape [2, 32] of Q8_0 needs 68 bytes, but the file ends at byte 164: it is cut short or damaged, get it again");
    Gguf::new(1, 0).tensor("x", &[4], 0, 4).values(68).refused("m.gguf, tensor `x`, byte 68: its values begin 4 bytes after byte 64, which is no multiple of the alignment, 32: the file is damaged");
    Gguf::new(2, 0)
        .tensor("x", &[32, 2], 8, 0)
        .tensor("y", &[32], 8, 32)
        .values(68)
        .refused("m.gguf, tensor `y`, byte 160: this byte is also one of tensor `x`: the file is damaged or made to mislead");
}

/// A field of a protocol buffer that holds bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut length = bytes.len();
    let mut out = vec![number << 3 | 2];
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend(bytes);
    out
}

/// A model with these initializers.
fn onnx(initializers: &[&[u8]]) -> Vec<u8> {
    field(7, &initializers.iter().flat_map(|tensor| field(5, tensor)).collect::<Vec<_>>())
}

#[test]
fn onnx_headers() {
    let of = |bytes: &[u8], expected| refused("m.onnx", bytes.to_vec(), expected);
    let name = field(8, b"x");
    let tensor = |parts: &[&[u8]]| onnx(&[&[&name[..], &parts.concat()].concat()]);
    // dims is field 1, data_type 2, float_data 4, int32_data 5, raw_data 9.
    let good = tensor(&[b"\x08\x02\x10\x01", &field(9, &[0; 8])]);
    assert_eq!(quantlens::Model::from_bytes("m.onnx", good).unwrap().format().to_string(), "onnx");
    of(b"\x08\x07", "m.onnx, byte 0: a model has one graph, not 0: the file is damaged, or no ONNX file");
    of(
        b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        "m.onnx, byte 0: 18446744073709551615 bytes are said to follow, but only 0 do: the file is cut short, damaged, or of another format",
    );
    of(
        b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        "m.onnx, byte 1: a number takes more than ten bytes: the file is damaged, or of another format",
    );
    of(b"\x0f", "m.onnx, byte 0: there is no field of wire type 7: the file is damaged, or of another format");
    of(
        b"\x3a\x05\x2a\x10",
        "m.onnx, byte 0: 5 bytes are said to follow, but only 2 do: the file is cut short, damaged, or of another format",
    );
    of(&[onnx(&[]), onnx(&[])].concat(), "m.onnx, byte 0: a model has one graph, not 2: the file is damaged, or no ONNX file");
    of(
        &tensor(&[b"\x08\x03\x10\x01", &field(9, &[0; 8])]),
        "m.onnx, tensor `x`, byte 13: shape [3] of FLOAT needs 12 bytes, but 8 are there: the file is damaged",
    );
    of(
        &tensor(&[b"\x08\x03\x10\x01", &field(4, &[0; 8])]),
        "m.onnx, tensor `x`, byte 4: shape [3] of FLOAT needs 12 bytes, but 8 are there: the file is damaged",
    );
    of(
        &tensor(&[b"\x08\x03\x10\x0a", &field(5, &[1, 2])]),
        "m.onnx, tensor `x`, byte 4: its shape needs 3 values, but 2 are there: the file is damaged",
    );
    of(
        &tensor(&[b"\x08\x02\x10\x11", &field(5, &[1, 0x80, 2])]),
        "m.onnx, tensor `x`, byte 14: element 1 is 256, which are not the bits of its type: the file is damaged",
    );
    of(
        &tensor(&[b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x08\x02\x10\x01"]),
        "m.onnx, tensor `x`, byte 4: shape [18446744073709551615, 2] has more elements than can be counted: the file is damaged",
    );
    of(
        &tensor(&[&b"\x08\x01".repeat(100), b"\x10\x01"]),
        "m.onnx, tensor `x`, byte 139: a tensor has at most 64 axes: the file is damaged",
    );
    of(
        &onnx(&[b"\x42\x01\xff\x08\x01\x10\x01"]),
        "m.onnx, byte 6: the name of a tensor is not UTF-8 text: the file is damaged, or of another format",
    );
    let one = [&name[..], b"\x08\x01\x10\x01", &field(9, &[0; 4])].concat();
    of(&onnx(&[&one, &one]), "m.onnx, tensor `x`, byte 19: there are two initializers of this name: the file is damaged");
    // Values in other files, which bytes in memory do not have.
    of(
        &tensor(&[b"\x08\x01\x10\x01\x70\x01"]),
        "m.onnx, tensor `x`, byte 4: its values are in another file, but which one is not said: the file is damaged",
    );
    let entry = [field(1, b"location"), field(2, b"data")].concat();
    of(
        &tensor(&[b"\x08\x01\x10\x01\x70\x01", &field(13, &entry)]),
        "m.onnx, tensor `x`, byte 4: its values are in the file `data`, which a model in memory does not have: open it by its path",
    );
    // Graphs in the nodes of graphs: attribute 5 of a node, graph 6 of an attribute.
    let deep = (0..40).fold(Vec::new(), |inner, _| field(1, &field(5, &field(6, &inner))));
    of(&field(7, &deep), "m.onnx, byte 257: graphs lie in one another more than 32 deep: the file is damaged");
}
