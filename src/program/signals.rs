//! Signals and the deadline become the order to stop, on a thread of their own: whatever the others are blocked in,
//! the order is heard and the process ends.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use modelfetch::error::{Error, Signal};
use modelfetch::show::{Writer, message};
use modelfetch::stop::{Cause, StopSender};
use tokio::signal::unix::{SignalKind, signal};

use super::last_words::PATIENCE;

/// Between the order to stop and the end of a process that does not come back from a dead disk. Enough to
/// save the state on a slow one, which has to take what waits in memory, and well within the 30 seconds
/// after which Kubernetes kills by default: then nobody would write the termination message.
const GRACE: Duration = Duration::from_secs(10);
/// Between two looks at a process that is to stop.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What the main thread is at, for the thread of the signals.
#[derive(Debug, Default)]
pub(super) struct Standing(Mutex<Position>);

#[derive(Debug, Default, Clone, Copy)]
struct Position {
    /// Since when it waits for somebody who reads what it prints.
    reader: Option<Instant>,
    /// The exit number, once it is decided and the last words are written.
    number: Option<u8>,
}

impl Standing {
    /// Runs `print`, which has nothing to save while it waits for its reader.
    pub(super) fn at_reader<T>(&self, print: impl FnOnce() -> T) -> T {
        self.change(|position| position.reader = Some(Instant::now()));
        let result = print();
        self.change(|position| position.reader = None);
        result
    }

    /// The last words are written: the process can end with `number` at any time.
    pub(super) fn decided(&self, number: u8) {
        self.change(|position| position.number = Some(number));
    }

    fn change(&self, change: impl FnOnce(&mut Position)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn now(&self) -> Position {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A process that was ordered to stop then has had its time.
    fn is_over(&self, ordered: Instant, now: Instant) -> bool {
        let waits = |since: Instant| now.duration_since(since.max(ordered)) >= PATIENCE;
        now.duration_since(ordered) >= GRACE || self.now().reader.is_some_and(waits)
    }
}

/// Gives the order through `sender`, and ends a process that does not stop within its time; then `last_words` are of
/// the error it ends with. A second signal ends the process at once: the state on disk is good for a SIGKILL, so
/// also for this.
pub(super) fn watch(
    sender: StopSender,
    deadline: Option<Duration>,
    standing: Arc<Standing>,
    last_words: impl FnOnce(&Error) + Send + 'static,
) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(Error::io("listen for", "signals"))?;
    let mut signals = {
        let _inside = runtime.enter();
        Signals::new()?
    };
    let obey = move || {
        let (cause, number) = runtime.block_on(async {
            let cause = first_order(&mut signals, deadline).await;
            sender.stop(cause);
            let ordered = Instant::now();
            tokio::select! {
                number = signals.insist(cause) => (cause, Some(number)),
                () = overdue(&standing, ordered) => (cause, standing.now().number),
            }
        });
        let number = number.unwrap_or_else(|| give_up(cause, last_words));
        std::process::exit(number.into());
    };
    let thread = std::thread::Builder::new().name("signals".into()).spawn(obey);
    thread.map_err(Error::io("start", "a thread")).map(|_| ())
}

struct Signals {
    int: tokio::signal::unix::Signal,
    term: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> Result<Self, Error> {
        let listen = |kind| signal(kind).map_err(Error::io("listen for", "signals"));
        Ok(Self { int: listen(SignalKind::interrupt())?, term: listen(SignalKind::terminate())? })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.int.recv() => Signal::Int,
            _ = self.term.recv() => Signal::Term,
        }
    }

    /// The number to end with once a second signal came.
    async fn insist(&mut self, first: Cause) -> u8 {
        if !matches!(first, Cause::Signal(_)) {
            self.next().await;
        }
        let signal = self.next().await;
        Error::Interrupted { signal }.exit_number()
    }
}

async fn first_order(signals: &mut Signals, deadline: Option<Duration>) -> Cause {
    let passed = async {
        match deadline {
            Some(deadline) => {
                tokio::time::sleep(deadline).await;
                deadline
            }
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        signal = signals.next() => Cause::Signal(signal),
        deadline = passed => Cause::Deadline(deadline),
    }
}

async fn overdue(standing: &Standing, ordered: Instant) {
    while !standing.is_over(ordered, Instant::now()) {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Says the last words for a main thread that does not come back. What blocks that one may block this one too.
fn give_up(cause: Cause, last_words: impl FnOnce(&Error) + Send + 'static) -> u8 {
    let error = cause.error("waiting for a disk or a reader");
    let number = error.exit_number();
    message::to_stderr(&message::warning("the run does not stop: a disk or a reader takes nothing"));
    message::to_stderr(&message::error(&error, false));
    let (said, wait) = std::sync::mpsc::channel();
    let speak = move || {
        last_words(&error);
        Writer::stderr().drain(None);
        let _ = said.send(());
    };
    if std::thread::Builder::new().spawn(speak).is_ok() {
        let _ = wait.recv_timeout(PATIENCE);
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_time_to_save_its_state_and_less_for_a_reader() {
        let standing = Standing::default();
        let ordered = Instant::now();
        let is_over = |after: Duration| standing.is_over(ordered, ordered + after);
        assert!(!is_over(GRACE / 2) && is_over(GRACE));
        standing.at_reader(|| {
            assert!(!is_over(PATIENCE / 2) && is_over(PATIENCE * 2));
        });
        assert!(!is_over(PATIENCE * 2));
    }
}
