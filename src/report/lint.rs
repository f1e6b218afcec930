//! `lint`: what fails silently elsewhere.

use std::fmt;

use polars::prelude::DataFrame;

use super::Quantizer;
use super::each::{any, columns, one_step};
use crate::calibrate::Calibration;
use crate::convention::Convention;
use crate::error::{Error, Result};
use crate::format::{Format, Minifloat, Rounding};
use crate::granularity::{Granularity, Layout};
use crate::progress::Work;
use crate::qparams::{Ideal, QParams};
use crate::quantize::quantize_with;
use crate::scale::ScaleFormat;
use crate::scheme::{Mapping, Scheme};
use crate::source::{Source, TensorInfo, TileBuffer};
use crate::tensor::{Slice, Tensor};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Severity {
    /// It cannot be quantized so, or nothing of it is left.
    Error,
    /// Much is lost that need not be.
    Warning,
    /// Worth knowing.
    Note,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        })
    }
}

macro_rules! lints {
    ($($variant:ident $name:literal $advice:literal),+ $(,)?) => {
        /// What is looked for.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        enum Lint {
            $($variant),+
        }

        impl Lint {
            fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name),+
                }
            }

            fn advice(self) -> &'static str {
                match self {
                    $(Self::$variant => $advice),+
                }
            }
        }
    };
}
lints! {
    NotFinite "not_finite" "replace NaN and infinities, and look for what made them",
    Empty "empty" "leave this tensor out: there is nothing to quantize",
    Constant "constant" "store the one value instead of the tensor",
    DeadChannels "dead_channels" "prune these channels: they are all zero",
    ConstantChannels "constant_channels" "fold these channels into a bias: all their values are the same",
    CannotQuantize "cannot_quantize" "use another scheme, or change what the message says",
    ScaleOverflow "scale_overflow" "store scales in a type with a larger range, as bf16 or f32",
    ScaleUnderflow "scale_underflow" "store scales in a type with smaller numbers, as bf16 or f32, or with a scale for the tensor above them",
    ScaleSaturated "scale_saturated" "store scales in a type with a larger range: these are smaller than the values ask for, which are clipped",
    ScaleEpsilon "scale_epsilon" "multiply the tensor by a power of two, or use a convention without a smallest scale: these are not set by the data",
    ScaleSubnormal "scale_subnormal" "store scales in a type with smaller normal numbers: these have lost digits",
    ZeroPointSaturated "zero_point_saturated" "widen the range: the values beyond the zero point's side have no codes",
    ZeroPointOutside "zero_point_outside" "use a convention that widens the range to 0: no code of the type means 0",
    AllZero "all_zero" "use more bits, a smaller scale or smaller blocks: every value becomes 0",
    ValuesVanish "values_vanish" "use smaller blocks, clip outliers, or take a format with small numbers as nf4 or e2m1: most values become 0",
    UnusedCodes "unused_codes" "use fewer bits, or place the codes better: a zero point for one-sided values, clipping for outliers",
    ClippedByScale "clipped_by_scale" "take a scale rule that clips nothing (ceil, rceil) or a restricted range, unless this is meant",
    OutlierOwnsRange "outlier_owns_range" "clip it, split it off or use smaller blocks: half the codes or more are for this one value",
    Ties "ties" "test the runtime that will be used: halves are rounded to even by some and away from zero by others",
    CostsMore "costs_more" "use larger blocks or fewer bits: codes and scales take more than the values themselves",
}

