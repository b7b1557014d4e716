//! Bytes of one content by range, wherever they come from.
//!
//! [`Source`] is all that the transfer knows of a server, a registry or a file: one call for a range,
//! and what to do about the troubles that the call may end in.

mod held;
pub mod http;
mod local;
#[cfg(test)]
pub(crate) mod scripted;

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;

use crate::error::{Error, Failure};
use crate::net::Watchdog;

pub use held::Held;
pub use local::{LocalFile, LocalPath, open};

/// Somebody who has the bytes of one content.
///
/// Many connections ask at the same time. A future may be dropped at any moment, and what it asked for
/// may be asked for again: no call leaves anything behind that a second one would trip over.
pub trait Source: Send + Sync {
    /// Asks for a range that is not empty, half-open, and waits for its first bytes. From the moment they are asked for,
    /// silence as long as a stall is a failure, unless the source knows that it needs more patience. Questions that
    /// come first, such as where the bytes are, take the time they need.
    fn open<'a>(&'a self, range: &'a Range<u64>) -> BoxFuture<'a, Result<Opened, Trouble>>;

    /// Finds the bytes again after [`Trouble::Expired`]; says where they are now. Fails where a place
    /// that was renewed has never served anything: asking on would go round in circles.
    fn renew(&self, expired: Expired) -> BoxFuture<'_, Result<Provenance, Error>> {
        Box::pin(async move {
            let what = format!("fetching from {}", expired.origin);
            Err(Error::Refused { what, answer: Box::new(expired.answer) })
        })
    }

    /// Called after several failures in a row: if there is another place to ask, it is asked from now on.
    fn fail_over(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Called before bytes are thrown away: whoever announced the content is asked whether it still is
    /// the same one. What was concluded from answers so far is forgotten.
    fn confirm(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// When the first bytes can be expected.
    fn beginning(&self) -> Beginning {
        Beginning::Soon
    }

    /// The file of this machine that it reads, whose place on the disk a copy may share.
    fn path(&self) -> Option<&Path> {
        None
    }

    /// Whether its bytes come over a network: they are counted, limited, and worth more connections.
    fn is_metered(&self) -> bool {
        true
    }
}

/// When the first bytes of a content come, and what silence says until then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beginning {
    /// Soon: a connection without an answer is a bad one.
    Soon,
    /// Nobody knows yet: nothing is gained by asking for the same bytes again.
    Unknown,
    /// Perhaps late, and later with each question: one connection asks until they are there.
    Late,
}

/// The answer to a question for a range.
#[derive(Debug)]
pub struct Opened {
    /// The bytes.
    pub body: Body,
    /// Which ones. They begin where the range begins; there may be fewer, or more.
    pub covers: Range<u64>,
    /// Who sent them.
    pub origin: Provenance,
}

/// Who sent bytes: host and port of a server, or the path of a file; and which copy of them, where it has several.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Provenance {
    name: Arc<str>,
    copy: Option<Arc<str>>,
}

impl Provenance {
    /// Of a place with this name, which may be shown anywhere.
    pub fn new(name: &str) -> Self {
        Self { name: name.into(), copy: None }
    }

    /// One of several copies at the same place, by the name that it has there.
    #[must_use]
    pub fn of_copy(&self, copy: &str) -> Self {
        Self { copy: Some(copy.into()), ..self.clone() }
    }

    /// The place, whichever copy it sent.
    #[must_use]
    pub fn place(&self) -> Self {
        Self { copy: None, ..self.clone() }
    }

    /// The name of the place.
    pub fn as_str(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for Provenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Why a range did not come.
#[derive(Debug)]
pub enum Trouble {
    /// Worth another try after a pause.
    Failed(Failure),
    /// The bytes are no longer where they were: [`Source::renew`] finds them. The range is free for
    /// other connections meanwhile.
    Expired(Expired),
    /// No ranges to be had there: the whole content has to be asked for, as one range.
    NoRanges(Provenance),
    /// Another content is there now than when the first range was asked for.
    Changed {
        /// Where.
        host: String,
        /// What is different.
        why: String,
    },
    /// No use trying again.
    Final(Error),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// A place that no longer serves the bytes.
#[derive(Debug)]
pub struct Expired {
    /// The place.
    pub origin: Provenance,
    /// How many places there were before it.
    pub generation: u32,
    /// How it refused.
    pub answer: Failure,
}

/// Bytes as they arrive. Silence, or next to it, is a failure, whoever sends them.
pub struct Body {
    chunks: BoxStream<'static, Result<Bytes, Trouble>>,
    watchdog: Watchdog,
    origin: Provenance,
}

impl Body {
    /// Nothing, or a trickle, for `stall_timeout` is a stall.
    pub fn new(
        chunks: BoxStream<'static, Result<Bytes, Trouble>>,
        stall_timeout: Duration,
        origin: Provenance,
    ) -> Self {
        Self { chunks, watchdog: Watchdog::new(stall_timeout), origin }
    }

    /// The next bytes; `None` at the end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Trouble> {
        let next = async { self.chunks.next().await.transpose() };
        self.watchdog.watch(self.origin.as_str(), next).await
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a body from {}", self.origin)
    }
}

/// Reads a short range into memory; says who sent it. From a place without ranges only the start of
/// the content can be had, of `size` bytes in all.
pub async fn read(
    source: &dyn Source,
    range: &Range<u64>,
    size: u64,
) -> Result<(Vec<u8>, Provenance), Trouble> {
    let opened = match source.open(range).await {
        Err(Trouble::NoRanges(_)) if range.start == 0 => source.open(&(0..size)).await,
        opened => opened,
    };
    let Opened { mut body, covers, origin } = opened?;
    check_start(range, &covers, &origin)?;
    let wanted = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
    let mut bytes = Vec::new();
    while bytes.len() < wanted {
        let Some(chunk) = body.chunk().await? else {
            let missing = (wanted - bytes.len()) as u64;
            return Err(Failure::Truncated { host: origin.to_string(), missing }.into());
        };
        bytes.extend_from_slice(&chunk[..chunk.len().min(wanted - bytes.len())]);
    }
    Ok((bytes, origin))
}

/// Fails if bytes begin elsewhere than those that were asked for.
pub(crate) fn check_start(
    asked: &Range<u64>,
    covers: &Range<u64>,
    origin: &Provenance,
) -> Result<(), Failure> {
    if covers.start == asked.start && !covers.is_empty() {
        return Ok(());
    }
    let why =
        format!("bytes from {} to {} instead of {} to {}", covers.start, covers.end, asked.start, asked.end);
    Err(Failure::Wrong { host: origin.to_string(), why })
}
