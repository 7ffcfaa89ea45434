//! Sparse producers: no holes, one connection, and a refused batch comes first.

use super::lab::{Lab, Sent, batch};
use crate::event::ConnId;
use crate::ingest::source::{Hello, Opening, Refusal, Refused, Verdict};
use crate::time::MachineTime;

fn sparse(number: u64, first: u64, last: u64) -> Sent<'static> {
    Sent { opening: Opening { base: 0, sparse: true }, ..batch("e", number, first, last) }
}

/// Batch 10 was taken, batch 20 with its events 201 to 210 refused with retry.
fn refused() -> Lab {
    let mut lab = Lab::new();
    assert_eq!(lab.send_as(sparse(10, 101, 110)), "taken 10");
    lab.refuse(20, (201, 210), true);
    lab
}

/// A batch is refused for good whose events could not be read, and perhaps not even its number.
fn refuse_unread(lab: &mut Lab, number: Option<u64>) {
    let unread = Refused { epoch: "e", number, events: None, after: 0, retry: false, sparse: true };
    lab.source.refused(&unread, lab.now, &lab.rules);
}

const AWAITED: &str = "retry: batch 30 cannot be taken before batch 20, which was refused: send batch 20 again first";

#[test]
fn a_sparse_producer_has_no_holes() {
    let mut lab = Lab::new();
    for (number, first, last) in [(10, 101, 110), (25, 301, 302), (99, 999, 999)] {
        assert_eq!(lab.send_as(sparse(number, first, last)), format!("taken {}", last - first + 1));
        assert_eq!((lab.resume(), lab.holes()), (Some(number), vec![]));
    }
    assert_eq!(lab.send_as(sparse(25, 301, 302)), "duplicate");
    assert_eq!(lab.send_as(sparse(26, 302, 303)), "duplicate, unverified");
}

#[test]
fn it_says_so_once_for_an_epoch() {
    let mut lab = Lab::new();
    lab.send_as(sparse(10, 101, 110));
    assert_eq!(lab.send(25, 301, 302), "taken 2", "said before");
    let mut dense = Lab::new();
    dense.fill(&[(1, 1, 10)]);
    assert_eq!(dense.send_as(sparse(25, 301, 302)), "taken 2, behind a hole", "said too late");
}

#[test]
fn the_newest_connection_wins() {
    let mut lab = Lab::new();
    let hello = |conn| Hello { epoch: "e", last_ack: 0, sparse: true, conn: Some(ConnId(conn)) };
    assert_eq!(lab.source.connect(hello(1), lab.now).superseded, None);
    assert_eq!(lab.source.connect(hello(1), lab.now).superseded, None);
    assert_eq!(lab.source.connect(hello(2), lab.now).superseded, Some(ConnId(1)));
    let on = |conn, number| Sent { conn: Some(ConnId(conn)), ..sparse(number, number * 10, number * 10) };
    assert_eq!(lab.send_as(on(2, 1)), "taken 1");
    assert_eq!(
        lab.send_as(on(1, 2)),
        "retry: batch 2 came on another connection than the newest `connect`: a sparse source sends on that one only"
    );
}

#[test]
fn a_connection_that_outlived_the_machine_says_connect_before_it_goes_on() {
    let mut lab = Lab::new();
    let hello = Hello { epoch: "e", last_ack: 0, sparse: true, conn: Some(ConnId(1)) };
    let on = |number| Sent { conn: Some(ConnId(1)), ..sparse(number, number * 10, number * 10) };
    lab.source.connect(hello, lab.now);
    assert_eq!(lab.send_as(on(1)), "taken 1");
    lab.save();
    lab.restart();
    // Batch 2 was lost on its way to the journal; batch 3 follows on the same socket.
    assert!(lab.send_as(on(3)).starts_with("retry: batch 3 came on another connection"));
    lab.source.connect(Hello { conn: Some(ConnId(2)), ..hello }, lab.now);
    let anew = |number| Sent { conn: Some(ConnId(2)), ..on(number) };
    assert_eq!((lab.send_as(anew(2)), lab.send_as(anew(3))), ("taken 1".to_owned(), "taken 1".to_owned()));
}

