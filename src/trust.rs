//! Who vouches for a content: what was announced, and what the user pinned.

use crate::content::{Content, Sha256};
use crate::error::Error;
use crate::request::RepoPath;

/// The content to verify against: what was announced for `path`, with the user's pin, which must agree
/// where the two can be compared.
pub fn vouch(path: &RepoPath, announced: Content, pin: Option<Sha256>) -> Result<Content, Error> {
    let Some(pin) = pin else { return Ok(announced) };
    announced.with_sha256(pin).map_err(|announced| Error::PinMismatch {
        path: path.clone(),
        pinned: pin,
        announced,
    })
}
