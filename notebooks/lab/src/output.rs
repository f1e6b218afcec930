//! What comes out of the cells' standard output, taken apart: text, displays, progress, and what evcxr's generated code says to evcxr.
//!
//! Three kinds of marks stand in it. Those of the session and of the cells' process begin with `\x1e` and a secret that no cell
//! knows. The prelude's (`notebooks/prelude/src/session.rs`) begin with `\x1e` and say how long they are. evcxr's are lines that begin
//! with `EVCXR_`, which may stand behind text without a newline.

use base64::Engine as _;

use super::marks::{FAILED, INPUT, MARK, PANICKED, Stream};
use super::media::is_text;

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
    /// Long work has ended before its last step.
    ProgressEnd,
    /// The cell's value is an error.
    Failed,
    /// A line that evcxr must see to know what became of the cell.
    ForEvcxr(String),
    /// A process that runs cells is there, of this number.
    Hello(u32),
    /// The cell's function is called.
    Started,
    /// The cell's function has returned.
    Complete,
    /// The cell did not stop, and its thread was left behind: with variables that it had taken, and those that are bound to it. Names,
    /// commas between. Then what evcxr must see of it.
    Left { taken: String, bound: String, stored: String },
    /// On stderr: the message of what may be the cell's end, a panic, or a `?` that met an error.
    Error(String),
    /// On stderr: what `dbg!` says.
    Debugged(String),
    /// The session's own mark: all that was written before it has been read.
    Fence(u64),
}

/// Representations of one value: media type and content; what is no text is base64.
pub type Bundle = Vec<(String, String)>;

const BEGIN_CONTENT: &str = "EVCXR_BEGIN_CONTENT ";
const END_CONTENT: &str = "\nEVCXR_END_CONTENT\n";
const LINES: [&str; 6] = [BEGIN_CONTENT, PANICKED, FAILED, INPUT, "EVCXR_VARIABLE_CHANGED_TYPE:", "EVCXR_STORED:"];

/// Takes bytes as they come, in any portions, and gives the pieces that are complete.
pub struct Parser {
    waiting: Vec<u8>,
    /// With fewer bytes than these there is nothing to find.
    needed: usize,
    /// `\x1e` and the session's secret, which begin the marks that say where a cell stands. Nothing else holds it, so that such a mark
    /// is found even behind one that was not finished.
    control: Vec<u8>,
    stream: Stream,
}

/// What stands at the start of some bytes.
enum Mark {
    /// A whole mark, and how many bytes it takes.
    Whole(Piece, usize),
    /// What may become a mark when there are this many bytes.
    Part(usize),
    /// No mark.
    None,
}

impl Parser {
    pub fn new(stream: Stream, secret: &str) -> Self {
        Self { waiting: Vec::new(), needed: 0, control: format!("\x1e{secret} ").into_bytes(), stream }
    }

    /// Text is given at once, but for the start of what may be a mark or a character.
    pub fn push(&mut self, bytes: &[u8], mut on_piece: impl FnMut(Piece)) {
        let searched = self.waiting.len().saturating_sub(self.control.len());
        self.waiting.extend_from_slice(bytes);
        if self.waiting.len() < self.needed && find(&self.waiting[searched..], &self.control).is_none() {
            return;
        }
        let all = std::mem::take(&mut self.waiting);
        self.needed = 0;
        let mut rest = all.as_slice();
        let mut text_end = 0;
        while text_end < rest.len() {
            let found = match rest[text_end] {
                MARK => self.our_mark(&rest[text_end..]),
                b'E' if self.stream == Stream::Stdout => evcxr_mark(&rest[text_end..]),
                _ => Mark::None,
            };
            match found {
                Mark::None => text_end += 1,
                Mark::Whole(piece, length) => {
                    give_text(&rest[..text_end], &mut on_piece);
                    on_piece(piece);
                    rest = &rest[text_end + length..];
                    text_end = 0;
                }
                // Whoever wrote it was ended in the middle.
                Mark::Part(_) if let Some(at) = find(&rest[text_end + 1..], &self.control) => {
                    give_text(&rest[..text_end], &mut on_piece);
                    rest = &rest[text_end + 1 + at..];
                    text_end = 0;
                }
                Mark::Part(needed) => {
                    self.needed = needed;
                    break;
                }
            }
        }
        let text_end = text_end - unfinished_character(&rest[..text_end]);
        give_text(&rest[..text_end], &mut on_piece);
        self.waiting = rest[text_end..].to_vec();
    }

