//! `modelfetch list`: what a directory or cache holds. Asks nobody, and reads no file but receipts and journals.

use std::path::PathBuf;

use serde::Serialize;

use super::Context;
use crate::content::{GitSha1, Sha256};
use crate::error::Error;
use crate::plan::Vouchers;
use crate::request::{Commit, Destination, RepoId, RepoPath, Revision};
use crate::store::Store;
use crate::store::holdings::{Condition, Holding, Unfinished};

/// What a target holds.
#[derive(Debug, Clone, Serialize)]
pub struct Held {
    /// Files that were verified, by path.
    pub files: Vec<HeldFile>,
    /// Downloads that are not complete, by path.
    pub unfinished: Vec<HeldPart>,
}

/// A file with a receipt.
#[derive(Debug, Clone, Serialize)]
pub struct HeldFile {
    /// Path on disk.
    pub target: PathBuf,
    /// The repository it came from.
    #[serde(serialize_with = "crate::words::as_text")]
    pub repo: RepoId,
    /// What was asked for.
    pub revision: Revision,
    /// The commit that was, where it is known.
    pub commit: Option<Commit>,
    /// Path in the repository.
    pub path: RepoPath,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of the bytes, where that was known.
    pub sha256: Option<Sha256>,
    /// Git blob id, of a file that is not in LFS.
    pub git_sha1: Option<GitSha1>,
    /// Who said what its bytes must be: `hub`, `registry`, `lock`, `pin`, or a signer as `key:` or `certificate:` with a SHA-256.
    pub vouched_by: Vouchers,
    /// When it was verified, in seconds since the epoch.
    pub verified_at: u64,
    /// Whether it still is the file that was verified.
    pub state: Condition,
}

/// A download that is not complete.
#[derive(Debug, Clone, Serialize)]
pub struct HeldPart {
    /// The partial file.
    pub partial: PathBuf,
    /// The repository it comes from.
    #[serde(serialize_with = "crate::words::as_text")]
    pub repo: RepoId,
    /// Path in the repository.
    pub path: RepoPath,
    /// Bytes of the whole file.
    pub size: u64,
    /// Bytes that need not be fetched again.
    pub have: u64,
    /// When bytes last came, in seconds since the epoch.
    pub modified_at: u64,
}

/// Looks at a target, and at those in folders below it.
pub async fn list(destination: &Destination, context: &Context) -> Result<Held, Error> {
    let destination = destination.clone();
    context.stop.or_blocking("looking at the disk", move || look(&destination)).await
}

fn look(destination: &Destination) -> Result<Held, Error> {
    let mut held = Held { files: Vec::new(), unfinished: Vec::new() };
    for store in Store::all(destination)? {
        held.files.extend(store.holdings()?.into_iter().map(HeldFile::from));
        held.unfinished.extend(store.unfinished()?.into_iter().map(HeldPart::from));
    }
    Ok(held)
}

impl From<Holding> for HeldFile {
    fn from(Holding { receipt, content, target, condition, .. }: Holding) -> Self {
        Self {
            target,
            repo: receipt.origin.repo,
            revision: receipt.origin.revision,
            commit: receipt.origin.commit,
            path: receipt.path,
            size: content.size(),
            sha256: content.sha256(),
            git_sha1: content.git_sha1(),
            vouched_by: receipt.vouched_by,
            verified_at: receipt.verified_at,
            state: condition,
        }
    }
}

impl From<Unfinished> for HeldPart {
    fn from(part: Unfinished) -> Self {
        let Unfinished { repo, path, size, have, modified_at, partial, .. } = part;
        Self { partial, repo, path, size, have, modified_at }
    }
}
