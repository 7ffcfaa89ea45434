//! Which type the values of a new column give it, and what becomes of those that do not fit.

use super::support::{Change, batch};
use super::support::{columns, delete, flushes, insert, job, lines, update, user_rows};

/// One flush of a new table: the rows in, the columns and the rows out.
fn check(rows: &[&str], expected_columns: &str, expected_rows: &[&str]) {
    let outputs = flushes(&[rows]);
    assert_eq!(columns(&outputs[0].schema), expected_columns, "columns of {rows:?}");
    assert_eq!(lines(&user_rows(&outputs[0])), expected_rows, "rows of {rows:?}");
}

#[test]
fn scalars_give_their_columns_their_types() {
    check(
        &[r#"{"flag":true,"count":3,"share":0.5,"name":"José \"J\" \ud83d\ude00","nothing":null}"#],
        "flag boolean, count long, share double, name string",
        &[r#"{"count":3,"flag":true,"name":"José \"J\" 😀","share":0.5}"#],
    );
}

#[test]
fn integers_close_to_fractions_are_doubles_from_the_start() {
    check(&[r#"{"a":1}"#, r#"{"a":2.5}"#, r#"{"a":3}"#], "a double", &[r#"{"a":1.0}"#, r#"{"a":2.5}"#, r#"{"a":3.0}"#]);
}

#[test]
fn an_integer_that_no_double_holds_keeps_its_column_an_integer() {
    check(
        &[r#"{"a":9007199254740993}"#, r#"{"a":2.5}"#],
        "a long",
        &[r#"{"a":9007199254740993}"#, r#"{"rescued":"{\"a\":2.5}"}"#],
    );
    check(
        &[r#"{"a":9007199254740993}"#, r#"{"a":1}"#, r#"{"a":2.5}"#],
        "a long",
        &[r#"{"a":9007199254740993}"#, r#"{"a":1}"#, r#"{"rescued":"{\"a\":2.5}"}"#],
    );
}

#[test]
fn integers_beyond_64_bits_are_decimals() {
    check(
        &[r#"{"a":1}"#, r#"{"a":18446744073709551616}"#, r#"{"a":-7}"#],
        "a decimal(38,0)",
        &[r#"{"a":{"decimal":"1"}}"#, r#"{"a":{"decimal":"18446744073709551616"}}"#, r#"{"a":{"decimal":"-7"}}"#],
    );
}

#[test]
fn integers_beyond_38_digits_are_strings_of_their_digits() {
    check(
        &[r#"{"a":100000000000000000000000000000000000000}"#, r#"{"a":1}"#],
        "a string",
        &[r#"{"a":"100000000000000000000000000000000000000"}"#, r#"{"a":"1"}"#],
    );
}

#[test]
fn a_fraction_that_its_double_does_not_give_back_is_rescued_too() {
    check(
        &[r#"{"a":0.12345678901234567890}"#, r#"{"a":1e400}"#, r#"{"a":1.50}"#],
        "a double",
        &[
            r#"{"a":0.12345678901234568,"rescued":"{\"a\":0.12345678901234567890}"}"#,
            r#"{"rescued":"{\"a\":1e400}"}"#,
            r#"{"a":1.5}"#,
        ],
    );
}

#[test]
fn a_value_of_another_type_is_rescued() {
    check(
        &[r#"{"a":"x","b":{"c":1}}"#, r#"{"a":1.0,"b":{"c": [ 1 ] }}"#, r#"{"a":{},"b":[]}"#, r#"{"a":true,"b":"y"}"#],
        "a string, b {c long}",
        &[
            r#"{"a":"x","b":{"c":1}}"#,
            r#"{"b":{"c":null},"rescued":"{\"a\":1.0,\"b.c\":[ 1 ]}"}"#,
            r#"{"rescued":"{\"a\":{},\"b\":[]}"}"#,
            r#"{"rescued":"{\"a\":true,\"b\":\"y\"}"}"#,
        ],
    );
}

#[test]
fn objects_are_structs_and_arrays_are_lists() {
    check(
        &[
            r#"{"o":{"p":{"q":1},"r":"x"},"l":[1,2],"m":[{"a":1},{"b":"y"},null]}"#,
            r#"{"o":{"r":null,"p":null},"l":[],"m":null}"#,
        ],
        "o {p {q long}, r string}, l [long], m [{a long, b string}]",
        &[
            r#"{"l":[1,2],"m":[{"a":1,"b":null},{"a":null,"b":"y"},null],"o":{"p":{"q":1},"r":"x"}}"#,
            r#"{"l":[],"o":{"p":null,"r":null}}"#,
        ],
    );
}

#[test]
fn mixed_elements_are_strings_of_json() {
    check(
        &[r#"{"l":[1, "x", {"a": 1.0}, null]}"#, r#"{"l":["y"]}"#],
        "l [string]",
        &[r#"{"l":["1","\"x\"","{\"a\": 1.0}",null]}"#, r#"{"l":["\"y\""]}"#],
    );
}

#[test]
fn an_element_of_another_type_is_rescued_with_its_place() {
    check(
        &[r#"{"l":[1]}"#, r#"{"l":[2,"x",3.5]}"#, r#"{"l":[[4]]}"#],
        "l [double]",
        &[
            r#"{"l":[1.0]}"#,
            r#"{"l":[2.0,null,3.5],"rescued":"{\"l[1]\":\"x\"}"}"#,
            r#"{"l":[null],"rescued":"{\"l[0]\":[4]}"}"#,
        ],
    );
}

#[test]
fn empty_values_wait_for_their_column_to_have_a_type() {
    check(
        &[r#"{"l":[],"o":{},"s":{}}"#, r#"{"l":[null],"o":{"a":null},"s":"x"}"#, r#"{"l":["x"],"o":{"a":1},"s":null}"#],
        "l [string], o {a long}, s string",
        &[
            r#"{"l":[],"o":{"a":null},"rescued":"{\"s\":{}}"}"#,
            r#"{"l":[null],"o":{"a":null},"s":"x"}"#,
            r#"{"l":["x"],"o":{"a":1}}"#,
        ],
    );
}

#[test]
fn empty_values_of_columns_that_never_get_a_type_are_rescued() {
    check(
        &[r#"{"id":1,"l":[],"o":{"p":{}},"n":null}"#, r#"{"id":2,"o":{"q":7,"p":[]}}"#],
        "id long, o {q long}",
        &[
            r#"{"id":1,"o":{"q":null},"rescued":"{\"l\":[],\"o.p\":{}}"}"#,
            r#"{"id":2,"o":{"q":7},"rescued":"{\"o.p\":[]}"}"#,
        ],
    );
}

#[test]
fn what_is_nested_too_deep_is_a_string_of_json() {
    check(
        &[r#"{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a": 1}}}}}}}}}}"#, r#"{"a":[]}"#],
        "a {a {a {a {a {a {a {a {a string}}}}}}}}",
        &[r#"{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":"{\"a\": 1}"}}}}}}}}}"#, r#"{"rescued":"{\"a\":[]}"}"#],
    );
}

#[test]
fn an_object_with_too_many_keys_is_a_string_of_json() {
    let wide = |keys: usize| {
        let members: Vec<String> = (0..keys).map(|key| format!("\"k{key}\":{key}")).collect();
        format!("{{{}}}", members.join(","))
    };
    let row = |object: &str| format!("{{\"o\":{object}}}");
    let outputs = flushes(&[&[&row(&wide(201)), &row("{}")]]);
    assert_eq!(columns(&outputs[0].schema), "o string");
    assert_eq!(user_rows(&outputs[0])[0]["o"], wide(201));
    let outputs = flushes(&[&[&row(&wide(200)), &row(r#"{"more":1,"null":null,"k3":4}"#)]]);
    assert_eq!(user_rows(&outputs[0])[1]["rescued"], r#"{"o.more":1}"#);
    assert_eq!(user_rows(&outputs[0])[1]["o"]["k3"], 4);
}

#[test]
fn keys_that_are_never_more_than_null_do_not_keep_others_out() {
    let empty: Vec<String> =
        (0..2_100).map(|key| format!("\"k{key}\":{}", if key < 1_000 { "null" } else { "[]" })).collect();
    let outputs = flushes(&[&[&format!("{{{}}}", empty.join(",")), r#"{"a":1,"b":{"c":2}}"#]]);
    assert_eq!(columns(&outputs[0].schema), "a long, b {c long}");
    assert_eq!(outputs[0].rescued_values, 1_100);
}

#[test]
fn a_table_has_a_limited_number_of_columns() {
    let members: Vec<String> = (0..2_001).map(|key| format!("\"k{key}\":{key}")).collect();
    let outputs = flushes(&[&[&format!("{{{}}}", members.join(","))]]);
    assert_eq!(user_rows(&outputs[0])[0]["rescued"], r#"{"k2000":2000}"#);
}

#[test]
fn keys_that_cannot_be_columns_are_rescued() {
    check(
        &[r#"{"a":1,"":2,"_cdc_key":"x","_FILE":3,"_cdc_before":{}}"#],
        "a long",
        &[r#"{"a":1,"rescued":"{\"\":2,\"_cdc_key\":\"x\",\"_FILE\":3,\"_cdc_before\":{}}"}"#],
    );
}

#[test]
fn names_that_engines_confuse_get_a_suffix() {
    check(
        &[r#"{"Name":1,"name":"x","a.b":1,"a":{"b":2}}"#],
        "Name long, name__2 string, a.b long, a {b__2 long}",
        &[r#"{"Name":1,"a":{"b__2":2},"a.b":1,"name__2":"x"}"#],
    );
}

#[test]
fn of_a_repeated_key_the_first_value_counts_and_the_others_are_rescued() {
    check(
        &[r#"{"a":1,"a":"x","a":null,"a":2}"#, r#"{"o":{"a":[],"a":1}}"#],
        "a long",
        &[r#"{"a":1,"rescued":"{\"a\":\"x\",\"a#2\":2}"}"#, r#"{"rescued":"{\"o\":{\"a\":[],\"a\":1}}"}"#],
    );
}

#[test]
fn escaped_keys_are_the_keys_they_mean() {
    check(&[r#"{"a":1}"#, r#"{"\u0061":2}"#, "{ \"a\" :\t3 }"], "a long", &[r#"{"a":1}"#, r#"{"a":2}"#, r#"{"a":3}"#]);
}

fn check_changes(changes: &[Change<'_>], expected_columns: &str, expected_rows: &[&str]) {
    let output = job(None, vec![batch(changes)]).run();
    assert_eq!(columns(&output.schema), expected_columns);
    assert_eq!(lines(&user_rows(&output)), expected_rows);
}

#[test]
fn before_images_are_a_struct_like_the_row() {
    check_changes(
        &[
            insert(r#"{"id":1,"v":1.5,"tags":["x"]}"#),
            update(r#"{"id":1,"v":1}"#, r#"{"id":1,"v":2}"#),
            delete(r#"{"id":1}"#),
        ],
        "id long, v double, tags [string], _cdc_before {id long, v double, tags [string]}",
        &[
            r#"{"id":1,"tags":["x"],"v":1.5}"#,
            r#"{"before":{"id":1,"v":1.0},"id":1,"v":2.0}"#,
            r#"{"before":{"id":1},"id":1}"#,
        ],
    );
}

#[test]
fn a_before_value_that_does_not_fit_is_rescued_under_its_own_path() {
    check_changes(
        &[update(r#"{"id":7,"_pos":1}"#, r#"{"id":1}"#), update(r#"{"id":"x"}"#, r#"{"id":2}"#)],
        "id long, _cdc_before {id long}",
        &[
            r#"{"before":{"id":7},"id":1,"rescued":"{\"_cdc_before._pos\":1}"}"#,
            r#"{"before":{},"id":2,"rescued":"{\"_cdc_before.id\":\"x\"}"}"#,
        ],
    );
}

#[test]
fn before_images_without_fields_give_no_column() {
    check_changes(
        &[update("{}", r#"{"id":1}"#), update(r#"{"x":null}"#, r#"{"id":2}"#)],
        "id long",
        &[r#"{"id":1}"#, r#"{"id":2}"#],
    );
}

#[test]
fn a_delete_without_an_image_is_a_row_of_nulls() {
    check_changes(
        &[Change { operation: crate::wire::batch::Operation::Delete, before: None, after: None }],
        "",
        &["{}"],
    );
}
