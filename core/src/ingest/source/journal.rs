//! A source follows the saves of its batches, their way into the lake, and restarts.

use std::sync::Arc;

use super::arrive::{Rules, Take};
use super::epoch::Epoch;
use super::known::Known;
use super::saved::{SavedEpoch, SavedSource};
use super::{BatchHead, Held, Lowest, Place, Saving, Source};
use crate::ingest::frontier::Gap;
use crate::time::MachineTime;

impl Source {
    /// A source after a restart: its control row, if one was written, and the heads of its batches in the journal, by
    /// place. What a hole had waited goes on; the time since the row was written counts as without a connection.
    pub fn restore(saved: Option<SavedSource>, heads: impl IntoIterator<Item = BatchHead>, now: MachineTime) -> Source {
        let mut source = match saved {
            None => Source { counted_until: now, ..Source::new() },
            Some(saved) => {
                let known: Known = saved.known();
                let SavedSource { time, epochs, awaited, counters, .. } = saved.not_after(now);
                let epochs = epochs.into_iter().map(SavedEpoch::restore).collect();
                Source { epochs, known, awaited, counters, counted_until: time, ..Source::new() }
            }
        };
        source.count(now);
        let applied: Vec<usize> = heads.into_iter().map(|head| source.restore_head(&head)).collect();
        for index in applied {
            source.epochs[index].refit_clocks();
        }
        source
    }

    /// The control row, to be written to the journal.
    pub fn to_saved(&mut self, now: MachineTime) -> SavedSource {
        self.count(now);
        self.unsaved = false;
        SavedSource::new(now, &self.epochs, &self.known, &self.awaited, self.counters)
    }

    /// The control row as it will be once these batches have left the journal, for the transaction that removes them.
    /// `parked` tells of each epoch what will not be in the lake by then.
    pub fn saved_after_release(
        &self,
        places: &[Place],
        parked: impl Fn(&str) -> Lowest,
        now: MachineTime,
        rules: &Rules,
    ) -> SavedSource {
        let mut after = self.clone();
        after.released(places, parked, now, rules);
        after.to_saved(now)
    }

    /// These batches have left the journal: they are in the lake, but for what is parked. Returns the epochs whose marks
    /// moved, oldest first.
    ///
    /// # Panics
    /// If one of them is not durable in the journal.
    pub fn released(
        &mut self,
        places: &[Place],
        parked: impl Fn(&str) -> Lowest,
        now: MachineTime,
        rules: &Rules,
    ) -> Vec<Arc<str>> {
        for place in places {
            let held = self.held.remove(place);
            let held = held.filter(|held| held.saving == Saving::Applied);
            let held = held.unwrap_or_else(|| panic!("batch at place {place} is released but was not in the journal"));
            self.known.release((held.epoch, held.head.number), *place);
            self.epochs[held.epoch].release(&held.head);
        }
        self.known.trim(now, rules.window_ms);
        self.advance_marks(parked)
    }

    /// Moves marks up to what is in the lake: parked events came into it, or the source was just restored. Returns the
    /// epochs whose marks moved, oldest first.
    pub fn advance_marks(&mut self, parked: impl Fn(&str) -> Lowest) -> Vec<Arc<str>> {
        let mut moved = Vec::new();
        for epoch in self.epochs.iter_mut().filter(|epoch| !epoch.unmarked.is_empty()) {
            let former = epoch.mark;
            epoch.advance_mark(parked(&epoch.name));
            if epoch.mark != former {
                moved.push(Arc::clone(&epoch.name));
            }
        }
        moved
    }

    /// A batch that was taken is being saved.
    ///
    /// # Panics
    /// If its place is not above all places of this source before it.
    pub fn issued(&mut self, take: Take) {
        self.counters.repeats += take.repeats;
        self.add(take.head, Saving::Pending);
    }

    /// The save of a batch is confirmed. Saves of one source take effect in order; so does this: a batch counts as
    /// durable here when all before it are durable or forgotten.
    ///
    /// # Panics
    /// If no batch of this place is being saved.
    pub fn durable(&mut self, place: Place, now: MachineTime) {
        self.count(now);
        let held = self.held.get_mut(&place).filter(|held| held.saving == Saving::Pending);
        held.unwrap_or_else(|| panic!("place {place} is durable but was not pending")).saving = Saving::Durable;
        self.apply_durable();
    }

