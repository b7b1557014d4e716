//! Models as code: a manifest, its lock file, and a fetch of all of them in one run.

use std::fs;
use std::path::PathBuf;

use fake_hub::{FakeHub, Fault, Payload, Repo, Rule, Server};

use crate::support::command::{Modelfetch, Run};
use crate::support::volume::Volume;
use crate::support::{MIB, TestDir, built, model};

/// A chat model and its projector's repository, each with files of one name.
struct Bed {
    hub: FakeHub,
    dir: TestDir,
    chat: Payload,
    vision: Payload,
}

const MANIFEST: &str = r#"
[[model]]
name = "chat"
repo = "o/chat"
files = ["*.gguf", "config.json"]
dir = "chat"

[[model]]
name = "vision"
repo = "o/vision"
files = ["mmproj.gguf"]
"#;

impl Bed {
    fn new() -> Self {
        let (chat, vision) = (model(1, 3), model(2, 2));
        let hub = built(
            FakeHub::builder()
                .repo(
                    Repo::model("o/chat").lfs("m.gguf", chat.clone()).small("config.json", &b"{\"a\":1}"[..]),
                )
                .repo(Repo::model("o/vision").lfs("mmproj.gguf", vision.clone())),
        );
        let bed = Self { hub, dir: TestDir::new(), chat, vision };
        bed.manifest(MANIFEST);
        bed
    }

    fn manifest(&self, text: &str) {
        fs::write(self.dir.path().join("models.toml"), text).expect("a manifest");
    }

    fn lockfile(&self) -> PathBuf {
        self.dir.path().join("models.lock")
    }

    fn locked(&self) -> String {
        fs::read_to_string(self.lockfile()).expect("a lock file")
    }

    fn lock<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Run {
        self.command("lock", arguments).run()
    }

    fn command<'a>(&self, command: &str, arguments: impl IntoIterator<Item = &'a str>) -> Modelfetch {
        self.dir.command([command]).env("HF_ENDPOINT", self.hub.endpoint()).args(arguments)
    }

    fn fetch<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Modelfetch {
        self.dir.fetch(&self.hub, ["--manifest", "models.toml"].into_iter().chain(arguments))
    }

    #[track_caller]
    fn assert_there(&self) {
        self.dir.assert_published("chat/m.gguf", &self.chat);
        self.dir.assert_published("mmproj.gguf", &self.vision);
    }
}

#[test]
fn one_run_brings_all_models_of_a_manifest() {
    let bed = Bed::new();
    let run = bed.fetch(["--json"]).run().succeeds();
    bed.assert_there();
    let summary: serde_json::Value = serde_json::from_str(&run.stdout).expect("JSON");
    let names: Vec<_> =
        summary["models"].as_array().expect("models").iter().map(|model| &model["name"]).collect();
    assert_eq!(names, ["chat", "vision"]);
    assert_eq!(summary["models"][0]["repo"], "o/chat");
    assert_eq!(summary["bytes_total"], 5 * MIB + 7);
    // A range that hangs is asked for once more.
    assert!(summary["bytes_fetched"].as_u64() >= Some(5 * MIB + 7), "{summary}");
    bed.fetch([]).run().succeeds().says("nothing to do: 3 verified files in 2 models");
    let verified = bed.dir.command(["verify", "--dir"]).arg(bed.dir.models()).run().succeeds();
    verified.prints("chat/config.json").prints("mmproj.gguf");
    fs::write(bed.dir.file("chat/config.json"), b"{\"a\":2}").expect("damaged");
    let repair = bed.command("verify", ["--repair", "--dir"]).arg(bed.dir.models()).run().succeeds();
    repair.prints("repaired").prints("chat/config.json");
}

#[test]
fn a_lock_file_says_what_the_models_are_and_is_written_once() {
    let bed = Bed::new();
    bed.lock([]).succeeds().prints("chat: ").says("was written");
    let text = bed.locked();
    let commit = bed.hub.commit("o/chat", "main").expect("a branch");
    assert!(
        text.contains(&format!("repo = \"o/chat\"\nrevision = \"main\"\ncommit = \"{commit}\"\n")),
        "{text}"
    );
    assert!(text.contains(&bed.chat.sha256().to_string()), "{text}");
    bed.hub.clear();
    bed.lock([]).succeeds().says("is as it was");
    assert!(bed.hub.requests().is_empty(), "what is locked needs no question");
    assert_eq!(bed.locked(), text);
    bed.lock(["--update"]).succeeds().says("is as it was");
    bed.lock(["--check"]).succeeds();
}

