//! One content under several names: fetched once, copied on the spot, and stopped there as
//! anywhere else.

use std::fs;
use std::thread;
use std::time::Duration;

use fake_hub::{FakeHub, Payload, Repo, Server};

use crate::support::command::Running;
use crate::support::{REPO, TestDir, built, model};

/// What a copy of some hundred MiB may take on a busy machine; one that hangs never ends.
const PATIENCE: Duration = Duration::from_secs(45);
/// The copies take long enough to be met under way.
const NAMES: [&str; 6] = ["a.gguf", "b.gguf", "sub/c.gguf", "sub/d.gguf", "e/f/g.gguf", "h.gguf"];

/// Larger than what may wait for a disk or a hash.
fn twins(names: &[&str]) -> (Payload, FakeHub) {
    let model = model(1, 96);
    let repo = names.iter().fold(Repo::model(REPO), |repo, name| repo.lfs(name, model.clone()));
    (model, built(FakeHub::builder().repo(repo)))
}

/// A run that has fetched the first name and is at the copies of it.
fn copying(dir: &TestDir, hub: &FakeHub) -> Running {
    let mut run = dir.fetch(hub, [REPO]).start();
    run.wait_until("the first name", |_| dir.file(NAMES[0]).is_file());
    // Its receipt takes a moment; the copies take more.
    thread::sleep(Duration::from_millis(50));
    run
}

/// Another run brings all names, and nothing from the CDN.
#[track_caller]
fn goes_on(dir: &TestDir, hub: &FakeHub, model: &Payload) {
    hub.clear();
    dir.fetch(hub, [REPO]).start().finish_within(PATIENCE).succeeds();
    for name in NAMES {
        dir.assert_done(name, model);
    }
    assert_eq!(hub.bytes_sent(Server::Cdn), 0);
}

#[test]
fn a_large_file_with_two_names_or_more_is_fetched_once() {
    for names in [&NAMES[..2], &NAMES] {
        let (model, hub) = twins(names);
        let dir = TestDir::new();
        dir.fetch(&hub, [REPO]).start().finish_within(PATIENCE).succeeds();
        for name in names {
            dir.assert_done(name, &model);
        }
        assert!(hub.bytes_sent(Server::Cdn) < 2 * model.size());
    }
}

#[test]
fn a_large_file_with_many_names_is_one_blob_of_a_cache() {
    let (model, hub) = twins(&NAMES);
    let dir = TestDir::new();
    let run = dir.cache_job("fetch", &hub, [REPO]).start().finish_within(PATIENCE).succeeds();
    assert_eq!(run.stdout.lines().count(), NAMES.len(), "{}", run.stdout);
    for path in run.stdout.lines() {
        assert!(fs::canonicalize(path).expect("a file").ends_with(model.sha256()), "{path}");
    }
    dir.assert_done(&format!("models--owner--name/blobs/{}", model.sha256()), &model);
    assert!(hub.bytes_sent(Server::Cdn) < 2 * model.size());
}

#[test]
fn a_copy_that_is_told_to_stop_stops_and_the_next_run_makes_it() {
    let (model, hub) = twins(&NAMES);
    let dir = TestDir::new();
    copying(&dir, &hub).terminate();
    goes_on(&dir, &hub, &model);
}

#[test]
fn a_copy_that_is_killed_is_made_by_the_next_run() {
    let (model, hub) = twins(&NAMES);
    let dir = TestDir::new();
    copying(&dir, &hub).kill();
    goes_on(&dir, &hub, &model);
}

#[test]
fn a_copy_keeps_the_deadline() {
    let (_, hub) = twins(&NAMES);
    let dir = TestDir::new();
    // Enough for all of it, and far less than for ever.
    let run = dir.fetch(&hub, [REPO, "--deadline", "20s"]).start().finish_within(PATIENCE);
    assert!(matches!(run.status, Some(0 | 30)), "{run:?}");
}

#[test]
fn a_pin_for_one_name_of_a_content_holds_for_its_other_names() {
    let model = model(1, 1);
    let repo = Repo::model(REPO).small("a.txt", model.clone()).small("b.txt", model.clone());
    let hub = built(FakeHub::builder().repo(repo));
    let dir = TestDir::new();
    let pinned = format!("b.txt={}", model.sha256());
    dir.fetch(&hub, [REPO, "a.txt", "b.txt", "--sha256", &pinned]).run().succeeds();
    dir.assert_done("a.txt", &model);
    dir.assert_done("b.txt", &model);
    assert!(hub.bytes_sent(Server::Hub) < 2 * model.size(), "two downloads filled one partial file");
}
