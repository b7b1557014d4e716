//! A bound on the bytes that wait for the writers ahead of the frontier, over all files. In a file without
//! blocks all bytes count as ahead of it.
//!
//! The frontier is the lowest byte a file lacks. Whatever arrives ahead of it costs a way through the
//! page cache and back: when the disk or the hash is slower than the network, those ahead wait
//! here, so that the bytes arrive in file order and are hashed from memory.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use super::tuning::AHEAD_MAX;

#[derive(Debug, Default)]
pub(crate) struct Admission {
    used: Mutex<usize>,
    /// Rung when somebody who waits may go on now, or need not any more.
    moved: Notify,
    /// How many pieces were passed on since somebody last asked, and how many of them had to wait.
    passed: AtomicU32,
    waited: AtomicU32,
}

/// Held for as long as the bytes are in memory.
#[derive(Debug)]
pub(crate) struct Permit {
    admission: Arc<Admission>,
    bytes: usize,
}

/// Where bytes that ask for a permit are in their file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Position {
    /// They need no permit.
    Frontier,
    /// Where they get one if there is room.
    Ahead,
    /// Where they only would be in the way.
    TooFarAhead,
}

impl Admission {
    /// Waits until `bytes` more may be in memory. `None` if they are at the frontier then.
    pub(crate) async fn enter(
        self: &Arc<Self>,
        bytes: usize,
        place: impl Fn() -> Position,
    ) -> Option<Permit> {
        loop {
            let mut moved = std::pin::pin!(self.moved.notified());
            moved.as_mut().enable();
            match place() {
                Position::Frontier => return None,
                Position::Ahead => {
                    if let Some(permit) = self.try_enter(bytes) {
                        return Some(permit);
                    }
                }
                Position::TooFarAhead => {}
            }
            moved.await;
        }
    }

    /// Enters if there is room now.
    pub(crate) fn try_enter(self: &Arc<Self>, bytes: usize) -> Option<Permit> {
        let mut used = self.lock();
        // What is larger than the limit passes alone.
        if *used > 0 && *used + bytes > AHEAD_MAX {
            return None;
        }
        *used += bytes;
        Some(Permit { admission: Arc::clone(self), bytes })
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

    /// Whether any bytes are in memory.
    #[cfg(test)]
    pub(crate) fn is_in_use(&self) -> bool {
        *self.lock() > 0
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, usize> {
        self.used.lock().expect("nothing panics while it holds the count")
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        *self.admission.lock() -= self.bytes;
        self.admission.ring();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_that_wait_are_bounded() {
        let admission = Arc::new(Admission::default());
        let permit = admission.try_enter(AHEAD_MAX).expect("room");
        assert!(admission.try_enter(1).is_none());
        drop(permit);
        assert!(admission.try_enter(2 * AHEAD_MAX).is_some());
    }

    #[tokio::test]
    async fn who_gets_to_the_frontier_passes_elsewhere() {
        let admission = Arc::new(Admission::default());
        let place = Mutex::new(Position::TooFarAhead);
        let entered = admission.enter(1, || *place.lock().expect("a place"));
        let moves = async {
            tokio::task::yield_now().await;
            *place.lock().expect("a place") = Position::Frontier;
            admission.ring();
        };
        let (entered, ()) = tokio::join!(entered, moves);
        assert!(entered.is_none());
    }
}
