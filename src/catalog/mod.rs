//! What a reference stands for: the commit, the names and contents of its files, and where to get them.

mod address;
mod folder;
mod hub;
pub mod listing;
mod locate;
pub mod oci;
pub mod recall;
pub mod tree;

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use url::Url;

pub use hub::{Cas, Described, Head, Hub, Needs, next_page};
pub use locate::Snapshot;
pub use tree::{Entry, Listed};

use crate::content::{Content, Digest};
use crate::error::Error;
use crate::plan::{Origin, WantedFile};
use crate::request::{
    Choice, Commit, Destination, Gap, Names, Patterns, Pins, RepoId, RepoPath, Request, Revision, Selection,
    Unmet, quants,
};
use crate::source::Held;
use crate::trust;
use crate::words::host;

/// Questions about named files under way at once.
const HEADS_PARALLEL: usize = 8;

/// The files of a request as the Hub describes them. A clone shares the listing and the texts of all paths.
#[derive(Debug, Clone)]
pub struct Resolution {
    /// The repository.
    pub repo: RepoId,
    /// What was asked for.
    pub revision: Revision,
    /// The commit it is; unknown where receipts alone answered.
    pub commit: Option<Commit>,
    /// The files, in the order in which they were named, or in that of the listing.
    pub files: Vec<WantedFile>,
    /// Locations that came with the answers.
    pub urls: HashMap<RepoPath, Url>,
    /// The whole listing of the commit, where it was needed.
    pub listing: Option<Arc<Listed>>,
    /// Sets of shards that are taken although some of them are missing.
    pub gaps: Vec<Gap>,
    /// A file whose bytes were needed first, and are here.
    pub held: Option<(RepoPath, Held)>,
}

/// Asks the Hub. `known` is what earlier runs learnt: if the revision is still that commit, one
/// question is enough.
pub async fn resolve(hub: &Hub, request: &Request, known: Option<&Resolution>) -> Result<Resolution, Error> {
    let mut resolution = match &request.selection {
        _ if request.repo.is_address() => Box::pin(address::resolve(hub, request)).await?,
        // A manifest is a list of files, so that names are looked for there too.
        Selection::Named(names) if request.repo.is_oci() => {
            matching(hub, request, &names.in_list(), known).await?
        }
        Selection::Named(names) => named_or_listed(hub, request, names, known).await?,
        Selection::Matching(patterns) => matching(hub, request, patterns, known).await?,
    };
    trust::share_pins(&mut resolution.files)?;
    Ok(resolution)
}

/// The commit that a revision is right now: of a Hub, or a manifest of a registry.
pub async fn commit(hub: &Hub, repo: &RepoId, revision: &Revision) -> Result<Commit, Error> {
    match revision.commit() {
        Some(commit) => Ok(commit),
        None if repo.is_oci() => Box::pin(hub.registries().commit(repo, revision)).await,
        None => hub.commit(repo, revision.as_str()).await,
    }
}

/// Asks for each name. The list is asked where a set of shards is not called as it was guessed.
async fn named_or_listed(
    hub: &Hub,
    request: &Request,
    names: &Names,
    known: Option<&Resolution>,
) -> Result<Resolution, Error> {
    let Some(patterns) = names.by_list() else { return named(hub, request, names.paths(), known).await };
    let was_listed = known.is_some_and(|known| known.listing.is_some());
    if was_listed || request.pins.check_used(names.paths().iter()).is_err() {
        return matching(hub, request, patterns, known).await;
    }
    match named(hub, request, names.paths(), known).await {
        Err(Error::FileNotFound { repo, revision, path }) if names.has_set_of(&path) => {
            match matching(hub, request, patterns, None).await {
                // A mirror may have no lists.
                Err(Error::RepoNotFound { .. } | Error::RevisionNotFound { .. }) => {
                    Err(Error::FileNotFound { repo, revision, path })
                }
                resolved => resolved,
            }
        }
        resolved => resolved,
    }
}

