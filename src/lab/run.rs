//! Takes a notebook through a session: outputs back into the file, or compared with it.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use base64::Engine as _;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};
use similar::{ChangeTag, TextDiff};

use super::page;
use super::session::{CellError, Event, Session, Stream};
use super::slot::{Progress, Slot};

/// A notebook file: checked to be nbformat 4 in Rust, and kept as it is but for what a run changes.
#[derive(Clone)]
pub struct Notebook {
    path: PathBuf,
    /// The file as it was read.
    text: String,
    document: Value,
}

impl Notebook {
    /// Reads and checks a file; it is not touched.
    pub fn read(path: &Path) -> Result<Self> {
        let could_not_read = || format!("could not read {}", path.display());
        // Where links lead: the file itself is to be replaced, not a link to it.
        let path = &path.canonicalize().with_context(could_not_read)?;
        let text = fs::read_to_string(path).with_context(could_not_read)?;
        let no_notebook = |reason: String| anyhow!("{} is no Jupyter notebook: {reason}", path.display());
        let document = match nbformat::parse_notebook(&text).map_err(|error| no_notebook(error.to_string()))? {
            // The parsed notebook proves the document valid; the document itself loses nothing, known or not.
            nbformat::Notebook::V4(_) => serde_json::from_str(&text)?,
            nbformat::Notebook::Legacy(old) => {
                let upgraded = nbformat::upgrade_legacy_notebook(old).map_err(|error| no_notebook(error.to_string()))?;
                let mut document = serde_json::to_value(upgraded)?;
                // Random ids would make two people's first runs differ.
                for (index, cell) in document["cells"].as_array_mut().into_iter().flatten().enumerate() {
                    cell["id"] = json!(format!("cell-{index}"));
                }
                document
            }
            _ => {
                return Err(no_notebook(
                    "it is of a version before 4, or not valid; open and save it in Jupyter first".to_owned(),
                ));
            }
        };
        let notebook = Self { path: path.to_owned(), text, document };
        let metadata = &notebook.document["metadata"];
        let places = [&metadata["kernelspec"]["language"], &metadata["language_info"]["name"], &metadata["kernelspec"]["name"]];
        let language = places.into_iter().find_map(Value::as_str).map(str::to_ascii_lowercase);
        match language.as_deref() {
            Some("rust") => Ok(notebook),
            Some(language) => bail!("{} is for a {language} kernel: this one runs Rust", path.display()),
            None => bail!("{} does not say what language it is in: its metadata names no kernel", path.display()),
        }
    }

    /// The title: the first heading, else the file's name.
    pub fn title(&self) -> String {
        let is_markdown = |cell: &&Value| cell["cell_type"] == "markdown";
        let sources: Vec<String> = self.cells().iter().filter(is_markdown).map(|cell| joined(&cell["source"])).collect();
        let heading = sources.iter().flat_map(|source| source.lines()).find_map(|line| line.strip_prefix("# "));
        heading.map_or_else(|| self.stem(), |heading| heading.trim().to_owned())
    }

    /// The file's name without its ending.
    pub fn stem(&self) -> String {
        self.path.file_stem().map_or_else(|| "notebook".to_owned(), |stem| stem.to_string_lossy().into_owned())
    }

    /// The file's name with another ending.
    pub fn named(&self, ending: &str) -> String {
        format!("{}.{ending}", self.stem())
    }

    pub fn cells(&self) -> &[Value] {
        self.document["cells"].as_array().map_or(&[], Vec::as_slice)
    }

    fn code_cells(&self) -> impl Iterator<Item = (usize, &Value)> {
        self.cells()
            .iter()
            .enumerate()
            .filter(|(_, cell)| cell["cell_type"] == "code" && !joined(&cell["source"]).trim().is_empty())
    }

    /// The file's text: keys sorted, one space of indent, a newline at the end, as Jupyter itself writes.
    pub fn to_text(&self) -> Result<String> {
        let mut text = Vec::new();
        let formatter = serde_json::ser::PrettyFormatter::with_indent(b" ");
        let mut serializer = serde_json::Serializer::with_formatter(&mut text, formatter);
        serde::Serialize::serialize(&sorted(&self.document), &mut serializer)?;
        text.push(b'\n');
        Ok(String::from_utf8(text)?)
    }

