//! The Hub's JSON: untrusted input, read strictly where it decides what is written where.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

use crate::content::{Content, Digest, GitSha1, Sha256, XetHash};
use crate::plan::WantedFile;
use crate::request::{Commit, Patterns, RepoPath};
use crate::words::{Bytes, Invalid};

/// So much JSON of a list is held as a whole, for the next run and for other readers of a cache.
const HELD_WHOLE_BYTES_MAX: usize = 32 << 20;
/// A list of half a million files; one without end stops here.
const READ_BYTES_MAX: usize = 128 << 20;
/// Files of a list that are held at most: some 100 MB.
const HELD_MAX: usize = 500_000;

/// A file of a listing. There may be 100,000 of them, so no part of it but the path is on the heap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The file.
    pub file: WantedFile,
    /// Git blob id: of the file itself, or of its LFS pointer.
    pub blob: Option<GitSha1>,
}

/// A file of a listing that cannot be had under its name, or not be verified. As long as nobody wants it, nothing
/// is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// What the list calls it.
    pub name: Box<str>,
    /// Why it cannot be had.
    pub why: Box<str>,
    /// What else the list says of it.
    pub facts: Facts,
}

/// What a list says of a file beside its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Length in bytes, of a file in LFS that of its content; `None` if it is no length.
    pub size: Option<u64>,
    /// Git blob id.
    pub blob: Option<GitSha1>,
    /// Digest of the content of a file in LFS.
    pub sha256: Option<Sha256>,
    /// Hash of a file in Xet storage.
    pub xet_hash: Option<XetHash>,
}

/// The files of a commit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listed {
    /// Those that can be had, in the order of the list.
    pub entries: Vec<Entry>,
    /// The others.
    pub refused: Vec<Refused>,
}

impl Listed {
    /// Takes a file in, on one side or the other.
    pub(super) fn add(&mut self, name: &str, facts: Facts) {
        match Entry::new(name, facts) {
            Ok(entry) => self.entries.push(entry),
            Err(why) => self.refused.push(Refused { name: name.into(), why: why.into(), facts }),
        }
    }

    /// Sets aside files that are named twice with different contents: which of the two would be meant? What is only
    /// repeated, as by pages that overlap, is dropped.
    pub(super) fn set_twins_aside(&mut self) {
        // The Hub sends them in order, more or less.
        let mut order: Vec<_> = (0..self.entries.len()).collect();
        order.sort_by_key(|at| &self.entries[*at].file.path);
        let is_twin = |pair: &&[usize]| self.entries[pair[0]].file.path == self.entries[pair[1]].file.path;
        let twins: Vec<_> = order.windows(2).filter(is_twin).map(|pair| (pair[0], pair[1])).collect();
        let unlike = twins.iter().filter(|(first, other)| self.entries[*first] != self.entries[*other]);
        let doubtful: HashSet<_> = unlike.map(|(first, _)| self.entries[*first].file.path.clone()).collect();
        let dropped: HashSet<_> = twins.iter().map(|(_, other)| *other).collect();
        let mut position = 0;
        let refused = &mut self.refused;
        self.entries.retain(|entry| {
            let is_dropped = dropped.contains(&position);
            position += 1;
            let path = &entry.file.path;
            let is_doubtful = doubtful.contains(path);
            if is_doubtful {
                let why = format!("it is named twice, {:?}, with different contents", path.as_str());
                refused.push(Refused {
                    name: path.as_str().into(),
                    why: why.into(),
                    facts: Facts::of(entry),
                });
            }
            !is_dropped && !is_doubtful
        });
    }

    /// All names: first of those that can be had.
    pub fn names(&self) -> Vec<&str> {
        let entries = self.entries.iter().map(|entry| entry.file.path.as_str());
        entries.chain(self.refused.iter().map(|refused| &*refused.name)).collect()
    }
}

impl Entry {
    fn new(name: &str, facts: Facts) -> Result<Self, String> {
        let path: RepoPath = name.parse().map_err(|why: Invalid| why.to_string())?;
        let digest = facts.sha256.map(Digest::Sha256).or(facts.blob.map(Digest::GitSha1));
        let digest = digest.ok_or_else(|| format!("there is no digest of {name:?}"))?;
        let size = facts.size.filter(|size| i64::try_from(*size).is_ok());
        let size = size.ok_or_else(|| format!("the size of {name:?} is impossible"))?;
        let Facts { blob, xet_hash, .. } = facts;
        let file = WantedFile::new(path, Content::new(size, digest)).known_as(xet_hash);
        Ok(Self { file, blob })
    }
}

