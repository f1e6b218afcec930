//! What the code that is generated around a cell calls (`notebooks/lab/evcxr` of the workspace). It is compiled here once, where evcxr
//! compiles its like with every cell.
//!
//! Nothing of it is for a notebook's author.

use std::any::type_name;
use std::fmt::{Arguments, Debug, Display};
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::session;
pub use crate::showing::{ShowBorrowed, ShowText, Shown, show_text, shows};
pub use crate::variables::{IsNotSend, IsSend, VariableStore, stop_if_left_behind};

/// What a cell that panicked prints for evcxr.
const PANICKED: &str = "EVCXR_PANIC_NOTIFICATION";
/// What a cell prints for evcxr that met an error with `?`.
const FAILED: &str = "EVCXR_ERROR_OCCURRED";

/// Runs one statement of a cell. None if it panicked or met an error.
///
/// It is compiled with every statement, and a cell waits for that. So it has no more in it than it must: no trait object, whose table would
/// be compiled too.
pub fn step<T, E, S: FnOnce() -> Result<T, E>>(statement: S) -> Option<T> {
    /// # Safety
    /// It points to a `Step<T, S>` that was not run before, and nobody else has it.
    unsafe fn run<T, E, S: FnOnce() -> Result<T, E>>(step: *mut ()) {
        // SAFETY: as the caller promises.
        let step = unsafe { &mut *step.cast::<Step<T, S>>() };
        // SAFETY: it is taken once.
        let statement = unsafe { ManuallyDrop::take(&mut step.statement) };
        let value = statement().ok();
        // SAFETY: what is written over is `None`. An assignment would have the code to drop it.
        unsafe { (&raw mut step.value).write(value) };
    }
    let mut step = Step { statement: ManuallyDrop::new(statement), value: None };
    // SAFETY: `catch` calls what it is given once, with the pointer that it is given.
    unsafe { catch(run::<T, E, S>, (&raw mut step).cast()) };
    step.value
}

struct Step<T, S> {
    statement: ManuallyDrop<S>,
    value: Option<T>,
}

/// # Safety
/// `run` may be called with `step`, once.
unsafe fn catch(run: unsafe fn(*mut ()), step: *mut ()) {
    stop_if_left_behind();
    // SAFETY: as the caller promises.
    if catch_unwind(AssertUnwindSafe(|| unsafe { run(step) })).is_err() {
        println!("{PANICKED}");
    }
}

/// What a `?` of a cell makes of an error: the cell's end, and a message. It keeps nothing.
pub struct Failure;

impl<T: Display> From<T> for Failure {
    #[track_caller]
    fn from(error: T) -> Self {
        say_failure(format_args!("{error}"), Location::caller().line())
    }
}

/// The same for errors that are to be told by `{:?}`.
pub struct DebugFailure;

impl<T: Debug> From<T> for DebugFailure {
    #[track_caller]
    fn from(error: T) -> Self {
        say_failure(format_args!("{error:?}"), Location::caller().line());
        Self
    }
}

/// The same for errors that are to be told by `{:#?}`.
pub struct PrettyFailure;

impl<T: Debug> From<T> for PrettyFailure {
    #[track_caller]
    fn from(error: T) -> Self {
        say_failure(format_args!("{error:#?}"), Location::caller().line());
        Self
    }
}

/// The message, then the line of what was compiled, marked so that our session finds them on stderr.
fn say_failure(message: Arguments<'_>, line: u32) -> Failure {
    let text = format!("{message}\x1f\t{line}");
    eprintln!("\x1eerror {}\n{text}", text.len());
    println!("{FAILED}");
    Failure
}

/// What `dbg!` says, then the line of what was compiled, marked likewise.
pub fn say_debugged(text: &str, file: &str, line: u32) {
    if session::is_our_session() {
        let text = format!("{text}\x1f\t{line}");
        eprintln!("\x1edebug {}\n{text}", text.len());
    } else {
        eprintln!("[{file}:{line}] {text}");
    }
}

/// The standard library's `dbg!`, with the cell and its line where that has a file that nobody wrote. Cells have it as `dbg`; of that
/// name it would be ambiguous here.
#[doc(hidden)]
#[macro_export]
macro_rules! evcxr_dbg {
    () => { $crate::cells::say_debugged("", file!(), line!()) };
    ($value:expr $(,)?) => {
        // A `match`, so that temporaries of the expression live as long as what is made of it.
        match $value {
            value => {
                $crate::cells::say_debugged(&format!("{} = {:#?}", stringify!($value), &value), file!(), line!());
                value
            }
        }
    };
    ($($value:expr),+ $(,)?) => { ($($crate::evcxr_dbg!($value)),+,) };
}

/// Waits for a future that needs no runtime of its own.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = std::task::Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = std::task::Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            std::task::Poll::Ready(value) => return value,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}

/// Prints the type of what is shown, without the paths in it.
pub fn say_type<T: ?Sized>(_: &T) {
    let (mut short, mut word) = (String::new(), String::new());
    for c in type_name::<T>().chars() {
        if c.is_alphanumeric() || c == '_' {
            word.push(c);
        } else if c == ':' {
            word.clear();
        } else {
            short += &word;
            word.clear();
            short.push(c);
        }
    }
    println!(": {short}{word}");
}

/// How long the work takes: called for about a second, at least three times.
pub fn timeit<T>(mut work: impl FnMut() -> T) -> String {
    let start = Instant::now();
    let mut times = Vec::new();
    while times.len() < 3 || (start.elapsed() < Duration::from_secs(1) && times.len() < 100_000) {
        let start = Instant::now();
        std::hint::black_box(work());
        times.push(start.elapsed());
    }
    times.sort();
    let (least, median, most) = (times[0], times[times.len() / 2], times[times.len() - 1]);
    format!("{median:.2?} (median of {} runs, {least:.2?} to {most:.2?})", times.len())
}
