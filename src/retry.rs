//! When to try again, after how long, and when to stop.
//!
//! Delays grow exponentially with full jitter; a server's own wish (`Retry-After`, `RateLimit`) wins.
//! There is one time budget per thing fetched, shared by all its connections, and every byte that
//! arrives refills it: a slow link may take all day, a dead one ends the run.

use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

use crate::error::Error;
use crate::http::HttpFailure;

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
        failure: HttpFailure,
        backoff: &mut Backoff,
        what: &str,
    ) -> Result<(Duration, HttpFailure), Error> {
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

/// How long the server asks to wait: the `RateLimit` header when nothing is left (`t`, seconds to
/// the reset, plus one; `huggingface_hub` `utils/_http.py`), else `Retry-After` as seconds or date.
pub fn ordered_wait(headers: &HeaderMap) -> Option<Duration> {
    rate_limit_reset(headers).or_else(|| retry_after(headers))
}

fn rate_limit_reset(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("ratelimit")?.to_str().ok()?;
    let field = |name: &str| {
        text.split([';', ','])
            .find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('=')?.trim().parse::<u64>().ok())
    };
    (field("r")? == 0).then(|| field("t").map(|seconds| Duration::from_secs(seconds.saturating_add(1))))?
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let date = |text: &str| httpdate::parse_http_date(text).ok();
    let until = date(text)?;
    // The server's clock, so that a wrong local one does no harm.
    let now = headers.get(DATE).and_then(|now| date(now.to_str().ok()?)).unwrap_or_else(SystemTime::now);
    Some(until.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().expect("name"), value.parse().expect("value")))
            .collect()
    }

    #[test]
    fn waits_as_long_as_the_server_asks_in_any_form() {
        let wait =
            |pairs: &[(&'static str, &'static str)]| ordered_wait(&headers(pairs)).map(|wait| wait.as_secs());
        assert_eq!(wait(&[("retry-after", "7")]), Some(7));
        assert_eq!(
            wait(&[
                ("retry-after", "Wed, 21 Oct 2015 07:28:30 GMT"),
                ("date", "Wed, 21 Oct 2015 07:28:00 GMT")
            ]),
            Some(30)
        );
        assert_eq!(wait(&[("retry-after", "Wed, 21 Oct 2015 07:28:30 GMT")]), Some(0));
        assert_eq!(wait(&[("ratelimit", "\"resolvers\";r=0;t=12"), ("retry-after", "99")]), Some(13));
        assert_eq!(wait(&[("ratelimit", "\"resolvers\";r=5;t=12")]), None);
        assert_eq!(wait(&[("retry-after", "99999999999999999999999")]), Some(u64::MAX));
        assert_eq!(wait(&[("retry-after", "soon")]), None);
        assert_eq!(wait(&[("ratelimit", "\"api\";r=0;t=18446744073709551615")]), Some(u64::MAX));
    }

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
