//! Float formats bit for bit against ml_dtypes and numpy: what every code means, and what every f16 and many f32 become. See
//! `golden/make_formats.py` for how the vectors were made.

use std::collections::BTreeMap;

use quantlens::{Dtype, Format, Minifloat, Overflow, QParams, Quantized, Result, Scheme, Specials, Tensor};
use serde::Deserialize;

use crate::golden::{Number, bytes, words};

#[derive(Deserialize)]
struct Decoded {
    formats: BTreeMap<String, Vec<Number>>,
}

/// Codes of each input, run-length encoded or in hex.
#[derive(Deserialize)]
struct Encoded<Codes> {
    #[serde(default)]
    inputs: String,
    #[serde(default)]
    f16: String,
    #[serde(default)]
    bf16: String,
    formats: BTreeMap<String, Casts<Codes>>,
}

#[derive(Deserialize)]
struct Casts<Codes> {
    plain: Codes,
    saturated: Codes,
}

#[test]
fn every_code_means_what_ml_dtypes_says() {
    let file: Decoded = serde_json::from_str(include_str!("golden/minifloat_decode.json")).unwrap();
    assert_eq!(file.formats.len(), 11);
    for (name, values) in file.formats {
        let format: Minifloat = name.parse().unwrap();
        assert_eq!(values.len(), 1 << format.bits(), "{name}");
        for (code, value) in (0..).zip(values) {
            let found = format.decode(code);
            assert!(found.to_bits() == value.0.to_bits() || (found.is_nan() && value.0.is_nan()), "{name} {code}: {found}");
            let found = Format::Float(format).decode(code as i32);
            assert!(found.to_bits() == value.0.to_bits() || (found.is_nan() && value.0.is_nan()), "{name} {code}: {found}");
        }
    }
}

/// The codes of numbers, which are finite, by a cast.
fn cast(scheme: Scheme, inputs: &[f32]) -> Result<Vec<i32>> {
    Ok(scheme.quantize(&Tensor::from_slice("x", inputs)?)?.codes().to_vec())
}

/// Every difference of one format from the reference, of the finite inputs: a plain cast, saturating and not, in f32 and f64. Returns how many codes
/// were compared.
fn check(name: &str, inputs: &[f32], plain: &[u32], saturated: &[u32]) -> usize {
    let format: Minifloat = name.parse().unwrap();
    if format == Minifloat::E8M0 {
        // It is for scales alone, whose rules have tests of their own.
        assert!(Scheme::cast(format).validate().is_err());
        return 0;
    }
    let finite: Vec<usize> = (0..inputs.len()).filter(|&index| inputs[index].is_finite()).collect();
    let numbers: Vec<f32> = finite.iter().map(|&index| inputs[index]).collect();
    let wide: Vec<f64> = numbers.iter().map(|&x| x.into()).collect();
    let mut compared = 0;
    let mut compare = |scheme: Scheme, codes: &[u32]| {
        let expected: Vec<i32> = finite.iter().map(|&index| codes[index] as i32).collect();
        let found = cast(scheme, &numbers).unwrap();
        for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
            assert_eq!(found, expected, "{scheme}, {:e}", numbers[index]);
        }
        let in_f64 = scheme.quantize(&Tensor::from_slice("x", &wide).unwrap()).unwrap();
        assert_eq!(in_f64.codes().to_vec(), expected, "{scheme} in f64");
        compared += 2 * expected.len();
    };
    compare(Scheme::cast(format), saturated);
    if format.specials() != Specials::None {
        compare(Scheme::cast(format).with_overflow(Overflow::Special), plain);
    }
    compared
}

#[test]
fn every_f16_becomes_what_ml_dtypes_says() {
    let file: Encoded<Vec<[u32; 2]>> = serde_json::from_str(include_str!("golden/minifloat_encode_f16.json")).unwrap();
    let inputs: Vec<f32> = (0..1 << 16).map(|bits| Minifloat::F16.decode(bits) as f32).collect();
    let mut compared = 0;
    for (name, casts) in &file.formats {
        let codes = |runs: &[[u32; 2]]| {
            let mut codes = vec![0; inputs.len()];
            for [start, code] in runs {
                codes[*start as usize..].fill(*code);
            }
            codes
        };
        compared += check(name, &inputs, &codes(&casts.plain), &codes(&casts.saturated));
    }
    assert_eq!(compared, (10 + 7) * 2 * 63_488, "of 2^16 codes 2048 are no numbers");
}

#[test]
fn many_f32_become_what_ml_dtypes_and_numpy_say() {
    let file: Encoded<String> = serde_json::from_str(include_str!("golden/minifloat_encode_f32.json")).unwrap();
    let inputs: Vec<f32> = words(&file.inputs).into_iter().map(f32::from_bits).collect();
    let bytes = |hex: &str| bytes(hex).into_iter().map(u32::from).collect::<Vec<_>>();
    let mut compared = 0;
    for (name, casts) in &file.formats {
        compared += check(name, &inputs, &bytes(&casts.plain), &bytes(&casts.saturated));
    }
    for (name, hex) in [("f16", &file.f16), ("bf16", &file.bf16)] {
        let plain: Vec<u32> = bytes(hex).chunks(2).map(|pair| pair[0] << 8 | pair[1]).collect();
        let format: Minifloat = name.parse().unwrap();
        // What saturates is the largest number instead of infinity.
        let largest = |code: &u32| if format.decode(*code).is_infinite() { code - 1 } else { *code };
        compared += check(name, &inputs, &plain, &plain.iter().map(largest).collect::<Vec<_>>());
    }
    let finite = inputs.iter().filter(|x| x.is_finite()).count();
    assert!(finite > 5400);
    assert_eq!(compared, (12 + 9) * 2 * finite);
}

#[derive(Deserialize)]
struct Packings {
    cases: Vec<Packing>,
}

#[derive(Deserialize)]
struct Packing {
    #[serde(rename = "type")]
    format: String,
    codes: Vec<i64>,
    packed: String,
}

/// Codes of 2 and 4 bits, in tensors that end inside a byte, too; see `golden/make_conventions.py`.
#[test]
fn codes_are_packed_as_onnx_packs_them() {
    let file: Packings = serde_json::from_str(include_str!("golden/packing.json")).unwrap();
    assert_eq!(file.cases.len(), 45);
    for case in file.cases {
        let scheme = Scheme::cast(case.format.parse::<Format>().unwrap());
        let qparams = QParams::new(scheme, Dtype::F32, vec![1.0], vec![0]).unwrap();
        let quantized = Quantized::from_integers("x", vec![case.codes.len()], qparams, case.codes.iter().copied()).unwrap();
        let packed = quantized.to_bytes().unwrap();
        assert_eq!(packed.codes, bytes(&case.packed), "{scheme} {:?}", case.codes);
        let back = Quantized::from_bytes("x", vec![case.codes.len()], scheme, Dtype::F32, &packed).unwrap();
        assert_eq!(back, quantized);
    }
}
