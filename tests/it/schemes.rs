//! A scheme of each kind, for tests that all must pass.

use quantlens::{Quantizer, quantizer};

pub const SCHEMES: [&str; 29] = [
    "uint8-asym",
    "int8-sym",
    "int8-sym-pytorch",
    "uint8-asym-axis0",
    "int8-sym-axis1",
    "int4-sym-g32",
    "int4-sym-g7",
    "uint4-min-g64",
    "int8-sym-g32@0",
    "int8-sym-g7@0",
    "int4-sym-mse",
    "int4-sym-axis1-p99",
    "int4-sym-axis0-mse",
    "int5-sym-stochastic3",
    "e4m3fn-axis0",
    "e4m3fn-b128x128",
    "e4m3fn-b30x50",
    "mxfp4",
    "nvfp4",
    "nf4-g64",
    "nf4-g64-dq",
    "int16-sym-axis0",
    "q4_0",
    "q4_k",
    "uint8-asym-original",
    "int5-sym-g32-stochastic3",
    "e5m2-cast",
    "mxfp8-e4m3",
    "q8_0",
];

pub fn quantizers(names: &[&str]) -> Vec<Box<dyn Quantizer>> {
    names.iter().map(|name| quantizer(name).unwrap()).collect()
}
