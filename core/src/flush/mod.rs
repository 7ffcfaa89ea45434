//! From buffered batches to a committed snapshot: plan, write, commit, release (`promises`, "Flush").
//!
//! One flush runs at a time. Each of its steps may be cut off anywhere and done again: what it writes carries the names
//! of its flush and attempt, nothing it wrote is visible before the commit, and the commit is one journal transaction
//! that moves the tables' pointers, the sources' frontiers and the batches' rows together.
//!
//! [`plan`] says when and what, [`requests`] who waits for it; [`run`] is a flush under way; [`table`] one table's part of
//! it; [`commit`] its end; [`call`] its store commands; [`parked`] tables that are held back; [`breaker`] what to make of a
//! store that fails; [`hints`] the hint for readers by path.

pub(crate) mod breaker;
pub(crate) mod call;
pub(crate) mod commit;
pub(crate) mod frontier;
pub(crate) mod hints;
pub(crate) mod parked;
pub(crate) mod plan;
pub(crate) mod requests;
pub(crate) mod run;
pub(crate) mod table;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use crate::catalog::ident::TableIdent;
use crate::catalog::state::Tables;
use crate::command::{Failure, Outcome};
use crate::config::Config;
use crate::context::Context;
use crate::ingest::Ingest;
use crate::journal::rows::FlushRow;
use crate::time::MachineTime;
use breaker::{Breaker, BreakerState, backoff_ms};
use call::{Action, StoreCall};
use hints::Hints;
use parked::{Parked, ParkedKey};
use requests::{Asker, Requests};
use run::Run;
use table::{Base, TablePart};

/// After so many failures in a row whoever waits for a flush is told. Who asks then is told after one more.
pub(crate) const FAILURES_TOLD: u32 = 3;

/// Bytes of table metadata that are kept between flushes.
const BASES_BYTES_MAX: usize = 16 << 20;

/// All that concerns flushes.
#[derive(Debug)]
pub(crate) struct Flusher {
    pub(crate) row: FlushRow,
    /// The last attempt that may have written to the store, by flush and number. Those after it, whose plan the journal
    /// did not take, have not.
    started: Option<(u64, u32)>,
    pub(crate) phase: Phase,
    pub(crate) breaker: Breaker,
    pub(crate) requests: Requests,
    pub(crate) parked: Parked,
    pub(crate) hints: Hints,
    pub(crate) bases: Bases,
    pub(crate) stats: FlushStats,
    /// Store commands that failed, and when to try them again.
    retries: Vec<(MachineTime, StoreCall)>,
    pub(crate) last_flush: MachineTime,
    /// No flush begins before.
    not_before: MachineTime,
    /// How often the journal failed a flush since it last gave or took what one wanted.
    journal_failures: u32,
    /// How many flushes were given back since one got through, and the tables that held them up.
    given_back: (u32, BTreeSet<String>),
}

/// Where the flush is.
#[derive(Debug)]
pub(crate) enum Phase {
    /// No flush is under way.
    Idle,
    /// The plan is being written.
    Planning(Vec<u64>),
    /// Cold batches are being loaded; the number of those still missing.
    Loading(Box<Run>, usize),
    /// Tables are being read, encoded and written.
    Writing(Box<Run>),
    /// The commit is being written.
    Committing(Box<Run>, commit::Commit),
}

/// Counters since the start of this life.
#[derive(Debug, Clone, Default)]
pub(crate) struct FlushStats {
    pub(crate) flushes: u64,
    pub(crate) batches: u64,
    pub(crate) events: u64,
    pub(crate) files: u64,
    pub(crate) rows: u64,
    pub(crate) file_bytes: u64,
    pub(crate) raw_bytes: u64,
    pub(crate) store_failures: u64,
    pub(crate) rescued_values: u64,
    pub(crate) last_error: Option<String>,
    pub(crate) last: Option<LastFlush>,
}

