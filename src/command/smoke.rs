//! `modelfetch smoke`: shows in seconds and a few MB that a fetch would work.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;
use url::Url;

use super::fetch::{ModelRequest, Models, ModelsRequest, with_unfinished};
use super::{Context, offline, sample, sets, signed, tell_gaps};
use crate::catalog::{self, Hub, Resolution, Snapshot, recall};
use crate::content::{gguf, kind};
use crate::error::Error;
use crate::plan::{Plan, WantedFile};
use crate::report::Event;
use crate::request::{Endpoint, Limits, Locked, NetworkUse, Request};
use crate::store::Store;
use crate::trust;
use crate::words::{Bytes, count, free_space, tame};

/// Bytes asked for at the middle and the end of a file.
const SAMPLE: u64 = 64 << 10;
/// Bytes asked for at the start of a GGUF file: the fixed part and much of the metadata.
const HEADER_SAMPLE: u64 = 1 << 20;
/// Files whose bytes are sampled; of the others size and digest are known to the Hub.
const FILES_SAMPLED: usize = 4;
/// A smoke test answers soon: passing trouble may take no longer than this.
const PATIENCE: Duration = Duration::from_secs(20);

/// A certificate that is good for fewer days may run out before somebody looks again.
const DAYS_LEFT_MIN: i64 = 14;

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
    /// Bytes of all samples.
    pub bytes_fetched: u64,
}

impl SmokeOutcome {
    /// Words each check anew, as whoever shows them has to.
    pub fn reword(&mut self, reworded: impl Fn(&str) -> String) {
        for Check { name, seen } in &mut self.checks {
            (*name, *seen) = (reworded(name), reworded(seen));
        }
    }
}

/// Tries everything a fetch needs; nothing is published. `passed` hears of each check as it
/// passes; the first that fails is the error.
pub async fn smoke(
    request: &Request,
    context: &Context,
    passed: &mut (dyn FnMut(&Check) + Send),
) -> Result<SmokeOutcome, Error> {
    let hub = Arc::new(context.hub(&request.endpoints, &impatient(&request.limits)));
    let work = smoke_unstopped(request, &hub, context, passed);
    context.stop.or("smoke-testing", Box::pin(work)).await
}

/// The same for each model of a manifest, one after the other; the failure of one does not hide the others.
pub async fn smoke_models(
    request: &ModelsRequest,
    context: &Context,
    passed: &mut (dyn FnMut(&Check) + Send),
) -> Result<Models<SmokeOutcome>, Error> {
    let hub = Arc::new(context.hub(&request.endpoints, &impatient(&request.limits)));
    let mut ended = Vec::new();
    for ModelRequest { name, request, .. } in &request.models {
        let mut told = |check: &Check| {
            passed(&Check { name: format!("{name}: {}", check.name), seen: check.seen.clone() });
        };
        let work = smoke_unstopped(request, &hub, context, &mut told);
        let outcome = match context.stop.or("smoke-testing", Box::pin(work)).await {
            Err(stopped @ (Error::Interrupted { .. } | Error::Deadline { .. })) => return Err(stopped),
            outcome => outcome,
        };
        ended.push((name.clone(), outcome));
    }
    Ok(Models::new(ended))
}

fn impatient(limits: &Limits) -> Limits {
    Limits { give_up_after: limits.give_up_after.min(PATIENCE), ..limits.clone() }
}

