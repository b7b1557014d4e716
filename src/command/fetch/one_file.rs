//! One file: what the plan says about it, done.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tracing::debug;

use super::delta::Deltas;
use crate::command::Context;
use crate::content::look::Strange;
use crate::content::{Mismatch, RangeSet};
use crate::error::Error;
use crate::plan::{Action, Item, Origin, Plan, WantedFile};
use crate::report::{Done, Event, FileOutcome, Reporter};
use crate::request::{Commit, NetworkUse};
use crate::source::{self, LocalFile, Source};
use crate::stop::{Stop, blocking};
use crate::store::hashing::{HashQueue, Proven, Unlike, Verified};
use crate::store::partial::Partial;
use crate::store::{Store, WriteAccess};
use crate::transfer::{Counts, Demand, Engine, Scope, Unfinished};

/// How long a file that changed while it was hashed is left alone before it is hashed once more.
const SETTLING: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(2)];
/// Bytes that are asked for again, at least, where a file does not begin as its name says.
const HEADER_DOUBTED: u64 = 1 << 20;

/// A file that needs nothing.
pub(super) fn skip(item: &Item, store: &Store, commit: Option<Commit>, context: &Context) -> FileOutcome {
    context.reporter.report(&Event::Skipped { path: &item.file.path });
    outcome(&item.file, store, commit, Done::Skipped, &Counts::default(), Duration::ZERO)
}

/// A file that is hashed where it is, with nothing written down; `None` if it is not what it should be.
pub(super) async fn check(
    item: &Item,
    store: &Store,
    commit: Option<Commit>,
    hashes: &HashQueue,
    context: &Context,
) -> Result<Option<FileOutcome>, Error> {
    let started = Instant::now();
    let proven = hash(&item.file, store, hashes, &*context.reporter, &context.stop).await?;
    admit(&item.file, proven.as_ref().and_then(Proven::strange), &*context.reporter)?;
    Ok(proven.map(|_| {
        let checked =
            outcome(&item.file, store, commit, Done::Adopted, &Counts::default(), started.elapsed());
        context.reporter.report(&Event::Published(&checked));
        checked
    }))
}

/// Fails if a file whose digest is right is not what its name says. Where somebody wants it by its digest that is only told.
pub(in crate::command) fn admit(
    wanted: &WantedFile,
    strange: Option<&Strange>,
    reporter: &dyn Reporter,
) -> Result<(), Error> {
    let Some(strange) = strange else { return Ok(()) };
    if !wanted.vouchers.are_certain() {
        return Err(Error::strange(&wanted.path, strange.clone()));
    }
    let text = format!(
        "`{}` is not what its name says: {}; it has the digest that was pinned or signed, and is taken",
        wanted.path, strange.why
    );
    reporter.report(&Event::Warning(&text));
    Ok(())
}

/// Hashes a file that is there; `None`, with a warning, if it is not what it should be.
async fn hash(
    wanted: &WantedFile,
    store: &Store,
    hashes: &HashQueue,
    reporter: &dyn Reporter,
    stop: &Stop,
) -> Result<Option<Proven>, Error> {
    let path = store.target_path(wanted);
    let open = {
        let (store, wanted) = (store.clone(), wanted.clone());
        move || store.open(&wanted)
    };
    let hashed = hashes.hash(open, path.clone(), wanted, reporter, stop).await?;
    Ok(hashed.and_then(|hashed| {
        let told = |unlike: &Unlike| {
            let text = format!(
                "`{}` is not what the Hub has ({unlike}); it stays until its replacement is verified",
                path.display()
            );
            reporter.report(&Event::Warning(&text));
        };
        hashed.inspect_err(told).ok()
    }))
}

fn outcome(
    file: &WantedFile,
    store: &Store,
    commit: Option<Commit>,
    done: Done,
    counts: &Counts,
    time: Duration,
) -> FileOutcome {
    FileOutcome {
        path: file.path.clone(),
        target: store.visible_path(file, commit.as_ref()),
        size: file.size(),
        digest: file.content.key().to_string(),
        done,
        bytes_fetched: counts.received,
        bytes_copied: counts.copied,
        seconds: time.as_secs_f64(),
    }
}

