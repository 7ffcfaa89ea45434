//! The loop around the machine: one event is one step, and its commands go out at once. What a host must choose (which
//! store command goes next, which job) follows the commands' classes; all else is the machine's decision.

use std::collections::BTreeMap;

use bytes::Bytes;
use dolake_core::class_queue::ClassQueue;
use dolake_core::command::{Class, Command, Commands, Condition, Failure, Op, Outcome};
use dolake_core::event::{CallId, ConnId, Frame, Peer, RequestHead};
use dolake_core::table::job::Encoder;
use dolake_core::{Event, Lake, Timestamp};

use crate::hands::{Hands, Number};
use crate::outcome::{self, Kind};
use crate::{pack, rows};

/// Store commands that run at once: Workers let six connections be open, and one stays for the user's own code.
const STORE_RUNNING_MAX: usize = 5;

/// Events that a job looks at before others have their turn: some ten milliseconds.
const WORK_EVENTS: usize = 4_000;

/// The machine and its hands.
#[derive(Debug)]
pub struct Host<H> {
    lake: Lake,
    hands: H,
    /// Commands that the shell is at, by their numbers.
    running: BTreeMap<Number, Running>,
    store_waiting: ClassQueue<(Op, StoreCommand)>,
    store_running: usize,
    work: ClassQueue<(Op, Encoder)>,
    work_waiting: usize,
    /// Whether the journal's values are compressed.
    compress: bool,
    /// Bytes that went to each socket since its peer last said anything.
    unread: BTreeMap<ConnId, usize>,
    /// Reused from step to step.
    commands: Commands,
}

#[derive(Debug, Clone, Copy)]
struct Running {
    op: Op,
    what: What,
}

#[derive(Debug, Clone, Copy)]
enum What {
    Save,
    Load,
    Store(Kind),
}

#[derive(Debug)]
enum StoreCommand {
    Put { key: String, bytes: Bytes, condition: Condition },
    Get { key: String, range: Option<(u64, u64)>, for_client: bool },
    Delete { key: String },
}

/// How the shell says that a save ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaveEnd {
    /// It is durable.
    Durable,
    /// It was rolled back.
    RolledBack,
    /// Storage does not say.
    Unknown,
}

/// How the shell says that a store command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreEnd {
    /// A put or a delete had its effect.
    Done,
    /// What a get brought.
    Got(Bytes),
    /// A get found nothing.
    Absent,
    /// A conditional put found something.
    Conflict,
    /// R2 or the way to it failed, in these words.
    Failed(String),
}

impl<H: Hands> Host<H> {
    /// Puts the machine and its hands together. `compress`: see [`pack`].
    pub fn new(lake: Lake, hands: H, compress: bool) -> Host<H> {
        Host {
            lake,
            hands,
            running: BTreeMap::new(),
            store_waiting: ClassQueue::default(),
            store_running: 0,
            work: ClassQueue::default(),
            work_waiting: 0,
            compress,
            unread: BTreeMap::new(),
            commands: Vec::new(),
        }
    }

    /// Milliseconds until the machine wants to be woken, if it does.
    pub fn deadline_ms(&self) -> Option<u64> {
        self.lake.deadline().map(|deadline| deadline.after_ms)
    }

    /// Whether the machine waits for anything that it began.
    pub fn is_busy(&self) -> bool {
        !self.running.is_empty() || self.has_work()
    }

    /// Whether [`Host::work`] has something to do.
    pub fn has_work(&self) -> bool {
        self.work_waiting > 0
    }

    /// A socket is there, or outlived the machine.
    pub fn opened(&mut self, now: Timestamp, conn: ConnId, peer: Peer, attachment: Option<Bytes>) {
        self.step(now, Event::Opened { conn, peer, attachment });
    }

    /// A message came. A Workers socket does not tell what its peer has read, so a message counts as a sign that
    /// everything was (`promises`, "Acks").
    pub fn received(&mut self, now: Timestamp, conn: ConnId, frame: Frame) {
        if let Some(bytes) = self.unread.remove(&conn) {
            self.step(now, Event::Sent { conn, bytes });
        }
        self.step(now, Event::Received { conn, frame });
    }

    /// A socket is gone.
    pub fn closed(&mut self, now: Timestamp, conn: ConnId) {
        self.unread.remove(&conn);
        self.step(now, Event::Closed { conn });
    }

    /// A request came: for a socket, or for an answer.
    pub fn requested(&mut self, now: Timestamp, call: CallId, head: RequestHead) {
        if head.wants_socket() {
            self.hands.accept(call);
        } else {
            self.step(now, Event::Requested { call, head });
        }
    }

    /// A piece of a request's body.
    pub fn body(&mut self, now: Timestamp, call: CallId, bytes: Bytes, last: bool) {
        self.step(now, Event::BodyChunk { call, bytes, last });
    }

    /// A client went away.
    pub fn call_gone(&mut self, now: Timestamp, call: CallId) {
        self.step(now, Event::CallGone { call });
    }

    /// The deadline passed, or an alarm came.
    pub fn wake(&mut self, now: Timestamp) {
        self.step(now, Event::Wake);
    }

    /// Does a slice of the CPU work that waits; the first job of the first class.
    pub fn work(&mut self, now: Timestamp) {
        let Some((class, (op, mut encoder))) = self.work.pop_with_class() else { return };
        match encoder.resume(WORK_EVENTS) {
            Some(output) => {
                self.work_waiting -= 1;
                self.step(now, Event::Done { op, outcome: Outcome::Worked(Box::new(output)) });
            }
            None => self.work.push_front(class, (op, encoder)),
        }
    }

