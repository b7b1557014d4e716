//! Which bytes of a file with a wrong digest to ask for again, the most suspicious first. Each is
//! asked for once: if the digest is wrong after that, the source has wrong bytes.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::ops::Range;

use super::tuning::{PART_MIN, PARTS};
use crate::content::RangeSet;
use crate::source::Provenance;

/// Who sent which bytes of a file, in the order in which they first did.
#[derive(Debug, Clone, Default)]
pub struct Origins(Vec<(Provenance, RangeSet)>);

impl Origins {
    /// Notes that bytes came from `origin`, whoever had sent them before.
    pub(super) fn note(&mut self, origin: &Provenance, range: Range<u64>) {
        for (_, ranges) in self.0.iter_mut().filter(|(other, _)| other != origin) {
            ranges.remove(&range);
        }
        match self.0.iter_mut().find(|(known, _)| known == origin) {
            Some((_, ranges)) => ranges.insert(range),
            None if range.is_empty() => {}
            None => {
                let mut ranges = RangeSet::default();
                ranges.insert(range);
                self.0.push((origin.clone(), ranges));
            }
        }
    }

    /// Takes over what was noted later.
    pub(super) fn update(&mut self, later: &Self) {
        for (origin, ranges) in later.iter() {
            ranges.iter().for_each(|range| self.note(origin, range.clone()));
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &(Provenance, RangeSet)> {
        self.0.iter()
    }
}

/// The parts that were not asked for again yet.
#[derive(Debug)]
pub struct Suspects(VecDeque<RangeSet>);

impl Suspects {
    /// Of a file of `size` bytes. Those `copied` from older files come first: what a server said chose them, and no digest
    /// of their own. Then those `inherited` from an earlier run: they lay on a disk
    /// that may have failed, and came from another process. Then those of each origin but the most
    /// trusted one, the least `verified` first and of equals the one that came last: a mirror. The rest
    /// goes in parts.
    pub(super) fn new(
        size: u64,
        copied: &RangeSet,
        inherited: &RangeSet,
        origins: &Origins,
        verified: impl Fn(&Provenance) -> u64,
    ) -> Self {
        let mut by_trust: Vec<_> = origins.iter().enumerate().collect();
        by_trust.sort_by_key(|(order, (origin, _))| (verified(origin), Reverse(*order)));
        by_trust.pop();
        let mut rest = inherited.clone();
        rest.remove_all(copied);
        let mut parts = vec![copied.clone(), rest];
        let mut named = copied.clone();
        named.insert_all(inherited);
        for (_, (_, ranges)) in by_trust {
            let mut part = RangeSet::default();
            for range in ranges.iter() {
                part.insert_all(&named.gaps(range.start..range.end.min(size)));
            }
            named.insert_all(&part);
            parts.push(part);
        }
        let length = (size / PARTS).max(PART_MIN).next_multiple_of(PART_MIN);
        parts.extend((0..size.div_ceil(length)).map(|n| named.gaps(n * length..size.min((n + 1) * length))));
        Self(parts.into_iter().filter(|part| !part.is_empty()).collect())
    }
}

impl Iterator for Suspects {
    type Item = RangeSet;

    /// The next part; `None` when all were asked for again.
    fn next(&mut self) -> Option<RangeSet> {
        self.0.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TERABYTE: u64 = 1_000_000_000_000;

    fn ranges(most: usize) -> impl Strategy<Value = Vec<(usize, Range<u64>)>> {
        let range = (0..TERABYTE, 1..TERABYTE / 5).prop_map(|(start, length)| start..start + length);
        proptest::collection::vec((0..4_usize, range), 0..most)
    }

    fn origin(name: &str) -> Provenance {
        Provenance::new(name)
    }

    proptest! {
            #[test]
            fn every_byte_is_asked_for_again_exactly_once(
                size in 0..TERABYTE,
                copied in ranges(5),
                inherited in ranges(5),
                sent in ranges(12),
            ) {
                let set = |ranges: Vec<(usize, Range<u64>)>| {
                    let mut set = RangeSet::default();
                    for (_, range) in ranges {
     set.insert(range.start.min(size)..range.end.min(size));
    }
                    set
                };
                let (copied, there) = (set(copied), set(inherited));
                let names = ["a", "b", "c", "d"].map(origin);
                let mut origins = Origins::default();
                for (from, range) in sent {
                    origins.note(&names[from], range.start.min(size)..range.end.min(size));
                }
                let parts: Vec<_> = Suspects::new(size, &copied, &there, &origins, |_| 0).collect();
                prop_assert!(parts.len() as u64 <= 2 + 3 + PARTS);
                prop_assert!(copied.is_empty() || parts[0] == copied);
                prop_assert!(!copied.is_empty() || there.is_empty() || parts[0] == there);
                prop_assert_eq!(parts.iter().map(RangeSet::bytes).sum::<u64>(), size);
                let mut all = RangeSet::default();
                parts.iter().flat_map(RangeSet::iter).for_each(|range| all.insert(range.clone()));
                prop_assert_eq!(all, RangeSet::full(size));
            }
        }

    #[test]
    fn the_least_trusted_is_asked_about_first() {
        let (hub, mirror, other) = (origin("hub"), origin("mirror"), origin("other"));
        let mut origins = Origins::default();
        origins.note(&hub, 0..600);
        origins.note(&mirror, 500..800);
        origins.note(&other, 800..1000);
        let parts = |verified: &dyn Fn(&Provenance) -> u64| -> Vec<_> {
            let suspects =
                Suspects::new(1000, &RangeSet::default(), &RangeSet::default(), &origins, verified);
            suspects.filter_map(|part| part.first()).collect()
        };
        assert_eq!(parts(&|_| 0), [800..1000, 500..800, 0..500]);
        assert_eq!(parts(&|origin| u64::from(*origin == other)), [500..800, 0..500, 800..1000]);
    }
}
