//! The rule for sparse producers: they know no holes, so a refused batch must come before all that follow it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::head::BatchHead;
use crate::ingest::frontier::Gap;
use crate::time::MachineTime;

/// A batch of a sparse epoch that was refused. Remembered across restarts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Awaited {
    pub(super) epoch: Arc<str>,
    pub(super) number: u64,
    /// First and last event.
    pub(super) events: (u64, u64),
    /// When it was refused last.
    pub(super) since: MachineTime,
    /// Refused without retry: others may come.
    pub(super) given_up: bool,
}

impl Awaited {
    /// Whether the others have to wait for it.
    pub(super) fn blocks(&self, now: MachineTime, window_ms: u64) -> bool {
        !self.given_up && now.since_ms(self.since) < window_ms
    }

    /// What an accepted batch of this epoch means for it: `None` if it lies below and changes nothing; else it is no longer
    /// awaited, and if all of it was passed over, what of it will never come.
    pub(super) fn resolve(&self, head: &BatchHead) -> Option<Option<Gap>> {
        let passed = head.first > self.events.1;
        if passed {
            return Some(Some(Gap { events: self.events, batches: Some((self.number, self.number)) }));
        }
        (head.number == self.number || head.last >= self.events.0).then_some(None)
    }
}
