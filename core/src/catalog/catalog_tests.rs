use serde_json::Value;
use uuid::Uuid;

use super::*;

/// `a.b.t1`, `a.b.t2`, `shop.orders`, and the namespace `empty`.
struct Lake {
    namespaces: BTreeMap<Vec<String>, Namespace>,
    tables: BTreeMap<TableIdent, TablePointer>,
    defaults: BTreeMap<String, String>,
}

fn strings(parts: &[&str]) -> Vec<String> {
    parts.iter().map(|part| (*part).to_owned()).collect()
}

fn ident(namespace: &[&str], name: &str) -> TableIdent {
    TableIdent { namespace: strings(namespace), name: name.to_owned() }
}

fn lake() -> Lake {
    let pointer = |ident: &TableIdent| TablePointer {
        uuid: Uuid::from_u128(1),
        metadata_location: format!("file:///lake/{ident}.json"),
        folder: format!("{ident}"),
        cdc_table: None,
    };
    let tables = [ident(&["a", "b"], "t1"), ident(&["a", "b"], "t2"), ident(&["shop"], "orders")];
    let properties = BTreeMap::from([("owner".to_owned(), "me".to_owned())]);
    Lake {
        namespaces: BTreeMap::from([
            (strings(&["empty"]), Namespace { properties }),
            (strings(&["shop"]), Namespace::default()),
        ]),
        tables: tables.into_iter().map(|ident| (ident.clone(), pointer(&ident))).collect(),
        defaults: BTreeMap::from([("s3.region".to_owned(), "auto".to_owned())]),
    }
}

fn ask(request: &CatalogRequest) -> Result<CatalogAnswer, HttpError> {
    let lake = lake();
    let view = CatalogView {
        warehouses: &["warehouse", "file:///lake"],
        config_defaults: &lake.defaults,
        namespaces: &lake.namespaces,
        tables: &lake.tables,
    };
    answer(&view, request)
}

fn ready(request: &CatalogRequest) -> Answer {
    match ask(request) {
        Ok(CatalogAnswer::Ready(answer)) => answer,
        other => panic!("{other:?}"),
    }
}

fn check(request: &CatalogRequest, status: u16, body: &Value) {
    let answer = ready(request);
    assert_eq!(answer.head.status, status);
    assert_eq!(&serde_json::from_slice::<Value>(&answer.body).unwrap_or(Value::Null), body);
}

fn check_missing(request: &CatalogRequest, exception: &str, message: &str) {
    let answer = ask(request).expect_err("missing").answer();
    let body: Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!(body, json!({"error": {"message": message, "type": exception, "code": 404}}));
    assert_eq!(answer.head.status, 404);
}

#[test]
fn the_config_names_defaults_overrides_and_what_works() {
    let endpoints = catalog_endpoints();
    let expected = json!({"defaults": {"s3.region": "auto"}, "overrides": {}, "endpoints": endpoints});
    for warehouse in [None, Some("warehouse".to_owned()), Some("file:///lake".to_owned())] {
        check(&CatalogRequest::Config { warehouse }, 200, &expected);
    }
    let unknown = CatalogRequest::Config { warehouse: Some("x".to_owned()) };
    let message = "Warehouse does not exist: x; expected warehouse, file:///lake or none";
    check_missing(&unknown, "NoSuchWarehouseException", message);
}

#[test]
fn namespaces_are_listed_level_by_level_also_those_that_only_tables_name() {
    let list = |parent: &[&str]| CatalogRequest::ListNamespaces { parent: strings(parent), page: Page::All };
    let expected = |namespaces: Value| json!({"namespaces": namespaces, "next-page-token": null});
    check(&list(&[]), 200, &expected(json!([["a"], ["empty"], ["shop"]])));
    check(&list(&["a"]), 200, &expected(json!([["a", "b"]])));
    check(&list(&["a", "b"]), 200, &expected(json!([])));
    check(&list(&["empty"]), 200, &expected(json!([])));
    check_missing(&list(&["b"]), "NoSuchNamespaceException", "Namespace does not exist: b");
}

#[test]
fn a_namespace_is_loaded_and_exists() {
    let load = |levels: &[&str]| CatalogRequest::LoadNamespace(strings(levels));
    check(&load(&["empty"]), 200, &json!({"namespace": ["empty"], "properties": {"owner": "me"}}));
    check(&load(&["a"]), 200, &json!({"namespace": ["a"], "properties": {}}));
    let exists = |levels: &[&str]| CatalogRequest::NamespaceExists(strings(levels));
    for levels in [&["a"][..], &["a", "b"], &["empty"], &["shop"]] {
        check(&exists(levels), 204, &Value::Null);
    }
    for levels in [&["b"][..], &["a", "c"], &["a", "b", "c"], &["emp"], &["z"]] {
        let message = format!("Namespace does not exist: {}", levels.join("."));
        check_missing(&exists(levels), "NoSuchNamespaceException", &message);
        check_missing(&load(levels), "NoSuchNamespaceException", &message);
    }
}

#[test]
fn tables_are_listed_right_in_their_namespace_in_pages() {
    let list = |levels: &[&str], page| CatalogRequest::ListTables { namespace: strings(levels), page };
    let table = |name: &str| json!({"namespace": ["a", "b"], "name": name});
    let both = json!({"identifiers": [table("t1"), table("t2")], "next-page-token": null});
    check(&list(&["a", "b"], Page::All), 200, &both);
    check(&list(&["a"], Page::All), 200, &json!({"identifiers": [], "next-page-token": null}));
    let page = |token: &str| list(&["a", "b"], Page::After { token: token.to_owned(), size: 1 });
    check(&page(""), 200, &json!({"identifiers": [table("t1")], "next-page-token": "7431"}));
    check(&page("7431"), 200, &json!({"identifiers": [table("t2")], "next-page-token": null}));
    check_missing(&list(&["c"], Page::All), "NoSuchNamespaceException", "Namespace does not exist: c");
}

#[test]
fn a_table_exists_under_its_exact_name() {
    check(&CatalogRequest::TableExists(ident(&["a", "b"], "t1")), 204, &Value::Null);
    for (levels, name) in [(&["a", "b"][..], "t3"), (&["a"], "t1"), (&["shop"], "Orders"), (&["x"], "t")] {
        let missing = CatalogRequest::TableExists(ident(levels, name));
        let message = format!("Table does not exist: {}.{name}", levels.join("."));
        check_missing(&missing, "NoSuchTableException", &message);
    }
}

#[test]
fn a_load_asks_for_the_metadata_unless_the_client_has_it() {
    let load = |snapshots, if_none_match: Option<String>| {
        CatalogRequest::LoadTable(LoadTable { ident: ident(&["shop"], "orders"), snapshots, if_none_match })
    };
    let Ok(CatalogAnswer::NeedsMetadata(wanted)) = ask(&load(Snapshots::All, None)) else { panic!("no metadata") };
    assert_eq!(wanted.metadata_location, "file:///lake/shop.orders.json");
    let cached = ready(&load(Snapshots::All, Some(wanted.etag())));
    assert_eq!((cached.head.status, cached.header("etag")), (304, Some(wanted.etag().as_str())));
    assert!(cached.body.is_empty());
    let in_another_shape = ask(&load(Snapshots::Refs, Some(wanted.etag())));
    assert!(matches!(in_another_shape, Ok(CatalogAnswer::NeedsMetadata(_))));
    let missing = LoadTable { ident: ident(&["shop"], "x"), snapshots: Snapshots::All, if_none_match: None };
    let message = "Table does not exist: shop.x";
    check_missing(&CatalogRequest::LoadTable(missing), "NoSuchTableException", message);
}
