//! The store's model: objects by key, conditional puts. Strongly consistent, like R2 and S3.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use dolake_core::Outcome;
use dolake_core::command::Condition;

/// The store.
#[derive(Debug, Clone, Default)]
pub struct Store {
    objects: BTreeMap<String, Bytes>,
    /// Keys on which a put landed after a later one.
    overtaken: BTreeSet<String>,
    newest_put: BTreeMap<String, u64>,
}

/// What the machine asked of the store.
#[derive(Debug, Clone)]
pub enum Ask {
    /// `Put`, and the how-manieth put of the run it is.
    Put(String, Bytes, Condition, u64),
    /// `Get`.
    Get(String, Option<(u64, u64)>),
    /// `Delete`.
    Delete(String),
}

/// Objects that may be written again with other bytes.
fn may_change(key: &str) -> bool {
    key.ends_with("/version-hint.text")
}

impl Store {
    /// Carries out what was asked.
    ///
    /// # Errors
    /// It breaks a rule of the lake: an object is overwritten by other bytes.
    pub fn carry_out(&mut self, ask: &Ask) -> Result<Outcome, String> {
        Ok(match ask {
            Ask::Put(key, bytes, condition, n) => {
                if let Some(there) = self.objects.get(key) {
                    if *condition == Condition::IfAbsent {
                        return Ok(Outcome::Conflict);
                    }
                    if there != bytes && !may_change(key) {
                        return Err(format!("object {key} is written again with other bytes"));
                    }
                }
                let newest = self.newest_put.entry(key.clone()).or_default();
                if *newest > *n {
                    self.overtaken.insert(key.clone());
                } else {
                    *newest = *n;
                    self.overtaken.remove(key);
                }
                self.objects.insert(key.clone(), bytes.clone());
                Outcome::Put
            }
            Ask::Get(key, range) => match (self.objects.get(key), range) {
                (None, _) => Outcome::Absent,
                (Some(bytes), None) => Outcome::Got(bytes.clone()),
                (Some(bytes), Some((from, until))) => {
                    let len = bytes.len() as u64;
                    Outcome::Got(bytes.slice((*from).min(len) as usize..(*until).min(len) as usize))
                }
            },
            Ask::Delete(key) => {
                self.objects.remove(key);
                Outcome::Deleted
            }
        })
    }

    /// An object.
    pub fn get(&self, key: &str) -> Option<&Bytes> {
        self.objects.get(key)
    }

    /// Takes an object away, to see that a check sees it.
    #[cfg(test)]
    pub(crate) fn lose(&mut self, key: &str) {
        self.objects.remove(key);
    }

    /// Whether a late put spoiled what a later one had written.
    pub fn was_overtaken(&self, key: &str) -> bool {
        self.overtaken.contains(key)
    }

    /// Keys of objects that a late put spoiled.
    pub fn overtaken(&self) -> impl Iterator<Item = &String> {
        self.overtaken.iter()
    }

    /// A store as it was.
    pub fn of(objects: BTreeMap<String, Bytes>, overtaken: BTreeSet<String>) -> Store {
        Store { objects, overtaken, newest_put: BTreeMap::new() }
    }

    /// All objects, for comparing runs.
    pub fn objects(&self) -> impl Iterator<Item = (&String, &Bytes)> {
        self.objects.iter()
    }
}
