//! Bit for bit against the packages whose conventions these are. See `golden/make_golden.py` for how the vectors were made.

use quantlens::{Dtype, QParams, Result, Scheme, Tensor, fake_quantize_with, quantize_with};
use serde::Deserialize;

#[derive(Deserialize)]
struct File {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    scheme: String,
    dtype: Dtype,
    shape: Vec<usize>,
    input: Vec<f64>,
    given: bool,
    scale: Vec<f64>,
    zero_point: Vec<i64>,
    codes: Option<Vec<i32>>,
    output: Vec<f64>,
}

impl Case {
    fn tensor(&self) -> Result<Tensor> {
        match self.dtype {
            Dtype::F32 => Tensor::new("x", &self.shape, self.input.iter().map(|&x| x as f32).collect()),
            Dtype::F64 => Tensor::new("x", &self.shape, self.input.clone()),
        }
    }

    fn check(&self, number: usize) {
        let at = |what: &str| format!("case {number}, {}, {what}", self.scheme);
        let scheme: Scheme = self.scheme.parse().unwrap();
        assert_eq!(scheme.to_string(), self.scheme);
        let x = self.tensor().unwrap();
        let qparams = if self.given {
            QParams::new(scheme, self.dtype, self.scale.clone(), self.zero_point.clone()).unwrap()
        } else {
            scheme.qparams(&x).unwrap()
        };
        assert_eq!(qparams.scales(), self.scale, "{}", at("scale"));
        assert_eq!(qparams.zero_points(), self.zero_point, "{}", at("zero point"));
        let quantized = quantize_with(&x, &qparams).unwrap();
        if let Some(codes) = &self.codes {
            assert_eq!(&quantized.codes().to_vec(), codes, "{}", at("codes"));
        }
        let bits = |values: &[f64]| values.iter().map(|x| (x + 0.0).to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&quantized.dequantize().unwrap().to_f64_vec()), bits(&self.output), "{}", at("output"));
        assert_eq!(fake_quantize_with(&x, &qparams).unwrap(), quantized.dequantize().unwrap(), "{}", at("fake quantize"));
    }
}

fn check_all(json: &str, at_least: usize) {
    let file: File = serde_json::from_str(json).unwrap();
    assert!(file.cases.len() >= at_least);
    for (number, case) in file.cases.iter().enumerate() {
        case.check(number);
    }
}

#[test]
fn the_original_notebook_in_numpy() {
    check_all(include_str!("golden/original.json"), 130);
}

#[test]
fn onnx_runtime() {
    check_all(include_str!("golden/onnx.json"), 230);
}

#[test]
fn pytorch_observers() {
    check_all(include_str!("golden/pytorch.json"), 98);
}

/// The runtime's kernels; its formulas for parameters are in no kernel that could be asked, and stand in `naive`.
#[test]
fn tflite_kernels() {
    check_all(include_str!("golden/tflite.json"), 110);
}

#[test]
fn fbgemm_pair_divides_to_127_and_multiplies_to_128() {
    let x = Tensor::from_vec("x", vec![0.27393994_f32]).unwrap();
    let codes = |scheme: &str| {
        let scheme: Scheme = scheme.parse().unwrap();
        let qparams = QParams::new(scheme, Dtype::F32, vec![0.00214854861], vec![0]).unwrap();
        quantize_with(&x, &qparams).unwrap().codes().to_vec()
    };
    assert_eq!(codes("uint8-asym"), [127]);
    assert_eq!(codes("uint8-asym-pytorch"), [128]);
}