#[test]
fn after_a_retryable_nack_everything_is_nacked_until_that_batch_has_come() {
    let mut lab = refused();
    assert_eq!(lab.send_as(sparse(30, 301, 310)), AWAITED);
    assert_eq!(lab.send_as(sparse(10, 101, 110)), "duplicate");
    let (place, answer) = lab.issue(sparse(20, 201, 210));
    assert_eq!(answer, "taken 10");
    assert_eq!(
        lab.send_as(sparse(30, 301, 310)),
        format!("wait for {place}"),
        "it has come, if only its save succeeds"
    );
    lab.source.durable(place, lab.now);
    assert_eq!(lab.send_as(sparse(30, 301, 310)), "taken 10");
}

#[test]
fn what_is_refused_while_the_awaited_one_is_on_its_way_is_awaited_next() {
    let mut lab = refused();
    let (place, _) = lab.issue(sparse(20, 201, 210));
    lab.refuse(30, (301, 310), true);
    lab.source.durable(place, lab.now);
    assert!(lab.send_as(sparse(40, 401, 410)).contains("before batch 30"));
    assert_eq!(lab.send_as(sparse(30, 301, 310)), "taken 10");
    assert_eq!(lab.send_as(sparse(40, 401, 410)), "taken 10");
}

#[test]
fn what_is_lost_on_its_way_to_the_journal_is_not_passed_over() {
    let mut lab = Lab::new();
    let (place, _) = lab.issue(sparse(20, 201, 210));
    assert_eq!(lab.send_as(sparse(30, 301, 310)), format!("wait for {place}"));
    lab.source.forget(place, lab.now);
    lab.refuse(20, (201, 210), true);
    assert_eq!(lab.send_as(sparse(30, 301, 310)), AWAITED);
    assert_eq!(lab.send_as(sparse(20, 201, 210)), "taken 10");
    assert_eq!(lab.send_as(sparse(30, 301, 310)), "taken 10");
}

#[test]
fn of_several_refused_batches_the_lowest_is_awaited() {
    let mut lab = refused();
    lab.refuse(40, (401, 410), true);
    assert_eq!(lab.send_as(sparse(30, 301, 310)), AWAITED);
    lab.refuse(15, (151, 160), true);
    assert!(lab.send_as(sparse(20, 201, 210)).contains("before batch 15"));
    for number in [15, 20, 30, 40] {
        assert_eq!(lab.send_as(sparse(number, number * 10 + 1, number * 10 + 10)), "taken 10");
    }
}

#[test]
fn a_batch_that_came_and_was_not_saved_is_awaited_again() {
    let mut lab = refused();
    let (place, _) = lab.issue(sparse(20, 201, 210));
    lab.source.forget(place, lab.now);
    assert_eq!(lab.send_as(sparse(30, 301, 310)), AWAITED);
}

#[test]
fn a_first_batch_that_was_refused_is_awaited_too() {
    let mut lab = Lab::new();
    lab.refuse(20, (201, 210), true);
    assert_eq!(lab.send_as(sparse(30, 301, 310)), AWAITED);
    assert_eq!(lab.send_as(sparse(20, 201, 210)), "taken 10");
}

#[test]
fn a_nack_without_retry_ends_the_waiting() {
    let mut lab = refused();
    lab.refuse(20, (201, 210), false);
    assert_eq!(lab.send_as(sparse(30, 301, 310)), "taken 10");
    assert!(lab.send_as(sparse(20, 201, 210)).starts_with("never: event 201 of batch 20 came too late"));
    assert_eq!(lab.source.closed_batches("e", 10, 30), [(20, 20)]);
}

#[test]
fn a_nack_without_retry_of_what_could_not_be_read_ends_the_waiting() {
    let mut lab = refused();
    refuse_unread(&mut lab, Some(20));
    assert_eq!(lab.send_as(sparse(30, 301, 310)), "taken 10");
}

#[test]
fn the_hole_time_out_ends_the_waiting() {
    let mut lab = refused();
    lab.pass(299_999);
    assert_eq!(lab.send_as(sparse(30, 301, 310)), AWAITED);
    lab.pass(1);
    assert_eq!(lab.send_as(sparse(30, 301, 310)), "taken 10");
    assert!(lab.send_as(sparse(20, 201, 210)).starts_with("never: "), "never called a duplicate");
    assert_eq!(lab.source.counters().holes_closed, 1);
}

