//! The command line: flags and environment become requests of the library. Nothing else in the
//! program reads either.
//!
//! Parsing (`args`) only parses; a second step (`request`, `token`, `output`) decides what flags
//! and variables mean together. A flag beats its `MODELFETCH_*` variable, that beats the `HF_*`
//! variables of `huggingface_hub`, and those the defaults.

mod args;
mod environment;
mod given;
mod help;
mod inspect;
mod manifest;
mod netrc;
mod output;
mod pages;
pub mod reference;
mod registry;
mod request;
mod signing;
mod storage;
mod suspects;
mod token;
mod values;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::{ArgMatches, CommandFactory, FromArgMatches};

pub use args::{ColorMode, ProgressMode};
pub use environment::Environment;
pub use help::{VARIABLES, Variable};
pub use output::{Output, Stderr, TerminationMessage};
pub use pages::{completions, man_page, man_pages};
pub use suspects::possible as possible_secrets;

use crate::command::cluster::{AddressRequest, ClaimRequest, ServerRequest, ServiceAccount, Task};
use crate::command::fetch::{ModelRequest, ModelsRequest};
use crate::command::inspect::{InspectRequest, Subject};
use crate::command::lock::LockRequest;
use crate::command::prune::PruneRequest;
use crate::command::verify::VerifyRequest;
use crate::error::Error;
use crate::net::ExtraRoots;
use crate::request::{Destination, Endpoint, Proxies, Proxy, Request};
use crate::words::count;
use args::{Cli, ClusterCommand, Command, OutputArgs};
use given::Given;

/// What to do, and how to show it.
#[derive(Debug)]
pub enum Invocation {
    /// A page about the program itself, to stdout or into a directory.
    Page(Page),
    /// Work.
    Work(Box<Work>),
}

/// A page about the program itself.
#[derive(Debug)]
pub enum Page {
    /// A completion script.
    Completions(clap_complete::Shell),
    /// The manual: the main page, or all of them into a directory.
    Man(Option<PathBuf>),
}

/// A job with everything around it.
#[derive(Debug)]
pub struct Work {
    /// The job.
    pub job: Job,
    /// How it is shown.
    pub output: Output,
    /// Certificate authorities from the environment.
    pub roots: ExtraRoots,
    /// Proxies from the environment.
    pub proxies: Proxies,
    /// What the user should know before the work begins.
    pub notes: Vec<String>,
    /// What must be shown nowhere.
    pub secrets: Secrets,
}

/// Texts that cannot be printed by accident.
pub struct Secrets(pub Vec<String>);

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} secrets", self.0.len())
    }
}

/// A job for the library.
#[derive(Debug)]
pub enum Job {
    /// [`crate::fetch()`]
    Fetch(Request),
    /// [`crate::fetch_models()`]
    FetchModels(ModelsRequest),
    /// The same, as `KServe` asks for it.
    Initialize(ModelsRequest),
    /// [`crate::plan()`]
    Plan(Request),
    /// [`crate::plan_models()`]
    PlanModels(ModelsRequest),
    /// [`crate::lock()`]
    Lock(LockRequest),
    /// [`crate::list()`]
    List(Destination),
    /// [`crate::prune()`]
    Prune(PruneRequest),
    /// [`crate::inspect()`]; whether each tensor is listed.
    Inspect(InspectRequest, bool),
    /// [`crate::verify()`]
    Verify(VerifyRequest),
    /// [`crate::command::smoke()`]
    Smoke(Request),
    /// [`crate::smoke_models()`]
    SmokeModels(ModelsRequest),
    /// [`crate::command::cluster`]
    Cluster(Task, ServiceAccount),
    /// [`crate::command::cluster::check_server()`]
    CheckServer(ServerRequest),
}

/// A command line that leads to no work.
#[derive(Debug)]
pub enum Unusable {
    /// clap's answer: help, version, or what is wrong with the syntax.
    Syntax(clap::Error),
    /// The flags and variables are no valid request.
    Meaning(Error),
}

