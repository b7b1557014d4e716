//! What the program can do: one file per command.

pub mod cluster;
pub mod fetch;
pub mod smoke;
pub mod verify;

pub use fetch::{Context, fetch, plan};
pub use smoke::smoke;
pub use verify::verify;
