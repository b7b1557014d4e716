//! Compares what is wanted with what is on disk, decides what to do about each file, and whether there
//! is room. Reads the disk, changes nothing.

use std::collections::{HashMap, HashSet};
use std::iter;
use std::num::NonZero;
use std::path::Path;
use std::thread::available_parallelism;

use tracing::debug;

use super::hashing::meddled;
use super::journal::{Journal, Survey};
use super::layout::{Layout, Place};
use super::publish::link_to_blob;
use super::receipt::{self, Receipt};
use super::{Proof, Store};
use crate::content::{Content, kind};
use crate::disk::{Dir, Identity, Kind};
use crate::error::Error;
use crate::plan::{Action, Item, Origin, Original, Plan, WantedFile};
use crate::request::{Commit, Recheck};

/// Room for receipts, journals and directories.
const OVERHEAD_BYTES: u64 = 1 << 20;
/// A look at a file takes some 20 µs, a thread's start as much as a few.
const MANY: usize = 128;

/// What is on disk for one file.
#[derive(Debug, Default)]
struct OnDisk {
    /// The file at its final name.
    present: Option<Identity>,
    /// Its receipt, or that of a file that was there before.
    receipt: Option<Receipt>,
    /// What there is of its partial file, unless it is there and proven.
    partial: Survey,
}

impl Store {
    /// Looks at the disk and decides about every file.
    pub fn plan(&self, origin: &Origin, files: &[WantedFile]) -> Result<Plan, Error> {
        let seen = self.look(files, |on_disk, wanted| Some(self.seen(on_disk, wanted, origin)))?;
        let seen = seen.expect("no look ended it");
        Sight { store: self, origin, files, seen }.plan()
    }

