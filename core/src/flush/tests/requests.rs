//! Who asks for a flush, or for the machine to stop, is answered: with what was done, or with what is in the way.

use bytes::Bytes;

use super::host::{Host, config, failure, outage};
use crate::command::Outcome;
use crate::config::Config;
use crate::event::{ConnId, Event, Frame};
use crate::limits::FLUSH_REQUESTS_MAX;
use crate::wire::client::Capabilities;
use crate::wire::server::{CircuitBreakerState, FlushResult};

/// The answer to `POST /flush`, which comes within a minute.
fn ask(host: &mut Host) -> (u16, FlushResult) {
    host.request("POST", "/flush");
    host.pass(60_000);
    answer(host)
}

/// The answer that came last.
fn answer(host: &mut Host) -> (u16, FlushResult) {
    let (status, body) = host.answers.pop().expect("an answer");
    (status, serde_json::from_slice(&body).expect("a flush result"))
}

/// Table `bad` takes no writes, and has as much parked as it may have; more waits behind it.
fn held_up() -> Host {
    let mut host = outage(Config { max_parked_bytes: 2_000, ..config() });
    for number in 1..=4 {
        host.send(1, number, &["bad", "good"]);
        host.pass(12_000);
    }
    assert_eq!(host.parked(), [("bad".to_owned(), 2)], "the third has no room");
    host
}

#[test]
fn one_who_asks_is_told_which_table_holds_up_the_flush() {
    let mut host = held_up();
    let (status, result) = ask(&mut host);
    assert_eq!((status, result.success, result.events_flushed), (503, false, 0));
    let error = result.error.expect("a reason");
    assert!(error.contains("hold up the flush") && error.contains("bad") && error.contains("no access"), "{error}");
}

#[test]
fn what_holds_up_the_flush_is_tried_at_once_for_one_who_asks() {
    let mut host = held_up();
    host.pass(120_000);
    host.broken.clear();
    let before = host.now;
    host.request("POST", "/flush");
    assert_eq!((host.now, host.mark(1)), (before, 4));
    host.check("bad", &[("s1", 10), ("s1", 20), ("s1", 30), ("s1", 40)]);
    host.pass(3_000);
    assert_eq!(host.answers.pop().map(|(status, _)| status), Some(200));
}

#[test]
fn stopping_does_not_wait_for_a_table_that_holds_up_the_flush() {
    let mut host = held_up();
    host.step(Event::Shutdown);
    host.pass(2_000);
    assert!(host.stopped);
}

#[test]
fn a_table_that_is_damaged_and_alone_keeps_nobody_waiting() {
    let mut host = Host::new(config());
    host.connect(1);
    host.send(1, 1, &["bad"]);
    host.pass(20_000);
    let keys: Vec<String> = host.store.keys().filter(|key| key.ends_with(".metadata.json")).cloned().collect();
    keys.iter().for_each(|key| drop(host.store.insert(key.clone(), "{}".into())));
    host.restart();
    host.connect(1);
    host.send(1, 2, &["bad"]);
    let (status, result) = ask(&mut host);
    assert_eq!((status, result.success, host.parked()), (503, false, vec![]));
    assert!(result.error.is_some_and(|error| error.contains("hold up the flush: bad (")));
    host.step(Event::Shutdown);
    host.pass(2_000);
    assert!(host.stopped);
}

#[test]
fn stopping_waits_for_hints_that_cannot_be_written_no_longer_than_their_patience() {
    let mut host = Host::new(config());
    host.broken = vec!["version-hint"];
    host.connect(1);
    host.send(1, 1, &["good"]);
    host.step(Event::Shutdown);
    host.pass(2_000);
    assert!(!host.stopped, "a reader by path may see it yet");
    host.pass(1_500);
    assert!(host.stopped);
}

#[test]
fn stopping_tries_a_hint_once_more_that_could_not_be_written() {
    let mut host = Host::new(config());
    host.broken = vec!["version-hint"];
    host.connect(1);
    host.send(1, 1, &["good"]);
    host.pass(600_000);
    host.broken.clear();
    host.step(Event::Shutdown);
    host.pass(1_500);
    assert!(host.stopped && host.store.contains_key("warehouse/default/good/metadata/version-hint.text"));
}

