//! Runs that start at the same moment and have files in common.

use std::fs;
use std::path::{Path, PathBuf};

use fake_hub::{FakeHub, Repo};

use crate::support::command::Modelfetch;
use crate::support::{FILE, REPO, TestDir, built, hub, model};

/// Starts all of them before it waits for any.
#[track_caller]
fn all_succeed(runs: impl Iterator<Item = Modelfetch>) {
    let started: Vec<_> = runs.map(Modelfetch::start).collect();
    for run in started {
        run.finish().succeeds();
    }
}

/// What a writer of a file may have beside it at any moment: it is that writer's own.
fn another_writer(path: &Path) -> PathBuf {
    let temporary = path.with_added_extension("tmp");
    fs::write(&temporary, "of another writer").expect("a file");
    temporary
}

#[track_caller]
fn is_untouched(temporary: &Path) {
    assert_eq!(fs::read_to_string(temporary).ok().as_deref(), Some("of another writer"));
}

#[test]
fn many_runs_may_write_one_file_of_metrics() {
    let hub = hub(&model(1, 1));
    let dir = TestDir::new();
    let fetch = || dir.fetch(&hub, [REPO, FILE]);
    fetch().run().succeeds();
    let metrics = dir.path().join("modelfetch.prom");
    let other = another_writer(&metrics);
    for _ in 0..6 {
        all_succeed((0..24).map(|_| fetch().args(["--offline", "--quiet", "--metrics-file"]).arg(&metrics)));
    }
    let text = fs::read_to_string(&metrics).expect("metrics");
    assert!(text.contains("modelfetch_success") && text.ends_with('\n'), "{text}");
    let names = fs::read_dir(dir.path()).expect("a directory");
    let mut names: Vec<_> = names.map(|entry| entry.expect("an entry").file_name()).collect();
    names.sort();
    assert_eq!(
        names,
        ["home", "modelfetch.prom", "modelfetch.prom.tmp", "models"],
        "nothing is left beside it"
    );
    is_untouched(&other);
}

#[test]
fn many_first_runs_may_share_a_new_cache() {
    let repos: Vec<_> = (0..16).map(|n| format!("owner/name{n}")).collect();
    let builder = repos.iter().fold(FakeHub::builder(), |hub, id| hub.repo(Repo::model(id).small("a", "a")));
    let hub = built(builder);
    for _ in 0..6 {
        let dir = TestDir::new();
        fs::create_dir(dir.models()).expect("an empty cache");
        let other = another_writer(&dir.file("CACHEDIR.TAG"));
        all_succeed(repos.iter().map(|id| dir.cache_job("fetch", &hub, [id.as_str()])));
        assert!(dir.file("CACHEDIR.TAG").is_file());
        is_untouched(&other);
    }
}
