//! A content on a server that speaks HTTP, at a URL that may expire.

mod answer;
mod locate;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex as StdMutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use reqwest::{Response, Url};
use tokio::sync::Mutex;

use super::{Body, Expired, Opened, Provenance, Source, Trouble};
use crate::content::Content;
use crate::error::{Error, Failure};
use crate::net;
use crate::plan::WantedFile;
use crate::words::host;

use answer::Answer;

pub use answer::parse_content_range;
pub use locate::{Locate, Located};

/// Requests of all connections that are led astray, without a good answer, before that is the end.
const MISLED_MAX: u32 = 8;

/// One file, by ranged GETs.
pub struct HttpSource<L> {
    locate: L,
    file: WantedFile,
    stall_timeout: Duration,
    current: Mutex<Option<Location>>,
    /// Which endpoint is asked first; the next one after a failover.
    first: AtomicUsize,
    seen: StdMutex<Seen>,
}

/// A URL with its place in the sequence of renewals.
#[derive(Debug, Clone)]
struct Location {
    url: Url,
    generation: u32,
    is_guess: bool,
}

impl Location {
    fn origin(&self) -> Provenance {
        Provenance::new(&host(&self.url))
    }
}

/// What the answers so far have shown of the server.
#[derive(Debug, Default)]
struct Seen {
    /// It honours ranges.
    ranged: bool,
    /// It ignores them.
    whole: bool,
    /// Wrong redirects since the last good answer.
    misled: u32,
    /// One more than the newest generation of the URL that was answered with bytes.
    proven: u32,
    /// The etags that good answers had.
    etags: Vec<String>,
}

/// Copies that are told apart by their etags. A server that has a new one for each answer says nothing by it.
const COPIES_MAX: usize = 8;

impl Seen {
    /// Whose bytes an answer brings. Backends behind one name have etags of their own, and a cache a new one for what
    /// it has fetched again: no reason to drop a byte, for the digest decides; but if that is wrong, it is one of the
    /// copies, perhaps, and not all of them.
    fn origin(&mut self, host: &Provenance, etag: Option<String>) -> Provenance {
        let Some(etag) = etag else { return host.clone() };
        if !self.etags.contains(&etag) {
            if self.etags.len() == COPIES_MAX {
                return host.clone();
            }
            self.etags.push(etag.clone());
        }
        host.of_copy(&etag)
    }
}

impl<L: Locate> HttpSource<L> {
    /// `url` saves the first question where the bytes are. An answer may take `stall_timeout` to begin
    /// and to go on.
    pub fn new(locate: L, file: WantedFile, url: Option<Url>, stall_timeout: Duration) -> Self {
        let current = Mutex::new(url.map(|url| Location { url, generation: 0, is_guess: false }));
        Self { locate, file, stall_timeout, current, first: AtomicUsize::new(0), seen: StdMutex::default() }
    }

    async fn ask(&self, range: &Range<u64>) -> Result<Opened, Trouble> {
        let location = self.location().await.map_err(Trouble::Final)?;
        let is_all = *range == (0..self.file.size());
        let is_whole = self.seen().whole;
        if is_whole && !is_all {
            return Err(Trouble::NoRanges(location.origin()));
        }
        let bounds = (!is_whole).then(|| (range.start, range.end - 1));
        match self.answer(&location, bounds, range).await? {
            Answer::Part(_) if is_whole => {
                let why = "a part of a file that was asked for as a whole";
                Err(net::wrong(&location.url, why).into())
            }
            Answer::Part(response) => {
                self.seen().ranged = true;
                Ok(self.opened(location, response, range))
            }
            Answer::Whole(response) if is_all => Ok(self.opened(location, response, range)),
            Answer::Whole(_) => Err(self.ignored_range(&location)),
            Answer::Expired(answer) => {
                let (origin, generation) = (location.origin(), location.generation);
                Err(Trouble::Expired(Expired { origin, generation, answer }))
            }
            Answer::Changed(why) => Err(Trouble::Changed { host: host(&location.url), why }),
        }
    }

    async fn answer(
        &self,
        location: &Location,
        bounds: Option<(u64, u64)>,
        range: &Range<u64>,
    ) -> Result<Answer, Trouble> {
        let url = &location.url;
        let judged = match self.locate.get(url, bounds, self.stall_timeout).await {
            Ok(response) => answer::judge(url, response, range, self.file.size()).await,
            Err(failure) => Err(failure),
        };
        match judged {
            // Something else is there than was thought.
            Ok(Answer::Changed(why)) if location.is_guess => Ok(Answer::Expired(net::wrong(url, why))),
            Err(failure) if location.is_guess && failure.is_an_answer() => Ok(Answer::Expired(failure)),
            Err(failure) => Err(self.misled(failure)),
            Ok(answer) => Ok(answer),
        }
    }

