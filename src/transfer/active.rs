//! One file that is being filled: what the connections at work on it share.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::blame::Origins;
use super::engine::{Scope, Unfinished};
use super::schedule::{Segment, Segments};
use super::tuner::Estimate;
use super::tuning::{FIRST_BYTES, HELD_BACK_MAX, HELD_BACK_MIN, LOOK_PATIENCE, QUICK_LINK};
use crate::content::look::Look;
use crate::content::{RangeSet, gguf, kind};
use crate::error::Error;
use crate::plan::WantedFile;
use crate::report::Reporter;
use crate::request::RepoPath;
use crate::retry::Budget;
use crate::source::{Beginning, Provenance, Source};
use crate::store::block::Pool;
use crate::store::partial::Partial;
use crate::store::writer::Payload;

/// A file under way.
pub(super) struct Active {
    pub(super) path: RepoPath,
    pub(super) size: u64,
    pub(super) source: Arc<dyn Source>,
    pub(super) reporter: Arc<dyn Reporter>,
    pub(super) budget: Budget,
    /// Bytes received for it.
    pub(super) received: AtomicU64,
    /// Bytes copied from older files on the disk.
    pub(super) copied: AtomicU64,
    /// Copiers at work.
    pub(super) copiers: AtomicU32,
    pub(super) connections: AtomicUsize,
    segments: Mutex<Segments>,
    /// For what arrives at the frontier, in a file that is worth it.
    pub(super) pool: Option<Arc<Pool>>,
    payloads: Mutex<Option<mpsc::Sender<Payload>>>,
    ending: watch::Sender<Option<End>>,
    /// The first bytes, until they were looked at.
    start: Mutex<Option<Start>>,
    /// Only the first bytes are fetched, while somebody is asked what older files have of the rest.
    held_back: Mutex<Option<HeldBack>>,
    /// Until when the other connections hold back for that.
    look: watch::Sender<Option<Instant>>,
    /// There are no ranges to be had: one connection, from the start.
    whole: AtomicBool,
    origins: Mutex<Origins>,
}

/// A look at the first bytes of a file, as they arrive.
#[derive(Debug)]
struct Start {
    look: Look,
    seen: u64,
}

impl Start {
    /// `None` where there is nothing to look at, or nothing to be told.
    fn of(partial: &Partial) -> Option<Self> {
        let WantedFile { path, content, .. } = partial.wanted();
        let is_to_come = partial.missing().first().is_some_and(|first| first.start == 0);
        (is_to_come && !partial.is_vouched_for())
            .then(|| Self { look: Look::new(path.file_name(), content.size(), None), seen: 0 })
    }
}

/// A short wait for something that may make most of the file superfluous.
#[derive(Debug, Clone, Copy)]
struct HeldBack {
    since: Instant,
    until: Instant,
}

/// How the work on a file's ranges ended.
#[derive(Debug)]
pub(super) enum End {
    /// No range is left and none is under way: every byte was passed to the writer, which may have failed.
    Complete,
    /// It will not be complete.
    Stopped(Mutex<Option<Unfinished>>),
}

impl Active {
    pub(super) fn new(
        partial: &Partial,
        source: Arc<dyn Source>,
        budget: Budget,
        pool: Option<Arc<Pool>>,
        payloads: mpsc::Sender<Payload>,
        scope: &Scope,
    ) -> Self {
        let remote = partial.wanted();
        let segments = Segments::new(remote.size(), partial.missing());
        let end = segments.is_complete().then_some(End::Complete);
        let start = Start::of(partial);
        let is_awaited = start.is_some() && gguf::is_named(remote.path.file_name());
        Self {
            path: remote.path.clone(),
            size: remote.size(),
            source,
            reporter: Arc::clone(&scope.reporter),
            budget,
            received: AtomicU64::new(0),
            copied: AtomicU64::new(0),
            copiers: AtomicU32::new(0),
            connections: AtomicUsize::new(0),
            segments: Mutex::new(segments),
            pool,
            payloads: Mutex::new(end.is_none().then_some(payloads)),
            ending: watch::channel(end).0,
            start: Mutex::new(start),
            held_back: Mutex::default(),
            look: watch::channel(is_awaited.then(|| Instant::now() + LOOK_PATIENCE)).0,
            whole: AtomicBool::new(false),
            origins: Mutex::default(),
        }
    }

