//! Registries (OCI distribution specification 1.1): what a reference stands for, and contents by their digest.
//!
//! A client of our own: what is asked of a registry are two GETs, a HEAD and a token, and all that is hard about them
//! (redirects, retries, patience, proxies, names) is in [`crate::net`] and [`crate::retry`] already.

mod blob;
mod challenge;
mod manifest;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RANGE, WWW_AUTHENTICATE,
};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use sha2::Digest as _;
use tokio::sync::OnceCell;
use tracing::debug;
use url::form_urlencoded;

pub use blob::source;
pub use challenge::Challenge;
pub use manifest::{Manifest, Unfit};

use super::hub::{Excess, bounded_body};
use super::tree::Listed;
use crate::content::Sha256;
use crate::error::{Error, Failure};
use crate::net::{self, Client, Patience, Redirects, Watchdog, check_encoding, text_header};
use crate::report::{Event, Reporter};
use crate::request::{Commit, Endpoints, Limits, Login, Place, RegistryLogin, RepoId, Revision};
use crate::retry::{Budget, Retry, Setback};
use crate::words::{chain, host};

/// An index may lead to another one, and hardly further.
const INDEXES_MAX: usize = 3;
/// What the digest of a manifest is told in.
const DIGEST: &str = "docker-content-digest";

/// A client of registries.
pub struct Registries {
    http: Client,
    endpoints: Endpoints,
    stall_timeout: Duration,
    /// For answers to questions, and for bytes.
    patience: [Arc<Patience>; 2],
    give_up_after: Duration,
    deadline: Option<Instant>,
    reporter: Arc<dyn Reporter>,
    doors: Mutex<HashMap<RepoId, Arc<Door>>>,
}

/// How to get into one repository, as far as it was found out.
#[derive(Default)]
struct Door {
    /// `http[s]://HOST/v2/NAME/`.
    base: OnceCell<Url>,
    /// What the registry wanted to see last.
    shown: Mutex<Option<HeaderValue>>,
    /// Held while somebody asks for it.
    asking: tokio::sync::Mutex<()>,
}

impl Door {
    fn shown(&self) -> Option<HeaderValue> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn show(&self, header: &HeaderValue) {
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = Some(header.clone());
    }
}

/// What is asked of a registry.
#[derive(Debug, Clone, Copy)]
enum Question {
    /// The headers of a manifest.
    ManifestHead,
    /// A manifest.
    Manifest,
    /// Whether a content is there.
    BlobHead,
    /// A range of bytes, inclusive, or all of them.
    Blob(Option<(u64, u64)>),
}

impl Question {
    fn method(self) -> Method {
        match self {
            Self::ManifestHead | Self::BlobHead => Method::HEAD,
            Self::Manifest | Self::Blob(_) => Method::GET,
        }
    }

    fn complete(self, request: RequestBuilder) -> RequestBuilder {
        match self {
            Self::ManifestHead | Self::Manifest => request.header(ACCEPT, manifest::ACCEPT),
            Self::Blob(Some((first, last))) => request.header(RANGE, format!("bytes={first}-{last}")),
            Self::BlobHead | Self::Blob(None) => request,
        }
    }
}

/// An answer of a registry, and why it was not given what it wanted to see, if that is so.
type Answered = (Response, Option<String>);

impl Registries {
    /// Logins, and whether plain http is allowed, are those of `endpoints`; `patience` is for answers and for bytes.
    pub fn new(
        http: Client,
        endpoints: &Endpoints,
        limits: &Limits,
        patience: &[Arc<Patience>; 2],
        deadline: Option<Instant>,
        reporter: Arc<dyn Reporter>,
    ) -> Self {
        let Limits { stall_timeout, give_up_after, .. } = *limits;
        let (endpoints, patience, doors) = (endpoints.clone(), patience.clone(), Mutex::default());
        Self { http, endpoints, stall_timeout, patience, give_up_after, deadline, reporter, doors }
    }

    /// The digest of the manifest that a tag stands for now.
    pub async fn commit(&self, repo: &RepoId, revision: &Revision) -> Result<Commit, Error> {
        let place = format!("manifests/{revision}");
        let ask = || async {
            let response = self.question(repo, revision, &place, Question::ManifestHead).await?;
            match told_digest(response.headers()) {
                Some(digest) => Ok(digest),
                None => Ok(self.manifest_at(repo, revision).await?.0),
            }
        };
        self.ask(repo, &format!("the manifest of {revision}"), ask).await.map(Commit::Manifest)
    }

