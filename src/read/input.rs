//! `Input`: the bytes of one file, read at given places, and `Cursor`, which goes through them from one place on.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result};

/// Bytes that are read at given places, as an object of a store of objects: what stands for a file in [`Model::from_readers`](super::Model::from_readers).
pub trait ReadAt: Send + Sync {
    /// How many there are.
    fn len(&self) -> u64;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills `out` with the bytes from `offset` on, all of which are there.
    ///
    /// # Errors
    /// What reading says.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()>;
}

/// A file, or what stands for one. Files are read and not mapped: one that shrinks meanwhile is an error, not the end of the process.
pub(super) struct Input {
    path: PathBuf,
    bytes: Bytes,
    len: u64,
}

enum Bytes {
    File(File),
    Memory(Vec<u8>),
    Reader(Arc<dyn ReadAt>),
}

impl Input {
    pub fn open(path: &Path) -> Result<Arc<Self>> {
        let failed = |error: std::io::Error| fault(path, None, None, format!("it cannot be opened: {error}"));
        // Before it is opened: opening a pipe waits for whoever writes to it.
        if !fs::metadata(path).map_err(failed)?.is_file() {
            return Err(fault(path, None, None, "it is neither a file nor a folder"));
        }
        let file = File::open(path).map_err(failed)?;
        let len = file.metadata().map_err(failed)?.len();
        Ok(Arc::new(Self { path: path.to_owned(), bytes: Bytes::File(file), len }))
    }

    pub fn memory(name: &Path, bytes: Vec<u8>) -> Arc<Self> {
        Arc::new(Self { path: name.to_owned(), len: bytes.len() as u64, bytes: Bytes::Memory(bytes) })
    }

    pub fn reader(name: &Path, reader: Arc<dyn ReadAt>) -> Arc<Self> {
        Arc::new(Self { path: name.to_owned(), len: reader.len(), bytes: Bytes::Reader(reader) })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its length when it was opened.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it is no file, which may have others beside it.
    pub fn is_alone(&self) -> bool {
        !matches!(self.bytes, Bytes::File(_))
    }

    /// The error about this place of the file.
    pub fn fault(&self, tensor: Option<&str>, offset: Option<u64>, reason: impl Into<String>) -> Error {
        fault(&self.path, tensor, offset, reason)
    }

    /// Fills `out` with the bytes from `offset` on.
    pub fn read_at(&self, tensor: Option<&str>, offset: u64, out: &mut [u8]) -> Result<()> {
        let end = offset.checked_add(out.len() as u64);
        if end.is_none_or(|end| end > self.len) {
            return Err(self.cut_short(tensor, offset, out.len() as u64));
        }
        match &self.bytes {
            Bytes::Memory(bytes) => {
                out.copy_from_slice(&bytes[offset as usize..offset as usize + out.len()]);
                Ok(())
            }
            Bytes::File(file) => self.fill(file, tensor, offset, out),
            Bytes::Reader(reader) => reader
                .read_at(offset, out)
                .map_err(|error| self.fault(tensor, Some(offset), format!("it cannot be read: {error}"))),
        }
    }

    fn fill(&self, file: &File, tensor: Option<&str>, offset: u64, out: &mut [u8]) -> Result<()> {
        let mut done = 0;
        while done < out.len() {
            let at = offset + done as u64;
            match positioned_read(file, &mut out[done..], at) {
                Ok(0) => {
                    let reason = format!(
                        "the file ends here, but had {} bytes when it was opened: leave it alone while it is read",
                        self.len
                    );
                    return Err(self.fault(tensor, Some(at), reason));
                }
                Ok(count) => done += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.fault(tensor, Some(at), format!("it cannot be read: {error}"))),
            }
        }
        Ok(())
    }

    /// The error where the file has no such bytes.
    pub fn cut_short(&self, tensor: Option<&str>, offset: u64, needed: u64) -> Error {
        let reason = format!(
            "{needed} bytes are expected here, but the file ends at byte {}: it is cut short or damaged, get it again",
            self.len
        );
        self.fault(tensor, Some(offset), reason)
    }
}

#[cfg(unix)]
fn positioned_read(file: &File, out: &mut [u8], offset: u64) -> std::io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, out, offset)
}

#[cfg(windows)]
fn positioned_read(file: &File, out: &mut [u8], offset: u64) -> std::io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, out, offset)
}

/// The error about a place in a file. Names are shown up to a length that a person reads.
pub(super) fn fault(path: &Path, tensor: Option<&str>, offset: Option<u64>, reason: impl Into<String>) -> Error {
    Error::File { path: path.display().to_string(), tensor: tensor.map(shown), offset, reason: reason.into() }
}

/// A name as errors show it: what is longer than a person reads is cut.
pub(super) fn shown(name: &str) -> String {
    const SHOWN: usize = 200;
    match name.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}

