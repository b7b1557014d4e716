//! The program around the library: a run from its command line to its exit number.

mod last_words;
mod memory;
mod pages;
mod signals;
mod stdout;

use std::fmt::Display;
use std::io;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use modelfetch::cli::{
    self, Environment, Invocation, Job, Output, Stderr, TerminationMessage, Unusable, Work,
};
use modelfetch::command::cluster;
use modelfetch::command::fetch::Models;
use modelfetch::command::inspect::Inspected;
use modelfetch::command::list::Held;
use modelfetch::command::lock::LockOutcome;
use modelfetch::command::prune::Pruned;
use modelfetch::command::smoke::{Check, SmokeOutcome};
use modelfetch::command::verify::Checked;
use modelfetch::disk::{self, Durability};
use modelfetch::error::Error;
use modelfetch::plan::Plan;
use modelfetch::report::{Event, Outcome, Reporter};
use modelfetch::show::{
    Findings, Show, Summary, Tally, Writer, inspected, message, metrics, results, secrets,
};
use modelfetch::stop::{self, StopSender};
use modelfetch::words::one_line;
use modelfetch::{Context, net};
use tokio::runtime::Runtime;

use last_words::{leave, report_panics};
use memory::keep_private;
use pages::show;
use signals::Standing;
use stdout::print;

/// What a job found, kept until the summary is written.
enum Finding {
    Fetched(Outcome),
    FetchedModels(Models<Outcome>),
    Planned(Plan),
    PlannedModels(Models<Plan>),
    Locked(LockOutcome),
    Listed(Held),
    Pruned(Pruned),
    Inspected(Inspected),
    Verified(Vec<Checked>),
    Smoked(SmokeOutcome),
    SmokedModels(Models<SmokeOutcome>),
    Cluster(String),
}

/// Reads the command line, lets the library work, says how it went.
pub(crate) fn main() -> ExitCode {
    keep_private();
    let arguments: Vec<_> = std::env::args_os().collect();
    let environment = Environment::of_process();
    let termination = TerminationMessage::of_raw(&arguments, &environment);
    report_panics(termination.clone());
    let number = match cli::parse(&arguments, &environment, Stderr::of_process()) {
        Ok(Invocation::Page(page)) => show(page),
        Ok(Invocation::Work(work)) => run(*work),
        Err(Unusable::Syntax(answer)) => {
            if answer.use_stderr() {
                leave(&termination, &Summary::of_bad_usage(&answer.to_string()));
            }
            let _ = answer.print();
            u8::try_from(answer.exit_code()).unwrap_or(2)
        }
        Err(Unusable::Meaning(error)) => {
            secrets::keep(cli::possible_secrets(&arguments, &environment));
            message::to_stderr(&message::error(&error, false));
            leave(&termination, &Summary::of_error(&error));
            error.exit_number()
        }
    };
    // A run has waited for its reader already, and let a signal end that.
    Writer::stderr().drain(None);
    ExitCode::from(number)
}

/// Does the work and returns the exit number.
fn run(work: Work) -> u8 {
    let Work { job, output, roots, proxies, notes, secrets } = work;
    secrets::keep(secrets.0);
    if output.verbose {
        diagnose();
    }
    tracing::debug!(?job, "request");
    let begin = Instant::now();
    let tally = Arc::new(Tally::new(output.progress.on_stderr()));
    tally.report(&Event::Begin { command: job.name(), what: &job.describe() });
    for note in &notes {
        tally.report(&Event::Warning(note));
    }
    let mut found = None;
    let standing = Arc::new(Standing::default());
    let context = net::client(&roots, proxies).map(|http| {
        let deadline = job.deadline().and_then(|deadline| begin.checked_add(deadline));
        let (sender, stop) = stop::channel(deadline);
        (Context { http, reporter: tally.clone(), stop }, sender)
    });
    let result = match (context, runtime()) {
        (Ok((context, sender)), Ok(runtime)) => {
            let result = watch(sender, &job, &output, &tally, &standing, begin)
                .and_then(|()| runtime.block_on(execute(&job, &context, &output, &standing, &mut found)));
            // A blocked read of a dead disk must not keep the process alive.
            runtime.shutdown_background();
            result
        }
        (Err(error), _) | (_, Err(error)) => Err(error),
    };
    let error = result.err();
    let findings = found.as_ref().map(Finding::findings);
    let seconds = begin.elapsed().as_secs_f64();
    let summary = Summary::new(job.name(), error.as_ref(), findings, tally.totals(), seconds);
    tally.finished(&summary);
    finish(&summary, error.as_ref(), &output, &standing)
}

