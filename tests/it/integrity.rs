//! Nothing but the right bytes ever gets a file's final name.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use fake_hub::{FakeHub, Fault, Gguf, Payload, Repo, Rule, Server};

use crate::support::command::Run;
use crate::support::gguf::{F32, Header};
use crate::support::{FILE, MIB, REPO, TestDir, built, hub, model};

#[test]
fn a_byte_that_flips_on_the_wire_is_caught_and_fetched_again() {
    for offset in [0, 3_000_000, 8 * MIB - 1] {
        let model = model(1, 8);
        let hub = hub(&model);
        let hits = hub.fault(Rule::cdn().covering(offset).then(Fault::FlipByte(offset)));
        let dir = TestDir::new();
        // One connection: of several, one may take over the byte before it has arrived.
        let run = dir.fetch(&hub, [REPO, FILE, "--connections", "1"]).run().succeeds();
        // The first byte is a part of what shows that it is a model.
        let says = if offset == 0 { "it is of no known format" } else { "8.39 MB dropped: its digest is" };
        run.says("starting again from zero").says(says);
        dir.assert_done(FILE, &model);
        assert_eq!(hits.count(), 1);
        assert_eq!(hub.requests_to(Server::Hub).len(), 2, "the Hub is asked again what the file should be");
    }
}

#[test]
fn of_a_large_file_with_a_wrong_byte_a_part_is_fetched_again() {
    let model = model(1, 64);
    let hub = hub(&model);
    for (offset, fetched) in [(1_000_000, 80 * MIB), (20_000_000, 96 * MIB), (67_000_000, 128 * MIB)] {
        hub.clear_faults();
        let hits = hub.fault(Rule::cdn().covering(offset).then(Fault::FlipByte(offset)));
        let dir = TestDir::new();
        let run = dir.fetch(&hub, [REPO, FILE, "--connections", "1", "--json"]).run().succeeds();
        assert_eq!(run.json()["bytes_fetched"], fetched, "{}", run.stderr);
        run.says("fetching 16.8 MB of it again: its digest is");
        dir.assert_done(FILE, &model);
        assert_eq!(hits.count(), 1);
    }
}

#[test]
fn wrong_bytes_twice_are_exit_20_with_both_digests_and_no_file() {
    let payload = model(1, 4);
    let hub = hub(&payload);
    hub.fault(Rule::cdn().covering(2_000_000).always().then(Fault::FlipByte(2_000_000)));
    let mut wrong = payload.to_vec();
    wrong[2_000_000] ^= 1;
    let dir = TestDir::new();
    dir.fetch(&hub, [REPO, FILE])
        .run()
        .exits(20)
        .says("digest mismatch for `model.gguf`")
        .says(&format!("expected: {}", payload.sha256()))
        .says(&format!("computed: {}", Payload::bytes(wrong).sha256()))
        .says("hint: nothing was published");
    dir.assert_absent(FILE);
    dir.assert_no_leftovers();
}

#[test]
fn a_page_of_html_with_status_200_is_never_data() {
    let payload = Payload::random(1, 300);
    let page = "<html>403 Forbidden</html>".repeat(12);
    let page = page[..300].to_owned();
    let repo = Repo::model(REPO).lfs("model.bin", payload.clone());
    let hub = built(FakeHub::builder().repo(repo));
    // Even one of exactly the file's length.
    hub.fault(Rule::cdn().always().then(Fault::Reply(fake_hub::Reply::new(200).body(page.into_bytes()))));
    let dir = TestDir::new();
    dir.fetch(&hub, [REPO, "model.bin"]).run().exits(20);
    dir.assert_absent("model.bin");
    hub.clear_faults();
    hub.fault(Rule::cdn().then(Fault::html(200)));
    dir.fetch(&hub, [REPO, "model.bin"]).run().succeeds();
    dir.assert_done("model.bin", &payload);
}

