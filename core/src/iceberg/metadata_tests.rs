use super::*;

/// The specification's shape, with a member that no one knows at each level.
const VERSION_2: &str = r#"{"format-version":2,"table-uuid":"9c12d441-03fe-4693-9a96-a0705ddf69c1","location":"s3://b/t",
"last-sequence-number":34,"last-updated-ms":1602638573590,"last-column-id":3,"current-schema-id":1,"x-top":{"b":1,"a":[2.50]},
"schemas":[{"type":"struct","schema-id":0,"fields":[{"id":1,"name":"x","required":true,"type":"long"}]},
{"type":"struct","schema-id":1,"identifier-field-ids":[1],"x-schema":true,"fields":[{"id":1,"name":"x","required":true,"type":"long"}]}],
"default-spec-id":0,"partition-specs":[{"spec-id":0,"x-spec":1,"fields":[{"name":"x","transform":"identity","source-id":1,"field-id":1000}]}],
"last-partition-id":1000,"default-sort-order-id":3,"sort-orders":[{"order-id":3,"fields":[{"transform":"identity","source-id":2,"direction":"asc","null-order":"nulls-first"}]}],
"properties":{"read.split.target.size":"134217728"},"current-snapshot-id":3055729675574597004,
"snapshots":[{"snapshot-id":3051729675574597004,"timestamp-ms":1515100955770,"sequence-number":0,"summary":{"operation":"append","total-records":"7"},"manifest-list":"s3://a/b/1.avro"},
{"snapshot-id":3055729675574597004,"parent-snapshot-id":3051729675574597004,"timestamp-ms":1555100955770,"sequence-number":1,"x-snapshot":[1 , 2],"summary":{"operation":"append","total-records":"9"},"manifest-list":"s3://a/b/2.avro","schema-id":1}],
"snapshot-log":[{"snapshot-id":3051729675574597004,"timestamp-ms":1515100955770}],"metadata-log":[],
"refs":{"test":{"snapshot-id":3051729675574597004,"type":"tag","max-ref-age-ms":10000000}}}"#;

fn parse(json: &str) -> TableMetadata {
    TableMetadata::parse(json.as_bytes()).expect("parses")
}

#[test]
fn what_another_writer_put_in_comes_out_again() {
    let metadata = parse(VERSION_2);
    let json = String::from_utf8(metadata.to_json()).expect("UTF-8");
    assert_eq!(parse(&json), metadata, "nothing changes on the way");
    for kept in [
        r#""x-top":{"b":1,"a":[2.50]}"#,
        r#""x-schema":true"#,
        r#""identifier-field-ids":[1]"#,
        r#""x-spec":1"#,
        r#""x-snapshot":[1 , 2]"#,
        r#""max-ref-age-ms":10000000"#,
    ] {
        assert!(json.contains(kept), "{kept} in {json}");
    }
}

#[test]
fn what_dolake_needs_is_read() {
    let metadata = parse(VERSION_2);
    assert_eq!(metadata.current_schema().map(|schema| schema.schema_id), Some(1));
    let snapshot = metadata.current_snapshot().expect("a snapshot");
    assert_eq!((snapshot.sequence_number, snapshot.parent_snapshot_id), (1, Some(3_051_729_675_574_597_004)));
    assert_eq!(snapshot.manifest_list.as_deref(), Some("s3://a/b/2.avro"));
    assert_eq!(metadata.totals().rows, Some(9));
    assert_eq!(metadata.totals().bytes, None, "the summary does not say");
    assert_eq!(metadata.refs[MAIN].snapshot_id, snapshot.snapshot_id, "main is where the current snapshot is");
}

#[test]
fn version_1_is_read_in_its_oldest_form() {
    let metadata = parse(
        r#"{"format-version":1,"location":"s3://b/t","last-updated-ms":1,"last-column-id":1,"current-snapshot-id":-1,
        "schema":{"type":"struct","fields":[{"id":1,"name":"x","required":true,"type":"timestamp_ns"}]},
        "partition-spec":[{"name":"x","transform":"day","source-id":1}],"properties":{},"snapshots":[]}"#,
    );
    assert_eq!((metadata.table_uuid, metadata.current_snapshot_id), (None, None));
    assert_eq!(metadata.current_schema().map(|schema| schema.fields.len()), Some(1));
    assert_eq!(metadata.partition_spec(0).map(|spec| spec.fields[0].field_id), Some(1_000));
    assert_eq!((metadata.last_partition_id, metadata.last_sequence_number), (1_000, 0));
    assert_eq!(TableMetadata::parse(&metadata.to_json()), Ok(metadata));
}

#[test]
fn version_3_is_read_and_its_own_members_are_kept() {
    let json = VERSION_2
        .replacen(r#""format-version":2"#, r#""format-version":3,"next-row-id":77,"encryption-keys":[]"#, 1)
        .replacen(r#""sequence-number":1,"#, r#""sequence-number":1,"first-row-id":5,"added-rows":6,"#, 1);
    let written = String::from_utf8(parse(&json).to_json()).expect("UTF-8");
    for kept in [r#""next-row-id":77"#, r#""encryption-keys":[]"#, r#""first-row-id":5,"added-rows":6"#] {
        assert!(written.contains(kept), "{kept}");
    }
}

#[test]
fn a_damaged_document_is_refused_by_name() {
    let check = |from: &str, to: &str, expected: &str| {
        let json = VERSION_2.replacen(from, to, 1);
        let error = TableMetadata::parse(json.as_bytes()).expect_err(expected).to_string();
        assert!(error.starts_with(expected), "expected {expected:?}, got {error:?}");
    };
    check("{", "[", "table metadata: expected a JSON object: ");
    check(
        r#""format-version":2"#,
        r#""format-version":4"#,
        "table metadata, format-version: expected 1, 2 or 3, got 4",
    );
    check(r#""location":"#, r#""place":"#, "table metadata, location: expected, but absent");
    check(r#""table-uuid":"9c"#, r#""table-uuid":"zz"#, "table metadata, table-uuid: ");
    check(r#""snapshot-id":3051729675574597004"#, r#""snapshot-id":"a""#, "table metadata, snapshots: ");
    check(
        r#""partition-specs":["#,
        r#""partition-specs":[],"p":["#,
        "table metadata, partition-specs: expected at least one",
    );
}

#[test]
fn a_document_cut_anywhere_is_refused() {
    for end in 0..VERSION_2.len() {
        assert!(TableMetadata::parse(&VERSION_2.as_bytes()[..end]).is_err(), "cut at {end}");
    }
}
