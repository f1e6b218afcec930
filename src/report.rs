//! Tables: what quantization did, as polars data frames.

mod allocate;
mod blame;
mod channels;
mod check;
mod convention_diff;
mod each;
mod frontier;
mod ledger;
mod lint;
mod noise;
mod tables;
mod uncertainty;

use std::ops::Deref;

use polars::prelude::{Column, DataFrame, IntoColumn, NamedFrom, Series};
use serde::{Deserialize, Serialize};

use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::format::Format;
use crate::kernels::{Measured, measure, measure_one};
use crate::metrics::{Metrics, any_f64, entropy_bits};
use crate::progress::{Work, is_interrupted};
use crate::qparams::QParams;
use crate::scheme::Scheme;
use crate::source::Source;
use crate::tensor::Tensor;

pub use allocate::{Objective, allocate};
pub use blame::{blame, concentration, lorenz, what_if};
pub use channels::{bias_correction, channels};
pub use check::{Comparison, Condition, Operand, Rule, check, diff};
pub(crate) use check::{numbers, texts};
pub use convention_diff::{convention_diff, convention_summary};
pub use frontier::frontier;
pub use ledger::ledger;
pub use lint::lint;
pub use noise::noise;
pub(crate) use tables::code_values;
pub use tables::{elements, levels};
pub use uncertainty::{Bootstrap, uncertainty};

/// Anything that quantizes: three methods. [`Scheme`] is one; your own type is another and goes into the same report.
///
/// ```
/// # use quantlens::{Dtype, Quantizer, Result, Scheme, Tensor, report};
/// /// Keeps the sign and the exponent: every value becomes the power of two below it.
/// struct PowerOfTwo;
///
/// impl Quantizer for PowerOfTwo {
///     fn name(&self) -> String {
///         "power-of-two".to_owned()
///     }
///     fn bits_per_element(&self, _shape: &[usize], _dtype: Dtype) -> Result<f64> {
///         Ok(9.0)
///     }
///     fn fake_quantize(&self, tensor: &Tensor) -> Result<Tensor> {
///         let floor = |x: f64| if x == 0.0 { 0.0 } else { x.signum() * x.abs().log2().floor().exp2() };
///         Tensor::new(tensor.name(), tensor.shape(), tensor.to_f64_vec().into_iter().map(floor).collect())
///     }
/// }
///
/// let x = Tensor::from_vec("x", vec![0.5, 1.0, 3.0, -6.0])?;
/// let quantizers: [Box<dyn Quantizer>; 2] = [Box::new(PowerOfTwo), Box::new(Scheme::symmetric(8))];
/// let table = report(&[x], &quantizers)?;
/// assert_eq!(table.column("scheme")?.str()?.get(0), Some("power-of-two"));
/// assert_eq!(table.column("mse")?.f64()?.get(0), Some(1.25)); // (1² + 2²) / 4
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Quantizer {
    /// The name that reports show.
    fn name(&self) -> String;

    /// Bits an element costs in a tensor of this shape and type: codes, scales, zero points and padding.
    ///
    /// # Errors
    /// Where the shape cannot be quantized so.
    fn bits_per_element(&self, shape: &[usize], dtype: Dtype) -> Result<f64>;

    /// The tensor as it comes back from quantization: the same shape, as many values.
    ///
    /// # Errors
    /// Where the values cannot be quantized so.
    fn fake_quantize(&self, tensor: &Tensor) -> Result<Tensor>;

    /// A report's row. Comes for free; a quantizer with codes of its own may fill in more than the metrics.
    ///
    /// # Errors
    /// As the methods above; [`Error::Length`] if `fake_quantize` returned another number of values.
    fn report_row(&self, tensor: &Tensor) -> Result<ReportRow> {
        let metrics = Metrics::between(tensor, &self.fake_quantize(tensor)?)?;
        ReportRow::new(tensor, self.name(), self.bits_per_element(tensor.shape(), tensor.dtype())?, metrics)
    }

    /// The scheme, if it is nothing but one: all schemes of a report are measured in one pass over the values.
    #[doc(hidden)]
    fn as_scheme(&self) -> Option<Scheme> {
        None
    }
}

