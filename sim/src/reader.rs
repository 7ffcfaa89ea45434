//! Reads a table as an engine would: metadata, manifest list, manifests, Parquet. Metadata is read here from plain JSON
//! and rows by the `parquet` crate, so that a mistake of the machine's own reading code is seen.

use std::collections::{BTreeMap, BTreeSet};

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef};
use bytes::Bytes;
use dolake_core::iceberg::container::Schemas;
use dolake_core::iceberg::manifest::{self, Status};
use dolake_core::iceberg::manifest_list;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::store::Store;

/// A row of a changelog table.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// All columns that are not null; nested values as JSON.
    pub columns: Map<String, Value>,
}

/// The current snapshot of a table.
#[derive(Debug, Clone, Default)]
pub struct Table {
    /// Snapshot ids, oldest first.
    pub snapshots: Vec<i64>,
    /// Keys of the live data files.
    pub files: BTreeSet<String>,
    /// The manifest lists of all retained snapshots.
    pub lists: Vec<String>,
}

/// What was read before: immutable objects are read once.
#[derive(Debug, Default)]
pub struct Cache {
    /// Key, rows and bytes of the data files of each manifest and manifest list.
    pub(crate) manifests: BTreeMap<String, Vec<(String, u64, u64)>>,
    /// Sequence numbers of data files, which never change.
    sequences: BTreeMap<String, i64>,
    schemas: Schemas,
}

/// What is looked at of a metadata file.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Metadata {
    #[serde(default)]
    snapshots: Vec<Snapshot>,
    current_snapshot_id: Option<i64>,
    last_sequence_number: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Snapshot {
    snapshot_id: i64,
    parent_snapshot_id: Option<i64>,
    sequence_number: Option<i64>,
    timestamp_ms: Option<i64>,
    manifest_list: String,
    #[serde(default)]
    summary: Summary,
}

/// Numbers as text, as the specification has them.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Summary {
    total_data_files: Option<String>,
    total_records: Option<String>,
    total_files_size: Option<String>,
}

/// Reads the metadata of a table's current version.
///
/// # Errors
/// What is not as the Iceberg specification says, or is not there.
pub fn read(store: &Store, location: &str, metadata_location: &str, cache: &mut Cache) -> Result<Table, String> {
    let metadata = object(store, location, metadata_location)?;
    let metadata: Metadata =
        serde_json::from_slice(metadata).map_err(|error| format!("{metadata_location}: {error}"))?;
    check_history(&metadata)?;
    let (mut files, mut lists) = (BTreeSet::new(), Vec::new());
    let ids = metadata.snapshots.iter().map(|snapshot| snapshot.snapshot_id).collect();
    for snapshot in metadata.snapshots {
        // Retained snapshots must be readable too. What was read once is immutable.
        read_list(store, location, &snapshot.manifest_list, cache)?;
        if Some(snapshot.snapshot_id) == metadata.current_snapshot_id {
            let of_snapshot = &cache.manifests[&snapshot.manifest_list];
            check_totals(&snapshot.summary, of_snapshot)?;
            files = of_snapshot.iter().map(|(key, _, _)| key.clone()).collect();
        }
        lists.push(snapshot.manifest_list);
    }
    Ok(Table { snapshots: ids, files, lists })
}

fn object<'a>(store: &'a Store, location: &str, uri: &str) -> Result<&'a Bytes, String> {
    let key = key_of(location, uri)?;
    store.get(key).ok_or_else(|| format!("{uri} is named by the metadata and is not in the store"))
}

fn key_of<'a>(location: &str, uri: &'a str) -> Result<&'a str, String> {
    uri.strip_prefix(location)
        .and_then(|rest| rest.strip_prefix('/'))
        .ok_or_else(|| format!("{uri} does not lie below {location}"))
}

/// History is a line: each snapshot follows the one before, numbers rise.
fn check_history(metadata: &Metadata) -> Result<(), String> {
    for pair in metadata.snapshots.windows(2) {
        let (older, newer) = (&pair[0], &pair[1]);
        if newer.parent_snapshot_id != Some(older.snapshot_id) {
            return Err(format!("snapshot {} does not follow {}", newer.snapshot_id, older.snapshot_id));
        }
        if newer.sequence_number <= older.sequence_number {
            return Err(format!("sequence numbers do not rise at snapshot {}", newer.snapshot_id));
        }
        if newer.timestamp_ms < older.timestamp_ms {
            return Err(format!("timestamps fall at snapshot {}", newer.snapshot_id));
        }
    }
    let last = metadata.snapshots.last().ok_or("no snapshot")?;
    if Some(last.snapshot_id) != metadata.current_snapshot_id {
        return Err("the newest snapshot is not the current one".to_owned());
    }
    if last.sequence_number != metadata.last_sequence_number {
        return Err("last-sequence-number is not that of the newest snapshot".to_owned());
    }
    Ok(())
}

