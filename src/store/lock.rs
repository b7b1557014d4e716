//! One writer at a time in a target directory.
//!
//! The lock is an flock, and a record of its owner beside it. On a local file system the flock
//! alone decides: the kernel drops it when its holder dies. On NFS, FUSE and their like an flock
//! may be missing, or succeed for everyone (`huggingface_hub#4306`). There an flock that is refused still
//! tells of a holder, but one that is granted proves nothing, and the records decide: each process has its
//! own, kept fresh by a heartbeat, and one whose heart has stopped is dead.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use tracing::debug;

use super::layout::STATE;
use super::{Store, WriteAccess};
use crate::disk::{self, Access, Dir, Durability, Kind, Stat};
use crate::error::Error;
use crate::report::{Event, Reporter};
use crate::stop::{Cause, Stop};
use crate::words::one_line;

/// Time between two looks at a lock that another process holds.
const POLL: Duration = Duration::from_millis(200);
/// Time between two messages that this process waits.
const REMIND_EVERY: Duration = Duration::from_mins(1);
const HEARTBEAT: Duration = Duration::from_secs(5);
/// An owner that has not shown life for this long is dead.
const DEAD_AFTER: Duration = Duration::from_secs(30);

/// The file that is locked.
const LOCK: &str = "lock";
/// How the name of a record begins.
const RECORD: &str = "owner";
const SOMEONE: &str = "another process";
/// More is no record.
const RECORD_BYTES_MAX: u64 = 4 << 10;

/// Holds the directory until it is dropped.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
    state: Dir,
    record: String,
    owner: Owner,
    heart: Option<(mpsc::Sender<()>, JoinHandle<()>)>,
}

/// Who holds a directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Owner {
    host: String,
    pid: u32,
    /// Process ids mean something only within one boot and one PID namespace. Empty where these cannot
    /// be told, which equals nobody else's.
    space: String,
    /// Tells this holder from every other one.
    token: u64,
    /// Counts heartbeats.
    beat: u64,
}

impl Owner {
    fn this() -> Self {
        let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        let boot = disk::boot_id();
        let is_known = !boot.is_empty() && !namespace.as_os_str().is_empty();
        Self {
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            pid: std::process::id(),
            space: if is_known { format!("{boot} {}", namespace.display()) } else { String::new() },
            token: fastrand::u64(..),
            beat: 0,
        }
    }

    /// Whether its process is known to be gone; `false` when that cannot be told from here.
    fn is_gone(&self) -> bool {
        let pid = i32::try_from(self.pid).ok().and_then(rustix::process::Pid::from_raw);
        !self.space.is_empty()
            && self.space == Self::this().space
            && pid.is_none_or(|pid| rustix::process::test_kill_process(pid) == Err(rustix::io::Errno::SRCH))
    }

    /// In words that somebody else may have chosen.
    fn describe(&self) -> String {
        let host: String = one_line(&self.host).chars().take(100).collect();
        format!("process {} on {host}", self.pid)
    }

    fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("numbers and strings are JSON")
    }
}

impl Store {
    /// Takes the right to change the directory, waiting for as long as another process has it.
    /// Fails with [`Error::Locked`] when the deadline passes first.
    pub async fn lock(&self, reporter: &dyn Reporter, stop: &Stop) -> Result<WriteAccess, Error> {
        let doing = "waiting for another process";
        let store = self.clone();
        let mut claim = stop.or_blocking(doing, move || Claim::new(store)).await?;
        let started = Instant::now();
        let mut reminded: Option<Instant> = None;
        loop {
            let attempt = move || claim.take().map(|taken| (claim, taken));
            let (unspent, taken) = stop.or_blocking(doing, attempt).await?;
            claim = unspent;
            let holder = match taken {
                Taken::Mine(access) => return Ok(*access),
                Taken::Others(holder) => holder,
            };
            if reminded.is_none_or(|last| last.elapsed() >= REMIND_EVERY) {
                reporter.report(&Event::Waiting { owner: &holder, dir: self.root() });
                reminded = Some(Instant::now());
            }
            tokio::select! {
                // Not all at the same moment: then none of them would find itself alone.
                () = tokio::time::sleep(POLL.mul_f64(0.5 + fastrand::f64())) => {}
                cause = stop.raised() => return Err(match cause {
                    Cause::Deadline(_) => Error::Locked { dir: self.root().into(), owner: holder, waited: started.elapsed() },
                    Cause::Signal(_) | Cause::Abandoned => cause.error(doing),
                }),
            }
        }
    }
}

impl Store {
    /// The same, for who does not wait.
    pub fn try_lock(&self) -> Result<WriteAccess, Error> {
        match Claim::new(self.clone())?.take()? {
            Taken::Mine(access) => Ok(*access),
            Taken::Others(owner) => {
                Err(Error::Locked { dir: self.root().into(), owner, waited: Duration::ZERO })
            }
        }
    }
}

