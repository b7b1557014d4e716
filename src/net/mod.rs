//! The one place where an HTTP client is built, and what can go wrong with an exchange.

mod dns;
mod redact;
mod roots;
mod waiting;
mod watchdog;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{CONTENT_ENCODING, HeaderMap, HeaderValue};
use reqwest::{ClientBuilder, Response, Url};

use crate::error::{Error, Failure};
use crate::request::Token;
use crate::words::{chain, host};

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
    let is_permanent = is_certificate_error(&cause);
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

/// The `Authorization` header, marked so that the HTTP stack does not print it either.
pub(crate) fn authorization(token: &Token) -> HeaderValue {
    let mut header = HeaderValue::from_str(&format!("Bearer {}", token.expose()))
        .expect("a token holds only visible ASCII");
    header.set_sensitive(true);
    header
}

fn is_certificate_error(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if matches!(error.downcast_ref(), Some(rustls::Error::InvalidCertificate(_))) {
            return true;
        }
        // An io::Error shows its inner error's source, not the inner error itself.
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        cause = match inner {
            Some(inner) => Some(inner as &(dyn std::error::Error + 'static)),
            None => error.source(),
        };
    }
    false
}

/// A header as text with printable characters only: it may end up in a terminal.
pub fn text_header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers
        .get(name)
        .map(|value| printable(&String::from_utf8_lossy(value.as_bytes())))
        .filter(|text| !text.is_empty())
}

/// Bytes are wanted as they are, which every request says.
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
