//! The CPU work of a flush: the events of one table, from batches to finished data files.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::config::Compression;
use crate::iceberg::data_file::Metrics;
use crate::iceberg::schema::Schema;
use crate::wire::batch::CdcBatch;

/// What to encode. Holds all its input, so it can run anywhere and again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// The table's name as the events spell it.
    pub table: String,
    /// The table's current schema; `None` when the table is new.
    pub schema: Option<Schema>,
    /// The highest field id the table ever used; 0 when the table is new.
    pub last_column_id: i32,
    /// How to write.
    pub options: EncodeOptions,
    /// In the order in which their events take effect.
    pub batches: Vec<JobBatch>,
}

/// How to write data files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EncodeOptions {
    /// Codec of all columns.
    pub compression: Compression,
    /// Rows of a row group.
    pub row_group_rows: u64,
    /// Raw bytes after which a row group is sealed.
    pub row_group_bytes: u64,
    /// Encoded bytes after which a file is finished.
    pub target_file_size_bytes: u64,
}

/// One accepted batch, and what of it counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobBatch {
    /// The batch. Only its events of the job's table are looked at.
    pub batch: Arc<CdcBatch>,
    /// The epoch it was accepted under; empty is written as null.
    pub epoch: String,
    /// The event ranges (first and last, both included, rising) that were taken; `None`: all.
    pub taken: Option<Vec<(u64, u64)>>,
}

/// Finished data files and the schema they need.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobOutput {
    /// The table's schema after these rows. Equal to the job's if nothing changed, else with `schema_id` one higher.
    pub schema: Schema,
    /// The highest field id in use now.
    pub last_column_id: i32,
    /// In the order of their rows.
    pub files: Vec<EncodedFile>,
    /// Values that did not fit and went to `_cdc_rescued`.
    pub rescued_values: u64,
}

/// One finished Parquet file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EncodedFile {
    /// The whole file.
    pub bytes: Bytes,
    /// What the manifest says of it.
    pub metrics: Metrics,
}
