//! The CPU work of a flush: the events of one table, from batches to finished data files.
//!
//! Pure and deterministic: the same job gives the same bytes. It can be run in one go ([`Job::run`]) or in slices
//! ([`Job::start`], [`Encoder::resume`]). It decides nothing about where files go or when tables are committed.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::file::FileWriter;
use super::rows::Rows;
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

/// A job under way.
pub struct Encoder {
    table: String,
    options: EncodeOptions,
    batches: std::vec::IntoIter<JobBatch>,
    current: Option<Current>,
    rows: Rows,
    file: Option<FileWriter>,
    files: Vec<EncodedFile>,
}

/// The batch at hand.
struct Current {
    part: JobBatch,
    /// Index of the job's table in the batch, if the batch has events of it.
    table: Option<usize>,
    /// Index of the next event.
    next: usize,
}

/// Raw bytes at which a row group is sealed whatever the options say: Arrow's columns end at 2 GiB.
const ROW_GROUP_BYTES_MAX: u64 = 512 << 20;

impl Job {
    /// Runs the whole job.
    pub fn run(self) -> JobOutput {
        let mut encoder = self.start();
        loop {
            if let Some(output) = encoder.resume(usize::MAX) {
                return output;
            }
        }
    }

    /// Makes a job ready to be run in slices.
    pub fn start(self) -> Encoder {
        Encoder {
            table: self.table,
            options: self.options,
            batches: self.batches.into_iter(),
            current: None,
            rows: Rows::new(self.schema, self.last_column_id),
            file: None,
            files: Vec::new(),
        }
    }
}

impl Encoder {
    /// Does some more: looks at `budget` events (at least one) and seals at most one row group. `None`: there is more
    /// to do. How the work is sliced does not show in the output.
    pub fn resume(&mut self, budget: usize) -> Option<JobOutput> {
        for _ in 0..budget.max(1) {
            if !self.take_event() {
                return Some(self.finish());
            }
            if self.row_group_is_full() {
                self.seal();
                break;
            }
        }
        None
    }

    /// Looks at the next event, of whatever table; false if there is none.
    fn take_event(&mut self) -> bool {
        loop {
            let Some(Current { part, table, next }) = &mut self.current else {
                let Some(part) = self.batches.next() else { return false };
                let table = part.batch.tables.iter().position(|name| *name == self.table);
                self.current = Some(Current { part, table, next: 0 });
                continue;
            };
            let Some(event) = part.batch.events.get(*next) else {
                self.current = None;
                continue;
            };
            *next += 1;
            let takes = part.takes(event.sequence) || mutant!(RepeatsAppliedAgain);
            let drops = mutant!(RowsPastGroupDropped) && self.rows.count() as u64 + 1 == self.options.row_group_rows;
            if *table == Some(usize::from(event.table)) && takes && !drops {
                self.rows.push(part, event);
            }
            return true;
        }
    }

    fn row_group_is_full(&self) -> bool {
        let EncodeOptions { row_group_rows, row_group_bytes, .. } = self.options;
        self.rows.count() as u64 >= row_group_rows.max(1)
            || self.rows.raw_bytes() >= row_group_bytes.clamp(1, ROW_GROUP_BYTES_MAX)
    }

    /// Ends a row group; also its file, if it is large enough now. A row group with another schema than the open file
    /// begins a new one.
    fn seal(&mut self) {
        if self.rows.count() == 0 {
            return;
        }
        let group = self.rows.seal();
        if group.schema_changed {
            self.close_file();
        }
        let compression = self.options.compression;
        let file = self.file.get_or_insert_with(|| FileWriter::open(&group.rows, compression));
        file.write(&group.rows);
        if file.bytes_written() >= self.options.target_file_size_bytes {
            self.close_file();
        }
    }

    fn close_file(&mut self) {
        self.files.extend(self.file.take().map(FileWriter::close));
    }

    fn finish(&mut self) -> JobOutput {
        self.seal();
        self.close_file();
        let (schema, last_column_id) = self.rows.schema();
        JobOutput {
            schema,
            last_column_id,
            files: std::mem::take(&mut self.files),
            rescued_values: self.rows.rescued_values(),
        }
    }
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Encoder { table, files, rows, .. } = self;
        write!(f, "Encoder {{ table: {table:?}, files: {}, rows: {} }}", files.len(), rows.count())
    }
}

impl JobBatch {
    /// Event time of the newest event of a table that counts, in milliseconds.
    pub(crate) fn newest_event_ms(&self, table: &str) -> Option<i64> {
        let table = self.batch.tables.iter().position(|name| name == table)?;
        let own = self.batch.events.iter().filter(|event| usize::from(event.table) == table);
        own.filter(|event| self.takes(event.sequence)).map(|event| event.timestamp_ms).max()
    }

    fn takes(&self, sequence: u64) -> bool {
        self.taken.as_ref().is_none_or(|taken| covers(taken, sequence))
    }
}

/// Whether one of the ranges, which rise, holds the number.
fn covers(ranges: &[(u64, u64)], number: u64) -> bool {
    let after = ranges.partition_point(|&(first, _)| first <= number);
    ranges[..after].last().is_some_and(|&(_, last)| number <= last)
}