/// Says how it went, wherever somebody listens. The termination message comes first: whoever reads the
/// others may keep this process waiting.
fn finish(summary: &Summary<'_>, error: Option<&Error>, output: &Output, standing: &Standing) -> u8 {
    if let Some(error) = error {
        message::to_stderr(&message::error(error, output.color));
    }
    leave(&output.termination, summary);
    standing.decided(summary.exit);
    let mut number = summary.exit;
    let mut also = |result: Result<(), Error>| {
        if let Err(error) = result {
            message::to_stderr(&message::error(&error, output.color));
            number = if number == 0 { error.exit_number() } else { number };
        }
    };
    if output.json {
        also(standing.at_reader(|| {
            print(|stdout| {
                if matches!(summary.findings, Some(Findings::Inspected { .. })) {
                    // The text of a header is a stranger's, and `##[…]` an order to CI services. JSON means the same then.
                    stdout.write_all(serde_json::to_string(summary)?.replace("##", "#\\u0023").as_bytes())?;
                } else {
                    serde_json::to_writer(&mut *stdout, summary)?;
                }
                stdout.write_all(b"\n")
            })
        }));
    }
    if let Some(path) = &output.metrics_file {
        let text = metrics::metrics(summary, SystemTime::now());
        also(disk::replace(path, text.as_bytes(), Durability::Process));
    }
    standing.at_reader(|| Writer::stderr().drain(None));
    number
}

/// From here on signals and the deadline end the run.
fn watch(
    sender: StopSender,
    job: &Job,
    output: &Output,
    tally: &Arc<Tally>,
    standing: &Arc<Standing>,
    begin: Instant,
) -> Result<(), Error> {
    let (name, termination, tally) = (job.name(), output.termination.clone(), Arc::clone(tally));
    let last_words = move |error: &Error| {
        let seconds = begin.elapsed().as_secs_f64();
        leave(&termination, &Summary::new(name, Some(error), None, tally.totals(), seconds));
    };
    signals::watch(sender, job.deadline(), Arc::clone(standing), last_words)
}

async fn execute(
    job: &Job,
    context: &Context,
    output: &Output,
    standing: &Standing,
    found: &mut Option<Finding>,
) -> Result<(), Error> {
    // With --json the summary is the only thing on stdout.
    let mut printed = Ok(());
    let mut say = |text: &dyn Display| {
        if !output.json && printed.is_ok() {
            printed = standing.at_reader(|| print(|stdout| write!(stdout, "{text}")));
        }
    };
    match job {
        Job::Fetch(request) => {
            let outcome = Box::pin(modelfetch::fetch(request, context)).await?;
            say(&results::fetched(&outcome));
            *found = Some(Finding::Fetched(outcome));
        }
        Job::FetchModels(request) | Job::Initialize(request) => {
            let mut models = modelfetch::fetch_models(request, context).await?;
            models.good().for_each(|outcome| say(&results::fetched(outcome)));
            let all = models.check();
            *found = Some(Finding::FetchedModels(models));
            all?;
        }
        Job::PlanModels(request) => {
            let mut models = modelfetch::plan_models(request, context).await;
            models.good().for_each(|plan| say(&results::planned(plan)));
            let all = models.check().and_then(|()| models.check_space());
            *found = Some(Finding::PlannedModels(models));
            all?;
        }
        Job::Lock(request) => {
            let outcome = modelfetch::lock(request, context).await?;
            say(&results::locked(&outcome));
            *found = Some(Finding::Locked(outcome));
        }
        Job::List(destination) => {
            let held = modelfetch::list(destination, context).await?;
            say(&results::listed(&held, SystemTime::now()));
            *found = Some(Finding::Listed(held));
        }
        Job::Inspect(request, with_tensors) => {
            let mut seen = Box::pin(modelfetch::inspect(request, context)).await?;
            say(&inspected::inspected(&seen, *with_tensors));
            let verdict = std::mem::replace(&mut seen.verdict, Ok(()));
            *found = Some(Finding::Inspected(seen));
            verdict?;
        }
        Job::Prune(request) => {
            let pruned = modelfetch::prune(request, context).await?;
            say(&results::pruned(&pruned));
            *found = Some(Finding::Pruned(pruned));
        }
        Job::Plan(request) => {
            let planned = modelfetch::plan(request, context).await?;
            say(&results::planned(&planned.plan));
            *found = Some(Finding::Planned(planned.plan));
            planned.verdict?;
        }
        Job::Smoke(request) => {
            let mut outcome =
                modelfetch::smoke(request, context, &mut |check| say(&results::checked(check))).await?;
            say(&results::smoked([&outcome]));
            outcome.reword(|text| secrets::fit(text).into_owned());
            *found = Some(Finding::Smoked(outcome));
        }
        Job::SmokeModels(request) => {
            let passed = &mut |check: &Check| say(&results::checked(check));
            let mut models = modelfetch::smoke_models(request, context, passed).await?;
            let all = models.check().and_then(|()| models.check_space());
            if all.is_ok() {
                say(&results::smoked(models.good()));
            }
            models.reword(|text| secrets::fit(text).into_owned());
            *found = Some(Finding::SmokedModels(models));
            all?;
        }
        Job::Cluster(task, account) => {
            let reporter = Arc::clone(&context.reporter);
            let work = cluster::run(task, account, reporter);
            let did = context.stop.or("asking the Kubernetes API", work).await?;
            say(&(one_line(&did) + "\n"));
            *found = Some(Finding::Cluster(did));
        }
        Job::CheckServer(request) => {
            let did = context.stop.or("asking the server", cluster::check_server(request, context)).await?;
            say(&(one_line(&did) + "\n"));
            *found = Some(Finding::Cluster(did));
        }
        Job::Verify(request) => {
            let mut files = Vec::new();
            let result = Box::pin(modelfetch::verify(request, context, &mut |file| {
                say(&results::verified(file));
                files.push(file.clone());
            }))
            .await;
            *found = Some(Finding::Verified(files));
            result?;
        }
    }
    printed
}

