use bytes::Bytes;
use proptest::prelude::*;

use crate::producer::fake_server::{Fault, World, ack, nack};
use crate::producer::{
    Attempt, Offered, Producer, ProducerCommand, ProducerConfig, ProducerEvent, Progress, RefusedBatch, SessionRefused,
    Until,
};
use crate::seed::Seed;
use crate::time::Timestamp;
use crate::wire::batch::CdcBatch;
use crate::wire::server::{Ack, AckDetails, AckStatus, Nack};
use crate::wire::{ClientMessage, NackReason, ServerMessage, WireLimits};

fn config() -> ProducerConfig {
    ProducerConfig { source_epoch: Some("e".to_owned()), window_batches: 3, ..ProducerConfig::new("s") }
}

fn offered(number: Option<u64>, sequence: u64) -> Offered {
    let event = format!(r#"{{"sequence":{sequence},"timestamp":1,"operation":"DELETE","table":"t","rowId":"r"}}"#);
    Offered {
        number,
        events: Bytes::from(format!("[{event}]")),
        event_count: 1,
        first_event_sequence: sequence,
        last_event_sequence: sequence,
    }
}

/// A producer by itself, and what it sends, in words: `connect 0`, `batch 1`, `batch 1 retry 1`, `dial 0`, ….
struct Alone {
    producer: Producer,
    now: i64,
}

impl Alone {
    fn new(config: ProducerConfig) -> Alone {
        Alone { producer: Producer::new(config, Seed(1)), now: 0 }
    }

    /// In session on attempt 0, with resume number 0.
    fn up(config: ProducerConfig) -> Alone {
        let mut alone = Alone::new(config);
        assert_eq!(alone.step(ProducerEvent::Wake), ["dial 0"]);
        assert_eq!(alone.step(ProducerEvent::Connected(Attempt(0))), ["connect 0"]);
        alone.hear(0, &ack(0, AckStatus::Ok, None));
        alone
    }

    fn step(&mut self, event: ProducerEvent) -> Vec<String> {
        let mut commands = Vec::new();
        self.producer.step(Timestamp(self.now), event, &mut commands);
        commands.iter().filter_map(words).collect()
    }

    fn offer(&mut self, number: u64) -> Vec<String> {
        self.step(ProducerEvent::Offer(offered(Some(number), number * 10)))
    }

    fn hear(&mut self, attempt: u64, message: &ServerMessage) -> Vec<String> {
        self.step(ProducerEvent::Received(Attempt(attempt), message.to_frame()))
    }

    /// Lets time pass until the deadline.
    fn wake(&mut self) -> Vec<String> {
        self.now += i64::try_from(self.producer.deadline().expect("something is due")).expect("short");
        self.step(ProducerEvent::Wake)
    }

    /// Loses connection 0 and greets on connection 1, with this resume number.
    fn reconnect(&mut self, resume: u64) -> Vec<String> {
        self.step(ProducerEvent::Disconnected { attempt: Attempt(0), retry_after_ms: None });
        assert_eq!(self.wake(), ["dial 1"]);
        let mut sent = self.step(ProducerEvent::Connected(Attempt(1)));
        sent.extend(self.hear(1, &ack(resume, AckStatus::Ok, None)));
        sent
    }
}

fn words(command: &ProducerCommand) -> Option<String> {
    match command {
        ProducerCommand::Dial(attempt) => Some(format!("dial {}", attempt.0)),
        ProducerCommand::Close(attempt) => Some(format!("close {}", attempt.0)),
        ProducerCommand::Send(_, frame) => Some(message_words(&parse(frame))),
        ProducerCommand::Report(_) => None,
        ProducerCommand::Refused(batch) => Some(format!("refused {}", batch.number)),
        ProducerCommand::Finished(Ok(_)) => Some("finished".to_owned()),
        ProducerCommand::Finished(Err(error)) => Some(error.to_string()),
    }
}

fn parse(frame: &Bytes) -> ClientMessage {
    let limits = WireLimits { max_payload_bytes: 1 << 20, max_event_bytes: 1 << 20 };
    crate::wire::parse(&crate::event::Frame::Text(frame.clone()), &limits).expect("a good message")
}

fn message_words(message: &ClientMessage) -> String {
    match message {
        ClientMessage::Connect(connect) => format!("connect {}", connect.last_ack_sequence),
        ClientMessage::CdcBatch(CdcBatch { sequence_number, is_retry, retry_count, .. }) => {
            assert_eq!(*is_retry, *retry_count > 0);
            let retry = if *is_retry { format!(" retry {retry_count}") } else { String::new() };
            format!("batch {sequence_number}{retry}")
        }
        ClientMessage::Heartbeat(beat) => format!("heartbeat {} {}", beat.last_ack_sequence, beat.pending_events),
        ClientMessage::FlushRequest(_) => "flush".to_owned(),
        ClientMessage::Disconnect(_) => "disconnect".to_owned(),
    }
}

fn buffered(number: u64) -> ServerMessage {
    ack(number, AckStatus::Buffered, None)
}

fn changed_ack(number: u64, change: impl FnOnce(&mut Ack)) -> ServerMessage {
    let ServerMessage::Ack(mut ack) = buffered(number) else { panic!("it is one") };
    change(&mut ack);
    ServerMessage::Ack(ack)
}

fn changed_nack(number: u64, should_retry: bool, change: impl FnOnce(&mut Nack)) -> ServerMessage {
    let ServerMessage::Nack(mut nack) = nack(number, should_retry) else { panic!("it is one") };
    change(&mut nack);
    ServerMessage::Nack(nack)
}

#[test]
fn batches_go_out_as_the_window_allows_and_the_end_comes_when_all_are_acked() {
    let mut alone = Alone::up(config());
    for number in 1..=3 {
        assert!(alone.producer.has_room());
        assert_eq!(alone.offer(number), [format!("batch {number}")]);
    }
    assert!(!alone.producer.has_room());
    assert_eq!(alone.offer(4), [""; 0], "the window is full");
    assert_eq!(alone.hear(0, &buffered(1)), ["batch 4"]);
    assert_eq!(alone.step(ProducerEvent::Finish(Until::Buffered)), [""; 0]);
    assert_eq!(alone.hear(0, &ack(4, AckStatus::Fallback, Some(2))), ["disconnect", "close 0", "finished"]);
    assert_eq!(alone.producer.progress().accepted_batches, 4);
    assert_eq!(alone.producer.deadline(), None);
}

#[test]
fn the_window_counts_bytes_but_lets_one_large_batch_through() {
    let mut alone = Alone::up(ProducerConfig { window_bytes: 10, ..config() });
    assert_eq!(alone.offer(1), ["batch 1"]);
    assert_eq!(alone.offer(2), [""; 0]);
    assert_eq!(alone.hear(0, &buffered(1)), ["batch 2"]);
}

#[test]
fn what_was_not_acked_is_sent_again_after_a_reconnect_and_what_the_resume_number_covers_is_not() {
    let mut alone = Alone::up(config());
    for number in 1..=3 {
        alone.offer(number);
    }
    alone.hear(0, &buffered(1));
    assert_eq!(alone.reconnect(2), ["connect 1", "batch 3 retry 1"]);
    assert_eq!(alone.producer.progress().accepted_batches, 2);
}

#[test]
fn answers_of_a_connection_that_is_gone_or_for_another_source_or_epoch_are_not_listened_to() {
    let mut alone = Alone::up(config());
    alone.offer(1);
    assert_eq!(alone.hear(0, &changed_ack(1, |ack| ack.source_epoch = None)), [""; 0]);
    assert_eq!(alone.hear(0, &changed_ack(1, |ack| ack.source_do_id = Some("t".into()))), [""; 0]);
    assert_eq!(alone.reconnect(0), ["connect 0", "batch 1 retry 1"]);
    alone.hear(0, &buffered(1));
    assert_eq!(alone.producer.progress().accepted_batches, 0);
    alone.hear(1, &buffered(1));
    assert_eq!(alone.producer.progress().accepted_batches, 1);
}

#[test]
fn a_cumulative_ack_covers_only_what_was_sent_on_its_connection() {
    let mut alone = Alone::up(ProducerConfig { window_batches: 2, ..config() });
    for number in 1..=3 {
        alone.offer(number);
    }
    assert_eq!(alone.hear(0, &ack(3, AckStatus::Buffered, Some(1))), ["batch 3"]);
    assert_eq!(alone.producer.progress().accepted_batches, 2);
}

#[test]
fn a_mark_covers_what_is_below_but_never_a_batch_that_was_refused_and_sent_again() {
    let mut alone = Alone::up(config());
    for number in 1..=3 {
        alone.offer(number);
    }
    alone.hear(0, &changed_nack(1, true, |nack| nack.retry_delay_ms = Some(0)));
    alone.hear(0, &buffered(2));
    alone.hear(0, &ack(3, AckStatus::Persisted, None));
    let progress = alone.producer.progress();
    assert_eq!((progress.accepted_batches, progress.persisted_batches), (2, 2));
    alone.hear(0, &ack(1, AckStatus::Duplicate, None));
    let progress = alone.producer.progress();
    assert_eq!((progress.accepted_batches, progress.duplicate_batches), (3, 1));
}

#[test]
fn a_batch_without_a_number_goes_on_where_dolake_is() {
    let mut alone = Alone::new(config());
    alone.step(ProducerEvent::Offer(offered(None, 5)));
    alone.step(ProducerEvent::Wake);
    assert_eq!(alone.step(ProducerEvent::Connected(Attempt(0))), ["connect 0"]);
    assert_eq!(alone.hear(0, &ack(41, AckStatus::Ok, None)), ["batch 42"]);
    assert_eq!(alone.step(ProducerEvent::Offer(offered(None, 6))), ["batch 43"]);
    assert_eq!(alone.reconnect(42), ["connect 0", "batch 43 retry 1"]);
    assert_eq!(alone.step(ProducerEvent::Offer(offered(None, 7))), ["batch 44"]);
}

#[test]
fn batches_that_a_former_life_sent_are_skipped_only_if_their_numbers_are_told_to_be_stable() {
    for (skip_accepted, sent) in [(false, vec!["batch 1", "batch 2"]), (true, vec!["batch 2"])] {
        let mut alone = Alone::new(ProducerConfig { skip_accepted, ..config() });
        alone.offer(1);
        alone.offer(2);
        alone.step(ProducerEvent::Connected(Attempt(0)));
        assert_eq!(alone.hear(0, &ack(1, AckStatus::Ok, None)), sent);
    }
}

#[test]
fn batches_below_the_resume_number_are_skipped_also_when_they_are_offered_after_it_is_known() {
    let mut alone = Alone::new(ProducerConfig { skip_accepted: true, ..config() });
    alone.step(ProducerEvent::Wake);
    alone.step(ProducerEvent::Connected(Attempt(0)));
    alone.hear(0, &ack(7, AckStatus::Ok, None));
    alone.hear(0, &ack(5, AckStatus::Persisted, None));
    let sent: Vec<_> = [3, 5, 6, 9].iter().map(|number| alone.offer(*number)).collect();
    assert_eq!(sent, [vec![], vec![], vec![], vec!["batch 9"]]);
    let progress = alone.producer.progress();
    assert_eq!((progress.accepted_batches, progress.persisted_batches), (3, 2));
}

#[test]
fn what_was_given_up_before_it_is_offered_is_not_skipped_but_sent_and_refused() {
    let mut alone = Alone::new(ProducerConfig { skip_accepted: true, ..config() });
    alone.step(ProducerEvent::Wake);
    alone.step(ProducerEvent::Connected(Attempt(0)));
    alone.hear(0, &changed_nack(3, false, |nack| nack.through_sequence = Some(4)));
    alone.hear(0, &ack(7, AckStatus::Ok, None));
    let sent: Vec<_> = [2, 4, 6].iter().map(|number| alone.offer(*number)).collect();
    assert_eq!(sent, [vec![], vec!["batch 4"], vec![]]);
    assert_eq!(alone.hear(0, &nack(4, false)), ["refused 4"]);
    let progress = alone.producer.progress();
    assert_eq!((progress.accepted_batches, progress.refused_batches), (2, 1));
}

#[test]
fn it_waits_as_long_as_it_is_asked_to() {
    let mut alone = Alone::up(config());
    alone.offer(1);
    let details = AckDetails { suggested_delay_ms: Some(700), ..AckDetails::default() };
    alone.hear(0, &changed_ack(1, |ack| ack.details = Some(details)));
    assert_eq!(alone.offer(2), [""; 0]);
    assert_eq!(alone.producer.deadline(), Some(700));
    assert_eq!(alone.wake(), ["batch 2"]);

    alone.hear(0, &changed_nack(2, true, |nack| nack.retry_delay_ms = Some(900)));
    assert_eq!(alone.producer.deadline(), Some(900));
    assert_eq!(alone.wake(), ["batch 2 retry 1"]);
}

#[test]
fn refusals_and_lost_connections_back_off_longer_and_longer_with_chance_in_it() {
    let mut alone = Alone::up(config());
    alone.offer(1);
    let mut longest = 100;
    for _ in 0..12 {
        alone.hear(0, &nack(1, true));
        let delay = alone.producer.deadline().expect("it will try again").min(30_000);
        assert!((longest / 2..=longest).contains(&delay) || delay == 10_000, "{delay} of {longest}");
        longest = (longest * 2).min(30_000);
        while alone.wake().iter().all(|sent| !sent.starts_with("batch")) {
            alone.hear(0, &ServerMessage::Pong(crate::wire::server::Pong { timestamp: 0, server_time: 0 }));
        }
    }
    let mut longest = 100;
    for attempt in 0..12 {
        alone.step(ProducerEvent::Disconnected { attempt: Attempt(attempt), retry_after_ms: None });
        let delay = alone.producer.deadline().expect("it will dial again");
        assert!((longest / 2..=longest).contains(&delay), "{delay} of {longest}");
        longest = (longest * 2).min(30_000);
        assert_eq!(alone.wake(), [format!("dial {}", attempt + 1)]);
    }
    alone.step(ProducerEvent::Disconnected { attempt: Attempt(12), retry_after_ms: Some(50_000) });
    assert_eq!(alone.producer.deadline(), Some(50_000));
}

#[test]
fn what_is_refused_for_good_is_reported_and_not_sent_again() {
    let mut alone = Alone::up(config());
    for number in 1..=3 {
        alone.offer(number);
    }
    assert_eq!(
        alone.hear(0, &changed_nack(1, false, |nack| nack.through_sequence = Some(2))),
        ["refused 1", "refused 2"]
    );
    assert_eq!(alone.reconnect(0), ["connect 2", "batch 3 retry 1"]);
    alone.step(ProducerEvent::Finish(Until::Persisted));
    assert_eq!(alone.hear(1, &buffered(3)), ["flush"]);
    assert_eq!(alone.hear(1, &ack(3, AckStatus::Persisted, None)), ["disconnect", "close 1", "finished"]);
    let progress = alone.producer.progress();
    assert_eq!((progress.refused_batches, progress.refused_events, progress.persisted_batches), (2, 2, 1));
}

#[test]
fn a_refusal_says_which_events_are_missing_and_why() {
    let mut alone = Alone::up(config());
    alone.offer(1);
    let mut commands = Vec::new();
    let frame = nack(1, false).to_frame();
    alone.producer.step(Timestamp(0), ProducerEvent::Received(Attempt(0), frame), &mut commands);
    let refused = RefusedBatch {
        number: 1,
        first_event_sequence: 10,
        last_event_sequence: 10,
        reason: NackReason::InvalidSequence,
        message: "because".to_owned(),
    };
    assert_eq!(commands[0], ProducerCommand::Refused(refused));
}

#[test]
fn a_session_that_is_refused_for_good_is_the_end() {
    let mut alone = Alone::new(config());
    alone.step(ProducerEvent::Wake);
    alone.step(ProducerEvent::Connected(Attempt(0)));
    let refused = SessionRefused { reason: NackReason::InvalidSequence, message: "because".to_owned() };
    assert_eq!(alone.hear(0, &nack(0, false)), ["close 0".to_owned(), refused.to_string()]);
    assert_eq!(alone.wake_if_due(), [""; 0]);
}

impl Alone {
    fn wake_if_due(&mut self) -> Vec<String> {
        assert_eq!(self.producer.deadline(), None);
        self.step(ProducerEvent::Wake)
    }
}

#[test]
fn a_session_that_is_refused_for_now_is_tried_again() {
    let mut alone = Alone::new(config());
    alone.step(ProducerEvent::Wake);
    alone.step(ProducerEvent::Connected(Attempt(0)));
    assert_eq!(alone.hear(0, &changed_nack(0, true, |nack| nack.retry_delay_ms = Some(5_000))), ["close 0"]);
    assert_eq!(alone.producer.deadline(), Some(5_000));
    assert_eq!(alone.wake(), ["dial 1"]);
}

#[test]
fn a_quiet_connection_is_kept_alive_and_a_silent_one_given_up() {
    let mut alone = Alone::up(config());
    assert_eq!(alone.wake(), ["heartbeat 0 0"]);
    assert_eq!(alone.wake(), ["heartbeat 0 0"]);
    assert_eq!(alone.wake(), ["close 0"]);
    assert_eq!(alone.wake(), ["dial 1"]);
    assert_eq!(alone.wake(), ["close 1"], "a dial that does not end");
}

#[test]
fn a_server_that_is_alive_but_never_answers_a_batch_is_given_up() {
    let mut alone = Alone::up(config());
    alone.offer(1);
    let pong = ServerMessage::Pong(crate::wire::server::Pong { timestamp: 0, server_time: 0 });
    for _ in 0..2 {
        assert_eq!(alone.wake(), ["heartbeat 0 1"]);
        alone.hear(0, &pong);
    }
    assert_eq!(alone.wake(), ["close 0"]);
}

#[test]
fn a_mark_that_does_not_come_is_asked_for_in_another_session() {
    let mut alone = Alone::up(config());
    alone.offer(1);
    alone.hear(0, &buffered(1));
    assert_eq!(alone.step(ProducerEvent::Finish(Until::Persisted)), ["flush"]);
    let pong = ServerMessage::Pong(crate::wire::server::Pong { timestamp: 0, server_time: 0 });
    for _ in 0..2 {
        assert_eq!(alone.wake(), ["heartbeat 1 0"]);
        alone.hear(0, &pong);
    }
    assert_eq!(alone.wake(), ["close 0"]);
    assert_eq!(alone.wake(), ["dial 1"]);
    assert_eq!(alone.step(ProducerEvent::Connected(Attempt(1))), ["connect 1"]);
    assert_eq!(alone.hear(1, &ack(1, AckStatus::Ok, None)), ["flush"]);
    assert_eq!(alone.hear(1, &ack(1, AckStatus::Persisted, None)), ["disconnect", "close 1", "finished"]);
}

#[test]
fn messages_that_it_does_not_know_are_passed_over() {
    let mut alone = Alone::up(config());
    for frame in ["", "[]", r#"{"type":"later"}"#] {
        assert_eq!(alone.step(ProducerEvent::Received(Attempt(0), Bytes::from(frame))), [""; 0]);
    }
    assert_eq!(alone.offer(1), ["batch 1"]);
}

fn any_fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        6 => Just(Fault::None),
        1 => Just(Fault::CutBefore),
        1 => Just(Fault::CutAfter),
        1 => Just(Fault::Swallow),
        2 => Just(Fault::Nack),
        1 => Just(Fault::NackNameless),
        2 => Just(Fault::AckLater),
    ]
}

