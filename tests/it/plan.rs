//! What would be done, whether there is room, and whether the target can be written: known before
//! the first byte.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use fake_hub::{Bucket, FakeHub, Fault, RateLimit, Repo, Rule, Server};

use crate::support::volume::{Volume, skipped};
use crate::support::{FILE, MIB, REPO, TestDir, built, hub, model};

/// Names, sizes, times and inodes of everything in the target.
fn state(dir: &TestDir) -> BTreeMap<PathBuf, (u64, i64, i64, u64)> {
    let describe = |path: PathBuf| {
        let data = fs::symlink_metadata(&path).expect("a file");
        (path, (data.len(), data.mtime(), data.mtime_nsec(), data.ino()))
    };
    dir.all_files().into_iter().map(describe).collect()
}

/// A repository of four files, and a directory where each of them needs something else.
fn one_of_each() -> (FakeHub, TestDir) {
    let files = ["1-skip.gguf", "2-adopt.gguf", "3-resume.gguf", "4-fetch.gguf"];
    let repo =
        files.iter().zip(1..).fold(Repo::model(REPO), |repo, (name, seed)| repo.lfs(name, model(seed, 8)));
    let hub = built(FakeHub::builder().repo(repo));
    let dir = TestDir::new();
    dir.fetch(&hub, [REPO, files[0]]).run().succeeds();
    dir.put(files[1], &model(2, 8).to_vec());
    hub.fault(Rule::cdn().path_contains(model(3, 8).sha256()).nth(4).always().then(Fault::status(503)));
    dir.fetch(&hub, [REPO, files[2], "--connections", "1", "--give-up-after", "200ms"]).run().exits(30);
    hub.clear_faults();
    hub.clear();
    (hub, dir)
}

#[test]
fn a_plan_says_what_would_be_done_and_changes_nothing() {
    let (hub, dir) = one_of_each();
    let before = state(&dir);
    let run = dir.job("plan", &hub, [REPO, "--json"]).run().succeeds();
    let plan = &run.json()["plan"];
    let items = plan["items"].as_array().expect("items");
    let actions: Vec<_> = items.iter().map(|item| item["action"].as_str().expect("an action")).collect();
    assert_eq!(actions, ["skip", "adopt", "resume", "fetch"]);
    let have = items[2]["have"].as_u64().expect("bytes");
    assert!((MIB..8 * MIB).contains(&have), "{have}");
    assert_eq!(plan["bytes_total"], 32 * MIB);
    assert_eq!(plan["bytes_to_fetch"], 16 * MIB - have);
    assert!(plan["bytes_free"].as_u64().expect("bytes") > plan["bytes_needed"].as_u64().expect("bytes"));

    let dry = dir.fetch(&hub, [REPO, "--dry-run", "--json"]).run().succeeds();
    assert_eq!(dry.json()["plan"]["items"], plan["items"]);
    let text = dir.job("plan", &hub, [REPO]).run().succeeds();
    for line in ["skip   ", "check  ", "resume ", "fetch  "] {
        assert!(text.stdout.contains(line), "{line:?} is not in\n{}", text.stdout);
    }
    assert_eq!(state(&dir), before);
    assert!(hub.requests_to(Server::Cdn).is_empty());

    let run = dir.fetch(&hub, [REPO, "--json"]).run().succeeds();
    let files = run.json()["files"].as_array().expect("files").clone();
    let done: Vec<_> = files.iter().map(|file| file["done"].as_str().expect("what was done")).collect();
    assert_eq!(done, ["skipped", "adopted", "resumed", "fetched"]);
    (1..=4).zip(["1-skip", "2-adopt", "3-resume", "4-fetch"]).for_each(|(seed, name)| {
        dir.assert_done(&format!("{name}.gguf"), &model(seed, 8));
    });
}

#[test]
fn a_plan_does_not_even_create_the_directory() {
    let hub = hub(&model(1, 1));
    let dir = TestDir::new();
    dir.job("plan", &hub, [REPO]).run().succeeds();
    dir.fetch(&hub, [REPO, "--dry-run"]).run().succeeds();
    assert!(!dir.models().exists());
}

#[test]
fn no_room_ends_before_the_first_byte_with_the_exact_shortfall() {
    let Some(volume) = Volume::of_mib(8) else { return };
    let hub = hub(&model(1, 16));
    let dir = TestDir::with_models(volume.path());
    let plan = dir.job("plan", &hub, [REPO, "--json"]).run().exits(21);
    let plan = &plan.json()["plan"];
    let (need, free) =
        (plan["bytes_needed"].as_u64().expect("bytes"), plan["bytes_free"].as_u64().expect("bytes"));
    assert!(need >= 16 * MIB && free <= 8 * MIB);
    dir.job("plan", &hub, [REPO]).run().exits(21).says("17.8 MB needed, 8.39 MB free, 9.44 MB short");
    let run = dir.fetch(&hub, [REPO, FILE]).run().exits(21);
    run.says("not enough space in").says("9.44 MB short").says("hint: nothing was fetched");
    assert!(hub.requests_to(Server::Cdn).is_empty());
    dir.assert_absent(FILE);
    dir.assert_no_leftovers();
}

#[test]
fn bytes_that_are_there_already_need_no_room() {
    let Some(volume) = Volume::of_mib(12) else { return };
    let payload = model(1, 8);
    let hub = hub(&payload);
    let dir = TestDir::with_models(volume.path());
    let hits = hub.fault(Rule::cdn().nth(4).always().then(Fault::status(503)));
    dir.fetch(&hub, [REPO, FILE, "--connections", "1", "--give-up-after", "200ms"]).run().exits(30);
    assert!(hits.count() > 0);
    hub.clear_faults();
    dir.fetch(&hub, [REPO, FILE]).run().succeeds();
    dir.assert_done(FILE, &payload);
}

