//! Questions to the Hub, with redirects, retries and failover between endpoints.

mod complete;
mod exchange;
mod head;
mod measure;
mod pages;
mod refusal;
mod xet;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RANGE};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use tracing::debug;

pub use complete::{Described, Needs};
use exchange::Grants;
pub use head::Head;
use head::{Facts, is_page};
pub use pages::next_page;
pub use xet::Cas;

use super::oci::Registries;
use super::tree::{self, Listed};
use crate::content::{Digest, Sha256};
use crate::error::{Error, Failure};
use crate::net::{self, Client, Patience, Redirects, Watchdog, Windows, check_encoding};
use crate::plan::WantedFile;
use crate::report::{Event, Reporter};
use crate::request::{Commit, Endpoint, Endpoints, Limits, Patterns, RepoId, RepoPath, TokenValue};
use crate::retry::{Budget, Retry, Setback};
use crate::words::{Bytes, chain, host};

/// Time for one page of JSON.
const PAGE_TIMEOUT: Duration = Duration::from_mins(1);
/// A page lists at most 1,000 entries of a few hundred bytes each.
const PAGE_BYTES_MAX: usize = 8 << 20;
/// Hosts that are the Hub beside the configured endpoints (`huggingface_hub` `constants.py`).
const HUB_ORIGINS: [&str; 3] = ["https://huggingface.co", "https://hub-ci.huggingface.co", "https://hf.co"];

/// Where a Hub has the contents of small files, by commit.
const CACHE: &str = "api/resolve-cache/";

/// Everything but what RFC 3986 calls unreserved.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
/// The same, with the `/` between folders.
const PATH: &AsciiSet = &COMPONENT.remove(b'/');

