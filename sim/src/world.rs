//! A whole run: the machine, its host, the journal, the store, the network and the producers, in one ordered queue.
//!
//! [`crate::host`] carries out the machine's commands and makes lives begin and end; [`crate::producers`] is the other
//! end of the sockets; [`crate::checks`] holds every answer and every commit against what was made up. Nothing here
//! waits or looks at a clock: the world jumps from one entry of its queue to the next.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use dolake_core::event::{CallId, ConnId, Frame, Peer};
use dolake_core::producer::ProducerEvent;
use dolake_core::{Event, Lake, Op, Outcome};

use crate::decisions::Decisions;
use crate::host::{Host, JournalAsk};
use crate::journal::Journal;
use crate::lake_view::LakeView;
use crate::plan::{Faults, Plan};
use crate::producers::Producer;
use crate::queue::{Micros, Queue};
use crate::record::Recorder;
use crate::rng::Rng;
use crate::store::{Ask, Store};
use crate::truth::{self, Stream, Truth, Uid};

/// Where readers find the store.
pub const LOCATION: &str = "s3://lake/sim";

/// The host's clock at the start of a run, in milliseconds.
pub const START_MS: i64 = 1_790_000_000_000;

/// Steps in one simulated millisecond above which the machine counts as running in circles.
const STEPS_PER_MS_MAX: u64 = 20_000;

/// What a message was, for its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tag {
    /// A batch, by stream and index.
    Batch(usize, usize),
    /// Other events under the number of an acked batch.
    Impostor(usize, u64),
    /// A message that is none.
    Malformed,
    /// A message whose answer needs no check of order.
    Other,
}

/// Something that is to happen.
#[derive(Debug)]
pub enum What {
    /// A socket reaches the host.
    Opened(ConnId, Peer),
    /// A message reaches the host.
    ToHost(ConnId, Frame, Tag),
    /// A message reaches its producer.
    ToClient(ConnId, Bytes),
    /// The host sees a socket's end.
    HostClosed(ConnId),
    /// The producer sees a socket's end.
    ClientClosed(ConnId),
    /// An HTTP request reaches the host.
    Call(CallId, dolake_core::event::RequestHead, Bytes),
    /// The journal carries out its next command.
    Journal,
    /// The store carries out something, and may say so.
    Store(Option<Op>, Ask),
    /// A command's result reaches the machine.
    Done(Op, Outcome),
    /// The machine's deadline passes, if it is still this one.
    Wake(u64),
    /// A client's patience with its `POST /cdc` ends.
    CallCut(CallId),
    /// A client has the answer to its `POST /cdc`, or knows that there is none.
    Heard(CallId, Option<crate::posts::Told>),
    /// A reader that holds a version of a table reads its files.
    ReadOld(String, String),
    /// A piece of a request's body reaches the machine.
    Body(CallId, Bytes, bool),
    /// A peer that did not read begins to.
    Reads(ConnId),
    /// The host dies or is evicted, in calm times.
    Blow,
    /// The peer has read so much.
    Sent(ConnId, usize),
    /// A new life begins.
    Restart,
    /// The operator loses patience with a stop.
    Kill(u64),
    /// The operator sees that a life has another store than its journal's.
    Recognized(u64),
    /// A socket was taken by the host.
    ClientOpened(ConnId),
    /// A real producer's deadline passes, if it is still this one.
    ProducerWake(usize, u64),
    /// A producer's turn.
    Turn(usize),
    /// A second has passed.
    Second,
    /// Faults stop.
    Calm,
}

/// One WebSocket.
#[derive(Debug)]
pub struct Socket {
    pub(crate) producer: usize,
    pub(crate) stream: usize,
    pub(crate) peer: Peer,
    pub(crate) client_open: bool,
    pub(crate) host_open: bool,
    pub(crate) reads: bool,
    /// What it was sent while it did not read.
    pub(crate) unread: Vec<Bytes>,
    pub(crate) attachment: Option<Bytes>,
    pub(crate) due_at_host: Micros,
    pub(crate) to_client_at: Micros,
    /// Messages that the machine of this life has, and has not answered.
    pub(crate) expects: VecDeque<Tag>,
    /// Batches that were named as given up, by stream.
    pub(crate) told_closed: BTreeSet<(usize, u64)>,
    /// Batches that were sent on it.
    pub(crate) sent: BTreeSet<(usize, u64)>,
    /// Batches that a `persisted` mark reached.
    pub(crate) mark: BTreeMap<usize, u64>,
}

