//! The machine with a journal and a store in maps.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test names what it expects")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use crate::catalog::TablePointer;
use crate::command::{Command, Condition, Failure, Op, Outcome, Write};
use crate::config::Config;
use crate::event::{CallId, ConnId, Event, Frame, Peer, RequestHead};
use crate::http::status::StatusAnswer;
use crate::journal::rows::{FLUSH_KEY, FlushRow};
use crate::journal::{BATCH_RANGE, CONTROL_RANGE, Saved, decode};
use crate::seed::Seed;
use crate::time::Timestamp;
use crate::verify::{SourceEpoch, verify_table};
use crate::wire::client::{BatchHeader, Capabilities, ClientMessage, Connect};
use crate::wire::server::{AckStatus, FlushResult, ServerMessage};
use crate::{Commands, Lake};

pub(super) const LOCATION: &str = "mem://lake";
const CALL: CallId = CallId(1);

pub(super) struct Host {
    pub(super) config: Config,
    pub(super) lake: Lake,
    pub(super) lives: u128,
    pub(super) now: i64,
    pub(super) journal: BTreeMap<Bytes, Bytes>,
    pub(super) store: BTreeMap<String, Bytes>,
    /// Writes to keys with one of these in them fail.
    pub(super) broken: Vec<&'static str>,
    /// Reads of keys with one of these in them fail.
    pub(super) unreadable: Vec<&'static str>,
    /// What each connection is to remember while the machine is gone.
    pub(super) attachments: BTreeMap<ConnId, Bytes>,
    /// Marks that each connection's source was sent.
    pub(super) marks: BTreeMap<ConnId, u64>,
    /// Connections that were closed.
    pub(super) closed: Vec<ConnId>,
    /// Batches that were acked: source and number.
    pub(super) acked: BTreeSet<(u64, u64)>,
    /// Numbers that were called duplicates.
    pub(super) duplicates: Vec<u64>,
    /// How many were refused for now.
    pub(super) nacked: u64,
    /// Numbers that were refused for good, or named as given up.
    pub(super) refused: Vec<u64>,
    /// Saves of nothing but the row of a source fail.
    pub(super) are_rows_refused: bool,
    /// The same saves do not end before [`Host::end_saves`].
    pub(super) are_rows_slow: bool,
    /// Saves of plans fail.
    pub(super) are_plans_refused: bool,
    /// Commits do not end before [`Host::end_saves`], and are lost with their life.
    pub(super) are_commits_slow: bool,
    /// The same for saves of batches.
    pub(super) are_batches_slow: bool,
    /// Saves that were slow, in the order of their commands.
    pub(super) held: Vec<(Op, Vec<Write>)>,
    /// The machine dies after so many more commands.
    pub(super) dies_after: Option<u64>,
    pub(super) answers: Vec<(u16, Bytes)>,
    pub(super) saves: u64,
    /// Commits take effect and are not confirmed; from then on the journal cannot be read.
    pub(super) is_journal_mute: bool,
    pub(super) loads_failed: u64,
    /// Bytes of parked events that were loaded since the last commit, and the most that ever were.
    pub(super) loaded: (usize, usize),
    pub(super) stopped: bool,
    /// The machine may ask to be halted; it is dead then.
    pub(super) may_halt: bool,
    /// Why it did.
    pub(super) halted: Option<String>,
    /// What became of each `flush_request`.
    pub(super) flushed: Vec<FlushResult>,
}

pub(super) fn config() -> Config {
    Config { flush_threshold_ms: 1_000, flush_interval_ms: 10_000, ..Config::default() }
}

impl Host {
    pub(super) fn new(config: Config) -> Host {
        let lake = Host::restore(&config, 0, 0, &BTreeMap::new());
        Host {
            config,
            lake,
            lives: 0,
            now: 0,
            journal: BTreeMap::new(),
            store: BTreeMap::new(),
            broken: Vec::new(),
            unreadable: Vec::new(),
            attachments: BTreeMap::new(),
            marks: BTreeMap::new(),
            closed: Vec::new(),
            acked: BTreeSet::new(),
            duplicates: Vec::new(),
            nacked: 0,
            refused: Vec::new(),
            are_rows_refused: false,
            are_rows_slow: false,
            are_plans_refused: false,
            are_commits_slow: false,
            are_batches_slow: false,
            held: Vec::new(),
            dies_after: None,
            answers: Vec::new(),
            saves: 0,
            is_journal_mute: false,
            loads_failed: 0,
            loaded: (0, 0),
            stopped: false,
            may_halt: false,
            halted: None,
            flushed: Vec::new(),
        }
    }

