//! Models to report, and how reports are compared.

use std::fs;
use std::path::{Path, PathBuf};

use quantlens::{ReportRow, Slice, Synthetic, Tensor, open, quantizer, report_rows};

/// Schemes with a scale for the tensor, for rows, columns, groups and blocks, on two levels, with searches; types of ggml's; and one that most tensors
/// of the model cannot have.
pub const SCHEMES: [&str; 15] = [
    "uint8-asym",
    "int8-sym-axis0",
    "int8-sym-axis1",
    "int4-sym-g128",
    "int4-sym-g7",
    "int4-sym-mse",
    "int4-sym-axis0-p99",
    "e4m3fn-b30x50",
    "mxfp4",
    "nvfp4",
    "nf4-g64-dq",
    "int16-sym-axis0",
    "q4_0",
    "q4_k",
    "uint8-asym-original",
];

/// Writes a safetensors file.
pub fn write_safetensors(path: &Path, tensors: &[Tensor]) {
    let (mut header, mut data) = (Vec::new(), Vec::new());
    for tensor in tensors {
        let start = data.len();
        let dtype = match tensor.as_slice() {
            Slice::F32(values) => {
                data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
                "F32"
            }
            Slice::F64(values) => {
                data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
                "F64"
            }
        };
        let (name, shape) = (tensor.name(), tensor.shape());
        header.push(format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{start},{}]}}"#, data.len()));
    }
    let mut header = format!("{{{}}}", header.join(","));
    while header.len() % 8 != 0 {
        header.push(' ');
    }
    fs::write(path, [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat()).unwrap();
}

/// A model of two files.
pub fn model(folder: &Path) -> PathBuf {
    let normal = |seed| Synthetic::normal(0.0, 0.05).outliers(0.001, 20.0).seed(seed);
    write_safetensors(
        &folder.join("model-00001-of-00002.safetensors"),
        &[
            normal(1).tensor::<f32>("dense.weight", &[96, 512]).unwrap(),
            normal(2).tensor::<f32>("dense.bias", &[96]).unwrap(),
            normal(3).tensor::<f64>("conv", &[30, 50, 6]).unwrap(),
        ],
    );
    write_safetensors(
        &folder.join("model-00002-of-00002.safetensors"),
        &[
            normal(4).tensor::<f32>("long", &[123_457]).unwrap(),
            Tensor::new("zero", &[2, 4100], vec![0.0_f32; 8200]).unwrap(),
            Tensor::new("one", &[1], vec![-2.5_f64]).unwrap(),
        ],
    );
    folder.to_owned()
}

/// The rows of the library's own report.
pub fn expected(model: &Path, schemes: &[&str]) -> Vec<ReportRow> {
    let quantizers: Vec<_> = schemes.iter().map(|name| quantizer(name).unwrap()).collect();
    report_rows(&open(model).unwrap(), &quantizers).unwrap()
}

/// Every bit of some rows.
pub fn bytes(rows: &[ReportRow]) -> Vec<Vec<u8>> {
    rows.iter().map(|row| rmp_serde::to_vec(row).unwrap()).collect()
}

/// Both are the same to the bit; says which row is not.
#[track_caller]
pub fn assert_same(found: &[ReportRow], expected: &[ReportRow]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!(rmp_serde::to_vec(found).unwrap() == rmp_serde::to_vec(expected).unwrap(), "{found:?}\n{expected:?}");
    }
    assert_eq!(bytes(found), bytes(expected));
}
