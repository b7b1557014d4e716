//! The listing of a commit on disk: `huggingface_hub`'s `trees/{commit}.json` (`_tree_cache.py`).
//! It proves to offline readers of a cache that a snapshot is complete, and saves this program
//! the question.

use std::fmt;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Entry;
use super::tree::{self, Text};
use crate::content::{Content, Digest, GitSha1, Sha256, XetHash};
use crate::error::Error;
use crate::plan::WantedFile;
use crate::request::RepoPath;

const FORMAT_VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Listing<F> {
    format_version: u32,
    /// A map from each path to what is known of the file.
    files: F,
}

/// What is written of a file.
#[derive(Serialize)]
struct Line {
    size: u64,
    /// Of the LFS pointer, if the file is in LFS.
    blob_id: Option<GitSha1>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lfs_sha256: Option<Sha256>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lfs_size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    xet_hash: Option<XetHash>,
}

/// What is read of a file, perhaps written by `huggingface_hub`.
#[derive(Deserialize)]
struct RawLine<'a> {
    size: u64,
    blob_id: Option<GitSha1>,
    lfs_sha256: Option<Sha256>,
    lfs_size: Option<u64>,
    #[serde(borrow)]
    xet_hash: Option<Text<'a>>,
}

/// As the content of a listing file, in the order of the list: what a quantization picks depends on it.
pub fn to_json(entries: &[Entry]) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(&Listing { format_version: FORMAT_VERSION, files: Files(entries) })
        .map_err(|why| Error::Internal(format!("listing: {why}")))
}

/// Understands the content of a listing file; `None` if it is damaged or of another version.
pub fn parse(bytes: &[u8]) -> Option<Vec<Entry>> {
    let listing: Listing<Entries> = serde_json::from_slice(bytes).ok()?;
    let Entries(entries) = listing.files;
    (listing.format_version == FORMAT_VERSION && tree::check_names(&entries).is_ok()).then_some(entries)
}

struct Files<'a>(&'a [Entry]);

impl Serialize for Files<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|entry| (&entry.file.path, Line::of(entry))))
    }
}

impl Line {
    fn of(entry: &Entry) -> Self {
        let sha256 = entry.file.content.sha256();
        Self {
            size: entry.file.size(),
            blob_id: entry.blob,
            lfs_sha256: sha256,
            lfs_size: sha256.map(|_| entry.file.size()),
            xet_hash: entry.xet_hash,
        }
    }
}

struct Entries(Vec<Entry>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfPaths;

        impl<'de> Visitor<'de> for OfPaths {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("files by their paths")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut files: M) -> Result<Entries, M::Error> {
                let mut entries = Vec::new();
                while let Some((path, line)) = files.next_entry::<RepoPath, RawLine<'de>>()? {
                    let entry =
                        line.entry(path).ok_or_else(|| M::Error::custom("a file without a digest"))?;
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(OfPaths)
    }
}

impl RawLine<'_> {
    fn entry(self, path: RepoPath) -> Option<Entry> {
        let digest = self.lfs_sha256.map(Digest::Sha256).or(self.blob_id.map(Digest::GitSha1))?;
        let size = self.lfs_size.unwrap_or(self.size);
        let file = WantedFile { path, content: Content::new(size, digest) };
        let xet_hash = self.xet_hash.and_then(|text| text.0.parse().ok());
        Some(Entry { file, blob: self.blob_id, xet_hash })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_reads_back_what_was_written() {
        let (sha, oid) = ("ab".repeat(32), "cd".repeat(20));
        let page = format!(
            r#"[{{"type":"file","path":"m.gguf","size":134,"oid":"{oid}","lfs":{{"oid":"{sha}","size":12}},"xetHash":"{sha}"}},
                {{"type":"file","path":"a \"b\".json","size":3,"oid":"{oid}"}}]"#
        );
        let entries = tree::parse_page(page.as_bytes()).expect("a page");
        let json = to_json(&entries).expect("JSON");
        assert_eq!(parse(&json), Some(entries), "in the order of the list");
        let text = String::from_utf8(json).expect("text");
        assert!(
            text.starts_with(r#"{"format_version":1,"files":{"m.gguf":{"size":12,"blob_id":"cdcd"#),
            "{text}"
        );
        assert_eq!(parse(text.replace("\"format_version\":1", "\"format_version\":2").as_bytes()), None);
        assert_eq!(parse(&text.as_bytes()[1..]), None);
    }
}
