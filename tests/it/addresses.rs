//! Files on plain servers, which know neither commits nor digests: a pin or a lock file says what they must be.

use std::fs;

use fake_hub::{FakeHub, Fault, Payload, Repo, Rule, Server};
use rustix::process::Signal;

use crate::support::command::{Modelfetch, Run};
use crate::support::secret::TOKEN;
use crate::support::{MIB, REPO, TestDir, built, model};

/// No Hub is asked about any of this.
const NOBODY: &str = "http://127.0.0.1:9";
/// Of somebody who has signed nothing here.
const PUBLIC_KEY: &str = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEAzjYtsGFNCQsZx/V1Y2LvROT9bTO\nvnokqMn7nmAWW7XWW+B/HQQIBxkT291f4T5Y2KjCQAwSJCva0IOHpgyRvw==\n-----END PUBLIC KEY-----\n";

/// A server with one file that it has itself, and one that it sends to another host for.
struct Bed {
    server: FakeHub,
    dir: TestDir,
    own: Payload,
    far: Payload,
}

impl Bed {
    fn new() -> Self {
        Self::with(FakeHub::builder())
    }

    fn with(builder: fake_hub::Builder) -> Self {
        let (own, far) = (model(1, 3), model(2, 12));
        let repo = Repo::model(REPO).small("own.gguf", own.clone()).lfs("far.gguf", far.clone());
        Self { server: built(builder.repo(repo).without_cache()), dir: TestDir::new(), own, far }
    }

    fn folder(&self) -> String {
        format!("url:{}/{REPO}/resolve/main/", self.server.endpoint())
    }

    fn address(&self, name: &str) -> String {
        self.folder() + name
    }

    fn command<'a>(&self, command: &str, arguments: impl IntoIterator<Item = &'a str>) -> Modelfetch {
        self.dir.command([command]).env("HF_ENDPOINT", NOBODY).args(arguments)
    }

    fn fetch<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Modelfetch {
        self.command("fetch", arguments).arg("--dir").arg(self.dir.models())
    }

    fn manifest(&self) {
        let (folder, own, far) = (self.folder(), self.own.sha256(), self.far.sha256());
        let text = format!(
            "[[model]]\nname = \"far\"\nrepo = \"{folder}far.gguf#sha256={far}\"\n\n[[model]]\nname = \"own\"\nrepo = \"{folder}\"\nfiles = [\"own.gguf\"]\nsha256 = {{ \"own.gguf\" = \"{own}\" }}\n"
        );
        fs::write(self.dir.path().join("models.toml"), text).expect("a manifest");
    }
}

#[test]
fn a_pinned_file_comes_from_any_server_and_then_nobody_is_asked() {
    let bed = Bed::new();
    for (name, payload) in [("own.gguf", &bed.own), ("far.gguf", &bed.far)] {
        bed.fetch([bed.address(name).as_str(), "--sha256", payload.sha256()]).run().succeeds();
        bed.dir.assert_published(name, payload);
    }
    bed.server.clear();
    let pinned = format!("{}#sha256={}", bed.address("own.gguf"), bed.own.sha256());
    bed.fetch([pinned.as_str()]).run().succeeds();
    assert!(bed.server.requests().is_empty());
    let list = bed.command("list", ["--dir"]).arg(bed.dir.models()).run().succeeds();
    list.prints(&bed.folder()).prints(bed.far.sha256()).prints("  by pin\n");
}

#[test]
fn a_plain_server_has_no_signature_that_anybody_vouches_for() {
    let bed = Bed::new();
    let pinned = format!("{}#sha256={}", bed.address("own.gguf"), bed.own.sha256());
    fs::write(bed.dir.path().join("key.pub"), PUBLIC_KEY).expect("a key");
    bed.fetch([pinned.as_str(), "--trust-key", "key.pub"]).run().exits(2).says("verify --trust-key");
    assert!(bed.server.requests().is_empty());
}

#[test]
fn several_files_of_a_folder_are_named_as_those_of_a_repository() {
    let bed = Bed::new();
    let pins = [format!("own.gguf={}", bed.own.sha256()), format!("far.gguf={}", bed.far.sha256())];
    let folder = bed.folder();
    let arguments = [&folder, "own.gguf", "far.gguf", "--sha256", &pins[0], "--sha256", &pins[1]];
    bed.command("plan", arguments).arg("--dir").arg(bed.dir.models()).run().succeeds().prints("own.gguf");
    bed.fetch(arguments).run().succeeds();
    bed.dir.assert_published("own.gguf", &bed.own);
    bed.dir.assert_done("far.gguf", &bed.far);
}