    /// What is on disk for files that are all there and verified; `None`, and no further look, once one is not.
    pub fn verified<'a>(
        &'a self,
        origin: &'a Origin,
        files: &'a [WantedFile],
    ) -> Result<Option<Sight<'a>>, Error> {
        let verified = |on_disk: &OnDisk, wanted: &WantedFile| {
            let seen = self.seen(on_disk, wanted, origin);
            (seen.standing != Standing::Unverified).then_some(seen)
        };
        let seen = self.look(files, verified)?;
        Ok(seen.map(|seen| Sight { store: self, origin, files, seen }))
    }

    /// Whether every file is there, as far as can be told without hashing.
    pub fn is_present(&self, files: &[WantedFile]) -> Result<bool, Error> {
        let is_there = |on_disk: &OnDisk, wanted: &WantedFile| {
            self.decide(on_disk, &wanted.content).is_there().then_some(())
        };
        Ok(self.look(files, is_there)?.is_some())
    }

    /// Looks at files, until a look brings nothing: what was found, in their order. Many are looked at by as many threads as
    /// there are cores, each of which has its part of the answer.
    fn look<'a, T: Send>(
        &self,
        files: &'a [WantedFile],
        look: impl Fn(&OnDisk, &WantedFile) -> Option<T> + Sync,
    ) -> Result<Option<Vec<Vec<T>>>, Error> {
        let threads = if files.len() < MANY { 1 } else { available_parallelism().map_or(1, NonZero::get) };
        let mut parts = files.chunks(files.len().div_ceil(threads).max(1));
        let part = &|files: &[WantedFile]| -> Result<Option<Vec<T>>, Error> {
            let mut lookout = Lookout::new(self)?;
            let mut found = Vec::with_capacity(files.len());
            for wanted in files {
                match look(&lookout.look(wanted)?, wanted) {
                    Some(of_file) => found.push(of_file),
                    None => return Ok(None),
                }
            }
            Ok(Some(found))
        };
        let own = parts.next().unwrap_or_default();
        std::thread::scope(|scope| {
            let start = |of_thread: &'a [WantedFile]| {
                let thread = std::thread::Builder::new().name("look".into());
                let thread = thread.spawn_scoped(scope, move || part(of_thread));
                thread.map_err(Error::io("start a thread for", self.root()))
            };
            let threads = parts.map(start).collect::<Result<Vec<_>, _>>()?;
            let own = part(own);
            let others = threads.into_iter().map(|thread| thread.join().expect("a panic ends the process"));
            iter::once(own).chain(others).collect()
        })
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
        let mut lookout = Lookout::new(self)?;
        for wanted in files {
            if lookout.look(wanted)?.proven(&wanted.content, self.recheck).is_none() {
                return Ok(Some(wanted));
            }
        }
        Ok(None)
    }

    /// Whether the readers of a cache find every file in the snapshot of a commit. Those of a directory find what is
    /// there.
    pub fn is_visible(&self, files: &[WantedFile], commit: Option<&Commit>) -> Result<bool, Error> {
        let mut lookout = Lookout::new(self)?;
        for wanted in files {
            if !lookout.is_visible(wanted, commit)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A verified file that has the content that is wanted under another name of this directory, or in another repository
    /// of this cache. `receipts` are those of a directory, once they have been read.
    fn original(
        &self,
        wanted: &WantedFile,
        receipts: &mut Option<Vec<Receipt>>,
    ) -> Result<Option<Original>, Error> {
        if self.is_cache() {
            for other in Self::all(self.layout.destination())? {
                // There may be anything in a cache; what cannot be read is no original.
                if let Ok(Some((receipt, _))) = other.rechecking(self.recheck).proof(wanted) {
                    return Ok(Some(Original { repo: receipt.origin.repo, file: wanted.clone() }));
                }
            }
            return Ok(None);
        }
        let receipts = match receipts {
            Some(receipts) => receipts,
            None => receipts.insert(self.receipts()?),
        };
        for receipt in receipts.iter().filter(|receipt| receipt.path != wanted.path) {
            let content = receipt.content().filter(|content| content.proves(&wanted.content));
            let Some(content) = content else { continue };
            let file = WantedFile::new(receipt.path.clone(), content);
            if let Ok(Some((receipt, _))) = self.proof(&file) {
                return Ok(Some(Original { repo: receipt.origin.repo, file }));
            }
        }
        Ok(None)
    }

    /// Decides about one file.
    fn decide(&self, on_disk: &OnDisk, wanted: &Content) -> Action {
        if self.recheck != Recheck::Full && on_disk.proven(wanted, self.recheck).is_some() {
            return Action::Skip;
        }
        if on_disk.may_be(wanted, self.recheck) {
            return Action::Adopt;
        }
        match on_disk.partial.usable {
            0 => Action::Fetch,
            have => Action::Resume { have },
        }
    }

    /// Whether a receipt is not believed for an inode number or a time that say little on some volumes.
    fn is_doubted(&self, on_disk: &OnDisk) -> bool {
        let (Some(receipt), Some(present)) = (&on_disk.receipt, &on_disk.present) else { return false };
        receipt.covers(present, Recheck::Mtime) && !receipt.covers(present, self.recheck)
    }

    /// What a look at one file tells; its receipt, of which there may be many thousands, is not kept.
    fn seen(&self, on_disk: &OnDisk, wanted: &WantedFile, origin: &Origin) -> Seen {
        let proven = on_disk.proven(&wanted.content, self.recheck);
        Seen {
            action: self.decide(on_disk, &wanted.content),
            allocated: on_disk.partial.allocated,
            standing: match proven {
                None => Standing::Unverified,
                Some(receipt) if receipt.origin == *origin => Standing::Recorded,
                Some(_) => Standing::Verified,
            },
            is_doubted: self.is_doubted(on_disk),
            lacks_xet: wanted.xet_hash().is_some()
                && on_disk.receipt.as_ref().is_some_and(|receipt| receipt.xet_hash != wanted.xet_hash()),
            lacks_signer: wanted.vouchers.has_signer()
                && !proven.is_some_and(|receipt| receipt.vouched_by.has_signer_of(&wanted.vouchers)),
        }
    }
}

/// What was on disk for each of some files when it was looked at.
pub struct Sight<'a> {
    store: &'a Store,
    origin: &'a Origin,
    files: &'a [WantedFile],
    /// In the order of the files, in parts.
    seen: Vec<Vec<Seen>>,
}

