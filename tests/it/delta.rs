//! An update of a file costs what has changed: the rest is copied from the older version on the disk.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use fake_hub::{CAS_TOKEN, FakeHub, Fault, Payload, Record, Reply, Repo, Rule, Server};
use serde_json::json;

use crate::support::command::Run;
use crate::support::{FILE, MIB, REPO, TestDir, built};

const TOKEN: &str = "hf_readxTOKEN0123456789";

/// A model of a header of its own before tensors that all models of one `seed` have.
fn version(header: u64, seed: u64) -> Payload {
    let tensors = [24, 8].map(|mib| Payload::random(seed + mib, mib * MIB));
    Payload::joined([Payload::gguf(header, MIB + header)].into_iter().chain(tensors))
}

/// What the two have in common.
const EQUAL: u64 = 32 * MIB;

fn hub_of(model: &Payload) -> FakeHub {
    built(FakeHub::builder().token(TOKEN).repo(Repo::model(REPO).xet(FILE, model.clone())))
}

/// A directory with the first version, and a Hub that has the second one now.
fn outdated() -> (TestDir, FakeHub, Payload) {
    let (old, new) = (version(1, 0), version(2, 0));
    let (dir, hub) = (TestDir::new(), hub_of(&old));
    dir.fetch(&hub, [REPO, FILE]).run().succeeds();
    push(&hub, &new);
    (dir, hub, new)
}

fn push(hub: &FakeHub, model: &Payload) {
    hub.push(REPO, "main", |tree| {
        tree.xet(FILE, model.clone());
    });
    hub.clear();
}

fn receipt(dir: &TestDir) -> serde_json::Value {
    let path = dir.state("receipts").join(format!("{FILE}.json"));
    serde_json::from_slice(&fs::read(path).expect("a receipt")).expect("JSON")
}

/// Requests for what a file is made of.
fn questions(hub: &FakeHub) -> usize {
    let is_one = |target: &str| target.contains("xet-read-token") || target.contains("/v2/reconstructions/");
    hub.requests().iter().filter(|record| is_one(&record.request.target)).count()
}

/// Bytes of the file itself that were sent.
fn model_bytes(hub: &FakeHub) -> u64 {
    let requests = hub.requests_to(Server::Cdn);
    let of_model = requests.iter().filter(|record| !record.request.target.contains("/cas/"));
    of_model.map(|record| record.bytes_sent).sum()
}

#[track_caller]
fn assert_fetched_whole(hub: &FakeHub, dir: &TestDir, model: &Payload) {
    dir.assert_done(FILE, model);
    assert!(model_bytes(hub) >= model.size(), "{} bytes", model_bytes(hub));
}

#[test]
fn an_update_costs_what_has_changed() {
    let (dir, hub, new) = outdated();
    let run = dir.fetch(&hub, [REPO, FILE, "--json"]).run().succeeds();
    dir.assert_done(FILE, &new);
    assert!(hub.bytes_sent(Server::Cdn) < 2 * MIB, "{} bytes", hub.bytes_sent(Server::Cdn));
    let run = run.says("33.6 MB from the version of 2").says("1.05 MB to fetch");
    let json = run.json();
    assert_eq!(json["bytes_copied"], EQUAL);
    assert_eq!(json["files"][0]["bytes_copied"], EQUAL);
    assert_eq!(json["files"][0]["bytes_fetched"], new.size() - EQUAL);
    // The next one finds this version.
    push(&hub, &version(3, 0));
    dir.fetch(&hub, [REPO, FILE]).run().succeeds();
    dir.assert_done(FILE, &version(3, 0));
    assert!(hub.bytes_sent(Server::Cdn) < 2 * MIB);
}

