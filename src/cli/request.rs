//! The second step: what the flags and variables mean together, as requests of the library.

use std::path::{Path, PathBuf};

use super::args::{
    ChoiceArgs, DestinationArgs, FreshnessArgs, JobArgs, SelectionArgs, TransferArgs, TrustArgs, VerifyArgs,
};
use super::given::{Given, Side, contradiction};
use super::signing::signing;
use super::{Environment, token};
use crate::command::signed_folder::SignedFolder;
use crate::command::verify::VerifyRequest;
use crate::error::Error;
use crate::request::{
    Destination, Limits, NetworkUse, Pins, Proxies, RepoId, RepoRef, Request, SIGNATURE, Selection,
};

/// A request, and what the user should know about it.
pub(super) type Noted<T> = (T, Vec<String>);

pub(super) fn request(
    args: JobArgs,
    given: &Given<'_>,
    environment: &Environment,
    proxies: &Proxies,
) -> Result<Noted<Request>, Error> {
    let JobArgs { selection, manifest: _, trust, destination, freshness, hub, transfer, output: _ } = args;
    let SelectionArgs { repo, files, choice, pins: pin_args } = selection;
    // clap has asked for one, unless a variable of that name beside it was blank.
    let reference = RepoRef::parse(repo.unwrap_or_default().trim(), choice.repo_type)?;
    let (endpoints, notes) = token::endpoints(hub, Some(&reference), given, environment, proxies)?;
    let mut pinned = given.lines("sha256", pin_args.sha256);
    pinned.extend(reference.sha256.map(|digest| digest.to_string()));
    let pins = pins(&pinned)?;
    let signing = signing(&trust, given, environment)?;
    if reference.repo.is_address() && choice.revision.is_some() {
        return Err(Error::invalid("combination", "url: and --revision", "a plain address has no revision"));
    }
    let recheck = freshness.verify;
    let network = network(&freshness, given, environment)?;
    let destination = self::destination(destination, given, environment)?;
    check_place(&reference.repo, &destination)?;
    let revision = given.at_most_one(
        &Side { id: "repo", label: "a revision in REPO", set: reference.revision.is_some() },
        &Side { id: "revision", label: "--revision", set: choice.revision.is_some() },
    )?;
    let request = Request {
        repo: reference.repo.clone(),
        revision: match revision {
            (true, _) => reference.revision.clone(),
            (_, _) => choice.revision.clone(),
        }
        .unwrap_or_else(|| reference.repo.usual_revision()),
        selection: self::files(files, choice, reference, given)?.with_signature(signing.as_ref()),
        pins,
        signing,
        destination,
        endpoints,
        network,
        recheck,
        limits: limits(&transfer, given, environment)?,
        locked: None,
        delta: !freshness.no_delta,
    };
    Ok((request, notes))
}

pub(super) fn verify_request(
    args: VerifyArgs,
    given: &Given<'_>,
    environment: &Environment,
    proxies: &Proxies,
) -> Result<Noted<VerifyRequest>, Error> {
    let VerifyArgs { paths, pins: pin_args, trust, repair, destination, hub, transfer, output: _ } = args;
    let signed = signed_folder(trust, &destination, given, environment)?;
    let (endpoints, notes) = token::endpoints(hub, None, given, environment, proxies)?;
    if let Some(empty) = paths.iter().find(|path| path.as_os_str().is_empty()) {
        return Err(Error::invalid("path", &empty.to_string_lossy(), "it is empty"));
    }
    let mut place = self::destination(destination, given, environment)?;
    if let Some(SignedFolder { signature, .. }) = &signed {
        for (is_set, flag) in [(repair, "--repair"), (!pin_args.sha256.is_empty(), "--sha256")] {
            if is_set {
                let why = "a signature says itself what is right, and not where it can be had: `fetch --trust-key` fetches it";
                return Err(Error::invalid("combination", &format!("{flag} with a signature"), why));
            }
        }
        match place {
            Destination::Cache(_) => {
                let why = "a cache holds many models: name the folder of one below `snapshots` with --dir";
                return Err(Error::invalid("combination", "--cache with a signature", why));
            }
            Destination::Dir(_) if !given.is_explicit("dir") => {
                let folder = signature.parent().filter(|folder| !folder.as_os_str().is_empty());
                place = Destination::Dir(folder.unwrap_or(Path::new(".")).to_owned());
            }
            Destination::Dir(_) | Destination::LocalDir(_) => {}
        }
    }
    let request = VerifyRequest {
        destination: place,
        paths,
        pins: pins(&given.lines("sha256", pin_args.sha256))?,
        signed,
        repair,
        endpoints,
        limits: limits(&transfer, given, environment)?,
    };
    Ok((request, notes))
}

