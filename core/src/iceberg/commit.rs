//! A commit: what to write so that files are appended to a table (specification: "Optimistic Concurrency", "Snapshots").
//!
//! Pure: out of the last version of a table and a change it makes the objects of the next one. The caller writes them in
//! order and then moves the table's pointer to the metadata file; until then no reader sees anything of it (promise 5).
//! Rewrites, deletes and partitioned writes come elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use uuid::Uuid;

use super::container::Schemas;
use super::data_file::DataFile;
use super::expiry;
use super::location;
use super::manifest::{self, ManifestEntry, ManifestError, Status};
use super::manifest_list::{self, FileCount, ListHead, ManifestContent, ManifestFile};
use super::metadata::{Kept, List, MAIN, MetadataLogEntry, Snapshot, SnapshotLogEntry, SnapshotRef, TableMetadata};
use super::metadata_json::UNSORTED;
use super::partition::PartitionSpec;
use super::schema::Schema;
use crate::limits::{MANIFEST_BYTES_TARGET, MANIFESTS_MAX, MANIFESTS_MERGED_MAX};

/// Rows that a manifest can count: an Avro `long`. Only damaged entries say more.
const ROWS_MAX: u64 = i64::MAX as u64;

/// The version of a table that a commit builds on.
#[derive(Debug, Clone, Copy)]
pub struct Base<'a> {
    /// Its metadata.
    pub metadata: &'a TableMetadata,
    /// Where that lies.
    pub metadata_location: &'a str,
    /// The manifests of its current snapshot, in the order of its manifest list; none if it has no snapshot.
    pub manifests: &'a [ManifestFile],
}

/// Files to append, and what goes with them.
#[derive(Debug, Clone, PartialEq)]
pub struct Append {
    /// Where a new table is to lie. An existing one stays where it is.
    pub location: String,
    /// Names a new table. An existing one keeps its name.
    pub table_uuid: Uuid,
    /// Files of rows, already written.
    pub files: Vec<DataFile>,
    /// The schema that the table has from now on. Its id is taken if it is above all others; an equal schema of the table
    /// is reused.
    pub schema: Schema,
    /// The highest field id in use now.
    pub last_column_id: i32,
    /// Unique in the table.
    pub snapshot_id: i64,
    /// The host's clock: milliseconds since the Unix epoch. A table's own time still always rises.
    pub now_ms: i64,
    /// What the snapshot's summary says beside the standard counts.
    pub summary: BTreeMap<String, String>,
    /// Table properties to set. Others stay.
    pub properties: BTreeMap<String, String>,
    /// Makes the names of this attempt's objects unlike those of any other.
    pub name: Uuid,
    /// Snapshots that the table keeps, this one included.
    pub max_snapshots: u64,
    /// The manifests that [`to_merge`] asked for: index into [`Base::manifests`], and what [`live_entries`] reads there.
    pub merged: Vec<(usize, Vec<ManifestEntry>)>,
}

/// The next version of a table, ready to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct Staged {
    /// Location and contents, in the order in which they must be written. The last is the metadata file.
    pub objects: Vec<(String, Bytes)>,
    /// The next metadata.
    pub metadata: TableMetadata,
    /// Where it lies.
    pub metadata_location: String,
    /// The manifests of its current snapshot, in the order of its manifest list.
    pub manifests: Vec<ManifestFile>,
    /// Objects that this version no longer names.
    pub garbage: Vec<Garbage>,
}

/// An object that the current version of a table no longer names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Garbage {
    /// Its location.
    pub location: String,
    /// Retained snapshots with a sequence number below this may still name it, and so may snapshots of other branches
    /// than `main`. 0: nothing in the table names it.
    pub named_below: i64,
}

/// Why nothing can be appended. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// The table is of a version that DoLake reads but does not write.
    #[error("format version: expected 2, got {0}; upgrade the table, or let DoLake write to another one")]
    FormatVersion(u8),
    /// The table does not have the partition spec that it names as its default.
    #[error("partition spec {0}: expected it in the metadata, but it is absent")]
    NoPartitionSpec(i32),
    /// The snapshot id is taken. Another draw makes another one.
    #[error("snapshot id {0} is taken already")]
    SnapshotIdTaken(i64),
    /// A manifest that is to be merged is not what the manifest list says of it.
    #[error("{location}: expected {expected} bytes, got {got}")]
    MergedLength {
        /// The manifest.
        location: String,
        /// Its length in the manifest list.
        expected: u64,
        /// Its length.
        got: u64,
    },
    /// A manifest that is to be merged cannot be read.
    #[error("{location}: {problem}")]
    Merged {
        /// The manifest.
        location: String,
        /// What is wrong.
        problem: ManifestError,
    },
    /// The new manifest cannot be written.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

