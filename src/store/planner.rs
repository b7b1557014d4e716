//! Compares what is wanted with what is on disk, decides what to do about each file, and whether there
//! is room. Reads the disk, changes nothing.

use tracing::debug;

use super::journal::Journal;
use super::layout::Layout;
use super::receipt::Receipt;
use crate::catalog::Resolution;
use crate::disk::{self, Identity};
use crate::error::Error;
use crate::plan::{Action, Item, Plan, WantedFile};
use crate::request::Recheck;

/// Room for receipts, journals and directories.
const OVERHEAD_BYTES: u64 = 1 << 20;

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
pub fn decide(found: &Found, wanted: &WantedFile, recheck: Recheck) -> Action {
    if let Some(present) = &found.present {
        let receipt = found.receipt.as_ref().filter(|receipt| receipt.identity == *present);
        match receipt {
            Some(receipt) if receipt.proves(present, &wanted.content) => {
                return if recheck == Recheck::Full { Action::Adopt } else { Action::Skip };
            }
            // Without a receipt it may be anything: a download by another tool, or damage.
            None if present.size == wanted.size() => return Action::Adopt,
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

    fn add(&mut self, file: &WantedFile, layout: &Layout, recheck: Recheck) -> Result<(), Error> {
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
            Action::Copy => file.size(),
            Action::Resume { .. } | Action::Fetch => file.size().saturating_sub(found.allocated),
        };
        self.bytes_total += file.size();
        self.bytes_needed += missing;
        let item =
            Item { file: file.clone(), target: layout.target(&file.path, &file.content.key()), action };
        self.bytes_to_fetch += item.bytes_to_fetch();
        self.items.push(item);
        Ok(())
    }
}

/// Looks at what is on disk for one file.
pub fn look(file: &WantedFile, layout: &Layout) -> Result<Found, Error> {
    let present = disk::regular_file(&layout.target(&file.path, &file.content.key()))?;
    let receipt = Receipt::read(&layout.receipt(&file.path, &file.content.key()))?;
    let partial = Journal::survey(&layout.partials(), file)?;
    Ok(Found {
        present: present.as_ref().map(Identity::of),
        receipt,
        partial: partial.usable,
        allocated: partial.allocated,
    })
}
