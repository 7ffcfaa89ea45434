//! What engines ask: the Iceberg REST catalog, its reading half, as pure functions over what the machine knows.
//!
//! Never waits and never reads the store: loading a table needs the bytes of its metadata, and says so
//! ([`CatalogAnswer::NeedsMetadata`]). Names and their rules are in [`ident`] and [`name`], what the journal keeps of a
//! table in [`pointer`], listings and pages in [`listing`], loading in [`load`].

pub mod ident;
pub mod listing;
pub mod load;
pub mod name;
pub mod pointer;
pub(crate) mod state;

use std::collections::BTreeMap;

use serde_json::json;

use crate::http::endpoints::catalog_endpoints;
use crate::http::error::{ErrorKind, HttpError};
use crate::http::respond::Answer;
use crate::journal::{RestoreError, Saved};

pub use ident::TableIdent;
pub use listing::Page;
pub use load::{MetadataWanted, Snapshots};
pub use name::{NameError, free_folder, free_ident, split_table_name};
pub use pointer::{Namespace, PointerError, TablePointer};

/// The tables that a journal knows, for one who only looks at it.
///
/// # Errors
/// A row of the catalog is damaged, or of a later release.
pub fn tables_of(saved: &Saved) -> Result<BTreeMap<TableIdent, TablePointer>, RestoreError> {
    let mut tables = state::Tables::default();
    for (key, value) in &saved.control {
        tables.restore(key, value)?;
    }
    Ok(tables.pointers)
}

/// What the machine knows, as far as the catalog shows it. A namespace also exists when only a deeper one, or a table
/// below it, is known.
#[derive(Debug, Clone, Copy)]
pub struct CatalogView<'a> {
    /// Names under which `?warehouse=` is known, beside none at all.
    pub warehouses: &'a [&'a str],
    /// `defaults` of the config: what clients use unless they are told otherwise.
    pub config_defaults: &'a BTreeMap<String, String>,
    /// The namespaces that were made.
    pub namespaces: &'a BTreeMap<Vec<String>, Namespace>,
    /// The tables.
    pub tables: &'a BTreeMap<TableIdent, TablePointer>,
}

/// What an engine asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CatalogRequest {
    /// `getConfig`.
    Config {
        /// The warehouse it means; `None` for the only one.
        warehouse: Option<String>,
    },
    /// `listNamespaces`: those one level below `parent`.
    ListNamespaces {
        /// Empty for the top.
        parent: Vec<String>,
        /// Which of them.
        page: Page,
    },
    /// `loadNamespaceMetadata`.
    LoadNamespace(Vec<String>),
    /// `namespaceExists`.
    NamespaceExists(Vec<String>),
    /// `listTables`.
    ListTables {
        /// Only those right in it.
        namespace: Vec<String>,
        /// Which of them.
        page: Page,
    },
    /// `loadTable`.
    LoadTable(LoadTable),
    /// `tableExists`.
    TableExists(TableIdent),
}

/// `loadTable`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadTable {
    /// The table.
    pub ident: TableIdent,
    /// Which snapshots the metadata is to show.
    pub snapshots: Snapshots,
    /// Header `If-None-Match`: what the client has already.
    pub if_none_match: Option<String>,
}

/// What to do about a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CatalogAnswer {
    /// Send this.
    Ready(Answer),
    /// Read the metadata first, then [`MetadataWanted::finish`].
    NeedsMetadata(MetadataWanted),
}

/// Answers a request, or says what it takes.
///
/// # Errors
/// 404 in Iceberg's model for what does not exist, 400 for a page token that is not ours.
pub fn answer(view: &CatalogView<'_>, request: &CatalogRequest) -> Result<CatalogAnswer, HttpError> {
    let ready = match request {
        CatalogRequest::Config { warehouse } => config(view, warehouse.as_deref())?,
        CatalogRequest::ListNamespaces { parent, page } => listing::namespaces(view, parent, page)?,
        CatalogRequest::LoadNamespace(namespace) => load_namespace(view, namespace)?,
        CatalogRequest::NamespaceExists(namespace) => {
            view.require_namespace(namespace)?;
            Answer::empty(204)
        }
        CatalogRequest::ListTables { namespace, page } => listing::tables(view, namespace, page)?,
        CatalogRequest::LoadTable(request) => return load::begin(view, request),
        CatalogRequest::TableExists(ident) => {
            view.table(ident)?;
            Answer::empty(204)
        }
    };
    Ok(CatalogAnswer::Ready(ready))
}

impl<'a> CatalogView<'a> {
    /// Whether a namespace exists. The top, which has no name, does.
    pub fn has_namespace(&self, namespace: &[String]) -> bool {
        let first_namespace = self.namespaces.range(namespace.to_vec()..).next();
        let from = TableIdent { namespace: namespace.to_vec(), name: String::new() };
        let first_table = self.tables.range(from..).next();
        namespace.is_empty()
            || first_namespace.is_some_and(|(known, _)| known.starts_with(namespace))
            || first_table.is_some_and(|(known, _)| known.namespace.starts_with(namespace))
    }

    fn require_namespace(&self, namespace: &[String]) -> Result<(), HttpError> {
        if self.has_namespace(namespace) {
            return Ok(());
        }
        let message = format!("Namespace does not exist: {}", namespace.join("."));
        Err(HttpError::catalog(ErrorKind::NoSuchNamespace, message))
    }

    fn table(&self, ident: &TableIdent) -> Result<&'a TablePointer, HttpError> {
        let missing = || HttpError::catalog(ErrorKind::NoSuchTable, format!("Table does not exist: {ident}"));
        self.tables.get(ident).ok_or_else(missing)
    }
}

/// `CatalogConfig`. No `idempotency-key-lifetime`: nothing can be changed here yet.
fn config(view: &CatalogView<'_>, warehouse: Option<&str>) -> Result<Answer, HttpError> {
    if let Some(name) = warehouse.filter(|name| !view.warehouses.contains(name)) {
        let message = format!("Warehouse does not exist: {name}; expected {} or none", view.warehouses.join(", "));
        return Err(HttpError::catalog(ErrorKind::NoSuchWarehouse, message));
    }
    let body = json!({ "defaults": view.config_defaults, "overrides": {}, "endpoints": catalog_endpoints() });
    Ok(Answer::json(200, &body))
}

/// `GetNamespaceResponse`.
fn load_namespace(view: &CatalogView<'_>, namespace: &[String]) -> Result<Answer, HttpError> {
    view.require_namespace(namespace)?;
    let properties = view.namespaces.get(namespace).map(|known| &known.properties);
    let body = json!({ "namespace": namespace, "properties": properties.cloned().unwrap_or_default() });
    Ok(Answer::json(200, &body))
}

#[cfg(test)]
#[path = "catalog_tests.rs"]
mod tests;
