//! Decompressing members of an archive as they are read.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use flate2::{Crc, Decompress, FlushDecompress, Status};

use crate::error::{Error, Result};

use super::super::entry::ReadBytes;
use super::{Archive, Member};

/// How much is decompressed at once.
const CHUNK: usize = 1 << 18;

/// How many of the last chunks are kept, for readers that are not quite in order: several threads.
const CHUNKS: usize = 32;

/// How many members are kept at the place they were read up to.
const STREAMS: usize = 4;

/// How much compressed data is read at once.
const PIECE: u64 = 1 << 16;

/// The members that are being read, the last used first. A member is decompressed from its begin on, so whoever reads on, or at most 8 MiB
/// behind whoever is ahead, costs nothing twice; whoever goes back further begins again.
#[derive(Default)]
pub(super) struct Streams(Mutex<VecDeque<(usize, Arc<Mutex<Stream>>)>>);

impl Streams {
    fn of(&self, member: usize) -> Arc<Mutex<Stream>> {
        let mut streams = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = streams.iter().position(|(number, _)| *number == member).and_then(|at| streams.remove(at));
        let (_, stream) = found.unwrap_or_else(|| (member, Arc::new(Mutex::new(Stream::new(CHUNK)))));
        streams.push_front((member, Arc::clone(&stream)));
        streams.truncate(STREAMS);
        stream
    }
}

/// A member that was decompressed up to some place.
struct Stream {
    inflate: Decompress,
    /// Compressed bytes that were read and not yet used: those of `compressed` from `next` on.
    compressed: Vec<u8>,
    next: usize,
    /// How many compressed bytes were read.
    taken: u64,
    /// The last chunks, one after another; the first begins at `start`.
    chunks: VecDeque<Vec<u8>>,
    start: u64,
    /// How many bytes were made.
    made: u64,
    crc: Crc,
    chunk_len: usize,
}

impl Stream {
    fn new(chunk_len: usize) -> Self {
        Self {
            inflate: Decompress::new(false),
            compressed: Vec::new(),
            next: 0,
            taken: 0,
            chunks: VecDeque::new(),
            start: 0,
            made: 0,
            crc: Crc::new(),
            chunk_len,
        }
    }

    fn read(&mut self, archive: &Archive, member: &Member, tensor: &str, at: u64, out: &mut [u8]) -> Result<()> {
        if at < self.start {
            *self = Self::new(self.chunk_len);
        }
        let end = at + out.len() as u64;
        let mut done = 0;
        while done < out.len() {
            let want = at + done as u64;
            if want >= self.made {
                self.make_chunk(archive, member, tensor)?;
                continue;
            }
            // All but the first and the last are of one length.
            let (mut chunk, mut within) = (0, (want - self.start) as usize);
            while let Some(len) = self.chunks.get(chunk).map(Vec::len).filter(|&len| within >= len) {
                (chunk, within) = (chunk + 1, within - len);
            }
            let Some(chunk) = self.chunks.get(chunk) else { break };
            let count = (chunk.len() - within).min((end - want) as usize);
            out[done..done + count].copy_from_slice(&chunk[within..within + count]);
            done += count;
        }
        Ok(())
    }

    /// Decompresses the next chunk. There is more to come, or it is an error.
    fn make_chunk(&mut self, archive: &Archive, member: &Member, tensor: &str) -> Result<()> {
        let result = self.try_make_chunk(archive, member, tensor);
        if result.is_err() {
            // What it was in the middle of is of no use.
            *self = Self::new(self.chunk_len);
        }
        result
    }

