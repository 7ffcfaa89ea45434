use std::sync::Arc;

use apache_avro::Reader;
use apache_avro::Writer;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

use super::super::fixtures::{column, data_file, schema};
use super::super::partition::PartitionField;
use super::*;

fn kept(schema: &Schema) -> Kept<Schema> {
    Kept::new(schema.clone(), serde_json::to_string(schema).expect("writes").into())
}

fn unpartitioned() -> PartitionSpec {
    PartitionSpec { spec_id: 0, fields: Vec::new() }
}

fn written(entries: &[ManifestEntry]) -> Vec<u8> {
    write(&kept(&schema()), &unpartitioned(), ManifestContent::Data, entries).expect("writes")
}

/// The file as the Avro library sees it: header, schema, records.
fn dump(bytes: &[u8]) -> String {
    let reader = Reader::new(bytes).expect("an Avro file");
    let header: BTreeMap<String, String> = reader
        .user_metadata()
        .iter()
        .map(|(key, value)| (key.clone(), String::from_utf8(value.clone()).expect("UTF-8")))
        .collect();
    let records: Vec<serde_json::Value> =
        reader.map(|value| serde_json::Value::try_from(value.expect("a record")).expect("JSON")).collect();
    serde_json::to_string_pretty(&serde_json::json!({ "header": header, "records": records })).expect("writes") + "\n"
}

#[test]
fn a_manifest_with_an_added_and_an_existing_file_is_this() {
    let existing = ManifestEntry {
        status: Status::Existing,
        sequence_number: Some(3),
        file_sequence_number: Some(3),
        ..ManifestEntry::added(data_file(1), 41)
    };
    let dump = dump(&written(&[ManifestEntry::added(data_file(0), 42), existing]));
    assert_eq!(dump, include_str!("golden/manifest.json"), "got:\n{dump}");
}

#[test]
fn the_header_says_what_each_field_is() {
    let bytes = written(&[]);
    let text = String::from_utf8_lossy(&bytes);
    for part in [r#""field-id":134"#, r#""element-id":133"#, r#""logicalType":"map"#, r#""name":"k117_v118""#] {
        assert!(text.contains(part), "{part}");
    }
}

fn metrics() -> impl Strategy<Value = Metrics> {
    let column = (any::<u32>(), option::of(0..u64::MAX / 2), option::of(any::<u32>()), option::of(any::<u32>()));
    let bounds = (option::of(vec(any::<u8>(), 0..20)), option::of(vec(any::<u8>(), 0..20)));
    let column = (column, bounds).prop_filter_map("a column of which something is known", |(counts, bounds)| {
        let (size, values, nulls, nans) = counts;
        let column = ColumnMetrics {
            size_bytes: u64::from(size),
            value_count: values,
            null_count: nulls.map(u64::from),
            nan_count: nans.map(u64::from),
            lower_bound: bounds.0,
            upper_bound: bounds.1,
        };
        (column != ColumnMetrics::default()).then_some(column)
    });
    (0..u64::MAX / 2, vec(any::<i64>(), 0..4), btree_map(any::<i32>(), column, 0..5))
        .prop_map(|(record_count, split_offsets, columns)| Metrics { record_count, split_offsets, columns })
}

fn entry() -> impl Strategy<Value = ManifestEntry> {
    let status = prop_oneof![Just(Status::Existing), Just(Status::Added), Just(Status::Deleted)];
    let content = prop_oneof![Just(Content::Data), Just(Content::PositionDeletes), Just(Content::EqualityDeletes)];
    let numbers = (option::of(any::<i64>()), option::of(any::<i64>()), option::of(any::<i64>()));
    let rest = (option::of(vec(any::<u8>(), 0..4)), option::of(vec(any::<i32>(), 0..3)), option::of(any::<i32>()));
    (status, content, numbers, metrics(), rest, ".{0,20}", option::of(".{0,9}"), any::<u32>()).prop_map(
        |(status, content, numbers, metrics, rest, path, referenced, size)| ManifestEntry {
            status,
            snapshot_id: numbers.0,
            sequence_number: numbers.1,
            file_sequence_number: numbers.2,
            file: DataFile {
                content,
                key_metadata: rest.0,
                equality_ids: rest.1,
                sort_order_id: rest.2,
                referenced_data_file: referenced,
                ..DataFile::parquet(path, u64::from(size), metrics)
            },
        },
    )
}

proptest! {
    #[test]
    fn entries_come_back_through_another_reader(entries in vec(entry(), 0..6)) {
        let bytes = written(&entries);
        prop_assert_eq!(read(&bytes, &mut Schemas::default()).expect("reads"), entries.clone());
        prop_assert_eq!(bytes, written(&entries), "the same bytes each time");
    }

    #[test]
    fn a_damaged_manifest_is_an_error_or_entries_but_no_panic(at in 0..4_000_usize, flip in 1..=255_u8, cut: bool) {
        let mut bytes = written(&[ManifestEntry::added(data_file(0), 42)]);
        let at = at % bytes.len();
        if cut { bytes.truncate(at) } else { bytes[at] ^= flip }
        let _ = read(&bytes, &mut Schemas::default());
    }
}

