//! How long each host is waited for before it begins to answer.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use reqwest::Url;
use tokio::time::Instant;

use crate::error::Failure;
use crate::words::host;

/// How many times the usual time a host gets: at first, after one time-out, and after more of them in a row.
const STEPS: [u32; 3] = [1, 3, 12];

/// What the hosts of a run have shown of the time to their first byte.
///
/// A cache that fetches a file before it passes it on begins after seconds or minutes, and from zero for each client
/// that has left too soon. So a host that was late is waited for longer; once bytes flow, silence means what it always
/// does.
#[derive(Debug)]
pub struct Patience {
    usual: Duration,
    most: Duration,
    hosts: Mutex<HashMap<String, Shown>>,
}

#[derive(Debug, Default)]
struct Shown {
    /// Time-outs in a row.
    late: usize,
    /// The longest time to a first byte.
    longest: Duration,
}

impl Patience {
    /// Waits for the `usual` time at first, and never longer than for `most`, unless that is less.
    pub fn new(usual: Duration, most: Duration) -> Self {
        Self { usual, most: most.max(usual), hosts: Mutex::default() }
    }

    /// How long nobody waits in vain.
    pub fn usual(&self) -> Duration {
        self.usual
    }

    /// Waits for what the host of `url` has to say, as long as it may take. `peer` names it for the failure.
    pub(crate) async fn wait<T>(
        &self,
        url: &Url,
        peer: impl FnOnce() -> String,
        answer: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let (late, limit) = self.limit(url);
        if let Ok(answer) = tokio::time::timeout(limit, answer).await {
            return answer;
        }
        let mut hosts = self.lock();
        let shown = hosts.entry(host(url)).or_default();
        // What several have waited for at the same time counts once.
        shown.late = shown.late.max(late + 1);
        Err(Failure::Stalled { host: peer(), waited: limit })
    }

    /// Notes that a host has begun to answer what it was `asked` then.
    pub(crate) fn began(&self, url: &Url, asked: Instant) {
        let mut hosts = self.lock();
        let shown = hosts.entry(host(url)).or_default();
        shown.late = 0;
        shown.longest = shown.longest.max(asked.elapsed());
    }

    /// Whether a host has kept somebody waiting beyond the usual time; unknown of whom nothing was heard yet.
    pub(crate) fn was_late(&self, url: &Url) -> Option<bool> {
        self.lock().get(&host(url)).map(|shown| shown.late > 0 || shown.longest > self.usual)
    }

    fn limit(&self, url: &Url) -> (usize, Duration) {
        let hosts = self.lock();
        let Some(Shown { late, longest }) = hosts.get(&host(url)) else { return (0, self.usual) };
        let step = STEPS[(*late).min(STEPS.len() - 1)];
        (*late, (self.usual * step).max(*longest * 2).min(self.most))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Shown>> {
        self.hosts.lock().expect("nothing panics while it holds what was shown")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn url(host: &str) -> Url {
        format!("https://{host}/x").parse().expect("a URL")
    }

    /// Seconds waited for a host that says nothing.
    async fn in_vain(patience: &Patience, host: &str) -> u64 {
        let silence = std::future::pending::<Result<(), Failure>>();
        match patience.wait(&url(host), || host.into(), silence).await {
            Err(Failure::Stalled { waited, .. }) => waited.as_secs(),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_late_is_waited_for_longer_and_nobody_else() {
        let patience = Patience::new(10 * SECOND, 300 * SECOND);
        for waited in [10, 30, 120, 120] {
            assert_eq!(in_vain(&patience, "cache").await, waited);
        }
        assert_eq!(["cache", "cdn"].map(|host| patience.was_late(&url(host))), [Some(true), None]);
        assert_eq!(in_vain(&patience, "cdn").await, 10);
    }

    #[tokio::test(start_paused = true)]
    async fn many_who_wait_in_vain_together_have_learnt_it_once() {
        let patience = Patience::new(10 * SECOND, 300 * SECOND);
        futures_util::future::join_all((0..4).map(|_| in_vain(&patience, "cache"))).await;
        assert_eq!(in_vain(&patience, "cache").await, 30);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_ends_what_was_feared_and_shows_what_to_expect() {
        let patience = Patience::new(10 * SECOND, 300 * SECOND);
        in_vain(&patience, "cache").await;
        let asked = Instant::now();
        tokio::time::sleep(13 * SECOND).await;
        patience.began(&url("cache"), asked);
        assert_eq!(in_vain(&patience, "cache").await, 26, "twice the longest");
        patience.began(&url("cdn"), Instant::now());
        in_vain(&patience, "cdn").await;
        patience.began(&url("cdn"), Instant::now());
        assert_eq!(patience.was_late(&url("cdn")), Some(false));
        assert_eq!(in_vain(&patience, "cdn").await, 10);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_longer_than_for_the_most() {
        let patience = Patience::new(2 * SECOND, 5 * SECOND);
        for waited in [2, 5, 5] {
            assert_eq!(in_vain(&patience, "cache").await, waited);
        }
        assert_eq!(in_vain(&Patience::new(9 * SECOND, SECOND), "cache").await, 9);
    }
}
