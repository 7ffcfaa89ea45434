//! Promise 6: what waits in the journal stays under its limits: unflushed batches, each parked table, what a source has
//! waiting behind its first hole. Does not see memory: the machine's own count of it is in `/status`, and the native host
//! is measured from outside.

use crate::world::World;

impl World {
    /// After a transaction of the journal.
    pub(crate) fn check_journal_size(&mut self) {
        let config = &self.widest;
        let fallback = if config.enable_fallback { config.max_fallback_size } else { 0 };
        // More than half may come to lie behind holes when what was on its way to the journal is lost: the other half of the
        // buffer, or a single batch, has room beside it all the same.
        let beside = (config.max_buffer_size / 2).max(config.max_payload_size);
        let (buffered, limit) = (self.journal.buffered_bytes(), config.max_buffer_size + fallback + beside);
        if self.is_calm {
            self.calm_backlog = self.calm_backlog.max(buffered);
        }
        if buffered > limit {
            self.fail("bounded", format!("{buffered} bytes of batches in the journal, the limits are {limit}"));
        }
        self.check_parked_size();
    }

    fn check_parked_size(&mut self) {
        let limit = self.widest.max_parked_bytes;
        let surplus = self.journal.parked_bytes().find(|(_, bytes)| *bytes > limit).map(|(table, bytes)| {
            let table = String::from_utf8_lossy(table);
            format!("{bytes} bytes of table {table} are parked, the limit is {limit}")
        });
        if self.is_calm {
            self.calm_parked = self.calm_parked.max(self.journal.parked_bytes().map(|(_, bytes)| bytes).sum());
        }
        if let Some(message) = surplus {
            self.fail("bounded", message);
        }
    }

    /// A batch of a stream is acked: what waits above one that never came counts.
    pub(crate) fn check_hole_size(&mut self, stream: usize) {
        let of = &self.truth.streams[stream];
        let batches = &of.batches[of.complete..];
        let Some(missing) = batches.iter().position(|batch| batch.received == 0 && !batch.closed) else { return };
        // Above a hole may be another batch whose events this one repeats: it is no hole then. And one that timed out is
        // closed before anybody is told.
        if self.plan.overlap > 0 || self.plan.holes_close || of.is_sparse || self.truth.applies_each {
            return;
        }
        let waiting: u64 = batches[missing..].iter().filter(|batch| batch.acked).map(|batch| batch.events_bytes).sum();
        let limit = self.widest.max_hole_bytes.min(self.widest.max_buffer_size / 2);
        if waiting > limit {
            let number = batches[missing].number;
            self.fail(
                "bounded",
                format!("stream {stream}: {waiting} bytes wait above batch {number}, the limit is {limit}"),
            );
        }
    }
}