    /// The files of a manifest; of an index, those of the one artifact in it.
    pub async fn files(&self, repo: &RepoId, commit: Commit) -> Result<Listed, Error> {
        let mut commit = commit;
        for _ in 0..INDEXES_MAX {
            let revision: Revision = commit.to_string().parse()?;
            let ask = || self.manifest_at(repo, &revision);
            let (_, json) = match self.ask(repo, "the manifest", ask).await {
                // It may have been one cache of many.
                Err(Error::ManifestMismatch { .. }) => self.ask(repo, "the manifest, once more", ask).await?,
                answered => answered?,
            };
            match Manifest::parse(&json) {
                Ok(Manifest::Files(listed)) => return Ok(listed),
                Ok(Manifest::Index(digest)) => commit = Commit::Manifest(digest),
                Err(Unfit { why, instead }) => {
                    return Err(Error::NotAModel { repo: repo.clone(), revision, why, instead });
                }
            }
        }
        let why = format!("its index leads to another one, more than {INDEXES_MAX} times");
        let (repo, revision) = (repo.clone(), commit.to_string().parse()?);
        Err(Error::NotAModel {
            repo,
            revision,
            why,
            instead: "name the manifest itself, as REPOSITORY@sha256:…",
        })
    }

    /// Where a repository has a content, and its length where that is told. Who leads elsewhere has it.
    pub(super) async fn blob(&self, repo: &RepoId, digest: Sha256) -> Result<(Url, Option<u64>), Setback> {
        let url = self.join(repo, &format!("blobs/sha256:{digest}")).await?;
        let (response, denied) = self.exchange(repo, &url, Question::BlobHead).await?;
        let status = response.status();
        if status.is_success() {
            let size = text_header(response.headers(), "content-length").and_then(|size| size.parse().ok());
            return Ok((url, size));
        }
        // Some have no HEAD for what they give out.
        if status.is_redirection() || status == StatusCode::METHOD_NOT_ALLOWED {
            return Ok((url, None));
        }
        if status == StatusCode::NOT_FOUND {
            let host = self.http.peer(&url);
            return Err(Setback::Useless(Error::LayerGone { host, repo: repo.clone(), digest }));
        }
        Err(self.refused(repo, &url, response, denied).await)
    }

    /// Whether something is in a repository that was asked.
    pub(super) fn has(&self, url: &Url) -> bool {
        self.owner(url).is_some()
    }

    /// One ranged GET, with the redirects to where the bytes are. `range` is inclusive, in bytes.
    pub(super) async fn get(&self, url: &Url, range: Option<(u64, u64)>) -> Result<Response, Failure> {
        let mut redirects = Redirects::of_bytes();
        let mut url = url.clone();
        loop {
            let response = match self.owner(&url) {
                Some(repo) => self.exchange(&repo, &url, Question::Blob(range)).await?.0,
                None => self.send(Question::Blob(range), &url, None).await?,
            };
            if !response.status().is_redirection() {
                return Ok(response);
            }
            url = redirects.follow(&url, net::address(&response), response.headers())?;
        }
    }

    fn owner(&self, url: &Url) -> Option<RepoId> {
        let doors = self.doors.lock().unwrap_or_else(PoisonError::into_inner);
        let is_in = |door: &Door| {
            let base = door.base.get()?;
            (base.origin() == url.origin()).then(|| url.path().strip_prefix(base.path()))?
        };
        doors.iter().find(|(_, door)| is_in(door).is_some()).map(|(repo, _)| repo.clone())
    }

    fn door(&self, repo: &RepoId) -> Arc<Door> {
        let mut doors = self.doors.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(doors.entry(repo.clone()).or_default())
    }

