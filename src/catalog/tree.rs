//! The Hub's JSON: untrusted input, read strictly where it decides what is written where.

use serde::Deserialize;

use crate::content::{Content, Digest, GitSha1, Sha256};
use crate::plan::WantedFile;
use crate::request::{Commit, RepoPath};

/// A file of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The file.
    pub file: WantedFile,
    /// Git blob id: of the file itself, or of its LFS pointer.
    pub blob: Option<GitSha1>,
    /// Hash of a file in Xet storage.
    pub xet_hash: Option<String>,
}

#[derive(Deserialize)]
struct RawEntry {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    oid: String,
    lfs: Option<RawLfs>,
    #[serde(rename = "xetHash")]
    xet_hash: Option<String>,
}

/// The tree API says `oid` for the SHA-256, the revision API `sha256`.
#[derive(Deserialize)]
struct RawLfs {
    #[serde(alias = "sha256")]
    oid: Sha256,
    size: u64,
}

/// One page of `/api/models/{id}/tree/{revision}?recursive=true`.
pub fn parse_page(json: &[u8]) -> Result<Vec<Entry>, String> {
    let raw: Vec<RawEntry> = serde_json::from_slice(json)
        .map_err(|why| format!("the list of files is not what the Hub sends ({why})"))?;
    raw.into_iter().filter(|entry| entry.kind == "file").map(entry).collect()
}

fn entry(raw: RawEntry) -> Result<Entry, String> {
    let path: RepoPath =
        raw.path.parse().map_err(|why| format!("its list of files holds a name that is refused: {why}"))?;
    let blob: Option<GitSha1> = raw.oid.parse().ok();
    let (size, digest) = match (raw.lfs, blob) {
        (Some(lfs), _) => (lfs.size, Digest::Sha256(lfs.oid)),
        (None, Some(blob)) => (raw.size, Digest::GitSha1(blob)),
        (None, None) => return Err(format!("its list of files gives no digest for `{path}`")),
    };
    if i64::try_from(size).is_err() {
        return Err(format!("its list of files gives an impossible size for `{path}`"));
    }
    Ok(Entry { file: WantedFile { path, content: Content::new(size, digest) }, blob, xet_hash: raw.xet_hash })
}

/// The commit in the answer of `/api/models/{id}/revision/{revision}`.
pub fn parse_commit(json: &[u8]) -> Result<Commit, String> {
    #[derive(Deserialize)]
    struct Raw {
        sha: Commit,
    }
    let raw: Raw = serde_json::from_slice(json)
        .map_err(|why| format!("its answer about the revision is not what the Hub sends ({why})"))?;
    Ok(raw.sha)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_digests_of_lfs_files_are_those_of_the_content() {
        let sha = "ab".repeat(32);
        let oid = "cd".repeat(20);
        let json = format!(
            r#"[{{"type":"directory","path":"d","oid":"{oid}"}},
                {{"type":"file","path":"d/m.gguf","size":134,"oid":"{oid}","lfs":{{"oid":"{sha}","size":12,"pointerSize":134}}}},
                {{"type":"file","path":"c.json","size":3,"oid":"{oid}"}}]"#
        );
        let entries = parse_page(json.as_bytes()).expect("a listing");
        assert_eq!(entries.len(), 2);
        assert_eq!((entries[0].file.size(), entries[0].file.content.key().to_string()), (12, sha));
        assert_eq!((entries[1].file.size(), entries[1].file.content.key().to_string()), (3, oid));
    }

    #[test]
    fn a_listing_that_tries_to_leave_the_directory_is_refused() {
        for name in ["../x", "/x", "a/../../x", "a\\u0000b"] {
            let json = format!(r#"[{{"type":"file","path":"{name}","size":1,"oid":"{}"}}]"#, "cd".repeat(20));
            assert!(parse_page(json.as_bytes()).is_err(), "{name}");
        }
        let huge = format!(
            r#"[{{"type":"file","path":"x","size":18446744073709551615,"oid":"{}"}}]"#,
            "cd".repeat(20)
        );
        assert!(parse_page(huge.as_bytes()).is_err());
    }
}
