//! One notebook's session: code in; streams, displays and errors out. An error is an error: a panic and a failing `?` too, which evcxr
//! itself calls a success.

use std::collections::BTreeMap;
use std::io::{Read, Write as _};
use std::path::Path;
use std::process::Child;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use crossbeam_channel::{Receiver, Sender, bounded, select, unbounded};
use evcxr::{CommandContext, Completions, EvalCallbacks, EvalContext, EvalOutputs};

use super::cell_error::{CellError, CellErrorKind};
use super::child::{self, END_OF_CELL, HELLO, INTERRUPT, RESUME, Writers};
use super::output::{FAILED, INPUT, PANICKED, Parser, Piece, control_mark};
use super::processes;
use super::slot::Slot;
use super::template::prelude_dependency;

/// Where text was printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// Representations of one value, by media type; what is no text is base64.
pub type Media = BTreeMap<String, String>;

/// What a cell did, in the order in which it was seen.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Printed text, in pieces as they came.
    Printed(Stream, String),
    /// A display in the middle of the cell.
    Display(Media),
    /// The value of the last expression; the last event.
    Value(Media),
    /// How far long work is. Nothing of it is to stay.
    Progress { what: String, done: usize, total: usize },
}

/// What a cell is told, by its errors, that asks where nobody can answer.
pub fn nobody_answers(prompt: &str) -> Event {
    let said = format!("the cell asks for input ({}), which nobody can give here: it gets an empty line\n", prompt.trim());
    Event::Printed(Stream::Stderr, said)
}

/// Who shows what a cell does.
pub trait Front {
    fn show(&mut self, event: Event);

    /// A line of input, without its newline; `None` where nobody can give one, or the cell was interrupted instead.
    fn ask(&mut self, prompt: &str, is_password: bool) -> Option<String>;
}

enum Request {
    Execute(String),
    Complete(String, usize),
    Inspect(String, usize),
}

enum Reply {
    Executed(Result<EvalOutputs, evcxr::Error>),
    Completed(Result<Completions>),
    Inspected(Result<(String, String)>),
}

/// An evcxr context on a thread of its own, and a thread for each of the cells' streams.
pub struct Session {
    /// `None` only while it is dropped.
    requests: Option<Sender<Request>>,
    evcxr: Option<JoinHandle<()>>,
    replies: Receiver<Reply>,
    pieces: Receiver<(Stream, Piece)>,
    answers: Sender<String>,
    shared: Arc<Shared>,
    fences: u64,
}

struct Shared {
    /// Known when evcxr has started it.
    process: OnceLock<Arc<Mutex<Child>>>,
    writers: Mutex<Writers>,
    secret: String,
    state: Mutex<State>,
}

/// What may be stopped, and what was.
#[derive(Default)]
struct State {
    cells: u64,
    /// The number of the cell that is compiled or runs, 0 between cells.
    running: u64,
    /// Its function was called.
    is_started: bool,
    is_interrupted: bool,
}

impl Session {
    /// Starts evcxr in this slot, which must be filled. The process must have called [`prepare_process`] first.
    pub fn start(slot: &Slot) -> Result<Self> {
        let program = std::env::current_exe().context("this program's own file is not known")?;
        let secret = uuid::Uuid::new_v4().simple().to_string();
        let (command, pipes) = child::command(&program, &slot.prelude()?, &secret).context("could not make pipes")?;
        let shared =
            Arc::new(Shared { process: OnceLock::new(), writers: Mutex::new(pipes.writers), secret, state: Mutex::default() });
        // Before evcxr starts: it may run a cell of its own to see which linker works. Few may wait, so that a cell that prints without
        // end waits itself.
        let (piece, pieces) = bounded(256);
        read_pieces(pipes.stdout, Stream::Stdout, piece.clone(), Arc::clone(&shared));
        read_pieces(pipes.stderr, Stream::Stderr, piece, Arc::clone(&shared));
        let (requests, taken_requests) = unbounded();
        let (reply, replies) = unbounded();
        let (answers, taken_answers) = unbounded::<String>();
        let (started, start) = bounded(1);
        let evcxr = std::thread::spawn(move || {
            let mut context = match EvalContext::with_subprocess_command(command) {
                // evcxr's own channels of output stay empty: the cells' goes by our pipes.
                Ok((context, _)) => CommandContext::with_eval_context(context),
                Err(error) => {
                    let _ = started.send(Err(anyhow!("evcxr did not start: {error}")));
                    return;
                }
            };
            if started.send(Ok(context.process_handle())).is_err() {
                return;
            }
            for request in taken_requests {
                // rust-analyzer panics on some half-written code; that is no reason to lose the session.
                let result = match request {
                    Request::Execute(code) => {
                        let input_reader = &|_| taken_answers.recv().unwrap_or_default();
                        let callbacks = &mut EvalCallbacks { input_reader };
                        let result = surviving(|| context.execute_with_callbacks(&code, callbacks));
                        Reply::Executed(result.unwrap_or_else(|panic| Err(evcxr::Error::Message(panic))))
                    }
                    Request::Complete(code, position) => {
                        let result = surviving(|| context.completions(&code, position));
                        Reply::Completed(result.unwrap_or_else(|panic| Err(anyhow!(panic))))
                    }
                    Request::Inspect(code, position) => {
                        let result = surviving(|| context.hover_at(&code, position));
                        Reply::Inspected(result.unwrap_or_else(|panic| Err(anyhow!(panic))))
                    }
                };
                if reply.send(result).is_err() {
                    return;
                }
            }
        });
        let process = start.recv().context("the session ended before it started")??;
        let _ = shared.process.set(process);
        Ok(Self { requests: Some(requests), evcxr: Some(evcxr), replies, pieces, answers, shared, fences: 0 })
    }

