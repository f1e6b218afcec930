//! The Jupyter kernel: the session on the five sockets of the Jupyter protocol, version 5.3.
//!
//! `kernel_info` is answered at once. Behind it a thread of its own fills the slot, starts the session and loads the prelude; cells wait
//! for that in their order. What the cells show goes out while they run.
//!
//! Source: <https://jupyter-client.readthedocs.io/en/latest/messaging.html>

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use crossbeam_channel::{Receiver, Sender, unbounded};
use jupyter_protocol::{
    ClearOutput, CodeMirrorMode, CommClose, CommInfoReply, CompleteReply, ConnectionInfo, DisplayData, ErrorOutput, ExecuteInput,
    ExecuteReply, ExecuteRequest, ExecuteResult, ExecutionCount, HistoryEntry, HistoryReply, HistoryRequest, InputRequest,
    InspectReply, InterruptReply, IsCompleteReply, JupyterMessage, JupyterMessageContent, KernelInfoReply, LanguageInfo,
    Media as JupyterMedia, ReplyError, ReplyStatus, ShutdownReply, Status, StreamContent, Transient, UpdateDisplayData,
};
use jupyter_zmq_client::{
    KernelIoPubXPubConnection, RouterRecvConnection, RouterSendConnection, SubscriptionEvent, create_kernel_control_connection,
    create_kernel_heartbeat_connection, create_kernel_iopub_xpub_connection, create_kernel_shell_connection,
    create_kernel_stdin_connection,
};
use quantlens::display::escape;
use ra_ap_rustc_lexer::{FrontmatterAllowed, LiteralKind, TokenKind, tokenize};
use serde_json::{Map, Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::session::{CellError, CellErrorKind, Event, Front, Interrupter, Media, Session, Stream};
use super::slot::Slot;
use super::template::rustc_version;
use super::warm;

/// Serves the kernel until Jupyter shuts it down or goes away.
pub fn serve(connection_file: &Path, slot: Slot) -> Result<()> {
    let text = std::fs::read_to_string(connection_file)
        .with_context(|| format!("could not read the connection file {}", connection_file.display()))?;
    let connection: ConnectionInfo =
        serde_json::from_str(&text).with_context(|| format!("{} is no Jupyter connection file", connection_file.display()))?;
    if connection.key.is_empty() || connection.signature_scheme != "hmac-sha256" {
        bail!(
            "the connection file asks for messages signed by {:?} with {} key: this kernel obeys only messages signed by hmac-sha256",
            connection.signature_scheme,
            if connection.key.is_empty() { "no" } else { "a" }
        );
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("could not start tokio")?;
    runtime.block_on(serve_sockets(&connection, slot))
}

/// Where messages go out, in order on each socket.
#[derive(Clone)]
struct Wire {
    iopub: UnboundedSender<JupyterMessage>,
    shell: UnboundedSender<JupyterMessage>,
    stdin: UnboundedSender<JupyterMessage>,
}

impl Wire {
    /// To everyone who listens.
    fn publish(&self, content: impl Into<JupyterMessageContent>, parent: &JupyterMessage) {
        // iopub has topics where the others have an address; everyone takes every topic.
        let message = JupyterMessage::new(content, Some(parent)).with_zmq_identities(Vec::new());
        // Only when the kernel ends is there nobody to take it.
        let _ = self.iopub.send(message);
    }

    fn reply(&self, content: impl Into<JupyterMessageContent>, parent: &JupyterMessage) {
        let _ = self.shell.send(JupyterMessage::new(content, Some(parent)));
    }
}

/// What shell and control know of the session, which lives on another thread.
#[derive(Default)]
struct Shared {
    interrupter: OnceLock<Interrupter>,
    /// Cells that came before this do not start.
    stopped_at: Mutex<Option<Instant>>,
    is_executing: AtomicBool,
    /// The cells that were run, with their counts.
    history: Mutex<Vec<(usize, String)>>,
}

impl Shared {
    fn interrupt(&self) {
        if self.is_executing.load(Ordering::SeqCst)
            && let Some(interrupter) = self.interrupter.get()
        {
            interrupter.interrupt();
        }
        // Also what waits for the libraries, or behind the cell that runs.
        self.stop_waiting();
    }

    fn stop_waiting(&self) {
        *self.stopped_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn history(&self) -> std::sync::MutexGuard<'_, Vec<(usize, String)>> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_stopped(&self, came: Instant) -> bool {
        self.stopped_at.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|stopped| came < stopped)
    }
}

async fn serve_sockets(connection: &ConnectionInfo, slot: Slot) -> Result<()> {
    let session_id = uuid::Uuid::new_v4().to_string();
    let could_not_listen = "could not listen where the connection file says";
    let mut heartbeat = create_kernel_heartbeat_connection(connection).await.context(could_not_listen)?;
    let shell = create_kernel_shell_connection(connection, &session_id).await.context(could_not_listen)?;
    let mut control = create_kernel_control_connection(connection, &session_id).await.context(could_not_listen)?;
    let stdin = create_kernel_stdin_connection(connection, &session_id).await.context(could_not_listen)?;
    let iopub = create_kernel_iopub_xpub_connection(connection, &session_id).await.context(could_not_listen)?;
    let (shell_writer, mut shell) = shell.split();
    let (stdin_writer, stdin) = stdin.split();

    let (iopub_sender, iopub_receiver) = unbounded_channel();
    let (shell_sender, shell_receiver) = unbounded_channel();
    let (stdin_sender, stdin_receiver) = unbounded_channel();
    let wire = Wire { iopub: iopub_sender, shell: shell_sender, stdin: stdin_sender };
    let _ = wire.iopub.send(Status::starting().into());
    let publisher = tokio::spawn(publish_all(iopub, iopub_receiver));
    tokio::spawn(send_all(shell_writer, shell_receiver));
    tokio::spawn(send_all(stdin_writer, stdin_receiver));
    let (answer, answers) = unbounded();
    tokio::spawn(read_answers(stdin, answer));
    tokio::spawn(async move {
        loop {
            if heartbeat.single_heartbeat().await.is_err() {
                pause().await;
            }
        }
    });

    let shared = Arc::new(Shared::default());
    let slot = Arc::new(slot);
    let (work, works) = unbounded();
    let worker = Worker { wire: wire.clone(), works, answers, shared: Arc::clone(&shared), count: 0 };
    let workers_slot = Arc::clone(&slot);
    std::thread::spawn(move || worker.run(&workers_slot));

    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let parent_process = std::os::unix::process::parent_id();
    let mut every_second = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            message = control.read() => match message {
                Ok(message) => {
                    let reply = answer_control(&message, &wire, &shared);
                    if let Some(reply) = reply {
                        let _ = control.send(JupyterMessage::new(reply, Some(&message))).await;
                    }
                    wire.publish(Status::idle(), &message);
                    if matches!(message.content, JupyterMessageContent::ShutdownRequest(_)) {
                        break;
                    }
                }
                Err(_) => pause().await,
            },
            message = shell.read() => match message {
                Ok(message) if matches!(message.content, JupyterMessageContent::ShutdownRequest(_)) => {
                    if let Some(reply) = answer_control(&message, &wire, &shared) {
                        wire.reply(reply, &message);
                    }
                    wire.publish(Status::idle(), &message);
                    break;
                }
                Ok(message) => take_shell(message, &wire, &work, &shared),
                // Not signed, or no message: nothing is done.
                Err(_) => pause().await,
            },
            _ = terminate.recv() => break,
            // Jupyter ends its kernels itself on Ctrl-C.
            _ = tokio::signal::ctrl_c() => {}
            _ = every_second.tick() => if std::os::unix::process::parent_id() != parent_process {
                break;
            },
        }
    }
    if let Some(interrupter) = shared.interrupter.get() {
        interrupter.kill();
    }
    slot.give_back();
    // What was said last is on its way.
    drop(wire);
    let _ = tokio::time::timeout(Duration::from_millis(100), publisher).await;
    // Threads may still wait for a compiler or a cell that are no more.
    std::process::exit(0);
}