    pub(super) fn restore(config: &Config, life: u128, now: i64, journal: &BTreeMap<Bytes, Bytes>) -> Lake {
        let rows = |(from, until): (&'static [u8], &'static [u8])| {
            journal.range(Bytes::from_static(from)..Bytes::from_static(until))
        };
        let saved = Saved {
            control: rows(CONTROL_RANGE).map(|(key, value)| (key.clone(), value.clone())).collect(),
            batch_keys: rows(BATCH_RANGE).map(|(key, _)| key.clone()).collect(),
        };
        Lake::restore(config.clone(), LOCATION.to_owned(), Seed(life), Timestamp(now), saved).expect("our own journal")
    }

    /// Kills the machine and begins another life. Producers are to connect again.
    pub(super) fn restart(&mut self) {
        self.lives += 1;
        self.lake = Host::restore(&self.config, self.lives, self.now, &self.journal);
        self.marks.clear();
        self.dies_after = None;
        self.held.clear();
    }

    /// The saves that were slow take effect.
    pub(super) fn end_saves(&mut self) {
        for (op, writes) in std::mem::take(&mut self.held) {
            let outcome = self.save(writes);
            self.step(Event::Done { op, outcome });
        }
    }

    /// Delivers an event, and all that follows from it at once.
    pub(super) fn step(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let mut commands = Commands::new();
            self.lake.step(Timestamp(self.now), event, &mut commands);
            for command in commands {
                match &mut self.dies_after {
                    Some(0) => return,
                    Some(left) => *left -= 1,
                    None => {}
                }
                events.extend(self.carry_out(command));
            }
        }
    }

    pub(super) fn carry_out(&mut self, command: Command) -> Option<Event> {
        let (op, outcome) = match command {
            Command::Send { conn, frame } => {
                self.hear(conn, &frame);
                return None;
            }
            Command::Respond { head, body, .. } => {
                self.answers.push((head.status, body));
                return None;
            }
            Command::Stopped => {
                self.stopped = true;
                return None;
            }
            Command::Halt { reason } if !self.may_halt => panic!("{reason}"),
            Command::Halt { reason } => {
                self.halted = Some(reason);
                self.dies_after = Some(0);
                return None;
            }
            Command::Attach { conn, bytes } => {
                self.attachments.insert(conn, bytes);
                return None;
            }
            Command::Close { conn, .. } => {
                self.closed.push(conn);
                return None;
            }
            Command::Ready | Command::ReadMore { .. } => return None,
            Command::Save { op, writes }
                if self.are_commits_slow && is_commit(&writes) || self.are_batches_slow && is_batch(&writes) =>
            {
                self.held.push((op, writes));
                return None;
            }
            Command::Save { op, writes } if self.are_plans_refused && is_plan(&writes) => {
                (op, Outcome::Refused(failure("the disk is full")))
            }
            Command::Save { op, writes } if self.are_rows_refused && is_row(&writes) => {
                (op, Outcome::Refused(failure("the disk is full")))
            }
            Command::Save { op, writes } if self.are_rows_slow && is_row(&writes) => {
                self.held.push((op, writes));
                return None;
            }
            Command::Save { op, writes } => (op, self.save(writes)),
            Command::Load { op, .. } if self.is_journal_mute => {
                self.loads_failed += 1;
                assert!(self.loads_failed < 1_000, "the machine is busy for nothing");
                (op, Outcome::Refused(failure("no answer")))
            }
            Command::Load { op, from, until, .. } => {
                let rows = self.journal.range(from..until).map(|(key, value)| (key.clone(), value.clone()));
                let rows: Vec<_> = rows.collect();
                let parked = rows.iter().filter(|(key, _)| key.starts_with(b"b\x01"));
                self.loaded.0 += parked.map(|(_, value)| value.len()).sum::<usize>();
                self.loaded.1 = self.loaded.1.max(self.loaded.0);
                (op, Outcome::Loaded(rows))
            }
            Command::Put { op, key, bytes, condition, .. } => (op, self.put(&key, bytes, condition)),
            Command::Get { op, key, .. } if self.unreadable.iter().any(|part| key.contains(part)) => {
                (op, Outcome::Refused(failure("no access")))
            }
            Command::Get { op, key, .. } => (op, self.store.get(&key).cloned().map_or(Outcome::Absent, Outcome::Got)),
            Command::Delete { op, key, .. } => {
                self.store.remove(&key);
                (op, Outcome::Deleted)
            }
            Command::Work { op, job, .. } => (op, Outcome::Worked(Box::new(job.run()))),
        };
        Some(Event::Done { op, outcome })
    }

    pub(super) fn save(&mut self, writes: Vec<Write>) -> Outcome {
        self.saves += 1;
        let is_commit = is_commit(&writes);
        if is_commit {
            self.loaded.0 = 0;
        }
        for write in writes {
            match write {
                Write::Put(key, value) => self.journal.insert(key, value),
                Write::Delete(key) => Some(self.journal.remove(&key).expect("only what is there is deleted")),
            };
        }
        if is_commit && self.is_journal_mute { Outcome::Unknown(failure("no answer")) } else { Outcome::Saved }
    }

    pub(super) fn put(&mut self, key: &str, bytes: Bytes, condition: Condition) -> Outcome {
        if self.broken.iter().any(|broken| key.contains(broken)) {
            return Outcome::Refused(failure("no access"));
        }
        if condition == Condition::IfAbsent && self.store.contains_key(key) {
            return Outcome::Conflict;
        }
        let former = self.store.insert(key.to_owned(), bytes);
        assert!(former.is_none() || key.ends_with("version-hint.text"), "{key} was written twice");
        Outcome::Put
    }

    pub(super) fn hear(&mut self, conn: ConnId, frame: &[u8]) {
        match ServerMessage::from_frame(frame).expect("the machine's messages can be read") {
            ServerMessage::Ack(ack) if ack.status == AckStatus::Persisted => {
                let former = self.marks.insert(conn, ack.sequence_number).unwrap_or(0);
                assert!(former < ack.sequence_number, "a mark went from {former} to {}", ack.sequence_number);
            }
            ServerMessage::Ack(ack) if matches!(ack.status, AckStatus::Buffered | AckStatus::Fallback) => {
                self.acked.insert((conn.0, ack.sequence_number));
            }
            ServerMessage::Ack(ack) if ack.status == AckStatus::Duplicate => self.duplicates.push(ack.sequence_number),
            ServerMessage::Ack(_) | ServerMessage::Status(_) => {}
            ServerMessage::Nack(nack) if nack.should_retry => self.nacked += 1,
            ServerMessage::Nack(nack) => {
                self.refused.extend(nack.sequence_number..=nack.through_sequence.unwrap_or(nack.sequence_number));
            }
            ServerMessage::FlushResponse(response) => self.flushed.push(response.result),
            other @ ServerMessage::Pong(_) => panic!("{other:?}"),
        }
    }

    /// Lets time pass, with a wake-up at each deadline.
    pub(super) fn pass(&mut self, ms: i64) {
        let end = self.now + ms;
        for _ in 0..10_000 {
            let due = self.lake.deadline().map_or(end, |deadline| self.now + deadline.after_ms as i64);
            self.now = due.min(end);
            self.step(Event::Wake);
            if due >= end {
                return;
            }
        }
        panic!("the machine is busy for nothing: {:?}", self.lake.deadline());
    }

    /// Connects source `s{n}` as connection n.
    pub(super) fn connect(&mut self, n: u64) {
        self.connect_as(n, None, Capabilities::default());
    }

    pub(super) fn connect_as(&mut self, n: u64, epoch: Option<&str>, capabilities: Capabilities) {
        self.connect_on(n, n, epoch, capabilities);
    }

    /// Connects source `s{n}` as another connection.
    pub(super) fn connect_on(&mut self, conn: u64, n: u64, epoch: Option<&str>, capabilities: Capabilities) {
        let conn = ConnId(conn);
        self.step(Event::Opened { conn, peer: Peer::default(), attachment: None });
        let connect = Connect {
            timestamp: self.now,
            correlation_id: None,
            source_do_id: format!("s{n}"),
            source_epoch: epoch.map(str::to_owned),
            source_shard_name: None,
            last_ack_sequence: 0,
            protocol_version: crate::wire::client::PROTOCOL_VERSION,
            capabilities,
        };
        let frame = Frame::Text(ClientMessage::Connect(connect).to_frame());
        self.step(Event::Received { conn, frame });
    }

    /// Sends batch `number` on connection n: one event for each table.
    pub(super) fn send(&mut self, n: u64, number: u64, tables: &[&str]) {
        self.send_on(n, n, number, tables);
    }

    /// The same on another connection.
    pub(super) fn send_on(&mut self, conn: u64, n: u64, number: u64, tables: &[&str]) {
        let first = number * 10;
        let event = |(sequence, table): (u64, &&str)| {
            serde_json::json!({
                "sequence": sequence, "timestamp": 1_700_000_000_000_u64, "operation": "INSERT", "table": table,
                "rowId": format!("r{sequence}"), "after": { "n": sequence },
            })
        };
        let events: Vec<_> = (first..).zip(tables).map(event).collect();
        let source = format!("s{n}");
        let header = BatchHeader {
            timestamp: self.now,
            correlation_id: None,
            source_do_id: &source,
            source_epoch: None,
            source_shard_name: None,
            sequence_number: number,
            first_event_sequence: first,
            last_event_sequence: first + tables.len() as u64 - 1,
            size_bytes: 0,
            is_retry: false,
            retry_count: 0,
        };
        let frame = header.to_frame(&serde_json::to_vec(&events).expect("JSON"));
        self.step(Event::Received { conn: ConnId(conn), frame: Frame::Text(frame) });
    }

    /// `POST /cdc` of source `s{n}`. The status of its answer.
    pub(super) fn post(&mut self, n: u64, body: &str) -> u16 {
        self.begin_post(CALL, n, &[], body);
        self.answers.pop().expect("an answer").0
    }

    /// The same without waiting for its answer.
    pub(super) fn begin_post(&mut self, call: CallId, n: u64, headers: &[(&str, &str)], body: &str) {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let id = ("x-client-id".to_owned(), format!("s{n}"));
        let headers = headers.iter().map(owned).chain([id]).collect();
        let head = RequestHead { method: "POST".to_owned(), path: "/cdc".to_owned(), query: None, headers };
        self.step(Event::Requested { call, head });
        self.step(Event::BodyChunk { call, bytes: Bytes::copy_from_slice(body.as_bytes()), last: true });
    }

    pub(super) fn request(&mut self, method: &str, path: &str) {
        let head = RequestHead { method: method.to_owned(), path: path.to_owned(), query: None, headers: Vec::new() };
        self.step(Event::Requested { call: CALL, head });
        self.step(Event::BodyChunk { call: CALL, bytes: Bytes::new(), last: true });
    }

    pub(super) fn status(&mut self) -> StatusAnswer {
        self.request("GET", "/status");
        let (_, body) = self.answers.pop().expect("an answer");
        serde_json::from_slice(&body).expect("a status")
    }

    /// Parked tables, and their events.
    pub(super) fn parked(&mut self) -> Vec<(String, u64)> {
        self.status().parked_tables.into_iter().map(|table| (table.table, table.events)).collect()
    }

    pub(super) fn mark(&self, n: u64) -> u64 {
        self.marks.get(&ConnId(n)).copied().unwrap_or(0)
    }

    /// The events that a table has, after everything about it was found true.
    pub(super) fn events(&self, table: &str) -> Vec<(String, u64)> {
        let pointers = self.journal.iter().filter(|(key, _)| key.starts_with(b"c/t/"));
        let mut pointers = pointers.map(|(_, value)| TablePointer::decode(value).expect("our own journal"));
        let pointer = pointers.find(|pointer| pointer.cdc_table.as_deref() == Some(table));
        let Some(TablePointer { metadata_location: location, .. }) = pointer else { return Vec::new() };
        let mut read = |location: &str| -> Result<Option<Bytes>, String> {
            let key = location.strip_prefix(LOCATION).and_then(|key| key.strip_prefix('/')).expect("in the store");
            Ok(self.store.get(key).cloned())
        };
        let report = verify_table(&location, &mut read).unwrap_or_else(|untruths| panic!("{untruths:?}"));
        let of_source = |(SourceEpoch { source, .. }, ranges): (&SourceEpoch, &crate::verify::Ranges)| {
            let numbers = ranges.iter().flat_map(|(first, last)| first..=last);
            numbers.map(|number| (source.clone(), number)).collect::<Vec<_>>()
        };
        report.sequences.iter().flat_map(of_source).collect()
    }

    pub(super) fn check(&self, table: &str, expected: &[(&str, u64)]) {
        let expected: Vec<_> = expected.iter().map(|(source, number)| ((*source).to_owned(), *number)).collect();
        assert_eq!(self.events(table), expected, "table {table}");
    }
}

