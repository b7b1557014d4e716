//! The seven steps, one after the other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::debug;

use super::fetch::files::Job;
use crate::catalog::{self, Hub, Resolution, recall};
use crate::disk;
use crate::error::Error;
use crate::plan::{Plan, WantedFile};
use crate::report::{Event, Outcome, Reporter};
use crate::request::{Endpoints, Limits, NetworkUse, Request};
use crate::stop::Stop;
use crate::store::layout::Layout;
use crate::store::publish::Place;
use crate::store::{leftovers, lock};
mod files;

/// How long the Hub may take to answer when everything asked for is there and verified.
const PATIENCE_WHEN_SATISFIED: Duration = Duration::from_secs(5);

/// What a run needs from its surroundings.
#[derive(Clone)]
pub struct Context {
    /// The HTTP client, from [`crate::net::client`].
    pub http: reqwest::Client,
    /// Who watches.
    pub reporter: Arc<dyn Reporter>,
    /// The order to stop.
    pub stop: Stop,
}

impl Context {
    /// A client of these Hubs.
    pub fn hub(&self, endpoints: &Endpoints, limits: &Limits) -> Hub {
        let (http, reporter) = (self.http.clone(), Arc::clone(&self.reporter));
        Hub::new(http, endpoints.clone(), limits, self.stop.deadline(), reporter)
    }

    fn report(&self, event: &Event<'_>) {
        self.reporter.report(event);
    }
}

/// Leaves every file of `request` verified at its final name.
pub async fn fetch(request: &Request, context: &Context) -> Result<Outcome, Error> {
    let started = Instant::now();
    let layout = Layout::new(&request.destination, &request.repo);
    let hub = Arc::new(context.hub(&request.endpoints, &request.limits));
    let answer = look_up(request, &layout, &hub, context).await?;
    let mut plan = Plan::new(&answer.resolution, &layout, request.recheck)?;
    let place = Place {
        layout: layout.clone(),
        repo: request.repo.clone(),
        revision: request.revision.clone(),
        commit: answer.resolution.commit,
    };
    let needs_nothing = plan.is_satisfied() && (answer.from_disk || place.is_recorded(&plan)?);
    let files = if needs_nothing {
        context.report(&Event::Planned(&plan));
        plan.items.iter().map(|item| files::skip(item, &place, &*context.reporter)).collect()
    } else {
        disk::probe(layout.state())?;
        let _lock = lock::acquire(layout.state(), layout.root(), &*context.reporter, &context.stop).await?;
        // Another process may have done the work while this one waited.
        plan = Plan::new(&answer.resolution, &layout, request.recheck)?;
        if leftovers::sweep(&layout, &plan)? {
            plan = Plan::new(&answer.resolution, &layout, request.recheck)?;
        }
        context.report(&Event::Planned(&plan));
        plan.check_space()?;
        let job = Job {
            plan: &plan,
            place: &place,
            urls: &answer.resolution.urls,
            limits: &request.limits,
            network: request.network,
        };
        let files = files::execute(&job, &hub, context).await?;
        place.record_snapshot(answer.resolution.listing.as_deref())?;
        files
    };
    Ok(Outcome {
        repo: request.repo.clone(),
        revision: request.revision.clone(),
        commit: answer.resolution.commit,
        files,
        stale: answer.stale,
        seconds: started.elapsed().as_secs_f64(),
    })
}

/// Says what [`fetch`] would do. Asks the Hub and reads the disk, changes nothing.
pub async fn plan(request: &Request, context: &Context) -> Result<Plan, Error> {
    let layout = Layout::new(&request.destination, &request.repo);
    let hub = context.hub(&request.endpoints, &request.limits);
    let answer = look_up(request, &layout, &hub, context).await?;
    Plan::new(&answer.resolution, &layout, request.recheck)
}

/// What is known about the request's files, and how.
struct Answer {
    resolution: Resolution,
    /// No question was asked.
    from_disk: bool,
    /// The Hub did not answer.
    stale: bool,
}

/// Asks the Hub, unless what earlier runs left is certain; falls back on that if it is verified
/// and the Hub does not answer.
async fn look_up(request: &Request, layout: &Layout, hub: &Hub, context: &Context) -> Result<Answer, Error> {
    let known = recall::recall(request, layout)?;
    debug!(known = known.as_ref().map(|known| known.files.len()), "files known from earlier runs");
    let satisfied = match &known {
        Some(known) => Plan::new(known, layout, request.recheck)?.is_present(),
        None => false,
    };
    if let Some(known) = &known
        && recall::is_certain(request, known)
        && (satisfied || request.network == NetworkUse::Offline)
    {
        if !satisfied {
            return Err(offline(request, layout));
        }
        return Ok(Answer { resolution: known.clone(), from_disk: true, stale: false });
    }
    if request.network == NetworkUse::Offline {
        return Err(offline(request, layout));
    }
    let question = catalog::resolve(hub, request, known.as_ref());
    let may_fall_back = satisfied && request.network != NetworkUse::RequireFresh;
    let answer = context.stop.or("asking the Hub", async {
        if !may_fall_back {
            return question.await;
        }
        let silence =
            || Error::Deadline { deadline: PATIENCE_WHEN_SATISFIED, doing: "asking the Hub".into() };
        tokio::time::timeout(PATIENCE_WHEN_SATISFIED, question).await.unwrap_or_else(|_| Err(silence()))
    });
    match (answer.await, known) {
        (Ok(resolution), _) => {
            if let Some(commit) = &resolution.commit {
                context.report(&Event::Resolved {
                    repo: &request.repo,
                    revision: &request.revision,
                    commit,
                    files: resolution.files.len(),
                    bytes: resolution.files.iter().map(WantedFile::size).sum(),
                });
            }
            Ok(Answer { resolution, from_disk: false, stale: false })
        }
        (Err(error), Some(known)) if may_fall_back && is_outage(&error) => {
            let text = format!(
                "the Hub could not be asked whether {} moved ({}); what is here was verified earlier and is used",
                request.revision,
                crate::words::chain(&error)
            );
            context.report(&Event::Warning(&text));
            Ok(Answer { resolution: known, from_disk: true, stale: true })
        }
        (Err(error), _) => Err(error),
    }
}

/// Whether an error says nothing about the files, only about the way to the Hub.
fn is_outage(error: &Error) -> bool {
    matches!(error.exit_number(), 30 | 31)
}

fn offline(request: &Request, layout: &Layout) -> Error {
    Error::Offline {
        repo: request.repo.clone(),
        wanted: request.selection.describe(),
        dir: layout.root().into(),
    }
}