/// Of a tree, or of the `siblings` of a revision, which have other words for some of it and hold files alone.
#[derive(Deserialize)]
struct RawEntry<'a> {
    #[serde(rename = "type", borrow, default = "file")]
    kind: Cow<'a, str>,
    #[serde(alias = "rfilename", borrow)]
    path: Cow<'a, str>,
    size: Option<Number>,
    #[serde(alias = "blobId", borrow)]
    oid: Option<Text<'a>>,
    #[serde(borrow)]
    lfs: Option<RawLfs<'a>>,
    #[serde(rename = "xetHash", borrow)]
    xet_hash: Option<Text<'a>>,
}

fn file<'a>() -> Cow<'a, str> {
    "file".into()
}

/// A text that is not copied.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

impl Text<'_> {
    /// What it stands for; `None` if it has another form.
    pub(super) fn parsed<T: FromStr>(&self) -> Option<T> {
        self.0.parse().ok()
    }
}

/// The tree API says `oid` for the SHA-256, the revision API `sha256`.
#[derive(Deserialize)]
struct RawLfs<'a> {
    #[serde(alias = "sha256", borrow)]
    oid: Option<Text<'a>>,
    size: Option<Number>,
}

impl RawEntry<'_> {
    fn facts(&self) -> Facts {
        let size = match &self.lfs {
            Some(lfs) => &lfs.size,
            None => &self.size,
        };
        Facts {
            size: size.as_ref().and_then(Number::as_u64),
            // The blob of a file in LFS is its pointer: without the SHA-256 its content has no digest.
            blob: self
                .oid
                .as_ref()
                .and_then(Text::parsed)
                .filter(|_| self.lfs.is_none() || self.sha256().is_some()),
            sha256: self.sha256(),
            xet_hash: self.xet_hash.as_ref().and_then(Text::parsed),
        }
    }

    fn sha256(&self) -> Option<Sha256> {
        self.lfs.as_ref().and_then(|lfs| lfs.oid.as_ref()).and_then(Text::parsed)
    }
}

/// One page of `/api/models/{id}/tree/{revision}?recursive=true`, or all of `…/revision/{revision}?blobs=true`.
pub fn parse_page(json: &[u8]) -> Result<Listed, String> {
    let mut listed = Listed::default();
    read_page(json, &mut |name, facts| {
        listed.add(name, facts);
        Ok(())
    })?;
    Ok(listed)
}

/// A list while its pages come in. All of it is held as long as it is not very long; then only what may be wanted.
pub(super) struct Pages {
    listed: Listed,
    patterns: Arc<Patterns>,
    bytes: usize,
}

impl Pages {
    pub(super) fn new(patterns: Arc<Patterns>) -> Self {
        Self { listed: Listed::default(), patterns, bytes: 0 }
    }

    /// Whether nothing was left out.
    pub(super) fn is_whole(&self) -> bool {
        self.bytes <= HELD_WHOLE_BYTES_MAX
    }

    /// Adds the files of a page. Each is understood as it is read: a page in pieces takes more room than its text.
    pub(super) fn add(&mut self, json: &[u8]) -> Result<(), String> {
        let was_whole = self.is_whole();
        self.bytes = self.bytes.saturating_add(json.len());
        if self.bytes > READ_BYTES_MAX {
            let most = Bytes(READ_BYTES_MAX as u64);
            return Err(format!("its list of files has more than {most}"));
        }
        let is_whole = self.is_whole();
        let Self { listed, patterns, .. } = self;
        if was_whole && !is_whole {
            listed.entries.retain(|entry| patterns.may_pick(entry.file.path.as_str()));
            listed.refused.retain(|refused| patterns.may_pick(&refused.name));
        }
        read_page(json, &mut |name, facts| {
            if is_whole || patterns.may_pick(name) {
                listed.add(name, facts);
            }
            if listed.entries.len() + listed.refused.len() > HELD_MAX {
                return Err(format!(
                    "more than {HELD_MAX} files of its list are wanted; ask for fewer at a time"
                ));
            }
            Ok(())
        })
    }

    /// What there is.
    pub(super) fn finish(mut self) -> Listed {
        self.listed.set_twins_aside();
        // It stays for as long as the run, and a list may have grown to twice what it needs.
        self.listed.entries.shrink_to_fit();
        self.listed
    }
}

