//! What is known of each batch: waiting, sent, accepted, in the lake. Numbers only; no time, no socket.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::RangeInclusive;

use crate::producer::{Attempt, Offered, Progress, RefusedBatch};
use crate::wire::NackReason;

/// A batch that is not answered yet.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) offered: Offered,
    /// How often it was sent.
    pub(super) sends: u64,
    /// The connection on which it was sent and not answered.
    sent_on: Option<Attempt>,
    /// The how-manieth message with a batch that was.
    sent_as: u64,
    /// It was once refused with retry. Since then only an answer to itself settles it: a mark that passes its number
    /// may have left it out.
    refused_once: bool,
}

/// How far the answers reach.
#[derive(Debug)]
pub(super) struct Window {
    /// By number, rising; those without a number last.
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    /// Events of the batches that are accepted but not in the lake, by batch number. As many as DoLake buffers.
    accepted: BTreeMap<u64, u64>,
    last_number: u64,
    /// Messages with a batch so far.
    sent: u64,
    /// Numbers that DoLake gave up, first and last. What is offered under them later was not accepted, though DoLake's
    /// resume number is above it: it is sent, and refused.
    given_up: BTreeMap<u64, u64>,
    /// What DoLake said it has accepted; numbers that are left open begin above it.
    resume: u64,
    /// All that is accepted up to here is in the lake.
    mark: u64,
    /// The highest answered number with none below it waiting.
    last_ack: u64,
    /// Answered numbers above one that still waits.
    answered: BTreeSet<u64>,
    pub(super) progress: Progress,
}

impl Window {
    pub(super) fn new(last_ack: u64) -> Window {
        Window {
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            accepted: BTreeMap::new(),
            last_number: last_ack,
            sent: 0,
            given_up: BTreeMap::new(),
            resume: last_ack,
            mark: 0,
            last_ack,
            answered: BTreeSet::new(),
            progress: Progress::default(),
        }
    }

