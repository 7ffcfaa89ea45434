//! Requests to `POST /cdc` that are refused before their source is asked: what they held is never called a duplicate when
//! it comes again.

use super::host::{Host, config};
use crate::config::Config;
use crate::event::{CallId, ConnId, Event, Frame, RequestHead};
use crate::wire::client::Capabilities;

fn event(number: u64, length: usize) -> String {
    let text = "x".repeat(length);
    format!(
        r#"{{"sequence":{number},"timestamp":1,"operation":"INSERT","table":"good","rowId":"r{number}","after":{{"n":"{text}"}}}}"#
    )
}

fn body(events: &str) -> String {
    format!(r#"{{"sourceEpoch":"e","events":[{events}]}}"#)
}

/// Sends one event. The status of the answer.
fn post(host: &mut Host, number: u64) -> u16 {
    host.post(1, &body(&event(number, 1)))
}

/// A host that took event 1, with a small limit for bodies.
fn begun() -> Host {
    let mut host = Host::new(Config { max_payload_size: 20_000, max_event_size: 20_000, ..config() });
    assert_eq!(post(&mut host, 1), 200);
    host
}

/// Begins a request.
fn begin(host: &mut Host, call: u64, number: u64, headers: &[(&str, &str)]) {
    host.begin_post(CallId(call), 1, headers, &body(&event(number, 1)));
}

fn answer(host: &mut Host) -> u16 {
    host.answers.pop().expect("an answer").0
}

/// Sends again what was refused: it is taken, or refused.
#[track_caller]
fn check_again(host: &mut Host, number: u64) {
    let status = post(host, number);
    host.pass(30_000);
    let lake = host.events("good");
    assert!(status != 200 || lake.contains(&("s1".to_owned(), number)), "answered {status}, and the lake has {lake:?}");
}

#[test]
fn the_first_request_that_could_not_be_read() {
    let mut host = Host::new(config());
    assert_eq!(host.post(1, &body(&event(1, 1)).replace("INSERT", "NONSENSE")), 400);
    assert_eq!(post(&mut host, 2), 200);
    check_again(&mut host, 1);
}

#[test]
fn one_that_is_too_large_whose_epoch_stands_in_its_body() {
    let mut host = begun();
    assert_eq!(host.post(1, &body(&[event(2, 15_000), event(3, 15_000)].join(","))), 413);
    assert_eq!(post(&mut host, 4), 200);
    check_again(&mut host, 2);
}

#[test]
fn one_in_a_format_that_is_not_taken() {
    let mut host = begun();
    begin(&mut host, 12, 2, &[("content-encoding", "gzip")]);
    assert_eq!(answer(&mut host), 501);
    assert_eq!(post(&mut host, 3), 200);
    check_again(&mut host, 2);
}

#[test]
fn the_first_of_all_in_a_format_that_is_not_taken() {
    let mut host = Host::new(config());
    begin(&mut host, 12, 2, &[("content-encoding", "gzip")]);
    assert_eq!(answer(&mut host), 501);
    assert_eq!(post(&mut host, 3), 200);
    check_again(&mut host, 2);
}

#[test]
fn the_first_of_a_new_epoch_in_a_format_that_is_not_taken() {
    let mut host = begun();
    begin(&mut host, 12, 2, &[("content-encoding", "gzip")]);
    assert_eq!(answer(&mut host), 501);
    let of_f = |number| body(&event(number, 1)).replace(r#""e""#, r#""f""#);
    assert_eq!(host.post(1, &of_f(3)), 200);
    assert_ne!(host.post(1, &of_f(2)), 200, "nothing says that it is a duplicate");
    host.restart();
    assert_ne!(host.post(1, &of_f(1)), 200, "nor after a restart");
    assert_eq!(host.post(1, &of_f(4)), 200);
}

#[test]
fn one_that_comes_beside_another_is_awaited() {
    let mut host = Host::new(config());
    host.are_batches_slow = true;
    begin(&mut host, 11, 1, &[]);
    begin(&mut host, 12, 2, &[]);
    assert_eq!(answer(&mut host), 409);
    host.are_batches_slow = false;
    host.end_saves();
    assert_eq!(answer(&mut host), 200);
    assert_eq!(post(&mut host, 3), 409, "2 comes first");
    assert_eq!((post(&mut host, 2), post(&mut host, 3)), (200, 200));
    check_again(&mut host, 2);
}

#[test]
fn the_same_on_a_socket_that_has_connected() {
    let mut host = Host::new(config());
    host.connect_as(1, Some("e"), Capabilities { sparse: true, ..Capabilities::default() });
    host.step(Event::Received { conn: ConnId(1), frame: Frame::Text("a broken batch 2".into()) });
    host.refused.clear();
    host.send(1, 3, &["good"]);
    host.send(1, 2, &["good"]);
    assert_eq!((host.acked.contains(&(1, 3)), host.refused.as_slice()), (true, &[2][..]));
}

#[test]
fn what_was_refused_of_an_epoch_that_then_begins_with_numbers_is_never_said_to_be_missing() {
    let mut host = Host::new(config());
    assert_eq!(host.post(1, &format!(r#"{{"events":[{}]}}"#, event(7, 1).replace("good", &"x".repeat(230)))), 400);
    host.connect(1);
    (1..=10).for_each(|number| host.send(1, number, &["good"]));
    host.pass(20_000);
    host.restart();
    host.connect(1);
    host.send(1, 11, &["good"]);
    host.pass(20_000);
    assert_eq!((host.refused.as_slice(), host.mark(1), host.events("good").len()), (&[][..], 11, 11));
}

#[test]
fn a_source_has_a_name_that_can_be_read_again() {
    let mut host = Host::new(config());
    for name in ["a\tb", "a\u{85}b", ""] {
        let headers = vec![("x-client-id".to_owned(), name.to_owned())];
        let head = RequestHead { method: "POST".to_owned(), path: "/cdc".to_owned(), query: None, headers };
        host.step(Event::Requested { call: CallId(9), head });
        assert_eq!(answer(&mut host), 400, "{name:?}");
    }
}

#[test]
fn a_number_that_none_can_have_is_none() {
    let mut host = begun();
    for number in ["18446744073709551615", "9007199254740992", "0"] {
        assert_eq!(host.post(1, &format!(r#"{{"sequenceNumber":{number},"sourceEpoch":"e","events":[]}}"#)), 400);
        assert_eq!(host.post(1, "x"), 400);
    }
    assert_eq!(post(&mut host, 2), 200);
}
