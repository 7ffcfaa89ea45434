//! The journal's layout: an ordered map from keys to bytes, the same on every host.
//!
//! | range | key | value |
//! |---|---|---|
//! | control | `c/…` | small rows that [`crate::Lake::restore`] needs, each with a format version |
//! | sources | `s/{source}` | what is known of a source at rest; loaded when it is first heard of |
//! | batches | `b` 0 {place} {chunk} {head} | an accepted batch that is not yet in the lake, as it came |
//! | parked | `b` 1 {number} {chunk} {head} | events of a table that could not be written while others could |
//! | garbage | `g/{flush}` | what a commit left behind in the store |
//!
//! A batch's head stands in the key of its first chunk. So a scan of keys alone rebuilds every frontier, and a life
//! begins without reading a single event.

pub mod rows;

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::command::{Key, Write};
use crate::limits::JOURNAL_CHUNK_BYTES;

/// The layout's version. A journal with a higher one is refused by hosts and by [`crate::Lake::restore`].
pub const FORMAT_VERSION: u32 = 1;

/// Rows that a life starts with: keys and values. First key, and the key after the last.
pub const CONTROL_RANGE: (&[u8], &[u8]) = (b"c", b"d");

/// Batches and parked events, of which a life starts with the keys alone. First key, and the key after the last.
pub const BATCH_RANGE: (&[u8], &[u8]) = (b"b", b"c");

/// What a host reads from the journal before it calls [`crate::Lake::restore`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Saved {
    /// All entries of [`CONTROL_RANGE`], in order.
    pub control: Vec<(Bytes, Bytes)>,
    /// All keys of [`BATCH_RANGE`], in order.
    pub batch_keys: Vec<Bytes>,
}

/// A journal that this version cannot read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// Written by a later release.
    #[error(
        "the journal has format version {found}, this release reads up to {FORMAT_VERSION}: use the release that wrote it, or a later one"
    )]
    Newer {
        /// The version found.
        found: u32,
    },
    /// Bytes that no release wrote.
    #[error("the journal's entry {key} cannot be read ({what}): restore the journal from a backup")]
    Damaged {
        /// The key, printable.
        key: String,
        /// What is wrong with it.
        what: String,
    },
}

/// One more than the highest [`ordinal`].
pub const ORDINALS: u64 = 1 << 53;

const NUMBER_BITS: u32 = 44;
const CHUNK_BITS: u32 = 8;

/// A number for a key of [`BATCH_RANGE`], in the order of the keys and of no other key; also for bounds that
/// [`crate::Command::Load`] names in that range. For storage that finds numbers faster than bytes: SQLite reads all of a
/// long row for each comparison of a key that is not its number. Below [`ORDINALS`], so that a double holds it. `None` for
/// keys of other ranges.
pub fn ordinal(key: &[u8]) -> Option<u64> {
    // A bound ends before the chunk.
    let mut start = [0; 12];
    let len = key.len().min(start.len());
    start[..len].copy_from_slice(&key[..len]);
    let NumberedKey { family, number, chunk, .. } = NumberedKey::parse(&start).ok().filter(|_| len >= 10)?;
    let fits = number >> NUMBER_BITS == 0 && chunk >> CHUNK_BITS == 0;
    assert!(fits, "a lake's life has fewer than 2^44 batches, of at most 32 chunks each: {number}, {chunk}");
    let [_, family] = family.prefix();
    Some((u64::from(family) << NUMBER_BITS | number) << CHUNK_BITS | u64::from(chunk))
}

/// A family of keys that end in a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// An accepted batch, numbered by its place.
    Batch,
    /// Parked events, numbered as they were parked.
    Parked,
}

impl Family {
    fn prefix(self) -> [u8; 2] {
        match self {
            Family::Batch => [b'b', 0],
            Family::Parked => [b'b', 1],
        }
    }

    /// The keys of all chunks of entry `number`: first key, and the key after the last.
    pub(crate) fn range(self, number: u64) -> (Key, Key) {
        let bound = |number: u64| {
            let mut key = BytesMut::with_capacity(10);
            key.put_slice(&self.prefix());
            key.put_u64(number);
            key.freeze()
        };
        (bound(number), bound(number + 1))
    }

    fn chunk_key(self, number: u64, chunk: u16, head: &[u8]) -> Key {
        let mut key = BytesMut::with_capacity(12 + head.len());
        key.put_slice(&self.prefix());
        key.put_u64(number);
        key.put_u16(chunk);
        key.put_slice(head);
        key.freeze()
    }

    /// The writes that store `value` under entry `number`, its head in the first key.
    pub(crate) fn put(self, number: u64, head: &impl Serialize, value: &Bytes) -> Vec<Write> {
        let head = encode(head);
        let chunks = value.len().div_ceil(JOURNAL_CHUNK_BYTES).max(1);
        let chunks = if mutant!(LastChunkLost) { (chunks - 1).max(1) } else { chunks };
        (0..chunks)
            .map(|chunk| {
                let start = chunk * JOURNAL_CHUNK_BYTES;
                let end = value.len().min(start + JOURNAL_CHUNK_BYTES);
                let head = if chunk == 0 { &head[..] } else { &[] };
                Write::Put(self.chunk_key(number, chunk_number(chunk), head), value.slice(start..end))
            })
            .collect()
    }

    /// The writes that remove what [`Family::put`] stored for a value of `value_len` bytes.
    pub(crate) fn delete(self, number: u64, head: &impl Serialize, value_len: usize) -> Vec<Write> {
        let head = encode(head);
        let chunks = value_len.div_ceil(JOURNAL_CHUNK_BYTES).max(1);
        (0..chunks)
            .map(|chunk| {
                let head = if chunk == 0 { &head[..] } else { &[] };
                Write::Delete(self.chunk_key(number, chunk_number(chunk), head))
            })
            .collect()
    }
}

