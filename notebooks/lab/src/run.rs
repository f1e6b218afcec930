//! Takes a notebook through a session: outputs back into the file, or compared with it.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use indicatif::ProgressBar;
use serde_json::{Value, json};
use similar::{ChangeTag, TextDiff};

use super::cell_error::CellError;
use super::front::{Event, Front, Question};
use super::marks::Stream;
use super::notebook::{Notebook, Outputs, joined, replace_file, writable};
use super::page;
use super::say::{self, say};
use super::session::Session;
use super::slot::Slot;
use super::warm::style;

/// What becomes of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// Outputs go back into the notebook.
    InPlace,
    /// Outputs are compared with the notebook's.
    Check,
    /// Notebook, figures and page go into this directory; the notebook itself is not touched.
    Directory(PathBuf),
}

/// Runs one notebook in this slot, which must be filled. `html` is a directory for its page.
pub fn run(path: &Path, destination: &Destination, html: Option<&Path>, slot: &Slot) -> Result<()> {
    let committed = Notebook::read(path)?;
    let mut notebook = committed.clone();
    if *destination == Destination::InPlace {
        // Before the work, not after it.
        writable(&committed.path)?;
    }
    // A notebook's `:dep` line names the prelude relative to the notebook.
    std::env::set_current_dir(committed.path.parent().context("the notebook has no directory")?)?;

    execute(&mut notebook, slot, *destination != Destination::Check)?;

    match destination {
        Destination::InPlace => notebook.write_back()?,
        Destination::Check => compare(&committed, &notebook)?,
        Destination::Directory(directory) => write_all(&notebook, directory)?,
    }
    if let Some(directory) = html {
        fs::create_dir_all(directory).with_context(|| format!("could not make {}", directory.display()))?;
        let page = directory.join(notebook.named("html"));
        replace_file(&page, page::render(&notebook)?.as_bytes())?;
        say!("page: {}", page.display());
    }
    Ok(())
}

/// Notebook, page and figures, all named after the notebook.
fn write_all(notebook: &Notebook, directory: &Path) -> Result<()> {
    let figures = directory.join("figures");
    fs::create_dir_all(&figures).with_context(|| format!("could not make {}", figures.display()))?;
    notebook.write(&directory.join(notebook.named("ipynb")))?;
    replace_file(&directory.join(notebook.named("html")), page::render(notebook)?.as_bytes())?;
    for (cell, ending, bytes) in notebook.figures()? {
        replace_file(&figures.join(format!("{}-cell{cell:02}.{ending}", notebook.stem())), &bytes)?;
    }
    Ok(())
}

/// Runs every code cell in order and puts its outputs into the notebook. Stops at the first cell that fails.
fn execute(notebook: &mut Notebook, slot: &Slot, echo: bool) -> Result<()> {
    let cells: Vec<usize> = notebook.code_cells().map(|(index, _)| index).collect();
    let bar = ProgressBar::new(cells.len() as u64).with_style(style("cells [{bar:30}] {pos}/{len} {msg}")?);
    bar.enable_steady_tick(std::time::Duration::from_millis(200));
    bar.set_message("starting the kernel");
    let mut session = Session::start(slot)?;
    session.preload()?;
    for (done, &index) in cells.iter().enumerate() {
        let cell = &notebook.cells()[index];
        let source = joined(&cell["source"]);
        let first_line = source.lines().find(|line| !line.trim().is_empty()).unwrap_or("").trim();
        bar.set_message(first_line.chars().take(60).collect::<String>());
        let expects_error = tags(cell).any(|tag| tag == "raises-exception");
        let count = done + 1;
        let mut front = Terminal { bar: &bar, echo, outputs: Outputs::default() };
        let error = session.execute(&source, count, &mut front)?.err();
        let outputs = front.outputs;
        match &error {
            Some(_) if expects_error => {}
            Some(error) => {
                bar.finish_and_clear();
                bail!("{}", failure(&notebook.path, count, &source, error));
            }
            None if expects_error => {
                bar.finish_and_clear();
                bail!(
                    "{}: cell {count} is tagged raises-exception, but ran to its end:\n{}",
                    notebook.path.display(),
                    indented(&source)
                );
            }
            None => {}
        }
        let cell = &mut notebook.document["cells"][index];
        cell["outputs"] = Value::Array(outputs.into_json(count, error.as_ref()));
        cell["execution_count"] = json!(count);
        bar.inc(1);
    }
    bar.finish_and_clear();
    // Code cells without code have nothing to show.
    for cell in notebook.document["cells"].as_array_mut().into_iter().flatten() {
        if cell["cell_type"] == "code" && joined(&cell["source"]).trim().is_empty() {
            cell["outputs"] = json!([]);
            cell["execution_count"] = Value::Null;
        }
    }
    Ok(())
}

