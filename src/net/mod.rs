//! The one place where an HTTP client is built, and what can go wrong with an exchange.

mod certificate;
mod client;
pub mod der;
mod dns;
mod patience;
mod redact;
mod redirect;
mod remedy;
mod roots;
mod tunnel;
mod waiting;
mod watchdog;
mod windows;

use std::path::PathBuf;
use std::time::Duration;

use reqwest::header::{CONTENT_ENCODING, HeaderMap, HeaderValue};
use reqwest::{Response, Url};

use crate::error::{Failure, WANTS_LOGIN};
use crate::words::host;
use remedy::Remedy;

pub use certificate::Certificate;
pub use client::{Client, client, private_client};
pub(crate) use client::{address, peer};
pub use patience::Patience;
pub use redirect::redirect_target;
pub(crate) use redirect::{Redirects, lead};
pub use waiting::ordered_wait;
pub use watchdog::Watchdog;
pub use windows::Windows;

/// As much of an error body as is read, and as is worth showing.
const ERROR_BODY_MAX: usize = 4096;
const ERROR_TEXT_MAX: usize = 600;
/// Time for an error body.
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(2);

/// Certificate authorities beside the built-in ones.
#[derive(Debug, Clone, Default)]
pub struct ExtraRoots {
    /// `SSL_CERT_FILE`: a PEM bundle.
    pub file: Option<PathBuf>,
    /// `SSL_CERT_DIR`: directories of PEM files.
    pub dirs: Vec<PathBuf>,
}

/// Of a request to `peer` that brought no answer, or of an answer that broke off.
pub(crate) fn transport(peer: impl Into<String>, cause: reqwest::Error) -> Failure {
    let Remedy { is_permanent, advice } = causes(&cause).find_map(Remedy::of).unwrap_or_default();
    Failure::Transport { host: peer.into(), is_permanent, advice, cause: cause.without_url().into() }
}

/// Of an answer that is not what was asked for.
pub(crate) fn wrong(url: &Url, why: impl Into<String>) -> Failure {
    Failure::Wrong { host: host(url), why: why.into() }
}

/// Of an answer that will not be what was asked for however often it is asked.
pub(crate) fn misconfigured(url: &Url, why: impl Into<String>) -> Failure {
    Failure::Misconfigured { host: host(url), why: why.into() }
}

/// Of an answer with a bad status; reads a little of the body for the message.
pub(crate) async fn bad_status(url: &Url, response: Response) -> Failure {
    let header = |name: &str| text_header(response.headers(), name).map(|text| redact::redact(&text));
    let (host, status) = (peer(url, &response), response.status());
    let wants_login = status.as_u16() == 401
        && text_header(response.headers(), "www-authenticate")
            .is_some_and(|scheme| scheme.to_ascii_lowercase().starts_with("basic"));
    let code = header("x-error-code").or_else(|| wants_login.then(|| WANTS_LOGIN.to_owned()));
    let request_id = ["x-request-id", "x-amzn-trace-id", "x-amz-cf-id"].into_iter().find_map(header);
    let wait =
        matches!(status.as_u16(), 429 | 503).then(|| waiting::ordered_wait(response.headers())).flatten();
    let message = match header("x-error-message") {
        Some(message) => Some(message),
        None => excerpt(response).await,
    };
    Failure::Status {
        host,
        status: status.as_u16(),
        phrase: status.canonical_reason().unwrap_or("(no standard status)"),
        message,
        code,
        request_id,
        wait,
    }
}

/// The `Authorization` header, marked so that the HTTP stack does not print it either; `None` for a token
/// that no header can carry.
pub(crate) fn authorization(token: &str) -> Option<HeaderValue> {
    let mut header = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
    header.set_sensitive(true);
    Some(header)
}

/// An error and what it comes from.
fn causes<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| {
        // An io::Error shows its inner error's source, not the inner error itself.
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        inner.map(|inner| inner as &(dyn std::error::Error + 'static)).or_else(|| error.source())
    })
}

/// A header as text with printable characters only: it may end up in a terminal.
pub fn text_header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers
        .get(name)
        .map(|value| printable(&String::from_utf8_lossy(value.as_bytes())))
        .filter(|text| !text.is_empty())
}

