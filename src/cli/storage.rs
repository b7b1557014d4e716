//! The command line that `KServe` gives a storage initializer: pairs of a source and the folder it goes to.

use std::path::PathBuf;

use super::args::StorageArgs;
use super::given::Given;
use super::request::{Noted, limits, network};
use super::signing::signing;
use super::{Environment, token};
use crate::command::fetch::{ModelRequest, ModelsRequest};
use crate::error::Error;
use crate::request::{
    Destination, Pins, Proxies, RepoId, RepoKind, RepoPath, RepoRef, Request, Revision, Selection,
};

/// The pairs as requests.
pub(super) fn models(
    args: StorageArgs,
    given: &Given<'_>,
    environment: &Environment,
    proxies: &Proxies,
) -> Result<Noted<ModelsRequest>, Error> {
    let StorageArgs { pairs, trust, freshness, hub, transfer, output: _ } = args;
    let (endpoints, notes) = token::endpoints(hub, None, given, environment, proxies)?;
    let (network, limits) =
        (network(&freshness, given, environment)?, limits(&transfer, given, environment)?);
    let signing = signing(&trust, given, environment)?;
    let mut models = Vec::new();
    for pair in pairs.chunks(2) {
        let [source, folder] = pair else {
            let why = "there is no folder for it; expected SRC DEST [SRC DEST …]";
            return Err(Error::invalid("source", &pair[0], why));
        };
        let reference = reference(source)?;
        let selection = Selection::new(&Vec::from_iter(reference.files()), &[], &[], None)?;
        let request = Request {
            repo: reference.repo.clone(),
            revision: reference.revision.clone().unwrap_or_else(|| reference.repo.usual_revision()),
            selection: selection.with_signature(signing.as_ref()),
            pins: Pins::parse(reference.sha256.map(|digest| digest.to_string()).as_deref())?,
            signing: signing.clone(),
            destination: Destination::Dir(folder.into()),
            endpoints: endpoints.clone(),
            network,
            recheck: freshness.verify,
            limits: limits.clone(),
            locked: None,
            delta: !freshness.no_delta,
        };
        let folder = folder_of(&reference.repo).filter(|_| pairs.len() > 2);
        models.push(ModelRequest { name: source.clone(), folder, request });
    }
    let root = PathBuf::from(pairs.get(1).map(String::as_str).unwrap_or_default());
    let (what, destination) = (pairs.first().cloned().unwrap_or_default(), Destination::Dir(root));
    Ok((ModelsRequest { what, destination, models, endpoints, limits }, notes))
}

/// What tells its files from those of other sources.
fn folder_of(repo: &RepoId) -> Option<RepoPath> {
    let name = repo.to_string();
    name.trim_end_matches('/').replace("://", "/").parse().ok()
}

/// What follows a `:` is a revision to `KServe` (`hf://owner/name:revision`), where it is a quantization to llama.cpp.
fn reference(source: &str) -> Result<RepoRef, Error> {
    let mut reference = RepoRef::parse(source.trim(), RepoKind::Model)?;
    if let Some(tag) = reference.quant.take() {
        if reference.revision.is_some() {
            return Err(Error::invalid("source", source, "it names two revisions"));
        }
        reference.revision = Some(tag.parse::<Revision>()?);
    }
    if reference.endpoint.is_some() || reference.login.is_some() {
        return Err(Error::invalid("source", source, "another Hub is named with HF_ENDPOINT"));
    }
    Ok(reference)
}
