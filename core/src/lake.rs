//! The machine: restored from its journal, driven by events, answering with commands. This file only routes.

use std::sync::Arc;

use bytes::Bytes;

use crate::calls::{Body, Calls, Need, View};
use crate::catalog::state::Tables;
use crate::command::{Command, Commands, Op, Outcome};
use crate::config::Config;
use crate::context::{Context, StoreView};
use crate::event::{CallId, Event, RequestHead};
use crate::flush::parked::ParkedKey;
use crate::flush::requests::Asker;
use crate::flush::{Flusher, Phase};
use crate::identity::Identity;
use crate::ingest::Ingest;
use crate::ingest::accept::Forward;
use crate::ingest::buffer::BatchKey;
use crate::journal::rows::{FLUSH_KEY, FlushRow, LAKE_KEY, LakeRow, SETTINGS_KEY};
use crate::journal::{self, FORMAT_VERSION, Family, NumberedKey, RestoreError, Saved};
use crate::ops::Ops;
use crate::pending::Pending;
use crate::seed::{Draws, Seed};
use crate::settings::Settings;
use crate::time::{Clock, MachineTime, Timestamp};
use crate::wire::server::{FlushResponse, ServerMessage};

/// The path below which everything is found a second time.
pub const MOUNT: &str = "/lakehouse";

/// When to deliver [`Event::Wake`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    /// Milliseconds from the last step.
    pub after_ms: u64,
    /// What for, for people.
    pub why: &'static str,
}

/// The state machine. See the crate's first page.
#[derive(Debug)]
pub struct Lake {
    location: Arc<str>,
    clock: Clock,
    draws: Draws,
    ops: Ops<Pending>,
    rooms: Rooms,
}

/// The rooms of the machine: all its state but time, names and chance.
#[derive(Debug)]
struct Rooms {
    settings: Settings,
    identity: Identity,
    ingest: Ingest,
    flusher: Flusher,
    tables: Tables,
    calls: Calls,
    warnings: Vec<String>,
    begun: bool,
    stopping: bool,
    stopped: bool,
}

impl Lake {
    /// Begins a life. `location` is where readers find the store (`file:///…`, `s3://bucket/prefix`, no slash at the
    /// end); `config` is what the operator set, before changes at run time, which the journal remembers.
    ///
    /// # Errors
    /// The journal is of a later release, or damaged.
    ///
    /// # Panics
    /// If `config` is not valid: see [`Config::validate`].
    pub fn restore(
        config: Config,
        location: String,
        seed: Seed,
        now: Timestamp,
        saved: Saved,
    ) -> Result<Lake, RestoreError> {
        assert_eq!(config.validate(), Ok(()), "hosts validate the config");
        let Saved { control, mut batch_keys } = saved;
        if let Some(found) = LakeRow::version(&control)?.filter(|found| *found > FORMAT_VERSION) {
            return Err(RestoreError::Newer { found });
        }
        let mut rows = Rows::default();
        for (key, value) in &control {
            rows.take(key, value)?;
        }
        let (settings, left_out) = Settings::restore(config, rows.settings);
        let mut batches: Vec<(u64, BatchKey)> = Vec::new();
        let mut parked: Vec<(u64, ParkedKey)> = Vec::new();
        if mutant!(TailLostOnEviction) {
            batch_keys.pop();
        }
        for key in &batch_keys {
            let parsed = NumberedKey::parse(key)?;
            match (parsed.family, parsed.chunk) {
                (Family::Batch, 0) => batches.push((parsed.number, journal::decode(key, parsed.head)?)),
                (Family::Parked, 0) => parked.push((parsed.number, journal::decode(key, parsed.head)?)),
                (Family::Batch | Family::Parked, _) => {}
            }
        }
        // Time goes on from the latest moment that any row speaks of.
        let newest = batches.iter().map(|(_, key)| key.head.time).max().unwrap_or_default();
        let saved_at = (rows.flush.time >= newest && rows.flush.time > MachineTime(0)).then_some(rows.flush.host_time);
        let clock = Clock::resume(newest.max(rows.flush.time), saved_at, now, settings.config().max_clock_step_ms);
        let mut draws = Draws::new(seed);
        let ops = Ops::new(draws.life());
        let mut ingest = Ingest::new();
        ingest.restore(batches, rows.flush.next_place);
        ingest.held.restore(parked.iter().map(|(_, key)| key));
        let mut flusher = Flusher::new(rows.flush, parked, clock.now());
        flusher.want_unwritten_hints(&rows.tables, settings.config(), clock.now());
        let has_tables = !rows.tables.pointers.is_empty();
        let identity = Identity::new(rows.lake.map(|row| row.lake), has_tables, &mut draws);
        let tables = rows.tables;
        let calls = Calls::new(&location);
        let location = Arc::from(location);
        let warnings = left_out.into_iter().collect();
        let (begun, stopping, stopped) = (false, false, false);
        let rooms = Rooms { settings, identity, ingest, flusher, tables, calls, warnings, begun, stopping, stopped };
        Ok(Lake { location, clock, draws, ops, rooms })
    }

