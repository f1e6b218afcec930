//! Tables in files and back: JSON, NDJSON, CSV and Parquet, with the version of their schema and the type of each column.

mod cells;
#[cfg(feature = "csv")]
mod csv;
mod json;
#[cfg(feature = "parquet")]
mod parquet;

use std::fmt;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::str::FromStr;

use polars::prelude::DataFrame;

use crate::error::{Error, Result};

use cells::Kind;

/// What a table is written in. Its name is how such files end, and parses back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TableFormat {
    /// One object: `schema`, `columns` with the `name` and `type` of each, and `rows`, an object each.
    Json,
    /// A line for each row, an object, whose first member is the `schema`.
    Ndjson,
    /// A line with the columns' names, and one for each row. The first column is the `schema`. With the crate's feature `csv`.
    Csv,
    /// One group of rows, compressed with snappy; the `schema` is in the file's metadata. With the crate's feature `parquet`.
    Parquet,
}

impl TableFormat {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Json, Self::Ndjson, Self::Csv, Self::Parquet];

    /// The format that the ending of a file's name says, in upper or lower case; `.jsonl` is NDJSON, too.
    ///
    /// # Errors
    /// [`Error::File`] if it says none.
    pub fn of_path(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase()).unwrap_or_default();
        let ending = if ending == "jsonl" { "ndjson" } else { &ending };
        ending.parse().map_err(|_| fault(path, "its name must end in .json, .ndjson, .csv or .parquet"))
    }

    /// Writes a table: any whose columns are texts, booleans, i32, i64, u32, u64, f32 or f64, as those of this library are.
    ///
    /// The schema is the text `quantlens-table-1`, where 1 is its version. In NDJSON and CSV, which have no other place for it, it stands in each row,
    /// followed by the number of rows (by which [`load_table`] sees that all are there) and a letter for the type of each column. A
    /// table without rows has one line there, of nulls. Numbers are the shortest text that reads back as the same f64. JSON has no numbers for NaN and
    /// ±∞: they are the texts `nan`, `inf` and `-inf` there. A null in CSV is empty; a text that is empty, or stands in double quotes,
    /// is put in double quotes (besides those of CSV).
    ///
    /// # Errors
    /// [`Error::Table`] for a column of another type, or with the name `schema` where that is taken; where the writer fails; and where the crate's
    /// feature is missing.
    pub fn write(self, table: &DataFrame, to: &mut (dyn Write + Send)) -> Result<()> {
        match self {
            Self::Json => json::write(table, to),
            Self::Ndjson => json::write_lines(table, to),
            #[cfg(feature = "csv")]
            Self::Csv => csv::write(table, to),
            #[cfg(feature = "parquet")]
            Self::Parquet => parquet::write(table, to),
            #[cfg(not(all(feature = "csv", feature = "parquet")))]
            _ => Err(Error::Table { reason: self.missing() }),
        }
    }

    #[cfg(not(all(feature = "csv", feature = "parquet")))]
    fn missing(self) -> String {
        format!("it needs the feature `{self}` of the crate quantlens: add it in Cargo.toml")
    }
}

impl fmt::Display for TableFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Json => "json",
            Self::Ndjson => "ndjson",
            Self::Csv => "csv",
            Self::Parquet => "parquet",
        })
    }
}

impl FromStr for TableFormat {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let unknown =
            || Error::Table { reason: format!("`{text}` is no format of tables: they are json, ndjson, csv and parquet") };
        Self::ALL.into_iter().find(|format| format.to_string() == text).ok_or_else(unknown)
    }
}

/// Writes a table to a file, whose name's ending says in which [`TableFormat`].
///
/// ```
/// # use quantlens::{Scheme, Synthetic, load_table, report, save_table};
/// let x = Synthetic::normal(0.0, 1.0).seed(1).tensor::<f32>("x", &[4096])?;
/// let table = report(&x, &[Scheme::symmetric(8), Scheme::symmetric(4)])?;
/// let path = std::env::temp_dir().join("quantlens-save-table.json");
/// save_table(&table, &path)?;
/// assert!(load_table(&path)?.equals_missing(&table));
/// # std::fs::remove_file(path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As [`TableFormat::of_path`] and [`TableFormat::write`]; [`Error::Write`].
pub fn save_table(table: &DataFrame, path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    let mut bytes = Vec::new();
    TableFormat::of_path(path)?.write(table, &mut bytes)?;
    std::fs::write(path, bytes).map_err(|error| Error::Write { path: path.display().to_string(), source: error.into() })
}

