//! A model in shards is taken as a whole, or not at all: servers load a part of one without an error.

use fake_hub::{FakeHub, Payload, Repo, Server};

use crate::support::{REPO, TestDir, built};

const INDEX: &str = "model.safetensors.index.json";
const SHARDS: [&str; 3] = [
    "model-00001-of-00003.safetensors",
    "model-00002-of-00003.safetensors",
    "model-00003-of-00003.safetensors",
];

/// A repository whose index names all shards, with some of them.
fn hub(shards: &[&str]) -> FakeHub {
    let weights: Vec<_> =
        SHARDS.iter().enumerate().map(|(n, shard)| format!(r#""layer.{n}.weight":"{shard}""#)).collect();
    let index = format!(r#"{{"metadata":{{"total_size":3000}},"weight_map":{{{}}}}}"#, weights.join(","));
    let mut repo = Repo::model(REPO).small(INDEX, index.into_bytes()).small("config.json", &b"{}"[..]);
    for (seed, shard) in (1..).zip(shards) {
        repo = repo.lfs(shard, Payload::random(seed, 300_000));
    }
    built(FakeHub::builder().repo(repo))
}

#[test]
fn a_part_of_the_shards_of_an_index_is_refused_before_a_byte() {
    let hub = hub(&SHARDS);
    let dir = TestDir::new();
    let two = ["--include", "*.json", "--include", SHARDS[0], "--include", SHARDS[2]];
    for command in ["fetch", "plan"] {
        let run = dir.job(command, &hub, [REPO].into_iter().chain(two)).run().exits(2);
        run.says(INDEX).says(&format!("neither taken nor there: {}\n", SHARDS[1])).says("--exclude");
    }
    assert!(hub.requests_to(Server::Cdn).is_empty());
    dir.fetch(&hub, [REPO]).run().succeeds();
    dir.fetch(&hub, [REPO].into_iter().chain(two)).run().succeeds();
}

#[test]
fn a_repository_that_lacks_a_shard_of_its_index_is_told() {
    let hub = hub(&SHARDS[..2]);
    let dir = TestDir::new();
    dir.fetch(&hub, [REPO]).run().exits(2).says(SHARDS[2]).says("repository");
    dir.fetch(&hub, [REPO, "--exclude", "*.index.json"]).run().succeeds();
    dir.fetch(&hub, [REPO]).run().exits(2);
}

#[test]
fn an_index_without_shards_and_shards_that_an_earlier_run_brought_are_nothing_to_complain_of() {
    let hub = hub(&SHARDS);
    let dir = TestDir::new();
    dir.fetch(&hub, [REPO, "--include", "*.json"]).run().succeeds();
    dir.fetch(&hub, [REPO, "--include", SHARDS[0], "--include", SHARDS[1]]).run().succeeds();
    dir.fetch(&hub, [REPO, "--include", "*.json", "--include", SHARDS[2]]).run().succeeds();
    hub.clear();
    dir.fetch(&hub, [REPO]).run().succeeds().says("nothing to do");
}

#[test]
fn an_index_that_cannot_be_read_is_a_warning() {
    let repo = Repo::model(REPO)
        .small(INDEX, &b"{\"weight_map\":[]}"[..])
        .lfs(SHARDS[0], Payload::random(1, 300_000));
    let hub = built(FakeHub::builder().repo(repo));
    TestDir::new().fetch(&hub, [REPO]).run().succeeds().says("not checked");
}

#[test]
fn a_lock_file_holds_whole_sets_alone() {
    let hub = hub(&SHARDS[..2]);
    let dir = TestDir::new();
    std::fs::write(dir.path().join("models.toml"), format!("[[model]]\nrepo = \"{REPO}\"\n"))
        .expect("a manifest");
    dir.command(["lock"]).env("HF_ENDPOINT", hub.endpoint()).run().exits(2).says(SHARDS[2]);
}