#[test]
fn stopping_tries_a_hint_as_often_as_its_time_allows() {
    let mut host = Host::new(config());
    host.broken = vec!["version-hint"];
    host.connect(1);
    host.send(1, 1, &["good"]);
    host.pass(600_000);
    host.step(Event::Shutdown);
    host.pass(1_500);
    assert!(!host.stopped);
    host.broken.clear();
    host.pass(1_500);
    assert!(host.stopped && host.store.contains_key("warehouse/default/good/metadata/version-hint.text"));
}

/// Two tables take no writes, and one of them has as much parked as it may have: all that waits is for that one.
fn held_up_alone() -> Host {
    let mut host = outage(Config { max_parked_bytes: 2_000, flush_threshold_bytes: 1, ..config() });
    host.broken.push("/worse/");
    host.send(1, 1, &["worse", "good"]);
    host.pass(12_000);
    for number in 2..=3 {
        host.send(1, number, &["bad", "good"]);
        host.pass(12_000);
    }
    host.send(1, 4, &["bad"]);
    host.pass(12_000);
    host
}

#[test]
fn one_who_asks_is_told_of_a_table_that_holds_up_the_flush_while_another_is_parked() {
    let (status, result) = ask(&mut held_up_alone());
    assert_eq!(status, 503);
    assert!(result.error.is_some_and(|error| error.contains("bad")));
}

#[test]
fn stopping_does_not_wait_for_a_table_that_holds_up_the_flush_while_another_is_parked() {
    let mut host = held_up_alone();
    host.step(Event::Shutdown);
    host.pass(60_000);
    assert!(host.stopped);
}

/// A flush of parked events is none that begins the time to the next anew.
#[test]
fn stopping_writes_the_hint_of_what_was_parked_also_when_that_takes_long() {
    let mut host = outage(Config { flush_threshold_bytes: 1, ..config() });
    for number in 1..=80 {
        host.send(1, number, &["bad", "good"]);
        host.pass(2_000);
    }
    assert_eq!(host.parked(), [("bad".to_owned(), 80)]);
    host.broken = vec!["version-hint"];
    host.are_commits_slow = true;
    host.step(Event::Shutdown);
    for tenths in 0..200 {
        host.pass(100);
        host.end_saves();
        if tenths == 40 {
            host.broken.clear();
        }
    }
    assert!(host.stopped);
    assert_eq!(host.parked(), []);
    let hint = host.store["warehouse/default/bad/metadata/version-hint.text"].clone();
    let hint = std::str::from_utf8(&hint).expect("text");
    assert!(hint.starts_with("00079-"), "{hint}");
}

#[test]
fn stopping_does_not_wait_for_a_store_that_was_away_since_the_start() {
    let mut host = Host::new(config());
    host.connect(1);
    host.send(1, 1, &["good"]);
    host.pass(20_000);
    host.restart();
    host.broken = vec!["warehouse/"];
    host.unreadable = vec!["dolake.json"];
    host.pass(20_000);
    host.step(Event::Shutdown);
    host.pass(4_000);
    assert!(host.stopped);
}

#[test]
fn one_who_asks_is_told_that_the_store_was_away_since_the_start() {
    let mut host = Host::new(config());
    host.broken = vec!["dolake.json", "warehouse/"];
    host.connect(1);
    host.send(1, 1, &["good"]);
    let (status, result) = ask(&mut host);
    assert_eq!((status, result.success, result.used_fallback), (503, false, true));
    assert!(result.error.is_some_and(|error| error.contains("the store is failing (the store's marker: no access)")));
    assert_eq!(host.status().circuit_breaker, CircuitBreakerState::Open);

    host.broken.clear();
    host.pass(60_000);
    assert_eq!((host.status().circuit_breaker, host.mark(1)), (CircuitBreakerState::Closed, 1));
}

