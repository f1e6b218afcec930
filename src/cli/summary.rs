//! What a report says of each scheme.

use std::collections::{BTreeMap, BTreeSet};

use super::table::{Column, Table};

/// A scheme over the tensors of a report.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    pub scheme: String,
    /// Rows that were measured.
    pub rows: usize,
    /// Over all elements of these rows.
    pub bits_per_element: f64,
    /// Over [`common`] rows; NaN where none has a number.
    pub median_sqnr_db: f64,
    /// The row with the lowest SQNR.
    pub worst: Option<usize>,
}

/// What a row is of: file, tensor, channel, and its place among those of the same name. Schemes are compared over the same ones.
type Subject<'a> = (&'a str, &'a str, u64, usize);

/// Each of the schemes that has a row.
pub fn by_scheme(table: &Table, names: &[String]) -> Vec<Summary> {
    let mut schemes: Vec<(&str, Vec<(Subject, usize)>)> = Vec::new();
    let mut seen = BTreeMap::new();
    for row in (0..table.height()).filter(|&row| table.text("error", row).is_empty()) {
        let scheme = table.text("scheme", row);
        let channel = table.number("channel", row).to_bits();
        let place = seen.entry((scheme, table.text("file", row), table.text("tensor", row), channel)).or_insert(0_usize);
        let subject = (table.text("file", row), table.text("tensor", row), channel, *place);
        *place += 1;
        match schemes.iter_mut().find(|(name, _)| *name == scheme) {
            Some((_, rows)) => rows.push((subject, row)),
            None => schemes.push((scheme, vec![(subject, row)])),
        }
    }
    schemes.sort_by_key(|(scheme, _)| names.iter().position(|name| name == scheme));
    let common = common(&schemes);
    let summary = |(scheme, rows): &(&str, Vec<(Subject, usize)>)| {
        let sqnr_db = |row: usize| table.number("sqnr_db", row);
        let elements: f64 = rows.iter().map(|&(_, row)| table.number("elements", row)).sum();
        let bits: f64 = rows.iter().map(|&(_, row)| table.number("elements", row) * table.number("bits_per_element", row)).sum();
        let defined = rows.iter().filter(|&&(_, row)| !sqnr_db(row).is_nan());
        let compared = defined.clone().filter(|(subject, _)| common.is_empty() || common.contains(subject));
        Summary {
            scheme: (*scheme).to_owned(),
            rows: rows.len(),
            bits_per_element: bits / elements,
            median_sqnr_db: median(compared.map(|&(_, row)| sqnr_db(row)).collect()),
            worst: defined.map(|&(_, row)| row).min_by(|&a, &b| sqnr_db(a).total_cmp(&sqnr_db(b))),
        }
    };
    schemes.iter().map(summary).collect()
}

/// What every scheme could be measured on.
fn common<'a>(schemes: &[(&str, Vec<(Subject<'a>, usize)>)]) -> BTreeSet<Subject<'a>> {
    let subjects = schemes.iter().map(|(_, rows)| rows.iter().map(|(subject, _)| *subject).collect::<BTreeSet<_>>());
    subjects.reduce(|a, b| a.intersection(&b).copied().collect()).unwrap_or_default()
}

/// The middle one, of an even number the lower of the two.
fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}

/// As a table.
pub fn table_of(summaries: &[Summary], table: &Table) -> Table {
    let worst =
        |name: &'static str| summaries.iter().map(move |summary| summary.worst.map(|row| table.text(name, row).to_owned()));
    let mut columns = vec![
        Column::text("scheme", summaries.iter().map(|summary| Some(summary.scheme.clone()))),
        Column::real("bits_per_element", summaries.iter().map(|summary| Some(summary.bits_per_element))),
        Column::whole("rows", summaries.iter().map(|summary| Some(summary.rows as i64))),
        Column::real("median_sqnr_db", summaries.iter().map(|summary| Some(summary.median_sqnr_db))),
        Column::real("worst_sqnr_db", summaries.iter().map(|summary| summary.worst.map(|row| table.number("sqnr_db", row)))),
        Column::text("worst_tensor", worst("tensor")),
    ];
    if table.column("channel").is_some() {
        let channel = |row: usize| table.number("channel", row) as i64;
        columns.push(Column::whole("worst_channel", summaries.iter().map(|summary| summary.worst.map(channel))));
    }
    Table::new(columns)
}
