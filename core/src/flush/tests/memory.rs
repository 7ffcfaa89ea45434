//! What the machine holds in memory is bounded, whatever is sent while its journal or its store is away.

use super::host::{Host, config, failure};
use crate::Commands;
use crate::command::{Command, Outcome};
use crate::config::Config;
use crate::event::{ConnId, Event, Frame, Peer};
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
    send_much(&mut host);
    host.is_journal_mute = false;
    host.pass(2_000);
    assert_eq!((host.acked.len() as u64 + host.nacked, host.acked.contains(&(1, 1))), (200, true));
    assert!(host.nacked > 150, "{} of 2 MB waited in a quarter of 1 MiB", 200 - host.nacked);
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
