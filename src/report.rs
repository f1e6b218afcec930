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
mod part;
mod parts;
mod plan;
mod row;
mod rows;
mod tables;
mod uncertainty;
mod what_if;

use std::ops::Deref;

use polars::prelude::DataFrame;

use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::format::Format;
use crate::kernels::RowQuantizer;
use crate::metrics::Metrics;
use crate::scheme::Scheme;
use crate::source::Source;
use crate::tensor::Tensor;

pub use allocate::{Objective, allocate};
pub use blame::{blame, concentration, lorenz};
pub use channels::{bias_correction, channels};
pub use check::{Comparison, Condition, Operand, Rule, check, diff};
pub(crate) use check::{numbers, texts};
pub use convention_diff::{convention_diff, convention_summary};
pub use frontier::frontier;
pub use ledger::ledger;
pub use lint::lint;
pub use noise::noise;
pub use part::{RangesPart, ReportPart};
pub use parts::TensorReport;
pub(crate) use row::Codes;
pub use row::{ReportRow, frame_of_rows};
pub(crate) use rows::row_of;
pub(crate) use tables::code_values;
pub use tables::{elements, levels};
pub use uncertainty::{Bootstrap, uncertainty};
pub use what_if::what_if;

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

    /// This quantizer on the rows of a tensor of this name and shape, if each is quantized without the others; likewise. What it says of its codes
    /// comes with it.
    #[doc(hidden)]
    fn by_rows(&self, _name: &str, _shape: &[usize]) -> Option<Result<(Codes, Box<dyn RowQuantizer + '_>)>> {
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

    fn by_rows(&self, name: &str, shape: &[usize]) -> Option<Result<(Codes, Box<dyn RowQuantizer + '_>)>> {
        (**self).by_rows(name, shape)
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
        row_of(tensor, self)
    }

    fn as_scheme(&self) -> Option<Scheme> {
        Some(*self)
    }

    // The trait's own would be compiled with every notebook cell that makes a report.
    fn by_rows(&self, _name: &str, _shape: &[usize]) -> Option<Result<(Codes, Box<dyn RowQuantizer + '_>)>> {
        None
    }
}

/// One row per tensor and scheme, tensors in order, under each the schemes in order. The tensors are one, several, or those of a file: any [`Source`].
///
/// Columns: `tensor`, `dtype`, `shape`, `elements`, `scheme`, `format`, `bits`, `granularity`, `calibration`, `bits_per_element`,
/// `scale` and `zero_point` (null where there are several), the fields of [`Metrics`], `clipped_fraction`, `levels_used`,
/// `code_entropy_bits`, `error`. See [`ReportRow`] for units. Filter, sort, join and save are polars'.
///
/// Where a tensor cannot be quantized under a scheme, the row's `error` says why and its numbers are null; the other rows do not suffer.
///
/// Tensors of a file are read piece by piece, on all threads, so that they need not fit in memory: once if blocks lie within few rows, and twice for
/// scales over more than that. Tensors of at most 16 Mi elements are read whole. Of larger ones,
/// a calibration that looks at all values of a block at once, such as a percentile, is an error ([`Error::NeedsWhole`]) unless blocks lie within few rows.
///
/// ```
/// # use quantlens::{Scheme, Synthetic, report};
/// let weights = Synthetic::normal(0.0, 0.02).seed(1).tensor::<f32>("weights", &[64, 128])?;
/// let table = report(&weights, &[Scheme::asymmetric(8), Scheme::symmetric(8), Scheme::symmetric(4).per_group(32)])?;
/// assert_eq!(table.height(), 3);
/// let sqnr_db = table.column("sqnr_db")?.f64()?;
/// assert!(sqnr_db.get(0) > sqnr_db.get(2));
/// assert_eq!(table.column("bits_per_element")?.f64()?.get(2), Some(5.0)); // 4 + 32 / 32
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`Error::Nothing`] without tensors or schemes; where all rows failed [`Error::At`], which says why the first did (of a report with one row its
/// error itself); [`Error::Interrupted`] within a fraction of a second, but for calibrations that search. It says how far it is by [`crate::progress`].
pub fn report<Q: Quantizer>(source: &(impl Source + ?Sized), schemes: &[Q]) -> Result<DataFrame> {
    rows::report_of(&source, &each::any(schemes))
}

/// The rows of [`report`], to serialize or to compute with.
///
/// # Errors
/// As [`report`].
pub fn report_rows<Q: Quantizer>(source: &(impl Source + ?Sized), schemes: &[Q]) -> Result<Vec<ReportRow>> {
    rows::rows_of(&source, &each::any(schemes))
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
pub fn sweep(source: &(impl Source + ?Sized), schemes: &[Scheme], bits: impl IntoIterator<Item = u32>) -> Result<DataFrame> {
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
