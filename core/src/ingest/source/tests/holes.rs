//! Holes: what is one, what waits behind it, how it ends.

use super::lab::{Lab, Sent, batch, rules};
use crate::ingest::source::{ClosedHole, Opening, Rules};
use crate::limits::{CLOSED_RANGES_MAX, OPEN_HOLES_MAX};

/// Batches 1 and 3; 2 with its events 11 to 20 is missing.
fn holed() -> Lab {
    let mut lab = Lab::new();
    lab.fill(&[(1, 1, 10)]);
    assert_eq!(lab.send(3, 21, 30), "taken 10, behind a hole");
    lab
}

#[test]
fn what_lies_above_a_hole_is_taken_and_waits_with_its_flush() {
    let lab = holed();
    assert_eq!((lab.resume(), lab.holes(), lab.source.hole_bytes()), (Some(1), vec![(11, 20)], 100));
    assert_eq!(lab.source.flushable(), [0]);
}

#[test]
fn a_hole_ends_by_being_filled() {
    let mut lab = holed();
    assert_eq!(lab.send(2, 11, 20), "taken 10");
    assert_eq!((lab.resume(), lab.holes(), lab.source.hole_bytes()), (Some(3), vec![], 0));
    assert_eq!(lab.source.flushable(), [0, 2, 1]);
    assert_eq!(lab.source.next_deadline(&lab.rules), None);
}

#[test]
fn a_hole_is_what_the_journal_says_whoever_was_connected() {
    let mut lab = holed();
    let opening = Opening { base: 99, sparse: false };
    assert_eq!(lab.send_as(Sent { opening, ..batch("e", 5, 41, 50) }), "taken 10, behind a hole");
    lab.connect("e", 5);
    assert_eq!(lab.holes(), [(11, 20), (31, 40)]);
}

#[test]
fn the_base_is_what_the_connection_of_the_first_batch_had_acked() {
    let first = |base, number| {
        let mut lab = Lab::new();
        lab.send_as(Sent { opening: Opening { base, sparse: false }, ..batch("e", number, 501, 510) })
    };
    assert_eq!(first(10, 11), "taken 10");
    assert_eq!(first(10, 12), "taken 10, behind a hole");
    assert_eq!(first(0, 11), "taken 10, behind a hole");
}

#[test]
fn a_hole_times_out_after_the_window_with_the_source_connected() {
    let mut lab = holed();
    assert_eq!(lab.pass(299_999), []);
    assert_eq!(lab.source.next_deadline(&lab.rules), Some(lab.now.after_ms(1)));
    assert_eq!(lab.pass(1), [(11, 20)]);
    assert_eq!((lab.resume(), lab.holes(), lab.source.hole_bytes()), (Some(3), vec![], 0));
    assert_eq!(lab.source.counters().holes_closed, 1);
    assert!(lab.source.unsaved());
}

#[test]
fn a_hole_times_out_after_an_hour_without_the_source() {
    let mut lab = holed();
    lab.source.set_connected(false, lab.now);
    assert_eq!(lab.source.next_deadline(&lab.rules), Some(lab.now.after_ms(3_600_000)));
    assert_eq!(lab.pass(3_599_999), []);
    assert_eq!(lab.pass(1), [(11, 20)]);
}

#[test]
fn the_two_clocks_of_a_hole_count_apart() {
    let mut lab = holed();
    lab.pass(200_000);
    lab.source.set_connected(false, lab.now);
    assert_eq!(lab.pass(3_000_000), []);
    lab.source.set_connected(true, lab.now);
    assert_eq!(lab.pass(99_999), []);
    assert_eq!(lab.pass(1), [(11, 20)]);
}

#[test]
fn the_count_stops_while_a_batch_that_falls_into_the_hole_is_refused_with_retry() {
    let mut lab = holed();
    lab.pass(299_999);
    lab.refuse(2, (11, 20), true);
    assert_eq!(lab.pass(60_000), []);
    lab.refuse(2, (11, 20), true);
    assert_eq!(lab.pass(60_000), []);
    assert_eq!(lab.source.next_deadline(&lab.rules), Some(lab.now.after_ms(1)));
    assert_eq!(lab.pass(1), [(11, 20)]);
}

