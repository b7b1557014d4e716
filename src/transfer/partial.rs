//! The partial file: bytes so far, at their final offsets, with the journal beside them.
//!
//! One thread writes (parallel writes to one file only queue up at its inode), one follows behind
//! and hashes, one flushes, so that never much is dirty: a pod with a small memory limit would be
//! killed for page cache that cannot be dropped.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard};

use rustix::fs::FallocateFlags;

use super::journal::{Journal, Record};
use super::ranges::RangeSet;
use crate::disk;
use crate::error::Error;
use crate::request::RepoId;
use crate::resolve::RemoteFile;

/// Bytes written between two records in the journal: what a killed process may have to fetch again.
const JOURNAL_EVERY: u64 = 8 << 20;
/// Dirty bytes at which a flush begins.
const FLUSH_AT: u64 = 32 << 20;
/// Dirty bytes at which writing waits for the flush.
const DIRTY_MAX: u64 = 64 << 20;

/// A file that is being filled.
#[derive(Debug)]
pub struct Partial {
    file: File,
    path: PathBuf,
    partials: PathBuf,
    remote: RemoteFile,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    journal: Journal,
    unjournaled: u64,
    dirty: u64,
    /// Nothing more will be written.
    closed: bool,
    /// Why writing or flushing is over.
    failure: Option<Error>,
}

impl Partial {
    /// Opens what an earlier run left, or creates the file. Disk space is taken at once where the
    /// file system can do that, so that a full disk shows before the download, not after it.
    pub fn open(partials: &Path, remote: &RemoteFile, repo: &RepoId) -> Result<Self, Error> {
        disk::create_dir(partials)?;
        let path = Journal::partial_path(partials, remote);
        let io = |action| Error::io(action, &path);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(io("open"))?;
        let length = file.metadata().map_err(io("look at"))?.len();
        let journal = Journal::read(partials, remote, length)?;
        if journal.is_none() || length > remote.size {
            file.set_len(0).map_err(io("truncate"))?;
        }
        allocate(&file, remote.size).map_err(io("take disk space for"))?;
        let journal = journal.filter(|_| length <= remote.size).unwrap_or_else(|| Journal::new(remote, repo));
        let state = State { journal, unjournaled: 0, dirty: 0, closed: false, failure: None };
        Ok(Self {
            file,
            path,
            partials: partials.into(),
            remote: remote.clone(),
            state: Mutex::new(state),
            changed: Condvar::new(),
        })
    }

    /// The file it will become.
    pub fn remote(&self) -> &RemoteFile {
        &self.remote
    }

    /// Where the bytes are.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The open file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Bytes that are there.
    pub fn written(&self) -> u64 {
        self.lock().journal.written.bytes()
    }

    /// What is to be fetched.
    pub fn missing(&self) -> RangeSet {
        self.lock().journal.written.missing(self.remote.size)
    }

    /// Writes bytes at their place, and every now and then the journal. Bytes that are there
    /// already are never written again: they may have been hashed.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        let end = offset + bytes.len() as u64;
        let fresh = self.lock().journal.written.gaps(offset..end);
        let index = |position: u64| usize::try_from(position - offset).unwrap_or(bytes.len());
        for range in fresh.iter() {
            let part = &bytes[index(range.start)..index(range.end)];
            self.file.write_all_at(part, range.start).map_err(Error::io("write", &self.path))?;
        }
        let mut state = self.lock();
        state.journal.written.insert(offset..end);
        state.unjournaled += fresh.bytes();
        state.dirty += fresh.bytes();
        self.changed.notify_all();
        if state.unjournaled >= JOURNAL_EVERY {
            state.unjournaled = 0;
            state.journal.write(&self.partials, &self.remote, Record::Written)?;
        }
        let must_wait = |state: &State| state.dirty >= DIRTY_MAX && !state.closed && state.failure.is_none();
        while self.is_flushed_meanwhile() && must_wait(&state) {
            state = self.changed.wait(state).expect("nothing panics while it holds the state");
        }
        Ok(())
    }

    /// Whether a file of this size has a thread in [`Partial::flush_behind`].
    pub fn is_flushed_meanwhile(&self) -> bool {
        self.remote.size > DIRTY_MAX
    }

    /// Flushes behind the writer until the file is closed or a flush fails.
    pub fn flush_behind(&self) {
        let mut state = self.lock();
        loop {
            while state.dirty < FLUSH_AT && !state.closed {
                state = self.changed.wait(state).expect("nothing panics while it holds the state");
            }
            if state.closed {
                return;
            }
            let (covered, bytes) = (state.journal.clone(), state.dirty);
            drop(state);
            let flushed = self.file.sync_data().map_err(Error::io("flush", &self.path));
            let recorded =
                flushed.and_then(|()| covered.write(&self.partials, &self.remote, Record::Flushed));
            state = self.lock();
            state.dirty -= bytes;
            self.changed.notify_all();
            if let Err(error) = recorded {
                state.failure = Some(error);
                return;
            }
        }
    }

    /// Waits until there are bytes without a gap beyond `hashed`; says up to where.
    /// `None` once the file is closed.
    pub fn wait_for_prefix(&self, hashed: u64) -> Option<u64> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            let prefix = state.journal.written.prefix();
            if prefix > hashed {
                return Some(prefix);
            }
            state = self.changed.wait(state).expect("nothing panics while it holds the state");
        }
    }

    /// Tells the threads behind the writer that nothing more comes, and the writer not to wait for
    /// them. Fails if a flush had failed.
    pub fn close(&self) -> Result<(), Error> {
        let mut state = self.lock();
        state.closed = true;
        self.changed.notify_all();
        state.failure.take().map_or(Ok(()), Err)
    }

    /// Records what is there, for the next run. With nothing in it the file goes: it would only
    /// keep disk space from others.
    pub fn save(&self) -> Result<(), Error> {
        let mut state = self.lock();
        state.unjournaled = 0;
        if state.journal.written.is_empty() {
            return self.discard();
        }
        state.journal.write(&self.partials, &self.remote, Record::Written)
    }

    /// Removes the file with its journal.
    pub fn discard(&self) -> Result<(), Error> {
        discard(&self.partials, &self.remote)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds the state")
    }
}

/// Removes the partial file of `remote` with its journal. The records go first: a partial file
/// without one is not believed.
pub fn discard(partials: &Path, remote: &RemoteFile) -> Result<(), Error> {
    for record in Record::ALL {
        disk::remove(&Journal::path(partials, remote, record))?;
    }
    disk::remove(&Journal::partial_path(partials, remote))
}

/// Takes the disk space of `size` bytes and makes the file that long. NFS before 4.2, some FUSE
/// file systems and old kernels cannot take space beforehand; there the length alone is set.
fn allocate(file: &File, size: u64) -> std::io::Result<()> {
    use rustix::io::Errno;
    if size == 0 {
        return file.set_len(0);
    }
    loop {
        return match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, size) {
            Ok(()) => Ok(()),
            Err(Errno::INTR) => continue,
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => file.set_len(size),
            Err(why) => Err(why.into()),
        };
    }
}
