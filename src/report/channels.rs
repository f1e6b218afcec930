//! `channels` and `bias_correction`: the error of each channel, group or rectangle.

use polars::prelude::DataFrame;
use rayon::prelude::*;

use super::Quantizer;
use super::each::{any, decibels, each_pair, frame, values_and_approximation};
use crate::error::Result;
use crate::granularity::{Granularity, Layout};
use crate::qparams::QParams;
use crate::source::Source;
use crate::tensor::Tensor;

/// The error of each part of a tensor, those that carry most of it first: one row per tensor, scheme and part. What the parts are is a granularity, that
/// of the scheme or any other: channels (`PerAxis(0)`), groups (`PerGroup(128)`), rectangles.
///
/// Columns:
///
/// - `tensor`, `scheme`, `parts` (the granularity's name);
/// - `part`: its number, in row-major order; of an axis the index on it;
/// - `elements`, `min`, `max`: of the part's values, in units of the data;
/// - `scale`, `zero_point`: under which they are quantized; null where the part has several, and of quantizers that are no schemes;
/// - `mse`, `mean_error`, `sqnr_db`: as in a report, over the part;
/// - `squared_error`: Σ (x - x̂)² over the part, in squared units of the data;
/// - `error_share`: this over that of the tensor, 0 to 1; the shares of a tensor add up to 1. NaN where the tensor has no error;
/// - `blame`: `error_share` over the part's share of the elements: 1 is its fair share.
///
/// Rows are sorted by `squared_error` within a tensor and scheme, the largest first, those of equal error by `part`.
///
/// Where a tensor cannot be quantized so, its row has nulls, and a last column `error`, null elsewhere, says why.
///
/// ```
/// # use quantlens::{Granularity, Scheme, Tensor, channels};
/// // The second row is ten times as large: one scale for both serves it, and its error is what the first has, too.
/// let x = Tensor::new("x", &[2, 4], vec![0.11, -0.22, 0.33, 0.44, 1.1, -2.2, 3.3, 4.4])?;
/// let table = channels(&x, &[Scheme::symmetric(4), Scheme::symmetric(4).per_axis(0)], Granularity::PerAxis(0))?;
/// assert_eq!(table.height(), 4);
/// // Under one scale for each row the errors are ten times as large as well, and their squares a hundred times.
/// assert_eq!(table.column("part")?.u64()?.get(2), Some(1));
/// let share = table.column("error_share")?.f64()?.get(2).unwrap();
/// assert!((share - 100.0 / 101.0).abs() < 1e-12);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As [`crate::report()`]. Where a tensor has no such parts, its row says so.
pub fn channels<Q: Quantizer>(source: &(impl Source + ?Sized), quantizers: &[Q], parts: Granularity) -> Result<DataFrame> {
    channels_of(&source, &any(quantizers), parts)
}

/// What adding each channel's mean error back would save: one row per tensor, scheme and channel on an axis, in order.
///
/// A linear layer y = W·x + b whose weights W became Ŵ is off by (W - Ŵ)·x. Of an input whose elements have the mean μ, row c is off by
/// μ · Σ (w - ŵ) in the mean, and the layer's bias can take that up at no cost: b is increased by `correction` · μ. This is the bias correction of
/// Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction", section 4.2 (AIMET has it), where μ is known for each input
/// by itself; without a model, it is one for all.
///
/// Columns:
///
/// - `tensor`, `scheme`, `axis`, `channel`, `elements`;
/// - `mean_error`: ē = Σ (w - ŵ) / n over the channel, in units of the data; above 0 where the weights became too small;
/// - `correction`: n · ē, what the channel's output lacks for an input of ones;
/// - `squared_error`: Σ (w - ŵ)² over the channel;
/// - `saved`: n · ē², what the squared error is less by if ē is added to each of the channel's weights: exactly, for
///   Σ (e - ē)² = Σ e² - n·ē²;
/// - `saved_share`: `saved` / `squared_error`, 0 to 1; 0 where there is no error. Chance alone gives 1/n in the mean: unbiased errors have nothing to
///   correct.
///
/// Where a tensor cannot be quantized so, its row has nulls, and a last column `error`, null elsewhere, says why.
///
/// ```
/// # use quantlens::{Scheme, Tensor, bias_correction};
/// let w = Tensor::new("w", &[2, 2], vec![0.4, 0.4, 1.0, -0.6])?;
/// let table = bias_correction(&w, &["int2-sym".parse::<Scheme>()?.restricted_range()], 0)?;
/// // 0.4 becomes 0, and -0.6 becomes -1.
/// assert_eq!(table.column("mean_error")?.f64()?.to_vec(), [Some(0.4), Some(0.2)]);
/// assert_eq!(table.column("saved_share")?.f64()?.to_vec(), [Some(1.0), Some(0.5)]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As [`crate::report()`]. Where a tensor has no such axis, its row says so.
pub fn bias_correction<Q: Quantizer>(source: &(impl Source + ?Sized), quantizers: &[Q], axis: usize) -> Result<DataFrame> {
    bias_correction_of(&source, &any(quantizers), axis)
}

/// What there is to say of a part.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    number: u64,
    elements: u64,
    min: f64,
    max: f64,
    error: f64,
    pub(super) squared_error: f64,
    signal: f64,
}

