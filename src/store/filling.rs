//! A content while it is being filled, and the one owner of the threads at work on it.
//!
//! The writer takes bytes from all connections, the hash follows it, and for a file that is worth it a
//! flusher runs behind, so that never much is dirty. They wait for each other: a partial file is written
//! to only where all of them run, and whoever drops a [`Filling`] has told them to end. A small file has one thread,
//! which hashes when all is written.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::{mpsc, oneshot};

use super::crew::Crew;
use super::hashing::{self, Unverified, Verified};
use super::partial::Partial;
use super::tuning::{IN_TURN_MAX, JOIN_PATIENCE, QUEUE};
use super::writer::{self, Payload};
use crate::content::look::Strange;
use crate::error::Error;
use crate::report::PROGRESS_EVERY;
use crate::stop::Stop;

/// The session of one content being filled.
#[derive(Debug)]
pub struct Filling {
    crew: Crew,
    partial: Arc<Partial>,
    payloads: Option<mpsc::Sender<Payload>>,
    /// The same, for as long as somebody else has a sink.
    wake: mpsc::WeakSender<Payload>,
    /// Nothing that still waits for the writer need be written.
    abandoned: Arc<AtomicBool>,
    hashed: Arc<AtomicU64>,
    writer: Option<Worker<Result<(), Error>>>,
    hash: Option<Worker<Result<Verified, Unverified>>>,
    /// What the hash had to say, if that was before all was written.
    early: Option<Result<Verified, Unverified>>,
    flusher: Option<Worker<()>>,
    /// Who writes beside the writer.
    beside: Option<Worker<()>>,
    last_flush: Option<Worker<Result<(), Error>>>,
}

/// What ends the writing.
pub(crate) enum Halted {
    /// What was sent is written and nobody can send more, or writing has failed.
    Written(Result<(), Error>),
    /// The first bytes, `seen` of them, are not those of what the name says.
    Strange { strange: Strange, seen: u64 },
}

/// How far a filling is, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Filled {
    /// On the disk, or in its cache.
    pub written: u64,
    /// Hashed, from the start.
    pub hashed: u64,
}

impl Filling {
    /// Gives the threads of `crew` their work.
    pub fn begin(crew: &Crew, partial: &Arc<Partial>) -> Result<Self, Error> {
        let (payloads, received) = mpsc::channel(QUEUE);
        let mut filling = Self {
            crew: crew.clone(),
            partial: Arc::clone(partial),
            wake: payloads.downgrade(),
            payloads: Some(payloads),
            abandoned: Arc::default(),
            hashed: Arc::default(),
            writer: None,
            hash: None,
            early: None,
            flusher: None,
            beside: None,
            last_flush: None,
        };
        // Should one thread not start, dropping the filling ends those before it.
        let (abandoned, hashed) = (Arc::clone(&filling.abandoned), Arc::clone(&filling.hashed));
        let write = move |partial: Arc<Partial>| writer::write(&partial, received, &abandoned);
        let hash = move |partial: Arc<Partial>| hashing::follow(partial, &hashed);
        if partial.wanted().size() > IN_TURN_MAX {
            filling.writer = Some(Worker::start(crew, partial, write)?);
            filling.hash = Some(Worker::start(crew, partial, hash)?);
        } else {
            let (writer, hash) = Worker::start_in_turn(crew, partial, write, hash)?;
            (filling.writer, filling.hash) = (Some(writer), Some(hash));
        }
        if partial.is_flushed_meanwhile() {
            let work = |partial: Arc<Partial>| partial.flush_behind();
            filling.flusher = Some(Worker::start(crew, partial, work)?);
        }
        Ok(filling)
    }

    /// Where bytes go. The writer waits for more until every sink is dropped.
    ///
    /// # Panics
    /// Once the writer was waited for.
    pub(crate) fn sink(&self) -> mpsc::Sender<Payload> {
        self.payloads.clone().expect("nobody asks for a sink when all is written")
    }

    /// Has a thread write bytes that no sink brings. It has to end soon after the file is closed. Once.
    pub(crate) fn beside(&mut self, work: impl FnOnce(Arc<Partial>) + Send + 'static) -> Result<(), Error> {
        self.beside = Some(Worker::start(&self.crew, &self.partial, work)?);
        Ok(())
    }

    /// What is being filled.
    pub(crate) fn partial(&self) -> Arc<Partial> {
        Arc::clone(&self.partial)
    }

    /// How far it is.
    pub fn progress(&self) -> Filled {
        Filled { written: self.partial.written(), hashed: self.hashed.load(Ordering::Relaxed) }
    }

