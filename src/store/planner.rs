//! Compares what is wanted with what is on disk, decides what to do about each file, and whether there
//! is room. Reads the disk, changes nothing.

use std::collections::HashSet;

use tracing::debug;

use super::hashing::meddled;
use super::journal::{Journal, Survey};
use super::layout::{Layout, Place};
use super::receipt::{self, Receipt};
use super::{Proof, Store};
use crate::content::Content;
use crate::disk::{Dir, Identity};
use crate::error::Error;
use crate::plan::{Action, Item, Origin, Plan, WantedFile};
use crate::request::Recheck;

/// Room for receipts, journals and directories.
const OVERHEAD_BYTES: u64 = 1 << 20;

/// What is on disk for one file.
#[derive(Debug, Default)]
struct OnDisk {
    /// The file at its final name.
    present: Option<Identity>,
    /// Its receipt, or that of a file that was there before.
    receipt: Option<Receipt>,
    /// What there is of its partial file.
    partial: Survey,
}

impl Store {
    /// Looks at the disk and decides about every file.
    pub fn plan(&self, origin: &Origin, files: &[WantedFile], recheck: Recheck) -> Result<Plan, Error> {
        let mut plan = Plan {
            repo: origin.repo.clone(),
            revision: origin.revision.clone(),
            commit: origin.commit,
            dir: self.root().to_owned(),
            targets: self.layout.targets(),
            items: Vec::with_capacity(files.len()),
            bytes_total: 0,
            bytes_to_fetch: 0,
            bytes_needed: 0,
            bytes_free: self.free_bytes(),
        };
        let mut lookout = Lookout::new(self)?;
        let mut brought = HashSet::new();
        for wanted in files {
            let on_disk = lookout.look(wanted)?;
            let mut action = decide(&on_disk, &wanted.content, recheck);
            // Another name of this request brings the same content.
            if !brought.insert(&wanted.content) && matches!(action, Action::Resume { .. } | Action::Fetch) {
                action = Action::Copy;
            }
            debug!(path = %wanted.path, ?action, ?on_disk, "plan");
            let missing = match action {
                Action::Skip | Action::Adopt => 0,
                Action::Copy => wanted.size(),
                Action::Resume { .. } | Action::Fetch => {
                    wanted.size().saturating_sub(on_disk.partial.allocated)
                }
            };
            let item = Item { file: wanted.clone(), action };
            plan.bytes_total += wanted.size();
            plan.bytes_needed += missing;
            plan.bytes_to_fetch += item.bytes_to_fetch();
            plan.items.push(item);
        }
        if plan.bytes_needed > 0 {
            plan.bytes_needed += OVERHEAD_BYTES;
        }
        Ok(plan)
    }

    /// Whether every file is there, as far as can be told without hashing.
    pub fn is_present(&self, files: &[WantedFile], recheck: Recheck) -> Result<bool, Error> {
        let is_there = |action| matches!(action, Action::Skip | Action::Adopt);
        Ok(self.first_unlike(files, recheck, is_there)?.is_none())
    }

    /// Whether every file is there and verified.
    pub fn is_verified(&self, files: &[WantedFile]) -> Result<bool, Error> {
        Ok(self.first_unverified(files)?.is_none())
    }

    /// Fails if one of these files, verified when the run began, has been changed since.
    pub fn check_kept(&self, files: &[WantedFile]) -> Result<(), Error> {
        let changed = self.first_unverified(files)?;
        changed.map_or(Ok(()), |changed| Err(meddled(&self.target_path(changed))))
    }

    fn first_unverified<'a>(&self, files: &'a [WantedFile]) -> Result<Option<&'a WantedFile>, Error> {
        self.first_unlike(files, Recheck::Receipt, |action| action == Action::Skip)
    }

    fn first_unlike<'a>(
        &self,
        files: &'a [WantedFile],
        recheck: Recheck,
        is_good: impl Fn(Action) -> bool,
    ) -> Result<Option<&'a WantedFile>, Error> {
        let mut lookout = Lookout::new(self)?;
        for wanted in files {
            if !is_good(decide(&lookout.look(wanted)?, &wanted.content, recheck)) {
                return Ok(Some(wanted));
            }
        }
        Ok(None)
    }
}

/// Decides about one file.
fn decide(on_disk: &OnDisk, wanted: &Content, recheck: Recheck) -> Action {
    if let Some(present) = &on_disk.present {
        match &on_disk.receipt {
            Some(receipt) if receipt.identity() == present => {
                let proof = Proof::of_receipt(receipt, present);
                if proof.is_some_and(|proof| proof.content().proves(wanted)) {
                    return if recheck == Recheck::Full { Action::Adopt } else { Action::Skip };
                }
                // Proven to be something else, unless what is wanted has a digest that nobody computed.
                if present.size == wanted.size()
                    && receipt.content().is_some_and(|known| known.may_be(wanted))
                {
                    return Action::Adopt;
                }
            }
            // Without a receipt for what is there now it may be anything: a download by another tool, new rights, damage.
            _ if present.size == wanted.size() => return Action::Adopt,
            _ => {}
        }
    }
    match on_disk.partial.usable {
        0 => Action::Fetch,
        have => Action::Resume { have },
    }
}

/// Looks at one file after the other. Neighbours in a list mostly share a folder.
struct Lookout<'a> {
    store: &'a Store,
    base: Option<Dir>,
    targets: Entered,
    receipts: Entered,
    partials: Option<Dir>,
}

/// The folder that was entered last.
#[derive(Default)]
struct Entered(Option<(String, Option<Dir>)>);

impl Entered {
    fn enter(&mut self, base: &Dir, place: &Place) -> Result<Option<&Dir>, Error> {
        if self.0.as_ref().is_none_or(|(folder, _)| *folder != place.folder) {
            self.0 = Some((place.folder.clone(), base.descend(&place.folder)?));
        }
        Ok(self.0.as_ref().and_then(|(_, dir)| dir.as_ref()))
    }
}

impl<'a> Lookout<'a> {
    fn new(store: &'a Store) -> Result<Self, Error> {
        let base = store.base()?;
        let partials = match &base {
            Some(base) => base.descend(&Layout::partials())?,
            None => None,
        };
        Ok(Self { store, base, targets: Entered::default(), receipts: Entered::default(), partials })
    }

    fn look(&mut self, wanted: &WantedFile) -> Result<OnDisk, Error> {
        let (layout, mut on_disk) = (&self.store.layout, OnDisk::default());
        let Some(base) = &self.base else { return Ok(on_disk) };
        let target = layout.target(&wanted.path, &wanted.content);
        if let Some(folder) = self.targets.enter(base, &target)? {
            let entry = self.store.regular(folder.clone(), target.name)?;
            on_disk.present = entry.map(|(.., stat)| stat.identity);
        }
        let place = layout.receipt(&wanted.path, &wanted.content);
        if on_disk.present.is_some()
            && let Some(folder) = self.receipts.enter(base, &place)?
        {
            let bytes = folder.read(&place.name, receipt::BYTES_MAX)?;
            on_disk.receipt = bytes.and_then(|bytes| Receipt::parse(&bytes));
        }
        if let Some(partials) = &self.partials {
            on_disk.partial = Journal::survey(partials, &wanted.content)?;
        }
        Ok(on_disk)
    }
}
