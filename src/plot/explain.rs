//! The figures of the tables that explain a report: each takes the table.

use std::collections::BTreeMap;

use polars::prelude::DataFrame;

use crate::error::{Error, Result};
use crate::figure::{Figure, Ink, Marker, Style};
use crate::report::{numbers, texts};

/// A column of texts, null as an empty one.
fn names(table: &DataFrame, column: &str) -> Result<Vec<String>> {
    Ok(texts(table, column)?.into_iter().map(Option::unwrap_or_default).collect())
}

/// A column of numbers, null as NaN.
fn values(table: &DataFrame, column: &str) -> Result<Vec<f64>> {
    Ok(numbers(table, column)?.into_iter().map(|value| value.unwrap_or(f64::NAN)).collect())
}

/// A row's name: its scheme, and its tensor where there are several.
fn row_names(table: &DataFrame) -> Result<Vec<String>> {
    let (tensors, schemes) = (names(table, "tensor")?, names(table, "scheme")?);
    let is_one = tensors.windows(2).all(|pair| pair[0] == pair[1]);
    Ok(tensors
        .into_iter()
        .zip(schemes)
        .map(|(tensor, scheme)| if is_one { scheme } else { format!("{tensor}, {scheme}") })
        .collect())
}

/// What a subtitle says of whose rows these are.
fn of_tensors(table: &DataFrame) -> Result<String> {
    let mut tensors = names(table, "tensor")?;
    tensors.sort();
    tensors.dedup();
    Ok(match tensors.as_slice() {
        [tensor] => format!("of `{tensor}`"),
        tensors => format!("of {} tensors", tensors.len()),
    })
}

fn nothing(what: &'static str, reason: &str) -> Error {
    Error::Nothing { what, reason: reason.to_owned() }
}

/// A [`crate::frontier`]: SQNR against bits an element, a mark a scheme; the line joins those on the front. Triangles say where each would be with the best
/// scales of its codes, broken lines what nobody can exceed on Gaussian or Laplacian numbers of the same variance. Points are named where there
/// is room, those on the front first.
///
/// ```
/// # use quantlens::{Scheme, Synthetic, frontier, plot};
/// let weights = Synthetic::normal(0.0, 0.02).seed(1).tensor::<f32>("weights", &[64, 128])?;
/// let schemes = [Scheme::symmetric(8), Scheme::symmetric(4), Scheme::symmetric(4).per_group(32), Scheme::mxfp4()];
/// let figure = plot::frontier(&frontier(&weights, &schemes)?)?;
/// assert!(figure.title().contains("is the nearest to the Gaussian bound"));
/// # Ok::<(), quantlens::Error>(())
/// ```
///
/// # Errors
/// [`Error::NoColumn`] if it is no such table; [`Error::Nothing`] for several tensors (filter the table), and without a row that loses something.
pub fn frontier(table: &DataFrame) -> Result<Figure> {
    let tensors = names(table, "tensor")?;
    if tensors.windows(2).any(|pair| pair[0] != pair[1]) {
        return Err(nothing("frontier figure", "it needs the rows of one tensor: filter the table"));
    }
    let (schemes, bits, sqnr_db) = (names(table, "scheme")?, values(table, "bits_per_element")?, values(table, "sqnr_db")?);
    let (is_pareto, regret_db, bound_db) =
        (values(table, "is_pareto")?, values(table, "regret_db")?, values(table, "gaussian_bound_db")?);
    let laplacian_db = values(table, "laplacian_bound_db")?;
    let mut rows: Vec<usize> = (0..schemes.len()).filter(|&row| sqnr_db[row].is_finite()).collect();
    rows.sort_by(|&a, &b| bits[a].total_cmp(&bits[b]).then(sqnr_db[b].total_cmp(&sqnr_db[a])));
    let gap = |row: &usize| bound_db[*row] - sqnr_db[*row];
    let Some(nearest) = rows.iter().copied().min_by(|a, b| gap(a).total_cmp(&gap(b))) else {
        return Err(nothing("frontier figure", "it needs a row that loses something"));
    };
    let (front, others): (Vec<usize>, Vec<usize>) = rows.iter().partition(|row| is_pareto[**row] == 1.0);
    let at = |row: &usize| (bits[*row], sqnr_db[*row]);
    // Both bounds are straight lines: their ends.
    let ends =
        |bound: &[f64]| [rows.first(), rows.last()].map(|row| row.map_or((f64::NAN, f64::NAN), |row| (bits[*row], bound[*row])));
    let floors = rows.iter().filter(|row| regret_db[**row] > 0.0).map(|row| (bits[*row], sqnr_db[*row] + regret_db[*row]));
    let title = format!(
        "{} of {} schemes are on the front; {} is the nearest to the Gaussian bound, {:.1} dB below",
        front.len(),
        rows.len(),
        schemes[nearest],
        gap(&nearest)
    );
    let figure = Figure::new(title)
        .subtitle(format!(
            "SQNR of `{}` against all bits stored, scales included; higher and further left is better",
            tensors[nearest]
        ))
        .axes("bits an element", "SQNR (dB)")
        .series("Gaussian bound", Ink::Gray, Style::Dashed, ends(&bound_db))
        .series("Laplacian bound (Shannon's)", Ink::Orange, Style::Dashed, ends(&laplacian_db))
        .series("", Ink::Blue, Style::Line, front.iter().map(at))
        .series("best scales for its codes", Ink::Green, Style::Points(Marker::Triangle), floors)
        .series("another is better", Ink::Black, Style::Points(Marker::Disc), others.iter().map(at))
        .series("on the front", Ink::Blue, Style::Points(Marker::Circle), front.iter().map(at));
    Ok(front.iter().chain(&others).fold(figure, |figure, row| figure.label(at(row), schemes[*row].as_str())))
}

