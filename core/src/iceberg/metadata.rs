//! Table metadata (specification: "Table Metadata").
//!
//! A table has up to a thousand snapshots and commits often, so what the next version takes over unread is kept as the
//! text it came in ([`Kept`]) and shared between versions: making the next metadata is mostly copying. This also keeps
//! every field that DoLake does not know. Reading and writing JSON is in [`super::metadata_json`].

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::partition::PartitionSpec;
use super::schema::Schema;

/// The ref that readers follow, and DoLake commits to.
pub const MAIN: &str = "main";

/// A part of a document: what DoLake needs of it, and the whole as text.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept<T> {
    parsed: T,
    text: Box<str>,
}

/// Parts in order, shared between successive versions.
pub type List<T> = Vec<Arc<Kept<T>>>;

impl<T> Kept<T> {
    /// The JSON, byte for byte.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Keeps `text`, which must be JSON, beside what was read from it.
    pub(super) fn new(parsed: T, text: Box<str>) -> Kept<T> {
        Kept { parsed, text }
    }
}

impl<T> Deref for Kept<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.parsed
    }
}

/// The state of a table at one version: what a metadata file says.
#[derive(Debug, Clone, PartialEq)]
pub struct TableMetadata {
    /// 1, 2 or 3. DoLake commits to version 2.
    pub format_version: u8,
    /// Names the table for ever. Version 1 may leave it out.
    pub table_uuid: Option<Uuid>,
    /// Where the table's files lie.
    pub location: String,
    /// The highest sequence number in use; 0 in version 1.
    pub last_sequence_number: i64,
    /// Milliseconds since the Unix epoch.
    pub last_updated_ms: i64,
    /// The highest field id ever used.
    pub last_column_id: i32,
    /// The id of [`TableMetadata::current_schema`].
    pub current_schema_id: i32,
    /// All schemas that a retained snapshot or file may need.
    pub schemas: List<Schema>,
    /// The id of the partition spec that writers use.
    pub default_spec_id: i32,
    /// All partition specs.
    pub partition_specs: List<PartitionSpec>,
    /// The highest partition field id ever used; 999 if none was.
    pub last_partition_id: i32,
    /// The id of the sort order that writers use.
    pub default_sort_order_id: i32,
    /// All sort orders.
    pub sort_orders: List<SortOrder>,
    /// Free for all: `write.*`, `history.*`, `dolake.*`.
    pub properties: BTreeMap<String, String>,
    /// What a reader sees. `None` for a table without a snapshot.
    pub current_snapshot_id: Option<i64>,
    /// Branches and tags.
    pub refs: BTreeMap<String, SnapshotRef>,
    /// In the order in which they were added.
    pub snapshots: List<Snapshot>,
    /// Statistics files.
    pub statistics: List<Statistics>,
    /// Partition statistics files.
    pub partition_statistics: List<Statistics>,
    /// Which snapshot was current when, oldest first.
    pub snapshot_log: Vec<SnapshotLogEntry>,
    /// Former metadata files, oldest first.
    pub metadata_log: Vec<MetadataLogEntry>,
    /// Every other member of the document: its key, and its value as JSON text.
    pub extra: BTreeMap<String, Arc<str>>,
}

/// A state of the table at one time.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Snapshot {
    /// Unique in its table.
    pub snapshot_id: i64,
    /// The snapshot it was built on.
    pub parent_snapshot_id: Option<i64>,
    /// Rises with every commit; 0 in version 1.
    #[serde(default)]
    pub sequence_number: i64,
    /// Milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
    /// Location of its manifest list. Version 1 may list the manifests inline instead.
    pub manifest_list: Option<String>,
    /// The schema that was current when it was made.
    pub schema_id: Option<i32>,
}

/// A sort order; its fields stay text.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SortOrder {
    /// Unique in its table; 0 is unsorted.
    pub order_id: i32,
}

/// A statistics file of one snapshot.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Statistics {
    /// The snapshot it speaks of.
    pub snapshot_id: i64,
    /// Its location.
    pub statistics_path: String,
}

/// A branch or a tag.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SnapshotRef {
    /// The snapshot it names.
    pub snapshot_id: i64,
    /// `branch` or `tag`.
    #[serde(rename = "type")]
    pub ref_type: String,
    /// Retention settings and whatever else it carries.
    #[serde(flatten)]
    pub extra: BTreeMap<String, serde_json::Value>,
}

/// A change of the current snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SnapshotLogEntry {
    /// The snapshot that became current.
    pub snapshot_id: i64,
    /// Milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
}

/// A former metadata file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct MetadataLogEntry {
    /// Its location.
    pub metadata_file: String,
    /// Its `last-updated-ms`.
    pub timestamp_ms: i64,
}

/// What a snapshot's summary counts over the whole table. `None`: the summary does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Data files.
    pub data_files: Option<u64>,
    /// Rows of the data files, deleted ones included.
    pub rows: Option<u64>,
    /// Bytes of all files.
    pub bytes: Option<u64>,
}

impl TableMetadata {
    /// The schema that writers and readers use.
    pub fn current_schema(&self) -> Option<&Arc<Kept<Schema>>> {
        self.schemas.iter().find(|schema| schema.schema_id == self.current_schema_id)
    }

    /// The partition spec with this id.
    pub fn partition_spec(&self, id: i32) -> Option<&Arc<Kept<PartitionSpec>>> {
        self.partition_specs.iter().find(|spec| spec.spec_id == id)
    }

    /// The snapshot with this id.
    pub fn snapshot(&self, id: i64) -> Option<&Arc<Kept<Snapshot>>> {
        self.snapshots.iter().rev().find(|snapshot| snapshot.snapshot_id == id)
    }

    /// What a reader sees.
    pub fn current_snapshot(&self) -> Option<&Arc<Kept<Snapshot>>> {
        self.snapshot(self.current_snapshot_id?)
    }

    /// What the current snapshot counts; nothing for a table without one.
    pub fn totals(&self) -> Totals {
        let Some(snapshot) = self.current_snapshot() else {
            return Totals { data_files: Some(0), rows: Some(0), bytes: Some(0) };
        };
        let summary = snapshot.summary();
        let number = |key: &str| summary.get(key).and_then(|text| text.parse().ok());
        Totals {
            data_files: number("total-data-files"),
            rows: number("total-records"),
            bytes: number("total-files-size"),
        }
    }
}

impl Kept<Snapshot> {
    /// The summary; empty where it is absent or not a map of strings.
    pub fn summary(&self) -> BTreeMap<String, String> {
        #[derive(Deserialize)]
        struct WithSummary {
            summary: BTreeMap<String, String>,
        }
        serde_json::from_str(self.text()).map_or_else(|_| BTreeMap::new(), |parsed: WithSummary| parsed.summary)
    }
}
