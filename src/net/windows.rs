//! How many requests a server still grants, so that nobody is asked in vain.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use reqwest::Url;
use reqwest::header::HeaderMap;
use tokio::time::Instant;

use super::waiting::{Granted, granted};
use crate::error::Failure;
use crate::words::host;

/// A server that counts in longer windows than the Hub's five minutes is asked all the same.
const WINDOW_MAX: Duration = Duration::from_mins(10);

/// The windows of requests that servers have shown (`RateLimit`), of which nothing is left.
///
/// The Hub counts by address and in windows of five minutes, what lies below `/api/` apart from the rest, and a request
/// that it refuses counts as well: who waits for the next window is served sooner than who asks again.
#[derive(Debug, Default)]
pub struct Windows {
    spent: Mutex<HashMap<(String, bool), Spent>>,
}

#[derive(Debug)]
struct Spent {
    until: Instant,
    /// The window was waited for, and nothing was left of the next one either: that header means something else.
    in_vain: bool,
}

impl Windows {
    /// Whether a request may be sent to `url` now; else the failure says how long to wait.
    pub(crate) fn admit(&self, url: &Url) -> Result<(), Failure> {
        let now = Instant::now();
        match self.lock().get(&bucket(url)) {
            Some(spent) if !spent.in_vain && spent.until > now => {
                Err(Failure::Spent { host: host(url), wait: spent.until - now })
            }
            _ => Ok(()),
        }
    }

    /// Notes what the answer of `url` says.
    pub(crate) fn note(&self, url: &Url, headers: &HeaderMap) {
        let Some(Granted { left, reset }) = granted(headers) else { return };
        let (now, bucket) = (Instant::now(), bucket(url));
        let mut spent = self.lock();
        if left > 0 {
            spent.retain(|known, spent| *known != bucket || spent.in_vain);
            return;
        }
        let until = if reset > WINDOW_MAX { now } else { now + reset };
        let in_vain = spent.get(&bucket).is_some_and(|before| before.in_vain || before.until <= now);
        spent.insert(bucket, Spent { until, in_vain });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(String, bool), Spent>> {
        self.spent.lock().expect("nothing panics while it holds the windows")
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
