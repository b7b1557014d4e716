//! Step 5, verify: the digest of the bytes on disk.
//!
//! Only this module can make a [`Verified`], and only a [`Verified`] can be published.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};

use tokio::task::spawn_blocking;

use super::partial::{Partial, Piece};
use crate::content::{Hasher, Mismatch, gguf};
use crate::error::Error;
use crate::plan::WantedFile;
use crate::report::{Event, PROGRESS_EVERY, Progress, Reporter};
use crate::request::{RepoPath, shard_set};
use crate::stop::Stop;

/// Small enough for the CPU's cache, large enough that system calls do not count.
const READ_SIZE: usize = 256 << 10;

/// A complete partial file whose bytes hash to what was announced.
#[derive(Debug)]
pub struct Verified(Arc<Partial>);

impl Verified {
    /// The file.
    pub fn remote(&self) -> &WantedFile {
        self.0.remote()
    }

    /// Where its bytes are.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Makes its bytes durable.
    pub fn sync(&self) -> Result<(), Error> {
        self.0.flush()
    }
}

/// Why a partial file was not verified.
#[derive(Debug)]
pub enum Unverified {
    /// Wrong bytes.
    Mismatch(Mismatch),
    /// It was closed before it was complete.
    Incomplete,
    /// It cannot be read, or is not what its name says.
    Failed(Error),
}

/// Follows the bytes of `partial` while they arrive, in order, up to its end. Blocks; `hashed`
/// shows how far it is.
pub fn follow(partial: Arc<Partial>, hashed: &AtomicU64) -> Result<Verified, Unverified> {
    let remote = partial.remote();
    let mut hashes = Hasher::new(&remote.content);
    let mut position = 0;
    let mut buffer = vec![0; READ_SIZE];
    let hashing = partial.hashing();
    while position < remote.size() {
        match partial.next_to_hash(READ_SIZE as u64).ok_or(Unverified::Incomplete)? {
            Piece::Memory(block) => {
                hashes.update(block.bytes());
                position = block.end();
            }
            Piece::Disk(range) => {
                let bytes = &mut buffer[..usize::try_from(range.end - range.start).unwrap_or(READ_SIZE)];
                let read = partial.file().read_exact_at(bytes, range.start);
                read.map_err(|cause| Unverified::Failed(Error::io("read", partial.path())(cause)))?;
                hashes.update(bytes);
                position = range.end;
            }
        }
        hashed.store(position, Ordering::Relaxed);
    }
    drop(hashing);
    hashes.finish().map_err(Unverified::Mismatch)?;
    // What was hashed from memory may still be on its way to the disk.
    if !partial.wait_until_written() {
        return Err(Unverified::Incomplete);
    }
    check_content(partial.file(), partial.path(), remote).map_err(Unverified::Failed)?;
    Ok(Verified(partial))
}

/// Hashes a file that is already at its final name, and shows how far it is.
pub async fn hash_shown(
    path: &Path,
    remote: &WantedFile,
    reporter: &dyn Reporter,
    stop: &Stop,
) -> Result<Result<(), Mismatch>, Error> {
    let size = remote.size();
    reporter.report(&Event::Started { path: &remote.path, size, resumed: 0, hash_only: true });
    let hashed = Arc::new(AtomicU64::new(0));
    let mut task = spawn_blocking({
        let (path, remote) = (path.to_owned(), remote.clone());
        let (hashed, stop) = (Arc::clone(&hashed), stop.clone());
        move || hash(&path, &remote, &hashed, &stop)
    });
    let mut ticks = tokio::time::interval(PROGRESS_EVERY);
    loop {
        tokio::select! {
            result = &mut task => return result?,
            _ = ticks.tick() => reporter.report(&Event::Progress(&Progress {
                path: &remote.path,
                size,
                on_disk: size,
                hashed: hashed.load(Ordering::Relaxed),
                received: 0,
                connections: 0,
            })),
        }
    }
}

fn hash(
    path: &Path,
    remote: &WantedFile,
    hashed: &AtomicU64,
    stop: &Stop,
) -> Result<Result<(), Mismatch>, Error> {
    let file = File::open(path).map_err(Error::io("open", path))?;
    let mut hashes = Hasher::new(&remote.content);
    std::thread::scope(|scope| {
        let (ahead, read) = sync_channel(2);
        scope.spawn(move || read_ahead(&file, &ahead));
        for bytes in read {
            stop.check("hashing files")?;
            let bytes: Vec<u8> = bytes.map_err(Error::io("read", path))?;
            hashes.update(&bytes);
            hashed.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
        Ok(hashes.finish())
    })
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

/// The digest was right; now the name must not promise another kind of file.
fn check_content(file: &File, path: &Path, remote: &WantedFile) -> Result<(), Error> {
    if !gguf::is_named(remote.path.file_name()) {
        return Ok(());
    }
    let file = file.try_clone().map_err(Error::io("read", path))?;
    let start = Start { file, position: 0 };
    gguf::check(shards_named(&remote.path), std::io::BufReader::new(start))
        .map_err(|why| Error::NotGguf { path: remote.path.clone(), why })
}

fn shards_named(path: &RepoPath) -> Option<u64> {
    shard_set(path).ok().flatten().map(|set| set.len() as u64)
}

/// Reads a file from its start without moving the position it shares with others.
struct Start {
    file: File,
    position: u64,
}

impl std::io::Read for Start {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.file.read_at(buffer, self.position)?;
        self.position += length as u64;
        Ok(length)
    }
}
