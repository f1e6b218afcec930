//! The thread that has the session: it does, in their order, the requests that need it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use crossbeam_channel::{Receiver, RecvTimeoutError};
use jupyter_protocol::{
    ClearOutput, ErrorOutput, ExecuteInput, ExecuteReply, ExecuteRequest, ExecutionCount, ExpressionResult, JupyterMessage,
    JupyterMessageContent, ReplyError, ReplyStatus, Status,
};
use serde_json::Map;

use super::live::{Gathered, Live, Said, jupyter_media};
use super::{Shared, Wire, answers};
use crate::cell_error::CellError;
use crate::front::{Event, Front, Question};
use crate::media::Media;
use crate::session::Session;
use crate::slot::Slot;
use crate::template::Progress;

/// A request that needs the session.
pub struct Work {
    pub message: JupyterMessage,
    pub came: Instant,
}

/// What a cell shows that waits for the libraries.
struct Bar {
    display_id: Option<String>,
    message: JupyterMessage,
    shown: Instant,
}

/// Keeps the value alone.
#[derive(Default)]
struct OnlyValue(Media);

impl Front for OnlyValue {
    fn show(&mut self, event: Event) {
        if let Event::Value(media) = event {
            self.0 = media;
        }
    }

    fn ask(&mut self, _: &Question) -> Option<String> {
        None
    }
}

/// The thread that has the session.
pub struct Worker {
    wire: Wire,
    works: Receiver<Work>,
    /// Requests that were taken while the session was made ready.
    waiting: VecDeque<Work>,
    /// Lines that the user gave where a cell asked.
    answers: Receiver<String>,
    shared: Arc<Shared>,
    /// Cells counted so far.
    count: usize,
    /// The cell that was run last.
    last_cell: Option<JupyterMessage>,
}

/// How often text that waits for more is looked after, between cells.
const BETWEEN: Duration = Duration::from_millis(50);
/// How long after a cell nobody is taken to wait for the next.
const IDLE: Duration = Duration::from_secs(1);
const FOREVER: Duration = Duration::from_secs(3600);

impl Worker {
    pub fn new(wire: Wire, works: Receiver<Work>, answers: Receiver<String>, shared: Arc<Shared>) -> Self {
        Self { wire, works, waiting: VecDeque::new(), answers, shared, count: 0, last_cell: None }
    }

    pub fn run(mut self, slot: &Slot) {
        let mut session = self.start(slot);
        if let Err(error) = &session {
            eprintln!("quantlens-lab: {error:#}");
        }
        while let Some(Work { message, came }) = self.next(&mut session) {
            *self.shared.current() = Some(message.clone());
            self.wire.publish(Status::busy(), &message);
            match (&message.content, &mut session) {
                (JupyterMessageContent::ExecuteRequest(request), session) => {
                    if let Ok(session) = session {
                        session.begin_cell();
                    }
                    // An interrupt that came before the cell began is seen here, one that comes after stops the cell: none is lost.
                    if self.shared.is_stopped(came) {
                        if let Ok(session) = session {
                            session.end_cell();
                        }
                        self.refuse(&message);
                    } else {
                        self.execute(request, &message, session);
                    }
                }
                (JupyterMessageContent::CompleteRequest(request), Ok(session)) => {
                    let reply = answers::complete(session, &request.code, request.cursor_pos);
                    self.wire.reply(reply, &message);
                }
                (JupyterMessageContent::InspectRequest(request), Ok(session)) => {
                    let reply = answers::inspect(session, &request.code, request.cursor_pos);
                    self.wire.reply(reply, &message);
                }
                (JupyterMessageContent::CompleteRequest(request), Err(_)) => {
                    self.wire.reply(answers::completion(Vec::new(), request.cursor_pos, request.cursor_pos), &message);
                }
                (JupyterMessageContent::InspectRequest(_), Err(_)) => self.wire.reply(answers::documentation(None), &message),
                _ => {}
            }
            let mut current = self.shared.current();
            *current = None;
            self.wire.publish(Status::idle(), &message);
        }
    }

    /// The next request. What a thread of the last cell prints meanwhile is shown below that cell.
    fn next(&mut self, session: &mut Result<Session>) -> Option<Work> {
        if let Some(work) = self.waiting.pop_front() {
            return Some(work);
        }
        let Ok(session) = session else { return self.works.recv().ok() };
        let Some(message) = self.last_cell.clone() else {
            // While the user still reads.
            if !session.has_rehearsed() {
                match self.works.recv_timeout(IDLE) {
                    Err(RecvTimeoutError::Timeout) => session.rehearse(),
                    work => return work.ok(),
                }
            }
            return self.works.recv().ok();
        };
        let pieces = session.pieces();
        let count = ExecutionCount::new(self.count);
        let mut front = self.live(&message, count, false, false);
        loop {
            let patience = match (front.has_gathered(), session.has_rehearsed()) {
                (true, _) => BETWEEN,
                (false, false) => IDLE,
                (false, true) => FOREVER,
            };
            crossbeam_channel::select! {
                recv(self.works) -> work => {
                    front.say_gathered();
                    return work.ok();
                },
                recv(pieces) -> piece => match piece {
                    Ok((stream, piece)) => session.show_between(stream, piece, &mut front),
                    // The session has ended: the next request will say so.
                    Err(_) => return self.works.recv().ok(),
                },
                default(patience) => match front.has_gathered() || session.has_rehearsed() {
                    true => front.show(Event::Quiet),
                    false => session.rehearse(),
                },
            }
        }
    }

    fn start(&mut self, slot: &Slot) -> Result<Session> {
        let mut bar = None;
        slot.fill(|progress| self.show_build(&progress, &mut bar))?;
        self.end_build(bar);
        let mut session = Session::start(slot)?;
        session.preload()?;
        let _ = self.shared.interrupter.set(session.interrupter());
        Ok(session)
    }

