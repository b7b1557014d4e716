//! Questions to the Hub, with redirects, retries and failover between endpoints.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, ETAG, HeaderMap, LINK, LOCATION, RANGE,
};
use reqwest::{Client, Method, Response, Url};
use tracing::debug;
use url::Host;

use super::refusal;
use super::tree::{self, Entry};
use crate::content::Digest;
use crate::error::{Error, Failure};
use crate::net::{self, Watchdog, check_encoding, text_header};
use crate::report::{Event, Reporter};
use crate::request::{Commit, Endpoint, Endpoints, Limits, RepoId, RepoPath};
use crate::retry::{Backoff, Budget};
use crate::words::{Bytes, chain, host};

/// Redirects followed for one question (`huggingface_hub` `utils/_http.py`).
const REDIRECTS_MAX: usize = 20;
/// Time for one page of JSON.
const PAGE_TIMEOUT: Duration = Duration::from_mins(1);
/// A page lists at most 1,000 entries of a few hundred bytes each.
const PAGE_BYTES_MAX: usize = 8 << 20;
/// Pages and bytes of one listing.
const PAGES_MAX: usize = 1000;
const LISTING_BYTES_MAX: usize = 32 << 20;
/// Hosts that are the Hub beside the configured endpoints (`huggingface_hub` `constants.py`).
const HUB_ORIGINS: [&str; 3] = ["https://huggingface.co", "https://hub-ci.huggingface.co", "https://hf.co"];

/// Everything but what RFC 3986 calls unreserved.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
/// The same, with the `/` between folders.
const PATH: &AsciiSet = &COMPONENT.remove(b'/');

/// What `HEAD /{repo}/resolve/{revision}/{path}` tells.
#[derive(Debug, Clone)]
pub struct Head {
    /// `X-Repo-Commit`.
    pub commit: Commit,
    /// `X-Linked-Etag` or `ETag`, if it is a digest.
    pub digest: Option<Digest>,
    /// `X-Linked-Size` or `Content-Length`, in bytes.
    pub size: u64,
    /// Where the bytes are: a signed CDN URL, or the Hub itself for small files.
    pub url: Url,
}

impl Head {
    /// What the headers of a single answer tell.
    pub fn from_headers(headers: &HeaderMap, url: Url) -> Result<Self, String> {
        let mut facts = Facts::default();
        facts.note(headers, true);
        facts.head(url)
    }
}

/// A client of the endpoints of one request.
pub struct Hub {
    http: Client,
    endpoints: Endpoints,
    stall_timeout: Duration,
    give_up_after: Duration,
    deadline: Option<Instant>,
    reporter: Arc<dyn Reporter>,
}

/// Why one attempt at one endpoint brought nothing.
enum Attempt {
    /// Worth another try, here or at the next endpoint.
    Failed(Failure),
    /// This endpoint is no use, the next one may be.
    Useless(Error),
    /// The answer, and it is no.
    Final(Error),
}

impl From<Failure> for Attempt {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Hub {
    /// Answers that stall are asked for again; failures are retried until nothing worked for the
    /// time of `limits`.
    pub fn new(
        http: Client,
        endpoints: Endpoints,
        limits: &Limits,
        deadline: Option<Instant>,
        reporter: Arc<dyn Reporter>,
    ) -> Self {
        let Limits { stall_timeout, give_up_after, .. } = *limits;
        Self { http, endpoints, stall_timeout, give_up_after, deadline, reporter }
    }

    /// Commit, digest, size and location of one file.
    pub async fn head(&self, repo: &RepoId, revision: &str, path: &RepoPath) -> Result<Head, Error> {
        self.head_from(0, repo, revision, path).await
    }

    /// Number of endpoints.
    pub fn endpoints(&self) -> usize {
        self.endpoints.iter().count()
    }

    /// [`Hub::head`], beginning with another endpoint than the first.
    pub async fn head_from(
        &self,
        first: usize,
        repo: &RepoId,
        revision: &str,
        path: &RepoPath,
    ) -> Result<Head, Error> {
        let place = format!(
            "{}/resolve/{}/{}",
            repo.url_path(),
            utf8_percent_encode(revision, COMPONENT),
            utf8_percent_encode(path.as_str(), PATH)
        );
        let subject = refusal::Subject { repo, revision, path: Some(path), token: self.endpoints.token() };
        self.ask(first, path.as_str(), |endpoint| Box::pin(self.head_at(endpoint, &place, &subject))).await
    }