#[test]
fn what_was_due_while_the_journal_refused_a_plan_begins_when_it_takes_writes_again() {
    let due: [fn(&mut Host); 2] = [|host| host.request("POST", "/flush"), |host| host.step(Event::Shutdown)];
    for ask in due {
        let mut host = Host::new(Config::default());
        host.connect(1);
        host.send(1, 1, &["good"]);
        host.are_plans_refused = true;
        ask(&mut host);
        host.are_plans_refused = false;
        assert_eq!(host.mark(1), 0);
        let deadline = host.lake.deadline().expect("a flush is due");
        assert_eq!((deadline.why, deadline.after_ms <= 1_000), ("journal retry", true));
        host.pass(1_500);
        assert_eq!(host.mark(1), 1);
    }
}

#[test]
fn more_requests_than_may_wait_are_answered_at_once_and_the_others_with_what_was_flushed() {
    let mut host = Host::new(config());
    host.connect(1);
    host.send(1, 1, &["good", "other"]);
    host.are_commits_slow = true;
    host.pass(2_000);
    for _ in 0..FLUSH_REQUESTS_MAX {
        host.request("POST", "/flush");
    }
    assert_eq!(host.answers.len(), 0);
    let request = r#"{"type":"flush_request","timestamp":0,"sourceDoId":"s1","reason":"manual"}"#;
    for _ in 0..10 {
        host.step(Event::Received { conn: ConnId(1), frame: Frame::Text(request.into()) });
    }
    assert_eq!(host.flushed.len(), 10);
    for result in &host.flushed {
        assert!(!result.success && result.error.as_ref().is_some_and(|error| error.contains("at most 1000 requests")));
    }
    host.request("POST", "/flush");
    assert_eq!(host.answers.pop().map(|(status, _)| status), Some(503));

    host.are_commits_slow = false;
    host.end_saves();
    host.pass(3_000);
    assert_eq!(host.answers.len(), FLUSH_REQUESTS_MAX);
    for (status, body) in &host.answers {
        let result: FlushResult = serde_json::from_slice(body).expect("a flush result");
        let figures = (result.batches_flushed, result.events_flushed, result.paths.len(), result.snapshots.len());
        assert_eq!((*status, result.success, figures), (200, true, (1, 2, 2, 2)));
    }
}

#[test]
fn one_who_came_later_is_told_of_later_flushes_only() {
    let mut host = Host::new(Config { flush_threshold_bytes: 1, ..config() });
    host.connect(1);
    host.are_commits_slow = true;
    host.send(1, 1, &["good"]);
    host.send(1, 2, &["good"]);
    host.request("POST", "/flush");
    host.end_saves();
    host.request("POST", "/flush");
    host.are_commits_slow = false;
    host.end_saves();
    host.pass(3_000);
    let flushed = host.answers.iter().map(|(status, body)| {
        let result: FlushResult = serde_json::from_slice(body).expect("a flush result");
        (*status, result.batches_flushed)
    });
    assert_eq!(flushed.collect::<Vec<_>>(), [(200, 2), (200, 1)]);
}

#[test]
fn one_who_asks_is_answered_though_one_flush_follows_the_other() {
    let mut host = Host::new(Config { flush_threshold_events: 1, ..config() });
    host.connect(1);
    host.are_commits_slow = true;
    host.send(1, 1, &["good"]);
    for number in 2..=50 {
        host.send(1, number, &["good"]);
        host.pass(100);
        if number == 20 {
            host.request("POST", "/flush");
        }
        host.end_saves();
        assert_eq!(host.held.len(), 1, "the next flush is under way");
    }
    let (status, result) = answer(&mut host);
    assert!((status, result.success) == (200, true) && result.duration_ms <= 1_100, "{result:?}");
}

#[test]
fn nobody_asks_for_the_flush_of_what_came_after_him() {
    let mut host = Host::new(Config { flush_threshold_ms: 60_000, flush_interval_ms: 60_000, ..config() });
    host.connect(1);
    for number in 1..=2 {
        host.send(1, number, &["good"]);
        host.request("POST", "/flush");
    }
    assert_eq!((host.mark(1), host.answers.len()), (2, 1), "the second waits for a hint");
    for number in 3..=30 {
        host.send(1, number, &["good"]);
        host.pass(100);
    }
    assert_eq!((host.mark(1), host.answers.len()), (2, 2));
}

