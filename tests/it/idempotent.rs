//! The second run: instant where nothing can have changed, one question where it can, and never
//! stopped by a Hub that is down.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::thread;
use std::time::Duration;

use fake_hub::{FakeHub, Fault, Repo, Rule, Server};
use rustix::process::Signal;

use crate::support::{FILE, MIB, REPO, TestDir, built, exchanges, hub, model};

#[test]
fn a_pinned_file_that_is_there_needs_no_request() {
    let payload = model(1, 4);
    let hub = hub(&payload);
    let commit = hub.commit(REPO, "main").expect("a branch");
    for pinned in [&["--revision", &commit][..], &["--sha256", payload.sha256()], &["--offline"]] {
        let dir = TestDir::new();
        let first = pinned.iter().filter(|flag| **flag != "--offline");
        dir.fetch(&hub, [REPO, FILE]).args(first).run().succeeds();
        hub.clear();
        let run = dir.fetch(&hub, [REPO, FILE]).args(pinned).run().succeeds();
        assert!(hub.requests().is_empty(), "{pinned:?}");
        assert_eq!(run.stdout.trim(), dir.file(FILE).to_string_lossy());
        run.says("already there and verified");
    }
}

#[test]
fn a_pinned_file_that_is_there_needs_no_hub() {
    let payload = model(1, 4);
    let hub = hub(&payload);
    let dir = TestDir::new();
    dir.fetch(&hub, [REPO, FILE, "--sha256", payload.sha256()]).run().succeeds();
    hub.down(Server::Hub);
    hub.down(Server::Cdn);
    dir.fetch(&hub, [REPO, FILE, "--sha256", payload.sha256()])
        .run()
        .succeeds()
        .does_not_say("warning")
        .at_once();
    dir.assert_done(FILE, &payload);
}

#[test]
fn the_pinned_second_run_of_a_glob_needs_no_request() {
    let repo =
        Repo::model(REPO).lfs("a.gguf", model(1, 1)).lfs("d/b.gguf", model(2, 1)).small("c.json", "{}");
    let hub = built(FakeHub::builder().repo(repo));
    let commit = hub.commit(REPO, "main").expect("a branch");
    let dir = TestDir::new();
    let fetch = |selection| dir.fetch(&hub, [REPO, selection, "--revision", &commit]).run().succeeds();
    fetch("*");
    hub.clear();
    fetch("*");
    // A part of it is known as well as the whole.
    fetch("*.gguf");
    assert!(hub.requests().is_empty());
}

#[test]
fn a_branch_costs_exactly_one_question() {
    let hub = hub(&model(1, 4));
    let dir = TestDir::new();
    dir.fetch(&hub, [REPO, FILE]).run().succeeds();
    hub.clear();
    dir.fetch(&hub, [REPO, FILE]).run().succeeds().says("already there and verified");
    assert_eq!(exchanges(&hub, Server::Hub), [("HEAD".to_owned(), 302)]);
    assert!(hub.requests_to(Server::Cdn).is_empty());
}

#[test]
fn the_branch_of_many_files_costs_one_question_too() {
    let repo = (1..6).fold(Repo::model(REPO), |repo, n| repo.lfs(&format!("{n}.gguf"), model(n, 1)));
    let hub = built(FakeHub::builder().repo(repo));
    let dir = TestDir::new();
    dir.fetch(&hub, [REPO]).run().succeeds();
    hub.clear();
    dir.fetch(&hub, [REPO]).run().succeeds();
    assert_eq!(hub.requests().len(), 1);
    let other = TestDir::new();
    other.fetch(&hub, [REPO, "1.gguf", "2.gguf", "3.gguf"]).run().succeeds();
    hub.clear();
    other.fetch(&hub, [REPO, "1.gguf", "2.gguf", "3.gguf"]).run().succeeds();
    assert_eq!(exchanges(&hub, Server::Hub), [("HEAD".to_owned(), 302)]);
}

