//! Which bytes of a file are in older files too, as far as Xet storage tells: pure arithmetic, no byte is looked at.
//!
//! There a file is a list of terms, each so many chunks of an object called xorb, in order (Xet protocol
//! specification 1.1, "Reconstruction"). A term tells the length of all its chunks together, not of each. So it says how
//! far apart two chunk boundaries of its xorb are, and where the terms of several files share boundaries the
//! distances add up: what lies between two boundaries that are known in both files is the same bytes.
//!
//! What a server says here chooses ranges and nothing else: the digest of the whole file decides.

use std::collections::HashMap;
use std::ops::Range;

use serde::Deserialize;

use super::{RangeSet, XetHash};

/// A copy of less, between two ranges that are fetched, is not worth the request that it would take more.
pub const COPY_MIN: u64 = 1 << 20;
/// Where less than this is equal, in bytes, nothing is copied …
pub const WORTH_IT: u64 = 16 << 20;
/// … nor where it is less than this part of the file.
const WORTH_IT_SHARE: u64 = 20;
/// Terms of one file at most: each takes memory. One of a terabyte has some 16,000.
const TERMS_MAX: usize = 1 << 16;
/// Pairs of terms that are compared at most: mostly each term is of a xorb of its own.
const PAIRS_MAX: usize = 20_000_000;

/// What a file is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reconstruction(Vec<Term>);

/// Some chunks of a xorb.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Term {
    xorb: XetHash,
    chunks: Range<u32>,
    /// Length of all of them together.
    bytes: u64,
}

#[derive(Deserialize)]
struct RawReconstruction<'a> {
    #[serde(default)]
    offset_into_first_range: u64,
    #[serde(borrow)]
    terms: Vec<RawTerm<'a>>,
}

#[derive(Deserialize)]
struct RawTerm<'a> {
    hash: &'a str,
    unpacked_length: u64,
    range: RawRange,
}

#[derive(Deserialize)]
struct RawRange {
    start: u32,
    end: u32,
}

impl Reconstruction {
    /// Understands the answer of `/v2/reconstructions/{hash}` about a whole file of `size` bytes. The error says what
    /// cannot be true of it.
    pub fn parse(json: &[u8], size: u64) -> Result<Self, String> {
        let raw: RawReconstruction<'_> =
            serde_json::from_slice(json).map_err(|why| format!("no reconstruction ({why})"))?;
        if raw.offset_into_first_range != 0 {
            return Err("a reconstruction of a part of the file".into());
        }
        if raw.terms.len() > TERMS_MAX {
            return Err(format!("{} terms", raw.terms.len()));
        }
        let mut total: u64 = 0;
        let mut terms = Vec::with_capacity(raw.terms.len());
        for RawTerm { hash, unpacked_length: bytes, range: RawRange { start, end } } in raw.terms {
            let xorb = hash.parse().map_err(|_| "a term of something that is no xorb")?;
            if start >= end || bytes < u64::from(end - start) {
                return Err("a term of chunks without bytes".into());
            }
            total = total.checked_add(bytes).ok_or("terms longer than any file")?;
            terms.push(Term { xorb, chunks: start..end, bytes });
        }
        if total != size {
            return Err(format!("terms of {total} bytes for a file of {size}"));
        }
        Ok(Self(terms))
    }
}

/// Bytes that an older file has too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// Where they are in the new file.
    pub to: Range<u64>,
    /// Which of the older files.
    pub original: usize,
    /// Where they begin in that.
    pub from: u64,
}

/// What of a file is in older ones, ascending; nothing where it is too little to be worth the while. Fails where the
/// terms contradict each other.
pub fn worth_copying(new: &Reconstruction, old: &[&Reconstruction]) -> Result<Vec<Copy>, String> {
    let mut copies = equal(new, old)?;
    let mut ranges = RangeSet::default();
    for copy in &copies {
        ranges.insert(copy.to.clone());
    }
    // Copies that touch each other need no request between them.
    let islands: Vec<_> = ranges.iter().filter(|range| range.end - range.start < COPY_MIN).cloned().collect();
    for island in &islands {
        ranges.remove(island);
    }
    copies.retain(|copy| ranges.gaps(copy.to.clone()).is_empty());
    let size: u64 = new.0.iter().map(|term| term.bytes).sum();
    if ranges.bytes() < WORTH_IT.max(size.div_ceil(WORTH_IT_SHARE)) {
        copies.clear();
    }
    Ok(copies)
}

