//! How a batch that arrives is answered: the rules 1 to 4 of `promises`, "Sequences, duplicates and holes", in order.

use std::sync::Arc;

use super::epoch::Epoch;
use super::sparse::{AWAITED_MAX, Awaited, PASSED, UNNUMBERED_END, UNREAD_END};
use super::{BatchHead, Fingerprint, Opening, Place, Refusal, Saving, Source};
use crate::event::ConnId;
use crate::ingest::frontier::{Frontier, Gap};
use crate::limits::{CLOSED_RANGES_MAX, EPOCHS_PER_SOURCE_MAX, OPEN_HOLES_MAX, TAKEN_RANGES_MAX};
use crate::time::MachineTime;
use crate::wire::batch::EventView;

/// What of the settings decides here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// `enableDeduplication`.
    pub deduplicate: bool,
    /// `deduplicationWindowMs`: how long a hash is kept, and a hole stays open while its source is connected.
    pub window_ms: u64,
    /// `maxHoleBytes`: what one source may have waiting behind holes.
    pub max_hole_bytes: u64,
    /// What all sources together may still have waiting on top of what they have: half of `maxBufferSize`, less that.
    pub hole_room_bytes: u64,
    /// How long a refusal with retry stops the clock of the hole that begins with the batch, in milliseconds: by then
    /// its producer should have come back.
    pub refusal_pause_ms: u64,
}

/// A batch that arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival<'a> {
    /// The place it gets if it is taken; above all before it.
    pub place: Place,
    /// Its epoch.
    pub epoch: &'a str,
    /// Its number; without one, its last event's.
    pub number: u64,
    /// Whether it came with that.
    pub is_numbered: bool,
    /// At least one, rising. Only their numbers are looked at.
    pub events: &'a [EventView],
    /// Of its events.
    pub hash: u128,
    /// Its size in the journal, in bytes.
    pub bytes: u64,
    /// The connection it came on.
    pub conn: Option<ConnId>,
    /// How its epoch begins if this is its first batch: the `lastAckSequence` and `sparse` of its connection if that
    /// has connected for this source and epoch, else base 0; sparse if it has no number.
    pub opening: Opening,
}

/// A batch that the machine refused, for a reason of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused<'a> {
    /// Its epoch.
    pub epoch: &'a str,
    /// Its number. `None`: it has none, or it could not be read; then it is taken for the next.
    pub number: Option<u64>,
    /// The highest number of those that came before it and wait for their verdict; only looked at if it has no number.
    pub after: u64,
    /// Its events. `None`: they could not be read.
    pub events: Option<&'a [EventView]>,
    /// Whether it may come again.
    pub retry: bool,
    /// As in [`Opening::sparse`], for an epoch that is not known yet.
    pub sparse: bool,
}

/// What becomes of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is to be saved: then [`Source::issued`], and an ack when that is durable.
    Take(Take),
    /// Every event of it was accepted before: ack `duplicate`.
    Duplicate {
        /// It was too old to be compared.
        unverified: bool,
    },
    /// The answer depends on a batch that is being saved: it is to arrive again when that is durable or forgotten.
    Wait {
        /// That batch.
        place: Place,
    },
    /// Nack `invalid_sequence`.
    Refuse(Refusal),
}

/// A batch that is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Take {
    /// For the journal.
    pub head: BatchHead,
    /// Events that count. With none the batch is saved for its number only, and its ack is `duplicate`.
    pub processed: u64,
    /// Events that were there before.
    pub repeats: u64,
    /// What lies below it.
    pub below: Below,
}

/// What lies below a batch in its epoch, as far as its flush waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Below {
    /// All that there is, in the journal or in the lake: it is ready once it is durable.
    Durable,
    /// A batch that is being saved: should that be lost, it lies behind a hole.
    Pending,
    /// An open hole.
    Hole,
}

/// A verdict, unless a save that is not decided could change it.
fn unless(pending: Option<Place>, verdict: Verdict) -> Verdict {
    pending.map_or(verdict, |place| Verdict::Wait { place })
}

/// The first and last event of a batch.
fn range_of(events: &[EventView]) -> (u64, u64) {
    let ends = events.first().zip(events.last()).map(|(first, last)| (first.sequence, last.sequence));
    ends.expect("a batch has at least one event")
}

