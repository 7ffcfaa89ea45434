//! What the machine knows of every table without opening its metadata, and how that is journaled.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::ident::TableIdent;
use super::pointer::{Namespace, TablePointer, decode_namespace, encode_namespace};
use crate::command::{Key, Write};
use crate::journal::{self, RestoreError};

const NAMESPACE_PREFIX: &[u8] = b"c/n/";
const POINTER_PREFIX: &[u8] = b"c/t/";
const FIGURES_PREFIX: &[u8] = b"c/u/";

/// Figures of a table's last commit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TableFigures {
    /// The current snapshot.
    pub(crate) snapshot_id: i64,
    /// Its rows.
    pub(crate) rows: u64,
    /// Its data files.
    pub(crate) files: u64,
    /// Bytes of its data files.
    pub(crate) bytes: u64,
    /// The flush that made it.
    pub(crate) flush: u64,
    /// The host's clock at the commit, in milliseconds.
    pub(crate) committed_ms: i64,
    /// Event time of the newest event that it brought, in milliseconds.
    pub(crate) newest_event_ms: i64,
    /// Whether the hint for readers by path is known to be written. In the journal as of a later commit of another table.
    pub(crate) hinted: bool,
}

/// Namespaces, tables and their figures.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    /// By name, level by level.
    pub(crate) namespaces: BTreeMap<Vec<String>, Namespace>,
    /// Where each table's metadata is.
    pub(crate) pointers: BTreeMap<TableIdent, TablePointer>,
    /// Figures for status and hints.
    pub(crate) figures: BTreeMap<TableIdent, TableFigures>,
    /// From the table name in events to the table bound to it.
    bindings: BTreeMap<String, TableIdent>,
    /// Tables whose hint is written, which the journal does not say yet.
    newly_hinted: BTreeSet<TableIdent>,
}

impl Tables {
    /// Takes one row of the journal's control range; `false` if it is none of ours.
    pub(crate) fn restore(&mut self, key: &[u8], value: &[u8]) -> Result<bool, RestoreError> {
        let damaged = |what: String| RestoreError::Damaged { key: key.escape_ascii().to_string(), what };
        if let Some(tail) = key.strip_prefix(NAMESPACE_PREFIX) {
            let name = decode_namespace(tail).map_err(|error| damaged(error.to_string()))?;
            let namespace = Namespace::decode(value).map_err(|error| damaged(error.to_string()))?;
            self.namespaces.insert(name, namespace);
        } else if let Some(tail) = key.strip_prefix(POINTER_PREFIX) {
            let ident = TableIdent::decode(tail).map_err(|error| damaged(error.to_string()))?;
            let pointer = TablePointer::decode(value).map_err(|error| damaged(error.to_string()))?;
            self.point(ident, pointer);
        } else if let Some(tail) = key.strip_prefix(FIGURES_PREFIX) {
            let ident = TableIdent::decode(tail).map_err(|error| damaged(error.to_string()))?;
            self.figures.insert(ident, journal::decode(key, value)?);
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// The table that an event's table name is bound to.
    pub(crate) fn bound(&self, cdc_table: &str) -> Option<&TableIdent> {
        self.bindings.get(cdc_table)
    }

    /// Moves a table's pointer.
    pub(crate) fn point(&mut self, ident: TableIdent, pointer: TablePointer) {
        if let Some(cdc_table) = &pointer.cdc_table {
            self.bindings.insert(cdc_table.clone(), ident.clone());
        }
        self.pointers.insert(ident, pointer);
    }

    /// The writes that make a commit of `ident` durable: its pointer, its figures, and its namespace when it is new.
    pub(crate) fn commit_writes(
        &self,
        ident: &TableIdent,
        pointer: &TablePointer,
        figures: &TableFigures,
    ) -> Vec<Write> {
        let mut writes =
            vec![Write::Put(key(POINTER_PREFIX, &ident.encode()), pointer.encode()), figures_write(ident, figures)];
        if !self.namespaces.contains_key(&ident.namespace) {
            let name = key(NAMESPACE_PREFIX, &encode_namespace(&ident.namespace));
            writes.push(Write::Put(name, Namespace::default().encode()));
        }
        writes
    }

    /// Takes over what [`Tables::commit_writes`] has made durable.
    pub(crate) fn committed(&mut self, ident: TableIdent, pointer: TablePointer, figures: TableFigures) {
        self.namespaces.entry(ident.namespace.clone()).or_default();
        self.newly_hinted.remove(&ident);
        self.figures.insert(ident.clone(), figures);
        self.point(ident, pointer);
    }

    /// The hint for readers by path says what the table's last commit made.
    pub(crate) fn hinted(&mut self, ident: &TableIdent) {
        if let Some(figures) = self.figures.get_mut(ident) {
            figures.hinted = true;
            self.newly_hinted.insert(ident.clone());
        }
    }

    /// The tables of which the journal does not say yet that their hint is written, and the writes that say it. They go with
    /// a commit of other tables: of `committing` it is not true any more.
    pub(crate) fn hint_writes(&self, committing: &BTreeSet<&TableIdent>) -> (Vec<TableIdent>, Vec<Write>) {
        let resting = self.newly_hinted.iter().filter(|ident| !committing.contains(ident));
        let known = resting.filter_map(|ident| Some((ident, self.figures.get(ident)?)));
        known.map(|(ident, figures)| (ident.clone(), figures_write(ident, figures))).unzip()
    }

    /// The journal has taken what [`Tables::hint_writes`] gave for these tables.
    pub(crate) fn hints_saved(&mut self, idents: &[TableIdent]) {
        for ident in idents {
            self.newly_hinted.remove(ident);
        }
    }
}

/// The write of one table's figures.
pub(crate) fn figures_write(ident: &TableIdent, figures: &TableFigures) -> Write {
    Write::Put(key(FIGURES_PREFIX, &ident.encode()), journal::encode(figures).into())
}

fn key(prefix: &[u8], tail: &[u8]) -> Key {
    Bytes::from([prefix, tail].concat())
}
