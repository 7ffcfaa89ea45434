//! Promise 4: a nack is true. An event that was refused each time it came is not in the lake.

use crate::lake_view::describe;
use crate::world::World;

impl World {
    pub(crate) fn check_phantoms(&mut self) {
        let refused = self.view.events.iter().copied().find(|uid| {
            let event = &self.truth.events[*uid as usize];
            let batches = &self.truth.streams[event.stream].batches;
            event.batches.iter().all(|at| batches[*at].received <= batches[*at].nacked)
        });
        if let Some(uid) = refused {
            let event = describe(uid, &self.truth);
            self.fail("phantom", format!("event {event} is in the lake; every time it came it was refused"));
        }
    }
}