    /// The commit a revision is right now.
    pub async fn commit(&self, repo: &RepoId, revision: &str) -> Result<Commit, Error> {
        let place = format!("{}/revision/{}", api_path(repo), utf8_percent_encode(revision, COMPONENT));
        let subject = refusal::Subject { repo, revision, path: None, token: self.endpoints.token() };
        let what = format!("the commit of {revision}");
        self.ask(0, &what, |endpoint| Box::pin(self.commit_at(endpoint, &place, &subject))).await
    }

    /// All files of a commit.
    pub async fn tree(&self, repo: &RepoId, commit: &Commit) -> Result<Vec<Entry>, Error> {
        let revision = commit.to_string();
        let place = format!("{}/tree/{revision}?recursive=true", api_path(repo));
        let subject =
            refusal::Subject { repo, revision: &revision, path: None, token: self.endpoints.token() };
        let what = "the list of files";
        self.ask(0, what, |endpoint| Box::pin(self.tree_at(endpoint, &place, &subject))).await
    }

    /// One ranged GET, with the redirects a CDN may send. `range` is inclusive, in bytes; each hop
    /// has `timeout` for its headers.
    pub async fn get(
        &self,
        url: &Url,
        range: Option<(u64, u64)>,
        timeout: Duration,
    ) -> Result<Response, Failure> {
        let mut url = url.clone();
        for _ in 0..REDIRECTS_MAX {
            let response = self.send(Method::GET, &url, range, timeout).await?;
            if !response.status().is_redirection() {
                return Ok(response);
            }
            url = redirect_target(&url, response.headers())?;
        }
        Err(net::wrong(&url, format!("more than {REDIRECTS_MAX} redirects")))
    }

    /// Asks one endpoint after the other, again and again, until one answers or the budget is spent.
    async fn ask<'a, T>(
        &'a self,
        first: usize,
        what: &str,
        attempt: impl Fn(&'a Endpoint) -> BoxFuture<'a, Result<T, Attempt>> + Sync,
    ) -> Result<T, Error> {
        let budget = Budget::new(self.give_up_after, self.deadline);
        let mut backoff = Backoff::default();
        loop {
            let mut failed = None;
            let mut useless = None;
            for endpoint in self.endpoints.iter().cycle().skip(first).take(self.endpoints()) {
                self.reporter.report(&Event::Asking { what, host: &endpoint.host() });
                match attempt(endpoint).await {
                    Ok(answer) => {
                        if backoff.attempts > 0 {
                            self.reporter.report(&Event::Recovered { what, attempts: backoff.attempts });
                        }
                        return Ok(answer);
                    }
                    Err(Attempt::Failed(failure)) => failed = Some(failure),
                    Err(Attempt::Useless(error)) => useless = Some(error),
                    Err(Attempt::Final(error)) => return Err(error),
                }
            }
            let failure = match (failed, useless) {
                (Some(failure), None) => failure,
                (Some(failure), Some(_)) if failure.is_transient() => failure,
                (_, Some(error)) => return Err(error),
                (None, None) => return Err(Error::Internal("no endpoint to ask".into())),
            };
            let what_failed = format!("asking {} for {what}", failure.host());
            let (delay, failure) = budget.pause_after(failure, &mut backoff, &what_failed)?;
            let attempt = backoff.attempts;
            self.reporter.report(&Event::Retrying { what, cause: &failure, delay, attempt });
            tokio::time::sleep(delay).await;
        }
    }

    async fn commit_at(
        &self,
        endpoint: &Endpoint,
        place: &str,
        subject: &refusal::Subject<'_>,
    ) -> Result<Commit, Attempt> {
        let (body, _) = self.page(&parse_url(&endpoint.join(place))?, subject).await?;
        tree::parse_commit(&body).map_err(|why| not_a_hub(endpoint, why))
    }

