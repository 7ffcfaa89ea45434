//! The rule for sparse producers: they know no holes, so a refused batch must come before all that follow it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::head::BatchHead;
use crate::limits::SEQUENCE_MAX;
use crate::time::MachineTime;

/// Refused batches of one source that are remembered: more than a producer of ours has on its way.
pub(super) const AWAITED_MAX: usize = 256;

/// Last event of a batch that could not be read: it may hold any.
pub(super) const UNREAD_END: u64 = SEQUENCE_MAX;

/// The same, of one whose number could not be read or that has none: it stands as the next.
pub(super) const UNNUMBERED_END: u64 = SEQUENCE_MAX - 1;

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
    fn blocks(&self, now: MachineTime, window_ms: u64) -> bool {
        !self.given_up && now.since_ms(self.since) < window_ms
    }

    /// Another batch is durable. What of this one is passed over, and whether nothing of it is left to be awaited.
    fn came_after(&mut self, head: &BatchHead) -> (Option<PassedOver>, bool) {
        let (first, last) = self.events;
        let is_lower = self.number < head.number;
        // What could not be read may hold any event above those that had come.
        let is_vague = last >= UNNUMBERED_END;
        let is_numbered = last != UNNUMBERED_END;
        let events = (first < head.first && (is_lower || !is_vague)).then(|| (first, last.min(head.first - 1)));
        let is_covered = last <= head.last;
        // Under its number it can bring nothing more, but its events may come under others.
        let is_number_passed = is_lower && is_numbered && !is_covered;
        self.given_up |= is_number_passed;
        self.events.0 = first.max(head.last.saturating_add(1));
        let number = (is_number_passed || events.is_some() && is_numbered).then_some(self.number);
        let passed = (number.is_some() || events.is_some()).then_some(PassedOver { number, events });
        let is_read_past = is_vague && is_lower && first <= head.last;
        (passed, is_covered || is_read_past || mutant!(SparseRestForgotten) && first <= head.last)
    }
}

/// What of a refused batch will never come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PassedOver {
    /// Its number, if it had one: to be named before a mark passes it.
    pub(super) number: Option<u64>,
    /// First and last event, both included. They may be those of others, since what was refused may repeat what was
    /// refused before. `None`: all of them may yet come, under other numbers.
    pub(super) events: Option<(u64, u64)>,
}

/// All refused batches of a source that have not come since, by number. What was refused only because another had to
/// come first is one of them: once that one is there, it is the next. Remembered across restarts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct AwaitedBatches(Vec<Awaited>);

impl AwaitedBatches {
    /// A batch was refused.
    pub(super) fn insert(&mut self, awaited: Awaited) {
        self.remove(&awaited.epoch, awaited.number);
        let at = self.0.partition_point(|other| other.number < awaited.number);
        self.0.insert(at, awaited);
        if self.0.len() > AWAITED_MAX {
            let least = self.0.iter().position(|other| other.given_up).unwrap_or(AWAITED_MAX);
            self.0.remove(least);
        }
    }

    /// A batch need not come. Returns whether it was awaited.
    pub(super) fn remove(&mut self, epoch: &str, number: u64) -> bool {
        let before = self.0.len();
        self.0.retain(|awaited| *awaited.epoch != *epoch || awaited.number != number);
        self.0.len() < before
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

    /// The highest number of an epoch.
    pub(super) fn highest(&self, epoch: &str) -> u64 {
        self.0.iter().filter(|awaited| *awaited.epoch == *epoch).map(|awaited| awaited.number).max().unwrap_or(0)
    }

    /// Whether a batch with this number and first event would pass over another, by its number or by its events.
    pub(super) fn would_pass_over(&self, epoch: &str, number: u64, first: u64) -> bool {
        let mut others = self.0.iter().filter(|awaited| *awaited.epoch == *epoch && awaited.number != number);
        others.any(|awaited| awaited.number < number || awaited.events.0 < first)
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
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

    /// A batch is durable, and with it all below it, by number and by event. Returns what of the refused batches will
    /// therefore never come; what lies above is awaited further.
    pub(super) fn came(&mut self, head: &BatchHead) -> Vec<PassedOver> {
        let mut passed_over = Vec::new();
        self.0.retain_mut(|awaited| {
            if awaited.epoch != head.epoch {
                return true;
            }
            if awaited.number == head.number {
                return false;
            }
            let (passed, is_settled) = awaited.came_after(head);
            passed_over.extend(passed);
            !is_settled
        });
        passed_over
    }
}
