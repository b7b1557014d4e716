//! `modelfetch prune`: removes published files that no lock file names, and unfinished downloads that nobody goes on
//! with. Nothing goes that no receipt or journal covers.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::Context;
use crate::error::Error;
use crate::request::{Commit, Destination, Lockfile};
use crate::store::holdings::{Condition, Holding, Unfinished};
use crate::store::pruning::Pointer;
use crate::store::{Store, WriteAccess};

/// What `modelfetch prune` is asked for.
#[derive(Debug, Clone)]
pub struct PruneRequest {
    /// The directory or cache.
    pub destination: Destination,
    /// Files that these name stay; without any of them all files stay.
    pub keep: Vec<Lockfile>,
    /// Unfinished downloads go that nothing was added to for this long.
    pub partials: Option<Duration>,
    /// It is done, and not only told.
    pub is_meant: bool,
}

/// What went, or would go.
#[derive(Debug, Clone, Serialize)]
pub struct Pruned {
    /// Every file.
    pub removed: Vec<Removed>,
    /// What could not be kept by a lock file, and stays all the same.
    pub spared: Vec<Spared>,
    /// Bytes of disk space that this frees.
    pub bytes_freed: u64,
    /// It was done, and not only told.
    pub done: bool,
}

/// One file that goes.
#[derive(Debug, Clone, Serialize)]
pub struct Removed {
    /// Its path.
    pub path: PathBuf,
    /// Bytes of disk space.
    pub bytes: u64,
    /// What it is: repository, commit and name, or how far it was.
    pub what: String,
}

/// One file that stays.
#[derive(Debug, Clone, Serialize)]
pub struct Spared {
    /// Its path.
    pub path: PathBuf,
    /// Why.
    pub why: &'static str,
}

/// Removes what nobody wants, or says what that would be.
pub async fn prune(request: &PruneRequest, context: &Context) -> Result<Pruned, Error> {
    let request = request.clone();
    context.stop.or_blocking("pruning", move || prune_now(&request)).await
}

fn prune_now(request: &PruneRequest) -> Result<Pruned, Error> {
    let mut pruned =
        Pruned { removed: Vec::new(), spared: Vec::new(), bytes_freed: 0, done: request.is_meant };
    let mut stores = Vec::new();
    for store in Store::all(&request.destination)? {
        if store.is_target()? {
            stores.push(store);
        }
    }
    if stores.is_empty() {
        let dir = request.destination.root().to_string_lossy();
        return Err(Error::invalid("directory", &dir, "nothing in it was fetched by this program"));
    }
    // All of them before the first file goes.
    let lock = |store: &Store| request.is_meant.then(|| store.try_lock()).transpose();
    let accesses = stores.iter().map(lock).collect::<Result<Vec<_>, _>>()?;
    for (store, access) in stores.iter().zip(&accesses) {
        if !request.keep.is_empty() {
            prune_files(request, store, access.as_ref(), &mut pruned)?;
        }
        if let Some(age) = request.partials {
            prune_partials(store, age, access.as_ref(), &mut pruned)?;
        }
    }
    pruned.bytes_freed = pruned.removed.iter().map(|removed| removed.bytes).sum();
    Ok(pruned)
}

fn prune_files(
    request: &PruneRequest,
    store: &Store,
    access: Option<&WriteAccess>,
    pruned: &mut Pruned,
) -> Result<(), Error> {
    let kept = Kept::new(request, store)?;
    let pointers = store.pointers()?;
    let has_copies = pointers.iter().any(|pointer| pointer.blob.is_none());
    let mut touched: HashSet<Commit> = HashSet::new();
    for holding in store.holdings()? {
        let key = holding.content.key().to_string();
        let links: Vec<_> = pointers.iter().filter(|link| link.blob.as_ref() == Some(&key)).collect();
        if kept.wants(&holding, &links) {
            continue;
        }
        let mut why = None;
        if holding.condition == Condition::Changed {
            why = Some("it was changed since it was verified, and may be somebody's");
        } else if holding.is_shared {
            why = Some("its bytes are shared between repositories, and nothing here tells who needs them");
        } else if has_copies {
            why = Some("this cache has copies instead of links, and nothing tells whose they are");
        } else if let Some(access) = access
            && !access.remove(&holding, &links)?
        {
            why = Some("it was changed a moment ago");
        }
        if let Some(why) = why {
            pruned.spared.push(Spared { path: holding.target, why });
        } else if holding.condition == Condition::Verified {
            touched.extend(links.iter().map(|link| link.commit));
            let origin = &holding.receipt.origin;
            let what = format!("{} {}", origin.repo.at("@", &origin.revision), holding.receipt.path);
            pruned.removed.push(Removed { path: holding.target, bytes: holding.allocated, what });
        }
    }
    if let Some(access) = access {
        let left: HashSet<_> = store.pointers()?.into_iter().map(|pointer| pointer.commit).collect();
        touched.difference(&left).try_for_each(|commit| access.forget(commit))?;
    }
    Ok(())
}

/// What stays in a target.
struct Kept {
    /// Of a directory: the files that lock files name.
    paths: HashSet<PathBuf>,
    /// Of a cache: the commits that lock files, branches and tags name.
    commits: HashSet<Commit>,
}

impl Kept {
    fn new(request: &PruneRequest, store: &Store) -> Result<Self, Error> {
        let root = request.destination.root();
        let mut kept = Self { paths: HashSet::new(), commits: store.named_commits()? };
        for model in request.keep.iter().flat_map(|lockfile| &lockfile.models) {
            if store.is_of(&model.wish.repo) {
                kept.commits.extend(model.commit);
            }
            let dir = model.wish.dir.as_ref().map_or_else(|| root.to_owned(), |dir| root.join(dir.as_str()));
            kept.paths.extend(model.files.iter().map(|file| dir.join(file.path.as_str())));
        }
        Ok(kept)
    }

    fn wants(&self, holding: &Holding, links: &[&Pointer]) -> bool {
        self.paths.contains(&holding.target) || links.iter().any(|link| self.commits.contains(&link.commit))
    }
}

fn prune_partials(
    store: &Store,
    age: Duration,
    access: Option<&WriteAccess>,
    pruned: &mut Pruned,
) -> Result<(), Error> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let is_old = |part: &Unfinished| now.saturating_sub(part.modified_at) >= age.as_secs();
    for part in store.unfinished()?.into_iter().filter(is_old) {
        if let Some(access) = access {
            access.discard(&part)?;
        }
        let what = format!("{} {}, unfinished", part.repo, part.path);
        pruned.removed.push(Removed { path: part.partial, bytes: part.allocated, what });
    }
    Ok(())
}
