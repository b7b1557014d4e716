//! `verify`: which file on disk is wrong, and with `--repair` right again.

use std::fs;

use fake_hub::{FakeHub, Payload, Repo, Server};

use crate::support::command::Modelfetch;
use crate::support::{FILE, REPO, TestDir, built, model};

const NAMES: [&str; 3] = ["a.gguf", "b.gguf", "sub/c.gguf"];

/// Three files, published.
fn three_files() -> (FakeHub, TestDir) {
    let repo =
        NAMES.iter().zip(1..).fold(Repo::model(REPO), |repo, (name, seed)| repo.lfs(name, model(seed, 1)));
    let hub = built(FakeHub::builder().repo(repo.small("config.json", "{}")));
    let dir = TestDir::new();
    dir.fetch(&hub, [REPO]).run().succeeds();
    hub.clear();
    (hub, dir)
}

fn verify(dir: &TestDir, hub: &FakeHub) -> Modelfetch {
    dir.job("verify", hub, [])
}

fn damage(dir: &TestDir, name: &str) {
    let mut content = fs::read(dir.file(name)).expect("a file");
    content[5000] ^= 1;
    fs::write(dir.file(name), content).expect("a file");
}

#[test]
fn sound_files_are_hashed_and_nothing_is_asked() {
    let (hub, dir) = three_files();
    let run = verify(&dir, &hub).run().succeeds();
    assert_eq!(run.stdout.lines().filter(|line| line.starts_with("ok ")).count(), 4, "{}", run.stdout);
    assert!(hub.requests().is_empty());
}

#[test]
fn a_wrong_file_a_short_one_and_a_missing_one_are_named() {
    let (hub, dir) = three_files();
    damage(&dir, "a.gguf");
    fs::write(dir.file("b.gguf"), b"short").expect("a file");
    fs::remove_file(dir.file("sub/c.gguf")).expect("a file");
    let run =
        verify(&dir, &hub).run().exits(20).says("3 of 4 files failed verification").says("verify --repair");
    let wrong: Vec<_> = run.stdout.lines().filter(|line| line.starts_with("WRONG")).collect();
    assert_eq!(wrong.len(), 3, "{}", run.stdout);
    assert!(
        wrong[0].contains("a.gguf: its digest is") && wrong[0].contains(model(1, 1).sha256()),
        "{wrong:?}"
    );
    assert!(wrong[1].contains("b.gguf: it has 5 bytes, should have 1048576"), "{wrong:?}");
    assert!(wrong[2].contains("c.gguf: it is missing"), "{wrong:?}");
    assert_eq!(fs::read(dir.file("b.gguf")).expect("untouched"), b"short");
    assert!(hub.requests().is_empty());
}

#[test]
fn repair_fetches_what_is_wrong_and_nothing_else() {
    let (hub, dir) = three_files();
    damage(&dir, "b.gguf");
    fs::remove_file(dir.file("sub/c.gguf")).expect("a file");
    let run = verify(&dir, &hub).arg("--repair").run().succeeds();
    assert_eq!(run.stdout.lines().filter(|line| line.starts_with("repaired")).count(), 2, "{}", run.stdout);
    NAMES.iter().zip(1..).for_each(|(name, seed)| dir.assert_done(name, &model(seed, 1)));
    assert!(hub.requests_to(Server::Cdn).iter().all(|r| !r.request.path().contains(model(1, 1).sha256())));
    verify(&dir, &hub).run().succeeds();
}

#[test]
fn repair_brings_the_content_the_receipt_names_even_if_the_branch_moved() {
    let (hub, dir) = three_files();
    hub.push(REPO, "main", |tree| {
        tree.lfs("a.gguf", model(9, 1));
    });
    damage(&dir, "a.gguf");
    verify(&dir, &hub).arg("--repair").run().succeeds();
    dir.assert_done("a.gguf", &model(1, 1));
}

#[test]
fn single_files_can_be_named_in_any_form() {
    let (hub, dir) = three_files();
    damage(&dir, "a.gguf");
    let full = dir.file("sub/c.gguf");
    for path in ["b.gguf", "sub/c.gguf", full.to_str().expect("UTF-8")] {
        verify(&dir, &hub).arg(path).run().succeeds();
    }
    let run = verify(&dir, &hub).args(["a.gguf", "--json"]).run().exits(20);
    let json = run.json();
    assert_eq!((json["exit"].as_u64(), json["reason"].as_str()), (Some(20), Some("digest-mismatch")));
    assert!(json["files"][0]["fault"].as_str().expect("a fault").starts_with("its digest is"));
}

#[test]
fn a_pin_makes_up_for_a_missing_receipt() {
    let dir = TestDir::new();
    let (hub, _) = three_files();
    let payload = Payload::random(1, 5000);
    dir.put(FILE, &payload.to_vec());
    verify(&dir, &hub).arg(FILE).run().exits(2).says("there is no receipt for it; pin its digest");
    verify(&dir, &hub).args([FILE, "--sha256", payload.sha256()]).run().succeeds();
    verify(&dir, &hub).args([FILE, "--sha256", model(1, 1).sha256()]).run().exits(20);
    assert!(hub.requests().is_empty());
}

#[test]
fn an_empty_directory_has_nothing_to_verify() {
    let (hub, _) = three_files();
    let dir = TestDir::new();
    verify(&dir, &hub).run().exits(2).says("it holds no receipts");
}

#[test]
fn a_cache_is_verified_by_its_blobs() {
    let (hub, _) = three_files();
    let dir = TestDir::new();
    let command = |name: &'static str| dir.cache_job(name, &hub, []);
    command("fetch").arg(REPO).run().succeeds();
    command("verify").run().succeeds();
    let blob = format!("models--owner--name/blobs/{}", model(1, 1).sha256());
    damage(&dir, &blob);
    command("verify").run().exits(20).prints("WRONG");
    command("verify").arg("--repair").run().succeeds().prints("repaired");
    dir.assert_done(&blob, &model(1, 1));
}
