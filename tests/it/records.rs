//! What a receipt says is true of the file that is there now, or the file is hashed again.

use std::fs;

use fake_hub::{FakeHub, Payload, Repo, Server};
use serde_json::Value;

use crate::support::{MIB, REPO, TestDir, built, model};

#[test]
fn a_file_that_is_overwritten_while_another_one_downloads_gets_no_receipt() {
    let (kept, slow) = (model(1, 1), model(2, 12));
    let repo = Repo::model(REPO).lfs("z.gguf", kept.clone());
    let hub = built(FakeHub::builder().rate_per_connection(4_000_000).repo(repo));
    let dir = TestDir::new();
    dir.fetch(&hub, [REPO]).run().succeeds();
    hub.push(REPO, "main", |tree| {
        tree.lfs("a.gguf", slow.clone());
    });
    hub.clear();
    let mut run = dir.fetch(&hub, [REPO, "--connections", "1"]).start();
    run.wait_until("bytes of the other one", |_| hub.bytes_sent(Server::Cdn) > MIB);
    dir.put("z.gguf", &model(3, 1).to_vec());
    run.finish();
    hub.clear();
    dir.fetch(&hub, [REPO]).run().succeeds();
    assert!(!hub.requests_to(Server::Cdn).is_empty(), "what was overwritten counts as verified");
    dir.assert_done("z.gguf", &kept);
    dir.assert_done("a.gguf", &slow);
}

/// A small file of git that was fetched with a pin.
fn pinned_config(dir: &TestDir) -> (FakeHub, Payload) {
    let config = Payload::bytes(r#"{"model_type":"llama"}"#);
    let hub = built(FakeHub::builder().repo(Repo::model(REPO).small("config.json", config.clone())));
    dir.fetch(&hub, [REPO, "config.json", "--sha256", config.sha256()]).run().succeeds();
    (hub, config)
}

#[test]
fn the_pin_of_a_small_file_counts_when_it_is_verified() {
    let dir = TestDir::new();
    let (hub, config) = pinned_config(&dir);
    let verify = |flags: &[&'static str]| dir.job("verify", &hub, flags.iter().copied()).run();
    verify(&[]).succeeds();
    let other = Payload::bytes("other");
    dir.job("verify", &hub, ["--sha256", other.sha256()]).run().exits(20);
    dir.job("verify", &hub, ["--sha256", config.sha256()]).run().succeeds();
    dir.put("config.json", br#"{"model_type":"other"}"#);
    verify(&[]).exits(20).prints("WRONG");
}

#[test]
fn each_digest_of_a_receipt_is_checked() {
    for (digest, wrong) in [("git_sha1", "0".repeat(40)), ("sha256", "0".repeat(64))] {
        let dir = TestDir::new();
        let (hub, config) = pinned_config(&dir);
        // Found by what it says, not by where it lies.
        let (path, mut receipt) = dir
            .all_files()
            .into_iter()
            .filter(|path| path.starts_with(dir.state("receipts")))
            .map(|path| (path.clone(), fs::read(path).expect("a receipt")))
            .find_map(|(path, text)| Some((path, serde_json::from_slice::<Value>(&text).ok()?)))
            .expect("the receipt of the only file");
        assert_eq!(receipt["sha256"], config.sha256());
        assert!(receipt["git_sha1"].is_string(), "{receipt}");
        receipt[digest] = wrong.into();
        fs::write(path, receipt.to_string()).expect("a receipt");
        dir.job("verify", &hub, []).run().exits(20).prints("WRONG");
    }
}
