//! What the journal keeps of a table and of a namespace, and how it is written there.
//!
//! A value is a version byte and JSON, in which unknown fields are ignored: the next release may add some, and this one
//! still reads them. A key holds the name so that keys sort as names do.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::catalog::ident::TableIdent;

/// The version of values that this release writes.
const VERSION: u8 = 1;

/// Between the levels of a namespace in a key.
const LEVEL: u8 = 0x1f;

/// Between namespace and table in a key. Below [`LEVEL`], so that a namespace's own tables come before deeper ones.
const TABLE: u8 = 0x00;

/// Where a table is now. Moved by a commit, in the same transaction as what the commit releases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TablePointer {
    /// The table's uuid, as in its metadata.
    pub uuid: Uuid,
    /// The current metadata file, as a full URI.
    pub metadata_location: String,
    /// The table's folder below the base path: `shop/orders`.
    pub folder: String,
    /// What events call this table, if they write to it. Bound to the uuid, whatever the table is renamed to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cdc_table: Option<String>,
}

/// A namespace that was made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Namespace {
    /// For people and engines.
    #[serde(default)]
    pub properties: BTreeMap<String, String>,
}

/// A journal entry of the catalog that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PointerError {
    /// Written by another release.
    #[error("catalog entry: expected version {VERSION}, got {got}; run a release that knows it")]
    Version {
        /// Its version; `None` if it is empty.
        got: VersionFound,
    },
    /// Damaged.
    #[error("catalog entry: expected {expected}, got {got}; the journal is damaged")]
    Damaged {
        /// What must be there.
        expected: &'static str,
        /// What is wrong with it.
        got: String,
    },
}

/// The version that an entry has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VersionFound(pub Option<u8>);

impl std::fmt::Display for VersionFound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(version) => write!(f, "{version}"),
            None => f.write_str("nothing"),
        }
    }
}

impl TablePointer {
    /// As a journal value.
    pub fn encode(&self) -> Bytes {
        encode(self)
    }

    /// From a journal value.
    ///
    /// # Errors
    /// The value is of another version or damaged.
    pub fn decode(value: &[u8]) -> Result<TablePointer, PointerError> {
        decode(value, "a table's pointer")
    }
}

impl Namespace {
    /// As a journal value.
    pub fn encode(&self) -> Bytes {
        encode(self)
    }

    /// From a journal value.
    ///
    /// # Errors
    /// The value is of another version or damaged.
    pub fn decode(value: &[u8]) -> Result<Namespace, PointerError> {
        decode(value, "a namespace")
    }
}

impl TableIdent {
    /// As the end of a journal key. Keys sort as idents do.
    ///
    /// Panics on a name with control characters: none is ever taken into the catalog.
    pub fn encode(&self) -> Bytes {
        let mut key = encode_namespace(&self.namespace).to_vec();
        key.push(TABLE);
        push_name(&mut key, &self.name);
        key.into()
    }

    /// From the end of a journal key.
    ///
    /// # Errors
    /// The key is damaged.
    pub fn decode(key: &[u8]) -> Result<TableIdent, PointerError> {
        let expected = "a namespace, a zero byte and a table's name";
        let damaged = || PointerError::Damaged { expected, got: format!("{:?}", String::from_utf8_lossy(key)) };
        let at = key.iter().position(|byte| *byte == TABLE).ok_or_else(damaged)?;
        let (namespace, name) = (key.get(..at).unwrap_or_default(), key.get(at + 1..).unwrap_or_default());
        let name = std::str::from_utf8(name).map_err(|_| damaged())?;
        if name.is_empty() {
            return Err(damaged());
        }
        Ok(TableIdent { namespace: decode_namespace(namespace)?, name: name.to_owned() })
    }
}

/// A namespace as the end of a journal key. Keys sort as namespaces do.
///
/// Panics on a level with control characters: none is ever taken into the catalog.
pub fn encode_namespace(namespace: &[String]) -> Bytes {
    let mut key = Vec::new();
    for (n, level) in namespace.iter().enumerate() {
        if n > 0 {
            key.push(LEVEL);
        }
        push_name(&mut key, level);
    }
    key.into()
}

