//! A table whose folder takes no writes.

use std::collections::BTreeMap;

use super::host::{Host, config, outage};
use crate::config::Config;
use crate::event::Event;
use crate::limits::MANIFESTS_MAX;
use crate::seed::{Draws, Seed};
use crate::wire::server::FlushResult;

#[test]
fn other_tables_and_other_sources_go_on_while_one_table_is_parked() {
    let mut host = outage(config());
    host.send(1, 1, &["good"]);
    host.send(1, 2, &["good", "bad"]);
    host.send(2, 1, &["good"]);
    host.pass(5_000);
    host.check("good", &[("s1", 10), ("s1", 20), ("s2", 10)]);
    assert_eq!(host.parked(), [("bad".to_owned(), 1)]);
    assert_eq!((host.mark(1), host.mark(2)), (1, 1), "no mark passes batch 2 of the first source");

    host.send(1, 3, &["bad"]);
    host.send(1, 4, &["good"]);
    host.send(2, 2, &["good"]);
    host.pass(5_000);
    host.check("good", &[("s1", 10), ("s1", 20), ("s1", 40), ("s2", 10), ("s2", 20)]);
    assert_eq!(host.parked(), [("bad".to_owned(), 2)]);
    assert_eq!((host.mark(1), host.mark(2)), (1, 2));
}

#[test]
fn what_is_parked_survives_a_restart_and_comes_into_the_lake_once_when_its_table_can_be_written() {
    let mut host = outage(config());
    host.send(1, 1, &["bad", "good"]);
    host.pass(5_000);
    host.send(1, 2, &["bad"]);
    host.pass(5_000);
    host.restart();
    host.connect(1);
    host.pass(5_000);
    assert_eq!((host.parked(), host.mark(1)), (vec![("bad".to_owned(), 2)], 0), "a greeting claims no more");

    host.send(1, 3, &["bad", "good"]);
    host.broken.clear();
    host.pass(20_000);
    host.check("bad", &[("s1", 10), ("s1", 20), ("s1", 30)]);
    host.check("good", &[("s1", 11), ("s1", 31)]);
    assert_eq!((host.parked(), host.mark(1)), (vec![], 3));
    assert!(!host.journal.keys().any(|key| key.starts_with(b"b")), "nothing is left in the journal");
    host.restart();
    host.connect(1);
    assert_eq!(host.mark(1), 3);
}

#[test]
fn a_table_that_was_written_before_is_parked_and_goes_on_where_it_was() {
    let mut host = Host::new(config());
    host.connect(1);
    host.send(1, 1, &["bad", "good"]);
    host.pass(5_000);
    host.broken = vec!["/bad/"];
    host.send(1, 2, &["bad", "good"]);
    host.pass(5_000);
    assert_eq!((host.parked(), host.mark(1)), (vec![("bad".to_owned(), 1)], 1));
    assert_eq!(host.status().source_states[0].last_persisted_sequence, 1);
    host.broken.clear();
    host.pass(10_000);
    host.check("bad", &[("s1", 10), ("s1", 20)]);
    assert_eq!(host.mark(1), 2);
}

#[test]
fn a_table_that_fails_alone_is_not_parked_before_another_one_shows_that_the_store_works() {
    let mut host = outage(config());
    host.send(1, 1, &["bad"]);
    host.pass(20_000);
    assert_eq!(host.parked(), []);
    host.send(2, 1, &["good"]);
    host.pass(120_000);
    assert_eq!(host.parked(), [("bad".to_owned(), 1)]);
    host.check("good", &[("s2", 10)]);
    assert_eq!((host.mark(1), host.mark(2)), (0, 1));
}

#[test]
fn a_table_that_fills_a_flush_alone_gives_way_to_those_behind_it() {
    let mut host = outage(Config { flush_threshold_bytes: 1, ..config() });
    host.send(1, 1, &["bad"]);
    host.send(2, 1, &["good"]);
    host.pass(120_000);
    assert_eq!(host.parked(), [("bad".to_owned(), 1)]);
    host.check("good", &[("s2", 10)]);
}

