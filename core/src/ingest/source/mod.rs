//! All that is known of one source, as a value: what its epochs have covered, which of its batches are in the journal,
//! its open holes, and how a batch that arrives is to be answered (`promises`, "Sequences, duplicates and holes").
//!
//! It does no I/O and keeps no timer; machine time is an argument. The machine around it writes the journal, sends the
//! acks and flushes. It never trusts what is not durable yet: a verdict that would lean on a batch whose save is not
//! confirmed is [`Verdict::Wait`].
//!
//! Where to read on: [`arrive`] answers batches by the rules 1 to 4; `journal` follows their saves and releases;
//! `epoch` holds the frontiers; `holes` the clocks; [`saved`] what survives a restart; [`refusal`] the messages.

pub mod arrive;
mod epoch;
pub mod head;
mod holes;
mod journal;
mod known;
pub mod refusal;
pub mod saved;
mod sparse;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::event::ConnId;
use crate::ingest::frontier::Gap;
use crate::time::MachineTime;

pub use arrive::{Arrival, Below, Refused, Rules, Take, Verdict};
use epoch::Epoch;
pub use epoch::Lowest;
pub use head::{BatchHead, Fingerprint, Opening, Place};
use known::Known;
pub use refusal::{Refusal, closed_hole_message};
pub use saved::SavedSource;
use sparse::AwaitedBatches;

/// How far the save of a batch got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Saving {
    /// Its outcome is not known yet.
    Pending,
    /// It is durable; an earlier one of the source is pending.
    Durable,
    /// It is durable, as are all before it, and covers its events.
    Applied,
}

/// A batch in the journal or on its way there.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Held {
    head: BatchHead,
    /// Index of its epoch.
    epoch: usize,
    saving: Saving,
}

/// What was counted in all lives of a source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Batches answered `duplicate`.
    pub duplicates: u64,
    /// Those of them that were too old to be compared.
    pub unverified: u64,
    /// Events of accepted batches that were there before.
    pub repeats: u64,
    /// Batches refused because they came after their hole was given up.
    pub refused_closed: u64,
    /// Holes that were given up (`sequence_holes_closed`).
    pub holes_closed: u64,
    /// Connects that claimed more than was known here.
    pub source_ahead: u64,
}

/// An open hole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hole {
    /// The epoch.
    pub epoch: Arc<str>,
    /// What is missing.
    pub gap: Gap,
    /// How long it was open with the source connected, in milliseconds.
    pub connected_ms: u64,
    /// How long it was open without, in milliseconds.
    pub away_ms: u64,
}

/// A hole that was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClosedHole {
    /// The epoch.
    pub epoch: Arc<str>,
    /// What was missing.
    pub gap: Gap,
}

/// A `connect`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello<'a> {
    /// `sourceEpoch`.
    pub epoch: &'a str,
    /// `lastAckSequence`.
    pub last_ack: u64,
    /// `capabilities.sparse`.
    pub sparse: bool,
    /// The connection.
    pub conn: Option<ConnId>,
}

/// What to answer to a `connect`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Greeting {
    /// The highest accepted batch with no open hole below it, or the base. Every `ok` carries it.
    pub resume: u64,
    /// The current `persisted` mark, if anything of the epoch is persisted.
    pub mark: Option<u64>,
    /// The producer claims more than is known here: state `recovering`.
    pub source_ahead: bool,
    /// The newer epoch that ended this one.
    pub fenced_by: Option<Arc<str>>,
    /// Batches (first, last) that were given up between its `lastAckSequence` and `resume`: to be nacked before the `ok`.
    pub closed: Vec<(u64, u64)>,
    /// The connection that this one takes the place of: sparse sources have one.
    pub superseded: Option<ConnId>,
}

/// One source. See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Source {
    /// In the order in which they began; those not opened yet (no batch durable) come last.
    epochs: Vec<Epoch>,
    held: BTreeMap<Place, Held>,
    /// All held batches below this place are applied.
    unapplied_from: Place,
    known: Known,
    awaited: AwaitedBatches,
    /// The newest connection, of a sparse source.
    sparse_conn: Option<ConnId>,
    connected: bool,
    /// Up to when the clocks have counted.
    counted_until: MachineTime,
    counters: Counters,
    unsaved: bool,
}

impl Source {
    /// A source that was never heard of.
    pub fn new() -> Source {
        Source::default()
    }

