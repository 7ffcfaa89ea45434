//! Promise 4, against arbitrary rows: each value is found in its column or in `_cdc_rescued`.

use proptest::prelude::*;
use serde_json::{Map, Value};

use super::support::{OPTIONS, batch, insert, job, user_rows};
use crate::iceberg::schema::{Field, Type};
use crate::table::job::{EncodeOptions, Job, JobOutput};
use crate::table::names::Doc;
use crate::table::number::{Digits, double};
use crate::wire::json::{Cursor, Kind};

fn scalar() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|value| value.to_string()),
        (-5_i64..5).prop_map(|value| value.to_string()),
        any::<i64>().prop_map(|value| value.to_string()),
        any::<i128>().prop_map(|value| value.to_string()),
        (-1_000_i32..1_000).prop_map(|value| format!("{}", f64::from(value) / 8.0)),
        any::<f64>().prop_filter("JSON has no such numbers", |value| value.is_finite()).prop_map(|v| format!("{v:e}")),
        "[0-9]{20}\\.[0-9]{1,20}".prop_map(|digits| format!("-1{digits}")),
        "[a-z\"\\\\é\u{1F600}\n]{0,5}".prop_map(|text| serde_json::to_string(&text).unwrap()),
    ]
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => prop::sample::select(vec!["a", "b", "A", "a.b", "c", "long key \"x\""]).prop_map(str::to_owned),
        1 => prop::sample::select(vec!["", "_cdc_key", "_file", "_cdc_before", "é"]).prop_map(str::to_owned),
    ]
}

fn object(value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    prop::collection::btree_map(key(), value, 0..5).prop_map(|members| {
        let members = members.iter().map(|(key, value)| format!("{}: {value}", serde_json::to_string(key).unwrap()));
        format!("{{{}}}", members.collect::<Vec<_>>().join(","))
    })
}

fn json_value() -> impl Strategy<Value = String> {
    scalar().prop_recursive(11, 40, 4, |inner| {
        prop_oneof![
            object(inner.clone()),
            prop::collection::vec(inner, 0..4).prop_map(|elements| format!("[{}]", elements.join(", "))),
        ]
    })
}

/// The rows of some flushes, each with the schema of the one before, and small row groups.
fn flushes(flushes: &[Vec<String>], row_group_rows: u64) -> Vec<JobOutput> {
    let mut outputs: Vec<JobOutput> = Vec::new();
    for rows in flushes {
        let changes: Vec<_> = rows.iter().map(|row| insert(row)).collect();
        let options = EncodeOptions { row_group_rows, ..OPTIONS };
        let output = Job { options, ..job(outputs.last(), vec![batch(&changes)]) }.run();
        outputs.push(output);
    }
    outputs
}

/// All scalars of JSON text but nulls, each in one spelling, sorted.
fn scalars(text: &str, found: &mut Vec<String>) {
    let mut json = Cursor::new(text);
    collect(&mut json, found);
    json.finish().unwrap();
}

fn collect(json: &mut Cursor<'_>, found: &mut Vec<String>) {
    match json.peek().unwrap() {
        Kind::Object => {
            json.enter_object().unwrap();
            let mut first = true;
            while json.next_key(first).unwrap().is_some() {
                first = false;
                collect(json, found);
            }
        }
        Kind::Array => {
            json.enter_array().unwrap();
            let mut first = true;
            while json.next_element(first).unwrap() {
                first = false;
                collect(json, found);
            }
        }
        Kind::String => found.push(format!("{:?}", json.string().unwrap().decode())),
        Kind::Number => found.push(number(json.number().unwrap())),
        Kind::Bool => found.push(json.bool().unwrap().to_string()),
        Kind::Null => json.null().unwrap(),
    }
}

/// Numbers that a double holds are that double, others their digits.
fn number(text: &str) -> String {
    let double = double(text);
    if double.exact { format!("{:?}", double.value + 0.0) } else { format!("{:?}", Digits::of(text)) }
}

/// The same of the values of columns.
fn scalars_of(value: &Value, field_type: &Type, json_lists: Option<usize>, found: &mut Vec<String>) {
    match (value, field_type) {
        (Value::Object(decimal), Type::Primitive(_)) => scalars(decimal["decimal"].as_str().unwrap(), found),
        (Value::Object(columns), Type::Struct(fields)) => scalars_of_fields(columns, fields, found),
        (Value::Array(elements), Type::List(list)) => {
            for element in elements {
                scalars_of(element, &list.element, json_lists.map(|lists| lists - 1), found);
            }
        }
        (Value::String(text), _) if json_lists == Some(0) => scalars(text, found),
        (value, _) => scalars(&value.to_string(), found),
    }
}

fn scalars_of_fields(columns: &Map<String, Value>, fields: &[Field], found: &mut Vec<String>) {
    for field in fields {
        if let Some(value) = columns.get(&field.name) {
            scalars_of(value, &field.field_type, Doc::parse(field.doc.as_deref()).json_lists, found);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn every_value_is_in_its_column_or_rescued(
        rows in prop::collection::vec(prop::collection::vec(object(json_value()), 0..6), 1..4),
        row_group_rows in 1_u64..4,
    ) {
        let outputs = flushes(&rows, row_group_rows);
        for (rows, output) in rows.iter().zip(&outputs) {
            let written = user_rows(output);
            prop_assert_eq!(written.len(), rows.len());
            for (sent, row) in rows.iter().zip(&written) {
                let (mut expected, mut found) = (Vec::new(), Vec::new());
                scalars(sent, &mut expected);
                let columns = row.as_object().unwrap();
                scalars_of_fields(columns, &output.schema.fields, &mut found);
                if let Some(Value::String(rescued)) = columns.get("rescued") {
                    scalars(rescued, &mut found);
                }
                for value in expected {
                    let place = found.iter().position(|there| *there == value);
                    prop_assert!(place.is_some(), "{} of {} is not in {}", value, sent, row);
                    found.swap_remove(place.unwrap());
                }
            }
        }
    }

    #[test]
    fn a_schema_only_grows_and_its_names_are_unique(
        rows in prop::collection::vec(prop::collection::vec(object(json_value()), 1..6), 2..4),
    ) {
        let outputs = flushes(&rows, 2);
        for pair in outputs.windows(2) {
            let (before, after) = (&pair[0].schema, &pair[1].schema);
            for (old, new) in before.fields.iter().zip(&after.fields) {
                prop_assert_eq!((old.id, &old.name, &old.doc), (new.id, &new.name, &new.doc));
            }
            let mut names: Vec<String> = after.fields.iter().map(|field| field.name.to_lowercase()).collect();
            names.sort();
            names.dedup();
            prop_assert_eq!(names.len(), after.fields.len());
        }
    }
}
