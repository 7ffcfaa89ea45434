//! The rules 1 to 4 for a batch that arrives.

use super::lab::{Lab, Sent, batch, rules};
use crate::ingest::source::{Lowest, Opening, Rules, Verdict};

/// Ten batches of ten events each, flushed, and 20 more that push the first ones out of memory.
fn old_lab(epoch: &str) -> Lab {
    let mut lab = Lab::new();
    for number in 1..=30 {
        assert_eq!(lab.send_as(batch(epoch, number, number * 10, number * 10 + 9)), "taken 10");
    }
    lab.flush();
    lab.pass(300_001);
    assert_eq!(lab.send_as(batch(epoch, 31, 310, 319)), "taken 10");
    lab.flush();
    lab
}

#[test]
fn a_known_number_with_the_same_range_and_hash_is_a_duplicate() {
    let mut lab = Lab::new();
    lab.fill(&[(1, 1, 10), (2, 11, 20)]);
    assert_eq!(lab.send(1, 1, 10), "duplicate");
    lab.flush();
    assert_eq!(lab.send(2, 11, 20), "duplicate");
    assert_eq!((lab.source.counters().duplicates, lab.source.counters().unverified), (2, 0));
}

#[test]
fn a_known_number_waits_while_the_first_is_being_written() {
    let mut lab = Lab::new();
    assert_eq!(lab.issue(batch("e", 1, 1, 10)), (0, "taken 10".to_owned()));
    assert_eq!(lab.send(1, 1, 10), "wait for 0");
    assert_eq!(lab.source.counters().duplicates, 0);
    lab.source.durable(0, lab.now);
    assert_eq!(lab.send(1, 1, 10), "duplicate");
}

/// Else its number would be anybody's after that save was lost, though it was acked.
#[test]
fn a_batch_of_mere_repeats_waits_for_the_save_that_passes_its_number() {
    let mut lab = Lab::new();
    lab.fill(&[(1, 1, 10)]);
    assert_eq!(lab.send(4, 25, 40), "taken 16, behind a hole");
    let (place, filled) = lab.issue(batch("e", 2, 11, 24));
    assert_eq!(filled, "taken 14");
    assert_eq!(lab.send(3, 26, 30), format!("wait for {place}"));
    lab.source.forget(place, lab.now);
    assert_eq!(lab.send(3, 26, 30), "taken 0, 5 repeats, behind a hole");
    assert_eq!(lab.send(3, 26, 30), "duplicate");
    let impostor = Sent { hash: 7, ..batch("e", 3, 26, 30) };
    assert!(lab.send_as(impostor).starts_with("never: batch 3 was accepted before"));
}

#[test]
fn a_batch_whose_first_save_failed_is_taken_again() {
    let mut lab = Lab::new();
    let before = lab.source.clone();
    lab.issue(batch("e", 1, 1, 10));
    lab.source.forget(0, lab.now);
    assert_eq!(lab.source, before);
    lab.next_place = 5;
    assert_eq!(lab.send(1, 1, 10), "taken 10");
}

#[test]
fn a_known_number_with_another_range_or_hash_is_refused() {
    let mut lab = Lab::new();
    lab.fill(&[(1, 1, 10)]);
    assert_eq!(
        lab.send(1, 1, 12),
        "never: batch 1 was accepted before with events 1..=10 and other content; got events 1..=12: a source that \
         starts over needs another sourceEpoch"
    );
    let other_content = Sent { hash: 7, ..batch("e", 1, 1, 10) };
    assert!(lab.send_as(other_content).starts_with("never: batch 1 was accepted before"));
}

#[test]
fn a_number_too_old_to_be_known_with_new_events_is_refused() {
    let mut lab = old_lab("e");
    assert_eq!(
        lab.send(3, 400, 409),
        "never: expected a batch number above 31: up to there every batch has come; got batch 3 with event 400, which \
         is new: a source that starts over needs another sourceEpoch"
    );
}

#[test]
fn events_outside_what_is_covered_are_taken_and_those_inside_are_repeats() {
    let mut lab = Lab::new();
    lab.fill(&[(1, 1, 10), (4, 21, 30)]);
    let (place, answer) = lab.issue(batch("e", 5, 6, 40));
    assert_eq!(answer, "taken 20, 15 repeats");
    assert_eq!(
        lab.source.heads().find(|head| head.place == place).expect("issued").taken,
        Some(vec![(11, 20), (31, 40)])
    );
    assert_eq!(lab.source.counters().repeats, 15);
}

