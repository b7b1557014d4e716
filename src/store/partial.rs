//! The partial file: bytes so far, at their final offsets, with the journal beside them.
//!
//! One thread writes through the page cache (parallel writes to one file only queue up at its
//! inode), some write past it, one hashes. Where a file is large one flushes, so that never much is dirty:
//! a pod with a small memory limit would be killed for page cache that cannot be dropped.

use std::collections::VecDeque;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use super::block::{Block, WORTH_IT_FROM};
use super::journal::{Journal, Partials, Record};
use super::opening::{self, Opened};
use crate::content::RangeSet;
use crate::disk;
use crate::error::Error;
use crate::plan::WantedFile;
use crate::request::RepoId;

/// Bytes written between two records in the journal: what a killed process may have to fetch again.
const JOURNAL_EVERY: u64 = 8 << 20;
/// Bytes that the hash may have to read from the disk before it comes to a block that waits for it
/// in memory. A resumed file is hashed from its start: the download must not wait for that.
const BEHIND_MAX: u64 = 32 << 20;
/// Dirty bytes at which a flush begins. A file of at most this size has no thread for it.
const FLUSH_AT: u64 = 16 << 20;
/// Dirty bytes at which writing waits for the flush.
const DIRTY_MAX: u64 = 64 << 20;
/// Written bytes, dirty or not, that the record of what was flushed lacks when a flush begins for its sake.
/// This, and what is written during that flush, is what a power cut costs.
const UNRECORDED_MAX: u64 = 256 << 20;

/// A file that is being filled.
#[derive(Debug)]
pub struct Partial {
    file: File,
    /// The same file past the page cache, where that pays.
    direct: Option<File>,
    /// The file system refused a write past the page cache.
    direct_refused: AtomicBool,
    partials: Partials,
    wanted: WantedFile,
    /// The user has named the digest: its bytes are wanted, whatever they are.
    is_vouched_for: bool,
    state: Mutex<State>,
    /// Held while the record of what was written is replaced, and taken before `state`: an older
    /// record must not come after a newer one.
    recording: Mutex<()>,
    /// Held during a flush: the kernel tells of a failure once, to whoever asks first.
    flush_turn: Mutex<()>,
    /// Rung when there is more to hash.
    hashable: Condvar,
    /// Rung when a flush is due, or done.
    flushing: Condvar,
}

#[derive(Debug)]
struct State {
    journal: Journal,
    to_hash: VecDeque<Piece>,
    /// Up to where the hash has bytes, or will find them in `to_hash`.
    handed: u64,
    /// Bytes that are on the disk or on their way there. They are never accepted again, whoever brings them:
    /// they may have been hashed.
    accepted: RangeSet,
    /// Nobody hashes any more.
    hash_is_over: bool,
    unjournaled: u64,
    /// Bytes in the page cache that may not be on the device.
    dirty: u64,
    /// Which bytes those are, with those of an earlier run that no flush is known to have covered.
    buffered: RangeSet,
    /// Bytes that the record of what was flushed does not have.
    unrecorded: u64,
    /// A flush failed, with this error: what was written since the last good one may be gone.
    lost: Option<i32>,
    /// Nothing more will be written.
    closed: bool,
    /// Why writing or flushing is over.
    failure: Option<Error>,
}

impl State {
    /// Lets the hash have all up to `end` from the disk.
    fn hand_from_disk(&mut self, end: u64) {
        if self.handed >= end {
            return;
        }
        match self.to_hash.back_mut() {
            Some(Piece::Disk(range)) => range.end = end,
            _ => self.to_hash.push_back(Piece::Disk(self.handed..end)),
        }
        self.handed = end;
    }

