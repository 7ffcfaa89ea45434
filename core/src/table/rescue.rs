//! Values that found no place in their column: kept as their exact JSON text, beside their row (promise 4).
//!
//! `_cdc_rescued` is a JSON object from path to value. A path is made of the keys as the producer spells them:
//! `amount`, `address.zip`, `tags[2]`, `_cdc_before.amount`. Where one path comes twice in a row (a key given twice),
//! the later ones end in `#2`, `#3` and so on.

use std::collections::BTreeMap;

use super::column::Text;

/// Where a value stands in its row.
#[derive(Debug, Clone, Copy)]
pub(super) enum Path<'a> {
    /// The row image itself.
    Root,
    /// A member of an object.
    Key(&'a Path<'a>, &'a str),
    /// An element of an array.
    Index(&'a Path<'a>, usize),
    /// A path that was rendered before.
    Rendered(&'a str),
}

impl Path<'_> {
    pub(super) fn render(&self) -> String {
        match self {
            Path::Root => String::new(),
            Path::Key(Path::Root, key) => (*key).to_owned(),
            Path::Key(parent, key) => format!("{}.{key}", parent.render()),
            Path::Index(parent, index) => format!("{}[{index}]", parent.render()),
            Path::Rendered(path) => (*path).to_owned(),
        }
    }
}

/// The rescued values of a row group.
#[derive(Debug, Default)]
pub(super) struct Rescued {
    values: Vec<RescuedValue>,
    /// Values rescued so far, over all row groups.
    pub(super) count: u64,
}

#[derive(Debug)]
struct RescuedValue {
    row: usize,
    path: String,
    json: String,
}

impl Rescued {
    /// Keeps a value of a row.
    pub(super) fn keep(&mut self, row: usize, path: String, json: &str) {
        if !mutant!(RescueDropped) {
            self.values.push(RescuedValue { row, path, json: json.to_owned() });
        }
        self.count += 1;
    }

    /// The column `_cdc_rescued` of a row group: for each row that has one, its JSON object. Forgets the values.
    pub(super) fn drain(&mut self) -> Vec<(usize, String)> {
        let mut values = std::mem::take(&mut self.values);
        // Stable: values of one row stay in the order in which they were met.
        values.sort_by_key(|value| value.row);
        values.chunk_by(|a, b| a.row == b.row).map(|row| (row[0].row, object(row))).collect()
    }
}

fn object(values: &[RescuedValue]) -> String {
    // From each name to how often it came, so that many copies of one key cost no search.
    let mut seen = BTreeMap::<String, usize>::new();
    let mut object = String::from("{");
    for value in values {
        let mut name = value.path.clone();
        while let Some(copies) = seen.get_mut(&name) {
            *copies += 1;
            name = format!("{}#{copies}", value.path);
        }
        seen.insert(name.clone(), 1);
        if object.len() > 1 {
            object.push(',');
        }
        object.push_str(&serde_json::to_string(&name).expect("a string is always JSON"));
        object.push(':');
        object.push_str(&value.json);
    }
    object.push('}');
    object
}

/// Appends `rows` rows to a text column: the rescued objects, null elsewhere.
pub(super) fn to_text(objects: &[(usize, String)], rows: usize) -> (Text, Vec<bool>) {
    let mut text = Text::default();
    let mut valid = vec![false; rows];
    for (row, object) in objects {
        text.pad_to(*row);
        text.push(object);
        valid[*row] = true;
    }
    text.pad_to(rows);
    (text, valid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_keys_and_indexes() {
        let root = Path::Root;
        let items = Path::Key(&root, "items");
        let second = Path::Index(&items, 1);
        assert_eq!(Path::Key(&second, "qty").render(), "items[1].qty");
    }

    #[test]
    fn values_of_a_row_become_one_object_with_unique_names() {
        let mut rescued = Rescued::default();
        rescued.keep(2, "b".into(), "[1, 2]");
        rescued.keep(0, "a".into(), "1.0");
        rescued.keep(2, "b".into(), "null");
        rescued.keep(2, "say \"x\"".into(), "\"y\"");
        let expected = r##"{"b":[1, 2],"b#2":null,"say \"x\"":"y"}"##;
        assert_eq!(rescued.drain(), [(0, r#"{"a":1.0}"#.to_owned()), (2, expected.to_owned())]);
        assert_eq!((rescued.drain(), rescued.count), (vec![], 4));
    }
}
