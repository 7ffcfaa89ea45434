use super::super::fixtures::Table;
use super::*;

/// The metadata of a table after two commits.
fn text() -> String {
    String::from_utf8(Table::of(2).staged().metadata.to_json()).expect("UTF-8")
}

fn check_text(json: &str) -> Checked {
    TableMetadata::parse(json.as_bytes()).expect("it is metadata").check_writable()
}

#[test]
fn what_a_commit_made_can_be_followed_by_another() {
    assert_eq!(check_text(&text()), Ok(()));
}

#[test]
fn what_no_commit_can_follow_says_why() {
    let check = |from: &str, to: &str, expected: &str| {
        let sound = text();
        assert!(sound.contains(from), "{from} in {sound}");
        let error = check_text(&sound.replacen(from, to, 1)).expect_err(to).to_string();
        assert!(error.contains(expected), "{to}: expected {expected:?}, got {error:?}");
    };
    check(r#""format-version":2"#, r#""format-version":3"#, "format-version: expected 2, got 3");
    check(r#""last-sequence-number":2"#, r#""last-sequence-number":9223372036854775807"#, "got 9223372036854775807");
    check(r#""last-sequence-number":2"#, r#""last-sequence-number":1"#, "expected at least that of each snapshot (2)");
    check(r#""last-updated-ms":"#, r#""last-updated-ms":9223372036854775807,"x":"#, "last-updated-ms: expected 0 to");
    check(r#""last-column-id":2"#, r#""last-column-id":1"#, "last-column-id: expected 2, which a field has");
    check(r#""last-column-id":2"#, r#""last-column-id":2147483647"#, "got 2147483647");
    check(r#""schema-id":0"#, r#""schema-id":2147483647"#, "schemas: expected ids of 0 to");
    check(r#""current-schema-id":0"#, r#""current-schema-id":5"#, "current-schema-id: expected a schema");
    check(r#""default-spec-id":0"#, r#""default-spec-id":7"#, "default-spec-id: expected a partition spec");
    check(
        r#""partition-specs":[{"spec-id":0,"fields":["#,
        r#""partition-specs":[{"spec-id":0,"fields":[{"source-id":1,"field-id":1000,"name":"a","transform":"void"}"#,
        "expected an unpartitioned spec, got 0, which has 1 fields",
    );
    check(r#""current-snapshot-id":4999"#, r#""current-snapshot-id":null"#, "refs: expected main to be");
    check(r#""snapshot-id":4999,"parent"#, r#""snapshot-id":7,"parent"#, "current-snapshot-id: expected a snapshot");
    check(
        r#""manifest-list":"file:/lake/t/metadata/snap-4999"#,
        r#""list":""#,
        "snapshot 4999: expected a manifest-list",
    );
}

#[test]
fn a_schema_of_which_no_file_can_be_written_is_refused_at_any_depth() {
    let long = r#""type":"long""#;
    let check = |field_type: &str, expected: &str| {
        let json = text().replacen("\"last-column-id\":2", "\"last-column-id\":9", 1);
        let error = check_text(&json.replacen(long, &format!("\"type\":{field_type}"), 1)).expect_err(field_type);
        assert!(error.to_string().contains(expected), "{field_type}: expected {expected:?}, got {error}");
    };
    for name in
        ["decimal(0, 0)", "decimal(39, 0)", "decimal(9, 10)", "decimal(60, 0)", "fixed[0]", "fixed[99999999999]"]
    {
        let expected = format!("got {name}");
        check(&format!(r#""{name}""#), &expected);
        let field = format!(r#"{{"id":8,"name":"x","required":false,"type":"{name}"}}"#);
        check(&format!(r#"{{"type":"struct","fields":[{field}]}}"#), &expected);
        check(&format!(r#"{{"type":"list","element-id":8,"element":"{name}","element-required":false}}"#), &expected);
        let map = r#"{"type":"map","key-id":8,"key":"string","value-id":9,"value-required":false,"value":"#;
        check(&format!(r#"{map}"{name}"}}"#), &expected);
    }
    check(r#"{"type":"list","element-id":2,"element":"int","element-required":false}"#, "got 2 twice");
    let sound = text().replacen(long, r#""type":"decimal(38, 38)""#, 1);
    assert_eq!(check_text(&sound), Ok(()));
}
