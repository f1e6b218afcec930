//! quantlens: how a cell's statements are compiled (a file that evcxr does not have).
//!
//! Every statement is a closure that is called at once, so that one that panics or meets an error with `?` ends the cell and nothing
//! else: what the statements before it have made is stored. A variable lives in a block of its own, at whose end it is stored, however
//! the block is left:
//!
//! ```text
//! let a = match step(|| Ok(…)) { Some(value) => value, None => break 'evcxr_0 };
//! 'evcxr_1: {
//!     if step(|| { …; Ok(()) }).is_none() { break 'evcxr_1 }
//! }
//! evcxr_variable_store.put_new(stringify!(a), a);
//! ```
//!
//! A variable that no later statement names is stored at once, without a block. Some code is no closure's: it borrows a temporary for longer than its statement, or assigns to what has no value yet. If the cell does
//! not compile so, it is compiled *flat*, as evcxr has it: all of it in one closure.

use crate::code_block::CodeBlock;
use crate::code_block::CodeKind;
use crate::code_block::Segment;
use crate::code_block::UserCodeMetadata;
use crate::code_block::count_columns;
use ra_ap_syntax::AstNode;
use ra_ap_syntax::SyntaxNode;
use ra_ap_syntax::ast;
use ra_ap_syntax::ast::HasAttrs;
use ra_ap_syntax::ast::HasName;
use std::collections::HashMap;
use std::collections::HashSet;

/// Statements nest in this many blocks at most; variables that are defined deeper are stored together.
const MOST_BLOCKS: usize = 100;

/// What the steps need to know of the variables.
pub(crate) trait Variables {
    /// Code that takes the variables from the store that this statement names first, and their names. One
    /// that it only defines is another from here on.
    fn load(
        &self,
        code: &str,
        defined: &[String],
        loaded: &mut HashSet<String>,
    ) -> (CodeBlock, Vec<String>);

    /// Code that puts a variable back that was taken; nothing if it was moved.
    fn put_back(&self, name: &str) -> CodeBlock;

    /// Code that stores a variable of the cell's; nothing if it is none to be kept.
    fn put_new(&self, name: &str) -> CodeBlock;
}

/// The cell's statements, each a step, with what loads and stores the variables they name.
pub(crate) fn in_steps(
    user_code: CodeBlock,
    nodes: &[SyntaxNode],
    variables: &impl Variables,
) -> CodeBlock {
    let mut statements = Statements {
        code: CodeBlock::new().generated("'evcxr_0: {"),
        ends: vec![End::default()],
        loaded: HashSet::new(),
        prints: Vec::new(),
    };
    let last_definitions = last_definitions(&user_code, nodes);
    let last_uses = last_uses(&user_code);
    let count = user_code.segments.len();
    let mut segments = user_code.segments.into_iter().enumerate();
    while let Some((index, segment)) = segments.next() {
        let mut group = vec![segment];
        if group[0].kind == CodeKind::ShowOpen {
            group.extend(segments.by_ref().take(2).map(|(_, segment)| segment));
        }
        let text: String = group.iter().map(|segment| segment.code.as_str()).collect();
        let node = node_of(&group[0], nodes);
        let let_stmt = node.cloned().and_then(ast::LetStmt::cast);
        let defined: Vec<String> = let_stmt.iter().flat_map(names_of).collect();
        let (load, names) = variables.load(&text, &defined, &mut statements.loaded);
        let only_prints = only_prints(node);
        if !only_prints || !names.is_empty() {
            statements.flush_prints();
        }
        if !names.is_empty() {
            let mut end = CodeBlock::new();
            for name in &names {
                end = end.add_all(variables.put_back(name));
            }
            statements.add(load);
            statements.open(end);
        }
        match &let_stmt {
            Some(let_stmt) => {
                let segment = group.remove(0);
                match split_let(&segment, let_stmt) {
                    Some(parts) => statements.add_let(parts),
                    None => statements.add(CodeBlock::new().with_segment(segment)),
                }
            }
            None if only_prints => statements.prints.append(&mut group),
            None if is_step(node) => statements.add_step(group),
            None => {
                for segment in group {
                    statements.add(CodeBlock::new().with_segment(segment));
                }
            }
        }
        if index + 1 == count {
            statements.flush_prints();
        }
        let mut end = CodeBlock::new();
        for name in defined {
            if !last_definitions
                .iter()
                .any(|(last, at)| *last == name && *at == index)
            {
                continue;
            }
            let store = variables.put_new(&name);
            if last_uses.get(&name).is_some_and(|last| *last > index) {
                end = end.add_all(store);
            } else {
                // Nothing can borrow from it, so it needs no block, of which each costs the compiler
                // more than the one around it.
                statements.add(store);
            }
        }
        if index + 1 == count {
            statements.add(end);
        } else if !end.is_empty() {
            statements.open(end);
        }
    }
    statements.closed()
}