/// The parts of a ledger, how they are called and drawn.
const PARTS: [(&str, &str, Ink); 7] = [
    ("rounding", "rounding", Ink::Blue),
    ("clipping", "clipping", Ink::Vermillion),
    ("widening_to_zero", "a range with 0", Ink::Green),
    ("zero_point", "a whole zero point", Ink::Purple),
    ("symmetry", "symmetry", Ink::Orange),
    ("scale_storage", "the stored scale", Ink::SkyBlue),
    ("arithmetic", "arithmetic", Ink::Black),
];

/// A [`crate::ledger`] as stacked bars, one a row: the parts in percent of the row's squared error. At the end stands the SQNR. A
/// quantizer that is no scheme has a grey bar, for its parts are not known; a row without error has none.
///
/// ```
/// # use quantlens::{Scheme, Synthetic, ledger, plot};
/// let weights = Synthetic::normal(0.0, 0.02).seed(1).tensor::<f32>("weights", &[64, 128])?;
/// let figure = plot::ledger(&ledger(&weights, &[Scheme::asymmetric(4).per_group(32), Scheme::mxfp4()])?)?;
/// assert!(figure.title().ends_with("% of the error of mxfp4 is due to the stored scale"));
/// # Ok::<(), quantlens::Error>(())
/// ```
///
/// # Errors
/// [`Error::NoColumn`] if it is no such table; [`Error::Nothing`] without a row that loses something.
pub fn ledger(table: &DataFrame) -> Result<Figure> {
    let (rows, total, sqnr_db) = (row_names(table)?, values(table, "squared_error")?, values(table, "sqnr_db")?);
    let parts = PARTS.iter().map(|(column, ..)| values(table, column)).collect::<Result<Vec<_>>>()?;
    let share = |part: usize, row: usize| 100.0 * parts[part][row] / total[row];
    let lossy: Vec<usize> = (0..rows.len()).filter(|&row| total[row] > 0.0 && total[row].is_finite()).collect();
    if lossy.is_empty() {
        return Err(nothing("ledger figure", "it needs a row that loses something"));
    }
    // What rounding does not explain is the finding.
    let pairs = || lossy.iter().flat_map(|&row| (1..PARTS.len()).map(move |part| (part, row)));
    let largest =
        pairs().filter(|&(part, row)| share(part, row).is_finite()).max_by(|a, b| share(a.0, a.1).total_cmp(&share(b.0, b.1)));
    let title = match largest {
        Some((part, row)) if share(part, row) >= 1.0 => {
            format!("{:.0}% of the error of {} is due to {}", share(part, row), rows[row], PARTS[part].1)
        }
        Some(_) => "Rounding is all of the error".to_owned(),
        None => "Of none of these are the parts known".to_owned(),
    };
    let mut figure = Figure::new(title)
        .subtitle(format!("squared error {} by cause, in percent of each row's own; at the end: SQNR", of_tensors(table)?))
        .axes("share of the squared error (%)", "")
        .rows(rows.iter().cloned());
    let (mut below, mut above) = (vec![0.0; rows.len()], vec![0.0; rows.len()]);
    for (part, (_, name, ink)) in PARTS.into_iter().enumerate() {
        let mut bars = Vec::new();
        for &row in &lossy {
            let share = share(part, row);
            if share.abs() >= 0.05 {
                let from = if share > 0.0 { &mut above[row] } else { &mut below[row] };
                let y = row as f64;
                bars.push([(*from, y - 0.36), (*from + share, y + 0.36)]);
                *from += share;
            }
        }
        if !bars.is_empty() {
            figure = figure.areas(name, ink, bars);
        }
    }
    let unknown: Vec<usize> = lossy.iter().copied().filter(|&row| parts[0][row].is_nan()).collect();
    if !unknown.is_empty() {
        unknown.iter().for_each(|&row| above[row] = 100.0);
        let bar = |&row: &usize| [(0.0, row as f64 - 0.36), (100.0, row as f64 + 0.36)];
        figure = figure.areas("not known", Ink::Gray, unknown.iter().map(bar));
    }
    let furthest = lossy.iter().map(|&row| above[row]).fold(100.0, f64::max);
    let nearest = lossy.iter().map(|&row| below[row]).fold(0.0, f64::min);
    // A line of one point is not seen, but makes room for the texts.
    figure = figure.series("", Ink::Gray, Style::Line, [(furthest + 0.13 * (furthest - nearest), 0.0)]);
    for row in lossy {
        figure = figure.label((above[row], row as f64), format!("{:.1} dB", sqnr_db[row]));
    }
    Ok(figure)
}

