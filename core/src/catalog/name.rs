//! From an event's `table` to a table in the catalog and a folder in the store.
//!
//! An event names its table as its database does. That name is *bound* to a table's uuid when the table is made
//! ([`super::TablePointer::cdc_table`]), so these rules are asked once for each table.

use uuid::Uuid;

use crate::catalog::ident::TableIdent;
use crate::limits::{TABLE_NAME_BYTES_MAX, TABLE_PART_BYTES_MAX};

/// The namespace of tables whose events name none.
pub const DEFAULT_NAMESPACE: &str = "default";

/// A table name that Iceberg, an engine, or an object store cannot hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing is there.
    #[error("table name: expected {expected}, got nothing in {name:?}")]
    Empty {
        /// What must be there.
        expected: &'static str,
        /// The name.
        name: String,
    },
    /// Its namespace or the rest begins or ends with a blank, which engines and people do not see.
    #[error("table name: expected no blank at the start or end of a part, got {name:?}")]
    Blank {
        /// The name.
        name: String,
    },
    /// It is too long.
    #[error("table name: expected at most {most} bytes of UTF-8, got {got}")]
    TooLong {
        /// What is held.
        most: usize,
        /// Its length, or that of the part that is too long.
        got: usize,
    },
    /// It has a character that would be something else in a path or in the catalog's addresses.
    #[error("table name: expected no control characters and no '/' or '\\', got {character:?} in {name:?}")]
    Character {
        /// The first such character.
        character: char,
        /// The name.
        name: String,
    },
    /// It is `.` or `..`, or its namespace is.
    #[error("table name: expected a name that is not a folder's '.' or '..', got {name:?}")]
    Dots {
        /// The name.
        name: String,
    },
}

/// The table that an event's `table` asks for: what stands before the first dot is the namespace, without a dot it is
/// [`DEFAULT_NAMESPACE`].
///
/// # Errors
/// Why nobody could hold such a name; the event is to be refused.
pub fn split_table_name(event_table: &str) -> Result<TableIdent, NameError> {
    let name = || event_table.chars().take(TABLE_NAME_BYTES_MAX).collect::<String>();
    if event_table.len() > TABLE_NAME_BYTES_MAX {
        return Err(NameError::TooLong { most: TABLE_NAME_BYTES_MAX, got: event_table.len() });
    }
    if let Some(character) = event_table.chars().find(|c| c.is_control() || matches!(c, '/' | '\\')) {
        return Err(NameError::Character { character, name: name() });
    }
    if event_table.chars().all(|c| c == '.') && !event_table.is_empty() {
        return Err(NameError::Dots { name: name() });
    }
    let (namespace, table) = event_table.split_once('.').unwrap_or((DEFAULT_NAMESPACE, event_table));
    for (part, expected) in [(namespace, "a namespace before the dot"), (table, "a table's name")] {
        if part.trim().is_empty() {
            return Err(NameError::Empty { expected, name: name() });
        }
        if part.trim() != part {
            return Err(NameError::Blank { name: name() });
        }
        if part == "." || part == ".." {
            return Err(NameError::Dots { name: name() });
        }
        if part.len() > TABLE_PART_BYTES_MAX {
            return Err(NameError::TooLong { most: TABLE_PART_BYTES_MAX, got: part.len() });
        }
    }
    Ok(TableIdent { namespace: vec![namespace.to_owned()], name: table.to_owned() })
}

/// The name for a new table that events call `wanted`, next to the tables that exist.
///
/// Several engines cannot tell names apart that differ only by case. So a namespace that is there already in another
/// case is used as it is spelled there, and a table whose name is taken in any case gets `__2`, or the next number that
/// is free. The result depends on the existing names alone, not on their order.
pub fn free_ident<'a>(wanted: &TableIdent, existing: impl Iterator<Item = &'a TableIdent> + Clone) -> TableIdent {
    let folded = |namespace: &[String]| namespace.iter().map(|level| level.to_lowercase()).collect::<Vec<_>>();
    let same_room = folded(&wanted.namespace);
    let neighbours = existing.filter(|ident| folded(&ident.namespace) == same_room);
    let spellings = neighbours.clone().map(|ident| &ident.namespace);
    let exact = spellings.clone().find(|namespace| **namespace == wanted.namespace);
    let namespace = exact.or_else(|| spellings.min()).unwrap_or(&wanted.namespace).clone();
    let taken = |name: &str| neighbours.clone().any(|ident| ident.name.to_lowercase() == name.to_lowercase());
    TableIdent { namespace, name: first_free(&wanted.name, "__", taken) }
}

/// The folder of a new table below the base path: `shop/orders`, where that can be.
///
/// Locations are URIs to some engines and paths to others, so every character that is not the same in both is replaced
/// by `_`. A folder that needed this, or that is in `used` (folders of tables that exist or ever did, in any case: some
/// file systems do not tell them apart), ends in `-` and eight digits of the table's uuid.
pub fn free_folder<'a>(ident: &TableIdent, uuid: Uuid, mut used: impl Iterator<Item = &'a str>) -> String {
    let wanted: Vec<&str> = ident.namespace.iter().map(String::as_str).chain([ident.name.as_str()]).collect();
    let folder = wanted.iter().map(|part| plain(part)).collect::<Vec<_>>().join("/");
    let lower = folder.to_lowercase();
    if folder == wanted.join("/") && !used.any(|other| other.to_lowercase() == lower) {
        return folder;
    }
    let uuid = uuid.simple().to_string();
    format!("{folder}-{}", uuid.get(..8).expect("a uuid has 32 digits"))
}

/// A part of a path with nothing in it that a URI or a file system could read otherwise.
fn plain(part: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.') { c } else { '_' };
    part.chars().map(plain).collect()
}

