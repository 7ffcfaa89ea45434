//! A set of sequence numbers that is small when they are dense.

use std::collections::BTreeMap;

/// Numbers, kept as ranges that neither overlap nor touch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ranges {
    /// First to last, both included.
    ranges: BTreeMap<u64, u64>,
}

impl Ranges {
    /// Adds a number. False: it was there already.
    pub fn insert(&mut self, number: u64) -> bool {
        let below = self.ranges.range_mut(..=number).next_back();
        let grown = match below {
            Some((_, last)) if number <= *last => return false,
            Some((first, last)) if *last + 1 == number => {
                *last = number;
                Some(*first)
            }
            _ => None,
        };
        let first = grown.unwrap_or(number);
        let next = number.checked_add(1).and_then(|next| self.ranges.remove(&next));
        if grown.is_none() || next.is_some() {
            self.ranges.insert(first, next.unwrap_or(number));
        }
        true
    }

    /// The ranges, rising; first and last are both included.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.ranges.iter().map(|(first, last)| (*first, *last))
    }

    /// How many numbers there are.
    pub fn count(&self) -> u64 {
        self.iter().fold(0, |sum, (first, last)| sum.saturating_add(last - first).saturating_add(1))
    }

    /// Whether the number is there.
    pub fn contains(&self, number: u64) -> bool {
        self.ranges.range(..=number).next_back().is_some_and(|(_, last)| number <= *last)
    }

    /// What of `first..=last` is not there, as ranges: the holes.
    pub fn missing(&self, first: u64, last: u64) -> Vec<(u64, u64)> {
        let mut holes = Vec::new();
        let mut next = Some(first);
        let before = self.ranges.range(..=first).next_back();
        let after = self.ranges.range((std::ops::Bound::Excluded(first), std::ops::Bound::Included(last)));
        for (start, end) in before.into_iter().chain(after) {
            let Some(from) = next else { break };
            if *end < from {
                continue;
            }
            if *start > from {
                holes.push((from, start - 1));
            }
            next = end.checked_add(1);
        }
        if let Some(from) = next.filter(|from| *from <= last) {
            holes.push((from, last));
        }
        holes
    }
}

impl FromIterator<u64> for Ranges {
    fn from_iter<I: IntoIterator<Item = u64>>(numbers: I) -> Ranges {
        let mut ranges = Ranges::default();
        for number in numbers {
            ranges.insert(number);
        }
        ranges
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set(numbers in proptest::collection::vec(0..40_u64, 0..60), first in 0..40_u64, length in 0..40_u64) {
            let mut ranges = Ranges::default();
            let mut set = BTreeSet::new();
            for number in numbers {
                prop_assert_eq!(ranges.insert(number), set.insert(number));
            }
            prop_assert_eq!(ranges.count(), set.len() as u64);
            let listed: Vec<u64> = ranges.iter().flat_map(|(first, last)| first..=last).collect();
            prop_assert_eq!(listed, set.iter().copied().collect::<Vec<_>>());
            let apart = ranges.iter().zip(ranges.iter().skip(1)).all(|((_, last), (first, _))| last + 1 < first);
            prop_assert!(apart, "ranges that touch are one");
            let last = first + length;
            let missing: Vec<u64> = ranges.missing(first, last).iter().flat_map(|(first, last)| *first..=*last).collect();
            prop_assert_eq!(missing, (first..=last).filter(|n| !set.contains(n)).collect::<Vec<_>>());
            prop_assert!((0..40).all(|n| ranges.contains(n) == set.contains(&n)));
        }
    }

    #[test]
    fn the_largest_number_is_a_number() {
        let mut ranges: Ranges = [u64::MAX, u64::MAX - 1].into_iter().collect();
        assert!(!ranges.insert(u64::MAX));
        assert_eq!(ranges.missing(u64::MAX - 2, u64::MAX), [(u64::MAX - 2, u64::MAX - 2)]);
    }
}
