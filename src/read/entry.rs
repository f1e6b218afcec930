//! `Entry`: a tensor of a file, where its values are, and how any range of them is read.

use std::ops::Range;
use std::sync::Arc;

use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::source::{Skipped, TensorInfo, TileBuffer};
use crate::tensor::Slice;

use super::encoding::{Encoding, Inexact, MAX_BLOCK};
use super::input::Input;

/// What a reader finds in a file.
#[derive(Default)]
pub(super) struct Contents {
    pub entries: Vec<Entry>,
    pub skipped: Vec<Skipped>,
}

/// A tensor of a file.
pub(super) struct Entry {
    pub info: TensorInfo,
    pub values: Values,
}

impl Entry {
    /// A tensor whose values are stored one after another from this byte on.
    pub fn stored(name: String, shape: Vec<usize>, stored: &str, encoding: Encoding, input: &Arc<Input>, offset: u64) -> Self {
        let info = TensorInfo { name, shape, dtype: encoding.dtype(), stored: stored.to_owned() };
        Self { info, values: Values::Stored { encoding, bytes: Box::new(FileBytes { input: Arc::clone(input), offset }) } }
    }

    /// Fills the buffer with these values.
    pub fn read<'a>(&self, elements: Range<usize>, buffer: &'a mut TileBuffer) -> Result<Slice<'a>> {
        let TileBuffer { bytes, f32, f64 } = buffer;
        let count = elements.len();
        match self.info.dtype {
            Dtype::F32 => {
                let out = room(f32, count);
                self.values.read_f32(&self.info.name, elements, bytes, out)?;
                Ok(Slice::F32(out))
            }
            Dtype::F64 => {
                let out = room(f64, count);
                self.values.read_f64(&self.info.name, elements, bytes, out)?;
                Ok(Slice::F64(out))
            }
        }
    }
}

/// So many numbers, whose content does not matter.
fn room<T: Copy + Default>(buffer: &mut Vec<T>, count: usize) -> &mut [T] {
    if buffer.capacity() < count {
        // Anew, as zeros that the system has ready, and not a copy.
        *buffer = vec![T::default(); count];
    } else if buffer.len() < count {
        buffer.resize(count, T::default());
    }
    &mut buffer[..count]
}

/// Bytes of a tensor, counted from its first.
pub(super) trait ReadBytes: Send + Sync {
    /// Fills `out` with those from `at` on, all of which the tensor has.
    fn read(&self, tensor: &str, at: u64, out: &mut [u8]) -> Result<()>;

    /// The error about the byte `at`.
    fn fault(&self, tensor: &str, at: u64, reason: String) -> Error;
}

/// Those of a file from `offset` on.
pub(super) struct FileBytes {
    pub input: Arc<Input>,
    pub offset: u64,
}

impl ReadBytes for FileBytes {
    fn read(&self, tensor: &str, at: u64, out: &mut [u8]) -> Result<()> {
        self.input.read_at(Some(tensor), self.offset.saturating_add(at), out)
    }

    fn fault(&self, tensor: &str, at: u64, reason: String) -> Error {
        self.input.fault(Some(tensor), Some(self.offset.saturating_add(at)), reason)
    }
}

/// Numbers of a tensor that are not stored as equally wide bytes one after another.
pub(super) trait ReadNumbers: Send + Sync {
    /// Fills `out` with those from `start` on, all of which the tensor has, where they are f32.
    fn read_f32(&self, tensor: &str, start: usize, out: &mut [f32]) -> Result<()>;

    /// The same where they are f64.
    fn read_f64(&self, tensor: &str, start: usize, out: &mut [f64]) -> Result<()>;
}

/// Where the values of a tensor are.
pub(super) enum Values {
    /// One after another, in blocks of equally many bytes.
    Stored { encoding: Encoding, bytes: Box<dyn ReadBytes> },
    /// Some other way.
    Numbers(Box<dyn ReadNumbers>),
}

/// How many encoded bytes are read and decoded at a time: they stay in the second-level cache.
const PIECE: usize = 1 << 18;

impl Values {
    /// `None` where they are not equally wide.
    pub fn bits_per_element(&self) -> Option<f64> {
        match self {
            Self::Stored { encoding, .. } => {
                let (elements, bytes) = encoding.block();
                Some(8.0 * bytes as f64 / elements as f64)
            }
            Self::Numbers(_) => None,
        }
    }

