//! The variables between the cells, and what becomes of them when a cell does not stop.
//!
//! A cell runs on a thread of its own. If an interrupt does not end it, the session leaves the thread behind and goes on on another,
//! with the variables that the cell had not taken from the store. That is sound for those whose type is [`Send`], whatever the old thread
//! holds and wherever it stands: another thread may have them at any time. What is not `Send` stays with the old thread and is lost.
//! The old thread goes no further than its statement: it waits for ever where it next begins one or asks for the store.
//!
//! What is generic is compiled with every cell, once for each type, and a cell waits for that more than for anything else. So the generic
//! methods are a line or two, and the others do the work.

use std::any::{Any, TypeId, type_name};
use std::cell::RefCell;
use std::marker::PhantomData;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::session;

/// Before the name of a variable whose type is defined anew.
const CHANGED_TYPE: &str = "EVCXR_VARIABLE_CHANGED_TYPE:";
/// Before the variables that a cell has stored, with their types; then an empty word, and the names of all that are in the store now. A tab
/// before each word.
const STORED: &str = "EVCXR_STORED:";

struct Variable {
    name: String,
    value: Box<dyn Any>,
    is_send: bool,
}

/// What a store holds.
#[derive(Default)]
struct Variables {
    all: Vec<Variable>,
    /// What the cell that runs has stored for the first time, and the type of each.
    stored: Vec<(&'static str, &'static str)>,
    /// What it has taken, and whether that is `Send`.
    taken: Vec<(String, bool)>,
}

// SAFETY: variables that are not `Send` are touched only by the thread of the cells that made them. `leave_behind`, which is called
// by another, takes only the others out, and the thread that is left behind touches nothing any more.
unsafe impl Send for Variables {}

impl Variables {
    fn position(&self, name: &str) -> Option<usize> {
        self.all.iter().position(|variable| variable.name == name)
    }

    /// Gives what had the name before.
    fn put(&mut self, name: &str, value: Box<dyn Any>, is_send: bool) -> Option<Box<dyn Any>> {
        match self.position(name) {
            Some(index) => {
                let variable = &mut self.all[index];
                variable.is_send = is_send;
                Some(mem::replace(&mut variable.value, value))
            }
            None => {
                self.all.push(Variable { name: name.to_owned(), value, is_send });
                None
            }
        }
    }

    fn stored_line(&mut self) -> String {
        let mut line = String::from(STORED);
        for (name, type_name) in self.stored.drain(..) {
            line += &format!("\t{name}\t{type_name}");
        }
        line.push('\t');
        for variable in &self.all {
            line += &format!("\t{}", variable.name);
        }
        self.taken.clear();
        line
    }
}

/// A store that is there for one thread, until that is left behind.
#[derive(Default)]
struct Shared {
    variables: Mutex<Variables>,
    is_left_behind: AtomicBool,
}

impl Shared {
    /// Waits for ever if the cell was left behind.
    fn variables(&self) -> MutexGuard<'_, Variables> {
        let variables = self.variables.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_left_behind.load(Ordering::Acquire) {
            drop(variables);
            wait_for_ever();
        }
        variables
    }
}

/// The store of the cell that runs, or ran last.
static CURRENT: Mutex<Option<Arc<Shared>>> = Mutex::new(None);

thread_local! {
    /// The store of this thread's cells.
    static OWN: RefCell<Option<Arc<Shared>>> = const { RefCell::new(None) };
}

pub(crate) fn wait_for_ever() -> ! {
    loop {
        std::thread::park();
    }
}

/// Whether this thread is of a cell that the session has left behind.
pub(crate) fn is_left_behind() -> bool {
    OWN.with_borrow(|own| own.as_ref().is_some_and(|own| own.is_left_behind.load(Ordering::Acquire)))
}

/// Where a cell's thread would begin something: it does not, if the session has left it behind.
pub fn stop_if_left_behind() {
    if is_left_behind() {
        wait_for_ever();
    }
}

/// Leaves the cell behind that runs: its thread keeps what it has taken, and what is not `Send`. Gives the store for the thread that
/// goes on. Hands over three texts, a space between: the names of what the cell had taken, those of what is bound to its thread, commas
/// between, and what a cell's end says to evcxr.
#[unsafe(no_mangle)]
extern "C" fn quantlens_leave_behind(take_texts: extern "C" fn(*const u8, usize)) -> *mut VariableStore {
    let left = CURRENT.lock().unwrap_or_else(PoisonError::into_inner).take();
    let (mut kept, mut taken, mut bound) = (Variables::default(), Vec::new(), Vec::new());
    if let Some(left) = left {
        let mut variables = left.variables.lock().unwrap_or_else(PoisonError::into_inner);
        session::between_marks(|| left.is_left_behind.store(true, Ordering::Release));
        let (send, others) = mem::take(&mut variables.all).into_iter().partition(|variable| variable.is_send);
        kept.all = send;
        variables.all = others;
        bound.extend(variables.all.iter().map(|variable| variable.name.clone()));
        kept.stored = mem::take(&mut variables.stored);
        kept.stored.retain(|(name, _)| !bound.iter().any(|bound| bound == name));
        taken.extend(mem::take(&mut variables.taken).into_iter().map(|(name, _)| name));
        drop(variables);
        // Dropped here, what is bound to its thread would be dropped by another.
        mem::forget(left);
    }
    let texts = format!("{} {} {}", taken.join(","), bound.join(","), kept.stored_line());
    take_texts(texts.as_ptr(), texts.len());
    let shared = Arc::new(Shared { variables: Mutex::new(kept), ..Shared::default() });
    Box::into_raw(Box::new(VariableStore { shared }))
}

