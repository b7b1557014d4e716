//! Step 4, transfer: byte ranges into a partial file.
//!
//! One pool of connections serves all files of a run. Each connection takes the next range of the
//! first file that has one, fetches it and passes the bytes to that file's writer; another thread
//! hashes them in file order, one flushes. Knows files and sources, not repositories or names.

mod active;
pub mod answer;
mod block;
mod engine;
mod gate;
mod intake;
mod journal;
mod pace;
mod partial;
pub mod ranges;
mod segments;
mod worker;
mod writer;

pub use engine::{Counts, Demand, Engine, Unfinished};
pub use journal::{Journal, Record, Survey};
pub use partial::{Partial, Piece, discard};

/// Bytes of memory, from a number that is known to be small.
fn length(bytes: u64) -> usize {
    usize::try_from(bytes).expect("no more than a buffer holds")
}
