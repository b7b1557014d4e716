//! The journal beside a partial file: which bytes of it can be believed after a crash.
//!
//! There are two records. `<digest>.json` has the ranges whose bytes were written: after a killed
//! process they count, the page cache outlives it. `<digest>.flushed.json` has the ranges that an
//! fdatasync had covered, and is itself flushed: only these count after a reboot. They are two
//! files because a power cut may leave nothing of one that was replaced without a flush.
//! A wrong journal may cost bytes, never a wrong file: the digest decides in the end.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

#[cfg(test)]
use crate::content::Content;
use crate::content::RangeSet;
use crate::disk::{self, Durability};
use crate::error::Error;
use crate::plan::WantedFile;
use crate::request::{RepoId, RepoPath};

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
    /// The ranges.
    pub written: RangeSet,
    /// The boot in which they were written.
    pub boot_id: String,
}

/// Which of the two records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record {
    /// What was written.
    Written,
    /// What was flushed to the device.
    Flushed,
}

impl Record {
    /// Both of them, the one that says less first.
    pub const ALL: [Self; 2] = [Self::Flushed, Self::Written];

    /// How the name of its file ends, after the digest.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Written => ".json",
            Self::Flushed => ".flushed.json",
        }
    }
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
    pub fn new(file: &WantedFile, repo: &RepoId) -> Self {
        Self {
            version: VERSION,
            size: file.size(),
            repo: repo.clone(),
            path: file.path.clone(),
            written: RangeSet::default(),
            boot_id: disk::boot_id(),
        }
    }

    /// Understands the content of a journal file; `None` if it is damaged or of another version.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let journal: Self = serde_json::from_slice(bytes).ok()?;
        (journal.version == VERSION && journal.written.end() <= journal.size).then_some(journal)
    }

    /// Reads the journal of a partial file of `file`, reduced to what can be believed now, given
    /// that the partial file is `length` bytes long.
    pub fn read(partials: &Path, file: &WantedFile, length: u64) -> Result<Option<Self>, Error> {
        let boot_id = disk::boot_id();
        let name = file.content.key().to_string();
        let written = Self::read_record(partials, &name, Record::Written)?
            .filter(|journal| !boot_id.is_empty() && journal.boot_id == boot_id);
        let believed = match written {
            Some(journal) => Some(journal),
            None => Self::read_record(partials, &name, Record::Flushed)?,
        };
        Ok(believed.filter(|journal| journal.size == file.size()).map(|mut journal| {
            // What lies beyond the end of the file was lost, whatever the journal says.
            journal.written.remove(&(length..u64::MAX));
            journal.boot_id = boot_id;
            journal
        }))
    }

    /// Reads a record of the partial file called `name`.
    pub fn read_record(partials: &Path, name: &str, record: Record) -> Result<Option<Self>, Error> {
        let bytes = disk::read_if_present(&partials.join(format!("{name}{}", record.suffix())))?;
        Ok(bytes.and_then(|bytes| Self::parse(&bytes)))
    }

    /// Writes it beside the partial file.
    pub fn write(&self, partials: &Path, file: &WantedFile, record: Record) -> Result<(), Error> {
        let json = serde_json::to_vec(self).map_err(|why| Error::Internal(format!("journal: {why}")))?;
        let durability = match record {
            Record::Written => Durability::Process,
            Record::Flushed => Durability::Power,
        };
        disk::replace(&Self::path(partials, file, record), &json, durability)
    }

    /// Where a record of a file lies.
    pub fn path(partials: &Path, file: &WantedFile, record: Record) -> PathBuf {
        partials.join(format!("{}{}", file.content.key(), record.suffix()))
    }

    /// Where the bytes of a file are collected. The name is the digest: a new revision with the
    /// same content goes on where the old one stopped.
    pub fn partial_path(partials: &Path, file: &WantedFile) -> PathBuf {
        partials.join(file.content.key().to_string())
    }

    /// What an earlier run left of `file`. Changes nothing.
    pub fn survey(partials: &Path, file: &WantedFile) -> Result<Survey, Error> {
        use std::os::unix::fs::MetadataExt;
        let Some(metadata) = disk::regular_file(&Self::partial_path(partials, file))? else {
            return Ok(Survey::default());
        };
        let journal = Self::read(partials, file, metadata.len())?;
        Ok(Survey {
            usable: journal.map_or(0, |journal| journal.written.bytes()),
            allocated: (metadata.blocks() * 512).min(file.size()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> WantedFile {
        WantedFile {
            path: "m.gguf".parse().expect("path"),
            content: Content::new(100, crate::content::Digest::from_etag(&"ab".repeat(32)).expect("digest")),
        }
    }

    fn repo() -> RepoId {
        RepoId::new(crate::request::RepoKind::Model, "o/n").expect("repo")
    }

    fn journal(range: std::ops::Range<u64>, boot_id: &str) -> Journal {
        let mut journal = Journal::new(&file(), &repo());
        journal.written.insert(range);
        Journal { boot_id: boot_id.into(), ..journal }
    }

    #[test]
    fn after_a_reboot_only_flushed_ranges_count() {
        let dir = tempfile::tempdir().expect("a directory");
        let write = |journal: &Journal, record| journal.write(dir.path(), &file(), record).expect("written");
        let usable =
            || Journal::read(dir.path(), &file(), 100).expect("read").map(|journal| journal.written.bytes());
        assert_eq!(usable(), None);
        write(&journal(0..20, "an earlier boot"), Record::Flushed);
        write(&journal(0..60, &disk::boot_id()), Record::Written);
        assert_eq!(usable(), Some(60));
        write(&journal(0..60, "an earlier boot"), Record::Written);
        assert_eq!(usable(), Some(20));
        // What a power cut may leave of a file that was not flushed.
        std::fs::write(Journal::path(dir.path(), &file(), Record::Written), "").expect("emptied");
        assert_eq!(usable(), Some(20));
    }

    #[test]
    fn a_partial_file_that_is_shorter_than_its_journal_says_is_not_believed() {
        let dir = tempfile::tempdir().expect("a directory");
        journal(10..90, &disk::boot_id()).write(dir.path(), &file(), Record::Written).expect("written");
        let read = Journal::read(dir.path(), &file(), 30).expect("read").expect("a journal");
        assert_eq!(read.written.bytes(), 20);
    }

    #[test]
    fn a_damaged_journal_counts_as_none() {
        for bytes in [&b""[..], b"{}", b"null", b"[1]", br#"{"version":1,"size":1,"repo":{"kind":"model","owner":"o","name":"n"},"path":"p","written":[[0,2]],"boot_id":""}"#] {
            assert_eq!(Journal::parse(bytes), None);
        }
    }
}
