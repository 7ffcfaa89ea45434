//! What the machine holds in memory is bounded, whatever is sent while its journal or its store is away.

use super::host::{Host, config, failure};
use crate::Commands;
use crate::command::{Command, Outcome};
use crate::config::Config;
use crate::event::{CallId, ConnId, Event, Frame, Peer, RequestHead};
use crate::limits::BATCH_MEMORY_BYTES;
use crate::time::Timestamp;
use crate::wire::client::{Capabilities, ClientMessage, Connect, PROTOCOL_VERSION};

fn small() -> Config {
    Config { memory_budget_bytes: 1 << 20, max_payload_size: 20_000, max_event_size: 20_000, ..config() }
}

fn event(number: u64, length: usize) -> String {
    let text = "x".repeat(length);
    format!(
        r#"{{"sequence":{number},"timestamp":0,"operation":"INSERT","table":"good","rowId":"r","after":{{"n":"{text}"}}}}"#
    )
}

/// A batch of one event.
fn batch(number: u64, sequence: u64, length: usize) -> Frame {
    batch_of(1, number, sequence, length)
}

fn batch_of(source: u64, number: u64, sequence: u64, length: usize) -> Frame {
    let event = event(sequence, length);
    let frame = format!(
        r#"{{"type":"cdc_batch","timestamp":0,"sourceDoId":"s{source}","sequenceNumber":{number},"firstEventSequence":{sequence},"lastEventSequence":{sequence},"sizeBytes":0,"isRetry":false,"retryCount":0,"events":[{event}]}}"#
    );
    Frame::Text(frame.into())
}

fn send_much(host: &mut Host) {
    for number in 1..=200 {
        host.step(Event::Received { conn: ConnId(1), frame: batch(number, number, 10_000) });
    }
}

/// Source s1 introduces itself.
fn connect(conn: u64) -> Event {
    let connect = ClientMessage::Connect(Connect {
        timestamp: 0,
        correlation_id: None,
        source_do_id: "s1".to_owned(),
        source_epoch: None,
        source_shard_name: None,
        last_ack_sequence: 0,
        protocol_version: PROTOCOL_VERSION,
        capabilities: Capabilities::default(),
    });
    Event::Received { conn: ConnId(conn), frame: Frame::Text(connect.to_frame()) }
}

#[test]
fn batches_that_wait_for_their_source_are_refused_where_memory_holds_no_more() {
    let mut host = Host::new(small());
    host.is_journal_mute = true;
    host.connect(1);
    for number in 1..=120 {
        host.step(Event::Received { conn: ConnId(1), frame: batch(number, number, 10_000) });
    }
    host.is_journal_mute = false;
    host.pass(2_000);
    assert_eq!((host.acked.len() as u64 + host.nacked, host.acked.contains(&(1, 1))), (120, true));
    assert!(host.nacked > 90, "{} of 1.2 MB waited in a quarter of 1 MiB", 120 - host.nacked);
}

#[test]
fn a_connection_that_says_connect_again_and_again_while_its_source_cannot_be_read_is_closed() {
    let mut host = Host::new(config());
    host.is_journal_mute = true;
    host.connect(1);
    for _ in 0..14 {
        host.step(connect(1));
    }
    assert!(host.closed.is_empty());
    host.step(connect(1));
    host.step(connect(1));
    assert_eq!(host.closed, [ConnId(1)]);
}

#[test]
fn a_sparse_source_is_cut_off_where_memory_holds_no_more() {
    let mut host = Host::new(small());
    host.is_journal_mute = true;
    host.connect_as(1, Some("e"), Capabilities { sparse: true, ..Capabilities::default() });
    send_much(&mut host);
    host.is_journal_mute = false;
    host.pass(2_000);
    let taken = host.acked.len() as u64;
    assert!(taken < 50, "{taken}");
    host.connect_as(2, Some("e"), Capabilities { sparse: true, ..Capabilities::default() });
    host.pass(20_000);
    let numbers: Vec<u64> = host.events("good").iter().map(|(_, number)| *number).collect();
    assert_eq!(numbers, (1..=taken).collect::<Vec<_>>(), "nothing above what was cut off");
}

/// Its batch cannot be read; its source, its epoch and its number can.
fn unread(number: u64, length: usize) -> Frame {
    let text = "x".repeat(length);
    let frame = format!(
        r#"{{"type":"cdc_batch","sourceDoId":"s1","sequenceNumber":{number},"events":[{{"table":"{text}","sequence":"?"}}]}}"#
    );
    Frame::Text(frame.into())
}

