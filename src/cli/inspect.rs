//! What `inspect` is to look at, and how a server would be started.

use super::args::{InspectArgs, MemoryArgs};
use super::given::Given;
use super::request::{self, Noted};
use super::{Environment, token, values};
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
    let InspectArgs { repo, files, mut choice, server, tensors: _, hub, transfer, output: _ } = *args;
    let (setup, architectures, unweighed) = setup(server)?;
    let path = environment.expand_home(repo.as_ref());
    // A name of a repository is no path of two parts that is there, and never one that begins with a dot or slash.
    if path.exists() || path.is_absolute() || repo.starts_with('.') {
        return Ok((InspectRequest { subject: Subject::Disk(path), setup, architectures }, unweighed));
    }
    let reference = RepoRef::parse(repo.trim(), choice.repo_type)?;
    let (endpoints, mut notes) = token::endpoints(hub, Some(&reference), given, environment, proxies)?;
    let revision = choice.revision.take().or(reference.revision.clone());
    let wanted = Request {
        repo: reference.repo.clone(),
        revision: revision.unwrap_or_else(|| reference.repo.usual_revision()),
        selection: request::files(files, choice, reference, given)?,
        pins: Pins::default(),
        destination: Destination::Dir(".".into()),
        endpoints,
        network: NetworkUse::Allowed,
        recheck: Recheck::default(),
        limits: request::limits(&transfer, given, environment)?,
        locked: None,
        delta: false,
        signing: None,
    };
    notes.extend(unweighed);
    Ok((InspectRequest { subject: Subject::Hub(Box::new(wanted)), setup, architectures }, notes))
}

/// How the server is started, the architectures it knows, and what is not taken into account.
fn setup(args: MemoryArgs) -> Result<(Setup, Vec<String>, Vec<String>), Error> {
    let mut setup = Setup { cards: args.fits, ..Setup::default() };
    let mut notes = Vec::new();
    let mut words = args.server_args.iter().map(|word| word.trim()).filter(|word| !word.is_empty());
    while let Some(option) = words.next() {
        if let Some(note) = take(&mut setup, option, &mut words)? {
            notes.push(note);
        }
    }
    setup.context = args.ctx.or(setup.context);
    setup.slots = args.parallel.or(setup.slots);
    setup.unified |= args.kv_unified;
    setup.full_windows |= args.swa_full;
    setup.keys = args.cache_type_k.unwrap_or(setup.keys);
    setup.values = args.cache_type_v.unwrap_or(setup.values);
    setup.ubatch = args.ubatch_size.unwrap_or(setup.ubatch).max(1);
    setup.gpu_layers = args.n_gpu_layers.or(setup.gpu_layers);
    setup.cpu_experts = args.n_cpu_moe.unwrap_or(setup.cpu_experts);
    if !args.tensor_split.is_empty() {
        setup.split = args.tensor_split;
    }
    let split = &setup.split;
    let is_share = |share: &f64| share.is_finite() && *share >= 0.0;
    if !split.iter().all(is_share) {
        return Err(Error::invalid("--tensor-split", &format!("{split:?}"), "shares are numbers from 0"));
    }
    if !split.is_empty() && !setup.cards.is_empty() && split.len() != setup.cards.len() {
        let why = format!("{} cards are named by --fits", setup.cards.len());
        return Err(Error::invalid("--tensor-split", &format!("{split:?}"), why));
    }
    let architectures = args.architectures.iter().map(|name| name.trim().to_owned());
    Ok((setup, architectures.filter(|name| !name.is_empty()).collect(), notes))
}

/// Takes what an option of llama-server changes, as its release b11434 reads it (`common/arg.cpp`). Says what of it is not
/// taken into account.
fn take<'a>(
    setup: &mut Setup,
    option: &str,
    words: &mut impl Iterator<Item = &'a str>,
) -> Result<Option<String>, Error> {
    let wrong = |value: &str, why: &str| {
        Error::invalid("argument of llama-server", &format!("{option} {value}"), why)
    };
    let mut value = || words.next().ok_or_else(|| wrong("", "its value is missing"));
    let number = |value: &str| value.parse::<u64>().map_err(|_| wrong(value, "expected a number"));
    let kind = |value: &str| values::cache_type(value).map_err(|why| wrong(value, &why));
    match option {
        "-c" | "--ctx-size" => setup.context = Some(number(value()?)?),
        // -1 is the server's own choice.
        "-np" | "--parallel" => setup.slots = value()?.parse().ok().filter(|slots| *slots > 0),
        "-kvu" | "--kv-unified" => setup.unified = true,
        "-no-kvu" | "--no-kv-unified" => setup.unified = false,
        "-ctk" | "--cache-type-k" => setup.keys = kind(value()?)?,
        "-ctv" | "--cache-type-v" => setup.values = kind(value()?)?,
        "-ub" | "--ubatch-size" => setup.ubatch = number(value()?)?.max(1),
        "--swa-full" => setup.full_windows = true,
        "-cmoe" | "--cpu-moe" => setup.cpu_experts = u64::MAX,
        "-ncmoe" | "--n-cpu-moe" => setup.cpu_experts = number(value()?)?,
        // `auto` and `all` are no numbers.
        "-ngl" | "--gpu-layers" | "--n-gpu-layers" => setup.gpu_layers = value()?.parse().ok(),
        "-ts" | "--tensor-split" => {
            let value = value()?;
            let shares = value.split([',', '/']).map(str::parse).collect::<Result<_, _>>();
            setup.split = shares.map_err(|_| wrong(value, "expected numbers such as 3,1"))?;
        }
        "-nkvo" | "--no-kv-offload" | "-ot" | "--override-tensor" | "-sm" | "--split-mode" | "-md"
        | "--model-draft" | "--spec-draft-model" | "-mm" | "--mmproj" | "--lora" | "-fa" | "--flash-attn" => {
            let is_usual = matches!(option, "-fa" | "--flash-attn") && value()? != "off";
            let note = || format!("what `{option}` changes of the memory is not taken into account");
            return Ok((!is_usual).then(note));
        }
        _ => {}
    }
    Ok(None)
}