fn tags(cell: &Value) -> impl Iterator<Item = &str> {
    cell["metadata"]["tags"].as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// Prints what a cell shows and keeps it for the notebook.
struct Terminal<'a> {
    bar: &'a ProgressBar,
    echo: bool,
    outputs: Outputs,
}

impl Front for Terminal<'_> {
    fn show(&mut self, event: Event) {
        if let Event::Progress { what, done, total } = &event {
            self.bar.set_message(format!("{what}: {done} of {total}"));
        } else if self.echo && event != Event::Quiet {
            self.bar.suspend(|| print_event(&event));
        }
        self.outputs.add(event);
    }

    fn ask(&mut self, question: &Question) -> Option<String> {
        self.outputs.add(question.nobody_answers());
        None
    }
}

fn print_event(event: &Event) {
    match event {
        Event::Printed(Stream::Stdout, text) => say::print(format_args!("{text}")),
        Event::Printed(Stream::Stderr, text) => eprint!("{text}"),
        Event::Note(text) => say!("{text}"),
        Event::Progress { .. } | Event::ProgressEnd | Event::Quiet => {}
        Event::Display(media) | Event::Value(media) => {
            if let Some(text) = media.get("text/plain") {
                say!("{text}");
            }
        }
    }
}

fn failure(path: &Path, count: usize, source: &str, error: &CellError) -> String {
    let kind = error.kind.name();
    format!("{}: cell {count} failed ({kind})\n\n{}\n\n{}", path.display(), indented(source), error.details)
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}

/// Says how the executed notebook differs from the committed one, cell by cell.
fn compare(committed: &Notebook, executed: &Notebook) -> Result<()> {
    let mut differences = String::new();
    for (number, ((_, old), (_, new))) in committed.code_cells().zip(executed.code_cells()).enumerate() {
        let (old, new) = (readable_outputs(old), readable_outputs(new));
        if old == new {
            continue;
        }
        differences += &format!("cell {} (- committed, + now):\n", number + 1);
        for change in TextDiff::from_lines(&old, &new).iter_all_changes() {
            let sign = match change.tag() {
                ChangeTag::Delete => '-',
                ChangeTag::Insert => '+',
                ChangeTag::Equal => continue,
            };
            let line: String = change.value().trim_end_matches('\n').chars().take(200).collect();
            differences += &format!("{sign} {line}\n");
        }
    }
    if !differences.is_empty() {
        bail!("{}: outputs differ from the committed ones\n{differences}", committed.path.display());
    }
    if committed.text != executed.to_text()? {
        bail!("{}: the committed file is not in the form a run writes; run it without --check", committed.path.display());
    }
    Ok(())
}

/// A cell's count and outputs, a line for each thing that can differ.
fn readable_outputs(cell: &Value) -> String {
    let mut text = format!("execution_count {}\n", cell["execution_count"]);
    for output in cell["outputs"].as_array().into_iter().flatten() {
        text += &format!("{}\n", output["output_type"].as_str().unwrap_or(""));
        match output["output_type"].as_str() {
            Some("stream") => text += &format!("{}\n{}", output["name"].as_str().unwrap_or(""), joined(&output["text"])),
            Some("error") => {
                let lines = output["traceback"].as_array().into_iter().flatten().filter_map(Value::as_str);
                text += &format!("{}\n{}\n", output["evalue"].as_str().unwrap_or(""), lines.collect::<Vec<_>>().join("\n"));
            }
            _ => {
                for (media_type, content) in output["data"].as_object().into_iter().flatten() {
                    text += &format!("{media_type}\n{}\n", readable(media_type, content));
                }
            }
        }
    }
    text
}

/// An image is told by its size and a hash: its text says nothing to a reader.
fn readable(media_type: &str, content: &Value) -> String {
    let text = match content {
        Value::Object(_) => content.to_string(),
        _ => joined(content),
    };
    if media_type.starts_with("image/") {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        format!("{} characters, hash {:016x}", text.len(), hasher.finish())
    } else {
        text
    }
}
