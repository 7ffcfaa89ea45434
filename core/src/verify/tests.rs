use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, BooleanArray, Decimal128Array, Float64Array, Int64Array, ListArray, RecordBatch, StringArray,
};
use arrow_schema::{DataType, Field as ArrowField};
use parquet::arrow::ArrowWriter;
use parquet::file::reader::{FileReader, SerializedFileReader};
use proptest::prelude::*;

use super::*;
use crate::iceberg::commit::{Append, Base, Staged, append};
use crate::iceberg::data_file::{ColumnMetrics, DataFile, Metrics};
use crate::iceberg::manifest_list::{self, ListHead, ManifestFile};
use crate::iceberg::metadata::SnapshotRef;
use crate::iceberg::schema::{Field, ListType, Primitive, Schema, Type};

const LAKE: &str = "file:/lake/t";

/// An event of a source: source, epoch, sequence.
type Event = (Option<&'static str>, Option<&'static str>, Option<i64>);

/// Everything that goes into a small lake; tests change one thing of it.
struct Plan {
    /// By commit.
    files: Vec<Vec<Event>>,
    /// What becomes of the manifest's words about the second file.
    metrics: fn(&mut DataFile),
    max_snapshots: u64,
}

impl Default for Plan {
    fn default() -> Plan {
        let events = |source, epoch, range: std::ops::RangeInclusive<i64>| -> Vec<Event> {
            range.map(|n| (Some(source), epoch, Some(n))).collect()
        };
        let files = vec![
            events("a", None, 1..=5),
            [events("a", None, 6..=8), events("b", Some("e2"), 1..=4)].concat(),
            [events("b", Some("e2"), 6..=7), events("a", Some("e2"), 1..=1)].concat(),
        ];
        Plan { files, metrics: |_| {}, max_snapshots: 10 }
    }
}

struct Lake {
    store: BTreeMap<String, Bytes>,
    last: Staged,
}

fn field(id: i32, name: &str, field_type: Type) -> Field {
    Field { id, name: name.to_owned(), required: false, field_type, doc: None }
}

fn schema() -> Schema {
    let tags = ListType { element_id: 6, element_required: false, element: Type::Primitive(Primitive::Int) };
    let decimal = Primitive::Decimal { precision: 9, scale: 2 };
    let primitive = |id, name, primitive| field(id, name, Type::Primitive(primitive));
    let fields = vec![
        primitive(1, "name", Primitive::String),
        primitive(2, "x", Primitive::Double),
        primitive(3, "paid", Primitive::Boolean),
        primitive(4, "price", decimal),
        field(5, "tags", Type::List(Box::new(tags))),
        primitive(10, "_cdc_source", Primitive::String),
        primitive(11, "_cdc_epoch", Primitive::String),
        primitive(12, "_cdc_seq", Primitive::Long),
    ];
    Schema { schema_id: 0, fields }
}

fn column(id: i32, name: &str, array: ArrayRef) -> (ArrowField, ArrayRef) {
    let metadata = [("PARQUET:field_id".to_owned(), id.to_string())];
    (ArrowField::new(name, array.data_type().clone(), true).with_metadata(metadata), array)
}

/// A list column whose elements carry field id 6.
fn tags(rows: usize) -> (ArrowField, ArrayRef) {
    let lists = (0..rows).map(|n| (n % 3 != 1).then(|| vec![Some(n as i32), None]));
    let lists = ListArray::from_iter_primitive::<Int32Type, _, _>(lists);
    let element = [("PARQUET:field_id".to_owned(), "6".to_owned())];
    let element = Arc::new(ArrowField::new("element", DataType::Int32, true).with_metadata(element));
    let (_, offsets, values, nulls) = lists.into_parts();
    column(5, "tags", Arc::new(ListArray::new(element, offsets, values, nulls)))
}

fn parquet(events: &[Event]) -> Bytes {
    let rows = events.len();
    let prices = Decimal128Array::from_iter((0..rows).map(|n| Some(n as i128 * 100 - 200)));
    let columns = vec![
        column(1, "name", Arc::new(StringArray::from_iter((0..rows).map(|n| (n != 1).then(|| format!("näme {n}")))))),
        column(2, "x", Arc::new(Float64Array::from_iter((0..rows).map(|n| if n == 2 { f64::NAN } else { n as f64 })))),
        column(3, "paid", Arc::new(BooleanArray::from_iter((0..rows).map(|n| Some(n > 0))))),
        column(4, "price", Arc::new(prices.with_precision_and_scale(9, 2).expect("fits"))),
        tags(rows),
        column(10, "_cdc_source", Arc::new(StringArray::from_iter(events.iter().map(|event| event.0)))),
        column(11, "_cdc_epoch", Arc::new(StringArray::from_iter(events.iter().map(|event| event.1)))),
        column(12, "_cdc_seq", Arc::new(Int64Array::from_iter(events.iter().map(|event| event.2)))),
    ];
    let (fields, arrays): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
    let schema = Arc::new(arrow_schema::Schema::new(fields));
    let batch = RecordBatch::try_new(schema.clone(), arrays).expect("a batch");
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, schema, None).expect("a writer");
    writer.write(&batch).expect("writes");
    writer.close().expect("closes");
    bytes.into()
}

