//! The page of a report: text, figures and a table, in one file that asks for nothing else.

use quantlens::{Figure, Source};

use super::figures;
use super::report::{Measured, OTHERS, first_of_each, without_file};
use super::select::Selection;
use super::summary::{self, Summary};
use super::table::{Cell, Table};
use super::{Stop, count};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// A page with more rows than this is slow to open.
const ROWS: usize = 20_000;

/// Columns of the table. On a narrow screen only those of [`MAIN`] are there.
const COLUMNS: [&str; 18] = [
    "file",
    "tensor",
    "channel",
    "shape",
    "scheme",
    "bits_per_element",
    "sqnr_db",
    "relative_error",
    "max_abs_error",
    "rmse",
    "mean_error",
    "cosine",
    "min",
    "max",
    "clipped_fraction",
    "levels_used",
    "code_entropy_bits",
    "elements",
];

const MAIN: [&str; 9] =
    ["file", "tensor", "channel", "scheme", "sqnr_db", "worst_tensor", "worst_sqnr_db", "median_sqnr_db", "bits_per_element"];

/// The page. `order` has the rows that were measured.
pub fn page(measured: &Measured, files: &[Selection], summaries: &[Summary], order: &[usize]) -> Result<String, Stop> {
    let table = &measured.table;
    let names: Vec<String> = files.iter().map(Selection::name).collect();
    let most = if order.len() <= ROWS { 0 } else { (ROWS / summaries.len().max(1)).max(1) };
    let rows = without_file(&table.at(&first_of_each(table, order, most)), files);

    let title = format!("quantlens report of {}", names.join(", "));
    let mut body = format!("<h1>{}</h1>\n<p>{}</p>\n", escape(&title), escape(&finding(table, summaries)));
    let tensors: usize = files.iter().map(|file| file.infos().len()).sum();
    body += &format!(
        "<p class=\"note\">{} and {}. SQNR is the power of the values over that of the error, in decibels: \
         6 dB more is half the error. Bits count codes, scales and padding.</p>\n",
        count(tensors, "tensor"),
        count(summaries.len(), "scheme")
    );
    let drawn = [figures::error_against_bits(summaries)?, figures::worst_tensors(table, summaries)];
    for figure in drawn.into_iter().flatten() {
        body += &html_of_figure(&figure)?;
    }
    body += "<h2>Schemes</h2>\n";
    body += &html_of_table(&summary::table_of(summaries, table), "schemes");
    let (shown, of) = (rows.height(), order.len());
    body += &format!("<h2>{}</h2>\n", if table.column("channel").is_some() { "Channels" } else { "Tensors" });
    if shown < of {
        body +=
            &format!("<p class=\"note\">{shown} of {of} rows, as many of each scheme: <code>--output</code> writes all.</p>\n");
    }
    body += &controls(summaries);
    let columns = COLUMNS.iter().filter_map(|name| rows.column(name).cloned());
    body += &html_of_table(&Table::new(columns.collect()), "rows");
    body += &notes(measured, files);

    Ok(format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta http-equiv=\"Content-Security-Policy\" \
         content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n\
         <title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{body}</main>\n\
         <script>\n{SCRIPT}</script>\n</body>\n</html>\n",
        escape(&title)
    ))
}

/// The worst of all rows, in a sentence.
fn finding(table: &Table, summaries: &[Summary]) -> String {
    let sqnr_db = |row: &usize| table.number("sqnr_db", *row);
    let worst = summaries.iter().filter_map(|summary| summary.worst).min_by(|a, b| sqnr_db(a).total_cmp(&sqnr_db(b)));
    match worst {
        Some(row) if sqnr_db(&row).is_finite() => {
            format!("{} suffers most: {:.1} dB under {}.", table.text("tensor", row), sqnr_db(&row), table.text("scheme", row))
        }
        Some(_) => "Nothing was lost.".to_owned(),
        None => "All values are zero: there is nothing to lose.".to_owned(),
    }
}

/// Filters, which the script shows, for they do nothing without it.
fn controls(summaries: &[Summary]) -> String {
    let options: String = summaries.iter().map(|summary| format!("<option>{}</option>", escape(&summary.scheme))).collect();
    format!(
        "<form id=\"filter\" hidden>\n<label>Tensor <input type=\"search\" id=\"name\" placeholder=\"part of its name\"></label>\n\
         <label>Scheme <select id=\"scheme\"><option value=\"\">all</option>{options}</select></label>\n\
         <output id=\"count\"></output>\n</form>\n"
    )
}

fn html_of_figure(figure: &Figure) -> Result<String, Stop> {
    let label = format!("<svg role=\"img\" aria-label=\"{}\" ", escape(figure.title()));
    let svg = figure.to_svg()?.replacen("<svg ", &label, 1);
    Ok(format!("<figure>{svg}</figure>\n"))
}

/// Numbers carry their value, by which the script sorts; a head says what kind its column is.
fn html_of_table(table: &Table, id: &str) -> String {
    let class = |name: &str, is_text: bool| match (MAIN.contains(&name), is_text) {
        (true, true) => "",
        (true, false) => " class=\"n\"",
        (false, true) => " class=\"minor\"",
        (false, false) => " class=\"n minor\"",
    };
    let mut html = format!("<div class=\"scroll\"><table id=\"{id}\">\n<thead><tr>");
    for column in &table.columns {
        html += &format!("<th scope=\"col\"{}>{}</th>", class(column.name, column.is_text()), column.name.replace('_', "_<wbr>"));
    }
    html += "</tr></thead>\n<tbody>\n";
    for row in 0..table.height() {
        html += "<tr>";
        for column in &table.columns {
            let cell = column.cell(row);
            let value = match cell {
                Cell::Real(number) => format!(" data-v=\"{number}\""),
                Cell::Whole(number) => format!(" data-v=\"{number}\""),
                Cell::Null | Cell::Text(_) => String::new(),
            };
            html += &format!("<td{}{value}>{}</td>", class(column.name, column.is_text()), escape(&cell.shown(column.name)));
        }
        html += "</tr>\n";
    }
    html + "</tbody>\n</table></div>\n"
}

/// What is not in the table, and why.
fn notes(measured: &Measured, files: &[Selection]) -> String {
    let mut html = String::new();
    if measured.failures.rows > 0 {
        html += &format!("<h2>{} failed</h2>\n<ul>\n", count(measured.failures.rows, "row"));
        html += &measured.failures.lines(OTHERS).iter().map(|line| format!("<li>{}</li>\n", escape(line))).collect::<String>();
        html += "</ul>\n";
    }
    for line in measured.not_listed() {
        html += &format!("<p class=\"note\">{}</p>\n", escape(&line));
    }
    let skipped: Vec<_> = files.iter().flat_map(Source::skipped).collect();
    if !skipped.is_empty() {
        html += &format!("<details><summary>{} of the files skipped</summary>\n<ul>\n", count(skipped.len(), "part"));
        for part in skipped {
            html += &format!("<li>{} ({}): {}</li>\n", escape(&part.name), escape(&part.stored), escape(&part.reason));
        }
        html += "</ul></details>\n";
    }
    html
}

/// Text as it stands in HTML, in an element or a quoted attribute.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}
