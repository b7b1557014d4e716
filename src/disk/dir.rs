//! A folder, held by its handle.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::Identity;
use crate::error::Error;

/// How the name of a temporary file begins; 32 hex digits follow.
const TEMPORARY: &str = "tmp-";
/// What every open here has in common: no link is followed, no FIFO waited for.
const SAFELY: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::CLOEXEC).union(OFlags::NOCTTY);

/// How long it takes until a file can be opened under a new name, at most, and how often that is tried.
const CLOSING: [Duration; 4] = [
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_millis(800),
    Duration::from_secs(2),
];

/// An open folder. What is in it is reached by this handle, whatever happens to its name meanwhile.
#[derive(Debug, Clone)]
pub struct Dir {
    handle: Arc<OwnedFd>,
    /// For messages.
    path: PathBuf,
}

/// How a small file is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Survives a killed process.
    Process,
    /// Survives a power cut.
    Power,
}

/// Who may open a new file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Who may write to its folder: the owner, and the group where that may.
    Writers,
    /// Those to read and write it, and as far as the umask lets them all others to read it.
    All,
}

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A folder.
    Dir,
    /// A link, FIFO, socket or device.
    Other,
}

/// What is known of a name without opening it.
#[derive(Debug, Clone, Copy)]
pub struct Stat {
    /// What it stands for.
    pub kind: Kind,
    /// Tells the file apart from a changed one.
    pub identity: Identity,
    /// Device of the file system.
    pub device: u64,
    /// Number of names.
    pub links: u64,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits.
    pub mode: u32,
    /// Bytes of disk space taken.
    pub allocated: u64,
}

impl Stat {
    /// Whether both are of one inode.
    pub fn is_same_file(&self, other: &Self) -> bool {
        (self.device, self.identity.inode) == (other.device, other.identity.inode)
    }

    /// Of an open file or folder.
    pub fn of(file: impl AsFd) -> io::Result<Self> {
        Ok(Self::from(rustix::fs::fstat(file)?))
    }
}

impl From<rustix::fs::Stat> for Stat {
    #[allow(
        clippy::unnecessary_cast,
        clippy::cast_lossless,
        reason = "the widths differ between architectures"
    )]
    fn from(stat: rustix::fs::Stat) -> Self {
        let nanoseconds = |seconds: i64, rest: u64| {
            seconds.saturating_mul(1_000_000_000).saturating_add(rest.try_into().unwrap_or_default())
        };
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Dir,
            _ => Kind::Other,
        };
        Self {
            kind,
            identity: Identity {
                size: u64::try_from(stat.st_size).unwrap_or_default(),
                mtime_ns: nanoseconds(stat.st_mtime as i64, stat.st_mtime_nsec as u64),
                inode: stat.st_ino as u64,
                ctime_ns: nanoseconds(stat.st_ctime as i64, stat.st_ctime_nsec as u64),
            },
            device: stat.st_dev as u64,
            links: stat.st_nlink as u64,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mode: stat.st_mode & 0o7777,
            allocated: u64::try_from(stat.st_blocks).unwrap_or_default().saturating_mul(512),
        }
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

impl Dir {
    /// Opens a folder that the user named, through whatever links its path has; `None` if it is not there.
    pub fn open(path: &Path) -> Result<Option<Self>, Error> {
        let named = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match retry(|| rustix::fs::open(named, flags, Mode::empty())) {
            Ok(handle) => Ok(Some(Self { handle: Arc::new(handle), path: path.into() })),
            Err(Errno::NOENT) => Ok(None),
            Err(why) => Err(Error::io("open directory", path)(why.into())),
        }
    }

