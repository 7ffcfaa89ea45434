//! The words of acks and nacks.

use crate::context::Context;
use crate::flush::breaker::{BreakerState, backoff_ms};
use crate::ingest::source::closed_hole_message;
use crate::wire::batch::CdcBatch;
use crate::wire::client::Connect;
use crate::wire::server::{Ack, AckDetails, AckStatus, CircuitBreakerState, Nack, ServerMessage};
use crate::wire::{NackReason, WireError};

/// The longest delay that backpressure suggests.
const SUGGESTED_DELAY_MS_MAX: u64 = 5_000;

/// Why a batch is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) reason: NackReason,
    pub(crate) message: String,
    /// `None`: sending it again as it is cannot help.
    pub(crate) retry_delay_ms: Option<u64>,
}

impl Refused {
    /// It may be taken later.
    pub(crate) fn retry(reason: NackReason, message: &str, cx: &mut Context<'_>) -> Refused {
        let delay_ms = backoff_ms(4, None, cx.config, cx.draws);
        Refused { reason, message: message.to_owned(), retry_delay_ms: Some(delay_ms) }
    }

    /// It is never taken.
    pub(crate) fn finally(reason: NackReason, message: String) -> Refused {
        Refused { reason, message, retry_delay_ms: None }
    }
}

/// Bytes that the journal may hold unflushed now.
pub(crate) fn capacity(cx: &Context<'_>) -> u64 {
    let fallback = if cx.store.failing && cx.config.enable_fallback { cx.config.max_fallback_size } else { 0 };
    cx.config.max_buffer_size.saturating_add(fallback)
}

/// `bufferUtilization` of so many unflushed bytes.
pub(crate) fn utilization(buffered_bytes: u64, cx: &Context<'_>) -> f64 {
    (buffered_bytes as f64 / cx.config.max_buffer_size as f64).min(1.0)
}

/// What every ack carries.
pub(crate) fn details(processed: u64, buffered_bytes: u64, cx: &Context<'_>) -> AckDetails {
    let utilization = utilization(buffered_bytes, cx);
    let threshold = cx.config.backpressure_threshold;
    let pressure = if utilization > threshold { (utilization - threshold) / (1.0 - threshold).max(0.01) } else { 0.0 };
    let suggested = (pressure * SUGGESTED_DELAY_MS_MAX as f64) as u64;
    AckDetails {
        events_processed: processed,
        buffer_utilization: utilization,
        time_until_flush: Some(cx.store.next_flush_ms),
        suggested_delay_ms: (suggested > 0).then(|| suggested.max(cx.config.base_retry_delay_ms)),
        circuit_breaker_state: Some(match cx.store.breaker {
            BreakerState::Closed => CircuitBreakerState::Closed,
            BreakerState::Open => CircuitBreakerState::Open,
            BreakerState::HalfOpen => CircuitBreakerState::HalfOpen,
        }),
        ..AckDetails::default()
    }
}

/// The ack of one batch.
pub(crate) fn ack(
    batch: &CdcBatch,
    epoch: &str,
    status: AckStatus,
    processed: u64,
    buffered_bytes: u64,
    cx: &Context<'_>,
) -> ServerMessage {
    let mut ack = bare_ack(&batch.source_do_id, epoch, batch.sequence_number, status, cx);
    ack.correlation_id.clone_from(&batch.correlation_id);
    ack.details = Some(details(processed, buffered_bytes, cx));
    ServerMessage::Ack(ack)
}

/// An ack without details.
pub(crate) fn bare_ack(source: &str, epoch: &str, number: u64, status: AckStatus, cx: &Context<'_>) -> Ack {
    Ack {
        timestamp: cx.wall.0,
        correlation_id: None,
        sequence_number: number,
        status,
        batch_id: Some(format!("{source}:{number}")),
        details: None,
        rate_limit: None,
        source_do_id: Some(source.to_owned()),
        source_epoch: named_epoch(epoch),
        first_sequence: None,
        through_sequence: None,
    }
}

