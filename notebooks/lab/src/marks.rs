//! The words that the session, the process that runs its cells, and evcxr's generated code say to each other in the cells' output and on
//! the pipe to evcxr.

/// Where text was printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// What a cell that panicked prints, in evcxr's generated code.
pub const PANICKED: &str = "EVCXR_PANIC_NOTIFICATION";
/// What a `?` that met an error prints.
pub const FAILED: &str = "EVCXR_ERROR_OCCURRED";
/// What asks evcxr for a line of input, a colon and the prompt behind it; `_PASSWORD` may stand between.
pub const INPUT: &str = "EVCXR_INPUT_REQUEST";
/// The prompt of a cell that reads its standard input (the prelude's `session.rs`). Its answer begins with `=`, if somebody gave one.
pub const STANDARD_INPUT: &str = "\x1fstdin";
/// What evcxr waits for at the end of a cell (its `child_process.rs`).
pub const END_OF_CELL: &str = "EVCXR_EXECUTION_COMPLETE";

/// What the pipe to evcxr says to the cells' process rather than to evcxr: stop the cell, or do not start it.
pub const INTERRUPT: &str = "QUANTLENS_INTERRUPT";
/// The cell that was to stop does not: it is to be left behind.
pub const LEAVE: &str = "QUANTLENS_LEAVE";
/// Another cell comes, which nobody has stopped.
pub const RESUME: &str = "QUANTLENS_RESUME";
/// With the process's number behind it: what follows is for this process. Lines before it were for one that is gone.
pub const HELLO: &str = "QUANTLENS_HELLO";

/// Begins a mark in the cells' output.
pub const MARK: u8 = 0x1e;

/// A mark of the session's or its process's own, as it is written. Nothing but these two knows the secret.
pub fn control_mark(secret: &str, words: &str) -> String {
    format!("\x1e{secret} {words}\n")
}
