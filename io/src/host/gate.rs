//! Bounds the bytes that are on their way from sockets to the journal. A socket whose frame does not fit waits, and
//! stops reading: so a producer faster than the disk is slowed down by TCP, and memory stays bounded (promise 6).

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of frames and bodies that may be on their way at once.
pub const BYTES_IN_FLIGHT_MAX: u32 = 16 << 20;

/// What one event counts at least, so that very many small ones are bounded too.
const EVENT_BYTES_MIN: u32 = 256;

/// Holds the room of a frame until it is dropped.
#[derive(Debug, Default)]
pub struct Ballast(#[allow(dead_code, reason = "held for its drop alone")] Option<OwnedSemaphorePermit>);

/// The gate. Its clones are one.
#[derive(Debug, Clone)]
pub struct Gate {
    room: Arc<Semaphore>,
}

impl Default for Gate {
    fn default() -> Gate {
        Gate { room: Arc::new(Semaphore::new(BYTES_IN_FLIGHT_MAX as usize)) }
    }
}

impl Gate {
    /// Waits until there is room for `bytes`. What is larger than the whole gate passes alone.
    pub async fn admit(&self, bytes: usize) -> Ballast {
        let size = u32::try_from(bytes).unwrap_or(u32::MAX).clamp(EVENT_BYTES_MIN, BYTES_IN_FLIGHT_MAX);
        let permit = Arc::clone(&self.room).acquire_many_owned(size).await;
        Ballast(Some(permit.expect("the semaphore is never closed")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_frame_waits_until_there_is_room_for_it() {
        let gate = Gate::default();
        let first = gate.admit(BYTES_IN_FLIGHT_MAX as usize - 1_000).await;
        let mut second = std::pin::pin!(gate.admit(2_000));
        assert!(futures_util::poll!(&mut second).is_pending());
        drop(first);
        assert!(futures_util::poll!(&mut second).is_ready());
    }

    #[tokio::test]
    async fn a_frame_larger_than_the_gate_passes_alone() {
        let gate = Gate::default();
        let huge = gate.admit(usize::MAX).await;
        let mut small = std::pin::pin!(gate.admit(1));
        assert!(futures_util::poll!(&mut small).is_pending());
        drop(huge);
        assert!(futures_util::poll!(&mut small).is_ready());
    }
}