    async fn ask<T, F>(&self, repo: &RepoId, what: &str, attempt: impl Fn() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Setback>>,
    {
        self.among([repo], what, |_| attempt()).await
    }

    /// Asks one repository after the other until one answers, or the time for it is over.
    async fn among<'a, T, F>(
        &self,
        repos: impl IntoIterator<Item = &'a RepoId>,
        what: &str,
        attempt: impl Fn(&'a RepoId) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Setback>>,
    {
        let budget = Budget::new(self.give_up_after, self.deadline);
        let retry = Retry::question(what, &budget, &*self.reporter);
        let ask = |repo: &'a RepoId| {
            self.reporter.report(&Event::Asking { what, host: &repo.owner });
            attempt(repo)
        };
        retry.among(repos, ask).await
    }

    /// A manifest and its digest, which are one another's, and what was asked for.
    async fn manifest_at(&self, repo: &RepoId, revision: &Revision) -> Result<(Sha256, Vec<u8>), Setback> {
        let response =
            self.question(repo, revision, &format!("manifests/{revision}"), Question::Manifest).await?;
        let url = response.url().clone();
        check_encoding(&url, response.headers())?;
        if is_page(response.headers()) {
            return Err(Setback::Final(not_a_registry(
                self.http.peer(&url),
                "it answers with a page for people",
            )));
        }
        let expected = match revision.commit() {
            Some(Commit::Manifest(digest)) => Some(digest),
            _ => told_digest(response.headers()),
        };
        let watchdog = Watchdog::new(self.stall_timeout);
        let json = bounded_body(&url, response, watchdog, Excess::Refuse).await?;
        let computed = Sha256::from_bytes(sha2::Sha256::digest(&json).into());
        match expected.filter(|expected| *expected != computed) {
            Some(expected) => Err(Setback::Final(Error::ManifestMismatch {
                host: self.http.peer(&url),
                repo: repo.clone(),
                expected,
                computed,
            })),
            None => Ok((computed, json)),
        }
    }

    /// Asks about a manifest; what is no success is an error.
    async fn question(
        &self,
        repo: &RepoId,
        revision: &Revision,
        place: &str,
        question: Question,
    ) -> Result<Response, Setback> {
        let mut url = self.join(repo, place).await?;
        let mut redirects = Redirects::of_facts();
        loop {
            let (response, denied) = if self.has(&url) {
                self.exchange(repo, &url, question).await?
            } else {
                (self.send(question, &url, None).await?, None)
            };
            if response.status().is_success() {
                return Ok(response);
            }
            if response.status().is_redirection() {
                url = redirects.follow(&url, net::address(&response), response.headers())?;
                continue;
            }
            if response.status() != StatusCode::NOT_FOUND {
                return Err(self.refused(repo, &url, response, denied).await);
            }
            let is_page = is_page(response.headers());
            let answer = net::bad_status(&url, response).await;
            return Err(Setback::Useless(if is_page {
                not_a_registry(self.http.peer(&url), &answer.to_string())
            } else if answer.to_string().contains("NAME_UNKNOWN") {
                Error::RepoNotFound { host: self.http.peer(&url), repo: repo.clone(), token: None }
            } else {
                Error::RevisionNotFound { repo: repo.clone(), revision: revision.clone() }
            }));
        }
    }

    /// What a bad status other than 404 means.
    async fn refused(&self, repo: &RepoId, url: &Url, response: Response, denied: Option<String>) -> Setback {
        let status = response.status();
        let answer = net::bad_status(url, response).await;
        if !matches!(status.as_u16(), 401 | 403) {
            return answer.into();
        }
        let login = denied.unwrap_or_else(|| match self.endpoints.registry_logins().of(repo) {
            Some((_, path)) => format!(
                "the login from `{path}` was used; check that it is valid and may read this repository"
            ),
            None => self.endpoints.registry_logins().absence(repo),
        });
        let (host, repo) = (self.http.peer(url), repo.clone());
        Setback::Final(Error::RegistryRefused { host, repo, login, answer: Box::new(answer) })
    }

    async fn join(&self, repo: &RepoId, place: &str) -> Result<Url, Failure> {
        let door = self.door(repo);
        let base = door.base.get_or_try_init(|| self.base(repo)).await?;
        base.join(place).map_err(|why| net::misconfigured(base, format!("no address for {place} ({why})")))
    }

    /// Finds out whether a registry speaks TLS. That it does not is no reason to leave it out, but on this machine, and
    /// where that is allowed.
    async fn base(&self, repo: &RepoId) -> Result<Url, Failure> {
        let url =
            |scheme: &str| Url::parse(&format!("{scheme}://{}/v2/{}/", repo.registry_host(), repo.name));
        let (Ok(secure), Ok(plain)) = (url("https"), url("http")) else {
            let why = "no address can be made of it".into();
            return Err(Failure::Misconfigured { host: repo.owner.clone(), why });
        };
        secure.host_str().into_iter().for_each(|name| self.http.mean(name));
        let is_here = Place::of(&secure) == Place::Here;
        if !is_here && !self.endpoints.is_plain_allowed() {
            return Ok(secure);
        }
        // Servers with TLS answer plain words with a 400, or with nothing: on this machine nobody is in between.
        let (first, other) = if is_here { (plain, secure) } else { (secure, plain) };
        match self.version(&first).await {
            Ok(status) if status != StatusCode::BAD_REQUEST => return Ok(first),
            Ok(_) | Err(Failure::Transport { is_permanent: false, .. }) => {}
            // It speaks TLS: the next question tells what is wrong with its certificate.
            Err(Failure::Transport { .. }) => return Ok(first),
            Err(failure) => return Err(failure),
        }
        match self.version(&other).await {
            Ok(_) | Err(Failure::Transport { is_permanent: true, .. }) => Ok(other),
            Err(_) => Ok(first),
        }
    }

    /// How a registry answers when it is asked for nothing but its version.
    async fn version(&self, base: &Url) -> Result<StatusCode, Failure> {
        let mut url = base.clone();
        url.set_path("/v2/");
        Ok(self.send(Question::Blob(None), &url, None).await?.status())
    }

    /// Sends a question to a registry, with what it wants to see: once more, if it wants something new.
    async fn exchange(&self, repo: &RepoId, url: &Url, question: Question) -> Result<Answered, Failure> {
        let door = self.door(repo);
        let shown = door.shown();
        let response = self.send(question, url, shown.as_ref()).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok((response, None));
        }
        match self.renewed(repo, &door, shown.as_ref(), url, response.headers()).await? {
            Ok(shown) => Ok((self.send(question, url, Some(&shown)).await?, None)),
            Err(denied) => Ok((response, Some(denied))),
        }
    }

