//! What a commit says of its table, and what it leaves to be cleaned up.

use std::collections::BTreeSet;

use serde_json::json;

use super::host::{Host, LOCATION, config};
use crate::catalog::TablePointer;
use crate::event::{ConnId, Event, Frame};
use crate::journal::rows::{GARBAGE_PREFIX, GarbageRow};

#[test]
fn a_table_is_as_fresh_as_the_newest_event_of_its_own_that_was_written() {
    let mut host = Host::new(config());
    host.connect(1);
    let send = |host: &mut Host, number: u64, events: &[(u64, &str, i64)]| {
        let event = |(sequence, table, timestamp): &(u64, &str, i64)| {
            json!({ "sequence": sequence, "timestamp": timestamp, "operation": "INSERT", "table": table, "rowId": "r",
                "after": { "n": 1 } })
        };
        let message = json!({ "type": "cdc_batch", "timestamp": 0, "sourceDoId": "s1", "sequenceNumber": number,
            "firstEventSequence": events[0].0, "lastEventSequence": events[events.len() - 1].0, "sizeBytes": 0,
            "isRetry": false, "retryCount": 0, "events": events.iter().map(event).collect::<Vec<_>>() });
        host.step(Event::Received { conn: ConnId(1), frame: Frame::Text(message.to_string().into()) });
    };
    send(&mut host, 1, &[(1, "old", -100_000), (2, "new", 0), (3, "old", -200_000)]);
    host.pass(20_000);
    assert_eq!(host.mark(1), 1);
    let fresh: Vec<(String, u64)> =
        host.status().tables.into_iter().map(|table| (table.name, table.freshness_ms)).collect();
    assert_eq!(fresh, [("default.new".to_owned(), 20_000), ("default.old".to_owned(), 120_000)]);
}

#[test]
fn a_frontier_object_is_garbage_once_another_took_its_place() {
    let mut host = Host::new(config());
    for n in 1..=250 {
        host.connect(n);
        host.send(n, 1, &["good"]);
    }
    host.pass(5_000);
    host.send(1, 2, &["good"]);
    host.pass(20_000);
    let frontiers: BTreeSet<String> = host.store.keys().filter(|key| key.contains("/frontier-")).cloned().collect();
    let rows = host.journal.iter().filter(|(key, _)| key.starts_with(GARBAGE_PREFIX));
    let garbage = rows.flat_map(|(key, value)| GarbageRow::decode(key, value).expect("our own journal").locations);
    let garbage: BTreeSet<String> = garbage
        .filter_map(|(location, _)| Some(location.strip_prefix(LOCATION)?.strip_prefix('/')?.to_owned()))
        .collect();
    let (_, pointer) = host.journal.iter().find(|(key, _)| key.starts_with(b"c/t/")).expect("a table");
    let location = TablePointer::decode(pointer).expect("our own journal").metadata_location;
    let metadata = &host.store[location.strip_prefix("mem://lake/").expect("in the store")];
    let metadata = std::str::from_utf8(metadata).expect("JSON");
    let (live, former): (Vec<_>, Vec<_>) = frontiers.iter().partition(|key| metadata.contains(key.as_str()));
    assert_eq!((live.len(), former.len()), (1, 1), "{frontiers:?}");
    assert!(garbage.contains(former[0]) && !garbage.contains(live[0]), "{garbage:?}");
}

#[test]
fn a_start_writes_the_hints_again_of_the_last_commit_only() {
    let hint = |table: &str| format!("warehouse/default/{table}/metadata/version-hint.text");
    let mut host = Host::new(config());
    host.connect(1);
    host.send(1, 1, &["one", "two"]);
    host.pass(20_000);
    host.send(1, 2, &["two", "three"]);
    host.pass(20_000);
    let written = ["one", "two", "three"].map(|table| host.store.remove(&hint(table)));
    assert!(written.iter().all(Option::is_some));
    for _ in 0..2 {
        host.restart();
        host.pass(20_000);
        let again = ["one", "two", "three"].map(|table| host.store.remove(&hint(table)));
        assert_eq!(again, [None, written[1].clone(), written[2].clone()]);
    }
}

#[test]
fn a_hint_that_could_not_be_written_before_the_machine_died_is_written_at_the_next_start() {
    let hint = "warehouse/default/one/metadata/version-hint.text";
    let mut host = Host::new(config());
    host.broken = vec!["one/metadata/version-hint"];
    host.connect(1);
    host.send(1, 1, &["one"]);
    host.pass(20_000);
    host.send(1, 2, &["two"]);
    host.pass(20_000);
    assert_eq!(host.mark(1), 2);
    host.broken.clear();
    host.restart();
    host.pass(20_000);
    assert!(host.store.contains_key(hint));
}
