//! Shards that an index names. Model servers load a part of such a set without an error, as garbage.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Deserialize;

use super::{Context, sample};
use crate::catalog::{Hub, Resolution, Snapshot};
use crate::content::Hasher;
use crate::error::Error;
use crate::plan::WantedFile;
use crate::report::Event;
use crate::request::{Limits, RepoPath};
use crate::store::Store;

/// How the name of an index ends: of safetensors, and of `PyTorch`'s own files.
const INDEXES: [&str; 2] = [".safetensors.index.json", ".bin.index.json"];
/// An index of a hundred thousand tensors has 10 MB.
const BYTES_MAX: u64 = 64 << 20;

/// Fails if some of the shards of an index are taken, and others neither taken nor there. Who takes none of them wants
/// the index for something else.
pub(super) async fn check(
    resolution: &Resolution,
    store: &Store,
    hub: &Arc<Hub>,
    limits: &Limits,
    context: &Context,
) -> Result<(), Error> {
    let taken: BTreeSet<&RepoPath> = resolution.files.iter().map(|file| &file.path).collect();
    let is_index = |file: &&WantedFile| INDEXES.iter().any(|end| file.path.as_str().ends_with(end));
    for index in resolution.files.iter().filter(is_index).filter(|index| index.size() <= BYTES_MAX) {
        let bytes = read(index, resolution, store, hub, limits, context).await?;
        let Some(shards) = shards(&index.path, &bytes) else {
            let text = format!(
                "`{}` names no shards that can be read: it is not checked whether all are taken",
                index.path
            );
            context.reporter.report(&Event::Warning(&text));
            continue;
        };
        if !shards.iter().any(|shard| taken.contains(shard)) {
            continue;
        }
        let mut missing = Vec::new();
        for shard in shards.into_iter().filter(|shard| !taken.contains(shard)) {
            if !is_there(&shard, resolution, store)? {
                missing.push(shard);
            }
        }
        if !missing.is_empty() {
            let entries = resolution.listing.iter().flat_map(|listing| &listing.entries);
            let listed: BTreeSet<&RepoPath> = entries.map(|entry| &entry.file.path).collect();
            let can_be_had = missing.iter().all(|shard| listed.contains(shard));
            return Err(Error::IncompleteSet { index: index.path.clone(), missing, can_be_had });
        }
    }
    Ok(())
}

/// The index itself: from the disk if it is there, else from where a fetch would get it.
async fn read(
    index: &WantedFile,
    resolution: &Resolution,
    store: &Store,
    hub: &Arc<Hub>,
    limits: &Limits,
    context: &Context,
) -> Result<Vec<u8>, Error> {
    let look = {
        let (store, index) = (store.clone(), index.clone());
        move || {
            let is_there = store.is_verified(std::slice::from_ref(&index))?;
            if is_there { store.read_file(&index, BYTES_MAX) } else { Ok(None) }
        }
    };
    if let Some(bytes) = context.stop.or_blocking("looking at the disk", look).await? {
        return Ok(bytes);
    }
    let url = resolution.urls.get(&index.path).cloned();
    let source = Snapshot::new(Arc::clone(hub), resolution).source(index, url);
    let range = 0..index.size();
    let read = sample::read(&*source, index, &range, limits, context);
    let (bytes, origin) = context.stop.or("reading an index", read).await?;
    let mut hasher = Hasher::new(&index.content);
    hasher.update(&bytes);
    if hasher.finish().is_ok() {
        return Ok(bytes);
    }
    // What is wrong with it shows, with all remedies, when it is fetched.
    let text = format!(
        "{origin} sends another `{}` than it announces: it is not checked which shards it names",
        index.path
    );
    context.reporter.report(&Event::Warning(&text));
    Ok(br#"{"weight_map":{}}"#.to_vec())
}

/// The shards of an index, beside which they lie; `None` if it is none.
fn shards(index: &RepoPath, bytes: &[u8]) -> Option<BTreeSet<RepoPath>> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let Index { weight_map } = serde_json::from_slice(bytes).ok()?;
    let names: BTreeSet<String> = weight_map.into_values().collect();
    let folder = index.folder();
    let path =
        |name: String| if folder.is_empty() { name.parse() } else { format!("{folder}/{name}").parse() };
    names.into_iter().map(path).collect::<Result<_, _>>().ok()
}

/// Whether an earlier run has brought a shard of the same repository.
fn is_there(shard: &RepoPath, resolution: &Resolution, store: &Store) -> Result<bool, Error> {
    let Some(receipt) = store.receipt_of_name(shard)? else { return Ok(false) };
    let Some(content) = receipt.content().filter(|_| receipt.origin.repo == resolution.repo) else {
        return Ok(false);
    };
    store.is_verified(&[WantedFile::new(shard.clone(), content)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_names_its_shards_beside_it() {
        let index = "d/model.safetensors.index.json".parse().expect("a path");
        let json = br#"{"metadata":{"total_size":1},"weight_map":{"a":"m-2.safetensors","b":"m-1.safetensors","c":"m-2.safetensors"}}"#;
        let found = shards(&index, json).expect("an index");
        let found: Vec<_> = found.iter().map(RepoPath::as_str).collect();
        assert_eq!(found, ["d/m-1.safetensors", "d/m-2.safetensors"]);
        for json in
            [&b"{}"[..], b"[]", b"{\"weight_map\":3}", b"{\"weight_map\":{\"a\":\"../x\"}}", b"<html>"]
        {
            assert_eq!(shards(&index, json), None);
        }
    }
}
