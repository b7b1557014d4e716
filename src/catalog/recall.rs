//! What earlier runs left behind about a request: enough, often, to need no question to the Hub.

use super::{Resolution, listing};
use crate::content::{Content, Digest};
use crate::error::Error;
use crate::plan::{Vouchers, WantedFile};
use crate::request::{Commit, Locked, NetworkUse, Patterns, RepoPath, Request, Selection};
use crate::store::Store;
use crate::trust;

/// What is known of the request's files without the Hub; `None` if anything is missing.
/// Nothing in it is trusted further than its receipts: the plan looks at the files.
pub fn recall(request: &Request, store: &Store) -> Result<Option<Resolution>, Error> {
    let mut recalled = match &request.selection {
        Selection::Named(names) => match (from_names(request, store, names.paths())?, names.by_list()) {
            (None, Some(patterns)) => from_listing(request, store, patterns)?,
            (recalled, _) => recalled,
        },
        Selection::Matching(patterns) => from_listing(request, store, patterns)?,
    };
    if let Some(known) = &mut recalled {
        trust::share_pins(&mut known.files)?;
    }
    Ok(recalled)
}

/// Whether what is known needs no confirmation: a commit never changes, neither does what has a
/// pinned digest, and the user may want none.
pub fn is_certain(request: &Request, known: &Resolution) -> bool {
    let pinned = |file: &WantedFile| request.pins.for_file(&file.path, known.files.len()).is_some();
    matches!(request.network, NetworkUse::Offline | NetworkUse::PreferOffline)
        || request.revision.commit().is_some()
        || known.files.iter().all(pinned)
}

/// What a lock file says of the request's files.
pub fn of_lock(request: &Request, locked: &Locked) -> Result<Resolution, Error> {
    let announced = locked.files.iter().map(|file| (&file.path, file.content, file.xet_hash));
    let mut files = trust::pinned(&request.pins, announced)?;
    for file in &mut files {
        // Nobody else was asked.
        file.vouchers = Vouchers::lock().and(&file.vouchers.without_hub());
    }
    trust::share_pins(&mut files)?;
    Ok(Resolution::from_files(request, request.revision.commit(), files))
}

fn from_names(request: &Request, store: &Store, paths: &[RepoPath]) -> Result<Option<Resolution>, Error> {
    if store.is_cache() { from_snapshot(request, store, paths) } else { from_receipts(request, store, paths) }
}

fn from_receipts(request: &Request, store: &Store, paths: &[RepoPath]) -> Result<Option<Resolution>, Error> {
    let mut files = Vec::new();
    let mut commits = Vec::new();
    for path in paths {
        let Some(receipt) = store.receipt_of_name(path)? else { return Ok(None) };
        let Some(content) = receipt.content() else { return Ok(None) };
        let (origin, pin) = (&receipt.origin, request.pins.for_file(path, paths.len()));
        let is_of_repo = origin.repo == request.repo;
        let is_of_commit = origin.commit.is_some() && origin.commit == request.revision.commit();
        let is_known = if pin.is_some() {
            content.sha256() == pin
        } else {
            is_of_repo && (origin.revision == request.revision || is_of_commit)
        };
        if !is_known {
            return Ok(None);
        }
        let mut file = WantedFile::new(path.clone(), content).known_as(receipt.xet_hash);
        if request.repo.is_address() {
            file.vouchers = file.vouchers.without_hub();
        } else if request.repo.is_oci() {
            file.vouchers = file.vouchers.of_registry();
        }
        if request.pins.is_wanted_by_digest(path, paths.len()) {
            file.vouchers.add_pin();
        }
        files.push(file);
        commits.push(origin.commit.filter(|_| is_of_repo));
    }
    let first = commits.first().copied().flatten();
    let commit = first.filter(|first| commits.iter().all(|one| *one == Some(*first)));
    Ok(Some(Resolution::from_files(request, request.revision.commit().or(commit), files)))
}

/// In a cache the snapshot's link names the blob, and the blob's name is the digest.
fn from_snapshot(request: &Request, store: &Store, paths: &[RepoPath]) -> Result<Option<Resolution>, Error> {
    let Some(commit) = known_commit(request, store)? else { return Ok(None) };
    let mut files = Vec::new();
    for path in paths {
        let Some((blob, size)) = store.blob_in_snapshot(path, &commit)? else { return Ok(None) };
        let Some(digest) = Digest::from_etag(&blob) else { return Ok(None) };
        let pin = request.pins.for_file(path, paths.len());
        let Ok(content) = trust::vouch(path, Content::new(size, digest), pin) else { return Ok(None) };
        let mut file = WantedFile::new(path.clone(), content);
        if request.pins.is_wanted_by_digest(path, paths.len()) {
            file.vouchers.add_pin();
        }
        files.push(file);
    }
    Ok(Some(Resolution::from_files(request, Some(commit), files)))
}

fn from_listing(request: &Request, store: &Store, patterns: &Patterns) -> Result<Option<Resolution>, Error> {
    let Some(commit) = known_commit(request, store)? else { return Ok(None) };
    let Some(bytes) = store.listing(&commit)? else { return Ok(None) };
    let Some(listing) = listing::parse(&bytes) else { return Ok(None) };
    Resolution::from_listing(request, patterns, commit, listing).map(Some)
}

fn known_commit(request: &Request, store: &Store) -> Result<Option<Commit>, Error> {
    match request.revision.commit() {
        Some(commit) => Ok(Some(commit)),
        None => store.commit_of(&request.revision),
    }
}
