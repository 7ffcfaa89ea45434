//! The loop that owns the machine: takes what happened, steps, and hands out the commands.
//!
//! It never waits for anything but the next input or the machine's one deadline.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dolake_core::Event;
use dolake_core::Lake;
use dolake_core::command::Command;
use dolake_core::event::{CallId, ConnId};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use tracing::trace;

use super::clock::Clock;
use super::inbox::{Ballast, Input, ToCall, ToSocket};
use super::work::WorkPool;
use crate::journal::Journal;
use crate::store::StoreQueue;

/// The machine and everything that carries out its commands.
#[derive(Debug)]
pub struct Machine {
    lake: Lake,
    journal: Journal,
    store: StoreQueue,
    work: WorkPool,
    clock: Arc<dyn Clock>,
    sockets: BTreeMap<ConnId, UnboundedSender<ToSocket>>,
    calls: BTreeMap<CallId, ToCall>,
    /// Reused from step to step.
    commands: Vec<Command>,
    /// Told once, when the machine takes events.
    ready: Option<oneshot::Sender<()>>,
    end: Option<End>,
}

/// How a machine ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// As it was asked to: everything is flushed, or safe in the journal.
    Stopped,
    /// It cannot go on before an operator has acted: why.
    Halted(String),
}

/// What the machine has to do next.
enum Next {
    /// Its deadline has passed; perhaps there is an input, too.
    Due(Option<Input>),
    /// An input came.
    Input(Input),
    /// Nobody is left who could put one in.
    Over,
}

impl Machine {
    /// Puts the machine and its hands together.
    pub fn new(
        lake: Lake,
        journal: Journal,
        store: StoreQueue,
        work: WorkPool,
        clock: Arc<dyn Clock>,
        ready: oneshot::Sender<()>,
    ) -> Machine {
        Machine {
            lake,
            journal,
            store,
            work,
            clock,
            sockets: BTreeMap::new(),
            calls: BTreeMap::new(),
            commands: Vec::new(),
            ready: Some(ready),
            end: None,
        }
    }

    /// Runs until the machine says [`Command::Stopped`] or [`Command::Halt`], then says goodbye to the sockets and
    /// closes the journal.
    pub async fn run(mut self, mut inputs: UnboundedReceiver<Input>) -> End {
        let mut wake_at = self.wake_at();
        while self.end.is_none() {
            match next(&mut inputs, wake_at).await {
                Next::Due(input) => {
                    self.step(Event::Wake, Ballast::default());
                    input.into_iter().for_each(|input| self.take(input));
                }
                Next::Input(input) => self.take(input),
                Next::Over => break,
            }
            wake_at = self.wake_at();
        }
        self.sockets.clear();
        self.calls.clear();
        self.journal.close().await;
        self.end.unwrap_or(End::Stopped)
    }

    fn wake_at(&self) -> Option<Instant> {
        self.lake.deadline().map(|deadline| Instant::now() + Duration::from_millis(deadline.after_ms))
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Opened { conn, peer, socket } => {
                self.sockets.insert(conn, socket);
                self.step(Event::Opened { conn, peer, attachment: None }, Ballast::default());
            }
            Input::Requested { call, head, handle } => {
                self.calls.insert(call, handle);
                self.step(Event::Requested { call, head }, Ballast::default());
            }
            Input::Event(event, ballast) => {
                self.forget(&event);
                self.step(event, ballast);
            }
        }
    }

    /// Lets go of the task of a socket or request that is gone.
    fn forget(&mut self, event: &Event) {
        match event {
            Event::Closed { conn } => drop(self.sockets.remove(conn)),
            Event::CallGone { call } => drop(self.calls.remove(call)),
            Event::Opened { .. }
            | Event::Received { .. }
            | Event::Sent { .. }
            | Event::Requested { .. }
            | Event::BodyChunk { .. }
            | Event::Wake
            | Event::Shutdown
            | Event::Done { .. } => {}
        }
    }

    fn step(&mut self, event: Event, ballast: Ballast) {
        let mut commands = std::mem::take(&mut self.commands);
        self.lake.step(self.clock.now(), event, &mut commands);
        // A frame that is being journaled is still on its way: its room in the gate goes along with the save.
        let mut ballast = Some(ballast);
        for command in commands.drain(..) {
            self.carry_out(command, &mut ballast);
        }
        self.commands = commands;
    }

    fn carry_out(&mut self, command: Command, ballast: &mut Option<Ballast>) {
        match command {
            Command::Send { conn, frame } => self.tell(conn, ToSocket::Frame(frame)),
            Command::Close { conn, code, reason } => self.tell(conn, ToSocket::Close { code, reason }),
            // No socket outlives this process, so what is attached to one would never be seen again.
            Command::Attach { .. } => {}
            Command::Save { op, writes } => self.journal.save(op, writes, ballast.take().unwrap_or_default()),
            Command::Load { op, from, until, keys_only, limit } => {
                self.journal.load(op, from, until, keys_only, limit);
            }
            Command::Put { op, class, key, bytes, condition } => self.store.put(op, class, key, bytes, condition),
            Command::Get { op, class, key, range } => self.store.get(op, class, key, range),
            Command::Delete { op, class, key } => self.store.delete(op, class, key),
            Command::Work { op, class, job } => self.work.submit(op, class, job),
            Command::ReadMore { call } => {
                if let Some(handle) = self.calls.get(&call) {
                    let _ = handle.more.send(());
                }
            }
            Command::Respond { call, head, body } => {
                if let Some(handle) = self.calls.remove(&call) {
                    let _ = handle.answer.send((head, body));
                }
            }
            Command::Ready => {
                if let Some(ready) = self.ready.take() {
                    let _ = ready.send(());
                }
            }
            Command::Halt { reason } => self.end = Some(End::Halted(reason)),
            Command::Stopped => self.end = Some(End::Stopped),
        }
    }

    fn tell(&self, conn: ConnId, message: ToSocket) {
        match self.sockets.get(&conn) {
            // Its task may be gone already; then `Closed` is on its way.
            Some(socket) => drop(socket.send(message)),
            None => trace!(conn = conn.0, "a message to a socket that is gone"),
        }
    }
}

/// A deadline that has passed goes first, so that a full inbox cannot put it off for ever.
async fn next(inputs: &mut UnboundedReceiver<Input>, wake_at: Option<Instant>) -> Next {
    if wake_at.is_some_and(|at| at <= Instant::now()) {
        return Next::Due(inputs.try_recv().ok());
    }
    // No timer while there is something to do.
    if let Ok(input) = inputs.try_recv() {
        return Next::Input(input);
    }
    let received = match wake_at {
        Some(at) => timeout_at(at, inputs.recv()).await,
        None => Ok(inputs.recv().await),
    };
    match received {
        Ok(Some(input)) => Next::Input(input),
        Ok(None) => Next::Over,
        Err(_) => Next::Due(None),
    }
}
