//! Verified files of a target that a new one may have parts of.

use super::Store;
use super::copying::Original;
use super::holdings::{Condition, Holding};
use super::journal::Journal;
use super::layout::Layout;
use crate::content::xet::{COPY_MIN, WORTH_IT};
use crate::content::{RangeSet, XetHash};
use crate::disk::{Kind, Stat};
use crate::error::Error;
use crate::plan::{Origin, WantedFile};
use crate::request::RepoPath;

/// Files that are looked at for one new one.
const OLDER_MAX: usize = 6;

/// A verified file of which Xet storage may tell how it is made.
#[derive(Debug, Clone)]
pub struct Older {
    /// Path in the repository.
    pub path: RepoPath,
    /// Length in bytes.
    pub size: u64,
    /// What Xet storage calls it.
    pub xet_hash: XetHash,
    /// When it was verified, in seconds since the epoch.
    pub verified_at: u64,
    /// The file itself, which still is the one that was verified.
    pub original: Original,
}

/// A new file, and older ones.
#[derive(Debug)]
pub struct Update {
    /// The new file.
    pub file: WantedFile,
    /// What Xet storage calls it.
    pub xet_hash: XetHash,
    /// What is still to be had of it.
    pub missing: RangeSet,
    /// Which may have parts of it, the most promising first.
    pub older: Vec<Older>,
}

impl Store {
    /// Which of these files may be updates of older ones: of another version of the name first, then of files of its repository, then of others, the newest first.
    pub fn updates(&self, origin: &Origin, files: &[WantedFile]) -> Result<Vec<Update>, Error> {
        let mut updates = Vec::new();
        for file in files {
            let Some(xet_hash) = file.xet_hash() else { continue };
            let missing = self.lacking(file)?;
            if missing.bytes() >= WORTH_IT {
                updates.push(Update { file: file.clone(), xet_hash, missing, older: Vec::new() });
            }
        }
        if updates.is_empty() {
            return Ok(updates);
        }
        let mut holdings = self.holdings()?;
        holdings.retain(|held| {
            let is_known = held.condition == Condition::Verified && held.receipt.xet_hash.is_some();
            is_known && held.content.size() >= COPY_MIN
        });
        for update in &mut updates {
            let rank = |held: &&Holding| {
                let of_repo = held.receipt.origin.repo == origin.repo;
                let of_name = of_repo && held.receipt.path == update.file.path;
                (!of_name, !of_repo, std::cmp::Reverse(held.receipt.verified_at))
            };
            let mut ranked: Vec<_> = holdings.iter().collect();
            ranked.sort_by_key(rank);
            for held in ranked.into_iter().take(OLDER_MAX) {
                update.older.extend(self.open_older(held)?);
            }
        }
        updates.retain(|update| !update.older.is_empty());
        Ok(updates)
    }

    /// Opens a file, if it still is the one that its receipt was written for.
    fn open_older(&self, held: &Holding) -> Result<Option<Older>, Error> {
        let wanted = WantedFile::new(held.receipt.path.clone(), held.content);
        let (Some(file), Some(xet_hash)) = (self.open(&wanted)?, held.receipt.xet_hash) else {
            return Ok(None);
        };
        let stat = Stat::of(&file).map_err(Error::io("look at", &held.target))?;
        Ok(held.receipt.covers(&stat.identity, self.recheck).then(|| Older {
            path: held.receipt.path.clone(),
            size: held.content.size(),
            xet_hash,
            verified_at: held.receipt.verified_at,
            original: Original::new(file, held.target.clone(), stat.identity),
        }))
    }

    /// What an earlier run has not brought of a file.
    fn lacking(&self, file: &WantedFile) -> Result<RangeSet, Error> {
        let none = || RangeSet::full(file.size());
        let Some(base) = self.base()? else { return Ok(none()) };
        let Some(partials) = base.descend(&Layout::partials())? else { return Ok(none()) };
        let partial = partials.stat(&file.content.key().to_string())?;
        let Some(partial) = partial.filter(|partial| partial.kind == Kind::File) else { return Ok(none()) };
        let journal = Journal::read(&partials, &file.content, partial.identity.size)?;
        Ok(journal.map_or_else(none, |journal| journal.written.missing(file.size())))
    }
}
