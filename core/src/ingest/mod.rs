//! Taking events in: sources, their frontiers, the journal, and the acks.
//!
//! [`conn`] keeps connections and the order of answers; [`source`] decides what a batch is (new, repeated, early,
//! impossible); [`accept`] journals what is new and answers when it is durable; [`waiting`] keeps what comes before its
//! source is at hand; [`greet`] answers `connect`; [`release`] ends a batch's life in the journal; [`buffer`] is what lies
//! between the two; [`answers`] words the messages; [`held`] keeps marks below parked events.

pub(crate) mod accept;
pub(crate) mod answers;
pub(crate) mod buffer;
pub(crate) mod conn;
#[cfg(test)]
mod conn_tests;
pub mod frontier;
pub(crate) mod greet;
pub(crate) mod held;
pub(crate) mod release;
pub mod source;
pub(crate) mod waiting;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use crate::command::{Command, Outcome};
use crate::config::Config;
use crate::context::Context;
use crate::event::{CallId, ConnId, Peer};
use crate::flush::FAILURES_TOLD;
use crate::journal;
use crate::journal::rows::source_range;
use crate::limits::BATCH_MEMORY_BYTES;
use crate::pending::Pending;
use crate::time::MachineTime;
use crate::wire::batch::CdcBatch;
use crate::wire::client::Connect;
use crate::wire::server::ServerMessage;
use accept::Flight;
use buffer::{BatchKey, Buffer, Buffered};
use conn::{Conns, Ticket};
use held::Held;
use source::{BatchHead, Opening, Rules, SavedSource, Source};

/// Delay before the journal is read again after it failed.
const RELOAD_MS: u64 = 1_000;

/// All that concerns sources and their batches.
#[derive(Debug)]
pub(crate) struct Ingest {
    pub(crate) conns: Conns,
    pub(crate) buffer: Buffer,
    pub(crate) stats: IngestStats,
    /// What keeps marks down.
    pub(crate) held: Held,
    /// A commit's transaction is on its way: sources' rows must not be written beside it.
    pub(crate) committing: bool,
    /// The machine is to stop: what is new is refused.
    pub(crate) stopping: bool,
    /// Answers to `POST /cdc` that are due.
    pub(crate) replies: Vec<(CallId, ServerMessage)>,
    sources: BTreeMap<String, Slot>,
    /// Heads that a former life left, until their source is loaded.
    restored: BTreeMap<String, Vec<BatchHead>>,
    /// Batches whose save is on its way, by place.
    flights: BTreeMap<u64, Flight>,
    /// Batches that wait for the fate of another one's save, by its place, in the order in which they came.
    waiting: BTreeMap<u64, Vec<Arrived>>,
    /// Bytes of their frames.
    waiting_bytes: u64,
    /// The turn of the batch that comes next.
    next_turn: u64,
    /// Turns of the batches that wait, for their source or for a save: they have no place yet.
    unplaced: BTreeSet<u64>,
    /// Batches that had waited, and the places that they were given: whoever asked for a flush meanwhile waits for them, too.
    pub(crate) placed_late: Vec<(u64, u64)>,
    /// Memory of those that wait so, and of those that wait for their source.
    waiting_memory: u64,
    /// Sources with an open hole, or with batches on their way to the journal that lie above what has come.
    holed: BTreeSet<String>,
    /// How many journal reads failed since one did not.
    failed_reads: u32,
    /// Journal reads, and rows, to be tried again.
    reloads: Vec<(MachineTime, Reload)>,
}

#[derive(Debug)]
enum Slot {
    Loading(Vec<Input>),
    Ready(Box<SourceState>),
}