#[test]
fn who_prefers_offline_keeps_what_is_verified_and_fetches_what_is_missing() {
    let (old, new) = (model(1, 2), model(2, 2));
    let hub = hub(&old);
    let dir = TestDir::new();
    let fetch = || dir.fetch(&hub, [REPO, FILE, "--prefer-offline"]).run().succeeds();
    fetch();
    hub.push(REPO, "main", |tree| {
        tree.lfs(FILE, new.clone());
    });
    hub.clear();
    fetch();
    assert!(hub.requests().is_empty());
    dir.assert_done(FILE, &old);
    fs::remove_file(dir.file(FILE)).expect("the file was there");
    fetch();
    dir.assert_done(FILE, &new);
}

#[test]
fn a_branch_that_moved_brings_the_new_file_and_nothing_else() {
    let (old, new, same) = (model(1, 2), model(2, 2), model(3, 2));
    let hub = built(FakeHub::builder().repo(Repo::model(REPO).lfs(FILE, old).lfs("same.gguf", same.clone())));
    let dir = TestDir::new();
    dir.fetch(&hub, [REPO]).run().succeeds();
    hub.push(REPO, "main", |tree| {
        tree.lfs(FILE, new.clone());
    });
    hub.clear();
    let run = dir.fetch(&hub, [REPO, "--json"]).run().succeeds();
    assert_eq!(run.json()["commit"], hub.commit(REPO, "main").expect("a branch"));
    dir.assert_done(FILE, &new);
    dir.assert_published("same.gguf", &same);
    assert!(hub.requests_to(Server::Cdn).iter().all(|record| record.request.path().contains(new.sha256())));
}

#[test]
fn a_hub_that_is_down_does_not_stop_a_pod_whose_model_is_there() {
    let payload = model(1, 4);
    let hub = hub(&payload);
    let dir = TestDir::new();
    dir.fetch(&hub, [REPO, FILE]).run().succeeds();
    hub.down(Server::Hub);
    let run = dir.fetch(&hub, [REPO, FILE, "--json"]).run().succeeds();
    assert_eq!(run.json()["stale"], true);
    run.says("warning: the Hub could not be asked whether main moved").at_once();
    dir.assert_done(FILE, &payload);
    dir.fetch(&hub, [REPO, FILE, "--require-fresh", "--give-up-after", "1s"]).run().exits(30);
}

#[test]
fn nor_does_one_that_answers_badly() {
    let faults = [Fault::status(503), Fault::html(200), Fault::retry_after(429, "86400"), Fault::stall(0)];
    thread::scope(|scope| {
        for fault in faults {
            scope.spawn(|| {
                let hub = hub(&model(1, 1));
                let dir = TestDir::new();
                dir.fetch(&hub, [REPO, FILE]).run().succeeds();
                hub.fault(Rule::hub().always().then(fault));
                let run = dir.fetch(&hub, [REPO, FILE]).run().succeeds();
                run.says("warning: the Hub could not be asked").at_once();
            });
        }
    });
}