/// What a true manifest says of [`parquet`].
fn metrics(bytes: &Bytes, rows: u64) -> Metrics {
    let reader = SerializedFileReader::new(bytes.clone()).expect("Parquet");
    let sizes: BTreeMap<i32, u64> = reader.metadata().row_groups()[0]
        .columns()
        .iter()
        .map(|chunk| (chunk.column_descr().self_type().get_basic_info().id(), chunk.compressed_size() as u64))
        .collect();
    let column = |id: i32, nulls: Option<u64>, nans, lower: Option<Vec<u8>>, upper: Option<Vec<u8>>| {
        let size_bytes = sizes[&id];
        let value_count = nulls.map(|_| rows);
        let metrics = ColumnMetrics {
            size_bytes,
            value_count,
            null_count: nulls,
            nan_count: nans,
            lower_bound: lower,
            upper_bound: upper,
        };
        (id, metrics)
    };
    let double = |x: f64| Some(x.to_le_bytes().to_vec());
    let last = rows as i64 - 1;
    let nans = u64::from(rows > 2);
    let columns = [
        column(1, Some(1), None, Some("näme".into()), Some("näme 9".into())),
        column(2, Some(0), Some(nans), double(0.0), double(last as f64)),
        column(3, Some(0), None, Some(vec![0]), Some(vec![1])),
        column(4, Some(0), None, Some(vec![0xff, 0x38]), Some(((last * 100 - 200) as i16).to_be_bytes().to_vec())),
        column(6, None, None, Some(0_i32.to_le_bytes().to_vec()), Some((rows as i32).to_le_bytes().to_vec())),
        column(10, None, None, Some(b"a".to_vec()), Some(b"b".to_vec())),
        column(12, None, None, Some(1_i64.to_le_bytes().to_vec()), Some(8_i64.to_le_bytes().to_vec())),
    ];
    Metrics { record_count: rows, split_offsets: vec![4], columns: columns.into() }
}

fn lake(plan: &Plan) -> Lake {
    let mut store = BTreeMap::new();
    let mut last: Option<Staged> = None;
    for (n, events) in plan.files.iter().enumerate() {
        let bytes = parquet(events);
        let path = format!("{LAKE}/data/{n}.parquet");
        let mut file = DataFile::parquet(path, bytes.len() as u64, metrics(&bytes, events.len() as u64));
        if n == 1 {
            (plan.metrics)(&mut file);
        }
        store.insert(file.file_path.clone(), bytes);
        let change = Append {
            location: LAKE.to_owned(),
            table_uuid: Uuid::from_u128(1),
            files: vec![file],
            schema: schema(),
            last_column_id: 12,
            snapshot_id: 100 + n as i64,
            now_ms: 1_700_000_000_000,
            summary: BTreeMap::new(),
            properties: BTreeMap::new(),
            name: Uuid::from_u128(n as u128),
            max_snapshots: plan.max_snapshots,
            merged: Vec::new(),
        };
        let base = last.as_ref().map(|last| Base {
            metadata: &last.metadata,
            metadata_location: &last.metadata_location,
            manifests: &last.manifests,
        });
        let staged = append(base, &change).expect("commits");
        store.extend(staged.objects.iter().cloned());
        last = Some(staged);
    }
    Lake { store, last: last.expect("a commit") }
}

impl Lake {
    fn verify(&self) -> Result<TableReport, Vec<Untruth>> {
        verify_table(&self.last.metadata_location, &mut |location| Ok(self.store.get(location).cloned()))
    }

    /// The first untruth, for people.
    fn untruth(&self) -> String {
        self.verify().expect_err("an untruth")[0].to_string()
    }

    fn put_metadata(&mut self, change: impl FnOnce(&mut TableMetadata)) {
        change(&mut self.last.metadata);
        self.store.insert(self.last.metadata_location.clone(), self.last.metadata.to_json().into());
    }

