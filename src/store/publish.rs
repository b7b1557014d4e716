//! Step 6, publish: a verified partial file becomes the final file, durably and at once.

use std::fs;
use std::path::{Path, PathBuf};

use super::hashing::Verified;
use super::layout::Layout;
use super::partial::discard;
use super::receipt::Receipt;
use crate::catalog::{Entry, listing};
use crate::disk::{self, Durability, Identity};
use crate::error::Error;
use crate::plan::{Plan, WantedFile};
use crate::request::{Commit, RepoId, RepoPath, Revision};

/// Where published files belong.
#[derive(Debug, Clone)]
pub struct Place {
    /// The target's layout.
    pub layout: Layout,
    /// The repository.
    pub repo: RepoId,
    /// The revision that was asked for.
    pub revision: Revision,
    /// The commit it is.
    pub commit: Option<Commit>,
}

impl Place {
    /// Renames a verified partial file to its final name, over an older file if there is one.
    /// Whatever happens, the final name holds the old file, or the new one, complete.
    pub fn publish(&self, verified: &Verified) -> Result<(), Error> {
        let file = verified.remote();
        let target = self.layout.target(&file.path, &file.content.key());
        let dir = target.parent().unwrap_or(Path::new("."));
        disk::create_dir(dir)?;
        verified.sync()?;
        fs::rename(verified.path(), &target).map_err(Error::io("publish", &target))?;
        disk::sync_dir(dir)?;
        self.record(file)?;
        discard(&self.layout.partials(), file)
    }

    /// Writes the receipt of a file whose bytes at the final name were just found right, and what
    /// readers of a cache need to find it.
    pub fn record(&self, file: &WantedFile) -> Result<(), Error> {
        let target = self.layout.target(&file.path, &file.content.key());
        let metadata = fs::metadata(&target).map_err(Error::io("look at", &target))?;
        let receipt = Receipt::new(file, Identity::of(&metadata), &self.repo, &self.revision, self.commit);
        receipt.write(&self.layout, &file.content.key())?;
        self.point(file)
    }

    /// Where a reader finds the file.
    pub fn visible(&self, file: &WantedFile) -> PathBuf {
        match self.commit {
            Some(commit) => self.layout.pointer(&file.path, &commit),
            None => self.layout.target(&file.path, &file.content.key()),
        }
    }

    /// Whether nothing is left to be written down about files that are all there: their receipts
    /// are of this revision and commit, and a cache's readers find them.
    pub fn is_recorded(&self, plan: &Plan) -> Result<bool, Error> {
        for item in &plan.items {
            let receipt = Receipt::read(&self.layout.receipt(&item.file.path, &item.file.content.key()))?;
            let current = receipt
                .is_some_and(|receipt| receipt.revision == self.revision && receipt.commit == self.commit);
            if !current || !self.visible(&item.file).exists() {
                return Ok(false);
            }
        }
        let reference = disk::read_if_present(&self.layout.reference(&self.revision))?;
        let known = reference
            .is_some_and(|commit| Some(commit) == self.commit.map(|commit| commit.to_string().into_bytes()));
        Ok(known || self.revision.commit().is_some())
    }

    /// Makes the file visible in a cache's snapshot.
    pub fn point(&self, file: &WantedFile) -> Result<(), Error> {
        match self.commit {
            Some(commit) if self.layout.is_cache() => {
                let blob = self.layout.target(&file.path, &file.content.key());
                point(&self.layout.pointer(&file.path, &commit), &blob, &file.path)
            }
            _ => Ok(()),
        }
    }

    /// Records which commit the revision is, and the commit's listing: what readers of a cache and
    /// offline runs ask for. No newline after the commit: `huggingface_hub` does not strip it.
    pub fn record_snapshot(&self, listing: Option<&[Entry]>) -> Result<(), Error> {
        let Some(commit) = self.commit else { return Ok(()) };
        let text = commit.to_string();
        let write_if_new = |path: PathBuf, content: &[u8]| {
            if disk::read_if_present(&path)?.as_deref() == Some(content) {
                return Ok(());
            }
            disk::replace(&path, content, Durability::Process)
        };
        if let Some(listing) = listing {
            write_if_new(self.layout.tree(&commit), &listing::to_json(listing)?)?;
        }
        if self.revision.commit().is_none() {
            write_if_new(self.layout.reference(&self.revision), text.as_bytes())?;
        }
        if self.layout.is_cache() {
            write_if_new(self.layout.root().join("CACHEDIR.TAG"), CACHEDIR_TAG)?;
        }
        Ok(())
    }
}

/// Tells backup tools to pass a cache over (bford.info/cachedir).
const CACHEDIR_TAG: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55\n# This directory is a cache in huggingface_hub's layout, written by modelfetch.\n";

/// A relative symlink, as `huggingface_hub` makes it. Where links are not possible (SMB, some FUSE
/// and object stores) a second name of the same file, else a copy.
fn point(pointer: &Path, blob: &Path, path: &RepoPath) -> Result<(), Error> {
    let target = format!("{}../../blobs/{}", "../".repeat(path.depth()), file_name(blob));
    if fs::read_link(pointer).is_ok_and(|existing| existing == Path::new(&target)) {
        return Ok(());
    }
    let dir = pointer.parent().unwrap_or(Path::new("."));
    disk::create_dir(dir)?;
    let temporary = dir.join(format!("{}.tmp", file_name(pointer)));
    disk::remove(&temporary)?;
    let linked = std::os::unix::fs::symlink(&target, &temporary)
        .or_else(|_| fs::hard_link(blob, &temporary))
        .or_else(|_| copy(blob, &temporary))
        .and_then(|()| fs::rename(&temporary, pointer));
    if linked.is_err() {
        // It may be as large as the blob.
        let _ = fs::remove_file(&temporary);
    }
    linked.map_err(Error::io("link", pointer))?;
    disk::sync_dir(dir)
}

/// A copy that is on the device before it gets its name.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::copy(from, to)?;
    fs::File::open(to)?.sync_data()
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
