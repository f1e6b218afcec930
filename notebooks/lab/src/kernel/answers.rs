//! The replies to what is asked about code and kernel, as values.

use jupyter_protocol::{
    CodeMirrorMode, CompleteReply, HistoryEntry, HistoryReply, HistoryRequest, InspectReply, IsCompleteReply, KernelInfoReply,
    LanguageInfo, ReplyStatus,
};
use ra_ap_rustc_lexer::{FrontmatterAllowed, LiteralKind, TokenKind, tokenize};
use serde_json::{Map, Value, json};

use super::live::jupyter_media;
use crate::media::Media;
use crate::session::Session;
use crate::template::rustc_version;

pub fn kernel_info() -> KernelInfoReply {
    // `rustc 1.95.0 (…)`.
    let rustc = rustc_version().ok().and_then(|text| text.split_whitespace().nth(1)).unwrap_or("unknown").to_owned();
    KernelInfoReply {
        status: ReplyStatus::Ok,
        protocol_version: "5.3".to_owned(),
        implementation: "quantlens".to_owned(),
        implementation_version: env!("CARGO_PKG_VERSION").to_owned(),
        banner: format!("quantlens {}, Rust {rustc}, evaluated by evcxr", env!("CARGO_PKG_VERSION")),
        language_info: LanguageInfo {
            name: "rust".to_owned(),
            version: rustc,
            mimetype: Some("text/rust".to_owned()),
            file_extension: Some(".rs".to_owned()),
            pygments_lexer: Some("rust".to_owned()),
            codemirror_mode: Some(CodeMirrorMode::Simple("rust".to_owned())),
            nbconvert_exporter: Some("script".to_owned()),
        },
        help_links: Vec::new(),
        debugger: false,
        error: None,
    }
}

/// The cells of this kernel's life, which is session 0; their outputs are not kept. A search finds what holds the pattern's words in
/// their order.
pub fn history(request: &HistoryRequest, cells: &[(usize, String)]) -> HistoryReply {
    let (found, with_output): (Vec<&(usize, String)>, bool) = match request {
        HistoryRequest::Range { start, stop, output, .. } => {
            let is_asked = |count: usize| {
                let count = i32::try_from(count).unwrap_or(i32::MAX);
                count >= *start && (*stop <= 0 || count < *stop)
            };
            (cells.iter().filter(|(count, _)| is_asked(*count)).collect(), *output)
        }
        HistoryRequest::Tail { n, output, .. } => (last(cells.iter().collect(), *n), *output),
        HistoryRequest::Search { pattern, unique, output, n, .. } => {
            let mut found: Vec<&(usize, String)> = cells.iter().filter(|(_, code)| holds(code, pattern)).collect();
            if *unique {
                let all = found.clone();
                let mut index = 0;
                found.retain(|(_, code)| {
                    index += 1;
                    !all[index..].iter().any(|(_, later)| later == code)
                });
            }
            (last(found, *n), *output)
        }
    };
    let entry = |(count, code): &(usize, String)| {
        if with_output {
            HistoryEntry::InputOutput(0, *count, (code.clone(), String::new()))
        } else {
            HistoryEntry::Input(0, *count, code.clone())
        }
    };
    HistoryReply::new(found.into_iter().map(entry).collect())
}

fn last<T>(mut found: Vec<T>, n: i32) -> Vec<T> {
    let n = usize::try_from(n).unwrap_or(0);
    found.split_off(found.len().saturating_sub(n))
}

/// Whether the parts of a pattern between its `*` stand in the code one behind the other.
fn holds(code: &str, pattern: &str) -> bool {
    let mut rest = code;
    pattern.split('*').all(|part| match rest.find(part) {
        Some(at) => {
            rest = &rest[at + part.len()..];
            true
        }
        None => false,
    })
}

