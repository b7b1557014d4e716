//! Events in words, the same above bars and in a log.

use std::time::Duration;

use super::rate::per_second;
use crate::plan::{Action, Delta, Plan};
use crate::report::{Done, Event, FileOutcome};
use crate::request::RepoPath;
use crate::words::{Bytes, Day, Span, chain, count, free_space, one_line};

/// What happened, in one line. `None` for what only a reporter with a memory can word.
/// A sentence about a file begins with its path.
pub(super) fn sentence(event: &Event<'_>) -> Option<String> {
    let text = match event {
        Event::Begin { command, what } => {
            format!("modelfetch {}: {command} {what}", env!("CARGO_PKG_VERSION"))
        }
        Event::Waiting { owner, dir } => format!("waiting: `{}` is in use by {owner}", dir.display()),
        Event::Asking { what, host } => format!("asking {host} for {what}"),
        Event::Resolved { repo, revision, commit, files, bytes } => format!(
            "{repo} at {revision} is commit {commit}: {}, {}",
            count(*files as u64, "file"),
            Bytes(*bytes)
        ),
        Event::Signed { signature, signer, files } => {
            format!("{signature}: signed by {signer}, with {} that are wanted", count(*files as u64, "file"))
        }
        Event::Planned(plans) => planned(plans),
        Event::Skipped { path } => format!("{path}: already there and verified"),
        Event::Copying { path, size, delta } => format!("{path}: {}", copied(path, *size, delta)),
        Event::Retrying { what, cause, delay, attempt } => {
            format!("{what}: {}; retry {attempt} in {}", chain(*cause), Span(*delay))
        }
        Event::Recovered { what, attempts } => {
            format!("{what}: recovered after {}", count(u64::from(*attempts), "failure"))
        }
        Event::Renewed { path, host } => {
            format!("{path}: the download link had expired; going on with a new one from {host}")
        }
        Event::Restarted { path, why, dropped, kept: 1.. } => {
            format!("{path}: fetching {} of it again: {why}", Bytes(*dropped))
        }
        Event::Restarted { path, why, dropped, kept: 0 } => {
            format!("{path}: starting again from zero, {} dropped: {why}", Bytes(*dropped))
        }
        Event::Published(outcome) => published(outcome),
        Event::Warning(text) => format!("warning: {text}"),
        Event::Started { .. } | Event::Progress(_) | Event::Secret(_) => return None,
    };
    Some(one_line(&text))
}

fn planned(plans: &[&Plan]) -> String {
    let items = || plans.iter().flat_map(|plan| &plan.items);
    let files = items().count() as u64;
    let waiting = items().filter(|item| item.action != Action::Skip).count();
    let place = match plans {
        [plan] => format!("`{}`", plan.dir.display()),
        _ => count(plans.len() as u64, "model"),
    };
    if waiting == 0 {
        return format!("nothing to do: {} in {place}", count(files, "verified file"));
    }
    let copied = match plans.iter().map(|plan| plan.bytes_to_copy()).sum() {
        0 => String::new(),
        bytes => format!(" and {} to copy from older files", Bytes(bytes)),
    };
    format!(
        "{waiting} of {} to do, {} to fetch{copied}; {} in {place}",
        count(files, "file"),
        Bytes(plans.iter().map(|plan| plan.bytes_to_fetch).sum()),
        free_space(plans.iter().filter_map(|plan| plan.bytes_free).min())
    )
}

/// `12.1 GB: 12.0 GB from the version of 2026-11-02, 3.1 MB to fetch`
pub(super) fn copied(path: &RepoPath, size: u64, delta: &Delta) -> String {
    let from = match delta.from.as_slice() {
        [older] if older.path == *path => format!("the version of {}", Day(older.verified_at)),
        [older] => format!("`{}` of {}", older.path, Day(older.verified_at)),
        several => count(several.len() as u64, "older file"),
    };
    let (size, copied, fetched) = (Bytes(size), Bytes(delta.bytes_to_copy), Bytes(delta.bytes_to_fetch()));
    format!("{size}: {copied} from {from}, {fetched} to fetch")
}

fn published(file: &FileOutcome) -> String {
    let time = Duration::try_from_secs_f64(file.seconds).unwrap_or_default();
    let done = match file.done {
        Done::Skipped | Done::Adopted => format!("was there, and its {} are right", Bytes(file.size)),
        Done::Copied => "the same content as another file, copied".into(),
        Done::Resumed | Done::Fetched if file.bytes_copied > 0 => format!(
            "verified, {} fetched and {} copied in {}",
            Bytes(file.bytes_fetched),
            Bytes(file.bytes_copied),
            Span(time)
        ),
        Done::Resumed | Done::Fetched => format!(
            "verified, {} fetched in {} ({}/s)",
            Bytes(file.bytes_fetched),
            Span(time),
            Bytes(per_second(file.bytes_fetched, time))
        ),
    };
    format!("{}: {done} -> {}", file.path, file.target.display())
}