/// The manifests to merge with the next commit, as indexes; empty as long as they are few.
///
/// Past [`MANIFESTS_MAX`] manifests below the target size, the oldest of those with about the same number of files are
/// merged, a few at a time: so a file's entry is written again only a few times in its life, and no commit takes much
/// longer than the others. Manifests of partitioned files are left alone, since merging would lose what readers prune
/// them by.
pub fn to_merge(manifests: &[ManifestFile]) -> Vec<usize> {
    let mut small = 0_usize;
    let mut groups: BTreeMap<(ManifestContent, i32, u32), Vec<usize>> = BTreeMap::new();
    for (n, manifest) in manifests.iter().enumerate() {
        let unpartitioned = manifest.partitions.as_ref().is_none_or(Vec::is_empty);
        if unpartitioned && manifest.manifest_length < MANIFEST_BYTES_TARGET {
            small += 1;
            let tier = manifest.live_files().max(1).ilog10();
            groups.entry((manifest.content, manifest.partition_spec_id, tier)).or_default().push(n);
        }
    }
    if small <= MANIFESTS_MAX {
        return Vec::new();
    }
    // The largest group; of equals the first, which is the cheapest.
    let Some(group) = groups.into_values().rev().max_by_key(Vec::len).filter(|group| group.len() > 1) else {
        return Vec::new();
    };
    let mut bytes = 0;
    let fits = |n: &usize| {
        let before = bytes;
        bytes += manifests.get(*n).map_or(0, |manifest| manifest.manifest_length);
        before < MANIFEST_BYTES_TARGET
    };
    let mut oldest: Vec<usize> = group.into_iter().rev().take(MANIFESTS_MERGED_MAX).take_while(fits).collect();
    oldest.reverse();
    oldest
}

/// Builds the next version of a table, or the first one if there is no `base`.
///
/// # Errors
/// When the table cannot be written to.
///
/// # Panics
/// When `change.merged` names a manifest that `base` does not have.
pub fn append(base: Option<Base<'_>>, change: &Append) -> Result<Staged, CommitError> {
    let mut next = match base {
        Some(base) => successor(base, change)?,
        None => first(change),
    };
    let sequence_number = next.last_sequence_number;
    let schema = next.current_schema().expect("the current schema was just set").clone();
    let spec = next.partition_spec(next.default_spec_id).cloned();
    let spec = spec.ok_or(CommitError::NoPartitionSpec(next.default_spec_id))?;

    let mut builder = Manifests { next: &next, change, written: Vec::new(), objects: Vec::new() };
    let added: Vec<ManifestEntry> =
        change.files.iter().map(|file| ManifestEntry::added(file.clone(), change.snapshot_id)).collect();
    if !added.is_empty() {
        builder.write(&schema, &spec, ManifestContent::Data, &added)?;
    }
    let (mut kept, merged_away) = builder.merge(base.map_or(&[], |base| base.manifests), &schema)?;
    let Manifests { written: mut manifests, mut objects, .. } = builder;
    if mutant!(ManifestDropped) {
        kept.pop();
    }
    manifests.extend(kept);

    let list_location = location::manifest_list(&next.location, change.snapshot_id, change.name);
    let head = ListHead {
        snapshot_id: change.snapshot_id,
        parent_snapshot_id: base.and_then(|base| base.metadata.current_snapshot_id),
        sequence_number,
    };
    objects.push((list_location.clone(), manifest_list::write(head, &manifests).into()));

    let mut garbage: Vec<Garbage> =
        merged_away.into_iter().map(|manifest| Garbage { location: manifest, named_below: sequence_number }).collect();
    if let Some(base) = base {
        expiry::expire(&mut next, base.metadata, change, &mut garbage);
    }
    let summary = summary(base, change, &manifests);
    add_snapshot(&mut next, head, list_location, &summary);
    let version = base.map_or(0, |base| next_version(&base));
    let metadata_location = location::metadata_file(&next.location, version, change.name);
    objects.push((metadata_location.clone(), next.to_json().into()));
    Ok(Staged { objects, metadata: next, metadata_location, manifests, garbage })
}