/// The row of the flush, where one is among them: a plan has begun an attempt, a commit begins the next flush.
fn flush_row(writes: &[Write]) -> Option<FlushRow> {
    writes.iter().find_map(|write| match write {
        Write::Put(key, value) if &key[..] == FLUSH_KEY => Some(decode(key, value).expect("our own journal")),
        Write::Put(..) | Write::Delete(_) => None,
    })
}

fn is_commit(writes: &[Write]) -> bool {
    flush_row(writes).is_some_and(|row| row.attempt == 0)
}

fn is_plan(writes: &[Write]) -> bool {
    flush_row(writes).is_some_and(|row| row.attempt > 0)
}

fn is_batch(writes: &[Write]) -> bool {
    writes.iter().any(|write| matches!(write, Write::Put(key, _) if key.starts_with(b"b")))
}

fn is_row(writes: &[Write]) -> bool {
    matches!(writes, [Write::Put(key, _)] if key.starts_with(b"s/"))
}

pub(super) fn failure(message: &str) -> Failure {
    Failure { message: message.to_owned(), retry_after_ms: None }
}

/// Two sources; the folder of table `bad` takes no writes.
pub(super) fn outage(config: Config) -> Host {
    let mut host = Host::new(config);
    host.broken = vec!["/bad/"];
    host.connect(1);
    host.connect(2);
    host
}
