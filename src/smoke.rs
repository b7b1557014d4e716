//! `modelfetch smoke`: shows in seconds and a few MB that a fetch would work.

use serde::Serialize;

use crate::error::Error;
use crate::plan::Plan;
use crate::request::Request;
use crate::run::Context;

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

/// Tries everything a fetch needs. `passed` hears of each check as it passes; the first that
/// fails is the error.
pub async fn smoke(
    request: &Request,
    context: &Context,
    passed: &mut dyn FnMut(&Check),
) -> Result<SmokeOutcome, Error> {
    let _ = (request, context, passed);
    Err(Error::Internal("in the making".into()))
}