/// One source that was heard of lately.
#[derive(Debug)]
pub(crate) struct SourceState {
    pub(crate) source: Source,
    /// Its connections, and the last mark that each was told, by epoch.
    pub(crate) conns: BTreeMap<ConnId, BTreeMap<String, u64>>,
    pub(crate) shard_name: Option<String>,
    pub(crate) connected_at_ms: Option<i64>,
    pub(crate) last_activity_ms: i64,
    pub(crate) last_received: u64,
    pub(crate) batches: u64,
    pub(crate) events: u64,
    /// Places that no flush may take yet: their save is on its way, or they lie above a hole.
    unready: BTreeSet<u64>,
    /// Where the last batch that a flush may take stands among those of all sources (`buffer::Turn`).
    last_turn: u64,
    /// Whether its row is on its way to the journal, alone.
    is_row_saving: bool,
}

/// Something that needs its source.
#[derive(Debug)]
enum Input {
    Connect(ConnId, Ticket, Connect),
    Batch(Arrived),
    Refused(RefusedBefore),
}

impl Input {
    /// What it takes of the memory for those that wait. Of a connection few `connect`s do.
    fn memory_bytes(&self) -> u64 {
        match self {
            Input::Batch(arrived) => arrived.memory_bytes(),
            Input::Refused(refused) => refused.memory_bytes(),
            Input::Connect(..) => 0,
        }
    }
}

/// A batch that was refused before its source was asked. If that is sparse it has to know, or what comes next would cover
/// the batch, and one that comes again be called a duplicate.
#[derive(Debug)]
pub(crate) struct RefusedBefore {
    pub(crate) source: String,
    /// The epoch that it belongs to. `None`: nobody knows, so it counts as of the newest.
    pub(crate) epoch: Option<String>,
    /// Its number, if it has one that can be read.
    pub(crate) number: Option<u64>,
    /// Whether it may come again as it is.
    pub(crate) retry: bool,
    /// It, if it can be read.
    pub(crate) batch: Option<Arc<CdcBatch>>,
    /// Whether its epoch is sparse, if this is the first of it.
    pub(crate) sparse: bool,
    /// The connection it came on. `None`: it came by `POST /cdc`, so it is known whose it was, and its source may be loaded
    /// for it.
    pub(crate) conn: Option<ConnId>,
}

impl RefusedBefore {
    /// What it takes in memory while it waits.
    fn memory_bytes(&self) -> u64 {
        self.batch.as_ref().map_or(0, |batch| batch.memory_bytes() as u64) + BATCH_MEMORY_BYTES
    }
}

/// A batch on its way in. What its connection said counts as it was when the batch came: it may wait for its source,
/// and the connection be gone by then.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) batch: Arc<CdcBatch>,
    pub(crate) origin: Origin,
    /// The epoch that it belongs to.
    pub(crate) epoch: String,
    /// Whether it came with a number; else it has its last event's.
    pub(crate) is_numbered: bool,
    /// How its epoch begins, if this is the first batch of it.
    pub(crate) opening: Opening,
    /// When it came, among all.
    pub(crate) turn: u64,
}

impl Arrived {
    /// What it takes in memory while it waits.
    fn memory_bytes(&self) -> u64 {
        self.batch.memory_bytes() as u64 + BATCH_MEMORY_BYTES
    }
}

/// Who waits for the answer to a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A message on a connection.
    Conn(ConnId, Ticket),
    /// `POST /cdc`.
    Call(CallId),
}

impl Origin {
    /// The connection.
    fn conn(self) -> Option<ConnId> {
        match self {
            Origin::Conn(conn, _) => Some(conn),
            Origin::Call(_) => None,
        }
    }
}

#[derive(Debug)]
enum Reload {
    Source(String),
    Batch(u64),
    /// No read: what has changed of a source is written again.
    Row(String),
}

/// Counters since the start of this life.
#[derive(Debug, Clone, Default)]
pub(crate) struct IngestStats {
    pub(crate) messages: u64,
    pub(crate) batches_accepted: u64,
    pub(crate) events_accepted: u64,
    pub(crate) duplicates: u64,
    pub(crate) repeats: u64,
    pub(crate) nacks: BTreeMap<&'static str, u64>,
    pub(crate) acks: u64,
    pub(crate) holes_closed: u64,
    pub(crate) source_ahead: u64,
    pub(crate) checks: u64,
    /// The last holes that were closed, for `/status` and the log.
    pub(crate) closed_holes: Vec<String>,
}