enum Taken {
    Mine(Box<WriteAccess>),
    /// Held, by whom in words.
    Others(String),
}

/// A process that wants the directory.
struct Claim {
    store: Store,
    base: Dir,
    state: Dir,
    record: String,
    owner: Owner,
    /// flock excludes others here.
    is_flock_believed: bool,
    /// Records of others as they were last seen, and since when they have not changed.
    seen: HashMap<String, (Vec<u8>, Instant)>,
}

impl Claim {
    fn new(store: Store) -> Result<Self, Error> {
        let base = store.make_base()?;
        let state = base.make(STATE)?;
        let is_flock_believed = disk::is_local(&state) && flock_excludes(&state)?;
        debug!(is_flock_believed, path = %state.path().display(), "lock");
        let owner = Owner::this();
        // Where records decide, each process has one of its own name, which nobody else writes.
        let record = if is_flock_believed {
            format!("{RECORD}.json")
        } else {
            format!("{RECORD}-{:x}.json", owner.token)
        };
        Ok(Self { store, base, state, record, owner, is_flock_believed, seen: HashMap::new() })
    }

    fn take(&mut self) -> Result<Taken, Error> {
        let file = open_lock(&self.state)?;
        match flock(&file) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(Taken::Others(self.holder()?)),
            // No flock here at all; the records decide.
            Err(_) if !self.is_flock_believed => {}
            Err(why) => return Err(Error::io("lock", self.state.join(LOCK))(why.into())),
        }
        // A lock on a file that has lost its name excludes nobody.
        if self.is_flock_believed && !is_at_its_name(&self.state, &file)? {
            return Ok(Taken::Others(SOMEONE.into()));
        }
        let heart = if self.is_flock_believed {
            self.state.replace(&self.state, &self.record, &self.owner.to_json(), Durability::Process)?;
            None
        } else {
            if let Some(other) = self.take_by_record()? {
                return Ok(Taken::Others(other));
            }
            Some(beat(self.state.clone(), self.record.clone(), self.owner.clone()))
        };
        let (state, record, owner) = (self.state.clone(), self.record.clone(), self.owner.clone());
        let lock = Lock { _file: file, state, record, owner, heart };
        let access = WriteAccess::new(self.store.clone(), self.base.clone(), self.state.clone(), lock)?;
        Ok(Taken::Mine(Box::new(access)))
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
        let path = self.state.join(&self.record);
        let mut file = self.state.create_file(&self.record)?;
        if let Err(cause) = file.write_all(&self.owner.to_json()) {
            // Half a record would hold others up until its silence tells that it is dead.
            let _ = self.state.remove(&self.record);
            return Err(Error::io("write", path)(cause));
        }
        let other = self.living_other();
        if matches!(other, Ok(None)) {
            for dead in self.others()? {
                self.state.remove(&dead)?;
            }
            return Ok(None);
        }
        self.state.remove(&self.record)?;
        other
    }

    fn others(&self) -> Result<Vec<String>, Error> {
        Ok(records(&self.state)?.into_iter().filter(|record| *record != self.record).collect())
    }

    /// Who has a record, as far as one can be read.
    fn holder(&self) -> Result<String, Error> {
        for record in records(&self.state)? {
            if let Some(owner) = read_record(&self.state, &record)?.filter(|owner| !owner.is_gone()) {
                return Ok(owner.describe());
            }
        }
        Ok(SOMEONE.into())
    }

    fn living_other(&mut self) -> Result<Option<String>, Error> {
        for record in self.others()? {
            let Some(bytes) = self.state.read(&record, RECORD_BYTES_MAX)? else { continue };
            let owner: Option<Owner> = serde_json::from_slice(&bytes).ok();
            if !owner.as_ref().is_some_and(Owner::is_gone) && self.shows_life(record, bytes) {
                return Ok(Some(owner.map_or(SOMEONE.into(), |owner| owner.describe())));
            }
        }
        Ok(None)
    }

    /// Whether a record changed within [`DEAD_AFTER`] of this process's own time (clocks of two
    /// machines may differ). One that is half written counts too: its writer may be dead or not.
    fn shows_life(&mut self, record: String, bytes: Vec<u8>) -> bool {
        match self.seen.get(&record) {
            Some((seen, since)) if *seen == bytes => since.elapsed() < DEAD_AFTER,
            _ => {
                self.seen.insert(record, (bytes, Instant::now()));
                true
            }
        }
    }
}