fn chunk_number(chunk: usize) -> u16 {
    u16::try_from(chunk).expect("a value has at most 32 MiB, so at most 32 chunks")
}

/// A key of [`BATCH_RANGE`], taken apart.
pub(crate) struct NumberedKey<'a> {
    pub(crate) family: Family,
    pub(crate) number: u64,
    pub(crate) chunk: u16,
    pub(crate) head: &'a [u8],
}

impl NumberedKey<'_> {
    pub(crate) fn parse(key: &[u8]) -> Result<NumberedKey<'_>, RestoreError> {
        let damaged = |what: &str| RestoreError::Damaged { key: printable(key), what: what.to_owned() };
        let family = match key.get(..2) {
            Some([b'b', 0]) => Family::Batch,
            Some([b'b', 1]) => Family::Parked,
            _ => return Err(damaged("unknown family")),
        };
        let (Some(number), Some(chunk), Some(head)) = (key.get(2..10), key.get(10..12), key.get(12..)) else {
            return Err(damaged("cut short"));
        };
        let number = u64::from_be_bytes(number.try_into().expect("the slice has 8 bytes"));
        let chunk = u16::from_be_bytes(chunk.try_into().expect("the slice has 2 bytes"));
        Ok(NumberedKey { family, number, chunk, head })
    }
}

/// Puts the chunks of one entry together again.
pub(crate) fn join(chunks: Vec<(Key, Bytes)>) -> Option<Bytes> {
    let mut values = chunks.into_iter().map(|(_, value)| value);
    let first = values.next()?;
    let mut rest = values.peekable();
    if rest.peek().is_none() {
        return Some(first);
    }
    let mut whole = BytesMut::from(&first[..]);
    for value in rest {
        whole.extend_from_slice(&value);
    }
    Some(whole.freeze())
}

/// Bytes of a row or head.
pub(crate) fn encode(value: &impl Serialize) -> Vec<u8> {
    postcard::to_stdvec(value).expect("plain data always encodes")
}

/// The reverse of [`encode`].
pub(crate) fn decode<T: DeserializeOwned>(key: &[u8], bytes: &[u8]) -> Result<T, RestoreError> {
    postcard::from_bytes(bytes).map_err(|error| RestoreError::Damaged { key: printable(key), what: error.to_string() })
}

fn printable(key: &[u8]) -> String {
    key.escape_ascii().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(writes: &[Write]) -> Vec<Key> {
        writes
            .iter()
            .map(|write| match write {
                Write::Put(key, _) | Write::Delete(key) => key.clone(),
            })
            .collect()
    }

    #[test]
    fn a_value_is_cut_into_chunks_and_joined_again() {
        for len in [0, 1, JOURNAL_CHUNK_BYTES, JOURNAL_CHUNK_BYTES + 1, 3 * JOURNAL_CHUNK_BYTES] {
            let value: Bytes = (0..len).map(|i| i as u8).collect();
            let writes = Family::Batch.put(7, &"head", &value);
            let entries = writes.iter().map(|write| match write {
                Write::Put(key, value) => (key.clone(), value.clone()),
                Write::Delete(_) => panic!("put never deletes"),
            });
            assert_eq!(join(entries.collect()), Some(value));
            assert_eq!(keys(&writes), keys(&Family::Batch.delete(7, &"head", len)));
        }
    }

    #[test]
    fn all_keys_of_an_entry_lie_in_its_range_and_sort_by_number() {
        let value = Bytes::from(vec![0; 2 * JOURNAL_CHUNK_BYTES]);
        let (from, until) = Family::Parked.range(255);
        for key in keys(&Family::Parked.put(255, &1_u8, &value)) {
            assert!(from <= key && key < until);
        }
        assert_eq!(until, Family::Parked.range(256).0);
        assert!(Family::Batch.range(u64::MAX - 1).1 < Family::Parked.range(0).0);
    }

    #[test]
    fn ordinals_are_in_the_order_of_the_keys() {
        let value = Bytes::from(vec![0; 2 * JOURNAL_CHUNK_BYTES]);
        let mut keys: Vec<Key> = Vec::new();
        for family in [Family::Batch, Family::Parked] {
            for number in [0, 1, 255, 256, (1 << NUMBER_BITS) - 1] {
                let ((from, _), puts) = (family.range(number), family.put(number, &"head", &value));
                assert_eq!(ordinal(&from), ordinal(self::keys(&puts).first().expect("a chunk")));
                keys.extend(self::keys(&puts));
            }
        }
        let ordinals: Vec<u64> = keys.iter().filter_map(|key| ordinal(key)).collect();
        assert!(keys.is_sorted() && ordinals.len() == keys.len());
        assert!(ordinals.is_sorted_by(|one, next| one < next));
        assert!(ordinals.last().is_some_and(|last| *last < ORDINALS));
        assert_eq!(ordinal(rows::LAKE_KEY), None);
        assert_eq!(ordinal(b"s/0123456789"), None);
    }

    #[test]
    fn a_key_tells_its_number_and_head() {
        let key = Family::Batch.chunk_key(300, 0, &encode(&"shard"));
        let parsed = NumberedKey::parse(&key).expect("well formed");
        assert_eq!((parsed.family, parsed.number, parsed.chunk), (Family::Batch, 300, 0));
        assert_eq!(decode::<String>(&key, parsed.head).as_deref(), Ok("shard"));
    }

    #[test]
    fn a_damaged_key_is_an_error_that_names_it() {
        let error = NumberedKey::parse(b"b\x00abc").err().expect("cut short");
        assert_eq!(
            error.to_string(),
            "the journal's entry b\\x00abc cannot be read (cut short): restore the journal from a backup"
        );
    }
}