impl Job {
    /// The command's name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Fetch(_) | Self::FetchModels(_) => "fetch",
            Self::Plan(_) | Self::PlanModels(_) => "plan",
            Self::Initialize(_) => "storage-initializer",
            Self::Lock(_) => "lock",
            Self::List(_) => "list",
            Self::Prune(_) => "prune",
            Self::Inspect(..) => "inspect",
            Self::Verify(_) => "verify",
            Self::Smoke(_) | Self::SmokeModels(_) => "smoke",
            Self::Cluster(Task::EnsureClaim(_), _) => "cluster ensure-claim",
            Self::Cluster(Task::PatchService(_), _) => "cluster patch-service",
            Self::CheckServer(_) => "cluster check-server",
        }
    }

    /// What it works on, in a few words.
    pub fn describe(&self) -> String {
        match self {
            Self::Fetch(request) | Self::Plan(request) | Self::Smoke(request) => format!(
                "{} ({}) into `{}`",
                request.repo.at("@", &request.revision),
                request.selection.describe(),
                request.destination.root().display()
            ),
            Self::FetchModels(request) | Self::PlanModels(request) | Self::SmokeModels(request) => format!(
                "{} of `{}` into `{}`",
                count(request.models.len() as u64, "model"),
                request.what,
                request.destination.root().display()
            ),
            Self::Initialize(request) => {
                let into = |model: &ModelRequest| {
                    format!("{} into `{}`", model.name, model.request.destination.root().display())
                };
                request.models.iter().map(into).collect::<Vec<_>>().join(", ")
            }
            Self::Lock(request) => format!("`{}`", request.lockfile.display()),
            Self::List(destination) => format!("`{}`", destination.root().display()),
            Self::Prune(request) => format!("`{}`", request.destination.root().display()),
            Self::Verify(request) => format!("`{}`", request.destination.root().display()),
            Self::Inspect(request, _) => match &request.subject {
                Subject::Disk(path) => format!("`{}`", path.display()),
                Subject::Hub(request) => {
                    let from = request.repo.at("@", &request.revision);
                    format!("{from} ({})", request.selection.describe())
                }
            },
            Self::Cluster(Task::EnsureClaim(claim), _) => format!("`{}`", claim.manifest.display()),
            Self::Cluster(Task::PatchService(address), _) => address.service.clone(),
            Self::CheckServer(request) => {
                request.urls.iter().map(url::Url::as_str).collect::<Vec<_>>().join(", ")
            }
        }
    }

    /// The longest time it may take.
    pub fn deadline(&self) -> Option<Duration> {
        match self {
            Self::Fetch(request) | Self::Plan(request) | Self::Smoke(request) => request.limits.deadline,
            Self::FetchModels(request)
            | Self::Initialize(request)
            | Self::PlanModels(request)
            | Self::SmokeModels(request) => request.limits.deadline,
            Self::Inspect(request, _) => match &request.subject {
                Subject::Hub(request) => request.limits.deadline,
                Subject::Disk(_) => None,
            },
            Self::Lock(request) => request.limits.deadline,
            Self::Verify(request) => request.limits.deadline,
            // The Job has a deadline of its own.
            Self::List(_) | Self::Prune(_) | Self::Cluster(..) | Self::CheckServer(_) => None,
        }
    }
}

impl From<Error> for Unusable {
    fn from(error: Error) -> Self {
        Self::Meaning(error)
    }
}

impl From<clap::Error> for Unusable {
    fn from(error: clap::Error) -> Self {
        Self::Syntax(error)
    }
}

/// The command with all its flags.
pub fn command() -> clap::Command {
    // Values of variables do not belong into a help page that is pasted into a bug report.
    each_argument(Cli::command(), &|argument| argument.hide_env_values(true))
}

