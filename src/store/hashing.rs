//! The digest of the bytes on disk. Only this file makes a [`Proof`], and nothing is published or gets a
//! receipt without one.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};

use tokio::sync::Semaphore;

use super::partial::{Partial, Piece};
use super::receipt::Receipt;
use crate::content::look::{Look, Strange};
use crate::content::{Content, Hasher, Mismatch, kind};
use crate::disk::{Identity, Stat};
use crate::error::Error;
use crate::plan::WantedFile;
use crate::report::{Event, PROGRESS_EVERY, Progress, Reporter};
use crate::request::{Recheck, RepoPath, Shard};
use crate::stop::Stop;

/// Small enough for the CPU's cache, large enough that system calls do not count.
const READ_SIZE: usize = 256 << 10;

/// That the file with this identity holds this content: its bytes were hashed as they were read from the
/// descriptor of which the identity was taken, or on their way into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof {
    content: Content,
    identity: Identity,
}

impl Proof {
    /// What the bytes are.
    pub fn content(&self) -> &Content {
        &self.content
    }

    /// Which file holds them.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What an earlier run proved of a file that is still the same, if that is enough for `wanted`.
    pub(super) fn of_receipt(
        receipt: &Receipt,
        present: &Identity,
        wanted: &Content,
        recheck: Recheck,
    ) -> Option<Self> {
        let content = receipt.content().filter(|_| receipt.covers(present, recheck))?;
        content.proves(wanted).then_some(Self { content, identity: *present })
    }

    /// The same bytes after the file got another name, which moves a time of its inode. `file` is the descriptor that
    /// was hashed: what has another number now is still the same file. Fails if its bytes may have changed.
    fn renewed(&self, file: &File, path: &Path) -> Result<Self, Error> {
        let identity = identity(file, path)?;
        if identity.is_as_old(&self.identity) { Ok(Self { identity, ..*self }) } else { Err(meddled(path)) }
    }

    /// The same where only another name was given. One that cannot be renewed is a proof of the file as it was, and costs
    /// a later run a hash.
    pub(super) fn renewed_if_it_can(&self, file: &File, path: &Path) -> Self {
        self.renewed(file, path).unwrap_or(*self)
    }

    /// The same of a file that was opened anew: it has to be the one that was hashed.
    pub(super) fn renewed_by_name(&self, file: &File, path: &Path) -> Result<Self, Error> {
        let proof = self.renewed(file, path)?;
        if proof.identity.inode == self.identity.inode { Ok(proof) } else { Err(meddled(path)) }
    }
}

/// An open file with the proof of what is in it.
#[derive(Debug)]
pub struct Proven {
    file: File,
    proof: Proof,
    strange: Option<Strange>,
}

impl Proven {
    /// The proof.
    pub fn proof(&self) -> &Proof {
        &self.proof
    }

    /// What it is, if that is not what its name says.
    pub fn strange(&self) -> Option<&Strange> {
        self.strange.as_ref()
    }

    /// Makes the bytes durable that were hashed: somebody else may have written them a moment ago.
    pub(super) fn sync(&self, path: &Path) -> Result<Proof, Error> {
        self.file.sync_all().map_err(Error::io("flush", path))?;
        let proof = self.proof.renewed(&self.file, path)?;
        // Nothing that this program did since then moves that time.
        if proof == self.proof { Ok(proof) } else { Err(meddled(path)) }
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }
}

/// A complete partial file, durable, whose bytes hash to what was announced.
#[derive(Debug)]
pub struct Verified {
    partial: Arc<Partial>,
    proof: Proof,
    strange: Option<Strange>,
}

impl Verified {
    /// What it will be called, and what it holds.
    pub fn wanted(&self) -> &WantedFile {
        self.partial.wanted()
    }

    /// What it is, if that is not what its name says: the user has named its digest all the same.
    pub fn strange(&self) -> Option<&Strange> {
        self.strange.as_ref()
    }

    /// Where its bytes are until it is published, for messages.
    pub fn path(&self) -> PathBuf {
        self.partial.path()
    }

    pub(super) fn partial(&self) -> &Partial {
        &self.partial
    }

    /// The proof as the file is now, at `path`. Fails if somebody else changed it after it was hashed.
    pub(super) fn proof_at(&self, path: &Path) -> Result<Proof, Error> {
        self.proof.renewed(self.partial.file(), path)
    }
}

