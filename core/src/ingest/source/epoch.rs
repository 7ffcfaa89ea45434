//! One epoch of a source: its frontiers, its holes, and its batches that are in the journal.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::head::{BatchHead, Opening, Place};
use super::holes::{ExpectedBatches, HoleClocks};
use crate::ingest::frontier::{ClosedGaps, Frontier, Gap};
use crate::limits::CLOSED_RANGES_MAX;
use crate::time::MachineTime;

/// One life of a source's numbering.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Epoch {
    pub(super) name: Arc<str>,
    pub(super) opening: Opening,
    /// Whether a batch of it is durable, so that it will be there after a restart.
    pub(super) opened: bool,
    /// Batches in the lake, and those that are durable in the journal.
    pub(super) durable: Frontier,
    /// Those, and the ones that are being written.
    pub(super) all: Frontier,
    /// Holes that were given up. Both frontiers count them as covered.
    pub(super) closed: ClosedGaps,
    /// For the holes of `durable`.
    pub(super) clocks: HoleClocks,
    /// Batches within those holes that are to come back.
    pub(super) expected: ExpectedBatches,
    /// The batches in the journal or on their way there, by first event.
    pub(super) by_event: BTreeMap<(u64, Place), Waiting>,
    /// Bytes of those that lie above the first hole of `all`.
    pub(super) waiting_bytes: u64,
    /// The highest batch that is in the lake with all below it, by number and by event.
    pub(super) mark: Option<u64>,
    /// Batches that left the journal and are not marked: last event and number.
    pub(super) unmarked: BTreeSet<(u64, u64)>,
}

/// A batch in the journal, or on its way there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) number: u64,
    pub(super) bytes: u64,
    /// The first of its events that counts; [`u64::MAX`]: none does.
    pub(super) counts_from: u64,
}

/// The lowest event, and the lowest batch number, of what no mark may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lowest {
    /// Marks speak of batches whose last event is below this one.
    pub event: u64,
    /// Marks are below this number.
    pub number: u64,
}

impl Lowest {
    /// Nothing holds marks down.
    pub const NOTHING: Lowest = Lowest { event: u64::MAX, number: u64::MAX };

    /// The same with one more batch or share.
    #[must_use]
    pub fn with(self, event: u64, number: u64) -> Lowest {
        Lowest { event: self.event.min(event), number: self.number.min(number) }
    }
}

impl Epoch {
    pub(super) fn new(name: Arc<str>, opening: Opening) -> Epoch {
        let frontier = Frontier::new(opening.base);
        Epoch {
            name,
            opening,
            opened: false,
            durable: frontier.clone(),
            all: frontier,
            closed: ClosedGaps::default(),
            clocks: HoleClocks::default(),
            expected: ExpectedBatches::default(),
            by_event: BTreeMap::new(),
            waiting_bytes: 0,
            mark: None,
            unmarked: BTreeSet::new(),
        }
    }

    /// A batch is being written.
    pub(super) fn add(&mut self, head: &BatchHead) {
        let former_end = self.all.complete_end();
        cover(&mut self.all, head, &self.closed);
        self.count_waiting(former_end);
        let counts_from = head.counts_from().unwrap_or(u64::MAX);
        self.by_event.insert((head.first, head.place), Waiting { number: head.number, bytes: head.bytes, counts_from });
        if head.first >= self.all.complete_end() {
            self.waiting_bytes += head.bytes;
        }
    }

    /// A batch is durable, and all of the source before it. The clocks are to follow.
    pub(super) fn apply(&mut self, head: &BatchHead) {
        self.opened = true;
        cover(&mut self.durable, head, &self.closed);
    }

    /// Where nothing is compared a batch covers all below it. What has not come of that is given up, and no batch of it
    /// named: it may come while nothing is compared, and is refused after, not called a duplicate.
    pub(super) fn close_below(&mut self, head: &BatchHead) {
        let Some(below) = head.first.checked_sub(1) else { return };
        let mut missing = self.durable.uncovered(self.durable.complete_end(), below);
        if self.durable.touches(head.number, head.first, &self.closed) {
            missing.retain(|(_, last)| *last != below);
        }
        for events in missing {
            if self.closed.len() < CLOSED_RANGES_MAX {
                self.closed.insert(Gap { events, batches: None });
            }
        }
    }

    /// Lets the clocks follow the holes.
    pub(super) fn refit_clocks(&mut self) {
        self.clocks.refit(&self.durable);
    }

    /// A batch left the journal: it is in the lake.
    pub(super) fn release(&mut self, head: &BatchHead) {
        let waiting = self.by_event.remove(&(head.first, head.place));
        if head.first >= self.all.complete_end() {
            self.waiting_bytes -= waiting.map_or(0, |waiting| waiting.bytes);
        }
        self.unmarked.insert((head.last, head.number));
    }