/// The metadata of a new table, but for its snapshot.
fn first(change: &Append) -> TableMetadata {
    let unpartitioned = PartitionSpec { spec_id: 0, fields: Vec::new() };
    TableMetadata {
        format_version: 2,
        table_uuid: Some(change.table_uuid),
        location: change.location.trim_end_matches('/').to_owned(),
        last_sequence_number: 1,
        last_updated_ms: change.now_ms,
        last_column_id: change.last_column_id.max(change.schema.max_id()),
        current_schema_id: change.schema.schema_id,
        schemas: vec![kept(change.schema.clone())],
        default_spec_id: 0,
        partition_specs: vec![kept(unpartitioned)],
        last_partition_id: 999,
        default_sort_order_id: 0,
        sort_orders: vec![Arc::new(Kept::read(UNSORTED, "sort-orders").expect("the constant is a sort order"))],
        properties: change.properties.clone(),
        current_snapshot_id: None,
        refs: BTreeMap::new(),
        snapshots: Vec::new(),
        statistics: Vec::new(),
        partition_statistics: Vec::new(),
        snapshot_log: Vec::new(),
        metadata_log: Vec::new(),
        extra: BTreeMap::new(),
    }
}

/// The metadata after `base`, but for its snapshots.
fn successor(base: Base<'_>, change: &Append) -> Result<TableMetadata, CommitError> {
    let last = base.metadata;
    if last.format_version != 2 {
        return Err(CommitError::FormatVersion(last.format_version));
    }
    if last.snapshot(change.snapshot_id).is_some() {
        return Err(CommitError::SnapshotIdTaken(change.snapshot_id));
    }
    let mut next = last.clone();
    next.last_sequence_number += i64::from(!mutant!(SequenceNumberStays));
    let least_ms = if mutant!(TimestampFalls) { i64::MIN } else { last.last_updated_ms + 1 };
    next.last_updated_ms = change.now_ms.max(least_ms);
    next.last_column_id = last.last_column_id.max(change.last_column_id).max(change.schema.max_id());
    next.current_schema_id = adopt_schema(&mut next.schemas, last.current_schema_id, &change.schema);
    next.metadata_log.push(MetadataLogEntry {
        metadata_file: base.metadata_location.to_owned(),
        timestamp_ms: last.last_updated_ms,
    });
    for (key, value) in &change.properties {
        next.properties.insert(key.clone(), value.clone());
    }
    Ok(next)
}

/// The id under which the table has this schema, which is added if it is new.
fn adopt_schema(schemas: &mut List<Schema>, current_id: i32, schema: &Schema) -> i32 {
    if mutant!(ColumnNotInSchema) {
        return current_id;
    }
    let current = schemas.iter().find(|known| known.schema_id == current_id).cloned();
    let equal = |known: &&Arc<Kept<Schema>>| known.fields == schema.fields;
    if let Some(known) = current.iter().find(equal).or_else(|| schemas.iter().find(equal)) {
        return known.schema_id;
    }
    // Above all that are there. Those that went had lower ids, so none is given twice.
    let highest = schemas.iter().map(|known| known.schema_id).max().unwrap_or(-1);
    let mut schema = schema.clone();
    schema.schema_id = schema.schema_id.max(highest + 1);
    let id = schema.schema_id;
    schemas.push(match current {
        Some(current) => Arc::new(with_foreign_members(schema, current.text())),
        None => kept(schema),
    });
    id
}

/// A schema with the members that another writer gave its predecessor and DoLake does not know: identifier fields, and
/// defaults of fields.
fn with_foreign_members(schema: Schema, predecessor: &str) -> Kept<Schema> {
    let mut json = serde_json::to_value(&schema).expect("a schema always serialises");
    if let Ok(former) = serde_json::from_str(predecessor) {
        add_missing(&mut json, &former);
    }
    Kept::new(schema, json.to_string().into())
}