#[test]
fn refused_batches_that_repeat_events_of_one_another_are_passed_over_together() {
    let mut lab = refused();
    for (number, events) in [(22, (203, 204)), (23, (203, 204)), (25, (206, 215)), (26, (201, 216))] {
        lab.refuse(number, events, true);
    }
    lab.pass(300_000);
    assert_eq!(lab.send_as(sparse(30, 301, 310)), "taken 10");
    lab.save();
    lab.restart();
    assert_eq!(lab.source.closed_batches("e", 10, 30), [20, 22, 23, 25, 26].map(|number| (number, number)));
    for event in [201, 203, 210, 211, 216] {
        assert!(lab.send_as(sparse(31, event, event)).starts_with("never: "), "event {event}");
    }
    assert_eq!(lab.send_as(sparse(31, 311, 311)), "taken 1");
}

#[test]
fn each_batch_that_is_passed_over_is_named_beside_one_that_could_not_be_read() {
    for unread in [None, Some(15), Some(25)] {
        let mut lab = refused();
        refuse_unread(&mut lab, unread);
        lab.refuse(22, (221, 230), true);
        lab.pass(300_000);
        assert_eq!(lab.send_as(sparse(30, 301, 310)), "taken 10");
        lab.save();
        let named = lab.source.closed_batches("e", 10, 30);
        let mut expected: Vec<(u64, u64)> = unread.into_iter().chain([20, 22]).map(|number| (number, number)).collect();
        expected.sort_unstable();
        assert_eq!(named, expected);
    }
}

#[test]
fn a_connect_at_or_above_the_refused_batch_ends_the_waiting() {
    let mut lab = refused();
    lab.connect("e", 19);
    assert_eq!(lab.send_as(sparse(30, 301, 310)), AWAITED);
    lab.connect("e", 20);
    assert_eq!(lab.send_as(sparse(30, 301, 310)), "taken 10");
}

#[test]
fn the_waiting_is_remembered_across_a_restart() {
    let mut lab = refused();
    assert!(lab.source.unsaved());
    lab.save();
    lab.restart();
    assert_eq!(lab.send_as(sparse(30, 301, 310)), AWAITED);
}

#[test]
fn a_restart_at_an_earlier_time_makes_the_waiting_no_longer() {
    let mut lab = refused();
    lab.pass(200_000);
    lab.refuse(20, (201, 210), true);
    lab.pass(100_000);
    lab.save();
    lab.now = MachineTime(150_000);
    lab.restart();
    lab.pass(199_999);
    assert_eq!(lab.send_as(sparse(30, 301, 310)), AWAITED);
    lab.pass(1);
    assert_eq!(lab.send_as(sparse(30, 301, 310)), "taken 10");
}

#[test]
fn a_batch_in_new_clothes_ends_the_waiting_where_it_overlaps() {
    let mut lab = refused();
    lab.pass(300_000);
    assert_eq!(lab.send_as(sparse(25, 201, 205)), "taken 5");
    assert_eq!(lab.send_as(sparse(26, 206, 210)), "taken 5");
    assert_eq!(lab.source.counters().holes_closed, 0);
}

#[test]
fn what_a_batch_repeats_of_a_refused_one_ends_the_waiting_for_that_alone() {
    let mut lab = refused();
    assert!(lab.send_as(sparse(30, 208, 220)).contains("before batch 20"));
    assert_eq!(lab.send_as(sparse(20, 201, 210)), "taken 10");
    lab.save();
    lab.restart();
    assert_eq!(
        lab.send_as(sparse(40, 401, 410)),
        "retry: batch 40 cannot be taken before batch 30, which was refused: send batch 30 again first"
    );
    assert_eq!(lab.send_as(sparse(30, 208, 220)), "taken 10, 3 repeats");
    assert_eq!(lab.send_as(sparse(40, 401, 410)), "taken 10");
    assert_eq!(lab.source.counters().holes_closed, 0);
}