struct Statements {
    code: CodeBlock,
    /// Of each open block, the outermost first.
    ends: Vec<End>,
    loaded: HashSet<String>,
    /// Statements that only print, which are one step: the compiler takes its time for each.
    prints: Vec<Segment>,
}

/// What stores the variables of a block.
#[derive(Default)]
struct End {
    /// Left out if the block is left in its middle.
    inside: CodeBlock,
    behind: CodeBlock,
}

impl Statements {
    fn add(&mut self, code: CodeBlock) {
        self.code.modify(|block| block.add_all(code));
    }

    fn label(&self) -> String {
        format!("'evcxr_{}", self.ends.len() - 1)
    }

    fn open(&mut self, end: CodeBlock) {
        if self.ends.len() < MOST_BLOCKS {
            self.ends.push(End {
                behind: end,
                ..End::default()
            });
            let label = self.label();
            self.add(CodeBlock::new().generated(format!("{label}: {{")));
        } else if let Some(last) = self.ends.last_mut() {
            last.inside.modify(|before| end.add_all(before));
        }
    }

    fn add_let(&mut self, (head, type_name, value): (Segment, Option<String>, Segment)) {
        let label = self.label();
        let type_name = type_name.unwrap_or_else(|| "_".to_owned());
        self.add(
            CodeBlock::new()
                .with_segment(head)
                .generated(format!(
                    "match evcxr_internal_runtime::step(|| -> ::std::result::Result<{type_name}, EvcxrUserCodeError> {{ Ok("
                ))
                .with_segment(value)
                .generated(format!(
                    ")}}) {{ Some(evcxr_value) => evcxr_value, None => break {label} }};"
                )),
        );
    }

    fn flush_prints(&mut self) {
        let prints = std::mem::take(&mut self.prints);
        if !prints.is_empty() {
            self.add_step(prints);
        }
    }

    fn add_step(&mut self, segments: Vec<Segment>) {
        let label = self.label();
        let mut code = CodeBlock::new().generated(
            "if evcxr_internal_runtime::step(|| -> ::std::result::Result<(), EvcxrUserCodeError> {",
        );
        for segment in segments {
            code = code.with_segment(segment);
        }
        self.add(code.generated(format!("; Ok(()) }}).is_none() {{ break {label}; }}")));
    }

    fn closed(mut self) -> CodeBlock {
        while let Some(end) = self.ends.pop() {
            self.add(end.inside.generated("}").add_all(end.behind));
        }
        self.code
    }
}

/// For each word the index of the last segment that has it.
fn last_uses(user_code: &CodeBlock) -> HashMap<String, usize> {
    let mut uses = HashMap::new();
    for (index, segment) in user_code.segments.iter().enumerate() {
        let is_part = |c: char| c.is_alphanumeric() || c == '_';
        for word in segment.code.split(|c| !is_part(c)) {
            uses.insert(word.to_owned(), index);
        }
    }
    uses
}

/// For each name the index of the segment that defines it last.
fn last_definitions(user_code: &CodeBlock, nodes: &[SyntaxNode]) -> Vec<(String, usize)> {
    let mut definitions: Vec<(String, usize)> = Vec::new();
    for (index, segment) in user_code.segments.iter().enumerate() {
        let Some(let_stmt) = node_of(segment, nodes)
            .cloned()
            .and_then(ast::LetStmt::cast)
        else {
            continue;
        };
        for name in names_of(&let_stmt) {
            definitions.retain(|(earlier, _)| *earlier != name);
            definitions.push((name, index));
        }
    }
    definitions
}

pub(crate) fn node_of<'a>(segment: &Segment, nodes: &'a [SyntaxNode]) -> Option<&'a SyntaxNode> {
    match &segment.kind {
        CodeKind::OriginalUserCode(meta) => nodes.get(meta.node_index),
        _ => None,
    }
}

