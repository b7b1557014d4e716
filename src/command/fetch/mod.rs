//! `modelfetch fetch` and `plan`: the steps, one after the other.

mod files;
mod freshness;
mod one_file;
mod unwritable;

use std::sync::Arc;
use std::time::Instant;

use super::Context;
use crate::catalog::Resolution;
use crate::error::Error;
use crate::plan::Plan;
use crate::report::{Event, FileOutcome, Outcome};
use crate::request::{Recheck, Request};
use crate::store::{Store, WriteAccess};
use crate::transfer::Engine;

use freshness::Known;

/// Leaves every file of `request` verified at its final name.
pub async fn fetch(request: &Request, context: &Context) -> Result<Outcome, Error> {
    let started = Instant::now();
    let store = Store::new(&request.destination, &request.repo);
    let hub = Arc::new(context.hub(&request.endpoints, &request.limits));
    let known = freshness::look_up(request, &store, &hub, context).await?;
    let ended = |known: &Known, files| Outcome {
        repo: request.repo.clone(),
        revision: request.revision.clone(),
        commit: known.resolution.commit,
        files,
        stale: known.stale,
        seconds: started.elapsed().as_secs_f64(),
    };
    if let Some(plan) = nothing_to_do(request, &store, &known, context).await? {
        context.reporter.report(&Event::Planned(&plan));
        let skip = |item| one_file::skip(item, &store, plan.commit, context);
        return Ok(ended(&known, plan.items.iter().map(skip).collect()));
    }
    let probed = store.clone();
    match context.stop.or_blocking("looking at the disk", move || probed.probe()).await {
        Ok(()) => {}
        Err(why @ (Error::Io { .. } | Error::DiskFull { .. })) => {
            let (known, files) = unwritable::settle(request, &store, known, why, context).await?;
            return Ok(ended(&known, files));
        }
        Err(error) => return Err(error),
    }
    let files = change(request, &store, &known.resolution, &hub, context).await?;
    Ok(ended(&known, files))
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

/// Takes the lock, and does what has to be done.
async fn change(
    request: &Request,
    store: &Store,
    resolution: &Arc<Resolution>,
    hub: &Arc<crate::catalog::Hub>,
    context: &Context,
) -> Result<Vec<FileOutcome>, Error> {
    let access = Arc::new(store.lock(&*context.reporter, &context.stop).await?);
    let plan = prepare(request, &access, resolution, context).await?;
    context.reporter.report(&Event::Planned(&plan));
    tell_unknown_space(&plan, context);
    plan.check_space()?;
    let job = files::Work {
        plan: &plan,
        access: &access,
        resolution,
        limits: &request.limits,
        network: request.network,
    };
    let engine = Arc::new(Engine::new(request.limits.clone()));
    let outcomes = engine.run(files::work(&job, hub, &engine, context)).await?;
    let resolution = Arc::clone(resolution);
    let record = move || {
        let listing = resolution.listing_json()?;
        access.record_snapshot(&resolution.origin(), listing.as_deref())
    };
    tokio::task::spawn_blocking(record).await??;
    Ok(outcomes)
}

/// Cleans up and plans, now that no other process changes anything: one may have done the work while this
/// one waited.
async fn prepare(
    request: &Request,
    access: &Arc<WriteAccess>,
    resolution: &Arc<Resolution>,
    context: &Context,
) -> Result<Plan, Error> {
    let (access, resolution, recheck) = (Arc::clone(access), Arc::clone(resolution), request.recheck);
    let work = move || {
        let (origin, files) = (resolution.origin(), &resolution.files);
        access.sweep(&origin.repo, files)?;
        access.store().plan(&origin, files, recheck)
    };
    context.stop.or_blocking("planning", work).await
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
