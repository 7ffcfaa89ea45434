//! Manifest lists: the manifests of one snapshot (specification: "Manifest Lists"). Avro; written in format version 2.

use apache_avro::schema::{RecordSchema, Schema as AvroSchema};
use apache_avro::types::Value;
use serde::{Deserialize, Serialize};

use super::avro::{self, AvroFile, Encoder};
use super::container::{Container, Schemas};
use super::manifest::ManifestError;

/// What the files of a manifest hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub enum ManifestContent {
    /// Data files.
    #[default]
    Data,
    /// Delete files.
    Deletes,
}

impl ManifestContent {
    /// As a manifest's header spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            ManifestContent::Data => "data",
            ManifestContent::Deletes => "deletes",
        }
    }
}

/// A manifest, as a manifest list names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestFile {
    /// Its location.
    pub manifest_path: String,
    /// Its size in bytes.
    pub manifest_length: u64,
    /// The partition spec of all its files.
    pub partition_spec_id: i32,
    /// What its files hold.
    pub content: ManifestContent,
    /// The commit that added it; 0 in version 1.
    pub sequence_number: i64,
    /// The lowest data sequence number of its live files.
    pub min_sequence_number: i64,
    /// The snapshot that added it.
    pub added_snapshot_id: i64,
    /// Files that came with it.
    pub added_files: FileCount,
    /// Files that were there before.
    pub existing_files: FileCount,
    /// Files that went with it.
    pub deleted_files: FileCount,
    /// One for each field of its partition spec. `None`: not known.
    pub partitions: Option<Vec<FieldSummary>>,
    /// Encryption keys of other writers.
    pub key_metadata: Option<Vec<u8>>,
}

/// Files and their rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FileCount {
    /// Files.
    pub files: u64,
    /// Rows of these files.
    pub rows: u64,
}

/// What is known of one partition field over all files of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldSummary {
    /// Whether a value is null.
    pub contains_null: bool,
    /// Whether a value is NaN, if known.
    pub contains_nan: Option<bool>,
    /// The lowest value, in Iceberg's single-value serialization.
    pub lower_bound: Option<Vec<u8>>,
    /// The highest value, likewise.
    pub upper_bound: Option<Vec<u8>>,
}

impl ManifestFile {
    /// Files that a reader finds in it.
    pub fn live_files(&self) -> u64 {
        self.added_files.files.saturating_add(self.existing_files.files)
    }

    /// Rows of these files.
    pub fn live_rows(&self) -> u64 {
        self.added_files.rows.saturating_add(self.existing_files.rows)
    }
}

/// The snapshot that a manifest list is of; it stands in the file's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListHead {
    /// The snapshot.
    pub snapshot_id: i64,
    /// The one it was built on.
    pub parent_snapshot_id: Option<i64>,
    /// Its sequence number.
    pub sequence_number: i64,
}

const SCHEMA: &str = concat!(
    r#"{"type":"record","name":"manifest_file","fields":["#,
    r#"{"name":"manifest_path","type":"string","field-id":500},"#,
    r#"{"name":"manifest_length","type":"long","field-id":501},"#,
    r#"{"name":"partition_spec_id","type":"int","field-id":502},"#,
    r#"{"name":"content","type":"int","field-id":517},"#,
    r#"{"name":"sequence_number","type":"long","field-id":515},"#,
    r#"{"name":"min_sequence_number","type":"long","field-id":516},"#,
    r#"{"name":"added_snapshot_id","type":"long","field-id":503},"#,
    r#"{"name":"added_files_count","type":"int","field-id":504},"#,
    r#"{"name":"existing_files_count","type":"int","field-id":505},"#,
    r#"{"name":"deleted_files_count","type":"int","field-id":506},"#,
    r#"{"name":"added_rows_count","type":"long","field-id":512},"#,
    r#"{"name":"existing_rows_count","type":"long","field-id":513},"#,
    r#"{"name":"deleted_rows_count","type":"long","field-id":514},"#,
    r#"{"name":"partitions","type":["null",{"type":"array","items":{"type":"record","name":"r508","fields":["#,
    r#"{"name":"contains_null","type":"boolean","field-id":509},"#,
    r#"{"name":"contains_nan","type":["null","boolean"],"default":null,"field-id":518},"#,
    r#"{"name":"lower_bound","type":["null","bytes"],"default":null,"field-id":510},"#,
    r#"{"name":"upper_bound","type":["null","bytes"],"default":null,"field-id":511}"#,
    r#"]},"element-id":508}],"default":null,"field-id":507},"#,
    r#"{"name":"key_metadata","type":["null","bytes"],"default":null,"field-id":519}]}"#,
);

