//! A directory of one test, and what must and must not be in it.

use std::fs;
use std::path::{Path, PathBuf};

use fake_hub::{FakeHub, Payload};
use sha2::{Digest, Sha256};

use super::command::Modelfetch;

/// Holds the target `models`, the user's `home`, and whatever a test puts beside them.
pub(crate) struct TestDir {
    dir: tempfile::TempDir,
    models: PathBuf,
}

impl TestDir {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir(dir.path().join("home")).expect("an empty directory");
        let models = dir.path().join("models");
        Self { dir, models }
    }

    /// With another target directory, such as a mounted volume.
    pub(crate) fn with_models(models: impl Into<PathBuf>) -> Self {
        Self { models: models.into(), ..Self::new() }
    }

    /// `modelfetch fetch ARGUMENTS --dir models` with this Hub as `HF_ENDPOINT`.
    pub(crate) fn fetch<'a>(
        &self,
        hub: &FakeHub,
        arguments: impl IntoIterator<Item = &'a str>,
    ) -> Modelfetch {
        self.job("fetch", hub, arguments)
    }

    /// The same for another command with the same flags.
    pub(crate) fn job<'a>(
        &self,
        command: &str,
        hub: &FakeHub,
        arguments: impl IntoIterator<Item = &'a str>,
    ) -> Modelfetch {
        self.command([command])
            .env("HF_ENDPOINT", hub.endpoint())
            .args(arguments)
            .arg("--dir")
            .arg(&self.models)
    }

    /// The same with the target as a cache.
    pub(crate) fn cache_job<'a>(
        &self,
        command: &str,
        hub: &FakeHub,
        arguments: impl IntoIterator<Item = &'a str>,
    ) -> Modelfetch {
        let cache = format!("--cache={}", self.models.display());
        self.command([command]).env("HF_ENDPOINT", hub.endpoint()).args(arguments).arg(cache)
    }

    /// `modelfetch ARGUMENTS` in this directory, with its home and nothing else in the environment.
    pub(crate) fn command<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Modelfetch {
        Modelfetch::new(self.dir.path()).args(arguments)
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The target directory.
    pub(crate) fn models(&self) -> &Path {
        &self.models
    }

    /// A published file.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.models.join(name)
    }

    /// This program's own state.
    pub(crate) fn state(&self, name: &str) -> PathBuf {
        self.models.join(".modelfetch").join(name)
    }

    /// Puts a file where a published one would be.
    pub(crate) fn put(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.file(name);
        fs::create_dir_all(path.parent().expect("a file in a directory")).expect("a directory");
        fs::write(&path, content).expect("a file");
        path
    }

    /// The file is at its final name, with exactly this content.
    #[track_caller]
    pub(crate) fn assert_published(&self, name: &str, payload: &Payload) {
        let path = self.file(name);
        assert!(path.is_file(), "{} is not there", path.display());
        assert_eq!(sha256_of(&path), payload.sha256(), "{} has wrong content", path.display());
    }

    /// Nothing is at the final name.
    #[track_caller]
    pub(crate) fn assert_absent(&self, name: &str) {
        assert!(fs::symlink_metadata(self.file(name)).is_err(), "{name} is there");
    }

    /// No partial file, journal, temporary file or owner's record is left.
    #[track_caller]
    pub(crate) fn assert_no_leftovers(&self) {
        let left: Vec<_> = self
            .all_files()
            .into_iter()
            .filter(|path| {
                let text = path.to_string_lossy();
                text.contains(".modelfetch/partial/")
                    || text.ends_with(".tmp")
                    || text.contains(".modelfetch/owner")
            })
            .collect();
        assert!(left.is_empty(), "left behind: {left:?}");
    }

    /// The file is right and nothing else is left.
    #[track_caller]
    pub(crate) fn assert_done(&self, name: &str, payload: &Payload) {
        self.assert_published(name, payload);
        self.assert_no_leftovers();
    }

    /// The one partial file that is there.
    #[track_caller]
    pub(crate) fn partial(&self) -> PathBuf {
        let partials: Vec<_> = self
            .all_files()
            .into_iter()
            .filter(|path| {
                path.to_string_lossy().contains(".modelfetch/partial/") && path.extension().is_none()
            })
            .collect();
        assert_eq!(partials.len(), 1, "{partials:?}");
        partials.into_iter().next().expect("one")
    }

    /// Bytes that the journal says are there; 0 without a journal.
    pub(crate) fn journaled(&self) -> u64 {
        let journals = self.all_files().into_iter().filter(|path| {
            path.to_string_lossy().contains(".modelfetch/partial/")
                && path.extension().is_some_and(|e| e == "json")
                && !path.to_string_lossy().ends_with(".flushed.json")
        });
        journals.map(|path| written(&fs::read(path).expect("a journal"))).sum()
    }

    /// Every file below the target directory.
    pub(crate) fn all_files(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.models.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).into_iter().flatten() {
                let path = entry.expect("an entry").path();
                if path.is_dir() && !path.is_symlink() {
                    folders.push(path);
                } else {
                    found.push(path);
                }
            }
        }
        found.sort();
        found
    }

    /// The text of every small file below the whole test directory: where a secret could hide.
    pub(crate) fn all_text(&self) -> String {
        let mut text = String::new();
        for path in self.all_files() {
            if fs::metadata(&path).is_ok_and(|metadata| metadata.len() < 1 << 20) {
                text += &path.to_string_lossy();
                text += &String::from_utf8_lossy(&fs::read(&path).unwrap_or_default());
            }
        }
        text
    }
}

/// Bytes in the `written` ranges of a journal.
fn written(journal: &[u8]) -> u64 {
    let journal: serde_json::Value = serde_json::from_slice(journal).expect("a journal is JSON");
    let ranges = journal["written"].as_array().expect("a list of ranges");
    ranges.iter().map(|range| range[1].as_u64().expect("an end") - range[0].as_u64().expect("a start")).sum()
}

pub(crate) fn sha256_of(path: &Path) -> String {
    let mut hasher = Sha256::new();
    let mut file = fs::File::open(path).expect("a file to hash");
    std::io::copy(&mut file, &mut Hashing(&mut hasher)).expect("a file that can be read");
    modelfetch::content::Sha256::from_bytes(hasher.finalize().into()).to_string()
}

struct Hashing<'a>(&'a mut Sha256);

impl std::io::Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
