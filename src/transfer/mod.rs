//! Connections at work on contents.
//!
//! One pool of connections serves all files of a run. An idle connection takes a range that nobody has,
//! of the files in their order, or takes over from a connection that is far slower than it would be
//! itself; where nothing is left to be had, it takes a part of what the slowest one still has to bring.
//! What arrives goes to the file's [`crate::store::filling::Filling`], at the frontier in blocks.

mod active;
mod assemble;
mod blame;
mod connection;
mod engine;
mod schedule;
#[cfg(test)]
mod tests;
mod tuner;
mod tuning;

pub use blame::{Origins, Suspects};
pub use engine::{Counts, Demand, Engine, Unfinished};
