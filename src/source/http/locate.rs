//! Where the bytes of one content are now: a question that the HTTP source asks, and a catalog answers.

use futures_util::future::BoxFuture;
use reqwest::{Response, Url};

use crate::content::Digest;
use crate::error::Error;
use crate::retry::Setback;

/// Knows where one content is.
pub trait Locate: Send + Sync {
    /// Asks where it is, beginning with another endpoint than the first. Retries by itself.
    fn locate(&self, first: usize) -> BoxFuture<'_, Result<Located, Error>>;

    /// How many endpoints there are to ask.
    fn places(&self) -> usize;

    /// Sends one GET there, for an inclusive range of bytes or for all. The answer may be from elsewhere, which it tells.
    fn get<'a>(&'a self, url: &'a Url, range: Option<(u64, u64)>)
    -> BoxFuture<'a, Result<Response, Setback>>;

    /// Whether who is asked there knows nothing of the file but its digest: asking again what it should be says nothing.
    fn is_blind(&self, _url: &Url) -> bool {
        false
    }

    /// Whether an endpoint itself is there: a mirror or a cache, which may have to fetch the bytes first.
    fn is_endpoint(&self, url: &Url) -> bool;
}

/// The place, and what is announced to be there.
#[derive(Debug, Clone)]
pub struct Located {
    /// Whose query may be a secret.
    pub url: Url,
    /// Length in bytes, if that is told.
    pub size: Option<u64>,
    /// What the bytes hash to, if that is told.
    pub digest: Option<Digest>,
    /// Nobody was asked: it is where such files are as a rule. What answers there otherwise says nothing about the
    /// file.
    pub is_guess: bool,
}
