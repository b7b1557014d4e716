//! `modelfetch lock`: looks up what the models of a manifest are, and writes it down.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use serde::Serialize;

use super::fetch::Models;
use super::{Context, sets, signed};
use crate::catalog::{self, Hub, Resolution};
use crate::disk::{self, Durability};
use crate::error::Error;
use crate::request::{
    Commit, Destination, Endpoints, Limits, LockedFile, LockedModel, Lockfile, Manifest, Model, NetworkUse,
    Recheck, RepoPath, Request, Signing,
};
use crate::stop::blocking;
use crate::store::Store;
use crate::words::count;

/// Models that are asked about at a time.
const MODELS_PARALLEL: usize = 4;

/// What `modelfetch lock` is asked for.
#[derive(Debug, Clone)]
pub struct LockRequest {
    /// What is wanted.
    pub manifest: Manifest,
    /// Whose signature models have to have, by their names.
    pub signings: HashMap<String, Arc<Signing>>,
    /// Where the answer is written.
    pub lockfile: PathBuf,
    /// What is written there now.
    pub written: Option<String>,
    /// What is to become of it.
    pub goal: Goal,
    /// Hubs to ask, in order.
    pub endpoints: Endpoints,
    /// How long they are asked.
    pub limits: Limits,
}

/// What is to become of a lock file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Goal {
    /// It answers the manifest; what it knows already stays.
    Complete,
    /// These models, or all if none is named, are what the Hub has now.
    Update(Vec<String>),
    /// Nothing is written: is it what the Hub has now?
    Check,
}

/// What was found.
#[derive(Debug, Clone, Serialize)]
pub struct LockOutcome {
    /// The lock file.
    pub lockfile: PathBuf,
    /// Whether it was written; it is not if nothing has changed.
    pub written: bool,
    /// Its models, and those that are no longer in it.
    pub models: Vec<ModelChange>,
}

/// One model of a lock file, before and now.
#[derive(Debug, Clone, Serialize)]
pub struct ModelChange {
    /// What the manifest calls it.
    pub name: String,
    /// The commit that was locked, if any was.
    pub from: Option<Commit>,
    /// The commit that is, unless the model is not wanted any more.
    pub to: Option<Commit>,
    /// Number of files.
    pub files: usize,
    /// Their total size in bytes.
    pub bytes: u64,
    /// What is different, in words.
    pub differences: Vec<String>,
    /// Whether it was locked before, and is now.
    #[serde(skip)]
    is_locked: (bool, bool),
}

/// Brings the lock file up to date, or says whether it is.
pub async fn lock(request: &LockRequest, context: &Context) -> Result<LockOutcome, Error> {
    let name = request.lockfile.to_string_lossy();
    let known = match &request.written {
        Some(text) => Lockfile::parse(&name, text)?,
        None => Lockfile::default(),
    };
    if let Goal::Update(names) = &request.goal
        && let Some(unknown) = names.iter().find(|name| request.manifest.named(name).is_none())
    {
        return Err(Error::invalid("model", unknown, "the manifest has no model of this name"));
    }
    let hub = Arc::new(context.hub(&request.endpoints, &request.limits));
    let work = look_up_all(request, &known, &hub, context);
    let now = context.stop.or("asking the Hub", work).await?;
    let models = changes(&known, &now);
    if request.goal == Goal::Check {
        let moved: Vec<_> = models.iter().flat_map(ModelChange::describe).collect();
        if !moved.is_empty() {
            return Err(Error::LockOutdated { lockfile: request.lockfile.clone(), differences: moved });
        }
        return Ok(LockOutcome { lockfile: request.lockfile.clone(), written: false, models });
    }
    let text = now.to_string();
    let written = request.written.as_deref() != Some(&text);
    if written {
        let path = request.lockfile.clone();
        let write = move || disk::replace(&path, text.as_bytes(), Durability::Power);
        blocking(write).await??;
    }
    Ok(LockOutcome { lockfile: request.lockfile.clone(), written, models })
}

async fn look_up_all(
    request: &LockRequest,
    known: &Lockfile,
    hub: &Arc<Hub>,
    context: &Context,
) -> Result<Lockfile, Error> {
    let models = &request.manifest.models;
    let asked = stream::iter(models).map(|model| async move {
        (model.name.clone(), look_up(model, request, known.answer(model), hub, context).await)
    });
    let mut found = Models::new(asked.buffered(MODELS_PARALLEL).collect::<Vec<_>>().await);
    found.check()?;
    let mut lockfile = Lockfile { models: found.into_good().collect() };
    lockfile.models.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(lockfile)
}

