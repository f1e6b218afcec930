//! Every format there is: by name, and as a table.

use polars::prelude::{DataFrame, IntoColumn, NamedFrom, Series};

use crate::binary::power_of_two;
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::format::Format;
use crate::ggml::Ggml;
use crate::report::Quantizer;
use crate::scheme::{Mapping, Scheme};

/// The quantizer of any name: a [`Scheme`]'s, as `int4-sym-g128`, `mxfp4` and `nf4-g64-dq`, or a [`Ggml`] type's, as `q4_k`. A report takes a
/// mixture of them. A ggml type with importance weights ([`Ggml::with_importance`]) has no name that says them: make it as a value.
///
/// ```
/// # use quantlens::{Synthetic, quantizer, report};
/// let weights = Synthetic::normal(0.0, 0.02).seed(1).tensor::<f32>("weights", &[64, 256])?;
/// let quantizers = ["int4-sym-g32", "mxfp4", "q4_k"].into_iter().map(quantizer).collect::<Result<Vec<_>, _>>()?;
/// let table = report(&[weights], &quantizers)?;
/// assert_eq!(table.column("bits_per_element")?.f64()?.to_vec(), [Some(5.0), Some(4.25), Some(4.5)]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`Error::ParseScheme`] with what is wrong with the name, or the scheme's own error.
pub fn quantizer(name: &str) -> Result<Box<dyn Quantizer>> {
    if let Ok(ggml) = name.parse::<Ggml>() {
        return Ok(Box::new(ggml));
    }
    match name.parse::<Scheme>() {
        Ok(scheme) => Ok(Box::new(scheme)),
        Err(Error::ParseScheme { text, reason }) => {
            Err(Error::ParseScheme { text, reason: format!("{reason}; and it is no type of ggml's, as q4_k or iq4_nl") })
        }
        Err(error) => Err(error),
    }
}

