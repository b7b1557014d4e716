//! A content on a server that speaks HTTP, at a URL that may expire.

mod answer;
mod locate;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex as StdMutex, MutexGuard};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use reqwest::{Response, Url};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::{Beginning, Body, Expired, Opened, Provenance, Source, Trouble};
use crate::content::Content;
use crate::error::{Error, Failure};
use crate::net::{self, Patience};
use crate::plan::WantedFile;
use crate::retry::Setback;
use crate::words::host;

use answer::Answer;

pub use answer::parse_content_range;
pub use locate::{Locate, Located};

/// Requests of all connections that are led astray, without a good answer, before that is the end.
const MISLED_MAX: u32 = 8;
/// Odd answers in a row, to all connections, after which a server counts as one without ranges.
const ODD_MAX: u32 = 3;
/// Files from this size on, in bytes, are to be had by ranges alone: the Hub refuses a request for all of one (400).
const WHOLE_MAX: u64 = 50_000_000_000;

/// Files up to this size, in bytes, are small enough for an endpoint to have them at once, or to fetch them twice.
const AT_HAND_MAX: u64 = 1 << 20;

/// One file, by ranged GETs.
pub struct HttpSource<L> {
    locate: L,
    file: WantedFile,
    patience: Arc<Patience>,
    current: StdMutex<Option<Location>>,
    /// Held while somebody asks where the bytes are.
    asking: Mutex<()>,
    /// Which endpoint is asked first; the next one after a failover.
    first: AtomicUsize,
    seen: StdMutex<Seen>,
}

/// A URL with its place in the sequence of renewals.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Location {
    url: Url,
    generation: u32,
    /// The endpoint's own address that led there. It is asked again when this place fails, and not before: endpoints
    /// count what they are asked.
    led_by: Option<Url>,
    /// Nobody was asked for it, and what answers there otherwise says nothing about the file.
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
    /// Odd answers since the last good one, and when the first of them came.
    odd: Option<(u32, Instant)>,
    /// One more than the newest generation of the URL that was answered with bytes.
    proven: u32,
    /// The newest generation of the URL that came because the one before was refused.
    renewed: u32,
    /// The etags that good answers had.
    etags: Vec<String>,
}

/// Copies that are told apart by their etags. A server that has a new one for each answer says nothing by it.
const COPIES_MAX: usize = 8;

impl Seen {
    /// Whether a URL that is refused came because the one before was, and never worked.
    fn is_hopeless(&self, generation: u32) -> bool {
        (self.proven.max(1)..=self.renewed).contains(&generation)
    }

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
    /// `url` saves the first question where the bytes are. A host may take the time of `patience` to begin, and its
    /// usual one to go on.
    pub fn new(locate: L, file: WantedFile, url: Option<Url>, patience: Arc<Patience>) -> Self {
        let current = url.map(|url| Location { url, generation: 0, led_by: None, is_guess: false });
        Self {
            locate,
            file,
            patience,
            current: StdMutex::new(current),
            asking: Mutex::default(),
            first: AtomicUsize::new(0),
            seen: StdMutex::default(),
        }
    }

    async fn ask(&self, range: &Range<u64>) -> Result<Opened, Trouble> {
        let location = self.location().await.map_err(Trouble::Final)?;
        let asked = self.ask_at(&location, range).await;
        if let Err(Trouble::Failed(failure)) = &asked {
            self.leave(&location, failure).await.map_err(Trouble::Final)?;
        }
        asked
    }