    fn try_make_chunk(&mut self, archive: &Archive, member: &Member, tensor: &str) -> Result<()> {
        let input = &archive.input;
        let fault = |taken: u64, reason: String| Err(input.fault(Some(tensor), Some(member.start + taken), reason));
        let len = (self.chunk_len as u64).min(member.len - self.made) as usize;
        if len == 0 {
            return fault(member.compressed_len, format!("its data ends after {} bytes: the file is damaged", member.len));
        }
        let mut chunk = if self.chunks.len() >= CHUNKS { self.chunks.pop_front().unwrap_or_default() } else { Vec::new() };
        self.start += chunk.len() as u64;
        chunk.resize(len, 0);
        let mut filled = 0;
        while filled < len {
            if self.next == self.compressed.len() {
                let piece = PIECE.min(member.compressed_len - self.taken);
                self.compressed.resize(piece as usize, 0);
                input.read_at(Some(tensor), member.start + self.taken, &mut self.compressed)?;
                self.taken += piece;
                self.next = 0;
            }
            let (before_in, before_out) = (self.inflate.total_in(), self.inflate.total_out());
            let status = self.inflate.decompress(&self.compressed[self.next..], &mut chunk[filled..], FlushDecompress::None);
            self.next += (self.inflate.total_in() - before_in) as usize;
            let count = (self.inflate.total_out() - before_out) as usize;
            filled += count;
            let used = self.taken - (self.compressed.len() - self.next) as u64;
            let is_stuck = count == 0 && self.inflate.total_in() == before_in;
            match status {
                Ok(Status::StreamEnd) if filled < len => {
                    let found = self.made + filled as u64;
                    return fault(
                        used,
                        format!("its data ends after {found} bytes, but it is said to have {}: the file is damaged", member.len),
                    );
                }
                Ok(_) if is_stuck && self.taken == member.compressed_len && self.next == self.compressed.len() => {
                    let found = self.made + filled as u64;
                    return fault(
                        used,
                        format!("its data ends after {found} bytes, but it is said to have {}: the file is damaged", member.len),
                    );
                }
                // Which of the two it is, and what the error says, depends on the library that decompresses.
                Ok(_) if !is_stuck || self.next == self.compressed.len() => {}
                Ok(_) | Err(_) => {
                    return fault(used, "its data cannot be decompressed: the file is damaged, get it again".to_owned());
                }
            }
        }
        self.crc.update(&chunk);
        self.made += len as u64;
        self.chunks.push_back(chunk);
        if self.made == member.len && self.crc.sum() != member.crc {
            let reason = format!(
                "its checksum is {:08x}, but should be {:08x}: the file is damaged, get it again",
                self.crc.sum(),
                member.crc
            );
            return fault(member.compressed_len, reason);
        }
        Ok(())
    }
}

/// The decompressed bytes of a member from `offset` on.
pub(in super::super) struct MemberBytes {
    archive: Arc<Archive>,
    member: usize,
    offset: u64,
    /// For the first few bytes alone.
    head: Option<Mutex<Stream>>,
}

impl MemberBytes {
    pub fn new(archive: &Arc<Archive>, member: usize, offset: u64) -> Self {
        Self { archive: Arc::clone(archive), member, offset, head: None }
    }

    /// To look at the first few bytes, of which little more is decompressed, and nothing kept.
    pub fn head(archive: &Arc<Archive>, member: usize) -> Self {
        const HEAD: usize = 256;
        Self { archive: Arc::clone(archive), member, offset: 0, head: Some(Mutex::new(Stream::new(HEAD))) }
    }
}

impl ReadBytes for MemberBytes {
    fn read(&self, tensor: &str, at: u64, out: &mut [u8]) -> Result<()> {
        let Some(member) = self.archive.members().get(self.member) else { return Ok(()) };
        let shared;
        let stream = match &self.head {
            Some(stream) => stream,
            None => {
                shared = self.archive.streams.of(self.member);
                &shared
            }
        };
        let mut stream = stream.lock().unwrap_or_else(PoisonError::into_inner);
        stream.read(&self.archive, member, tensor, self.offset + at, out)
    }

    fn fault(&self, tensor: &str, _: u64, reason: String) -> Error {
        // Where it would be in the file is not known before all up to there is decompressed.
        let start = self.archive.members().get(self.member).map(|member| member.start);
        self.archive.input.fault(Some(tensor), start, reason)
    }
}
