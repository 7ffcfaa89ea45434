//! Promise 1: an ack of a batch leaves when the batch is in the journal or in the lake, and answers come in the order of
//! the batches of their connection. Does not see whether the journal itself keeps what it confirmed: its model does.

use dolake_core::event::ConnId;
use dolake_core::wire::server::{Ack, AckStatus};

use crate::lake_view::describe;
use crate::truth::Uid;
use crate::world::{Tag, World};

impl World {
    /// Whether an event is in the journal or in the lake.
    pub(super) fn is_durable(&self, uid: Uid) -> bool {
        self.journal.holds(uid) || self.view.events.contains(&uid)
    }

    pub(super) fn lost_event(&self, stream: usize, batch: usize) -> Option<Uid> {
        self.truth.streams[stream].batches[batch].events.iter().copied().find(|uid| !self.is_durable(*uid))
    }

    /// A batch is acked, and was found to be durable.
    pub(super) fn note_acked(&mut self, stream: usize, batch: usize) {
        self.truth.streams[stream].batches[batch].acked = true;
        self.truth.streams[stream].batches[batch].acks += 1;
        if self.truth.streams[stream].is_sparse {
            self.count("sparse batch acked");
        }
        self.bar_older_epochs(stream);
        self.check_hole_size(stream);
        self.last_ack = self.now;
    }

    pub(super) fn batches_acked(&mut self, conn: ConnId, stream: usize, ack: &Ack) {
        let first = ack.first_sequence.unwrap_or(ack.sequence_number);
        self.count(match ack.status {
            AckStatus::Duplicate => "ack duplicate",
            AckStatus::Fallback => "ack fallback",
            AckStatus::Ok | AckStatus::Buffered | AckStatus::Persisted => "ack buffered",
        });
        if ack.first_sequence.is_some() {
            self.count("ack cumulative");
        }
        loop {
            let Some(socket) = self.sockets.get_mut(&conn) else { return };
            match socket.expects.pop_front() {
                Some(Tag::Batch(of, batch)) if of == stream => {
                    let number = self.truth.streams[stream].batches[batch].number;
                    if !(first..=ack.sequence_number).contains(&number) {
                        let message = format!(
                            "conn {}: ack of {first} to {} answers batch {number}",
                            conn.0, ack.sequence_number
                        );
                        return self.fail("order of answers", message);
                    }
                    if ack.status == AckStatus::Duplicate && self.is_overtaken(stream, batch) {
                        self.came_too_late(stream, batch);
                        if number == ack.sequence_number {
                            return;
                        }
                        continue;
                    }
                    if let Some(uid) = self.lost_event(stream, batch) {
                        let event = describe(uid, &self.truth);
                        return self.fail(
                            "ack",
                            format!("batch {number} is acked {:?}, event {event} is nowhere", ack.status),
                        );
                    }
                    let acked = &self.truth.streams[stream].batches[batch];
                    if acked.closed
                        && acked.closed_in == self.host.lives
                        && ack.status != AckStatus::Duplicate
                        && self.plan.overlap == 0
                    {
                        return self.fail("ack", format!("batch {number} was given up and is acked {:?}", ack.status));
                    }
                    self.note_acked(stream, batch);
                    if number == ack.sequence_number {
                        return;
                    }
                }
                // Its events are covered and its hash is too old to be compared: told as a repeat, and not taken.
                Some(Tag::Impostor(of, number)) if of == stream && (first..=ack.sequence_number).contains(&number) => {
                    if self.truth.applies_each {
                        self.count("impostor applied");
                        if number == ack.sequence_number {
                            return;
                        }
                        continue;
                    }
                    let at = self.truth.batch(stream, number);
                    if at.is_some_and(|at| self.is_remembered(stream, at)) {
                        self.fail("ack", format!("other events under the number of batch {number} are acked"));
                    }
                    if ack.status != AckStatus::Duplicate {
                        self.fail("ack", format!("an impostor of batch {number} is acked {:?}", ack.status));
                    }
                    if number == ack.sequence_number {
                        return;
                    }
                }
                other => {
                    let message =
                        format!("conn {}: ack of {first} to {} where {other:?} waits", conn.0, ack.sequence_number);
                    return self.fail("order of answers", message);
                }
            }
        }
    }
}
