//! Volumes that are not what a program would like: read-only, shared, of several mounts, without some names.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use fake_hub::{FakeHub, Payload, Repo, Server};

use crate::support::command::{Modelfetch, Run};
use crate::support::volume::{Volume, skipped};
use crate::support::{FILE, MIB, REPO, TestDir, built, model};

/// A read-only volume on which a file was fetched, after which the branch moved.
struct Moved {
    hub: FakeHub,
    volume: Volume,
    dir: TestDir,
    old: Payload,
}

impl Moved {
    /// To a commit with this content.
    fn to(new: &Payload) -> Option<Self> {
        let volume = Volume::of_mib(16)?;
        let old = model(1, 1);
        let hub = built(FakeHub::builder().repo(Repo::model(REPO).lfs(FILE, old.clone())));
        let dir = TestDir::with_models(volume.path());
        dir.fetch(&hub, [REPO, FILE]).run().succeeds();
        dir.cache_job("fetch", &hub, [REPO, FILE]).run().succeeds();
        hub.push(REPO, "main", |tree| {
            tree.small("README.md", "new").lfs(FILE, new.clone());
        });
        volume.set_read_only(true);
        hub.clear();
        Some(Self { hub, volume, dir, old })
    }
}

#[test]
fn a_read_only_volume_whose_branch_moved_serves_what_was_verified_and_says_so() {
    let Some(moved) = Moved::to(&model(2, 1)) else { return };
    let (hub, dir) = (&moved.hub, &moved.dir);
    for fetch in [
        |dir: &TestDir, hub: &FakeHub| dir.fetch(hub, [REPO, FILE]),
        |dir: &TestDir, hub: &FakeHub| dir.cache_job("fetch", hub, [REPO, FILE]),
    ] {
        let run = fetch(dir, hub).arg("--json").run().succeeds();
        assert_eq!(run.json()["stale"], true);
        let target = run.json()["files"][0]["target"].as_str().expect("a path").to_owned();
        assert!(fs::metadata(&target).is_ok(), "{target} is not there");
        run.says("warning: main is commit").says("Read-only file system").says("was verified earlier");
        fetch(dir, hub).arg("--require-fresh").run().exits(22).says("mounted read-only");
        fetch(dir, hub).args(["--sha256", model(2, 1).sha256()]).run().exits(22);
    }
    assert!(hub.requests_to(Server::Cdn).is_empty());
    dir.assert_published(FILE, &moved.old);
    moved.volume.set_read_only(false);
    dir.fetch(hub, [REPO, FILE]).run().succeeds();
    dir.assert_done(FILE, &model(2, 1));
}

#[test]
fn a_read_only_volume_with_what_the_moved_branch_has_is_up_to_date() {
    let Some(moved) = Moved::to(&model(1, 1)) else { return };
    let (hub, dir) = (&moved.hub, &moved.dir);
    let commit = hub.commit(REPO, "main").expect("a branch");
    let run = dir.fetch(hub, [REPO, FILE, "--require-fresh", "--json"]).run().succeeds();
    assert_eq!((&run.json()["stale"], &run.json()["commit"]), (&false.into(), &commit.into()));
    run.says("nothing can be written in").says("already there and verified");
    // Readers of the cache find the old commit only.
    let run = dir.cache_job("fetch", hub, [REPO, FILE, "--json"]).run().succeeds();
    assert_eq!(run.json()["stale"], true);
    assert!(hub.requests_to(Server::Cdn).is_empty());
}

#[test]
fn a_read_only_volume_without_receipts_is_hashed_and_used() {
    let Some(volume) = Volume::of_mib(16) else { return };
    let payload = model(1, 1);
    let hub = built(FakeHub::builder().repo(Repo::model(REPO).lfs(FILE, payload.clone())));
    let dir = TestDir::with_models(volume.path());
    let fetch = || dir.fetch(&hub, [REPO, FILE]);
    dir.put(FILE, &payload.to_vec());
    volume.set_read_only(true);
    fetch().run().succeeds().says("are right").says("will be hashed at every start");
    volume.set_read_only(false);
    fetch().run().succeeds();
    volume.set_read_only(true);
    fetch().args(["--verify", "full"]).run().succeeds().says("are right");
    volume.set_read_only(false);
    dir.put(FILE, &model(2, 1).to_vec());
    volume.set_read_only(true);
    fetch().run().exits(22).says("is not what the Hub has").says("mounted read-only");
    assert!(hub.requests_to(Server::Cdn).is_empty());
}

/// Somebody without rights of root.
const USER: u32 = 12_345;

/// A directory into which that user may write, below folders that are open to all. `None`, loudly, where there is only
/// one user.
fn of_users(mode: u32) -> Option<TestDir> {
    if !rustix::process::geteuid().is_root() {
        skipped("only root can run the program as another user");
        return None;
    }
    let dir = TestDir::new();
    fs::create_dir(dir.models()).expect("a directory");
    for (path, mode) in [(dir.path(), 0o755), (dir.models(), mode)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("our own");
    }
    Some(dir)
}

