//! Counts what a run moved, also for runs that fail.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Show, Summary, secrets};
use crate::report::{Event, Reporter};
use crate::request::RepoPath;

/// Passes every event on, and keeps the sums.
pub struct Tally {
    next: Arc<dyn Show>,
    sums: Mutex<Sums>,
}

/// Sums over a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Total size of the files asked for.
    pub bytes_total: u64,
    /// Bytes received.
    pub bytes_fetched: u64,
    /// Bytes copied from older files.
    pub bytes_copied: u64,
    /// Failures that were tried again.
    pub retries: u64,
}

#[derive(Default)]
struct Sums {
    bytes_total: u64,
    received: HashMap<RepoPath, u64>,
    copied: HashMap<RepoPath, u64>,
    retries: u64,
}

impl Tally {
    /// In front of `next`.
    pub fn new(next: Arc<dyn Show>) -> Self {
        Self { next, sums: Mutex::default() }
    }

    /// The sums so far.
    pub fn totals(&self) -> Totals {
        let sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        Totals {
            bytes_total: sums.bytes_total,
            bytes_fetched: sums.received.values().sum(),
            bytes_copied: sums.copied.values().sum(),
            retries: sums.retries,
        }
    }
}

impl Reporter for Tally {
    fn report(&self, event: &Event<'_>) {
        if let Event::Secret(text) = event {
            secrets::keep([(*text).to_owned()]);
            return;
        }
        self.sums.lock().unwrap_or_else(PoisonError::into_inner).add(event);
        self.next.report(event);
    }
}

impl Show for Tally {
    fn finished(&self, summary: &Summary<'_>) {
        self.next.finished(summary);
    }
}

impl Sums {
    fn add(&mut self, event: &Event<'_>) {
        match event {
            Event::Resolved { bytes, .. } => self.bytes_total = *bytes,
            Event::Planned(plans) => self.bytes_total = plans.iter().map(|plan| plan.bytes_total).sum(),
            Event::Progress(progress) => {
                grow(&mut self.received, progress.path, progress.received);
                grow(&mut self.copied, progress.path, progress.copied);
            }
            Event::Published(outcome) => {
                grow(&mut self.received, &outcome.path, outcome.bytes_fetched);
                grow(&mut self.copied, &outcome.path, outcome.bytes_copied);
            }
            Event::Retrying { .. } => self.retries += 1,
            _ => {}
        }
    }
}

/// Counts only grow, whatever order events arrive in.
fn grow(counts: &mut HashMap<RepoPath, u64>, path: &RepoPath, bytes: u64) {
    let known = counts.entry(path.clone()).or_default();
    *known = bytes.max(*known);
}

#[cfg(test)]
mod tests {
    use super::super::Style;
    use super::super::fixture::{self, path};
    use super::*;
    use crate::report::Progress;

    /// A failed run has no outcome to sum up: what it received is known from its events.
    #[test]
    fn what_a_run_received_is_known_although_it_failed() {
        let tally = Tally::new(Style::Silent.on_stderr());
        let cause = std::io::Error::other("broken wire");
        let progress = |path, received| Progress {
            path,
            size: 1_000,
            on_disk: received,
            hashed: 0,
            received,
            copied: 0,
            connections: 1,
        };
        let (first, second) = (path("a"), path("b"));
        tally.report(&Event::Planned(&[&fixture::plan(2)]));
        for (path, received) in [(&first, 100), (&first, 300), (&second, 50)] {
            tally.report(&Event::Progress(&progress(path, received)));
        }
        let delay = std::time::Duration::ZERO;
        tally.report(&Event::Retrying { what: "a", cause: &cause, delay, attempt: 1 });
        let expected = Totals { bytes_total: 2_000_000_000, bytes_fetched: 350, bytes_copied: 0, retries: 1 };
        assert_eq!(tally.totals(), expected);
    }
}
