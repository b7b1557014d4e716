//! Whether every file can get its name: found out before the first byte, not after the last one.
//!
//! Nothing but a try tells what a volume takes: a file is renamed into each folder that names will be given in, and
//! names out of the ordinary are given in a folder of this program's own. All of it is gone afterwards.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::layout::{self, Layout, Place};
use super::opening::allocate;
use super::publish::link_to_blob;
use super::receipt::{self, Receipt};
use super::{LISTING_BYTES_MAX, Store};
use crate::disk::{self, Access, Dir, Kind};
use crate::error::{Error, GIVE_NAME};
use crate::plan::{Action, Item, Plan};

/// Names of up to this length this program gives in every directory, in bytes.
const LENGTH_IN_USE: usize = 77;
/// Length of a file in bytes that takes room on every volume.
const SMALL: u64 = 4096;
/// How often a try is made that another run's cleaning up may have spoilt.
const TRIES: u32 = 3;
/// Names that devices have on volumes made for Windows, whatever follows after a dot.
const DEVICES: [&str; 4] = ["con", "prn", "aux", "nul"];

impl Store {
    /// Fails if a file of this plan could not get its name once its bytes are there, or would take the name of
    /// another one. Takes a call or two for each folder, and for each file that is to be replaced; none for those
    /// that are skipped. A directory that is not there is not created.
    pub fn rehearse(&self, plan: &Plan) -> Result<(), Error> {
        if plan.items.iter().all(|item| item.action == Action::Skip) {
            return Ok(());
        }
        let Some(root) = Dir::open(self.root())? else { return disk::may_make(self.root()) };
        let mut rehearsal =
            Rehearsal { store: self, plan, root, folders: HashMap::new(), folding: HashSet::new() };
        rehearsal.write()?;
        rehearsal.rename()?;
        rehearsal.give_names()?;
        rehearsal.replace()?;
        rehearsal.tell_apart()
    }
}

struct Rehearsal<'a> {
    store: &'a Store,
    plan: &'a Plan,
    root: Dir,
    /// For each folder in which names will be given, itself or the nearest one above it that is there.
    folders: HashMap<String, String>,
    /// Folders that are there in which small and capital letters are the same.
    folding: HashSet<String>,
}

