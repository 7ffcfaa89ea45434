//! Random histories: producers that send, lose, repeat and renumber; saves that fail or are confirmed late; flushes,
//! holes that close, epochs that end, and restarts at any moment. A model keeps the truth about every event.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::lab::{Sent, events, nothing_parked, rules};
use crate::ingest::source::{Arrival, BatchHead, Opening, Place, Refusal, Rules, SavedSource, Source, Take, Verdict};
use crate::time::MachineTime;

#[derive(Debug, Clone)]
enum Act {
    /// A new batch: how far its number and its events jump, how many events, and whether it gets lost on its way.
    Send {
        number_step: u64,
        jump: u64,
        count: u64,
        lost: bool,
    },
    /// A batch of the past once more.
    Repeat(prop::sample::Index),
    /// The producer numbers anew what it sent since one of its events, in batches of so many events.
    Renumber {
        from: prop::sample::Index,
        count: usize,
        batches: usize,
    },
    /// The source starts over.
    NewEpoch,
    /// A save is confirmed.
    Confirm(prop::sample::Index),
    /// A save fails.
    Fail(prop::sample::Index),
    /// Some of what can be flushed is; the transaction may fail.
    Flush {
        share: usize,
        succeeds: bool,
    },
    /// Time passes.
    Pass(u64),
    Connected(bool),
    /// The machine refuses a batch of the past.
    Refuse(prop::sample::Index),
    /// A restart; pending saves took effect up to the given one.
    Restart(prop::sample::Index),
}

fn act() -> impl Strategy<Value = Act> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        8 => (1_u64..3, 0_u64..2, 1_u64..5, prop::bool::weighted(0.3))
            .prop_map(|(number_step, jump, count, lost)| Act::Send { number_step, jump, count, lost }),
        4 => index().prop_map(Act::Repeat),
        1 => (index(), 1_usize..6, 1_usize..5)
            .prop_map(|(from, count, batches)| Act::Renumber { from, count, batches }),
        1 => Just(Act::NewEpoch),
        8 => index().prop_map(Act::Confirm),
        2 => index().prop_map(Act::Fail),
        3 => (1_usize..4, prop::bool::weighted(0.8)).prop_map(|(share, succeeds)| Act::Flush { share, succeeds }),
        2 => (0_u64..400_000).prop_map(Act::Pass),
        1 => any::<bool>().prop_map(Act::Connected),
        1 => index().prop_map(Act::Refuse),
        2 => index().prop_map(Act::Restart),
    ]
}

/// A batch as its producer made it.
#[derive(Debug, Clone)]
struct Made {
    epoch: usize,
    number: u64,
    events: Vec<u64>,
    hash: u128,
}

/// An event of an epoch.
type EventKey = (usize, u64);

struct World {
    epoch_names: Vec<String>,
    sparse: bool,
    /// All batches that a producer ever made.
    made: Vec<Made>,
    /// Events of the current epoch, and its highest batch number.
    sequence: Vec<u64>,
    number: u64,
    source: Source,
    rules: Rules,
    now: MachineTime,
    next_place: Place,
    /// The journal: the row, the heads, and what is being written.
    row: Option<SavedSource>,
    heads: BTreeMap<Place, BatchHead>,
    pending: BTreeMap<Place, BatchHead>,
    /// By whom each event was taken, durably or not.
    taken: BTreeMap<EventKey, Place>,
    /// Last event of each batch that was accepted.
    last_of: BTreeMap<(usize, u64), u64>,
    /// In the lake.
    lake: BTreeSet<EventKey>,
    closed: BTreeSet<EventKey>,
}

impl World {
    fn new(sparse: bool, named: bool) -> World {
        let epoch_names = vec![if named { "first".to_owned() } else { String::new() }];
        let mut source = Source::new();
        source.set_connected(true, MachineTime(0));
        World {
            epoch_names,
            sparse,
            made: Vec::new(),
            sequence: Vec::new(),
            number: 0,
            source,
            rules: Rules { max_hole_bytes: 100_000, ..rules() },
            now: MachineTime(0),
            next_place: 1,
            row: None,
            heads: BTreeMap::new(),
            pending: BTreeMap::new(),
            taken: BTreeMap::new(),
            last_of: BTreeMap::new(),
            lake: BTreeSet::new(),
            closed: BTreeSet::new(),
        }
    }

