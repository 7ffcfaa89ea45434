//! Promises 5 and 7: when all is done, what was acked is in the lake, the journal is empty, and hints for readers by path
//! name the current metadata.

use crate::truth::{State, Stream};
use crate::world::{LOCATION, World};

impl World {
    pub(super) fn final_check(&mut self) {
        for stream in 0..self.truth.streams.len() {
            if self.truth.streams[stream].is_over {
                continue;
            }
            for at in 0..self.truth.streams[stream].batches.len() {
                let batch = &self.truth.streams[stream].batches[at];
                let whole = batch.events.iter().all(|uid| self.view.events.contains(uid));
                if batch.state == State::Acked && !whole {
                    let message = format!("batch {} of stream {stream} is acked and not in the lake", batch.number);
                    return self.fail("liveness", message);
                }
            }
        }
        let hints: Vec<(String, String)> = self.view.metadata().cloned().collect();
        for (_, location) in hints {
            let Some((folder, file)) = location.rsplit_once('/') else { continue };
            let key = format!("{folder}/version-hint.text");
            let Some(key) = key.strip_prefix(LOCATION).and_then(|key| key.strip_prefix('/')) else { continue };
            let wanted = file.strip_suffix(".metadata.json").unwrap_or(file);
            let found = self.store.get(key).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
            if found.as_deref() != Some(wanted) && !self.store.was_overtaken(key) {
                return self.fail("hint", format!("{key} says {found:?}, the table is at {wanted}"));
            }
        }
        if !self.journal.is_drained() && !self.truth.streams.iter().any(Stream::left_a_hole) {
            self.fail("liveness", "all is in the lake, and batches are left in the journal".to_owned());
        }
        self.check_tables();
        self.check_leftovers();
    }
}
