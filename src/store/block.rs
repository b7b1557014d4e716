//! Memory for bytes in file order, on their way to the disk and through the hash.
//!
//! It is aligned, so that the disk can take it without a copy through the page cache.

use std::sync::{Arc, Mutex};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::admission::Admission;
use super::tuning::{BLOCKS, PLENTY};

pub(crate) use super::tuning::{ALIGNMENT, BLOCK, WORTH_IT_FROM};

/// Consecutive bytes of a file.
#[derive(Debug)]
pub struct Block {
    offset: u64,
    length: usize,
    memory: Vec<u8>,
    permit: Option<OwnedSemaphorePermit>,
    pool: Arc<Pool>,
}

impl Block {
    /// Where it begins in the file.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// One past its last byte in the file.
    pub fn end(&self) -> u64 {
        self.offset + self.length as u64
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.memory[self.start()..][..self.length]
    }

    /// Takes as much from the front of `bytes` as it has room for; says how much.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(length(self.room()));
        let start = self.start() + self.length;
        self.memory[start..start + taken].copy_from_slice(&bytes[..taken]);
        self.length += taken;
        taken
    }

    /// Takes up to `most` bytes as `read` gives them; says how many.
    pub(crate) fn append_read(
        &mut self,
        most: u64,
        read: impl FnOnce(&mut [u8]) -> std::io::Result<usize>,
    ) -> std::io::Result<usize> {
        let (start, room) = (self.start() + self.length, length(self.room().min(most)));
        let taken = read(&mut self.memory[start..start + room])?.min(room);
        self.length += taken;
        Ok(taken)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.room() == 0
    }

    /// Whether direct I/O can write it.
    pub(crate) fn is_aligned(&self) -> bool {
        self.offset.is_multiple_of(ALIGNMENT) && self.end().is_multiple_of(ALIGNMENT)
    }

    fn room(&self) -> u64 {
        BLOCK - self.offset % BLOCK - self.length as u64
    }

    fn start(&self) -> usize {
        self.memory.as_ptr().align_offset(length(ALIGNMENT))
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.pool.free().push(std::mem::take(&mut self.memory));
        self.permit = None;
        if self.pool.is_plentiful() {
            self.pool.admission.ring();
        }
    }
}

/// The blocks of one file: a bound on the memory it takes. Shared with its blocks, which give their
/// memory back to it.
#[derive(Debug)]
pub(crate) struct Pool {
    permits: Arc<Semaphore>,
    free: Mutex<Vec<Vec<u8>>>,
    admission: Arc<Admission>,
}

impl Pool {
    /// Those who wait for admission look again when blocks become plentiful.
    pub(crate) fn new(admission: Arc<Admission>) -> Arc<Self> {
        Arc::new(Self { permits: Arc::new(Semaphore::new(BLOCKS)), free: Mutex::default(), admission })
    }

    /// Whether the disk and the hash keep up with what is at the frontier.
    pub(crate) fn is_plentiful(&self) -> bool {
        self.permits.available_permits() >= PLENTY
    }

    /// An empty block that begins at `offset`, if one is free.
    pub(crate) fn try_block(self: &Arc<Self>, offset: u64) -> Option<Block> {
        Some(self.fill(offset, Arc::clone(&self.permits).try_acquire_owned().ok()?))
    }

    /// An empty block that begins at `offset`. Waits until one of the others was written and hashed.
    pub(crate) async fn block(self: &Arc<Self>, offset: u64) -> Block {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        self.fill(offset, permit.expect("nobody closes the semaphore"))
    }

    fn fill(self: &Arc<Self>, offset: u64, permit: OwnedSemaphorePermit) -> Block {
        let memory = self.free().pop().unwrap_or_else(|| vec![0; length(BLOCK + ALIGNMENT)]);
        Block { offset, length: 0, memory, permit: Some(permit), pool: Arc::clone(self) }
    }

    fn free(&self) -> std::sync::MutexGuard<'_, Vec<Vec<u8>>> {
        self.free.lock().expect("nothing panics while it holds the free memory")
    }
}

/// Bytes of memory, from a number that is known to be small.
pub(crate) fn length(bytes: u64) -> usize {
    usize::try_from(bytes).expect("no more than a buffer holds")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_ends_at_a_boundary_of_the_file() {
        let pool = Pool::new(Arc::default());
        let mut block = pool.try_block(BLOCK - 5).expect("a block");
        assert_eq!(block.append(b"abc"), 3);
        assert_eq!(block.append(b"defg"), 2);
        assert!(block.is_full());
        assert!(!block.is_aligned());
        assert_eq!((block.bytes(), block.offset(), block.end()), (&b"abcde"[..], BLOCK - 5, BLOCK));
    }

    #[test]
    fn memory_comes_back_aligned_and_is_bounded() {
        let pool = Pool::new(Arc::default());
        for round in 0..3 * BLOCKS as u64 {
            let mut block = pool.try_block(round * BLOCK).expect("a block");
            block.append(&[7; 8192]);
            assert!(block.is_aligned());
            assert_eq!(block.bytes().as_ptr().align_offset(length(ALIGNMENT)), 0);
        }
        assert_eq!(pool.free().len(), 1);
        let all: Vec<_> = (0..BLOCKS).map(|_| pool.try_block(0).expect("a block")).collect();
        assert!(pool.try_block(0).is_none());
        assert!(!pool.is_plentiful());
        drop(all);
        assert!(pool.is_plentiful());
    }
}