    /// Takes one event and adds what is to be done about it to `out`. Cannot fail; `now` is the host's clock.
    pub fn step(&mut self, now: Timestamp, event: Event, out: &mut Commands) {
        let machine_now = self.clock.advance(now);
        let Lake { location, draws, ops, rooms, .. } = self;
        let config = rooms.settings.config_shared();
        let store = rooms.store_view(machine_now);
        let mut cx = Context { now: machine_now, wall: now, config: &config, location, store, ops, draws, out };
        rooms.begin(&mut cx);
        rooms.handle(event, &mut cx);
        rooms.settle(&mut cx);
    }

    /// When to deliver [`Event::Wake`] if nothing else happens. Recomputed after each step.
    pub fn deadline(&self) -> Option<Deadline> {
        self.rooms.deadline(self.clock.now())
    }

    /// Adds what the host found that its operator should mend. GET `/status` tells it for as long as this life lasts.
    #[must_use]
    pub fn warning(mut self, warnings: impl IntoIterator<Item = String>) -> Lake {
        self.rooms.warnings.extend(warnings);
        self
    }

    /// Where tables lie: the store's location, and the base path below it.
    pub fn tables_location(&self) -> String {
        format!("{}/{}/", self.location, self.rooms.settings.config().r2_base_path)
    }

    /// A table's metadata that lies elsewhere than this life's tables, if there is one: its location or its base path was
    /// other in a former life, and none of the table's files can be found under the new one.
    pub fn misplaced(&self) -> Option<&str> {
        let here = self.tables_location();
        let lies_here = |uri: &str| uri.starts_with(&here);
        let mut all = self.rooms.tables.pointers.values().map(|pointer| pointer.metadata_location.as_str());
        all.find(|uri| !lies_here(uri))
    }
}

impl Rooms {
    fn store_view(&self, now: MachineTime) -> StoreView {
        let config = self.settings.config();
        let next_flush = self
            .flusher
            .next_trigger(&self.ingest, config)
            .map_or_else(|| self.flusher.last_flush.after_ms(config.flush_interval_ms), |(due, _)| due);
        StoreView {
            breaker: self.flusher.breaker.state(),
            failing: self.flusher.breaker.is_failing(),
            flushing: self.flusher.is_running(),
            next_flush_ms: next_flush.since_ms(now).min(config.flush_threshold_ms),
            last_flush_ms: self.flusher.stats.last.as_ref().map(|last| last.ended_ms),
        }
    }

    /// The first step of a life asks whose store it is, and for what the former life left.
    fn begin(&mut self, cx: &mut Context<'_>) {
        if !self.begun {
            self.begun = true;
            self.identity.begin(cx);
            self.ingest.begin(cx);
        }
    }

    fn deadline(&self, now: MachineTime) -> Option<Deadline> {
        if !self.begun {
            return Some(Deadline { after_ms: 0, why: "a life begins" });
        }
        let config = self.settings.config();
        let commit = self.flusher.commit_deadline().map(|due| (due, "commit retry"));
        let flush = self.flusher.deadline(now, &self.ingest, config, self.may_flush());
        let ingest = self.ingest.deadline(config);
        let identity = self.identity.deadline().map(|due| (due, "store marker"));
        let settings = self.settings.deadline().map(|due| (due, "settings read"));
        let (due, why) = [commit, flush, ingest, identity, settings].into_iter().flatten().min()?;
        Some(Deadline { after_ms: due.since_ms(now).min(config.max_clock_step_ms), why })
    }