/// The signature of a folder, where somebody is trusted to have made one.
fn signed_folder(
    mut trust: TrustArgs,
    place: &DestinationArgs,
    given: &Given<'_>,
    environment: &Environment,
) -> Result<Option<SignedFolder>, Error> {
    let named = trust.signature.take().filter(|path| !path.is_empty());
    let Some(signing) = signing(&trust, given, environment)? else {
        return match named {
            Some(_) => {
                let why =
                    "say who may have signed: name a key with --trust-key or a certificate with --trust-cert";
                Err(Error::invalid("combination", "--signature", why))
            }
            None => Ok(None),
        };
    };
    let folder = place.dir.as_ref().or(place.local_dir.as_ref());
    let usual =
        || folder.map_or_else(|| SIGNATURE.into(), |folder| environment.expand_home(folder).join(SIGNATURE));
    let signature = named.map_or_else(usual, |path| environment.expand_home(Path::new(&path)));
    Ok(Some(SignedFolder { signing, signature }))
}

/// Which files: `FILE…` and the patterns, or what REPO itself carried.
pub(super) fn files(
    files: Vec<String>,
    args: ChoiceArgs,
    reference: RepoRef,
    given: &Given<'_>,
) -> Result<Selection, Error> {
    let mut files = given.lines("files", files);
    let mut quant = args.quant;
    let in_reference = reference.files();
    let in_repo = |label, set| Side { id: "repo", label, set };
    let (repo_file, own_files) = given.at_most_one(
        &in_repo("a file in REPO", in_reference.is_some()),
        &Side { id: "files", label: "FILE", set: !files.is_empty() },
    )?;
    let (repo_quant, _) = given.at_most_one(
        &in_repo(":QUANT in REPO", reference.quant.is_some()),
        &Side { id: "files", label: "FILE", set: own_files },
    )?;
    let (_, own_quant) = given.at_most_one(
        &in_repo(":QUANT in REPO", repo_quant),
        &Side { id: "quant", label: "--quant", set: quant.is_some() },
    )?;
    if let Some(file) = in_reference.filter(|_| repo_file) {
        files = vec![file];
    }
    if repo_quant {
        files.clear();
    }
    if !own_quant {
        quant = reference.quant.filter(|_| repo_quant);
    }
    let include = given.lines("include", args.include);
    let exclude = given.lines("exclude", args.exclude);
    if let Some(blank) = include.iter().chain(&exclude).find(|glob| glob.trim().is_empty()) {
        return Err(Error::invalid("glob", blank, "it is empty"));
    }
    let quant = quant.map(|name| name.parse()).transpose()?;
    Ok(Selection::new(&files, &include, &exclude, quant)?)
}

fn pins(values: &[String]) -> Result<Pins, Error> {
    Ok(Pins::parse(values.iter().map(String::as_str))?)
}

/// What other programs look for with the Hub in mind has no place for what no Hub knows.
pub(super) fn check_place(repo: &RepoId, destination: &Destination) -> Result<(), Error> {
    let place = match destination {
        Destination::Cache(_) => "--cache",
        Destination::LocalDir(_) => "--local-dir",
        Destination::Dir(_) => return Ok(()),
    };
    let what = if repo.is_oci() { "a registry" } else { "an address" };
    let why = format!("{place} is for readers that ask the Hub, which knows nothing of {what}: use --dir");
    if repo.is_oci() || repo.is_address() {
        Err(Error::invalid("combination", &repo.to_string(), why))
    } else {
        Ok(())
    }
}

