//! Who fetches which range of one file. Pure bookkeeping: no I/O, no clock but what it is told.
//!
//! Ranges are handed out from the lowest missing byte upwards, so that the hash can follow. An idle
//! connection takes over all that a hopelessly slow one still has to do, and, when nothing is left to hand
//! out, a part of what the slowest one has.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::tuner::Estimate;
use super::tuning::{HOPELESS, PACE_SHOWN_AFTER, SPLIT_MIN, WINDOW, WORTH_IT};
use crate::content::RangeSet;
use crate::store::block::{ALIGNMENT, BLOCK};

/// A segment: a range under way on one connection.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    id: u64,
    /// Its first byte, and one past its last one when it was handed out.
    pub(super) range: Range<u64>,
    /// Rung when another connection took over what was left.
    pub(super) cut: Arc<Notify>,
}

/// The state of one file's ranges.
#[derive(Debug)]
pub(super) struct Segments {
    size: u64,
    unassigned: RangeSet,
    /// What comes from older files on the disk, by no connection.
    reserved: RangeSet,
    /// Some bytes have come.
    begun: bool,
    flights: Vec<Flight>,
    next_id: u64,
}

/// A segment as the schedule sees it: how far it is, and how quick.
#[derive(Debug)]
struct Flight {
    id: u64,
    position: u64,
    end: u64,
    started: Instant,
    /// Time in which it was held up by what comes behind the connection.
    held: Duration,
    held_since: Option<Instant>,
    begun_at: u64,
    /// Seconds, beside its latency, after which it has shown its pace.
    patience: f64,
    cut: Arc<Notify>,
}

impl Flight {
    fn remaining(&self) -> u64 {
        self.end - self.position
    }

    fn time_held_now(&self, now: Instant) -> Duration {
        self.held_since.map_or(Duration::ZERO, |since| now.duration_since(since))
    }

    /// Seconds to the end at the pace so far. One that is too young to have shown a pace is taken
    /// to be as quick as `peer`.
    fn time_left(&self, peer: &Estimate, now: Instant) -> f64 {
        let held = self.held + self.time_held_now(now);
        let age = now.duration_since(self.started).saturating_sub(held).as_secs_f64();
        let pace = if age < 4.0 * peer.latency.as_secs_f64() + self.patience {
            peer.rate
        } else {
            (self.position - self.begun_at) as f64 / age
        };
        self.remaining() as f64 / pace.max(1.0)
    }
}

impl Segments {
    /// Of a file of `size` bytes that lacks `missing`.
    pub(super) fn new(size: u64, missing: RangeSet) -> Self {
        Self {
            size,
            unassigned: missing,
            reserved: RangeSet::default(),
            begun: false,
            flights: Vec::new(),
            next_id: 0,
        }
    }

    /// Whether nothing is left to do.
    pub(super) fn is_complete(&self) -> bool {
        self.unassigned.is_empty() && self.reserved.is_empty() && self.flights.is_empty()
    }

    /// Notes that bytes have come; says whether they are the first ones.
    pub(super) fn begin(&mut self) -> bool {
        !std::mem::replace(&mut self.begun, true)
    }

    /// Whether somebody waits for the first bytes.
    pub(super) fn is_awaited(&self) -> bool {
        !self.begun && !self.flights.is_empty()
    }

    /// Bytes not yet received.
    pub(super) fn remaining(&self) -> u64 {
        self.unassigned.bytes() + self.flights.iter().map(Flight::remaining).sum::<u64>()
    }

    /// Takes ranges out of those that connections are to bring; says which of them nobody had begun yet.
    pub(super) fn reserve(&mut self, ranges: &RangeSet) -> RangeSet {
        let mut others = ranges.clone();
        others.remove_all(&self.unassigned);
        let mut reserved = ranges.clone();
        reserved.remove_all(&others);
        self.unassigned.remove_all(&reserved);
        self.reserved.insert_all(&reserved);
        reserved
    }

    /// Notes that a reserved range is there.
    pub(super) fn came(&mut self, range: &Range<u64>) {
        self.reserved.remove(range);
    }

