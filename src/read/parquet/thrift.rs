//! What Parquet files say of themselves: Thrift's structs in the compact protocol.
//! <https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md>

use crate::error::Result;

use super::super::input::Cursor;
use super::super::protobuf::varint;

pub(super) const STRUCT: u8 = 12;

/// How deep structs and lists lie in one another. Of Parquet's own the deepest has 8.
const MAX_DEPTH: u32 = 16;

/// Checks that a struct holds what it says it holds, and that the crate parquet comes to its end: a truth value in a list takes a byte, but none where
/// that crate leaves the list out, so that a few bytes keep it busy for a second. None of Parquet's own structs has such a list.
pub(super) fn check_struct(cursor: &mut Cursor<'_>) -> Result<()> {
    skip(cursor, STRUCT, 0)
}

/// Calls with the number and the type of each field of a struct.
pub(super) fn each_field(cursor: &mut Cursor<'_>, mut body: impl FnMut(&mut Cursor<'_>, i64, u8) -> Result<()>) -> Result<()> {
    let mut field = 0;
    loop {
        let (kind, delta) = kind_and_size(cursor)?;
        if kind == 0 {
            return Ok(());
        }
        field = if delta == 0 { signed(cursor)? } else { i64::wrapping_add(field, delta.into()) };
        body(cursor, field, kind)?;
    }
}

/// The lower and the upper half of a byte.
fn kind_and_size(cursor: &mut Cursor<'_>) -> Result<(u8, u8)> {
    cursor.u8().map(|byte| (byte & 15, byte >> 4))
}

/// A number whose lowest bit is its sign.
pub(super) fn signed(cursor: &mut Cursor<'_>) -> Result<i64> {
    varint(cursor).map(|number| (number >> 1).cast_signed() ^ -(number & 1).cast_signed())
}

/// Leaves out the value of a field.
pub(super) fn skip(cursor: &mut Cursor<'_>, kind: u8, depth: u32) -> Result<()> {
    if depth > MAX_DEPTH {
        return Err(cursor.fault(None, "what the file says of itself is deeper than any: the file is damaged"));
    }
    match kind {
        1 | 2 => Ok(()),
        3 => cursor.skip(1),
        4..=6 => varint(cursor).map(drop),
        7 => cursor.skip(8),
        8 => {
            let len = varint(cursor)?;
            cursor.skip(len)
        }
        9 | 10 => {
            let (kind, size) = kind_and_size(cursor)?;
            let size = if size == 15 { varint(cursor)? } else { size.into() };
            if matches!(kind, 1 | 2) && size > 0 {
                return Err(
                    cursor.fault(None, format!("a list of {size} truth values stands where there is none: the file is damaged"))
                );
            }
            (0..size).try_for_each(|_| skip(cursor, kind, depth + 1))
        }
        STRUCT => each_field(cursor, |cursor, _, kind| skip(cursor, kind, depth + 1)),
        _ => Err(cursor.fault(None, format!("it has a field of type {kind}, which there is not: the file is damaged"))),
    }
}
