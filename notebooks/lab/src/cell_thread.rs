//! The thread that a cell runs on. A cell that an interrupt does not stop is left behind on it, and the next cell gets another thread.
//!
//! What the old thread does from then on: where it stands in the cell's own code, as in `loop {}`, it is made to wait for ever. In a
//! library's code it may hold a lock that others need, such as the allocator's, so there it goes on, until it is back in the cell's code,
//! begins the cell's next statement, or asks for a variable. In a system call it waits as it did. What it prints is not seen.

use std::cell::Cell as Flag;
use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

/// The function that evcxr makes of a cell; it takes the store of variables and gives it back.
pub type Cell = extern "C" fn(*mut c_void) -> *mut c_void;

/// The store of variables, which is with one thread at a time.
pub struct Store(pub *mut c_void);
// SAFETY: it is handed on between threads that do not use it at once; the prelude's `variables.rs` says what that needs.
unsafe impl Send for Store {}

/// A thread for cells.
pub struct CellThread {
    cells: Sender<(Cell, Store)>,
    /// The store, when a cell has ended.
    pub ended: Receiver<Store>,
    id: c_int,
}

impl CellThread {
    pub fn start() -> std::io::Result<Self> {
        let (cells, taken_cells) = bounded::<(Cell, Store)>(1);
        let (end, ended) = unbounded();
        let (say_id, id) = bounded(1);
        // As much as the process's first thread has.
        let limit = rustix::process::getrlimit(rustix::process::Resource::Stack).current;
        let stack = limit.map_or(DEFAULT_STACK, |bytes| usize::try_from(bytes).unwrap_or(DEFAULT_STACK).min(MOST_STACK));
        thread::Builder::new().name("cell".to_owned()).stack_size(stack).spawn(move || {
            // SAFETY: it has no argument and cannot fail.
            let _ = say_id.send(unsafe { libc::syscall(libc::SYS_gettid) } as c_int);
            for (cell, store) in taken_cells {
                if end.send(Store(cell(store.0))).is_err() {
                    return;
                }
            }
        })?;
        let id = id.recv().map_err(std::io::Error::other)?;
        Ok(Self { cells, ended, id })
    }

    pub fn run(&self, cell: Cell, store: Store) {
        // It takes all that are sent: it ends only when this is gone.
        let _ = self.cells.send((cell, store));
    }

    /// Makes it wait for ever as soon as it stands in this part of the cell's code, which takes some time or does not happen.
    pub fn hold(self, code: (usize, usize)) {
        let id = self.id;
        // So that the thread does not end.
        std::mem::forget(self);
        let start = Instant::now();
        while start.elapsed() < HELD_WITHIN {
            if knock(id, code) {
                return;
            }
        }
        // SAFETY: it only sets how much of the processor the thread gets.
        unsafe { libc::setpriority(libc::PRIO_PROCESS, id as libc::id_t, 19) };
        thread::spawn(move || {
            while !knock(id, code) && start.elapsed() < KNOCKED_FOR {
                thread::sleep(Duration::from_millis(20));
            }
        });
    }
}

/// Looks where this thread stands. Whether it is held now.
fn knock(id: c_int, code: (usize, usize)) -> bool {
    static KNOCKING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = KNOCKING.lock().unwrap_or_else(PoisonError::into_inner);
    START.store(code.0, Ordering::SeqCst);
    END.store(code.1, Ordering::SeqCst);
    // SAFETY: the thread exists as long as the process: nobody joins it, and its cell does not end.
    unsafe { libc::syscall(libc::SYS_tgkill, std::process::id() as c_int, id, signal()) };
    thread::sleep(Duration::from_millis(2));
    HELD.load(Ordering::SeqCst) == id
}

const DEFAULT_STACK: usize = 8 << 20;
const MOST_STACK: usize = 1 << 30;
/// So long is waited for the thread to stand in its cell's code before the next cell may run.
const HELD_WITHIN: Duration = Duration::from_millis(200);
/// So long it is tried beside the next cells.
const KNOCKED_FOR: Duration = Duration::from_secs(600);

static START: AtomicUsize = AtomicUsize::new(0);
static END: AtomicUsize = AtomicUsize::new(0);
/// The thread that was held last.
static HELD: AtomicI32 = AtomicI32::new(0);

fn signal() -> c_int {
    // Not one that a cell would use, nor one of the C library's own.
    libc::SIGRTMAX() - 3
}

/// Call it before there is a cell.
pub fn prepare() {
    // SAFETY: the handler does nothing but read and write atomics, and wait.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_signal as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
        libc::sigaction(signal(), &action, std::ptr::null_mut());
    }
}

thread_local! {
    /// Whether this thread was left behind.
    static IS_LEFT: Flag<bool> = const { Flag::new(false) };
}

/// `write` of POSIX, for all of this process, without what a thread prints that was left behind: it would stand below another cell. The
/// thread cannot be held here, as it has the lock of its standard output.
///
/// # Safety
/// As that: `count` bytes can be read at `bytes`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn write(file: c_int, bytes: *const c_void, count: usize) -> isize {
    if matches!(file, 1 | 2) && IS_LEFT.get() {
        return count as isize;
    }
    // SAFETY: the same call, of the system itself.
    unsafe { libc::syscall(libc::SYS_write, file, bytes, count) as isize }
}

extern "C" fn on_signal(_: c_int, _: *mut libc::siginfo_t, context: *mut c_void) {
    IS_LEFT.set(true);
    // SAFETY: the system hands over the state in which the thread was met.
    let at = unsafe { program_counter(&*context.cast::<libc::ucontext_t>()) };
    if (START.load(Ordering::SeqCst)..END.load(Ordering::SeqCst)).contains(&at) {
        // SAFETY: it has no argument and cannot fail.
        HELD.store(unsafe { libc::syscall(libc::SYS_gettid) } as c_int, Ordering::SeqCst);
        loop {
            // SAFETY: waiting is allowed in a handler.
            unsafe { libc::pause() };
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn program_counter(context: &libc::ucontext_t) -> usize {
    context.uc_mcontext.gregs[libc::REG_RIP as usize] as usize
}

#[cfg(target_arch = "aarch64")]
fn program_counter(context: &libc::ucontext_t) -> usize {
    context.uc_mcontext.pc as usize
}

/// Where it is not known, no thread is held.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn program_counter(_: &libc::ucontext_t) -> usize {
    0
}

/// Where the code of a loaded library is.
pub fn code_of(library: &str) -> (usize, usize) {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let is_code = |line: &&str| line.ends_with(library) && line.split(' ').nth(1).is_some_and(|rights| rights.contains('x'));
    let range = |line: &str| {
        let (start, end) = line.split(' ').next()?.split_once('-')?;
        Some((usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?))
    };
    maps.lines().find(is_code).and_then(range).unwrap_or_default()
}
