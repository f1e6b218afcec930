//! `Transposed`: an array in Fortran order, whose first axis is the contiguous one, read as if it were in C order.

use crate::error::{Error, Result};

use super::super::entry::{FileBytes, ReadBytes};
use super::Layout;

/// The bytes of such an array in the order that its elements have in C order.
pub(super) struct Transposed {
    bytes: FileBytes,
    shape: Vec<u64>,
    /// Bytes of an element.
    element: u64,
    len: u64,
}

/// The largest part of the file that is read at once.
const WINDOW: u64 = 1 << 16;

/// Arrays of up to so many bytes are read whole.
const SMALL: u64 = 1 << 20;

impl Transposed {
    pub fn new(bytes: FileBytes, Layout { shape, element }: Layout) -> Self {
        let len = shape.iter().product::<u64>() * element;
        Self { bytes, shape, element, len }
    }

    /// Where the first element of those of this number in C order among the axes after the first is in the file, in elements.
    fn start_of(&self, mut number: u64) -> u64 {
        let lead = self.shape[0];
        let (mut start, mut stride) = (0, self.shape.iter().product::<u64>());
        for &length in self.shape[1..].iter().rev() {
            stride /= length;
            start += number % length * stride;
            number /= length;
        }
        debug_assert!(stride == lead);
        start
    }
}

impl ReadBytes for Transposed {
    fn read(&self, tensor: &str, at: u64, out: &mut [u8]) -> Result<()> {
        let Some(&lead) = self.shape.first() else { return self.bytes.read(tensor, at, out) };
        let element = self.element as usize;
        // Elements of one index of the first axis.
        let row = self.len / self.element / lead;
        let (first, count) = (at / self.element, out.len() as u64 / self.element);
        if count == 0 {
            return Ok(());
        }
        let last = first + count - 1;
        let (first_row, last_row) = (first / row, last / row);
        let columns = if first_row == last_row { first % row..last % row + 1 } else { 0..row };
        // The next column's run is near where the last axis is the only one after the first, or short; then several are read at once.
        let last_stride = self.len / self.element / self.shape[self.shape.len() - 1];
        let window_len = match self.len {
            small if small <= SMALL => small,
            _ if last_stride <= 8 * (last_row - first_row + 1) => WINDOW,
            _ => 0,
        };
        let mut window = Vec::new();
        let mut window_start = 0;
        for column in columns {
            let low = first_row + u64::from(first_row * row + column < first);
            let high = last_row + 1 - u64::from(last_row * row + column > last);
            if low >= high {
                continue;
            }
            let start = (self.start_of(column) + low) * self.element;
            let len = (high - low) * self.element;
            if start < window_start || start + len > window_start + window.len() as u64 {
                window_start = if window_len == self.len { 0 } else { start };
                window.resize(window_len.max(len).min(self.len - window_start) as usize, 0);
                self.bytes.read(tensor, window_start, &mut window)?;
            }
            let run = &window[(start - window_start) as usize..][..len as usize];
            let mut to = ((low * row + column - first) * self.element) as usize;
            for value in run.chunks_exact(element) {
                out[to..to + element].copy_from_slice(value);
                to += row as usize * element;
            }
        }
        Ok(())
    }

    fn fault(&self, tensor: &str, at: u64, reason: String) -> Error {
        let (row, at) = (self.len / self.element / self.shape.first().copied().unwrap_or(1), at / self.element);
        self.bytes.fault(tensor, (self.start_of(at % row) + at / row) * self.element, reason)
    }
}
