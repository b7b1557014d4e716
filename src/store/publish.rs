//! Who holds the lock may change a directory: a verified partial file becomes the final file, durably and at
//! once, and what was proven is written down.

use std::path::Path;

use super::hashing::{Proof, Proven, Verified, meddled};
use super::journal::Partials;
use super::layout::{Layout, Place};
use super::lock::Lock;
use super::partial::Partial;
use super::receipt::Receipt;
use super::{REFERENCE_BYTES_MAX, Store};
use crate::content::Content;
use crate::disk::{Access, Dir, Durability, Stat};
use crate::error::Error;
use crate::plan::{Origin, WantedFile};
use crate::request::RepoId;

/// How often a name is put right that somebody keeps exchanging.
const EXCHANGES_MAX: u32 = 8;
/// Tells backup tools to pass a cache over (bford.info/cachedir).
const CACHEDIR_TAG: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55\n# This directory is a cache in huggingface_hub's layout, written by modelfetch.\n";

/// The right to change a target, for as long as it exists: no other process has it.
#[derive(Debug)]
pub struct WriteAccess {
    store: Store,
    base: Dir,
    state: Dir,
    partials: Partials,
    _lock: Lock,
}

impl WriteAccess {
    pub(super) fn new(store: Store, base: Dir, state: Dir, lock: Lock) -> Result<Self, Error> {
        let dir = base.make(&Layout::partials())?;
        let partials = Partials { dir, scratch: state.clone() };
        Ok(Self { store, base, state, partials, _lock: lock })
    }

    /// What it gives access to.
    pub fn store(&self) -> &Store {
        &self.store
    }

    pub(super) fn base(&self) -> &Dir {
        &self.base
    }

    pub(super) fn state(&self) -> &Dir {
        &self.state
    }

    pub(super) fn partials(&self) -> &Partials {
        &self.partials
    }

    /// Opens the partial file of a content, or creates it.
    pub fn open_partial(&self, wanted: &WantedFile, repo: &RepoId) -> Result<Partial, Error> {
        Partial::open(&self.partials, wanted, repo)
    }

    /// Removes what there is of a partial file.
    pub fn discard_partial(&self, content: &Content) -> Result<(), Error> {
        self.partials.discard(content)
    }

    /// Renames a verified partial file to its final name, over an older file if there is one. Then the final name
    /// holds the new one, complete: the inode that was hashed. Before that it holds the old file. If somebody keeps
    /// exchanging what is to be renamed, the final name is left empty.
    ///
    /// `false`: what is there now has been changed, or has another inode and the one that was hashed cannot get a name.
    /// Either somebody did that, or the volume numbers files by their names (rclone, gcsfuse) or sets their times late
    /// (SMB). Its bytes have to tell: hash it, then [`Self::record`] or [`Self::withdraw`] it.
    pub fn publish(&self, verified: &Verified, origin: &Origin) -> Result<bool, Error> {
        let wanted = verified.wanted();
        let path = self.store.target_path(wanted);
        let place = self.place(wanted);
        let target = self.base.make(&place.folder)?;
        let partial = verified.partial();
        verified.proof_at(&partial.path())?;
        self.forget_note(&wanted.path);
        let is_own = |dir: &Dir, name: &str| -> Result<bool, Error> {
            let there = dir.stat(name)?;
            // Each time anew: there are volumes (rclone) that number an inode by its name.
            let own = Stat::of(partial.file()).map_err(Error::io("look at", partial.path()))?;
            Ok(there.is_some_and(|stat| stat.is_same_file(&own)))
        };

        let (mut from, mut name) = (&self.partials.dir, partial.name());
        let mut is_renamed = false;
        for _ in 0..EXCHANGES_MAX {
            if is_own(from, &name)? {
                from.rename(&name, &target, &place.name)?;
                is_renamed = true;
            }
            if is_own(&target, &place.name)? {
                target.sync()?;
                let proof = match verified.proof_at(&path) {
                    Err(Error::Meddled { .. }) => return Ok(false),
                    proof => proof?,
                };
                self.point(wanted, origin)?;
                self.write_receipt(wanted, &proof.renewed_if_it_can(partial.file(), &path), origin)?;
                self.partials.discard(&wanted.content)?;
                return Ok(true);
            }
            // Somebody put another file in its place: the descriptor still is the one that was hashed.
            let again = self.link_once_more(partial);
            if again.is_err() && is_renamed {
                return Ok(false);
            }
            (from, name) = (&self.state, again?);
        }
        // Nothing at the final name rather than what somebody made this program put there.
        from.remove(&name)?;
        target.remove(&place.name)?;
        Err(meddled(&path))
    }