    /// Writes a file in one step: a run killed in the middle leaves the old one.
    fn write(&self, path: &Path) -> Result<()> {
        let text = self.to_text()?;
        nbformat::parse_notebook(&text).map_err(|error| anyhow!("the executed notebook would not be valid: {error}"))?;
        replace_file(path, text.as_bytes())
    }

    /// Writes the outputs back, unless somebody else wrote the file meanwhile.
    fn write_back(&self) -> Result<()> {
        let path = self.path.display();
        if fs::read_to_string(&self.path).with_context(|| format!("could not read {path}"))? != self.text {
            bail!("{path} was changed while it ran: it is left as it is, run it again");
        }
        self.write(&self.path)
    }

    /// Every picture a cell showed, as (cell number, file ending, bytes).
    fn figures(&self) -> Result<Vec<(usize, &'static str, Vec<u8>)>> {
        let mut figures = Vec::new();
        for (number, (_, cell)) in self.code_cells().enumerate() {
            for output in cell["outputs"].as_array().into_iter().flatten() {
                if let Some(svg) = output["data"].get("image/svg+xml") {
                    figures.push((number + 1, "svg", joined(svg).into_bytes()));
                }
                if let Some(png) = output["data"].get("image/png") {
                    figures.push((number + 1, "png", base64::engine::general_purpose::STANDARD.decode(joined(png).trim())?));
                }
            }
        }
        Ok(figures)
    }
}

/// Writes beside the file, then renames over it. A file that is there keeps its permissions, and one that may not be written is not.
fn replace_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let permissions = writable(path)?;
    let name = path.file_name().context("the path names no file")?.to_string_lossy();
    let beside = path.with_file_name(format!(".{name}.{}.part", std::process::id()));
    let written = fs::write(&beside, bytes)
        .and_then(|()| permissions.map_or(Ok(()), |permissions| fs::set_permissions(&beside, permissions)))
        .and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written.with_context(|| format!("could not write {}", path.display()))
}

/// The permissions of a file that may be written; `None` if there is none yet.
fn writable(path: &Path) -> Result<Option<fs::Permissions>> {
    let permissions = fs::metadata(path).ok().map(|metadata| metadata.permissions());
    if permissions.as_ref().is_some_and(fs::Permissions::readonly) {
        bail!("could not write {}: it is read-only", path.display());
    }
    Ok(permissions)
}

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