    fn read_f32(&self, tensor: &str, elements: Range<usize>, scratch: &mut Vec<u8>, out: &mut [f32]) -> Result<()> {
        match self {
            Self::Numbers(numbers) => numbers.read_f32(tensor, elements.start, out),
            Self::Stored { encoding, bytes } if encoding.is_native_f32() => {
                bytes.read(tensor, elements.start as u64 * 4, bytemuck::cast_slice_mut(out))
            }
            Self::Stored { encoding, bytes } => {
                decode(encoding.block(), bytes.as_ref(), tensor, elements, scratch, out, |encoded, out| {
                    encoding.decode_f32(encoded, out);
                    Ok(())
                })
            }
        }
    }

    fn read_f64(&self, tensor: &str, elements: Range<usize>, scratch: &mut Vec<u8>, out: &mut [f64]) -> Result<()> {
        match self {
            Self::Numbers(numbers) => numbers.read_f64(tensor, elements.start, out),
            Self::Stored { encoding, bytes } if encoding.is_native_f64() => {
                bytes.read(tensor, elements.start as u64 * 8, bytemuck::cast_slice_mut(out))
            }
            Self::Stored { encoding, bytes } => {
                decode(encoding.block(), bytes.as_ref(), tensor, elements, scratch, out, |encoded, out| {
                    encoding.decode_f64(encoded, out)
                })
            }
        }
    }
}

/// The elements asked for, from the blocks that cover them.
fn decode<T: Copy + Default>(
    (block_elements, block_bytes): (usize, usize),
    bytes: &dyn ReadBytes,
    tensor: &str,
    elements: Range<usize>,
    scratch: &mut Vec<u8>,
    out: &mut [T],
    decode: impl Fn(&[u8], &mut [T]) -> Result<(), Inexact>,
) -> Result<()> {
    let mut rest = out;
    let mut next = elements.start;
    while next < elements.end {
        let block = next / block_elements;
        let last = elements.end.div_ceil(block_elements).min(block + PIECE / block_bytes);
        let encoded = room(scratch, (last - block) * block_bytes);
        let at = block as u64 * block_bytes as u64;
        bytes.read(tensor, at, encoded)?;
        let inexact = |first: usize, Inexact { index, value }| {
            let element = first + index;
            bytes.fault(tensor, element as u64 * block_bytes as u64, inexact_reason(element, value))
        };
        let mut encoded = &*encoded;
        // Blocks of which only a part is asked for go by way of a whole one.
        while !encoded.is_empty() {
            let (within, left) = (next % block_elements, rest.len());
            let whole = if within == 0 { (encoded.len() / block_bytes).min(left / block_elements) } else { 0 };
            let (of, part) = encoded.split_at(whole.max(1) * block_bytes);
            let taken = if whole > 0 {
                let (head, tail) = rest.split_at_mut(whole * block_elements);
                decode(of, head).map_err(|error| inexact(next, error))?;
                rest = tail;
                whole * block_elements
            } else {
                let mut one = [T::default(); MAX_BLOCK];
                decode(of, &mut one[..block_elements]).map_err(|error| inexact(next - within, error))?;
                let count = (block_elements - within).min(left);
                let (head, tail) = rest.split_at_mut(count);
                head.copy_from_slice(&one[within..within + count]);
                rest = tail;
                count
            };
            next += taken;
            encoded = part;
        }
    }
    Ok(())
}

/// Why a whole number cannot be read.
pub(super) fn inexact_reason(element: usize, value: i128) -> String {
    format!("element {element} is {value}, which f64 does not hold: store it as a float, or leave out the low digits")
}

/// The product of a shape. `None` where it is not a number of bytes that could be anywhere.
pub(super) fn elements_of(shape: &[u64]) -> Option<u64> {
    // A length of 0 makes it 0 whatever comes before or after.
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().try_fold(1_u64, |product, &length| product.checked_mul(length)).filter(|&product| product <= u64::MAX >> 4)
}

/// A shape as tables show it.
pub(super) fn shape_of(shape: &[u64]) -> Vec<usize> {
    shape.iter().map(|&length| usize::try_from(length).unwrap_or(usize::MAX)).collect()
}

/// Why a tensor without elements is left out.
pub(super) const EMPTY: &str = "it has no elements";

/// Why integers are left out where a format is one of models.
pub(super) const INTEGERS: &str = "integers are no weights";

/// The most tensors that are listed.
pub(super) const MAX_TENSORS: u64 = 1_000_000;