/// What fails silently elsewhere: one row for each finding, tensor by tensor, first what is wrong with the values alone, then scheme by scheme. No row is
/// good news. Unlike other tables this one takes NaN and infinities, and no scheme at all.
///
/// Columns: `tensor`, `scheme` (null where it is about the values alone), `lint` (its name, below), `severity` (`error`, `warning`, `note`), `count`
/// and `of` (how many of how many), `where` (the first of them, or a message), `what_to_do`.
///
/// | `lint` | `severity` | counted |
/// |--|--|--|
/// | `not_finite` | error | NaN and ∞ among the elements; nothing else is looked for then |
/// | `empty` | error | |
/// | `constant` | warning | elements, where all have the same value and there are several |
/// | `dead_channels` | warning | channels of the first or the last axis that are all zero, in a tensor that is not |
/// | `constant_channels` | note | channels of the first or the last axis, of several elements, that have one value other than 0 |
/// | `scale_overflow` | error | blocks: a scale is larger than its type holds |
/// | `scale_underflow` | error, or warning | a scale vanishes in its type; or blocks whose scale is the smallest number of its type and at least 1.5 times what the values ask for |
/// | `cannot_quantize` | error | any other error, with its message |
/// | `scale_saturated` | warning | blocks whose stored scale, which is no power of two, is less than 2/3 of what the values ask for |
/// | `scale_epsilon` | warning | blocks whose scale is at least 1.5 times what the values ask for, as the convention has a smallest one (PyTorch 2⁻²³) or says 1; blocks of zeros are not counted |
/// | `scale_subnormal` | note | blocks whose scale is a subnormal number of the type it is stored in and more than 1% off |
/// | `zero_point_saturated` | warning | blocks with a zero point at one end of the codes and a value more than half a step beyond it |
/// | `zero_point_outside` | warning | blocks (the original's convention) in which no code means 0 |
/// | `all_zero` | error | elements, where all become 0 and not all are |
/// | `values_vanish` | warning | elements other than 0 that become 0, where they are more than half of these |
/// | `unused_codes` | warning | codes that do not occur, where they are more than half and there are 16 elements or more for each code |
/// | `clipped_by_scale` | note, above 1% warning | elements that min-max calibration, or a cast, clips all the same |
/// | `outlier_owns_range` | warning, up to 1% of several blocks note | blocks of 16 elements or more whose largest magnitude is at least twice the next, under min-max calibration |
/// | `ties` | note | elements of integer schemes halfway between two codes, on which runtimes differ |
/// | `costs_more` | warning | bits an element above those of the tensor's type, in whole bits |
///
/// A quantizer that is no scheme is looked at as far as its report row and its values say something.
///
/// ```
/// # use quantlens::{Convention, Scheme, Tensor, lint};
/// let x = Tensor::from_vec("x", vec![1e-7, -2e-7, 0.5e-7, 2.5e-7])?;
/// let table = lint(&x, &[Scheme::asymmetric(8).with_convention(Convention::PyTorch)])?;
/// assert_eq!(table.column("lint")?.str()?.get(0), Some("scale_epsilon"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`Error::Nothing`] without tensors; what reading says; [`Error::Interrupted`]. What a scheme cannot do is a finding.
pub fn lint<Q: Quantizer>(source: &(impl Source + ?Sized), quantizers: &[Q]) -> Result<DataFrame> {
    lint_of(&source, &any(quantizers))
}

struct Finding {
    tensor: String,
    scheme: Option<String>,
    lint: Lint,
    severity: Severity,
    count: u64,
    of: u64,
    place: String,
}

/// The findings about one tensor and, where there is one, one scheme.
struct Findings<'a> {
    tensor: &'a str,
    scheme: Option<String>,
    all: &'a mut Vec<Finding>,
}

impl Findings<'_> {
    fn add(&mut self, lint: Lint, severity: Severity, count: u64, of: u64, place: String) {
        let (tensor, scheme) = (self.tensor.to_owned(), self.scheme.clone());
        self.all.push(Finding { tensor, scheme, lint, severity, count, of, place });
    }

    /// Nothing, if there are none.
    fn add_listed(&mut self, lint: Lint, severity: Severity, what: &str, numbers: &[usize], of: usize) {
        if !numbers.is_empty() {
            self.add(lint, severity, numbers.len() as u64, of as u64, listed(what, numbers));
        }
    }
}

/// `blocks 0, 3, 5 and 12 more`.
fn listed(what: &str, numbers: &[usize]) -> String {
    const SHOWN: usize = 5;
    let shown = numbers.iter().take(SHOWN).map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let plural = if numbers.len() == 1 { "" } else { "s" };
    match numbers.len().checked_sub(SHOWN) {
        Some(more) if more > 0 => format!("{what}s {shown} and {more} more"),
        _ => format!("{what}{plural} {shown}"),
    }
}

