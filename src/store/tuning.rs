//! The values by which the way from the connections to the disk was tuned, all in one place.

use std::time::Duration;

// Blocks: bytes at the frontier.

/// Length of a block, and the boundary at which it ends in the file.
pub(crate) const BLOCK: u64 = 1 << 20;
/// Smaller files are written as they come: blocks would cost more memory than they save time.
pub(crate) const WORTH_IT_FROM: u64 = 16 << 20;
/// Blocks of one file: one is filled while the others are written and hashed, at a speed of their own.
pub(crate) const BLOCKS: usize = 6;
/// As many free ones mean that the disk and the hash wait for the network: one is being filled.
pub(crate) const PLENTY: usize = BLOCKS - 1;
/// What direct I/O wants of offset, length and memory on every device in use.
pub(crate) const ALIGNMENT: u64 = 4096;
/// Blocks written at the same time: the disk has the next one when it is done with one.
pub(crate) const LANES: usize = 2;

// Bytes ahead of the frontier.

/// With the blocks of each file at work and the HTTP stack's own buffers this bounds the memory of a run,
/// whatever the size of its files.
pub(crate) const AHEAD_MAX: usize = 2 << 20;

// The threads of a filling.

/// Up to this size a file is hashed by the thread that has written it: another would take longer to wake up.
pub(crate) const IN_TURN_MAX: u64 = 1 << 20;
/// Payloads that wait for the writer.
pub(crate) const QUEUE: usize = 64;
/// How long a filling that is dropped waits for its threads. They end by themselves when a disk that
/// hangs lets go of them.
pub(crate) const JOIN_PATIENCE: Duration = Duration::from_millis(100);
