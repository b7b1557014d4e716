//! The names of everything in a target directory: the final files, and this tool's state beside them on the
//! same file system.
//!
//! ```text
//! plain    DIR/<path>                                      state in DIR/.modelfetch
//!          DIR/.cache/huggingface/…                        notes for huggingface_hub, if they are asked for
//! cache    ROOT/models--o--n/blobs/<key>                   state in ROOT/models--o--n/.modelfetch
//!          ROOT/models--o--n/snapshots/<commit>/<path> -> ../../blobs/<key>
//!          ROOT/models--o--n/refs/<revision>, trees/<commit>.json
//! state    partial/<key>                                   bytes so far
//!          partial/<key>.json, ….flushed.json              which of them can be believed
//!          receipts/….json                                 proof that a final file was verified
//!          hub/models--o--n/refs, trees                    of a plain directory, as in a cache
//!          lock, owner….json                               one writer at a time
//!          tmp-<random>                                    on its way to another name
//! ```
//! A `<key>` is [`Content::key`].
//! The cache layout is `huggingface_hub`'s (`file_download.py`); its scanner ignores the state folder.
//! All names here are below the directory, with `/` between their parts.

use std::path::{Path, PathBuf};

use sha2::Digest as _;

use crate::content::{Content, Sha256};
use crate::plan::{Targets, WantedFile};
use crate::request::{Commit, Destination, RepoId, RepoPath, Revision};

/// Name of the state folder.
pub(super) const STATE: &str = ".modelfetch";
/// Name of `huggingface_hub`'s folder in a directory that it fills (its `_local_folder.py`, `_huggingface_dir`).
pub(super) const NOTES: &str = ".cache/huggingface";
/// The longest name that is made here, in bytes: of the file systems in use eCryptfs has the lowest limit.
const NAME_MAX: usize = 143;
const RECORD: &str = ".json";

/// A name in a folder below the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The folder; empty for the directory itself.
    pub(super) folder: String,
    /// The name in it.
    pub(super) name: String,
}

impl Place {
    fn new(folder: impl Into<String>, name: impl Into<String>) -> Self {
        Self { folder: folder.into(), name: name.into() }
    }

    fn of_path(path: &str) -> Self {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        Self::new(folder, name)
    }

    /// Its path below the directory.
    pub(super) fn path(&self) -> String {
        if self.folder.is_empty() { self.name.clone() } else { format!("{}/{}", self.folder, self.name) }
    }

    fn below(self, root: &Path) -> PathBuf {
        root.join(self.folder).join(self.name)
    }
}

/// The names of one target.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    destination: Destination,
    /// The folder of the repository.
    repo: String,
}

impl Layout {
    /// The layout of `destination` for `repo`.
    pub(super) fn new(destination: &Destination, repo: &RepoId) -> Self {
        Self::of_folder(destination, repo.cache_folder())
    }

    /// The layout of `destination` for the repository whose folder has this name.
    pub(super) fn of_folder(destination: &Destination, repo: String) -> Self {
        Self { destination: destination.clone(), repo }
    }

    /// What it is the layout of.
    pub(super) fn destination(&self) -> &Destination {
        &self.destination
    }

    /// The directory the user named.
    pub(super) fn root(&self) -> &Path {
        self.destination.root()
    }

    /// Whether it is a cache rather than plain files.
    pub(super) fn is_cache(&self) -> bool {
        matches!(self.destination, Destination::Cache(_))
    }

    /// Whether `huggingface_hub` is told what is in it.
    pub(super) fn has_notes(&self) -> bool {
        matches!(self.destination, Destination::LocalDir(_))
    }

    /// The folder below the root that all other names are in: the repository's in a cache.
    pub(super) fn base(&self) -> &str {
        if self.is_cache() { &self.repo } else { "" }
    }

    /// Where the verified bytes of a file lie.
    pub(super) fn target(&self, path: &RepoPath, content: &Content) -> Place {
        if self.is_cache() {
            Place::new("blobs", content.key().to_string())
        } else {
            Place::of_path(path.as_str())
        }
    }

    /// Where the readers of a cache look for a file; `None` in a directory, and without a commit.
    pub(super) fn pointer_of(&self, path: &RepoPath, commit: Option<&Commit>) -> Option<Place> {
        commit.filter(|_| self.is_cache()).map(|commit| Self::pointer(path, commit))
    }

    /// Every name that a file gets: its own first, then its receipt's, and that of what leads to it.
    pub(super) fn names_of(&self, file: &WantedFile, commit: Option<&Commit>) -> impl Iterator<Item = Place> {
        let WantedFile { path, content, .. } = file;
        [self.target(path, content), self.receipt(path, content)]
            .into_iter()
            .chain(self.pointer_of(path, commit))
    }

    /// Where it is written down what was learnt of a repository.
    pub(super) fn learnt(&self, revision: &Revision, commit: Option<&Commit>) -> impl Iterator<Item = Place> {
        commit.map(|commit| [self.reference(revision), self.listing(commit)]).into_iter().flatten()
    }

    /// The paths of [`Layout::target`].
    pub(super) fn targets(&self) -> Targets {
        let base = self.root().join(self.base());
        if self.is_cache() { Targets::ByContent(base.join("blobs")) } else { Targets::ByName(base) }
    }

    /// The path of [`Layout::target`].
    pub(super) fn target_path(&self, path: &RepoPath, content: &Content) -> PathBuf {
        self.target(path, content).below(&self.root().join(self.base()))
    }