#[test]
fn what_the_hub_does_not_give_out_any_more_is_used_with_a_loud_warning_as_long_as_it_is_there() {
    let payload = model(1, 1);
    let of = |repo: fn(Repo) -> Repo| {
        let repo = repo(Repo::model(REPO).lfs(FILE, payload.clone()));
        built(FakeHub::builder().repo(repo).token("hf_other"))
    };
    let before = hub(&payload);
    let now = [
        (of(|repo| repo.gated(&["hf_right"])), None, 10, "is gated"),
        (of(|repo| repo.gated(&["hf_right"])), Some("hf_other"), 10, "is it of that account?"),
        (of(|repo| repo.private(&["hf_right"])), None, 11, "no token was used"),
        (of(Repo::disabled), None, 10, "Access to this resource is disabled."),
        (hub(&payload), Some("hf_revoked"), 10, "check that it is valid"),
        (built(FakeHub::builder()), None, 11, "not found"),
    ];
    for (hub, token, number, cause) in now {
        let dir = TestDir::new();
        let fetch = |selection: &[&str]| {
            let run = dir.fetch(&hub, [REPO]).args(selection);
            if let Some(token) = token { run.env("HF_TOKEN", token) } else { run }
        };
        fetch(&[FILE]).run().exits(number);
        dir.fetch(&before, [REPO]).run().succeeds();
        // Who may not have the files of a gated repository still may know their list.
        let selections = if cause.contains("account") || cause.contains("gated") { 1 } else { 2 };
        for selection in &[&[FILE][..], &[]][..selections] {
            let run = fetch(selection).arg("--json").run().succeeds();
            assert_eq!(run.json()["stale"], true);
            run.says("warning: the Hub refuses to say whether main moved").says(cause);
            fetch(selection).arg("--require-fresh").run().exits(number);
        }
        dir.job("plan", &hub, [REPO, FILE]).run().succeeds().prints("skip");
        assert!(hub.requests_to(Server::Cdn).is_empty());
        fs::remove_file(dir.file(FILE)).expect("the file was there");
        fetch(&[FILE]).run().exits(number);
    }
}

#[test]
fn a_file_the_hub_has_lost_is_an_error_even_if_it_is_here() {
    let hub = hub(&model(1, 1));
    let dir = TestDir::new();
    dir.fetch(&hub, [REPO, FILE]).run().succeeds();
    hub.push(REPO, "main", |tree| {
        tree.remove(FILE);
    });
    dir.fetch(&hub, [REPO, FILE]).run().exits(11);
    dir.assert_published(FILE, &model(1, 1));
}

#[test]
fn files_that_were_fetched_one_by_one_are_known_offline_once_all_were_asked_for() {
    let payload = model(1, 1);
    let repo = Repo::model(REPO).lfs(FILE, payload.clone()).lfs("other.gguf", model(2, 1));
    let hub = built(FakeHub::builder().repo(repo));
    let dir = TestDir::new();
    for file in [FILE, "other.gguf"] {
        dir.fetch(&hub, [REPO, file]).run().succeeds();
    }
    dir.fetch(&hub, [REPO]).run().succeeds();
    hub.clear();
    dir.fetch(&hub, [REPO, "--offline"]).run().succeeds();
    assert!(hub.requests().is_empty());
}

#[test]
fn offline_means_no_request_at_all() {
    let payload = model(1, 1);
    let hub = hub(&payload);
    let dir = TestDir::new();
    let fetch = || dir.fetch(&hub, [REPO, FILE]);
    for run in [fetch().arg("--offline").run(), fetch().env("HF_HUB_OFFLINE", "1").run()] {
        run.exits(32).says("`model.gguf` of `owner/name` is not in").says("run once without --offline");
    }
    assert!(hub.requests().is_empty());
    fetch().run().succeeds();
    hub.clear();
    fetch().arg("--offline").run().succeeds();
    fetch().env("HF_HUB_OFFLINE", "1").run().succeeds();
    fetch().env("MODELFETCH_OFFLINE", "true").run().succeeds();
    dir.job("plan", &hub, [REPO, FILE, "--offline"]).run().succeeds().prints("skip");
    assert!(hub.requests().is_empty());
    fetch().arg("--offline").arg("--revision").arg("other").run().exits(32);
    fetch().arg("--offline").arg("--require-fresh").run().exits(2);
}

/// Changes one byte and puts size and time back.
fn corrupt_silently(dir: &TestDir) {
    let path = dir.file(FILE);
    let before = fs::metadata(&path).expect("a file");
    let mut content = fs::read(&path).expect("a file");
    content[70_000] ^= 1;
    let file = fs::OpenOptions::new().write(true).open(&path).expect("a file");
    std::os::unix::fs::FileExt::write_all_at(&file, &content, 0).expect("written in place");
    file.set_modified(before.modified().expect("a time")).expect("our own file");
    let after = fs::metadata(&path).expect("a file");
    assert_eq!(
        (after.ino(), after.len(), after.mtime_nsec()),
        (before.ino(), before.len(), before.mtime_nsec())
    );
}

