//! What the host's commands meet: a journal and a store in maps, which fail at times. Whether a command has its effect is
//! decided when it is given, when its end is told is decided by chance. Every call is kept as a line's part.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::{BufMut, Bytes};
use dolake_core::command::{Condition, ResponseHead, Write};
use dolake_core::event::{CallId, ConnId};
use dolake_sim::rng::Rng;
use dolake_workers_host::hands::{Hands, Number};
use dolake_workers_host::host::{SaveEnd, StoreEnd};
use serde_json::{Value, json};

/// One in so many commands fails.
const FAILS_ONE_IN: u64 = 12;

/// Entries of the journal, values as the host packed them.
pub(crate) type Entries = Vec<(Bytes, Bytes)>;

/// The end of a command, to be told.
#[derive(Debug)]
pub(crate) enum Ready {
    Saved(Number, SaveEnd, &'static str),
    Loaded(Number, Entries),
    Stored(Number, StoreEnd),
}

/// The hands of the host, and what they touch. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Outside(Rc<RefCell<World>>);

#[derive(Debug)]
struct World {
    said: Vec<Value>,
    ready: Vec<Ready>,
    journal: BTreeMap<Bytes, Bytes>,
    store: BTreeMap<String, Bytes>,
    chance: Rng,
    fails: bool,
}

impl World {
    fn fails(&mut self) -> bool {
        self.fails && self.chance.one_in(FAILS_ONE_IN)
    }
}

impl Outside {
    pub(crate) fn new(seed: u64) -> Outside {
        let chance = Rng::new(seed, "trace");
        let (said, ready, journal, store) = (Vec::new(), Vec::new(), BTreeMap::new(), BTreeMap::new());
        Outside(Rc::new(RefCell::new(World { said, ready, journal, store, chance, fails: true })))
    }

    /// What was called since this was asked last.
    pub(crate) fn said(&self) -> Vec<Value> {
        std::mem::take(&mut self.0.borrow_mut().said)
    }

    /// Whether something more happens before the next event from outside.
    pub(crate) fn goes_on(&self) -> bool {
        !self.0.borrow_mut().chance.one_in(4)
    }

    /// Any of what has ended.
    pub(crate) fn next_ready(&self) -> Option<Ready> {
        let mut world = self.0.borrow_mut();
        let count = world.ready.len() as u64;
        let at = usize::try_from(world.chance.below(count)).unwrap_or(0);
        (count > 0).then(|| world.ready.remove(at))
    }

    /// Nothing fails any more.
    pub(crate) fn heal(&self) {
        self.0.borrow_mut().fails = false;
    }

    /// The process is gone, and whatever it waited for is heard by nobody.
    pub(crate) fn die(&self) {
        self.0.borrow_mut().ready.clear();
    }

    /// Entries of a range.
    pub(crate) fn journal(&self, (from, until): (&'static [u8], &'static [u8]), keys_only: bool) -> Entries {
        self.entries(from, until, keys_only, None)
    }

    fn entries(&self, from: &[u8], until: &[u8], keys_only: bool, limit: Option<u32>) -> Entries {
        let world = self.0.borrow();
        let found = world.journal.range(Bytes::copy_from_slice(from)..Bytes::copy_from_slice(until));
        let limit = limit.map_or(usize::MAX, |limit| limit as usize);
        let value = |value: &Bytes| if keys_only { Bytes::new() } else { value.clone() };
        found.map(|(key, found)| (key.clone(), value(found))).take(limit).collect()
    }

    fn say(&self, call: Value) {
        self.0.borrow_mut().said.push(call);
    }

    fn store_command(&self, number: Number, act: impl FnOnce(&mut BTreeMap<String, Bytes>) -> StoreEnd) {
        let mut world = self.0.borrow_mut();
        let end = if !world.fails() {
            act(&mut world.store)
        } else if world.chance.one_in(2) {
            // Turned down before anything happened, and R2 says so.
            StoreEnd::Failed("too many requests for this object. (10058)".to_owned())
        } else {
            let _lost = act(&mut world.store);
            StoreEnd::Failed("we encountered an internal error. (10001)".to_owned())
        };
        world.ready.push(Ready::Stored(number, end));
    }
}

impl Hands for Outside {
    fn send(&mut self, conn: ConnId, frame: &[u8]) {
        self.say(json!(["send", conn, String::from_utf8_lossy(frame)]));
    }

