//! Promises 1 and 2 for sources whose numbers are sparse by nature: nobody can tell a number that was passed over from one
//! that never was, so what such a source sends must come in order. Of one that keeps to that nothing is passed over,
//! whatever fails: every other check is held to it in full. One that sends in any order loses what it sends too late:
//! this says which batches those are. Even of these, none is called a duplicate that came by `POST /cdc` and was
//! refused by the same life. Does not see what a source itself calls acked in its `connect`.

use crate::world::World;

impl World {
    /// Whether a batch may have been passed over by its own producer's doing: it came too late, or it was sent first as
    /// what no batch is, and others after it.
    pub(crate) fn may_be_passed_over(&self, stream: usize, batch: usize) -> bool {
        let of = &self.truth.streams[stream];
        of.may_pass_over(&of.batches[batch]) || self.is_overtaken(stream, batch)
    }

    /// A batch that came by `POST /cdc` is refused. Where none of those above it has come, this life knows that it is
    /// missing; if it could not be read, only where all below it had come.
    pub(crate) fn note_awaited(&mut self, stream: usize, batch: usize, is_read: bool) {
        let batches = &mut self.truth.streams[stream].batches;
        let is_next = is_read || batches[..batch].iter().all(|lower| lower.state.is_final());
        if is_next && batches[batch + 1..].iter().all(|later| later.received == 0) {
            batches[batch].awaited_in = self.host.lives;
        }
    }

    /// A batch is called a duplicate though it is nowhere, and a later one is durable.
    pub(crate) fn came_too_late(&mut self, stream: usize, batch: usize) {
        self.count("sparse batch too late");
        if self.truth.streams[stream].batches[batch].awaited_in == self.host.lives {
            let number = self.truth.streams[stream].batches[batch].number;
            let message = format!("batch {number} of stream {stream} was refused, and is called a duplicate now");
            self.fail("sparse", message);
        }
    }

    /// Whether a batch came too late by its own producer's doing: a later one was durable before it.
    pub(crate) fn is_overtaken(&self, stream: usize, batch: usize) -> bool {
        let of = &self.truth.streams[stream];
        of.may_overtake
            && of.batches[batch].events.iter().any(|uid| !self.is_durable(*uid))
            && of.batches[batch + 1..].iter().any(|later| later.events.iter().any(|uid| self.is_durable(*uid)))
    }
}