    /// Writes the current manifest list anew.
    fn put_manifests(&mut self, change: impl FnOnce(&mut Vec<ManifestFile>)) {
        change(&mut self.last.manifests);
        let snapshot = self.last.metadata.current_snapshot().expect("a snapshot");
        let head = ListHead {
            snapshot_id: snapshot.snapshot_id,
            parent_snapshot_id: snapshot.parent_snapshot_id,
            sequence_number: snapshot.sequence_number,
        };
        let location = snapshot.manifest_list.clone().expect("a manifest list");
        self.store.insert(location, manifest_list::write(head, &self.last.manifests).into());
    }
}

fn source_epoch(source: &str, epoch: &str) -> SourceEpoch {
    SourceEpoch { source: source.to_owned(), epoch: epoch.to_owned() }
}

#[test]
fn a_true_table_is_reported() {
    let lake = lake(&Plan::default());
    let report = lake.verify().expect("all of it is true");
    assert_eq!((report.snapshots, report.rows, report.data_files, report.delete_files), (3, 15, 3, 0));
    assert_eq!((report.current_snapshot_id, report.unread_files), (Some(102), 0));
    let ranges: Vec<_> =
        report.sequences.iter().map(|(key, ranges)| (key.clone(), ranges.iter().collect::<Vec<_>>())).collect();
    assert_eq!(
        ranges,
        [
            (source_epoch("a", ""), vec![(1, 8)]),
            (source_epoch("a", "e2"), vec![(1, 1)]),
            (source_epoch("b", "e2"), vec![(1, 4), (6, 7)]),
        ]
    );
    assert_eq!(report.sequences[&source_epoch("b", "e2")].missing(1, 9), [(5, 5), (8, 9)], "the holes");
    let not_named: Vec<_> = lake.store.keys().filter(|location| !report.named.contains(*location)).collect();
    assert!(not_named.iter().all(|location| location.ends_with(".metadata.json")), "{not_named:?}");
    assert_eq!(not_named.len(), 2, "the two metadata files before the last");
}

#[test]
fn every_object_of_every_retained_snapshot_must_be_there_and_whole() {
    let lake = lake(&Plan::default());
    let named = lake.verify().expect("true").named;
    assert_eq!(named.len(), 10, "metadata, three manifest lists, three manifests, three files");
    for location in &named {
        let check = |answer: Result<Option<Bytes>, String>, expected: &str| {
            let mut read = |asked: &str| {
                if asked == location { answer.clone() } else { Ok(lake.store.get(asked).cloned()) }
            };
            let untruths = verify_table(&lake.last.metadata_location, &mut read).expect_err("an untruth");
            assert_eq!(&untruths[0].location, location);
            assert!(untruths[0].what.starts_with(expected), "expected {expected:?}, got {}", untruths[0]);
        };
        check(Ok(None), "expected, but absent");
        check(Err("timed out".to_owned()), "cannot be read: timed out");
        let bytes = &lake.store[location];
        check(Ok(Some(bytes.slice(..bytes.len() - 1))), "");
    }
}

#[test]
fn what_the_manifest_says_of_a_file_must_be_so() {
    let check = |metrics: fn(&mut DataFile), expected: &str| {
        let untruth = lake(&Plan { metrics, ..Plan::default() }).untruth();
        assert!(untruth.starts_with("file:/lake/t/data/1.parquet"), "{untruth}");
        assert!(untruth.ends_with(expected), "expected {expected:?}, got {untruth:?}");
    };
    fn column(file: &mut DataFile, id: i32) -> &mut ColumnMetrics {
        file.metrics.columns.get_mut(&id).expect("a column")
    }
    check(
        |file| file.file_size_bytes = 10,
        &format!("expected 10 bytes, got {}", parquet(&Plan::default().files[1]).len()),
    );
    check(|file| file.metrics.record_count = 8, "expected 8 rows, got 7");
    check(|file| file.metrics.split_offsets = vec![4, 4], "rise and lie in the file, got [4, 4]");
    check(|file| file.metrics.split_offsets = vec![1 << 40], "lie in the file, got [1099511627776]");
    check(|file| column(file, 1).value_count = Some(6), ", column name: expected 6 values, got 7");
    check(|file| column(file, 1).null_count = Some(0), ", column name: expected 0 nulls, got 1");
    check(|file| column(file, 2).nan_count = Some(0), ", column x: expected 0 NaNs, got 1");
    check(|file| column(file, 3).size_bytes = 1, &format!("expected 1 compressed bytes, got {}", bool_bytes()));
    check(
        |file| column(file, 1).lower_bound = Some("näme 3".into()),
        ", column name, row 0: expected at least the lower bound näme 3, got näme 0",
    );
    check(
        |file| column(file, 1).upper_bound = Some("näme 4".into()),
        ", column name, row 5: expected at most the upper bound näme 4, got näme 5",
    );
    check(
        |file| column(file, 2).upper_bound = Some(4.5_f64.to_le_bytes().to_vec()),
        ", column x, row 5: expected at most the upper bound 4.5, got 5",
    );
    check(
        |file| column(file, 2).lower_bound = Some(0.5_f64.to_le_bytes().to_vec()),
        ", column x, row 0: expected at least the lower bound 0.5, got 0",
    );
    check(
        |file| column(file, 3).upper_bound = Some(vec![0]),
        ", column paid, row 1: expected at most the upper bound false, got true",
    );
    check(
        |file| column(file, 4).lower_bound = Some(vec![0xff]),
        ", column price, row 0: expected at least the lower bound -1, got -200",
    );
    check(
        |file| column(file, 6).upper_bound = Some(2_i32.to_le_bytes().to_vec()),
        ", column tags.list.element, row 3: expected at most the upper bound 2, got 3",
    );
    check(|file| column(file, 12).lower_bound = Some(vec![0; 3]), "can be read as Integer, got [0, 0, 0]");
    check(
        |file| drop(file.metrics.columns.insert(77, ColumnMetrics { size_bytes: 1, ..ColumnMetrics::default() })),
        "metrics of field 77, but the file has no such column",
    );
}

