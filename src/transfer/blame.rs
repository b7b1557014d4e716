//! Which bytes of a file with a wrong digest to ask for again, the most suspicious first. Each is
//! asked for once: if the digest is wrong after that, the source has wrong bytes.

use std::collections::VecDeque;

use super::tuning::{PART_MIN, PARTS};
use crate::content::RangeSet;

/// The parts that were not asked for again yet.
#[derive(Debug)]
pub(crate) struct Suspects(VecDeque<RangeSet>);

impl Suspects {
    /// Of a file of `size` bytes. Those `inherited` from an earlier run come first: they lay on a disk
    /// that may have failed, and came from another process.
    pub(crate) fn new(size: u64, inherited: &RangeSet) -> Self {
        let part = (size / PARTS).max(PART_MIN).next_multiple_of(PART_MIN);
        let own = (0..size.div_ceil(part)).map(|n| inherited.gaps(n * part..size.min((n + 1) * part)));
        let parts = std::iter::once(inherited.clone()).chain(own);
        Self(parts.filter(|part| !part.is_empty()).collect())
    }

    /// The next part; `None` when all were asked for again.
    pub(crate) fn next(&mut self) -> Option<RangeSet> {
        self.0.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_byte_is_asked_for_again_exactly_once(
            size in 0..1_000_000_000_000_u64,
            inherited in proptest::collection::vec((0..1_000_000_000_000_u64, 1..200_000_000_000_u64), 0..5),
        ) {
            let mut there = RangeSet::default();
            for (start, length) in inherited {
                there.insert(start.min(size)..(start + length).min(size));
            }
            let mut suspects = Suspects::new(size, &there);
            let parts: Vec<_> = std::iter::from_fn(|| suspects.next()).collect();
            prop_assert!(parts.len() as u64 <= PARTS + 1);
            prop_assert!(there.is_empty() || parts[0] == there);
            prop_assert_eq!(parts.iter().map(RangeSet::bytes).sum::<u64>(), size);
            let mut all = RangeSet::default();
            parts.iter().flat_map(RangeSet::iter).for_each(|range| all.insert(range.clone()));
            prop_assert_eq!(all, RangeSet::full(size));
        }
    }
}
