//! JSON, as one document or line by line.

use std::io::Write;

use polars::prelude::{AnyValue, Column, DataFrame};
use serde::ser::{Error as _, SerializeMap, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::cells::{Kind, kinds_of, table_of};
use super::{CUT_SHORT, NOT_OURS, SCHEMA_COLUMN, after_version, failed, kinds_and_rows, schema, schema_of_row};
use crate::error::Result;

pub fn write(table: &DataFrame, to: &mut (dyn Write + Send)) -> Result<()> {
    let kinds = kinds_of(table, false)?;
    let columns = table.columns().iter().zip(kinds);
    let columns = columns.map(|(column, kind)| Head { name: column.name().to_string(), kind: kind.name().to_owned() }).collect();
    let document = Document { schema: schema(), columns, rows: Rows(table) };
    serde_json::to_writer_pretty(&mut *to, &document).map_err(failed)?;
    to.write_all(b"\n").map_err(failed)
}

pub fn write_lines(table: &DataFrame, to: &mut (dyn Write + Send)) -> Result<()> {
    let schema = schema_of_row(&kinds_of(table, true)?, table.height());
    // Of a table without rows the line after the last one, which is null throughout.
    for row in 0..table.height().max(1) {
        serde_json::to_writer(&mut *to, &Row { table, row, schema: Some(&schema) }).map_err(failed)?;
        to.write_all(b"\n").map_err(failed)?;
    }
    Ok(())
}

pub fn read(bytes: &[u8]) -> Result<DataFrame, String> {
    let named: Schema = serde_json::from_slice(bytes).map_err(|error| refusal(bytes, &error))?;
    after_version(&named.schema)?;
    let document: Document<Vec<Map<String, Value>>> = serde_json::from_slice(bytes).map_err(|error| refusal(bytes, &error))?;
    let kinds = document.columns.iter().map(|column| Kind::of_name(&column.kind).ok_or_else(|| CUT_SHORT.to_owned()));
    let kinds = kinds.collect::<Result<Vec<_>, _>>()?;
    let names: Vec<String> = document.columns.into_iter().map(|column| column.name).collect();
    table_of_objects(&names, &kinds, &document.rows)
}

pub fn read_lines(bytes: &[u8]) -> Result<DataFrame, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| CUT_SHORT)?;
    let mut objects = Vec::new();
    let mut first: Option<(Vec<String>, String)> = None;
    for line in text.lines() {
        if first.is_none() {
            let named: Schema = serde_json::from_str(line).map_err(|error| refusal(line.as_bytes(), &error))?;
            after_version(&named.schema)?;
            let Names(names) = serde_json::from_str(line).map_err(|_| CUT_SHORT)?;
            first = Some((names, named.schema));
        }
        let mut object: Map<String, Value> = serde_json::from_str(line).map_err(|_| CUT_SHORT)?;
        let schema = object.remove(SCHEMA_COLUMN);
        if schema.as_ref().and_then(Value::as_str) != first.as_ref().map(|(_, schema)| schema.as_str()) {
            return Err("its lines are of different tables: read each by itself".to_owned());
        }
        objects.push(object);
    }
    let (names, schema) = first.ok_or(NOT_OURS)?;
    let (kinds, rows) = kinds_and_rows(&schema)?;
    if objects.len() != rows.max(1) || !text.ends_with('\n') {
        return Err(format!("it should have {rows} rows and has {}: {CUT_SHORT}", objects.len()));
    }
    objects.truncate(rows);
    table_of_objects(&names, &kinds, &objects)
}

/// Why it is none of ours.
fn refusal(bytes: &[u8], error: &serde_json::Error) -> String {
    let is_ours = bytes.windows(super::SCHEMA.len()).take(256).any(|window| window == super::SCHEMA.as_bytes());
    if is_ours { format!("{CUT_SHORT} ({error})") } else { NOT_OURS.to_owned() }
}

fn table_of_objects(names: &[String], kinds: &[Kind], rows: &[Map<String, Value>]) -> Result<DataFrame, String> {
    if names.len() != kinds.len() {
        return Err(CUT_SHORT.to_owned());
    }
    let mut columns: Vec<_> = kinds.iter().map(|kind| kind.cells()).collect();
    for (number, row) in rows.iter().enumerate() {
        for ((name, cells), kind) in names.iter().zip(&mut columns).zip(kinds) {
            let value = row.get(name).ok_or_else(|| format!("row {number} has no `{name}`: {CUT_SHORT}"))?;
            if !cells.push_json(value) {
                return Err(format!("`{name}` of row {number} is {value}, which is no {}: {CUT_SHORT}", kind.name()));
            }
        }
        if row.len() != names.len() {
            return Err(format!("row {number} has {} values, not {}: {CUT_SHORT}", row.len(), names.len()));
        }
    }
    table_of(names, columns, rows.len()).map_err(|error| error.to_string())
}

/// The schema alone, so that of another version nothing else is looked at.
#[derive(Deserialize)]
struct Schema {
    schema: String,
}

#[derive(Serialize, Deserialize)]
struct Document<R> {
    schema: String,
    columns: Vec<Head>,
    rows: R,
}

#[derive(Serialize, Deserialize)]
struct Head {
    name: String,
    #[serde(rename = "type")]
    kind: String,
}

/// The names of an object's members, without the schema, in their order.
struct Names(Vec<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Vec<String>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut names = Vec::new();
                while let Some((name, _)) = map.next_entry::<String, serde::de::IgnoredAny>()? {
                    names.push(name);
                }
                Ok(names)
            }
        }
        let mut names = deserializer.deserialize_map(Visitor)?;
        names.retain(|name| name != SCHEMA_COLUMN);
        Ok(Self(names))
    }
}

struct Rows<'a>(&'a DataFrame);

impl Serialize for Rows<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq((0..self.0.height()).map(|row| Row { table: self.0, row, schema: None }))
    }
}

struct Row<'a> {
    table: &'a DataFrame,
    row: usize,
    schema: Option<&'a str>,
}

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Some(schema) = self.schema {
            map.serialize_entry(SCHEMA_COLUMN, schema)?;
        }
        let cell = |column: &Column| column.get(self.row).map(AnyValue::into_static).unwrap_or(AnyValue::Null);
        for column in self.table.columns() {
            let name = column.name().as_str();
            match cell(column) {
                AnyValue::Null => map.serialize_entry(name, &())?,
                AnyValue::StringOwned(text) => map.serialize_entry(name, text.as_str())?,
                AnyValue::Boolean(value) => map.serialize_entry(name, &value)?,
                AnyValue::Int32(number) => map.serialize_entry(name, &number)?,
                AnyValue::Int64(number) => map.serialize_entry(name, &number)?,
                AnyValue::UInt32(number) => map.serialize_entry(name, &number)?,
                AnyValue::UInt64(number) => map.serialize_entry(name, &number)?,
                AnyValue::Float32(number) => map.serialize_entry(name, &Real(number.into()))?,
                AnyValue::Float64(number) => map.serialize_entry(name, &Real(number))?,
                other => return Err(S::Error::custom(format!("column `{name}` has {other}"))),
            }
        }
        map.end()
    }
}

/// JSON has no numbers for NaN and infinities; the library's `Metrics` say them so, too.
struct Real(f64);

impl Serialize for Real {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_finite() {
            serializer.serialize_f64(self.0)
        } else {
            serializer.serialize_str(&self.0.to_string().to_lowercase())
        }
    }
}
