//! How long a server asks to wait.

use std::time::{Duration, SystemTime};

use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

/// How long the server asks to wait: the `RateLimit` header when nothing is left (`t`, seconds to
/// the reset, plus one; `huggingface_hub` `utils/_http.py`), else `Retry-After` as seconds or date.
pub fn ordered_wait(headers: &HeaderMap) -> Option<Duration> {
    granted(headers)
        .filter(|granted| granted.left == 0)
        .map(|granted| granted.reset)
        .or_else(|| retry_after(headers))
}

/// What is left of a window of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Granted {
    /// Requests that will still be answered.
    pub(super) left: u64,
    /// Until the next window has begun for certain.
    pub(super) reset: Duration,
}

/// The `RateLimit` header, as the Hub writes it: `"resolvers";r=<left>;t=<seconds to the reset>`.
pub(super) fn granted(headers: &HeaderMap) -> Option<Granted> {
    let [left, seconds] = parameters(headers, "ratelimit", ["r", "t"])?;
    Some(Granted { left, reset: Duration::from_secs(seconds.saturating_add(1)) })
}

/// How many requests a server answers in how long a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Quota {
    pub(super) requests: u64,
    pub(super) window: Duration,
}

/// The `RateLimit-Policy` header, as the Hub writes it: `"fixed window";"resolvers";q=<requests>;w=<seconds>`.
pub(super) fn quota(headers: &HeaderMap) -> Option<Quota> {
    let [requests, seconds] = parameters(headers, "ratelimit-policy", ["q", "w"])?;
    (requests > 0).then_some(Quota { requests, window: Duration::from_secs(seconds) })
}

fn parameters(headers: &HeaderMap, header: &str, [first, second]: [&str; 2]) -> Option<[u64; 2]> {
    let text = headers.get(header)?.to_str().ok()?;
    let value = |name: &str| {
        text.split([';', ','])
            .find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('=')?.trim().parse().ok())
    };
    Some([value(first)?, value(second)?])
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
}
