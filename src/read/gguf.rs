//! GGUF, llama.cpp's files: metadata, the list of tensors, their values. <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>

use std::collections::HashSet;
use std::sync::Arc;

use crate::error::Result;
use crate::ggml::Ggml;
use crate::source::Skipped;

use super::claims::Claims;
use super::encoding::Encoding;
use super::entry::{Contents, EMPTY, Entry, INTEGERS, MAX_TENSORS, elements_of, shape_of};
use super::input::{Cursor, Input, Order, shown};

/// How a file of this format begins.
pub(super) const MAGIC: &[u8] = b"GGUF";

/// The most that may come before the values. The largest vocabularies take some 20 MB.
const MAX_HEADER: u64 = 1 << 28;

/// The longest name of a tensor or key, which the format limits to 65535 bytes.
const MAX_NAME: u64 = 65_535;

/// The most axes of a tensor; ggml has 4.
const MAX_AXES: u32 = 8;

/// How deep arrays of metadata may hold arrays.
const MAX_DEPTH: u32 = 8;

/// Where values begin is a multiple of this many bytes, unless the metadata says otherwise.
const ALIGNMENT: u64 = 32;

pub(super) fn read(input: &Arc<Input>) -> Result<Contents> {
    let mut cursor = Cursor::new(input, 0);
    if cursor.array::<4>()? != *MAGIC {
        return Err(input.fault(None, Some(0), "a file of this format begins with GGUF: this is none"));
    }
    let version = cursor.u32()?;
    match version {
        2 | 3 => {}
        _ if matches!(version.swap_bytes(), 2 | 3) => {
            let reason = "it is a big-endian file: convert it with gguf_convert_endian.py of the package gguf";
            return Err(input.fault(None, Some(4), reason));
        }
        1 => return Err(input.fault(None, Some(4), "version 1 of the format is not read: convert the model anew")),
        _ => return Err(input.fault(None, Some(4), format!("version {version} of the format is not known: 2 and 3 are read"))),
    }
    let (tensors, pairs) = (cursor.u64()?, cursor.u64()?);
    if tensors > MAX_TENSORS {
        return Err(input.fault(
            None,
            Some(8),
            format!("there are said to be {tensors} tensors, but at most {MAX_TENSORS} are read: the file is damaged"),
        ));
    }
    if cursor.end() > MAX_HEADER {
        cursor.set_end(MAX_HEADER);
    }
    let alignment = metadata(&mut cursor, pairs)?;
    let mut names = HashSet::new();
    let mut listed = Vec::new();
    for _ in 0..tensors {
        let at = cursor.position();
        let tensor = Tensor::read(&mut cursor)?;
        if !names.insert(tensor.name.clone()) {
            return Err(input.fault(Some(&tensor.name), Some(at), "there are two tensors of this name: the file is damaged"));
        }
        listed.push(tensor);
    }
    let start = cursor.position().next_multiple_of(alignment);
    contents(input, listed, start, alignment)
}

/// Goes through the metadata, of which only the alignment matters.
fn metadata(cursor: &mut Cursor<'_>, pairs: u64) -> Result<u64> {
    let mut alignment = ALIGNMENT;
    for _ in 0..pairs {
        let key = text(cursor, "a key of the metadata")?;
        let kind = cursor.u32()?;
        if key == "general.alignment" {
            let at = cursor.position();
            let given = if kind == 4 { Some(u64::from(cursor.u32()?)) } else { None };
            let Some(given) = given.filter(|given| given.is_power_of_two()) else {
                let reason = "general.alignment must be a power of two, of type u32: the file is damaged";
                return Err(cursor.input().fault(None, Some(at), reason));
            };
            alignment = given;
        } else {
            skip_value(cursor, kind, 0)?;
        }
    }
    Ok(alignment)
}

fn text(cursor: &mut Cursor<'_>, what: &str) -> Result<String> {
    let len = cursor.u64()?;
    cursor.text(len, MAX_NAME, what)
}