#[test]
fn what_a_later_batch_does_not_repeat_of_a_refused_one_is_passed_over() {
    let mut lab = refused();
    lab.pass(300_000);
    assert_eq!(lab.send_as(sparse(30, 206, 215)), "taken 10");
    assert!(
        lab.send_as(sparse(20, 201, 210)).starts_with("never: event 201 of batch 20 came too late: events 201..=205")
    );
    assert_eq!(lab.send_as(sparse(40, 206, 210)), "taken 0, 5 repeats");
    assert_eq!(lab.source.counters().holes_closed, 1);
}

#[test]
fn every_refused_batch_is_awaited_in_its_turn() {
    let mut lab = refused();
    assert_eq!(lab.send_as(sparse(30, 301, 310)), AWAITED);
    assert_eq!(lab.send_as(sparse(20, 201, 210)), "taken 10");
    lab.save();
    lab.restart();
    // The producer has not read the nack of 30 yet.
    assert!(lab.send_as(sparse(40, 401, 410)).contains("before batch 30"));
    assert_eq!(lab.send_as(sparse(30, 301, 310)), "taken 10");
    assert_eq!(lab.send_as(sparse(40, 401, 410)), "taken 10");
}

#[test]
fn a_source_that_gives_up_what_is_refused_is_not_refused_for_ever() {
    let mut lab = refused();
    lab.pass(299_999);
    assert_eq!(lab.send_as(sparse(30, 301, 310)), AWAITED);
    lab.pass(1);
    assert_eq!(lab.send_as(sparse(40, 401, 410)), "taken 10");
    assert!(lab.send_as(sparse(30, 301, 310)).starts_with("never: event 301 of batch 30 came too late"));
    assert_eq!(lab.source.counters().holes_closed, 2);
}

#[test]
fn when_too_many_are_awaited_the_source_is_told_to_send_all_again() {
    let mut lab = refused();
    for number in 30..285 {
        assert!(lab.send_as(sparse(number, number * 10 + 1, number * 10 + 10)).contains("before batch 20"));
    }
    let message =
        "retry: batch 285 follows 256 refused batches, all of which must come first: send them again in order";
    assert_eq!(lab.send_as(sparse(285, 2851, 2860)), message);
    for number in [20].into_iter().chain(30..286) {
        assert_eq!(lab.send_as(sparse(number, number * 10 + 1, number * 10 + 10)), "taken 10");
    }
}

#[test]
fn what_was_awaited_of_an_epoch_ends_with_it() {
    let mut lab = refused();
    assert_eq!(lab.send_as(Sent { epoch: "f", ..sparse(1, 1, 10) }), "taken 10");
    assert!(lab.send_as(sparse(30, 301, 310)).starts_with("never: epoch \"e\" ended"));
}

#[test]
fn a_batch_that_could_not_be_read_and_was_passed_over_is_never_called_a_duplicate() {
    for number in [Some(20), None] {
        let mut lab = Lab::new();
        assert_eq!(lab.send_as(sparse(10, 101, 110)), "taken 10");
        refuse_unread(&mut lab, number);
        lab.save();
        lab.restart();
        assert_eq!(lab.send_as(sparse(30, 301, 310)), "taken 10");
        assert!(lab.send_as(sparse(20, 201, 203)).starts_with("never: event 201 of batch 20 came too late"));
        // It is settled, and costs no later jump anything.
        assert_eq!(lab.send_as(sparse(40, 401, 410)), "taken 10");
        assert_eq!(lab.source.counters().holes_closed, 1);
    }
}

#[test]
fn a_batch_that_could_not_be_read_is_taken_when_it_is_repaired_in_time() {
    for number in [Some(20), None] {
        let mut lab = Lab::new();
        assert_eq!(lab.send_as(sparse(10, 101, 110)), "taken 10");
        refuse_unread(&mut lab, number);
        assert_eq!(lab.send_as(sparse(20, 111, 113)), "taken 3");
        assert_eq!(lab.send_as(sparse(30, 301, 310)), "taken 10");
        assert_eq!(lab.source.counters().holes_closed, 0);
    }
}

