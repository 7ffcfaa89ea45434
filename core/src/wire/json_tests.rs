use proptest::prelude::*;
use serde_json::Value;
use serde_json::value::RawValue;

use super::*;

fn check(text: &str) -> Result<(), String> {
    let mut cursor = Cursor::new(text);
    cursor.skip().and_then(|_| cursor.finish()).map_err(|error| error.to_string())
}

/// A whole document, walked member by member instead of skipped.
fn walk(cursor: &mut Cursor<'_>) -> Result<Value, JsonError> {
    match cursor.peek()? {
        Kind::Object => {
            let mut members = serde_json::Map::new();
            cursor.enter_object()?;
            let mut first = true;
            while let Some(key) = cursor.next_key(first)? {
                first = false;
                members.insert(key.decode().into_owned(), walk(cursor)?);
            }
            Ok(Value::Object(members))
        }
        Kind::Array => {
            let mut elements = Vec::new();
            cursor.enter_array()?;
            while cursor.next_element(elements.is_empty())? {
                elements.push(walk(cursor)?);
            }
            Ok(Value::Array(elements))
        }
        Kind::String => Ok(Value::String(cursor.string()?.decode().into_owned())),
        Kind::Number => Ok(serde_json::from_str(cursor.number()?).expect("a number")),
        Kind::Bool => Ok(Value::Bool(cursor.bool()?)),
        Kind::Null => cursor.null().map(|()| Value::Null),
    }
}

#[test]
fn good_json_passes() {
    for text in [
        "null",
        " \t\r\n{ } ",
        "[]",
        "[1 , 2]",
        r#"{"a":{"b":[{},[],"",-0,0.5,1e9,1E-9,-1.25e+3]},"c":true,"d":false}"#,
        r#""\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00""#,
        "\"eight bytes and more, then \u{7f} and ü\"",
        "1e999",
        "123456789012345678901234567890",
    ] {
        assert_eq!(check(text), Ok(()), "{text}");
    }
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let cases = [
        ("", "invalid JSON at byte 0: expected a value"),
        ("nul", "invalid JSON at byte 0: expected null"),
        ("1 2", "invalid JSON at byte 2: expected the end of the text"),
        ("01", "invalid JSON at byte 1: expected the end of the text"),
        ("-", "invalid JSON at byte 1: expected a digit"),
        ("+1", "invalid JSON at byte 0: expected a value"),
        ("1.", "invalid JSON at byte 2: expected a digit after the point"),
        ("1e+", "invalid JSON at byte 3: expected a digit of the exponent"),
        (".5", "invalid JSON at byte 0: expected a value"),
        ("[1,]", "invalid JSON at byte 3: expected a value"),
        ("[1 2]", "invalid JSON at byte 3: expected ',' or ']'"),
        ("[1}", "invalid JSON at byte 2: expected ',' or ']'"),
        ("{1:2}", "invalid JSON at byte 1: expected a key in quotes"),
        (r#"{"a" 1}"#, "invalid JSON at byte 5: expected ':'"),
        (r#"{"a":1,}"#, "invalid JSON at byte 7: expected a key in quotes"),
        (r#"{"a":1"#, "invalid JSON at byte 6: expected ',' or '}'"),
        (r#"{"a":1]"#, "invalid JSON at byte 6: expected ',' or '}'"),
        (r#""abc"#, "invalid JSON at byte 4: expected '\"' at the end of the string"),
        ("\"a\u{1}\"", "invalid JSON at byte 2: expected no control character in a string"),
        (r#""\x""#, "invalid JSON at byte 2: expected an escape that JSON has"),
        (r#""\u12g4""#, "invalid JSON at byte 5: expected four hexadecimal digits after '\\u'"),
        (r#""ab\ud800""#, "invalid JSON at byte 3: expected no lone surrogate"),
        (r#""\ud800\u0041""#, "invalid JSON at byte 1: expected no lone surrogate"),
        (r#""\udc00""#, "invalid JSON at byte 1: expected no lone surrogate"),
        ("NaN", "invalid JSON at byte 0: expected a value"),
    ];
    for (text, error) in cases {
        assert_eq!(check(text), Err(error.to_owned()), "{text}");
    }
}

#[test]
fn nesting_has_a_limit_and_costs_no_stack() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(check(&nested(JSON_DEPTH_MAX)), Ok(()));
    let error = "invalid JSON at byte 64: expected at most 64 levels of nesting";
    assert_eq!(check(&nested(JSON_DEPTH_MAX + 1)), Err(error.to_owned()));
    assert_eq!(check(&"[".repeat(1_000_000)), Err(error.to_owned()));
    let mixed = format!("{}1{}", r#"[{"a":"#.repeat(32), "}]".repeat(32));
    assert_eq!(check(&mixed), Ok(()));
}

#[test]
fn control_characters_and_quotes_are_found_at_every_place_of_a_word() {
    for before in 0..20 {
        let plain = "x".repeat(before);
        assert_eq!(check(&format!("\"{plain}\"")), Ok(()));
        assert_eq!(check(&format!("\"{plain}\\n{plain}\"")), Ok(()));
        assert!(check(&format!("\"{plain}\n{plain}\"")).is_err());
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[a-zé\"\\\\\u{1}😀]{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            prop::collection::btree_map("[a-zé\"]{0,9}", inner, 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_serde_writes_is_read_back(value in any_json(), pretty: bool) {
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
        let text = text.expect("serialises");
        prop_assert_eq!(check(&text), Ok(()));
        prop_assert_eq!(walk(&mut Cursor::new(&text)).expect("walks"), value);
    }

    #[test]
    fn a_cursor_takes_what_serde_takes_but_lone_surrogates_and_deep_nesting(
        value in any_json(), at: prop::sample::Index, with in "[\\[\\]{}\",:0-9eE.+\\-\\\\utrfn \u{1}]{0,3}", cut in 0_usize..3
    ) {
        let mut chars: Vec<char> = value.to_string().chars().collect();
        let from = at.index(chars.len());
        let until = (from + cut).min(chars.len());
        chars.splice(from..until, with.chars());
        let text: String = chars.into_iter().collect();
        let ours = check(&text);
        let theirs = serde_json::from_str::<&RawValue>(&text).map(|_| ());
        let stricter = matches!(&ours, Err(error) if error.contains("surrogate") || error.contains("nesting"));
        prop_assert!(stricter || ours.is_ok() == theirs.is_ok(), "{:?}: {:?} against {:?}", text, ours, theirs);
    }

    #[test]
    fn no_text_makes_it_panic(text: String) {
        let _ = check(&text);
        let _ = walk(&mut Cursor::new(&text));
    }
}
