//! What is asked of the Hub, and which files that leads to.

use std::fs;

use fake_hub::{FakeHub, Fault, Gguf, Payload, Repo, Rule, Server};

use crate::support::{FILE, MIB, REPO, TestDir, built, exchanges, hub, model};

#[test]
fn a_branch_a_tag_a_pull_request_and_a_commit_each_bring_their_own_file() {
    let [main, dev, tag, pull] = [1, 2, 3, 4].map(|seed| model(seed, 1));
    let repo = Repo::model(REPO)
        .lfs(FILE, main.clone())
        .branch("dev/next", |tree| {
            tree.lfs(FILE, dev.clone());
        })
        .tag("v1.0", |tree| {
            tree.lfs(FILE, tag.clone());
        })
        .pull_request(7, |tree| {
            tree.lfs(FILE, pull.clone());
        });
    let hub = built(FakeHub::builder().repo(repo));
    let commit = hub.commit(REPO, "dev/next").expect("a branch");
    for (revision, payload) in
        [("main", &main), ("dev/next", &dev), ("v1.0", &tag), ("refs/pr/7", &pull), (&commit, &dev)]
    {
        let dir = TestDir::new();
        let run = dir.fetch(&hub, [REPO, FILE, "--revision", revision, "--json"]).run().succeeds();
        dir.assert_done(FILE, payload);
        let known = hub.commit(REPO, revision).expect("a revision");
        assert_eq!(run.json()["commit"], known, "{revision}");
    }
    let dir = TestDir::new();
    dir.fetch(&hub, ["owner/name@v1.0", FILE]).run().succeeds();
    dir.assert_done(FILE, &tag);
}

#[test]
fn a_pull_request_and_a_branch_with_a_slash_are_understood_in_every_address() {
    let [main, dev, pull, rows] = [1, 2, 3, 4].map(|seed| model(seed, 1));
    let repo = Repo::dataset(REPO)
        .lfs("d/m.gguf", main)
        .branch("feature/x", |tree| {
            tree.lfs("d/m.gguf", dev.clone());
        })
        .pull_request(7, |tree| {
            tree.lfs("d/m.gguf", pull.clone());
        })
        .converted("parquet", |tree| {
            tree.lfs("d/m.gguf", rows.clone());
        });
    let hub = built(FakeHub::builder().repo(repo));
    for (reference, payload) in [
        ("hf://datasets/owner/name@~parquet/d/", &rows),
        ("hf://datasets/owner/name@refs/convert/parquet/d/m.gguf", &rows),
        ("https://huggingface.co/datasets/owner/name/tree/refs%2Fconvert%2Fparquet/d", &rows),
        ("datasets/owner/name@~parquet", &rows),
        ("hf://datasets/owner/name@refs/pr/7/d/m.gguf", &pull),
        ("hf://datasets/owner/name@refs%2Fpr%2F7/d/m.gguf", &pull),
        ("https://huggingface.co/datasets/owner/name/blob/refs%2Fpr%2F7/d/m.gguf", &pull),
        ("https://huggingface.co/datasets/owner/name/resolve/refs/pr/7/d/m.gguf", &pull),
        ("huggingface.co/datasets/owner/name/tree/refs%2Fpr%2F7/d", &pull),
        ("datasets/owner/name@refs/pr/7", &pull),
        ("hf://datasets/owner/name@feature%2Fx/d/m.gguf", &dev),
        ("https://hf.co/datasets/owner/name/tree/feature%2Fx", &dev),
        ("datasets/owner/name.git@feature/x", &dev),
    ] {
        let dir = TestDir::new();
        dir.fetch(&hub, [reference]).run().succeeds();
        dir.assert_done("d/m.gguf", payload);
    }
    let dir = TestDir::new();
    let unencoded = "https://hf.co/datasets/owner/name/blob/feature/x/d/m.gguf";
    dir.fetch(&hub, [unencoded]).run().exits(11).says("revision `feature` not found").says("%2F");
}

#[test]
fn a_renamed_repository_is_found_under_its_old_name() {
    let model = model(1, 1);
    let hub = hub(&model);
    hub.rename(REPO, "new-owner/new-name");
    for selection in [FILE, "*.gguf"] {
        let dir = TestDir::new();
        dir.fetch(&hub, [REPO, selection]).run().succeeds();
        dir.assert_done(FILE, &model);
    }
}

