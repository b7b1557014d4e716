//! Removes what nobody wants any more: only under the lock, and only what a receipt or a journal says is ours.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::path::Path;

use super::holdings::{Condition, Holding, Unfinished};
use super::layout::{Layout, Place, STATE};
use super::{REFERENCE_BYTES_MAX, Store, WriteAccess};
use crate::disk::{Dir, Kind};
use crate::error::Error;
use crate::plan::WantedFile;
use crate::request::{Commit, RepoId};

/// Where readers of a cache find one file: a link in the snapshot of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer {
    /// The snapshot it is in.
    pub commit: Commit,
    /// The blob it leads to; a file of its own, on volumes without links, leads to none.
    pub blob: Option<String>,
    place: Place,
}

impl Store {
    /// Whether this program has ever written here.
    pub fn is_target(&self) -> Result<bool, Error> {
        Ok(self.base()?.map(|base| base.descend(STATE)).transpose()?.flatten().is_some())
    }

    /// Whether it is the folder of a repository in a cache.
    pub fn is_of(&self, repo: &RepoId) -> bool {
        self.is_cache() && self.layout.base() == repo.cache_folder()
    }

    /// The commits that branches and tags of a cache are, as far as anybody was asked.
    pub fn named_commits(&self) -> Result<HashSet<Commit>, Error> {
        let mut commits = HashSet::new();
        let Some(base) = self.base()?.filter(|_| self.is_cache()) else { return Ok(commits) };
        each_file(&base, "refs", &mut |folder, name, _| {
            let bytes = folder.read(name, REFERENCE_BYTES_MAX)?.unwrap_or_default();
            commits.extend(String::from_utf8_lossy(&bytes).trim().parse::<Commit>().ok());
            Ok(())
        })?;
        Ok(commits)
    }

    /// Every link in the snapshots of a cache.
    pub fn pointers(&self) -> Result<Vec<Pointer>, Error> {
        let mut pointers = Vec::new();
        let Some(base) = self.base()?.filter(|_| self.is_cache()) else { return Ok(pointers) };
        each_file(&base, "snapshots", &mut |folder, name, below| {
            let commit = below.split('/').nth(1).and_then(|commit| commit.parse().ok());
            let link = folder.read_link(name);
            let blob = link.as_deref().and_then(Path::file_name).and_then(OsStr::to_str).map(str::to_owned);
            let place = Place { folder: below.to_owned(), name: name.to_owned() };
            pointers.extend(commit.map(|commit| Pointer { commit, blob, place }));
            Ok(())
        })?;
        Ok(pointers)
    }
}

impl WriteAccess {
    /// Removes a file with its receipt and the folders that it leaves empty, if it still is the one that was verified;
    /// in a cache with the links that lead to it.
    pub fn remove(&self, holding: &Holding, pointers: &[&Pointer]) -> Result<bool, Error> {
        let wanted = WantedFile::new(holding.receipt.path.clone(), holding.content);
        if holding.condition != Condition::Missing && self.store().proof(&wanted)?.is_none() {
            return Ok(false);
        }
        // No reader is led to a file that is gone.
        for pointer in pointers {
            self.remove_at(&pointer.place)?;
        }
        self.remove_at(&self.store().layout.target(&wanted.path, &wanted.content))?;
        self.remove_at(&self.store().layout.receipt(&wanted.path, &wanted.content))?;
        // huggingface_hub passes over a note without a file, and the folder may be somebody else's.
        if !self.store().is_cache() {
            let _ = self.remove_at(&Layout::note(&wanted.path));
        }
        Ok(true)
    }

    /// Removes the listing of a commit that has no snapshot any more.
    pub fn forget(&self, commit: &Commit) -> Result<(), Error> {
        self.remove_at(&self.store().layout.listing(commit))
    }

    /// Removes what has come of a file.
    pub fn discard(&self, unfinished: &Unfinished) -> Result<(), Error> {
        self.partials().discard_named(&unfinished.key)
    }

    fn remove_at(&self, place: &Place) -> Result<(), Error> {
        let base = self.base();
        let Some(folder) = base.descend(&place.folder)? else { return Ok(()) };
        folder.remove(&place.name)?;
        // Up to, and without, the folders that every target has.
        let mut below = place.folder.as_str();
        while let Some((above, name)) = below.rsplit_once('/').or((!below.is_empty()).then_some(("", below)))
        {
            if [Layout::receipts().as_str(), STATE, "blobs", "snapshots", "trees"].contains(&below) {
                break;
            }
            let Some(parent) = base.descend(above)? else { break };
            parent.remove_folder(name)?;
            below = above;
        }
        Ok(())
    }
}

/// Every name below a folder that is no folder, with the folder it is in.
fn each_file(
    base: &Dir,
    below: &str,
    found: &mut dyn FnMut(&Dir, &str, &str) -> Result<(), Error>,
) -> Result<(), Error> {
    let Some(folder) = base.descend(below)? else { return Ok(()) };
    for (name, kind) in folder.entries()? {
        match kind {
            Kind::Dir => each_file(base, &format!("{below}/{name}"), found)?,
            Kind::File | Kind::Other => found(&folder, &name, below)?,
        }
    }
    Ok(())
}