/// Hears of each file; an error ends it.
type Hear<'a> = &'a mut dyn FnMut(&str, Facts) -> Result<(), String>;

fn read_page(json: &[u8], hear: Hear<'_>) -> Result<(), String> {
    let mut refusal = None;
    let mut reader = serde_json::Deserializer::from_slice(json);
    let read = Page { hear, refusal: &mut refusal }.deserialize(&mut reader).and_then(|()| reader.end());
    match (read, refusal) {
        (Ok(()), _) => Ok(()),
        (Err(_), Some(refusal)) => Err(refusal),
        (Err(why), None) => Err(format!("the list of files is not what the Hub sends ({why})")),
    }
}

struct Page<'a> {
    hear: Hear<'a>,
    /// Why no more is wanted, although it is JSON.
    refusal: &'a mut Option<String>,
}

impl<'de> DeserializeSeed<'de> for Page<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Page<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of files")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut list: S) -> Result<(), S::Error> {
        while let Some(raw) = list.next_element::<RawEntry<'de>>()? {
            if raw.kind == "file"
                && let Err(why) = (self.hear)(&raw.path, raw.facts())
            {
                *self.refusal = Some(why);
                return Err(S::Error::custom("no more is wanted"));
            }
        }
        Ok(())
    }

    fn visit_map<M: MapAccess<'de>>(self, mut facts: M) -> Result<(), M::Error> {
        let Self { hear, refusal } = self;
        let mut is_list = false;
        while let Some(Text(name)) = facts.next_key()? {
            if name == "siblings" {
                facts.next_value_seed(Page { hear: &mut *hear, refusal: &mut *refusal })?;
                is_list = true;
            } else {
                facts.next_value::<IgnoredAny>()?;
            }
        }
        if is_list { Ok(()) } else { Err(M::Error::missing_field("siblings")) }
    }
}

/// The commit in the answer of `/api/models/{id}/revision/{revision}`. It may be cut off behind the commit: all names
/// of the repository follow, which can be many megabytes.
pub fn parse_commit(json: &[u8]) -> Result<Commit, String> {
    let mut sha = None;
    let mut reader = serde_json::Deserializer::from_slice(json);
    let read = Revision(&mut sha).deserialize(&mut reader).and_then(|()| reader.end());
    match (sha, read) {
        (Some(commit), Ok(())) => Ok(commit),
        (Some(commit), Err(why)) if why.is_eof() => Ok(commit),
        (None, Ok(())) => Err("its answer about the revision names no commit".into()),
        (_, Err(why)) => Err(format!("its answer about the revision is not what the Hub sends ({why})")),
    }
}

/// Hears of the commit as soon as it is read.
struct Revision<'a>(&'a mut Option<Commit>);

