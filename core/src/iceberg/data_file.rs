//! What a manifest says of a data file (specification: "Manifests", struct `data_file`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

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
    /// Compressed bytes.
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