    /// What was reserved and has not come is for the connections after all.
    pub(super) fn give_up_reserved(&mut self) {
        self.unassigned.insert_all(&std::mem::take(&mut self.reserved));
    }

    /// The next range nobody works on, of `length` bytes and as many more as there are to the end of a block.
    pub(super) fn take(&mut self, length: u64, now: Instant) -> Option<Segment> {
        let first = self.unassigned.first()?;
        let oldest = self.flights.iter().map(|flight| flight.position).min();
        if oldest.is_some_and(|oldest| first.start > oldest.saturating_add(WINDOW)) {
            return None;
        }
        // Ends at boundaries of blocks: these are the quickest to write.
        let end = first.start.saturating_add(length.max(1)).checked_next_multiple_of(BLOCK);
        let range = first.start..first.end.min(end.unwrap_or(first.end));
        self.unassigned.remove(&range);
        Some(self.assign(range, now, PACE_SHOWN_AFTER))
    }

    /// The first bytes that are missing, so many of them; none once somebody is at work on them, or was.
    pub(super) fn take_first(&mut self, length: u64, now: Instant) -> Option<Segment> {
        let first = self.unassigned.first().filter(|_| !self.begun && self.flights.is_empty())?;
        let range = first.start..first.end.min(first.start.saturating_add(length));
        self.unassigned.remove(&range);
        Some(self.assign(range, now, PACE_SHOWN_AFTER))
    }

    /// The whole file as one segment, for a server that knows no ranges. `None` while one is under way.
    pub(super) fn take_whole(&mut self, now: Instant) -> Option<Segment> {
        if !self.flights.is_empty() || self.unassigned.is_empty() {
            return None;
        }
        let size = self.size;
        self.unassigned = RangeSet::default();
        Some(self.assign(0..size, now, PACE_SHOWN_AFTER))
    }

    /// All that a hopelessly slow connection still has to do, for a connection of this estimate. The slow one
    /// begins anew elsewhere, and may do better. Only who has shown to be quicker may have it: on a
    /// slow link each newcomer would take from one that is as good as it will be itself.
    pub(super) fn rescue(&mut self, thief: &Estimate, now: Instant) -> Option<Segment> {
        if !thief.is_known {
            return None;
        }
        let slowest = self.slowest(thief, now)?;
        let own_time = thief.latency.as_secs_f64() + slowest.remaining() as f64 / thief.rate.max(1.0);
        if slowest.time_left(thief, now) <= 4.0 * own_time + HOPELESS {
            return None;
        }
        let hardly_moved = slowest.position - slowest.begun_at < SPLIT_MIN;
        let patience = if hardly_moved { 2.0 * slowest.patience } else { PACE_SHOWN_AFTER };
        let range = slowest.position..slowest.end;
        slowest.end = range.start;
        slowest.cut.notify_one();
        Some(self.assign(range, now, patience))
    }

    /// A part of what the slowest connection still has to do, for a connection of this estimate. A cut
    /// connection has bytes on the way that nobody reads: it must be worth them.
    pub(super) fn steal(&mut self, thief: &Estimate, now: Instant) -> Option<Segment> {
        if let Some(segment) = self.rescue(thief, now) {
            return Some(segment);
        }
        let slowest = self.slowest(thief, now)?;
        let worth_it = slowest.time_left(thief, now) > 2.0 * thief.latency.as_secs_f64() + WORTH_IT;
        if slowest.remaining() < 2 * SPLIT_MIN || !worth_it {
            return None;
        }
        let range = (slowest.position + slowest.remaining() / 2).next_multiple_of(ALIGNMENT)..slowest.end;
        slowest.end = range.start;
        Some(self.assign(range, now, PACE_SHOWN_AFTER))
    }

    fn slowest(&mut self, peer: &Estimate, now: Instant) -> Option<&mut Flight> {
        let under_way = self.flights.iter_mut().filter(|flight| flight.remaining() > 0);
        under_way.max_by(|a, b| a.time_left(peer, now).total_cmp(&b.time_left(peer, now)))
    }

