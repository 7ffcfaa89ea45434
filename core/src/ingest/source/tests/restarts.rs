//! What a restart keeps, and how much of it there is.

use super::lab::{Lab, Sent, batch, nothing_parked};
use crate::ingest::source::{Opening, SavedSource};
use crate::time::MachineTime;

/// Restarts right after a save, and asserts that nothing that survives has changed.
fn check_restart(lab: &mut Lab) {
    lab.save();
    let mut before = lab.source.clone();
    lab.restart();
    lab.source.set_connected(true, lab.now);
    // Places below the heads in the journal are free again, which nobody can see: the machine counts on.
    before.unapplied_from = lab.source.unapplied_from;
    assert_eq!(lab.source, before);
}

#[test]
fn a_restart_keeps_frontiers_holes_clocks_hashes_and_marks() {
    let mut lab = Lab::new();
    check_restart(&mut lab);
    lab.fill(&[(1, 1, 10), (2, 11, 20)]);
    check_restart(&mut lab);
    lab.flush();
    check_restart(&mut lab);
    lab.fill(&[(5, 41, 50), (9, 81, 90), (3, 25, 30)]);
    check_restart(&mut lab);
    lab.pass(10_000);
    check_restart(&mut lab);
    lab.pass(290_000);
    check_restart(&mut lab);
    lab.flush();
    check_restart(&mut lab);
    assert_eq!(lab.send_as(batch("f", 4, 41, 50)), "taken 10, behind a hole");
    check_restart(&mut lab);
    assert_eq!(lab.source.mark("e"), Some(9));
}

#[test]
fn heads_alone_are_enough_where_no_row_was_written() {
    let mut lab = Lab::new();
    lab.fill(&[(1, 1, 10), (3, 21, 30)]);
    lab.send_as(batch("f", 1, 1, 10));
    lab.restart();
    assert_eq!(lab.source.resume_number("f"), Some(1));
    assert_eq!(lab.resume(), Some(3), "the newer epoch closed the hole");
    assert_eq!(lab.send(2, 11, 20).get(..8), Some("never: e"));
}

#[test]
fn the_clock_of_a_hole_goes_on_after_a_restart() {
    let mut lab = Lab::new();
    lab.fill(&[(1, 1, 10), (3, 21, 30)]);
    lab.pass(200_000);
    assert!(lab.source.has_timer());
    lab.save();
    lab.now = lab.now.after_ms(60_000);
    lab.restart();
    lab.source.set_connected(true, lab.now);
    assert_eq!(lab.pass(99_999), []);
    assert_eq!(lab.pass(1), [(11, 20)]);
}

#[test]
fn a_release_that_fails_changes_nothing() {
    let mut lab = Lab::new();
    lab.fill(&[(1, 1, 10), (2, 11, 20)]);
    let before = lab.source.clone();
    let row = lab.source.saved_after_release(&[0, 1], nothing_parked, lab.now, &lab.rules);
    assert_eq!(lab.source, before);
    lab.flush();
    assert_eq!(lab.row, Some(row));
    assert!(lab.source.is_at_rest());
}

#[test]
fn saves_that_are_confirmed_out_of_order_count_in_order() {
    let mut lab = Lab::new();
    lab.issue(batch("e", 1, 1, 10));
    lab.issue(batch("e", 2, 11, 20));
    lab.source.durable(1, lab.now);
    assert_eq!((lab.resume(), lab.source.flushable()), (None, vec![]));
    lab.source.durable(0, lab.now);
    assert_eq!((lab.resume(), lab.source.flushable()), (Some(2), vec![0, 1]));
}

#[test]
fn a_source_at_rest_costs_about_250_bytes() {
    let mut lab = Lab::new();
    lab.pass(1_790_000_000_000);
    let opening = Opening { base: 1_000_000, sparse: false };
    let made = |number| batch("2026-11-22T10:00:00Z", number, number * 500, number * 500 + 499);
    for number in 1_000_001..1_000_100 {
        assert_eq!(lab.send_as(Sent { opening, ..made(number) }), "taken 500");
        lab.flush();
        lab.pass(4_000);
    }
    lab.pass(300_000);
    lab.send_as(made(1_000_100));
    lab.flush();
    let row = lab.row.expect("flushed").encode();
    assert!(row.len() <= 320, "{} bytes", row.len());
}

#[test]
fn a_damaged_row_is_an_error() {
    let mut lab = Lab::new();
    lab.fill(&[(1, 1, 10)]);
    lab.flush();
    let mut row = lab.row.expect("flushed").encode();
    let error = |bytes: &[u8]| SavedSource::decode(bytes).expect_err("damaged").to_string();
    assert!(error(&row[..row.len() - 1]).ends_with("the journal is damaged"));
    assert!(error(&[]).ends_with("(no byte at all); the journal is damaged"));
    row.push(0);
    assert!(error(&row).ends_with("(1 bytes too many); the journal is damaged"));
    row[0] = 2;
    assert_eq!(error(&row), "source: expected version 1, got 2; it was written by another release of DoLake");
}

#[test]
fn a_row_of_a_later_time_than_that_of_the_restart_stops_no_clock() {
    let mut lab = Lab::new();
    lab.fill(&[(1, 1, 10), (3, 21, 30)]);
    lab.pass(100_000);
    lab.refuse(2, (11, 20), true);
    lab.pass(10_000);
    lab.save();
    // A source's row is read when it is asked for: the time that goes on after a restart is that of the others.
    lab.now = MachineTime(0);
    lab.restart();
    lab.source.set_connected(true, lab.now);
    assert_eq!(lab.pass(249_999), []);
    assert_eq!(lab.pass(1), [(11, 20)]);
}