/// Compressed size of column `paid` in the second file.
fn bool_bytes() -> u64 {
    let bytes = parquet(&Plan::default().files[1]);
    metrics(&bytes, 7).columns[&3].size_bytes
}

#[test]
fn every_event_is_there_once() {
    let check = |files: Vec<Vec<Event>>, expected: &str| {
        assert_eq!(lake(&Plan { files, ..Plan::default() }).untruth(), expected);
    };
    let event = |n| (Some("a"), None, Some(n));
    check(
        vec![vec![event(1), event(2), event(3)], vec![event(5), event(2), event(4)]],
        "file:/lake/t/data/0.parquet, column _cdc_seq, row 1: source \"a\", epoch \"\": expected event 2 once in the table, got it again",
    );
    check(
        vec![vec![event(1), event(2), (None, None, Some(3))]],
        "file:/lake/t/data/0.parquet, column _cdc_source, row 2: expected a source, got null",
    );
    check(
        vec![vec![event(1), (Some("a"), None, None), event(2)]],
        "file:/lake/t/data/0.parquet, column _cdc_seq, row 1: expected a sequence number of 0 or more, got none",
    );
}

#[test]
fn the_rules_of_metadata_are_checked() {
    let check = |change: fn(&mut TableMetadata), expected: &str| {
        let mut lake = lake(&Plan::default());
        lake.put_metadata(change);
        let untruths = lake.verify().expect_err("an untruth");
        let all: Vec<String> = untruths.iter().map(|untruth| untruth.what.clone()).collect();
        assert!(all.iter().any(|what| what == expected), "expected {expected:?} among {all:#?}");
    };
    check(|m| m.current_schema_id = 5, "expected current schema 5 among the schemas, but it is absent");
    check(|m| m.schemas.push(m.schemas[0].clone()), "schema id 0 is there twice");
    check(|m| m.last_column_id = 11, "expected field ids up to last-column-id 11, got 12");
    check(|m| m.default_spec_id = 5, "expected default partition spec 5 among the specs, but it is absent");
    check(|m| m.default_sort_order_id = 5, "expected default sort order 5 among the orders, but it is absent");
    check(|m| m.snapshots.swap(0, 1), "snapshot 100: expected a sequence number above 2, got 1");
    check(|m| m.snapshots.push(m.snapshots[2].clone()), "snapshot id 102 is there twice");
    check(
        |m| m.last_sequence_number = 2,
        "snapshot 102: expected a sequence number up to last-sequence-number 2, got 3",
    );
    check(
        |m| m.last_updated_ms = 1_700_000_000_001,
        "snapshot 102: expected a timestamp up to last-updated-ms 1700000000001, got 1700000000002",
    );
    check(|m| m.current_snapshot_id = Some(7), "expected current snapshot 7 among the snapshots, but it is absent");
    check(|m| drop(m.refs.insert("tag".to_owned(), SnapshotRef::branch(7))), "ref tag: its snapshot 7 is absent");
    check(
        |m| drop(m.refs.insert("main".to_owned(), SnapshotRef::branch(101))),
        "expected ref main at the current snapshot Some(102), got Some(101)",
    );
    check(|m| m.snapshot_log.swap(0, 2), "expected the snapshot log in the order of time");
    check(|m| m.snapshot_log.truncate(2), "expected current snapshot 102 last in the snapshot log, got 101");
    check(|m| m.metadata_log.swap(0, 1), "expected the metadata log in the order of time");
}

