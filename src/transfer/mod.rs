//! Connections at work on contents.
//!
//! One pool of connections serves all files of a run. Each connection takes the next range of the
//! first file that has one, fetches it and passes the bytes to that file's writer.

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
