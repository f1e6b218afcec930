//! What the compiler says of a cell, with the cell's own lines.

use evcxr::{Child, CompilationError, Span, SpannedMessage};

use super::features::Features;
use super::missing::needed_by_name;

/// The kind and the message, the lines it is about with what is said of each place, and what the compiler advises as code to paste. The
/// features are those of the session: what needs another says so.
pub fn in_words(diagnostic: &CompilationError, lines: &[&str], features: &Features) -> String {
    let code = diagnostic.code().filter(|code| code.starts_with('E')).map(|code| format!("[{code}]")).unwrap_or_default();
    let kind = if diagnostic.level() == "warning" { "warning" } else { "error" };
    let mut text = format!("{kind}{code}: {}\n", diagnostic.message().trim_start_matches("error: "));
    let spans: Vec<&SpannedMessage> = diagnostic.spanned_messages().iter().collect();
    let message = diagnostic.message();
    text += &snippet(&spans, lines, &message);
    for child in diagnostic.children() {
        text += &of_child(child, lines);
    }
    if let Some(advice) = advice(&message) {
        text += &format!("help: {advice}\n");
    }
    if let Some(said) = diagnostic.code().and_then(|code| needed_by_name(code, &message, features)) {
        text += &format!("help: {said}\n");
    }
    text
}

/// What to write where the compiler cannot know it.
fn advice(message: &str) -> Option<&'static str> {
    if message.contains("ExactSizeIterator") {
        return Some(
            "`track` must know how many there are: collect them first, as in `track(\"name\", items.collect::<Vec<_>>())`",
        );
    }
    if message.contains("`?` operator") && message.contains("`Option`") {
        return Some("a cell's `?` takes errors: say which it is, as in `.ok_or(\"there is none\")?`");
    }
    None
}

fn of_child(child: &Child, lines: &[&str]) -> String {
    // What the compiler says of its own settings, or of code that is not the user's.
    let is_foreign = ["evcxr", "#[warn(", "#[deny(", "#![", "run_user_code", "for more information"];
    if is_foreign.iter().any(|foreign| child.message.contains(foreign)) || child.message.is_empty() {
        return String::new();
    }
    let in_cell: Vec<(&Span, &str)> =
        child.replacements.iter().filter_map(|(span, text)| Some((span.as_ref()?, text.as_str()))).collect();
    let elsewhere: Vec<&str> =
        child.replacements.iter().filter(|(span, _)| span.is_none()).map(|(_, text)| text.trim()).collect();
    if child.level != "help" && child.spans.is_empty() {
        return String::new();
    }
    let mut text = format!("{}: {}\n", child.level, child.message);
    if !elsewhere.is_empty() {
        // Such as `use` lines, one of which is to stand above.
        for line in elsewhere.iter().filter(|line| !line.contains("evcxr")).take(3) {
            text += &format!("   + {line}\n");
        }
    } else if !in_cell.is_empty() {
        text += &replaced(&in_cell, lines);
    } else {
        text += &snippet(&child.spans.iter().collect::<Vec<_>>(), lines, "");
    }
    text
}

/// Each line once, the places in it marked below it: `^` where the error is, `-` where its reasons are.
fn snippet(messages: &[&SpannedMessage], lines: &[&str], headline: &str) -> String {
    let mut marked: Vec<(&Span, &SpannedMessage)> =
        messages.iter().filter_map(|message| Some((message.span.as_ref()?, *message))).collect();
    marked.sort_by_key(|(span, _)| (span.start_line, span.start_column));
    let margin = " ".repeat(marked.iter().map(|(span, _)| span.start_line.to_string().len()).max().unwrap_or(1));
    let mut text = String::new();
    let mut last_line = 0;
    for (span, message) in marked {
        let Some(line) = lines.get(span.start_line.saturating_sub(1)) else { continue };
        if span.start_line != last_line {
            text += &format!(" {:>width$} | {line}\n", span.start_line, width = margin.len());
            last_line = span.start_line;
        }
        let end = if span.start_line == span.end_line { span.end_column } else { line.chars().count() + 1 };
        let width = end.saturating_sub(span.start_column).max(1);
        let sign = if message.is_primary { "^" } else { "-" };
        let label = message.label.trim_start_matches("error: ");
        let label = if label == headline || label.starts_with("warning: ") { "" } else { label };
        let indent = " ".repeat(span.start_column.saturating_sub(1));
        text += format!(" {margin} | {indent}{} {label}", sign.repeat(width)).trim_end();
        text.push('\n');
    }
    text
}

/// The lines as they would be.
fn replaced(replacements: &[(&Span, &str)], lines: &[&str]) -> String {
    let mut by_line: Vec<(usize, String)> = Vec::new();
    let mut replacements = replacements.to_vec();
    // From the end, so that the columns before stay what they are.
    replacements.sort_by_key(|(span, _)| std::cmp::Reverse((span.start_line, span.start_column)));
    for (span, with) in replacements {
        let Some(line) = lines.get(span.start_line.saturating_sub(1)) else { continue };
        let last = lines.get(span.end_line.saturating_sub(1)).copied().unwrap_or("");
        let index = match by_line.iter().position(|(number, _)| *number == span.start_line) {
            Some(index) => index,
            None => {
                by_line.push((span.start_line, (*line).to_owned()));
                by_line.len() - 1
            }
        };
        let text = &mut by_line[index].1;
        let before: String = text.chars().take(span.start_column.saturating_sub(1)).collect();
        let rest = if span.start_line == span.end_line { text.as_str() } else { last };
        let after: String = rest.chars().skip(span.end_column.saturating_sub(1)).collect();
        *text = before + with + &after;
    }
    by_line.sort();
    by_line.iter().map(|(number, line)| format!(" {number} | {}\n", line.trim_end())).collect()
}

/// A line by its number, which begins with 1.
pub fn line_of(code: &str, number: usize) -> Option<&str> {
    code.lines().nth(number.checked_sub(1)?)
}
