//! The Hub's JSON: untrusted input, read strictly where it decides what is written where.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, SeqAccess, Visitor};

use crate::content::{Content, Digest, GitSha1, Sha256, XetHash};
use crate::plan::WantedFile;
use crate::request::{Commit, RepoPath};

/// A file of a listing. There may be 100,000 of them, so no part of it but the path is on the heap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The file.
    pub file: WantedFile,
    /// Git blob id: of the file itself, or of its LFS pointer.
    pub blob: Option<GitSha1>,
    /// Hash of a file in Xet storage, where it has the form that is known today.
    pub xet_hash: Option<XetHash>,
}

#[derive(Deserialize)]
struct RawEntry<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    path: Cow<'a, str>,
    #[serde(default)]
    size: u64,
    #[serde(borrow, default)]
    oid: Cow<'a, str>,
    lfs: Option<RawLfs>,
    #[serde(rename = "xetHash", borrow)]
    xet_hash: Option<Text<'a>>,
}

/// A text that is not copied.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// The tree API says `oid` for the SHA-256, the revision API `sha256`.
#[derive(Deserialize)]
struct RawLfs {
    #[serde(alias = "sha256")]
    oid: Sha256,
    size: u64,
}

/// One page of `/api/models/{id}/tree/{revision}?recursive=true`.
pub fn parse_page(json: &[u8]) -> Result<Vec<Entry>, String> {
    let mut entries = Vec::new();
    append_page(json, &mut entries)?;
    Ok(entries)
}

/// Adds the files of a page. Each is understood as it is read: a page in pieces takes more room than its text.
pub(super) fn append_page(json: &[u8], entries: &mut Vec<Entry>) -> Result<(), String> {
    let mut refusal = None;
    let mut reader = serde_json::Deserializer::from_slice(json);
    let read = Page { entries, refusal: &mut refusal }.deserialize(&mut reader).and_then(|()| reader.end());
    match (read, refusal) {
        (Ok(()), _) => Ok(()),
        (Err(_), Some(refusal)) => Err(refusal),
        (Err(why), None) => Err(format!("the list of files is not what the Hub sends ({why})")),
    }
}

struct Page<'a> {
    entries: &'a mut Vec<Entry>,
    /// Why an entry is not wanted, although it is JSON.
    refusal: &'a mut Option<String>,
}

impl<'de> DeserializeSeed<'de> for Page<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Page<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of files")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut list: S) -> Result<(), S::Error> {
        while let Some(raw) = list.next_element::<RawEntry<'de>>()? {
            if raw.kind != "file" {
                continue;
            }
            match entry(&raw) {
                Ok(entry) => self.entries.push(entry),
                Err(why) => {
                    *self.refusal = Some(why);
                    return Err(S::Error::custom("an entry is refused"));
                }
            }
        }
        Ok(())
    }
}

fn entry(raw: &RawEntry<'_>) -> Result<Entry, String> {
    let path: RepoPath =
        raw.path.parse().map_err(|why| format!("its list of files holds a name that is refused: {why}"))?;
    let blob: Option<GitSha1> = raw.oid.parse().ok();
    let (size, digest) = match (&raw.lfs, blob) {
        (Some(lfs), _) => (lfs.size, Digest::Sha256(lfs.oid)),
        (None, Some(blob)) => (raw.size, Digest::GitSha1(blob)),
        (None, None) => return Err(format!("its list of files gives no digest for `{path}`")),
    };
    if i64::try_from(size).is_err() {
        return Err(format!("its list of files gives an impossible size for `{path}`"));
    }
    let xet_hash = raw.xet_hash.as_ref().and_then(|text| text.0.parse().ok());
    Ok(Entry { file: WantedFile { path, content: Content::new(size, digest) }, blob, xet_hash })
}

/// Refuses a list that names a file twice: which of the two would be meant?
pub(super) fn check_names(entries: &[Entry]) -> Result<(), String> {
    // The Hub sends them in order, more or less.
    let mut paths: Vec<_> = entries.iter().map(|entry| &entry.file.path).collect();
    paths.sort();
    match paths.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(format!("its list of files names `{}` twice", pair[0])),
        None => Ok(()),
    }
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

    #[test]
    fn what_is_no_list_of_files_is_told_from_a_file_that_is_refused() {
        let oid = "cd".repeat(20);
        for (json, why) in [
            ("<html>login</html>".to_owned(), "not what the Hub sends"),
            (r#"{"error":"no"}"#.to_owned(), "not what the Hub sends"),
            ("[] []".to_owned(), "not what the Hub sends"),
            (r#"[{"type":"file","path":"a","size":1}]"#.to_owned(), "gives no digest for `a`"),
            (
                format!(r#"[{{"type":"file","path":"../a","size":1,"oid":"{oid}"}}]"#),
                "a name that is refused",
            ),
        ] {
            let error = parse_page(json.as_bytes()).expect_err(why);
            assert!(error.contains(why), "{json}: {error}");
        }
    }

    #[test]
    fn a_xet_hash_of_another_form_is_passed_over() {
        let oid = "cd".repeat(20);
        let of = |hash: &str| {
            let json = format!(r#"[{{"type":"file","path":"a","size":1,"oid":"{oid}","xetHash":{hash}}}]"#);
            parse_page(json.as_bytes()).expect("a list").remove(0).xet_hash.map(|hash| hash.to_string())
        };
        let known = "0a".repeat(32);
        assert_eq!(of(&format!("{known:?}")), Some(known));
        assert_eq!(of("\"xet2:abc\""), None);
        assert_eq!(of("null"), None);
    }

    #[test]
    fn a_list_that_names_a_file_twice_is_refused() {
        let entry =
            |path: &str| format!(r#"{{"type":"file","path":"{path}","size":1,"oid":"{}"}}"#, "cd".repeat(20));
        let list = |paths: [&str; 3]| {
            parse_page(format!("[{}]", paths.map(entry).join(",")).as_bytes()).expect("a list")
        };
        assert_eq!(check_names(&list(["b", "a", "b/c"])), Ok(()));
        assert!(check_names(&list(["b", "a", "b"])).is_err_and(|why| why.contains("`b` twice")));
    }
}