/// Runs one notebook. `html` is a directory for its page.
pub fn run(path: &Path, destination: &Destination, html: Option<&Path>) -> Result<()> {
    let committed = Notebook::read(path)?;
    let mut notebook = committed.clone();
    if *destination == Destination::InPlace {
        // Before the work, not after it.
        writable(&committed.path)?;
    }
    let slot = prepare_slot()?;
    // A notebook's `:dep` line names the prelude relative to the notebook.
    std::env::set_current_dir(committed.path.parent().context("the notebook has no directory")?)?;

    execute(&mut notebook, &slot, *destination != Destination::Check)?;

    match destination {
        Destination::InPlace => notebook.write_back()?,
        Destination::Check => compare(&committed, &notebook)?,
        Destination::Directory(directory) => write_all(&notebook, directory)?,
    }
    if let Some(directory) = html {
        fs::create_dir_all(directory).with_context(|| format!("could not make {}", directory.display()))?;
        let page = directory.join(notebook.named("html"));
        replace_file(&page, page::render(&notebook)?.as_bytes())?;
        println!("page: {}", page.display());
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

fn prepare_slot() -> Result<Slot> {
    let bar = ProgressBar::new(0).with_style(style("libraries [{bar:30}] {pos}/{len} {msg}")?);
    let slot = Slot::prepare(|progress| match progress {
        Progress::Waiting => note(&bar, "another run has the kernel's directory: waiting for it"),
        Progress::Built { done, total, name } => {
            if bar.length() == Some(0) {
                note(&bar, "building the notebooks' libraries: once, some four minutes on two cores");
            }
            bar.set_length(total as u64);
            bar.set_position(done as u64);
            bar.set_message(name.to_owned());
        }
    });
    bar.finish_and_clear();
    slot
}

fn style(template: &str) -> Result<ProgressStyle> {
    Ok(ProgressStyle::with_template(template)?.progress_chars("=> "))
}

/// A line above the bar, or on its own where there is no terminal to draw a bar in.
fn note(bar: &ProgressBar, line: &str) {
    bar.suspend(|| eprintln!("{line}"));
}

/// Runs every code cell in order and puts its outputs into the notebook. Stops at the first cell that fails.
fn execute(notebook: &mut Notebook, slot: &Slot, echo: bool) -> Result<()> {
    let cells: Vec<usize> = notebook.code_cells().map(|(index, _)| index).collect();
    let bar = ProgressBar::new(cells.len() as u64).with_style(style("cells [{bar:30}] {pos}/{len} {msg}")?);
    bar.enable_steady_tick(std::time::Duration::from_millis(200));
    bar.set_message("starting the kernel");
    let mut session = Session::start(slot)?;
    for (done, &index) in cells.iter().enumerate() {
        let cell = &notebook.cells()[index];
        let source = joined(&cell["source"]);
        let first_line = source.lines().find(|line| !line.trim().is_empty()).unwrap_or("").trim();
        bar.set_message(first_line.chars().take(60).collect::<String>());
        let expects_error = tags(cell).any(|tag| tag == "raises-exception");
        let count = done + 1;
        let mut outputs = Outputs::default();
        let result = session.execute(&source, |event| {
            if echo {
                bar.suspend(|| print_event(&event));
            }
            outputs.add(event);
        })?;
        let error = result.err();
        if let Some(error) = &error {
            outputs.stderr.truncate(error.lines_before);
        }
        if echo {
            bar.suspend(|| outputs.stderr.iter().for_each(|line| eprint!("{line}")));
        }
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

fn print_event(event: &Event) {
    match event {
        Event::Printed(Stream::Stdout, line) => print!("{line}"),
        // Held back until it is known whether it belongs to an error, whose message says it better.
        Event::Printed(Stream::Stderr, _) => {}
        Event::Value(media) => {
            if let Some(text) = media.get("text/plain") {
                println!("{text}");
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

/// A cell's outputs in a stable order: what it printed, what it printed as errors, its value, its error. Two streams come by two ways,
/// so in which order their lines were printed cannot be known.
#[derive(Default)]
struct Outputs {
    stdout: Vec<String>,
    stderr: Vec<String>,
    value: Option<BTreeMap<String, String>>,
}

impl Outputs {
    fn add(&mut self, event: Event) {
        match event {
            Event::Printed(Stream::Stdout, line) => self.stdout.push(line),
            Event::Printed(Stream::Stderr, line) => self.stderr.push(line),
            Event::Value(media) => self.value = Some(media),
        }
    }

    /// As nbformat has them.
    fn into_json(self, count: usize, error: Option<&CellError>) -> Vec<Value> {
        let stream = |name: &str, text: Vec<String>| json!({ "name": name, "output_type": "stream", "text": text });
        let mut list = Vec::new();
        if !self.stdout.is_empty() {
            list.push(stream("stdout", self.stdout));
        }
        if !self.stderr.is_empty() {
            list.push(stream("stderr", self.stderr));
        }
        if let Some(media) = self.value {
            let data: Map<String, Value> = media.into_iter().map(|(media_type, content)| stored(media_type, content)).collect();
            list.push(json!({ "data": data, "execution_count": count, "metadata": {}, "output_type": "execute_result" }));
        }
        if let Some(error) = error {
            let traceback: Vec<&str> = error.details.lines().collect();
            let (ename, evalue) = (error.kind.name(), &error.message);
            list.push(json!({ "ename": ename, "evalue": evalue, "output_type": "error", "traceback": traceback }));
        }
        list
    }
}

/// Text is stored as lines, JSON as what it says, base64 as one string.
fn stored(media_type: String, content: String) -> (String, Value) {
    let is_text = media_type.starts_with("text/") || media_type.ends_with("+xml");
    let value = match serde_json::from_str(&content) {
        Ok(value) if media_type.ends_with("json") => value,
        _ if is_text => content.split_inclusive('\n').map(str::to_owned).collect(),
        _ => Value::String(content),
    };
    (media_type, value)
}

/// A multi-line string: nbformat has it whole or as lines.
pub fn joined(value: &Value) -> String {
    match value {
        Value::Array(lines) => lines.iter().filter_map(Value::as_str).collect(),
        Value::String(text) => text.clone(),
        _ => String::new(),
    }
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let by_key: BTreeMap<&String, Value> = map.iter().map(|(key, value)| (key, sorted(value))).collect();
            Value::Object(by_key.into_iter().map(|(key, value)| (key.clone(), value)).collect())
        }
        Value::Array(list) => list.iter().map(sorted).collect(),
        other => other.clone(),
    }
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