/// Whether a console should run the code or give another line: brackets, strings and comments that are open wait for more.
pub fn is_complete(code: &str) -> IsCompleteReply {
    let mut open = Vec::new();
    let mut at = 0;
    let mut words: Vec<&str> = Vec::new();
    for token in tokenize(code, FrontmatterAllowed::No) {
        let text = &code[at..at + token.len as usize];
        at += token.len as usize;
        if !matches!(token.kind, TokenKind::Whitespace | TokenKind::LineComment { .. } | TokenKind::BlockComment { .. }) {
            words.push(text);
        }
        let closes = match token.kind {
            TokenKind::OpenParen | TokenKind::OpenBrace | TokenKind::OpenBracket => {
                open.push(token.kind);
                continue;
            }
            TokenKind::CloseParen => TokenKind::OpenParen,
            TokenKind::CloseBrace => TokenKind::OpenBrace,
            TokenKind::CloseBracket => TokenKind::OpenBracket,
            TokenKind::BlockComment { terminated: false, .. } => return IsCompleteReply::incomplete(String::new()),
            TokenKind::Literal {
                kind: LiteralKind::Str { terminated: false } | LiteralKind::RawStr { n_hashes: None }, ..
            } => {
                return IsCompleteReply::incomplete(String::new());
            }
            _ => continue,
        };
        if open.pop() != Some(closes) {
            return IsCompleteReply::invalid();
        }
    }
    if !open.is_empty() {
        return IsCompleteReply::incomplete("    ".repeat(open.len()));
    }
    if waits_for_more(&words) && !code.trim_start().starts_with([':', '!', '%', '?']) {
        return IsCompleteReply::incomplete(String::new());
    }
    IsCompleteReply::complete()
}

/// Whether what these words say has no end yet, though no bracket is open: `1 +`, `x.`, `let x =`, `fn f()`.
fn waits_for_more(words: &[&str]) -> bool {
    let Some(last) = words.last() else { return false };
    if words.ends_with(&[".", "."]) {
        return false;
    }
    let is_operator = ["+", "-", "*", "/", "%", "=", "&", "|", "^", "<", ".", ",", ":", "let", "mut", "else"].contains(last);
    // The item that is begun last: after the last `;` or `}`.
    let start = words.iter().rposition(|word| [";", "}"].contains(word)).map_or(0, |at| at + 1);
    let begins =
        |item: &&str| ["fn", "struct", "enum", "impl", "trait", "mod", "use", "const", "static", "type", "union"].contains(item);
    let is_item = words[start..].iter().take_while(|word| !["(", "=", "{"].contains(*word)).any(begins);
    is_operator || is_item
}

/// The byte at which this character starts; the code's end beyond it.
fn byte_of(code: &str, character: usize) -> usize {
    code.char_indices().nth(character).map_or(code.len(), |(byte, _)| byte)
}

fn character_of(code: &str, byte: usize) -> usize {
    code.get(..byte).map_or_else(|| code.chars().count(), |before| before.chars().count())
}

pub fn complete(session: &mut Session, code: &str, cursor: usize) -> CompleteReply {
    match session.complete(code, byte_of(code, cursor)) {
        Ok(found) => {
            let start = character_of(code, found.start_offset);
            let end = character_of(code, found.end_offset);
            // Names without the arguments that rust-analyzer would fill in, and without what only the kernel calls.
            let name = |code: String| code.split('(').next().unwrap_or("").to_owned();
            let mut texts: Vec<(String, &str)> =
                found.completions.into_iter().map(|found| (name(found.code), found.kind)).collect();
            texts.retain(|(text, _)| text != "evcxr_display");
            texts.sort();
            texts.dedup_by(|a, b| a.0 == b.0);
            completion(texts, start, end)
        }
        Err(_) => completion(Vec::new(), cursor, cursor),
    }
}

pub fn completion(texts: Vec<(String, &str)>, cursor_start: usize, cursor_end: usize) -> CompleteReply {
    // JupyterLab shows the kinds beside the names.
    let kinds: Vec<Value> = texts
        .iter()
        .map(|(text, kind)| json!({ "text": text, "type": kind, "start": cursor_start, "end": cursor_end }))
        .collect();
    let mut metadata = Map::new();
    metadata.insert("_jupyter_types_experimental".to_owned(), Value::Array(kinds));
    let matches = texts.into_iter().map(|(text, _)| text).collect();
    CompleteReply { matches, cursor_start, cursor_end, metadata, status: ReplyStatus::Ok, error: None }
}

pub fn inspect(session: &mut Session, code: &str, cursor: usize) -> InspectReply {
    // What stands around the cursor is meant, not only what is before it.
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let byte = byte_of(code, cursor);
    let end = byte + code[byte..].find(|c| !is_word(c)).unwrap_or(code.len() - byte);
    documentation(session.inspect(code, end).ok().flatten())
}

pub fn documentation(found: Option<(String, String)>) -> InspectReply {
    let is_found = found.is_some();
    let media = found.map(|(text, html)| Media::from([("text/plain".to_owned(), text), ("text/html".to_owned(), html)]));
    InspectReply {
        found: is_found,
        data: jupyter_media(media.unwrap_or_default()),
        metadata: Map::new(),
        status: ReplyStatus::Ok,
        error: None,
    }
}
