//! Parts of older files on this disk, copied to where a new one has the same bytes.
//!
//! Where the file system may share blocks, or has its server copy (btrfs, xfs, NFS 4.2), it is asked to: that costs no
//! byte, and the hash reads them later. Elsewhere bytes are read into the blocks that all bytes in file order pass through,
//! to the hash and past the page cache to the disk at the same time. Nor do they stay there when they are read: whoever needs
//! the new version needs the old one no more.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::copy_file_range;
use rustix::io::Errno;

use super::block::{ALIGNMENT, Block, length};
use super::partial::Partial;
use crate::content::RangeSet;
use crate::content::xet::Copy;
use crate::disk::{self, Identity, Stat};
use crate::error::Error;
use crate::words::chain;

/// Bytes copied between two looks at whether to go on, and the boundary at which such a piece ends: blocks are shared as
/// a whole, where both files have them at their boundaries.
const PIECE: u64 = 8 << 20;
/// Bytes read at a time where the file system does not copy.
const BUFFER: usize = 256 << 10;

/// An older file, open for as long as it is needed: another version may get its name meanwhile.
#[derive(Debug, Clone)]
pub struct Original {
    file: Arc<File>,
    path: PathBuf,
    identity: Identity,
}

impl Original {
    /// `path` is its name in messages.
    pub(super) fn new(file: File, path: PathBuf, identity: Identity) -> Self {
        Self { file: Arc::new(file), path, identity }
    }

    /// Where it is, or was.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Fails, in words, if it is not what it was when it was opened.
    pub fn check_unchanged(&self) -> Result<(), String> {
        let is_same = Stat::of(&*self.file).is_ok_and(|stat| stat.identity.is_as_old(&self.identity));
        if is_same { Ok(()) } else { Err(format!("`{}` changed while it was copied", self.path.display())) }
    }

    /// Reads on into a block, up to its end, or `most` bytes. The error says in words why it cannot be read.
    pub(crate) fn read_into(&self, block: &mut Block, from: u64, most: u64) -> Result<(), String> {
        let mut left = most;
        while left > 0 && !block.is_full() {
            let at = from + (most - left);
            match block.append_read(left, |memory| disk::read_once(&self.file, memory, at)) {
                Ok(0) => return Err(format!("`{}` ends at byte {at}", self.path.display())),
                Ok(read) => left -= read as u64,
                Err(cause) if cause.kind() == std::io::ErrorKind::Interrupted => {}
                Err(cause) => return Err(chain(&Error::io("read", &self.path)(cause))),
            }
        }
        Ok(())
    }

    /// Whether what lies at these places of two files may come to share blocks: both lie alike between the boundaries of
    /// blocks.
    fn may_share(&self, copy: &Copy) -> bool {
        copy.to.start % ALIGNMENT == copy.from % ALIGNMENT && disk::may_share_blocks(&self.file)
    }
}

/// What of a file is in older ones.
#[derive(Debug, Clone)]
pub struct Originals {
    /// The older files.
    pub files: Vec<Original>,
    /// What to copy from them, ascending.
    pub copies: Vec<Copy>,
}

impl Originals {
    /// The ranges of the new file.
    pub fn ranges(&self) -> RangeSet {
        let mut ranges = RangeSet::default();
        for copy in &self.copies {
            ranges.insert(copy.to.clone());
        }
        ranges
    }

    /// What the file system may copy by sharing blocks, and the rest.
    pub fn split(self) -> (Self, Self) {
        let (shared, rest) =
            self.copies.into_iter().partition(|copy| self.files[copy.original].may_share(copy));
        (Self { files: self.files.clone(), copies: shared }, Self { files: self.files, copies: rest })
    }

    /// Only what is in `ranges`.
    #[must_use]
    pub fn within(&self, ranges: &RangeSet) -> Self {
        let mut copies = Vec::new();
        for copy in &self.copies {
            let mut outside = RangeSet::default();
            outside.insert(copy.to.clone());
            outside.remove_all(ranges);
            for to in outside.gaps(copy.to.clone()).iter() {
                copies.push(Copy {
                    to: to.clone(),
                    from: copy.from + (to.start - copy.to.start),
                    ..copy.clone()
                });
            }
        }
        Self { files: self.files.clone(), copies }
    }
}

/// Why copying ended before its end.
#[derive(Debug)]
pub enum Broken {
    /// What is left has to come from elsewhere: an original cannot be read, or is not what it was.
    Original(String),
    /// The new file cannot be written.
    Failed(Error),
}

impl From<Error> for Broken {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Has the file system copy what nobody else has brought, to its end or until the file is closed. `heard` is told of each
/// piece that is there. Blocks the thread.
pub fn share(
    partial: &Partial,
    originals: &Originals,
    heard: &dyn Fn(&Original, Range<u64>),
) -> Result<(), Broken> {
    for Copy { to, original, from } in &originals.copies {
        let original = &originals.files[*original];
        let mut start = to.start;
        while start < to.end {
            let end = to.end.min((start + 1).next_multiple_of(PIECE));
            for range in partial.claim(start..end).iter() {
                let from = from + (range.start - to.start);
                if let Err(broken) = copy_range(partial, original, from, range) {
                    partial.unclaim(range);
                    return Err(broken);
                }
                partial.note_copied(range.clone())?;
            }
            heard(original, start..end);
            if partial.is_closed() {
                return Ok(());
            }
            start = end;
        }
    }
    Ok(())
}

fn copy_range(partial: &Partial, original: &Original, from: u64, to: &Range<u64>) -> Result<(), Broken> {
    let (mut read_at, mut write_at) = (from, to.start);
    while write_at < to.end {
        let left = length(to.end - write_at);
        match copy_file_range(&*original.file, Some(&mut read_at), partial.file(), Some(&mut write_at), left)
        {
            // It moves both positions.
            Ok(1..) | Err(Errno::INTR) => {}
            // Other file systems, old kernels, the end of the file, and whatever fails: whose fault it is shows here.
            Ok(0) | Err(_) => return read_and_write(partial, original, read_at, write_at..to.end),
        }
    }
    Ok(())
}

fn read_and_write(
    partial: &Partial,
    original: &Original,
    mut from: u64,
    to: Range<u64>,
) -> Result<(), Broken> {
    let mut buffer = vec![0; BUFFER];
    let mut at = to.start;
    while at < to.end {
        let wanted = buffer.len().min(length(to.end - at));
        match disk::read_once(&original.file, &mut buffer[..wanted], from) {
            Ok(0) => {
                return Err(Broken::Original(format!("`{}` ends at byte {from}", original.path.display())));
            }
            Ok(read) => {
                let written = partial.file().write_all_at(&buffer[..read], at);
                written.map_err(Error::io("write", partial.path()))?;
                (at, from) = (at + read as u64, from + read as u64);
            }
            Err(cause) if cause.kind() == std::io::ErrorKind::Interrupted => {}
            Err(cause) => {
                return Err(Broken::Original(chain(&Error::io("read", &original.path)(cause))));
            }
        }
    }
    Ok(())
}
