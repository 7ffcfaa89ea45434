//! Who waits for a flush, and what they are told.
//!
//! A request waits for all batches that came before it, whatever comes after them: a lake that never rests answers, too.
//! It is answered when they are in the lake, or as soon as it is known that something holds them up: a store or a journal
//! that fails, or tables that cannot be written. Only for version hints it waits a little longer. What flushes did meanwhile is kept
//! once for all who wait.

use crate::command::Command;
use crate::context::Context;
use crate::event::{CallId, ConnId};
use crate::flush::LastFlush;
use crate::flush::hints::Hints;
use crate::flush::parked::Parked;
use crate::http::respond::Answer;
use crate::ingest::Ingest;
use crate::limits::FLUSH_REQUESTS_MAX;
use crate::time::MachineTime;
use crate::wire::server::FlushResult;

/// Who asked for a flush.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asker {
    /// `POST /flush`.
    Call(CallId),
    /// A `flush_request`.
    Conn {
        /// Its connection.
        conn: ConnId,
        /// Echoed.
        correlation_id: Option<String>,
    },
}

#[derive(Debug)]
struct Request {
    asker: Asker,
    /// It waits for the batches below this place, those of these turns among them that are given a place later.
    below: u64,
    turn: u64,
    since: MachineTime,
    /// Tries of parked tables that had failed when it came.
    tries: u64,
    /// The first of [`Requests::flushes`] that ended after it came.
    first: usize,
}

/// A request whose batches are in the lake. It waits for the version hints that say so, so that a reader by path sees what
/// the answer speaks of.
#[derive(Debug)]
struct Flushed {
    asker: Asker,
    sum: FlushResult,
    since: MachineTime,
    /// When its batches were in the lake.
    at: MachineTime,
}

/// Who waits for a flush, and answers that are due.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    open: Vec<Request>,
    flushed: Vec<Flushed>,
    /// Flushes that ended since the first who waits came.
    flushes: Vec<LastFlush>,
    /// Answers for connections; the ingest sends them.
    pub(crate) answered: Vec<(ConnId, Option<String>, FlushResult)>,
    /// Since when the machine is to stop: everything is flushed as it comes. And how many tries of parked tables had failed.
    pub(crate) stopping: Option<(MachineTime, u64)>,
}

impl Requests {
    /// Whether one more may wait.
    pub(crate) fn has_room(&self) -> bool {
        self.open.len() + self.flushed.len() < FLUSH_REQUESTS_MAX
    }

    /// Adds one, who waits for all batches that have come, and for a try of each parked table since so many tries had failed.
    pub(crate) fn add(&mut self, asker: Asker, (turn, below): (u64, u64), tries: u64, now: MachineTime) {
        self.open.push(Request { asker, below, turn, since: now, tries, first: self.flushes.len() });
    }

    /// A batch that had waited was given a place.
    pub(crate) fn placed(&mut self, turn: u64, place: u64) {
        for request in self.open.iter_mut().filter(|request| turn < request.turn) {
            request.below = request.below.max(place + 1);
        }
    }

    /// Whether anyone waits for a batch that a flush could take, `first_ready` being the oldest.
    pub(crate) fn want(&self, first_ready: Option<u64>) -> bool {
        first_ready.is_some_and(|place| self.open.iter().any(|request| place < request.below))
    }

    /// Answers one for which there is no room.
    pub(crate) fn refuse(&mut self, asker: Asker, cx: &mut Context<'_>) {
        let error = format!(
            "expected at most {FLUSH_REQUESTS_MAX} requests that wait for a flush, and so many do: wait for the answers to \
             those; what was acked is flushed with them"
        );
        let sum = FlushResult { error: Some(error), ..FlushResult::default() };
        self.answer(asker, cx.now, sum, cx);
    }

    /// Whether anyone waits for a flush that is not done.
    pub(crate) fn any(&self) -> bool {
        !self.open.is_empty()
    }

    /// A client went away.
    pub(crate) fn gone(&mut self, call: CallId) {
        self.drop_those(|asker| *asker == Asker::Call(call));
    }

    /// A connection was closed.
    pub(crate) fn closed(&mut self, closed: ConnId) {
        self.drop_those(|asker| matches!(asker, Asker::Conn { conn, .. } if *conn == closed));
    }

    fn drop_those(&mut self, are_gone: impl Fn(&Asker) -> bool) {
        self.open.retain(|request| !are_gone(&request.asker));
        self.flushed.retain(|request| !are_gone(&request.asker));
        self.forget();
    }

    /// A flush ended: all who wait for one take its figures.
    pub(crate) fn flush_ended(&mut self, last: &LastFlush) {
        if self.any() {
            self.flushes.push(last.clone());
        }
    }

