//! From a request's head to what it asks for.
//!
//! Everything that can be wrong with method, path, query and headers is found here, so that the machine only sees
//! requests that make sense. Bodies are read elsewhere ([`super::settings`], [`crate::wire`]). The table of paths is
//! in [`super::endpoints`].

use crate::catalog::{CatalogRequest, LoadTable, Page, Snapshots, TableIdent};
use crate::event::RequestHead;
use crate::http::endpoints::{Endpoint, Found, find};
use crate::http::error::{ErrorKind, ErrorModel, HttpError};
use crate::http::query::{Query, decode};
use crate::limits::{
    PAGE_SIZE_MAX, SEQUENCE_MAX, SOURCE_EPOCH_BYTES_MAX, SOURCE_ID_BYTES_MAX, WAIT_TIMEOUT_MS_DEFAULT,
    WAIT_TIMEOUT_MS_MAX,
};
use crate::wire::is_name;

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// GET `/health`: 200 `OK` as text, or 503 and why.
    Health,
    /// GET `/status`: [`super::status::StatusAnswer`].
    Status,
    /// GET `/metrics`: [`super::metrics::answer`].
    Metrics {
        /// `Accept: application/json`; else Prometheus text.
        json: bool,
    },
    /// POST `/flush`: runs one, waits for it, [`super::status::FlushAnswer`]. A body is not looked at.
    Flush,
    /// POST `/cdc`: [`super::status::CdcAnswer`].
    Cdc(CdcRequest),
    /// GET `/v1/settings`: the runtime config as JSON.
    Settings,
    /// PATCH `/v1/config`: [`super::settings::patch_config`], then [`super::status::SettingsAnswer`].
    PatchSettings,
    /// GET `/v1/wait`: [`super::status::WaitAnswer`].
    Wait(WaitRequest),
    /// GET `/v1/memory-stats`: [`super::status::MemoryStats`].
    MemoryStats,
    /// GET `/v1/write-stats`: [`super::status::WriteStats`].
    WriteStats,
    /// What engines ask: [`crate::catalog::answer`].
    Catalog(CatalogRequest),
    /// Foreseen, not there: [`HttpError::not_implemented`].
    NotImplemented {
        /// The shape of the error.
        model: ErrorModel,
        /// A noun phrase: `compaction`.
        what: String,
    },
}

/// How the events of a POST `/cdc` are written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyFormat {
    /// One object: `{ events, sequenceNumber?, sourceEpoch? }`.
    Json,
    /// One event a line.
    Ndjson,
}

/// How a body is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyEncoding {
    /// Not at all.
    Identity,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

/// Head of a POST `/cdc`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CdcRequest {
    /// Header `X-Client-ID`.
    pub source: String,
    /// From `Content-Type`; JSON when absent.
    pub format: BodyFormat,
    /// From `Content-Encoding`.
    pub encoding: BodyEncoding,
    /// Query `sequenceNumber`, for NDJSON only: a JSON body carries its own.
    pub sequence_number: Option<u64>,
    /// Query `sourceEpoch`, likewise.
    pub source_epoch: Option<String>,
}

/// Head of a GET `/v1/wait`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitRequest {
    /// What must be persisted.
    pub target: WaitTarget,
    /// When to give up.
    pub timeout_ms: u64,
}

/// What must be persisted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WaitTarget {
    /// A snapshot of any table.
    Snapshot(i64),
    /// An event of a source.
    Event {
        /// The source.
        source: String,
        /// Its epoch; may be empty.
        epoch: String,
        /// The event's number.
        sequence: u64,
    },
}

/// Finds out what a request asks for. `mount` is the path below which everything is found a second time
/// (`/lakehouse`); empty for none.
///
/// # Errors
/// 400, 404, 405 and 415, in the model that belongs to the path.
pub fn route(head: &RequestHead, mount: &str) -> Result<Route, HttpError> {
    let path = below_mount(&head.path, mount);
    match find(&head.method, &path) {
        Found::Endpoint(endpoint, parts) => at_endpoint(endpoint, &parts, head),
        Found::OtherMethods(allow) => {
            let message = format!("{} {}: expected one of {}", head.method, head.path, allow.join(", "));
            let error = HttpError::in_model(model_of(&path), ErrorKind::MethodNotAllowed, message);
            Err(HttpError { allow, ..error })
        }
        Found::Nothing => {
            let message = format!("{}: there is no such path", head.path);
            Err(HttpError::in_model(model_of(&path), ErrorKind::NotFound, message))
        }
    }
}

/// The path without its mount, without a slash at its end, and with `/v1/v1/` as `/v1/`: the seed's quick start gives
/// engines an address that ends in `/v1`, to which they add the specification's `/v1/`.
fn below_mount(path: &str, mount: &str) -> String {
    let mount = mount.trim_end_matches('/');
    let below = match path.strip_prefix(mount) {
        Some(below) if below.is_empty() || below.starts_with('/') => below,
        Some(_) | None => path,
    };
    let below = below.strip_suffix('/').unwrap_or(below);
    match below.strip_prefix("/v1/v1/") {
        Some(rest) => format!("/v1/{rest}"),
        None if below.is_empty() => "/".to_owned(),
        None => below.to_owned(),
    }
}

