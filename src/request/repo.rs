//! Repository names, revisions and paths, in every form a user has at hand.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{address, oci};
use crate::content::{GitSha1, Sha256};
use crate::words::{FromText, Invalid};

/// The folder with this tool's own state.
const STATE: &str = ".modelfetch";

/// What kind of repository it is; it decides the URL prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum RepoKind {
    /// A model repository: no prefix.
    #[default]
    Model,
    /// `datasets/…`
    Dataset,
    /// `spaces/…`
    Space,
    /// A repository of an OCI registry, which no Hub knows.
    #[value(skip)]
    Oci,
    /// A folder of a plain server, which no Hub knows.
    #[value(skip)]
    Url,
}

impl RepoKind {
    /// The plural the Hub uses in API paths and cache folder names.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Model => "models",
            Self::Dataset => "datasets",
            Self::Space => "spaces",
            Self::Oci => "oci",
            Self::Url => "url",
        }
    }
}

/// `owner/name`, with its kind. In a registry the owner is the registry, as `HOST` or `HOST:PORT`, and the name may have
/// several parts. Of an address the owner is scheme, host and port, and the name the folder.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "RawRepoId")]
pub struct RepoId {
    /// Model, dataset or space.
    pub kind: RepoKind,
    /// The user or organisation.
    pub owner: String,
    /// The repository's own name.
    pub name: String,
}

/// What a file says a repository is called.
#[derive(Deserialize)]
struct RawRepoId {
    kind: RepoKind,
    owner: String,
    name: String,
}

impl TryFrom<RawRepoId> for RepoId {
    type Error = Invalid;

    fn try_from(raw: RawRepoId) -> Result<Self, Invalid> {
        Self::new(raw.kind, &format!("{}/{}", raw.owner, raw.name))
    }
}

impl RepoId {
    /// Reads `owner/name`. The Hub allows letters, digits, `-`, `_` and `.`
    /// (`huggingface_hub` `utils/_validators.py`).
    pub fn new(kind: RepoKind, text: &str) -> Result<Self, Invalid> {
        if kind == RepoKind::Oci {
            let (owner, name) = oci::split(text)?;
            return Ok(Self { kind, owner, name });
        }
        if kind == RepoKind::Url {
            return address::folder(text);
        }
        let invalid = |why: &str| Invalid::new("repository", text, why);
        let Some((owner, name)) = text.split_once('/') else {
            return Err(invalid("expected `owner/name`"));
        };
        for part in [owner, name] {
            if part.is_empty() {
                return Err(invalid("expected `owner/name`"));
            }
            if part.len() > 96 {
                return Err(invalid("a name has at most 96 characters"));
            }
            let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            if !part.chars().all(allowed) {
                return Err(invalid("only letters, digits, `-`, `_` and `.` are allowed"));
            }
            if part.starts_with(['.', '-']) || part.ends_with(['.', '-']) || part.contains("..") {
                return Err(invalid("a name cannot begin or end with `.` or `-`, or contain `..`"));
            }
            // `a/b--c` and `a--b/c` would share a folder of the cache.
            if part.contains("--") {
                return Err(invalid("a name cannot contain `--`; the Hub has no such repository"));
            }
        }
        Ok(Self { kind, owner: owner.into(), name: name.into() })
    }

    /// The path of the repository below an endpoint: `owner/name`, `datasets/owner/name`, ….
    pub fn url_path(&self) -> String {
        match self.kind {
            RepoKind::Model => format!("{}/{}", self.owner, self.name),
            RepoKind::Oci => format!("{}{}/{}", oci::SCHEME, self.owner, self.name),
            RepoKind::Url => address::reference(self),
            kind => format!("{}/{}/{}", kind.plural(), self.owner, self.name),
        }
    }

    /// It with a revision, if it can have one, and what stands in between.
    pub fn at(&self, sign: &str, revision: &Revision) -> String {
        if self.is_address() { self.to_string() } else { format!("{self}{sign}{revision}") }
    }

    /// Whether it is in a registry, and unknown to any Hub.
    pub fn is_oci(&self) -> bool {
        self.kind == RepoKind::Oci
    }

    /// Host and port at which the registry of such a repository answers.
    pub fn registry_host(&self) -> &str {
        oci::api_host(&self.owner)
    }

