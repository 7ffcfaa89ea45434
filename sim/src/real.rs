//! Drives the real producer's protocol machine ([`dolake_core::producer`]) on the world's network: it obeys in all, and
//! is what promise 7 is held to.

use bytes::Bytes;
use dolake_core::event::{ConnId, Frame};
use dolake_core::producer::{
    Attempt, Offered, Producer as Machine, ProducerCommand, ProducerConfig, ProducerEvent, Until,
};
use dolake_core::{Seed, Timestamp};

use dolake_core::wire::server::ServerMessage;

use crate::truth::{State, Stream};
use crate::world::{START_MS, Tag, What, World};

/// A producer's machine and what it was given.
#[derive(Debug)]
pub struct Real {
    machine: Machine,
    /// Batches that were offered to this machine.
    offered: usize,
    /// The sockets of its attempts.
    sockets: Vec<(Attempt, ConnId)>,
    generation: u64,
    finishing: bool,
    pub(crate) finished: bool,
    /// It was asked to send no batch before this moment.
    paused_until: u64,
}

impl Real {
    /// A machine for a source and epoch; whether it trusts that numbers name the same events for ever.
    pub(crate) fn new(stream: &Stream, skip_accepted: bool, seed: Seed) -> Real {
        let Stream { source, epoch, is_sparse, .. } = stream;
        let config = ProducerConfig {
            source_epoch: (!epoch.is_empty()).then(|| epoch.clone()),
            sparse: *is_sparse,
            skip_accepted,
            window_batches: 8,
            base_retry_delay_ms: 50,
            max_retry_delay_ms: 2_000,
            heartbeat_interval_ms: 2_000,
            silence_timeout_ms: 6_000,
            ..ProducerConfig::new(source)
        };
        let machine = Machine::new(config, seed);
        Real {
            machine,
            offered: 0,
            sockets: Vec::new(),
            generation: 0,
            finishing: false,
            finished: false,
            paused_until: 0,
        }
    }

    /// Batches that were offered to this machine.
    pub(crate) fn offered(&self) -> usize {
        self.offered
    }
}

impl World {
    /// A real producer's turn: its owner offers what there is, or crashes.
    pub(crate) fn real_turn(&mut self, producer: usize) {
        if !self.is_calm && self.chance.work.at("producer crash").chance(self.faults.producer_crash) {
            self.count("producer crash");
            for conn in self.open_sockets(producer) {
                self.cut(conn);
            }
            self.begin_machine(producer);
        }
        self.make_batches(producer);
        let stream = self.producers[producer].stream();
        loop {
            let Some(real) = &mut self.producers[producer].real else { return };
            if real.offered >= self.truth.streams[stream].batches.len() || !real.machine.has_room() {
                break;
            }
            let at = real.offered;
            real.offered += 1;
            let batch = &mut self.truth.streams[stream].batches[at];
            batch.state = State::Due(u64::MAX);
            let offered = Offered {
                number: Some(batch.number),
                event_count: batch.events.len() as u64,
                first_event_sequence: batch.range.0,
                last_event_sequence: batch.range.1,
                events: Bytes::new(),
            };
            let events = self.truth.events_json(&self.truth.streams[stream].batches[at].events);
            let offered = Offered { events: Bytes::from(events), ..offered };
            self.step_producer(producer, ProducerEvent::Offer(offered));
        }
        let Some(real) = &mut self.producers[producer].real else { return };
        // What stays broken is never persisted.
        let until = if self.plan.stays_broken { Until::Buffered } else { Until::Persisted };
        let all_offered = real.offered >= self.truth.streams[stream].batches.len();
        if self.is_calm && all_offered && !std::mem::replace(&mut real.finishing, true) {
            self.step_producer(producer, ProducerEvent::Finish(until));
        } else {
            self.step_producer(producer, ProducerEvent::Wake);
        }
    }

    /// Gives a producer a new machine, which knows nothing: what was not accepted is offered again.
    pub(crate) fn begin_machine(&mut self, producer: usize) {
        let stream = self.producers[producer].stream();
        let seed = Seed(u128::from(self.chance.work.at("producer seed").next()));
        let skip_accepted = self.chance.work.at("skips accepted").one_in(2);
        self.producers[producer].real = Some(Real::new(&self.truth.streams[stream], skip_accepted, seed));
    }

    pub(crate) fn step_producer(&mut self, producer: usize, event: ProducerEvent) {
        let now = Timestamp(START_MS + (self.now / 1_000) as i64);
        let Some(real) = &mut self.producers[producer].real else { return };
        let mut commands = Vec::new();
        real.machine.step(now, event, &mut commands);
        real.generation += 1;
        let (generation, deadline) = (real.generation, real.machine.deadline());
        for command in commands {
            self.producer_wants(producer, command);
        }
        if let Some(after_ms) = deadline {
            self.queue.at(self.now + after_ms.max(1) * 1_000, What::ProducerWake(producer, generation));
        }
    }

