#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

// In the order of the pipeline; a file uses only those above it.
mod dtype;
pub mod error;
pub mod progress;
mod simd;

pub mod tensor;

mod synthetic;

// The searches for the best scale and the best codebook.
mod binary;
mod double_double;
mod percentile;
mod sample;
mod sorted;

mod divergence;
mod optimum;

mod format;

mod codebook_search;
#[cfg(test)]
mod search_tests;

mod calibrate;
mod convention;
mod granularity;
mod scale;
mod scheme;

mod codec;
mod codes;
mod qparams;
mod quantize;

mod pack;

mod metrics;

mod source;

mod statistics;

mod kernels;

mod report;

mod ggml;
mod known;

mod read;

mod frame;
#[cfg(feature = "lazy")]
mod lazy;
mod table_file;

pub mod figure;
pub mod plot;

pub mod display;

pub use calibrate::Calibration;
pub use codec::clamp;
pub use codes::Codes;
pub use convention::Convention;
pub use dtype::Dtype;
pub use error::{Error, Result};
pub use figure::{Figure, chart};
pub use format::{Codebook, Format, Minifloat, Rounding, Signedness, Specials};
pub use frame::{DataFrameQuantExt, SeriesQuantExt};
pub use ggml::{Ggml, WeightedGgml};
pub use granularity::Granularity;
pub use known::{known_formats, quantizer};
#[cfg(feature = "lazy")]
pub use lazy::{ExprQuantExt, QuantNameSpace};
pub use metrics::{Metrics, MetricsAccumulator};
pub use pack::{BitOrder, Packed};
pub use qparams::{Observer, QParams};
pub use quantize::{Quantized, fake_quantize_with, quantize_with};
pub use read::{FileFormat, Model, ReadAt, open};
pub use report::{
    Bootstrap, Comparison, Condition, Objective, Operand, Quantizer, RangesPart, ReportPart, ReportRow, Rule, TensorReport,
    allocate, bias_correction, blame, channels, check, concentration, convention_diff, convention_summary, diff, elements,
    frame_of_rows, frontier, ledger, levels, lint, lorenz, noise, report, report_rows, sweep, uncertainty, what_if,
};
pub use scale::{ScaleFormat, ScaleRule, SecondLevel};
pub use scheme::{Mapping, Overflow, Scheme, SymmetricRange};
pub use source::{Skipped, Source, TensorInfo, TileBuffer};
pub use synthetic::Synthetic;
pub use table_file::{TableFormat, is_saved_table, load_table, save_table};
pub use tensor::{Real, Slice, Tensor};