    /// Where a reader of a cache looks for the file.
    pub(super) fn pointer(path: &RepoPath, commit: &Commit) -> Place {
        Place::of_path(&format!("snapshots/{}/{path}", commit.file_name()))
    }

    /// The path where a reader looks for the file: differs from [`Layout::target_path`] in a cache.
    pub(super) fn visible_path(
        &self,
        path: &RepoPath,
        content: &Content,
        commit: Option<&Commit>,
    ) -> PathBuf {
        match commit.filter(|_| self.is_cache()) {
            Some(commit) => Self::pointer(path, commit).below(&self.root().join(self.base())),
            None => self.target_path(path, content),
        }
    }

    /// The folder of all partial files and their journals.
    pub(super) fn partials() -> String {
        format!("{STATE}/partial")
    }

    /// The folder of all receipts.
    pub(super) fn receipts() -> String {
        format!("{STATE}/receipts")
    }

    /// The receipt of a file. A cache holds one per content, a directory one per name.
    pub(super) fn receipt(&self, path: &RepoPath, content: &Content) -> Place {
        if self.is_cache() {
            return Place::new(Self::receipts(), content.key().to_string() + RECORD);
        }
        Self::receipt_of_name(path)
    }

    /// The receipt of a name in a directory.
    ///
    /// It is called like the file, with `.json` behind it. A folder that is called like a receipt gets
    /// `.d` behind its name, and what would be too long is cut, with a checksum: the receipt says itself
    /// whose it is.
    pub(super) fn receipt_of_name(path: &RepoPath) -> Place {
        let mut folder = Self::receipts();
        for part in path.folder().split('/').filter(|part| !part.is_empty()) {
            folder.push('/');
            folder.push_str(&cut(part, if is_like_a_receipt(part) { ".d" } else { "" }));
        }
        Place::new(folder, cut(path.file_name(), RECORD))
    }

    /// Which commit a revision was when the Hub was last asked: 40 hex digits, no newline.
    pub(super) fn reference(&self, revision: &Revision) -> Place {
        let name = revision.commit().map_or_else(|| revision.to_string(), |commit| commit.file_name());
        Place::of_path(&format!("{}refs/{name}", self.metadata()))
    }

    /// The listing of a commit.
    pub(super) fn listing(&self, commit: &Commit) -> Place {
        Place::new(format!("{}trees", self.metadata()), commit.file_name() + RECORD)
    }

    /// What `huggingface_hub` knows about a file of a directory (its `_local_folder.py`).
    pub(super) fn note(path: &RepoPath) -> Place {
        Place::of_path(&format!("{NOTES}/download/{path}.metadata"))
    }

    /// The listing of a commit for those who look with `huggingface_hub` into a directory (its `_tree_cache.py`).
    pub(super) fn noted_listing(commit: &Commit) -> Place {
        Place::new(format!("{NOTES}/trees"), commit.file_name() + RECORD)
    }

    fn metadata(&self) -> String {
        if self.is_cache() { String::new() } else { format!("{STATE}/hub/{}/", self.repo) }
    }
}

/// Where a link from the blobs of a repository leads, below the root of the cache; `None` if it leaves that, or
/// leads into another repository.
pub(super) fn shared_blob(repo: &str, link: &Path) -> Option<Place> {
    let mut parts: Vec<&str> = vec![repo, "blobs"];
    for part in link.to_str().filter(|link| !link.starts_with('/'))?.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    (parts.len() > 1 && parts[0] == "blobs").then(|| Place::of_path(&parts.join("/")))
}

/// Whether a folder's name is one that a receipt has, or one that was changed because of that.
fn is_like_a_receipt(mut name: &str) -> bool {
    while let Some(shorter) = name.strip_suffix(".d") {
        name = shorter;
    }
    name.ends_with(RECORD)
}

/// A name with something behind it, short enough for every file system in use.
fn cut(name: &str, suffix: &str) -> String {
    if name.len() + suffix.len() <= NAME_MAX {
        return format!("{name}{suffix}");
    }
    let checksum = Sha256::from_bytes(sha2::Sha256::digest(name.as_bytes()).into()).to_string();
    let checksum = &checksum[..16];
    let kept = name.floor_char_boundary(NAME_MAX - suffix.len() - checksum.len() - 1);
    format!("{}~{checksum}{suffix}", &name[..kept])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_blob_is_in_the_cache_and_nowhere_else() {
        let lead = |link: &str| {
            shared_blob("models--o--n", Path::new(link)).map(|place| place.below(Path::new("/c")))
        };
        assert_eq!(lead("../../blobs/ab/abcd"), Some("/c/blobs/ab/abcd".into()));
        for link in [
            "/c/blobs/ab/abcd",
            "../../../blobs/x",
            "../../models--o--m/blobs/x",
            "x",
            "../../blobs/../x",
            "",
        ] {
            assert_eq!(lead(link), None, "{link}");
        }
    }

    #[test]
    fn no_two_names_of_a_directory_have_one_receipt() {
        let (long, longer) = ("ü".repeat(125) + "abc", "ü".repeat(125) + "abcd");
        let names = ["x", "x.json", "x/y", "x.json/y", "x.json.d/y", "x.d/y", &long, &longer];
        let mut places = Vec::new();
        for name in names {
            let place = Layout::receipt_of_name(&name.parse().expect("a path"));
            assert!(place.name.len() <= NAME_MAX);
            places.push(place.below(Path::new("")));
        }
        for (at, place) in places.iter().enumerate() {
            let clash =
                |other: &PathBuf| other == place || other.starts_with(place) || place.starts_with(other);
            assert!(!places[at + 1..].iter().any(clash), "{}", place.display());
        }
    }
}