    /// Notes that a segment is held up, or no longer, by what comes behind the connection: that
    /// time does not count against its pace.
    pub(super) fn hold(&mut self, segment: &Segment, held: bool, now: Instant) {
        if let Some(flight) = self.flights.iter_mut().find(|flight| flight.id == segment.id) {
            flight.held += flight.time_held_now(now);
            flight.held_since = held.then_some(now);
        }
    }

    /// Claims the next `length` bytes of a segment. Fewer come back when its end was moved:
    /// what lies behind belongs to another connection now.
    pub(super) fn advance(&mut self, segment: &Segment, length: usize) -> Range<u64> {
        let Some(flight) = self.flights.iter_mut().find(|flight| flight.id == segment.id) else {
            return segment.range.end..segment.range.end;
        };
        let start = flight.position;
        flight.position = flight.end.min(start.saturating_add(length as u64));
        start..flight.position
    }

    /// Whether a segment has all its bytes.
    pub(super) fn is_done(&self, segment: &Segment) -> bool {
        self.missing_of(segment) == 0
    }

    /// Whether all lower bytes were passed on: none is to be handed out, and no other segment that
    /// began lower is under way.
    pub(super) fn is_frontier(&self, segment: &Segment) -> bool {
        let begin = segment.range.start;
        self.flights.iter().all(|flight| flight.begun_at >= begin)
            && self.unassigned.first().is_none_or(|first| first.start > begin)
    }

    /// Bytes a segment has still to bring.
    pub(super) fn missing_of(&self, segment: &Segment) -> u64 {
        self.flights.iter().find(|flight| flight.id == segment.id).map_or(0, Flight::remaining)
    }

    /// The bytes a segment has brought so far.
    pub(super) fn received_of(&self, segment: &Segment) -> Range<u64> {
        let flight = self.flights.iter().find(|flight| flight.id == segment.id);
        flight.map_or(0..0, |flight| flight.begun_at..flight.position)
    }

    /// Ends a segment; what it did not bring is to be had again.
    pub(super) fn release(&mut self, segment: &Segment) {
        if let Some(at) = self.flights.iter().position(|flight| flight.id == segment.id) {
            let flight = self.flights.swap_remove(at);
            self.unassigned.insert(flight.position..flight.end);
        }
    }