#[test]
fn a_locked_fetch_asks_for_nothing_but_the_bytes_of_its_commit() {
    let bed = Bed::new();
    bed.lock([]).succeeds();
    let commits = ["o/chat", "o/vision"].map(|repo| bed.hub.commit(repo, "main").expect("a branch"));
    bed.hub.push("o/chat", "main", |tree| {
        tree.lfs("m.gguf", model(7, 3));
    });
    let refused = bed.hub.fault(Rule::hub().path_contains("/api/models/").always().then(Fault::status(403)));
    let moved = bed.hub.fault(Rule::hub().path_contains("/resolve/main/").always().then(Fault::status(404)));
    bed.hub.clear();
    bed.fetch(["--locked"]).run().succeeds();
    bed.assert_there();
    assert_eq!((refused.count(), moved.count()), (0, 0));
    for record in bed.hub.requests_to(Server::Hub) {
        let (method, target) = (record.request.method, record.request.target);
        // Small files are where a Hub's /resolve/ leads.
        let is_of_commit = commits.iter().any(|commit| target.contains(&format!("/{commit}/")));
        assert!(is_of_commit && target.contains("/resolve") && method == "GET", "{method} {target}");
    }
    bed.hub.clear();
    bed.fetch(["--locked"]).run().succeeds().says("nothing to do");
    assert!(bed.hub.requests().is_empty());
    bed.fetch(["--locked", "--offline"]).run().succeeds();
}

#[test]
fn what_is_locked_is_fetched_although_the_branch_has_moved_and_what_is_not_is_looked_up() {
    let bed = Bed::new();
    bed.manifest(MANIFEST.split("[[model]]\nname = \"vision\"").next().expect("the first model"));
    bed.lock([]).succeeds();
    bed.manifest(MANIFEST);
    bed.hub.push("o/chat", "main", |tree| {
        tree.lfs("m.gguf", model(7, 3));
    });
    bed.fetch(["--locked"]).run().exits(2).says("vision").says("modelfetch lock");
    bed.dir.assert_absent("chat/m.gguf");
    bed.fetch([]).run().succeeds();
    bed.assert_there();
}

#[test]
fn a_check_tells_what_has_moved_and_an_update_takes_it_over() {
    let bed = Bed::new();
    bed.lock([]).succeeds();
    let old = bed.locked();
    let new = model(7, 4);
    let commit = bed.hub.push("o/chat", "main", |tree| {
        tree.lfs("m.gguf", new.clone());
    });
    bed.lock(["--check"]).exits(12).says("chat: ").says(&commit).says("changed: m.gguf");
    assert_eq!(bed.locked(), old, "a check writes nothing");
    bed.lock(["--update", "vision"]).succeeds();
    assert_eq!(bed.locked(), old, "the other model stays as it is locked");
    bed.lock(["--update", "chat"]).succeeds().prints(&commit);
    assert!(bed.locked().contains(&commit));
    bed.fetch(["--locked"]).run().succeeds();
    bed.dir.assert_published("chat/m.gguf", &new);
    bed.lock(["--update", "chta"]).exits(2).says("chta");
}

#[test]
fn a_commit_that_was_moved_by_hand_has_no_digests_until_they_are_looked_up() {
    let bed = Bed::new();
    bed.lock([]).succeeds();
    let old = bed.hub.commit("o/chat", "main").expect("a branch");
    let new = model(7, 3);
    let commit = bed.hub.push("o/chat", "main", |tree| {
        tree.lfs("m.gguf", new.clone());
    });
    bed.hub.push("o/chat", "main", |tree| {
        tree.lfs("m.gguf", model(8, 3));
    });
    fs::write(bed.lockfile(), bed.locked().replace(&old, &commit)).expect("a lock file");
    for arguments in [&["--locked"][..], &[]] {
        bed.fetch(arguments.iter().copied()).run().exits(2).says("changed by hand").says("modelfetch lock");
    }
    bed.lock(["--update"]).succeeds();
    bed.fetch(["--locked"]).run().succeeds();
    bed.dir.assert_published("chat/m.gguf", &new);
}

#[test]
fn a_hub_that_contradicts_the_lock_file_brings_no_byte_of_the_model() {
    let bed = Bed::new();
    bed.lock([]).succeeds();
    let lie = bed.chat.sha256().to_string();
    let other = model(9, 3).sha256().to_string();
    bed.hub.on(Rule::tree(), move |_, reply| {
        let text = String::from_utf8_lossy(&reply.content()).replace(&lie, &other);
        *reply = reply.clone().body(text.into_bytes());
    });
    bed.fetch([]).run().exits(12).says("m.gguf").says("the lock file and the Hub disagree");
    bed.dir.assert_absent("chat/m.gguf");
}

