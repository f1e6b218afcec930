//! zip archives, of which npz files are: the members, and reading one from its begin on, decompressed as it is read.
//!
//! The directory is read here, with every length checked, and not with the crate zip, which keeps one of two members of the same name, lets members
//! overlap, and reads a member only through an exclusive borrow of the whole archive. Decompression is flate2's. The format is PKWARE's
//! APPNOTE 6.3.10: <https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT>.

mod inflate;

use std::collections::HashSet;
use std::sync::Arc;

use crate::error::Result;

use super::claims::Claims;
use super::entry::MAX_TENSORS;
use super::input::{Cursor, Input};

pub(super) use inflate::MemberBytes;
use inflate::Streams;

/// How an archive begins that has members.
pub(super) const MAGIC: &[u8] = b"PK\x03\x04";

/// How an archive without members begins: with the end of its directory.
pub(super) const EMPTY_MAGIC: &[u8] = b"PK\x05\x06";

/// How a member is compressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Method {
    Stored,
    Deflated,
    /// In a way that is not read, for this reason.
    Other(String),
}

/// A file in an archive.
#[derive(Debug)]
pub(super) struct Member {
    pub name: String,
    pub method: Method,
    /// Where its bytes begin.
    pub start: u64,
    pub compressed_len: u64,
    /// Its length when it is decompressed.
    pub len: u64,
    pub crc: u32,
}

/// An archive: its members, and what is being decompressed.
pub(super) struct Archive {
    pub input: Arc<Input>,
    members: Vec<Member>,
    streams: Streams,
}

/// The end of the directory, without the comment that may follow.
const END_LEN: u64 = 22;

/// The longest name or comment.
const MAX_TEXT: u64 = 1 << 16;

/// The largest directory. Of a million members it is some 60 MB.
const MAX_DIRECTORY: u64 = 100_000_000;

/// What a byte of deflated data makes at most: <https://zlib.net/zlib_tech.html>.
const MAX_RATIO: u64 = 1032;

impl Archive {
    pub fn open(input: &Arc<Input>) -> Result<Arc<Self>> {
        let members = members(input)?;
        Ok(Arc::new(Self { input: Arc::clone(input), members, streams: Streams::default() }))
    }

    pub fn members(&self) -> &[Member] {
        &self.members
    }
}

/// Where the directory is, and how many members it has.
struct Directory {
    start: u64,
    len: u64,
    members: u64,
}

fn directory(input: &Input) -> Result<Directory> {
    // It is the last thing in the file but for a comment.
    let tail_len = input.len().min(END_LEN + MAX_TEXT);
    let tail_start = input.len() - tail_len;
    let mut tail = vec![0; tail_len as usize];
    input.read_at(None, tail_start, &mut tail)?;
    let is_end = |at: &usize| {
        let end = &tail[*at..];
        end.starts_with(EMPTY_MAGIC) && usize::from(u16::from_le_bytes([end[20], end[21]])) == end.len() - END_LEN as usize
    };
    let Some(at) = (0..(tail.len() + 1).saturating_sub(END_LEN as usize)).rev().find(is_end) else {
        let reason = "the directory of this zip archive, which is its last part, is missing: it is cut short, get it again";
        return Err(input.fault(None, Some(input.len()), reason));
    };
    let end_at = tail_start + at as u64;
    let mut cursor = Cursor::new(input, end_at + 4);
    let (disk, directory_disk, members_here) = (cursor.u16()?, cursor.u16()?, cursor.u16()?);
    let (members, len, start) = (cursor.u16()?, cursor.u32()?, cursor.u32()?);
    let is_long = members == u16::MAX || len == u32::MAX || start == u32::MAX;
    let (directory, limit) = match end_at.checked_sub(20) {
        Some(locator) if is_long => (long_directory(input, locator)?, locator),
        _ => {
            if (disk, directory_disk) != (0, 0) || members_here != members {
                return Err(input.fault(None, Some(end_at), "archives in several parts are not read: join them first"));
            }
            (Directory { start: start.into(), len: len.into(), members: members.into() }, end_at)
        }
    };
    let Directory { start, len, members } = directory;
    if start.checked_add(len).is_none_or(|end| end > limit) || members > (len / 46).min(MAX_TENSORS) || len > MAX_DIRECTORY {
        let reason = format!(
            "the directory of this zip archive is said to have {members} members in {len} bytes from byte {start} on, which cannot be: it is damaged, get it again"
        );
        return Err(input.fault(None, Some(end_at), reason));
    }
    Ok(directory)
}

/// The directory of an archive that is too large for the fields of 32 bits.
fn long_directory(input: &Input, locator: u64) -> Result<Directory> {
    let mut cursor = Cursor::new(input, locator);
    let damaged =
        |at: u64| input.fault(None, Some(at), "the zip64 directory is not where it should be: the file is damaged, get it again");
    if cursor.array()? != *b"PK\x06\x07" || cursor.u32()? != 0 {
        return Err(damaged(locator));
    }
    let at = cursor.u64()?;
    if at > locator {
        return Err(damaged(locator));
    }
    let mut cursor = Cursor::new(input, at);
    if cursor.array()? != *b"PK\x06\x06" {
        return Err(damaged(at));
    }
    // Its own length, two versions, two numbers of parts, the members of this part.
    cursor.skip(8 + 2 + 2 + 4 + 4 + 8)?;
    Ok(Directory { members: cursor.u64()?, len: cursor.u64()?, start: cursor.u64()? })
}

