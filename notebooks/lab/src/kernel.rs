//! The Jupyter kernel: the session on the five sockets of the Jupyter protocol, version 5.3.
//!
//! `kernel_info` is answered at once. Behind it a thread of its own fills the slot, starts the session and loads the prelude; cells wait
//! for that in their order. What the cells show goes out while they run.
//!
//! Source: <https://jupyter-client.readthedocs.io/en/latest/messaging.html>

mod answers;
mod live;
mod sockets;
mod worker;

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use crossbeam_channel::{Sender, unbounded};
use jupyter_protocol::{
    CommClose, CommInfoReply, ConnectionInfo, InterruptReply, JupyterMessage, JupyterMessageContent, ReplyStatus, ShutdownReply,
    Status,
};
use jupyter_zmq_client::{KernelIoPubXPubConnection, RouterRecvConnection, RouterSendConnection, SubscriptionEvent};
use serde_json::Map;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::processes;
use super::slot::Slot;
use super::steering::Interrupter;
use sockets::{Sockets, read_shell};
use worker::{Work, Worker};

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
    iopub: UnboundedSender<(JupyterMessage, usize)>,
    /// Bytes of cells' output that are on their way.
    underway: Arc<AtomicUsize>,
    shell: UnboundedSender<JupyterMessage>,
    stdin: UnboundedSender<JupyterMessage>,
}

/// More of a cell's output is not taken before the clients have read some: then the cell waits.
const MOST_BYTES_UNDERWAY: usize = 32 << 20;

impl Wire {
    /// To everyone who listens.
    fn publish(&self, content: impl Into<JupyterMessageContent>, parent: &JupyterMessage) {
        self.send_to_all(content, parent, 0);
    }

    /// To everyone who listens: output of a cell, of this size. It waits while much of it is on its way, so not for the thread of the
    /// sockets, which has to send it.
    fn publish_output(&self, content: impl Into<JupyterMessageContent>, parent: &JupyterMessage, bytes: usize) {
        while self.underway.load(Ordering::Acquire) > MOST_BYTES_UNDERWAY && !self.iopub.is_closed() {
            std::thread::sleep(Duration::from_millis(2));
        }
        self.send_to_all(content, parent, bytes);
    }

    fn send_to_all(&self, content: impl Into<JupyterMessageContent>, parent: &JupyterMessage, bytes: usize) {
        // iopub has topics where the others have an address; everyone takes every topic.
        let message = JupyterMessage::new(content, Some(parent)).with_zmq_identities(Vec::new());
        self.underway.fetch_add(bytes, Ordering::AcqRel);
        // Only when the kernel ends is there nobody to take it.
        let _ = self.iopub.send((message, bytes));
    }

    /// The end of a request that was answered beside the session. Front ends show the last state they hear of, so that what is busy
    /// says so again.
    fn publish_idle(&self, parent: &JupyterMessage, shared: &Shared) {
        let current = shared.current();
        self.publish(Status::idle(), parent);
        if let Some(current) = &*current {
            self.publish(Status::busy(), current);
        }
    }

    fn reply(&self, content: impl Into<JupyterMessageContent>, parent: &JupyterMessage) {
        let _ = self.shell.send(JupyterMessage::new(content, Some(parent)));
    }
}

/// What shell and control know of the session, which lives on another thread.
#[derive(Default)]
struct Shared {
    /// Known when the session is ready for cells: what makes it ready is not to be interrupted.
    interrupter: OnceLock<Interrupter>,
    /// Cells that came before this do not start.
    stopped_at: Mutex<Option<Instant>>,
    /// The request that the session is busy with.
    current: Mutex<Option<JupyterMessage>>,
    /// The cells that were run, with their counts.
    history: Mutex<Vec<(usize, String)>>,
}

impl Shared {
    fn interrupt(&self) {
        // First what waits for the libraries, or behind the cell that runs.
        self.stop_waiting();
        if let Some(interrupter) = self.interrupter.get() {
            interrupter.interrupt();
        }
    }

    fn current(&self) -> MutexGuard<'_, Option<JupyterMessage>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop_waiting(&self) {
        *self.stopped_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn history(&self) -> MutexGuard<'_, Vec<(usize, String)>> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_stopped(&self, came: Instant) -> bool {
        self.stopped_at.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|stopped| came < stopped)
    }
}

async fn serve_sockets(connection: &ConnectionInfo, slot: Slot) -> Result<()> {
    let session_id = uuid::Uuid::new_v4().to_string();
    let sockets = sockets::listen(connection, &session_id).await?;
    let Sockets { mut heartbeat, shell, mut control, stdin, iopub } = sockets;
    let (shell_writer, mut shell) = shell.split();
    let (stdin_writer, stdin) = stdin.split();

    let (iopub_sender, iopub_receiver) = unbounded_channel();
    let (shell_sender, shell_receiver) = unbounded_channel();
    let (stdin_sender, stdin_receiver) = unbounded_channel();
    let underway = Arc::new(AtomicUsize::new(0));
    let wire = Wire { iopub: iopub_sender, underway: Arc::clone(&underway), shell: shell_sender, stdin: stdin_sender };
    let _ = wire.iopub.send((Status::starting().into(), 0));
    tokio::spawn(publish_all(iopub, iopub_receiver, underway));
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
    let worker = Worker::new(wire.clone(), works, answers, Arc::clone(&shared));
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
                    wire.publish_idle(&message, &shared);
                    if matches!(message.content, JupyterMessageContent::ShutdownRequest(_)) {
                        break;
                    }
                }
                Err(_) => pause().await,
            },
            message = read_shell(&mut shell) => match message {
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
    match shared.interrupter.get() {
        Some(interrupter) => interrupter.kill(),
        // What builds the libraries.
        None => processes::kill_descendants(&[]),
    }
    slot.give_back();
    // What was said last is on its way.
    tokio::time::sleep(Duration::from_millis(50)).await;
    processes::kill_descendants(&[]);
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
async fn publish_all(
    mut socket: KernelIoPubXPubConnection,
    mut messages: UnboundedReceiver<(JupyterMessage, usize)>,
    underway: Arc<AtomicUsize>,
) {
    loop {
        tokio::select! {
            message = messages.recv() => match message {
                Some((message, bytes)) => {
                    let _ = socket.send(message).await;
                    underway.fetch_sub(bytes, Ordering::AcqRel);
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
        JupyterMessageContent::KernelInfoRequest(_) => Some(answers::kernel_info().into()),
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
        JupyterMessageContent::KernelInfoRequest(_) => Some(answers::kernel_info().into()),
        JupyterMessageContent::IsCompleteRequest(request) => Some(answers::is_complete(&request.code).into()),
        JupyterMessageContent::HistoryRequest(request) => Some(answers::history(request, &shared.history()).into()),
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
    wire.publish_idle(&message, shared);
}
