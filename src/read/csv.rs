//! CSV: the columns of which every field is a number, parsed as they are read.

use std::cell::Cell;
use std::collections::HashSet;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use csv::{ByteRecord, ReaderBuilder};

use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::source::{Skipped, TensorInfo};

use super::entry::{Contents, EMPTY, Entry, ReadNumbers, Values, inexact_reason};
use super::input::Input;

/// The longest row: a quote that nobody closes makes all that follows one.
const MAX_ROW: u64 = 1 << 24;

/// The most columns.
const MAX_COLUMNS: usize = 1 << 16;

/// How many rows are parsed at most to come to one.
const STEP: usize = 4096;

/// The table: where its rows are.
struct Table {
    input: Arc<Input>,
    separator: u8,
    columns: usize,
    /// Where every [`STEP`]th row begins.
    marks: Vec<u64>,
}

/// The rows from one place on.
struct Rows {
    reader: csv::Reader<Bytes>,
    row_start: Rc<Cell<u64>>,
    start: u64,
    record: ByteRecord,
}

/// The bytes of a file, up to so many after the begin of a row.
struct Bytes {
    input: Arc<Input>,
    next: u64,
    row_start: Rc<Cell<u64>>,
}

impl io::Read for Bytes {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.next > self.row_start.get() + MAX_ROW {
            return Err(io::Error::other(format!("a row takes more than {MAX_ROW} bytes: a quote may be left open")));
        }
        let len = (out.len() as u64).min(self.input.len() - self.next) as usize;
        // The error says where already.
        self.input.read_at(None, self.next, &mut out[..len]).map_err(io::Error::other)?;
        self.next += len as u64;
        Ok(len)
    }
}

impl Rows {
    fn new(input: &Arc<Input>, separator: u8, start: u64) -> Self {
        let row_start = Rc::new(Cell::new(start));
        let bytes = Bytes { input: Arc::clone(input), next: start, row_start: Rc::clone(&row_start) };
        let reader = ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(separator)
            .buffer_capacity(1 << 16)
            .from_reader(bytes);
        Self { reader, row_start, start, record: ByteRecord::new() }
    }

    /// The next row and where it begins.
    fn next(&mut self) -> Result<Option<(u64, &ByteRecord)>> {
        self.row_start.set(self.start + self.reader.position().byte());
        let more = self.reader.read_byte_record(&mut self.record);
        let at = self.row_start.get();
        match more {
            Ok(false) => Ok(None),
            Ok(true) => {
                let at = self.record.position().map_or(at, |position| self.start + position.byte());
                Ok(Some((at, &self.record)))
            }
            Err(error) => Err(match error.into_kind() {
                csv::ErrorKind::Io(error) => match error.downcast::<Error>() {
                    Ok(error) => error,
                    Err(error) => self.fault(at, error.to_string()),
                },
                other => self.fault(at, format!("a row that begins here cannot be read: {other:?}")),
            }),
        }
    }

    fn fault(&self, at: u64, reason: String) -> Error {
        self.reader.get_ref().input.fault(None, Some(at), reason)
    }
}

/// What a field is.
enum Field {
    Number(f64),
    Inexact(i128),
    Missing,
    Text,
}

fn field(bytes: &[u8]) -> Field {
    let bytes = bytes.trim_ascii();
    let Ok(text) = std::str::from_utf8(bytes) else { return Field::Text };
    if text.is_empty() {
        return Field::Missing;
    }
    let Ok(number) = text.parse::<f64>() else { return Field::Text };
    // A whole number is meant as it stands; the nearest f64 is what a decimal fraction means.
    const ALWAYS_EXACT: usize = 15;
    if bytes.len() > ALWAYS_EXACT
        && let Ok(whole) = text.parse::<i128>()
        && number as i128 != whole
    {
        return Field::Inexact(whole);
    }
    Field::Number(number)
}

/// What separates fields: the one of these that is there most often in the first row.
fn separator(input: &Input) -> Result<u8> {
    let mut head = vec![0; input.len().min(1 << 16) as usize];
    input.read_at(None, 0, &mut head)?;
    let mut is_quoted = false;
    let mut counts = [(b',', 0), (b'\t', 0), (b';', 0)];
    for byte in head {
        match byte {
            b'"' => is_quoted = !is_quoted,
            b'\n' if !is_quoted => break,
            _ if is_quoted => {}
            _ => counts.iter_mut().filter(|(separator, _)| *separator == byte).for_each(|(_, count)| *count += 1),
        }
    }
    // The first of several.
    Ok(counts.into_iter().rev().max_by_key(|(_, count)| *count).map_or(b',', |(separator, _)| separator))
}