/// References and boxes quantize as what they point to, so that a slice may mix types: `&[&dyn Quantizer]`, `&[Box<dyn Quantizer>]`.
impl<P: Deref<Target: Quantizer>> Quantizer for P {
    fn name(&self) -> String {
        (**self).name()
    }

    fn bits_per_element(&self, shape: &[usize], dtype: Dtype) -> Result<f64> {
        (**self).bits_per_element(shape, dtype)
    }

    fn fake_quantize(&self, tensor: &Tensor) -> Result<Tensor> {
        (**self).fake_quantize(tensor)
    }

    fn report_row(&self, tensor: &Tensor) -> Result<ReportRow> {
        (**self).report_row(tensor)
    }

    fn as_scheme(&self) -> Option<Scheme> {
        (**self).as_scheme()
    }
}

impl Quantizer for Scheme {
    fn name(&self) -> String {
        self.to_string()
    }

    fn bits_per_element(&self, shape: &[usize], dtype: Dtype) -> Result<f64> {
        self.bits_per_element(shape, dtype)
    }

    fn fake_quantize(&self, tensor: &Tensor) -> Result<Tensor> {
        self.fake_quantize(tensor)
    }

    fn report_row(&self, tensor: &Tensor) -> Result<ReportRow> {
        let qparams = self.qparams(tensor)?;
        ReportRow::of_scheme(tensor, &qparams, measure_one(tensor, &qparams)?)
    }

    fn as_scheme(&self) -> Option<Scheme> {
        Some(*self)
    }
}

/// A report's row: one tensor under one scheme. Serializable; [`report`] makes a frame of such rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ReportRow {
    /// The tensor's name.
    pub tensor: String,
    /// f32 or f64.
    pub dtype: Dtype,
    /// The length of each axis.
    pub shape: Vec<usize>,
    /// The quantizer's name; of a [`Scheme`] one that parses back.
    pub scheme: String,
    /// The number format of a code, such as `int8`; null for a quantizer that does not say.
    pub format: Option<String>,
    /// Width of a code in bits.
    pub bits: Option<u32>,
    /// How many elements share a scale: `tensor`, `axis0`, `g128`.
    pub granularity: Option<String>,
    /// How the range was found: `minmax`, `p99.9`.
    pub calibration: Option<String>,
    /// What an element costs with its share of scales and zero points, in bits.
    #[serde(with = "any_f64")]
    pub bits_per_element: f64,
    /// The scale, where there is one for all.
    pub scale: Option<f64>,
    /// The zero point, where there is one for all.
    pub zero_point: Option<i64>,
    /// The error metrics.
    pub metrics: Metrics,
    /// The share of elements outside the codes, moved to the first or last one; 0 to 1.
    pub clipped_fraction: Option<f64>,
    /// The number of different codes that occur.
    pub levels_used: Option<u64>,
    /// Shannon entropy of the codes, `-Σ pᵢ·log₂ pᵢ` in bits: what an entropy coder could store a code in. At most log₂ of
    /// the number of codes the scheme has.
    pub code_entropy_bits: Option<f64>,
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
        Ok(Self {
            tensor: tensor.name().to_owned(),
            dtype: tensor.dtype(),
            shape: tensor.shape().to_vec(),
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
        })
    }

    /// The row of a scheme with these parameters.
    fn of_scheme(tensor: &Tensor, qparams: &QParams, measured: Measured) -> Result<Self> {
        let scheme = qparams.scheme();
        let bits_per_element = scheme.bits_per_element(tensor.shape(), tensor.dtype())?;
        Ok(Self {
            format: Some(scheme.format().to_string()),
            bits: Some(scheme.bits()),
            granularity: Some(scheme.granularity().to_string()),
            calibration: Some(scheme.calibration().to_string()),
            scale: qparams.scale(),
            zero_point: qparams.zero_point(),
            clipped_fraction: Some(measured.clipped as f64 / measured.metrics.elements as f64),
            levels_used: Some(measured.counts.iter().filter(|&&count| count > 0).count() as u64),
            code_entropy_bits: Some(entropy_bits(&measured.counts)),
            ..Self::new(tensor, scheme.to_string(), bits_per_element, measured.metrics)?
        })
    }
}

