//! quantlens: one `static` for the session (a file that evcxr does not have).
//!
//! Every cell is a library that has all items of the cells before it, so each would have a `static` of its own. Here the cell that
//! defines one exports it, and the later ones declare it as it is there.

use crate::code_block::CodeKind;
use crate::code_block::Segment;
use ra_ap_syntax::AstNode;
use ra_ap_syntax::SyntaxKind;
use ra_ap_syntax::SyntaxNode;
use ra_ap_syntax::ast;
use std::collections::HashMap;

/// The statics whose cell was loaded.
#[derive(Clone, Debug, Default)]
pub(crate) struct Statics {
    loaded: HashMap<String, Static>,
    /// Not yet loaded, or not any more.
    known: HashMap<String, Static>,
}

#[derive(Clone, Debug)]
struct Static {
    /// As it is declared.
    type_name: String,
    is_mut: bool,
    /// It is in `thread_local!`, which makes a constant of it.
    is_of_thread: bool,
    symbol: String,
}

impl Statics {
    /// A cell defines it, perhaps anew.
    pub(crate) fn define(&mut self, name: &str, type_name: &str, is_mut: bool, is_of_thread: bool) {
        let (type_name, symbol) = (type_name.trim().to_owned(), String::new());
        self.loaded.remove(name);
        let defined = Static {
            type_name,
            is_mut,
            is_of_thread,
            symbol,
        };
        self.known.insert(name.to_owned(), defined);
    }

    /// An item of this name is defined. It may be another type, so that statics of such a type are to be made anew; and no static of its
    /// name is left.
    pub(crate) fn item_defined(&mut self, item: &str) {
        self.known.remove(item);
        if let Some(hidden) = self.loaded.remove(item) {
            drop(hidden);
        }
        let is_part = |c: char| c.is_alphanumeric() || c == '_';
        let names = |of: &Static| of.type_name.split(|c| !is_part(c)).any(|word| word == item);
        let outdated: Vec<String> = self
            .loaded
            .iter()
            .filter(|(_, of)| names(of))
            .map(|(name, _)| name.clone())
            .collect();
        for name in outdated {
            if let Some(of) = self.loaded.remove(&name) {
                self.known.insert(name, of);
            }
        }
    }

    /// What stands before the item, and behind it, in the cell of this build. None if it is loaded: then this stands instead of it.
    pub(crate) fn around(&self, name: &str, build: i32) -> Around {
        let symbol = symbol(name, build);
        if let Some(of) = self.loaded.get(name) {
            let (safe, mutable) = if of.is_mut {
                ("", "mut ")
            } else {
                ("safe ", "")
            };
            let type_name = match of.is_of_thread {
                true => format!("::std::thread::LocalKey<{}>", of.type_name),
                false => of.type_name.clone(),
            };
            return Around::Instead(format!(
                "unsafe extern \"C\" {{ #[link_name = \"{}\"] {safe}static {mutable}{name}: {type_name}; }}",
                of.symbol
            ));
        }
        match self.known.get(name) {
            Some(of) if of.is_of_thread => Around::Behind(format!(
                "#[unsafe(export_name = \"{symbol}\")] static EVCXR_{name}: ::std::thread::LocalKey<{}> = {name};",
                of.type_name
            )),
            Some(_) => Around::Before(format!("#[unsafe(export_name = \"{symbol}\")]")),
            None => Around::Nothing,
        }
    }

    /// The library of this build was loaded.
    pub(crate) fn note_loaded(&mut self, build: i32) {
        for (name, mut of) in self.known.drain() {
            of.symbol = symbol(&name, build);
            self.loaded.insert(name, of);
        }
    }

    /// The process that had them is gone.
    pub(crate) fn note_lost(&mut self) {
        self.known.extend(self.loaded.drain());
    }

    /// Whether the cell that is compiled defines one.
    pub(crate) fn has_new(&self) -> bool {
        !self.known.is_empty()
    }
}

pub(crate) enum Around {
    Nothing,
    Before(String),
    Behind(String),
    Instead(String),
}

fn symbol(name: &str, build: i32) -> String {
    format!("quantlens_static_{build}_{name}")
}

/// A static of a `thread_local!`.
pub(crate) struct OfThread {
    pub(crate) name: String,
    pub(crate) type_name: String,
    /// Its definition, without the semicolon.
    text: String,
    /// So many lines of the macro's call stand before it.
    lines_before: usize,
}

impl OfThread {
    /// A `thread_local!` of its own, in place of the one in which it stands.
    pub(crate) fn segment(&self, of: &Segment) -> Segment {
        let code = format!("thread_local! {{ {}; }}\n", self.text.trim());
        let mut kind = of.kind.clone();
        if let CodeKind::OriginalUserCode(meta) = &mut kind {
            meta.start_line += self.lines_before;
        }
        Segment::new(kind, code)
    }
}

/// The statics of a call of `thread_local!`; None if this is none.
pub(crate) fn of_thread_local(node: &SyntaxNode) -> Option<Vec<OfThread>> {
    let call = node
        .descendants()
        .find_map(ast::MacroCall::cast)
        .filter(|call| call.syntax().text_range().start() == node.text_range().start())?;
    if call.path()?.to_string() != "thread_local" {
        return None;
    }
    let (mut depth, mut text) = (0, String::new());
    let mut found = Vec::new();
    let (mut lines, mut lines_before) = (0, 0);
    let tokens = call.token_tree()?.syntax().descendants_with_tokens();
    for token in tokens.filter_map(|element| element.into_token()) {
        match token.kind() {
            SyntaxKind::L_CURLY | SyntaxKind::L_PAREN | SyntaxKind::L_BRACK => depth += 1,
            SyntaxKind::R_CURLY | SyntaxKind::R_PAREN | SyntaxKind::R_BRACK => depth -= 1,
            _ => {}
        }
        let is_bracket_around = text.is_empty()
            && depth == 1
            && token.text().len() == 1
            && "{([".contains(token.text());
        if depth == 0 || (depth == 1 && token.kind() == SyntaxKind::SEMICOLON) {
            found.extend(OfThread::of(std::mem::take(&mut text), lines_before));
        } else if !(is_bracket_around || text.is_empty() && token.text().trim().is_empty()) {
            if text.is_empty() {
                lines_before = lines;
            }
            text += token.text();
        }
        lines += token.text().matches('\n').count();
    }
    Some(found)
}

impl OfThread {
    fn of(text: String, lines_before: usize) -> Option<Self> {
        // Attributes and `pub` may stand before it.
        let definition = &text[text.find("static ")? + "static ".len()..];
        let (name, rest) = definition.split_once(':')?;
        let (type_name, _) = rest.split_once('=')?;
        Some(Self {
            name: name.trim().to_owned(),
            type_name: type_name.trim().to_owned(),
            text,
            lines_before,
        })
    }
}
