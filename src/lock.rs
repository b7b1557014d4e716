//! One writer at a time in a target directory.
//!
//! The lock is an flock, and a record of its owner beside it. On a local file system the flock
//! alone decides: the kernel drops it when its holder dies. On NFS, FUSE and their like an flock
//! may be missing, or succeed for everyone (`huggingface_hub#4306`); there the record decides,
//! kept fresh by a heartbeat, and an owner whose heart has stopped is taken over.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use tracing::debug;

use crate::disk::{self, Durability};
use crate::error::Error;
use crate::report::{Event, Reporter};
use crate::stop::{Cause, Stop};

/// Time between two looks at a lock that another process holds.
const POLL: Duration = Duration::from_millis(200);
/// Time between two messages that this process waits.
const REMIND_EVERY: Duration = Duration::from_mins(1);
const HEARTBEAT: Duration = Duration::from_secs(5);
/// An owner that has not shown life for this long is dead.
const DEAD_AFTER: Duration = Duration::from_secs(30);

/// Holds the directory until it is dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
    record: PathBuf,
    owner: Owner,
    heart: Option<(mpsc::Sender<()>, JoinHandle<()>)>,
}

/// Who holds a directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Owner {
    host: String,
    pid: u32,
    /// Process ids mean something only within one boot and one PID namespace.
    space: String,
    /// Tells this holder from every other one.
    token: u64,
    /// Counts heartbeats.
    beat: u64,
}

impl Owner {
    fn this() -> Self {
        let namespace = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        Self {
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            pid: std::process::id(),
            space: format!("{} {}", disk::boot_id(), namespace.display()),
            token: fastrand::u64(..),
            beat: 0,
        }
    }

    /// Whether its process is known to be gone; `false` when that cannot be told from here.
    fn is_gone(&self) -> bool {
        let pid = i32::try_from(self.pid).ok().and_then(rustix::process::Pid::from_raw);
        self.space == Self::this().space
            && pid.is_none_or(|pid| rustix::process::test_kill_process(pid) == Err(rustix::io::Errno::SRCH))
    }

    fn describe(&self) -> String {
        format!("process {} on {}", self.pid, self.host)
    }
}

/// Takes the lock in `state`, waiting for as long as another process holds it.
/// Fails with [`Error::Locked`] when the deadline passes first.
pub async fn acquire(state: &Path, root: &Path, reporter: &dyn Reporter, stop: &Stop) -> Result<Lock, Error> {
    disk::create_dir(state)?;
    let mut attempt = Attempt::new(state)?;
    let started = Instant::now();
    let mut reminded: Option<Instant> = None;
    loop {
        let holder = match attempt.try_take()? {
            Taken::Mine(lock) => return Ok(lock),
            Taken::Others(holder) => holder.map_or("another process".into(), |owner| owner.describe()),
        };
        if reminded.is_none_or(|last| last.elapsed() >= REMIND_EVERY) {
            reporter.report(&Event::Waiting { owner: &holder, dir: root });
            reminded = Some(Instant::now());
        }
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            cause = stop.raised() => return Err(match cause {
                Cause::Deadline(_) => Error::Locked { dir: root.into(), owner: holder, waited: started.elapsed() },
                Cause::Signal(_) | Cause::Abandoned => cause.error("waiting for another process"),
            }),
        }
    }
}

enum Taken {
    Mine(Lock),
    Others(Option<Owner>),
}

struct Attempt {
    path: PathBuf,
    record: PathBuf,
    owner: Owner,
    trustworthy: bool,
    /// The last record seen, and since when it has not changed.
    seen: Option<(Owner, Instant)>,
}

impl Attempt {
    fn new(state: &Path) -> Result<Self, Error> {
        let path = state.join("lock");
        let trustworthy = is_local(state) && flock_excludes(&path)?;
        debug!(trustworthy, path = %path.display(), "lock");
        Ok(Self { path, record: state.join("owner.json"), owner: Owner::this(), trustworthy, seen: None })
    }

