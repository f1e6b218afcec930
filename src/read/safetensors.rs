//! safetensors: eight bytes with the length of a header of JSON, the header, the values.
//! <https://huggingface.co/docs/safetensors/index#format>, whose rules all hold here: the values fill the file without overlap or hole.
//!
//! The header is read with serde_json and not with the crate safetensors, which keeps one of two tensors of the same name without a word, does not say
//! where in a file something is wrong, and refuses whole files for one data type that it does not know.

use std::fmt;
use std::sync::Arc;

use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::error::Result;
use crate::format::Minifloat;
use crate::source::Skipped;

use super::claims::Claims;
use super::encoding::Encoding;
use super::entry::{Contents, EMPTY, Entry, INTEGERS, MAX_TENSORS, elements_of, shape_of};
use super::input::{Input, Order, shown};

/// Bytes before the header.
const LENGTH: u64 = 8;

/// The largest header, as the format has it.
const MAX_HEADER: u64 = 100_000_000;

/// Whether the first bytes of a file are those of this format.
pub(super) fn is_it(head: &[u8], len: u64) -> bool {
    let length = head.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
    length.is_some_and(|length| length >= 2 && length <= len.saturating_sub(LENGTH)) && head.get(8) == Some(&b'{')
}

pub(super) fn read(input: &Arc<Input>) -> Result<Contents> {
    let mut length = [0; LENGTH as usize];
    input.read_at(None, 0, &mut length)?;
    let length = u64::from_le_bytes(length);
    if length > input.len() - LENGTH {
        let reason = format!(
            "the header is said to have {length} bytes, but the file ends at byte {}: it is cut short, or no safetensors file",
            input.len()
        );
        return Err(input.fault(None, Some(0), reason));
    }
    if !(2..=MAX_HEADER).contains(&length) {
        let reason = format!("a header has 2 to {MAX_HEADER} bytes, not {length}: this is no safetensors file");
        return Err(input.fault(None, Some(0), reason));
    }
    let mut first = [0; 1];
    input.read_at(None, LENGTH, &mut first)?;
    if first != *b"{" {
        return Err(input.fault(None, Some(LENGTH), "a header begins with `{`: this is no safetensors file"));
    }
    let mut header = vec![0; length as usize];
    input.read_at(None, LENGTH, &mut header)?;
    contents(input, parse(input, &header)?, LENGTH + length)
}

/// What the header says of a tensor.
#[derive(Deserialize)]
struct Header {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

/// The header's tensors as they stand there. `name` is the last one begun, which an error is about.
struct Headers<'a> {
    name: &'a mut Option<String>,
}

impl<'de> DeserializeSeed<'de> for Headers<'_> {
    type Value = Vec<(String, Header)>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Headers<'_> {
    type Value = Vec<(String, Header)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut headers = Vec::new();
        let mut names = std::collections::HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            if !names.insert(name.clone()) {
                *self.name = Some(name);
                return Err(A::Error::custom("there are two of this name"));
            }
            if names.len() as u64 > MAX_TENSORS {
                return Err(A::Error::custom(format_args!("there are more than {MAX_TENSORS} tensors")));
            }
            if name == "__metadata__" {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            *self.name = Some(name.clone());
            headers.push((name, map.next_value()?));
            *self.name = None;
        }
        Ok(headers)
    }
}

fn parse(input: &Input, header: &[u8]) -> Result<Vec<(String, Header)>> {
    let mut name = None;
    let mut deserializer = serde_json::Deserializer::from_slice(header);
    let parsed = Headers { name: &mut name }.deserialize(&mut deserializer).and_then(|headers| {
        deserializer.end()?;
        Ok(headers)
    });
    parsed
        .map_err(|error| input.fault(name.as_deref(), Some(LENGTH + json_offset(header, &error)), json_reason("header", &error)))
}

/// Where in the text an error is.
pub(super) fn json_offset(text: &[u8], error: &serde_json::Error) -> u64 {
    let lines = text.split_inclusive(|&byte| byte == b'\n').take(error.line().saturating_sub(1));
    (lines.map(<[u8]>::len).sum::<usize>() + error.column().saturating_sub(1)) as u64
}

/// What an error says, without its place in lines and columns, which are of no use in a file that is not all text.
pub(super) fn json_reason(what: &str, error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let cause = shown(text.strip_suffix(&place).unwrap_or(&text));
    format!("the {what} cannot be read, {cause}: the file is damaged, or of another format")
}

