//! What a reader sees of the lake after each commit, held against what producers made up.
//!
//! Guards promises 2 (exactly once), 3 (order) and 5 (a snapshot is whole). Does not see statistics and bounds.

use std::collections::{BTreeMap, BTreeSet};

use dolake_core::catalog::TablePointer;
use serde_json::{Map, Value};

use crate::journal::Journal;
use crate::reader::{self, Cache, Row, Table};
use crate::store::Store;
use crate::truth::{Truth, Uid};

/// The lake as committed.
#[derive(Debug, Default)]
pub struct LakeView {
    /// Events in the lake.
    pub events: BTreeSet<Uid>,
    /// How often those are there that are there more than once.
    pub copies: BTreeMap<Uid, u64>,
    /// Those that came with the last commit.
    pub fresh: Vec<Uid>,
    /// By pointer key.
    tables: BTreeMap<Vec<u8>, Table>,
    /// Table, as events spell it, and its metadata file.
    metadata: BTreeMap<Vec<u8>, (String, String)>,
    /// The last event of each stream in each table.
    last: BTreeMap<(String, usize), u64>,
    cache: Cache,
}

impl LakeView {
    /// Reads the tables that moved, and checks every row that came.
    ///
    /// # Errors
    /// The first untruth.
    pub fn refresh(
        &mut self,
        journal: &Journal,
        store: &Store,
        location: &str,
        max_snapshots: u64,
        truth: &Truth,
    ) -> Result<(), String> {
        self.fresh.clear();
        for (key, value) in journal.pointers() {
            let pointer = TablePointer::decode(value).map_err(|error| error.to_string())?;
            if self.metadata.get(key).is_some_and(|(_, location)| *location == pointer.metadata_location) {
                continue;
            }
            let name = pointer.cdc_table.clone().unwrap_or_default();
            let table = reader::read(store, location, &pointer.metadata_location, &mut self.cache)
                .map_err(|error| format!("table {name}: {error}"))?;
            if table.snapshots.len() as u64 > max_snapshots {
                return Err(format!("table {name} has {} snapshots", table.snapshots.len()));
            }
            let former = self.tables.remove(key).unwrap_or_default();
            if let Some(gone) = former.files.difference(&table.files).next() {
                return Err(format!("table {name}: data file {gone} was live and is gone"));
            }
            for file in table.files.difference(&former.files) {
                self.take(store, file, &name, (truth, journal))
                    .map_err(|error| format!("table {name}, {file}: {error}"))?;
            }
            self.tables.insert(key.to_vec(), table);
            self.metadata.insert(key.to_vec(), (name, pointer.metadata_location));
        }
        Ok(())
    }

    /// Takes what a commit brought from a run of the same seed that read it.
    pub fn told(&mut self, fresh: Vec<Uid>) {
        self.events.extend(&fresh);
        self.fresh = fresh;
    }

    /// Checks the rows of a new data file.
    fn take(
        &mut self,
        store: &Store,
        file: &str,
        table: &str,
        (truth, journal): (&Truth, &Journal),
    ) -> Result<(), String> {
        let mut turns = Turns::default();
        for row in reader::rows(store, file)? {
            let uid = check_row(&row, table, truth)?;
            if !self.events.insert(uid) {
                let copies = self.copies.entry(uid).or_insert(1);
                *copies += 1;
                if !truth.applies_each || *copies > truth.arrivals(uid) {
                    return Err(format!(
                        "event {} is there more often than it came: {copies} times",
                        describe(uid, truth)
                    ));
                }
            }
            self.fresh.push(uid);
            // What is parked takes effect with the flush that parked it.
            if !truth.applies_each && !journal.was_parked(uid) {
                turns.take(uid, truth, journal)?;
            }
            let event = &truth.events[uid as usize];
            let last = self.last.insert((table.to_owned(), event.stream), event.sequence);
            if last.is_some_and(|last| last >= event.sequence) && !truth.applies_each {
                return Err(format!("event {} is out of order", describe(uid, truth)));
            }
        }
        Ok(())
    }

    /// How often an event is there.
    pub fn count(&self, uid: Uid) -> u64 {
        self.copies.get(&uid).copied().unwrap_or_else(|| u64::from(self.events.contains(&uid)))
    }

    /// Each table, as events spell it, and its current metadata file.
    pub fn metadata(&self) -> impl Iterator<Item = &(String, String)> {
        self.metadata.values()
    }

