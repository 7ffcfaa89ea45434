//! Promise 3: in every snapshot the events of a source are a prefix of what was accepted: nothing above an open hole is
//! there, no batch overtakes another. Does not see the order of rows within one flush.

use crate::lake_view::describe;
use crate::truth::Uid;
use crate::world::World;

impl World {
    pub(crate) fn check_order(&mut self) {
        if self.truth.applies_each {
            return;
        }
        let mut wrong = None;
        for (at, stream) in self.truth.streams.iter().enumerate() {
            let in_lake = |uid: &Uid| self.view.events.contains(uid) || self.journal.has_parked(*uid);
            // An event that a batch only repeats says nothing of that batch.
            let own = |at: usize, uid: &Uid| self.truth.events[*uid as usize].batches.first() == Some(&at);
            let arrived = |at: usize| stream.batches[at].events.iter().any(|uid| own(at, uid) && in_lake(uid));
            let from = stream.complete;
            let Some(highest) = (from..stream.batches.len()).rev().find(|at| arrived(*at)) else { continue };
            let strict = !self.plan.holes_close && !stream.is_over && !stream.may_overtake;
            let missing = stream.batches[from..highest].iter().find(|batch| {
                let whole = batch.events.iter().all(in_lake);
                !whole && ((strict && !stream.may_pass_over(batch)) || batch.acked)
            });
            if let Some(batch) = missing {
                let above = stream.batches[highest].number;
                let missing = batch.events.iter().find(|uid| !in_lake(uid)).copied().unwrap_or_default();
                let event = describe(missing, &self.truth);
                let number = batch.number;
                wrong =
                    Some(format!("batch {above} is in the lake, batch {number} below it is not: {at}, event {event}"));
                break;
            }
        }
        if let Some(message) = wrong {
            self.fail("order", message);
        }
    }
}