#[test]
fn the_failure_of_one_model_neither_hides_nor_stops_the_others() {
    let bed = Bed::new();
    bed.manifest(&format!("{MANIFEST}\n[[model]]\nname = \"gone\"\nrepo = \"o/gone\"\n"));
    let run =
        bed.fetch(["--json"]).run().exits(11).says("1 of 3 models failed").says("gone: ").says("o/gone");
    bed.assert_there();
    let summary: serde_json::Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert_eq!(summary["models"][2]["exit"], 11);
    assert_eq!(summary["exit"], 11);
    bed.lock([]).exits(11).says("gone: ");
    assert!(!bed.lockfile().exists());
}

#[test]
fn a_mistake_in_a_manifest_or_lock_file_is_told_with_its_place_before_anybody_is_asked() {
    let bed = Bed::new();
    for (text, place, why) in [
        (
            "[[model]]\nrepo = \"o/chat\"\nrevison = \"main\"",
            "line 3, column 1",
            "`revision` is probably meant",
        ),
        ("[[model]]\nrepo = \"o/chat", "line 2, column", "invalid basic string"),
        ("[[model]]\nrepo = \"o/chat\"\ndir = \"../x\"", "line 3, column 7", "not allowed"),
    ] {
        bed.manifest(text);
        for run in [bed.fetch([]).run(), bed.lock([])] {
            run.exits(2).says("models.toml").says(place).says(why);
        }
    }
    bed.manifest(MANIFEST);
    bed.lock([]).succeeds();
    let good = bed.locked();
    bed.hub.clear();
    for (old, new, why) in [
        ("version = 1", "version = 2", "its format is 2"),
        ("commit = ", "comit = ", "`commit` is probably meant"),
        ("size = ", "size = -", "line"),
    ] {
        let written = good.replacen(old, new, 1);
        fs::write(bed.lockfile(), &written).expect("a lock file");
        let prune = bed.command("prune", ["--keep", "models.lock", "--dir"]).arg(bed.dir.models());
        for run in [bed.fetch(["--locked"]).run(), bed.fetch([]).run(), bed.lock([]), prune.run()] {
            run.exits(2).says("models.lock").says(why);
        }
        assert_eq!(bed.locked(), written, "what cannot be read is not written over");
    }
    assert!(bed.hub.requests().is_empty());
}

#[test]
fn models_of_one_name_for_different_contents_are_refused_before_a_byte() {
    let bed = Bed::new();
    bed.hub.push("o/vision", "main", |tree| {
        tree.lfs("m.gguf", model(5, 2));
    });
    bed.manifest("[[model]]\nrepo = \"o/chat\"\n[[model]]\nrepo = \"o/vision\"\n");
    bed.fetch([]).run().exits(2).says("m.gguf").says("`o/chat` and `o/vision`").says("dir");
    bed.dir.assert_absent("m.gguf");
    assert!(bed.hub.requests_to(Server::Cdn).is_empty());
}

#[test]
fn models_of_one_repository_share_a_cache_and_what_both_want_comes_once() {
    let bed = Bed::new();
    bed.manifest(
        "[[model]]\nname = \"a\"\nrepo = \"o/chat\"\nfiles = [\"m.gguf\"]\n[[model]]\nname = \"b\"\nrepo = \"o/chat\"\n",
    );
    bed.dir.cache_job("fetch", &bed.hub, ["--manifest", "models.toml"]).run().succeeds();
    let sent = bed.hub.bytes_sent(Server::Cdn);
    assert!((3 * MIB..6 * MIB).contains(&sent), "{sent}");
    bed.manifest(MANIFEST);
    let cache = bed.dir.cache_job("fetch", &bed.hub, ["--manifest", "models.toml"]).run();
    cache.exits(2).says("chat").says("cache");
}

#[test]
fn all_models_together_must_have_room() {
    let bed = Bed::new();
    // Each alone would fit.
    let Some(volume) = Volume::of_mib(5) else { return };
    let dir = TestDir::with_models(volume.path());
    fs::write(dir.path().join("models.toml"), MANIFEST).expect("a manifest");
    let run = dir.fetch(&bed.hub, ["--manifest", "models.toml"]).run().exits(21).says("not enough space");
    assert!(bed.hub.requests_to(Server::Cdn).is_empty(), "{}", run.stderr);
}

#[test]
fn a_plan_of_a_manifest_changes_nothing() {
    let bed = Bed::new();
    for run in [bed.dir.job("plan", &bed.hub, ["--manifest", "models.toml"]), bed.fetch(["--dry-run"])] {
        run.run().succeeds().prints("o/chat at main").prints("o/vision at main");
    }
    assert!(!bed.dir.models().exists());
}