/// The last flush that ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LastFlush {
    pub(crate) flush: u64,
    pub(crate) ended_ms: i64,
    pub(crate) duration_ms: u64,
    pub(crate) batches: u64,
    pub(crate) events: u64,
    pub(crate) bytes: u64,
    pub(crate) paths: Vec<String>,
    pub(crate) snapshots: Vec<i64>,
}

/// Metadata of tables that were flushed lately, within a bound.
#[derive(Debug, Default)]
pub(crate) struct Bases {
    bases: BTreeMap<TableIdent, (u64, Arc<Base>)>,
    uses: u64,
    bytes: usize,
}

impl Bases {
    pub(crate) fn get(&mut self, ident: &TableIdent) -> Option<Arc<Base>> {
        self.uses += 1;
        let (used, base) = self.bases.get_mut(ident)?;
        *used = self.uses;
        Some(base.clone())
    }

    pub(crate) fn put(&mut self, ident: TableIdent, base: Arc<Base>) {
        if mutant!(StaleBase) && self.bases.contains_key(&ident) {
            return;
        }
        self.uses += 1;
        self.bytes += base.weight;
        if let Some((_, former)) = self.bases.insert(ident, (self.uses, base)) {
            self.bytes -= former.weight;
        }
        while self.bytes > BASES_BYTES_MAX && self.bases.len() > 1 {
            let oldest = self.bases.iter().min_by_key(|(_, (used, _))| *used).map(|(ident, _)| ident.clone());
            let Some((_, base)) = oldest.and_then(|ident| self.bases.remove(&ident)) else { break };
            self.bytes -= base.weight;
        }
    }
}

impl Flusher {
    /// Goes on where the journal says that the last life ended.
    pub(crate) fn new(row: FlushRow, parked: Vec<(u64, ParkedKey)>, now: MachineTime) -> Flusher {
        Flusher {
            started: (row.attempt > 0).then_some((row.flush, row.attempt)),
            row,
            phase: Phase::Idle,
            breaker: Breaker::default(),
            requests: Requests::default(),
            parked: Parked::restore(parked, now),
            hints: Hints::default(),
            bases: Bases::default(),
            stats: FlushStats::default(),
            retries: Vec::new(),
            last_flush: now,
            not_before: MachineTime(0),
            journal_failures: 0,
            given_back: (0, BTreeSet::new()),
        }
    }

    /// The tables that hold up the flush: they fail again and again, are not parked, and wait for their next try; or one flush
    /// after the other is given back for them. None if the store as a whole is failing.
    fn held_up_by(&self) -> Vec<String> {
        let (times, tables) = &self.given_back;
        match &self.phase {
            _ if self.breaker.is_failing() => Vec::new(),
            Phase::Writing(run) if !self.retries.is_empty() && !run.stuck().is_empty() => run.stuck(),
            Phase::Idle | Phase::Planning(_) | Phase::Loading(..) | Phase::Writing(_) | Phase::Committing(..) => {
                tables.iter().filter(|_| *times >= FAILURES_TOLD).cloned().collect()
            }
        }
    }

    /// Whether the journal failed again and again, and the flush waits for its next try.
    pub(crate) fn journal_fails(&self) -> bool {
        let waits = match &self.phase {
            Phase::Idle => true,
            Phase::Committing(_, commit) => commit.is_to_be_tried_again(),
            Phase::Planning(_) | Phase::Loading(..) | Phase::Writing(_) => false,
        };
        waits && self.journal_failures >= FAILURES_TOLD
    }

    /// Whether a flush waits for nothing but such tables.
    pub(crate) fn is_held_up(&self) -> bool {
        !self.held_up_by().is_empty()
    }

    /// Someone asks for a flush of all batches that have come, up to this turn and this place. If too many do, it has its
    /// answer.
    pub(crate) fn asked(&mut self, asker: Asker, until: (u64, u64), cx: &mut Context<'_>) {
        if self.requests.has_room() {
            let tries = self.hurry(cx.now);
            self.requests.add(asker, until, tries, cx.now);
        } else {
            self.requests.refuse(asker, cx);
        }
    }

