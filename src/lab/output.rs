//! What comes out of the cells' standard output, taken apart: text, displays, progress, and what evcxr's generated code says to evcxr.
//!
//! Two kinds of marks stand in it. Ours begin with `\x1e` and say how long they are; `notebooks/prelude/src/session.rs` and the
//! cells' process write them. evcxr's are lines that begin with `EVCXR_`, which may stand behind text without a newline.

use base64::Engine as _;

/// One piece of output, in the order in which it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Text as it was printed, in pieces as they came.
    Text(String),
    /// A display in the middle of a cell.
    Display(Bundle),
    /// Representations of the cell's value; several of these make one value.
    Value(Bundle),
    /// How far long work is.
    Progress { what: String, done: usize, total: usize },
    /// A line that evcxr must see to know what became of the cell.
    ForEvcxr(String),
    /// The cell's function has returned.
    Complete,
    /// What follows, on stderr, is the message of what may be the cell's end: a panic, or a `?` that met an error.
    ErrorFollows,
    /// The session's own mark: all that was written before it has been read.
    Fence(u64),
}

/// Representations of one value: media type and content; what is no text is base64.
pub type Bundle = Vec<(String, String)>;

/// What a cell that panicked prints, in evcxr's generated code.
pub const PANICKED: &str = "EVCXR_PANIC_NOTIFICATION";
/// What a `?` that met an error prints.
pub const FAILED: &str = "EVCXR_ERROR_OCCURRED";
/// What asks evcxr for a line of input, a colon and the prompt behind it; `_PASSWORD` may stand between.
pub const INPUT: &str = "EVCXR_INPUT_REQUEST";

const MARK: u8 = 0x1e;
const BEGIN_CONTENT: &str = "EVCXR_BEGIN_CONTENT ";
const END_CONTENT: &str = "\nEVCXR_END_CONTENT\n";
const LINES: [&str; 5] = [BEGIN_CONTENT, PANICKED, FAILED, INPUT, "EVCXR_VARIABLE_CHANGED_TYPE:"];

/// Takes bytes as they come, in any portions, and gives the pieces that are complete.
#[derive(Default)]
pub struct Parser {
    waiting: Vec<u8>,
    /// Of all marks only fences and errors' are meant.
    is_of_errors: bool,
}

/// What stands at the start of some bytes.
enum Mark {
    /// A whole mark, and how many bytes it takes.
    Whole(Piece, usize),
    /// What may become a mark when more has come.
    Part,
    /// No mark.
    None,
}

impl Parser {
    /// For stderr, on which nothing else is written.
    pub fn of_errors() -> Self {
        Self { is_of_errors: true, ..Self::default() }
    }

    /// Text is given at once, but for the start of what may be a mark or a character.
    pub fn push(&mut self, bytes: &[u8], mut on_piece: impl FnMut(Piece)) {
        self.waiting.extend_from_slice(bytes);
        let all = std::mem::take(&mut self.waiting);
        let mut rest = all.as_slice();
        let mut text_end = 0;
        while text_end < rest.len() {
            if rest[text_end] != MARK && rest[text_end] != b'E' {
                text_end += 1;
                continue;
            }
            match mark(&rest[text_end..]) {
                Mark::None => text_end += 1,
                Mark::Part if self.is_of_errors && rest[text_end] != MARK => text_end += 1,
                Mark::Whole(piece, _) if self.is_of_errors && !matches!(piece, Piece::Fence(_) | Piece::ErrorFollows) => {
                    text_end += 1
                }
                Mark::Part => break,
                Mark::Whole(piece, length) => {
                    give_text(&rest[..text_end], &mut on_piece);
                    on_piece(piece);
                    rest = &rest[text_end + length..];
                    text_end = 0;
                }
            }
        }
        let text_end = text_end - unfinished_character(&rest[..text_end]);
        give_text(&rest[..text_end], &mut on_piece);
        self.waiting = rest[text_end..].to_vec();
    }
}

fn give_text(bytes: &[u8], on_piece: &mut impl FnMut(Piece)) {
    if !bytes.is_empty() {
        on_piece(Piece::Text(String::from_utf8_lossy(bytes).into_owned()));
    }
}

/// How many bytes at the end are the start of a UTF-8 character whose other bytes have not come.
fn unfinished_character(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => bytes.len() - error.valid_up_to(),
        _ => 0,
    }
}

fn mark(bytes: &[u8]) -> Mark {
    if bytes[0] == MARK {
        return our_mark(bytes);
    }
    for start in LINES {
        if start.as_bytes().starts_with(bytes) {
            return Mark::Part;
        }
        if bytes.starts_with(start.as_bytes()) {
            return evcxr_mark(bytes, start);
        }
    }
    Mark::None
}

fn evcxr_mark(bytes: &[u8], start: &str) -> Mark {
    let Some(line) = first_line(bytes) else { return Mark::Part };
    let length = line.len() + 1;
    let line = String::from_utf8_lossy(line).into_owned();
    if start != BEGIN_CONTENT {
        return Mark::Whole(Piece::ForEvcxr(line), length);
    }
    // From the newline before, which an empty content shares with its first line.
    let content = &bytes[length - 1..];
    match find(content, END_CONTENT.as_bytes()) {
        None => Mark::Part,
        Some(end) => {
            let media_type = line[BEGIN_CONTENT.len()..].to_owned();
            let text = String::from_utf8_lossy(content.get(1..end).unwrap_or_default()).into_owned();
            Mark::Whole(Piece::Value(vec![(media_type, text)]), length - 1 + end + END_CONTENT.len())
        }
    }
}