    /// Moves the mark up to the last batch in the lake that has none below it which is not. `parked` is what left the
    /// journal and is not in the lake.
    ///
    /// A producer may repeat events under other numbers, so a batch can be low by its number and high by its events, or
    /// the other way round. A mark is a number, and says that the events of all batches up to it are in the lake: it stays
    /// below the lowest number of a batch that waits or ends at or above the lowest event that waits.
    pub(super) fn advance_mark(&mut self, parked: Lowest) {
        // What a batch repeats stands in others: in the lake, or among those that wait.
        let waiting = self.by_event.values();
        let lowest = waiting.fold(parked, |lowest, batch| lowest.with(batch.counts_from, batch.number));
        let above = self.unmarked.range((lowest.event, 0)..).map(|(_, number)| *number);
        let limit = above.fold(lowest.number, u64::min);
        let below = self.unmarked.range(..(lowest.event, 0)).map(|(_, number)| *number);
        let marked = below.filter(|number| *number < limit).max();
        self.unmarked.retain(|(last, number)| lowest.event <= *last || Some(*number) > marked);
        self.mark = self.mark.max(marked);
    }

    /// A batch was refused with retry: its producer should have come back at `until`.
    pub(super) fn expect(&mut self, number: u64, (first, last): (u64, u64), now: MachineTime, until: MachineTime) {
        if self.durable.touches(number, first, &self.closed) {
            self.clocks.pause(first, last, until);
        } else {
            self.expected.insert((number, first), now, until);
        }
    }

    /// What of the holes is to be given up since their time has run out, but for those that a batch is being written into.
    pub(super) fn run_out(&self, now: MachineTime, window_ms: u64) -> Vec<Gap> {
        let holes = self.durable.holes().zip(self.clocks.iter());
        let due = holes.filter(|(_, clock)| clock.is_due(now, window_ms)).map(|(gap, _)| gap);
        due.filter_map(|gap| self.expected.end(gap, now).ok()).filter(|gap| self.is_left_alone(gap)).collect()
    }

    /// When the next hole's time runs out.
    pub(super) fn next_due(&self, now: MachineTime, connected: bool, window_ms: u64) -> Option<MachineTime> {
        let holes = self.durable.holes().zip(self.clocks.iter());
        let due = holes.filter_map(|(gap, clock)| {
            let (gap, not_before) = match self.expected.end(gap, now) {
                Ok(gap) => (gap, now),
                Err(until) => (gap, until),
            };
            self.is_left_alone(&gap).then(|| clock.due(now, connected, window_ms).max(not_before))
        });
        due.min()
    }

    /// Whether no batch is being written into a hole of `durable`.
    fn is_left_alone(&self, gap: &Gap) -> bool {
        if mutant!(HoleNeverCloses) {
            return false;
        }
        self.all == self.durable || self.all.uncovered(gap.events.0, gap.events.1) == [gap.events]
    }

    /// Gives up a hole of `durable`, or its lower part.
    ///
    /// # Panics
    /// If some of it was given up before: a hole lies between covered runs, and what was given up is covered.
    pub(super) fn close(&mut self, gap: Gap) {
        let before = self.closed.find(gap.events.0).or_else(|| self.closed.find(gap.events.1));
        assert_eq!(before, None, "hole {gap:?} was given up before");
        self.closed.insert(gap);
        let former_end = self.all.complete_end();
        for frontier in [&mut self.durable, &mut self.all] {
            frontier.give_up(gap);
            frontier.settle(&self.closed);
        }
        self.count_waiting(former_end);
        self.clocks.refit(&self.durable);
    }

    /// Goes back to what is durable: nothing is being written.
    pub(super) fn drop_pending(&mut self, heads: impl Iterator<Item = BatchHead>) {
        self.all = self.durable.clone();
        for head in heads {
            self.by_event.remove(&(head.first, head.place));
        }
        self.waiting_bytes =
            self.by_event.range((self.all.complete_end(), 0)..).map(|(_, waiting)| waiting.bytes).sum();
    }

    /// Durable batches below the first hole, in the order of their events; pending ones are among them.
    #[cfg(test)]
    pub(super) fn below_hole(&self) -> impl Iterator<Item = Place> {
        self.by_event.range(..(self.durable.complete_end(), 0)).map(|((_, place), _)| *place)
    }

    /// Stops counting what no longer waits, after the end of what is complete in `all` moved up.
    fn count_waiting(&mut self, former_end: u64) {
        let end = self.all.complete_end();
        if self.waiting_bytes > 0 && former_end < end {
            let freed: u64 = self.by_event.range((former_end, 0)..(end, 0)).map(|(_, waiting)| waiting.bytes).sum();
            self.waiting_bytes -= freed;
        }
    }
}

fn cover(frontier: &mut Frontier, head: &BatchHead, closed: &ClosedGaps) {
    if head.no_holes {
        frontier.insert_without_hole(head.number, head.first, head.last, closed);
    } else {
        frontier.insert(head.number, head.first, head.last, closed);
    }
}
