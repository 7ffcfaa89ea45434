//! The messages without events.

use crate::wire::client::{Capabilities, Connect, Disconnect, FlushReason, FlushRequest, Heartbeat, PROTOCOL_VERSION};
use crate::wire::error::{Parsed, Refusal, quote};
use crate::wire::fields::{Fields, boolean, optional, sequence, skip, string};
use crate::wire::header::object;
use crate::wire::json::Cursor;

pub(super) fn connect(cursor: &mut Cursor<'_>) -> Parsed<Connect> {
    let (mut last_ack, mut version, mut can) = (0, PROTOCOL_VERSION, Capabilities::default());
    let mut header = object(cursor, |key, fields| {
        match key {
            "lastAckSequence" => {
                fields.once(0)?;
                last_ack = optional(fields.cursor, |value| sequence(value, 0))?.unwrap_or(0);
            }
            "protocolVersion" => {
                fields.once(1)?;
                version = optional(fields.cursor, |value| sequence(value, 0))?.unwrap_or(PROTOCOL_VERSION);
                if version != PROTOCOL_VERSION {
                    return Err(Refusal::wrong("", PROTOCOL_VERSION, version));
                }
            }
            "capabilities" => {
                fields.once(2)?;
                can = optional(fields.cursor, capabilities)?.unwrap_or_default();
            }
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(Connect {
        timestamp: header.timestamp_ms,
        source_do_id: header.source()?,
        correlation_id: header.correlation_id,
        source_epoch: header.source_epoch,
        source_shard_name: header.source_shard_name,
        last_ack_sequence: last_ack,
        protocol_version: version,
        capabilities: can,
    })
}

fn capabilities(cursor: &mut Cursor<'_>) -> Parsed<Capabilities> {
    let mut can = Capabilities::default();
    let mut fields = Fields::of(cursor)?;
    while let Some(key) = fields.next()? {
        let key = key.decode();
        capability(&key, &mut fields, &mut can).map_err(|error| error.inside(&key))?;
    }
    Ok(can)
}

fn capability(key: &str, fields: &mut Fields<'_, '_>, can: &mut Capabilities) -> Parsed<()> {
    let (number, flag) = match key {
        "binaryProtocol" => (0, &mut can.binary_protocol),
        "compression" => (1, &mut can.compression),
        "batching" => (2, &mut can.batching),
        "sparse" => (3, &mut can.sparse),
        "maxBatchSize" => {
            fields.once(4)?;
            can.max_batch_size = optional(fields.cursor, |value| sequence(value, 0))?;
            return Ok(());
        }
        "maxMessageSize" => {
            fields.once(5)?;
            can.max_message_size = optional(fields.cursor, |value| sequence(value, 0))?;
            return Ok(());
        }
        _ => return skip(fields.cursor).map(|_| ()),
    };
    fields.once(number)?;
    *flag = optional(fields.cursor, boolean)?.unwrap_or(false);
    Ok(())
}

pub(super) fn heartbeat(cursor: &mut Cursor<'_>) -> Parsed<Heartbeat> {
    let (mut last_ack, mut pending) = (0, 0);
    let mut header = object(cursor, |key, fields| {
        let (number, slot) = match key {
            "lastAckSequence" => (0, &mut last_ack),
            "pendingEvents" => (1, &mut pending),
            _ => return Ok(false),
        };
        fields.once(number)?;
        *slot = optional(fields.cursor, |value| sequence(value, 0))?.unwrap_or(0);
        Ok(true)
    })?;
    Ok(Heartbeat {
        timestamp: header.timestamp_ms,
        source_do_id: header.source()?,
        correlation_id: header.correlation_id,
        last_ack_sequence: last_ack,
        pending_events: pending,
    })
}

pub(super) fn flush_request(cursor: &mut Cursor<'_>) -> Parsed<FlushRequest> {
    let mut reason = FlushReason::default();
    let mut header = object(cursor, |key, fields| {
        if key != "reason" {
            return Ok(false);
        }
        fields.once(0)?;
        reason = optional(fields.cursor, flush_reason)?.unwrap_or_default();
        Ok(true)
    })?;
    Ok(FlushRequest {
        timestamp: header.timestamp_ms,
        source_do_id: header.source()?,
        correlation_id: header.correlation_id,
        reason,
    })
}

fn flush_reason(cursor: &mut Cursor<'_>) -> Parsed<FlushReason> {
    const REASONS: &str = "\"manual\", \"shutdown\", \"buffer_full\" or \"time_threshold\"";
    let value = string(cursor, REASONS)?;
    match value.raw {
        "manual" => Ok(FlushReason::Manual),
        "shutdown" => Ok(FlushReason::Shutdown),
        "buffer_full" => Ok(FlushReason::BufferFull),
        "time_threshold" => Ok(FlushReason::TimeThreshold),
        other => Err(Refusal::wrong("", REASONS, quote(&format!("\"{other}\"")))),
    }
}

pub(super) fn disconnect(cursor: &mut Cursor<'_>) -> Parsed<Disconnect> {
    let mut reason = None;
    let mut header = object(cursor, |key, fields| {
        if key != "reason" {
            return Ok(false);
        }
        fields.once(0)?;
        reason = optional(fields.cursor, |value| string(value, "a string"))?.map(|value| value.decode().into_owned());
        Ok(true)
    })?;
    Ok(Disconnect {
        timestamp: header.timestamp_ms,
        source_do_id: header.source()?,
        correlation_id: header.correlation_id,
        reason,
    })
}
