//! quantlens: where in the cells the lines stand that the compiler was given (a file that evcxr does not have).

use crate::code_block::CodeBlock;
use crate::code_block::CodeKind;
use std::collections::HashMap;

/// For every build the lines that are a cell's.
#[derive(Default)]
pub struct Places {
    builds: HashMap<i32, Vec<Lines>>,
    last: i32,
}

/// Lines that stand behind each other in what was compiled, and in the cell.
struct Lines {
    start: usize,
    count: usize,
    cell: usize,
    line: usize,
}

impl Places {
    pub(crate) fn add(&mut self, build: i32, cell: usize, code: &CodeBlock) {
        let mut all = Vec::new();
        let mut origins = code.origins_of_lines().enumerate().peekable();
        while let Some((index, (kind, offset))) = origins.next() {
            // To the compiler the bracket before an expression is a part of it.
            let kind = match (kind, origins.peek()) {
                (CodeKind::ShowOpen, Some((_, (next, _)))) => next,
                _ => kind,
            };
            let (cell, line) = match kind {
                CodeKind::OriginalUserCode(meta) => (cell, meta.start_line),
                CodeKind::EarlierUserCode { cell, start_line } => (*cell, *start_line),
                _ => continue,
            };
            match all.last_mut() {
                Some(Lines { start, count, .. }) if offset > 0 && *start + *count == index + 1 => {
                    *count += 1
                }
                _ => all.push(Lines {
                    start: index + 1,
                    count: 1,
                    cell,
                    line: line + offset,
                }),
            }
        }
        self.builds.insert(build, all);
        self.last = build;
    }

    /// The cell and its line of a line that was compiled in this build, or in the last.
    pub fn find(&self, build: Option<i32>, line: usize) -> Option<(usize, usize)> {
        let lines = self.builds.get(&build.unwrap_or(self.last))?;
        let of = lines
            .iter()
            .find(|of| (of.start..of.start + of.count).contains(&line))?;
        Some((of.cell, of.line + line - of.start))
    }
}