/// Reads a command line, program name first.
pub fn parse(
    arguments: &[OsString],
    environment: &Environment,
    stderr: Stderr,
) -> Result<Invocation, Unusable> {
    // clap reads the variables itself, and would take an empty one for a value.
    let command = each_argument(command(), &|argument| {
        let is_blank = argument.get_env().is_some_and(|name| environment.is_blank(name));
        if is_blank { argument.env(None) } else { argument }
    });
    let fit = |error| suspects::hide(error, arguments, environment);
    let matches = command.try_get_matches_from(arguments).map_err(fit)?;
    let cli = Cli::from_arg_matches(&matches).map_err(fit)?;
    let mut chosen = &matches;
    while let Some((_, inner)) = chosen.subcommand() {
        chosen = inner;
    }
    let mut invocation = invocation(cli.command, chosen, environment, stderr)?;
    if let Invocation::Work(work) = &mut invocation {
        work.secrets.0.extend(suspects::certain(arguments, environment));
    }
    Ok(invocation)
}

fn invocation(
    command: Command,
    matches: &ArgMatches,
    environment: &Environment,
    stderr: Stderr,
) -> Result<Invocation, Error> {
    let given = Given(matches);
    let output = |args: OutputArgs| output::output(args, &given, environment, stderr);
    let proxies = match command {
        Command::Fetch(_)
        | Command::Plan(_)
        | Command::Smoke(_)
        | Command::Inspect(_)
        | Command::Lock(_)
        | Command::StorageInitializer(_)
        | Command::Verify(_) => environment.proxies()?,
        // The API server of its own cluster is never behind one; the others ask nobody.
        Command::Cluster(_)
        | Command::List(_)
        | Command::Prune(_)
        | Command::Completions { .. }
        | Command::Man { .. } => Proxies::default(),
    };
    let fetch_or_plan = |args: args::JobArgs, is_plan| -> Result<_, Error> {
        let output = output(args.output.clone())?;
        let (job, notes) = if manifest::is_meant(&args, &given)? {
            let (request, notes) = manifest::models(args, &given, environment, &proxies)?;
            (if is_plan { Job::PlanModels(request) } else { Job::FetchModels(request) }, notes)
        } else {
            let (request, notes) = request::request(args, &given, environment, &proxies)?;
            (if is_plan { Job::Plan(request) } else { Job::Fetch(request) }, notes)
        };
        Ok((job, output, notes))
    };
    let (job, output, notes) = match command {
        Command::Completions { shell } => return Ok(Invocation::Page(Page::Completions(shell))),
        Command::Man { dir } => return Ok(Invocation::Page(Page::Man(dir))),
        Command::Fetch(args) => fetch_or_plan(args.job, args.dry_run)?,
        Command::Plan(args) => fetch_or_plan(args, true)?,
        Command::StorageInitializer(args) => {
            let output = output(args.output.clone())?;
            let (request, notes) = storage::models(args, &given, environment, &proxies)?;
            (Job::Initialize(request), output, notes)
        }
        Command::List(args) => {
            let place = request::destination(args.destination, &given, environment)?;
            (Job::List(place), output(args.output)?, Vec::new())
        }
        Command::Inspect(args) => {
            let output = output(args.output.clone())?;
            let with_tensors = args.tensors;
            let (request, notes) = inspect::request(args, &given, environment, &proxies)?;
            (Job::Inspect(request, with_tensors), output, notes)
        }
        Command::Prune(args) => {
            let output = output(args.output.clone())?;
            (Job::Prune(manifest::prune_request(args, &given, environment)?), output, Vec::new())
        }
        Command::Lock(args) => {
            let output = output(args.output.clone())?;
            let (request, notes) = manifest::lock_request(args, &given, environment, &proxies)?;
            (Job::Lock(request), output, notes)
        }
        Command::Cluster(command) => {
            let (job, args) = cluster_job(command, environment)?;
            (job, output(args)?, Vec::new())
        }
        Command::Smoke(args) => {
            let output = output(args.output.clone())?;
            if manifest::is_meant(&args, &given)? {
                let (request, notes) = manifest::models(args, &given, environment, &proxies)?;
                (Job::SmokeModels(request), output, notes)
            } else {
                let (request, notes) = request::request(args, &given, environment, &proxies)?;
                (Job::Smoke(request), output, notes)
            }
        }
        Command::Verify(args) => {
            let output = output(args.output.clone())?;
            let (request, notes) = request::verify_request(args, &given, environment, &proxies)?;
            (Job::Verify(request), output, notes)
        }
    };
    let roots =
        ExtraRoots { file: environment.path("SSL_CERT_FILE"), dirs: environment.paths("SSL_CERT_DIR") };
    let secrets = secrets(&job, &proxies);
    Ok(Invocation::Work(Box::new(Work { job, output, roots, proxies, notes, secrets })))
}