/// Between two tries at a socket that says an error, so that one which always does takes no processor.
async fn pause() {
    tokio::time::sleep(Duration::from_millis(5)).await;
}

async fn send_all(mut socket: RouterSendConnection, mut messages: UnboundedReceiver<JupyterMessage>) {
    while let Some(message) = messages.recv().await {
        // A client that is gone needs no reply.
        let _ = socket.send(message).await;
    }
}

/// Also welcomes who subscribes, so that clients need not guess when they will hear everything (JEP 65).
async fn publish_all(mut socket: KernelIoPubXPubConnection, mut messages: UnboundedReceiver<JupyterMessage>) {
    loop {
        tokio::select! {
            message = messages.recv() => match message {
                Some(message) => {
                    let _ = socket.send(message).await;
                }
                None => return,
            },
            event = socket.recv_subscription() => match event {
                Ok(SubscriptionEvent::Subscribe(topic)) => {
                    let _ = socket.send(jupyter_protocol::IoPubWelcome::new(topic).into()).await;
                }
                Ok(SubscriptionEvent::Unsubscribe(_)) => {}
                Err(_) => pause().await,
            },
        }
    }
}

async fn read_answers(mut socket: RouterRecvConnection, answers: Sender<String>) {
    loop {
        match socket.read().await {
            Ok(JupyterMessage { content: JupyterMessageContent::InputReply(reply), .. }) => {
                if answers.send(reply.value).is_err() {
                    return;
                }
            }
            Ok(_) => {}
            Err(_) => pause().await,
        }
    }
}

