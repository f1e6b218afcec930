//! Steering a session from beside it: stopping its cell, and taking its process's output apart as it comes.

use std::io::{Read, Write as _};
use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Sender, TrySendError};

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
    cells: Mutex<Cells>,
    /// The cell's function was called, and has not returned and was not left. When it has, what it showed may still be on its way.
    ///
    /// Set by who reads the output, which must wait for nobody: others wait until it is read.
    is_called: AtomicBool,
    /// The cell that runs, or the last, was interrupted.
    is_interrupted: AtomicBool,
    /// So was what it had started, for which it may have waited: if it comes to its end now, it is not as it would have been.
    has_lost_children: AtomicBool,
}

/// Which cell may be stopped.
#[derive(Default)]
struct Cells {
    count: u64,
    /// The number of the cell that is compiled or runs, 0 between cells.
    running: u64,
}

impl Steering {
    pub fn new(writers: Writers, secret: String) -> Self {
        Self {
            process: OnceLock::new(),
            writers: Mutex::new(writers),
            secret,
            cells: Mutex::default(),
            is_called: AtomicBool::new(false),
            is_interrupted: AtomicBool::new(false),
            has_lost_children: AtomicBool::new(false),
        }
    }

    /// evcxr has started it.
    pub fn set_process(&self, process: Arc<Mutex<Child>>) {
        let _ = self.process.set(process);
    }

    /// Another cell begins, which nobody has stopped.
    pub fn begin_cell(&self) {
        {
            let mut cells = self.cells();
            let count = cells.count + 1;
            *cells = Cells { count, running: count };
            for known in [&self.is_called, &self.is_interrupted, &self.has_lost_children] {
                known.store(false, Ordering::SeqCst);
            }
        }
        self.say_to_child(RESUME);
    }

    /// Notes what a piece of the process's output says of the cell's function.
    fn note(&self, piece: &Piece) {
        match piece {
            Piece::Started => self.is_called.store(true, Ordering::SeqCst),
            Piece::Complete | Piece::Left { .. } => self.is_called.store(false, Ordering::SeqCst),
            _ => {}
        }
    }

    pub fn end_cell(&self) {
        self.cells().running = 0;
    }

    /// Whether the cell that runs, or the last, was interrupted.
    pub fn is_interrupted(&self) -> bool {
        self.is_interrupted.load(Ordering::SeqCst)
    }

    /// Whether what it had started was ended by that.
    pub fn has_lost_children(&self) -> bool {
        // Whoever ends them has it until that is noted.
        let _cells = self.cells();
        self.has_lost_children.load(Ordering::SeqCst)
    }

    fn writers(&self) -> MutexGuard<'_, Writers> {
        self.writers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say_to_child(&self, line: &str) {
        // A process that is gone needs to be told nothing.
        let _ = self.writers().for_evcxr.write_all(format!("{line}\n").as_bytes());
    }

    fn cells(&self) -> MutexGuard<'_, Cells> {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner)
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
            let cells = self.0.cells();
            if cells.running == 0 {
                return;
            }
            self.0.is_interrupted.store(true, Ordering::SeqCst);
            cells.running
        };
        self.0.say_to_child(INTERRUPT);
        processes::kill_descendants(&[self.0.process_id()]);
        let steering = Arc::clone(&self.0);
        std::thread::spawn(move || {
            let mut is_left = false;
            loop {
                std::thread::sleep(if is_left { LEFT_WITHIN } else { GRACE });
                // Held while the process is ended, so that no other cell begins meanwhile.
                let cells = steering.cells();
                if cells.running != running {
                    return;
                }
                let is_called = steering.is_called.load(Ordering::SeqCst);
                if is_called && is_left {
                    return steering.kill();
                }
                if is_called {
                    // It may wait for what it has started.
                    let has_lost = processes::kill_children(steering.process_id());
                    steering.has_lost_children.store(has_lost, Ordering::SeqCst);
                    steering.say_to_child(LEAVE);
                    is_left = true;
                    continue;
                }
                // A compiler may run for it: for one that was analysed when it was stopped.
                drop(cells);
                is_left = false;
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
                steering.note(&piece);
                // First the session, which must know what evcxr asks before evcxr asks.
                let sent = pieces.try_send((stream, piece));
                if let Err(TrySendError::Full(piece)) = sent
                    // Of a cell that was stopped nobody waits for all that it wrote faster than it could be shown: the end comes behind it.
                    && !(steering.is_interrupted() && matches!(piece.1, Piece::Text(_) | Piece::Display(_)))
                {
                    let _ = pieces.send(piece);
                }
                if let Some(line) = line {
                    steering.say_to_child(&line);
                }
            });
        }
    });
}
