//! CSV.

use std::io::Write;

use ::csv::{ReaderBuilder, StringRecord, Writer};
use polars::prelude::{AnyValue, DataFrame};

use super::cells::{Cells, kinds_of, table_of};
use super::{CUT_SHORT, NOT_OURS, SCHEMA_COLUMN, failed, kinds_and_rows, schema_of_row};
use crate::error::Result;

pub fn write(table: &DataFrame, to: &mut (dyn Write + Send)) -> Result<()> {
    let schema = schema_of_row(&kinds_of(table, true)?, table.height());
    let mut writer = Writer::from_writer(to);
    let names = table.columns().iter().map(|column| column.name().as_str());
    writer.write_record(std::iter::once(SCHEMA_COLUMN).chain(names)).map_err(failed)?;
    // Of a table without rows the line after the last one, which is null throughout.
    for row in 0..table.height().max(1) {
        writer.write_field(&schema).map_err(failed)?;
        for column in table.columns() {
            let field = match column.get(row).unwrap_or(AnyValue::Null) {
                AnyValue::Null => String::new(),
                AnyValue::String(text) => quoted(text),
                AnyValue::StringOwned(text) => quoted(&text),
                AnyValue::Boolean(value) => value.to_string(),
                AnyValue::Int32(number) => number.to_string(),
                AnyValue::Int64(number) => number.to_string(),
                AnyValue::UInt32(number) => number.to_string(),
                AnyValue::UInt64(number) => number.to_string(),
                AnyValue::Float32(number) => number.to_string(),
                AnyValue::Float64(number) => number.to_string(),
                other => return Err(failed(format!("column `{}` has {other}", column.name()))),
            };
            writer.write_field(field).map_err(failed)?;
        }
        writer.write_record(None::<&[u8]>).map_err(failed)?;
    }
    writer.flush().map_err(failed)
}

/// A null is empty, so an empty text is not; and what stands in quotes already gets more of them.
fn quoted(text: &str) -> String {
    let is_quoted = text.starts_with('"') && text.ends_with('"');
    if text.is_empty() || is_quoted { format!("\"{text}\"") } else { text.to_owned() }
}

pub fn read(bytes: &[u8]) -> Result<DataFrame, String> {
    let mut reader = ReaderBuilder::new().has_headers(true).from_reader(bytes);
    let head = reader.headers().map_err(|_| NOT_OURS)?.clone();
    if head.get(0) != Some(SCHEMA_COLUMN) {
        return Err(NOT_OURS.to_owned());
    }
    let records = reader.records().collect::<Result<Vec<StringRecord>, _>>();
    // The version first: what else is wrong may be right in another.
    let schema = match &records {
        Ok(records) => records.first().and_then(|record| record.get(0)).ok_or(NOT_OURS)?.to_owned(),
        Err(error) => return Err(format!("{CUT_SHORT} ({error})")),
    };
    let (kinds, rows) = kinds_and_rows(&schema)?;
    let records = records.unwrap_or_default();
    // What ends within quotes is taken for a whole row.
    let is_whole = bytes.ends_with(b"\n") && bytes.iter().filter(|byte| **byte == b'"').count() % 2 == 0;
    if records.len() != rows.max(1) || !is_whole || kinds.len() + 1 != head.len() {
        return Err(format!("it should have {rows} rows and has {}: {CUT_SHORT}", records.len()));
    }
    let mut columns: Vec<Cells> = kinds.iter().map(|kind| kind.cells()).collect();
    for (number, record) in records.iter().take(rows).enumerate() {
        if record.get(0) != Some(&schema) {
            return Err("its rows are of different tables: read each by itself".to_owned());
        }
        for ((field, cells), (name, kind)) in record.iter().skip(1).zip(&mut columns).zip(head.iter().skip(1).zip(&kinds)) {
            let is_pushed = match (field, &mut *cells) {
                ("", cells) => {
                    cells.push_null();
                    true
                }
                (field, Cells::Text(texts)) => {
                    let inner = field.strip_prefix('"').and_then(|inner| inner.strip_suffix('"'));
                    texts.push(Some(inner.unwrap_or(field).to_owned()));
                    true
                }
                (field, cells) => cells.push_text(field),
            };
            if !is_pushed {
                return Err(format!("`{name}` of row {number} is `{field}`, which is no {}: {CUT_SHORT}", kind.name()));
            }
        }
    }
    let names: Vec<String> = head.iter().skip(1).map(str::to_owned).collect();
    table_of(&names, columns, rows).map_err(|error| error.to_string())
}
