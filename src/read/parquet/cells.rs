//! The cells of a whole file: texts, truths and numbers, some of them null.

use std::path::Path;
use std::sync::Arc;

use parquet::basic::{ConvertedType, LogicalType};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, DataType};
use parquet::file::reader::FileReader;
use parquet::schema::types::ColumnDescriptor;

use super::super::input::Input;
use super::{Table, guarded, opened, pages};
use crate::error::Result;

/// A file that was opened.
pub(crate) struct StoredTable(Table);

/// The cells of a column in the type they are stored in.
pub(crate) enum StoredCells {
    Text(Vec<Option<String>>),
    Boolean(Vec<Option<bool>>),
    I32(Vec<Option<i32>>),
    I64(Vec<Option<i64>>),
    U32(Vec<Option<u32>>),
    U64(Vec<Option<u64>>),
    F32(Vec<Option<f32>>),
    F64(Vec<Option<f64>>),
}

impl StoredTable {
    pub fn open(path: &Path) -> Result<Self> {
        Ok(Self(opened(&Input::open(path)?)?))
    }

    /// What the file's metadata has under a key.
    pub fn value(&self, key: &str) -> Option<&str> {
        let metadata = self.0.reader.metadata().file_metadata().key_value_metadata()?;
        metadata.iter().find(|pair| pair.key == key)?.value.as_deref()
    }

    pub fn rows(&self) -> usize {
        self.0.starts.last().copied().unwrap_or(0)
    }

    /// The columns with their names, in order.
    pub fn columns(&self) -> Result<Vec<(String, StoredCells)>> {
        let schema = self.0.reader.metadata().file_metadata().schema_descr_ptr();
        let column = |(number, column): (usize, &Arc<ColumnDescriptor>)| {
            let name = column.path().string();
            let cells = self.cells(&name, number, column)?;
            Ok((name, cells))
        };
        schema.columns().iter().enumerate().map(column).collect()
    }

    fn cells(&self, name: &str, number: usize, column: &ColumnDescriptor) -> Result<StoredCells> {
        if column.max_rep_level() > 0 || column.max_def_level() > 1 {
            return Err(self.0.input.fault(Some(name), None, "it is nested: a table has plain columns"));
        }
        let is_unsigned = match column.logical_type_ref() {
            Some(LogicalType::Integer(int)) => !int.is_signed,
            _ => matches!(column.converted_type(), ConvertedType::UINT_32 | ConvertedType::UINT_64),
        };
        let mut cells = None;
        for group in 0..self.0.starts.len() - 1 {
            let compression = self.0.reader.metadata().row_group(group).column(number).compression();
            pages::check(&self.0.input, name, self.0.pages(name, group, number)?, compression)?;
            let reader = guarded(&self.0.input, Some(name), || self.0.reader.get_row_group(group)?.get_column_reader(number))?;
            self.append(name, group, reader, is_unsigned, &mut cells)?;
        }
        // Without groups the type is not needed: the writer makes one also of no rows.
        Ok(cells.unwrap_or(StoredCells::Text(Vec::new())))
    }

    fn append(
        &self,
        name: &str,
        group: usize,
        reader: ColumnReader,
        is_unsigned: bool,
        cells: &mut Option<StoredCells>,
    ) -> Result<()> {
        /// Reads into the cells of this type, which are made for the first group.
        macro_rules! into {
            ($kind:ident, $reader:expr, $convert:expr) => {{
                let cells = cells.get_or_insert_with(|| StoredCells::$kind(Vec::new()));
                let StoredCells::$kind(cells) = cells else {
                    return Err(self.0.input.fault(Some(name), None, "its groups have different types: the file is damaged"));
                };
                self.read(name, group, $reader, $convert, cells)
            }};
        }
        match (reader, is_unsigned) {
            (ColumnReader::BoolColumnReader(reader), _) => into!(Boolean, reader, |value: bool| Some(value)),
            (ColumnReader::Int32ColumnReader(reader), false) => into!(I32, reader, |value: i32| Some(value)),
            (ColumnReader::Int64ColumnReader(reader), false) => into!(I64, reader, |value: i64| Some(value)),
            (ColumnReader::Int32ColumnReader(reader), true) => into!(U32, reader, |value: i32| Some(value as u32)),
            (ColumnReader::Int64ColumnReader(reader), true) => into!(U64, reader, |value: i64| Some(value as u64)),
            (ColumnReader::FloatColumnReader(reader), _) => into!(F32, reader, |value: f32| Some(value)),
            (ColumnReader::DoubleColumnReader(reader), _) => into!(F64, reader, |value: f64| Some(value)),
            (ColumnReader::ByteArrayColumnReader(reader), _) => {
                into!(Text, reader, |value: ByteArray| value.as_utf8().ok().map(str::to_owned))
            }
            _ => Err(self.0.input.fault(Some(name), None, "it is of a type that tables do not have")),
        }
    }

    fn read<T: DataType, V>(
        &self,
        name: &str,
        group: usize,
        mut reader: ColumnReaderImpl<T>,
        convert: impl Fn(T::T) -> Option<V>,
        cells: &mut Vec<Option<V>>,
    ) -> Result<()> {
        const BATCH: usize = 1 << 16;
        let rows = self.0.starts[group + 1] - self.0.starts[group];
        let damaged = |reason: String| self.0.input.fault(Some(name), None, reason);
        let mut done = 0;
        while done < rows {
            let (mut values, mut levels) = (Vec::new(), Vec::new());
            let most = (rows - done).min(BATCH);
            let (records, found, _) =
                guarded(&self.0.input, Some(name), || reader.read_records(most, Some(&mut levels), None, &mut values))?;
            if records == 0 {
                return Err(damaged(format!("it should have {rows} rows in group {group} and has {done}: the file is damaged")));
            }
            // Of a column that has no nulls there are no levels.
            levels.resize(records, 1);
            let mut values = values.into_iter();
            for level in levels {
                cells.push(match level {
                    0 => None,
                    _ => {
                        let value = values.next().and_then(&convert);
                        Some(value.ok_or_else(|| {
                            damaged(format!("it has {found} values that are no text of UTF-8, or too few: the file is damaged"))
                        })?)
                    }
                });
            }
            done += records;
        }
        Ok(())
    }
}
