//! The listing of a commit on disk: `huggingface_hub`'s `trees/{commit}.json` (`_tree_cache.py`).
//! It proves to offline readers of a cache that a snapshot is complete, and saves this program
//! the question.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::tree::{Entry, Facts, Listed, Text};
use crate::content::{GitSha1, Sha256, XetHash};
use crate::error::Error;

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
    size: Option<u64>,
    #[serde(borrow)]
    blob_id: Option<Text<'a>>,
    #[serde(borrow)]
    lfs_sha256: Option<Text<'a>>,
    lfs_size: Option<u64>,
    #[serde(borrow)]
    xet_hash: Option<Text<'a>>,
}

/// As the content of a listing file, in the order of the list: what a quantization picks depends on it. Other readers
/// take it for whole, so what cannot be had is in it too.
pub fn to_json(listed: &Listed) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(&Listing { format_version: FORMAT_VERSION, files: Files(listed) })
        .map_err(|why| Error::Internal(format!("listing: {why}")))
}

/// Understands the content of a listing file; `None` if it is damaged or of another version.
pub fn parse(bytes: &[u8]) -> Option<Listed> {
    let listing: Listing<OfPaths> = serde_json::from_slice(bytes).ok()?;
    let OfPaths(mut listed) = listing.files;
    listed.set_twins_aside();
    (listing.format_version == FORMAT_VERSION).then_some(listed)
}

struct Files<'a>(&'a Listed);

impl Serialize for Files<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Listed { entries, refused } = self.0;
        let entries = entries.iter().map(|entry| (entry.file.path.as_str(), Line::from(Facts::of(entry))));
        let refused = refused.iter().map(|refused| (&*refused.name, Line::from(refused.facts)));
        serializer.collect_map(entries.chain(refused))
    }
}

impl Facts {
    pub(super) fn of(entry: &Entry) -> Self {
        let Entry { file, blob } = entry;
        Self {
            size: Some(file.size()),
            blob: *blob,
            sha256: file.content.sha256(),
            xet_hash: file.xet_hash(),
        }
    }
}

impl From<Facts> for Line {
    fn from(Facts { size, blob, sha256, xet_hash }: Facts) -> Self {
        let size = size.unwrap_or_default();
        Self { size, blob_id: blob, lfs_sha256: sha256, lfs_size: sha256.map(|_| size), xet_hash }
    }
}

impl From<RawLine<'_>> for Facts {
    fn from(raw: RawLine<'_>) -> Self {
        Self {
            size: raw.lfs_size.or(raw.size),
            blob: raw.blob_id.as_ref().and_then(Text::parsed),
            sha256: raw.lfs_sha256.as_ref().and_then(Text::parsed),
            xet_hash: raw.xet_hash.as_ref().and_then(Text::parsed),
        }
    }
}

struct OfPaths(Listed);

impl<'de> Deserialize<'de> for OfPaths {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = OfPaths;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("files by their paths")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut files: M) -> Result<OfPaths, M::Error> {
                let mut listed = Listed::default();
                while let Some((name, line)) = files.next_entry::<Text<'de>, RawLine<'de>>()? {
                    listed.add(&name.0, line.into());
                }
                Ok(OfPaths(listed))
            }
        }

        deserializer.deserialize_map(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tree;
    use super::*;

    #[test]
    fn a_listing_reads_back_what_was_written() {
        let (sha, oid) = ("ab".repeat(32), "cd".repeat(20));
        let page = format!(
            r#"[{{"type":"file","path":"m.gguf","size":134,"oid":"{oid}","lfs":{{"oid":"{sha}","size":12}},"xetHash":"{sha}"}},
                {{"type":"file","path":"a \"b\".json","size":3,"oid":"{oid}"}},
                {{"type":"file","path":"../x","size":3,"oid":"{oid}"}},
                {{"type":"file","path":"n","size":3}}]"#
        );
        let listed = tree::parse_page(page.as_bytes()).expect("a page");
        let json = to_json(&listed).expect("JSON");
        assert_eq!((listed.entries.len(), listed.refused.len()), (2, 2));
        assert_eq!(parse(&json), Some(listed), "in the order of the list");
        let text = String::from_utf8(json).expect("text");
        assert!(
            text.starts_with(r#"{"format_version":1,"files":{"m.gguf":{"size":12,"blob_id":"cdcd"#),
            "{text}"
        );
        assert_eq!(parse(text.replace("\"format_version\":1", "\"format_version\":2").as_bytes()), None);
        assert_eq!(parse(&text.as_bytes()[1..]), None);
    }
}