    fn assign(&mut self, range: Range<u64>, now: Instant, patience: f64) -> Segment {
        let id = self.next_id;
        self.next_id += 1;
        let cut = Arc::new(Notify::new());
        self.flights.push(Flight {
            id,
            position: range.start,
            end: range.end,
            started: now,
            held: Duration::ZERO,
            held_since: None,
            begun_at: range.start,
            patience,
            cut: Arc::clone(&cut),
        });
        Segment { id, range, cut }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn estimate(rate: f64, milliseconds: u64) -> Estimate {
        Estimate { rate, latency: Duration::from_millis(milliseconds), is_known: true }
    }

    /// What random connections do: take, bring some bytes, fail, steal.
    fn step() -> impl Strategy<Value = (u8, usize, usize)> {
        (0..4u8, 0..8usize, 1..3_000_000usize)
    }

    proptest! {
        #[test]
        fn every_byte_is_fetched_exactly_once(size in 1..20_000_000u64, steps in proptest::collection::vec(step(), 0..200)) {
            let mut segments = Segments::new(size, RangeSet::full(size));
            let mut open: Vec<Segment> = Vec::new();
            let mut got = RangeSet::default();
            let mut bytes = 0;
            let now = Instant::now();
            let end = (0..100_000).map(|n| if n % 2 == 0 { (0, 0, 1 << 20) } else { (1, 0, 1 << 20) });
            for (n, (what, which, amount)) in steps.into_iter().chain(end).enumerate() {
                let now = now + Duration::from_millis(n as u64);
                match what {
                    0 if open.len() < 8 => open.extend(segments.take(amount as u64, now)),
                    3 if open.len() < 8 => open.extend(segments.steal(&estimate(1e6, 1), now)),
                    1 if !open.is_empty() => {
                        let segment = &open[which % open.len()];
                        let claimed = segments.advance(segment, amount);
                        bytes += claimed.end - claimed.start;
                        got.insert(claimed);
                        if segments.is_done(segment) {
                            segments.release(&open.swap_remove(which % open.len()));
                        }
                    }
                    2 if !open.is_empty() => segments.release(&open.swap_remove(which % open.len())),
                    _ => {}
                }
                if segments.is_complete() {
                    break;
                }
            }
            prop_assert!(segments.is_complete());
            prop_assert_eq!(got, RangeSet::full(size));
            prop_assert_eq!(bytes, size);
        }
    }

    #[test]
    fn a_straggler_loses_all_it_has_left() {
        let start = Instant::now();
        let mut segments = Segments::new(1 << 20, RangeSet::full(1 << 20));
        let slow = segments.take(1 << 20, start).expect("a segment");
        segments.advance(&slow, 10);
        let thief = segments.steal(&estimate(50e6, 40), start + Duration::from_secs(5)).expect("a part");
        assert_eq!(thief.range, 10..1 << 20);
        assert!(segments.is_done(&slow));
    }

    #[test]
    fn a_range_that_never_moves_is_taken_over_less_and_less_often() {
        let (start, size, estimate) = (Instant::now(), 1 << 20, estimate(50e6, 1));
        let mut segments = Segments::new(size, RangeSet::full(size));
        let mut slow = segments.take(size, start).expect("a segment");
        let times = (0..60_000).map(|n| Duration::from_millis(n * 10));
        let taken = times.filter(|time| {
            let Some(thief) = segments.steal(&estimate, start + *time) else { return false };
            segments.release(&slow);
            slow = thief;
            true
        });
        // Ten minutes: 0.2 s, 0.6 s, 1.4 s, …
        assert_eq!(taken.count(), 11);
    }

    #[test]
    fn a_newcomer_takes_nothing_from_connections_on_a_slow_link() {
        let start = Instant::now();
        let mut segments = Segments::new(32 << 20, RangeSet::full(32 << 20));
        let slow = segments.take(4 << 20, start).expect("a segment");
        segments.advance(&slow, 1 << 20);
        let now = start + Duration::from_secs(1);
        assert!(segments.rescue(&Estimate::default(), now).is_none());
        assert!(segments.rescue(&estimate(1e6, 20), now).is_none());
        assert!(segments.rescue(&estimate(100e6, 20), now).is_some());
    }

    #[test]
    fn a_connection_that_waits_for_the_disk_is_not_slow() {
        let start = Instant::now();
        let mut segments = Segments::new(8 << 20, RangeSet::full(8 << 20));
        let held = segments.take(4 << 20, start).expect("a segment");
        segments.advance(&held, 1 << 20);
        segments.hold(&held, true, start);
        assert!(segments.rescue(&estimate(50e6, 1), start + Duration::from_secs(9)).is_none());
        segments.hold(&held, false, start + Duration::from_secs(9));
        assert!(segments.rescue(&estimate(50e6, 1), start + Duration::from_secs(9)).is_none());
        assert!(segments.rescue(&estimate(50e6, 1), start + Duration::from_secs(19)).is_some());
    }

    #[test]
    fn a_connection_as_quick_as_the_others_is_relieved_of_half() {
        let start = Instant::now();
        let mut segments = Segments::new(8 << 20, RangeSet::full(8 << 20));
        let other = segments.take(8 << 20, start).expect("a segment");
        segments.advance(&other, 4 << 20);
        let thief = segments.steal(&estimate(4e6, 0), start + Duration::from_secs(1)).expect("a part");
        assert_eq!(thief.range, 6 << 20..8 << 20);
    }

    #[test]
    fn what_is_about_to_be_done_is_left_alone() {
        let start = Instant::now();
        let mut segments = Segments::new(4 << 20, RangeSet::full(4 << 20));
        let _young = segments.take(4 << 20, start).expect("a segment");
        assert!(segments.steal(&estimate(200e6, 1), start + Duration::from_millis(1)).is_none());
    }
}
