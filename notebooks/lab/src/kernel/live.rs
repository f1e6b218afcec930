//! What a cell shows, on its way to Jupyter while the cell runs.

use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use jupyter_protocol::{
    ClearOutput, DisplayData, ExecuteResult, ExecutionCount, InputRequest, JupyterMessage, JupyterMessageContent,
    Media as JupyterMedia, StreamContent, Transient, UpdateDisplayData,
};
use serde_json::{Map, Value};

use super::{Shared, Wire};
use crate::front::{Event, Front, Question};
use crate::html::escape;
use crate::marks::Stream;
use crate::media::{Media, json_of, metadata, note_media};
use crate::steering::Interrupter;

/// Shows a cell's events as they come.
pub struct Live<'a> {
    pub wire: &'a Wire,
    pub message: &'a JupyterMessage,
    pub answers: &'a Receiver<String>,
    pub shared: &'a Shared,
    pub count: ExecutionCount,
    pub is_silent: bool,
    pub may_ask: bool,
    pub said: Said,
    pub gathered: Gathered,
    /// The display that is a progress bar.
    pub progress: Option<String>,
}

/// Printed text that waits a moment for more. A saved notebook has one output for each message, so text that is printed in quick
/// succession goes out as one, however fast the machine is; ipykernel does the same.
#[derive(Default)]
pub struct Gathered {
    stdout: String,
    stderr: String,
    /// When the first of it came.
    since: Option<Instant>,
}

/// Text waits so long for more, and then until for a moment none has come.
const GATHERED_FOR: Duration = Duration::from_millis(200);
/// Text that keeps coming is not held longer.
const GATHERED_AT_MOST: Duration = Duration::from_millis(600);
/// Nor is more of it.
const MOST_BYTES_GATHERED: usize = 1 << 20;

impl Gathered {
    fn add(&mut self, stream: Stream, text: &str) {
        match stream {
            Stream::Stdout => self.stdout += text,
            Stream::Stderr => self.stderr += text,
        }
        self.since.get_or_insert_with(Instant::now);
    }

    fn is_due(&self, is_quiet: bool) -> bool {
        let is_older_than = |time: Duration| self.since.is_some_and(|since| since.elapsed() >= time);
        let is_much = self.stdout.len() + self.stderr.len() >= MOST_BYTES_GATHERED;
        is_much || is_older_than(if is_quiet { GATHERED_FOR } else { GATHERED_AT_MOST })
    }
}

/// What a cell has shown so far, to show it again when a progress bar is taken away: Jupyter clears all of a cell or nothing.
#[derive(Default)]
pub struct Said {
    contents: Vec<JupyterMessageContent>,
    bytes: usize,
}

/// Beyond this a bar stays, empty, rather than that all is sent twice.
const MOST_BYTES_SAID_AGAIN: usize = 16 << 20;

impl Live<'_> {
    fn say(&mut self, content: impl Into<JupyterMessageContent>, bytes: usize) {
        if self.is_silent {
            return;
        }
        let content = content.into();
        self.said.bytes += bytes;
        if self.said.bytes <= MOST_BYTES_SAID_AGAIN {
            self.said.contents.push(content.clone());
        }
        self.wire.publish_output(content, self.message, bytes);
    }

    fn say_stream(&mut self, stream: Stream, text: &str) {
        if !text.is_empty() {
            let content = match stream {
                Stream::Stdout => StreamContent::stdout(text),
                Stream::Stderr => StreamContent::stderr(text),
            };
            self.say(content, text.len());
        }
    }

    /// What was gathered of the cell's standard output goes out; its errors wait on, as a saved run has them behind it.
    fn say_stdout(&mut self) {
        let text = std::mem::take(&mut self.gathered.stdout);
        self.say_stream(Stream::Stdout, &text);
    }

    pub fn has_gathered(&self) -> bool {
        self.gathered.since.is_some()
    }

    /// All that was gathered goes out.
    pub fn say_gathered(&mut self) {
        self.say_stdout();
        let text = std::mem::take(&mut self.gathered.stderr);
        self.say_stream(Stream::Stderr, &text);
        self.gathered.since = None;
    }

    fn show_progress(&mut self, what: &str, done: usize, total: usize) {
        if self.is_silent {
            return;
        }
        self.say_gathered();
        self.show_bar(what, done, total);
        if done >= total {
            self.end_progress();
        }
    }

    /// Draws the bar, or draws it anew.
    pub fn show_bar(&mut self, what: &str, done: usize, total: usize) {
        let media = progress_media(what, done, total);
        match &self.progress {
            Some(display_id) => {
                let transient = Transient { display_id: Some(display_id.clone()) };
                self.wire.publish(UpdateDisplayData { data: media, metadata: Map::new(), transient }, self.message);
            }
            None => {
                let display_id = uuid::Uuid::new_v4().to_string();
                self.progress = Some(display_id.clone());
                let transient = Some(Transient { display_id: Some(display_id) });
                self.wire.publish(DisplayData { data: media, metadata: Map::new(), transient }, self.message);
            }
        }
    }

    /// Takes the bar away, so that a saved notebook has nothing of it.
    pub fn end_progress(&mut self) {
        let Some(display_id) = self.progress.take() else { return };
        if self.said.bytes > MOST_BYTES_SAID_AGAIN {
            let data = jupyter_media(Media::from([("text/plain".to_owned(), String::new())]));
            let transient = Transient { display_id: Some(display_id) };
            self.wire.publish(UpdateDisplayData { data, metadata: Map::new(), transient }, self.message);
            return;
        }
        // With something to follow the old stays until it comes, and nothing flickers.
        self.wire.publish(ClearOutput { wait: !self.said.contents.is_empty() }, self.message);
        for content in &self.said.contents {
            self.wire.publish(content.clone(), self.message);
        }
    }
}

