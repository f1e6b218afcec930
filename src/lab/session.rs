//! One notebook's session: code in; streams, displays and errors out. An error is an error: a panic and a failing `?` too, which evcxr
//! itself calls a success.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use crossbeam_channel::{Receiver, Sender, bounded, select, unbounded};
use evcxr::{CommandContext, CompilationError, EvalOutputs};

use super::slot::{Slot, workspace};

/// Where text was printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// What a cell did, in the order in which it was seen.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A printed line, its newline included.
    Printed(Stream, String),
    /// The value of the last expression, by media type.
    Value(BTreeMap<String, String>),
}

/// Why a cell did not run to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CellError {
    pub kind: CellErrorKind,
    /// The first line of what went wrong, to show in one line.
    pub message: String,
    /// All there is to say, plain text without machine paths.
    pub details: String,
    /// How many lines of stderr were printed before the error's own.
    pub lines_before: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CellErrorKind {
    /// It does not compile, or a `:command` was refused.
    Compile,
    /// It panicked.
    Panic,
    /// A `?` met an error.
    Failed,
    /// The process that runs the cells ended.
    Died,
}

impl CellErrorKind {
    /// Jupyter's `ename`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Compile => "CompileError",
            Self::Panic => "Panic",
            Self::Failed => "Error",
            Self::Died => "KernelDied",
        }
    }
}

type Reply = Result<EvalOutputs, evcxr::Error>;

/// An evcxr context on a thread of its own, with both of its channels drained by whoever waits for a cell.
pub struct Session {
    code: Sender<String>,
    replies: Receiver<(Reply, Vec<String>)>,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
    process: Arc<Mutex<std::process::Child>>,
    cells: usize,
}

impl Session {
    /// Starts evcxr in this slot. The process must have called [`prepare_process`] first.
    pub fn start(slot: &Slot) -> Result<Self> {
        let directory = slot.directory().to_owned();
        let (code, codes) = unbounded::<String>();
        let (reply, replies) = unbounded();
        let (started, start) = bounded(1);
        std::thread::spawn(move || {
            let (mut context, outputs) = match CommandContext::new() {
                Ok(started) => started,
                Err(error) => {
                    let _ = started.send(Err(anyhow!("evcxr did not start: {error}")));
                    return;
                }
            };
            // From here on every version is the lock file's, and nothing is asked of the network.
            let locked = Slot::restore_lock_file(&directory)
                .and_then(|()| context.execute(":offline 1").map_err(|error| anyhow!("{error}")));
            if started.send(locked.map(|_| (outputs, context.process_handle()))).is_err() {
                return;
            }
            for code in codes {
                let result = context.execute(&code);
                let variables = context.variables_and_types().map(|(name, _)| name.to_owned()).collect();
                if reply.send((result, variables)).is_err() {
                    return;
                }
            }
        });
        let (outputs, process) = start.recv().context("the session ended before it started")??;
        Ok(Self { code, replies, stdout: outputs.stdout, stderr: outputs.stderr, process, cells: 0 })
    }

