//! One writer at a time in a target directory.
//!
//! The lock is an flock, and a record of its owner beside it. On a local file system the flock
//! alone decides: the kernel drops it when its holder dies. On NFS, FUSE and their like an flock
//! may be missing, or succeed for everyone (`huggingface_hub#4306`); there the records decide:
//! each process has its own, kept fresh by a heartbeat, and one whose heart has stopped is dead.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
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

/// How the name of a record begins.
const RECORD: &str = "owner";
const SOMEONE: &str = "another process";

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
            Taken::Others(holder) => holder,
        };
        if reminded.is_none_or(|last| last.elapsed() >= REMIND_EVERY) {
            reporter.report(&Event::Waiting { owner: &holder, dir: root });
            reminded = Some(Instant::now());
        }
        tokio::select! {
            // Not all at the same moment: then none of them would find itself alone.
            () = tokio::time::sleep(POLL.mul_f64(0.5 + fastrand::f64())) => {}
            cause = stop.raised() => return Err(match cause {
                Cause::Deadline(_) => Error::Locked { dir: root.into(), owner: holder, waited: started.elapsed() },
                Cause::Signal(_) | Cause::Abandoned => cause.error("waiting for another process"),
            }),
        }
    }
}

enum Taken {
    Mine(Lock),
    /// Held, by whom in words.
    Others(String),
}

struct Attempt {
    state: PathBuf,
    path: PathBuf,
    record: PathBuf,
    owner: Owner,
    trustworthy: bool,
    /// Records of others as they were last seen, and since when they have not changed.
    seen: HashMap<PathBuf, (Vec<u8>, Instant)>,
}

impl Attempt {
    fn new(state: &Path) -> Result<Self, Error> {
        let path = state.join("lock");
        let trustworthy = is_local(state) && flock_excludes(&path)?;
        debug!(trustworthy, path = %path.display(), "lock");
        let owner = Owner::this();
        // Where records decide, each process has one of its own name, which nobody else writes.
        let name =
            if trustworthy { format!("{RECORD}.json") } else { format!("{RECORD}-{:x}.json", owner.token) };
        Ok(Self {
            record: state.join(name),
            state: state.into(),
            path,
            owner,
            trustworthy,
            seen: HashMap::new(),
        })
    }

    fn try_take(&mut self) -> Result<Taken, Error> {
        let file = open(&self.path)?;
        match flock(&file) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(Taken::Others(self.holder()?)),
            // No flock here at all; the records decide.
            Err(_) if !self.trustworthy => {}
            Err(why) => return Err(Error::io("lock", &self.path)(why.into())),
        }
        let heart = if self.trustworthy {
            disk::replace(&self.record, &self.owner.to_json(), Durability::Process)?;
            None
        } else {
            if let Some(other) = self.take_by_record()? {
                return Ok(Taken::Others(other));
            }
            Some(beat(self.record.clone(), self.owner.clone()))
        };
        Ok(Taken::Mine(Lock { _file: file, record: self.record.clone(), owner: self.owner.clone(), heart }))
    }

    /// Takes the directory if no living process has a record in it; else says who has.
    ///
    /// A process first leaves its own record and then looks at the others': of two that do so at
    /// the same time, the later one at least sees the other, and withdraws. However long one of
    /// them is held up between two steps, both never find themselves alone.
    fn take_by_record(&mut self) -> Result<Option<String>, Error> {
        if let Some(other) = self.living_other()? {
            return Ok(Some(other));
        }
        if let Err(cause) = fs::write(&self.record, self.owner.to_json()) {
            // Half a record would hold others up until its silence tells that it is dead.
            let _ = fs::remove_file(&self.record);
            return Err(Error::io("write", &self.record)(cause));
        }
        let other = self.living_other();
        if matches!(other, Ok(None)) {
            for dead in self.others()? {
                disk::remove(&dead)?;
            }
            return Ok(None);
        }
        disk::remove(&self.record)?;
        other
    }

    fn records(&self) -> Result<Vec<PathBuf>, Error> {
        let is_record = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(RECORD) && name.ends_with(".json")
        };
        Ok(disk::entries(&self.state)?.into_iter().filter(is_record).collect())
    }

    fn others(&self) -> Result<Vec<PathBuf>, Error> {
        Ok(self.records()?.into_iter().filter(|record| *record != self.record).collect())
    }

    /// Who has a record, as far as one can be read.
    fn holder(&self) -> Result<String, Error> {
        for record in self.records()? {
            if let Some(owner) = read_record(&record)?.filter(|owner| !owner.is_gone()) {
                return Ok(owner.describe());
            }
        }
        Ok(SOMEONE.into())
    }

    fn living_other(&mut self) -> Result<Option<String>, Error> {
        for record in self.others()? {
            let Some(bytes) = disk::read_if_present(&record)? else { continue };
            let owner: Option<Owner> = serde_json::from_slice(&bytes).ok();
            if !owner.as_ref().is_some_and(Owner::is_gone) && self.shows_life(record, bytes) {
                return Ok(Some(owner.map_or(SOMEONE.into(), |owner| owner.describe())));
            }
        }
        Ok(None)
    }

    /// Whether a record changed within [`DEAD_AFTER`] of this process's own time (clocks of two
    /// machines may differ). One that is half written counts too: its writer may be dead or not.
    fn shows_life(&mut self, record: PathBuf, bytes: Vec<u8>) -> bool {
        match self.seen.get(&record) {
            Some((seen, since)) if *seen == bytes => since.elapsed() < DEAD_AFTER,
            _ => {
                self.seen.insert(record, (bytes, Instant::now()));
                true
            }
        }
    }
}

impl Owner {
    fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("numbers and strings are JSON")
    }
}

/// `None` for no record, or one half written.
fn read_record(path: &Path) -> Result<Option<Owner>, Error> {
    Ok(disk::read_if_present(path)?.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

fn open(path: &Path) -> Result<File, Error> {
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
    opened.map_err(Error::io("open", path))
}

fn flock(file: &File) -> rustix::io::Result<()> {
    rustix::io::retry_on_intr(|| rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive))
}

/// Whether a second open of the same file is refused the lock, as it must be.
fn flock_excludes(path: &Path) -> Result<bool, Error> {
    let first = open(path)?;
    let second = open(path)?;
    match flock(&first) {
        Ok(()) => Ok(flock(&second) == Err(rustix::io::Errno::WOULDBLOCK)),
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
            // Taken over while this machine stood still: a new record would only hold others up.
            if !record.exists() {
                return;
            }
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
        // Removed before the flock goes with the file, unless it is someone else's.
        if read_record(&self.record).ok().flatten().is_some_and(|owner| owner.token == self.owner.token) {
            let _ = fs::remove_file(&self.record);
        }
    }
}
