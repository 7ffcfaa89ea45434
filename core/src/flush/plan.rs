//! When a flush begins, and what it takes.

use crate::catalog::state::Tables;
use crate::config::Config;
use crate::context::Context;
use crate::flush::run::Run;
use crate::flush::{Flusher, Phase};
use crate::ingest::Ingest;
use crate::journal::Family;
use crate::journal::rows::{GarbageRow, garbage_write};
use crate::pending::Pending;
use crate::time::MachineTime;

/// Delay before the next flush after the journal failed.
const HOLD_OFF_MS: u64 = 1_000;

/// Why a flush begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// `flushThresholdEvents`.
    Events,
    /// `flushThresholdBytes`, or half of `maxBufferSize` where that is less: a full buffer refuses batches.
    Bytes,
    /// `flushThresholdMs`.
    Age,
    /// `flushIntervalMs`.
    Interval,
    /// A `flush_request` or `POST /flush`.
    Asked,
    /// Half of the memory for hot batches is used up by what a flush could take.
    Memory,
    /// The machine is to stop.
    Shutdown,
}

impl Flusher {
    /// Bytes of frames that one flush takes at most.
    pub(crate) fn plan_bytes_max(config: &Config) -> u64 {
        config.flush_threshold_bytes.min(config.memory_budget_bytes / 4)
    }

    /// Begins a flush if one is due and none is under way.
    pub(crate) fn begin_if_due(&mut self, ingest: &Ingest, cx: &mut Context<'_>) {
        if self.is_running() || cx.now < self.not_before {
            return;
        }
        let places = match self.due(ingest, cx.now, cx.config) {
            Some(_) => ingest.buffer.plan(Flusher::plan_bytes_max(cx.config)),
            None if self.parked_deadline().is_some_and(|due| due <= cx.now) => Vec::new(),
            None => return,
        };
        let mut writes = Vec::new();
        if let Some(started) = self.started.filter(|(flush, _)| *flush == self.row.flush)
            && !mutant!(GarbageNotLogged)
        {
            // This flush was begun before and did not end. What that may have written is garbage.
            let row = GarbageRow { abandoned: vec![started], locations: Vec::new(), since_ms: cx.wall.0 };
            writes.push(garbage_write(self.row.flush, self.row.attempt, &row));
        }
        self.row.attempt += u32::from(!(mutant!(AttemptNotCounted) && self.row.attempt > 0));
        self.row.places.clone_from(&places);
        self.stamp(ingest, cx);
        writes.push(self.row.write());
        for &place in places.iter().filter(|_| mutant!(ClearBufferTooEarly)) {
            let key = &ingest.buffer.get(place).expect("planned batches are in the buffer").key;
            writes.extend(Family::Batch.delete(place, key, key.frame_bytes as usize));
        }
        self.phase = Phase::Planning(places);
        cx.save(writes, Pending::SavePlan);
    }

    /// Writes time and the next place into the flush row, so that they survive with whatever is saved next.
    pub(crate) fn stamp(&mut self, ingest: &Ingest, cx: &Context<'_>) {
        self.row.next_place = ingest.buffer.upcoming_place();
        self.row.time = cx.now;
        self.row.host_time = cx.wall;
    }

    /// The plan is durable, or certainly not.
    pub(crate) fn planned(&mut self, durable: bool, tables: &Tables, ingest: &mut Ingest, cx: &mut Context<'_>) {
        let Phase::Planning(places) = std::mem::replace(&mut self.phase, Phase::Idle) else {
            panic!("a plan was saved while the flush was elsewhere");
        };
        if !durable && !mutant!(PlanFailureIgnored) {
            // The journal refuses writes. The attempt's number is used up; the next trigger tries again.
            self.journal_failures += 1;
            self.stats.last_error = Some("the journal refuses a plan".to_owned());
            self.hold_off(cx);
            return;
        }
        // What the one before may have written is noted with the plan.
        self.started = None;
        let mut run = Box::new(Run::new(self.row.flush, self.row.attempt, places, cx.now));
        let missing = run.load(ingest, cx);
        self.phase = if missing == 0 { self.take_up(run, tables, cx) } else { Phase::Loading(run, missing) };
        self.go_on(tables, ingest, cx);
    }

    /// The journal failed: no flush begins for a while.
    pub(crate) fn hold_off(&mut self, cx: &Context<'_>) {
        self.not_before = cx.now.after_ms(HOLD_OFF_MS);
    }

    /// Why a flush is due now, if one is.
    pub(crate) fn due(&self, ingest: &Ingest, now: MachineTime, config: &Config) -> Option<Reason> {
        let ready = ingest.buffer.ready();
        if ready.batches == 0 {
            return None;
        }
        let threshold_bytes = config.flush_threshold_bytes.min(config.max_buffer_size / 2);
        let age = ingest.buffer.oldest_ready().map_or(0, |arrived| now.since_ms(arrived));
        let reasons = [
            (self.requests.stopping.is_some(), Reason::Shutdown),
            (self.requests.want(ingest.buffer.first_ready()), Reason::Asked),
            (ready.events >= config.flush_threshold_events, Reason::Events),
            (ready.bytes >= threshold_bytes, Reason::Bytes),
            (ingest.buffer.ready_hot_bytes() >= Ingest::hot_bytes_max(config) / 2, Reason::Memory),
            (age >= config.flush_threshold_ms, Reason::Age),
            (now.since_ms(self.last_flush) >= config.flush_interval_ms, Reason::Interval),
        ];
        reasons.into_iter().find_map(|(due, reason)| due.then_some(reason))
    }

    /// When age or interval begin the next flush.
    pub(crate) fn next_trigger(&self, ingest: &Ingest, config: &Config) -> Option<(MachineTime, &'static str)> {
        let oldest = ingest.buffer.oldest_ready()?;
        let age = oldest.after_ms(config.flush_threshold_ms);
        let interval = self.last_flush.after_ms(config.flush_interval_ms);
        if self.not_before > age.min(interval) {
            return Some((self.not_before, "journal retry"));
        }
        Some(if age <= interval { (age, "flush by age") } else { (interval, "flush by interval") })
    }
}