/// Two tables take no writes, and when a try of one ends, one of the other is due.
fn tried_in_turn() -> Host {
    let mut host = Host::new(config());
    host.broken = vec!["/bad/", "/worse/"];
    host.connect(1);
    host.send(1, 1, &["bad", "worse", "good"]);
    host.pass(5_000);
    assert_eq!(host.parked().len(), 2);
    host.are_commits_slow = true;
    a_try_of_each(&mut host);
    host
}

fn a_try_of_each(host: &mut Host) {
    for _ in 0..2 {
        host.pass(15_000);
        assert_eq!(host.held.len(), 1, "a try under way");
        host.end_saves();
    }
}

#[test]
fn one_who_asks_waits_for_one_try_of_each_parked_table() {
    let mut host = tried_in_turn();
    host.pass(7_000);
    host.request("POST", "/flush");
    host.end_saves();
    assert_eq!(host.answers.len(), 0, "the other is still to be tried");
    a_try_of_each(&mut host);
    let (status, result) = answer(&mut host);
    assert!(status == 503 && result.error.is_some_and(|error| error.contains("are parked: bad, worse")));
}

#[test]
fn stopping_waits_for_one_try_of_each_parked_table() {
    let mut host = tried_in_turn();
    host.pass(7_000);
    host.step(Event::Shutdown);
    host.end_saves();
    assert!(!host.stopped, "the other is still to be tried");
    host.pass(15_000);
    host.end_saves();
    assert!(host.stopped);
}

#[test]
fn one_who_asks_is_answered_before_the_machine_stops() {
    let mut host = Host::new(config());
    host.connect(1);
    host.send(1, 1, &["good"]);
    host.pass(20_000);
    host.broken = vec!["warehouse/"];
    host.send(1, 2, &["good"]);
    host.pass(60_000);
    assert_eq!(host.status().circuit_breaker, CircuitBreakerState::Open);
    host.request("POST", "/flush");
    assert_eq!((host.answers.len(), host.stopped), (0, false));
    host.step(Event::Shutdown);
    let (status, result) = answer(&mut host);
    assert!(host.stopped && status == 503 && result.error.is_some_and(|error| error.contains("DoLake stops")));
}

#[test]
fn a_machine_that_is_to_stop_begins_no_hint_for_which_it_does_not_wait() {
    let mut host = Host::new(config());
    host.broken = vec!["version-hint"];
    host.connect(1);
    host.send(1, 1, &["good"]);
    host.pass(20_000);
    host.are_batches_slow = true;
    host.send(1, 2, &["good"]);
    host.step(Event::Shutdown);
    host.pass(60_000);
    assert!(!host.stopped, "a save is on its way");
    assert!(host.lake.deadline().is_none_or(|deadline| deadline.why != "version hint"));
}

#[test]
fn a_connection_that_is_closed_asks_for_nothing_more() {
    let mut host = Host::new(config());
    host.connect(1);
    host.send(1, 1, &["good"]);
    host.are_commits_slow = true;
    host.pass(2_000);
    let request = r#"{"type":"flush_request","timestamp":0,"sourceDoId":"s1","reason":"manual"}"#;
    for _ in 0..FLUSH_REQUESTS_MAX {
        host.step(Event::Received { conn: ConnId(1), frame: Frame::Text(request.into()) });
    }
    host.step(Event::Closed { conn: ConnId(1) });
    host.request("POST", "/flush");
    assert_eq!(host.answers.len(), 0, "there is room for it");
}

#[test]
fn a_request_does_not_wait_again_for_a_hint_that_was_waited_for() {
    let mut host = Host::new(config());
    host.broken = vec!["version-hint"];
    host.connect(1);
    host.send(1, 1, &["good"]);
    host.pass(20_000);
    host.request("POST", "/flush");
    assert_eq!(host.answers.pop().map(|(status, _)| status), Some(200));
}

#[test]
fn one_who_asks_waits_for_what_came_before_though_its_source_is_still_being_read() {
    let mut host = Host::new(config());
    host.is_journal_mute = true;
    host.connect(1);
    host.send(1, 1, &["good"]);
    host.request("POST", "/flush");
    host.pass(500);
    assert_eq!(host.answers.len(), 0);
    host.is_journal_mute = false;
    host.pass(1_500);
    let (status, _) = host.answers.pop().expect("an answer");
    assert_eq!(status, 200);
    host.check("good", &[("s1", 10)]);
}