/// Writes a manifest list, deterministic to the byte.
pub fn write(head: ListHead, manifests: &[ManifestFile]) -> Vec<u8> {
    let parent = head.parent_snapshot_id.map_or_else(|| "null".to_owned(), |id| id.to_string());
    let header = [
        ("snapshot-id", head.snapshot_id.to_string()),
        ("parent-snapshot-id", parent),
        ("sequence-number", head.sequence_number.to_string()),
        ("format-version", "2".to_owned()),
    ];
    let mut file = AvroFile::new(SCHEMA, &header.each_ref().map(|(key, value)| (*key, value.as_str())));
    for manifest in manifests {
        file.record(|out| encode(manifest, out));
    }
    file.finish()
}

/// Encodes the fields of [`SCHEMA`].
fn encode(manifest: &ManifestFile, out: &mut Encoder) {
    out.string(&manifest.manifest_path);
    out.size(manifest.manifest_length);
    out.long(i64::from(manifest.partition_spec_id));
    out.long(match manifest.content {
        ManifestContent::Data => 0,
        ManifestContent::Deletes => 1,
    });
    out.long(manifest.sequence_number);
    out.long(manifest.min_sequence_number);
    out.long(manifest.added_snapshot_id);
    let counts = [manifest.added_files, manifest.existing_files, manifest.deleted_files];
    counts.iter().for_each(|count| out.size(count.files));
    counts.iter().for_each(|count| out.size(count.rows));
    out.option(manifest.partitions.as_ref(), |out, fields| {
        out.array(fields, |out, field| {
            out.boolean(field.contains_null);
            out.option(field.contains_nan, Encoder::boolean);
            out.option(field.lower_bound.as_deref(), Encoder::bytes);
            out.option(field.upper_bound.as_deref(), Encoder::bytes);
        });
    });
    out.option(manifest.key_metadata.as_deref(), Encoder::bytes);
}

/// Ids of fields whose writer left the ids out; three have two names.
const NAMES: &[(&str, i32)] = &[
    ("manifest_path", 500),
    ("manifest_length", 501),
    ("partition_spec_id", 502),
    ("added_snapshot_id", 503),
    ("added_files_count", 504),
    ("added_data_files_count", 504),
    ("existing_files_count", 505),
    ("existing_data_files_count", 505),
    ("deleted_files_count", 506),
    ("deleted_data_files_count", 506),
    ("partitions", 507),
    ("added_rows_count", 512),
    ("existing_rows_count", 513),
    ("deleted_rows_count", 514),
    ("sequence_number", 515),
    ("min_sequence_number", 516),
    ("content", 517),
    ("key_metadata", 519),
];

const SUMMARY_NAMES: &[(&str, i32)] =
    &[("contains_null", 509), ("contains_nan", 518), ("lower_bound", 510), ("upper_bound", 511)];

/// Reads a manifest list of any format version and writer.
///
/// # Errors
/// When it is no Avro file, or a field that the specification requires is absent.
pub fn read(bytes: &[u8], schemas: &mut Schemas) -> Result<Vec<ManifestFile>, ManifestError> {
    let container = Container::open(bytes, schemas)?;
    let record = avro::record_of(container.schema())
        .ok_or_else(|| ManifestError::Avro("its schema is not that of a manifest list".to_owned()))?;
    let ids = avro::field_ids(record, NAMES);
    let summary_ids = summary_ids(record, &ids);
    let mut manifests = Vec::new();
    container.records(|value| {
        manifests.push(decode(value, &ids, &summary_ids)?);
        Ok(())
    })?;
    Ok(manifests)
}

