//! quantlens: which of a cell's statements rust-analyzer sees together when it is asked for the types of
//! variables (a file that evcxr does not have).
//!
//! Its inference of a function takes time that grows with the square of the statements. Two of them have to
//! be in one function only if a variable of which the type is not certain ties them together, as in
//! `let mut v = Vec::new(); v.push(1.0);`. For one of which it is, `let v: T = evcxr_given();` stands where
//! another statement names it. The type is certain if it is written. In a cell of more than a few
//! statements it is also found to be, a few statements after the other: no later statement can change it
//! if it holds no number that may be `i32` or `f64` only for want of anything that says otherwise.

use crate::cell_code;
use crate::code_block::CodeBlock;
use crate::code_block::CodeKind;
use crate::code_block::Segment;
use crate::rust_analyzer::TypeName;
use crate::rust_analyzer::VariableInfo;
use crate::words::Words;
use crate::words::bare;
use once_cell::sync::Lazy;
use ra_ap_syntax::AstNode;
use ra_ap_syntax::SyntaxKind;
use ra_ap_syntax::SyntaxNode;
use ra_ap_syntax::ast;
use ra_ap_syntax::ast::HasAttrs;
use ra_ap_syntax::ast::HasName;
use regex::Regex;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::collections::HashSet;

/// What `evcxr_given` is in the code that rust-analyzer sees.
pub(crate) const GIVEN: &str = "fn evcxr_given<T>() -> T { loop {} }";

/// How many statements are looked at before the types found so far are taken for given.
const STATEMENTS_AT_ONCE: usize = 5;

/// From this many tied statements on, what is found is taken for certain. Should a later statement say
/// otherwise, the compiler refuses the type, and is asked for it.
const TIED_AT_MOST: usize = 12;

pub(crate) type Variables = HashMap<String, VariableInfo>;

/// The variables that a cell defines without writing their types. `infer` gives those of each of these
/// blocks, which are functions of their own.
pub(crate) fn variables<E>(
    user_code: &CodeBlock,
    nodes: &[SyntaxNode],
    mut infer: impl FnMut(&[CodeBlock]) -> Result<Vec<Variables>, E>,
) -> Result<Variables, E> {
    let mut statements = statements(user_code, nodes);
    let open: HashSet<String> = last_definitions(&statements)
        .into_iter()
        .filter(|(_, index)| statements[*index].given.is_none())
        .map(|(name, _)| name)
        .collect();
    let mut variables = Variables::new();
    let (mut seen, mut at_once) = (0, STATEMENTS_AT_ONCE);
    loop {
        let end = match statements.iter().any(|statement| statement.is_opaque) {
            true => statements.len(),
            false => statements.len().min(seen + at_once),
        };
        let mut parts = parts(&statements[..end]);
        parts.retain(|part| part.members.iter().any(|index| *index >= seen));
        let codes: Vec<CodeBlock> = parts.iter().map(|part| part.code.clone()).collect();
        // At first also of nothing: so rust-analyzer knows the crates and items that the cell adds.
        let found = match codes.is_empty() && seen > 0 {
            true => Vec::new(),
            false => infer(&codes)?,
        };
        at_once = STATEMENTS_AT_ONCE;
        if end < statements.len() {
            let later = statements[end..].iter();
            let later: HashSet<String> = later
                .flat_map(|statement| statement.words.iter().map(str::to_owned))
                .collect();
            let is_named = |name: &String| later.contains(bare(name));
            // What no later statement names needs no probe.
            let named: Vec<(&Part, Vec<usize>, &Variables)> = parts
                .iter()
                .zip(&found)
                .map(|(part, found)| {
                    let open = part.open.iter().copied();
                    let open = open.filter(|index| statements[*index].defined.iter().any(is_named));
                    (part, open.collect::<Vec<_>>(), found)
                })
                .filter(|(_, open, _)| !open.is_empty())
                .collect();
            let (large, small): (Vec<_>, Vec<_>) = named
                .into_iter()
                .partition(|(part, ..)| part.members.len() >= TIED_AT_MOST);
            let codes: Vec<CodeBlock> = small
                .iter()
                .map(|(part, _, found)| part.code.clone().generated(probes(found)))
                .collect();
            let probed = match codes.is_empty() {
                true => Vec::new(),
                false => infer(&codes)?,
            };
            let small = small.into_iter().zip(&probed);
            let large = large.into_iter().map(|named| {
                let found = named.2;
                (named, found)
            });
            for ((part, open, found), probed) in small.chain(large) {
                for index in &open {
                    let statement = &mut statements[*index];
                    statement.given = given_as_found(&statement.defined, found, probed);
                }
                if open.iter().any(|index| statements[*index].given.is_none()) {
                    // They will be seen again: not too often.
                    at_once += match part.members.len() {
                        TIED_AT_MOST.. => statements.len(),
                        count => count,
                    };
                }
            }
        }
        for (part, mut found) in parts.iter().zip(found) {
            for name in part
                .open
                .iter()
                .flat_map(|index| &statements[*index].defined)
            {
                if let Some(variable) = found.remove(name) {
                    variables.insert(name.clone(), variable);
                }
            }
        }
        seen = end;
        if seen == statements.len() {
            variables.retain(|name, _| open.contains(bare(name)));
            return Ok(variables);
        }
    }
}

