//! When to try again, after how long, and when to stop.
//!
//! Delays grow exponentially with full jitter; a server's own wish (`Retry-After`, `RateLimit`) wins.
//! There is one time budget per thing fetched, shared by all its connections, and every byte that
//! arrives refills it: a slow link may take all day, a dead one ends the run.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::error::{Error, Failure};
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

const DELAY_MIN: Duration = Duration::from_millis(500);
const DELAY_MAX: Duration = Duration::from_secs(30);
/// The Hub's windows are 5 minutes (protocol: rate limits); three of them are patience enough.
const ORDERED_WAIT_MAX: Duration = Duration::from_mins(15);

/// The delays of one connection or question; begins anew after a success.
#[derive(Debug)]
pub struct Backoff {
    delays: ExponentialBackoff,
    /// Failures since the last success.
    pub attempts: u32,
}

impl Default for Backoff {
    fn default() -> Self {
        let builder =
            ExponentialBuilder::new().with_min_delay(DELAY_MIN).with_max_delay(DELAY_MAX).without_max_times();
        Self { delays: builder.build(), attempts: 0 }
    }
}

impl Backoff {
    /// The next delay: uniform between zero and an exponentially growing bound.
    fn next_delay(&mut self) -> Duration {
        self.attempts += 1;
        self.delays.next().unwrap_or(DELAY_MAX).mul_f64(fastrand::f64())
    }

    /// Call it when something worked.
    pub fn reset(&mut self) {
        if self.attempts > 0 {
            *self = Self::default();
        }
    }
}

/// The time that failures may take, refilled by progress.
#[derive(Debug)]
pub struct Budget {
    give_up_after: Duration,
    deadline: Option<Instant>,
    state: Mutex<BudgetState>,
}

#[derive(Debug)]
struct BudgetState {
    last_progress: Instant,
    /// Pauses ordered by the server since the last progress; they do not count as failure.
    /// What several connections were told at the same time counts once.
    ordered: Duration,
    /// The end of the last ordered pause.
    paused_until: Instant,
}

impl Budget {
    /// A full budget. No pause beyond `deadline`, the end of the run, is begun.
    pub fn new(give_up_after: Duration, deadline: Option<Instant>) -> Self {
        let now = Instant::now();
        let state = BudgetState { last_progress: now, ordered: Duration::ZERO, paused_until: now };
        Self { give_up_after, deadline, state: Mutex::new(state) }
    }

    /// Fills it again.
    pub fn progressed(&self) {
        let mut state = self.lock();
        state.last_progress = Instant::now();
        state.ordered = Duration::ZERO;
    }

    /// How long to pause after `failure`, or the error that ends it. `what` names the operation
    /// for the error.
    pub fn pause_after(
        &self,
        failure: Failure,
        backoff: &mut Backoff,
        what: &str,
    ) -> Result<(Duration, Failure), Error> {
        if !failure.is_transient() {
            return Err(Error::Refused { what: what.into(), answer: Box::new(failure) });
        }
        let mut state = self.lock();
        // "At once" is no pause: a server that says nothing else must not be asked for ever.
        if let Some(wait) = failure.ordered_wait().filter(|wait| !wait.is_zero()) {
            backoff.attempts += 1;
            // A little later than asked, and not all clients at the same moment.
            let pause = wait.saturating_add(Duration::from_secs(1).mul_f64(fastrand::f64()));
            if !state.order(pause, self.deadline) {
                return Err(Error::RateLimited { host: failure.host().into(), wait });
            }
            return Ok((pause, failure));
        }
        let delay = backoff.next_delay();
        let elapsed = state.last_progress.elapsed().saturating_sub(state.ordered);
        if elapsed + delay > self.give_up_after {
            let attempts = backoff.attempts;
            return Err(Error::GaveUp { what: what.into(), attempts, elapsed, last: Box::new(failure) });
        }
        Ok((delay, failure))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BudgetState> {
        self.state.lock().expect("nothing panics while it holds the budget")
    }
}

impl BudgetState {
    /// Notes a pause that begins now; says whether it can be waited for.
    fn order(&mut self, wait: Duration, deadline: Option<Instant>) -> bool {
        let now = Instant::now();
        let Some(until) = now.checked_add(wait) else { return false };
        if deadline.is_some_and(|deadline| until > deadline) {
            return false;
        }
        self.ordered += until.saturating_duration_since(self.paused_until.max(now));
        self.paused_until = self.paused_until.max(until);
        self.ordered <= ORDERED_WAIT_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_jittered_grow_and_are_bounded() {
        let mut backoff = Backoff::default();
        let delays: Vec<_> = (0..200).map(|_| backoff.next_delay()).collect();
        assert!(delays[0] <= DELAY_MIN);
        assert!(delays.iter().all(|delay| *delay <= DELAY_MAX));
        assert!(delays[20..].iter().any(|delay| *delay > DELAY_MAX / 2));
        assert!(delays[20..].iter().any(|delay| *delay < DELAY_MAX / 2));
    }
}