    async fn tree_at(
        &self,
        endpoint: &Endpoint,
        place: &str,
        subject: &refusal::Subject<'_>,
    ) -> Result<Vec<Entry>, Attempt> {
        let mut entries = Vec::new();
        let mut next = Some(parse_url(&endpoint.join(place))?);
        let mut bytes = 0;
        for _ in 0..PAGES_MAX {
            let Some(url) = next else { return Ok(entries) };
            let (body, headers) = self.page(&url, subject).await?;
            bytes += body.len();
            if bytes > LISTING_BYTES_MAX {
                return Err(not_a_hub(
                    endpoint,
                    format!("the list of files has more than {}", Bytes(LISTING_BYTES_MAX as u64)),
                ));
            }
            entries.extend(tree::parse_page(&body).map_err(|why| not_a_hub(endpoint, why))?);
            next = next_page(&headers, &url, endpoint).map_err(|why| not_a_hub(endpoint, why))?;
        }
        Err(not_a_hub(endpoint, format!("the list of files has more than {PAGES_MAX} pages")))
    }

    /// The redirect rule: all metadata is on the Hub's own answers; the first redirect to another
    /// host is the signed URL of the bytes (`huggingface_hub` `get_hf_file_metadata`).
    async fn head_at(
        &self,
        endpoint: &Endpoint,
        place: &str,
        subject: &refusal::Subject<'_>,
    ) -> Result<Head, Attempt> {
        let mut url = parse_url(&endpoint.join(place))?;
        let mut facts = Facts::default();
        for _ in 0..REDIRECTS_MAX {
            let response = self.send(Method::HEAD, &url, None, self.stall_timeout).await?;
            if response.status().is_redirection() {
                facts.note(response.headers(), false);
                let target = redirect_target(&url, response.headers())?;
                if !self.is_hub(&target, &url) {
                    return facts.head(target).map_err(|why| not_a_hub(endpoint, why));
                }
                url = target;
            } else if response.status().is_success() {
                facts.note(response.headers(), true);
                return facts.head(url).map_err(|why| not_a_hub(endpoint, why));
            } else {
                return Err(judge(&url, response, subject).await);
            }
        }
        Err(net::wrong(&url, format!("more than {REDIRECTS_MAX} redirects")).into())
    }

    fn is_hub(&self, target: &Url, from: &Url) -> bool {
        target.origin() == from.origin()
            || self.endpoints.iter().any(|endpoint| endpoint.has_origin_of(target))
            || HUB_ORIGINS.contains(&target.origin().ascii_serialization().as_str())
    }

    /// Gets one JSON body of bounded size.
    async fn page(&self, url: &Url, subject: &refusal::Subject<'_>) -> Result<(Vec<u8>, HeaderMap), Attempt> {
        let mut url = url.clone();
        for _ in 0..REDIRECTS_MAX {
            let response = self.send(Method::GET, &url, None, self.stall_timeout).await?;
            if response.status().is_redirection() {
                // A renamed repository; JSON is never on another origin.
                let target = redirect_target(&url, response.headers())?;
                if !self.is_hub(&target, &url) {
                    return Err(net::wrong(&url, "a redirect of an API call to another host").into());
                }
                url = target;
                continue;
            }
            if !response.status().is_success() {
                return Err(judge(&url, response, subject).await);
            }
            check_encoding(&url, response.headers())?;
            let headers = response.headers().clone();
            let watchdog = Watchdog::new(self.stall_timeout);
            let body = tokio::time::timeout(PAGE_TIMEOUT, bounded_body(&url, response, watchdog))
                .await
                .unwrap_or_else(|_| Err(stalled(&url, PAGE_TIMEOUT)))?;
            return Ok((body, headers));
        }
        Err(net::wrong(&url, format!("more than {REDIRECTS_MAX} redirects")).into())
    }

