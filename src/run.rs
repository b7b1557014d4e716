//! The seven steps, one after the other.

use std::sync::Arc;

use crate::error::Error;
use crate::plan::Plan;
use crate::report::{Outcome, Reporter};
use crate::request::Request;
use crate::stop::Stop;

/// What a run needs from its surroundings.
#[derive(Clone)]
pub struct Context {
    /// The HTTP client, from [`crate::http::client`].
    pub http: reqwest::Client,
    /// Who watches.
    pub reporter: Arc<dyn Reporter>,
    /// The order to stop.
    pub stop: Stop,
}

/// Leaves every file of `request` verified at its final name.
pub async fn fetch(request: &Request, context: &Context) -> Result<Outcome, Error> {
    let _ = (request, context);
    Err(Error::Internal("in the making".into()))
}

/// Says what [`fetch`] would do.
pub async fn plan(request: &Request, context: &Context) -> Result<Plan, Error> {
    let _ = (request, context);
    Err(Error::Internal("in the making".into()))
}
