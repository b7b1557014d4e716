//! A source in memory that does to each question what a script says: for tests of schedules, stalls and
//! lies without a socket, in virtual time.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};
use tokio::time::Instant;

use super::{Beginning, Body, Expired, Opened, Provenance, Source, Trouble};
use crate::error::{Error, Failure};

/// Bytes in one piece of a body.
pub(crate) const CHUNK: u64 = 32 << 10;

/// What a source does with one question.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    /// Time to the first byte.
    pub(crate) delay: Duration,
    /// Bytes per second.
    pub(crate) rate: u64,
    /// Who answers.
    pub(crate) host: &'static str,
    pub(crate) then: Then,
}

/// How it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// All the bytes, and the right ones.
    Good,
    /// Silence after so many bytes.
    Stall(u64),
    /// The end after so many bytes.
    Cut(u64),
    /// As many bytes, and wrong ones.
    Lie,
    /// Bytes from another place of the content.
    Elsewhere,
    /// The first half of the range, and says so.
    Half,
    /// A bad status.
    Status(u16),
    /// The whole content, or nothing.
    NoRanges,
    /// The place has expired.
    Expired,
    /// There is another content.
    Changed,
    /// No use asking again.
    Final,
}

impl Default for Reply {
    fn default() -> Self {
        Self { delay: Duration::from_millis(20), rate: 10 << 20, host: "a", then: Then::Good }
    }
}

impl Reply {
    /// The same, but then…
    pub(crate) fn then(self, then: Then) -> Self {
        Self { then, ..self }
    }
}

/// One question to a source.
pub(crate) struct Question {
    /// How many were asked before it.
    pub(crate) number: usize,
    /// How many times the place was renewed, and how many times another place was to be asked.
    pub(crate) generation: u32,
    pub(crate) failovers: u32,
}

type Script = dyn Fn(&Question) -> Reply + Send + Sync;

pub(crate) struct Scripted {
    content: Bytes,
    stall_timeout: Duration,
    script: Box<Script>,
    beginning: Beginning,
    asked: Mutex<Vec<Range<u64>>>,
    generation: AtomicU32,
    /// One more than the newest generation that was answered with bytes.
    proven: AtomicU32,
    failovers: AtomicU32,
    open: Arc<AtomicUsize>,
    most_open: AtomicUsize,
    last_sent: Arc<Mutex<Option<Instant>>>,
}

