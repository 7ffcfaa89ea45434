use std::collections::BTreeSet;

use super::super::fixtures::{Table, change, column, data_file, schema};
use super::super::metadata::TableMetadata;
use super::*;
use crate::iceberg::schema::Primitive;

#[test]
fn the_metadata_of_a_table_after_two_commits_is_this() {
    let table = Table::of(2);
    let json = String::from_utf8(table.staged().metadata.to_json()).expect("UTF-8");
    let value: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let pretty = serde_json::to_string_pretty(&value).expect("writes") + "\n";
    assert_eq!(pretty, include_str!("golden/metadata.json"), "got:\n{pretty}");
    let order: Vec<usize> = ["format-version", "location", "schemas", "snapshots", "metadata-log"]
        .map(|key| json.find(key).expect(key))
        .into();
    assert!(order.is_sorted(), "members stand in the order of Iceberg's own writer");
}

#[test]
fn objects_come_in_writing_order_and_say_what_was_staged() {
    let table = Table::of(3);
    let staged = table.staged();
    let names: Vec<&str> = staged.objects.iter().map(|(location, _)| location.as_str()).collect();
    assert_eq!(
        names,
        [
            "file:/lake/t/metadata/00000000-0000-0000-0000-000000000002-m0.avro",
            "file:/lake/t/metadata/snap-4998-1-00000000-0000-0000-0000-000000000002.avro",
            "file:/lake/t/metadata/00002-00000000-0000-0000-0000-000000000002.metadata.json",
        ]
    );
    let [(_, manifest), (_, list), (_, metadata)] = &staged.objects[..] else { panic!("three objects") };
    assert_eq!(
        manifest::read(manifest, &mut Schemas::default()).expect("reads"),
        [ManifestEntry::added(data_file(2), 4_998)]
    );
    assert_eq!(manifest_list::read(list, &mut Schemas::default()).expect("reads"), staged.manifests);
    assert_eq!(TableMetadata::parse(metadata).expect("parses"), staged.metadata);
}

#[test]
fn the_same_commit_is_the_same_bytes() {
    let base = Table::of(3);
    let stage = || append(base.base(), &change(3)).expect("commits");
    assert_eq!(stage(), stage());
}

#[test]
fn a_thousand_and_more_commits_stay_bounded_and_rise() {
    let mut table = Table::default();
    let mut garbage = BTreeSet::new();
    let (mut last_sequence, mut last_ms) = (0, 0);
    for n in 0..1_100 {
        table.commit(Append { max_snapshots: 200, now_ms: 1_700_000_000_000, ..change(n) });
        let staged = table.staged();
        let metadata = &staged.metadata;
        assert_eq!(metadata.last_sequence_number, last_sequence + 1);
        assert!(metadata.last_updated_ms > last_ms, "time rises although the clock stands still");
        (last_sequence, last_ms) = (metadata.last_sequence_number, metadata.last_updated_ms);
        assert!(staged.manifests.len() <= MANIFESTS_MAX + 1, "{} manifests", staged.manifests.len());
        garbage.extend(staged.garbage.iter().filter(|g| g.named_below == 0).map(|g| g.location.clone()));
    }
    let metadata = &table.staged().metadata;
    assert_eq!((metadata.snapshots.len(), metadata.snapshot_log.len(), metadata.metadata_log.len()), (200, 200, 100));
    assert!(metadata.to_json().len() < 200_000);
    assert_eq!(
        metadata.totals(),
        crate::iceberg::metadata::Totals {
            data_files: Some(1_100),
            rows: Some(11_000),
            bytes: Some((0..1_100).map(|n| 1_000 + n).sum()),
        }
    );

    let listed = metadata.snapshots.iter().filter_map(|snapshot| snapshot.manifest_list.as_ref());
    for list in listed {
        assert!(!garbage.contains(list), "{list} is live");
        for manifest in manifest_list::read(&table.store[list], &mut Schemas::default()).expect("reads") {
            assert!(!garbage.contains(&manifest.manifest_path), "{} is live", manifest.manifest_path);
        }
    }
    let lists = table.store.keys().filter(|location| location.contains("/snap-")).count();
    let gone = garbage.iter().filter(|location| location.contains("/snap-")).count();
    assert_eq!(lists - gone, 200, "every other manifest list is garbage");
    let gone = garbage.iter().filter(|location| location.ends_with(".metadata.json")).count();
    assert_eq!(gone, 1_100 - 101, "the current metadata file and a hundred before it stay");
}

