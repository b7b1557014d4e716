//! `models.lock`: what the models of a manifest were when somebody last looked, written by this program. Both files
//! belong under version control, as Cargo's pair does.

use std::fmt;

use sha2::Digest as _;
use toml_writer::ToTomlValue;

use super::manifest::{Model, Wish};
use super::table::{Document, Table};
use super::{Commit, RepoPath};
use crate::content::{Content, GitSha1, Sha256, XetHash};
use crate::words::Invalid;

/// Version of the format.
const VERSION: u64 = 1;
const KEYS: [&str; 11] =
    ["name", "repo", "revision", "files", "include", "exclude", "quant", "dir", "commit", "checksum", "file"];
const FILE_KEYS: [&str; 5] = ["path", "size", "sha256", "git_sha1", "xet_hash"];

/// All models of a lock file, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lockfile {
    /// Sorted.
    pub models: Vec<LockedModel>,
}

/// What one model was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedModel {
    /// As in the manifest.
    pub name: String,
    /// What the manifest asked for.
    pub wish: Wish,
    /// The commit that the revision was; a plain address has none.
    pub commit: Option<Commit>,
    /// Its files, by path.
    pub files: Vec<LockedFile>,
    /// Whether it is as this program wrote it: somebody may have moved the commit, whose files are not known then.
    pub is_intact: bool,
}

/// One of its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedFile {
    /// Path in the repository.
    pub path: RepoPath,
    /// What its bytes must be.
    pub content: Content,
    /// What Xet storage calls them, where it is known.
    pub xet_hash: Option<XetHash>,
}

impl Lockfile {
    /// Reads `text`; `name` is what messages call it.
    pub fn parse(name: &str, text: &str) -> Result<Self, Invalid> {
        Document { what: "lock file", name, text }.read(|table| {
            let version = table.number("version")?;
            match version.ok_or_else(|| table.invalid("`version` is missing"))? {
                VERSION => {}
                newer => {
                    let why = format!(
                        "its format is {newer}, and this modelfetch knows {VERSION}: a newer one wrote it"
                    );
                    return Err(table.invalid(&why));
                }
            }
            table.check_keys(&["version", "model"])?;
            let models = table.tables("model")?.iter().map(LockedModel::read).collect::<Result<_, _>>()?;
            Ok(Self { models })
        })
    }

    /// What is known of a model, if its wish is still the same.
    pub fn answer(&self, model: &Model) -> Option<&LockedModel> {
        self.named(&model.name).filter(|locked| locked.wish == model.wish)
    }

    /// The model of a name.
    pub fn named(&self, name: &str) -> Option<&LockedModel> {
        self.models.iter().find(|locked| locked.name == name)
    }
}

impl LockedModel {
    /// As found on a Hub; its files are put in order.
    pub fn new(name: String, wish: Wish, commit: Option<Commit>, mut files: Vec<LockedFile>) -> Self {
        files.sort_by(|a, b| a.path.as_str().cmp(b.path.as_str()));
        Self { name, wish, commit, files, is_intact: true }
    }

    /// Whether a file is one of its own.
    pub fn lists(&self, path: &RepoPath) -> bool {
        self.files.iter().any(|file| file.path == *path)
    }

    fn read(table: &Table<'_, '_>) -> Result<Self, Invalid> {
        table.check_keys(&KEYS)?;
        let missing = |key: &str| table.invalid(&format!("`{key}` is missing"));
        let (wish, commit) =
            (Wish::read(table)?, table.parsed::<Commit>("commit")?.map(|commit| commit.value));
        if commit.is_none() && !wish.repo.is_address() {
            return Err(missing("commit"));
        }
        let files = table.tables("file")?.iter().map(LockedFile::read).collect::<Result<_, _>>()?;
        let mut locked = Self::new(table.required("name")?.value, wish, commit, files);
        locked.is_intact = table.text("checksum")?.is_some_and(|text| text.value == locked.checksum());
        Ok(locked)
    }

    /// Of all that is said about it: changes by hand show.
    fn checksum(&self) -> String {
        let text = format!("{}{}", Head(self), Files(&self.files));
        Sha256::from_bytes(sha2::Sha256::digest(text.as_bytes()).into()).to_string()
    }
}

impl LockedFile {
    fn read(table: &Table<'_, '_>) -> Result<Self, Invalid> {
        table.check_keys(&FILE_KEYS)?;
        let missing = |key: &str| table.invalid(&format!("`{key}` is missing"));
        let path = table.parsed::<RepoPath>("path")?.ok_or_else(|| missing("path"))?.value;
        let size = table.number("size")?.ok_or_else(|| missing("size"))?;
        let sha256 = table.parsed::<Sha256>("sha256")?.map(|digest| digest.value);
        let git_sha1 = table.parsed::<GitSha1>("git_sha1")?.map(|digest| digest.value);
        let content = Content::of_digests(size, sha256, git_sha1).ok_or_else(|| missing("sha256"))?;
        Ok(Self { path, content, xet_hash: table.parsed::<XetHash>("xet_hash")?.map(|hash| hash.value) })
    }
}

