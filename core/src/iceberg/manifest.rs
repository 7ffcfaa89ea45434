//! Manifests: lists of data files (specification: "Manifests"). Avro; written in format version 2, read in any.

use std::collections::BTreeMap;

use apache_avro::schema::Schema as AvroSchema;
use apache_avro::types::Value;
use serde::{Deserialize, Serialize};

use super::avro::{self, AvroFile, Encoder};
use super::container::{Container, Schemas};
use super::data_file::{ColumnMetrics, Content, DataFile, Metrics};
use super::manifest_list::{ManifestContent, ManifestFile};
use super::metadata::Kept;
use super::partition::{Literal, PartitionError, PartitionSpec};
use super::schema::{Primitive, Schema};

/// What happened to a file in the snapshot that wrote the manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// It was there before.
    Existing,
    /// It came.
    Added,
    /// It went. Later snapshots leave the entry out.
    Deleted,
}

/// A file and its place in the table's history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ManifestEntry {
    /// What happened to it.
    pub status: Status,
    /// The snapshot that added or deleted it; absent: that of the manifest.
    pub snapshot_id: Option<i64>,
    /// Age of its rows, against deletes; absent for an added file: that of the manifest.
    pub sequence_number: Option<i64>,
    /// The commit that added the file; absent for an added file: that of the manifest.
    pub file_sequence_number: Option<i64>,
    /// The file.
    pub file: DataFile,
}

/// Why a manifest or manifest list cannot be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// The object is no Avro file, or is cut short.
    #[error("expected an Avro file: {0}")]
    Avro(String),
    /// It is Avro, but not what Iceberg says.
    #[error("record {record}: expected {expected}")]
    Record {
        /// Its place in the file, from 0.
        record: usize,
        /// What is missing or wrong.
        expected: &'static str,
    },
    /// The partition spec cannot be written.
    #[error(transparent)]
    Partition(#[from] PartitionError),
    /// A file's partition does not fit the spec.
    #[error("{file}: its partition values do not fit partition spec {spec_id}")]
    PartitionValues {
        /// The file's location.
        file: String,
        /// The spec.
        spec_id: i32,
    },
}

/// Writes a manifest of format version 2, deterministic to the byte.
///
/// # Errors
/// When the partition spec does not go with the schema, or a file's partition not with the spec.
pub fn write(
    schema: &Kept<Schema>,
    spec: &PartitionSpec,
    content: ManifestContent,
    entries: &[ManifestEntry],
) -> Result<Vec<u8>, ManifestError> {
    let types = spec.types(schema)?;
    let spec_fields = serde_json::to_string(&spec.fields).expect("plain fields always serialise");
    let header = [
        ("schema", schema.text()),
        ("schema-id", &schema.schema_id.to_string()),
        ("partition-spec", &spec_fields),
        ("partition-spec-id", &spec.spec_id.to_string()),
        ("format-version", "2"),
        ("content", content.as_str()),
    ];
    let avro_schema = [ENTRY_HEAD, &spec.avro_type(&types), ENTRY_TAIL].concat();
    let mut file = AvroFile::new(&avro_schema, &header);
    for entry in entries {
        let mut fits = true;
        file.record(|out| fits = encode(entry, &types, out));
        if !fits {
            let file = entry.file.file_path.clone();
            return Err(ManifestError::PartitionValues { file, spec_id: spec.spec_id });
        }
    }
    Ok(file.finish())
}

/// The schema of an entry, in the order of Iceberg's own writer, around the type of the partition.
const ENTRY_HEAD: &str = concat!(
    r#"{"type":"record","name":"manifest_entry","fields":["#,
    r#"{"name":"status","type":"int","field-id":0},"#,
    r#"{"name":"snapshot_id","type":["null","long"],"default":null,"field-id":1},"#,
    r#"{"name":"sequence_number","type":["null","long"],"default":null,"field-id":3},"#,
    r#"{"name":"file_sequence_number","type":["null","long"],"default":null,"field-id":4},"#,
    r#"{"name":"data_file","type":{"type":"record","name":"r2","fields":["#,
    r#"{"name":"content","type":"int","field-id":134},"#,
    r#"{"name":"file_path","type":"string","field-id":100},"#,
    r#"{"name":"file_format","type":"string","field-id":101},"#,
    r#"{"name":"partition","type":"#,
);

