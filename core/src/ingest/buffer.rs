//! The batches that are in the journal and not yet in the lake.
//!
//! All of them are known by their head. Those that fit into the memory budget are kept parsed (hot); the others are
//! read back from the journal by the flush that takes them (cold). So memory is bounded whatever the journal holds.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ingest::source::BatchHead;
use crate::time::MachineTime;
use crate::wire::batch::CdcBatch;

/// What stands in the key of a batch's first chunk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BatchKey {
    /// `sourceDoId`.
    pub(crate) source: String,
    /// Events of it that were taken.
    pub(crate) events: u32,
    /// Bytes of its frame.
    pub(crate) frame_bytes: u32,
    /// Its numbers.
    pub(crate) head: BatchHead,
}

/// One batch.
#[derive(Debug, Clone)]
pub(crate) struct Buffered {
    /// Its head.
    pub(crate) key: BatchKey,
    /// The batch, while there is memory for it.
    pub(crate) hot: Option<Arc<CdcBatch>>,
    /// When it came, in machine time.
    pub(crate) arrived: MachineTime,
}

impl Buffered {
    fn memory_bytes(&self) -> u64 {
        self.hot.as_ref().map_or(0, |batch| batch.memory_bytes() as u64)
    }
}

/// Sums over a set of batches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// How many batches.
    pub(crate) batches: u64,
    /// Their taken events.
    pub(crate) events: u64,
    /// Bytes of their frames.
    pub(crate) bytes: u64,
}

impl Totals {
    fn add(&mut self, key: &BatchKey) {
        self.batches += 1;
        self.events += u64::from(key.events);
        self.bytes += u64::from(key.frame_bytes);
    }

    fn remove(&mut self, key: &BatchKey) {
        self.batches -= 1;
        self.events -= u64::from(key.events);
        self.bytes -= u64::from(key.frame_bytes);
    }
}

/// When a batch takes effect: after those of lower places, but a batch that filled a hole before those of its source that
/// lay above. So it is a place (the batch's own, or that of one before it in its source), and among equals a count.
pub(crate) type Turn = (u64, u64);

/// All unflushed batches, by their place in the journal.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    batches: BTreeMap<u64, Buffered>,
    next_place: u64,
    all: Totals,
    hot_bytes: u64,
    /// Places that a flush may take, with their turn.
    ready: BTreeMap<u64, Turn>,
    /// The same by turn.
    turns: BTreeMap<Turn, u64>,
    next_turn: u64,
    ready_totals: Totals,
    ready_hot_bytes: u64,
}

impl Buffer {
    /// An empty buffer whose first place is `next_place`.
    pub(crate) fn new(next_place: u64) -> Buffer {
        Buffer { next_place, ..Buffer::default() }
    }

    /// A place above all that were given.
    pub(crate) fn next_place(&mut self) -> u64 {
        let place = self.next_place;
        self.next_place += 1;
        place
    }

    /// The place that the next batch will get.
    pub(crate) fn upcoming_place(&self) -> u64 {
        self.next_place
    }

    /// Adds a batch; it stays hot if the hot batches then take at most `hot_bytes_max`.
    pub(crate) fn insert(&mut self, place: u64, mut batch: Buffered, hot_bytes_max: u64) {
        if self.hot_bytes + batch.memory_bytes() > hot_bytes_max {
            batch.hot = None;
        }
        self.hot_bytes += batch.memory_bytes();
        self.all.add(&batch.key);
        self.next_place = self.next_place.max(place + 1);
        let former = self.batches.insert(place, batch);
        assert!(former.is_none(), "place {place} was given twice");
    }

    /// Marks a batch as ready to be flushed: durable and below its source's first open hole. Batches of one source are
    /// marked in the order of their events, so that no flush takes one without those before it: `after` is the place that
    /// the one before has in its turn. Returns that of this one.
    pub(crate) fn mark_ready(&mut self, place: u64, after: u64) -> u64 {
        let Some(batch) = self.batches.get(&place) else { return after };
        let turn = *self.ready.entry(place).or_insert_with(|| {
            // One that brings nothing new would only hold up its source behind what others sent before it.
            let brings_rows = batch.key.events > 0;
            let counts = brings_rows && !mutant!(ReadinessIsOrder);
            let turn = (if counts { place.max(after) } else { after }, self.next_turn);
            self.turns.insert(turn, place);
            self.next_turn += 1;
            self.ready_totals.add(&batch.key);
            self.ready_hot_bytes += batch.memory_bytes();
            turn
        });
        turn.0
    }

    /// Takes a batch out: it is flushed, or its save failed.
    pub(crate) fn remove(&mut self, place: u64) -> Option<Buffered> {
        let batch = self.batches.remove(&place)?;
        self.hot_bytes -= batch.memory_bytes();
        self.all.remove(&batch.key);
        if let Some(turn) = self.ready.remove(&place) {
            self.turns.remove(&turn);
            self.ready_totals.remove(&batch.key);
            self.ready_hot_bytes -= batch.memory_bytes();
        }
        Some(batch)
    }

    /// A batch by its place.
    pub(crate) fn get(&self, place: u64) -> Option<&Buffered> {
        self.batches.get(&place)
    }

    /// What is unflushed in the journal.
    pub(crate) fn all(&self) -> Totals {
        self.all
    }

    /// What a flush could take now.
    pub(crate) fn ready(&self) -> Totals {
        self.ready_totals
    }

    /// The oldest place that a flush could take.
    pub(crate) fn first_ready(&self) -> Option<u64> {
        self.ready.first_key_value().map(|(place, _)| *place)
    }

    /// Events of the hot batches, by table.
    pub(crate) fn hot_events(&self) -> BTreeMap<&str, u64> {
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        for batch in self.batches.values().filter_map(|batch| batch.hot.as_ref()) {
            let mut events = vec![0; batch.tables.len()];
            for event in &batch.events {
                if let Some(count) = events.get_mut(usize::from(event.table)) {
                    *count += 1;
                }
            }
            for (table, events) in batch.tables.iter().zip(events) {
                *counts.entry(table).or_default() += events;
            }
        }
        counts
    }

    /// Memory of the hot batches, in bytes.
    pub(crate) fn hot_bytes(&self) -> u64 {
        self.hot_bytes
    }

    /// Memory of the hot batches that a flush could take now, in bytes.
    pub(crate) fn ready_hot_bytes(&self) -> u64 {
        self.ready_hot_bytes
    }

    /// When the oldest batch that is ready came.
    pub(crate) fn oldest_ready(&self) -> Option<MachineTime> {
        self.first_ready().and_then(|place| self.batches.get(&place)).map(|batch| batch.arrived)
    }

    /// When the oldest and the newest batch came.
    pub(crate) fn times(&self) -> Option<(MachineTime, MachineTime)> {
        let oldest = self.batches.first_key_value()?.1.arrived;
        let newest = self.batches.last_key_value()?.1.arrived;
        Some((oldest, newest))
    }

    /// The places that a flush takes: those whose turn comes first, in that order, at least one, at most about `bytes_max`
    /// bytes.
    pub(crate) fn plan(&self, bytes_max: u64) -> Vec<u64> {
        let mut bytes = 0_u64;
        let mut places = Vec::new();
        for &place in self.turns.values() {
            let batch = self.batches.get(&place).expect("ready batches are in the buffer");
            bytes += u64::from(batch.key.frame_bytes);
            if bytes > bytes_max && !places.is_empty() {
                break;
            }
            places.push(place);
        }
        places
    }
}