    /// Waits until what was sent is written and nobody can send more, or writing fails. May be called again if
    /// nobody waited for its end, and not after it has answered.
    pub(crate) async fn written(&mut self) -> Result<(), Error> {
        self.payloads = None;
        let written = outcome(&mut self.writer).await?;
        written.unwrap_or_else(|| Err(Error::Internal("the writer was waited for twice".into())))
    }

    /// The same, or until the hash ends early. May be called again until everything is written.
    pub(crate) async fn halted(&mut self) -> Result<Halted, Error> {
        self.payloads = None;
        loop {
            tokio::select! {
                written = outcome(&mut self.writer) => {
                    let twice = || Err(Error::Internal("the writer was waited for twice".into()));
                    return Ok(Halted::Written(written?.unwrap_or_else(twice)));
                }
                verdict = outcome(&mut self.hash), if self.hash.is_some() => match verdict? {
                    Some(Err(Unverified::Strange { strange, seen })) => {
                        return Ok(Halted::Strange { strange, seen });
                    }
                    verdict => self.early = verdict,
                },
            }
        }
    }

    /// Tells the threads behind the writer that nothing more comes, and the writer not to wait for them.
    /// Fails if a flush had failed.
    pub(crate) fn close(&self) -> Result<(), Error> {
        self.partial.close()
    }

    /// Waits for the hash of a content that is all there, with `show` called now and then.
    pub(crate) async fn finish(mut self, stop: &Stop, show: impl Fn(&Self)) -> Result<Verified, Unverified> {
        let verdict = self.verdict(stop, show).await;
        match self.end(stop).await {
            Ok(()) => verdict,
            Err(error) => Err(Unverified::Failed(error)),
        }
    }

    async fn verdict(&mut self, stop: &Stop, show: impl Fn(&Self)) -> Result<Verified, Unverified> {
        // The flush needs no digest and the hash no disk: where both take time they run side by side.
        if self.partial.is_flushed_meanwhile() {
            let work = |partial: Arc<Partial>| partial.flush();
            self.last_flush = Some(Worker::start(&self.crew, &self.partial, work)?);
        }
        let mut ticks = tokio::time::interval(PROGRESS_EVERY);
        let verdict = loop {
            if let Some(verdict) = self.early.take() {
                break Some(verdict);
            }
            tokio::select! {
                verdict = outcome(&mut self.hash) => break verdict?,
                cause = stop.raised() => {
                    self.close()?;
                    return Err(cause.error("verifying").into());
                }
                _ = ticks.tick() => show(self),
            }
        };
        outcome(&mut self.last_flush).await?.transpose()?;
        show(self);
        // A stop may have closed the file just when its last bytes came.
        match (verdict.unwrap_or(Err(Unverified::Incomplete)), stop.cause()) {
            (Err(Unverified::Incomplete), Some(cause)) => Err(cause.error("verifying").into()),
            (verdict, _) => verdict,
        }
    }

    /// Ends the threads behind the writer and waits for them. Fails if a flush had failed.
    pub(crate) async fn end(mut self, stop: &Stop) -> Result<(), Error> {
        let closed = self.close();
        // Without all bytes there is no verdict.
        let _ = outcome(&mut self.hash).await?;
        // A slow disk may take seconds for a flush; a run that is told to stop has one.
        if stop.cause().is_none() {
            outcome(&mut self.beside).await?;
            outcome(&mut self.flusher).await?;
        }
        closed
    }

    fn is_at_work(&mut self) -> bool {
        is_at_work(&mut self.writer)
            || is_at_work(&mut self.hash)
            || is_at_work(&mut self.flusher)
            || is_at_work(&mut self.beside)
            || is_at_work(&mut self.last_flush)
    }
}