    /// What is meant when no revision is named.
    pub fn usual_revision(&self) -> Revision {
        if self.is_oci() { Revision("latest".into()) } else { Revision::default() }
    }

    /// The folder of `huggingface_hub`'s cache: `models--owner--name`. That of a repository in a registry has signs that
    /// are in no name, and none that a disk may refuse.
    pub fn cache_folder(&self) -> String {
        if self.is_oci() {
            return format!("oci+{}+{}", self.owner.replace(':', "_"), self.name.replace('/', "+"));
        }
        format!("{}--{}--{}", self.kind.plural(), self.owner, self.name)
    }
}

impl fmt::Display for RepoId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url_path())
    }
}

/// A branch, tag, `refs/pr/N` or commit.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Revision(String);

impl Revision {
    /// The text as the user wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The commit, if this revision is one: it never moves, so it needs no question to the Hub.
    pub fn commit(&self) -> Option<Commit> {
        self.0.parse().ok()
    }
}

impl Default for Revision {
    fn default() -> Self {
        Self("main".into())
    }
}

impl FromStr for Revision {
    type Err = Invalid;

    /// Follows git's rules for ref names as far as they keep a revision from leaving its folder. It may be encoded as in
    /// the addresses of the Hub (`feature%2Fx`), and `~parquet` is what it converts a data set to: `DuckDB`'s word for
    /// `refs/convert/parquet`.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = |why: &str| Invalid::new("revision", text, why);
        let decoded = percent_encoding::percent_decode_str(text).decode_utf8();
        let decoded = decoded.map_err(|_| invalid("it is not UTF-8"))?;
        let converted = decoded.strip_prefix('~').map(|format| format!("refs/convert/{format}"));
        let text = converted.as_deref().unwrap_or(&decoded);
        if let Ok(commit @ Commit::Manifest(_)) = text.parse() {
            return Ok(Self(commit.to_string()));
        }
        if text.is_empty() || text.len() > 255 {
            return Err(invalid("expected 1 to 255 characters"));
        }
        if text.chars().any(|c| c.is_control() || c.is_whitespace() || "\\?*[~^:%#".contains(c)) {
            return Err(invalid("it holds a character that no branch, tag or commit can have"));
        }
        if text.split('/').any(|part| part.is_empty() || part.starts_with('.') || part.contains("..")) {
            return Err(invalid("a part of it is empty, starts with `.` or contains `..`"));
        }
        Ok(Self(text.into()))
    }
}

impl TryFrom<String> for Revision {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<Revision> for String {
    fn from(revision: Revision) -> Self {
        revision.0
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a revision is at one moment: it never moves.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Commit {
    /// A git commit, of the Hub: 40 hex digits.
    Git(GitSha1),
    /// The digest of a manifest, of a registry: `sha256:` and 64 hex digits.
    Manifest(Sha256),
}

/// What stands before the digest of a manifest.
const ALGORITHM: &str = "sha256";

impl Commit {
    /// Its text, without what some disks refuse in a name.
    pub fn file_name(&self) -> String {
        self.to_string().replace(':', "-")
    }

    /// As much of it as people compare.
    pub fn abbreviated(&self) -> String {
        match self {
            Self::Git(id) => id.to_string()[..8].to_owned(),
            Self::Manifest(digest) => format!("{ALGORITHM}:{}", &digest.to_string()[..8]),
        }
    }
}

impl FromStr for Commit {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text.strip_prefix(ALGORITHM).and_then(|rest| rest.strip_prefix(':')) {
            Some(digest) => digest.parse().map(Self::Manifest),
            None => text.parse().map(Self::Git).map_err(|why: Invalid| Invalid { what: "commit", ..why }),
        }
    }
}

impl Serialize for Commit {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Commit {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(FromText::new("commit"))
    }
}

impl fmt::Display for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Git(id) => id.fmt(f),
            Self::Manifest(digest) => write!(f, "{ALGORITHM}:{digest}"),
        }
    }
}

impl fmt::Debug for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A file's path inside its repository: relative, with `/`, and unable to leave a directory.
/// Cheap to clone: a list of files, a plan and what is told of it share the text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepoPath(Arc<str>);