/// `None` for no record, or one half written.
fn read_record(state: &Dir, name: &str) -> Result<Option<Owner>, Error> {
    Ok(state.read(name, RECORD_BYTES_MAX)?.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

/// Opens the file to lock. Only who may write to the folder can open it: a reader who locked it would hold up
/// every run. One that others can open, of an earlier version or planted, is replaced.
fn open_lock(state: &Dir) -> Result<File, Error> {
    if let Some(file) = state.file_to_write(LOCK)? {
        let look = || Ok((Stat::of(&file)?, Stat::of(state)?));
        let (stat, folder) = look().map_err(Error::io("look at", state.join(LOCK)))?;
        let readers = if folder.mode & 0o020 == 0 { 0o077 } else { 0o007 };
        if stat.mode & readers == 0 {
            return Ok(file);
        }
    }
    let (name, file) = state.create_temporary(Access::Writers)?;
    if let Err(error) = state.rename(&name, state, LOCK) {
        // The failure to rename is the one to tell.
        let _ = state.remove(&name);
        return Err(error);
    }
    Ok(file)
}

/// Whether another process holds a directory, as far as can be told at a glance: one that cannot be told gone counts as
/// alive. Holds it for a moment itself.
pub(super) fn is_held(state: &Dir) -> bool {
    let this = Owner::this();
    let may_be_held = || {
        for record in records(state)? {
            let owner = read_record(state, &record)?;
            if owner.as_ref().is_some_and(|owner| (owner.pid, &owner.space) == (this.pid, &this.space)) {
                return Ok(false);
            }
            if !owner.is_some_and(|owner| owner.is_gone()) {
                return Ok(true);
            }
        }
        let file = state.file_to_write(LOCK)?;
        Ok::<_, Error>(file.is_some_and(|file| flock(&file) == Err(rustix::io::Errno::WOULDBLOCK)))
    };
    may_be_held().unwrap_or(true)
}

/// The names of the records in a state folder.
fn records(state: &Dir) -> Result<Vec<String>, Error> {
    let is_record = |name: &str| name.starts_with(RECORD) && name.ends_with(".json");
    let entries = state.entries()?.into_iter();
    Ok(entries.filter(|(name, kind)| *kind == Kind::File && is_record(name)).map(|(name, _)| name).collect())
}

fn is_at_its_name(state: &Dir, file: &File) -> Result<bool, Error> {
    let own = Stat::of(file).map_err(Error::io("look at", state.join(LOCK)))?;
    Ok(state.stat(LOCK)?.is_some_and(|stat| stat.is_same_file(&own)))
}

fn flock(file: &File) -> rustix::io::Result<()> {
    rustix::io::retry_on_intr(|| rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive))
}

/// Whether a second open of the same file is refused the lock, as it must be.
fn flock_excludes(state: &Dir) -> Result<bool, Error> {
    let first = open_lock(state)?;
    let second = open_lock(state)?;
    match flock(&first) {
        Ok(()) => Ok(flock(&second) == Err(rustix::io::Errno::WOULDBLOCK)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
        Err(_) => Ok(false),
    }
}

/// Shows life until told to stop.
fn beat(state: Dir, record: String, mut owner: Owner) -> (mpsc::Sender<()>, JoinHandle<()>) {
    let (stop, stopped) = mpsc::channel();
    let heart = std::thread::spawn(move || {
        while stopped.recv_timeout(HEARTBEAT) == Err(mpsc::RecvTimeoutError::Timeout) {
            owner.beat += 1;
            // Taken over while this machine stood still: a new record would only hold others up.
            if !matches!(state.stat(&record), Ok(Some(_))) {
                return;
            }
            // A beat that cannot be written is one that others do not see: nothing else to do.
            let _ = state.replace(&state, &record, &owner.to_json(), Durability::Process);
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
        let record = read_record(&self.state, &self.record).ok().flatten();
        if record.is_some_and(|owner| owner.token == self.owner.token) {
            let _ = self.state.remove(&self.record);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_gone_only_if_that_can_be_told_from_here() {
        let nobody = u32::try_from(i32::MAX).expect("a number");
        let owner = |space: &str, pid| Owner { space: space.into(), pid, ..Owner::this() };
        let here = Owner::this().space;
        assert!(owner(&here, nobody).is_gone());
        assert!(!owner(&here, std::process::id()).is_gone());
        // Another machine; one of two without /proc, which may be any.
        for elsewhere in ["another boot", ""] {
            assert!(!owner(elsewhere, nobody).is_gone(), "{elsewhere:?}");
        }
    }

    #[test]
    fn what_an_owner_calls_itself_stays_on_one_line() {
        let owner = Owner { host: "a\nhint: b\u{1b}[2J".into(), ..Owner::this() };
        assert!(!owner.describe().contains(|c: char| c.is_control()), "{:?}", owner.describe());
    }
}