/// Bytes are wanted as they are, which every request says. One server of several may not heed it, so the
/// failure is a passing one.
pub fn check_encoding(url: &Url, headers: &HeaderMap) -> Result<(), Failure> {
    match text_header(headers, CONTENT_ENCODING.as_str()).filter(|encoding| encoding != "identity") {
        Some(encoding) => {
            let why = format!("the body is encoded as {encoding} although that was refused");
            Err(wrong(url, why))
        }
        None => Ok(()),
    }
}

/// The first words of a body, without mark-up, for an error message.
async fn excerpt(mut response: Response) -> Option<String> {
    let mut body = Vec::new();
    let enough = async {
        while body.len() < ERROR_BODY_MAX
            && let Ok(Some(chunk)) = response.chunk().await
        {
            body.extend_from_slice(&chunk[..chunk.len().min(ERROR_BODY_MAX - body.len())]);
        }
    };
    // What has come by then has to do.
    let _ = tokio::time::timeout(ERROR_BODY_TIMEOUT, enough).await;
    Some(error_words(&body)).filter(|text| !text.is_empty())
}

/// What the body of an error says in words, fit for a terminal and without secrets.
pub fn error_words(body: &[u8]) -> String {
    let words = json_words(body).unwrap_or_else(|| cut(&String::from_utf8_lossy(body), ERROR_BODY_MAX));
    redact::redact(&printable(&words))
}

/// What a JSON error says in words: `error` from the Hub, `message` from Kubernetes, and a code with its description from
/// who gives tokens (RFC 6749, section 5.2).
fn json_words(body: &[u8]) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(body).ok()?;
    // A registry's (OCI distribution specification, "Error codes").
    if let Some(first) = value.pointer("/errors/0") {
        let words = ["code", "message"].into_iter().filter_map(|key| first[key].as_str());
        return Some(words.collect::<Vec<_>>().join(": ")).filter(|words| !words.is_empty());
    }
    let text = |key: &str| value.get(key)?.as_str();
    match (text("message"), text("error"), text("error_description")) {
        (Some(message), _, _) => Some(message.to_owned()),
        (None, Some(error), Some(description)) => Some(format!("{error}: {description}")),
        (None, error, None) => error.map(str::to_owned),
        (None, None, description) => description.map(str::to_owned),
    }
}

fn printable(text: &str) -> String {
    let words: Vec<_> =
        text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()).collect();
    cut(&words.join(" "), ERROR_TEXT_MAX)
}

/// The start of a text. Where it is cut there may be half a secret, which nobody could tell from other words.
fn cut(text: &str, most: usize) -> String {
    if text.len() < most {
        return text.to_owned();
    }
    let text = &text[..text.floor_char_boundary(most)];
    text.trim_end_matches(|c: char| c.is_ascii_alphanumeric() || "-._~+/=%".contains(c)).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_trouble_is_passing_or_permanent() {
        let url: Url = "https://hub.example/x?secret=1".parse().expect("a URL");
        let boxed = |cause: Box<dyn std::error::Error + Send + Sync>| std::io::Error::other(cause);
        let certificate = rustls::Error::InvalidCertificate(rustls::CertificateError::Expired);
        let handshake = rustls::Error::HandshakeNotComplete;
        let link = || dns::Trouble::LinkLocal("x".into());
        for (cause, permanent) in [
            (boxed(Box::new(certificate)), true),
            (boxed(Box::new(link())), true),
            (boxed(Box::new(boxed(Box::new(link())))), true),
            (boxed(Box::new(dns::Trouble::Silent("x".into()))), false),
            (boxed(Box::new(handshake)), false),
            (std::io::ErrorKind::ConnectionReset.into(), false),
        ] {
            let remedy = causes(&cause).find_map(Remedy::of).unwrap_or_default();
            assert_eq!(remedy.is_permanent, permanent, "{cause}");
        }
        for (failure, permanent) in [(wrong(&url, "half"), false), (misconfigured(&url, "a circle"), true)] {
            assert_eq!(failure.is_transient(), !permanent, "{failure}");
            assert!(!failure.to_string().contains("secret"));
        }
    }
}