fn skip_value(cursor: &mut Cursor<'_>, kind: u32, depth: u32) -> Result<()> {
    const STRING: u32 = 8;
    const ARRAY: u32 = 9;
    match kind {
        STRING => {
            let len = cursor.u64()?;
            cursor.skip(len)
        }
        ARRAY if depth >= MAX_DEPTH => {
            Err(cursor.fault(None, format!("arrays lie in one another more than {MAX_DEPTH} deep: the file is damaged")))
        }
        ARRAY => {
            let (kind, count) = (cursor.u32()?, cursor.u64()?);
            match fixed_len(kind) {
                // More than the file holds, in any case.
                Some(len) => cursor.skip(count.saturating_mul(len)),
                None => (0..count).try_for_each(|_| skip_value(cursor, kind, depth + 1)),
            }
        }
        _ => match fixed_len(kind) {
            Some(len) => cursor.skip(len),
            None => Err(cursor.fault(None, format!("there is no metadata of type {kind}: the file is damaged"))),
        },
    }
}

/// Bytes of a number of this type.
fn fixed_len(kind: u32) -> Option<u64> {
    Some(match kind {
        0 | 1 | 7 => 1,
        2 | 3 => 2,
        4..=6 => 4,
        10..=12 => 8,
        _ => return None,
    })
}

/// A tensor as the list has it.
struct Tensor {
    name: String,
    shape: Vec<u64>,
    kind: u32,
    /// From where the values begin.
    offset: u64,
}

impl Tensor {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self> {
        let name = text(cursor, "the name of a tensor")?;
        let axes = cursor.u32()?;
        if axes > MAX_AXES {
            return Err(
                cursor.fault(Some(&name), format!("a tensor has at most {MAX_AXES} axes, not {axes}: the file is damaged"))
            );
        }
        let mut shape = (0..axes).map(|_| cursor.u64()).collect::<Result<Vec<_>>>()?;
        // The contiguous axis comes first in the file.
        shape.reverse();
        Ok(Self { name, shape, kind: cursor.u32()?, offset: cursor.u64()? })
    }
}

/// How values are stored: the name, elements and bytes of a block, and the encoding or the reason why they are left out.
struct Stored {
    name: &'static str,
    block: (u64, u64),
    encoding: Result<Encoding, &'static str>,
}

fn stored(kind: u32) -> Option<Stored> {
    const OTHER: &str = "this type of ggml's is not decoded";
    let numbers = |name, encoding: Encoding| {
        let (elements, bytes) = encoding.block();
        Some(Stored { name, block: (elements as u64, bytes as u64), encoding: Ok(encoding) })
    };
    let left = |name, block, reason| Some(Stored { name, block, encoding: Err(reason) });
    match kind {
        0 => numbers("F32", Encoding::F32(Order::Little)),
        1 => numbers("F16", Encoding::F16(Order::Little)),
        28 => numbers("F64", Encoding::F64(Order::Little)),
        30 => numbers("BF16", Encoding::Bf16(Order::Little)),
        2 => numbers("Q4_0", Encoding::Ggml(Ggml::Q4_0)),
        3 => numbers("Q4_1", Encoding::Ggml(Ggml::Q4_1)),
        6 => numbers("Q5_0", Encoding::Ggml(Ggml::Q5_0)),
        7 => numbers("Q5_1", Encoding::Ggml(Ggml::Q5_1)),
        8 => numbers("Q8_0", Encoding::Ggml(Ggml::Q8_0)),
        10 => numbers("Q2_K", Encoding::Ggml(Ggml::Q2_K)),
        11 => numbers("Q3_K", Encoding::Ggml(Ggml::Q3_K)),
        12 => numbers("Q4_K", Encoding::Ggml(Ggml::Q4_K)),
        13 => numbers("Q5_K", Encoding::Ggml(Ggml::Q5_K)),
        14 => numbers("Q6_K", Encoding::Ggml(Ggml::Q6_K)),
        20 => numbers("IQ4_NL", Encoding::Ggml(Ggml::IQ4_NL)),
        23 => numbers("IQ4_XS", Encoding::Ggml(Ggml::IQ4_XS)),
        34 => numbers("TQ1_0", Encoding::Ggml(Ggml::TQ1_0)),
        35 => numbers("TQ2_0", Encoding::Ggml(Ggml::TQ2_0)),
        39 => numbers("MXFP4", Encoding::Ggml(Ggml::MXFP4)),
        40 => numbers("NVFP4", Encoding::Ggml(Ggml::NVFP4)),
        9 => left("Q8_1", (32, 36), OTHER),
        15 => left("Q8_K", (256, 292), OTHER),
        16 => left("IQ2_XXS", (256, 66), OTHER),
        17 => left("IQ2_XS", (256, 74), OTHER),
        18 => left("IQ3_XXS", (256, 98), OTHER),
        19 => left("IQ1_S", (256, 50), OTHER),
        21 => left("IQ3_S", (256, 110), OTHER),
        22 => left("IQ2_S", (256, 82), OTHER),
        29 => left("IQ1_M", (256, 56), OTHER),
        41 => left("Q1_0", (128, 18), OTHER),
        24 => left("I8", (1, 1), INTEGERS),
        25 => left("I16", (1, 2), INTEGERS),
        26 => left("I32", (1, 4), INTEGERS),
        27 => left("I64", (1, 8), INTEGERS),
        _ => None,
    }
}

