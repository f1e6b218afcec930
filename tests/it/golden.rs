//! Bit for bit against the packages whose conventions these are. See `golden/make_golden.py` and `golden/make_conventions.py` for how the
//! vectors were made.

use quantlens::{
    Dtype, Error, Granularity, Mapping, Overflow, QParams, Result, ScaleFormat, Scheme, Tensor, fake_quantize_with, quantize_with,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct File {
    cases: Vec<Case>,
}

/// A number that JSON cannot spell is a string there.
#[derive(Deserialize, Clone, Copy)]
#[serde(try_from = "serde_json::Value")]
pub struct Number(pub f64);

/// Bytes of two hex digits each.
pub fn bytes(hex: &str) -> Vec<u8> {
    hex.as_bytes().chunks(2).map(|digits| u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap()).collect()
}

/// 32-bit words of eight hex digits each.
pub fn words(hex: &str) -> Vec<u32> {
    bytes(hex).chunks(4).map(|word| u32::from_be_bytes(word.try_into().unwrap())).collect()
}

impl TryFrom<serde_json::Value> for Number {
    type Error = String;

    fn try_from(value: serde_json::Value) -> Result<Self, String> {
        match (value.as_f64(), value.as_str()) {
            (Some(number), _) => Ok(Self(number)),
            (_, Some("NaN")) => Ok(Self(f64::NAN)),
            (_, Some("Infinity")) => Ok(Self(f64::INFINITY)),
            (_, Some("-Infinity")) => Ok(Self(f64::NEG_INFINITY)),
            _ => Err(format!("{value} is no number")),
        }
    }
}

#[derive(Deserialize)]
struct Case {
    scheme: String,
    dtype: Dtype,
    shape: Vec<usize>,
    input: Vec<f64>,
    given: bool,
    scale: Vec<Number>,
    zero_point: Option<Vec<i64>>,
    codes: Option<Vec<i32>>,
    output: Vec<Number>,
    saturate: Option<bool>,
    /// Indices of codes that the reference gets wrong.
    #[serde(default)]
    unlike_ml_dtypes: Vec<usize>,
    #[serde(default)]
    reduce_range: bool,
    /// torchao's zero point in the float domain.
    float_zero: Option<Vec<Number>>,
}

impl Case {
    fn scheme(&self) -> Scheme {
        let scheme: Scheme = self.scheme.parse().unwrap();
        assert_eq!(scheme.to_string(), self.scheme);
        scheme.with_overflow(if self.saturate == Some(false) { Overflow::Special } else { Overflow::Saturate })
    }

    fn tensor(&self) -> Result<Tensor> {
        match self.dtype {
            Dtype::F32 => Tensor::new("x", &self.shape, self.input.iter().map(|&x| x as f32).collect()),
            Dtype::F64 => Tensor::new("x", &self.shape, self.input.clone()),
        }
    }

    fn scale(&self) -> Vec<f64> {
        self.scale.iter().map(|scale| scale.0).collect()
    }

    /// The reference's own parameters.
    fn reference(&self, scheme: Scheme) -> QParams {
        self.reference_with(scheme, self.scale())
    }

    fn reference_with(&self, scheme: Scheme, scale: Vec<f64>) -> QParams {
        match (&self.float_zero, &self.zero_point) {
            (Some(zeros), _) => {
                let zeros = zeros.iter().map(|zero| zero.0).collect();
                QParams::with_minimums(scheme, self.dtype, scale, zeros).unwrap()
            }
            (None, zeros) => QParams::new(scheme, self.dtype, scale, zeros.clone().unwrap_or_default()).unwrap(),
        }
    }

    /// Everything is the same, parameters too unless they were given.
    fn check(&self, number: usize) {
        let scheme = self.scheme();
        let reference = self.reference(scheme);
        if !self.given {
            let found = scheme.qparams(&self.tensor().unwrap()).unwrap();
            assert_eq!(found, reference, "case {number}, {}", self.scheme);
        }
        assert_eq!(self.differences(&reference), [""; 0], "case {number}, {}", self.scheme);
    }

    /// Where codes and values are not the same under these parameters.
    fn differences(&self, qparams: &QParams) -> Vec<String> {
        let x = self.tensor().unwrap();
        let quantized = quantize_with(&x, qparams).unwrap();
        let is_right = |index: &usize| !self.unlike_ml_dtypes.contains(index) && !self.output[*index].0.is_nan();
        let indices: Vec<usize> = (0..x.len()).filter(is_right).collect();
        let mut differences = Vec::new();
        if let Some(codes) = &self.codes {
            let found = quantized.codes().to_vec();
            for &index in indices.iter().filter(|&&index| found[index] != codes[index]) {
                differences.push(format!("code {index} of {}: {} and not {}", self.input[index], found[index], codes[index]));
            }
        }
        // An infinite value is an error where it comes back.
        let is_beyond = |y: &Number| y.0.is_infinite() || (y.0.is_nan() && self.saturate == Some(false));
        if self.output.iter().any(is_beyond) {
            let error = quantized.dequantize().unwrap_err();
            assert!(matches!(error, Error::DequantizedOverflow { .. } | Error::NoNumber { .. }), "{}: {error}", self.scheme);
            return differences;
        }
        let bits = |x: f64| (x + 0.0).to_bits();
        let values = quantized.dequantize().unwrap();
        let found = values.to_f64_vec();
        for &index in indices.iter().filter(|&&index| bits(found[index]) != bits(self.output[index].0)) {
            differences.push(format!("value {index}: {} and not {}", found[index], self.output[index].0));
        }
        assert_eq!(fake_quantize_with(&x, qparams).unwrap(), values, "{}", self.scheme);
        differences
    }
}

fn cases(json: &str, at_least: usize) -> Vec<Case> {
    let file: File = serde_json::from_str(json).unwrap();
    assert!(file.cases.len() >= at_least);
    file.cases
}

fn check_all(json: &str, at_least: usize) {
    for (number, case) in cases(json, at_least).iter().enumerate() {
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

/// `QuantizeLinear` and `DequantizeLinear`, with given parameters: every integer type, per tensor, axis and block, and float8. Its symmetric codes
/// are all that the type has.
#[test]
fn onnx_runtime_kernels() {
    for (number, case) in cases(include_str!("golden/onnx_kernels.json"), 112).iter().enumerate() {
        let scheme = case.scheme();
        let is_restricted = scheme.quant_min() > scheme.format().code_range().0;
        let scheme = if is_restricted { scheme.full_range() } else { scheme };
        assert_eq!(case.differences(&case.reference(scheme)), [""; 0], "case {number}, {}", case.scheme);
    }
}

/// Parameters and codes of ONNX Runtime's tool. Asymmetric ones it computes in f64 and rounds to f32 at the end, we in f32 as
/// `DynamicQuantizeLinear` does: the last place of 36 of 268 scales is another, no zero point. Where max - min overflows f32 we have an error, and the
/// tool has none. Of a group of zeros under an unsigned symmetric scheme its blocked routine says the middle code, its routine for tensors and we say
/// 0: both mean 0. `reduce_range` has no scheme here, so those parameters are given.
#[test]
fn onnx_runtime_tool() {
    let (mut last_places, mut scales, mut overflows, mut zeros) = (0, 0, 0, 0);
    for (number, case) in cases(include_str!("golden/onnx_tool.json"), 184).iter().enumerate() {
        let at = format!("case {number}, {}", case.scheme);
        let scheme = case.scheme();
        let asymmetric: Scheme = case.scheme.replace("-sym", "-asym").parse().unwrap();
        let reference = case.reference(if case.reduce_range { asymmetric } else { scheme });
        assert_eq!(case.differences(&reference), [""; 0], "{at}");
        let ours = match scheme.qparams(&case.tensor().unwrap()) {
            _ if case.reduce_range => continue,
            Err(error) if matches!(error.cause(), Error::RangeOverflow { .. }) => {
                overflows += 1;
                continue;
            }
            ours => ours.unwrap(),
        };
        for block in 0..ours.scales().len() {
            let steps = (ours.scales()[block] as f32).to_bits().abs_diff((reference.scales()[block] as f32).to_bits());
            assert!(steps <= u32::from(scheme.mapping() == Mapping::Asymmetric), "{at}, block {block}: {steps}");
            last_places += steps;
            scales += usize::from(scheme.mapping() == Mapping::Asymmetric);
            let is_zeros = (ours.scales()[block], ours.zero_points()[block]) == (1.0, 0);
            if ours.zero_points()[block] != reference.zero_points()[block] {
                assert!(
                    is_zeros && reference.scales()[block] == 1.0 && scheme.mapping() == Mapping::Symmetric,
                    "{at}, block {block}"
                );
                zeros += 1;
            }
        }
    }
    assert_eq!((last_places, scales, overflows, zeros), (36, 268, 4, 12));
}

/// torchao's scales of float8 may be subnormal or 0, and 0 / 0 then is NaN: ours are at least the smallest normal number. A range that overflows
/// f32 is infinite there and an error here.
#[test]
fn torchao() {
    let (mut vanishing, mut overflows) = (0, 0);
    for (number, case) in cases(include_str!("golden/torchao.json"), 242).iter().enumerate() {
        let (scheme, mut scale) = (case.scheme(), case.scale());
        let ours = scheme.qparams(&case.tensor().unwrap());
        if scale.iter().any(|scale| scale.is_infinite()) {
            assert!(fails!(ours, Error::RangeOverflow { .. }), "case {number}, {}", case.scheme);
            overflows += 1;
            continue;
        }
        let ours = ours.unwrap();
        let mut vanishes = false;
        for (scale, ours) in scale.iter_mut().zip(ours.scales()).filter(|(scale, _)| **scale < f32::MIN_POSITIVE.into()) {
            assert_eq!(*ours, f64::from(f32::MIN_POSITIVE), "case {number}, {}", case.scheme);
            (*scale, vanishes) = (*ours, true);
            vanishing += 1;
        }
        let reference = case.reference_with(scheme, scale);
        assert_eq!(ours, reference, "case {number}, {}", case.scheme);
        // Of blocks of zeros beside others the values are NaN, which is not compared.
        if !(vanishes && ours.scales().len() == 1) {
            assert_eq!(case.differences(&reference), [""; 0], "case {number}, {}", case.scheme);
        }
    }
    assert_eq!((vanishing, overflows), (9, 7));
}

/// Its scales of groups are rounded to bf16, then stored as f16, which holds these exactly.
#[test]
fn ai_edge_quantizer() {
    for (number, case) in cases(include_str!("golden/aiedge.json"), 102).iter().enumerate() {
        let scheme = case.scheme();
        let is_grouped = matches!(scheme.granularity(), Granularity::PerGroup(_));
        let scheme = if is_grouped { scheme.with_scale_format(ScaleFormat::BF16) } else { scheme };
        let reference = case.reference(scheme);
        assert_eq!(scheme.qparams(&case.tensor().unwrap()).unwrap(), reference, "case {number}, {}", case.scheme);
        assert_eq!(case.differences(&reference), [""; 0], "case {number}, {}", case.scheme);
    }
}