#[test]
fn nothing_is_fetched_of_which_nobody_says_what_it_must_be() {
    let bed = Bed::new();
    let address = bed.address("own.gguf");
    bed.fetch([address.as_str()]).run().exits(2).says("--sha256").says("#sha256=HEX");
    bed.fetch([bed.folder().as_str(), "--quant", "Q4_0"]).run().exits(2).says("has no list of files");
    bed.fetch([bed.folder().as_str()]).run().exits(2).says("has no list of files");
    bed.fetch([bed.folder().as_str(), "*.gguf"]).run().exits(2).says("has no list of files");
    assert!(bed.server.requests().is_empty());
    bed.fetch([address.as_str(), "--sha256", bed.far.sha256()]).run().exits(20);
    bed.dir.assert_absent("own.gguf");
}

#[test]
fn an_interrupted_file_goes_on_where_it_was() {
    let bed = Bed::with(FakeHub::builder().rate_per_connection(3_000_000));
    let arguments = [&bed.address("far.gguf"), "--sha256", bed.far.sha256(), "--connections", "2"];
    let mut run = bed.fetch(arguments).start();
    run.wait_until("bytes", |_| bed.server.bytes_sent(Server::Cdn) > 6 * MIB);
    run.signal(Signal::TERM);
    run.finish().exits(143);
    bed.server.clear();
    bed.fetch(arguments).run().succeeds();
    bed.dir.assert_done("far.gguf", &bed.far);
    assert!(bed.server.bytes_sent(Server::Cdn) < 8 * MIB, "{}", bed.server.bytes_sent(Server::Cdn));
}

#[test]
fn a_damaged_file_is_repaired_from_its_address() {
    let bed = Bed::new();
    bed.fetch([&bed.address("own.gguf"), "--sha256", bed.own.sha256()]).run().succeeds();
    fs::write(bed.dir.file("own.gguf"), b"damaged").expect("written");
    let verify = |more: &[&str]| {
        let verify = bed.command("verify", more.iter().copied()).arg("--dir").arg(bed.dir.models());
        verify.run()
    };
    verify(&[]).exits(20);
    verify(&["--repair"]).succeeds();
    bed.dir.assert_published("own.gguf", &bed.own);
}

#[test]
fn a_manifest_locks_addresses_and_a_locked_fetch_asks_for_bytes_alone() {
    let bed = Bed::new();
    bed.manifest();
    bed.command("lock", []).run().succeeds().prints("own: 1 file, was not locked");
    let lock = || fs::read_to_string(bed.dir.path().join("models.lock")).expect("a lock file");
    let written = lock();
    assert!(!written.contains("commit =") && written.contains(bed.far.sha256()), "{written}");
    bed.command("lock", []).run().succeeds();
    bed.command("lock", ["--check"]).run().succeeds();
    bed.command("lock", ["--update"]).run().succeeds();
    assert_eq!(lock(), written);

    bed.server.clear();
    let locked = ["--manifest", "models.toml", "--locked"];
    bed.command("plan", locked).arg("--dir").arg(bed.dir.models()).run().succeeds();
    assert!(bed.server.requests().is_empty(), "the lock file says it all");
    bed.fetch(locked).run().succeeds();
    bed.dir.assert_published("own.gguf", &bed.own);
    bed.dir.assert_published("far.gguf", &bed.far);
    let asked = bed.server.requests();
    assert!(asked.iter().all(|record| record.request.range().is_some_and(|range| range != (0, Some(0)))));
    bed.server.clear();
    bed.fetch(locked).run().succeeds();
    bed.fetch(["--manifest", "models.toml"]).run().succeeds();
    assert!(bed.server.requests().is_empty());

    let prune = bed.command("prune", ["--keep", "models.lock", "--yes", "--dir"]).arg(bed.dir.models());
    prune.run().succeeds();
    bed.dir.assert_published("far.gguf", &bed.far);
    let without = written.replace("[[model]]\nname = \"own\"", "[[model]]\nname = \"other\"");
    fs::write(bed.dir.path().join("models.lock"), without).expect("a lock file");
    bed.command("lock", ["--check"]).run().exits(12).says("own: 1 file, was not locked");
    bed.fetch(locked).run().exits(2).says("no answer");
}