/// A client of the endpoints of one request.
pub struct Hub {
    http: Client,
    registries: Registries,
    endpoints: Endpoints,
    stall_timeout: Duration,
    /// For answers to questions, and for bytes.
    patience: [Arc<Patience>; 2],
    windows: Windows,
    give_up_after: Duration,
    deadline: Option<Instant>,
    reporter: Arc<dyn Reporter>,
    told_of_name: AtomicBool,
    told_of_token: AtomicBool,
    /// Of each endpoint, whether it has shown that it has no small files below `/api/resolve-cache/`.
    cacheless: Vec<AtomicBool>,
    grants: Grants,
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
        let Limits { stall_timeout, answer_timeout, give_up_after, .. } = *limits;
        let [told_of_name, told_of_token] = Default::default();
        let cacheless = endpoints.iter().map(|_| AtomicBool::new(false)).collect();
        let patience =
            [answer_timeout, stall_timeout].map(|usual| Arc::new(Patience::new(usual, give_up_after)));
        let registries =
            Registries::new(http.clone(), &endpoints, limits, &patience, deadline, Arc::clone(&reporter));
        Self {
            http,
            registries,
            endpoints,
            stall_timeout,
            patience,
            windows: Windows::default(),
            give_up_after,
            deadline,
            reporter,
            told_of_name,
            told_of_token,
            cacheless,
            grants: Grants::default(),
        }
    }

    /// Commit, digest, size and location of one file, as an endpoint tells them in one way or another.
    pub async fn head(
        &self,
        repo: &RepoId,
        revision: &str,
        path: &RepoPath,
        needs: Needs,
    ) -> Result<Described, Error> {
        let subject = &refusal::Subject { repo, revision, path: Some(path) };
        self.ask(path.as_str(), |endpoint| async move {
            if let Some(registry) = endpoint.registry() {
                let head = self.head_in(registry, needs.pin).await?;
                return head.described(needs).map_err(|why| not_a_hub(endpoint, why));
            }
            let head = self.head_at(endpoint, subject).await?;
            self.complete(endpoint, head, subject, needs).await
        })
        .await
    }

    /// Tells the user of something that is done in another way than a Hub would have it.
    pub(super) fn warn(&self, text: &str) {
        self.reporter.report(&Event::Warning(text));
    }

    /// Number of endpoints.
    pub fn endpoints(&self) -> usize {
        self.endpoints.iter().count()
    }

    /// Where a file is, beginning with another endpoint than the first, and what is said of it by the way.
    pub async fn locate(
        &self,
        first: usize,
        repo: &RepoId,
        revision: &str,
        file: &WantedFile,
    ) -> Result<Head, Error> {
        let subject = &refusal::Subject { repo, revision, path: Some(&file.path) };
        let endpoints = self.endpoints.iter().cycle().skip(first).take(self.endpoints());
        self.ask_each(endpoints, file.path.as_str(), |endpoint| async move {
            match endpoint.registry() {
                Some(registry) => self.head_in(registry, file.content.sha256()).await,
                None => self.head_at(endpoint, subject).await,
            }
        })
        .await
    }

    /// A content in a registry that is a mirror by digest.
    async fn head_in(&self, registry: &RepoId, sha256: Option<Sha256>) -> Result<Head, Setback> {
        let Some(sha256) = sha256 else { return Err(only_by_digest(registry)) };
        let (url, size) = Box::pin(self.registries.blob(registry, sha256)).await?;
        Ok(Head {
            commit: None,
            digest: Some(Digest::Sha256(sha256)),
            guess: None,
            size,
            xet_hash: None,
            url,
        })
    }

    /// The registries, whether they are endpoints or not.
    pub(super) fn registries(&self) -> &Registries {
        &self.registries
    }

    /// Whether bytes are to come from a registry, although a Hub has told where it has them.
    pub(super) fn has_mirror_first(&self) -> bool {
        self.endpoints.iter().next().is_some_and(|endpoint| endpoint.registry().is_some())
    }

    /// The endpoints that are registries.
    pub(super) fn mirrors(&self) -> impl Iterator<Item = &RepoId> {
        self.endpoints.iter().filter_map(Endpoint::registry)
    }

    /// Where an endpoint has a small file of a commit, beginning with another endpoint than the first: the place to which
    /// the Hub's own answer leads (recorded from it in August 2026), so that nobody has to be asked for it. `None`
    /// where it is not there.
    pub(super) fn cached(&self, first: usize, repo: &RepoId, commit: Commit, path: &RepoPath) -> Option<Url> {
        let at = first % self.endpoints();
        let endpoint =
            self.endpoints.iter().nth(at).filter(|_| !self.cacheless[at].load(Ordering::Relaxed))?;
        let endpoint = Some(endpoint).filter(|endpoint| endpoint.registry().is_none())?;
        let path = utf8_percent_encode(path.as_str(), PATH);
        Url::parse(&endpoint.join(&format!("{CACHE}{}/{commit}/{path}", kind_path(repo)))).ok()
    }

    /// Where the first endpoint leads to the bytes of a file.
    pub(super) fn place(&self, repo: &RepoId, revision: &str, path: &RepoPath) -> Option<Url> {
        let endpoint = self.endpoints.iter().next().filter(|endpoint| endpoint.registry().is_none())?;
        Url::parse(&endpoint.join(&resolve_path(repo, revision, path.as_str()))).ok()
    }

    /// Takes note that the endpoint of such a place does not have it.
    pub(super) fn forgo_cache(&self, place: &Url) {
        for (endpoint, is_cacheless) in self.endpoints.iter().zip(&self.cacheless) {
            if place.as_str().starts_with(&endpoint.join(CACHE)) {
                is_cacheless.store(true, Ordering::Relaxed);
            }
        }
    }

    /// How the answers of one endpoint about a file differ from the Hub's, in words; the error says why there is none.
    pub async fn manners(
        &self,
        endpoint: &Endpoint,
        repo: &RepoId,
        revision: &str,
        path: &RepoPath,
    ) -> Result<String, String> {
        let subject = refusal::Subject { repo, revision, path: Some(path) };
        match self.facts(endpoint, &subject).await {
            Ok((facts, _)) => Ok(facts.manners()),
            Err(Setback::Failed(failure)) => Err(chain(&failure)),
            Err(Setback::Useless(error) | Setback::Final(error)) => Err(chain(&error)),
        }
    }

    /// How long the limit of the first endpoint makes it last at least to ask for so many files, if it tells; asks for
    /// one of them, at `path`, unless it has told before.
    pub async fn limited_for(
        &self,
        requests: u64,
        repo: &RepoId,
        revision: &str,
        path: &RepoPath,
    ) -> Option<Duration> {
        let place = self.place(repo, revision, path)?;
        if let Some(time) = self.windows.at_least(&place, requests) {
            return Some(time);
        }
        let first = self.endpoints.iter().next()?;
        if let Err(why) = self.manners(first, repo, revision, path).await {
            debug!(why, "the limit of requests is not known");
        }
        self.windows.at_least(&place, requests)
    }

    /// The commit a revision is right now.
    pub async fn commit(&self, repo: &RepoId, revision: &str) -> Result<Commit, Error> {
        let subject = &refusal::Subject { repo, revision, path: None };
        let what = format!("the commit of {revision}");
        self.ask(&what, |endpoint| async move {
            if let Some(registry) = endpoint.registry() {
                return Err(only_by_digest(registry));
            }
            let refused = match self.commit_at(endpoint, subject).await {
                Err(refused) if complete::may_be_told_otherwise(&refused) => refused,
                answered => return answered,
            };
            self.commit_by_header(endpoint, subject).await?.ok_or(refused)
        })
        .await
    }

    /// The files of a commit, and whether all of them: of a very long list only those are kept that the patterns
    /// may pick.
    pub async fn tree(
        &self,
        repo: &RepoId,
        commit: &Commit,
        patterns: &Patterns,
    ) -> Result<(Listed, bool), Error> {
        let revision = commit.to_string();
        let subject = refusal::Subject { repo, revision: &revision, path: None };
        let (what, patterns) = ("the list of files", &Arc::new(patterns.clone()));
        let subject = &subject;
        self.ask(what, |endpoint| async move {
            match endpoint.registry() {
                Some(registry) => Err(only_by_digest(registry)),
                None => self.files_at(endpoint, subject, patterns).await,
            }
        })
        .await
    }

    /// How long a host may take to its first byte.
    pub(super) fn patience(&self) -> &Arc<Patience> {
        let [_, bytes] = &self.patience;
        bytes
    }

    /// One ranged GET, with the redirects a CDN may send. `range` is inclusive, in bytes.
    pub async fn get(&self, url: &Url, range: Option<(u64, u64)>) -> Result<Response, Setback> {
        if self.registries.has(url) {
            return Ok(Box::pin(self.registries.get(url, range)).await?);
        }
        let mut url = url.clone();
        let mut redirects = Redirects::of_bytes();
        loop {
            let response = self.send(&Question::Get(range), &url, self.patience()).await?;
            if !response.status().is_redirection() {
                return Ok(response);
            }
            url = redirects.follow(&url, net::address(&response), response.headers())?;
        }
    }

    /// Asks one endpoint after the other about names: registries, which know none, come last.
    async fn ask<'a, T, F>(&'a self, what: &str, attempt: impl Fn(&'a Endpoint) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Setback>>,
    {
        let is_registry = |endpoint: &&Endpoint| endpoint.registry().is_some();
        let (registries, hubs): (Vec<_>, Vec<_>) = self.endpoints.iter().partition(is_registry);
        self.ask_each(hubs.into_iter().chain(registries), what, attempt).await
    }

    /// Asks one endpoint after the other until one answers or the time for it is over.
    async fn ask_each<'a, T, F>(
        &'a self,
        endpoints: impl Iterator<Item = &'a Endpoint>,
        what: &str,
        attempt: impl Fn(&'a Endpoint) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Setback>>,
    {
        let budget = Budget::new(self.give_up_after, self.deadline);
        let retry = Retry::question(what, &budget, &*self.reporter);
        let ask = |endpoint: &'a Endpoint| {
            self.reporter.report(&Event::Asking { what, host: &endpoint.host() });
            let answer = attempt(endpoint);
            async move {
                answer.await.map_err(|setback| match setback {
                    // It may be the proxy's page that is none of a Hub.
                    Setback::Useless(Error::NotAHub { why, .. }) if endpoint.registry().is_none() => {
                        Setback::Useless(Error::NotAHub { host: self.http.peer(endpoint.url()), why })
                    }
                    setback => setback,
                })
            }
        };
        retry.among(endpoints, ask).await
    }

    async fn commit_at(
        &self,
        endpoint: &Endpoint,
        subject: &refusal::Subject<'_>,
    ) -> Result<Commit, Setback> {
        let place = format!(
            "{}/revision/{}",
            api_path(subject.repo),
            utf8_percent_encode(subject.revision, COMPONENT)
        );
        let (body, ..) =
            self.page(&parse_url(&endpoint.join(&place))?, Question::Get(None), subject, Excess::Cut).await?;
        tree::parse_commit(&body).map_err(|why| not_a_hub(endpoint, why))
    }

    /// What the answer to a HEAD tells. Who refuses one without a word of a Hub, as edges do that know signed
    /// GETs alone, is asked for the first byte instead.
    async fn head_at(&self, endpoint: &Endpoint, subject: &refusal::Subject<'_>) -> Result<Head, Setback> {
        let (facts, url) = self.facts(endpoint, subject).await?;
        let head = facts.head(url).map_err(|why| not_a_hub(endpoint, why))?;
        match (subject.revision.parse::<Commit>(), head.commit) {
            (Ok(asked), Some(told)) if asked != told => {
                Err(not_a_hub(endpoint, format!("asked for commit {asked} it answers with {told}")))
            }
            _ => Ok(head),
        }
    }

    async fn facts(
        &self,
        endpoint: &Endpoint,
        subject: &refusal::Subject<'_>,
    ) -> Result<(Facts, Url), Setback> {
        let path = subject.path.map_or("", |path| path.as_str());
        let place = parse_url(&endpoint.join(&resolve_path(subject.repo, subject.revision, path)))?;
        match self.facts_at(endpoint, &place, Question::Head, subject).await {
            Err(Setback::Failed(failure)) if failure.is_wordless_refusal() => {
                let (mut facts, url) = self.facts_at(endpoint, &place, FIRST_BYTE, subject).await?;
                facts.refuses_head = true;
                Ok((facts, url))
            }
            told => told,
        }
    }

    /// The redirect rule: all metadata is on the Hub's own answers; the first redirect to another
    /// host is the signed URL of the bytes (`huggingface_hub` `get_hf_file_metadata`).
    async fn facts_at(
        &self,
        endpoint: &Endpoint,
        start: &Url,
        question: Question<'_>,
        subject: &refusal::Subject<'_>,
    ) -> Result<(Facts, Url), Setback> {
        let mut url = start.clone();
        let mut facts = Facts::default();
        let mut redirects = Redirects::of_facts();
        loop {
            let response = self.question(&question, &url).await?;
            if response.status().is_redirection() {
                facts.note(response.headers());
                let target = redirects.follow(&url, net::address(&response), response.headers())?;
                let target = self.renamed(endpoint, target, subject);
                // The first other host is that of the bytes, unless it still has to tell what they are: then a
                // mirror has led to the Hub, or to itself by another name.
                if !self.is_hub(&target, &url) && facts.tells_all() {
                    return Ok((facts, target));
                }
                url = target;
            } else if !response.status().is_success() {
                let failure = net::bad_status(&url, response).await;
                if matches!(question, Question::Head) && failure.is_wordless_refusal() {
                    return Err(failure.into());
                }
                return Err(self.explained(&url, failure, subject));
            } else if is_page(&response, subject.path.map_or("", |path| path.as_str())) {
                return Ok((Facts::default(), start.clone()));
            } else {
                facts.note_last(response.status(), response.headers());
                return Ok((facts, url));
            }
        }
    }

    /// Where a redirect of a Hub leads below `endpoint`: a mirror below a path passes on what the Hub wrote, which
    /// knows nothing of that path. Tells of a repository that has another name now.
    fn renamed(&self, endpoint: &Endpoint, target: Url, subject: &refusal::Subject<'_>) -> Url {
        let target = endpoint.below(target);
        let asked = subject.repo.url_path();
        if let Some(name) = endpoint.repository_in(&target).filter(|name| *name != asked)
            && !self.told_of_name.swap(true, Ordering::Relaxed)
        {
            let text = format!(
                "`{asked}` is called `{name}` now; name it so, because the old name may be given away"
            );
            self.reporter.report(&Event::Warning(&text));
        }
        target
    }

    /// Whether something is at an endpoint itself.
    pub(super) fn is_endpoint(&self, url: &Url) -> bool {
        self.endpoints.iter().any(|endpoint| endpoint.has_origin_of(url))
    }

    fn is_hub(&self, target: &Url, from: &Url) -> bool {
        target.origin() == from.origin()
            || self.is_endpoint(target)
            || HUB_ORIGINS.contains(&target.origin().ascii_serialization().as_str())
    }

    /// Gets one JSON body of bounded size, with its headers and where it was in the end.
    async fn page(
        &self,
        asked: &Url,
        question: Question<'_>,
        subject: &refusal::Subject<'_>,
        excess: Excess,
    ) -> Result<(Vec<u8>, HeaderMap, Url), Setback> {
        let mut url = asked.clone();
        let mut redirects = Redirects::of_facts();
        loop {
            let response = self.question(&question, &url).await?;
            if response.status().is_redirection() {
                // A renamed repository, or a mirror that leaves the question to the Hub. The token stays at home.
                url = redirects.follow(&url, net::address(&response), response.headers())?;
                if let Some(endpoint) = self.endpoints.iter().find(|endpoint| endpoint.has_origin_of(&url)) {
                    url = self.renamed(endpoint, url, subject);
                }
                continue;
            }
            if !response.status().is_success() {
                return Err(self.judge(&url, response, subject).await);
            }
            check_encoding(&url, response.headers())?;
            let headers = response.headers().clone();
            let watchdog = Watchdog::new(self.stall_timeout);
            let body = tokio::time::timeout(PAGE_TIMEOUT, bounded_body(&url, response, watchdog, excess))
                .await
                .unwrap_or_else(|_| Err(stalled(&url, PAGE_TIMEOUT)))?;
            // Whoever else has the answer has it as a Hub would: one edge of many may have led astray.
            if !self.is_hub(&url, asked) && !is_json(&body) {
                let why = format!("a redirect of an API call to {}, which has no JSON", host(&url));
                return Err(net::misconfigured(asked, why).into());
            }
            return Ok((body, headers, url));
        }
    }

    /// Asks something that headers, or some JSON, answer.
    async fn question(&self, question: &Question<'_>, url: &Url) -> Result<Response, Setback> {
        let [answers, _] = &self.patience;
        let asked = tokio::time::Instant::now();
        let response = self.send(question, url, answers).await?;
        answers.began(url, asked);
        Ok(response)
    }

    /// Sends one request and waits for the headers of the answer. The token goes along only to
    /// an endpoint it is meant for. One that the endpoint itself gave, and takes no more, is exchanged for another one.
    async fn send(
        &self,
        question: &Question<'_>,
        url: &Url,
        patience: &Patience,
    ) -> Result<Response, Setback> {
        let token = self.endpoints.token_at(url).filter(|_| self.endpoints.login_for(url).is_none());
        let Some((token, endpoint)) = token else {
            return Ok(self.send_with(None, question, url, patience).await?);
        };
        match token.value() {
            TokenValue::Access(text) => {
                let header = net::authorization(text).expect("a token holds only visible ASCII");
                Ok(self.send_with(Some(header), question, url, patience).await?)
            }
            TokenValue::Identity(identity) => loop {
                let header = self.granted(endpoint, identity).await?;
                let answer = self.send_with(Some(header.clone()), question, url, patience).await?;
                let is_refused = answer.status() == StatusCode::UNAUTHORIZED;
                if !self.judge_grant(endpoint, &header, is_refused).await {
                    return Ok(answer);
                }
            },
        }
    }

    async fn send_with(
        &self,
        authorization: Option<HeaderValue>,
        question: &Question<'_>,
        url: &Url,
        patience: &Patience,
    ) -> Result<Response, Failure> {
        self.windows.admit(url)?;
        let request = self.http.request(question.method(), url);
        let mut request = question.complete(request).header(ACCEPT_ENCODING, "identity");
        if let Some(login) = self.endpoints.login_for(url) {
            request = request.basic_auth(login.user(), Some(login.expose()));
        } else if let Some(header) = authorization {
            request = request.header(AUTHORIZATION, header);
        }
        let asked = Instant::now();
        let answer = patience.wait(url, || self.http.peer(url), self.http.send(request, url)).await;
        if let Ok(answer) = &answer {
            self.windows.note(url, answer.headers());
        }
        // The host alone: the rest of a signed URL is a secret.
        let (host, milliseconds) = (host(url), asked.elapsed().as_millis());
        match &answer {
            Ok(answer) => debug!(%host, status = answer.status().as_u16(), ?question, milliseconds, "answer"),
            Err(failure) => debug!(%host, failure = chain(failure), ?question, milliseconds, "no answer"),
        }
        answer
    }

    /// A bad status: the Hub's final word, or a passing trouble.
    async fn judge(&self, url: &Url, response: Response, subject: &refusal::Subject<'_>) -> Setback {
        self.explained(url, net::bad_status(url, response).await, subject)
    }

    fn explained(&self, url: &Url, failure: Failure, subject: &refusal::Subject<'_>) -> Setback {
        if failure.is_transient() {
            return Setback::Failed(failure);
        }
        match refusal::explain(subject, url, self.endpoints.token_for(url), failure) {
            // Another endpoint may have it. Who may have it is the first one's word.
            Ok(
                error @ (Error::RepoNotFound { .. }
                | Error::RevisionNotFound { .. }
                | Error::FileNotFound { .. }),
            ) => {
                self.tell_of_token(url, &error);
                Setback::Useless(error)
            }
            Ok(error) => {
                self.tell_of_token(url, &error);
                Setback::Final(error)
            }
            Err(failure) => Setback::Failed(failure),
        }
    }

    /// Who refuses may do so for want of a token that was not meant for him, such as the host without `www.` to which
    /// an endpoint leads.
    fn tell_of_token(&self, url: &Url, error: &Error) {
        let is_refusal =
            matches!(error, Error::Gated { .. } | Error::Unauthorised { .. } | Error::RepoNotFound { .. });
        if let Some(token) = self.endpoints.token()
            && is_refusal
            && self.endpoints.token_for(url).is_none()
            && self.endpoints.login_for(url).is_none()
            && !self.told_of_token.swap(true, Ordering::Relaxed)
        {
            self.warn(&token.stays_from(&url.origin().ascii_serialization()));
        }
    }
}

