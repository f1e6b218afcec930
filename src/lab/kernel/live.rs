//! What a cell shows, on its way to Jupyter while the cell runs.

use std::time::Duration;

use crossbeam_channel::Receiver;
use jupyter_protocol::{
    ClearOutput, DisplayData, ExecuteResult, ExecutionCount, InputRequest, JupyterMessage, JupyterMessageContent,
    Media as JupyterMedia, StreamContent, Transient, UpdateDisplayData,
};
use quantlens::display::escape;
use serde_json::{Map, Value};

use super::{Shared, Wire};
use crate::lab::output::json_of;
use crate::lab::session::{Event, Front, Media, Stream, nobody_answers};
use crate::lab::steering::Interrupter;

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
    /// The display that is a progress bar.
    pub progress: Option<String>,
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
        self.wire.publish(content, self.message);
    }

    fn show_progress(&mut self, what: &str, done: usize, total: usize) {
        if self.is_silent {
            return;
        }
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
        if done >= total {
            self.end_progress();
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
                let bytes = text.len();
                let content = match stream {
                    Stream::Stdout => StreamContent::stdout(&text),
                    Stream::Stderr => StreamContent::stderr(&text),
                };
                self.say(content, bytes);
            }
            Event::Display(media) => {
                let bytes = size(&media);
                self.say(DisplayData::new(jupyter_media(media)), bytes);
            }
            Event::Value(media) => {
                let (bytes, execution_count) = (size(&media), self.count);
                let result = ExecuteResult {
                    execution_count,
                    data: jupyter_media(media),
                    metadata: Map::new(),
                    transient: Some(Transient::default()),
                };
                self.say(result, bytes);
            }
            Event::Progress { what, done, total } => self.show_progress(&what, done, total),
        }
    }

    fn ask(&mut self, prompt: &str, is_password: bool) -> Option<String> {
        if !self.may_ask {
            self.show(nobody_answers(prompt));
            return None;
        }
        // An answer to an earlier question is none to this one.
        while self.answers.try_recv().is_ok() {}
        let request = InputRequest { prompt: prompt.to_owned(), password: is_password };
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
