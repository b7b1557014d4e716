//! How a run is shown: bars, lines, JSON, results, metrics, termination message.

pub mod bars;
#[cfg(test)]
mod fixture;
pub mod inspected;
pub mod json;
pub mod lines;
pub mod message;
pub mod metrics;
mod rate;
pub mod results;
mod screen;
pub mod secrets;
mod sentence;
mod summary;
mod tally;
pub mod termination;
mod track;
mod writer;

use std::sync::Arc;

use crate::report::{Event, Reporter};

pub use summary::{Findings, Summary};
pub use tally::{Tally, Totals};
pub use writer::Writer;

/// Shows a run while it goes on, and its end.
pub trait Show: Reporter {
    /// The run ended. Called once, so that nothing comes after it but its error.
    fn finished(&self, summary: &Summary<'_>);
}

/// How a run is shown while it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Bars on a terminal.
    Bars,
    /// Lines for a log.
    Lines,
    /// One JSON object per line.
    Json,
    /// Warnings only.
    Warnings,
    /// Nothing.
    Silent,
}

impl Style {
    /// What shows it so, on stderr.
    pub fn on_stderr(self) -> Arc<dyn Show> {
        match self {
            Self::Bars => Arc::new(bars::Bars::new(Writer::stderr())),
            Self::Lines => Arc::new(lines::Lines::new(Writer::stderr())),
            Self::Json => Arc::new(json::JsonLines::new(Writer::stderr())),
            Self::Warnings => Arc::new(Warnings),
            Self::Silent => Arc::new(Silent),
        }
    }
}

struct Silent;

impl Reporter for Silent {
    fn report(&self, _: &Event<'_>) {}
}

impl Show for Silent {
    fn finished(&self, _: &Summary<'_>) {}
}

struct Warnings;

impl Reporter for Warnings {
    fn report(&self, event: &Event<'_>) {
        if let Event::Warning(text) = event {
            message::to_stderr(&message::warning(text));
        }
    }
}

impl Show for Warnings {
    fn finished(&self, _: &Summary<'_>) {}
}
