//! Steering a session from beside it: stopping its cell, and taking its process's output apart as it comes.

use std::io::{Read, Write as _};
use std::process::Child;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crossbeam_channel::Sender;

use super::child::Writers;
use super::marks::{END_OF_CELL, HELLO, INTERRUPT, LEAVE, RESUME, Stream, control_mark};
use super::output::{Parser, Piece};
use super::processes;

/// What a cell's process is told, and what is known of the cell that it runs.
pub struct Steering {
    /// Known when evcxr has started it.
    process: OnceLock<Arc<Mutex<Child>>>,
    writers: Mutex<Writers>,
    secret: String,
    state: Mutex<State>,
}

/// What may be stopped, and what was.
#[derive(Default)]
struct State {
    cells: u64,
    /// The number of the cell that is compiled or runs, 0 between cells.
    running: u64,
    /// Its function was called.
    is_started: bool,
    is_interrupted: bool,
}

impl Steering {
    pub fn new(writers: Writers, secret: String) -> Self {
        Self { process: OnceLock::new(), writers: Mutex::new(writers), secret, state: Mutex::default() }
    }

    /// evcxr has started it.
    pub fn set_process(&self, process: Arc<Mutex<Child>>) {
        let _ = self.process.set(process);
    }

    /// Another cell begins, which nobody has stopped.
    pub fn begin_cell(&self) {
        {
            let mut state = self.state();
            state.cells += 1;
            *state = State { cells: state.cells, running: state.cells, ..State::default() };
        }
        self.say_to_child(RESUME);
    }

    /// The cell's function was called.
    pub fn note_start(&self) {
        self.state().is_started = true;
    }

    pub fn end_cell(&self) {
        self.state().running = 0;
    }

    /// Whether the cell that runs, or the last, was interrupted.
    pub fn is_interrupted(&self) -> bool {
        self.state().is_interrupted
    }

    fn writers(&self) -> MutexGuard<'_, Writers> {
        self.writers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say_to_child(&self, line: &str) {
        // A process that is gone needs to be told nothing.
        let _ = self.writers().for_evcxr.write_all(format!("{line}\n").as_bytes());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a mark behind all that the cells have written.
    pub fn write_fences(&self, number: u64) {
        let mark = control_mark(&self.secret, &format!("fence {number}"));
        let mut writers = self.writers();
        let _ = writers.stdout.write_all(mark.as_bytes());
        let _ = writers.stderr.write_all(mark.as_bytes());
    }

    /// 0 before there is one.
    fn process_id(&self) -> u32 {
        self.process.get().map_or(0, |process| process.lock().unwrap_or_else(PoisonError::into_inner).id())
    }

    /// With all that the cell has started.
    fn kill(&self) {
        processes::kill_tree(self.process_id());
    }
}

/// Stops the cell of a session from another thread.
#[derive(Clone)]
pub struct Interrupter(pub Arc<Steering>);

impl Interrupter {
    /// Stops the cell that runs, if one does. Work of the library's stops between two steps and the variables stay; a cell that has
    /// not ended [`GRACE`] later is left behind, and one that cannot be, [`LEFT_WITHIN`] after that, loses its process. One that is
    /// still being compiled is not run.
    pub fn interrupt(&self) {
        let running = {
            let mut state = self.0.state();
            if state.running == 0 {
                return;
            }
            state.is_interrupted = true;
            state.running
        };
        self.0.say_to_child(INTERRUPT);
        processes::kill_descendants(&[self.0.process_id()]);
        let steering = Arc::clone(&self.0);
        std::thread::spawn(move || {
            let mut is_left = false;
            loop {
                std::thread::sleep(if is_left { LEFT_WITHIN } else { GRACE });
                // Held while the process is ended, so that no other cell begins meanwhile.
                let state = steering.state();
                if state.running != running {
                    return;
                }
                if state.is_started && is_left {
                    return steering.kill();
                }
                if state.is_started {
                    // It may wait for what it has started.
                    processes::kill_children(steering.process_id());
                    steering.say_to_child(LEAVE);
                    is_left = true;
                    continue;
                }
                // It was analysed when it was stopped, and now a compiler runs for it.
                drop(state);
                processes::kill_descendants(&[steering.process_id()]);
            }
        });
    }

    /// Whether the cell that runs was interrupted.
    pub fn is_interrupted(&self) -> bool {
        self.0.is_interrupted()
    }

    /// Ends the cells' process and whatever compiles.
    pub fn kill(&self) {
        processes::kill_descendants(&[]);
        self.0.kill();
    }
}

/// How long a cell has to stop by itself.
const GRACE: Duration = Duration::from_millis(1000);
/// How long it may take to leave it behind.
const LEFT_WITHIN: Duration = Duration::from_secs(5);
/// Ends the threads that read.
pub const LAST_FENCE: u64 = u64::MAX;

/// Takes a stream apart on a thread of its own, and says evcxr's part of it to evcxr.
pub fn read_pieces(mut pipe: std::io::PipeReader, stream: Stream, pieces: Sender<(Stream, Piece)>, steering: Arc<Steering>) {
    std::thread::spawn(move || {
        let mut parser = Parser::new(stream, &steering.secret);
        let mut bytes = vec![0; 1 << 16];
        let mut is_last = false;
        while !is_last && let Ok(count @ 1..) = pipe.read(&mut bytes) {
            parser.push(&bytes[..count], |piece| {
                is_last |= piece == Piece::Fence(LAST_FENCE);
                let line = match &piece {
                    Piece::ForEvcxr(line) => Some(line.clone()),
                    Piece::Complete => Some(END_OF_CELL.to_owned()),
                    Piece::Left { stored, .. } => Some(stored.clone()),
                    Piece::Hello(process) => Some(format!("{HELLO} {process}")),
                    _ => None,
                };
                // First the session, which must know what evcxr asks before evcxr asks.
                let _ = pieces.send((stream, piece));
                if let Some(line) = line {
                    steering.say_to_child(&line);
                }
            });
        }
    });
}