    /// Keys of all data files that a retained snapshot names.
    pub fn named(&self) -> BTreeSet<&str> {
        let lists = self.tables.values().flat_map(|table| &table.lists);
        lists.flat_map(|list| &self.cache.manifests[list]).map(|(key, _, _)| key.as_str()).collect()
    }
}

/// The order of one file's rows between sources: that of their places in the journal. An event takes effect with the place of
/// one before it in its source if that is higher, for it filled a hole then.
#[derive(Debug, Default)]
struct Turns {
    /// The row with the highest place of its own so far.
    latest: Option<(u64, Uid)>,
    /// By stream: how many of its batches were looked at, and the highest place among them.
    highest: BTreeMap<usize, (usize, u64)>,
}

impl Turns {
    fn take(&mut self, uid: Uid, truth: &Truth, journal: &Journal) -> Result<(), String> {
        let event = &truth.events[uid as usize];
        let (Some((first, last)), Some(&batch)) = (journal.places(uid), event.batches.last()) else { return Ok(()) };
        let (seen, highest) = self.highest.entry(event.stream).or_default();
        let batches = &truth.streams[event.stream].batches;
        for uid in batches[(*seen).min(batch + 1)..=batch].iter().flat_map(|batch| &batch.events) {
            *highest = journal.places(*uid).map_or(*highest, |(_, last)| last.max(*highest));
        }
        *seen = (*seen).max(batch + 1);
        let turn = last.max(*highest);
        if let Some((place, other)) = self.latest.filter(|(place, _)| *place > turn) {
            let (uid, other) = (describe(uid, truth), describe(other, truth));
            return Err(format!(
                "event {uid} has place {turn} in the journal and comes after event {other} with {place}"
            ));
        }
        self.latest = self.latest.max(Some((first, uid)));
        Ok(())
    }
}

/// An event in words.
pub fn describe(uid: Uid, truth: &Truth) -> String {
    match truth.events.get(uid as usize) {
        Some(event) => {
            let stream = &truth.streams[event.stream];
            format!("{uid} (source {} epoch {:?} sequence {})", stream.source, stream.epoch, event.sequence)
        }
        None => format!("{uid} (never made up)"),
    }
}

/// A row is the event that it says it is, value by value.
fn check_row(row: &Row, table: &str, truth: &Truth) -> Result<Uid, String> {
    let columns = &row.columns;
    let uid = columns.get("uid").and_then(Value::as_u64).ok_or_else(|| format!("a row without uid: {columns:?}"))?;
    let event = truth.events.get(uid as usize).ok_or_else(|| format!("event {uid} was never made up"))?;
    let stream = &truth.streams[event.stream];
    let epoch = (!stream.epoch.is_empty()).then(|| Value::from(stream.epoch.clone()));
    let fixed = [
        ("_cdc_key", Some(Value::from(event.row_id.clone()))),
        ("_cdc_source", Some(Value::from(stream.source.clone()))),
        ("_cdc_epoch", epoch),
        ("_cdc_seq", Some(Value::from(event.sequence))),
        ("_cdc_ts", Some(Value::from(event.timestamp_ms * 1_000))),
        ("_cdc_op", Some(Value::from(event.operation))),
    ];
    let what = || describe(uid, truth);
    if event.is_impostor && !truth.applies_each {
        return Err(format!("{} came under a number that was taken, and must not be here", what()));
    }
    if event.table != table {
        return Err(format!("{} belongs to table {}", what(), event.table));
    }
    for (name, expected) in fixed {
        if columns.get(name) != expected.as_ref() {
            return Err(format!("{}: {name} is {:?}, not {expected:?}", what(), columns.get(name)));
        }
    }
    if columns.get("_cdc_rescued").is_none() && is_plainly(columns, &event.image) {
        return Ok(uid);
    }
    let mut seen = Vec::new();
    for (name, value) in columns.iter().filter(|(name, _)| !name.starts_with("_cdc_")) {
        flatten(key_of(name, "__"), value, &mut seen);
    }
    if let Some(rescued) = columns.get("_cdc_rescued").and_then(Value::as_str) {
        let rescued: Map<String, Value> = serde_json::from_str(rescued).map_err(|error| error.to_string())?;
        for (path, value) in rescued.iter().filter(|(path, _)| !path.starts_with("_cdc_")) {
            flatten(key_of(path, "#"), value, &mut seen);
        }
    }
    let mut expected = Vec::new();
    for (name, value) in &event.image {
        flatten(name, value, &mut expected);
    }
    if !same(&mut seen, &mut expected) {
        return Err(format!("{}: the row says {seen:?}, the event said {expected:?}", what()));
    }
    Ok(uid)
}

