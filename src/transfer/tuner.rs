//! How many connections are open, how long their ranges are, and how quick they may be.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, SetOnce, watch};
use tokio::time::Instant;
use tracing::debug;

use super::tuning::{
    COLLAPSE, DOUBLED, GAIN, LATENCIES_PER_SEGMENT, LOOK_MAX, LOOK_MIN, LOW_LOOKS, REST, REST_MAX, RUIN,
    SEGMENT_MAX, SEGMENT_MIN, START, TICK,
};
use crate::request::Connections;

/// Climbs to the number of connections that brings the most, and comes down when it collapses.
#[derive(Debug)]
pub(super) struct Tuner {
    max: u16,
    /// How many connections may take ranges.
    allowed: watch::Sender<u16>,
    /// How many may finish the range they have.
    kept: watch::Sender<u16>,
    received: AtomicU64,
    /// From the first request to its answer.
    first_latency: SetOnce<Duration>,
}

impl Tuner {
    /// Starts low for `auto`, at the number given otherwise.
    pub(super) fn new(connections: Connections) -> Self {
        let max = connections.max();
        let start = match connections {
            Connections::Auto => START.min(max),
            Connections::Fixed(n) => n,
        };
        let (allowed, kept) = (watch::channel(start).0, watch::channel(max).0);
        Self { max, allowed, kept, received: AtomicU64::new(0), first_latency: SetOnce::new() }
    }

    /// The most connections there will ever be.
    pub(super) fn max(&self) -> u16 {
        self.max
    }

    /// How many there may be now.
    pub(super) fn allowed(&self) -> u16 {
        *self.allowed.borrow()
    }

    /// Waits until connection number `index` may be open.
    pub(super) async fn admitted(&self, index: u16) {
        let mut allowed = self.allowed.subscribe();
        // The sender lives as long as `self`.
        let _ = allowed.wait_for(|allowed| index < *allowed).await;
    }

    /// Waits until connection number `index` may not even finish its range: each one too many
    /// slows down all.
    pub(super) async fn dismissed(&self, index: u16) {
        let mut kept = self.kept.subscribe();
        // The sender lives as long as `self`.
        let _ = kept.wait_for(|kept| index >= *kept).await;
    }

    /// Notes that a request was answered after `latency`. The first one shows how long a connection needs to
    /// bring anything.
    pub(super) fn answered(&self, latency: Duration) {
        // All but the first are refused.
        let _ = self.first_latency.set(latency);
    }

    /// Notes bytes that arrived on any connection.
    pub(super) fn received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Adjusts the number of connections until it is dropped. More of them are no use while
    /// `is_crowded` says so.
    pub(super) async fn adjust(&self, connections: Connections, is_crowded: impl Fn() -> bool) {
        if connections != Connections::Auto {
            return std::future::pending().await;
        }
        let latency = *self.first_latency.wait().await;
        // Those called last must have brought something, or the look would be at those before them; and on a long way
        // bytes come in waves, of which a shorter look would see one, or none.
        let quick = (2 * latency).clamp(LOOK_MIN, LOOK_MAX);
        let tick = quick.max(TICK);
        let mut search = HillClimb::new(self.allowed(), self.max, Instant::now());
        let mut before = (self.received.load(Ordering::Relaxed), Instant::now());
        loop {
            tokio::time::sleep(if search.is_doubling { quick } else { tick }).await;
            let now = (self.received.load(Ordering::Relaxed), Instant::now());
            let seconds = now.1.duration_since(before.1).as_secs_f64();
            if seconds > 0.0 {
                let rate = (now.0 - before.0) as f64 / seconds;
                let allowed = search.judge(rate, is_crowded(), now.1);
                self.kept.send_replace(if search.is_ruined { allowed } else { self.max });
                if self.allowed.send_replace(allowed) != allowed {
                    debug!(allowed, rate, "connections");
                }
            }
            before = now;
        }
    }
}

/// The decision alone, without a clock of its own.
#[derive(Debug)]
struct HillClimb {
    current: u16,
    max: u16,
    best: f64,
    /// How many connections brought the best.
    best_at: u16,
    /// Looks at a fall; below 0 after a collapse.
    low: i8,
    /// How many there were at the last collapse.
    fell_from: u16,
    /// How many there may be while it is rested: as many as brought the best before.
    rest_max: u16,
    /// The last look saw a fall so deep that waiting for the ends of ranges would cost more.
    is_ruined: bool,
    rest: Duration,
    rest_until: Instant,
    settled: bool,
    /// Each look so far brought in proportion to the connections.
    is_doubling: bool,
}