#[test]
fn a_connection_with_more_refused_messages_than_memory_holds_for_its_source_is_closed() {
    let mut host = Host::new(small());
    host.is_journal_mute = true;
    host.connect_as(1, Some("e"), Capabilities { sparse: true, ..Capabilities::default() });
    for _ in 0..500 {
        host.step(Event::Received { conn: ConnId(1), frame: unread(2, 10) });
    }
    assert!(host.closed.is_empty(), "the same is remembered once");
    let enough = (1..500).find(|number| {
        host.step(Event::Received { conn: ConnId(1), frame: unread(*number, 10) });
        !host.closed.is_empty()
    });
    assert!(enough.is_some_and(|number| number < 400), "{enough:?} in three eighths of 1 MiB");
    host.is_journal_mute = false;
    host.pass(2_000);
    host.connect_on(2, 1, Some("e"), Capabilities { sparse: true, ..Capabilities::default() });
    host.step(Event::Received { conn: ConnId(2), frame: batch(1_000, 1_000, 1) });
    assert!(host.acked.contains(&(2, 1_000)));
}

#[test]
fn what_is_refused_beside_a_post_that_waits_for_its_source_takes_memory_from_those_that_wait() {
    let mut host = Host::new(small());
    host.is_journal_mute = true;
    host.begin_post(CallId(7), 1, &[], &format!(r#"{{"events":[{}]}}"#, event(1, 1)));
    for number in 2..2_000 {
        let body = format!(r#"{{"events":[{}]}}"#, event(number, 10_000));
        assert_eq!(host.post(1, &body), 409);
    }
    host.connect(2);
    host.step(Event::Received { conn: ConnId(2), frame: batch_of(2, 1, 1, 1) });
    assert_eq!(host.closed, [ConnId(2)], "there is no memory for it, nor to remember it");
    host.is_journal_mute = false;
    host.pass(2_000);
    host.connect_on(3, 2, None, Capabilities::default());
    host.step(Event::Received { conn: ConnId(3), frame: batch_of(2, 1, 1, 1) });
    assert_eq!(host.acked.iter().copied().collect::<Vec<_>>(), [(3, 1)]);
}

#[test]
fn batches_that_wait_for_a_save_are_refused_where_memory_holds_no_more() {
    let mut host = Host::new(small());
    host.connect_as(1, Some("e"), Capabilities { sparse: true, ..Capabilities::default() });
    host.are_batches_slow = true;
    send_much(&mut host);
    assert_eq!(host.held.len(), 1, "one at a time is on its way to the journal");
    host.are_batches_slow = false;
    host.end_saves();
    assert!(host.nacked > 150, "{} of 2 MB waited in a quarter of 1 MiB", 200 - host.nacked);
}

/// Batches 1 to `batches` of some sources, one source after the other; each time the first is lost on its way to the journal
/// and those above it are not.
fn lose_each_first(host: &mut Host, sources: u64, batches: u64, length: usize) {
    for source in 1..=sources {
        host.connect_as(source, Some("e"), Capabilities::default());
        host.are_batches_slow = true;
        send_all(host, source, batches, length);
        let (first, _) = host.held.remove(0);
        host.are_batches_slow = false;
        host.end_saves();
        host.step(Event::Done { op: first, outcome: Outcome::Refused(failure("the disk is full")) });
    }
}

fn send_all(host: &mut Host, source: u64, batches: u64, length: usize) {
    for number in 1..=batches {
        host.step(Event::Received { conn: ConnId(source), frame: batch_of(source, number, number, length) });
    }
}

/// Whether all that was refused is taken in the end.
fn send_again(host: &mut Host, sources: u64, batches: u64, length: usize) {
    for _ in 0..8 {
        for source in 1..=sources {
            send_all(host, source, batches, length);
        }
        host.pass(10_000);
    }
    assert_eq!(host.events("good").len() as u64, sources * batches);
}

#[test]
fn holes_that_come_of_lost_saves_take_at_most_half_of_the_buffer_beside_it() {
    let most = 60_000;
    let mut host = Host::new(Config { max_buffer_size: most, max_fallback_size: 0, ..small() });
    lose_each_first(&mut host, 5, 20, 4_000);
    let journaled = host.status().buffer.total_size_bytes;
    assert!(most / 2 < journaled && journaled <= most + most / 2, "{journaled} bytes, the limit is {most}");
    send_again(&mut host, 5, 20, 4_000);
}

#[test]
fn holes_that_come_of_lost_saves_take_no_memory_beyond_the_budget() {
    let most = 256;
    let mut host = Host::new(Config { memory_budget_bytes: most * BATCH_MEMORY_BYTES, ..small() });
    lose_each_first(&mut host, 3, 400, 1);
    let journaled = host.status().buffer.batch_count;
    assert!(most / 2 < journaled && journaled <= most, "{journaled} batches, there is memory for {most}");
    send_again(&mut host, 3, 400, 1);
}

#[test]
fn a_batch_that_finds_no_memory_is_awaited_also_where_its_connection_did_not_say_that_it_is_sparse() {
    let mut host = Host::new(small());
    host.connect_as(1, Some("e"), Capabilities { sparse: true, ..Capabilities::default() });
    host.step(Event::Received { conn: ConnId(1), frame: batch(1, 1, 1) });
    host.pass(20_000);
    host.step(Event::Closed { conn: ConnId(1) });
    host.marks.clear();
    host.is_journal_mute = true;
    host.connect(2);
    for number in 1..=40 {
        host.step(Event::Received { conn: ConnId(2), frame: batch_of(2, number, number, 5_000) });
    }
    host.connect_as(1, Some("e"), Capabilities::default());
    for number in 2..=20 {
        host.step(Event::Received { conn: ConnId(1), frame: batch(number, number, 10_000) });
        host.step(Event::Received { conn: ConnId(1), frame: batch(100 + number, 100 + number, 1) });
    }
    host.is_journal_mute = false;
    host.pass(20_000);
    for number in 2..=20 {
        host.step(Event::Received { conn: ConnId(1), frame: batch(number, number, 10_000) });
    }
    host.pass(20_000);
    let lake = host.events("good");
    let acked = host.acked.iter().filter(|(source, _)| *source == 1);
    acked.for_each(|(_, number)| assert!(lake.contains(&("s1".to_owned(), *number)), "{number} is acked"));
    assert_eq!(host.duplicates, Vec::<u64>::new());
}

#[test]
fn a_source_whose_first_batch_was_lost_leaves_memory() {
    let mut host = Host::new(config());
    host.are_batches_slow = true;
    for source in 1..=50 {
        host.begin_post(CallId(source), source, &[], &format!(r#"{{"sequenceNumber":1,"events":[{}]}}"#, event(1, 1)));
    }
    for (op, _) in std::mem::take(&mut host.held) {
        host.step(Event::Done { op, outcome: Outcome::Refused(failure("the disk is full")) });
    }
    assert_eq!((host.answers.len(), host.status().source_states.len()), (50, 0));
}

#[test]
fn request_bodies_that_never_end_take_no_more_than_their_share() {
    let mut host = Host::new(small());
    let chunk = bytes::Bytes::from(vec![b' '; 15_000]);
    for call in 10..200 {
        let headers = vec![("x-client-id".to_owned(), format!("s{call}"))];
        let head = RequestHead { method: "POST".to_owned(), path: "/cdc".to_owned(), query: None, headers };
        host.step(Event::Requested { call: CallId(call), head });
        host.step(Event::BodyChunk { call: CallId(call), bytes: chunk.clone(), last: false });
    }
    assert_eq!(host.answers.len(), 190 - 17, "17 times 15,000 bytes are a quarter of 1 MiB");
    assert!(host.answers.drain(..).all(|(status, _)| status == 503));
    (10..200).for_each(|call| host.step(Event::CallGone { call: CallId(call) }));
    assert_eq!(host.post(1, &format!(r#"{{"events":[{}]}}"#, event(1, 1))), 200);
}

#[test]
fn sources_of_which_nothing_was_taken_leave_memory() {
    let mut host =
        Host::new(Config { max_buffer_size: 50_000, max_fallback_size: 0, max_hole_bytes: 20_000, ..small() });
    host.broken = vec!["/"];
    let body = |number: u64| format!(r#"{{"events":[{}]}}"#, event(number, 9_000));
    let full = (1..100).find(|number| host.post(1, &body(*number)) != 200);
    assert!(full.is_some(), "the buffer has a limit");
    for source in 1_000..1_200 {
        assert_eq!(host.post(source, &body(1)), 503);
    }
    host.are_rows_refused = true;
    assert_eq!(host.post(1_200, &body(1)), 503);
    host.are_rows_refused = false;
    host.broken.clear();
    host.pass(1_000_000);
    assert_eq!(host.status().source_states.len(), 0);
}

#[test]
fn a_connection_that_does_not_read_is_closed_though_it_says_connect_again_and_again() {
    let mut host = Host::new(config());
    host.connect(1);
    for number in 1..=900 {
        host.step(Event::Received { conn: ConnId(1), frame: batch(number * 2, number * 20, 1) });
    }
    host.pass(400_000);
    host.step(Event::Opened { conn: ConnId(7), peer: Peer::default(), attachment: None });
    let (mut unread, mut is_closed) = (0, false);
    for _ in 0..60 {
        let mut commands = Commands::new();
        host.lake.step(Timestamp(host.now), connect(7), &mut commands);
        for command in commands {
            if let Command::Send { conn: ConnId(7), frame } = command {
                unread += frame.len();
            } else if matches!(command, Command::Close { conn: ConnId(7), .. }) {
                is_closed = true;
            }
        }
    }
    assert!(is_closed && unread < 3 << 20, "closed: {is_closed}, {unread} bytes unread");
}
