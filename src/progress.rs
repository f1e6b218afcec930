//! How far long work has come, and whether to go on: [`crate::report()`] and [`crate::sweep`] say it every few million values, a front end shows it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use crate::error::Error;

/// Where a piece of work stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress<'a> {
    /// Which piece of work: no other of this process has the same number.
    pub id: u64,
    /// What is being done, such as `report`.
    pub what: &'a str,
    /// Steps done, 0 to `total`.
    pub done: usize,
    /// Steps in all.
    pub total: usize,
    /// Whether the work is over: after its last step, or before it because of an error, an interrupt or a panic.
    pub is_over: bool,
}

/// What is told of progress. It is called from the thread that works, before the first step, after each, and when the work is over.
pub type Hook = fn(Progress);

static HOOK: RwLock<Option<Hook>> = RwLock::new(None);
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Sets who is told of progress, for the whole process; `None`, as at the start, tells nobody.
///
/// ```standalone_crate
/// use quantlens::{Scheme, Tensor, progress, report};
/// progress::set_hook(Some(|progress| println!("{}: {} of {}", progress.what, progress.done, progress.total)));
/// report(&Tensor::from_vec("x", vec![0.5, 1.0])?, &[Scheme::asymmetric(8)])?; // report: 0 of 2, 2 of 2, and 2 of 2: it is over
/// # progress::set_hook(None);
/// # Ok::<(), quantlens::Error>(())
/// ```
pub fn set_hook(hook: Option<Hook>) {
    *HOOK.write().unwrap_or_else(PoisonError::into_inner) = hook;
}

fn tell(progress: Progress) {
    let hook = *HOOK.read().unwrap_or_else(PoisonError::into_inner);
    if let Some(hook) = hook {
        hook(progress);
    }
}

/// Asks the work that is being done to stop: its next step returns [`Error::Interrupted`]. It stays asked until [`resume`].
/// It may be called from any thread and from a signal handler.
///
/// ```standalone_crate
/// use quantlens::{Scheme, Tensor, progress, report};
/// let x = Tensor::from_vec("x", vec![0.5, 1.0])?;
/// progress::interrupt();
/// let error = report(&x, &[Scheme::asymmetric(8)]).unwrap_err();
/// assert_eq!(error.to_string(), "the report was interrupted after 0 of 2 values");
/// progress::resume();
/// assert!(report(&x, &[Scheme::asymmetric(8)]).is_ok());
/// # Ok::<(), quantlens::Error>(())
/// ```
pub fn interrupt() {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

/// Lets work go on after [`interrupt`].
pub fn resume() {
    INTERRUPTED.store(false, Ordering::Relaxed);
}

/// Whether [`interrupt`] was called since the last [`resume`].
pub fn is_interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// A piece of work in steps, of which the hook hears: when it is made, after each step, and when it is dropped, done or not.
///
/// ```standalone_crate
/// use quantlens::progress::{self, Work};
/// progress::set_hook(Some(|progress| println!("{} of {}", progress.done, progress.total)));
/// let mut work = Work::new("pages", 2); // 0 of 2
/// work.done_one(); // 1 of 2
/// drop(work); // 1 of 2, and it is over
/// # progress::set_hook(None);
/// ```
#[derive(Debug)]
pub struct Work<'a> {
    progress: Progress<'a>,
    unit: &'static str,
}

impl<'a> Work<'a> {
    /// Work of this name that begins.
    pub fn new(what: &'a str, total: usize) -> Self {
        static IDS: AtomicU64 = AtomicU64::new(0);
        let progress = Progress { id: IDS.fetch_add(1, Ordering::Relaxed), what, done: 0, total, is_over: false };
        let work = Self { progress, unit: "rows" };
        tell(work.progress);
        work
    }

    /// Another step is done.
    pub fn done_one(&mut self) {
        self.advance(1);
    }

    /// So many more steps are done. Nobody is told of none.
    pub fn advance(&mut self, steps: usize) {
        if steps > 0 {
            self.progress.done = self.progress.done.saturating_add(steps).min(self.progress.total);
            tell(self.progress);
        }
    }

    /// Where it stands.
    pub fn progress(&self) -> Progress<'a> {
        self.progress
    }
}

impl Work<'static> {
    /// What its steps are, for messages.
    pub(crate) fn in_units(self, unit: &'static str) -> Self {
        let mut work = self;
        work.unit = unit;
        work
    }

    /// What interrupting it here says.
    pub(crate) fn interrupted(&self) -> Error {
        let Progress { what, done, total, .. } = self.progress;
        Error::Interrupted { what, done, total, unit: self.unit }
    }
}

impl Drop for Work<'_> {
    fn drop(&mut self) {
        self.progress.is_over = true;
        tell(self.progress);
    }
}
