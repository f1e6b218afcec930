//! Tiles: some neighbouring values of a tensor, with what is known of it, as a struct of Arrow.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Float32Array, Float64Array, ListArray, RecordBatch, StringArray, StructArray, UInt64Array,
};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::datatypes::{DataType, Field, Fields, Float32Type, Float64Type, Schema, SchemaRef, UInt64Type};
use datafusion::common::{DataFusionError, Result, exec_err};
use quantlens::{Dtype, Slice, TensorInfo};

/// The fields of a tile.
///
/// | field | type | |
/// |---|---|---|
/// | `number` | UInt64 | the tensor's place in its model |
/// | `tensor` | Utf8 | its name |
/// | `shape` | List of UInt64 | the length of each of its axes |
/// | `dtype` | Utf8 | what its values are computed in: `f32` or `f64` |
/// | `first` | UInt64 | the number in the tensor of the first of these values, row-major |
/// | `f32`, `f64` | Lists | the values: one of the two, the other is null |
/// | `error` | Utf8 | why the values could not be read; null where they could |
pub(crate) static FIELDS: LazyLock<Fields> = LazyLock::new(|| {
    Fields::from(vec![
        Field::new("number", DataType::UInt64, false),
        Field::new("tensor", DataType::Utf8, false),
        Field::new("shape", list(DataType::UInt64), false),
        Field::new("dtype", DataType::Utf8, false),
        Field::new("first", DataType::UInt64, false),
        Field::new("f32", list(DataType::Float32), true),
        Field::new("f64", list(DataType::Float64), true),
        Field::new("error", DataType::Utf8, true),
    ])
});

/// The columns of a table of tiles: `number`, `tensor`, and `tile`.
pub(crate) static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new("number", DataType::UInt64, false),
        Field::new("tensor", DataType::Utf8, false),
        Field::new("tile", data_type(), false),
    ]))
});

/// The place of `tile` among them.
pub(crate) const TILE_COLUMN: usize = 2;

/// The type of a tile.
pub(crate) fn data_type() -> DataType {
    DataType::Struct(FIELDS.clone())
}

fn list(of: DataType) -> DataType {
    DataType::List(item(of))
}

fn item(of: DataType) -> Arc<Field> {
    Arc::new(Field::new_list_field(of, true))
}

/// One tile as a row of the table: its values, or why they cannot be read.
pub(crate) fn row(number: usize, info: &TensorInfo, first: usize, values: Result<Slice, String>) -> Result<RecordBatch> {
    let one_list = |of: DataType, values: Option<ArrayRef>| -> Result<ArrayRef> {
        Ok(match values {
            Some(values) => Arc::new(ListArray::try_new(item(of), OffsetBuffer::from_lengths([values.len()]), values, None)?),
            None => Arc::new(ListArray::new_null(item(of), 1)),
        })
    };
    let shape: UInt64Array = info.shape.iter().map(|&length| length as u64).collect();
    let (f32_values, f64_values, error): (Option<ArrayRef>, Option<ArrayRef>, _) = match values {
        Ok(Slice::F32(values)) => (Some(Arc::new(Float32Array::from(values.to_vec()))), None, None),
        Ok(Slice::F64(values)) => (None, Some(Arc::new(Float64Array::from(values.to_vec()))), None),
        Err(error) => (None, None, Some(error)),
    };
    let number: ArrayRef = Arc::new(UInt64Array::from(vec![number as u64]));
    let tensor: ArrayRef = Arc::new(StringArray::from(vec![info.name.as_str()]));
    let columns = vec![
        Arc::clone(&number),
        Arc::clone(&tensor),
        one_list(DataType::UInt64, Some(Arc::new(shape)))?,
        Arc::new(StringArray::from(vec![info.dtype.to_string()])),
        Arc::new(UInt64Array::from(vec![first as u64])),
        one_list(DataType::Float32, f32_values)?,
        one_list(DataType::Float64, f64_values)?,
        Arc::new(StringArray::from(vec![error])),
    ];
    let tile = StructArray::try_new(FIELDS.clone(), columns, None)?;
    Ok(RecordBatch::try_new(Arc::clone(&SCHEMA), vec![number, tensor, Arc::new(tile)])?)
}

/// A tile of an array of them.
pub(crate) struct Tile<'a> {
    pub number: u64,
    pub info: TensorInfo,
    pub first: usize,
    /// The values, or why they could not be read.
    pub values: Result<Slice<'a>, &'a str>,
}

/// Some tiles.
pub(crate) struct Tiles<'a> {
    tiles: &'a StructArray,
}

impl<'a> Tiles<'a> {
    pub fn of(array: &'a ArrayRef) -> Result<Self> {
        match array.as_struct_opt() {
            Some(tiles) if *array.data_type() == data_type() => Ok(Self { tiles }),
            _ => exec_err!("these are no tiles, but {}: a table of tiles is a ModelTable, or made by `tile`", array.data_type()),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = Result<Tile<'a>>> {
        let tiles = self.tiles;
        (0..tiles.len()).filter(|&row| tiles.is_valid(row)).map(move |row| tile(tiles, row))
    }
}

/// The tile of a row, which is of the type of tiles.
fn tile(tiles: &StructArray, row: usize) -> Result<Tile<'_>> {
    let [number, tensor, shape, dtype, first, f32_values, f64_values, error] = tiles.columns() else {
        return exec_err!("a tile has {} fields", tiles.num_columns());
    };
    let shape = shape.as_list::<i32>();
    let range = |list: &ListArray| list.value_offsets()[row] as usize..list.value_offsets()[row + 1] as usize;
    let lengths = shape.values().as_primitive::<UInt64Type>().values();
    let dtype = match dtype.as_string::<i32>().value(row) {
        "f32" => Dtype::F32,
        "f64" => Dtype::F64,
        other => return exec_err!("a tile has the dtype `{other}`: it is f32 or f64"),
    };
    let values = match dtype {
        Dtype::F32 => f32_values.as_list::<i32>(),
        Dtype::F64 => f64_values.as_list::<i32>(),
    };
    let name = tensor.as_string::<i32>().value(row);
    let values = if error.is_valid(row) {
        Err(error.as_string::<i32>().value(row))
    } else if values.is_null(row) || values.values().null_count() > 0 && values.value(row).null_count() > 0 {
        return exec_err!("a tile of `{name}` has nulls: fill or drop them first");
    } else {
        Ok(match dtype {
            Dtype::F32 => Slice::F32(&values.values().as_primitive::<Float32Type>().values()[range(values)]),
            Dtype::F64 => Slice::F64(&values.values().as_primitive::<Float64Type>().values()[range(values)]),
        })
    };
    let length = |&length: &u64| usize::try_from(length).map_err(|error| DataFusionError::External(Box::new(error)));
    let shape = lengths[range(shape)].iter().map(length).collect::<Result<Vec<_>>>()?;
    let info = TensorInfo { name: name.to_owned(), shape, dtype, stored: dtype.to_string() };
    let first = first.as_primitive::<UInt64Type>().value(row);
    Ok(Tile { number: number.as_primitive::<UInt64Type>().value(row), info, first: length(&first)?, values })
}