    fn handle(&mut self, event: Event, cx: &mut Context<'_>) {
        match event {
            Event::Opened { conn, peer, attachment } => self.ingest.opened(conn, &peer, attachment.as_ref(), cx),
            Event::Received { conn, frame } => {
                let forward = self.ingest.received(conn, &frame, cx);
                if let Some(Forward::Flush(conn, correlation_id)) = forward {
                    self.flush_asked(Asker::Conn { conn, correlation_id }, cx);
                }
            }
            Event::Sent { conn, bytes } => self.ingest.conns.sent(conn, bytes, cx.now, cx.out),
            Event::Closed { conn } => {
                self.ingest.closed(conn, cx);
                self.flusher.requests.closed(conn);
            }
            Event::Requested { call, head } => self.requested(call, &head, cx),
            Event::BodyChunk { call, bytes, last } => self.body_chunk(call, &bytes, last, cx),
            Event::CallGone { call } => {
                self.calls.gone(call);
                self.flusher.requests.gone(call);
                self.settings.gone(call);
            }
            Event::Wake => self.ingest.wake(cx),
            Event::Shutdown => self.shutdown(cx.now),
            Event::Done { op, outcome } => self.done(op, outcome, cx),
        }
    }

    fn done(&mut self, op: Op, outcome: Outcome, cx: &mut Context<'_>) {
        let Some(purpose) = cx.ops.finish(op) else { return };
        let Rooms { ingest, flusher, tables, .. } = self;
        match purpose {
            Pending::Identity(step) => {
                if let Some(answer) = self.identity.done(step, outcome, cx) {
                    flusher.heard_of_store(answer, cx);
                }
            }
            Pending::SaveBatch { place } => ingest.batch_saved(place, outcome, cx),
            Pending::ReadBackBatch { place } => ingest.batch_read_back(place, outcome, cx),
            Pending::LoadSource { source } => ingest.source_loaded(source, outcome, cx),
            Pending::SaveRow { source } => ingest.row_saved(&source, &outcome, cx),
            Pending::SaveClosed { source, closed } => ingest.closed_saved(&source, &closed, &outcome, cx),
            Pending::SavePlan => flusher.planned(outcome == Outcome::Saved, tables, ingest, cx),
            Pending::LoadEntry { run, entry } => flusher.entry_loaded(run, entry, outcome, tables, ingest, cx),
            Pending::Encode { table } => flusher.encoded(&table, outcome.of_work(), tables, ingest, cx),
            Pending::Store(call) => flusher.stored(call, outcome, tables, ingest, cx),
            Pending::SaveCommit => flusher.commit_saved(outcome, tables, ingest, cx),
            Pending::ReadBackCommit => flusher.commit_read_back(outcome, tables, ingest, cx),
            Pending::Hint { folder } => flusher.hint_written(&folder, &outcome, tables, cx),
            Pending::CallMetadata { call } => self.calls.metadata_read(call, outcome, cx),
            Pending::SaveSettings => self.settings.saved(outcome, cx),
            Pending::ReadBackSettings => self.settings.read_back(outcome, cx),
        }
    }