#[test]
fn the_count_goes_on_while_other_batches_are_refused() {
    let mut lab = holed();
    lab.pass(299_999);
    lab.refuse(4, (31, 40), true);
    lab.refuse(2, (11, 20), false);
    assert_eq!(lab.pass(1), [(11, 20)]);
}

#[test]
fn what_is_left_of_a_hole_goes_on_with_its_clock() {
    let mut lab = Lab::new();
    lab.fill(&[(1, 1, 10), (5, 21, 30)]);
    lab.pass(200_000);
    assert_eq!(lab.send(3, 14, 15), "taken 2, behind a hole");
    assert_eq!(lab.send(9, 51, 60), "taken 10, behind a hole");
    assert_eq!(lab.pass(100_000), [(11, 13), (16, 20)]);
    assert_eq!(lab.pass(200_000), [(31, 50)]);
}

#[test]
fn a_hole_that_is_being_filled_is_not_closed() {
    let mut lab = holed();
    let (place, answer) = lab.issue(batch("e", 2, 11, 20));
    assert_eq!(answer, "taken 10");
    assert_eq!(lab.pass(1_000_000), []);
    assert_eq!(lab.source.next_deadline(&lab.rules), None);
    lab.source.forget(place, lab.now);
    assert_eq!(lab.pass(0), [(11, 20)]);
}

#[test]
fn an_event_that_falls_into_a_closed_hole_is_refused_with_its_whole_batch() {
    let mut lab = holed();
    lab.pass(300_000);
    let expected = "never: event 11 of batch 2 came too late: events 11..=20 were given up after the hole time-out and \
                    are not in the lake; send them again under new event numbers or another sourceEpoch";
    assert_eq!(lab.send(2, 11, 20), expected);
    assert!(lab.send(4, 20, 40).starts_with("never: event 20 of batch 4 came too late"), "nacked whole");
    assert_eq!(lab.source.counters().refused_closed, 2);
    assert_eq!(lab.source.counters().duplicates, 0);
    assert_eq!(lab.send(4, 31, 40), "taken 10");
    assert_eq!(lab.send(3, 21, 30), "duplicate");
}

#[test]
fn a_batch_without_an_event_in_the_closed_hole_is_no_late_one() {
    let mut lab = holed();
    lab.pass(300_000);
    let verdict = lab.judge(batch("e", 4, 5, 31), [5, 25, 31]);
    let crate::ingest::source::Verdict::Take(take) = verdict else { panic!("{verdict:?}") };
    assert_eq!((take.processed, take.repeats), (1, 2));
}

#[test]
fn closed_holes_are_named_before_a_mark_passes_them_also_after_a_reconnect() {
    let mut lab = holed();
    lab.fill(&[(9, 81, 90)]);
    lab.now = lab.now.after_ms(300_000);
    let closed = lab.source.close_due(lab.now, &lab.rules);
    let batches: Vec<_> = closed.iter().map(|ClosedHole { gap, .. }| gap.batches).collect();
    assert_eq!(batches, [Some((2, 2)), Some((4, 8))]);
    lab.flush();
    assert_eq!(lab.source.mark("e"), Some(9));
    assert_eq!(lab.source.closed_batches("e", 0, 9), [(2, 2), (4, 8)]);
    assert_eq!(lab.source.closed_batches("e", 0, 3), [(2, 2)]);
    assert_eq!(lab.source.closed_batches("e", 2, 9), [(4, 8)]);
    assert_eq!(lab.source.closed_batches("e", 8, 9), []);
    assert_eq!(lab.connect("e", 3).closed, [(4, 8)]);
}

#[test]
fn waiting_behind_a_hole_has_a_limit_for_the_source() {
    let mut lab = holed();
    lab.rules.max_hole_bytes = 299;
    assert_eq!(lab.send(5, 41, 50), "taken 10, behind a hole");
    assert_eq!(
        lab.send(6, 51, 60),
        "retry: batch 6 lies behind a hole and 200 bytes of it wait already (limit 299): send batch 2 first"
    );
    assert_eq!(lab.send(2, 11, 20), "taken 10", "what fills the hole is always welcome");
    assert_eq!(lab.send(6, 51, 60), "taken 10, behind a hole");
}