#[test]
fn many_entries_take_several_blocks() {
    let entries: Vec<_> = (0..1_000).map(|n| ManifestEntry::added(data_file(n), 42)).collect();
    assert_eq!(read(&written(&entries), &mut Schemas::default()).expect("reads"), entries);
}

#[test]
fn partition_values_of_every_type_come_back() {
    let decimal = Primitive::Decimal { precision: 9, scale: 2 };
    let check = |primitive: Primitive, transform: &str, literal: Literal, expected: Literal| {
        let schema = Schema { schema_id: 0, fields: vec![column(1, "c", primitive)] };
        let field =
            PartitionField { source_id: Some(1), field_id: 1_000, name: "p.q".into(), transform: transform.to_owned() };
        let spec = PartitionSpec {
            spec_id: 7,
            fields: vec![field.clone(), PartitionField { field_id: 1_001, name: "r".into(), ..field }],
        };
        let mut entry = ManifestEntry::added(data_file(0), 42);
        entry.file.partition = vec![Some(literal), None];
        let bytes = write(&kept(&schema), &spec, ManifestContent::Data, std::slice::from_ref(&entry)).expect("writes");
        entry.file.partition = vec![Some(expected), None];
        assert_eq!(read(&bytes, &mut Schemas::default()).expect("reads"), [entry], "{primitive} by {transform}");
    };
    let same = |primitive, transform: &str, literal: Literal| check(primitive, transform, literal.clone(), literal);
    same(Primitive::Boolean, "identity", Literal::Boolean(true));
    same(Primitive::Int, "identity", Literal::Int(-5));
    same(Primitive::Long, "identity", Literal::Long(i64::MIN));
    same(Primitive::Float, "identity", Literal::Float(1.5));
    same(Primitive::Double, "identity", Literal::Double(-2.25));
    same(Primitive::Date, "identity", Literal::Int(19_000));
    same(Primitive::Time, "identity", Literal::Long(5));
    same(Primitive::Timestamp, "identity", Literal::Long(-7));
    same(Primitive::Timestamptz, "identity", Literal::Long(7));
    same(Primitive::String, "truncate[4]", Literal::String("ünï".to_owned()));
    same(Primitive::Binary, "void", Literal::Bytes(vec![1, 2]));
    same(Primitive::Fixed(3), "identity", Literal::Fixed(vec![1, 2, 3]));
    same(Primitive::Uuid, "identity", Literal::Fixed((0..16).collect()));
    same(decimal, "identity", Literal::Fixed(vec![0xff, 0xff, 0xff, 0x9c]));
    same(Primitive::Timestamptz, "day", Literal::Int(19_000));
    same(Primitive::String, "bucket[16]", Literal::Int(3));
    check(Primitive::Long, "identity", Literal::Int(3), Literal::Long(3));
    check(Primitive::Double, "identity", Literal::Float(1.5), Literal::Double(1.5));
    check(decimal, "identity", Literal::Fixed(vec![0x9c]), Literal::Fixed(vec![0xff, 0xff, 0xff, 0x9c]));
}

#[test]
fn a_partition_that_does_not_fit_its_spec_is_refused() {
    let field = |source: i32, transform: &str| PartitionField {
        source_id: Some(source),
        field_id: 1_000,
        name: "p".into(),
        transform: transform.to_owned(),
    };
    let check = |field: PartitionField, partition: Vec<Option<Literal>>, expected: &str| {
        let spec = PartitionSpec { spec_id: 7, fields: vec![field] };
        let mut entry = ManifestEntry::added(data_file(0), 42);
        entry.file.partition = partition;
        let error = write(&kept(&schema()), &spec, ManifestContent::Data, &[entry]).expect_err(expected);
        assert_eq!(error.to_string(), expected);
    };
    let file = "file:/lake/t/data/00000.parquet: its partition values do not fit partition spec 7";
    check(field(1, "identity"), vec![], file);
    check(field(1, "identity"), vec![Some(Literal::String("a".to_owned()))], file);
    check(
        field(1, "zorder"),
        vec![None],
        r#"partition field "p": expected a transform of format version 2, got "zorder""#,
    );
    check(field(8, "identity"), vec![None], r#"partition field "p": its source column Some(8) is not in schema 0"#);
}

#[test]
fn version_1_without_field_ids_is_read_by_names() {
    let avro_schema = AvroSchema::parse_str(
        r#"{"type":"record","name":"manifest_entry","fields":[{"name":"status","type":"int"},
        {"name":"snapshot_id","type":["null","long"],"default":null},
        {"name":"data_file","type":{"type":"record","name":"r2","fields":[{"name":"file_path","type":"string"},
        {"name":"file_format","type":"string"},{"name":"partition","type":{"type":"record","name":"r102","fields":[]}},
        {"name":"record_count","type":"long"},{"name":"file_size_in_bytes","type":"long"},{"name":"block_size_in_bytes","type":"long"}]}}]}"#,
    )
    .expect("a schema");
    let file = Value::Record(vec![
        ("file_path".into(), Value::String("s3://x".into())),
        ("file_format".into(), Value::String("parquet".into())),
        ("partition".into(), Value::Record(vec![])),
        ("record_count".into(), Value::Long(5)),
        ("file_size_in_bytes".into(), Value::Long(6)),
        ("block_size_in_bytes".into(), Value::Long(7)),
    ]);
    let entry = Value::Record(vec![
        ("status".into(), Value::Int(1)),
        ("snapshot_id".into(), Value::Union(1, Box::new(Value::Long(9)))),
        ("data_file".into(), file),
    ]);
    let codec = apache_avro::Codec::Deflate(apache_avro::DeflateSettings::default());
    let mut writer = Writer::with_codec(&avro_schema, Vec::new(), codec).expect("a writer");
    writer.append_value(entry).expect("writes");
    let read = read(&writer.into_inner().expect("finishes"), &mut Schemas::default()).expect("reads");
    let mut expected = DataFile::parquet("s3://x".to_owned(), 6, Metrics { record_count: 5, ..Metrics::default() });
    expected.sort_order_id = None;
    assert_eq!(read, [ManifestEntry { snapshot_id: Some(9), ..ManifestEntry::added(expected, 9) }]);
}

