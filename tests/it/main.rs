//! Tests through the public interface: the library's and the binary's.

mod access;
mod cache;
mod chaos;
mod chart;
mod cli;
mod cluster;
mod errors;
mod fuzz;
mod help;
mod hostile;
mod idempotent;
mod input;
mod integrity;
mod network;
mod output;
mod plan;
mod readme;
mod requests;
mod resolve;
mod resume;
mod smoke;
mod snapshot;
mod support;
mod transfer;
mod trouble;
mod verify;
