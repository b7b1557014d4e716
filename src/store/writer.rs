//! The writer of one file: bytes from all connections, to their places on the disk.
//!
//! A block from the frontier, the lowest byte the file lacks, goes to the hash and to the disk at
//! the same time, past the page cache where the file system is known to do that well: a buffered
//! write costs a copy and a page for every byte. Bytes ahead of the frontier are written as they
//! come, through the page cache, where the hash finds them later.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::admission::Permit;
use super::block::{Block, length};
use super::partial::Partial;
use super::tuning::LANES;
use crate::content::RangeSet;
use crate::error::Error;

/// Bytes for the writer.
pub(crate) enum Payload {
    /// From the frontier.
    Block(Block),
    /// From anywhere.
    Chunk {
        /// Where they begin in the file.
        offset: u64,
        bytes: Bytes,
        _permit: Permit,
    },
    /// The writer is to look whether it shall go on.
    Nothing,
}

/// Writes all that comes, to the end of the channel, until it is `abandoned`, or until a write fails. Blocks
/// the thread.
pub(super) fn write(
    partial: &Partial,
    payloads: mpsc::Receiver<Payload>,
    abandoned: &AtomicBool,
) -> Result<(), Error> {
    let count = if partial.takes_direct_io() { LANES } else { 0 };
    std::thread::scope(|scope| {
        let (mut lanes, mut threads) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let (lane, blocks) = sync_channel(1);
            let thread = std::thread::Builder::new().name("write blocks".into());
            let thread = thread.spawn_scoped(scope, move || write_blocks(partial, &blocks));
            threads.push(thread.map_err(Error::io("start a thread for", partial.path()))?);
            lanes.push(lane);
        }
        let fed = Writer::new(partial, lanes).feed(payloads, abandoned);
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
    /// Threads that write blocks; without them this one does.
    lanes: Vec<SyncSender<Arc<Block>>>,
    turn: usize,
}

impl<'a> Writer<'a> {
    fn new(partial: &'a Partial, lanes: Vec<SyncSender<Arc<Block>>>) -> Self {
        Self { partial, accepted: partial.ranges(), lanes, turn: 0 }
    }

    fn feed(mut self, mut payloads: mpsc::Receiver<Payload>, abandoned: &AtomicBool) -> Result<(), Error> {
        while let Some(payload) = payloads.blocking_recv() {
            if abandoned.load(Ordering::Relaxed) {
                break;
            }
            match payload {
                Payload::Block(block) if self.is_next(&block) => self.dispatch(block)?,
                Payload::Block(block) => self.write(block.offset(), block.bytes())?,
                Payload::Chunk { offset, bytes, .. } => self.write(offset, &bytes)?,
                Payload::Nothing => {}
            }
        }
        Ok(())
    }

    /// Whether a block begins at the lowest missing byte, and nothing of it is there.
    fn is_next(&self, block: &Block) -> bool {
        let range = block.offset()..block.end();
        self.accepted.prefix() == range.start && self.accepted.gaps(range.clone()).iter().eq([&range])
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        let index = |position: u64| length(position - offset);
        for range in self.accepted.gaps(offset..offset + bytes.len() as u64).iter() {
            self.accepted.insert(range.clone());
            self.partial.write(range.start, &bytes[index(range.start)..index(range.end)])?;
        }
        Ok(())
    }

    fn dispatch(&mut self, block: Block) -> Result<(), Error> {
        self.accepted.insert(block.offset()..block.end());
        let block = Arc::new(block);
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

    use super::super::admission::Admission;
    use super::super::block::Pool;
    use super::super::hashing;
    use super::*;
    use crate::content::{Digest, Sha256};
    use crate::plan::WantedFile;
    use crate::request::{RepoId, RepoKind};

    fn partial(dir: &std::path::Path, content: &[u8]) -> Partial {
        let wanted = WantedFile::new(
            "m.bin".parse().expect("a path"),
            crate::content::Content::new(
                content.len() as u64,
                Digest::Sha256(Sha256::from_bytes(sha2::Sha256::digest(content).into())),
            ),
        );
        let repo = RepoId::new(RepoKind::Model, "o/n").expect("a repository");
        Partial::open(&crate::store::journal::Partials::alone(dir), &wanted, &repo).expect("opened")
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
            let admission = Arc::new(Admission::default());
            let pool = in_blocks.then(|| Pool::new(Arc::clone(&admission)));
            let (payloads, received) = mpsc::channel(64);
            let hasher = std::thread::spawn({
                let partial = Arc::clone(&partial);
                move || hashing::follow(partial, &AtomicU64::new(0))
            });
            let writer = std::thread::spawn({
                let partial = Arc::clone(&partial);
                move || Writer::new(&partial, Vec::new()).feed(received, &AtomicBool::new(false))
            });
            let send = |payload| payloads.blocking_send(payload).map_err(drop).expect("a writer");
            let mut sent = RangeSet::default();
            for range in ranges {
                let mut offset = range.start as u64;
                let mut bytes = &content[range];
                while !bytes.is_empty() {
                    let at_frontier = pool.as_ref().filter(|_| offset == sent.prefix());
                    let taken = if let Some(mut block) = at_frontier.and_then(|pool| pool.try_block(offset)) {
                        let taken = block.append(bytes);
                        send(Payload::Block(block));
                        taken
                    } else {
                        let permit = std::iter::repeat_with(|| admission.try_enter(bytes.len())).flatten().next();
                        let bytes = bytes::Bytes::copy_from_slice(bytes);
                        let taken = bytes.len();
                        send(Payload::Chunk { offset, bytes, _permit: permit.expect("in the end") });
                        taken
                    };
                    sent.insert(offset..offset + taken as u64);
                    (offset, bytes) = (offset + taken as u64, &bytes[taken..]);
                }
            }
            drop(payloads);
            writer.join().expect("no panic").expect("written");
            prop_assert!(hasher.join().expect("no panic").is_ok());
            prop_assert_eq!(std::fs::read(partial.path()).expect("read"), content);
        }
    }
}
