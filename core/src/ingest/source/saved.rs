//! A source's control row: what is known of it beside the heads of its batches in the journal.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Counters;
use super::epoch::Epoch;
use super::head::{Fingerprint, Opening};
use super::holes::HoleClocks;
use super::known::{Known, KnownBatch};
use super::sparse::AwaitedBatches;
use crate::ingest::frontier::{ClosedGaps, Frontier};
use crate::time::MachineTime;

/// What [`super::Source::to_saved`] gives and [`super::Source::restore`] takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedSource {
    /// When it was written.
    pub(super) time: MachineTime,
    /// Oldest first.
    pub(super) epochs: Vec<SavedEpoch>,
    known: Vec<SavedKnown>,
    pub(super) awaited: AwaitedBatches,
    pub(super) counters: Counters,
}

/// An epoch without its list of batches in the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SavedEpoch {
    name: Arc<str>,
    opening: Opening,
    durable: Frontier,
    closed: ClosedGaps,
    clocks: HoleClocks,
    mark: Option<u64>,
    unmarked: BTreeSet<(u64, u64)>,
}

/// A remembered batch. Numbers are differences to the entry before it, and its first event to the one after the entry
/// before it, so that most of them take one byte.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct SavedKnown {
    epoch: i64,
    number: i64,
    first: i64,
    length: i64,
    hash: Fingerprint,
    time: i64,
}

/// Stored bytes that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Another layout.
    #[error("{what}: expected version {expected}, got {got}; it was written by another release of DoLake")]
    Version {
        /// What was read.
        what: &'static str,
        /// The version that this release writes.
        expected: u8,
        /// What the first byte says.
        got: u8,
    },
    /// Bytes that no release wrote.
    #[error("{what}: {bytes} bytes cannot be read ({error}); the journal is damaged")]
    Damaged {
        /// What was read.
        what: &'static str,
        /// How many bytes there were.
        bytes: usize,
        /// What is wrong with them.
        error: String,
    },
}

/// Reads a version byte and postcard after it, to the last byte.
pub(super) fn decode<T: DeserializeOwned>(what: &'static str, expected: u8, bytes: &[u8]) -> Result<T, DecodeError> {
    let damaged = |error: String| DecodeError::Damaged { what, bytes: bytes.len(), error };
    let (&got, body) = bytes.split_first().ok_or_else(|| damaged("no byte at all".to_owned()))?;
    if got != expected {
        return Err(DecodeError::Version { what, expected, got });
    }
    match postcard::take_from_bytes(body) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(damaged(format!("{} bytes too many", rest.len()))),
        Err(error) => Err(damaged(error.to_string())),
    }
}

/// First byte of an encoded source. Another one means another layout.
const SOURCE_VERSION: u8 = 1;

impl SavedSource {
    pub(super) fn new(
        time: MachineTime,
        epochs: &[Epoch],
        known: &Known,
        awaited: &AwaitedBatches,
        counters: Counters,
    ) -> SavedSource {
        let opened = epochs.iter().take_while(|epoch| epoch.opened);
        SavedSource {
            time,
            epochs: opened.map(SavedEpoch::of).collect(),
            known: shorten(known),
            awaited: awaited.clone(),
            counters,
        }
    }

    /// The same for a machine whose time is earlier than when it was written: by so much all that has yet to pass is
    /// earlier, too. Such a machine went on after a restart from what other rows told, and this one is read when its source
    /// is asked for. (What is remembered of batches is remembered a little longer.)
    pub(super) fn not_after(mut self, now: MachineTime) -> SavedSource {
        let ahead_ms = self.time.since_ms(now);
        self.time = self.time.before_ms(ahead_ms);
        for epoch in &mut self.epochs {
            epoch.clocks.set_back(ahead_ms);
        }
        self.awaited.set_back(ahead_ms);
        self
    }

    /// As bytes for the journal: a version byte, then postcard. About 250 bytes for a source at rest.
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_extend(self, vec![SOURCE_VERSION]).expect("a source has no type that postcard cannot write")
    }

    /// Reads what [`SavedSource::encode`] wrote.
    ///
    /// # Errors
    /// Another version, or bytes that no release wrote.
    pub fn decode(bytes: &[u8]) -> Result<SavedSource, DecodeError> {
        decode("source", SOURCE_VERSION, bytes)
    }

    pub(super) fn known(&self) -> Known {
        let mut known = Known::default();
        let mut before = KnownFields::default();
        for entry in &self.known {
            let this = KnownFields {
                epoch: before.epoch + entry.epoch,
                number: before.number + entry.number,
                first: before.first + before.length + entry.first,
                length: before.length + entry.length,
                time: before.time + entry.time,
            };
            let (first, time) = (unsigned(this.first), MachineTime(unsigned(this.time)));
            let last = first + unsigned(this.length) - 1;
            let batch = KnownBatch { first, last, hash: entry.hash, time, place: None };
            let epoch = usize::try_from(this.epoch).expect("an epoch's index is what was saved");
            known.restore((epoch, unsigned(this.number)), batch);
            before = this;
        }
        known
    }
}

impl SavedEpoch {
    fn of(epoch: &Epoch) -> SavedEpoch {
        SavedEpoch {
            name: Arc::clone(&epoch.name),
            opening: epoch.opening,
            durable: epoch.durable.clone(),
            closed: epoch.closed.clone(),
            clocks: epoch.clocks.clone(),
            mark: epoch.mark,
            unmarked: epoch.unmarked.clone(),
        }
    }

    /// The epoch as it was, but for its list of batches in the journal. That they are covered is known here, and covering
    /// them again changes nothing.
    pub(super) fn restore(self) -> Epoch {
        let mut epoch = Epoch::new(self.name, self.opening);
        epoch.opened = true;
        epoch.all = self.durable.clone();
        epoch.durable = self.durable;
        epoch.closed = self.closed;
        epoch.clocks = self.clocks;
        epoch.mark = self.mark;
        epoch.unmarked = self.unmarked;
        epoch
    }
}

/// The fields of a remembered batch that are stored as differences.
#[derive(Default)]
struct KnownFields {
    epoch: i64,
    number: i64,
    first: i64,
    /// Event numbers from first to last.
    length: i64,
    time: i64,
}

fn shorten(known: &Known) -> Vec<SavedKnown> {
    let mut before = KnownFields::default();
    let entry = |((epoch, number), batch): ((usize, u64), KnownBatch)| {
        let this = KnownFields {
            epoch: i64::try_from(epoch).expect("there are few epochs"),
            number: signed(number),
            first: signed(batch.first),
            length: signed(batch.last - batch.first + 1),
            time: signed(batch.time.0),
        };
        let entry = SavedKnown {
            epoch: this.epoch - before.epoch,
            number: this.number - before.number,
            first: this.first - (before.first + before.length),
            length: this.length - before.length,
            hash: batch.hash,
            time: this.time - before.time,
        };
        before = this;
        entry
    };
    known.released().map(entry).collect()
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).expect("sequence numbers and machine time are below 2^63")
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).expect("the sum of the differences is what was saved")
}