/// No event of them is kept, and so they take no room from others.
#[test]
fn mere_repeats_behind_a_hole_do_not_count_there() {
    let mut lab = holed();
    let waiting = lab.source.hole_bytes();
    assert_eq!(lab.send(5, 41, 50), "taken 10, behind a hole");
    assert_eq!(lab.send(4, 41, 50), "taken 0, 10 repeats, behind a hole");
    assert_eq!(lab.source.hole_bytes(), waiting + 100);
    lab.save();
    lab.restart();
    assert_eq!(lab.source.hole_bytes(), waiting + 100);
}

#[test]
fn what_fills_a_hole_by_its_number_is_welcome_though_its_events_came_already() {
    for (first, last) in [(31, 32), (31, 40), (25, 36)] {
        let mut lab = Lab::new();
        lab.rules.max_hole_bytes = 100;
        lab.fill(&[(1, 1, 10)]);
        assert_eq!(lab.send(3, 31, 40), "taken 10, behind a hole");
        assert!(lab.send(4, 41, 50).starts_with("retry: "));
        let answer = lab.send(2, first, last);
        assert!(answer.contains(" repeats") && !answer.ends_with("behind a hole"), "{answer}");
        assert_eq!(lab.send(4, 41, 50), "taken 10");
    }
}

#[test]
fn waiting_behind_a_hole_has_a_limit_for_all_sources_together() {
    let mut lab = holed();
    lab.rules.hole_room_bytes = 99;
    let answer = lab.send(5, 41, 50);
    assert!(answer.starts_with("retry: batch 5 lies behind a hole and 100 bytes of it wait already (limit 199)"));
    lab.rules.hole_room_bytes = 100;
    assert_eq!(lab.send(5, 41, 50), "taken 10, behind a hole");
}

#[test]
fn a_refusal_behind_one_hole_stops_the_clock_of_the_hole_it_falls_into() {
    let mut lab = holed();
    lab.fill(&[(5, 41, 50)]);
    lab.pass(299_999);
    lab.rules.max_hole_bytes = 1;
    assert!(lab.send(4, 31, 40).starts_with("retry: "));
    assert_eq!(lab.pass(1), [(11, 20)], "31..=40 is not closed");
}

#[test]
fn holes_have_a_limit() {
    let mut lab = Lab { rules: Rules { max_hole_bytes: u64::MAX, ..rules() }, ..Lab::new() };
    for n in 1..=OPEN_HOLES_MAX as u64 {
        assert_eq!(lab.send(n * 2, n * 20, n * 20), "taken 1, behind a hole");
    }
    let answer = lab.send(100_000, 5_000_000, 5_000_000);
    let expected =
        "retry: batch 100000 would open one more hole than the 1000 that a source may have: send batch 1 first";
    assert_eq!(answer, expected);
    assert_eq!(lab.send(1, 1, 1), "taken 1");
}

#[test]
fn after_10000_closed_holes_the_source_must_send_another_epoch() {
    let mut lab = Lab { rules: Rules { max_hole_bytes: u64::MAX, ..rules() }, ..Lab::new() };
    for n in 1..=CLOSED_RANGES_MAX as u64 {
        assert_eq!(lab.send(n * 2, n * 20, n * 20), "taken 1, behind a hole");
        if n.is_multiple_of(OPEN_HOLES_MAX as u64) {
            lab.pass(300_000);
            lab.flush();
        }
    }
    let next = CLOSED_RANGES_MAX as u64 * 2 + 2;
    let answer = lab.send(next, next * 10, next * 10);
    let expected = format!(
        "never: batch {next} would leave one more hole than the 10000 closed ones that an epoch may have: go on with \
         another sourceEpoch"
    );
    assert_eq!(answer, expected);
    assert_eq!(lab.send(next - 1, next * 10, next * 10), "taken 1", "a batch that leaves no hole is taken");
}