fn is_json(body: &[u8]) -> bool {
    matches!(body.trim_ascii_start().first(), Some(b'[' | b'{'))
}

/// What is asked of a URL.
#[derive(Debug, Clone, Copy)]
enum Question<'a> {
    /// The headers.
    Head,
    /// A range of bytes, inclusive, or all of them.
    Get(Option<(u64, u64)>),
    /// What a form asks for.
    Post(&'a str),
}

/// As much of a file as shows its size.
const FIRST_BYTE: Question<'_> = Question::Get(Some((0, 0)));

impl Question<'_> {
    fn method(&self) -> Method {
        match self {
            Self::Head => Method::HEAD,
            Self::Get(_) => Method::GET,
            Self::Post(_) => Method::POST,
        }
    }

    fn complete(&self, request: RequestBuilder) -> RequestBuilder {
        match self {
            Self::Head | Self::Get(None) => request,
            Self::Get(Some((first, last))) => request.header(RANGE, format!("bytes={first}-{last}")),
            Self::Post(form) => {
                request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body((*form).to_owned())
            }
        }
    }
}

fn resolve_path(repo: &RepoId, revision: &str, path: &str) -> String {
    let (revision, path) = (utf8_percent_encode(revision, COMPONENT), utf8_percent_encode(path, PATH));
    format!("{}/resolve/{revision}/{path}", repo.url_path())
}

