//! What earlier runs left behind about a request: enough, often, to need no question to the Hub.

use std::fs;

use super::{Resolution, listing};
use crate::content::{Content, Digest};
use crate::error::Error;
use crate::plan::WantedFile;
use crate::request::{Commit, NetworkUse, RepoPath, Request, Selection};
use crate::store::layout::Layout;
use crate::store::receipt::Receipt;
use crate::{disk, trust};

/// What is known of the request's files without the Hub; `None` if anything is missing.
/// Nothing in it is trusted further than its receipts: the plan looks at the files.
pub fn recall(request: &Request, layout: &Layout) -> Result<Option<Resolution>, Error> {
    match &request.selection {
        Selection::Named(paths) if layout.is_cache() => from_snapshot(request, layout, paths),
        Selection::Named(paths) => from_receipts(request, layout, paths),
        Selection::Matching(_) => from_listing(request, layout),
    }
}

/// Whether what is known needs no confirmation: a commit never changes, neither does what has a
/// pinned digest, and the user may want none.
pub fn is_certain(request: &Request, known: &Resolution) -> bool {
    let pinned = |file: &WantedFile| request.pins.for_file(&file.path, known.files.len()).is_some();
    matches!(request.network, NetworkUse::Offline | NetworkUse::PreferOffline)
        || request.revision.commit().is_some()
        || known.files.iter().all(pinned)
}

fn from_receipts(
    request: &Request,
    layout: &Layout,
    paths: &[RepoPath],
) -> Result<Option<Resolution>, Error> {
    let mut files = Vec::new();
    let mut commits = Vec::new();
    for path in paths {
        let pin = request.pins.for_file(path, paths.len());
        // In a directory the digest does not matter for where the receipt lies.
        let anywhere = layout.receipt(path, &Digest::Sha256(pin.unwrap_or(NO_DIGEST)));
        let Some(receipt) = Receipt::read(&anywhere)? else { return Ok(None) };
        let pinned = pin.is_some() && receipt.sha256 == pin;
        let same_revision =
            receipt.revision == request.revision || receipt.commit == request.revision.commit();
        if !(pinned || receipt.repo == request.repo && same_revision && pin.is_none()) {
            return Ok(None);
        }
        let Some(content) = receipt.content() else { return Ok(None) };
        files.push(WantedFile { path: path.clone(), content });
        commits.push(receipt.commit.filter(|_| receipt.repo == request.repo));
    }
    let commit =
        commits.first().copied().flatten().filter(|first| commits.iter().all(|one| *one == Some(*first)));
    Ok(Some(Resolution::from_files(request, request.revision.commit().or(commit), files)))
}

const NO_DIGEST: crate::content::Sha256 = crate::content::Sha256::ZERO;

/// In a cache the snapshot's link names the blob, and the blob's name is the digest.
fn from_snapshot(
    request: &Request,
    layout: &Layout,
    paths: &[RepoPath],
) -> Result<Option<Resolution>, Error> {
    let Some(commit) = known_commit(request, layout)? else { return Ok(None) };
    let mut files = Vec::new();
    for path in paths {
        let pointer = layout.pointer(path, &commit);
        let blob = fs::read_link(&pointer)
            .ok()
            .and_then(|blob| Some(blob.file_name()?.to_string_lossy().into_owned()));
        let Some(digest) = blob.as_deref().and_then(Digest::from_etag) else { return Ok(None) };
        let Some(metadata) = disk::regular_file(&pointer)? else { return Ok(None) };
        let found = Content::new(metadata.len(), digest);
        let pin = request.pins.for_file(path, paths.len());
        let Ok(content) = trust::vouch(path, found, pin) else { return Ok(None) };
        files.push(WantedFile { path: path.clone(), content });
    }
    Ok(Some(Resolution::from_files(request, Some(commit), files)))
}

fn from_listing(request: &Request, layout: &Layout) -> Result<Option<Resolution>, Error> {
    let Some(commit) = known_commit(request, layout)? else { return Ok(None) };
    let Some(bytes) = disk::read_if_present(&layout.tree(&commit))? else { return Ok(None) };
    let Some(listing) = listing::parse(&bytes) else { return Ok(None) };
    Resolution::from_listing(request, commit, listing).map(Some)
}

fn known_commit(request: &Request, layout: &Layout) -> Result<Option<Commit>, Error> {
    if let Some(commit) = request.revision.commit() {
        return Ok(Some(commit));
    }
    let Some(bytes) = disk::read_if_present(&layout.reference(&request.revision))? else { return Ok(None) };
    Ok(String::from_utf8_lossy(&bytes).trim().parse().ok())
}
