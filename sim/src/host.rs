//! The host's model: it carries out commands, reports results, and makes lives begin and end.

use bytes::Bytes;
use dolake_core::command::{Failure, Key, Write};
use dolake_core::event::{CallId, ConnId, Peer, RequestHead};
use dolake_core::{Command, Event, Lake, Op, Outcome, Seed, Timestamp};

use crate::queue::Micros;
use crate::store::Ask;
use crate::world::{Tag, What, World};
use crate::wrong_store::OtherStore;

/// The process that runs the machine.
#[derive(Debug, Default)]
pub struct Host {
    pub(crate) lake: Option<Lake>,
    /// Lives so far.
    pub(crate) lives: u64,
    /// The machine is gone and the sockets stay: what comes waits here.
    hibernates: bool,
    inbox: Vec<(Event, Tag)>,
    pub(crate) stopping: bool,
    pub(crate) generation: u64,
    /// What this life was given for its store is another.
    pub(crate) at_other_store: Option<OtherStore>,
}

/// What the machine asked of the journal.
#[derive(Debug)]
pub enum JournalAsk {
    /// `Save`
    Save(Vec<Write>),
    /// `Load`
    Load(Key, Key, bool, usize),
}

fn failure(message: &str) -> Failure {
    Failure { message: message.to_owned(), retry_after_ms: None }
}

impl World {
    /// Brings an event to the machine, or keeps it for the next life where the host would.
    pub(crate) fn deliver(&mut self, event: Event, tag: Tag) {
        if self.host.lake.is_none() {
            if self.host.hibernates && !matches!(event, Event::Wake) {
                self.host.inbox.push((event, tag));
            }
            return;
        }
        if let Event::Received { conn, .. } = &event {
            self.note_received(*conn, tag);
        }
        self.step(event);
    }

    fn step(&mut self, event: Event) {
        let now = Timestamp(self.host_ms());
        let Some(lake) = self.host.lake.as_mut() else { return };
        let mut commands = Vec::new();
        let lake_event = event.clone();
        lake.step(now, event, &mut commands);
        let deadline = lake.deadline();
        self.recorder.step(now, &lake_event, &commands);
        self.tell(|| story::event(&lake_event));
        self.count_step(&lake_event);
        let life = self.host.lives;
        for command in commands {
            if !self.is_calm
                && self.chance.faults.at("crash between commands").chance(self.faults.crash_between_commands)
            {
                self.count("crash between commands");
                self.crash();
                return;
            }
            self.tell(|| story::command(&command));
            self.note_marks(&command);
            self.carry_out(command);
            if self.host.lives != life || self.host.lake.is_none() || self.violation.is_some() {
                return;
            }
        }
        self.host.generation += 1;
        if let Some(deadline) = deadline {
            let late_ms = if self.chance.faults.at("wake late").chance(self.faults.wake_late) {
                self.chance.faults.at("wake late by").below(5_000)
            } else {
                0
            };
            let due = self.now + (deadline.after_ms + late_ms) * 1_000;
            self.queue.at(due, What::Wake(self.host.generation));
        }
        self.maybe_disturb();
    }

    fn maybe_disturb(&mut self) {
        if self.is_calm {
            return;
        }
        let faults = &mut self.chance.faults;
        if faults.at("crash").chance(self.faults.crash) {
            self.count("crash");
            self.crash();
        } else if faults.at("evict").chance(self.faults.evict) {
            self.count("eviction");
            self.evict();
        } else if faults.at("shutdown").chance(self.faults.shutdown) && !self.host.stopping {
            self.count("shutdown");
            self.stop();
        } else if faults.at("wake spurious").chance(self.faults.wake_spurious) {
            self.queue.at(self.now, What::Wake(self.host.generation));
        }
    }

    /// The operator asks the machine to stop.
    pub(crate) fn stop(&mut self) {
        self.host.stopping = true;
        let whole = self.is_calm && self.broken_table.is_none();
        let patience_ms = if whole { 600_000 } else { self.chance.faults.at("stop patience").delay(10, 20_000) };
        self.queue.at(self.now + patience_ms * 1_000, What::Kill(self.host.lives));
        self.step(Event::Shutdown);
    }