#[test]
fn plan_says_what_an_update_would_cost_and_events_and_metrics_have_the_number() {
    let (dir, hub, new) = outdated();
    let plan = dir.job("plan", &hub, [REPO, FILE, "--json"]).run().succeeds().json()["plan"].clone();
    assert_eq!(plan["bytes_to_fetch"], new.size() - EQUAL);
    assert_eq!(plan["bytes_to_copy"], EQUAL);
    assert_eq!(plan["items"][0]["bytes_to_copy"], EQUAL);
    assert_eq!(plan["items"][0]["copy_from"][0]["path"], FILE);
    dir.job("plan", &hub, [REPO, FILE])
        .run()
        .succeeds()
        .prints("34.6 MB: 33.6 MB from the version of 2")
        .prints("1.05 MB to fetch and 33.6 MB to copy from older files");
    let metrics = dir.path().join("metrics");
    let run = dir
        .fetch(&hub, [REPO, FILE, "--progress", "json"])
        .arg("--metrics-file")
        .arg(&metrics)
        .run()
        .succeeds();
    let copying = run.stderr.lines().find(|line| line.contains("\"copying\"")).expect("an event");
    let copying: serde_json::Value = serde_json::from_str(copying).expect("JSON");
    assert_eq!((&copying["bytes_to_copy"], &copying["path"]), (&json!(EQUAL), &json!(FILE)));
    let metrics = fs::read_to_string(metrics).expect("metrics");
    assert!(
        metrics.contains("modelfetch_copied_bytes") && metrics.contains(&format!(" {EQUAL}\n")),
        "{metrics}"
    );
}

#[test]
fn another_file_of_the_directory_will_do() {
    let (old, new) = (version(1, 0), version(2, 0));
    let hub = built(
        FakeHub::builder()
            .repo(Repo::model("other/model").xet("elsewhere.gguf", old))
            .repo(Repo::model(REPO).xet(FILE, new.clone())),
    );
    let dir = TestDir::new();
    dir.fetch(&hub, ["other/model", "elsewhere.gguf"]).run().succeeds();
    hub.clear();
    dir.fetch(&hub, [REPO, FILE]).run().succeeds().says("33.6 MB from `elsewhere.gguf` of 2");
    dir.assert_published(FILE, &new);
    assert!(hub.bytes_sent(Server::Cdn) < 2 * MIB);
}

#[test]
fn shards_that_became_one_file_are_copied_from_all_of_them() {
    let parts = [1, 2, 3].map(|seed| Payload::random(seed, 12 * MIB));
    let repo = parts
        .iter()
        .enumerate()
        .fold(Repo::model(REPO), |repo, (at, part)| repo.xet(&format!("m-{at}.safetensors"), part.clone()));
    let hub = built(FakeHub::builder().repo(repo));
    let dir = TestDir::new();
    dir.fetch(&hub, [REPO]).run().succeeds();
    let [a, b, c] = parts;
    let joined = Payload::joined([c, Payload::random(9, 2 * MIB), a, b]);
    hub.push(REPO, "main", |tree| {
        tree.xet("m.safetensors", joined.clone());
    });
    hub.clear();
    dir.fetch(&hub, [REPO, "m.safetensors"])
        .run()
        .succeeds()
        .says("37.7 MB from 3 older files, 2.10 MB to fetch");
    dir.assert_published("m.safetensors", &joined);
    assert!(model_bytes(&hub) < 3 * MIB);
}

#[test]
fn a_cache_and_a_lock_file_profit_too() {
    let (old, new) = (version(1, 0), version(2, 0));
    let (dir, hub) = (TestDir::new(), hub_of(&old));
    dir.cache_job("fetch", &hub, [REPO, FILE]).run().succeeds();
    push(&hub, &new);
    dir.cache_job("fetch", &hub, [REPO, FILE]).run().succeeds();
    assert!(hub.bytes_sent(Server::Cdn) < 2 * MIB);

    let dir = TestDir::new();
    fs::write(
        dir.path().join("models.toml"),
        format!("[[model]]\nrepo = \"{REPO}\"\nfiles = [\"{FILE}\"]\n"),
    )
    .expect("a manifest");
    let lock = |more: &[&'static str]| {
        let run = dir.command(["lock"]).env("HF_ENDPOINT", hub.endpoint()).args(more).run();
        run.succeeds();
    };
    let fetch = || dir.fetch(&hub, ["--manifest", "models.toml", "--locked"]).run().succeeds();
    lock(&[]);
    fetch();
    push(&hub, &version(3, 0));
    lock(&["--update"]);
    hub.clear();
    fetch();
    dir.assert_published(FILE, &version(3, 0));
    assert!(hub.bytes_sent(Server::Cdn) < 2 * MIB, "{} bytes", hub.bytes_sent(Server::Cdn));
}

