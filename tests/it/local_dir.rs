//! `--local-dir`: a directory with the metadata that `hf download --local-dir` keeps.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::time::{Duration, SystemTime};

use fake_hub::{FakeHub, Repo, Server};

use crate::support::command::Modelfetch;
use crate::support::{FILE, REPO, TestDir, built, model};

const HF: &str = ".cache/huggingface";
const WARNING: &str = "huggingface_hub's metadata could not be written";

fn hub() -> FakeHub {
    let repo = Repo::model(REPO).lfs(FILE, model(1, 2)).lfs("sub/b.gguf", model(2, 1));
    built(FakeHub::builder().repo(repo.small("config.json", "{}")))
}

fn commit(hub: &FakeHub) -> String {
    hub.commit(REPO, "main").expect("a branch")
}

fn local<'a>(
    dir: &TestDir,
    command: &str,
    hub: &FakeHub,
    arguments: impl IntoIterator<Item = &'a str>,
) -> Modelfetch {
    let command = dir.command([command]).env("HF_ENDPOINT", hub.endpoint());
    command.args(arguments).arg("--local-dir").arg(dir.models())
}

/// The three lines of a file's metadata: commit, etag, time in seconds.
fn note(dir: &TestDir, name: &str) -> (String, String, f64) {
    let path = dir.file(&format!("{HF}/download/{name}.metadata"));
    let text = fs::read_to_string(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    let lines: Vec<_> = text.lines().map(str::to_owned).collect();
    let [commit, etag, time] = &lines[..] else { panic!("{text:?}") };
    (commit.clone(), etag.clone(), time.parse().expect("a number"))
}

/// `huggingface_hub` believes what it reads.
#[track_caller]
fn assert_believed(dir: &TestDir, name: &str, commit: &str, etag: &str) {
    let (noted_commit, noted_etag, time) = note(dir, name);
    assert_eq!((noted_commit.as_str(), noted_etag.as_str()), (commit, etag));
    let metadata = fs::metadata(dir.file(name)).expect("the file");
    let written = metadata.mtime() as f64 + metadata.mtime_nsec() as f64 / 1e9;
    assert!(written - 1.0 <= time, "{name}: written at {written}, noted at {time}");
}

fn set_time(dir: &TestDir, name: &str, time: SystemTime) {
    let file = fs::File::options().append(true).open(dir.file(name)).expect("the file");
    file.set_modified(time).expect("own file");
}

#[test]
fn every_file_has_the_metadata_that_huggingface_hub_believes() {
    let (hub, dir) = (hub(), TestDir::new());
    local(&dir, "fetch", &hub, [REPO]).run().succeeds().does_not_say(WARNING);
    let commit = commit(&hub);
    assert_believed(&dir, FILE, &commit, model(1, 2).sha256());
    assert_believed(&dir, "sub/b.gguf", &commit, model(2, 1).sha256());
    // `git hash-object` of `{}`.
    assert_believed(&dir, "config.json", &commit, "9e26dfeeb6e641a33dae4961196235bdb965b21b");
    let tree = fs::read_to_string(dir.file(&format!("{HF}/trees/{commit}.json"))).expect("a listing");
    let tree: serde_json::Value = serde_json::from_str(&tree).expect("JSON");
    assert_eq!(tree["format_version"], 1);
    assert_eq!(tree["files"][FILE]["lfs_sha256"], model(1, 2).sha256());
    assert_eq!(fs::read_to_string(dir.file(&format!("{HF}/.gitignore"))).expect("a file"), "*");
    assert!(dir.file(&format!("{HF}/CACHEDIR.TAG")).is_file());
    dir.assert_no_leftovers();
    hub.clear();
    local(&dir, "fetch", &hub, [REPO]).run().succeeds().says("nothing to do");
    assert_eq!(hub.requests().len(), 1, "a branch");
}

#[test]
fn a_plain_directory_has_no_files_but_those_of_the_repository_and_our_own() {
    let (hub, dir) = (hub(), TestDir::new());
    dir.fetch(&hub, [REPO]).run().succeeds();
    dir.assert_absent(".cache");
}

#[test]
fn a_plain_directory_gets_the_metadata_later_without_a_byte_and_without_the_hub() {
    let (hub, dir) = (hub(), TestDir::new());
    let commit = commit(&hub);
    dir.fetch(&hub, [REPO, "--revision", &commit]).run().succeeds();
    hub.clear();
    local(&dir, "fetch", &hub, [REPO, "--revision", &commit, "--offline"]).run().succeeds();
    assert!(hub.requests().is_empty());
    assert_believed(&dir, FILE, &commit, model(1, 2).sha256());
    // Once more it is right already.
    local(&dir, "fetch", &hub, [REPO, "--revision", &commit, "--offline"])
        .run()
        .succeeds()
        .says("nothing to do");
}

#[test]
fn the_metadata_follow_a_branch_that_moved() {
    let (hub, dir) = (hub(), TestDir::new());
    local(&dir, "fetch", &hub, [REPO]).run().succeeds();
    let new = hub.push(REPO, "main", |tree| {
        tree.lfs(FILE, model(3, 2));
    });
    local(&dir, "fetch", &hub, [REPO]).run().succeeds();
    dir.assert_published(FILE, &model(3, 2));
    assert_believed(&dir, FILE, &new, model(3, 2).sha256());
    assert_believed(&dir, "sub/b.gguf", &new, model(2, 1).sha256());
}

#[test]
fn the_clock_of_the_files_need_not_be_that_of_this_machine() {
    let (hub, dir) = (hub(), TestDir::new());
    dir.fetch(&hub, [REPO, FILE]).run().succeeds();
    set_time(&dir, FILE, SystemTime::now() + Duration::from_hours(1));
    local(&dir, "fetch", &hub, [REPO, FILE]).run().succeeds();
    assert_believed(&dir, FILE, &commit(&hub), model(1, 2).sha256());
}

#[test]
fn what_huggingface_hub_wrote_is_adopted_by_one_hash_and_left_as_it_is() {
    let (hub, dir) = (hub(), TestDir::new());
    let commit = commit(&hub);
    dir.put(FILE, &model(1, 2).to_vec());
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after it").as_secs() + 1;
    let text = format!("{commit}\n{}\n{now}.25\n", model(1, 2).sha256());
    let metadata = format!("{HF}/download/{FILE}.metadata");
    dir.put(&metadata, text.as_bytes());
    let run = local(&dir, "fetch", &hub, [REPO, FILE, "--json"]).run().succeeds();
    assert_eq!(run.json()["files"][0]["done"], "adopted", "{}", run.stdout);
    assert!(hub.requests_to(Server::Cdn).is_empty());
    assert_eq!(fs::read_to_string(dir.file(&metadata)).expect("still there"), text);
    local(&dir, "fetch", &hub, [REPO, FILE]).run().succeeds().says("nothing to do");
}

#[test]
fn metadata_of_other_bytes_are_replaced_also_if_they_are_younger_than_the_file() {
    let (hub, dir) = (hub(), TestDir::new());
    let later = SystemTime::now() + Duration::from_hours(1);
    let later = later.duration_since(SystemTime::UNIX_EPOCH).expect("after it").as_secs();
    let metadata = format!("{HF}/download/{FILE}.metadata");
    let text = format!("{}\n{}\n{later}.0\n", "a".repeat(40), "b".repeat(64));
    let outdate = || {
        dir.put(FILE, b"of another commit");
        dir.put(&metadata, text.as_bytes());
    };
    outdate();
    dir.fetch(&hub, [REPO, FILE]).run().succeeds();
    dir.assert_published(FILE, &model(1, 2));
    dir.assert_absent(&metadata);
    outdate();
    local(&dir, "fetch", &hub, [REPO, FILE]).run().succeeds();
    dir.assert_published(FILE, &model(1, 2));
    assert_believed(&dir, FILE, &commit(&hub), model(1, 2).sha256());
}

#[test]
fn nothing_that_stands_in_the_way_of_the_metadata_stops_a_run_or_leads_it_out_of_the_directory() {
    let hub = hub();
    for place in [".cache", HF, ".cache/huggingface/download", ".cache/huggingface/download/sub"] {
        let (dir, outside) = (TestDir::new(), tempfile::tempdir().expect("a directory"));
        let link = dir.file(place);
        fs::create_dir_all(link.parent().expect("a folder")).expect("made");
        symlink(outside.path(), &link).expect("linked");
        let run = local(&dir, "fetch", &hub, [REPO]).run().succeeds().says(WARNING);
        assert_eq!(run.stderr.matches(WARNING).count(), 1, "{}", run.stderr);
        assert_eq!(fs::read_dir(outside.path()).expect("a folder").count(), 0, "{place}");
        dir.assert_done(FILE, &model(1, 2));
        local(&dir, "fetch", &hub, [REPO]).run().succeeds().says(WARNING);
    }
    // One file's metadata in the way: the others have theirs.
    let dir = TestDir::new();
    fs::create_dir_all(dir.file(&format!("{HF}/download/config.json.metadata"))).expect("made");
    local(&dir, "fetch", &hub, [REPO]).run().succeeds().says(WARNING).says("config.json.metadata");
    assert_believed(&dir, "sub/b.gguf", &commit(&hub), model(2, 1).sha256());
}

#[test]
fn a_directory_that_cannot_be_written_will_do_without_metadata() {
    let Some(volume) = crate::support::volume::Volume::of_mib(16) else { return };
    let (hub, dir) = (hub(), TestDir::with_models(volume.path()));
    dir.fetch(&hub, [REPO]).run().succeeds();
    volume.set_read_only(true);
    local(&dir, "fetch", &hub, [REPO]).run().succeeds().says("nothing can be written");
}

#[test]
fn a_file_among_the_metadata_is_refused_before_the_first_byte() {
    for name in [".cache/huggingface/download/model.gguf.metadata", ".Cache/HuggingFace/x"] {
        let hub = built(FakeHub::builder().repo(Repo::model(REPO).lfs(FILE, model(1, 1)).small(name, "{}")));
        let dir = TestDir::new();
        for command in ["plan", "fetch"] {
            let run = local(&dir, command, &hub, [REPO]).run().exits(2);
            run.says(name).says("--exclude").says("--dir");
        }
        dir.assert_absent(FILE);
        local(&dir, "fetch", &hub, [REPO, FILE]).run().succeeds();
        dir.fetch(&hub, [REPO]).run().succeeds();
    }
}

#[test]
fn a_prune_takes_the_metadata_of_what_goes() {
    let (hub, dir) = (hub(), TestDir::new());
    local(&dir, "fetch", &hub, [REPO]).run().succeeds();
    fs::write(
        dir.path().join("models.toml"),
        format!("[[model]]\nrepo = \"{REPO}\"\nfiles = [\"{FILE}\"]\n"),
    )
    .expect("a manifest");
    dir.command(["lock"]).env("HF_ENDPOINT", hub.endpoint()).run().succeeds();
    local(&dir, "prune", &hub, ["--keep", "models.lock", "--yes"]).run().succeeds().prints("2 files removed");
    assert_believed(&dir, FILE, &commit(&hub), model(1, 2).sha256());
    for gone in ["sub", "config.json"] {
        dir.assert_absent(gone);
        dir.assert_absent(&format!("{HF}/download/{gone}"));
        dir.assert_absent(&format!("{HF}/download/{gone}.metadata"));
    }
}

#[test]
fn the_other_commands_know_such_a_directory() {
    let (hub, dir) = (hub(), TestDir::new());
    local(&dir, "fetch", &hub, [REPO]).run().succeeds();
    let list = local(&dir, "list", &hub, ["--json"]).run().succeeds();
    assert_eq!(list.json()["held"]["files"].as_array().map(Vec::len), Some(3));
    local(&dir, "plan", &hub, [REPO]).run().succeeds();
    local(&dir, "verify", &hub, []).run().succeeds();
    fs::write(dir.file(FILE), b"damaged").expect("written");
    local(&dir, "verify", &hub, ["--repair"]).run().succeeds();
    dir.assert_published(FILE, &model(1, 2));
    assert_believed(&dir, FILE, &commit(&hub), model(1, 2).sha256());
}

#[test]
fn each_model_of_a_manifest_has_the_metadata_in_its_own_folder() {
    let (hub, dir) = (hub(), TestDir::new());
    let text = format!("[[model]]\nrepo = \"{REPO}\"\nfiles = [\"{FILE}\"]\ndir = \"a\"\n");
    fs::write(dir.path().join("models.toml"), text).expect("a manifest");
    local(&dir, "fetch", &hub, ["--manifest", "models.toml"]).run().succeeds();
    assert!(dir.file(&format!("a/{HF}/download/{FILE}.metadata")).is_file());
    dir.assert_absent(".cache");
}

#[test]
fn it_excludes_the_other_destinations_and_a_flag_beats_their_variables() {
    let (hub, dir) = (hub(), TestDir::new());
    for other in ["--dir=x", "--cache", "--cache=x"] {
        local(&dir, "fetch", &hub, [REPO, other]).run().exits(2).says("--local-dir").says("give one of them");
    }
    local(&dir, "plan", &hub, [REPO])
        .env("MODELFETCH_DIR", "x")
        .env("MODELFETCH_CACHE", "true")
        .run()
        .succeeds();
    let by_variable = |variable: &str| {
        let command = dir.command(["fetch", REPO, FILE]).env("HF_ENDPOINT", hub.endpoint());
        command.env("MODELFETCH_LOCAL_DIR", dir.models()).env("MODELFETCH_DIR", variable).run()
    };
    by_variable("x").exits(2).says("give one of them");
    local(&dir, "fetch", &hub, [REPO, FILE]).run().succeeds();
}