/// One row per tensor and scheme, tensors in order, under each the schemes in order.
///
/// Columns: `tensor`, `dtype`, `shape`, `elements`, `scheme`, `format`, `bits`, `granularity`, `calibration`, `bits_per_element`,
/// `scale` and `zero_point` (null where there are several), the fields of [`Metrics`], `clipped_fraction`, `levels_used`,
/// `code_entropy_bits`. See [`ReportRow`] for units. Filter, sort, join and save are polars'.
///
/// ```
/// # use quantlens::{Scheme, Synthetic, report};
/// let weights = Synthetic::normal(0.0, 0.02).seed(1).tensor::<f32>("weights", &[64, 128])?;
/// let table = report(&[weights], &[Scheme::asymmetric(8), Scheme::symmetric(8), Scheme::symmetric(4).per_group(32)])?;
/// assert_eq!(table.height(), 3);
/// let sqnr_db = table.column("sqnr_db")?.f64()?;
/// assert!(sqnr_db.get(0) > sqnr_db.get(2));
/// assert_eq!(table.column("bits_per_element")?.f64()?.get(2), Some(5.0)); // 4 + 32 / 32
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// What quantizing the first failing tensor says; [`Error::Nothing`] without tensors or schemes; [`Error::Interrupted`] within
/// a fraction of a second, but for calibrations that search. It says how far it is by [`crate::progress`].
pub fn report<S: Source + ?Sized, Q: Quantizer>(source: &S, schemes: &[Q]) -> Result<DataFrame> {
    frame_of_rows(&report_rows(source, schemes)?)
}

/// The rows of [`report`], to serialize or to compute with.
///
/// # Errors
/// As [`report`].
pub fn report_rows<S: Source + ?Sized, Q: Quantizer>(source: &S, schemes: &[Q]) -> Result<Vec<ReportRow>> {
    let schemes: Vec<&dyn Quantizer> = schemes.iter().map(|scheme| scheme as &dyn Quantizer).collect();
    rows_of(&source, &schemes)
}

/// Not generic, so that a notebook cell that asks for a report has none of it to compile.
fn rows_of(source: &dyn Source, schemes: &[&dyn Quantizer]) -> Result<Vec<ReportRow>> {
    let tensors = source.infos().len();
    if tensors == 0 || schemes.is_empty() {
        let reason = format!("it needs a tensor and a scheme, and has {tensors} and {}", schemes.len());
        return Err(Error::Nothing { what: "report", reason });
    }
    let mut work = Work::new("report", tensors * schemes.len());
    let mut rows = Vec::with_capacity(tensors * schemes.len());
    for index in 0..tensors {
        let tensor = &source.tensor_at(index)?;
        for schemes in schemes.chunk_by(|a, b| a.as_scheme().is_some() && b.as_scheme().is_some()) {
            for schemes in schemes.chunks(TOGETHER) {
                add_rows(tensor, schemes, &mut work, &mut rows)?;
            }
        }
    }
    Ok(rows)
}

/// Schemes that are measured in one pass: more would gain little, and less would be known of how far it is.
const TOGETHER: usize = 8;

/// The rows of one tensor under neighbouring quantizers, which are schemes or a single one of another kind.
fn add_rows(tensor: &Tensor, quantizers: &[&dyn Quantizer], work: &mut Work<'static>, rows: &mut Vec<ReportRow>) -> Result<()> {
    let schemes: Option<Vec<Scheme>> = quantizers.iter().map(|quantizer| quantizer.as_scheme()).collect();
    let Some(schemes) = schemes else {
        for quantizer in quantizers {
            rows.push(work.step(|| quantizer.report_row(tensor))?);
        }
        return Ok(());
    };
    let calibrate = |scheme: &Scheme| {
        work.go_on()?;
        scheme.qparams(tensor)
    };
    let qparams: Vec<QParams> = schemes.iter().map(calibrate).collect::<Result<_>>()?;
    let measured = measure(tensor, &qparams.iter().collect::<Vec<_>>(), is_interrupted);
    for (qparams, measured) in qparams.iter().zip(measured.map_or_else(|| Err(work.interrupted()), Ok)?) {
        rows.push(ReportRow::of_scheme(tensor, qparams, measured?)?);
        work.done_one();
    }
    Ok(())
}

