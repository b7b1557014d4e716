//! `modelfetch fetch` and `plan`: the steps, one after the other.

mod delta;
mod files;
mod freshness;
mod models;
mod one_file;
mod unwritable;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Context, sets};
use crate::catalog::Hub;
use crate::error::Error;
use crate::plan::{Plan, WantedFile};
use crate::report::{Event, FileOutcome, Outcome};
use crate::request::{Destination, NetworkUse, Recheck, Request};
use crate::stop::blocking;
use crate::store::{Store, WriteAccess};
use crate::transfer::Engine;
use crate::words::{chain, count};

use delta::Deltas;
use freshness::Known;

pub use models::{ModelEnd, ModelRequest, Models, ModelsRequest, fetch_models, plan_models};
pub(in crate::command) use one_file::admit;

/// So many requests need more than a part of the smallest window that the Hub grants.
const MANY_REQUESTS: u64 = 100;

/// Leaves every file of `request` verified at its final name.
pub async fn fetch(request: &Request, context: &Context) -> Result<Outcome, Error> {
    let hub = Arc::new(context.hub(&request.endpoints, &request.limits));
    let run = Run::new(request, hub, context.clone());
    let known = match run.begin().await? {
        Begun::Ended(outcome) => return Ok(outcome),
        Begun::Verified(known, plan) => {
            context.reporter.report(&Event::Planned(&[&plan]));
            return Ok(run.skip_all(&known, &plan));
        }
        Begun::Ready(known) => known,
    };
    let access = run.lock().await?;
    let plan = run.prepare(&access, &known).await?;
    context.reporter.report(&Event::Planned(&[&plan]));
    tell_disk(&plan, context);
    if let Err(error) = plan.check_space() {
        return Err(run.with_unfinished(error, &known).await);
    }
    let plan = run.rehearse(plan).await?;
    let engine = Arc::new(Engine::new(request.limits.clone()));
    engine.run(run.carry_out(&access, &known, &plan, &engine)).await
}

/// One request on its way.
struct Run<'a> {
    request: &'a Request,
    context: Context,
    store: Store,
    hub: Arc<Hub>,
    deltas: Arc<Deltas>,
    started: Instant,
}

/// How far a request gets without the right to change anything.
enum Begun {
    /// To its end.
    Ended(Outcome),
    /// Every file is there and verified.
    Verified(Known, Plan),
    /// This is what its files should be.
    Ready(Known),
}

impl<'a> Run<'a> {
    fn new(request: &'a Request, hub: Arc<Hub>, context: Context) -> Self {
        let store = Store::new(&request.destination, &request.repo).rechecking(request.recheck);
        Self { request, context, store, hub, deltas: Arc::default(), started: Instant::now() }
    }

    /// Finds out what is wanted, and whether anything has to be done about it, or can be.
    async fn begin(&self) -> Result<Begun, Error> {
        let Self { request, context, store, hub, .. } = self;
        let known = freshness::look_up(request, store, hub, context).await?;
        store.check_names(&request.repo, &known.resolution.files)?;
        if let Some(plan) = nothing_to_do(request, store, &known, context).await? {
            return Ok(Begun::Verified(known, plan));
        }
        check_sets(request, store, hub, &known, context).await?;
        let probed = store.clone();
        match context.stop.or_blocking("looking at the disk", move || probed.probe()).await {
            Ok(()) => Ok(Begun::Ready(known)),
            Err(why @ (Error::Io { .. } | Error::DiskFull { .. })) => {
                let resolution = Arc::clone(&known.resolution);
                match unwritable::settle(request, store, known, why, context).await {
                    Ok((known, files)) => Ok(Begun::Ended(self.outcome(&known, files))),
                    Err(error) => {
                        let (destination, files) = (&request.destination, &resolution.files);
                        Err(with_unfinished(error, destination, files, context).await)
                    }
                }
            }
            Err(error) => Err(error),
        }
    }

    async fn lock(&self) -> Result<Arc<WriteAccess>, Error> {
        self.store.lock(&*self.context.reporter, &self.context.stop).await.map(Arc::new)
    }

    /// Cleans up and plans, now that no other process changes anything: one may have done the work while this
    /// one waited.
    async fn prepare(&self, access: &Arc<WriteAccess>, known: &Known) -> Result<Plan, Error> {
        let (access, resolution) = (Arc::clone(access), Arc::clone(&known.resolution));
        let work = move || {
            let (origin, files) = (resolution.origin(), &resolution.files);
            access.sweep(&origin, files)?;
            access.store().plan(&origin, files)
        };
        let plan = self.context.stop.or_blocking("planning", work).await?;
        if self.request.delta && self.request.network != NetworkUse::Offline {
            let revision = known.resolution.commit_or_revision();
            let asked = self.deltas.ask(&plan, &revision, &self.store, &self.hub, &self.context);
            Box::pin(asked).await?;
        }
        Ok(plan)
    }

