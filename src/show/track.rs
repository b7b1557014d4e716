//! What the reporters remember of a file at work: how far it is and how fast.

use std::time::{Duration, Instant};

use super::rate::Rate;
use crate::report::Progress;
use crate::words::{Bytes, Span};

/// One file at work.
#[derive(Debug)]
pub(super) struct Track {
    pub(super) size: u64,
    phase: Phase,
    rate: Rate,
    done: u64,
    connections: usize,
}

/// What the bytes are being counted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Arriving, or arrived.
    Fetching,
    /// All are there, and the rest is being hashed.
    Verifying,
}

impl Track {
    pub(super) fn new(now: Instant, size: u64, on_disk: u64, hash_only: bool) -> Self {
        let phase = if hash_only { Phase::Verifying } else { Phase::Fetching };
        let mut rate = Rate::default();
        let done = if hash_only { 0 } else { on_disk };
        rate.record(now, done);
        Self { size, phase, rate, done, connections: 0 }
    }

    pub(super) fn update(&mut self, now: Instant, progress: &Progress<'_>) {
        let fetched_all = progress.on_disk >= progress.size && progress.connections == 0;
        let phase = if fetched_all { Phase::Verifying } else { Phase::Fetching };
        self.done = match phase {
            Phase::Fetching => progress.on_disk,
            Phase::Verifying => progress.hashed,
        };
        // Bytes can be dropped; the rate must not count them twice.
        if phase != self.phase || self.done < self.rate.latest() {
            self.rate = Rate::default();
        }
        self.phase = phase;
        self.connections = progress.connections;
        self.rate.record(now, self.done);
    }

    pub(super) fn done(&self) -> u64 {
        self.done
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    pub(super) fn connections(&self) -> usize {
        self.connections
    }

    pub(super) fn percent(&self) -> u64 {
        percent(self.done, self.size)
    }

    /// Bytes per second.
    pub(super) fn rate(&self, now: Instant) -> Option<u64> {
        self.rate.per_second(now)
    }

    pub(super) fn time_left(&self, now: Instant) -> Option<Duration> {
        self.rate.time_left(now, self.size.saturating_sub(self.done))
    }

    /// `48.1 MB/s, 2 min 18 s left`, with `--` for what cannot be told.
    pub(super) fn speed(&self, now: Instant) -> String {
        speed(self.rate(now), self.time_left(now))
    }
}

/// `48.1 MB/s, 2 min 18 s left`, with `--` for what cannot be told.
pub(super) fn speed(rate: Option<u64>, left: Option<Duration>) -> String {
    let rate = rate.map_or("--".to_owned(), |rate| Bytes(rate).to_string());
    let left = left.map_or("--".to_owned(), |left| Span(left).to_string());
    format!("{rate}/s, {left} left")
}

/// Whole percents, never rounded up: 100 means all.
pub(super) fn percent(done: u64, size: u64) -> u64 {
    if done >= size { 100 } else { u64::try_from(u128::from(done) * 100 / u128::from(size)).unwrap_or(100) }
}