    /// What is held back is tried now, once at least. Returns how many tries of parked tables had failed.
    fn hurry(&mut self, now: MachineTime) -> u64 {
        self.journal_failures = self.journal_failures.min(FAILURES_TOLD - 1);
        self.given_back.0 = self.given_back.0.min(FAILURES_TOLD - 1);
        if self.is_held_up() {
            self.retries.iter_mut().for_each(|(due, _)| *due = (*due).min(now));
        }
        self.parked.hurry(now)
    }

    /// When the next parked table is tried. One that was tried since the machine is to stop waits for the next life.
    fn parked_deadline(&self) -> Option<MachineTime> {
        self.parked.deadline().filter(|_| self.requests.stopping.is_none() || self.has_untried())
    }

    /// Whether a parked table is still to be tried since the machine is to stop.
    pub(crate) fn has_untried(&self) -> bool {
        self.requests.stopping.is_some_and(|(_, tries)| self.parked.is_untried(u64::MAX, tries))
    }

    /// The machine is to stop: everything gets one more try.
    pub(crate) fn stop(&mut self, now: MachineTime) {
        let tries = self.hurry(now);
        self.requests.stopping.get_or_insert((now, tries));
        self.hints.hurry(now);
    }

    /// Answers those who wait for a flush that does not go on, once what they asked for was tried.
    pub(crate) fn answer_held_up(&mut self, cx: &mut Context<'_>) {
        let tables = if self.requests.any() { self.held_up_by() } else { Vec::new() };
        let error = self.stats.last_error.as_deref().unwrap_or_default();
        if !tables.is_empty() {
            self.requests.held_up(&tables, error, cx);
        } else if self.journal_fails() {
            self.requests.journal_fails(error, cx);
        }
    }

    /// What the store answered when it was asked whose it is.
    pub(crate) fn heard_of_store(&mut self, answer: Result<(), Failure>, cx: &mut Context<'_>) {
        match answer {
            Ok(()) => self.breaker.succeeded(),
            Err(failure) => {
                self.stats.store_failures += 1;
                self.breaker.failed(cx.now, failure.retry_after_ms, cx.config, cx.draws);
                self.stats.last_error = Some(format!("the store's marker: {}", failure.message));
                self.answer_if_failing(cx);
            }
        }
    }

    fn answer_if_failing(&mut self, cx: &mut Context<'_>) {
        if self.breaker.is_failing() {
            self.requests.store_fails(self.stats.last_error.as_deref().unwrap_or_default(), cx);
        }
    }

    /// Whether a flush is under way.
    pub(crate) fn is_running(&self) -> bool {
        !matches!(self.phase, Phase::Idle)
    }

    /// A store command of a flush ended.
    pub(crate) fn stored(
        &mut self,
        call: StoreCall,
        outcome: Outcome,
        tables: &Tables,
        ingest: &mut Ingest,
        cx: &mut Context<'_>,
    ) {
        let absent = || Failure { message: "the object is not there".to_owned(), retry_after_ms: None };
        let result = match &call.action {
            Action::Write(_) if mutant!(UnknownPutAsDone) && matches!(outcome, Outcome::Unknown(_)) => Ok(Bytes::new()),
            Action::Write(_) => outcome.of_put().done().map(|_| Bytes::new()),
            Action::ReadMetadata | Action::ReadManifestList | Action::ReadManifest(_) | Action::ReadFrontier => {
                outcome.of_get().done().and_then(|found| found.ok_or_else(absent))
            }
        };
        match result {
            Ok(bytes) => {
                self.breaker.succeeded();
                if let Phase::Writing(run) = &mut self.phase
                    && run.flush == call.flush
                {
                    let problem = run.stored(&call, &bytes, cx);
                    if let Some(message) = problem {
                        self.failed(call, &Failure { message, retry_after_ms: None }, cx);
                    }
                }
            }
            Err(failure) => self.failed(call, &failure, cx),
        }
        self.go_on(tables, ingest, cx);
        self.answer_if_failing(cx);
    }

