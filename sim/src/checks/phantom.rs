//! Promise 4: a nack is true. An event that was refused each time it came is not in the lake; nor is one of an old epoch
//! that was not durable when a batch of a newer one was acked.

use crate::lake_view::describe;
use crate::world::World;

impl World {
    /// A batch of an epoch is acked: what the older ones of its source have not made durable by now is never taken.
    pub(super) fn bar_older_epochs(&mut self, stream: usize) {
        let source = self.truth.streams[stream].source.clone();
        for older in 0..stream {
            if self.truth.streams[older].source != source {
                continue;
            }
            for at in 0..self.truth.streams[older].batches.len() {
                let batch = &self.truth.streams[older].batches[at];
                let barred = !batch.acked && batch.events.iter().any(|uid| !self.is_durable(*uid));
                self.truth.streams[older].batches[at].barred |= barred;
            }
        }
    }

    pub(crate) fn check_phantoms(&mut self) {
        let refused = self.view.fresh.iter().copied().find(|uid| {
            let event = &self.truth.events[*uid as usize];
            let batches = &self.truth.streams[event.stream].batches;
            let applies_each = self.truth.applies_each;
            let barred = |at: usize| batches[at].barred && !applies_each;
            let refused = |at: &usize| barred(*at) || batches[*at].received <= batches[*at].nacked;
            !(event.is_impostor && applies_each) && event.batches.iter().all(refused)
        });
        if let Some(uid) = refused {
            let event = describe(uid, &self.truth);
            self.fail("phantom", format!("event {event} is in the lake; every time it came it was refused"));
        }
    }
}