    /// The same, of which only the first bytes are fetched until [`Self::hold_back_no_more`], or for as long again as they
    /// take to come and a hundredth of the time that all of it takes on a quick link.
    pub(super) fn held_back(mut self) -> Self {
        let since = Instant::now();
        self.held_back = Mutex::new(Some(HeldBack { since, until: since + HELD_BACK_MAX }));
        self
    }

    /// The next range for a connection: all that a hopelessly slow one still has, else one that nobody has, or, if
    /// `steal`, a part of another's.
    pub(super) fn next_segment(&self, estimate: &Estimate, connections: u16, steal: bool) -> Option<Segment> {
        let mut segments = self.segments();
        let now = Instant::now();
        let beginning = if segments.is_awaited() { self.source.beginning() } else { Beginning::Soon };
        if !self.is_taking() || beginning == Beginning::Late {
            return None;
        }
        if self.whole.load(Ordering::Relaxed) {
            return segments.take_whole(now);
        }
        if self.held_back_until().is_some() {
            return segments.take_first(FIRST_BYTES, now);
        }
        let may_take_over = beginning == Beginning::Soon;
        if steal {
            return if may_take_over { segments.steal(estimate, now) } else { None };
        }
        let rescued = if may_take_over { segments.rescue(estimate, now) } else { None };
        let length = estimate.segment_length(segments.remaining(), connections);
        rescued.or_else(|| segments.take(length, now))
    }

    /// Notes that bytes have come; says whether they are the first ones.
    pub(super) fn begin(&self) -> bool {
        let is_first = self.segments().begin();
        if is_first {
            let now = Instant::now();
            let unnoticed = Duration::from_millis(self.size / (QUICK_LINK / 1000) / 100);
            if let Some(held) = self.held().as_mut().filter(|held| now < held.until) {
                held.until = now + (now - held.since) + unnoticed.max(HELD_BACK_MIN);
            }
        }
        is_first
    }

    /// Nothing more is to be waited for.
    pub(super) fn hold_back_no_more(&self) {
        *self.held() = None;
    }

    /// Until when only the first bytes may be fetched.
    pub(super) fn held_back_until(&self) -> Option<Instant> {
        self.held().map(|held| held.until).filter(|until| Instant::now() < *until)
    }

