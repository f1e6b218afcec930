//! Byte for byte against ggml's own C. See `golden/make_ggml.py` for how the vectors were made, and for `Random` and `bulk`.

use std::collections::HashMap;

use quantlens::{Dtype, Error, Ggml, Quantizer, Tensor};
use serde::Deserialize;

#[derive(Deserialize)]
struct File {
    inputs: HashMap<String, String>,
    weights: HashMap<String, String>,
    encoded: Vec<Encoded>,
    bulk: Vec<Bulk>,
    decoded: Vec<Decoded>,
}

#[derive(Deserialize)]
struct Encoded {
    r#type: String,
    input: String,
    weights: Option<String>,
    bytes: String,
}

#[derive(Deserialize)]
struct Bulk {
    r#type: String,
    kind: String,
    scale: f32,
    seed: u64,
    weighted: bool,
    hash: String,
}

#[derive(Deserialize)]
struct Decoded {
    r#type: String,
    bytes: String,
    values: String,
    hash: String,
}

fn file() -> File {
    serde_json::from_str(include_str!("golden/ggml.json")).unwrap()
}

/// A row of the golden inputs.
const ROW: usize = 512;

fn floats(hex: &str) -> Vec<f32> {
    let digits = hex.as_bytes().chunks(8).map(|digits| std::str::from_utf8(digits).unwrap());
    digits.map(|digits| f32::from_bits(u32::from_str_radix(digits, 16).unwrap())).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    hex.as_bytes().chunks(2).map(|digits| u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap()).collect()
}

fn fnv(bytes: impl IntoIterator<Item = u8>) -> String {
    let hash =
        bytes.into_iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    format!("{hash:016x}")
}

fn tensor(row: usize, values: Vec<f32>) -> Tensor {
    Tensor::new("x", &[values.len() / row, row], values).unwrap()
}

fn to_bytes(kind: Ggml, importance: Option<&[f32]>, x: &Tensor) -> Vec<u8> {
    match importance {
        Some(importance) => kind.with_importance(importance).unwrap().to_bytes(x).unwrap(),
        None => kind.to_bytes(x).unwrap(),
    }
}

fn bits(tensor: &Tensor) -> Vec<u32> {
    tensor.values::<f32>().unwrap().iter().map(|x| x.to_bits()).collect()
}

#[test]
fn bytes_of_the_c() {
    let file = file();
    let inputs: HashMap<_, _> = file.inputs.iter().map(|(name, hex)| (name.as_str(), tensor(ROW, floats(hex)))).collect();
    let weights: HashMap<_, _> = file.weights.iter().map(|(name, hex)| (name.as_str(), floats(hex))).collect();
    for case in &file.encoded {
        let kind: Ggml = case.r#type.parse().unwrap();
        let importance = case.weights.as_ref().map(|name| weights[name.as_str()].as_slice());
        let (found, expected) = (to_bytes(kind, importance, &inputs[case.input.as_str()]), bytes(&case.bytes));
        let differing = found.iter().zip(&expected).filter(|(found, expected)| found != expected).count();
        let first = found.iter().zip(&expected).position(|(found, expected)| found != expected);
        let at = format!("{kind} of {} with {:?}", case.input, case.weights);
        assert!(
            differing == 0,
            "{at}: {differing} of {} differ, first in block {:?}",
            found.len(),
            first.map(|at| at / kind.block_bytes())
        );
        assert_eq!(found.len(), expected.len(), "{at}");
    }
    let unweighted = file.encoded.iter().filter(|case| case.weights.is_none()).count();
    assert_eq!((unweighted, file.encoded.len()), (16 * 21, 16 * 21 + 11 * (21 + 5 + 5)));
}

/// splitmix64.
struct Random(u64);

impl Random {
    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn bell(&mut self) -> f32 {
        let z = self.draw();
        let parts = [z & 0xffff, z >> 16 & 0xffff, z >> 32 & 0xffff, z >> 48];
        (parts.iter().sum::<u64>() as i64 - 131_070) as f32
    }
}

