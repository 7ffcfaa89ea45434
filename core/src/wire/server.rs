//! What DoLake sends: one type for each message, written by the machine and read by [`crate::producer`].
//!
//! Fields and spelling are the seed's ("WebSocket Message Types (Server to Client)"), with `pong` and
//! `flush_response` as the forerunner has them and our own fields beside them. What is `None` is left out.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::wire::client::to_json;
use crate::wire::error::NackReason;

/// A message to a client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerMessage {
    /// Something was taken, or is in the lake.
    Ack(Ack),
    /// Something was not taken.
    Nack(Nack),
    /// How DoLake is.
    Status(Status),
    /// The answer to a heartbeat.
    Pong(Pong),
    /// The answer to a flush request.
    FlushResponse(FlushResponse),
}

impl ServerMessage {
    /// The message as a text frame.
    pub fn to_frame(&self) -> Bytes {
        to_json(self)
    }

    /// Reads a text frame.
    ///
    /// # Errors
    /// It is no JSON, of an unknown `type`, or lacks a field.
    pub fn from_frame(frame: &[u8]) -> Result<ServerMessage, serde_json::Error> {
        serde_json::from_slice(frame)
    }
}

/// What an ack means (`promises`, promise 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AckStatus {
    /// A control message was handled; the number is the resume point.
    Ok,
    /// Durable in the journal.
    Buffered,
    /// In a committed snapshot, with every batch of the same source and epoch below it.
    Persisted,
    /// Every event of it was accepted before.
    Duplicate,
    /// Durable in the journal while the store is failing.
    Fallback,
}

/// Something was taken, or is in the lake.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ack {
    /// DoLake's clock: milliseconds since the Unix epoch.
    pub timestamp: i64,
    /// That of the message that is answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// A batch number.
    pub sequence_number: u64,
    /// What this means.
    pub status: AckStatus,
    /// `{sourceDoId}:{sequenceNumber}`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_id: Option<String>,
    /// More about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<AckDetails>,
    /// How much the sender may send.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// The source. Ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_do_id: Option<String>,
    /// The epoch, when it is not empty. Ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_epoch: Option<String>,
    /// The ack covers the batches from here to `sequenceNumber` that came on this connection. Ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_sequence: Option<u64>,
    /// The last number that a cumulative answer speaks of, where it is not `sequenceNumber`. Ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub through_sequence: Option<u64>,
}

/// More about an ack.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AckDetails {
    /// Events that were taken: those of the batch that were not repeats.
    pub events_processed: u64,
    /// Unflushed bytes as a part of what the journal may hold: 0.0 to 1.0.
    pub buffer_utilization: f64,
    /// Milliseconds until the next scheduled flush.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_until_flush: Option<u64>,
    /// Where it was persisted, below the store's root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persisted_path: Option<String>,
    /// The snapshot it is in. Ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot_id: Option<i64>,
    /// What is left of the rate limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remaining_tokens: Option<u64>,
    /// The rate limit's burst.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bucket_capacity: Option<u64>,
    /// The sender is asked to wait so many milliseconds before it sends more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggested_delay_ms: Option<u64>,
    /// How the store does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub circuit_breaker_state: Option<CircuitBreakerState>,
}

/// Whether the store is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CircuitBreakerState {
    /// It works.
    Closed,
    /// It fails, and is left alone for a while.
    Open,
    /// It is being tried again.
    HalfOpen,
}

/// How much a sender may send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RateLimit {
    /// Messages in a window.
    pub limit: u64,
    /// Messages left of it.
    pub remaining: u64,
    /// When the window ends: milliseconds since the Unix epoch.
    pub reset_at: i64,
}

/// Something was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Nack {
    /// DoLake's clock: milliseconds since the Unix epoch.
    pub timestamp: i64,
    /// That of the message that is answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// A batch number; 0 when the message had none that could be read.
    pub sequence_number: u64,
    /// Why.
    pub reason: NackReason,
    /// Why, in words.
    pub error_message: String,
    /// Whether sending it again as it is may help.
    pub should_retry: bool,
    /// When to send it again: milliseconds from now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_delay_ms: Option<u64>,
    /// The limit that was passed, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_size: Option<u64>,
    /// The source. Ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_do_id: Option<String>,
    /// The epoch, when it is not empty. Ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_epoch: Option<String>,
    /// The nack speaks of all batches from `sequenceNumber` to this. Ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub through_sequence: Option<u64>,
}

/// How DoLake is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// DoLake's clock: milliseconds since the Unix epoch.
    pub timestamp: i64,
    /// What it does.
    pub state: LakeState,
    /// What is not flushed yet.
    pub buffer: BufferStats,
    /// Sources with at least one connection.
    pub connected_sources: u64,
    /// When the last flush ended: milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_flush_time: Option<i64>,
    /// When the next is due: milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_flush_time: Option<i64>,
}

/// What DoLake does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LakeState {
    /// Nothing is buffered.
    Idle,
    /// Events are buffered.
    Receiving,
    /// A flush runs.
    Flushing,
    /// It reads back what a former life left; or this producer claims more than DoLake knows.
    Recovering,
    /// The store fails.
    Error,
}

