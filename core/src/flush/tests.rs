//! Flushes seen from outside, above all of tables whose folder takes no writes: the machine with a journal and a store in
//! maps.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test names what it expects")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use crate::catalog::TablePointer;
use crate::command::{Command, Condition, Failure, Outcome, Write};
use crate::config::Config;
use crate::event::{CallId, ConnId, Event, Frame, Peer, RequestHead};
use crate::http::status::StatusAnswer;
use crate::journal::{BATCH_RANGE, CONTROL_RANGE, Saved};
use crate::seed::{Draws, Seed};
use crate::time::Timestamp;
use crate::verify::{SourceEpoch, verify_table};
use crate::wire::client::{BatchHeader, Capabilities, ClientMessage, Connect};
use crate::wire::server::{AckStatus, FlushResult, ServerMessage};
use crate::{Commands, Lake};

const LOCATION: &str = "mem://lake";
const CALL: CallId = CallId(1);

struct Host {
    config: Config,
    lake: Lake,
    lives: u128,
    now: i64,
    journal: BTreeMap<Bytes, Bytes>,
    store: BTreeMap<String, Bytes>,
    /// Writes to keys with one of these in them fail.
    broken: Vec<&'static str>,
    /// Marks that each connection's source was sent.
    marks: BTreeMap<ConnId, u64>,
    /// Batches that were acked: source and number.
    acked: BTreeSet<(u64, u64)>,
    /// How many were refused for now.
    nacked: u64,
    /// The machine dies after so many more commands.
    dies_after: Option<u64>,
    answers: Vec<(u16, Bytes)>,
    saves: u64,
    /// Commits take effect and are not confirmed; from then on the journal cannot be read.
    is_journal_mute: bool,
    loads_failed: u64,
    stopped: bool,
}

fn config() -> Config {
    Config { flush_threshold_ms: 1_000, flush_interval_ms: 10_000, ..Config::default() }
}

impl Host {
    fn new(config: Config) -> Host {
        let lake = Host::restore(&config, 0, 0, &BTreeMap::new());
        Host {
            config,
            lake,
            lives: 0,
            now: 0,
            journal: BTreeMap::new(),
            store: BTreeMap::new(),
            broken: Vec::new(),
            marks: BTreeMap::new(),
            acked: BTreeSet::new(),
            nacked: 0,
            dies_after: None,
            answers: Vec::new(),
            saves: 0,
            is_journal_mute: false,
            loads_failed: 0,
            stopped: false,
        }
    }

