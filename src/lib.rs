#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

pub mod error;
pub mod tensor;

mod synthetic;

pub mod calibrate;
pub mod format;
pub mod scheme;

pub mod quantize;

pub mod metrics;

mod kernels;

pub mod report;

pub mod frame;

pub mod figure;
pub mod plot;

pub mod display;

pub use calibrate::Calibration;
pub use error::{Error, Result};
pub use figure::Figure;
pub use format::{Format, Rounding, Signedness};
pub use frame::{DataFrameQuantExt, SeriesQuantExt};
pub use metrics::{Metrics, MetricsAccumulator};
pub use quantize::{Codes, QParams, Quantized, clamp, fake_quantize_with, quantize_with};
pub use report::{Quantizer, ReportRow, elements, frame_of_rows, levels, report, report_rows, sweep};
pub use scheme::{Convention, Granularity, Mapping, Scheme, SymmetricRange};
pub use synthetic::Synthetic;
pub use tensor::{Dtype, Real, Tensor};
