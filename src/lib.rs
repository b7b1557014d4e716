//! modelfetch gets model files from the Hugging Face Hub onto a disk: complete, verified, atomic.
//!
//! A reference becomes names and contents ([`catalog`]), somebody vouches for them ([`trust`]), a plan
//! compares them with the disk ([`store`]), ranges come from a source into a partial file ([`transfer`]), are
//! hashed, proven, published, and told.
//!
//! Each room imports only rooms that stand below it here; a test holds them to that order.

#![cfg_attr(test, allow(clippy::cast_possible_truncation, clippy::float_cmp, reason = "small known numbers"))]

// Flags, variables, pages: what becomes of a command line.
pub mod cli;

// How a run is shown: bars, lines, JSON, results, metrics, termination message.
pub mod show;

// What the program can do: fetch and plan, verify, smoke, cluster.
pub mod command;

// Connections at work on contents. No names, no HTTP.
pub mod transfer;

// What a reference stands for: names and contents, and who offers the bytes.
pub mod catalog;

// Who vouches for a content.
pub mod trust;

// Everything on the disk: layout, lock, receipts, plans, partial files, publishing.
pub mod store;

// Bytes of one content by range.
pub mod source;

// HTTP: client, names, roots, failures, waiting.
pub mod net;

// When to try again, after how long, and when to stop.
pub mod retry;

// Handles of folders, atomic replacement, space.
pub mod disk;

// The order to stop.
pub mod stop;

// What happens, told to whoever watches: events, no words.
pub mod report;

// What will be done: data only.
pub mod plan;

// Every way a run can end badly, with its exit number and what to do next.
pub mod error;

// What the user asked for, as types whose parsers refuse bad input.
pub mod request;

// How much memory a server will want for a model: arithmetic on headers.
pub mod memory;

// What a file holds, whatever it is called.
pub mod content;

// Text for people: sizes, times, counts, causes, hosts.
pub mod words;

pub use command::{
    Context, fetch, fetch_models, inspect, list, lock, plan, plan_models, prune, smoke, smoke_models, verify,
};
