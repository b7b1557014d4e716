//! No name of a file gets in the way of another one, nor of this program's own files.

use std::fs;
use std::path::PathBuf;

use fake_hub::{FakeHub, Fault, Repo, Rule, Server};

use crate::support::command::Modelfetch;
use crate::support::{FILE, REPO, TestDir, built, hub, model};

/// Small files with these names, each with its name as its content.
fn named(names: &[&str]) -> FakeHub {
    built(FakeHub::builder().repo(names.iter().fold(Repo::model(REPO), |repo, name| repo.small(name, *name))))
}

type Fetch = fn(&TestDir, &FakeHub) -> Modelfetch;

/// Into a directory and into a cache: how, and where the files are then.
fn both_ways(hub: &FakeHub) -> [(TestDir, Fetch, PathBuf); 2] {
    let commit = hub.commit(REPO, "main").expect("a branch");
    let (plain, cache) = (TestDir::new(), TestDir::new());
    let in_cache = cache.file("models--owner--name").join("snapshots").join(commit);
    let in_dir = plain.models().to_owned();
    [
        (plain, |dir, hub| dir.fetch(hub, [REPO]), in_dir),
        (cache, |dir, hub| dir.cache_job("fetch", hub, [REPO]), in_cache),
    ]
}

#[test]
fn names_that_differ_by_an_ending_of_ours_are_published_side_by_side() {
    let sets: [&[&str]; 5] = [
        &["a.tmp", "a"],
        &["x.json/y", "x"],
        &["x.json.tmp/y", "x"],
        &["x.json", "x", "x.json.json"],
        &["d/a.tmp/b", "d/a"],
    ];
    for names in sets {
        let hub = named(names);
        for (dir, fetch, place) in both_ways(&hub) {
            // One after the other, so that the later ones meet the earlier ones.
            for name in names {
                fetch(&dir, &hub).arg(name).run().succeeds();
            }
            for name in names {
                assert_eq!(fs::read_to_string(place.join(name)).expect(name), *name, "of {names:?}");
            }
            hub.clear();
            fetch(&dir, &hub).args(names).arg("--offline").run().succeeds();
            assert!(hub.requests().is_empty());
        }
    }
}

#[test]
fn a_name_may_be_as_long_as_a_file_system_allows() {
    for length in [246, 247, 250, 251, 255] {
        let (name, folder) = ("n".repeat(length), format!("{}/x", "d".repeat(length)));
        let hub = named(&[&name, &folder]);
        for (dir, fetch, place) in both_ways(&hub) {
            fetch(&dir, &hub).run().succeeds();
            for name in [&name, &folder] {
                assert_eq!(&fs::read_to_string(place.join(name)).expect("a file"), name);
            }
            fetch(&dir, &hub).arg("--offline").run().succeeds().says("already there and verified");
        }
    }
}

#[test]
fn a_name_that_no_file_system_allows_is_refused_before_a_byte() {
    let name = "n".repeat(256);
    let repo = Repo::model(REPO).lfs(&name, model(1, 1)).lfs("a", model(2, 1));
    let hub = built(FakeHub::builder().repo(repo));
    for (dir, fetch, _) in both_ways(&hub) {
        let run = fetch(&dir, &hub).run();
        assert!(!matches!(run.status, Some(0)), "{run:?}");
        assert!(hub.requests_to(Server::Cdn).is_empty());
        assert!(dir.all_files().is_empty());
    }
}

#[test]
fn the_state_folder_is_refused_in_any_spelling() {
    let hub = hub(&model(1, 1));
    for name in [".modelfetch/x", ".MODELFETCH/x", ".ModelFetch/x", "a/.MODELFETCH"] {
        let dir = TestDir::new();
        dir.fetch(&hub, [REPO, name]).run().exits(2).says("this tool's own state");
        let other = named(&[name]);
        dir.fetch(&other, [REPO]).run().exits(2).says("this tool's own state").says("--exclude");
        assert!(dir.all_files().is_empty());
    }
    assert!(hub.requests().is_empty());
}

#[test]
fn two_repositories_never_share_a_folder_of_a_cache() {
    let hub = hub(&model(1, 1));
    hub.fault(Rule::hub().always().then(Fault::status(404)));
    for repo in ["a--b/c", "a/b--c", "hf://a/b--c"] {
        let dir = TestDir::new();
        dir.cache_job("fetch", &hub, [repo, FILE]).run().exits(2).says("--");
        dir.fetch(&hub, [repo, FILE]).run().exits(2);
    }
    assert!(hub.requests().is_empty());
}