    /// Runs a cell, handing over what it does as it does it.
    pub fn execute(&mut self, code: &str, mut on_event: impl FnMut(Event)) -> Result<Result<(), CellError>> {
        self.cells += 1;
        let sentinel = format!("quantlens_ran_{}", self.cells);
        let (marked, at_line) = with_sentinel(code, &sentinel);
        self.code.send(marked).context("the session has ended")?;
        let mut stderr_text = String::new();
        let mut print_error = |line: String, on_event: &mut dyn FnMut(Event)| {
            stderr_text += &format!("{line}\n");
            on_event(Event::Printed(Stream::Stderr, line + "\n"));
        };
        let (reply, variables) = loop {
            select! {
                recv(self.stdout) -> line => if let Some(text) = line.ok().and_then(|line| self.printed(line)) {
                    on_event(Event::Printed(Stream::Stdout, text));
                },
                recv(self.stderr) -> line => if let Ok(line) = line { print_error(line, &mut on_event) },
                recv(self.replies) -> reply => break reply.context("the session has ended")?,
            }
        };
        // All that was printed to stdout is in the channel now; stderr comes by another way and must be waited for.
        let rest = self.stdout.try_iter().filter_map(|line| self.printed(line));
        rest.for_each(|text| on_event(Event::Printed(Stream::Stdout, text)));
        let fence = self.fence_stderr();
        while let Ok(line) = self.stderr.recv_timeout(if fence.is_some() { FENCE_TIMEOUT } else { SILENCE }) {
            match fence.as_ref().and_then(|fence| line.strip_suffix(fence.as_str())) {
                Some("") => break,
                Some(text) => {
                    print_error(text.to_owned(), &mut on_event);
                    break;
                }
                None => print_error(line, &mut on_event),
            }
        }
        Ok(match reply {
            Ok(outputs) => {
                let ran = at_line.is_none() || variables.contains(&sentinel);
                let mut value: BTreeMap<String, String> = outputs.content_by_mime_type.into_iter().collect();
                value.retain(|media_type, content| media_type != "text/plain" || !content.is_empty());
                if !value.is_empty() {
                    on_event(Event::Value(value));
                }
                if ran { Ok(()) } else { Err(runtime_error(&stderr_text)) }
            }
            Err(evcxr::Error::CompilationErrors(errors)) => Err(compile_error(&errors, code, at_line)),
            Err(evcxr::Error::SubprocessTerminated(message)) => {
                Err(CellError::new(CellErrorKind::Died, &format!("{stderr_text}{message}")))
            }
            Err(error) => Err(CellError::new(CellErrorKind::Compile, &error.to_string())),
        })
    }

    /// A line as it was printed; `None` if nothing was. Text without a newline comes with the mark that follows it on the same line:
    /// the prelude's, before a value, or evcxr's own at the end of the cell, which evcxr then does not see and waits for, so that it must
    /// be said again.
    fn printed(&self, line: String) -> Option<String> {
        let text = match line.strip_suffix(END_OF_CELL) {
            Some(text) if self.write_to_cells(1, END_OF_CELL) => Some(text),
            _ => line.strip_suffix(BEFORE_VALUE),
        };
        match text {
            Some("") => None,
            Some(text) => Some(text.to_owned()),
            None => Some(line + "\n"),
        }
    }

    /// Writes a line of our own into the cells' stderr, behind everything they wrote: when it comes out, all else has. Only
    /// where a process's open files can be opened again (Linux).
    fn fence_stderr(&self) -> Option<String> {
        let fence = format!("quantlens_fence_{}", self.cells);
        self.write_to_cells(2, &fence).then_some(fence)
    }

    /// Writes a line into a pipe that the cells' process writes to, as if it had; false where that cannot be done.
    fn write_to_cells(&self, file_descriptor: u32, line: &str) -> bool {
        let Ok(process) = self.process.lock() else { return false };
        let pipe = format!("/proc/{}/fd/{file_descriptor}", process.id());
        let written = std::fs::OpenOptions::new()
            .write(true)
            .open(pipe)
            .and_then(|mut pipe| pipe.write_all(format!("{line}\n").as_bytes()));
        written.is_ok()
    }
}

/// What the prelude prints before a value when [`prepare_process`] asks for it.
const BEFORE_VALUE: &str = "QUANTLENS_VALUE";

/// What evcxr's runtime prints when a cell has run (its `runtime.rs`).
const END_OF_CELL: &str = "EVCXR_EXECUTION_COMPLETE";
const FENCE_TIMEOUT: Duration = Duration::from_secs(5);
const SILENCE: Duration = Duration::from_millis(50);