#[test]
fn what_has_no_number_stands_after_all_that_is_awaited() {
    let mut lab = refused();
    lab.refuse(11, (111, 112), true);
    refuse_unread(&mut lab, None);
    assert!(lab.send_as(sparse(30, 301, 310)).contains("before batch 11"));
    assert_eq!(lab.send_as(sparse(11, 111, 112)), "taken 2");
    assert_eq!(lab.send_as(sparse(20, 201, 210)), "taken 10");
    assert_eq!(lab.send_as(sparse(30, 301, 310)), "taken 10");
    assert!(lab.send_as(sparse(22, 221, 223)).starts_with("never: event 221 of batch 22 came too late"));
}

#[test]
fn a_batch_of_old_events_keeps_to_the_order_too() {
    let mut lab = refused();
    assert_eq!(lab.send_as(sparse(30, 105, 108)), AWAITED);
    assert_eq!((lab.resume(), lab.source.closed_batches("e", 0, 99)), (Some(10), vec![]));
    let (place, _) = lab.issue(sparse(20, 201, 210));
    assert_eq!(lab.send_as(sparse(30, 105, 108)), format!("wait for {place}"), "that one may yet be lost");
    lab.source.durable(place, lab.now);
    assert_eq!(lab.send_as(sparse(30, 105, 108)), "taken 0, 4 repeats");
    assert_eq!(lab.resume(), Some(30));
}

#[test]
fn while_nothing_is_compared_one_at_a_time_is_on_its_way_too() {
    let mut lab = Lab::new();
    assert_eq!(lab.send_as(sparse(10, 101, 110)), "taken 10");
    lab.rules.deduplicate = false;
    let (place, _) = lab.issue(sparse(20, 201, 210));
    assert_eq!(lab.send_as(sparse(30, 301, 310)), format!("wait for {place}"));
}

#[test]
fn a_refusal_counts_until_a_newer_epoch_is_durable() {
    let mut lab = Lab::new();
    assert_eq!(lab.send_as(sparse(10, 101, 110)), "taken 10");
    let (place, _) = lab.issue(Sent { epoch: "f", ..sparse(1, 1, 10) });
    lab.refuse(20, (201, 210), true);
    lab.source.forget(place, lab.now);
    assert_eq!(lab.send_as(sparse(30, 301, 310)), AWAITED);
}

#[test]
fn a_batch_without_a_number_is_none_of_an_epoch_that_has_them() {
    let unnumbered = |first, last| Sent { is_numbered: false, ..sparse(last, first, last) };
    let mut lab = Lab::new();
    lab.fill(&[(1, 1, 100), (2, 101, 200)]);
    assert_eq!(
        lab.send_as(unnumbered(201, 300)),
        "never: sequenceNumber: expected one, since the batches of epoch \"e\" have them: send it, or another sourceEpoch"
    );
    assert_eq!((lab.send(3, 201, 300), lab.resume()), ("taken 100".to_owned(), Some(3)));
    assert_eq!(lab.send_as(Sent { epoch: "f", ..unnumbered(1, 10) }), "taken 10");
}

#[test]
fn what_is_given_up_for_lack_of_room_takes_no_events_along_that_others_hold_too() {
    let mut lab = Lab::new();
    assert_eq!(lab.send_as(sparse(10, 101, 110)), "taken 10");
    lab.refuse(20, (201, 210), true);
    lab.refuse(30, (205, 310), true);
    lab.refuse(40, (305, 410), true);
    lab.refuse(30, (205, 310), false);
    for number in 0..300 {
        lab.refuse(1_000 + number, (1_000 + number, 1_000 + number), true);
    }
    assert_eq!(lab.source.closed_batches("e", 0, 99), [(30, 30)]);
    assert_eq!(lab.send_as(sparse(20, 201, 210)), "taken 10");
    assert_eq!(lab.send_as(sparse(40, 305, 410)), "taken 106");
    assert!(lab.send_as(sparse(41, 250, 260)).starts_with("never: event 250 of batch 41 came too late"));
}