    /// A store command failed. It is tried again if its table is still part of the flush.
    fn failed(&mut self, call: StoreCall, failure: &Failure, cx: &mut Context<'_>) {
        self.stats.store_failures += 1;
        self.stats.last_error = Some(format!("{}: {}", call.key, failure.message));
        let part = match &mut self.phase {
            Phase::Writing(run) if run.flush == call.flush => run.parts.get_mut(&call.table),
            Phase::Writing(_) | Phase::Idle | Phase::Planning(_) | Phase::Loading(..) | Phase::Committing(..) => None,
        };
        let (is_first, failures) = part.map_or((true, 1), |part| (part.failed(call.round), part.failures()));
        // Commands that failed together are one sign that the store fails; a probe must always be reported.
        let is_probe = self.breaker.state() == BreakerState::HalfOpen;
        let due = if !call.is_retry && (is_first || is_probe) {
            self.breaker.failed(cx.now, failure.retry_after_ms, cx.config, cx.draws)
        } else {
            cx.now.after_ms(backoff_ms(failures, failure.retry_after_ms, cx.config, cx.draws))
        };
        let is_wanted = matches!(&self.phase, Phase::Writing(run)
            if run.flush == call.flush && run.parts.contains_key(&call.table));
        if is_wanted {
            self.retries.push((due, call));
        }
    }

    /// Tries failed store commands again whose delay has passed: all of them, or one while the breaker is open.
    pub(crate) fn retry(&mut self, cx: &mut Context<'_>) {
        let mut waiting = Vec::new();
        for (due, mut call) in std::mem::take(&mut self.retries) {
            if due <= cx.now && (call.is_retry || self.breaker.may_try()) {
                if let Phase::Writing(run) = &self.phase {
                    call.round = run.parts.get(&call.table).map_or(call.round, TablePart::failures);
                }
                call.issue(cx);
            } else {
                waiting.push((due, call));
            }
        }
        self.retries = waiting;
    }

    /// When the flusher wants to be woken, and why. `may_flush`: whether the store is known to be ours, and every batch is at
    /// hand.
    pub(crate) fn deadline(
        &self,
        now: MachineTime,
        ingest: &Ingest,
        config: &Config,
        may_flush: bool,
    ) -> Option<(MachineTime, &'static str)> {
        let probing = self.breaker.state() == BreakerState::HalfOpen;
        let may_retry = |call: &StoreCall| !probing || call.is_retry;
        let retries = self.retries.iter().filter(|(_, call)| may_retry(call)).map(|(due, _)| *due);
        let retry = retries.min().map(|due| (due, "store retry"));
        let begin = self.next_beginning(now, ingest, config).filter(|_| may_flush && !self.is_running());
        let writes_hints = may_flush && self.writes_hints(now);
        let hint = self.hints.deadline().map(|due| (due, "version hint")).filter(|_| writes_hints);
        let answer = self.requests.deadline(&self.hints).map(|due| (due, "flush answer"));
        let stop = self.hint_patience(now).filter(|_| !self.is_running()).map(|until| (until, "stop"));
        [retry, begin, hint, answer, stop].into_iter().flatten().min()
    }

    /// When the next flush could begin.
    fn next_beginning(
        &self,
        now: MachineTime,
        ingest: &Ingest,
        config: &Config,
    ) -> Option<(MachineTime, &'static str)> {
        let unarmed = mutant!(FirstAlarmNotArmed) && self.stats.flushes == 0;
        let trigger = self.next_trigger(ingest, config).filter(|_| !unarmed);
        let is_held_off = self.not_before > now && self.due(ingest, now, config).is_some();
        let held_off = is_held_off.then_some((self.not_before, "journal retry"));
        let parked = self.parked_deadline().map(|due| (due.max(self.not_before), "parked table"));
        [trigger, held_off, parked].into_iter().flatten().min()
    }
}
