//! How a table's schema grows from flush to flush, and how another engine's changes are followed.

use serde_json::Value::Null;

use super::support::{OPTIONS, batch, columns, flushes, insert, job, lines, rows_of, update, user_rows};
use crate::iceberg::schema::{Field, ListType, MapType, Primitive, Schema, Type};
use crate::table::job::{EncodeOptions, Job};

#[test]
fn new_columns_are_added_behind_all_others_by_id() {
    let outputs = flushes(&[&[r#"{"a":1}"#], &[r#"{"b":"x","a":2}"#], &[r#"{"a":3}"#]]);
    let names: Vec<(i32, &str)> =
        outputs[1].schema.fields.iter().map(|field| (field.id, field.name.as_str())).collect();
    let expected = [
        (1, "a"),
        (2, "_cdc_key"),
        (3, "_cdc_source"),
        (4, "_cdc_epoch"),
        (5, "_cdc_seq"),
        (6, "_cdc_ts"),
        (7, "_cdc_rescued"),
        (8, "_cdc_op"),
        (9, "b"),
    ];
    assert_eq!(names, expected);
    assert_eq!((outputs[0].schema.schema_id, outputs[1].schema.schema_id, outputs[1].last_column_id), (0, 1, 9));
    assert_eq!(outputs[2].schema, outputs[1].schema, "a column that stops coming stays");
    assert_eq!(lines(&user_rows(&outputs[1])), [r#"{"a":2,"b":"x"}"#]);
}

#[test]
fn only_what_is_always_there_is_required() {
    let output = &flushes(&[&[r#"{"a":1}"#]])[0];
    let required: Vec<&str> =
        output.schema.fields.iter().filter(|field| field.required).map(|field| field.name.as_str()).collect();
    assert_eq!(required, ["_cdc_key", "_cdc_source", "_cdc_seq", "_cdc_ts", "_cdc_op"]);
}

#[test]
fn a_type_that_is_in_a_schema_stays() {
    let outputs = flushes(&[&[r#"{"a":1,"l":[1],"o":{"p":1}}"#], &[r#"{"a":2.5,"l":[0.5],"o":{"p":1e3,"q":2}}"#]]);
    assert_eq!(columns(&outputs[1].schema), "a long, l [long], o {p long, q long}");
    let rescued = r#"{"l":[null],"o":{"p":null,"q":2},"rescued":"{\"a\":2.5,\"l[0]\":0.5,\"o.p\":1e3}"}"#;
    assert_eq!(lines(&user_rows(&outputs[1])), [rescued]);
    assert_eq!(outputs[1].rescued_values, 3);
}

#[test]
fn names_and_kinds_that_the_docs_keep_are_found_again() {
    let rows: &[&str] = &[r#"{"Name":1,"name":"x","mix":[1,"a"],"mix2":[[1,"a"]],"Deep":1,"deep":[true,0]}"#];
    let outputs = flushes(&[rows, rows, rows]);
    assert_eq!(outputs[2].schema, outputs[0].schema);
    assert_eq!(user_rows(&outputs[2]), user_rows(&outputs[0]));
    assert_eq!(outputs[2].rescued_values, 0);
    let docs: Vec<&str> = outputs[0].schema.fields.iter().filter_map(|field| field.doc.as_deref()).collect();
    assert_eq!(docs, [r#"key "name""#, "json[]", "json[][]", r#"json[]; key "deep""#]);
}

#[test]
fn a_schema_change_within_a_flush_starts_a_new_file() {
    let rows = [r#"{"a":1}"#, r#"{"a":2}"#, r#"{"a":3}"#, r#"{"b":4.5}"#, r#"{"b":5}"#];
    let options = EncodeOptions { row_group_rows: 1, ..OPTIONS };
    let output = Job { options, ..job(None, vec![batch(&rows.map(insert))]) }.run();
    let counts: Vec<(u64, usize)> =
        output.files.iter().map(|file| (file.metrics.record_count, file.metrics.split_offsets.len())).collect();
    assert_eq!(counts, [(3, 3), (2, 2)], "rows and row groups of each file");
    assert_eq!(output.schema.schema_id, 0, "one new schema in all");
    let expected = [r#"{"a":1}"#, r#"{"a":2}"#, r#"{"a":3}"#, r#"{"b":4.5}"#, r#"{"b":5.0}"#];
    assert_eq!(lines(&user_rows(&output)), expected);
}

#[test]
fn before_may_come_later() {
    let first = job(None, vec![batch(&[insert(r#"{"a":1}"#)])]).run();
    let second = job(Some(&first), vec![batch(&[update(r#"{"a":1}"#, r#"{"a":2}"#)])]).run();
    assert_eq!(columns(&second.schema), "a long, _cdc_before {a long}");
    assert_eq!(lines(&user_rows(&second)), [r#"{"a":2,"before":{"a":1}}"#]);
}

fn field(id: i32, name: &str, required: bool, field_type: Type) -> Field {
    Field { id, name: name.into(), required, field_type, doc: None }
}

#[test]
fn another_engines_columns_are_followed_by_name() {
    let mut first = flushes(&[&[r#"{"id":1,"keep":"x","drop":2}"#]]).remove(0);
    let fields = &mut first.schema.fields;
    fields.retain(|field| field.name != "drop");
    fields[1].name = "kept".into();
    fields.insert(0, field(20, "day", true, Type::Primitive(Primitive::Date)));
    fields.push(field(21, "small", false, Type::Primitive(Primitive::Int)));
    fields.push(field(22, "ratio", false, Type::Primitive(Primitive::Float)));
    fields.push(field(23, "price", false, Type::Primitive(Primitive::Decimal { precision: 9, scale: 2 })));
    fields.push(field(24, "empty", false, Type::Struct(vec![])));
    first.last_column_id = 24;
    let row = r#"{"id":2,"day":"2026-01-01","small":3,"ratio":0.5,"price":9.99,"keep":"y","empty":{}}"#;
    let wrong = r#"{"small":2147483648,"ratio":0.1,"price":9.999,"kept":"z","drop":1}"#;
    let second = job(Some(&first), vec![batch(&[insert(row), insert(wrong)])]).run();
    assert_eq!(
        columns(&second.schema),
        "day date, id long, kept string, small int, ratio float, price decimal(9,2), empty {}, keep string, drop long"
    );
    let mut rows = second.files.iter().flat_map(|file| {
        assert_eq!(file.metrics.columns[&20].null_count, Some(2));
        rows_of(file)
    });
    let row = rows.next().unwrap();
    assert_eq!(row["_cdc_rescued"], r#"{"day":"2026-01-01"}"#);
    assert_eq!((&row["small"], &row["ratio"], &row["keep"]), (&3.into(), &0.5.into(), &"y".into()));
    assert_eq!(row["price"]["decimal"], "999");
    let row = rows.next().unwrap();
    assert_eq!(row["_cdc_rescued"], r#"{"small":2147483648,"ratio":0.1,"price":9.999}"#);
    assert_eq!((&row["kept"], &row["drop"]), (&"z".into(), &1.into()));
}

#[test]
fn columns_of_types_that_rows_are_not_written_to_are_null() {
    let primitives = [
        Primitive::Date,
        Primitive::Time,
        Primitive::Timestamp,
        Primitive::Timestamptz,
        Primitive::Uuid,
        Primitive::Fixed(3),
        Primitive::Binary,
    ];
    let mut fields: Vec<Field> = (1..)
        .zip(primitives)
        .map(|(id, primitive)| field(id, &format!("c{id}"), id % 2 == 0, Type::Primitive(primitive)))
        .collect();
    let text = || Type::Primitive(Primitive::String);
    let map = MapType { key_id: 11, key: text(), value_id: 12, value_required: true, value: text() };
    fields.push(field(10, "map", false, Type::Map(Box::new(map))));
    let days = ListType { element_id: 14, element_required: true, element: Type::Primitive(Primitive::Date) };
    fields.push(field(13, "days", false, Type::List(Box::new(days))));
    fields.push(field(15, "later", false, Type::Other("variant".into())));
    let schema = Schema { schema_id: 3, fields };
    let row = r#"{"c1":"2026-01-01","c4":0,"map":{"a":"b"},"days":["2026-01-01"],"c3":null,"later":{}}"#;
    let output = Job { schema: Some(schema), last_column_id: 15, ..job(None, vec![batch(&[insert(row)])]) }.run();
    let row = &rows_of(&output.files[0])[0];
    let rescued = r#"{"c1":"2026-01-01","c4":0,"map":{"a":"b"},"days[0]":"2026-01-01","later":{}}"#;
    assert_eq!((&row["_cdc_rescued"], &row["c1"], &row["map"]), (&rescued.into(), &Null, &Null));
    assert_eq!((output.schema.schema_id, output.last_column_id), (4, 22));
}

#[test]
fn nulls_of_a_long_fixed_column_take_no_room() {
    let fixed = |id: i32, length: u64| field(id, &format!("c{id}"), false, Type::Primitive(Primitive::Fixed(length)));
    let schema = Schema { schema_id: 0, fields: vec![fixed(1, 64), fixed(2, 65), fixed(3, 1 << 31)] };
    let rows = vec![batch(&[insert(r#"{"c1":"a","c2":"b","c3":"c"}"#)])];
    let output = Job { schema: Some(schema.clone()), last_column_id: 3, ..job(None, rows) }.run();
    let columns = &output.files[0].metrics.columns;
    assert_eq!([1, 2, 3].map(|id| columns.contains_key(&id)), [true, false, false]);
    assert_eq!(output.schema.fields[..3], schema.fields);
    assert_eq!(rows_of(&output.files[0])[0]["_cdc_rescued"], r#"{"c1":"a","c2":"b","c3":"c"}"#);
}

#[test]
fn a_schema_that_needs_nothing_new_stays_the_same() {
    let rows: &[&str] = &[r#"{"a":1,"o":{"p":[{"q":1}]}}"#];
    let outputs = flushes(&[rows, rows]);
    assert_eq!(outputs[0].schema, outputs[1].schema);
    assert_eq!(outputs[0].last_column_id, outputs[1].last_column_id);
    let ids = |schema: &Schema| schema.fields.iter().map(|field| field.id).collect::<Vec<_>>();
    assert_eq!(ids(&outputs[0].schema), [1, 2, 6, 7, 8, 9, 10, 11, 12], "ids in order, members before what follows");
}