#[test]
fn ranges_that_count_are_cut_to_events_that_are_there() {
    let mut lab = Lab::new();
    lab.fill(&[(1, 1, 10), (4, 21, 30)]);
    let taken = |verdict| match verdict {
        Verdict::Take(take) => (take.head.taken, take.processed),
        other @ (Verdict::Duplicate { .. } | Verdict::Wait { .. } | Verdict::Refuse(_)) => panic!("{other:?}"),
    };
    let verdict = lab.judge(batch("e", 5, 9, 35), [9, 13, 14, 18, 25, 35]);
    assert_eq!(taken(verdict), (Some(vec![(13, 18), (35, 35)]), 4));
    let no_event_where_it_is_covered = lab.judge(batch("e", 5, 12, 35), [12, 35]);
    assert_eq!(taken(no_event_where_it_is_covered), (None, 2));
}

#[test]
fn events_that_are_being_written_decide_nothing_yet() {
    let mut lab = Lab::new();
    lab.fill(&[(1, 1, 10)]);
    lab.issue(batch("e", 2, 11, 20));
    assert_eq!(lab.send(3, 15, 25), "wait for 1");
    assert_eq!(lab.send(3, 5, 8), "taken 0, 4 repeats");
    let mut other = Lab::new();
    other.fill(&[(1, 1, 10)]);
    other.issue(batch("e", 2, 11, 20));
    other.source.forget(1, other.now);
    other.next_place = 2;
    assert_eq!(other.send(3, 15, 25), "taken 11, behind a hole");
}

#[test]
fn all_covered_but_too_old_to_be_compared_is_an_unverified_duplicate_if_there_is_an_epoch() {
    let mut lab = old_lab("e");
    assert_eq!(lab.send(3, 30, 39), "duplicate, unverified");
    assert_eq!((lab.source.counters().duplicates, lab.source.counters().unverified), (1, 1));
}

#[test]
fn all_covered_but_too_old_to_be_compared_is_refused_without_an_epoch() {
    let mut lab = old_lab("");
    assert_eq!(
        lab.send_as(batch("", 3, 30, 39)),
        "never: events 30..=39 of batch 3 are covered already, and the batch is not known: resume after batch 31; a \
         source that starts over needs another sourceEpoch"
    );
}

#[test]
fn a_new_number_for_old_events_is_saved_for_its_number() {
    let mut lab = Lab::new();
    lab.fill(&[(1, 1, 10), (2, 11, 20)]);
    assert_eq!(lab.send(3, 11, 20), "taken 0, 10 repeats");
    assert_eq!(lab.resume(), Some(3));
    assert_eq!(lab.send(4, 30, 35), "taken 6", "3 and 4 are consecutive, so the jump is the producer's own");
    lab.flush();
    assert_eq!(lab.source.mark("e"), Some(4));
}

#[test]
fn hashes_are_kept_for_the_window_but_always_the_last_16() {
    let mut lab = old_lab("e");
    for number in 16..=31 {
        assert_eq!(lab.send(number, number * 10, number * 10 + 9), "duplicate", "batch {number}");
    }
    assert_eq!(lab.send(15, 150, 159), "duplicate, unverified");
}

#[test]
fn hashes_are_kept_for_at_most_1000_batches() {
    let mut lab = Lab::new();
    for number in 1..=1_001 {
        lab.fill(&[(number, number, number)]);
    }
    lab.flush();
    assert_eq!(lab.send(1, 1, 1), "duplicate, unverified");
    assert_eq!(lab.send(2, 2, 2), "duplicate");
}

#[test]
fn without_deduplication_nothing_is_compared_and_each_arrival_is_applied() {
    let mut lab = Lab { rules: Rules { deduplicate: false, ..rules() }, ..Lab::new() };
    for (number, first, last) in [(1, 1, 10), (1, 1, 10), (7, 100, 110), (3, 50, 60), (3, 2, 5)] {
        assert_eq!(lab.send(number, first, last), format!("taken {}", last - first + 1));
    }
    assert_eq!(lab.holes(), []);
    assert_eq!(lab.source.flushable().len(), 5);
    lab.flush();
    assert_eq!((lab.resume(), lab.source.mark("e")), (Some(7), Some(7)));
}