fn lint_of(source: &dyn Source, quantizers: &[&dyn Quantizer]) -> Result<DataFrame> {
    let infos = source.infos();
    if infos.is_empty() {
        return Err(Error::Nothing { what: "lint", reason: "it needs a tensor, and has none".to_owned() });
    }
    let mut work = Work::new("lint", infos.len() * (quantizers.len() + 1));
    let mut rows: Vec<Finding> = Vec::new();
    for (index, info) in infos.iter().enumerate() {
        let mut findings = Findings { tensor: &info.name, scheme: None, all: &mut rows };
        let tensor = one_step(&mut work, || {
            if !is_usable(source, index, info, &mut findings)? {
                return Ok(None);
            }
            let tensor = source.tensor_at(index)?;
            lint_values(&tensor, &mut findings)?;
            Ok(Some(tensor))
        })?;
        for quantizer in quantizers {
            let mut findings = Findings { tensor: &info.name, scheme: Some(quantizer.name()), all: &mut rows };
            one_step(&mut work, || match &tensor {
                Some(tensor) => lint_pair(tensor, quantizer, &mut findings),
                None => Ok(()),
            })?;
        }
    }
    let columns = columns!(rows,
        "tensor": |row| row.tensor.as_str(),
        "scheme": |row| row.scheme.as_deref(),
        "lint": |row| row.lint.name(),
        "severity": |row| row.severity.to_string(),
        "count": |row| row.count,
        "of": |row| row.of,
        "where": |row| row.place.as_str(),
        "what_to_do": |row| row.lint.advice(),
    );
    Ok(DataFrame::new(rows.len(), columns)?)
}

/// Elements that are read at a time.
const TILE: usize = 1 << 20;

/// Whether there are values, all finite.
fn is_usable(source: &dyn Source, index: usize, info: &TensorInfo, findings: &mut Findings) -> Result<bool> {
    let elements = info.elements();
    if elements == 0 {
        findings.add(Lint::Empty, Severity::Error, 0, 0, format!("shape {:?}", info.shape));
        return Ok(false);
    }
    let (mut buffer, mut count, mut first) = (TileBuffer::default(), 0, None);
    for start in (0..elements).step_by(TILE) {
        let mut look = |at: usize, value: f64| {
            if !value.is_finite() {
                count += 1;
                first = first.or(Some((start + at, value)));
            }
        };
        match source.read(index, start..(start + TILE).min(elements), &mut buffer)? {
            Slice::F32(values) => values.iter().enumerate().for_each(|(at, &value)| look(at, value.into())),
            Slice::F64(values) => values.iter().enumerate().for_each(|(at, &value)| look(at, value)),
        }
    }
    if let Some((at, value)) = first {
        findings.add(Lint::NotFinite, Severity::Error, count, elements as u64, format!("{value} at index {at}"));
    }
    Ok(first.is_none())
}

fn lint_values(tensor: &Tensor, findings: &mut Findings) -> Result<()> {
    let (elements, shape) = (tensor.len(), tensor.shape());
    if tensor.min() == tensor.max() && elements > 1 {
        findings.add(Lint::Constant, Severity::Warning, elements as u64, elements as u64, format!("all are {}", tensor.min()));
        return Ok(());
    }
    let x = tensor.to_f64_vec();
    let mut axes = vec![0, shape.len().saturating_sub(1)];
    axes.dedup();
    // Of one axis the channels are the elements.
    for axis in axes.into_iter().filter(|_| shape.len() > 1) {
        let layout = Layout::new(Granularity::PerAxis(axis), shape)?;
        let (mut dead, mut constant) = (Vec::new(), Vec::new());
        for channel in 0..layout.blocks() {
            let mut values = layout.runs_of(channel).flatten().map(|i| x[i]);
            let first = values.next().unwrap_or(0.0);
            let mut others = 0_u64;
            let is_one = values.all(|value| {
                others += 1;
                value == first
            });
            match (is_one, first == 0.0) {
                (true, true) => dead.push(channel),
                (true, false) if others > 0 => constant.push(channel),
                _ => {}
            }
        }
        let what = format!("axis {axis}, channel");
        findings.add_listed(Lint::DeadChannels, Severity::Warning, &what, &dead, layout.blocks());
        findings.add_listed(Lint::ConstantChannels, Severity::Note, &what, &constant, layout.blocks());
    }
    Ok(())
}

