use std::time::Duration;

use crate::words::{Bytes, Span};

/// How many times more a server is asked whose answer is how it is set up.
const SETUP_REASKED: u32 = 2;

/// A failed exchange with whoever has the bytes or the facts. Never holds a URL's query or a header of ours.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A status that is no success.
    #[error("{host} answered {status} {phrase}{}{}", .message.as_ref().map(|text| format!(": {text}")).unwrap_or_default(), .request_id.as_ref().map(|id| format!(" (request id {id})")).unwrap_or_default())]
    Status {
        /// The server.
        host: String,
        /// Its answer.
        status: u16,
        /// What the standard calls that status.
        phrase: &'static str,
        /// `X-Error-Message`, or the start of the body.
        message: Option<String>,
        /// `X-Error-Code`.
        code: Option<String>,
        /// What the server's operator can look it up by.
        request_id: Option<String>,
        /// How long it asks to wait.
        wait: Option<Duration>,
    },
    /// No connection, TLS trouble, reset, garbage instead of HTTP.
    #[error("exchange with {host} failed")]
    Transport {
        /// The server.
        host: String,
        /// Asking again would fail in the same way: a certificate that will not become valid.
        is_permanent: bool,
        /// What to do about it, where that is known.
        advice: Option<&'static str>,
        /// The HTTP stack's error, without the URL.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Nothing, or next to nothing, arrived.
    #[error("no data from {host} for {}", Span(*.waited))]
    Stalled {
        /// The server.
        host: String,
        /// For how long.
        waited: Duration,
    },
    /// The body ended early.
    #[error("{host} ended the body {} early", Bytes(*.missing))]
    Truncated {
        /// The server.
        host: String,
        /// Bytes that did not come.
        missing: u64,
    },
    /// All requests that the server grants in some time are spent: it was not asked.
    #[error("{host} grants no more requests for {}", Span(*.wait))]
    Spent {
        /// The server.
        host: String,
        /// Until it grants some again.
        wait: Duration,
    },
    /// An answer that is not what was asked for; the next one may be.
    #[error("wrong answer from {host}: {why}")]
    Wrong {
        /// The server.
        host: String,
        /// What is wrong with it.
        why: String,
    },
    /// An answer that is not what was asked for, and will not be: it is how the server is set up.
    #[error("wrong answer from {host}: {why}")]
    Misconfigured {
        /// The server.
        host: String,
        /// What is wrong with it.
        why: String,
    },
}

/// The code of a 401 that asks for a user name and a password (RFC 7617), which no Hub does but a mirror may.
pub(crate) const WANTS_LOGIN: &str = "WWW-Authenticate: Basic";

/// What helps against a proxy that lets nobody in.
pub(crate) const PROXY_LOGIN: &str = "the proxy wants a user name and password, or other ones: write http://USER:PASSWORD@HOST:PORT into the proxy variable, with special characters as %5E for ^";