/// Everything that a server might repeat and nobody is to read.
fn secrets(job: &Job, proxies: &Proxies) -> Secrets {
    let mut secrets = Vec::new();
    let mut logins: Vec<_> = proxies.iter().filter_map(Proxy::login).collect();
    let endpoints = match job {
        Job::Fetch(request) | Job::Plan(request) | Job::Smoke(request) => Some(&request.endpoints),
        Job::FetchModels(request)
        | Job::Initialize(request)
        | Job::PlanModels(request)
        | Job::SmokeModels(request) => Some(&request.endpoints),
        Job::Lock(request) => Some(&request.endpoints),
        Job::Verify(request) => Some(&request.endpoints),
        Job::Inspect(request, _) => match &request.subject {
            Subject::Hub(request) => Some(&request.endpoints),
            Subject::Disk(_) => None,
        },
        Job::List(_) | Job::Prune(_) | Job::CheckServer(_) => None,
        Job::Cluster(task, account) => {
            if let Task::PatchService(request) = task {
                secrets.extend(request.addresses.split(',').map(|address| address.trim().to_owned()));
            }
            secrets.extend(account.token());
            None
        }
    };
    if let Some(endpoints) = endpoints {
        secrets.extend(endpoints.token().and_then(|token| token.expose()).map(str::to_owned));
        logins.extend(endpoints.iter().filter_map(Endpoint::login).cloned());
        secrets.extend(endpoints.registry_logins().secrets());
    }
    for login in logins {
        secrets.push(BASE64_STANDARD.encode(format!("{}:{}", login.user(), login.expose())));
        secrets.push(login.expose().to_owned());
    }
    Secrets(secrets)
}

fn cluster_job(command: ClusterCommand, environment: &Environment) -> Result<(Job, OutputArgs), Error> {
    let account = || ServiceAccount::from_environment(|name| environment.text(name).map(str::to_owned));
    Ok(match command {
        ClusterCommand::EnsureClaim(args) => {
            let task = Task::EnsureClaim(ClaimRequest { manifest: args.manifest });
            (Job::Cluster(task, account()?), args.output)
        }
        ClusterCommand::PatchService(args) => {
            // From a Secret, so never an argument: those are in the process list.
            let addresses = environment.text("LB_IP").unwrap_or_default().to_owned();
            let (service, provider, annotation) = (args.service, args.provider, args.annotation);
            let task = Task::PatchService(AddressRequest { service, provider, annotation, addresses });
            (Job::Cluster(task, account()?), args.output)
        }
        ClusterCommand::CheckServer(args) => {
            let request = ServerRequest { urls: args.urls, give_up_after: args.give_up_after };
            (Job::CheckServer(request), args.output)
        }
    })
}

fn each_argument(command: clap::Command, change: &dyn Fn(clap::Arg) -> clap::Arg) -> clap::Command {
    command.mut_args(change).mut_subcommands(|command| each_argument(command, change))
}
