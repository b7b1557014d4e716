//! What earlier runs left: what no run can use is cleaned up, under the lock; of the rest it is told what it takes.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::journal::{Journal, Record};
use super::layout::{Place, STATE};
use super::{Store, WriteAccess, lock, rehearsal};
use crate::disk::{Dir, Kind};
use crate::error::{self, Error};
use crate::plan::{Origin, WantedFile};
use crate::request::{Destination, RepoId, RepoPath};

impl WriteAccess {
    /// Removes temporary files, partial files without a journal that can be read, journals without a
    /// partial file, and partial files of an older content of one of these files. Partial files of other
    /// requests stay: someone may want to resume them. Nothing goes that this program could not have made.
    pub fn sweep(&self, origin: &Origin, files: &[WantedFile]) -> Result<(), Error> {
        let repo = &origin.repo;
        let wanted: HashMap<&RepoPath, String> =
            files.iter().map(|file| (&file.path, file.content.key().to_string())).collect();
        let contents: HashSet<&String> = wanted.values().collect();
        let dir = &self.partials().dir;
        for (name, _) in dir.entries()?.into_iter().filter(|(_, kind)| *kind == Kind::File) {
            if Dir::is_temporary(&name) {
                dir.remove(&name)?;
                continue;
            }
            let recorded = Record::ALL.into_iter().find_map(|record| name.strip_suffix(record.suffix()));
            let useless = match recorded {
                Some(partial) => is_digest(partial) && dir.stat(partial)?.is_none(),
                None => {
                    is_digest(&name) && !contents.contains(&name) && !is_of_use(dir, &name, repo, &wanted)?
                }
            };
            if useless {
                self.partials().discard_named(&name)?;
            }
        }
        let state = self.state();
        for (name, kind) in state.entries()?.into_iter().filter(|(name, _)| Dir::is_temporary(name)) {
            match kind {
                Kind::Dir => remove_scratch(state, &name)?,
                // A link is one of a snapshot that did not get its name.
                Kind::File | Kind::Other => {
                    rehearsal::clean_up(self.store().root(), state, &name)?;
                    state.remove(&name)?;
                }
            }
        }
        self.sweep_folders(origin, files);
        Ok(())
    }

    /// Removes empty files that were tried in the folders of these files. After a power cut they may be there although no
    /// note of them is: to flush both in order would cost each run more than they do. What cannot be looked at is
    /// passed over, those who need it tell why.
    fn sweep_folders(&self, origin: &Origin, files: &[WantedFile]) {
        let (layout, commit) = (&self.store().layout, origin.commit.as_ref());
        let of_files = files.iter().flat_map(|file| layout.names_of(file, commit));
        let mut folders = BTreeSet::new();
        for place in of_files.chain(layout.learnt(&origin.revision, commit)) {
            let mut folder = place.folder.as_str();
            // And above, where the folder was not there yet.
            while folders.insert(folder.to_owned()) {
                folder = folder.rsplit_once('/').map_or("", |(above, _)| above);
            }
        }
        for folder in folders {
            let Ok(Some(dir)) = self.base().descend(&folder) else { continue };
            let entries = dir.entries().unwrap_or_default().into_iter();
            for (name, _) in entries.filter(|(name, kind)| *kind == Kind::File && Dir::is_temporary(name)) {
                let path = Place { folder: folder.clone(), name: name.clone() }.path().parse();
                let is_own = path.is_ok_and(|path| !matches!(self.store().receipt_of_name(&path), Ok(None)));
                if !is_own {
                    // What a run before this one could not remove either is told by nobody, and stays.
                    let _ = dir.remove_empty(&name);
                }
            }
        }
    }
}

impl Store {
    /// Unfinished downloads that take disk space in a target, but for those of the contents called `wanted`, and those
    /// that another process may be at work on. `None` if there are none.
    pub fn in_the_way(
        destination: &Destination,
        wanted: &HashSet<String>,
    ) -> Result<Option<error::Unfinished>, Error> {
        let mut downloads = Vec::new();
        for store in Self::all(destination)? {
            let state = store.base()?.map(|base| base.descend(STATE)).transpose()?.flatten();
            if state.is_none_or(|state| lock::is_held(&state)) {
                continue;
            }
            let unfinished = store.unfinished()?.into_iter();
            let unfinished = unfinished.filter(|one| one.allocated > 0 && !wanted.contains(&one.key));
            downloads.extend(unfinished.map(|one| (one.repo, one.path, one.allocated)));
        }
        downloads.sort_by_key(|(.., bytes)| std::cmp::Reverse(*bytes));
        let destination = destination.clone();
        Ok(Some(error::Unfinished { destination, downloads }).filter(|found| !found.downloads.is_empty()))
    }
}

/// Removes a folder in which names were tried, and with it the file that was there when its run was killed. One with
/// anything else in it is none, and stays.
fn remove_scratch(state: &Dir, name: &str) -> Result<(), Error> {
    let Some(scratch) = state.descend(name)? else { return Ok(()) };
    if let [(file, Kind::File)] = &scratch.entries()?[..] {
        scratch.remove_empty(file)?;
    }
    state.remove_folder(name)
}

/// Whether a partial file could be gone on with, as far as is known: it has a journal, and no file of this
/// request has replaced its content.
fn is_of_use(
    partials: &Dir,
    name: &str,
    repo: &RepoId,
    wanted: &HashMap<&RepoPath, String>,
) -> Result<bool, Error> {
    let Some(journal) = journal_of(partials, name)? else { return Ok(false) };
    let is_replaced = journal.repo == *repo && wanted.get(&journal.path).is_some_and(|other| other != name);
    Ok(!is_replaced)
}

/// What is known of a partial file, from one of its records.
pub(super) fn journal_of(partials: &Dir, name: &str) -> Result<Option<Journal>, Error> {
    let mut journal = None;
    for record in Record::ALL {
        journal = Journal::read_record(partials, name, record)?.or(journal);
    }
    Ok(journal)
}

pub(super) fn is_digest(name: &str) -> bool {
    matches!(name.len(), 40 | 64) && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}