impl RepoPath {
    /// The path of this one below a folder.
    #[must_use]
    pub fn below(&self, folder: &Self) -> Self {
        Self(format!("{folder}/{self}").into())
    }

    /// The path with `/` between its parts.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last part.
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// How many folders it lies in.
    pub fn depth(&self) -> usize {
        self.0.matches('/').count()
    }

    /// The folders it lies in, or "" at the top.
    pub fn folder(&self) -> &str {
        self.0.rsplit_once('/').map_or("", |(folder, _)| folder)
    }

    /// Whether some disk takes it for something in this folder, or for the folder.
    pub fn may_be_in(&self, folder: &str) -> bool {
        let mut parts = self.0.split('/');
        folder.split('/').all(|name| parts.next().is_some_and(|part| may_be(part, name)))
    }
}

impl FromStr for RepoPath {
    type Err = Invalid;

    /// Refuses what could leave the target directory on any system, as `huggingface_hub` does.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = |why: &str| Invalid::new("file name", text, why);
        if text.is_empty() || text.len() > 4096 {
            return Err(invalid("expected 1 to 4096 bytes"));
        }
        if text.contains('\\') {
            return Err(invalid("`\\` is not allowed; folders are separated by `/`"));
        }
        if text.chars().any(char::is_control) {
            return Err(invalid("control characters are not allowed"));
        }
        if text.starts_with('/') {
            return Err(invalid("an absolute path is not allowed"));
        }
        if text.as_bytes().get(1) == Some(&b':') && text.as_bytes()[0].is_ascii_alphabetic() {
            return Err(invalid("a drive letter is not allowed"));
        }
        for part in text.split('/') {
            match part {
                "" => return Err(invalid("an empty part (`//` or a `/` at the end) is not allowed")),
                "." | ".." => return Err(invalid("`.` and `..` are not allowed")),
                part if may_be(part, STATE) => {
                    return Err(invalid(
                        "`.modelfetch`, however a disk spells it, holds this tool's own state",
                    ));
                }
                part if part.len() > 255 => return Err(invalid("a part has at most 255 bytes")),
                _ => {}
            }
        }
        Ok(Self(text.into()))
    }
}

impl Serialize for RepoPath {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for RepoPath {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(FromText::new("file name"))
    }
}

impl fmt::Display for RepoPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether some disk takes a name for this one, which is in lower case.
///
/// A disk may ignore case (vfat, HFS+, ext4 with casefold), dots and spaces at the end (vfat, SMB), code points
/// that show nothing (HFS+, ext4 with casefold) and a stream's name after a colon (NTFS), and it may know the
/// folder by an alias of 8 characters (vfat, NTFS).
fn may_be(part: &str, name: &str) -> bool {
    let part = part.split(':').next().unwrap_or_default();
    let shown: String = part.chars().filter(|c| !shows_nothing(*c)).collect();
    let shown = shown.trim_end_matches(['.', ' ']).to_ascii_lowercase();
    shown == name || is_short_alias(&shown, name.trim_start_matches('.'))
}

/// For `modelfetch`: `modelf~1` to `mod~9999`, and `mo12ab~1`: the first letters, cut to make room for a number or for
/// a checksum and a number (Linux `fs/fat/namei_vfat.c`; NTFS does the same).
fn is_short_alias(alias: &str, of: &str) -> bool {
    let Some((stem, number)) = alias.split_once('~') else { return false };
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let is_checksum = |rest: &str| rest.len() == 4 && rest.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_cut = (2..=6).contains(&stem.len()) && of.starts_with(stem);
    is_number && alias.len() <= 8 && (is_cut || stem.strip_prefix(&of[..2]).is_some_and(is_checksum))
}