#[test]
fn merged_manifests_name_every_file_once_with_its_own_history() {
    let table = Table::of(250);
    let staged = table.staged();
    let mut seen = BTreeSet::new();
    for manifest in &staged.manifests {
        let bytes = &table.store[&manifest.manifest_path];
        assert_eq!(bytes.len() as u64, manifest.manifest_length);
        for mut entry in manifest::read(bytes, &mut Schemas::default()).expect("reads") {
            entry.inherit(manifest);
            let n = 5_000 - entry.snapshot_id.expect("inherited");
            assert_eq!(entry.file, data_file(n as u64));
            assert_eq!(entry.sequence_number, Some(n + 1));
            assert_eq!(entry.file_sequence_number, Some(n + 1));
            assert!(entry.sequence_number >= Some(manifest.min_sequence_number));
            assert!(seen.insert(n), "file {n} is named twice");
        }
    }
    assert_eq!(seen.len(), 250);
}

#[test]
fn what_was_merged_away_is_garbage_once_older_snapshots_are_gone() {
    let mut table = Table::of(100);
    table.commit(change(100));
    assert_eq!(table.staged().manifests.len(), 101);
    assert_eq!(table.staged().garbage.iter().filter(|g| g.named_below > 0).count(), 0);
    table.commit(change(101));
    let staged = table.staged();
    assert_eq!(staged.manifests.len(), 101 - 25 + 2);
    assert_eq!(staged.manifests[1].existing_files, FileCount { files: 25, rows: 250 });
    let gone: Vec<i64> = staged.garbage.iter().filter(|g| g.location.contains("-m0")).map(|g| g.named_below).collect();
    assert_eq!(gone, vec![staged.metadata.last_sequence_number; 25]);
}

#[test]
fn only_manifests_of_about_the_same_size_are_merged() {
    let check = |live: &[u64], expected: std::ops::Range<usize>| {
        let manifest = |files: &u64| ManifestFile {
            added_files: FileCount { files: *files, rows: 0 },
            manifest_length: files * 1_000,
            ..Table::of(1).staged().manifests[0].clone()
        };
        let manifests: Vec<_> = live.iter().map(manifest).collect();
        assert_eq!(to_merge(&manifests), expected.collect::<Vec<_>>());
    };
    check(&[1; 100], 0..0);
    check(&[1; 101], 76..101);
    let mut some_large = vec![1; 60];
    some_large.extend([500; 50]);
    check(&some_large, 35..60);
    check(&[5_000; 150], 148..150);
    check(&[10_000; 150], 0..0);
}

#[test]
fn a_ref_keeps_its_snapshot() {
    let mut table = Table::of(3);
    let tag = SnapshotRef { ref_type: "tag".to_owned(), ..SnapshotRef::branch(4_999) };
    table.last.as_mut().expect("a commit").metadata.refs.insert("v1".to_owned(), tag);
    table.commit(Append { max_snapshots: 2, ..change(3) });
    let metadata = &table.staged().metadata;
    let ids: Vec<i64> = metadata.snapshots.iter().map(|snapshot| snapshot.snapshot_id).collect();
    assert_eq!(ids, [4_999, 4_997], "the tag's and the new one");
    let log: Vec<i64> = metadata.snapshot_log.iter().map(|entry| entry.snapshot_id).collect();
    assert_eq!(log, [4_997], "history starts after what is gone");
}

#[test]
fn a_table_may_say_itself_when_snapshots_are_too_old() {
    let mut table = Table::of(10);
    let properties = [("history.expire.max-snapshot-age-ms", "3000"), ("history.expire.min-snapshots-to-keep", "2")];
    let properties: BTreeMap<String, String> = properties.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    table.commit(Append { properties, ..change(10) });
    assert_eq!(table.staged().metadata.snapshots.len(), 11, "what the table says counts from the next commit on");
    table.commit(change(11));
    assert_eq!(table.staged().metadata.snapshots.len(), 4, "of seconds 8, 9, 10 and 11");
    table.commit(change(1_000));
    assert_eq!(table.staged().metadata.snapshots.len(), 2, "so many stay whatever their age");
}

