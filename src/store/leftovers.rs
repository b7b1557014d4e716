//! Cleans up what earlier runs left and no run can use: only under the lock.

use std::path::{Path, PathBuf};

use super::journal::{Journal, Record};
use super::layout::Layout;
use crate::disk;
use crate::error::Error;
use crate::plan::Plan;

/// Removes temporary files, partial files without a journal that can be believed, journals
/// without a partial file, and partial files of an older content of a file of this plan.
/// Partial files of other requests stay: someone may want to resume them.
/// Says whether there was anything to remove: then the plan is out of date.
pub(crate) fn sweep(layout: &Layout, plan: &Plan) -> Result<bool, Error> {
    let mut swept = false;
    let partials = layout.partials();
    for name in names(&partials)? {
        let path = partials.join(&name);
        let recorded = Record::ALL.into_iter().find_map(|record| name.strip_suffix(record.suffix()));
        let useless = match recorded {
            Some(partial) => !partials.join(partial).exists(),
            None if name.ends_with(".tmp") => true,
            None => !is_wanted(&partials, &name, plan)?,
        };
        if useless {
            swept = true;
            disk::remove(&path)?;
            for record in Record::ALL {
                disk::remove(&partials.join(format!("{name}{}", record.suffix())))?;
            }
        }
    }
    for name in names(layout.state())?.into_iter().filter(|name| name.ends_with(".tmp")) {
        disk::remove(&layout.state().join(name))?;
    }
    Ok(swept)
}

fn is_wanted(partials: &Path, name: &str, plan: &Plan) -> Result<bool, Error> {
    let mut journal = None;
    for record in Record::ALL {
        journal = Journal::read_record(partials, name, record)?.or(journal);
    }
    let Some(journal) = journal else { return Ok(false) };
    let same_name = plan.items.iter().find(|item| item.file.path == journal.path);
    let outdated = journal.repo == plan.repo
        && same_name.is_some_and(|item| item.file.content.key().to_string() != name);
    let shared = plan.items.iter().any(|item| item.file.content.key().to_string() == name);
    Ok(shared || !outdated)
}

fn names(dir: &Path) -> Result<Vec<String>, Error> {
    let name = |path: PathBuf| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(disk::entries(dir)?.into_iter().map(name).collect())
}
