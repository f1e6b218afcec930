//! npy and npz, numpy's files: an array, and a zip archive of arrays.
//! <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>

mod header;
mod transposed;

use std::sync::Arc;

use crate::error::Result;
use crate::source::{Skipped, TensorInfo};

use super::encoding::Encoding;
use super::entry::{Contents, EMPTY, Entry, FileBytes, ReadBytes, Values, elements_of, shape_of};
use super::input::{Input, Order, shown};
use super::zip::{Archive, MemberBytes, Method};
use header::Header;
use transposed::Transposed;

/// How a file of this format begins.
pub(super) const MAGIC: &[u8] = b"\x93NUMPY";

/// The array of an npy file, which is named as the file.
pub(super) fn read(input: &Arc<Input>) -> Result<Contents> {
    let name = input.path().file_stem().map_or_else(|| "array".into(), |stem| stem.to_string_lossy()).into_owned();
    let mut contents = Contents::default();
    let bytes = FileBytes { input: Arc::clone(input), offset: 0 };
    let end = array(&name, &bytes, input.len(), &mut contents, |offset, fortran| {
        let bytes = FileBytes { input: Arc::clone(input), offset };
        Ok(match fortran {
            Some(layout) => Box::new(Transposed::new(bytes, layout)),
            None => Box::new(bytes),
        })
    })?;
    if let Some(end) = end.filter(|&end| end < input.len()) {
        let reason = "bytes after the array: only the first array of a file is read".to_owned();
        contents.skipped.push(Skipped { name: format!("{end}..{}", input.len()), stored: "bytes".to_owned(), reason });
    }
    Ok(contents)
}

/// The arrays of an npz archive.
pub(super) fn read_archive(input: &Arc<Input>) -> Result<Contents> {
    let archive = Archive::open(input)?;
    let mut contents = Contents::default();
    for (number, member) in archive.members().iter().enumerate() {
        let Some(name) = member.name.strip_suffix(".npy") else {
            let reason = "not an array: its name does not end in .npy".to_owned();
            contents.skipped.push(Skipped { name: member.name.clone(), stored: "file".to_owned(), reason });
            continue;
        };
        if let Method::Other(reason) = &member.method {
            contents.skipped.push(Skipped { name: name.to_owned(), stored: "npy".to_owned(), reason: reason.clone() });
            continue;
        }
        let plain = FileBytes { input: Arc::clone(input), offset: member.start };
        let is_stored = member.method == Method::Stored;
        let head: Box<dyn ReadBytes> = if is_stored { Box::new(plain) } else { Box::new(MemberBytes::head(&archive, number)) };
        let end = array(name, head.as_ref(), member.len, &mut contents, |offset, layout| match (is_stored, layout) {
            (true, None) => Ok(Box::new(FileBytes { input: Arc::clone(input), offset: member.start + offset })),
            (true, Some(layout)) => {
                let bytes = FileBytes { input: Arc::clone(input), offset: member.start + offset };
                Ok(Box::new(Transposed::new(bytes, layout)))
            }
            (false, None) => Ok(Box::new(MemberBytes::new(&archive, number, offset))),
            (false, Some(_)) => Err("it is in Fortran order and compressed, so that no row can be read before all are: \
                                     store it with numpy.ascontiguousarray, or with numpy.savez"),
        })?;
        if let Some(end) = end.filter(|&end| end < member.len) {
            let reason = format!("its array ends here, but {} bytes follow: the file is damaged", member.len - end);
            return Err(head.fault(name, end, reason));
        }
    }
    Ok(contents)
}

/// How an array in Fortran order lies: its shape, and the bytes of an element.
pub(super) struct Layout {
    shape: Vec<u64>,
    element: u64,
}

/// Reads the header of an array in `len` bytes and adds it to the contents, with the bytes that `open` gives for where they begin and for a
/// layout, or the reason why they cannot be read. Where the array ends; `None` of one that is left out.
fn array(
    name: &str,
    head: &dyn ReadBytes,
    len: u64,
    contents: &mut Contents,
    open: impl FnOnce(u64, Option<Layout>) -> Result<Box<dyn ReadBytes>, &'static str>,
) -> Result<Option<u64>> {
    let Header { descr, is_fortran, shape, start } = Header::read(name, head, len)?;
    let stored = shown(&descr);
    let skip = |reason: &str| Skipped { name: name.to_owned(), stored: stored.clone(), reason: reason.to_owned() };
    let encoding = match encoding_of(&descr) {
        Ok(encoding) => encoding,
        Err(reason) => {
            contents.skipped.push(skip(reason));
            return Ok(None);
        }
    };
    let element = encoding.block().1 as u64;
    let needed = elements_of(&shape).and_then(|elements| elements.checked_mul(element));
    let Some(end) = needed.and_then(|needed| needed.checked_add(start)).filter(|&end| end <= len) else {
        let needed = needed.map_or("more bytes than can be counted".to_owned(), |bytes| format!("{bytes} bytes"));
        let shape = shown(&format!("{shape:?}"));
        let reason = format!(
            "shape {shape} of {descr} needs {needed}, but {} follow: it is cut short or damaged, get it again",
            len - start
        );
        return Err(head.fault(name, start, reason));
    };
    if end == start {
        contents.skipped.push(skip(EMPTY));
        return Ok(Some(end));
    }
    // With one axis longer than 1 both orders are the same.
    let is_transposed = is_fortran && shape.iter().filter(|&&length| length > 1).count() > 1;
    match open(start, is_transposed.then(|| Layout { shape: shape.clone(), element })) {
        Ok(bytes) => {
            let info = TensorInfo { name: name.to_owned(), shape: shape_of(&shape), dtype: encoding.dtype(), stored };
            contents.entries.push(Entry { info, values: Values::Stored { encoding, bytes } });
        }
        Err(reason) => contents.skipped.push(skip(reason)),
    }
    Ok(Some(end))
}

/// What a data type is stored as, or why it is left out.
fn encoding_of(descr: &str) -> Result<Encoding, &'static str> {
    const UNKNOWN: &str = "this data type is not known";
    let mut chars = descr.chars();
    let order = match chars.next() {
        Some('<' | '|' | '=') => Order::Little,
        Some('>') => Order::Big,
        Some('[') => return Err("records of several fields are not read: store each field as an array of its own"),
        _ => return Err(UNKNOWN),
    };
    Ok(match chars.as_str() {
        "f8" => Encoding::F64(order),
        "f4" => Encoding::F32(order),
        "f2" => Encoding::F16(order),
        "i1" => Encoding::I8,
        "u1" => Encoding::U8,
        "i2" => Encoding::I16(order),
        "u2" => Encoding::U16(order),
        "i4" => Encoding::I32(order),
        "u4" => Encoding::U32(order),
        "i8" => Encoding::I64(order),
        "u8" => Encoding::U64(order),
        "b1" => return Err("truth values are no numbers"),
        "f12" | "f16" => return Err("floats longer than 64 bits are not read: store it as float64"),
        other => {
            return Err(match other.chars().next() {
                Some('c') => "complex numbers are not read",
                Some('S' | 'U' | 'a') => "text is no number",
                Some('M' | 'm') => "times are no numbers here",
                Some('O') => "Python objects are not read, for that may run what the file says",
                Some('V') => "numpy stores numbers of this type without saying what they are: store it as float32",
                _ => UNKNOWN,
            });
        }
    })
}
