//! Stores that are not what the machine takes them for: another than the journal's, which an operator named by mistake,
//! and the right one in which something else wrote over a table's metadata.

use bytes::Bytes;
use dolake_core::{Op, Outcome};

use crate::host::Host;
use crate::store::Ask;
use crate::world::{What, World};

/// A store that is not the journal's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherStore {
    /// Nobody has written to it.
    Empty,
    /// It has another lake's marker.
    AnotherLakes,
}

impl Host {
    /// Whether this life was given another store than its journal's.
    pub(crate) fn is_at_other_store(&self) -> bool {
        self.at_other_store.is_some()
    }
}

impl World {
    /// The operator names another store for this life, and sees that soon.
    pub(crate) fn mistake_the_store(&mut self) {
        let has_tables = self.journal.pointers().next().is_some();
        if !has_tables || self.is_calm || !self.chance.faults.at("other store").chance(self.faults.other_store) {
            return;
        }
        self.count("another store");
        let stores = [OtherStore::Empty, OtherStore::AnotherLakes];
        self.host.at_other_store = Some(*self.chance.faults.at("which other store").pick(&stores));
        let after = self.chance.faults.at("other store seen").between(100_000, 5_000_000);
        self.queue.at(self.now + after, What::Recognized(self.host.lives));
    }

    /// The operator sees that a life has another store than its journal's, and ends it.
    pub(crate) fn store_recognized(&mut self, life: u64) {
        if life == self.host.lives && self.host.is_at_other_store() {
            self.crash();
        }
    }

    pub(crate) fn ask_other_store(&mut self, op: Op, ask: &Ask, other: OtherStore) {
        let outcome = match (ask, other) {
            (Ask::Get(key, _), OtherStore::AnotherLakes) if key == "dolake.json" => {
                let marker = br#"{"format-version":1,"lake":"00000000-0000-4000-8000-000000000000"}"#;
                Outcome::Got(Bytes::from_static(marker))
            }
            (Ask::Get(..), _) => Outcome::Absent,
            (Ask::Put(key, ..) | Ask::Delete(key), _) => {
                return self.fail("identity", format!("{key} of a store that is another's is written or deleted"));
            }
        };
        let delay = self.short();
        self.done(op, delay, outcome);
    }

    /// What a reader gets of an object. Of some tables it is not what was written, for a while.
    pub(crate) fn damaged(&mut self, ask: &Ask, outcome: Outcome) -> Outcome {
        let (table, until) = self.damaged_table;
        let (Ask::Get(key, None), Outcome::Got(bytes)) = (ask, &outcome) else { return outcome };
        let folder = format!("/{}/metadata/", table.replace('.', "/"));
        if self.now >= until || !key.contains(&folder) || !key.ends_with(".metadata.json") {
            return outcome;
        }
        self.count("damaged metadata");
        let text = String::from_utf8_lossy(bytes);
        let text = match self.chance.faults.at("damaged how").below(4) {
            0 => String::from_utf8_lossy(&bytes[..bytes.len() / 2]).into_owned(),
            1 => text.replace("\"format-version\":2", "\"format-version\":3"),
            2 => text.replace("\"current-snapshot-id\":", "\"current-snapshot-id\":7"),
            _ => text.replace("\"current-schema-id\":", "\"current-schema-id\":7"),
        };
        Outcome::Got(Bytes::from(text))
    }
}
