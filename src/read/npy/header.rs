//! The header of an npy array: a dictionary as Python writes it, of which only what numpy puts there is understood.

use crate::error::Result;

use super::super::entry::ReadBytes;
use super::super::input::shown;
use super::MAGIC;

/// What the header says.
pub(super) struct Header {
    /// The data type, in quotes in the header; a list of fields as it stands there.
    pub descr: String,
    pub is_fortran: bool,
    pub shape: Vec<u64>,
    /// Where the values begin.
    pub start: u64,
}

/// The longest header. numpy refuses those of more than 10 000 bytes unless told to read them.
const MAX_HEADER: u64 = 1 << 20;

impl Header {
    /// Reads it from the first of `len` bytes.
    pub fn read(name: &str, bytes: &dyn ReadBytes, len: u64) -> Result<Self> {
        let need = |end: u64, at: u64| {
            if end <= len {
                return Ok(());
            }
            let reason = format!(
                "{} bytes are expected here, but it ends after {len}: it is cut short or damaged, get it again",
                end - at
            );
            Err(bytes.fault(name, at, reason))
        };
        let mut start = [0; 8];
        need(8, 0)?;
        bytes.read(name, 0, &mut start)?;
        if start[..6] != *MAGIC {
            return Err(bytes.fault(name, 0, "an array begins with \\x93NUMPY: this is none".to_owned()));
        }
        let (text_start, length) = match start[6] {
            1 => {
                let mut length = [0; 2];
                need(10, 8)?;
                bytes.read(name, 8, &mut length)?;
                (10, u64::from(u16::from_le_bytes(length)))
            }
            2 | 3 => {
                let mut length = [0; 4];
                need(12, 8)?;
                bytes.read(name, 8, &mut length)?;
                (12, u64::from(u32::from_le_bytes(length)))
            }
            version => {
                return Err(bytes.fault(name, 6, format!("version {version} of the format is not known: 1 to 3 are read")));
            }
        };
        if length > MAX_HEADER {
            return Err(bytes.fault(
                name,
                8,
                format!("its header is said to have {length} bytes, but at most {MAX_HEADER} are read"),
            ));
        }
        need(text_start + length, text_start)?;
        let mut text = vec![0; length as usize];
        bytes.read(name, text_start, &mut text)?;
        let mut parser = Parser { text: &text, at: 0 };
        let (descr, is_fortran, shape) = parser.dictionary().ok_or_else(|| {
            let found = text.get(parser.at..).unwrap_or(&[]);
            let found = String::from_utf8_lossy(&found[..found.len().min(20)]);
            let place = if found.trim().is_empty() {
                "it ends too early".to_owned()
            } else {
                format!("from `{}` on", shown(found.trim_end()))
            };
            let reason = format!("its header is not one that numpy writes, {place}: the file is damaged, or of another format");
            bytes.fault(name, text_start + parser.at as u64, reason)
        })?;
        Ok(Self { descr, is_fortran, shape, start: text_start + length })
    }
}

/// Where it has come to in the text.
struct Parser<'a> {
    text: &'a [u8],
    at: usize,
}

impl Parser<'_> {
    fn peek(&mut self) -> Option<u8> {
        while self.text.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
        self.text.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn string(&mut self) -> Option<String> {
        let quote = self.peek().filter(|byte| matches!(byte, b'\'' | b'"'))?;
        let rest = &self.text[self.at + 1..];
        let len = rest.iter().position(|&byte| byte == quote)?;
        let string = std::str::from_utf8(&rest[..len]).ok().filter(|string| !string.contains('\\'))?;
        self.at += len + 2;
        Some(string.to_owned())
    }

    fn word(&mut self) -> &str {
        self.peek();
        let rest = &self.text[self.at..];
        let len = rest.iter().position(|byte| !byte.is_ascii_alphanumeric()).unwrap_or(rest.len());
        self.at += len;
        std::str::from_utf8(&rest[..len]).unwrap_or("")
    }

    fn boolean(&mut self) -> Option<bool> {
        self.peek()?;
        let start = self.at;
        let value = match self.word() {
            "True" => Some(true),
            "False" => Some(false),
            _ => None,
        };
        if value.is_none() {
            self.at = start;
        }
        value
    }

    fn shape(&mut self) -> Option<Vec<u64>> {
        self.take(b'(')?;
        let mut shape = Vec::new();
        while self.peek()? != b')' {
            let start = self.at;
            let word = self.word();
            // Python 2 wrote long numbers with an L.
            let digits = word.strip_suffix('L').unwrap_or(word);
            let Some(length) = digits.parse().ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit())) else {
                self.at = start;
                return None;
            };
            shape.push(length);
            if self.peek()? != b')' {
                self.take(b',')?;
            }
        }
        self.take(b')')?;
        Some(shape)
    }

    /// A list of fields, as it stands there.
    fn fields(&mut self) -> Option<String> {
        let start = self.at;
        let mut depth = 0_usize;
        loop {
            match self.peek()? {
                b'[' | b'(' => depth += 1,
                b']' | b')' => depth = depth.checked_sub(1)?,
                b'\'' | b'"' => {
                    self.string()?;
                    continue;
                }
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return std::str::from_utf8(&self.text[start..self.at]).ok().map(str::to_owned);
            }
        }
    }

    /// `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }`, in any order.
    fn dictionary(&mut self) -> Option<(String, bool, Vec<u64>)> {
        let (mut descr, mut is_fortran, mut shape) = (None, None, None);
        self.take(b'{')?;
        while self.peek()? != b'}' {
            let start = self.at;
            let key = self.string()?;
            self.take(b':')?;
            let is_new = match key.as_str() {
                "descr" if self.peek()? == b'[' => descr.replace(self.fields()?).is_none(),
                "descr" => descr.replace(self.string()?).is_none(),
                "fortran_order" => is_fortran.replace(self.boolean()?).is_none(),
                "shape" => shape.replace(self.shape()?).is_none(),
                _ => false,
            };
            if !is_new {
                self.at = start;
                return None;
            }
            if self.peek()? != b'}' {
                self.take(b',')?;
            }
        }
        self.take(b'}')?;
        // Spaces and a line break fill the header up.
        if self.peek().is_some() {
            return None;
        }
        Some((descr?, is_fortran?, shape?))
    }
}
