//! What the operating system knows about files: folders held by handle, atomic replacement, space.
//!
//! Below a folder that the user named nothing is reached by a path: each part is opened by the handle of the
//! one above, and no link is followed. So nobody who may write there can lead this program elsewhere.

mod dir;
mod once;
mod space;

use std::path::Path;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::error::Error;

pub use dir::{Access, Dir, Durability, Kind, Stat};
pub use once::read_once;
pub use space::{
    Space, does_direct_io_well, free_bytes, free_bytes_in, is_local, may_make, may_share_blocks,
};

/// What tells a file apart from a changed one without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Bytes.
    pub size: u64,
    /// Modification time in nanoseconds since the epoch.
    pub mtime_ns: i64,
    /// Inode number.
    pub inode: u64,
    /// Time of the last change of the inode, in nanoseconds since the epoch: nobody can put it back. It
    /// changes with owner and mode too, so that another one alone means "hash again".
    pub ctime_ns: i64,
}

impl Identity {
    /// Whether both are of one unchanged file. Where a volume numbers inodes anew at each mount (some FUSE, SMB, and NFS
    /// without lasting numbers) another number will do if the time of the last change is the same to a fraction of a
    /// second: another file would have another one.
    pub fn is_same(&self, other: &Self) -> bool {
        let is_exact = self.ctime_ns % 1_000_000_000 != 0;
        *self == Self { inode: if is_exact { self.inode } else { other.inode }, ..*other }
    }

    /// Whether both are as long and were modified at the same time.
    pub fn is_as_old(&self, other: &Self) -> bool {
        (self.size, self.mtime_ns) == (other.size, other.mtime_ns)
    }
}

/// Replaces a file that the user named as a whole: readers see the old or the new content. A link at that
/// name is replaced, not followed.
pub fn replace(path: &Path, content: &[u8], durability: Durability) -> Result<(), Error> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| Error::io("write", path)(std::io::ErrorKind::InvalidFilename.into()))?;
    let dir = Dir::create(path.parent().unwrap_or(Path::new("")))?;
    dir.replace(&dir, name, content, durability)
}

/// Changes with every start of the machine: what was only in the page cache before is gone.
/// Empty where the kernel does not tell, which equals no other boot.
pub fn boot_id() -> &'static str {
    static BOOT_ID: LazyLock<String> = LazyLock::new(|| {
        let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
        id.map(|id| id.trim().to_owned()).unwrap_or_default()
    });
    &BOOT_ID
}