/// The events of a range: first and last, both included.
fn within(events: &[EventView], (first, last): (u64, u64)) -> &[EventView] {
    let start = events.partition_point(|event| event.sequence < first);
    let end = events.partition_point(|event| event.sequence <= last);
    events.get(start..end).unwrap_or_default()
}

/// The first event of a batch that is not covered, and the last: what it repeats says nothing of where it belongs, and
/// there may be many numbers between. All but the last may be covered.
fn new_range(durable: Option<&Frontier>, events: &[EventView]) -> (u64, u64) {
    let (first, last) = range_of(events);
    let uncovered = durable.map_or_else(|| vec![(first, last)], |durable| durable.uncovered(first, last));
    let first_new = uncovered.iter().find_map(|range| within(events, *range).first());
    (first_new.map_or(last, |event| event.sequence), last)
}

impl Source {
    /// Answers a batch. Only [`Source::issued`] takes it up.
    pub fn arrive(&mut self, arrival: &Arrival<'_>, now: MachineTime, rules: &Rules) -> Verdict {
        self.count(now);
        if arrival.opening.sparse && self.find(arrival.epoch).is_none() && !mutant!(UnnamedBatchForgotten) {
            self.unsaved |= self.awaited.take_unnamed(arrival.epoch);
            self.make_room(now, rules);
        }
        let verdict = self.judge(arrival, now, rules);
        match &verdict {
            Verdict::Take(take) if mutant!(SeenBeforeBufferCheck) => {
                self.find(arrival.epoch).into_iter().for_each(|index| self.known.insert(index, &take.head));
            }
            Verdict::Take(_) | Verdict::Wait { .. } => {}
            Verdict::Duplicate { unverified } => {
                self.counters.duplicates += 1;
                self.counters.unverified += u64::from(*unverified);
            }
            Verdict::Refuse(refusal) => self.note_refusal(arrival, refusal, now, rules),
        }
        verdict
    }

    /// The machine refused a batch for a reason of its own: if with retry, the hole that begins with it stays open, and
    /// another closes below it. If its epoch is sparse, what follows has to wait.
    pub fn refused(&mut self, refused: &Refused<'_>, now: MachineTime, rules: &Rules) {
        self.count(now);
        let Refused { epoch: name, number, after, events, retry, sparse } = *refused;
        let index = self.find(name);
        if let Some(epoch) = index.map(|index| &mut self.epochs[index])
            && let Some(range) = events.filter(|_| retry).map(range_of)
        {
            epoch.expect(number.unwrap_or(range.1), range, now, now.after_ms(rules.refusal_pause_ms));
        }
        let known = index.map(|index| &self.epochs[index]);
        let is_over = index.is_some_and(|index| self.newer_than(index).is_some());
        if is_over || !known.map_or(sparse, |epoch| epoch.opening.sparse) {
            return;
        }
        let is_numbered = number.is_some();
        let before = known.map_or(0, |epoch| epoch.all.highest_batch()).max(after);
        let number = number.unwrap_or_else(|| before.max(self.awaited.highest(name)).saturating_add(1));
        if !retry && let Some(is_changed) = self.awaited.give_up(name, number) {
            self.unsaved |= is_changed;
            return;
        }
        let unread = (0, if is_numbered { UNREAD_END } else { UNNUMBERED_END });
        let may_hold = events.map_or(unread, range_of);
        let awaited = Awaited { epoch: name.into(), number, events: may_hold, since: now, given_up: !retry };
        if !(mutant!(UnreadBatchForgotten) && events.is_none()) {
            self.await_again(awaited, events, now, rules);
        }
    }

    /// Awaits a refused batch for those of its events that have not come. Without any it need not come. `read`: its events,
    /// if they could be read.
    fn await_again(&mut self, mut awaited: Awaited, read: Option<&[EventView]>, now: MachineTime, rules: &Rules) {
        // Not `all`: what is on its way to the journal may be lost.
        let durable = self.find(&awaited.epoch).map(|index| &self.epochs[index].durable);
        if durable.is_some_and(|durable| awaited.number <= durable.complete_batch()) {
            // Under this number it is refused for that when it comes; its events may come under another.
            if read.is_none() {
                return;
            }
            (awaited.number, awaited.given_up) = (PASSED, true);
        }
        let from = durable.map_or(0, Frontier::complete_end);
        awaited.events = read.map_or((from, awaited.events.1), |events| new_range(durable, events));
        if awaited.events.1 < from {
            self.unsaved |= awaited.number != PASSED && self.awaited.remove(&awaited.epoch, awaited.number);
            return;
        }
        self.awaited.insert(awaited);
        self.unsaved = true;
        self.make_room(now, rules);
    }