#[test]
fn bytes_that_changed_in_place_are_noticed_though_size_and_time_are_the_same() {
    let payload = model(1, 2);
    let hub = hub(&payload);
    let dir = TestDir::new();
    let fetch = || dir.fetch(&hub, [REPO, FILE]).run().succeeds();
    fetch();
    // Clocks of file systems tick every few milliseconds.
    thread::sleep(Duration::from_millis(50));
    corrupt_silently(&dir);
    fetch().says("is not what the Hub has");
    dir.assert_done(FILE, &payload);
    fetch().says("already there and verified");
}

#[test]
fn other_rights_cost_one_hash_and_no_byte() {
    let payload = model(1, 2);
    let hub = hub(&payload);
    let dir = TestDir::new();
    let fetch = || dir.fetch(&hub, [REPO, FILE]).run().succeeds();
    fetch();
    hub.clear();
    thread::sleep(Duration::from_millis(50));
    // As kubelet does for an fsGroup.
    fs::set_permissions(dir.file(FILE), fs::Permissions::from_mode(0o660)).expect("our own file");
    fetch().says("already there, checking").says("are right");
    fetch().says("already there and verified").does_not_say("checking");
    assert!(hub.requests_to(Server::Cdn).is_empty());
    dir.assert_done(FILE, &payload);
}

#[test]
fn a_full_check_finds_damage_and_costs_no_byte_where_there_is_none() {
    let payload = model(1, 2);
    let hub = hub(&payload);
    let dir = TestDir::new();
    dir.fetch(&hub, [REPO, FILE]).run().succeeds();
    corrupt_silently(&dir);
    dir.fetch(&hub, [REPO, FILE, "--verify", "full"]).run().succeeds().says("is not what the Hub has");
    dir.assert_done(FILE, &payload);
    hub.clear();
    dir.fetch(&hub, [REPO, FILE, "--verify", "full"]).run().succeeds().says("are right");
    assert!(hub.requests_to(Server::Cdn).is_empty());
}

#[test]
fn a_full_check_offline_finds_damage_and_makes_no_request() {
    let payload = model(1, 2);
    let hub = hub(&payload);
    let dir = TestDir::new();
    dir.fetch(&hub, [REPO, FILE]).run().succeeds();
    hub.clear();
    dir.fetch(&hub, [REPO, FILE, "--offline", "--verify", "full"]).run().succeeds();
    corrupt_silently(&dir);
    let run = dir.fetch(&hub, [REPO, FILE, "--offline", "--verify", "full"]).run();
    run.exits(32).says("is not what the Hub has");
    assert!(hub.requests().is_empty(), "{:?}", hub.requests());
}

#[test]
fn what_a_pin_alone_vouched_for_is_no_answer_for_another_revision() {
    let payload = model(1, 2);
    let hub = hub(&payload);
    let dir = TestDir::new();
    dir.fetch(&hub, [REPO, FILE]).run().succeeds();
    // The pin says what the file is, not which commit of this repository has it.
    let offline = || dir.fetch(&hub, ["other/name", FILE, "--offline"]);
    offline().args(["--sha256", payload.sha256(), "--verify", "full"]).run().succeeds();
    offline().args(["--revision", "other"]).run().exits(32);
}

#[test]
fn a_file_that_was_touched_is_hashed_and_not_fetched() {
    let payload = model(1, 2);
    let hub = hub(&payload);
    let dir = TestDir::new();
    dir.fetch(&hub, [REPO, FILE]).run().succeeds();
    let content = fs::read(dir.file(FILE)).expect("a file");
    fs::remove_file(dir.file(FILE)).expect("a file");
    dir.put(FILE, &content);
    hub.clear();
    dir.fetch(&hub, [REPO, FILE]).run().succeeds().says("checking");
    assert!(hub.requests_to(Server::Cdn).is_empty());
    dir.fetch(&hub, [REPO, FILE]).run().succeeds().says("already there and verified");
}

