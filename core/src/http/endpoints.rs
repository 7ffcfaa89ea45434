//! Every path that DoLake has or foresees, in one table. What the catalog says of itself (`endpoints` of its config) is
//! read from the same table.
//!
//! Source: `http` of the design pages; below `/v1/namespaces` and its neighbours the Iceberg REST specification, and
//! the seed's routes where they differ.

use self::Endpoint::{CatalogLater, Later};

/// What is behind a method and a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// Can it take events?
    Health,
    /// What it is doing.
    Status,
    /// Counters and gauges.
    Metrics,
    /// Flush now, and wait for it.
    Flush,
    /// Events without a socket.
    Cdc,
    /// The runtime config.
    Settings,
    /// Changes the runtime config.
    PatchSettings,
    /// Waits until something is persisted.
    Wait,
    /// Measured memory.
    MemoryStats,
    /// What was written.
    WriteStats,
    /// The catalog's own config.
    CatalogConfig,
    /// Catalog: `listNamespaces`.
    ListNamespaces,
    /// Catalog: `loadNamespaceMetadata`.
    LoadNamespace,
    /// Catalog: `namespaceExists`.
    NamespaceExists,
    /// Catalog: `listTables`.
    ListTables,
    /// Catalog: `loadTable`.
    LoadTable,
    /// Catalog: `tableExists`.
    TableExists,
    /// Foreseen; answered 501 in DoLake's own error model.
    Later(&'static str),
    /// Foreseen; answered 501 in Iceberg's error model.
    CatalogLater(&'static str),
}

/// Method, path below the mount, and what is there. A part in braces stands for any one part.
#[rustfmt::skip]
pub const ENDPOINTS: &[(&str, &str, Endpoint)] = &[
    ("GET",    "/", Later("the dashboard")),
    ("GET",    "/health", Endpoint::Health),
    ("GET",    "/status", Endpoint::Status),
    ("GET",    "/metrics", Endpoint::Metrics),
    ("POST",   "/flush", Endpoint::Flush),
    ("POST",   "/cdc", Endpoint::Cdc),
    ("GET",    "/openapi.json", Later("the machine-readable description")),
    ("GET",    "/v1/settings", Endpoint::Settings),
    ("PATCH",  "/v1/config", Endpoint::PatchSettings),
    ("GET",    "/v1/wait", Endpoint::Wait),
    ("GET",    "/v1/memory-stats", Endpoint::MemoryStats),
    ("GET",    "/v1/write-stats", Endpoint::WriteStats),
    ("GET",    "/v1/scaling/status", Later("scaling status")),
    ("GET",    "/v1/cost", Later("cost")),
    ("POST",   "/v1/query", Later("queries")),
    ("POST",   "/v1/query/plan", Later("query plans")),
    ("POST",   "/v1/query/route", Later("query routing")),
    ("POST",   "/v1/compaction/run", Later("compaction")),
    ("GET",    "/v1/compaction/candidates", Later("compaction candidates")),
    ("GET",    "/v1/compaction/metrics", Later("compaction metrics")),
    ("POST",   "/v1/compaction/auto", Later("automatic compaction")),

    ("GET",    "/v1/config", Endpoint::CatalogConfig),
    ("POST",   "/v1/oauth/tokens", CatalogLater("tokens")),
    ("GET",    "/v1/namespaces", Endpoint::ListNamespaces),
    ("POST",   "/v1/namespaces", CatalogLater("creating a namespace")),
    ("GET",    "/v1/namespaces/{namespace}", Endpoint::LoadNamespace),
    ("HEAD",   "/v1/namespaces/{namespace}", Endpoint::NamespaceExists),
    ("DELETE", "/v1/namespaces/{namespace}", CatalogLater("dropping a namespace")),
    ("POST",   "/v1/namespaces/{namespace}/properties", CatalogLater("changing a namespace's properties")),
    ("PATCH",  "/v1/namespaces/{namespace}/properties", CatalogLater("changing a namespace's properties")),
    ("GET",    "/v1/namespaces/{namespace}/tables", Endpoint::ListTables),
    ("POST",   "/v1/namespaces/{namespace}/tables", CatalogLater("creating a table")),
    ("POST",   "/v1/namespaces/{namespace}/register", CatalogLater("registering a table")),
    ("GET",    "/v1/namespaces/{namespace}/tables/{table}", Endpoint::LoadTable),
    ("HEAD",   "/v1/namespaces/{namespace}/tables/{table}", Endpoint::TableExists),
    ("POST",   "/v1/namespaces/{namespace}/tables/{table}", CatalogLater("committing to a table")),
    ("DELETE", "/v1/namespaces/{namespace}/tables/{table}", CatalogLater("dropping a table")),
    ("POST",   "/v1/namespaces/{namespace}/tables/{table}/commits", CatalogLater("committing to a table")),
    ("POST",   "/v1/namespaces/{namespace}/tables/{table}/metrics", CatalogLater("reporting metrics")),
    ("GET",    "/v1/namespaces/{namespace}/tables/{table}/credentials", CatalogLater("vending credentials")),
    ("POST",   "/v1/namespaces/{namespace}/tables/{table}/sign", CatalogLater("remote signing")),
    ("POST",   "/v1/namespaces/{namespace}/tables/{table}/plan", CatalogLater("planning a scan")),
    ("GET",    "/v1/namespaces/{namespace}/tables/{table}/plan/{plan-id}", CatalogLater("fetching a scan plan")),
    ("DELETE", "/v1/namespaces/{namespace}/tables/{table}/plan/{plan-id}", CatalogLater("cancelling a scan plan")),
    ("POST",   "/v1/namespaces/{namespace}/tables/{table}/tasks", CatalogLater("fetching scan tasks")),
    ("GET",    "/v1/namespaces/{namespace}/tables/{table}/partitions", CatalogLater("listing partitions")),
    ("GET",    "/v1/namespaces/{namespace}/tables/{table}/partition-stats", CatalogLater("partition statistics")),
    ("POST",   "/v1/tables/rename", CatalogLater("renaming a table")),
    ("POST",   "/v1/transactions/commit", CatalogLater("committing to several tables")),
    ("GET",    "/v1/namespaces/{namespace}/views", CatalogLater("listing views")),
    ("POST",   "/v1/namespaces/{namespace}/views", CatalogLater("creating a view")),
    ("POST",   "/v1/namespaces/{namespace}/register-view", CatalogLater("registering a view")),
    ("GET",    "/v1/namespaces/{namespace}/views/{view}", CatalogLater("loading a view")),
    ("HEAD",   "/v1/namespaces/{namespace}/views/{view}", CatalogLater("loading a view")),
    ("POST",   "/v1/namespaces/{namespace}/views/{view}", CatalogLater("replacing a view")),
    ("DELETE", "/v1/namespaces/{namespace}/views/{view}", CatalogLater("dropping a view")),
    ("POST",   "/v1/views/rename", CatalogLater("renaming a view")),
    ("GET",    "/v1/namespaces/{namespace}/functions", CatalogLater("listing functions")),
    ("GET",    "/v1/namespaces/{namespace}/functions/{function}", CatalogLater("loading a function")),
];

impl Endpoint {
    /// Whether this is a route of the Iceberg REST specification that works, so that the catalog names it.
    fn announced(self) -> bool {
        match self {
            Endpoint::ListNamespaces
            | Endpoint::LoadNamespace
            | Endpoint::NamespaceExists
            | Endpoint::ListTables
            | Endpoint::LoadTable
            | Endpoint::TableExists => true,
            Endpoint::Health
            | Endpoint::Status
            | Endpoint::Metrics
            | Endpoint::Flush
            | Endpoint::Cdc
            | Endpoint::Settings
            | Endpoint::PatchSettings
            | Endpoint::Wait
            | Endpoint::MemoryStats
            | Endpoint::WriteStats
            | Endpoint::CatalogConfig
            | Later(_)
            | CatalogLater(_) => false,
        }
    }
}

/// The catalog's `endpoints`, as the specification spells them: `GET /v1/{prefix}/namespaces`.
pub fn catalog_endpoints() -> Vec<String> {
    let announced = ENDPOINTS.iter().filter(|(_, _, endpoint)| endpoint.announced());
    announced.map(|(method, path, _)| format!("{method} {}", path.replacen("/v1/", "/v1/{prefix}/", 1))).collect()
}

/// What was found for a path.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    /// An endpoint, and the parts of the path that stand where it has braces, as sent.
    Endpoint(Endpoint, Vec<&'a str>),
    /// The path exists with these methods only.
    OtherMethods(Vec<&'static str>),
    /// Nothing.
    Nothing,
}

/// Looks a path up that starts with `/`. HEAD goes wherever GET goes.
pub(super) fn find<'a>(method: &str, path: &'a str) -> Found<'a> {
    let mut others = Vec::new();
    let mut get = None;
    for (known, pattern, endpoint) in ENDPOINTS {
        let Some(captures) = captures(pattern, path) else { continue };
        if *known == method {
            return Found::Endpoint(*endpoint, captures);
        }
        if *known == "GET" {
            get = Some((*endpoint, captures));
        }
        others.push(*known);
    }
    if let Some((endpoint, captures)) = get {
        if method == "HEAD" {
            return Found::Endpoint(endpoint, captures);
        }
        if !others.contains(&"HEAD") {
            others.push("HEAD");
        }
    }
    if others.is_empty() { Found::Nothing } else { Found::OtherMethods(others) }
}