/// Reads a table that [`save_table`] wrote: equal to what it was, with the order, names and types of the columns, nulls, NaN and infinities. The sign of a
/// NaN alone is not kept.
///
/// # Errors
/// [`Error::File`], if it cannot be read, was not written by quantlens, has another version of the schema, is cut short or damaged.
pub fn load_table(path: impl AsRef<Path>) -> Result<DataFrame> {
    let path = path.as_ref();
    let format = TableFormat::of_path(path)?;
    let read = || std::fs::read(path).map_err(|error| fault(path, format!("it cannot be read: {error}")));
    match format {
        TableFormat::Json => json::read(&read()?).map_err(|reason| fault(path, reason)),
        TableFormat::Ndjson => json::read_lines(&read()?).map_err(|reason| fault(path, reason)),
        #[cfg(feature = "csv")]
        TableFormat::Csv => csv::read(&read()?).map_err(|reason| fault(path, reason)),
        #[cfg(feature = "parquet")]
        TableFormat::Parquet => parquet::read(path),
        #[cfg(not(all(feature = "csv", feature = "parquet")))]
        format => Err(fault(path, format.missing())),
    }
}

/// Whether a file looks like a table that quantlens wrote, in any version: the name of the schema is near its begin or its end. False if it
/// cannot be read.
pub fn is_saved_table(path: impl AsRef<Path>) -> bool {
    const NEAR: u64 = 1 << 16;
    let path = path.as_ref();
    if TableFormat::of_path(path).is_err() || !std::fs::metadata(path).is_ok_and(|found| found.is_file()) {
        return false;
    }
    let looks = || {
        let mut file = std::fs::File::open(path)?;
        let len = file.metadata()?.len();
        for start in [0, len.saturating_sub(NEAR)] {
            file.seek(SeekFrom::Start(start))?;
            let mut bytes = Vec::new();
            (&mut file).take(NEAR).read_to_end(&mut bytes)?;
            if bytes.windows(SCHEMA.len()).any(|window| window == SCHEMA.as_bytes()) {
                return Ok(true);
            }
        }
        Ok::<_, std::io::Error>(false)
    };
    looks().unwrap_or(false)
}

/// What the schema's name begins with; its version follows.
const SCHEMA: &str = "quantlens-table-";

/// Of the schema, changed with it.
const VERSION: u32 = 1;

/// The first column of CSV, the first member of a line of NDJSON.
const SCHEMA_COLUMN: &str = "schema";

const NOT_OURS: &str = "it is no table that quantlens wrote: there is no `schema` in it, or it is damaged";

const CUT_SHORT: &str = "it is cut short or damaged: write it again";

fn fault(path: &Path, reason: impl Into<String>) -> Error {
    Error::File { path: path.display().to_string(), tensor: None, offset: None, reason: reason.into() }
}

fn schema() -> String {
    format!("{SCHEMA}{VERSION}")
}

/// What follows the version, if it is the one there is.
fn after_version(schema: &str) -> Result<&str, String> {
    let rest = schema.strip_prefix(SCHEMA).ok_or(NOT_OURS)?;
    let (version, rest) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len()));
    if version.parse() != Ok(VERSION) {
        return Err(format!(
            "it is a table of schema version {version}, but this quantlens reads version {VERSION}: write it again with this one, or read it with the one that wrote it"
        ));
    }
    Ok(rest)
}

/// The schema as it stands in each row: `quantlens-table-1 14 sssud`, 14 the number of rows.
fn schema_of_row(kinds: &[Kind], rows: usize) -> String {
    let letters: String = kinds.iter().map(|kind| kind.letter()).collect();
    format!("{} {rows} {letters}", schema())
}

/// What [`schema_of_row`] says.
fn kinds_and_rows(schema: &str) -> Result<(Vec<Kind>, usize), String> {
    let rest = after_version(schema)?;
    let parsed = || {
        let (rows, letters) = rest.strip_prefix(' ')?.split_once(' ')?;
        Some((letters.chars().map(Kind::of_letter).collect::<Option<Vec<_>>>()?, rows.parse().ok()?))
    };
    parsed().ok_or_else(|| CUT_SHORT.to_owned())
}

fn failed(error: impl fmt::Display) -> Error {
    Error::Table { reason: error.to_string() }
}