/// Looks at the published file all the time: it must be the old or the new one, complete.
fn watch(dir: &TestDir, old: &Payload, new: &Payload) -> impl FnOnce() -> (u64, u64) + use<> {
    let over = Arc::new(AtomicBool::new(false));
    let (path, old, new) = (dir.file(FILE), old.to_vec(), new.to_vec());
    let watcher = thread::spawn({
        let over = Arc::clone(&over);
        move || {
            let (mut olds, mut news) = (0, 0);
            loop {
                // The last look comes after all is over.
                let is_last = over.load(Ordering::Relaxed);
                let content = fs::read(&path).expect("there is always a file");
                assert!(content == old || content == new, "a mixture of {} bytes", content.len());
                olds += u64::from(content == old);
                news += u64::from(content == new);
                if is_last {
                    return (olds, news);
                }
                thread::sleep(Duration::from_millis(5));
            }
        }
    });
    move || {
        over.store(true, Ordering::Relaxed);
        watcher.join().expect("the file was complete all the time")
    }
}

#[test]
fn the_old_file_stays_until_the_new_one_is_verified() {
    let (old, new) = (model(1, 2), model(2, 4));
    let hub = built(
        FakeHub::builder().rate_per_connection(4_000_000).repo(Repo::model(REPO).lfs(FILE, old.clone())),
    );
    let dir = TestDir::new();
    dir.fetch(&hub, [REPO, FILE]).run().succeeds();
    hub.push(REPO, "main", |tree| {
        tree.lfs(FILE, new.clone());
    });
    let watched = watch(&dir, &old, &new);
    dir.fetch(&hub, [REPO, FILE]).run().succeeds();
    let (olds, news) = watched();
    assert!(olds > 0 && news > 0, "{olds} looks at the old file, {news} at the new one");
    dir.assert_done(FILE, &new);
}

#[test]
fn the_old_file_stays_when_the_new_one_is_wrong() {
    let (old, new) = (model(1, 2), model(2, 4));
    let hub = hub(&old);
    let dir = TestDir::new();
    dir.fetch(&hub, [REPO, FILE]).run().succeeds();
    hub.push(REPO, "main", |tree| {
        tree.lfs(FILE, new.clone());
    });
    hub.fault(Rule::cdn().covering(1000).always().then(Fault::FlipByte(1000)));
    dir.fetch(&hub, [REPO, FILE]).run().exits(20);
    dir.assert_done(FILE, &old);
    hub.clear_faults();
    hub.fault(Rule::cdn().always().then(Fault::status(503)));
    dir.fetch(&hub, [REPO, FILE, "--give-up-after", "1s"]).run().exits(30);
    dir.assert_published(FILE, &old);
}

#[test]
fn a_wrong_file_of_somebody_else_is_replaced_by_a_verified_one_only() {
    let payload = model(1, 2);
    let hub = hub(&payload);
    let dir = TestDir::new();
    let mut other = payload.to_vec();
    other[100_000] ^= 1;
    for content in [other, b"short".to_vec()] {
        dir.put(FILE, &content);
        hub.clear_faults();
        hub.fault(Rule::cdn().always().then(Fault::status(503)));
        dir.fetch(&hub, [REPO, FILE, "--give-up-after", "300ms"]).run().exits(30);
        assert_eq!(fs::read(dir.file(FILE)).expect("still there"), content);
        hub.clear_faults();
        dir.fetch(&hub, [REPO, FILE]).run().succeeds();
        dir.assert_done(FILE, &payload);
    }
}

#[test]
fn a_right_file_of_somebody_else_is_adopted_without_a_download() {
    let payload = model(1, 8);
    let hub = hub(&payload);
    let dir = TestDir::new();
    dir.put(FILE, &payload.to_vec());
    dir.fetch(&hub, [REPO, FILE]).run().succeeds().says("already there, checking").says("are right");
    dir.assert_done(FILE, &payload);
    assert!(hub.requests_to(Server::Cdn).is_empty());
    dir.fetch(&hub, [REPO, FILE, "--offline"]).run().succeeds();
}