    /// Takes back what was published and is not what it should be.
    pub fn withdraw(&self, wanted: &WantedFile) -> Result<(), Error> {
        let place = self.place(wanted);
        self.base.make(&place.folder)?.remove(&place.name)?;
        Err(meddled(&self.store.target_path(wanted)))
    }

    /// Gives a partial file a name that nobody knows.
    fn link_once_more(&self, partial: &Partial) -> Result<String, Error> {
        let name = Dir::temporary_name()?;
        self.state.link(partial.file(), &name).map_err(Error::io("publish", partial.path()))?;
        Ok(name)
    }

    /// Writes the receipt of a file at its final name whose bytes were just hashed there.
    pub fn record(&self, wanted: &WantedFile, proven: &Proven, origin: &Origin) -> Result<(), Error> {
        let path = self.store.target_path(wanted);
        // The receipt must not outlive bytes that were hashed in the page cache only.
        let proof = proven.sync(&path)?;
        let own = Stat::of(proven.file()).map_err(Error::io("look at", &path))?;
        match self.store.entry(wanted)? {
            Some((.., stat)) if stat.is_same_file(&own) => {}
            _ => return Err(meddled(&path)),
        }
        self.point(wanted, origin)?;
        self.write_receipt(wanted, &proof.renewed_if_it_can(proven.file(), &path), origin)
    }

    /// Renews the receipt of a file that an earlier run verified: it is of another revision now. Fails if
    /// the file is not the same any more.
    pub fn keep(&self, wanted: &WantedFile, origin: &Origin) -> Result<(), Error> {
        let path = self.store.target_path(wanted);
        let (receipt, mut proof) = self.store.proof(wanted)?.ok_or_else(|| meddled(&path))?;
        let is_visible = self.store.is_visible(std::slice::from_ref(wanted), origin.commit.as_ref())?;
        if !is_visible {
            self.point(wanted, origin)?;
            let file = self.store.open(wanted)?.ok_or_else(|| meddled(&path))?;
            proof = proof.renewed_by_name(&file, &path)?;
        }
        // The bytes are the same: what is known of them stays known, and whoever vouched for them before still does.
        let xet_hash = wanted.xet_hash().or(receipt.xet_hash);
        let vouchers = wanted.vouchers.and(&receipt.vouched_by);
        let is_known = receipt.xet_hash == xet_hash && receipt.vouched_by == vouchers;
        if is_visible && receipt.origin == *origin && is_known {
            return Ok(());
        }
        let mut known = wanted.clone().known_as(xet_hash);
        known.vouchers = vouchers;
        self.write_receipt(&known, &proof, origin)
    }

    /// It only saves work, so it need not survive a power cut. What gives the file another name comes before it: that
    /// moves a time of the inode.
    fn write_receipt(&self, wanted: &WantedFile, proof: &Proof, origin: &Origin) -> Result<(), Error> {
        let receipt = Receipt::new(wanted, proof, origin);
        let place = self.store.layout.receipt(&wanted.path, &wanted.content);
        self.replace(&place, &receipt.to_json())
    }