impl Part {
    fn mean_error(&self) -> f64 {
        self.error / self.elements as f64
    }

    /// What adding the mean error back saves.
    fn saved(&self) -> f64 {
        self.mean_error() * self.error
    }
}

/// The parts of a tensor, in order.
pub(super) fn parts(x: &[f64], y: &[f64], layout: &Layout) -> Vec<Part> {
    let part = |number: usize| {
        let nothing = Part {
            number: number as u64,
            elements: 0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            error: 0.0,
            squared_error: 0.0,
            signal: 0.0,
        };
        layout.runs_of(number).fold(nothing, |part, run| {
            let mut of_run = Part { elements: part.elements + run.len() as u64, ..nothing };
            for (&x, &y) in x[run.clone()].iter().zip(&y[run]) {
                of_run.min = of_run.min.min(x);
                of_run.max = of_run.max.max(x);
                of_run.error += x - y;
                of_run.squared_error += (x - y) * (x - y);
                of_run.signal += x * x;
            }
            Part {
                min: of_run.min.min(part.min),
                max: of_run.max.max(part.max),
                error: part.error + of_run.error,
                squared_error: part.squared_error + of_run.squared_error,
                signal: part.signal + of_run.signal,
                ..of_run
            }
        })
    };
    (0..layout.blocks()).into_par_iter().map(part).collect()
}

struct Row {
    part: Part,
    /// Of the tensor.
    squared_error: f64,
    elements: u64,
    scale: Option<f64>,
    zero_point: Option<i64>,
}

fn channels_of(source: &dyn Source, quantizers: &[&dyn Quantizer], granularity: Granularity) -> Result<DataFrame> {
    let pairs = each_pair("channels", source, quantizers, |tensor, quantizer| {
        let layout = Layout::new(granularity, tensor.shape())?;
        let (x, y) = values_and_approximation(tensor, quantizer)?;
        let mut parts = parts(&x, &y, &layout);
        let squared_error = parts.iter().map(|part| part.squared_error).sum();
        parts.sort_by(|a, b| b.squared_error.total_cmp(&a.squared_error).then(a.number.cmp(&b.number)));
        let scales = quantizer.as_scheme().map(|scheme| Scales::new(tensor, scheme.qparams(tensor)?)).transpose()?;
        let row = |part: Part| {
            let (scale, zero_point) =
                scales.as_ref().map_or((None, None), |scales| scales.of_part(&layout, part.number as usize));
            Row { part, squared_error, elements: x.len() as u64, scale, zero_point }
        };
        Ok(parts.into_iter().map(row).collect())
    })?;
    let granularity = granularity.to_string();
    frame!(&pairs,
        "parts": |_| granularity.as_str(),
        "part": |row| row.part.number,
        "elements": |row| row.part.elements,
        "min": |row| row.part.min,
        "max": |row| row.part.max,
        "scale": |row| row.scale,
        "zero_point": |row| row.zero_point,
        "mse": |row| row.part.squared_error / row.part.elements as f64,
        "mean_error": |row| row.part.mean_error(),
        "sqnr_db": |row| decibels(row.part.signal, row.part.squared_error),
        "squared_error": |row| row.part.squared_error,
        "error_share": |row| row.part.squared_error / row.squared_error,
        "blame": |row| row.part.squared_error / row.squared_error * (row.elements as f64 / row.part.elements as f64),
    )
}

/// Under which scales parts are quantized.
struct Scales {
    qparams: QParams,
    layout: Layout,
}

impl Scales {
    fn new(tensor: &Tensor, qparams: QParams) -> Result<Self> {
        Ok(Self { layout: qparams.layout(tensor.shape())?, qparams })
    }

    /// The one scale, and the one zero point, of all elements of a part.
    fn of_part(&self, parts: &Layout, part: usize) -> (Option<f64>, Option<i64>) {
        let mut block = None;
        for run in parts.runs_of(part) {
            for segment in self.layout.segments(run).flat_map(|segment| segment.each()) {
                if block.is_some_and(|block| block != segment.block) {
                    return (None, None);
                }
                block = Some(segment.block);
            }
        }
        let block = block.unwrap_or(0);
        (self.qparams.scales().get(block).copied(), self.qparams.zero_points().get(block).copied())
    }
}

fn bias_correction_of(source: &dyn Source, quantizers: &[&dyn Quantizer], axis: usize) -> Result<DataFrame> {
    let pairs = each_pair("bias correction", source, quantizers, |tensor, quantizer| {
        let layout = Layout::new(Granularity::PerAxis(axis), tensor.shape())?;
        let (x, y) = values_and_approximation(tensor, quantizer)?;
        Ok(parts(&x, &y, &layout))
    })?;
    frame!(&pairs,
        "axis": |_| axis as u64,
        "channel": |part| part.number,
        "elements": |part| part.elements,
        "mean_error": |part| part.mean_error(),
        "correction": |part| part.error,
        "squared_error": |part| part.squared_error,
        "saved": |part| part.saved(),
        "saved_share": |part| if part.squared_error == 0.0 { 0.0 } else { part.saved() / part.squared_error },
    )
}