    /// A save ended; `message` says how, unless it is durable.
    pub fn saved(&mut self, now: Timestamp, number: Number, end: SaveEnd, message: &str) {
        let failure = || Failure { message: format!("journal: {message}"), retry_after_ms: None };
        let outcome = match end {
            SaveEnd::Durable => Outcome::Saved,
            SaveEnd::RolledBack => Outcome::Refused(failure()),
            SaveEnd::Unknown => Outcome::Unknown(failure()),
        };
        self.ended(now, number, |_| outcome);
    }

    /// What a load found, as [`rows`] has it; or why it failed.
    pub fn loaded(&mut self, now: Timestamp, number: Number, found: Result<Bytes, &str>) {
        let failed =
            |message: &str| Outcome::Unknown(Failure { message: format!("journal: {message}"), retry_after_ms: None });
        let outcome = match found.map(rows::decode) {
            Ok(Some(entries)) => Outcome::Loaded(entries),
            Ok(None) => failed("its entries cannot be read"),
            Err(message) => failed(message),
        };
        self.ended(now, number, |_| outcome);
    }

    /// A store command ended.
    pub fn stored(&mut self, now: Timestamp, number: Number, end: StoreEnd) {
        self.store_running = self.store_running.saturating_sub(1);
        self.ended(now, number, |what| match (end, what) {
            (StoreEnd::Done, What::Store(Kind::Delete)) => Outcome::Deleted,
            (StoreEnd::Done, What::Store(Kind::Put | Kind::Get) | What::Save | What::Load) => Outcome::Put,
            (StoreEnd::Got(bytes), _) => Outcome::Got(bytes),
            (StoreEnd::Absent, _) => Outcome::Absent,
            (StoreEnd::Conflict, _) => Outcome::Conflict,
            (StoreEnd::Failed(message), What::Store(kind)) => outcome::of_failure(kind, &message),
            (StoreEnd::Failed(message), What::Save | What::Load) => outcome::of_failure(Kind::Put, &message),
        });
        self.start_store_commands();
    }

    fn ended(&mut self, now: Timestamp, number: Number, outcome: impl FnOnce(What) -> Outcome) {
        if let Some(Running { op, what }) = self.running.remove(&number) {
            self.step(now, Event::Done { op, outcome: outcome(what) });
        }
    }

    fn step(&mut self, now: Timestamp, event: Event) {
        let mut commands = std::mem::take(&mut self.commands);
        self.lake.step(now, event, &mut commands);
        for command in commands.drain(..) {
            self.carry_out(command);
        }
        self.commands = commands;
        self.start_store_commands();
    }

    fn carry_out(&mut self, command: Command) {
        match command {
            Command::Send { conn, frame } => {
                *self.unread.entry(conn).or_default() += frame.len();
                self.hands.send(conn, &frame);
            }
            Command::Close { conn, code, reason } => self.hands.close(conn, code, &reason),
            Command::Attach { conn, bytes } => self.hands.attach(conn, &bytes),
            Command::Save { op, writes } => {
                self.running.insert(op.n, Running { op, what: What::Save });
                self.hands.save(op.n, &pack::pack_all(writes, self.compress));
            }
            Command::Load { op, from, until, keys_only, limit } => {
                self.running.insert(op.n, Running { op, what: What::Load });
                self.hands.load(op.n, &from, &until, keys_only, u32::try_from(limit).ok());
            }
            Command::Put { op, class, key, bytes, condition } => {
                self.queue(op, class, StoreCommand::Put { key, bytes, condition });
            }
            Command::Get { op, class, key, range } => {
                self.queue(op, class, StoreCommand::Get { key, range, for_client: class == Class::Catalog });
            }
            Command::Delete { op, class, key } => self.queue(op, class, StoreCommand::Delete { key }),
            Command::Work { op, class, job } => {
                self.work_waiting += 1;
                self.work.push(class, (op, job.start()));
            }
            Command::ReadMore { call } => self.hands.read_more(call),
            Command::Respond { call, head, body } => self.hands.respond(call, &head, &body),
            Command::Halt { reason } => self.hands.halt(&reason),
            // The object answers from its first moment, and never sends `Shutdown`: it can be evicted at any time.
            Command::Ready | Command::Stopped => {}
        }
    }

    fn queue(&mut self, op: Op, class: Class, command: StoreCommand) {
        let kind = match &command {
            StoreCommand::Put { .. } => Kind::Put,
            StoreCommand::Get { .. } => Kind::Get,
            StoreCommand::Delete { .. } => Kind::Delete,
        };
        self.running.insert(op.n, Running { op, what: What::Store(kind) });
        self.store_waiting.push(class, (op, command));
    }

    fn start_store_commands(&mut self) {
        while self.store_running < STORE_RUNNING_MAX
            && let Some((op, command)) = self.store_waiting.pop()
        {
            self.store_running += 1;
            match command {
                StoreCommand::Put { key, bytes, condition } => self.hands.put(op.n, &key, &bytes, condition),
                StoreCommand::Get { key, range, for_client } => self.hands.get(op.n, &key, range, for_client),
                StoreCommand::Delete { key } => self.hands.delete(op.n, &key),
            }
        }
    }
}