    /// Answers those for whom nothing is left to do: no ready or unsaved batch below their place, no parked table with
    /// older events that was not tried since, and no version hint to wait for.
    pub(crate) fn settle(&mut self, ingest: &Ingest, parked: &Parked, hints: &Hints, cx: &mut Context<'_>) {
        // While sources are being loaded, nobody knows which of their batches wait.
        if !ingest.is_recovering() || mutant!(FlushAnsweredEarly) {
            self.take_flushed(ingest, parked, cx.now);
        }
        let now = cx.now;
        let waits = |flushed: &Flushed| hints.patience(flushed.at).is_some_and(|until| now < until);
        let (waiting, done): (Vec<_>, Vec<_>) = std::mem::take(&mut self.flushed).into_iter().partition(waits);
        self.flushed = waiting;
        self.answer_flushed(done, cx);
    }

    /// The machine stops: answers all who wait.
    pub(crate) fn stop(&mut self, cx: &mut Context<'_>) {
        let done = std::mem::take(&mut self.flushed);
        self.answer_flushed(done, cx);
        self.answer_all(false, cx, || {
            "DoLake stops; what was acked is safe in the journal and is flushed when it runs again".to_owned()
        });
    }

    /// When the next one waits no longer for version hints.
    pub(crate) fn deadline(&self, hints: &Hints) -> Option<MachineTime> {
        self.flushed.iter().filter_map(|flushed| hints.patience(flushed.at)).min()
    }

    fn take_flushed(&mut self, ingest: &Ingest, parked: &Parked, now: MachineTime) {
        let oldest = ingest.oldest_unsettled_place();
        let waits = |request: &Request| {
            !mutant!(FlushAnsweredEarly) && oldest.is_some_and(|place| place < request.below)
                || parked.is_untried(request.below, request.tries)
                || ingest.has_unplaced(request.turn)
        };
        let (open, done): (Vec<_>, Vec<_>) = std::mem::take(&mut self.open).into_iter().partition(waits);
        self.open = open;
        for request in done {
            let names: Vec<&str> = parked.below(request.below).map(|(name, _)| name).collect();
            let mut sum = self.sum(&request);
            if !names.is_empty() {
                sum.success = false;
                sum.error = Some(format!(
                    "these tables could not be written and are parked: {}; their events are safe in the journal and are \
                     tried again by themselves",
                    names.join(", ")
                ));
            }
            self.flushed.push(Flushed { asker: request.asker, sum, since: request.since, at: now });
        }
        self.forget();
    }

    fn answer_flushed(&mut self, done: Vec<Flushed>, cx: &mut Context<'_>) {
        for Flushed { asker, sum, since, at: _ } in done {
            self.answer(asker, since, sum, cx);
        }
    }

    /// The store counts as failing: whoever waits is told, the batches are safe in the journal.
    pub(crate) fn store_fails(&mut self, error: &str, cx: &mut Context<'_>) {
        self.answer_all(true, cx, || {
            format!(
                "the store is failing ({error}); what was acked is safe in the journal and is flushed when the store is back"
            )
        });
    }

    /// Nothing goes on before these tables can be written: whoever waits is told.
    pub(crate) fn held_up(&mut self, tables: &[String], error: &str, cx: &mut Context<'_>) {
        self.answer_all(false, cx, || {
            format!(
                "these tables could not be written and hold up the flush: {} ({error}); what was acked is safe in the journal and \
                 is flushed when they can be written",
                tables.join(", ")
            )
        });
    }

    /// The journal fails again and again: whoever waits is told.
    pub(crate) fn journal_fails(&mut self, error: &str, cx: &mut Context<'_>) {
        self.answer_all(false, cx, || {
            format!("the journal is failing ({error}); what was acked is safe in it and is flushed when it is back")
        });
    }

    /// Tells all who wait that it failed, and why.
    fn answer_all(&mut self, used_fallback: bool, cx: &mut Context<'_>, error: impl Fn() -> String) {
        for request in std::mem::take(&mut self.open) {
            let sum = FlushResult { success: false, used_fallback, error: Some(error()), ..self.sum(&request) };
            self.answer(request.asker, request.since, sum, cx);
        }
        self.forget();
    }

    /// What was flushed since it came.
    fn sum(&self, request: &Request) -> FlushResult {
        let mut sum = FlushResult { success: true, ..FlushResult::default() };
        for last in self.flushes.iter().skip(request.first) {
            sum.batches_flushed += last.batches;
            sum.events_flushed += last.events;
            sum.bytes_written += last.bytes;
            sum.paths.extend(last.paths.iter().cloned());
            sum.snapshots.extend(last.snapshots.iter().copied());
        }
        sum
    }

    /// Forgets flushes that nobody counts who still waits.
    fn forget(&mut self) {
        let first = self.open.iter().map(|request| request.first).min().unwrap_or(self.flushes.len());
        self.flushes.drain(..first);
        for request in &mut self.open {
            request.first -= first;
        }
    }

    fn answer(&mut self, asker: Asker, since: MachineTime, mut sum: FlushResult, cx: &mut Context<'_>) {
        sum.duration_ms = cx.now.since_ms(since);
        match asker {
            Asker::Call(call) => {
                let status = if sum.success { 200 } else { 503 };
                let answer = Answer::json(status, &sum);
                cx.out.push(Command::Respond { call, head: answer.head, body: answer.body });
            }
            Asker::Conn { conn, correlation_id } => self.answered.push((conn, correlation_id, sum)),
        }
    }
}
