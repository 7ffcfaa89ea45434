//! The JSON of table metadata (specification: appendix C, "Table Metadata and Snapshots").
//!
//! Written in the order of Iceberg's own writer, what is not known last; so the same metadata is the same bytes.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::metadata::{Kept, List, MAIN, SnapshotRef, SortOrder, TableMetadata};
use super::partition::PartitionSpec;
use super::schema::Schema;

/// Why a document is not table metadata. For the operator: the file is damaged, or of a newer kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// The document is no JSON object.
    #[error("table metadata: expected a JSON object: {0}")]
    NotAnObject(String),
    /// A member is not what the specification wants.
    #[error("table metadata, {key}: {problem}")]
    Member {
        /// The member's key.
        key: &'static str,
        /// What is wrong.
        problem: String,
    },
}

type Members<'a> = BTreeMap<String, &'a RawValue>;

impl TableMetadata {
    /// Reads a metadata file of format version 1, 2 or 3.
    ///
    /// # Errors
    /// When it is no JSON object, lacks a required member, or one has another type than the specification says.
    pub fn parse(json: &[u8]) -> Result<TableMetadata, MetadataError> {
        let mut members: Members<'_> =
            serde_json::from_slice(json).map_err(|error| MetadataError::NotAnObject(error.to_string()))?;
        let m = &mut members;
        let format_version: u8 = required(m, "format-version")?;
        if !(1..=3).contains(&format_version) {
            return Err(member("format-version", format!("expected 1, 2 or 3, got {format_version}")));
        }
        let version_1 = format_version == 1;
        let schemas = schemas(m, version_1)?;
        let partition_specs = partition_specs(m, version_1)?;
        let mut sort_orders: List<SortOrder> = list(m, "sort-orders")?;
        if sort_orders.is_empty() {
            sort_orders.push(Arc::new(Kept::read(UNSORTED, "sort-orders")?));
        }
        let last_partition_id = match optional(m, "last-partition-id")? {
            Some(id) => id,
            None => partition_specs.iter().flat_map(|spec| &spec.fields).map(|f| f.field_id).max().unwrap_or(999),
        };
        let current_snapshot_id = optional(m, "current-snapshot-id")?.filter(|id| *id != -1);
        let mut refs: BTreeMap<String, SnapshotRef> = optional(m, "refs")?.unwrap_or_default();
        if let Some(snapshot_id) = current_snapshot_id {
            refs.entry(MAIN.to_owned()).or_insert_with(|| SnapshotRef::branch(snapshot_id));
        }
        Ok(TableMetadata {
            format_version,
            table_uuid: if version_1 { optional(m, "table-uuid")? } else { Some(required(m, "table-uuid")?) },
            location: required(m, "location")?,
            last_sequence_number: if version_1 { 0 } else { required(m, "last-sequence-number")? },
            last_updated_ms: required(m, "last-updated-ms")?,
            last_column_id: required(m, "last-column-id")?,
            current_schema_id: match optional(m, "current-schema-id")? {
                Some(id) => id,
                None => schemas.first().map_or(0, |schema| schema.schema_id),
            },
            schemas,
            default_spec_id: optional(m, "default-spec-id")?.unwrap_or(0),
            partition_specs,
            last_partition_id,
            default_sort_order_id: optional(m, "default-sort-order-id")?.unwrap_or(0),
            sort_orders,
            properties: optional(m, "properties")?.unwrap_or_default(),
            current_snapshot_id,
            refs,
            snapshots: list(m, "snapshots")?,
            statistics: list(m, "statistics")?,
            partition_statistics: list(m, "partition-statistics")?,
            snapshot_log: optional(m, "snapshot-log")?.unwrap_or_default(),
            metadata_log: optional(m, "metadata-log")?.unwrap_or_default(),
            extra: members.into_iter().map(|(key, value)| (key, Arc::from(value.get()))).collect(),
        })
    }

    /// The metadata file. The same metadata is the same bytes.
    pub fn to_json(&self) -> Vec<u8> {
        let size: usize = self.snapshots.iter().map(|snapshot| snapshot.text().len() + 1).sum();
        let mut doc =
            Document::with_capacity(size + 100 * self.snapshot_log.len() + 200 * self.metadata_log.len() + 8_192);
        doc.value("format-version", &self.format_version);
        if let Some(uuid) = &self.table_uuid {
            doc.value("table-uuid", uuid);
        }
        doc.value("location", &self.location);
        if self.format_version > 1 {
            doc.value("last-sequence-number", &self.last_sequence_number);
        }
        doc.value("last-updated-ms", &self.last_updated_ms);
        doc.value("last-column-id", &self.last_column_id);
        doc.value("current-schema-id", &self.current_schema_id);
        doc.list("schemas", &self.schemas);
        doc.value("default-spec-id", &self.default_spec_id);
        doc.list("partition-specs", &self.partition_specs);
        doc.value("last-partition-id", &self.last_partition_id);
        doc.value("default-sort-order-id", &self.default_sort_order_id);
        doc.list("sort-orders", &self.sort_orders);
        doc.value("properties", &self.properties);
        if let Some(id) = &self.current_snapshot_id {
            doc.value("current-snapshot-id", id);
        }
        doc.value("refs", &self.refs);
        doc.list("snapshots", &self.snapshots);
        doc.list("statistics", &self.statistics);
        doc.list("partition-statistics", &self.partition_statistics);
        doc.value("snapshot-log", &self.snapshot_log);
        doc.value("metadata-log", &self.metadata_log);
        for (key, text) in &self.extra {
            doc.raw(key, text);
        }
        doc.finish()
    }
}