impl Rehearsal<'_> {
    /// Takes the room of a small file, and writes its last byte first.
    fn write(&self) -> Result<(), Error> {
        if self.plan.items.iter().all(|item| item.action.is_there()) {
            return Ok(());
        }
        let (dir, _) = self.root.nearest(&self.below_root(&Layout::partials()))?;
        let (name, file) = dir.create_temporary(Access::All)?;
        let written = allocate(&file, SMALL).and_then(|()| file.write_all_at(&[0], SMALL - 1));
        // Some FUSE file systems rename what is removed while it is open.
        drop(file);
        let removed = dir.remove(&name);
        written.map_err(Error::io("write to any place of a file in", dir.path()))?;
        removed
    }

    /// Renames a file from where those come from into each folder that is there.
    fn rename(&mut self) -> Result<(), Error> {
        let mut folders = HashMap::new();
        for place in self.places() {
            if let Entry::Vacant(entry) = folders.entry(place.folder) {
                let (_, above) = self.root.nearest(entry.key())?;
                entry.insert(above);
            }
        }
        let there: BTreeSet<String> = folders.values().cloned().collect();
        self.folders = folders;
        let (from, _) = self.root.nearest(&self.below_root(&Layout::partials()))?;
        let (state, _) = self.root.nearest(&self.below_root(layout::STATE))?;
        let note = Note { name: Dir::temporary_name()?, folders: there };
        let (name, mut file) = state.create_temporary(Access::All)?;
        let written = serde_json::to_writer(&mut file, &note).map_err(io::Error::from);
        let renamed = written.map_err(Error::io("write", state.join(&name))).and_then(|()| {
            for folder in &note.folders {
                if is_folding(&self.root, &from, folder, &note.name)? {
                    self.folding.insert(folder.clone());
                }
            }
            Ok(())
        });
        if renamed.is_err() && note.is_needed(&self.root) {
            return renamed;
        }
        let removed = state.remove(&name);
        renamed.and(removed)
    }

    /// The path from the root of one that begins at the folder of the repository.
    fn below_root(&self, path: &str) -> String {
        [self.store.layout.base(), path]
            .iter()
            .filter(|part| !part.is_empty())
            .copied()
            .collect::<Vec<_>>()
            .join("/")
    }

    /// Gives each name that is out of the ordinary to a file, in a folder of its own.
    fn give_names(&self) -> Result<(), Error> {
        let odd = self.odd_names();
        if odd.is_empty() {
            return Ok(());
        }
        let (state, _) = self.root.nearest(&self.below_root(layout::STATE))?;
        let (scratch, dir) = state.make_temporary()?;
        let given = odd.iter().try_for_each(|(name, path)| {
            dir.give_name(name).map_err(Error::io(GIVE_NAME, self.root.join(path)))?;
            dir.remove(name)
        });
        // The name that was refused is the one to tell.
        let removed = state.remove_folder(&scratch);
        given.and(removed)
    }

    /// Names in which something is that none before them had, and the longest, each with one path it has.
    fn odd_names(&self) -> Vec<(String, String)> {
        let (mut odd, mut known, mut longest) = (Vec::new(), HashSet::new(), None);
        for place in self.places() {
            // What is above has its name already.
            let above = self.folders.get(&place.folder).map_or("", String::as_str);
            let path = place.path();
            for part in path[above.len()..].split('/').filter(|part| !part.is_empty()) {
                let length =
                    longest.as_ref().map_or(LENGTH_IN_USE, |(name, _): &(String, String)| name.len());
                if is_odd(part, &mut known) {
                    odd.push((part.to_owned(), path.clone()));
                } else if part.len() > length {
                    longest = Some((part.to_owned(), path.clone()));
                }
            }
        }
        odd.extend(longest);
        odd
    }

    /// Fails if a file that is there may not be replaced.
    fn replace(&self) -> Result<(), Error> {
        let mut entered: Option<(String, Dir)> = None;
        let is_there = |place: &Place| self.folders.get(&place.folder) == Some(&place.folder);
        for Place { folder, name } in self.places().filter(is_there) {
            let dir = match entered.take().filter(|(last, _)| *last == folder) {
                Some((_, dir)) => dir,
                None => self.root.nearest(&folder)?.0,
            };
            dir.may_replace(&name)?;
            entered = Some((folder, dir));
        }
        Ok(())
    }

    /// Fails if two files of different content would have one name.
    fn tell_apart(&self) -> Result<(), Error> {
        if self.folding.is_empty() {
            return Ok(());
        }
        let mut wanted: HashMap<String, &Item> = HashMap::new();
        for item in &self.plan.items {
            let place = self.visible(item);
            let (dir, above) = self.root.nearest(&place.folder)?;
            if !self.folding.contains(&above) {
                continue;
            }
            if let Some(other) = wanted.insert(folded(&place.path()), item)
                && other.file.content != item.file.content
            {
                return Err(same_name(item, other.file.path.to_string(), &dir));
            }
            if above == place.folder
                && let Some(other) = self.other_name(item, &place, &dir)?
            {
                return Err(same_name(item, other, &dir));
            }
        }
        Ok(())
    }

    /// What has the name of a file already, if it is another one of another content.
    fn other_name(&self, item: &Item, place: &Place, dir: &Dir) -> Result<Option<String>, Error> {
        let Some(there) = dir.stat(&place.name)?.filter(|stat| stat.kind != Kind::Dir) else {
            return Ok(None);
        };
        if self.store.is_cache() {
            // A name in the snapshot of a commit stands for one content for ever.
            let is_own = match dir.read_link(&place.name) {
                Some(link) => link.as_os_str() == link_to_blob(&item.file).as_str(),
                None => there.identity.size == item.file.size(),
            };
            let entries = if is_own { Vec::new() } else { dir.entries()? };
            let is_other = |name: &String| *name != place.name && folded(name) == folded(&place.name);
            return Ok(entries.into_iter().map(|(name, _)| name).find(is_other));
        }
        if item.action.is_there() {
            return Ok(None);
        }
        let receipt = self.store.read(&Layout::receipt_of_name(&item.file.path), receipt::BYTES_MAX)?;
        let receipt = receipt.and_then(|bytes| Receipt::parse(&bytes));
        Ok(receipt.filter(|receipt| receipt.path != item.file.path).map(|receipt| receipt.path.to_string()))
    }

    /// Where a reader finds a file.
    fn visible(&self, item: &Item) -> Place {
        let layout = &self.store.layout;
        let pointer = layout.pointer_of(&item.file.path, self.plan.commit.as_ref());
        let place = pointer.unwrap_or_else(|| layout.target(&item.file.path, &item.file.content));
        Place { folder: self.below_root(&place.folder), ..place }
    }

    /// All that will be written under a name of its own: the files, what leads to them, and what is learnt.
    fn places(&self) -> impl Iterator<Item = Place> {
        let (layout, commit) = (&self.store.layout, self.plan.commit.as_ref());
        let items = self.plan.items.iter().filter(|item| item.action != Action::Skip);
        // A file that is there has its name.
        let of_items = items.flat_map(move |Item { file, action, .. }| {
            layout.names_of(file, commit).skip(usize::from(action.is_there()))
        });
        let places = of_items.chain(layout.learnt(&self.plan.revision, commit));
        places.map(|place| Place { folder: self.below_root(&place.folder), ..place })
    }
}

