//! One notebook's session: code in; streams, displays and errors out. An error is an error: a panic and a failing `?` too, which evcxr
//! itself calls a success.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use crossbeam_channel::{Receiver, Sender, bounded, select, unbounded};
use evcxr::{CommandContext, Completions, EvalCallbacks, EvalContext, EvalOutputs, PhaseDetails, Places};

use super::cell_error::{CellError, CellErrorKind, Message, said_below};
use super::compiler;
use super::features::Features;
use super::front::{Event, Front, Nobody, Question};
use super::home::program;
use super::magics::{Typed, typed};
use super::marks::{FAILED, INPUT, PANICKED, Stream};
use super::media::Media;
use super::output::Piece;
use super::slot::Slot;
use super::steering::{Interrupter, LAST_FENCE, Steering, read_pieces};
use super::template::prelude_dependency;
use super::{child, prelude_lines};

enum Request {
    Execute(String, usize),
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
    /// How far a build is of crates that a cell adds.
    build_events: Receiver<Event>,
    steering: Arc<Steering>,
    places: Arc<Mutex<Places>>,
    fences: u64,
    /// What the prelude was built with.
    features: Features,
    has_rehearsed: bool,
}

impl Session {
    /// Starts evcxr in this slot, which must be filled. The process must have called [`prepare_process`] first.
    pub fn start(slot: &Slot) -> Result<Self> {
        let program = program()?;
        let secret = uuid::Uuid::new_v4().simple().to_string();
        let (command, pipes) = child::command(&program, &slot.prelude(), &secret).context("could not make pipes")?;
        let steering = Arc::new(Steering::new(pipes.writers, secret));
        // Before evcxr starts: it may run a cell of its own to see which linker works. Few may wait, so that a cell that prints without
        // end waits itself.
        let (piece, pieces) = bounded(256);
        read_pieces(pipes.stdout, Stream::Stdout, piece.clone(), Arc::clone(&steering));
        read_pieces(pipes.stderr, Stream::Stderr, piece, Arc::clone(&steering));
        let (requests, taken_requests) = unbounded();
        let (reply, replies) = unbounded();
        let (answers, taken_answers) = unbounded::<String>();
        let (started, start) = bounded(1);
        let builds = unbounded();
        let build_events: Receiver<Event> = builds.1;
        let evcxr = std::thread::spawn(move || {
            let mut context = match EvalContext::with_subprocess_command(command) {
                // evcxr's own channels of output stay empty: the cells' goes by our pipes.
                Ok((context, _)) => CommandContext::with_eval_context(context),
                Err(error) => {
                    let _ = started.send(Err(anyhow!("evcxr did not start: {error}")));
                    return;
                }
            };
            let build = builds.0;
            context.on_build(Arc::new(move |package, done, total| {
                let what = format!("compiling the crates of `:dep` lines: {package}");
                let _ = build.send(Event::Progress { what, done, total });
            }));
            if started.send(Ok((context.process_handle(), context.places()))).is_err() {
                return;
            }
            for request in taken_requests {
                // rust-analyzer panics on some half-written code; that is no reason to lose the session.
                let result = match request {
                    Request::Execute(code, cell) => {
                        context.set_cell(cell);
                        let input_reader = &|_| taken_answers.recv().unwrap_or_default();
                        let callbacks = &mut EvalCallbacks { input_reader };
                        let result = caught(|| context.execute_with_callbacks(&code, callbacks));
                        Reply::Executed(result.unwrap_or_else(|panic| Err(evcxr::Error::Message(panic))))
                    }
                    Request::Complete(code, position) => {
                        let result = caught(|| context.completions(&code, position));
                        Reply::Completed(result.unwrap_or_else(|panic| Err(anyhow!(panic))))
                    }
                    Request::Inspect(code, position) => {
                        let result = caught(|| context.hover_at(&code, position));
                        Reply::Inspected(result.unwrap_or_else(|panic| Err(anyhow!(panic))))
                    }
                };
                if reply.send(result).is_err() {
                    return;
                }
            }
        });
        let (process, places) = start.recv().context("the session ended before it started")??;
        steering.set_process(process);
        Ok(Self {
            requests: Some(requests),
            evcxr: Some(evcxr),
            replies,
            pieces,
            answers,
            build_events,
            steering,
            places,
            fences: 0,
            features: slot.features().clone(),
            has_rehearsed: false,
        })
    }

    /// Brings everything to where a notebook's first cell needs it, so that the cell has nothing to wait for: the prelude is a
    /// dependency and rust-analyzer knows it. No name is defined.
    pub fn preload(&mut self) -> Result<()> {
        let dependency = prelude_dependency(&self.features)?;
        for code in [
            // From here on every version is the lock file's, and nothing is asked of the network.
            format!(":offline 1\n:dep {dependency}\nlet quantlens_warm = vec![quantlens_prelude::Scheme::asymmetric(8)];"),
            // Moved out, so that it is no variable of the notebook's.
            "drop(quantlens_warm);".to_owned(),
        ] {
            self.execute(&code, 0, &mut Nobody)?
                .map_err(|error| anyhow!("the prelude could not be loaded:\n{}", error.details))?;
        }
        Ok(())
    }

