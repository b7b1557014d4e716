//! What `--manifest` means together with the other flags.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::args::{JobArgs, LockArgs, PruneArgs};
use super::given::{Given, Side};
use super::request::{Noted, check_place, destination, limits, network};
use super::signing::{of_model, signing};
use super::{Environment, token};
use crate::command::fetch::{ModelRequest, ModelsRequest};
use crate::command::lock::{Goal, LockRequest};
use crate::command::prune::PruneRequest;
use crate::error::Error;
use crate::request::{
    Destination, Locked, LockedModel, Lockfile, Manifest, Model, Proxies, RepoPath, Request, Signing,
};

/// What a manifest says of its models, and the command line does not say again.
const OF_A_MODEL: [(&str, &str); 7] = [
    ("repo", "REPO"),
    ("files", "FILE"),
    ("include", "--include"),
    ("exclude", "--exclude"),
    ("quant", "--quant"),
    ("revision", "--revision"),
    ("sha256", "--sha256"),
];

/// Whether the run is about the models of a manifest.
pub(super) fn is_meant(args: &JobArgs, given: &Given<'_>) -> Result<bool, Error> {
    let manifest = Side { id: "manifest", label: "--manifest", set: args.manifest.manifest.is_some() };
    let mut is_meant = manifest.set;
    for (id, label) in OF_A_MODEL {
        let other = Side { id, label, set: given.is_explicit(id) };
        is_meant &= given.at_most_one(&manifest, &other)?.0;
    }
    if args.manifest.locked && !is_meant {
        return Err(Error::invalid("combination", "--locked", "it is about the models of a --manifest"));
    }
    Ok(is_meant)
}

/// The models of a manifest as requests.
pub(super) fn models(
    args: JobArgs,
    given: &Given<'_>,
    environment: &Environment,
    proxies: &Proxies,
) -> Result<Noted<ModelsRequest>, Error> {
    let JobArgs {
        selection: _,
        manifest: files,
        trust,
        destination: place,
        freshness,
        hub,
        transfer,
        output: _,
    } = args;
    let path = files.manifest.unwrap_or_default();
    let manifest = read_manifest(&path)?;
    let lockfile = beside(&path, files.lockfile);
    let lock = match read(&lockfile)? {
        Some(text) => Some(Lockfile::parse(&lockfile.to_string_lossy(), &text)?),
        None if files.locked => return Err(no_answer(&lockfile, "it is not there")),
        None => None,
    };
    let (endpoints, notes) = token::endpoints(hub, None, given, environment, proxies)?;
    let destination = destination(place, given, environment)?;
    let network = network(&freshness, given, environment)?;
    let limits = limits(&transfer, given, environment)?;
    // The flags are about models that say nothing of their own.
    let of_all = signing(&trust, given, environment)?;
    let request = |model: &Model| -> Result<ModelRequest, Error> {
        let answer = lock.as_ref().and_then(|lock| lock.answer(model));
        let signing = of_model(model, &path)?.or_else(|| of_all.clone());
        check_answer(model, answer, files.locked, &lockfile)?;
        check_signature(model, answer, signing.as_ref(), &lockfile)?;
        let revision = match answer {
            Some(LockedModel { commit: Some(commit), .. }) => commit.to_string().parse()?,
            _ => model.wish.revision.clone(),
        };
        let request = Request {
            repo: model.wish.repo.clone(),
            revision,
            selection: model.wish.selection()?.with_signature(signing.as_ref()),
            pins: model.pins.clone(),
            signing,
            destination: place_of(model, &destination)?,
            endpoints: endpoints.clone(),
            network,
            recheck: freshness.verify,
            limits: limits.clone(),
            locked: answer
                .map(|locked| Locked { files: Arc::from(locked.files.as_slice()), is_enough: files.locked }),
            delta: !freshness.no_delta,
        };
        Ok(ModelRequest { name: model.name.clone(), folder: folder(model, &destination), request })
    };
    let models = manifest.models.iter().map(request).collect::<Result<_, _>>()?;
    Ok((ModelsRequest { what: path.display().to_string(), destination, models, endpoints, limits }, notes))
}

/// What `lock` is asked for.
pub(super) fn lock_request(
    args: LockArgs,
    given: &Given<'_>,
    environment: &Environment,
    proxies: &Proxies,
) -> Result<Noted<LockRequest>, Error> {
    let LockArgs { manifest: path, lockfile, update, check, hub, transfer, output: _ } = args;
    let (_, check) = given.at_most_one(
        &Side { id: "update", label: "--update", set: update.is_some() },
        &Side { id: "check", label: "--check", set: check },
    )?;
    let manifest = read_manifest(&path)?;
    let lockfile = beside(&path, lockfile);
    let (endpoints, notes) = token::endpoints(hub, None, given, environment, proxies)?;
    let goal = match update {
        _ if check => Goal::Check,
        Some(names) => Goal::Update(names),
        None => Goal::Complete,
    };
    let written = read(&lockfile)?;
    let limits = limits(&transfer, given, environment)?;
    let mut signings = HashMap::new();
    for model in &manifest.models {
        signings.extend(of_model(model, &path)?.map(|signing| (model.name.clone(), signing)));
    }
    Ok((LockRequest { manifest, signings, lockfile, written, goal, endpoints, limits }, notes))
}

