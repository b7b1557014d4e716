//! The engine of a run: the pool of connections, and the files they work on.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use futures_util::future::BoxFuture;
use tokio::sync::Notify;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use super::active::Active;
use super::blame::{Origins, Suspects};
use super::connection;
use super::copy::{self, provenance};
use super::schedule::Segment;
use super::tuner::{Estimate, Throttle, Tuner};
use super::tuning::{FILES_MAX, HELP_EVERY, SEGMENT_MIN};
use crate::content::look::Strange;
use crate::content::{Mismatch, RangeSet};
use crate::error::Error;
use crate::report::{Event, PROGRESS_EVERY, Progress, Reporter};
use crate::request::Limits;
use crate::retry::Budget;
use crate::source::{Provenance, Source};
use crate::stop::{Stop, blocking};
use crate::store::admission::Admission;
use crate::store::block::{Pool, WORTH_IT_FROM};
use crate::store::copying::{self, Broken, Original, Originals};
use crate::store::crew::Crew;
use crate::store::filling::{Filled, Filling, Halted};
use crate::store::hashing::{Unverified, Verified};
use crate::store::partial::Partial;
use crate::words::chain;

/// Why a file was not filled.
#[derive(Debug)]
pub enum Unfinished {
    /// Complete, and wrong.
    Mismatch(Mismatch),
    /// The server has another file now than when the first range was fetched.
    Changed {
        /// The serving host.
        host: String,
        /// What is different.
        why: String,
    },
    /// Its first bytes, so many of them, are not those of what its name says, whatever follows.
    Strange {
        /// What it is.
        strange: Strange,
        /// How many bytes were looked at.
        seen: u64,
    },
    /// An error that ends the run. What has arrived is recorded, as far as the disk lets it be.
    Failed(Error),
}

impl From<JoinError> for Unfinished {
    fn from(why: JoinError) -> Self {
        Self::Failed(why.into())
    }
}

impl From<Unverified> for Unfinished {
    fn from(why: Unverified) -> Self {
        match why {
            Unverified::Mismatch(mismatch) => Self::Mismatch(mismatch),
            Unverified::Failed(error) => Self::Failed(error),
            Unverified::Strange { strange, seen } => Self::Strange { strange, seen },
            Unverified::Incomplete => Self::Failed(Error::Internal("the file was closed too early".into())),
        }
    }
}

impl From<Error> for Unfinished {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// What a transfer cost.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    /// Bytes received.
    pub received: u64,
    /// Bytes copied from older files.
    pub copied: u64,
    /// Who sent what of the file.
    pub origins: Origins,
}

/// How many ranges one file still has to offer.
#[derive(Debug)]
pub struct Demand(Arc<AtomicU64>);

impl Demand {
    fn set(&self, bytes: u64) {
        self.0.store(bytes.div_ceil(SEGMENT_MIN), Ordering::Relaxed);
    }
}

/// What a file is part of: who is told about it, and who may stop it.
#[derive(Clone)]
pub struct Scope {
    /// Who is told.
    pub reporter: Arc<dyn Reporter>,
    /// The order to stop.
    pub stop: Stop,
}

/// Shared by all files of a run.
pub struct Engine {
    pub(super) limits: Limits,
    pub(super) tuner: Tuner,
    pub(super) throttle: Option<Throttle>,
    pub(super) admission: Arc<Admission>,
    crew: Crew,
    files: Mutex<Vec<Arc<Active>>>,
    /// Rung when there may be new ranges to take.
    work: Notify,
    /// Ranges that the files begun so far still have to offer.
    demands: Mutex<Vec<Weak<AtomicU64>>>,
    /// Rung when a file has no more to offer.
    satisfied: Notify,
    /// Bytes that were verified, by the place that sent them.
    verified: Mutex<HashMap<Provenance, u64>>,
}

impl Engine {
    /// An engine without connections; see [`Engine::run`].
    pub fn new(limits: Limits) -> Self {
        Self {
            tuner: Tuner::new(limits.connections),
            throttle: limits.rate_max.map(Throttle::new),
            limits,
            admission: Arc::default(),
            crew: Crew::default(),
            files: Mutex::default(),
            work: Notify::new(),
            demands: Mutex::default(),
            satisfied: Notify::new(),
            verified: Mutex::default(),
        }
    }

    /// Keeps the connections at work while `job` runs.
    pub async fn run<T>(self: &Arc<Self>, job: impl Future<Output = T>) -> T {
        let mut tasks = JoinSet::new();
        for index in 0..self.tuner.max() {
            tasks.spawn(connection::work(Arc::clone(self), index));
        }
        let engine = Arc::clone(self);
        tasks.spawn(async move {
            engine.tuner.adjust(engine.limits.connections, || engine.admission.is_crowded()).await;
        });
        job.await
    }

    /// Waits until the files begun so far leave a connection without work, and are not too many, and announces
    /// another file of `bytes` to fetch.
    pub async fn admit(&self, bytes: u64) -> Demand {
        loop {
            let satisfied = self.satisfied.notified();
            if let Some(demand) = self.try_admit(bytes) {
                return demand;
            }
            tokio::select! {
                () = satisfied => {}
                () = tokio::time::sleep(PROGRESS_EVERY) => {}
            }
        }
    }