    /// Whether [`Session::rehearse`] was called.
    pub fn has_rehearsed(&self) -> bool {
        self.has_rehearsed
    }

    /// Lets rust-analyzer see, once, what most notebooks do first. It learns a trait and who implements it when a method of it is first
    /// called, which takes up to a second: of a first `df!`, a first `clone()`.
    pub fn rehearse(&mut self) {
        self.has_rehearsed = true;
        // Nothing depends on it: what fails here is asked again by the cell that needs it.
        let _ = self.complete(REHEARSED, REHEARSED.len());
    }

    /// Runs a cell, handing over what it does as it does it. Messages name the cell by this number.
    pub fn execute(&mut self, code: &str, number: usize, front: &mut dyn Front) -> Result<Result<(), CellError>> {
        self.begin_cell();
        self.execute_begun(code, number, front)
    }

    /// From here on an interrupt is of the cell that comes next: who tells others that it begins, begins it first.
    /// [`Session::execute_begun`] or [`Session::end_cell`] follows.
    pub fn begin_cell(&self) {
        self.steering.begin_cell();
    }

    /// Runs the cell that was begun.
    pub fn execute_begun(&mut self, code: &str, number: usize, front: &mut dyn Front) -> Result<Result<(), CellError>> {
        let result = self.run_typed(code, number, front);
        self.end_cell();
        result
    }

    /// Between cells an interrupt does nothing.
    pub fn end_cell(&self) {
        self.steering.end_cell();
    }

    fn run_typed(&mut self, code: &str, number: usize, front: &mut dyn Front) -> Result<Result<(), CellError>> {
        let (code, is_timed) = match typed(code) {
            Typed::Code { code, is_timed } => (code, is_timed),
            Typed::Shown(media) => {
                front.show(Event::Display(media));
                return Ok(Ok(()));
            }
            Typed::Question(name) => return Ok(self.explain(&name, front)),
            Typed::Refused(said) => return Ok(Err(CellError::new(CellErrorKind::Compile, &said))),
        };
        let start = Instant::now();
        let result = self.run(&code, number, front);
        if is_timed {
            front.show(Event::Note(format!("{:.2?}, compilation included", start.elapsed())));
        }
        result
    }

    /// What the documentation says of a name.
    fn explain(&mut self, name: &str, front: &mut dyn Front) -> Result<(), CellError> {
        match self.inspect(name, name.len()) {
            Ok(Some((text, html))) => {
                front.show(Event::Display(Media::from([("text/plain".to_owned(), text), ("text/html".to_owned(), html)])));
                Ok(())
            }
            Ok(None) => Err(CellError::new(CellErrorKind::Compile, &format!("nothing is known of `{name}`"))),
            Err(error) => Err(CellError::new(CellErrorKind::Compile, &format!("{error:#}"))),
        }
    }

