//! Where the Hub has the bytes of a file.

use std::sync::{Arc, OnceLock};

use futures_util::future::BoxFuture;
use reqwest::{Response, Url};

use super::{Head, Hub, Resolution, address, oci};
use crate::content::{Digest, GitSha1};
use crate::error::{Error, Failure};
use crate::net;
use crate::plan::WantedFile;
use crate::request::RepoId;
use crate::retry::Setback;
use crate::source::Source;
use crate::source::http::{HttpSource, Locate, Located};

/// The files of one revision of a repository: a commit, so that a branch that moves meanwhile changes
/// nothing.
#[derive(Clone)]
pub struct Snapshot {
    /// Who is asked.
    hub: Arc<Hub>,
    /// The repository.
    repo: RepoId,
    /// The commit; a branch or tag where it is not known.
    revision: String,
}

impl Snapshot {
    /// What a reference was found to stand for.
    pub fn new(hub: Arc<Hub>, resolution: &Resolution) -> Self {
        Self { hub, repo: resolution.repo.clone(), revision: resolution.commit_or_revision() }
    }

    /// The address at which a file that is known, as from a lock file, is asked for without a question before. Small files
    /// have a place of their own, which [`Self::source`] finds.
    pub fn place(&self, file: &WantedFile) -> Option<Url> {
        let has_other = self.repo.is_oci() || self.repo.is_address();
        let is_small = file.content.git_sha1().is_some() || has_other;
        self.hub.place(&self.repo, &self.revision, &file.path).filter(|_| !is_small)
    }

    /// The bytes of one of its files. `url` saves the first question to the Hub.
    pub fn source(&self, file: &WantedFile, url: Option<Url>) -> Arc<dyn Source> {
        if self.repo.is_oci() {
            return oci::source(Arc::clone(&self.hub), self.repo.clone(), file);
        }
        if self.repo.is_address() {
            return address::source(&self.hub, &self.repo, file);
        }
        let is_guessable = url.is_none();
        let blob = file.content.git_sha1().filter(|_| is_guessable);
        let locate = HubFile { snapshot: self.clone(), file: file.clone(), blob, guess: OnceLock::new() };
        Arc::new(HttpSource::new(locate, file.clone(), url, Arc::clone(self.hub.patience())))
    }
}

struct HubFile {
    snapshot: Snapshot,
    file: WantedFile,
    /// Its git blob id, if it is a small file that is known from a list alone.
    blob: Option<GitSha1>,
    /// Where it was looked for without a question.
    guess: OnceLock<Url>,
}

impl HubFile {
    /// Where a Hub has a small file of a commit. Only once: who asks again was not content with what is there.
    fn guess(&self, first: usize) -> Option<Url> {
        let Snapshot { hub, repo, revision } = &self.snapshot;
        if let Some(guess) = self.guess.get() {
            hub.forgo_cache(guess);
            return None;
        }
        let url = self.blob.and_then(|_| hub.cached(first, repo, revision.parse().ok()?, &self.file.path))?;
        Some(self.guess.get_or_init(|| url).clone())
    }

    /// Fails unless a Hub has answered for this file: a server that has no such place may show a page there.
    fn check_guess(&self, url: &Url, response: &Response) -> Result<(), Failure> {
        let Head { commit, digest, guess, .. } = Head::from_headers(response.headers(), url.clone())
            .map_err(|why| net::misconfigured(url, why))?;
        let is_commit = commit.is_some_and(|commit| commit.to_string() == self.snapshot.revision);
        let is_blob = [digest, guess].contains(&self.blob.map(Digest::GitSha1));
        if is_commit || is_blob || !response.status().is_success() {
            return Ok(());
        }
        Err(net::misconfigured(url, "neither commit nor digest of the file"))
    }
}

impl Locate for HubFile {
    fn locate(&self, first: usize) -> BoxFuture<'_, Result<Located, Error>> {
        let Snapshot { hub, repo, revision } = &self.snapshot;
        Box::pin(async move {
            if let Some(url) = self.guess(first) {
                return Ok(Located { url, size: None, digest: None, is_guess: true });
            }
            let head = hub.locate(first, repo, revision, &self.file).await?;
            Ok(Located { url: head.url, size: head.size, digest: head.digest, is_guess: false })
        })
    }

    fn places(&self) -> usize {
        self.snapshot.hub.endpoints()
    }

    fn get<'a>(
        &'a self,
        url: &'a Url,
        range: Option<(u64, u64)>,
    ) -> BoxFuture<'a, Result<Response, Setback>> {
        Box::pin(async move {
            let response = self.snapshot.hub.get(url, range).await?;
            if self.guess.get() == Some(url) {
                self.check_guess(url, &response)?;
            }
            Ok(response)
        })
    }

    fn is_blind(&self, url: &Url) -> bool {
        self.snapshot.hub.registries().has(url)
    }

    fn is_endpoint(&self, url: &Url) -> bool {
        self.snapshot.hub.is_endpoint(url)
    }
}