/// Does what the control socket asks, and gives its reply.
fn answer_control(message: &JupyterMessage, wire: &Wire, shared: &Shared) -> Option<JupyterMessageContent> {
    wire.publish(Status::busy(), message);
    match &message.content {
        JupyterMessageContent::KernelInfoRequest(_) => Some(kernel_info().into()),
        JupyterMessageContent::InterruptRequest(_) => {
            shared.interrupt();
            Some(InterruptReply::default().into())
        }
        JupyterMessageContent::ShutdownRequest(request) => {
            let reply = ShutdownReply { restart: request.restart, status: ReplyStatus::Ok, error: None };
            // Clients learn from it that the others shut down.
            wire.publish(reply.clone(), message);
            Some(reply.into())
        }
        _ => None,
    }
}

/// Answers what needs no session at once, and queues the rest.
fn take_shell(message: JupyterMessage, wire: &Wire, work: &Sender<Work>, shared: &Shared) {
    let reply: Option<JupyterMessageContent> = match &message.content {
        JupyterMessageContent::ExecuteRequest(_)
        | JupyterMessageContent::CompleteRequest(_)
        | JupyterMessageContent::InspectRequest(_) => {
            let _ = work.send(Work { message, came: Instant::now() });
            return;
        }
        JupyterMessageContent::KernelInfoRequest(_) => Some(kernel_info().into()),
        JupyterMessageContent::IsCompleteRequest(request) => Some(is_complete(&request.code).into()),
        JupyterMessageContent::HistoryRequest(request) => Some(history(request, &shared.history()).into()),
        JupyterMessageContent::CommInfoRequest(_) => {
            Some(CommInfoReply { status: ReplyStatus::Ok, comms: HashMap::new(), error: None }.into())
        }
        _ => None,
    };
    wire.publish(Status::busy(), &message);
    match (&message.content, reply) {
        (_, Some(reply)) => wire.reply(reply, &message),
        // There is nothing here to talk to; it is told so.
        (JupyterMessageContent::CommOpen(open), None) => {
            wire.publish(CommClose { comm_id: open.comm_id.clone(), data: Map::new() }, &message);
        }
        (_, None) => {}
    }
    wire.publish(Status::idle(), &message);
}

