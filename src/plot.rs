//! The charts: each states in its title what it found.

mod explain;
mod values;

use std::collections::BTreeSet;

use polars::prelude::DataFrame;

use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::figure::{Figure, Ink, Marker, Style};
use crate::format::Format;
use crate::granularity::Granularity;
use crate::metrics::Metrics;
use crate::quantize::fake_quantize_with;
use crate::report::{code_values, report_rows};
use crate::scheme::Scheme;
use crate::tensor::Tensor;

pub use explain::{allocation, frontier, intervals, ledger, lorenz, sensitivity};
pub use values::{heatmap, occupancy};

/// More elements than this are not drawn one by one but evenly sampled; the subtitle then says so.
pub const MAX_ELEMENTS: usize = 1000;

/// Every element and what each scheme makes of it, against its index.
///
/// # Errors
/// As [`Scheme::fake_quantize`]; [`Error::Nothing`] without schemes.
pub fn original_and_dequantized(tensor: &Tensor, schemes: &[Scheme]) -> Result<Figure> {
    let series = dequantized(tensor, schemes, "original_and_dequantized")?;
    let title = title_of(&series);
    let (sample, note) = sampled(tensor);
    let original = tensor.to_f64_vec();
    let mut figure = Figure::new(title)
        .subtitle(format!("{} values of `{}`, original and dequantized{note}", tensor.len(), tensor.name()))
        .axes("element (index)", "value (units of the data)");
    for (index, (scheme, approximation, _)) in series.iter().enumerate() {
        let style = Style::Points(Marker::of_series(index));
        let points = sample.clone().map(|i| (i as f64, approximation[i]));
        figure = figure.series(scheme.to_string(), Ink::of_series(index), style, points);
    }
    // Last, so that its small discs lie on the markers around them.
    Ok(figure.series("original", Ink::Black, Style::Points(Marker::Disc), sample.map(|i| (i as f64, original[i]))))
}

/// The error of each element, original less dequantized, under each scheme; broken lines mark half a step, ±scale/2, which only a
/// clipped element passes, for integers with one scale.
///
/// # Errors
/// As [`Scheme::fake_quantize`]; [`Error::Nothing`] without schemes.
pub fn errors(tensor: &Tensor, schemes: &[Scheme]) -> Result<Figure> {
    let series = dequantized(tensor, schemes, "errors")?;
    let worst: Vec<String> =
        series.iter().map(|(scheme, _, metrics)| format!("{scheme} errs by {} at most", short(metrics.max_abs_error))).collect();
    let (sample, note) = sampled(tensor);
    let original = tensor.to_f64_vec();
    // The steps of other formats are not all the same.
    let has_one_step =
        |scheme: &Scheme| matches!(scheme.format(), Format::Int { .. }) && scheme.granularity() == Granularity::PerTensor;
    let lines = if schemes.iter().any(has_one_step) { "; broken lines: half a step, ±scale/2" } else { "" };
    let mut figure = Figure::new(worst.join(", "))
        .subtitle(format!("error of {} values of `{}`{lines}{note}", tensor.len(), tensor.name()))
        .axes("element (index)", "original - dequantized (units of the data)");
    let (first, last) = (-0.5, tensor.len() as f64 - 0.5);
    for (index, (scheme, approximation, _)) in series.iter().enumerate() {
        let ink = Ink::of_series(index);
        if let Some(scale) = scheme.qparams(tensor)?.scale().filter(|_| has_one_step(scheme)) {
            for half in [scale / 2.0, -scale / 2.0] {
                figure = figure.series("", ink, Style::Dashed, [(first, half), (last, half)]);
            }
        }
        // Beside each other, not over each other.
        let offset = 0.3 * ((index as f64 + 0.5) / series.len() as f64 - 0.5);
        let points = sample.clone().map(|i| (i as f64 + offset, original[i] - approximation[i]));
        figure = figure.series(scheme.to_string(), ink, Style::Stems(Marker::Disc), points);
    }
    Ok(figure)
}

