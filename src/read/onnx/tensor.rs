//! `TensorProto`: what it says of itself, and where its values are.

use std::ops::Range;
use std::sync::Arc;

use crate::dtype::Dtype;
use crate::error::Result;
use crate::format::Minifloat;
use crate::source::{Skipped, TensorInfo};

use super::super::encoding::Encoding;
use super::super::entry::{EMPTY, Entry, FileBytes, INTEGERS, Values, elements_of, shape_of};
use super::super::input::{Cursor, Input, Order, shown};
use super::super::protobuf::{Value, fields, varint};
use super::typed::Typed;
use super::{Reader, text};

/// The most axes of a tensor.
const MAX_AXES: usize = 64;

/// The most places that values of a tensor may be at.
const MAX_RANGES: usize = 1 << 20;

/// A tensor as the file has it. Places are those in the file.
#[derive(Default)]
pub(super) struct TensorProto {
    pub name: String,
    dims: Vec<u64>,
    kind: u64,
    raw: Option<Range<u64>>,
    /// Values of a type's own field, packed or one at a time: the places of the numbers, one range or many.
    float: Vec<Range<u64>>,
    int32: Vec<Range<u64>>,
    double: Vec<Range<u64>>,
    is_segment: bool,
    is_external: bool,
    location: Option<String>,
    offset: Option<String>,
    length: Option<String>,
}

/// Joined with the one before where they touch, so that numbers of one byte each do not take more room here than there. Between two numbers that are
/// not packed stands a tag, so they do not touch; their places are as many as they.
fn push(ranges: &mut Vec<Range<u64>>, range: Range<u64>) {
    match ranges.last_mut() {
        Some(last) if last.end == range.start => last.end = range.end,
        _ if range.is_empty() => {}
        _ => ranges.push(range),
    }
}

impl TensorProto {
    pub fn read(cursor: &mut Cursor<'_>) -> Result<Self> {
        let mut tensor = Self::default();
        fields(cursor, |cursor, number, value| tensor.field(cursor, number, value))?;
        Ok(tensor)
    }

    fn field(&mut self, cursor: &mut Cursor<'_>, number: u64, value: Value) -> Result<()> {
        match (number, value) {
            (1, Value::Varint(length, _)) => self.dims.push(length),
            (1, Value::Bytes(_)) => {
                while cursor.position() < cursor.end() && self.dims.len() <= MAX_AXES {
                    self.dims.push(varint(cursor)?);
                }
            }
            (2, Value::Varint(kind, _)) => self.kind = kind,
            (3, Value::Bytes(_)) => self.is_segment = true,
            (4, Value::Bytes(range)) => push(&mut self.float, range),
            (4, Value::Fixed32(at)) => push(&mut self.float, at..at + 4),
            (5, Value::Bytes(range)) => push(&mut self.int32, range),
            (5, Value::Varint(_, range)) => push(&mut self.int32, range),
            (8, Value::Bytes(range)) => self.name = text(cursor, &range, "the name of a tensor")?,
            (9, Value::Bytes(range)) => self.raw = Some(range),
            (10, Value::Bytes(range)) => push(&mut self.double, range),
            (10, Value::Fixed64(at)) => push(&mut self.double, at..at + 8),
            (13, Value::Bytes(_)) => self.external(cursor)?,
            (14, Value::Varint(location, _)) => self.is_external = location == 1,
            _ => {}
        }
        if self.float.len().max(self.int32.len()).max(self.double.len()) > MAX_RANGES {
            let reason = "it has more than a million values that are not packed, which no tool writes: store them as raw_data";
            return Err(cursor.fault(Some(&self.name), reason));
        }
        if self.dims.len() > MAX_AXES {
            return Err(cursor.fault(Some(&self.name), format!("a tensor has at most {MAX_AXES} axes: the file is damaged")));
        }
        Ok(())
    }

    /// A StringStringEntryProto that says where values are.
    fn external(&mut self, cursor: &mut Cursor<'_>) -> Result<()> {
        let (mut key, mut value) = (String::new(), String::new());
        fields(cursor, |cursor, number, field| {
            match (number, field) {
                (1, Value::Bytes(range)) => key = text(cursor, &range, "a key about other files")?,
                (2, Value::Bytes(range)) => value = text(cursor, &range, "a value about other files")?,
                _ => {}
            }
            Ok(())
        })?;
        match key.as_str() {
            "location" => self.location = Some(value),
            "offset" => self.offset = Some(value),
            "length" => self.length = Some(value),
            _ => {}
        }
        Ok(())
    }

    /// The name of its data type.
    pub fn stored(&self) -> String {
        const NAMES: [&str; 25] = [
            "UNDEFINED",
            "FLOAT",
            "UINT8",
            "INT8",
            "UINT16",
            "INT16",
            "INT32",
            "INT64",
            "STRING",
            "BOOL",
            "FLOAT16",
            "DOUBLE",
            "UINT32",
            "UINT64",
            "COMPLEX64",
            "COMPLEX128",
            "BFLOAT16",
            "FLOAT8E4M3FN",
            "FLOAT8E4M3FNUZ",
            "FLOAT8E5M2",
            "FLOAT8E5M2FNUZ",
            "UINT4",
            "INT4",
            "FLOAT4E2M1",
            "FLOAT8E8M0",
        ];
        let name = usize::try_from(self.kind).ok().and_then(|kind| NAMES.get(kind));
        name.map_or_else(|| format!("type {}", self.kind), |name| (*name).to_owned())
    }