    fn epoch(&self) -> usize {
        self.epoch_names.len() - 1
    }

    fn make(&mut self, events: Vec<u64>) -> usize {
        let hash = self.made.len() as u128;
        self.made.push(Made { epoch: self.epoch(), number: self.number, events, hash });
        self.made.len() - 1
    }

    fn act(&mut self, act: &Act) {
        match act {
            Act::Send { number_step, jump, count, lost } => {
                self.number += number_step;
                let first = self.sequence.last().map_or(1, |last| last + 1) + jump;
                let events: Vec<u64> = (first..first + count).collect();
                self.sequence.extend(&events);
                let made = self.make(events);
                if !lost {
                    self.deliver(made);
                }
            }
            Act::Repeat(index) => {
                if !self.made.is_empty() {
                    self.deliver(index.index(self.made.len()));
                }
            }
            Act::Renumber { from, count, batches } => {
                if !self.sequence.is_empty() {
                    self.renumber(from.index(self.sequence.len()), *count, *batches);
                }
            }
            Act::NewEpoch => {
                self.epoch_names.push(format!("epoch {}", self.epoch_names.len()));
                self.sequence.clear();
                self.number = 0;
            }
            Act::Confirm(index) => {
                if !self.pending.is_empty() {
                    // Mostly the oldest.
                    let rank = index.index(self.pending.len() * 2).saturating_sub(self.pending.len());
                    self.confirm(rank);
                }
            }
            Act::Fail(index) => {
                if !self.pending.is_empty() {
                    let place = *self.pending.keys().nth(index.index(self.pending.len())).expect("in range");
                    self.lose(place);
                    self.source.forget(place, self.now);
                }
            }
            Act::Flush { share, succeeds } => self.flush(*share, *succeeds),
            Act::Pass(ms) => self.pass(*ms),
            Act::Connected(connected) => self.source.set_connected(*connected, self.now),
            Act::Refuse(index) => {
                // A sparse producer is served only if it obeys, which this one does not.
                if !self.made.is_empty() && !self.sparse {
                    let made = &self.made[index.index(self.made.len())];
                    let events = events(made.events.iter().copied());
                    let epoch = &self.epoch_names[made.epoch];
                    let refused = super::super::Refused {
                        epoch,
                        number: Some(made.number),
                        events: Some(&events),
                        after: 0,
                        retry: true,
                        sparse: self.sparse,
                    };
                    self.source.refused(&refused, self.now, &self.rules);
                }
            }
            Act::Restart(index) => self.restart(index.index(self.pending.len() + 1)),
        }
        if self.source.unsaved() {
            self.row = Some(self.source.to_saved(self.now));
        }
    }

    fn confirm(&mut self, rank: usize) {
        let place = *self.pending.keys().nth(rank).expect("in range");
        let head = self.pending.remove(&place).expect("it is there");
        self.heads.insert(place, head);
        self.source.durable(place, self.now);
    }

    fn confirm_all(&mut self) {
        while !self.pending.is_empty() {
            self.confirm(0);
        }
    }

    fn renumber(&mut self, from: usize, count: usize, batches: usize) {
        let again: Vec<u64> = self.sequence[from..].to_vec();
        for events in again.chunks(count).take(batches) {
            self.number += 1;
            let made = self.make(events.to_vec());
            self.deliver(made);
        }
        // What it did not get to is sent with the next numbers, as nothing follows before it.
        for events in again.chunks(count).skip(batches) {
            self.number += 1;
            self.make(events.to_vec());
        }
    }

    fn deliver(&mut self, index: usize) {
        self.note_closed();
        let made = self.made[index].clone();
        let name = self.epoch_names[made.epoch].clone();
        let sent = Sent {
            epoch: &name,
            number: made.number,
            first: made.events[0],
            last: *made.events.last().expect("not empty"),
            hash: made.hash,
            conn: None,
            is_numbered: true,
            opening: Opening { base: 0, sparse: self.sparse },
        };
        let views = events(made.events.iter().copied());
        let arrival = Arrival {
            place: self.next_place,
            epoch: sent.epoch,
            number: sent.number,
            is_numbered: true,
            events: &views,
            hash: sent.hash,
            bytes: 100,
            conn: sent.conn,
            opening: sent.opening,
        };
        match self.source.arrive(&arrival, self.now, &self.rules) {
            Verdict::Take(take) => self.take(&made, take),
            Verdict::Duplicate { .. } => {
                for event in &made.events {
                    let place = self.taken.get(&(made.epoch, *event));
                    let durable = place.is_some_and(|place| !self.pending.contains_key(place));
                    // A sparse or renumbered event that was passed over is no longer told from one that never was.
                    assert!(durable || self.sparse, "{made:?} is called a duplicate, but {event} was not accepted");
                }
            }
            Verdict::Wait { place } => assert!(self.pending.contains_key(&place), "{made:?} waits for {place}"),
            Verdict::Refuse(refusal) => self.check_refusal(&made, &refusal),
        }
    }