impl fmt::Display for Lockfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "# Written by `modelfetch lock`: keep it under version control. A `commit` may be moved by hand;"
        )?;
        writeln!(f, "# `modelfetch lock` then looks up its files.")?;
        writeln!(f, "version = {VERSION}")?;
        for model in &self.models {
            let checksum = model.checksum();
            write!(f, "\n[[model]]\n{}checksum = \"{checksum}\"\n{}", Head(model), Files(&model.files))?;
        }
        Ok(())
    }
}

/// A model without its files. The commit has a line of its own, behind those that say what it is the commit of:
/// programs that keep dependencies up to date find and change it.
struct Head<'a>(&'a LockedModel);

impl fmt::Display for Head<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LockedModel { name, wish, commit, .. } = self.0;
        let Wish { repo, revision, files, include, exclude, quant, dir } = wish;
        writeln!(f, "name = {}", text(name))?;
        writeln!(f, "repo = {}", text(&repo.to_string()))?;
        if !repo.is_address() {
            writeln!(f, "revision = {}", text(revision.as_str()))?;
        }
        if let Some(commit) = commit {
            writeln!(f, "commit = \"{commit}\"")?;
        }
        for (key, list) in [("files", files), ("include", include), ("exclude", exclude)] {
            if !list.is_empty() {
                let texts: Vec<_> = list.iter().map(|one| text(one)).collect();
                writeln!(f, "{key} = [{}]", texts.join(", "))?;
            }
        }
        if let Some(quant) = quant {
            writeln!(f, "quant = {}", text(quant))?;
        }
        if let Some(dir) = dir {
            writeln!(f, "dir = {}", text(dir.as_str()))?;
        }
        Ok(())
    }
}

struct Files<'a>(&'a [LockedFile]);

impl fmt::Display for Files<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for LockedFile { path, content, xet_hash } in self.0 {
            write!(f, "\n[[model.file]]\npath = {}\nsize = {}\n", text(path.as_str()), content.size())?;
            if let Some(digest) = content.sha256() {
                writeln!(f, "sha256 = \"{digest}\"")?;
            }
            if let Some(digest) = content.git_sha1() {
                writeln!(f, "git_sha1 = \"{digest}\"")?;
            }
            if let Some(hash) = xet_hash {
                writeln!(f, "xet_hash = \"{hash}\"")?;
            }
        }
        Ok(())
    }
}

fn text(text: &str) -> String {
    text.to_toml_value()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Manifest;
    use super::*;

    const MANIFEST: &str = "[[model]]\nrepo = \"o/n\"\nrevision = \"v1\"\nfiles = [\"*.gguf\"]\ndir = \"x\"";

    fn model() -> Model {
        Manifest::parse("models.toml", MANIFEST).expect("a manifest").models.remove(0)
    }

    fn locked(paths: &[&str]) -> LockedModel {
        let file = |path: &&str| LockedFile {
            path: path.parse().expect("a path"),
            content: Content::of_sha256(5, Sha256::ZERO),
            xet_hash: Some(XetHash::ZERO),
        };
        let model = model();
        let commit = "ab".repeat(20).parse().expect("a commit");
        LockedModel::new(model.name, model.wish, Some(commit), paths.iter().map(file).collect())
    }

    fn parse(text: &str) -> Result<Lockfile, Invalid> {
        Lockfile::parse("models.lock", text)
    }

    #[test]
    fn a_lock_file_reads_back_what_was_written_and_answers_the_same_wish_alone() {
        let lock = Lockfile { models: vec![locked(&["b.gguf", "a \"ü\".gguf"])] };
        let text = lock.to_string();
        assert_eq!(parse(&text), Ok(lock.clone()));
        assert_eq!(parse(&text).expect("a lock file").to_string(), text);
        let mut model = model();
        assert!(lock.answer(&model).is_some());
        model.wish.revision = "v2".parse().expect("a revision");
        assert!(lock.answer(&model).is_none());
    }

    #[test]
    fn whatever_is_changed_by_hand_shows() {
        let text = Lockfile { models: vec![locked(&["a.gguf"])] }.to_string();
        for (old, new) in
            [("abab", "abcd"), ("size = 5", "size = 6"), ("a.gguf", "b.gguf"), ("\"v1\"", "\"v2\"")]
        {
            let changed = text.replacen(old, new, 1);
            assert_ne!(changed, text);
            assert!(!parse(&changed).expect("a lock file").models[0].is_intact, "{old}");
        }
    }

    #[test]
    fn a_lock_file_of_a_newer_format_is_refused_whatever_else_is_in_it() {
        let error = parse("version = 2\nmagic = true").expect_err("too new").to_string();
        assert!(error.contains("format is 2") && error.contains("newer"), "{error}");
        assert!(parse("").expect_err("no version").to_string().contains("`version` is missing"));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "\\PC{0,80}") {
            let _ = parse(&text);
            let _ = Manifest::parse("models.toml", &text);
            let _ = parse(&format!("version = 1\n[[model]]\n{text}"));
            let _ = Manifest::parse("models.toml", &format!("[[model]]\nrepo = \"o/n\"\n{text}"));
        }
    }
}
