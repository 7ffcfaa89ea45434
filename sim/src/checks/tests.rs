//! Each check sees what it is there for: a quiet run is led to a moment, one thing is made untrue, and the check is held to
//! say so.

use bytes::Bytes;
use dolake_core::Config;
use dolake_core::command::ResponseHead;
use dolake_core::event::{CallId, ConnId};
use dolake_core::wire::NackReason;
use dolake_core::wire::server::{Ack, AckStatus, Nack, ServerMessage};

use crate::plan::{Faults, Plan};
use crate::posts::Post;
use crate::record::Recorder;
use crate::truth::State;
use crate::world::{Tag, World};

/// A run of one source without faults, at the first moment at which `until` holds.
fn quiet(until: impl Fn(&World) -> bool) -> World {
    let config = Config { flush_interval_ms: 2_000, flush_threshold_ms: 1_000, ..Config::default() };
    let plan =
        Plan { config, faults: Faults::default(), sources: 1, batches: 12, asks: 0, real_producers: 0, ..Plan::of(1) };
    let plan = Plan {
        drift: 0,
        overlap: 0,
        number_jumps: 0,
        holes_close: false,
        turn_ms: 100,
        net_ms: 20,
        chaos_ms: 5_000,
        sparse: 0,
        posts: 0,
        changes: 0,
        ..plan
    };
    let mut world = World::new(1, plan, false, Recorder::hashing());
    while !until(&world) {
        assert!(world.advance(), "the moment never came: {:?}", world.violation());
    }
    assert_eq!(world.violation(), None);
    world
}

/// The first socket with a batch that is not answered: the batch's number.
fn unanswered(world: &World) -> Option<(ConnId, u64)> {
    world.sockets.iter().find_map(|(conn, socket)| match socket.expects.front() {
        Some(Tag::Batch(stream, batch)) => Some((*conn, world.truth.streams[*stream].batches[*batch].number)),
        Some(Tag::Impostor(..) | Tag::Malformed | Tag::Other) | None => None,
    })
}

fn has_unanswered(world: &World) -> bool {
    unanswered(world).is_some_and(|(_, number)| world.journal.is_drained() && number == 1)
}

fn has_buffered(world: &World) -> bool {
    world.truth.streams[0].batches.iter().any(|batch| batch.acked) && world.view.events.is_empty()
}

fn has_committed(world: &World) -> bool {
    world.view.events.len() > 3
}

fn ack(number: u64, status: AckStatus) -> ServerMessage {
    ServerMessage::Ack(Ack {
        timestamp: 0,
        correlation_id: None,
        sequence_number: number,
        first_sequence: None,
        through_sequence: None,
        rate_limit: None,
        status,
        batch_id: None,
        details: None,
        source_do_id: Some("shard-0".to_owned()),
        source_epoch: Some("e1".to_owned()),
    })
}

fn nack(number: u64, should_retry: bool) -> ServerMessage {
    ServerMessage::Nack(Nack {
        timestamp: 0,
        correlation_id: None,
        sequence_number: number,
        reason: NackReason::InternalError,
        error_message: "because".to_owned(),
        should_retry,
        retry_delay_ms: None,
        max_size: None,
        source_do_id: Some("shard-0".to_owned()),
        source_epoch: Some("e1".to_owned()),
        through_sequence: None,
    })
}

fn socket(world: &World) -> ConnId {
    *world.sockets.keys().next().expect("a producer is connected")
}

fn hear(world: &mut World, message: &ServerMessage) {
    let conn = unanswered(world).map_or_else(|| socket(world), |(conn, _)| conn);
    let mut message = message.clone();
    if let ServerMessage::Ack(ack) = &mut message {
        ack.source_epoch = Some(world.truth.streams[0].epoch.clone());
    }
    world.answered(conn, &message.to_frame());
}

#[track_caller]
fn expect(world: &World, check: &str) {
    assert_eq!(world.violation().map(|violation| violation.check), Some(check), "{:?}", world.violation());
}

