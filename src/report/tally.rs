//! Counts what a run moved, also for runs that fail.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Event, Reporter};
use crate::request::RepoPath;

/// Passes every event on, and keeps the sums.
pub struct Tally {
    next: Arc<dyn Reporter>,
    sums: Mutex<Sums>,
}

/// Sums over a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Total size of the files asked for.
    pub bytes_total: u64,
    /// Bytes received.
    pub bytes_fetched: u64,
    /// Failures that were tried again.
    pub retries: u64,
}

#[derive(Default)]
struct Sums {
    bytes_total: u64,
    received: HashMap<RepoPath, u64>,
    retries: u64,
}

impl Tally {
    /// In front of `next`.
    pub fn new(next: Arc<dyn Reporter>) -> Self {
        Self { next, sums: Mutex::default() }
    }

    /// The sums so far.
    pub fn totals(&self) -> Totals {
        let sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        Totals {
            bytes_total: sums.bytes_total,
            bytes_fetched: sums.received.values().sum(),
            retries: sums.retries,
        }
    }
}

impl Reporter for Tally {
    fn report(&self, event: &Event<'_>) {
        self.sums.lock().unwrap_or_else(PoisonError::into_inner).add(event);
        self.next.report(event);
    }
}

impl Sums {
    fn add(&mut self, event: &Event<'_>) {
        match event {
            Event::Resolved { bytes, .. } => self.bytes_total = *bytes,
            Event::Planned(plan) => self.bytes_total = plan.bytes_total,
            Event::Progress(progress) => self.received(progress.path, progress.received),
            Event::Published(outcome) => self.received(&outcome.path, outcome.bytes_fetched),
            Event::Retrying { .. } => self.retries += 1,
            _ => {}
        }
    }

    /// Counts only grow, whatever order events arrive in.
    fn received(&mut self, path: &RepoPath, bytes: u64) {
        let known = self.received.entry(path.clone()).or_default();
        *known = bytes.max(*known);
    }
}
