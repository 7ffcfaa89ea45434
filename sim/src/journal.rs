//! The journal's model: an ordered map with atomic transactions, carried out one after the other.
//!
//! What was saved survives everything. It also knows, without asking the machine, which made-up events it holds.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use dolake_core::command::{Key, Write};
use dolake_core::journal::rows::FLUSH_KEY;
use dolake_core::journal::{BATCH_RANGE, CONTROL_RANGE, Saved};

use crate::truth::Uid;

/// The journal.
#[derive(Debug, Clone, Default)]
pub struct Journal {
    entries: BTreeMap<Key, Bytes>,
    uids: BTreeMap<Key, Vec<Uid>>,
    /// In how many entries an event is.
    held: BTreeMap<Uid, u32>,
    /// By uid ([`Journal::places`]).
    places: Vec<Option<(u64, u64)>>,
    ever_parked: BTreeSet<Uid>,
    buffered_bytes: u64,
    parked: Parked,
}

/// What parked entries take, keys included, as the machine counts them.
#[derive(Debug, Clone, Default)]
struct Parked {
    /// The table of each entry that ever was, by number.
    tables: BTreeMap<u64, Bytes>,
    /// Bytes, by table.
    bytes: BTreeMap<Bytes, u64>,
}

/// What the machine counts for the key of a parked entry.
const PARKED_KEY_BYTES: u64 = 512;

impl Parked {
    fn count(&mut self, key: &Key, former: Option<&Bytes>, now: Option<&Bytes>) {
        let Some((number, rest)) = key.strip_prefix(&[b'b', 1]).and_then(<[u8]>::split_first_chunk) else { return };
        let number = u64::from_be_bytes(*number);
        let head = rest.strip_prefix(&[0, 0]);
        if let (Some(head), Some(_)) = (head, now) {
            self.tables.insert(number, first_text(head));
        }
        let of_key = if head.is_some() { PARKED_KEY_BYTES } else { 0 };
        let counts = |value: Option<&Bytes>| value.map_or(0, |value| value.len() as u64 + of_key);
        let table = self.tables.get(&number).expect("the chunks of an entry are written from the first on");
        let bytes = self.bytes.entry(table.clone()).or_default();
        *bytes = *bytes + counts(now) - counts(former);
    }
}

/// The text that a key's head begins with: its length in groups of seven bits, the lowest first, and its bytes.
fn first_text(head: &[u8]) -> Bytes {
    let groups = 1 + head.iter().take_while(|byte| **byte >= 128).count();
    let (groups, rest) = head.split_at(groups);
    let len = groups.iter().rev().fold(0, |len, group| len << 7 | usize::from(group & 127));
    Bytes::copy_from_slice(&rest[..len])
}

impl Journal {
    /// Carries out a transaction. Returns whether a table's pointer moved.
    pub fn apply(&mut self, writes: &[Write]) -> bool {
        let mut moved = false;
        let mut before: &[u8] = &[];
        for write in writes {
            match write {
                Write::Put(key, value) => {
                    moved |= key.starts_with(b"c/t/");
                    if key.starts_with(BATCH_RANGE.0) {
                        self.forget(key);
                        let is_first = key.get(CHUNK).is_none_or(|chunk| chunk == [0, 0]);
                        let uids = uids_in(if is_first { &[] } else { before }, value);
                        before = value;
                        for uid in &uids {
                            *self.held.entry(*uid).or_default() += 1;
                        }
                        self.note_places(key, &uids);
                        self.uids.insert(key.clone(), uids);
                    }
                    let former = self.entries.insert(key.clone(), value.clone());
                    self.count(key, former.as_ref(), Some(value));
                }
                Write::Delete(key) => {
                    self.forget(key);
                    let former = self.entries.remove(key);
                    self.count(key, former.as_ref(), None);
                }
            }
        }
        moved
    }

    /// Entries of a range, in order.
    pub fn load(&self, from: &Key, until: &Key, keys_only: bool, limit: usize) -> Vec<(Key, Bytes)> {
        let value = |value: &Bytes| if keys_only { Bytes::new() } else { value.clone() };
        if from >= until {
            return Vec::new();
        }
        self.entries.range(from.clone()..until.clone()).take(limit).map(|(k, v)| (k.clone(), value(v))).collect()
    }

    /// What a new life starts with.
    pub fn saved(&self) -> Saved {
        let range = |(from, until): (&'static [u8], &'static [u8]), keys_only| {
            self.load(&Bytes::from_static(from), &Bytes::from_static(until), keys_only, usize::MAX)
        };
        Saved {
            control: range(CONTROL_RANGE, false),
            batch_keys: range(BATCH_RANGE, true).into_iter().map(|(key, _)| key).collect(),
        }
    }

    /// The tables' pointers: the end of the key, and the value.
    pub fn pointers(&self) -> impl Iterator<Item = (&[u8], &Bytes)> {
        let from = Bytes::from_static(b"c/t/");
        let until = Bytes::from_static(b"c/t0");
        self.entries.range(from..until).map(|(key, value)| (&key[4..], value))
    }

    fn count(&mut self, key: &Key, former: Option<&Bytes>, now: Option<&Bytes>) {
        self.parked.count(key, former, now);
        if key.starts_with(&[b'b', 0]) {
            self.buffered_bytes += now.map_or(0, |value| value.len() as u64);
            self.buffered_bytes -= former.map_or(0, |value| value.len() as u64);
        }
    }

    fn forget(&mut self, key: &Key) {
        for uid in self.uids.remove(key).unwrap_or_default() {
            if let Some(count) = self.held.get_mut(&uid) {
                *count -= 1;
                if *count == 0 {
                    self.held.remove(&uid);
                }
            }
        }
    }