    fn held(&self) -> MutexGuard<'_, Option<HeldBack>> {
        self.held_back.lock().expect("nothing panics while it holds the time")
    }

    /// Bytes not yet received.
    pub(super) fn remaining(&self) -> u64 {
        self.segments().remaining()
    }

    /// Claims received bytes; see [`Segments::advance`].
    pub(super) fn advance(&self, segment: &Segment, length: usize) -> Range<u64> {
        self.segments().advance(segment, length)
    }

    /// Holds a connection back that has asked for a later part, until the first bytes show that the file is what its
    /// name says. What it was sent meanwhile is no more than its socket takes.
    pub(super) async fn looked_at(&self, segment: &Segment) {
        let mut look = self.look.subscribe();
        let until = *look.borrow();
        let Some(until) = until.filter(|_| segment.range.start > 0) else { return };
        self.hold(segment, true);
        let _ = tokio::time::timeout_at(until, look.wait_for(Option::is_none)).await;
        self.hold(segment, false);
    }

    /// Looks at bytes if they are the first ones, and ends the work if they are not those of what the name says.
    pub(super) fn look(&self, at: u64, bytes: &[u8]) {
        let mut start = self.start.lock().expect("nothing panics while it looks");
        let Some(Start { look, seen }) = start.as_mut().filter(|start| start.seen == at) else { return };
        let rest = kind::START.saturating_sub(usize::try_from(at).unwrap_or(kind::START));
        let bytes = &bytes[..bytes.len().min(rest)];
        *seen += bytes.len() as u64;
        let looked = look.feed(bytes);
        if !look.has_begun() {
            return;
        }
        // The end first: those who wait for the look see it then.
        if let Err(strange) = looked {
            self.stop(Unfinished::Strange { strange, seen: *seen });
        }
        *start = None;
        self.look.send_replace(None);
    }

    /// Notes that a segment is held up, or no longer, by what comes behind the connection.
    pub(super) fn hold(&self, segment: &Segment, held: bool) {
        self.segments().hold(segment, held, Instant::now());
    }

    pub(super) fn is_done(&self, segment: &Segment) -> bool {
        self.segments().is_done(segment)
    }

    /// Whether all bytes lower than this segment's were passed on.
    pub(super) fn is_frontier(&self, segment: &Segment) -> bool {
        self.segments().is_frontier(segment)
    }

    pub(super) fn missing_of(&self, segment: &Segment) -> u64 {
        self.segments().missing_of(segment)
    }

    /// Gives a segment back, with what it did not bring.
    pub(super) fn release(&self, segment: &Segment) {
        self.change_segments(|segments| segments.release(segment));
    }

    /// Takes what is to be copied from older files away from the connections, as far as they have not begun with it.
    pub(super) fn reserve(&self, ranges: &RangeSet) -> RangeSet {
        if self.stopped_or_complete() {
            return RangeSet::default();
        }
        let reserved = self.segments().reserve(ranges);
        if reserved.prefix() > 0 {
            // The first bytes were right in the older file; the hash looks at them all the same.
            *self.start.lock().expect("nothing panics while it looks") = None;
            self.look.send_replace(None);
        }
        reserved
    }

    /// Notes that a part was copied from an older file.
    pub(super) fn note_copied(&self, from: &Provenance, range: Range<u64>) {
        self.copied.fetch_add(range.end - range.start, Ordering::Relaxed);
        self.origins.lock().expect("nothing panics while it holds the origins").note(from, range.clone());
        self.change_segments(|segments| segments.came(&range));
    }

    /// Leaves what was not copied to the connections.
    pub(super) fn give_up_copying(&self) {
        self.change_segments(Segments::give_up_reserved);
    }

    fn change_segments(&self, change: impl FnOnce(&mut Segments)) {
        let complete = {
            let mut segments = self.segments();
            change(&mut segments);
            segments.is_complete()
        };
        if complete {
            self.end(End::Complete);
        }
    }

    fn stopped_or_complete(&self) -> bool {
        self.ending.borrow().is_some()
    }

    /// Where to pass bytes; `None` once the file is over.
    pub(super) fn payloads(&self) -> Option<mpsc::Sender<Payload>> {
        self.payloads.lock().expect("nothing panics while it holds the channel").clone()
    }

    /// Whether somebody takes its bytes: a writer that has failed may be waited for before the file is over.
    fn is_taking(&self) -> bool {
        let payloads = self.payloads.lock().expect("nothing panics while it holds the channel");
        payloads.as_ref().is_some_and(|payloads| !payloads.is_closed())
    }

    /// Ends the work on this file.
    pub(super) fn stop(&self, why: Unfinished) {
        self.end(End::Stopped(Mutex::new(Some(why))));
    }

    pub(super) fn fail(&self, error: Error) {
        self.stop(Unfinished::Failed(error));
    }

    fn end(&self, end: End) {
        self.ending.send_if_modified(|ending| {
            let first = ending.is_none();
            ending.get_or_insert(end);
            first
        });
        self.payloads.lock().expect("nothing panics while it holds the channel").take();
    }

    /// Waits for the end.
    pub(super) async fn over(&self) {
        // The sender lives as long as `self`.
        let _ = self.ending.subscribe().wait_for(Option::is_some).await;
    }

    /// Why it will not be complete.
    pub(super) fn stopped(&self) -> Option<Unfinished> {
        match &*self.ending.borrow() {
            Some(End::Stopped(why)) => why.lock().expect("nothing panics while it holds the reason").take(),
            _ => None,
        }
    }

    /// From now on one connection asks for all, from the start. Says whether that is new.
    pub(super) fn read_whole(&self) -> bool {
        !self.whole.swap(true, Ordering::Relaxed)
    }

    /// Notes who sent what a segment has received.
    pub(super) fn note_origin(&self, segment: &Segment, origin: &Provenance) {
        let received = self.segments().received_of(segment);
        self.origins.lock().expect("nothing panics while it holds the origins").note(origin, received);
    }

    /// Who sent what.
    pub(super) fn origins(&self) -> Origins {
        self.origins.lock().expect("nothing panics while it holds the origins").clone()
    }

    fn segments(&self) -> MutexGuard<'_, Segments> {
        self.segments.lock().expect("nothing panics while it holds the segments")
    }
}