#[test]
fn a_storage_initializer_takes_an_address_with_its_digest() {
    let bed = Bed::new();
    let source = format!("{}#sha256={}", bed.address("own.gguf"), bed.own.sha256());
    bed.command("storage-initializer", [source.as_str()]).arg(bed.dir.models()).run().succeeds();
    bed.dir.assert_published("own.gguf", &bed.own);
}

#[test]
fn a_smoke_test_reads_the_ends_of_a_file_and_asks_no_hub() {
    let bed = Bed::new();
    let smoke = |digest: &str| {
        let smoke = bed.command("smoke", [&bed.address("far.gguf"), "--sha256", digest]);
        smoke.arg("--dir").arg(bed.dir.models()).run()
    };
    smoke(bed.far.sha256()).succeeds().prints("range at the middle of far.gguf").prints("a fetch would work");
}

#[test]
fn the_token_of_a_hub_goes_to_no_address() {
    let bed = Bed::new();
    bed.fetch([&bed.address("far.gguf"), "--sha256", bed.far.sha256()])
        .env("HF_TOKEN", TOKEN)
        .run()
        .succeeds();
    assert!(bed.server.requests().iter().all(|record| record.authorization().is_none()));
}

#[test]
fn what_a_server_says_instead_of_a_file_is_told() {
    let fetch = |bed: &Bed, name: &str| {
        let address = bed.address(name);
        bed.fetch([&address, "--sha256", bed.own.sha256(), "--give-up-after", "1s"]).run()
    };
    fetch(&Bed::new(), "missing.gguf").exits(11).says("missing.gguf");
    for (fault, exit) in [(Fault::html(200), 30), (Fault::status(500), 30), (Fault::status(418), 30)] {
        let bed = Bed::new();
        bed.server.fault(Rule::hub().always().then(fault));
        fetch(&bed, "own.gguf").exits(exit).says("127.0.0.1");
        bed.dir.assert_absent("own.gguf");
    }
}

#[test]
fn what_an_address_cannot_have_is_refused_before_any_request() {
    let bed = Bed::new();
    let (address, digest) = (bed.address("own.gguf"), bed.own.sha256());
    for (arguments, words) in [
        (&[address.as_str(), "--sha256", digest, "--cache=c"][..], "use --dir"),
        (&[&address, "--sha256", digest, "--local-dir", "c"], "use --dir"),
        (&[&address, "--sha256", digest, "--revision", "v1"], "no revision"),
        (&["url:https://user:SECRET@host.example/m.gguf"], "user name and password"),
        (&["url:https://host.example/m.gguf?sig=SECRET"], "a query has no place"),
        (&["url:ftp://host.example/m.gguf"], "expected url:https://HOST/FILE"),
        (&["url:host.example/m.gguf"], "relative URL"),
        (&["url:https://host.example/m.gguf#SECRET"], "sha256=HEX"),
        (&["url:https://host.example/..%2Fm.gguf"], "`/`"),
        (&["url:https://host.example/.modelfetch"], "own state"),
    ] {
        let run = bed.command("fetch", arguments.iter().copied()).run().exits(2);
        run.says(words).does_not_say("SECRET");
    }
    assert!(bed.server.requests().is_empty());
    bed.dir.assert_no_leftovers();
}