    /// Whether any connection of the source is open. Holes have less time while one is.
    pub fn set_connected(&mut self, connected: bool, now: MachineTime) {
        self.count(now);
        self.connected = connected;
    }

    /// A producer introduces itself.
    pub fn connect(&mut self, hello: Hello<'_>, now: MachineTime) -> Greeting {
        self.count(now);
        let Hello { epoch, last_ack, sparse, conn } = hello;
        self.unsaved |= self.awaited.acked(epoch, last_ack);
        let index = self.find(epoch).filter(|index| self.epochs[*index].opened);
        let known = index.map(|index| &self.epochs[index]);
        let highest = known.map_or(0, |epoch| epoch.durable.highest_batch());
        let resume = known.map_or(last_ack, |epoch| epoch.durable.complete_batch());
        let resume = if mutant!(ResumeOfHighest) { highest } else { resume };
        let is_sparse = known.map_or(sparse, |epoch| epoch.opening.sparse);
        let greeting = Greeting {
            resume,
            mark: known.and_then(|epoch| epoch.mark),
            source_ahead: last_ack > highest,
            fenced_by: index.and_then(|index| self.newer_than(index)).map(|newer| Arc::clone(&newer.name)),
            closed: self.closed_batches(epoch, last_ack, resume),
            superseded: self.sparse_conn.filter(|old| is_sparse && Some(*old) != conn),
        };
        if is_sparse {
            self.sparse_conn = conn;
        }
        self.counters.source_ahead += u64::from(greeting.source_ahead);
        greeting
    }

    /// Gives up the holes whose time has run out. Their numbers are to be nacked before a mark passes them, and
    /// [`Source::to_saved`] is to be written.
    pub fn close_due(&mut self, now: MachineTime, rules: &Rules) -> Vec<ClosedHole> {
        self.count(now);
        let mut closed = Vec::new();
        for epoch in self.epochs.iter_mut().filter(|epoch| !epoch.clocks.is_empty()) {
            for gap in epoch.run_out(now, rules.window_ms) {
                epoch.close(gap);
                closed.push(ClosedHole { epoch: Arc::clone(&epoch.name), gap });
            }
        }
        self.counters.holes_closed += closed.len() as u64;
        self.unsaved |= !closed.is_empty();
        closed
    }

    /// When [`Source::close_due`] has something to do, if nothing else happens.
    pub fn next_deadline(&self, rules: &Rules) -> Option<MachineTime> {
        let due = |epoch: &Epoch| epoch.next_due(self.counted_until, self.connected, rules.window_ms);
        self.epochs.iter().filter_map(due).min()
    }

    /// Whether something that no batch head tells has changed since [`Source::to_saved`]: a hole was given up, a sparse
    /// source's batch was refused.
    pub fn unsaved(&self) -> bool {
        self.unsaved
    }

    /// Whether a hole is open.
    pub fn has_timer(&self) -> bool {
        self.epochs.iter().any(|epoch| !epoch.clocks.is_empty())
    }

    /// Whether [`Source::to_saved`] belongs into the save of each batch: for the clock of a hole; or for the refused batches
    /// that this one may pass over, since the row that first told of them may not have been taken.
    pub fn is_told_by_row(&self, epoch: &str) -> bool {
        self.has_timer() || self.unsaved || self.awaited.any_of(epoch)
    }

    /// Whether a batch that is to be taken would pass over a refused one of its epoch. It is never to be saved without the row
    /// that tells of that: after a restart, nothing would.
    pub fn would_pass_over(&self, head: &BatchHead) -> bool {
        let complete = self.find(&head.epoch).map_or(0, |index| self.epochs[index].durable.complete_batch());
        self.awaited.would_pass_over(head, complete)
    }

    /// Whether it may leave memory: all is in the control row, once that is in the journal.
    pub fn is_at_rest(&self) -> bool {
        self.held.is_empty() && !self.unsaved
    }

    /// A control row may not have come into the journal, alone or with a batch. What a batch's head tells is not lost by that.
    pub fn row_lost(&mut self) {
        self.unsaved |= !self.awaited.is_empty() || self.epochs.iter().any(|epoch| !epoch.closed.is_empty());
    }

