//! The process that runs the cells. evcxr starts this program again for it, loads one library per cell into it, and talks to it over
//! its standard input and output. Here the cells' own output goes to pipes of the session, apart from that talk, so that text without
//! a newline, a display in the middle of a cell and the order of it all come through.
//!
//! Of evcxr's talk the cells' output has a part: what its generated code prints. The session reads it there and says it again into a
//! third pipe, from which a thread here passes it on to evcxr, in its turn.

use std::convert::Infallible;
use std::ffi::c_void;
use std::fs::File;
use std::io::{self, BufRead, BufReader, PipeReader, PipeWriter, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use anyhow::{Context, Result, bail};
use crossbeam_channel::{Receiver, Sender, bounded, select};
use libloading::Library;
use libloading::os::unix::{self, RTLD_GLOBAL, RTLD_LAZY, RTLD_LOCAL};
use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_getfd, fcntl_setfd};

use super::cell_thread::{self, Cell, CellThread, Store};
use super::marks::{HELLO, INTERRUPT, LEAVE, PANICKED, RESUME, control_mark};
use super::{compiler, standard_input};

/// The numbers of the inherited pipes, which are the cells' output, their errors, and what is said to evcxr; then the session's secret.
const PIPES_VARIABLE: &str = "QUANTLENS_CELL_PIPES";
/// The prelude, loaded before any cell.
const PRELUDE_VARIABLE: &str = "QUANTLENS_PRELUDE";
/// Read by the prelude: its displays come as the session's marks.
const SESSION_VARIABLE: &str = "QUANTLENS_SESSION";
/// Set by a test: the prelude shall speak as it does under evcxr's own kernel.
const STOCK_VARIABLE: &str = "QUANTLENS_TEST_STOCK_DISPLAY";
/// Set by evcxr for the process it starts.
const RUNTIME_VARIABLE: &str = "EVCXR_IS_RUNTIME";

/// The session's ends of the pipes. They live as long as the session: a process that replaces one that died gets the same.
pub struct Pipes {
    pub stdout: PipeReader,
    pub stderr: PipeReader,
    pub writers: Writers,
}

/// The ends to write to: the session's own marks behind what the cells wrote, and lines for evcxr.
pub struct Writers {
    pub stdout: PipeWriter,
    pub stderr: PipeWriter,
    pub for_evcxr: PipeWriter,
}

/// The command that evcxr shall start, and the pipes that lead to it.
pub fn command(program: &Path, prelude: &Path, secret: &str) -> Result<(Command, Pipes)> {
    let (stdout, cells_stdout) = io::pipe()?;
    let (stderr, cells_stderr) = io::pipe()?;
    let (cells_feed, for_evcxr) = io::pipe()?;
    let writers = Writers { stdout: cells_stdout.try_clone()?, stderr: cells_stderr.try_clone()?, for_evcxr };
    let inherited = [OwnedFd::from(cells_stdout), OwnedFd::from(cells_stderr), OwnedFd::from(cells_feed)];
    let [stdout_number, stderr_number, feed_number] = inherited.each_ref().map(|fd| fd.as_raw_fd());
    let mut command = Command::new(program);
    command.env(PIPES_VARIABLE, format!("{stdout_number},{stderr_number},{feed_number},{secret}")).env(PRELUDE_VARIABLE, prelude);
    // SAFETY: only system calls without memory allocation, as is required between fork and exec.
    unsafe {
        command.pre_exec(move || {
            for fd in &inherited {
                fcntl_setfd(fd, FdFlags::empty())?;
            }
            Ok(())
        });
    }
    Ok((command, Pipes { stdout, stderr, writers }))
}

/// Never returns in a process that [`command`] started. Call it first in `main`, before there are threads.
pub fn run_if_child() {
    let Ok(numbers) = std::env::var(PIPES_VARIABLE) else { return };
    let prelude = std::env::var_os(PRELUDE_VARIABLE).map(PathBuf::from);
    // SAFETY: no other thread exists to read the environment. What a cell starts shall see nothing of where we build.
    unsafe {
        let own = [PIPES_VARIABLE, PRELUDE_VARIABLE, STOCK_VARIABLE, "CARGO", "EVCXR_TMPDIR", "EVCXR_CONFIG_DIR"];
        let is_stock = std::env::var_os(STOCK_VARIABLE).is_some();
        for name in own.into_iter().chain(compiler::VARIABLES) {
            std::env::remove_var(name);
        }
        if !is_stock {
            std::env::set_var(SESSION_VARIABLE, "1");
        }
        // One message, no backtrace through code that is not theirs; evcxr asks for one.
        std::env::set_var("RUST_BACKTRACE", "0");
    }
    let (numbers, secret) = numbers.rsplit_once(',').unwrap_or((&numbers, ""));
    let error = match connect(numbers) {
        Ok(_) if std::env::var_os(RUNTIME_VARIABLE).is_none() => anyhow::anyhow!("{PIPES_VARIABLE} is set, but evcxr did not"),
        Ok((commands, leave)) => match run_cells(commands, &leave, prelude.as_deref(), secret) {
            Ok(never) => match never {},
            Err(error) => error,
        },
        Err(error) => error,
    };
    eprintln!("the cells' process: {error:#}");
    std::process::exit(99);
}

