//! How a cell speaks to who runs it: in marks, when that is quantlens' own session, else as evcxr's documentation says.
//!
//! A mark is one write of `\x1e`, a word, numbers and a newline, then as many bytes as the numbers say. What reads them is
//! `notebooks/lab/src/output.rs` of the workspace.

use std::io::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::sync::{Once, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use quantlens::display::Content;
use quantlens::progress::{self, Progress, Work};

use crate::variables;

/// Set by our own session for the process that runs the cells.
const SESSION_VARIABLE: &str = "QUANTLENS_SESSION";

pub(crate) fn is_our_session() -> bool {
    static OURS: OnceLock<bool> = OnceLock::new();
    *OURS.get_or_init(|| std::env::var_os(SESSION_VARIABLE).is_some())
}

/// The value of a cell's last expression.
pub(crate) fn send_value(contents: &[Content]) {
    if is_our_session() {
        return send("value", contents);
    }
    for content in contents {
        match content {
            Content::Text(media_type, text) => evcxr_runtime::mime_type(*media_type).text(text),
            Content::Bytes(media_type, bytes) => evcxr_runtime::mime_type(*media_type).bytes(bytes),
        }
    }
}

/// The cell's last expression is an error. evcxr's own kernel has no word for that; there it is shown.
pub(crate) fn fail(error: &str) {
    if is_our_session() {
        eprintln!("\x1eerror {}\n{error}", error.len());
        write(b"\x1efailed\n");
    } else {
        send_value(&[Content::Text("text/plain", format!("error: {error}"))]);
    }
}

/// A display in the middle of a cell. evcxr has one display a cell, so there it is text.
pub(crate) fn send_display(contents: &[Content]) {
    if is_our_session() {
        return send("display", contents);
    }
    for content in contents {
        if let Content::Text("text/plain", text) = content {
            println!("{text}");
        }
    }
}

/// `\x1e<word> <count>\n`, then for each content `<media type> <bytes>\n`, the bytes, `\n`. Bytes that are no text are not yet base64.
fn send(word: &str, contents: &[Content]) {
    let mut message = format!("\x1e{word} {}\n", contents.len()).into_bytes();
    for content in contents {
        let (media_type, bytes) = match content {
            Content::Text(media_type, text) => (media_type, text.as_bytes()),
            Content::Bytes(media_type, bytes) => (media_type, bytes.as_slice()),
        };
        message.extend_from_slice(format!("{media_type} {}\n", bytes.len()).as_bytes());
        message.extend_from_slice(bytes);
        message.push(b'\n');
    }
    write(&message);
}

/// Held while a mark is written.
static WRITING: Mutex<()> = Mutex::new(());

/// So long a cell that is left behind may write what it writes.
const WRITTEN_WITHIN: Duration = Duration::from_millis(500);

/// Does something while no mark is half written.
pub(crate) fn between_marks<R>(work: impl FnOnce() -> R) -> R {
    let start = Instant::now();
    let mut writing = WRITING.try_lock();
    while matches!(writing, Err(std::sync::TryLockError::WouldBlock)) && start.elapsed() < WRITTEN_WITHIN {
        std::thread::sleep(Duration::from_millis(1));
        writing = WRITING.try_lock();
    }
    work()
}

/// In one piece, whatever other threads print.
fn write(message: &[u8]) {
    {
        let _writing = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
        if !variables::is_left_behind() {
            let mut stdout = std::io::stdout().lock();
            // Nobody is left to tell when the pipe is closed.
            let _ = stdout.write_all(message).and_then(|()| stdout.flush());
            return;
        }
    }
    variables::wait_for_ever();
}

/// Once per process: a hook for panics, one for progress, and polars' table width.
pub(crate) fn prepare() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|panic| {
            let message = panic.payload_as_str().unwrap_or("panic");
            let frames = if is_our_session() { cell_frames(panic.location()) } else { String::new() };
            let text = match panic.location() {
                // A cell: the file is one that the user never wrote, so its line says nothing.
                Some(place) if place.file() == "src/lib.rs" => format!("panic: {message}"),
                _ if !frames.is_empty() => format!("panic: {message}"),
                Some(place) => format!("panic: {message} ({}:{})", file_name(place.file()), place.line()),
                None => format!("panic: {message}"),
            };
            let text = text + &frames;
            if is_our_session() {
                eprintln!("\x1eerror {}\n{text}", text.len());
            } else {
                eprintln!("{text}");
            }
        }));
        progress::set_hook(Some(tell));
        // For charts that a cell draws with plotters alone; each figure says so itself if it fails.
        let _ = quantlens::figure::use_bundled_font();
        // SAFETY: the kernel runs one cell at a time and this is the first; no other thread reads the environment now.
        unsafe {
            std::env::set_var("POLARS_FMT_MAX_ROWS", "20");
            std::env::set_var("POLARS_FMT_MAX_COLS", "12");
            std::env::set_var("POLARS_FMT_STR_LEN", "40");
            std::env::set_var("POLARS_TABLE_WIDTH", "160");
            std::env::set_var("POLARS_FMT_TABLE_CELL_NUMERIC_ALIGNMENT", "RIGHT");
        }
    });
}

