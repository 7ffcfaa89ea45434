//! When a flush begins, and what becomes of it while the journal or the store fails.

use super::host::{Host, config};
use crate::config::Config;

#[test]
fn a_buffer_smaller_than_the_threshold_is_flushed_before_it_is_full() {
    let mut host = Host::new(Config {
        flush_threshold_bytes: 1 << 20,
        max_buffer_size: 2_000,
        max_payload_size: 1_000,
        max_event_size: 1_000,
        ..config()
    });
    host.connect(1);
    for number in 1..=100 {
        host.send(1, number, &["good"]);
    }
    assert_eq!((host.now, host.acked.len()), (0, 100));
    assert!(host.mark(1) > 90, "{} are flushed", host.mark(1));
}

#[test]
fn small_batches_are_refused_before_they_fill_memory_and_taken_when_the_store_is_back() {
    let mut host =
        Host::new(Config { memory_budget_bytes: 102_400, max_payload_size: 4_096, max_event_size: 4_096, ..config() });
    host.broken = vec!["warehouse/"];
    host.connect(1);
    for number in 1..=200 {
        host.send(1, number, &["good"]);
    }
    assert_eq!((host.acked.len(), host.nacked), (100, 100), "of 1,024 bytes each");
    host.broken.clear();
    host.pass(120_000);
    assert_eq!(host.mark(1), 100);
    for number in 101..=200 {
        host.send(1, number, &["good"]);
    }
    host.pass(60_000);
    assert_eq!(host.mark(1), 200);
}

#[test]
fn an_unknown_commit_that_cannot_be_read_back_is_read_again_in_its_time() {
    let mut host = Host::new(config());
    host.connect(1);
    host.send(1, 1, &["good"]);
    host.is_journal_mute = true;
    host.pass(60_000);
    assert!((1..30).contains(&host.loads_failed), "{} reads in a minute", host.loads_failed);
    assert_eq!(host.mark(1), 0);
    host.is_journal_mute = false;
    host.pass(60_000);
    assert_eq!(host.mark(1), 1);
    host.check("good", &[("s1", 10)]);
}