impl Finding {
    fn findings(&self) -> Findings<'_> {
        match self {
            Self::Fetched(outcome) => Findings::Fetched(outcome),
            Self::FetchedModels(models) => Findings::FetchedModels { models: &models.ends },
            Self::Planned(plan) => Findings::Planned { plan },
            Self::PlannedModels(models) => Findings::PlannedModels { plans: &models.ends },
            Self::Locked(lock) => Findings::Locked { lock },
            Self::Listed(held) => Findings::Listed { held },
            Self::Pruned(pruned) => Findings::Pruned { pruned },
            Self::Inspected(Inspected { models, left_out, bytes_fetched, .. }) => {
                Findings::Inspected { models, left_out, bytes_fetched: *bytes_fetched }
            }
            Self::Verified(files) => Findings::Verified { files },
            Self::Smoked(smoke) => Findings::Smoked { smoke },
            Self::SmokedModels(models) => Findings::SmokedModels { smokes: &models.ends },
            Self::Cluster(did) => Findings::Cluster { did },
        }
    }
}

/// Steps of tasks after which timers are looked at; 61, unless told. A step that parses what a server sends as quickly
/// as memory allows, `100 Continue` without end, takes a fifth of a second, and the stall timeout waits for its turn.
const EVENT_INTERVAL: u32 = 8;

fn runtime() -> Result<Runtime, Error> {
    // One core is for the hash. More than a few threads of the network get ahead of any disk.
    let workers = std::thread::available_parallelism().map_or(1, |cores| (cores.get() - 1).clamp(1, 4));
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .thread_name("modelfetch")
        .event_interval(EVENT_INTERVAL)
        .enable_all()
        .build()
        .map_err(Error::io("start", "threads"))
}

/// Diagnostics of this program's own modules, on stderr.
fn diagnose() {
    use tracing_subscriber::layer::SubscriberExt;
    let own = |metadata: &tracing::Metadata<'_>| metadata.target().starts_with("modelfetch");
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_ansi(false)
        .without_time()
        .with_writer(|| Diagnostics)
        .finish()
        .with(tracing_subscriber::filter::filter_fn(own));
    tracing::subscriber::set_global_default(subscriber).expect("it is set only here");
}

/// Lets no thread wait for the reader of its diagnostics.
struct Diagnostics;

impl io::Write for Diagnostics {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Writer::stderr().diagnostics(&String::from_utf8_lossy(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
