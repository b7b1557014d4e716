//! Notices a connection that brings nothing, or next to nothing.

use std::time::Duration;

use bytes::Bytes;
use reqwest::{Response, Url};
use tokio::time::Instant;

use crate::error::Failure;
use crate::net;

/// Fewer bytes per second than this, over a stall timeout, count as none.
const TRICKLE: u64 = 100;

/// Watches over one body.
#[derive(Debug)]
pub struct Watchdog {
    timeout: Duration,
    since: Instant,
    bytes: u64,
}

impl Watchdog {
    /// Nothing for `timeout` is a stall, and so is a trickle.
    pub fn new(timeout: Duration) -> Self {
        Self { timeout, since: Instant::now(), bytes: 0 }
    }

    /// The next chunk of the body; `None` at its end.
    pub async fn chunk(&mut self, url: &Url, response: &mut Response) -> Result<Option<Bytes>, Failure> {
        let peer = net::peer(url, response);
        let next = async { response.chunk().await.map_err(|cause| net::transport(&peer, cause)) };
        self.watch(&peer, next).await
    }

    /// The same for bytes that come in another way, from `host`.
    pub async fn watch<E: From<Failure>>(
        &mut self,
        host: &str,
        next: impl Future<Output = Result<Option<Bytes>, E>>,
    ) -> Result<Option<Bytes>, E> {
        let stalled = |waited| Failure::Stalled { host: host.into(), waited };
        let chunk = tokio::time::timeout(self.timeout, next).await;
        let chunk = chunk.map_err(|_| stalled(self.timeout))??;
        self.bytes += chunk.as_ref().map_or(0, |bytes| bytes.len() as u64);
        let elapsed = self.since.elapsed();
        if elapsed >= self.timeout {
            if self.bytes < TRICKLE * elapsed.as_secs().max(1) && chunk.is_some() {
                return Err(stalled(elapsed).into());
            }
            (self.since, self.bytes) = (Instant::now(), 0);
        }
        Ok(chunk)
    }
}
