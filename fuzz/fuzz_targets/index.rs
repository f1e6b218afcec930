//! An index beside two shards, and a folder with it.
#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("quantlens-fuzz-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    for (file, tensor) in [("a.safetensors", "x"), ("b.safetensors", "y")] {
        let header = format!(r#"{{"{tensor}":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}}}"#);
        fs::write(folder.join(file), [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0; 4]].concat()).unwrap();
    }
    folder
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let index = FOLDER.join("m.safetensors.index.json");
    fs::write(&index, bytes).unwrap();
    if let Ok(model) = quantlens_fuzz::open(&index) {
        quantlens_fuzz::read_pieces(&model);
    }
});