/// Generators, one for each concern.
#[derive(Debug)]
pub(crate) struct Chance {
    pub(crate) faults: Rng,
    pub(crate) work: Rng,
    pub(crate) net: Rng,
    pub(crate) clock: Rng,
    pub(crate) core: Rng,
}

impl Chance {
    /// Each concern's generator of a seed, as `rng` makes it. The seeds of the machine's lives are never decided otherwise:
    /// two lives with one seed would give the same names.
    pub(crate) fn new(seed: u64, rng: impl Fn(u64, &str) -> Rng) -> Chance {
        Chance {
            faults: rng(seed, "faults"),
            work: rng(seed, "workload"),
            net: rng(seed, "network"),
            clock: rng(seed, "clock"),
            core: Rng::new(seed, "core"),
        }
    }

    /// Says which producer's turn it is, if one's: what each is answered is kept apart.
    pub(crate) fn turn_of(&mut self, producer: Option<usize>) {
        let Chance { faults, work, net, clock, core: _ } = self;
        [faults, work, net, clock].into_iter().for_each(|rng| rng.turn_of(producer));
    }

    /// What was decided, where it was written down.
    pub(crate) fn into_decisions(self) -> Decisions {
        let Chance { faults, work, net, clock, core: _ } = self;
        let mut decisions = Decisions::default();
        for (concern, rng) in [("faults", faults), ("workload", work), ("network", net), ("clock", clock)] {
            if let Some(tape) = rng.into_tape() {
                decisions.add(concern, tape);
            }
        }
        decisions
    }
}

/// Who is told what happens.
#[derive(Debug)]
pub enum Listener {
    /// Nobody.
    Nobody,
    /// The terminal.
    Terminal,
    /// A list of lines, each with its moment.
    Lines(RefCell<Vec<(Micros, String)>>),
}

/// What was seen to be wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The check that saw it.
    pub check: &'static str,
    /// What it saw.
    pub message: String,
}

