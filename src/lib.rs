#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

// In the order of the pipeline; a file uses only those above it.
mod dtype;
pub mod error;
pub mod progress;

pub mod tensor;

mod synthetic;

mod calibrate;
mod format;
mod granularity;
mod scheme;

mod affine;
mod codes;
mod qparams;
mod quantize;

mod metrics;

mod kernels;

mod report;

mod frame;

pub mod figure;
pub mod plot;

pub mod display;

pub use affine::clamp;
pub use calibrate::Calibration;
pub use codes::Codes;
pub use dtype::Dtype;
pub use error::{Error, Result};
pub use figure::Figure;
pub use format::{Format, Rounding, Signedness};
pub use frame::{DataFrameQuantExt, SeriesQuantExt};
pub use granularity::Granularity;
pub use metrics::{Metrics, MetricsAccumulator};
pub use qparams::QParams;
pub use quantize::{Quantized, fake_quantize_with, quantize_with};
pub use report::{Quantizer, ReportRow, elements, frame_of_rows, levels, report, report_rows, sweep};
pub use scheme::{Convention, Mapping, Scheme, SymmetricRange};
pub use synthetic::Synthetic;
pub use tensor::{Real, Tensor};
