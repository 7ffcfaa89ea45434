//! The rule for sparse producers: they know no holes, so a refused batch must come before all that follow it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::head::BatchHead;
use crate::ingest::frontier::Gap;
use crate::limits::SEQUENCE_MAX;
use crate::time::MachineTime;

/// Refused batches of one source that are remembered: more than a producer of ours has on its way.
pub(super) const AWAITED_MAX: usize = 256;

/// Last event of a batch that could not be read: it may hold any.
pub(super) const UNREAD_END: u64 = SEQUENCE_MAX;

/// The same, of one whose number could not be read or that has none: it stands as the next.
pub(super) const UNNUMBERED_END: u64 = SEQUENCE_MAX - 1;

/// The number under which events are awaited that came under one that is passed: that was refused, and may be an accepted
/// batch's.
pub(super) const PASSED: u64 = 0;

/// A batch of a sparse epoch that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Awaited {
    pub(super) epoch: Arc<str>,
    pub(super) number: u64,
    /// First and last event; or the first that it may hold, and [`UNREAD_END`] or [`UNNUMBERED_END`].
    pub(super) events: (u64, u64),
    /// When it was refused last; if only for another that had to come first, when that one was.
    pub(super) since: MachineTime,
    /// Refused without retry: others may come.
    pub(super) given_up: bool,
}

impl Awaited {
    /// Whether the others have to wait for it.
    pub(super) fn blocks(&self, now: MachineTime, window_ms: u64) -> bool {
        !self.given_up && now.since_ms(self.since) < window_ms
    }

    /// What of it lies below another batch, which covers all that does: first and last event.
    fn below(&self, head: &BatchHead) -> Option<(u64, u64)> {
        let (first, last) = self.events;
        let is_lower = self.number < head.number;
        // What a batch repeats says nothing of what lies between that and its own. But one with a higher number may repeat it,
        // too, so that its first event is none that is missing.
        let from = head.counts_from().filter(|_| is_lower).unwrap_or(head.first);
        // What could not be read may hold any event above those that had come.
        let is_below = first < from && (is_lower || !self.is_unread());
        is_below.then(|| (first, last.min(from - 1)))
    }

    /// Another batch is durable. The gap that this one leaves below it, and whether nothing is left to be awaited.
    fn came_after(&mut self, head: &BatchHead) -> (Option<Gap>, bool) {
        let (first, last) = self.events;
        let is_lower = self.number < head.number;
        let batches = self.is_numbered().then_some((self.number, self.number));
        let gap = self.below(head).map(|events| Gap { events, batches });
        let is_covered = last <= head.last;
        let is_read_past = self.is_unread() && is_lower && first <= head.last;
        // Under a number that is passed it can bring nothing more, but its events may come under others.
        self.given_up |= is_lower && self.is_numbered();
        self.events.0 = first.max(head.last.saturating_add(1));
        (gap, is_covered || is_read_past || mutant!(SparseRestForgotten) && first <= head.last)
    }

    /// Whether its events are not known.
    pub(super) fn is_unread(&self) -> bool {
        self.events.1 >= UNNUMBERED_END
    }

    /// Whether it is to be named by its number.
    pub(super) fn is_numbered(&self) -> bool {
        self.events.1 != UNNUMBERED_END && self.number != PASSED
    }
}

/// All refused batches of a source that have not come since, by number. What was refused only because another had to
/// come first is one of them: once that one is there, it is the next. Remembered across restarts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct AwaitedBatches(Vec<Awaited>);

impl AwaitedBatches {
    /// A batch was refused. What came under numbers that are passed is one range.
    pub(super) fn insert(&mut self, mut awaited: Awaited) {
        let same = |other: &Awaited| other.epoch == awaited.epoch && other.number == awaited.number;
        if let Some(former) = self.0.iter().find(|other| awaited.number == PASSED && same(other)) {
            let (first, last) = former.events;
            awaited.events = (awaited.events.0.min(first), awaited.events.1.max(last));
        }
        self.remove(&awaited.epoch, awaited.number);
        let at = self.0.partition_point(|other| other.number < awaited.number);
        self.0.insert(at, awaited);
    }

    /// Takes one out where there are too many: that whose end nobody would notice, or else that which may best be given up
    /// now. `gone`: whether one keeps nothing away and is not on its way; `is_open`: whether anything of an epoch was taken.
    pub(super) fn make_room(
        &mut self,
        gone: impl Fn(&Awaited) -> bool,
        is_open: impl Fn(&str) -> bool,
    ) -> Option<Awaited> {
        if self.0.len() <= AWAITED_MAX {
            return None;
        }
        // Its producer has begun again in another epoch.
        let never_begun = self.0.iter().position(|awaited| gone(awaited) && !is_open(&awaited.epoch));
        let readable = || self.0.iter().position(|awaited| gone(awaited) && !awaited.is_unread());
        let unread = || self.0.iter().position(&gone);
        // What must come before it keeps all others away, too.
        let has_lower =
            |(at, awaited): (usize, &Awaited)| self.0[..at].iter().any(|other| other.epoch == awaited.epoch);
        let blocked = || (0..self.0.len()).rev().find(|at| has_lower((*at, &self.0[*at])));
        let other_start = || self.0.iter().position(|awaited| !is_open(&awaited.epoch));
        let least = never_begun.or_else(readable).or_else(unread).or_else(blocked).or_else(other_start);
        Some(self.0.remove(least.unwrap_or(AWAITED_MAX)))
    }

    /// A batch need not come. Returns whether it was awaited.
    pub(super) fn remove(&mut self, epoch: &str, number: u64) -> bool {
        let before = self.0.len();
        self.0.retain(|awaited| *awaited.epoch != *epoch || awaited.number != number);
        self.0.len() < before
    }

