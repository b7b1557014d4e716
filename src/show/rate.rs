//! How fast bytes arrive, over the last seconds, and how long the rest takes at that rate.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Long enough for a calm number, short enough to show a change.
const WINDOW: Duration = Duration::from_secs(15);
/// Between two samples.
const SPACING: Duration = Duration::from_millis(500);
/// A rate from less time than this is noise.
const WARM_UP: Duration = Duration::from_secs(1);
/// An estimate beyond this is nonsense.
const LEFT_MAX: Duration = Duration::from_hours(24);

/// The rate of a growing number of bytes.
#[derive(Debug, Default)]
pub(super) struct Rate {
    samples: VecDeque<(Instant, u64)>,
    latest: u64,
}

impl Rate {
    /// Takes note that `bytes` are there now.
    pub(super) fn record(&mut self, now: Instant, bytes: u64) {
        self.latest = bytes;
        if self.samples.back().is_some_and(|(at, _)| now.duration_since(*at) < SPACING) {
            return;
        }
        self.samples.push_back((now, bytes));
        // The oldest one kept spans the window.
        while self.samples.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= WINDOW) {
            self.samples.pop_front();
        }
    }

    /// The last number of bytes.
    pub(super) fn latest(&self) -> u64 {
        self.latest
    }

    /// Bytes per second, once there is enough to tell. Falls when nothing arrives.
    pub(super) fn per_second(&self, now: Instant) -> Option<u64> {
        let (since, then) = *self.samples.front()?;
        let elapsed = now.duration_since(since);
        (elapsed >= WARM_UP).then(|| per_second(self.latest.saturating_sub(then), elapsed))
    }

    /// Time for `missing` more bytes, unless that is anybody's guess.
    pub(super) fn time_left(&self, now: Instant, missing: u64) -> Option<Duration> {
        let rate = self.per_second(now).filter(|rate| *rate > 0)?;
        Some(Duration::from_secs(missing.div_ceil(rate))).filter(|left| *left <= LEFT_MAX)
    }
}

/// The average rate of `bytes` in `elapsed`.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate is shown with three digits, and `as` saturates"
)]
pub(super) fn per_second(bytes: u64, elapsed: Duration) -> u64 {
    (bytes as f64 / elapsed.as_secs_f64().max(1e-3)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_seconds_and_falls_in_a_stall() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut rate = Rate::default();
        assert_eq!(rate.per_second(at(0)), None);
        (0..=60).for_each(|second| rate.record(at(second), second * 1000));
        assert_eq!(rate.per_second(at(60)), Some(1000));
        assert_eq!(rate.time_left(at(60), 5000), Some(Duration::from_secs(5)));
        (61..=120).for_each(|second| rate.record(at(second), 60_000 + (second - 60) * 9000));
        assert_eq!(rate.per_second(at(120)), Some(9000));
        assert!(rate.per_second(at(150)).expect("rate") < 4000);
    }

    #[test]
    fn an_estimate_beyond_a_day_is_not_made() {
        let start = Instant::now();
        let mut rate = Rate::default();
        rate.record(start, 0);
        assert_eq!(rate.time_left(start + Duration::from_secs(10), 1), None);
        rate.record(start + Duration::from_secs(10), 10);
        assert_eq!(rate.time_left(start + Duration::from_secs(10), 86_400), Some(LEFT_MAX));
        assert_eq!(rate.time_left(start + Duration::from_secs(10), 86_401), None);
    }
}