    /// The process dies: memory, sockets and requests are gone, and what the journal had not begun.
    pub(crate) fn crash(&mut self) {
        self.tell(|| "the process is gone".to_owned());
        self.host.hibernates = false;
        self.host.inbox.clear();
        for (conn, socket) in &mut self.sockets {
            if std::mem::take(&mut socket.host_open) || socket.client_open {
                let delay = self.chance.net.at("crash seen").between(1, 3_000_000);
                self.queue.at(self.now + delay, What::ClientClosed(*conn));
            }
        }
        let pause_ms = self.chance.faults.at("crash pause").between(1, 2_000);
        self.end_life(pause_ms);
    }

    /// The machine's memory is gone. The host keeps the sockets.
    pub(crate) fn evict(&mut self) {
        self.tell(|| "the machine is evicted".to_owned());
        self.host.hibernates = true;
        let pause_ms = self.chance.faults.at("evict pause").below(50);
        self.end_life(pause_ms);
    }

    fn end_life(&mut self, pause_ms: u64) {
        self.host.lake = None;
        self.host.stopping = false;
        self.host.at_other_store = None;
        for call in std::mem::take(&mut self.calls).into_keys() {
            self.forget_change(call);
            if self.posts.contains_key(&call) {
                self.answer_post(call, None);
            }
        }
        for socket in self.sockets.values_mut() {
            socket.expects.clear();
        }
        // Saves take effect in order: some of those under way still do.
        let lasting = self.chance.faults.at("saves that last").below(self.journal_queue.len() as u64 + 1) as usize;
        let queue: Vec<_> = self.journal_queue.drain(..).take(lasting).collect();
        for (op, ask) in queue {
            if let JournalAsk::Save(writes) = ask {
                self.save(&writes);
                let late = self.now + self.chance.faults.at("late done").below(1_000_000);
                self.queue.at(late, What::Done(op, Outcome::Saved));
            }
        }
        self.queue.at(self.now + pause_ms * 1_000, What::Restart);
    }

    /// A life begins.
    pub(crate) fn restart(&mut self) {
        if self.host.lake.is_some() || self.counts.contains_key("final stop") {
            return;
        }
        let core = &mut self.chance.core;
        let seed = Seed((u128::from(core.next()) << 64) | u128::from(core.next()));
        let now = Timestamp(self.host_ms());
        let saved = self.journal.saved();
        self.recorder.begin(&self.plan.config, seed, now, &saved);
        let lake = Lake::restore(self.plan.config.clone(), self.location.clone(), seed, now, saved);
        let lake = match lake {
            Ok(lake) => lake,
            Err(error) => return self.fail("restore", error.to_string()),
        };
        let deadline = lake.deadline();
        self.host.lake = Some(lake);
        self.host.lives += 1;
        self.host.stopping = false;
        self.host.generation += 1;
        self.note_versions_known();
        self.tell(|| format!("life {} begins", self.host.lives));
        self.mistake_the_store();
        // Nobody wakes a new life but its own deadline.
        if let Some(deadline) = deadline {
            self.queue.at(self.now + deadline.after_ms * 1_000, What::Wake(self.host.generation));
        }
        let mut open: Vec<ConnId> =
            self.sockets.iter().filter(|(_, socket)| socket.host_open).map(|(conn, _)| *conn).collect();
        self.chance.net.at("reopen order").shuffle(&mut open);
        for conn in open {
            let Some(socket) = self.sockets.get(&conn) else { continue };
            let (peer, attachment) = (socket.peer.clone(), socket.attachment.clone());
            self.deliver(Event::Opened { conn, peer, attachment }, Tag::Other);
            if self.host.lake.is_none() {
                return;
            }
        }
        for (event, tag) in std::mem::take(&mut self.host.inbox) {
            self.deliver(event, tag);
        }
    }

