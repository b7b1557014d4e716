//! Memory for bytes in file order, on their way to the disk and through the hash.
//!
//! It is aligned, so that the disk can take it without a copy through the page cache.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::length;

/// Length of a block, and the boundary at which it ends in the file.
pub(super) const BLOCK: u64 = 1 << 20;
/// Smaller files are written as they come: blocks would cost more memory than they save time.
pub(super) const WORTH_IT_FROM: u64 = 16 << 20;
/// Blocks of one file: one is filled while the others are written and hashed, at a speed of their own.
const BLOCKS: usize = 6;
/// What direct I/O wants of offset, length and memory on every device in use.
pub(super) const ALIGNMENT: u64 = 4096;

/// Consecutive bytes of a file.
#[derive(Debug)]
pub struct Block {
    offset: u64,
    length: usize,
    memory: Vec<u8>,
    home: SyncSender<Vec<u8>>,
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
    pub(super) fn append(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(length(self.room()));
        let start = self.start() + self.length;
        self.memory[start..start + taken].copy_from_slice(&bytes[..taken]);
        self.length += taken;
        taken
    }

    pub(super) fn is_full(&self) -> bool {
        self.room() == 0
    }

    /// Whether direct I/O can write it.
    pub(super) fn is_aligned(&self) -> bool {
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
        // The file may be over, and the pool gone.
        let _ = self.home.try_send(std::mem::take(&mut self.memory));
    }
}

/// The blocks of one file: a bound on the memory it takes.
#[derive(Debug)]
pub(super) struct Pool {
    free: Receiver<Vec<u8>>,
    home: SyncSender<Vec<u8>>,
    made: usize,
}

impl Pool {
    pub(super) fn new() -> Self {
        let (home, free) = sync_channel(BLOCKS);
        Self { free, home, made: 0 }
    }

    /// An empty block that begins at `offset`. Waits until one of the others was written and hashed.
    pub(super) fn block(&mut self, offset: u64) -> Block {
        let memory = match self.free.try_recv() {
            Ok(memory) => memory,
            Err(_) if self.made < BLOCKS => {
                self.made += 1;
                vec![0; length(BLOCK + ALIGNMENT)]
            }
            Err(_) => self.free.recv().expect("`home` keeps the channel open"),
        };
        Block { offset, length: 0, memory, home: self.home.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_ends_at_a_boundary_of_the_file() {
        let mut pool = Pool::new();
        let mut block = pool.block(BLOCK - 5);
        assert_eq!(block.append(b"abc"), 3);
        assert_eq!(block.append(b"defg"), 2);
        assert!(block.is_full());
        assert!(!block.is_aligned());
        assert_eq!((block.bytes(), block.offset(), block.end()), (&b"abcde"[..], BLOCK - 5, BLOCK));
    }

    #[test]
    fn memory_comes_back_aligned_and_is_bounded() {
        let mut pool = Pool::new();
        for round in 0..3 * BLOCKS as u64 {
            let mut block = pool.block(round * BLOCK);
            block.append(&[7; 8192]);
            assert!(block.is_aligned());
            assert_eq!(block.bytes().as_ptr().align_offset(length(ALIGNMENT)), 0);
        }
        assert_eq!(pool.made, 1);
    }
}