#[test]
fn what_was_given_up_for_lack_of_room_and_came_after_all_is_not_named() {
    let mut lab = Lab::new();
    assert_eq!(lab.send_as(sparse(10, 101, 110)), "taken 10");
    refuse_unread(&mut lab, Some(20));
    for number in 0..300 {
        lab.refuse(1_000 + number, (1_000 + number, 1_000 + number), true);
    }
    assert_eq!(lab.source.closed_batches("e", 0, 99), [(20, 20)]);
    let (place, answer) = lab.issue(sparse(20, 201, 210));
    assert_eq!(answer, "taken 10");
    assert_eq!(lab.source.closed_batches("e", 0, 99), [(20, 20)], "it is not durable yet");
    lab.source.durable(place, lab.now);
    assert_eq!(lab.source.closed_batches("e", 0, 99), []);
    lab.save();
    lab.restart();
    assert_eq!(lab.source.closed_batches("e", 0, 99), []);
}

#[test]
fn what_is_being_saved_is_not_given_up_for_lack_of_room() {
    let mut lab = Lab::new();
    assert_eq!(lab.send_as(sparse(10, 101, 110)), "taken 10");
    lab.refuse(20, (201, 210), true);
    lab.pass(300_001);
    let (place, answer) = lab.issue(sparse(20, 201, 210));
    assert_eq!(answer, "taken 10");
    for number in 0..300 {
        refuse_unread(&mut lab, Some(1_000 + number));
    }
    lab.source.durable(place, lab.now);
    assert_eq!(lab.send_as(sparse(20, 201, 210)), "duplicate");
    let answer = lab.send_as(sparse(30, 205, 215));
    assert!(!answer.starts_with("never: "), "{answer}");
}

#[test]
fn what_was_given_up_unread_for_lack_of_room_is_not_called_a_duplicate_when_it_comes_too_late() {
    let mut lab = Lab::new();
    assert_eq!(lab.send_as(sparse(10, 101, 110)), "taken 10");
    refuse_unread(&mut lab, Some(20));
    lab.refuse(30, (301, 310), true);
    for number in 0..300 {
        lab.refuse(1_000 + number, (1_000 + number, 1_000 + number), true);
    }
    assert_eq!(lab.send_as(sparse(30, 301, 310)), "taken 10");
    assert!(lab.send_as(sparse(20, 201, 210)).starts_with("never: event 201 of batch 20 came too late"));
    assert_eq!(lab.send_as(sparse(10, 101, 110)), "duplicate");
}

#[test]
fn what_repeats_old_events_before_its_own_is_not_passed_over_by_what_lies_between() {
    let old_and_new = |lab: &mut Lab| lab.judge(sparse(40, 105, 410), [105, 401, 410]);
    let mut lab = refused();
    assert!(matches!(old_and_new(&mut lab), Verdict::Refuse(Refusal::AwaitsRefused { awaited: 20, .. })));
    assert_eq!(lab.send_as(sparse(20, 201, 210)), "taken 10");
    assert_eq!(lab.source.closed_batches("e", 0, 99), []);
    assert!(matches!(old_and_new(&mut lab), Verdict::Take(take) if take.processed == 2));
    assert!(lab.send_as(sparse(50, 501, 510)).contains("before batch 40"));
}

#[test]
fn a_batch_of_old_events_does_not_settle_one_that_could_not_be_read() {
    let mut lab = Lab::new();
    assert_eq!(lab.send_as(sparse(10, 101, 110)), "taken 10");
    refuse_unread(&mut lab, Some(20));
    assert_eq!(lab.send_as(sparse(30, 105, 108)), "taken 0, 4 repeats");
    assert_eq!(lab.send_as(sparse(40, 401, 410)), "taken 10");
    assert!(lab.send_as(sparse(20, 201, 203)).starts_with("never: event 201 of batch 20 came too late"));
    assert_eq!(lab.source.closed_batches("e", 10, 40), [(20, 20)]);
}

#[test]
fn what_only_a_number_passes_is_named_and_its_events_may_come_under_another() {
    let mut lab = refused();
    refuse_unread(&mut lab, Some(21));
    lab.pass(300_000);
    assert_eq!(lab.send_as(sparse(30, 105, 108)), "taken 0, 4 repeats");
    lab.save();
    lab.restart();
    assert_eq!(lab.source.closed_batches("e", 10, 30), [(20, 20), (21, 21)]);
    assert_eq!(lab.source.counters().holes_closed, 0);
    assert!(lab.send_as(sparse(20, 201, 210)).starts_with("never: expected a batch number above 30"));
    assert_eq!(lab.send_as(sparse(31, 111, 200)), "taken 90");
    assert_eq!(lab.send_as(sparse(32, 201, 210)), "taken 10");
    assert_eq!(lab.send_as(sparse(40, 401, 410)), "taken 10");
    assert_eq!(lab.source.counters().holes_closed, 0);
}