    /// A socket reaches the host.
    pub(crate) fn socket_opened(&mut self, conn: ConnId, peer: Peer) {
        if self.host.lake.is_none() && !self.host.hibernates {
            self.queue.at(self.now + 1_000, What::ClientClosed(conn));
            return;
        }
        let back = self.chance.net.at("opened").between(200, self.plan.net_ms * 1_000);
        let Some(socket) = self.sockets.get_mut(&conn) else { return };
        self.queue.at(self.now + back, What::ClientOpened(conn));
        if self.host.lake.is_some() {
            socket.host_open = true;
            self.deliver(Event::Opened { conn, peer, attachment: None }, Tag::Other);
        } else {
            // It is opened with the next life.
            socket.host_open = true;
        }
    }

    /// An HTTP request reaches the host.
    pub(crate) fn call_arrived(&mut self, call: CallId, head: RequestHead, body: Bytes) {
        if self.host.lake.is_some() {
            if head.path == "/flush" {
                self.note_flush_asked(call);
            }
            if let Some(post) = self.posts.get(&call).filter(|post| !post.is_spoilt) {
                self.truth.streams[post.stream].batches[post.batch].received += 1;
            }
            self.note_catalog_asked(call, &head.path);
            self.calls.insert(call, (self.now, body));
            self.deliver(Event::Requested { call, head }, Tag::Other);
        } else {
            self.forget_change(call);
            if self.posts.contains_key(&call) {
                self.answer_post(call, None);
            }
        }
    }

    fn carry_out(&mut self, command: Command) {
        match command {
            Command::Send { conn, frame } => self.send(conn, frame),
            Command::Close { conn, code, reason } => {
                self.count("connection closed by the machine");
                let delay = self.chance.net.at("close seen").between(1_000, 100_000);
                self.tell(|| format!("  closing {} with {code} {reason}", conn.0));
                if let Some(socket) = self.sockets.get_mut(&conn) {
                    socket.expects.clear();
                    let at = socket.to_client_at.max(self.now) + delay;
                    self.queue.at(at, What::ClientClosed(conn));
                    self.queue.at(at, What::HostClosed(conn));
                }
            }
            Command::Attach { conn, bytes } => {
                if bytes.len() > dolake_core::limits::ATTACHMENT_BYTES_MAX {
                    self.fail("limits", format!("an attachment of {} bytes", bytes.len()));
                }
                if let Some(socket) = self.sockets.get_mut(&conn) {
                    socket.attachment = Some(bytes);
                }
            }
            Command::Save { op, writes } => self.ask_journal(op, JournalAsk::Save(writes)),
            Command::Load { op, from, until, keys_only, limit } => {
                self.ask_journal(op, JournalAsk::Load(from, until, keys_only, limit));
            }
            Command::Put { op, class: _, key, bytes, condition } => {
                self.puts += 1;
                self.ask_store(op, Ask::Put(key, bytes, condition, self.puts));
            }
            Command::Get { op, class: _, key, range } => self.ask_store(op, Ask::Get(key, range)),
            Command::Delete { op, class: _, key } => self.ask_store(op, Ask::Delete(key)),
            Command::Work { op, class: _, job } => {
                let output = job.run();
                let slow = self.chance.faults.at("work slow").chance(self.faults.work_slow);
                let delay =
                    if slow { self.chance.faults.at("work time").between(1_000_000, 8_000_000) } else { self.short() };
                self.done(op, delay, Outcome::Worked(Box::new(output)));
            }
            Command::ReadMore { call } => {
                if let Some((_, body)) = self.calls.get_mut(&call) {
                    // Two pieces: bodies are read in pieces.
                    let bytes = body.split_to(body.len().div_ceil(2));
                    let last = body.is_empty();
                    self.queue.at(self.now + 500, What::Body(call, bytes, last));
                }
            }
            Command::Respond { call, head, body } => self.call_answered(call, &head, &body),
            Command::Ready => {}
            Command::Halt { reason } if self.host.is_at_other_store() => {
                self.count("halted at another store");
                self.tell(|| format!("  halting: {reason}"));
                self.crash();
            }
            Command::Halt { reason } => self.fail("identity", format!("the machine halts: {reason}")),
            Command::Stopped => {
                if !self.host.stopping {
                    self.fail("shutdown", "the machine stopped and nobody had asked".to_owned());
                }
                self.count("stopped in good order");
                self.crash();
            }
        }
    }

    pub(crate) fn short(&mut self) -> Micros {
        self.chance.faults.at("short").between(100, 5_000)
    }

