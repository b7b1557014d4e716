//! Carries a plan out: file by file through transfer, verify and publish, several files at a time
//! where one does not use all connections.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::task::{JoinSet, spawn_blocking};
use url::Url;

use crate::catalog::{Hub, Snapshot};
use crate::command::Context;
use crate::content::{Mismatch, RangeSet};
use crate::disk;
use crate::error::Error;
use crate::plan::{Action, Item, Plan, WantedFile};
use crate::report::{Done, Event, FileOutcome, Reporter};
use crate::request::{Limits, NetworkUse, RepoPath};
use crate::source::{LocalFile, Source};
use crate::stop::{self, Cause, Stop};
use crate::store::hashing::{self, Verified};
use crate::store::partial::{Partial, discard};
use crate::store::publish::Place;
use crate::transfer::{Counts, Demand, Engine, Unfinished};

/// What is to be done.
pub(crate) struct Job<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) place: &'a Place,
    /// Locations that are known already.
    pub(crate) urls: &'a HashMap<RepoPath, Url>,
    pub(crate) limits: &'a Limits,
    pub(crate) network: NetworkUse,
}

/// Does it. One outcome per item of the plan, in its order. When a file fails the others are
/// stopped, with their state recorded, and its error is returned.
pub(crate) async fn execute(
    job: &Job<'_>,
    hub: &Arc<Hub>,
    context: &Context,
) -> Result<Vec<FileOutcome>, Error> {
    let (halt, stop) = stop::channel(context.stop.deadline());
    let engine = Engine::new(job.limits.clone(), Arc::clone(&context.reporter), stop.clone());
    let engine = Arc::new(engine);
    let hand = Arc::new(Hand {
        place: job.place.clone(),
        network: job.network,
        stall_timeout: job.limits.stall_timeout,
        engine: Arc::clone(&engine),
        reporter: Arc::clone(&context.reporter),
        stop,
        recording: Arc::default(),
    });
    let all = engine.run(async {
        let mut all = std::pin::pin!(all_files(job, hub, &hand, &halt));
        tokio::select! {
            result = &mut all => return result,
            cause = context.stop.raised() => halt.stop(cause),
        }
        all.await
    });
    all.await
}

async fn all_files(
    job: &Job<'_>,
    hub: &Arc<Hub>,
    hand: &Arc<Hand>,
    halt: &stop::StopSender,
) -> Result<Vec<FileOutcome>, Error> {
    let plan = job.plan;
    let revision = plan.commit.map_or_else(|| plan.revision.to_string(), |commit| commit.to_string());
    let snapshot = Snapshot { hub: Arc::clone(hub), repo: plan.repo.clone(), revision };
    let mut tasks: JoinSet<Result<(usize, FileOutcome), Error>> = JoinSet::new();
    let mut outcomes = Outcomes::new(plan.items.len());
    for (index, item) in plan.items.iter().enumerate().filter(|(_, item)| item.action != Action::Copy) {
        // The first file may take all connections; the next one begins when it leaves one idle.
        let demand = loop {
            tokio::select! {
                demand = hand.engine.admit(item.bytes_to_fetch()) => break demand,
                finished = tasks.join_next(), if !tasks.is_empty() => outcomes.note(finished, halt),
            }
        };
        if outcomes.failed() || hand.stop.cause().is_some() {
            break;
        }
        let url = job.urls.get(&item.file.path).cloned();
        let source = snapshot.source(&item.file, url, job.limits.stall_timeout);
        let (hand, item) = (Arc::clone(hand), item.clone());
        tasks.spawn(async move { Ok((index, hand.settle(&item, source, &demand).await?)) });
    }
    while let Some(finished) = tasks.join_next().await {
        outcomes.note(Some(finished), halt);
    }
    hand.stop.check("downloading").or_else(|error| outcomes.error.take().map_or(Err(error), Err))?;
    for (index, item) in plan.items.iter().enumerate().filter(|(_, item)| item.action == Action::Copy) {
        outcomes.done[index] = Some(hand.copy(item, plan).await?);
    }
    Ok(outcomes.done.into_iter().flatten().collect())
}

/// What has come of the files so far.
struct Outcomes {
    done: Vec<Option<FileOutcome>>,
    error: Option<Error>,
}

type Finished = Result<Result<(usize, FileOutcome), Error>, tokio::task::JoinError>;

impl Outcomes {
    fn new(files: usize) -> Self {
        Self { done: vec![None; files], error: None }
    }

    fn failed(&self) -> bool {
        self.error.is_some()
    }

