//! Parked tables: their events wait under keys of their own, so that a table that cannot be written holds up no other
//! (`promises`, "Flush").
//!
//! A table is parked when its part of a flush failed again and again while another's got through. From then on its new
//! events go the same way, behind those that wait, until a try succeeds. What one table may have waiting is limited;
//! past the limit the flush waits for it. Nothing here reads or writes: [`super::run`] takes parked events up,
//! [`super::commit`] writes and removes them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::flush::table::Source;
use crate::ingest::buffer::BatchKey;
use crate::table::job::JobBatch;
use crate::time::MachineTime;
use crate::wire::batch::CdcBatch;

/// What an entry counts beside its frame: its key, in the journal and in memory.
const KEY_BYTES: u64 = 512;

/// What stands in the key of a parked entry's first chunk: a table's share of a batch. The value is the whole frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ParkedKey {
    /// The table, as events spell it.
    pub(crate) table: String,
    /// `sourceDoId`.
    pub(crate) source: String,
    /// The epoch it was accepted under.
    pub(crate) epoch: String,
    /// The batch's number.
    pub(crate) number: u64,
    /// Where the batch was in the journal.
    pub(crate) place: u64,
    /// The first of its events that is of this table and counts.
    pub(crate) first: u64,
    /// The batch's last event.
    pub(crate) last: u64,
    /// The batch's event ranges that count, as in its head.
    pub(crate) taken: Option<Vec<(u64, u64)>>,
    /// Events of it that are of this table and count.
    pub(crate) events: u32,
    /// Bytes of the frame.
    pub(crate) frame_bytes: u32,
}

impl ParkedKey {
    /// What it counts against the table's limit.
    pub(crate) fn bytes(&self) -> u64 {
        u64::from(self.frame_bytes) + KEY_BYTES
    }
}

/// A batch's share in a table, with its events at hand.
#[derive(Debug, Clone)]
pub(crate) struct Share {
    pub(crate) key: ParkedKey,
    pub(crate) batch: Arc<CdcBatch>,
    /// The number it is parked under, if it is.
    pub(crate) parked: Option<u64>,
}

impl Share {
    /// The shares of a batch, one for each table that it has events for.
    pub(crate) fn of(key: &BatchKey, batch: &Arc<CdcBatch>) -> Vec<Share> {
        let head = &key.head;
        let counts = |sequence: u64| {
            let ranges = head.taken.as_ref();
            ranges.is_none_or(|taken| taken.iter().any(|(first, last)| (*first..=*last).contains(&sequence)))
        };
        let mut events: BTreeMap<u16, (u64, u32)> = BTreeMap::new();
        for event in batch.events.iter().filter(|event| counts(event.sequence)) {
            events.entry(event.table).or_insert((event.sequence, 0)).1 += 1;
        }
        let share = |(table, (first, events)): (u16, (u64, u32))| {
            let table = batch.tables.get(usize::from(table)).expect("events name a table of their batch").clone();
            let key = ParkedKey {
                table,
                source: key.source.clone(),
                epoch: head.epoch.to_string(),
                number: head.number,
                place: head.place,
                first,
                last: head.last,
                taken: head.taken.clone(),
                events,
                frame_bytes: key.frame_bytes,
            };
            Share { key, batch: batch.clone(), parked: None }
        };
        events.into_iter().map(share).collect()
    }

    /// What the encoder takes.
    pub(crate) fn job_batch(&self) -> JobBatch {
        JobBatch { batch: self.batch.clone(), epoch: self.key.epoch.clone(), taken: self.key.taken.clone() }
    }

    /// What it moves in the table's frontier.
    pub(crate) fn source(&self) -> Source {
        let ParkedKey { source, epoch, number, last, .. } = &self.key;
        Source { name: source.clone(), epoch: epoch.clone(), first: *number, through: *number, event: *last }
    }
}

/// What so many shares count against a table's limit.
pub(crate) fn bytes_of<'a>(shares: impl IntoIterator<Item = &'a Share>) -> u64 {
    shares.into_iter().map(|share| share.key.bytes()).sum()
}

/// One parked table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ParkedTable {
    /// Its entries, in the order in which their events take effect.
    pub(crate) entries: BTreeMap<u64, ParkedKey>,
    /// What they count against the limit.
    pub(crate) bytes: u64,
    /// Their events.
    pub(crate) events: u64,
    /// Tries that failed since it was parked, or since a try succeeded.
    pub(crate) failures: u32,
    /// When it is tried again.
    pub(crate) retry_at: MachineTime,
    /// Which of all tries that failed was its last; 0 if none did in this life.
    tried: u64,
}

