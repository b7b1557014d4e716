//! What the operating system knows about files: space, durability, identity.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// What tells a file apart from a changed one without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Bytes.
    pub size: u64,
    /// Modification time in nanoseconds since the epoch.
    pub mtime_ns: i64,
    /// Inode number.
    pub inode: u64,
}

impl Identity {
    /// Of an open file or a path's metadata.
    pub fn of(metadata: &Metadata) -> Self {
        Self {
            size: metadata.len(),
            mtime_ns: metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec()),
            inode: metadata.ino(),
        }
    }
}

/// Metadata of a regular file, following links; `None` if nothing is there. Something there that
/// is no file is an error, because nothing could be published over it.
pub fn regular_file(path: &Path) -> Result<Option<Metadata>, Error> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => Ok(Some(metadata)),
        Ok(_) => Err(Error::Io {
            action: "publish over",
            path: path.into(),
            cause: std::io::Error::from(std::io::ErrorKind::IsADirectory),
        }),
        Err(cause) if is_absent(&cause) => Ok(None),
        Err(cause) => Err(Error::io("look at", path)(cause)),
    }
}

fn is_absent(cause: &std::io::Error) -> bool {
    matches!(cause.kind(), std::io::ErrorKind::NotFound)
}

/// Reads a file; `None` if it is not there.
pub fn read_if_present(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(cause) if is_absent(&cause) => Ok(None),
        Err(cause) => Err(Error::io("read", path)(cause)),
    }
}

/// Bytes free for this user on the file system of `path`, or of its nearest existing parent.
pub fn free_bytes(path: &Path) -> Result<u64, Error> {
    let place = existing_ancestor(path);
    let stat = rustix::fs::statvfs(&place)
        .map_err(|why| Error::io("ask for the free space of", place)(why.into()))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

fn existing_ancestor(path: &Path) -> PathBuf {
    let found = path.ancestors().find(|place| !place.as_os_str().is_empty() && place.exists());
    found.unwrap_or(Path::new(".")).into()
}

/// Whether writing past the page cache is known to be the quicker way on this file's file system.
/// Network and FUSE file systems may take it as an order to wait for every single write.
pub fn does_direct_io_well(file: &File) -> bool {
    /// Magic numbers of statfs(2): ext4, xfs.
    const WELL: [i64; 2] = [0xef53, 0x5846_5342];
    rustix::fs::fstatfs(file).is_ok_and(|stat| WELL.contains(&(stat.f_type & 0xffff_ffff)))
}

/// Creates a directory with its parents, and makes the new entries durable.
pub fn create_dir(path: &Path) -> Result<(), Error> {
    // The parent of a bare file name is empty, and is the current directory.
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        create_dir(parent)?;
    }
    match fs::create_dir(path) {
        Ok(()) => sync_dir(path.parent().unwrap_or(path)),
        Err(cause) if cause.kind() == std::io::ErrorKind::AlreadyExists => match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => Ok(()),
            Ok(_) => Err(Error::io("create directory", path)(cause)),
            // It exists, and that it cannot be looked at is what is wrong.
            Err(cause) => Err(Error::io("look at", path)(cause)),
        },
        Err(cause) => Err(Error::io("create directory", path)(cause)),
    }
}

/// Makes the entries of a directory durable. Some network file systems cannot, and say EINVAL.
pub fn sync_dir(dir: &Path) -> Result<(), Error> {
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    match synced {
        Err(cause) if cause.kind() == std::io::ErrorKind::InvalidInput => Ok(()),
        other => other.map_err(Error::io("flush directory", dir)),
    }
}

/// Makes the content of a file durable that someone else wrote.
pub fn sync_file(path: &Path) -> Result<(), Error> {
    File::open(path).and_then(|file| file.sync_all()).map_err(Error::io("flush", path))
}

/// How a small file is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Survives a killed process.
    Process,
    /// Survives a power cut.
    Power,
}

/// Replaces a small file as a whole: readers see the old or the new content.
pub fn replace(path: &Path, content: &[u8], durability: Durability) -> Result<(), Error> {
    let dir = path.parent().unwrap_or(Path::new("."));
    create_dir(dir)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    let temporary = dir.join(name);
    let write = || {
        let mut file = File::create(&temporary)?;
        file.write_all(content)?;
        if durability == Durability::Power {
            file.sync_all()?;
        }
        fs::rename(&temporary, path)
    };
    write().map_err(Error::io("write", path))?;
    if durability == Durability::Power { sync_dir(dir) } else { Ok(()) }
}

/// The paths of what is in a directory; none if it is not there.
pub fn entries(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = match fs::read_dir(dir) {
        Err(cause) if is_absent(&cause) => return Ok(Vec::new()),
        entries => entries.map_err(Error::io("list", dir))?,
    };
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    paths.collect::<std::io::Result<_>>().map_err(Error::io("list", dir))
}

/// Removes a file that may already be gone.
pub fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(cause) if !is_absent(&cause) => Err(Error::io("remove", path)(cause)),
        _ => Ok(()),
    }
}

/// Proves that `dir` can be written: creates it, and a file in it.
pub fn probe(dir: &Path) -> Result<(), Error> {
    create_dir(dir)?;
    // Others may be probing at the same time.
    let path = dir.join(format!("probe-{:x}.tmp", fastrand::u64(..)));
    let written = OpenOptions::new().write(true).create_new(true).open(&path);
    let written = written.and_then(|mut file| file.write_all(&[0; 512]));
    let removed = remove(&path);
    written.map_err(Error::io("write to directory", dir))?;
    removed
}

/// Changes with every start of the machine: what was only in the page cache before is gone.
/// Empty where the kernel does not tell, which equals no other boot.
pub fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}
