//! Where the bytes of one file are, and how to find them again when a signed URL has expired.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::{Response, Url};
use tokio::sync::Mutex;

use crate::catalog::Hub;
use crate::content::Content;
use crate::error::{Error, Failure};
use crate::plan::WantedFile;
use crate::request::RepoId;
use crate::words::host;

/// A file that can be read by ranges.
pub struct Source {
    hub: Arc<Hub>,
    repo: RepoId,
    /// The commit, so that a branch that moves meanwhile changes nothing.
    revision: String,
    file: WantedFile,
    current: Mutex<Option<Location>>,
    /// Which endpoint is asked first; the next one after a failover.
    first: AtomicUsize,
}

/// A URL with its place in the sequence of renewals.
#[derive(Debug, Clone)]
pub struct Location {
    url: Url,
    generation: u32,
}

impl Location {
    /// Host and port.
    pub fn host(&self) -> String {
        host(&self.url)
    }

    /// The URL, whose query may be a secret.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// How many times the URL was renewed before this one.
    pub fn generation(&self) -> u32 {
        self.generation
    }
}

impl Source {
    /// `url` saves the first question to the Hub.
    pub fn new(hub: Arc<Hub>, repo: RepoId, revision: String, file: WantedFile, url: Option<Url>) -> Self {
        let current = Mutex::new(url.map(|url| Location { url, generation: 0 }));
        Self { hub, repo, revision, file, current, first: AtomicUsize::new(0) }
    }

    /// The current location; asks the Hub if there is none yet.
    pub async fn location(&self) -> Result<Location, Error> {
        let mut current = self.current.lock().await;
        if current.is_none() {
            *current = Some(Location { url: self.ask().await?, generation: 0 });
        }
        current.clone().ok_or_else(|| Error::Internal("a location was lost".into()))
    }

    /// Whether there is another endpoint to ask.
    pub fn has_alternatives(&self) -> bool {
        self.hub.endpoints() > 1
    }

    /// A location newer than `stale`, from the next endpoint if `elsewhere`. Many connections may
    /// ask at once; the Hub is asked once.
    pub async fn renew(&self, stale: &Location, elsewhere: bool) -> Result<Location, Error> {
        let mut current = self.current.lock().await;
        match &*current {
            Some(location) if location.generation > stale.generation => Ok(location.clone()),
            _ => {
                self.first.fetch_add(usize::from(elsewhere), Ordering::Relaxed);
                let location = Location { url: self.ask().await?, generation: stale.generation + 1 };
                Ok(current.insert(location).clone())
            }
        }
    }

    /// Sends a GET for an inclusive range of bytes, or for all; `timeout` is for the headers.
    pub async fn get(
        &self,
        location: &Location,
        range: Option<(u64, u64)>,
        timeout: Duration,
    ) -> Result<Response, Failure> {
        self.hub.get(&location.url, range, timeout).await
    }

    async fn ask(&self) -> Result<Url, Error> {
        let head = self
            .hub
            .head_from(self.first.load(Ordering::Relaxed), &self.repo, &self.revision, &self.file.path)
            .await?;
        let announced = head.digest.map(|digest| Content::new(head.size, digest));
        let is_same = head.size == self.file.size()
            && announced.is_none_or(|announced| {
                self.file.content.proves(&announced)
                    || announced.key() != self.file.content.key()
                        && self.file.content.sha256().is_some()
                        && self.file.content.git_sha1().is_none()
                        && announced.git_sha1().is_some()
            });
        if !is_same {
            return Err(Error::KeepsChanging {
                path: self.file.path.clone(),
                host: host(&head.url),
                why: "it now announces another size or digest".into(),
            });
        }
        Ok(head.url)
    }
}
