//! What `inspect` is to look at, and how a server would be started.

use super::args::{ChoiceArgs, InspectArgs, PinArgs, SelectionArgs, ServerArgs};
use super::given::Given;
use super::request::{self, Noted};
use super::{Environment, token};
use crate::command::inspect::{InspectRequest, Subject};
use crate::error::Error;
use crate::memory::Setup;
use crate::request::{Destination, NetworkUse, Pins, Proxies, Recheck, RepoRef, Request};

pub(super) fn request(
    args: Box<InspectArgs>,
    given: &Given<'_>,
    environment: &Environment,
    proxies: &Proxies,
) -> Result<Noted<InspectRequest>, Error> {
    let InspectArgs { repo, files, choice, server, tensors: _, hub, transfer, output: _ } = *args;
    let (setup, architectures) = setup(server)?;
    let path = environment.expand_home(repo.as_ref());
    // A name of a repository is no path of two parts that is there, and never one that begins with a dot or slash.
    if path.exists() || path.is_absolute() || repo.starts_with('.') {
        return Ok((InspectRequest { subject: Subject::Disk(path), setup, architectures }, Vec::new()));
    }
    let ChoiceArgs { include, exclude, quant, revision, repo_type } = choice;
    let reference = RepoRef::parse(repo.trim(), repo_type)?;
    let (endpoints, notes) = token::endpoints(hub, Some(&reference), given, environment, proxies)?;
    let pins = PinArgs { sha256: Vec::new() };
    let selection =
        SelectionArgs { repo: Some(repo), files, include, exclude, quant, revision: None, repo_type, pins };
    let wanted = Request {
        repo: reference.repo.clone(),
        revision: revision.or(reference.revision.clone()).unwrap_or_default(),
        selection: request::files(selection, reference, given)?,
        pins: Pins::default(),
        destination: Destination::Dir(".".into()),
        endpoints,
        network: NetworkUse::Allowed,
        recheck: Recheck::default(),
        limits: request::limits(&transfer, given, environment)?,
        locked: None,
        signing: None,
    };
    Ok((InspectRequest { subject: Subject::Hub(Box::new(wanted)), setup, architectures }, notes))
}

fn setup(args: ServerArgs) -> Result<(Setup, Vec<String>), Error> {
    let split = args.tensor_split;
    let is_split = |share: &f64| share.is_finite() && *share >= 0.0;
    if !split.iter().all(is_split) {
        return Err(Error::invalid("--tensor-split", &format!("{split:?}"), "shares are numbers from 0"));
    }
    if !split.is_empty() && !args.fits.is_empty() && split.len() != args.fits.len() {
        let why = format!("{} cards are named by --fits", args.fits.len());
        return Err(Error::invalid("--tensor-split", &format!("{split:?}"), why));
    }
    let architectures = args.architectures.iter().map(|name| name.trim().to_owned());
    let setup = Setup {
        context: args.ctx,
        slots: args.parallel,
        unified: args.kv_unified,
        keys: args.cache_type_k,
        values: args.cache_type_v,
        ubatch: args.ubatch_size.max(1),
        cards: args.fits,
        split,
        cpu_experts: args.n_cpu_moe,
    };
    Ok((setup, architectures.filter(|name| !name.is_empty()).collect()))
}