/// The frame of these rows, as [`report`] gives it.
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
    let number = |name: &str, value: fn(&ReportRow) -> f64| column(name, rows, value);
    let owned: Vec<(String, String)> = rows.iter().map(|row| (row.dtype.to_string(), format!("{:?}", row.shape))).collect();
    let owned_text = |name: &str, value: fn(&(String, String)) -> &String| {
        Series::new(name.into(), owned.iter().map(|pair| value(pair).as_str()).collect::<Vec<_>>()).into_column()
    };
    let columns = vec![
        text("tensor", |row| Some(&row.tensor)),
        owned_text("dtype", |pair| &pair.0),
        owned_text("shape", |pair| &pair.1),
        column("elements", rows, |row| row.metrics.elements),
        text("scheme", |row| Some(&row.scheme)),
        text("format", |row| row.format.as_deref()),
        column("bits", rows, |row| row.bits),
        text("granularity", |row| row.granularity.as_deref()),
        text("calibration", |row| row.calibration.as_deref()),
        number("bits_per_element", |row| row.bits_per_element),
        column("scale", rows, |row| row.scale),
        column("zero_point", rows, |row| row.zero_point),
        number("mse", |row| row.metrics.mse),
        number("rmse", |row| row.metrics.rmse),
        number("mae", |row| row.metrics.mae),
        number("max_abs_error", |row| row.metrics.max_abs_error),
        number("mean_error", |row| row.metrics.mean_error),
        number("relative_error", |row| row.metrics.relative_error),
        number("sqnr_db", |row| row.metrics.sqnr_db),
        number("cosine", |row| row.metrics.cosine),
        column("clipped_fraction", rows, |row| row.clipped_fraction),
        column("levels_used", rows, |row| row.levels_used),
        column("code_entropy_bits", rows, |row| row.code_entropy_bits),
    ];
    Ok(DataFrame::new(rows.len(), columns)?)
}

/// A report of one scheme at each of these widths, in bits: how much error a bit buys.
///
/// ```
/// # use quantlens::{Scheme, Synthetic, sweep};
/// let x = Synthetic::uniform(-1.0, 1.0).seed(3).tensor::<f32>("x", &[4096])?;
/// let table = sweep(&[x], &[Scheme::asymmetric(8)], 2..=8)?;
/// assert_eq!(table.height(), 7);
/// # Ok::<(), quantlens::Error>(())
/// ```
///
/// # Errors
/// As [`report`]; a width the scheme cannot have; [`Error::Nothing`] without widths; [`Error::Unsupported`] for float formats and codebooks, which
/// have one width.
pub fn sweep<S: Source + ?Sized>(source: &S, schemes: &[Scheme], bits: impl IntoIterator<Item = u32>) -> Result<DataFrame> {
    sweep_widths(&source, schemes, &bits.into_iter().collect::<Vec<_>>())
}

fn sweep_widths(source: &dyn Source, schemes: &[Scheme], bits: &[u32]) -> Result<DataFrame> {
    if bits.is_empty() {
        return Err(Error::Nothing { what: "sweep", reason: "it needs at least one width in bits".to_owned() });
    }
    if let Some(scheme) = schemes.iter().find(|scheme| !matches!(scheme.format(), Format::Int { .. })) {
        let reason = "its format has one width: sweep integers, and report it beside them";
        return Err(Error::Unsupported { scheme: scheme.to_string(), reason });
    }
    let widths = |scheme: &Scheme| {
        let scheme = *scheme;
        bits.iter().map(move |&bits| scheme.with_bits(bits))
    };
    report(&source, &schemes.iter().flat_map(widths).collect::<Vec<_>>())
}
