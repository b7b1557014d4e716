//! The models of a manifest in one run: one plan, one look at the free space, one pool of connections. The failure of
//! one neither hides nor stops the others.

use std::collections::{BTreeMap, HashMap};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use serde::Serialize;

use super::freshness::Known;
use super::{Begun, Planned, Run, tell_disk, with_unfinished};
use crate::command::Context;
use crate::command::smoke::SmokeOutcome;
use crate::content::Content;
use crate::error::{Error, Failed};
use crate::plan::Plan;
use crate::report::{Below, Event, Outcome};
use crate::request::{Destination, Endpoints, Limits, RepoPath, Request};
use crate::store::WriteAccess;
use crate::transfer::Engine;
use crate::words::chain;

/// Models that are looked up at a time.
const MODELS_PARALLEL: usize = 4;

/// A model of a manifest, and where its files go.
#[derive(Debug, Clone)]
pub struct ModelRequest {
    /// What the manifest calls it.
    pub name: String,
    /// What tells its files from those of other models: where they go below the target.
    pub folder: Option<RepoPath>,
    /// What is wanted.
    pub request: Request,
}

/// All models of a manifest.
#[derive(Debug, Clone)]
pub struct ModelsRequest {
    /// Who asks for them, for messages: a manifest, or the first source.
    pub what: String,
    /// Where the files go.
    pub destination: Destination,
    /// In the order of the manifest.
    pub models: Vec<ModelRequest>,
    /// Hubs that all of them are asked of.
    pub endpoints: Endpoints,
    /// Limits of all of them together.
    pub limits: Limits,
}

/// What became of one model.
#[derive(Debug, Serialize)]
pub struct ModelEnd<T> {
    /// What the manifest calls it.
    pub name: String,
    /// What was done, or is to be done.
    #[serde(flatten)]
    pub outcome: Option<T>,
    /// Why nothing was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The exit status that a run of this model alone would have.
    pub exit: u8,
}

/// What became of all of them, in the order of the manifest.
#[derive(Debug)]
pub struct Models<T> {
    /// Good and bad ends.
    pub ends: Vec<ModelEnd<T>>,
    failed: Vec<Failed>,
}

impl<T> Models<T> {
    pub(in crate::command) fn new(ended: impl IntoIterator<Item = (String, Result<T, Error>)>) -> Self {
        let (mut ends, mut failed) = (Vec::new(), Vec::new());
        for (name, ended) in ended {
            match ended {
                Ok(outcome) => ends.push(ModelEnd { name, outcome: Some(outcome), error: None, exit: 0 }),
                Err(error) => {
                    let (text, exit) = (Some(chain(&error)), error.exit_number());
                    ends.push(ModelEnd { name: name.clone(), outcome: None, error: text, exit });
                    failed.push(Failed { model: name, error });
                }
            }
        }
        Self { ends, failed }
    }

    /// What went well.
    pub fn good(&self) -> impl Iterator<Item = &T> {
        self.ends.iter().filter_map(|end| end.outcome.as_ref())
    }

    /// The same, and nothing else any more.
    pub fn into_good(self) -> impl Iterator<Item = T> {
        self.ends.into_iter().filter_map(|end| end.outcome)
    }

    /// Fails, once, if a model has failed.
    pub fn check(&mut self) -> Result<(), Error> {
        match std::mem::take(&mut self.failed) {
            failed if failed.is_empty() => Ok(()),
            failed => Err(Error::ModelsFailed { failed, models: self.ends.len() }),
        }
    }
}

/// One model on its way.
struct Model<'a> {
    name: &'a str,
    run: Run<'a>,
    known: Option<Known>,
    /// What will be done; nothing if there is no access.
    plan: Option<Plan>,
    access: Option<Arc<WriteAccess>>,
    ended: Option<Result<Outcome, Error>>,
}

/// Leaves every file of every model verified at its final name, as far as that can be.
pub async fn fetch_models(request: &ModelsRequest, context: &Context) -> Result<Models<Outcome>, Error> {
    let mut models = begin_all(request, context).await;
    lock_all(&mut models).await;
    let plans: Vec<&Plan> = models.iter().filter_map(|model| model.plan.as_ref()).collect();
    context.reporter.report(&Event::Planned(&plans));
    for plan in &plans {
        tell_disk(plan, context);
    }
    check_paths(&models)?;
    if let Err(error) = check_space(&plans) {
        let files: Vec<_> = plans.iter().flat_map(|plan| &plan.items).map(|item| item.file.clone()).collect();
        return Err(with_unfinished(error, &request.destination, &files, context).await);
    }
    rehearse_all(&mut models).await;
    let engine = Arc::new(Engine::new(request.limits.clone()));
    // One after the other in one target: what the first one brings, the next one need not.
    let mut groups: BTreeMap<PathBuf, Vec<&mut Model<'_>>> = BTreeMap::new();
    for model in &mut models {
        groups.entry(model.run.store.place()).or_default().push(model);
    }
    let work = groups.into_values().map(|group| carry_out(group, &engine));
    engine.run(join_all(work)).await;
    Ok(outcome(models))
}

/// Says what [`fetch_models`] would do.
pub async fn plan_models(request: &ModelsRequest, context: &Context) -> Models<Plan> {
    let hub = &Arc::new(context.hub(&request.endpoints, &request.limits));
    let planned = stream::iter(&request.models).map(|model| async move {
        let planned = Box::pin(super::plan_by(&model.request, hub, context)).await;
        // Room is looked at for all of them together.
        let planned = planned.and_then(|Planned { plan, verdict }| match verdict {
            Err(error) if !matches!(error, Error::NoSpace { .. }) => Err(error),
            _ => Ok(plan),
        });
        (model.name.clone(), planned)
    });
    Models::new(planned.buffered(MODELS_PARALLEL).collect::<Vec<_>>().await)
}