/// The staircase x ↦ x̂ over the tensor's range and a quarter more to each side, with the grid of values a code can have.
/// For schemes with one scale, of any format; at 8 bits and more the steps are too fine to see.
///
/// # Errors
/// As [`Scheme::fake_quantize`]; [`Error::SeveralBlocks`]; [`Error::Nothing`] without schemes; [`Error::RangeOverflow`] if the range
/// and its margins are too wide for the tensor's type.
pub fn staircase(tensor: &Tensor, schemes: &[Scheme]) -> Result<Figure> {
    const STEPS: usize = 1600;
    let (min, max) = (tensor.min(), tensor.max());
    let width = max - min;
    let (low, high) = (min - width / 4.0, max + width / 4.0);
    let fits = match tensor.dtype() {
        Dtype::F32 => (low as f32).is_finite() && (high as f32).is_finite(),
        Dtype::F64 => (high - low).is_finite(),
    };
    if !fits {
        return Err(Error::RangeOverflow { min, max, dtype: tensor.dtype() });
    }
    let inputs: Vec<f64> = (0..=STEPS).map(|i| low + (high - low) * i as f64 / STEPS as f64).collect();
    let mut grids = Vec::new();
    for scheme in schemes {
        let qparams = scheme.qparams(tensor)?;
        let (_, grid) = code_values(&qparams)?;
        let axis = match tensor.dtype() {
            Dtype::F32 => Tensor::from_vec("x", inputs.iter().map(|&x| x as f32).collect())?,
            Dtype::F64 => Tensor::from_slice("x", &inputs)?,
        };
        grids.push((scheme, grid, fake_quantize_with(&axis, &qparams)?.to_f64_vec()));
    }
    let summary: Vec<String> = grids.iter().map(|(scheme, grid, ..)| format!("{scheme}: {}", values_and_gaps(grid))).collect();
    if summary.is_empty() {
        return Err(needs_scheme("staircase"));
    }
    let mut figure = Figure::new(summary.join("; "))
        .subtitle(format!(
            "x to x dequantized, calibrated on `{}` ({} to {}); fine lines: the grid",
            tensor.name(),
            short(min),
            short(max)
        ))
        .axes("x (units of the data)", "x dequantized (units of the data)");
    for (index, (_, grid, _)) in grids.iter().enumerate() {
        // Lines closer than a few pixels would be a grey area.
        if grid.len() <= 64 {
            figure = figure.series("", Ink::of_series(index), Style::Levels, grid.iter().map(|&y| (min, y)));
        }
    }
    figure = figure.series("lossless", Ink::Gray, Style::Dashed, [(low, low), (high, high)]);
    for (index, (scheme, _, outputs)) in grids.iter().enumerate() {
        figure = figure.series(scheme.to_string(), Ink::of_series(index), Style::Line, steps(&inputs, outputs));
    }
    Ok(figure)
}

/// How many different values a grid has, and how far apart they are.
fn values_and_gaps(grid: &[f64]) -> String {
    let gaps: Vec<f64> = grid.windows(2).map(|pair| pair[1] - pair[0]).filter(|&gap| gap > 0.0).collect();
    let narrowest = short(gaps.iter().copied().fold(f64::INFINITY, f64::min));
    let widest = short(gaps.iter().copied().fold(0.0, f64::max));
    let gaps_text = if narrowest == widest { widest } else { format!("{narrowest} to {widest}") };
    format!("{} values, {gaps_text} apart", gaps.len() + 1)
}

/// SQNR against bits, one line per scheme, and the law that a bit buys 6.02 dB (20·log₁₀ 2), drawn through the widest point of the
/// first scheme that loses something at two widths. Widths may come in any order; a lossless point, ∞ dB, is left out.
///
/// # Errors
/// As [`crate::sweep`].
pub fn error_against_bits(tensor: &Tensor, schemes: &[Scheme], bits: impl IntoIterator<Item = u32>) -> Result<Figure> {
    error_against_widths(tensor, schemes, &bits.into_iter().collect::<Vec<_>>())
}

