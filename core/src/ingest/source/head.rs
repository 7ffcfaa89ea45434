//! The head of an accepted batch: all that a frontier needs of it, small enough to be part of its journal key.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::time::MachineTime;

/// Position of a batch in the journal. Rises with each batch of any source, is never given twice.
pub type Place = u64;

/// What is kept of a batch's hash: the low half of the xxh3-128 of its events, little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fingerprint(pub [u8; 8]);

impl Fingerprint {
    /// Of [`crate::wire::batch::CdcBatch::events_hash`].
    pub fn of(events_hash: u128) -> Fingerprint {
        let bytes = events_hash.to_le_bytes();
        Fingerprint([bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7]])
    }
}

/// How an epoch began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    /// The batch number that counts as the last one before it: `lastAckSequence` of the connection whose batch was
    /// accepted first, 0 without `connect`.
    pub base: u64,
    /// Whether its batch and event numbers are sparse by nature (`capabilities.sparse`), so that it knows no holes.
    pub sparse: bool,
}

/// An accepted batch without its events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchHead {
    /// Where it is in the journal.
    pub place: Place,
    /// The epoch it was accepted under.
    pub epoch: Arc<str>,
    /// Its number.
    pub number: u64,
    /// First event.
    pub first: u64,
    /// Last event.
    pub last: u64,
    /// Tells a duplicate from an impostor.
    pub hash: Fingerprint,
    /// Size in the journal, in bytes.
    pub bytes: u64,
    /// The event ranges (first and last, both included, rising) that count; `None`: all; empty: all were there before.
    pub taken: Option<Vec<(u64, u64)>>,
    /// How the epoch began, while no batch of it was durable.
    pub opening: Option<Opening>,
    /// Whether it covers all that is below it: its epoch is sparse, or nothing is compared.
    pub no_holes: bool,
    /// When it was accepted.
    pub time: MachineTime,
}

impl BatchHead {
    /// The first of its events that counts.
    pub(super) fn counts_from(&self) -> Option<u64> {
        self.taken.as_ref().map_or(Some(self.first), |taken| taken.first().map(|range| range.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal;

    fn head() -> BatchHead {
        BatchHead {
            place: 4_000_000,
            epoch: "".into(),
            number: 1_000_000,
            first: 500_000_001,
            last: 500_000_500,
            hash: Fingerprint::of(u128::MAX / 3),
            bytes: 200_000,
            taken: None,
            opening: None,
            no_holes: false,
            time: MachineTime(1 << 40),
        }
    }

    #[test]
    fn a_head_fits_well_into_a_key_and_comes_back_the_same() {
        let bytes = journal::encode(&head());
        assert!(bytes.len() <= 48, "{} bytes", bytes.len());
        assert_eq!(journal::decode::<BatchHead>(b"b", &bytes).ok(), Some(head()));
    }
}
