//! Bytes of one content by range.

pub mod answer;
mod http;

pub use http::{Location, Source};
