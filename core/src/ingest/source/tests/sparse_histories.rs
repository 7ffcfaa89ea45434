//! Random histories of one sparse epoch, of a producer that keeps to no rule: batches that repeat others, or lie anywhere
//! among them, are refused, sent, forgotten, sent again. What of them is neither taken nor named would be lost in silence.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use proptest::prelude::*;

use super::lab::{Lab, Sent, batch};
use crate::ingest::source::{Opening, Place, Refused};

#[derive(Debug, Clone)]
enum Act {
    /// A batch is made, with a number and a first event so far above the highest, or below it, and so many events.
    Make { number: i64, first: i64, count: u64 },
    /// One that was made is sent; one of the last. Its save may take a while.
    Send { back: usize, is_slow: bool },
    /// The save that takes a while ends.
    Saved(bool),
    /// It is refused before its turn.
    Refuse { back: usize, retry: bool },
    /// It cannot be read when it comes.
    RefuseUnread { back: usize },
    /// Time passes.
    Pass(u64),
    /// A restart, after a flush or with the heads in the journal.
    Restart { flushed: bool },
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (-2_i64..5, -12_i64..12, 1_u64..8).prop_map(|(number, first, count)| Act::Make { number, first, count }),
        8 => (0_usize..4, prop::bool::weighted(0.3)).prop_map(|(back, is_slow)| Act::Send { back, is_slow }),
        3 => prop::bool::weighted(0.7).prop_map(Act::Saved),
        4 => (0_usize..4, prop::bool::weighted(0.8)).prop_map(|(back, retry)| Act::Refuse { back, retry }),
        2 => (0_usize..4).prop_map(|back| Act::RefuseUnread { back }),
        2 => (1_u64..400_000).prop_map(Act::Pass),
        1 => any::<bool>().prop_map(|flushed| Act::Restart { flushed }),
    ]
}

#[derive(Default)]
struct Model {
    /// First and last event by number.
    made: BTreeMap<u64, (u64, u64)>,
    /// Events that were taken, and those below them that no refused batch holds: their producer says that there are none.
    taken: BTreeSet<u64>,
    /// Batches that were refused before a mark could pass them, and did not come since.
    missing: BTreeSet<u64>,
    /// Those of them that could not be read.
    unread: BTreeSet<u64>,
    /// Events that were refused because their number is passed: they may come under another.
    passed: BTreeSet<u64>,
    /// What is on its way to the journal: its place and number.
    pending: Option<(Place, u64)>,
}

fn events_of((first, last): (u64, u64)) -> RangeInclusive<u64> {
    first..=last
}

/// Whether any event of a range was given up.
fn is_given_up(lab: &Lab, range: (u64, u64)) -> bool {
    events_of(range).any(|event| lab.source.epochs.iter().any(|epoch| epoch.closed.find(event).is_some()))
}

impl Model {
    /// The number of a batch, counted back from the highest.
    fn number(&self, back: usize) -> Option<u64> {
        self.made.keys().rev().nth(back).copied()
    }

    fn has_all_of(&self, range: (u64, u64)) -> bool {
        events_of(range).all(|event| self.taken.contains(&event))
    }

    fn make(&mut self, number: i64, first: i64, count: u64) {
        let highest = self.made.last_key_value().map_or(20, |(number, _)| *number);
        let end = self.made.values().map(|(_, last)| last + 1).max().unwrap_or(100);
        let number = highest.checked_add_signed(number).expect("above 0");
        let first = end.checked_add_signed(first).expect("above 0");
        self.made.entry(number).or_insert((first, first + count - 1));
    }

    /// A batch was refused. One that is below what was taken, by number or by its events, came out of order; and one with
    /// events that were given up has its producer ignore that.
    fn refused(&mut self, lab: &Lab, number: u64) {
        let events = self.made[&number];
        if lab.resume().is_some_and(|resume| number <= resume) {
            let complete = self.taken.last().copied().unwrap_or(0);
            self.passed.extend(events_of(events).filter(|event| *event > complete));
        }
        let is_above = self.taken.last().is_none_or(|taken| *taken < events.1);
        if is_above && lab.resume().is_none_or(|resume| resume < number) && !is_given_up(lab, events) {
            self.missing.insert(number);
        }
    }