    /// Says that the libraries are being built, and how long that takes, where somebody waits for it: at the first cell.
    fn show_build(&mut self, progress: &Progress, bar: &mut Option<Bar>) {
        self.waiting.extend(self.works.try_iter());
        let is_cell = |work: &&Work| {
            matches!(&work.message.content, JupyterMessageContent::ExecuteRequest(request) if !request.silent)
                && !self.shared.is_stopped(work.came)
        };
        let text = match progress {
            Progress::Waiting => "another process builds the notebooks' libraries".to_owned(),
            Progress::Built(estimate, package) => format!("building the notebooks' libraries, once: {}", estimate.line(package)),
            Progress::End => return,
        };
        let Some(message) = self.waiting.iter().find(is_cell).map(|work| work.message.clone()) else { return };
        let is_due = bar.as_ref().is_none_or(|bar| bar.shown.elapsed() >= Duration::from_millis(500));
        if !is_due {
            return;
        }
        if bar.is_none() {
            // Its front end counts what comes now to this cell.
            *self.shared.current() = Some(message.clone());
            self.wire.publish(Status::busy(), &message);
        }
        let (done, total) = match progress {
            Progress::Built(estimate, _) => estimate.count(),
            _ => (0, 1),
        };
        let mut live = self.live(&message, ExecutionCount::new(self.count + 1), false, false);
        live.progress = bar.take().and_then(|bar| bar.display_id);
        live.show_bar(&text, done.min(total.saturating_sub(1)), total);
        let display_id = live.progress.take();
        *bar = Some(Bar { display_id, message, shown: Instant::now() });
    }

    /// Takes the bar away, as if nothing had been there.
    fn end_build(&self, bar: Option<Bar>) {
        if let Some(bar) = bar {
            self.wire.publish(ClearOutput { wait: false }, &bar.message);
        }
    }

    fn live<'a>(&'a self, message: &'a JupyterMessage, count: ExecutionCount, is_silent: bool, may_ask: bool) -> Live<'a> {
        Live {
            wire: &self.wire,
            message,
            answers: &self.answers,
            shared: &self.shared,
            count,
            is_silent,
            may_ask,
            said: Said::default(),
            gathered: Gathered::default(),
            progress: None,
        }
    }

    /// The session has begun the cell.
    fn execute(&mut self, request: &ExecuteRequest, message: &JupyterMessage, session: &mut Result<Session>) {
        let is_counted = request.store_history && !request.silent && !request.code.trim().is_empty();
        self.count += usize::from(is_counted);
        let count = ExecutionCount::new(self.count);
        if is_counted {
            self.shared.history().push((self.count, request.code.clone()));
        }
        if !request.silent {
            self.last_cell = Some(message.clone());
            self.wire.publish(ExecuteInput { code: request.code.clone(), execution_count: count }, message);
        }
        let mut front = self.live(message, count, request.silent, request.allow_stdin);
        let result = match session {
            Err(error) => Err(CellError::of_kernel(&format!("{error:#}"))),
            Ok(session) => {
                let result = session.execute_begun(&request.code, self.count, &mut front);
                result.unwrap_or_else(|error| Err(CellError::of_kernel(&format!("{error:#}"))))
            }
        };
        front.show(Event::ProgressEnd);
        front.say_gathered();
        let expressions = match (&result, session) {
            (Ok(()), Ok(session)) => self.evaluated(request, session),
            _ => HashMap::new(),
        };
        let reply = ExecuteReply { execution_count: count, user_expressions: Some(expressions), ..ExecuteReply::default() };
        match result {
            Ok(()) => self.wire.reply(reply, message),
            Err(error) => {
                let traceback = error.traceback();
                let (ename, evalue) = (error.kind.name().to_owned(), error.message);
                if !request.silent {
                    let output = ErrorOutput { ename: ename.clone(), evalue: evalue.clone(), traceback: traceback.clone() };
                    self.wire.publish(output, message);
                }
                if request.stop_on_error && !request.silent {
                    // The cells that wait were sent in the belief that this one would run.
                    self.shared.stop_waiting();
                }
                let error = Some(Box::new(ReplyError { ename, evalue, traceback }));
                self.wire.reply(ExecuteReply { status: ReplyStatus::Error, error, ..reply }, message);
            }
        }
    }

    /// What a client asks for beside a cell: the values of expressions, of which nothing else is seen.
    fn evaluated(&self, request: &ExecuteRequest, session: &mut Session) -> HashMap<String, ExpressionResult> {
        let asked = request.user_expressions.iter().flatten();
        let evaluate = |(name, code): (&String, &String)| {
            let mut front = OnlyValue::default();
            let result = session.execute(code, self.count, &mut front);
            let result = result.unwrap_or_else(|error| Err(CellError::of_kernel(&format!("{error:#}"))));
            let result = match result {
                Ok(()) => ExpressionResult::Ok { data: jupyter_media(front.0), metadata: Map::new() },
                Err(error) => ExpressionResult::Error {
                    ename: error.kind.name().to_owned(),
                    traceback: error.traceback(),
                    evalue: error.message,
                },
            };
            (name.clone(), result)
        };
        asked.map(evaluate).collect()
    }

    /// A cell behind one that failed or was interrupted.
    fn refuse(&self, message: &JupyterMessage) {
        let reply = ExecuteReply {
            status: ReplyStatus::Aborted,
            execution_count: ExecutionCount::new(self.count),
            user_expressions: Some(HashMap::new()),
            ..ExecuteReply::default()
        };
        self.wire.reply(reply, message);
    }
}