/// How a data type is stored.
enum Kind {
    Numbers(Encoding),
    /// Of so many bits, left out for this reason.
    Other(u64, &'static str),
}

fn kind_of(dtype: &str) -> Option<Kind> {
    Some(match dtype {
        "F64" => Kind::Numbers(Encoding::F64(Order::Little)),
        "F32" => Kind::Numbers(Encoding::F32(Order::Little)),
        "F16" => Kind::Numbers(Encoding::F16(Order::Little)),
        "BF16" => Kind::Numbers(Encoding::Bf16(Order::Little)),
        "F8_E4M3" => Kind::Numbers(Encoding::Minifloat(Minifloat::E4M3FN)),
        "F8_E5M2" => Kind::Numbers(Encoding::Minifloat(Minifloat::E5M2)),
        "F8_E4M3FNUZ" => Kind::Numbers(Encoding::Minifloat(Minifloat::E4M3FNUZ)),
        "F8_E5M2FNUZ" => Kind::Numbers(Encoding::Minifloat(Minifloat::E5M2FNUZ)),
        "F8_E8M0" => Kind::Numbers(Encoding::Minifloat(Minifloat::E8M0)),
        "F6_E2M3" | "F6_E3M2" => Kind::Other(6, "the format does not say how it packs numbers of 6 bits"),
        "F4" => Kind::Other(4, "the format does not say how it packs numbers of 4 bits"),
        "BOOL" => Kind::Other(8, "truth values are no numbers"),
        "U8" | "I8" => Kind::Other(8, INTEGERS),
        "U16" | "I16" => Kind::Other(16, INTEGERS),
        "U32" | "I32" => Kind::Other(32, INTEGERS),
        "U64" | "I64" => Kind::Other(64, INTEGERS),
        "C64" => Kind::Other(64, "complex numbers are not read"),
        _ => return None,
    })
}

fn contents(input: &Arc<Input>, mut headers: Vec<(String, Header)>, start: u64) -> Result<Contents> {
    // As they lie in the file, so that they are read from its begin to its end.
    headers.sort_by_key(|(_, header)| header.data_offsets);
    let mut contents = Contents::default();
    let mut claims = Claims::default();
    let space = input.len() - start;
    for (name, Header { dtype, shape, data_offsets: (begin, end) }) in headers {
        let fault = |offset: Option<u64>, reason: String| Err(input.fault(Some(&name), offset, reason));
        if begin > end || end > space {
            let reason = format!(
                "its data_offsets are {begin} and {end}, but there are {space} bytes of values: the file is cut short or damaged, get it again"
            );
            return fault(Some(start.saturating_add(begin).min(input.len())), reason);
        }
        claims.add(start + begin..start + end, &name);
        let skip = |reason: &str| Skipped { name: name.clone(), stored: shown(&dtype), reason: reason.to_owned() };
        let Some(kind) = kind_of(&dtype) else {
            contents.skipped.push(skip("this data type is not known"));
            continue;
        };
        let bits = match kind {
            Kind::Numbers(encoding) => encoding.block().1 as u64 * 8,
            Kind::Other(bits, _) => bits,
        };
        let elements = elements_of(&shape);
        if elements.and_then(|elements| elements.checked_mul(bits)) != (end - begin).checked_mul(8) {
            let needed = elements.and_then(|elements| elements.checked_mul(bits)).map(|bits| bits.div_ceil(8));
            let needed = needed.map_or("more bytes than can be counted".to_owned(), |bytes| format!("{bytes} bytes"));
            let shape = shown(&format!("{shape:?}"));
            let reason = format!(
                "shape {shape} of {dtype} needs {needed}, but its data_offsets hold {}: the file is damaged",
                end - begin
            );
            return fault(Some(start + begin), reason);
        }
        match kind {
            Kind::Numbers(_) if elements == Some(0) => contents.skipped.push(skip(EMPTY)),
            Kind::Numbers(encoding) => {
                contents.entries.push(Entry::stored(name, shape_of(&shape), &dtype, encoding, input, start + begin));
            }
            Kind::Other(_, reason) => contents.skipped.push(skip(reason)),
        }
    }
    if let Some(gap) = claims.unclaimed(input, start..input.len())?.first() {
        let reason =
            format!("the bytes up to {} belong to no tensor: the file is damaged, or something was appended to it", gap.end);
        return Err(input.fault(None, Some(gap.start), reason));
    }
    Ok(contents)
}
