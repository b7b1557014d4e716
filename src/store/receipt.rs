//! The receipt: what publish writes and later runs read. It proves that the file with this size,
//! mtime and inode had these digests, so that it need not be hashed again.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::layout::Layout;
use crate::content::{Content, Digest, GitSha1, Sha256};
use crate::disk::{self, Durability, Identity};
use crate::error::Error;
use crate::plan::WantedFile;
use crate::request::{Commit, RepoId, RepoPath, Revision};

/// One verified file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Version of this format.
    pub version: u32,
    /// Path in the repository.
    pub path: RepoPath,
    /// The file as it was when it was verified.
    #[serde(flatten)]
    pub identity: Identity,
    /// SHA-256 of the bytes, where it is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sha256: Option<Sha256>,
    /// Git blob id, of a file that is not in LFS.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub git_sha1: Option<GitSha1>,
    /// The repository it came from.
    pub repo: RepoId,
    /// The revision that was asked for.
    pub revision: Revision,
    /// The commit that revision was.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub commit: Option<Commit>,
    /// When it was verified, in seconds since the epoch.
    pub verified_at: u64,
    /// Which program wrote this.
    pub tool: String,
}

const VERSION: u32 = 1;

impl Receipt {
    /// For a file whose bytes were just found right.
    pub fn new(
        file: &WantedFile,
        identity: Identity,
        repo: &RepoId,
        revision: &Revision,
        commit: Option<Commit>,
    ) -> Self {
        let (sha256, git_sha1) = (file.content.sha256(), file.content.git_sha1());
        Self {
            version: VERSION,
            path: file.path.clone(),
            identity,
            sha256,
            git_sha1,
            repo: repo.clone(),
            revision: revision.clone(),
            commit,
            verified_at: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            tool: concat!("modelfetch ", env!("CARGO_PKG_VERSION")).into(),
        }
    }

    /// Reads one. What cannot be understood proves nothing and counts as absent.
    pub fn read(path: &Path) -> Result<Option<Self>, Error> {
        let Some(bytes) = disk::read_if_present(path)? else { return Ok(None) };
        Ok(Self::parse(&bytes))
    }

    /// Understands the content of a receipt file.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok().filter(|receipt: &Self| receipt.version == VERSION)
    }

    /// Writes it where `layout` wants it. It only saves work, so it need not survive a power cut.
    pub fn write(&self, layout: &Layout, digest: &Digest) -> Result<(), Error> {
        let json = serde_json::to_vec(self).map_err(|why| Error::Internal(format!("receipt: {why}")))?;
        disk::replace(&layout.receipt(&self.path, digest), &json, Durability::Process)
    }

    /// What the bytes were found to be.
    pub fn content(&self) -> Option<Content> {
        Content::of_digests(self.identity.size, self.sha256, self.git_sha1)
    }

    /// Whether it proves that the file with `identity` is `content`.
    pub fn proves(&self, identity: &Identity, content: &Content) -> bool {
        self.identity == *identity && self.content().is_some_and(|own| own.proves(content))
    }
}