#[test]
fn new_events_in_too_many_pieces_are_refused() {
    let mut lab = Lab { rules: Rules { max_hole_bytes: u64::MAX, ..rules() }, ..Lab::new() };
    for n in 1..=65 {
        lab.fill(&[(n * 2, n * 20, n * 20)]);
    }
    let answer = lab.send(1_000, 1, 1_300);
    assert!(answer.starts_with("never: the new events of batch 1000 fill more than 64 holes at once"), "{answer}");
}

#[test]
fn a_hole_that_was_open_while_nothing_was_compared_is_never_called_a_duplicate() {
    let mut lab = Lab::new();
    lab.fill(&[(1, 1, 10), (3, 21, 30)]);
    lab.rules.deduplicate = false;
    lab.fill(&[(5, 41, 50), (6, 51, 60)]);
    lab.restart();
    lab.rules.deduplicate = true;
    for (number, first) in [(2, 11), (4, 31)] {
        assert!(lab.send(number, first, first + 9).starts_with("never: event "), "batch {number}");
    }
    assert_eq!(lab.send(7, 61, 70), "taken 10");
}

#[test]
fn what_a_batch_that_was_cut_anew_brings_takes_effect_after_what_came_before() {
    let mut lab = Lab::new();
    lab.fill(&[(1, 1, 10), (2, 11, 15), (3, 16, 30)]);
    assert_eq!(lab.send(4, 11, 40), "taken 10, 20 repeats");
    lab.restart();
    let mut ready: Vec<_> = (0..4).filter_map(|place| lab.source.flushable_at(place)).collect();
    ready.sort_unstable();
    assert_eq!(ready.iter().map(|(.., place)| *place).collect::<Vec<_>>(), [0, 1, 2, 3]);
}

#[test]
fn a_hole_closes_below_a_batch_in_it_that_is_refused_because_of_it() {
    let mut lab = Lab::new();
    lab.fill(&[(1, 1, 10)]);
    for (number, first) in (13..22).zip((131..).step_by(10)) {
        assert_eq!(lab.send(number, first, first + 9), "taken 10, behind a hole");
    }
    assert_eq!(lab.send(22, 221, 230), "taken 10, behind a hole");
    let refused =
        "retry: batch 5 lies behind a hole and 1000 bytes of it wait already (limit 1000): send batch 2 first";
    for _ in 0..10 {
        assert_eq!(lab.send(5, 41, 50), refused);
        assert_eq!(lab.pass(29_999), []);
    }
    assert_eq!(lab.send(5, 41, 50), refused);
    assert_eq!(lab.pass(30_000), [(11, 40)]);
    assert_eq!(lab.source.closed_batches("e", 1, 22), [(2, 4)]);
    assert_eq!((lab.resume(), lab.holes()), (Some(4), vec![(41, 130)]));
    assert!(lab.send(4, 31, 40).starts_with("never: event 31 of batch 4 came too late"));
    lab.save();
    lab.restart();
    lab.source.set_connected(true, lab.now);
    assert_eq!(lab.send(5, 41, 50), "taken 10");
    assert_eq!((lab.resume(), lab.holes()), (Some(5), vec![(51, 130)]));
    assert_eq!(lab.pass(0), [(51, 130)]);
    assert_eq!((lab.resume(), lab.holes()), (Some(22), vec![]));
}

#[test]
fn what_a_hole_begins_with_is_waited_for_after_what_lay_below_was_given_up() {
    let mut lab = Lab::new();
    lab.fill(&[(1, 1, 10)]);
    assert_eq!(lab.send(9, 81, 90), "taken 10, behind a hole");
    lab.pass(299_999);
    lab.refuse(5, (41, 50), true);
    assert_eq!(lab.pass(1), [(11, 40)]);
    assert_eq!(lab.source.next_deadline(&lab.rules), Some(lab.now.after_ms(59_999)));
    assert_eq!(lab.pass(59_998), []);
    assert_eq!(lab.pass(1), [(41, 80)]);
    assert_eq!(lab.source.closed_batches("e", 1, 22), [(2, 4), (5, 8)]);
}