fn kernel_info() -> KernelInfoReply {
    // `rustc 1.95.0 (…)`.
    let rustc = rustc_version().ok().and_then(|text| text.split_whitespace().nth(1)).unwrap_or("unknown").to_owned();
    KernelInfoReply {
        status: ReplyStatus::Ok,
        protocol_version: "5.3".to_owned(),
        implementation: "quantlens".to_owned(),
        implementation_version: env!("CARGO_PKG_VERSION").to_owned(),
        banner: format!("quantlens {}, Rust {rustc}, evaluated by evcxr", env!("CARGO_PKG_VERSION")),
        language_info: LanguageInfo {
            name: "rust".to_owned(),
            version: rustc,
            mimetype: Some("text/rust".to_owned()),
            file_extension: Some(".rs".to_owned()),
            pygments_lexer: Some("rust".to_owned()),
            codemirror_mode: Some(CodeMirrorMode::Simple("rust".to_owned())),
            nbconvert_exporter: Some("script".to_owned()),
        },
        help_links: Vec::new(),
        debugger: false,
        error: None,
    }
}

/// The cells of this kernel's life, which is session 0; their outputs are not kept. A search finds what holds the pattern's words in
/// their order.
fn history(request: &HistoryRequest, cells: &[(usize, String)]) -> HistoryReply {
    let (found, with_output): (Vec<&(usize, String)>, bool) = match request {
        HistoryRequest::Range { start, stop, output, .. } => {
            let is_asked = |count: usize| {
                let count = i32::try_from(count).unwrap_or(i32::MAX);
                count >= *start && (*stop <= 0 || count < *stop)
            };
            (cells.iter().filter(|(count, _)| is_asked(*count)).collect(), *output)
        }
        HistoryRequest::Tail { n, output, .. } => (last(cells.iter().collect(), *n), *output),
        HistoryRequest::Search { pattern, unique, output, n, .. } => {
            let mut found: Vec<&(usize, String)> = cells.iter().filter(|(_, code)| holds(code, pattern)).collect();
            if *unique {
                let all = found.clone();
                let mut index = 0;
                found.retain(|(_, code)| {
                    index += 1;
                    !all[index..].iter().any(|(_, later)| later == code)
                });
            }
            (last(found, *n), *output)
        }
    };
    let entry = |(count, code): &(usize, String)| {
        if with_output {
            HistoryEntry::InputOutput(0, *count, (code.clone(), String::new()))
        } else {
            HistoryEntry::Input(0, *count, code.clone())
        }
    };
    HistoryReply::new(found.into_iter().map(entry).collect())
}

fn last<T>(mut found: Vec<T>, n: i32) -> Vec<T> {
    let n = usize::try_from(n).unwrap_or(0);
    found.split_off(found.len().saturating_sub(n))
}

/// Whether the parts of a pattern between its `*` stand in the code one behind the other.
fn holds(code: &str, pattern: &str) -> bool {
    let mut rest = code;
    pattern.split('*').all(|part| match rest.find(part) {
        Some(at) => {
            rest = &rest[at + part.len()..];
            true
        }
        None => false,
    })
}

/// Whether a console should run the code or give another line: brackets, strings and comments that are open wait for more.
fn is_complete(code: &str) -> IsCompleteReply {
    let mut open = Vec::new();
    for token in tokenize(code, FrontmatterAllowed::No) {
        let closes = match token.kind {
            TokenKind::OpenParen | TokenKind::OpenBrace | TokenKind::OpenBracket => {
                open.push(token.kind);
                continue;
            }
            TokenKind::CloseParen => TokenKind::OpenParen,
            TokenKind::CloseBrace => TokenKind::OpenBrace,
            TokenKind::CloseBracket => TokenKind::OpenBracket,
            TokenKind::BlockComment { terminated: false, .. } => return IsCompleteReply::incomplete(String::new()),
            TokenKind::Literal {
                kind: LiteralKind::Str { terminated: false } | LiteralKind::RawStr { n_hashes: None }, ..
            } => {
                return IsCompleteReply::incomplete(String::new());
            }
            _ => continue,
        };
        if open.pop() != Some(closes) {
            return IsCompleteReply::invalid();
        }
    }
    if open.is_empty() { IsCompleteReply::complete() } else { IsCompleteReply::incomplete("    ".repeat(open.len())) }
}

/// A request that needs the session.
struct Work {
    message: JupyterMessage,
    came: Instant,
}

/// The thread that has the session.
struct Worker {
    wire: Wire,
    works: Receiver<Work>,
    answers: Receiver<String>,
    shared: Arc<Shared>,
    count: usize,
}