impl Scripted {
    pub(crate) fn new(
        content: &Bytes,
        stall_timeout: Duration,
        script: impl Fn(&Question) -> Reply + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self::like(content, stall_timeout, Box::new(script)))
    }

    /// One whose first bytes can be expected then.
    pub(crate) fn beginning(
        beginning: Beginning,
        content: &Bytes,
        stall_timeout: Duration,
        script: impl Fn(&Question) -> Reply + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { beginning, ..Self::like(content, stall_timeout, Box::new(script)) })
    }

    fn like(content: &Bytes, stall_timeout: Duration, script: Box<Script>) -> Self {
        Self {
            content: content.clone(),
            stall_timeout,
            script,
            beginning: Beginning::Soon,
            asked: Mutex::default(),
            generation: AtomicU32::new(0),
            proven: AtomicU32::new(0),
            failovers: AtomicU32::new(0),
            open: Arc::default(),
            most_open: AtomicUsize::new(0),
            last_sent: Arc::default(),
        }
    }

    /// Every range that was asked for.
    pub(crate) fn asked(&self) -> Vec<Range<u64>> {
        self.asked.lock().expect("the questions").clone()
    }

    /// The most bodies under way at the same time.
    pub(crate) fn most_open(&self) -> usize {
        self.most_open.load(Ordering::Relaxed)
    }

    /// When the last bytes were sent: what comes after that, on the disk, takes no time that can be told.
    pub(crate) fn last_sent(&self) -> Option<Instant> {
        *self.last_sent.lock().expect("the time")
    }

    /// Bodies under way.
    pub(crate) fn open_now(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    async fn reply(&self, range: &Range<u64>) -> Result<Opened, Trouble> {
        let number = {
            let mut asked = self.asked.lock().expect("the questions");
            asked.push(range.clone());
            asked.len() - 1
        };
        let generation = self.generation.load(Ordering::Relaxed);
        let failovers = self.failovers.load(Ordering::Relaxed);
        let reply = (self.script)(&Question { number, generation, failovers });
        tokio::time::sleep(reply.delay).await;
        let origin = Provenance::new(reply.host);
        let host = || reply.host.to_owned();
        let status = |status| Failure::Status {
            host: host(),
            status,
            phrase: "as scripted",
            message: None,
            code: None,
            request_id: None,
            wait: None,
        };
        let covers = match reply.then {
            Then::Status(number) => return Err(status(number).into()),
            Then::Expired => {
                return Err(Trouble::Expired(Expired { origin, generation, answer: status(403) }));
            }
            Then::Changed => return Err(Trouble::Changed { host: host(), why: "as scripted".into() }),
            Then::Final => {
                let what = "a question".into();
                return Err(Trouble::Final(Error::Refused { what, answer: Box::new(status(404)) }));
            }
            Then::NoRanges if *range != (0..self.content.len() as u64) => {
                return Err(Trouble::NoRanges(origin));
            }
            Then::Elsewhere => range.start + 1..range.end + 1,
            Then::Half => range.start..range.start + (range.end - range.start).div_ceil(2),
            _ => range.clone(),
        };
        self.proven.fetch_max(generation + 1, Ordering::Relaxed);
        let open = OpenBody::new(&self.open);
        self.most_open.fetch_max(self.open.load(Ordering::Relaxed), Ordering::Relaxed);
        let (content, begin) = (self.content.clone(), covers.start);
        let end = covers.end.min(self.content.len() as u64);
        let last_sent = Arc::clone(&self.last_sent);
        let chunks = stream::try_unfold((begin, open), move |(position, open)| {
            let (content, last_sent) = (content.clone(), Arc::clone(&last_sent));
            async move {
                let mut piece = position..end.min(position + CHUNK);
                match reply.then {
                    Then::Stall(bytes) if position - begin >= bytes => std::future::pending().await,
                    Then::Cut(bytes) => piece.end = piece.end.min(begin + bytes),
                    _ => {}
                }
                if piece.is_empty() {
                    return Ok(None);
                }
                let length = piece.end - piece.start;
                tokio::time::sleep(Duration::from_secs_f64(length as f64 / reply.rate as f64)).await;
                *last_sent.lock().expect("the time") = Some(Instant::now());
                let piece =
                    usize::try_from(piece.start).expect("small")..usize::try_from(piece.end).expect("small");
                let mut bytes = content.slice(piece);
                if reply.then == Then::Lie {
                    bytes = bytes.iter().map(|byte| !byte).collect();
                }
                Ok(Some((bytes, (position + length, open))))
            }
        });
        let body = Body::new(chunks.boxed(), self.stall_timeout, origin.clone());
        Ok(Opened { body, covers, origin })
    }
}

impl Source for Scripted {
    fn open<'a>(&'a self, range: &'a Range<u64>) -> BoxFuture<'a, Result<Opened, Trouble>> {
        Box::pin(self.reply(range))
    }

    fn beginning(&self) -> Beginning {
        self.beginning
    }

    fn renew(&self, expired: Expired) -> BoxFuture<'_, Result<Provenance, Error>> {
        Box::pin(async move {
            if expired.generation > 0 && self.proven.load(Ordering::Relaxed) <= expired.generation {
                let what = format!("fetching from {}, with a fresh URL,", expired.origin);
                return Err(Error::Refused { what, answer: Box::new(expired.answer) });
            }
            self.generation.fetch_max(expired.generation + 1, Ordering::Relaxed);
            Ok(expired.origin)
        })
    }

    fn fail_over(&self) -> BoxFuture<'_, Result<(), Error>> {
        self.failovers.fetch_add(1, Ordering::Relaxed);
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Counts the bodies under way.
struct OpenBody(Arc<AtomicUsize>);

impl OpenBody {
    fn new(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(open))
    }
}

impl Drop for OpenBody {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
