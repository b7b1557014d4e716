//! A bound on the bytes that wait for the writers ahead of the frontier, over all files.
//!
//! The frontier is the lowest byte a file lacks. Whatever arrives ahead of it costs a way through the
//! page cache and back: when the disk or the hash is slower than the network, those ahead wait
//! here, so that the bytes arrive in file order and are hashed from memory.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

/// With the blocks and the HTTP stack's own buffers this bounds the memory of a run, whatever the
/// size of its files.
const BYTES: usize = 2 << 20;

#[derive(Debug, Default)]
pub(crate) struct Gate {
    used: Mutex<usize>,
    /// Rung when somebody who waits may pass now, or need not pass any more.
    moved: Notify,
    /// How many pieces were passed on since somebody last asked, and how many of them had to wait.
    passed: AtomicU32,
    waited: AtomicU32,
}

/// Held for as long as the bytes are in memory.
#[derive(Debug)]
pub(crate) struct Pass {
    gate: Arc<Gate>,
    bytes: usize,
}

/// Where bytes that want to pass are in their file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// They need not pass here.
    Frontier,
    /// Where they may pass if there is room.
    Ahead,
    /// Where they only would be in the way.
    TooFarAhead,
}

impl Gate {
    /// Waits until `bytes` more may be in memory. `None` if they are at the frontier then.
    pub(crate) async fn enter(self: &Arc<Self>, bytes: usize, place: impl Fn() -> Place) -> Option<Pass> {
        loop {
            let mut moved = std::pin::pin!(self.moved.notified());
            moved.as_mut().enable();
            match place() {
                Place::Frontier => return None,
                Place::Ahead => {
                    if let Some(pass) = self.try_enter(bytes) {
                        return Some(pass);
                    }
                }
                Place::TooFarAhead => {}
            }
            moved.await;
        }
    }

    /// Enters if there is room now.
    pub(crate) fn try_enter(self: &Arc<Self>, bytes: usize) -> Option<Pass> {
        let mut used = self.lock();
        // What is larger than the limit passes alone.
        if *used > 0 && *used + bytes > BYTES {
            return None;
        }
        *used += bytes;
        Some(Pass { gate: Arc::clone(self), bytes })
    }

    /// Who waits has to look again.
    pub(crate) fn ring(&self) {
        self.moved.notify_waiters();
    }

    /// Notes that bytes were passed on to the writers, here or in a block, and whether they had to wait.
    pub(crate) fn note(&self, waited: bool) {
        self.passed.fetch_add(1, Ordering::Relaxed);
        self.waited.fetch_add(u32::from(waited), Ordering::Relaxed);
    }

    /// Whether most of those that passed since the last call had to wait: the disk or the hash is
    /// the limit, and more connections would only wait too.
    pub(crate) fn is_crowded(&self) -> bool {
        let passed = self.passed.swap(0, Ordering::Relaxed);
        2 * self.waited.swap(0, Ordering::Relaxed) > passed
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, usize> {
        self.used.lock().expect("nothing panics while it holds the count")
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        *self.gate.lock() -= self.bytes;
        self.gate.ring();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_that_wait_are_bounded() {
        let gate = Arc::new(Gate::default());
        let pass = gate.try_enter(BYTES).expect("room");
        assert!(gate.try_enter(1).is_none());
        drop(pass);
        assert!(gate.try_enter(2 * BYTES).is_some());
    }

    #[tokio::test]
    async fn who_gets_to_the_frontier_passes_elsewhere() {
        let gate = Arc::new(Gate::default());
        let place = Mutex::new(Place::TooFarAhead);
        let entered = gate.enter(1, || *place.lock().expect("a place"));
        let moves = async {
            tokio::task::yield_now().await;
            *place.lock().expect("a place") = Place::Frontier;
            gate.ring();
        };
        let (entered, ()) = tokio::join!(entered, moves);
        assert!(entered.is_none());
    }
}
