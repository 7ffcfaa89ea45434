//! Epochs, and what a producer is told when it connects.

use super::lab::{Lab, Sent, batch};
use crate::ingest::source::Opening;
use crate::limits::EPOCHS_PER_SOURCE_MAX;

#[test]
fn the_first_accepted_batch_of_an_unseen_epoch_fences_the_older_ones() {
    let mut lab = Lab::new();
    lab.fill(&[(1, 1, 10), (3, 21, 30)]);
    assert_eq!(lab.send_as(batch("f", 1, 1, 10)), "taken 10");
    assert_eq!(lab.holes(), [], "their holes close");
    assert_eq!(lab.source.counters().holes_closed, 1);
    assert_eq!(lab.source.flushable(), [0, 1, 2]);
    assert_eq!(
        lab.send(4, 31, 40),
        "never: epoch \"e\" ended when epoch \"f\" began: event 31 of batch 4 is new and is not taken; send it under \
         the newer epoch"
    );
    assert!(lab.send(2, 11, 20).starts_with("never: event 11 of batch 2 came too late"));
    assert_eq!(lab.send(3, 21, 30), "duplicate", "repeats stay duplicates");
    assert_eq!(lab.send(9, 22, 25), "duplicate, unverified", "repeats stay duplicates");
    assert_eq!(lab.connect("e", 0).fenced_by.as_deref(), Some("f"));
    assert_eq!(lab.connect("f", 0).fenced_by, None);
}

/// Else its number would be missing in a hole that only it can fill, though it was acked.
#[test]
fn a_batch_of_mere_repeats_waits_for_the_fence_that_is_being_written() {
    let mut lab = Lab::new();
    lab.fill(&[(1, 1, 10), (3, 21, 30)]);
    let (fence, _) = lab.issue(batch("f", 1, 1, 10));
    assert_eq!(lab.send(2, 5, 10), format!("wait for {fence}"));
    lab.source.forget(fence, lab.now);
    assert_eq!(lab.send(2, 5, 10), "taken 0, 6 repeats");
    assert_eq!(lab.holes(), []);
}

/// An epoch that is being begun may not come to be.
#[test]
fn a_source_with_too_many_epochs_and_one_without_numbers_wait_for_the_save_that_decides() {
    let mut lab = Lab::new();
    let (first, _) = lab.issue(batch("e", 1, 1, 10));
    let unnumbered = Sent { is_numbered: false, ..batch("e", 20, 11, 20) };
    assert_eq!(lab.send_as(unnumbered), format!("wait for {first}"));
    lab.source.durable(first, lab.now);
    assert!(lab.send_as(unnumbered).starts_with("never: sequenceNumber: expected one"));
    let names: Vec<String> = (1..EPOCHS_PER_SOURCE_MAX).map(|epoch| epoch.to_string()).collect();
    let (last, others) = names.split_last().expect("some");
    for name in others {
        lab.send_as(batch(name, 1, 1, 10));
    }
    let (pending, _) = lab.issue(batch(last, 1, 1, 10));
    assert_eq!(lab.send_as(batch("more", 1, 1, 10)), format!("wait for {pending}"));
    lab.source.durable(pending, lab.now);
    assert!(lab.send_as(batch("more", 1, 1, 10)).starts_with("never: "));
}

#[test]
fn a_refused_batch_fences_nothing() {
    let mut lab = Lab::new();
    lab.fill(&[(1, 1, 10)]);
    lab.rules.max_hole_bytes = 1;
    assert!(lab.send_as(batch("f", 5, 100, 110)).starts_with("retry: "));
    assert_eq!(lab.send(2, 11, 20), "taken 10");
}