    /// The next bytes to hash that are there, at most `length` of them from the disk.
    fn next_to_hash(&mut self, length: u64) -> Option<Piece> {
        let written = self.journal.written.prefix();
        if self.to_hash.is_empty() {
            self.hand_from_disk(written);
        }
        match self.to_hash.front_mut()? {
            Piece::Memory(_) => self.to_hash.pop_front(),
            Piece::Disk(range) => {
                let end = range.end.min(written).min(range.start + length);
                let piece = (end > range.start).then(|| Piece::Disk(range.start..end));
                range.start = end.max(range.start);
                if range.is_empty() {
                    self.to_hash.pop_front();
                }
                piece
            }
        }
    }

    /// Bytes that the hash has to read from the disk.
    fn to_read(&self) -> u64 {
        let ranges = self.to_hash.iter().filter_map(|piece| match piece {
            Piece::Disk(range) => Some(range.end - range.start),
            Piece::Memory(_) => None,
        });
        ranges.sum()
    }

    /// Whether bytes that were written just now may be what the hash waits for.
    fn has_news_for_hash(&self, size: u64) -> bool {
        let written = self.journal.written.prefix();
        let is_next_from_disk = match self.to_hash.front() {
            Some(Piece::Disk(_)) => true,
            Some(Piece::Memory(_)) => false,
            None => written > self.handed,
        };
        is_next_from_disk || written == size
    }

    /// Fails if writing or flushing is over, for everybody who asks: whoever went on would wait for a flusher that
    /// is gone.
    fn failed(&self) -> Result<(), Error> {
        self.failure.as_ref().map_or(Ok(()), |failure| Err(failure.repeated()))
    }

    fn flush_is_due(&self) -> bool {
        self.dirty >= FLUSH_AT || self.unrecorded >= UNRECORDED_MAX
    }
}

/// The next bytes to hash, in file order.
#[derive(Debug, Clone)]
pub enum Piece {
    /// In memory, on their way to the disk.
    Memory(Arc<Block>),
    /// To be read from the file.
    Disk(Range<u64>),
}

/// Hashing goes on while this exists.
#[derive(Debug)]
pub struct Hashing<'a>(&'a Partial);

impl Drop for Hashing<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.hash_is_over = true;
        // The writer waits for the memory of blocks.
        state.to_hash.clear();
    }
}

impl Partial {
    /// Opens what an earlier run left, or creates the file. Disk space is taken at once where the
    /// file system can do that, so that a full disk shows before the download, not after it.
    pub fn open(partials: &Partials, wanted: &WantedFile, repo: &RepoId) -> Result<Self, Error> {
        let Opened { file, journal, buffered } = opening::open(partials, wanted, repo)?;
        let name = wanted.content.key().to_string();
        let direct = (wanted.size() >= WORTH_IT_FROM && disk::does_direct_io_well(&file))
            .then(|| partials.dir.file_past_page_cache(&name, &file));
        let state = State {
            accepted: journal.written.clone(),
            journal,
            to_hash: VecDeque::new(),
            handed: 0,
            hash_is_over: false,
            unjournaled: 0,
            dirty: 0,
            buffered,
            unrecorded: 0,
            lost: None,
            closed: false,
            failure: None,
        };
        Ok(Self {
            file,
            direct: direct.flatten(),
            direct_refused: AtomicBool::new(false),
            partials: partials.clone(),
            wanted: wanted.clone(),
            is_vouched_for: false,
            state: Mutex::new(state),
            recording: Mutex::new(()),
            flush_turn: Mutex::new(()),
            hashable: Condvar::new(),
            flushing: Condvar::new(),
        })
    }

    /// What it will be called, and what it will hold.
    pub fn wanted(&self) -> &WantedFile {
        &self.wanted
    }

    /// Where the bytes are, for messages.
    pub fn path(&self) -> PathBuf {
        self.partials.dir.join(&self.name())
    }

    /// Its name among the partial files.
    pub fn name(&self) -> String {
        self.wanted.content.key().to_string()
    }

    /// The open file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Bytes that are there.
    pub fn written(&self) -> u64 {
        self.lock().journal.written.bytes()
    }

    /// What is to be fetched.
    pub fn missing(&self) -> RangeSet {
        self.lock().journal.written.missing(self.wanted.size())
    }