/// Why a file was not verified.
#[derive(Debug)]
pub enum Unverified {
    /// Wrong bytes.
    Mismatch(Mismatch),
    /// Its first bytes, so many of them, cannot be those of what its name says, whatever follows.
    Strange {
        /// What it is.
        strange: Strange,
        /// How many bytes were looked at.
        seen: u64,
    },
    /// It was closed before it was complete.
    Incomplete,
    /// It cannot be read, or is not what its name says.
    Failed(Error),
}

/// A file that is there is not the content it should be.
#[derive(Debug, Clone, Copy)]
pub enum Unlike {
    /// It is longer or shorter, in bytes.
    Length {
        /// What it has.
        found: u64,
        /// What it should have.
        wanted: u64,
    },
    /// Its bytes are others.
    Digest(Mismatch),
}

impl fmt::Display for Unlike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { found, wanted } => write!(f, "it has {found} bytes, should have {wanted}"),
            Self::Digest(Mismatch { expected, computed }) => {
                write!(f, "its digest is {computed}, should be {expected}")
            }
        }
    }
}

/// The error for a file that somebody else changed while this program relied on it.
pub(super) fn meddled(path: &Path) -> Error {
    Error::Meddled { path: path.into() }
}

fn identity(file: &File, path: &Path) -> Result<Identity, Error> {
    Ok(Stat::of(file).map_err(Error::io("look at", path))?.identity)
}

/// Follows the bytes of `partial` while they arrive, in order, up to its end. Blocks; `hashed`
/// shows how far it is.
pub(super) fn follow(partial: Arc<Partial>, hashed: &AtomicU64) -> Result<Verified, Unverified> {
    let wanted = partial.wanted();
    let mut hasher = Hasher::new(&wanted.content);
    let mut position = 0;
    let mut buffer = vec![0; READ_SIZE.min(usize::try_from(wanted.size()).unwrap_or(READ_SIZE))];
    let mut look = look_at(wanted);
    let mut strange = None;
    // Of what is all there the digest says more.
    let may_end_early = !partial.is_vouched_for() && !partial.missing().is_empty();
    let hashing = partial.hashing();
    while position < wanted.size() {
        match partial.next_to_hash(READ_SIZE as u64).ok_or(Unverified::Incomplete)? {
            Piece::Memory(block) => {
                hasher.update(block.bytes());
                position = block.end();
                look_on(&mut look, &mut strange, block.bytes());
            }
            Piece::Disk(range) => {
                let bytes = &mut buffer[..usize::try_from(range.end - range.start).unwrap_or(READ_SIZE)];
                let read = partial.file().read_exact_at(bytes, range.start);
                read.map_err(|cause| Unverified::Failed(Error::io("read", partial.path())(cause)))?;
                hasher.update(bytes);
                position = range.end;
                look_on(&mut look, &mut strange, bytes);
            }
        }
        hashed.store(position, Ordering::Relaxed);
        if let Some(strange) = strange.take_if(|_| may_end_early && position < wanted.size()) {
            return Err(Unverified::Strange { strange, seen: position });
        }
    }
    drop(hashing);
    hasher.finish().map_err(Unverified::Mismatch)?;
    // What was hashed from memory may still be on its way to the disk.
    if !partial.wait_until_written() {
        return Err(Unverified::Incomplete);
    }
    let strange = strange.or_else(|| look.end().err());
    if let Some(strange) = strange.as_ref().filter(|_| !partial.is_vouched_for()) {
        return Err(Unverified::Failed(Error::strange(&wanted.path, strange.clone())));
    }
    // Flushed first: some network file systems set the time of the last change when they do that.
    partial.flush().map_err(Unverified::Failed)?;
    let identity = identity(partial.file(), &partial.path()).map_err(Unverified::Failed)?;
    let proof = Proof { content: wanted.content, identity };
    Ok(Verified { partial, proof, strange })
}

/// A look at a file by its name.
fn look_at(wanted: &WantedFile) -> Look {
    let shards = Shard::parse(wanted.path.as_str()).map(|shard| shard.total.into());
    Look::new(wanted.path.file_name(), wanted.size(), shards)
}

/// Lets `look` go on, up to the first thing that is strange.
fn look_on(look: &mut Look, strange: &mut Option<Strange>, bytes: &[u8]) {
    if strange.is_none() && !look.is_over() {
        *strange = look.feed(bytes).err();
    }
}

/// Hashes files that are there already, as many at a time as there are cores.
#[derive(Debug)]
pub struct HashQueue(Semaphore);

impl Default for HashQueue {
    fn default() -> Self {
        Self(Semaphore::new(std::thread::available_parallelism().map_or(1, std::num::NonZero::get)))
    }
}

