//! The writer of one file: bytes from all connections, to their places on the disk.
//!
//! Bytes at the frontier, the lowest byte the file lacks, are collected in blocks. A block goes to
//! the hash and to the disk at the same time, past the page cache where the file system is known
//! to do that well: a buffered write costs a copy and a page for every byte. Bytes ahead of the
//! frontier are written as they come, through the page cache, where the hash finds them later.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use tokio::sync::mpsc;

use super::active::Chunk;
use super::block::{Block, Pool, WORTH_IT_FROM};
use super::partial::Partial;
use super::ranges::RangeSet;
use crate::error::Error;

/// Blocks written at the same time: the disk has the next one when it is done with one.
const LANES: usize = 2;

/// Writes all that comes, to the end of the channel. Blocks the thread.
pub(super) fn write(partial: &Partial, chunks: mpsc::Receiver<Chunk>) -> Result<(), Error> {
    let in_blocks = partial.remote().size >= WORTH_IT_FROM;
    let lanes = if partial.takes_direct_io() { LANES } else { 0 };
    std::thread::scope(|scope| {
        let (lanes, threads): (Vec<_>, Vec<_>) = (0..lanes)
            .map(|_| {
                let (lane, blocks) = sync_channel(1);
                (lane, scope.spawn(move || write_blocks(partial, &blocks)))
            })
            .unzip();
        let fed = Writer::new(partial, in_blocks, lanes).feed(chunks);
        for thread in threads {
            thread.join().expect("a panic ends the process")?;
        }
        fed
    })
}

fn write_blocks(partial: &Partial, blocks: &Receiver<Arc<Block>>) -> Result<(), Error> {
    blocks.iter().try_for_each(|block| partial.write_block(&block))
}

struct Writer<'a> {
    partial: &'a Partial,
    /// Bytes that are on the disk or on their way there. They are never accepted again, whatever
    /// a server sends twice: they may have been hashed.
    accepted: RangeSet,
    in_blocks: bool,
    pool: Pool,
    /// Bytes at the frontier, if there are any that no block took yet.
    block: Option<Block>,
    /// Threads that write blocks; without them this one does.
    lanes: Vec<SyncSender<Arc<Block>>>,
    turn: usize,
}

impl<'a> Writer<'a> {
    fn new(partial: &'a Partial, in_blocks: bool, lanes: Vec<SyncSender<Arc<Block>>>) -> Self {
        let accepted = partial.ranges();
        Self { partial, accepted, in_blocks, pool: Pool::new(), block: None, lanes, turn: 0 }
    }

    fn feed(mut self, mut chunks: mpsc::Receiver<Chunk>) -> Result<(), Error> {
        while let Some(chunk) = chunks.blocking_recv() {
            self.accept(chunk.offset, &chunk.bytes)?;
        }
        self.dispatch()
    }

    fn accept(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        let index = |position: u64| super::length(position - offset);
        for range in self.accepted.gaps(offset..offset + bytes.len() as u64).iter() {
            let fresh = &bytes[index(range.start)..index(range.end)];
            let is_at_frontier = range.start == self.accepted.prefix();
            self.accepted.insert(range.clone());
            if self.in_blocks && is_at_frontier {
                self.collect(range.start, fresh)?;
            } else {
                self.partial.write(range.start, fresh)?;
            }
            // What follows was written ahead of the frontier: nothing will fill up the block.
            if self.block.as_ref().is_some_and(|block| block.end() < self.accepted.prefix()) {
                self.dispatch()?;
            }
        }
        Ok(())
    }

    fn collect(&mut self, mut offset: u64, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            let block = self.block.get_or_insert_with(|| self.pool.block(offset));
            let taken = block.append(bytes);
            (offset, bytes) = (offset + taken as u64, &bytes[taken..]);
            if block.is_full() {
                self.dispatch()?;
            }
        }
        Ok(())
    }

    fn dispatch(&mut self) -> Result<(), Error> {
        let Some(block) = self.block.take().map(Arc::new) else { return Ok(()) };
        self.partial.hand_to_hash(&block);
        if self.lanes.is_empty() {
            return self.partial.write_block(&block);
        }
        self.turn = (self.turn + 1) % self.lanes.len();
        let sent = self.lanes[self.turn].send(block);
        sent.map_err(|_| Error::Internal("a thread that writes blocks ended early".into()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use proptest::prelude::*;
    use sha2::Digest as _;

    use super::super::gate::Gate;
    use super::*;
    use crate::request::{Digest, RepoId, RepoKind, Sha256};
    use crate::resolve::RemoteFile;
    use crate::verify;

    fn partial(dir: &std::path::Path, content: &[u8]) -> Partial {
        let remote = RemoteFile {
            path: "m.bin".parse().expect("a path"),
            size: content.len() as u64,
            digest: Digest::Sha256(Sha256::from_bytes(sha2::Sha256::digest(content).into())),
            pin: None,
        };
        let repo = RepoId::new(RepoKind::Model, "o/n").expect("a repository");
        Partial::open(dir, &remote, &repo).expect("opened")
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn bytes_in_any_order_and_twice_make_the_file_and_its_hash(
            size in 1..3_000_000usize,
            cuts in proptest::collection::vec(0..3_000_000usize, 0..24),
            repeated in proptest::collection::vec((0..3_000_000usize, 1..400_000usize), 0..4),
            in_blocks: bool,
            seed: u64,
        ) {
            let mut random = fastrand::Rng::with_seed(seed);
            let content: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(size).collect();
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut % size).chain([0, size]).collect();
            cuts.sort_unstable();
            let mut ranges: Vec<_> = cuts.windows(2).map(|pair| pair[0]..pair[1]).collect();
            ranges.extend(repeated.into_iter().map(|(at, length)| at % size..size.min(at % size + length)));
            random.shuffle(&mut ranges);

            let dir = tempfile::tempdir().expect("a directory");
            let partial = Arc::new(partial(dir.path(), &content));
            let gate = Arc::new(Gate::default());
            let (chunks, received) = mpsc::channel(ranges.len());
            for range in ranges {
                let offset = range.start as u64;
                let bytes = bytes::Bytes::copy_from_slice(&content[range]);
                let pass = gate.try_enter(bytes.len(), usize::MAX).expect("room");
                chunks.try_send(Chunk { offset, bytes, _pass: pass }).map_err(drop).expect("room");
            }
            drop(chunks);
            let hasher = std::thread::spawn({
                let partial = Arc::clone(&partial);
                move || verify::follow(partial, &AtomicU64::new(0))
            });
            Writer::new(&partial, in_blocks, Vec::new()).feed(received).expect("written");
            prop_assert!(hasher.join().expect("no panic").is_ok());
            prop_assert_eq!(std::fs::read(partial.path()).expect("read"), content);
        }
    }
}