/// The variables that a `let` defines.
pub(crate) fn names_of(let_stmt: &ast::LetStmt) -> Vec<String> {
    let Some(pat) = let_stmt.pat() else {
        return Vec::new();
    };
    let mut names = Vec::new();
    for name in pat
        .syntax()
        .descendants()
        .filter_map(ast::IdentPat::cast)
        .filter_map(|pat| pat.name())
    {
        let name = name.text().to_string();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// Whether a segment that is no `let` is a step; the last expression, which has no node of its own here, is.
pub(crate) fn is_step(node: Option<&SyntaxNode>) -> bool {
    let Some(node) = node else { return true };
    let is_macro = |expr: Option<ast::Expr>| match expr {
        Some(ast::Expr::MacroExpr(call)) => call.macro_call(),
        _ => None,
    };
    let call = match ast::ExprStmt::cast(node.clone()) {
        Some(statement) => is_macro(statement.expr()),
        None => ast::Expr::cast(node.clone()).and_then(|expr| is_macro(Some(expr))),
    };
    match call {
        // One of the user's own may define a variable for the statements behind it.
        Some(call) => call
            .path()
            .and_then(|path| path.segment())
            .and_then(|segment| segment.name_ref())
            .is_some_and(|name| STD_MACROS.iter().any(|known| name.text() == *known)),
        None => ast::ExprStmt::can_cast(node.kind()) || ast::Expr::can_cast(node.kind()),
    }
}

/// Whether a statement prints values by their names and nothing else, so that it moves no variable.
fn only_prints(node: Option<&SyntaxNode>) -> bool {
    let call = node
        .and_then(|node| ast::ExprStmt::cast(node.clone()))
        .and_then(|statement| statement.expr());
    let Some(ast::Expr::MacroExpr(call)) = call else {
        return false;
    };
    let Some(call) = call.macro_call() else {
        return false;
    };
    let is_print = call.path().is_some_and(|path| {
        ["print", "println", "eprint", "eprintln"].contains(&path.to_string().as_str())
    });
    // A call, an index or a block would be a token tree in it.
    let trees = call.syntax().descendants().filter_map(ast::TokenTree::cast);
    is_print && trees.count() == 1
}

const STD_MACROS: [&str; 20] = [
    "assert",
    "assert_eq",
    "assert_ne",
    "dbg",
    "debug_assert",
    "debug_assert_eq",
    "debug_assert_ne",
    "eprint",
    "eprintln",
    "format",
    "matches",
    "panic",
    "print",
    "println",
    "todo",
    "unimplemented",
    "unreachable",
    "vec",
    "write",
    "writeln",
];

/// What stands before the value, the type if there is one, and the value. None if it must stay as it is.
fn split_let(
    segment: &Segment,
    let_stmt: &ast::LetStmt,
) -> Option<(Segment, Option<String>, Segment)> {
    let value = let_stmt.initializer()?;
    if let_stmt.let_else().is_some()
        || let_stmt.attrs().next().is_some()
        || borrows_a_temporary(&value)
    {
        return None;
    }
    let CodeKind::OriginalUserCode(meta) = &segment.kind else {
        return None;
    };
    // The segment may begin with comments that its node does not have; it begins at most at the node.
    let node_start = segment.code.find(&let_stmt.syntax().text().to_string())?;
    let start = node_start
        + usize::from(value.syntax().text_range().start() - let_stmt.syntax().text_range().start());
    let end = start + usize::from(value.syntax().text_range().len());
    let (head, text) = (segment.code.get(..start)?, segment.code.get(start..end)?);
    let lines = head.matches('\n').count();
    let last_line = head.rsplit('\n').next().unwrap_or("");
    let value_meta = UserCodeMetadata {
        start_byte: meta.start_byte + start,
        start_line: meta.start_line + lines,
        column_offset: count_columns(last_line) + if lines == 0 { meta.column_offset } else { 0 },
        ..meta.clone()
    };
    Some((
        Segment::new(segment.kind.clone(), head.to_owned()),
        let_stmt.ty().map(|ty| ty.syntax().text().to_string()),
        Segment::new(CodeKind::OriginalUserCode(value_meta), text.to_owned()),
    ))
}

/// `let x = &temporary();` keeps the temporary as long as `x` lives, which a closure would not.
fn borrows_a_temporary(value: &ast::Expr) -> bool {
    let ast::Expr::RefExpr(borrow) = value else {
        return false;
    };
    let mut of = borrow.expr();
    loop {
        of = match of {
            Some(ast::Expr::PathExpr(_)) => return false,
            Some(ast::Expr::FieldExpr(field)) => field.expr(),
            Some(ast::Expr::IndexExpr(index)) => index.base(),
            Some(ast::Expr::ParenExpr(inner)) => inner.expr(),
            _ => return true,
        };
    }
}

/// Whether two uses of a variable in this code leave it where it is: it is only borrowed.
pub(crate) fn is_only_borrowed(code: &str, name: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(name).all(|(at, _)| {
        let (before, after) = (&code[..at], &code[at + name.len()..]);
        if before.ends_with(is_part) || after.starts_with(is_part) {
            return true;
        }
        let before = before.trim_end().trim_end_matches("mut").trim_end();
        before.ends_with('&')
            || after.trim_start().starts_with('[')
            || after.starts_with('.')
            || before.ends_with("let")
    })
}