/// A column as it turns out.
struct Column {
    name: String,
    /// Why it is none of numbers.
    other: Option<(&'static str, String)>,
}

pub(super) fn read(input: &Arc<Input>) -> Result<Contents> {
    let separator = separator(input)?;
    let mut rows = Rows::new(input, separator, 0);
    let Some((_, first)) = rows.next()? else {
        return Err(input.fault(None, Some(0), "there is no row in this file"));
    };
    if first.len() > MAX_COLUMNS {
        let reason = format!("the first row has {} fields, but at most {MAX_COLUMNS} columns are read", first.len());
        return Err(input.fault(None, Some(0), reason));
    }
    // Without names in the first row the columns are numbered.
    let has_names = !first.iter().all(|bytes| matches!(field(bytes), Field::Number(_) | Field::Inexact(_)));
    let mut columns = Vec::new();
    let mut names = HashSet::new();
    for (number, bytes) in first.iter().enumerate() {
        let name = match std::str::from_utf8(bytes) {
            Ok(name) if has_names => name.to_owned(),
            Ok(_) => format!("column_{}", number + 1),
            Err(_) => {
                return Err(input.fault(
                    None,
                    Some(0),
                    format!("the name of column {} is not UTF-8 text: convert the file", number + 1),
                ));
            }
        };
        if !names.insert(name.clone()) {
            return Err(input.fault(Some(&name), Some(0), "there are two columns of this name: give each a name of its own"));
        }
        columns.push(Column { name, other: None });
    }
    if !has_names {
        rows = Rows::new(input, separator, 0);
    }
    let mut marks = Vec::new();
    let mut count = 0;
    while let Some((at, record)) = rows.next()? {
        if record.len() != columns.len() {
            let reason = format!("row {count} has {} fields, but there are {} columns", record.len(), columns.len());
            return Err(input.fault(None, Some(at), reason));
        }
        if count % STEP == 0 {
            marks.push(at);
        }
        for (column, bytes) in columns.iter_mut().zip(record) {
            if column.other.is_some() {
                continue;
            }
            column.other = match field(bytes) {
                Field::Number(_) => None,
                Field::Inexact(value) => Some(("number", inexact_reason(count, value))),
                Field::Missing => Some(("number", format!("row {count} has no value: fill or leave out such rows"))),
                Field::Text => {
                    let text = String::from_utf8_lossy(bytes);
                    let short: String = text.chars().take(20).collect();
                    Some(("text", format!("row {count} has `{}`, which is no number", short.escape_debug())))
                }
            };
        }
        count += 1;
    }
    let table = Arc::new(Table { input: Arc::clone(input), separator, columns: columns.len(), marks });
    let mut contents = Contents::default();
    for (number, Column { name, other }) in columns.into_iter().enumerate() {
        let other = if count == 0 { Some(("number", EMPTY.to_owned())) } else { other };
        match other {
            Some((stored, reason)) => contents.skipped.push(Skipped { name, stored: stored.to_owned(), reason }),
            None => {
                let info = TensorInfo { name, shape: vec![count], dtype: Dtype::F64, stored: "number".to_owned() };
                let values = Values::Numbers(Box::new(OneColumn { table: Arc::clone(&table), number }));
                contents.entries.push(Entry { info, values });
            }
        }
    }
    Ok(contents)
}

/// A column of a table.
struct OneColumn {
    table: Arc<Table>,
    number: usize,
}

impl ReadNumbers for OneColumn {
    fn read_f32(&self, tensor: &str, _: usize, _: &mut [f32]) -> Result<()> {
        Err(self.table.input.fault(Some(tensor), None, "its values are f64"))
    }

    fn read_f64(&self, tensor: &str, start: usize, out: &mut [f64]) -> Result<()> {
        let Table { input, separator, columns, marks } = self.table.as_ref();
        let Some(&mark) = marks.get(start / STEP) else { return Ok(()) };
        let mut rows = Rows::new(input, *separator, mark);
        let changed = |at| {
            input.fault(
                Some(tensor),
                Some(at),
                "this is not what was here when the file was opened: leave it alone while it is read",
            )
        };
        for _ in 0..start % STEP {
            rows.next()?;
        }
        for out in out {
            let Some((at, record)) = rows.next()? else { return Err(changed(input.len())) };
            match record.get(self.number).filter(|_| record.len() == *columns).map(field) {
                Some(Field::Number(number)) => *out = number,
                _ => return Err(changed(at)),
            }
        }
        Ok(())
    }
}
