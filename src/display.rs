//! What a notebook shows: a value as several media types, the richest first; whoever shows it chooses.

use std::any::Any;

use polars::prelude::{AnyValue, DataFrame, DataType, Series};

use crate::error::Error;
use crate::figure::Figure;
use crate::tensor::Tensor;

/// One representation of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Text of this media type.
    Text(&'static str, String),
    /// Bytes of this media type.
    Bytes(&'static str, Vec<u8>),
}

/// The representations of a value that quantlens knows how to show: a `DataFrame` or `Series` as HTML and text, a [`Figure`] as
/// SVG, PNG and text, a [`Tensor`] or unit as text or nothing, and `Result`s of them as what they hold. `None` of anything else,
/// which `Debug` shows.
pub fn contents(value: &dyn Any) -> Option<Vec<Content>> {
    if value.is::<()>() {
        return Some(Vec::new());
    }
    if let Some(frame) = value.downcast_ref::<DataFrame>() {
        return Some(frame_contents(frame));
    }
    if let Some(series) = value.downcast_ref::<Series>() {
        let html = frame_to_html(&series.clone().into_frame());
        return Some(vec![Content::Text("text/html", html), Content::Text("text/plain", series.to_string())]);
    }
    if let Some(figure) = value.downcast_ref::<Figure>() {
        return Some(figure_contents(figure));
    }
    if let Some(tensor) = value.downcast_ref::<Tensor>() {
        return Some(vec![Content::Text("text/plain", format!("{tensor:?}"))]);
    }
    match outcome(value)? {
        Ok(inner) => contents(inner),
        Err(error) => Some(vec![Content::Text("text/plain", format!("error: {error}"))]),
    }
}

/// The message of a value that is the `Err` of a `Result` which [`contents`] would show: a cell that ends with it has failed. `None` of
/// any other value.
pub fn failure(value: &dyn Any) -> Option<String> {
    outcome(value)?.err()
}

/// What is in a `Result` of something that is shown, or its error's message.
fn outcome(value: &dyn Any) -> Option<Result<&dyn Any, String>> {
    fn of<T: Any, E: std::fmt::Display + 'static>(value: &dyn Any) -> Option<Result<&dyn Any, String>> {
        let result = value.downcast_ref::<Result<T, E>>()?;
        Some(result.as_ref().map(|inner| inner as &dyn Any).map_err(E::to_string))
    }
    fn with<E: std::fmt::Display + 'static>(value: &dyn Any) -> Option<Result<&dyn Any, String>> {
        of::<DataFrame, E>(value)
            .or_else(|| of::<Series, E>(value))
            .or_else(|| of::<Figure, E>(value))
            .or_else(|| of::<Tensor, E>(value))
            .or_else(|| of::<(), E>(value))
    }
    with::<Error>(value).or_else(|| with::<polars::prelude::PolarsError>(value))
}

fn frame_contents(frame: &DataFrame) -> Vec<Content> {
    vec![Content::Text("text/html", frame_to_html(frame)), Content::Text("text/plain", frame.to_string())]
}

fn figure_contents(figure: &Figure) -> Vec<Content> {
    let name = Content::Text("text/plain", format!("Figure: {}", figure.title()));
    match (figure.to_svg(), figure.to_png()) {
        (Ok(svg), Ok(png)) => vec![Content::Text("image/svg+xml", svg), Content::Bytes("image/png", png), name],
        (Err(error), _) | (_, Err(error)) => vec![Content::Text("text/plain", format!("error: {error}"))],
    }
}

/// Rows shown at each end of a long frame, and columns at each end of a wide one.
const END_ROWS: usize = 10;
const END_COLUMNS: usize = 12;

/// A frame as an HTML table without inline style, so that it follows the theme of whatever shows it. Beyond 20 rows or 24 columns
/// the middle is an ellipsis, as in polars' text.
pub fn frame_to_html(frame: &DataFrame) -> String {
    let rows = ends(frame.height(), END_ROWS);
    let columns = ends(frame.width(), END_COLUMNS);
    let series: Vec<Option<&Series>> = columns
        .iter()
        .map(|&index| index.and_then(|index| frame.columns().get(index)).map(|column| column.as_materialized_series()))
        .collect();
    let mut html = String::from("<table class=\"dataframe\">\n<thead>\n<tr>");
    for column in &series {
        html += &format!("<th>{}</th>", column.map_or("…".to_owned(), |column| escape(column.name())));
    }
    html += "</tr>\n<tr>";
    for column in &series {
        html += &format!("<td>{}</td>", column.map_or("…".to_owned(), |column| escape(&column.dtype().to_string())));
    }
    html += "</tr>\n</thead>\n<tbody>\n";
    for row in rows {
        html += "<tr>";
        for column in &series {
            let cell = match (row, column) {
                (Some(row), Some(column)) => cell_text(column, row),
                _ => "…".to_owned(),
            };
            html += &format!("<td>{}</td>", escape(&cell));
        }
        html += "</tr>\n";
    }
    html += &format!("</tbody>\n</table>\n<p>{} rows × {} columns</p>", frame.height(), frame.width());
    html
}

/// The indices 0 to n - 1, the middle replaced by one `None` if there are more than twice `end`.
fn ends(n: usize, end: usize) -> Vec<Option<usize>> {
    if n <= 2 * end {
        (0..n).map(Some).collect()
    } else {
        (0..end).map(Some).chain([None]).chain((n - end..n).map(Some)).collect()
    }
}

fn cell_text(column: &Series, row: usize) -> String {
    match column.get(row) {
        Ok(AnyValue::String(text)) => text.to_owned(),
        Ok(AnyValue::StringOwned(text)) => text.to_string(),
        Ok(AnyValue::Null) => "null".to_owned(),
        Ok(value) if matches!(column.dtype(), DataType::Float32 | DataType::Float64) => format!("{value}"),
        Ok(value) => value.to_string(),
        Err(_) => String::new(),
    }
}

/// Text as it stands in HTML, in an element or a quoted attribute.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