/// The variables between the cells, as a cell has them.
#[derive(Default)]
pub struct VariableStore {
    shared: Arc<Shared>,
}

impl VariableStore {
    /// As the cells' process hands it from cell to cell; null before the first.
    ///
    /// # Safety
    /// It is null or what an earlier call gave, and no other thread has it.
    pub unsafe fn of<'a>(store: *mut VariableStore) -> &'a mut VariableStore {
        let store = if store.is_null() { Box::into_raw(Box::default()) } else { store };
        // SAFETY: it came from a box that was never freed, and one cell has it at a time: one that is left behind has another.
        let store = unsafe { &mut *store };
        OWN.set(Some(Arc::clone(&store.shared)));
        *CURRENT.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&store.shared));
        store
    }

    fn check(&mut self, name: &str, type_id: TypeId) -> bool {
        let variables = self.shared.variables();
        let is_same = variables.position(name).is_none_or(|index| (*variables.all[index].value).type_id() == type_id);
        drop(variables);
        if !is_same {
            eprintln!("the type of the variable `{name}` was defined anew, so the variable is lost");
            println!("{CHANGED_TYPE}{name}");
        }
        is_same
    }

    fn store(&mut self, name: &'static str, type_name: &'static str, value: Box<dyn Any>) {
        let mut variables = self.shared.variables();
        // No later cell could name the type of a closure.
        let replaced = if type_name.contains("{{closure}}") { Some(value) } else { variables.put(name, value, false) };
        variables.stored.push((name, type_name));
        drop(variables);
        // Its own code runs, which may take its time.
        drop(replaced);
    }

    /// A variable that the cell has defined. What it gives is asked whether the variable is `Send`.
    pub fn put_new<T: 'static>(&mut self, name: &'static str, value: T) -> Put<'_, T> {
        self.store(name, type_name::<T>(), Box::new(value));
        Put { store: self, name, of: PhantomData }
    }

    /// A variable that was taken from the store; but if the cell has stored another of that name, that one stays.
    pub fn put_back<T: 'static>(&mut self, name: &str, value: T) {
        self.back(name, Box::new(value));
    }

    fn back(&mut self, name: &str, value: Box<dyn Any>) {
        let mut variables = self.shared.variables();
        let taken = variables.taken.iter().position(|(taken, _)| taken == name);
        let is_send = taken.is_some_and(|index| variables.taken.swap_remove(index).1);
        let replaced = match variables.stored.iter().any(|(stored, _)| *stored == name) {
            true => Some(value),
            false => variables.put(name, value, is_send),
        };
        drop(variables);
        drop(replaced);
    }

    pub fn check_variable<T: 'static>(&mut self, name: &str) -> bool {
        self.check(name, TypeId::of::<T>())
    }

    pub fn take_variable<T: 'static>(&mut self, name: &str) -> T {
        let value = Box::into_raw(self.take(name, TypeId::of::<T>()));
        // SAFETY: it comes from a box, and `take` gives only what is of this type.
        *unsafe { Box::from_raw(value.cast::<T>()) }
    }

    fn take(&mut self, name: &str, type_id: TypeId) -> Box<dyn Any> {
        let mut variables = self.shared.variables();
        let Some(index) = variables.position(name) else {
            drop(variables);
            panic!("the variable `{name}` has gone missing");
        };
        if (*variables.all[index].value).type_id() != type_id {
            drop(variables);
            panic!("the variable `{name}` has another type");
        }
        let Variable { name, value, is_send } = variables.all.swap_remove(index);
        variables.taken.push((name, is_send));
        value
    }

    /// What lives as long as the session.
    pub fn lazy_arc<T: Send + Sync + 'static>(&mut self, name: &str, create: impl FnOnce() -> T) -> Arc<T> {
        let mut variables = self.shared.variables();
        if variables.position(name).is_none() {
            drop(variables);
            let created = Box::new(Arc::new(create()));
            variables = self.shared.variables();
            variables.put(name, created, true);
        }
        let value = variables.position(name).and_then(|index| variables.all[index].value.downcast_ref());
        match value {
            Some(value) => Arc::clone(value),
            None => panic!("`{name}` has another type"),
        }
    }

    fn note_send(&self, name: &str) {
        let mut variables = self.shared.variables();
        if let Some(index) = variables.position(name) {
            variables.all[index].is_send = true;
        }
    }

    pub fn forget(&mut self, name: &str) {
        let mut variables = self.shared.variables();
        let forgotten = variables.position(name).map(|index| variables.all.swap_remove(index));
        drop(variables);
        drop(forgotten);
    }

    pub fn end_cell(&mut self) {
        let line = self.shared.variables().stored_line();
        println!("{line}");
    }
}

/// A variable that was put into the store. Of its two methods the compiler takes the one of [`IsSend`], if the type has it.
pub struct Put<'a, T> {
    store: &'a mut VariableStore,
    name: &'static str,
    of: PhantomData<fn() -> T>,
}

pub trait IsSend {
    fn evcxr_note_send(&self);
}

impl<T: Send> IsSend for Put<'_, T> {
    fn evcxr_note_send(&self) {
        self.store.note_send(self.name);
    }
}

pub trait IsNotSend {
    fn evcxr_note_send(&self);
}

impl<T> IsNotSend for &Put<'_, T> {
    fn evcxr_note_send(&self) {}
}