    fn take(&mut self, made: &Made, take: Take) {
        let place = self.next_place;
        self.next_place += 1;
        let mut processed = 0;
        for event in &made.events {
            let counts = |taken: &Vec<(u64, u64)>| taken.iter().any(|(from, to)| (*from..=*to).contains(event));
            if take.head.taken.as_ref().is_none_or(counts) {
                let former = self.taken.insert((made.epoch, *event), place);
                assert_eq!(former, None, "event {event} of {made:?} is taken twice");
                assert!(!self.closed.contains(&(made.epoch, *event)), "{event} was given up");
                processed += 1;
            }
        }
        assert_eq!((take.processed, take.repeats), (processed, made.events.len() as u64 - processed));
        self.last_of.insert((made.epoch, made.number), take.head.last);
        self.pending.insert(place, take.head.clone());
        self.source.issued(take);
    }

    fn check_refusal(&self, made: &Made, refusal: &Refusal) {
        let closed = |event: &u64| self.closed.contains(&(made.epoch, *event));
        match refusal {
            Refusal::InClosedHole { event, .. } => assert!(closed(event), "{event} of {made:?} was not given up"),
            Refusal::Fenced { by, .. } => assert_ne!(*by, self.epoch_names[made.epoch], "{made:?}"),
            Refusal::CoveredWithoutEpoch { .. } => assert!(self.epoch_names[made.epoch].is_empty()),
            Refusal::NumberTaken { .. } => panic!("{made:?}: this producer never gives a number twice"),
            Refusal::NumberPassed { complete, .. } => assert!(made.number <= *complete),
            Refusal::BehindHole { .. }
            | Refusal::TooManyHoles { .. }
            | Refusal::TooManyClosed { .. }
            | Refusal::TooManyEpochs { .. }
            | Refusal::TooManyPieces { .. }
            | Refusal::Unnumbered { .. }
            | Refusal::AwaitsRefused { .. }
            | Refusal::TooManyAwaited { .. }
            | Refusal::OtherConnection { .. } => panic!("{made:?}: {refusal}"),
        }
    }

    /// A pending batch never was.
    fn lose(&mut self, place: Place) {
        self.pending.remove(&place);
        self.taken.retain(|_, by| *by != place);
    }

    fn flush(&mut self, share: usize, succeeds: bool) {
        let flushable = self.source.flushable();
        let places: Vec<Place> = flushable.iter().copied().filter(|place| place % 3 < share as u64).collect();
        let row = self.source.saved_after_release(&places, nothing_parked, self.now, &self.rules);
        if succeeds {
            self.source.released(&places, nothing_parked, self.now, &self.rules);
            self.row = Some(row);
            for place in &places {
                self.heads.remove(place);
                self.lake.extend(self.taken.iter().filter(|(_, by)| *by == place).map(|(event, _)| *event));
            }
        }
    }

    fn pass(&mut self, ms: u64) {
        self.now = self.now.after_ms(ms);
        self.source.close_due(self.now, &self.rules);
        self.row = Some(self.source.to_saved(self.now));
        let more = self.source.close_due(self.now, &self.rules);
        assert_eq!(more, [], "what is due is closed at once");
    }

    /// Pending saves below the given rank took effect, the others did not.
    fn restart(&mut self, kept: usize) {
        let lost: Vec<Place> = self.pending.keys().copied().skip(kept).collect();
        for place in lost {
            self.lose(place);
            self.source.forget(place, self.now);
        }
        self.confirm_all();
        let restored = Source::restore(self.row.clone(), self.heads.values().cloned(), self.now);
        assert_eq!(seen(&restored), seen(&self.source), "a restart is not to be seen");
        self.source = restored;
    }