    /// Keeps an outcome; the first error stops the other files.
    fn note(&mut self, finished: Option<Finished>, halt: &stop::StopSender) {
        match finished {
            None => {}
            Some(Ok(Ok((index, outcome)))) => self.done[index] = Some(outcome),
            Some(Ok(Err(error))) => self.fail(error, halt),
            Some(Err(why)) => self.fail(why.into(), halt),
        }
    }

    fn fail(&mut self, error: Error, halt: &stop::StopSender) {
        self.error.get_or_insert(error);
        halt.stop(Cause::Abandoned);
    }
}

/// A file that needs nothing.
pub(crate) fn skip(item: &Item, place: &Place, reporter: &dyn Reporter) -> FileOutcome {
    reporter.report(&Event::Skipped { path: &item.file.path });
    outcome(&item.file, place, Done::Skipped, 0, Duration::ZERO)
}

fn outcome(file: &WantedFile, place: &Place, done: Done, bytes_fetched: u64, time: Duration) -> FileOutcome {
    FileOutcome {
        path: file.path.clone(),
        target: place.visible(file),
        size: file.size(),
        digest: file.content.key().to_string(),
        done,
        bytes_fetched,
        seconds: time.as_secs_f64(),
    }
}

/// Does the work on single files.
struct Hand {
    place: Place,
    network: NetworkUse,
    stall_timeout: Duration,
    engine: Arc<Engine>,
    reporter: Arc<dyn Reporter>,
    stop: Stop,
    /// Names with one content share a receipt in a cache: one at a time writes it.
    recording: Arc<Mutex<()>>,
}

impl Hand {
    /// Does what the plan says about one file.
    async fn settle(
        &self,
        item: &Item,
        source: Arc<dyn Source>,
        demand: &Demand,
    ) -> Result<FileOutcome, Error> {
        match item.action {
            Action::Skip => {
                self.record(&item.file).await?;
                Ok(skip(item, &self.place, &*self.reporter))
            }
            Action::Adopt => match self.adopt(item).await? {
                Some(adopted) => Ok(adopted),
                None if self.network == NetworkUse::Offline => Err(Error::Offline {
                    repo: self.place.repo.clone(),
                    wanted: item.file.path.to_string(),
                    dir: self.place.layout.root().into(),
                }),
                None => self.fetch(item, source, demand).await,
            },
            Action::Copy | Action::Resume { .. } | Action::Fetch => self.fetch(item, source, demand).await,
        }
    }

    /// Hashes a file that is there; `None` if it is not what it should be.
    async fn adopt(&self, item: &Item) -> Result<Option<FileOutcome>, Error> {
        let started = Instant::now();
        let file = &item.file;
        let hashed = hashing::hash_shown(&item.target, file, &*self.reporter, &self.stop).await?;
        if let Err(mismatch) = hashed {
            let text = format!(
                "`{}` is not what the Hub has (its digest is {}); it stays until its replacement is verified",
                item.target.display(),
                mismatch.computed
            );
            self.reporter.report(&Event::Warning(&text));
            return Ok(None);
        }
        let target = item.target.clone();
        // The receipt must not outlive bytes that were hashed in the page cache only.
        spawn_blocking(move || disk::sync_file(&target)).await??;
        self.record(file).await?;
        // What an earlier run had fetched of it would only take space.
        self.drop_partial(file).await?;
        let adopted = outcome(file, &self.place, Done::Adopted, 0, started.elapsed());
        self.reporter.report(&Event::Published(&adopted));
        Ok(Some(adopted))
    }

    async fn record(&self, file: &WantedFile) -> Result<(), Error> {
        let (place, file, recording) = (self.place.clone(), file.clone(), Arc::clone(&self.recording));
        let record = move || {
            let _turn = recording.lock();
            place.record(&file)
        };
        spawn_blocking(record).await?
    }