fn our_mark(bytes: &[u8]) -> Mark {
    let Some(line) = first_line(bytes) else {
        // No mark of ours has so long a first line.
        return if bytes.len() < 100 { Mark::Part } else { Mark::None };
    };
    let mut length = line.len() + 1;
    let words: Vec<&str> = std::str::from_utf8(&line[1..]).unwrap_or("").split(' ').collect();
    let number = |index: usize| words.get(index).and_then(|word| word.parse::<usize>().ok());
    let fence = || words.get(1).and_then(|word| word.parse::<u64>().ok());
    match (words[0], number(1)) {
        ("error", None) => Mark::Whole(Piece::ErrorFollows, length),
        ("complete", None) => Mark::Whole(Piece::Complete, length),
        ("fence", _) => fence().map_or(Mark::None, |number| Mark::Whole(Piece::Fence(number), length)),
        ("progress", Some(done)) => {
            let (Some(total), Some(size)) = (number(2), number(3)) else { return Mark::None };
            let Some(what) = bytes.get(length..length + size) else { return Mark::Part };
            if bytes.len() == length + size {
                return Mark::Part;
            }
            let what = String::from_utf8_lossy(what).into_owned();
            Mark::Whole(Piece::Progress { what, done, total }, length + size + 1)
        }
        (word @ ("display" | "value"), Some(count)) => {
            let mut bundle = Bundle::new();
            for _ in 0..count {
                let Some(head) = first_line(&bytes[length..]) else { return Mark::Part };
                let Some((media_type, size)) = std::str::from_utf8(head).ok().and_then(|head| head.rsplit_once(' ')) else {
                    return Mark::None;
                };
                let Ok(size) = size.parse::<usize>() else { return Mark::None };
                let start = length + head.len() + 1;
                // The newline behind it has come too.
                let Some(content) = bytes.get(start..start + size + 1) else { return Mark::Part };
                let content = &content[..size];
                let content = if is_text(media_type) {
                    String::from_utf8_lossy(content).into_owned()
                } else {
                    base64::engine::general_purpose::STANDARD.encode(content)
                };
                bundle.push((media_type.to_owned(), content));
                length = start + size + 1;
            }
            Mark::Whole(if word == "display" { Piece::Display(bundle) } else { Piece::Value(bundle) }, length)
        }
        _ => Mark::None,
    }
}

/// Whether a medium of this type is text, not bytes.
pub fn is_text(media_type: &str) -> bool {
    media_type.starts_with("text/") || media_type.ends_with("+xml") || media_type.ends_with("json")
}

fn first_line(bytes: &[u8]) -> Option<&[u8]> {
    bytes.iter().position(|&byte| byte == b'\n').map(|end| &bytes[..end])
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(portions: &[&[u8]]) -> Vec<Piece> {
        let mut parser = Parser::default();
        let mut all: Vec<Piece> = Vec::new();
        for portion in portions {
            parser.push(portion, |piece| match (all.last_mut(), piece) {
                (Some(Piece::Text(before)), Piece::Text(text)) => before.push_str(&text),
                (_, piece) => all.push(piece),
            });
        }
        all
    }

    fn text(text: &str) -> Piece {
        Piece::Text(text.to_owned())
    }

    #[test]
    fn every_cut_of_the_bytes_gives_the_same_pieces() {
        let stream = "a é\u{1e}complete\nb EVCXR_PANIC_NOTIFICATION\nEVCXR_other E\u{1e}fence 7\n\u{1e}display 2\ntext/html 7\n<b>\n…\
            \nimage/png 3\n\n\n\n\n\u{1e}value 0\nEVCXR_BEGIN_CONTENT text/plain\n1\n2\nEVCXR_END_CONTENT\nEVCXR_BEGIN_CONTENT \
            text/html\n\nEVCXR_END_CONTENT\n\u{1e}progress 3 10 6\nreport\n\u{1e}no mark\nEVCXR_INPUT_REQUEST:name: \nend";
        let expected = vec![
            text("a é"),
            Piece::Complete,
            text("b "),
            Piece::ForEvcxr(PANICKED.to_owned()),
            text("EVCXR_other E"),
            Piece::Fence(7),
            Piece::Display(vec![("text/html".to_owned(), "<b>\n…".to_owned()), ("image/png".to_owned(), "CgoK".to_owned())]),
            Piece::Value(vec![]),
            Piece::Value(vec![("text/plain".to_owned(), "1\n2".to_owned())]),
            Piece::Value(vec![("text/html".to_owned(), String::new())]),
            Piece::Progress { what: "report".to_owned(), done: 3, total: 10 },
            text("\u{1e}no mark\n"),
            Piece::ForEvcxr("EVCXR_INPUT_REQUEST:name: ".to_owned()),
            text("end"),
        ];
        let bytes = stream.as_bytes();
        assert_eq!(pieces(&[bytes]), expected);
        for cut in 0..bytes.len() {
            assert_eq!(pieces(&[&bytes[..cut], &bytes[cut..]]), expected, "cut at {cut}");
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(pieces(&single), expected);
    }

    #[test]
    fn text_without_a_newline_is_given_at_once() {
        assert_eq!(pieces(&[b"name? "]), [text("name? ")]);
        assert_eq!(pieces(&[b"50 %\r"]), [text("50 %\r")]);
        assert_eq!(pieces(&[b"E"]), []);
        assert_eq!(pieces(&[b"E", b"nd"]), [text("End")]);
    }

    #[test]
    fn bytes_that_are_no_text_lose_nothing_else() {
        assert_eq!(pieces(&[b"a\xffb\x1ecomplete\n"]), [text("a\u{fffd}b"), Piece::Complete]);
    }
}
