//! A notebook file: read and checked, changed where a run changes it, written back in one step.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use base64::Engine as _;
use serde_json::{Map, Value, json};

use super::cell_error::CellError;
use super::front::Event;
use super::marks::Stream;
use super::media::{Media, is_text, json_of, metadata, note_media};

/// A notebook file: checked to be nbformat 4 in Rust, and kept as it is but for what a run changes.
#[derive(Clone)]
pub struct Notebook {
    pub path: PathBuf,
    /// The file as it was read.
    pub text: String,
    pub document: Value,
}

impl Notebook {
    /// Reads and checks a file; it is not touched.
    pub fn read(path: &Path) -> Result<Self> {
        let could_not_read = || format!("could not read {}", path.display());
        // Where links lead: the file itself is to be replaced, not a link to it.
        let path = &path.canonicalize().with_context(could_not_read)?;
        let text = fs::read_to_string(path).with_context(could_not_read)?;
        let no_notebook = |reason: String| anyhow!("{} is no Jupyter notebook: {reason}", path.display());
        match nbformat::parse_notebook(&text).map_err(|error| no_notebook(error.to_string()))? {
            nbformat::Notebook::V4(_) | nbformat::Notebook::Legacy(_) => {}
            _ => {
                return Err(no_notebook(
                    "it is of a version before 4, or not valid; open and save it in Jupyter first".to_owned(),
                ));
            }
        }
        // The parsed notebook proves the document valid, from format 4.0 on; the document itself loses nothing, known or not.
        let document = serde_json::from_str(&text)?;
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

    pub fn code_cells(&self) -> impl Iterator<Item = (usize, &Value)> {
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
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = self.to_text()?;
        nbformat::parse_notebook(&text).map_err(|error| anyhow!("the executed notebook would not be valid: {error}"))?;
        replace_file(path, text.as_bytes())
    }

    /// Writes the outputs back, unless somebody else wrote the file meanwhile.
    pub fn write_back(&self) -> Result<()> {
        let path = self.path.display();
        if fs::read_to_string(&self.path).with_context(|| format!("could not read {path}"))? != self.text {
            bail!("{path} was changed while it ran: it is left as it is, run it again");
        }
        self.write(&self.path)
    }

    /// Every picture a cell showed, as (cell number, file ending, bytes).
    pub fn figures(&self) -> Result<Vec<(usize, &'static str, Vec<u8>)>> {
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
pub fn replace_file(path: &Path, bytes: &[u8]) -> Result<()> {
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
pub fn writable(path: &Path) -> Result<Option<fs::Permissions>> {
    let permissions = fs::metadata(path).ok().map(|metadata| metadata.permissions());
    if permissions.as_ref().is_some_and(fs::Permissions::readonly) {
        bail!("could not write {}: it is read-only", path.display());
    }
    Ok(permissions)
}

/// A cell's outputs: what it printed and displayed, in order; what it printed as errors; its value; its error. Its two streams come by
/// two ways, so in which order they were printed cannot be known.
#[derive(Default)]
pub struct Outputs {
    shown: Vec<Shown>,
    pub stderr: String,
    value: Option<Media>,
    notes: Vec<String>,
}

enum Shown {
    Text(String),
    Display(Media),
}

impl Outputs {
    pub fn add(&mut self, event: Event) {
        match event {
            Event::Printed(Stream::Stdout, text) => match self.shown.last_mut() {
                Some(Shown::Text(before)) => *before += &text,
                _ => self.shown.push(Shown::Text(text)),
            },
            Event::Printed(Stream::Stderr, text) => self.stderr += &text,
            Event::Display(media) => self.shown.push(Shown::Display(media)),
            Event::Value(media) => self.value = Some(media),
            Event::Note(text) => self.notes.push(text),
            Event::Progress { .. } | Event::ProgressEnd | Event::Quiet => {}
        }
    }

    /// As nbformat has them.
    pub fn into_json(self, count: usize, error: Option<&CellError>) -> Vec<Value> {
        let stream = |name: &str, text: &str| json!({ "name": name, "output_type": "stream", "text": lines(text) });
        let data = |media: Media| -> Map<String, Value> {
            media.into_iter().map(|(media_type, content)| stored(media_type, content)).collect()
        };
        let mut list = Vec::new();
        for shown in self.shown {
            list.push(match shown {
                Shown::Text(text) => stream("stdout", &text),
                Shown::Display(media) => {
                    let metadata = metadata(&media);
                    json!({ "data": data(media), "metadata": metadata, "output_type": "display_data" })
                }
            });
        }
        if !self.stderr.is_empty() {
            list.push(stream("stderr", &self.stderr));
        }
        if let Some(media) = self.value {
            let metadata = metadata(&media);
            list.push(
                json!({ "data": data(media), "execution_count": count, "metadata": metadata, "output_type": "execute_result" }),
            );
        }
        for note in self.notes {
            list.push(json!({ "data": data(note_media(&note)), "metadata": {}, "output_type": "display_data" }));
        }
        if let Some(error) = error {
            let (ename, evalue) = (error.kind.name(), &error.message);
            list.push(json!({ "ename": ename, "evalue": evalue, "output_type": "error", "traceback": error.traceback() }));
        }
        list
    }
}

fn lines(text: &str) -> Vec<&str> {
    text.split_inclusive('\n').collect()
}

/// Text is stored as lines, JSON as what it says, base64 as one string.
fn stored(media_type: String, content: String) -> (String, Value) {
    let value = match json_of(&media_type, &content) {
        Some(value) => value,
        None if is_text(&media_type) => json!(lines(&content)),
        None => Value::String(content),
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