#[derive(Debug, PartialEq, Eq)]
enum Standing {
    Unverified,
    /// It is there, and proven by its receipt.
    Verified,
    /// The same, and the receipt is of this revision and commit.
    Recorded,
}

/// What a look at one file told.
#[derive(Debug)]
struct Seen {
    action: Action,
    /// Bytes that its partial file takes on the disk.
    allocated: u64,
    standing: Standing,
    /// Its receipt is not believed for an inode number or a time that say little on some volumes.
    is_doubted: bool,
    /// Its receipt does not have what Xet storage calls it, although that is known now.
    lacks_xet: bool,
    /// It is not written down who signed it.
    lacks_signer: bool,
}

impl Sight<'_> {
    /// Decides about every file.
    pub fn plan(&self) -> Result<Plan, Error> {
        let Self { store, origin, .. } = self;
        let mut plan = Plan {
            repo: origin.repo.clone(),
            revision: origin.revision.clone(),
            commit: origin.commit,
            dir: store.root().to_owned(),
            targets: store.layout.targets(),
            items: Vec::with_capacity(self.files.len()),
            originals: HashMap::new(),
            bytes_total: 0,
            bytes_to_fetch: 0,
            bytes_needed: 0,
            limited_for: None,
            bytes_free: store.free_bytes()?,
            doubted: 0,
        };
        let (mut brought, mut receipts) = (HashSet::new(), None);
        for (wanted, seen) in self.files.iter().zip(self.seen.iter().flatten()) {
            let mut action = seen.action.clone();
            plan.doubted += u64::from(action == Action::Adopt && seen.is_doubted);
            let is_first = brought.insert(&wanted.content);
            if matches!(action, Action::Resume { .. } | Action::Fetch) {
                if !is_first {
                    // Another name of this request brings the same content.
                    action = Action::Copy;
                } else if let Some(original) = store.original(wanted, &mut receipts)? {
                    action = Action::Copy;
                    plan.originals.insert(wanted.content, original);
                }
            }
            debug!(path = %wanted.path, ?action, ?seen, "plan");
            let missing = match action {
                Action::Skip | Action::Adopt => 0,
                Action::Copy => wanted.size(),
                Action::Resume { .. } | Action::Fetch => wanted.size().saturating_sub(seen.allocated),
            };
            let item = Item { file: wanted.clone(), action, delta: None };
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

    /// Whether nothing is left to be written down about the files: they are verified by receipts of this revision and
    /// commit, a cache's readers find them, and so does an offline run that needs the listing.
    pub fn is_recorded(&self, needs_listing: bool) -> Result<bool, Error> {
        let Self { store, origin, files, seen } = self;
        if !seen.iter().flatten().all(|seen| seen.standing == Standing::Recorded)
            || !store.is_visible(files, origin.commit.as_ref())?
        {
            return Ok(false);
        }
        if let Some(commit) = origin.commit.filter(|_| needs_listing) {
            let listing = store.find(&store.layout.listing(&commit))?;
            let is_there = listing.map(|(folder, name)| folder.stat(&name)).transpose()?.flatten();
            if is_there.is_none() {
                return Ok(false);
            }
        }
        let known = store.commit_of(&origin.revision)?;
        Ok(origin.revision.commit().is_some() || known.is_some() && known == origin.commit)
    }

    /// Whether receipts lack what Xet storage calls their files, although that is known now, and can be renewed.
    pub fn is_to_note_xet(&self) -> bool {
        // Where nothing can be written everything else is in order.
        self.seen.iter().flatten().any(|seen| seen.lacks_xet) && self.store.probe().is_ok()
    }

    /// Whether it is written down of every file who signed it, where somebody did. Others who vouch for a file are written
    /// down when there is something to write anyway.
    pub fn knows_signers(&self) -> bool {
        !self.seen.iter().flatten().any(|seen| seen.lacks_signer)
    }
}

impl OnDisk {
    /// The receipt, if it proves that the file is `wanted`.
    fn proven(&self, wanted: &Content, recheck: Recheck) -> Option<&Receipt> {
        let receipt = self.receipt.as_ref()?;
        Proof::of_receipt(receipt, self.present.as_ref()?, wanted, recheck).map(|_| receipt)
    }

    /// Whether hashing it could prove that it is `wanted`.
    fn may_be(&self, wanted: &Content, recheck: Recheck) -> bool {
        let Some(present) = self.present.filter(|present| present.size == wanted.size()) else {
            return false;
        };
        match &self.receipt {
            // Proven to be something else, unless what is wanted has a digest that nobody computed.
            Some(receipt) if receipt.covers(&present, recheck) => {
                receipt.content().is_some_and(|known| known.may_be(wanted))
            }
            // Without a receipt for what is there now it may be anything: a download by another tool, new
            // rights, damage.
            _ => true,
        }
    }
}

/// Looks at one file after the other. Neighbours in a list mostly share a folder.
struct Lookout<'a> {
    store: &'a Store,
    base: Option<Dir>,
    targets: Entered,
    receipts: Entered,
    pointers: Entered,
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
        let [targets, receipts, pointers] = Default::default();
        Ok(Self { store, base, targets, receipts, pointers, partials })
    }

    fn look(&mut self, wanted: &WantedFile) -> Result<OnDisk, Error> {
        let (layout, mut on_disk) = (&self.store.layout, OnDisk::default());
        let Some(base) = &self.base else { return Ok(on_disk) };
        let target = layout.target(&wanted.path, &wanted.content);
        let mut found = None;
        if let Some(folder) = self.targets.enter(base, &target)? {
            found = self.store.regular(folder.clone(), target.name)?;
            on_disk.present = found.as_ref().map(|(.., stat)| stat.identity);
        }
        let place = layout.receipt(&wanted.path, &wanted.content);
        if on_disk.present.is_some()
            && let Some(folder) = self.receipts.enter(base, &place)?
        {
            let bytes = folder.read(&place.name, receipt::BYTES_MAX)?;
            on_disk.receipt = bytes.and_then(|bytes| Receipt::parse(&bytes));
        }
        // A receipt may be of a time when nobody looked at what the file is: then it is hashed, and looked at.
        let file_name = wanted.path.file_name();
        if on_disk.receipt.is_some()
            && kind::may_be_pointer(file_name, wanted.size())
            && let Some((folder, name, _)) = found
            && let Ok(Some(bytes)) = folder.read(&name, wanted.size())
            && kind::check(file_name, &bytes).is_err()
        {
            on_disk.receipt = None;
        }
        if let Some(partials) = &self.partials
            && on_disk.proven(&wanted.content, self.store.recheck).is_none()
        {
            on_disk.partial = Journal::survey(partials, &wanted.content)?;
        }
        Ok(on_disk)
    }

    /// Whether readers of a cache find a file that is there: by the link that leads to it, or, where there are no
    /// links, as a file of the same length.
    fn is_visible(&mut self, wanted: &WantedFile, commit: Option<&Commit>) -> Result<bool, Error> {
        let Some(commit) = commit.filter(|_| self.store.is_cache()) else { return Ok(true) };
        let pointer = Layout::pointer(&wanted.path, commit);
        let Some(base) = &self.base else { return Ok(false) };
        let Some(folder) = self.pointers.enter(base, &pointer)? else { return Ok(false) };
        let stat = folder.stat(&pointer.name)?.filter(|stat| stat.kind != Kind::Dir);
        Ok(match stat {
            Some(stat) if stat.kind == Kind::File => stat.identity.size == wanted.size(),
            Some(_) => {
                folder.read_link(&pointer.name).is_some_and(|link| link == Path::new(&link_to_blob(wanted)))
            }
            None => false,
        })
    }
}
