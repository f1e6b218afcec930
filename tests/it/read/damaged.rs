//! Files that are cut short, damaged or made to mislead: an error that says where and what to do, at once.

use std::time::Instant;

use quantlens::{Model, Source, TileBuffer, open};

use super::{npy, path, safetensors};

/// The error of opening these bytes, which is told at once.
fn refused(name: &str, bytes: Vec<u8>) -> String {
    let start = Instant::now();
    let message = Model::from_bytes(name, bytes).unwrap_err().to_string();
    assert!(start.elapsed().as_secs_f64() < 1.0, "{message}");
    message
}

#[test]
fn safetensors_headers_that_cannot_be() {
    let of = |header: &str, values| refused("m.safetensors", safetensors(header, values));
    println!("{}", of("", 0));
    println!("{}", of("[]", 0));
    println!("{}", of(r#"{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}"#, 8));
    println!("{}", of(r#"{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}} x"#, 8));
    println!("{}", of(r#"{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, 7));
    println!("{}", of(r#"{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, 9));
    println!("{}", of(r#"{"x":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}"#, 8));
    println!("{}", of(r#"{"x":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}"#, 8));
    println!("{}", of(r#"{"x":{"dtype":"F32","shape":[18446744073709551615,2],"data_offsets":[0,8]}}"#, 8));
    println!("{}", of(r#"{"x":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#, 8));
    println!("{}", of(r#"{"x":{"dtype":"F32","shape":[2],"data_offsets":[18446744073709551607,18446744073709551615]}}"#, 8));
    println!(
        "{}",
        of(r#"{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"y":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#, 12)
    );
    println!(
        "{}",
        of(r#"{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"y":{"dtype":"F32","shape":[2],"data_offsets":[9,17]}}"#, 17)
    );
    println!(
        "{}",
        of(r#"{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"x":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}}"#, 16)
    );
    println!("{}", of(&format!(r#"{{"x":{}"#, "[".repeat(1_000_000)), 8));
    println!("{}", of(&format!(r#"{{"__metadata__":{}"#, "[".repeat(1_000_000)), 8));
    let mut bytes = safetensors(r#"{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, 8);
    bytes[10] = 0xff;
    println!("{}", refused("m.safetensors", bytes.clone()));
    bytes[7] = 0xff;
    println!("{}", refused("m.safetensors", bytes.clone()));
    println!("{}", refused("m.safetensors", bytes[..5].to_vec()));
    println!("{}", refused("m.safetensors", vec![]));
    println!("{}", refused("m.bin", b"hello, world. this is text".to_vec()));
}

#[test]
fn npy_headers_that_cannot_be() {
    let of = |header: &str, values| refused("m.npy", npy(header, values));
    println!("{}", of("", 0));
    println!("{}", of("{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }", 8));
    println!("{}", of("{'descr': '<f4', 'fortran_order': False, 'shape': (18446744073709551615, 18446744073709551615), }", 8));
    println!("{}", of("{'descr': '<f4', 'fortran_order': False, 'shape': (18446744073709551616,), }", 8));
    println!("{}", of("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", 8));
    println!("{}", of("{'descr': '<f4', 'fortran_order': 1, 'shape': (2,), }", 8));
    println!("{}", of("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", 8));
    println!("{}", of("{'descr': [[[[[, 'fortran_order': False, 'shape': (2,), }", 8));
    println!("{}", of("{'descr': '<f4', 'shape': (2,), }", 8));
    println!("{}", refused("m.npy", b"\x93NUMPY\x02\x00\xff\xff\xff\xff{".to_vec()));
    println!("{}", refused("m.npy", b"\x93NUMPY\x02\x00\xff\x00\x00\x00{".to_vec()));
    println!("{}", refused("m.npy", b"\x93NUMPY\x09\x00\xff\x00\x00\x00{".to_vec()));
    println!("{}", refused("m.npy", b"\x93NUMPY".to_vec()));
}

/// Every cut of a file and every change of a byte is an error or other numbers, and no panic.
#[test]
fn any_cut_and_any_changed_byte() {
    for file in ["dtypes.safetensors", "float32.npy", "arrays.npz", "compressed.npz"] {
        let bytes = std::fs::read(path(file)).unwrap();
        let read_all = |bytes: Vec<u8>| {
            let Ok(model) = Model::from_bytes(file, bytes) else { return };
            let mut buffer = TileBuffer::default();
            for (number, info) in model.infos().iter().enumerate() {
                let _ = model.read(number, 0..info.elements(), &mut buffer);
            }
        };
        for end in (0..bytes.len()).step_by(1 + bytes.len() / 500) {
            read_all(bytes[..end].to_vec());
        }
        for at in (0..bytes.len()).step_by(1 + bytes.len() / 500) {
            for change in [0x01, 0x80, 0xff] {
                let mut bytes = bytes.clone();
                bytes[at] ^= change;
                read_all(bytes);
            }
        }
    }
}

#[test]
fn a_file_that_shrinks_while_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("m.npy");
    std::fs::copy(path("float32.npy"), &file).unwrap();
    let model = open(&file).unwrap();
    std::fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(140).unwrap();
    let message = model.tensor("m").unwrap_err().to_string();
    let expected =
        "tensor `m`, byte 140: the file ends here, but had 176 bytes when it was opened: leave it alone while it is read";
    assert_eq!(message, format!("{}, {expected}", file.display()));
}
