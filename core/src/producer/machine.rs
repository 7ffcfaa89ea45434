//! The session: dial, greet, send, wait, and start over when the connection is lost or silent.

use std::ops::RangeInclusive;

use bytes::Bytes;

use crate::producer::window::Window;
use crate::producer::{
    Attempt, Offered, ProducerCommand, ProducerConfig, ProducerEvent, Progress, SessionRefused, Until,
};
use crate::seed::{Draws, Seed};
use crate::time::{Clock, MachineTime, Timestamp};
use crate::wire::ServerMessage;
use crate::wire::client::{
    BatchHeader, Capabilities, ClientMessage, Connect, Disconnect, FlushReason, FlushRequest, Heartbeat,
    PROTOCOL_VERSION,
};
use crate::wire::server::{Ack, AckStatus, Nack};

/// The most that one step of the host's clock counts.
const CLOCK_STEP_MS_MAX: u64 = 60_000;

/// Where the connection is. Times are when it came there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    /// None; dials at the time.
    Down(MachineTime),
    /// Asked for.
    Dialing(MachineTime),
    /// Open; `connect` is sent and its answer awaited.
    Greeting,
    /// In session.
    Up,
    /// Finished; nothing happens any more.
    Over,
}

/// A producer's protocol machine.
#[derive(Debug)]
pub struct Producer {
    config: ProducerConfig,
    draws: Draws,
    clock: Option<Clock>,
    link: Link,
    attempt: Attempt,
    window: Window,
    until: Option<Until>,
    /// Nothing is sent before.
    paused_until: MachineTime,
    heard_at: MachineTime,
    /// When a batch was last answered, or the first of those under way was sent.
    answered_at: MachineTime,
    sent_at: MachineTime,
    /// Connections lost in a row, without an accepted batch or a pong between.
    losses: u32,
    /// Refusals with retry in a row, those of one volley counted once.
    refusals: u32,
    /// When DoLake was asked, on this connection, to flush the last of it.
    flush_asked_at: Option<MachineTime>,
    reported: Progress,
}

impl Producer {
    /// A producer that is not connected. Deliver [`ProducerEvent::Wake`] to start it.
    pub fn new(config: ProducerConfig, seed: Seed) -> Producer {
        assert!(config.window_batches > 0, "a window of 0 batches sends nothing");
        assert!(config.silence_timeout_ms >= 2 * config.heartbeat_interval_ms, "a pong must fit into the silence");
        Producer {
            window: Window::new(config.last_ack_sequence),
            config,
            draws: Draws::new(seed),
            clock: None,
            link: Link::Down(MachineTime(0)),
            attempt: Attempt(0),
            until: None,
            paused_until: MachineTime(0),
            heard_at: MachineTime(0),
            answered_at: MachineTime(0),
            sent_at: MachineTime(0),
            losses: 0,
            refusals: 0,
            flush_asked_at: None,
            reported: Progress::default(),
        }
    }

    /// Whether another batch may be offered.
    pub fn has_room(&self) -> bool {
        self.until.is_none()
            && self.link != Link::Over
            && self.window.waiting_batches() < self.config.window_batches
            && self.window.waiting_bytes() < self.config.window_bytes
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        self.window.progress
    }

    /// Milliseconds from the last step until [`ProducerEvent::Wake`] is to be delivered; `None`: only an event helps.
    pub fn deadline(&self) -> Option<u64> {
        let now = self.now();
        let silent_at = self.heard_at.after_ms(self.config.silence_timeout_ms);
        let at = match self.link {
            Link::Over => return None,
            Link::Down(dial_at) => dial_at,
            Link::Dialing(since) => since.after_ms(self.config.silence_timeout_ms),
            Link::Greeting => silent_at,
            Link::Up => {
                let heartbeat_at = self.sent_at.after_ms(self.config.heartbeat_interval_ms);
                let resume_at = if self.paused_until > now { self.paused_until } else { heartbeat_at };
                self.unanswered_at().unwrap_or(silent_at).min(silent_at).min(heartbeat_at).min(resume_at)
            }
        };
        Some(at.since_ms(now))
    }