/// What Unicode calls default-ignorable (`DerivedCoreProperties.txt`).
fn shows_nothing(c: char) -> bool {
    matches!(u32::from(c),
        0xAD | 0x34F | 0x61C | 0x115F..=0x1160 | 0x17B4..=0x17B5 | 0x180B..=0x180F | 0x200B..=0x200F
        | 0x202A..=0x202E | 0x2060..=0x206F | 0x3164 | 0xFE00..=0xFE0F | 0xFEFF | 0xFFA0 | 0xFFF0..=0xFFF8
        | 0x1BCA0..=0x1BCA3 | 0x1D173..=0x1D17A | 0xE0000..=0xE0FFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_the_directory_are_refused() {
        for name in [
            "../x",
            "/x",
            "a/../b",
            "a//b",
            "a/",
            "C:/x",
            "a\\b",
            "a\0b",
            "",
            ".",
            "a/./b",
            ".modelfetch/lock",
        ] {
            assert!(name.parse::<RepoPath>().is_err(), "{name:?} was accepted");
        }
        for name in ["a b.gguf", "ü/ß.gguf", "..a", "a..b/c", "=x"] {
            assert!(name.parse::<RepoPath>().is_ok(), "{name:?} was refused");
        }
    }

    #[test]
    fn no_spelling_of_the_state_folder_is_a_file_name() {
        for name in [
            ".modelfetch",
            ".ModelFetch",
            ".MODELFETCH/receipts/x.json",
            "a/.modelfetch/lock",
            ".modelfetch.",
            ".modelfetch. .",
            ".modelfetch ",
            ".model\u{ad}fetch",
            "\u{200b}.modelfetch",
            ".modelfetch\u{202e}/x",
            ".model\u{2060}fetch",
            ".modelfetch\u{feff}",
            ".modelfetch\u{fe0f}",
            ".modelfetch::$INDEX_ALLOCATION",
            "MODELF~1",
            "modelf~2/x",
            "MODEL~10",
            "MO1A2B~1",
            "a/modelf~1.",
        ] {
            let error = name.parse::<RepoPath>().expect_err(name).to_string();
            assert!(error.contains("this tool's own state"), "{error}");
        }
        for name in [
            "modelfetch",
            ".modelfetch2",
            ".modelfetch.d",
            "modelf~1.gguf",
            "modelf~x",
            "modelf~",
            "model~",
            "moshow~1",
            "a~1",
            "model\u{200b}.gguf",
        ] {
            assert!(name.parse::<RepoPath>().is_ok(), "{name:?} was refused");
        }
    }

    #[test]
    fn a_folder_is_known_in_every_spelling_and_with_what_is_in_it() {
        let is_in = |path: &str| path.parse::<RepoPath>().expect(path).may_be_in(".cache/huggingface");
        for path in [
            ".cache/huggingface",
            ".cache/huggingface/download/x.metadata",
            ".Cache/HuggingFace./x",
            "CACHE~1/HUGGIN~1/x",
            ".cache\u{200b}/huggingface/x",
        ] {
            assert!(is_in(path), "{path}");
        }
        for path in [".cache", ".cache/x", "a/.cache/huggingface/x", ".cache/huggingface2/x", "huggingface/x"]
        {
            assert!(!is_in(path), "{path}");
        }
    }

    #[test]
    fn two_repositories_never_share_a_folder_of_the_cache() {
        for text in ["a/b--c", "a--b/c"] {
            let error = RepoId::new(RepoKind::Model, text).expect_err(text).to_string();
            assert!(error.contains("cannot contain `--`"), "{error}");
        }
        let repo = RepoId::new(RepoKind::Model, "a-b/c-d").expect("a repository");
        let text = serde_json::to_string(&repo).expect("JSON");
        assert_eq!(serde_json::from_str::<RepoId>(&text).ok(), Some(repo));
        assert!(serde_json::from_str::<RepoId>(&text.replace("c-d", "../d")).is_err());
    }

    #[test]
    fn a_revision_may_be_encoded_and_short() {
        for (text, expected) in [
            ("refs%2Fpr%2F1", "refs/pr/1"),
            ("feature%2Fx", "feature/x"),
            ("feature/x", "feature/x"),
            ("~parquet", "refs/convert/parquet"),
            ("refs%2fconvert%2fparquet", "refs/convert/parquet"),
        ] {
            assert_eq!(text.parse::<Revision>().expect(text).as_str(), expected);
        }
        for text in
            ["", "..%2Fx", "a%2F%2Fb", "a%", "a%2", "a%zz", "a%00", "a%252Fb", "~", "~a~", "~../x", "a~1"]
        {
            assert!(text.parse::<Revision>().is_err(), "{text:?} was accepted");
        }
    }
}