#[test]
fn a_parked_table_whose_time_has_come_is_not_held_up_by_another_that_fails() {
    let mut host = outage(config());
    host.broken = vec!["/bad/", "/worse/"];
    host.send(1, 1, &["bad", "good"]);
    host.pass(120_000);
    assert_eq!(host.parked(), [("bad".to_owned(), 1)]);
    host.send(2, 1, &["worse"]);
    host.broken = vec!["/worse/"];
    host.pass(600_000);
    host.check("bad", &[("s1", 10)]);
    assert_eq!(host.parked(), [("worse".to_owned(), 1)]);
}

#[test]
fn a_store_that_takes_nothing_parks_nothing() {
    let mut host = outage(config());
    host.broken = vec!["warehouse/"];
    host.send(1, 1, &["bad", "good"]);
    host.pass(60_000);
    host.send(2, 1, &["other"]);
    host.pass(60_000);
    assert_eq!(host.parked(), []);
    host.broken.clear();
    host.pass(60_000);
    host.check("bad", &[("s1", 10)]);
    host.check("good", &[("s1", 11)]);
    host.check("other", &[("s2", 10)]);
}

#[test]
fn past_its_limit_a_table_holds_up_the_flush_and_nothing_is_lost() {
    let mut host = outage(Config { max_parked_bytes: 2_000, ..config() });
    for number in 1..=4 {
        host.send(1, number, &["bad", "good"]);
        host.pass(12_000);
    }
    assert_eq!(host.parked(), [("bad".to_owned(), 2)], "the third has no room");
    host.check("good", &[("s1", 11), ("s1", 21)]);
    host.broken.clear();
    host.pass(60_000);
    host.check("bad", &[("s1", 10), ("s1", 20), ("s1", 30), ("s1", 40)]);
    host.check("good", &[("s1", 11), ("s1", 21), ("s1", 31), ("s1", 41)]);
    assert_eq!((host.parked(), host.mark(1)), (vec![], 4));
}

/// What the journal holds of parked entries counts so much.
fn parked_bytes(host: &Host) -> usize {
    host.journal.iter().filter(|(key, _)| key.starts_with(b"b\x01")).map(|(_, value)| value.len() + 512).sum()
}

#[test]
fn events_that_stand_aside_while_older_ones_are_tried_count_against_the_limit() {
    let mut host = outage(Config { max_parked_bytes: 2_000, flush_threshold_bytes: 1, ..config() });
    for number in 1..=4 {
        host.send(1, number, &["bad", "good"]);
        host.pass(12_000);
    }
    assert!(parked_bytes(&host) <= 2_000, "{} bytes are parked", parked_bytes(&host));
    assert_eq!(host.parked(), [("bad".to_owned(), 2)], "the third has no room");
    host.broken.clear();
    host.pass(60_000);
    assert_eq!((host.parked(), host.mark(1)), (vec![], 4));
}

#[test]
fn a_table_beyond_its_limit_holds_up_no_other_while_it_has_no_new_events() {
    let mut host = outage(Config { max_parked_bytes: 4_000, ..config() });
    host.send(1, 1, &["bad", "good"]);
    host.pass(5_000);
    assert_eq!(host.parked(), [("bad".to_owned(), 1)]);
    host.config.max_parked_bytes = 600;
    host.restart();
    host.connect(2);
    for number in 1..=20 {
        host.send(2, number, &["good"]);
        host.request("POST", "/flush");
        host.pass(3_000);
    }
    assert_eq!(host.mark(2), 20);
}

#[test]
fn one_who_asks_for_a_flush_is_told_what_is_parked_after_it_was_tried() {
    let mut host = outage(config());
    host.send(1, 1, &["bad", "good"]);
    host.pass(8_000);
    let ask = |host: &mut Host| -> (u16, FlushResult) {
        host.request("POST", "/flush");
        host.pass(1_000);
        let (status, body) = host.answers.pop().expect("an answer");
        (status, serde_json::from_slice(&body).expect("a flush result"))
    };
    let (status, result) = ask(&mut host);
    assert_eq!((status, result.success), (503, false));
    assert!(result.error.as_deref().is_some_and(|error| error.contains("parked: bad;")), "{:?}", result.error);
    host.broken.clear();
    let (status, result) = ask(&mut host);
    assert_eq!((status, result.success, result.events_flushed), (200, true, 1));
    host.check("bad", &[("s1", 10)]);
}

