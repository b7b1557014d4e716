//! What a reference stands for: the commit, the names and contents of its files, and where to get them.

mod hub;
pub mod listing;
mod locate;
pub mod recall;
pub mod tree;

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use url::Url;

pub use hub::{Described, Head, Hub, Needs, next_page};
pub use locate::Snapshot;
pub use tree::Entry;

use crate::content::{Content, Digest, Sha256};
use crate::error::Error;
use crate::plan::{Origin, WantedFile};
use crate::request::{Commit, Destination, RepoId, RepoPath, Request, Revision, Selection, quants};
use crate::trust;
use crate::words::host;

/// Questions about named files under way at once.
const HEADS_PARALLEL: usize = 8;

/// The files of a request as the Hub describes them. A clone shares the listing and the texts of all paths.
#[derive(Debug, Clone)]
pub struct Resolution {
    /// The repository.
    pub repo: RepoId,
    /// What was asked for.
    pub revision: Revision,
    /// The commit it is; unknown where receipts alone answered.
    pub commit: Option<Commit>,
    /// The files, in the order in which they were named, or in that of the listing.
    pub files: Vec<WantedFile>,
    /// Locations that came with the answers.
    pub urls: HashMap<RepoPath, Url>,
    /// The whole listing of the commit, where it was needed.
    pub listing: Option<Arc<Vec<Entry>>>,
}

/// Asks the Hub. `known` is what earlier runs learnt: if the revision is still that commit, one
/// question is enough.
pub async fn resolve(hub: &Hub, request: &Request, known: Option<&Resolution>) -> Result<Resolution, Error> {
    let mut resolution = match &request.selection {
        Selection::Named(paths) => named(hub, request, paths, known).await?,
        Selection::Matching(_) => matching(hub, request, known).await?,
    };
    trust::share_pins(&mut resolution.files)?;
    Ok(resolution)
}

async fn named(
    hub: &Hub,
    request: &Request,
    paths: &[RepoPath],
    known: Option<&Resolution>,
) -> Result<Resolution, Error> {
    request.pins.check_used(paths.iter())?;
    let (first, rest) = paths.split_first().ok_or_else(|| Error::Internal("no file is selected".into()))?;
    let pin = |path| request.pins.for_file(path, paths.len());
    let is_cache = matches!(request.destination, Destination::Cache(_));
    let needs = |path| Needs { digest: pin(path).is_none(), commit: is_cache };
    let head = hub.head(&request.repo, request.revision.as_str(), first, needs(first)).await?;
    let commit = head.commit;
    if commit.is_none() {
        hub.warn(&format!(
            "{} does not tell which commit {} is: the files are verified, but may be of several commits",
            host(&head.url),
            request.revision
        ));
    }
    let mut resolution = Resolution::empty(request, commit);
    resolution.add(hub, first, pin(first), head)?;
    if let Some(known) = known
        && commit.is_some()
        && known.commit == commit
        && let Some((first, head)) = known.files.first().zip(resolution.files.first())
        && first.content.proves(&head.content)
    {
        return Ok(Resolution { urls: resolution.urls, ..known.clone() });
    }
    // The commit, not the branch: all files are of one snapshot even if the branch moves now.
    let revision = resolution.commit_or_revision();
    let heads: Vec<_> = stream::iter(rest)
        .map(|path| hub.head(&request.repo, &revision, path, needs(path)))
        .buffered(HEADS_PARALLEL)
        .try_collect()
        .await?;
    for (path, head) in rest.iter().zip(heads) {
        resolution.add(hub, path, pin(path), head)?;
    }
    Ok(resolution)
}

async fn matching(hub: &Hub, request: &Request, known: Option<&Resolution>) -> Result<Resolution, Error> {
    let commit = match request.revision.commit() {
        Some(commit) => commit,
        None => hub.commit(&request.repo, request.revision.as_str()).await?,
    };
    if let Some(known) = known
        && known.commit == Some(commit)
    {
        return Ok(known.clone());
    }
    let listing = hub.tree(&request.repo, &commit).await?;
    Resolution::from_listing(request, commit, listing)
}

impl Resolution {
    fn empty(request: &Request, commit: Option<Commit>) -> Self {
        Self {
            repo: request.repo.clone(),
            revision: request.revision.clone(),
            commit,
            files: Vec::new(),
            urls: HashMap::new(),
            listing: None,
        }
    }

    /// Where the files come from.
    pub fn origin(&self) -> Origin {
        Origin { repo: self.repo.clone(), revision: self.revision.clone(), commit: self.commit }
    }

    /// The commit, or, where it is not known, what was asked for.
    pub fn commit_or_revision(&self) -> String {
        self.commit.map_or_else(|| self.revision.to_string(), |commit| commit.to_string())
    }

    /// The listing of the commit as it lies on disk, where it was needed.
    pub fn listing_json(&self) -> Result<Option<Vec<u8>>, Error> {
        self.listing.as_deref().map(|listing| listing::to_json(listing)).transpose()
    }

    /// Named files whose size and digest are known already.
    pub fn from_files(request: &Request, commit: Option<Commit>, files: Vec<WantedFile>) -> Self {
        Self { files, ..Self::empty(request, commit) }
    }

    /// Picks the files of a commit's listing that match the request's patterns.
    pub fn from_listing(request: &Request, commit: Commit, listing: Vec<Entry>) -> Result<Self, Error> {
        let Selection::Matching(patterns) = &request.selection else {
            return Err(Error::Internal("named files are asked for one by one".into()));
        };
        let picked: Vec<_> =
            listing.iter().map(|entry| &entry.file).filter(|file| patterns.pick(&file.path)).collect();
        if picked.is_empty() {
            return Err(Error::NothingMatches {
                repo: request.repo.clone(),
                revision: request.revision.clone(),
                wanted: request.selection.describe(),
                quants: quants(listing.iter().map(|entry| &entry.file.path)),
            });
        }
        request.pins.check_used(picked.iter().map(|file| &file.path))?;
        let vouched = picked.iter().map(|file| {
            let content =
                trust::vouch(&file.path, file.content, request.pins.for_file(&file.path, picked.len()))?;
            Ok(WantedFile { path: file.path.clone(), content })
        });
        let files = vouched.collect::<Result<_, Error>>()?;
        Ok(Self { files, listing: Some(Arc::new(listing)), ..Self::empty(request, Some(commit)) })
    }

    /// Adds a named file. Its pin and what a Hub alone says are certain; an etag is taken for want of
    /// anything better.
    fn add(&mut self, hub: &Hub, path: &RepoPath, pin: Option<Sha256>, head: Described) -> Result<(), Error> {
        if head.is_guess {
            hub.warn(&format!(
                "{} sends no X-Linked-ETag header and no list of files: its ETag is taken for the digest of `{path}`",
                host(&head.url)
            ));
        }
        let announced = head.digest.or(pin.map(Digest::Sha256));
        let announced =
            announced.ok_or_else(|| Error::Internal(format!("`{path}` has neither digest nor pin")))?;
        let content = trust::vouch(path, Content::new(head.size, announced), pin)?;
        self.files.push(WantedFile { path: path.clone(), content });
        self.urls.insert(path.clone(), head.url);
        Ok(())
    }
}
