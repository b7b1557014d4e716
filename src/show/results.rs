//! Results as people read them, on stdout.

use std::fmt::{self, Display, Write};

use super::secrets;
use crate::command::lock::LockOutcome;
use crate::command::smoke::{Check, SmokeOutcome};
use crate::command::verify::Checked;
use crate::plan::{Action, Plan};
use crate::report::Outcome;
use crate::words::{Bytes, count, free_space, one_line};

/// The published paths, one per line, for scripts.
pub fn fetched(outcome: &Outcome) -> String {
    let mut text = String::new();
    for file in &outcome.files {
        let _ = writeln!(text, "{}", file.target.display());
    }
    text
}

/// Each model of a lock file, and what has changed.
pub fn locked(outcome: &LockOutcome) -> String {
    let mut text = String::new();
    for model in &outcome.models {
        match model.describe() {
            lines if lines.is_empty() => {
                let commit = model.to.map(|commit| commit.to_string()).unwrap_or_default();
                let files = count(model.files as u64, "file");
                let _ = writeln!(text, "{}: {commit}, {files}, {}", model.name, Bytes(model.bytes));
            }
            lines => lines.iter().for_each(|line| {
                let _ = writeln!(text, "{line}");
            }),
        }
    }
    text
}

/// Every file with what would be done about it, and whether there is room.
pub fn planned(plan: &Plan) -> impl Display + '_ {
    struct Planned<'a>(&'a Plan);
    impl Display for Planned<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write_plan(f, self.0)
        }
    }
    Planned(plan)
}

fn write_plan(f: &mut fmt::Formatter<'_>, plan: &Plan) -> fmt::Result {
    let commit = plan.commit.map(|commit| format!(" (commit {commit})")).unwrap_or_default();
    writeln!(f, "{} at {}{commit} into `{}`", plan.repo, plan.revision, plan.dir.display())?;
    for item in &plan.items {
        let size = Bytes(item.file.size()).to_string();
        match item.action {
            Action::Resume { have } => {
                writeln!(f, "  resume {size:>9}  {}, {} are there", item.file.path, Bytes(have))?;
            }
            ref action => writeln!(f, "  {:6} {size:>9}  {}", verb(action), item.file.path)?,
        }
    }
    writeln!(
        f,
        "{} in all, {} to fetch; {} of disk space needed, {}",
        Bytes(plan.bytes_total),
        Bytes(plan.bytes_to_fetch),
        Bytes(plan.bytes_needed),
        free_space(plan.bytes_free)
    )
}

fn verb(action: &Action) -> &'static str {
    match action {
        Action::Skip => "skip",
        Action::Adopt => "check",
        Action::Copy => "copy",
        Action::Resume { .. } => "resume",
        Action::Fetch => "fetch",
    }
}

/// One file that was looked at.
pub fn verified(file: &Checked) -> String {
    let target = file.target.display();
    match file.fault.as_deref().map(one_line) {
        Some(fault) if file.repaired => format!("repaired  {target}: {fault}\n"),
        Some(fault) => format!("WRONG     {target}: {fault}\n"),
        None => format!("ok        {target} ({})\n", Bytes(file.size)),
    }
}

/// One check that passed.
pub fn checked(check: &Check) -> String {
    format!("ok  {}: {}\n", check.name, secrets::fit(&one_line(&check.seen)))
}

/// The end of a smoke test.
pub fn smoked(outcome: &SmokeOutcome) -> String {
    format!(
        "a fetch would work: {} to fetch, seen with {} received\n",
        Bytes(outcome.plan.bytes_to_fetch),
        Bytes(outcome.bytes_fetched)
    )
}
