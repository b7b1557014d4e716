//! Volumes that are not what a program would like: read-only, shared, of several mounts, without some names.

use std::fs;

use fake_hub::{FakeHub, Payload, Repo, Server};

use crate::support::volume::Volume;
use crate::support::{FILE, REPO, TestDir, built, model};

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
