//! What a cell reads from its standard input: it asks the user. Whoever reads it calls `read` of the C library, and this program's own
//! stands before that, as any program's does. What a cell starts reads its own standard input, which is at its end.

use std::ffi::{c_int, c_void};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// What gives the cell's input, of the prelude's `session.rs`; -1 if the cell was interrupted instead.
pub type Give = unsafe extern "C" fn(*mut u8, usize) -> isize;

static GIVE: OnceLock<Give> = OnceLock::new();
static IS_RUNNING: AtomicBool = AtomicBool::new(false);

/// From here on cells can ask.
pub fn give_by(give: Give) {
    let _ = GIVE.set(give);
}

/// Whether a cell runs: between cells nobody listens to a question.
pub fn set_running(is_running: bool) {
    IS_RUNNING.store(is_running, Ordering::SeqCst);
}

/// `read` of POSIX, for all of this process.
///
/// # Safety
/// As that: `count` bytes can be written at `buffer`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn read(file: c_int, buffer: *mut c_void, count: usize) -> isize {
    if file == 0
        && count > 0
        && IS_RUNNING.load(Ordering::SeqCst)
        && let Some(give) = GIVE.get()
    {
        // SAFETY: as of this function.
        let given = unsafe { give(buffer.cast(), count) };
        if given < 0 {
            // Not EINTR, after which the standard library would read again.
            // SAFETY: it is this thread's own.
            unsafe { *libc::__errno_location() = libc::ECANCELED };
        }
        return given;
    }
    // SAFETY: the same call, of the system itself.
    unsafe { libc::syscall(libc::SYS_read, file, buffer, count) as isize }
}
