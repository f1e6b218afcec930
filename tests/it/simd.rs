//! The same bits whatever vectors the processor has: the report of this program under each limit, as text.

use std::process::Command;

use quantlens::{Quantizer, Synthetic, quantizer, report_rows};

const NAMES: [&str; 22] = [
    "uint8-asym",
    "int8-sym",
    "uint4-asym-g7",
    "int4-sym-g32-sf16",
    "int8-sym-axis1-pytorch",
    "uint8-asym-axis0-tflite",
    "uint4-min-g64",
    "int16-sym",
    "int8-sym-half-away",
    "int5-sym-stochastic3",
    "e4m3fn",
    "e5m2-cast",
    "bf16-cast",
    "f16-cast",
    "e4m3fn-b16x16",
    "mxfp4",
    "mxint8",
    "nvfp4",
    "nf4-g64-dq",
    "dynamic8-g64",
    "uint8-asym-p99",
    "ternary",
];

/// Not a test by itself: what the test below compares. Prints a line a row, with every bit of every number.
#[test]
#[ignore = "run by the test below, once for each kind of vectors"]
fn print_a_report() {
    let normal = Synthetic::normal(0.1, 1.0).outliers(0.01, 8.0).seed(77);
    let quantizers: Vec<Box<dyn Quantizer>> = NAMES.into_iter().map(|name| quantizer(name).unwrap()).collect();
    let tensors = [normal.tensor::<f32>("f32", &[61, 333]).unwrap(), normal.tensor::<f64>("f64", &[61, 333]).unwrap()];
    for row in report_rows(&tensors, &quantizers).unwrap() {
        println!("row: {}", serde_json::to_string(&row).unwrap());
    }
    for (tensor, name) in tensors.iter().flat_map(|tensor| NAMES.map(|name| (tensor, name))) {
        let scheme: quantlens::Scheme = name.parse().unwrap();
        let quantized = scheme.quantize(tensor).unwrap();
        assert_eq!(scheme.fake_quantize(tensor).unwrap(), quantized.dequantize().unwrap());
        let codes =
            quantized.codes().to_vec().into_iter().fold(0_u64, |hash, code| hash.wrapping_mul(31).wrapping_add(code as u64));
        println!("row: {name} {codes}");
    }
}

#[test]
fn the_same_bits_for_any_vectors_and_any_number_of_threads() {
    let run = |vectors: &str, threads: &str| {
        let mut program = Command::new(std::env::current_exe().unwrap());
        program.args(["simd::print_a_report", "--exact", "--ignored", "--nocapture"]);
        let output = program.env("QUANTLENS_VECTORS", vectors).env("RAYON_NUM_THREADS", threads).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().filter(|line| line.contains("row: ")).map(str::to_owned).collect::<Vec<_>>()
    };
    let expected = run("portable", "1");
    assert_eq!(expected.len(), 4 * NAMES.len());
    for (vectors, threads) in [("avx2", "1"), ("avx512", "1"), ("avx512", "3"), ("", "2")] {
        for (found, expected) in run(vectors, threads).iter().zip(&expected) {
            assert_eq!(found, expected, "{vectors}, {threads} threads");
        }
    }
}