/// Not generic, so that a notebook cell that draws it has none of it to compile.
fn error_against_widths(tensor: &Tensor, schemes: &[Scheme], bits: &[u32]) -> Result<Figure> {
    let bits: BTreeSet<u32> = bits.iter().copied().collect();
    let mut lines = Vec::new();
    if let Some(scheme) = schemes.iter().find(|scheme| !matches!(scheme.format(), Format::Int { .. })) {
        let reason = "its format has one width: draw integers of several";
        return Err(Error::Unsupported { scheme: scheme.to_string(), reason });
    }
    for scheme in schemes {
        let widths: Vec<Scheme> = bits.iter().map(|&bits| scheme.with_bits(bits)).collect();
        let rows = report_rows(std::slice::from_ref(tensor), &widths)?;
        if let Some((row, error)) = rows.iter().find_map(|row| Some((row, row.error.as_ref()?))) {
            let reason = format!("there is no point for `{}`: {error}", row.scheme);
            return Err(Error::Nothing { what: "error_against_bits", reason });
        }
        let sqnr_db = rows.iter().map(|row| row.metrics.sqnr_db);
        let points = widths.iter().map(|width| f64::from(width.bits())).zip(sqnr_db);
        lines.push((family_name(*scheme), points.filter(|point| point.1.is_finite()).collect::<Vec<(f64, f64)>>()));
    }
    let ends = |points: &[(f64, f64)]| Some((*points.first()?, *points.last()?)).filter(|(a, b)| a.0 < b.0);
    let Some((name, (first, last))) = lines.iter().find_map(|(name, points)| Some((name, ends(points)?))) else {
        let reason = "it needs a scheme and two widths at which something is lost".to_owned();
        return Err(Error::Nothing { what: "error_against_bits", reason });
    };
    let db_per_bit = (last.1 - first.1) / (last.0 - first.0);
    let law = 20.0 * 2.0_f64.log10();
    let mut figure = Figure::new(format!("Each bit buys {db_per_bit:.2} dB under {name}; the law says {law:.2}"))
        .subtitle(format!(
            "SQNR of {} values of `{}` at {} to {} bits; higher is better",
            tensor.len(),
            tensor.name(),
            first.0,
            last.0
        ))
        .axes("width of a code (bits)", "SQNR (dB)")
        .series(format!("{law:.2} dB per bit"), Ink::Gray, Style::Dashed, [(first.0, last.1 - law * (last.0 - first.0)), last]);
    for (index, (name, points)) in lines.iter().enumerate() {
        let ink = Ink::of_series(index);
        figure = figure.series("", ink, Style::Line, points.iter().copied());
        figure = figure.series(name.as_str(), ink, Style::Points(Marker::of_series(index)), points.iter().copied());
    }
    Ok(figure)
}

/// SQNR against bits an element for the rows of a [`crate::report`], of any quantizers. The line joins those that nothing of
/// the same cost or cheaper surpasses. Points are named where there is room, these first. A lossless row, ∞ dB, is left out. Several tensors are drawn together: filter
/// the report if one is meant.
///
/// ```
/// # use quantlens::{Scheme, Synthetic, plot, report};
/// let weights = Synthetic::normal(0.0, 0.02).seed(1).tensor::<f32>("weights", &[64, 128])?;
/// let schemes = [Scheme::symmetric(8), Scheme::symmetric(4), Scheme::symmetric(4).per_group(32), Scheme::mxfp4()];
/// let figure = plot::error_against_cost(&report(&[weights], &schemes)?)?;
/// assert_eq!(figure.title(), "4 of 4 rows are the best for their bits");
/// # Ok::<(), quantlens::Error>(())
/// ```
///
/// # Errors
/// [`Error::Polars`] without the columns `scheme`, `bits_per_element` and `sqnr_db`; [`Error::Nothing`] without a finite row.
pub fn error_against_cost(report: &DataFrame) -> Result<Figure> {
    let (names, bits, sqnr_db) =
        (report.column("scheme")?.str()?, report.column("bits_per_element")?.f64()?, report.column("sqnr_db")?.f64()?);
    let rows = names.iter().zip(bits.iter()).zip(sqnr_db.iter());
    let rows = rows.filter_map(|((name, bits), sqnr_db)| Some((name?, bits?, sqnr_db?)));
    let mut rows: Vec<(&str, f64, f64)> = rows.filter(|row| row.1.is_finite() && row.2.is_finite()).collect();
    // Of equal cost the best first, so that the others are surpassed.
    rows.sort_by(|a, b| a.1.total_cmp(&b.1).then(b.2.total_cmp(&a.2)));
    let (mut best, mut others) = (Vec::<(&str, f64, f64)>::new(), Vec::new());
    for row in rows {
        if best.last().is_none_or(|last| row.2 > last.2) { best.push(row) } else { others.push(row) }
    }
    if best.is_empty() {
        let reason = "it needs a row that costs and loses something finite".to_owned();
        return Err(Error::Nothing { what: "error_against_cost", reason });
    }
    let at = |row: &(&str, f64, f64)| (row.1, row.2);
    let figure = Figure::new(format!("{} of {} rows are the best for their bits", best.len(), best.len() + others.len()))
        .subtitle("SQNR against all bits stored, scales included; higher and further left is better")
        .axes("bits an element", "SQNR (dB)")
        .series("", Ink::Blue, Style::Line, best.iter().map(at))
        .series("surpassed at the same cost or less", Ink::Gray, Style::Points(Marker::Disc), others.iter().map(at))
        .series("best for its bits", Ink::Blue, Style::Points(Marker::Circle), best.iter().map(at));
    Ok(best.iter().chain(&others).fold(figure, |figure, row| figure.label(at(row), row.0)))
}