#[test]
fn a_directory_filled_before_this_version_gets_the_hash_without_being_read() {
    let old = version(1, 0);
    let (dir, hub) = (TestDir::new(), hub_of(&old));
    dir.fetch(&hub, [REPO, FILE]).run().succeeds();
    let path = dir.state("receipts").join(format!("{FILE}.json"));
    let mut old_receipt = receipt(&dir);
    let hash = old_receipt.as_object_mut().expect("an object").remove("xet_hash").expect("a hash");
    fs::write(&path, old_receipt.to_string()).expect("a receipt");
    let before = fs::metadata(dir.file(FILE)).expect("a file");
    dir.fetch(&hub, [REPO, FILE]).run().succeeds().says("already there and verified");
    assert_eq!(receipt(&dir)["xet_hash"], hash);
    assert_eq!(receipt(&dir)["sha256"], old.sha256());
    let after = fs::metadata(dir.file(FILE)).expect("a file");
    assert_eq!(before.modified().ok(), after.modified().ok());
    // And keeps it when nobody tells it.
    hub.clear();
    dir.fetch(&hub, [REPO, FILE, "--offline"]).run().succeeds();
    assert_eq!(receipt(&dir)["xet_hash"], hash);
    push(&hub, &version(2, 0));
    dir.fetch(&hub, [REPO, FILE]).run().succeeds();
    assert!(hub.bytes_sent(Server::Cdn) < 2 * MIB);
}

#[test]
fn it_can_be_switched_off() {
    let (dir, hub, new) = outdated();
    dir.fetch(&hub, [REPO, FILE, "--no-delta"]).run().succeeds().does_not_say("copy");
    assert_fetched_whole(&hub, &dir, &new);
    assert_eq!(questions(&hub), 0);
    let (dir, hub, new) = outdated();
    dir.fetch(&hub, [REPO, FILE]).env("MODELFETCH_NO_DELTA", "true").run().succeeds();
    assert_fetched_whole(&hub, &dir, &new);
}

#[test]
fn where_little_is_equal_nothing_is_copied_and_nothing_said() {
    let new = Payload::joined([Payload::gguf(2, 20 * MIB), Payload::random(8, 8 * MIB)]);
    let (dir, hub, _) = outdated();
    push(&hub, &new);
    dir.fetch(&hub, [REPO, FILE]).run().succeeds().does_not_say("copy").does_not_say("warning");
    assert_fetched_whole(&hub, &dir, &new);
    // Too small for anybody to ask.
    let small = Payload::gguf(3, 8 * MIB);
    push(&hub, &small);
    dir.fetch(&hub, [REPO, FILE]).run().succeeds();
    assert_eq!(questions(&hub), 0);
}

/// Fetches the second version after something was done to the Hub; it comes whole, with one line of why.
#[track_caller]
fn falls_back(why: &str, fault: impl FnOnce(&FakeHub)) -> Run {
    let (dir, hub, new) = outdated();
    fault(&hub);
    let run = dir.fetch(&hub, [REPO, FILE]).run().succeeds().says(why);
    let lines = run.stderr.lines().filter(|line| line.contains("warning")).count();
    assert_eq!(lines, 1, "{}", run.stderr);
    assert_fetched_whole(&hub, &dir, &new);
    run
}

fn cas() -> Rule {
    Rule::cdn().path_contains("/v2/reconstructions/").always()
}

fn token_route() -> Rule {
    Rule::hub().path_contains("xet-read-token").always()
}

#[test]
fn whatever_is_wrong_with_the_answers_all_is_fetched_with_one_line_of_why() {
    for status in [401, 403, 404] {
        let why = format!("{status}");
        falls_back(&why, |hub| drop(hub.fault(cas().then(Fault::status(status)))));
    }
    for status in [403, 404] {
        falls_back("all of it is fetched", |hub| drop(hub.fault(token_route().then(Fault::status(status)))));
    }
    let terms = |json: serde_json::Value| {
        move |hub: &FakeHub| {
            drop(hub.on(cas(), move |_, reply| *reply = Reply::json(&json)));
        }
    };
    let term = |hash: &str, bytes: u64, end: u64| json!({ "hash": hash.repeat(32), "unpacked_length": bytes, "range": { "start": 0, "end": end } });
    falls_back("no reconstruction", terms(json!({ "error": "no" })));
    falls_back("terms of 5 bytes", terms(json!({ "terms": [term("ab", 5, 1)] })));
    falls_back("chunks without bytes", terms(json!({ "terms": [term("ab", 5, 0)] })));
    let (old, sizes) = (old_hash(), [1, 2].map(|header| version(header, 0).size()));
    falls_back("two lengths for the same chunks", move |hub| {
        drop(hub.on(cas(), move |request, reply| {
            let size = sizes[usize::from(!request.target.contains(&old))];
            *reply = Reply::json(&json!({ "terms": [term("ab", size, 9)] }));
        }));
    });
    falls_back("more than", |hub| {
        drop(hub.on(cas(), |_, reply| {
            *reply = Reply::new(200).body(Payload::random(1, 65 * MIB));
        }));
    });
    falls_back("302", |hub| drop(hub.fault(cas().then(Fault::redirect("https://elsewhere.example/")))));
}