/// From the end of a journal key.
///
/// # Errors
/// The key is damaged.
pub fn decode_namespace(key: &[u8]) -> Result<Vec<String>, PointerError> {
    let expected = "the levels of a namespace";
    let damaged = || PointerError::Damaged { expected, got: format!("{:?}", String::from_utf8_lossy(key)) };
    let text = std::str::from_utf8(key).map_err(|_| damaged())?;
    let levels: Vec<String> = text.split(char::from(LEVEL)).map(str::to_owned).collect();
    if levels.iter().any(String::is_empty) { Err(damaged()) } else { Ok(levels) }
}

fn push_name(key: &mut Vec<u8>, name: &str) {
    assert!(!name.is_empty() && !name.chars().any(char::is_control), "a catalog name that cannot be: {name:?}");
    key.extend_from_slice(name.as_bytes());
}

fn encode(value: &impl Serialize) -> Bytes {
    let mut bytes = vec![VERSION];
    serde_json::to_writer(&mut bytes, value).expect("a plain struct into memory");
    bytes.into()
}

fn decode<T: DeserializeOwned>(value: &[u8], expected: &'static str) -> Result<T, PointerError> {
    match value.split_first() {
        Some((&VERSION, json)) => {
            serde_json::from_slice(json).map_err(|error| PointerError::Damaged { expected, got: error.to_string() })
        }
        other => Err(PointerError::Version { got: VersionFound(other.map(|(version, _)| *version)) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ident(namespace: &[&str], name: &str) -> TableIdent {
        TableIdent { namespace: namespace.iter().map(|level| (*level).to_owned()).collect(), name: name.to_owned() }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let pointer = TablePointer {
            uuid: Uuid::from_u128(7),
            metadata_location: "file:///lake/warehouse/shop/orders/metadata/00000-x.metadata.json".to_owned(),
            folder: "shop/orders".to_owned(),
            cdc_table: Some("shop.orders".to_owned()),
        };
        assert_eq!(TablePointer::decode(&pointer.encode()), Ok(pointer));
        let namespace = Namespace { properties: BTreeMap::from([("owner".to_owned(), "me".to_owned())]) };
        assert_eq!(Namespace::decode(&namespace.encode()), Ok(namespace));
    }

    #[test]
    fn fields_of_a_later_release_are_ignored_but_not_its_versions() {
        assert_eq!(Namespace::decode(b"\x01{\"later\":1}"), Ok(Namespace::default()));
        let check = |value: &[u8], expected: &str| {
            assert_eq!(Namespace::decode(value).expect_err("unreadable").to_string(), expected);
        };
        check(b"\x02{}", "catalog entry: expected version 1, got 2; run a release that knows it");
        check(b"", "catalog entry: expected version 1, got nothing; run a release that knows it");
        check(
            b"\x01{",
            "catalog entry: expected a namespace, got EOF while parsing an object at line 1 column 1; \
             the journal is damaged",
        );
    }

    #[test]
    fn keys_sort_as_names_do_and_are_read_back() {
        let mut idents = vec![
            ident(&["a"], "z"),
            ident(&["a"], "zz"),
            ident(&["a", "b"], "a"),
            ident(&["a!"], "a"),
            ident(&["ab"], "a"),
            ident(&["é", "b", "c"], "日本 x"),
        ];
        idents.sort();
        let mut keys: Vec<Bytes> = idents.iter().map(TableIdent::encode).collect();
        keys.sort();
        let read: Result<Vec<TableIdent>, PointerError> = keys.iter().map(|key| TableIdent::decode(key)).collect();
        assert_eq!(read, Ok(idents));
        let namespace = ident(&["a", "b"], "").namespace;
        assert_eq!(decode_namespace(&encode_namespace(&namespace)), Ok(namespace));
    }

    #[test]
    fn a_damaged_key_is_an_error() {
        for key in ["", "a", "a\0", "\0t", "a\u{1f}\0t"] {
            assert!(TableIdent::decode(key.as_bytes()).is_err(), "{key:?}");
        }
        assert!(TableIdent::decode(b"a\0\xff").is_err());
    }
}