    /// A good answer.
    fn opened(&self, location: Location, response: Response, range: &Range<u64>) -> Opened {
        let origin = {
            let mut seen = self.seen();
            seen.misled = 0;
            seen.proven = seen.proven.max(location.generation + 1);
            seen.origin(&location.origin(), answer::etag(&response))
        };
        let body = Body::new(chunks(location.url, response), self.stall_timeout, origin.clone());
        Opened { body, covers: range.clone(), origin }
    }

    /// A server that is set up wrongly may be one edge of many; but where all connections are led astray and nothing
    /// came meanwhile, there is no other one.
    fn misled(&self, failure: Failure) -> Trouble {
        if !matches!(failure, Failure::Misconfigured { .. }) || self.locate.places() > 1 {
            return failure.into();
        }
        let mut seen = self.seen();
        seen.misled += 1;
        if seen.misled < MISLED_MAX {
            return failure.into();
        }
        let what = format!("fetching `{}` from {}", self.file.path, failure.host());
        Trouble::Final(Error::Refused { what, answer: Box::new(failure) })
    }

    /// All bytes came although a range was asked for. Unless ranges worked before, the server has none.
    fn ignored_range(&self, location: &Location) -> Trouble {
        let mut seen = self.seen();
        if seen.ranged {
            return net::wrong(&location.url, "the whole file instead of a range").into();
        }
        seen.whole = true;
        Trouble::NoRanges(location.origin())
    }

    /// The current location; asks for it if there is none yet.
    async fn location(&self) -> Result<Location, Error> {
        let mut current = self.current.lock().await;
        if let Some(location) = &*current {
            return Ok(location.clone());
        }
        let location = self.locate(0).await?;
        Ok(current.insert(location).clone())
    }

    /// A location newer than `stale`, from the next endpoint if `elsewhere`. Many connections may
    /// ask at once; the question is asked once.
    async fn newer_than(&self, stale: u32, elsewhere: bool) -> Result<Location, Error> {
        let mut current = self.current.lock().await;
        match &*current {
            Some(location) if location.generation > stale => Ok(location.clone()),
            _ => {
                self.first.fetch_add(usize::from(elsewhere), Ordering::Relaxed);
                let location = self.locate(stale + 1).await?;
                Ok(current.insert(location).clone())
            }
        }
    }

    async fn locate(&self, generation: u32) -> Result<Location, Error> {
        let located = self.locate.locate(self.first.load(Ordering::Relaxed)).await?;
        if contradicts(&located, &self.file.content) {
            return Err(Error::KeepsChanging {
                path: self.file.path.clone(),
                host: host(&located.url),
                why: "it now announces another size or digest".into(),
            });
        }
        Ok(Location { url: located.url, generation, is_guess: located.is_guess })
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("nothing panics while it holds what was seen")
    }
}

impl<L: Locate> Source for HttpSource<L> {
    fn open<'a>(&'a self, range: &'a Range<u64>) -> BoxFuture<'a, Result<Opened, Trouble>> {
        Box::pin(self.ask(range))
    }

    /// The first URL may have expired; a later one that never worked would only be refused again.
    fn renew(&self, expired: Expired) -> BoxFuture<'_, Result<Provenance, Error>> {
        Box::pin(async move {
            if expired.generation > 0 && self.seen().proven <= expired.generation {
                let what =
                    format!("fetching `{}` from {}, with a fresh URL,", self.file.path, expired.origin);
                return Err(Error::Refused { what, answer: Box::new(expired.answer) });
            }
            Ok(self.newer_than(expired.generation, false).await?.origin())
        })
    }

    fn fail_over(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async {
            if let Ok(location) = self.location().await
                && (self.locate.places() > 1 || location.is_guess)
            {
                self.newer_than(location.generation, true).await?;
            }
            Ok(())
        })
    }

    fn confirm(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async {
            let stale = self.location().await?;
            self.newer_than(stale.generation, false).await?;
            *self.seen() = Seen::default();
            Ok(())
        })
    }
}

/// Whether what is announced now cannot be the content. A digest of another kind than the one the
/// bytes are verified against says nothing.
fn contradicts(located: &Located, content: &Content) -> bool {
    let size = located.size.unwrap_or(content.size());
    match located.digest {
        Some(digest) => !Content::new(size, digest).may_be(content),
        None => size != content.size(),
    }
}

fn chunks(url: Url, response: Response) -> BoxStream<'static, Result<Bytes, Trouble>> {
    // In a box: a response is large, and moves with every chunk.
    let state = Box::new((url, response));
    let next = |mut state: Box<(Url, Response)>| async move {
        let chunk = state.1.chunk().await;
        let chunk =
            chunk.map_err(|cause| Trouble::Failed(net::transport(net::peer(&state.0, &state.1), cause)))?;
        Ok(chunk.map(|chunk| (chunk, state)))
    };
    stream::try_unfold(state, next).boxed()
}
