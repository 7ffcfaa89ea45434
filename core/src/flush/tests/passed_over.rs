//! Batches of a sparse source that were refused, and passed over: what the journal knows of them when the machine dies.

use super::host::{Host, config};
use crate::event::{ConnId, Event, Frame};
use crate::wire::client::Capabilities;

/// A sparse source that has connected.
fn host() -> Host {
    let mut host = Host::new(config());
    connect(&mut host);
    host
}

fn connect(host: &mut Host) {
    host.connect_as(1, Some("e"), Capabilities { sparse: true, ..Capabilities::default() });
}

/// Sends a batch that is refused for good, since it cannot be read.
fn send_spoilt(host: &mut Host, number: u64) {
    let spoilt = format!(r#"{{"type":"cdc_batch","timestamp":0,"sequenceNumber":{number},"events":[7]}}"#);
    host.step(Event::Received { conn: ConnId(1), frame: Frame::Text(spoilt.into()) });
    assert_eq!(host.refused.pop(), Some(number));
}

/// The machine dies, and what was refused comes again, repaired.
fn check_repaired_too_late(host: &mut Host, number: u64) {
    host.restart();
    connect(host);
    host.refused.clear();
    host.send(1, number, &["good"]);
    assert_eq!(host.refused, [number], "it is in the journal or the lake, or it is refused");
}

#[test]
fn a_refusal_that_the_journal_did_not_take_is_saved_with_the_batch_that_passes_over_it() {
    let mut host = host();
    host.send(1, 1, &["good"]);
    host.are_rows_refused = true;
    send_spoilt(&mut host, 2);
    host.send(1, 3, &["good"]);
    assert!(host.acked.contains(&(1, 3)));
    check_repaired_too_late(&mut host, 2);
}

#[test]
fn refusals_that_come_faster_than_the_journal_takes_rows_share_one() {
    let mut host = host();
    host.send(1, 1, &["good"]);
    host.are_rows_slow = true;
    (2..=50).for_each(|number| send_spoilt(&mut host, number));
    assert_eq!(host.held.len(), 1);
    host.are_rows_slow = false;
    host.end_saves();
    host.restart();
    connect(&mut host);
    host.send(1, 60, &["good"]);
    check_repaired_too_late(&mut host, 50);
}

/// Batch 1 is being committed, and batch 2 was refused meanwhile.
fn refused_during_a_commit() -> Host {
    let mut host = host();
    host.send(1, 1, &["good"]);
    host.are_commits_slow = true;
    host.pass(5_000);
    send_spoilt(&mut host, 2);
    host
}

#[test]
fn a_refusal_during_a_commit_is_passed_over_after_it() {
    let mut host = refused_during_a_commit();
    host.send(1, 3, &["good"]);
    assert_eq!((host.nacked, host.acked.contains(&(1, 3))), (1, false), "its row is the commit's");
    host.end_saves();
    host.send(1, 3, &["good"]);
    assert!(host.acked.contains(&(1, 3)));
    check_repaired_too_late(&mut host, 2);
}

#[test]
fn a_refusal_during_a_commit_is_saved_after_it() {
    let mut host = refused_during_a_commit();
    host.end_saves();
    host.restart();
    connect(&mut host);
    host.send(1, 3, &["good"]);
    check_repaired_too_late(&mut host, 2);
}

#[test]
fn what_has_no_number_that_can_be_read_stands_after_those_that_wait() {
    let mut host = host();
    host.are_batches_slow = true;
    host.send(1, 1, &["good"]);
    host.send(1, 2, &["good"]);
    host.step(Event::Received { conn: ConnId(1), frame: Frame::Text("a broken batch 3".into()) });
    host.send(1, 4, &["good"]);
    host.are_batches_slow = false;
    host.end_saves();
    assert!(host.acked.is_superset(&[(1, 1), (1, 2), (1, 4)].into()));
    check_repaired_too_late(&mut host, 3);
}

#[test]
fn what_a_post_that_cannot_be_read_was_refused_is_noted_though_its_source_was_not_in_memory() {
    let event = |n: u64| {
        format!(
            r#"{{"sequence":{n},"timestamp":1,"operation":"INSERT","table":"good","rowId":"r{n}","after":{{"n":{n}}}}}"#
        )
    };
    let numbered =
        |number: u64, event: &str| format!(r#"{{"sequenceNumber":{number},"sourceEpoch":"e","events":[{event}]}}"#);
    let mut host = host();
    host.send(1, 1, &["good"]);
    host.pass(20_000);
    host.step(Event::Closed { conn: ConnId(1) });
    assert_eq!(host.post(1, &numbered(2, "7")), 400);
    assert_eq!(host.post(1, &numbered(3, &event(30))), 200);
    assert_eq!(host.post(1, &numbered(2, &event(20))), 409, "it was passed over");
}