/// What a model is: as it is known, or as the Hub says.
async fn look_up(
    model: &Model,
    request: &LockRequest,
    known: Option<&LockedModel>,
    hub: &Arc<Hub>,
    context: &Context,
) -> Result<LockedModel, Error> {
    let signing = request.signings.get(&model.name).cloned();
    let has_signature =
        |known: &LockedModel| signing.as_ref().is_none_or(|signing| known.lists(&signing.signature));
    let is_renewed = match &request.goal {
        Goal::Complete => false,
        Goal::Update(names) => names.is_empty() || names.contains(&model.name),
        Goal::Check => true,
    };
    let commit = match known {
        Some(known) if known.is_intact && !is_renewed && has_signature(known) => return Ok(known.clone()),
        _ if model.wish.repo.is_address() => None,
        // Moved by hand, or of a time when no signature was demanded: that is the one to look up.
        Some(known)
            if (!known.is_intact || !is_renewed && !has_signature(known)) && request.goal != Goal::Check =>
        {
            known.commit
        }
        _ => Some(catalog::commit(hub, &model.wish.repo, &model.wish.revision).await?),
    };
    let at_commit = Request {
        repo: model.wish.repo.clone(),
        revision: match commit {
            Some(commit) => commit.to_string().parse()?,
            None => model.wish.revision.clone(),
        },
        selection: model.wish.selection()?.with_signature(signing.as_ref()),
        pins: model.pins.clone(),
        signing,
        destination: Destination::Dir(PathBuf::new()),
        endpoints: request.endpoints.clone(),
        network: NetworkUse::RequireFresh,
        recheck: Recheck::Receipt,
        limits: request.limits.clone(),
        locked: None,
        delta: false,
    };
    let resolution = catalog::resolve(hub, &at_commit, None).await;
    let resolution = resolution.map_err(|error| signed::absent(&at_commit, error))?;
    let nothing = Store::new(&at_commit.destination, &at_commit.repo);
    let resolution = Box::pin(signed::pin(&at_commit, &nothing, hub, resolution, context)).await?;
    sets::check(&resolution, &nothing, hub, &request.limits, context).await?;
    Ok(LockedModel::new(model.name.clone(), model.wish.clone(), commit, files(&resolution)))
}

fn files(resolution: &Resolution) -> Vec<LockedFile> {
    let locked = |file: &crate::plan::WantedFile| LockedFile {
        path: file.path.clone(),
        content: file.content,
        xet_hash: file.xet_hash(),
    };
    resolution.files.iter().map(locked).collect()
}

/// Each model that is locked now or was before.
fn changes(known: &Lockfile, now: &Lockfile) -> Vec<ModelChange> {
    let mut changes: Vec<_> =
        now.models.iter().map(|model| ModelChange::new(known.named(&model.name), Some(model))).collect();
    let gone = known.models.iter().filter(|model| now.named(&model.name).is_none());
    changes.extend(gone.map(|model| ModelChange::new(Some(model), None)));
    changes
}

impl ModelChange {
    fn new(from: Option<&LockedModel>, to: Option<&LockedModel>) -> Self {
        let files = to.map_or(&[][..], |model| &model.files);
        Self {
            name: to.or(from).map(|model| model.name.clone()).unwrap_or_default(),
            from: from.and_then(|model| model.commit),
            to: to.and_then(|model| model.commit),
            files: files.len(),
            bytes: files.iter().map(|file| file.content.size()).sum(),
            differences: from.zip(to).map(|(from, to)| differences(from, to)).unwrap_or_default(),
            is_locked: (from.is_some(), to.is_some()),
        }
    }

    /// What has changed, in a line each; none if nothing has.
    pub fn describe(&self) -> Vec<String> {
        let Self { name, from, to, .. } = self;
        let shown = |commit: &Option<Commit>| commit.map(|commit| format!("{commit}, ")).unwrap_or_default();
        let what = match self.is_locked {
            (false, _) => {
                format!("{name}: {}{}, was not locked", shown(to), count(self.files as u64, "file"))
            }
            (true, false) => format!("{name}: {}is locked, and not wanted any more", shown(from)),
            (true, true) if from != to => {
                format!(
                    "{name}: {} -> {}",
                    shown(from).trim_end_matches(", "),
                    shown(to).trim_end_matches(", ")
                )
            }
            _ if self.differences.is_empty() => return Vec::new(),
            _ if to.is_none() => format!("{name}: the same address"),
            _ => format!("{name}: the same commit"),
        };
        let mut lines = vec![what];
        lines.extend(self.differences.iter().map(|difference| format!("  {difference}")));
        lines
    }
}

/// Between the files of two states of a model; and what was asked for, where that has changed.
fn differences(from: &LockedModel, to: &LockedModel) -> Vec<String> {
    fn by_path(model: &LockedModel) -> BTreeMap<&RepoPath, &LockedFile> {
        model.files.iter().map(|file| (&file.path, file)).collect()
    }
    let (before, now) = (by_path(from), by_path(to));
    let mut differences = Vec::new();
    if from.wish != to.wish {
        differences.push("the manifest asks for something else".to_owned());
    }
    for (path, file) in &now {
        match before.get(path) {
            None => differences.push(format!("new: {path} {}", file.content.key())),
            Some(old) if old.content != file.content => {
                differences.push(format!("changed: {path} {} -> {}", old.content.key(), file.content.key()));
            }
            Some(_) => {}
        }
    }
    let gone = before.keys().filter(|path| !now.contains_key(*path));
    differences.extend(gone.map(|path| format!("gone: {path}")));
    differences
}
