//! What one epoch of a source has covered so far, as runs of events without a hole between them.
//!
//! A frontier knows numbers, nothing of payloads, time or limits. It is built from the heads of accepted batches and
//! from closed ranges alone, so a restart that reads them back finds the same holes (`promises`, "Sequences,
//! duplicates and holes"). Where to read on: [`crate::ingest::source`] keeps three of them for each epoch.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// Events without a hole between them, and the batches at their two ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Run {
    /// First event. The first run of a frontier begins at 0.
    first: u64,
    /// The event after the last one.
    end: u64,
    /// Number of the batch that begins at `first`; of several, the highest.
    left: u64,
    /// The same; of several, the lowest. The others repeat its events, or its producer numbered them anew.
    left_lowest: u64,
    /// Number of the batch that ends at `end`; of several, the highest.
    right: u64,
    /// Highest number of a batch in this run.
    highest: u64,
}

impl Run {
    /// One batch.
    fn of(number: u64, first: u64, last: u64) -> Run {
        Run { first, end: last + 1, left: number, left_lowest: number, right: number, highest: number }
    }

    /// This run and a later one (by first event) in one.
    fn join(self, later: Run) -> Run {
        let (left, left_lowest) = if later.first == self.first {
            (self.left.max(later.left), self.left_lowest.min(later.left_lowest))
        } else {
            (self.left, self.left_lowest)
        };
        let right = match later.end.cmp(&self.end) {
            std::cmp::Ordering::Less => self.right,
            std::cmp::Ordering::Equal => self.right.max(later.right),
            std::cmp::Ordering::Greater => later.right,
        };
        let (end, highest) = (self.end.max(later.end), self.highest.max(later.highest));
        Run { first: self.first, end, left, left_lowest, right, highest }
    }
}

/// Numbers that are missing between two runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Gap {
    /// Events: first and last, both included.
    pub events: (u64, u64),
    /// Batches: first and last, both included. `None` where a producer numbered its batches anew, so that none is
    /// known to be missing.
    pub batches: Option<(u64, u64)>,
}

/// What was given up: events, and the numbers of the batches that held them. Apart from each other, since batches may
/// repeat events of one another, and each is named.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<Gap>", into = "Vec<Gap>")]
pub struct ClosedGaps {
    /// First and last of each range, both included. Rising, none overlaps another.
    events: Vec<(u64, u64)>,
    /// First and last of each range, both included.
    batches: BTreeSet<(u64, u64)>,
}

impl ClosedGaps {
    /// Adds a gap.
    pub fn insert(&mut self, gap: Gap) {
        let (mut first, mut last) = gap.events;
        let from = self.events.partition_point(|range| range.1 < first);
        let to = self.events.partition_point(|range| range.0 <= last);
        for range in self.events.drain(from..to) {
            (first, last) = (first.min(range.0), last.max(range.1));
        }
        self.events.insert(from, (first, last));
        self.batches.extend(gap.batches);
    }

    /// Adds the number of a batch whose events are not known, or may yet come under other numbers.
    pub fn insert_batch(&mut self, number: u64) {
        self.batches.insert((number, number));
    }

    /// Whether just this batch was given up.
    pub fn has_batch(&self, number: u64) -> bool {
        self.batches.contains(&(number, number))
    }

    /// A batch came after all.
    pub fn remove_batch(&mut self, number: u64) {
        self.batches.remove(&(number, number));
    }

    /// The range of events that were given up together with this one, if it was.
    pub fn find(&self, event: u64) -> Option<(u64, u64)> {
        let after = self.events.partition_point(|range| range.0 <= event);
        after.checked_sub(1).and_then(|i| self.events.get(i)).filter(|range| event <= range.1).copied()
    }

    /// Whether all of `first..=last` was given up.
    fn holds(&self, first: u64, last: u64) -> bool {
        self.find(first).is_some_and(|range| last <= range.1)
    }

    /// Events that were given up, first and last of each range, both included. Rising.
    #[cfg(test)]
    pub fn events(&self) -> impl Iterator<Item = (u64, u64)> {
        self.events.iter().copied()
    }

