//! The listing of a commit on disk: `huggingface_hub`'s `trees/{commit}.json` (`_tree_cache.py`).
//! It proves to offline readers of a cache that a snapshot is complete, and saves this program
//! the question.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Entry;
use crate::content::{Content, Digest, GitSha1, Sha256};
use crate::error::Error;
use crate::plan::WantedFile;
use crate::request::RepoPath;

const FORMAT_VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Listing {
    format_version: u32,
    files: BTreeMap<RepoPath, ListedFile>,
}

#[derive(Serialize, Deserialize)]
struct ListedFile {
    size: u64,
    /// Of the LFS pointer, if the file is in LFS.
    blob_id: Option<GitSha1>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    lfs_sha256: Option<Sha256>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    lfs_size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    xet_hash: Option<String>,
}

/// As the content of a listing file.
pub fn to_json(entries: &[Entry]) -> Result<Vec<u8>, Error> {
    let files = entries.iter().map(|entry| (entry.file.path.clone(), ListedFile::from(entry))).collect();
    serde_json::to_vec(&Listing { format_version: FORMAT_VERSION, files })
        .map_err(|why| Error::Internal(format!("listing: {why}")))
}

/// Understands the content of a listing file; `None` if it is damaged or of another version.
pub fn parse(bytes: &[u8]) -> Option<Vec<Entry>> {
    let listing: Listing = serde_json::from_slice(bytes).ok()?;
    (listing.format_version == FORMAT_VERSION)
        .then(|| listing.files.into_iter().map(|(path, file)| file.entry(path)).collect())
        .flatten()
}

impl From<&Entry> for ListedFile {
    fn from(entry: &Entry) -> Self {
        let sha256 = entry.file.content.sha256();
        Self {
            size: entry.file.size(),
            blob_id: entry.blob,
            lfs_sha256: sha256,
            lfs_size: sha256.map(|_| entry.file.size()),
            xet_hash: entry.xet_hash.clone(),
        }
    }
}

impl ListedFile {
    fn entry(self, path: RepoPath) -> Option<Entry> {
        let digest = self.lfs_sha256.map(Digest::Sha256).or(self.blob_id.map(Digest::GitSha1))?;
        let size = self.lfs_size.unwrap_or(self.size);
        let file = WantedFile { path, content: Content::new(size, digest) };
        Some(Entry { file, blob: self.blob_id, xet_hash: self.xet_hash })
    }
}