pub(super) fn destination(
    args: DestinationArgs,
    given: &Given<'_>,
    environment: &Environment,
) -> Result<Destination, Error> {
    let cache = args.cache.map(switch);
    let cache = cache.filter(|place| !matches!(place, Cache::Off));
    let meant = given.one_of([
        &Side { id: "dir", label: "--dir", set: args.dir.is_some() },
        &Side { id: "local_dir", label: "--local-dir", set: args.local_dir.is_some() },
        &Side { id: "cache", label: "--cache", set: cache.is_some() },
    ])?;
    let place = |dir: Option<PathBuf>| dir.map_or(".".into(), |dir| environment.expand_home(&dir));
    match (meant, cache) {
        (Some("local_dir"), _) => Ok(Destination::LocalDir(place(args.local_dir))),
        (Some("cache"), Some(Cache::At(root))) => Ok(Destination::Cache(environment.expand_home(&root))),
        (Some("cache"), _) => environment.hub_cache().map(Destination::Cache),
        _ => Ok(Destination::Dir(place(args.dir))),
    }
}

enum Cache {
    Off,
    Usual,
    At(PathBuf),
}

/// `MODELFETCH_CACHE` can be a switch as well as a place.
fn switch(place: Option<PathBuf>) -> Cache {
    let Some(place) = place.filter(|place| !place.as_os_str().is_empty()) else { return Cache::Usual };
    match place.to_str().map(str::to_ascii_lowercase).as_deref() {
        Some("1" | "true" | "yes" | "on") => Cache::Usual,
        Some("0" | "false" | "no" | "off") => Cache::Off,
        _ => Cache::At(place),
    }
}

pub(super) fn network(
    args: &FreshnessArgs,
    given: &Given<'_>,
    environment: &Environment,
) -> Result<NetworkUse, Error> {
    let fresh = Side { id: "require_fresh", label: "--require-fresh", set: args.require_fresh };
    let prefer = Side { id: "prefer_offline", label: "--prefer-offline", set: args.prefer_offline };
    let (prefer, set) = given.at_most_one(&prefer, &fresh)?;
    let offline = Side { id: "offline", label: "--offline", set: args.offline };
    let (offline, fresh) = given.at_most_one(&offline, &Side { set, ..fresh })?;
    if offline {
        return Ok(NetworkUse::Offline);
    }
    // MODELFETCH_OFFLINE=false is an answer too, and beats the variables below it.
    let inherited =
        ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"].into_iter().find(|name| environment.is_on(name));
    match inherited.filter(|_| !given.is_explicit("offline")) {
        Some(name) if fresh => Err(contradiction(name, "--require-fresh")),
        Some(_) => Ok(NetworkUse::Offline),
        None if fresh => Ok(NetworkUse::RequireFresh),
        None if prefer => Ok(NetworkUse::PreferOffline),
        None => Ok(NetworkUse::Allowed),
    }
}

pub(super) fn limits(
    args: &TransferArgs,
    given: &Given<'_>,
    environment: &Environment,
) -> Result<Limits, Error> {
    let timeout = |variable| match environment.seconds(variable) {
        _ if given.is_explicit("stall_timeout") => Ok(args.stall_timeout),
        seconds => seconds.map(|seconds| seconds.unwrap_or(args.stall_timeout)),
    };
    Ok(Limits {
        connections: args.connections,
        rate_max: args.limit_rate,
        deadline: args.deadline,
        stall_timeout: timeout("HF_HUB_DOWNLOAD_TIMEOUT")?,
        answer_timeout: timeout("HF_HUB_ETAG_TIMEOUT")?,
        give_up_after: args.give_up_after,
    })
}