/// Lorenz curves ([`crate::lorenz`]), one a tensor and scheme: which share of the squared error do the worst units carry? On the diagonal all carry the same.
/// Where the units are elements, the curve of errors that are uniform within a step, 1 - (1 - p)³, is drawn, too.
///
/// # Errors
/// [`Error::NoColumn`] if it is no such table; [`Error::Nothing`] without a curve.
pub fn lorenz(table: &DataFrame) -> Result<Figure> {
    let (rows, units) = (row_names(table)?, names(table, "units")?);
    let (unit_share, error_share) = (values(table, "unit_share")?, values(table, "error_share")?);
    // In the order in which they stand there.
    let mut curves: Vec<(&str, Vec<(f64, f64)>)> = Vec::new();
    for row in (0..rows.len()).filter(|&row| error_share[row].is_finite()) {
        let point = (100.0 * unit_share[row], 100.0 * error_share[row]);
        match curves.last_mut() {
            Some((name, points)) if *name == rows[row] => points.push(point),
            _ => curves.push((&rows[row], vec![point])),
        }
    }
    let at_tenth =
        |points: &[(f64, f64)]| points.iter().min_by(|a, b| (a.0 - 10.0).abs().total_cmp(&(b.0 - 10.0).abs())).copied();
    let carried = |curve: &(&str, Vec<(f64, f64)>)| at_tenth(&curve.1).map_or(0.0, |point| point.1);
    let Some((worst, (of, share))) =
        curves.iter().max_by(|a, b| carried(a).total_cmp(&carried(b))).and_then(|curve| Some((curve.0, at_tenth(&curve.1)?)))
    else {
        return Err(nothing("Lorenz curves", "it needs a curve of something lost"));
    };
    let unit = match units.first().map(String::as_str) {
        Some("g1") => "elements".to_owned(),
        other => format!("units ({})", other.unwrap_or_default()),
    };
    let mut figure = Figure::new(format!("The worst {of:.0}% of the {unit} carry {share:.0}% of the error of {worst}"))
        .subtitle(format!("squared error {}, the worst {unit} first", of_tensors(table)?))
        .axes(format!("share of the {unit}, the worst first (%)"), "share of the squared error (%)")
        .series("all the same", Ink::Gray, Style::Dashed, [(0.0, 0.0), (100.0, 100.0)]);
    if unit == "elements" {
        let uniform = (0..=100).map(|p| (f64::from(p), 100.0 * (1.0 - (1.0 - f64::from(p) / 100.0).powi(3))));
        figure = figure.series("uniform errors", Ink::Black, Style::Dashed, uniform);
    }
    let count = curves.len();
    Ok(curves.into_iter().enumerate().fold(figure, |figure, (index, (name, points))| {
        // Markers of neighbouring curves stand at other places.
        let middle = points[points.len() * (index + 1) / (count + 1)];
        let ink = Ink::of_series(index);
        let figure = figure.series("", ink, Style::Line, points);
        figure.series(name, ink, Style::Points(Marker::of_series(index)), [middle])
    }))
}