impl SnapshotRef {
    /// A branch with no retention settings of its own.
    pub fn branch(snapshot_id: i64) -> SnapshotRef {
        SnapshotRef { snapshot_id, ref_type: "branch".to_owned(), extra: BTreeMap::new() }
    }
}

/// The sort order of a table that has none.
pub(super) const UNSORTED: &str = r#"{"order-id":0,"fields":[]}"#;

impl<T: DeserializeOwned> Kept<T> {
    /// Reads `text` and keeps it.
    pub(super) fn read(text: &str, key: &'static str) -> Result<Kept<T>, MetadataError> {
        let parsed = serde_json::from_str(text).map_err(|error| member(key, error.to_string()))?;
        Ok(Kept::new(parsed, text.into()))
    }
}

fn member(key: &'static str, problem: String) -> MetadataError {
    MetadataError::Member { key, problem }
}

/// Takes a member out, so that in the end the unknown ones are left. `null` is read as absent.
fn optional<T: DeserializeOwned>(members: &mut Members<'_>, key: &'static str) -> Result<Option<T>, MetadataError> {
    let Some(value) = members.remove(key) else { return Ok(None) };
    serde_json::from_str(value.get()).map_err(|error| member(key, error.to_string()))
}

fn required<T: DeserializeOwned>(members: &mut Members<'_>, key: &'static str) -> Result<T, MetadataError> {
    optional(members, key)?.ok_or_else(|| member(key, "expected, but absent".to_owned()))
}

fn list<T: DeserializeOwned>(members: &mut Members<'_>, key: &'static str) -> Result<List<T>, MetadataError> {
    let Some(value) = members.remove(key) else { return Ok(Vec::new()) };
    let items: Option<Vec<&RawValue>> =
        serde_json::from_str(value.get()).map_err(|error| member(key, error.to_string()))?;
    items.unwrap_or_default().into_iter().map(|item| Ok(Arc::new(Kept::read(item.get(), key)?))).collect()
}

/// Version 1 may have one `schema` instead of `schemas`; it stays where it is as well.
fn schemas(members: &mut Members<'_>, version_1: bool) -> Result<List<Schema>, MetadataError> {
    let mut schemas = list(members, "schemas")?;
    if schemas.is_empty()
        && version_1
        && let Some(single) = members.get("schema")
    {
        schemas.push(Arc::new(Kept::read(single.get(), "schema")?));
    }
    if schemas.is_empty() { Err(member("schemas", "expected at least one".to_owned())) } else { Ok(schemas) }
}

/// Version 1 may have only the fields of one spec, as `partition-spec`; they stay where they are as well.
fn partition_specs(members: &mut Members<'_>, version_1: bool) -> Result<List<PartitionSpec>, MetadataError> {
    let mut specs = list(members, "partition-specs")?;
    if specs.is_empty()
        && version_1
        && let Some(fields) = members.get("partition-spec")
    {
        let text = format!(r#"{{"spec-id":0,"fields":{}}}"#, fields.get());
        specs.push(Arc::new(Kept::read(&text, "partition-spec")?));
    }
    if specs.is_empty() { Err(member("partition-specs", "expected at least one".to_owned())) } else { Ok(specs) }
}

/// A JSON object under construction.
struct Document {
    out: Vec<u8>,
}

impl Document {
    fn with_capacity(bytes: usize) -> Document {
        let mut out = Vec::with_capacity(bytes);
        out.push(b'{');
        Document { out }
    }

    fn key(&mut self, key: &str) {
        if self.out.len() > 1 {
            self.out.push(b',');
        }
        self.json(key);
        self.out.push(b':');
    }

    fn json<T: Serialize + ?Sized>(&mut self, value: &T) {
        serde_json::to_writer(&mut self.out, value).expect("maps with string keys and plain values always serialise");
    }

    fn value<T: Serialize>(&mut self, key: &str, value: &T) {
        self.key(key);
        self.json(value);
    }

    fn raw(&mut self, key: &str, text: &str) {
        self.key(key);
        self.out.extend_from_slice(text.as_bytes());
    }

    fn list<T>(&mut self, key: &str, list: &List<T>) {
        self.key(key);
        self.out.push(b'[');
        for (n, item) in list.iter().enumerate() {
            if n > 0 {
                self.out.push(b',');
            }
            self.out.extend_from_slice(item.text().as_bytes());
        }
        self.out.push(b']');
    }

    fn finish(mut self) -> Vec<u8> {
        self.out.push(b'}');
        self.out
    }
}

#[cfg(test)]
#[path = "metadata_tests.rs"]
mod tests;
