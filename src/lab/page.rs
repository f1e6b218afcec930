//! One self-contained web page of an executed notebook: no script, no network, light and dark.

use std::fmt::Write as _;

use anyhow::Result;
use pulldown_cmark::{Options, Parser, html};
use quantlens::display::escape;
use ra_ap_rustc_lexer::{FrontmatterAllowed, LiteralKind, TokenKind, tokenize};
use serde_json::Value;

use super::notebook::{Notebook, joined};

/// The page's text.
pub fn render(notebook: &Notebook) -> Result<String> {
    let title = escape(&notebook.title());
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n"
    );
    for cell in notebook.cells() {
        let source = joined(&cell["source"]);
        match cell["cell_type"].as_str() {
            Some("markdown") => {
                page += "<section class=\"text\">\n";
                let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
                html::push_html(&mut page, Parser::new_ext(&source, options));
                page += "</section>\n";
            }
            Some("code") if !source.trim().is_empty() => {
                let count = cell["execution_count"].as_u64().map_or(String::new(), |count| count.to_string());
                write!(page, "<section class=\"code\">\n<div class=\"count\">[{count}]</div>\n<pre class=\"source\">")?;
                page += &highlighted(&source);
                page += "</pre>\n";
                for output in cell["outputs"].as_array().into_iter().flatten() {
                    page += &rendered_output(output)?;
                }
                page += "</section>\n";
            }
            _ => {}
        }
    }
    page += "</main>\n</body>\n</html>\n";
    Ok(page)
}

/// The richest form a page can show.
fn rendered_output(output: &Value) -> Result<String> {
    let mut text = String::new();
    let data = &output["data"];
    match output["output_type"].as_str() {
        Some("stream") => {
            let name = output["name"].as_str().unwrap_or("stdout");
            writeln!(text, "<pre class=\"{}\">{}</pre>", escape(name), escape(&joined(&output["text"])))?;
        }
        Some("error") => {
            let lines: Vec<&str> = output["traceback"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            writeln!(text, "<pre class=\"error\">{}</pre>", escape(&lines.join("\n")))?;
        }
        _ => {
            if let Some(svg) = data.get("image/svg+xml") {
                let name = data.get("text/plain").map(joined).unwrap_or_default();
                writeln!(text, "<figure role=\"img\" aria-label=\"{}\">{}</figure>", escape(&name), joined(svg))?;
            } else if let Some(png) = data.get("image/png") {
                writeln!(text, "<figure><img src=\"data:image/png;base64,{}\"></figure>", joined(png).trim())?;
            } else if let Some(table) = data.get("text/html") {
                writeln!(text, "<div class=\"table\">{}</div>", joined(table))?;
            } else if let Some(plain) = data.get("text/plain") {
                writeln!(text, "<pre class=\"value\">{}</pre>", escape(&joined(plain)))?;
            }
        }
    }
    Ok(text)
}

/// Rust code with a span around each token that has a colour. A leading `:command` line is none of Rust's.
fn highlighted(source: &str) -> String {
    let mut html = String::new();
    let mut rest = source;
    while rest.starts_with(':') {
        let end = rest.find('\n').map_or(rest.len(), |newline| newline + 1);
        write!(html, "<span class=\"m\">{}</span>", escape(&rest[..end])).unwrap_or_default();
        rest = &rest[end..];
    }
    let mut at = 0;
    for token in tokenize(rest, FrontmatterAllowed::No) {
        let end = at + token.len as usize;
        let text = &rest[at..end];
        let class = match token.kind {
            TokenKind::LineComment { .. } | TokenKind::BlockComment { .. } => "c",
            TokenKind::Ident | TokenKind::RawIdent if KEYWORDS.contains(&text) => "k",
            TokenKind::Ident if rest[end..].starts_with('!') && !rest[end..].starts_with("!=") => "m",
            TokenKind::Ident if text.starts_with(|c: char| c.is_ascii_uppercase()) => "t",
            TokenKind::Literal { kind: LiteralKind::Int { .. } | LiteralKind::Float { .. }, .. } => "n",
            TokenKind::Literal { .. } => "s",
            _ => "",
        };
        if class.is_empty() {
            html += &escape(text);
        } else {
            write!(html, "<span class=\"{class}\">{}</span>", escape(text)).unwrap_or_default();
        }
        at = end;
    }
    html
}

const KEYWORDS: &[&str] = &[
    "as", "async", "await", "break", "const", "continue", "crate", "dyn", "else", "enum", "extern", "false", "fn", "for", "if",
    "impl", "in", "let", "loop", "match", "mod", "move", "mut", "pub", "ref", "return", "self", "Self", "static", "struct",
    "super", "trait", "true", "type", "unsafe", "use", "where", "while",
];

const STYLE: &str = include_str!("page.css");