#[test]
fn what_was_refused_and_is_called_a_duplicate() {
    let mut world = quiet(has_buffered);
    let newest = world.truth.streams[0].batches.len() - 1;
    world.came_too_late(0, newest);
    assert_eq!(world.violation(), None, "nobody knew that it is missing");
    world.truth.streams[0].batches[newest].received = 1;
    world.note_awaited(0, newest, true);
    world.came_too_late(0, newest);
    expect(&world, "sparse");
}

#[test]
fn an_ack_of_what_is_not_durable() {
    let mut world = quiet(has_unanswered);
    hear(&mut world, &ack(1, AckStatus::Buffered));
    expect(&world, "ack");
}

#[test]
fn a_sparse_batch_that_is_nowhere_and_called_a_duplicate() {
    let mut world = quiet(has_unanswered);
    world.truth.streams[0].is_sparse = true;
    // It may come too late only where a later one is durable.
    world.truth.streams[0].may_overtake = true;
    hear(&mut world, &ack(1, AckStatus::Duplicate));
    expect(&world, "ack");
}

#[test]
fn an_answer_out_of_order() {
    let mut world = quiet(has_unanswered);
    hear(&mut world, &ack(7, AckStatus::Buffered));
    expect(&world, "order of answers");
}

#[test]
fn a_mark_that_comes_early() {
    let mut world = quiet(has_buffered);
    hear(&mut world, &ack(1, AckStatus::Persisted));
    expect(&world, "mark");
}

#[test]
fn a_mark_that_goes_back() {
    let mut world =
        quiet(|world| world.sockets.values().any(|socket| socket.mark.get(&0).is_some_and(|mark| *mark > 1)));
    hear(&mut world, &ack(1, AckStatus::Persisted));
    expect(&world, "mark");
}

#[test]
fn a_resume_number_that_passes_what_is_not_durable() {
    let mut world = quiet(has_unanswered);
    hear(&mut world, &ack(1, AckStatus::Ok));
    expect(&world, "resume");
}

#[test]
fn a_refusal_for_good_without_a_reason() {
    let mut world = quiet(has_unanswered);
    hear(&mut world, &nack(1, false));
    expect(&world, "refusal");
}

#[test]
fn a_request_that_is_answered_twice() {
    let mut world = quiet(has_buffered);
    let head = ResponseHead { status: 200, headers: Vec::new() };
    world.call_answered(CallId(77), &head, &Bytes::new());
    expect(&world, "http");
}

#[test]
fn a_post_that_is_said_to_be_taken_and_is_nowhere() {
    let mut world = quiet(has_unanswered);
    world.calls.insert(CallId(7), (0, Bytes::new()));
    world.posts.insert(CallId(7), Post { producer: 0, stream: 0, batch: 0, is_deaf: false, is_spoilt: false });
    let events = world.truth.streams[0].batches[0].events.len();
    let body = format!("{{\"eventsReceived\":{events},\"eventsAccepted\":{events},\"duplicates\":0}}");
    world.call_answered(CallId(7), &ResponseHead { status: 200, headers: Vec::new() }, &Bytes::from(body));
    expect(&world, "post");
}

#[test]
fn a_table_that_is_answered_as_it_was_before() {
    let mut world = quiet(has_committed);
    let (table, location) = world.view.metadata().next().cloned().expect("a table");
    let metadata = world.store.get(location.strip_prefix("s3://lake/sim/").expect("it lies in the store")).cloned();
    let metadata = String::from_utf8(metadata.expect("it is there").to_vec()).expect("text");
    let answer =
        |location: &str| Bytes::from(format!("{{\"metadata-location\":{location:?},\"metadata\":{metadata}}}"));
    let ask = |world: &mut World, call: u64, location: &str| {
        world.calls.insert(CallId(call), (0, Bytes::new()));
        world.note_catalog_asked(CallId(call), &super::catalog::table_path(&table));
        let head = ResponseHead { status: 200, headers: Vec::new() };
        world.call_answered(CallId(call), &head, &answer(location));
    };
    ask(&mut world, 7, &location);
    assert_eq!(world.violation(), None);
    ask(&mut world, 8, &location.replace("metadata/", "metadata/0"));
    expect(&world, "catalog");
}