    fn run(&mut self, code: &str, number: usize, front: &mut dyn Front) -> Result<Result<(), CellError>> {
        self.request(Request::Execute(prelude_lines::replaced(code, &self.features)?, number))?;
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
                recv(self.build_events) -> event => if let Ok(event) = event {
                    front.show(event);
                },
                default(QUIET) => front.show(Event::Quiet),
            }
        };
        // What it wrote may still be on its way: marks written behind it say when all is here. They are written beside this thread,
        // which must read meanwhile: the pipes may be full.
        self.fences += 1;
        let (steering, fence) = (Arc::clone(&self.steering), self.fences);
        std::thread::spawn(move || steering.write_fences(fence));
        let mut awaited = 2;
        while awaited > 0 {
            match self.pieces.recv_timeout(FENCE_TIMEOUT) {
                Ok((_, Piece::Fence(fence))) => awaited -= usize::from(fence == self.fences),
                Ok((stream, piece)) => self.take_piece(stream, piece, &mut cell, front),
                Err(_) => break,
            }
        }
        let is_interrupted = self.steering.is_interrupted();
        let is_end = reply.is_ok() && !matches!(cell.outcome, Outcome::Ran);
        let message = if is_end { cell.last_message.take() } else { None }.unwrap_or_default();
        let message = Message::of(&message, &self.places(), number, code);
        self.show_message(&mut cell, front);
        let error = match reply {
            Ok(outputs) => {
                // What `:commands` answer.
                cell.value.extend(outputs.content_by_mime_type);
                cell.value.retain(|media_type, content| media_type != "text/plain" || !content.is_empty());
                if !cell.value.is_empty() {
                    front.show(Event::Value(std::mem::take(&mut cell.value)));
                }
                let timing = outputs.timing.map(|time| timed(time, &outputs.phases));
                let said = said_below(&outputs.warnings, &outputs.notes, code, &self.features).into_iter().chain(timing);
                for note in said {
                    front.show(Event::Note(note));
                }
                match cell.outcome {
                    Outcome::Ran => None,
                    Outcome::Panicked => Some(message.error(CellErrorKind::Panic, &self.features)),
                    Outcome::Failed => Some(message.error(CellErrorKind::Failed, &self.features)),
                    Outcome::Left { taken, bound } => Some(CellError::left_behind(&taken, &bound)),
                }
            }
            Err(evcxr::Error::CompilationErrors(errors)) => Some(CellError::of_compiler(&errors, code, &self.features)),
            Err(evcxr::Error::SubprocessTerminated(_)) if is_interrupted => {
                let said = "the cell did not stop, so its process was ended: the variables are lost";
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
            None if self.steering.has_lost_children() => {
                Err(CellError::new(CellErrorKind::Failed, "what the cell had started was ended").interrupted())
            }
            None => Ok(()),
            Some(error) if is_interrupted => Err(error.interrupted()),
            Some(error) => Err(error),
        })
    }

    fn take_piece(&mut self, stream: Stream, piece: Piece, cell: &mut Cell, front: &mut dyn Front) {
        match piece {
            Piece::Text(text) => front.show(Event::Printed(stream, text)),
            Piece::Error(message) => {
                self.show_message(cell, front);
                cell.last_message = Some(message);
            }
            Piece::Debugged(message) => {
                let text = Message::of(&message, &self.places(), 0, "").debugged();
                front.show(Event::Printed(Stream::Stderr, text));
            }
            Piece::Display(bundle) => front.show(Event::Display(bundle.into_iter().collect())),
            Piece::Value(bundle) => cell.value.extend(bundle),
            Piece::Progress { what, done, total } => front.show(Event::Progress { what, done, total }),
            Piece::ProgressEnd => front.show(Event::ProgressEnd),
            Piece::Failed => cell.outcome = Outcome::Failed,
            Piece::ForEvcxr(line) if line.starts_with(PANICKED) => cell.outcome = Outcome::Panicked,
            Piece::ForEvcxr(line) if line.starts_with(FAILED) => cell.outcome = Outcome::Failed,
            Piece::ForEvcxr(line) if line.starts_with(INPUT) => {
                let question = Question::of_line(&line);
                let _ = self.answers.send(question.answer(front.ask(&question)));
            }
            Piece::Left { taken, bound, .. } => cell.outcome = Outcome::Left { taken, bound },
            Piece::ForEvcxr(_) | Piece::Hello(_) | Piece::Started | Piece::Complete | Piece::Fence(_) => {}
        }
    }

    fn places(&self) -> std::sync::MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last message was not of the cell's end: somebody caught it.
    fn show_message(&self, cell: &mut Cell, front: &mut dyn Front) {
        if let Some(message) = cell.last_message.take() {
            let message = Message::of(&message, &self.places(), 0, "");
            front.show(Event::Printed(Stream::Stderr, message.in_stream()));
        }
    }

    /// What comes between the cells: a thread of an earlier one may print.
    pub fn pieces(&self) -> Receiver<(Stream, Piece)> {
        self.pieces.clone()
    }

    /// Shows such a piece; what it says of a cell is of none.
    pub fn show_between(&mut self, stream: Stream, piece: Piece, front: &mut dyn Front) {
        let mut cell = Cell::default();
        self.take_piece(stream, piece, &mut cell, front);
        self.show_message(&mut cell, front);
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
        Interrupter(Arc::clone(&self.steering))
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
        self.steering.write_fences(LAST_FENCE);
    }
}

const REHEARSED: &str = r#"use quantlens_prelude::*;
let numbers: Vec<f64> = vec![1.0].clone();
let doubled = numbers.iter().map(|x| x * 2.0).collect::<Vec<_>>();
assert_eq!(doubled, [2.0]);
let x = Tensor::from_vec("x", numbers)?;
report(&[x.clone()], &[Scheme::asymmetric(8)])?.select(["mse"])?;
df!["a" => [1.0]]?.evcxr_display"#;
const QUIET: Duration = Duration::from_millis(50);
const FENCE_TIMEOUT: Duration = Duration::from_secs(5);

/// What the work gives, or the message of its panic.
fn caught<R>(work: impl FnOnce() -> R) -> Result<R, String> {
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

#[derive(Default)]
enum Outcome {
    #[default]
    Ran,
    Panicked,
    Failed,
    /// It did not stop, and went away with variables: names, commas between.
    Left {
        taken: String,
        bound: String,
    },
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
        compiler::wrap_all()?;
    }
    Ok(())
}

/// What a cell's time went into.
fn timed(whole: Duration, phases: &[PhaseDetails]) -> String {
    let phases = phases.iter().map(|phase| format!("{} {:.2?}", phase.name.to_lowercase(), phase.duration)).collect::<Vec<_>>();
    format!("{whole:.2?}{}{}", if phases.is_empty() { "" } else { ": " }, phases.join(", "))
}
