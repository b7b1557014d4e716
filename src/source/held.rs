//! A content in memory: it was needed before its turn.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};

use super::{Body, Opened, Provenance, Source, Trouble};

/// It comes at once, but a body has some limit.
const STALL_TIMEOUT: Duration = Duration::from_mins(1);

/// Bytes that somebody has sent already.
#[derive(Debug, Clone)]
pub struct Held {
    bytes: Bytes,
    origin: Provenance,
}

impl Held {
    /// All bytes of a content.
    pub fn new(bytes: Bytes, origin: Provenance) -> Self {
        Self { bytes, origin }
    }
}

impl Source for Held {
    fn open<'a>(&'a self, range: &'a Range<u64>) -> BoxFuture<'a, Result<Opened, Trouble>> {
        let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(self.bytes.len());
        let chunk = self.bytes.slice(place(range.start)..place(range.end));
        let body = Body::new(stream::iter([Ok(chunk)]).boxed(), STALL_TIMEOUT, self.origin.clone());
        Box::pin(std::future::ready(Ok(Opened { body, covers: range.clone(), origin: self.origin.clone() })))
    }

    fn is_metered(&self) -> bool {
        false
    }
}