/// What `prune` is asked for.
pub(super) fn prune_request(
    args: PruneArgs,
    given: &Given<'_>,
    environment: &Environment,
) -> Result<PruneRequest, Error> {
    let PruneArgs { keep, partials, older_than, yes, destination: place, output: _ } = args;
    if keep.is_empty() && !partials {
        let why = "say what goes: --keep LOCKFILE for all files but those it names, --partials for unfinished downloads";
        return Err(Error::invalid("combination", "prune", why));
    }
    if older_than.is_some() && !partials {
        return Err(Error::invalid("combination", "--older-than", "it is about --partials"));
    }
    let lock = |path: &PathBuf| {
        let text = read(path)?.ok_or_else(|| no_answer(path, "it is not there"))?;
        let lockfile = Lockfile::parse(&path.to_string_lossy(), &text)?;
        // Files of a commit that was moved by hand are not known: they would go.
        match lockfile.models.iter().find(|model| !model.is_intact) {
            Some(model) => Err(no_answer(path, &format!("model `{}` was changed by hand", model.name))),
            None => Ok(lockfile),
        }
    };
    Ok(PruneRequest {
        destination: destination(place, given, environment)?,
        keep: keep.iter().map(lock).collect::<Result<_, _>>()?,
        partials: partials.then(|| older_than.unwrap_or_default()),
        is_meant: yes,
    })
}

/// The lock file of a manifest: the one that was named, or the one beside it.
fn beside(manifest: &Path, named: Option<PathBuf>) -> PathBuf {
    named.unwrap_or_else(|| manifest.with_extension("lock"))
}

/// A file that the user named; `None` if there is none.
fn read(path: &Path) -> Result<Option<String>, Error> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(why) => Err(Error::invalid("file", &path.to_string_lossy(), why.to_string())),
    }
}

fn read_manifest(path: &Path) -> Result<Manifest, Error> {
    let name = path.to_string_lossy();
    let absent = "there is no such file; it names the models, each below a line [[model]]";
    let text = read(path)?.ok_or_else(|| Error::invalid("manifest", &name, absent))?;
    Ok(Manifest::parse(&name, &text)?)
}

fn no_answer(lockfile: &Path, why: &str) -> Error {
    Error::invalid("lock file", &lockfile.to_string_lossy(), format!("{why}; run `modelfetch lock`"))
}

/// A lock file that has been changed by hand, or is of another manifest, is no answer.
fn check_answer(
    model: &Model,
    answer: Option<&LockedModel>,
    is_required: bool,
    lockfile: &Path,
) -> Result<(), Error> {
    match answer {
        Some(locked) if !locked.is_intact => {
            let commit = locked.commit.map(|commit| format!(" of commit {commit}")).unwrap_or_default();
            let why = format!(
                "model `{}` was changed by hand, and its files belong to another state of it: `modelfetch lock` looks up those{commit}",
                model.name
            );
            Err(Error::invalid("lock file", &lockfile.to_string_lossy(), why))
        }
        None if is_required => Err(no_answer(
            lockfile,
            &format!("it has no answer to what the manifest says of model `{}`", model.name),
        )),
        _ => Ok(()),
    }
}

/// A lock file of a time when no signature was demanded does not list it.
fn check_signature(
    model: &Model,
    answer: Option<&LockedModel>,
    signing: Option<&Arc<Signing>>,
    lockfile: &Path,
) -> Result<(), Error> {
    let (Some(locked), Some(signing)) = (answer, signing) else { return Ok(()) };
    if locked.lists(&signing.signature) {
        return Ok(());
    }
    let (name, signature) = (&model.name, &signing.signature);
    let why = format!(
        "model `{name}` is to be signed, with `trust_key` or `trust_cert` in the manifest, and its `{signature}` is not locked"
    );
    Err(no_answer(lockfile, &why))
}

fn place_of(model: &Model, destination: &Destination) -> Result<Destination, Error> {
    check_place(&model.wish.repo, destination)?;
    match (destination, &model.wish.dir) {
        (Destination::Cache(_), Some(dir)) => {
            let why = format!("model `{}` has a `dir`, and a cache has folders of its own", model.name);
            Err(Error::invalid("folder", dir.as_str(), why))
        }
        (_, Some(dir)) => Ok(destination.moved_to(destination.root().join(dir.as_str()))),
        (_, None) => Ok(destination.clone()),
    }
}

/// What tells the files of a model from those of the others.
fn folder(model: &Model, destination: &Destination) -> Option<RepoPath> {
    match destination {
        Destination::Dir(_) | Destination::LocalDir(_) => model.wish.dir.clone(),
        Destination::Cache(_) => model.wish.repo.to_string().parse().ok(),
    }
}