impl Front for Live<'_> {
    fn show(&mut self, event: Event) {
        match event {
            Event::Printed(stream, text) => {
                self.gathered.add(stream, &text);
                if self.gathered.is_due(false) {
                    self.say_gathered();
                }
            }
            Event::Quiet => {
                if self.gathered.is_due(true) {
                    self.say_gathered();
                }
            }
            Event::Display(media) => {
                self.say_stdout();
                let (bytes, metadata) = (size(&media), metadata(&media));
                self.say(DisplayData { data: jupyter_media(media), metadata, transient: None }, bytes);
            }
            Event::Value(media) => {
                self.say_gathered();
                let (bytes, metadata, execution_count) = (size(&media), metadata(&media), self.count);
                let transient = Some(Transient::default());
                self.say(ExecuteResult { execution_count, data: jupyter_media(media), metadata, transient }, bytes);
            }
            Event::Note(text) => {
                self.say_gathered();
                let data = jupyter_media(note_media(&text));
                self.say(DisplayData { data, metadata: Map::new(), transient: None }, text.len());
            }
            Event::ProgressEnd => self.end_progress(),
            Event::Progress { what, done, total } => self.show_progress(&what, done, total),
        }
    }

    fn ask(&mut self, question: &Question) -> Option<String> {
        if !self.may_ask {
            self.show(question.nobody_answers());
            return None;
        }
        self.say_gathered();
        // An answer to an earlier question is none to this one.
        while self.answers.try_recv().is_ok() {}
        let request = InputRequest { prompt: question.prompt().to_owned(), password: matches!(question, Question::Password(_)) };
        self.wire.stdin.send(JupyterMessage::new(request, Some(self.message))).ok()?;
        loop {
            if let Ok(answer) = self.answers.recv_timeout(Duration::from_millis(50)) {
                return Some(answer);
            }
            if self.shared.interrupter.get().is_some_and(Interrupter::is_interrupted) {
                return None;
            }
        }
    }
}

fn size(media: &Media) -> usize {
    media.values().map(String::len).sum()
}

/// As the protocol has them: JSON as what it says, everything else as text.
pub fn jupyter_media(media: Media) -> JupyterMedia {
    let value = |media_type: &str, content| json_of(media_type, content).unwrap_or_else(|| Value::String(content.to_owned()));
    let object = media.iter().map(|(media_type, content)| (media_type.clone(), value(media_type, content))).collect();
    serde_json::from_value(Value::Object(object)).unwrap_or_default()
}

fn progress_media(what: &str, done: usize, total: usize) -> JupyterMedia {
    const WIDTH: usize = 30;
    let filled = (WIDTH * done).checked_div(total).unwrap_or(0).min(WIDTH);
    let bar = format!("{}{}", "=".repeat(filled), " ".repeat(WIDTH - filled));
    jupyter_media(Media::from([
        ("text/plain".to_owned(), format!("{what} [{bar}] {done} of {total}")),
        (
            "text/html".to_owned(),
            format!("<progress value=\"{done}\" max=\"{total}\"></progress> {} {done} of {total}", escape(what)),
        ),
    ]))
}
