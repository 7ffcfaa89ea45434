//! Promise 7: when faults stop, every batch gets its final answer, every accepted event is persisted, and the machine stops
//! when told to, all in bounded time.

use crate::plan::Faults;
use crate::truth::{Batch, State, TABLES, Uid};
use crate::world::{What, World};

/// Simulated time in which all producers must have their answers once faults have stopped, in microseconds.
const ANSWERS_MAX: u64 = 300_000_000;

/// The same for batches that stayed away, from when they come.
const ABSENT_ANSWERS_MAX: u64 = 100_000_000;

/// The longest that the store takes, in microseconds.
pub(crate) const SLOW_MAX: u64 = 20_000_000;

/// Time for one answer once faults have stopped.
const ANSWER_MAX: u64 = 15_000_000;

impl World {
    /// Faults stop: the store and the journal work, producers only finish what they began.
    pub(crate) fn calm_down(&mut self) {
        self.tell(|| "faults stop".to_owned());
        self.is_calm = true;
        self.calm_since = self.now;
        self.faults = Faults::default();
        self.outage_until = 0;
        self.tables_out.1 = 0;
        self.damaged_table.1 = 0;
        if self.plan.stays_broken {
            let table = *self.chance.faults.at("broken table").pick(&TABLES);
            self.tell(|| format!("{table} stays broken"));
            self.broken_table = Some(table);
            self.tables_out = (vec![table], u64::MAX);
        }
        self.store_recognized(self.host.lives);
        if self.plan.last_blow {
            let at = self.now + self.chance.faults.at("last blow").between(1_000, 20_000_000);
            self.queue.at(at, What::Blow);
        }
        for socket in self.sockets.keys().copied().collect::<Vec<_>>() {
            if !self.sockets[&socket].reads {
                self.cut(socket);
            }
        }
        for stream in &mut self.truth.streams {
            for batch in &mut stream.batches {
                if let State::Due(at) = &mut batch.state {
                    *at = (*at).min(self.now);
                }
            }
        }
    }

    /// The host fails once more, and then never again.
    pub(crate) fn last_blow(&mut self) {
        if self.host.lake.is_none() || self.host.stopping {
            return;
        }
        self.count("last blow");
        if self.chance.faults.at("last blow is a crash").one_in(2) {
            self.crash();
        } else {
            self.evict();
        }
    }

    /// Whether an event belongs to what stays broken, so that nobody waits for it.
    pub(crate) fn is_broken(&self, uid: Uid) -> bool {
        self.broken_table.is_some_and(|table| self.truth.events[uid as usize].table == table)
    }

    /// Time in which what is accepted must be in the lake, in microseconds.
    fn allowed(&self) -> u64 {
        let config = &self.widest;
        let hole_ms =
            if self.plan.holes_close { config.deduplication_window_ms + 2 * config.max_retry_delay_ms } else { 0 };
        // A flush takes a part of the memory budget at a time, and no more than begins one.
        let flushes = config.max_buffer_size / (config.memory_budget_bytes / 4).max(1);
        let small_flushes = self.calm_backlog / config.flush_threshold_bytes.max(1);
        let flushes_ms = 1_000 * flushes + 100 * small_flushes;
        (2 * config.flush_interval_ms + hole_ms + config.max_retry_delay_ms + 2_000 + flushes_ms) * 1_000
    }