/// The key that a column stands for, whose name may have got a number because others are too much like it.
fn key_of<'a>(name: &'a str, mark: &str) -> &'a str {
    let numbered = name.rsplit_once(mark).filter(|(_, number)| number.parse::<u64>().is_ok());
    numbered.map_or(name, |(key, _)| key)
}

/// Whether the columns of the source are just the members of an image: what most rows are.
fn is_plainly(columns: &Map<String, Value>, image: &Map<String, Value>) -> bool {
    let mut own = columns.iter().filter(|(name, _)| !name.starts_with("_cdc_"));
    image.iter().all(|member| own.next() == Some(member)) && own.next().is_none()
}

/// Leaves with their paths; nulls and empty containers are left out. A string that holds a JSON object or list stays a
/// string.
fn flatten(path: &str, value: &Value, into: &mut Vec<(String, Value)>) {
    match value {
        Value::Null => {}
        Value::Object(object) => {
            for (name, value) in object {
                flatten(&format!("{path}.{}", key_of(name, "__")), value, into);
            }
        }
        Value::Array(items) => {
            for (at, value) in items.iter().enumerate() {
                flatten(&format!("{path}[{at}]"), value, into);
            }
        }
        Value::Bool(_) | Value::Number(_) | Value::String(_) => into.push((path.to_owned(), value.clone())),
    }
}

/// Whether both have the same leaves. A path may come twice: `a.b`, and `b` in `a`.
fn same(seen: &mut [(String, Value)], expected: &mut [(String, Value)]) -> bool {
    let number = |value: &Value| value.as_f64().map(|number| number.to_string());
    let rendered = |(path, value): &(String, Value)| (path.clone(), number(value).unwrap_or_else(|| value.to_string()));
    seen.sort_by_cached_key(rendered);
    expected.sort_by_cached_key(rendered);
    let equal = |a: &Value, b: &Value| a == b || ((a.is_f64() || b.is_f64()) && a.as_f64() == b.as_f64());
    seen.len() == expected.len()
        && seen.iter().zip(expected).all(|((path, value), (name, wanted))| path == name && equal(value, wanted))
}

#[cfg(test)]
mod tests {
    use dolake_core::command::Write;

    use super::*;
    use crate::plan::Plan;
    use crate::rng::Rng;

    /// Two sources, each with a batch of one event at each of these places.
    fn accepted(places: &[[u64; 2]]) -> (Truth, Journal) {
        let (mut truth, mut journal, mut rng) = (Truth::default(), Journal::default(), Rng::new(1, "test"));
        let plan = Plan { batch_events_max: 1, ..Plan::calm() };
        let streams = ["a", "b"].map(|source| truth.open(source.to_owned(), "e1".to_owned()));
        // No batch begins with an event 0 beside its own.
        streams.iter().for_each(|stream| truth.streams[*stream].is_unnumbered = true);
        for (stream, place) in places.iter().flat_map(|places| streams.iter().zip(places)) {
            let batch = truth.make(*stream, &plan, 0, &mut rng);
            let events = truth.events_json(&truth.streams[*stream].batches[batch].events);
            let key = [&[b'b', 0][..], &place.to_be_bytes(), &[0, 0]].concat();
            journal.apply(&[Write::Put(key.into(), events.into())]);
        }
        (truth, journal)
    }

    fn check(places: &[[u64; 2]], rows: &[Uid]) -> Result<(), String> {
        let (truth, journal) = accepted(places);
        let mut turns = Turns::default();
        rows.iter().try_for_each(|uid| turns.take(*uid, &truth, &journal))
    }

    #[test]
    fn rows_of_several_sources_are_in_the_order_of_their_places() {
        assert_eq!(check(&[[0, 1], [2, 3]], &[0, 1, 2, 3]), Ok(()));
        let error = check(&[[0, 1], [2, 3]], &[0, 3, 2]).expect_err("3 is before 2");
        assert!(error.contains("has place 2 in the journal and comes after event 3"), "{error}");
    }

    #[test]
    fn what_fills_a_hole_stands_with_those_above_it_only() {
        assert_eq!(check(&[[5, 1], [2, 3]], &[1, 3, 0, 2]), Ok(()), "event 2 takes its turn after 0");
        assert!(check(&[[5, 1], [2, 3]], &[0, 1]).is_err(), "event 1 has nothing below it");
    }
}
