//! Drives `dolake_core::producer` over a real socket: delivers what happens, does what it says.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dolake_core::Seed;
use dolake_core::producer::{
    Attempt, Offered, Producer, ProducerCommand, ProducerConfig, ProducerEvent, Progress, RefusedBatch, SessionRefused,
    Until,
};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tracing::info;

use super::input::{InputBatch, InputError};
use super::link::{self, Dial, FromLink, Link};
use crate::host::clock::Clock;

/// Messages from the socket that wait to be looked at.
const INCOMING_MAX: usize = 256;

/// What is reported while it runs.
pub trait Watcher {
    /// How far it is.
    fn progress(&mut self, progress: Progress);
    /// A batch that will never be taken as it is.
    fn refused(&mut self, batch: RefusedBatch);
}

/// Why producing ended early.
#[derive(Debug, thiserror::Error)]
pub enum ProduceError {
    /// The input cannot be sent.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The server wants none of it.
    #[error(transparent)]
    Session(#[from] SessionRefused),
}

/// Sends every batch of `batches`, until all are as safe as `until` says.
///
/// # Errors
/// The input is bad, or the server refuses the source. A server that is away is waited for.
pub async fn produce(
    server: impl Dial,
    clock: Arc<dyn Clock>,
    config: ProducerConfig,
    seed: Seed,
    batches: Receiver<Result<InputBatch, InputError>>,
    until: Until,
    watcher: &mut impl Watcher,
) -> Result<Progress, ProduceError> {
    let producer = Producer::new(config, seed);
    let (to_us, from_link) = channel(INCOMING_MAX);
    let mut driver = Driver { producer, server, clock, link: None, to_us, commands: Vec::new(), end: None };
    driver.step(ProducerEvent::Wake, watcher);
    driver.run(batches, from_link, until, watcher).await
}

struct Driver<D> {
    producer: Producer,
    server: D,
    clock: Arc<dyn Clock>,
    link: Option<Link>,
    to_us: Sender<FromLink>,
    commands: Vec<ProducerCommand>,
    end: Option<Result<Progress, SessionRefused>>,
}

impl<D: Dial> Driver<D> {
    async fn run(
        mut self,
        mut batches: Receiver<Result<InputBatch, InputError>>,
        mut from_link: Receiver<FromLink>,
        until: Until,
        watcher: &mut impl Watcher,
    ) -> Result<Progress, ProduceError> {
        let mut more = true;
        loop {
            if let Some(end) = self.end.take() {
                return Ok(end?);
            }
            let wake = self.producer.deadline().map_or(Duration::MAX, Duration::from_millis);
            let event = tokio::select! {
                biased;
                // A deadline that has passed goes first, so that many messages cannot put it off for ever.
                () = tokio::time::sleep(wake) => ProducerEvent::Wake,
                Some(message) = from_link.recv() => into_event(message),
                batch = batches.recv(), if more && self.producer.has_room() => match batch {
                    Some(batch) => ProducerEvent::Offer(offered(batch?)),
                    None => {
                        more = false;
                        ProducerEvent::Finish(until)
                    }
                },
            };
            self.step(event, watcher);
        }
    }

    fn step(&mut self, event: ProducerEvent, watcher: &mut impl Watcher) {
        let mut commands = std::mem::take(&mut self.commands);
        self.producer.step(self.clock.now(), event, &mut commands);
        for command in commands.drain(..) {
            self.carry_out(command, watcher);
        }
        self.commands = commands;
    }

    fn carry_out(&mut self, command: ProducerCommand, watcher: &mut impl Watcher) {
        match command {
            ProducerCommand::Dial(attempt) => {
                self.link = Some(link::dial(&self.server, attempt, self.to_us.clone()));
            }
            ProducerCommand::Send(attempt, frame) => {
                if let Some(link) = self.link_of(attempt) {
                    link.send(frame);
                }
            }
            ProducerCommand::Close(attempt) => {
                if self.link_of(attempt).is_some() {
                    self.link = None;
                }
            }
            ProducerCommand::Report(progress) => watcher.progress(progress),
            ProducerCommand::Refused(batch) => watcher.refused(batch),
            ProducerCommand::Finished(end) => self.end = Some(end),
        }
    }

    fn link_of(&self, attempt: Attempt) -> Option<&Link> {
        self.link.as_ref().filter(|link| link.attempt == attempt)
    }
}

fn into_event(message: FromLink) -> ProducerEvent {
    match message {
        FromLink::Open(attempt) => ProducerEvent::Connected(attempt),
        FromLink::Text(attempt, text) => ProducerEvent::Received(attempt, text),
        FromLink::Gone { attempt, why, retry_after_ms } => {
            info!(attempt = attempt.0, why, "not connected");
            ProducerEvent::Disconnected { attempt, retry_after_ms }
        }
    }
}

fn offered(batch: InputBatch) -> Offered {
    Offered {
        number: Some(batch.last),
        events: Bytes::from(batch.events),
        event_count: batch.count,
        first_event_sequence: batch.first,
        last_event_sequence: batch.last,
    }
}
