//! What a cell does, for whoever shows it, and what it asks of them.

use super::marks::{INPUT, STANDARD_INPUT, Stream};
use super::media::Media;

/// What a cell did, in the order in which it was seen.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Printed text, in pieces as they came.
    Printed(Stream, String),
    /// A display in the middle of the cell.
    Display(Media),
    /// The value of the last expression.
    Value(Media),
    /// What the compiler warns of, or what became of a variable: said below all that the cell shows.
    Note(String),
    /// How far long work is. Nothing of it is to stay.
    Progress { what: String, done: usize, total: usize },
    /// Long work has ended before its last step.
    ProgressEnd,
    /// For a moment nothing has come. Said while a cell runs, so that who gathers what comes in quick succession can pass it on.
    Quiet,
}

/// What a cell asks the user for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// A line, with the prompt.
    Line(String),
    /// A line that is not shown, with the prompt.
    Password(String),
    /// The next line of its standard input.
    StandardInput,
}

impl Question {
    /// As evcxr's line says it: a command and a colon before the prompt.
    pub fn of_line(line: &str) -> Self {
        match line.split_once(':') {
            Some((_, STANDARD_INPUT)) => Self::StandardInput,
            Some((INPUT, prompt)) => Self::Line(prompt.to_owned()),
            Some((_, prompt)) => Self::Password(prompt.to_owned()),
            None => Self::Line(String::new()),
        }
    }

    pub fn prompt(&self) -> &str {
        match self {
            Self::Line(prompt) | Self::Password(prompt) => prompt,
            Self::StandardInput => "standard input (an empty line ends it): ",
        }
    }

    /// As the cell gets the answer: one line, whatever was typed.
    pub fn answer(&self, typed: Option<String>) -> String {
        let is_given = typed.is_some();
        let line = typed.unwrap_or_default().replace(['\r', '\n'], " ");
        match self {
            Self::StandardInput if is_given => format!("={line}"),
            Self::StandardInput => "-".to_owned(),
            Self::Line(_) | Self::Password(_) => line,
        }
    }

    /// The warning that a cell shows where nobody can answer, as in a run without Jupyter.
    pub fn nobody_answers(&self) -> Event {
        let said = match self {
            Self::StandardInput => {
                "the cell reads its standard input, which nobody can give here: it finds the end of it\n".to_owned()
            }
            Self::Line(prompt) | Self::Password(prompt) => {
                format!("the cell asks for input ({}), which nobody can give here: it gets an empty line\n", prompt.trim())
            }
        };
        Event::Printed(Stream::Stderr, said)
    }
}

/// Who shows what a cell does.
pub trait Front {
    fn show(&mut self, event: Event);

    /// A line, without its newline; `None` where nobody can give one, or the cell was interrupted instead.
    fn ask(&mut self, question: &Question) -> Option<String>;
}

/// Who neither sees nor answers anything.
pub struct Nobody;

impl Front for Nobody {
    fn show(&mut self, _: Event) {}

    fn ask(&mut self, _: &Question) -> Option<String> {
        None
    }
}