/// The nack of one batch.
pub(crate) fn nack(batch: &CdcBatch, epoch: &str, refused: &Refused, cx: &Context<'_>) -> ServerMessage {
    let for_good = mutant!(BufferFullForGood) && refused.reason == NackReason::BufferFull;
    ServerMessage::Nack(Nack {
        timestamp: cx.wall.0,
        correlation_id: batch.correlation_id.clone(),
        sequence_number: batch.sequence_number,
        reason: refused.reason,
        error_message: refused.message.clone(),
        should_retry: refused.retry_delay_ms.is_some() && !for_good,
        retry_delay_ms: refused.retry_delay_ms,
        max_size: None,
        source_do_id: Some(batch.source_do_id.clone()),
        source_epoch: named_epoch(epoch),
        through_sequence: None,
    })
}

/// The nack of a message that is no message; `stream` is the source and the epoch that it seems to be of.
pub(crate) fn nack_malformed(error: &WireError, stream: Option<(String, String)>, cx: &Context<'_>) -> ServerMessage {
    let (source, epoch) = stream.unzip();
    ServerMessage::Nack(Nack {
        timestamp: cx.wall.0,
        correlation_id: error.named.correlation_id.clone(),
        sequence_number: error.named.sequence_number.unwrap_or(0),
        reason: error.reason,
        error_message: error.message.clone(),
        should_retry: false,
        retry_delay_ms: None,
        max_size: error.max_size,
        source_do_id: source,
        source_epoch: epoch.as_deref().and_then(named_epoch),
        through_sequence: None,
    })
}

/// The nack that names batches which will never be taken, because their hole was closed.
pub(crate) fn nack_closed(source: &str, epoch: &str, (first, through): (u64, u64), cx: &Context<'_>) -> ServerMessage {
    ServerMessage::Nack(Nack {
        timestamp: cx.wall.0,
        correlation_id: None,
        sequence_number: first,
        reason: NackReason::InvalidSequence,
        error_message: closed_hole_message(first, through),
        should_retry: false,
        retry_delay_ms: None,
        max_size: None,
        source_do_id: Some(source.to_owned()),
        source_epoch: named_epoch(epoch),
        through_sequence: Some(through),
    })
}

/// An epoch as messages carry it.
pub(crate) fn named_epoch(epoch: &str) -> Option<String> {
    (!epoch.is_empty()).then(|| epoch.to_owned())
}

/// The seed's spelling of a reason.
pub(crate) fn reason_name(reason: NackReason) -> &'static str {
    match reason {
        NackReason::BufferFull => "buffer_full",
        NackReason::RateLimited => "rate_limited",
        NackReason::InvalidSequence => "invalid_sequence",
        NackReason::InvalidFormat => "invalid_format",
        NackReason::InternalError => "internal_error",
        NackReason::ShuttingDown => "shutting_down",
        NackReason::PayloadTooLarge => "payload_too_large",
        NackReason::EventTooLarge => "event_too_large",
        NackReason::LoadShedding => "load_shedding",
        NackReason::ConnectionLimit => "connection_limit",
        NackReason::IpLimit => "ip_limit",
    }
}

/// A nack of a `connect`; with a delay if it may come again.
pub(super) fn nack_connect(
    connect: &Connect,
    reason: NackReason,
    error_message: String,
    retry_delay_ms: Option<u64>,
    cx: &Context<'_>,
) -> ServerMessage {
    ServerMessage::Nack(Nack {
        timestamp: cx.wall.0,
        correlation_id: connect.correlation_id.clone(),
        sequence_number: 0,
        reason,
        error_message,
        should_retry: retry_delay_ms.is_some(),
        retry_delay_ms,
        max_size: None,
        source_do_id: Some(connect.source_do_id.clone()),
        source_epoch: connect.source_epoch.clone(),
        through_sequence: None,
    })
}