/// What the fake Hub calls the first version.
fn old_hash() -> String {
    let hub = hub_of(&version(1, 0));
    let dir = TestDir::new();
    let lock = "[[model]]\nrepo = \"owner/name\"\nfiles = [\"model.gguf\"]\n";
    fs::write(dir.path().join("models.toml"), lock).expect("a manifest");
    dir.command(["lock"]).env("HF_ENDPOINT", hub.endpoint()).run().succeeds();
    let lock = fs::read_to_string(dir.path().join("models.lock")).expect("a lock file");
    let line = lock.lines().find_map(|line| line.strip_prefix("xet_hash = ")).expect("a hash");
    line.trim_matches('"').to_owned()
}

/// The first request of each kind came at this time.
fn first(hub: &FakeHub, is_one: impl Fn(&Record) -> bool) -> SystemTime {
    hub.requests().iter().find(|record| is_one(record)).expect("a request").at
}

#[test]
fn a_cas_that_is_silent_keeps_nobody_waiting() {
    for rule in [cas(), token_route()] {
        let (dir, hub, new) = outdated();
        hub.fault(rule.then(Fault::stall(0)));
        dir.fetch(&hub, [REPO, FILE])
            .run()
            .succeeds()
            .says("had not answered when everything was there")
            .says("all of it is fetched");
        assert_fetched_whole(&hub, &dir, &new);
        // It was not awaited: neither the first bytes nor those that follow, on other connections.
        let is_of_model =
            |record: &Record| record.server == Server::Cdn && !record.request.target.contains("/cas/");
        let asked = first(&hub, |record| record.request.target.contains("xet-read-token"));
        let begun = first(&hub, is_of_model);
        let followed = first(&hub, |record| {
            is_of_model(record) && record.request.header("range").is_none_or(|range| !range.contains("=0-"))
        });
        let since = |time: SystemTime| time.duration_since(asked).unwrap_or_default();
        assert!(since(begun) < Duration::from_millis(900), "{:?}", since(begun));
        assert!(since(followed) < Duration::from_millis(1800), "{:?}", since(followed));
    }
}

#[test]
fn an_answer_that_comes_late_still_saves_what_nobody_has_begun_to_fetch() {
    let (old, new) = (version(1, 0), version(2, 0));
    let builder = FakeHub::builder().rate_per_connection(1_000_000);
    let hub = built(builder.repo(Repo::model(REPO).xet(FILE, old)));
    let dir = TestDir::new();
    let fast = hub_of(&version(1, 0));
    dir.fetch(&fast, [REPO, FILE]).run().succeeds();
    push(&hub, &new);
    hub.fault(
        Rule::hub().path_contains("xet-read-token").always().then(Fault::pause(0, Duration::from_secs(3))),
    );
    let run = dir.fetch(&hub, [REPO, FILE, "--connections", "2", "--json"]).run().succeeds();
    dir.assert_done(FILE, &new);
    let copied = run.json()["bytes_copied"].as_u64().expect("a number");
    assert!(copied > 12 * MIB && copied < EQUAL, "{copied} bytes copied");
}

#[test]
fn a_file_that_was_changed_since_its_receipt_is_not_copied_from() {
    let (dir, hub, new) = outdated();
    let path = dir.file(FILE);
    let mut bytes = fs::read(&path).expect("the old file");
    bytes[20_000_000] ^= 1;
    fs::write(&path, bytes).expect("a changed file");
    dir.fetch(&hub, [REPO, FILE]).run().succeeds();
    assert_fetched_whole(&hub, &dir, &new);
    assert_eq!(questions(&hub), 0);
}

