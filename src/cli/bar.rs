//! How far the work is, on standard error if that is a terminal.

use std::sync::{Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use quantlens::progress::{self, Progress};

/// Shows progress as long as it lives.
pub struct Bar(());

struct Shown {
    bar: ProgressBar,
    /// Steps of the pieces of work that are over.
    before: usize,
    /// The piece of work that is being done. Those within it are not shown.
    work: Option<u64>,
}

static SHOWN: Mutex<Option<Shown>> = Mutex::new(None);

impl Bar {
    /// For so many values in all, which several pieces of work may share.
    pub fn new(values: usize) -> Self {
        let bar = ProgressBar::new(values as u64);
        let template = "{bar:24} {percent:>3} %, {rate}, {eta} left";
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let rate = |state: &ProgressState, to: &mut dyn std::fmt::Write| {
            let _ = write!(to, "{} values/s", with_prefix(state.per_sec()));
        };
        bar.set_style(style.with_key("rate", rate));
        *SHOWN.lock().unwrap_or_else(PoisonError::into_inner) = Some(Shown { bar, before: 0, work: None });
        progress::set_hook(Some(show));
        Self(())
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        progress::set_hook(None);
        if let Some(shown) = SHOWN.lock().unwrap_or_else(PoisonError::into_inner).take() {
            shown.bar.finish_and_clear();
        }
    }
}

fn show(progress: Progress) {
    if let Some(shown) = SHOWN.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
        if *shown.work.get_or_insert(progress.id) != progress.id {
            return;
        }
        shown.bar.set_position((shown.before + progress.done) as u64);
        if progress.is_over {
            shown.before += progress.done;
            shown.work = None;
        }
    }
}

/// Three digits and k, M or G.
pub fn with_prefix(number: f64) -> String {
    match number {
        ..1e3 => format!("{number:.0}"),
        ..1e6 => format!("{:.1} k", number / 1e3),
        ..1e9 => format!("{:.1} M", number / 1e6),
        _ => format!("{:.2} G", number / 1e9),
    }
}