    /// Gives up one of the refused batches, if too many are awaited.
    fn make_room(&mut self, now: MachineTime, rules: &Rules) {
        let is_open = |name: &str| self.epochs.iter().any(|epoch| epoch.opened && *epoch.name == *name);
        let is_coming = |awaited: &Awaited| {
            let unapplied = self.held.range(self.unapplied_from..);
            let mut heads = unapplied.map(|(_, held)| &held.head);
            heads.any(|head| *head.epoch == *awaited.epoch && head.number == awaited.number)
        };
        let gone = |awaited: &Awaited| !awaited.blocks(now, rules.window_ms) && !is_coming(awaited);
        let dropped = self.awaited.make_room(gone, is_open).filter(gone);
        if let Some(dropped) = dropped {
            self.give_up(&dropped);
        }
    }

    /// A refused batch will never come: as if a later one had passed over it.
    fn give_up(&mut self, awaited: &Awaited) {
        let Some(index) = self.find(&awaited.epoch) else { return };
        if self.epochs[index].closed.len() >= CLOSED_RANGES_MAX {
            // Nothing of its epoch is taken any more that could pass over it.
            return;
        }
        let batches = awaited.is_numbered().then_some((awaited.number, awaited.number));
        // What others hold, too, may still come with them.
        let (first, last) = self.awaited.own_events(awaited);
        if !awaited.is_unread() && first <= last {
            self.pass_over(index, Gap { events: (first, last), batches });
        } else if let Some((number, _)) = batches {
            self.epochs[index].closed.insert_batch(number);
        }
    }

    /// Sparse: the refused batch that has to come before this one, and has not.
    fn blocked_by(&self, epoch: &str, number: u64, now: MachineTime, rules: &Rules) -> Option<&Awaited> {
        let index = self.find(epoch);
        let has_come = |number| index.is_some_and(|index| self.known.get((index, number)).is_some());
        self.awaited.before((epoch, number), (now, rules.window_ms), has_come)
    }

    fn judge(&self, arrival: &Arrival<'_>, now: MachineTime, rules: &Rules) -> Verdict {
        let index = self.find(arrival.epoch);
        if index.is_none() && self.epochs.len() >= EPOCHS_PER_SOURCE_MAX {
            // Should the save that begins the last of them be lost, there is room.
            let is_full = self.epochs.iter().all(|epoch| epoch.opened);
            let refusal = Refusal::TooManyEpochs { limit: EPOCHS_PER_SOURCE_MAX };
            return unless(self.last_pending().filter(|_| !is_full), Verdict::Refuse(refusal));
        }
        let fresh;
        let epoch = match index {
            Some(index) => &self.epochs[index],
            None => {
                let base = arrival.opening.base.min(arrival.number.saturating_sub(1));
                fresh = Epoch::new(arrival.epoch.into(), Opening { base, ..arrival.opening });
                &fresh
            }
        };
        let case = Case { source: self, arrival, range: range_of(arrival.events), index, epoch, now, rules };
        if mutant!(HighestSequenceDedup) && index.is_some() && arrival.number <= epoch.durable.highest_batch() {
            return Verdict::Duplicate { unverified: false };
        }
        if index.is_some() && !arrival.is_numbered && !epoch.opening.sparse {
            // Should the save that begins it be lost, it may begin otherwise.
            let refusal = Refusal::Unnumbered { epoch: arrival.epoch.to_owned() };
            return unless(self.last_pending().filter(|_| !epoch.opened), Verdict::Refuse(refusal));
        }
        if !rules.deduplicate {
            return case.wait_if_sparse().unwrap_or_else(|| case.take(None));
        }
        case.rule_1_known_number()
            .or_else(|| case.rule_2_closed_hole())
            .unwrap_or_else(|| case.rules_3_and_4_coverage())
    }