/// Puts the session's pipes where the cells print, and starts the thread that passes lines on to evcxr. Gives the pipe by which evcxr
/// says what is to run, and where it is said that the cell is to be left behind.
fn connect(numbers: &str) -> Result<(BufReader<PipeReader>, Receiver<()>)> {
    let numbers: Vec<RawFd> = numbers.split(',').filter_map(|number| number.parse().ok()).collect();
    let [stdout, stderr, feed] = numbers[..] else { bail!("{PIPES_VARIABLE} does not name three pipes") };
    let take = |number: RawFd| -> Result<OwnedFd> {
        // SAFETY: whether the number is an open file is what this asks; nothing else in this process owns it yet.
        let fd = unsafe { OwnedFd::from_raw_fd(number) };
        let flags = fcntl_getfd(&fd).context("a pipe of the session is not open")?;
        fcntl_setfd(&fd, flags | FdFlags::CLOEXEC)?;
        Ok(fd)
    };
    let (stdout, stderr, feed) = (take(stdout)?, take(stderr)?, take(feed)?);
    let mut evcxr = io::PipeWriter::from(fcntl_dupfd_cloexec(io::stdout().as_fd(), 3)?);
    // What a cell starts finds the end of its standard input, not evcxr's next command. The cell itself asks.
    let commands = BufReader::new(PipeReader::from(fcntl_dupfd_cloexec(io::stdin().as_fd(), 3)?));
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    rustix::stdio::dup2_stdout(&stdout)?;
    rustix::stdio::dup2_stderr(&stderr)?;
    let (say_leave, leave) = bounded(1);
    std::thread::spawn(move || {
        let hello = format!("{HELLO} {}", std::process::id());
        let mut is_for_us = false;
        for line in BufReader::new(PipeReader::from(feed)).lines() {
            let Ok(line) = line else { break };
            is_for_us |= line == hello;
            let is_interrupt = line == INTERRUPT;
            if !is_for_us || line == hello {
                continue;
            }
            if line == LEAVE {
                say_to_leave(&say_leave);
            } else if is_interrupt || line == RESUME {
                IS_STOPPED.store(is_interrupt, Ordering::SeqCst);
                if let Some(prelude) = PRELUDE.get() {
                    prelude.call(if is_interrupt { "quantlens_interrupt" } else { "quantlens_resume" });
                }
            } else if evcxr.write_all(format!("{line}\n").as_bytes()).is_err() {
                break;
            }
        }
        // The session is gone, and with it the reason to run.
        std::process::exit(0);
    });
    Ok((commands, leave))
}

/// Unless another cell has begun.
fn say_to_leave(leave: &Sender<()>) {
    if IS_STOPPED.load(Ordering::SeqCst) {
        let _ = leave.try_send(());
    }
}

/// Whether the cell that comes, or runs, is to stop.
static IS_STOPPED: AtomicBool = AtomicBool::new(false);
static PRELUDE: OnceLock<Prelude> = OnceLock::new();

/// The prelude's library, kept loaded, and what the runtime calls in it.
struct Prelude {
    library: Library,
}

impl Prelude {
    fn load(path: &Path) -> Result<Self, libloading::Error> {
        // SAFETY: it is the library that cargo built from this workspace, and its initialisers are Rust's.
        unsafe { Library::new(path) }.map(|library| Self { library })
    }

    fn call(&self, name: &str) {
        // SAFETY: every function called so is `extern "C" fn()`, in notebooks/prelude/src/session.rs.
        if let Ok(function) = unsafe { self.library.get::<extern "C" fn()>(name) } {
            function();
        }
    }

    /// While a cell runs, what comes by evcxr's pipe are the answers to what it asks, a line each.
    fn take_answers_from(&self, pipe: &PipeReader) {
        // SAFETY: its signature, in notebooks/prelude/src/session.rs.
        if let Ok(function) = unsafe { self.library.get::<extern "C" fn(RawFd)>("quantlens_take_answers_from") } {
            function(pipe.as_raw_fd());
        }
    }