    /// Something newer to show than what was refused. Many may ask at once; the question is asked once.
    async fn renewed(
        &self,
        repo: &RepoId,
        door: &Door,
        refused: Option<&HeaderValue>,
        url: &Url,
        headers: &HeaderMap,
    ) -> Result<Result<HeaderValue, String>, Failure> {
        let _asking = door.asking.lock().await;
        if let Some(shown) = door.shown().filter(|shown| Some(shown) != refused) {
            return Ok(Ok(shown));
        }
        let headers = headers.get_all(WWW_AUTHENTICATE).into_iter().filter_map(|header| header.to_str().ok());
        let challenges: Vec<_> = headers.flat_map(Challenge::parse).collect();
        let found = self.answer(repo, url, &challenges).await?;
        if let Ok(shown) = &found {
            door.show(shown);
        }
        Ok(found)
    }

    /// What to show to a registry that wants one of these.
    async fn answer(
        &self,
        repo: &RepoId,
        url: &Url,
        challenges: &[Challenge],
    ) -> Result<Result<HeaderValue, String>, Failure> {
        let login = self.endpoints.registry_logins().of(repo);
        if let Some((_, path)) = login.filter(|_| self.is_overheard(url)) {
            return Ok(Err(format!(
                "the login from `{path}` would travel over plain http through a proxy; name the host in NO_PROXY, or pass --insecure-token"
            )));
        }
        let of_scheme = |scheme: &str| challenges.iter().find(|challenge| challenge.is(scheme));
        let login = login.map(|(login, _)| login);
        match (of_scheme("Bearer"), of_scheme("Basic"), login) {
            (Some(_), _, Some(RegistryLogin::Bearer(token))) => Ok(net::authorization(token)
                .ok_or_else(|| "`registrytoken` holds what no header can carry".into())),
            (Some(challenge), ..) => self.token(repo, url, challenge, login).await,
            (None, Some(_), Some(RegistryLogin::Password(login))) => Ok(Ok(basic(login))),
            (None, Some(_), _) => Ok(Err(self.endpoints.registry_logins().absence(repo))),
            (None, None, _) => {
                let schemes: Vec<_> = challenges.iter().map(Challenge::scheme).collect();
                let schemes = if schemes.is_empty() { "nothing".into() } else { schemes.join(", ") };
                Ok(Err(format!("it asks for {schemes}, where Bearer or Basic are understood")))
            }
        }
    }

    /// Whether a proxy reads what is sent there.
    fn is_overheard(&self, url: &Url) -> bool {
        url.scheme() == "http" && !self.endpoints.is_plain_allowed() && self.http.is_by_proxy(url)
    }

