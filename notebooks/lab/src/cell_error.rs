//! Why a cell did not run to its end, in words for who wrote it.

use evcxr::{CompilationError, Places};

use super::compiler_message::{in_words, line_of};
use super::features::Features;
use super::home::home;
use super::missing::needed_by_panic;

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
    /// Somebody stopped it, it did not, and its thread was left behind.
    Left,
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
            Self::Interrupted | Self::Left => "Interrupted",
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

    /// It was interrupted and did not stop: its thread was left behind, with these variables, which it had taken or which are bound to it.
    pub fn left_behind(taken: &str, bound: &str) -> Self {
        let listed = |names: &str| {
            let mut names: Vec<String> = names.split(',').map(|name| format!("`{name}`")).collect();
            names.sort();
            names.join(", ")
        };
        let mut said = "the cell did not stop by itself and was left behind where it stands; the variables are kept".to_owned();
        if !taken.is_empty() {
            said += &format!(", without those that it was using: {}", listed(taken));
        }
        if !bound.is_empty() {
            said += &format!(", without those that belong to its thread, as they are not `Send`: {}", listed(bound));
        }
        Self::new(CellErrorKind::Left, &said)
    }

    /// The kernel itself cannot run cells.
    pub fn of_kernel(details: &str) -> Self {
        Self::new(CellErrorKind::Died, details)
    }

    /// The same end, brought about by somebody.
    pub fn interrupted(self) -> Self {
        let said = match self.kind {
            CellErrorKind::Died | CellErrorKind::Left => self.details,
            CellErrorKind::Compile => "the cell was stopped while it compiled".to_owned(),
            _ => "the cell was stopped; the variables are kept".to_owned(),
        };
        Self { kind: CellErrorKind::Interrupted, message: said.clone(), details: said }
    }

    /// rustc's errors, each with the lines of the cell it is about. The features are those of the session.
    pub fn of_compiler(errors: &[CompilationError], code: &str, features: &Features) -> Self {
        let lines: Vec<&str> = code.lines().collect();
        let mut texts: Vec<String> = Vec::new();
        for error in errors {
            let mut text = in_words(error, &lines, features);
            if error.message().contains("--offline") {
                text += "help: a run asks nothing of the network; put `:offline 0` above a `:dep` that must be fetched\n";
            }
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        Self::new(CellErrorKind::Compile, &texts.concat())
    }
}

/// What is said below a cell that ran: the compiler's warnings, and what became of its variables.
pub fn said_below(warnings: &[CompilationError], notes: &[String], code: &str, features: &Features) -> Vec<String> {
    let lines: Vec<&str> = code.lines().collect();
    let in_words = |warning| in_words(warning, &lines, features).trim_end().to_owned();
    let mut all: Vec<String> = Vec::new();
    for text in warnings.iter().map(in_words).chain(notes.iter().cloned()) {
        let text = without_paths(&text);
        if !all.contains(&text) {
            all.push(text);
        }
    }
    all
}

/// The message of a panic or of a `?` that met an error, and where in the cells it comes from, the innermost place first.
pub struct Message {
    text: String,
    places: Vec<String>,
}

impl Message {
    /// As it stands on stderr: the text, then behind each `\x1f` a function, a tab, and a line of what was compiled. The function of a
    /// cell's own statements is `run_user_code_` and the number of the build; one without a name is the cell that ran last.
    pub fn of(message: &str, places: &Places, number: usize, code: &str) -> Self {
        let mut parts = message.split('\x1f');
        let text = parts.next().unwrap_or("").trim_end().to_owned();
        let frames: Vec<(&str, usize)> = parts
            .filter_map(|part| part.trim_end().split_once('\t'))
            .filter_map(|(name, line)| Some((name, line.parse().ok()?)))
            .collect();
        // Whoever called first says which build it is.
        let build = frames.iter().rev().find_map(|(name, _)| name.strip_prefix("run_user_code_")?.parse().ok());
        let mut said: Vec<String> = Vec::new();
        for (name, line) in frames {
            let Some((cell, line)) = places.find(build, line) else { continue };
            let of_function = match name {
                "" => String::new(),
                name if name.starts_with("run_user_code_") => String::new(),
                name => format!(", in `{name}`"),
            };
            let source = if cell == number { line_of(code, line).map(|line| format!(": {}", line.trim())) } else { None };
            let place = format!("  at cell {cell}, line {line}{of_function}{}", source.unwrap_or_default());
            if said.last() != Some(&place) {
                said.push(place);
            }
        }
        Self { text, places: said }
    }

    /// The features are those of the session.
    pub fn error(&self, kind: CellErrorKind, features: &Features) -> CellError {
        let text = self.text.strip_prefix("panic: ").unwrap_or(&self.text);
        let needed = needed_by_panic(text, features);
        let (kind, text) = match &needed {
            Some(said) => (CellErrorKind::Failed, said.as_str()),
            None => (kind, text),
        };
        let details: Vec<&str> = std::iter::once(text).chain(self.places.iter().map(String::as_str)).collect();
        CellError::new(kind, &details.join("\n"))
    }

    /// As `dbg!` shows it.
    pub fn debugged(&self) -> String {
        let place = self.places.first().map_or("", |place| place.trim().trim_start_matches("at "));
        format!("[{place}] {}\n", self.text)
    }

    /// As it is shown where the cell went on.
    pub fn in_stream(&self) -> String {
        let mut text = self.text.clone() + "\n";
        for place in &self.places {
            text += &format!("{place}\n");
        }
        text
    }
}

/// Text for a committed file: without the paths of this machine.
fn without_paths(text: &str) -> String {
    text.replace(&home().sources().display().to_string(), "…").replace(&home().data().display().to_string(), "…")
}
