//! What an append commit costs, and whether it grows with the table: `cargo bench -p dolake-core --bench manifest`.
//!
//! `append/10` and `append/1000` are the whole commit (manifest, manifest list, metadata) of one file with 20 columns at
//! that many snapshots and at most 100 manifests. Their difference is what history costs.

use std::collections::BTreeMap;

use bytes::Bytes;
use divan::Bencher;
use dolake_core::iceberg::commit::{Append, Base, Staged, append, live_entries, to_merge};
use dolake_core::iceberg::container::Schemas;
use dolake_core::iceberg::data_file::{ColumnMetrics, DataFile, Metrics};
use dolake_core::iceberg::manifest::{self, ManifestEntry};
use dolake_core::iceberg::metadata::TableMetadata;
use dolake_core::iceberg::schema::{Field, Primitive, Schema, Type};
use uuid::Uuid;

const COLUMNS: i32 = 20;

fn main() {
    divan::main();
}

fn change(n: u64) -> Append {
    let column = |id: i32| ColumnMetrics {
        size_bytes: 4_000,
        value_count: Some(10_000),
        null_count: Some(0),
        nan_count: None,
        lower_bound: Some(format!("lower bound {id}").into_bytes()),
        upper_bound: Some(format!("upper bound {id}").into_bytes()),
    };
    let columns = (1..=COLUMNS).map(|id| (id, column(id))).collect();
    let metrics = Metrics { record_count: 10_000, split_offsets: vec![4], columns };
    let field = |id| Field {
        id,
        name: format!("column_{id}"),
        required: false,
        field_type: Type::Primitive(Primitive::String),
        doc: None,
    };
    Append {
        location: "file:/lake/t".to_owned(),
        table_uuid: Uuid::from_u128(1),
        files: vec![DataFile::parquet(format!("file:/lake/t/data/{n}.parquet"), 400_000, metrics)],
        schema: Schema { schema_id: 0, fields: (1..=COLUMNS).map(field).collect() },
        last_column_id: COLUMNS,
        snapshot_id: n as i64 + 1,
        now_ms: 1_700_000_000_000,
        summary: BTreeMap::from([("dolake.flush".to_owned(), n.to_string())]),
        properties: BTreeMap::from([("dolake.flush.0".to_owned(), n.to_string())]),
        name: Uuid::from_u128(u128::from(n)),
        max_snapshots: 1_000,
        merged: Vec::new(),
    }
}

fn table_of(commits: u64) -> Staged {
    let mut store: BTreeMap<String, Bytes> = BTreeMap::new();
    let mut last: Option<Staged> = None;
    for n in 0..commits {
        let mut change = change(n);
        if let Some(last) = &last {
            change.merged = merged(last, &store);
        }
        let staged = append(last.as_ref().map(base), &change).expect("commits");
        store.extend(staged.objects.iter().filter(|(location, _)| location.contains("-m")).cloned());
        last = Some(staged);
    }
    last.expect("at least one commit")
}

fn merged(last: &Staged, store: &BTreeMap<String, Bytes>) -> Vec<(usize, Vec<ManifestEntry>)> {
    let mut schemas = Schemas::default();
    let read = |n: usize| {
        let manifest = &last.manifests[n];
        (n, live_entries(manifest, &store[&manifest.manifest_path], &mut schemas).expect("it was written well"))
    };
    to_merge(&last.manifests).into_iter().map(read).collect()
}

fn base(staged: &Staged) -> Base<'_> {
    Base { metadata: &staged.metadata, metadata_location: &staged.metadata_location, manifests: &staged.manifests }
}

#[divan::bench(name = "append", args = [10, 100, 1000])]
fn append_at(bencher: Bencher<'_, '_>, commits: u64) {
    let table = table_of(commits);
    bencher.with_inputs(|| change(commits)).bench_refs(|change| append(Some(base(&table)), change).expect("commits"));
}

#[divan::bench(args = [1000])]
fn parse_metadata(bencher: Bencher<'_, '_>, snapshots: u64) {
    let json = table_of(snapshots).metadata.to_json();
    bencher.counter(divan::counter::BytesCount::new(json.len())).bench(|| TableMetadata::parse(&json).expect("parses"));
}

/// The one commit in some twenty that merges manifests of those before it.
#[divan::bench]
fn append_with_merge(bencher: Bencher<'_, '_>) {
    let mut store: BTreeMap<String, Bytes> = BTreeMap::new();
    let mut table = append(None, &change(0)).expect("commits");
    for n in 1..=101 {
        store.extend(table.objects.iter().cloned());
        if n < 101 {
            table = append(Some(base(&table)), &change(n)).expect("commits");
        }
    }
    assert!(!to_merge(&table.manifests).is_empty());
    bencher.bench_local(|| {
        let change = Append { merged: merged(&table, &store), ..change(101) };
        append(Some(base(&table)), &change).expect("commits")
    });
}

#[divan::bench]
fn read_manifest_of_one_file(bencher: Bencher<'_, '_>) {
    let table = append(None, &change(0)).expect("commits");
    let bytes = &table.objects[0].1;
    bencher.bench(|| manifest::read(bytes, &mut Schemas::default()).expect("reads"));
}
