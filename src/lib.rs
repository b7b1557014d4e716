//! modelfetch gets model files from the Hugging Face Hub onto a disk: complete, verified, atomic.
//!
//! Data flows one way, and each step is one module:
//!
//! 1. [`request`]: what the user asked for, validated
//! 2. [`resolve`]: commit, size and digest of every file, from the Hub
//! 3. [`mod@plan`]: what is on disk already, what is missing, whether there is room
//! 4. [`transfer`]: byte ranges into a partial file
//! 5. [`mod@verify`]: the digest of the bytes on disk
//! 6. [`publish`]: flush, rename, receipt
//! 7. [`report`]: progress, results, exit status
//!
//! The library does all of it without a terminal, a process exit or a global.

#![cfg_attr(test, allow(clippy::cast_possible_truncation, clippy::float_cmp, reason = "small known numbers"))]

pub mod audit;
pub mod cli;
pub mod cluster;
pub mod disk;
pub mod error;
mod execute;
pub mod gguf;
pub mod http;
pub mod layout;
pub mod listing;
pub mod lock;
pub mod plan;
pub mod publish;
pub mod recall;
pub mod receipt;
pub mod report;
pub mod request;
pub mod resolve;
pub mod retry;
pub mod smoke;
pub mod stop;
mod suspects;
mod sweep;
pub mod transfer;
pub mod verify;
pub mod words;

mod run;

pub use audit::verify;
pub use run::{Context, fetch, plan};
pub use smoke::smoke;