impl Worker {
    fn run(mut self, slot: &Slot) {
        let mut session = self.start(slot);
        if let Err(error) = &session {
            eprintln!("quantlens: {error:#}");
        }
        while let Ok(Work { message, came }) = self.works.recv() {
            self.wire.publish(Status::busy(), &message);
            match (&message.content, &mut session) {
                (JupyterMessageContent::ExecuteRequest(request), _) if self.shared.is_stopped(came) => {
                    self.refuse(request, &message);
                }
                (JupyterMessageContent::ExecuteRequest(request), session) => self.execute(request, &message, session),
                (JupyterMessageContent::CompleteRequest(request), Ok(session)) => {
                    let reply = complete(session, &request.code, request.cursor_pos);
                    self.wire.reply(reply, &message);
                }
                (JupyterMessageContent::InspectRequest(request), Ok(session)) => {
                    let reply = inspect(session, &request.code, request.cursor_pos);
                    self.wire.reply(reply, &message);
                }
                (JupyterMessageContent::CompleteRequest(request), Err(_)) => {
                    self.wire.reply(completion(Vec::new(), request.cursor_pos, request.cursor_pos), &message);
                }
                (JupyterMessageContent::InspectRequest(_), Err(_)) => self.wire.reply(documentation(None), &message),
                _ => {}
            }
            self.wire.publish(Status::idle(), &message);
        }
    }

    fn start(&self, slot: &Slot) -> Result<Session> {
        slot.fill(warm::shower()?)?;
        let mut session = Session::start(slot)?;
        let _ = self.shared.interrupter.set(session.interrupter());
        session.preload()?;
        Ok(session)
    }

    fn execute(&mut self, request: &ExecuteRequest, message: &JupyterMessage, session: &mut Result<Session>) {
        let is_counted = request.store_history && !request.silent && !request.code.trim().is_empty();
        self.count += usize::from(is_counted);
        let count = ExecutionCount::new(self.count);
        if is_counted {
            self.shared.history().push((self.count, request.code.clone()));
        }
        if !request.silent {
            self.wire.publish(ExecuteInput { code: request.code.clone(), execution_count: count }, message);
        }
        let mut front = Live {
            wire: &self.wire,
            message,
            answers: &self.answers,
            shared: &self.shared,
            count,
            is_silent: request.silent,
            may_ask: request.allow_stdin,
            said: Said::default(),
            progress: None,
        };
        let result = match session {
            Err(error) => Err(CellError::of_kernel(&format!("{error:#}"))),
            Ok(session) => {
                self.shared.is_executing.store(true, Ordering::SeqCst);
                let result = session.execute(&request.code, &mut front);
                self.shared.is_executing.store(false, Ordering::SeqCst);
                result.unwrap_or_else(|error| Err(CellError::of_kernel(&format!("{error:#}"))))
            }
        };
        front.end_progress();
        let reply = ExecuteReply { execution_count: count, user_expressions: Some(HashMap::new()), ..ExecuteReply::default() };
        match result {
            Ok(()) => self.wire.reply(reply, message),
            Err(error) => {
                let traceback = error.traceback();
                let (ename, evalue) = (error.kind.name().to_owned(), error.message);
                if !request.silent {
                    let output = ErrorOutput { ename: ename.clone(), evalue: evalue.clone(), traceback: traceback.clone() };
                    self.wire.publish(output, message);
                }
                if request.stop_on_error {
                    // The cells that wait were sent in the belief that this one would run.
                    self.shared.stop_waiting();
                }
                let error = Some(Box::new(ReplyError { ename, evalue, traceback }));
                self.wire.reply(ExecuteReply { status: ReplyStatus::Error, error, ..reply }, message);
            }
        }
    }

    /// A cell behind one that failed or was interrupted.
    fn refuse(&self, request: &ExecuteRequest, message: &JupyterMessage) {
        if !request.silent {
            self.wire
                .publish(ExecuteInput { code: request.code.clone(), execution_count: ExecutionCount::new(self.count) }, message);
        }
        let reply = ExecuteReply {
            status: ReplyStatus::Aborted,
            execution_count: ExecutionCount::new(self.count),
            user_expressions: Some(HashMap::new()),
            ..ExecuteReply::default()
        };
        self.wire.reply(reply, message);
    }
}

