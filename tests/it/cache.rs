//! `--cache`: `huggingface_hub`'s layout, to the letter.

use std::fs;
use std::path::{Path, PathBuf};

use fake_hub::{FakeHub, Payload, Repo, Server};

use crate::support::dir::sha256_of;
use crate::support::{REPO, TestDir, built, model};

const CONFIG: &str = "{\"a\":1}";

fn repo() -> Repo {
    Repo::model(REPO)
        .lfs("model.gguf", model(1, 2))
        .lfs("sub/folder/deep model ü.gguf", model(2, 1))
        .small("config.json", CONFIG)
}

/// `fetch REPO … --cache=DIR`, and the repository's folder in it.
fn fetch(dir: &TestDir, hub: &FakeHub, arguments: &[&str]) -> PathBuf {
    dir.cache_job("fetch", hub, arguments.iter().copied()).run().succeeds();
    dir.file("models--owner--name")
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap_or_else(|why| panic!("{}: {why}", dir.display()));
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn the_layout_is_huggingface_hubs() {
    let hub = built(FakeHub::builder().repo(repo()));
    let commit = hub.commit(REPO, "main").expect("a branch");
    let dir = TestDir::new();
    let folder = fetch(&dir, &hub, &[REPO]);
    assert_eq!(names(&folder), [".modelfetch", "blobs", "refs", "snapshots", "trees"]);
    // No newline: huggingface_hub does not strip it.
    assert_eq!(fs::read_to_string(folder.join("refs/main")).expect("a ref"), commit);

    let git = "sha1 of config";
    let mut blobs = vec![model(1, 2).sha256().to_owned(), model(2, 1).sha256().to_owned()];
    let found = names(&folder.join("blobs"));
    let small: Vec<_> = found.iter().filter(|name| name.len() == 40).cloned().collect();
    assert_eq!(small.len(), 1, "{git}: {found:?}");
    blobs.extend(small.clone());
    blobs.sort();
    assert_eq!(found, blobs);

    let snapshot = folder.join("snapshots").join(&commit);
    let link =
        |name: &str| fs::read_link(snapshot.join(name)).expect("a symlink").to_string_lossy().into_owned();
    assert_eq!(link("model.gguf"), format!("../../blobs/{}", model(1, 2).sha256()));
    assert_eq!(link("config.json"), format!("../../blobs/{}", small[0]));
    assert_eq!(link("sub/folder/deep model ü.gguf"), format!("../../../../blobs/{}", model(2, 1).sha256()));
    assert_eq!(sha256_of(&snapshot.join("sub/folder/deep model ü.gguf")), model(2, 1).sha256());
    assert_eq!(fs::read_to_string(snapshot.join("config.json")).expect("readable"), CONFIG);

    let tree = fs::read_to_string(folder.join(format!("trees/{commit}.json"))).expect("a listing");
    let tree: serde_json::Value = serde_json::from_str(&tree).expect("JSON");
    assert_eq!(tree["format_version"], 1);
    assert_eq!(tree["files"]["model.gguf"]["lfs_sha256"], model(1, 2).sha256());
    assert_eq!(tree["files"]["config.json"]["size"], CONFIG.len());
    assert!(names(dir.models()).contains(&"CACHEDIR.TAG".to_owned()));
    dir.assert_no_leftovers();
}

#[test]
fn the_printed_path_is_where_a_reader_looks() {
    let hub = built(FakeHub::builder().repo(repo()));
    let commit = hub.commit(REPO, "main").expect("a branch");
    let dir = TestDir::new();
    let run = dir
        .command(["fetch", REPO, "model.gguf", "--cache"])
        .env("HF_ENDPOINT", hub.endpoint())
        .env("HF_HUB_CACHE", dir.models())
        .run()
        .succeeds();
    let path = dir.models().join("models--owner--name/snapshots").join(commit).join("model.gguf");
    assert_eq!(run.stdout.trim(), path.to_string_lossy());
    assert_eq!(sha256_of(&path), model(1, 2).sha256());
}

#[test]
fn the_usual_cache_is_in_the_home_directory() {
    let hub = built(FakeHub::builder().repo(repo()));
    let dir = TestDir::new();
    dir.command(["fetch", REPO, "config.json", "--cache"])
        .env("HF_ENDPOINT", hub.endpoint())
        .run()
        .succeeds();
    assert!(dir.path().join("home/.cache/huggingface/hub/models--owner--name/refs/main").is_file());
}

#[test]
fn a_second_revision_shares_the_blobs() {
    let hub = built(FakeHub::builder().repo(repo()));
    let old = hub.commit(REPO, "main").expect("a branch");
    let dir = TestDir::new();
    fetch(&dir, &hub, &[REPO]);
    let new = hub.push(REPO, "main", |tree| {
        tree.small("README.md", "# M").small("config.json", "{}");
    });
    hub.clear();
    let folder = fetch(&dir, &hub, &[REPO]);
    assert!(hub.requests_to(Server::Cdn).is_empty(), "nothing large is fetched again");
    assert_eq!(fs::read_to_string(folder.join("refs/main")).expect("a ref"), new);
    let mut both = [old.clone(), new.clone()];
    both.sort();
    assert_eq!(names(&folder.join("snapshots")), both);
    let read = |commit: &str, name: &str| {
        fs::read_to_string(folder.join("snapshots").join(commit).join(name)).expect("a file")
    };
    assert_eq!((read(&old, "config.json"), read(&new, "config.json")), (CONFIG.to_owned(), "{}".to_owned()));
    assert_eq!(sha256_of(&folder.join("snapshots").join(&new).join("model.gguf")), model(1, 2).sha256());
    assert_eq!(names(&folder.join("blobs")).len(), 5);
}

#[test]
fn the_second_run_costs_what_it_costs_in_a_directory() {
    let hub = built(FakeHub::builder().repo(repo()));
    let commit = hub.commit(REPO, "main").expect("a branch");
    let dir = TestDir::new();
    fetch(&dir, &hub, &[REPO]);
    hub.clear();
    fetch(&dir, &hub, &[REPO]);
    assert_eq!(hub.requests().len(), 1, "a branch");
    hub.clear();
    fetch(&dir, &hub, &[REPO, "--revision", &commit]);
    fetch(&dir, &hub, &[REPO, "--offline"]);
    fetch(&dir, &hub, &[REPO, "model.gguf", "--offline"]);
    fetch(&dir, &hub, &[REPO, "model.gguf", "--sha256", model(1, 2).sha256(), "--revision", &commit]);
    assert!(hub.requests().is_empty());
}

#[test]
fn a_pinned_file_of_a_branch_in_a_cache_needs_no_request() {
    let hub = built(FakeHub::builder().repo(repo()));
    let dir = TestDir::new();
    let arguments = [REPO, "model.gguf", "--sha256", model(1, 2).sha256()].map(str::to_owned);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    fetch(&dir, &hub, &arguments);
    hub.clear();
    fetch(&dir, &hub, &arguments);
    assert!(hub.requests().is_empty());
}

#[test]
fn a_tag_and_a_pull_request_have_refs_of_their_own() {
    let repo = repo()
        .tag("v1", |tree| {
            tree.small("x", "1");
        })
        .pull_request(3, |tree| {
            tree.small("x", "2");
        });
    let hub = built(FakeHub::builder().repo(repo));
    let dir = TestDir::new();
    let folder = fetch(&dir, &hub, &["owner/name@v1", "x"]);
    fetch(&dir, &hub, &["owner/name@refs/pr/3", "x"]);
    for (revision, content) in [("v1", "1"), ("refs/pr/3", "2")] {
        let commit = hub.commit(REPO, revision).expect("a revision");
        assert_eq!(fs::read_to_string(folder.join("refs").join(revision)).expect("a ref"), commit);
        assert_eq!(
            fs::read_to_string(folder.join("snapshots").join(&commit).join("x")).expect("a file"),
            content
        );
    }
}

#[test]
fn a_blob_that_another_tool_left_is_adopted() {
    let hub = built(FakeHub::builder().repo(repo()));
    let dir = TestDir::new();
    let payload = model(1, 2);
    dir.put(&format!("models--owner--name/blobs/{}", payload.sha256()), &payload.to_vec());
    let folder = fetch(&dir, &hub, &[REPO, "model.gguf"]);
    assert!(hub.requests_to(Server::Cdn).is_empty());
    let commit = hub.commit(REPO, "main").expect("a branch");
    assert_eq!(sha256_of(&folder.join("snapshots").join(commit).join("model.gguf")), payload.sha256());
}

#[test]
fn names_with_spaces_signs_and_letters_of_any_script_survive() {
    let awkward =
        ["a b.txt", "ü/ß – dash.txt", "模型/文件.txt", "100% & more?#x.txt", "emoji 🦙.txt", "quote'\".txt"];
    let files = awkward.iter().fold(Repo::model(REPO), |repo, name| repo.small(name, *name));
    let hub = built(FakeHub::builder().repo(files));
    let dir = TestDir::new();
    dir.fetch(&hub, [REPO]).run().succeeds();
    for name in awkward {
        assert_eq!(fs::read_to_string(dir.file(name)).expect(name), name);
    }
    let by_name = TestDir::new();
    let plain: Vec<&str> = awkward.iter().filter(|name| !name.contains('?')).copied().collect();
    by_name.fetch(&hub, [&[REPO][..], &plain].concat()).run().succeeds();
    for name in plain {
        assert_eq!(fs::read_to_string(by_name.file(name)).expect(name), name);
    }
    let cache = TestDir::new();
    let folder = fetch(&cache, &hub, &[REPO]);
    let snapshot = folder.join("snapshots").join(hub.commit(REPO, "main").expect("a branch"));
    for name in awkward {
        assert_eq!(fs::read_to_string(snapshot.join(name)).expect(name), name);
    }
}

#[test]
fn an_empty_file_has_a_place_in_a_cache() {
    let hub = built(
        FakeHub::builder().repo(Repo::model(REPO).small("empty", "").lfs("big", Payload::random(1, 10))),
    );
    let dir = TestDir::new();
    let folder = fetch(&dir, &hub, &[REPO]);
    let snapshot = folder.join("snapshots").join(hub.commit(REPO, "main").expect("a branch"));
    assert_eq!(fs::read(snapshot.join("empty")).expect("a file"), b"");
}
