//! From a frame to a message, in one pass, or to an error that says where and why.
//!
//! Unknown fields are passed over (but must be JSON); an unknown `type` is refused. Rules and limits: `promises`,
//! "Sequences, duplicates and holes"; the types: [`crate::wire::client`].

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::event::Frame;
use crate::limits::{CORRELATION_ID_BYTES_MAX, SEQUENCE_MAX, SOURCE_EPOCH_BYTES_MAX, SOURCE_ID_BYTES_MAX};
use crate::wire::batch::CdcBatch;
use crate::wire::cdc::{batch_fields, post};
use crate::wire::client::ClientMessage;
use crate::wire::control::{connect, disconnect, flush_request, heartbeat};
use crate::wire::error::{NackReason, Named, Parsed, Refusal, WireError, quote};
use crate::wire::fields::{Fields, is_name, skip, string};
use crate::wire::json::Cursor;

/// How much a message may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WireLimits {
    /// Longest message, in bytes (`maxPayloadSize`).
    pub max_payload_bytes: u64,
    /// Longest event, in bytes of its JSON object (`maxEventSize`).
    pub max_event_bytes: u64,
}

/// Reads a WebSocket message.
///
/// # Errors
/// What is wrong with it, as the nack is to say.
pub fn parse(frame: &Frame, limits: &WireLimits) -> Result<ClientMessage, WireError> {
    let bytes = match frame {
        Frame::Text(bytes) => bytes,
        Frame::Binary(_) => {
            let refusal = Refusal::wrong("", "a text message", "a binary one; binaryProtocol is not offered");
            return Err(named(&[], &refusal));
        }
    };
    checked(bytes, limits, |text| message(bytes, text, limits))
}

/// Reads the body of `POST /cdc`, `{ events, sequenceNumber?, sourceEpoch? }`, as a batch of `source_do_id`.
///
/// Without a `sequenceNumber`, the last event's number is the batch's. The batch's frame is the `cdc_batch` message
/// that would have brought the same over a socket, so [`parse`] reads it back; `now_ms` is its timestamp.
///
/// # Errors
/// What is wrong with it, as the answer is to say.
pub fn parse_post(body: &Bytes, source_do_id: &str, now_ms: i64, limits: &WireLimits) -> Result<Post, WireError> {
    checked(body, limits, |text| post(text, source_do_id, now_ms, limits))
}

/// The batch of a `POST /cdc`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Post {
    /// As if a socket had brought it.
    pub batch: CdcBatch,
    /// Whether the body had a `sequenceNumber` of its own.
    pub is_numbered: bool,
}

/// Reads a `cdc_batch` again that was accepted before, whatever the limits were then.
///
/// # Errors
/// It is no `cdc_batch`: whoever kept it has damaged it.
pub(crate) fn reread(frame: Bytes) -> Result<CdcBatch, String> {
    let limits = WireLimits { max_payload_bytes: u64::MAX, max_event_bytes: u64::MAX };
    match parse(&Frame::Text(frame), &limits) {
        Ok(ClientMessage::CdcBatch(batch)) => Ok(batch),
        Ok(other) => Err(format!("expected a cdc_batch, got {other:?}")),
        Err(error) => Err(error.to_string()),
    }
}

/// What holds for any text: not too long, UTF-8. Then `read`.
fn checked<'a, T>(
    bytes: &'a Bytes,
    limits: &WireLimits,
    read: impl FnOnce(&'a str) -> Parsed<T>,
) -> Result<T, WireError> {
    let length = bytes.len() as u64;
    let max = limits.max_payload_bytes.min(u64::from(u32::MAX));
    let parsed = if length > max {
        Err(Refusal::too_large(NackReason::PayloadTooLarge, max, length))
    } else {
        match simdutf8::compat::from_utf8(bytes) {
            Ok(text) => read(text),
            Err(error) => Err(Refusal::wrong("", "UTF-8", format!("something else at byte {}", error.valid_up_to()))),
        }
    };
    parsed.map_err(|refusal| named(bytes, &refusal))
}

fn message(frame: &Bytes, text: &str, limits: &WireLimits) -> Parsed<ClientMessage> {
    let mut cursor = Cursor::new(text);
    let message = match message_type(text)?.as_str() {
        "cdc_batch" => {
            let (header, events) = batch_fields(&mut cursor, limits)?;
            ClientMessage::CdcBatch(header.into_batch(frame.clone(), events)?)
        }
        "connect" => ClientMessage::Connect(connect(&mut cursor)?),
        "heartbeat" => ClientMessage::Heartbeat(heartbeat(&mut cursor)?),
        "flush_request" => ClientMessage::FlushRequest(flush_request(&mut cursor)?),
        "disconnect" => ClientMessage::Disconnect(disconnect(&mut cursor)?),
        other => return Err(Refusal::wrong("type", TYPES, quote(&format!("{other:?}")))),
    };
    cursor.finish().map_err(|error| Refusal::syntax(text, error))?;
    Ok(message)
}

const TYPES: &str = "\"connect\", \"cdc_batch\", \"heartbeat\", \"flush_request\" or \"disconnect\"";

/// Finds `type`, which is first in all messages that programs write; else the message is read twice.
fn message_type(text: &str) -> Parsed<String> {
    let mut cursor = Cursor::new(text);
    let mut fields = Fields::of(&mut cursor)?;
    while let Some(key) = fields.next()? {
        if key.decode() == "type" {
            let value = string(fields.cursor, TYPES).map_err(|error| error.inside("type"))?;
            return Ok(value.decode().into_owned());
        }
        skip(fields.cursor)?;
    }
    Err(Refusal::missing("type", TYPES))
}

/// The error of a refused message, with what the message calls itself. Reads with a lenient parser: the message may
/// be refused for something deep inside, before or after the fields that are looked for.
#[cold]
fn named(bytes: &[u8], refusal: &Refusal) -> WireError {
    let fields: BTreeMap<String, &RawValue> = serde_json::from_slice(bytes).unwrap_or_default();
    let text = |key: &str, bytes_max: usize| {
        let value: String = serde_json::from_str(fields.get(key)?.get()).ok()?;
        is_name(&value, &(0..=bytes_max)).then_some(value)
    };
    let number = fields.get("sequenceNumber").and_then(|value| value.get().parse().ok());
    WireError {
        reason: refusal.reason,
        message: refusal.message(),
        max_size: refusal.max_size,
        named: Box::new(Named {
            correlation_id: text("correlationId", CORRELATION_ID_BYTES_MAX),
            source_do_id: text("sourceDoId", SOURCE_ID_BYTES_MAX),
            source_epoch: text("sourceEpoch", SOURCE_EPOCH_BYTES_MAX),
            sequence_number: number.filter(|number| (1..=SEQUENCE_MAX).contains(number)),
        }),
    }
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
