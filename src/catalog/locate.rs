//! Where the Hub has the bytes of a file.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use reqwest::{Response, Url};

use super::{Hub, Resolution};
use crate::error::{Error, Failure};
use crate::plan::WantedFile;
use crate::request::{RepoId, RepoPath};
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

    /// The bytes of one of its files. `url` saves the first question to the Hub.
    pub fn source(&self, file: &WantedFile, url: Option<Url>) -> Arc<dyn Source> {
        let locate = HubFile { snapshot: self.clone(), path: file.path.clone() };
        Arc::new(HttpSource::new(locate, file.clone(), url, Arc::clone(self.hub.patience())))
    }
}

struct HubFile {
    snapshot: Snapshot,
    path: RepoPath,
}

impl Locate for HubFile {
    fn locate(&self, first: usize) -> BoxFuture<'_, Result<Located, Error>> {
        let Snapshot { hub, repo, revision } = &self.snapshot;
        Box::pin(async move {
            let head = hub.locate(first, repo, revision, &self.path).await?;
            Ok(Located { url: head.url, size: head.size, digest: head.digest })
        })
    }

    fn places(&self) -> usize {
        self.snapshot.hub.endpoints()
    }

    fn get<'a>(
        &'a self,
        url: &'a Url,
        range: Option<(u64, u64)>,
    ) -> BoxFuture<'a, Result<Response, Failure>> {
        Box::pin(self.snapshot.hub.get(url, range))
    }

    fn is_endpoint(&self, url: &Url) -> bool {
        self.snapshot.hub.is_endpoint(url)
    }
}