    /// Batches that were given up, first and last of each range, both included. Rising.
    pub fn batches(&self) -> impl Iterator<Item = (u64, u64)> {
        self.batches.iter().copied()
    }

    /// How many gaps it is stored as.
    pub fn len(&self) -> usize {
        self.events.len().max(self.batches.len())
    }

    /// Whether nothing was given up.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }
}

/// Events of a stored gap that has but the numbers of batches.
const NO_EVENTS: (u64, u64) = (1, 0);

impl From<Vec<Gap>> for ClosedGaps {
    fn from(stored: Vec<Gap>) -> ClosedGaps {
        ClosedGaps {
            events: stored.iter().map(|gap| gap.events).filter(|events| *events != NO_EVENTS).collect(),
            batches: stored.iter().filter_map(|gap| gap.batches).collect(),
        }
    }
}

impl From<ClosedGaps> for Vec<Gap> {
    fn from(closed: ClosedGaps) -> Vec<Gap> {
        let length = closed.len();
        let events = closed.events.into_iter().chain(std::iter::repeat(NO_EVENTS));
        let batches = closed.batches.into_iter().map(Some).chain(std::iter::repeat(None));
        events.zip(batches).take(length).map(|(events, batches)| Gap { events, batches }).collect()
    }
}

/// What is covered: runs in rising order, holes between them. The first run begins at event 0 and follows the base.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frontier {
    anchor: Run,
    /// What lies above the first hole.
    above: Vec<Run>,
}

impl Frontier {
    /// Nothing is covered; batch `base + 1` will have no hole below it.
    pub fn new(base: u64) -> Frontier {
        Frontier {
            anchor: Run { first: 0, end: 0, left: base, left_lowest: base, right: base, highest: base },
            above: Vec::new(),
        }
    }

    /// The event after the last one that has no hole below it.
    pub fn complete_end(&self) -> u64 {
        self.anchor.end
    }

    /// The highest batch that has no hole below it; the base, if there is none.
    pub fn complete_batch(&self) -> u64 {
        self.anchor.highest
    }

    /// The highest batch of all; the base, if there is none.
    pub fn highest_batch(&self) -> u64 {
        self.above.iter().fold(self.anchor.highest, |highest, run| highest.max(run.highest))
    }

    /// Covers batch `number` with events `first..=last`, and the jump before or after it where the next batch by number
    /// is there too.
    pub fn insert(&mut self, number: u64, first: u64, last: u64, closed: &ClosedGaps) {
        let run = Run::of(number, first, last);
        let at = self.above.partition_point(|other| other.first <= first);
        self.above.insert(at, run);
        let joined = self.join_before(at, closed);
        self.join_after(joined, closed);
    }

    /// Covers batch `number` and all below its last event: the rule of those who know no holes.
    pub fn insert_without_hole(&mut self, number: u64, first: u64, last: u64, closed: &ClosedGaps) {
        let run = Run::of(number, first, last);
        let swallowed = self.above.partition_point(|other| other.first <= last);
        let runs = self.above.drain(..swallowed);
        self.anchor = runs.fold(self.anchor, Run::join).join(run);
        self.join_after(None, closed);
    }

    /// Covers what was given up above a run, up to a batch that may yet come or to the next run. A run that has what lies
    /// below covers it already.
    pub fn give_up(&mut self, gap: Gap) {
        let mut runs = std::iter::once(&mut self.anchor).chain(&mut self.above);
        let Some(below) = runs.find(|run| run.end == gap.events.0) else { return };
        below.end = gap.events.1 + 1;
        if let Some((_, last)) = gap.batches {
            (below.right, below.highest) = (last, below.highest.max(last));
        }
    }

    /// Joins what is joined by gaps that were closed meanwhile.
    pub fn settle(&mut self, closed: &ClosedGaps) {
        let mut runs = std::mem::take(&mut self.above).into_iter();
        let mut last = self.anchor;
        let mut settled = Vec::new();
        for run in runs.by_ref() {
            if joins(&last, &run, closed) {
                last = last.join(run);
            } else {
                settled.push(std::mem::replace(&mut last, run));
            }
        }
        settled.push(last);
        self.anchor = settled.remove(0);
        self.above = settled;
    }

