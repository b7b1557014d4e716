//! Connections at work on contents.
//!
//! One pool of connections serves all files of a run. An idle connection goes through the files in the order
//! in which they began: it takes over from a connection that is far slower than it would be itself, or else
//! takes a range that nobody has; where no file has one left, a part of what the slowest one still has to bring.
//! What arrives goes to the file's [`crate::store::filling::Filling`], at the frontier in blocks.

mod active;
mod assemble;
mod blame;
mod connection;
mod copy;
mod engine;
mod schedule;
#[cfg(test)]
mod tests;
mod tuner;
mod tuning;

pub use blame::{Origins, Suspects};
pub use engine::{Counts, Demand, Engine, Scope, Unfinished};