impl Models<Plan> {
    /// Fails if there is not enough room for all models together.
    pub fn check_space(&self) -> Result<(), Error> {
        check_space(&self.good().collect::<Vec<_>>())
    }
}

impl Models<SmokeOutcome> {
    /// Fails if there is not enough room for all models together.
    pub fn check_space(&self) -> Result<(), Error> {
        check_space(&self.good().map(|outcome| &outcome.plan).collect::<Vec<_>>())
    }

    /// Words each check anew, as whoever shows them has to.
    pub fn reword(&mut self, reworded: impl Fn(&str) -> String) {
        self.ends.iter_mut().filter_map(|end| end.outcome.as_mut()).for_each(|smoke| smoke.reword(&reworded));
    }
}

async fn begin_all<'a>(request: &'a ModelsRequest, context: &Context) -> Vec<Model<'a>> {
    let hub = &Arc::new(context.hub(&request.endpoints, &request.limits));
    let begun = stream::iter(&request.models).map(|model| async move {
        let reporter = Arc::new(Below::new(model.folder.clone(), Arc::clone(&context.reporter)));
        let run = Run::new(&model.request, Arc::clone(hub), Context { reporter, ..context.clone() });
        let begun = run.begin().await;
        let mut model = Model { name: &model.name, run, known: None, plan: None, access: None, ended: None };
        match begun {
            Ok(Begun::Verified(known, plan)) => (model.known, model.plan) = (Some(known), Some(plan)),
            Ok(Begun::Ready(known)) => model.known = Some(known),
            Ok(Begun::Ended(outcome)) => model.ended = Some(Ok(outcome)),
            Err(error) => model.ended = Some(Err(error)),
        }
        model
    });
    begun.buffered(MODELS_PARALLEL).collect().await
}

/// Takes the lock of each target once, all processes in the same order, and plans.
async fn lock_all(models: &mut [Model<'_>]) {
    let mut waiting: Vec<_> = models.iter_mut().filter(|model| model.plan.is_none()).collect();
    waiting.sort_by_key(|model| model.run.store.place());
    let mut held: HashMap<PathBuf, Arc<WriteAccess>> = HashMap::new();
    for model in waiting {
        let Some(known) = &model.known else { continue };
        let place = model.run.store.place();
        let access = match held.get(&place) {
            Some(access) => Ok(Arc::clone(access)),
            None => model.run.lock().await,
        };
        let planned = match access {
            Ok(access) => model.run.prepare(&access, known).await.map(|plan| (access, plan)),
            Err(error) => Err(error),
        };
        match planned {
            Ok((access, plan)) => {
                held.insert(place, Arc::clone(&access));
                (model.access, model.plan) = (Some(access), Some(plan));
            }
            Err(error) => model.ended = Some(Err(error)),
        }
    }
}

/// Finds out for each model whether its files can get their names.
async fn rehearse_all(models: &mut [Model<'_>]) {
    for model in models.iter_mut().filter(|model| model.access.is_some()) {
        let Some(plan) = model.plan.take() else { continue };
        match model.run.rehearse(plan).await {
            Ok(plan) => model.plan = Some(plan),
            Err(error) => model.ended = Some(Err(error)),
        }
    }
}

/// Fails if two models want one name for different contents.
fn check_paths(models: &[Model<'_>]) -> Result<(), Error> {
    let mut owners: HashMap<PathBuf, (&str, Content)> = HashMap::new();
    for model in models {
        for item in model.plan.iter().flat_map(|plan| &plan.items) {
            let path = model.run.store.target_path(&item.file);
            let (owner, content) = *owners.entry(path).or_insert((model.name, item.file.content));
            if !content.may_be(&item.file.content) {
                let why = format!(
                    "`{owner}` and `{}` both want it, with different contents; give one a `dir`",
                    model.name
                );
                return Err(Error::invalid("manifest: file", item.file.path.as_str(), why));
            }
        }
    }
    Ok(())
}

/// Fails if a file system has not enough room for all models together.
fn check_space(plans: &[&Plan]) -> Result<(), Error> {
    let mut disks: BTreeMap<Option<u64>, Vec<&Plan>> = BTreeMap::new();
    for plan in plans {
        let device = std::fs::metadata(&plan.dir).ok().map(|metadata| metadata.dev());
        disks.entry(device).or_default().push(plan);
    }
    disks.values().try_for_each(|plans| Plan::check_space_of(plans))
}

async fn carry_out(group: Vec<&mut Model<'_>>, engine: &Arc<Engine>) {
    let mut is_first = true;
    for model in group {
        if model.ended.is_none() {
            model.ended = Some(model.carry_out(engine, is_first).await);
            is_first = false;
        }
    }
}

impl Model<'_> {
    async fn carry_out(&mut self, engine: &Arc<Engine>, is_first: bool) -> Result<Outcome, Error> {
        let missing = || Error::Internal(format!("there is no plan for `{}`", self.name));
        let (Some(known), Some(plan)) = (&self.known, &self.plan) else { return Err(missing()) };
        let Some(access) = &self.access else { return Ok(self.run.skip_all(known, plan)) };
        if is_first {
            return self.run.carry_out(access, known, plan, engine).await;
        }
        let plan = self.run.prepare(access, known).await?;
        self.run.carry_out(access, known, &plan, engine).await
    }
}

fn outcome(models: Vec<Model<'_>>) -> Models<Outcome> {
    Models::new(models.into_iter().map(|model| {
        let lost = || Err(Error::Internal("it was forgotten".into()));
        (model.name.to_owned(), model.ended.unwrap_or_else(lost))
    }))
}
