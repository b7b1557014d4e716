//! A partial file as it is found on the disk, and the disk space it takes.

use std::fs::File;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::journal::{Journal, Partials, Record};
use crate::content::RangeSet;
use crate::disk::Stat;
use crate::error::Error;
use crate::plan::WantedFile;
use crate::request::RepoId;

/// Why a file that is open for writing may not be made longer, nor be written from its middle.
const STREAM: &str = "the volume takes a file only from its first byte to its last: mount it with a cache for writes (rclone: --vfs-cache-mode writes), or fetch to another volume and copy";

/// A partial file with what is known about it.
pub(super) struct Opened {
    pub(super) file: File,
    pub(super) journal: Journal,
    /// What was written, and is not known to be flushed.
    pub(super) buffered: RangeSet,
}

/// Opens what an earlier run left, or creates the file. Disk space is taken at once where the file system can do
/// that, so that a full disk shows before the download, not after it.
pub(super) fn open(partials: &Partials, wanted: &WantedFile, repo: &RepoId) -> Result<Opened, Error> {
    let opened = reopen(partials, wanted)?.map_or_else(|| create(partials, wanted, repo), Ok)?;
    let path = partials.dir.join(&wanted.content.key().to_string());
    allocate(&opened.file, wanted.size()).map_err(Error::io("take disk space for", path))?;
    Ok(opened)
}

/// A partial file with nothing in it, in the place of what an earlier run left.
fn create(partials: &Partials, wanted: &WantedFile, repo: &RepoId) -> Result<Opened, Error> {
    partials.discard(&wanted.content)?;
    let file = partials.dir.create_file(&wanted.content.key().to_string())?;
    Ok(Opened { file, journal: Journal::new(wanted, repo), buffered: RangeSet::default() })
}

/// What an earlier run left, if there is something to go on with.
fn reopen(partials: &Partials, wanted: &WantedFile) -> Result<Option<Opened>, Error> {
    let name = wanted.content.key().to_string();
    let Some(file) = reusable(partials, &name)? else { return Ok(None) };
    let length = file.metadata().map_err(Error::io("look at", partials.dir.join(&name)))?.len();
    let journal = Journal::read(&partials.dir, &wanted.content, length)?;
    let Some(journal) = journal.filter(|_| length <= wanted.size()) else { return Ok(None) };
    let mut buffered = journal.written.clone();
    if let Some(mut flushed) = Journal::read_record(&partials.dir, &name, Record::Flushed)? {
        buffered.remove_all(&flushed.written);
        // Bytes that were doubted, or not worth keeping: others will be in their place, which no flush has covered.
        let mut gone = flushed.written.clone();
        gone.remove_all(&journal.written);
        if !gone.is_empty() {
            flushed.written.remove_all(&gone);
            flushed.write(partials, &wanted.content, Record::Flushed)?;
        }
    }
    Ok(Some(Opened { file, journal, buffered }))
}

/// What is there under `name`, if it can be gone on with. A file that somebody else may still write to is
/// not: one with a second name, and one of another user in a folder that everybody may write to. In one
/// that a group shares its members trust each other.
fn reusable(partials: &Partials, name: &str) -> Result<Option<File>, Error> {
    let file = match partials.dir.file_to_write(name) {
        Ok(Some(file)) => file,
        Ok(None) => return Ok(None),
        Err(Error::Io { cause, .. }) if cause.kind() == std::io::ErrorKind::PermissionDenied => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let look = || Ok((Stat::of(&file)?, Stat::of(&partials.dir)?));
    let (stat, dir) = look().map_err(Error::io("look at", partials.dir.join(name)))?;
    let is_own = stat.uid == rustix::process::geteuid().as_raw();
    let is_open_to_all = (stat.mode | dir.mode) & 0o002 != 0;
    Ok((stat.links == 1 && (is_own || !is_open_to_all)).then_some(file))
}

/// Frees the disk space of all but `written`, where the file system can do that in the middle of a file.
pub(super) fn give_back(file: &File, written: &RangeSet) -> std::io::Result<()> {
    let end = written.end();
    for gap in written.missing(end).iter() {
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        // Without holes the gaps stay taken; they count as space that the partial file has already.
        if rustix::fs::fallocate(file, hole, gap.start, gap.end - gap.start).is_err() {
            break;
        }
    }
    file.set_len(end)
}

/// Takes the disk space of `size` bytes and makes the file that long. NFS before 4.2, some FUSE
/// file systems and old kernels cannot take space beforehand; there the length alone is set.
pub(super) fn allocate(file: &File, size: u64) -> std::io::Result<()> {
    take(file, size).map_err(|why| {
        // Nobody may refuse that to who has the file open for writing: it is a mount that passes bytes on as they come.
        let is_stream = why.raw_os_error() == Some(Errno::PERM.raw_os_error());
        if is_stream { std::io::Error::new(std::io::ErrorKind::Unsupported, STREAM) } else { why }
    })
}

fn take(file: &File, size: u64) -> std::io::Result<()> {
    if size == 0 {
        return file.set_len(0);
    }
    loop {
        return match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, size) {
            Ok(()) => Ok(()),
            Err(Errno::INTR) => continue,
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::PERM) => file.set_len(size),
            Err(why) => Err(why.into()),
        };
    }
}