/// All of a file that is in older ones, ascending.
fn equal(new: &Reconstruction, old: &[&Reconstruction]) -> Result<Vec<Copy>, String> {
    let boundaries = Boundaries::new(std::iter::once(new).chain(old.iter().copied()))?;
    let mut known: HashMap<XetHash, Vec<(&Term, usize, u64)>> = HashMap::new();
    for (original, reconstruction) in old.iter().enumerate() {
        for (term, start) in reconstruction.placed() {
            known.entry(term.xorb).or_default().push((term, original, start));
        }
    }
    let (mut copies, mut pairs) = (Vec::new(), 0);
    for (term, start) in new.placed() {
        let mut lacking = RangeSet::default();
        lacking.insert(start..start + term.bytes);
        for (other, original, other_start) in known.get(&term.xorb).into_iter().flatten() {
            if lacking.is_empty() {
                break;
            }
            pairs += 1;
            if pairs > PAIRS_MAX {
                return Err("too many terms of one xorb".into());
            }
            let Some((at, in_other, bytes)) = boundaries.overlap(term, other) else { continue };
            let (to, from) = (start + at, other_start + in_other);
            // Another original may have brought a part of it.
            let mut had = RangeSet::default();
            had.insert(to..to + bytes);
            had.remove_all(&lacking);
            for to in had.gaps(to..to + bytes).iter() {
                copies.push(Copy {
                    to: to.clone(),
                    original: *original,
                    from: from + (to.start - start - at),
                });
                lacking.remove(to);
            }
        }
    }
    copies.sort_by_key(|copy| copy.to.start);
    copies.dedup_by(|next, copy| {
        let goes_on = next.original == copy.original
            && next.to.start == copy.to.end
            && next.from == copy.from + (copy.to.end - copy.to.start);
        if goes_on {
            copy.to.end = next.to.end;
        }
        goes_on
    });
    Ok(copies)
}

impl Reconstruction {
    /// The terms, with where each begins in the file.
    fn placed(&self) -> impl Iterator<Item = (&Term, u64)> {
        self.0.iter().scan(0, |position, term| {
            let start = *position;
            *position += term.bytes;
            Some((term, start))
        })
    }
}

/// What is known of where chunks begin in their xorbs: how far apart those boundaries are that terms connect, directly
/// or by others.
struct Boundaries {
    numbers: HashMap<(XetHash, u32), usize>,
    /// Of each boundary one of the same group, in the end that one which stands for the group, and how many bytes it
    /// lies behind that.
    links: Vec<(usize, i128)>,
}

