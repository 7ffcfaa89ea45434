//! The clocks of an epoch's open holes.
//!
//! A hole is open for the hole time-out with its source connected, or for an hour without. Its clock stops while the
//! batch that it begins with is being refused with retry: from the refusal until the producer should have come back.
//! One that lies further up in it may be refused just because of what is missing below: that does not stop the clock, or
//! the hole would never close, but what is given up ends below it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ingest::frontier::{Frontier, Gap};
use crate::limits::{HOLE_AWAY_MS_MAX, OPEN_HOLES_MAX};
use crate::time::MachineTime;

/// How long one hole has been open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HoleClock {
    /// First and last missing event.
    pub(super) events: (u64, u64),
    /// Counted with the source connected, in milliseconds.
    pub(super) connected_ms: u64,
    /// Counted without, in milliseconds.
    pub(super) away_ms: u64,
    /// Nothing counts before this.
    pub(super) paused_until: MachineTime,
}

impl HoleClock {
    /// When it runs out if nothing changes.
    pub(super) fn due(&self, now: MachineTime, connected: bool, window_ms: u64) -> MachineTime {
        let left_ms = if self.has_run_out(window_ms) {
            0
        } else if connected {
            window_ms.saturating_sub(self.connected_ms)
        } else {
            HOLE_AWAY_MS_MAX.saturating_sub(self.away_ms)
        };
        now.max(self.paused_until).after_ms(left_ms)
    }

    /// Whether its hole is to be given up.
    pub(super) fn is_due(&self, now: MachineTime, window_ms: u64) -> bool {
        self.has_run_out(window_ms) && self.paused_until <= now
    }

    fn has_run_out(&self, window_ms: u64) -> bool {
        let window_ms = if mutant!(HoleClosesAtOnce) { 0 } else { window_ms };
        self.connected_ms >= window_ms || self.away_ms >= HOLE_AWAY_MS_MAX
    }
}

/// A clock for each open hole, rising as the holes are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HoleClocks(Vec<HoleClock>);

impl HoleClocks {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &HoleClock> {
        self.0.iter()
    }

    /// Counts the time between two moments.
    pub(super) fn count(&mut self, from: MachineTime, to: MachineTime, connected: bool) {
        for clock in &mut self.0 {
            let counted_ms = to.since_ms(from.max(clock.paused_until));
            if connected {
                clock.connected_ms += counted_ms;
            } else {
                clock.away_ms += counted_ms;
            }
        }
    }

    /// Stops the clocks of the holes that `first..=last` falls into.
    pub(super) fn pause(&mut self, first: u64, last: u64, until: MachineTime) {
        for clock in self.0.iter_mut().filter(|clock| clock.events.0 <= last && first <= clock.events.1) {
            clock.paused_until = clock.paused_until.max(until);
        }
    }

    /// Lets all of it have happened so much earlier.
    pub(super) fn set_back(&mut self, ms: u64) {
        for clock in &mut self.0 {
            clock.paused_until = clock.paused_until.before_ms(ms);
        }
    }

    /// Follows the frontier: what is left of a hole goes on with its clock, a new hole begins at zero.
    pub(super) fn refit(&mut self, frontier: &Frontier) {
        if self.0.is_empty() && frontier.hole_count() == 0 {
            return;
        }
        let mut old = std::mem::take(&mut self.0).into_iter().peekable();
        for hole in frontier.holes() {
            while old.next_if(|clock| clock.events.1 < hole.events.0).is_some() {}
            let fresh =
                HoleClock { events: hole.events, connected_ms: 0, away_ms: 0, paused_until: MachineTime::default() };
            let former = old.peek().filter(|clock| clock.events.0 <= hole.events.1);
            self.0.push(former.map_or(fresh, |clock| HoleClock { events: hole.events, ..*clock }));
        }
    }
}

/// Batches that lie further up in a hole and were refused with retry: first event, number, and until when their producer
/// should have come back. Not kept across restarts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ExpectedBatches(BTreeMap<u64, (u64, MachineTime)>);

impl ExpectedBatches {
    /// A batch is to come back.
    pub(super) fn insert(&mut self, (number, first): (u64, u64), now: MachineTime, until: MachineTime) {
        self.0.retain(|_, (_, until)| now < *until);
        self.0.insert(first, (number, until));
        if self.0.len() > OPEN_HOLES_MAX {
            self.0.pop_last();
        }
    }

    /// What of a hole may be given up: all below the first batch that is to come back. Or until when nothing may, because
    /// that is what the hole begins with.
    pub(super) fn end(&self, hole: Gap, now: MachineTime) -> Result<Gap, MachineTime> {
        let mut expected = self.0.range(hole.events.0..=hole.events.1);
        let Some((&first, &(number, until))) = expected.find(|(_, (_, until))| now < *until) else { return Ok(hole) };
        if first == hole.events.0 {
            return Err(until);
        }
        let batches = hole.batches.map(|(lowest, highest)| (lowest, highest.min(number.saturating_sub(1))));
        Ok(Gap { events: (hole.events.0, first - 1), batches: batches.filter(|(lowest, highest)| lowest <= highest) })
    }
}