fn bulk(kind: &str, scale: f32, seed: u64) -> Tensor {
    let mut random = Random(seed);
    let mut factor = 1.0;
    let value = |index: usize| {
        if kind == "blocks" && index.is_multiple_of(32) {
            factor = ((random.draw() % 40) as f32 - 20.0).exp2();
        }
        if kind == "ties" {
            return ((random.draw() % 41) as f32 - 20.0) / 2.0 * scale;
        }
        let value = random.bell() * factor;
        let outlier = kind == "outliers" && random.draw().is_multiple_of(97);
        if outlier { value * 64.0 * scale } else { value * scale }
    };
    tensor(1024, (0..64 * 1024).map(value).collect())
}

#[test]
fn hashes_of_the_c() {
    let mut random = Random(5);
    let mut importance = || match random.draw() {
        z if z.is_multiple_of(10) => 0.0,
        z => ((z >> 20 & 4095) as f32).powi(2),
    };
    let importance: Vec<f32> = (0..1024).map(|_| importance()).collect();
    let file = file();
    for case in &file.bulk {
        let kind: Ggml = case.r#type.parse().unwrap();
        let x = bulk(&case.kind, case.scale, case.seed);
        let found = to_bytes(kind, case.weighted.then_some(&importance), &x);
        assert_eq!(fnv(found), case.hash, "{kind} of {} with importances: {}", case.kind, case.weighted);
    }
    assert_eq!(file.bulk.len(), 4 * (16 + 11));
}

#[test]
fn values_of_the_c() {
    let file = file();
    for case in &file.decoded {
        let kind: Ggml = case.r#type.parse().unwrap();
        let bytes = bytes(&case.bytes);
        let elements = bytes.len() / kind.block_bytes() * kind.block_elements();
        let found = bits(&kind.from_bytes("x", &[elements], &bytes).unwrap());
        let expected: Vec<u32> = floats(&case.values).iter().map(|x| x.to_bits()).collect();
        assert_eq!(found[..2 * kind.block_elements()], expected, "{kind}");
        assert_eq!(fnv(found.iter().flat_map(|bits| bits.to_le_bytes())), case.hash, "{kind}");
    }
    assert_eq!(file.decoded.len(), Ggml::ALL.len());
}

#[test]
fn names_parse_back_and_say_what_they_cost() {
    for kind in Ggml::ALL {
        assert_eq!(kind.to_string().parse::<Ggml>().unwrap(), kind);
        let cost = kind.bits_per_element(&[3, 512], Dtype::F32).unwrap();
        assert_eq!(cost, (kind.block_bytes() * 8) as f64 / kind.block_elements() as f64);
        // TQ1_0 alone stores codes in less than whole bits.
        assert!(cost > f64::from(kind.bits()) || kind == Ggml::TQ1_0, "{kind}");
    }
    assert!(matches!("q4_K".parse::<Ggml>(), Err(Error::ParseScheme { .. })));
    assert!(matches!("mxfp4".parse::<Ggml>(), Err(Error::ParseScheme { .. })));
}

#[test]
fn rows_are_on_their_own() {
    let x = bulk("outliers", 1e-5, 9);
    let values = x.values::<f32>().unwrap();
    for kind in Ggml::ALL {
        let importance: Vec<f32> = (0..1024).map(|i| (i % 7) as f32).collect();
        for importance in [None, Some(importance.as_slice())] {
            let whole = to_bytes(kind, importance, &x);
            let rows: Vec<u8> =
                values.chunks(1024).flat_map(|row| to_bytes(kind, importance, &tensor(1024, row.to_vec()))).collect();
            assert!(whole == rows, "{kind}");
        }
        // Without importances, blocks are too. One long row is cut among threads.
        let long = Tensor::new("x", &[values.len()], values.to_vec()).unwrap();
        assert!(kind.to_bytes(&long).unwrap() == kind.to_bytes(&x).unwrap(), "{kind}");
        let importance: Vec<f32> = (0..values.len()).map(|i| (i % 5) as f32).collect();
        let in_one = kind.with_importance(importance).unwrap().to_bytes(&long).unwrap();
        assert_eq!(in_one == kind.to_bytes(&long).unwrap(), !kind.uses_importance(), "{kind}");
    }
}

