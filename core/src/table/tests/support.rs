//! Makes jobs of row images and reads back what was written.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, StructArray};
use arrow_schema::DataType;
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Map, Value, json};

use crate::config::Compression;
use crate::iceberg::schema::{Field, Primitive, Schema, Type};
use crate::table::job::{EncodeOptions, EncodedFile, Job, JobBatch, JobOutput};
use crate::wire::batch::{CdcBatch, EventView, Operation, Span};
use crate::wire::json::Cursor;

pub(super) const OPTIONS: EncodeOptions = EncodeOptions {
    compression: Compression::None,
    row_group_rows: 100_000,
    row_group_bytes: 64 << 20,
    target_file_size_bytes: 128 << 20,
};

/// One event: what happened, and its row images.
pub(super) struct Change<'a> {
    pub(super) operation: Operation,
    pub(super) before: Option<&'a str>,
    pub(super) after: Option<&'a str>,
}

pub(super) fn insert(after: &str) -> Change<'_> {
    Change { operation: Operation::Insert, before: None, after: Some(after) }
}

pub(super) fn update<'a>(before: &'a str, after: &'a str) -> Change<'a> {
    Change { operation: Operation::Update, before: Some(before), after: Some(after) }
}

pub(super) fn delete(before: &str) -> Change<'_> {
    Change { operation: Operation::Delete, before: Some(before), after: None }
}

/// A batch of source `s`, events numbered from 1, keys `k1` and so on, one millisecond apart, all of table `t`.
pub(super) fn batch(changes: &[Change<'_>]) -> JobBatch {
    let mut frame = String::new();
    let mut place = |text: &str| {
        let start = u32::try_from(frame.len()).unwrap();
        frame.push_str(text);
        Span { start, end: u32::try_from(frame.len()).unwrap() }
    };
    let mut events = Vec::new();
    for (sequence, change) in (1..).zip(changes) {
        events.push(EventView {
            sequence,
            timestamp_ms: 1_767_225_600_000 + i64::try_from(sequence).unwrap(),
            operation: change.operation,
            table: 0,
            row_id: place(&format!("\"k{sequence}\"")),
            before: change.before.map(&mut place),
            after: change.after.map(&mut place),
            metadata: None,
        });
    }
    let batch = CdcBatch {
        timestamp_ms: 0,
        correlation_id: None,
        source_do_id: "s".into(),
        source_epoch: None,
        source_shard_name: None,
        sequence_number: 1,
        first_event_sequence: 1,
        last_event_sequence: events.len() as u64,
        is_retry: false,
        retry_count: 0,
        events_span: Span { start: 0, end: 0 },
        events_hash: 0,
        tables: vec!["t".into()],
        events,
        frame: Bytes::from(frame),
    };
    JobBatch { batch: Arc::new(batch), epoch: String::new(), taken: None }
}

pub(super) fn job(before: Option<&JobOutput>, batches: Vec<JobBatch>) -> Job {
    Job {
        table: "t".into(),
        schema: before.map(|output| output.schema.clone()),
        last_column_id: before.map_or(0, |output| output.last_column_id),
        options: OPTIONS,
        batches,
    }
}

/// Flushes of inserts, one after the other, each following the schema of the one before.
pub(super) fn flushes(flushes: &[&[&str]]) -> Vec<JobOutput> {
    let mut outputs: Vec<JobOutput> = Vec::new();
    for rows in flushes {
        let changes: Vec<Change<'_>> = rows.iter().map(|row| insert(row)).collect();
        let output = job(outputs.last(), vec![batch(&changes)]).run();
        outputs.push(output);
    }
    outputs
}

/// The rows of a file, without columns that are null and without `_cdc_` columns but `_cdc_rescued` (as `rescued`)
/// and `_cdc_before` (as `before`).
pub(super) fn user_rows(output: &JobOutput) -> Vec<Value> {
    let mut rows: Vec<Value> = output.files.iter().flat_map(rows_of).collect();
    for row in &mut rows {
        let row = row.as_object_mut().unwrap();
        let rescued = row.remove("_cdc_rescued");
        let before = row.remove("_cdc_before");
        row.retain(|name, value| !name.starts_with("_cdc_") && !value.is_null());
        if let Some(Value::String(text)) = rescued {
            let mut json = Cursor::new(&text);
            json.skip().unwrap();
            json.finish().unwrap();
            row.insert("rescued".into(), text.into());
        }
        if let Some(Value::Object(mut before)) = before {
            before.retain(|_, value| !value.is_null());
            row.insert("before".into(), before.into());
        }
    }
    rows
}

/// The rows of a file, all columns.
pub(super) fn rows_of(file: &EncodedFile) -> Vec<Value> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(file.bytes.clone()).unwrap().build().unwrap();
    let batches = reader.map(Result::unwrap).map(StructArray::from);
    batches.flat_map(|rows| (0..rows.len()).map(|row| value(&rows, row)).collect::<Vec<_>>()).collect()
}

#[allow(clippy::wildcard_enum_match_arm, reason = "these are Arrow's types, of which we write a few")]
fn value(array: &dyn Array, row: usize) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    match array.data_type() {
        DataType::Boolean => array.as_boolean().value(row).into(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).into(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).into(),
        DataType::Float32 => array.as_primitive::<Float32Type>().value(row).into(),
        DataType::Float64 => array.as_primitive::<Float64Type>().value(row).into(),
        DataType::Timestamp(..) => array.as_primitive::<TimestampMicrosecondType>().value(row).into(),
        DataType::Decimal128(..) => {
            json!({ "decimal": array.as_primitive::<Decimal128Type>().value(row).to_string() })
        }
        DataType::Utf8 => array.as_string::<i32>().value(row).into(),
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns();
            let members = fields.iter().zip(columns).map(|(field, column)| (field.name().clone(), value(column, row)));
            Value::Object(members.collect::<Map<_, _>>())
        }
        DataType::List(_) => {
            let elements = array.as_list::<i32>().value(row);
            (0..elements.len()).map(|at| value(&elements, at)).collect()
        }
        other => panic!("a column of type {other}"),
    }
}

/// A schema on one line: `name type` of the user's columns and of `_cdc_before`, in order.
pub(super) fn columns(schema: &Schema) -> String {
    let own = |field: &&Field| field.name == "_cdc_before" || !field.name.starts_with("_cdc_");
    let fields: Vec<Field> = schema.fields.iter().filter(own).cloned().collect();
    members(&fields)
}

fn members(fields: &[Field]) -> String {
    fields.iter().map(|field| format!("{} {}", field.name, spell(&field.field_type))).collect::<Vec<_>>().join(", ")
}

fn spell(field_type: &Type) -> String {
    match field_type {
        Type::Primitive(Primitive::Decimal { precision, scale }) => format!("decimal({precision},{scale})"),
        Type::Primitive(primitive) => format!("{primitive:?}").to_lowercase(),
        Type::Struct(fields) => format!("{{{}}}", members(fields)),
        Type::List(list) => format!("[{}]", spell(&list.element)),
        Type::Map(_) => "map".into(),
        Type::Other(name) => name.clone(),
    }
}

/// Row by row, each as JSON on its line.
pub(super) fn lines(rows: &[Value]) -> Vec<String> {
    rows.iter().map(ToString::to_string).collect()
}