fn members(input: &Input) -> Result<Vec<Member>> {
    let Directory { start, len, members: count } = directory(input)?;
    let mut cursor = Cursor::new(input, start);
    cursor.set_end(start + len);
    let mut members = Vec::new();
    let mut names = HashSet::new();
    let mut claims = Claims::default();
    for _ in 0..count {
        let at = cursor.position();
        let Some((member, header)) = member(&mut cursor, start)? else { continue };
        if !names.insert(member.name.clone()) {
            return Err(input.fault(
                Some(&member.name),
                Some(at),
                "there are two members of this name: the file is damaged or made to mislead",
            ));
        }
        claims.add(header..member.start + member.compressed_len, &member.name);
        members.push(member);
    }
    claims.unclaimed(input, start..start)?;
    Ok(members)
}

/// The next member of the directory and where its own header is; `None` for a folder. All of it is before `limit`.
fn member(cursor: &mut Cursor<'_>, limit: u64) -> Result<Option<(Member, u64)>> {
    let (input, at) = (cursor.input(), cursor.position());
    if cursor.array()? != *b"PK\x01\x02" {
        return Err(input.fault(
            None,
            Some(at),
            "a member of the zip archive's directory begins here, but its mark is missing: the file is damaged",
        ));
    }
    cursor.skip(4)?;
    let (flags, method) = (cursor.u16()?, cursor.u16()?);
    cursor.skip(4)?;
    let crc = cursor.u32()?;
    let (mut compressed_len, mut len) = (u64::from(cursor.u32()?), u64::from(cursor.u32()?));
    let (name_len, extra_len, comment_len) = (cursor.u16()?, cursor.u16()?, cursor.u16()?);
    cursor.skip(8)?;
    let mut header = u64::from(cursor.u32()?);
    let name = cursor.text(name_len.into(), MAX_TEXT, "the name of a member")?;
    let extra = cursor.bytes(extra_len.into(), MAX_TEXT, "the extra field")?;
    cursor.skip(comment_len.into())?;
    let fault = |offset: u64, reason: String| Err(input.fault(Some(&name), Some(offset), reason));
    // The fields that are too small stand in an extra one, in this order.
    let mut long = long_fields(&extra);
    for field in [&mut len, &mut compressed_len, &mut header] {
        if *field == u64::from(u32::MAX) {
            let Some(value) = long.next() else {
                return fault(at, "the zip64 field with its lengths is missing: the file is damaged".to_owned());
            };
            *field = value;
        }
    }
    if name.ends_with('/') && len == 0 {
        return Ok(None);
    }
    let mut local = Cursor::short(input, header.min(input.len()));
    if local.array::<4>()? != *MAGIC {
        return fault(header, "the member is said to begin here, but its mark is missing: the file is damaged".to_owned());
    }
    local.skip(22)?;
    let lengths = u64::from(local.u16()?) + u64::from(local.u16()?);
    let start = local.position() + lengths;
    if start.checked_add(compressed_len).is_none_or(|end| end > limit) {
        return fault(
            at,
            format!(
                "its {compressed_len} bytes from byte {start} on would end behind the begin of the directory, byte {limit}: the file is damaged"
            ),
        );
    }
    let method = match method {
        _ if flags & 1 != 0 => Method::Other("it is encrypted".to_owned()),
        0 if len != compressed_len => {
            return fault(
                at,
                format!("it is stored as it is, but has two lengths, {compressed_len} and {len}: the file is damaged"),
            );
        }
        0 => Method::Stored,
        8 if len / MAX_RATIO > compressed_len => {
            let reason = format!(
                "{compressed_len} bytes cannot be decompressed to {len}, as it says: the file is damaged or made to mislead"
            );
            return fault(at, reason);
        }
        8 => Method::Deflated,
        other => Method::Other(format!("it is compressed by method {other}, which numpy does not write")),
    };
    Ok(Some((Member { name, method, start, compressed_len, len, crc }, header)))
}

/// The numbers of a zip64 field.
fn long_fields(mut extra: &[u8]) -> impl Iterator<Item = u64> {
    let mut numbers: &[[u8; 8]] = &[];
    while let [kind, kind_high, len, len_high, rest @ ..] = extra {
        let (field, rest) = rest.split_at(usize::from(u16::from_le_bytes([*len, *len_high])).min(rest.len()));
        if (*kind, *kind_high) == (1, 0) {
            numbers = field.as_chunks().0;
            break;
        }
        extra = rest;
    }
    numbers.iter().map(|bytes| u64::from_le_bytes(*bytes))
}