/// The error model of paths that lead nowhere.
fn model_of(path: &str) -> ErrorModel {
    let catalog = ["namespaces", "tables", "transactions", "views", "oauth"];
    match path.strip_prefix("/v1/").and_then(|rest| rest.split('/').next()) {
        Some(room) if catalog.contains(&room) => ErrorModel::Iceberg,
        Some(_) | None => ErrorModel::Dolake,
    }
}

fn at_endpoint(endpoint: Endpoint, parts: &[&str], head: &RequestHead) -> Result<Route, HttpError> {
    let catalog_query = || Query::parse(head.query.as_deref(), ErrorModel::Iceberg);
    let later = |model, what: &str| Route::NotImplemented { model, what: what.to_owned() };
    Ok(match endpoint {
        Endpoint::Health => Route::Health,
        Endpoint::Status => Route::Status,
        Endpoint::Metrics => Route::Metrics { json: accepts_json(head) },
        Endpoint::Flush => Route::Flush,
        Endpoint::Cdc => Route::Cdc(cdc(head)?),
        Endpoint::Settings => Route::Settings,
        Endpoint::PatchSettings => Route::PatchSettings,
        Endpoint::Wait => Route::Wait(wait(head)?),
        Endpoint::MemoryStats => Route::MemoryStats,
        Endpoint::WriteStats => Route::WriteStats,
        Endpoint::CatalogConfig => {
            let warehouse = catalog_query()?.get("warehouse")?.filter(|name| !name.is_empty()).map(str::to_owned);
            Route::Catalog(CatalogRequest::Config { warehouse })
        }
        Endpoint::ListNamespaces => {
            let query = catalog_query()?;
            let parent = query.get("parent")?.filter(|parent| !parent.is_empty());
            let parent = parent.map(namespace_of).transpose()?.unwrap_or_default();
            Route::Catalog(CatalogRequest::ListNamespaces { parent, page: page(&query)? })
        }
        Endpoint::LoadNamespace => Route::Catalog(CatalogRequest::LoadNamespace(namespace(parts)?)),
        Endpoint::NamespaceExists => Route::Catalog(CatalogRequest::NamespaceExists(namespace(parts)?)),
        Endpoint::ListTables => {
            let page = page(&catalog_query()?)?;
            Route::Catalog(CatalogRequest::ListTables { namespace: namespace(parts)?, page })
        }
        Endpoint::LoadTable => Route::Catalog(CatalogRequest::LoadTable(load_table(parts, &catalog_query()?, head)?)),
        Endpoint::TableExists => Route::Catalog(CatalogRequest::TableExists(table(parts)?)),
        Endpoint::Later(what) => later(ErrorModel::Dolake, what),
        Endpoint::CatalogLater(what) => later(ErrorModel::Iceberg, what),
    })
}

fn accepts_json(head: &RequestHead) -> bool {
    let accept = head.header("accept").unwrap_or_default();
    accept.split(',').any(|range| main_type(range) == "application/json")
}