    /// Lets all of it have happened so much earlier.
    pub(super) fn set_back(&mut self, ms: u64) {
        for awaited in &mut self.0 {
            awaited.since = awaited.since.before_ms(ms);
        }
    }

    /// No more can be told apart: the producer is to connect again, and sends in order all that is not acked.
    pub(super) fn is_full(&self) -> bool {
        self.0.len() >= AWAITED_MAX
    }

    /// The lowest batch that has to come before batch `number` and has not.
    pub(super) fn before(
        &self,
        (epoch, number): (&str, u64),
        (now, window_ms): (MachineTime, u64),
        has_come: impl Fn(u64) -> bool,
    ) -> Option<&Awaited> {
        let below = self.0.iter().filter(|awaited| *awaited.epoch == *epoch && awaited.number < number);
        below.filter(|awaited| awaited.blocks(now, window_ms)).find(|awaited| !has_come(awaited.number))
    }

    /// A batch was refused without retry. Returns whether that changes anything; `None` if it was not awaited.
    pub(super) fn give_up(&mut self, epoch: &str, number: u64) -> Option<bool> {
        let awaited = self.0.iter_mut().find(|awaited| *awaited.epoch == *epoch && awaited.number == number)?;
        Some(!std::mem::replace(&mut awaited.given_up, true))
    }

    /// An epoch that was not seen before may begin: what could not be read, not even to its number, may be of it, too, and
    /// stands below all that it brings. Returns whether that changes anything.
    pub(super) fn take_unnamed(&mut self, epoch: &str) -> bool {
        let unnamed = self.0.iter().filter(|awaited| awaited.events.1 == UNNUMBERED_END);
        let (own, others): (Vec<_>, Vec<_>) = unnamed.partition(|awaited| *awaited.epoch == *epoch);
        let Some(since) = others.iter().filter(|_| own.is_empty()).map(|awaited| awaited.since).max() else {
            return false;
        };
        // One stands for all: nothing is known of them but that they came.
        let is_taken = |number: &u64| self.0.iter().any(|other| *other.epoch == *epoch && other.number == *number);
        let number = (1..).find(|number| !is_taken(number)).expect("there are fewer than numbers");
        self.insert(Awaited { epoch: epoch.into(), number, events: (0, UNNUMBERED_END), since, given_up: true });
        true
    }

    /// First and last event of a refused batch that those which must still come do not repeat, or that it repeats of them;
    /// the first is above the last if there is none.
    pub(super) fn own_events(&self, awaited: &Awaited) -> (u64, u64) {
        let others =
            self.0.iter().filter(|other| other.epoch == awaited.epoch && !other.given_up && !other.is_unread());
        others.fold(awaited.events, |(first, last), other| {
            let (other_first, other_last) = other.events;
            let is_apart = other_last < first || last < other_first || other.number == awaited.number;
            match other.number < awaited.number {
                _ if is_apart => (first, last),
                true => (first.max(other_last + 1), last),
                false => (first, last.min(other_first.saturating_sub(1))),
            }
        })
    }

    /// The highest number of an epoch.
    pub(super) fn highest(&self, epoch: &str) -> u64 {
        self.0.iter().filter(|awaited| *awaited.epoch == *epoch).map(|awaited| awaited.number).max().unwrap_or(0)
    }

    /// Whether a batch would pass over another, by its events or by its number. `complete`: up to there numbers are passed.
    pub(super) fn would_pass_over(&self, head: &BatchHead, complete: u64) -> bool {
        let mut others = self.0.iter().filter(|awaited| awaited.epoch == head.epoch && awaited.number != head.number);
        others.any(|awaited| (complete + 1..head.number).contains(&awaited.number) || awaited.below(head).is_some())
    }

    /// The numbers of an epoch, up to one that is passed.
    pub(super) fn numbers(&self, epoch: &str, complete: u64) -> impl Iterator<Item = u64> {
        let of_epoch = self.0.iter().filter(move |awaited| *awaited.epoch == *epoch && awaited.is_numbered());
        of_epoch.map(|awaited| awaited.number).take_while(move |number| *number <= complete)
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether there is one of this epoch.
    pub(super) fn any_of(&self, epoch: &str) -> bool {
        self.0.iter().any(|awaited| *awaited.epoch == *epoch)
    }

    /// The producer says that it has acks up to `last_ack`. Returns whether that changes anything.
    pub(super) fn acked(&mut self, epoch: &str, last_ack: u64) -> bool {
        let before = self.0.len();
        self.0.retain(|awaited| *awaited.epoch != *epoch || awaited.number > last_ack);
        self.0.len() < before
    }

    /// An epoch ended: nothing of it is taken any more.
    pub(super) fn forget(&mut self, epoch: &str) {
        self.0.retain(|awaited| *awaited.epoch != *epoch);
    }

    /// A batch is durable that covers all below it: what of the refused ones has not come with it was passed over and will
    /// never come. Returns that: gaps that may overlap, since what was refused may repeat what was refused before. What lies
    /// above is awaited further, under other numbers if its own is lower.
    pub(super) fn came(&mut self, head: &BatchHead) -> Vec<Gap> {
        let mut passed_over = Vec::new();
        self.0.retain_mut(|awaited| {
            if awaited.epoch != head.epoch {
                return true;
            }
            if awaited.number == head.number {
                return false;
            }
            let (gap, is_settled) = awaited.came_after(head);
            passed_over.extend(gap);
            !is_settled
        });
        passed_over
    }
}