/// Each of these says before the first byte what is in the way, and leaves nothing.
#[track_caller]
fn refused(dir: &TestDir, hub: &FakeHub, user: Option<u32>, words: &[&str]) {
    let before = dir.all_files();
    for command in ["plan", "smoke", "fetch"] {
        hub.clear();
        let job = dir.job(command, hub, [REPO]);
        let run = match user {
            Some(user) => job.by_user(user).run(),
            None => job.run(),
        };
        words.iter().fold(run.exits(22).says("hint: "), |run, word| run.says(word));
        assert!(command == "smoke" || hub.requests_to(Server::Cdn).is_empty(), "{command}");
        dir.assert_no_leftovers();
        assert!(command != "plan" || dir.all_files() == before, "{:?}", dir.all_files());
    }
}

#[test]
fn a_file_that_may_not_be_replaced_is_told_before_the_first_byte() {
    let hub = built(FakeHub::builder().repo(Repo::model(REPO).lfs(FILE, model(1, 1))));
    let Some(dir) = of_users(0o1777) else { return };
    let file = dir.put(FILE, b"somebody else's");
    chown(&file, Some(54_321), None).expect("root may");
    let path = file.display().to_string();
    refused(&dir, &hub, Some(USER), &["cannot replace", &path, "Operation not permitted"]);
    assert_eq!(fs::read(&file).expect("still there"), b"somebody else's");
    // The owner may.
    dir.fetch(&hub, [REPO]).by_user(54_321).run().exits(22);
    fs::remove_dir_all(dir.state("")).expect("of the other user");
    dir.fetch(&hub, [REPO]).by_user(54_321).run().succeeds();
    dir.assert_done(FILE, &model(1, 1));
}

#[test]
fn a_folder_on_another_volume_is_told_before_the_first_byte() {
    let Some(volume) = Volume::of_mib(8) else { return };
    let repo = Repo::model(REPO).lfs(FILE, model(1, 1)).lfs("sub/deeper/model.gguf", model(2, 1));
    let hub = built(FakeHub::builder().repo(repo));
    let dir = TestDir::new();
    let sub = dir.file("sub");
    fs::create_dir_all(&sub).expect("a folder");
    let _mounted = volume.bound_to(&sub);
    refused(&dir, &hub, None, &["cannot publish in", &sub.display().to_string(), "is on another volume"]);
    dir.fetch(&hub, [REPO, FILE]).run().succeeds();
}

#[test]
fn a_folder_that_cannot_be_written_is_told_before_the_first_byte() {
    let hub = built(FakeHub::builder().repo(Repo::model(REPO).lfs("sub/model.gguf", model(1, 1))));
    for folder in ["sub", ".modelfetch/receipts", ".modelfetch/hub"] {
        let Some(dir) = of_users(0o777) else { return };
        fs::create_dir_all(dir.file(folder)).expect("a folder of root");
        chown(dir.file(".modelfetch"), Some(USER), Some(USER)).or_else(ignore_absence).expect("root may");
        refused(&dir, &hub, Some(USER), &[&dir.file(folder).display().to_string(), "needs write permission"]);
    }
}

fn ignore_absence(why: std::io::Error) -> std::io::Result<()> {
    if why.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(why) }
}

#[test]
fn a_plan_for_a_directory_that_could_not_be_made_says_so() {
    let hub = built(FakeHub::builder().repo(Repo::model(REPO).lfs(FILE, model(1, 1))));
    let Some(dir) = of_users(0o755) else { return };
    let plan = |below: &Path| {
        let command = dir.command(["plan", REPO, "--dir"]).arg(below).env("HF_ENDPOINT", hub.endpoint());
        command.by_user(USER).run()
    };
    let below = dir.file("deeper/still");
    plan(&below).exits(22).says(&dir.models().display().to_string()).says("needs write permission");
    fs::set_permissions(dir.models(), fs::Permissions::from_mode(0o777)).expect("our own");
    plan(&below).succeeds();
    assert!(dir.all_files().is_empty() && !below.exists());
}

#[test]
fn a_plan_on_a_read_only_volume_says_what_a_fetch_says() {
    let Some(moved) = Moved::to(&model(2, 1)) else { return };
    let (hub, dir) = (&moved.hub, &moved.dir);
    dir.job("plan", hub, [REPO, FILE]).run().succeeds().says("nothing can be written");
    dir.job("plan", hub, [REPO, FILE, "--require-fresh"]).run().exits(22).says("mounted read-only");
    moved.volume.set_read_only(false);
    fs::remove_file(dir.file(FILE)).expect("it was there");
    moved.volume.set_read_only(true);
    dir.job("plan", hub, [REPO, FILE]).run().exits(22).says("mounted read-only");
}