impl Ingest {
    /// An ingest that knows nothing yet.
    pub(crate) fn new() -> Ingest {
        Ingest {
            conns: Conns::default(),
            buffer: Buffer::default(),
            stats: IngestStats::default(),
            held: Held::default(),
            committing: false,
            stopping: false,
            replies: Vec::new(),
            sources: BTreeMap::new(),
            restored: BTreeMap::new(),
            flights: BTreeMap::new(),
            waiting: BTreeMap::new(),
            next_turn: 0,
            unplaced: BTreeSet::new(),
            placed_late: Vec::new(),
            waiting_bytes: 0,
            waiting_memory: 0,
            holed: BTreeSet::new(),
            failed_reads: 0,
            reloads: Vec::new(),
        }
    }

    /// Takes over the batches that a former life left in the journal.
    pub(crate) fn restore(&mut self, batches: Vec<(u64, BatchKey)>, next_place: u64) {
        self.buffer = Buffer::new(next_place);
        for (place, key) in batches {
            self.restored.entry(key.source.clone()).or_default().push(key.head.clone());
            let arrived = key.head.time;
            self.buffer.insert(place, Buffered { key, hot: None, arrived }, 0);
        }
    }

    /// Loads the sources of the batches that a former life left.
    pub(crate) fn begin(&mut self, cx: &mut Context<'_>) {
        let sources: Vec<String> = self.restored.keys().cloned().collect();
        for source in sources {
            self.slot(&source, cx);
        }
    }

    /// Whether sources of a former life are still being loaded.
    pub(crate) fn is_recovering(&self) -> bool {
        !self.restored.is_empty()
    }

    /// Memory that hot batches may take.
    pub(crate) fn hot_bytes_max(config: &Config) -> u64 {
        config.memory_budget_bytes / 2
    }

    /// The oldest batch that is still to be flushed or whose save is on its way.
    pub(crate) fn oldest_unsettled_place(&self) -> Option<u64> {
        let ready = self.buffer.first_ready();
        ready.into_iter().chain(self.oldest_flight()).min()
    }

    /// What divides the batches that have come from those that are to come: all their turns are lower, and their places, if
    /// they have one.
    pub(crate) fn now_in_turn(&self) -> (u64, u64) {
        (self.next_turn, self.buffer.upcoming_place())
    }

    /// Whether a batch of a turn below this one has no place yet.
    pub(crate) fn has_unplaced(&self, below: u64) -> bool {
        self.unplaced.first().is_some_and(|turn| *turn < below)
    }

    /// Whether the journal cannot be read, again and again: nobody knows when what waits for that has a place.
    pub(crate) fn reads_fail(&self) -> bool {
        self.failed_reads >= FAILURES_TOLD
    }

    /// Whoever asks now is told of failing reads after one more.
    pub(crate) fn asked(&mut self) {
        self.failed_reads = self.failed_reads.min(FAILURES_TOLD - 1);
    }

    /// The oldest batch whose save is on its way.
    pub(crate) fn oldest_flight(&self) -> Option<u64> {
        self.flights.keys().next().copied()
    }

    /// A socket is there, perhaps one that outlived the machine.
    pub(crate) fn opened(&mut self, conn: ConnId, peer: &Peer, attachment: Option<&Bytes>, cx: &mut Context<'_>) {
        self.conns.open(conn, peer, attachment);
        let source = self.conns.introduction(conn).map(|introduction| introduction.source.clone());
        if let Some(source) = source {
            self.slot(&source, cx);
            self.adopt_sockets(&source, cx.now);
        }
    }

    /// Sources in memory, by name.
    pub(crate) fn states(&self) -> impl Iterator<Item = (&String, &SourceState)> {
        self.sources.iter().filter_map(|(name, slot)| match slot {
            Slot::Ready(state) => Some((name, &**state)),
            Slot::Loading(_) => None,
        })
    }