#[test]
fn statistics_of_an_expired_snapshot_go_with_it() {
    let mut table = Table::of(2);
    let file = |id: i64| {
        let json = format!(r#"{{"snapshot-id":{id},"statistics-path":"file:/lake/t/{id}.puffin","more":[1]}}"#);
        Arc::new(Kept::read(&json, "statistics").expect("statistics"))
    };
    table.last.as_mut().expect("a commit").metadata.statistics = vec![file(5_000), file(4_999)];
    table.commit(Append { max_snapshots: 2, ..change(2) });
    assert_eq!(table.staged().metadata.statistics, [file(4_999)]);
    assert!(table.staged().garbage.iter().any(|g| g.location == "file:/lake/t/5000.puffin" && g.named_below == 0));
}

#[test]
fn an_equal_schema_is_reused_and_a_new_one_added() {
    let mut table = Table::of(1);
    let wider = Schema { schema_id: 1, fields: [schema().fields, vec![column(3, "x", Primitive::Double)]].concat() };
    let mut check = |schema: &Schema, current, count, last_column_id| {
        let n = table.staged().metadata.last_sequence_number as u64;
        table.commit(Append { schema: schema.clone(), ..change(n) });
        let metadata = &table.staged().metadata;
        assert_eq!(
            (metadata.current_schema_id, metadata.schemas.len(), metadata.last_column_id),
            (current, count, last_column_id)
        );
    };
    check(&wider, 1, 2, 3);
    check(&schema(), 0, 2, 3);
    check(&Schema { schema_id: 9, ..wider.clone() }, 1, 2, 3);
    check(&Schema { schema_id: 1, fields: vec![column(4, "y", Primitive::Long)] }, 2, 3, 4);
}

#[test]
fn a_schema_goes_with_the_last_snapshot_that_has_it_and_no_id_is_given_twice() {
    let mut table = Table::default();
    let mut fields = schema().fields;
    for n in 0..300 {
        let id = n as i32;
        fields.push(column(3 + id, &format!("attribute_{n}"), Primitive::Long));
        let schema = Schema { schema_id: id, fields: fields.clone() };
        table.commit(Append { max_snapshots: 10, schema, ..change(n) });
        let metadata = &table.staged().metadata;
        let ids: Vec<i32> = metadata.schemas.iter().map(|schema| schema.schema_id).collect();
        assert_eq!(ids, ((id - 9).max(0)..=id).collect::<Vec<_>>());
        assert!(metadata.snapshots.iter().all(|snapshot| ids.contains(&snapshot.schema_id.expect("ours say it"))));
    }
    // An engine made a former schema the current one again, and its snapshots are all that is left.
    table.last.as_mut().expect("a commit").metadata.current_schema_id = 295;
    let former = Schema::clone(table.staged().metadata.current_schema().expect("one of ten"));
    for n in 300..320 {
        table.commit(Append { max_snapshots: 10, schema: former.clone(), ..change(n) });
    }
    let ids = |table: &Table| table.staged().metadata.schemas.iter().map(|s| s.schema_id).collect::<Vec<_>>();
    assert_eq!(ids(&table), [295, 299]);
    let next = Schema { schema_id: 296, fields: [former.fields, vec![column(400, "x", Primitive::Date)]].concat() };
    table.commit(Append { max_snapshots: 10, schema: next, ..change(320) });
    assert_eq!((ids(&table), table.staged().metadata.current_schema_id), (vec![295, 300], 300));
}

#[test]
fn all_schemas_stay_while_a_snapshot_does_not_say_which_it_has() {
    let mut table = Table::of(1);
    let metadata = &mut table.last.as_mut().expect("a commit").metadata;
    let text = metadata.snapshots[0].text().replace(r#","schema-id":0"#, "");
    metadata.snapshots = vec![Arc::new(Kept::read(&text, "snapshots").expect("a snapshot"))];
    let wider = |n: u64| {
        let added = (0..=n).map(|n| column(3 + n as i32, &format!("c{n}"), Primitive::Date));
        Schema { schema_id: 1 + n as i32, fields: schema().fields.into_iter().chain(added).collect() }
    };
    for n in 1..10 {
        let max_snapshots = if n < 9 { 100 } else { 2 };
        table.commit(Append { max_snapshots, schema: wider(n), ..change(n) });
        let count = table.staged().metadata.schemas.len() as u64;
        assert_eq!(count, if n < 9 { n + 1 } else { 2 });
    }
}

#[test]
fn what_an_engine_put_into_a_schema_stays_when_columns_are_added() {
    let mut table = Table::of(1);
    let metadata = &mut table.last.as_mut().expect("a commit").metadata;
    let text = r#"{"type":"struct","schema-id":0,"identifier-field-ids":[1],"fields":[
        {"id":1,"name":"id","required":true,"type":"long","initial-default":7},{"id":2,"name":"old","required":false,"type":"string"}]}"#;
    metadata.schemas = vec![Arc::new(Kept::read(text, "schemas").expect("a schema"))];
    let mut schema = Schema::clone(&metadata.schemas[0]);
    schema.fields[1].name = "new".to_owned();
    schema.fields.push(column(3, "x", Primitive::Date));
    table.commit(Append { schema: schema.clone(), ..change(1) });
    let now = table.staged().metadata.current_schema().expect("a schema").clone();
    assert_eq!((now.schema_id, &now.fields), (1, &schema.fields));
    assert_eq!(serde_json::from_str::<Schema>(now.text()).expect("a schema").fields, schema.fields);
    let json: serde_json::Value = serde_json::from_str(now.text()).expect("JSON");
    assert_eq!(json["identifier-field-ids"], serde_json::json!([1]));
    assert_eq!(json["fields"][0]["initial-default"], 7);
}