/// The ids of the fields of a partition summary; none if the schema has no summaries.
fn summary_ids(record: &RecordSchema, ids: &[i32]) -> Vec<i32> {
    let array_item = |schema: &AvroSchema| {
        let AvroSchema::Array(array) = schema else { return None };
        avro::record_of(&array.items).map(|item| avro::field_ids(item, SUMMARY_NAMES))
    };
    let partitions = record.fields.iter().zip(ids).find(|(_, id)| **id == 507);
    let found = partitions.and_then(|(field, _)| {
        if let AvroSchema::Union(union) = &field.schema {
            union.variants().iter().find_map(array_item)
        } else {
            array_item(&field.schema)
        }
    });
    found.unwrap_or_default()
}

fn decode(value: Value, ids: &[i32], summary_ids: &[i32]) -> Result<ManifestFile, &'static str> {
    let mut manifest = ManifestFile {
        manifest_path: String::new(),
        manifest_length: 0,
        partition_spec_id: 0,
        content: ManifestContent::Data,
        sequence_number: 0,
        min_sequence_number: 0,
        added_snapshot_id: 0,
        added_files: FileCount::default(),
        existing_files: FileCount::default(),
        deleted_files: FileCount::default(),
        partitions: None,
        key_metadata: None,
    };
    for (id, value) in avro::fields(value, ids) {
        match id {
            500 => manifest.manifest_path = avro::string(value).ok_or("manifest_path")?,
            501 => manifest.manifest_length = avro::size(value).ok_or("manifest_length")?,
            502 => manifest.partition_spec_id = avro::int(value).ok_or("partition_spec_id")?,
            503 => manifest.added_snapshot_id = avro::long(value).unwrap_or(0),
            504 => manifest.added_files.files = avro::size(value).unwrap_or(0),
            505 => manifest.existing_files.files = avro::size(value).unwrap_or(0),
            506 => manifest.deleted_files.files = avro::size(value).unwrap_or(0),
            507 => manifest.partitions = avro::array(value).map(|items| summaries(items, summary_ids)),
            512 => manifest.added_files.rows = avro::size(value).unwrap_or(0),
            513 => manifest.existing_files.rows = avro::size(value).unwrap_or(0),
            514 => manifest.deleted_files.rows = avro::size(value).unwrap_or(0),
            515 => manifest.sequence_number = avro::long(value).unwrap_or(0),
            516 => manifest.min_sequence_number = avro::long(value).unwrap_or(0),
            517 => {
                manifest.content = match avro::int(value) {
                    None | Some(0) => ManifestContent::Data,
                    Some(1) => ManifestContent::Deletes,
                    Some(_) => return Err("content 0 or 1"),
                };
            }
            519 => manifest.key_metadata = avro::bytes(value),
            _ => {}
        }
    }
    if manifest.manifest_path.is_empty() { Err("manifest_path") } else { Ok(manifest) }
}

fn summaries(items: Vec<Value>, ids: &[i32]) -> Vec<FieldSummary> {
    let summary = |item: Value| {
        let mut summary =
            FieldSummary { contains_null: false, contains_nan: None, lower_bound: None, upper_bound: None };
        for (id, value) in avro::fields(item, ids) {
            match id {
                509 => summary.contains_null = avro::boolean(value).unwrap_or(true),
                510 => summary.lower_bound = avro::bytes(value),
                511 => summary.upper_bound = avro::bytes(value),
                518 => summary.contains_nan = avro::boolean(value),
                _ => {}
            }
        }
        summary
    };
    items.into_iter().map(summary).collect()
}
