//! Values between polars and Arrow, and the function that makes a tile of columns.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, ListArray, StringArray, StructArray, UInt64Array, new_null_array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, Result, ScalarValue, exec_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use polars::prelude::{AnyValue, Column, DataType as PolarsType};

use crate::tile;

/// A value of a column of a report's frame; null without a row.
pub(crate) fn scalar_of(column: &Column, row: Option<usize>) -> Result<ScalarValue, DataFusionError> {
    let value =
        row.map_or(Ok(AnyValue::Null), |row| column.get(row)).map_err(|error| DataFusionError::External(Box::new(error)))?;
    let other = |value: &AnyValue| DataFusionError::Internal(format!("column {} has {value:?}", column.name()));
    Ok(match (column.dtype(), value) {
        (PolarsType::String, AnyValue::Null) => ScalarValue::Utf8(None),
        (PolarsType::String, value) => ScalarValue::Utf8(Some(value.get_str().ok_or_else(|| other(&value))?.to_owned())),
        (PolarsType::UInt32, AnyValue::UInt32(value)) => ScalarValue::UInt32(Some(value)),
        (PolarsType::UInt32, _) => ScalarValue::UInt32(None),
        (PolarsType::UInt64, AnyValue::UInt64(value)) => ScalarValue::UInt64(Some(value)),
        (PolarsType::UInt64, _) => ScalarValue::UInt64(None),
        (PolarsType::Int64, AnyValue::Int64(value)) => ScalarValue::Int64(Some(value)),
        (PolarsType::Int64, _) => ScalarValue::Int64(None),
        (PolarsType::Float64, AnyValue::Float64(value)) => ScalarValue::Float64(Some(value)),
        (PolarsType::Float64, _) => ScalarValue::Float64(None),
        (_, value) => return Err(other(&value)),
    })
}

/// `tile(tensor, shape, first, values)`: a tile of columns, as of a Parquet file.
pub(crate) fn tile_function() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(TileFunction { signature: Signature::any(4, Volatility::Immutable) }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct TileFunction {
    signature: Signature,
}

impl ScalarUDFImpl for TileFunction {
    fn name(&self) -> &str {
        "tile"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(tile::data_type())
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = arguments.number_rows;
        let arrays = arguments.args.iter().map(|argument| argument.to_array(rows)).collect::<Result<Vec<_>>>()?;
        let [tensor, shape, first, values] = arrays.as_slice() else {
            return exec_err!("tile takes tensor, shape, first and values");
        };
        Ok(ColumnarValue::Array(Arc::new(tiles_of(tensor, shape, first, values)?)))
    }
}

fn tiles_of(tensor: &ArrayRef, shape: &ArrayRef, first: &ArrayRef, values: &ArrayRef) -> Result<StructArray> {
    let rows = tensor.len();
    let fields = &*tile::FIELDS;
    let of_field = |place: usize, array: &ArrayRef| cast(array, fields[place].data_type());
    let value_type = match values.data_type() {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => item.data_type().clone(),
        other => return exec_err!("the values of a tile are a list of numbers, not {other}"),
    };
    let null = |place: usize| new_null_array(fields[place].data_type(), rows);
    let (dtype, f32_values, f64_values) = match value_type {
        DataType::Float32 => ("f32", of_field(5, values)?, null(6)),
        DataType::Float64 => ("f64", null(5), of_field(6, values)?),
        other => return exec_err!("the values of a tile are Float32 or Float64, not {other}: cast them first"),
    };
    let shape = of_field(2, shape)?;
    let has_nulls = shape.as_list_opt::<i32>().is_none_or(|shape: &ListArray| shape.values().null_count() > 0);
    if tensor.null_count() + shape.null_count() + first.null_count() > 0 || has_nulls {
        return exec_err!("tensor, shape and first of a tile are not null");
    }
    let columns: Vec<ArrayRef> = vec![
        Arc::new(UInt64Array::from(vec![0; rows])),
        of_field(1, tensor)?,
        shape,
        Arc::new(StringArray::from(vec![dtype; rows])),
        of_field(4, first)?,
        f32_values,
        f64_values,
        null(7),
    ];
    Ok(StructArray::try_new(fields.clone(), columns, None)?)
}
