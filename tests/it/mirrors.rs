//! Mirrors, edges and caches that tell less of a file than the Hub, or something of their own: whatever another
//! answer can tell is asked for there, and the run ends well.

use std::sync::atomic::{AtomicU64, Ordering};

use fake_hub::{FakeHub, Fault, Manager, Payload, Repo, Rule, Server};

use crate::support::{FILE, REPO, TestDir, built, hub, model};

const SMALL: &str = "docs/config.json";
/// What a cache may have in an `ETag`: 40 and 64 hex digits that are no digest of a Hub's.
const OWN_40: &str = "\"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd\"";
const OWN_64: &str = "\"abababababababababababababababababababababababababababababababab\"";

/// The facts of a file beside its bytes, as `HEAD` tells them.
const FACTS: [&str; 5] = ["X-Repo-Commit", "X-Linked-Etag", "X-Linked-Size", "X-Xet-Hash", "ETag"];

fn config() -> Payload {
    Payload::bytes(r#"{"model_type":"llama"}"#)
}

fn both(model: &Payload) -> FakeHub {
    let repo = Repo::model(REPO).lfs(FILE, model.clone()).small(SMALL, config());
    built(FakeHub::builder().repo(repo))
}

/// Takes these headers from every answer about a file.
fn without(hub: &FakeHub, names: &[&str]) {
    let faults = names.iter().map(|name| Fault::without_header(name)).collect();
    hub.fault(Rule::hub().path_contains("/resolve").always().then(Fault::All(faults)));
}

/// An `ETag` of its own on every answer about a file.
fn own_etag(hub: &FakeHub, etag: &str) {
    hub.fault(Rule::hub().path_contains("/resolve").always().then(Fault::header("ETag", etag)));
}

fn without_api(hub: &FakeHub) {
    hub.fault(Rule::hub().path_contains("/api/models/").always().then(Fault::status(404)));
}

#[track_caller]
fn brings_both(hub: &FakeHub, model: &Payload) {
    let dir = TestDir::new();
    let run = dir.fetch(hub, [REPO, FILE, SMALL, "--json"]).run().succeeds();
    dir.assert_done(FILE, model);
    dir.assert_done(SMALL, &config());
    assert_eq!(run.json()["commit"], hub.commit(REPO, "main").expect("a branch"));
    let digests: Vec<_> = run.json()["files"]
        .as_array()
        .expect("files")
        .iter()
        .map(|file| file["digest"].as_str().expect("a digest").len())
        .collect();
    assert_eq!(digests, [64, 40], "the names that the Hub gives to the contents");
}

#[test]
fn a_fact_that_no_header_tells_is_asked_for_in_another_way() {
    let model = model(1, 2);
    for missing in FACTS.iter().map(std::slice::from_ref).chain([&FACTS[..]]) {
        let hub = both(&model);
        without(&hub, missing);
        brings_both(&hub, &model);
    }
}

#[test]
fn a_length_that_an_edge_dropped_is_asked_for_in_another_way() {
    let model = model(1, 2);
    for fault in [Fault::Chunked, Fault::header("Content-Encoding", "gzip")] {
        let hub = both(&model);
        without(&hub, &["X-Linked-Size"]);
        hub.fault(Rule::hub().path_contains("/resolve").method("HEAD").always().then(fault));
        brings_both(&hub, &model);
    }
}

#[test]
fn an_etag_that_a_cache_made_up_is_no_digest() {
    let model = model(1, 2);
    for etag in [OWN_40, OWN_64, "\"d41d8cd98f00b204e9800998ecf8427e\"", "W/\"1-2\""] {
        let hub = both(&model);
        without(&hub, &["X-Linked-Etag"]);
        own_etag(&hub, etag);
        brings_both(&hub, &model);
    }
}

#[test]
fn a_pin_beats_any_etag_where_there_is_no_list() {
    let model = model(1, 2);
    for etag in [OWN_40, OWN_64] {
        let hub = both(&model);
        without(&hub, &["X-Linked-Etag"]);
        own_etag(&hub, etag);
        without_api(&hub);
        let dir = TestDir::new();
        let pins = [format!("{FILE}={}", model.sha256()), format!("{SMALL}={}", config().sha256())];
        dir.fetch(&hub, [REPO, FILE, SMALL, "--sha256", &pins[0], "--sha256", &pins[1]]).run().succeeds();
        dir.assert_done(FILE, &model);
        dir.assert_done(SMALL, &config());
    }
}

/// As Artifactory does: etags of its own, no header of a Hub, no list.
#[test]
fn a_pin_and_a_mirror_that_tells_nothing_of_a_hub_are_enough() {
    let model = model(1, 2);
    let hub = hub(&model);
    let commit = hub.commit(REPO, "main").expect("a branch");
    without(&hub, &FACTS);
    own_etag(&hub, OWN_40);
    without_api(&hub);
    let dir = TestDir::new();
    let run = dir
        .fetch(&hub, [REPO, FILE, "--sha256", model.sha256(), "--revision", &commit, "--json"])
        .run()
        .succeeds();
    dir.assert_done(FILE, &model);
    assert_eq!(run.json()["commit"], commit);

    let dir = TestDir::new();
    dir.fetch(&hub, [REPO, FILE, "--sha256", model.sha256()])
        .run()
        .succeeds()
        .says("does not tell which commit main is");
    dir.assert_done(FILE, &model);
    let in_cache = ["--sha256", model.sha256()];
    dir.cache_job("fetch", &hub, [REPO, FILE].into_iter().chain(in_cache))
        .run()
        .exits(30)
        .says("no X-Repo-Commit header tells the commit");
}

#[test]
fn who_tells_no_digest_in_any_way_is_refused_by_the_name_of_the_header() {
    let model = model(1, 2);
    let hub = hub(&model);
    without(&hub, &FACTS);
    without_api(&hub);
    let dir = TestDir::new();
    dir.fetch(&hub, [REPO, FILE])
        .run()
        .exits(30)
        .says("no X-Linked-ETag header tells the digest")
        .says("pin it with --sha256");
    assert!(dir.all_files().is_empty());
    assert_eq!(hub.bytes_sent(Server::Cdn), 0, "the headers of the CDN tell the size");
}

#[test]
fn a_size_that_nothing_else_tells_is_read_from_a_range_of_one_byte() {
    let hub = both(&model(1, 1));
    without_api(&hub);
    hub.fault(Rule::hub().method("HEAD").always().then(Fault::Chunked));
    let dir = TestDir::new();
    dir.fetch(&hub, [REPO, SMALL, "--sha256", config().sha256()]).run().succeeds();
    dir.assert_done(SMALL, &config());
    let ranges: Vec<_> = hub.requests_to(Server::Hub).iter().filter_map(|r| r.request.range()).collect();
    assert_eq!(ranges, [(0, Some(0)), (0, Some(config().size() - 1))]);
}

#[test]
fn a_repository_that_is_not_there_is_asked_for_once() {
    let hub = both(&model(1, 1));
    let dir = TestDir::new();
    dir.fetch(&hub, ["owner/missing", "*"]).run().exits(11);
    assert_eq!(hub.requests().len(), 1);
}

#[test]
fn a_head_that_is_refused_is_asked_as_a_get() {
    let model = model(1, 2);
    for status in [400, 403, 404, 405, 501] {
        let hub = both(&model);
        let mute = fake_hub::Reply::new(status);
        hub.fault(Rule::hub().method("HEAD").always().then(Fault::Reply(mute)));
        brings_both(&hub, &model);
        let ranges =
            hub.requests_to(Server::Cdn).iter().filter(|r| r.request.range() == Some((0, Some(0)))).count();
        assert_eq!(ranges, 0, "the Hub's own answer tells all");
    }
}

#[test]
fn the_commit_of_a_branch_is_read_from_a_header_where_there_is_no_api_for_it() {
    let model = model(1, 2);
    for refusal in [Fault::status(404), Fault::status(405), Fault::html(200)] {
        let hub = both(&model);
        hub.fault(Rule::hub().path_contains("/revision/").always().then(refusal));
        let dir = TestDir::new();
        dir.fetch(&hub, [REPO, "*"]).run().succeeds();
        dir.assert_done(FILE, &model);
        dir.assert_done(SMALL, &config());
    }
}

#[test]
fn another_commit_than_the_one_that_was_asked_for_is_refused() {
    let model = model(1, 2);
    let hub = both(&model);
    let commit = hub.commit(REPO, "main").expect("a branch");
    let other = "0123456789".repeat(4);
    hub.fault(Rule::resolve().always().then(Fault::header("X-Repo-Commit", &other)));
    let dir = TestDir::new();
    dir.fetch(&hub, [REPO, FILE, "--revision", &commit])
        .run()
        .exits(30)
        .says(&format!("asked for commit {commit} it answers with {other}"))
        .says("hint:");
    assert!(dir.all_files().is_empty());
    // Another endpoint may be right.
    let right = both(&model);
    dir.fetch(&hub, [REPO, FILE, "--revision", &commit])
        .args(["--endpoint", &hub.endpoint(), "--endpoint", &right.endpoint()])
        .run()
        .succeeds();
    dir.assert_done(FILE, &model);
}

/// Replicas behind one name, in turn, each with an etag of its own.
fn two_backends(hub: &FakeHub) {
    let count = AtomicU64::new(0);
    hub.on(Rule::cdn().always(), move |_, reply| {
        let backend = count.fetch_add(1, Ordering::Relaxed) % 2;
        reply.set("ETag", Some(format!("\"backend {backend}\"")));
    });
}

#[test]
fn two_backends_with_etags_of_their_own_cost_no_byte_twice() {
    let model = model(1, 16);
    let hub = hub(&model);
    two_backends(&hub);
    let dir = TestDir::new();
    let run = dir.fetch(&hub, [REPO, FILE, "--connections", "1", "--json"]).run().succeeds();
    dir.assert_done(FILE, &model);
    assert_eq!(run.json()["bytes_fetched"], model.size());
}

#[test]
fn of_two_backends_the_bytes_of_the_wrong_one_alone_are_fetched_again() {
    let model = model(1, 64);
    let hub = hub(&model);
    // A stale copy sends the second of the ranges.
    let stale = |_: &_, reply: &mut fake_hub::Reply| {
        let mut content = reply.content();
        content.reverse();
        *reply = reply.clone().body(content).header("ETag", "\"stale\"");
    };
    let hits = hub.on(Rule::cdn().nth(2), stale);
    let dir = TestDir::new();
    let run = dir.fetch(&hub, [REPO, FILE, "--connections", "1", "--json"]).run().succeeds();
    dir.assert_done(FILE, &model);
    assert_eq!(hits.count(), 1);
    let again = run.json()["bytes_fetched"].as_u64().expect("a number") - model.size();
    assert_eq!(again, hub.requests_to(Server::Cdn)[1].bytes_sent, "what the stale copy sent, and no more");
}

#[test]
fn an_artifact_manager_that_lists_nothing_has_the_list_with_the_revision() {
    let model = model(1, 2);
    for manager in [Manager::Artifactory, Manager::Nexus] {
        let repo = Repo::model(REPO).lfs(FILE, model.clone()).small(SMALL, config());
        let hub = built(FakeHub::builder().repo(repo).manager(manager));
        brings_both(&hub, &model);

        let dir = TestDir::new();
        dir.fetch(&hub, [REPO, "--include", "*.json"]).run().succeeds();
        dir.assert_done(SMALL, &config());
        assert!(!dir.path().join(FILE).exists(), "{manager:?}");

        // Without any list a pin is enough.
        let dir = TestDir::new();
        hub.fault(Rule::hub().path_contains("blobs=true").always().then(Fault::status(404)));
        dir.fetch(&hub, [REPO, FILE, "--sha256", model.sha256()]).run().succeeds();
        dir.assert_done(FILE, &model);
    }
}