    fn try_take(&mut self) -> Result<Taken, Error> {
        let file = open(&self.path)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(Taken::Others(self.holder()?)),
            // No flock here at all; the record decides.
            Err(_) if !self.trustworthy => {}
            Err(why) => return Err(Error::io("lock", &self.path)(why.into())),
        }
        if self.trustworthy {
            self.write_record()?;
            return Ok(Taken::Mine(self.lock(file, None)));
        }
        if let Some(holder) = self.holder()? {
            if !self.is_dead(&holder) {
                return Ok(Taken::Others(Some(holder)));
            }
            self.take_over(&holder)?;
        }
        if !self.create_record()? {
            return Ok(Taken::Others(self.holder()?));
        }
        let heart = beat(self.record.clone(), self.owner.clone());
        Ok(Taken::Mine(self.lock(file, Some(heart))))
    }

    fn lock(&self, file: File, heart: Option<(mpsc::Sender<()>, JoinHandle<()>)>) -> Lock {
        Lock { _file: file, record: self.record.clone(), owner: self.owner.clone(), heart }
    }

    fn holder(&self) -> Result<Option<Owner>, Error> {
        read_record(&self.record)
    }

    /// Whether the holder of a record is dead: its process is gone, or its record did not change
    /// for [`DEAD_AFTER`] of this process's own time (clocks of two machines may differ).
    fn is_dead(&mut self, holder: &Owner) -> bool {
        if holder.is_gone() {
            return true;
        }
        match &self.seen {
            Some((seen, since)) if seen == holder => since.elapsed() >= DEAD_AFTER,
            _ => {
                self.seen = Some((holder.clone(), Instant::now()));
                false
            }
        }
    }

    /// Moves a dead owner's record away. Of several that try, one finds the record it looked at.
    fn take_over(&self, dead: &Owner) -> Result<(), Error> {
        let grave = self.record.with_extension(format!("{:x}.tmp", self.owner.token));
        match fs::rename(&self.record, &grave) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(Error::io("take over", &self.record))?,
        }
        if read_record(&grave)?.is_some_and(|owner| owner.token != dead.token) {
            // A new owner was quicker: it gets its record back.
            return fs::rename(&grave, &self.record).map_err(Error::io("give back", &self.record));
        }
        disk::remove(&grave)
    }

    fn write_record(&self) -> Result<(), Error> {
        disk::replace(&self.record, &self.owner.to_json(), Durability::Process)
    }

    fn create_record(&self) -> Result<bool, Error> {
        let created = OpenOptions::new().write(true).create_new(true).open(&self.record);
        match created {
            Ok(mut file) => {
                file.write_all(&self.owner.to_json()).map_err(Error::io("write", &self.record))?;
                Ok(true)
            }
            Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(cause) => Err(Error::io("write", &self.record)(cause)),
        }
    }
}

impl Owner {
    fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("numbers and strings are JSON")
    }
}

/// `None` for no record; also for one half written, whose owner is about to finish it.
fn read_record(path: &Path) -> Result<Option<Owner>, Error> {
    Ok(disk::read_if_present(path)?.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

fn open(path: &Path) -> Result<File, Error> {
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
    opened.map_err(Error::io("open", path))
}

/// Whether a second open of the same file is refused the lock, as it must be.
fn flock_excludes(path: &Path) -> Result<bool, Error> {
    let first = open(path)?;
    let second = open(path)?;
    let taken = rustix::fs::flock(&first, FlockOperation::NonBlockingLockExclusive);
    match taken {
        Ok(()) => {
            let again = rustix::fs::flock(&second, FlockOperation::NonBlockingLockExclusive);
            Ok(again == Err(rustix::io::Errno::WOULDBLOCK))
        }
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
        Err(_) => Ok(false),
    }
}

/// Whether all processes that can see this directory run under this kernel.
fn is_local(dir: &Path) -> bool {
    /// Magic numbers of statfs(2): ext, xfs, btrfs, tmpfs, overlayfs, f2fs, zfs, bcachefs.
    const LOCAL: [i64; 8] =
        [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994, 0x794c_7630, 0xf2f5_2010, 0x2fc1_2fc1, 0xca45_1a4e];
    rustix::fs::statfs(dir).is_ok_and(|stat| LOCAL.contains(&(stat.f_type & 0xffff_ffff)))
}

/// Shows life until told to stop.
fn beat(record: PathBuf, mut owner: Owner) -> (mpsc::Sender<()>, JoinHandle<()>) {
    let (stop, stopped) = mpsc::channel();
    let heart = std::thread::spawn(move || {
        while stopped.recv_timeout(HEARTBEAT) == Err(mpsc::RecvTimeoutError::Timeout) {
            owner.beat += 1;
            // A beat that cannot be written is one that others do not see: nothing else to do.
            let _ = disk::replace(&record, &owner.to_json(), Durability::Process);
        }
    });
    (stop, heart)
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Some((stop, heart)) = self.heart.take() {
            drop(stop);
            let _ = heart.join();
        }
        // Removed before the flock goes with the file, unless someone else took over.
        if read_record(&self.record).ok().flatten().is_some_and(|owner| owner.token == self.owner.token) {
            let _ = fs::remove_file(&self.record);
        }
    }
}