#[test]
fn what_could_not_be_read_stands_after_those_that_wait() {
    let mut lab = Lab::new();
    let (place, _) = lab.issue(sparse(10, 101, 110));
    assert_eq!(lab.send_as(sparse(20, 201, 210)), format!("wait for {place}"));
    let unread = Refused { epoch: "e", number: None, after: 20, events: None, retry: false, sparse: true };
    lab.source.refused(&unread, lab.now, &lab.rules);
    lab.source.durable(place, lab.now);
    assert_eq!(lab.send_as(sparse(20, 201, 210)), "taken 10");
    assert_eq!(lab.send_as(sparse(40, 401, 410)), "taken 10");
    assert!(lab.send_as(sparse(30, 301, 310)).starts_with("never: event 301 of batch 30 came too late"));
}

#[test]
fn what_came_under_other_numbers_is_not_named() {
    let mut lab = refused();
    lab.pass(300_000);
    assert_eq!(lab.send_as(sparse(25, 201, 205)), "taken 5");
    assert_eq!(lab.source.closed_batches("e", 10, 25), [(20, 20)], "as long as some of it has not");
    lab.save();
    lab.restart();
    assert_eq!(lab.send_as(sparse(26, 206, 210)), "taken 5");
    assert_eq!(lab.source.closed_batches("e", 10, 26), []);
}

#[test]
fn what_an_older_epoch_did_not_get_is_still_named() {
    let mut lab = refused();
    lab.pass(300_000);
    assert_eq!(lab.send_as(sparse(25, 201, 205)), "taken 5");
    assert_eq!(lab.send_as(Sent { epoch: "f", ..sparse(1, 1, 10) }), "taken 10");
    assert_eq!(lab.source.closed_batches("e", 10, 25), [(20, 20)]);
}

#[test]
fn a_batch_far_above_is_passed_over_by_its_number_once() {
    let mut lab = Lab::new();
    assert_eq!(lab.send_as(sparse(10, 101, 110)), "taken 10");
    lab.refuse(20, (1_000_000, 1_000_005), false);
    for (number, passes_over) in [(21, true), (22, false)] {
        let Verdict::Take(take) = lab.judge(sparse(number, number * 10, number * 10), [number * 10]) else {
            panic!("batch {number} is taken")
        };
        assert_eq!(lab.source.would_pass_over(&take.head), passes_over, "batch {number}");
        lab.send_as(sparse(number, number * 10, number * 10));
    }
}

#[test]
fn what_is_new_in_a_batch_that_is_refused_for_what_is_old_is_passed_over_too() {
    let mut lab = refused();
    lab.refuse(20, (201, 210), false);
    assert_eq!(lab.send_as(sparse(30, 301, 310)), "taken 10");
    let repacked = (201..=210).chain(311..=315);
    assert!(matches!(
        lab.judge(sparse(31, 201, 315), repacked),
        Verdict::Refuse(Refusal::InClosedHole { event: 201, .. })
    ));
    lab.save();
    lab.restart();
    assert_eq!(lab.send_as(sparse(40, 401, 410)), "taken 10");
    assert!(lab.send_as(sparse(41, 311, 315)).starts_with("never: event 311 of batch 41 came too late"));
    assert_eq!(lab.source.closed_batches("e", 10, 41), [(20, 20), (31, 31)]);
}

#[test]
fn a_batch_that_begins_with_an_old_event_passes_over_what_lies_between() {
    let mut lab = refused();
    lab.pass(300_000);
    let Verdict::Take(take) = lab.judge(sparse(40, 105, 410), [105, 401, 410]) else { panic!("it is taken") };
    let place = take.head.place;
    lab.source.issued(take);
    lab.next_place += 1;
    lab.source.durable(place, lab.now);
    assert!(lab.send_as(sparse(20, 201, 210)).starts_with("never: event 201 of batch 20 came too late"));
    assert_eq!(lab.source.closed_batches("e", 10, 40), [(20, 20)]);
}
