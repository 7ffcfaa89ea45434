//! Names of columns: which JSON keys may have one, and what it is called.
//!
//! Several engines cannot tell names apart that are equal but for case, or whose full dotted paths are (`a.b` beside
//! `b` in `a`). Such a field gets a suffix: `__2`, `__3`, … The key that it stands for is kept in the field's doc, so
//! the schema alone tells which key goes where, whoever reads it next:
//!
//! - `key "Name"`: the JSON key, where it is not the field's name;
//! - `json`: a string column that holds the JSON text of each value; `json[]`: a list of such strings, and so on;
//! - both: `json; key "Name"`.

use std::collections::BTreeSet;

use crate::iceberg::schema::{Field, Type};
use crate::limits::COLUMN_NAME_BYTES_MAX;

/// Prefix of our own columns.
const RESERVED_PREFIX: &str = "_cdc_";

/// Iceberg's metadata columns (specification: "Reserved Field IDs") and those of its readers.
const METADATA_COLUMNS: [&str; 10] = [
    "_file",
    "_pos",
    "_deleted",
    "_spec_id",
    "_partition",
    "_row_id",
    "_last_updated_sequence_number",
    "_change_type",
    "_change_ordinal",
    "_commit_snapshot_id",
];

/// Whether a key can be a field at all; `top`: as a column of the table.
pub(super) fn may_be_field(key: &str, top: bool) -> bool {
    let fits = !key.is_empty() && key.len() <= COLUMN_NAME_BYTES_MAX;
    fits && !(top && is_reserved(key))
}

fn is_reserved(key: &str) -> bool {
    if !key.starts_with('_') {
        return false;
    }
    let key = key.to_ascii_lowercase();
    key.starts_with(RESERVED_PREFIX) || METADATA_COLUMNS.contains(&key.as_str())
}

/// Whether a name is what engines call the elements of a list of the name before it, which may be there or come later.
fn is_path_of_element(name: &str) -> bool {
    name.to_lowercase().ends_with(".element")
}

/// The full dotted paths of all fields of a table, in lower case.
#[derive(Debug, Default)]
pub(super) struct Names {
    taken: BTreeSet<String>,
}

impl Names {
    /// All names of a schema.
    pub(super) fn of(fields: &[Field]) -> Names {
        let mut names = Names::default();
        names.add_fields("", fields);
        names
    }

    /// A name for `key` below `parent` (a path as [`Names::path`] gives it), now taken.
    pub(super) fn claim(&mut self, parent: &str, key: &str) -> String {
        let mut name = key.to_owned();
        let mut copy = 1;
        while is_path_of_element(&name) || !self.taken.insert(Names::path(parent, &name)) {
            copy += 1;
            name = format!("{key}__{copy}");
        }
        name
    }

    pub(super) fn path(parent: &str, name: &str) -> String {
        let name = name.to_lowercase();
        if parent.is_empty() { name } else { format!("{parent}.{name}") }
    }

    fn add_fields(&mut self, parent: &str, fields: &[Field]) {
        for field in fields {
            self.add(Names::path(parent, &field.name), &field.field_type);
        }
    }

    fn add(&mut self, path: String, field_type: &Type) {
        match field_type {
            Type::Primitive(_) | Type::Other(_) => {}
            Type::Struct(fields) => self.add_fields(&path, fields),
            Type::List(list) => self.add(format!("{path}.element"), &list.element),
            Type::Map(map) => {
                self.add(format!("{path}.key"), &map.key);
                self.add(format!("{path}.value"), &map.value);
            }
        }
        self.taken.insert(path);
    }
}

/// What a field's doc says to DoLake.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Doc {
    /// The JSON key, where it is not the name.
    pub(super) key: Option<String>,
    /// That strings hold JSON text, below so many lists.
    pub(super) json_lists: Option<usize>,
}

impl Doc {
    /// A doc that says something else, written by somebody else, says nothing to us.
    pub(super) fn parse(doc: Option<&str>) -> Doc {
        let doc = doc.unwrap_or_default();
        let (json, key) = match doc.split_once("; key ") {
            Some((json, key)) if !doc.starts_with("key ") => (json, Some(key)),
            _ => doc.strip_prefix("key ").map_or((doc, None), |key| ("", Some(key))),
        };
        let lists = json.strip_prefix("json").map(|lists| lists.len() / 2);
        Doc {
            key: key.and_then(|key| serde_json::from_str(key).ok()),
            json_lists: lists.filter(|lists| json["json".len()..] == *"[]".repeat(*lists)),
        }
    }

    /// The JSON key of a field.
    pub(super) fn key_of(field: &Field) -> String {
        Doc::parse(field.doc.as_deref()).key.unwrap_or_else(|| field.name.clone())
    }

    pub(super) fn render(&self) -> Option<String> {
        let json = self.json_lists.map(|lists| format!("json{}", "[]".repeat(lists)));
        let key = self.key.as_ref().map(|key| serde_json::Value::from(key.as_str())).map(|key| format!("key {key}"));
        match (json, key) {
            (Some(json), Some(key)) => Some(format!("{json}; {key}")),
            (json, key) => json.or(key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_and_impossible_keys_are_no_columns() {
        let check = |key: &str, top, nested| {
            assert_eq!((may_be_field(key, true), may_be_field(key, false)), (top, nested), "{key:?}");
        };
        check("name", true, true);
        check("_name", true, true);
        check("_cdc_key", false, true);
        check("_CDC_anything", false, true);
        check("_file", false, true);
        check("_Row_Id", false, true);
        check("pos", true, true);
        check("", false, false);
        check(&"x".repeat(256), true, true);
        check(&"x".repeat(257), false, false);
    }

    #[test]
    fn names_that_engines_confuse_get_a_suffix() {
        let mut names = Names::default();
        assert_eq!(names.claim("", "Name"), "Name");
        assert_eq!(names.claim("", "name"), "name__2");
        assert_eq!(names.claim("", "NAME"), "NAME__3");
        assert_eq!(names.claim("", "a.b"), "a.b");
        assert_eq!(names.claim("a", "B"), "B__2");
        assert_eq!(names.claim("", "list.Element"), "list.Element__2");
        assert_eq!(names.claim("list", "element"), "element", "of a struct");
    }

    #[test]
    fn a_doc_says_the_key_and_what_the_strings_hold() {
        let check = |doc: &str, key: Option<&str>, json_lists| {
            let parsed = Doc { key: key.map(str::to_owned), json_lists };
            assert_eq!(Doc::parse(Some(doc)), parsed, "{doc}");
            assert_eq!(parsed.render().as_deref(), Some(doc));
        };
        check("json", None, Some(0));
        check("json[][]", None, Some(2));
        check(r#"key "a; key \"b""#, Some("a; key \"b"), None);
        check(r#"json[]; key "json""#, Some("json"), Some(1));
        for foreign in ["", "the user's name", "json[", "key of the row", "jsonb", "json][", "json é"] {
            assert_eq!(Doc::parse(Some(foreign)), Doc::default(), "{foreign}");
        }
    }
}