    fn note_refusal(&mut self, arrival: &Arrival<'_>, refusal: &Refusal, now: MachineTime, rules: &Rules) {
        let (first_event, last_event) = range_of(arrival.events);
        self.counters.refused_closed += u64::from(matches!(refusal, Refusal::InClosedHole { .. }));
        let (index, number) = (self.find(arrival.epoch), arrival.number);
        if refusal.retry() {
            let until = now.after_ms(rules.refusal_pause_ms);
            if let Some(index) = index {
                self.epochs[index].expect(number, (first_event, last_event), now, until);
            }
        }
        let awaited = Awaited {
            epoch: arrival.epoch.into(),
            number,
            events: (first_event, last_event),
            since: now,
            given_up: !refusal.retry(),
        };
        if !refusal.retry() {
            // What it holds beside that for which it is refused was never taken: a later batch passes over it.
            let is_sparse =
                index.is_some_and(|index| self.epochs[index].opening.sparse && self.newer_than(index).is_none());
            if let Some(is_changed) = self.awaited.give_up(arrival.epoch, number) {
                self.unsaved |= is_changed;
            } else if is_sparse {
                self.await_again(awaited, Some(arrival.events), now, rules);
            }
        } else if matches!(refusal, Refusal::AwaitsRefused { .. })
            && !mutant!(SparseAwaitsLowest)
            && let Some(first) = self.blocked_by(arrival.epoch, number, now, rules)
        {
            // Its producer may send others before it has read this nack: they must not pass over it. Its time began with the
            // one that it waits for, so that sources which give up what is refused are not refused for ever.
            let since = first.since;
            self.await_again(Awaited { since, ..awaited }, Some(arrival.events), now, rules);
        }
    }

    /// The last batch of the source whose save is not decided.
    fn last_pending(&self) -> Option<Place> {
        let unapplied = self.held.range(self.unapplied_from..);
        unapplied.rev().find(|(_, held)| held.saving == Saving::Pending).map(|(place, _)| *place)
    }
}

/// A batch before its judge.
struct Case<'a> {
    source: &'a Source,
    arrival: &'a Arrival<'a>,
    range: (u64, u64),
    /// Of its epoch in the source, unless that is unseen.
    index: Option<usize>,
    /// As it is, or as it would begin.
    epoch: &'a Epoch,
    now: MachineTime,
    rules: &'a Rules,
}