    /// Brings everything to where a notebook's first cell needs it, so that the cell has nothing to wait for: the prelude is a
    /// dependency and rust-analyzer knows it. No name is defined.
    pub fn preload(&mut self) -> Result<()> {
        let dependency = prelude_dependency()?;
        for code in [
            // From here on every version is the lock file's, and nothing is asked of the network.
            format!(":offline 1\n:dep {dependency}\nlet quantlens_warm = quantlens_prelude::Scheme::asymmetric(8);"),
            // Moved out, so that it is no variable of the notebook's.
            "drop(quantlens_warm);".to_owned(),
        ] {
            self.execute(&code, &mut Nobody)?.map_err(|error| anyhow!("the prelude could not be loaded:\n{}", error.details))?;
        }
        Ok(())
    }

    /// Runs a cell, handing over what it does as it does it.
    pub fn execute(&mut self, code: &str, front: &mut dyn Front) -> Result<Result<(), CellError>> {
        {
            let mut state = self.shared.state();
            state.cells += 1;
            *state = State { cells: state.cells, running: state.cells, ..State::default() };
        }
        self.shared.say_to_child(RESUME);
        let result = self.run(code, front);
        self.shared.state().running = 0;
        result
    }

    fn run(&mut self, code: &str, front: &mut dyn Front) -> Result<Result<(), CellError>> {
        self.request(Request::Execute(code.to_owned()))?;
        let mut cell = Cell::default();
        let reply = loop {
            select! {
                recv(self.pieces) -> piece => {
                    let (stream, piece) = piece.context("the session has ended")?;
                    self.take_piece(stream, piece, &mut cell, front);
                },
                recv(self.replies) -> reply => match reply.context("the session has ended")? {
                    Reply::Executed(result) => break result,
                    _ => bail!("the session is out of step: restart the kernel"),
                },
            }
        };
        // What it wrote may still be on its way: marks written behind it say when all is here.
        self.fences += 1;
        self.shared.write_fences(self.fences);
        let mut awaited = 2;
        while awaited > 0 {
            match self.pieces.recv_timeout(FENCE_TIMEOUT) {
                Ok((_, Piece::Fence(fence))) => awaited -= usize::from(fence == self.fences),
                Ok((stream, piece)) => self.take_piece(stream, piece, &mut cell, front),
                Err(_) => break,
            }
        }
        let is_interrupted = self.shared.state().is_interrupted;
        let is_end = reply.is_ok() && !matches!(cell.outcome, Outcome::Ran);
        let message = if is_end { cell.last_message.take() } else { None }.unwrap_or_default();
        cell.show_message(front);
        let error = match reply {
            Ok(outputs) => {
                // What `:commands` answer.
                cell.value.extend(outputs.content_by_mime_type);
                cell.value.retain(|media_type, content| media_type != "text/plain" || !content.is_empty());
                if !cell.value.is_empty() {
                    front.show(Event::Value(std::mem::take(&mut cell.value)));
                }
                match cell.outcome {
                    Outcome::Ran => None,
                    Outcome::Panicked => Some(CellError::new(CellErrorKind::Panic, panic_message(&message))),
                    Outcome::Failed => Some(CellError::new(CellErrorKind::Failed, &message)),
                }
            }
            Err(evcxr::Error::CompilationErrors(errors)) => Some(CellError::of_compiler(&errors, code)),
            Err(evcxr::Error::SubprocessTerminated(_)) if is_interrupted => {
                let said = "the cell did not stop by itself, so its process was ended: the variables are lost";
                Some(CellError::new(CellErrorKind::Died, said))
            }
            Err(evcxr::Error::SubprocessTerminated(message)) => {
                let message = message.trim().trim_start_matches("Subprocess terminated with status: ");
                let said = format!(
                    "the process that runs the cells ended ({message}): the variables are lost, the next cell starts it anew"
                );
                Some(CellError::new(CellErrorKind::Died, &said))
            }
            Err(error) => Some(CellError::new(CellErrorKind::Compile, &error.to_string())),
        };
        Ok(match error {
            None => Ok(()),
            Some(error) if is_interrupted => Err(error.interrupted()),
            Some(error) => Err(error),
        })
    }

