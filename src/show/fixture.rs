//! Values for the reporters' tests.

use std::collections::HashMap;

use crate::content::Content;
use crate::plan::{Action, Item, Plan, Targets, WantedFile};
use crate::report::{Done, FileOutcome, Outcome};
use crate::request::{RepoId, RepoKind, RepoPath};

pub(super) fn path(text: &str) -> RepoPath {
    text.parse().expect("path")
}

pub(super) fn repo() -> RepoId {
    RepoId::new(RepoKind::Model, "o/n").expect("repository")
}

/// Files `0.gguf`, `1.gguf`, … of one gigabyte that were fetched.
pub(super) fn outcome(files: usize) -> Outcome {
    let file = |number: usize| FileOutcome {
        path: path(&format!("{number}.gguf")),
        target: format!("/models/{number}.gguf").into(),
        size: 1_000_000_000,
        digest: "00".repeat(32),
        done: Done::Fetched,
        bytes_fetched: 1_000_000_000,
        bytes_copied: 0,
        seconds: 10.0,
    };
    Outcome {
        repo: repo(),
        revision: "main".parse().expect("revision"),
        commit: Some("ab".repeat(20).parse().expect("commit")),
        files: (0..files).map(file).collect(),
        stale: false,
        seconds: 10.0,
    }
}

/// Files `0.gguf`, `1.gguf`, … of one gigabyte that are all to be fetched.
pub(super) fn plan(files: u64) -> Plan {
    const SIZE: u64 = 1_000_000_000;
    let item = |number: u64| {
        let path = path(&format!("{number}.gguf"));
        let digest = "00".repeat(32).parse().expect("digest");
        Item {
            file: WantedFile::new(path, Content::of_sha256(SIZE, digest)),
            action: Action::Fetch,
            delta: None,
        }
    };
    Plan {
        repo: repo(),
        revision: "main".parse().expect("revision"),
        commit: Some("ab".repeat(20).parse().expect("commit")),
        dir: "/models".into(),
        targets: Targets::ByName("/models".into()),
        items: (0..files).map(item).collect(),
        originals: HashMap::new(),
        bytes_total: files * SIZE,
        bytes_to_fetch: files * SIZE,
        bytes_needed: files * SIZE,
        limited_for: None,
        bytes_free: Some(500 * SIZE),
        doubted: 0,
    }
}
