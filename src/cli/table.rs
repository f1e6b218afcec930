//! `Table`: named columns of text and numbers, which every subcommand prints, writes and shows alike.

use polars::prelude::{DataFrame, DataType, IntoColumn, NamedFrom, Series};

use super::Stop;
use super::terminal::visible;

#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    Text(Vec<Option<String>>),
    Whole(Vec<Option<i64>>),
    Real(Vec<Option<f64>>),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    pub name: &'static str,
    pub values: Values,
}

/// Columns of one height.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table {
    pub columns: Vec<Column>,
}

/// One cell.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cell<'a> {
    Null,
    Text(&'a str),
    Whole(i64),
    Real(f64),
}

impl Column {
    pub fn text(name: &'static str, values: impl IntoIterator<Item = Option<String>>) -> Self {
        Self { name, values: Values::Text(values.into_iter().collect()) }
    }

    pub fn whole(name: &'static str, values: impl IntoIterator<Item = Option<i64>>) -> Self {
        Self { name, values: Values::Whole(values.into_iter().collect()) }
    }

    pub fn real(name: &'static str, values: impl IntoIterator<Item = Option<f64>>) -> Self {
        Self { name, values: Values::Real(values.into_iter().collect()) }
    }

    pub fn cell(&self, row: usize) -> Cell<'_> {
        let cell = match &self.values {
            Values::Text(values) => values.get(row).and_then(|value| value.as_deref().map(Cell::Text)),
            Values::Whole(values) => values.get(row).and_then(|value| value.map(Cell::Whole)),
            Values::Real(values) => values.get(row).and_then(|value| value.map(Cell::Real)),
        };
        cell.unwrap_or(Cell::Null)
    }

    pub fn is_text(&self) -> bool {
        matches!(self.values, Values::Text(_))
    }

    fn height(&self) -> usize {
        match &self.values {
            Values::Text(values) => values.len(),
            Values::Whole(values) => values.len(),
            Values::Real(values) => values.len(),
        }
    }

    fn at(&self, rows: &[usize]) -> Self {
        fn pick<V: Clone>(values: &[V], rows: &[usize]) -> Vec<V> {
            rows.iter().filter_map(|&row| values.get(row).cloned()).collect()
        }
        let values = match &self.values {
            Values::Text(values) => Values::Text(pick(values, rows)),
            Values::Whole(values) => Values::Whole(pick(values, rows)),
            Values::Real(values) => Values::Real(pick(values, rows)),
        };
        Self { name: self.name, values }
    }
}

impl Table {
    pub fn new(columns: Vec<Column>) -> Self {
        Self { columns }
    }

    /// The columns of a frame that have these names, in this order.
    pub fn of_frame(frame: &DataFrame, names: &[&'static str]) -> Result<Self, Stop> {
        let failed = |error: polars::prelude::PolarsError| Stop::Error(error.to_string());
        let mut columns = Vec::with_capacity(names.len());
        for &name in names {
            let column = frame.column(name).map_err(failed)?;
            columns.push(match column.dtype() {
                DataType::String => Column::text(name, column.str().map_err(failed)?.iter().map(|text| text.map(str::to_owned))),
                DataType::UInt32 => Column::whole(name, column.u32().map_err(failed)?.iter().map(|number| number.map(i64::from))),
                DataType::UInt64 => {
                    Column::whole(name, column.u64().map_err(failed)?.iter().map(|number| number.map(|number| number as i64)))
                }
                DataType::Int64 => Column::whole(name, column.i64().map_err(failed)?.iter()),
                _ => Column::real(name, column.f64().map_err(failed)?.iter()),
            });
        }
        Ok(Self { columns })
    }

    /// As a frame, which the library writes and checks.
    pub fn frame(&self) -> Result<DataFrame, Stop> {
        let column = |column: &Column| {
            let name = column.name.into();
            let series = match &column.values {
                Values::Text(values) => Series::new(name, values.as_slice()),
                Values::Whole(values) => Series::new(name, values.as_slice()),
                Values::Real(values) => Series::new(name, values.as_slice()),
            };
            series.into_column()
        };
        DataFrame::new(self.height(), self.columns.iter().map(column).collect()).map_err(|error| Stop::Error(error.to_string()))
    }

    pub fn height(&self) -> usize {
        self.columns.first().map_or(0, Column::height)
    }

    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// A cell; null where there is no such column.
    pub fn cell(&self, name: &str, row: usize) -> Cell<'_> {
        self.column(name).map_or(Cell::Null, |column| column.cell(row))
    }