/// What a flush does with a parked table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Choice {
    /// It is not tried: new events are parked behind those that wait.
    Wait,
    /// These entries are tried, the oldest first.
    Try {
        entries: Vec<(u64, ParkedKey)>,
        /// No other entry waits, so new events may follow in the same flush.
        all: bool,
    },
}

fn surplus_of(table: &ParkedTable, new_bytes: u64, max_bytes: u64) -> u64 {
    (table.bytes + new_bytes).saturating_sub(max_bytes).min(new_bytes)
}

/// All parked tables.
#[derive(Debug, Default)]
pub(crate) struct Parked {
    tables: BTreeMap<String, ParkedTable>,
    next_number: u64,
    /// Tries that failed in this life.
    tries: u64,
}

impl Parked {
    /// What a former life left in the journal, to be tried at once.
    pub(crate) fn restore(entries: Vec<(u64, ParkedKey)>, now: MachineTime) -> Parked {
        let mut parked = Parked::default();
        for (number, key) in entries {
            parked.next_number = parked.next_number.max(number + 1);
            parked.add(number, key, now);
        }
        parked
    }

    /// A number above all that were given.
    pub(crate) fn next_number(&mut self) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        number
    }

    /// Parked tables by name, as events spell it.
    pub(crate) fn tables(&self) -> impl Iterator<Item = (&str, &ParkedTable)> {
        self.tables.iter().map(|(name, table)| (name.as_str(), table))
    }

    /// A parked table.
    pub(crate) fn get(&self, table: &str) -> Option<&ParkedTable> {
        self.tables.get(table)
    }

    /// Whether a table may have so much more parked.
    pub(crate) fn has_room(&self, table: &str, more_bytes: u64, max_bytes: u64) -> bool {
        let bytes = self.tables.get(table).map_or(0, |table| table.bytes) + more_bytes;
        bytes <= max_bytes || mutant!(ParkedUnlimited)
    }

    /// What a table must load where a flush has so many new bytes for it: what they are above its limit, but no more than they
    /// are, where the limit was lowered.
    pub(crate) fn surplus(&self, table: &str, new_bytes: u64, max_bytes: u64) -> u64 {
        self.tables.get(table).map_or(0, |table| surplus_of(table, new_bytes, max_bytes))
    }

    /// Decides about one table of a flush that has `new_bytes` of new events for it. `left` is what the flush may still
    /// load beside the surplus of its tables. A table is tried when its time has come, or when the new events have no room behind the old ones; then at
    /// least so much is tried that they have, or as much as they are, where the limit was lowered.
    pub(crate) fn choose(
        &self,
        table: &str,
        new_bytes: u64,
        max_bytes: u64,
        left: &mut u64,
        now: MachineTime,
    ) -> Choice {
        let Some(table) = self.tables.get(table) else { return Choice::Wait };
        let mut surplus = surplus_of(table, new_bytes, max_bytes);
        if surplus == 0 && (table.retry_at > now || *left == 0) {
            return Choice::Wait;
        }
        let mut entries = Vec::new();
        for (number, key) in &table.entries {
            if *left == 0 && surplus == 0 {
                break;
            }
            *left = left.saturating_sub(key.bytes().saturating_sub(surplus));
            surplus = surplus.saturating_sub(key.bytes());
            entries.push((*number, key.clone()));
        }
        let all = entries.len() == table.entries.len();
        Choice::Try { entries, all }
    }

    /// An entry is in the journal. A table that was not parked is tried again at `retry_at`.
    pub(crate) fn add(&mut self, number: u64, key: ParkedKey, retry_at: MachineTime) {
        let table = self.tables.entry(key.table.clone()).or_insert_with(|| ParkedTable {
            entries: BTreeMap::new(),
            bytes: 0,
            events: 0,
            failures: 0,
            retry_at,
            tried: 0,
        });
        table.bytes += key.bytes();
        table.events += u64::from(key.events);
        let former = table.entries.insert(number, key);
        assert!(former.is_none(), "parked number {number} was given twice");
    }

    /// An entry left the journal: its events are in the lake. What is left of its table is tried at once.
    pub(crate) fn remove(&mut self, name: &str, number: u64, now: MachineTime) {
        let table = self.tables.get_mut(name).expect("a table with entries is parked");
        let key = table.entries.remove(&number).expect("an entry is removed once");
        table.bytes -= key.bytes();
        table.events -= u64::from(key.events);
        table.failures = 0;
        table.retry_at = now;
        if table.entries.is_empty() {
            self.tables.remove(name);
        }
    }

    /// A try failed, the first or a later one.
    pub(crate) fn failed(&mut self, name: &str, retry_at: MachineTime) {
        if let Some(table) = self.tables.get_mut(name) {
            self.tries += 1;
            table.failures += 1;
            table.retry_at = retry_at;
            table.tried = self.tries;
        }
    }

    /// Someone asks for it: all are tried now. Returns how many tries failed before.
    pub(crate) fn hurry(&mut self, now: MachineTime) -> u64 {
        for table in self.tables.values_mut() {
            table.retry_at = table.retry_at.min(now);
        }
        self.tries
    }

    /// Whether a table with events from places below `below` is still to be tried, or to be tried to its end, since so many
    /// tries had failed.
    pub(crate) fn is_untried(&self, below: u64, tries: u64) -> bool {
        !mutant!(ParkedNeverTried) && self.below(below).any(|(_, table)| table.tried <= tries)
    }

    /// When the next one is to be tried.
    pub(crate) fn deadline(&self) -> Option<MachineTime> {
        if mutant!(ParkedNeverTried) {
            return None;
        }
        self.tables.values().map(|table| table.retry_at).min()
    }

    /// Whether a table that is not among those of a flush is to be tried now.
    pub(crate) fn another_is_due<P>(&self, parts: &BTreeMap<String, P>, now: MachineTime) -> bool {
        let is_other = |name: &String, table: &ParkedTable| table.retry_at <= now && !parts.contains_key(name);
        !mutant!(ParkedNeverTried) && self.tables.iter().any(|(name, table)| is_other(name, table))
    }

    /// Tables with events from places below this one.
    pub(crate) fn below(&self, place: u64) -> impl Iterator<Item = (&str, &ParkedTable)> {
        let has_older = move |table: &ParkedTable| table.entries.values().any(|key| key.place < place);
        self.tables().filter(move |(_, table)| has_older(table))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: u32 = 488; // with its key: 1,000

    fn key(place: u64) -> ParkedKey {
        ParkedKey {
            table: "orders".to_owned(),
            source: "shard".to_owned(),
            epoch: String::new(),
            number: place,
            place,
            first: place,
            last: place,
            taken: None,
            events: 2,
            frame_bytes: FRAME,
        }
    }

    /// Entries 0 to `count`, 1,000 bytes each, to be tried at 100.
    fn parked(count: u64) -> Parked {
        let mut parked = Parked::restore((0..count).map(|number| (number, key(number))).collect(), MachineTime(0));
        parked.failed("orders", MachineTime(100));
        parked
    }

    fn check(entries: u64, new_bytes: u64, left: u64, now: u64, expected: Option<(usize, bool)>) {
        let mut budget = left;
        let choice = parked(entries).choose("orders", new_bytes, 5_000, &mut budget, MachineTime(now));
        let found = match choice {
            Choice::Wait => None,
            Choice::Try { entries, all } => {
                assert!(entries.iter().map(|(number, _)| *number).eq(0..entries.len() as u64), "oldest first");
                Some((entries.len(), all))
            }
        };
        assert_eq!(found, expected, "{entries} entries, {new_bytes} new bytes, {left} left, at {now}");
    }

    #[test]
    fn a_table_is_tried_when_its_time_has_come_or_its_room_is_used_up() {
        check(3, 1_000, 9_000, 99, None);
        check(3, 1_000, 9_000, 100, Some((3, true)));
        check(3, 0, 9_000, 100, Some((3, true)));
        check(4, 2_000, 9_000, 99, Some((4, true)));
        check(5, 0, 9_000, 99, None);
    }

    #[test]
    fn a_try_takes_what_a_flush_may_load_but_always_makes_the_room_that_new_events_need() {
        check(4, 0, 1_500, 100, Some((2, false)));
        check(4, 0, 0, 100, None);
        check(4, 2_000, 0, 99, Some((1, false)));
        check(4, 9_000, 0, 99, Some((4, true)));
        check(9, 2_000, 0, 99, Some((2, false))); // the limit was lowered
    }

    #[test]
    fn a_table_is_parked_until_its_last_entry_left() {
        let mut parked = parked(2);
        assert_eq!(parked.deadline(), Some(MachineTime(100)));
        parked.remove("orders", 0, MachineTime(7));
        assert_eq!(parked.deadline(), Some(MachineTime(7)), "the rest follows at once");
        assert_eq!(parked.get("orders").map(|table| (table.bytes, table.events, table.failures)), Some((1_000, 2, 0)));
        parked.remove("orders", 1, MachineTime(7));
        assert_eq!((parked.deadline(), parked.tables().count()), (None, 0));
    }

    #[test]
    fn numbers_go_on_after_a_restart() {
        let mut parked = Parked::restore(vec![(7, key(1))], MachineTime(0));
        assert_eq!(parked.next_number(), 8);
        assert_eq!(parked.next_number(), 9);
    }

    #[test]
    fn one_who_asks_is_told_of_tables_that_hold_what_came_before() {
        let parked = parked(3);
        assert_eq!(parked.below(0).count(), 0);
        assert_eq!(parked.below(1).count(), 1);
    }
}