    /// Fails if a file of a plan could not get its name.
    async fn rehearse(&self, plan: Plan) -> Result<Plan, Error> {
        let store = self.store.clone();
        let rehearse = move || store.rehearse(&plan).map(|()| plan);
        self.context.stop.or_blocking("looking at the disk", rehearse).await
    }

    /// The end of a request with nothing to do.
    fn skip_all(&self, known: &Known, plan: &Plan) -> Outcome {
        let skip = |item| one_file::skip(item, &self.store, plan.commit, &self.context);
        self.outcome(known, plan.items.iter().map(skip).collect())
    }

    /// Does what has to be done, with the connections of `engine`, which has to run.
    async fn carry_out(
        &self,
        access: &Arc<WriteAccess>,
        known: &Known,
        plan: &Plan,
        engine: &Arc<Engine>,
    ) -> Result<Outcome, Error> {
        let resolution = &known.resolution;
        let job = files::Work {
            plan,
            access,
            resolution,
            limits: &self.request.limits,
            network: self.request.network,
            deltas: &self.deltas,
            is_locked: self.request.locked.as_ref().is_some_and(|locked| locked.is_enough),
        };
        let outcomes = match files::work(&job, &self.hub, engine, &self.context).await {
            Ok(outcomes) => outcomes,
            Err(error) => return Err(self.with_unfinished(error, known).await),
        };
        self.deltas.end(&*self.context.reporter).await;
        let (access, resolution) = (Arc::clone(access), Arc::clone(resolution));
        let record = move || -> Result<_, Error> {
            let (origin, listing) = (resolution.origin(), resolution.listing_json()?);
            access.record_snapshot(&origin, listing.as_deref())?;
            Ok(access.note(&resolution.files, origin.commit.as_ref(), listing.as_deref()))
        };
        if let Err(why) = blocking(record).await?? {
            let text = format!(
                "huggingface_hub's metadata could not be written ({}): the files are there and verified, but `hf download --local-dir` may hash or fetch them again",
                chain(&why)
            );
            self.context.reporter.report(&Event::Warning(&text));
        }
        Ok(self.outcome(known, outcomes))
    }

    async fn with_unfinished(&self, error: Error, known: &Known) -> Error {
        let files = &known.resolution.files;
        with_unfinished(error, &self.request.destination, files, &self.context).await
    }

    fn outcome(&self, known: &Known, files: Vec<FileOutcome>) -> Outcome {
        Outcome {
            repo: self.request.repo.clone(),
            revision: self.request.revision.clone(),
            commit: known.resolution.commit,
            files,
            stale: known.stale,
            seconds: self.started.elapsed().as_secs_f64(),
        }
    }
}

/// What [`fetch`] would do, and whether it would get as far as the first byte.
#[derive(Debug)]
pub struct Planned {
    /// What it would do.
    pub plan: Plan,
    /// Why the disk could not take it.
    pub verdict: Result<(), Error>,
}

/// Says what [`fetch`] would do. Asks the Hub and reads the disk; what it tries there is gone afterwards.
pub async fn plan(request: &Request, context: &Context) -> Result<Planned, Error> {
    let hub = Arc::new(context.hub(&request.endpoints, &request.limits));
    Box::pin(plan_by(request, &hub, context)).await
}

async fn plan_by(request: &Request, hub: &Arc<Hub>, context: &Context) -> Result<Planned, Error> {
    let store = Store::new(&request.destination, &request.repo).rechecking(request.recheck);
    let known = freshness::look_up(request, &store, hub, context).await?;
    store.check_names(&request.repo, &known.resolution.files)?;
    check_sets(request, &store, hub, &known, context).await?;
    let work = {
        let (store, resolution) = (store.clone(), Arc::clone(&known.resolution));
        move || {
            let plan = store.plan(&resolution.origin(), &resolution.files)?;
            let verdict = plan.check_space().and_then(|()| store.rehearse(&plan));
            Ok(Planned { plan, verdict })
        }
    };
    let mut planned = context.stop.or_blocking("planning", work).await?;
    if request.delta && request.network != NetworkUse::Offline {
        let (revision, deltas) = (known.resolution.commit_or_revision(), Deltas::default());
        Box::pin(deltas.ask(&planned.plan, &revision, &store, hub, context)).await?;
        deltas.add_to(&mut planned.plan, context).await?;
    }
    let may_ask = !request.locked.as_ref().is_some_and(|locked| locked.is_enough);
    if may_ask && request.network != NetworkUse::Offline {
        planned.plan.limited_for = limited_for(&planned.plan, hub).await;
    }
    tell_disk(&planned.plan, context);
    if let Err(error) = planned.verdict {
        let (destination, files) = (&request.destination, &known.resolution.files);
        planned.verdict = Err(with_unfinished(error, destination, files, context).await);
    }
    // Where nothing can be written, what is there and right will do.
    if let Some(why) = planned.verdict.as_ref().err().filter(|why| why.is_unwritable())
        && will_do(&planned.plan, &known, &store, context).await?
    {
        let text = format!("nothing can be written ({}): what is there is used if it is right", chain(why));
        context.reporter.report(&Event::Warning(&text));
        planned.verdict = Ok(());
    }
    Ok(planned)
}