/// A media type without its parameters, in lower case.
fn main_type(range: &str) -> String {
    range.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn cdc(head: &RequestHead) -> Result<CdcRequest, HttpError> {
    let invalid = |message: String| HttpError::new(ErrorKind::InvalidRequest, message);
    let unsupported = |message: String| HttpError::new(ErrorKind::UnsupportedMediaType, message);
    let source = head.header("x-client-id").unwrap_or_default();
    if !is_name(source, &(1..=SOURCE_ID_BYTES_MAX)) {
        let got = source.len();
        let expected = format!("1 to {SOURCE_ID_BYTES_MAX} bytes without control characters");
        return Err(invalid(format!("header X-Client-ID: expected {expected}, got {got} bytes")));
    }
    let format = match main_type(head.header("content-type").unwrap_or_default()).as_str() {
        "" | "application/json" => BodyFormat::Json,
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" => BodyFormat::Ndjson,
        other => {
            let expected = "application/json or application/x-ndjson";
            return Err(unsupported(format!("header Content-Type: expected {expected}, got {other:?}")));
        }
    };
    let encoding = match head.header("content-encoding").unwrap_or("identity").trim().to_ascii_lowercase().as_str() {
        "identity" => BodyEncoding::Identity,
        "gzip" | "x-gzip" => BodyEncoding::Gzip,
        "zstd" => BodyEncoding::Zstd,
        other => return Err(unsupported(format!("header Content-Encoding: expected gzip or zstd, got {other:?}"))),
    };
    let query = Query::parse(head.query.as_deref(), ErrorModel::Dolake)?;
    match format {
        BodyFormat::Json if head.query.as_deref().is_some_and(|query| !query.is_empty()) => {
            Err(invalid("query: expected none with a JSON body, which carries these values itself".to_owned()))
        }
        BodyFormat::Json | BodyFormat::Ndjson => {
            query.only(&["sequenceNumber", "sourceEpoch"])?;
            let sequence_number = query.number("sequenceNumber", 1, SEQUENCE_MAX)?;
            let source_epoch = query.get("sourceEpoch")?.map(|_| epoch(&query, "sourceEpoch")).transpose()?;
            Ok(CdcRequest { source: source.to_owned(), format, encoding, sequence_number, source_epoch })
        }
    }
}

/// An epoch's name from the query; empty when it is not there.
fn epoch(query: &Query, key: &str) -> Result<String, HttpError> {
    let epoch = query.get(key)?.unwrap_or_default();
    if !is_name(epoch, &(0..=SOURCE_EPOCH_BYTES_MAX)) {
        let expected = format!("at most {SOURCE_EPOCH_BYTES_MAX} bytes without control characters");
        return Err(query.invalid(key, &expected, &format!("{} bytes", epoch.len())));
    }
    Ok(epoch.to_owned())
}

fn wait(head: &RequestHead) -> Result<WaitRequest, HttpError> {
    let query = Query::parse(head.query.as_deref(), ErrorModel::Dolake)?;
    query.only(&["snapshot", "source", "epoch", "sequence", "timeoutMs"])?;
    let timeout_ms = query.number("timeoutMs", 0, WAIT_TIMEOUT_MS_MAX)?.unwrap_or(WAIT_TIMEOUT_MS_DEFAULT);
    let snapshot = query.number("snapshot", 1, i64::MAX)?;
    let target = match (snapshot, query.get("source")?) {
        (Some(snapshot), None) => {
            query.only(&["snapshot", "timeoutMs"])?;
            WaitTarget::Snapshot(snapshot)
        }
        (None, Some(source)) => {
            if source.is_empty() || source.len() > SOURCE_ID_BYTES_MAX {
                let expected = format!("1 to {SOURCE_ID_BYTES_MAX} bytes");
                return Err(query.invalid("source", &expected, &source.len().to_string()));
            }
            query.required("sequence")?;
            let sequence = query.number("sequence", 0, SEQUENCE_MAX)?.unwrap_or_default();
            WaitTarget::Event { source: source.to_owned(), epoch: epoch(&query, "epoch")?, sequence }
        }
        (Some(_), Some(_)) => return Err(query.invalid("snapshot", "either snapshot or source", "both")),
        (None, None) => return Err(query.invalid("snapshot", "either snapshot or source and sequence", "neither")),
    };
    Ok(WaitRequest { target, timeout_ms })
}

/// The one part of a path that names a namespace; the table of endpoints has it first wherever it is.
fn namespace(parts: &[&str]) -> Result<Vec<String>, HttpError> {
    namespace_of(&part(parts.first(), "namespace")?)
}

/// The levels of a namespace, which `U+001F` separates.
fn namespace_of(joined: &str) -> Result<Vec<String>, HttpError> {
    let levels: Vec<String> = joined.split('\u{1f}').map(str::to_owned).collect();
    if levels.iter().any(String::is_empty) {
        let message = format!("namespace {joined:?}: expected no empty level");
        return Err(HttpError::catalog(ErrorKind::InvalidRequest, message));
    }
    Ok(levels)
}

fn table(parts: &[&str]) -> Result<TableIdent, HttpError> {
    Ok(TableIdent { namespace: namespace(parts)?, name: part(parts.get(1), "table")? })
}

fn part(raw: Option<&&str>, what: &str) -> Result<String, HttpError> {
    let invalid = |why| HttpError::catalog(ErrorKind::InvalidRequest, format!("{what} in the path: {why}"));
    let decoded = decode(raw.copied().unwrap_or_default()).map_err(invalid)?;
    if decoded.is_empty() { Err(invalid("expected a name, got nothing".to_owned())) } else { Ok(decoded) }
}

/// Pages are cut only for a client that asks for them with `pageToken` (specification: `PageToken`).
fn page(query: &Query) -> Result<Page, HttpError> {
    let size = query.number("pageSize", 1, i32::MAX)?;
    let size = size.map_or(PAGE_SIZE_MAX, |size| usize::try_from(size).unwrap_or(usize::MAX).min(PAGE_SIZE_MAX));
    Ok(match query.get("pageToken")? {
        None => Page::All,
        Some(token) => Page::After { token: token.to_owned(), size },
    })
}

fn load_table(parts: &[&str], query: &Query, head: &RequestHead) -> Result<LoadTable, HttpError> {
    let snapshots = match query.get("snapshots")? {
        None | Some("" | "all") => Snapshots::All,
        Some("refs") => Snapshots::Refs,
        Some(other) => return Err(query.invalid("snapshots", "all or refs", &format!("{other:?}"))),
    };
    let if_none_match = head.header("if-none-match").map(str::to_owned);
    Ok(LoadTable { ident: table(parts)?, snapshots, if_none_match })
}

#[cfg(test)]
#[path = "route_tests.rs"]
mod tests;