struct Statement {
    segments: Vec<Segment>,
    /// What it may name, without the variables that it defines.
    words: Words,
    defined: Vec<String>,
    /// What stands for it where its variables are named, if their types are certain.
    given: Option<String>,
    /// Whether it may define variables that are not seen here.
    is_opaque: bool,
}

fn statements(user_code: &CodeBlock, nodes: &[SyntaxNode]) -> Vec<Statement> {
    let mut statements = Vec::new();
    let mut segments = user_code.segments.iter().cloned();
    while let Some(segment) = segments.next() {
        let mut group = vec![segment];
        if group[0].kind == CodeKind::ShowOpen {
            group.extend(segments.by_ref().take(2));
        }
        let node = cell_code::node_of(&group[0], nodes);
        let let_stmt = node.cloned().and_then(ast::LetStmt::cast);
        let text = match &let_stmt {
            Some(let_stmt) => {
                let value = let_stmt.initializer().map(|of| of.syntax().text());
                let otherwise = let_stmt.let_else().map(|of| of.syntax().text());
                let texts = value.into_iter().chain(otherwise);
                texts.map(|text| text.to_string() + " ").collect()
            }
            None => group.iter().map(|of| of.code.as_str()).collect::<String>(),
        };
        let words = Words::of(&text);
        statements.push(Statement {
            is_opaque: words.includes || (let_stmt.is_none() && !cell_code::is_step(node)),
            words,
            defined: let_stmt.iter().flat_map(cell_code::names_of).collect(),
            given: let_stmt.as_ref().and_then(given_as_written),
            segments: group,
        });
    }
    statements
}

/// For each name the statement that defines it last.
fn last_definitions(statements: &[Statement]) -> HashMap<String, usize> {
    let mut last = HashMap::new();
    for (index, statement) in statements.iter().enumerate() {
        for name in &statement.defined {
            last.insert(bare(name).to_owned(), index);
        }
    }
    last
}

/// Statements that are tied together.
#[derive(Default)]
struct Part {
    members: BTreeSet<usize>,
    /// Those that define variables of which the types are not certain, for the last time so far.
    open: Vec<usize>,
    code: CodeBlock,
}

