//! Shows the build of the notebooks' libraries: a line per crate, and how long it may take.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

use super::template::Progress;

/// Where there is no terminal to draw a bar in, how often a line is printed.
const LINE_EVERY: Duration = Duration::from_secs(15);

/// What is to be told of a build's progress: on a terminal a bar, else a line now and then.
pub fn shower() -> Result<impl FnMut(Progress)> {
    let bar = ProgressBar::new(0).with_style(style("libraries [{bar:30}] {msg}")?);
    let is_terminal = std::io::stderr().is_terminal();
    let mut is_waiting = false;
    let mut last: Option<Instant> = None;
    Ok(move |progress: Progress| match progress {
        Progress::Waiting => {
            if !is_waiting {
                is_waiting = true;
                eprintln!("another process builds the notebooks' libraries: waiting for it");
            }
        }
        Progress::Built(estimate, package) => {
            let (done, total) = estimate.count();
            bar.set_length(total as u64);
            bar.set_position(done as u64);
            bar.set_message(estimate.line(package));
            if !is_terminal && last.is_none_or(|last| last.elapsed() >= LINE_EVERY) {
                last = Some(Instant::now());
                eprintln!("building the notebooks' libraries: {}", estimate.line(package));
            }
        }
        Progress::End => bar.finish_and_clear(),
    })
}

/// A bar of this look.
pub fn style(template: &str) -> Result<ProgressStyle> {
    Ok(ProgressStyle::with_template(template)?.progress_chars("=> "))
}
