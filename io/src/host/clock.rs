//! The host's wall clock, behind a seam: the simulated network has a time of its own.

use std::fmt::Debug;
use std::time::{SystemTime, UNIX_EPOCH};

use dolake_core::Timestamp;

/// Tells the machine what time it is. It may jump; the machine counts on that (`promises`, "Time").
pub trait Clock: Debug + Send + Sync {
    /// The wall clock's time.
    fn now(&self) -> Timestamp;
}

/// The system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since_epoch_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_millis());
        Timestamp(i64::try_from(since_epoch_ms).unwrap_or(i64::MAX))
    }
}
