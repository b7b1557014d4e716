//! `modelfetch smoke`: shows in seconds and a few MB that a fetch would work.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;

use super::Context;
use crate::catalog::{self, Hub};
use crate::content::gguf;
use crate::error::{Error, Failure};
use crate::net::{self, Watchdog};
use crate::plan::{Plan, WantedFile};
use crate::report::Event;
use crate::request::{NetworkUse, Request};
use crate::retry::{Backoff, Budget};
use crate::source::Source;
use crate::source::answer::{self, Answer};
use crate::store::Store;
use crate::words::{Bytes, count};

/// Bytes asked for at the middle and the end of a file.
const SAMPLE: u64 = 64 << 10;
/// Bytes asked for at the start of a GGUF file: the fixed part and much of the metadata.
const HEADER_SAMPLE: u64 = 1 << 20;
/// Files whose bytes are sampled; of the others size and digest are known to the Hub.
const FILES_SAMPLED: usize = 4;
/// A smoke test answers soon: passing trouble may take no longer than this.
const PATIENCE: Duration = Duration::from_secs(20);

/// One thing that was tried and worked.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// What was tried, e.g. `range at the middle of model.gguf`.
    pub name: String,
    /// What was seen.
    pub seen: String,
}

/// A smoke test that passed.
#[derive(Debug, Clone, Serialize)]
pub struct SmokeOutcome {
    /// What a fetch would do.
    pub plan: Plan,
    /// Everything that was tried, in order.
    pub checks: Vec<Check>,
    /// Bytes received.
    pub bytes_fetched: u64,
}

/// Tries everything a fetch needs; nothing is published. `passed` hears of each check as it
/// passes; the first that fails is the error.
pub async fn smoke(
    request: &Request,
    context: &Context,
    passed: &mut (dyn FnMut(&Check) + Send),
) -> Result<SmokeOutcome, Error> {
    let work = smoke_unstopped(request, context, passed);
    context.stop.or("smoke-testing", work).await
}

async fn smoke_unstopped(
    request: &Request,
    context: &Context,
    passed: &mut (dyn FnMut(&Check) + Send),
) -> Result<SmokeOutcome, Error> {
    let store = Store::new(&request.destination, &request.repo);
    if request.network == NetworkUse::Offline {
        let (repo, wanted, dir) =
            (request.repo.clone(), request.selection.describe(), store.root().to_owned());
        return Err(Error::Offline { repo, wanted, dir });
    }
    let mut limits = request.limits.clone();
    limits.give_up_after = limits.give_up_after.min(PATIENCE);
    let hub = Arc::new(context.hub(&request.endpoints, &limits));
    let mut checks = Checks { passed, list: Vec::new() };

    let resolution = catalog::resolve(&hub, request, None).await?;
    let commit = resolution.commit.map_or_else(|| request.revision.to_string(), |commit| commit.to_string());
    let bytes = resolution.files.iter().map(WantedFile::size).sum();
    let files = resolution.files.len();
    checks.pass(
        format!("{} at {}", request.repo, request.revision),
        format!("commit {commit}, {}, {}", count(files as u64, "file"), Bytes(bytes)),
    );
    for file in &resolution.files {
        if let Some(pin) = request.pins.for_file(&file.path, files) {
            checks.pass(format!("pin of {}", file.path), format!("the Hub has {pin}"));
        }
    }

    let mut sampled: Vec<_> = resolution.files.iter().collect();
    sampled.sort_by_key(|file| std::cmp::Reverse(file.size()));
    let probe =
        Probe { hub, request, context, commit, fetched: AtomicU64::new(0), patience: limits.give_up_after };
    for file in sampled.into_iter().take(FILES_SAMPLED) {
        let url = resolution.urls.get(&file.path).cloned();
        probe.sample(file, url, &mut checks).await?;
    }

    let plan = store.plan(&resolution.origin(), &resolution.files, request.recheck)?;
    plan.check_space()?;
    let free = plan.bytes_free.map_or("free space unknown".into(), |bytes| format!("{} free", Bytes(bytes)));
    checks.pass(
        format!("room in {}", store.root().display()),
        format!("{} needed, {}", Bytes(plan.bytes_needed), free),
    );
    store.probe()?;
    checks
        .pass(format!("write access to {}", store.root().display()), "a file was written and removed".into());
    Ok(SmokeOutcome { plan, checks: checks.list, bytes_fetched: probe.fetched.into_inner() })
}

struct Checks<'a> {
    passed: &'a mut (dyn FnMut(&Check) + Send),
    list: Vec<Check>,
}

impl Checks<'_> {
    fn pass(&mut self, name: String, seen: String) {
        let check = Check { name, seen };
        (self.passed)(&check);
        self.list.push(check);
    }
}

