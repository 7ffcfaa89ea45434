//! Connections: who speaks on them, and in which order they are answered.
//!
//! Acks of one connection leave in the order in which its batches arrived, though their saves may end otherwise. Every
//! message that needs an answer takes a ticket; an answer waits until all tickets before it are answered. A peer that
//! does not read gets one cumulative ack a second and is closed when too much waits (`promises`, "Acks").

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::command::{Command, Commands};
use crate::event::{ConnId, Peer};
use crate::limits::{ATTACHMENT_BYTES_MAX, UNREAD_BYTES_MAX};
use crate::time::MachineTime;
use crate::wire::client::Connect;
use crate::wire::server::{Ack, AckStatus, ServerMessage};

/// Unread bytes above which acks are gathered.
const WINDOW_BYTES: usize = 64 << 10;

/// Time between two acks to a peer that does not read; each covers as much as it can.
const GATHER_MS: u64 = 1_000;

/// Messages over the size limit after which a connection is closed.
const SIZE_VIOLATIONS_MAX: u8 = 3;

/// What an answer that waits takes in memory: the same on all targets, so that all shut a connection at the same answer.
const ANSWER_BYTES: usize = 320;

const _: () = assert!(size_of::<ServerMessage>() <= ANSWER_BYTES);

/// WebSocket close code for a peer that said good-bye.
const CLOSE_NORMAL: u16 = 1000;

/// WebSocket close code for a peer that breaks a rule.
const CLOSE_POLICY: u16 = 1008;

/// Names a message of one connection that is to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(u64);

/// What a connection must remember when it outlives the machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Introduction {
    /// `sourceDoId` of its `connect`.
    pub(crate) source: String,
    /// `sourceEpoch` of its `connect`.
    pub(crate) epoch: String,
    /// `lastAckSequence` of its `connect`.
    pub(crate) last_ack: u64,
    /// Whether it said that its numbers are sparse.
    pub(crate) sparse: bool,
    /// A name for people.
    pub(crate) shard_name: Option<String>,
}

impl Introduction {
    /// What a `connect` says.
    pub(crate) fn of(connect: &Connect) -> Introduction {
        Introduction {
            source: connect.source_do_id.clone(),
            epoch: connect.source_epoch.clone().unwrap_or_default(),
            last_ack: connect.last_ack_sequence,
            sparse: connect.capabilities.sparse,
            shard_name: connect.source_shard_name.clone(),
        }
    }
}

#[derive(Debug)]
struct Conn {
    introduction: Option<Introduction>,
    /// It was introduced to a former life.
    outlived: bool,
    sources: BTreeSet<String>,
    next_ticket: u64,
    /// Tickets in order; `None` is not answered yet.
    answers: VecDeque<(Ticket, Option<ServerMessage>)>,
    unread_bytes: usize,
    /// It said `connect` more than once, so that it is told again of what it was told of.
    counts_all: bool,
    last_sent: MachineTime,
    size_violations: u8,
    closing: bool,
}

/// All open connections.
#[derive(Debug, Default)]
pub(crate) struct Conns {
    conns: BTreeMap<ConnId, Conn>,
}

impl Conns {
    /// A socket is there, perhaps with what it remembers.
    pub(crate) fn open(&mut self, conn: ConnId, peer: &Peer, attachment: Option<&Bytes>) {
        let introduction: Option<Introduction> = attachment.and_then(|bytes| postcard::from_bytes(bytes).ok());
        let named = introduction.as_ref().map(|introduction| &introduction.source).or(peer.client_id.as_ref());
        let sources = named.into_iter().cloned().collect();
        let fresh = Conn {
            outlived: introduction.is_some(),
            introduction,
            sources,
            next_ticket: 0,
            answers: VecDeque::new(),
            unread_bytes: 0,
            counts_all: false,
            last_sent: MachineTime(0),
            size_violations: 0,
            closing: false,
        };
        self.conns.insert(conn, fresh);
    }

    /// The socket is gone. Returns the sources that spoke on it.
    pub(crate) fn close(&mut self, conn: ConnId) -> BTreeSet<String> {
        self.conns.remove(&conn).map(|conn| conn.sources).unwrap_or_default()
    }

    /// Whether messages of this connection are still read.
    pub(crate) fn is_open(&self, conn: ConnId) -> bool {
        self.conns.get(&conn).is_some_and(|conn| !conn.closing)
    }