    /// Opens a folder that the user named, or creates it with its parents, durably, each as writable for the group
    /// as the one above.
    pub fn create(path: &Path) -> Result<Self, Error> {
        if let Some(dir) = Self::open(path)? {
            return Ok(dir);
        }
        let parent = Self::create(path.parent().unwrap_or(Path::new("")))?;
        let name = path.file_name().unwrap_or(OsStr::new("."));
        let is_new = match retry(|| rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o777))) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(why) => return Err(Error::io("create directory", path)(why.into())),
        };
        let absent = || Error::io("open directory", path)(io::ErrorKind::NotFound.into());
        let dir = Self::open(path)?.ok_or_else(absent)?;
        if is_new {
            parent.share(&dir, 0o070);
            parent.sync()?;
        }
        Ok(dir)
    }

    /// Its path, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a name in it, for messages.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// A folder below it, by `/` between its parts; `None` if it is not there. Fails if a part is a link.
    pub fn descend(&self, below: &str) -> Result<Option<Self>, Error> {
        let mut dir = self.clone();
        for part in parts(below) {
            match dir.enter(part)? {
                Some(next) => dir = next,
                None => return Ok(None),
            }
        }
        Ok(Some(dir))
    }

    /// A folder below it, or the nearest one above that which is there, with its path from here.
    pub fn nearest(&self, below: &str) -> Result<(Self, String), Error> {
        let (mut dir, mut path) = (self.clone(), Vec::new());
        for part in parts(below) {
            let Some(next) = dir.enter(part)? else { break };
            dir = next;
            path.push(part);
        }
        Ok((dir, path.join("/")))
    }

    /// A folder below it, created with its parents where it is not there, durably. It is as writable for
    /// the group as the folder above: pods of one group share a volume, each with a user of its own.
    pub fn make(&self, below: &str) -> Result<Self, Error> {
        let mut dir = self.clone();
        for part in parts(below) {
            dir = dir.make_one(part)?;
        }
        Ok(dir)
    }

    fn enter(&self, name: &str) -> Result<Option<Self>, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | SAFELY;
        match retry(|| rustix::fs::openat(self, name, flags, Mode::empty())) {
            Ok(handle) => Ok(Some(Self { handle: Arc::new(handle), path: self.path.join(name) })),
            Err(Errno::NOENT) => Ok(None),
            // A link, opened as a folder, is told as "no folder".
            Err(Errno::NOTDIR) if self.stat(name)?.is_some_and(|stat| stat.kind == Kind::Other) => {
                Err(self.error("open directory", name, Errno::LOOP))
            }
            Err(why) => Err(self.error("open directory", name, why)),
        }
    }

    fn make_one(&self, name: &str) -> Result<Self, Error> {
        if let Some(dir) = self.enter(name)? {
            return Ok(dir);
        }
        let is_new = match retry(|| rustix::fs::mkdirat(self, name, Mode::from_raw_mode(0o775))) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(why) => return Err(self.error("create directory", name, why)),
        };
        let dir = self.enter(name)?.ok_or_else(|| self.error("open directory", name, Errno::NOENT))?;
        if is_new {
            self.share(&dir, 0o070);
            self.sync()?;
        }
        Ok(dir)
    }

    /// Gives the group of a new file or folder the rights it has on this one, if it is the same group. Where that is
    /// not allowed it is nobody's fault: the owner can still write.
    fn share(&self, new: impl AsFd, rights: u32) {
        let Ok(own) = Stat::of(self) else { return };
        if own.mode & 0o020 == 0 {
            return;
        }
        if let Ok(stat) = Stat::of(&new)
            && stat.gid == own.gid
            && stat.mode & rights != rights
        {
            let _ = rustix::fs::fchmod(&new, Mode::from_raw_mode(stat.mode | rights));
        }
    }

    /// What is at a name; `None` for nothing.
    pub fn stat(&self, name: &str) -> Result<Option<Stat>, Error> {
        match retry(|| rustix::fs::statat(self, name, AtFlags::SYMLINK_NOFOLLOW)) {
            Ok(stat) => Ok(Some(stat.into())),
            Err(Errno::NOENT) => Ok(None),
            Err(why) => Err(self.error("look at", name, why)),
        }
    }

    /// Opens a regular file to read it; `None` if nothing is there, or something else.
    pub fn file(&self, name: &str) -> Result<Option<File>, Error> {
        Ok(self.regular(name, OFlags::RDONLY)?.map(|(file, _)| file))
    }

    /// Opens a regular file to read and write it; `None` if nothing is there, or something else.
    pub fn file_to_write(&self, name: &str) -> Result<Option<File>, Error> {
        Ok(self.regular(name, OFlags::RDWR)?.map(|(file, _)| file))
    }

    /// Opens a regular file, and tells its length in bytes.
    fn regular(&self, name: &str, access: OFlags) -> Result<Option<(File, u64)>, Error> {
        let file = match self.open_renamed(name, access | SAFELY) {
            Ok(handle) => File::from(handle),
            // Nothing there; a link; a socket, or a FIFO that nobody reads; a folder.
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO | Errno::ISDIR) => return Ok(None),
            Err(why) => return Err(self.error("open", name, why)),
        };
        let stat = Stat::of(&file).map_err(Error::io("look at", self.join(name)))?;
        Ok((stat.kind == Kind::File).then_some((file, stat.identity.size)))
    }

    /// Opens a file that may just have got its name. On SMB the client of Linux cannot open one under its new name as long as
    /// it has not told the server that the old one was closed, which it puts off for a second (`closetimeo`): EINVAL.
    fn open_renamed(&self, name: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let open = || retry(|| rustix::fs::openat(self, name, flags, Mode::empty()));
        for pause in CLOSING {
            match open() {
                Err(Errno::INVAL) => std::thread::sleep(pause),
                done => return done,
            }
        }
        open()
    }

    /// Opens `same`, the file called `name`, once more to write it past the page cache; `None` where the file
    /// system has no such thing.
    pub fn file_past_page_cache(&self, name: &str, same: &File) -> Option<File> {
        let flags = OFlags::WRONLY | OFlags::DIRECT | SAFELY;
        let file = File::from(retry(|| rustix::fs::openat(self, name, flags, Mode::empty())).ok()?);
        Stat::of(&file).ok()?.is_same_file(&Stat::of(same).ok()?).then_some(file)
    }

    /// Reads a small file; `None` if nothing is there, or something that is no file of at most `max` bytes.
    pub fn read(&self, name: &str, max: u64) -> Result<Option<Vec<u8>>, Error> {
        let Some((file, length)) = self.regular(name, OFlags::RDONLY)?.filter(|(_, length)| *length <= max)
        else {
            return Ok(None);
        };
        // Room for one byte more: its end is seen without asking for larger room.
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default() + 1);
        let read = file.take(max + 1).read_to_end(&mut bytes).map_err(Error::io("read", self.join(name)))?;
        Ok((read as u64 <= max).then_some(bytes))
    }

    /// Creates a file that was not there, to be read and written. Fails if anything has that name.
    pub fn create_file(&self, name: &str) -> Result<File, Error> {
        self.try_create(name, Access::All).map_err(|why| self.error("create", name, why))
    }

    /// Creates an empty file, for somebody who has words of his own for a failure.
    pub fn give_name(&self, name: &str) -> io::Result<()> {
        Ok(self.try_create(name, Access::All).map(drop)?)
    }

    fn try_create(&self, name: &str, access: Access) -> Result<File, Errno> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | SAFELY;
        let mode = match access {
            Access::Writers => 0o600,
            Access::All => 0o664,
        };
        let file = retry(|| rustix::fs::openat(self, name, flags, Mode::from_raw_mode(mode)))?;
        self.share(&file, 0o060);
        Ok(file.into())
    }

    /// A name for a temporary file that nobody could know before: 128 random bits.
    pub fn temporary_name() -> Result<String, Error> {
        let mut random = [0; 16];
        let mut filled = 0;
        while filled < random.len() {
            let got = retry(|| {
                rustix::rand::getrandom(&mut random[filled..], rustix::rand::GetRandomFlags::empty())
            });
            filled += got.map_err(|why| Error::Internal(format!("no random numbers: {why}")))?;
        }
        Ok(format!("{TEMPORARY}{:032x}", u128::from_ne_bytes(random)))
    }

    /// Creates a file under a name that nobody could know before.
    pub fn create_temporary(&self, access: Access) -> Result<(String, File), Error> {
        loop {
            let name = Self::temporary_name()?;
            match self.try_create(&name, access) {
                Ok(file) => return Ok((name, file)),
                Err(Errno::EXIST) => {}
                Err(why) => return Err(self.error("write to directory", "", why)),
            }
        }
    }

    /// Whether a name is one that [`Dir::temporary_name`] gives.
    pub fn is_temporary(name: &str) -> bool {
        name.strip_prefix(TEMPORARY).is_some_and(|rest| {
            rest.len() == 32
                && rest.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
        })
    }

    /// Replaces a small file of `target` as a whole, by way of a temporary one in this folder: readers see
    /// the old or the new content. What is there may also be a link or FIFO: that itself is replaced.
    pub fn replace(
        &self,
        target: &Self,
        name: &str,
        content: &[u8],
        durability: Durability,
    ) -> Result<(), Error> {
        let (temporary, mut file) = self.create_temporary(Access::All)?;
        let mut write = || {
            file.write_all(content)?;
            if durability == Durability::Power {
                file.sync_all()?;
            }
            rename(self, &temporary, target, name)
        };
        if let Err(cause) = write() {
            // The failure to write is the one to tell.
            let _ = self.remove(&temporary);
            return Err(Error::io("write", target.join(name))(cause));
        }
        if durability == Durability::Power { target.sync() } else { Ok(()) }
    }

    /// Renames a file, over what is at the new name.
    pub fn rename(&self, name: &str, target: &Self, new: &str) -> Result<(), Error> {
        self.try_rename(name, target, new).map_err(Error::io("publish", target.join(new)))
    }

    /// The same, for somebody who has words of his own for a failure.
    pub fn try_rename(&self, name: &str, target: &Self, new: &str) -> io::Result<()> {
        rename(self, name, target, new)
    }

    /// Fails if the file at a name may not be replaced by this user: the folder is sticky and the file somebody
    /// else's, or the file is immutable. Changes nothing.
    ///
    /// An order to remove it as a folder is refused in every case; but Linux (`may_delete` in fs/namei.c) looks at the
    /// rights first, and no table of rights, capabilities and user namespaces is needed here.
    pub fn may_replace(&self, name: &str) -> Result<(), Error> {
        if self.stat(name)?.is_none_or(|stat| stat.kind == Kind::Dir) {
            return Ok(());
        }
        match retry(|| rustix::fs::unlinkat(self, name, AtFlags::REMOVEDIR)) {
            Err(why @ (Errno::PERM | Errno::ACCESS | Errno::ROFS)) => Err(self.error("replace", name, why)),
            _ => Ok(()),
        }
    }

    /// Creates a folder under a name that nobody could know before.
    pub fn make_temporary(&self) -> Result<(String, Self), Error> {
        let name = Self::temporary_name()?;
        Ok((name.clone(), self.make_one(&name)?))
    }

    /// Removes an empty folder. One that has something in it stays.
    pub fn remove_folder(&self, name: &str) -> Result<(), Error> {
        match retry(|| rustix::fs::unlinkat(self, name, AtFlags::REMOVEDIR)) {
            Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
            Err(why) => Err(self.error("remove", name, why)),
        }
    }

    /// Removes a file with nothing in it; anything else at that name stays.
    pub fn remove_empty(&self, name: &str) -> Result<(), Error> {
        match self.stat(name)? {
            Some(stat) if stat.kind == Kind::File && stat.identity.size == 0 => self.remove(name),
            _ => Ok(()),
        }
    }

    /// Gives an open file another name here, which must be free.
    pub fn link(&self, file: &File, name: &str) -> io::Result<()> {
        use std::os::fd::AsRawFd;
        let magic = format!("/proc/self/fd/{}", file.as_raw_fd());
        Ok(rustix::fs::linkat(rustix::fs::CWD, magic, self, name, AtFlags::SYMLINK_FOLLOW)?)
    }

    /// Makes a symbolic link, whose name must be free.
    pub fn symlink(&self, target: &str, name: &str) -> io::Result<()> {
        Ok(rustix::fs::symlinkat(target, self, name)?)
    }

    /// Where a symbolic link leads; `None` if it is none.
    pub fn read_link(&self, name: &str) -> Option<PathBuf> {
        let target = rustix::fs::readlinkat(self, name, Vec::new()).ok()?;
        Some(PathBuf::from(OsStr::from_bytes(target.to_bytes())))
    }

    /// Removes a name that may already be gone; not a folder.
    pub fn remove(&self, name: &str) -> Result<(), Error> {
        match retry(|| rustix::fs::unlinkat(self, name, AtFlags::empty())) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(why) => Err(self.error("remove", name, why)),
        }
    }

    /// The names in it that are text, with what they stand for, in no order.
    pub fn entries(&self) -> Result<Vec<(String, Kind)>, Error> {
        let io = |why: Errno| Error::io("list", &self.path)(why.into());
        // A handle of its own: the position in the list is shared by all users of one.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = retry(|| rustix::fs::openat(self, ".", flags, Mode::empty())).map_err(io)?;
        let mut entries = Vec::new();
        for entry in rustix::fs::Dir::new(handle).map_err(io)? {
            let entry = entry.map_err(io)?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            if matches!(name, "." | "..") {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::RegularFile => Kind::File,
                FileType::Directory => Kind::Dir,
                FileType::Unknown => match self.stat(name)? {
                    Some(stat) => stat.kind,
                    None => continue,
                },
                _ => Kind::Other,
            };
            entries.push((name.to_owned(), kind));
        }
        Ok(entries)
    }

    /// Makes its entries durable. Some network file systems cannot, and say EINVAL.
    pub fn sync(&self) -> Result<(), Error> {
        match retry(|| rustix::fs::fsync(self)) {
            Ok(()) | Err(Errno::INVAL) => Ok(()),
            Err(why) => Err(Error::io("flush directory", &self.path)(why.into())),
        }
    }

    /// Proves that it can be written: creates a file in it, and removes it.
    pub fn probe(&self) -> Result<(), Error> {
        let (name, mut file) = self.create_temporary(Access::All)?;
        let probed = file.write_all(&[0; 512]);
        // Some FUSE file systems rename what is removed while it is open.
        drop(file);
        let removed = self.remove(&name);
        probed.map_err(Error::io("write to directory", &self.path))?;
        removed
    }

    fn error(&self, action: &'static str, name: &str, why: Errno) -> Error {
        let path = if name.is_empty() { self.path.clone() } else { self.join(name) };
        Error::io(action, path)(why.into())
    }
}