    fn state(&mut self, source: &str) -> Option<&mut SourceState> {
        match self.sources.get_mut(source) {
            Some(Slot::Ready(state)) => Some(state),
            Some(Slot::Loading(_)) | None => None,
        }
    }

    /// The slot of a source; begins to load one that was not heard of.
    fn slot(&mut self, source: &str, cx: &mut Context<'_>) -> &mut Slot {
        if !self.sources.contains_key(source) {
            cx.load(source_range(source), Pending::LoadSource { source: source.to_owned() });
            self.sources.insert(source.to_owned(), Slot::Loading(Vec::new()));
        }
        self.sources.get_mut(source).expect("it was just put there")
    }

    /// Hands something to its source, now or when that is loaded.
    fn enter(&mut self, source: &str, input: Input, cx: &mut Context<'_>) {
        if let Slot::Ready(_) = self.slot(source, cx) {
            self.handle(input, cx);
            self.let_go(source);
            return;
        }
        let Some(input) = self.admit_to_wait(input, cx) else { return };
        if let Slot::Loading(waiting) = self.slot(source, cx) {
            waiting.push(input);
        }
    }

    fn handle(&mut self, input: Input, cx: &mut Context<'_>) {
        match input {
            Input::Connect(conn, ticket, connect) => self.greet(conn, ticket, connect, cx),
            Input::Batch(arrived) => self.arrive(arrived, cx),
            Input::Refused(refused) => self.note_refused(&refused, cx),
        }
    }

    /// A source's row came from the journal.
    pub(crate) fn source_loaded(&mut self, name: String, outcome: Outcome, cx: &mut Context<'_>) {
        let Ok(entries) = outcome.of_load().done() else {
            self.failed_reads += 1;
            self.reloads.push((cx.now.after_ms(RELOAD_MS), Reload::Source(name)));
            return;
        };
        self.failed_reads = 0;
        let row = entries.first().map(|(_, value)| SavedSource::decode(value)).transpose();
        let saved = match row {
            Ok(saved) => saved,
            Err(error) => {
                // Nothing of this source may be taken without it; what is acked stays in the journal.
                cx.out.push(Command::Halt { reason: format!("the journal's row of source {name:?}: {error}") });
                return;
            }
        };
        let heads = self.restored.remove(&name).unwrap_or_default();
        let mut source = Source::restore(saved, heads, cx.now);
        source.advance_marks(|epoch| self.held.lowest(&name, epoch));
        let unready = source.heads().map(|head| head.place).collect();
        let state = SourceState {
            source,
            conns: BTreeMap::new(),
            shard_name: None,
            connected_at_ms: None,
            last_activity_ms: cx.wall.0,
            last_received: 0,
            batches: 0,
            events: 0,
            unready,
            last_turn: 0,
            is_row_saving: false,
        };
        let Some(Slot::Loading(waiting)) = self.sources.insert(name.clone(), Slot::Ready(Box::new(state))) else {
            panic!("source {name:?} was loaded twice");
        };
        self.adopt_sockets(&name, cx.now);
        self.find_ready(&name);
        for input in waiting {
            self.waiting_memory -= input.memory_bytes();
            self.handle(input, cx);
        }
        self.let_go(&name);
    }

    /// Sockets that outlived the machine belong to their source again.
    fn adopt_sockets(&mut self, name: &str, now: MachineTime) {
        let conns: Vec<ConnId> = self
            .conns
            .ids()
            .filter(|conn| self.conns.outlived(*conn))
            .filter(|conn| self.conns.introduction(*conn).is_some_and(|introduction| introduction.source == name))
            .collect();
        if conns.is_empty() {
            return;
        }
        if let Some(state) = self.state(name) {
            state.conns.extend(conns.into_iter().map(|conn| (conn, BTreeMap::new())));
            state.source.set_connected(true, now);
        }
    }