#[test]
fn a_held_snapshot_of_which_a_file_is_gone() {
    let mut world = quiet(has_committed);
    let (table, location) = world.view.metadata().next().cloned().expect("a table");
    world.read_old(&table, &location);
    assert_eq!(world.violation(), None);
    let keys: Vec<String> = world.store.objects().map(|(key, _)| key.clone()).collect();
    keys.iter().filter(|key| key.ends_with(".parquet")).for_each(|key| world.store.lose(key));
    world.read_old(&table, &location);
    expect(&world, "catalog");
}

#[test]
fn a_setting_that_nobody_wanted() {
    let mut world = quiet(has_buffered);
    world.calls.insert(CallId(7), (0, Bytes::new()));
    world.operator.possible.insert("maxSnapshots", vec![2, 5]);
    let body = Bytes::from_static(b"{\"flushIntervalMs\":500,\"maxSnapshots\":1000}");
    world.call_answered(CallId(7), &ResponseHead { status: 200, headers: Vec::new() }, &body);
    expect(&world, "settings");
}

#[test]
fn a_data_file_that_is_gone() {
    let mut world = quiet(has_committed);
    let key = world.store.objects().map(|(key, _)| key.clone()).find(|key| key.ends_with(".parquet"));
    world.store.lose(&key.expect("a commit has data files"));
    world.view = crate::lake_view::LakeView::default();
    world.commit_seen();
    expect(&world, "lake");
}

#[test]
fn a_row_that_says_something_else_than_its_event() {
    let mut world = quiet(has_committed);
    for event in &mut world.truth.events {
        event.row_id.push('!');
    }
    world.view = crate::lake_view::LakeView::default();
    world.commit_seen();
    expect(&world, "lake");
}

#[test]
fn a_refused_event_in_the_lake() {
    let mut world = quiet(has_committed);
    let batch = &mut world.truth.streams[0].batches[0];
    batch.nacked = batch.received;
    world.view.fresh = world.view.events.iter().copied().collect();
    world.check_phantoms();
    expect(&world, "phantom");
}

#[test]
fn an_event_that_was_overtaken() {
    let mut world = quiet(has_committed);
    let first = world.truth.streams[0].batches[0].events[0];
    world.view.events.remove(&first);
    world.truth.streams[0].complete = 0;
    world.check_order();
    expect(&world, "order");
}

#[test]
fn an_acked_event_that_never_comes_into_the_lake() {
    let mut world = quiet(|world| world.is_calm && has_committed(world));
    let first = world.truth.streams[0].batches[0].events[0];
    world.view.events.remove(&first);
    world.truth.streams[0].complete = 0;
    for batch in &mut world.truth.streams[0].batches {
        batch.state = State::Acked;
    }
    world.now += 200_000_000;
    world.check_answers();
    expect(&world, "liveness");
}

#[test]
fn a_hint_that_names_old_metadata() {
    let mut world =
        quiet(|world| world.is_calm && world.journal.is_drained() && world.now > world.calm_since + 9_000_000);
    let hints: Vec<String> =
        world.store.objects().map(|(key, _)| key.clone()).filter(|key| key.ends_with("hint.text")).collect();
    assert!(!hints.is_empty());
    hints.iter().for_each(|key| world.store.lose(key));
    world.final_check();
    expect(&world, "hint");
}

#[test]
fn batches_that_stay_in_the_journal() {
    let mut world = quiet(has_buffered);
    world.truth.streams[0].batches.iter_mut().for_each(|batch| batch.state = State::Refused);
    world.final_check();
    expect(&world, "liveness");
}