    async fn ask_at(&self, location: &Location, range: &Range<u64>) -> Result<Opened, Trouble> {
        let is_all = *range == (0..self.file.size());
        let is_whole = self.seen().whole;
        if is_whole && !is_all {
            return Err(Trouble::NoRanges(location.origin()));
        }
        let bounds = (!is_whole).then(|| (range.start, range.end - 1));
        let asked = Instant::now();
        match self.answer(location, bounds, range).await? {
            Answer::Part(_, covers) if is_whole && covers != *range => {
                let why = "a part of a file that was asked for as a whole";
                Err(net::wrong(&location.url, why).into())
            }
            Answer::Part(response, covers) => {
                self.seen().ranged |= !is_whole;
                self.opened(location, response, covers, asked).await
            }
            Answer::Whole(response) if is_all => self.opened(location, response, range.clone(), asked).await,
            Answer::Whole(_) if !self.seen().ranged => Err(self.without_ranges(location)),
            Answer::Whole(_) => Err(self.odd(location, "the whole file instead of a range".into())),
            Answer::Odd(why) => Err(self.odd(location, why)),
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
        let judged = match self.locate.get(url, bounds).await {
            Ok(response) => answer::judge(url, response, range, self.file.size()).await,
            Err(Setback::Failed(failure)) => Err(failure),
            Err(Setback::Useless(error) | Setback::Final(error)) => return Err(Trouble::Final(error)),
        };
        match judged {
            // Something else is there than was thought.
            Ok(Answer::Changed(why)) if location.is_guess => Ok(Answer::Expired(net::wrong(url, why))),
            Err(failure) if location.is_guess && failure.is_an_answer() => Ok(Answer::Expired(failure)),
            Err(failure) => Err(self.misled(failure)),
            Ok(answer) => Ok(answer),
        }
    }

    /// A good answer, with its first bytes: a cache may send headers long before them.
    async fn opened(
        &self,
        location: &Location,
        mut response: Response,
        covers: Range<u64>,
        asked: Instant,
    ) -> Result<Opened, Trouble> {
        let url = response.url().clone();
        let peer = net::peer(&url, &response);
        let first = async { response.chunk().await.map_err(|cause| net::transport(&peer, cause)) };
        let first = self.patience.wait(&url, || peer.clone(), first).await?;
        self.patience.began(&url, asked);
        let origin = {
            let mut seen = self.seen();
            (seen.misled, seen.odd) = (0, None);
            seen.proven = seen.proven.max(location.generation + 1);
            seen.origin(&Provenance::new(&host(&url)), answer::etag(&response))
        };
        let chunks = stream::iter(first.map(Ok)).chain(chunks(url.clone(), response)).boxed();
        self.stay(location, url);
        Ok(Opened { body: Body::new(chunks, self.patience.usual(), origin.clone()), covers, origin })
    }

    /// Has the place asked from now on to which an endpoint led.
    fn stay(&self, location: &Location, url: Url) {
        let mut current = self.current();
        if url != location.url
            && location.led_by.is_none()
            && self.locate.is_endpoint(&location.url)
            && current.as_ref() == Some(location)
        {
            *current =
                Some(Location { url, led_by: Some(location.url.clone()), is_guess: false, ..*location });
        }
    }

    /// After a failure: whoever led there is asked again, and whoever has never sent anything good, in time, is left for
    /// the next endpoint.
    async fn leave(&self, location: &Location, failure: &Failure) -> Result<(), Error> {
        self.turn_back(location, location.generation);
        let is_bad = matches!(failure, Failure::Stalled { .. } | Failure::Wrong { .. });
        if is_bad && self.locate.places() > 1 && self.seen().proven <= location.generation {
            self.newer_than(location.generation, true).await?;
        }
        Ok(())
    }

    /// Has the endpoint asked that led to a place, as this generation; says where that is.
    fn turn_back(&self, location: &Location, generation: u32) -> Option<Provenance> {
        let mut current = self.current();
        let url = current.as_ref().filter(|current| *current == location)?.led_by.clone()?;
        Some(current.insert(Location { url, generation, led_by: None, is_guess: false }).origin())
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

    /// One answer of several may be odd. Who sends nothing else has the whole file, perhaps, but another endpoint may have
    /// ranges. Where they worked before, the whole is asked for when that has lasted as long as a stall: it costs all
    /// that has come.
    fn odd(&self, location: &Location, why: String) -> Trouble {
        let is_over = {
            let mut seen = self.seen();
            let (count, since) = seen.odd.unwrap_or((0, Instant::now()));
            seen.odd = Some((count + 1, since));
            let is_last = location.generation as usize + 1 >= self.locate.places();
            let is_enough = if seen.ranged { since.elapsed() >= self.patience.usual() } else { is_last };
            count + 1 >= ODD_MAX && is_enough
        };
        if is_over && self.file.size() < WHOLE_MAX {
            return self.without_ranges(location);
        }
        net::wrong(&location.url, why).into()
    }

    fn without_ranges(&self, location: &Location) -> Trouble {
        self.seen().whole = true;
        Trouble::NoRanges(location.origin())
    }

    /// The current location; asks for it if there is none yet.
    async fn location(&self) -> Result<Location, Error> {
        if let Some(location) = &*self.current() {
            return Ok(location.clone());
        }
        let _asking = self.asking.lock().await;
        if let Some(location) = &*self.current() {
            return Ok(location.clone());
        }
        self.moved(0).await
    }

    /// A location newer than `stale`, from the next endpoint if `elsewhere`. Many connections may
    /// ask at once; the question is asked once.
    async fn newer_than(&self, stale: u32, elsewhere: bool) -> Result<Location, Error> {
        let _asking = self.asking.lock().await;
        if let Some(location) = self.current().as_ref().filter(|location| location.generation > stale) {
            return Ok(location.clone());
        }
        self.first.fetch_add(usize::from(elsewhere), Ordering::Relaxed);
        self.moved(stale + 1).await
    }

    /// Asks where the bytes are, and has them asked for there.
    async fn moved(&self, generation: u32) -> Result<Location, Error> {
        let location = self.locate(generation).await?;
        Ok(self.current().insert(location).clone())
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
        Ok(Location { url: located.url, generation, led_by: None, is_guess: located.is_guess })
    }

    fn current(&self) -> MutexGuard<'_, Option<Location>> {
        self.current.lock().expect("nothing panics while it holds the location")
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("nothing panics while it holds what was seen")
    }
}

impl<L: Locate> Source for HttpSource<L> {
    fn open<'a>(&'a self, range: &'a Range<u64>) -> BoxFuture<'a, Result<Opened, Trouble>> {
        Box::pin(self.ask(range))
    }