    fn our_mark(&self, bytes: &[u8]) -> Mark {
        if bytes.starts_with(&self.control) {
            return control(bytes, self.control.len());
        }
        if self.control.starts_with(bytes) {
            return Mark::Part(0);
        }
        match self.stream {
            Stream::Stdout => shown(bytes),
            Stream::Stderr => error(bytes),
        }
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

/// Where a cell stands.
fn control(bytes: &[u8], start: usize) -> Mark {
    let Some(line) = first_line(bytes) else { return Mark::Part(0) };
    let words: Vec<&str> = std::str::from_utf8(&line[start..]).unwrap_or("").split(' ').collect();
    let piece = match words[..] {
        ["started"] => Some(Piece::Started),
        ["complete"] => Some(Piece::Complete),
        ["hello", process] => process.parse().ok().map(Piece::Hello),
        ["fence", number] => number.parse().ok().map(Piece::Fence),
        // The rest is evcxr's, with spaces in it.
        ["left", taken, bound, ref stored @ ..] => {
            Some(Piece::Left { taken: taken.to_owned(), bound: bound.to_owned(), stored: stored.join(" ") })
        }
        _ => None,
    };
    piece.map_or(Mark::None, |piece| Mark::Whole(piece, line.len() + 1))
}

fn evcxr_mark(bytes: &[u8]) -> Mark {
    let Some(start) = LINES.iter().find(|start| bytes.starts_with(start.as_bytes())) else {
        let may_become = LINES.iter().any(|start| start.as_bytes().starts_with(bytes));
        return if may_become { Mark::Part(0) } else { Mark::None };
    };
    let Some(line) = first_line(bytes) else { return Mark::Part(0) };
    let length = line.len() + 1;
    let line = String::from_utf8_lossy(line).into_owned();
    if *start != BEGIN_CONTENT {
        return Mark::Whole(Piece::ForEvcxr(line), length);
    }
    // From the newline before, which an empty content shares with its first line.
    let content = &bytes[length - 1..];
    let panic = format!("\n{PANICKED}\n");
    let text = |end: usize| String::from_utf8_lossy(content.get(1..end).unwrap_or_default()).into_owned();
    match (find(content, END_CONTENT.as_bytes()), find(content, panic.as_bytes())) {
        (Some(end), panic) if panic.is_none_or(|panic| end < panic) => {
            let value = vec![(line[BEGIN_CONTENT.len()..].to_owned(), text(end))];
            Mark::Whole(Piece::Value(value), length - 1 + end + END_CONTENT.len())
        }
        // What was to be shown panicked in the middle.
        (_, Some(end)) => Mark::Whole(Piece::Text(text(end) + "\n"), length + end),
        _ => Mark::Part(0),
    }
}

/// The first line of a mark that the prelude writes: its words, the first of them this many bytes on, and the line's length.
fn words_of(bytes: &[u8]) -> Result<(Vec<&str>, usize), Mark> {
    let line = first_line(bytes);
    match line {
        // Another mark has begun.
        _ if line.unwrap_or(bytes)[1..].contains(&MARK) => Err(Mark::None),
        Some(line) => Ok((std::str::from_utf8(&line[1..]).unwrap_or("").split(' ').collect(), line.len() + 1)),
        // No such line is so long.
        None if bytes.len() < 100 => Err(Mark::Part(0)),
        None => Err(Mark::None),
    }
}

/// This many bytes behind `start`, and the newline behind them.
fn sized(bytes: &[u8], start: usize, size: &str) -> Result<(String, usize), Mark> {
    let end = size.parse().ok().and_then(|size: usize| start.checked_add(size)?.checked_add(1));
    let Some(end) = end else { return Err(Mark::None) };
    match bytes.get(start..end) {
        Some(content) => Ok((String::from_utf8_lossy(&content[..content.len() - 1]).into_owned(), end)),
        None => Err(Mark::Part(end)),
    }
}

fn error(bytes: &[u8]) -> Mark {
    let parse = || match words_of(bytes)? {
        (words, start) if words.len() == 2 && words[0] == "error" => {
            let (message, end) = sized(bytes, start, words[1])?;
            Ok(Mark::Whole(Piece::Error(message), end))
        }
        (words, start) if words.len() == 2 && words[0] == "debug" => {
            let (message, end) = sized(bytes, start, words[1])?;
            Ok(Mark::Whole(Piece::Debugged(message), end))
        }
        _ => Err(Mark::None),
    };
    parse().unwrap_or_else(|mark| mark)
}

fn shown(bytes: &[u8]) -> Mark {
    let parse = || {
        let (words, mut length) = words_of(bytes)?;
        match words[..] {
            ["progress", done, total, size] => {
                let (Ok(done), Ok(total)) = (done.parse(), total.parse()) else { return Err(Mark::None) };
                let (what, end) = sized(bytes, length, size)?;
                Ok(Mark::Whole(Piece::Progress { what, done, total }, end))
            }
            ["failed"] => Ok(Mark::Whole(Piece::Failed, length)),
            ["progress-end"] => Ok(Mark::Whole(Piece::ProgressEnd, length)),
            [word @ ("display" | "value"), count] => {
                let count: usize = count.parse().map_err(|_| Mark::None)?;
                let mut bundle = Bundle::new();
                for _ in 0..count {
                    let head = first_line(&bytes[length..]).filter(|head| head.first() != Some(&MARK)).ok_or(Mark::Part(0))?;
                    let head = std::str::from_utf8(head).map_err(|_| Mark::None)?;
                    let (media_type, size) = head.rsplit_once(' ').ok_or(Mark::None)?;
                    let start = length + head.len() + 1;
                    let (text, end) = sized(bytes, start, size)?;
                    let content = if is_text(media_type) {
                        text
                    } else {
                        base64::engine::general_purpose::STANDARD.encode(&bytes[start..end - 1])
                    };
                    bundle.push((media_type.to_owned(), content));
                    length = end;
                }
                Ok(Mark::Whole(if word == "display" { Piece::Display(bundle) } else { Piece::Value(bundle) }, length))
            }
            _ => Err(Mark::None),
        }
    };
    parse().unwrap_or_else(|mark| mark)
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

    const SECRET: &str = "5ec2e7";

    fn pieces_of(stream: Stream, portions: &[&[u8]]) -> Vec<Piece> {
        let mut parser = Parser::new(stream, SECRET);
        let mut all: Vec<Piece> = Vec::new();
        for portion in portions {
            parser.push(portion, |piece| match (all.last_mut(), piece) {
                (Some(Piece::Text(before)), Piece::Text(text)) => before.push_str(&text),
                (_, piece) => all.push(piece),
            });
        }
        all
    }

    fn pieces(portions: &[&[u8]]) -> Vec<Piece> {
        pieces_of(Stream::Stdout, portions)
    }

    fn text(text: &str) -> Piece {
        Piece::Text(text.to_owned())
    }

    /// However the bytes come, the pieces are the same.
    fn assert_pieces(stream: Stream, bytes: &[u8], expected: &[Piece]) {
        assert_eq!(pieces_of(stream, &[bytes]), expected);
        for cut in 0..bytes.len() {
            assert_eq!(pieces_of(stream, &[&bytes[..cut], &bytes[cut..]]), expected, "cut at {cut}");
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(pieces_of(stream, &single), expected);
    }

    #[test]
    fn every_cut_of_the_bytes_gives_the_same_pieces() {
        let stream = "a é\u{1e}5ec2e7 complete\nb EVCXR_PANIC_NOTIFICATION\nEVCXR_other E\u{1e}5ec2e7 fence 7\n\u{1e}display 2\n\
            text/html 7\n<b>\n…\nimage/png 3\n\n\n\n\n\u{1e}value 0\nEVCXR_BEGIN_CONTENT text/plain\n1\n2\nEVCXR_END_CONTENT\n\
            EVCXR_BEGIN_CONTENT text/html\n\nEVCXR_END_CONTENT\n\u{1e}progress 3 10 6\nreport\n\u{1e}no mark\n\
            EVCXR_INPUT_REQUEST:name: \n\u{1e}progress-end\n\u{1e}failed\n\u{1e}5ec2e7 hello 12\n\u{1e}5ec2e7 left a,b  EVCXR_STORED:\tc\tBox<dyn Fn() -> i32>\t\td\n\u{1e}5ec2e7 started\n\u{1e}progress 1 2 18446744073709551615\nend";
        let expected = [
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
            Piece::ProgressEnd,
            Piece::Failed,
            Piece::Hello(12),
            Piece::Left {
                taken: "a,b".to_owned(),
                bound: String::new(),
                stored: "EVCXR_STORED:\tc\tBox<dyn Fn() -> i32>\t\td".to_owned(),
            },
            Piece::Started,
            text("\u{1e}progress 1 2 18446744073709551615\nend"),
        ];
        assert_pieces(Stream::Stdout, stream.as_bytes(), &expected);
    }

    #[test]
    fn a_mark_that_is_never_finished_swallows_no_other() {
        for unfinished in ["\u{1e}display 1\nimage/png 1000000\nabc", "\u{1e}display 2\n", "EVCXR_BEGIN_CONTENT text/html\n<b>"] {
            let stream = format!("before{unfinished}\u{1e}5ec2e7 hello 4\nafter");
            let expected = [text("before"), Piece::Hello(4), text("after")];
            assert_pieces(Stream::Stdout, stream.as_bytes(), &expected);
        }
        let stream = "EVCXR_BEGIN_CONTENT text/html\nhalf\nEVCXR_PANIC_NOTIFICATION\n\u{1e}5ec2e7 complete\n";
        let expected = [text("half\n"), Piece::ForEvcxr(PANICKED.to_owned()), Piece::Complete];
        assert_pieces(Stream::Stdout, stream.as_bytes(), &expected);
    }

    #[test]
    fn on_stderr_an_error_is_told_from_what_is_printed() {
        let stream = "seen\n\u{1e}debug 5\nx = 1\n\u{1e}error 9\ntwo\nlines\nEVCXR_PANIC_NOTIFICATION\n\u{1e}5ec2e7 fence 1\n\u{1e}display 0\n";
        let expected = [
            text("seen\n"),
            Piece::Debugged("x = 1".to_owned()),
            Piece::Error("two\nlines".to_owned()),
            text("EVCXR_PANIC_NOTIFICATION\n"),
            Piece::Fence(1),
            text("\u{1e}display 0\n"),
        ];
        assert_pieces(Stream::Stderr, stream.as_bytes(), &expected);
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
        assert_eq!(pieces(&[b"a\xffb\x1e5ec2e7 complete\n"]), [text("a\u{fffd}b"), Piece::Complete]);
    }
}