    fn note_places(&mut self, key: &Key, uids: &[Uid]) {
        let Some(place) = key.strip_prefix(&[b'b', 0]).and_then(|rest| rest.first_chunk()) else {
            return self.ever_parked.extend(uids);
        };
        let place = u64::from_be_bytes(*place);
        for uid in uids {
            let at = *uid as usize;
            self.places.resize(self.places.len().max(at + 1), None);
            let (first, last) = self.places[at].unwrap_or((place, place));
            self.places[at] = Some((first.min(place), last.max(place)));
        }
    }

    /// The first and the last place under which an event was ever accepted; none of one that came before a saved state.
    pub fn places(&self, uid: Uid) -> Option<(u64, u64)> {
        self.places.get(uid as usize).copied().flatten()
    }

    /// Whether an event was ever parked.
    pub fn was_parked(&self, uid: Uid) -> bool {
        self.ever_parked.contains(&uid)
    }

    /// Whether it holds a batch with this event, whether or not all of the batch was taken.
    pub fn holds(&self, uid: Uid) -> bool {
        self.held.contains_key(&uid)
    }

    /// Whether an event waits with a parked table. A linear search.
    pub fn has_parked(&self, uid: Uid) -> bool {
        self.uids.iter().any(|(key, uids)| key.starts_with(&[b'b', 1]) && uids.contains(&uid))
    }

    /// Bytes of batches that are not flushed.
    pub fn buffered_bytes(&self) -> u64 {
        self.buffered_bytes
    }

    /// What is parked of each table that ever was, in bytes, keys included.
    pub fn parked_bytes(&self) -> impl Iterator<Item = (&[u8], u64)> {
        self.parked.bytes.iter().map(|(table, bytes)| (&table[..], *bytes))
    }

    /// The garbage log.
    pub fn garbage(&self) -> impl Iterator<Item = (&Key, &Bytes)> {
        self.entries.range(Bytes::from_static(b"g/")..Bytes::from_static(b"g0"))
    }

    /// The entry that names the flush under way, once there was one.
    pub fn flush_row(&self) -> Option<&Bytes> {
        self.entries.get(FLUSH_KEY)
    }

    /// Whether it holds no batch.
    pub fn is_drained(&self) -> bool {
        self.uids.is_empty()
    }

    /// The events of each batch that it holds.
    pub fn batches(&self) -> impl Iterator<Item = &Vec<Uid>> {
        self.uids.values()
    }

    /// All entries, for comparing runs.
    pub fn entries(&self) -> impl Iterator<Item = (&Key, &Bytes)> {
        self.entries.iter()
    }
}

/// Where the key of a batch has the number of its chunk.
const CHUNK: std::ops::Range<usize> = 10..12;

/// The longest that a uid is with its name.
const UID_BYTES_MAX: usize = 26;

/// The uids of the rows in a piece of a batch that follows another, by a plain search of the text; one that lies across
/// both belongs to the second, and one at the end of the first may be found in both. An UPDATE names its uid twice.
fn uids_in(before: &[u8], piece: &[u8]) -> Vec<Uid> {
    const MARK: &[u8] = b"\"uid\":";
    let frame = [&before[before.len().saturating_sub(UID_BYTES_MAX)..], piece].concat();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(next) = frame[at..].windows(MARK.len()).position(|window| window == MARK) {
        at += next + MARK.len();
        let digits = frame[at..].iter().take_while(|byte| byte.is_ascii_digit());
        if at + digits.clone().count() == frame.len() {
            // Cut off: it is found with the next piece.
            break;
        }
        let uid = digits.fold(0_u64, |uid, digit| uid * 10 + u64::from(digit - b'0'));
        if found.last() != Some(&uid) {
            found.push(uid);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parked_bytes_are_those_of_the_chunks_that_are_there_and_of_the_first_ones_keys() {
        let key = |number: u8, chunk: u8, head: &[u8]| {
            Bytes::from([&[b'b', 1, 0, 0, 0, 0, 0, 0, 0, number, 0, chunk], head].concat())
        };
        let long = [&[200, 1][..], &[b'x'; 200], b"\x05shard"].concat();
        let (orders, items) = (key(1, 0, b"\x06orders\x05shard"), key(2, 0, &long));
        let mut journal = Journal::default();
        let put = |key: &Bytes, len| Write::Put(key.clone(), vec![b' '; len].into());
        journal.apply(&[
            put(&orders, 100),
            put(&key(1, 1, b""), 30),
            put(&items, 50),
            put(&key(3, 0, b"\x06orders"), 1),
        ]);
        journal.apply(&[Write::Delete(key(3, 0, b"\x06orders"))]);
        let parked: Vec<_> = journal.parked_bytes().collect();
        assert_eq!(parked, [(&b"orders"[..], 130 + PARKED_KEY_BYTES), (&[b'x'; 200][..], 50 + PARKED_KEY_BYTES)]);
        journal.apply(&[Write::Delete(orders), Write::Delete(key(1, 1, b"")), Write::Delete(items)]);
        assert!(journal.parked_bytes().all(|(_, bytes)| bytes == 0));
    }

    #[test]
    fn a_uid_that_lies_across_two_pieces_is_found_once() {
        let text = br#"{"uid":12,"name":"x"},{"uid":345,"name":"y"}"#;
        for cut in 0..text.len() {
            let (first, second) = text.split_at(cut);
            let found: std::collections::BTreeSet<Uid> =
                uids_in(b"", first).into_iter().chain(uids_in(first, second)).collect();
            assert_eq!(found, [12, 345].into(), "cut at {cut}");
        }
    }
}
