//! The one place where an HTTP client is built, and what can go wrong with an exchange.

mod dns;
mod redact;
mod redirect;
mod roots;
mod waiting;
mod watchdog;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{CONTENT_ENCODING, HeaderMap, HeaderValue};
use reqwest::{ClientBuilder, Response, Url};

use crate::error::{Error, Failure};
use crate::words::{chain, host};

pub(crate) use redirect::Redirects;
pub use redirect::redirect_target;
pub use reqwest::Client;
pub use waiting::ordered_wait;
pub use watchdog::Watchdog;

/// Time for TCP and TLS to the server or proxy.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
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
    /// `SSL_CERT_DIR`: a directory of PEM files.
    pub dir: Option<PathBuf>,
}

/// Builds the client: HTTP/1.1, no redirects of its own (the origin of each hop decides about the
/// token), no content decoding, proxies from `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`.
pub fn client(extra: &ExtraRoots) -> Result<Client, Error> {
    build(builder(roots::load(extra)?)?)
}

/// Builds a client that trusts one authority alone and uses no proxy: for a cluster's API server.
pub fn private_client(authority: &[u8]) -> Result<Client, Error> {
    build(builder(roots::only(authority)?)?.no_proxy())
}

fn builder(roots: rustls::RootCertStore) -> Result<ClientBuilder, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|why| Error::Internal(format!("TLS setup: {why}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Client::builder()
        .tls_backend_preconfigured(tls)
        .dns_resolver(dns::Resolver::default())
        .user_agent(concat!("modelfetch/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_keepalive(Duration::from_secs(30))
        .http1_only())
}

fn build(builder: ClientBuilder) -> Result<Client, Error> {
    builder.build().map_err(|why| Error::Internal(format!("HTTP client setup: {}", chain(&why))))
}

/// Of a request to `url` that brought no answer.
pub(crate) fn transport(url: &Url, cause: reqwest::Error) -> Failure {
    let is_permanent = causes(&cause).any(is_permanent);
    Failure::Transport { host: host(url), is_permanent, cause: cause.without_url().into() }
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
    let status = response.status();
    let code = header("x-error-code");
    let request_id = ["x-request-id", "x-amzn-trace-id", "x-amz-cf-id"].into_iter().find_map(header);
    let wait =
        matches!(status.as_u16(), 429 | 503).then(|| waiting::ordered_wait(response.headers())).flatten();
    let message = match header("x-error-message") {
        Some(message) => Some(message),
        None => excerpt(response).await,
    };
    Failure::Status {
        host: host(url),
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

/// Whether the same exchange would fail in the same way: a certificate does not become valid, and a name that
/// stands for an address nobody may be sent to is set up that way.
fn is_permanent(cause: &(dyn std::error::Error + 'static)) -> bool {
    matches!(cause.downcast_ref(), Some(rustls::Error::InvalidCertificate(_)))
        || cause.downcast_ref::<dns::LinkLocal>().is_some()
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
    let words = json_words(body).unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
    redact::redact(&printable(&words))
}

/// What a JSON error says in words: `error` from the Hub, `message` from Kubernetes.
fn json_words(body: &[u8]) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(body).ok()?;
    ["message", "error"].into_iter().find_map(|key| value.get(key)?.as_str().map(str::to_owned))
}

fn printable(text: &str) -> String {
    let words: Vec<_> =
        text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()).collect();
    words.join(" ").chars().take(ERROR_TEXT_MAX).collect()
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
        for (cause, permanent) in [
            (boxed(Box::new(certificate)), true),
            (boxed(Box::new(dns::LinkLocal)), true),
            (boxed(Box::new(boxed(Box::new(dns::LinkLocal)))), true),
            (boxed(Box::new(handshake)), false),
            (std::io::ErrorKind::ConnectionReset.into(), false),
        ] {
            assert_eq!(causes(&cause).any(is_permanent), permanent, "{cause}");
        }
        for (failure, permanent) in [(wrong(&url, "half"), false), (misconfigured(&url, "a circle"), true)] {
            assert_eq!(failure.is_transient(), !permanent, "{failure}");
            assert!(!failure.to_string().contains("secret"));
        }
    }
}