/// Flips a byte without a trace in size, times or inode: the receipt is rewritten for what is there.
fn flip_unnoticed(dir: &TestDir, at: usize) {
    use std::os::unix::fs::MetadataExt;
    let path = dir.file(FILE);
    let mut bytes = fs::read(&path).expect("the old file");
    bytes[at] ^= 1;
    fs::write(&path, bytes).expect("a changed file");
    let metadata = fs::metadata(&path).expect("a file");
    let mut receipt = receipt(dir);
    receipt["mtime_ns"] = (metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec()).into();
    receipt["ctime_ns"] = (metadata.ctime() * 1_000_000_000 + metadata.ctime_nsec()).into();
    fs::write(dir.state("receipts").join(format!("{FILE}.json")), receipt.to_string()).expect("a receipt");
}

#[test]
fn a_byte_that_the_disk_has_flipped_is_found_and_what_was_copied_is_fetched() {
    let (dir, hub, new) = outdated();
    flip_unnoticed(&dir, 20_000_000);
    let run = dir.fetch(&hub, [REPO, FILE, "--json"]).run().succeeds().says("fetching 33.6 MB of it again");
    dir.assert_done(FILE, &new);
    let fetched = run.json()["files"][0]["bytes_fetched"].as_u64().expect("a number");
    // What connections take over from each other comes twice.
    assert!(fetched < new.size() + 4 * MIB, "{fetched} bytes");
}

/// Changes what a CAS says of a file, mostly so that the sums stay right.
fn lie(chance: &mut fastrand::Rng, terms: &mut Vec<serde_json::Value>) {
    let (one, other) = (chance.usize(..terms.len()), chance.usize(..terms.len()));
    match chance.u8(..7) {
        0 => terms.reverse(),
        1 => terms.swap(one, other),
        // The same places, other contents.
        2 => {
            let [first, second] = [one, other].map(|at| terms[at]["hash"].clone());
            (terms[one]["hash"], terms[other]["hash"]) = (second, first);
        }
        // Bytes of one are said to be of another.
        3 => {
            let [first, second] =
                [one, other].map(|at| terms[at]["unpacked_length"].as_u64().expect("a length"));
            let moved = chance.u64(..first / 2);
            if one != other {
                terms[one]["unpacked_length"] = (first - moved).into();
                terms[other]["unpacked_length"] = (second + moved).into();
            }
        }
        4 => {
            let by = chance.u64(1..9);
            for end in ["start", "end"] {
                let chunk = terms[one]["range"][end].as_u64().expect("a chunk");
                terms[one]["range"][end] = (chunk + by).into();
            }
        }
        5 => terms[one] = terms[other].clone(),
        _ => {
            terms.truncate(one);
        }
    }
}

#[test]
fn a_reconstruction_that_lies_costs_bytes_and_never_a_wrong_file() {
    const LIES: u64 = 60;
    let version = |number: u64| {
        let tensors = [9, 6, 3, 2].map(|mib| Payload::random(mib, mib * MIB));
        Payload::joined([Payload::gguf(number, MIB + number)].into_iter().chain(tensors))
    };
    let (dir, hub) = (TestDir::new(), hub_of(&version(0)));
    dir.fetch(&hub, [REPO, FILE]).run().succeeds();
    let mut was_doubted = 0;
    for number in 1..=LIES {
        push(&hub, &version(number));
        hub.clear_faults();
        hub.on(cas(), move |request, reply| {
            // Each file is lied about in a way of its own.
            let seed =
                request.target.bytes().fold(number, |seed, byte| seed * 31 % 1_000_003 + u64::from(byte));
            let mut answer: serde_json::Value = serde_json::from_slice(&reply.content()).expect("JSON");
            lie(&mut fastrand::Rng::with_seed(seed), answer["terms"].as_array_mut().expect("terms"));
            *reply = Reply::json(&answer);
        });
        let run = dir.fetch(&hub, [REPO, FILE]).run().succeeds();
        dir.assert_done(FILE, &version(number));
        was_doubted += u64::from(run.stderr.contains("of it again"));
        assert!(run.stderr.matches("warning").count() <= 1, "{}", run.stderr);
    }
    assert!(was_doubted >= LIES / 6, "{was_doubted} lies led to a copy of wrong bytes");
}