    fn send(&mut self, lab: &mut Lab, number: u64, is_slow: bool) {
        let (first, last) = self.made[&number];
        let opening = Opening { base: 0, sparse: true };
        let resume = lab.resume();
        let (place, answer) = lab.issue(Sent { opening, ..batch("e", number, first, last) });
        if answer.starts_with("taken") {
            assert_eq!(self.pending.replace((place, number)), None, "another is on its way");
            if !is_slow {
                self.saved(lab, true);
            }
        } else if answer.starts_with("duplicate") {
            let is_missing = self.missing.remove(&number) && !self.has_all_of((first, last));
            assert!(!is_missing, "batch {number}, {first}..={last}, was refused, and is called a duplicate");
            let is_passed = events_of((first, last)).any(|event| self.passed.contains(&event));
            assert!(
                !is_passed || self.has_all_of((first, last)),
                "batch {number}, {first}..={last}, has events that were refused, and is called a duplicate"
            );
        } else if answer.starts_with("never: ") {
            self.refused(lab, number);
        } else if answer.contains("which was refused") {
            assert!(resume.is_none_or(|resume| number > resume));
            self.unread.remove(&number);
            self.refused(lab, number);
        }
    }

    fn saved(&mut self, lab: &mut Lab, is_saved: bool) {
        let Some((place, number)) = self.pending.take() else { return };
        if !is_saved {
            lab.source.forget(place, lab.now);
            return;
        }
        lab.source.durable(place, lab.now);
        let (first, last) = self.made[&number];
        self.missing.remove(&number);
        self.taken.extend(first..=last);
        // Of what could not be read nobody can know whether its events and its number are in another order.
        let (made, unread) = (&self.made, &self.unread);
        let is_in_order = |other: u64| if other < number { made[&other].1 < first } else { last < made[&other].0 };
        self.missing.retain(|other| !unread.contains(other) || is_in_order(*other));
        let missing: BTreeSet<u64> = self.missing.iter().flat_map(|other| events_of(self.made[other])).collect();
        self.taken.extend((0..first).filter(|event| !missing.contains(event) && !self.passed.contains(event)));
    }

    fn act(&mut self, lab: &mut Lab, act: &Act) {
        match *act {
            Act::Make { number, first, count } => self.make(number, first, count),
            Act::Send { back, is_slow } => {
                if let Some(number) = self.number(back) {
                    self.send(lab, number, is_slow);
                }
            }
            Act::Saved(is_saved) => self.saved(lab, is_saved),
            Act::Refuse { back, retry } => {
                if let Some(number) = self.number(back) {
                    lab.refuse(number, self.made[&number], retry);
                    if retry && lab.resume().is_none_or(|resume| resume < number) {
                        self.unread.remove(&number);
                    }
                    self.refused(lab, number);
                }
            }
            Act::RefuseUnread { back } => {
                if let Some(number) = self.number(back) {
                    let unread = Refused {
                        epoch: "e",
                        number: Some(number),
                        events: None,
                        after: 0,
                        retry: false,
                        sparse: true,
                    };
                    lab.source.refused(&unread, lab.now, &lab.rules);
                    if lab.resume().is_none_or(|resume| number > resume) {
                        self.refused(lab, number);
                    }
                    self.unread.insert(number);
                }
            }
            Act::Pass(ms) => {
                lab.pass(ms);
            }
            Act::Restart { flushed } => {
                self.saved(lab, false);
                if flushed {
                    lab.flush();
                } else {
                    lab.save();
                }
                lab.restart();
            }
        }
    }

    /// No mark passes what is missing without its name, and nothing is named that has come.
    fn check(&self, lab: &Lab) {
        let Some(resume) = lab.resume() else { return };
        let named: BTreeSet<u64> = lab.source.closed_batches("e", 0, u64::MAX).iter().map(|range| range.0).collect();
        for number in self.missing.range(..=resume) {
            let events = self.made[number];
            assert!(
                named.contains(number) || self.has_all_of(events),
                "batch {number}, {events:?}, is passed at {resume}; named are {named:?}"
            );
        }
        for number in &named {
            let events = self.made[number];
            assert!(
                self.unread.contains(number) || is_given_up(lab, events) || !self.has_all_of(events),
                "batch {number}, {events:?}, is named, and all of it has come"
            );
        }
    }
}

proptest! {
    #[test]
    fn no_batch_of_a_sparse_source_is_lost_in_silence(acts in prop::collection::vec(act(), 1..40)) {
        let (mut model, mut lab) = (Model::default(), Lab::new());
        for act in &acts {
            model.act(&mut lab, act);
            model.check(&lab);
        }
    }
}
