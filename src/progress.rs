//! How far long work has come, and whether to go on: [`crate::report()`] and [`crate::sweep`] say it row by row, a front end shows it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};

use crate::error::{Error, Result};

/// Where a piece of work stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress<'a> {
    /// What is being done, such as `report`.
    pub what: &'a str,
    /// Steps done, 0 to `total`.
    pub done: usize,
    /// Steps in all.
    pub total: usize,
}

/// What is told of progress. It is called from the thread that works, before the first step and after each.
pub type Hook = fn(Progress);

static HOOK: RwLock<Option<Hook>> = RwLock::new(None);
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Sets who is told of progress, for the whole process; `None`, as at the start, tells nobody.
///
/// ```standalone_crate
/// use quantlens::{Scheme, Tensor, progress, report};
/// progress::set_hook(Some(|progress| println!("{}: {} of {}", progress.what, progress.done, progress.total)));
/// report(&[Tensor::from_vec("x", vec![0.5, 1.0])?], &[Scheme::asymmetric(8)])?; // report: 0 of 1, report: 1 of 1
/// # progress::set_hook(None);
/// # Ok::<(), quantlens::Error>(())
/// ```
pub fn set_hook(hook: Option<Hook>) {
    *HOOK.write().unwrap_or_else(PoisonError::into_inner) = hook;
}

/// Says how far a piece of work of one's own is.
pub fn tell(progress: Progress) {
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
/// let error = report(&[x.clone()], &[Scheme::asymmetric(8)]).unwrap_err();
/// assert_eq!(error.to_string(), "the report was interrupted after 0 of 1 rows");
/// progress::resume();
/// assert!(report(&[x], &[Scheme::asymmetric(8)]).is_ok());
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

/// Work in `total` steps.
pub(crate) struct Work {
    what: &'static str,
    done: usize,
    total: usize,
}

impl Work {
    pub(crate) fn new(what: &'static str, total: usize) -> Self {
        tell(Progress { what, done: 0, total });
        Self { what, done: 0, total }
    }

    /// Does one step, unless the work was interrupted.
    pub(crate) fn step<R>(&mut self, step: impl FnOnce() -> Result<R>) -> Result<R> {
        if is_interrupted() {
            return Err(Error::Interrupted { what: self.what, done: self.done, total: self.total });
        }
        let result = step()?;
        self.done += 1;
        tell(Progress { what: self.what, done: self.done, total: self.total });
        Ok(result)
    }
}