    /// Takes in what happened and says what to do.
    pub fn step(&mut self, now: Timestamp, event: ProducerEvent, out: &mut Vec<ProducerCommand>) {
        self.clock.get_or_insert_with(|| Clock::resume(MachineTime(0), None, now, CLOCK_STEP_MS_MAX)).advance(now);
        if self.link == Link::Over {
            return;
        }
        match event {
            ProducerEvent::Connected(attempt) => self.connected(attempt, out),
            ProducerEvent::Disconnected { attempt, retry_after_ms } => {
                if attempt == self.attempt {
                    self.lost(retry_after_ms);
                }
            }
            ProducerEvent::Received(attempt, frame) => {
                if attempt == self.attempt {
                    self.received(&frame, out);
                }
            }
            ProducerEvent::Offer(offered) => self.offer(offered),
            ProducerEvent::Wake => {}
            ProducerEvent::Finish(until) => self.until = Some(until),
        }
        self.time_passed(out);
        self.send_batches(out);
        self.finish(out);
        if self.reported != self.window.progress {
            self.reported = self.window.progress;
            out.push(ProducerCommand::Report(self.reported));
        }
    }

    fn now(&self) -> MachineTime {
        self.clock.as_ref().map_or(MachineTime(0), Clock::now)
    }

    fn host_ms(&self) -> i64 {
        self.clock.as_ref().map_or(0, |clock| clock.host_now().0)
    }

    /// When an answer that is awaited counts as lost, though the other side is alive: that to a batch, or the mark that
    /// the end waits for. A new session is told how far things are.
    fn unanswered_at(&self) -> Option<MachineTime> {
        let waits = self.window.under_way(self.attempt).0 > 0;
        let since = if waits { Some(self.answered_at) } else { self.flush_asked_at };
        since.map(|since| since.after_ms(self.config.silence_timeout_ms))
    }

    fn offer(&mut self, offered: Offered) {
        assert!(self.until.is_none(), "a batch was offered after Finish");
        self.window.offer(offered);
        if self.link == Link::Up {
            self.window.number_new();
            if self.config.skip_accepted {
                self.window.accept_resumed();
            }
        }
    }

    fn send(&mut self, message: &ClientMessage, out: &mut Vec<ProducerCommand>) {
        self.send_frame(message.to_frame(), out);
    }

    fn send_frame(&mut self, frame: Bytes, out: &mut Vec<ProducerCommand>) {
        self.sent_at = self.now();
        out.push(ProducerCommand::Send(self.attempt, frame));
    }

    fn connected(&mut self, attempt: Attempt, out: &mut Vec<ProducerCommand>) {
        if attempt != self.attempt || !matches!(self.link, Link::Dialing(_)) {
            return;
        }
        self.link = Link::Greeting;
        self.heard_at = self.now();
        let connect = ClientMessage::Connect(Connect {
            timestamp: self.host_ms(),
            correlation_id: None,
            source_do_id: self.config.source_do_id.clone(),
            source_epoch: self.config.source_epoch.clone(),
            source_shard_name: self.config.source_shard_name.clone(),
            last_ack_sequence: self.window.last_ack(),
            protocol_version: PROTOCOL_VERSION,
            capabilities: Capabilities {
                batching: true,
                sparse: self.config.sparse,
                max_batch_size: None,
                max_message_size: None,
                binary_protocol: false,
                compression: false,
            },
        });
        self.send(&connect, out);
    }

    /// The connection is gone; the next is dialed after a back-off.
    fn lost(&mut self, retry_after_ms: Option<u64>) {
        let asked_ms = retry_after_ms.unwrap_or(0);
        let delay_ms = self.back_off_ms(self.losses).max(asked_ms);
        self.losses = self.losses.saturating_add(1);
        self.link = Link::Down(self.now().after_ms(delay_ms));
        self.attempt.0 += 1;
        self.flush_asked_at = None;
        if mutant!(ProducerDropsWindow) {
            self.window.accept_through(u64::MAX, false);
        }
    }

    /// Doubles with each of `failures` in a row; half of it is chance, so that many producers do not come at once.
    fn back_off_ms(&mut self, failures: u32) -> u64 {
        let factor = 1_u64.checked_shl(failures.min(32)).unwrap_or(u64::MAX);
        let most = self.config.base_retry_delay_ms.saturating_mul(factor).min(self.config.max_retry_delay_ms);
        most / 2 + self.draws.below(most / 2 + 1)
    }