async fn named(
    hub: &Hub,
    request: &Request,
    paths: &[RepoPath],
    known: Option<&Resolution>,
) -> Result<Resolution, Error> {
    request.pins.check_used(paths.iter())?;
    let (first, rest) = paths.split_first().ok_or_else(|| Error::Internal("no file is selected".into()))?;
    let pins = (&request.pins, paths.len());
    let is_cache = matches!(request.destination, Destination::Cache(_));
    let needs = |path| Needs { pin: request.pins.for_file(path, paths.len()), commit: is_cache };
    let head = hub.head(&request.repo, request.revision.as_str(), first, needs(first)).await?;
    let commit = head.commit;
    if commit.is_none() {
        hub.warn(&format!(
            "{} does not tell which commit {} is: the files are verified, but may be of several commits",
            host(&head.url),
            request.revision
        ));
    }
    let xet_hash = head.xet_hash;
    let mut resolution = Resolution::empty(request, commit);
    resolution.add(hub, first, pins, head)?;
    if let Some(known) = known
        && commit.is_some()
        && known.commit == commit
        && let Some((first, head)) = known.files.first().zip(resolution.files.first())
        && first.content.proves(&head.content)
    {
        let mut known = Resolution { urls: resolution.urls, ..known.clone() };
        if let Some(first) = known.files.first_mut() {
            *first = first.clone().known_as(first.xet_hash().or(xet_hash));
        }
        return Ok(known);
    }
    // The commit, not the branch: all files are of one snapshot even if the branch moves now.
    let revision = resolution.commit_or_revision();
    let heads: Vec<_> = stream::iter(rest)
        .map(|path| hub.head(&request.repo, &revision, path, needs(path)))
        .buffered(HEADS_PARALLEL)
        .try_collect()
        .await?;
    for (path, head) in rest.iter().zip(heads) {
        resolution.add(hub, path, pins, head)?;
    }
    Ok(resolution)
}

async fn matching(
    hub: &Hub,
    request: &Request,
    patterns: &Patterns,
    known: Option<&Resolution>,
) -> Result<Resolution, Error> {
    let commit = commit(hub, &request.repo, &request.revision).await?;
    if let Some(known) = known
        && known.commit == Some(commit)
    {
        return Ok(known.clone());
    }
    let (listed, is_whole) = if request.repo.is_oci() {
        let listed = Box::pin(hub.registries().files(&request.repo, commit)).await?;
        // On disk it would not say why a layer cannot be had.
        let is_whole = listed.refused.is_empty();
        (listed, is_whole)
    } else {
        hub.tree(&request.repo, &commit, patterns).await?
    };
    let mut resolution = Resolution::from_listing(request, patterns, commit, listed)?;
    resolution.listing.take_if(|_| !is_whole);
    Ok(resolution)
}

impl Resolution {
    fn empty(request: &Request, commit: Option<Commit>) -> Self {
        Self {
            repo: request.repo.clone(),
            revision: request.revision.clone(),
            commit,
            files: Vec::new(),
            urls: HashMap::new(),
            listing: None,
            gaps: Vec::new(),
            held: None,
        }
    }

    /// Where the files come from.
    pub fn origin(&self) -> Origin {
        Origin { repo: self.repo.clone(), revision: self.revision.clone(), commit: self.commit }
    }

    /// The commit, or, where it is not known, what was asked for.
    pub fn commit_or_revision(&self) -> String {
        self.commit.map_or_else(|| self.revision.to_string(), |commit| commit.to_string())
    }

    /// The listing of the commit as it lies on disk, where it was needed.
    pub fn listing_json(&self) -> Result<Option<Vec<u8>>, Error> {
        self.listing.as_deref().map(listing::to_json).transpose()
    }