impl Failure {
    /// Whether the same request may work later (the set of `huggingface_hub` `utils/_http.py`, and every
    /// failure below HTTP but a permanent one).
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Status { status, .. } => matches!(status, 408 | 429 | 500 | 502 | 503 | 504 | 520..=529),
            Self::Transport { is_permanent, .. } => !is_permanent,
            Self::Stalled { .. } | Self::Truncated { .. } | Self::Spent { .. } | Self::Wrong { .. } => true,
            Self::Misconfigured { .. } => false,
        }
    }

    /// Whether it is worth asking again after so many failures in a row. One edge of many may be set up
    /// otherwise than the others: what asking again will hardly change is asked for a few times.
    pub fn is_worth_another_try(&self, failures_before: u32) -> bool {
        let may_be_one_edge = matches!(self, Self::Misconfigured { .. }) && failures_before < SETUP_REASKED;
        may_be_one_edge || self.is_transient()
    }

    /// What to do about it, where more is known than that it failed.
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Transport { advice, .. } => *advice,
            Self::Status { status: 407, .. } => Some(PROXY_LOGIN),
            Self::Status { code: Some(code), .. } if code == WANTS_LOGIN => Some(
                "the server wants a user name and password (WWW-Authenticate: Basic): write https://USER:PASSWORD@HOST as the endpoint, or a line for the host into ~/.netrc",
            ),
            _ => None,
        }
    }

    /// Whether somebody answered, and not for the time being: what he says now he will say again, or it is nothing
    /// that was asked for.
    pub fn is_an_answer(&self) -> bool {
        matches!(self, Self::Wrong { .. }) || !self.is_transient()
    }

    /// Whether a server refused for good without a word that a Hub would add (`X-Error-Code`, `X-Error-Message`): an
    /// edge that does not know the method, perhaps. A proxy that wants a password wants it for every method.
    pub fn is_wordless_refusal(&self) -> bool {
        matches!(self, Self::Status { status, message: None, code: None, .. } if *status != 407)
            && !self.is_transient()
    }

    /// The pause the server asked for.
    pub fn ordered_wait(&self) -> Option<Duration> {
        match self {
            Self::Status { wait, .. } => *wait,
            Self::Spent { wait, .. } => Some(*wait),
            _ => None,
        }
    }

    /// The server's host and port.
    pub fn host(&self) -> &str {
        match self {
            Self::Status { host, .. }
            | Self::Transport { host, .. }
            | Self::Stalled { host, .. }
            | Self::Truncated { host, .. }
            | Self::Spent { host, .. }
            | Self::Wrong { host, .. }
            | Self::Misconfigured { host, .. } => host,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    fn host() -> String {
        "hub.example".into()
    }

    fn status(status: u16) -> Failure {
        let (message, code, request_id, wait) = (None, None, None, None);
        Failure::Status { host: host(), status, phrase: "?", message, code, request_id, wait }
    }

    fn transport(is_permanent: bool) -> Failure {
        Failure::Transport {
            host: host(),
            is_permanent,
            advice: Some("name its authority in SSL_CERT_FILE"),
            cause: "no".into(),
        }
    }

    #[test]
    fn each_kind_is_passing_or_permanent() {
        for passing in [408, 429, 500, 502, 503, 504, 520, 522, 529].map(status) {
            assert!(passing.is_transient(), "{passing}");
        }
        for permanent in [304, 400, 401, 403, 404, 410, 418, 451, 501, 505].map(status) {
            assert!(!permanent.is_transient(), "{permanent}");
        }
        for (failure, is_transient) in [
            (transport(false), true),
            (transport(true), false),
            (Failure::Stalled { host: host(), waited: Duration::from_secs(10) }, true),
            (Failure::Truncated { host: host(), missing: 1 }, true),
            (Failure::Spent { host: host(), wait: Duration::from_secs(10) }, true),
            (Failure::Wrong { host: host(), why: "half".into() }, true),
            (Failure::Misconfigured { host: host(), why: "a circle".into() }, false),
        ] {
            assert_eq!(failure.is_transient(), is_transient, "{failure:?}");
            assert_eq!(failure.host(), "hub.example");
        }
    }

    #[test]
    fn a_hint_says_what_to_change_where_waiting_does_not_help() {
        for (failure, advice) in [
            (
                Failure::Misconfigured { host: host(), why: "a circle".into() },
                "check --endpoint, HF_ENDPOINT and the proxy",
            ),
            (transport(true), "SSL_CERT_FILE"),
            (status(418), "run again later"),
        ] {
            let refused = Error::Refused { what: "asking".into(), answer: Box::new(failure) };
            let hint = refused.hint().expect("a hint");
            assert!(hint.contains(advice), "{hint}");
            assert_eq!(refused.exit_number(), 30);
            assert!(advice == "run again later" || !hint.contains("later"), "{hint}");
        }
    }
}
