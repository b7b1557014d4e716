//! Step 2, resolve: ask the Hub what a revision's files are: commit, size, digest, and where to
//! get them. Knows nothing of the target directory.

mod hub;
mod refusal;
mod source;
pub mod tree;

use std::collections::HashMap;

use futures_util::{StreamExt, TryStreamExt, stream};
use reqwest::Url;
use serde::Serialize;

pub use hub::{Head, Hub, next_page, redirect_target};
pub use source::{Location, Source};
pub use tree::Entry;

use crate::error::Error;
use crate::request::{Commit, Digest, Pins, RepoId, RepoPath, Request, Revision, Selection, Sha256};

/// Questions about named files under way at once.
const HEADS_PARALLEL: usize = 8;

/// The files of a request as the Hub describes them.
#[derive(Debug, Clone)]
pub struct Resolution {
    /// The repository.
    pub repo: RepoId,
    /// What was asked for.
    pub revision: Revision,
    /// The commit it is; unknown where receipts alone answered.
    pub commit: Option<Commit>,
    /// The files, in the order asked for.
    pub files: Vec<RemoteFile>,
    /// Locations that came with the answers.
    pub urls: HashMap<RepoPath, Url>,
    /// The whole listing of the commit, where it was needed.
    pub listing: Option<Vec<Entry>>,
}

/// One file as the Hub announces it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RemoteFile {
    /// Path in the repository.
    pub path: RepoPath,
    /// Bytes.
    pub size: u64,
    /// What its bytes must hash to.
    #[serde(serialize_with = "crate::words::as_text")]
    pub digest: Digest,
    /// The user's SHA-256, where the Hub's digest is another kind of hash: both must match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pin: Option<Sha256>,
}

/// Asks the Hub. `known` is what earlier runs learnt: if the revision is still that commit, one
/// question is enough.
pub async fn resolve(hub: &Hub, request: &Request, known: Option<&Resolution>) -> Result<Resolution, Error> {
    let resolution = match &request.selection {
        Selection::Named(paths) => named(hub, request, paths, known).await?,
        Selection::Matching(_) => matching(hub, request, known).await?,
    };
    Ok(resolution)
}

async fn named(
    hub: &Hub,
    request: &Request,
    paths: &[RepoPath],
    known: Option<&Resolution>,
) -> Result<Resolution, Error> {
    check_pins(&request.pins, paths)?;
    let (first, rest) = paths.split_first().ok_or_else(|| Error::Internal("no file is selected".into()))?;
    let head = hub.head(&request.repo, request.revision.as_str(), first).await?;
    let commit = head.commit;
    let mut resolution = Resolution::empty(request, Some(commit));
    resolution.add(request, first, head)?;
    if let Some(known) = known
        && known.commit == Some(commit)
        && known.files.first() == resolution.files.first()
    {
        return Ok(Resolution { urls: resolution.urls, ..known.clone() });
    }
    // The commit, not the branch: all files are of one snapshot even if the branch moves now.
    let commit = commit.to_string();
    let heads: Vec<_> = stream::iter(rest)
        .map(|path| hub.head(&request.repo, &commit, path))
        .buffered(HEADS_PARALLEL)
        .try_collect()
        .await?;
    for (path, head) in rest.iter().zip(heads) {
        resolution.add(request, path, head)?;
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

fn check_pins(pins: &Pins, paths: &[RepoPath]) -> Result<(), Error> {
    pins.check_used(&paths.iter().collect::<Vec<_>>())
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

    /// Named files whose size and digest are known already.
    pub fn from_files(request: &Request, commit: Option<Commit>, files: Vec<RemoteFile>) -> Self {
        Self { files, ..Self::empty(request, commit) }
    }

    /// Picks the selected files from a commit's listing.
    pub fn from_listing(request: &Request, commit: Commit, listing: Vec<Entry>) -> Result<Self, Error> {
        let paths: Vec<_> = listing.iter().map(|entry| entry.file.path.clone()).collect();
        let picked = match &request.selection {
            Selection::Named(named) => named.clone(),
            Selection::Matching(patterns) => {
                patterns.pick(&paths).map_err(|nothing| Error::NothingMatches {
                    repo: request.repo.clone(),
                    revision: request.revision.clone(),
                    wanted: request.selection.describe(),
                    quants: nothing.quants,
                })?
            }
        };
        check_pins(&request.pins, &picked)?;
        let mut resolution = Self::empty(request, Some(commit));
        let by_path: HashMap<_, _> = listing.iter().map(|entry| (&entry.file.path, &entry.file)).collect();
        for path in &picked {
            let file = by_path.get(path).ok_or_else(|| Error::FileNotFound {
                repo: request.repo.clone(),
                revision: request.revision.clone(),
                path: path.clone(),
            })?;
            let pin = request.pins.for_file(path, picked.len());
            let (digest, pin) = agree(path, Some(file.digest), pin)?;
            resolution.files.push(RemoteFile { digest, pin, ..(*file).clone() });
        }
        resolution.listing = Some(listing);
        Ok(resolution)
    }

    fn add(&mut self, request: &Request, path: &RepoPath, head: Head) -> Result<(), Error> {
        let Selection::Named(paths) = &request.selection else {
            return Err(Error::Internal("only named files are asked for one by one".into()));
        };
        let host = crate::words::host(&head.url);
        let pin = request.pins.for_file(path, paths.len());
        if head.digest.is_none() && pin.is_none() {
            let why = format!("it announces no digest for `{path}`; pin one with --sha256");
            return Err(Error::NotAHub { host, why });
        }
        let (digest, pin) = agree(path, head.digest, pin)?;
        self.files.push(RemoteFile { path: path.clone(), size: head.size, digest, pin });
        self.urls.insert(path.clone(), head.url);
        Ok(())
    }
}

/// The digest to verify against. A pin wins, but must agree where the two can be compared.
fn agree(
    path: &RepoPath,
    announced: Option<Digest>,
    pin: Option<Sha256>,
) -> Result<(Digest, Option<Sha256>), Error> {
    match (announced, pin) {
        (Some(Digest::Sha256(announced)), Some(pin)) if announced != pin => {
            Err(Error::PinMismatch { path: path.clone(), pinned: pin, announced: Digest::Sha256(announced) })
        }
        (Some(digest @ Digest::GitSha1(_)), pin) => Ok((digest, pin)),
        (Some(digest), _) => Ok((digest, None)),
        (None, Some(pin)) => Ok((Digest::Sha256(pin), None)),
        (None, None) => Err(Error::Internal("a file without any digest".into())),
    }
}