    /// Follows what the source has given up. It is never taken back.
    fn note_closed(&mut self) {
        for (epoch, name) in self.epoch_names.iter().enumerate() {
            let known = self.source.find(name).map(|index| &self.source.epochs[index]);
            for (first, last) in known.into_iter().flat_map(|state| state.closed.events()) {
                let taken = self.taken.range((epoch, first)..=(epoch, last)).next();
                assert_eq!(taken, None, "an event was taken and given up");
                self.closed.extend((first..=last).map(|event| (epoch, event)));
            }
        }
    }

    fn check(&mut self) {
        self.note_closed();
        for (epoch, name) in self.epoch_names.iter().enumerate() {
            let Some(index) = self.source.find(name) else { continue };
            let state = &self.source.epochs[index];
            let mut complete: BTreeSet<u64> = BTreeSet::new();
            for made in self.made.iter().filter(|made| made.epoch == epoch) {
                complete.extend(made.events.iter().filter(|event| **event < state.durable.complete_end()));
            }
            for event in complete {
                let key = (epoch, event);
                let durable = self.taken.get(&key).is_some_and(|place| !self.pending.contains_key(place));
                let settled = durable || self.closed.contains(&key) || self.sparse;
                assert!(settled, "event {event} of {name:?} is below the resume point, but nobody has it");
            }
            let waiting: u64 = state
                .by_event
                .iter()
                .filter(|((first, _), _)| *first >= state.all.complete_end())
                .map(|(_, waiting)| waiting.bytes)
                .sum();
            assert_eq!(state.waiting_bytes, waiting);
            if let Some(mark) = state.mark {
                assert!(mark <= state.durable.complete_batch(), "the mark {mark} is above the resume number");
                let last = self.last_of[&(epoch, mark)];
                let below = self.taken.range((epoch, 0)..=(epoch, last)).map(|(event, _)| *event);
                let missing: Vec<EventKey> = below.filter(|event| !self.lake.contains(event)).collect();
                assert_eq!(missing, [], "the mark {mark} passes what is not in the lake");
                let waiting = self.heads.values().filter(|head| &*head.epoch == name && head.number <= mark);
                let waiting: Vec<u64> = waiting.map(|head| head.number).collect();
                assert!(waiting.is_empty(), "the mark {mark} passes batches {waiting:?} that wait");
            }
        }
    }
}

/// All that a source shows, but for what may be lost: how long holes have waited since the last save, and counts.
fn seen(source: &Source) -> String {
    let holes: Vec<_> = source.holes().into_iter().map(|hole| (hole.epoch, hole.gap)).collect();
    let heads: Vec<_> = source.held.values().collect();
    let epochs: Vec<_> = source
        .epochs
        .iter()
        .map(|e| (&e.name, e.opening, &e.durable, &e.all, &e.closed, &e.by_event, e.waiting_bytes, e.mark, &e.unmarked))
        .collect();
    let known: Vec<_> = source.known.released().collect();
    format!("{holes:#?}\n{heads:#?}\n{epochs:#?}\n{known:#?}\n{:#?}\n{:?}", source.flushable(), source.awaited)
}

fn check_history(sparse: bool, named: bool, acts: &[Act]) {
    let mut world = World::new(sparse, named);
    for act in acts {
        world.act(act);
        world.check();
    }
    // All faults stop: what is still being written is confirmed, all is sent again, holes run out, all is flushed.
    world.confirm_all();
    let epoch = world.epoch();
    for index in 0..world.made.len() {
        if world.made[index].epoch == epoch {
            world.deliver(index);
            world.confirm_all();
        }
    }
    world.check();
    world.pass(10_000_000);
    world.pass(10_000_000);
    assert_eq!(world.source.holes(), []);
    world.flush(3, true);
    world.check();
    assert_eq!(world.source.heads().count(), 0, "all that was accepted is in the lake");
    let accepted: BTreeSet<EventKey> = world.taken.keys().copied().collect();
    assert_eq!(accepted, world.lake);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_event_counts_once_whatever_happens(acts in prop::collection::vec(act(), 1..80), named in any::<bool>()) {
        check_history(false, named, &acts);
    }

    #[test]
    fn sparse_events_count_once_whatever_happens(acts in prop::collection::vec(act(), 1..60)) {
        check_history(true, true, &acts);
    }
}
