//! Parquet: its columns of numbers, a page at a time. The crate parquet decodes; what it is asked for is checked against the file first.
//! <https://parquet.apache.org/docs/file-format/>

mod cells;
mod pages;
mod thrift;

use std::collections::HashSet;
use std::io::{self, BufReader};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parquet::basic::{Compression, ConvertedType, LogicalType, Type};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{DataType, DoubleType, FixedLenByteArrayType, FloatType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, FileReader, Length};
use parquet::file::serialized_reader::SerializedFileReader;
use parquet::schema::types::ColumnDescriptor;

use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::source::{Skipped, TensorInfo};

use super::encoding::Encoding;
use super::entry::{Contents, EMPTY, Entry, MAX_TENSORS, ReadNumbers, Values, inexact_reason};
use super::input::{Cursor, Input, Order, fault};

pub(crate) use cells::{StoredCells, StoredTable};

/// How a file of this format begins and ends.
pub(super) const MAGIC: &[u8] = b"PAR1";

/// The most that metadata may take, which is held as a whole.
const MAX_METADATA: u64 = 1 << 27;

/// An input as the crate reads it.
struct Chunks(Arc<Input>);

impl Length for Chunks {
    fn len(&self) -> u64 {
        self.0.len()
    }
}

/// An input from one place on.
struct From<I> {
    input: I,
    next: u64,
    end: u64,
}

impl<'a> From<&'a Input> {
    fn part(input: &'a Input, part: Range<u64>) -> Self {
        Self { input, next: part.start, end: part.end }
    }
}

impl<I: std::ops::Deref<Target = Input>> io::Read for From<I> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let len = (out.len() as u64).min(self.end.saturating_sub(self.next)) as usize;
        self.input.read_at(None, self.next, &mut out[..len]).map_err(io::Error::other)?;
        self.next += len as u64;
        Ok(len)
    }
}