    /// The same file, of which the user has named the digest: its bytes are wanted, whatever they are.
    #[must_use]
    pub fn vouched_for(self) -> Self {
        Self { is_vouched_for: true, ..self }
    }

    /// Whether the user has named the digest.
    pub fn is_vouched_for(&self) -> bool {
        self.is_vouched_for
    }

    /// The ranges that are there.
    pub fn ranges(&self) -> RangeSet {
        self.lock().journal.written.clone()
    }

    /// The ranges that were copied from older files on this disk.
    pub fn copied(&self) -> RangeSet {
        self.lock().journal.copied.clone()
    }

    /// Gives whoever asks those bytes of a range that nobody has written, or is about to. They have to be written.
    pub(super) fn claim(&self, range: Range<u64>) -> RangeSet {
        let mut state = self.lock();
        let gaps = state.accepted.gaps(range.clone());
        state.accepted.insert(range);
        gaps
    }

    /// The same for a range that begins at the lowest byte that nobody has claimed, if all of it is free; says whether it
    /// was.
    pub(super) fn claim_next(&self, range: Range<u64>) -> bool {
        let mut state = self.lock();
        let is_next =
            state.accepted.prefix() == range.start && state.accepted.gaps(range.clone()).iter().eq([&range]);
        if is_next {
            state.accepted.insert(range);
        }
        is_next
    }

    /// Takes back a claim on bytes that cannot be had.
    pub(super) fn unclaim(&self, range: &Range<u64>) {
        self.lock().accepted.remove(range);
    }

    /// Whether nothing more is to be written.
    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Notes that bytes come from another file, before they are written.
    pub(crate) fn note_copy(&self, range: Range<u64>) {
        self.lock().journal.copied.insert(range);
    }

    /// Notes that bytes were copied from another file.
    pub(super) fn note_copied(&self, range: Range<u64>) -> Result<(), Error> {
        self.note_copy(range.clone());
        self.note(range, true)?;
        if self.is_flushed_meanwhile() { self.wait_while_much_is_dirty() } else { Ok(()) }
    }

    /// Takes over all bytes of another file of this disk, which both share from then on; `false` where the file system
    /// cannot do that (`FICLONE`: btrfs and xfs can). Nobody may be filling it yet.
    pub fn share(&self, original: &File) -> Result<bool, Error> {
        let size = self.wanted.size();
        if size == 0 || original.metadata().ok().is_none_or(|metadata| metadata.len() != size) {
            return Ok(false);
        }
        if rustix::fs::ioctl_ficlone(&self.file, original).is_err() {
            return Ok(false);
        }
        self.note(0..size, true)?;
        Ok(true)
    }

    /// Whether blocks go past the page cache.
    pub fn takes_direct_io(&self) -> bool {
        self.direct.is_some()
    }

