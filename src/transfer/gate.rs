//! A bound on the bytes between the sockets and the writers, over all files.
//!
//! The connection at the frontier, the lowest byte a file lacks, may fill all of it; the others
//! only a part. When the disk or the hash is slower than the network the bytes thus arrive in file
//! order, and are hashed from memory; when the network is slower there is room for everybody.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

/// With the HTTP stack's own buffers this bounds the memory of a run, whatever the size of its files.
const BYTES: usize = 2 << 20;
/// The part of it that is for the frontier alone. Whatever gets ahead of it costs a way through the
/// page cache and back, so that little may.
const RESERVED: usize = BYTES / 4 * 3;

#[derive(Debug, Default)]
pub(super) struct Gate {
    used: Mutex<usize>,
    /// Rung when bytes have left.
    room: Notify,
    /// Rung when those ahead of the frontier may pass, or one of them may be at it now.
    plenty: Notify,
    /// How many entered since somebody last asked, and how many of them had to wait.
    entered: AtomicU32,
    waited: AtomicU32,
}

/// Held for as long as the bytes are in memory.
#[derive(Debug)]
pub(super) struct Pass {
    gate: Arc<Gate>,
    bytes: usize,
}

impl Gate {
    /// Waits until `bytes` more may be in memory.
    pub(super) async fn enter(self: &Arc<Self>, bytes: usize, is_frontier: impl Fn() -> bool) -> Pass {
        let mut waited = 0;
        loop {
            let (room, plenty) = (self.room.notified(), self.plenty.notified());
            let at_frontier = is_frontier();
            if let Some(pass) = self.try_enter(bytes, if at_frontier { BYTES } else { BYTES - RESERVED }) {
                self.entered.fetch_add(1, Ordering::Relaxed);
                self.waited.fetch_add(waited, Ordering::Relaxed);
                return pass;
            }
            waited = 1;
            if at_frontier { room.await } else { plenty.await }
        }
    }

    /// Whether most of those that entered since the last call had to wait: the disk or the hash is
    /// the limit, and more connections would only wait too.
    pub(super) fn is_crowded(&self) -> bool {
        let entered = self.entered.swap(0, Ordering::Relaxed);
        2 * self.waited.swap(0, Ordering::Relaxed) > entered
    }

    /// The frontier may have moved to another connection.
    pub(super) fn frontier_moved(&self) {
        self.plenty.notify_waiters();
    }

    /// Enters if less than `limit` is in memory then.
    pub(super) fn try_enter(self: &Arc<Self>, bytes: usize, limit: usize) -> Option<Pass> {
        let mut used = self.lock();
        // What is larger than the limit passes alone.
        if *used > 0 && *used + bytes > limit {
            return None;
        }
        *used += bytes;
        Some(Pass { gate: Arc::clone(self), bytes })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, usize> {
        self.used.lock().expect("nothing panics while it holds the count")
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let is_plenty = {
            let mut used = self.gate.lock();
            *used -= self.bytes;
            *used < BYTES - RESERVED
        };
        self.gate.room.notify_waiters();
        if is_plenty {
            self.gate.plenty.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frontier_passes_where_others_wait() {
        let gate = Arc::new(Gate::default());
        let frontier = gate.try_enter(BYTES - RESERVED, BYTES).expect("room");
        assert!(gate.try_enter(1, BYTES - RESERVED).is_none());
        let more = gate.try_enter(RESERVED, BYTES).expect("room for the frontier");
        assert!(gate.try_enter(1, BYTES).is_none());
        drop((frontier, more));
        assert!(gate.try_enter(2 * BYTES, BYTES).is_some());
    }
}