impl HillClimb {
    fn new(current: u16, max: u16, now: Instant) -> Self {
        Self {
            current,
            max,
            best: 0.0,
            best_at: current,
            low: 0,
            fell_from: 0,
            rest_max: max,
            is_ruined: false,
            rest: REST,
            rest_until: now,
            settled: false,
            is_doubling: true,
        }
    }

    /// The number of connections after a tick in which `rate` bytes per second arrived.
    fn judge(&mut self, rate: f64, is_crowded: bool, now: Instant) -> u16 {
        let max = if now < self.rest_until { self.rest_max } else { self.max };
        let may_grow = !is_crowded && self.current < max;
        self.is_ruined = false;
        if rate <= 0.0 {
            // Between two attempts, or before the first byte: says nothing about the number.
            return self.current;
        }
        let has_doubled = self.is_doubling && rate > self.best * DOUBLED;
        self.is_doubling = has_doubled && may_grow && 2 * self.current < self.max;
        if rate > self.best * GAIN {
            self.best = rate;
            self.best_at = self.current;
            self.low = 0;
            if may_grow {
                let more = if has_doubled { self.current } else { self.current / 2 };
                self.current = (self.current + more).max(2).min(max);
                self.settled = false;
            }
        } else if rate < self.best * COLLAPSE {
            self.low += if rate < self.best * RUIN { 2 } else { 1 };
            if self.low >= LOW_LOOKS {
                self.is_ruined = rate < self.best * RUIN;
                self.fell_from = self.current;
                self.rest_max = self.best_at;
                if self.best_at < self.current {
                    self.current = self.best_at;
                } else {
                    // It is not their number alone.
                    self.current = (self.current / 2).max(1);
                    (self.best, self.best_at) = (rate, self.current);
                }
                self.low = -LOW_LOOKS;
                self.rest_until = now + self.rest;
                self.rest = (2 * self.rest).min(REST_MAX);
            }
        } else {
            self.low = 0;
            if !self.settled && may_grow {
                // One more step tells noise from a summit; half the way to where they fell, if they did.
                self.settled = true;
                let step = (self.fell_from.saturating_sub(self.current) / 2).max(1);
                self.current = (self.current + step).min(max);
            }
        }
        self.current
    }
}

/// What one connection has shown of itself; it decides how long its next range is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Estimate {
    /// Bytes per second while bytes flow.
    pub(super) rate: f64,
    /// From a request to the first byte of its answer.
    pub(super) latency: Duration,
    /// Measured, not assumed.
    pub(super) is_known: bool,
}

impl Default for Estimate {
    fn default() -> Self {
        Self { rate: 10e6, latency: Duration::from_millis(20), is_known: false }
    }
}

impl Estimate {
    /// Learns from a finished range.
    pub(super) fn learn(&mut self, bytes: u64, latency: Duration, flowing: Duration) {
        if bytes >= 64 << 10 {
            self.rate = bytes as f64 / flowing.as_secs_f64().max(1e-4);
            self.latency = latency;
            self.is_known = true;
        }
    }

    /// Length of the next range when `remaining` bytes are left for `connections`.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped right after")]
    pub(super) fn segment_length(&self, remaining: u64, connections: u16) -> u64 {
        let by_latency = self.rate * self.latency.as_secs_f64() * LATENCIES_PER_SEGMENT;
        let fair = remaining / (2 * u64::from(connections.max(1)));
        (by_latency as u64).clamp(SEGMENT_MIN, SEGMENT_MAX).min(fair.max(SEGMENT_MIN / 4))
    }
}

/// `--limit-rate`: a bucket that fills with the allowed rate and holds an eighth of a second.
#[derive(Debug)]
pub(super) struct Throttle {
    rate: f64,
    /// When the bytes taken so far are paid for.
    paid_until: Mutex<Instant>,
}

impl Throttle {
    /// For this many bytes per second.
    pub(super) fn new(rate: u64) -> Self {
        Self { rate: rate.max(1) as f64, paid_until: Mutex::new(Instant::now()) }
    }

