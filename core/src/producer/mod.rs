//! The other end of the socket: a producer's protocol machine, deterministic and without I/O like the rest of the crate.
//!
//! It opens sessions, numbers batches, keeps a window of unanswered ones, sends again what was not answered (with the
//! same number and the same bytes), waits when it is asked to, and knows what is safe. It does not read sources, does
//! not build batches, and keeps nothing over a restart: what was not accepted, its owner offers again.
//!
//! A driver delivers a [`ProducerEvent`] to [`Producer::step`], carries out the [`ProducerCommand`]s, and delivers
//! [`ProducerEvent::Wake`] when [`Producer::deadline`] has passed. Module `machine` holds the session, `window` what is
//! known of each batch.

mod machine;
mod window;

#[cfg(test)]
mod fake_server;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::wire::NackReason;

pub use machine::Producer;

/// How a producer behaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProducerConfig {
    /// The source: 1 to 256 bytes without control characters.
    pub source_do_id: String,
    /// One life of the source's numbering; `None` is the empty epoch.
    pub source_epoch: Option<String>,
    /// A name for people.
    pub source_shard_name: Option<String>,
    /// Batch and event numbers are sparse by nature.
    pub sparse: bool,
    /// The highest batch number that the owner knows to be accepted, with all below it; 0 if none.
    pub last_ack_sequence: u64,
    /// A number names the same events in every life of the producer, so batches at or below the resume number that
    /// DoLake tells need not be sent. If not sure, leave it off: they are then sent and answered `duplicate`.
    pub skip_accepted: bool,
    /// Batches that may be unanswered at once; at least 1.
    pub window_batches: usize,
    /// Bytes of events that may be unanswered at once; one batch may be larger.
    pub window_bytes: usize,
    /// First delay of the exponential back-off, in milliseconds.
    pub base_retry_delay_ms: u64,
    /// Longest delay of the exponential back-off, in milliseconds.
    pub max_retry_delay_ms: u64,
    /// A heartbeat is sent when nothing was sent for so long.
    pub heartbeat_interval_ms: u64,
    /// A connection on which nothing came for so long is dead. At least twice the heartbeat's interval.
    pub silence_timeout_ms: u64,
}

impl ProducerConfig {
    /// The defaults, for a source.
    pub fn new(source_do_id: &str) -> ProducerConfig {
        ProducerConfig {
            source_do_id: source_do_id.to_owned(),
            source_epoch: None,
            source_shard_name: None,
            sparse: false,
            last_ack_sequence: 0,
            skip_accepted: false,
            window_batches: 64,
            window_bytes: 16 << 20,
            base_retry_delay_ms: 100,
            max_retry_delay_ms: 30_000,
            heartbeat_interval_ms: 10_000,
            silence_timeout_ms: 30_000,
        }
    }
}

/// The n-th connection that a producer tries. What comes of an earlier one is recognised by it and dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Attempt(pub u64);

/// What happens to a producer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProducerEvent {
    /// The socket that `Dial` asked for is open.
    Connected(Attempt),
    /// It could not be opened, or is gone.
    Disconnected {
        /// Which.
        attempt: Attempt,
        /// How long the other side asked to wait (a refused upgrade's `Retry-After`), if it did.
        retry_after_ms: Option<u64>,
    },
    /// A text message came.
    Received(Attempt, Bytes),
    /// There is a batch to send. Offer only while [`Producer::has_room`].
    Offer(Offered),
    /// A deadline passed. A spurious one changes nothing. Also the first event of all.
    Wake,
    /// No more batches come; stop when all are answered, and in the lake if so wanted.
    Finish(Until),
}

/// A batch to send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offered {
    /// Its number: above that of the batch offered before. `None`: the next after all that DoLake has accepted from
    /// this source and epoch, and after the one before.
    pub number: Option<u64>,
    /// The events, as the JSON array that is sent.
    pub events: Bytes,
    /// How many.
    pub event_count: u64,
    /// The first event's `sequence`.
    pub first_event_sequence: u64,
    /// The last event's `sequence`.
    pub last_event_sequence: u64,
}

/// How safe a batch must be before a producer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Until {
    /// Durable in the journal.
    Buffered,
    /// In a committed snapshot.
    Persisted,
}

/// What a producer wants done, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProducerCommand {
    /// Opens a socket, now.
    Dial(Attempt),
    /// Sends a text message on it.
    Send(Attempt, Bytes),
    /// Closes it after what was sent before, or gives up opening it. Nothing more of it is listened to.
    Close(Attempt),
    /// How far it is, whenever that changed.
    Report(Progress),
    /// A batch will never be taken as it is. It is not sent again.
    Refused(RefusedBatch),
    /// The end: after [`ProducerEvent::Finish`], or when the session itself is refused for good.
    Finished(Result<Progress, SessionRefused>),
}

/// How far a producer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// Batches that were offered.
    pub offered_batches: u64,
    /// Their events.
    pub offered_events: u64,
    /// Batches that are durable.
    pub accepted_batches: u64,
    /// Their events.
    pub accepted_events: u64,
    /// Batches of these that DoLake had before.
    pub duplicate_batches: u64,
    /// Batches that are in the lake.
    pub persisted_batches: u64,
    /// Their events.
    pub persisted_events: u64,
    /// Batches that were refused for good.
    pub refused_batches: u64,
    /// Their events.
    pub refused_events: u64,
    /// Times that a batch was sent again.
    pub resends: u64,
    /// Sessions that were opened.
    pub sessions: u64,
}

/// A batch that was refused for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedBatch {
    /// Its number.
    pub number: u64,
    /// Its first event's `sequence`.
    pub first_event_sequence: u64,
    /// Its last event's `sequence`.
    pub last_event_sequence: u64,
    /// Why.
    pub reason: NackReason,
    /// Why, in DoLake's words.
    pub message: String,
}

/// DoLake refused this producer, not a batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("the session was refused ({reason:?}): {message}")]
pub struct SessionRefused {
    /// Why.
    pub reason: NackReason,
    /// Why, in DoLake's words.
    pub message: String,
}
