//! Step 2, resolve: ask the Hub what a revision's files are: commit, size, digest, and where to
//! get them. Knows nothing of the target directory.

use serde::Serialize;

use crate::request::{Commit, Digest, RepoId, RepoPath, Revision, Sha256};

/// The files of a request as the Hub describes them.
#[derive(Debug, Clone)]
pub struct Resolution {
    /// The repository, by its current name.
    pub repo: RepoId,
    /// What was asked for.
    pub revision: Revision,
    /// The commit it is; unknown where receipts alone answered.
    pub commit: Option<Commit>,
    /// The files, in the order asked for.
    pub files: Vec<RemoteFile>,
}

/// One file as the Hub announces it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RemoteFile {
    /// Path in the repository.
    pub path: RepoPath,
    /// Bytes.
    pub size: u64,
    /// What its bytes must hash to.
    #[serde(serialize_with = "as_text")]
    pub digest: Digest,
    /// The user's SHA-256, where the Hub's digest is another kind of hash: both must match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pin: Option<Sha256>,
}

fn as_text<S: serde::Serializer>(digest: &Digest, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(digest)
}
