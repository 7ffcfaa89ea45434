use super::*;

fn request(line: &str, headers: &[(&str, &str)]) -> RequestHead {
    let (method, target) = line.split_once(' ').expect("METHOD target");
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (target, None),
    };
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    RequestHead { method: method.to_owned(), path: path.to_owned(), query, headers }
}

fn routed(line: &str, headers: &[(&str, &str)]) -> Result<Route, HttpError> {
    route(&request(line, headers), "/lakehouse")
}

fn check(line: &str, expected: Route) {
    assert_eq!(routed(line, &[]), Ok(expected), "{line}");
}

fn check_error(line: &str, headers: &[(&str, &str)], kind: ErrorKind, model: ErrorModel, message: &str) {
    let error = routed(line, headers).expect_err(line);
    assert_eq!((error.kind, error.model, error.message.as_str()), (kind, model, message), "{line}");
}

fn namespace(levels: &[&str]) -> Vec<String> {
    levels.iter().map(|level| (*level).to_owned()).collect()
}

fn load(levels: &[&str], name: &str, snapshots: Snapshots) -> Route {
    let ident = TableIdent { namespace: namespace(levels), name: name.to_owned() };
    Route::Catalog(CatalogRequest::LoadTable(LoadTable { ident, snapshots, if_none_match: None }))
}

#[test]
fn every_path_works_at_the_root_and_below_the_mount() {
    for mount in ["", "/lakehouse"] {
        check(&format!("GET {mount}/health"), Route::Health);
        check(&format!("HEAD {mount}/health"), Route::Health);
        check(&format!("GET {mount}/status/"), Route::Status);
        check(&format!("GET {mount}/metrics"), Route::Metrics { json: false });
        check(&format!("POST {mount}/flush"), Route::Flush);
        check(&format!("GET {mount}/v1/settings"), Route::Settings);
        check(&format!("PATCH {mount}/v1/config"), Route::PatchSettings);
        check(&format!("GET {mount}/v1/memory-stats"), Route::MemoryStats);
        check(&format!("GET {mount}/v1/write-stats"), Route::WriteStats);
        check(&format!("GET {mount}/v1/config"), Route::Catalog(CatalogRequest::Config { warehouse: None }));
    }
}

#[test]
fn an_address_that_ends_in_v1_works_for_engines_that_add_their_own() {
    let config = Route::Catalog(CatalogRequest::Config { warehouse: Some("warehouse".to_owned()) });
    check("GET /lakehouse/v1/v1/config?warehouse=warehouse", config);
    check("GET /lakehouse/v1/v1/namespaces/a/tables/t", load(&["a"], "t", Snapshots::All));
}

#[test]
fn a_path_that_only_begins_like_the_mount_is_not_below_it() {
    let model = ErrorModel::Dolake;
    check_error("GET /lakehouses/health", &[], ErrorKind::NotFound, model, "/lakehouses/health: there is no such path");
    assert_eq!(route(&request("GET /health", &[]), ""), Ok(Route::Health));
    assert_eq!(route(&request("GET /a/b/health", &[]), "/a/b/"), Ok(Route::Health));
}

#[test]
fn catalog_paths_are_decoded() {
    check("GET /v1/namespaces/shop/tables/orders", load(&["shop"], "orders", Snapshots::All));
    check("GET /v1/namespaces/a%1Fb/tables/t+1%2F2?snapshots=refs", load(&["a", "b"], "t 1/2", Snapshots::Refs));
    check("GET /v1/namespaces/a/tables/t?snapshots=all&planId=7", load(&["a"], "t", Snapshots::All));
    let exists = CatalogRequest::NamespaceExists(namespace(&["café"]));
    check("HEAD /v1/namespaces/caf%C3%A9", Route::Catalog(exists));
    let loaded = CatalogRequest::LoadNamespace(namespace(&["a", "b"]));
    check("GET /v1/namespaces/a%1fb", Route::Catalog(loaded));
    let ident = TableIdent { namespace: namespace(&["a"]), name: "t".to_owned() };
    check("HEAD /v1/namespaces/a/tables/t", Route::Catalog(CatalogRequest::TableExists(ident)));
    let with_tag = routed("GET /v1/namespaces/a/tables/t", &[("if-none-match", "\"x\"")]);
    let Ok(Route::Catalog(CatalogRequest::LoadTable(load))) = with_tag else { panic!("{with_tag:?}") };
    assert_eq!(load.if_none_match.as_deref(), Some("\"x\""));
}