    /// Writes bytes at their place, through the page cache. Waits for a flush when much is dirty.
    pub(super) fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all_at(bytes, offset).map_err(Error::io("write", self.path()))?;
        self.note(offset..offset + bytes.len() as u64, true)?;
        if self.is_flushed_meanwhile() { self.wait_while_much_is_dirty() } else { Ok(()) }
    }

    fn wait_while_much_is_dirty(&self) -> Result<(), Error> {
        let mut state = self.lock();
        while state.dirty >= DIRTY_MAX && !state.closed && state.failure.is_none() && state.lost.is_none() {
            state = self.flushing.wait(state).expect("nothing panics while it holds the state");
        }
        state.failed()
    }

    /// Writes a block at its place, past the page cache if that is possible.
    pub(crate) fn write_block(&self, block: &Block) -> Result<(), Error> {
        if self.write_directly(block)? {
            return self.note(block.offset()..block.end(), false);
        }
        self.write(block.offset(), block.bytes())
    }

    fn write_directly(&self, block: &Block) -> Result<bool, Error> {
        let Some(direct) = self.direct.as_ref().filter(|_| block.is_aligned()) else { return Ok(false) };
        if self.direct_refused.load(Ordering::Relaxed) {
            return Ok(false);
        }
        match direct.write_all_at(block.bytes(), block.offset()) {
            Ok(()) => Ok(true),
            // A device with larger sectors than any known, or a short write that ended off a boundary.
            Err(cause) if cause.kind() == std::io::ErrorKind::InvalidInput => {
                self.direct_refused.store(true, Ordering::Relaxed);
                Ok(false)
            }
            Err(cause) => Err(Error::io("write", self.path())(cause)),
        }
    }

    /// Notes that bytes were written, through the page cache or past it, and every now and then records it.
    /// Fails if the flusher has failed: without it nothing bounds what a power cut costs, and what is dirty.
    fn note(&self, range: Range<u64>, is_buffered: bool) -> Result<(), Error> {
        let is_due = {
            let mut state = self.lock();
            self.check(&state)?;
            state.failed()?;
            let bytes = range.end - range.start;
            if is_buffered {
                state.dirty += bytes;
                state.buffered.insert(range.clone());
            }
            state.accepted.insert(range.clone());
            state.journal.written.insert(range);
            state.unjournaled += bytes;
            state.unrecorded += bytes;
            if state.has_news_for_hash(self.wanted.size()) {
                self.hashable.notify_one();
            }
            if state.flush_is_due() {
                self.flushing.notify_all();
            }
            let is_due = state.unjournaled >= JOURNAL_EVERY;
            if is_due {
                state.unjournaled = 0;
            }
            is_due
        };
        if is_due { self.record() } else { Ok(()) }
    }

    /// Records what was written. The others go on meanwhile: it takes as long as writing a block.
    fn record(&self) -> Result<(), Error> {
        let _recording = self.recording.lock().expect("nothing panics while it writes a record");
        let journal = self.lock().journal.clone();
        journal.write(&self.partials, &self.wanted.content, Record::Written)
    }

    /// Whether a file of this size has a thread that flushes behind the writer.
    pub fn is_flushed_meanwhile(&self) -> bool {
        self.wanted.size() > FLUSH_AT
    }

    /// Makes what is written durable.
    ///
    /// The kernel tells of a page it could not write once: after that it counts as clean, readers
    /// find it in memory, and the next flush succeeds. So what was written through the page cache is
    /// believed no more, by this run or a later one, unless a flush before had covered it.
    pub fn flush(&self) -> Result<(), Error> {
        let _turn = self.flush_turn.lock().expect("nothing panics while it flushes");
        let covered = std::mem::take(&mut self.lock().buffered);
        let flushed = self.file.sync_data();
        let mut state = self.lock();
        self.check(&state)?;
        flushed.map_err(|cause| {
            let doubtful = std::mem::take(&mut state.buffered);
            for lost in [&covered, &doubtful] {
                state.journal.written.remove_all(lost);
            }
            state.lost = Some(cause.raw_os_error().unwrap_or(0));
            drop(state);
            self.hashable.notify_all();
            self.flushing.notify_all();
            // The first failure is the one to tell. Nothing more can be done about a second one.
            let _ = self.record();
            Error::io("flush", self.path())(cause)
        })
    }

    /// Fails if a flush has failed.
    fn check(&self, state: &State) -> Result<(), Error> {
        let failure = state.lost.map(std::io::Error::from_raw_os_error);
        failure.map_or(Ok(()), |cause| Err(Error::io("flush", self.path())(cause)))
    }

    /// Flushes behind the writer until the file is closed, or a flush or its record fails.
    pub(super) fn flush_behind(&self) {
        let mut state = self.lock();
        loop {
            while !state.flush_is_due() && !state.closed {
                state = self.flushing.wait(state).expect("nothing panics while it holds the state");
            }
            if state.closed {
                return;
            }
            let (covered, dirty, unrecorded) = (state.journal.clone(), state.dirty, state.unrecorded);
            drop(state);
            let recorded = self
                .flush()
                .and_then(|()| covered.write(&self.partials, &self.wanted.content, Record::Flushed));
            state = self.lock();
            state.dirty -= dirty;
            state.unrecorded -= unrecorded;
            if let Err(error) = recorded {
                state.failure = Some(error);
            }
            self.flushing.notify_all();
            if state.failure.is_some() {
                return;
            }
        }
    }

    /// To be held while [`Partial::next_to_hash`] is called.
    pub(super) fn hashing(&self) -> Hashing<'_> {
        Hashing(self)
    }

    /// Waits for the next bytes in file order, at most `length` of them from the disk.
    /// `None` once the file is closed, or a flush has failed.
    pub(super) fn next_to_hash(&self, length: u64) -> Option<Piece> {
        let mut state = self.lock();
        loop {
            if state.closed || state.lost.is_some() {
                return None;
            }
            if let Some(piece) = state.next_to_hash(length) {
                return Some(piece);
            }
            state = self.hashable.wait(state).expect("nothing panics while it holds the state");
        }
    }

    /// Waits until every byte of the file is written; `false` if it is closed, or a flush fails, before.
    pub(super) fn wait_until_written(&self) -> bool {
        let mut state = self.lock();
        while state.journal.written.prefix() < self.wanted.size() {
            if state.closed || state.lost.is_some() {
                return false;
            }
            state = self.hashable.wait(state).expect("nothing panics while it holds the state");
        }
        true
    }

    /// Lets the hash have a block, and what lies below it and nobody handed over yet from the disk;
    /// the block too if the hash is far behind.
    pub(crate) fn hand_to_hash(&self, block: &Arc<Block>) {
        let mut state = self.lock();
        if state.hash_is_over {
            return;
        }
        state.hand_from_disk(block.offset());
        if state.to_read() > BEHIND_MAX {
            state.hand_from_disk(block.end());
        } else {
            state.handed = block.end();
            state.to_hash.push_back(Piece::Memory(Arc::clone(block)));
            self.hashable.notify_one();
        }
    }

    /// Tells the threads behind the writer that nothing more comes, and the writer not to wait for
    /// them. Fails if a flush behind the writer, or its record, had failed.
    pub fn close(&self) -> Result<(), Error> {
        let mut state = self.lock();
        state.closed = true;
        self.hashable.notify_all();
        self.flushing.notify_all();
        state.failed()
    }

    /// Records what is there, for the next run, and gives back the disk space of what is not: it would
    /// only be kept from others.
    pub fn save(&self) -> Result<(), Error> {
        let written = self.lock().journal.written.clone();
        if written.is_empty() {
            return self.discard();
        }
        self.record()?;
        opening::give_back(&self.file, &written).map_err(Error::io("give back disk space of", self.path()))
    }

    /// Takes ranges for missing again. They stay where they are until others come.
    pub fn doubt(&self, ranges: &RangeSet) -> Result<(), Error> {
        {
            let mut state = self.lock();
            state.journal.written.remove_all(ranges);
            state.journal.copied.remove_all(ranges);
        }
        self.save()
    }

    /// Removes the file with its journal.
    pub fn discard(&self) -> Result<(), Error> {
        self.partials.discard(&self.wanted.content)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds the state")
    }
}

