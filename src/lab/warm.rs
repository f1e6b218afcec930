//! Shows the build of the notebooks' libraries: a line per crate, and how long it may take.

use std::io::IsTerminal as _;
use std::time::Instant;

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

use super::template::{FIRST_BUILD, Progress};

/// What is to be told of a build's progress. On a terminal it is a bar with a line above it for each crate, else lines.
pub fn shower() -> Result<impl FnMut(Progress)> {
    let bar = ProgressBar::new(0).with_style(style("libraries [{bar:30}] {pos}/{len} {elapsed}")?);
    let is_terminal = std::io::stderr().is_terminal();
    let mut start = None;
    Ok(move |progress: Progress| match progress {
        Progress::Waiting => note(&bar, "another process builds the notebooks' libraries: waiting for it"),
        Progress::Built { done, total, name } => {
            if start.is_none() {
                let minutes = FIRST_BUILD.as_secs() / 60;
                note(&bar, &format!("building the notebooks' libraries: once, some {minutes} minutes on two cores"));
            }
            let seconds = start.get_or_insert_with(Instant::now).elapsed().as_secs();
            let line = format!("  {done:>3}/{total} {name} ({}:{:02})", seconds / 60, seconds % 60);
            bar.set_length(total as u64);
            bar.set_position(done as u64);
            if is_terminal {
                bar.println(&line);
            } else {
                eprintln!("{line}");
            }
            if done == total {
                bar.finish_and_clear();
            }
        }
    })
}

/// A bar of this look.
pub fn style(template: &str) -> Result<ProgressStyle> {
    Ok(ProgressStyle::with_template(template)?.progress_chars("=> "))
}

/// A line above the bar, or on its own where there is no terminal to draw a bar in.
fn note(bar: &ProgressBar, line: &str) {
    bar.suspend(|| eprintln!("{line}"));
}