    pub(super) fn waiting_batches(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    pub(super) fn waiting_events(&self) -> u64 {
        self.waiting.iter().map(|batch| batch.offered.event_count).sum()
    }

    /// Batches that are accepted but not in the lake.
    pub(super) fn unpersisted_batches(&self) -> usize {
        self.accepted.len()
    }

    /// The highest number that, with all below it, is answered.
    pub(super) fn last_ack(&self) -> u64 {
        self.last_ack
    }

    pub(super) fn offer(&mut self, offered: Offered) {
        if let Some(number) = offered.number {
            assert!(number > self.last_number, "batch {number} was offered after batch {}", self.last_number);
            let unnumbered = self.waiting.back().is_some_and(|batch| batch.offered.number.is_none());
            assert!(!unnumbered, "batch {number} was offered after one that leaves its number open");
            self.last_number = number;
        }
        self.progress.offered_batches += 1;
        self.progress.offered_events += offered.event_count;
        self.waiting_bytes += offered.events.len();
        self.waiting.push_back(Waiting { offered, sends: 0, sent_on: None, sent_as: 0, refused_once: false });
    }

    /// Numbers what has no number yet, above everything that DoLake has accepted.
    pub(super) fn number_above(&mut self, resume: u64) {
        self.resume = self.resume.max(resume);
        for batch in self.waiting.iter_mut().filter(|batch| batch.offered.number.is_none()) {
            self.last_number = self.last_number.max(self.resume) + 1;
            batch.offered.number = Some(self.last_number);
        }
    }

    /// Numbers what was offered during a session; [`Window::number_above`] was called when it began.
    pub(super) fn number_new(&mut self) {
        self.number_above(0);
    }

    /// Batches, and bytes of their events, that are sent on `attempt` and not answered.
    pub(super) fn under_way(&self, attempt: Attempt) -> (usize, usize) {
        let sent = self.waiting.iter().filter(|batch| batch.sent_on == Some(attempt));
        sent.fold((0, 0), |(batches, bytes), batch| (batches + 1, bytes + batch.offered.events.len()))
    }

    /// The lowest batch that is not on its way, marked as sent on `attempt`, with its number.
    pub(super) fn send_next(
        &mut self,
        attempt: Attempt,
        max_batches: usize,
        max_bytes: usize,
    ) -> Option<(u64, &Waiting)> {
        let (batches, bytes) = self.under_way(attempt);
        let batch = self.waiting.iter_mut().find(|batch| batch.sent_on != Some(attempt))?;
        let number = batch.offered.number?;
        if batches >= max_batches || (batches > 0 && bytes + batch.offered.events.len() > max_bytes) {
            return None;
        }
        batch.sent_on = Some(attempt);
        self.sent += 1;
        batch.sent_as = self.sent;
        batch.sends += 1;
        if batch.sends > 1 {
            self.progress.resends += 1;
        }
        Some((number, batch))
    }

    /// Batches in `numbers` that are on their way on `attempt` are answered. Answers come in the order of the batches,
    /// so what was sent before them on the same connection and still waits has lost its answer: with a machine that was
    /// evicted while the socket lived on. It is to be sent again.
    pub(super) fn answered(&mut self, numbers: &RangeInclusive<u64>, attempt: Attempt) {
        let on_its_way = |batch: &&Waiting| batch.sent_on == Some(attempt);
        let is_answered = |batch: &Waiting| batch.offered.number.is_some_and(|number| numbers.contains(&number));
        let answered = self.waiting.iter().filter(on_its_way).filter(|batch| is_answered(batch));
        let Some(last) = answered.map(|batch| batch.sent_as).max() else { return };
        for batch in &mut self.waiting {
            if batch.sent_on == Some(attempt) && batch.sent_as < last && !is_answered(batch) {
                batch.sent_on = None;
            }
        }
    }

    /// Batches in `numbers` that are on their way on `attempt` are durable.
    pub(super) fn accept(&mut self, numbers: &RangeInclusive<u64>, attempt: Attempt, duplicate: bool) {
        let before = self.progress.accepted_batches;
        self.settle(|number, batch| numbers.contains(&number) && batch.sent_on == Some(attempt));
        if duplicate {
            self.progress.duplicate_batches += self.progress.accepted_batches - before;
        }
    }

    /// All that DoLake ever accepted up to `through` is durable: that is, what was sent before and never refused, or
    /// also what was never sent, if `unsent` is told to be the same as in an earlier life.
    pub(super) fn accept_through(&mut self, through: u64, unsent: bool) {
        let given_up = std::mem::take(&mut self.given_up);
        let is_given_up = |number: u64| given_up.range(..=number).next_back().is_some_and(|(_, last)| number <= *last);
        self.settle(|number, batch| {
            number <= through && !batch.refused_once && !is_given_up(number) && (unsent || batch.sends > 0)
        });
        self.given_up = given_up;
    }

    /// DoLake gave these numbers up.
    pub(super) fn give_up(&mut self, numbers: &RangeInclusive<u64>) {
        let last = self.given_up.entry(*numbers.start()).or_insert(*numbers.end());
        *last = (*last).max(*numbers.end());
    }

    /// What was just offered is known to be durable, if its number lies below what DoLake has accepted.
    pub(super) fn accept_resumed(&mut self) {
        self.accept_through(self.resume, true);
        self.persist(self.mark);
    }

    fn settle(&mut self, accepted: impl Fn(u64, &Waiting) -> bool) {
        for batch in self.take(accepted) {
            let number = batch.offered.number.expect("only a numbered batch is taken");
            self.progress.accepted_batches += 1;
            self.progress.accepted_events += batch.offered.event_count;
            self.accepted.insert(number, batch.offered.event_count);
        }
    }

    /// What is accepted up to `mark` is in the lake.
    pub(super) fn persist(&mut self, mark: u64) {
        self.mark = self.mark.max(mark);
        let above = self.accepted.split_off(&mark.saturating_add(1));
        for events in std::mem::replace(&mut self.accepted, above).into_values() {
            self.progress.persisted_batches += 1;
            self.progress.persisted_events += events;
        }
    }

    /// A batch is to be sent again, if it waits.
    pub(super) fn refuse(&mut self, number: u64) {
        self.refuse_where(|batch| batch.offered.number == Some(number));
    }

    /// One of those that were sent was refused, and nobody knows which: all are to be sent again.
    pub(super) fn refuse_all(&mut self) {
        self.refuse_where(|batch| batch.sent_on.is_some());
    }

    fn refuse_where(&mut self, refused: impl Fn(&Waiting) -> bool) {
        for batch in self.waiting.iter_mut().filter(|batch| refused(batch)) {
            batch.sent_on = None;
            batch.refused_once = true;
        }
    }

    /// Batches in `numbers` will never be taken. Those that were never sent are left alone: the answer is not theirs.
    pub(super) fn fail(
        &mut self,
        numbers: &RangeInclusive<u64>,
        reason: NackReason,
        message: &str,
    ) -> Vec<RefusedBatch> {
        let failed = self.take(|number, batch| numbers.contains(&number) && batch.sends > 0);
        self.progress.refused_batches += failed.len() as u64;
        self.progress.refused_events += failed.iter().map(|batch| batch.offered.event_count).sum::<u64>();
        let refused = |batch: Waiting| RefusedBatch {
            number: batch.offered.number.expect("only a numbered batch is taken"),
            first_event_sequence: batch.offered.first_event_sequence,
            last_event_sequence: batch.offered.last_event_sequence,
            reason,
            message: message.to_owned(),
        };
        failed.into_iter().map(refused).collect()
    }

    /// Removes the numbered batches that `which` picks.
    fn take(&mut self, which: impl Fn(u64, &Waiting) -> bool) -> Vec<Waiting> {
        let mut taken = Vec::new();
        for batch in std::mem::take(&mut self.waiting) {
            if batch.offered.number.is_some_and(|number| which(number, &batch)) {
                self.waiting_bytes -= batch.offered.events.len();
                taken.push(batch);
            } else {
                self.waiting.push_back(batch);
            }
        }
        self.answered.extend(taken.iter().filter_map(|batch| batch.offered.number));
        let lowest_waiting = self.waiting.front().and_then(|batch| batch.offered.number).unwrap_or(u64::MAX);
        let above = self.answered.split_off(&lowest_waiting);
        if let Some(highest) = std::mem::replace(&mut self.answered, above).last() {
            self.last_ack = self.last_ack.max(*highest);
        }
        taken
    }
}