    /// Fetches, verifies and publishes. A server that changed the file under way is met with one clean
    /// start. Of wrong bytes each part is asked for again, until the digest is right.
    async fn fetch(
        &self,
        item: &Item,
        source: Arc<dyn Source>,
        demand: &Demand,
    ) -> Result<FileOutcome, Error> {
        let started = Instant::now();
        let file = &item.file;
        let mut counts = Counts::default();
        let mut resumed = None;
        let mut suspects = None;
        let mut has_changed = false;
        loop {
            let partial = self.open(file).await?;
            let on_disk = partial.written();
            resumed.get_or_insert(on_disk);
            let inherited = suspects.is_none().then(|| partial.ranges());
            self.reporter.report(&Event::Started {
                path: &file.path,
                size: file.size(),
                resumed: on_disk,
                hash_only: false,
            });
            let unfinished = match self
                .engine
                .fill(Arc::clone(&partial), Arc::clone(&source), demand, &mut counts)
                .await
            {
                Ok(verified) => {
                    let place = self.place.clone();
                    spawn_blocking(move || place.publish(&verified)).await??;
                    let done = if resumed > Some(0) { Done::Resumed } else { Done::Fetched };
                    let fetched = outcome(file, &self.place, done, counts.received, started.elapsed());
                    self.reporter.report(&Event::Published(&fetched));
                    return Ok(fetched);
                }
                Err(unfinished) => unfinished,
            };
            let (why, doubtful) = match unfinished {
                Unfinished::Failed(error @ Error::NotGguf { .. }) => {
                    self.drop_partial(file).await?;
                    return Err(error);
                }
                Unfinished::Failed(error) => return Err(error),
                Unfinished::Changed { host, why } if has_changed => {
                    self.drop_partial(file).await?;
                    return Err(Error::KeepsChanging { path: file.path.clone(), host, why });
                }
                Unfinished::Changed { host, why } => {
                    has_changed = true;
                    (format!("the file changed on {host}: {why}"), RangeSet::full(file.size()))
                }
                Unfinished::Mismatch(Mismatch { expected, computed }) => {
                    let suspects = suspects.get_or_insert_with(|| {
                        self.engine.suspects(file.size(), &inherited.unwrap_or_default(), &counts.origins)
                    });
                    let Some(part) = suspects.next() else {
                        self.drop_partial(file).await?;
                        let (path, size) = (file.path.clone(), file.size());
                        return Err(Error::DigestMismatch { path, expected, computed, size });
                    };
                    (format!("its digest is {computed}, expected {expected}"), part)
                }
            };
            // Before bytes are thrown away the source says once more what the file should be.
            source.confirm().await?;
            let before = partial.written();
            spawn_blocking({
                let partial = Arc::clone(&partial);
                move || partial.doubt(&doubtful)
            })
            .await??;
            let kept = partial.written();
            let (path, dropped) = (&file.path, before - kept);
            self.reporter.report(&Event::Restarted { path, why: &why, dropped, kept });
        }
    }

    async fn open(&self, file: &WantedFile) -> Result<Arc<Partial>, Error> {
        let (place, file) = (self.place.clone(), file.clone());
        let opened = spawn_blocking(move || Partial::open(&place.layout.partials(), &file, &place.repo));
        opened.await?.map(Arc::new)
    }

    async fn drop_partial(&self, file: &WantedFile) -> Result<(), Error> {
        let (partials, file) = (self.place.layout.partials(), file.clone());
        spawn_blocking(move || discard(&partials, &file)).await?
    }

    /// Makes a second name of content that this run has just brought, or found.
    async fn copy(&self, item: &Item, plan: &Plan) -> Result<FileOutcome, Error> {
        let started = Instant::now();
        let file = &item.file;
        let twin = plan.items.iter().find(|other| other.action != Action::Copy && other.brings(file));
        let twin = twin.ok_or_else(|| Error::Internal("a copy without an original".into()))?.target.clone();
        if twin == item.target {
            self.record(file).await?;
        } else {
            let verified = self.fill_from(&twin, file).await?;
            let place = self.place.clone();
            spawn_blocking(move || place.publish(&verified)).await??;
        }
        let copied = outcome(file, &self.place, Done::Copied, 0, started.elapsed());
        self.reporter.report(&Event::Published(&copied));
        Ok(copied)
    }

    /// The bytes of another file on this disk, on the same way as those from a network.
    async fn fill_from(&self, original: &Path, file: &WantedFile) -> Result<Verified, Error> {
        let opened = File::open(original).map_err(Error::io("open", original))?;
        let source = LocalFile::new(opened, original, self.stall_timeout);
        let partial = self.open(file).await?;
        let (path, size) = (&file.path, file.size());
        let resumed = partial.written();
        self.reporter.report(&Event::Started { path, size, resumed, hash_only: false });
        let demand = self.engine.admit(size).await;
        let filled = self.engine.fill(partial, Arc::new(source), &demand, &mut Counts::default()).await;
        let error = match filled {
            Ok(verified) => return Ok(verified),
            Err(Unfinished::Failed(error)) => return Err(error),
            Err(Unfinished::Changed { host, why }) => Error::KeepsChanging { path: path.clone(), host, why },
            Err(Unfinished::Mismatch(Mismatch { expected, computed })) => {
                Error::DigestMismatch { path: path.clone(), expected, computed, size }
            }
        };
        self.drop_partial(file).await?;
        Err(error)
    }
}