#[test]
fn a_pin_that_contradicts_the_hub_fails_before_a_byte() {
    let (right, wrong) = (model(1, 2), model(2, 2));
    let hub = hub(&right);
    let dir = TestDir::new();
    dir.fetch(&hub, [REPO, FILE, "--sha256", wrong.sha256()])
        .run()
        .exits(12)
        .says("the pinned SHA256 of `model.gguf` is not what the Hub has")
        .says(&format!("pinned: {}", wrong.sha256()))
        .says(&format!("Hub:    {}", right.sha256()))
        .says("hint: nothing was fetched");
    let glob = format!("model.gguf={}", wrong.sha256());
    dir.fetch(&hub, [REPO, "*", "--sha256", &glob]).run().exits(12);
    assert!(hub.requests_to(Server::Cdn).is_empty());
    assert!(dir.all_files().is_empty());
    dir.fetch(&hub, [REPO, FILE, "--sha256", &right.sha256().to_uppercase()]).run().succeeds();
    dir.assert_done(FILE, &right);
}

#[test]
fn a_pin_that_no_file_uses_is_a_mistake() {
    let payload = model(1, 1);
    let hub = hub(&payload);
    let dir = TestDir::new();
    let pin = format!("other.gguf={}", payload.sha256());
    dir.fetch(&hub, [REPO, FILE, "--sha256", &pin]).run().exits(2).says("no such file is selected");
    let repo = Repo::model(REPO).small("a.txt", "a").small("b.txt", "b");
    let hub = built(FakeHub::builder().repo(repo));
    dir.fetch(&hub, [REPO, "--sha256", payload.sha256()])
        .run()
        .exits(2)
        .says("2 files are selected; write FILE=HEX");
}