    pub(crate) fn done(&mut self, op: Op, delay: Micros, outcome: Outcome) {
        self.queue.at(self.now + delay, What::Done(op, outcome));
    }

    fn ask_journal(&mut self, op: Op, ask: JournalAsk) {
        if self.journal_queue.is_empty() {
            let delay = self.short();
            self.queue.at(self.now + delay, What::Journal);
        }
        self.journal_queue.push_back((op, ask));
    }

    /// The journal carries out one command.
    pub(crate) fn journal_turn(&mut self) {
        let Some((op, ask)) = self.journal_queue.pop_front() else { return };
        if !self.journal_queue.is_empty() {
            let delay = self.short();
            self.queue.at(self.now + delay, What::Journal);
        }
        let faults = &mut self.chance.faults;
        let outcome = match ask {
            JournalAsk::Save(writes) => {
                if faults.at("save refused").chance(self.faults.save_refused) {
                    self.count("save refused");
                    Outcome::Refused(failure("the disk is full"))
                } else if faults.at("save unknown lost").chance(self.faults.save_unknown_lost) {
                    self.count("save unknown and lost");
                    Outcome::Unknown(failure("no answer"))
                } else if faults.at("save unknown applied").chance(self.faults.save_unknown_applied) {
                    self.count("save unknown and applied");
                    self.save(&writes);
                    Outcome::Unknown(failure("no answer"))
                } else {
                    self.save(&writes);
                    Outcome::Saved
                }
            }
            JournalAsk::Load(from, until, keys_only, limit) => {
                if faults.at("load refused").chance(self.faults.load_refused) {
                    self.count("load refused");
                    Outcome::Refused(failure("the disk cannot be read"))
                } else {
                    Outcome::Loaded(self.journal.load(&from, &until, keys_only, limit))
                }
            }
        };
        let delay = self.chance.faults.at("journal time").below(3_000);
        self.done(op, delay, outcome);
    }

    /// A transaction takes effect; readers see what it moved.
    fn save(&mut self, writes: &[Write]) {
        if self.journal.apply(writes) {
            self.commit_seen();
        }
        self.check_journal_size();
    }

    fn ask_store(&mut self, op: Op, ask: Ask) {
        if let Some(other) = self.host.at_other_store {
            return self.ask_other_store(op, &ask, other);
        }
        let faults = &mut self.chance.faults;
        let is_put = matches!(ask, Ask::Put(..));
        let delay = if faults.at("store slow").chance(self.faults.store_slow) {
            faults.at("store slow time").between(1_000_000, crate::checks::liveness::SLOW_MAX)
        } else {
            faults.at("store time").between(500, 50_000)
        };
        let (tables, until) = &self.tables_out;
        let folder_is_out = match &ask {
            Ask::Put(key, ..) => {
                self.now < *until && tables.iter().any(|table| key.contains(&format!("/{}/", table.replace('.', "/"))))
            }
            Ask::Get(..) | Ask::Delete(_) => false,
        };
        let is_out = self.now < self.outage_until || folder_is_out;
        let refused = faults.at("store refused").chance(self.faults.store_refused)
            || (is_out && faults.at("outage refuses").one_in(2));
        let lost = faults.at("store unknown lost").chance(self.faults.store_unknown_lost) || is_out;
        if refused {
            self.count("store refused");
            let retry_after_ms = (self.chance.faults.at("retry after").one_in(3)).then_some(1_500);
            self.done(op, delay, Outcome::Refused(Failure { message: "503 slow down".to_owned(), retry_after_ms }));
        } else if lost {
            self.count("store unknown and lost");
            self.done(op, delay, Outcome::Unknown(failure("the connection was cut")));
        } else if is_put && self.chance.faults.at("store unknown applied").chance(self.faults.store_unknown_applied) {
            self.count("store unknown and applied");
            let lands = self.chance.faults.at("lands").below(delay + 1);
            self.queue.at(self.now + lands, What::Store(None, ask));
            self.done(op, delay, Outcome::Unknown(failure("the connection was cut")));
        } else if is_put && self.chance.faults.at("store lands late").chance(self.faults.store_lands_late) {
            self.count("store lands late");
            let lands = self.chance.faults.at("lands late at").between(delay, delay + 60_000_000);
            self.queue.at(self.now + lands, What::Store(None, ask));
            self.done(op, delay, Outcome::Unknown(failure("no answer in time")));
        } else {
            self.queue.at(self.now + delay, What::Store(Some(op), ask));
        }
    }