    fn try_admit(&self, bytes: u64) -> Option<Demand> {
        let mut demands = self.demands.lock().expect("nothing panics while it holds the demands");
        demands.retain(|demand| demand.strong_count() > 0);
        let wanted: u64 =
            demands.iter().filter_map(Weak::upgrade).map(|demand| demand.load(Ordering::Relaxed)).sum();
        (demands.len() < FILES_MAX && wanted < u64::from(self.tuner.allowed())).then(|| {
            let demand = Demand(Arc::new(AtomicU64::new(0)));
            demand.set(bytes);
            demands.push(Arc::downgrade(&demand.0));
            demand
        })
    }

    /// Fetches what `partial` lacks and verifies all of it. What older files on the disk have is copied from them, as
    /// soon as `originals` says which, as far as it has not been begun with; for a short time not much is. On any failure
    /// what has arrived is recorded for the next run.
    pub async fn fill(
        self: &Arc<Self>,
        partial: Arc<Partial>,
        source: Arc<dyn Source>,
        originals: Option<BoxFuture<'_, Option<Originals>>>,
        demand: &Demand,
        scope: &Scope,
        counts: &mut Counts,
    ) -> Result<Verified, Unfinished> {
        let mut filling = Filling::begin(&self.crew, &partial)?;
        let budget = Budget::new(self.limits.give_up_after, scope.stop.deadline());
        let pool = (partial.wanted().size() >= WORTH_IT_FROM).then(|| Pool::new(Arc::clone(&self.admission)));
        let active = Active::new(&partial, source, budget, pool, filling.sink(), scope);
        let active = Arc::new(if originals.is_some() { active.held_back() } else { active });
        let listed = Listed::new(self, &active, demand);
        let tell = |filling: &Filling| {
            demand.set(active.remaining());
            show(&active, filling.progress());
        };
        let written = self.watch(&active, &mut filling, originals, &scope.stop, &tell).await;
        drop(listed);
        counts.received += active.received.load(Ordering::Relaxed);
        counts.copied += active.copied.load(Ordering::Relaxed);
        counts.origins.update(&active.origins());

        let result = match written {
            Ok(()) => filling.finish(&scope.stop, tell).await.map_err(Unfinished::from),
            Err(unfinished) => {
                filling.end(&scope.stop).await.map_err(Unfinished::Failed).and(Err(unfinished))
            }
        };
        if result.is_ok() {
            self.trust(&counts.origins);
        } else {
            let saved = blocking(move || partial.save()).await?;
            match (&result, saved) {
                // The first failure is the one to fail with; a full disk often makes saving fail too.
                (Err(Unfinished::Failed(_)), Err(error)) => {
                    let text = format!(
                        "what has arrived of `{}` could not be recorded, and may have to be fetched again: {}",
                        active.path,
                        chain(&error)
                    );
                    scope.reporter.report(&Event::Warning(&text));
                }
                (_, saved) => saved?,
            }
        }
        result
    }

    /// Which bytes of a file with a wrong digest to ask for again: those `copied` from older files first, those
    /// `inherited` from an earlier run, then those of whoever has brought the fewest good bytes in this run.
    pub fn suspects(
        &self,
        size: u64,
        copied: &RangeSet,
        inherited: &RangeSet,
        origins: &Origins,
    ) -> Suspects {
        let verified = self.verified();
        let verified = |origin: &Provenance| verified.get(&origin.place()).copied().unwrap_or(0);
        Suspects::new(size, copied, inherited, origins, verified)
    }

    /// Notes that the bytes of a file were right.
    fn trust(&self, origins: &Origins) {
        let mut verified = self.verified();
        for (origin, ranges) in origins.iter() {
            *verified.entry(origin.place()).or_default() += ranges.bytes();
        }
    }

    /// Waits until every byte is written, and tells of the progress meanwhile.
    async fn watch(
        self: &Arc<Self>,
        active: &Arc<Active>,
        filling: &mut Filling,
        mut originals: Option<BoxFuture<'_, Option<Originals>>>,
        stop: &Stop,
        show: &impl Fn(&Filling),
    ) -> Result<(), Unfinished> {
        let mut ticks = tokio::time::interval(PROGRESS_EVERY);
        let ended_early = loop {
            tokio::select! {
                () = active.over() => break None,
                halted = filling.halted() => match halted? {
                    Halted::Written(written) => break Some(written),
                    Halted::Strange { strange, seen } => active.stop(Unfinished::Strange { strange, seen }),
                },
                cause = stop.raised() => {
                    active.fail(cause.error("downloading"));
                    // A writer that waits for a slow disk need not do so any more.
                    filling.close()?;
                }
                found = async { originals.as_mut()?.await }, if originals.is_some() => {
                    originals = None;
                    if let Some(originals) = found {
                        self.copy(active, filling, &originals)?;
                    }
                    active.hold_back_no_more();
                    self.offer();
                }
                _ = ticks.tick() => show(filling),
            }
        };
        let written = match ended_early {
            Some(written) => {
                active.fail(Error::Internal("the writer ended early".into()));
                written
            }
            // The connections let go of their sinks; what was sent is still written.
            None => filling.written().await,
        };
        written?;
        active.stopped().map_or(Ok(()), Err)
    }