#[test]
fn killed_while_it_copies_it_goes_on_with_what_was_copied_and_fetched() {
    let (old, new) = (version(1, 0), version(2, 0));
    let hub = built(FakeHub::builder().rate_per_connection(300_000).repo(Repo::model(REPO).xet(FILE, old)));
    let dir = TestDir::new();
    dir.fetch(&hub_of(&version(1, 0)), [REPO, FILE]).run().succeeds();
    push(&hub, &new);
    let mut run = dir.fetch(&hub, [REPO, FILE, "--connections", "1"]).start();
    run.wait_until("copied bytes", |_| dir.journaled() >= 24 * MIB);
    run.kill();
    let left = new.size() - dir.journaled();
    hub.clear();
    let run = dir.fetch(&hub, [REPO, FILE, "--json"]).run().succeeds();
    dir.assert_done(FILE, &new);
    let json = run.json();
    let brought = ["bytes_copied", "bytes_fetched"].map(|name| json[name].as_u64().expect("a number"));
    assert!(brought.iter().sum::<u64>() <= left + MIB, "{json}: {left} bytes were left");
}

#[test]
fn what_an_earlier_run_copied_is_doubted_first() {
    let (dir, hub, new) = outdated();
    flip_unnoticed(&dir, 5_000_000);
    // The first megabyte, which is fetched, never comes.
    hub.fault(Rule::cdn().covering(500_000).always().then(Fault::stall(0)));
    let mut run = dir.fetch(&hub, [REPO, FILE]).start();
    run.wait_until("copied bytes", |_| dir.journaled() >= 24 * MIB);
    run.terminate();
    hub.clear_faults();
    hub.clear();
    let run = dir.fetch(&hub, [REPO, FILE, "--json"]).run().succeeds().says("of it again");
    dir.assert_done(FILE, &new);
    // What connections take over from each other comes twice.
    let fetched = run.json()["files"][0]["bytes_fetched"].as_u64().expect("a number");
    assert!(fetched < new.size() + 4 * MIB, "{fetched} bytes");
}

#[test]
fn each_token_goes_to_the_server_it_is_for_and_is_shown_nowhere() {
    let (dir, hub, _) = outdated();
    let run = dir.fetch(&hub, [REPO, FILE, "--verbose"]).env("HF_TOKEN", TOKEN).run().succeeds();
    let text = run.stderr + &run.stdout + &receipt(&dir).to_string();
    assert!(!text.contains(TOKEN) && !text.contains(CAS_TOKEN), "{text}");
    let mut asked = 0;
    for record in hub.requests() {
        let authorization = record.authorization().unwrap_or_default();
        match record.server {
            Server::Hub => assert!(!authorization.contains(CAS_TOKEN), "{:?}", record.request.target),
            Server::Cdn if record.request.target.starts_with("/cas/") => {
                assert_eq!(authorization, format!("Bearer {CAS_TOKEN}"));
                asked += 1;
            }
            Server::Cdn => assert_eq!(authorization, "", "{:?}", record.request.target),
        }
    }
    assert_eq!(asked, 2);
}

#[test]
fn a_cas_at_an_address_of_the_local_link_is_not_asked() {
    for address in
        ["http://169.254.169.254/cas", "https://[fe80::1]/", "ftp://cas.example", "https://u:p@cas.example"]
    {
        let run = falls_back("which is not followed", |hub| {
            drop(hub.on(token_route(), move |_, reply| {
                *reply = Reply::json(&json!({ "accessToken": CAS_TOKEN, "casUrl": address, "exp": 0 }));
            }));
        });
        assert!(!run.stderr.contains(CAS_TOKEN));
    }
}

#[test]
fn the_old_file_stays_until_the_new_one_is_verified() {
    let (dir, hub, _) = outdated();
    let old = version(1, 0);
    hub.fault(Rule::cdn().covering(500_000).always().then(Fault::stall(0)));
    let mut run = dir.fetch(&hub, [REPO, FILE]).start();
    run.wait_until("copied bytes", |_| dir.journaled() >= 24 * MIB);
    dir.assert_published(FILE, &old);
    run.terminate();
    dir.assert_published(FILE, &old);
    assert!(Path::new(&dir.file(FILE)).is_file());
}