    /// All open connections.
    pub(crate) fn ids(&self) -> impl Iterator<Item = ConnId> {
        self.conns.keys().copied()
    }

    /// What its `connect` said.
    pub(crate) fn introduction(&self, conn: ConnId) -> Option<&Introduction> {
        self.conns.get(&conn)?.introduction.as_ref()
    }

    /// Whether it was introduced to a former life, and has not said `connect` since.
    pub(crate) fn outlived(&self, conn: ConnId) -> bool {
        self.conns.get(&conn).is_some_and(|conn| conn.outlived)
    }

    /// Remembers a `connect`, also with the socket.
    pub(crate) fn introduce(&mut self, id: ConnId, introduction: Introduction, out: &mut Commands) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.sources.insert(introduction.source.clone());
        let bytes = crate::journal::encode(&introduction);
        if bytes.len() <= ATTACHMENT_BYTES_MAX && !mutant!(IntroductionNotAttached) {
            out.push(Command::Attach { conn: id, bytes: bytes.into() });
        }
        conn.counts_all = conn.introduction.is_some() && !conn.outlived;
        conn.introduction = Some(introduction);
        conn.outlived = false;
    }

    /// Remembers that a source speaks on a connection.
    pub(crate) fn heard(&mut self, conn: ConnId, source: &str) {
        if let Some(conn) = self.conns.get_mut(&conn)
            && !conn.sources.contains(source)
        {
            conn.sources.insert(source.to_owned());
        }
    }

    /// Takes a place in the order of answers.
    pub(crate) fn ticket(&mut self, conn: ConnId) -> Ticket {
        let Some(conn) = self.conns.get_mut(&conn) else { return Ticket(0) };
        let ticket = Ticket(conn.next_ticket);
        conn.next_ticket += 1;
        conn.answers.push_back((ticket, None));
        ticket
    }

    /// Answers a ticket; sends what is now in order.
    pub(crate) fn answer(
        &mut self,
        id: ConnId,
        ticket: Ticket,
        message: ServerMessage,
        now: MachineTime,
        out: &mut Commands,
    ) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if let Ok(at) = conn.answers.binary_search_by_key(&ticket, |(ticket, _)| *ticket) {
            conn.answers[at].1 = Some(message);
            if mutant!(AnswersOutOfOrder) {
                conn.answers.remove(at).into_iter().for_each(|answer| conn.answers.push_front(answer));
            }
        }
        conn.drain(id, now, out);
    }

    /// Answers a ticket with several messages.
    pub(crate) fn answer_all(
        &mut self,
        id: ConnId,
        ticket: Ticket,
        messages: Vec<ServerMessage>,
        now: MachineTime,
        out: &mut Commands,
    ) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if let Ok(at) = conn.answers.binary_search_by_key(&ticket, |(ticket, _)| *ticket) {
            conn.answers.remove(at);
            for message in messages.into_iter().rev() {
                conn.answers.insert(at, (ticket, Some(message)));
            }
        }
        conn.drain(id, now, out);
    }

    /// Closes a connection that breaks a rule.
    pub(crate) fn shut(&mut self, id: ConnId, reason: &str, out: &mut Commands) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.shut(id, CLOSE_POLICY, reason, out);
        }
    }

    /// Closes a connection whose peer said good-bye.
    pub(crate) fn finish(&mut self, id: ConnId, out: &mut Commands) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.shut(id, CLOSE_NORMAL, "good-bye", out);
        }
    }

    /// Sends a message that answers nothing, after the answers that are ready.
    pub(crate) fn tell(&mut self, id: ConnId, message: ServerMessage, now: MachineTime, out: &mut Commands) {
        let ticket = self.ticket(id);
        self.answer(id, ticket, message, now, out);
    }

    /// The peer has read so much.
    pub(crate) fn sent(&mut self, id: ConnId, bytes: usize, now: MachineTime, out: &mut Commands) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.unread_bytes = conn.unread_bytes.saturating_sub(bytes);
        conn.drain(id, now, out);
    }

    /// Counts a message over the size limit; the third closes the connection.
    pub(crate) fn size_violation(&mut self, id: ConnId, out: &mut Commands) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.size_violations += 1;
        if conn.size_violations >= SIZE_VIOLATIONS_MAX {
            conn.shut(id, CLOSE_POLICY, "three messages were over the size limit", out);
        }
    }

    /// When acks that were gathered are due.
    pub(crate) fn deadline(&self) -> Option<MachineTime> {
        let waiting = self.conns.values().filter(|conn| !conn.closing && conn.first_is_ready());
        waiting.map(|conn| conn.last_sent.after_ms(GATHER_MS)).min()
    }

    /// Sends gathered acks that are due.
    pub(crate) fn wake(&mut self, now: MachineTime, out: &mut Commands) {
        for (id, conn) in &mut self.conns {
            conn.drain(*id, now, out);
        }
    }
}

