//! A table as text, no wider than the terminal.

use console::{Term, measure_text_width};

use super::table::Table;

/// Columns that people see first, in the order in which they give way when there is little room: the last first.
pub struct Shown {
    /// From left to right.
    pub order: &'static [&'static str],
    /// The most important first; those that are not named here are not shown.
    pub importance: &'static [&'static str],
}

/// The width that there is: what `COLUMNS` says, else that of the terminal; `None` where the output goes elsewhere.
pub fn width() -> Option<usize> {
    let said = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
    said.or_else(|| Term::stdout().size_checked().map(|(_, columns)| usize::from(columns))).filter(|&width| width > 0)
}

const GAP: usize = 2;

/// A text is not cut to less than this.
const SHORTEST: usize = 12;

/// The table with as many columns as fit. If not even the two most important fit, texts lose their beginning or end.
pub fn text_of(table: &Table, shown: &Shown, width: Option<usize>) -> String {
    let cells = |name: &&'static str| {
        let column = table.column(name)?;
        let cells: Vec<String> = (0..table.height()).map(|row| column.cell(row).shown(name)).collect();
        let longest = cells.iter().map(|cell| measure_text_width(cell)).max().unwrap_or(0);
        Some((*name, column.is_text(), longest.max(name.len()), cells))
    };
    let mut columns: Vec<_> = shown.importance.iter().filter_map(cells).collect();
    let room = width.unwrap_or(usize::MAX);
    let total = |columns: &[(&str, bool, usize, Vec<String>)]| columns.iter().map(|column| column.2 + GAP).sum::<usize>() - GAP;
    // The names may become shorter before the third most important is left out.
    const ESSENTIAL: usize = 3;
    while columns.len() > ESSENTIAL && total(&columns) > room {
        columns.pop();
    }
    while total(&columns) > room {
        let longest = columns.iter_mut().filter(|column| column.1 && column.2 > SHORTEST).max_by_key(|column| column.2);
        let Some(longest) = longest else { break };
        longest.2 -= 1;
    }
    columns.sort_by_key(|column| shown.order.iter().position(|name| *name == column.0));

    let mut text = String::new();
    let mut line = |cell: &dyn Fn(&(&'static str, bool, usize, Vec<String>)) -> String| {
        let padded = columns.iter().map(|column| {
            let content = shortened(&cell(column), column.2);
            let padding = " ".repeat(column.2.saturating_sub(measure_text_width(&content)));
            if column.1 { content + &padding } else { padding + &content }
        });
        let joined = padded.collect::<Vec<_>>().join(&" ".repeat(GAP));
        text.push_str(joined.trim_end());
        text.push('\n');
    };
    line(&|column| column.0.to_owned());
    line(&|column| "─".repeat(column.2));
    for row in 0..table.height() {
        line(&|column| column.3[row].clone());
    }
    text
}

/// The end of a text, for names of tensors differ there.
pub fn shortened(text: &str, width: usize) -> String {
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