#[test]
fn a_read_only_volume_is_named_before_the_first_byte() {
    let Some(volume) = Volume::of_mib(8) else { return };
    volume.set_read_only(true);
    let payload = model(1, 1);
    let hub = hub(&payload);
    let dir = TestDir::with_models(volume.path());
    dir.fetch(&hub, [REPO, FILE])
        .run()
        .exits(22)
        .says(&volume.path().display().to_string())
        .says("mounted read-only");
    assert!(hub.requests_to(Server::Cdn).is_empty());
    volume.set_read_only(false);
    dir.fetch(&hub, [REPO, FILE]).run().succeeds();
    volume.set_read_only(true);
    // Nothing has to be written when everything is there.
    dir.fetch(&hub, [REPO, FILE]).run().succeeds();
    dir.fetch(&hub, [REPO, FILE, "--offline"]).run().succeeds();
}

/// A directory that another user may look into, or `None`, loudly, without the right to make one.
fn open_to_others(dir: &TestDir, mode: u32, group: Option<u32>) -> Option<()> {
    let everybody =
        |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("our own");
    everybody(dir.path(), 0o755);
    fs::create_dir(dir.models()).expect("a directory");
    everybody(dir.models(), mode);
    let changed = chown(dir.models(), None, group);
    if !rustix::process::geteuid().is_root() || changed.is_err() {
        skipped("only root can run the program as another user");
        return None;
    }
    Some(())
}

#[test]
fn a_directory_of_somebody_else_is_named_before_the_first_byte() {
    let hub = hub(&model(1, 1));
    let dir = TestDir::new();
    if open_to_others(&dir, 0o755, None).is_none() {
        return;
    }
    dir.fetch(&hub, [REPO, FILE])
        .by_user(12_345)
        .run()
        .exits(22)
        .says("the process needs write permission there: check the owner, group and fsGroup");
    assert!(hub.requests_to(Server::Cdn).is_empty());
    assert!(dir.all_files().is_empty());
}

#[test]
fn any_user_with_group_write_is_enough() {
    let payload = model(1, 4);
    let hub = hub(&payload);
    let dir = TestDir::new();
    if open_to_others(&dir, 0o2775, Some(12_345)).is_none() {
        return;
    }
    dir.fetch(&hub, [REPO, FILE]).by_user(12_345).run().succeeds();
    dir.assert_done(FILE, &payload);
    dir.fetch(&hub, [REPO, FILE, "--offline"]).by_user(12_345).run().succeeds();
}

#[test]
fn a_target_that_is_a_file_is_an_error_that_names_it() {
    let hub = built(FakeHub::builder().repo(Repo::model(REPO).lfs("sub/model.gguf", model(1, 1))));
    let dir = TestDir::new();
    fs::write(dir.models(), "a file").expect("a file");
    dir.fetch(&hub, [REPO, "sub/model.gguf"])
        .run()
        .exits(22)
        .says("models")
        .says("is a file, not a directory");
    assert_eq!(fs::read_to_string(dir.models()).expect("still there"), "a file");

    let dir = TestDir::new();
    dir.put("sub", b"a file");
    dir.fetch(&hub, [REPO, "sub/model.gguf"]).run().exits(22).says("is a file, not a directory");
    assert_eq!(fs::read_to_string(dir.file("sub")).expect("still there"), "a file");

    let dir = TestDir::new();
    dir.put("sub/model.gguf/inner", b"a file");
    dir.fetch(&hub, [REPO, "sub/model.gguf"]).run().exits(22).says("sub/model.gguf");
    assert!(dir.file("sub/model.gguf/inner").is_file());
    assert!(hub.requests_to(Server::Cdn).is_empty());
}

#[test]
fn a_plan_of_many_files_says_how_long_the_limit_of_requests_makes_it() {
    let names = (0..250).map(|n| format!("{n:03}.json"));
    let repo = names.fold(Repo::model(REPO), |repo, name| repo.small(&name, name.as_str()));
    let limit = RateLimit::new(Bucket::Resolvers, 100, Duration::from_mins(5));
    let hub = built(FakeHub::builder().repo(repo).rate_limit(limit));
    let dir = TestDir::new();
    let run = dir.job("plan", &hub, [REPO, "*.json", "--json"]).run().succeeds();
    let plan = &run.json()["plan"];
    assert_eq!(plan["requests"], 250);
    // One of the first window is taken by the question.
    let seconds = plan["seconds_at_least"].as_u64().expect("seconds");
    assert!((550..=601).contains(&seconds), "{seconds}");
    let resolver_calls = || {
        hub.requests_to(Server::Hub).iter().filter(|sent| sent.request.path().contains("/resolve/")).count()
    };
    assert_eq!(resolver_calls(), 1);
    let text = dir.job("plan", &hub, [REPO, "*.json"]).run().succeeds();
    assert!(
        text.stdout.contains("250 requests, which the Hub's limit of requests makes last"),
        "{}",
        text.stdout
    );

    let few = dir.job("plan", &hub, [REPO, "00*.json", "--json"]).run().succeeds();
    assert_eq!(
        (&few.json()["plan"]["requests"], few.json()["plan"]["seconds_at_least"].is_null()),
        (&10.into(), true)
    );
    assert_eq!(resolver_calls(), 2, "for a few nobody is asked");
}