impl ChunkReader for Chunks {
    type T = BufReader<From<Arc<Input>>>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(BufReader::new(From { input: Arc::clone(&self.0), next: start, end: self.0.len() }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let external = |error: Error| ParquetError::External(Box::new(error));
        if start.checked_add(length as u64).is_none_or(|end| end > self.0.len()) {
            return Err(external(self.0.cut_short(None, start, length as u64)));
        }
        let mut bytes = vec![0; length];
        self.0.read_at(None, start, &mut bytes).map_err(external)?;
        Ok(bytes.into())
    }
}

/// An opened file.
struct Table {
    input: Arc<Input>,
    reader: SerializedFileReader<Chunks>,
    /// Where each group of rows begins, and where the last ends.
    starts: Vec<usize>,
}

impl Table {
    /// Where the pages of a column in a group of rows are.
    fn pages(&self, tensor: &str, group: usize, column: usize) -> Result<Range<u64>> {
        let chunk = self.reader.metadata().row_groups().get(group).and_then(|group| group.columns().get(column));
        let fault = |reason: String| Err(self.input.fault(Some(tensor), None, reason));
        let Some(chunk) = chunk else {
            return fault(format!("it is missing in group {group}: the file is damaged"));
        };
        let start = chunk.dictionary_page_offset().unwrap_or(chunk.data_page_offset());
        let len = chunk.compressed_size();
        let part = u64::try_from(start).ok().zip(u64::try_from(len).ok());
        let part = part.and_then(|(start, len)| Some(start..start.checked_add(len).filter(|&end| end <= self.input.len())?));
        match part {
            Some(part) if chunk.data_page_offset() >= 0 => Ok(part),
            _ => fault(format!(
                "its values in group {group} are said to be {len} bytes from byte {start} on, which there are not: the file is cut short or damaged, get it again"
            )),
        }
    }
}

fn failed(input: &Input, tensor: Option<&str>, error: ParquetError) -> Error {
    let text = match error {
        ParquetError::External(error) => match error.downcast::<Error>() {
            Ok(ours) => return *ours,
            Err(other) => other.to_string(),
        },
        other => other.to_string(),
    };
    fault(input.path(), tensor, None, format!("it cannot be decoded, {text}: the file is damaged, get it again"))
}

/// What the crate says. It checks most of what it is given, but not all, and may panic on a damaged file.
fn guarded<T>(input: &Input, tensor: Option<&str>, body: impl FnOnce() -> Result<T, ParquetError>) -> Result<T> {
    let result = catch_unwind(AssertUnwindSafe(body));
    let result = result.unwrap_or_else(|_| Err(ParquetError::General("what it says of itself cannot be".to_owned())));
    result.map_err(|error| failed(input, tensor, error))
}

/// A file whose end and groups of rows were looked at.
fn opened(input: &Arc<Input>) -> Result<Table> {
    let mut end = [0; 8];
    let at = input.len().saturating_sub(8);
    input.read_at(None, at, &mut end)?;
    let len = u64::from(u32::from_le_bytes([end[0], end[1], end[2], end[3]]));
    if end[4..] != *MAGIC {
        let reason = "the file ends without PAR1, the end of its metadata: it is cut short, get it again";
        return Err(input.fault(None, Some(at), reason));
    }
    if len > at.saturating_sub(4) || len > MAX_METADATA {
        return Err(input.fault(
            None,
            Some(at),
            format!("the metadata is said to have {len} bytes, which cannot be: the file is damaged"),
        ));
    }
    let mut metadata = Cursor::new(input, at - len);
    metadata.set_end(at);
    thrift::check_struct(&mut metadata, thrift::METADATA)?;
    let reader = guarded(input, None, || SerializedFileReader::new(Chunks(Arc::clone(input))))?;
    let mut starts = vec![0_usize];
    for group in reader.metadata().row_groups() {
        let rows = usize::try_from(group.num_rows()).ok().and_then(|rows| rows.checked_add(*starts.last()?));
        let Some(end) = rows.filter(|&rows| rows < 1 << 48) else {
            return Err(input.fault(
                None,
                None,
                format!("a group is said to have {} rows: the file is damaged", group.num_rows()),
            ));
        };
        starts.push(end);
    }
    let columns = reader.metadata().file_metadata().schema_descr().num_columns();
    if columns as u64 > MAX_TENSORS {
        return Err(input.fault(None, None, format!("there are {columns} columns, but at most {MAX_TENSORS} are read")));
    }
    Ok(Table { input: Arc::clone(input), reader, starts })
}

pub(super) fn read(input: &Arc<Input>) -> Result<Contents> {
    let table = Arc::new(opened(input)?);
    let rows = table.starts.last().copied().unwrap_or(0);
    let columns = table.reader.metadata().file_metadata().schema_descr_ptr();
    let mut contents = Contents::default();
    let mut names = HashSet::new();
    for (number, column) in columns.columns().iter().enumerate() {
        let name = column.path().string();
        if !names.insert(name.clone()) {
            return Err(input.fault(Some(&name), None, "there are two columns of this name: give each a name of its own"));
        }
        let stored = stored(column);
        let mut nulls = table
            .reader
            .metadata()
            .row_groups()
            .iter()
            .filter_map(|group| group.columns().get(number)?.statistics()?.null_count_opt());
        let numbers = match numbers(column) {
            Ok(_) if nulls.any(|count| count > 0) => Err("it has rows without a value: fill or drop its nulls first"),
            Ok(_) if rows == 0 => Err(EMPTY),
            numbers => numbers,
        };
        let is_legacy = (0..table.starts.len() - 1).any(|group| {
            table
                .reader
                .metadata()
                .row_group(group)
                .columns()
                .get(number)
                .is_some_and(|chunk| chunk.compression() == Compression::LZ4)
        });
        let numbers = numbers.and_then(|numbers| {
            if is_legacy {
                Err("it is compressed by LZ4 as only old writers do: write it with LZ4_RAW, snappy or zstd")
            } else {
                Ok(numbers)
            }
        });
        match numbers {
            Ok(numbers) => {
                for group in 0..table.starts.len() - 1 {
                    table.pages(&name, group, number)?;
                }
                let checked = table.starts.iter().skip(1).map(|_| AtomicBool::new(false)).collect();
                let info = TensorInfo { name, shape: vec![rows], dtype: numbers.dtype(), stored };
                contents.entries.push(Entry {
                    info,
                    values: Values::Numbers(Box::new(Column { table: Arc::clone(&table), number, numbers, checked })),
                });
            }
            Err(reason) => contents.skipped.push(Skipped { name, stored, reason: reason.to_owned() }),
        }
    }
    Ok(contents)
}

/// A data type as the file has it: how it is stored, and what that means.
fn stored(column: &ColumnDescriptor) -> String {
    let physical = column.physical_type();
    match (column.logical_type_ref(), column.converted_type()) {
        (Some(LogicalType::Integer(int)), _) => {
            format!("{physical} {}Int{}", if int.is_signed { "" } else { "U" }, int.bit_width)
        }
        (Some(logical), _) => {
            let logical = format!("{logical:?}");
            format!("{physical} {}", logical.split(['(', '{', ' ']).next().unwrap_or(&logical))
        }
        (None, ConvertedType::NONE) => physical.to_string(),
        (None, converted) => format!("{physical} {converted}"),
    }
}

/// What kind of numbers a column has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Numbers {
    F32,
    F64,
    F16,
    /// In 32 bits, of which so many count: the least that tells f32 from f64.
    Int32 {
        bits: u8,
        is_signed: bool,
    },
    Int64 {
        is_signed: bool,
    },
}

