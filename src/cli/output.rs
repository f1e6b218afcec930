//! Files that are there whole or not at all, and the formats that tables are written in.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use tempfile::NamedTempFile;

use super::table::{Cell, Table};
use super::{Stop, parquet};

/// A file for a table, whose format its name says.
#[derive(Debug, Clone)]
pub struct Output {
    path: PathBuf,
    format: Format,
}

#[derive(Debug, Clone, Copy)]
enum Format {
    Parquet,
    Csv,
    Json,
    Ndjson,
}

impl Output {
    /// For clap.
    pub fn parse(path: &str) -> Result<Self, String> {
        let path = PathBuf::from(path);
        let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
        let format = match ending.as_deref() {
            Some("parquet") => Format::Parquet,
            Some("csv") => Format::Csv,
            Some("json") => Format::Json,
            Some("ndjson" | "jsonl") => Format::Ndjson,
            _ => return Err("its name must end in .parquet, .csv, .json or .ndjson".to_owned()),
        };
        Ok(Self { path, format })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn write(&self, table: &Table) -> Result<(), Stop> {
        write(&self.path, |to| match self.format {
            Format::Parquet => parquet::write(table, to),
            Format::Csv => write_csv(table, to),
            Format::Json => serde_json::to_writer_pretty(&mut *to, &Rows(table)).map_err(text).and_then(|()| end_line(to)),
            Format::Ndjson => (0..table.height())
                .try_for_each(|row| serde_json::to_writer(&mut *to, &Row(table, row)).map_err(text).and_then(|()| end_line(to))),
        })
    }
}

fn text(error: impl ToString) -> String {
    error.to_string()
}

fn end_line(to: &mut (dyn Write + Send)) -> Result<(), String> {
    to.write_all(b"\n").map_err(text)
}

/// Makes sure, before work that takes long, that a file can be made.
pub fn check(path: &Path) -> Result<(), Stop> {
    if is_special(path) {
        return Ok(());
    }
    temporary(path).map(drop).map_err(|error| cannot(path, error))
}

/// Writes a file beside its place and moves it there when it is complete: whatever happens meanwhile, what was there is as it was.
pub fn write(path: &Path, content: impl FnOnce(&mut (dyn Write + Send)) -> Result<(), String>) -> Result<(), Stop> {
    let failed = |error: String| cannot(path, error);
    if is_special(path) {
        let mut file = std::fs::OpenOptions::new().write(true).open(path).map_err(|error| cannot(path, error))?;
        return content(&mut file).map_err(failed);
    }
    let mut file = temporary(path).map_err(|error| cannot(path, error))?;
    let mut buffered = BufWriter::new(file.as_file_mut());
    content(&mut buffered).map_err(failed)?;
    buffered.flush().map_err(|error| cannot(path, error))?;
    drop(buffered);
    file.persist(target(path)).map_err(|error| cannot(path, error.error))?;
    Ok(())
}

fn cannot(path: &Path, error: impl std::fmt::Display) -> Stop {
    Stop::Error(format!("`{}` cannot be written: {error}", path.display()))
}

/// Whether there is something that a file must not take the place of, such as /dev/null. (A folder says so itself.)
fn is_special(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| !found.is_file())
}

/// Where a link leads, so that it stays one.
fn target(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

fn temporary(path: &Path) -> std::io::Result<NamedTempFile> {
    let target = target(path);
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".quantlens-");
    // As any new file; without this nobody else could read it.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder)
}

/// Numbers are the shortest text that reads back as the same; nulls are empty.
fn write_csv(table: &Table, to: &mut (dyn Write + Send)) -> Result<(), String> {
    let mut writer = csv::Writer::from_writer(to);
    writer.write_record(table.columns.iter().map(|column| column.name)).map_err(text)?;
    for row in 0..table.height() {
        let cells = table.columns.iter().map(|column| match column.cell(row) {
            Cell::Null => String::new(),
            Cell::Text(text) => text.to_owned(),
            Cell::Whole(number) => number.to_string(),
            Cell::Real(number) => number.to_string(),
        });
        writer.write_record(cells).map_err(text)?;
    }
    writer.flush().map_err(text)
}

struct Rows<'a>(&'a Table);

impl Serialize for Rows<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq((0..self.0.height()).map(|row| Row(self.0, row)))
    }
}

struct Row<'a>(&'a Table, usize);

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(table, row) = *self;
        let mut map = serializer.serialize_map(Some(table.columns.len()))?;
        for column in &table.columns {
            match column.cell(row) {
                Cell::Null => map.serialize_entry(column.name, &())?,
                Cell::Text(text) => map.serialize_entry(column.name, text)?,
                Cell::Whole(number) => map.serialize_entry(column.name, &number)?,
                Cell::Real(number) if number.is_finite() => map.serialize_entry(column.name, &number)?,
                // JSON has no numbers for these; the library's `Metrics` say them so, too.
                Cell::Real(number) => map.serialize_entry(column.name, &number.to_string().to_lowercase())?,
            }
        }
        map.end()
    }
}