#[test]
fn a_fence_that_is_being_written_fences_nothing_yet() {
    let mut lab = Lab::new();
    lab.fill(&[(1, 1, 10), (3, 21, 30)]);
    let (fence, _) = lab.issue(batch("f", 1, 1, 10));
    assert_eq!(lab.issue(batch("f", 2, 11, 20)).1, "taken 10");
    assert_eq!(lab.send(4, 31, 40), format!("wait for {}", fence + 1));
    assert_eq!(lab.send(1, 1, 10), "duplicate");
    assert_eq!(lab.holes(), [(11, 20)]);
    lab.source.forget(fence, lab.now);
    lab.source.forget(fence + 1, lab.now);
    assert_eq!(lab.send(4, 31, 40), "taken 10, behind a hole");
}

#[test]
fn an_epoch_goes_on_if_only_its_first_save_failed() {
    let mut lab = Lab::new();
    lab.issue(batch("f", 1, 1, 10));
    lab.issue(batch("f", 2, 11, 20));
    lab.source.forget(0, lab.now);
    lab.source.durable(1, lab.now);
    assert_eq!((lab.source.resume_number("f"), lab.holes()), (Some(0), vec![(0, 10)]));
    assert_eq!(lab.send_as(batch("f", 1, 1, 10)), "taken 10");
    assert_eq!(lab.source.resume_number("f"), Some(2));
}

#[test]
fn epochs_number_their_events_apart() {
    let mut lab = Lab::new();
    for epoch in ["a", "b", "c"] {
        assert_eq!(lab.send_as(batch(epoch, 1, 1, 10)), "taken 10");
        assert_eq!(lab.source.resume_number(epoch), Some(1));
    }
    assert_eq!(lab.source.epochs().collect::<Vec<_>>(), ["a", "b", "c"]);
}

#[test]
fn epochs_have_a_limit() {
    let mut lab = Lab::new();
    for n in 0..EPOCHS_PER_SOURCE_MAX {
        assert_eq!(lab.send_as(batch(&n.to_string(), 1, 1, 1)), "taken 1");
    }
    let answer = lab.send_as(batch("one more", 1, 1, 1));
    assert_eq!(answer, "never: the source has had 4096 epochs, which is the limit: go on with another sourceDoId");
    assert_eq!(lab.send_as(batch("0", 1, 1, 1)), "duplicate");
}

#[test]
fn every_ok_carries_the_highest_accepted_batch_with_no_open_hole_below_it_or_the_base() {
    let mut lab = Lab::new();
    assert_eq!(lab.connect("e", 0).resume, 0);
    assert_eq!(lab.connect("e", 7).resume, 7, "nothing is known, so what it says will be the base");
    lab.fill(&[(1, 1, 10), (2, 11, 20), (9, 91, 99)]);
    assert_eq!(lab.connect("e", 0).resume, 2);
    assert_eq!(lab.connect("e", 9).resume, 2);
}

#[test]
fn a_connect_is_told_the_current_mark() {
    let mut lab = Lab::new();
    lab.fill(&[(1, 1, 10), (2, 11, 20)]);
    assert_eq!(lab.connect("e", 0).mark, None);
    lab.flush();
    assert_eq!(lab.connect("e", 2).mark, Some(2));
}

#[test]
fn a_producer_that_claims_more_than_is_known_is_told_so_and_served() {
    let mut lab = Lab::new();
    assert!(!lab.connect("e", 0).source_ahead);
    assert!(lab.connect("e", 5).source_ahead);
    lab.fill(&[(1, 1, 10), (3, 21, 30)]);
    assert!(!lab.connect("e", 3).source_ahead);
    assert!(lab.connect("e", 4).source_ahead);
    assert_eq!(lab.source.counters().source_ahead, 2);
    assert_eq!(lab.send(5, 51, 60), "taken 10, behind a hole");
}

#[test]
fn batches_below_the_base_are_covered() {
    let mut lab = Lab::new();
    let opening = Opening { base: 10, sparse: false };
    assert_eq!(lab.send_as(super::lab::Sent { opening, ..batch("e", 11, 101, 110) }), "taken 10");
    assert_eq!(lab.send(9, 81, 90), "duplicate, unverified");
}