    pub fn text(&self, name: &str, row: usize) -> &str {
        match self.cell(name, row) {
            Cell::Text(text) => text,
            _ => "",
        }
    }

    /// A number; NaN where there is none.
    pub fn number(&self, name: &str, row: usize) -> f64 {
        match self.cell(name, row) {
            Cell::Whole(number) => number as f64,
            Cell::Real(number) => number,
            Cell::Null | Cell::Text(_) => f64::NAN,
        }
    }

    /// These rows, in this order.
    pub fn at(&self, rows: &[usize]) -> Self {
        Self { columns: self.columns.iter().map(|column| column.at(rows)).collect() }
    }

    /// Rows in the order of a column, worst first: the smallest of what is better when it is larger, the largest of other numbers,
    /// text by the alphabet; of mean errors, the sign says nothing. Undefined numbers come last, but for the SQNR of zeros that did not
    /// come back as zeros, which comes first; equals stay in order.
    pub fn worst_first(&self, name: &str, rows: &mut [usize]) {
        let Some(column) = self.column(name) else { return };
        if column.is_text() {
            rows.sort_by(|&a, &b| self.text(name, a).cmp(self.text(name, b)));
            return;
        }
        let smallest_first = matches!(name, "sqnr_db" | "cosine" | "min" | "channel");
        let number = |row: usize| match (name, self.number(name, row)) {
            ("mean_error", error) => error.abs(),
            ("sqnr_db", undefined) if undefined.is_nan() && self.number("max_abs_error", row) > 0.0 => f64::NEG_INFINITY,
            (_, number) => number,
        };
        rows.sort_by(|&a, &b| {
            let (a, b) = (number(a), number(b));
            let order = if smallest_first { a.total_cmp(&b) } else { b.total_cmp(&a) };
            a.is_nan().cmp(&b.is_nan()).then(order)
        });
    }
}

impl Cell<'_> {
    /// As people read it in a column of this name: four significant digits, decibels with two decimals.
    pub fn shown(self, column: &str) -> String {
        match self {
            Self::Null => "-".to_owned(),
            Self::Text(text) => visible(text),
            Self::Whole(number) => number.to_string(),
            Self::Real(number) if column.ends_with("_db") && number.is_finite() => format!("{number:.2}"),
            Self::Real(number) if column == "cosine" && number.abs() < 1.0 => {
                // Two digits of what it lacks to 1, so that it is not 1 where the error is small.
                let decimals = ((1.0 - number.abs()).log10().abs().ceil() as usize + 1).clamp(4, 17);
                without_trailing_zeros(format!("{number:.decimals$}"))
            }
            Self::Real(number) => significant(number),
        }
    }
}

/// Four significant digits, without zeros that say nothing.
fn significant(number: f64) -> String {
    let magnitude = number.abs();
    if number.is_nan() {
        "undefined".to_owned()
    } else if number.is_infinite() {
        if number > 0.0 { "∞".to_owned() } else { "-∞".to_owned() }
    } else if number == 0.0 {
        "0".to_owned()
    } else if (1e-4..1e6).contains(&magnitude) {
        let decimals = (3 - magnitude.log10().floor() as i32).max(0) as usize;
        without_trailing_zeros(format!("{number:.decimals$}"))
    } else {
        format!("{number:.3e}")
    }
}

fn without_trailing_zeros(text: String) -> String {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}