    /// Cells that read their standard input ask for it.
    fn give_input(&self) {
        // SAFETY: its signature, in notebooks/prelude/src/session.rs.
        if let Ok(function) = unsafe { self.library.get::<standard_input::Give>("quantlens_read_input") } {
            standard_input::give_by(*function);
        }
    }

    /// Gives the store without what the cell holds that runs, and what there is to say of it.
    fn leave_behind(&self) -> Option<(Store, String)> {
        static TEXTS: Mutex<String> = Mutex::new(String::new());
        extern "C" fn take(text: *const u8, length: usize) {
            // SAFETY: the prelude hands over a text of this length.
            let text = unsafe { std::slice::from_raw_parts(text, length) };
            *TEXTS.lock().unwrap_or_else(PoisonError::into_inner) = String::from_utf8_lossy(text).into_owned();
        }
        type Leave = extern "C" fn(extern "C" fn(*const u8, usize)) -> *mut c_void;
        // SAFETY: its signature, in notebooks/prelude/src/variables.rs.
        let leave = unsafe { self.library.get::<Leave>("quantlens_leave_behind") }.ok()?;
        let store = Store(leave(take));
        Some((store, std::mem::take(&mut *TEXTS.lock().unwrap_or_else(PoisonError::into_inner))))
    }
}

/// evcxr's own loop (its `runtime.rs`), which for each line `LOAD_AND_RUN library function` calls the function. It returns only an error.
fn run_cells(
    mut commands: BufReader<PipeReader>,
    leave: &Receiver<()>,
    prelude: Option<&Path>,
    secret: &str,
) -> Result<Infallible> {
    if let Some(path) = prelude {
        let prelude = Prelude::load(path).with_context(|| format!("could not load {}", path.display()))?;
        prelude.call("quantlens_prepare");
        prelude.take_answers_from(commands.get_ref());
        prelude.give_input();
        let _ = PRELUDE.set(prelude);
    }
    let say = |words: &str| -> Result<()> {
        let mark = control_mark(secret, words);
        // Past every buffer, in one piece.
        io::PipeWriter::from(io::stdout().as_fd().try_clone_to_owned()?).write_all(mark.as_bytes())?;
        Ok(())
    };
    say(&format!("hello {}", std::process::id()))?;
    cell_thread::prepare();
    let mut thread = CellThread::start()?;
    let mut variables = Store(std::ptr::null_mut());
    let mut line = String::new();
    while commands.read_line(&mut line)? > 0 {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (library, function, is_global) = match words[..] {
            ["LOAD_AND_RUN", library, function] => (library, function, false),
            ["LOAD_AND_RUN", library, function, "global"] => (library, function, true),
            _ => bail!("evcxr said {line:?}, which is no cell to run"),
        };
        let _ = leave.try_recv();
        say("started")?;
        if IS_STOPPED.load(Ordering::SeqCst) {
            // For evcxr it is as if the cell had panicked at once: what it would have defined is not there.
            println!("{PANICKED}");
            flush();
        } else {
            // SAFETY: evcxr has compiled both from the cell, with this signature.
            let cell = unsafe {
                // Later cells find there what this one has for all of them.
                let scope = if is_global { RTLD_GLOBAL } else { RTLD_LOCAL };
                let library = Library::from(unix::Library::open(Some(library), RTLD_LAZY | scope)?);
                let cell = *library.get::<Cell>(function)?;
                // Never unloaded: a thread or a destructor of the cell may run on.
                std::mem::forget(library);
                cell
            };
            standard_input::set_running(true);
            thread.run(cell, variables);
            variables = loop {
                select! {
                    recv(thread.ended) -> store => break store.context("the cells' thread has ended")?,
                    recv(leave) -> _ => {
                        let Some((store, texts)) = PRELUDE.get().and_then(Prelude::leave_behind) else { continue };
                        std::mem::replace(&mut thread, CellThread::start()?).hold(cell_thread::code_of(library));
                        say(&format!("left {texts}"))?;
                        break store;
                    }
                }
            };
            standard_input::set_running(false);
            flush();
        }
        say("complete")?;
        line.clear();
    }
    // evcxr has closed its end.
    std::process::exit(0);
}

/// What a cell has printed without a newline is still in the prelude's std.
fn flush() {
    if let Some(prelude) = PRELUDE.get() {
        prelude.call("quantlens_flush");
    }
}