impl HashQueue {
    /// Opens a file and hashes it, and shows how far it is; `None` if there is no regular file. `path` is for
    /// messages.
    pub async fn hash(
        &self,
        open: impl FnOnce() -> Result<Option<File>, Error> + Send + 'static,
        path: PathBuf,
        wanted: &WantedFile,
        reporter: &dyn Reporter,
        stop: &Stop,
    ) -> Result<Option<Result<Proven, Unlike>>, Error> {
        let turn = async { Ok(self.0.acquire().await.expect("nobody closes the queue")) };
        let _turn = stop.or("hashing files", turn).await?;
        let Some(file) = stop.or_blocking("hashing files", open).await? else { return Ok(None) };
        let size = wanted.size();
        reporter.report(&Event::Started { path: &wanted.path, size, resumed: 0, hash_only: true });
        let hashed = Arc::new(AtomicU64::new(0));
        let work = stop.or_blocking("hashing files", {
            let (wanted, hashed, stop) = (wanted.clone(), Arc::clone(&hashed), stop.clone());
            move || hash(file, &path, &wanted, &hashed, &stop)
        });
        let mut work = std::pin::pin!(work);
        let mut ticks = tokio::time::interval(PROGRESS_EVERY);
        loop {
            tokio::select! {
                result = &mut work => return result.map(Some),
                _ = ticks.tick() => reporter.report(&Event::Progress(&Progress {
                    path: &wanted.path,
                    size,
                    on_disk: size,
                    hashed: hashed.load(Ordering::Relaxed),
                    received: 0,
                    copied: 0,
                    connections: 0,
                })),
            }
        }
    }
}

fn hash(
    file: File,
    path: &Path,
    wanted: &WantedFile,
    hashed: &AtomicU64,
    stop: &Stop,
) -> Result<Result<Proven, Unlike>, Error> {
    let content = &wanted.content;
    // There are volumes (rclone) that give a file another time when it is read for the first time.
    file.read_at(&mut [0], 0).map_err(Error::io("read", path))?;
    let before = identity(&file, path)?;
    if before.size != content.size() {
        return Ok(Err(Unlike::Length { found: before.size, wanted: content.size() }));
    }
    let mut hasher = Hasher::new(content);
    let all_read: Result<(), Error> = std::thread::scope(|scope| {
        let (ahead, read) = sync_channel(2);
        let source = &file;
        scope.spawn(move || read_ahead(source, &ahead));
        for bytes in read {
            stop.check("hashing files")?;
            let bytes: Vec<u8> = bytes.map_err(Error::io("read", path))?;
            hasher.update(&bytes);
            hashed.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
        Ok(())
    });
    all_read?;
    if let Err(mismatch) = hasher.finish() {
        return Ok(Err(Unlike::Digest(mismatch)));
    }
    // Of a model that somebody else put here only what is certain: it may be newer than this program.
    let strange = strange_start(&file, path, &wanted.path)?;
    // What was read first may be something else by now.
    if identity(&file, path)? != before {
        return Err(meddled(path));
    }
    Ok(Ok(Proven { file, proof: Proof { content: *content, identity: before }, strange }))
}

/// Reads a file while another thread hashes what was read before. Ends when nobody listens any more.
fn read_ahead(file: &File, ahead: &SyncSender<std::io::Result<Vec<u8>>>) {
    let mut position = 0;
    loop {
        let mut bytes = vec![0; READ_SIZE];
        let read = match file.read_at(&mut bytes, position) {
            Ok(0) => return,
            Ok(length) => {
                position += length as u64;
                bytes.truncate(length);
                Ok(bytes)
            }
            Err(cause) if cause.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(cause) => Err(cause),
        };
        let failed = read.is_err();
        if ahead.send(read).is_err() || failed {
            return;
        }
    }
}

/// What a file is, if that is a pointer or a page under the name of something else.
fn strange_start(file: &File, at: &Path, path: &RepoPath) -> Result<Option<Strange>, Error> {
    let mut start = Vec::new();
    Start { file, position: 0 }
        .take(kind::START as u64)
        .read_to_end(&mut start)
        .map_err(Error::io("read", at))?;
    let checked = kind::check(path.file_name(), &start);
    Ok(checked.err().map(|why| Strange { is_gguf: false, why }))
}

/// Reads a file from its start without moving the position it shares with others.
struct Start<'a> {
    file: &'a File,
    position: u64,
}

impl std::io::Read for Start<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.file.read_at(buffer, self.position)?;
        self.position += length as u64;
        Ok(length)
    }
}