/// The panics of the cell that runs so far.
static TRACES: AtomicUsize = AtomicUsize::new(0);
/// Of the first so many panics of a cell the functions are said.
const MOST_TRACES: usize = 20;

/// The cells' own functions on the stack, the innermost first, as our session reads them: for each `\x1f`, its name, a tab, and its line
/// in what was compiled. It knows which cell that is.
fn cell_frames(location: Option<&std::panic::Location>) -> String {
    // Each takes some hundredths of a second: a cell that catches thousands of panics shall not wait for them.
    let is_traced = TRACES.fetch_add(1, Ordering::Relaxed) < MOST_TRACES;
    let trace = if is_traced { trace_text(&std::backtrace::Backtrace::force_capture()) } else { String::new() };
    let mut frames = String::new();
    let mut name = "";
    for line in trace.lines().map(str::trim) {
        // `4: ctx::average`, and below it `at ./src/lib.rs:12:5`.
        let Some(place) = line.strip_prefix("at ") else {
            // Of functions that were compiled into one, only the innermost has a number.
            name = line.split_once(": ").filter(|(number, _)| number.parse::<u32>().is_ok()).map_or(line, |(_, name)| name);
            continue;
        };
        let mut parts = place.rsplitn(3, ':');
        let (_, Some(number), Some(file)) = (parts.next(), parts.next(), parts.next()) else { continue };
        if !file.ends_with("src/lib.rs") || file.starts_with("/rustc/") || file.contains("/rustlib/") {
            continue;
        }
        let name = name.trim_start_matches("ctx::");
        let name = name.split("::{").next().unwrap_or(name).split("::<").next().unwrap_or(name);
        let name = if name.starts_with('{') { "" } else { name };
        frames += &format!("\x1f{name}\t{number}");
    }
    match location {
        Some(place) if frames.is_empty() && place.file() == "src/lib.rs" => format!("\x1f\t{}", place.line()),
        _ => frames,
    }
}

/// The text of a trace. The standard library looks once in a process's life which libraries are loaded, so that a later cell's lines are
/// unknown to it: a copy of the process looks, and says what it finds.
#[cfg(unix)]
fn trace_text(trace: &std::backtrace::Backtrace) -> String {
    use std::io::Read as _;
    use std::os::fd::AsRawFd as _;
    unsafe extern "C" {
        fn fork() -> i32;
        fn alarm(seconds: u32) -> u32;
        fn write(fd: i32, bytes: *const u8, count: usize) -> isize;
        fn _exit(status: i32) -> !;
        fn waitpid(process: i32, status: *mut i32, options: i32) -> i32;
    }
    let Ok((mut from, to)) = std::io::pipe() else { return String::new() };
    // SAFETY: the copy only formats and writes, and ends. Should it wait for a lock that another thread held, the alarm ends it.
    let process = unsafe { fork() };
    if process == 0 {
        unsafe {
            alarm(3);
            let text = trace.to_string();
            let mut rest = text.as_bytes();
            while let Ok(count @ 1..) = usize::try_from(write(to.as_raw_fd(), rest.as_ptr(), rest.len())) {
                rest = &rest[count..];
            }
            _exit(0);
        }
    }
    drop(to);
    let mut text = Vec::new();
    let _ = from.read_to_end(&mut text);
    if process > 0 {
        // SAFETY: it is our own child, which nobody else waits for.
        unsafe { waitpid(process, std::ptr::null_mut(), 0) };
    }
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(not(unix))]
fn trace_text(trace: &std::backtrace::Backtrace) -> String {
    trace.to_string()
}

