//! A parsed `cdc_batch`: header fields by value, events as spans of the frame they came in.

use std::ops::Range;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A piece of a frame: `start..end`, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// Byte after the last.
    pub end: u32,
}

impl Span {
    /// As a range of indexes.
    pub fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// What happened to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operation {
    /// It is new; `after` is there.
    Insert,
    /// It changed; `after` is there, `before` may be.
    Update,
    /// It is gone; `before` may be there.
    Delete,
}

impl Operation {
    /// The seed's spelling, which is also what `_cdc_op` holds.
    pub fn as_str(self) -> &'static str {
        match self {
            Operation::Insert => "INSERT",
            Operation::Update => "UPDATE",
            Operation::Delete => "DELETE",
        }
    }
}

/// One change of one row. Spans are valid JSON values of the batch's frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventView {
    /// Rises strictly within a batch; at most [`crate::limits::SEQUENCE_MAX`].
    pub sequence: u64,
    /// Event time: milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
    /// What happened.
    pub operation: Operation,
    /// Index into [`CdcBatch::tables`].
    pub table: u16,
    /// A JSON string, with its quotes and escapes.
    pub row_id: Span,
    /// A JSON object. Never `null`: that is read as absent.
    pub before: Option<Span>,
    /// A JSON object. Never `null`: that is read as absent.
    pub after: Option<Span>,
    /// Any JSON value.
    pub metadata: Option<Span>,
}

/// A batch of events of one source, checked against the wire's rules (shape, limits, and its own header).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CdcBatch {
    /// The whole message. All spans point into it.
    pub frame: Bytes,
    /// `timestamp` of the message: milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
    /// Echoed in the answer.
    pub correlation_id: Option<String>,
    /// The source.
    pub source_do_id: String,
    /// `sourceEpoch`, when the message has one.
    pub source_epoch: Option<String>,
    /// A name for people.
    pub source_shard_name: Option<String>,
    /// The batch's number.
    pub sequence_number: u64,
    /// First event's number.
    pub first_event_sequence: u64,
    /// Last event's number.
    pub last_event_sequence: u64,
    /// Whether the producer says that it sends this again. Decides nothing.
    pub is_retry: bool,
    /// How often, by its own count. Decides nothing.
    pub retry_count: u64,
    /// The array `events` as it stands in the frame.
    pub events_span: Span,
    /// xxh3-128 of the array `events` as it stands in the frame.
    pub events_hash: u128,
    /// Names of the tables, in order of their first event.
    pub tables: Vec<String>,
    /// At least one, `sequence` strictly rising.
    pub events: Vec<EventView>,
}

/// What an event takes in memory beside its text. What is kept in memory, and so what is read again, follows from it, and
/// must be the same on all targets, whatever a pointer's width there.
const EVENT_BYTES: usize = 64;

/// What a batch takes beside its text and events; the same on all targets.
const BATCH_BYTES: usize = 256;

const _: () = assert!(size_of::<EventView>() <= EVENT_BYTES && size_of::<CdcBatch>() <= BATCH_BYTES);

impl CdcBatch {
    /// The bytes of a span.
    pub fn bytes(&self, span: Span) -> &[u8] {
        &self.frame[span.range()]
    }

    /// Memory that this batch holds, in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.frame.len() + self.events.len() * EVENT_BYTES + BATCH_BYTES
    }
}
