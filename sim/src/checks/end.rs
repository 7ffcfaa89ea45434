//! Promises 5 and 7: when all is done, what was acked is in the lake, the journal is empty, and hints for readers by path
//! name the current metadata.

use crate::truth::{State, Stream, Uid};
use crate::world::World;

/// How long a hint follows its commit, in microseconds: one is written a second and table.
const HINT_MAX: u64 = 3_000_000;

impl World {
    pub(super) fn final_check(&mut self) {
        for stream in 0..self.truth.streams.len() {
            if self.truth.streams[stream].is_over {
                continue;
            }
            for at in 0..self.truth.streams[stream].batches.len() {
                let batch = &self.truth.streams[stream].batches[at];
                let whole = batch.events.iter().all(|uid| self.view.events.contains(uid) || self.is_broken(*uid));
                if batch.state == State::Acked && !whole && !self.may_be_passed_over(stream, at) {
                    let message = format!("batch {} of stream {stream} is acked and not in the lake", batch.number);
                    return self.fail("liveness", message);
                }
            }
        }
        if self.told.is_some() {
            // The run that read the lake has seen the rest.
            return;
        }
        self.check_each_is_applied();
        let hints: Vec<(String, String)> = self.view.metadata().cloned().collect();
        for (table, location) in hints {
            // A stop waits for nothing while the store fails: then a hint of the last moment is left undone.
            let is_fresh = self.broken_table.is_some() && self.last_commit + HINT_MAX > self.now;
            if is_fresh || self.broken_table == Some(table.as_str()) || self.is_cut_short {
                continue;
            }
            let Some((folder, file)) = location.rsplit_once('/') else { continue };
            let key = format!("{folder}/version-hint.text");
            let Some(key) = key.strip_prefix(self.location.as_str()).and_then(|key| key.strip_prefix('/')) else {
                continue;
            };
            let wanted = file.strip_suffix(".metadata.json").unwrap_or(file);
            let found = self.store.get(key).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
            if found.as_deref() != Some(wanted) && !self.store.was_overtaken(key) {
                return self.fail("hint", format!("{key} says {found:?}, the table is at {wanted}"));
            }
        }
        let broken = |uids: &Vec<Uid>| uids.iter().any(|uid| self.is_broken(*uid));
        let is_drained = self.journal.batches().all(broken);
        if !is_drained && !self.truth.streams.iter().any(Stream::left_a_hole) {
            self.fail("liveness", "all is in the lake, and batches are left in the journal".to_owned());
        }
        self.check_tables();
        self.check_leftovers();
    }

    /// With `enableDeduplication` off there are as many rows of a batch as it has acks, or more where acks were lost.
    fn check_each_is_applied(&mut self) {
        if !self.truth.applies_each {
            return;
        }
        for stream in 0..self.truth.streams.len() {
            for batch in &self.truth.streams[stream].batches {
                let missing =
                    batch.events.iter().find(|uid| self.view.count(**uid) < batch.acks && !self.is_broken(**uid));
                if let Some(uid) = missing {
                    let (acks, there) = (batch.acks, self.view.count(*uid));
                    let message = format!(
                        "batch {} of stream {stream}: {acks} acks, event {uid} is there {there} times",
                        batch.number
                    );
                    return self.fail("liveness", message);
                }
            }
        }
    }
}