fn api_path(repo: &RepoId) -> String {
    format!("api/{}", kind_path(repo))
}

fn kind_path(repo: &RepoId) -> String {
    format!("{}/{}/{}", repo.kind.plural(), repo.owner, repo.name)
}

fn parse_url(text: &str) -> Result<Url, Setback> {
    Url::parse(text).map_err(|why| Setback::Final(Error::invalid("endpoint", text, why.to_string())))
}

/// What a registry cannot answer.
fn only_by_digest(registry: &RepoId) -> Setback {
    let why = "it is a registry, which knows files by their SHA256 alone: add an --endpoint that is a Hub, a lock file, or --sha256";
    Setback::Useless(Error::NotAHub { host: registry.to_string(), why: why.into() })
}

fn not_a_hub(endpoint: &Endpoint, why: impl Into<String>) -> Setback {
    Setback::Useless(Error::NotAHub { host: endpoint.host(), why: why.into() })
}

fn stalled(url: &Url, waited: Duration) -> Failure {
    Failure::Stalled { host: host(url), waited }
}

/// What becomes of a body that is too long.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Excess {
    /// It is no answer.
    Refuse,
    /// Its beginning will do.
    Cut,
}

/// The body of a small answer.
pub(super) async fn bounded_body(
    url: &Url,
    response: Response,
    watchdog: Watchdog,
    excess: Excess,
) -> Result<Vec<u8>, Failure> {
    body_of_at_most(PAGE_BYTES_MAX, url, response, watchdog, excess).await
}

async fn body_of_at_most(
    most: usize,
    url: &Url,
    mut response: Response,
    mut watchdog: Watchdog,
    excess: Excess,
) -> Result<Vec<u8>, Failure> {
    let announced = response.content_length().and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
    let too_long = || net::misconfigured(url, format!("a JSON body of more than {}", Bytes(most as u64)));
    if announced > most && excess == Excess::Refuse {
        return Err(too_long());
    }
    let mut body = Vec::with_capacity(announced.min(most));
    while let Some(chunk) = watchdog.chunk(url, &mut response).await? {
        if body.len() + chunk.len() > most {
            if excess == Excess::Cut {
                break;
            }
            return Err(too_long());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