/// `$field` is optional and maps ids (`$key`) to values (`$value`).
macro_rules! optional_map {
    ($name:literal, $field:literal, $key:literal, $value:literal, $type:literal) => {
        concat!(
            r#"{"name":""#,
            $name,
            r#"","type":["null",{"type":"array","items":{"type":"record","name":"k"#,
            $key,
            "_v",
            $value,
            r#"","fields":[{"name":"key","type":"int","field-id":"#,
            $key,
            r#"},{"name":"value","type":""#,
            $type,
            r#"","field-id":"#,
            $value,
            r#"}]},"logicalType":"map"}],"default":null,"field-id":"#,
            $field,
            "},"
        )
    };
}

const ENTRY_TAIL: &str = concat!(
    r#","field-id":102},"#,
    r#"{"name":"record_count","type":"long","field-id":103},"#,
    r#"{"name":"file_size_in_bytes","type":"long","field-id":104},"#,
    optional_map!("column_sizes", 108, 117, 118, "long"),
    optional_map!("value_counts", 109, 119, 120, "long"),
    optional_map!("null_value_counts", 110, 121, 122, "long"),
    optional_map!("nan_value_counts", 137, 138, 139, "long"),
    optional_map!("lower_bounds", 125, 126, 127, "bytes"),
    optional_map!("upper_bounds", 128, 129, 130, "bytes"),
    r#"{"name":"key_metadata","type":["null","bytes"],"default":null,"field-id":131},"#,
    r#"{"name":"split_offsets","type":["null",{"type":"array","items":"long","element-id":133}],"#,
    r#""default":null,"field-id":132},"#,
    r#"{"name":"equality_ids","type":["null",{"type":"array","items":"int","element-id":136}],"#,
    r#""default":null,"field-id":135},"#,
    r#"{"name":"sort_order_id","type":["null","int"],"default":null,"field-id":140},"#,
    r#"{"name":"referenced_data_file","type":["null","string"],"default":null,"field-id":143}"#,
    r#"]},"field-id":2}]}"#,
);

/// Encodes the fields of [`ENTRY_HEAD`] and [`ENTRY_TAIL`]. False if the partition does not fit `types`.
fn encode(entry: &ManifestEntry, types: &[Primitive], out: &mut Encoder) -> bool {
    out.long(match entry.status {
        Status::Existing => 0,
        Status::Added => 1,
        Status::Deleted => 2,
    });
    out.option(entry.snapshot_id, Encoder::long);
    out.option(entry.sequence_number, Encoder::long);
    out.option(entry.file_sequence_number, Encoder::long);
    let file = &entry.file;
    out.long(match file.content {
        Content::Data => 0,
        Content::PositionDeletes => 1,
        Content::EqualityDeletes => 2,
    });
    out.string(&file.file_path);
    out.string(&file.file_format);
    let mut fits = file.partition.len() == types.len();
    for (literal, primitive) in file.partition.iter().zip(types) {
        out.option(literal.as_ref(), |out, literal| fits &= literal.encode(*primitive, out));
    }
    let metrics = &file.metrics;
    out.size(metrics.record_count);
    out.size(file.file_size_bytes);
    encode_map(out, metrics, |column| (column.size_bytes > 0).then_some(column.size_bytes), Encoder::size);
    encode_map(out, metrics, |column| column.value_count, Encoder::size);
    encode_map(out, metrics, |column| column.null_count, Encoder::size);
    encode_map(out, metrics, |column| column.nan_count, Encoder::size);
    encode_map(out, metrics, |column| column.lower_bound.as_deref(), Encoder::bytes);
    encode_map(out, metrics, |column| column.upper_bound.as_deref(), Encoder::bytes);
    out.option(file.key_metadata.as_deref(), Encoder::bytes);
    let offsets = (!metrics.split_offsets.is_empty()).then_some(&metrics.split_offsets);
    out.option(offsets, |out, offsets| out.array(offsets, |out, offset| out.long(*offset)));
    out.option(file.equality_ids.as_ref(), |out, ids| out.array(ids, |out, id| out.long(i64::from(*id))));
    out.option(file.sort_order_id, |out, id| out.long(i64::from(id)));
    out.option(file.referenced_data_file.as_deref(), Encoder::string);
    fits
}

