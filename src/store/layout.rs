//! Where everything lies in a target directory: the final files, and this tool's state beside
//! them on the same file system.
//!
//! ```text
//! plain    DIR/<path>                                      state in DIR/.modelfetch
//! cache    ROOT/models--o--n/blobs/<digest>                state in ROOT/models--o--n/.modelfetch
//!          ROOT/models--o--n/snapshots/<commit>/<path> -> ../../blobs/<digest>
//! state    partial/<digest>                                bytes so far
//!          partial/<digest>.json, ….flushed.json           which of them can be believed
//!          receipts/….json                                 proof that a final file was verified
//!          lock, owner….json                               one writer at a time
//! ```
//! The cache layout is `huggingface_hub`'s (`file_download.py`); its scanner ignores the state folder.

use std::path::{Path, PathBuf};

use crate::content::Digest;
use crate::request::{Commit, Destination, RepoId, RepoPath, Revision};

/// Name of the state folder.
pub const STATE: &str = ".modelfetch";

/// Paths of one request's target.
#[derive(Debug, Clone)]
pub struct Layout {
    root: PathBuf,
    state: PathBuf,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Plain { repo_folder: String },
    Cache { repo: PathBuf },
}

impl Layout {
    /// The layout of `destination` for `repo`.
    pub fn new(destination: &Destination, repo: &RepoId) -> Self {
        match destination {
            Destination::Dir(root) => Self {
                root: root.clone(),
                state: root.join(STATE),
                kind: Kind::Plain { repo_folder: repo.cache_folder() },
            },
            Destination::Cache(root) => {
                let repo = root.join(repo.cache_folder());
                Self { root: root.clone(), state: repo.join(STATE), kind: Kind::Cache { repo } }
            }
        }
    }

    /// The directory the user named.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The state folder.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// Where the verified bytes of a file lie.
    pub fn target(&self, path: &RepoPath, digest: &Digest) -> PathBuf {
        match &self.kind {
            Kind::Plain { .. } => self.root.join(path.as_str()),
            Kind::Cache { repo } => repo.join("blobs").join(digest.to_string()),
        }
    }

    /// Where a reader looks for the file: differs from [`Layout::target`] in a cache.
    pub fn pointer(&self, path: &RepoPath, commit: &Commit) -> PathBuf {
        match &self.kind {
            Kind::Plain { .. } => self.root.join(path.as_str()),
            Kind::Cache { repo } => repo.join("snapshots").join(commit.to_string()).join(path.as_str()),
        }
    }

    /// The folder of all partial files and journals.
    pub fn partials(&self) -> PathBuf {
        self.state.join("partial")
    }

    /// The receipt of a file. A cache holds one per content, a directory one per name.
    pub fn receipt(&self, path: &RepoPath, digest: &Digest) -> PathBuf {
        let name = match &self.kind {
            Kind::Plain { .. } => path.as_str().to_owned(),
            Kind::Cache { .. } => digest.to_string(),
        };
        self.receipts().join(name + ".json")
    }

    /// The folder of all receipts.
    pub fn receipts(&self) -> PathBuf {
        self.state.join("receipts")
    }

    /// Which commit a revision was when the Hub was last asked: 40 hex digits, no newline.
    pub fn reference(&self, revision: &Revision) -> PathBuf {
        self.metadata().join("refs").join(revision.as_str())
    }

    /// The listing of a commit.
    pub fn tree(&self, commit: &Commit) -> PathBuf {
        self.metadata().join("trees").join(format!("{commit}.json"))
    }

    fn metadata(&self) -> PathBuf {
        match &self.kind {
            Kind::Plain { repo_folder } => self.state.join("hub").join(repo_folder),
            Kind::Cache { repo } => repo.clone(),
        }
    }

    /// The root of a cache, or `None` for plain files.
    pub fn is_cache(&self) -> bool {
        matches!(self.kind, Kind::Cache { .. })
    }
}