    /// The save of a batch certainly had no effect: as if it had not come.
    ///
    /// # Panics
    /// If no batch of this place is being saved.
    pub fn forget(&mut self, place: Place, now: MachineTime) {
        self.count(now);
        let pending = self.held.get(&place).is_some_and(|held| held.saving == Saving::Pending);
        assert!(pending, "place {place} is forgotten but was not pending");
        self.row_lost();
        let mut unapplied = self.held.split_off(&self.unapplied_from);
        for (index, epoch) in self.epochs.iter_mut().enumerate() {
            let of_epoch = unapplied.values().filter(|held| held.epoch == index);
            epoch.drop_pending(of_epoch.map(|held| held.head.clone()));
        }
        for (place, held) in unapplied.iter().filter(|_| !mutant!(LostBatchStaysKnown)) {
            self.known.forget((held.epoch, held.head.number), *place);
        }
        self.epochs.retain(|epoch| epoch.opened);
        unapplied.remove(&place);
        for held in unapplied.into_values() {
            self.add(held.head, held.saving);
        }
        self.apply_durable();
    }

    /// Takes a head up, and its epoch if it is new.
    fn add(&mut self, head: BatchHead, saving: Saving) {
        let place = head.place;
        let free_from = self.held.last_key_value().map_or(self.unapplied_from, |(newest, _)| newest + 1);
        assert!(place >= free_from, "place {place} is given, but the next free one is {free_from}");
        let index = self.find(&head.epoch).unwrap_or_else(|| {
            let opening = head.opening.unwrap_or_else(|| panic!("batch at place {place} lacks how its epoch began"));
            self.epochs.push(Epoch::new(Arc::clone(&head.epoch), opening));
            self.epochs.len() - 1
        });
        self.epochs[index].add(&head);
        self.known.insert(index, &head);
        self.held.insert(place, Held { head, epoch: index, saving });
    }

    /// Applies durable batches up to the first pending one.
    fn apply_durable(&mut self) {
        while let Some((place, held)) = self.held.range_mut(self.unapplied_from..).next() {
            match held.saving {
                Saving::Pending => return,
                Saving::Durable => held.saving = Saving::Applied,
                Saving::Applied => {
                    unreachable!("place {place} is applied, but {} is the first that is not", self.unapplied_from)
                }
            }
            let (place, index, head) = (*place, held.epoch, held.head.clone());
            self.apply(index, &head);
            self.epochs[index].refit_clocks();
            self.unapplied_from = place + 1;
        }
    }

    fn restore_head(&mut self, head: &BatchHead) -> usize {
        let place = head.place;
        self.add(head.clone(), Saving::Applied);
        let index = self.held[&place].epoch;
        self.apply(index, head);
        self.unapplied_from = place + 1;
        index
    }

    /// A batch and all before it are durable: it covers its events, ends older epochs, and settles what a sparse source
    /// had refused.
    fn apply(&mut self, index: usize, head: &BatchHead) {
        if !self.epochs[index].opened {
            self.close_older(index);
            if !self.epochs[index].opening.sparse {
                // It was said to be sparse when these were refused. Now its numbers tell what is missing.
                self.awaited.forget(&head.epoch);
            }
        }
        if head.no_holes {
            for gap in self.awaited.came(head) {
                self.pass_over(index, gap);
            }
            self.epochs[index].closed.remove_batch(head.number);
            if !self.epochs[index].opening.sparse {
                self.epochs[index].close_below(head);
            }
        }
        self.epochs[index].apply(head);
    }

    /// The first batch of an epoch ends the older ones: their holes are given up.
    fn close_older(&mut self, index: usize) {
        for older in &mut self.epochs[..index] {
            let passed = self.awaited.numbers(&older.name, older.durable.complete_batch());
            passed.for_each(|number| older.closed.insert_batch(number));
            self.awaited.forget(&older.name);
        }
        for older in self.epochs[..index].iter_mut().filter(|older| older.durable.hole_count() > 0) {
            let holes: Vec<Gap> = older.durable.holes().collect();
            self.counters.holes_closed += holes.len() as u64;
            for gap in holes {
                older.close(gap);
            }
        }
    }

    /// What of a refused batch of a sparse source will never come, now that a later one is accepted.
    pub(super) fn pass_over(&mut self, index: usize, gap: Gap) {
        let epoch = &mut self.epochs[index];
        for events in epoch.durable.uncovered(gap.events.0, gap.events.1) {
            epoch.closed.insert(Gap { events, ..gap });
            self.counters.holes_closed += 1;
        }
    }
}
