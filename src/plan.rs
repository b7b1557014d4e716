//! What will be done about each file of a request: data alone. The store decides it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::content::Content;
use crate::error::Error;
use crate::request::{Commit, RepoId, RepoPath, Revision};

/// A name and the content it should have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WantedFile {
    /// Path in the repository.
    pub path: RepoPath,
    /// What its bytes must be.
    #[serde(flatten)]
    pub content: Content,
}

impl WantedFile {
    /// Length in bytes.
    pub fn size(&self) -> u64 {
        self.content.size()
    }
}

/// Where the files of a request come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The repository.
    pub repo: RepoId,
    /// The revision that was asked for.
    pub revision: Revision,
    /// The commit it is; unknown where receipts alone answered.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub commit: Option<Commit>,
}

/// What will be done.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    /// The repository.
    #[serde(serialize_with = "crate::words::as_text")]
    pub repo: RepoId,
    /// The revision that was asked for.
    pub revision: Revision,
    /// The commit it is.
    pub commit: Option<Commit>,
    /// The directory the user named.
    pub dir: PathBuf,
    /// Every file, in the order asked for.
    pub items: Vec<Item>,
    /// Size of all files.
    pub bytes_total: u64,
    /// Bytes to be fetched.
    pub bytes_to_fetch: u64,
    /// Bytes of disk space still to be taken.
    pub bytes_needed: u64,
    /// Bytes of disk space free, where the file system tells.
    pub bytes_free: Option<u64>,
}

/// One file of a plan.
#[derive(Debug, Clone, Serialize)]
pub struct Item {
    /// The file.
    #[serde(flatten)]
    pub file: WantedFile,
    /// Where its verified bytes will lie.
    pub target: PathBuf,
    /// What will be done.
    #[serde(flatten)]
    pub action: Action,
}

/// What to do about one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "action", rename_all = "lowercase")]
pub enum Action {
    /// It is there and was verified.
    Skip,
    /// It is there, without proof: hash it, and fetch it only if it is wrong.
    Adopt,
    /// Fetched once already for another name of this request.
    Copy,
    /// A part of it is there.
    Resume {
        /// Bytes that need not be fetched again.
        have: u64,
    },
    /// Fetch all of it.
    Fetch,
}

impl Plan {
    /// Fails with the exact shortfall if there is not enough room.
    pub fn check_space(&self) -> Result<(), Error> {
        match self.bytes_free {
            Some(free) if self.bytes_needed > free => {
                Err(Error::NoSpace { dir: self.dir.clone(), need: self.bytes_needed, free })
            }
            _ => Ok(()),
        }
    }
}

impl Item {
    /// Bytes that the network has to bring.
    pub fn bytes_to_fetch(&self) -> u64 {
        match self.action {
            Action::Resume { have } => self.file.size().saturating_sub(have),
            Action::Fetch => self.file.size(),
            Action::Skip | Action::Adopt | Action::Copy => 0,
        }
    }
}
