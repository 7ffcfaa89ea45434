//! The order in which batches of several sources take effect: that of their places in the journal.

use super::host::{Host, config};
use crate::config::Config;
use crate::event::Event;
use crate::journal;
use crate::journal::rows::{FLUSH_KEY, FlushRow};
use crate::wire::client::Capabilities;

/// Two sources; their commits take a while.
fn host() -> Host {
    let mut host = Host::new(config());
    host.connect(1);
    host.connect(2);
    host.are_commits_slow = true;
    host
}

/// The places of a flush, in the order in which they take effect.
fn planned(host: &mut Host) -> Vec<u64> {
    host.pass(5_000);
    let row = host.journal.get(FLUSH_KEY).expect("a plan");
    journal::decode::<FlushRow>(FLUSH_KEY, row).expect("our own").places
}

#[test]
fn sources_keep_the_order_of_acceptance_over_a_restart() {
    for restarts in [false, true] {
        let mut host = host();
        for (source, number) in [(2, 1), (1, 1), (2, 2), (1, 2)] {
            host.send(source, number, &["good"]);
        }
        if restarts {
            host.restart();
        }
        assert_eq!(planned(&mut host), [0, 1, 2, 3], "restarts: {restarts}");
    }
}

#[test]
fn sources_keep_the_order_of_acceptance_whenever_their_saves_are_confirmed() {
    let mut host = host();
    host.are_batches_slow = true;
    host.send(1, 1, &["good"]);
    host.send(2, 1, &["good"]);
    let held = std::mem::take(&mut host.held);
    let done: Vec<_> = held.into_iter().map(|(op, writes)| (op, host.save(writes))).collect();
    for (op, outcome) in done.into_iter().rev() {
        host.step(Event::Done { op, outcome });
    }
    assert_eq!(planned(&mut host), [0, 1]);
}

#[test]
fn a_batch_that_fills_a_hole_takes_effect_before_those_above_it_and_after_what_others_sent_earlier() {
    let mut host = host();
    host.send(1, 1, &["good"]);
    host.send(1, 3, &["good"]);
    host.send(2, 1, &["good"]);
    host.send(1, 2, &["good"]);
    host.send(2, 2, &["good"]);
    assert_eq!(planned(&mut host), [0, 2, 3, 1, 4]);
}

#[test]
fn a_batch_that_brings_nothing_new_does_not_hold_up_its_source_after_a_restart() {
    let mut host = host();
    let mut send = |source, number, sequence: u64| {
        let body = format!(
            r#"{{"sourceEpoch": "e", "sequenceNumber": {number}, "events": [{{"sequence": {sequence}, "timestamp": 1,
                "operation": "INSERT", "table": "good", "rowId": "r", "after": {{"n": {sequence}}}}}]}}"#
        );
        assert_eq!(host.post(source, &body), 200, "{body}");
    };
    send(1, 1, 10);
    send(1, 2, 20);
    send(2, 1, 10);
    send(1, 3, 10);
    host.restart();
    let places = planned(&mut host);
    assert!(places.iter().position(|place| *place == 1) < places.iter().position(|place| *place == 2), "{places:?}");
}

#[test]
fn batches_of_a_sparse_epoch_keep_their_order_while_they_wait_for_those_of_a_dense_one() {
    let mut host = Host::new(config());
    host.connect_on(1, 1, Some("dense"), Capabilities::default());
    host.send_on(1, 1, 1, &["good"]);
    host.are_batches_slow = true;
    host.send_on(1, 1, 2, &["good"]);
    host.connect_on(2, 1, Some("sparse"), Capabilities { sparse: true, ..Capabilities::default() });
    host.send_on(2, 1, 11, &["good"]);
    host.send_on(1, 1, 3, &["good"]);
    host.send_on(2, 1, 12, &["good"]);
    while !host.held.is_empty() {
        let (op, writes) = host.held.remove(0);
        let outcome = host.save(writes);
        host.step(Event::Done { op, outcome });
    }
    host.are_batches_slow = false;
    host.pass(20_000);
    assert_eq!(host.duplicates, Vec::<u64>::new());
    host.check("good", &[("s1", 10), ("s1", 20), ("s1", 30), ("s1", 110), ("s1", 120)]);
}

#[test]
fn a_hole_whose_closing_the_journal_did_not_take_stays_closed_after_a_restart() {
    let rare = 10_000_000;
    let config =
        Config { deduplication_window_ms: 5_000, flush_threshold_ms: rare, flush_interval_ms: rare, ..config() };
    let mut host = Host::new(config);
    host.connect(1);
    host.send(1, 1, &["good"]);
    host.send(1, 3, &["good"]);
    host.are_rows_refused = true;
    host.pass(6_000);
    host.are_rows_refused = false;
    host.pass(6_000);
    host.restart();
    host.connect(1);
    host.refused.clear();
    host.send(1, 2, &["good"]);
    assert_eq!(host.refused, [2]);
}