/// One map of column ids to values, of the columns that have one; null if none has.
fn encode_map<'a, T>(
    out: &mut Encoder,
    metrics: &'a Metrics,
    value: impl Fn(&'a ColumnMetrics) -> Option<T>,
    write: impl Fn(&mut Encoder, T),
) {
    let count = metrics.columns.values().filter(|column| value(column).is_some()).count();
    out.option((count > 0).then_some(count), |out, count| {
        out.size(count as u64);
        for (id, column) in &metrics.columns {
            if let Some(value) = value(column) {
                out.long(i64::from(*id));
                write(out, value);
            }
        }
        out.long(0);
    });
}

/// Ids of fields whose writer left the ids out.
const ENTRY_NAMES: &[(&str, i32)] =
    &[("status", 0), ("snapshot_id", 1), ("data_file", 2), ("sequence_number", 3), ("file_sequence_number", 4)];

const FILE_NAMES: &[(&str, i32)] = &[
    ("file_path", 100),
    ("file_format", 101),
    ("partition", 102),
    ("record_count", 103),
    ("file_size_in_bytes", 104),
    ("column_sizes", 108),
    ("value_counts", 109),
    ("null_value_counts", 110),
    ("lower_bounds", 125),
    ("upper_bounds", 128),
    ("key_metadata", 131),
    ("split_offsets", 132),
    ("content", 134),
    ("equality_ids", 135),
    ("nan_value_counts", 137),
    ("sort_order_id", 140),
    ("referenced_data_file", 143),
];

/// Reads a manifest of any format version and writer. Entries are as they stand: see [`ManifestEntry::inherit`].
///
/// # Errors
/// When it is no Avro file, or a field that the specification requires is absent.
pub fn read(bytes: &[u8], schemas: &mut Schemas) -> Result<Vec<ManifestEntry>, ManifestError> {
    let container = Container::open(bytes, schemas)?;
    let layout = Layout::of(container.schema())?;
    let mut entries = Vec::new();
    container.records(|value| {
        entries.push(layout.entry(value)?);
        Ok(())
    })?;
    Ok(entries)
}

/// Which field stands where.
struct Layout {
    entry: Vec<i32>,
    file: Vec<i32>,
}

impl Layout {
    fn of(schema: &AvroSchema) -> Result<Layout, ManifestError> {
        let not = || ManifestError::Avro("its schema is not that of a manifest".to_owned());
        let entry = avro::record_of(schema).ok_or_else(not)?;
        let ids = avro::field_ids(entry, ENTRY_NAMES);
        let file = entry.fields.iter().zip(&ids).find(|(_, id)| **id == 2).ok_or_else(not)?.0;
        let file = avro::record_of(&file.schema).ok_or_else(not)?;
        Ok(Layout { entry: ids, file: avro::field_ids(file, FILE_NAMES) })
    }