    /// A URL may have expired; one that came because the last was refused, and never worked, would only be refused again.
    fn renew(&self, expired: Expired) -> BoxFuture<'_, Result<Provenance, Error>> {
        Box::pin(async move {
            if self.seen().is_hopeless(expired.generation) {
                let what =
                    format!("fetching `{}` from {}, with a fresh URL,", self.file.path, expired.origin);
                return Err(Error::Refused { what, answer: Box::new(expired.answer) });
            }
            let led = self.current().clone().filter(|location| location.generation == expired.generation);
            let origin = led.and_then(|location| self.turn_back(&location, location.generation + 1));
            let origin = match origin {
                Some(origin) => origin,
                None => self.newer_than(expired.generation, false).await?.origin(),
            };
            let mut seen = self.seen();
            seen.renewed = seen.renewed.max(expired.generation + 1);
            Ok(origin)
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

    /// A mirror or a cache may have to fetch what it is asked for, and so may a host that was late before.
    fn beginning(&self) -> Beginning {
        // Until it is known who has the bytes it may be a cache.
        let Some(Location { url, .. }) = &*self.current() else { return Beginning::Late };
        let is_own = self.file.size() > AT_HAND_MAX && self.locate.is_endpoint(url);
        match self.patience.was_late(url) {
            _ if is_own => Beginning::Late,
            Some(true) => Beginning::Late,
            Some(false) => Beginning::Soon,
            None => Beginning::Unknown,
        }
    }

    fn confirm(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async {
            let stale = self.location().await?;
            let asked = stale.led_by.as_ref().unwrap_or(&stale.url);
            let elsewhere = self.locate.places() > 1 && self.locate.is_blind(asked);
            self.newer_than(stale.generation, elsewhere).await?;
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
