//! Everything on the disk.

pub mod admission;
pub mod block;
pub mod filling;
pub mod hashing;
pub mod journal;
pub mod layout;
pub mod leftovers;
pub mod lock;
pub mod partial;
pub mod planner;
pub mod publish;
pub mod receipt;
mod tuning;
pub mod writer;