impl Numbers {
    fn dtype(self) -> Dtype {
        match self {
            Self::F32 | Self::F16 => Dtype::F32,
            Self::Int32 { bits, .. } if bits <= 16 => Dtype::F32,
            Self::F64 | Self::Int32 { .. } | Self::Int64 { .. } => Dtype::F64,
        }
    }
}

fn numbers(column: &ColumnDescriptor) -> Result<Numbers, &'static str> {
    if column.max_rep_level() > 0 {
        return Err("lists are not read: store each place of them as a column");
    }
    let int = match (column.logical_type_ref(), column.converted_type()) {
        (Some(LogicalType::Integer(int)), _) => Some((int.bit_width.cast_unsigned(), int.is_signed)),
        (None, ConvertedType::INT_8) => Some((8, true)),
        (None, ConvertedType::INT_16) => Some((16, true)),
        (None, ConvertedType::INT_32) => Some((32, true)),
        (None, ConvertedType::INT_64) => Some((64, true)),
        (None, ConvertedType::UINT_8) => Some((8, false)),
        (None, ConvertedType::UINT_16) => Some((16, false)),
        (None, ConvertedType::UINT_32) => Some((32, false)),
        (None, ConvertedType::UINT_64) => Some((64, false)),
        _ => None,
    };
    let is_plain = column.logical_type_ref().is_none() && column.converted_type() == ConvertedType::NONE;
    match column.physical_type() {
        Type::FLOAT => Ok(Numbers::F32),
        Type::DOUBLE => Ok(Numbers::F64),
        Type::INT32 => match int {
            Some((bits, is_signed)) => Ok(Numbers::Int32 { bits, is_signed }),
            None if is_plain => Ok(Numbers::Int32 { bits: 32, is_signed: true }),
            None => Err("dates, times and decimals are not read: cast it to a float"),
        },
        Type::INT64 => match int {
            Some((_, is_signed)) => Ok(Numbers::Int64 { is_signed }),
            None if is_plain => Ok(Numbers::Int64 { is_signed: true }),
            None => Err("dates, times and decimals are not read: cast it to a float"),
        },
        Type::FIXED_LEN_BYTE_ARRAY if column.logical_type_ref() == Some(&LogicalType::Float16) && column.type_length() == 2 => {
            Ok(Numbers::F16)
        }
        Type::BOOLEAN => Err("truth values are no numbers"),
        Type::INT96 => Err("dates, times and decimals are not read: cast it to a float"),
        Type::BYTE_ARRAY | Type::FIXED_LEN_BYTE_ARRAY => Err("text and bytes are no numbers"),
    }
}

/// A column of a table.
struct Column {
    table: Arc<Table>,
    number: usize,
    numbers: Numbers,
    /// Whether the sizes of the pages were looked at, for each group of rows.
    checked: Vec<AtomicBool>,
}