    /// The highest accepted batch with no open hole below it, or the base. `None`: the epoch is not known, so that its
    /// base is what its producer claims.
    pub fn resume_number(&self, epoch: &str) -> Option<u64> {
        let index = self.find(epoch)?;
        self.epochs[index].opened.then(|| self.epochs[index].durable.complete_batch())
    }

    /// The highest batch that is in the lake with all below it. `None`: nothing of the epoch is.
    pub fn mark(&self, epoch: &str) -> Option<u64> {
        if mutant!(MarkOfDurable) {
            return self.resume_number(epoch);
        }
        self.find(epoch).and_then(|index| self.epochs[index].mark)
    }

    /// Batches (first, last) that were given up, above the first number and not above the second: they are to be nacked
    /// before a mark, a cumulative ack or an `ok` moves from the first number to the second. Of a sparse source also those
    /// that were refused, and whose number is passed: their events may still come under others.
    pub fn closed_batches(&self, epoch: &str, above: u64, through: u64) -> Vec<(u64, u64)> {
        let Some(index) = self.find(epoch).filter(|_| !mutant!(ClosedHoleUnnamed)) else { return Vec::new() };
        let Epoch { closed, durable, .. } = &self.epochs[index];
        let passed = self.awaited.numbers(epoch, durable.complete_batch()).map(|number| (number, number));
        let between = closed.batches().chain(passed).filter(|(first, last)| *last > above && *first <= through);
        let in_order: BTreeSet<(u64, u64)> = between.collect();
        in_order.into_iter().collect()
    }

    /// Durable batches below the first hole of their epoch, in the order in which their events take effect.
    #[cfg(test)]
    pub fn flushable(&self) -> Vec<Place> {
        let below_holes = self.epochs.iter().flat_map(Epoch::below_hole);
        below_holes.filter(|place| self.held[place].saving == Saving::Applied).collect()
    }

    /// Where a batch stands in the order in which events take effect, if it is among [`Source::flushable`].
    pub fn flushable_at(&self, place: Place) -> Option<(usize, u64, Place)> {
        let held = self.held.get(&place).filter(|held| held.saving == Saving::Applied)?;
        let below_hole = held.head.first < self.epochs[held.epoch].durable.complete_end() || mutant!(FlushAboveHole);
        // Of a batch that was cut anew, what came before takes effect with the batches that brought it.
        let counts_from = held.head.counts_from().unwrap_or(held.head.first);
        below_hole.then_some((held.epoch, counts_from, place))
    }

    /// All batches in the journal or on their way there, by place.
    pub fn heads(&self) -> impl Iterator<Item = &BatchHead> {
        self.held.values().map(|held| &held.head)
    }

    /// Bytes that wait behind holes.
    pub fn hole_bytes(&self) -> u64 {
        self.epochs.iter().map(|epoch| epoch.waiting_bytes).sum()
    }

    /// The open holes, by epoch and event.
    pub fn holes(&self) -> Vec<Hole> {
        let of_epoch = |epoch: &Epoch| -> Vec<Hole> {
            let holes = epoch.durable.holes().zip(epoch.clocks.iter());
            let hole = |(gap, clock): (Gap, &holes::HoleClock)| Hole {
                epoch: Arc::clone(&epoch.name),
                gap,
                connected_ms: clock.connected_ms,
                away_ms: clock.away_ms,
            };
            holes.map(hole).collect()
        };
        self.epochs.iter().flat_map(of_epoch).collect()
    }

    /// Names of the epochs, oldest first; the last is the current one.
    pub fn epochs(&self) -> impl Iterator<Item = &str> {
        self.epochs.iter().map(|epoch| &*epoch.name)
    }

    /// What was counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    fn find(&self, epoch: &str) -> Option<usize> {
        self.epochs.iter().rposition(|known| &*known.name == epoch)
    }

    /// The newest epoch, if it is newer than this one and will be there after a restart.
    fn newer_than(&self, index: usize) -> Option<&Epoch> {
        let opened = self.epochs.iter().rposition(|epoch| epoch.opened);
        opened.filter(|newest| index < *newest).map(|newest| &self.epochs[newest])
    }

    /// Lets the clocks count until now.
    fn count(&mut self, now: MachineTime) {
        let from = self.counted_until;
        if now > from {
            for epoch in self.epochs.iter_mut().filter(|epoch| !epoch.clocks.is_empty()) {
                epoch.clocks.count(from, now, self.connected);
            }
            self.counted_until = now;
        }
    }
}