    fn entry(&self, value: Value) -> Result<ManifestEntry, &'static str> {
        let (mut status, mut snapshot_id, mut sequence, mut file_sequence, mut file) = (None, None, None, None, None);
        for (id, value) in avro::fields(value, &self.entry) {
            match id {
                0 => status = avro::int(value),
                1 => snapshot_id = avro::long(value),
                2 => file = Some(self.file(value)?),
                3 => sequence = avro::long(value),
                4 => file_sequence = avro::long(value),
                _ => {}
            }
        }
        Ok(ManifestEntry {
            status: match status {
                Some(0) => Status::Existing,
                Some(1) => Status::Added,
                Some(2) => Status::Deleted,
                _ => return Err("status 0, 1 or 2"),
            },
            snapshot_id,
            sequence_number: sequence,
            file_sequence_number: file_sequence,
            file: file.ok_or("data_file")?,
        })
    }

    fn file(&self, value: Value) -> Result<DataFile, &'static str> {
        let mut file = DataFile::parquet(String::new(), 0, Metrics::default());
        file.sort_order_id = None;
        let (mut path, mut records, mut bytes) = (None, None, None);
        let columns = &mut file.metrics.columns;
        for (id, value) in avro::fields(value, &self.file) {
            match id {
                100 => path = avro::string(value),
                101 => file.file_format = avro::string(value).ok_or("file_format")?.to_ascii_uppercase(),
                102 => file.partition = partition(value)?,
                103 => records = avro::size(value),
                104 => bytes = avro::size(value),
                108 => map(columns, value, |c, v| c.size_bytes = avro::size(v).unwrap_or(0)),
                109 => map(columns, value, |c, v| c.value_count = avro::size(v)),
                110 => map(columns, value, |c, v| c.null_count = avro::size(v)),
                125 => map(columns, value, |c, v| c.lower_bound = avro::bytes(v)),
                128 => map(columns, value, |c, v| c.upper_bound = avro::bytes(v)),
                131 => file.key_metadata = avro::bytes(value),
                132 => {
                    file.metrics.split_offsets =
                        avro::array(value).unwrap_or_default().into_iter().filter_map(avro::long).collect();
                }
                134 => file.content = content(avro::int(value))?,
                135 => {
                    file.equality_ids = avro::array(value).map(|ids| ids.into_iter().filter_map(avro::int).collect());
                }
                137 => map(columns, value, |c, v| c.nan_count = avro::size(v)),
                140 => file.sort_order_id = avro::int(value),
                143 => file.referenced_data_file = avro::string(value),
                _ => {}
            }
        }
        file.file_path = path.ok_or("file_path")?;
        file.metrics.record_count = records.ok_or("record_count")?;
        file.file_size_bytes = bytes.ok_or("file_size_in_bytes")?;
        Ok(file)
    }
}

fn content(number: Option<i32>) -> Result<Content, &'static str> {
    match number {
        None | Some(0) => Ok(Content::Data),
        Some(1) => Ok(Content::PositionDeletes),
        Some(2) => Ok(Content::EqualityDeletes),
        Some(_) => Err("content 0, 1 or 2"),
    }
}

fn partition(value: Value) -> Result<Vec<Option<Literal>>, &'static str> {
    let Some(Value::Record(fields)) = avro::present(value) else { return Err("partition") };
    let literal = |(_, value)| match avro::present(value) {
        None => Ok(None),
        Some(value) => Literal::decode(value).map(Some).ok_or("a partition value of a primitive type"),
    };
    fields.into_iter().map(literal).collect()
}

/// Takes one map over into the columns. Both spellings of a map are read: records of key and value, and Avro's maps.
fn map(columns: &mut BTreeMap<i32, ColumnMetrics>, value: Value, mut set: impl FnMut(&mut ColumnMetrics, Value)) {
    for item in avro::array(value).unwrap_or_default() {
        let Some(Value::Record(pair)) = avro::present(item) else { continue };
        let mut pair = pair.into_iter().map(|(_, value)| value);
        if let (Some(key), Some(value)) = (pair.next().and_then(avro::int), pair.next()) {
            set(columns.entry(key).or_default(), value);
        }
    }
}

impl ManifestEntry {
    /// A file that the snapshot being written adds; its sequence numbers are those of the commit, once it is known.
    pub fn added(file: DataFile, snapshot_id: i64) -> ManifestEntry {
        ManifestEntry {
            status: Status::Added,
            snapshot_id: Some(snapshot_id),
            sequence_number: None,
            file_sequence_number: None,
            file,
        }
    }

    /// Fills in what the entry leaves to its manifest (specification: "Sequence Number Inheritance").
    pub fn inherit(&mut self, manifest: &ManifestFile) {
        self.snapshot_id = self.snapshot_id.or(Some(manifest.added_snapshot_id));
        if self.status == Status::Added || manifest.sequence_number == 0 {
            self.sequence_number = self.sequence_number.or(Some(manifest.sequence_number));
            self.file_sequence_number = self.file_sequence_number.or(Some(manifest.sequence_number));
        }
    }
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
