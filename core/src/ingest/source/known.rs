//! The batches that are remembered one by one: those in the journal, and the latest of those that left it.

use std::collections::{BTreeMap, VecDeque};

use super::head::{BatchHead, Fingerprint, Place};
use crate::limits::{HASHES_PER_SOURCE_MAX, HASHES_PER_SOURCE_MIN};
use crate::time::MachineTime;

/// A remembered batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KnownBatch {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) hash: Fingerprint,
    pub(super) time: MachineTime,
    /// Where it is in the journal, if it still is.
    pub(super) place: Option<Place>,
}

/// Index of an epoch of the source, and a batch number.
pub(super) type NumberKey = (usize, u64);

/// Remembered batches by number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Known {
    by_number: BTreeMap<NumberKey, KnownBatch>,
    /// Those that left the journal, oldest first.
    released: VecDeque<NumberKey>,
}

impl Known {
    pub(super) fn get(&self, key: NumberKey) -> Option<&KnownBatch> {
        self.by_number.get(&key)
    }

    /// A batch is in the journal, or on its way there.
    pub(super) fn insert(&mut self, epoch: usize, head: &BatchHead) {
        let BatchHead { first, last, hash, time, .. } = *head;
        let batch = KnownBatch { first, last, hash, time, place: Some(head.place) };
        self.by_number.insert((epoch, head.number), batch);
    }

    /// A batch never came into the journal.
    pub(super) fn forget(&mut self, key: NumberKey, place: Place) {
        if self.by_number.get(&key).is_some_and(|batch| batch.place == Some(place)) {
            self.by_number.remove(&key);
        }
    }

    /// A batch left the journal.
    pub(super) fn release(&mut self, key: NumberKey, place: Place) {
        if let Some(batch) = self.by_number.get_mut(&key).filter(|batch| batch.place == Some(place)) {
            batch.place = None;
            self.released.push_back(key);
        }
    }

    /// Puts back what [`Known::released`] gave.
    pub(super) fn restore(&mut self, key: NumberKey, batch: KnownBatch) {
        self.by_number.insert(key, batch);
        self.released.push_back(key);
    }

    /// Those that left the journal, oldest first.
    pub(super) fn released(&self) -> impl Iterator<Item = (NumberKey, KnownBatch)> {
        self.released.iter().filter_map(|key| self.by_number.get(key).map(|batch| (*key, *batch)))
    }

    /// Forgets what is older than the window or too much, but never the last few.
    pub(super) fn trim(&mut self, now: MachineTime, window_ms: u64) {
        let least = if mutant!(HashesForgottenAtOnce) { 0 } else { HASHES_PER_SOURCE_MIN };
        let window_ms = if mutant!(HashesForgottenAtOnce) { 0 } else { window_ms };
        while let Some(key) = self.released.front().copied().filter(|_| self.released.len() > least) {
            let batch = self.by_number.get(&key).copied();
            let recent = batch.is_some_and(|batch| now.since_ms(batch.time) < window_ms);
            if recent && self.released.len() <= HASHES_PER_SOURCE_MAX {
                break;
            }
            self.released.pop_front();
            if batch.is_some_and(|batch| batch.place.is_none()) {
                self.by_number.remove(&key);
            }
        }
    }
}