/// How many tensors a ranking shows.
const MOST: usize = 40;

/// Which tensors lose most: the SQNR of each tensor of a [`crate::report()`] under each scheme, the worst first, by the mean over the schemes. Of more than 40 the
/// worst 40; lossless rows are left out.
///
/// # Errors
/// [`Error::NoColumn`] if it is no such table; [`Error::Nothing`] without a row that loses something.
pub fn sensitivity(report: &DataFrame) -> Result<Figure> {
    let (tensors, schemes, sqnr_db) = (names(report, "tensor")?, names(report, "scheme")?, values(report, "sqnr_db")?);
    let mut of_tensor: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let mut series: Vec<&str> = Vec::new();
    for row in (0..tensors.len()).filter(|&row| sqnr_db[row].is_finite()) {
        of_tensor.entry(&tensors[row]).or_default().push(sqnr_db[row]);
        if !series.contains(&schemes[row].as_str()) {
            series.push(&schemes[row]);
        }
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let mut ranking: Vec<(&str, f64)> = of_tensor.iter().map(|(tensor, values)| (*tensor, mean(values))).collect();
    ranking.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(b.0)));
    let all = ranking.len();
    let Some(((worst, lowest), median)) = ranking.first().copied().zip(ranking.get(all / 2).map(|tensor| tensor.1)) else {
        return Err(nothing("sensitivity figure", "it needs a row that loses something"));
    };
    ranking.truncate(MOST);
    let title = match all {
        1 => format!("{worst} keeps {lowest:.1} dB in the mean"),
        _ => format!("{worst} loses most: {lowest:.1} dB in the mean, {:.1} dB below the median tensor", median - lowest),
    };
    let shown = if all > MOST { format!("the worst {MOST} of {all} tensors") } else { format!("{all} tensors") };
    let place: BTreeMap<&str, usize> = ranking.iter().enumerate().map(|(place, (tensor, _))| (*tensor, place)).collect();
    let figure = Figure::new(title)
        .subtitle(format!("SQNR of {shown} under {} schemes, the worst first", series.len()))
        .axes("SQNR (dB)", "")
        .rows(ranking.iter().map(|(tensor, _)| *tensor));
    Ok(series.iter().enumerate().fold(figure, |figure, (index, scheme)| {
        let own = (0..tensors.len()).filter(|&row| schemes[row] == *scheme);
        let points = own.filter_map(|row| Some((sqnr_db[row], *place.get(tensors[row].as_str())? as f64)));
        figure.series(*scheme, Ink::of_series(index), Style::Points(Marker::of_series(index)), points)
    }))
}

