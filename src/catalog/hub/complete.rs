//! What the answer about a file did not tell is asked in other ways of the same endpoint. A mirror, an edge or a
//! cache is a way to the bytes, and no worse a one for leaving out a header: an edge that compresses drops
//! the length, Artifactory sends no `X-Repo-Commit`, a cache has etags of its own.

use std::sync::Arc;

use percent_encoding::utf8_percent_encode;
use tracing::debug;
use url::Url;

use super::head::Head;
use super::{COMPONENT, Excess, FIRST_BYTE, Hub, PATH, Question, api_path, parse_url, refusal};
use crate::catalog::tree::{self, Entry};
use crate::content::{Digest, Sha256, XetHash};
use crate::error::Error;
use crate::net::text_header;
use crate::request::{Commit, Endpoint};
use crate::retry::Setback;
use crate::words::chain;

/// What must be told of a file, in whatever way.
#[derive(Debug, Clone, Copy)]
pub struct Needs {
    /// The pin, if there is one; else its digest must be told.
    pub pin: Option<Sha256>,
    /// The commit: a place is named by it.
    pub commit: bool,
}

/// A file as an endpoint describes it.
#[derive(Debug, Clone)]
pub struct Described {
    /// The commit it is of.
    pub commit: Option<Commit>,
    /// What its bytes hash to; unknown only where that was not needed.
    pub digest: Option<Digest>,
    /// Nobody but an `ETag` tells the digest.
    pub is_guess: bool,
    /// Length in bytes.
    pub size: u64,
    /// What Xet storage calls it.
    pub xet_hash: Option<XetHash>,
    /// Where the bytes are.
    pub url: Url,
}

impl Hub {
    /// Adds what is missing, as far as the endpoint tells it: the commit by `revision`, size and digest by the list of
    /// files, the size alone by a range of one byte.
    pub(super) async fn complete(
        &self,
        endpoint: &Endpoint,
        mut head: Head,
        subject: &refusal::Subject<'_>,
        needs: Needs,
    ) -> Result<Described, Setback> {
        if head.commit.is_none() {
            head.commit = match subject.revision.parse() {
                Ok(commit) => Some(commit),
                Err(_) => if_told(self.commit_at(endpoint, subject).await)?,
            };
        }
        if head.digest.is_none() || head.size.is_none() {
            let listed = match self.entry(endpoint, head.commit, subject).await {
                // A pin is enough: nobody has to wait for a list that is out of order.
                Err(_) if needs.pin.is_some() => None,
                listed => listed?,
            };
            if let Some(Entry { file, .. }) = listed {
                (head.size, head.digest) = (Some(file.size()), Some(file.content.key()));
                head.xet_hash = head.xet_hash.or(file.xet_hash());
            }
        }
        if head.size.is_none() {
            let first = if_told(self.facts_at(endpoint, &head.url, FIRST_BYTE, subject).await)?;
            head.size = first.and_then(|(facts, url)| facts.head(url).ok()?.size);
        }
        head.described(needs).map_err(|why| super::not_a_hub(endpoint, why))
    }

    /// What the list of files says about one of them.
    async fn entry(
        &self,
        endpoint: &Endpoint,
        commit: Option<Commit>,
        subject: &refusal::Subject<'_>,
    ) -> Result<Option<Entry>, Setback> {
        let Some(path) = subject.path else { return Ok(None) };
        let revision = commit.map_or_else(|| subject.revision.to_owned(), |commit| commit.to_string());
        let revision = utf8_percent_encode(&revision, COMPONENT);
        let api = api_path(subject.repo);
        let is_it = |entry: &Entry| entry.file.path == *path;
        let listed = self.paths_info(endpoint, &format!("{api}/paths-info/{revision}"), subject).await;
        if let Some(entries) = if_told(listed)? {
            return Ok(entries.into_iter().find(is_it));
        }
        let folder = match path.as_str().rsplit_once('/') {
            Some((folder, _)) => format!("/{}", utf8_percent_encode(folder, PATH)),
            None => String::new(),
        };
        // One of them will do.
        for place in [format!("tree/{revision}{folder}"), format!("revision/{revision}?blobs=true")] {
            let (place, all) = (format!("{api}/{place}"), Arc::default());
            let listed = Box::pin(self.tree_at(endpoint, &place, subject, &all)).await;
            if let Some((listed, _)) = if_told(listed)? {
                return Ok(listed.entries.into_iter().find(is_it));
            }
        }
        Ok(None)
    }