#[test]
fn a_mark_covers_only_what_is_in_the_lake_with_all_below_it() {
    let mut lab = Lab::new();
    lab.fill(&[(1, 1, 10), (2, 11, 20), (3, 21, 30), (5, 41, 50)]);
    assert_eq!(lab.source.mark("e"), None);
    assert_eq!(lab.source.flushable(), [0, 1, 2]);
    lab.release(&[0, 2]);
    assert_eq!(lab.source.mark("e"), Some(1));
    lab.release(&[1]);
    assert_eq!(lab.source.mark("e"), Some(3));
    assert_eq!(lab.resume(), Some(3));
}

#[test]
fn a_mark_passes_no_lower_number_that_waits_though_the_events_are_low() {
    let mut lab = Lab::new();
    lab.fill(&[(1, 1, 10), (2, 11, 20), (3, 21, 30)]);
    assert_eq!(lab.send(5, 1, 10), "taken 0, 10 repeats");
    lab.release(&[0, 3]);
    assert_eq!(lab.source.mark("e"), Some(1), "batches 2 and 3 wait, below 5");
    lab.flush();
    assert_eq!(lab.source.mark("e"), Some(5));
}

#[test]
fn a_mark_passes_no_parked_event_under_whatever_number_it_was_repeated() {
    let mut lab = Lab::new();
    lab.fill(&[(1, 1, 10), (2, 11, 20), (3, 21, 30)]);
    assert_eq!(lab.send(4, 15, 25), "taken 0, 11 repeats");
    let parked = Lowest { event: 25, number: 3 };
    lab.release_but(&[0, 1, 2, 3], parked);
    assert_eq!(lab.source.mark("e"), Some(2));
    lab.restart();
    lab.source.advance_marks(|_| parked);
    assert_eq!(lab.source.mark("e"), Some(2));
    lab.source.advance_marks(|_| Lowest::NOTHING);
    assert_eq!(lab.source.mark("e"), Some(4));

    lab.fill(&[(9, 31, 40)]);
    assert_eq!(lab.send(10, 31, 35), "taken 0, 5 repeats");
    lab.fill(&[(11, 41, 50)]);
    lab.release_but(&[4, 5, 6], Lowest { event: 33, number: 9 });
    assert_eq!(lab.source.mark("e"), Some(4), "10 and 11 end above the parked event");
}

#[test]
fn a_mark_passes_no_lower_number_that_repeated_a_parked_event() {
    let mut lab = Lab::new();
    lab.fill(&[(1, 1, 10), (9, 21, 30)]);
    assert_eq!(lab.send(4, 21, 25), "taken 0, 5 repeats, behind a hole");
    lab.fill(&[(6, 11, 20)]);
    lab.release_but(&[0, 1, 2, 3], Lowest { event: 23, number: 9 });
    assert_eq!(lab.source.mark("e"), Some(1), "4 holds the parked event, too");
}

#[test]
fn a_mark_that_was_not_saved_is_the_same_after_a_restart_though_a_waiting_batch_repeats_what_it_covers() {
    let mut lab = Lab::new();
    lab.fill(&[(1, 1, 10), (2, 11, 20)]);
    let parked = Lowest { event: 5, number: 1 };
    lab.release_but(&[0, 1], parked);
    assert_eq!(lab.source.mark("e"), None);
    lab.save();
    assert_eq!(lab.send(3, 15, 25), "taken 5, 6 repeats");
    lab.restart();
    lab.source.advance_marks(|_| Lowest::NOTHING);
    assert_eq!(lab.source.mark("e"), Some(2));
}

#[test]
fn what_is_below_is_flushed_in_the_order_of_events() {
    let mut lab = Lab::new();
    lab.fill(&[(3, 21, 30), (2, 11, 20), (1, 1, 10)]);
    assert_eq!(lab.source.flushable(), [2, 1, 0]);
}

#[test]
fn a_producer_may_claim_a_base_above_its_first_batch() {
    let mut lab = Lab::new();
    let opening = Opening { base: 10, sparse: false };
    assert_eq!(lab.send_as(Sent { opening, ..batch("e", 3, 201, 300) }), "taken 100");
    assert_eq!(lab.resume(), Some(3));
}