fn lint_pair(tensor: &Tensor, quantizer: &dyn Quantizer, findings: &mut Findings) -> Result<()> {
    let row = match quantizer.report_row(tensor) {
        Ok(row) => row,
        Err(error @ Error::Interrupted { .. }) => return Err(error),
        Err(error) => {
            let lint = match error.cause() {
                Error::ScaleOverflow { .. } => Lint::ScaleOverflow,
                Error::ScaleUnderflow { .. } => Lint::ScaleUnderflow,
                _ => Lint::CannotQuantize,
            };
            findings.add(lint, Severity::Error, 1, 1, error.without_names());
            return Ok(());
        }
    };
    let (x, y) = (tensor.to_f64_vec(), quantizer.fake_quantize(tensor)?.to_f64_vec());
    if let Some(scheme) = quantizer.as_scheme() {
        let (qparams, ideals) = scheme.qparams_and_ideals(tensor)?;
        lint_parameters(tensor, &x, &qparams, &ideals, findings)?;
        if matches!(scheme.format(), Format::Int { .. }) {
            lint_ties(tensor, &qparams, findings)?;
        }
        let codes = match scheme.format() {
            // The original's lower bound is below what its bits hold.
            Format::Int { .. } => (scheme.quant_max() - scheme.quant_min().max(scheme.format().code_range().0)) as u64 + 1,
            format => format.grid().len() as u64,
        };
        let used = row.levels_used.unwrap_or(codes).min(codes);
        if 2 * used < codes && tensor.len() as u64 >= 16 * codes {
            findings.add(Lint::UnusedCodes, Severity::Warning, codes - used, codes, format!("{used} of {codes} occur"));
        }
        let clipped = (row.clipped_fraction.unwrap_or(0.0) * x.len() as f64).round() as u64;
        if clipped > 0 && scheme.calibration() == Calibration::MinMax {
            let severity = if 100 * clipped > x.len() as u64 { Severity::Warning } else { Severity::Note };
            findings.add(Lint::ClippedByScale, severity, clipped, x.len() as u64, String::new());
        }
    }
    let nonzero = x.iter().filter(|x| **x != 0.0).count();
    let vanished: Vec<usize> = (0..x.len()).filter(|&i| x[i] != 0.0 && y.get(i) == Some(&0.0)).collect();
    if nonzero > 0 && vanished.len() == nonzero {
        findings.add(Lint::AllZero, Severity::Error, nonzero as u64, nonzero as u64, listed("index", &vanished[..1]));
    } else if 2 * vanished.len() > nonzero {
        let place = format!("first {} at index {}", x[vanished[0]], vanished[0]);
        findings.add(Lint::ValuesVanish, Severity::Warning, vanished.len() as u64, nonzero as u64, place);
    }
    let (bits, own) = (row.bits_per_element, f64::from(tensor.dtype().bits()));
    if bits > own {
        let place = format!("{bits:.2} bits an element, not {own}");
        findings.add(Lint::CostsMore, Severity::Warning, bits.ceil() as u64, own as u64, place);
    }
    Ok(())
}

/// As many times what the values ask for is too much.
const FAR: f64 = 1.5;

