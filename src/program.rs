//! What `main` does around the library: runtime, signals, results on stdout, last words.

use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use modelfetch::cli::{self, Job, Output, Page, TerminationMessage, Work};
use modelfetch::command::cluster;
use modelfetch::command::smoke::SmokeOutcome;
use modelfetch::command::verify::Checked;
use modelfetch::disk::{self, Durability};
use modelfetch::error::{Error, Signal};
use modelfetch::plan::Plan;
use modelfetch::report::{Event, Outcome, Reporter};
use modelfetch::show::{Findings, Show, Summary, Tally, message, metrics, results, termination};
use modelfetch::stop::{self, Cause, StopSender};
use modelfetch::{Context, net};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

/// What a job found, kept until the summary is written.
enum Found {
    Fetched(Outcome),
    Planned(Plan),
    Verified(Vec<Checked>),
    Smoked(SmokeOutcome),
    Cluster(String),
}

/// Does the work and returns the exit number.
pub(crate) fn run(work: Work) -> u8 {
    let Work { job, output, roots, notes } = work;
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
    let context = net::client(&roots).map(|http| {
        let deadline = job.deadline().and_then(|deadline| begin.checked_add(deadline));
        let (sender, stop) = stop::channel(deadline);
        (Context { http, reporter: tally.clone(), stop }, sender)
    });
    let result = match (context, runtime()) {
        (Ok((context, sender)), Ok(runtime)) => {
            let result = runtime.block_on(async {
                watch(sender, job.deadline())?;
                execute(&job, &context, &output, &mut found).await
            });
            // A blocked read of a dead disk must not keep the process alive.
            runtime.shutdown_background();
            result
        }
        (Err(error), _) | (_, Err(error)) => Err(error),
    };
    let error = result.err();
    let findings = found.as_ref().map(Found::findings);
    let seconds = begin.elapsed().as_secs_f64();
    let summary = Summary::new(job.name(), error.as_ref(), findings, tally.totals(), seconds);
    tally.finished(&summary);
    finish(&summary, error.as_ref(), &output)
}

/// Says how it went, wherever somebody listens.
fn finish(summary: &Summary<'_>, error: Option<&Error>, output: &Output) -> u8 {
    if let Some(error) = error {
        message::to_stderr(&message::error(error, output.color));
    }
    let mut number = summary.exit;
    let mut also = |result: Result<(), Error>| {
        if let Err(error) = result {
            message::to_stderr(&message::error(&error, output.color));
            number = if number == 0 { error.exit_number() } else { number };
        }
    };
    if output.json {
        let text = serde_json::to_string(summary).expect("every field has a JSON form");
        also(print(&(text + "\n")));
    }
    if let Some(path) = &output.metrics_file {
        let text = metrics::metrics(summary, SystemTime::now());
        also(disk::replace(path, text.as_bytes(), Durability::Process));
    }
    leave(&output.termination, summary);
    number
}

async fn execute(
    job: &Job,
    context: &Context,
    output: &Output,
    found: &mut Option<Found>,
) -> Result<(), Error> {
    // With --json the summary is the only thing on stdout.
    let mut printed = Ok(());
    let mut say = |text: String| {
        if !output.json && printed.is_ok() {
            context.reporter.aside(&mut || printed = print(&text));
        }
    };
    match job {
        Job::Fetch(request) => {
            let outcome = modelfetch::fetch(request, context).await?;
            say(results::fetched(&outcome));
            *found = Some(Found::Fetched(outcome));
        }
        Job::Plan(request) => {
            let plan = modelfetch::plan(request, context).await?;
            say(results::planned(&plan));
            let room = plan.check_space();
            *found = Some(Found::Planned(plan));
            room?;
        }
        Job::Smoke(request) => {
            let outcome =
                modelfetch::smoke(request, context, &mut |check| say(results::checked(check))).await?;
            say(results::smoked(&outcome));
            *found = Some(Found::Smoked(outcome));
        }
        Job::Cluster(task, account) => {
            let reporter = Arc::clone(&context.reporter);
            let work = cluster::run(task, account, reporter);
            let did = context.stop.or("asking the Kubernetes API", work).await?;
            say(did.clone() + "\n");
            *found = Some(Found::Cluster(did));
        }
        Job::Verify(request) => {
            let mut files = Vec::new();
            let result = modelfetch::verify(request, context, &mut |file| {
                say(results::verified(file));
                files.push(file.clone());
            })
            .await;
            *found = Some(Found::Verified(files));
            result?;
        }
    }
    printed
}