    fn take_piece(&mut self, stream: Stream, piece: Piece, cell: &mut Cell, front: &mut dyn Front) {
        match piece {
            Piece::Text(text) => front.show(Event::Printed(stream, text)),
            Piece::Error(message) => {
                cell.show_message(front);
                cell.last_message = Some(message);
            }
            Piece::Started => self.shared.state().is_started = true,
            Piece::Display(bundle) => front.show(Event::Display(bundle.into_iter().collect())),
            Piece::Value(bundle) => cell.value.extend(bundle),
            Piece::Progress { what, done, total } => front.show(Event::Progress { what, done, total }),
            Piece::ForEvcxr(line) if line.starts_with(PANICKED) => cell.outcome = Outcome::Panicked,
            Piece::ForEvcxr(line) if line.starts_with(FAILED) => cell.outcome = Outcome::Failed,
            Piece::ForEvcxr(line) if line.starts_with(INPUT) => {
                let (command, prompt) = line.split_once(':').unwrap_or((&line, ""));
                let answer = front.ask(prompt, command != INPUT).unwrap_or_default();
                // A line is one line to the cell.
                let _ = self.answers.send(answer.replace(['\r', '\n'], " "));
            }
            Piece::ForEvcxr(_) | Piece::Hello(_) | Piece::Complete | Piece::Fence(_) => {}
        }
    }

    /// What could stand at this byte of the code.
    pub fn complete(&mut self, code: &str, position: usize) -> Result<Completions> {
        self.request(Request::Complete(code.to_owned(), position))?;
        match self.replies.recv().context("the session has ended")? {
            Reply::Completed(completions) => completions,
            _ => bail!("the session is out of step: restart the kernel"),
        }
    }

    /// Documentation of what ends at this byte of the code, as text and HTML; `None` if there is none.
    pub fn inspect(&mut self, code: &str, position: usize) -> Result<Option<(String, String)>> {
        self.request(Request::Inspect(code.to_owned(), position))?;
        match self.replies.recv().context("the session has ended")? {
            Reply::Inspected(Ok((text, _))) if text == "No documentation found" => Ok(None),
            Reply::Inspected(found) => found.map(Some),
            _ => bail!("the session is out of step: restart the kernel"),
        }
    }

    fn request(&self, request: Request) -> Result<()> {
        let sent = self.requests.as_ref().map(|requests| requests.send(request).is_ok());
        if sent == Some(true) { Ok(()) } else { bail!("the session has ended") }
    }

    pub fn interrupter(&self) -> Interrupter {
        Interrupter(Arc::clone(&self.shared))
    }
}

impl Drop for Session {
    /// Waits until the cells' process is gone, so that the slot is free for another.
    fn drop(&mut self) {
        self.requests = None;
        // Nobody reads on, so nobody shall wait to be read.
        self.pieces = bounded(0).1;
        if let Some(evcxr) = self.evcxr.take() {
            let _ = evcxr.join();
        }
        self.shared.write_fences(LAST_FENCE);
    }
}

/// Stops the cell of a session from another thread.
#[derive(Clone)]
pub struct Interrupter(Arc<Shared>);

impl Interrupter {
    /// Stops the cell that runs, if one does. Work of the library's stops between two steps and the variables stay; a cell that has
    /// not ended [`GRACE`] later loses its process. One that is still being compiled is not run.
    pub fn interrupt(&self) {
        let running = {
            let mut state = self.0.state();
            if state.running == 0 {
                return;
            }
            state.is_interrupted = true;
            state.running
        };
        self.0.say_to_child(INTERRUPT);
        processes::kill_descendants(&[self.0.process_id()]);
        let shared = Arc::clone(&self.0);
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(GRACE);
                // Held while the process is ended, so that no other cell begins meanwhile.
                let state = shared.state();
                if state.running != running {
                    return;
                }
                if state.is_started {
                    return shared.kill();
                }
            }
        });
    }

    /// Whether the cell that runs was interrupted.
    pub fn is_interrupted(&self) -> bool {
        self.0.state().is_interrupted
    }

    /// Ends the cells' process and whatever compiles.
    pub fn kill(&self) {
        processes::kill_descendants(&[]);
        self.0.kill();
    }
}