/// Has a partial file share the bytes of a source that is on the same disk, where the file system can do that.
async fn share(partial: &Arc<Partial>, source: Option<&Path>) -> Result<(), Error> {
    let Some(path) = source.map(Path::to_owned).filter(|_| partial.written() == 0) else { return Ok(()) };
    let partial = Arc::clone(partial);
    let shared = blocking(move || partial.share(&source::open(&path)?)).await??;
    debug!(shared, "a file of this machine");
    Ok(())
}

/// Does the work on single files.
pub(super) struct FileWork {
    pub(super) access: Arc<WriteAccess>,
    pub(super) origin: Origin,
    pub(super) network: NetworkUse,
    pub(super) stall_timeout: Duration,
    pub(super) engine: Arc<Engine>,
    pub(super) hashes: HashQueue,
    pub(super) scope: Scope,
    pub(super) deltas: Arc<Deltas>,
    /// One change at a time: names with one content share a receipt in a cache. Tasks wait for it, so that no
    /// thread has to.
    pub(super) turn: Mutex<()>,
}

impl FileWork {
    /// Does what the plan says about one file.
    pub(super) async fn settle(
        &self,
        item: &Item,
        source: Arc<dyn Source>,
        demand: &Demand,
    ) -> Result<FileOutcome, Error> {
        match item.action {
            Action::Skip => {
                let file = item.file.clone();
                self.change_in_turn(move |access, origin| access.keep(&file, origin)).await?;
                self.scope.reporter.report(&Event::Skipped { path: &item.file.path });
                Ok(self.outcome(&item.file, Done::Skipped, &Counts::default(), Duration::ZERO))
            }
            Action::Adopt => match self.adopt(&item.file).await? {
                Some(adopted) => Ok(adopted),
                None if self.network == NetworkUse::Offline => Err(Error::Offline {
                    repo: self.origin.repo.clone(),
                    wanted: item.file.path.to_string(),
                    dir: self.access.store().root().into(),
                }),
                None => self.fetch(item, source, demand).await,
            },
            Action::Copy | Action::Resume { .. } | Action::Fetch => self.fetch(item, source, demand).await,
        }
    }

    /// Hashes a file that is there; `None` if it is not what it should be.
    async fn adopt(&self, wanted: &WantedFile) -> Result<Option<FileOutcome>, Error> {
        let started = Instant::now();
        if !self.record_by_hash(wanted).await? {
            return Ok(None);
        }
        let adopted = self.outcome(wanted, Done::Adopted, &Counts::default(), started.elapsed());
        self.scope.reporter.report(&Event::Published(&adopted));
        Ok(Some(adopted))
    }

    /// Hashes a file that is there, and writes its receipt; `false` if it is not what it should be. One that changes
    /// meanwhile is hashed again: mounts with a cache for writes set times of their own when they bring it home.
    async fn record_by_hash(&self, wanted: &WantedFile) -> Result<bool, Error> {
        for pause in SETTLING {
            match self.try_to_record(wanted).await {
                Err(Error::Meddled { .. }) => {}
                done => return done,
            }
            let settled = async {
                tokio::time::sleep(pause).await;
                Ok(())
            };
            self.scope.stop.or("hashing files", settled).await?;
        }
        self.try_to_record(wanted).await
    }

    async fn try_to_record(&self, wanted: &WantedFile) -> Result<bool, Error> {
        let store = self.access.store();
        let proven = hash(wanted, store, &self.hashes, &*self.scope.reporter, &self.scope.stop).await?;
        let Some(proven) = proven else { return Ok(false) };
        admit(wanted, proven.strange(), &*self.scope.reporter)?;
        let wanted = wanted.clone();
        self.change_in_turn(move |access, origin| {
            access.record(&wanted, &proven, origin)?;
            // What an earlier run had fetched of it would only take space.
            access.discard_partial(&wanted.content)
        })
        .await?;
        Ok(true)
    }