/// A row of [`known_formats`]: a name, who uses it, and where it is defined.
type Known = (&'static str, &'static str, &'static str);

const MX: &str = "https://www.opencompute.org/documents/ocp-microscaling-formats-mx-v1-0-spec-final-pdf";
const OFP8: &str =
    "https://www.opencompute.org/documents/ocp-8-bit-floating-point-specification-ofp8-revision-1-0-2023-12-01-pdf-1";
const ONNX: &str = "https://onnx.ai/onnx/operators/onnx__QuantizeLinear.html";
const FNUZ: &str = "https://arxiv.org/abs/2206.02915";
const GGML: &str = "https://docs.rs/crate/llama-cpp-sys-2/0.1.161/source/llama.cpp/ggml/src/ggml-quants.c";

const KNOWN: &[Known] = &[
    ("int16-sym-axis0", "ONNX Runtime, LiteRT: activations", ONNX),
    ("int8-sym-axis0", "ONNX Runtime, LiteRT, PyTorch: weights", ONNX),
    ("uint8-asym", "ONNX Runtime, PyTorch: activations", ONNX),
    ("int8-sym-axis0-tflite", "LiteRT: weights", "https://ai.google.dev/edge/litert/models/quantization_spec"),
    ("int4-sym-g32-sf16", "compressed-tensors, MLC, ONNX Runtime: weights", ONNX),
    ("int4-sym-g128-sf16", "GPTQ, AWQ (symmetric): weights", "https://arxiv.org/abs/2210.17323"),
    ("uint4-asym-g128-sf16", "GPTQ, AWQ: weights", "https://arxiv.org/abs/2306.00978"),
    (
        "uint4-min-g64-sbf16-torchao",
        "torchao's tinygemm, HQQ: weights",
        "https://github.com/pytorch/ao/blob/v0.18.0/torchao/quantization/quant_primitives.py",
    ),
    ("f16-cast", "everybody", "IEEE 754"),
    ("bf16-cast", "everybody", "https://cloud.google.com/tpu/docs/bfloat16"),
    ("e4m3fn-cast", "vLLM, TensorRT-LLM: the KV cache", OFP8),
    ("e4m3fn-axis0", "vLLM, torchao, Transformer Engine: weights and activations", OFP8),
    ("e4m3fn-b128x128", "DeepSeek-V3: weights", "https://arxiv.org/abs/2412.19437"),
    ("e4m3fnuz-axis0", "AMD MI300", FNUZ),
    ("e4m3-axis0", "IEEE-like hardware", "IEEE 754"),
    ("e3m4-axis0", "research, some accelerators", "https://arxiv.org/abs/2309.14592"),
    ("e5m2-cast", "gradients", OFP8),
    ("e5m2fnuz-cast", "AMD MI300: gradients", FNUZ),
    ("mxfp8-e4m3", "torchao, Blackwell and MI350", MX),
    ("mxfp8-e5m2", "torchao, Blackwell and MI350", MX),
    ("mxint8", "the specification", MX),
    ("mxfp6-e2m3", "Blackwell and MI350", MX),
    ("mxfp6-e3m2", "Blackwell and MI350", MX),
    ("mxfp4", "gpt-oss, torchao, Blackwell and MI350", MX),
    (
        "nvfp4",
        "TensorRT Model Optimizer, vLLM, Blackwell",
        "https://github.com/NVIDIA/Model-Optimizer/blob/0.47.0/modelopt/torch/quantization/qtensor/nvfp4_tensor.py",
    ),
    ("nvfp4-torchao", "torchao", "https://github.com/pytorch/ao/blob/v0.18.0/torchao/prototype/mx_formats/nvfp4_tensor.py"),
    ("nf4-g64", "bitsandbytes", "https://arxiv.org/abs/2305.14314"),
    ("nf4-g64-dq", "bitsandbytes, QLoRA", "https://arxiv.org/abs/2305.14314"),
    ("fp4-g64", "bitsandbytes", "https://github.com/bitsandbytes-foundation/bitsandbytes"),
    ("dynamic8-g256", "bitsandbytes: optimizer states", "https://arxiv.org/abs/1511.04561"),
    ("ternary", "BitNet b1.58", "https://arxiv.org/abs/2402.17764"),
    ("binary", "XNOR-Net", "https://arxiv.org/abs/1603.05279"),
];

/// One row per number format in use, with what it costs and holds: the formats that this crate knows by name, ggml's among them.
///
/// Columns: `name` (which [`quantizer`] takes), `format` (of a code), `bits` (of a code), `bits_per_element` (of a 4096 × 4096 tensor of f32, all
/// scales counted), `levels` (different numbers that a code can mean, before scales; null of ggml's, whose codes have no one meaning),
/// `largest` and `smallest` (the largest and the smallest positive of them), `scale` (how scales are stored: `data` is the data's type, null of a
/// cast), `block` (which elements share a scale), `used_by` and `source`.
///
/// ```
/// let formats = quantlens::known_formats()?;
/// assert!(formats.height() > 40);
/// # Ok::<(), quantlens::Error>(())
/// ```
///
/// # Errors
/// Only what polars refuses.
pub fn known_formats() -> Result<DataFrame> {
    let mut rows = Vec::new();
    for &(name, used_by, source) in KNOWN {
        rows.push(Row::of_scheme(name.parse()?, used_by, source)?);
    }
    for ggml in Ggml::ALL {
        rows.push(Row::of_ggml(ggml)?);
    }
    macro_rules! column {
        ($name:literal, $value:expr) => {
            Series::new($name.into(), rows.iter().map($value).collect::<Vec<_>>()).into_column()
        };
    }
    let columns = vec![
        column!("name", |row| row.name.as_str()),
        column!("format", |row| row.format.as_str()),
        column!("bits", |row| row.bits),
        column!("bits_per_element", |row| row.bits_per_element),
        column!("levels", |row| row.levels.map(|levels| levels.count)),
        column!("largest", |row| row.levels.map(|levels| levels.largest)),
        column!("smallest", |row| row.levels.map(|levels| levels.smallest)),
        column!("scale", |row| row.scale.as_deref()),
        column!("block", |row| row.block.as_str()),
        column!("used_by", |row| row.used_by),
        column!("source", |row| row.source),
    ];
    Ok(DataFrame::new(rows.len(), columns)?)
}

struct Row {
    name: String,
    format: String,
    bits: u32,
    bits_per_element: f64,
    levels: Option<Levels>,
    scale: Option<String>,
    block: String,
    used_by: &'static str,
    source: &'static str,
}

#[derive(Clone, Copy)]
struct Levels {
    count: u64,
    largest: f64,
    smallest: f64,
}

/// The shape that bits are counted for.
const SHAPE: [usize; 2] = [4096, 4096];

impl Row {
    fn of_scheme(scheme: Scheme, used_by: &'static str, source: &'static str) -> Result<Self> {
        let has_scale = scheme.mapping() != Mapping::Cast;
        let scale = match scheme.second_level() {
            Some(second) => format!("{} below {second}", scheme.scale_format()),
            None => scheme.scale_format().to_string(),
        };
        Ok(Self {
            name: scheme.to_string(),
            format: scheme.format().to_string(),
            bits: scheme.bits(),
            bits_per_element: scheme.bits_per_element(&SHAPE, Dtype::F32)?,
            levels: Some(Levels::of(scheme)),
            scale: has_scale.then_some(scale),
            block: scheme.granularity().to_string(),
            used_by,
            source,
        })
    }

    fn of_ggml(ggml: Ggml) -> Result<Self> {
        Ok(Self {
            name: ggml.to_string(),
            format: ggml.to_string(),
            bits: ggml.bits(),
            bits_per_element: ggml.bits_per_element(&SHAPE, Dtype::F32)?,
            levels: None,
            scale: Some("in its blocks".to_owned()),
            block: format!("g{}", ggml.block_elements()),
            used_by: "llama.cpp, Ollama, LM Studio",
            source: GGML,
        })
    }
}

impl Levels {
    fn of(scheme: Scheme) -> Self {
        // Of MX's integers a code is a fraction.
        let value = |code| f64::from(code) * power_of_two(-scheme.fraction_bits());
        let values: Vec<f64> = match scheme.format() {
            Format::Int { .. } => (scheme.quant_min()..=scheme.quant_max()).map(value).collect(),
            format => format.distinct_values(),
        };
        let largest = values.last().copied().unwrap_or(f64::NAN);
        let smallest = values.iter().copied().find(|&value| value > 0.0).unwrap_or(f64::NAN);
        Self { count: values.len() as u64, largest, smallest }
    }
}