    fn pause(&mut self, delay_ms: u64) {
        let delay_ms = if mutant!(ProducerIgnoresDelay) { 0 } else { delay_ms };
        self.paused_until = self.paused_until.max(self.now().after_ms(delay_ms));
    }

    fn received(&mut self, frame: &Bytes, out: &mut Vec<ProducerCommand>) {
        if !matches!(self.link, Link::Greeting | Link::Up) {
            return;
        }
        self.heard_at = self.now();
        // A message of a later version is no reason to give up the session.
        let Ok(message) = ServerMessage::from_frame(frame) else { return };
        match message {
            ServerMessage::Ack(ack) => {
                if self.is_mine(ack.source_do_id.as_deref(), ack.source_epoch.as_deref()) {
                    self.answered_at = self.now();
                    self.acked(&ack);
                }
            }
            ServerMessage::Nack(nack) => {
                if self.is_mine(nack.source_do_id.as_deref(), nack.source_epoch.as_deref()) {
                    self.answered_at = self.now();
                    self.nacked(nack, out);
                }
            }
            ServerMessage::Pong(_) => self.losses = 0,
            ServerMessage::Status(_) | ServerMessage::FlushResponse(_) => {}
        }
    }

    /// An answer that names no source is about this connection's.
    fn is_mine(&self, source: Option<&str>, epoch: Option<&str>) -> bool {
        let same_epoch = epoch.unwrap_or("") == self.config.source_epoch.as_deref().unwrap_or("");
        source.is_none_or(|source| source == self.config.source_do_id && same_epoch)
    }

    fn acked(&mut self, ack: &Ack) {
        if let Some(delay_ms) = ack.details.as_ref().and_then(|details| details.suggested_delay_ms) {
            self.pause(delay_ms);
        }
        let number = ack.sequence_number;
        let accepted_before = self.window.progress.accepted_batches;
        match ack.status {
            AckStatus::Ok => {
                self.window.accept_through(number, self.config.skip_accepted);
                if self.link == Link::Greeting {
                    self.link = Link::Up;
                    self.window.progress.sessions += 1;
                    self.window.number_above(number);
                }
            }
            AckStatus::Buffered | AckStatus::Fallback => self.accept(ack, false),
            AckStatus::Duplicate => self.accept(ack, true),
            AckStatus::Persisted => {
                self.accept(ack, false);
                self.window.accept_through(number, false);
                self.window.persist(number);
            }
        }
        if self.window.progress.accepted_batches > accepted_before {
            (self.losses, self.refusals) = (0, 0);
        }
    }

    fn accept(&mut self, ack: &Ack, duplicate: bool) {
        let numbers = ack.first_sequence.unwrap_or(ack.sequence_number)..=ack.sequence_number;
        if ack.status != AckStatus::Persisted {
            self.window.answered(&numbers, self.attempt);
        }
        self.window.accept(&numbers, self.attempt, duplicate);
    }

    fn nacked(&mut self, nack: Nack, out: &mut Vec<ProducerCommand>) {
        let number = nack.sequence_number;
        if nack.through_sequence.is_none() {
            self.window.answered(&(number..=number), self.attempt);
        }
        if nack.should_retry && !mutant!(ProducerGivesUpOnRetry) {
            let delay_ms = match nack.retry_delay_ms {
                Some(delay_ms) => delay_ms,
                None => self.back_off_ms(self.refusals),
            };
            if self.now() >= self.paused_until {
                self.refusals = self.refusals.saturating_add(1);
            }
            self.pause(delay_ms);
            if number == 0 {
                self.window.refuse_all();
            } else {
                self.window.refuse(number);
            }
            if self.link == Link::Greeting {
                out.push(ProducerCommand::Close(self.attempt));
                self.lost(nack.retry_delay_ms);
            }
            return;
        }
        let numbers: RangeInclusive<u64> = number..=nack.through_sequence.unwrap_or(number);
        if nack.through_sequence.is_some() {
            self.window.give_up(&numbers);
        }
        let refused = self.window.fail(&numbers, nack.reason, &nack.error_message);
        let nameless = number == 0 && nack.through_sequence.is_none();
        out.extend(refused.into_iter().map(ProducerCommand::Refused));
        if nameless {
            out.push(ProducerCommand::Close(self.attempt));
            let refused = SessionRefused { reason: nack.reason, message: nack.error_message };
            out.push(ProducerCommand::Finished(Err(refused)));
            self.link = Link::Over;
        }
    }

