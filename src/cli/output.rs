//! How a run is shown, decided from flags, environment and what stderr is.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use super::Environment;
use super::args::{ColorMode, OutputArgs, ProgressMode};
use super::given::{Given, Side};
use crate::error::Error;
use crate::show::Style;

/// Where Kubernetes looks for a container's last words.
const TERMINATION_LOG: &str = "/dev/termination-log";

/// How a run is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// How progress is shown on stderr.
    pub progress: Style,
    /// The result on stdout is JSON.
    pub json: bool,
    /// Diagnostics on stderr.
    pub verbose: bool,
    /// Colour on stderr.
    pub color: bool,
    /// Where the summary goes.
    pub termination: TerminationMessage,
    /// Where the metrics go.
    pub metrics_file: Option<PathBuf>,
}

/// Where the summary of a run goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TerminationMessage {
    /// A file the user named: it is created.
    Named(PathBuf),
    /// Kubernetes' own file, if it is there.
    IfPresent(PathBuf),
}

impl Default for TerminationMessage {
    fn default() -> Self {
        Self::IfPresent(TERMINATION_LOG.into())
    }
}

impl TerminationMessage {
    /// For a command line that cannot be parsed: what it says all the same.
    pub fn of_raw(arguments: &[OsString], environment: &Environment) -> Self {
        const FLAG: &str = "--termination-message";
        let mut arguments = arguments.iter();
        let mut named = None;
        while let Some(argument) = arguments.next() {
            match argument.to_str() {
                Some(FLAG) => named = arguments.next().map(PathBuf::from),
                Some(text) => {
                    let value = text.strip_prefix(FLAG).and_then(|rest| rest.strip_prefix('='));
                    named = value.map(PathBuf::from).or(named);
                }
                None => {}
            }
        }
        named
            .or_else(|| environment.path("MODELFETCH_TERMINATION_MESSAGE"))
            .map_or_else(Self::default, Self::Named)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        match self {
            Self::Named(path) | Self::IfPresent(path) => path,
        }
    }
}

/// What is known about stderr.
#[derive(Debug, Clone, Copy)]
pub struct Stderr {
    /// Somebody may be looking at it.
    pub is_terminal: bool,
}

impl Stderr {
    /// Of this process.
    pub fn of_process() -> Self {
        Self { is_terminal: std::io::stderr().is_terminal() }
    }
}

pub(super) fn output(
    args: OutputArgs,
    given: &Given<'_>,
    environment: &Environment,
    stderr: Stderr,
) -> Result<Output, Error> {
    let (quiet, verbose) = given.at_most_one(
        &Side { id: "quiet", label: "--quiet", set: args.quiet },
        &Side { id: "verbose", label: "--verbose", set: args.verbose },
    )?;
    // Diagnostics would tear the bars apart.
    let can_draw = stderr.is_terminal && environment.text("TERM") != Some("dumb") && !verbose;
    let wants_bars = match args.progress {
        ProgressMode::Auto => !environment.is_on("HF_HUB_DISABLE_PROGRESS_BARS"),
        mode => mode == ProgressMode::Bars,
    };
    let progress = match args.progress {
        _ if quiet => Style::Silent,
        ProgressMode::Json => Style::Json,
        ProgressMode::None => Style::Warnings,
        _ if wants_bars && can_draw => Style::Bars,
        _ => Style::Lines,
    };
    Ok(Output {
        progress,
        json: args.json,
        verbose,
        color: match args.color {
            ColorMode::Always => true,
            ColorMode::Never => false,
            ColorMode::Auto => stderr.is_terminal && environment.text("NO_COLOR").is_none(),
        },
        termination: args
            .termination_message
            .map_or_else(TerminationMessage::default, TerminationMessage::Named),
        metrics_file: args.metrics_file,
    })
}