/// What is not flushed yet.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BufferStats {
    /// Batches.
    pub batch_count: u64,
    /// Events.
    pub event_count: u64,
    /// Bytes in the journal.
    pub total_size_bytes: u64,
    /// `totalSizeBytes` as a part of what may be: 0.0 to 1.0.
    pub utilization: f64,
    /// When the oldest of them came: milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_batch_time: Option<i64>,
    /// When the newest came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest_batch_time: Option<i64>,
}

/// The answer to a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pong {
    /// That of the heartbeat.
    pub timestamp: i64,
    /// DoLake's clock: milliseconds since the Unix epoch.
    pub server_time: i64,
}

/// The answer to a flush request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FlushResponse {
    /// That of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// What became of it.
    pub result: FlushResult,
}

/// What became of a flush: also the answer to `POST /flush`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FlushResult {
    /// Whether all that was ready is in the lake.
    pub success: bool,
    /// Batches that are in the lake now.
    pub batches_flushed: u64,
    /// Their events.
    pub events_flushed: u64,
    /// Bytes of data files.
    pub bytes_written: u64,
    /// Data files, below the store's root.
    pub paths: Vec<String>,
    /// How long it took.
    pub duration_ms: u64,
    /// Whether events stayed in the journal because the store failed.
    pub used_fallback: bool,
    /// The snapshots that it made.
    #[serde(default)]
    pub snapshots: Vec<i64>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(message: &ServerMessage, json: &str) {
        assert_eq!(String::from_utf8(message.to_frame().to_vec()).expect("UTF-8"), json);
        assert_eq!(&ServerMessage::from_frame(json.as_bytes()).expect("reads back"), message);
    }

    fn ack() -> Ack {
        Ack {
            timestamp: 5,
            correlation_id: None,
            sequence_number: 7,
            status: AckStatus::Ok,
            batch_id: None,
            details: None,
            rate_limit: None,
            source_do_id: None,
            source_epoch: None,
            first_sequence: None,
            through_sequence: None,
        }
    }

    #[test]
    fn messages_are_spelled_as_in_the_seed_and_leave_out_what_is_not_there() {
        check(&ServerMessage::Ack(ack()), r#"{"type":"ack","timestamp":5,"sequenceNumber":7,"status":"ok"}"#);
        let details = AckDetails {
            events_processed: 3,
            buffer_utilization: 0.5,
            circuit_breaker_state: Some(CircuitBreakerState::HalfOpen),
            suggested_delay_ms: Some(20),
            ..AckDetails::default()
        };
        check(
            &ServerMessage::Ack(Ack {
                status: AckStatus::Buffered,
                batch_id: Some("a:7".into()),
                details: Some(details),
                source_do_id: Some("a".into()),
                source_epoch: Some("e".into()),
                first_sequence: Some(6),
                ..ack()
            }),
            concat!(
                r#"{"type":"ack","timestamp":5,"sequenceNumber":7,"status":"buffered","batchId":"a:7","#,
                r#""details":{"eventsProcessed":3,"bufferUtilization":0.5,"suggestedDelayMs":20,"#,
                r#""circuitBreakerState":"half-open"},"sourceDoId":"a","sourceEpoch":"e","firstSequence":6}"#
            ),
        );
        check(
            &ServerMessage::Nack(Nack {
                timestamp: 1,
                correlation_id: Some("c".into()),
                sequence_number: 2,
                reason: NackReason::PayloadTooLarge,
                error_message: "expected less".into(),
                should_retry: false,
                retry_delay_ms: None,
                max_size: Some(9),
                source_do_id: None,
                source_epoch: None,
                through_sequence: None,
            }),
            concat!(
                r#"{"type":"nack","timestamp":1,"correlationId":"c","sequenceNumber":2,"reason":"payload_too_large","#,
                r#""errorMessage":"expected less","shouldRetry":false,"maxSize":9}"#
            ),
        );
        check(
            &ServerMessage::Status(Status {
                timestamp: 1,
                state: LakeState::Recovering,
                buffer: BufferStats::default(),
                connected_sources: 4,
                last_flush_time: None,
                next_flush_time: Some(3),
            }),
            concat!(
                r#"{"type":"status","timestamp":1,"state":"recovering","buffer":{"batchCount":0,"eventCount":0,"#,
                r#""totalSizeBytes":0,"utilization":0.0},"connectedSources":4,"nextFlushTime":3}"#
            ),
        );
        check(
            &ServerMessage::Pong(Pong { timestamp: 1, server_time: 2 }),
            r#"{"type":"pong","timestamp":1,"serverTime":2}"#,
        );
        check(
            &ServerMessage::FlushResponse(FlushResponse { correlation_id: None, result: FlushResult::default() }),
            concat!(
                r#"{"type":"flush_response","result":{"success":false,"batchesFlushed":0,"eventsFlushed":0,"#,
                r#""bytesWritten":0,"paths":[],"durationMs":0,"usedFallback":false,"snapshots":[]}}"#
            ),
        );
    }

    #[test]
    fn fields_of_later_versions_are_passed_over() {
        let json = r#"{"type":"pong","timestamp":1,"serverTime":2,"later":{"x":1}}"#;
        assert_eq!(
            ServerMessage::from_frame(json.as_bytes()).expect("reads"),
            ServerMessage::Pong(Pong { timestamp: 1, server_time: 2 })
        );
    }
}