#[cfg(test)]
mod tests {
    use super::super::block::{BLOCK, Pool};
    use super::*;
    use crate::request::RepoKind;

    const MIB: u64 = 1 << 20;

    /// A file of which the first `written` bytes are there.
    fn resumed(dir: &std::path::Path, written: u64) -> Partial {
        let wanted = WantedFile::new(
            "m.gguf".parse().expect("a path"),
            crate::content::Content::new(
                256 * MIB,
                crate::content::Digest::from_etag(&"ab".repeat(32)).expect("a digest"),
            ),
        );
        let repo = RepoId::new(RepoKind::Model, "o/n").expect("a repository");
        let partials = Partials::alone(dir);
        let partial = Partial::open(&partials, &wanted, &repo).expect("opened");
        partial.note(0..written, false).expect("noted");
        partial
    }

    /// The same file, as the next run finds it.
    fn reopened(partial: &Partial) -> Partial {
        Partial::open(&partial.partials, &partial.wanted, &partial.lock().journal.repo).expect("opened")
    }

    fn block(pool: &Arc<Pool>, offset: u64) -> Arc<Block> {
        let mut block = pool.try_block(offset).expect("a free block");
        block.append(&vec![7; BLOCK as usize]);
        Arc::new(block)
    }

    /// How far the hash gets.
    fn hashable(partial: &Partial) -> u64 {
        let pieces = std::iter::from_fn(|| partial.lock().next_to_hash(MIB));
        let end = |piece: &Piece| match piece {
            Piece::Disk(range) => range.end,
            Piece::Memory(block) => block.end(),
        };
        pieces.map(|piece| end(&piece)).last().unwrap_or(0)
    }