#[test]
fn what_the_manifest_list_says_must_be_so() {
    let check = |change: fn(&mut Vec<ManifestFile>), expected: &str| {
        let mut lake = lake(&Plan { max_snapshots: 1, ..Plan::default() });
        lake.put_manifests(change);
        let untruth = lake.untruth();
        assert!(untruth.contains(expected), "expected {expected:?}, got {untruth:?}");
    };
    check(|manifests| manifests[0].manifest_length += 1, "m0.avro: expected ");
    check(|manifests| manifests[1].added_files.files = 2, "expected 2 added files of 7 rows, got 1 of 7");
    check(|manifests| manifests[1].added_files.rows = 6, "expected 1 added files of 6 rows, got 1 of 7");
    check(|manifests| manifests[0].sequence_number = 9, "expected a sequence number up to the snapshot's 3, got 9");
    check(|manifests| manifests[0].min_sequence_number = 9, "expected a sequence number of 9 to 3, got 3");
    check(|manifests| manifests[0].partition_spec_id = 4, "its partition spec 4 is absent");
    check(
        |manifests| manifests[0].content = manifest_list::ManifestContent::Deletes,
        "expected deletes as in the whole manifest, got Data",
    );
    check(|manifests| drop(manifests.remove(0)), "snapshot 102: expected total-data-files 3, got 2");
    check(
        |manifests| manifests.push(manifests[0].clone()),
        "data/2.parquet: snapshot 102: it is named twice as a live file",
    );
}

#[test]
fn what_only_an_old_snapshot_names_must_be_there_too() {
    let mut lake = lake(&Plan::default());
    lake.put_manifests(|manifests| manifests.truncate(1));
    lake.store.remove("file:/lake/t/data/0.parquet");
    let untruths = lake.verify().expect_err("untruths");
    assert!(
        untruths.iter().any(|u| u.to_string() == "file:/lake/t/data/0.parquet: expected, but absent"),
        "{untruths:?}"
    );
}

#[test]
fn a_file_that_does_not_go_with_the_schema_is_found() {
    let check = |change: fn(&mut Schema), expected: &str| {
        let mut lake = lake(&Plan::default());
        lake.put_metadata(|metadata| {
            let mut schema = Schema::clone(&metadata.schemas[0]);
            change(&mut schema);
            let json = serde_json::to_value(&schema).expect("JSON");
            let mut document: serde_json::Value = serde_json::from_slice(&metadata.to_json()).expect("JSON");
            document["schemas"] = serde_json::json!([json]);
            *metadata = TableMetadata::parse(document.to_string().as_bytes()).expect("parses");
        });
        let untruth = lake.untruth();
        assert!(untruth.ends_with(expected), "expected {expected:?}, got {untruth:?}");
    };
    check(|schema| drop(schema.fields.remove(0)), ", column name: no schema of the table has its field id 1");
    check(
        |schema| schema.fields[0].field_type = Type::Primitive(Primitive::Long),
        ", column name: field 1: expected what holds [Some(Long)], got BYTE_ARRAY",
    );
}

#[test]
fn a_walk_ends_when_there_are_very_many_untruths() {
    let files = (0..4).map(|_| (0..60).map(|_| (Some("a"), None, Some(1))).collect()).collect();
    let untruths = lake(&Plan { files, ..Plan::default() }).verify().expect_err("untruths");
    assert_eq!(untruths.len(), UNTRUTHS_MAX);
}

#[test]
fn a_table_without_snapshots_is_true() {
    let mut lake = lake(&Plan::default());
    lake.put_metadata(|m| {
        m.snapshots.clear();
        m.refs.clear();
        m.snapshot_log.clear();
        m.current_snapshot_id = None;
    });
    assert_eq!(lake.verify().map(|report| (report.snapshots, report.rows)), Ok((0, 0)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_damage_makes_it_panic(object in 0..10_usize, at: usize, flip in 1..=255_u8, cut in any::<bool>()) {
        let mut lake = lake(&Plan::default());
        let location = lake.store.keys().nth(object).expect("ten and more objects").clone();
        let mut bytes = lake.store[&location].to_vec();
        let at = at % bytes.len();
        if cut { bytes.truncate(at) } else { bytes[at] ^= flip }
        lake.store.insert(location, bytes.into());
        let _ = lake.verify();
    }
}