/// Shows a cell's events as they come.
struct Live<'a> {
    wire: &'a Wire,
    message: &'a JupyterMessage,
    answers: &'a Receiver<String>,
    shared: &'a Shared,
    count: ExecutionCount,
    is_silent: bool,
    may_ask: bool,
    said: Said,
    progress: Option<String>,
}

/// What a cell has shown so far, to show it again when a progress bar is taken away: Jupyter clears all of a cell or nothing.
#[derive(Default)]
struct Said {
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
    fn end_progress(&mut self) {
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
            let text =
                format!("the cell asks for input ({}), which this front end cannot give: it gets an empty line\n", prompt.trim());
            self.show(Event::Printed(Stream::Stderr, text));
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
fn jupyter_media(media: Media) -> JupyterMedia {
    let object: Map<String, Value> = media
        .into_iter()
        .map(|(media_type, content)| match serde_json::from_str::<Value>(&content) {
            Ok(value) if media_type.ends_with("json") => (media_type, value),
            _ => (media_type, Value::String(content)),
        })
        .collect();
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

/// The byte at which this character starts; the code's end beyond it.
fn byte_of(code: &str, character: usize) -> usize {
    code.char_indices().nth(character).map_or(code.len(), |(byte, _)| byte)
}

fn character_of(code: &str, byte: usize) -> usize {
    code.get(..byte).map_or_else(|| code.chars().count(), |before| before.chars().count())
}

fn complete(session: &mut Session, code: &str, cursor: usize) -> CompleteReply {
    match session.complete(code, byte_of(code, cursor)) {
        Ok(found) => {
            let start = character_of(code, found.start_offset);
            let end = character_of(code, found.end_offset);
            // Names without the arguments that rust-analyzer would fill in, and without what only the kernel calls.
            let name = |code: String| code.split('(').next().unwrap_or("").to_owned();
            let mut texts: Vec<(String, &str)> =
                found.completions.into_iter().map(|found| (name(found.code), found.kind)).collect();
            texts.retain(|(text, _)| text != "evcxr_display");
            texts.sort();
            texts.dedup_by(|a, b| a.0 == b.0);
            completion(texts, start, end)
        }
        Err(_) => completion(Vec::new(), cursor, cursor),
    }
}

fn completion(texts: Vec<(String, &str)>, cursor_start: usize, cursor_end: usize) -> CompleteReply {
    // JupyterLab shows the kinds beside the names.
    let kinds: Vec<Value> = texts
        .iter()
        .map(|(text, kind)| json!({ "text": text, "type": kind, "start": cursor_start, "end": cursor_end }))
        .collect();
    let mut metadata = Map::new();
    metadata.insert("_jupyter_types_experimental".to_owned(), Value::Array(kinds));
    let matches = texts.into_iter().map(|(text, _)| text).collect();
    CompleteReply { matches, cursor_start, cursor_end, metadata, status: ReplyStatus::Ok, error: None }
}

fn inspect(session: &mut Session, code: &str, cursor: usize) -> InspectReply {
    // What stands around the cursor is meant, not only what is before it.
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let byte = byte_of(code, cursor);
    let end = byte + code[byte..].find(|c| !is_word(c)).unwrap_or(code.len() - byte);
    documentation(session.inspect(code, end).ok().flatten())
}

fn documentation(found: Option<(String, String)>) -> InspectReply {
    let is_found = found.is_some();
    let media = found.map(|(text, html)| Media::from([("text/plain".to_owned(), text), ("text/html".to_owned(), html)]));
    InspectReply {
        found: is_found,
        data: jupyter_media(media.unwrap_or_default()),
        metadata: Map::new(),
        status: ReplyStatus::Ok,
        error: None,
    }
}

impl CellError {
    /// The kernel itself cannot run cells.
    fn of_kernel(details: &str) -> Self {
        Self { kind: CellErrorKind::Died, message: details.lines().next().unwrap_or("").to_owned(), details: details.to_owned() }
    }
}
