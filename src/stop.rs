//! The order to stop: a signal, or the deadline. State is saved before the run ends.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::error::{Error, Signal};

/// Why a run stops before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// SIGINT or SIGTERM.
    Signal(Signal),
    /// `--deadline` passed.
    Deadline(Duration),
    /// Another file of the run failed; its error is the one to tell.
    Abandoned,
}

impl Cause {
    /// As the error the run ends with.
    pub fn error(self, doing: &str) -> Error {
        match self {
            Self::Signal(signal) => Error::Interrupted { signal },
            Self::Deadline(deadline) => Error::Deadline { deadline, doing: doing.into() },
            Self::Abandoned => Error::Internal(format!("stopped while {doing}: another file failed")),
        }
    }
}

/// Gives the order.
#[derive(Debug)]
pub struct StopSender(watch::Sender<Option<Cause>>);

/// Receives the order; cheap to clone.
#[derive(Debug, Clone)]
pub struct Stop {
    order: watch::Receiver<Option<Cause>>,
    deadline: Option<Instant>,
}

/// A new pair. A run whose sender is gone is never stopped. `deadline` says when the order will
/// come at the latest: nobody need wait for something beyond it.
pub fn channel(deadline: Option<Instant>) -> (StopSender, Stop) {
    let (sender, order) = watch::channel(None);
    (StopSender(sender), Stop { order, deadline })
}

impl StopSender {
    /// Orders the stop; the first cause counts.
    pub fn stop(&self, cause: Cause) {
        self.0.send_if_modified(|state| {
            let first = state.is_none();
            state.get_or_insert(cause);
            first
        });
    }
}

impl Stop {
    /// The cause, once the order was given.
    pub fn cause(&self) -> Option<Cause> {
        *self.order.borrow()
    }

    /// When the order will come at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Fails once the order was given: for loops that block.
    pub fn check(&self, doing: &str) -> Result<(), Error> {
        self.cause().map_or(Ok(()), |cause| Err(cause.error(doing)))
    }

    /// Waits for the order, for ever if it never comes.
    pub async fn raised(&self) -> Cause {
        let mut receiver = self.order.clone();
        let cause = receiver.wait_for(Option::is_some).await.ok().and_then(|cause| *cause);
        match cause {
            Some(cause) => cause,
            None => std::future::pending().await,
        }
    }

    /// Runs `work` until it ends or the order comes. Only for work with no state to save.
    pub async fn or<T>(&self, doing: &str, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        tokio::select! {
            result = work => result,
            cause = self.raised() => Err(cause.error(doing)),
        }
    }

    /// Runs work that may block, on a disk that may be dead, on a thread of its own. When the order comes
    /// nobody waits for it any more: only for work with no state to save.
    pub async fn or_blocking<T: Send + 'static>(
        &self,
        doing: &str,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        // Boxed, as in `blocking`: there are many kinds of work.
        let work: Box<dyn FnOnce() -> Result<T, Error> + Send> = Box::new(work);
        self.or(doing, async { blocking(work).await? }).await
    }
}

/// Runs work that may block to its end, on a thread for such work. A task of a type of its own for each kind of work
/// would make the program larger by a fiftieth, so that only the place of its result knows what that is.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    let place = Arc::new(Mutex::new(None));
    let result = Arc::clone(&place);
    let done = start(Box::new(move || {
        let done = work();
        *result.lock().expect("nothing panics while it holds the place") = Some(done);
    }));
    done.await?;
    let result = place.lock().expect("nothing panics while it holds the place").take();
    result.ok_or_else(|| Error::Internal("a thread ended without its result".into()))
}

fn start(work: Box<dyn FnOnce() + Send>) -> JoinHandle<()> {
    tokio::task::spawn_blocking(work)
}
