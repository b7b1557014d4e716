//! How many requests a server still grants, so that nobody is asked in vain.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use reqwest::Url;
use reqwest::header::HeaderMap;
use tokio::time::Instant;

use super::waiting::{Granted, Quota, granted, quota};
use crate::error::Failure;
use crate::words::host;

/// A server that counts in longer windows than the Hub's five minutes is asked all the same.
const WINDOW_MAX: Duration = Duration::from_mins(10);

/// The windows of requests that servers have shown (`RateLimit`).
///
/// The Hub counts by address and in windows of five minutes, what lies below `/api/` apart from the rest, and a request
/// that it refuses counts as well: who waits for the next window is served sooner than who asks again.
#[derive(Debug, Default)]
pub struct Windows {
    seen: Mutex<HashMap<(String, bool), Window>>,
}

#[derive(Debug)]
struct Window {
    left: u64,
    until: Instant,
    /// It was waited for, and nothing was left of the next one either: that header means something else.
    in_vain: bool,
    quota: Option<Quota>,
}

impl Window {
    fn is_spent(&self, now: Instant) -> bool {
        self.left == 0 && !self.in_vain && self.until > now
    }
}

impl Windows {
    /// Whether a request may be sent to `url` now; else the failure says how long to wait.
    pub(crate) fn admit(&self, url: &Url) -> Result<(), Failure> {
        let now = Instant::now();
        match self.lock().get(&bucket(url)) {
            Some(window) if window.is_spent(now) => {
                Err(Failure::Spent { host: host(url), wait: window.until - now })
            }
            _ => Ok(()),
        }
    }

    /// How long so many `requests` to places like `url` have to last, if the server has told.
    pub(crate) fn at_least(&self, url: &Url, requests: u64) -> Option<Duration> {
        let seen = self.lock();
        let window = seen.get(&bucket(url)).filter(|window| !window.in_vain)?;
        let quota = window.quota?;
        let Some(later) = requests.checked_sub(window.left).filter(|later| *later > 0) else {
            return Some(Duration::ZERO);
        };
        let whole = u32::try_from((later - 1) / quota.requests).unwrap_or(u32::MAX);
        Some(window.until.saturating_duration_since(Instant::now()) + quota.window.saturating_mul(whole))
    }

    /// Notes what the answer of `url` says.
    pub(crate) fn note(&self, url: &Url, headers: &HeaderMap) {
        let Some(Granted { left, reset }) = granted(headers) else { return };
        let now = Instant::now();
        let until = if reset > WINDOW_MAX { now } else { now + reset };
        let mut seen = self.lock();
        let before = seen.get(&bucket(url));
        let in_vain = before
            .is_some_and(|before| before.in_vain || left == 0 && before.left == 0 && before.until <= now);
        seen.insert(bucket(url), Window { left, until, in_vain, quota: quota(headers) });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(String, bool), Window>> {
        self.seen.lock().expect("nothing panics while it holds the windows")
    }
}

/// What counts together: what lies below `/api/`, but for the places of small files, and the rest.
fn bucket(url: &Url) -> (String, bool) {
    let is_api = url.path().starts_with("/api/") && !url.path().starts_with("/api/resolve-cache/");
    (host(url), is_api)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(path: &str) -> Url {
        format!("https://hub.example{path}").parse().expect("a URL")
    }

    fn answer(windows: &Windows, path: &str, left: u64, seconds: u64) {
        let mut headers = HeaderMap::new();
        headers.insert("ratelimit", format!("\"x\";r={left};t={seconds}").parse().expect("a value"));
        windows.note(&url(path), &headers);
    }

    /// Seconds that a request has to wait.
    fn wait(windows: &Windows, path: &str) -> u64 {
        windows
            .admit(&url(path))
            .err()
            .and_then(|spent| spent.ordered_wait())
            .unwrap_or(Duration::ZERO)
            .as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_asked_while_nothing_is_left_of_the_window() {
        let windows = Windows::default();
        answer(&windows, "/o/n/resolve/main/a", 1, 60);
        assert_eq!(wait(&windows, "/o/n/resolve/main/b"), 0);
        answer(&windows, "/o/n/resolve/main/b", 0, 59);
        assert_eq!(wait(&windows, "/o/n/resolve/main/c"), 60);
        assert_eq!(wait(&windows, "/api/resolve-cache/models/o/n/c"), 60);
        assert_eq!(wait(&windows, "/api/models/o/n"), 0, "counts apart");
        tokio::time::sleep(Duration::from_secs(61)).await;
        assert_eq!(wait(&windows, "/o/n/resolve/main/c"), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_that_many_requests_need_counts_whole_windows() {
        let windows = Windows::default();
        let place = url("/o/n/resolve/main/a");
        assert_eq!(windows.at_least(&place, 10_000), None, "nothing was told");
        let mut headers = HeaderMap::new();
        headers.insert("ratelimit", "\"resolvers\";r=2999;t=99".parse().expect("a value"));
        windows.note(&place, &headers);
        assert_eq!(windows.at_least(&place, 10_000), None, "how many there are in the next is not known");
        let policy = "\"fixed window\";\"resolvers\";q=3000;w=300";
        headers.insert("ratelimit-policy", policy.parse().expect("a value"));
        windows.note(&place, &headers);
        for (requests, seconds) in [(2999, 0), (3000, 100), (5999, 100), (6000, 400), (10_000, 700)] {
            assert_eq!(windows.at_least(&place, requests), Some(Duration::from_secs(seconds)), "{requests}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_whose_windows_are_all_empty_is_waited_for_once() {
        let windows = Windows::default();
        for seconds in [61, 0, 0] {
            answer(&windows, "/a", 0, 60);
            assert_eq!(wait(&windows, "/a"), seconds);
            tokio::time::sleep(Duration::from_secs(61)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_window_of_a_day_is_not_waited_for() {
        let windows = Windows::default();
        for seconds in [86_400, u64::MAX] {
            answer(&windows, "/a", 0, seconds);
            assert_eq!(wait(&windows, "/a"), 0);
        }
    }
}
