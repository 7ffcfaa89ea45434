//! What all messages have in common: the shared fields, and passing over unknown ones.

use crate::limits::{CORRELATION_ID_BYTES_MAX, SOURCE_EPOCH_BYTES_MAX, SOURCE_ID_BYTES_MAX};
use crate::wire::error::{Parsed, Refusal};
use crate::wire::fields::{Fields, name, optional, skip, timestamp};
use crate::wire::json::Cursor;

/// The fields that messages share, by what stands in the object.
#[derive(Default)]
pub(super) struct Header {
    pub(super) timestamp_ms: i64,
    pub(super) correlation_id: Option<String>,
    pub(super) source_do_id: Option<String>,
    pub(super) source_epoch: Option<String>,
    pub(super) source_shard_name: Option<String>,
}

impl Header {
    /// Reads a shared field; false if `key` is none, and nothing was read. Uses the numbers from 16 up.
    fn read(&mut self, key: &str, fields: &mut Fields<'_, '_>) -> Parsed<bool> {
        match key {
            "type" => {
                fields.once(16)?;
                skip(fields.cursor)?;
            }
            "timestamp" => {
                fields.once(17)?;
                self.timestamp_ms = optional(fields.cursor, timestamp)?.unwrap_or(0);
            }
            "correlationId" => {
                fields.once(18)?;
                self.correlation_id = optional(fields.cursor, |value| name(value, 0..=CORRELATION_ID_BYTES_MAX))?;
            }
            "sourceDoId" => {
                fields.once(19)?;
                self.source_do_id = Some(name(fields.cursor, 1..=SOURCE_ID_BYTES_MAX)?);
            }
            "sourceEpoch" => {
                fields.once(20)?;
                self.source_epoch = optional(fields.cursor, |value| name(value, 0..=SOURCE_EPOCH_BYTES_MAX))?;
            }
            "sourceShardName" => {
                fields.once(21)?;
                self.source_shard_name = optional(fields.cursor, |value| name(value, 0..=SOURCE_ID_BYTES_MAX))?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Every message names its source.
    pub(super) fn source(&mut self) -> Parsed<String> {
        self.source_do_id.take().ok_or_else(|| Refusal::missing("sourceDoId", "a string"))
    }
}

/// Reads an object whose fields are shared ones and those that `own` knows. `own` answers whether it read the value.
pub(super) fn object(
    cursor: &mut Cursor<'_>,
    mut own: impl FnMut(&str, &mut Fields<'_, '_>) -> Parsed<bool>,
) -> Parsed<Header> {
    let mut header = Header::default();
    let mut fields = Fields::of(cursor)?;
    while let Some(key) = fields.next()? {
        let key = key.decode();
        let known = match own(&key, &mut fields) {
            Ok(false) => header.read(&key, &mut fields),
            known => known,
        };
        match known {
            Ok(true) => {}
            Ok(false) => {
                skip(fields.cursor).map_err(|error| error.inside(&key))?;
            }
            Err(error) => return Err(error.inside(&key)),
        }
    }
    Ok(header)
}