impl Found {
    fn findings(&self) -> Findings<'_> {
        match self {
            Self::Fetched(outcome) => Findings::Fetched(outcome),
            Self::Planned(plan) => Findings::Planned { plan },
            Self::Verified(files) => Findings::Verified { files },
            Self::Smoked(smoke) => Findings::Smoked { smoke },
            Self::Cluster(did) => Findings::Cluster { did },
        }
    }
}

fn runtime() -> Result<Runtime, Error> {
    // One core is for the hash. More than a few threads of the network get ahead of any disk.
    let workers = std::thread::available_parallelism().map_or(1, |cores| (cores.get() - 1).clamp(1, 4));
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .thread_name("modelfetch")
        .enable_all()
        .build()
        .map_err(|why| Error::Internal(format!("cannot start threads: {why}")))
}

/// Turns signals and the deadline into the order to stop. A second signal ends the process at
/// once: the state on disk is good for a SIGKILL, so also for this.
fn watch(sender: StopSender, deadline: Option<Duration>) -> Result<(), Error> {
    let listen =
        |kind| signal(kind).map_err(|why| Error::Internal(format!("cannot listen for signals: {why}")));
    let (mut int, mut term) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    tokio::spawn(async move {
        let mut stopping = false;
        let deadline_passed = async {
            match deadline {
                Some(deadline) => {
                    tokio::time::sleep(deadline).await;
                    deadline
                }
                None => std::future::pending().await,
            }
        };
        tokio::pin!(deadline_passed);
        let mut is_over = false;
        loop {
            let cause = tokio::select! {
                _ = int.recv() => Cause::Signal(Signal::Int),
                _ = term.recv() => Cause::Signal(Signal::Term),
                deadline = &mut deadline_passed, if !is_over => {
                    is_over = true;
                    Cause::Deadline(deadline)
                }
            };
            if let (true, Cause::Signal(signal)) = (stopping, cause) {
                std::process::exit(Error::Interrupted { signal }.exit_number().into());
            }
            stopping |= matches!(cause, Cause::Signal(_));
            sender.stop(cause);
        }
    });
    Ok(())
}

/// Diagnostics of this program's own modules, on stderr.
fn diagnose() {
    use tracing_subscriber::layer::SubscriberExt;
    let own = |metadata: &tracing::Metadata<'_>| metadata.target().starts_with("modelfetch");
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_ansi(false)
        .without_time()
        .with_writer(std::io::stderr)
        .finish()
        .with(tracing_subscriber::filter::filter_fn(own));
    tracing::subscriber::set_global_default(subscriber).expect("it is set only here");
}

/// Prints a page about the program, or writes the manual pages into a directory.
pub(crate) fn show(page: Page) -> u8 {
    let result = match page {
        Page::Completions(shell) => print_bytes(&cli::completions(shell)),
        Page::Man(None) => {
            cli::man_page().map_err(Error::io("write", "stdout")).and_then(|page| print_bytes(&page))
        }
        Page::Man(Some(dir)) => write_manual(&dir),
    };
    result.map_or_else(
        |error| {
            message::to_stderr(&message::error(&error, false));
            error.exit_number()
        },
        |()| 0,
    )
}

fn write_manual(dir: &PathBuf) -> Result<(), Error> {
    disk::Dir::create(dir)?;
    for (name, page) in cli::man_pages().map_err(Error::io("write", dir))? {
        disk::replace(&dir.join(name), &page, Durability::Process)?;
    }
    Ok(())
}

/// Writes the last words, where somebody asked for them. A file that cannot be written is worth a
/// warning only where the user named it.
pub(crate) fn leave(to: &TerminationMessage, summary: &Summary<'_>) {
    let is_named = matches!(to, TerminationMessage::Named(_));
    if let Err(why) = termination::write(to.path(), summary, is_named)
        && is_named
    {
        message::to_stderr(&format!(
            "warning: cannot write the termination message `{}`: {why}\n",
            to.path().display()
        ));
    }
}

/// The memory of this process holds tokens and signed addresses: no core is written after a crash,
/// and other processes of the same user cannot read it.
pub(crate) fn keep_memory_private() {
    // Where the kernel knows no such thing there is nothing to be done about it.
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}

/// A panic is a bug: say so, with a number that makes a Job try again.
pub(crate) fn report_panics(termination: TerminationMessage) {
    std::panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let error = Error::Internal(format!("{} at {place}", panic.payload_as_str().unwrap_or("panic")));
        message::to_stderr(&message::error(&error, false));
        leave(&termination, &Summary::of_error(&error));
        std::process::exit(error.exit_number().into());
    }));
}

fn print(text: &str) -> Result<(), Error> {
    print_bytes(text.as_bytes())
}

/// Writes to stdout. A reader that has gone away, such as `head`, is no error.
fn print_bytes(bytes: &[u8]) -> Result<(), Error> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(why) if why.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(Error::io("write", "stdout")),
    }
}
