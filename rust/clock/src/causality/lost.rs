//! The counters of one node that were declared lost: sorted ranges that neither overlap nor touch.

/// The most ranges kept of what lies behind. Past this the two oldest become one with what is between them, which
/// makes a duplicate from there look late: never the other way round, which would lose a message.
const PASSED_RANGES_MAX: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Lost {
    ranges: Vec<(u64, u64)>,
}

impl Lost {
    /// Adds the counters from `first` to `last`, and returns how many of them are new.
    pub(super) fn insert(&mut self, first: u64, last: u64) -> u64 {
        let start = self.ranges.partition_point(|range| range.1 < first.saturating_sub(1));
        let end = self.ranges.partition_point(|range| range.0 <= last.saturating_add(1));
        let joined = &self.ranges[start..end];
        let from = joined.first().map_or(first, |range| range.0.min(first));
        let through = joined.last().map_or(last, |range| range.1.max(last));
        let overlap: u64 = joined
            .iter()
            .filter(|range| range.0 <= last && range.1 >= first)
            .map(|range| range.1.min(last) - range.0.max(first) + 1)
            .sum();
        self.ranges.splice(start..end, [(from, through)]);
        (last - first).saturating_add(1).saturating_sub(overlap)
    }

    /// Takes a counter out; says whether it was in.
    pub(super) fn remove(&mut self, counter: u64) -> bool {
        let position = self.ranges.partition_point(|range| range.1 < counter);
        let Some(&(first, last)) = self.ranges.get(position).filter(|range| range.0 <= counter) else { return false };
        let before = (first < counter).then(|| (first, counter - 1));
        let after = (counter < last).then(|| (counter + 1, last));
        self.ranges.splice(position..=position, before.into_iter().chain(after));
        true
    }

    /// The last counter of the range that holds this one.
    pub(super) fn through(&self, counter: u64) -> Option<u64> {
        let position = self.ranges.partition_point(|range| range.1 < counter);
        self.ranges.get(position).filter(|range| range.0 <= counter).map(|range| range.1)
    }

    /// Bounds the ranges up to a counter, which have been passed.
    pub(super) fn bound(&mut self, passed: u64) {
        let passed = self.ranges.partition_point(|range| range.1 <= passed);
        if passed > PASSED_RANGES_MAX {
            let excess = passed - PASSED_RANGES_MAX;
            let joined = (self.ranges[0].0, self.ranges[excess].1);
            self.ranges.splice(..=excess, [joined]);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.ranges.iter().copied()
    }
}

#[cfg(all(test, not(loom)))]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_ends_of_64_bits_are_counters_like_others() {
        let mut lost = Lost::default();
        assert_eq!(lost.insert(1, u64::MAX), u64::MAX);
        assert_eq!(lost.insert(5, 9), 0);
        assert!(lost.remove(u64::MAX) && lost.remove(1) && !lost.remove(1));
        assert_eq!(lost.through(2), Some(u64::MAX - 1));
    }

    #[test]
    fn past_the_bound_the_oldest_ranges_become_one() {
        let mut lost = Lost::default();
        let last = 2 * PASSED_RANGES_MAX as u64 + 20;
        for counter in (2..=last).step_by(2) {
            lost.insert(counter, counter);
        }
        lost.bound(last - 4);
        let ranges: Vec<_> = lost.iter().collect();
        assert_eq!(ranges.len(), PASSED_RANGES_MAX + 2, "those ahead are left alone");
        assert_eq!(ranges[0], (2, 18));
        assert_eq!(ranges[1], (20, 20));
    }

    proptest! {
        #[test]
        fn ranges_are_a_set_of_counters(moves in prop::collection::vec((0_u64..40, 0_u64..6, any::<bool>()), 0..60)) {
            let (mut lost, mut model) = (Lost::default(), BTreeSet::new());
            for (first, more, insert) in moves {
                if insert {
                    let added = (first..=first + more).filter(|counter| model.insert(*counter)).count();
                    prop_assert_eq!(lost.insert(first, first + more), added as u64);
                } else {
                    prop_assert_eq!(lost.remove(first), model.remove(&first));
                }
                let ranges: Vec<_> = lost.iter().collect();
                prop_assert!(ranges.iter().all(|range| range.0 <= range.1));
                prop_assert!(ranges.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0), "{:?}", ranges);
                let counters: BTreeSet<_> = ranges.iter().flat_map(|range| range.0..=range.1).collect();
                prop_assert_eq!(&counters, &model);
                for counter in 0..50 {
                    let through = (counter..).take_while(|each| model.contains(each)).last();
                    prop_assert_eq!(lost.through(counter), through);
                }
            }
        }
    }
}