#[test]
fn a_dataset_and_a_space_have_addresses_of_their_own() {
    let (rows, app) = (Payload::random(1, 5000), Payload::bytes("print()"));
    let hub = built(
        FakeHub::builder()
            .repo(Repo::dataset(REPO).lfs("rows.bin", rows.clone()))
            .repo(Repo::space(REPO).small("app.py", app.clone())),
    );
    let dir = TestDir::new();
    dir.fetch(&hub, [REPO, "rows.bin", "--repo-type", "dataset"]).run().succeeds();
    dir.fetch(&hub, [REPO, "app.py", "--repo-type", "space"]).run().succeeds();
    dir.assert_done("rows.bin", &rows);
    dir.assert_done("app.py", &app);
}

#[test]
fn a_small_file_is_verified_by_its_git_blob_id() {
    let config = Payload::bytes(r#"{"model_type":"llama"}"#);
    let hub = built(FakeHub::builder().repo(Repo::model(REPO).small("config.json", config.clone())));
    let dir = TestDir::new();
    dir.fetch(&hub, [REPO, "config.json"]).run().succeeds();
    dir.assert_done("config.json", &config);
    assert!(hub.requests_to(Server::Cdn).is_empty(), "small files come from the Hub itself");

    let dir = TestDir::new();
    let hits = hub.fault(Rule::resolve().method("GET").always().then(Fault::FlipByte(3)));
    dir.fetch(&hub, [REPO, "config.json"]).run().exits(20).says("digest mismatch for `config.json`");
    assert_eq!(hits.count(), 2, "asked again once");
    dir.assert_absent("config.json");
    dir.assert_no_leftovers();
}

#[test]
fn an_empty_file_and_one_of_a_single_byte_arrive_too() {
    let repo = Repo::model(REPO).small("empty.txt", "").lfs("one.bin", &b"x"[..]).small("one.txt", "y");
    let hub = built(FakeHub::builder().repo(repo));
    let dir = TestDir::new();
    dir.fetch(&hub, [REPO]).run().succeeds();
    for (name, content) in [("empty.txt", ""), ("one.bin", "x"), ("one.txt", "y")] {
        assert_eq!(fs::read_to_string(dir.file(name)).expect(name), content);
    }
    dir.assert_no_leftovers();
}

fn repo_of_many_files() -> Repo {
    let names = ["m-Q4_K_M.gguf", "m-Q8_0.gguf", "BF16/m-BF16.gguf", "mmproj/m.gguf"];
    let repo = names
        .iter()
        .zip(1..)
        .fold(Repo::model(REPO), |repo, (name, seed)| repo.lfs(name, Payload::gguf(seed, 10_000 + seed)));
    (0..6).fold(repo.small("README.md", "# M"), |repo, n| {
        repo.small(&format!("docs/{n}.md"), format!("page {n}").as_str())
    })
}

#[test]
fn a_glob_takes_matching_files_in_folders_too() {
    let hub = built(FakeHub::builder().repo(repo_of_many_files()));
    let dir = TestDir::new();
    let run = dir.fetch(&hub, [REPO, "*.gguf", "--exclude", "mmproj/*"]).run().succeeds();
    let names: Vec<_> = run.stdout.lines().filter_map(|line| line.rsplit("models/").next()).collect();
    assert_eq!(names, ["BF16/m-BF16.gguf", "m-Q4_K_M.gguf", "m-Q8_0.gguf"]);
    dir.assert_published("BF16/m-BF16.gguf", &Payload::gguf(3, 10_003));
    dir.assert_absent("README.md");
    dir.assert_absent("mmproj");
}

#[test]
fn a_glob_that_matches_nothing_is_an_error() {
    let hub = built(FakeHub::builder().repo(repo_of_many_files()));
    let dir = TestDir::new();
    dir.fetch(&hub, [REPO, "*.safetensors"]).run().exits(11).says("matches *.safetensors").says("hint:");
}

#[test]
fn a_quantization_takes_its_files_as_llama_cpp_does() {
    let hub = built(FakeHub::builder().repo(repo_of_many_files()));
    for arguments in [&["owner/name:Q8_0"][..], &[REPO, "--quant", "q8_0"]] {
        let dir = TestDir::new();
        dir.fetch(&hub, arguments.iter().copied()).run().succeeds();
        dir.assert_done("m-Q8_0.gguf", &Payload::gguf(2, 10_002));
        dir.assert_absent("m-Q4_K_M.gguf");
    }
}

#[test]
fn an_unknown_quantization_lists_those_there_are() {
    let hub = built(FakeHub::builder().repo(repo_of_many_files()));
    let dir = TestDir::new();
    dir.fetch(&hub, ["owner/name:Q2_K"]).run().exits(11).says("BF16, Q4_K_M, Q8_0");
    assert!(dir.all_files().is_empty());
}

#[test]
fn naming_one_shard_brings_them_all() {
    let shard = |number: u16| Payload::gguf_with(&Gguf::default().shard(number, 3), number.into(), MIB);
    let name = |number: u16| format!("q/m-{:05}-of-00003.gguf", number + 1);
    let repo = (0..3).fold(Repo::model(REPO), |repo, n| repo.lfs(&name(n), shard(n)));
    let hub = built(FakeHub::builder().repo(repo));
    let dir = TestDir::new();
    let run = dir.fetch(&hub, [REPO, "q/m-00002-of-00003.gguf"]).run().succeeds();
    assert_eq!(run.stdout.lines().count(), 3);
    (0..3).for_each(|n| dir.assert_done(&name(n), &shard(n)));
    assert!(exchanges(&hub, Server::Hub).iter().all(|(method, _)| method == "HEAD"), "no listing is needed");
}

#[test]
fn a_shard_that_is_missing_fails_before_a_byte_is_fetched() {
    let repo = Repo::model(REPO).lfs("m-00001-of-00002.gguf", model(1, 1));
    let hub = built(FakeHub::builder().repo(repo));
    let dir = TestDir::new();
    dir.fetch(&hub, [REPO, "m-00001-of-00002.gguf"])
        .run()
        .exits(11)
        .says("`m-00002-of-00002.gguf` not found");
    assert_eq!(hub.bytes_sent(Server::Cdn), 0);
}

#[test]
fn shards_that_are_counted_from_zero_come_together_whichever_is_named() {
    let name = |n: u64| format!("data/train-{n:05}-of-00003.parquet");
    let rows = |n: u64| Payload::random(n, 5000 + n);
    let repo = (0..3).fold(Repo::dataset(REPO), |repo, n| repo.lfs(&name(n), rows(n)));
    let hub = built(FakeHub::builder().repo(repo));
    for named in (0..3).map(name) {
        let dir = TestDir::new();
        for network in ["--require-fresh", "--offline"] {
            let run = dir.fetch(&hub, ["hf://datasets/owner/name", &named, network]).run().succeeds();
            assert_eq!(run.stdout.lines().count(), 3, "{named}, {network}");
        }
        (0..3).for_each(|n| dir.assert_done(&name(n), &rows(n)));
    }
}

#[test]
fn one_shard_alone_is_taken_by_include() {
    let repo =
        Repo::model(REPO).lfs("m-00001-of-00002.gguf", model(1, 1)).lfs("m-00002-of-00002.gguf", model(2, 1));
    let hub = built(FakeHub::builder().repo(repo));
    let dir = TestDir::new();
    dir.fetch(&hub, [REPO, "--include", "m-00002-of-00002.gguf"]).run().succeeds();
    dir.assert_done("m-00002-of-00002.gguf", &model(2, 1));
    dir.assert_absent("m-00001-of-00002.gguf");
}

#[test]
fn a_name_that_looks_like_a_glob_is_a_name_first() {
    let names = ["a{b.gguf", "a[b.gguf", "a[1].gguf", "a1.gguf"];
    let repo = names.iter().zip(1..).fold(Repo::model(REPO), |repo, (name, n)| repo.lfs(name, model(n, 1)));
    let hub = built(FakeHub::builder().repo(repo));
    for (name, n) in names.iter().zip(1..) {
        let dir = TestDir::new();
        let run = dir.fetch(&hub, [REPO, name]).run().succeeds();
        assert_eq!(run.stdout.lines().count(), 1, "{name}: {}", run.stdout);
        dir.assert_done(name, &model(n, 1));
    }
    let dir = TestDir::new();
    for glob in ["--include=*.{a,b", "--exclude=x[", "*["] {
        dir.fetch(&hub, [REPO, glob]).run().exits(2).says("as a glob it is wrong").says("[[]");
    }
    assert!(dir.all_files().is_empty());
}

#[test]
fn a_listing_of_many_pages_is_read_to_its_end() {
    let hub = built(FakeHub::builder().repo(repo_of_many_files()).page_size(3));
    let dir = TestDir::new();
    let run = dir.fetch(&hub, [REPO, "--json"]).run().succeeds();
    assert_eq!(run.json()["files"].as_array().expect("files").len(), 11);
    let pages = hub.requests_to(Server::Hub).iter().filter(|r| r.request.path().contains("/tree/")).count();
    assert!(pages >= 4, "{pages} pages of 3");
}

#[test]
fn a_page_that_fails_is_asked_for_again() {
    let hub = built(FakeHub::builder().repo(repo_of_many_files()).page_size(3));
    let hits = hub.fault(Rule::tree().nth(2).times(2).then(Fault::status(502)));
    let dir = TestDir::new();
    let run = dir.fetch(&hub, [REPO, "--json"]).run().succeeds();
    assert_eq!(run.json()["files"].as_array().expect("files").len(), 11);
    assert_eq!(hits.count(), 2);
}

#[test]
fn what_does_not_exist_is_named_with_exit_11() {
    let hub = hub(&model(1, 1));
    let dir = TestDir::new();
    let missing = |arguments: &[&str]| dir.fetch(&hub, arguments.iter().copied()).run().exits(11);
    missing(&["owner/missing", FILE])
        .says("repository `owner/missing` not found")
        .says("or it is private")
        .says("hint: check the spelling; no token was used; set HF_TOKEN");
    missing(&[REPO, "Model.gguf"]).says("file `Model.gguf` not found").says("case-sensitive");
    missing(&["owner/name@v9", FILE])
        .says("revision `v9` not found in `owner/name`")
        .says("hint: give a branch");
    missing(&["owner/name@v9", "*"]).says("revision `v9` not found");
    missing(&["owner/missing", "*"]).says("repository `owner/missing` not found");
    assert!(dir.all_files().is_empty());
}

#[test]
fn a_login_page_instead_of_a_hub_is_told_apart() {
    let hub = hub(&model(1, 1));
    hub.fault(Rule::hub().always().then(Fault::html(200)));
    let dir = TestDir::new();
    for selection in [FILE, "*"] {
        dir.fetch(&hub, [REPO, selection])
            .run()
            .exits(30)
            .says("does not answer like a Hub")
            .says("login page")
            .at_once();
    }
    assert!(dir.all_files().is_empty());
}

#[test]
fn json_that_is_wrong_ends_in_a_clear_error() {
    let hub = hub(&model(1, 1));
    let dir = TestDir::new();
    for json in ["", "null", "[]garbage", r#"{"files":[]}"#, r#"[{"type":"file"}]"#, "[[[[[["] {
        hub.clear_faults();
        let reply = fake_hub::Reply::new(200).header("Content-Type", "application/json").body(json);
        let hits = hub.fault(Rule::tree().always().then(Fault::Reply(reply)));
        dir.fetch(&hub, [REPO, "*"]).run().exits(30).says("does not answer like a Hub");
        assert_eq!(hits.count(), 1, "{json}");
    }
}

#[test]
fn json_that_is_huge_is_not_swallowed() {
    let hub = hub(&model(1, 1));
    let reply = fake_hub::Reply::new(200).body(Payload::random(1, 64 * MIB));
    hub.fault(Rule::tree().always().then(Fault::Reply(reply)));
    let dir = TestDir::new();
    dir.fetch(&hub, [REPO, "*", "--give-up-after", "1s"]).run().exits(30).says("a JSON body of more than");
}

/// Answers the question for the file's metadata with another size.
fn lie_about_size(hub: &FakeHub, size: &str) {
    hub.clear_faults();
    hub.fault(Rule::resolve().method("HEAD").always().then(Fault::header("X-Linked-Size", size)));
}

#[test]
fn an_announced_size_that_is_wrong_never_leads_to_a_file() {
    let payload = model(1, 2);
    let hub = hub(&payload);
    let actual = 2 * MIB;
    for (size, number) in [(0, 20), (actual - 1000, 30), (actual + 1000, 30), (1, 30)] {
        lie_about_size(&hub, &size.to_string());
        let dir = TestDir::new();
        dir.fetch(&hub, [REPO, FILE, "--give-up-after", "2s"]).run().exits(number);
        dir.assert_absent(FILE);
        dir.assert_no_leftovers();
    }
}

#[test]
fn an_announced_size_that_no_file_can_have_is_refused() {
    let hub = hub(&model(1, 1));
    for size in ["9223372036854775808", "18446744073709551616", "-1", "many", "1e9"] {
        lie_about_size(&hub, size);
        TestDir::new().fetch(&hub, [REPO, FILE]).run().exits(30).says("no number that a file can have");
    }
    lie_about_size(&hub, "9223372036854775807");
    TestDir::new().fetch(&hub, [REPO, FILE]).run().exits(21).says("not enough space").says("short");
    assert_eq!(hub.bytes_sent(Server::Cdn), 0);
}

#[test]
fn a_listing_that_contradicts_the_file_itself_is_caught() {
    let payload = model(1, 1);
    let hub = hub(&payload);
    let other = model(2, 1);
    for (size, sha256) in [(MIB - 1, payload.sha256()), (0, payload.sha256()), (MIB, other.sha256())] {
        hub.clear_faults();
        let oid = "cd".repeat(20);
        let json = format!(
            r#"[{{"type":"file","path":"{FILE}","size":134,"oid":"{oid}","lfs":{{"oid":"{sha256}","size":{size}}}}}]"#
        );
        hub.fault(
            Rule::tree().always().then(Fault::Reply(fake_hub::Reply::new(200).body(json.into_bytes()))),
        );
        let dir = TestDir::new();
        let run = dir.fetch(&hub, [REPO, "*"]).run();
        assert!(matches!(run.status, Some(20 | 30)), "{run:?}");
        dir.assert_absent(FILE);
        dir.assert_no_leftovers();
    }
}

#[test]
fn names_from_the_hub_cannot_leave_the_directory() {
    let hub = hub(&model(1, 1));
    let oid = "cd".repeat(20);
    for name in [
        "../evil.txt",
        "/etc/evil.txt",
        "a/../../evil.txt",
        "a\\\\evil.txt",
        "C:/evil.txt",
        ".modelfetch/lock",
        "a//b",
    ] {
        hub.clear_faults();
        let json = format!(r#"[{{"type":"file","path":"{name}","size":1,"oid":"{oid}"}}]"#);
        hub.fault(
            Rule::tree().always().then(Fault::Reply(fake_hub::Reply::new(200).body(json.into_bytes()))),
        );
        let dir = TestDir::new();
        dir.fetch(&hub, [REPO, "*"]).run().exits(2).says("a name that is refused");
        assert!(dir.all_files().is_empty(), "{name}: {:?}", dir.all_files());
    }
}

/// What a page of the list says, before what the Hub itself would list.
fn list_also(hub: &FakeHub, entries: &[String]) {
    let known = ["model.gguf", "good.bin"]
        .map(|name| format!(r#"{{"type":"file","path":"{name}","size":4,"oid":"{}"}}"#, "ab".repeat(20)));
    let page = [entries, &known].concat().join(",");
    let reply = fake_hub::Reply::new(200).body(format!("[{page}]").into_bytes());
    hub.clear_faults();
    hub.fault(Rule::tree().always().then(Fault::Reply(reply)));
}

#[test]
fn a_name_that_cannot_be_had_is_in_the_way_of_nobody_who_does_not_want_it() {
    let hub = hub(&model(1, 1));
    let oid = "cd".repeat(20);
    let named = |name: &str| format!(r#"{{"type":"file","path":"{name}","size":1,"oid":"{oid}"}}"#);
    for entry in [
        named("a\\\\b.bin"),
        named("a\\tb.bin"),
        named("C:/b.bin"),
        named(&format!("{}.bin", "x".repeat(256))),
        named(".modelfetch/b.bin"),
        r#"{"type":"file","path":"b.bin","size":1}"#.to_owned(),
        format!(r#"{{"type":"file","path":"b.bin","size":-1,"oid":"{oid}"}}"#),
        [named("b.bin"), format!(r#"{{"type":"file","path":"b.bin","size":2,"oid":"{oid}"}}"#)].join(","),
    ] {
        list_also(&hub, &[entry]);
        let dir = TestDir::new();
        let plan = |arguments: &[&str]| dir.job("plan", &hub, [&[REPO], arguments].concat()).run();
        assert_eq!(plan(&["*.gguf"]).succeeds().stdout.matches("model.gguf").count(), 1);
        let refused = plan(&[]).exits(2).says("a name that is refused");
        let (_, hint) = refused.stderr.rsplit_once("--exclude '").expect("a way out");
        let exclude = hint.split('\'').next().expect("a glob");
        plan(&["--exclude", exclude]).succeeds();
        plan(&["*.bin"]).exits(2);
        assert_eq!(
            hub.requests().iter().filter(|r| r.request.path().contains("/tree/")).count(),
            4,
            "none is retried"
        );
        hub.clear();
    }
}

#[test]
fn a_list_with_a_name_that_cannot_be_had_serves_later_runs_too() {
    let payload = Payload::bytes("weights");
    let repo = Repo::model(REPO).small("good.bin", payload.clone()).small("C:x.bin", "other");
    let hub = built(FakeHub::builder().repo(repo));
    let dir = TestDir::new();
    dir.fetch(&hub, [REPO, "g*"]).run().succeeds();
    dir.fetch(&hub, [REPO, "g*", "--offline"]).run().succeeds();
    dir.fetch(&hub, [REPO, "--offline"]).run().exits(2).says("--exclude 'C:x.bin'");
    dir.assert_done("good.bin", &payload);
}
