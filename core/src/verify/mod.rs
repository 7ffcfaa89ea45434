//! Is a table in the store what it says it is? A walk over everything that its metadata names.
//!
//! Used by `dolake verify` and by the simulator. It only reads, through a function that the caller gives it, holds one
//! object at a time, and believes nothing: counts and bounds are made anew from the data, with no code of the writer.
//! It guards promise 5 (all that a snapshot names is there) and gives what promise 2 needs (every event once): the
//! sequences found, for the caller to compare with what was acked. What it does not see: whether a row's values are
//! those that the producer sent, rows behind delete files, and files that are not Parquet (both are counted).
//!
//! Where to read on: the rules of metadata are in `rules.rs`, the walk over manifests is in `walk.rs`, the inside of a
//! data file in `parquet_file.rs`, and which events it has in `sequences.rs`.

mod parquet_file;
mod ranges;
mod rules;
mod sequences;
mod walk;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::Bytes;
use uuid::Uuid;

pub use ranges::Ranges;

use crate::iceberg::metadata::TableMetadata;

/// Untruths after which the walk ends: a table with so many needs no longer list.
pub const UNTRUTHS_MAX: usize = 100;

/// What is in a table whose every word was found true.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TableReport {
    /// Names the table.
    pub table_uuid: Option<Uuid>,
    /// Where its files lie.
    pub location: String,
    /// What a reader sees.
    pub current_snapshot_id: Option<i64>,
    /// Retained snapshots.
    pub snapshots: u64,
    /// Rows in the current snapshot's data files.
    pub rows: u64,
    /// Data files of the current snapshot.
    pub data_files: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Delete files of the current snapshot. Their effect is not applied to `rows`.
    pub delete_files: u64,
    /// Data and delete files of any retained snapshot that are not Parquet: only seen to be there.
    pub unread_files: u64,
    /// By source and epoch, the events that the current snapshot has a row of. Empty without `_cdc_` columns.
    pub sequences: BTreeMap<SourceEpoch, Ranges>,
    /// Every object that the metadata names, itself included. What lies in the table's folder beside these is garbage,
    /// a former metadata file, or a version hint.
    pub named: BTreeSet<String>,
}

/// A source and one life of its numbering; the epoch is empty where the table has null.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct SourceEpoch {
    /// `_cdc_source`.
    pub source: String,
    /// `_cdc_epoch`.
    pub epoch: String,
}

/// Something that a table says and that is not so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Untruth {
    /// The object in which it shows.
    pub location: String,
    /// The column, if it is about one.
    pub column: Option<String>,
    /// The row of the file, from 0, if it is about one.
    pub row: Option<u64>,
    /// What was expected, and what is there.
    pub what: String,
}

impl fmt::Display for Untruth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.location)?;
        if let Some(column) = &self.column {
            write!(f, ", column {column}")?;
        }
        if let Some(row) = self.row {
            write!(f, ", row {row}")?;
        }
        write!(f, ": {}", self.what)
    }
}

/// Walks a table from its metadata file. `read` returns a whole object, `None` if it is absent.
///
/// # Errors
/// Everything found untrue, at most [`UNTRUTHS_MAX`], the first being the one that was met first. An object that `read`
/// fails on is among them.
pub fn verify_table(
    metadata_location: &str,
    read: &mut impl FnMut(&str) -> Result<Option<Bytes>, String>,
) -> Result<TableReport, Vec<Untruth>> {
    let mut findings = Findings::default();
    let report = walk_table(metadata_location, read, &mut findings);
    match report {
        Some(report) if findings.untruths.is_empty() => Ok(report),
        _ => Err(findings.untruths),
    }
}

fn walk_table(
    metadata_location: &str,
    read: &mut impl FnMut(&str) -> Result<Option<Bytes>, String>,
    findings: &mut Findings,
) -> Option<TableReport> {
    let bytes = fetch(metadata_location, read, findings)?;
    let metadata = match TableMetadata::parse(&bytes) {
        Ok(metadata) => metadata,
        Err(error) => {
            findings.add(metadata_location, error.to_string());
            return None;
        }
    };
    rules::check(&metadata, metadata_location, findings);
    walk::walk(&metadata, metadata_location, read, findings)
}

/// Reads an object that must be there.
fn fetch(
    location: &str,
    read: &mut impl FnMut(&str) -> Result<Option<Bytes>, String>,
    findings: &mut Findings,
) -> Option<Bytes> {
    match read(location) {
        Ok(Some(bytes)) => return Some(bytes),
        Ok(None) => findings.add(location, "expected, but absent"),
        Err(problem) => findings.add(location, format!("cannot be read: {problem}")),
    }
    None
}

/// What was found untrue so far.
#[derive(Debug, Default)]
struct Findings {
    untruths: Vec<Untruth>,
}

impl Findings {
    fn add(&mut self, location: &str, what: impl Into<String>) {
        self.push(location, None, None, what.into());
    }

    fn push(&mut self, location: &str, column: Option<&str>, row: Option<u64>, what: String) {
        if !self.full() {
            self.untruths.push(Untruth { location: location.to_owned(), column: column.map(str::to_owned), row, what });
        }
    }

    /// Says what is wrong unless `holds`.
    fn expect(&mut self, holds: bool, location: &str, what: impl FnOnce() -> String) {
        if !holds {
            self.add(location, what());
        }
    }

    fn full(&self) -> bool {
        self.untruths.len() >= UNTRUTHS_MAX
    }
}

#[cfg(test)]
mod tests;