/// Brings the live data files of a manifest list into the cache.
fn read_list(store: &Store, location: &str, uri: &str, cache: &mut Cache) -> Result<(), String> {
    if cache.manifests.contains_key(uri) {
        return Ok(());
    }
    let list = manifest_list::read(object(store, location, uri)?, &mut cache.schemas)
        .map_err(|error| format!("{uri}: {error}"))?;
    let mut files = Vec::new();
    for entry in &list {
        if !cache.manifests.contains_key(&entry.manifest_path) {
            let bytes = object(store, location, &entry.manifest_path)?;
            if bytes.len() as u64 != entry.manifest_length {
                return Err(format!("{}: {} bytes, not {}", entry.manifest_path, bytes.len(), entry.manifest_length));
            }
            let listed = (entry.manifest_path.as_str(), entry.sequence_number);
            let of_manifest = read_manifest(store, location, listed, bytes, cache)?;
            cache.manifests.insert(entry.manifest_path.clone(), of_manifest);
        }
        let of_manifest = &cache.manifests[&entry.manifest_path];
        if entry.live_files() != of_manifest.len() as u64 {
            return Err(format!("{}: the list counts {} files", entry.manifest_path, entry.live_files()));
        }
        files.extend(of_manifest.iter().cloned());
    }
    cache.manifests.insert(uri.to_owned(), files);
    Ok(())
}

fn read_manifest(
    store: &Store,
    location: &str,
    (uri, listed): (&str, i64),
    bytes: &[u8],
    cache: &mut Cache,
) -> Result<Vec<(String, u64, u64)>, String> {
    let mut files = Vec::new();
    for entry in manifest::read(bytes, &mut cache.schemas).map_err(|error| format!("{uri}: {error}"))? {
        if entry.status == Status::Deleted {
            continue;
        }
        let key = key_of(location, &entry.file.file_path)?;
        let there = store.get(key).ok_or_else(|| format!("data file {key} is not in the store"))?;
        if there.len() as u64 != entry.file.file_size_bytes {
            return Err(format!("{key}: {} bytes, the manifest says {}", there.len(), entry.file.file_size_bytes));
        }
        let sequence = entry.sequence_number.unwrap_or(listed);
        let former = *cache.sequences.entry(key.to_owned()).or_insert(sequence);
        if former != sequence {
            return Err(format!("{uri}: {key} has sequence number {sequence}, and had {former}"));
        }
        files.push((key.to_owned(), entry.file.metrics.record_count, entry.file.file_size_bytes));
    }
    Ok(files)
}

/// The summary's totals are those of the files.
fn check_totals(summary: &Summary, files: &[(String, u64, u64)]) -> Result<(), String> {
    let sums = [
        ("total-data-files", &summary.total_data_files, files.len() as u64),
        ("total-records", &summary.total_records, files.iter().map(|(_, rows, _)| rows).sum()),
        ("total-files-size", &summary.total_files_size, files.iter().map(|(_, _, bytes)| bytes).sum()),
    ];
    for (name, said, sum) in sums {
        if said.as_ref().is_some_and(|said| *said != sum.to_string()) {
            return Err(format!("summary {name}: {said:?}, the files have {sum}"));
        }
    }
    Ok(())
}

/// The rows of a data file.
///
/// # Errors
/// It is not there, or no Parquet file.
pub fn rows(store: &Store, key: &str) -> Result<Vec<Row>, String> {
    let bytes = store.get(key).ok_or("it is not in the store")?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes.clone()).map_err(|error| error.to_string())?;
    let mut rows = Vec::new();
    for batch in reader.build().map_err(|error| error.to_string())? {
        let batch = batch.map_err(|error| error.to_string())?;
        let schema = batch.schema();
        for row in 0..batch.num_rows() {
            let mut columns = Map::new();
            for (field, column) in schema.fields().iter().zip(batch.columns()) {
                if let Some(value) = value(column, row)? {
                    columns.insert(field.name().clone(), value);
                }
            }
            rows.push(Row { columns });
        }
    }
    Ok(rows)
}

/// A value as JSON; `None` for null.
fn value(array: &ArrayRef, row: usize) -> Result<Option<Value>, String> {
    if array.is_null(row) {
        return Ok(None);
    }
    if let Some(values) = array.as_primitive_opt::<Int64Type>() {
        return Ok(Some(json!(values.value(row))));
    }
    if let Some(values) = array.as_primitive_opt::<Int32Type>() {
        return Ok(Some(json!(values.value(row))));
    }
    if let Some(values) = array.as_primitive_opt::<Float64Type>() {
        return Ok(Some(json!(values.value(row))));
    }
    if let Some(values) = array.as_primitive_opt::<TimestampMicrosecondType>() {
        return Ok(Some(json!(values.value(row))));
    }
    if let Some(values) = array.as_string_opt::<i32>() {
        return Ok(Some(json!(values.value(row))));
    }
    if let Some(values) = array.as_boolean_opt() {
        return Ok(Some(json!(values.value(row))));
    }
    if let Some(values) = array.as_struct_opt() {
        let mut object = Map::new();
        for (name, column) in values.column_names().into_iter().zip(values.columns()) {
            if let Some(inner) = value(column, row)? {
                object.insert(name.to_owned(), inner);
            }
        }
        return Ok(Some(Value::from(object)));
    }
    if let Some(values) = array.as_list_opt::<i32>() {
        let list = values.value(row);
        let items: Result<Vec<Value>, String> =
            (0..list.len()).map(|at| Ok(value(&list, at)?.unwrap_or(Value::Null))).collect();
        return Ok(Some(Value::from(items?)));
    }
    Err(format!("a column of type {} is not expected here", array.data_type()))
}