#[test]
fn tries_of_a_parked_table_come_less_and_less_often_and_open_no_breaker() {
    let mut host = outage(config());
    host.send(1, 1, &["bad", "good"]);
    host.pass(30_000);
    let before = host.saves;
    host.pass(600_000);
    let tries = (host.saves - before) / 2;
    assert!((60..=130).contains(&tries), "{tries} tries in ten minutes, with 5 to 10 s between them");
    assert_eq!(host.status().circuit_breaker, crate::wire::server::CircuitBreakerState::Closed);
}

#[test]
fn stopping_tries_a_parked_table_once_more_and_does_not_wait_for_it() {
    let mut host = outage(config());
    host.send(1, 1, &["bad", "good"]);
    host.pass(8_000);
    host.step(Event::Shutdown);
    host.pass(2_000);
    assert!(host.stopped);
    assert_eq!(host.parked(), [("bad".to_owned(), 1)]);
}

#[test]
fn what_many_full_tables_must_load_is_limited_in_all() {
    const BAD: [&str; 8] = ["/b0/", "/b1/", "/b2/", "/b3/", "/b4/", "/b5/", "/b6/", "/b7/"];
    let tables: Vec<&str> = BAD.iter().map(|folder| folder.trim_matches('/')).chain(["good"]).collect();
    let mut host = outage(Config { max_parked_bytes: 16_000, flush_threshold_bytes: 9_000, ..config() });
    host.broken = BAD.to_vec();
    let mut number = 0;
    while host.events("good").len() == number as usize {
        number += 1;
        host.send(1, number, &tables);
        host.pass(12_000);
    }
    for _ in 0..4 {
        number += 1;
        host.send(1, number, &tables);
    }
    host.broken.clear();
    host.pass(600_000);
    for table in &tables {
        assert_eq!(host.events(table).len() as u64, number, "{table}");
    }
    assert!(host.loaded.1 < 20_000, "{} bytes were loaded for one flush", host.loaded.1);
}

const TABLES: [&str; 3] = ["t0", "t1", "t2"];

/// What one source sent: the tables of each batch, by its number.
type Sent = BTreeMap<u64, Vec<&'static str>>;

/// Kills the machine if it is to die, and lets the producers connect and send again what was not acked.
fn revive(host: &mut Host, sent: &BTreeMap<u64, Sent>) {
    if host.dies_after != Some(0) {
        return;
    }
    host.restart();
    for (source, batches) in sent {
        host.connect(*source);
        for (number, tables) in batches {
            if !host.acked.contains(&(*source, *number)) {
                host.send(*source, *number, tables);
            }
        }
    }
}

/// No mark says more than what is in the lake (promise 1).
fn check_marks(host: &Host, sent: &BTreeMap<u64, Sent>, seed: u128) {
    let in_lake = TABLES.map(|table| host.events(table));
    for (source, batches) in sent {
        for (number, tables) in batches.range(..=host.mark(*source)) {
            for (index, table) in (0..).zip(tables) {
                let event = (format!("s{source}"), number * 10 + index);
                let table = TABLES.iter().position(|name| name == table).expect("one of ours");
                assert!(in_lake[table].contains(&event), "seed {seed}: {event:?} is marked and not in the lake");
            }
        }
    }
}

