//! The small rows of the control range that belong to no other room.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::RestoreError;
use crate::command::{Key, Write};
use crate::journal;
use crate::time::{MachineTime, Timestamp};

/// Who the lake is and what wrote the journal.
pub(crate) const LAKE_KEY: &[u8] = b"c/lake";
/// Flush numbers and the flush under way: see [`attempt_under_way`].
pub const FLUSH_KEY: &[u8] = b"c/flush";
/// Settings that were changed at run time.
pub(crate) const SETTINGS_KEY: &[u8] = b"c/settings";

const SOURCE_PREFIX: &[u8] = b"s/";
/// What keys of the garbage log begin with.
pub const GARBAGE_PREFIX: &[u8] = b"g/";

/// The row [`LAKE_KEY`]. Its first field is the journal's format version, whatever comes after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LakeRow {
    /// See [`journal::FORMAT_VERSION`].
    pub(crate) format_version: u32,
    /// Names the lake; the store's marker says the same.
    pub(crate) lake: Uuid,
}

/// The row [`FLUSH_KEY`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FlushRow {
    /// The flush under way, or else the next one. Rises with every commit.
    pub(crate) flush: u64,
    /// The last attempt at it whose names may be in the store; 0: none.
    pub(crate) attempt: u32,
    /// The places that the attempt takes.
    pub(crate) places: Vec<u64>,
    /// The place that the next batch will get, at least.
    pub(crate) next_place: u64,
    /// Machine time when this was written.
    pub(crate) time: MachineTime,
    /// The host's clock when this was written.
    pub(crate) host_time: Timestamp,
}

/// What a commit, or an attempt without one, left behind in the store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GarbageRow {
    /// The flush and attempt whose names may stand in the store without being live: `{flush}-{attempt}`.
    pub abandoned: Vec<(u64, u32)>,
    /// Objects that the tables' current versions no longer name. Retained snapshots with a sequence number below the
    /// second part may still.
    pub locations: Vec<(String, i64)>,
    /// The host's clock when they became garbage, in milliseconds.
    pub since_ms: i64,
}

impl GarbageRow {
    /// Reads an entry of the journal's garbage log, whose keys begin with [`GARBAGE_PREFIX`].
    ///
    /// # Errors
    /// Another version, or bytes that no release wrote.
    pub fn decode(key: &[u8], value: &[u8]) -> Result<GarbageRow, RestoreError> {
        journal::decode(key, value)
    }
}

/// The flush under way and its last attempt, whose names may stand in the store without being live, from the journal's
/// entry [`FLUSH_KEY`]. An attempt of 0 has written nothing. The next attempt, or life, notes it as garbage.
///
/// # Errors
/// Another version, or bytes that no release wrote.
pub fn attempt_under_way(value: &[u8]) -> Result<(u64, u32), RestoreError> {
    let row: FlushRow = journal::decode(FLUSH_KEY, value)?;
    Ok((row.flush, row.attempt))
}

impl FlushRow {
    /// Its write.
    pub(crate) fn write(&self) -> Write {
        Write::Put(Bytes::from_static(FLUSH_KEY), journal::encode(self).into())
    }
}

impl LakeRow {
    /// The format version of the journal that has these control rows, if it has a [`LakeRow`] yet. A later release may have
    /// changed everything else, so nothing else is read before it.
    pub(crate) fn version(control: &[(Key, Bytes)]) -> Result<Option<u32>, RestoreError> {
        let row = control.iter().find(|(key, _)| &key[..] == LAKE_KEY);
        row.map(|(key, value)| journal::decode::<u32>(key, value)).transpose()
    }

    /// Its write.
    pub(crate) fn write(&self) -> Write {
        Write::Put(Bytes::from_static(LAKE_KEY), journal::encode(self).into())
    }
}

/// The key of a source's row.
pub(crate) fn source_key(source: &str) -> Key {
    Bytes::from([SOURCE_PREFIX, source.as_bytes()].concat())
}

/// The range that holds a source's row and nothing else.
pub(crate) fn source_range(source: &str) -> (Key, Key) {
    let key = source_key(source);
    let after = Bytes::from([&key[..], &[0]].concat());
    (key, after)
}

/// The write of a flush's garbage.
pub(crate) fn garbage_write(flush: u64, attempt: u32, row: &GarbageRow) -> Write {
    let mut key = GARBAGE_PREFIX.to_vec();
    key.extend_from_slice(&flush.to_be_bytes());
    key.extend_from_slice(&attempt.to_be_bytes());
    Write::Put(key.into(), journal::encode(row).into())
}