    #[test]
    fn a_download_does_not_wait_until_what_was_there_is_hashed() {
        let dir = tempfile::tempdir().expect("a directory");
        let partial = resumed(dir.path(), 128 * MIB);
        let pool = Pool::new(Arc::default());
        for n in 0..64 {
            partial.hand_to_hash(&block(&pool, 128 * MIB + n * BLOCK));
        }
        assert!(pool.is_plentiful());
        // What no writer has written yet is not read.
        assert_eq!(hashable(&partial), 128 * MIB);
        partial.note(128 * MIB..192 * MIB, false).expect("noted");
        assert_eq!(hashable(&partial), 192 * MIB);
    }

    #[test]
    fn when_what_was_flushed_cannot_be_recorded_no_more_is_written_past_the_page_cache() {
        let dir = tempfile::tempdir().expect("a directory");
        let partial = resumed(dir.path(), UNRECORDED_MAX);
        std::fs::remove_dir_all(dir.path()).expect("removed");
        partial.flush_behind();
        // Each of the threads that write hears of it.
        for _ in 0..2 {
            assert!(matches!(
                partial.note(0..MIB, false),
                Err(Error::Io { action: "write to directory", .. })
            ));
        }
        assert!(partial.close().is_err());
    }

    #[test]
    fn a_flush_that_fails_takes_back_what_came_in_the_place_of_doubted_bytes() {
        let dir = tempfile::tempdir().expect("a directory");
        let partial = resumed(dir.path(), 128 * MIB);
        let flushed = partial.lock().journal.clone();
        let partials = Partials::alone(dir.path());
        flushed.write(&partials, &partial.wanted.content, Record::Flushed).expect("written");
        let mut doubtful = RangeSet::default();
        doubtful.insert(MIB..2 * MIB);
        partial.doubt(&doubtful).expect("doubted");
        // The next run fetches them again and is killed, the one after it goes on.
        let again = reopened(&partial);
        again.write(MIB, &vec![7; MIB as usize]).expect("written");
        again.record().expect("recorded");
        let last = reopened(&again);
        assert_eq!(last.lock().journal.written.bytes(), 128 * MIB);
        assert_eq!(last.lock().buffered, doubtful);
    }

    #[test]
    fn records_without_a_usable_file_do_not_count_for_the_next_one() {
        let dir = tempfile::tempdir().expect("a directory");
        let partial = resumed(dir.path(), 128 * MIB);
        partial.record().expect("recorded");
        partial.file.set_len(300 * MIB).expect("lengthened");
        assert_eq!(reopened(&partial).written(), 0);
        assert_eq!(reopened(&partial).written(), 0, "of a file that was killed before its first record");
    }

    #[test]
    fn a_hash_that_keeps_up_gets_blocks_from_memory() {
        let dir = tempfile::tempdir().expect("a directory");
        let partial = resumed(dir.path(), MIB);
        let pool = Pool::new(Arc::default());
        partial.hand_to_hash(&block(&pool, MIB));
        partial.hand_to_hash(&block(&pool, 2 * MIB));
        assert_eq!(hashable(&partial), 3 * MIB);
    }
}