/// Folders fail and heal, the machine dies between any two commands; in the end all is in the lake, once. Returns
/// whether a table was parked on the way.
fn live_through(seed: u128) -> bool {
    let mut was_parked = false;
    let mut draws = Draws::new(Seed(seed));
    let max_parked_bytes = [1_500, 5_000, 1 << 20][draws.below(3) as usize];
    let memory_budget_bytes = [16 << 20, 64 << 20][draws.below(2) as usize];
    let mut host = Host::new(Config { max_parked_bytes, memory_budget_bytes, ..config() });
    let mut sent: BTreeMap<u64, Sent> = BTreeMap::from([(1, Sent::new()), (2, Sent::new())]);
    host.connect(1);
    host.connect(2);
    for _ in 0..60 {
        match draws.below(10) {
            0..=4 => {
                let source = 1 + draws.below(2);
                let batches = sent.get_mut(&source).expect("two sources");
                let number = batches.len() as u64 + 1;
                let mask = 1 + draws.below(7);
                let tables: Vec<_> = (0..3).filter(|n| mask & (1 << n) != 0).map(|n| TABLES[n]).collect();
                batches.insert(number, tables.clone());
                host.send(source, number, &tables);
            }
            5 => {
                host.broken =
                    [vec!["/t1/"], vec!["/t0/", "/t2/"], vec!["warehouse/"], vec![]][draws.below(4) as usize].clone();
            }
            6 => host.dies_after = Some(draws.below(60)),
            _ => host.pass(draws.below(8_000) as i64),
        }
        revive(&mut host, &sent);
        was_parked |= host.journal.keys().any(|key| key.starts_with(b"b\x01"));
        if draws.below(4) == 0 {
            check_marks(&host, &sent, seed);
        }
    }
    host.dies_after = Some(0);
    revive(&mut host, &sent);
    host.broken.clear();
    host.pass(60_000);
    for table in TABLES {
        let mut expected = Vec::new();
        for (source, batches) in &sent {
            for (number, tables) in batches {
                let index = tables.iter().position(|name| *name == table);
                expected.extend(index.map(|index| (format!("s{source}"), number * 10 + index as u64)));
            }
        }
        assert_eq!(host.events(table), expected, "seed {seed}, table {table}");
    }
    for (source, batches) in &sent {
        assert_eq!(host.mark(*source), batches.len() as u64, "seed {seed}, source {source}");
    }
    assert!(!host.journal.keys().any(|key| key.starts_with(b"b")), "seed {seed}: nothing is left in the journal");
    was_parked
}

#[test]
fn whatever_fails_and_whenever_the_machine_dies_every_event_comes_into_the_lake_once() {
    let parked = (0..60).filter(|seed| live_through(*seed)).count();
    assert!(parked >= 30, "only {parked} lives had a parked table");
}

#[test]
fn a_damaged_manifest_that_is_to_be_merged_parks_its_table() {
    let mut host = Host::new(config());
    host.connect(1);
    let many = u64::try_from(MANIFESTS_MAX).expect("few") + 1;
    for number in 1..=many {
        host.send(1, number, &["bad", "good"]);
        host.pass(5_000);
    }
    let is_manifest = |key: &String| key.contains("/bad/metadata/") && key.contains("-m") && key.ends_with(".avro");
    let manifests: Vec<String> = host.store.keys().filter(|key| is_manifest(key)).cloned().collect();
    let sound: Vec<_> = manifests.iter().map(|key| (key.clone(), host.store[key].clone())).collect();
    for key in &manifests {
        let length = host.store[key].len();
        host.store.insert(key.clone(), vec![0; length].into());
    }
    host.restart();
    host.connect(1);
    host.send(1, many + 1, &["bad", "good"]);
    host.pass(30_000);
    assert_eq!((host.parked(), host.mark(1)), (vec![("bad".to_owned(), 1)], many));
    assert_eq!(host.events("good").len() as u64, many + 1);

    host.store.extend(sound);
    host.pass(30_000);
    assert_eq!((host.parked(), host.mark(1)), (vec![], many + 1));
    assert_eq!(host.events("bad").len() as u64, many + 1);
}

/// What a damaged store, or another writer, may have made of a table's metadata.
const SPOILT: [(&str, &str); 11] = [
    ("\"format-version\":2", "\"format-version\":3"),
    ("\"default-spec-id\":0", "\"default-spec-id\":7"),
    ("\"location\":\"mem://lake/", "\"location\":\"mem://lame/"),
    ("\"last-sequence-number\":1", "\"last-sequence-number\":9223372036854775807"),
    ("\"last-updated-ms\":", "\"last-updated-ms\":9223372036854775807,\"x\":"),
    ("\"last-column-id\":", "\"last-column-id\":2147483647,\"x\":"),
    ("\"type\":\"long\"", "\"type\":\"decimal(60, 0)\""),
    ("\"type\":\"long\"", "\"type\":\"fixed[99999999999]\""),
    ("\"current-schema-id\":0", "\"current-schema-id\":5"),
    ("\"current-snapshot-id\":", "\"current-snapshot-id\":5,\"x\":"),
    ("\"table-uuid\":\"", "\"table-uuid\":\"00000000-0000-4000-8000-000000000001\",\"x\":\""),
];