proptest! {
    #[test]
    fn every_batch_ends_in_the_lake_once_whatever_the_network_does(
        seed: u128, count in 1_u64..40, window in 1_usize..8, numbered: bool, skip_accepted: bool,
        faults in prop::collection::vec(any_fault(), 0..200)
    ) {
        let config = ProducerConfig { window_batches: window, skip_accepted, ..config() };
        let mut world = World::new(Producer::new(config, Seed(seed)), faults);
        world.step(ProducerEvent::Wake);
        let mut next = 1;
        for _ in 0..5_000 {
            if world.end.is_some() {
                break;
            }
            if next > count {
                world.step(ProducerEvent::Finish(Until::Persisted));
            } else if world.producer.has_room() {
                world.step(ProducerEvent::Offer(offered(numbered.then_some(next), next)));
                next += 1;
            }
            if world.end.is_none() {
                world.advance();
            }
        }
        let progress = world.producer.progress();
        prop_assert_eq!(world.end, Some(ProducerCommand::Finished(Ok(progress))));
        prop_assert_eq!(world.refused, []);
        let whole = Progress {
            offered_batches: count, offered_events: count, accepted_batches: count, accepted_events: count,
            persisted_batches: count, persisted_events: count,
            duplicate_batches: progress.duplicate_batches, resends: progress.resends, sessions: progress.sessions,
            refused_batches: 0, refused_events: 0,
        };
        prop_assert_eq!(progress, whole);
        let taken: Vec<_> = world.taken.into_iter().collect();
        let expected: Vec<_> = (1..=count).map(|number| (number, offered(None, number).events)).collect();
        prop_assert_eq!(taken, expected);
    }
}
