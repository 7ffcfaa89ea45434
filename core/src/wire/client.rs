//! What clients send: one type for each message, and how to write it.
//!
//! Fields and spelling are the seed's ("WebSocket Message Types (Client to Server)"), with `disconnect` as the
//! forerunner has it and our own fields (`sourceEpoch`, `capabilities.sparse`) beside them. [`crate::wire::parse`]
//! reads these; [`crate::producer`] writes them.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::wire::batch::CdcBatch;

/// The protocol's version, as `connect` carries it.
pub const PROTOCOL_VERSION: u64 = 1;

/// A message of a client, checked by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientMessage {
    /// Opens a session of a source.
    Connect(Connect),
    /// Brings events.
    CdcBatch(CdcBatch),
    /// Says that the client is alive.
    Heartbeat(Heartbeat),
    /// Asks for a flush now.
    FlushRequest(FlushRequest),
    /// Ends a session.
    Disconnect(Disconnect),
}

impl ClientMessage {
    /// The message as a text frame. A batch is rewritten around its own, unchanged `events`.
    pub fn to_frame(&self) -> Bytes {
        match self {
            ClientMessage::Connect(message) => to_json(message),
            ClientMessage::CdcBatch(batch) => BatchHeader::of(batch).to_frame(batch.bytes(batch.events_span)),
            ClientMessage::Heartbeat(message) => to_json(message),
            ClientMessage::FlushRequest(message) => to_json(message),
            ClientMessage::Disconnect(message) => to_json(message),
        }
    }
}

/// Opens a session: answered by `ack` `ok`, `status`, and the current `persisted` mark.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename = "connect", rename_all = "camelCase")]
pub struct Connect {
    /// The client's clock: milliseconds since the Unix epoch. 0 when absent.
    pub timestamp: i64,
    /// Echoed in the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// The source.
    pub source_do_id: String,
    /// One life of the source's numbering. Ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_epoch: Option<String>,
    /// A name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_shard_name: Option<String>,
    /// The highest batch number that the client knows to be accepted, with all below it. 0: none.
    pub last_ack_sequence: u64,
    /// [`PROTOCOL_VERSION`].
    pub protocol_version: u64,
    /// What the client can do.
    pub capabilities: Capabilities,
}

/// What a client can do. May be absent, as may each of its fields.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Capabilities {
    /// It could send binary frames. DoLake does not take them.
    pub binary_protocol: bool,
    /// It could compress.
    pub compression: bool,
    /// It sends batches.
    pub batching: bool,
    /// The most events that it puts into a batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_batch_size: Option<u64>,
    /// The longest message that it takes, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_message_size: Option<u64>,
    /// Its batch and event numbers are sparse by nature (`promises`, "Sequences"). Ours.
    pub sparse: bool,
}

/// Says that the client is alive: answered by `pong`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename = "heartbeat", rename_all = "camelCase")]
pub struct Heartbeat {
    /// The client's clock: milliseconds since the Unix epoch. 0 when absent. Echoed in the answer.
    pub timestamp: i64,
    /// Echoed in the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// The source.
    pub source_do_id: String,
    /// As in [`Connect`].
    pub last_ack_sequence: u64,
    /// Events that wait at the client.
    pub pending_events: u64,
}

/// Asks for a flush now: answered by `flush_response`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename = "flush_request", rename_all = "camelCase")]
pub struct FlushRequest {
    /// The client's clock: milliseconds since the Unix epoch. 0 when absent.
    pub timestamp: i64,
    /// Echoed in the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// The source.
    pub source_do_id: String,
    /// Why. `manual` when absent.
    pub reason: FlushReason,
}

/// Why a client wants a flush.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FlushReason {
    /// Someone asked.
    #[default]
    Manual,
    /// The client stops.
    Shutdown,
    /// The client's own buffer is full.
    BufferFull,
    /// The client's own time is up.
    TimeThreshold,
}

/// Ends a session. Not answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename = "disconnect", rename_all = "camelCase")]
pub struct Disconnect {
    /// The client's clock: milliseconds since the Unix epoch. 0 when absent.
    pub timestamp: i64,
    /// Echoed nowhere; logged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// The source.
    pub source_do_id: String,
    /// For the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A `cdc_batch` without its events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchHeader<'a> {
    /// The client's clock: milliseconds since the Unix epoch.
    pub timestamp: i64,
    /// Echoed in the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<&'a str>,
    /// The source.
    pub source_do_id: &'a str,
    /// One life of the source's numbering. Ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_epoch: Option<&'a str>,
    /// A name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_shard_name: Option<&'a str>,
    /// The batch's number, at least 1.
    pub sequence_number: u64,
    /// First event's number.
    pub first_event_sequence: u64,
    /// Last event's number.
    pub last_event_sequence: u64,
    /// Bytes of the events, about.
    pub size_bytes: u64,
    /// Whether this was sent before.
    pub is_retry: bool,
    /// How often.
    pub retry_count: u64,
}

impl<'a> BatchHeader<'a> {
    /// The header of a parsed batch.
    pub fn of(batch: &'a CdcBatch) -> BatchHeader<'a> {
        BatchHeader {
            timestamp: batch.timestamp_ms,
            correlation_id: batch.correlation_id.as_deref(),
            source_do_id: &batch.source_do_id,
            source_epoch: batch.source_epoch.as_deref(),
            source_shard_name: batch.source_shard_name.as_deref(),
            sequence_number: batch.sequence_number,
            first_event_sequence: batch.first_event_sequence,
            last_event_sequence: batch.last_event_sequence,
            size_bytes: u64::from(batch.events_span.end - batch.events_span.start),
            is_retry: batch.is_retry,
            retry_count: batch.retry_count,
        }
    }

    /// The whole message: this header, then `events`, a JSON array that is taken over byte by byte
    /// and stands before the last byte of the message.
    pub fn to_frame(&self, events: &[u8]) -> Bytes {
        let mut frame = Vec::with_capacity(events.len() + 512);
        frame.extend_from_slice(br#"{"type":"cdc_batch","#);
        let header = to_json(self);
        let fields = header.strip_prefix(b"{").and_then(|rest| rest.strip_suffix(b"}"));
        frame.extend_from_slice(fields.expect("a struct becomes a JSON object"));
        frame.extend_from_slice(br#","events":"#);
        frame.extend_from_slice(events);
        frame.push(b'}');
        Bytes::from(frame)
    }
}

/// A message as JSON.
pub(crate) fn to_json<T: Serialize>(message: &T) -> Bytes {
    Bytes::from(serde_json::to_vec(message).expect("messages hold only what JSON can hold"))
}