#[test]
fn metadata_that_no_commit_can_follow_parks_its_table_until_it_is_mended() {
    for (sound, spoilt) in SPOILT {
        let mut host = Host::new(config());
        host.connect(1);
        host.send(1, 1, &["bad", "good"]);
        host.pass(5_000);
        let is_metadata = |key: &&String| key.contains("/bad/") && key.ends_with(".metadata.json");
        let key = host.store.keys().find(is_metadata).expect("one commit").clone();
        let before = host.store[&key].clone();
        let text = std::str::from_utf8(&before).expect("JSON");
        assert!(text.contains(sound), "{sound} in {text}");
        host.store.insert(key.clone(), text.replacen(sound, spoilt, 1).into());
        host.restart();
        host.connect(1);
        host.send(1, 2, &["bad", "good"]);
        host.pass(30_000);
        assert_eq!((host.parked(), host.mark(1)), (vec![("bad".to_owned(), 1)], 1), "{spoilt}");
        host.check("good", &[("s1", 11), ("s1", 21)]);

        host.store.insert(key, before);
        host.pass(30_000);
        host.check("bad", &[("s1", 10), ("s1", 20)]);
        assert_eq!((host.parked(), host.mark(1)), (vec![], 2), "{spoilt}");
    }
}

#[test]
fn a_parked_table_does_not_starve_behind_one_that_is_tried_again_and_again() {
    let mut host = Host::new(Config { flush_threshold_bytes: 1, ..config() });
    host.broken = vec!["/first/", "/second/"];
    host.connect(1);
    host.connect(2);
    host.send(2, 1, &["second", "good"]);
    for number in 1..=3 {
        host.send(1, number, &["first", "good"]);
    }
    host.pass(12_000);
    assert_eq!(host.parked(), [("first".to_owned(), 3), ("second".to_owned(), 1)]);
    host.broken.clear();
    host.are_commits_slow = true;
    for number in 4..=20 {
        host.send(1, number, &["first"]);
    }
    host.request("POST", "/flush");
    for _ in 0..4 {
        host.end_saves();
        host.pass(10);
    }
    let parked = host.parked();
    assert!(matches!(&parked[..], [(first, 3..)] if first == "first"), "each brings in one and parks one: {parked:?}");
}

#[test]
fn a_table_that_is_always_full_leaves_something_to_load_to_others() {
    let mut host = outage(Config { max_parked_bytes: 8_000, flush_threshold_bytes: 3_000, ..config() });
    host.broken = vec!["/bad/", "/worse/"];
    host.send(1, 1, &["worse", "good"]);
    for number in 1..=8 {
        host.send(2, number, &["bad", "good"]);
        host.pass(12_000);
    }
    assert_eq!(host.parked(), [("bad".to_owned(), 8), ("worse".to_owned(), 1)]);
    host.broken.clear();
    host.are_commits_slow = true;
    for number in 9..=60 {
        host.send(2, number, &["bad"]);
    }
    host.request("POST", "/flush");
    for _ in 0..4 {
        host.end_saves();
        host.pass(10);
    }
    let parked = host.parked();
    assert!(matches!(&parked[..], [(table, 4..)] if table == "bad"), "{parked:?}");
}

#[test]
fn memory_of_what_waits_behind_a_hole_begins_no_flush() {
    let mut host = Host::new(Config {
        memory_budget_bytes: 1 << 20,
        max_payload_size: 1 << 18,
        max_event_size: 1 << 18,
        ..config()
    });
    host.connect(1);
    host.connect(2);
    for number in 2..=400 {
        host.send(1, number, &["good"; 8]);
    }
    host.pass(15_000);
    host.send(2, 1, &["good"]);
    let before = host.saves;
    for number in 2..=11 {
        host.send(2, number, &["good"]);
    }
    assert_eq!(host.saves - before, 10, "a save for each batch, and none for a flush");
}