#[test]
fn what_cannot_be_appended_to_says_why() {
    let check = |spoil: &dyn Fn(&mut Table, &mut Append), expected: &str| {
        let mut table = Table::of(1);
        let mut change = change(1);
        spoil(&mut table, &mut change);
        assert_eq!(append(table.base(), &change).expect_err(expected).to_string(), expected);
    };
    fn metadata(table: &mut Table) -> &mut TableMetadata {
        &mut table.last.as_mut().expect("a commit").metadata
    }
    check(
        &|table, _| metadata(table).format_version = 3,
        "format version: expected 2, got 3; upgrade the table, or let DoLake write to another one",
    );
    check(&|_, change| change.snapshot_id = 5_000, "snapshot id 5000 is taken already");
    check(
        &|table, _| metadata(table).default_spec_id = 4,
        "partition spec 4: expected it in the metadata, but it is absent",
    );
    check(
        &|_, change| change.files[0].partition = vec![None],
        "file:/lake/t/data/00001.parquet: its partition values do not fit partition spec 0",
    );
}

#[test]
fn a_damaged_manifest_is_no_manifest_to_merge() {
    let table = Table::of(1);
    let manifest = &table.staged().manifests[0];
    let (path, length) = (&manifest.manifest_path, manifest.manifest_length);
    let problem =
        |bytes: &[u8]| live_entries(manifest, bytes, &mut Schemas::default()).expect_err("damaged").to_string();
    assert_eq!(problem(b"Obj"), format!("{path}: expected {length} bytes, got 3"));
    let zeros = vec![0; usize::try_from(length).expect("small")];
    assert!(problem(&zeros).starts_with(&format!("{path}: ")), "{}", problem(&zeros));
}

#[test]
fn a_manifest_with_partition_values_is_none_to_merge() {
    let table = Table::of(1);
    let spec = serde_json::from_str(
        r#"{"spec-id":0,"fields":[{"source-id":1,"field-id":1000,"name":"id","transform":"identity"}]}"#,
    );
    let file = DataFile { partition: vec![None], ..data_file(0) };
    let schema = table.staged().metadata.current_schema().expect("a schema");
    let entries = [ManifestEntry::added(file, 5_000)];
    let bytes = manifest::write(schema, &spec.expect("a spec"), ManifestContent::Data, &entries).expect("writes");
    let manifest = ManifestFile { manifest_length: bytes.len() as u64, ..table.staged().manifests[0].clone() };
    let error = live_entries(&manifest, &bytes, &mut Schemas::default()).expect_err("partitioned").to_string();
    assert!(error.ends_with("its partition values do not fit partition spec 0"), "{error}");
}

#[test]
fn counts_that_no_table_can_have_are_cut_instead_of_overflowing() {
    let mut table = Table::of(3);
    for manifest in &mut table.last.as_mut().expect("a commit").manifests {
        manifest.added_files.rows = i64::MAX as u64;
    }
    table.commit(change(3));
    assert!(table.staged().metadata.totals().rows.is_some());
}
