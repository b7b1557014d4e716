//! What a target holds, as far as can be told without reading a file or asking anybody.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::Store;
use super::layout::{Layout, STATE};
use super::leftovers::{is_digest, journal_of};
use super::receipt::Receipt;
use crate::content::{Content, Digest};
use crate::disk::{Dir, Kind};
use crate::error::Error;
use crate::plan::WantedFile;
use crate::request::{Destination, Recheck, RepoId, RepoPath};

/// Folders in folders that are looked through for other targets.
const DEPTH_MAX: usize = 8;

/// A file that has a receipt.
#[derive(Debug, Clone)]
pub struct Holding {
    /// Its receipt.
    pub receipt: Receipt,
    /// What the receipt proves.
    pub content: Content,
    /// Where its bytes are.
    pub target: PathBuf,
    /// Bytes of disk space taken.
    pub allocated: u64,
    /// Its bytes lie in the store that the repositories of a cache share.
    pub is_shared: bool,
    /// Whether the receipt still is about what is there.
    pub condition: Condition,
}

/// What a file is to its receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Condition {
    /// It is the file that was verified.
    Verified,
    /// It was changed since, or replaced.
    Changed,
    /// It is gone.
    Missing,
}

/// A file of which a part is there.
#[derive(Debug, Clone)]
pub struct Unfinished {
    /// The repository that it was asked of.
    pub repo: RepoId,
    /// Path in the repository.
    pub path: RepoPath,
    /// Bytes of the whole file.
    pub size: u64,
    /// Bytes that need not be fetched again.
    pub have: u64,
    /// Bytes of disk space taken.
    pub allocated: u64,
    /// When bytes last came, in seconds since the epoch.
    pub modified_at: u64,
    /// Its partial file.
    pub partial: PathBuf,
    /// The name of that.
    pub(super) key: String,
}

impl Store {
    /// The target it is of.
    pub fn destination(&self) -> Destination {
        self.layout.destination().clone()
    }

    /// Of a directory, and of those below it that are targets themselves, as the models of a manifest may be. Hidden
    /// folders, and what cannot be read, are passed over: the directory may be somebody's home.
    pub(super) fn of_directories(destination: &Destination) -> Result<Vec<Self>, Error> {
        let root = destination.root();
        let at = |root| Self::with(Layout::of_folder(&destination.moved_to(root), String::new()));
        let mut stores = vec![at(root.to_owned())];
        let Some(top) = Dir::open(root)? else { return Ok(stores) };
        let mut folders = vec![(String::new(), 0)];
        while let Some((below, depth)) = folders.pop() {
            let Ok(Some(dir)) = top.descend(&below) else { continue };
            let entries = dir.entries().unwrap_or_default().into_iter();
            let mut names: Vec<_> =
                entries.filter(|(_, kind)| *kind == Kind::Dir).map(|(name, _)| name).collect();
            if depth > 0 && names.iter().any(|name| name == STATE) {
                stores.push(at(root.join(below.trim_start_matches('/'))));
            }
            names.retain(|name| depth < DEPTH_MAX && !name.starts_with('.'));
            folders.extend(names.into_iter().map(|name| (format!("{below}/{name}"), depth + 1)));
        }
        stores.sort_by(|a, b| a.root().cmp(b.root()));
        Ok(stores)
    }

    /// What a file anywhere on this machine was verified to be, if it lies in a directory or a cache that this program has
    /// filled, and has not changed since.
    pub fn content_of(file: &Path, recheck: Recheck) -> Result<Option<Content>, Error> {
        // The links of a snapshot lead to blobs.
        let Ok(file) = file.canonicalize() else { return Ok(None) };
        let has_state = |folder: &&Path| folder.join(STATE).is_dir();
        for folder in file.ancestors().skip(1).filter(has_state) {
            let below = file.strip_prefix(folder).ok().and_then(Path::to_str);
            let Some(path) = below.and_then(|below| below.parse().ok()) else { continue };
            let directory = Self::with(Layout::of_folder(&Destination::Dir(folder.into()), String::new()));
            if let Some(content) = directory.rechecking(recheck).verified_content(&path)? {
                return Ok(Some(content));
            }
            let in_cache = folder.parent().zip(folder.file_name().and_then(OsStr::to_str));
            let Some((root, repo)) = in_cache else { continue };
            let Some(digest) = path.as_str().strip_prefix("blobs/").and_then(Digest::from_etag) else {
                continue;
            };
            let size = file.metadata().map_err(Error::io("look at", &file))?.len();
            let cache = Self::with(Layout::of_folder(&Destination::Cache(root.into()), repo.to_owned()));
            let blob = WantedFile::new(path, Content::new(size, digest));
            if let Some((_, proof)) = cache.rechecking(recheck).proof(&blob)? {
                return Ok(Some(*proof.content()));
            }
        }
        Ok(None)
    }

    /// Every file with a receipt, by path.
    pub fn holdings(&self) -> Result<Vec<Holding>, Error> {
        let mut holdings = Vec::new();
        for receipt in self.receipts()? {
            let Some(content) = receipt.content() else { continue };
            let wanted = WantedFile::new(receipt.path.clone(), content);
            let target = self.target_path(&wanted);
            let mut is_shared = false;
            let (condition, allocated) = match self.entry(&wanted) {
                Ok(Some((folder, _, stat))) if receipt.covers(&stat.identity, self.recheck) => {
                    is_shared = target.parent() != Some(folder.path());
                    (Condition::Verified, stat.allocated)
                }
                Ok(None) => (Condition::Missing, 0),
                // A folder is there, or a link.
                Ok(Some(_)) | Err(_) => (Condition::Changed, 0),
            };
            holdings.push(Holding { receipt, content, target, allocated, is_shared, condition });
        }
        holdings.sort_by(|a, b| a.receipt.path.cmp(&b.receipt.path));
        Ok(holdings)
    }

    /// Every file of which a part is there and can be gone on with, by path.
    pub fn unfinished(&self) -> Result<Vec<Unfinished>, Error> {
        let Some(base) = self.base()? else { return Ok(Vec::new()) };
        let Some(dir) = base.descend(&Layout::partials())? else { return Ok(Vec::new()) };
        let mut unfinished = Vec::new();
        for (key, _) in
            dir.entries()?.into_iter().filter(|(name, kind)| *kind == Kind::File && is_digest(name))
        {
            let (Some(journal), Some(stat)) = (journal_of(&dir, &key)?, dir.stat(&key)?) else { continue };
            let modified_at = u64::try_from(stat.identity.mtime_ns / 1_000_000_000).unwrap_or_default();
            unfinished.push(Unfinished {
                repo: journal.repo,
                path: journal.path,
                size: journal.size,
                have: journal.written.bytes().min(journal.size),
                allocated: stat.allocated,
                modified_at,
                partial: dir.join(&key),
                key,
            });
        }
        unfinished.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(unfinished)
    }
}