    /// Marks what a flush may take of a source, and whether time changes anything for it.
    fn find_ready(&mut self, name: &str) {
        let Some(Slot::Ready(state)) = self.sources.get_mut(name) else { return };
        let places = state.unready.iter();
        let mut ready: Vec<_> = places.filter_map(|place| state.source.flushable_at(*place)).collect();
        // A batch that filled a hole has a later place than those above it, and takes effect before them.
        if !mutant!(FilledHoleLast) {
            ready.sort_unstable();
        }
        for (_, _, place) in ready {
            state.unready.remove(&place);
            state.last_turn = self.buffer.mark_ready(place, state.last_turn);
        }
        self.note_holes(name);
    }

    /// Remembers whether a source has a hole, or a batch on its way to the journal that may come to lie behind one.
    fn note_holes(&mut self, name: &str) {
        let Some(Slot::Ready(state)) = self.sources.get(name) else { return };
        if state.source.has_timer() || state.source.hole_bytes() > 0 {
            self.holed.insert(name.to_owned());
        } else {
            self.holed.remove(name);
        }
    }

    /// Bytes that wait behind holes, of all sources.
    fn hole_bytes(&self) -> u64 {
        let bytes = |name: &String| match self.sources.get(name) {
            Some(Slot::Ready(state)) => state.source.hole_bytes(),
            Some(Slot::Loading(_)) | None => 0,
        };
        self.holed.iter().map(bytes).sum()
    }

    /// What of the settings decides about sequences.
    fn rules(&self, config: &Config) -> Rules {
        Rules {
            deduplicate: config.enable_deduplication,
            window_ms: config.deduplication_window_ms,
            max_hole_bytes: config.max_hole_bytes,
            hole_room_bytes: (config.max_buffer_size / 2).saturating_sub(self.hole_bytes()),
            refusal_pause_ms: config.max_retry_delay_ms.saturating_mul(2),
        }
    }

    /// Lets a source at rest leave memory: its row says all of it.
    fn let_go(&mut self, name: &str) {
        if let Some(Slot::Ready(state)) = self.sources.get(name)
            && state.conns.is_empty()
            && !state.is_row_saving
            && state.source.is_at_rest()
        {
            self.sources.remove(name);
            self.holed.remove(name);
        }
    }

    /// Everything that time brings: holes that close, reads that are tried again, acks that were gathered.
    pub(crate) fn wake(&mut self, cx: &mut Context<'_>) {
        self.conns.wake(cx.now, cx.out);
        for (due, reload) in std::mem::take(&mut self.reloads) {
            if due > cx.now {
                self.reloads.push((due, reload));
                continue;
            }
            match reload {
                Reload::Source(source) => cx.load(source_range(&source), Pending::LoadSource { source }),
                Reload::Batch(place) => self.read_back(place, cx),
                Reload::Row(source) => self.save_changed(&source, cx),
            }
        }
        if !self.committing {
            self.close_holes(cx);
        }
    }

    fn read_back(&self, place: u64, cx: &mut Context<'_>) {
        cx.load(journal::Family::Batch.range(place), Pending::ReadBackBatch { place });
    }

    /// When the ingest wants to be woken, and why.
    pub(crate) fn deadline(&self, config: &Config) -> Option<(MachineTime, &'static str)> {
        let reload = self.reloads.iter().map(|(due, _)| (*due, "journal read")).min();
        let acks = self.conns.deadline().map(|due| (due, "gathered acks"));
        let hole = if self.holed.is_empty() || self.committing { None } else { self.next_hole(config) };
        [reload, acks, hole].into_iter().flatten().min()
    }

    fn next_hole(&self, config: &Config) -> Option<(MachineTime, &'static str)> {
        let rules = self.rules(config);
        let due = self.holed.iter().filter_map(|name| match self.sources.get(name) {
            Some(Slot::Ready(state)) => state.source.next_deadline(&rules),
            Some(Slot::Loading(_)) | None => None,
        });
        due.min().map(|due| (due, "hole time-out"))
    }
}
