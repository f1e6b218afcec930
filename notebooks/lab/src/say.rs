//! What the commands print.

use std::fmt;
use std::io::{self, ErrorKind, Write};

/// Prints a line to standard output, as `println!` does, but goes on where nobody reads: in `cargo lab kernel list | head`, and in a run whose
/// result is the notebook.
macro_rules! say {
    ($($arguments:tt)*) => { $crate::say::print(format_args!("{}\n", format_args!($($arguments)*))) };
}
pub(crate) use say;

/// Prints text to standard output; see [`say`].
pub fn print(text: fmt::Arguments) {
    let mut stdout = io::stdout().lock();
    let printed = stdout.write_fmt(text).and_then(|()| stdout.flush());
    if let Err(error) = printed
        && error.kind() != ErrorKind::BrokenPipe
    {
        eprintln!("standard output cannot be written: {error}");
    }
}