/// The parts of `path` that stand where `pattern` has braces, if the rest is the same.
fn captures<'a>(pattern: &str, path: &'a str) -> Option<Vec<&'a str>> {
    if pattern.split('/').count() != path.split('/').count() {
        return None;
    }
    let mut captures = Vec::new();
    for (expected, part) in pattern.split('/').zip(path.split('/')) {
        if expected.starts_with('{') {
            captures.push(part);
        } else if expected != part {
            return None;
        }
    }
    Some(captures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalog_names_its_reading_half_and_nothing_more() {
        let expected = [
            "GET /v1/{prefix}/namespaces",
            "GET /v1/{prefix}/namespaces/{namespace}",
            "HEAD /v1/{prefix}/namespaces/{namespace}",
            "GET /v1/{prefix}/namespaces/{namespace}/tables",
            "GET /v1/{prefix}/namespaces/{namespace}/tables/{table}",
            "HEAD /v1/{prefix}/namespaces/{namespace}/tables/{table}",
        ];
        assert_eq!(catalog_endpoints(), expected);
    }

    #[test]
    fn no_method_and_path_stands_in_the_table_twice() {
        let mut seen = std::collections::BTreeSet::new();
        for (method, path, _) in ENDPOINTS {
            assert!(seen.insert((method, path)), "{method} {path}");
        }
    }

    #[test]
    fn a_path_is_found_with_its_parts_or_with_the_methods_that_it_has() {
        let check = |method, path, expected| assert_eq!(find(method, path), expected);
        check("GET", "/health", Found::Endpoint(Endpoint::Health, vec![]));
        check("HEAD", "/health", Found::Endpoint(Endpoint::Health, vec![]));
        check("HEAD", "/v1/namespaces/a", Found::Endpoint(Endpoint::NamespaceExists, vec!["a"]));
        check("GET", "/v1/namespaces/a/tables/t", Found::Endpoint(Endpoint::LoadTable, vec!["a", "t"]));
        check("DELETE", "/health", Found::OtherMethods(vec!["GET", "HEAD"]));
        check("GET", "/flush", Found::OtherMethods(vec!["POST"]));
        check("DELETE", "/v1/config", Found::OtherMethods(vec!["PATCH", "GET", "HEAD"]));
        check("GET", "/v1/namespaces/a/b", Found::Nothing);
        check("GET", "/nothing", Found::Nothing);
    }
}