    /// In calm times everything is answered soon.
    pub(crate) fn check_answers(&mut self) {
        let calm_for = self.now - self.calm_since;
        let absent_for = 30_000_000 + SLOW_MAX + self.allowed();
        if calm_for > absent_for {
            // What stayed away comes now: taken or refused, but answered.
            for stream in &mut self.truth.streams {
                for batch in &mut stream.batches {
                    batch.absent = false;
                }
            }
        }
        let late = self.now.saturating_sub(ANSWER_MAX);
        let waiting = self.truth.streams.iter().enumerate().find_map(|(at, stream)| {
            let sent_and_late =
                |state: State| matches!(state, State::Sent(sent) if sent > self.calm_since + 30_000_000 && sent < late);
            let batch = stream.batches.iter().find(|batch| sent_and_late(batch.state))?;
            Some((at, batch.number))
        });
        if let Some((stream, number)) = waiting {
            self.fail(
                "liveness",
                format!("batch {number} of stream {stream} was sent in calm times and is not answered"),
            );
        }
        // It may have to wait for what the store was slow with before.
        let is_late = |since: u64| since > self.calm_since && since.max(self.calm_since + SLOW_MAX) < late;
        if let Some((call, (since, _))) = self.calls.iter().find(|(_, (since, _))| is_late(*since)) {
            self.fail("liveness", format!("call {} came at {since} in calm times and is not answered", call.0));
        }
        let open = self.open_batches();
        if calm_for > ANSWERS_MAX.max(absent_for + ABSENT_ANSWERS_MAX) && !open.is_empty() {
            self.fail("liveness", format!("not all batches have their final answer: {open:?}"));
        }
        let is_absent = |(stream, number, _): &(usize, u64, State)| {
            self.truth.batch(*stream, *number).is_some_and(|at| self.truth.streams[*stream].batches[at].absent)
        };
        if self.open_batches().iter().all(is_absent) {
            self.check_persisted_in_time();
        }
    }

    fn open_batches(&self) -> Vec<(usize, u64, State)> {
        let mut open = Vec::new();
        for (at, stream) in self.truth.streams.iter().enumerate().filter(|(_, stream)| !stream.is_over) {
            let waits = |state: State| matches!(state, State::Due(_) | State::Sent(_));
            open.extend(stream.batches.iter().filter(|b| waits(b.state)).map(|b| (at, b.number, b.state)));
        }
        open
    }

    fn check_persisted_in_time(&mut self) {
        // What the store was slow with before may take as long as that.
        let since = self.last_ack.max(self.calm_since + SLOW_MAX);
        // What is parked is taken up in parts of the same size.
        let part = self.widest.flush_threshold_bytes.min(self.widest.memory_budget_bytes / 4).max(1);
        let parked = 100_000 * (self.calm_parked / part);
        if self.now > since + self.allowed() + parked
            && let Some((stream, number)) = self.unpersisted()
        {
            let why = self.host.lake.as_ref().and_then(dolake_core::Lake::deadline);
            let message = format!("batch {number} of stream {stream} is acked and not in the lake; deadline {why:?}");
            self.fail("liveness", message);
        }
    }

    fn unpersisted(&self) -> Option<(usize, u64)> {
        self.truth.streams.iter().enumerate().find_map(|(at, stream)| {
            let missing = |batch: &&Batch| {
                batch.acked && batch.events.iter().any(|uid| !self.view.events.contains(uid) && !self.is_broken(*uid))
            };
            stream.batches.iter().find(missing).filter(|_| !stream.left_a_hole()).map(|batch| (at, batch.number))
        })
    }

    /// Whether the run is complete: all is answered, all that was acked is in the lake, the journal is empty, and the
    /// machine has stopped in good order.
    pub(crate) fn is_over(&mut self) -> bool {
        if self.violation.is_some() {
            return true;
        }
        let settled = self.now > self.calm_since + 40_000_000
            && self.open_batches().is_empty()
            && self.unpersisted().is_none()
            && self.calls.is_empty();
        if !settled {
            return false;
        }
        if !self.host.stopping && self.host.lake.is_some() && !self.counts.contains_key("final stop") {
            self.count("final stop");
            self.stop();
        }
        if self.host.lake.is_some() {
            // With a part of the store broken it stops when its operator loses patience.
            if self.now > self.calm_since + ANSWERS_MAX + 600_000_000 {
                self.fail("liveness", "the machine does not stop".to_owned());
            }
            return false;
        }
        self.final_check();
        true
    }
}