/// Two allocations ([`crate::allocate`]) of the same tensors: the bits that each tensor had before and has after, and what that saves. Of more than 40 tensors those
/// 40 whose bits change most.
///
/// # Errors
/// [`Error::NoColumn`] if they are no such tables; [`Error::Nothing`] unless they are of the same tensors in the same order, of which one can be quantized.
pub fn allocation(before: &DataFrame, after: &DataFrame) -> Result<Figure> {
    let tensors = names(before, "tensor")?;
    if tensors != names(after, "tensor")? {
        return Err(nothing("allocation figure", "it needs two allocations of the same tensors"));
    }
    let bits = [values(before, "bits_per_element")?, values(after, "bits_per_element")?];
    let schemes = [names(before, "scheme")?, names(after, "scheme")?];
    // Not of tensors that cannot be quantized.
    let is_known = |tensor: &usize| bits[0][*tensor].is_finite() && bits[1][*tensor].is_finite();
    let known: Vec<usize> = (0..tensors.len()).filter(is_known).collect();
    if known.is_empty() {
        return Err(nothing("allocation figure", "it needs a tensor that can be quantized"));
    }
    let total = |table: &DataFrame, column: &str| {
        let values = values(table, column)?;
        Ok::<f64, Error>(known.iter().map(|&tensor| values[tensor]).sum())
    };
    let mean = |table: &DataFrame| Ok::<f64, Error>(total(table, "bits")? / total(table, "elements")?);
    let saved_db = 10.0 * (total(before, "cost")? / total(after, "cost")?).log10();
    let mut shown = known.clone();
    if shown.len() > MOST {
        let change = |tensor: &usize| (bits[1][*tensor] - bits[0][*tensor]).abs();
        shown.sort_by(|a, b| change(b).total_cmp(&change(a)).then(a.cmp(b)));
        shown.truncate(MOST);
        shown.sort_unstable();
    }
    let better = if saved_db >= 0.0 { "less" } else { "more" };
    let title = format!(
        "{:.2} bits an element instead of {:.2}, and {:.1} dB {better} error",
        mean(after)?,
        mean(before)?,
        saved_db.abs()
    );
    let of = if shown.len() < known.len() {
        format!("the {} of {} tensors that change most", shown.len(), known.len())
    } else {
        format!("{} tensors", known.len())
    };
    let mut figure = Figure::new(title)
        .subtitle(format!("bits of {of}, before and after"))
        .axes("bits an element", "")
        .rows(shown.iter().map(|tensor| tensors[*tensor].as_str()));
    let points = |side: usize| shown.iter().enumerate().map(move |(row, tensor)| (*tensor, row as f64, side));
    for (tensor, row, _) in points(0) {
        figure = figure.series("", Ink::Gray, Style::Line, [(bits[0][tensor], row), (bits[1][tensor], row)]);
    }
    for (side, label, ink, marker) in [(0, "before", Ink::Gray, Marker::Circle), (1, "after", Ink::Blue, Marker::Disc)] {
        figure =
            figure.series(label, ink, Style::Points(marker), points(side).map(|(tensor, row, side)| (bits[side][tensor], row)));
    }
    for (tensor, row, _) in points(1) {
        figure = figure.label((bits[1][tensor], row), schemes[1][tensor].as_str());
    }
    Ok(figure)
}

/// The intervals of an [`crate::uncertainty`]: the SQNR of each scheme in order of rank, and what the resamples say it could have been. Infinite ones are left
/// out.
///
/// # Errors
/// [`Error::NoColumn`] if it is no such table; [`Error::Nothing`] without a finite row.
pub fn intervals(table: &DataFrame) -> Result<Figure> {
    let rows = row_names(table)?;
    let (sqnr_db, low, high) = (values(table, "sqnr_db")?, values(table, "low_db")?, values(table, "high_db")?);
    let (above_next, ranking) = (values(table, "probability_above_next")?, values(table, "probability_of_ranking")?);
    let is_finite = |row: &usize| sqnr_db[*row].is_finite() && low[*row].is_finite() && high[*row].is_finite();
    let shown: Vec<usize> = (0..rows.len()).filter(is_finite).collect();
    if shown.is_empty() {
        return Err(nothing("intervals", "it needs a row that loses something finite"));
    }
    let unsure = (0..rows.len().saturating_sub(1))
        .filter(|&row| above_next[row] < 0.95)
        .min_by(|&a, &b| above_next[a].total_cmp(&above_next[b]));
    let title = match unsure {
        Some(row) => format!(
            "{} and {} cannot be told apart: their order holds in {:.0}% of the draws",
            rows[row],
            rows[row + 1],
            100.0 * above_next[row]
        ),
        None => format!("The ranking holds in {:.0}% of the draws", 100.0 * ranking[shown[0]]),
    };
    let points = |values: &[f64]| shown.iter().enumerate().map(|(place, &row)| (values[row], place as f64)).collect::<Vec<_>>();
    let mut figure = Figure::new(title)
        .subtitle(format!("SQNR {}, and the intervals that the resampled elements give", of_tensors(table)?))
        .axes("SQNR (dB)", "")
        .rows(shown.iter().map(|&row| rows[row].as_str()));
    for (place, &row) in shown.iter().enumerate() {
        figure = figure.series("", Ink::Blue, Style::Line, [(low[row], place as f64), (high[row], place as f64)]);
    }
    let (low, high) = (points(&low), points(&high));
    let ends = low.into_iter().chain(high);
    figure = figure.series("interval", Ink::Blue, Style::Points(Marker::Tick), ends);
    Ok(figure.series("the tensor itself", Ink::Black, Style::Points(Marker::Disc), points(&sqnr_db)))
}