    /// How its values are encoded as raw bytes, or why they are left out.
    fn encoding(&self) -> Result<Encoding, &'static str> {
        Ok(match self.kind {
            1 => Encoding::F32(Order::Little),
            10 => Encoding::F16(Order::Little),
            11 => Encoding::F64(Order::Little),
            16 => Encoding::Bf16(Order::Little),
            17 => Encoding::Minifloat(Minifloat::E4M3FN),
            18 => Encoding::Minifloat(Minifloat::E4M3FNUZ),
            19 => Encoding::Minifloat(Minifloat::E5M2),
            20 => Encoding::Minifloat(Minifloat::E5M2FNUZ),
            24 => Encoding::Minifloat(Minifloat::E8M0),
            2..=7 | 12 | 13 | 21 | 22 | 25 | 26 => return Err(INTEGERS),
            8 => return Err("text is no number"),
            9 => return Err("truth values are no numbers"),
            14 | 15 => return Err("complex numbers are not read"),
            23 => return Err("numbers of 4 bits are not read: dequantize the model first"),
            _ => return Err("this data type is not known"),
        })
    }
}

/// Where raw bytes are.
type Place = (Arc<Input>, Range<u64>);

impl Reader<'_> {
    /// Adds an initializer, which begins at this place in the file.
    pub(super) fn add(&mut self, tensor: TensorProto, at: u64) -> Result<()> {
        let input = self.input;
        let stored = tensor.stored();
        let fault = |reason: String| Err(input.fault(Some(&tensor.name), Some(at), reason));
        let encoding = match tensor.encoding() {
            Ok(_) if tensor.is_segment => Err("it is one segment of a larger tensor, which no tool writes"),
            encoding => encoding,
        };
        let encoding = match encoding {
            Ok(encoding) => encoding,
            Err(reason) => {
                self.skip(tensor.name.clone(), &tensor, reason.to_owned());
                return Ok(());
            }
        };
        let (width, shape) = (encoding.block().1 as u64, shown(&format!("{:?}", tensor.dims)));
        let Some(elements) = elements_of(&tensor.dims) else {
            return fault(format!("shape {shape} has more elements than can be counted: the file is damaged"));
        };
        if elements == 0 {
            self.contents.skipped.push(Skipped { name: tensor.name, stored, reason: EMPTY.to_owned() });
            return Ok(());
        }
        if let Some((source, range)) = self.raw(&tensor, at, elements * width)? {
            if range.end - range.start != elements * width {
                let reason = format!(
                    "shape {shape} of {stored} needs {} bytes, but {} are there: the file is damaged",
                    elements * width,
                    range.end - range.start
                );
                return Err(source.fault(Some(&tensor.name), Some(range.start), reason));
            }
            self.contents.entries.push(Entry::stored(
                tensor.name,
                shape_of(&tensor.dims),
                &stored,
                encoding,
                &source,
                range.start,
            ));
            return Ok(());
        }
        let ranges = match tensor.kind {
            1 => tensor.float,
            11 => tensor.double,
            _ => tensor.int32,
        };
        let values = if matches!(tensor.kind, 1 | 11) {
            let found: u64 = ranges.iter().map(|range| range.end - range.start).sum();
            if found != elements * width {
                return fault(format!(
                    "shape {shape} of {stored} needs {} bytes, but {found} are there: the file is damaged",
                    elements * width
                ));
            }
            match ranges.as_slice() {
                [range] => {
                    Values::Stored { encoding, bytes: Box::new(FileBytes { input: Arc::clone(input), offset: range.start }) }
                }
                _ => Values::Stored { encoding, bytes: Box::new(super::typed::Scattered::new(input, ranges)) },
            }
        } else {
            Values::Numbers(Box::new(Typed::new(input, &tensor.name, at, encoding, ranges, elements)?))
        };
        let dtype = if tensor.kind == 11 { Dtype::F64 } else { Dtype::F32 };
        let info = TensorInfo { name: tensor.name, shape: shape_of(&tensor.dims), dtype, stored };
        self.contents.entries.push(Entry { info, values });
        Ok(())
    }

    /// Where a tensor's raw bytes are, of which it needs so many; `None` if its values are in the field for their type.
    fn raw(&mut self, tensor: &TensorProto, at: u64, needed: u64) -> Result<Option<Place>> {
        if !tensor.is_external {
            return Ok(tensor.raw.clone().map(|range| (Arc::clone(self.input), range)));
        }
        let input = self.input;
        let fault = |reason: String| input.fault(Some(&tensor.name), Some(at), reason);
        let Some(location) = &tensor.location else {
            return Err(fault("its values are in another file, but which one is not said: the file is damaged".to_owned()));
        };
        let number = |text: &Option<String>, what: &str, default: u64| match text {
            None => Ok(default),
            Some(text) => text.parse::<u64>().map_err(|_| {
                fault(format!(
                    "the {what} of its values in another file is `{}`, which is no number of bytes: the file is damaged",
                    shown(text)
                ))
            }),
        };
        let offset: u64 = number(&tensor.offset, "offset", 0)?;
        let length: u64 = number(&tensor.length, "length", needed)?;
        let source = self.external(&tensor.name, at, location)?;
        match offset.checked_add(length).filter(|&end| end <= source.len()) {
            Some(end) => Ok(Some((source, offset..end))),
            None => Err(source.cut_short(Some(&tensor.name), offset, length)),
        }
    }
}
