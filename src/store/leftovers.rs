//! Cleans up what earlier runs left and no run can use: only under the lock.

use std::collections::{HashMap, HashSet};

use super::journal::{Journal, Record};
use super::{WriteAccess, rehearsal};
use crate::disk::{Dir, Kind};
use crate::error::Error;
use crate::plan::WantedFile;
use crate::request::{RepoId, RepoPath};

impl WriteAccess {
    /// Removes temporary files, partial files without a journal that can be read, journals without a
    /// partial file, and partial files of an older content of one of these files. Partial files of other
    /// requests stay: someone may want to resume them. Nothing goes that this program could not have made.
    pub fn sweep(&self, repo: &RepoId, files: &[WantedFile]) -> Result<(), Error> {
        let wanted: HashMap<&RepoPath, String> =
            files.iter().map(|file| (&file.path, file.content.key().to_string())).collect();
        let contents: HashSet<&String> = wanted.values().collect();
        let dir = &self.partials().dir;
        for (name, _) in dir.entries()?.into_iter().filter(|(_, kind)| *kind == Kind::File) {
            if Dir::is_temporary(&name) {
                dir.remove_empty(&name)?;
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
        Ok(())
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
    let mut journal = None;
    for record in Record::ALL {
        journal = Journal::read_record(partials, name, record)?.or(journal);
    }
    let Some(journal) = journal else { return Ok(false) };
    let is_replaced = journal.repo == *repo && wanted.get(&journal.path).is_some_and(|other| other != name);
    Ok(!is_replaced)
}

pub(super) fn is_digest(name: &str) -> bool {
    matches!(name.len(), 40 | 64) && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}