#[test]
fn a_manifest_and_a_repository_exclude_each_other() {
    let bed = Bed::new();
    bed.fetch(["o/chat"]).run().exits(2).says("--manifest").says("REPO");
    bed.dir.fetch(&bed.hub, ["o/chat", "--locked"]).run().exits(2).says("--locked");
    bed.dir.fetch(&bed.hub, []).run().exits(2);
    // A flag wins over a variable.
    bed.fetch([]).env("MODELFETCH_REPO", "o/gone").run().succeeds();
    bed.dir.fetch(&bed.hub, ["o/vision"]).env("MODELFETCH_MANIFEST", "absent.toml").run().succeeds();
}

#[test]
fn a_storage_initializer_is_called_as_kserve_calls_one() {
    let bed = Bed::new();
    let old = bed.hub.commit("o/chat", "main").expect("a branch");
    bed.hub.push("o/chat", "main", |tree| {
        tree.lfs("m.gguf", model(7, 3));
    });
    let (chat, vision) = (bed.dir.path().join("mnt/models/chat"), bed.dir.path().join("mnt/models/vision"));
    let [chat, vision] = [chat, vision].map(|path| path.to_string_lossy().into_owned());
    let source = format!("hf://o/chat:{old}");
    let run =
        bed.command("storage-initializer", [&*source, &chat, "hf://o/vision", &vision]).run().succeeds();
    run.prints(&format!("{chat}/m.gguf"))
        .prints(&format!("{vision}/mmproj.gguf"))
        .says("storage-initializer");
    let there = |path: String| crate::support::dir::sha256_of(path.as_ref());
    assert_eq!(there(format!("{chat}/m.gguf")), bed.chat.sha256().to_string());
    assert_eq!(there(format!("{vision}/mmproj.gguf")), bed.vision.sha256().to_string());
    bed.command("storage-initializer", ["hf://o/chat"]).run().exits(2);
    bed.command("storage-initializer", ["hf://o/chat", "/x", "hf://o/vision"]).run().exits(2).says("DEST");
    bed.command("storage-initializer", ["hf://o/gone", &chat]).run().exits(11).says("o/gone");
    bed.command("storage-initializer", ["s3://bucket/x", &chat]).run().exits(2).says("s3://");
}

#[test]
fn a_smoke_test_tries_every_model_and_ends_with_the_worst() {
    let bed = Bed::new();
    let smoke =
        |arguments: &[&str]| bed.command("smoke", ["--manifest", "models.toml"]).args(arguments).run();
    smoke(&[])
        .succeeds()
        .prints("chat: GGUF header of m.gguf")
        .prints("vision: range at")
        .prints("5.24 MB to fetch");
    bed.lock([]).succeeds();
    let run = smoke(&["--json"]).succeeds();
    let smokes = run.json()["smokes"].clone();
    let names: Vec<_> =
        smokes.as_array().expect("models").iter().map(|model| model["name"].clone()).collect();
    assert_eq!(names, ["chat", "vision"]);
    assert!(smokes[0]["checks"].to_string().contains("what is there now is what it says"), "{smokes}");

    bed.manifest(&MANIFEST.replace("mmproj.gguf", "other.gguf"));
    let run = smoke(&[]).exits(11).says("1 of 2 models failed").says("vision: file `other.gguf` not found");
    run.prints("chat: names in");
}

#[test]
fn a_smoke_test_of_what_is_locked_asks_nobody_what_it_is() {
    let bed = Bed::new();
    bed.lock([]).succeeds();
    bed.hub.clear();
    let head = bed.hub.fault(Rule::hub().method("HEAD").always().then(Fault::status(403)));
    bed.hub.fault(Rule::hub().path_contains("/api/models").always().then(Fault::status(403)));
    bed.command("smoke", ["--manifest", "models.toml", "--locked"]).run().succeeds();
    assert_eq!(head.count(), 0);
}

#[test]
fn a_smoke_test_finds_a_lock_file_that_the_hub_contradicts() {
    let bed = Bed::new();
    bed.lock([]).succeeds();
    let (lie, other) = (bed.chat.sha256().to_string(), model(9, 3).sha256().to_string());
    bed.hub.on(Rule::tree(), move |_, reply| {
        let text = String::from_utf8_lossy(&reply.content()).replace(&lie, &other);
        *reply = reply.clone().body(text.into_bytes());
    });
    bed.command("smoke", ["--manifest", "models.toml"]).run().exits(12).says("chat: the lock file");
}
