//! One test binary; modules mirror `src/`. `naive` is the slow, obvious version that everything fast is compared with.

/// Whether a result is an error with such a cause, perhaps in this block.
macro_rules! fails {
    ($result:expr, $cause:pat) => {
        matches!(&$result, Err(error) if matches!(error.cause(), $cause))
    };
    ($result:expr, $cause:pat, in block $block:expr) => {
        matches!(&$result, Err(error) if matches!(error.cause(), $cause) && error.block() == Some($block))
    };
}

mod naive;

mod bad_input;
mod block_formats;
mod calibration;
#[cfg(feature = "cli")]
mod cli;
mod explain;
mod figure;
mod formats;
mod frame;
mod ggml;
mod golden;
#[cfg(feature = "lazy")]
mod lazy;
mod metrics;
mod pack;
mod parts;
mod properties;
mod quantize;
mod read;
mod report;
mod scheme;
mod schemes;
mod simd;
mod storage;
mod stream;
mod table_file;
mod tensor;

/// The twenty numbers of the original notebook.
pub const NOTEBOOK: [f64; 20] = [
    79.63, 100.75, 47.9, 85.26, -19.68, 91.28, 82.59, -7.12, 90.24, 60.92, 67.78, 27.35, 115.33, 143.0, 104.42, 84.64, 146.59,
    51.34, 125.74, 126.03,
];