/// Reads samples of files.
struct Probe<'a> {
    hub: Arc<Hub>,
    request: &'a Request,
    context: &'a Context,
    commit: String,
    fetched: AtomicU64,
    patience: Duration,
}

impl Probe<'_> {
    /// Asks for the start, the middle and the end of a file; reads the header of a GGUF file.
    async fn sample(
        &self,
        file: &WantedFile,
        url: Option<reqwest::Url>,
        checks: &mut Checks<'_>,
    ) -> Result<(), Error> {
        let (repo, commit) = (self.request.repo.clone(), self.commit.clone());
        let source = Source::new(Arc::clone(&self.hub), repo, commit, file.clone(), url);
        let is_gguf = gguf::is_named(file.path.file_name());
        let first = if is_gguf { HEADER_SAMPLE } else { SAMPLE };
        for (place, range) in samples(file.size(), first) {
            let name = format!("range at the {place} of {}", file.path);
            let sample = self.read(&source, file, &range).await?;
            checks.pass(name, format!("bytes {}-{} from {}", range.start, range.end - 1, sample.host));
            if range.start == 0 && is_gguf {
                let header = gguf::parse(&sample.bytes[..])
                    .map_err(|why| Error::NotGguf { path: file.path.clone(), why })?;
                let architecture = header.architecture.as_deref().unwrap_or("unknown architecture");
                checks.pass(
                    format!("GGUF header of {}", file.path),
                    format!("version {}, {architecture}, {} tensors", header.version, header.tensors),
                );
            }
        }
        Ok(())
    }

    async fn read(&self, source: &Source, file: &WantedFile, range: &Range<u64>) -> Result<Sample, Error> {
        let budget = Budget::new(self.patience, self.context.stop.deadline());
        let mut backoff = Backoff::default();
        loop {
            let failure = match self.try_read(source, file, range).await? {
                Ok(sample) => return Ok(sample),
                Err(failure) => failure,
            };
            let what = format!("reading {} from {}", file.path, failure.host());
            let (delay, cause) = budget.pause_after(failure, &mut backoff, &what)?;
            let attempt = backoff.attempts;
            let event = Event::Retrying { what: file.path.as_str(), cause: &cause, delay, attempt };
            self.context.reporter.report(&event);
            tokio::time::sleep(delay).await;
        }
    }

    async fn try_read(
        &self,
        source: &Source,
        file: &WantedFile,
        range: &Range<u64>,
    ) -> Result<Result<Sample, Failure>, Error> {
        let location = source.location().await?;
        let host = location.host();
        let waited = self.request.limits.stall_timeout;
        let judged = async {
            let response = source.get(&location, Some((range.start, range.end - 1)), waited).await?;
            answer::judge(location.url(), response, range, file.size()).await
        };
        let mut response = match judged.await {
            Ok(Answer::Part(response)) => response,
            Ok(Answer::Whole(response)) if range.start == 0 => response,
            Ok(Answer::Whole(_)) => {
                return Ok(Err(net::wrong(location.url(), "the whole file instead of a range")));
            }
            Ok(Answer::Expired(answer)) => {
                let what = format!("reading {} from {host}", file.path);
                return Err(Error::Refused { what, answer: Box::new(answer) });
            }
            Ok(Answer::Changed(why)) => {
                return Err(Error::KeepsChanging { path: file.path.clone(), host, why });
            }
            Err(failure) => return Ok(Err(failure)),
        };
        let mut watchdog = Watchdog::new(waited);
        let mut bytes = Vec::new();
        let wanted = range.end - range.start;
        while (bytes.len() as u64) < wanted {
            match watchdog.chunk(location.url(), &mut response).await {
                Err(failure) => return Ok(Err(failure)),
                Ok(None) => {
                    return Ok(Err(Failure::Truncated { host, missing: wanted - bytes.len() as u64 }));
                }
                Ok(Some(chunk)) => {
                    self.fetched.fetch_add(chunk.len() as u64, Ordering::Relaxed);
                    bytes.extend_from_slice(&chunk);
                }
            }
        }
        bytes.truncate(usize::try_from(wanted).unwrap_or(usize::MAX));
        Ok(Ok(Sample { bytes, host }))
    }
}

struct Sample {
    bytes: Vec<u8>,
    host: String,
}

/// The ranges to try: start, middle and end, as far as the file is long enough for them.
fn samples(size: u64, first: u64) -> Vec<(&'static str, Range<u64>)> {
    let start = 0..first.min(size);
    let middle = size / 2..(size / 2 + SAMPLE).min(size);
    let end = size.saturating_sub(SAMPLE)..size;
    let mut samples = vec![("start", start)];
    if size > first + 2 * SAMPLE {
        samples.extend([("middle", middle), ("end", end)]);
    }
    samples.retain(|(_, range)| !range.is_empty());
    samples
}
