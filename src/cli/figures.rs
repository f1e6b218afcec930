//! The figures of a page. Each says in its title what is to be seen.

use polars::prelude::{DataFrame, IntoColumn, NamedFrom, Series};
use quantlens::figure::{Ink, Marker, Style};
use quantlens::{Figure, plot};

use super::summary::Summary;
use super::table::Table;
use super::terminal::end_of;
use super::{Stop, count};

/// Median error against all bits stored, a point for each scheme; `None` if there are not two that lose something.
pub fn error_against_bits(summaries: &[Summary]) -> Result<Option<Figure>, Stop> {
    let mut lossy: Vec<&Summary> = summaries.iter().filter(|summary| summary.median_sqnr_db.is_finite()).collect();
    lossy.sort_by(|a, b| a.bits_per_element.total_cmp(&b.bits_per_element).then(b.median_sqnr_db.total_cmp(&a.median_sqnr_db)));
    let most = lossy.iter().max_by(|a, b| a.median_sqnr_db.total_cmp(&b.median_sqnr_db));
    let (Some(cheapest), Some(best), 2..) = (lossy.first(), most, lossy.len()) else { return Ok(None) };
    let told = |one: &Summary| format!("{:.1} dB at {:.2} bits ({})", one.median_sqnr_db, one.bits_per_element, one.scheme);
    let title = if cheapest.scheme == best.scheme {
        format!("Nothing keeps more than the cheapest: {}", told(best))
    } else {
        format!("The median tensor keeps {} and {}", told(cheapest), told(best))
    };
    let frame = DataFrame::new(
        lossy.len(),
        vec![
            Series::new("scheme".into(), lossy.iter().map(|one| one.scheme.as_str()).collect::<Vec<_>>()).into_column(),
            Series::new("bits_per_element".into(), lossy.iter().map(|one| one.bits_per_element).collect::<Vec<_>>())
                .into_column(),
            Series::new("sqnr_db".into(), lossy.iter().map(|one| one.median_sqnr_db).collect::<Vec<_>>()).into_column(),
        ],
    )
    .map_err(|error| Stop::Error(error.to_string()))?;
    let figure = plot::error_against_cost(&frame)?.titled(title);
    let subtitle = "Median SQNR over the tensors that all schemes fit, against all bits stored, scales included; \
                    higher and further left is better";
    Ok(Some(figure.subtitle(subtitle).axes("bits an element", "median SQNR (dB)")))
}

/// A tensor or a channel.
struct Suffering {
    name: String,
    /// How far it is from the median of the scheme that it suffers most under, in decibels; negative below.
    below: f64,
    /// Number of the scheme and SQNR in decibels.
    points: Vec<(usize, f64)>,
}

/// The tensors that lie furthest below what their schemes usually keep, and what they keep under each; `None` without two of them.
pub fn worst_tensors(table: &Table, summaries: &[Summary]) -> Option<Figure> {
    const TENSORS: usize = 12;
    /// As many as colours and markers tell apart at a glance.
    const SCHEMES: usize = 8;
    let drawn: Vec<&Summary> = summaries.iter().filter(|summary| summary.median_sqnr_db.is_finite()).take(SCHEMES).collect();
    let mut tensors: Vec<Suffering> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for row in 0..table.height() {
        let Some(scheme) = drawn.iter().position(|one| one.scheme == table.text("scheme", row)) else { continue };
        let sqnr_db = table.number("sqnr_db", row);
        if !sqnr_db.is_finite() {
            continue;
        }
        let channel = table.number("channel", row);
        let name = match table.text("tensor", row) {
            name if channel.is_nan() => name.to_owned(),
            name => format!("{name}[{channel}]"),
        };
        let place = *places.entry((table.text("file", row), name.clone())).or_insert(tensors.len());
        if place == tensors.len() {
            tensors.push(Suffering { name, below: f64::INFINITY, points: Vec::new() });
        }
        let tensor = &mut tensors[place];
        tensor.below = tensor.below.min(sqnr_db - drawn[scheme].median_sqnr_db);
        tensor.points.push((scheme, sqnr_db));
    }
    let all = tensors.len();
    tensors.sort_by(|a, b| a.below.total_cmp(&b.below));
    tensors.truncate(TENSORS);
    let Suffering { name, below, points } = tensors.first().filter(|_| tensors.len() > 1)?;
    // Where it is so far below.
    let &(scheme, sqnr_db) = points.iter().min_by(|a, b| {
        let below = |point: &(usize, f64)| point.1 - drawn[point.0].median_sqnr_db;
        below(a).total_cmp(&below(b))
    })?;
    let title = format!(
        "{} suffers most: {sqnr_db:.1} dB under {}, {:.1} dB below the median",
        end_of(name, 60),
        drawn[scheme].scheme,
        -below
    );
    let of_schemes = match drawn.len() {
        few if few < summaries.len() => format!("under the first {} of {}", count(few, "scheme"), summaries.len()),
        all => format!("under {}", count(all, "scheme")),
    };
    let mut figure = Figure::new(title)
        .subtitle(format!(
            "The {} of {all} that are furthest below the median of a scheme, {of_schemes}; further right is better",
            tensors.len()
        ))
        .axes("SQNR (dB)", "")
        .rows(tensors.iter().map(|tensor| end_of(&tensor.name, 44)));
    for (index, one) in drawn.iter().enumerate() {
        let of_scheme = |(row, tensor): (usize, &Suffering)| {
            let points = tensor.points.iter().filter(|point| point.0 == index);
            points.map(|point| (point.1, row as f64)).collect::<Vec<_>>()
        };
        let points: Vec<(f64, f64)> = tensors.iter().enumerate().flat_map(of_scheme).collect();
        figure = figure.series(one.scheme.as_str(), Ink::of_series(index), Style::Points(Marker::of_series(index)), points);
    }
    Some(figure)
}