/// Sets what evcxr reads from the environment. Call it first thing in `main`, before there are threads.
pub fn prepare_process(directory: &Path) -> Result<()> {
    let usable = directory.to_str().filter(|path| !path.contains(' '));
    let Some(directory) = usable else {
        bail!("evcxr cannot build in {}: a path with spaces or not in UTF-8; clone to another place", directory.display());
    };
    let settings = [
        ("EVCXR_TMPDIR", directory.to_owned()),
        // The user's own start-up file is for their own kernel.
        ("EVCXR_CONFIG_DIR", format!("{directory}/no-config")),
        // One message, no backtrace through code that is not theirs.
        ("RUST_BACKTRACE", "0".to_owned()),
        ("QUANTLENS_BEFORE_VALUE", BEFORE_VALUE.to_owned()),
    ];
    for (name, value) in settings {
        // SAFETY: the caller is the start of `main`; no other thread exists to read the environment.
        unsafe { std::env::set_var(name, value) };
    }
    Ok(())
}

/// The code with a variable defined before its first statement, and the line it is on. evcxr drops a cell's variables when it panics or
/// leaves by `?`, so the variable is there afterwards if and only if the cell ran to its end. Code of nothing but commands has none.
fn with_sentinel(code: &str, sentinel: &str) -> (String, Option<usize>) {
    let is_head = |line: &str| {
        let line = line.trim_start_matches(' ');
        line.trim().is_empty()
            || line.starts_with(':')
            || line.starts_with("//")
            || line.starts_with('!')
            || line.starts_with("#![")
    };
    let lines: Vec<&str> = code.lines().collect();
    match lines.iter().position(|line| !is_head(line)) {
        None => (code.to_owned(), None),
        Some(at) => {
            let definition = format!("let {sentinel} = 0u8;");
            let marked = [&lines[..at], &[definition.as_str()], &lines[at..]].concat().join("\n");
            (marked, Some(at + 1))
        }
    }
}

impl CellError {
    fn new(kind: CellErrorKind, details: &str) -> Self {
        let details = without_paths(details.trim_end());
        let message = details.lines().find(|line| !line.trim().is_empty()).unwrap_or("no message").trim().to_owned();
        Self { kind, message, details, lines_before: 0 }
    }
}

/// The prelude's hook prints `panic: …`. Without it Rust prints a header with a thread's number, which is another one every time, the
/// message, and then a backtrace, which evcxr always asks for.
fn runtime_error(stderr: &str) -> CellError {
    let lines: Vec<&str> = stderr.lines().collect();
    let is_header = |line: &str| line.starts_with("thread '") && line.contains(" panicked at ");
    if let Some(at) = lines.iter().rposition(|line| line.starts_with("panic: ")) {
        let message = lines[at..].join("\n");
        return CellError { lines_before: at, ..CellError::new(CellErrorKind::Panic, message.trim_start_matches("panic: ")) };
    }
    match lines.iter().rposition(|line| is_header(line)) {
        Some(at) => {
            let is_message = |line: &&str| *line != "stack backtrace:" && !line.starts_with("note: ");
            let message: Vec<&str> = lines[at + 1..].iter().copied().take_while(is_message).collect();
            // An empty line stands before the header.
            let lines_before = at - usize::from(at > 0 && lines[at - 1].is_empty());
            CellError { lines_before, ..CellError::new(CellErrorKind::Panic, &message.join("\n")) }
        }
        None => CellError::new(CellErrorKind::Failed, stderr),
    }
}

/// rustc's errors, each with the lines of the cell it is about.
fn compile_error(errors: &[CompilationError], code: &str, sentinel_line: Option<usize>) -> CellError {
    let lines: Vec<&str> = code.lines().collect();
    let mut text = String::new();
    for error in errors {
        let code = error.code().map(|code| format!("[{code}]")).unwrap_or_default();
        text += &format!("error{code}: {}\n", error.message().trim_start_matches("error: "));
        for spanned in error.spanned_messages() {
            let Some(span) = &spanned.span else { continue };
            // The sentinel's line is not the user's.
            let number = span.start_line - usize::from(sentinel_line.is_some_and(|line| span.start_line > line));
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
    CellError::new(CellErrorKind::Compile, &text)
}

/// Text for a committed file: without the paths of this machine.
fn without_paths(text: &str) -> String {
    text.replace(&workspace().display().to_string(), "…")
}
