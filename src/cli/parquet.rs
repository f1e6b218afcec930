//! Parquet, written column by column.

use std::io::Write;
use std::sync::Arc;

use parquet::basic::{Compression, LogicalType, Repetition, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::Type;

use super::table::{Column, Table, Values};

/// Writes a table as one row group of columns that may have nulls.
pub fn write(table: &Table, to: &mut (dyn Write + Send)) -> Result<(), String> {
    try_write(table, to).map_err(|error| error.to_string())
}

fn try_write(table: &Table, to: &mut (dyn Write + Send)) -> Result<(), ParquetError> {
    let fields = table.columns.iter().map(|column| field(column).map(Arc::new)).collect::<Result<Vec<_>, _>>()?;
    let schema = Type::group_type_builder("table").with_fields(fields).build()?;
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut file = SerializedFileWriter::new(to, Arc::new(schema), Arc::new(properties))?;
    let mut group = file.next_row_group()?;
    for column in &table.columns {
        match &column.values {
            Values::Text(values) => {
                write_column::<ByteArrayType, _, _>(&mut group, values, |text: &String| ByteArray::from(text.as_str()))?;
            }
            Values::Whole(values) => write_column::<Int64Type, _, _>(&mut group, values, |number| *number)?,
            Values::Real(values) => write_column::<DoubleType, _, _>(&mut group, values, |number| *number)?,
        }
    }
    group.close()?;
    file.close()?;
    Ok(())
}

fn field(column: &Column) -> Result<Type, ParquetError> {
    let (physical, logical) = match column.values {
        Values::Text(_) => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        Values::Whole(_) => (Physical::INT64, None),
        Values::Real(_) => (Physical::DOUBLE, None),
    };
    let builder = Type::primitive_type_builder(column.name, physical);
    builder.with_repetition(Repetition::OPTIONAL).with_logical_type(logical).build()
}

fn write_column<D: DataType, V, W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    values: &[Option<V>],
    stored: impl Fn(&V) -> D::T,
) -> Result<(), ParquetError> {
    let levels: Vec<i16> = values.iter().map(|value| i16::from(value.is_some())).collect();
    let present: Vec<D::T> = values.iter().flatten().map(stored).collect();
    let Some(mut writer) = group.next_column()? else { return Ok(()) };
    writer.typed::<D>().write_batch(&present, Some(&levels), None)?;
    writer.close()
}