/// Which byte of a number comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Little,
    Big,
}

/// Goes through an input byte by byte, through a small window of it. Numbers are little-endian.
pub(super) struct Cursor<'a> {
    input: &'a Input,
    /// How much is read at once.
    window_len: u64,
    window: Vec<u8>,
    /// Where the window begins in the file.
    start: u64,
    /// The next byte, from the window's begin.
    next: usize,
    /// What may be read: up to here.
    end: u64,
}

impl<'a> Cursor<'a> {
    /// From `start` to the end of the file.
    pub fn new(input: &'a Input, start: u64) -> Self {
        const WINDOW: u64 = 1 << 16;
        Self { input, window_len: WINDOW, window: Vec::new(), start, next: 0, end: input.len() }
    }

    /// For a few bytes alone.
    pub fn short(input: &'a Input, start: u64) -> Self {
        const WINDOW: u64 = 64;
        Self { window_len: WINDOW, ..Self::new(input, start) }
    }

    pub fn input(&self) -> &'a Input {
        self.input
    }

    /// Where the next byte is in the file.
    pub fn position(&self) -> u64 {
        self.start + self.next as u64
    }

    pub fn end(&self) -> u64 {
        self.end
    }

    /// What may be read: up to here; the previous limit.
    pub fn set_end(&mut self, end: u64) -> u64 {
        std::mem::replace(&mut self.end, end)
    }

    pub fn fault(&self, tensor: Option<&str>, reason: impl Into<String>) -> Error {
        self.input.fault(tensor, Some(self.position()), reason)
    }

    /// Checks that so many bytes are there.
    fn need(&self, count: u64) -> Result<()> {
        if count <= self.end - self.position() {
            Ok(())
        } else if self.end == self.input.len() {
            Err(self.input.cut_short(None, self.position(), count))
        } else {
            Err(self
                .fault(None, format!("{count} bytes are expected here, but the part they belong to ends at byte {}", self.end)))
        }
    }

    /// Makes so many bytes stand in the window; `count` is small.
    fn fill(&mut self, count: usize) -> Result<()> {
        if self.window.len() - self.next >= count {
            return Ok(());
        }
        self.start += self.next as u64;
        self.next = 0;
        let len = (self.input.len() - self.start).min(self.window_len.max(count as u64));
        self.window.resize(len as usize, 0);
        self.input.read_at(None, self.start, &mut self.window)
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.need(N as u64)?;
        self.fill(N)?;
        let mut array = [0; N];
        array.copy_from_slice(&self.window[self.next..self.next + N]);
        self.next += N;
        Ok(array)
    }

    pub fn u8(&mut self) -> Result<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub fn u16(&mut self) -> Result<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// The next `count` bytes, which must be there and no more than `most`: only then is there room made for them.
    pub fn bytes(&mut self, count: u64, most: u64, what: &str) -> Result<Vec<u8>> {
        self.need(count)?;
        if count > most {
            return Err(self.fault(None, format!("{what} has {count} bytes, but at most {most} are read")));
        }
        let mut bytes = vec![0; count as usize];
        let have = bytes.len().min(self.window.len() - self.next);
        let (head, tail) = bytes.split_at_mut(have);
        head.copy_from_slice(&self.window[self.next..self.next + have]);
        self.next += have;
        if !tail.is_empty() {
            self.input.read_at(None, self.position(), tail)?;
            self.jump(self.position() + tail.len() as u64);
        }
        Ok(bytes)
    }

    /// The next `count` bytes as text.
    pub fn text(&mut self, count: u64, most: u64, what: &str) -> Result<String> {
        let start = self.position();
        let bytes = self.bytes(count, most, what)?;
        String::from_utf8(bytes).map_err(|error| {
            let offset = start + error.utf8_error().valid_up_to() as u64;
            self.input.fault(None, Some(offset), format!("{what} is not UTF-8 text: the file is damaged, or of another format"))
        })
    }

    /// Leaves out so many bytes.
    pub fn skip(&mut self, count: u64) -> Result<()> {
        self.need(count)?;
        match usize::try_from(count) {
            Ok(count) if count <= self.window.len() - self.next => self.next += count,
            _ => self.jump(self.position() + count),
        }
        Ok(())
    }

    /// Goes to another part of the file, which costs nothing where it is in the window.
    pub fn move_to(&mut self, part: std::ops::Range<u64>) {
        self.end = part.end.min(self.input.len());
        match part.start.checked_sub(self.start) {
            Some(next) if next <= self.window.len() as u64 => self.next = next as usize,
            _ => self.jump(part.start.min(self.end)),
        }
    }

    fn jump(&mut self, to: u64) {
        self.window.clear();
        (self.start, self.next) = (to, 0);
    }
}
