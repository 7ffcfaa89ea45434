//! Promises 2 and 5: after each commit, a reader that shares no code with the writer's commit path finds whole snapshots,
//! and every row is an event that was made up, once, value by value ([`crate::lake_view`]).

use crate::world::World;

impl World {
    /// A commit took effect: readers see it.
    pub(crate) fn commit_seen(&mut self) {
        self.count("commit");
        self.last_commit = self.now;
        let World { view, journal, store, truth, widest, location, .. } = self;
        let before = view.events.len();
        if let Some(told) = &mut self.told {
            view.told(told.pop_front().unwrap_or_default());
        } else if let Err(message) = view.refresh(journal, store, location, widest.max_snapshots, truth) {
            return self.fail("lake", message);
        } else {
            self.brought.push(view.fresh.clone());
        }
        self.note_versions();
        if self.view.events.len() > before {
            self.truth.advance_complete(&self.view.events);
            self.check_phantoms();
            self.check_order();
        }
    }
}