    /// `POST …/paths-info/{revision}` (`huggingface_hub` `hf_api.py` `get_paths_info`).
    async fn paths_info(
        &self,
        endpoint: &Endpoint,
        place: &str,
        subject: &refusal::Subject<'_>,
    ) -> Result<Vec<Entry>, Setback> {
        let path = subject.path.map_or("", |path| path.as_str());
        let form = format!("paths={}", utf8_percent_encode(path, COMPONENT));
        let url = parse_url(&endpoint.join(place))?;
        let (body, ..) = self.page(&url, Question::Post(&form), subject, Excess::Refuse).await?;
        let listed = tree::parse_page(&body).map_err(|why| super::not_a_hub(endpoint, why))?;
        Ok(listed.entries)
    }

    /// The commit, from the header that a Hub puts on all its answers about files, also where there is no such file.
    pub(super) async fn commit_by_header(
        &self,
        endpoint: &Endpoint,
        subject: &refusal::Subject<'_>,
    ) -> Result<Option<Commit>, Setback> {
        let place = super::resolve_path(subject.repo, subject.revision, ".gitattributes");
        let url = parse_url(&endpoint.join(&place))?;
        let answer = self.question(&Question::Head, &url).await?;
        Ok(text_header(answer.headers(), "x-repo-commit").and_then(|commit| commit.parse().ok()))
    }
}

impl Head {
    /// The error says which header is missing, although other ways were tried.
    pub(super) fn described(self, needs: Needs) -> Result<Described, String> {
        let Self { commit, digest, guess, size, xet_hash, url } = self;
        let is_needed = needs.pin.is_none();
        let is_guess = digest.is_none() && is_needed;
        let digest = digest.or(guess.filter(|_| is_guess));
        if digest.is_none() && is_needed {
            let why =
                "no X-Linked-ETag header tells the digest, nor does a list of files; pin it with --sha256";
            return Err(why.into());
        }
        let size = size
            .ok_or("no X-Linked-Size or Content-Length header tells the size, nor does a list or a range")?;
        if commit.is_none() && needs.commit {
            let why = "no X-Repo-Commit header tells the commit, nor does its API; name it with --revision";
            return Err(why.into());
        }
        Ok(Described { commit, digest, is_guess, size, xet_hash, url })
    }
}

/// Whether a question that was refused may be answered by other means: who has no API says that it has no such
/// revision, or shows a page.
pub(super) fn may_be_told_otherwise(refused: &Setback) -> bool {
    match refused {
        Setback::Failed(failure) => !failure.is_transient(),
        Setback::Useless(error) => matches!(error, Error::NotAHub { .. } | Error::RevisionNotFound { .. }),
        Setback::Final(_) => false,
    }
}

/// What an endpoint told; nothing if it refused, or answered something else. Only what may pass is worth asking
/// all of it again.
pub(super) fn if_told<T>(told: Result<T, Setback>) -> Result<Option<T>, Setback> {
    match told {
        Ok(told) => Ok(Some(told)),
        Err(Setback::Failed(failure)) if failure.is_transient() => Err(failure.into()),
        Err(Setback::Failed(failure)) => {
            debug!(failure = chain(&failure), "not told");
            Ok(None)
        }
        Err(Setback::Useless(error) | Setback::Final(error)) => {
            debug!(error = chain(&error), "not told");
            Ok(None)
        }
    }
}
