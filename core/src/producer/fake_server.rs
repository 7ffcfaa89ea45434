//! A DoLake of sixty lines for tests: keeps batches by number, and a network around it that fails as a script says.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::Timestamp;
use crate::event::Frame;
use crate::producer::{Attempt, Producer, ProducerCommand, ProducerEvent, RefusedBatch};
use crate::wire::server::{Ack, AckStatus, FlushResponse, FlushResult, Nack, Pong};
use crate::wire::{ClientMessage, NackReason, ServerMessage, WireLimits, parse};

/// What happens to the next message of the producer, or to its next dial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nothing.
    None,
    /// The connection breaks before it arrives.
    CutBefore,
    /// The connection breaks after it was handled; the answer is lost.
    CutAfter,
    /// It is handled and the answer is lost, but the connection stays.
    Swallow,
    /// A batch is refused with retry.
    Nack,
    /// A batch is refused with retry by a server that does not say which.
    NackNameless,
    /// A batch is taken, and acked together with the next.
    AckLater,
}

/// A producer, a network and a server.
pub(super) struct World {
    pub(super) producer: Producer,
    pub(super) now: i64,
    pub(super) faults: VecDeque<Fault>,
    /// The events of each batch, as they came.
    pub(super) taken: BTreeMap<u64, Bytes>,
    pub(super) sent: Vec<ClientMessage>,
    pub(super) refused: Vec<RefusedBatch>,
    pub(super) end: Option<ProducerCommand>,
    up: Option<Attempt>,
    to_producer: VecDeque<ProducerEvent>,
    ack_from: Option<u64>,
}

impl World {
    pub(super) fn new(producer: Producer, faults: Vec<Fault>) -> World {
        World {
            producer,
            now: 1_000_000,
            faults: faults.into(),
            taken: BTreeMap::new(),
            sent: Vec::new(),
            refused: Vec::new(),
            end: None,
            up: None,
            to_producer: VecDeque::new(),
            ack_from: None,
        }
    }

    /// Delivers an event and carries out what comes of it.
    pub(super) fn step(&mut self, event: ProducerEvent) {
        let mut commands = Vec::new();
        self.producer.step(Timestamp(self.now), event, &mut commands);
        for command in commands {
            match command {
                ProducerCommand::Dial(attempt) => self.dialed(attempt),
                ProducerCommand::Send(attempt, frame) => self.received(attempt, frame),
                ProducerCommand::Close(attempt) => {
                    if self.up == Some(attempt) {
                        self.up = None;
                    }
                }
                ProducerCommand::Report(_) => {}
                ProducerCommand::Refused(batch) => self.refused.push(batch),
                ProducerCommand::Finished(_) => self.end = Some(command),
            }
        }
    }

    /// Delivers what is on its way, or lets time pass until the next deadline.
    pub(super) fn advance(&mut self) {
        match self.to_producer.pop_front() {
            Some(event) => self.step(event),
            None => {
                self.now += i64::try_from(self.producer.deadline().unwrap_or(0)).expect("short");
                self.step(ProducerEvent::Wake);
            }
        }
    }

    fn fault(&mut self) -> Fault {
        self.faults.pop_front().unwrap_or(Fault::None)
    }

    fn dialed(&mut self, attempt: Attempt) {
        match self.fault() {
            Fault::CutBefore | Fault::CutAfter => self.cut(attempt),
            Fault::Swallow => {}
            Fault::None | Fault::Nack | Fault::NackNameless | Fault::AckLater => {
                self.up = Some(attempt);
                self.ack_from = None;
                self.to_producer.push_back(ProducerEvent::Connected(attempt));
            }
        }
    }

    fn cut(&mut self, attempt: Attempt) {
        self.up = None;
        // What was on its way is lost with the connection.
        self.to_producer.clear();
        self.to_producer.push_back(ProducerEvent::Disconnected { attempt, retry_after_ms: None });
    }

    fn received(&mut self, attempt: Attempt, frame: Bytes) {
        let limits = WireLimits { max_payload_bytes: 1 << 20, max_event_bytes: 1 << 20 };
        let message = parse(&Frame::Text(frame), &limits).expect("a producer sends good messages");
        self.sent.push(message.clone());
        if self.up != Some(attempt) {
            return;
        }
        match self.fault() {
            Fault::CutBefore => self.cut(attempt),
            Fault::CutAfter => {
                self.handled(message, Fault::None);
                self.cut(attempt);
            }
            Fault::Swallow => {
                self.handled(message, Fault::None);
            }
            fault @ (Fault::None | Fault::Nack | Fault::NackNameless | Fault::AckLater) => {
                let answers = self.handled(message, fault);
                let events = answers.into_iter().map(|answer| ProducerEvent::Received(attempt, answer.to_frame()));
                self.to_producer.extend(events);
            }
        }
    }

    /// The highest number with all from 1 taken.
    fn whole_up_to(&self) -> u64 {
        (1..).take_while(|number| self.taken.contains_key(number)).last().unwrap_or(0)
    }

    fn handled(&mut self, message: ClientMessage, fault: Fault) -> Vec<ServerMessage> {
        match message {
            ClientMessage::Connect(_) => vec![ack(self.whole_up_to(), AckStatus::Ok, None)],
            ClientMessage::CdcBatch(batch) => {
                let number = batch.sequence_number;
                if fault == Fault::Nack || fault == Fault::NackNameless {
                    return vec![nack(if fault == Fault::Nack { number } else { 0 }, true)];
                }
                let events = batch.frame.slice(batch.events_span.range());
                let before = self.taken.insert(number, events.clone());
                assert!(
                    before.as_ref().is_none_or(|before| *before == events),
                    "batch {number} came with other events"
                );
                let first = self.ack_from.unwrap_or(number);
                if fault == Fault::AckLater {
                    self.ack_from = Some(first);
                    return Vec::new();
                }
                self.ack_from = None;
                let status = if before.is_some() { AckStatus::Duplicate } else { AckStatus::Buffered };
                vec![ack(number, status, (first < number).then_some(first))]
            }
            ClientMessage::Heartbeat(heartbeat) => {
                vec![ServerMessage::Pong(Pong { timestamp: heartbeat.timestamp, server_time: 0 })]
            }
            ClientMessage::FlushRequest(_) => vec![
                ack(self.whole_up_to(), AckStatus::Persisted, None),
                ServerMessage::FlushResponse(FlushResponse { correlation_id: None, result: FlushResult::default() }),
            ],
            ClientMessage::Disconnect(_) => Vec::new(),
        }
    }
}

/// An ack as the server would send it to source `s` of epoch `e`.
pub(super) fn ack(number: u64, status: AckStatus, first: Option<u64>) -> ServerMessage {
    ServerMessage::Ack(Ack {
        timestamp: 0,
        correlation_id: None,
        sequence_number: number,
        status,
        batch_id: None,
        details: None,
        rate_limit: None,
        source_do_id: Some("s".to_owned()),
        source_epoch: Some("e".to_owned()),
        first_sequence: first,
        through_sequence: None,
    })
}

/// A nack likewise.
pub(super) fn nack(number: u64, should_retry: bool) -> ServerMessage {
    ServerMessage::Nack(Nack {
        timestamp: 0,
        correlation_id: None,
        sequence_number: number,
        reason: if should_retry { NackReason::BufferFull } else { NackReason::InvalidSequence },
        error_message: "because".to_owned(),
        should_retry,
        retry_delay_ms: None,
        max_size: None,
        source_do_id: None,
        source_epoch: None,
        through_sequence: None,
    })
}