    /// The store carries out what it was asked.
    pub(crate) fn store_turn(&mut self, op: Option<Op>, ask: &Ask) {
        if let Ask::Delete(key) = ask {
            self.check_delete(key);
        }
        match self.store.carry_out(ask) {
            Ok(outcome) => {
                if let Some(op) = op {
                    let outcome = self.damaged(ask, outcome);
                    self.deliver(Event::Done { op, outcome }, Tag::Other);
                }
            }
            Err(message) => self.fail("store", message),
        }
    }
}

/// Events and commands in words.
pub(crate) mod story {
    use super::*;

    pub(crate) fn event(event: &Event) -> String {
        match event {
            Event::Received { conn, frame } => format!("received on {}: {}", conn.0, text(frame_bytes(frame))),
            Event::Done { op, outcome } => format!("done {}: {}", op.n, outcome_name(outcome)),
            Event::Opened { conn, attachment, .. } => format!("opened {} ({} attached)", conn.0, attachment.is_some()),
            Event::Closed { conn } => format!("closed {}", conn.0),
            Event::Sent { conn, bytes } => format!("sent {} bytes on {}", bytes, conn.0),
            Event::Requested { call, head } => format!("call {}: {} {}", call.0, head.method, head.path),
            Event::BodyChunk { call, bytes, last } => format!("call {}: {} bytes, last {last}", call.0, bytes.len()),
            Event::CallGone { call } => format!("call {} is gone", call.0),
            Event::Wake => "wake".to_owned(),
            Event::Shutdown => "shutdown".to_owned(),
        }
    }

    fn frame_bytes(frame: &dolake_core::event::Frame) -> &Bytes {
        match frame {
            dolake_core::event::Frame::Text(bytes) | dolake_core::event::Frame::Binary(bytes) => bytes,
        }
    }

    fn text(bytes: &[u8]) -> String {
        String::from_utf8_lossy(bytes).chars().take(230).collect()
    }

    fn outcome_name(outcome: &Outcome) -> String {
        match outcome {
            Outcome::Loaded(entries) => format!("loaded {} entries", entries.len()),
            Outcome::Got(bytes) => format!("got {} bytes", bytes.len()),
            Outcome::Worked(_) => "worked".to_owned(),
            Outcome::Saved
            | Outcome::Put
            | Outcome::Deleted
            | Outcome::Absent
            | Outcome::Conflict
            | Outcome::Refused(_)
            | Outcome::Unknown(_) => format!("{outcome:?}"),
        }
    }

    pub(crate) fn command(command: &Command) -> String {
        match command {
            Command::Send { conn, frame } => format!("  send on {}: {}", conn.0, text(frame)),
            Command::Save { op, writes } => {
                let keys = writes.iter().map(|write| match write {
                    Write::Put(key, value) => format!("+{} ({})", key.escape_ascii(), value.len()),
                    Write::Delete(key) => format!("-{}", key.escape_ascii()),
                });
                format!("  save {}: {}", op.n, keys.collect::<Vec<_>>().join(" "))
            }
            Command::Load { op, from, .. } => format!("  load {}: {}", op.n, from.escape_ascii()),
            Command::Put { op, key, bytes, .. } => format!("  put {}: {key} ({} bytes)", op.n, bytes.len()),
            Command::Get { op, key, .. } => format!("  get {}: {key}", op.n),
            Command::Delete { op, key, .. } => format!("  delete {}: {key}", op.n),
            Command::Work { op, job, .. } => format!("  work {}: {}", op.n, job.table),
            Command::Respond { call, head, .. } => format!("  respond {}: {}", call.0, head.status),
            Command::Close { .. }
            | Command::Attach { .. }
            | Command::ReadMore { .. }
            | Command::Ready
            | Command::Halt { .. }
            | Command::Stopped => format!("  {command:?}"),
        }
    }
}