impl<'de> DeserializeSeed<'de> for Revision<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Revision<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("facts of a revision")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut facts: M) -> Result<(), M::Error> {
        while let Some(Text(name)) = facts.next_key()? {
            if name == "sha" {
                *self.0 = Some(facts.next_value()?);
            } else {
                facts.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
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
        let entries = parse_page(json.as_bytes()).expect("a listing").entries;
        assert_eq!(entries.len(), 2);
        assert_eq!((entries[0].file.size(), entries[0].file.content.key().to_string()), (12, sha));
        assert_eq!((entries[1].file.size(), entries[1].file.content.key().to_string()), (3, oid));
    }

    #[test]
    fn the_siblings_of_a_revision_are_a_list_too() {
        let (sha, oid) = ("ab".repeat(32), "cd".repeat(20));
        let json = format!(
            r#"{{"sha":"{oid}","siblings":[
                {{"rfilename":"m.gguf","size":12,"blobId":"{oid}","lfs":{{"sha256":"{sha}","size":12,"pointerSize":134}}}},
                {{"rfilename":"c.json","size":3,"blobId":"{oid}"}},
                {{"rfilename":"without blobs=true"}}],"tags":[]}}"#
        );
        let listed = parse_page(json.as_bytes()).expect("a listing");
        let found =
            listed.entries.iter().map(|entry| (entry.file.size(), entry.file.content.key().to_string()));
        assert_eq!(found.collect::<Vec<_>>(), [(12, sha), (3, oid)]);
        assert_eq!(listed.refused.len(), 1, "{:?}", listed.refused);
    }

    #[test]
    fn what_cannot_be_had_is_set_aside_with_the_reason() {
        let (oid, long) = ("cd".repeat(20), "x".repeat(256));
        let named = |name: &str| format!(r#""path":"{name}","size":1,"oid":"{oid}""#);
        for (fields, why) in [
            (named("../x"), "`..`"),
            (named("/x"), "absolute"),
            (named("a\\u0000b"), "control"),
            (named("a\\\\b"), "separated by `/`"),
            (named("C:/x"), "drive letter"),
            (named(&long), "255 bytes"),
            (r#""path":"a","size":1"#.into(), "no digest"),
            (r#""path":"a","size":1,"oid":null"#.into(), "no digest"),
            (format!(r#""path":"a","size":1,"oid":"{oid}","lfs":{{"size":1,"oid":"md5"}}"#), "no digest"),
            (format!(r#""path":"a","size":18446744073709551615,"oid":"{oid}""#), "impossible"),
            (format!(r#""path":"a","size":-1,"oid":"{oid}""#), "impossible"),
            (format!(r#""path":"a","size":1e30,"oid":"{oid}""#), "impossible"),
        ] {
            let json = format!(r#"[{{"type":"file",{fields}}},{{"type":"file",{}}}]"#, named("good"));
            let listed = parse_page(json.as_bytes()).unwrap_or_else(|error| panic!("{json}: {error}"));
            assert_eq!((listed.entries.len(), listed.refused.len()), (1, 1), "{json}");
            assert!(listed.refused[0].why.contains(why), "{json}: {}", listed.refused[0].why);
        }
    }

    #[test]
    fn what_is_no_list_of_files_is_refused() {
        for json in ["<html>login</html>", r#"{"error":"no"}"#, "[] []", "[1]", r#"[{"type":"file"}]"#] {
            let error = parse_page(json.as_bytes()).expect_err(json);
            assert!(error.contains("not what the Hub sends"), "{json}: {error}");
        }
    }

    #[test]
    fn a_commit_is_read_from_an_answer_that_is_cut_off_behind_it() {
        let sha = "0a".repeat(20);
        let json =
            format!(r#"{{"_id":"x","sha":"{sha}","siblings":[{{"rfilename":"a"}},{{"rfilename":"b"}}]}}"#);
        let behind = json.find("\",\"siblings").expect("a part");
        for length in 0..=json.len() {
            let read = parse_commit(&json.as_bytes()[..length]);
            assert_eq!(read.is_ok(), length > behind, "{}: {read:?}", &json[..length]);
        }
        let wrong = json.replace("{\"rfilename\":\"b\"}", "<html>");
        for json in [wrong.as_str(), "<html>", "{}", r#"{"sha":"main"}"#, r#"{"sha":null}"#, "[]"] {
            assert!(parse_commit(json.as_bytes()).is_err(), "{json}");
        }
    }

    #[test]
    fn a_xet_hash_of_another_form_is_passed_over() {
        let oid = "cd".repeat(20);
        let of = |hash: &str| {
            let json = format!(r#"[{{"type":"file","path":"a","size":1,"oid":"{oid}","xetHash":{hash}}}]"#);
            parse_page(json.as_bytes())
                .expect("a list")
                .entries
                .remove(0)
                .file
                .xet_hash()
                .map(|hash| hash.to_string())
        };
        let known = "0a".repeat(32);
        assert_eq!(of(&format!("{known:?}")), Some(known));
        assert_eq!(of("\"xet2:abc\""), None);
        assert_eq!(of("null"), None);
    }

    #[test]
    fn of_a_file_that_is_named_twice_nobody_knows_which_is_meant() {
        let entry = |path: &str, digit: &str| {
            format!(r#"{{"type":"file","path":"{path}","size":1,"oid":"{}"}}"#, digit.repeat(40))
        };
        let list = |entries: &[String]| {
            let mut listed = parse_page(format!("[{}]", entries.join(",")).as_bytes()).expect("a list");
            listed.set_twins_aside();
            let count = listed.entries.len();
            (listed.names().join(" "), count)
        };
        let [a, b, c] = ["a", "b", "b/c"].map(|path| entry(path, "1"));
        assert_eq!(list(&[b.clone(), a.clone(), c.clone()]), ("b a b/c".into(), 3));
        assert_eq!(list(&[b.clone(), a.clone(), b.clone(), b.clone()]), ("b a".into(), 2), "only repeated");
        assert_eq!(list(&[b.clone(), a.clone(), entry("b", "2")]), ("a b b".into(), 1));
        assert_eq!(list(&[b.clone(), b, a, entry("b", "2")]), ("a b b b".into(), 1));
    }
}
