//! What a manifest says of a data or delete file (specification: "Manifests", struct `data_file`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::partition::Literal;

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Content {
    /// Rows.
    #[default]
    Data,
    /// Positions of rows that are deleted.
    PositionDeletes,
    /// Values of rows that are deleted. DoLake never writes these.
    EqualityDeletes,
}

/// A file of a table, as a manifest names it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DataFile {
    /// What it holds.
    pub content: Content,
    /// Its location.
    pub file_path: String,
    /// `PARQUET`; other writers: also `AVRO`, `ORC`, `PUFFIN`.
    pub file_format: String,
    /// One value for each field of the manifest's partition spec.
    pub partition: Vec<Option<Literal>>,
    /// Size in bytes.
    pub file_size_bytes: u64,
    /// Counts, sizes and bounds.
    pub metrics: Metrics,
    /// Encryption keys of other writers.
    pub key_metadata: Option<Vec<u8>>,
    /// The columns that an equality delete compares.
    pub equality_ids: Option<Vec<i32>>,
    /// The sort order its rows are in.
    pub sort_order_id: Option<i32>,
    /// The one data file that a position delete file speaks of.
    pub referenced_data_file: Option<String>,
}

impl DataFile {
    /// An unpartitioned Parquet file of rows.
    pub fn parquet(file_path: String, file_size_bytes: u64, metrics: Metrics) -> DataFile {
        DataFile {
            content: Content::Data,
            file_path,
            file_format: "PARQUET".to_owned(),
            partition: Vec::new(),
            file_size_bytes,
            metrics,
            key_metadata: None,
            equality_ids: None,
            sort_order_id: Some(0),
            referenced_data_file: None,
        }
    }
}

/// Counts, sizes and bounds of one file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Rows.
    pub record_count: u64,
    /// Offsets of its row groups.
    pub split_offsets: Vec<i64>,
    /// By field id, primitive leaves only.
    pub columns: BTreeMap<i32, ColumnMetrics>,
}

/// Counts, size and bounds of one column of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnMetrics {
    /// Compressed bytes; 0 where a manifest does not say.
    pub size_bytes: u64,
    /// Values, nulls included. Absent for columns below a list, as in Iceberg's own writers.
    pub value_count: Option<u64>,
    /// Nulls.
    pub null_count: Option<u64>,
    /// NaNs; only for float and double.
    pub nan_count: Option<u64>,
    /// At or below every value, in Iceberg's single-value serialization; strings cut to 16 characters.
    pub lower_bound: Option<Vec<u8>>,
    /// At or above every value, likewise.
    pub upper_bound: Option<Vec<u8>>,
}
