//! `modelfetch fetch` and `plan`: the steps, one after the other.

mod files;
mod freshness;
mod models;
mod one_file;
mod unwritable;

use std::sync::Arc;
use std::time::Instant;

use super::Context;
use crate::catalog::Hub;
use crate::error::Error;
use crate::plan::Plan;
use crate::report::{Event, FileOutcome, Outcome};
use crate::request::{Recheck, Request};
use crate::store::{Store, WriteAccess};
use crate::transfer::Engine;

use freshness::Known;

pub use models::{ModelEnd, ModelRequest, Models, ModelsRequest, fetch_models, plan_models};

/// Leaves every file of `request` verified at its final name.
pub async fn fetch(request: &Request, context: &Context) -> Result<Outcome, Error> {
    let run = Run::new(request, context.clone());
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
    tell_unknown_space(&plan, context);
    plan.check_space()?;
    let engine = Arc::new(Engine::new(request.limits.clone()));
    engine.run(run.carry_out(&access, &known, &plan, &engine)).await
}

/// One request on its way.
struct Run<'a> {
    request: &'a Request,
    context: Context,
    store: Store,
    hub: Arc<Hub>,
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
    fn new(request: &'a Request, context: Context) -> Self {
        let store = Store::new(&request.destination, &request.repo);
        let hub = Arc::new(context.hub(&request.endpoints, &request.limits));
        Self { request, context, store, hub, started: Instant::now() }
    }

    /// Finds out what is wanted, and whether anything has to be done about it, or can be.
    async fn begin(&self) -> Result<Begun, Error> {
        let Self { request, context, store, hub, .. } = self;
        let known = freshness::look_up(request, store, hub, context).await?;
        if let Some(plan) = nothing_to_do(request, store, &known, context).await? {
            return Ok(Begun::Verified(known, plan));
        }
        let probed = store.clone();
        match context.stop.or_blocking("looking at the disk", move || probed.probe()).await {
            Ok(()) => Ok(Begun::Ready(known)),
            Err(why @ (Error::Io { .. } | Error::DiskFull { .. })) => {
                let (known, files) = unwritable::settle(request, store, known, why, context).await?;
                Ok(Begun::Ended(self.outcome(&known, files)))
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
        let recheck = self.request.recheck;
        let work = move || {
            let (origin, files) = (resolution.origin(), &resolution.files);
            access.sweep(&origin.repo, files)?;
            access.store().plan(&origin, files, recheck)
        };
        self.context.stop.or_blocking("planning", work).await
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
        };
        let outcomes = files::work(&job, &self.hub, engine, &self.context).await?;
        let (access, resolution) = (Arc::clone(access), Arc::clone(resolution));
        let record = move || {
            let listing = resolution.listing_json()?;
            access.record_snapshot(&resolution.origin(), listing.as_deref())
        };
        tokio::task::spawn_blocking(record).await??;
        Ok(self.outcome(known, outcomes))
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

/// Says what [`fetch`] would do. Asks the Hub and reads the disk, changes nothing.
pub async fn plan(request: &Request, context: &Context) -> Result<Plan, Error> {
    let store = Store::new(&request.destination, &request.repo);
    let hub = context.hub(&request.endpoints, &request.limits);
    let resolution = freshness::look_up(request, &store, &hub, context).await?.resolution;
    let recheck = request.recheck;
    let plan = context
        .stop
        .or_blocking("planning", move || store.plan(&resolution.origin(), &resolution.files, recheck))
        .await?;
    tell_unknown_space(&plan, context);
    Ok(plan)
}

/// The plan, if every file is there and verified and nothing is left to be written down.
async fn nothing_to_do(
    request: &Request,
    store: &Store,
    known: &Known,
    context: &Context,
) -> Result<Option<Plan>, Error> {
    let recheck = request.recheck;
    if recheck == Recheck::Full {
        return Ok(None);
    }
    let (store, resolution, from_disk) = (store.clone(), Arc::clone(&known.resolution), known.from_disk);
    let look = move || {
        let (origin, files) = (resolution.origin(), &resolution.files);
        let is_done = if from_disk {
            store.is_verified(files)?
        } else {
            store.is_recorded(files, &origin, resolution.listing.is_some())?
        };
        is_done.then(|| store.plan(&origin, files, recheck)).transpose()
    };
    context.stop.or_blocking("looking at the disk", look).await
}

fn tell_unknown_space(plan: &Plan, context: &Context) {
    if plan.bytes_free.is_none() && plan.bytes_needed > 0 {
        let text = format!(
            "the file system of `{}` does not tell how much space is free: whether there is enough shows when it is written",
            plan.dir.display()
        );
        context.reporter.report(&Event::Warning(&text));
    }
}
