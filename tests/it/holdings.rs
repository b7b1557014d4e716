//! What is there: shown without a question, and removed when no lock file names it.

use std::fs;
use std::time::Duration;

use fake_hub::{FakeHub, Fault, Repo, Rule, Server};

use crate::support::command::{Modelfetch, Run};
use crate::support::volume::Volume;
use crate::support::{FILE, MIB, REPO, TestDir, built, hub, model};

fn manifest(dir: &TestDir, text: &str) {
    fs::write(dir.path().join("models.toml"), text).expect("a manifest");
}

fn of_dir<'a>(dir: &TestDir, command: &str, arguments: impl IntoIterator<Item = &'a str>) -> Modelfetch {
    dir.command([command]).args(arguments).arg("--dir").arg(dir.models())
}

fn of_cache<'a>(dir: &TestDir, command: &str, arguments: impl IntoIterator<Item = &'a str>) -> Modelfetch {
    dir.command([command]).args(arguments).arg(format!("--cache={}", dir.models().display()))
}

fn json(run: &Run) -> serde_json::Value {
    serde_json::from_str(&run.stdout).expect("JSON")
}

/// Two models in folders of their own, both locked, of which the manifest then wants only the first.
fn two_models(dir: &TestDir) -> FakeHub {
    let hub = built(
        FakeHub::builder()
            .repo(Repo::model("o/a").lfs("m.gguf", model(1, 2)))
            .repo(Repo::model("o/b").lfs("m.gguf", model(2, 3)).lfs("x/y.gguf", model(3, 1))),
    );
    let first = "[[model]]\nrepo = \"o/a\"\ndir = \"a\"\n";
    manifest(dir, &format!("{first}[[model]]\nrepo = \"o/b\"\ndir = \"b\"\n"));
    dir.fetch(&hub, ["--manifest", "models.toml"]).run().succeeds();
    manifest(dir, first);
    dir.command(["lock"]).env("HF_ENDPOINT", hub.endpoint()).run().succeeds();
    hub
}

#[test]
fn a_list_tells_of_each_file_where_it_came_from_and_whether_it_still_is_what_was_verified() {
    let dir = TestDir::new();
    let hub = two_models(&dir);
    let commit = hub.commit("o/a", "main").expect("a branch");
    hub.clear();
    let run = of_dir(&dir, "list", ["--json"]).run().succeeds();
    let held = json(&run)["held"].clone();
    let file = &held["files"][0];
    assert_eq!(file["repo"], "o/a");
    assert_eq!(file["commit"], commit);
    assert_eq!(file["size"], 2 * MIB);
    assert_eq!(file["sha256"], model(1, 2).sha256().to_string());
    assert_eq!(file["state"], "verified");
    assert_eq!(held["files"].as_array().map(Vec::len), Some(3));
    fs::write(dir.file("a/m.gguf"), b"changed").expect("changed");
    fs::remove_file(dir.file("b/m.gguf")).expect("removed");
    let run = of_dir(&dir, "list", []).run().succeeds();
    let run = run.prints("CHANGED").prints("MISSING").prints("b/x/y.gguf").prints(&commit[..8]);
    assert!(run.stdout.lines().count() == 3, "{}", run.stdout);
    assert!(hub.requests().is_empty());
}

#[test]
fn a_list_tells_how_far_an_unfinished_download_is_and_prune_removes_it() {
    let model = model(4, 16);
    let hub = hub(&model);
    hub.fault(Rule::cdn().late_range().always().then(Fault::status(503)));
    hub.fault(Rule::cdn().nth(3).always().then(Fault::status(503)));
    let dir = TestDir::new();
    dir.fetch(&hub, [REPO, FILE, "--connections", "1", "--give-up-after", "500ms"]).run().exits(30);
    let there = dir.journaled();
    let held = json(&of_dir(&dir, "list", ["--json"]).run().succeeds())["held"].clone();
    assert_eq!(held["unfinished"][0]["have"], there);
    assert_eq!(held["unfinished"][0]["path"], FILE);
    of_dir(&dir, "list", []).run().succeeds().prints("partial").prints(FILE);
    of_dir(&dir, "prune", ["--partials", "--older-than", "1d", "--yes"])
        .run()
        .succeeds()
        .prints("0 files removed");
    of_dir(&dir, "prune", ["--partials"]).run().succeeds().prints("would remove").prints("--yes");
    dir.partial();
    of_dir(&dir, "prune", ["--partials", "--yes"]).run().succeeds().prints("1 file removed");
    dir.assert_no_leftovers();
}

#[test]
fn what_no_lock_file_names_goes_only_when_it_is_meant_and_never_without_a_receipt() {
    let dir = TestDir::new();
    let hub = two_models(&dir);
    let own = dir.put("b/notes.txt", b"somebody's");
    of_dir(&dir, "prune", ["--keep", "models.lock"])
        .run()
        .succeeds()
        .prints("would remove")
        .prints("b/m.gguf")
        .prints("2 files would go");
    dir.assert_published("b/m.gguf", &model(2, 3));
    let run = of_dir(&dir, "prune", ["--keep", "models.lock", "--yes", "--json"]).run().succeeds();
    assert_eq!(json(&run)["pruned"]["bytes_freed"], 4 * MIB);
    dir.assert_published("a/m.gguf", &model(1, 2));
    dir.assert_absent("b/m.gguf");
    dir.assert_absent("b/x");
    assert!(own.exists());
    let held = json(&of_dir(&dir, "list", ["--json"]).run().succeeds())["held"].clone();
    assert_eq!(held["files"].as_array().map(Vec::len), Some(1));
    hub.clear();
    dir.fetch(&hub, ["--manifest", "models.toml", "--locked"]).run().succeeds().says("nothing to do");
    assert!(hub.requests().is_empty());
}