/// The parts that define variables of which the types are not certain.
fn parts(statements: &[Statement]) -> Vec<Part> {
    let mut ties = Ties((0..statements.len()).collect());
    let mut needs: Vec<Vec<usize>> = Vec::new();
    let mut latest: HashMap<&str, usize> = HashMap::new();
    for (index, statement) in statements.iter().enumerate() {
        let named = statement.words.iter();
        let named = named.filter_map(|word| latest.get(word).copied());
        let (given, open): (Vec<usize>, Vec<usize>) =
            named.partition(|of| statements[*of].given.is_some());
        needs.push(given);
        open.into_iter().for_each(|of| ties.tie(of, index));
        for name in &statement.defined {
            latest.insert(bare(name), index);
        }
    }
    if statements.iter().any(|statement| statement.is_opaque) {
        (1..statements.len()).for_each(|index| ties.tie(0, index));
    }

    let mut parts: BTreeMap<usize, Part> = BTreeMap::new();
    for (index, statement) in statements.iter().enumerate() {
        let part = parts.entry(ties.root(index)).or_default();
        part.members.insert(index);
        let is_last = |name: &String| latest.get(bare(name)) == Some(&index);
        if statement.given.is_none() && statement.defined.iter().any(is_last) {
            part.open.push(index);
        }
    }
    let mut parts: Vec<Part> = parts.into_values().collect();
    parts.retain(|part| !part.open.is_empty());
    for part in &mut parts {
        let needed = part.members.iter().flat_map(|index| &needs[*index]);
        let shown: BTreeSet<usize> = part.members.iter().chain(needed).copied().collect();
        for index in shown {
            let statement = &statements[index];
            part.code.modify(|code| match &statement.given {
                Some(given) if !part.members.contains(&index) => code.generated(given),
                _ => {
                    let segments = statement.segments.iter().cloned();
                    segments.fold(code, CodeBlock::with_segment)
                }
            });
        }
    }
    parts
}

/// Which statements belong together: each leads to another of its part, or is the part's root.
struct Ties(Vec<usize>);

impl Ties {
    fn root(&mut self, mut index: usize) -> usize {
        while self.0[index] != index {
            self.0[index] = self.0[self.0[index]];
            index = self.0[index];
        }
        index
    }

    fn tie(&mut self, one: usize, other: usize) {
        let (one, other) = (self.root(one), self.root(other));
        self.0[one.max(other)] = one.min(other);
    }
}

/// What stands for a `let` of one variable whose type is written.
fn given_as_written(let_stmt: &ast::LetStmt) -> Option<String> {
    let Some(ast::Pat::IdentPat(pat)) = let_stmt.pat() else {
        return None;
    };
    let (name, type_name) = (pat.name()?, let_stmt.ty().filter(is_fully_specified)?);
    let is_plain = pat.ref_token().is_none() && pat.pat().is_none();
    if !is_plain || let_stmt.attrs().next().is_some() || let_stmt.let_else().is_some() {
        return None;
    }
    let type_name = type_name.syntax().text().to_string();
    Some(given(name.text(), pat.mut_token().is_some(), &type_name))
}

/// What stands for a `let` of these variables, if the probes have left them as they were found.
fn given_as_found(defined: &[String], found: &Variables, probed: &Variables) -> Option<String> {
    let mut code = String::new();
    for name in defined {
        let (variable, probed) = (found.get(name)?, probed.get(name)?);
        let TypeName::Named(type_name) = &variable.type_name else {
            return None;
        };
        // The value of what never ends may be of any type.
        let may_be_any = type_name.contains('!') || type_name.contains("()");
        if may_be_any || probed.type_name != variable.type_name {
            return None;
        }
        code += &given(name, variable.is_mutable, type_name);
    }
    Some(code)
}

fn given(name: &str, is_mutable: bool, type_name: &str) -> String {
    let mutability = if is_mutable { "mut " } else { "" };
    format!("let {mutability}{name}: {type_name} = evcxr_given();")
}

/// Code that makes each `i32` and `f64` in the variables' types another number if it can be one.
fn probes(variables: &Variables) -> String {
    static NUMBER: Lazy<Regex> = Lazy::new(|| Regex::new(r"\b(i32|f64)\b").unwrap());
    let mut code = String::new();
    for (name, variable) in variables {
        let TypeName::Named(type_name) = &variable.type_name else {
            continue;
        };
        for number in NUMBER.find_iter(type_name) {
            let (before, after) = (&type_name[..number.start()], &type_name[number.end()..]);
            let other = if number.as_str() == "i32" {
                "i64"
            } else {
                "f32"
            };
            let (before, after) = (
                NUMBER.replace_all(before, "_"),
                NUMBER.replace_all(after, "_"),
            );
            code += &format!("let _: {before}{other}{after} = {name};");
        }
    }
    code
}

/// Whether a type has no `_`.
pub(crate) fn is_fully_specified(of: &ast::Type) -> bool {
    !of.syntax()
        .descendants()
        .any(|node| node.kind() == SyntaxKind::INFER_TYPE)
}
