//! What Parquet files say of themselves: Thrift's structs in the compact protocol.
//! <https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md>
//!
//! They are gone through before the crate parquet reads them, which trusts two things. It takes a field that it knows for one of the type that
//! it should have, and where it leaves out a list of truth values, it takes each for no bytes, so that a few bytes keep it busy for seconds.

use crate::error::Result;

use super::super::input::Cursor;
use super::super::protobuf::varint;

/// How deep structs and lists lie in one another. Of Parquet's own the deepest has 8.
const MAX_DEPTH: u32 = 16;

/// What a field of a struct holds. All whole numbers of more than 8 bits are written alike.
pub(super) enum Type {
    Bool,
    Byte,
    Whole,
    Double,
    Binary,
    List(&'static Self),
    Struct(Fields),
}

use Type::{Binary, Bool, Byte, Double, List, Struct, Whole};

/// The fields of a struct by their numbers. Others may be added to the format.
pub(super) type Fields = &'static [(i16, Type)];

// <https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift>

/// `FileMetaData`.
pub(super) const METADATA: Fields = &[
    (1, Whole),
    (2, List(&Struct(SCHEMA_ELEMENT))),
    (3, Whole),
    (4, List(&Struct(ROW_GROUP))),
    (5, List(&Struct(KEY_VALUE))),
    (6, Binary),
    (7, List(&Struct(COLUMN_ORDER))),
    (8, Struct(&[(1, Struct(AES)), (2, Struct(AES))])),
    (9, Binary),
];

/// `PageHeader`.
pub(super) const PAGE_HEADER: Fields = &[
    (1, Whole),
    (2, Whole),
    (3, Whole),
    (4, Whole),
    (5, Struct(&[(1, Whole), (2, Whole), (3, Whole), (4, Whole), (5, Struct(STATISTICS))])),
    (6, EMPTY),
    (7, Struct(&[(1, Whole), (2, Whole), (3, Bool)])),
    (8, Struct(&[(1, Whole), (2, Whole), (3, Whole), (4, Whole), (5, Whole), (6, Whole), (7, Bool), (8, Struct(STATISTICS))])),
];

const EMPTY: Type = Struct(&[]);

const AES: Fields = &[(1, Binary), (2, Binary), (3, Bool)];

const KEY_VALUE: Fields = &[(1, Binary), (2, Binary)];

const COLUMN_ORDER: Fields = &[(1, EMPTY), (2, EMPTY)];

const SCHEMA_ELEMENT: Fields = &[
    (1, Whole),
    (2, Whole),
    (3, Whole),
    (4, Binary),
    (5, Whole),
    (6, Whole),
    (7, Whole),
    (8, Whole),
    (9, Whole),
    (10, Struct(LOGICAL_TYPE)),
];

const LOGICAL_TYPE: Fields = &[
    (1, EMPTY),
    (2, EMPTY),
    (3, EMPTY),
    (4, EMPTY),
    (5, Struct(&[(1, Whole), (2, Whole)])),
    (6, EMPTY),
    (7, Struct(TIME)),
    (8, Struct(TIME)),
    (10, Struct(&[(1, Byte), (2, Bool)])),
    (11, EMPTY),
    (12, EMPTY),
    (13, EMPTY),
    (14, EMPTY),
    (15, EMPTY),
    (16, Struct(&[(1, Byte)])),
    (17, Struct(&[(1, Binary)])),
    (18, Struct(&[(1, Binary), (2, Whole)])),
];

const TIME: Fields = &[(1, Bool), (2, Struct(&[(1, EMPTY), (2, EMPTY), (3, EMPTY)]))];

const ROW_GROUP: Fields = &[
    (1, List(&Struct(COLUMN_CHUNK))),
    (2, Whole),
    (3, Whole),
    (4, List(&Struct(&[(1, Whole), (2, Bool), (3, Bool)]))),
    (5, Whole),
    (6, Whole),
    (7, Whole),
];

const COLUMN_CHUNK: Fields = &[
    (1, Binary),
    (2, Whole),
    (3, Struct(COLUMN_METADATA)),
    (4, Whole),
    (5, Whole),
    (6, Whole),
    (7, Whole),
    (8, Struct(&[(1, EMPTY), (2, Struct(&[(1, List(&Binary)), (2, Binary)]))])),
    (9, Binary),
];

const COLUMN_METADATA: Fields = &[
    (1, Whole),
    (2, List(&Whole)),
    (3, List(&Binary)),
    (4, Whole),
    (5, Whole),
    (6, Whole),
    (7, Whole),
    (8, List(&Struct(KEY_VALUE))),
    (9, Whole),
    (10, Whole),
    (11, Whole),
    (12, Struct(STATISTICS)),
    (13, List(&Struct(&[(1, Whole), (2, Whole), (3, Whole)]))),
    (14, Whole),
    (15, Whole),
    (16, Struct(&[(1, Whole), (2, List(&Whole)), (3, List(&Whole))])),
    (17, Struct(&[(1, Struct(BOUNDING_BOX)), (2, List(&Whole))])),
];

const STATISTICS: Fields =
    &[(1, Binary), (2, Binary), (3, Whole), (4, Whole), (5, Binary), (6, Binary), (7, Bool), (8, Bool), (9, Whole)];

const BOUNDING_BOX: Fields =
    &[(1, Double), (2, Double), (3, Double), (4, Double), (5, Double), (6, Double), (7, Double), (8, Double)];

/// How a struct is written among fields and elements.
pub(super) const STRUCT: u8 = 12;

/// Checks that a struct is there to its end, that its known fields are of their types, and that the crate parquet comes to its end.
pub(super) fn check_struct(cursor: &mut Cursor<'_>, fields: Fields) -> Result<()> {
    check(cursor, STRUCT, Some(&Struct(fields)), 0)
}

/// Calls with the number and the type of each field of a struct.
pub(super) fn each_field(cursor: &mut Cursor<'_>, mut body: impl FnMut(&mut Cursor<'_>, i16, u8) -> Result<()>) -> Result<()> {
    let mut field = 0_i16;
    loop {
        let (kind, delta) = kind_and_size(cursor)?;
        if kind == 0 {
            return Ok(());
        }
        let next = if delta == 0 { i16::try_from(signed(cursor)?).ok() } else { field.checked_add(delta.into()) };
        let Some(next) = next else {
            return Err(cursor.fault(None, "the number of a field is beyond any: the file is damaged"));
        };
        field = next;
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
    check(cursor, kind, None, depth)
}

/// Goes through the value of a field or the element of a list.
fn check(cursor: &mut Cursor<'_>, kind: u8, expected: Option<&Type>, depth: u32) -> Result<()> {
    if depth > MAX_DEPTH {
        return Err(cursor.fault(None, "what the file says of itself is deeper than any: the file is damaged"));
    }
    let is_expected = match expected {
        None => true,
        Some(Bool) => matches!(kind, 1 | 2),
        Some(Byte) => kind == 3,
        Some(Whole) => matches!(kind, 4..=6),
        Some(Double) => kind == 7,
        Some(Binary) => kind == 8,
        Some(List(_)) => matches!(kind, 9 | 10),
        Some(Struct(_)) => kind == STRUCT,
    };
    if !is_expected {
        return Err(cursor.fault(None, format!("a field of type {kind} stands where there is another: the file is damaged")));
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
                let reason = format!("a list of {size} truth values stands where there is none: the file is damaged");
                return Err(cursor.fault(None, reason));
            }
            let of_elements = match expected {
                Some(List(element)) => Some(*element),
                _ => None,
            };
            (0..size).try_for_each(|_| check(cursor, kind, of_elements, depth + 1))
        }
        STRUCT => each_field(cursor, |cursor, field, kind| {
            let of_field = match expected {
                Some(Struct(fields)) => fields.iter().find(|(number, _)| *number == field).map(|(_, kind)| kind),
                _ => None,
            };
            check(cursor, kind, of_field, depth + 1)
        }),
        _ => Err(cursor.fault(None, format!("it has a field of type {kind}, which there is not: the file is damaged"))),
    }
}