#[test]
fn one_who_asks_while_a_source_cannot_be_read_is_told() {
    let mut host = Host::new(config());
    host.is_journal_mute = true;
    host.connect(1);
    host.send(1, 1, &["good"]);
    let (status, result) = ask(&mut host);
    assert_eq!(status, 503);
    assert!(result.error.is_some_and(|error| error.contains("the journal is failing (it cannot be read)")));
}

#[test]
fn one_who_asks_waits_for_what_waited_for_a_save_that_was_lost() {
    let mut host = Host::new(config());
    host.connect(1);
    host.are_batches_slow = true;
    host.send(1, 1, &["good"]);
    host.connect_on(2, 1, None, Capabilities::default());
    host.send_on(2, 1, 1, &["good"]);
    host.request("POST", "/flush");
    let (op, _) = host.held.pop().expect("one save");
    host.step(Event::Done { op, outcome: Outcome::Refused(failure("the disk is full")) });
    assert_eq!((host.answers.len(), host.held.len()), (0, 1));
    host.are_batches_slow = false;
    host.end_saves();
    host.pass(1_500);
    assert_eq!(host.answers.pop().map(|(status, _)| status), Some(200));
    host.check("good", &[("s1", 10)]);
}

#[test]
fn a_journal_that_takes_no_plan_keeps_nobody_waiting() {
    let mut host = Host::new(config());
    host.connect(1);
    host.send(1, 1, &["good"]);
    host.are_plans_refused = true;
    let (status, result) = ask(&mut host);
    assert_eq!(status, 503);
    assert!(result.error.is_some_and(|error| error.contains("the journal is failing (the journal refuses a plan)")));
    host.are_plans_refused = false;
    let (status, _) = ask(&mut host);
    assert_eq!(status, 200, "it is tried before that is said again");
    host.are_plans_refused = true;
    host.send(1, 2, &["good"]);
    host.step(Event::Shutdown);
    host.pass(10_000);
    assert!(host.stopped);
}

#[test]
fn a_journal_that_cannot_be_read_keeps_nobody_waiting() {
    let mut host = Host::new(Config {
        memory_budget_bytes: 1 << 20,
        max_payload_size: 1 << 18,
        max_event_size: 1 << 18,
        ..config()
    });
    host.connect(1);
    (1..=2_000).for_each(|number| host.send(1, number, &["good"]));
    host.is_journal_mute = true;
    let (status, result) = ask(&mut host);
    assert_eq!(status, 503);
    assert!(result.error.is_some_and(|error| error.contains("the journal is failing")));
}

/// Three tables whose metadata is damaged: two are parked, and the third has the only new events.
fn damaged() -> Host {
    let mut host = Host::new(Config { flush_threshold_bytes: 1, flush_interval_ms: 1_000, ..config() });
    host.connect(1);
    let tables = ["bad", "worse", "worst"];
    host.send(1, 1, &tables);
    host.pass(5_000);
    let is_metadata = |key: &&String| key.ends_with(".metadata.json");
    let keys: Vec<String> = host.store.keys().filter(is_metadata).cloned().collect();
    for key in keys {
        host.store.insert(key, Bytes::from_static(b"{}"));
    }
    host.restart();
    host.connect(1);
    host.send(1, 2, &["bad", "good"]);
    host.send(1, 3, &["worse", "good"]);
    host.pass(60_000);
    assert_eq!(host.parked(), [("bad".to_owned(), 1), ("worse".to_owned(), 1)]);
    host.send(1, 4, &["worst"]);
    host
}

#[test]
fn flushes_that_are_given_back_one_after_the_other_keep_nobody_waiting() {
    let (status, result) = ask(&mut damaged());
    assert_eq!(status, 503);
    assert!(result.error.is_some_and(|error| error.contains("worst")));
    let mut host = damaged();
    host.step(Event::Shutdown);
    host.pass(60_000);
    assert!(host.stopped);
}