async fn smoke_unstopped(
    request: &Request,
    hub: &Arc<Hub>,
    context: &Context,
    passed: &mut (dyn FnMut(&Check) + Send),
) -> Result<SmokeOutcome, Error> {
    let store = Store::new(&request.destination, &request.repo).rechecking(request.recheck);
    if request.network == NetworkUse::Offline && !request.repo.is_here() {
        return Err(offline(request, &store));
    }
    let limits = impatient(&request.limits);
    let mut checks = Checks { passed, list: Vec::new() };

    for endpoint in endpoints(request) {
        // What leads nowhere is told by the questions below, unless another endpoint answers them.
        match context.http.way(endpoint.url()).await {
            Ok(way) => checks.pass(format!("way to {}", endpoint.host()), way),
            Err(why) => context.reporter.report(&Event::Warning(&format!("{}: {why}", endpoint.host()))),
        }
    }
    // As a fetch does then: nobody is asked what the files are, and who has them need be no Hub.
    let unasked = request.locked.as_ref().filter(|locked| locked.is_enough);
    let resolution = Box::pin(resolve(request, unasked, &store, hub, context)).await?;
    tell_gaps(&resolution, context);
    store.check_names(&request.repo, &resolution.files)?;
    if let Some(locked) = request.locked.as_ref().filter(|_| unasked.is_none()) {
        trust::check_lock(&resolution.files, &locked.files)?;
        checks.pass("lock file".into(), "what is there now is what it says".into());
    }
    if unasked.is_none() {
        sets::check(&resolution, &store, hub, &limits, context).await?;
    }
    let mut asked = endpoints(request);
    if let (Some(only), None) = (asked.next(), asked.next())
        && unasked.is_none()
    {
        let given = match (only.login(), request.endpoints.token_for(only.url())) {
            (Some(_), _) => "answers like a Hub, to a user name and password".into(),
            (None, Some(token)) => format!("answers like a Hub, to the token from {}", token.source()),
            (None, None) => "answers like a Hub, to anybody".into(),
        };
        checks.pass(only.to_string(), given);
    }
    let commit = resolution.commit_or_revision();
    let bytes = resolution.files.iter().map(WantedFile::size).sum();
    let files = resolution.files.len();
    checks.pass(
        request.repo.at(" at ", &request.revision),
        match resolution.commit {
            Some(commit) => format!("commit {commit}, {}, {}", count(files as u64, "file"), Bytes(bytes)),
            None => format!("{}, {}", count(files as u64, "file"), Bytes(bytes)),
        },
    );
    for file in &resolution.files {
        let pin = request.pins.for_file(&file.path, files).filter(|_| !request.repo.is_address());
        if let Some(pin) = pin.filter(|_| unasked.is_none()) {
            checks.pass(format!("pin of {}", file.path), format!("the Hub has {pin}"));
        }
    }

    let mut sampled: Vec<_> = resolution.files.iter().collect();
    sampled.sort_by_key(|file| std::cmp::Reverse(file.size()));
    if let Some(file) = sampled.first().filter(|_| unasked.is_none()) {
        for endpoint in endpoints(request) {
            let name = format!("answers of {}", endpoint.host());
            match hub.manners(endpoint, &resolution.repo, &commit, &file.path).await {
                Ok(manners) => checks.pass(name, manners),
                Err(why) => context.reporter.report(&Event::Warning(&format!("{name}: {why}"))),
            }
        }
    }
    let snapshot = Snapshot::new(Arc::clone(hub), &resolution);
    let probe = Probe { snapshot, context, limits, fetched: AtomicU64::new(0) };
    for file in sampled.into_iter().take(FILES_SAMPLED) {
        let url = resolution.urls.get(&file.path).cloned();
        let url = url.or_else(|| probe.snapshot.place(file).filter(|_| unasked.is_some()));
        probe.sample(file, url, &mut checks).await?;
    }

    for (name, certificate) in context.http.certificates() {
        let (issuer, days) = (&certificate.issuer, certificate.days_left());
        let until = format!("runs out in {}", count(days.try_into().unwrap_or(0), "day"));
        if days < DAYS_LEFT_MIN {
            context.reporter.report(&Event::Warning(&format!("the certificate of {name} {until}")));
        }
        let seen = format!("it is of an authority that is trusted, {issuer}, and {until}");
        checks.pass(format!("certificate of {name}"), seen);
    }

    let planned = store.clone();
    let (origin, files) = (resolution.origin(), resolution.files.clone());
    let plan = move || planned.plan(&origin, &files);
    let plan = context.stop.or_blocking("looking at the disk", plan).await?;
    if let Err(error) = plan.check_space() {
        return Err(with_unfinished(error, &request.destination, &resolution.files, context).await);
    }
    checks.pass(
        format!("room in {}", store.root().display()),
        format!("{} needed, {}", Bytes(plan.bytes_needed), free_space(plan.bytes_free)),
    );
    let probed = store.clone();
    context.stop.or_blocking("looking at the disk", move || probed.probe()).await?;
    checks
        .pass(format!("write access to {}", store.root().display()), "a file was written and removed".into());
    let rehearsed = store.clone();
    let rehearse = move || rehearsed.rehearse(&plan).map(|()| plan);
    let plan = context.stop.or_blocking("looking at the disk", rehearse).await?;
    checks.pass(format!("names in {}", store.root().display()), "every file can get its own".into());
    Ok(SmokeOutcome { plan, checks: checks.list, bytes_fetched: probe.fetched.into_inner() })
}

/// What the files are, as the lock file says if it is enough, and as their signature says if there has to be one.
async fn resolve(
    request: &Request,
    unasked: Option<&Locked>,
    store: &Store,
    hub: &Arc<Hub>,
    context: &Context,
) -> Result<Resolution, Error> {
    let resolution = if let Some(locked) = unasked {
        recall::of_lock(request, locked)?
    } else {
        let resolution = catalog::resolve(hub, request, None).await;
        resolution.map_err(|error| signed::absent(request, error))?
    };
    signed::pin(request, store, hub, resolution, context).await
}

/// The Hubs that are asked; none for what is in a registry.
fn endpoints(request: &Request) -> impl Iterator<Item = &Endpoint> {
    let is_hub = |endpoint: &&Endpoint| {
        endpoint.registry().is_none() && !request.repo.is_oci() && !request.repo.is_address()
    };
    request.endpoints.iter().filter(is_hub)
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
    snapshot: Snapshot,
    context: &'a Context,
    limits: Limits,
    fetched: AtomicU64,
}

impl Probe<'_> {
    /// Asks for the start, the middle and the end of a file; reads the header of a GGUF file.
    async fn sample(
        &self,
        file: &WantedFile,
        url: Option<Url>,
        checks: &mut Checks<'_>,
    ) -> Result<(), Error> {
        let source = self.snapshot.source(file, url);
        let is_gguf = gguf::is_named(file.path.file_name());
        let first = if is_gguf { HEADER_SAMPLE } else { SAMPLE };
        for (place, range) in samples(file.size(), first) {
            let name = format!("range at the {place} of {}", file.path);
            let (bytes, origin) = sample::read(&*source, file, &range, &self.limits, self.context).await?;
            self.fetched.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            checks.pass(name, format!("bytes {}-{} from {origin}", range.start, range.end - 1));
            if range.start == 0 && !is_gguf {
                kind::check(file.path.file_name(), &bytes)
                    .map_err(|why| Error::WrongKind { path: file.path.clone(), why })?;
            }
            if range.start == 0 && is_gguf {
                let header =
                    gguf::parse(&bytes[..]).map_err(|why| Error::NotGguf { path: file.path.clone(), why })?;
                let architecture = header.architecture().map_or("unknown architecture".into(), tame);
                checks.pass(
                    format!("GGUF header of {}", file.path),
                    format!("version {}, {architecture}, {} tensors", header.version, header.tensor_count),
                );
            }
        }
        Ok(())
    }
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