fn lint_parameters(tensor: &Tensor, x: &[f64], qparams: &QParams, ideals: &[Ideal], findings: &mut Findings) -> Result<()> {
    let (scheme, layout) = (qparams.scheme(), qparams.layout(tensor.shape())?);
    if scheme.mapping() == Mapping::Cast {
        return Ok(());
    }
    let format = scheme.scale_format();
    let (mut underflow, mut saturated, mut epsilon, mut subnormal) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut zero_point_saturated, mut zero_point_outside, mut owned) = (Vec::new(), Vec::new(), Vec::new());
    let (quant_min, quant_max) = (i64::from(scheme.quant_min()), i64::from(scheme.quant_max()));
    for (block, ideal) in ideals.iter().enumerate() {
        let (scale, zero_point) = (qparams.scales()[block], qparams.zero_points()[block]);
        if ideal.scale > 0.0 {
            let is_smallest = smallest(format).is_some_and(|smallest| scale <= smallest * power_of_two_fraction(scheme));
            // Relative to one for the tensor, a scale is as small as it can be where it is too large.
            if scale >= FAR * ideal.scale && (is_smallest || scheme.second_level().is_some()) {
                underflow.push(block);
            } else if scale >= FAR * ideal.scale && !format.is_power_of_two() {
                epsilon.push(block);
            } else if scale * FAR <= ideal.scale && !format.is_power_of_two() {
                saturated.push(block);
            } else if let (ScaleFormat::Float(float), None) = (format, scheme.second_level())
                && !format.is_power_of_two()
                && scale < float.smallest_normal()
                && (scale / ideal.scale - 1.0).abs() > 0.01
            {
                subnormal.push(block);
            }
        }
        if scheme.mapping() == Mapping::Asymmetric {
            let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
            for x in layout.runs_of(block).flatten().map(|i| x[i]) {
                (low, high) = (low.min(x), high.max(x));
            }
            let reach = scale / 2.0;
            if scheme.convention() == Convention::Original {
                if !(quant_min..=quant_max).contains(&zero_point) {
                    zero_point_outside.push(block);
                }
            } else if (zero_point == quant_max && high > reach) || (zero_point == quant_min && low < -reach) {
                zero_point_saturated.push(block);
            }
        }
        if scheme.calibration() == Calibration::MinMax && owns_range(layout.runs_of(block).flatten().map(|i| x[i].abs())) {
            owned.push(block);
        }
    }
    let blocks = ideals.len();
    findings.add_listed(Lint::ScaleUnderflow, Severity::Warning, "block", &underflow, blocks);
    findings.add_listed(Lint::ScaleSaturated, Severity::Warning, "block", &saturated, blocks);
    findings.add_listed(Lint::ScaleEpsilon, Severity::Warning, "block", &epsilon, blocks);
    findings.add_listed(Lint::ScaleSubnormal, Severity::Note, "block", &subnormal, blocks);
    findings.add_listed(Lint::ZeroPointSaturated, Severity::Warning, "block", &zero_point_saturated, blocks);
    findings.add_listed(Lint::ZeroPointOutside, Severity::Warning, "block", &zero_point_outside, blocks);
    let severity = if blocks == 1 || 100 * owned.len() > blocks { Severity::Warning } else { Severity::Note };
    findings.add_listed(Lint::OutlierOwnsRange, severity, "block", &owned, blocks);
    Ok(())
}

/// The smallest number of the type that scales are stored in, if it is less than the data's.
fn smallest(format: ScaleFormat) -> Option<f64> {
    match format {
        ScaleFormat::Float(Minifloat::E8M0) | ScaleFormat::PowerOfTwo => Some(crate::binary::power_of_two(format.exponents().0)),
        ScaleFormat::Float(float) => Some(float.smallest()),
        ScaleFormat::Data | ScaleFormat::F32 => None,
    }
}

/// What one of the stored powers of two is in steps between codes.
fn power_of_two_fraction(scheme: Scheme) -> f64 {
    crate::binary::power_of_two(-scheme.fraction_bits())
}

/// A block has one magnitude that is at least twice the next.
fn owns_range(magnitudes: impl Iterator<Item = f64>) -> bool {
    const FEWEST: usize = 16;
    let (mut largest, mut second, mut count) = (0.0, 0.0, 0);
    for magnitude in magnitudes {
        count += 1;
        if magnitude > largest {
            (largest, second) = (magnitude, largest);
        } else if magnitude > second {
            second = magnitude;
        }
    }
    count >= FEWEST && second > 0.0 && largest >= 2.0 * second
}

fn lint_ties(tensor: &Tensor, qparams: &QParams, findings: &mut Findings) -> Result<()> {
    let codes = |rounding: Rounding| {
        let scheme = qparams.scheme().with_rounding(rounding);
        Ok::<_, Error>(quantize_with(tensor, &qparams.under(scheme))?.codes().to_vec())
    };
    let (even, away) = (codes(Rounding::HalfToEven)?, codes(Rounding::HalfAwayFromZero)?);
    let ties: Vec<usize> = (0..even.len()).filter(|&i| even[i] != away[i]).collect();
    findings.add_listed(Lint::Ties, Severity::Note, "element", &ties, even.len());
    Ok(())
}
