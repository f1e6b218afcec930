//! What a notebook needs, in one dynamic library: quantlens, polars and plotters, and the way they show themselves in a cell.
//!
//! ```text
//! :dep quantlens-prelude = { path = "prelude" }
//! use quantlens_prelude::*;
//! let lab = init();
//! ```
//!
//! It is a dylib, so that a cell links in milliseconds and all cells share one copy of every static (thread pools, fonts).

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
pub use quantlens::*;

/// Shows any value as a cell's last expression: what quantlens knows as tables and pictures, everything else by `Debug`.
///
/// evcxr calls a method of this name on the last expression. One blanket implementation makes every such cell compile at the first
/// attempt, where it would take a second one for types without the method.
pub trait Show {
    /// Writes the value's representations to where the kernel reads them.
    fn evcxr_display(&self);
}

impl<T: Debug + Any> Show for T {
    fn evcxr_display(&self) {
        // Our runner asks for a mark, which tells it where printed text without a newline ends. evcxr alone would lose that text.
        if let Ok(mark) = std::env::var("QUANTLENS_BEFORE_VALUE") {
            println!("{mark}");
        }
        match contents(self) {
            Some(contents) => contents.iter().for_each(send),
            None => send(&Content::Text("text/plain", format!("{self:?}"))),
        }
    }
}

fn send(content: &Content) {
    match content {
        Content::Text(media_type, text) => evcxr_runtime::mime_type(*media_type).text(text),
        Content::Bytes(media_type, bytes) => evcxr_runtime::mime_type(*media_type).bytes(bytes),
    }
}

/// What [`init`] returns, so that the first cell defines a variable: at the first one rust-analyzer reads all crates, which takes seconds,
/// and the first cell waits anyway.
#[derive(Debug, Clone, Copy)]
pub struct Lab;

/// Prepares the kernel; the first cell calls it. A panic becomes one message with its place, and text tables are wide enough for a
/// report's names.
pub fn init() -> Lab {
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("panic");
        match panic.location() {
            // A cell: the file is one that the user never wrote, so its line says nothing.
            Some(place) if place.file() == "src/lib.rs" => eprintln!("panic: {message}"),
            Some(place) => eprintln!("panic: {message} ({}:{})", file_name(place.file()), place.line()),
            None => eprintln!("panic: {message}"),
        }
    }));
    // SAFETY: the kernel runs one cell at a time and this is the first; no other thread reads the environment now.
    unsafe {
        std::env::set_var("POLARS_FMT_MAX_ROWS", "20");
        std::env::set_var("POLARS_FMT_MAX_COLS", "12");
        std::env::set_var("POLARS_FMT_STR_LEN", "40");
        std::env::set_var("POLARS_TABLE_WIDTH", "160");
        std::env::set_var("POLARS_FMT_TABLE_CELL_NUMERIC_ALIGNMENT", "RIGHT");
    }
    Lab
}

fn file_name(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}