fn add_missing(json: &mut serde_json::Value, former: &serde_json::Value) {
    use serde_json::Value::{Array, Object};
    match (json, former) {
        (Object(json), Object(former)) => {
            for (key, value) in former {
                match json.get_mut(key) {
                    Some(own) => add_missing(own, value),
                    None if key != "doc" => drop(json.insert(key.clone(), value.clone())),
                    None => {}
                }
            }
        }
        (Array(json), Array(former)) => {
            for own in json {
                let same = |other: &&serde_json::Value| own.get("id").is_some() && own.get("id") == other.get("id");
                if let Some(other) = former.iter().find(same) {
                    add_missing(own, other);
                }
            }
        }
        _ => {}
    }
}

/// The manifests that a commit writes.
struct Manifests<'a> {
    next: &'a TableMetadata,
    change: &'a Append,
    written: Vec<ManifestFile>,
    objects: Vec<(String, Bytes)>,
}

impl Manifests<'_> {
    fn write(
        &mut self,
        schema: &Kept<Schema>,
        spec: &PartitionSpec,
        content: ManifestContent,
        entries: &[ManifestEntry],
    ) -> Result<(), CommitError> {
        let bytes: Bytes = manifest::write(schema, spec, content, entries)?.into();
        let location = location::manifest(&self.next.location, self.change.name, self.written.len());
        let sequence_number = self.next.last_sequence_number;
        let count = |status| {
            let of_status = entries.iter().filter(|entry| entry.status == status);
            of_status.fold(FileCount::default(), |sum, entry| FileCount {
                files: sum.files + 1,
                rows: sum.rows.saturating_add(entry.file.metrics.record_count).min(ROWS_MAX)
                    + u64::from(mutant!(RowsMiscounted)),
            })
        };
        let lowest = entries.iter().map(|entry| entry.sequence_number.unwrap_or(sequence_number)).min();
        self.written.push(ManifestFile {
            manifest_path: location.clone(),
            manifest_length: bytes.len() as u64,
            partition_spec_id: spec.spec_id,
            content,
            sequence_number,
            min_sequence_number: lowest.unwrap_or(sequence_number),
            added_snapshot_id: self.change.snapshot_id,
            added_files: count(Status::Added),
            existing_files: count(Status::Existing),
            deleted_files: count(Status::Deleted),
            partitions: spec.fields.is_empty().then(Vec::new),
            key_metadata: None,
        });
        self.objects.push((location, bytes));
        Ok(())
    }

    /// Writes one manifest in place of those in `change.merged`. Those that stay, and the locations of those that go.
    fn merge(
        &mut self,
        manifests: &[ManifestFile],
        schema: &Kept<Schema>,
    ) -> Result<(Vec<ManifestFile>, Vec<String>), CommitError> {
        let mut merged = BTreeSet::new();
        let mut entries = Vec::new();
        for (index, live) in &self.change.merged {
            assert!(*index < manifests.len(), "manifest {index} of {}", manifests.len());
            assert!(merged.insert(*index), "manifest {index} is merged twice");
            if !(mutant!(MergedManifestDropped) && merged.len() == 1) {
                entries.extend_from_slice(live);
            }
        }
        let spec_and_content = merged.first().and_then(|index| manifests.get(*index));
        if let Some(ManifestFile { partition_spec_id, content, .. }) = spec_and_content {
            let spec = self.next.partition_spec(*partition_spec_id).cloned();
            let spec = spec.ok_or(CommitError::NoPartitionSpec(*partition_spec_id))?;
            self.write(schema, &spec, *content, &entries)?;
        }
        let (gone, stay): (Vec<_>, Vec<_>) = manifests.iter().enumerate().partition(|(n, _)| merged.contains(n));
        let gone = gone.into_iter().map(|(_, manifest)| manifest.manifest_path.clone()).collect();
        Ok((stay.into_iter().map(|(_, manifest)| manifest.clone()).collect(), gone))
    }
}

/// The entries of an unpartitioned manifest that readers see, as a later manifest holds them.
///
/// # Errors
/// [`CommitError::MergedLength`] or [`CommitError::Merged`]: it is damaged.
pub fn live_entries(
    manifest: &ManifestFile,
    bytes: &[u8],
    schemas: &mut Schemas,
) -> Result<Vec<ManifestEntry>, CommitError> {
    let location = || manifest.manifest_path.clone();
    let got = bytes.len() as u64;
    if got != manifest.manifest_length {
        return Err(CommitError::MergedLength { location: location(), expected: manifest.manifest_length, got });
    }
    let mut entries =
        manifest::read(bytes, schemas).map_err(|problem| CommitError::Merged { location: location(), problem })?;
    entries.retain(|entry| entry.status != Status::Deleted);
    if let Some(entry) = entries.iter().find(|entry| !entry.file.partition.is_empty()) {
        let (file, spec_id) = (entry.file.file_path.clone(), manifest.partition_spec_id);
        let problem = ManifestError::PartitionValues { file, spec_id };
        return Err(CommitError::Merged { location: location(), problem });
    }
    for entry in &mut entries {
        entry.inherit(manifest);
        entry.status = Status::Existing;
        entry.sequence_number = entry.sequence_number.map(|number| number + i64::from(mutant!(MergedSequenceNumber)));
    }
    Ok(entries)
}

