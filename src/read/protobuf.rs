//! Protocol buffers, as far as ONNX needs them: fields one after another, read without keeping what is not needed.
//! <https://protobuf.dev/programming-guides/encoding/>

use std::ops::Range;

use crate::error::Result;

use super::input::Cursor;

/// What a field holds.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// A number, and its place in the file.
    Varint(u64, Range<u64>),
    /// Its four bytes' place in the file.
    Fixed32(u64),
    /// Its eight bytes' place in the file.
    Fixed64(u64),
    /// Text, bytes, a message or packed numbers: their place in the file.
    Bytes(Range<u64>),
}

/// Calls with the number and the value of each field between the cursor and its end. A field of bytes may be read where it is; the cursor is put
/// behind it afterwards.
pub(super) fn fields(cursor: &mut Cursor<'_>, mut field: impl FnMut(&mut Cursor<'_>, u64, Value) -> Result<()>) -> Result<()> {
    while cursor.position() < cursor.end() {
        let at = cursor.position();
        let tag = varint(cursor)?;
        let value = match tag & 7 {
            0 => {
                let start = cursor.position();
                let number = varint(cursor)?;
                Value::Varint(number, start..cursor.position())
            }
            1 => {
                let at = cursor.position();
                cursor.skip(8)?;
                Value::Fixed64(at)
            }
            2 => {
                let len = varint(cursor)?;
                let start = cursor.position();
                let end = start.checked_add(len).filter(|&end| end <= cursor.end());
                let Some(end) = end else {
                    let reason = format!(
                        "{len} bytes are said to follow, but only {} do: the file is cut short, damaged, or of another format",
                        cursor.end() - start
                    );
                    return Err(cursor.input().fault(None, Some(at), reason));
                };
                Value::Bytes(start..end)
            }
            5 => {
                let at = cursor.position();
                cursor.skip(4)?;
                Value::Fixed32(at)
            }
            kind => {
                let reason = format!("there is no field of wire type {kind}: the file is damaged, or of another format");
                return Err(cursor.input().fault(None, Some(at), reason));
            }
        };
        match &value {
            Value::Bytes(Range { end, .. }) => {
                let end = *end;
                let outer = cursor.set_end(end);
                field(cursor, tag >> 3, value)?;
                cursor.skip(end - cursor.position())?;
                cursor.set_end(outer);
            }
            _ => field(cursor, tag >> 3, value)?,
        }
    }
    Ok(())
}

/// A number in groups of seven bits, the lowest first.
pub(super) fn varint(cursor: &mut Cursor<'_>) -> Result<u64> {
    let at = cursor.position();
    let mut value = 0;
    for shift in (0..70).step_by(7) {
        let byte = cursor.u8()?;
        value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(cursor.input().fault(None, Some(at), "a number takes more than ten bytes: the file is damaged, or of another format"))
}
