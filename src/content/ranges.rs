//! Byte-range arithmetic, pure. All ranges are half-open: `start..end`.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// A set of bytes, as sorted ranges that neither touch nor overlap.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<[u64; 2]>", into = "Vec<[u64; 2]>")]
pub struct RangeSet(Vec<Range<u64>>);

impl RangeSet {
    /// All bytes of a file of this size.
    pub fn full(size: u64) -> Self {
        let mut set = Self::default();
        set.insert(0..size);
        set
    }

    /// Adds a range.
    pub fn insert(&mut self, new: Range<u64>) {
        if new.is_empty() {
            return;
        }
        // Everything that touches `new` becomes one range with it.
        let first = self.0.partition_point(|range| range.end < new.start);
        let last = self.0.partition_point(|range| range.start <= new.end);
        let touched = &self.0[first..last];
        let start = touched.first().map_or(new.start, |range| range.start.min(new.start));
        let end = touched.last().map_or(new.end, |range| range.end.max(new.end));
        self.0.splice(first..last, std::iter::once(start..end));
    }

    /// Takes a range out.
    pub fn remove(&mut self, gone: &Range<u64>) {
        if gone.is_empty() {
            return;
        }
        let first = self.0.partition_point(|range| range.end <= gone.start);
        let last = self.0.partition_point(|range| range.start < gone.end);
        let Some(touched) = self.0.get(first..last).filter(|touched| !touched.is_empty()) else { return };
        let before = touched[0].start..gone.start;
        let after = gone.end..touched[touched.len() - 1].end;
        self.0.splice(first..last, [before, after].into_iter().filter(|range| !range.is_empty()));
    }

    /// Takes out ranges of fewer than `bytes`, but for one at the start of the file.
    pub fn drop_islands(&mut self, bytes: u64) {
        self.0.retain(|range| range.start == 0 || range.end - range.start >= bytes);
    }

    /// Adds all of another set.
    pub fn insert_all(&mut self, other: &Self) {
        other.iter().for_each(|range| self.insert(range.clone()));
    }

    /// Takes out all of another set.
    pub fn remove_all(&mut self, other: &Self) {
        other.iter().for_each(|range| self.remove(range));
    }

    /// What a file of this size still lacks.
    #[must_use]
    pub fn missing(&self, size: u64) -> Self {
        self.gaps(0..size)
    }

    /// What it lacks of a range.
    #[must_use]
    pub fn gaps(&self, within: Range<u64>) -> Self {
        let mut gaps = Self::default();
        gaps.insert(within.clone());
        let first = self.0.partition_point(|range| range.end <= within.start);
        for range in self.0[first..].iter().take_while(|range| range.start < within.end) {
            gaps.remove(range);
        }
        gaps
    }

    /// How many bytes from the start of the file are there without a gap.
    pub fn prefix(&self) -> u64 {
        self.0.first().filter(|range| range.start == 0).map_or(0, |range| range.end)
    }

    /// The lowest range.
    pub fn first(&self) -> Option<Range<u64>> {
        self.0.first().cloned()
    }

    /// The ranges, ascending.
    pub fn iter(&self) -> impl Iterator<Item = &Range<u64>> {
        self.0.iter()
    }

    /// Number of bytes.
    pub fn bytes(&self) -> u64 {
        self.0.iter().map(|range| range.end - range.start).sum()
    }

    /// One past the highest byte.
    pub fn end(&self) -> u64 {
        self.0.last().map_or(0, |range| range.end)
    }

    /// Whether there is no byte in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl TryFrom<Vec<[u64; 2]>> for RangeSet {
    type Error = String;

    /// A journal may have been damaged: only what this type could have written is believed.
    fn try_from(pairs: Vec<[u64; 2]>) -> Result<Self, String> {
        let ranges: Vec<_> = pairs.iter().map(|[start, end]| *start..*end).collect();
        let ordered = ranges.windows(2).all(|pair| pair[0].end < pair[1].start);
        if !ordered || ranges.iter().any(Range::is_empty) {
            return Err("ranges are empty, overlap or are out of order".into());
        }
        Ok(Self(ranges))
    }
}

impl From<RangeSet> for Vec<[u64; 2]> {
    fn from(set: RangeSet) -> Self {
        set.0.into_iter().map(|range| [range.start, range.end]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SIZE: u64 = 64;

    #[derive(Debug, Clone)]
    enum Step {
        Insert(Range<u64>),
        Remove(Range<u64>),
    }

    fn step() -> impl Strategy<Value = Step> {
        let range = (0..=SIZE, 0..=SIZE).prop_map(|(a, b)| a.min(b)..a.max(b));
        prop_oneof![range.clone().prop_map(Step::Insert), range.prop_map(Step::Remove)]
    }

    proptest! {
        #[test]
        fn behaves_like_a_set_of_bytes(steps in proptest::collection::vec(step(), 0..40)) {
            let mut set = RangeSet::default();
            let mut model = [false; SIZE as usize];
            for step in steps {
                let (range, there) = match &step {
                    Step::Insert(range) => (range, true),
                    Step::Remove(range) => (range, false),
                };
                model[range.start as usize..range.end as usize].fill(there);
                match &step {
                    Step::Insert(range) => set.insert(range.clone()),
                    Step::Remove(range) => set.remove(range),
                }
                let pairs: Vec<[u64; 2]> = set.clone().into();
                prop_assert_eq!(RangeSet::try_from(pairs), Ok(set.clone()));
                let bytes: Vec<u64> = set.iter().flat_map(Clone::clone).collect();
                let expected: Vec<u64> = (0..SIZE).filter(|byte| model[*byte as usize]).collect();
                prop_assert_eq!(&bytes, &expected);
                prop_assert_eq!(set.bytes(), expected.len() as u64);
                prop_assert_eq!(set.missing(SIZE).bytes(), SIZE - set.bytes());
                let gaps: Vec<u64> = set.gaps(10..40).iter().flat_map(Clone::clone).collect();
                let expected: Vec<u64> = (10..40).filter(|byte| !model[*byte as usize]).collect();
                prop_assert_eq!(&gaps, &expected);
                prop_assert_eq!(set.prefix(), model.iter().take_while(|there| **there).count() as u64);
            }
        }
    }

    #[test]
    fn a_damaged_list_of_ranges_is_refused() {
        for pairs in [vec![[5, 5]], vec![[5, 4]], vec![[0, 5], [5, 6]], vec![[7, 9], [0, 2]]] {
            assert!(RangeSet::try_from(pairs.clone()).is_err(), "{pairs:?}");
        }
    }
}