    /// Fetches, verifies and publishes. A server that changed the file under way is met with one clean
    /// start. Of wrong bytes each part is asked for again, until the digest is right.
    async fn fetch(
        &self,
        item: &Item,
        source: Arc<dyn Source>,
        demand: &Demand,
    ) -> Result<FileOutcome, Error> {
        let wanted = &item.file;
        let started = Instant::now();
        let mut counts = Counts::default();
        let mut resumed = None;
        let mut suspects = None;
        let mut has_changed = false;
        let mut was_strange = false;
        loop {
            let partial = self.open(wanted).await?;
            if resumed.is_none() {
                share(&partial, source.path()).await?;
            }
            let on_disk = partial.written();
            resumed.get_or_insert(on_disk);
            let inherited = suspects.is_none().then(|| partial.ranges());
            self.begin(wanted, on_disk);
            // What was doubted once comes from the source.
            let is_first = suspects.is_none() && !has_changed && !was_strange;
            let originals = is_first.then(|| self.deltas.originals(item, &self.scope.reporter)).flatten();
            let (filled, scope) = (Arc::clone(&partial), &self.scope);
            let filled =
                self.engine.fill(filled, Arc::clone(&source), originals, demand, scope, &mut counts).await;
            let unfinished = match filled {
                Ok(verified) => {
                    admit(wanted, verified.strange(), &*self.scope.reporter)?;
                    self.publish(verified).await?;
                    let done = match source.path() {
                        Some(_) => Done::Copied,
                        None if resumed > Some(0) => Done::Resumed,
                        None => Done::Fetched,
                    };
                    let fetched = self.outcome(wanted, done, &counts, started.elapsed());
                    self.scope.reporter.report(&Event::Published(&fetched));
                    return Ok(fetched);
                }
                Err(unfinished) => unfinished,
            };
            let (why, doubtful) = match unfinished {
                Unfinished::Failed(error @ (Error::NotGguf { .. } | Error::WrongKind { .. })) => {
                    return Err(self.refuse(wanted, error).await);
                }
                Unfinished::Failed(error) => return Err(error),
                Unfinished::Strange { strange, .. } if was_strange => {
                    let error = Error::strange(&wanted.path, strange);
                    return Err(self.refuse(wanted, error).await);
                }
                Unfinished::Strange { strange, seen } => {
                    was_strange = true;
                    source.fail_over().await?;
                    let mut doubtful = RangeSet::default();
                    doubtful.insert(0..seen.max(HEADER_DOUBTED).min(wanted.size()));
                    (strange.why, doubtful)
                }
                Unfinished::Changed { host, why } if has_changed => {
                    self.drop_partial(wanted).await?;
                    return Err(Error::KeepsChanging { path: wanted.path.clone(), host, why });
                }
                Unfinished::Changed { host, why } => {
                    has_changed = true;
                    (format!("the file changed on {host}: {why}"), RangeSet::full(wanted.size()))
                }
                Unfinished::Mismatch(Mismatch { expected, computed }) => {
                    let suspects = suspects.get_or_insert_with(|| {
                        let (size, inherited) = (wanted.size(), inherited.unwrap_or_default());
                        self.engine.suspects(size, &partial.copied(), &inherited, &counts.origins)
                    });
                    let Some(part) = suspects.next() else {
                        self.drop_partial(wanted).await?;
                        let (path, size) = (wanted.path.clone(), wanted.size());
                        return Err(Error::DigestMismatch { path, expected, computed, size });
                    };
                    (format!("its digest is {computed}, expected {expected}"), part)
                }
            };
            // Before bytes are thrown away the source says once more what the file should be.
            self.scope.stop.or("asking the Hub", source.confirm()).await?;
            self.doubt(&wanted.path, &partial, doubtful, &why).await?;
        }
    }

    /// A file is not what its name says. What was fetched stays, for who wants it all the same, unless it costs nothing.
    async fn refuse(&self, wanted: &WantedFile, error: Error) -> Error {
        if wanted.size() > HEADER_DOUBTED {
            return error;
        }
        self.drop_partial(wanted).await.err().unwrap_or(error)
    }

    fn begin(&self, wanted: &WantedFile, resumed: u64) {
        let size = wanted.size();
        self.scope.reporter.report(&Event::Started { path: &wanted.path, size, resumed, hash_only: false });
    }

    /// Takes a part for missing again.
    async fn doubt(
        &self,
        path: &crate::request::RepoPath,
        partial: &Arc<Partial>,
        doubtful: RangeSet,
        why: &str,
    ) -> Result<(), Error> {
        let before = partial.written();
        let doubted = Arc::clone(partial);
        blocking(move || doubted.doubt(&doubtful)).await??;
        let kept = partial.written();
        self.scope.reporter.report(&Event::Restarted { path, why, dropped: before - kept, kept });
        Ok(())
    }

    async fn open(&self, wanted: &WantedFile) -> Result<Arc<Partial>, Error> {
        let is_vouched_for = wanted.vouchers.are_certain();
        let wanted = wanted.clone();
        let partial = self.change(move |access, origin| access.open_partial(&wanted, &origin.repo)).await?;
        Ok(Arc::new(if is_vouched_for { partial.vouched_for() } else { partial }))
    }