#[test]
fn a_damaged_receipt_proves_nothing_and_harms_nothing() {
    let payload = model(1, 2);
    let hub = hub(&payload);
    let dir = TestDir::new();
    dir.fetch(&hub, [REPO, FILE]).run().succeeds();
    hub.clear();
    for damage in ["", "{", "null", r#"{"version":99}"#] {
        fs::write(dir.state("receipts/model.gguf.json"), damage).expect("a receipt");
        dir.fetch(&hub, [REPO, FILE]).run().succeeds();
        dir.assert_done(FILE, &payload);
    }
    assert!(hub.requests_to(Server::Cdn).is_empty());
}

fn slow_hub(payload: &fake_hub::Payload) -> FakeHub {
    built(
        FakeHub::builder().rate_per_connection(2_000_000).repo(Repo::model(REPO).lfs(FILE, payload.clone())),
    )
}

#[test]
fn of_two_processes_one_downloads_and_the_other_waits_and_finds_the_work_done() {
    let payload = model(1, 16);
    let hub = slow_hub(&payload);
    let dir = TestDir::new();
    let mut first = dir.fetch(&hub, [REPO, FILE]).start();
    first.wait_until("bytes", |_| hub.bytes_sent(Server::Cdn) > MIB);
    let mut second = dir.fetch(&hub, [REPO, FILE]).start();
    second.wait_for("waiting: ");
    let owner = format!("is in use by process {}", first.pid());
    assert!(!first.is_over());
    first.finish().succeeds();
    let second = second.finish().succeeds().says(&owner).says("already there and verified");
    assert_eq!(second.stdout.trim(), dir.file(FILE).to_string_lossy());
    dir.assert_done(FILE, &payload);
    // Every byte came once, but for what a connection loses to a quicker one.
    assert!(hub.bytes_sent(Server::Cdn) < payload.size() + 8 * MIB);
}

#[test]
fn many_processes_that_start_at_once_share_one_download() {
    let payload = model(1, 8);
    let hub = slow_hub(&payload);
    let dir = TestDir::new();
    let runs: Vec<_> = (0..6).map(|_| dir.fetch(&hub, [REPO, FILE]).start()).collect();
    for run in runs {
        run.finish().succeeds();
    }
    dir.assert_done(FILE, &payload);
    assert!(hub.bytes_sent(Server::Cdn) < payload.size() + 8 * MIB);
}

#[test]
fn a_dead_owner_is_taken_over_at_once() {
    let payload = model(1, 16);
    let hub = slow_hub(&payload);
    let dir = TestDir::new();
    let mut first = dir.fetch(&hub, [REPO, FILE]).start();
    first.wait_until("bytes", |_| hub.bytes_sent(Server::Cdn) > MIB);
    let mut second = dir.fetch(&hub, [REPO, FILE]).start();
    second.wait_for("waiting: ");
    first.kill();
    second.finish().succeeds();
    dir.assert_done(FILE, &payload);
}

#[test]
fn a_second_process_waits_no_longer_than_its_deadline() {
    let payload = model(1, 24);
    let hub = slow_hub(&payload);
    let dir = TestDir::new();
    let mut first = dir.fetch(&hub, [REPO, FILE, "--connections", "2"]).start();
    first.wait_until("bytes", |_| hub.bytes_sent(Server::Cdn) > MIB);
    dir.fetch(&hub, [REPO, FILE, "--deadline", "1s"])
        .run()
        .exits(23)
        .says(&format!("is in use by process {}", first.pid()))
        .at_once();
    let mut third = dir.fetch(&hub, [REPO, FILE]).start();
    third.wait_for("waiting: ");
    third.signal(Signal::TERM);
    third.finish().exits(143);
    first.signal(Signal::TERM);
    first.finish().exits(143);
}