/// Adds the new snapshot and makes it current.
fn add_snapshot(next: &mut TableMetadata, head: ListHead, manifest_list: String, summary: &Summary) {
    let json = NewSnapshot {
        snapshot_id: head.snapshot_id,
        parent_snapshot_id: head.parent_snapshot_id,
        sequence_number: head.sequence_number,
        timestamp_ms: next.last_updated_ms,
        summary,
        manifest_list: &manifest_list,
        schema_id: next.current_schema_id,
    };
    let text = serde_json::to_string(&json).expect("plain fields always serialise");
    let snapshot = Snapshot {
        snapshot_id: head.snapshot_id,
        parent_snapshot_id: head.parent_snapshot_id,
        sequence_number: head.sequence_number,
        timestamp_ms: next.last_updated_ms,
        manifest_list: Some(manifest_list),
        schema_id: Some(next.current_schema_id),
    };
    next.snapshots.push(Arc::new(Kept::new(snapshot, text.into())));
    next.snapshot_log.push(SnapshotLogEntry { snapshot_id: head.snapshot_id, timestamp_ms: next.last_updated_ms });
    next.current_snapshot_id = Some(head.snapshot_id);
    let main = next.refs.entry(MAIN.to_owned()).or_insert_with(|| SnapshotRef::branch(head.snapshot_id));
    main.snapshot_id = head.snapshot_id;
}

type Summary = BTreeMap<String, String>;

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct NewSnapshot<'a> {
    snapshot_id: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_snapshot_id: Option<i64>,
    sequence_number: i64,
    timestamp_ms: i64,
    summary: &'a Summary,
    manifest_list: &'a str,
    schema_id: i32,
}

/// The snapshot's summary (specification: appendix F): what came with it, and what there is now.
fn summary(base: Option<Base<'_>>, change: &Append, manifests: &[ManifestFile]) -> Summary {
    let mut summary = change.summary.clone();
    let mut set = |key: &str, value: u64| drop(summary.insert(key.to_owned(), value.to_string()));
    let added_bytes = change.files.iter().map(|file| file.file_size_bytes).sum();
    set("added-data-files", change.files.len() as u64);
    set("added-records", change.files.iter().map(|file| file.metrics.record_count).sum());
    set("added-files-size", added_bytes);
    set("changed-partition-count", u64::from(!change.files.is_empty()));

    let data = manifests.iter().filter(|manifest| manifest.content == ManifestContent::Data);
    set("total-data-files", data.clone().map(ManifestFile::live_files).fold(0, u64::saturating_add));
    set("total-records", data.map(ManifestFile::live_rows).fold(0, u64::saturating_add));
    let former = base.and_then(|base| base.metadata.current_snapshot()).map(|snapshot| snapshot.summary());
    for key in ["total-files-size", "total-delete-files", "total-position-deletes", "total-equality-deletes"] {
        let before = match &former {
            None => Some(0),
            Some(former) => former.get(key).and_then(|text| text.parse::<u64>().ok()),
        };
        if let Some(before) = before {
            set(key, if key == "total-files-size" { before.saturating_add(added_bytes) } else { before });
        }
    }
    summary.insert("operation".to_owned(), "append".to_owned());
    summary
}

/// The number in the next metadata file's name.
fn next_version(base: &Base<'_>) -> u64 {
    location::metadata_version(base.metadata_location).unwrap_or(base.metadata.metadata_log.len() as u64) + 1
}

fn kept<T: Serialize>(value: T) -> Arc<Kept<T>> {
    let text = serde_json::to_string(&value).expect("schemas and specs always serialise");
    Arc::new(Kept::new(value, text.into()))
}

#[cfg(test)]
#[path = "commit_tests.rs"]
mod tests;