    /// Asks the token endpoint that a challenge names (distribution `spec/auth/token`, `spec/auth/oauth`). It sees the
    /// login for the registry that sent there, and nothing else.
    async fn token(
        &self,
        repo: &RepoId,
        from: &Url,
        challenge: &Challenge,
        login: Option<&RegistryLogin>,
    ) -> Result<Result<HeaderValue, String>, Failure> {
        let Some(realm) = challenge.get("realm") else {
            return Ok(Err("it asks for a token, and names no token endpoint (realm)".into()));
        };
        let mut url = match net::lead(from, realm) {
            Ok(url) => url,
            Err(why) => return Ok(Err(format!("its token endpoint is not asked: {}", chain(&why)))),
        };
        if login.is_some() && self.is_overheard(&url) {
            return Ok(Err(format!("no login is sent to {} over plain http through a proxy", host(&url))));
        }
        let scope = challenge.scope(&repo.name);
        let service = challenge.get("service").unwrap_or_default();
        let request = if let Some(RegistryLogin::Identity(token)) = login {
            let mut form = form_urlencoded::Serializer::new(String::new());
            form.extend_pairs([
                ("grant_type", "refresh_token"),
                ("service", service),
                ("scope", &scope),
                ("client_id", "modelfetch"),
                ("refresh_token", token),
            ]);
            let request = self.http.request(Method::POST, &url);
            request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form.finish())
        } else {
            let mut query = url.query_pairs_mut();
            if !service.is_empty() {
                query.append_pair("service", service);
            }
            for scope in scope.split(' ') {
                query.append_pair("scope", scope);
            }
            drop(query);
            let request = self.http.request(Method::GET, &url);
            match login {
                Some(RegistryLogin::Password(login)) => request.header(AUTHORIZATION, basic(login)),
                _ => request,
            }
        };
        let response = self.sent(request.header(ACCEPT_ENCODING, "identity"), &url).await?;
        if !response.status().is_success() {
            let failure = net::bad_status(&url, response).await;
            if failure.is_transient() {
                return Err(failure);
            }
            let login = self.endpoints.registry_logins();
            let login = login
                .of(repo)
                .map_or_else(|| login.absence(repo), |(_, path)| format!("the login from `{path}` was used"));
            return Ok(Err(format!("its token endpoint gives none: {failure}; {login}")));
        }
        let json = bounded_body(&url, response, Watchdog::new(self.stall_timeout), Excess::Refuse).await?;
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap_or_default();
        let token = ["token", "access_token"].into_iter().find_map(|key| json[key].as_str());
        let header = token.filter(|token| !token.is_empty()).and_then(net::authorization);
        Ok(header.ok_or_else(|| format!("its token endpoint {} answers without a token", host(&url))))
    }

    async fn send(
        &self,
        question: Question,
        url: &Url,
        shown: Option<&HeaderValue>,
    ) -> Result<Response, Failure> {
        let request = question.complete(self.http.request(question.method(), url));
        let mut request = request.header(ACCEPT_ENCODING, "identity");
        if let Some(shown) = shown {
            request = request.header(AUTHORIZATION, shown);
        }
        if !matches!(question, Question::Blob(_)) {
            return self.sent(request, url).await;
        }
        let [_, bytes] = &self.patience;
        let answer = bytes.wait(url, || self.http.peer(url), self.http.send(request, url)).await;
        debug!(host = %host(url), ?question, status = answer.as_ref().ok().map(|answer| answer.status().as_u16()), "answer");
        answer
    }

    async fn sent(&self, request: RequestBuilder, url: &Url) -> Result<Response, Failure> {
        let [answers, _] = &self.patience;
        let asked = tokio::time::Instant::now();
        let response = answers.wait(url, || self.http.peer(url), self.http.send(request, url)).await?;
        answers.began(url, asked);
        debug!(host = %host(url), status = response.status().as_u16(), "answer of a registry");
        Ok(response)
    }
}

fn told_digest(headers: &HeaderMap) -> Option<Sha256> {
    text_header(headers, DIGEST)?.strip_prefix("sha256:")?.parse().ok()
}

fn is_page(headers: &HeaderMap) -> bool {
    text_header(headers, CONTENT_TYPE.as_str())
        .is_some_and(|kind| kind.to_ascii_lowercase().starts_with("text/html"))
}

fn not_a_registry(host: String, why: &str) -> Error {
    Error::NotARegistry { host, why: why.to_owned() }
}

/// RFC 7617.
fn basic(login: &Login) -> HeaderValue {
    use base64::Engine as _;
    let pair = base64::prelude::BASE64_STANDARD.encode(format!("{}:{}", login.user(), login.expose()));
    let mut header = HeaderValue::from_str(&format!("Basic {pair}")).expect("base64 is ASCII");
    header.set_sensitive(true);
    header
}
