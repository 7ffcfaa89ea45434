//! Promise 5, at the end of a run: every data file in the store is named by a retained snapshot, or the garbage log knows it,
//! so that a clean-up finds it without listing, or it is of the attempt that the journal says is under way; and at any time,
//! what a retained snapshot names is not deleted. Does not look at metadata files and manifests of attempts that were cut off.

use std::collections::BTreeSet;

use dolake_core::journal::rows::{GarbageRow, attempt_under_way};

use crate::world::World;

impl World {
    pub(crate) fn check_leftovers(&mut self) {
        let (mut attempts, mut known) = (BTreeSet::new(), BTreeSet::new());
        let rows: Result<Vec<GarbageRow>, _> =
            self.journal.garbage().map(|(key, value)| GarbageRow::decode(key, value)).collect();
        let rows = match rows {
            Ok(rows) => rows,
            Err(error) => return self.fail("leftovers", error.to_string()),
        };
        let under_way = match self.journal.flush_row().map(|row| attempt_under_way(row)).transpose() {
            Ok(under_way) => under_way,
            Err(error) => return self.fail("leftovers", error.to_string()),
        };
        let name = |(flush, attempt)| format!("/{flush:08}-{attempt:03}-");
        // A host that was told to stop leaves a flush that a table holds up to its next life, which notes what it left.
        attempts.extend(under_way.map(name));
        for row in rows {
            attempts.extend(row.abandoned.into_iter().map(name));
            known.extend(row.locations.into_iter().map(|(location, _)| location));
        }
        let live = self.view.named();
        let nobodys = self.store.objects().map(|(key, _)| key).filter(|key| key.ends_with(".parquet")).find(|key| {
            let is_known = known.contains(&format!("{}/{key}", self.location)) || known.contains(*key);
            !live.contains(key.as_str()) && !is_known && !attempts.iter().any(|attempt| key.contains(attempt))
        });
        if let Some(key) = nobodys {
            let message = format!("data file {key} is named by no snapshot and not in the garbage log");
            self.fail("leftovers", message);
        }
    }

    /// The store is asked to delete an object.
    pub(crate) fn check_delete(&mut self, key: &str) {
        if self.view.named().contains(key) {
            self.fail("leftovers", format!("{key} is deleted, and a retained snapshot names it"));
        }
    }
}
