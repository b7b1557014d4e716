//! What the program can do: a module per command. `plan` is `fetch` up to where it would change something.

pub mod cluster;
pub mod fetch;
pub mod inspect;
pub mod list;
pub mod lock;
pub mod prune;
mod sample;
mod sets;
mod signed;
pub mod signed_folder;
pub mod smoke;
pub mod verify;

use std::sync::Arc;

use crate::catalog::{Hub, Resolution};
use crate::error::Error;
use crate::net;
use crate::report::{Event, Reporter};
use crate::request::{Endpoints, Limits, Request};
use crate::stop::Stop;
use crate::store::Store;

pub use fetch::{Planned, fetch, fetch_models, plan, plan_models};
pub use inspect::inspect;
pub use list::list;
pub use lock::lock;
pub use prune::prune;
pub use smoke::{smoke, smoke_models};
pub use verify::verify;

/// What a run needs from its surroundings.
#[derive(Clone)]
pub struct Context {
    /// The HTTP client, from [`net::client`].
    pub http: net::Client,
    /// Who watches.
    pub reporter: Arc<dyn Reporter>,
    /// The order to stop.
    pub stop: Stop,
}

/// The error for what would have to be fetched while the network may not be used.
fn offline(request: &Request, store: &Store) -> Error {
    Error::Offline {
        repo: request.repo.clone(),
        wanted: request.selection.describe(),
        dir: store.root().into(),
    }
}

/// Says of which sets of shards only a part can be had.
fn tell_gaps(resolution: &Resolution, context: &Context) {
    for gap in &resolution.gaps {
        let text = format!(
            "`{}` is missing: the repository has {} of {} shards, and a model is of no use without all of them",
            gap.missing, gap.present, gap.total
        );
        context.reporter.report(&Event::Warning(&text));
    }
}

impl Context {
    /// A client of these Hubs.
    pub fn hub(&self, endpoints: &Endpoints, limits: &Limits) -> Hub {
        endpoints.hosts().for_each(|name| self.http.mean(name));
        let (http, reporter) = (self.http.clone(), Arc::clone(&self.reporter));
        Hub::new(http, endpoints.clone(), limits, self.stop.deadline(), reporter)
    }
}