fn same_name(item: &Item, other: String, dir: &Dir) -> Error {
    Error::SameName { path: item.file.path.clone(), other, dir: dir.path().to_owned() }
}

/// Left while a file goes from folder to folder: where it may be found after a kill.
#[derive(Serialize, Deserialize)]
struct Note {
    /// What it is called there.
    name: String,
    /// The folders, below the root.
    folders: BTreeSet<String>,
}

impl Note {
    /// Whether the file is still in one of the folders: the next run that may removes it.
    fn is_needed(&self, root: &Dir) -> bool {
        let is_in = |folder: &String| match root.descend(folder) {
            Ok(Some(dir)) => !matches!(dir.stat(&self.name), Ok(None)),
            _ => false,
        };
        self.folders.iter().any(is_in)
    }
}

/// Removes the file of a run that was killed, where the note called `name` says that it may be.
pub(super) fn clean_up(root: &Path, state: &Dir, name: &str) -> Result<(), Error> {
    // One that another user has just made may not be open to this one yet.
    let note = state.read(name, LISTING_BYTES_MAX).ok().flatten();
    let Some(note) = note.and_then(|note| serde_json::from_slice::<Note>(&note).ok()) else { return Ok(()) };
    let Some(root) = Dir::open(root)?.filter(|_| Dir::is_temporary(&note.name)) else { return Ok(()) };
    for folder in note.folders {
        // A folder that cannot be entered any more is told by those who need it.
        if let Ok(Some(dir)) = root.descend(&folder) {
            dir.remove_empty(&note.name)?;
        }
    }
    Ok(())
}

/// Renames a file into a folder, where it gets this name; says whether it has that in capitals too.
fn is_folding(root: &Dir, from: &Dir, folder: &str, name: &str) -> Result<bool, Error> {
    let Some(dir) = root.descend(folder)? else { return Ok(false) };
    let mut tries = TRIES;
    loop {
        let (temporary, _) = from.create_temporary(Access::All)?;
        match from.try_rename(&temporary, &dir, name) {
            Ok(()) => break,
            Err(why) if why.kind() == ErrorKind::NotFound && tries > 1 => tries -= 1,
            Err(why) => {
                // The failure to rename is the one to tell.
                let _ = from.remove(&temporary);
                return Err(Error::io("publish in", dir.path())(why));
            }
        }
    }
    let capitals = dir.stat(&name.to_ascii_uppercase());
    dir.remove(name)?;
    Ok(capitals?.is_some())
}

/// Whether a volume may refuse a name for something that was in none of those before it.
fn is_odd(name: &str, known: &mut HashSet<char>) -> bool {
    let mut is_new = |c: char| !c.is_ascii_alphanumeric() && !matches!(c, '.' | '_' | '-') && known.insert(c);
    // Each of them is noted, not only the first.
    let has_new = name.chars().filter(|c| is_new(*c)).count() > 0;
    let stem = name.split('.').next().unwrap_or_default().to_ascii_lowercase();
    let numbered = stem.strip_prefix("com").or_else(|| stem.strip_prefix("lpt"));
    has_new
        || name.ends_with(['.', ' '])
        || DEVICES.contains(&stem.as_str())
        || numbered.is_some_and(|rest| rest.len() == 1 && rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// A path without the difference of small and capital letters.
fn folded(path: &str) -> String {
    path.to_uppercase().to_lowercase()
}
