//! `oracle CACHE OWNER/NAME REVISION [FILE…]`: what the hf-hub crate finds in a cache without any
//! request, as JSON.

use std::path::PathBuf;

use hf_hub::{HFClientSync, HFResult};
use serde_json::json;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [cache, repo, revision, files @ ..] = &arguments[..] else {
        panic!("usage: oracle CACHE OWNER/NAME REVISION [FILE…]");
    };
    let found = find(cache, repo, revision, files).expect("hf-hub finds everything");
    println!("{found}");
}

fn find(cache: &str, repo: &str, revision: &str, files: &[String]) -> HFResult<serde_json::Value> {
    let client: HFClientSync = hf_hub::HFClient::builder().cache_dir(cache).build_sync()?;
    let (owner, name) = hf_hub::split_id(repo);
    let model = client.model(owner, name);
    let files = files
        .iter()
        .map(|file| {
            model.download_file().filename(file).revision(revision).local_files_only(true).send()
        })
        .collect::<HFResult<Vec<PathBuf>>>()?;
    let snapshot = model.snapshot_download().revision(revision).local_files_only(true).send()?;
    let scan = client.scan_cache().send()?;
    let scanned: Vec<_> = scan
        .repos
        .iter()
        .flat_map(|repo| &repo.revisions)
        .flat_map(|revision| &revision.files)
        .map(|file| &file.file_name)
        .collect();
    Ok(json!({ "files": files, "snapshot": snapshot, "warnings": scan.warnings, "scanned": scanned }))
}
