//! Promise 5, as readers of the catalog see it: what `loadTable` answers is in the store, byte for byte as a value, and no
//! older than what was answered before it was asked for, or than what a life began with, so that no reader goes back; such
//! a table is found and listed. And a reader that holds on to a snapshot finds all its files later, as long as the table
//! keeps it. Does not see other answers of the catalog, nor that a commit stays unseen while its save is not confirmed.

use std::collections::BTreeMap;

use bytes::Bytes;
use dolake_core::catalog::TablePointer;
use dolake_core::event::CallId;
use dolake_core::iceberg::container::Schemas;
use dolake_core::iceberg::manifest::{self, Status};
use dolake_core::iceberg::manifest_list;
use serde_json::Value;

use crate::checks::liveness::SLOW_MAX;
use crate::truth::TABLES;
use crate::world::{What, World};

/// The versions of each table that a reader could see so far, oldest first.
#[derive(Debug, Default)]
pub struct Versions {
    /// By table, as events spell it: locations of metadata files.
    by_table: BTreeMap<String, Vec<String>>,
    /// How many of each the machine is known to know.
    known: BTreeMap<String, usize>,
    /// How many that were of each when a request came, and its path.
    asked: BTreeMap<CallId, (String, BTreeMap<String, usize>)>,
}

/// The path of a table in the catalog.
pub(crate) fn table_path(table: &str) -> String {
    let (namespace, name) = table.split_once('.').unwrap_or(("default", table));
    format!("/v1/namespaces/{namespace}/tables/{name}")
}

impl World {
    /// Tables moved.
    pub(crate) fn note_versions(&mut self) {
        for (_, value) in self.journal.pointers() {
            let Ok(TablePointer { cdc_table: Some(table), metadata_location, .. }) = TablePointer::decode(value) else {
                continue;
            };
            let versions = self.versions.by_table.entry(table).or_default();
            if versions.last() != Some(&metadata_location) {
                versions.push(metadata_location);
            }
        }
    }

    /// A life begins: it knows what the journal has.
    pub(crate) fn note_versions_known(&mut self) {
        let counts = self.versions.by_table.iter().map(|(table, versions)| (table.clone(), versions.len()));
        self.versions.known = counts.collect();
    }

    /// A request reaches the machine.
    pub(crate) fn note_catalog_asked(&mut self, call: CallId, path: &str) {
        if path.starts_with("/v1/namespaces/") {
            let asked = (path.to_owned(), self.versions.known.clone());
            self.versions.asked.insert(call, asked);
        }
    }

    /// A request has its answer.
    pub(super) fn check_catalog(&mut self, call: CallId, status: u16, body: &Bytes) {
        let Some((path, counts)) = self.versions.asked.remove(&call) else { return };
        let answer: Value = serde_json::from_slice(body).unwrap_or_default();
        let result = match TABLES.into_iter().find(|table| table_path(table) == path) {
            Some(table) => self.check_loaded(table, counts.get(table).copied().unwrap_or(0), status, &answer),
            None => listed(&counts, status, &answer),
        };
        if let Err(message) = result {
            self.fail("catalog", format!("GET {path}: {message}"));
        }
    }

    fn check_loaded(&mut self, table: &str, seen: usize, status: u16, answer: &Value) -> Result<(), String> {
        if self.host.is_at_other_store() {
            return Ok(());
        }
        // What was read may have been damaged, some while ago.
        let (damaged, until) = self.damaged_table;
        if damaged == table && self.now < until + SLOW_MAX {
            return Ok(());
        }
        match status {
            200 => {}
            // The store did not answer.
            503 => return Ok(()),
            404 if seen == 0 => return Ok(()),
            _ => return Err(format!("{status} {answer}; the table has {seen} versions")),
        }
        self.count("table loaded");
        let location = answer["metadata-location"].as_str().ok_or("no metadata-location")?;
        let at = self.versions.by_table.get(table).and_then(|all| all.iter().position(|version| version == location));
        let at = at.ok_or_else(|| format!("{location} was never committed"))?;
        if at + 1 < seen {
            return Err(format!("{location} is version {}, and {seen} was answered before", at + 1));
        }
        let known = self.versions.known.entry(table.to_owned()).or_default();
        *known = (*known).max(at + 1);
        if self.stored(location)? != answer["metadata"] {
            return Err(format!("the metadata is not what {location} says"));
        }
        let later = self.chance.work.at("reads later by").delay(10_000, 30_000_000);
        self.queue.at(self.now + later, What::ReadOld(table.to_owned(), location.to_owned()));
        Ok(())
    }

    fn stored(&self, uri: &str) -> Result<Value, String> {
        serde_json::from_slice(&self.object(uri)?).map_err(|error| format!("{uri}: {error}"))
    }

    fn object(&self, uri: &str) -> Result<Bytes, String> {
        let key = uri.strip_prefix(&self.location).and_then(|key| key.strip_prefix('/'));
        let found = key.and_then(|key| self.store.get(key)).cloned();
        found.ok_or_else(|| format!("{uri} is not in the store"))
    }

    /// A reader that loaded a table some time ago reads its files now.
    pub(crate) fn read_old(&mut self, table: &str, location: &str) {
        if self.told.is_some() {
            return;
        }
        if let Err(message) = self.check_old(table, location) {
            self.fail("catalog", format!("a reader of {table} that holds {location}: {message}"));
        }
    }

    fn check_old(&mut self, table: &str, location: &str) -> Result<(), String> {
        let held = self.stored(location)?;
        let current = self.versions.by_table[table].last().ok_or("a table without a version")?;
        let retained = self.stored(current)?;
        let id = &held["current-snapshot-id"];
        let is = |snapshot: &&Value| snapshot["snapshot-id"] == *id;
        let all = |of: &Value| of["snapshots"].as_array().cloned().unwrap_or_default();
        if !all(&retained).iter().any(|snapshot| is(&snapshot)) {
            return Ok(());
        }
        let snapshots = all(&held);
        let list = snapshots.iter().find(is).and_then(|snapshot| snapshot["manifest-list"].as_str());
        let list = list.ok_or("no manifest list")?;
        let mut schemas = Schemas::default();
        for entry in
            manifest_list::read(&self.object(list)?, &mut schemas).map_err(|error| format!("{list}: {error}"))?
        {
            let uri = &entry.manifest_path;
            for entry in manifest::read(&self.object(uri)?, &mut schemas).map_err(|error| format!("{uri}: {error}"))? {
                if entry.status != Status::Deleted {
                    self.object(&entry.file.file_path)?;
                }
            }
        }
        self.count("old snapshot read");
        Ok(())
    }
}

fn listed(counts: &BTreeMap<String, usize>, status: u16, answer: &Value) -> Result<(), String> {
    let names: Vec<&str> =
        answer["identifiers"].as_array().into_iter().flatten().filter_map(|i| i["name"].as_str()).collect();
    let missing = counts.keys().filter(|table| !table.contains('.')).find(|table| !names.contains(&table.as_str()));
    match missing {
        Some(table) => Err(format!("{status}: table {table} was committed before and is not listed: {names:?}")),
        None => Ok(()),
    }
}
