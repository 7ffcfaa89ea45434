//! The CPU work of a flush: 10,000 events over three tables, a quarter of them updates with both row images.
//!
//! `columns` walks row images into columns, `parquet` makes files of finished columns, `job` is both; each for all
//! three tables. Events per second are shown beside the times. Row: eight keys, one nested object, one list.

use std::sync::Arc;

use bytes::Bytes;
use divan::Bencher;
use divan::counter::ItemsCount;
use dolake_core::config::Compression;
use dolake_core::table::job::{EncodeOptions, Encoder, Job, JobBatch, JobOutput};
use dolake_core::wire::batch::{CdcBatch, EventView, Operation, Span};

const EVENTS: usize = 10_000;
const EVENTS_PER_BATCH: usize = 500;
const TABLES: [(&str, &str); 3] = [("users", "user"), ("orders", "order"), ("events", "evt")];

fn main() {
    divan::main();
}

#[divan::bench]
fn columns(bencher: Bencher<'_, '_>) {
    let batches = batches();
    bencher
        .counter(ItemsCount::new(EVENTS))
        .with_inputs(|| start(&batches, Compression::Snappy))
        .bench_local_values(|encoders| encoders.map(gather));
}

#[divan::bench(args = [Compression::None, Compression::Snappy, Compression::Gzip, Compression::Zstd])]
fn parquet(bencher: Bencher<'_, '_>, compression: Compression) {
    let batches = batches();
    bencher
        .counter(ItemsCount::new(EVENTS))
        .with_inputs(|| start(&batches, compression).map(gather))
        .bench_local_values(|encoders| encoders.map(finish));
}

#[divan::bench(args = [Compression::None, Compression::Snappy])]
fn job(bencher: Bencher<'_, '_>, compression: Compression) {
    let batches = batches();
    bencher
        .counter(ItemsCount::new(EVENTS))
        .with_inputs(|| start(&batches, compression))
        .bench_local_values(|encoders| encoders.map(finish));
}

fn start(batches: &[JobBatch], compression: Compression) -> [Encoder; 3] {
    let options = EncodeOptions {
        compression,
        row_group_rows: 100_000,
        row_group_bytes: 64 << 20,
        target_file_size_bytes: 128 << 20,
    };
    TABLES.map(|(table, _)| {
        let job = Job {
            table: table.to_owned(),
            schema: None,
            last_column_id: 0,
            options: options.clone(),
            batches: batches.to_vec(),
        };
        job.start()
    })
}

/// Takes all events, but seals no row group.
fn gather(mut encoder: Encoder) -> Encoder {
    assert!(encoder.resume(EVENTS).is_none(), "a job ends with the slice after its last event");
    encoder
}

fn finish(mut encoder: Encoder) -> JobOutput {
    loop {
        if let Some(output) = encoder.resume(EVENTS) {
            return output;
        }
    }
}

/// Numbers that look random and are the same on every machine and in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn one_of<'a>(&mut self, values: &[&'a str]) -> &'a str {
        values[self.below(values.len() as u64) as usize]
    }
}

fn batches() -> Vec<JobBatch> {
    let mut numbers = Numbers(42);
    (0..EVENTS / EVENTS_PER_BATCH).map(|batch| one_batch(batch as u64, &mut numbers)).collect()
}

fn one_batch(batch: u64, numbers: &mut Numbers) -> JobBatch {
    let mut frame = String::new();
    let first = batch * EVENTS_PER_BATCH as u64 + 1;
    let events: Vec<EventView> =
        (0..EVENTS_PER_BATCH as u64).map(|event| one_event(first + event, numbers, &mut frame)).collect();
    let batch = CdcBatch {
        frame: Bytes::from(frame),
        timestamp_ms: 0,
        correlation_id: None,
        source_do_id: format!("shard-{}", numbers.below(8)),
        source_epoch: None,
        source_shard_name: None,
        sequence_number: batch + 1,
        first_event_sequence: first,
        last_event_sequence: first + EVENTS_PER_BATCH as u64 - 1,
        is_retry: false,
        retry_count: 0,
        events_span: Span { start: 0, end: 0 },
        events_hash: 0,
        tables: TABLES.map(|(table, _)| table.to_owned()).to_vec(),
        events,
    };
    JobBatch { batch: Arc::new(batch), epoch: String::new(), taken: None }
}

fn one_event(sequence: u64, numbers: &mut Numbers, frame: &mut String) -> EventView {
    let mut place = |text: &str| {
        let start = frame.len() as u32;
        frame.push_str(text);
        Span { start, end: frame.len() as u32 }
    };
    let table = [0, 0, 1, 1, 1, 2, 2, 2, 2, 2][numbers.below(10) as usize];
    let prefix = TABLES[table].1;
    let (operation, key) = match numbers.below(20) {
        0..14 => (Operation::Insert, 1_000 + sequence),
        14..19 => (Operation::Update, 1 + numbers.below(sequence)),
        _ => (Operation::Delete, 1 + numbers.below(sequence)),
    };
    let mut image = || row(prefix, key, numbers);
    let (before, after) = match operation {
        Operation::Insert => (None, Some(image())),
        Operation::Update => (Some(image()), Some(image())),
        Operation::Delete => (Some(image()), None),
    };
    EventView {
        sequence,
        timestamp_ms: 1_767_225_600_000 + (sequence * 2 / 5) as i64,
        operation,
        table: table as u16,
        row_id: place(&format!("\"{prefix}-{key}\"")),
        before: before.as_deref().map(&mut place),
        after: after.as_deref().map(&mut place),
        metadata: None,
    }
}

fn row(prefix: &str, key: u64, numbers: &mut Numbers) -> String {
    let first = numbers.one_of(&["Ann", "José", "Li", "Olu", "Søren", "Maria", "Priya", "Wei", "Fatima", "Mary Jane"]);
    let last = numbers.one_of(&["O'Brien", "Nguyen", "García", "Smith", "Müller", "de la Cruz", "Silva \\\"Jr\\\""]);
    let city = numbers.one_of(&["Amsterdam", "São Paulo", "New York", "Zürich", "Łódź", "Tokyo", "Hà Nội", "Toronto"]);
    let tags = ["vip", "new", "churn-risk", "newsletter", "b2b", "promo-2026", "mobile", "gift", "eu", "beta-tester"];
    let (tag, other) = (numbers.one_of(&tags), numbers.one_of(&tags));
    let (amount, cents, quantity) = (numbers.below(5_000), numbers.below(100), 1 + numbers.below(99));
    let (day, second) = (1 + key % 28, key * 86_477 % 60);
    let zip = 10_000 + key * 31 % 89_999;
    format!(
        r#"{{"id":"{prefix}-{key}","name":"{first} {last}","email":"user{key}@mail.example.org","created_at":"2025-07-{day:02}T12:43:{second:02}.{:03}Z","amount":{amount}.{cents},"qty":{quantity},"tags":["{tag}","{other}"],"address":{{"city":"{city}","zip":"{zip}"}}}}"#,
        key % 1000,
    )
}
