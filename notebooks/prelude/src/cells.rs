//! What the code that is generated around a cell calls (`notebooks/lab/evcxr` of the workspace). It is compiled here once, where evcxr
//! compiles its like with every cell.
//!
//! Nothing of it is for a notebook's author.

use std::any::{Any, TypeId, type_name};
use std::fmt::{Debug, Display};
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use crate::showing::{ShowBorrowed, ShowText, Shown, show_text};

/// What a cell that panicked prints for evcxr.
const PANICKED: &str = "EVCXR_PANIC_NOTIFICATION";
/// What a cell prints for evcxr that met an error with `?`.
const FAILED: &str = "EVCXR_ERROR_OCCURRED";
/// Before the name of a variable whose type is defined anew.
const CHANGED_TYPE: &str = "EVCXR_VARIABLE_CHANGED_TYPE:";
/// Before the variables that a cell has stored, with their types; then an empty word, and the names of all that are in the store now. A tab
/// before each word.
const STORED: &str = "EVCXR_STORED:";

/// The variables between the cells.
#[derive(Default)]
pub struct VariableStore {
    variables: Vec<(String, Box<dyn Any>)>,
    /// What the cell that runs has stored for the first time, and the type of each.
    stored: Vec<(&'static str, &'static str)>,
}

impl VariableStore {
    /// As the cells' process hands it from cell to cell; null before the first.
    ///
    /// # Safety
    /// It is null or what an earlier call gave.
    pub unsafe fn of<'a>(store: *mut VariableStore) -> &'a mut VariableStore {
        let store = if store.is_null() { Box::into_raw(Box::default()) } else { store };
        // SAFETY: it came from a box that was never freed, and one cell runs at a time.
        unsafe { &mut *store }
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.variables.iter().position(|(existing, _)| existing == name)
    }

    fn put(&mut self, name: &str, value: Box<dyn Any>) {
        match self.position(name) {
            Some(index) => self.variables[index].1 = value,
            None => self.variables.push((name.to_owned(), value)),
        }
    }

    fn take(&mut self, name: &str) -> Box<dyn Any> {
        match self.position(name) {
            Some(index) => self.variables.swap_remove(index).1,
            None => panic!("the variable `{name}` has gone missing"),
        }
    }

    fn check(&mut self, name: &str, type_id: TypeId) -> bool {
        if let Some(index) = self.position(name)
            && (*self.variables[index].1).type_id() != type_id
        {
            eprintln!("the type of the variable `{name}` was defined anew, so the variable is lost");
            println!("{CHANGED_TYPE}{name}");
            return false;
        }
        true
    }

    fn store(&mut self, name: &'static str, type_name: &'static str, value: Box<dyn Any>) {
        // No later cell could name the type of a closure.
        if !type_name.contains("{{closure}}") {
            self.put(name, value);
        }
        self.stored.push((name, type_name));
    }

    /// A variable that the cell has defined.
    pub fn put_new<T: 'static>(&mut self, name: &'static str, value: T) {
        self.store(name, type_name::<T>(), Box::new(value));
    }

    /// A variable that was taken from the store; but if the cell has stored another of that name, that one stays.
    pub fn put_back<T: 'static>(&mut self, name: &str, value: T) {
        if !self.stored.iter().any(|(stored, _)| *stored == name) {
            self.put(name, Box::new(value));
        }
    }

    pub fn check_variable<T: 'static>(&mut self, name: &str) -> bool {
        self.check(name, TypeId::of::<T>())
    }

    pub fn take_variable<T: 'static>(&mut self, name: &str) -> T {
        match self.take(name).downcast() {
            Ok(value) => *value,
            Err(_) => panic!("the variable `{name}` has another type"),
        }
    }

    /// What lives as long as the session.
    pub fn lazy_arc<T: 'static>(&mut self, name: &str, create: impl FnOnce() -> T) -> Arc<T> {
        if self.position(name).is_none() {
            self.put(name, Box::new(Arc::new(create())));
        }
        let value = self.position(name).and_then(|index| self.variables[index].1.downcast_ref());
        match value {
            Some(value) => Arc::clone(value),
            None => panic!("`{name}` has another type"),
        }
    }

    pub fn forget(&mut self, name: &str) {
        if let Some(index) = self.position(name) {
            self.variables.swap_remove(index);
        }
    }

    pub fn end_cell(&mut self) {
        let mut line = String::from(STORED);
        for (name, type_name) in self.stored.drain(..) {
            line += &format!("\t{name}\t{type_name}");
        }
        line.push('\t');
        for (name, _) in &self.variables {
            line += &format!("\t{name}");
        }
        println!("{line}");
    }
}

/// Runs one statement of a cell. None if it panicked or met an error.
pub fn step<T, E>(statement: impl FnOnce() -> Result<T, E>) -> Option<T> {
    let mut value = None;
    let mut statement = Some(statement);
    catch(&mut || {
        if let Some(statement) = statement.take() {
            value = statement().ok();
        }
    });
    value
}

fn catch(statement: &mut dyn FnMut()) {
    if catch_unwind(AssertUnwindSafe(statement)).is_err() {
        println!("{PANICKED}");
    }
}

/// What a `?` of a cell makes of an error: the cell's end, and a message. It keeps nothing.
pub struct Failure;

impl<T: Display> From<T> for Failure {
    #[track_caller]
    fn from(error: T) -> Self {
        say_failure(&error.to_string(), Location::caller().line())
    }
}

/// The same for errors that are to be told by `{:?}`.
pub struct DebugFailure;

impl<T: Debug> From<T> for DebugFailure {
    #[track_caller]
    fn from(error: T) -> Self {
        say_failure(&format!("{error:?}"), Location::caller().line());
        Self
    }
}

/// The same for errors that are to be told by `{:#?}`.
pub struct PrettyFailure;

impl<T: Debug> From<T> for PrettyFailure {
    #[track_caller]
    fn from(error: T) -> Self {
        say_failure(&format!("{error:#?}"), Location::caller().line());
        Self
    }
}

/// The message, then the line of what was compiled, marked so that our session finds them on stderr.
fn say_failure(message: &str, line: u32) -> Failure {
    let text = format!("{message}\x1f\t{line}");
    eprintln!("\x1eerror {}\n{text}", text.len());
    println!("{FAILED}");
    Failure
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
