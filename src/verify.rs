//! Step 5, verify: the digest of the bytes on disk.

use std::path::PathBuf;

use serde::Serialize;

use crate::error::Error;
use crate::request::{Destination, Endpoints, Limits, Pins};
use crate::run::Context;

/// What `modelfetch verify` is asked for.
#[derive(Debug, Clone)]
pub struct VerifyRequest {
    /// The directory or cache whose receipts say what should be there.
    pub destination: Destination,
    /// Only these: paths as on disk or as in the repository. Empty means all.
    pub paths: Vec<PathBuf>,
    /// Digests that override the receipts.
    pub pins: Pins,
    /// Fetch again what is wrong or missing.
    pub repair: bool,
    /// Hubs for the repair.
    pub endpoints: Endpoints,
    /// Limits for the repair.
    pub limits: Limits,
}

/// What was found about one file.
#[derive(Debug, Clone, Serialize)]
pub struct Verified {
    /// Path on disk.
    pub target: PathBuf,
    /// Bytes on disk.
    pub size: u64,
    /// What is wrong, or `None`.
    pub fault: Option<String>,
    /// It was wrong and is right now.
    pub repaired: bool,
}

/// Hashes files against their receipts or pins.
/// Fails with [`Error::VerifyFailed`] after `found` was called for each file, if any is wrong.
pub async fn verify(
    request: &VerifyRequest,
    context: &Context,
    found: &mut dyn FnMut(&Verified),
) -> Result<(), Error> {
    let _ = (request, context, found);
    Err(Error::Internal("in the making".into()))
}
