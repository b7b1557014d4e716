//! Step 3, plan: compare what the Hub announced with what is on disk, decide what to do about
//! each file, and whether there is room. Reads the disk, changes nothing.

use std::path::PathBuf;

use serde::Serialize;
use tracing::debug;

use crate::disk::{self, Identity};
use crate::error::Error;
use crate::layout::Layout;
use crate::receipt::Receipt;
use crate::request::{Commit, Recheck, RepoId, Revision};
use crate::resolve::{RemoteFile, Resolution};
use crate::transfer::Journal;

/// Room for receipts, journals and directories.
const OVERHEAD_BYTES: u64 = 1 << 20;

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
    pub file: RemoteFile,
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

/// What is on disk for one file.
#[derive(Debug, Default)]
pub struct Found {
    /// The file at its final name.
    pub present: Option<Identity>,
    /// Its receipt.
    pub receipt: Option<Receipt>,
    /// Bytes in its partial file that can be used.
    pub partial: u64,
    /// Bytes of disk space its partial file takes.
    pub allocated: u64,
}

/// Decides about one file.
pub fn decide(found: &Found, wanted: &RemoteFile, recheck: Recheck) -> Action {
    if let Some(present) = &found.present {
        let receipt = found.receipt.as_ref().filter(|receipt| receipt.identity == *present);
        match receipt {
            Some(receipt) if receipt.proves(present, wanted) => {
                return if recheck == Recheck::Full { Action::Adopt } else { Action::Skip };
            }
            // Without a receipt it may be anything: a download by another tool, or damage.
            None if present.size == wanted.size => return Action::Adopt,
            _ => {}
        }
    }
    if found.partial > 0 { Action::Resume { have: found.partial } } else { Action::Fetch }
}

impl Plan {
    /// Looks at the disk and decides about every file.
    pub fn new(resolution: &Resolution, layout: &Layout, recheck: Recheck) -> Result<Self, Error> {
        let mut plan = Self {
            repo: resolution.repo.clone(),
            revision: resolution.revision.clone(),
            commit: resolution.commit,
            dir: layout.root().to_owned(),
            items: Vec::with_capacity(resolution.files.len()),
            bytes_total: 0,
            bytes_to_fetch: 0,
            bytes_needed: 0,
            bytes_free: disk::free_bytes(layout.root())?,
        };
        for file in &resolution.files {
            plan.add(file, layout, recheck)?;
        }
        if plan.bytes_needed > 0 {
            plan.bytes_needed += OVERHEAD_BYTES;
        }
        Ok(plan)
    }

    fn add(&mut self, file: &RemoteFile, layout: &Layout, recheck: Recheck) -> Result<(), Error> {
        let found = look(file, layout)?;
        let mut action = decide(&found, file, recheck);
        if matches!(action, Action::Resume { .. } | Action::Fetch)
            && self.items.iter().any(|item| item.brings(file))
        {
            action = Action::Copy;
        }
        debug!(path = %file.path, ?action, ?found, "plan");
        let missing = match action {
            Action::Skip | Action::Adopt => 0,
            Action::Copy => file.size,
            Action::Resume { .. } | Action::Fetch => file.size.saturating_sub(found.allocated),
        };
        self.bytes_total += file.size;
        self.bytes_needed += missing;
        let item = Item { file: file.clone(), target: layout.target(&file.path, &file.digest), action };
        self.bytes_to_fetch += item.bytes_to_fetch();
        self.items.push(item);
        Ok(())
    }

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
            Action::Resume { have } => self.file.size.saturating_sub(have),
            Action::Fetch => self.file.size,
            Action::Skip | Action::Adopt | Action::Copy => 0,
        }
    }

    /// Whether its content is what another name of the request wants.
    pub fn brings(&self, file: &RemoteFile) -> bool {
        self.file.digest == file.digest && self.file.pin == file.pin && self.file.size == file.size
    }
}

/// Looks at what is on disk for one file.
pub fn look(file: &RemoteFile, layout: &Layout) -> Result<Found, Error> {
    let present = disk::regular_file(&layout.target(&file.path, &file.digest))?;
    let receipt = Receipt::read(&layout.receipt(&file.path, &file.digest))?;
    let partial = Journal::survey(&layout.partials(), file)?;
    Ok(Found {
        present: present.as_ref().map(Identity::of),
        receipt,
        partial: partial.usable,
        allocated: partial.allocated,
    })
}