#[test]
fn listings_take_a_parent_and_pages() {
    let list =
        |parent: &[&str], page| Route::Catalog(CatalogRequest::ListNamespaces { parent: namespace(parent), page });
    let after = |token: &str, size| Page::After { token: token.to_owned(), size };
    check("GET /v1/namespaces", list(&[], Page::All));
    check("GET /v1/namespaces?parent=", list(&[], Page::All));
    check("GET /v1/namespaces?parent=a%1Fb&pageSize=5", list(&["a", "b"], Page::All));
    check("GET /v1/namespaces?pageToken=&pageSize=5", list(&[], after("", 5)));
    check("GET /v1/namespaces?pageToken=xy", list(&[], after("xy", PAGE_SIZE_MAX)));
    let tables = CatalogRequest::ListTables { namespace: namespace(&["a"]), page: after("", PAGE_SIZE_MAX) };
    check("GET /v1/namespaces/a/tables?pageToken=&pageSize=99999999", Route::Catalog(tables));
}

#[test]
fn a_wrong_catalog_request_is_refused_in_icebergs_model() {
    let bad = |line, message| check_error(line, &[], ErrorKind::InvalidRequest, ErrorModel::Iceberg, message);
    bad(
        "GET /v1/namespaces?pageSize=0",
        "query parameter pageSize: expected a whole number from 1 to 2147483647, got \"0\"",
    );
    bad("GET /v1/namespaces?parent=a%1F", "namespace \"a\\u{1f}\": expected no empty level");
    bad("GET /v1/namespaces/a%1F%1Fb", "namespace \"a\\u{1f}\\u{1f}b\": expected no empty level");
    bad("GET /v1/namespaces/%2", "namespace in the path: \"%2\": expected two hexadecimal digits after each '%'");
    bad("GET /v1/namespaces//tables", "namespace in the path: expected a name, got nothing");
    bad(
        "GET /v1/namespaces/a/tables/t?snapshots=some",
        "query parameter snapshots: expected all or refs, got \"some\"",
    );
}

#[test]
fn what_comes_later_is_foreseen() {
    let later = |line, model, what: &str| check(line, Route::NotImplemented { model, what: what.to_owned() });
    later("POST /v1/namespaces", ErrorModel::Iceberg, "creating a namespace");
    later("DELETE /v1/namespaces/a/tables/t", ErrorModel::Iceberg, "dropping a table");
    later("POST /v1/namespaces/a/tables/t/plan", ErrorModel::Iceberg, "planning a scan");
    later("POST /lakehouse/v1/transactions/commit", ErrorModel::Iceberg, "committing to several tables");
    later("GET /v1/namespaces/a/views", ErrorModel::Iceberg, "listing views");
    later("POST /v1/compaction/run", ErrorModel::Dolake, "compaction");
    later("POST /v1/query", ErrorModel::Dolake, "queries");
    later("GET /", ErrorModel::Dolake, "the dashboard");
    later("GET /lakehouse", ErrorModel::Dolake, "the dashboard");
}

#[test]
fn a_wrong_method_is_told_the_right_ones_and_a_wrong_path_is_not_found() {
    let check = |line: &str, status: u16, allow: Option<&str>, model: ErrorModel| {
        let error = routed(line, &[]).expect_err(line);
        let answer = error.answer();
        assert_eq!((answer.head.status, answer.header("allow"), error.model), (status, allow, model), "{line}");
    };
    check("GET /flush", 405, Some("POST"), ErrorModel::Dolake);
    check("POST /health", 405, Some("GET, HEAD"), ErrorModel::Dolake);
    check("PUT /v1/config", 405, Some("PATCH, GET, HEAD"), ErrorModel::Dolake);
    check("PUT /v1/namespaces/a", 405, Some("GET, HEAD, DELETE"), ErrorModel::Iceberg);
    check("GET /v1/namespaces/a/b/c", 404, None, ErrorModel::Iceberg);
    check("GET /v1/nothing", 404, None, ErrorModel::Dolake);
    check("GET /HEALTH", 404, None, ErrorModel::Dolake);
}

#[test]
fn metrics_are_json_for_those_who_accept_it() {
    let check = |accept: &str, json: bool| {
        assert_eq!(routed("GET /metrics", &[("accept", accept)]), Ok(Route::Metrics { json }), "{accept}");
    };
    check("application/json", true);
    check("text/html, Application/JSON;q=0.9", true);
    check("text/plain;version=0.0.4", false);
    check("*/*", false);
}

#[test]
fn a_wait_names_a_snapshot_or_an_event() {
    let wait = |target, timeout_ms| Route::Wait(WaitRequest { target, timeout_ms });
    let event =
        |epoch: &str, sequence| WaitTarget::Event { source: "a b".to_owned(), epoch: epoch.to_owned(), sequence };
    check("GET /v1/wait?snapshot=42", wait(WaitTarget::Snapshot(42), WAIT_TIMEOUT_MS_DEFAULT));
    check("GET /v1/wait?source=a%20b&sequence=7", wait(event("", 7), WAIT_TIMEOUT_MS_DEFAULT));
    check("GET /v1/wait?source=a+b&epoch=e&sequence=7&timeoutMs=0", wait(event("e", 7), 0));
}

