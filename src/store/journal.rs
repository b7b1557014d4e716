//! The journal beside a partial file: which bytes of it can be believed after a crash.
//!
//! There are two records. `<digest>.json` has the ranges whose bytes were written: after a killed
//! process they count, the page cache outlives it. `<digest>.flushed.json` has the ranges that an
//! fdatasync had covered, and is itself flushed: only these count after a reboot. They are two
//! files because a power cut may leave nothing of one that was replaced without a flush.
//! A wrong journal may cost bytes, never a wrong file: the digest decides in the end.

use serde::{Deserialize, Serialize};

use crate::content::{Content, RangeSet};
use crate::disk::{self, Dir, Durability, Kind};
use crate::error::Error;
use crate::plan::WantedFile;
use crate::request::{RepoId, RepoPath};

const VERSION: u32 = 1;
/// More is no journal.
const BYTES_MAX: u64 = 1 << 20;
/// Fewer bytes on their own are not worth the request that their gap costs.
const ISLAND_MIN: u64 = 64 << 10;

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
    /// Those of them that were copied from older files, which are doubted first.
    #[serde(skip_serializing_if = "RangeSet::is_empty", default)]
    pub copied: RangeSet,
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

    /// The name of its file, beside a partial file called `name`.
    pub fn name_for(self, name: &str) -> String {
        format!("{name}{}", self.suffix())
    }

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
            copied: RangeSet::default(),
            boot_id: disk::boot_id().to_owned(),
        }
    }

    /// Understands the content of a journal file; `None` if it is damaged or of another version.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let journal: Self = serde_json::from_slice(bytes).ok()?;
        (journal.version == VERSION && journal.written.end() <= journal.size).then_some(journal)
    }

    /// Reads the journal of a partial file of `content`, reduced to what can be believed now, given
    /// that the partial file is `length` bytes long.
    pub fn read(partials: &Dir, content: &Content, length: u64) -> Result<Option<Self>, Error> {
        let boot_id = disk::boot_id();
        let name = content.key().to_string();
        let written = Self::read_record(partials, &name, Record::Written)?
            .filter(|journal| !boot_id.is_empty() && journal.boot_id == boot_id);
        let believed = match written {
            Some(journal) => Some(journal),
            None => Self::read_record(partials, &name, Record::Flushed)?,
        };
        Ok(believed.filter(|journal| journal.size == content.size()).map(|mut journal| {
            // What lies beyond the end of the file was lost, whatever the journal says.
            journal.written.remove(&(length..u64::MAX));
            // What would cost a request of its own for next to nothing.
            journal.written.drop_islands(ISLAND_MIN);
            boot_id.clone_into(&mut journal.boot_id);
            journal
        }))
    }

    /// Reads a record of the partial file called `name`.
    pub fn read_record(partials: &Dir, name: &str, record: Record) -> Result<Option<Self>, Error> {
        let bytes = partials.read(&record.name_for(name), BYTES_MAX)?;
        Ok(bytes.and_then(|bytes| Self::parse(&bytes)))
    }

    /// Writes it beside the partial file.
    pub fn write(&self, partials: &Partials, content: &Content, record: Record) -> Result<(), Error> {
        let json = serde_json::to_vec(self).map_err(|why| Error::Internal(format!("journal: {why}")))?;
        let durability = match record {
            Record::Written => Durability::Process,
            Record::Flushed => Durability::Power,
        };
        let name = record.name_for(&content.key().to_string());
        partials.scratch.replace(&partials.dir, &name, &json, durability)
    }

    /// What an earlier run left of `content`. Changes nothing.
    pub fn survey(partials: &Dir, content: &Content) -> Result<Survey, Error> {
        let partial = partials.stat(&content.key().to_string())?;
        let Some(partial) = partial.filter(|partial| partial.kind == Kind::File) else {
            return Ok(Survey::default());
        };
        let journal = Self::read(partials, content, partial.identity.size)?;
        Ok(Survey {
            usable: journal.map_or(0, |journal| journal.written.bytes()),
            allocated: partial.allocated.min(content.size()),
        })
    }
}

/// The folder of partial files, and one on the same file system for what is on its way there.
#[derive(Debug, Clone)]
pub struct Partials {
    /// The folder.
    pub dir: Dir,
    /// Where temporary files are made.
    pub scratch: Dir,
}

impl Partials {
    /// In a folder that has nothing else in it.
    #[cfg(test)]
    pub(crate) fn alone(folder: &std::path::Path) -> Self {
        let dir = Dir::create(folder).expect("a folder");
        Self { dir: dir.clone(), scratch: dir }
    }

    /// Removes the partial file of a content with its journal.
    pub fn discard(&self, content: &Content) -> Result<(), Error> {
        self.discard_named(&content.key().to_string())
    }

    /// The same, by its name. The records go first: a partial file without one is not believed. Mostly nothing is there,
    /// and to look, unlike to remove, keeps nobody else waiting who works in the folder.
    pub fn discard_named(&self, name: &str) -> Result<(), Error> {
        let records = Record::ALL.iter().map(|record| record.name_for(name));
        for name in records.chain([name.to_owned()]) {
            if self.dir.stat(&name)?.is_some() {
                self.dir.remove(&name)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> WantedFile {
        let digest = crate::content::Digest::from_etag(&"ab".repeat(32)).expect("digest");
        WantedFile::new("m.gguf".parse().expect("path"), Content::new(100, digest))
    }

    fn repo() -> RepoId {
        RepoId::new(crate::request::RepoKind::Model, "o/n").expect("repo")
    }

    fn journal(range: std::ops::Range<u64>, boot_id: &str) -> Journal {
        let mut journal = Journal::new(&file(), &repo());
        journal.written.insert(range);
        Journal { boot_id: boot_id.into(), ..journal }
    }

    fn partials() -> (tempfile::TempDir, Partials) {
        let place = tempfile::tempdir().expect("a directory");
        let partials = Partials::alone(place.path());
        (place, partials)
    }

    #[test]
    fn after_a_reboot_only_flushed_ranges_count() {
        let (place, partials) = partials();
        let content = file().content;
        let write = |journal: &Journal, record| journal.write(&partials, &content, record).expect("written");
        let usable = || {
            Journal::read(&partials.dir, &content, 100).expect("read").map(|journal| journal.written.bytes())
        };
        assert_eq!(usable(), None);
        write(&journal(0..20, "an earlier boot"), Record::Flushed);
        write(&journal(0..60, disk::boot_id()), Record::Written);
        assert_eq!(usable(), Some(60));
        write(&journal(0..60, "an earlier boot"), Record::Written);
        assert_eq!(usable(), Some(20));
        // What a power cut may leave of a file that was not flushed.
        let written = Record::Written.name_for(&content.key().to_string());
        std::fs::write(place.path().join(written), "").expect("emptied");
        assert_eq!(usable(), Some(20));
    }

    #[test]
    fn a_partial_file_that_is_shorter_than_its_journal_says_is_not_believed() {
        let (_place, partials) = partials();
        let content = file().content;
        journal(0..90, disk::boot_id()).write(&partials, &content, Record::Written).expect("written");
        let read = Journal::read(&partials.dir, &content, 30).expect("read").expect("a journal");
        assert_eq!(read.written.bytes(), 30);
    }

    #[test]
    fn a_damaged_journal_counts_as_none() {
        for bytes in [&b""[..], b"{}", b"null", b"[1]", br#"{"version":1,"size":1,"repo":{"kind":"model","owner":"o","name":"n"},"path":"p","written":[[0,2]],"boot_id":""}"#] {
            assert_eq!(Journal::parse(bytes), None);
        }
    }
}