    /// Waits until `bytes` more may pass.
    pub(super) async fn pass(&self, bytes: usize) {
        let until = {
            let mut paid_until = self.paid_until.lock().await;
            let start = (*paid_until).max(Instant::now().checked_sub(TICK / 2).unwrap_or(*paid_until));
            *paid_until = start + Duration::from_secs_f64(bytes as f64 / self.rate);
            *paid_until
        };
        tokio::time::sleep_until(until).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the search for some seconds against a link that brings `rate(connections)`, looking for the first time
    /// after `quick`: when it looked, and at how many.
    fn looks_on(seconds: u64, quick: Duration, rate: impl Fn(u16) -> f64) -> Vec<(Duration, u16)> {
        let start = Instant::now();
        let mut search = HillClimb::new(START, Connections::AUTO_MAX, start);
        let mut time = Duration::ZERO;
        let mut looks = Vec::new();
        while time < Duration::from_secs(seconds) {
            time += if search.is_doubling { quick } else { TICK };
            looks.push((time, search.current));
            search.judge(rate(search.current), false, start + time);
        }
        looks
    }

    fn counts_on(seconds: u64, rate: impl Fn(u16) -> f64) -> Vec<u16> {
        looks_on(seconds, TICK, rate).into_iter().map(|(_, count)| count).collect()
    }

    #[test]
    fn connections_grow_while_they_bring_more() {
        let counts = counts_on(2, |n| f64::from(n) * 25e6);
        assert_eq!(*counts.last().expect("ticks"), Connections::AUTO_MAX);
    }

    #[test]
    fn a_near_server_is_used_in_full_after_two_quick_looks() {
        let looks = looks_on(1, LOOK_MIN, |n| f64::from(n) * 25e6);
        let full = looks.iter().find(|(_, count)| *count == Connections::AUTO_MAX);
        assert_eq!(full.map(|(time, _)| *time), Some(2 * LOOK_MIN + TICK), "{looks:?}");
    }

    #[test]
    fn a_link_that_is_full_gets_no_crowd() {
        let counts = counts_on(10, |_| 100e6);
        assert!(*counts.last().expect("ticks") <= 2 * START + 1, "{counts:?}");
    }

    #[test]
    fn where_only_a_few_more_bring_more_the_crowd_does_not_double() {
        let counts = counts_on(2, |n| f64::from(n).sqrt() * 50e6);
        assert!(counts.windows(2).skip(1).all(|pair| 2 * pair[1] <= 3 * pair[0]), "{counts:?}");
    }

    #[test]
    fn a_look_that_flattered_a_crowd_is_not_believed_for_ever() {
        // The first look at eight still counts what four brought before.
        let start = Instant::now();
        let mut search = HillClimb::new(START, Connections::AUTO_MAX, start);
        let rates = [10e6, 100e6].into_iter().map(Some).chain(std::iter::repeat_n(None, 20));
        for (n, rate) in rates.enumerate() {
            let honest = if search.current > START { 16e6 } else { f64::from(search.current) * 25e6 };
            search.judge(rate.unwrap_or(honest), false, start + TICK * n as u32);
        }
        assert_eq!(search.current, START);
    }

    #[test]
    fn nobody_is_called_to_a_crowd_that_waits_for_the_disk() {
        let mut search = HillClimb::new(START, Connections::AUTO_MAX, Instant::now());
        assert_eq!(search.judge(900e6, true, Instant::now()), START);
        assert_eq!(search.judge(900e6, true, Instant::now()), START);
    }

    #[test]
    fn a_punished_crowd_goes_home() {
        let counts = counts_on(30, |n| if n > 6 { 20e6 } else { f64::from(n) * 50e6 });
        assert_eq!(*counts.last().expect("ticks"), 6, "{counts:?}");
    }

    #[test]
    fn those_that_a_crowd_left_are_given_time_and_their_number_back() {
        for lag in [2, 6, 12] {
            let start = Instant::now();
            let mut search = HillClimb::new(START, Connections::AUTO_MAX, start);
            let mut punished = 0;
            let counts: Vec<_> = (0..80)
                .map(|tick| {
                    punished = if search.current > START { lag } else { punished - 1 };
                    let rate = if punished > 0 { 2e6 } else { 25e6 };
                    search.judge(f64::from(search.current) * rate, false, start + TICK * tick)
                })
                .collect();
            assert!(counts[30..].iter().all(|count| *count == START), "{lag}: {counts:?}");
        }
    }

    #[test]
    fn a_crowd_that_is_punished_again_comes_back_less_and_less_often() {
        let counts = counts_on(300, |n| if n > 4 { 12e6 } else { f64::from(n) * 25e6 });
        let crowded = counts.iter().filter(|count| **count > 4).count();
        assert!(crowded < 24, "{crowded} of {} ticks: {counts:?}", counts.len());
        assert_eq!(counts.iter().rev().take(100).min(), Some(&4));
    }

    #[test]
    fn ranges_grow_with_latency_and_shrink_at_the_end() {
        let near = Estimate { rate: 200e6, latency: Duration::from_millis(1), is_known: true };
        let far = Estimate { rate: 25e6, latency: Duration::from_millis(40), is_known: true };
        assert_eq!(near.segment_length(1 << 40, 8), SEGMENT_MIN);
        assert_eq!(far.segment_length(1 << 40, 8), 20_000_000);
        assert!(far.segment_length(10 << 20, 8) <= 1 << 20);
    }
}
