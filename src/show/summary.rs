//! The end of any run, as machines read it.

use serde::Serialize;

use super::{Totals, secrets};
use crate::command::fetch::ModelEnd;
use crate::command::inspect::Facts;
use crate::command::list::Held;
use crate::command::lock::LockOutcome;
use crate::command::prune::Pruned;
use crate::command::smoke::SmokeOutcome;
use crate::command::verify::Checked;
use crate::error::Error;
use crate::plan::Plan;
use crate::report::Outcome;
use crate::words::chain;

/// The JSON result, the termination message and the metrics file all show this.
#[derive(Debug, Clone, Serialize)]
pub struct Summary<'a> {
    /// Version of this schema.
    pub schema: u32,
    /// `fetch`, `plan`, `verify`, `smoke`, `cluster …`; empty where the command line could not be read.
    pub command: &'a str,
    /// `ok` or `error`.
    pub outcome: &'static str,
    /// The process's exit status.
    pub exit: u8,
    /// [`crate::error::Exit::reason`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// The error and its causes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// [`Error::hint`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Total size of the files asked for.
    pub bytes_total: u64,
    /// Bytes received.
    pub bytes_fetched: u64,
    /// Bytes copied from older files on the disk.
    pub bytes_copied: u64,
    /// Failures that were tried again.
    pub retries: u64,
    /// Time of the whole run.
    pub seconds: f64,
    /// What the command found or did.
    #[serde(flatten)]
    pub findings: Option<Findings<'a>>,
}

/// What a command found or did.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(untagged)]
pub enum Findings<'a> {
    /// Of a fetch: repository, revision, commit, files.
    Fetched(&'a Outcome),
    /// Of a fetch of several models.
    FetchedModels {
        /// Each of them.
        models: &'a [ModelEnd<Outcome>],
    },
    /// Of a plan of several models.
    PlannedModels {
        /// Each of them.
        plans: &'a [ModelEnd<Plan>],
    },
    /// Of a lock file.
    Locked {
        /// What is in it.
        lock: &'a LockOutcome,
    },
    /// Of a list.
    Listed {
        /// What is there.
        held: &'a Held,
    },
    /// Of headers.
    Inspected {
        /// Each model.
        models: &'a [Facts],
        /// Those that were not looked at, because there are too many.
        left_out: &'a [String],
        /// Bytes that were received for it.
        #[serde(skip)]
        bytes_fetched: u64,
    },
    /// Of a pruning.
    Pruned {
        /// What went, or would go.
        pruned: &'a Pruned,
    },
    /// Of a plan.
    Planned {
        /// The plan.
        plan: &'a Plan,
    },
    /// Of a verification, also of one that failed.
    Verified {
        /// Every file that was looked at.
        files: &'a [Checked],
    },
    /// Of a smoke test.
    Smoked {
        /// The checks that passed, and the plan.
        smoke: &'a SmokeOutcome,
    },
    /// Of smoke tests of several models.
    SmokedModels {
        /// Each of them.
        smokes: &'a [ModelEnd<SmokeOutcome>],
    },
    /// Of a `cluster` command.
    Cluster {
        /// What was found and done, in a sentence.
        did: &'a str,
    },
}

impl Findings<'_> {
    /// The sums, where the findings know them better than the events told.
    fn totals(self, told: Totals) -> Totals {
        match self {
            Self::Fetched(_)
            | Self::FetchedModels { .. }
            | Self::PlannedModels { .. }
            | Self::Planned { .. }
            | Self::Pruned { .. }
            | Self::Cluster { .. } => told,
            Self::Listed { held } => {
                Totals { bytes_total: held.files.iter().map(|file| file.size).sum(), ..told }
            }
            Self::Inspected { bytes_fetched, .. } => Totals { bytes_fetched, ..told },
            Self::Locked { lock } => {
                Totals { bytes_total: lock.models.iter().map(|model| model.bytes).sum(), ..told }
            }
            Self::Verified { files } => {
                Totals { bytes_total: files.iter().map(|file| file.size).sum(), ..told }
            }
            Self::Smoked { smoke } => {
                Totals { bytes_total: smoke.plan.bytes_total, bytes_fetched: smoke.bytes_fetched, ..told }
            }
            Self::SmokedModels { smokes } => {
                let good = || smokes.iter().filter_map(|end| end.outcome.as_ref());
                Totals {
                    bytes_total: good().map(|smoke| smoke.plan.bytes_total).sum(),
                    bytes_fetched: good().map(|smoke| smoke.bytes_fetched).sum(),
                    ..told
                }
            }
        }
    }
}

impl<'a> Summary<'a> {
    /// Of a run that ended after `seconds`, well or with `error`.
    pub fn new(
        command: &'a str,
        error: Option<&Error>,
        findings: Option<Findings<'a>>,
        totals: Totals,
        seconds: f64,
    ) -> Self {
        let totals = findings.map_or(totals, |findings| findings.totals(totals));
        Self {
            schema: 1,
            command,
            outcome: if error.is_none() { "ok" } else { "error" },
            exit: error.map_or(0, Error::exit_number),
            reason: error.map(|error| error.exit().reason),
            error: error.map(|error| secrets::fit(&chain(error)).into_owned()),
            hint: error.and_then(Error::hint).map(|hint| secrets::fit(&hint).into_owned()),
            bytes_total: totals.bytes_total,
            bytes_fetched: totals.bytes_fetched,
            bytes_copied: totals.bytes_copied,
            retries: totals.retries,
            seconds,
            findings,
        }
    }

    /// Of a run that failed before its command was known, or by a panic.
    pub fn of_error(error: &Error) -> Self {
        Self::new("", Some(error), None, Totals::default(), 0.0)
    }

    /// Of a command line that could not be read; `text` says why.
    pub fn of_bad_usage(text: &str) -> Self {
        let nothing = Self::new("", None, None, Totals::default(), 0.0);
        let error = Some(secrets::fit(text.trim()).into_owned());
        Self { exit: 2, outcome: "error", reason: Some("usage"), error, ..nothing }
    }
}