    /// Named files whose size and digest are known already.
    pub fn from_files(request: &Request, commit: Option<Commit>, files: Vec<WantedFile>) -> Self {
        Self { files, ..Self::empty(request, commit) }
    }

    /// Picks the files of a commit's listing that match the patterns.
    pub fn from_listing(
        request: &Request,
        patterns: &Patterns,
        commit: Commit,
        listed: Listed,
    ) -> Result<Self, Error> {
        let names = listed.names();
        let Choice { picked, gaps } = chosen(request, patterns, names)?;
        let count = listed.entries.len();
        if let Some(refused) = picked.iter().find_map(|at| listed.refused.get(at.checked_sub(count)?)) {
            let (repo, name, why) = (request.repo.clone(), refused.name.to_string(), refused.why.to_string());
            return Err(if repo.is_oci() {
                Error::LayerRefused { repo, name, why }
            } else {
                Error::NameRefused { repo, name, why }
            });
        }
        let picked: Vec<_> = picked.into_iter().map(|at| &listed.entries[at].file).collect();
        let mut files = trust::pinned(
            &request.pins,
            picked.iter().map(|file| (&file.path, file.content, file.xet_hash())),
        )?;
        if request.repo.is_oci() {
            for file in &mut files {
                file.vouchers = file.vouchers.of_registry();
            }
        }
        Ok(Self { files, listing: Some(Arc::new(listed)), gaps, ..Self::empty(request, Some(commit)) })
    }

    /// Adds a named file. Its pin and what a Hub alone says are certain; an etag is taken for want of
    /// anything better.
    fn add(
        &mut self,
        hub: &Hub,
        path: &RepoPath,
        wanted: (&Pins, usize),
        head: Described,
    ) -> Result<(), Error> {
        let (pins, selected) = wanted;
        let pin = pins.for_file(path, selected);
        if head.is_guess {
            hub.warn(&format!(
                "{} sends no X-Linked-ETag header and no list of files: its ETag is taken for the digest of `{path}`",
                host(&head.url)
            ));
        }
        let announced = head.digest.or(pin.map(Digest::Sha256));
        let announced =
            announced.ok_or_else(|| Error::Internal(format!("`{path}` has neither digest nor pin")))?;
        let content = trust::vouch(path, Content::new(head.size, announced), pin)?;
        let mut file = WantedFile::new(path.clone(), content).known_as(head.xet_hash);
        if pins.is_wanted_by_digest(path, selected) {
            file.vouchers.add_pin();
        }
        self.files.push(file);
        if !hub.has_mirror_first() {
            self.urls.insert(path.clone(), head.url);
        }
        Ok(())
    }
}

/// What the patterns pick of the names there are: something, and of each set all or what was asked for.
fn chosen(request: &Request, patterns: &Patterns, names: Vec<&str>) -> Result<Choice, Error> {
    let choice = patterns.choose(&names).map_err(|unmet| not_there(request, unmet))?;
    if choice.picked.is_empty() {
        return Err(Error::NothingMatches {
            repo: request.repo.clone(),
            revision: request.revision.clone(),
            wanted: request.selection.describe(),
            quants: quants(names),
        });
    }
    check_whole(request, &choice.gaps)?;
    Ok(choice)
}

fn not_there(request: &Request, unmet: Unmet) -> Error {
    let (repo, revision) = (request.repo.clone(), request.revision.clone());
    match unmet {
        Unmet::Missing(path) => Error::FileNotFound { repo, revision, path },
        Unmet::Malformed(invalid) => invalid.into(),
    }
}

/// Whoever names one shard wants the set: a part of it is of no use.
fn check_whole(request: &Request, gaps: &[Gap]) -> Result<(), Error> {
    match gaps.iter().find(|gap| gap.is_named) {
        Some(gap) => Err(Error::ShardNotFound {
            repo: request.repo.clone(),
            revision: request.revision.clone(),
            gap: gap.clone(),
        }),
        None => Ok(()),
    }
}
