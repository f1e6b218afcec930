//! `ReportRow`: one tensor under one quantizer, and the frame of such rows.

use polars::prelude::{Column, DataFrame, IntoColumn, NamedFrom, Series};
use serde::{Deserialize, Serialize};

use super::Quantizer;
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::metrics::{Metrics, any_f64, entropy_bits};
use crate::source::TensorInfo;
use crate::tensor::Tensor;

/// A report's row: one tensor under one scheme. Serializable; [`crate::report()`] makes a frame of such rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ReportRow {
    /// The tensor's name.
    pub tensor: String,
    /// f32 or f64.
    pub dtype: Dtype,
    /// The length of each axis.
    pub shape: Vec<usize>,
    /// The quantizer's name; of a [`crate::Scheme`] one that parses back.
    pub scheme: String,
    /// The number format of a code, such as `int8`; null for a quantizer that does not say.
    pub format: Option<String>,
    /// Width of a code in bits.
    pub bits: Option<u32>,
    /// How many elements share a scale: `tensor`, `axis0`, `g128`.
    pub granularity: Option<String>,
    /// How the range was found: `minmax`, `p99.9`.
    pub calibration: Option<String>,
    /// What an element costs with its share of scales and zero points, in bits; NaN where the shape cannot be quantized so.
    #[serde(with = "any_f64")]
    pub bits_per_element: f64,
    /// The scale, where there is one for all.
    pub scale: Option<f64>,
    /// The zero point, where there is one for all.
    pub zero_point: Option<i64>,
    /// The error metrics; all NaN where there is an [`error`](Self::error).
    pub metrics: Metrics,
    /// The share of elements outside the codes, moved to the first or last one; 0 to 1.
    pub clipped_fraction: Option<f64>,
    /// The number of different codes that occur.
    pub levels_used: Option<u64>,
    /// Shannon entropy of the codes, `-Σ pᵢ·log₂ pᵢ` in bits: what an entropy coder could store a code in. At most log₂ of
    /// the number of codes the scheme has.
    pub code_entropy_bits: Option<f64>,
    /// Why the tensor cannot be quantized so; null where it can.
    #[serde(default)]
    pub error: Option<String>,
}

/// What a quantizer says of its codes.
#[derive(Debug, Clone)]
pub struct Codes {
    pub(crate) format: String,
    pub(crate) bits: u32,
    pub(crate) granularity: String,
    pub(crate) calibration: Option<String>,
}

impl ReportRow {
    /// A row with what every quantizer knows.
    ///
    /// # Errors
    /// [`Error::Length`] if the metrics are not of as many elements as the tensor has.
    pub fn new(tensor: &Tensor, scheme: String, bits_per_element: f64, metrics: Metrics) -> Result<Self> {
        if metrics.elements != tensor.len() as u64 {
            return Err(Error::Length { reference: tensor.len(), approximation: metrics.elements as usize });
        }
        Ok(Self::of(&tensor.info(), scheme, bits_per_element, metrics))
    }

    fn of(info: &TensorInfo, scheme: String, bits_per_element: f64, metrics: Metrics) -> Self {
        Self {
            tensor: info.name.clone(),
            dtype: info.dtype,
            shape: info.shape.clone(),
            scheme,
            format: None,
            bits: None,
            granularity: None,
            calibration: None,
            bits_per_element,
            scale: None,
            zero_point: None,
            metrics,
            clipped_fraction: None,
            levels_used: None,
            code_entropy_bits: None,
            error: None,
        }
    }

    /// The row of a tensor that cannot be quantized so.
    pub(super) fn failed(info: &TensorInfo, quantizer: &dyn Quantizer, cause: String) -> Self {
        let bits_per_element = quantizer.bits_per_element(&info.shape, info.dtype).unwrap_or(f64::NAN);
        let unknown = Self::of(info, quantizer.name(), bits_per_element, Metrics::unknown(info.elements() as u64));
        Self { error: Some(cause), ..unknown }
    }

    /// The row of all elements of a tensor that were measured; `counts` are of its codes.
    pub(super) fn measured(
        info: &TensorInfo,
        scheme: String,
        bits_per_element: f64,
        codes: Codes,
        metrics: Metrics,
        counts: &[u64],
    ) -> Self {
        Self {
            format: Some(codes.format),
            bits: Some(codes.bits),
            granularity: Some(codes.granularity),
            calibration: codes.calibration,
            levels_used: Some(counts.iter().filter(|&&count| count > 0).count() as u64),
            code_entropy_bits: Some(entropy_bits(counts)),
            ..Self::of(info, scheme, bits_per_element, metrics)
        }
    }
}

/// The frame of these rows, as [`crate::report()`] gives it.
///
/// # Errors
/// Only what polars refuses.
pub fn frame_of_rows(rows: &[ReportRow]) -> Result<DataFrame> {
    fn column<'a, V>(name: &str, rows: &'a [ReportRow], value: impl Fn(&'a ReportRow) -> V) -> Column
    where
        Series: NamedFrom<Vec<V>, [V]>,
    {
        Series::new(name.into(), rows.iter().map(value).collect::<Vec<V>>()).into_column()
    }
    let text = |name: &str, value: fn(&ReportRow) -> Option<&str>| column(name, rows, value);
    let owned: Vec<(String, String)> = rows.iter().map(|row| (row.dtype.to_string(), format!("{:?}", row.shape))).collect();
    let owned_text = |name: &str, value: fn(&(String, String)) -> &String| {
        Series::new(name.into(), owned.iter().map(|pair| value(pair).as_str()).collect::<Vec<_>>()).into_column()
    };
    let before = [
        text("tensor", |row| Some(&row.tensor)),
        owned_text("dtype", |pair| &pair.0),
        owned_text("shape", |pair| &pair.1),
        column("elements", rows, |row| row.metrics.elements),
        text("scheme", |row| Some(&row.scheme)),
        text("format", |row| row.format.as_deref()),
        column("bits", rows, |row| row.bits),
        text("granularity", |row| row.granularity.as_deref()),
        text("calibration", |row| row.calibration.as_deref()),
        column("bits_per_element", rows, |row| Some(row.bits_per_element).filter(|bits| !bits.is_nan())),
        column("scale", rows, |row| row.scale),
        column("zero_point", rows, |row| row.zero_point),
    ];
    let metrics =
        Metrics::COLUMNS.map(|(name, value)| column(name, rows, move |row| row.error.is_none().then(|| value(&row.metrics))));
    let after = [
        column("clipped_fraction", rows, |row| row.clipped_fraction),
        column("levels_used", rows, |row| row.levels_used),
        column("code_entropy_bits", rows, |row| row.code_entropy_bits),
        text("error", |row| row.error.as_deref()),
    ];
    let columns = before.into_iter().chain(metrics).chain(after).collect();
    Ok(DataFrame::new(rows.len(), columns)?)
}