    fn restore(config: &Config, life: u128, now: i64, journal: &BTreeMap<Bytes, Bytes>) -> Lake {
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
    fn restart(&mut self) {
        self.lives += 1;
        self.lake = Host::restore(&self.config, self.lives, self.now, &self.journal);
        self.marks.clear();
        self.dies_after = None;
    }

    /// Delivers an event, and all that follows from it at once.
    fn step(&mut self, event: Event) {
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

    fn carry_out(&mut self, command: Command) -> Option<Event> {
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
            Command::Halt { reason } => panic!("{reason}"),
            Command::Ready | Command::Attach { .. } | Command::Close { .. } | Command::ReadMore { .. } => return None,
            Command::Save { op, writes } => (op, self.save(writes)),
            Command::Load { op, .. } if self.is_journal_mute => {
                self.loads_failed += 1;
                assert!(self.loads_failed < 1_000, "the machine is busy for nothing");
                (op, Outcome::Refused(failure("no answer")))
            }
            Command::Load { op, from, until, .. } => {
                let rows = self.journal.range(from..until).map(|(key, value)| (key.clone(), value.clone()));
                (op, Outcome::Loaded(rows.collect()))
            }
            Command::Put { op, key, bytes, condition, .. } => (op, self.put(&key, bytes, condition)),
            Command::Get { op, key, .. } => (op, self.store.get(&key).cloned().map_or(Outcome::Absent, Outcome::Got)),
            Command::Delete { op, key, .. } => {
                self.store.remove(&key);
                (op, Outcome::Deleted)
            }
            Command::Work { op, job, .. } => (op, Outcome::Worked(Box::new(job.run()))),
        };
        Some(Event::Done { op, outcome })
    }

    fn save(&mut self, writes: Vec<Write>) -> Outcome {
        self.saves += 1;
        let is_commit = writes.iter().any(|write| matches!(write, Write::Put(key, _) if key.starts_with(b"c/t/")));
        for write in writes {
            match write {
                Write::Put(key, value) => self.journal.insert(key, value),
                Write::Delete(key) => Some(self.journal.remove(&key).expect("only what is there is deleted")),
            };
        }
        if is_commit && self.is_journal_mute { Outcome::Unknown(failure("no answer")) } else { Outcome::Saved }
    }

    fn put(&mut self, key: &str, bytes: Bytes, condition: Condition) -> Outcome {
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

    fn hear(&mut self, conn: ConnId, frame: &[u8]) {
        match ServerMessage::from_frame(frame).expect("the machine's messages can be read") {
            ServerMessage::Ack(ack) if ack.status == AckStatus::Persisted => {
                let former = self.marks.insert(conn, ack.sequence_number).unwrap_or(0);
                assert!(former < ack.sequence_number, "a mark went from {former} to {}", ack.sequence_number);
            }
            ServerMessage::Ack(ack) if matches!(ack.status, AckStatus::Buffered | AckStatus::Fallback) => {
                self.acked.insert((conn.0, ack.sequence_number));
            }
            ServerMessage::Ack(_) | ServerMessage::Status(_) => {}
            ServerMessage::Nack(nack) if nack.should_retry => self.nacked += 1,
            other => panic!("{other:?}"),
        }
    }

    /// Lets time pass, with a wake-up at each deadline.
    fn pass(&mut self, ms: i64) {
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
    fn connect(&mut self, n: u64) {
        let conn = ConnId(n);
        self.step(Event::Opened { conn, peer: Peer::default(), attachment: None });
        let connect = Connect {
            timestamp: self.now,
            correlation_id: None,
            source_do_id: format!("s{n}"),
            source_epoch: None,
            source_shard_name: None,
            last_ack_sequence: 0,
            protocol_version: crate::wire::client::PROTOCOL_VERSION,
            capabilities: Capabilities::default(),
        };
        let frame = Frame::Text(ClientMessage::Connect(connect).to_frame());
        self.step(Event::Received { conn, frame });
    }

    /// Sends batch `number` on connection n: one event for each table.
    fn send(&mut self, n: u64, number: u64, tables: &[&str]) {
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
        self.step(Event::Received { conn: ConnId(n), frame: Frame::Text(frame) });
    }

    fn request(&mut self, method: &str, path: &str) {
        let head = RequestHead { method: method.to_owned(), path: path.to_owned(), query: None, headers: Vec::new() };
        self.step(Event::Requested { call: CALL, head });
        self.step(Event::BodyChunk { call: CALL, bytes: Bytes::new(), last: true });
    }

    fn status(&mut self) -> StatusAnswer {
        self.request("GET", "/status");
        let (_, body) = self.answers.pop().expect("an answer");
        serde_json::from_slice(&body).expect("a status")
    }

    /// Parked tables, and their events.
    fn parked(&mut self) -> Vec<(String, u64)> {
        self.status().parked_tables.into_iter().map(|table| (table.table, table.events)).collect()
    }

    fn mark(&self, n: u64) -> u64 {
        self.marks.get(&ConnId(n)).copied().unwrap_or(0)
    }

    /// The events that a table has, after everything about it was found true.
    fn events(&self, table: &str) -> Vec<(String, u64)> {
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

    fn check(&self, table: &str, expected: &[(&str, u64)]) {
        let expected: Vec<_> = expected.iter().map(|(source, number)| ((*source).to_owned(), *number)).collect();
        assert_eq!(self.events(table), expected, "table {table}");
    }
}

fn failure(message: &str) -> Failure {
    Failure { message: message.to_owned(), retry_after_ms: None }
}

/// Two sources; the folder of table `bad` takes no writes.
fn outage(config: Config) -> Host {
    let mut host = Host::new(config);
    host.broken = vec!["/bad/"];
    host.connect(1);
    host.connect(2);
    host
}

#[test]
fn a_buffer_smaller_than_the_threshold_is_flushed_before_it_is_full() {
    let mut host = Host::new(Config {
        flush_threshold_bytes: 1 << 20,
        max_buffer_size: 2_000,
        max_payload_size: 1_000,
        max_event_size: 1_000,
        ..config()
    });
    host.connect(1);
    for number in 1..=100 {
        host.send(1, number, &["good"]);
    }
    assert_eq!((host.now, host.acked.len()), (0, 100));
    assert!(host.mark(1) > 90, "{} are flushed", host.mark(1));
}

#[test]
fn small_batches_are_refused_before_they_fill_memory_and_taken_when_the_store_is_back() {
    let mut host =
        Host::new(Config { memory_budget_bytes: 76_800, max_payload_size: 4_096, max_event_size: 4_096, ..config() });
    host.broken = vec!["warehouse/"];
    host.connect(1);
    for number in 1..=200 {
        host.send(1, number, &["good"]);
    }
    assert_eq!((host.acked.len(), host.nacked), (100, 100), "of 768 bytes each");
    host.broken.clear();
    host.pass(120_000);
    assert_eq!(host.mark(1), 100);
    for number in 101..=200 {
        host.send(1, number, &["good"]);
    }
    host.pass(60_000);
    assert_eq!(host.mark(1), 200);
}

#[test]
fn an_unknown_commit_that_cannot_be_read_back_is_read_again_in_its_time() {
    let mut host = Host::new(config());
    host.connect(1);
    host.send(1, 1, &["good"]);
    host.is_journal_mute = true;
    host.pass(60_000);
    assert!((1..30).contains(&host.loads_failed), "{} reads in a minute", host.loads_failed);
    assert_eq!(host.mark(1), 0);
    host.is_journal_mute = false;
    host.pass(60_000);
    assert_eq!(host.mark(1), 1);
    host.check("good", &[("s1", 10)]);
}

#[test]
fn other_tables_and_other_sources_go_on_while_one_table_is_parked() {
    let mut host = outage(config());
    host.send(1, 1, &["good"]);
    host.send(1, 2, &["good", "bad"]);
    host.send(2, 1, &["good"]);
    host.pass(5_000);
    host.check("good", &[("s1", 10), ("s1", 20), ("s2", 10)]);
    assert_eq!(host.parked(), [("bad".to_owned(), 1)]);
    assert_eq!((host.mark(1), host.mark(2)), (1, 1), "no mark passes batch 2 of the first source");

    host.send(1, 3, &["bad"]);
    host.send(1, 4, &["good"]);
    host.send(2, 2, &["good"]);
    host.pass(5_000);
    host.check("good", &[("s1", 10), ("s1", 20), ("s1", 40), ("s2", 10), ("s2", 20)]);
    assert_eq!(host.parked(), [("bad".to_owned(), 2)]);
    assert_eq!((host.mark(1), host.mark(2)), (1, 2));
}

#[test]
fn what_is_parked_survives_a_restart_and_comes_into_the_lake_once_when_its_table_can_be_written() {
    let mut host = outage(config());
    host.send(1, 1, &["bad", "good"]);
    host.pass(5_000);
    host.send(1, 2, &["bad"]);
    host.pass(5_000);
    host.restart();
    host.connect(1);
    host.pass(5_000);
    assert_eq!((host.parked(), host.mark(1)), (vec![("bad".to_owned(), 2)], 0), "a greeting claims no more");

    host.send(1, 3, &["bad", "good"]);
    host.broken.clear();
    host.pass(20_000);
    host.check("bad", &[("s1", 10), ("s1", 20), ("s1", 30)]);
    host.check("good", &[("s1", 11), ("s1", 31)]);
    assert_eq!((host.parked(), host.mark(1)), (vec![], 3));
    assert!(!host.journal.keys().any(|key| key.starts_with(b"b")), "nothing is left in the journal");
    host.restart();
    host.connect(1);
    assert_eq!(host.mark(1), 3);
}

#[test]
fn a_table_that_was_written_before_is_parked_and_goes_on_where_it_was() {
    let mut host = Host::new(config());
    host.connect(1);
    host.send(1, 1, &["bad", "good"]);
    host.pass(5_000);
    host.broken = vec!["/bad/"];
    host.send(1, 2, &["bad", "good"]);
    host.pass(5_000);
    assert_eq!((host.parked(), host.mark(1)), (vec![("bad".to_owned(), 1)], 1));
    assert_eq!(host.status().source_states[0].last_persisted_sequence, 1);
    host.broken.clear();
    host.pass(10_000);
    host.check("bad", &[("s1", 10), ("s1", 20)]);
    assert_eq!(host.mark(1), 2);
}

#[test]
fn a_table_that_fails_alone_is_not_parked_before_another_one_shows_that_the_store_works() {
    let mut host = outage(config());
    host.send(1, 1, &["bad"]);
    host.pass(20_000);
    assert_eq!(host.parked(), []);
    host.send(2, 1, &["good"]);
    host.pass(120_000);
    assert_eq!(host.parked(), [("bad".to_owned(), 1)]);
    host.check("good", &[("s2", 10)]);
    assert_eq!((host.mark(1), host.mark(2)), (0, 1));
}

#[test]
fn a_table_that_fills_a_flush_alone_gives_way_to_those_behind_it() {
    let mut host = outage(Config { flush_threshold_bytes: 1, ..config() });
    host.send(1, 1, &["bad"]);
    host.send(2, 1, &["good"]);
    host.pass(120_000);
    assert_eq!(host.parked(), [("bad".to_owned(), 1)]);
    host.check("good", &[("s2", 10)]);
}

#[test]
fn a_parked_table_whose_time_has_come_is_not_held_up_by_another_that_fails() {
    let mut host = outage(config());
    host.broken = vec!["/bad/", "/worse/"];
    host.send(1, 1, &["bad", "good"]);
    host.pass(120_000);
    assert_eq!(host.parked(), [("bad".to_owned(), 1)]);
    host.send(2, 1, &["worse"]);
    host.broken = vec!["/worse/"];
    host.pass(600_000);
    host.check("bad", &[("s1", 10)]);
    assert_eq!(host.parked(), [("worse".to_owned(), 1)]);
}

#[test]
fn a_store_that_takes_nothing_parks_nothing() {
    let mut host = outage(config());
    host.broken = vec!["warehouse/"];
    host.send(1, 1, &["bad", "good"]);
    host.pass(60_000);
    host.send(2, 1, &["other"]);
    host.pass(60_000);
    assert_eq!(host.parked(), []);
    host.broken.clear();
    host.pass(60_000);
    host.check("bad", &[("s1", 10)]);
    host.check("good", &[("s1", 11)]);
    host.check("other", &[("s2", 10)]);
}

#[test]
fn past_its_limit_a_table_holds_up_the_flush_and_nothing_is_lost() {
    let mut host = outage(Config { max_parked_bytes: 2_000, ..config() });
    for number in 1..=4 {
        host.send(1, number, &["bad", "good"]);
        host.pass(12_000);
    }
    assert_eq!(host.parked(), [("bad".to_owned(), 2)], "the third has no room");
    host.check("good", &[("s1", 11), ("s1", 21)]);
    host.broken.clear();
    host.pass(60_000);
    host.check("bad", &[("s1", 10), ("s1", 20), ("s1", 30), ("s1", 40)]);
    host.check("good", &[("s1", 11), ("s1", 21), ("s1", 31), ("s1", 41)]);
    assert_eq!((host.parked(), host.mark(1)), (vec![], 4));
}

#[test]
fn one_who_asks_for_a_flush_is_told_what_is_parked_after_it_was_tried() {
    let mut host = outage(config());
    host.send(1, 1, &["bad", "good"]);
    host.pass(8_000);
    let ask = |host: &mut Host| -> (u16, FlushResult) {
        host.request("POST", "/flush");
        host.pass(1_000);
        let (status, body) = host.answers.pop().expect("an answer");
        (status, serde_json::from_slice(&body).expect("a flush result"))
    };
    let (status, result) = ask(&mut host);
    assert_eq!((status, result.success), (503, false));
    assert!(result.error.as_deref().is_some_and(|error| error.contains("parked: bad;")), "{:?}", result.error);
    host.broken.clear();
    let (status, result) = ask(&mut host);
    assert_eq!((status, result.success, result.events_flushed), (200, true, 1));
    host.check("bad", &[("s1", 10)]);
}

#[test]
fn tries_of_a_parked_table_come_less_and_less_often_and_open_no_breaker() {
    let mut host = outage(config());
    host.send(1, 1, &["bad", "good"]);
    host.pass(30_000);
    let before = host.saves;
    host.pass(600_000);
    let tries = (host.saves - before) / 2;
    assert!((60..=130).contains(&tries), "{tries} tries in ten minutes, with 5 to 10 s between them");
    assert_eq!(host.status().circuit_breaker, crate::wire::server::CircuitBreakerState::Closed);
}

#[test]
fn stopping_tries_a_parked_table_once_more_and_does_not_wait_for_it() {
    let mut host = outage(config());
    host.send(1, 1, &["bad", "good"]);
    host.pass(8_000);
    host.step(Event::Shutdown);
    host.pass(2_000);
    assert!(host.stopped);
    assert_eq!(host.parked(), [("bad".to_owned(), 1)]);
}

const TABLES: [&str; 3] = ["t0", "t1", "t2"];

/// What one source sent: the tables of each batch, by its number.
type Sent = BTreeMap<u64, Vec<&'static str>>;

/// Kills the machine if it is to die, and lets the producers connect and send again what was not acked.
fn revive(host: &mut Host, sent: &BTreeMap<u64, Sent>) {
    if host.dies_after != Some(0) {
        return;
    }
    host.restart();
    for (source, batches) in sent {
        host.connect(*source);
        for (number, tables) in batches {
            if !host.acked.contains(&(*source, *number)) {
                host.send(*source, *number, tables);
            }
        }
    }
}

/// No mark says more than what is in the lake (promise 1).
fn check_marks(host: &Host, sent: &BTreeMap<u64, Sent>, seed: u128) {
    let in_lake = TABLES.map(|table| host.events(table));
    for (source, batches) in sent {
        for (number, tables) in batches.range(..=host.mark(*source)) {
            for (index, table) in (0..).zip(tables) {
                let event = (format!("s{source}"), number * 10 + index);
                let table = TABLES.iter().position(|name| name == table).expect("one of ours");
                assert!(in_lake[table].contains(&event), "seed {seed}: {event:?} is marked and not in the lake");
            }
        }
    }
}

/// Folders fail and heal, the machine dies between any two commands; in the end all is in the lake, once. Returns
/// whether a table was parked on the way.
fn live_through(seed: u128) -> bool {
    let mut was_parked = false;
    let mut draws = Draws::new(Seed(seed));
    let max_parked_bytes = [1_500, 5_000, 1 << 20][draws.below(3) as usize];
    let memory_budget_bytes = [16 << 20, 64 << 20][draws.below(2) as usize];
    let mut host = Host::new(Config { max_parked_bytes, memory_budget_bytes, ..config() });
    let mut sent: BTreeMap<u64, Sent> = BTreeMap::from([(1, Sent::new()), (2, Sent::new())]);
    host.connect(1);
    host.connect(2);
    for _ in 0..60 {
        match draws.below(10) {
            0..=4 => {
                let source = 1 + draws.below(2);
                let batches = sent.get_mut(&source).expect("two sources");
                let number = batches.len() as u64 + 1;
                let mask = 1 + draws.below(7);
                let tables: Vec<_> = (0..3).filter(|n| mask & (1 << n) != 0).map(|n| TABLES[n]).collect();
                batches.insert(number, tables.clone());
                host.send(source, number, &tables);
            }
            5 => {
                host.broken =
                    [vec!["/t1/"], vec!["/t0/", "/t2/"], vec!["warehouse/"], vec![]][draws.below(4) as usize].clone();
            }
            6 => host.dies_after = Some(draws.below(60)),
            _ => host.pass(draws.below(8_000) as i64),
        }
        revive(&mut host, &sent);
        was_parked |= host.journal.keys().any(|key| key.starts_with(b"b\x01"));
        if draws.below(4) == 0 {
            check_marks(&host, &sent, seed);
        }
    }
    host.dies_after = Some(0);
    revive(&mut host, &sent);
    host.broken.clear();
    host.pass(60_000);
    for table in TABLES {
        let mut expected = Vec::new();
        for (source, batches) in &sent {
            for (number, tables) in batches {
                let index = tables.iter().position(|name| *name == table);
                expected.extend(index.map(|index| (format!("s{source}"), number * 10 + index as u64)));
            }
        }
        assert_eq!(host.events(table), expected, "seed {seed}, table {table}");
    }
    for (source, batches) in &sent {
        assert_eq!(host.mark(*source), batches.len() as u64, "seed {seed}, source {source}");
    }
    assert!(!host.journal.keys().any(|key| key.starts_with(b"b")), "seed {seed}: nothing is left in the journal");
    was_parked
}

#[test]
fn whatever_fails_and_whenever_the_machine_dies_every_event_comes_into_the_lake_once() {
    let parked = (0..60).filter(|seed| live_through(*seed)).count();
    assert!(parked >= 30, "only {parked} lives had a parked table");
}