fn rename(from: &Dir, name: &str, to: &Dir, new: &str) -> io::Result<()> {
    Ok(retry(|| rustix::fs::renameat(from, name, to, new))?)
}

fn parts(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|part| !part.is_empty())
}

fn retry<T>(call: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    rustix::io::retry_on_intr(call)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn temporary() -> (tempfile::TempDir, Dir) {
        let place = tempfile::tempdir().expect("a directory");
        let dir = Dir::open(place.path()).expect("opened").expect("there");
        (place, dir)
    }

    #[test]
    fn no_link_is_followed_and_no_fifo_waited_for() {
        let (place, dir) = temporary();
        let outside = tempfile::tempdir().expect("a directory");
        std::fs::write(outside.path().join("victim"), "kept").expect("written");
        for (name, target) in [("folder", outside.path().to_owned()), ("file", outside.path().join("victim"))]
        {
            std::os::unix::fs::symlink(target, place.path().join(name)).expect("linked");
        }
        rustix::fs::mknodat(&dir, "fifo", FileType::Fifo, Mode::from_raw_mode(0o666), 0).expect("a FIFO");
        assert!(dir.descend("folder/x").is_err() && dir.make("folder/x").is_err());
        for name in ["file", "fifo"] {
            assert!(
                dir.file(name).expect("looked").is_none()
                    && dir.file_to_write(name).expect("looked").is_none()
            );
            assert_eq!(dir.read(name, 10).expect("looked"), None);
            dir.replace(&dir, name, b"new", Durability::Power).expect("replaced");
            assert_eq!(dir.read(name, 10).expect("read").as_deref(), Some(&b"new"[..]));
        }
        assert_eq!(std::fs::read_to_string(outside.path().join("victim")).expect("read"), "kept");
        assert_eq!(std::fs::read_dir(outside.path()).expect("listed").count(), 1);
    }

    #[test]
    fn what_is_too_large_is_not_read() {
        let (place, dir) = temporary();
        std::fs::File::create(place.path().join("huge"))
            .and_then(|file| file.set_len(1 << 40))
            .expect("sparse");
        assert_eq!(dir.read("huge", 100).expect("looked"), None);
    }

    #[test]
    fn a_name_that_was_made_here_is_known_again() {
        let (_place, dir) = temporary();
        let (name, _) = dir.create_temporary(Access::All).expect("created");
        assert!(Dir::is_temporary(&name));
        for other in ["tmp-", "tmp-x", "a.tmp", &name[1..], &(name.clone() + "0")] {
            assert!(!Dir::is_temporary(other), "{other}");
        }
    }

    #[test]
    fn a_folder_is_as_writable_for_the_group_as_the_one_above() {
        use std::os::unix::fs::PermissionsExt;
        let (place, dir) = temporary();
        for (above, below) in [(0o2775, 0o070), (0o755, 0o050)] {
            std::fs::set_permissions(place.path(), PermissionsExt::from_mode(above)).expect("set");
            let made = dir.make(&format!("{above:o}/x")).expect("made");
            assert_eq!(Stat::of(&made).expect("a folder").mode & 0o070, below);
            let named = Dir::create(&place.path().join(format!("named-{above:o}/x"))).expect("made");
            assert_eq!(Stat::of(&named).expect("a folder").mode & 0o070, below);
        }
    }
}
