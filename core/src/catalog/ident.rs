//! What a table is called in the catalog.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A table's name and its namespace. Ordered by namespace, then name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TableIdent {
    /// The levels of the namespace; at least one.
    pub namespace: Vec<String>,
    /// The table's name in it.
    pub name: String,
}

/// For people: `shop.orders`. Not to be read back, names may have dots.
impl fmt::Display for TableIdent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.namespace.join("."), self.name)
    }
}
