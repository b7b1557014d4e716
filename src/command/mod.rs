//! What the program can do: a module per command. `plan` is `fetch` up to where it would change something.

pub mod cluster;
pub mod fetch;
pub mod smoke;
pub mod verify;

use std::sync::Arc;

use crate::catalog::Hub;
use crate::net;
use crate::report::Reporter;
use crate::request::{Endpoints, Limits};
use crate::stop::Stop;

pub use fetch::{fetch, plan};
pub use smoke::smoke;
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

impl Context {
    /// A client of these Hubs.
    pub fn hub(&self, endpoints: &Endpoints, limits: &Limits) -> Hub {
        let (http, reporter) = (self.http.clone(), Arc::clone(&self.reporter));
        Hub::new(http, endpoints.clone(), limits, self.stop.deadline(), reporter)
    }
}