#[test]
fn types_that_ignore_importances_store_the_same() {
    let x = bulk("normal", 1e-5, 10);
    for kind in Ggml::ALL {
        let weighted = kind.with_importance((0..1024).map(|i| i as f32).collect::<Vec<_>>()).unwrap();
        assert_eq!(weighted.to_bytes(&x).unwrap() == kind.to_bytes(&x).unwrap(), !kind.uses_importance(), "{kind}");
        assert_eq!((weighted.kind(), weighted.importance().len()), (kind, 1024));
        assert_eq!(Quantizer::name(&weighted), format!("{kind}-imatrix"));
    }
}

/// Where the scale is a function of the largest element and that comes back as such, what came back comes back again. The other
/// types search for scales, and find others for what came back.
#[test]
fn what_comes_back_stays_where_scales_are_not_searched_for() {
    for x in [bulk("ties", 0.25, 11), bulk("outliers", 1e-5, 11), bulk("blocks", 1e-8, 11)] {
        for kind in [Ggml::Q4_0, Ggml::Q5_0, Ggml::Q8_0, Ggml::MXFP4, Ggml::TQ1_0, Ggml::TQ2_0] {
            let bytes = kind.to_bytes(&x).unwrap();
            let once = kind.from_bytes("x", x.shape(), &bytes).unwrap();
            assert_eq!(kind.fake_quantize(&x).unwrap(), once, "{kind}");
            assert_eq!(kind.fake_quantize(&once).unwrap(), once, "{kind}");
        }
    }
}

#[test]
fn reports_say_what_is_stored() {
    let x = bulk("normal", 1e-5, 12);
    let mean_square = x.to_f64_vec().iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
    let mut errors = HashMap::new();
    for kind in Ggml::ALL {
        let row = kind.report_row(&x).unwrap();
        assert_eq!(row.tensor, "x");
        assert_eq!((row.scheme, row.format), (kind.to_string(), Some(kind.to_string())));
        assert_eq!((row.bits, row.granularity), (Some(kind.bits()), Some(format!("g{}", kind.block_elements()))));
        assert_eq!((row.calibration, row.clipped_fraction, row.scale, row.zero_point), (None, None, None, None));
        let (levels, entropy) = (row.levels_used.unwrap(), row.code_entropy_bits.unwrap());
        let possible = match kind {
            Ggml::TQ1_0 | Ggml::TQ2_0 => 3,
            // No code for -0, and none for -128.
            Ggml::MXFP4 | Ggml::NVFP4 => 15,
            Ggml::Q8_0 => 255,
            _ => 1 << kind.bits(),
        };
        assert_eq!(levels, possible, "{kind}");
        assert!(entropy > 0.5 && entropy <= (levels as f64).log2(), "{kind}: {entropy}");
        assert!(row.metrics.mse > 0.0 && row.metrics.mse < mean_square, "{kind}");
        errors.insert(kind, row.metrics.mse);
    }
    // Another bit, less error.
    use Ggml::*;
    for family in [vec![TQ1_0, Q4_0, Q5_0, Q8_0], vec![Q4_0, Q4_1, Q5_1], vec![Q2_K, Q3_K, Q4_K, Q5_K, Q6_K], vec![MXFP4, NVFP4]]
    {
        assert!(family.windows(2).all(|pair| errors[&pair[0]] > errors[&pair[1]]), "{family:?}");
    }
}

#[test]
fn f64_goes_through_f32() {
    let values: Vec<f64> = (0..256).map(|i| f64::from(i * i % 71) / 7.0 - 3.0).collect();
    let wide = Tensor::new("x", &[256], values.clone()).unwrap();
    let narrow = tensor(256, values.iter().map(|&x| x as f32).collect());
    for kind in Ggml::ALL {
        assert_eq!(kind.to_bytes(&wide).unwrap(), kind.to_bytes(&narrow).unwrap());
        let (from_wide, from_narrow) = (kind.fake_quantize(&wide).unwrap(), kind.fake_quantize(&narrow).unwrap());
        assert_eq!((from_wide.dtype(), from_narrow.dtype()), (Dtype::F64, Dtype::F32));
        assert_eq!(from_wide.to_f64_vec(), from_narrow.to_f64_vec());
    }
    let mut values = values;
    values[9] = -1e39;
    let error = Ggml::Q4_K.to_bytes(&Tensor::new("x", &[256], values).unwrap()).unwrap_err();
    assert!(matches!(error, Error::F32Overflow { index: 9, value: -1e39, .. }));
}

