//! The journal beside a partial file: which bytes of it can be believed after a crash.
//!
//! Ranges are journaled after their bytes were written, so after a killed process they count:
//! the page cache outlives it. After a reboot only ranges that an fdatasync had covered count.
//! A wrong journal may cost bytes, never a wrong file: the digest decides in the end.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::ranges::RangeSet;
use crate::disk::{self, Durability};
use crate::error::Error;
use crate::request::{RepoId, RepoPath};
use crate::resolve::RemoteFile;

const VERSION: u32 = 1;

/// What is known about a partial file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    version: u32,
    /// Size of the complete file in bytes.
    pub size: u64,
    /// What it is a part of, for people and for cleaning up.
    pub repo: RepoId,
    /// Path in the repository.
    pub path: RepoPath,
    /// Ranges whose bytes were written.
    pub written: RangeSet,
    /// Ranges whose bytes were flushed to the device.
    pub durable: RangeSet,
    /// The boot in which `written` is true.
    pub boot_id: String,
}

/// What an earlier run left.
#[derive(Debug, Default, Clone, Copy)]
pub struct Survey {
    /// Bytes that need not be fetched again.
    pub usable: u64,
    /// Bytes of disk space taken.
    pub allocated: u64,
}

impl Journal {
    /// For a partial file with nothing in it.
    pub fn new(file: &RemoteFile, repo: &RepoId) -> Self {
        Self {
            version: VERSION,
            size: file.size,
            repo: repo.clone(),
            path: file.path.clone(),
            written: RangeSet::default(),
            durable: RangeSet::default(),
            boot_id: disk::boot_id(),
        }
    }

    /// Understands the content of a journal file; `None` if it is damaged or of another version.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let journal: Self = serde_json::from_slice(bytes).ok()?;
        let fits = journal.written.end() <= journal.size && journal.durable.end() <= journal.size;
        (journal.version == VERSION && fits).then_some(journal)
    }

    /// Reads the journal of a partial file of `file`, reduced to what can be believed now, given
    /// that the partial file is `length` bytes long.
    pub fn read(partials: &Path, file: &RemoteFile, length: u64) -> Result<Option<Self>, Error> {
        let Some(bytes) = disk::read_if_present(&Self::path(partials, file))? else { return Ok(None) };
        let Some(mut journal) = Self::parse(&bytes).filter(|journal| journal.size == file.size) else {
            return Ok(None);
        };
        let boot_id = disk::boot_id();
        if boot_id.is_empty() || journal.boot_id != boot_id {
            journal.written = journal.durable.clone();
            journal.boot_id = boot_id;
        }
        // What lies beyond the end of the file was lost, whatever the journal says.
        let beyond = length..u64::MAX;
        journal.written.remove(&beyond);
        journal.durable.remove(&beyond);
        Ok(Some(journal))
    }

    /// Writes it beside the partial file.
    pub fn write(&self, partials: &Path, file: &RemoteFile, durability: Durability) -> Result<(), Error> {
        let json = serde_json::to_vec(self).map_err(|why| Error::Internal(format!("journal: {why}")))?;
        disk::replace(&Self::path(partials, file), &json, durability)
    }

    /// Where the journal of a file lies.
    pub fn path(partials: &Path, file: &RemoteFile) -> PathBuf {
        partials.join(format!("{}.json", file.digest))
    }

    /// Where the bytes of a file are collected. The name is the digest: a new revision with the
    /// same content goes on where the old one stopped.
    pub fn partial_path(partials: &Path, file: &RemoteFile) -> PathBuf {
        partials.join(file.digest.to_string())
    }

    /// What an earlier run left of `file`. Changes nothing.
    pub fn survey(partials: &Path, file: &RemoteFile) -> Result<Survey, Error> {
        use std::os::unix::fs::MetadataExt;
        let Some(metadata) = disk::regular_file(&Self::partial_path(partials, file))? else {
            return Ok(Survey::default());
        };
        let journal = Self::read(partials, file, metadata.len())?;
        Ok(Survey {
            usable: journal.map_or(0, |journal| journal.written.bytes()),
            allocated: (metadata.blocks() * 512).min(file.size),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> RemoteFile {
        RemoteFile {
            path: "m.gguf".parse().expect("path"),
            size: 100,
            digest: crate::request::Digest::from_etag(&"ab".repeat(32)).expect("digest"),
            pin: None,
        }
    }

    fn repo() -> RepoId {
        RepoId::new(crate::request::RepoKind::Model, "o/n").expect("repo")
    }

    #[test]
    fn after_a_reboot_only_flushed_ranges_count() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut journal = Journal::new(&file(), &repo());
        journal.written.insert(0..60);
        journal.durable.insert(0..20);
        journal.write(dir.path(), &file(), Durability::Process).expect("written");
        let usable =
            || Journal::read(dir.path(), &file(), 100).expect("read").map(|journal| journal.written.bytes());
        assert_eq!(usable(), Some(60));
        journal.boot_id = "another boot".into();
        journal.write(dir.path(), &file(), Durability::Process).expect("written");
        assert_eq!(usable(), Some(20));
    }

    #[test]
    fn a_partial_file_that_is_shorter_than_its_journal_says_is_not_believed() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut journal = Journal::new(&file(), &repo());
        journal.written.insert(10..90);
        journal.write(dir.path(), &file(), Durability::Process).expect("written");
        let read = Journal::read(dir.path(), &file(), 30).expect("read").expect("a journal");
        assert_eq!(read.written.bytes(), 20);
    }

    #[test]
    fn a_damaged_journal_counts_as_none() {
        for bytes in [&b""[..], b"{}", b"null", b"[1]", br#"{"version":1,"size":1,"repo":{"kind":"model","owner":"o","name":"n"},"path":"p","written":[[0,2]],"durable":[],"boot_id":""}"#] {
            assert_eq!(Journal::parse(bytes), None);
        }
    }
}