    /// Dials, gives up what is silent, and shows that it is alive.
    fn time_passed(&mut self, out: &mut Vec<ProducerCommand>) {
        let now = self.now();
        let silence_ms = self.config.silence_timeout_ms;
        match self.link {
            Link::Down(dial_at) if now >= dial_at => {
                self.link = Link::Dialing(now);
                out.push(ProducerCommand::Dial(self.attempt));
            }
            Link::Dialing(since) if now.since_ms(since) >= silence_ms => self.give_up(out),
            Link::Greeting | Link::Up if now.since_ms(self.heard_at) >= silence_ms => self.give_up(out),
            Link::Up if self.unanswered_at().is_some_and(|at| now >= at) => self.give_up(out),
            Link::Up if now.since_ms(self.sent_at) >= self.config.heartbeat_interval_ms => {
                let heartbeat = ClientMessage::Heartbeat(Heartbeat {
                    timestamp: self.host_ms(),
                    correlation_id: None,
                    source_do_id: self.config.source_do_id.clone(),
                    last_ack_sequence: self.window.last_ack(),
                    pending_events: self.window.waiting_events(),
                });
                self.send(&heartbeat, out);
            }
            Link::Down(_) | Link::Dialing(_) | Link::Greeting | Link::Up | Link::Over => {}
        }
    }

    fn give_up(&mut self, out: &mut Vec<ProducerCommand>) {
        out.push(ProducerCommand::Close(self.attempt));
        self.lost(None);
    }

    fn send_batches(&mut self, out: &mut Vec<ProducerCommand>) {
        if self.link != Link::Up || self.now() < self.paused_until {
            return;
        }
        let (timestamp, sent_at) = (self.host_ms(), self.now());
        if self.window.under_way(self.attempt).0 == 0 {
            self.answered_at = sent_at;
        }
        let (max_batches, max_bytes) = (self.config.window_batches, self.config.window_bytes);
        while let Some((number, batch)) = self.window.send_next(self.attempt, max_batches, max_bytes) {
            let header = BatchHeader {
                timestamp,
                correlation_id: None,
                source_do_id: &self.config.source_do_id,
                source_epoch: self.config.source_epoch.as_deref(),
                source_shard_name: self.config.source_shard_name.as_deref(),
                sequence_number: number + u64::from(mutant!(ProducerRenumbers) && batch.sends > 1),
                first_event_sequence: batch.offered.first_event_sequence,
                last_event_sequence: batch.offered.last_event_sequence,
                size_bytes: batch.offered.events.len() as u64,
                is_retry: batch.sends > 1,
                retry_count: batch.sends - 1,
            };
            out.push(ProducerCommand::Send(self.attempt, header.to_frame(&batch.offered.events)));
            self.sent_at = sent_at;
        }
    }

    /// Ends when all is as safe as was wanted; helps the last of it into the lake.
    fn finish(&mut self, out: &mut Vec<ProducerCommand>) {
        let Some(until) = self.until else { return };
        if self.link == Link::Over || self.window.waiting_batches() > 0 {
            return;
        }
        if until == Until::Persisted && self.window.unpersisted_batches() > 0 {
            if self.link == Link::Up && self.flush_asked_at.is_none() {
                self.flush_asked_at = Some(self.now());
                let request = ClientMessage::FlushRequest(FlushRequest {
                    timestamp: self.host_ms(),
                    correlation_id: None,
                    source_do_id: self.config.source_do_id.clone(),
                    reason: FlushReason::Manual,
                });
                self.send(&request, out);
            }
            return;
        }
        if self.link == Link::Up {
            let disconnect = ClientMessage::Disconnect(Disconnect {
                timestamp: self.host_ms(),
                correlation_id: None,
                source_do_id: self.config.source_do_id.clone(),
                reason: Some("all is acknowledged".to_owned()),
            });
            self.send(&disconnect, out);
        }
        if matches!(self.link, Link::Dialing(_) | Link::Greeting | Link::Up) {
            out.push(ProducerCommand::Close(self.attempt));
        }
        out.push(ProducerCommand::Finished(Ok(self.window.progress)));
        self.link = Link::Over;
    }
}