/// A scheme's name without its width: `uint8-asym-g32` is `uint-asym-g32`.
fn family_name(scheme: Scheme) -> String {
    scheme.to_string().replacen(&scheme.bits().to_string(), "", 1)
}

type Dequantized = (Scheme, Vec<f64>, Metrics);

fn dequantized(tensor: &Tensor, schemes: &[Scheme], what: &'static str) -> Result<Vec<Dequantized>> {
    if schemes.is_empty() {
        return Err(needs_scheme(what));
    }
    let dequantize = |scheme: &Scheme| {
        let approximation = scheme.fake_quantize(tensor)?;
        Ok((*scheme, approximation.to_f64_vec(), Metrics::between(tensor, &approximation)?))
    };
    schemes.iter().map(dequantize).collect()
}

/// Which of the schemes stays closest, if one does.
fn title_of(series: &[Dequantized]) -> String {
    let key = |(_, _, metrics): &Dequantized| (metrics.mse, metrics.max_abs_error);
    let order = |a: &&Dequantized, b: &&Dequantized| {
        let ((mse_a, max_a), (mse_b, max_b)) = (key(a), key(b));
        mse_a.total_cmp(&mse_b).then(max_a.total_cmp(&max_b))
    };
    let Some(best) = series.iter().min_by(order) else { return String::new() };
    let (scheme, _, metrics) = best;
    let off = format!("{} off at most", short(metrics.max_abs_error));
    match series.iter().filter(|other| key(other) == key(best)).count() {
        _ if series.len() == 1 => format!("{scheme} misses by {} at most", short(metrics.max_abs_error)),
        1 => format!("{scheme} stays closest: {off}, rmse {}", short(metrics.rmse)),
        equal if equal == series.len() => format!("All are equally close: {off}"),
        equal => format!("{equal} schemes stay equally close: {off}"),
    }
}

fn needs_scheme(what: &'static str) -> Error {
    Error::Nothing { what, reason: "it needs at least one scheme".to_owned() }
}

/// Which elements are drawn, and what to say of it.
fn sampled(tensor: &Tensor) -> (std::iter::StepBy<std::ops::Range<usize>>, String) {
    let every = tensor.len().div_ceil(MAX_ELEMENTS);
    let note = if every > 1 { format!("; one in {every} drawn") } else { String::new() };
    ((0..tensor.len()).step_by(every), note)
}

/// The corners of a staircase through these points: across, then up.
fn steps(x: &[f64], y: &[f64]) -> Vec<(f64, f64)> {
    let mut corners = Vec::new();
    for (index, (&x_here, &y_here)) in x.iter().zip(y).enumerate() {
        let is_end = index == 0 || index + 1 == x.len();
        if let Some(&(_, y_before)) = corners.last()
            && y_before != y_here
        {
            corners.push((x_here, y_before));
            corners.push((x_here, y_here));
        } else if is_end {
            corners.push((x_here, y_here));
        }
    }
    corners
}

/// Three significant digits.
fn short(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude == 0.0 {
        "0".to_owned()
    } else if (1e-3..1e5).contains(&magnitude) {
        let decimals = (2 - magnitude.log10().floor() as i32).max(0) as usize;
        format!("{value:.decimals$}")
    } else {
        format!("{value:.2e}")
    }
}
