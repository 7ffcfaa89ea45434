//! Batches that left the journal's buffer while events of them are parked: no `persisted` mark passes them (promise 1).

use std::collections::BTreeMap;

use crate::flush::parked::ParkedKey;
use crate::ingest::source::Source;

/// Numbers of batches with parked events, by source and epoch, and how many tables each waits for.
#[derive(Debug, Default)]
pub(crate) struct Held {
    numbers: BTreeMap<(String, String), BTreeMap<u64, u32>>,
}

impl Held {
    /// Takes over what a former life left parked.
    pub(crate) fn restore<'a>(&mut self, parked: impl Iterator<Item = &'a ParkedKey>) {
        for key in parked {
            self.add(&key.source, &key.epoch, key.number);
        }
    }

    /// The highest batch of an epoch that is in the lake with all below it.
    pub(crate) fn mark(&self, name: &str, source: &Source, epoch: &str) -> Option<u64> {
        self.cap(name, epoch, source.base(epoch), source.mark(epoch)?)
    }

    /// Events of a batch are parked, for one table.
    pub(crate) fn add(&mut self, source: &str, epoch: &str, number: u64) {
        let numbers = self.numbers.entry((source.to_owned(), epoch.to_owned())).or_default();
        *numbers.entry(number).or_default() += 1;
    }

    /// They are in the lake.
    pub(crate) fn remove(&mut self, source: &str, epoch: &str, number: u64) {
        let name = (source.to_owned(), epoch.to_owned());
        let numbers = self.numbers.get_mut(&name).expect("a batch is held before it is let go");
        let tables = numbers.get_mut(&number).expect("a batch is held before it is let go");
        *tables -= 1;
        if *tables == 0 {
            numbers.remove(&number);
        }
        if numbers.is_empty() {
            self.numbers.remove(&name);
        }
    }

    /// The mark that holds, where `mark` is what left the buffer with all below it, and nothing up to `base` is known
    /// to be in the lake.
    fn cap(&self, source: &str, epoch: &str, base: u64, mark: u64) -> Option<u64> {
        if self.numbers.is_empty() {
            return Some(mark);
        }
        let numbers = self.numbers.get(&(source.to_owned(), epoch.to_owned()));
        let lowest = numbers.and_then(|numbers| numbers.keys().next()).copied();
        let capped = lowest.map_or(mark, |lowest| mark.min(lowest.saturating_sub(1)));
        (capped > base).then_some(capped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_stays_below_the_lowest_batch_with_parked_events() {
        let mut held = Held::default();
        assert_eq!(held.cap("a", "", 4, 9), Some(9));
        held.add("a", "", 8);
        held.add("a", "", 7);
        held.add("a", "", 7);
        let check = |held: &Held, source, epoch, base, expected| {
            assert_eq!(held.cap(source, epoch, base, 9), expected, "source {source:?} epoch {epoch:?} base {base}");
        };
        check(&held, "a", "", 4, Some(6));
        check(&held, "a", "", 6, None);
        check(&held, "a", "2", 4, Some(9));
        check(&held, "b", "", 4, Some(9));
        held.remove("a", "", 7);
        check(&held, "a", "", 4, Some(6));
        held.remove("a", "", 7);
        check(&held, "a", "", 4, Some(7));
        held.remove("a", "", 8);
        check(&held, "a", "", 4, Some(9));
    }
}
