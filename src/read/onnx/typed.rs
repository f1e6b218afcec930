//! Values that a tensor has not as raw bytes but in the field for their type.

use std::ops::Range;
use std::sync::Arc;

use crate::error::{Error, Result};

use super::super::encoding::Encoding;
use super::super::entry::{ReadBytes, ReadNumbers};
use super::super::input::{Cursor, Input};
use super::super::protobuf::varint;

/// Bytes in several ranges of a file, read as one.
pub(super) struct Scattered {
    input: Arc<Input>,
    ranges: Vec<Range<u64>>,
    /// Where each range begins among all bytes.
    starts: Vec<u64>,
}

impl Scattered {
    pub fn new(input: &Arc<Input>, ranges: Vec<Range<u64>>) -> Self {
        let lengths = ranges.iter().map(|range| range.end - range.start);
        let starts = lengths.scan(0, |next, len| Some(std::mem::replace(next, *next + len))).collect();
        Self { input: Arc::clone(input), ranges, starts }
    }

    /// The range with this byte, and where in the file that byte is.
    fn place(&self, at: u64) -> Option<(usize, u64)> {
        let number = self.starts.partition_point(|&start| start <= at).checked_sub(1)?;
        Some((number, self.ranges.get(number)?.start + (at - self.starts[number])))
    }
}

impl ReadBytes for Scattered {
    fn read(&self, tensor: &str, mut at: u64, mut out: &mut [u8]) -> Result<()> {
        while !out.is_empty() {
            let Some((number, start)) = self.place(at) else { return Ok(()) };
            let count = (out.len() as u64).min(self.ranges[number].end - start);
            let (head, tail) = out.split_at_mut(count as usize);
            self.input.read_at(Some(tensor), start, head)?;
            (at, out) = (at + count, tail);
        }
        Ok(())
    }

    fn fault(&self, tensor: &str, at: u64, reason: String) -> Error {
        self.input.fault(Some(tensor), self.place(at).map(|(_, start)| start), reason)
    }
}

/// Floats of at most 16 bits, whose bits are varints in `int32_data`.
pub(super) struct Typed {
    input: Arc<Input>,
    encoding: Encoding,
    ranges: Vec<Range<u64>>,
    /// Of every [`STEP`]th number, the range it is in and its place in the file.
    marks: Vec<(usize, u64)>,
}

/// How many numbers are read at most to come to one.
const STEP: usize = 4096;

impl Typed {
    /// Goes through the numbers, which must be as many as the tensor has, and bits of its type.
    pub fn new(
        input: &Arc<Input>,
        tensor: &str,
        at: u64,
        encoding: Encoding,
        ranges: Vec<Range<u64>>,
        elements: u64,
    ) -> Result<Self> {
        let mut marks = Vec::new();
        let mut count = 0;
        let largest = (1_u64 << (8 * encoding.block().1)) - 1;
        let mut cursor = Cursor::new(input, 0);
        for (number, range) in ranges.iter().enumerate() {
            cursor.move_to(range.clone());
            while cursor.position() < range.end {
                let at = cursor.position();
                if count % STEP as u64 == 0 {
                    marks.push((number, at));
                }
                let bits = varint(&mut cursor)?;
                if bits > largest {
                    let reason = format!("element {count} is {bits}, which are not the bits of its type: the file is damaged");
                    return Err(input.fault(Some(tensor), Some(at), reason));
                }
                count += 1;
            }
        }
        if count != elements {
            let reason = format!("its shape needs {elements} values, but {count} are there: the file is damaged");
            return Err(input.fault(Some(tensor), Some(at), reason));
        }
        Ok(Self { input: Arc::clone(input), encoding, ranges, marks })
    }
}

impl ReadNumbers for Typed {
    fn read_f32(&self, _: &str, start: usize, out: &mut [f32]) -> Result<()> {
        let Some(&(mut number, place)) = self.marks.get(start / STEP) else { return Ok(()) };
        let mut cursor = Cursor::new(&self.input, 0);
        cursor.move_to(place..self.ranges[number].end);
        let width = self.encoding.block().1;
        let mut skip = start % STEP;
        let mut encoded = Vec::with_capacity(STEP * width);
        for out in out.chunks_mut(STEP) {
            encoded.clear();
            while encoded.len() < out.len() * width {
                if cursor.position() == cursor.end() {
                    number += 1;
                    let Some(range) = self.ranges.get(number) else { return Ok(()) };
                    cursor.move_to(range.clone());
                    continue;
                }
                let bits = varint(&mut cursor)?.to_le_bytes();
                if skip == 0 {
                    encoded.extend_from_slice(&bits[..width]);
                } else {
                    skip -= 1;
                }
            }
            self.encoding.decode_f32(&encoded, out);
        }
        Ok(())
    }

    fn read_f64(&self, tensor: &str, _: usize, _: &mut [f64]) -> Result<()> {
        Err(self.input.fault(Some(tensor), None, "its values are f32"))
    }
}