#[test]
fn a_wait_that_makes_no_sense_is_refused() {
    let bad = |line, message| check_error(line, &[], ErrorKind::InvalidRequest, ErrorModel::Dolake, message);
    bad("GET /v1/wait", "query parameter snapshot: expected either snapshot or source and sequence, got neither");
    bad("GET /v1/wait?snapshot=1&source=a", "query parameter snapshot: expected either snapshot or source, got both");
    bad("GET /v1/wait?source=a", "query parameter sequence: expected a value, got nothing");
    bad("GET /v1/wait?source=&sequence=1", "query parameter source: expected 1 to 256 bytes, got 0");
    bad("GET /v1/wait?snapshot=1&sequence=1", "query parameter \"sequence\": expected one of snapshot, timeoutMs");
    bad(
        "GET /v1/wait?snapshot=1&timeoutms=5",
        "query parameter \"timeoutms\": expected one of snapshot, source, epoch, sequence, timeoutMs",
    );
    bad(
        "GET /v1/wait?snapshot=1&timeoutMs=300001",
        "query parameter timeoutMs: expected a whole number from 0 to 300000, got \"300001\"",
    );
}

#[test]
fn events_without_a_socket_say_who_they_are_and_how_they_are_packed() {
    let cdc = |line: &str, headers: &[(&str, &str)]| match routed(line, headers) {
        Ok(Route::Cdc(cdc)) => cdc,
        other => panic!("{other:?}"),
    };
    let plain = cdc("POST /cdc", &[("x-client-id", "s1")]);
    let expected = CdcRequest {
        source: "s1".to_owned(),
        format: BodyFormat::Json,
        encoding: BodyEncoding::Identity,
        sequence_number: None,
        source_epoch: None,
    };
    assert_eq!(plain, expected);
    let lines = cdc(
        "POST /cdc?sequenceNumber=3&sourceEpoch=e1",
        &[("x-client-id", "s1"), ("content-type", "application/x-ndjson; charset=utf-8"), ("content-encoding", "zstd")],
    );
    let expected = CdcRequest {
        format: BodyFormat::Ndjson,
        encoding: BodyEncoding::Zstd,
        sequence_number: Some(3),
        source_epoch: Some("e1".to_owned()),
        ..expected
    };
    assert_eq!(lines, expected);
}

#[test]
fn events_without_a_socket_that_cannot_be_read_are_refused() {
    let client = ("x-client-id", "s1");
    let bad = |line: &str, headers: &[(&str, &str)], kind, message: &str| {
        check_error(line, headers, kind, ErrorModel::Dolake, message);
    };
    let invalid = ErrorKind::InvalidRequest;
    let unsupported = ErrorKind::UnsupportedMediaType;
    bad(
        "POST /cdc",
        &[],
        invalid,
        "header X-Client-ID: expected 1 to 256 bytes without control characters, got 0 bytes",
    );
    bad(
        "POST /cdc",
        &[client, ("content-type", "text/csv")],
        unsupported,
        "header Content-Type: expected application/json or application/x-ndjson, got \"text/csv\"",
    );
    bad(
        "POST /cdc",
        &[client, ("content-encoding", "br")],
        unsupported,
        "header Content-Encoding: expected gzip or zstd, got \"br\"",
    );
    bad(
        "POST /cdc?sequenceNumber=1",
        &[client],
        invalid,
        "query: expected none with a JSON body, which carries these values itself",
    );
}

proptest::proptest! {
    #[test]
    fn any_request_is_routed_or_refused_with_an_answer(
        method in "GET|HEAD|POST|PATCH|[A-Z]{0,5}",
        path in "(/lakehouse)?(/v1)?/(namespaces|config|wait|cdc|[a-z%+0-9/]{0,8})(/[a-zé%0-9+]{0,4}(/tables(/.{0,6})?)?)?",
        query in proptest::option::of("(snapshot|source|sequence|pageSize|pageToken|parent|snapshots)?=?.{0,8}&?.{0,6}"),
    ) {
        let head = RequestHead { method, path, query, headers: vec![("x-client-id".to_owned(), "s".to_owned())] };
        if let Err(error) = route(&head, "/lakehouse") {
            let answer = error.answer();
            assert!((400..500).contains(&answer.head.status) && !answer.body.is_empty(), "{error:?}");
        }
    }
}