    async fn publish(&self, verified: Verified) -> Result<(), Error> {
        let wanted = verified.wanted().clone();
        let is_proven = self.change(move |access, origin| access.publish(&verified, origin)).await?;
        if is_proven || self.record_by_hash(&wanted).await? {
            return Ok(());
        }
        self.change(move |access, _| access.withdraw(&wanted)).await
    }

    async fn drop_partial(&self, wanted: &WantedFile) -> Result<(), Error> {
        let content = wanted.content;
        self.change(move |access, _| access.discard_partial(&content)).await
    }

    /// Makes a second name of content that this run has just brought, or found, or that is in another store of this
    /// target.
    pub(super) async fn copy(
        &self,
        item: &Item,
        from: &Store,
        original: &WantedFile,
    ) -> Result<FileOutcome, Error> {
        let started = Instant::now();
        let wanted = &item.file;
        let store = self.access.store();
        if from.target_path(original) == store.target_path(wanted) {
            let kept = wanted.clone();
            self.change_in_turn(move |access, origin| access.keep(&kept, origin)).await?;
        } else {
            let verified = self.fill_from(from, original, wanted).await?;
            self.publish(verified).await?;
        }
        let copied = self.outcome(wanted, Done::Copied, &Counts::default(), started.elapsed());
        self.scope.reporter.report(&Event::Published(&copied));
        Ok(copied)
    }

    /// The bytes of another file on this disk, on the same way as those from a network.
    async fn fill_from(
        &self,
        from: &Store,
        original: &WantedFile,
        wanted: &WantedFile,
    ) -> Result<Verified, Error> {
        let path = from.target_path(original);
        let opened = {
            let (from, original) = (from.clone(), original.clone());
            self.scope.stop.or_blocking("copying", move || from.open(&original)).await?
        };
        let opened = Arc::new(opened.ok_or_else(|| Error::Meddled { path: path.clone() })?);
        let partial = self.open(wanted).await?;
        let shared = {
            let (partial, opened) = (Arc::clone(&partial), Arc::clone(&opened));
            blocking(move || partial.share(&opened)).await??
        };
        debug!(path = %wanted.path, original = %path.display(), shared, "copy");
        let source = LocalFile::new(opened, &path, self.stall_timeout);
        self.begin(wanted, partial.written());
        let demand = self.engine.admit(wanted.size()).await;
        let (source, mut counts) = (Arc::new(source), Counts::default());
        let filled = self.engine.fill(partial, source, None, &demand, &self.scope, &mut counts).await;
        let error = match filled {
            Ok(verified) => {
                admit(wanted, verified.strange(), &*self.scope.reporter)?;
                return Ok(verified);
            }
            Err(Unfinished::Failed(error)) => return Err(error),
            Err(Unfinished::Strange { strange, .. }) => Error::strange(&wanted.path, strange),
            // The original was right when it was verified.
            Err(Unfinished::Changed { .. } | Unfinished::Mismatch(_)) => Error::Meddled { path },
        };
        self.drop_partial(wanted).await?;
        Err(error)
    }

    /// Runs work on the receipt of a content that other names may have too.
    async fn change_in_turn(
        &self,
        work: impl FnOnce(&WriteAccess, &Origin) -> Result<(), Error> + Send + 'static,
    ) -> Result<(), Error> {
        let _turn = self.turn.lock().await;
        self.change(work).await
    }

    /// Runs work on the disk to its end.
    async fn change<T: Send + 'static>(
        &self,
        work: impl FnOnce(&WriteAccess, &Origin) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (access, origin) = (Arc::clone(&self.access), self.origin.clone());
        blocking(move || work(&access, &origin)).await?
    }

    /// Fails if a file that was skipped at the beginning has been changed since.
    pub(super) async fn check_kept(&self, plan: &Plan) -> Result<(), Error> {
        let kept = plan.items.iter().filter(|item| item.action == Action::Skip);
        let kept: Vec<_> = kept.map(|item| item.file.clone()).collect();
        let access = Arc::clone(&self.access);
        self.scope.stop.or_blocking("looking at the disk", move || access.store().check_kept(&kept)).await
    }

    fn outcome(&self, file: &WantedFile, done: Done, counts: &Counts, time: Duration) -> FileOutcome {
        outcome(file, self.access.store(), self.origin.commit, done, counts, time)
    }
}