impl Conn {
    fn first_is_ready(&self) -> bool {
        matches!(self.answers.front(), Some((_, Some(_))))
    }

    fn drain(&mut self, id: ConnId, now: MachineTime, out: &mut Commands) {
        if self.closing {
            return;
        }
        while let Some((_, Some(first))) = self.answers.front() {
            let is_counted = self.counts_all || is_counted(first);
            if is_counted && self.unread_bytes > WINDOW_BYTES {
                self.gather();
                if now.since_ms(self.last_sent) < GATHER_MS {
                    break;
                }
            }
            let Some((_, Some(message))) = self.answers.pop_front() else { break };
            let frame = message.to_frame();
            if is_counted {
                self.unread_bytes += frame.len();
                self.last_sent = now;
            }
            out.push(Command::Send { conn: id, frame });
        }
        if self.unread_bytes + self.answers.len() * ANSWER_BYTES > UNREAD_BYTES_MAX {
            let counts = |answer: &ServerMessage| self.counts_all || is_counted(answer);
            let waiting = self.answers.iter().filter(|(_, answer)| answer.as_ref().is_some_and(counts)).count();
            if self.unread_bytes + waiting * ANSWER_BYTES > UNREAD_BYTES_MAX {
                self.shut(id, CLOSE_POLICY, "the answers are not read", out);
            }
        }
    }

    /// Makes one cumulative ack of the ready acks at the front that speak of the same source and level.
    fn gather(&mut self) {
        let mut gathered: VecDeque<(Ticket, Option<ServerMessage>)> = VecDeque::with_capacity(self.answers.len());
        while let Some((ticket, answer)) = self.answers.pop_front() {
            let Some(ServerMessage::Ack(next)) = answer else {
                gathered.push_back((ticket, answer));
                continue;
            };
            let is_ack = |answer: &Option<ServerMessage>| matches!(answer, Some(ServerMessage::Ack(_)));
            let last = if mutant!(CumulativeOverNack) {
                gathered.iter_mut().rev().find(|(_, answer)| is_ack(answer))
            } else {
                gathered.back_mut()
            };
            match last {
                Some((_, Some(ServerMessage::Ack(last)))) if may_gather(last, &next) => append(last, next),
                _ => gathered.push_back((ticket, Some(ServerMessage::Ack(next)))),
            }
        }
        self.answers = gathered;
    }

    fn shut(&mut self, id: ConnId, code: u16, reason: &str, out: &mut Commands) {
        if !self.closing {
            self.closing = true;
            out.push(Command::Close { conn: id, code, reason: reason.to_owned() });
        }
    }
}

/// Whether a message counts as unread until the peer has read it. The closed holes that a mark or an `ok` passes are named
/// all at once, once on a connection that says `connect` once: there may be thousands, and the peer had no time to read the
/// first.
fn is_counted(message: &ServerMessage) -> bool {
    !matches!(message, ServerMessage::Nack(nack) if nack.through_sequence.is_some())
}

/// Only numbers without a gap: the batch of a number between may have been refused on this connection before.
fn may_gather(last: &Ack, next: &Ack) -> bool {
    let first = next.first_sequence.unwrap_or(next.sequence_number);
    matches!(last.status, AckStatus::Buffered | AckStatus::Fallback | AckStatus::Duplicate)
        && last.status == next.status
        && last.source_do_id == next.source_do_id
        && last.source_epoch == next.source_epoch
        && first.checked_sub(1) == Some(last.sequence_number)
}

fn append(last: &mut Ack, next: Ack) {
    let first = last.first_sequence.unwrap_or(last.sequence_number);
    let processed = last.details.as_ref().map_or(0, |details| details.events_processed);
    *last = next;
    last.first_sequence = Some(first).filter(|_| !mutant!(CumulativeWithoutFirst));
    if let Some(details) = &mut last.details {
        details.events_processed += processed;
    }
}