fn contents(input: &Arc<Input>, tensors: Vec<Tensor>, start: u64, alignment: u64) -> Result<Contents> {
    let mut contents = Contents::default();
    let mut claims = Claims::default();
    let mut has_unknown = false;
    for Tensor { name, shape, kind, offset } in tensors {
        let at = start.checked_add(offset).filter(|&at| at <= input.len());
        let Some(at) = at else {
            let reason = format!(
                "its values are said to begin {offset} bytes after byte {start}, but the file ends at byte {}: it is cut short or damaged, get it again",
                input.len()
            );
            return Err(input.fault(Some(&name), Some(input.len()), reason));
        };
        if offset % alignment != 0 {
            let reason = format!(
                "its values begin {offset} bytes after byte {start}, which is no multiple of the alignment, {alignment}: the file is damaged"
            );
            return Err(input.fault(Some(&name), Some(at), reason));
        }
        let Some(Stored { name: stored, block: (elements, bytes), encoding }) = stored(kind) else {
            has_unknown = true;
            let reason = "this type of ggml's is not known".to_owned();
            contents.skipped.push(Skipped { name, stored: format!("type {kind}"), reason });
            continue;
        };
        let row = shape.last().copied().unwrap_or(1);
        if row % elements != 0 {
            let reason = format!(
                "its rows have {row} elements, which is no multiple of the {elements} of a block of {stored}: the file is damaged"
            );
            return Err(input.fault(Some(&name), Some(at), reason));
        }
        let needed = elements_of(&shape).and_then(|count| (count / elements).checked_mul(bytes));
        let Some(end) = needed.and_then(|needed| at.checked_add(needed)).filter(|&end| end <= input.len()) else {
            let needed = needed.map_or("more bytes than can be counted".to_owned(), |bytes| format!("{bytes} bytes"));
            let (shape, len) = (shown(&format!("{shape:?}")), input.len());
            let reason = format!(
                "shape {shape} of {stored} needs {needed}, but the file ends at byte {len}: it is cut short or damaged, get it again"
            );
            return Err(input.fault(Some(&name), Some(at), reason));
        };
        claims.add(at..end, &name);
        let skip = |reason: &str| Skipped { name: name.clone(), stored: stored.to_owned(), reason: reason.to_owned() };
        match encoding {
            Ok(_) if at == end => contents.skipped.push(skip(EMPTY)),
            Ok(encoding) => contents.entries.push(Entry::stored(name, shape_of(&shape), stored, encoding, input, at)),
            Err(reason) => contents.skipped.push(skip(reason)),
        }
    }
    let gaps = claims.unclaimed(input, start.min(input.len())..input.len())?;
    // What is less than the alignment fills up to the next tensor; where a tensor's length is not known, more may be its.
    for gap in gaps.into_iter().filter(|gap| gap.end - gap.start >= alignment && !has_unknown) {
        let reason = "no tensor has these bytes".to_owned();
        contents.skipped.push(Skipped { name: format!("{}..{}", gap.start, gap.end), stored: "bytes".to_owned(), reason });
    }
    Ok(contents)
}
