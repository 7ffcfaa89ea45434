//! What a sparse source was refused is remembered, however much it is: never called a duplicate when it comes again.

use super::lab::{Lab, Sent, batch, events};
use crate::ingest::source::{Opening, Refused};

fn sparse<'a>(epoch: &'a str, number: u64, (first, last): (u64, u64)) -> Sent<'a> {
    Sent { opening: Opening { base: 0, sparse: true }, ..batch(epoch, number, first, last) }
}

fn refuse(lab: &mut Lab, epoch: &str, number: u64, range: (u64, u64), retry: bool) {
    let events = events(range.0..=range.1);
    let refused = Refused { epoch, number: Some(number), events: Some(&events), after: 0, retry, sparse: true };
    lab.source.refused(&refused, lab.now, &lab.rules);
}

/// A source of which batch 1 of epoch "e" was taken.
fn begun() -> Lab {
    let mut lab = Lab::new();
    assert_eq!(lab.send_as(sparse("e", 1, (1, 10))), "taken 10");
    lab
}

#[track_caller]
fn check_refused(answer: &str) {
    assert!(answer.starts_with("never: ") || answer.starts_with("retry: "), "{answer}");
}

#[test]
fn the_oldest_of_many_that_were_refused_for_good_is_named_and_never_a_duplicate() {
    let mut lab = begun();
    for number in 2..=300 {
        refuse(&mut lab, "e", number, (number * 10, number * 10 + 9), false);
    }
    assert_eq!(lab.send_as(sparse("e", 500, (5_000, 5_009))), "taken 10");
    for number in 2..=300 {
        check_refused(&lab.send_as(sparse("e", number, (number * 10, number * 10 + 9))));
    }
    let named: Vec<u64> = lab.source.closed_batches("e", 1, 500).iter().map(|range| range.0).collect();
    assert_eq!(named, (2..=300).collect::<Vec<_>>());
}

#[test]
fn what_is_given_up_has_a_limit_after_which_the_source_is_to_send_another_epoch() {
    let mut lab = begun();
    for number in 2..=11_000 {
        refuse(&mut lab, "e", number, (number * 10, number * 10 + 8), false);
    }
    assert_eq!(lab.source.epochs[0].closed.len(), 10_000);
    for (number, first) in [(20_000, 200_000), (2, 20), (10_500, 105_000), (20_001, 20)] {
        let answer = lab.send_as(sparse("e", number, (first, first + 8)));
        assert!(answer.starts_with("never: "), "{number}: {answer}");
    }
    assert_eq!(lab.send_as(sparse("f", 1, (1, 10))), "taken 10");
}

#[test]
fn starts_that_were_refused_and_abandoned_leave_room_for_those_of_the_present_epoch() {
    let mut lab = begun();
    for n in 0..256_u64 {
        refuse(&mut lab, &format!("start {n}"), 1, (1, 10), true);
    }
    assert_eq!(lab.send_as(sparse("f", 1, (1, 10))), "taken 10");
    lab.flush();
    refuse(&mut lab, "f", 20, (201, 210), true);
    check_refused(&lab.send_as(sparse("f", 30, (301, 310))));
    assert_eq!(lab.send_as(sparse("f", 20, (201, 210))), "taken 10");
}

#[test]
fn many_that_were_refused_for_now_and_abandoned_leave_room_for_the_next() {
    let mut lab = begun();
    for number in 2..=257 {
        refuse(&mut lab, "e", number, (number * 10, number * 10 + 9), true);
    }
    lab.pass(300_000);
    refuse(&mut lab, "e", 300, (3_000, 3_009), true);
    check_refused(&lab.send_as(sparse("e", 301, (3_010, 3_019))));
    assert_eq!(lab.send_as(sparse("e", 300, (3_000, 3_009))), "taken 10");
}

#[test]
fn a_source_rests_though_a_start_of_it_was_refused() {
    let mut lab = Lab::new();
    refuse(&mut lab, "start", 1, (1, 10), true);
    assert!(!lab.source.is_at_rest(), "nothing in the journal says so yet");
    assert_eq!(lab.send_as(sparse("f", 1, (1, 10))), "taken 10");
    lab.flush();
    lab.save();
    assert!(lab.source.is_at_rest());
    lab.source.row_lost();
    assert!(!lab.source.is_at_rest(), "its row did not come into the journal");
}

#[test]
fn the_first_message_that_could_not_be_read_is_no_duplicate_when_it_comes_repaired() {
    let mut lab = Lab::new();
    let unread = Refused { epoch: "e", number: None, events: None, after: 0, retry: false, sparse: true };
    lab.source.refused(&unread, lab.now, &lab.rules);
    assert_eq!(lab.send_as(sparse("e", 20, (11, 20))), "taken 10");
    check_refused(&lab.send_as(sparse("e", 10, (1, 10))));
}

#[test]
fn events_that_were_refused_for_a_passed_number_are_no_duplicates_under_another() {
    let mut lab = begun();
    assert_eq!(lab.send_as(sparse("e", 30, (301, 310))), "taken 10");
    let refused = lab.send_as(sparse("e", 20, (311, 320)));
    assert!(refused.starts_with("never: expected a batch number above 30"), "{refused}");
    let taken = lab.send_as(sparse("e", 30, (321, 330)));
    assert!(taken.starts_with("never: batch 30"), "{taken}");
    lab.save();
    lab.restart();
    assert_eq!(lab.send_as(sparse("e", 40, (401, 410))), "taken 10");
    check_refused(&lab.send_as(sparse("e", 41, (311, 320))));
    check_refused(&lab.send_as(sparse("e", 42, (321, 330))));
    let named = lab.source.closed_batches("e", 1, 50);
    assert_eq!(named, [], "20 was refused for its number, and 30 was taken");
}

#[test]
fn events_that_were_refused_for_a_passed_number_may_come_under_the_next() {
    let mut lab = begun();
    assert_eq!(lab.send_as(sparse("e", 30, (301, 310))), "taken 10");
    check_refused(&lab.send_as(sparse("e", 20, (311, 320))));
    assert_eq!(lab.send_as(sparse("e", 31, (311, 320))), "taken 10");
    assert_eq!(lab.send_as(sparse("e", 32, (321, 330))), "taken 10");
}

#[test]
fn new_events_refused_beside_given_up_ones_under_a_passed_number_are_no_duplicates() {
    let mut lab = begun();
    refuse(&mut lab, "e", 20, (201, 210), false);
    assert_eq!(lab.send_as(sparse("e", 30, (301, 310))), "taken 10");
    let verdict = lab.judge(sparse("e", 20, (201, 320)), (201..=210).chain(311..=320));
    assert!(format!("{verdict:?}").contains("InClosedHole"), "{verdict:?}");
    assert_eq!(lab.send_as(sparse("e", 40, (401, 410))), "taken 10");
    check_refused(&lab.send_as(sparse("e", 41, (311, 320))));
}
