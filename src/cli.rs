//! Arguments, exit statuses, and what all subcommands share. None of it is part of the library.

mod bar;
mod channels;
mod check;
#[cfg(feature = "cluster")]
mod cluster;
mod compare;
mod completions;
mod figures;
mod html;
mod output;
mod report;
mod schemes;
mod select;
mod summary;
mod table;
mod tensors;
mod terminal;

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::{Parser, Subcommand};
use quantlens::{Error, progress};
use signal_hook::consts::SIGINT;
use signal_hook::flag;

const EXAMPLES: &str = "\
Examples:
  quantlens report model.safetensors                     which tensor suffers under which scheme
  quantlens report model.gguf --scheme nvfp4,q4_k        under these two
  quantlens report model.safetensors --html report.html  as a page
  quantlens tensors model.safetensors                    what is in a file
  quantlens compare model.safetensors requantized.gguf   what was lost on the way from one to the other
  quantlens check model.safetensors --rule 'sqnr_db >= 30'    whether all rows keep a rule
  quantlens schemes                                      what a scheme may be called

Files are safetensors (also an index of shards), GGUF, a folder of shards of either, npy, npz, ONNX, CSV and Parquet.

The exit status is 0; 1 if something could not be read, a row failed or a rule is broken; 2 for wrong arguments; 130 after Ctrl-C.";

/// What quantization does to the tensors of a model.
#[derive(Parser)]
#[command(name = "quantlens", version, after_help = EXAMPLES, arg_required_else_help = true, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Report(report::Args),
    Tensors(tensors::Args),
    Compare(compare::Args),
    Check(check::Args),
    Schemes(schemes::Args),
    Completions(completions::Args),
}

/// Whether everything that was asked for could be done. What could not has been told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Done,
    PartlyFailed,
}

/// Why the program ends early.
#[derive(Debug)]
enum Stop {
    /// Something is wrong; what, and what to do.
    Error(String),
    /// The arguments mean nothing; why, and what to write instead.
    Usage(String),
    Interrupted,
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        match error {
            Error::Interrupted { .. } => Self::Interrupted,
            error => Self::Error(error.to_string()),
        }
    }
}

pub fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(error) = notice_interrupts() {
        say(&format!("warning: Ctrl-C ends the program at once: {error}"));
    }
    let status = match cli.command {
        Command::Report(args) => report::run(&args),
        Command::Tensors(args) => tensors::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Schemes(args) => schemes::run(&args),
        Command::Completions(args) => completions::run(&args),
    };
    match status {
        Ok(Status::Done) => ExitCode::SUCCESS,
        Ok(Status::PartlyFailed) => ExitCode::FAILURE,
        Err(Stop::Error(message)) => {
            say(&format!("error: {message}"));
            ExitCode::FAILURE
        }
        Err(Stop::Usage(message)) => {
            say(&format!("error: {message}"));
            ExitCode::from(WRONG_ARGUMENTS)
        }
        Err(Stop::Interrupted) => {
            say("interrupted: nothing was written");
            ExitCode::from(INTERRUPTED)
        }
    }
}

/// As clap says it.
const WRONG_ARGUMENTS: u8 = 2;

/// 128 and the number of SIGINT, as shells say it.
const INTERRUPTED: u8 = 130;

/// Has Ctrl-C interrupt the work, and the second one end the program without waiting for the work to notice.
fn notice_interrupts() -> io::Result<()> {
    let asked = Arc::new(AtomicBool::new(false));
    flag::register_conditional_shutdown(SIGINT, INTERRUPTED.into(), Arc::clone(&asked))?;
    flag::register(SIGINT, Arc::clone(&asked))?;
    std::thread::Builder::new().spawn(move || {
        while !asked.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(20));
        }
        progress::interrupt();
    })?;
    Ok(())
}

/// Writes to standard output. If whoever reads it has read enough, as `head` does, that is no failure, nor does it hide one.
fn print(text: &str) -> Result<(), Stop> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Stop::Error(format!("standard output cannot be written: {error}")))
        }
        _ => Ok(()),
    }
}

/// Writes a line to standard error, if somebody reads it.
fn say(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", terminal::visible(line));
}

/// Stops if Ctrl-C was pressed.
fn go_on() -> Result<(), Stop> {
    if progress::is_interrupted() { Err(Stop::Interrupted) } else { Ok(()) }
}

/// A number with its noun: `1 row`, `2 rows`.
fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}
