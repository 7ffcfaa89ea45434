//! Whose store it is: nothing is written to one that may be another's, and no lake goes on in a store without its tables.

use bytes::Bytes;

use super::host::{Host, config};

const HINT: &str = "warehouse/default/good/metadata/version-hint.text";
const MARKER: &str = "dolake.json";

/// A lake with a table.
fn lake() -> Host {
    let mut host = Host::new(config());
    host.connect(1);
    host.send(1, 1, &["good"]);
    host.pass(20_000);
    host.check("good", &[("s1", 10)]);
    host.may_halt = true;
    host
}

#[test]
fn nothing_is_written_to_a_store_that_is_another_lakes() {
    let mut host = lake();
    let marker = r#"{"format-version":1,"lake":"00000000-0000-4000-8000-000000000001"}"#;
    host.store.insert(MARKER.to_owned(), Bytes::from_static(marker.as_bytes()));
    host.store.insert(HINT.to_owned(), Bytes::from_static(b"theirs"));
    host.restart();
    host.pass(1_000);
    assert!(host.halted.is_some_and(|reason| reason.contains("another lake")));
    assert_eq!(host.store[HINT], "theirs");
}

#[test]
fn hints_wait_for_the_stores_answer_without_waking_anyone() {
    let mut host = lake();
    host.store.remove(HINT);
    host.unreadable = vec![MARKER];
    host.restart();
    host.pass(600_000);
    assert!(!host.store.contains_key(HINT), "nobody knows whose store it is");
    host.unreadable.clear();
    host.pass(60_000);
    assert!(host.store.contains_key(HINT));
}

#[test]
fn a_journal_with_tables_claims_no_store_that_has_none() {
    let mut host = lake();
    let store = std::mem::take(&mut host.store);
    host.restart();
    host.connect(1);
    host.send(1, 2, &["good"]);
    host.pass(20_000);
    let reason = host.halted.take().expect("the tables are elsewhere");
    for told in ["expected the store that they were written to", "Name that store again", MARKER, "\"lake\":"] {
        assert!(reason.contains(told), "{told} in {reason}");
    }
    assert!(host.store.is_empty(), "{:?}", host.store.keys());

    host.store = store;
    host.restart();
    host.connect(1);
    host.send(1, 2, &["good"]);
    host.pass(20_000);
    host.check("good", &[("s1", 10), ("s1", 20)]);
}

#[test]
fn a_marker_that_is_lost_can_be_put_back_as_the_machine_says() {
    let mut host = lake();
    let marker = host.store.remove(MARKER).expect("a marker");
    host.restart();
    host.pass(1_000);
    let reason = host.halted.take().expect("it may be another's store");
    assert!(reason.contains(std::str::from_utf8(&marker).expect("JSON")), "{reason}");
}

#[test]
fn a_life_that_ended_before_it_marked_its_store_is_followed_by_one_that_does() {
    let mut host = Host::new(config());
    host.dies_after = Some(1);
    host.pass(1_000);
    assert!(host.journal.contains_key(&b"c/lake"[..]) && host.store.is_empty());
    host.restart();
    host.connect(1);
    host.send(1, 1, &["good"]);
    host.pass(20_000);
    assert!(host.store.contains_key(MARKER));
    host.check("good", &[("s1", 10)]);
}