impl Boundaries {
    fn new<'a>(all: impl Iterator<Item = &'a Reconstruction>) -> Result<Self, String> {
        let mut known = Self { numbers: HashMap::new(), links: Vec::new() };
        for term in all.flat_map(|reconstruction| &reconstruction.0) {
            let [start, end] =
                [term.chunks.start, term.chunks.end].map(|chunk| known.number(term.xorb, chunk));
            let ((group, first), (other, last)) = (known.find(start), known.find(end));
            let distance = i128::from(term.bytes);
            if group != other {
                known.links[other] = (group, first + distance - last);
            } else if last - first != distance {
                return Err("two lengths for the same chunks".into());
            }
        }
        known.check_order()?;
        Ok(known)
    }

    fn number(&mut self, xorb: XetHash, chunk: u32) -> usize {
        let next = self.links.len();
        let number = *self.numbers.entry((xorb, chunk)).or_insert(next);
        if number == next {
            self.links.push((next, 0));
        }
        number
    }

    /// Who stands for its group, and how many bytes it lies behind that.
    fn find(&mut self, number: usize) -> (usize, i128) {
        let (mut root, mut behind) = (number, 0);
        while self.links[root].0 != root {
            behind += self.links[root].1;
            root = self.links[root].0;
        }
        // The next one to ask has a short way.
        let (mut at, mut left) = (number, behind);
        while at != root {
            let (next, step) = std::mem::replace(&mut self.links[at], (root, left));
            left -= step;
            at = next;
        }
        (root, behind)
    }

    /// A later chunk begins later; each has bytes.
    fn check_order(&mut self) -> Result<(), String> {
        let mut all: Vec<_> = self.numbers.iter().map(|(key, number)| (*key, *number)).collect();
        all.sort_unstable();
        let mut latest: HashMap<usize, (u32, i128)> = HashMap::new();
        for ((_, chunk), number) in all {
            // Each leads to its root directly from now on.
            let (root, behind) = self.find(number);
            if let Some((before, earlier)) = latest.insert(root, (chunk, behind))
                && behind - earlier < i128::from(chunk - before)
            {
                return Err("chunks that end before they begin".into());
            }
        }
        Ok(())
    }

    fn place(&self, xorb: XetHash, chunk: u32) -> Option<(usize, i128)> {
        self.numbers.get(&(xorb, chunk)).map(|number| self.links[*number])
    }

    /// The bytes that two terms of one xorb have in common, as far as is known which: where they begin in the one and
    /// in the other, and how many.
    fn overlap(&self, one: &Term, other: &Term) -> Option<(u64, u64, u64)> {
        let first = one.chunks.start.max(other.chunks.start);
        let last = one.chunks.end.min(other.chunks.end);
        if first >= last {
            return None;
        }
        let of = |chunk| self.place(one.xorb, chunk);
        let ((group, one), (other_group, other)) = (of(one.chunks.start)?, of(other.chunks.start)?);
        let ((_, first), (_, last)) = (of(first)?, of(last)?);
        let distance = |from: i128, to: i128| u64::try_from(to - from).ok();
        if group != other_group {
            return None;
        }
        Some((distance(one, first)?, distance(other, first)?, distance(first, last)?))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const XORBS: usize = 3;
    const CHUNKS: usize = 12;

    fn xorb(number: usize) -> XetHash {
        XetHash::from_bytes([u8::try_from(number).expect("few"); 32])
    }

    /// Terms by xorb and chunks, of xorbs whose chunks have these lengths; and the bytes, each by where it comes from.
    fn file(terms: &[(usize, Range<usize>)], lengths: &[Vec<u64>]) -> (Reconstruction, Vec<(usize, u64)>) {
        let mut bytes = Vec::new();
        let terms = terms.iter().map(|(number, chunks)| {
            let length = |chunks: Range<usize>| lengths[*number][chunks].iter().sum::<u64>();
            let (before, inside) = (length(0..chunks.start), length(chunks.clone()));
            bytes.extend((before..before + inside).map(|at| (*number, at)));
            let chunk = |chunk: usize| u32::try_from(chunk).expect("few");
            Term { xorb: xorb(*number), chunks: chunk(chunks.start)..chunk(chunks.end), bytes: inside }
        });
        (Reconstruction(terms.collect()), bytes)
    }

    fn terms() -> impl Strategy<Value = Vec<(usize, Range<usize>)>> {
        let term = (0..XORBS, 0..CHUNKS, 1..=CHUNKS)
            .prop_map(|(number, start, length)| (number, start..(start + length).min(CHUNKS)));
        proptest::collection::vec(term, 0..12)
    }

    fn xorbs() -> impl Strategy<Value = Vec<Vec<u64>>> {
        proptest::collection::vec(proptest::collection::vec(1..9u64, CHUNKS), XORBS)
    }

    proptest! {
            #[test]
            fn what_is_called_equal_is_equal(lengths in xorbs(), new in terms(), old in proptest::collection::vec(terms(), 0..4)) {
                let (wanted, bytes) = file(&new, &lengths);
                let originals: Vec<_> = old.iter().map(|terms| file(terms, &lengths)).collect();
                let olds: Vec<_> = originals.iter().map(|(old, _)| old).collect();
                let copies = equal(&wanted, &olds).expect("terms of real files agree");
                let mut position = 0;
                for Copy { to, original, from } in &copies {
                    prop_assert!(to.start >= position && !to.is_empty());
                    position = to.end;
                    let index = |at: u64| usize::try_from(at).expect("small");
                    let source = &originals[*original].1[index(*from)..index(from + (to.end - to.start))];
                    prop_assert_eq!(&bytes[index(to.start)..index(to.end)], source);
                }
                // A term that an older file has as it is, or that begins or ends alike, is found as a whole or in part.
                let mut found = RangeSet::default();
                for copy in &copies {
     found.insert(copy.to.clone());
    }
                let mut start = 0;
                for (number, chunks) in &new {
                    let length = |chunks: Range<usize>| lengths[*number][chunks].iter().sum::<u64>();
                    for (_, other) in old.iter().flatten().filter(|(other, _)| other == number) {
                        let common = chunks.start.max(other.start)..chunks.end.min(other.end);
                        if !common.is_empty() && (chunks.start == other.start || chunks.end == other.end) {
                            let first = start + length(chunks.start..common.start);
                            let range = first..first + length(common);
                            prop_assert!(found.gaps(range.clone()).is_empty(), "{:?} of {:?}", range, found);
                        }
                    }
                    start += length(chunks.clone());
                }
            }

            #[test]
            fn whatever_a_server_says_no_copy_leaves_its_files(
                sizes in proptest::collection::vec((0..XORBS, 0..CHUNKS, 1..=CHUNKS, 1..1_000u64), 0..20),
                split in 0..20usize,
            ) {
                let mut terms: Vec<_> = sizes.iter().map(|(number, start, count, bytes)| {
                    let chunk = |chunk: usize| u32::try_from(chunk).expect("few");
                    Term { xorb: xorb(*number), chunks: chunk(*start)..chunk(start + count), bytes: bytes + 12 }
                }).collect();
                let old = Reconstruction(terms.split_off(split.min(terms.len())));
                let new = Reconstruction(terms);
                let size = |of: &Reconstruction| of.0.iter().map(|term| term.bytes).sum::<u64>();
                if let Ok(copies) = equal(&new, &[&old]) {
                    let mut position = 0;
                    for Copy { to, original, from } in copies {
                        prop_assert!(original == 0 && to.start >= position && to.start < to.end);
                        prop_assert!(to.end <= size(&new) && from + (to.end - to.start) <= size(&old));
                        position = to.end;
                    }
                }
            }
        }

    #[test]
    fn overlaps_in_the_middle_follow_where_other_terms_tell_the_distance() {
        let lengths = vec![vec![3, 5, 7, 9, 11]];
        let (new, _) = file(&[(0, 1..4)], &lengths);
        let (wide, _) = file(&[(0, 0..5)], &lengths);
        assert_eq!(equal(&new, &[&wide]), Ok(vec![]), "nobody says how long the first chunk is");
        let (first, _) = file(&[(0, 0..1)], &lengths);
        let copy = Copy { to: 0..21, original: 0, from: 3 };
        assert_eq!(equal(&new, &[&wide, &first]), Ok(vec![copy]));
    }

    #[test]
    fn terms_that_contradict_each_other_are_refused() {
        let term = |chunks: Range<u32>, bytes| Reconstruction(vec![Term { xorb: xorb(0), chunks, bytes }]);
        assert!(equal(&term(0..4, 100), &[&term(0..4, 101)]).is_err());
        assert!(equal(&term(0..4, 100), &[&term(0..5, 90)]).is_err());
        assert!(equal(&term(0..4, 100), &[&term(0..5, 103)]).is_ok());
    }

    #[test]
    fn an_answer_that_does_not_fit_the_file_is_refused() {
        let hash = "ab".repeat(32);
        let answer =
            |terms: &str| format!(r#"{{"offset_into_first_range":0,"terms":[{terms}],"xorbs":{{}}}}"#);
        let term = |start: u32, end: u32, bytes: u64| {
            format!(
                r#"{{"hash":"{hash}","unpacked_length":{bytes},"range":{{"start":{start},"end":{end}}}}}"#
            )
        };
        let parse = |json: &str, size| Reconstruction::parse(json.as_bytes(), size);
        assert!(parse(&answer(&term(0, 3, 100)), 100).is_ok());
        let many = vec![term(0, 1, 1); TERMS_MAX + 1].join(",");
        assert!(parse(&answer(&many), TERMS_MAX as u64 + 1).is_err_and(|why| why.contains("terms")));
        let odd = [
            answer(&term(0, 3, 99)),
            answer(&term(3, 3, 100)),
            answer(&term(4, 3, 100)),
            answer(&format!("{},{}", term(0, 3, u64::MAX), term(0, 3, 101))),
            answer(&term(0, 101, 100)),
            answer(&term(0, 3, 100)).replace(&hash, "ab"),
            answer(&term(0, 3, 100)).replace("range\":0", "range\":1"),
            "{}".into(),
            "[]".into(),
        ];
        for json in odd {
            assert!(parse(&json, 100).is_err(), "{json}");
        }
    }

    #[test]
    fn little_is_not_worth_it_and_islands_are_fetched_with_their_neighbours() {
        const MIB: u64 = 1 << 20;
        let term = |number, bytes| Term { xorb: xorb(number), chunks: 0..1, bytes };
        let file = |terms: &[(usize, u64)]| {
            Reconstruction(terms.iter().map(|(number, bytes)| term(*number, *bytes)).collect())
        };
        let old = file(&[(1, 20 * MIB), (2, MIB / 2), (3, MIB / 2)]);
        let copied = |new: &Reconstruction| -> u64 {
            let copies = worth_copying(new, &[&old]).expect("they agree");
            copies.iter().map(|copy| copy.to.end - copy.to.start).sum()
        };
        assert_eq!(copied(&file(&[(1, 20 * MIB), (4, MIB)])), 20 * MIB);
        assert_eq!(copied(&file(&[(1, 20 * MIB), (4, 400 * MIB)])), 0, "under 5 %");
        assert_eq!(copied(&file(&[(2, MIB / 2), (4, MIB)])), 0, "under 16 MiB");
        let islands = file(&[(1, 20 * MIB), (4, MIB), (2, MIB / 2), (4, MIB)]);
        assert_eq!(copied(&islands), 20 * MIB);
        let touching = file(&[(1, 20 * MIB), (4, MIB), (3, MIB / 2), (2, MIB / 2), (4, MIB)]);
        assert_eq!(copied(&touching), 21 * MIB);
    }
}