impl Drop for Filling {
    fn drop(&mut self) {
        self.abandoned.store(true, Ordering::Relaxed);
        self.payloads = None;
        if let Some(sink) = self.wake.upgrade() {
            // Others may keep theirs for a while. Where there is no room the writer is awake.
            let _ = sink.try_send(Payload::Nothing);
        }
        // The error of a flush is of no use to who did not wait for it.
        let _ = self.close();
        let patience = Instant::now() + JOIN_PATIENCE;
        while self.is_at_work() && Instant::now() < patience {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl From<Error> for Unverified {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// A thread at work. It is none of the runtime's: those are few, and this may take as long as the whole download.
#[derive(Debug)]
struct Worker<T> {
    result: oneshot::Receiver<T>,
}

impl<T: Send + 'static> Worker<T> {
    fn start(
        crew: &Crew,
        partial: &Arc<Partial>,
        work: impl FnOnce(Arc<Partial>) -> T + Send + 'static,
    ) -> Result<Self, Error> {
        let (worker, work) = Self::of(partial, work);
        employ(crew, partial, work)?;
        Ok(worker)
    }

    /// One thread for both: the second begins when the first has said what it has to say.
    fn start_in_turn<U: Send + 'static>(
        crew: &Crew,
        partial: &Arc<Partial>,
        first: impl FnOnce(Arc<Partial>) -> T + Send + 'static,
        second: impl FnOnce(Arc<Partial>) -> U + Send + 'static,
    ) -> Result<(Self, Worker<U>), Error> {
        let ((first, do_first), (second, do_second)) =
            (Self::of(partial, first), Worker::of(partial, second));
        employ(crew, partial, move || {
            do_first();
            do_second();
        })?;
        Ok((first, second))
    }

    /// With what its thread has to do.
    fn of(
        partial: &Arc<Partial>,
        work: impl FnOnce(Arc<Partial>) -> T + Send + 'static,
    ) -> (Self, impl FnOnce() + Send + 'static) {
        let (sender, result) = oneshot::channel();
        let of = Arc::clone(partial);
        let work = move || {
            // Nobody may be left to hear of it.
            let _ = sender.send(work(of));
        };
        (Self { result }, work)
    }
}

fn employ(crew: &Crew, partial: &Partial, work: impl FnOnce() + Send + 'static) -> Result<(), Error> {
    crew.employ(work).map_err(Error::io("start a thread for", partial.path()))
}

/// Waits for what a thread has to say, which it says once. Until then it keeps its place, so that
/// whoever waits may be interrupted.
async fn outcome<T>(worker: &mut Option<Worker<T>>) -> Result<Option<T>, Error> {
    let Some(waited_for) = worker else { return Ok(None) };
    let result = (&mut waited_for.result).await;
    *worker = None;
    result.map(Some).map_err(|_| Error::Internal("a thread ended without a word".into()))
}

fn is_at_work<T>(worker: &mut Option<Worker<T>>) -> bool {
    worker.as_mut().is_some_and(|worker| matches!(worker.result.try_recv(), Err(TryRecvError::Empty)))
}

#[cfg(test)]
mod tests {
    use super::super::admission::Admission;
    use super::super::journal::Partials;
    use super::*;
    use crate::content::{Content, Digest};
    use crate::plan::WantedFile;
    use crate::request::{RepoId, RepoKind};
    use crate::stop;

    fn partial(dir: &std::path::Path, size: u64) -> Arc<Partial> {
        let digest = Digest::from_etag(&"ab".repeat(32)).expect("a digest");
        let file = WantedFile::new("m.bin".parse().expect("a path"), Content::new(size, digest));
        let repo = RepoId::new(RepoKind::Model, "o/n").expect("a repository");
        Arc::new(Partial::open(&Partials::alone(dir), &file, &repo).expect("opened"))
    }

    /// Bytes ahead of the frontier, as a connection sends them.
    async fn send(filling: &Filling, admission: &Arc<Admission>, offset: u64, length: usize) {
        let permit = loop {
            match admission.try_enter(length) {
                Some(permit) => break permit,
                None => tokio::task::yield_now().await,
            }
        };
        let bytes = bytes::Bytes::from(vec![7; length]);
        let sent = filling.sink().send(Payload::Chunk { offset, bytes, _permit: permit }).await;
        sent.map_err(drop).expect("a writer");
    }

    #[tokio::test]
    async fn more_than_may_be_dirty_is_written_through_any_filling() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut filling = Filling::begin(&Crew::default(), &partial(dir.path(), 96 << 20)).expect("begun");
        let admission = Arc::default();
        for n in 0..96 {
            send(&filling, &admission, n << 20, 1 << 20).await;
        }
        filling.written().await.expect("written");
        assert_eq!(filling.progress().written, 96 << 20);
        let (_halt, stop) = stop::channel(None);
        let verdict = filling.finish(&stop, |_| {}).await;
        assert!(matches!(verdict, Err(Unverified::Mismatch(_))), "{verdict:?}");
    }

    #[tokio::test]
    async fn a_filling_that_is_dropped_leaves_no_thread_behind() {
        let dir = tempfile::tempdir().expect("a directory");
        let partial = partial(dir.path(), 96 << 20);
        let filling = Filling::begin(&Crew::default(), &partial).expect("begun");
        send(&filling, &Arc::default(), 5, 1000).await;
        // A connection that does not know yet.
        let sink = filling.sink();
        drop(filling);
        assert!(sink.is_closed(), "the writer waits for more");
        assert_eq!(Arc::strong_count(&partial), 1, "a thread holds the file");
    }
}