    /// Sends one request and waits for the headers of the answer. The token goes along only to
    /// an endpoint it is meant for.
    async fn send(
        &self,
        method: Method,
        url: &Url,
        range: Option<(u64, u64)>,
        timeout: Duration,
    ) -> Result<Response, Failure> {
        let mut request = self.http.request(method, url.clone()).header(ACCEPT_ENCODING, "identity");
        if let Some(token) = self.endpoints.token_for(url) {
            request = request.header(AUTHORIZATION, net::authorization(token));
        }
        if let Some((first, last)) = range {
            request = request.header(RANGE, format!("bytes={first}-{last}"));
        }
        let asked = Instant::now();
        let answer = match tokio::time::timeout(timeout, request.send()).await {
            Ok(answer) => answer.map_err(|cause| net::transport(url, cause)),
            Err(_) => Err(stalled(url, timeout)),
        };
        // The host alone: the rest of a signed URL is a secret.
        let (host, milliseconds) = (host(url), asked.elapsed().as_millis());
        match &answer {
            Ok(answer) => debug!(%host, status = answer.status().as_u16(), ?range, milliseconds, "answer"),
            Err(failure) => debug!(%host, failure = chain(failure), ?range, milliseconds, "no answer"),
        }
        answer
    }
}

/// Headers of the hops of one question; a later hop wins, but not over a linked etag or size.
#[derive(Default)]
struct Facts {
    commit: Option<String>,
    linked_etag: Option<String>,
    etag: Option<String>,
    linked_size: Option<String>,
    length: Option<String>,
}

impl Facts {
    fn note(&mut self, headers: &HeaderMap, last: bool) {
        let take = |place: &mut Option<String>, name: &str| {
            if let Some(value) = text_header(headers, name) {
                *place = Some(value);
            }
        };
        take(&mut self.commit, "x-repo-commit");
        take(&mut self.linked_etag, "x-linked-etag");
        take(&mut self.linked_size, "x-linked-size");
        take(&mut self.etag, ETAG.as_str());
        if last {
            take(&mut self.length, CONTENT_LENGTH.as_str());
        }
    }

    fn head(self, url: Url) -> Result<Head, String> {
        let commit = self.commit.ok_or("there is no X-Repo-Commit header")?;
        let commit = commit.parse().map_err(|_| format!("X-Repo-Commit is {commit:?}"))?;
        let etag = self.linked_etag.or(self.etag).unwrap_or_default();
        let size = self.linked_size.or(self.length).ok_or("the file's size is missing")?;
        let size = size.parse().ok().filter(|size| i64::try_from(*size).is_ok());
        Ok(Head {
            commit,
            digest: Digest::from_etag(etag.trim_start_matches("W/").trim_matches('"')),
            size: size.ok_or("the file's size is no number that a file can have")?,
            url,
        })
    }
}

fn api_path(repo: &RepoId) -> String {
    format!("api/{}/{}/{}", repo.kind.plural(), repo.owner, repo.name)
}

fn parse_url(text: &str) -> Result<Url, Attempt> {
    Url::parse(text).map_err(|why| Attempt::Final(Error::invalid("endpoint", text, why.to_string())))
}

fn not_a_hub(endpoint: &Endpoint, why: impl Into<String>) -> Attempt {
    Attempt::Useless(Error::NotAHub { host: endpoint.host(), why: why.into() })
}

fn stalled(url: &Url, waited: Duration) -> Failure {
    Failure::Stalled { host: host(url), waited }
}

/// A bad status: the Hub's final word, or a passing trouble.
async fn judge(url: &Url, response: Response, subject: &refusal::Subject<'_>) -> Attempt {
    let failure = net::bad_status(url, response).await;
    if failure.is_transient() {
        return Attempt::Failed(failure);
    }
    refusal::explain(subject, url, failure).map_or_else(Attempt::Failed, Attempt::Final)
}

/// Where a redirect leads. Only http(s), never from encrypted to plain, and never from
/// another host to this machine or its link (where clouds serve credentials): whatever answers
/// there was not meant. Private networks are fine: a company's mirror is in one.
pub fn redirect_target(from: &Url, headers: &HeaderMap) -> Result<Url, Failure> {
    let wrong = |why: String| net::wrong(from, why);
    let location = headers.get(LOCATION).ok_or_else(|| wrong("a redirect without a Location".into()))?;
    let location = location.to_str().map_err(|_| wrong("a redirect to something unreadable".into()))?;
    let target = from.join(location).map_err(|why| wrong(format!("a redirect to no URL ({why})")))?;
    match (from.scheme(), target.scheme()) {
        (_, "https") | ("http", "http") if is_own(&target) && !is_own(from) => {
            Err(wrong(format!("a redirect to {}", host(&target))))
        }
        (_, "https") | ("http", "http") if target.host().is_some() => Ok(target),
        ("https", "http") => Err(wrong(format!("a redirect to unencrypted {}", host(&target)))),
        (_, scheme) => Err(wrong(format!("a redirect to a {scheme}: URL"))),
    }
}

/// Whether a URL names this machine or an address of its link.
fn is_own(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback() || ip.is_link_local() || ip.is_unspecified(),
        Some(Host::Ipv6(ip)) => ip.is_loopback() || ip.is_unicast_link_local() || ip.is_unspecified(),
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => false,
    }
}

