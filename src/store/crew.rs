//! Threads for the work on files, kept for the next file: starting them costs more than filling a small one.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

/// The threads of a run. As many exist as worked at the same time; they end when nobody has the crew any more.
#[derive(Debug, Clone, Default)]
pub struct Crew {
    idle: Arc<Idle>,
}

/// Where threads without work wait for it.
type Idle = Mutex<Vec<Sender<Turn>>>;

/// Work, and where its thread waits afterwards. A thread at work keeps its own seat and nobody else's: when the
/// crew is gone there is no way left to reach it, which ends it.
struct Turn {
    work: Box<dyn FnOnce() + Send>,
    seat: Sender<Turn>,
}

impl Crew {
    /// Has a thread of its own do this, which may take as long as a whole download. Fails if none can be started.
    pub(super) fn employ(&self, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let idle = lock(&self.idle).pop();
        let seat = idle.map_or_else(|| self.start(), Ok)?;
        let turn = Turn { work: Box::new(work), seat: seat.clone() };
        seat.send(turn).map_err(|_| io::Error::other("a thread ended while it waited for work"))
    }

    fn start(&self) -> io::Result<Sender<Turn>> {
        let (seat, turns) = channel();
        let idle = Arc::downgrade(&self.idle);
        std::thread::Builder::new().name("file".into()).spawn(move || work(&turns, &idle))?;
        Ok(seat)
    }
}

fn work(turns: &Receiver<Turn>, idle: &Weak<Idle>) {
    for Turn { work, seat } in turns {
        work();
        match idle.upgrade() {
            Some(idle) => lock(&idle).push(seat),
            None => return,
        }
    }
}

fn lock(idle: &Idle) -> MutexGuard<'_, Vec<Sender<Turn>>> {
    idle.lock().expect("nothing panics while it holds the seats")
}
