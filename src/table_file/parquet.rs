//! Parquet, written and read column by column.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use ::parquet::basic::{Compression, IntType, LogicalType, Repetition, Type as Physical};
use ::parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType, FloatType, Int32Type, Int64Type};
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::KeyValue;
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use ::parquet::schema::types::Type;
use polars::prelude::{Column, DataFrame};

use super::cells::{Cells, Kind, kinds_of, table_of};
use super::{CUT_SHORT, NOT_OURS, after_version, failed, fault, schema};
use crate::error::{Error, Result};
use crate::read::{StoredCells, StoredTable};

/// Where the file's metadata has the schema.
const KEY: &str = "quantlens.schema";

/// Writes a table as one group of rows of columns that may have nulls.
pub fn write(table: &DataFrame, to: &mut (dyn Write + Send)) -> Result<()> {
    let kinds = kinds_of(table, false)?;
    let columns = table.columns().iter().zip(&kinds);
    let fields =
        columns.map(|(column, kind)| Ok(Arc::new(field(column.name(), *kind)?))).collect::<Result<Vec<_>, ParquetError>>();
    let schema_of_file = Type::group_type_builder("table").with_fields(fields.map_err(failed)?).build().map_err(failed)?;
    let metadata = vec![KeyValue::new(KEY.to_owned(), schema())];
    let properties =
        WriterProperties::builder().set_compression(Compression::SNAPPY).set_key_value_metadata(Some(metadata)).build();
    let mut file = SerializedFileWriter::new(to, Arc::new(schema_of_file), Arc::new(properties)).map_err(failed)?;
    let mut group = file.next_row_group().map_err(failed)?;
    for (column, kind) in table.columns().iter().zip(kinds) {
        write_column(&mut group, column, kind)?;
    }
    group.close().map_err(failed)?;
    file.close().map_err(failed)?;
    Ok(())
}

fn field(name: &str, kind: Kind) -> Result<Type, ParquetError> {
    let (physical, logical) = match kind {
        Kind::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        Kind::Boolean => (Physical::BOOLEAN, None),
        Kind::I32 => (Physical::INT32, None),
        Kind::I64 => (Physical::INT64, None),
        Kind::U32 => (Physical::INT32, Some(LogicalType::Integer(IntType { bit_width: 32, is_signed: false }))),
        Kind::U64 => (Physical::INT64, Some(LogicalType::Integer(IntType { bit_width: 64, is_signed: false }))),
        Kind::F32 => (Physical::FLOAT, None),
        Kind::F64 => (Physical::DOUBLE, None),
    };
    Type::primitive_type_builder(name, physical).with_repetition(Repetition::OPTIONAL).with_logical_type(logical).build()
}

fn write_column<W: Write + Send>(group: &mut SerializedRowGroupWriter<'_, W>, column: &Column, kind: Kind) -> Result<()> {
    let written = match kind {
        Kind::Text => write_cells::<ByteArrayType, _, _>(group, column.str()?.iter(), ByteArray::from),
        Kind::Boolean => write_cells::<BoolType, _, _>(group, column.bool()?.iter(), |value| value),
        Kind::I32 => write_cells::<Int32Type, _, _>(group, column.i32()?.iter(), |value| value),
        Kind::I64 => write_cells::<Int64Type, _, _>(group, column.i64()?.iter(), |value| value),
        Kind::U32 => write_cells::<Int32Type, _, _>(group, column.u32()?.iter(), |value: u32| value as i32),
        Kind::U64 => write_cells::<Int64Type, _, _>(group, column.u64()?.iter(), |value: u64| value as i64),
        Kind::F32 => write_cells::<FloatType, _, _>(group, column.f32()?.iter(), |value| value),
        Kind::F64 => write_cells::<DoubleType, _, _>(group, column.f64()?.iter(), |value| value),
    };
    written.map_err(failed)
}

fn write_cells<D: DataType, V, W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    cells: impl Iterator<Item = Option<V>>,
    stored: impl Fn(V) -> D::T,
) -> Result<(), ParquetError> {
    let (mut levels, mut present) = (Vec::<i16>::new(), Vec::<D::T>::new());
    for cell in cells {
        levels.push(cell.is_some().into());
        present.extend(cell.map(&stored));
    }
    let Some(mut writer) = group.next_column()? else { return Ok(()) };
    writer.typed::<D>().write_batch(&present, Some(&levels), None)?;
    writer.close()
}

pub fn read(path: &Path) -> Result<DataFrame> {
    let stored = StoredTable::open(path)?;
    let refuse = |reason: String| fault(path, reason);
    let rest = after_version(stored.value(KEY).ok_or_else(|| refuse(NOT_OURS.to_owned()))?).map_err(refuse)?;
    if !rest.is_empty() {
        return Err(refuse(CUT_SHORT.to_owned()));
    }
    let (mut names, mut cells) = (Vec::new(), Vec::new());
    for (name, column) in stored.columns()? {
        names.push(name);
        cells.push(match column {
            StoredCells::Text(values) => Cells::Text(values),
            StoredCells::Boolean(values) => Cells::Boolean(values),
            StoredCells::I32(values) => Cells::I32(values),
            StoredCells::I64(values) => Cells::I64(values),
            StoredCells::U32(values) => Cells::U32(values),
            StoredCells::U64(values) => Cells::U64(values),
            StoredCells::F32(values) => Cells::F32(values),
            StoredCells::F64(values) => Cells::F64(values),
        });
    }
    table_of(&names, cells, stored.rows()).map_err(|error: Error| refuse(error.to_string()))
}