    /// Makes the file visible in a cache's snapshot: a relative symlink, as `huggingface_hub` makes it. Where
    /// links are not possible (SMB, some FUSE and object stores) a second name of the same file, else a copy.
    fn point(&self, wanted: &WantedFile, origin: &Origin) -> Result<(), Error> {
        let Some(commit) = origin.commit.filter(|_| self.store.is_cache()) else { return Ok(()) };
        let pointer = Layout::pointer(&wanted.path, &commit);
        let link = link_to_blob(wanted);
        let folder = self.base.make(&pointer.folder)?;
        if folder.read_link(&pointer.name).is_some_and(|existing| existing == Path::new(&link)) {
            return Ok(());
        }
        let temporary = self.point_temporarily(&link, wanted)?;
        if let Err(error) = self.state.rename(&temporary, &folder, &pointer.name) {
            // It may be as large as the blob; the failure to rename is the one to tell.
            let _ = self.state.remove(&temporary);
            return Err(error);
        }
        folder.sync()
    }

    /// A link, second name or copy of a blob, under a name that nobody knows.
    fn point_temporarily(&self, link: &str, wanted: &WantedFile) -> Result<String, Error> {
        let io = || Error::io("link", self.store.target_path(wanted));
        let name = Dir::temporary_name()?;
        if self.state.symlink(link, &name).is_ok() {
            // SSHFS makes links that it does not let anybody read (`contain_symlinks`).
            if self.state.read_link(&name).is_some() {
                return Ok(name);
            }
            self.state.remove(&name)?;
        }
        // Without room for a file there is none for what takes the place of a link.
        let (name, mut copy) = self.state.create_temporary(Access::All)?;
        let mut blob = self.store.open(wanted)?.ok_or_else(|| io()(std::io::ErrorKind::NotFound.into()))?;
        let second = Dir::temporary_name()?;
        if self.state.link(&blob, &second).is_ok() {
            drop(copy);
            self.state.remove(&name)?;
            return Ok(second);
        }
        // A copy is on the device before it gets its name.
        let copied = std::io::copy(&mut blob, &mut copy).and_then(|_| copy.sync_data());
        if let Err(cause) = copied {
            let _ = self.state.remove(&name);
            return Err(io()(cause));
        }
        Ok(name)
    }

    /// Records which commit the revision is, and the commit's listing: what readers of a cache and
    /// offline runs ask for. No newline after the commit: `huggingface_hub` does not strip it.
    pub fn record_snapshot(&self, origin: &Origin, listing: Option<&[u8]>) -> Result<(), Error> {
        let Some(commit) = origin.commit else { return Ok(()) };
        let layout = &self.store.layout;
        if let Some(listing) = listing {
            self.replace_if_new(&layout.listing(&commit), listing, super::LISTING_BYTES_MAX)?;
        }
        if origin.revision.commit().is_none() {
            let place = layout.reference(&origin.revision);
            self.replace_if_new(&place, commit.to_string().as_bytes(), REFERENCE_BYTES_MAX)?;
        }
        if self.store.is_cache() {
            let root = Dir::create(self.store.root())?;
            if root.stat("CACHEDIR.TAG")?.is_none() {
                // For backup tools alone. It may be that only the folder of the repository can be written.
                let _ = self.state.replace(&root, "CACHEDIR.TAG", CACHEDIR_TAG, Durability::Process);
            }
        }
        Ok(())
    }

    pub(super) fn replace_if_new(&self, place: &Place, content: &[u8], max: u64) -> Result<(), Error> {
        let existing = match self.base.descend(&place.folder)? {
            Some(folder) => folder.read(&place.name, max)?,
            None => None,
        };
        if existing.as_deref() == Some(content) { Ok(()) } else { self.replace(place, content) }
    }

    pub(super) fn replace(&self, place: &Place, content: &[u8]) -> Result<(), Error> {
        let folder = self.base.make(&place.folder)?;
        self.state.replace(&folder, &place.name, content, Durability::Process)
    }

    fn place(&self, wanted: &WantedFile) -> Place {
        self.store.layout.target(&wanted.path, &wanted.content)
    }
}

/// Where the link of a snapshot leads.
pub(super) fn link_to_blob(wanted: &WantedFile) -> String {
    format!("{}../../blobs/{}", "../".repeat(wanted.path.depth()), wanted.content.key())
}
