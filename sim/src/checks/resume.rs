//! Promise 1: the resume number of an `ok` passes nothing that is not durable, unless its producer was told that it was
//! given up, or says itself that it was acked.

use dolake_core::event::ConnId;

use crate::truth::State;
use crate::world::World;

impl World {
    pub(super) fn resumed(&mut self, conn: ConnId, stream: usize, resume: u64) {
        // Whose producer has died meanwhile, nobody hears.
        let Some(socket) = self.sockets.get(&conn).filter(|socket| socket.client_open) else { return };
        let told = socket.told_closed.clone();
        for at in self.truth.streams[stream].complete..self.truth.streams[stream].batches.len() {
            let batch = &self.truth.streams[stream].batches[at];
            // What the producer itself calls acked needs no naming.
            let known = batch.state == State::Refused || told.contains(&(stream, batch.number));
            let known = known || (self.truth.applies_each && !batch.acked);
            let is_lost = || self.lost_event(stream, at).is_some() && !self.may_be_passed_over(stream, at);
            if batch.number <= resume && !known && is_lost() {
                let message = format!("ok {resume} of stream {stream} passes batch {}, which is nowhere", batch.number);
                return self.fail("resume", message);
            }
        }
    }
}
