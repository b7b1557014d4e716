//! Very many files: the work grows with their number and no faster, threads and memory hardly
//! at all, and a signal is heard all the same.

use std::fs;
use std::time::Duration;

use fake_hub::{FakeHub, Repo, Server};

use crate::support::command::Run;
use crate::support::{REPO, TestDir, built, model};

const FILES: usize = 100_000;
/// With a list that long, or with that many files to hash.
const MEMORY_KIB: u64 = 64 << 10;
/// To plan such a list: 64 MiB, and 8 of the 11 that `--help` of the unoptimised program takes beyond the release's.
const PLAN_KIB: u64 = 72 << 10;
/// An unoptimised program on a busy machine; work that grows with the square takes many minutes.
const PATIENCE: Duration = Duration::from_mins(1);
/// Those of the runtime, and a few that work on the disk.
const THREADS: u64 = 40;

fn long_list() -> FakeHub {
    let names = (0..FILES).map(|n| format!("data/{:03}/shard-{n:06}.bin", n / 500));
    let repo = names.fold(Repo::model(REPO), |repo, name| repo.small(&name, name.as_str()));
    built(FakeHub::builder().repo(repo))
}

#[test]
fn a_list_of_a_hundred_thousand_files_is_planned_quickly_and_in_little_memory() {
    let hub = long_list();
    let dir = TestDir::new();
    let run = dir.job("plan", &hub, [REPO]).start().finish_within(PATIENCE).succeeds();
    assert_eq!(run.stdout.lines().filter(|line| line.starts_with("  fetch ")).count(), FILES);
    assert!(run.peak_kib < PLAN_KIB, "{} KiB resident", run.peak_kib);
}

#[test]
fn the_planning_of_a_long_list_is_stopped_by_a_signal() {
    let hub = long_list();
    let dir = TestDir::new();
    for command in ["plan", "fetch"] {
        let mut run = dir.job(command, &hub, [REPO]).start();
        run.wait_for("100000 files");
        run.terminate();
    }
}

/// So many threads and so much memory suffice for any number of files.
#[track_caller]
fn is_modest(run: &Run) {
    assert!(run.peak_threads < THREADS, "{} threads", run.peak_threads);
    assert!(run.peak_kib < MEMORY_KIB, "{} KiB resident", run.peak_kib);
}

#[test]
fn many_files_that_are_there_are_checked_a_few_at_a_time() {
    let model = model(1, 2);
    let names: Vec<_> = (0..300).map(|n| format!("{n}.gguf")).collect();
    let repo = names.iter().fold(Repo::model(REPO), |repo, name| repo.lfs(name, model.clone()));
    let hub = built(FakeHub::builder().repo(repo));
    let dir = TestDir::new();
    let first = dir.put(&names[0], &model.to_vec());
    for name in &names[1..] {
        fs::hard_link(&first, dir.file(name)).expect("another name");
    }

    let run = dir.fetch(&hub, [REPO, "--json"]).run().succeeds();
    assert!(hub.requests_to(Server::Cdn).is_empty());
    let files = run.json()["files"].as_array().expect("files").clone();
    assert_eq!(files.iter().filter(|file| file["done"] == "adopted").count(), names.len());
    is_modest(&run);

    let run = dir.job("verify", &hub, []).run().succeeds();
    assert_eq!(run.stdout.lines().filter(|line| line.starts_with("ok ")).count(), names.len());
    is_modest(&run);
}

/// Longer than what is held as a whole: 44 MB of JSON.
#[test]
fn one_file_of_a_very_long_list_is_had_in_little_memory() {
    let folder = "f".repeat(200);
    let folder = [folder.as_str(); 5].join("/");
    let names = (0..40_000).map(|n| format!("{folder}/shard-{n:06}.bin"));
    let repo = names.fold(Repo::model(REPO), |repo, name| repo.small(&name, "x"));
    let model = model(1, 2);
    let hub = built(FakeHub::builder().repo(repo.lfs("model.gguf", model.clone())));
    let dir = TestDir::new();
    for selection in [&["*.gguf"][..], &["--quant", "latest"], &["model.gguf", "--exclude", "*.md"]] {
        let arguments = [REPO].iter().chain(selection).copied();
        let run = dir.fetch(&hub, arguments).start().finish_within(PATIENCE).succeeds();
        run.says("the list of files is very long");
    }
    let run = dir.fetch(&hub, [REPO, "*.gguf"]).start().finish_within(PATIENCE).succeeds();
    assert!(run.peak_kib < MEMORY_KIB, "{} KiB resident", run.peak_kib);
    dir.assert_done("model.gguf", &model);
}