/// Whether all that is wanted is there, or all that was before.
async fn will_do(plan: &Plan, known: &Known, store: &Store, context: &Context) -> Result<bool, Error> {
    if plan.items.iter().all(|item| item.action.is_there()) {
        return Ok(true);
    }
    match &known.earlier {
        Some(earlier) => freshness::is_present(earlier, store, context).await,
        None => Ok(false),
    }
}

/// How long the Hub's limit of requests makes it last, where there are many.
async fn limited_for(plan: &Plan, hub: &Hub) -> Option<Duration> {
    let requests = plan.requests();
    let first = plan.items.iter().find(|item| item.bytes_to_fetch() > 0)?;
    if requests < MANY_REQUESTS {
        return None;
    }
    let revision = plan.commit.map_or_else(|| plan.revision.to_string(), |commit| commit.to_string());
    hub.limited_for(requests, &plan.repo, &revision, &first.file.path).await
}

/// An error about a disk without room names the unfinished downloads that could make some.
pub(super) async fn with_unfinished(
    error: Error,
    destination: &Destination,
    files: &[WantedFile],
    context: &Context,
) -> Error {
    if !error.is_about_space() {
        return error;
    }
    let destination = destination.clone();
    let keys: HashSet<String> = files.iter().map(|file| file.content.key().to_string()).collect();
    let look = move || Store::in_the_way(&destination, &keys);
    match context.stop.or_blocking("looking at the disk", look).await {
        Ok(Some(unfinished)) => error.with_unfinished(unfinished),
        // What cannot be read there is no answer to what is asked.
        Ok(None) | Err(_) => error,
    }
}

/// Fails if a part of a set of shards is wanted. What is locked was looked at when it was.
async fn check_sets(
    request: &Request,
    store: &Store,
    hub: &Arc<Hub>,
    known: &Known,
    context: &Context,
) -> Result<(), Error> {
    if request.locked.as_ref().is_some_and(|locked| locked.is_enough) {
        return Ok(());
    }
    sets::check(&known.resolution, store, hub, &request.limits, context).await
}

/// The plan, if every file is there and verified and nothing is left to be written down.
async fn nothing_to_do(
    request: &Request,
    store: &Store,
    known: &Known,
    context: &Context,
) -> Result<Option<Plan>, Error> {
    if request.recheck == Recheck::Full {
        return Ok(None);
    }
    let (store, resolution, from_disk) = (store.clone(), Arc::clone(&known.resolution), known.from_disk);
    let look = move || {
        let (origin, files) = (resolution.origin(), &resolution.files);
        let Some(sight) = store.verified(&origin, files)? else { return Ok(None) };
        let is_done =
            from_disk || sight.is_recorded(resolution.listing.is_some())? && !sight.is_to_note_xet();
        let is_done = is_done && sight.knows_signers() && store.is_noted(files, origin.commit.as_ref())?;
        is_done.then(|| sight.plan()).transpose()
    };
    context.stop.or_blocking("looking at the disk", look).await
}

/// Says what the disk does not tell, and what that costs.
fn tell_disk(plan: &Plan, context: &Context) {
    if plan.bytes_free.is_none() && plan.bytes_needed > 0 {
        let text = format!(
            "the file system of `{}` does not tell how much space is free: whether there is enough shows when it is written",
            plan.dir.display()
        );
        context.reporter.report(&Event::Warning(&text));
    }
    if plan.doubted > 0 {
        let text = format!(
            "{} in `{}` will be hashed again: inode numbers, owners or rights are others than when they were verified. If that happens at every start, `--verify mtime` takes length and time of the last modification for enough",
            count(plan.doubted, "file"),
            plan.dir.display()
        );
        context.reporter.report(&Event::Warning(&text));
    }
}