fn file_name(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

/// Called by our own runtime when it has loaded this library, before any cell.
#[unsafe(no_mangle)]
extern "C" fn quantlens_prepare() {
    prepare();
}

/// Called by our own runtime before a cell: an interrupt is of the cell that it met, and so is a bar.
#[unsafe(no_mangle)]
extern "C" fn quantlens_resume() {
    progress::resume();
    TRACES.store(0, Ordering::Relaxed);
    *SHOWN.lock().unwrap_or_else(PoisonError::into_inner) = None;
}

/// Called by our own runtime, on a thread of its own, when the cell is to be interrupted.
#[unsafe(no_mangle)]
extern "C" fn quantlens_interrupt() {
    progress::interrupt();
}

/// Called by our own runtime after a cell: text without a newline is still in this library's std.
#[unsafe(no_mangle)]
extern "C" fn quantlens_flush() {
    let _ = std::io::stdout().flush();
}

/// Where our own session gives the answers to questions; 0 under another kernel, which gives them on standard input.
static ANSWERS: AtomicI32 = AtomicI32::new(0);

/// Called by our own runtime before any cell, with the number of a pipe that stays open.
#[unsafe(no_mangle)]
extern "C" fn quantlens_take_answers_from(pipe: i32) {
    ANSWERS.store(pipe, Ordering::Relaxed);
}

/// A line of standard input, and how far it was read.
static INPUT: Mutex<(Vec<u8>, usize)> = Mutex::new((Vec::new(), 0));
/// The prompt by which our session knows that a cell reads its standard input. Its answer begins with `=` if somebody gave one.
const STANDARD_INPUT: &str = "\x1fstdin";

/// Called by our own runtime when a cell reads its standard input: writes at most so many bytes, and says how many. 0 is the end of the
/// input, which is where nobody can give any, and where somebody gives an empty line; -1 says that the cell was interrupted.
///
/// # Safety
/// `count` bytes can be written at `buffer`.
#[unsafe(no_mangle)]
unsafe extern "C" fn quantlens_read_input(buffer: *mut u8, count: usize) -> isize {
    let mut input = INPUT.lock().unwrap_or_else(PoisonError::into_inner);
    if input.0.len() == input.1 {
        // What was printed before the question is seen before it.
        let _ = std::io::stdout().flush();
        write(format!("{}:{STANDARD_INPUT}\n", evcxr_input::GET_CMD).as_bytes());
        let answer = read_line(ANSWERS.load(Ordering::Relaxed));
        if progress::is_interrupted() {
            return -1;
        }
        match answer.strip_prefix('=') {
            None | Some("") => return 0,
            Some(line) => *input = (format!("{line}\n").into_bytes(), 0),
        }
    }
    let (line, read) = &mut *input;
    let given = count.min(line.len() - *read);
    // SAFETY: there is room for `count`, and they are two allocations.
    unsafe { std::ptr::copy_nonoverlapping(line[*read..].as_ptr(), buffer, given) };
    *read += given;
    given as isize
}

/// Asks, and waits for the answer.
///
/// # Panics
/// When the cell was interrupted instead of answered.
pub(crate) fn ask(prompt: &str, is_password: bool) -> String {
    let answer = match (ANSWERS.load(Ordering::Relaxed), is_password) {
        (0, false) => evcxr_input::get_string(prompt),
        (0, true) => evcxr_input::get_password(prompt),
        (pipe, _) => {
            let command = if is_password { evcxr_input::GET_CMD_PASSWORD } else { evcxr_input::GET_CMD };
            println!("{command}:{prompt}");
            read_line(pipe)
        }
    };
    if progress::is_interrupted() {
        panic!("interrupted");
    }
    answer
}

/// A line from a pipe, and not a byte more: what follows is for somebody else.
#[cfg(unix)]
fn read_line(pipe: i32) -> String {
    use std::io::Read as _;
    use std::os::fd::FromRawFd as _;
    // SAFETY: our runtime keeps it open as long as the process lives, and it is not closed here.
    let mut pipe = std::mem::ManuallyDrop::new(unsafe { std::fs::File::from_raw_fd(pipe) });
    let (mut line, mut byte) = (Vec::new(), [0]);
    while matches!(pipe.read(&mut byte), Ok(1)) && byte != *b"\n" {
        line.extend_from_slice(&byte);
    }
    String::from_utf8_lossy(&line).trim().to_owned()
}

/// Our runtime gives answers only where it knows how.
#[cfg(not(unix))]
fn read_line(_: i32) -> String {
    String::new()
}

/// Between two items of work.
pub(crate) fn stop_if_interrupted(work: &Work) {
    variables::stop_if_left_behind();
    if progress::is_interrupted() {
        let Progress { what, done, total, .. } = work.progress();
        panic!("interrupted: {what} {done} of {total}");
    }
}

/// Work that is done before this shows nothing.
const SHOWN_AFTER: Duration = Duration::from_millis(400);
/// A bar that is drawn more often is not seen more often.
const REDRAWN_EVERY: Duration = Duration::from_millis(100);

/// The work that a bar is shown for, or would be.
struct Shown {
    id: u64,
    start: Instant,
    last: Option<Instant>,
    tenths: usize,
}

static SHOWN: Mutex<Option<Shown>> = Mutex::new(None);

fn tell(progress: Progress) {
    let mut state = SHOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let now = Instant::now();
    // One bar: work inside of other work, such as a report in a tracked loop, is the outer's.
    let shown = state.get_or_insert_with(|| Shown { id: progress.id, start: now, last: None, tenths: 0 });
    if shown.id != progress.id {
        return;
    }
    let is_end = progress.done >= progress.total;
    let is_due = match shown.last {
        None => !is_end && now - shown.start >= SHOWN_AFTER,
        Some(last) => is_end || now - last >= REDRAWN_EVERY,
    };
    if progress.is_over {
        if shown.last.is_some() && !is_end && is_our_session() {
            write(b"\x1eprogress-end\n");
        }
        *state = None;
    } else if is_due {
        shown.last = Some(now);
        shown.tenths = draw(progress, shown.tenths);
    }
}

/// How far it is in tenths, when that is shown.
fn draw(progress: Progress, shown_tenths: usize) -> usize {
    let Progress { what, done, total, .. } = progress;
    if is_our_session() {
        write(format!("\x1eprogress {done} {total} {}\n{what}\n", what.len()).as_bytes());
        return shown_tenths;
    }
    // evcxr's own kernel cannot draw over a line: at most ten of them.
    let tenths = done * 10 / total.max(1);
    if tenths > shown_tenths {
        println!("{what}: {done} of {total}");
    }
    tenths.max(shown_tenths)
}
