//! Results as people read them, on stdout.

use std::fmt::{self, Display, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use super::secrets;
use super::sentence::copied;
use crate::command::list::Held;
use crate::command::lock::LockOutcome;
use crate::command::prune::Pruned;
use crate::command::smoke::{Check, SmokeOutcome};
use crate::command::verify::Checked;
use crate::plan::{Action, Plan};
use crate::report::Outcome;
use crate::store::holdings::Condition;
use crate::words::{Bytes, Span, count, free_space, one_line};

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

/// What a target holds, a line each.
pub fn listed(held: &Held, now: SystemTime) -> String {
    let mut text = String::new();
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    for file in &held.files {
        let state = match file.state {
            Condition::Verified => "verified",
            Condition::Changed => "CHANGED",
            Condition::Missing => "MISSING",
        };
        let commit = file.commit.map(|commit| format!(" {}", commit.abbreviated())).unwrap_or_default();
        let digest = match (file.sha256, file.git_sha1) {
            (Some(digest), _) => format!("sha256:{digest}"),
            (None, Some(digest)) => format!("git:{digest}"),
            (None, None) => String::new(),
        };
        let (size, age) = (Bytes(file.size).to_string(), age(now, file.verified_at));
        let (target, repo) = (file.target.display(), file.repo.at("@", &file.revision));
        let vouchers = Vec::from(file.vouched_by.clone());
        let vouchers =
            if vouchers.is_empty() { String::new() } else { format!("  by {}", vouchers.join(", ")) };
        let line = format!("{state:8} {size:>9} {age:>7}  {target}  {repo}{commit}  {digest}{vouchers}");
        text.push_str(&(one_line(&line) + "\n"));
    }
    for part in &held.unfinished {
        let (size, age) = (Bytes(part.size).to_string(), age(now, part.modified_at));
        let (have, path, repo) = (Bytes(part.have), &part.path, &part.repo);
        let line = format!("partial  {size:>9} {age:>7}  {path}  {repo}  {have} are there");
        text.push_str(&(one_line(&line) + "\n"));
    }
    text
}

/// How long ago something was, in its largest unit.
fn age(now: u64, then: u64) -> String {
    let seconds = now.saturating_sub(then);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86400),
    }
}

/// What goes, and what stays although no lock file names it.
pub fn pruned(pruned: &Pruned) -> String {
    let mut text = String::new();
    let verb = if pruned.done { "removed" } else { "would remove" };
    for removed in &pruned.removed {
        let (bytes, path) = (Bytes(removed.bytes).to_string(), removed.path.display());
        text.push_str(&(one_line(&format!("{verb} {bytes:>9}  {path}  {}", removed.what)) + "\n"));
    }
    for spared in &pruned.spared {
        text.push_str(&(one_line(&format!("kept  {}: {}", spared.path.display(), spared.why)) + "\n"));
    }
    let (files, bytes) = (count(pruned.removed.len() as u64, "file"), Bytes(pruned.bytes_freed));
    let _ = if pruned.done {
        writeln!(text, "{files} removed, {bytes} freed")
    } else {
        writeln!(text, "{files} would go and free {bytes}; --yes does it")
    };
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
    writeln!(f, "{}{commit} into `{}`", plan.repo.at(" at ", &plan.revision), plan.dir.display())?;
    for item in &plan.items {
        let size = Bytes(item.file.size()).to_string();
        write!(f, "  {:6} {size:>9}  {}", verb(&item.action), item.file.path)?;
        if let Action::Resume { have } = item.action {
            write!(f, ", {} are there", Bytes(have))?;
        }
        match &item.delta {
            Some(delta) => writeln!(f, ", {}", copied(&item.file.path, item.file.size(), delta))?,
            None => writeln!(f)?,
        }
    }
    writeln!(
        f,
        "{} in all, {} to fetch{}; {} of disk space needed, {}",
        Bytes(plan.bytes_total),
        Bytes(plan.bytes_to_fetch),
        match plan.bytes_to_copy() {
            0 => String::new(),
            bytes => format!(" and {} to copy from older files", Bytes(bytes)),
        },
        Bytes(plan.bytes_needed),
        free_space(plan.bytes_free)
    )?;
    match plan.limited_for.filter(|time| !time.is_zero()) {
        Some(time) => writeln!(
            f,
            "{}, which the Hub's limit of requests makes last {} at least",
            count(plan.requests(), "request"),
            Span(time)
        ),
        None => Ok(()),
    }
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
    secrets::fit(&format!("ok  {}: {}\n", check.name, one_line(&check.seen))).into_owned()
}

/// The end of smoke tests.
pub fn smoked<'a>(outcomes: impl IntoIterator<Item = &'a SmokeOutcome>) -> String {
    let (mut to_fetch, mut fetched) = (0, 0);
    for outcome in outcomes {
        to_fetch += outcome.plan.bytes_to_fetch;
        fetched += outcome.bytes_fetched;
    }
    format!("a fetch would work: {} to fetch, seen with {} received\n", Bytes(to_fetch), Bytes(fetched))
}
