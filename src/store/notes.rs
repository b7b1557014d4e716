//! Notes for `huggingface_hub`: what `hf download --local-dir` writes about a directory, and reads before it hashes or
//! fetches a file (2.x, `_local_folder.py` and `_tree_cache.py`). They save others work and nothing here relies on them.

use super::layout::{Layout, NOTES};
use super::{LISTING_BYTES_MAX, Proof, Store, WriteAccess};
use crate::disk::{Dir, Durability};
use crate::error::Error;
use crate::plan::WantedFile;
use crate::request::{Commit, RepoId, RepoPath};

/// More is no note.
const BYTES_MAX: u64 = 4 << 10;
/// What lies beside the notes, for git and for backup tools (bford.info/cachedir).
const COMPANIONS: [(&str, &[u8]); 2] = [
    (".gitignore", b"*"),
    ("CACHEDIR.TAG", b"Signature: 8a477f597d28d172789f06886806bc55\n# This file is a cache directory tag.\n"),
];

/// What is noted about a file: of which commit it is, the etag that the Hub has for it, and when that was so.
struct Note {
    commit: Commit,
    etag: String,
    /// Milliseconds since the epoch.
    at_ms: i64,
}

impl Note {
    /// A note counts as long as the file was not written to a second after its time: that is the file's own time, so
    /// that no two clocks are compared.
    fn new(commit: &Commit, proof: &Proof) -> Self {
        let at_ms = proof.identity().mtime_ns.div_euclid(1_000_000);
        Self { commit: *commit, etag: proof.content().key().to_string(), at_ms }
    }

    fn to_text(&self) -> String {
        let (seconds, rest) = (self.at_ms.div_euclid(1000), self.at_ms.rem_euclid(1000));
        format!("{}\n{}\n{seconds}.{rest:03}\n", self.commit, self.etag)
    }

    /// Whether these bytes say the same. `huggingface_hub` notes the time of its own clock, which comes later.
    fn is_in(&self, bytes: &[u8]) -> bool {
        let text = String::from_utf8_lossy(bytes);
        let mut lines = text.lines().map(str::trim);
        lines.next() == Some(self.commit.to_string().as_str())
            && lines.next() == Some(&self.etag)
            && lines.next().and_then(|time| time.parse::<f64>().ok()).is_some_and(|time| {
                #[expect(clippy::cast_precision_loss, reason = "a millisecond is enough")]
                let at = self.at_ms as f64 / 1000.0;
                at <= time + 0.5
            })
    }
}

impl Store {
    /// Fails if a file would be among the notes.
    pub fn check_names(&self, repo: &RepoId, files: &[WantedFile]) -> Result<(), Error> {
        let clash = |file: &&WantedFile| self.layout.has_notes() && file.path.may_be_in(NOTES);
        files.iter().find(clash).map_or(Ok(()), |file| {
            let why = format!("`{NOTES}` holds what huggingface_hub knows about the directory; take --dir");
            Err(Error::NameRefused { repo: repo.clone(), name: file.path.to_string(), why })
        })
    }

    /// Whether `huggingface_hub` knows of every verified file which it is, if it is to be told.
    pub fn is_noted(&self, files: &[WantedFile], commit: Option<&Commit>) -> Result<bool, Error> {
        let Some(commit) = commit.filter(|_| self.layout.has_notes()) else { return Ok(true) };
        for wanted in files {
            if let Some((_, proof)) = self.proof(wanted)?
                && !self.has_note(wanted, &Note::new(commit, &proof))
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What cannot be read is none: the writer tells why.
    fn has_note(&self, wanted: &WantedFile, note: &Note) -> bool {
        let bytes = self.read(&Layout::note(&wanted.path), BYTES_MAX);
        bytes.is_ok_and(|bytes| bytes.is_some_and(|bytes| note.is_in(&bytes)))
    }
}

impl WriteAccess {
    /// Notes of every verified file what it is, and the commit's listing, if `huggingface_hub` is to be told. Fails with
    /// the first thing that could not be noted, after the others. It only saves work, so it need not survive a power
    /// cut.
    pub fn note(
        &self,
        files: &[WantedFile],
        commit: Option<&Commit>,
        listing: Option<&[u8]>,
    ) -> Result<(), Error> {
        let Some(commit) = commit.filter(|_| self.store().layout.has_notes()) else { return Ok(()) };
        let folder = self.base().make(NOTES)?;
        let mut noted =
            COMPANIONS.into_iter().try_for_each(|(name, content)| self.accompany(&folder, name, content));
        for wanted in files {
            noted = noted.and(self.note_one(wanted, commit));
        }
        if let Some(listing) = listing {
            let place = Layout::noted_listing(commit);
            noted = noted.and(self.replace_if_new(&place, listing, LISTING_BYTES_MAX));
        }
        noted
    }

    fn accompany(&self, folder: &Dir, name: &str, content: &[u8]) -> Result<(), Error> {
        match folder.stat(name)? {
            Some(_) => Ok(()),
            None => self.state().replace(folder, name, content, Durability::Process),
        }
    }

    fn note_one(&self, wanted: &WantedFile, commit: &Commit) -> Result<(), Error> {
        let Some((_, proof)) = self.store().proof(wanted)? else { return Ok(()) };
        let note = Note::new(commit, &proof);
        if self.store().has_note(wanted, &note) {
            return Ok(());
        }
        self.replace(&Layout::note(&wanted.path), note.to_text().as_bytes())
    }

    /// Removes what is noted about an older file of this name: the bytes of the new one may have come before that was
    /// noted, and it would be taken for the old one. Where that is not allowed the times of the two mostly tell.
    pub(super) fn forget_note(&self, path: &RepoPath) {
        if !self.store().is_cache() {
            let note = Layout::note(path);
            let folder = self.base().descend(&note.folder);
            let _ = folder.and_then(|folder| folder.map_or(Ok(()), |folder| folder.remove(&note.name)));
        }
    }
}