/// A volume of 64 MiB, on which a fetch of the first of two models of 40 MiB was killed half way.
fn abandoned(cache: bool) -> Option<(FakeHub, Volume, TestDir)> {
    let volume = Volume::of_mib(64)?;
    let repo = Repo::model(REPO).lfs("first.gguf", model(1, 40)).lfs("second.gguf", model(2, 40));
    let hub = built(FakeHub::builder().rate_per_connection(16_000_000).repo(repo));
    let dir = TestDir::with_models(volume.path());
    let mut run = job(&dir, &hub, cache, "fetch", "first.gguf").start();
    // What has no record is removed by the next run.
    run.wait_until("a record", |_| dir.journaled() > 0);
    run.kill();
    hub.clear();
    Some((hub, volume, dir))
}

fn job(dir: &TestDir, hub: &FakeHub, cache: bool, command: &str, file: &str) -> Modelfetch {
    if cache { dir.cache_job(command, hub, [REPO, file]) } else { dir.job(command, hub, [REPO, file]) }
}

#[test]
fn where_there_is_no_room_unfinished_downloads_are_told_with_what_frees_them() {
    for cache in [false, true] {
        let Some((hub, _volume, dir)) = abandoned(cache) else { return };
        let target =
            if cache { "--cache=" } else { "--dir " }.to_owned() + &dir.models().display().to_string();
        for command in ["plan", "smoke", "fetch"] {
            let run = job(&dir, &hub, cache, command, "second.gguf").run().exits(21);
            run.says("1 unfinished download of 41.9 MB that nobody is at work on")
                .says("`first.gguf` of owner/name (41.9 MB)")
                .says(&format!("`modelfetch prune --partials {target}`"));
        }
        dir.command(["prune", "--partials", "--yes"]).args(target.split(' ')).run().succeeds();
        job(&dir, &hub, cache, "fetch", "second.gguf").run().succeeds();
    }
}

#[test]
fn what_a_living_process_fills_is_not_offered_to_be_removed() {
    let Some(volume) = Volume::of_mib(64) else { return };
    let repo = Repo::model(REPO).lfs("first.gguf", model(1, 40)).lfs("second.gguf", model(2, 40));
    let hub = built(FakeHub::builder().rate_per_connection(6_000_000).repo(repo));
    let dir = TestDir::with_models(volume.path());
    let mut run = dir.fetch(&hub, [REPO, "first.gguf", "--connections", "1"]).start();
    run.wait_until("a record", |_| dir.journaled() > 0);
    let plan = dir.job("plan", &hub, [REPO, "second.gguf"]).run().exits(21).says("not enough space");
    assert!(!plan.stderr.contains("unfinished"), "{}", plan.stderr);
    run.kill();
    dir.job("plan", &hub, [REPO, "second.gguf"]).run().exits(21).says("nobody is at work on");
    // What this request goes on with is not offered either.
    let plan = dir.job("plan", &hub, [REPO]).run().exits(21);
    assert!(!plan.stderr.contains("unfinished"), "{}", plan.stderr);
}

#[test]
fn a_disk_that_fills_up_under_way_tells_unfinished_downloads_too() {
    let Some((_, volume, dir)) = abandoned(false) else { return };
    let repo = Repo::model("owner/other").lfs("1.gguf", model(3, 8)).lfs("2.gguf", model(4, 8));
    let hub = built(FakeHub::builder().rate_per_connection(8_000_000).repo(repo));
    let mut run = dir.fetch(&hub, ["owner/other", "--connections", "1"]).start();
    run.wait_until("bytes", |_| hub.bytes_sent(Server::Cdn) > MIB);
    let mut filler = fs::File::create(volume.path().join("filler")).expect("a file");
    while filler.write_all(&[1; 4096]).is_ok() {}
    run.finish().exits(21).says("no space left while writing").says("`first.gguf` of owner/name (41.9 MB)");
}

#[test]
fn owners_and_rights_that_are_set_at_every_start_are_a_choice() {
    let payload = model(1, 1);
    let hub = built(FakeHub::builder().repo(Repo::model(REPO).lfs(FILE, payload.clone())));
    let dir = TestDir::new();
    dir.fetch(&hub, [REPO, FILE]).run().succeeds();
    let start = |mode| {
        fs::set_permissions(dir.file(FILE), fs::Permissions::from_mode(mode)).expect("our own");
        dir.fetch(&hub, [REPO, FILE, "--json"])
    };
    let done = |run: &Run| run.json()["files"][0]["done"].as_str().map(str::to_owned);
    let run = start(0o600).run().succeeds();
    assert_eq!(done(&run).as_deref(), Some("adopted"));
    run.says("1 file in").says("will be hashed again").says("`--verify mtime`");
    for mode in [0o640, 0o644] {
        let run = start(mode).args(["--verify", "mtime"]).run().succeeds();
        assert_eq!(done(&run).as_deref(), Some("skipped"));
    }
    // Other bytes are another time.
    dir.put(FILE, &model(2, 1).to_vec());
    let run = dir.fetch(&hub, [REPO, FILE, "--json", "--verify", "mtime"]).run().succeeds();
    assert_eq!(done(&run).as_deref(), Some("fetched"));
    dir.assert_done(FILE, &payload);
}
