//! Step 4, transfer: byte ranges into a partial file.
//!
//! One pool of connections serves all files of a run. Each connection takes the next range of the
//! first file that has one, fetches it and passes the bytes to that file's writer thread; a second
//! thread hashes behind it, a third flushes. Knows files and sources, not repositories or names.

mod active;
pub mod answer;
mod engine;
mod journal;
mod pace;
mod partial;
pub mod ranges;
mod segments;
mod worker;

pub use engine::{Counts, Demand, Engine, Unfinished};
pub use journal::{Journal, Record, Survey};
pub use partial::{Partial, discard};