/// The world.
#[derive(Debug)]
pub struct World {
    pub(crate) plan: Plan,
    /// Where readers find the store: [`LOCATION`] unless it is to be written to a folder.
    pub(crate) location: String,
    pub(crate) faults: Faults,
    pub(crate) chance: Chance,
    pub(crate) queue: Queue<What>,
    pub(crate) now: Micros,
    pub(crate) clock_offset_ms: i64,
    pub(crate) host: Host,
    pub(crate) journal: Journal,
    pub(crate) journal_queue: VecDeque<(Op, JournalAsk)>,
    pub(crate) store: Store,
    pub(crate) puts: u64,
    pub(crate) outage_until: Micros,
    /// The table whose folder stays broken in calm times.
    pub(crate) broken_table: Option<&'static str>,
    /// Tables whose folders take no writes, and until when.
    pub(crate) tables_out: (Vec<&'static str>, Micros),
    /// The table whose metadata is read damaged, and until when.
    pub(crate) damaged_table: (&'static str, Micros),
    pub(crate) sockets: BTreeMap<ConnId, Socket>,
    pub(crate) next_conn: u64,
    pub(crate) calls: BTreeMap<CallId, (Micros, Bytes)>,
    pub(crate) next_call: u64,
    pub(crate) operator: crate::operator::Operator,
    /// The settings that the run begins with, and the widest of each limit that was asked for since.
    pub(crate) widest: dolake_core::Config,
    /// Requests with a batch, also those that are answered.
    pub(crate) posts: BTreeMap<CallId, crate::posts::Post>,
    /// What must be in the lake when a flush that was asked for is said to be done.
    pub(crate) flush_asks: BTreeMap<CallId, Vec<Uid>>,
    pub(crate) producers: Vec<Producer>,
    pub(crate) truth: Truth,
    pub(crate) view: LakeView,
    /// What each commit brings, where another run of the same seed read it: this one reads nothing ([`crate::twin`]).
    pub(crate) told: Option<VecDeque<Vec<Uid>>>,
    /// What each commit brought.
    pub(crate) brought: Vec<Vec<Uid>>,
    /// What readers could see of each table so far.
    pub(crate) versions: crate::checks::catalog::Versions,
    pub(crate) violation: Option<Violation>,
    pub(crate) is_calm: bool,
    pub(crate) calm_since: Micros,
    /// The most that batches in the journal took since then, in bytes.
    pub(crate) calm_backlog: u64,
    /// The same of what is parked.
    pub(crate) calm_parked: u64,
    /// When the last batch was acked.
    pub(crate) last_ack: Micros,
    /// When a commit took effect last.
    pub(crate) last_commit: Micros,
    steps_in: (u64, u64),
    /// The last stop was ended by the operator, so that what a next start would do is left undone.
    pub(crate) is_cut_short: bool,
    /// What happened, for people and statistics.
    pub counts: BTreeMap<&'static str, u64>,
    pub(crate) recorder: Recorder,
    listener: Listener,
}

impl World {
    /// The world of a seed.
    pub fn new(seed: u64, plan: Plan, trace: bool, recorder: Recorder) -> World {
        let listener = if trace { Listener::Terminal } else { Listener::Nobody };
        World::with(Chance::new(seed, Rng::new), plan, listener, recorder)
    }

    /// The world of a plan and of what chance decides.
    pub(crate) fn with(chance: Chance, plan: Plan, listener: Listener, recorder: Recorder) -> World {
        let mut world = World {
            faults: plan.faults.clone(),
            location: LOCATION.to_owned(),
            chance,
            queue: Queue::new(),
            now: 0,
            clock_offset_ms: 0,
            host: Host::default(),
            journal: Journal::default(),
            journal_queue: VecDeque::new(),
            store: Store::default(),
            puts: 0,
            outage_until: 0,
            broken_table: None,
            tables_out: (Vec::new(), 0),
            damaged_table: ("", 0),
            sockets: BTreeMap::new(),
            next_conn: 1,
            calls: BTreeMap::new(),
            next_call: 1,
            operator: crate::operator::Operator::default(),
            widest: plan.config.clone(),
            posts: BTreeMap::new(),
            flush_asks: BTreeMap::new(),
            producers: Vec::new(),
            truth: Truth { applies_each: !plan.config.enable_deduplication, ..Truth::default() },
            view: LakeView::default(),
            told: None,
            brought: Vec::new(),
            versions: crate::checks::catalog::Versions::default(),
            violation: None,
            is_calm: false,
            calm_since: 0,
            last_ack: 0,
            last_commit: 0,
            calm_backlog: 0,
            calm_parked: 0,
            steps_in: (0, 0),
            is_cut_short: false,
            counts: BTreeMap::new(),
            recorder,
            listener,
            plan,
        };
        for n in 0..world.plan.sources {
            // Without an epoch, a batch that repeats others in full is refused as perhaps that of a producer that started
            // over, and a hole that waits for its number stays until it times out.
            world.chance.turn_of(Some(n as usize));
            let unnamed = world.chance.work.at("no epoch").one_in(3) && world.plan.overlap == 0;
            let epoch = if unnamed { String::new() } else { "e1".to_owned() };
            let source = format!("shard-{n:-<width$}", width = world.plan.name_bytes.saturating_sub(6) as usize);
            let stream = world.truth.open(source.clone(), epoch);
            world.producers.push(Producer::new(source, stream));
            let real = world.chance.work.at("real producers").chance(world.plan.real_producers);
            let is_sparse = world.chance.work.at("sparse").chance(world.plan.sparse);
            let obeys = is_sparse && !world.chance.work.at("sparse and hostile").one_in(3);
            let is_eager = obeys && world.chance.work.at("sparse and eager").one_in(2);
            world.truth.streams[stream].is_sparse = is_sparse;
            world.truth.streams[stream].is_eager = is_eager;
            world.truth.streams[stream].may_overtake = is_sparse && !obeys;
            let posts = world.chance.work.at("posts").chance(world.plan.posts);
            if posts {
                world.begin_posting(n as usize);
            } else if (obeys && !is_eager) || (real && !is_sparse) {
                world.begin_machine(n as usize);
            }
            let first_turn = world.chance.work.at("first turn").below(world.plan.turn_ms * 1_000);
            world.queue.at(first_turn, What::Turn(n as usize));
        }
        world.chance.turn_of(None);
        world.queue.at(0, What::Restart);
        world.queue.at(1_000_000, What::Second);
        world.queue.at(world.plan.chaos_ms * 1_000, What::Calm);
        world
    }

    /// Lives until a moment, in simulated milliseconds, or to the end. Returns whether it came to the end.
    pub fn run_until(&mut self, ms: u64) -> bool {
        let mut goes_on = true;
        while goes_on && self.now / 1_000 < ms {
            goes_on = self.advance();
        }
        !goes_on
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What is committed now: each table, as events spell it, and its metadata file.
    pub fn tables(&self) -> impl Iterator<Item = &(String, String)> {
        self.view.metadata()
    }

    /// The events that are in the lake now, by what was made up.
    pub fn in_lake(&self) -> impl Iterator<Item = (&Stream, &truth::Event)> {
        self.view.events.iter().map(|uid| {
            let event = &self.truth.events[*uid as usize];
            (&self.truth.streams[event.stream], event)
        })
    }

    /// The same world with another place for its store, before anything happened in it.
    pub fn at_location(self, location: String) -> World {
        World { location, ..self }
    }

    /// Lives through the run. At its end, `violation` says what was wrong, if anything was.
    pub fn run(&mut self) {
        self.run_watched(&|_| None);
    }

    /// Lives through the run with one more check, which is asked after everything that happens.
    pub fn run_watched(&mut self, watch: &dyn Fn(&World) -> Option<String>) {
        let mut goes_on = true;
        while goes_on {
            goes_on = self.advance();
            if let Some(message) = watch(self) {
                self.fail("watch", message);
            }
        }
    }

    /// Lets the next thing happen. Returns whether the run goes on.
    pub(crate) fn advance(&mut self) -> bool {
        if self.violation.is_some() {
            return false;
        }
        let Some((at, what)) = self.queue.next() else {
            self.fail("liveness", "nothing is left to happen, and not all is persisted".to_owned());
            return false;
        };
        self.now = self.now.max(at);
        self.happen(what);
        !(self.violation.is_some() || (self.is_calm && self.is_over()))
    }

    /// What was wrong, if anything.
    pub fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// A hash over every event, every command, and all bytes at the end.
    pub fn hash(&mut self) -> u64 {
        for (key, value) in self.journal.entries() {
            self.recorder.remains(key, value);
        }
        for (key, value) in self.store.objects() {
            self.recorder.remains(key.as_bytes(), value);
        }
        self.recorder.hash()
    }

    /// Simulated milliseconds.
    pub fn simulated_ms(&self) -> u64 {
        self.now / 1_000
    }

    /// Takes what the run leaves: its record, what its chance decided, and the lines of its story, where they were kept.
    pub fn into_parts(self) -> (Recorder, Decisions, Vec<(Micros, String)>) {
        let lines = match self.listener {
            Listener::Nobody | Listener::Terminal => Vec::new(),
            Listener::Lines(lines) => lines.into_inner(),
        };
        (self.recorder, self.chance.into_decisions(), lines)
    }

    fn happen(&mut self, what: What) {
        match what {
            What::Opened(conn, peer) => self.socket_opened(conn, peer),
            What::ToHost(conn, frame, tag) => {
                if self.sockets.get(&conn).is_some_and(|socket| socket.host_open) {
                    self.deliver(Event::Received { conn, frame }, tag);
                }
            }
            What::ToClient(conn, frame) => self.client_received(conn, &frame),
            What::HostClosed(conn) => {
                if let Some(socket) = self.sockets.get_mut(&conn)
                    && std::mem::take(&mut socket.host_open)
                {
                    self.deliver(Event::Closed { conn }, Tag::Other);
                }
                self.forget_socket(conn);
            }
            What::ClientClosed(conn) => {
                let attempt = self.attempt_of(conn).filter(|_| self.sockets[&conn].client_open);
                if let Some(socket) = self.sockets.get_mut(&conn) {
                    socket.client_open = false;
                }
                if let Some((producer, attempt)) = attempt {
                    let gone = ProducerEvent::Disconnected { attempt, retry_after_ms: None };
                    self.step_producer(producer, gone);
                }
                self.forget_socket(conn);
            }
            What::Call(call, head, body) => self.call_arrived(call, head, body),
            What::Journal => self.journal_turn(),
            What::Store(op, ask) => self.store_turn(op, &ask),
            What::Done(op, outcome) => self.deliver(Event::Done { op, outcome }, Tag::Other),
            What::Wake(generation) => {
                if generation == self.host.generation {
                    self.deliver(Event::Wake, Tag::Other);
                }
            }
            What::Body(call, bytes, last) => {
                if self.calls.contains_key(&call) {
                    self.deliver(Event::BodyChunk { call, bytes, last }, Tag::Other);
                }
            }
            What::ReadOld(table, location) => self.read_old(&table, &location),
            What::CallCut(call) => self.call_cut(call),
            What::Heard(call, told) => self.heard(call, told),
            What::Reads(conn) => self.begin_to_read(conn),
            What::Blow => self.last_blow(),
            What::Sent(conn, bytes) => {
                if self.sockets.get(&conn).is_some_and(|socket| socket.host_open) {
                    self.deliver(Event::Sent { conn, bytes }, Tag::Other);
                }
            }
            What::Restart => self.restart(),
            What::Kill(life) => {
                if life == self.host.lives && self.host.lake.is_some() && self.host.stopping {
                    self.count("killed while stopping");
                    self.is_cut_short = self.counts.contains_key("final stop");
                    self.crash();
                }
            }
            What::Recognized(life) => self.store_recognized(life),
            What::ClientOpened(conn) => {
                if let Some((producer, attempt)) = self.attempt_of(conn) {
                    self.step_producer(producer, ProducerEvent::Connected(attempt));
                }
            }
            What::ProducerWake(producer, generation) => self.producer_wake(producer, generation),
            What::Turn(producer) => self.turn(producer),
            What::Second => self.second(),
            What::Calm => self.calm_down(),
        }
    }

    /// A socket that is closed at both ends is no more.
    fn forget_socket(&mut self, conn: ConnId) {
        if self.sockets.get(&conn).is_some_and(|socket| !socket.host_open && !socket.client_open) {
            self.sockets.remove(&conn);
        }
    }

    fn second(&mut self) {
        if !self.is_calm {
            if self.chance.work.at("change settings").chance(self.plan.changes) {
                self.change_settings();
            }
            if self.chance.faults.at("outage").chance(self.faults.outage) {
                let ms = self.chance.faults.at("outage for").between(500, 15_000);
                self.outage_until = self.now + ms * 1_000;
                self.count("store outage");
                self.tell(|| format!("the store is out for {ms} ms"));
            }
            if self.faults.table_outage > 0 && self.chance.faults.at("table outage").chance(self.faults.table_outage) {
                let ms = self.chance.faults.at("tables out for").between(1_000, 40_000);
                let only = *self.chance.faults.at("table out").pick(&crate::truth::TABLES);
                let others = self.chance.faults.at("other tables out").one_in(3);
                let tables = crate::truth::TABLES.into_iter().filter(|table| (*table == only) != others);
                self.tables_out = (tables.collect(), self.now + ms * 1_000);
                self.count("table outage");
                self.tell(|| format!("some tables are out for {ms} ms"));
            }
            if self.faults.damage > 0 && self.chance.faults.at("damage").chance(self.faults.damage) {
                let ms = self.chance.faults.at("damaged for").between(1_000, 40_000);
                let table = *self.chance.faults.at("damaged table").pick(&crate::truth::TABLES);
                self.damaged_table = (table, self.now + ms * 1_000);
                self.tell(|| format!("the metadata of {table} is damaged for {ms} ms"));
            }
            if self.chance.clock.at("clock jump").chance(self.faults.clock_jump) {
                let hour = 3_600_000;
                let jump = *self.chance.clock.at("jump by").pick(&[hour, 5 * hour, -hour, -5_000, 70_000, 900]);
                self.clock_offset_ms += jump;
                self.count("clock jump");
                self.tell(|| format!("the clock jumps by {jump} ms"));
            }
            self.queue.at(self.now + 1_000_000, What::Second);
        } else {
            self.check_answers();
            self.queue.at(self.now + 1_000_000, What::Second);
        }
    }

    /// The host's clock.
    pub(crate) fn host_ms(&self) -> i64 {
        START_MS + (self.now / 1_000) as i64 + self.clock_offset_ms
    }

    /// Notes what is wrong; the run ends.
    pub(crate) fn fail(&mut self, check: &'static str, message: String) {
        if self.violation.is_none() {
            self.tell(|| format!("VIOLATION {check}: {message}"));
            self.violation = Some(Violation { check, message });
        }
    }

    /// Counts something, and tells of it.
    pub(crate) fn count(&mut self, what: &'static str) {
        if what != "steps" {
            self.tell(|| format!("* {what}"));
        }
        *self.counts.entry(what).or_default() += 1;
    }

    /// Tells the story, if someone listens.
    pub(crate) fn tell(&self, line: impl FnOnce() -> String) {
        match &self.listener {
            Listener::Nobody => {}
            Listener::Terminal => println!("{:>11.3} ms  {}", self.now as f64 / 1_000.0, line()),
            Listener::Lines(lines) => lines.borrow_mut().push((self.now, line())),
        }
    }

    /// Counts a step, and whether time goes on. How many messages come at once is not the machine's doing.
    pub(crate) fn count_step(&mut self, event: &Event) {
        let ms = self.now / 1_000;
        if self.steps_in.0 == ms {
            self.steps_in.1 += u64::from(!matches!(event, Event::Received { .. }));
            if self.steps_in.1 > STEPS_PER_MS_MAX {
                let why = self.host.lake.as_ref().and_then(Lake::deadline);
                self.fail("busy loop", format!("{STEPS_PER_MS_MAX} steps in one millisecond; the deadline is {why:?}"));
            }
        } else {
            self.steps_in = (ms, 1);
        }
        self.count("steps");
    }
}
