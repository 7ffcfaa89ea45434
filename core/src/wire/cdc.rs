//! Batches: the header's fields, held against the events.

use bytes::Bytes;

use crate::wire::WireLimits;
use crate::wire::batch::CdcBatch;
use crate::wire::client::BatchHeader;
use crate::wire::error::{Parsed, Refusal};
use crate::wire::events::{Events, events};
use crate::wire::fields::{boolean, optional, sequence};
use crate::wire::header::{Header, object};
use crate::wire::json::Cursor;
use crate::wire::parse::Post;

/// A batch's header, before it is held against the events.
#[derive(Default)]
pub(super) struct BatchFields {
    shared: Header,
    sequence_number: Option<u64>,
    first_event_sequence: Option<u64>,
    last_event_sequence: Option<u64>,
    is_retry: bool,
    retry_count: u64,
}

/// Reads the whole message or body.
pub(super) fn batch_fields(cursor: &mut Cursor<'_>, limits: &WireLimits) -> Parsed<(BatchFields, Events)> {
    let mut header = BatchFields::default();
    let mut found = None;
    let shared = object(cursor, |key, fields| {
        match key {
            "events" => {
                fields.once(0)?;
                found = Some(events(fields.cursor, limits.max_event_bytes)?);
            }
            "sequenceNumber" => {
                fields.once(1)?;
                header.sequence_number = Some(sequence(fields.cursor, 1)?);
            }
            "firstEventSequence" => {
                fields.once(2)?;
                header.first_event_sequence = Some(sequence(fields.cursor, 0)?);
            }
            "lastEventSequence" => {
                fields.once(3)?;
                header.last_event_sequence = Some(sequence(fields.cursor, 0)?);
            }
            "isRetry" => {
                fields.once(4)?;
                header.is_retry = optional(fields.cursor, boolean)?.unwrap_or(false);
            }
            "retryCount" => {
                fields.once(5)?;
                header.retry_count = optional(fields.cursor, |value| sequence(value, 0))?.unwrap_or(0);
            }
            "sizeBytes" => {
                fields.once(6)?;
                optional(fields.cursor, |value| sequence(value, 0))?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    header.shared = shared;
    let found = found.ok_or_else(|| Refusal::missing("events", "an array of events"))?;
    Ok((header, found))
}

impl BatchFields {
    /// A batch whose header says exactly what its events are.
    pub(super) fn into_batch(mut self, frame: Bytes, events: Events) -> Parsed<CdcBatch> {
        let (first, last) = (events.first_sequence(), events.last_sequence());
        let said = [
            ("firstEventSequence", self.first_event_sequence, first, "first"),
            ("lastEventSequence", self.last_event_sequence, last, "last"),
        ];
        for (key, said, is, which) in said {
            if said != Some(is) && !mutant!(HeaderNotChecked) {
                let got = said.map_or("nothing".to_owned(), |said| said.to_string());
                return Err(Refusal::wrong(key, format!("{is}, the {which} event's sequence"), got));
            }
        }
        let hash = xxhash_rust::xxh3::xxh3_128(&frame[events.span.range()]);
        Ok(CdcBatch {
            frame,
            timestamp_ms: self.shared.timestamp_ms,
            correlation_id: self.shared.correlation_id.take(),
            source_do_id: self.shared.source()?,
            source_epoch: self.shared.source_epoch.take(),
            source_shard_name: self.shared.source_shard_name.take(),
            sequence_number: self.sequence_number.ok_or_else(|| Refusal::missing("sequenceNumber", "an integer"))?,
            first_event_sequence: first,
            last_event_sequence: last,
            is_retry: self.is_retry,
            retry_count: self.retry_count,
            events_span: events.span,
            events_hash: hash,
            tables: events.tables,
            events: events.events,
        })
    }
}

/// Reads the body of `POST /cdc` and rewrites it as the `cdc_batch` that says the same.
pub(super) fn post(text: &str, source_do_id: &str, now_ms: i64, limits: &WireLimits) -> Parsed<Post> {
    let mut cursor = Cursor::new(text);
    let (header, events) = batch_fields(&mut cursor, limits)?;
    let is_numbered = header.sequence_number.is_some();
    cursor.finish().map_err(|error| Refusal::syntax(text, error))?;
    let array = text.get(events.span.range()).expect("a span of this text");
    let (first, last) = (events.first_sequence(), events.last_sequence());
    // No batch has number 0, and event 0 alone is refused whatever its number is.
    let number = header.sequence_number.unwrap_or(last.max(1));
    let frame = BatchHeader {
        timestamp: now_ms,
        correlation_id: None,
        source_do_id,
        source_epoch: header.shared.source_epoch.as_deref(),
        source_shard_name: None,
        sequence_number: number,
        first_event_sequence: first,
        last_event_sequence: last,
        size_bytes: array.len() as u64,
        is_retry: false,
        retry_count: 0,
    }
    .to_frame(array.as_bytes());
    let start = frame.len() - array.len() - 1;
    let shared = Header {
        timestamp_ms: now_ms,
        source_do_id: Some(source_do_id.to_owned()),
        source_epoch: header.shared.source_epoch,
        ..Header::default()
    };
    let batch = BatchFields {
        shared,
        sequence_number: Some(number),
        first_event_sequence: header.first_event_sequence.or(Some(first)),
        last_event_sequence: header.last_event_sequence.or(Some(last)),
        is_retry: false,
        retry_count: 0,
    }
    .into_batch(frame, events.moved(start))?;
    Ok(Post { batch, is_numbered })
}
