//! Downloads that nobody is at work on, in an error that is about their disk space.

use crate::request::{Destination, RepoId, RepoPath};
use crate::words::{Bytes, count};

/// How many of them are told; the largest come first.
const TOLD_MAX: usize = 5;

/// What earlier runs left in a target.
#[derive(Debug, Clone)]
pub struct Unfinished {
    /// The target.
    pub destination: Destination,
    /// Repository, path and bytes of disk space of each file, the largest first.
    pub downloads: Vec<(RepoId, RepoPath, u64)>,
}

impl Unfinished {
    /// The end of a hint: what takes space, and the command that frees it. Nothing if there is nothing.
    pub(super) fn hint(unfinished: Option<&Self>) -> String {
        let Some(Self { destination, downloads }) = unfinished else { return String::new() };
        let (told, rest) = downloads.split_at(downloads.len().min(TOLD_MAX));
        let sum = |list: &[(_, _, u64)]| Bytes(list.iter().map(|(.., bytes)| bytes).sum());
        let name = |(repo, path, bytes): &(_, _, u64)| format!("`{path}` of {repo} ({})", Bytes(*bytes));
        let mut names: Vec<_> = told.iter().map(name).collect();
        if !rest.is_empty() {
            names.push(format!("{} more ({})", rest.len(), sum(rest)));
        }
        let flag = match destination {
            Destination::Dir(_) => "--dir ",
            Destination::LocalDir(_) => "--local-dir ",
            Destination::Cache(_) => "--cache=",
        };
        format!(
            ". In the way: {} of {} that nobody is at work on: {}. `modelfetch prune --partials {flag}{}` says which unfinished downloads it would remove, and does it with --yes",
            count(downloads.len() as u64, "unfinished download"),
            sum(downloads),
            names.join(", "),
            quoted(&destination.root().to_string_lossy()),
        )
    }
}

/// A path as a shell takes it.
fn quoted(path: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,@%:=".contains(c);
    if path.chars().all(is_plain) { path.into() } else { format!("'{}'", path.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::RepoKind;

    #[test]
    fn the_largest_are_told_with_the_command_that_frees_them() {
        let one = |number: u64| {
            let path = format!("{number}.gguf").parse().expect("a path");
            (RepoId::new(RepoKind::Model, "o/n").expect("a repository"), path, number * 1_000_000)
        };
        let hint = |downloads| {
            let destination = Destination::Cache("/my models".into());
            Unfinished::hint(Some(&Unfinished { destination, downloads }))
        };
        assert_eq!(Unfinished::hint(None), "");
        let told = hint(vec![one(40)]);
        assert!(told.contains("1 unfinished download of 40.0 MB that nobody"), "{told}");
        assert!(
            told.contains("`40.gguf` of o/n (40.0 MB). `modelfetch prune --partials --cache='/my models'`"),
            "{told}"
        );
        let told = hint((1..=7).rev().map(one).collect());
        assert!(told.contains("7 unfinished downloads of 28.0 MB"), "{told}");
        assert!(told.contains("`3.gguf` of o/n (3.00 MB), 2 more (3.00 MB)."), "{told}");
        assert_eq!(quoted("it's"), "'it'\\''s'");
    }
}