impl Case<'_> {
    fn rule_1_known_number(&self) -> Option<Verdict> {
        let Arrival { number, hash, .. } = *self.arrival;
        let known = self.index.and_then(|index| self.source.known.get((index, number)))?;
        let held = known.place.and_then(|place| self.source.held.get(&place));
        let held = held.filter(|_| !mutant!(DuplicateBeforeDurable));
        if let Some(held) = held.filter(|held| held.saving == Saving::Pending) {
            return Some(Verdict::Wait { place: held.head.place });
        }
        let accepted = (known.first, known.last);
        let same_events = known.hash == Fingerprint::of(hash) || mutant!(ImpostorCalledDuplicate);
        if accepted == self.range && same_events {
            return Some(Verdict::Duplicate { unverified: false });
        }
        Some(Verdict::Refuse(Refusal::NumberTaken { number, known: accepted, got: self.range }))
    }

    fn rule_2_closed_hole(&self) -> Option<Verdict> {
        if self.epoch.closed.is_empty() || mutant!(ClosedRangeForgotten) {
            return None;
        }
        let closed = |event: &EventView| self.epoch.closed.find(event.sequence).map(|range| (event.sequence, range));
        let (event, closed) = self.arrival.events.iter().find_map(closed)?;
        Some(Verdict::Refuse(Refusal::InClosedHole { number: self.arrival.number, event, closed }))
    }

    fn rules_3_and_4_coverage(&self) -> Verdict {
        let (first, last) = self.range;
        let uncovered = self.epoch.all.uncovered(first, last);
        if uncovered == [self.range] {
            return self.judge_new(first, None);
        }
        if uncovered != self.epoch.durable.uncovered(first, last) {
            let place = self.source.last_pending();
            return Verdict::Wait { place: place.expect("what is covered and not durable is pending") };
        }
        match uncovered.iter().find_map(|range| within(self.arrival.events, *range).first()) {
            None => self.judge_covered(),
            Some(event) => self.judge_new(event.sequence, Some(uncovered.as_slice())),
        }
    }

    /// Rule 4: all of it is covered, and it cannot be compared.
    fn judge_covered(&self) -> Verdict {
        let Arrival { number, epoch, .. } = *self.arrival;
        if epoch.is_empty() {
            let (first, last) = self.range;
            let resume = self.epoch.durable.complete_batch();
            return Verdict::Refuse(Refusal::CoveredWithoutEpoch { number, first, last, resume });
        }
        if !self.is_current() {
            return unless(self.pending_newer(), Verdict::Duplicate { unverified: true });
        }
        // It was named as given up before its events were known: others cover them, and nothing says that they came.
        if self.epoch.opening.sparse && self.epoch.closed.has_batch(number) {
            let (first, last) = self.range;
            return Verdict::Refuse(Refusal::InClosedHole { number, event: first, closed: (first, last) });
        }
        if number <= self.epoch.all.complete_batch() {
            // Should what is being saved be lost, its number has to be kept.
            return unless(self.pending_below(number), Verdict::Duplicate { unverified: true });
        }
        // Its number is kept, though none of its events is: a hole may wait for just that number.
        let is_new = number > self.epoch.all.highest_batch();
        let is_sparse = self.epoch.opening.sparse;
        let refusal = if is_sparse { self.refuse_for_sparse() } else { self.refuse_for_hole().filter(|_| is_new) };
        match refusal {
            Some(refusal) => Verdict::Refuse(refusal),
            None => self.wait_if_sparse().unwrap_or_else(|| self.take(Some(Vec::new()))),
        }
    }

    /// A sparse batch covers what the one before holds, in events or in numbers, and that one may yet be lost: no hole would
    /// tell.
    fn wait_if_sparse(&self) -> Option<Verdict> {
        let is_sparse = self.epoch.opening.sparse && !mutant!(SparseSavesTogether);
        self.source.last_pending().filter(|_| is_sparse).map(|place| Verdict::Wait { place })
    }

    /// Rule 3: it brings events that are not covered, `event` being the first. `uncovered` where that is not all.
    fn judge_new(&self, event: u64, uncovered: Option<&[(u64, u64)]>) -> Verdict {
        let Arrival { number, .. } = *self.arrival;
        if !self.is_current() {
            return self.judge_fenced(event);
        }
        if self.index.is_some() && number <= self.epoch.all.complete_batch() {
            let complete = self.epoch.durable.complete_batch();
            return unless(
                self.pending_below(number),
                Verdict::Refuse(Refusal::NumberPassed { number, complete, event }),
            );
        }
        let is_sparse = self.epoch.opening.sparse;
        let refusal = if is_sparse { self.refuse_for_sparse() } else { self.refuse_for_hole() };
        if let Some(refusal) = refusal {
            return Verdict::Refuse(refusal);
        }
        if let Some(verdict) = self.wait_if_sparse() {
            return verdict;
        }
        let taken = uncovered.and_then(|uncovered| taken_ranges(self.arrival.events, uncovered));
        if taken.as_ref().is_some_and(|taken| taken.len() > TAKEN_RANGES_MAX) {
            return Verdict::Refuse(Refusal::TooManyPieces { number, limit: TAKEN_RANGES_MAX });
        }
        self.take(taken)
    }

    /// What begins a newer epoch and is being saved: should it be lost, this epoch goes on.
    fn pending_newer(&self) -> Option<Place> {
        let is_over = self.index.is_some_and(|index| self.source.newer_than(index).is_some());
        self.source.last_pending().filter(|_| !is_over)
    }

    /// What is being saved without which a number that was passed is not passed.
    fn pending_below(&self, number: u64) -> Option<Place> {
        self.source.last_pending().filter(|_| number > self.epoch.durable.complete_batch())
    }

    /// New events of an epoch that is not the newest.
    fn judge_fenced(&self, event: u64) -> Verdict {
        let Arrival { number, epoch, .. } = *self.arrival;
        let newer = self.index.and_then(|index| self.source.newer_than(index));
        match newer {
            Some(newer) => {
                Verdict::Refuse(Refusal::Fenced { number, event, epoch: epoch.to_owned(), by: newer.name.to_string() })
            }
            None => {
                let place = self.source.last_pending();
                Verdict::Wait { place: place.expect("a newer epoch that is not opened has a pending batch") }
            }
        }
    }

    fn refuse_for_sparse(&self) -> Option<Refusal> {
        let Arrival { number, conn, .. } = *self.arrival;
        // Also where none has said `connect` in this life: what came before on this connection may have been lost with the
        // life before, and no number tells.
        if conn.is_some() && conn != self.source.sparse_conn && !mutant!(SparseSocketOutlives) {
            return Some(Refusal::OtherConnection { number });
        }
        if let Some(awaited) = self.source.blocked_by(&self.epoch.name, number, self.now, self.rules) {
            if self.source.awaited.is_full() {
                return Some(Refusal::TooManyAwaited { number, limit: AWAITED_MAX });
            }
            return Some(Refusal::AwaitsRefused { number, awaited: awaited.number });
        }
        let full = self.epoch.closed.len() >= CLOSED_RANGES_MAX;
        full.then_some(Refusal::TooManyClosed { number, limit: CLOSED_RANGES_MAX })
    }

    fn refuse_for_hole(&self) -> Option<Refusal> {
        if self.below() != Below::Hole || mutant!(HoleBytesUnlimited) {
            return None;
        }
        let Arrival { number, bytes, .. } = *self.arrival;
        let Rules { max_hole_bytes, hole_room_bytes, .. } = *self.rules;
        let waiting_bytes = self.source.hole_bytes();
        let awaited = self.epoch.all.complete_batch() + 1;
        let limit_bytes = max_hole_bytes.min(waiting_bytes.saturating_add(hole_room_bytes));
        if waiting_bytes.saturating_add(bytes) > limit_bytes {
            return Some(Refusal::BehindHole { number, awaited, waiting_bytes, limit_bytes });
        }
        let holes = self.epoch.all.hole_count();
        let opens_hole = !self.epoch.all.touches(number, self.range.0, &self.epoch.closed);
        if opens_hole && self.epoch.closed.len() + holes >= CLOSED_RANGES_MAX {
            return Some(Refusal::TooManyClosed { number, limit: CLOSED_RANGES_MAX });
        }
        (opens_hole && holes >= OPEN_HOLES_MAX).then_some(Refusal::TooManyHoles {
            number,
            awaited,
            limit: OPEN_HOLES_MAX,
        })
    }

    fn has_no_holes(&self) -> bool {
        self.epoch.opening.sparse || !self.rules.deduplicate
    }

    fn below(&self) -> Below {
        let (first, last) = self.range;
        let completes = |frontier: &Frontier| frontier.completes(self.arrival.number, first, last, &self.epoch.closed);
        if self.has_no_holes() {
            Below::Durable
        } else if !completes(&self.epoch.all) {
            Below::Hole
        } else if completes(&self.epoch.durable) {
            Below::Durable
        } else {
            Below::Pending
        }
    }

    /// Whether its epoch is the newest, or would be.
    fn is_current(&self) -> bool {
        mutant!(OldEpochTaken) || self.index.is_none_or(|index| index + 1 == self.source.epochs.len())
    }

    fn take(&self, taken: Option<Vec<(u64, u64)>>) -> Verdict {
        let Arrival { place, number, events, hash, bytes, .. } = *self.arrival;
        let count = |ranges: &Vec<(u64, u64)>| ranges.iter().map(|range| within(events, *range).len()).sum();
        let processed: usize = taken.as_ref().map_or(events.len(), count);
        let head = BatchHead {
            place,
            epoch: Arc::clone(&self.epoch.name),
            number,
            first: self.range.0,
            last: self.range.1,
            hash: Fingerprint::of(hash),
            // Of a batch of mere repeats no event is kept.
            bytes: if processed == 0 { 0 } else { bytes },
            taken,
            opening: (!self.epoch.opened).then_some(self.epoch.opening),
            no_holes: self.has_no_holes(),
            time: self.now,
        };
        let repeats = (events.len() - processed) as u64;
        Verdict::Take(Take { head, processed: processed as u64, repeats, below: self.below() })
    }
}

/// The event ranges that count: the uncovered parts, cut to events that are there. `None`: all events count.
fn taken_ranges(events: &[EventView], uncovered: &[(u64, u64)]) -> Option<Vec<(u64, u64)>> {
    let parts = uncovered.iter().map(|range| within(events, *range)).filter(|part| !part.is_empty());
    let parts: Vec<((u64, u64), usize)> = parts.map(|part| (range_of(part), part.len())).collect();
    let counted: usize = parts.iter().map(|(_, count)| count).sum();
    (counted < events.len()).then(|| parts.into_iter().map(|(range, _)| range).collect())
}
