//! Events that left the journal's buffer for a parked table: no `persisted` mark passes them (promise 1).

use std::collections::BTreeMap;

use crate::flush::parked::ParkedKey;
use crate::ingest::source::Lowest;

/// Parked events by source and epoch: the first one of each share and its batch's number, and how many shares have both.
#[derive(Debug, Clone, Default)]
pub(crate) struct Held {
    shares: BTreeMap<(String, String), BTreeMap<(u64, u64), u32>>,
}

impl Held {
    /// Takes over what a former life left parked.
    pub(crate) fn restore<'a>(&mut self, parked: impl Iterator<Item = &'a ParkedKey>) {
        for key in parked {
            self.add(key);
        }
    }

    /// What a mark of this epoch has to stay below.
    pub(crate) fn lowest(&self, source: &str, epoch: &str) -> Lowest {
        if self.shares.is_empty() || mutant!(MarkPassesParked) {
            return Lowest::NOTHING;
        }
        let shares = self.shares.get(&(source.to_owned(), epoch.to_owned()));
        let keys = shares.into_iter().flat_map(BTreeMap::keys);
        keys.fold(Lowest::NOTHING, |lowest, (event, number)| lowest.with(*event, *number))
    }

    /// A share is parked.
    pub(crate) fn add(&mut self, key: &ParkedKey) {
        let shares = self.shares.entry((key.source.clone(), key.epoch.clone())).or_default();
        *shares.entry((key.first, key.number)).or_default() += 1;
    }

    /// It is in the lake.
    pub(crate) fn remove(&mut self, key: &ParkedKey) {
        let name = (key.source.clone(), key.epoch.clone());
        let shares = self.shares.get_mut(&name).expect("a share is held before it is let go");
        let same = shares.get_mut(&(key.first, key.number)).expect("a share is held before it is let go");
        *same -= 1;
        if *same == 0 {
            shares.remove(&(key.first, key.number));
        }
        if shares.is_empty() {
            self.shares.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(epoch: &str, number: u64, first: u64) -> ParkedKey {
        ParkedKey {
            table: "t".to_owned(),
            source: "a".to_owned(),
            epoch: epoch.to_owned(),
            number,
            place: 0,
            first,
            last: first,
            taken: None,
            events: 1,
            frame_bytes: 1,
        }
    }

    #[test]
    fn the_lowest_event_and_number_hold_until_their_last_share_is_gone() {
        let mut held = Held::default();
        assert_eq!(held.lowest("a", ""), Lowest::NOTHING);
        for share in [share("", 8, 70), share("", 7, 75), share("", 7, 75), share("2", 1, 1)] {
            held.add(&share);
        }
        assert_eq!(held.lowest("a", ""), Lowest { event: 70, number: 7 });
        assert_eq!(held.lowest("b", ""), Lowest::NOTHING);
        held.remove(&share("", 7, 75));
        assert_eq!(held.lowest("a", ""), Lowest { event: 70, number: 7 });
        held.remove(&share("", 8, 70));
        assert_eq!(held.lowest("a", ""), Lowest { event: 75, number: 7 });
        held.remove(&share("", 7, 75));
        assert_eq!(held.lowest("a", ""), Lowest::NOTHING);
        assert_eq!(held.lowest("a", "2"), Lowest { event: 1, number: 1 });
    }
}
