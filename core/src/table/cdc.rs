//! The fixed columns that every table carries behind the user's, so that anyone can verify, debug and replay.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow_buffer::{NullBuffer, NullBufferBuilder};

use super::column::Text;
use super::rescue::{self, Rescued};
use crate::iceberg::schema::{Primitive, Type};
use crate::table::job::JobBatch;
use crate::wire::batch::{EventView, Operation};
use crate::wire::json::Cursor;

/// One of the fixed columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cdc {
    Key,
    Source,
    Epoch,
    Sequence,
    Timestamp,
    Rescued,
    Operation,
}

/// Name of the struct column with the `before` image, which is built like the user's columns.
pub(super) const BEFORE: &str = "_cdc_before";

impl Cdc {
    /// In the order in which they stand in a new table.
    pub(super) const ALL: [Cdc; 7] =
        [Cdc::Key, Cdc::Source, Cdc::Epoch, Cdc::Sequence, Cdc::Timestamp, Cdc::Rescued, Cdc::Operation];

    pub(super) fn name(self) -> &'static str {
        match self {
            Cdc::Key => "_cdc_key",
            Cdc::Source => "_cdc_source",
            Cdc::Epoch => "_cdc_epoch",
            Cdc::Sequence => "_cdc_seq",
            Cdc::Timestamp => "_cdc_ts",
            Cdc::Rescued => "_cdc_rescued",
            Cdc::Operation => "_cdc_op",
        }
    }

    pub(super) fn field_type(self) -> Type {
        Type::Primitive(match self {
            Cdc::Key | Cdc::Source | Cdc::Epoch | Cdc::Rescued | Cdc::Operation => Primitive::String,
            Cdc::Sequence => Primitive::Long,
            Cdc::Timestamp => Primitive::Timestamptz,
        })
    }

    /// Epoch and rescued values may be absent.
    pub(super) fn is_required(self) -> bool {
        !matches!(self, Cdc::Epoch | Cdc::Rescued)
    }
}

/// The fixed columns of a row group while they grow.
#[derive(Debug, Default)]
pub(super) struct CdcColumns {
    keys: Text,
    sequences: Vec<i64>,
    timestamps_us: Vec<i64>,
    operations: Vec<Operation>,
    /// Rows that come from the same source and epoch, one after the other.
    origins: Vec<Origin>,
}

#[derive(Debug)]
struct Origin {
    source: String,
    epoch: String,
    rows: usize,
}

impl CdcColumns {
    pub(super) fn rows(&self) -> usize {
        self.sequences.len()
    }

    pub(super) fn push(&mut self, part: &JobBatch, event: &EventView) {
        let batch = &part.batch;
        let key = simdutf8::basic::from_utf8(batch.bytes(event.row_id)).expect("the wire checked the frame's UTF-8");
        let key = Cursor::new(key).string().expect("the wire checked that the row id is a string");
        if key.escaped {
            self.keys.push(&key.decode());
        } else {
            self.keys.push(key.raw);
        }
        self.sequences.push(i64::try_from(event.sequence).expect("sequences are below 2^53"));
        let timestamp_us = event.timestamp_ms.checked_mul(if mutant!(TimestampsCut) { 1 } else { 1_000 });
        self.timestamps_us.push(timestamp_us.expect("the wire takes times up to 2^53 milliseconds"));
        self.operations.push(event.operation);
        match self.origins.last_mut() {
            Some(origin) if mutant!(SourceOfRowBefore) => origin.rows += 1,
            Some(origin) if origin.source == batch.source_do_id && origin.epoch == part.epoch => origin.rows += 1,
            _ => self.origins.push(Origin { source: batch.source_do_id.clone(), epoch: part.epoch.clone(), rows: 1 }),
        }
    }

    /// One column of the row group; its values are gone then.
    pub(super) fn finish(&mut self, column: Cdc, rescued: &mut Rescued, rows: usize) -> ArrayRef {
        match column {
            Cdc::Key => Arc::new(self.keys.finish(None)),
            Cdc::Source => Arc::new(self.origin_column(|origin| &origin.source, rows).finish(None)),
            Cdc::Epoch => Arc::new(self.epochs(rows)),
            Cdc::Sequence => Arc::new(Int64Array::new(std::mem::take(&mut self.sequences).into(), None)),
            Cdc::Timestamp => {
                let values = std::mem::take(&mut self.timestamps_us).into();
                Arc::new(TimestampMicrosecondArray::new(values, None).with_timezone("UTC"))
            }
            Cdc::Rescued => {
                let (mut text, valid) = rescue::to_text(&rescued.drain(), rows);
                Arc::new(text.finish(Some(NullBuffer::from(valid))))
            }
            Cdc::Operation => {
                let mut text = Text::default();
                for operation in std::mem::take(&mut self.operations) {
                    text.push(operation.as_str());
                }
                Arc::new(text.finish(None))
            }
        }
    }

    fn origin_column(&self, value: impl Fn(&Origin) -> &str, rows: usize) -> Text {
        let mut text = Text::with_capacity(rows);
        for origin in &self.origins {
            for _ in 0..origin.rows {
                text.push(value(origin));
            }
        }
        text
    }

    /// The empty epoch is null.
    fn epochs(&self, rows: usize) -> StringArray {
        let mut nulls = NullBufferBuilder::new(0);
        for origin in &self.origins {
            match origin.epoch.as_str() {
                "" => nulls.append_n_nulls(origin.rows),
                _ => nulls.append_n_non_nulls(origin.rows),
            }
        }
        self.origin_column(|origin| &origin.epoch, rows).finish(nulls.finish())
    }

    /// Forgets where the rows came from, once all columns are made.
    pub(super) fn clear_origins(&mut self) {
        self.origins.clear();
    }
}
