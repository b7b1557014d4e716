use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags};

use super::Dir;
use crate::error::Error;

/// Bytes free for this user, where the file system tells.
pub type Space = Option<u64>;

/// Bytes free on the file system of `path`, or of its nearest existing parent. Some FUSE file systems do not
/// tell, or say that they have no blocks at all.
pub fn free_bytes(path: &Path) -> Space {
    space(rustix::fs::statvfs(existing_ancestor(path)))
}

/// Bytes free on the file system of a folder.
pub fn free_bytes_in(dir: &Dir) -> Space {
    space(rustix::fs::fstatvfs(dir))
}

fn space(told: rustix::io::Result<rustix::fs::StatVfs>) -> Space {
    let stat = told.ok()?;
    (stat.f_blocks > 0).then(|| stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Fails if this user could not make `path`, which is not there, in its nearest existing parent. Changes nothing.
pub fn may_make(path: &Path) -> Result<(), Error> {
    let parent = existing_ancestor(path);
    if !parent.is_dir() {
        return Err(Error::io("create directory", path)(ErrorKind::NotADirectory.into()));
    }
    let rights = Access::WRITE_OK | Access::EXEC_OK;
    rustix::fs::accessat(rustix::fs::CWD, &parent, rights, AtFlags::EACCESS)
        .map_err(|why| Error::io("write to directory", parent)(why.into()))
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

/// Whether copying within this file's file system may cost no byte: it can share blocks between files, or has a server
/// that copies.
pub fn may_share_blocks(file: &File) -> bool {
    /// Magic numbers of statfs(2): xfs, btrfs, bcachefs, NFS, SMB.
    const SHARING: [i64; 5] = [0x5846_5342, 0x9123_683e, 0xca45_1a4e, 0x6969, 0xff53_4d42];
    rustix::fs::fstatfs(file).is_ok_and(|stat| SHARING.contains(&(stat.f_type & 0xffff_ffff)))
}

/// Whether all processes that can see this directory run under this kernel.
pub fn is_local(dir: &Dir) -> bool {
    /// Magic numbers of statfs(2): ext, xfs, btrfs, tmpfs, overlayfs, f2fs, zfs, bcachefs.
    const LOCAL: [i64; 8] =
        [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994, 0x794c_7630, 0xf2f5_2010, 0x2fc1_2fc1, 0xca45_1a4e];
    rustix::fs::fstatfs(dir).is_ok_and(|stat| LOCAL.contains(&(stat.f_type & 0xffff_ffff)))
}