/// `name`, or `name` with the first suffix that is not taken.
fn first_free(name: &str, separator: &str, taken: impl Fn(&str) -> bool) -> String {
    if !taken(name) {
        return name.to_owned();
    }
    let mut candidates = (2_u64..).map(|n| format!("{name}{separator}{n}"));
    candidates.find(|candidate| !taken(candidate)).expect("finitely many names are taken")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ident(namespace: &str, name: &str) -> TableIdent {
        TableIdent { namespace: vec![namespace.to_owned()], name: name.to_owned() }
    }

    #[test]
    fn an_events_table_has_a_namespace_and_a_name() {
        let check = |table, namespace, name| assert_eq!(split_table_name(table), Ok(ident(namespace, name)));
        check("users", "default", "users");
        check("shop.orders", "shop", "orders");
        check("shop.orders.2024", "shop", "orders.2024");
        check("Größe ß.日本", "Größe ß", "日本");
        check("a..b", "a", ".b");
        check("100%", "default", "100%");
    }

    #[test]
    fn a_name_that_nobody_can_hold_is_refused_with_the_reason() {
        let check = |table: &str, expected: &str| {
            assert_eq!(split_table_name(table).map_err(|error| error.to_string()), Err(expected.to_owned()));
        };
        check("", "table name: expected a table's name, got nothing in \"\"");
        check(" ", "table name: expected a table's name, got nothing in \" \"");
        check("shop.", "table name: expected a table's name, got nothing in \"shop.\"");
        check(".orders", "table name: expected a namespace before the dot, got nothing in \".orders\"");
        check("a. b", "table name: expected no blank at the start or end of a part, got \"a. b\"");
        check(".", "table name: expected a name that is not a folder's '.' or '..', got \".\"");
        check("..", "table name: expected a name that is not a folder's '.' or '..', got \"..\"");
        check("a...", "table name: expected a name that is not a folder's '.' or '..', got \"a...\"");
        let character = |got: &str| format!("table name: expected no control characters and no '/' or '\\', got {got}");
        check("a/b", &character("'/' in \"a/b\""));
        check("a\\b", &character("'\\\\' in \"a\\\\b\""));
        check("a\u{1f}b", &character("'\\u{1f}' in \"a\\u{1f}b\""));
        check("a\u{7f}", &character("'\\u{7f}' in \"a\\u{7f}\""));
        check("a\0", &character("'\\0' in \"a\\0\""));
        check(&"é".repeat(129), "table name: expected at most 256 bytes of UTF-8, got 258");
        check(&"x".repeat(201), "table name: expected at most 200 bytes of UTF-8, got 201");
        check(&format!("a.{}", "x".repeat(201)), "table name: expected at most 200 bytes of UTF-8, got 201");
    }

    proptest::proptest! {
        #[test]
        fn what_is_taken_has_a_safe_folder_and_a_key(table in "[a-zA-Z./\\\\ é%\u{1f}~-]{0,12}") {
            if let Ok(ident) = split_table_name(&table) {
                let folder = free_folder(&ident, Uuid::from_u128(1), std::iter::empty());
                let safe = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
                assert!(folder.chars().all(safe) && folder.split('/').count() == 2, "{folder:?}");
                assert!(folder.split('/').all(|part| !["", ".", ".."].contains(&part)), "{folder:?}");
                assert_eq!(TableIdent::decode(&ident.encode()), Ok(ident));
            }
        }
    }

    #[test]
    fn a_new_table_never_differs_from_another_only_by_case() {
        let check = |wanted: (&str, &str), existing: &[(&str, &str)], expected: (&str, &str)| {
            let mut existing: Vec<TableIdent> = existing.iter().map(|(ns, name)| ident(ns, name)).collect();
            for _ in 0..2 {
                let free = free_ident(&ident(wanted.0, wanted.1), existing.iter());
                assert_eq!(free, ident(expected.0, expected.1));
                existing.reverse();
            }
        };
        check(("shop", "orders"), &[], ("shop", "orders"));
        check(("shop", "orders"), &[("store", "orders")], ("shop", "orders"));
        check(("shop", "Orders"), &[("shop", "orders")], ("shop", "Orders__2"));
        check(("shop", "orders"), &[("shop", "orders"), ("shop", "Orders__2")], ("shop", "orders__3"));
        check(("Shop", "items"), &[("shop", "orders")], ("shop", "items"));
        check(("Shop", "Orders"), &[("shop", "orders")], ("shop", "Orders__2"));
        check(("Shop", "x"), &[("shop", "a"), ("Shop", "b")], ("Shop", "x"));
        check(("sHop", "x"), &[("shop", "a"), ("Shop", "b")], ("Shop", "x"));
        check(("a", "ÄPFEL"), &[("a", "äpfel")], ("a", "ÄPFEL__2"));
    }

    #[test]
    fn a_folder_is_the_name_unless_that_is_used_or_no_path() {
        let uuid = Uuid::from_u128(0x1234_5678_9abc_def0_1122_3344_5566_7788);
        let check = |table: TableIdent, used: &[&str], expected: &str| {
            assert_eq!(free_folder(&table, uuid, used.iter().copied()), expected);
        };
        check(ident("shop", "orders"), &["shop/items"], "shop/orders");
        check(ident("shop", "orders"), &["shop/orders"], "shop/orders-12345678");
        check(ident("shop", "orders"), &["Shop/ORDERS"], "shop/orders-12345678");
        check(ident("shop", "orders.2024"), &[], "shop/orders.2024");
        check(ident("shop", "a b#?%"), &[], "shop/a_b___-12345678");
        check(ident("größe", "日本"), &[], "gr__e/__-12345678");
    }
}
