//! Files in folders: indices and external data that point elsewhere, files that change.

use std::fs;
use std::path::Path;

use quantlens::{Source as _, TileBuffer, open};

use super::super::{path, safetensors};

/// The error of opening it, without the folder's own path.
fn refused_at(folder: &Path, file: &str, expected: &str) {
    let message = open(folder.join(file)).unwrap_err().to_string();
    assert_eq!(message.replace(&format!("{}/", folder.display()), "").replace(&folder.display().to_string(), "."), expected);
}

#[test]
fn indices_and_folders() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let one = |name: &str| safetensors(&format!(r#"{{"{name}":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}}}"#), 4);
    let index = "m.safetensors.index.json";
    refused_at(folder, "none.safetensors", "none.safetensors: it cannot be opened: No such file or directory (os error 2)");
    refused_at(folder, "", ": there are no safetensors or GGUF files in this folder: give the path of a file");
    fs::write(folder.join("a.safetensors"), one("x")).unwrap();
    fs::write(folder.join("b.safetensors"), one("x")).unwrap();
    refused_at(
        folder,
        "",
        "b.safetensors, tensor `x`: a tensor of this name is in a.safetensors too: they are two models, or two versions of one: open one file",
    );
    fs::write(folder.join("b.safetensors"), one("y")).unwrap();
    assert_eq!(open(folder).unwrap().infos().len(), 2);
    for (text, expected) in [
        (
            "",
            "m.safetensors.index.json, byte 0: the index cannot be read, EOF while parsing a value: the file is damaged, or of another format",
        ),
        (
            "[1]",
            "m.safetensors.index.json, byte 1: the index cannot be read, invalid type: integer `1`, expected a map: the file is damaged, or of another format",
        ),
        (
            r#"{"weight_map":{"x":1}}"#,
            "m.safetensors.index.json, byte 19: the index cannot be read, invalid type: integer `1`, expected a string: the file is damaged, or of another format",
        ),
        (
            r#"{"weight_map":{"x":"../a.safetensors"}}"#,
            "m.safetensors.index.json, tensor `x`: the index has it in `../a.safetensors`, which is no name of a file beside the index: it is damaged or made to mislead",
        ),
        (
            r#"{"weight_map":{"x":"/etc/passwd"}}"#,
            "m.safetensors.index.json, tensor `x`: the index has it in `/etc/passwd`, which is no name of a file beside the index: it is damaged or made to mislead",
        ),
        (
            r#"{"weight_map":{"x":"sub/a.safetensors"}}"#,
            "m.safetensors.index.json, tensor `x`: the index has it in `sub/a.safetensors`, which is no name of a file beside the index: it is damaged or made to mislead",
        ),
        (
            r#"{"weight_map":{"x":".."}}"#,
            "m.safetensors.index.json, tensor `x`: the index has it in `..`, which is no name of a file beside the index: it is damaged or made to mislead",
        ),
        (
            r#"{"weight_map":{"x":""}}"#,
            "m.safetensors.index.json, tensor `x`: the index has it in ``, which is no name of a file beside the index: it is damaged or made to mislead",
        ),
        (
            r#"{"weight_map":{"x":"b.safetensors"}}"#,
            "b.safetensors, tensor `x`: it is not in this file, but m.safetensors.index.json says so: get both again",
        ),
        (r#"{"weight_map":{"x":"c.safetensors"}}"#, "c.safetensors: it cannot be opened: No such file or directory (os error 2)"),
        (
            &format!(r#"{{"weight_map":{}"#, "[".repeat(1_000_000)),
            "m.safetensors.index.json, byte 13: the index cannot be read, invalid type: sequence, expected a map: the file is damaged, or of another format",
        ),
    ] {
        fs::write(folder.join(index), text).unwrap();
        refused_at(folder, index, expected);
    }
    // One tensor of two files: the other is said to be left out.
    fs::write(folder.join(index), r#"{"weight_map":{"x":"a.safetensors"}}"#).unwrap();
    let model = open(folder).unwrap();
    assert_eq!((model.infos().len(), model.skipped()[0].name.as_str()), (1, "b.safetensors"));
    fs::write(folder.join("n.safetensors.index.json"), "{}").unwrap();
    refused_at(
        folder,
        "",
        ": there are several models in this folder: open one of m.safetensors.index.json, n.safetensors.index.json",
    );
}

#[test]
fn external_data() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let model = fs::read(path("external.onnx")).unwrap();
    fs::write(folder.join("m.onnx"), &model).unwrap();
    refused_at(
        folder,
        "m.onnx",
        "m.onnx, tensor `big`, byte 82: its values are in the file `external.onnx.data` beside this one: it cannot be opened: No such file or directory (os error 2)",
    );
    fs::write(folder.join("external.onnx.data"), [0; 1599]).unwrap();
    refused_at(
        folder,
        "m.onnx",
        "external.onnx.data, tensor `big`, byte 0: 1600 bytes are expected here, but the file ends at byte 1599: it is cut short or damaged, get it again",
    );
    let replaced = |from: &str, to: &str| {
        assert_eq!(from.len(), to.len());
        let at = model.windows(from.len()).position(|bytes| bytes == from.as_bytes()).unwrap();
        fs::write(folder.join("m.onnx"), [&model[..at], to.as_bytes(), &model[at + to.len()..]].concat()).unwrap();
    };
    for place in ["../external.onnx.d", "/external.onnx.dat", "a/../../external.o"] {
        replaced("external.onnx.data", place);
        let reason = "which is no file in the model's folder: it is damaged or made to mislead";
        refused_at(folder, "m.onnx", &format!("m.onnx, tensor `big`, byte 82: its values are said to be in `{place}`, {reason}"));
    }
    replaced("1600", "16x0");
    refused_at(
        folder,
        "m.onnx",
        "m.onnx, tensor `big`, byte 82: the length of its values in another file is `16x0`, which is no number of bytes: the file is damaged",
    );
}

#[test]
fn a_file_that_shrinks_while_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("m.npy");
    fs::copy(path("float32.npy"), &file).unwrap();
    let model = open(&file).unwrap();
    fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(140).unwrap();
    let message = model.tensor("m").unwrap_err().to_string();
    let expected =
        "tensor `m`, byte 140: the file ends here, but had 176 bytes when it was opened: leave it alone while it is read";
    assert_eq!(message, format!("{}, {expected}", file.display()));
    // What is still there is read.
    assert!(model.read(0, 0..3, &mut TileBuffer::default()).is_ok());
}

#[cfg(unix)]
#[test]
fn what_is_no_file_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("m.npy");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    assert_eq!(open(&socket).unwrap_err().to_string(), format!("{}: it is neither a file nor a folder", socket.display()));
}