impl Column {
    /// The values of these rows, by `convert` or as the number that f64 does not hold.
    fn read<T: DataType, O>(
        &self,
        tensor: &str,
        start: usize,
        out: &mut [O],
        of: impl Fn(ColumnReader) -> Option<ColumnReaderImpl<T>>,
        convert: impl Fn(&T::T) -> Result<O, i128>,
    ) -> Result<()> {
        let Table { input, reader, starts } = self.table.as_ref();
        let damaged = |reason: String| Err(input.fault(Some(tensor), None, reason));
        let mut row = start;
        let mut rest = out;
        let mut group = starts.partition_point(|&first| first <= start).saturating_sub(1);
        while !rest.is_empty() && group + 1 < starts.len() {
            let (first, end) = (starts[group], starts[group + 1]);
            let (part, after) = rest.split_at_mut(rest.len().min(end - row));
            if let Some(checked) = self.checked.get(group).filter(|checked| !checked.load(Ordering::Relaxed)) {
                let compression = reader.metadata().row_group(group).column(self.number).compression();
                pages::check(input, tensor, self.table.pages(tensor, group, self.number)?, compression)?;
                checked.store(true, Ordering::Relaxed);
            }
            let column = guarded(input, Some(tensor), || reader.get_row_group(group)?.get_column_reader(self.number))?;
            let Some(mut column) = of(column) else {
                return damaged("its pages are of another type than its metadata says: the file is damaged".to_owned());
            };
            let skipped = guarded(input, Some(tensor), || column.skip_records(row - first))?;
            let (mut values, mut levels) = (Vec::new(), Vec::new());
            let mut done = 0;
            while done < part.len() {
                values.clear();
                levels.clear();
                // Room for them is made at once.
                let most = (part.len() - done).min(1 << 16);
                let (records, found, _) =
                    guarded(input, Some(tensor), || column.read_records(most, Some(&mut levels), None, &mut values))?;
                if records == 0 || skipped < row - first {
                    let reason = format!(
                        "rows {first} to {end} are said to be there, but there are {}: the file is damaged, get it again",
                        skipped + done
                    );
                    return damaged(reason);
                }
                if found < records {
                    // Definition levels below the largest are nulls.
                    let largest = levels.iter().max().copied().unwrap_or(0);
                    let at = levels.iter().position(|&level| level < largest).unwrap_or(0);
                    return damaged(format!("row {} has no value: fill or drop its nulls first", row + done + at));
                }
                for (index, (out, value)) in part[done..].iter_mut().zip(&values).enumerate() {
                    *out = convert(value)
                        .map_err(|value| input.fault(Some(tensor), None, inexact_reason(row + done + index, value)))?;
                }
                done += records.min(part.len() - done);
            }
            (row, rest, group) = (end, after, group + 1);
        }
        Ok(())
    }
}

/// The reader of this type of values.
macro_rules! of {
    ($variant:ident) => {
        |reader| match reader {
            ColumnReader::$variant(reader) => Some(reader),
            _ => None,
        }
    };
}

impl ReadNumbers for Column {
    fn read_f32(&self, tensor: &str, start: usize, out: &mut [f32]) -> Result<()> {
        match self.numbers {
            Numbers::F16 => {
                self.read::<FixedLenByteArrayType, _>(tensor, start, out, of!(FixedLenByteArrayColumnReader), |value| {
                    let mut number = [0.0];
                    Encoding::F16(Order::Little).decode_f32(value.data(), &mut number);
                    Ok(number[0])
                })
            }
            Numbers::Int32 { .. } => self.read::<Int32Type, _>(tensor, start, out, of!(Int32ColumnReader), |&value| {
                let number = value as f32;
                if number as i64 == i64::from(value) { Ok(number) } else { Err(value.into()) }
            }),
            _ => self.read::<FloatType, _>(tensor, start, out, of!(FloatColumnReader), |&value| Ok(value)),
        }
    }

    fn read_f64(&self, tensor: &str, start: usize, out: &mut [f64]) -> Result<()> {
        match self.numbers {
            Numbers::Int32 { is_signed, .. } => self.read::<Int32Type, _>(tensor, start, out, of!(Int32ColumnReader), |&value| {
                Ok(if is_signed { value.into() } else { value.cast_unsigned().into() })
            }),
            Numbers::Int64 { is_signed } => self.read::<Int64Type, _>(tensor, start, out, of!(Int64ColumnReader), |&value| {
                let (number, exact) = if is_signed {
                    (value as f64, i128::from(value))
                } else {
                    (value.cast_unsigned() as f64, value.cast_unsigned().into())
                };
                if number as i128 == exact { Ok(number) } else { Err(exact) }
            }),
            _ => self.read::<DoubleType, _>(tensor, start, out, of!(DoubleColumnReader), |&value| Ok(value)),
        }
    }
}