/// How long a cell has to stop by itself.
const GRACE: Duration = Duration::from_millis(1000);
/// Ends the threads that read.
const LAST_FENCE: u64 = u64::MAX;
const FENCE_TIMEOUT: Duration = Duration::from_secs(5);

impl Shared {
    fn writers(&self) -> MutexGuard<'_, Writers> {
        self.writers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say_to_child(&self, line: &str) {
        // A process that is gone needs to be told nothing.
        let _ = self.writers().for_evcxr.write_all(format!("{line}\n").as_bytes());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_fences(&self, number: u64) {
        let mark = control_mark(&self.secret, &format!("fence {number}"));
        let mut writers = self.writers();
        let _ = writers.stdout.write_all(mark.as_bytes());
        let _ = writers.stderr.write_all(mark.as_bytes());
    }

    /// 0 before there is one.
    fn process_id(&self) -> u32 {
        self.process.get().map_or(0, |process| process.lock().unwrap_or_else(PoisonError::into_inner).id())
    }

    /// With all that the cell has started.
    fn kill(&self) {
        processes::kill_tree(self.process_id());
    }
}

/// Takes a stream apart on a thread of its own, and says evcxr's part of it to evcxr.
fn read_pieces(mut pipe: std::io::PipeReader, stream: Stream, pieces: Sender<(Stream, Piece)>, shared: Arc<Shared>) {
    std::thread::spawn(move || {
        let mut parser = Parser::new(stream, &shared.secret);
        let mut bytes = vec![0; 1 << 16];
        let mut is_last = false;
        while !is_last && let Ok(count @ 1..) = pipe.read(&mut bytes) {
            parser.push(&bytes[..count], |piece| {
                is_last |= piece == Piece::Fence(LAST_FENCE);
                let line = match &piece {
                    Piece::ForEvcxr(line) => Some(line.clone()),
                    Piece::Complete => Some(END_OF_CELL.to_owned()),
                    Piece::Hello(process) => Some(format!("{HELLO} {process}")),
                    _ => None,
                };
                // First the session, which must know what evcxr asks before evcxr asks.
                let _ = pieces.send((stream, piece));
                if let Some(line) = line {
                    shared.say_to_child(&line);
                }
            });
        }
    });
}

/// What it says if it panics.
fn surviving<R>(work: impl FnOnce() -> R) -> Result<R, String> {
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
    result.map_err(|panic| {
        let message = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        format!("evcxr or rust-analyzer panicked on this code: {}", message.unwrap_or("no message"))
    })
}

/// What is known of the cell that runs.
#[derive(Default)]
struct Cell {
    /// The last message of what may be the cell's end: held back until it is known to be or not.
    last_message: Option<String>,
    value: Media,
    outcome: Outcome,
}

impl Cell {
    /// It was not the end: somebody caught it.
    fn show_message(&mut self, front: &mut dyn Front) {
        if let Some(message) = self.last_message.take() {
            front.show(Event::Printed(Stream::Stderr, message + "\n"));
        }
    }
}

#[derive(Default)]
enum Outcome {
    #[default]
    Ran,
    Panicked,
    Failed,
}

struct Nobody;

impl Front for Nobody {
    fn show(&mut self, _: Event) {}

    fn ask(&mut self, _: &str, _: bool) -> Option<String> {
        None
    }
}

/// Sets what evcxr reads from the environment. Call it before there are threads.
pub fn prepare_process(directory: &Path) -> Result<()> {
    let usable = directory.to_str().filter(|path| !path.contains(char::is_whitespace));
    let Some(directory) = usable else {
        bail!("evcxr cannot build in {}: a path with spaces or not in UTF-8; clone to another place", directory.display());
    };
    let settings = [
        ("EVCXR_TMPDIR", directory.to_owned()),
        // The user's own start-up file is for their own kernel.
        ("EVCXR_CONFIG_DIR", format!("{directory}/no-config")),
    ];
    // SAFETY: the caller is the start of `main`; no other thread exists to read the environment.
    unsafe {
        for (name, value) in settings {
            std::env::set_var(name, value);
        }
        // Set where a cell has started this program; evcxr would take it for its own child.
        std::env::remove_var("EVCXR_IS_RUNTIME");
    }
    Ok(())
}

/// What the prelude's hook for panics prints, without its start.
fn panic_message(text: &str) -> &str {
    text.strip_prefix("panic: ").unwrap_or(text)
}
