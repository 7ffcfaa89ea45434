//! Promise 1: what a `persisted` mark covers is in a committed snapshot at that moment, with all below it; a closed hole
//! that it passes was named on the same connection before; marks never go back. Does not see a mark that comes late:
//! that is [`super::liveness`]. Where nothing is compared a mark is only the highest number of late, and is not
//! looked at.

use dolake_core::event::ConnId;

use crate::lake_view::describe;
use crate::truth::State;
use crate::world::World;

impl World {
    pub(super) fn marked(&mut self, conn: ConnId, stream: usize, mark: u64) {
        self.count("persisted mark");
        if self.truth.applies_each {
            return;
        }
        let socket = self.sockets.get(&conn);
        let told = socket.map(|socket| &socket.told_closed);
        // Who was told on an earlier connection, and has died since, hears nothing of this one.
        let is_heard = socket.is_some_and(|socket| socket.client_open);
        let of = &self.truth.streams[stream];
        for (at, batch) in of.batches.iter().enumerate().skip(of.complete).filter(|(_, batch)| batch.number <= mark) {
            let missing = batch.events.iter().find(|uid| !self.view.events.contains(uid));
            if let Some(uid) = missing
                && batch.state != State::Refused
                && !told.is_some_and(|told| told.contains(&(stream, batch.number)))
                && (is_heard || !batch.closed)
                && !self.may_be_passed_over(stream, at)
            {
                let message =
                    format!("mark {mark} of stream {stream}: event {} is not in the lake", describe(*uid, &self.truth));
                return self.fail("mark", message);
            }
        }
        if let Some(socket) = self.sockets.get_mut(&conn) {
            let former = socket.mark.insert(stream, mark);
            if former.is_some_and(|former| former > mark) {
                self.fail("mark", format!("the mark of stream {stream} went from {former:?} back to {mark}"));
            }
        }
    }
}