async fn bounded_body(url: &Url, mut response: Response, mut watchdog: Watchdog) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    while let Some(chunk) = watchdog.chunk(url, &mut response).await? {
        if body.len() + chunk.len() > PAGE_BYTES_MAX {
            return Err(net::wrong(url, format!("a JSON body of more than {PAGE_BYTES_MAX} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The next page of a listing, from `Link: <…>; rel="next"`. A mirror may pass on the Hub's own
/// URL: it is read from the mirror all the same, so that the token stays with its origin.
pub fn next_page(headers: &HeaderMap, url: &Url, endpoint: &Endpoint) -> Result<Option<Url>, String> {
    let links = headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok());
    let next = links.flat_map(|value| value.split(',')).find_map(|link| {
        let (target, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
        rest.split(';').any(|part| matches!(part.trim(), "rel=\"next\"" | "rel=next")).then_some(target)
    });
    let Some(next) = next else { return Ok(None) };
    let next = url.join(next).map_err(|why| format!("the link to the next page is no URL ({why})"))?;
    if endpoint.has_origin_of(&next) {
        return Ok(Some(next));
    }
    if !HUB_ORIGINS.contains(&next.origin().ascii_serialization().as_str()) {
        return Err(format!("the next page is on another host, {}", host(&next)));
    }
    let mut place = next.path().trim_start_matches('/').to_owned();
    if let Some(query) = next.query() {
        place = place + "?" + query;
    }
    Url::parse(&endpoint.join(&place)).map(Some).map_err(|why| why.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_may_not_leave_http_or_lose_encryption() {
        let target = |from: &str, location: &str| {
            let headers = HeaderMap::from_iter([(LOCATION, location.parse().expect("header"))]);
            redirect_target(&from.parse().expect("URL"), &headers).map(String::from)
        };
        assert_eq!(target("https://a/b", "/c").ok().as_deref(), Some("https://a/c"));
        assert_eq!(
            target("http://127.0.0.1:1/", "http://127.0.0.1:2/").ok().as_deref(),
            Some("http://127.0.0.1:2/")
        );
        assert_eq!(target("http://a/b", "https://c/d").ok().as_deref(), Some("https://c/d"));
        for location in [
            "http://a/c",
            "https://127.0.0.1/c",
            "https://[::1]/",
            "https://169.254.169.254/",
            "file:///etc/passwd",
            "ftp://a/b",
            "data:,x",
            "http:",
        ] {
            assert!(target("https://a/b", location).is_err(), "{location} was followed");
        }
    }

    #[test]
    fn the_next_page_is_read_from_the_same_endpoint() {
        let endpoint = Endpoint::parse("http://mirror.example/hub").expect("endpoint");
        let url = Url::parse("http://mirror.example/hub/api/models/o/n/tree/x").expect("URL");
        let next = |link: &str| {
            next_page(&HeaderMap::from_iter([(LINK, link.parse().expect("header"))]), &url, &endpoint)
                .map(|url| url.map(String::from))
        };
        let page = "https://huggingface.co/api/models/o/n/tree/x?cursor=1";
        assert_eq!(
            next(&format!("<{page}>; rel=\"next\"")).expect("a page").as_deref(),
            Some("http://mirror.example/hub/api/models/o/n/tree/x?cursor=1")
        );
        assert_eq!(next(&format!("<{page}>; rel=\"prev\"")), Ok(None));
        assert!(next("<https://elsewhere.example/x>; rel=\"next\"").is_err());
    }
}