#[test]
fn a_file_that_was_changed_since_it_was_verified_stays() {
    let dir = TestDir::new();
    let _hub = two_models(&dir);
    fs::write(dir.file("b/m.gguf"), b"mine now").expect("changed");
    let run = of_dir(&dir, "prune", ["--keep", "models.lock", "--yes"]).run().succeeds();
    run.prints("kept").prints("b/m.gguf: it was changed");
    assert_eq!(fs::read(dir.file("b/m.gguf")).expect("the file"), b"mine now");
    dir.assert_absent("b/x");
}

#[test]
fn a_cache_keeps_what_a_branch_or_a_kept_lock_file_names() {
    let (old, new, other) = (model(1, 2), model(2, 2), model(3, 1));
    let hub =
        built(FakeHub::builder().repo(Repo::model(REPO).lfs(FILE, old.clone()).lfs("both.gguf", other)));
    let dir = TestDir::new();
    let fetch = |arguments: &[&str]| {
        let arguments = [REPO].into_iter().chain(arguments.iter().copied());
        dir.cache_job("fetch", &hub, arguments).run().succeeds();
    };
    let before = hub.commit(REPO, "main").expect("a branch");
    manifest(&dir, &format!("[[model]]\nrepo = \"{REPO}\"\n"));
    let lock = || dir.command(["lock", "--update"]).env("HF_ENDPOINT", hub.endpoint()).run().succeeds();
    lock();
    fs::copy(dir.path().join("models.lock"), dir.path().join("old.lock")).expect("a copy");
    fetch(&["--revision", &before]);
    let after = hub.push(REPO, "main", |tree| {
        tree.lfs(FILE, new.clone());
    });
    fetch(&[]);
    lock();
    let folder = "models--owner--name";
    let is_there = |commit: &str| dir.file(&format!("{folder}/snapshots/{commit}/{FILE}")).exists();
    let both = ["--keep", "models.lock", "old.lock", "--yes"];
    of_cache(&dir, "prune", both).run().succeeds().prints("0 files removed");
    assert!(is_there(&before) && is_there(&after));
    of_cache(&dir, "prune", ["--keep", "models.lock", "--yes"]).run().succeeds().prints("1 file removed");
    assert!(!is_there(&before) && is_there(&after));
    dir.assert_absent(&format!("{folder}/blobs/{}", old.sha256()));
    assert!(dir.file(&format!("{folder}/snapshots/{after}/both.gguf")).exists());
    hub.clear();
    fetch(&["--revision", &after]);
    assert!(hub.requests_to(Server::Cdn).is_empty());
}

#[test]
fn nothing_goes_while_another_process_holds_the_directory() {
    let model = model(5, 8);
    let hub = hub(&model);
    let dir = TestDir::new();
    hub.fault(Rule::cdn().nth(2).always().then(Fault::pause(0, Duration::from_mins(1))));
    let mut fetch = dir.fetch(&hub, [REPO, FILE, "--connections", "1"]).start();
    fetch.wait_until("some bytes are journaled or on their way", |_| dir.state("partial").exists());
    fetch.wait_until("the lock is held", |_| dir.state("owner.json").exists());
    of_dir(&dir, "prune", ["--partials", "--yes"]).run().exits(23).says("in use");
    fetch.kill();
    of_dir(&dir, "prune", ["--partials", "--yes"]).run().succeeds();
}

#[test]
fn the_space_of_what_goes_comes_back() {
    let Some(volume) = Volume::of_mib(16) else { return };
    let dir = TestDir::with_models(volume.path());
    let _hub = two_models(&dir);
    let free =
        || rustix::fs::statvfs(volume.path()).map(|stat| stat.f_bavail * stat.f_frsize).expect("free space");
    let before = free();
    of_dir(&dir, "prune", ["--keep", "models.lock", "--yes"]).run().succeeds();
    assert!(free() >= before + 4 * MIB, "{before} -> {}", free());
}

#[test]
fn a_prune_that_says_nothing_or_finds_no_target_is_refused() {
    let dir = TestDir::new();
    of_dir(&dir, "prune", []).run().exits(2).says("--keep").says("--partials");
    of_dir(&dir, "prune", ["--partials", "--yes"]).run().exits(2).says("nothing in it was fetched");
    assert!(!dir.models().exists(), "a prune makes no directory");
    dir.put("file", b"");
    of_dir(&dir, "prune", ["--partials", "--yes"]).run().exits(2);
    assert!(!dir.state("").exists());
    of_dir(&dir, "prune", ["--keep", "absent.lock"]).run().exits(2).says("absent.lock");
    of_dir(&dir, "list", []).run().succeeds();
}