    /// Begins to copy what no connection has begun to fetch.
    fn copy(
        self: &Arc<Self>,
        active: &Arc<Active>,
        filling: &mut Filling,
        originals: &Originals,
    ) -> Result<(), Error> {
        let originals = originals.within(&active.reserve(&originals.ranges()));
        let (shared, read) = originals.split();
        for originals in [&shared, &read] {
            active.copiers.fetch_add(u32::from(!originals.copies.is_empty()), Ordering::Relaxed);
        }
        if !shared.copies.is_empty() {
            let (engine, active) = (Arc::clone(self), Arc::clone(active));
            filling.beside(move |partial| {
                let heard = |original: &Original, range| active.note_copied(&provenance(original), range);
                let copied = copying::share(&partial, &shared, &heard);
                engine.end_copy(&active, &shared, copied);
            })?;
        }
        if !read.copies.is_empty() {
            let (engine, active, partial) = (Arc::clone(self), Arc::clone(active), filling.partial());
            tokio::spawn(async move {
                let copied = copy::blocks(&active, &partial, &read).await;
                engine.end_copy(&active, &read, copied);
            });
        }
        Ok(())
    }

    /// Tells why not all was copied. What was not is for the connections.
    fn end_copy(&self, active: &Active, originals: &Originals, copied: Result<(), Broken>) {
        let unchanged = || originals.files.iter().try_for_each(Original::check_unchanged);
        match copied.and_then(|()| unchanged().map_err(Broken::Original)) {
            Ok(()) => {}
            Err(Broken::Failed(error)) => active.fail(error),
            Err(Broken::Original(why)) => {
                let text = format!("{}: what was not copied yet is fetched: {why}", active.path);
                active.reporter.report(&Event::Warning(&text));
            }
        }
        if active.copiers.fetch_sub(1, Ordering::Relaxed) == 1 {
            active.give_up_copying();
        }
        self.offer();
    }

    fn verified(&self) -> MutexGuard<'_, HashMap<Provenance, u64>> {
        self.verified.lock().expect("nothing panics while it holds the counts")
    }

    /// The next range for an idle connection, of the first file that has one.
    pub(super) async fn next(&self, estimate: &Estimate) -> (Arc<Active>, Segment) {
        loop {
            let mut woken = std::pin::pin!(self.work.notified());
            woken.as_mut().enable();
            let files = self.files().clone();
            for steal in [false, true] {
                for file in &files {
                    if let Some(segment) = file.next_segment(estimate, self.tuner.allowed(), steal) {
                        return (Arc::clone(file), segment);
                    }
                }
            }
            let later = Instant::now() + HELP_EVERY;
            let held = files.iter().filter_map(|file| file.held_back_until());
            tokio::select! {
                () = woken => {}
                () = tokio::time::sleep_until(held.fold(later, Instant::min)) => {}
            }
        }
    }

    /// There may be ranges to take again.
    pub(super) fn offer(&self) {
        self.work.notify_waiters();
        self.admission.ring();
    }

    /// Whether the disk and the hash keep up with all files.
    #[cfg(test)]
    pub(super) fn files_plentiful(&self) -> bool {
        self.files().iter().filter_map(|file| file.pool.as_ref()).all(|pool| pool.is_plentiful())
    }

    fn files(&self) -> MutexGuard<'_, Vec<Arc<Active>>> {
        self.files.lock().expect("nothing panics while it holds the list of files")
    }
}

fn show(active: &Active, filled: Filled) {
    active.reporter.report(&Event::Progress(&Progress {
        path: &active.path,
        size: active.size,
        on_disk: filled.written,
        hashed: filled.hashed,
        received: active.received.load(Ordering::Relaxed),
        copied: active.copied.load(Ordering::Relaxed),
        connections: active.connections.load(Ordering::Relaxed),
    }));
}

/// A file on the list of those that connections work on, for as long as this exists.
struct Listed<'a> {
    engine: &'a Engine,
    active: &'a Arc<Active>,
    demand: &'a Demand,
}

impl<'a> Listed<'a> {
    fn new(engine: &'a Engine, active: &'a Arc<Active>, demand: &'a Demand) -> Self {
        engine.files().push(Arc::clone(active));
        engine.work.notify_waiters();
        Self { engine, active, demand }
    }
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.engine.files().retain(|file| !Arc::ptr_eq(file, self.active));
        self.demand.set(0);
        self.engine.satisfied.notify_one();
        // Unless it ended before, whoever waited for it is gone, and its connections may go too.
        self.active.fail(Error::Internal("nobody waits for the file any more".into()));
    }
}
