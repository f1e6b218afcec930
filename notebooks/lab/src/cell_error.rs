//! Why a cell did not run to its end, in words for who wrote it.

use evcxr::CompilationError;

use super::home::home;

/// Why a cell did not run to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CellError {
    pub kind: CellErrorKind,
    /// The first line of what went wrong, to show in one line.
    pub message: String,
    /// All there is to say, plain text without machine paths.
    pub details: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CellErrorKind {
    /// It does not compile, or a `:command` was refused.
    Compile,
    /// It panicked.
    Panic,
    /// A `?` met an error.
    Failed,
    /// Somebody stopped it.
    Interrupted,
    /// The process that runs the cells ended, or never began.
    Died,
}

impl CellErrorKind {
    /// Jupyter's `ename`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Compile => "CompileError",
            Self::Panic => "Panic",
            Self::Failed => "Error",
            Self::Interrupted => "Interrupted",
            Self::Died => "ProcessDied",
        }
    }
}

impl CellError {
    /// Line by line, as a notebook shows it: what kind of error it is, unless the compiler says it.
    pub fn traceback(&self) -> Vec<String> {
        let kind = match self.kind {
            CellErrorKind::Compile => String::new(),
            kind => format!("{}: ", kind.name()),
        };
        format!("{kind}{}", self.details).lines().map(str::to_owned).collect()
    }

    pub fn new(kind: CellErrorKind, details: &str) -> Self {
        let details = without_paths(details.trim_end());
        let message = details.lines().find(|line| !line.trim().is_empty()).unwrap_or("no message").trim().to_owned();
        Self { kind, message, details }
    }

    /// The kernel itself cannot run cells.
    pub fn of_kernel(details: &str) -> Self {
        Self::new(CellErrorKind::Died, details)
    }

    /// The same end, brought about by somebody.
    pub fn interrupted(self) -> Self {
        let said = match self.kind {
            CellErrorKind::Died => self.details,
            CellErrorKind::Compile => "the cell was stopped while it compiled".to_owned(),
            _ => "the cell was stopped; the variables are kept".to_owned(),
        };
        Self { kind: CellErrorKind::Interrupted, message: said.clone(), details: said }
    }

    /// rustc's errors, each with the lines of the cell it is about.
    pub fn of_compiler(errors: &[CompilationError], code: &str) -> Self {
        let lines: Vec<&str> = code.lines().collect();
        let mut text = String::new();
        for error in errors {
            let code = error.code().map(|code| format!("[{code}]")).unwrap_or_default();
            text += &format!("error{code}: {}\n", error.message().trim_start_matches("error: "));
            for spanned in error.spanned_messages() {
                let Some(span) = &spanned.span else { continue };
                let number = span.start_line;
                let Some(line) = lines.get(number.saturating_sub(1)) else { continue };
                let width =
                    if span.start_line == span.end_line { span.end_column.saturating_sub(span.start_column).max(1) } else { 1 };
                let indent = " ".repeat(span.start_column.saturating_sub(1));
                let margin = " ".repeat(number.to_string().len());
                text += &format!(" {number} | {line}\n {margin} | {indent}{} {}\n", "^".repeat(width), spanned.label);
            }
            if error.message().contains("--offline") {
                text += "help: a run asks nothing of the network; put `:offline 0` above a `:dep` that must be fetched\n";
            }
            for help in error.help() {
                text += &format!("help: {help}\n");
            }
        }
        Self::new(CellErrorKind::Compile, &text)
    }
}

/// Text for a committed file: without the paths of this machine.
fn without_paths(text: &str) -> String {
    text.replace(&home().sources().display().to_string(), "…").replace(&home().data().display().to_string(), "…")
}
