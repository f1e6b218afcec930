//! What the pages of a column are said to take, looked at before the crate parquet makes room for it.

use std::io::{self, Read};
use std::ops::Range;

use flate2::read::MultiGzDecoder;
use parquet::basic::Compression;

use crate::error::Result;

use super::super::input::{Cursor, Input};
use super::thrift::{PAGE_HEADER, STRUCT, check_struct, each_field, signed, skip};

/// The largest page when it is decompressed. Writers make pages of about 1 MB.
const MAX_PAGE: u64 = 1 << 27;

/// Checks the pages of a column in one group of rows, which are in this part of the file.
pub(super) fn check(input: &Input, tensor: &str, part: Range<u64>, compression: Compression) -> Result<()> {
    let mut cursor = Cursor::new(input, 0);
    cursor.move_to(part.clone());
    let mut has_dictionary = false;
    while cursor.position() < part.end {
        let at = cursor.position();
        let fault = |reason: String| Err(input.fault(Some(tensor), Some(at), reason));
        check_struct(&mut cursor, PAGE_HEADER)?;
        cursor.move_to(at..part.end);
        let header = header(&mut cursor)?;
        if !header.is_whole() {
            return fault("the header of a page lacks the part for its kind: the file is damaged".to_owned());
        }
        if header.needs_dictionary() && !has_dictionary {
            return fault("a page refers to a dictionary, which is missing: the file is damaged".to_owned());
        }
        has_dictionary |= header.kind == Header::DICTIONARY;
        let Header { compressed, uncompressed, .. } = header;
        let (Ok(compressed), Ok(uncompressed)) = (u64::try_from(compressed), u64::try_from(uncompressed)) else {
            return fault(format!(
                "a page is said to have {compressed} bytes, and {uncompressed} when it is decompressed: the file is damaged"
            ));
        };
        if uncompressed > MAX_PAGE || compressed > MAX_PAGE {
            let reason = format!(
                "a page has {} bytes, but at most {MAX_PAGE} are read: write the file with smaller pages",
                uncompressed.max(compressed)
            );
            return fault(reason);
        }
        let start = cursor.position();
        cursor.skip(compressed)?;
        if matches!(compression, Compression::GZIP(_)) {
            // That decoder goes on for as long as there is something.
            let bytes = super::From::part(input, start..start + compressed);
            let found = io::copy(&mut MultiGzDecoder::new(bytes).take(uncompressed + 1), &mut io::sink());
            if found.is_ok_and(|found| found > uncompressed) {
                return fault(format!(
                    "a page has more than the {uncompressed} bytes that it is said to have: the file is damaged or made to mislead"
                ));
            }
        }
    }
    Ok(())
}

/// What a page header says of the page.
struct Header {
    kind: i64,
    compressed: i64,
    uncompressed: i64,
    /// Whether the part for pages of this kind is there: of data pages, dictionaries, data pages of the second version.
    parts: [bool; 3],
    /// How the values of a data page are encoded.
    encoding: i64,
}

impl Header {
    const DATA: i64 = 0;
    const DICTIONARY: i64 = 2;
    const DATA_V2: i64 = 3;

    fn is_whole(&self) -> bool {
        match self.kind {
            Self::DATA => self.parts[0],
            Self::DICTIONARY => self.parts[1],
            Self::DATA_V2 => self.parts[2],
            _ => true,
        }
    }

    /// Whether its values are places in a dictionary.
    fn needs_dictionary(&self) -> bool {
        matches!(self.kind, Self::DATA | Self::DATA_V2) && matches!(self.encoding, 2 | 8)
    }
}

fn header(cursor: &mut Cursor<'_>) -> Result<Header> {
    let mut header = Header { kind: -1, compressed: -1, uncompressed: -1, parts: [false; 3], encoding: -1 };
    each_field(cursor, |cursor, field, kind| match (field, kind) {
        (1, 4..=6) => signed(cursor).map(|kind| header.kind = kind),
        (2, 4..=6) => signed(cursor).map(|size| header.uncompressed = size),
        (3, 4..=6) => signed(cursor).map(|size| header.compressed = size),
        (5 | 7 | 8, STRUCT) => {
            let (part, place) = match field {
                5 => (0, 2),
                7 => (1, 2),
                _ => (2, 4),
            };
            header.parts[part] = true;
            each_field(cursor, |cursor, field, kind| match kind {
                4..=6 if field == place => signed(cursor).map(|encoding| header.encoding = encoding),
                _ => skip(cursor, kind, 1),
            })
        }
        _ => skip(cursor, kind, 0),
    })?;
    Ok(header)
}