#[test]
fn a_file_of_this_machine_is_copied_and_verified() {
    let dir = TestDir::new();
    let (payload, other) = (model(3, 6), model(4, 6));
    let shelf = dir.path().join("a shelf");
    fs::create_dir(&shelf).expect("a folder");
    payload.write_to(&shelf.join("m.gguf")).expect("a file");
    std::os::unix::fs::symlink("m.gguf", shelf.join("link.gguf")).expect("a link");
    let address = |name: &str| format!("file://{}/{name}", shelf.display());
    let fetch = |arguments: &[&str]| {
        let fetch = dir.command(["fetch"]).env("HF_ENDPOINT", NOBODY).args(arguments);
        fetch.arg("--dir").arg(dir.models()).run()
    };
    fetch(&[&address("m.gguf")]).exits(2).says("--sha256");
    fetch(&[&address("m.gguf"), "--sha256", other.sha256()]).exits(20);
    dir.assert_absent("m.gguf");
    let run = fetch(&[&address("m.gguf"), "--sha256", payload.sha256(), "--json"]).succeeds();
    assert_eq!(run.json()["files"][0]["done"], "copied");
    dir.assert_published("m.gguf", &payload);
    fetch(&[&address("link.gguf"), "--sha256", payload.sha256(), "--offline"]).succeeds();
    dir.assert_done("link.gguf", &payload);

    fetch(&[&address("none.gguf"), "--sha256", payload.sha256()]).exits(11).says("none.gguf");
    fs::create_dir(shelf.join("folder")).expect("a folder");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        shelf.join("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .expect("a FIFO");
    for (name, said) in [("folder", "folder/ for all that is in it"), ("fifo", "no regular file")] {
        fetch(&[&address(name), "--sha256", payload.sha256()]).exits(2).says(said);
    }
}

#[test]
fn a_file_that_was_fetched_is_vouched_for_by_its_receipt() {
    let bed = Bed::new();
    bed.fetch([&bed.address("own.gguf"), "--sha256", bed.own.sha256()]).run().succeeds();
    let second = TestDir::new();
    let address = format!("file://{}/own.gguf", bed.dir.models().display());
    let fetch = || second.command(["fetch", &address]).arg("--dir").arg(second.models());
    fetch().run().succeeds();
    second.assert_published("own.gguf", &bed.own);
    fs::write(bed.dir.file("own.gguf"), b"something else").expect("written");
    fs::remove_file(second.file("own.gguf")).expect("removed");
    fetch().run().exits(2).says("--sha256");
}

/// A folder that a run before has filled, as a shared mount may be: files in folders, and a set of shards.
struct Shelf {
    hub: FakeHub,
    dir: TestDir,
}

const SHARDS: [&str; 2] = ["x/m-Q4_0-00001-of-00002.gguf", "x/m-Q4_0-00002-of-00002.gguf"];

impl Shelf {
    fn new() -> Self {
        let repo = Repo::model(REPO).small("config.json", &b"{}"[..]).lfs("m-Q8_0.gguf", model(6, 2));
        let repo = SHARDS.iter().zip(7..).fold(repo, |repo, (name, seed)| repo.lfs(name, model(seed, 1)));
        let shelf = Self { hub: built(FakeHub::builder().repo(repo)), dir: TestDir::new() };
        shelf.dir.fetch(&shelf.hub, [REPO]).run().succeeds();
        shelf
    }

    fn address(&self) -> String {
        format!("file://{}/", self.dir.models().display())
    }

    fn fetch(&self, to: &TestDir, arguments: &[&str]) -> Run {
        let fetch = to.command(["fetch", &self.address()]).env("HF_ENDPOINT", NOBODY);
        fetch.args(arguments).arg("--dir").arg(to.models()).run()
    }
}

#[test]
fn a_folder_of_this_machine_is_taken_as_a_whole_or_by_glob_and_its_receipts_vouch() {
    let shelf = Shelf::new();
    let (all, some) = (TestDir::new(), TestDir::new());
    let run = shelf.fetch(&all, &["--json"]).succeeds().json();
    let mut found: Vec<_> =
        run["files"].as_array().expect("files").iter().map(|file| &file["path"]).collect();
    found.sort_by_key(|path| path.as_str());
    assert_eq!(found, ["config.json", "m-Q8_0.gguf", SHARDS[0], SHARDS[1]]);
    assert!(run["files"].as_array().expect("files").iter().all(|file| file["done"] == "copied"));
    all.assert_published(SHARDS[1], &model(8, 1));
    shelf.fetch(&all, &["--offline"]).succeeds().says("nothing to do");

    shelf.fetch(&some, &["--quant", "Q4_0"]).succeeds();
    shelf.fetch(&some, &["*.json", "--exclude", "x/*"]).succeeds();
    some.assert_published(SHARDS[0], &model(7, 1));
    some.assert_absent("m-Q8_0.gguf");
    assert!(some.file("config.json").is_file());
    shelf.fetch(&some, &["*.bin"]).exits(11).says("*.bin").does_not_say("revision");
    // A folder in it, and a file in that, are vouched for from above.
    let part = format!("{}x/", shelf.address());
    let deep = TestDir::new();
    let fetch = |reference: &str| deep.command(["fetch", reference, "--dir"]).arg(deep.models()).run();
    fetch(&part).succeeds();
    deep.assert_published("m-Q4_0-00002-of-00002.gguf", &model(8, 1));
    fetch(part.trim_end_matches('/')).exits(2).says("it is a folder").says(&part);
}

#[test]
fn what_nobody_vouches_for_in_a_folder_is_named_and_stays_where_it_is() {
    let shelf = Shelf::new();
    let dir = TestDir::new();
    shelf.dir.put("own.bin", b"somebody's");
    fs::write(shelf.dir.file(SHARDS[0]), b"changed").expect("changed");
    let run = shelf.fetch(&dir, &[]).exits(2).says("own.bin").says("1 other file").says("--sha256");
    assert!(!run.stderr.contains("config.json"), "{}", run.stderr);
    assert!(dir.all_files().is_empty());
    shelf.fetch(&dir, &["--exclude", "own.bin", "--exclude", "x/*"]).succeeds();
    dir.assert_published("m-Q8_0.gguf", &model(6, 2));

    std::os::unix::fs::symlink("x", shelf.dir.file("link")).expect("a link");
    std::os::unix::fs::symlink("../m-Q8_0.gguf", shelf.dir.file("x/again.gguf")).expect("a link");
    shelf.fetch(&dir, &["lin*"]).exits(2).says("a link to a folder");
    shelf.fetch(&dir, &["x/again.*"]).succeeds();
    dir.assert_done("x/again.gguf", &model(6, 2));
    let gone = format!("file://{}/gone/", dir.path().display());
    dir.command(["fetch", &gone, "--dir"]).arg(dir.models()).run().exits(22).says("gone");
}

#[test]
fn the_snapshot_of_a_cache_is_a_folder_whose_blobs_are_vouched_for() {
    let shelf = Shelf::new();
    let cache = TestDir::new();
    cache.cache_job("fetch", &shelf.hub, [REPO]).run().succeeds();
    let commit = shelf.hub.commit(REPO, "main").expect("a branch");
    let snapshot = cache.file(&format!("models--owner--name/snapshots/{commit}"));
    let dir = TestDir::new();
    let fetch = dir.command(["fetch", &format!("file://{}/", snapshot.display()), "--dir"]);
    fetch.arg(dir.models()).env("HF_ENDPOINT", NOBODY).run().succeeds();
    dir.assert_published(SHARDS[1], &model(8, 1));
    assert_eq!(fs::read(dir.file("config.json")).expect("a file"), b"{}");
}

#[test]
fn a_manifest_locks_a_folder_file_by_file() {
    let shelf = Shelf::new();
    let bed = Bed::new();
    let text = format!("[[model]]\nname = \"shelf\"\nrepo = \"{}\"\n", shelf.address());
    fs::write(bed.dir.path().join("models.toml"), text).expect("a manifest");
    bed.command("lock", []).run().succeeds().prints("shelf: 4 files, was not locked");
    bed.fetch(["--manifest", "models.toml", "--locked"]).run().succeeds();
    bed.dir.assert_published(SHARDS[0], &model(7, 1));
    fs::remove_file(shelf.dir.file("config.json")).expect("removed");
    bed.command("lock", ["--check"]).run().exits(12).says("gone: config.json");
    let folder = bed.dir.path().join("kserve");
    bed.command("storage-initializer", [shelf.address().as_str()]).arg(&folder).run().succeeds();
    assert!(folder.join(SHARDS[1]).is_file());
}

#[test]
fn a_lock_file_holds_files_of_this_machine_too() {
    let bed = Bed::new();
    bed.own.write_to(&bed.dir.path().join("m.gguf")).expect("a file");
    let (path, digest) = (bed.dir.path().join("m.gguf"), bed.own.sha256());
    let text = format!("[[model]]\nrepo = \"file://{}#sha256={digest}\"\nname = \"m\"\n", path.display());
    fs::write(bed.dir.path().join("models.toml"), text).expect("a manifest");
    bed.command("lock", []).run().succeeds();
    bed.fetch(["--manifest", "models.toml", "--locked"]).run().succeeds();
    bed.dir.assert_published("m.gguf", &bed.own);
    fs::write(bed.dir.file("m.gguf"), b"damaged").expect("written");
    bed.command("verify", ["--repair", "--dir"]).arg(bed.dir.models()).run().succeeds();
    bed.dir.assert_published("m.gguf", &bed.own);
}