    /// Whether a batch would have no hole right below it.
    pub fn touches(&self, number: u64, first: u64, closed: &ClosedGaps) -> bool {
        let at = self.above.partition_point(|other| other.first <= first);
        let below = at.checked_sub(1).and_then(|i| self.above.get(i)).unwrap_or(&self.anchor);
        joins(below, &Run::of(number, first, first), closed)
    }

    /// Whether a batch would have no hole anywhere below it, filling the last one itself perhaps.
    pub fn completes(&self, number: u64, first: u64, last: u64, closed: &ClosedGaps) -> bool {
        if self.above.is_empty() {
            return joins(&self.anchor, &Run::of(number, first, last), closed);
        }
        let mut after = self.clone();
        after.insert(number, first, last, closed);
        first < after.complete_end()
    }

    /// The parts of `first..=last` that are not covered: first and last event of each, rising.
    pub fn uncovered(&self, first: u64, last: u64) -> Vec<(u64, u64)> {
        let mut parts = Vec::new();
        let mut from = first.max(self.anchor.end);
        let start = self.above.partition_point(|run| run.end <= from);
        for run in self.above.iter().skip(start).take_while(|run| run.first <= last) {
            if from < run.first {
                parts.push((from, run.first - 1));
            }
            from = from.max(run.end);
        }
        if from <= last {
            parts.push((from, last));
        }
        parts
    }

    /// The holes, rising.
    pub fn holes(&self) -> impl Iterator<Item = Gap> {
        let below = std::iter::once(&self.anchor).chain(&self.above);
        below.zip(&self.above).map(|(below, above)| {
            let (from, to) = (below.right + 1, above.left_lowest.saturating_sub(1));
            Gap { events: (below.end, above.first - 1), batches: (from <= to).then_some((from, to)) }
        })
    }

    /// How many holes there are.
    pub fn hole_count(&self) -> usize {
        self.above.len()
    }

    /// Joins `above[at]` with the runs before it, as far as they join. Returns where it is now; `None`: in the anchor.
    fn join_before(&mut self, at: usize, closed: &ClosedGaps) -> Option<usize> {
        let run = self.above[at];
        let below = match at.checked_sub(1) {
            Some(i) => &mut self.above[i],
            None => &mut self.anchor,
        };
        if !joins(below, &run, closed) {
            return Some(at);
        }
        *below = below.join(run);
        self.above.remove(at);
        // The joined run may begin with another batch now, one that follows the run before it.
        self.join_before(at.checked_sub(1)?, closed)
    }

    /// Joins the run at `at` (`None`: the anchor) with all after it that it joins.
    fn join_after(&mut self, at: Option<usize>, closed: &ClosedGaps) {
        let next = at.map_or(0, |i| i + 1);
        let mut run = at.map_or(self.anchor, |i| self.above[i]);
        let mut joined = 0;
        while let Some(later) = self.above.get(next + joined).filter(|later| joins(&run, later, closed)) {
            run = run.join(*later);
            joined += 1;
        }
        self.above.drain(next..next + joined);
        match at {
            None => self.anchor = run,
            Some(i) => self.above[i] = run,
        }
    }
}

