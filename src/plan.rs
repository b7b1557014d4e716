//! What will be done about each file of a request: data alone. The store decides it.

use std::path::PathBuf;

use serde::Serialize;

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
    /// Bytes of disk space free.
    pub bytes_free: u64,
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
        if self.bytes_needed > self.bytes_free {
            return Err(Error::NoSpace {
                dir: self.dir.clone(),
                need: self.bytes_needed,
                free: self.bytes_free,
            });
        }
        Ok(())
    }

    /// Whether every file is there, as far as can be told without hashing.
    pub fn is_present(&self) -> bool {
        self.items.iter().all(|item| matches!(item.action, Action::Skip | Action::Adopt))
    }

    /// Whether every file is there and verified.
    pub fn is_satisfied(&self) -> bool {
        self.items.iter().all(|item| item.action == Action::Skip)
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

    /// Whether its content is what another name of the request wants.
    pub fn brings(&self, file: &WantedFile) -> bool {
        self.file.content == file.content
    }
}