#[test]
fn what_is_no_manifest_says_so() {
    let check = |bytes: &[u8], expected: &str| {
        let error = read(bytes, &mut Schemas::default()).expect_err(expected).to_string();
        assert!(error.starts_with(expected), "expected {expected:?}, got {error:?}");
    };
    check(b"", "expected an Avro file: ");
    check(b"PAR1", "expected an Avro file: ");
    check(&AvroFile::new(r#""long""#, &[]).finish(), "expected an Avro file: its schema is not that of a manifest");
    let mut file = AvroFile::new(
        r#"{"type":"record","name":"e","fields":[{"name":"status","type":"int"},{"name":"data_file","type":{"type":"record","name":"r2","fields":[]}}]}"#,
        &[],
    );
    file.record(|out| out.long(1));
    check(&file.finish(), "record 0: expected file_path");
}

#[test]
fn an_added_entry_takes_its_numbers_from_the_manifest_and_an_existing_one_keeps_its_own() {
    let manifest = ManifestFile { sequence_number: 8, added_snapshot_id: 80, ..Arc::unwrap_or_clone(any_manifest()) };
    let check = |status, own: Option<i64>, expected: Option<i64>| {
        let mut entry = ManifestEntry { status, snapshot_id: None, ..ManifestEntry::added(data_file(0), 1) };
        entry.sequence_number = own;
        entry.inherit(&manifest);
        assert_eq!((entry.snapshot_id, entry.sequence_number), (Some(80), expected));
    };
    check(Status::Added, None, Some(8));
    check(Status::Added, Some(5), Some(5));
    check(Status::Existing, Some(3), Some(3));
}

fn any_manifest() -> Arc<ManifestFile> {
    Arc::new(super::super::fixtures::Table::of(1).staged().manifests[0].clone())
}

#[test]
fn a_manifest_list_comes_back_whole() {
    use super::super::manifest_list::{FieldSummary, FileCount, ListHead, read, write};
    let plain = Arc::unwrap_or_clone(any_manifest());
    let summary = |bound: Option<&[u8]>| FieldSummary {
        contains_null: bound.is_none(),
        contains_nan: bound.map(|_| false),
        lower_bound: bound.map(<[u8]>::to_vec),
        upper_bound: bound.map(<[u8]>::to_vec),
    };
    let full = ManifestFile {
        content: ManifestContent::Deletes,
        partition_spec_id: 3,
        existing_files: FileCount { files: 1, rows: 2 },
        deleted_files: FileCount { files: 3, rows: 4 },
        partitions: Some(vec![summary(Some(b"a")), summary(None)]),
        key_metadata: Some(vec![1]),
        ..plain.clone()
    };
    let manifests = [plain.clone(), full, ManifestFile { partitions: None, ..plain }];
    for parent_snapshot_id in [None, Some(4)] {
        let bytes = write(ListHead { snapshot_id: 5, parent_snapshot_id, sequence_number: 6 }, &manifests);
        assert_eq!(read(&bytes, &mut Schemas::default()).expect("reads"), manifests);
        let parent = parent_snapshot_id.map_or("null".to_owned(), |id| id.to_string());
        let reader = Reader::new(&bytes[..]).expect("Avro");
        assert_eq!(reader.user_metadata().get("parent-snapshot-id"), Some(&parent.into_bytes()));
    }
}