/// Whether nothing can come between two runs: they touch or overlap, or their batches are consecutive (then the numbers
/// between do not exist), or what lies between was given up. Event numbers begin with 0 or 1: event 0 is no hole, and
/// no batch holds it alone.
fn joins(below: &Run, above: &Run, closed: &ClosedGaps) -> bool {
    let next = below.right + 1;
    let consecutive = next == above.left || next == above.left_lowest;
    above.first <= below.end.max(1) || consecutive || closed.holds(below.end, above.first - 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn gap(first: u64, last: u64, batches: Option<(u64, u64)>) -> Gap {
        Gap { events: (first, last), batches }
    }

    /// A frontier with base 0 after these batches: number, first and last event.
    fn after(batches: &[(u64, u64, u64)]) -> Frontier {
        let mut frontier = Frontier::new(0);
        for &(number, first, last) in batches {
            frontier.insert(number, first, last, &ClosedGaps::default());
        }
        frontier
    }

    /// Asserts what is complete and which holes are open after some batches.
    fn check(batches: &[(u64, u64, u64)], complete_batch: u64, complete_end: u64, holes: &[Gap]) {
        let frontier = after(batches);
        assert_eq!(frontier.holes().collect::<Vec<_>>(), holes, "holes after {batches:?}");
        assert_eq!(frontier.complete_batch(), complete_batch, "complete batch after {batches:?}");
        assert_eq!(frontier.complete_end(), complete_end, "complete end after {batches:?}");
    }

    #[test]
    fn a_first_batch_that_begins_with_event_0_or_1_has_no_hole_below() {
        check(&[(7, 0, 9)], 7, 10, &[]);
        check(&[(7, 1, 9)], 7, 10, &[]);
        check(&[(7, 2, 9)], 0, 0, &[gap(0, 1, Some((1, 6)))]);
    }

    #[test]
    fn the_batch_after_the_base_has_no_hole_below() {
        let mut frontier = Frontier::new(10);
        frontier.insert(11, 5_001, 5_100, &ClosedGaps::default());
        assert_eq!((frontier.complete_batch(), frontier.complete_end()), (11, 5_101));
    }

    #[test]
    fn batch_numbers_need_not_be_dense_where_events_are() {
        check(&[(1, 1, 500), (5, 501, 1_000), (9, 1_001, 1_500)], 9, 1_501, &[]);
    }

    #[test]
    fn event_numbers_need_not_be_dense_where_batches_are() {
        check(&[(1, 1, 10), (2, 21, 30), (3, 45, 45)], 3, 46, &[]);
        check(&[(3, 45, 45), (2, 21, 30), (1, 3, 10)], 3, 46, &[]);
    }

    #[test]
    fn any_other_jump_is_a_hole() {
        check(&[(1, 1, 10), (3, 21, 30)], 1, 11, &[gap(11, 20, Some((2, 2)))]);
        check(&[(1, 1, 10), (9, 51, 60), (5, 31, 40)], 1, 11, &[gap(11, 30, Some((2, 4))), gap(41, 50, Some((6, 8)))]);
    }

    #[test]
    fn a_batch_covers_its_own_jump_on_both_sides() {
        check(&[(1, 1, 10), (3, 31, 40), (2, 15, 25)], 3, 41, &[]);
    }

    #[test]
    fn a_batch_that_repeats_the_one_above_a_hole_does_not_hide_it() {
        check(&[(1, 1, 10), (3, 30, 30), (4, 30, 35), (2, 11, 20)], 4, 36, &[]);
        check(&[(1, 1, 10), (3, 30, 30), (4, 30, 35)], 1, 11, &[gap(11, 29, Some((2, 2)))]);
    }

    #[test]
    fn a_batch_in_new_clothes_fills_what_it_holds() {
        check(&[(1, 1, 100), (3, 201, 300), (4, 101, 150)], 4, 151, &[gap(151, 200, None)]);
        check(&[(1, 1, 100), (3, 201, 300), (4, 101, 300)], 4, 301, &[]);
        check(&[(1, 1, 100), (3, 201, 300), (4, 101, 150), (5, 160, 300)], 5, 301, &[]);
        check(&[(1, 1, 100), (3, 201, 300), (4, 101, 150), (5, 201, 250)], 5, 301, &[]);
    }

    #[test]
    fn uncovered_parts_are_found_below_between_and_above_runs() {
        let frontier = after(&[(1, 1, 10), (4, 21, 30), (8, 41, 50)]);
        assert_eq!(frontier.uncovered(5, 60), [(11, 20), (31, 40), (51, 60)]);
        assert_eq!(frontier.uncovered(0, 10), []);
        assert_eq!(frontier.uncovered(25, 28), []);
        assert_eq!(frontier.uncovered(15, 15), [(15, 15)]);
        assert_eq!(Frontier::new(0).uncovered(0, 3), [(0, 3)]);
    }

    #[test]
    fn a_closed_gap_is_no_hole() {
        let mut frontier = after(&[(1, 1, 10), (3, 21, 30), (7, 61, 70)]);
        let mut closed = ClosedGaps::default();
        closed.insert(gap(31, 60, Some((4, 6))));
        frontier.settle(&closed);
        assert_eq!(frontier.holes().collect::<Vec<_>>(), [gap(11, 20, Some((2, 2)))]);
        frontier.insert(2, 11, 20, &closed);
        assert_eq!((frontier.complete_batch(), frontier.hole_count()), (7, 0));
    }

    #[test]
    fn what_was_given_up_is_found_and_named_though_batches_share_events() {
        let mut closed = ClosedGaps::default();
        let gaps = [(31, 40, Some((4, 4))), (11, 20, Some((2, 2))), (33, 33, Some((5, 5))), (51, 60, None)];
        for (first, last, batches) in gaps.into_iter().chain([(38, 45, Some((3, 3))), (11, 20, Some((9, 9)))]) {
            closed.insert(gap(first, last, batches));
        }
        let check = |closed: &ClosedGaps| {
            for (event, range) in [(10, None), (11, Some((11, 20))), (21, None), (41, Some((31, 45))), (46, None)] {
                assert_eq!(closed.find(event), range, "event {event}");
            }
            assert_eq!(closed.batches().collect::<Vec<_>>(), [(2, 2), (3, 3), (4, 4), (5, 5), (9, 9)]);
            assert_eq!(closed.len(), 5);
        };
        check(&closed);
        let stored = postcard::to_allocvec(&closed).expect("plain numbers");
        check(&postcard::from_bytes(&stored).expect("what was stored"));
    }

    #[test]
    fn without_holes_all_below_is_covered() {
        let mut frontier = Frontier::new(0);
        frontier.insert_without_hole(10, 100, 110, &ClosedGaps::default());
        frontier.insert_without_hole(30, 300, 310, &ClosedGaps::default());
        frontier.insert_without_hole(20, 200, 210, &ClosedGaps::default());
        assert_eq!((frontier.complete_batch(), frontier.complete_end(), frontier.hole_count()), (30, 311, 0));
    }

    proptest! {
        #[test]
        fn the_order_of_arrival_changes_nothing(
            steps in prop::collection::vec((1_u64..4, 0_u64..3, 1_u64..5), 1..20),
            order in prop::collection::vec(any::<prop::sample::Index>(), 20),
            missing in prop::collection::vec(any::<bool>(), 20),
            base in 0_u64..3,
        ) {
            // A producer with its own jumps, in both kinds of number; some of its batches are missing.
            let (mut number, mut end) = (base, 0);
            let mut batches = Vec::new();
            for (number_step, event_jump, events) in steps {
                number += number_step;
                let first = end + event_jump;
                end = first + events;
                batches.push((number, first, end - 1));
            }
            let mut kept: Vec<_> =
                batches.iter().zip(&missing).filter(|(_, missing)| !**missing).map(|(batch, _)| *batch).collect();
            let build = |batches: &[(u64, u64, u64)]| {
                let mut frontier = Frontier::new(base);
                for &(number, first, last) in batches {
                    frontier.insert(number, first, last, &ClosedGaps::default());
                }
                frontier
            };
            let in_order = build(&kept);
            let mut shuffled = Vec::new();
            for index in &order {
                if !kept.is_empty() {
                    shuffled.push(kept.remove(index.index(kept.len())));
                }
            }
            prop_assert_eq!(&build(&shuffled), &in_order);
            shuffled.extend_from_within(..);
            prop_assert_eq!(&build(&shuffled), &in_order, "a batch twice is as once");
            for (number, first, last) in shuffled {
                prop_assert_eq!(in_order.uncovered(first, last), vec![]);
                prop_assert_eq!(number <= in_order.complete_batch(), last < in_order.complete_end());
            }
        }
    }
}