#[test]
fn errors_say_where() {
    let x = |shape: &[usize]| Tensor::new("x", shape, vec![1.0_f32; shape.iter().product()]).unwrap();
    for kind in Ggml::ALL {
        let (block, size) = (kind.block_elements(), kind.block_bytes());
        for shape in [vec![block * 2, block / 2], vec![block + 1], vec![]] {
            let row = shape.last().copied().unwrap_or(1);
            let is_right = |error: &Error| match error {
                Error::BlockRow { row: r, block: b, shape: s, .. } => (*r, *b, s) == (row, block, &shape),
                _ => false,
            };
            assert!(is_right(&kind.to_bytes(&x(&shape)).unwrap_err()));
            assert!(is_right(&kind.fake_quantize(&x(&shape)).unwrap_err()));
            assert!(is_right(&kind.bits_per_element(&shape, Dtype::F32).unwrap_err()));
            assert!(is_right(&kind.from_bytes("x", &shape, &[]).unwrap_err()));
        }
        for bytes in [0, 2 * size - 1, 3 * size] {
            let error = kind.from_bytes("x", &[2, block], &vec![0; bytes]).unwrap_err();
            assert!(matches!(error, Error::BlockBytes { bytes: b, needed, .. } if (b, needed) == (bytes, 2 * size)));
        }
        let weighted = kind.with_importance(vec![1.0; block]).unwrap();
        let error = weighted.to_bytes(&x(&[2 * block])).unwrap_err();
        assert!(matches!(error, Error::ImportanceLength { importances, row, .. } if (importances, row) == (block, 2 * block)));
        assert!(matches!(kind.from_bytes("x", &[0, block], &[]), Err(Error::Empty { .. })));
        assert!(matches!(kind.from_bytes("x", &[usize::MAX, 256], &[]), Err(Error::TooLarge { .. })));
        assert!(matches!(kind.from_bytes("x", &[usize::MAX / 256, 256], &[]), Err(Error::TooLarge { .. })));
        assert!(matches!(kind.from_bytes("x", &[usize::MAX / 1024, 256], &[]), Err(Error::BlockBytes { .. })));
    }
    for bad in [-1.0, f32::NAN, f32::INFINITY] {
        let error = Ggml::Q4_0.with_importance(vec![1.0, bad, bad]).unwrap_err();
        assert!(matches!(error, Error::Importance { index: 1, .. }));
    }
}

/// Any bytes decode or are refused, any finite numbers encode.
#[test]
fn nothing_panics() {
    let mut random = Random(13);
    for kind in Ggml::ALL {
        for _ in 0..200 {
            let data: Vec<u8> = (0..2 * kind.block_bytes()).map(|_| random.draw() as u8).collect();
            match kind.from_bytes("x", &[2, kind.block_elements()], &data) {
                Ok(decoded) => assert!(kind.to_bytes(&decoded).is_ok()),
                Err(error) => assert!(matches!(error, Error::DequantizedOverflow { .. }), "{error}"),
            }
            let mut finite = || loop {
                let x = f32::from_bits(random.draw() as u32);
                if x.is_finite() {
                    return x;
                }
            };
            let x = tensor(512, (0..512).map(|_| finite()).collect());
            let importance: Vec<f32> = (0..512).map(|_| finite().abs()).collect();
            for data in [to_bytes(kind, None, &x), to_bytes(kind, Some(&importance), &x)] {
                assert_eq!(data.len(), 512 / kind.block_elements() * kind.block_bytes());
            }
        }
        let extremes = tensor(256, (0..256).map(|i| if i % 2 == 0 { f32::MAX } else { f32::MIN }).collect());
        let decoded = kind.fake_quantize(&extremes);
        assert!(matches!(decoded, Ok(_) | Err(Error::DequantizedOverflow { .. })));
    }
}
