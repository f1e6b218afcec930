//! What a notebook needs, in one dynamic library: quantlens, polars and plotters, and the way they show themselves in a cell.
//!
//! ```text
//! :dep quantlens-prelude = { path = "prelude" }
//! use quantlens_prelude::*;
//! init();
//! ```
//!
//! Only evcxr's own kernel needs the first and the last of these lines.
//!
//! It is a dylib, so that a cell links in milliseconds and all cells share one copy of every static (thread pools, fonts).

#[doc(hidden)]
pub mod cells;
mod session;

use std::any::Any;
use std::fmt::Debug;

pub use plotters;
pub use polars;
pub use quantlens;

pub use polars::prelude::{
    Column, DataFrame, DataType, IntoColumn, IntoSeries, NamedFrom, PolarsError, PolarsResult, Series, df,
};
pub use quantlens::display::{Content, contents};
pub use quantlens::figure::{Figure, Ink, Marker, Style};
use quantlens::progress::Work;
pub use quantlens::*;

/// Shows any value as a cell's last expression: what quantlens knows as tables and pictures, everything else by `Debug`.
///
/// evcxr calls a method of this name on the last expression. One blanket implementation makes every such cell compile at the first
/// attempt, where it would take a second one for types without the method.
pub trait Show {
    /// Writes the value's representations to where the kernel reads them. An `Err` of a table or a picture is the cell's error.
    fn evcxr_display(&self);
}

impl<T: Debug + Any> Show for T {
    fn evcxr_display(&self) {
        show_value(self, self);
    }
}

/// What a variable borrows lives no longer than it, so that it is shown by what it is and not by the borrow.
impl Show for str {
    fn evcxr_display(&self) {
        show_value(&Borrowed, &self);
    }
}

impl<T: Debug + Any> Show for [T] {
    fn evcxr_display(&self) {
        show_value(&Borrowed, &self);
    }
}

/// Nothing that is known as a table or a picture.
struct Borrowed;

/// Shows a value in the middle of a cell, as its last expression would be shown; several to a cell. Under a kernel that cannot, which is
/// evcxr's own, its text is printed.
pub fn show<T: Debug + Any>(value: &T) {
    session::send_display(&representations(value, value));
}

/// Not generic, so that a cell has none of it to compile.
fn show_value(value: &dyn Any, debug: &dyn Debug) {
    match quantlens::display::failure(value) {
        Some(error) => session::fail(&error),
        None => session::send_value(&representations(value, debug)),
    }
}

/// Not generic either.
fn representations(value: &dyn Any, debug: &dyn Debug) -> Vec<Content> {
    contents(value).unwrap_or_else(|| vec![Content::Text("text/plain", format!("{debug:?}"))])
}

/// Asks the user for a line.
///
/// # Panics
/// With `interrupted`, when the cell was interrupted instead of answered.
pub fn get_string(prompt: &str) -> String {
    session::ask(prompt, false)
}

/// Asks the user for a line that is not shown.
///
/// # Panics
/// As [`get_string`].
pub fn get_password(prompt: &str) -> String {
    session::ask(prompt, true)
}

/// Goes through items while a bar shows how far it is.
///
/// ```text
/// for tensor in track("tensors", tensors) { … }
/// ```
///
/// # Panics
/// Between two items, with `interrupted`, when the cell was interrupted.
pub fn track<I>(what: &'static str, items: I) -> impl Iterator<Item = I::Item>
where
    I: IntoIterator<IntoIter: ExactSizeIterator>,
{
    let mut items = items.into_iter();
    let mut work = Work::new(what, items.len());
    let mut is_first = true;
    // The work is over when the iterator is dropped, wherever the loop was left.
    std::iter::from_fn(move || {
        if !is_first {
            work.done_one();
        }
        let item = items.next()?;
        is_first = false;
        session::stop_if_interrupted(&work);
        Some(item)
    })
}

/// Prepares evcxr's own kernel: a panic becomes one message with its place, long work says how far it is, and text tables are wide enough
/// for a report's names. Where quantlens-lab runs the notebook, that is done already, and this does nothing.
pub fn init() {
    session::prepare();
}