    /// A producer's deadline passes, if it is still this one.
    pub(crate) fn producer_wake(&mut self, producer: usize, generation: u64) {
        if self.producers[producer].real.as_ref().is_some_and(|real| real.generation == generation) {
            self.step_producer(producer, ProducerEvent::Wake);
        }
    }

    fn producer_wants(&mut self, producer: usize, command: ProducerCommand) {
        self.tell(|| {
            let text: String = format!("{command:?}").chars().take(200).collect();
            format!("producer {producer} wants {text}")
        });
        match command {
            ProducerCommand::Dial(attempt) => {
                let conn = self.open_socket(producer);
                if let Some(real) = &mut self.producers[producer].real {
                    real.sockets.retain(|(_, old)| *old != conn);
                    real.sockets.push((attempt, conn));
                }
            }
            ProducerCommand::Send(attempt, frame) => {
                if let Some(conn) = self.socket_of(producer, attempt) {
                    let tag = self.tag_of(producer, &frame);
                    self.check_patience(producer, tag);
                    if let (Tag::Batch(stream, at), Some(socket)) = (tag, self.sockets.get_mut(&conn)) {
                        socket.sent.insert((stream, self.truth.streams[stream].batches[at].number));
                    }
                    let at = self.due_at_host(conn);
                    self.queue.at(at, What::ToHost(conn, Frame::Text(frame), tag));
                }
            }
            ProducerCommand::Close(attempt) => {
                if let Some(conn) = self.socket_of(producer, attempt) {
                    self.cut(conn);
                }
            }
            ProducerCommand::Report(_) => {}
            ProducerCommand::Refused(refused) => {
                let stream = self.producers[producer].stream();
                if let Some(at) = self.truth.batch(stream, refused.number) {
                    self.truth.streams[stream].batches[at].state = State::Refused;
                }
            }
            ProducerCommand::Finished(Ok(progress)) => {
                self.count("producer finished");
                let stream = self.producers[producer].stream();
                let done = if self.plan.stays_broken { progress.accepted_batches } else { progress.persisted_batches };
                if done + progress.refused_batches != progress.offered_batches {
                    self.fail("producer", format!("producer {producer} finished with {progress:?}"));
                }
                for batch in &mut self.truth.streams[stream].batches {
                    if batch.state != State::Refused {
                        batch.state = State::Acked;
                    }
                }
                if let Some(real) = &mut self.producers[producer].real {
                    real.finished = true;
                }
            }
            ProducerCommand::Finished(Err(refused)) => {
                self.fail("producer", format!("producer {producer}: {refused}"));
            }
        }
    }

    /// A message with an advice to wait reached a producer.
    pub(crate) fn note_advice(&mut self, producer: usize, frame: &Bytes) {
        let advice = match ServerMessage::from_frame(frame) {
            Ok(ServerMessage::Nack(nack)) if nack.should_retry => nack.retry_delay_ms,
            Ok(ServerMessage::Ack(ack)) => ack.details.and_then(|details| details.suggested_delay_ms),
            Ok(_) | Err(_) => None,
        };
        if let (Some(delay_ms), Some(real)) = (advice, &mut self.producers[producer].real) {
            real.paused_until = real.paused_until.max(self.now + delay_ms.saturating_sub(1) * 1_000);
        }
    }

    /// Promise 6, the producer's part: it sends no batch while it was asked to wait.
    fn check_patience(&mut self, producer: usize, tag: Tag) {
        let until = self.producers[producer].real.as_ref().map_or(0, |real| real.paused_until);
        if matches!(tag, Tag::Batch(..)) && self.now < until {
            let early = (until - self.now) / 1_000;
            self.fail("patience", format!("producer {producer} sends a batch {early} ms before it was asked to"));
        }
    }

    fn socket_of(&self, producer: usize, attempt: Attempt) -> Option<ConnId> {
        let real = self.producers[producer].real.as_ref()?;
        let (_, conn) = real.sockets.iter().rev().find(|(of, _)| *of == attempt)?;
        self.sockets.get(conn).filter(|socket| socket.client_open).map(|_| *conn)
    }

    /// Which attempt of a producer's present machine a socket is.
    pub(crate) fn attempt_of(&self, conn: ConnId) -> Option<(usize, Attempt)> {
        let producer = self.sockets.get(&conn)?.producer;
        let real = self.producers[producer].real.as_ref()?;
        real.sockets.iter().find(|(_, of)| *of == conn).map(|(attempt, _)| (producer, *attempt))
    }

    fn tag_of(&self, producer: usize, frame: &[u8]) -> Tag {
        const MARK: &[u8] = b"\"sequenceNumber\":";
        if !frame.starts_with(b"{\"type\":\"cdc_batch\"") {
            return Tag::Other;
        }
        let at = frame.windows(MARK.len()).position(|window| window == MARK).map_or(frame.len(), |at| at + MARK.len());
        let digits = frame[at..].iter().take_while(|byte| byte.is_ascii_digit());
        let number = digits.fold(0_u64, |number, digit| number * 10 + u64::from(digit - b'0'));
        let stream = self.producers[producer].stream();
        self.truth.batch(stream, number).map_or(Tag::Other, |batch| Tag::Batch(stream, batch))
    }
}
