//! A table as text, no wider than the terminal.

use console::{Term, measure_text_width};

use super::table::Table;

/// Columns that people see first, in the order in which they give way when there is little room: the last first.
pub struct Shown {
    /// From left to right.
    pub order: &'static [&'static str],
    /// The most important first; those that are not named here are not shown.
    pub importance: &'static [&'static str],
    /// So many of the most important are never left out: texts become shorter instead.
    pub essential: usize,
}

/// Names that come from files, which differ at their end.
const NAMES: [&str; 4] = ["tensor", "worst_tensor", "file", "skipped"];

/// The width that there is: what `COLUMNS` says, else that of the terminal; `None` where the output goes elsewhere.
pub fn width() -> Option<usize> {
    let said = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
    said.or_else(|| Term::stdout().size_checked().map(|(_, columns)| usize::from(columns))).filter(|&width| width > 0)
}

const GAP: usize = 2;

/// A text is not cut to less than this.
const SHORTEST: usize = 12;

/// A column that is printed.
struct Printed {
    name: &'static str,
    is_text: bool,
    width: usize,
    cells: Vec<String>,
}

/// The table with as many columns as fit. If not even the essential ones fit, names lose their beginning and other texts their end.
pub fn text_of(table: &Table, shown: &Shown, width: Option<usize>) -> String {
    let printed = |name: &&'static str| {
        let column = table.column(name)?;
        let cells: Vec<String> = (0..table.height()).map(|row| column.cell(row).shown(name)).collect();
        let longest = cells.iter().map(|cell| measure_text_width(cell)).max().unwrap_or(0);
        Some(Printed { name, is_text: column.is_text(), width: longest.max(name.len()), cells })
    };
    let mut columns: Vec<Printed> = shown.importance.iter().filter_map(printed).collect();
    let room = width.unwrap_or(usize::MAX);
    let total = |columns: &[Printed]| columns.iter().map(|column| column.width + GAP).sum::<usize>().saturating_sub(GAP);
    let is_essential = |column: &Printed| shown.importance.iter().take(shown.essential).any(|name| *name == column.name);
    while total(&columns) > room && columns.last().is_some_and(|column| !is_essential(column)) {
        columns.pop();
    }
    while total(&columns) > room {
        let texts = columns.iter_mut().filter(|column| column.is_text && column.width > SHORTEST);
        let Some(longest) = texts.max_by_key(|column| column.width) else { break };
        longest.width -= 1;
    }
    columns.sort_by_key(|column| shown.order.iter().position(|name| *name == column.name));

    let mut text = String::new();
    let mut line = |cell: &dyn Fn(&Printed) -> String| {
        let padded = columns.iter().map(|column| {
            let content = cell(column);
            let content = if NAMES.contains(&column.name) {
                end_of(&content, column.width)
            } else {
                console::truncate_str(&content, column.width, "…").into_owned()
            };
            let padding = " ".repeat(column.width.saturating_sub(measure_text_width(&content)));
            if column.is_text { content + &padding } else { padding + &content }
        });
        let joined = padded.collect::<Vec<_>>().join(&" ".repeat(GAP));
        text.push_str(joined.trim_end());
        text.push('\n');
    };
    line(&|column| column.name.to_owned());
    line(&|column| "─".repeat(column.width));
    for row in 0..table.height() {
        line(&|column| column.cells[row].clone());
    }
    text
}

/// A text without what would steer a terminal.
pub fn visible(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { '\u{fffd}' } else { char }).collect()
}

/// The end of a text that is too long.
pub fn end_of(text: &str, width: usize) -> String {
    if measure_text_width(text) <= width {
        return text.to_owned();
    }
    let (mut kept, mut used) = (Vec::new(), 1);
    for char in text.chars().rev() {
        used += measure_text_width(char.encode_utf8(&mut [0; 4]));
        if used > width {
            break;
        }
        kept.push(char);
    }
    kept.push('…');
    kept.into_iter().rev().collect()
}
