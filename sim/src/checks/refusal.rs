//! Promise 4: a batch is refused for good only if it gave a reason: it is malformed, its numbers belong to others, its
//! epoch is over, or its hole was given up, which happens only when that may be. Does not judge refusals with retry; those
//! that never end are [`super::liveness`].

use dolake_core::event::ConnId;
use dolake_core::wire::NackReason;
use dolake_core::wire::server::Nack;

use crate::world::{Tag, World};

/// Batches of a source whose hashes are kept in any case.
const REMEMBERED: usize = 16;

impl World {
    pub(super) fn nacked(&mut self, conn: ConnId, nack: &Nack) {
        self.count(match nack.reason {
            NackReason::BufferFull => "nack buffer_full",
            NackReason::RateLimited => "nack rate_limited",
            NackReason::InvalidSequence => "nack invalid_sequence",
            NackReason::InvalidFormat => "nack invalid_format",
            NackReason::InternalError => "nack internal_error",
            NackReason::ShuttingDown => "nack shutting_down",
            NackReason::LoadShedding => "nack load_shedding",
            NackReason::PayloadTooLarge => "nack payload_too_large",
            NackReason::EventTooLarge => "nack event_too_large",
            NackReason::ConnectionLimit => "nack connection_limit",
            NackReason::IpLimit => "nack ip_limit",
        });
        if nack.reason == NackReason::ConnectionLimit {
            return;
        }
        if let Some(last) = nack.through_sequence {
            return self.given_up(conn, nack, last);
        }
        let Some(socket) = self.sockets.get_mut(&conn) else { return };
        match socket.expects.pop_front() {
            Some(Tag::Batch(stream, batch)) => {
                let number = self.truth.streams[stream].batches[batch].number;
                if number != nack.sequence_number {
                    let message = format!("nack of {} where batch {number} waits", nack.sequence_number);
                    return self.fail("order of answers", message);
                }
                let told_at = nack.timestamp;
                self.batch_refused((stream, batch), told_at, nack.reason, nack.should_retry, &nack.error_message);
            }
            Some(Tag::Impostor(_, number)) if number == nack.sequence_number => {}
            Some(Tag::Malformed) if !nack.should_retry => {}
            other => {
                let message = format!(
                    "conn {}: nack of {} where {other:?} waits: {}",
                    conn.0, nack.sequence_number, nack.error_message
                );
                self.fail("order of answers", message);
            }
        }
    }

    /// A batch is refused, on a socket or by `POST /cdc`, at some time by the machine's clock.
    pub(super) fn batch_refused(
        &mut self,
        (stream, batch): (usize, usize),
        told_at: i64,
        reason: NackReason,
        should_retry: bool,
        why: &str,
    ) {
        if why.contains("memory holds no more") {
            self.count("batches fill the memory");
        }
        let holes_close = self.plan.holes_close;
        let over = self.truth.streams[stream].is_over;
        let remembered = self.is_remembered(stream, batch);
        let overtaken = self.may_be_passed_over(stream, batch);
        let of = &mut self.truth.streams[stream];
        // Without an epoch, a batch that is covered and not known may be that of a producer that started over.
        let events = &of.batches[batch].events;
        let covered = events.iter().all(|uid| self.journal.holds(*uid) || self.view.events.contains(uid));
        let unsure = of.epoch.is_empty() && (covered || holes_close) && !remembered;
        let batch = &mut of.batches[batch];
        batch.nacked += 1;
        let number = batch.number;
        // A nack that waited for a peer to read may be older than what closed the hole.
        if should_retry
            && !over
            && reason == NackReason::InvalidSequence
            && batch.closed
            && batch.closed_in == self.host.lives
            && batch.closed_at <= told_at
            && self.plan.overlap == 0
        {
            let message = format!("batch {number} of stream {stream} was given up and is to be sent again");
            return self.fail("refusal", message);
        }
        if !should_retry {
            let (acked, state) = (batch.acked, batch.state);
            self.count("batch refused for good");
            if !(over || unsure || overtaken || (holes_close && !acked)) {
                let message = format!("batch {number} of stream {stream} (acked: {acked}, {state:?}): {why}");
                self.fail("refusal", message);
            }
        } else {
            self.count("batch refused for now");
        }
    }

    /// Whether the machine must know this batch by its hash: it is acked, and in the journal or among the last that left it.
    pub(super) fn is_remembered(&self, stream: usize, batch: usize) -> bool {
        let of = &self.truth.streams[stream];
        let above = of.batches[batch + 1..].iter().filter(|batch| batch.received > 0).count();
        // One whose events came before under another number may be acked without being kept.
        self.plan.overlap == 0 && of.batches[batch].acked && !of.is_over && above < REMEMBERED
    }

    /// The machine names batches of a hole that it closed.
    fn given_up(&mut self, conn: ConnId, nack: &Nack, last: u64) {
        self.count("hole named as given up");
        let source = nack.source_do_id.clone().unwrap_or_default();
        let epoch = nack.source_epoch.clone().unwrap_or_default();
        let Some(stream) = self.truth.find(&source, &epoch) else {
            return self.fail("refusal", format!("{source:?} epoch {epoch:?} was never made up"));
        };
        let of = &self.truth.streams[stream];
        // What could not be read and was then passed over is named, too, and what its producer sent too late.
        let named =
            of.batches.iter().enumerate().filter(|(_, batch)| (nack.sequence_number..=last).contains(&batch.number));
        let is_passed_over = named.map(|(at, _)| at).any(|at| self.may_be_passed_over(stream, at));
        if !self.plan.holes_close && !of.is_over && !is_passed_over {
            return self.fail(
                "refusal",
                format!("stream {stream}: a hole was closed before its time: {}", nack.error_message),
            );
        }
        for at in 0..self.truth.streams[stream].batches.len() {
            let batch = &mut self.truth.streams[stream].batches[at];
            if !(nack.sequence_number..=last).contains(&batch.number) {
                continue;
            }
            if !batch.closed || batch.closed_in != self.host.lives {
                (batch.closed, batch.closed_in, batch.closed_at) = (true, self.host.lives, nack.timestamp);
            }
            let (number, acked) = (batch.number, batch.acked);
            if let Some(socket) = self.sockets.get_mut(&conn) {
                socket.told_closed.insert((stream, number));
            }
            // Where batches overlap, one of a closed hole is a repeat if others brought all its events.
            if acked && (self.plan.overlap == 0 || self.lost_event(stream, at).is_some()) {
                return self
                    .fail("refusal", format!("batch {number} of stream {stream} was acked and is named as given up"));
            }
        }
    }
}
