//! The types of columns, and columns that grow cell by cell.

use polars::prelude::{Column, DataFrame, DataType, IntoColumn, NamedFrom, Series};
use serde_json::Value;

use super::{SCHEMA_COLUMN, failed};
use crate::error::{Error, Result};

macro_rules! kinds {
    ($($kind:ident $name:literal $letter:literal $value:ty, $dtype:ident;)+) => {
        /// A type of columns.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Kind {
            $($kind),+
        }

        impl Kind {
            const ALL: &[Self] = &[$(Self::$kind),+];

            /// As polars shows it.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name),+
                }
            }

            pub fn letter(self) -> char {
                match self {
                    $(Self::$kind => $letter),+
                }
            }

            fn of(dtype: &DataType) -> Option<Self> {
                match dtype {
                    $(DataType::$dtype => Some(Self::$kind),)+
                    _ => None,
                }
            }

            pub fn cells(self) -> Cells {
                match self {
                    $(Self::$kind => Cells::$kind(Vec::new())),+
                }
            }
        }

        /// The cells of a column.
        #[derive(Debug)]
        pub enum Cells {
            $($kind(Vec<Option<$value>>)),+
        }

        impl Cells {
            pub fn push_null(&mut self) {
                match self {
                    $(Self::$kind(cells) => cells.push(None)),+
                }
            }

            /// Whether the text is such a value.
            pub fn push_text(&mut self, text: &str) -> bool {
                match self {
                    $(Self::$kind(cells) => match text.parse::<$value>() {
                        Ok(value) => cells.push(Some(value)),
                        Err(_) => return false,
                    }),+
                }
                true
            }

            pub fn into_column(self, name: &str) -> Column {
                match self {
                    $(Self::$kind(cells) => Series::new(name.into(), cells).into_column()),+
                }
            }
        }
    };
}
kinds! {
    Text "str" 's' String, String;
    Boolean "bool" 'b' bool, Boolean;
    I32 "i32" 'i' i32, Int32;
    I64 "i64" 'l' i64, Int64;
    U32 "u32" 'u' u32, UInt32;
    U64 "u64" 'v' u64, UInt64;
    F32 "f32" 'f' f32, Float32;
    F64 "f64" 'd' f64, Float64;
}

impl Kind {
    pub fn of_letter(letter: char) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.letter() == letter)
    }

    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name)
    }
}

impl Cells {
    /// Whether the value is one of these.
    pub fn push_json(&mut self, value: &Value) -> bool {
        match (self, value) {
            (cells, Value::Null) => cells.push_null(),
            (Self::Text(cells), Value::String(text)) => cells.push(Some(text.clone())),
            (Self::Boolean(cells), Value::Bool(value)) => cells.push(Some(*value)),
            // Numbers of which JSON has none.
            (cells @ (Self::F32(_) | Self::F64(_)), Value::String(text)) => {
                return matches!(text.as_str(), "nan" | "inf" | "-inf") && cells.push_text(text);
            }
            (Self::F64(cells), Value::Number(number)) => cells.push(number.as_f64()),
            // An f32 was written as the f64 it is.
            (Self::F32(cells), Value::Number(number)) => cells.push(number.as_f64().map(|number| number as f32)),
            (cells @ (Self::I32(_) | Self::I64(_) | Self::U32(_) | Self::U64(_)), Value::Number(number)) => {
                return cells.push_text(&number.to_string());
            }
            _ => return false,
        }
        true
    }
}

/// The types of a table's columns.
///
/// # Errors
/// [`Error::Table`] if there is none for a column, or if the column is called as one that is taken.
pub fn kinds_of(table: &DataFrame, is_taken: bool) -> Result<Vec<Kind>> {
    let kind = |column: &Column| {
        if is_taken && column.name() == SCHEMA_COLUMN {
            return Err(failed(format!("a column cannot be called `{SCHEMA_COLUMN}` in this format: rename it, or write JSON")));
        }
        let other = || {
            failed(format!(
                "column `{}` is {}: cast it to text, bool, i32, i64, u32, u64, f32 or f64",
                column.name(),
                column.dtype()
            ))
        };
        Kind::of(column.dtype()).ok_or_else(other)
    };
    table.columns().iter().map(kind).collect()
}

/// The table of these columns.
pub fn table_of(names: &[String], cells: Vec<Cells>, rows: usize) -> Result<DataFrame, Error> {
    let columns = names.iter().zip(cells).map(|(name, cells)| cells.into_column(name)).collect();
    Ok(DataFrame::new(rows, columns)?)
}