    /// What follows from any event: what has become due, and answers that have become ready.
    fn settle(&mut self, cx: &mut Context<'_>) {
        self.identity.retry(cx);
        self.settings.retry(cx);
        let may_flush = self.may_flush();
        let Rooms { ingest, flusher, tables, .. } = self;
        flusher.retry(cx);
        flusher.retry_commit(tables, ingest, cx);
        for (turn, place) in std::mem::take(&mut ingest.placed_late) {
            flusher.requests.placed(turn, place);
        }
        // Before the next flush begins: nobody asks for that one whose batches are in the lake.
        flusher.requests.settle(ingest, &flusher.parked, &flusher.hints, cx);
        if may_flush {
            flusher.begin_if_due(ingest, cx);
        }
        let was_committing = std::mem::replace(&mut ingest.committing, matches!(flusher.phase, Phase::Committing(..)));
        if was_committing && !ingest.committing {
            ingest.save_all_changed(cx);
        }
        flusher.answer_held_up(cx);
        if ingest.reads_fail() {
            flusher.requests.journal_fails("it cannot be read", cx);
        }
        if self.stopping && self.may_stop(cx.now) {
            self.flusher.requests.stop(cx);
        }
        let Rooms { ingest, flusher, .. } = self;
        for (conn, correlation_id, result) in std::mem::take(&mut flusher.requests.answered) {
            let response = ServerMessage::FlushResponse(FlushResponse { correlation_id, result });
            ingest.conns.tell(conn, response, cx.now, cx.out);
        }
        if may_flush {
            flusher.write_hints(cx);
        }
        for (call, message) in std::mem::take(&mut ingest.replies) {
            self.calls.batch_answered(call, &message, cx);
        }
        if self.stopping && !self.stopped && self.may_stop(cx.now) {
            self.stopped = true;
            cx.out.push(Command::Stopped);
        }
    }

    /// Whether a flush may begin: the store is known to be ours, and every source's batches are at hand.
    fn may_flush(&self) -> bool {
        self.identity.is_settled() && !self.ingest.is_recovering()
    }

    fn shutdown(&mut self, now: MachineTime) {
        self.stopping = true;
        self.flusher.stop(now);
        self.ingest.stopping = true;
    }

    /// Whether nothing is left that stopping should wait for. What the store does not take the journal keeps.
    fn may_stop(&self, now: MachineTime) -> bool {
        let hinted = !self.flusher.hints.are_on_their_way() && self.flusher.hint_patience(now).is_none();
        let flushed = !self.flusher.is_running() && hinted;
        let saved = self.ingest.oldest_flight().is_none();
        let nothing_due = self.ingest.buffer.ready().batches == 0 && !self.flusher.has_untried();
        let empty = nothing_due || !self.identity.is_settled();
        let failing = self.flusher.breaker.is_failing() || self.flusher.journal_fails();
        saved && ((flushed && empty) || failing || self.flusher.is_held_up())
    }

    fn flush_asked(&mut self, asker: Asker, cx: &mut Context<'_>) {
        self.ingest.asked();
        self.flusher.asked(asker, self.ingest.now_in_turn(), cx);
    }

    fn requested(&mut self, call: CallId, head: &RequestHead, cx: &mut Context<'_>) {
        match self.calls.requested(call, head, cx) {
            Need::Nothing => {}
            Need::Flush => self.flush_asked(Asker::Call(call), cx),
            Need::Refuse(refused) => self.ingest.refused_before(refused, cx),
            Need::View(question) => {
                let view = View {
                    ingest: &self.ingest,
                    flusher: &self.flusher,
                    tables: &self.tables,
                    settings: &self.settings,
                    warnings: &self.warnings,
                    stopping: self.stopping,
                };
                self.calls.show(call, question, &view, cx);
            }
        }
    }

    fn body_chunk(&mut self, call: CallId, bytes: &Bytes, last: bool, cx: &mut Context<'_>) {
        match self.calls.body_chunk(call, bytes, last, cx) {
            Body::Incomplete => {}
            Body::Batch(arrived) => self.ingest.take(*arrived, cx),
            Body::Refused(refused) => self.ingest.refused_before(refused, cx),
            Body::Settings(body) => self.settings.propose(call, body, cx),
        }
    }
}

/// The control rows of the journal, by room.
#[derive(Default)]
struct Rows {
    lake: Option<LakeRow>,
    flush: FlushRow,
    settings: Option<Bytes>,
    tables: Tables,
}

impl Rows {
    fn take(&mut self, key: &Bytes, value: &Bytes) -> Result<(), RestoreError> {
        match &key[..] {
            LAKE_KEY => self.lake = Some(journal::decode(key, value)?),
            FLUSH_KEY => self.flush = journal::decode(key, value)?,
            SETTINGS_KEY => self.settings = Some(value.clone()),
            other => {
                if !self.tables.restore(other, value)? {
                    let what = "no room of this release knows it".to_owned();
                    return Err(RestoreError::Damaged { key: other.escape_ascii().to_string(), what });
                }
            }
        }
        Ok(())
    }
}