    fn close(&mut self, conn: ConnId, code: u16, reason: &str) {
        self.say(json!(["close", conn, code, reason]));
    }

    fn attach(&mut self, conn: ConnId, bytes: &[u8]) {
        self.say(json!(["attach", conn, hex(bytes)]));
    }

    fn save(&mut self, number: Number, writes: &[Write]) {
        let told = writes.iter().map(|write| match write {
            Write::Put(key, value) => json!([hex(key), hex(value)]),
            Write::Delete(key) => json!([hex(key), null]),
        });
        self.say(json!(["save", number, told.collect::<Vec<_>>()]));
        let mut world = self.0.borrow_mut();
        let (end, message, has_effect) = match world.fails() {
            false => (SaveEnd::Durable, "", true),
            true if world.chance.one_in(2) => (SaveEnd::RolledBack, "no room", false),
            true => (SaveEnd::Unknown, "the storage is gone", world.chance.one_in(2)),
        };
        for write in writes.iter().filter(|_| has_effect) {
            match write {
                Write::Put(key, value) => world.journal.insert(key.clone(), value.clone()),
                Write::Delete(key) => world.journal.remove(key),
            };
        }
        world.ready.push(Ready::Saved(number, end, message));
    }

    fn load(&mut self, number: Number, from: &[u8], until: &[u8], keys_only: bool, limit: Option<u32>) {
        self.say(json!(["load", number, hex(from), hex(until), keys_only, limit]));
        let entries = self.entries(from, until, keys_only, limit);
        self.0.borrow_mut().ready.push(Ready::Loaded(number, entries));
    }

    fn put(&mut self, number: Number, key: &str, bytes: &[u8], condition: Condition) {
        let only_if_absent = condition == Condition::IfAbsent;
        self.say(json!(["put", number, key, hex(bytes), only_if_absent]));
        let bytes = Bytes::copy_from_slice(bytes);
        self.store_command(number, |store| {
            if only_if_absent && store.contains_key(key) {
                return StoreEnd::Conflict;
            }
            store.insert(key.to_owned(), bytes);
            StoreEnd::Done
        });
    }

    fn get(&mut self, number: Number, key: &str, range: Option<(u64, u64)>, for_client: bool) {
        self.say(json!(["get", number, key, range, for_client]));
        self.store_command(number, |store| match (store.get(key), range) {
            (None, _) => StoreEnd::Absent,
            (Some(whole), None) => StoreEnd::Got(whole.clone()),
            (Some(whole), Some((from, until))) => {
                let at = |place: u64| usize::try_from(place).map_or(whole.len(), |place| place.min(whole.len()));
                StoreEnd::Got(whole.slice(at(from)..at(until)))
            }
        });
    }

    fn delete(&mut self, number: Number, key: &str) {
        self.say(json!(["delete", number, key]));
        self.store_command(number, |store| {
            store.remove(key);
            StoreEnd::Done
        });
    }

    fn read_more(&mut self, call: CallId) {
        self.say(json!(["readMore", call]));
    }

    fn accept(&mut self, call: CallId) {
        self.say(json!(["accept", call]));
    }

    fn respond(&mut self, call: CallId, head: &ResponseHead, body: &[u8]) {
        self.say(json!(["respond", call, head.status, head.headers, hex(body)]));
    }

    fn halt(&mut self, reason: &str) {
        self.say(json!(["halt", reason]));
    }
}

/// Bytes as a line has them.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Entries as a line has them.
pub(crate) fn listed(entries: &Entries) -> Value {
    entries.iter().map(|(key, value)| json!([hex(key), hex(value)])).collect()
}

/// Entries as the shell gives them to the host.
pub(crate) fn encoded(entries: &Entries) -> Bytes {
    let mut buffer = Vec::new();
    for (key, value) in entries {
        for part in [key, value] {
            buffer.put_u32_le(u32::try_from(part.len()).expect("entries are short"));
        }
        buffer.put_slice(key);
        buffer.put_slice(value);
    }
    buffer.into()
}