#[test]
fn a_pin_counts_for_a_small_file_too() {
    let config = Payload::bytes(r#"{"model_type":"llama"}"#);
    let hub = built(FakeHub::builder().repo(Repo::model(REPO).small("config.json", config.clone())));
    let dir = TestDir::new();
    let fetch = |pin: &str| dir.fetch(&hub, [REPO, "config.json", "--sha256", pin]).run();
    fetch(Payload::bytes("else").sha256()).exits(20).says("expected: ").says(config.sha256());
    dir.assert_absent("config.json");
    dir.assert_no_leftovers();
    fetch(config.sha256()).succeeds();
    dir.assert_done("config.json", &config);
    hub.clear();
    fetch(config.sha256()).succeeds();
    assert!(hub.requests().is_empty(), "a pinned file that is there needs no question");
}

#[test]
fn what_is_no_gguf_gets_no_such_name() {
    let text = Payload::bytes("version https://git-lfs.github.com/spec/v1\n".repeat(100));
    let hub = built(
        FakeHub::builder().repo(Repo::model(REPO).lfs(FILE, text.clone()).lfs("notes.txt", text.clone())),
    );
    let dir = TestDir::new();
    dir.fetch(&hub, [REPO, FILE])
        .run()
        .exits(20)
        .says("`model.gguf` is not a valid GGUF file: it is a Git LFS pointer");
    dir.assert_absent(FILE);
    dir.assert_no_leftovers();
    dir.fetch(&hub, [REPO, "notes.txt"]).run().succeeds();
}

/// Its first bytes say so, and no more is paid for. They are asked for twice: it may be the answer of one edge alone.
#[test]
fn what_does_not_begin_as_its_name_says_ends_within_the_first_megabyte() {
    let page = [&b"<!DOCTYPE html>"[..], &Payload::random(5, 64 * MIB).to_vec()].concat();
    for (payload, says) in [
        (Payload::random(4, 64 * MIB), "it is of no known format, its first bytes are "),
        (Payload::bytes(page), "it is a page of HTML or XML"),
    ] {
        let hub = hub(&payload);
        let dir = TestDir::new();
        let run = dir.fetch(&hub, [REPO, FILE, "--json"]).run().exits(20).says(says);
        let fetched = run.json()["bytes_fetched"].as_u64().expect("bytes");
        assert!(fetched <= MIB, "{fetched} bytes");
        dir.assert_absent(FILE);
    }
}

#[test]
fn a_strange_header_that_was_pinned_is_a_warning() {
    let payload = Payload::random(6, 3 * MIB);
    let hub = hub(&payload);
    let dir = TestDir::new();
    dir.fetch(&hub, [REPO, FILE]).run().exits(20);
    let run = dir.fetch(&hub, [REPO, FILE, "--sha256", payload.sha256()]).run().succeeds();
    run.says("`model.gguf` is not what its name says: it is of no known format")
        .says("it has the digest that was pinned");
    dir.assert_done(FILE, &payload);
    dir.fetch(&hub, [REPO, FILE, "--sha256", payload.sha256()]).run().succeeds().says("nothing to do");
}

/// The metadata are read on, while the file arrives.
#[test]
fn what_is_wrong_deeper_in_a_header_is_told_and_what_was_fetched_is_kept() {
    let header = Header::new("llama").number("twice", 1).number("twice", 2).tensor("t", &[4], F32).header();
    let payload = Payload::bytes([header, Payload::random(7, 8 * MIB).to_vec()].concat());
    let hub = hub(&payload);
    let dir = TestDir::new();
    dir.fetch(&hub, [REPO, FILE]).run().exits(20).says("it has the metadata key `twice` twice");
    let kept = dir.journaled();
    assert!(kept > 0, "nothing was kept");
    hub.clear();
    // One connection takes from no other what that one has on its way.
    let pinned = [REPO, FILE, "--sha256", payload.sha256(), "--json", "--connections", "1"];
    let run = dir.fetch(&hub, pinned).run().succeeds();
    let fetched = run.json()["bytes_fetched"].as_u64().expect("bytes");
    assert!(fetched <= payload.size() - kept, "{fetched} of {} although {kept} were there", payload.size());
    dir.assert_done(FILE, &payload);
}

/// What a repository holds whose LFS content was never uploaded, and what a mirror sends with the digest of that.
#[test]
fn a_pointer_or_a_page_under_the_name_of_weights_is_no_success() {
    let pointer =
        format!("version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 7\n", "0".repeat(64));
    let page = "<!DOCTYPE html><html><body>Sign in</body></html>".to_owned();
    for content in [pointer, page] {
        for name in
            ["model.safetensors", "pytorch_model.bin", "onnx/model.onnx", "data/train.parquet", "a.GGUF"]
        {
            let payload = Payload::bytes(content.clone());
            let repo =
                Repo::model(REPO).small(name, payload.clone()).small("other/notes.txt", payload.clone());
            let hub = built(FakeHub::builder().repo(repo));
            let refused = |run: Run| assert!(run.exits(20).stderr.contains(&format!("`{name}` is not ")));
            let dir = TestDir::new();
            refused(dir.fetch(&hub, [REPO, name]).run());
            refused(dir.job("smoke", &hub, [REPO, name]).run());
            dir.assert_absent(name);
            dir.assert_no_leftovers();
            let path = dir.put(name, &payload.to_vec());
            refused(dir.fetch(&hub, [REPO, name]).run());
            let path = path.to_str().expect("UTF-8");
            let run = dir.command(["verify", path, "--sha256", payload.sha256()]).run().succeeds();
            run.says("` is not what its name says: ");
            dir.fetch(&hub, [REPO, "other/notes.txt"]).run().succeeds();
        }
    }
}

/// As earlier versions left it, which did not look at what a file is.
#[test]
fn a_pointer_that_an_earlier_version_published_as_weights_is_none_whatever_its_receipt_says() {
    let pointer =
        format!("version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 7\n", "0".repeat(64));
    let (payload, weights) = (Payload::bytes(pointer), Payload::random(3, 600));
    let repo = Repo::model(REPO).small("notes.txt", payload.clone()).small("model.bin", payload.clone());
    let hub = built(FakeHub::builder().repo(repo.small("tiny.bin", weights.clone())));
    let dir = TestDir::new();
    dir.fetch(&hub, [REPO, "notes.txt"]).run().succeeds();
    let receipt = fs::read(dir.state("receipts/notes.txt.json")).expect("a receipt");
    let mut receipt: serde_json::Value = serde_json::from_slice(&receipt).expect("JSON");
    let stat = fs::metadata(dir.put("model.bin", &payload.to_vec())).expect("the file");
    receipt["path"] = "model.bin".into();
    receipt["inode"] = stat.ino().into();
    receipt["mtime_ns"] = (stat.mtime() * 1_000_000_000 + stat.mtime_nsec()).into();
    receipt["ctime_ns"] = (stat.ctime() * 1_000_000_000 + stat.ctime_nsec()).into();
    fs::write(dir.state("receipts/model.bin.json"), receipt.to_string()).expect("a receipt");
    for arguments in [
        &[REPO, "model.bin"][..],
        &[REPO, "model.bin", "--offline"],
        &[REPO, "model.bin", "--prefer-offline"],
    ] {
        let run = dir.fetch(&hub, arguments.iter().copied()).run().exits(20);
        run.says("`model.bin` is not").says("it is a Git LFS pointer").at_once();
    }
    // What is as small and no pointer needs no second look.
    dir.fetch(&hub, [REPO, "tiny.bin"]).run().succeeds();
    dir.fetch(&hub, [REPO, "tiny.bin"]).run().succeeds().says("nothing to do");
    hub.push(REPO, "main", |tree| {
        tree.small("model.bin", weights.clone());
    });
    dir.fetch(&hub, [REPO, "model.bin"]).run().succeeds();
    dir.assert_done("model.bin", &weights);
}

/// A receipt is no pin: nobody has asked for a pointer, so the weights that somebody put in its place stay.
#[test]
fn no_repair_puts_a_pointer_or_a_page_in_the_place_of_weights() {
    let pointer =
        format!("version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 7\n", "0".repeat(64));
    let page = format!("<!DOCTYPE html>{}", "<p>Sign in".repeat(200_000));
    let (good, other) = (Payload::random(3, 600), Payload::random(4, 600));
    for (name, content) in [("model.bin", pointer), ("m.gguf", page)] {
        let strange = Payload::bytes(content);
        let repo = Repo::model(REPO).lfs(name, strange.clone()).lfs("other.bin", other.clone());
        let hub = built(FakeHub::builder().repo(repo));
        let dir = TestDir::new();
        dir.fetch(&hub, [REPO, name, "--sha256", strange.sha256()]).run().succeeds();
        dir.fetch(&hub, [REPO, "other.bin"]).run().succeeds();
        // As an earlier version left it, which did not look.
        let path = dir.state(&format!("receipts/{name}.json"));
        let mut receipt: serde_json::Value =
            serde_json::from_slice(&fs::read(&path).expect("a receipt")).expect("JSON");
        receipt["vouched_by"] = serde_json::json!(["hub"]);
        fs::write(&path, receipt.to_string()).expect("a receipt");
        dir.put("other.bin", b"damage");
        let repair = |name: &str| dir.job("verify", &hub, ["--repair", name]).run();
        for there in [good.to_vec(), strange.to_vec()] {
            dir.put(name, &there);
            let run = dir.job("verify", &hub, ["--repair"]).run().exits(20);
            run.prints("it was left as it is, because the one to be fetched is no better");
            assert!(fs::read(dir.file(name)).expect("a file") == there, "{name} is another file");
        }
        // The failure of one does not keep the others from being repaired.
        dir.assert_published("other.bin", &other);
        dir.put(name, &good.to_vec());
        dir.job("verify", &hub, ["--repair", name, "--sha256", strange.sha256()]).run().succeeds();
        dir.assert_done(name, &strange);
        repair(name).succeeds().says("it has the digest that was pinned");
    }
}

#[test]
fn shards_that_do_not_belong_together_are_refused() {
    let shard = |number, count| Payload::gguf_with(&Gguf::default().shard(number, count), 1, MIB);
    let repo =
        Repo::model(REPO).lfs("m-00001-of-00002.gguf", shard(0, 2)).lfs("m-00002-of-00002.gguf", shard(1, 5));
    let hub = built(FakeHub::builder().repo(repo));
    let dir = TestDir::new();
    dir.fetch(&hub, [REPO, "m-00001-of-00002.gguf"])
        .run()
        .exits(20)
        .says("its name says 2 shards, its header 5");
    dir.assert_absent("m-00002-of-00002.gguf");
}
