//! One content under several names: fetched once, copied on the spot, and stopped there as
//! anywhere else.

use std::fs;
use std::thread;
use std::time::Duration;

use fake_hub::{FakeHub, Payload, Repo, Server};

use crate::support::command::Running;
use crate::support::{MIB, REPO, TestDir, built, model};

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

/// What a repository holds under a new name after a push.
fn renamed(dir: &TestDir, hub: &FakeHub, model: &Payload) {
    let other = self::model(5, 1);
    hub.push(REPO, "main", |tree| {
        tree.remove("a.gguf").lfs("new/name.gguf", model.clone()).lfs("other.gguf", other.clone());
    });
    hub.clear();
    let plan = dir.job("plan", hub, [REPO]).run().succeeds();
    let copied = plan.stdout.lines().find(|line| line.ends_with("new/name.gguf")).expect("a line");
    assert!(copied.trim_start().starts_with("copy"), "{copied}");
    dir.fetch(hub, [REPO]).run().succeeds();
    dir.assert_published("new/name.gguf", model);
    dir.assert_published("other.gguf", &other);
}

#[test]
fn a_file_that_has_another_name_now_is_copied_and_not_fetched() {
    let model = model(1, 24);
    let hub = built(FakeHub::builder().repo(Repo::model(REPO).lfs("a.gguf", model.clone())));
    let dir = TestDir::new();
    dir.fetch(&hub, [REPO]).run().succeeds();
    renamed(&dir, &hub, &model);
    assert!(hub.bytes_sent(Server::Cdn) < 2 * MIB, "{}", hub.bytes_sent(Server::Cdn));
    dir.assert_published("a.gguf", &model);
    hub.clear();
    dir.fetch(&hub, [REPO]).run().succeeds();
    dir.job("verify", &hub, []).run().succeeds();
    assert_eq!(hub.bytes_sent(Server::Cdn), 0);
}

#[test]
fn an_original_that_was_changed_is_not_believed() {
    let model = model(1, 8);
    let hub = built(FakeHub::builder().repo(Repo::model(REPO).lfs("a.gguf", model.clone())));
    let dir = TestDir::new();
    dir.fetch(&hub, [REPO]).run().succeeds();
    let file = fs::OpenOptions::new().write(true).open(dir.file("a.gguf")).expect("a file");
    std::os::unix::fs::FileExt::write_all_at(&file, b"changed", 5 << 20).expect("changed");
    drop(file);
    hub.push(REPO, "main", |tree| {
        tree.remove("a.gguf").lfs("b.gguf", model.clone());
    });
    hub.clear();
    dir.fetch(&hub, [REPO]).run().succeeds();
    dir.assert_published("b.gguf", &model);
    assert!(hub.bytes_sent(Server::Cdn) >= model.size());
}

#[test]
fn two_files_that_change_their_names_are_both_right_in_the_end() {
    let (one, two) = (model(1, 8), model(2, 8));
    let repo = Repo::model(REPO).lfs("a.gguf", one.clone()).lfs("b.gguf", two.clone());
    let hub = built(FakeHub::builder().repo(repo));
    let dir = TestDir::new();
    dir.fetch(&hub, [REPO]).run().succeeds();
    hub.push(REPO, "main", |tree| {
        tree.lfs("a.gguf", two.clone()).lfs("b.gguf", one.clone());
    });
    dir.fetch(&hub, [REPO]).run().succeeds();
    dir.assert_published("a.gguf", &two);
    dir.assert_done("b.gguf", &one);
}

#[test]
fn another_repository_with_the_same_content_brings_it_from_the_disk() {
    let model = model(1, 8);
    let repo = |id| Repo::model(id).lfs("m.gguf", model.clone());
    let hub = built(FakeHub::builder().repo(repo("o/first")).repo(repo("o/second")));
    let dir = TestDir::new();
    dir.cache_job("fetch", &hub, ["o/first"]).run().succeeds();
    hub.clear();
    let run = dir.cache_job("fetch", &hub, ["o/second"]).run().succeeds();
    assert_eq!(hub.bytes_sent(Server::Cdn), 0);
    let found = fs::read(run.stdout.trim()).expect("the file");
    assert_eq!(found.len() as u64, model.size());
    assert!(run.stdout.contains("models--o--second"), "{}", run.stdout);

    let plain = TestDir::new();
    plain.fetch(&hub, ["o/first", "m.gguf"]).run().succeeds();
    fs::rename(plain.file("m.gguf"), plain.file("moved.gguf")).expect("renamed");
    hub.clear();
    // What somebody renamed has no receipt under that name.
    plain.fetch(&hub, ["o/second", "m.gguf"]).run().succeeds();
    assert!(hub.bytes_sent(Server::Cdn) >= model.size());
}
