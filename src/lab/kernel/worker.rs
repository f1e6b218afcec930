//! The thread that has the session: it does, in their order, the requests that need it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use crossbeam_channel::Receiver;
use jupyter_protocol::{
    ErrorOutput, ExecuteInput, ExecuteReply, ExecuteRequest, ExecutionCount, JupyterMessage, JupyterMessageContent, ReplyError,
    ReplyStatus, Status,
};

use super::live::{Live, Said};
use super::{Shared, Wire, answers};
use crate::lab::cell_error::CellError;
use crate::lab::session::Session;
use crate::lab::slot::Slot;
use crate::lab::warm;

/// A request that needs the session.
pub struct Work {
    pub message: JupyterMessage,
    pub came: Instant,
}

/// The thread that has the session.
pub struct Worker {
    pub wire: Wire,
    pub works: Receiver<Work>,
    /// Lines that the user gave where a cell asked.
    pub answers: Receiver<String>,
    pub shared: Arc<Shared>,
    /// Cells counted so far.
    pub count: usize,
}

impl Worker {
    pub fn run(mut self, slot: &Slot) {
        let mut session = self.start(slot);
        if let Err(error) = &session {
            eprintln!("quantlens: {error:#}");
        }
        while let Ok(Work { message, came }) = self.works.recv() {
            *self.shared.current() = Some(message.clone());
            self.wire.publish(Status::busy(), &message);
            match (&message.content, &mut session) {
                (JupyterMessageContent::ExecuteRequest(_), _) if self.shared.is_stopped(came) => {
                    self.refuse(&message);
                }
                (JupyterMessageContent::ExecuteRequest(request), session) => self.execute(request, &message, session),
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
                let result = session.execute(&request.code, &mut front);
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
                if request.stop_on_error && !request.silent {
                    // The cells that wait were sent in the belief that this one would run.
                    self.shared.stop_waiting();
                }
                let error = Some(Box::new(ReplyError { ename, evalue, traceback }));
                self.wire.reply(ExecuteReply { status: ReplyStatus::Error, error, ..reply }, message);
            }
        }
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
