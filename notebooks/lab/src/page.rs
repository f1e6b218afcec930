//! One self-contained web page of an executed notebook: no script, nothing loaded, light and dark.
//!
//! What would run or load something is shown as the text that it is: raw HTML in Markdown, HTML outputs beyond tables and text. Pictures
//! are in the page: those that cells show, and those that Markdown names in the notebook's own folder. A picture elsewhere becomes a link.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;
use base64::Engine as _;
use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, TagEnd, html};
use ra_ap_rustc_lexer::{FrontmatterAllowed, LiteralKind, TokenKind, tokenize};
use serde_json::Value;

use super::html::{escape, is_harmless};
use super::media::note_of;
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
                push_markdown(&mut page, &source, notebook.path.parent().unwrap_or(Path::new(".")));
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

/// Markdown as HTML that loads nothing.
fn push_markdown(page: &mut String, source: &str, folder: &Path) {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
    // A picture that stays one; of another, whose end is to come, its link.
    let mut linked_images = Vec::new();
    let events = Parser::new_ext(source, options).map(|event| match event {
        Event::Html(text) | Event::InlineHtml(text) => Event::Text(text),
        Event::Start(Tag::Image { link_type, dest_url, title, id }) => {
            let embedded = embedded_image(&dest_url, folder);
            linked_images.push(embedded.is_none());
            match embedded {
                Some(data) => Event::Start(Tag::Image { link_type, dest_url: CowStr::from(data), title, id }),
                None => Event::Start(Tag::Link { link_type, dest_url, title, id }),
            }
        }
        Event::End(TagEnd::Image) if linked_images.pop() == Some(true) => Event::End(TagEnd::Link),
        // A link that is clicked shall not run anything either.
        Event::Start(Tag::Link { link_type, dest_url, title, id }) if !is_plain_link(&dest_url) => {
            Event::Start(Tag::Link { link_type, dest_url: CowStr::from("#"), title, id })
        }
        event => event,
    });
    html::push_html(page, events);
}

/// To another page, or to a place of this one or of the folder.
fn is_plain_link(url: &str) -> bool {
    match url.split_once(':') {
        None => true,
        Some((scheme, _)) => {
            scheme.contains(['/', '#', '?']) || ["http", "https", "mailto"].iter().any(|plain| scheme.eq_ignore_ascii_case(plain))
        }
    }
}

/// A picture of the notebook's folder, or one that is in the text itself, as data. `None` if it is elsewhere, is not there, or is of no
/// kind that a browser shows.
fn embedded_image(url: &str, folder: &Path) -> Option<String> {
    if url.starts_with("data:image/") {
        return Some(url.to_owned());
    }
    if url.contains(':') || url.starts_with('/') || url.split('/').any(|part| part == "..") {
        return None;
    }
    let path = folder.join(url);
    let media_type = match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        _ => return None,
    };
    Some(data_url(media_type, &std::fs::read(path).ok()?))
}

/// In an `img` element not even a picture's own script runs.
fn data_url(media_type: &str, bytes: &[u8]) -> String {
    format!("data:{media_type};base64,{}", base64::engine::general_purpose::STANDARD.encode(bytes))
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
            let name = escape(&data.get("text/plain").map(joined).unwrap_or_default());
            if let Some(svg) = data.get("image/svg+xml") {
                let url = data_url("image/svg+xml", joined(svg).as_bytes());
                writeln!(text, "<figure><img alt=\"{name}\" src=\"{url}\"></figure>")?;
            } else if let Some(png) = data.get("image/png") {
                let url = format!("data:image/png;base64,{}", joined(png).split_whitespace().collect::<String>());
                let width = output["metadata"]["image/png"]["width"].as_u64();
                let width = width.map(|width| format!(" width=\"{width}\"")).unwrap_or_default();
                writeln!(text, "<figure><img alt=\"{name}\"{width} src=\"{}\"></figure>", escape(&url))?;
            } else if let Some(table) = data.get("text/html").map(joined).filter(|html| is_harmless(html)) {
                writeln!(text, "<div class=\"table\">{table}</div>")?;
            } else if let Some(note) = data.get("text/plain").map(joined).as_deref().and_then(note_of) {
                writeln!(text, "<pre class=\"note\">{}</pre>", escape(&note))?;
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
