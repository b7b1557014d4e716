//! Whatever stops a run, the next one continues from what is on disk.

use std::fs::{self, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use fake_hub::{Ending, FakeHub, Fault, Payload, Repo, Rule, Server};
use rustix::process::Signal;

use crate::support::command::{AT_ONCE, Running};
use crate::support::volume::Volume;
use crate::support::{FILE, MIB, REPO, TestDir, built, model};

const CONNECTIONS: u64 = 4;
/// What may be on its way when a part of a range changes hands.
const SLACK: u64 = 3 * MIB;

/// A Hub whose connections are slow enough to be interrupted.
fn slow_hub(model: &Payload, rate: u32) -> FakeHub {
    built(FakeHub::builder().rate_per_connection(rate).repo(Repo::model(REPO).lfs(FILE, model.clone())))
}

/// Starts a fetch and waits until the CDN has sent this much.
fn started(dir: &TestDir, hub: &FakeHub, bytes: u64) -> Running {
    let mut run = dir.fetch(hub, [REPO, FILE, "--connections", "4"]).start();
    run.wait_until("bytes", |_| hub.bytes_sent(Server::Cdn) >= bytes);
    run
}

/// The rest of an interrupted fetch; says how many bytes it took. What the server has sent may be more: on a busy machine
/// the sockets of connections that are no longer needed take some of it.
#[track_caller]
fn rest(dir: &TestDir, hub: &FakeHub, model: &Payload) -> u64 {
    hub.clear();
    let run = dir.fetch(hub, [REPO, FILE, "--json"]).run().succeeds().does_not_say("starting again");
    dir.assert_done(FILE, model);
    run.json()["bytes_fetched"].as_u64().expect("a number")
}

#[test]
fn killed_at_twenty_random_points_it_ends_in_the_right_file_each_time() {
    let size = 32 * MIB;
    let workers = (0..4_u64).map(|worker| {
        thread::spawn(move || {
            let model = model(worker, 32);
            let hub = slow_hub(&model, 8_000_000);
            for part in 0..5 {
                // One random point in each twentieth of the file.
                let at = size * (worker * 5 + part) / 20 + fastrand::u64(0..size / 20);
                let dir = TestDir::new();
                hub.clear();
                started(&dir, &hub, at).kill();
                let (sent, journaled) = (hub.bytes_sent(Server::Cdn), dir.journaled());
                dir.assert_absent(FILE);
                // What the sockets of 4 connections held at most was sent and never read.
                let lost = sent.min(size).saturating_sub(journaled);
                assert!(lost <= CONNECTIONS * 8 * MIB, "{lost} bytes lost at {at}");
                let again = rest(&dir, &hub, &model);
                assert!(again <= size - journaled + SLACK, "{again} bytes again, {journaled} were there");
            }
        })
    });
    let workers: Vec<_> = workers.collect();
    for worker in workers {
        worker.join().expect("a worker");
    }
}

#[test]
fn killed_again_and_again_it_still_arrives() {
    let model = model(1, 48);
    let hub = slow_hub(&model, 4_000_000);
    let dir = TestDir::new();
    let mut before = 0;
    for _ in 0..3 {
        hub.clear();
        started(&dir, &hub, 14 * MIB).kill();
        let journaled = dir.journaled();
        assert!(journaled > before, "{journaled} bytes after {before}");
        before = journaled;
    }
    rest(&dir, &hub, &model);
}

#[test]
fn signals_save_the_state_and_end_the_run_at_once() {
    for (signal, number, name) in [(Signal::TERM, 143, "SIGTERM"), (Signal::INT, 130, "SIGINT")] {
        let model = model(1, 24);
        let hub = slow_hub(&model, 4_000_000);
        let dir = TestDir::new();
        let run = started(&dir, &hub, 8 * MIB);
        let signalled = Instant::now();
        run.signal(signal);
        run.finish()
            .exits(number)
            .says(&format!("interrupted by {name}"))
            .says("the next run continues from here");
        assert!(signalled.elapsed() < AT_ONCE, "{:?}", signalled.elapsed());
        let journaled = dir.journaled();
        assert!(journaled > 0, "nothing was saved");
        let again = rest(&dir, &hub, &model);
        assert!(again <= 24 * MIB - journaled + SLACK, "{again} bytes again, {journaled} were there");
    }
}

#[test]
fn a_signal_before_the_first_byte_leaves_nothing_that_matters() {
    let model = model(1, 2);
    let hub = built(
        FakeHub::builder()
            .latency(Server::Hub, Duration::from_mins(5))
            .repo(Repo::model(REPO).lfs(FILE, model)),
    );
    let dir = TestDir::new();
    let mut run = dir.fetch(&hub, [REPO, FILE]).start();
    run.wait_for("asking");
    run.signal(Signal::TERM);
    run.finish().exits(143).at_once();
    dir.assert_no_leftovers();
}

#[test]
fn a_signal_ends_a_run_that_waits_for_a_server() {
    let waits = [
        (Rule::cdn(), Fault::stall(0), "fetching"),
        (Rule::cdn(), Fault::stall(1000), "fetching"),
        (Rule::cdn(), Fault::retry_after(429, "60"), "retry 1 in"),
        (Rule::resolve(), Fault::retry_after(429, "60"), "retry 1 in"),
        (Rule::resolve(), Fault::NoAnswer(Ending::Reset), "retry 3 in"),
    ];
    for (rule, fault, waiting) in waits {
        let hub = slow_hub(&model(1, 4), 8_000_000);
        hub.fault(rule.always().then(fault));
        let dir = TestDir::new();
        let mut run = dir.fetch(&hub, [REPO, FILE]).start();
        run.wait_for(waiting);
        let signalled = Instant::now();
        run.signal(Signal::TERM);
        run.finish().exits(143);
        if dir.journaled() == 0 {
            // Not even the disk space that was taken beforehand.
            dir.assert_no_leftovers();
        }
        assert!(signalled.elapsed() < AT_ONCE, "{waiting}: {:?}", signalled.elapsed());
        hub.clear_faults();
        dir.fetch(&hub, [REPO, FILE]).run().succeeds();
        dir.assert_done(FILE, &model(1, 4));
    }
}

#[test]
fn a_signal_ends_a_run_that_hashes() {
    let model = model(1, 512);
    let hub = slow_hub(&model, 100_000_000);
    let dir = TestDir::new();
    fs::create_dir(dir.models()).expect("a directory");
    model.write_to(&dir.file(FILE)).expect("a file");
    let mut run = dir.fetch(&hub, [REPO, FILE]).start();
    run.wait_for("already there, checking");
    let signalled = Instant::now();
    run.signal(Signal::INT);
    run.finish().exits(130);
    assert!(signalled.elapsed() < AT_ONCE, "{:?}", signalled.elapsed());
    assert!(dir.file(FILE).is_file());
    dir.assert_no_leftovers();
}

#[test]
fn a_new_revision_with_the_same_content_continues_the_download() {
    let model = model(1, 24);
    let hub = slow_hub(&model, 4_000_000);
    let dir = TestDir::new();
    let run = started(&dir, &hub, 12 * MIB);
    run.signal(Signal::TERM);
    run.finish().exits(143);
    let journaled = dir.journaled();
    hub.push(REPO, "main", |tree| {
        tree.small("README.md", "now with words");
    });
    let again = rest(&dir, &hub, &model);
    assert!(again <= 24 * MIB - journaled + SLACK, "{again} bytes again, {journaled} were there");
}

#[test]
fn another_name_of_the_same_content_continues_the_download() {
    let model = model(1, 24);
    let hub = slow_hub(&model, 4_000_000);
    let dir = TestDir::new();
    let run = started(&dir, &hub, 12 * MIB);
    run.signal(Signal::TERM);
    run.finish().exits(143);
    hub.push(REPO, "main", |tree| {
        tree.remove(FILE).lfs("renamed.gguf", model.clone());
    });
    dir.fetch(&hub, [REPO, "renamed.gguf"]).run().succeeds().says("continuing at");
    dir.assert_done("renamed.gguf", &model);
}

#[test]
fn a_partial_file_of_outdated_content_is_cleaned_up() {
    let (old, new) = (model(1, 24), model(2, 4));
    let hub = slow_hub(&old, 8_000_000);
    let dir = TestDir::new();
    let run = started(&dir, &hub, 12 * MIB);
    run.signal(Signal::TERM);
    run.finish().exits(143);
    hub.push(REPO, "main", |tree| {
        tree.lfs(FILE, new.clone());
    });
    dir.fetch(&hub, [REPO, FILE]).run().succeeds();
    dir.assert_done(FILE, &new);
}

/// Flips one bit of a file.
fn flip(path: &Path, offset: u64) {
    let mut file = OpenOptions::new().read(true).write(true).open(path).expect("a file");
    let mut byte = [0];
    file.seek(SeekFrom::Start(offset)).and_then(|_| file.read_exact(&mut byte)).expect("a byte");
    byte[0] ^= 1;
    file.seek(SeekFrom::Start(offset)).and_then(|_| file.write_all(&byte)).expect("a byte");
}

/// A place that the next run goes on from: which connection came how far is chance, and short pieces do not count.
fn in_the_longest_range(dir: &TestDir) -> u64 {
    let journal = fs::read(dir.partial().with_extension("json")).expect("a journal");
    let journal: serde_json::Value = serde_json::from_slice(&journal).expect("JSON");
    let ranges: Vec<[u64; 2]> = serde_json::from_value(journal["written"].clone()).expect("ranges");
    let longest = ranges.iter().max_by_key(|[start, end]| end - start).expect("a range");
    longest[0].midpoint(longest[1])
}

/// A directory with a part of the file in it.
fn interrupted(model: &Payload) -> (FakeHub, TestDir) {
    let hub = slow_hub(model, 8_000_000);
    let dir = TestDir::new();
    let run = started(&dir, &hub, 10 * MIB);
    run.signal(Signal::TERM);
    run.finish().exits(143);
    (hub, dir)
}

#[test]
fn a_byte_that_changed_on_disk_is_caught_and_what_lay_there_is_fetched_again() {
    let model = model(1, 16);
    let (hub, dir) = interrupted(&model);
    flip(&dir.partial(), in_the_longest_range(&dir));
    let there = dir.journaled();
    let run = dir.fetch(&hub, [REPO, FILE, "--json", "--connections", "1"]).run().succeeds();
    let fetched = run.json()["bytes_fetched"].as_u64().expect("a number");
    // Pieces under 64 KiB between what was there are not kept, one for each connection.
    let slack = CONNECTIONS * (64 << 10);
    let both = model.size()..model.size() + slack;
    assert!(both.contains(&fetched), "{fetched} bytes for the rest, and for what was there: {there}");
    run.says("continuing at").says(" of it again: its digest is").does_not_say("from zero");
    dir.assert_done(FILE, &model);
}

#[test]
fn a_journal_that_is_damaged_or_lies_costs_bytes_and_never_the_file() {
    let model = model(1, 16);
    let journal = |dir: &TestDir| dir.partial().with_extension("json");
    let damages: [fn(&Path); 5] = [
        |journal| fs::write(journal, b"{").expect("damaged"),
        |journal| fs::remove_file(journal).expect("removed"),
        |journal| {
            // It says that everything is there.
            let text = fs::read_to_string(journal).expect("a journal");
            let mut value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            value["written"] = serde_json::json!([[0, value["size"]]]);
            fs::write(journal, value.to_string()).expect("lying");
        },
        |journal| {
            // As after a reboot: what was not flushed is gone.
            let text = fs::read_to_string(journal).expect("a journal");
            let mut value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            value["boot_id"] = "an earlier boot".into();
            fs::write(journal, value.to_string()).expect("of another boot");
        },
        |journal| {
            let partial =
                OpenOptions::new().write(true).open(journal.with_extension("")).expect("a partial file");
            partial.set_len(100_000).expect("shortened");
        },
    ];
    for damage in damages {
        let (hub, dir) = interrupted(&model);
        damage(&journal(&dir));
        dir.fetch(&hub, [REPO, FILE]).run().succeeds();
        dir.assert_done(FILE, &model);
    }
}

#[test]
fn what_other_runs_left_behind_is_cleaned_up() {
    let model = model(1, 2);
    let hub = slow_hub(&model, 100_000_000);
    let dir = TestDir::new();
    let (sha256, git_sha1, random) = ("0123".repeat(16), "4567".repeat(10), "89ab".repeat(8));
    let orphans = [
        format!("partial/{sha256}"),
        format!("partial/{git_sha1}.json"),
        format!("partial/{git_sha1}.flushed.json"),
        format!("tmp-{random}"),
    ];
    for orphan in &orphans {
        dir.put(&format!(".modelfetch/{orphan}"), b"left behind");
    }
    dir.fetch(&hub, [REPO, FILE]).run().succeeds();
    dir.assert_done(FILE, &model);
}

#[test]
fn what_it_could_not_have_made_is_not_cleaned_up() {
    let model = model(1, 2);
    let hub = slow_hub(&model, 100_000_000);
    let dir = TestDir::new();
    let others = ["partial/notes.txt", "partial/0123", "a.tmp", "tmp-of-mine"]
        .map(|name| format!(".modelfetch/{name}"));
    for other in &others {
        dir.put(other, b"somebody's");
    }
    dir.fetch(&hub, [REPO, FILE]).run().succeeds();
    assert!(others.iter().all(|other| dir.file(other).exists()));
}

/// Takes all but a page or two of the room that is left.
fn fill(volume: &Volume) {
    let mut file = fs::File::create(volume.path().join("filler")).expect("a file");
    while file.write_all(&[1; 4096]).is_ok() {}
}

#[test]
fn a_disk_that_fills_up_in_the_middle_ends_with_exit_21_and_goes_on_when_there_is_room() {
    let Some(volume) = Volume::of_mib(64) else { return };
    let model = model(1, 32);
    let hub = slow_hub(&model, 4_000_000);
    let dir = TestDir::with_models(volume.path());
    let run = started(&dir, &hub, 12 * MIB);
    let deadline = Instant::now() + AT_ONCE;
    while dir.journaled() == 0 && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(5));
    }
    fill(&volume);
    run.finish().exits(21).says("no space left while writing").says("free space and run again to continue");
    dir.assert_absent(FILE);
    let journaled = dir.journaled();
    assert!(journaled > 0, "nothing was kept");
    fs::remove_file(volume.path().join("filler")).expect("our own file");
    let again = rest(&dir, &hub, &model);
    assert!(again <= 32 * MIB - journaled + SLACK, "{again} bytes again, {journaled} were there");
}

#[test]
fn a_disk_that_is_full_before_the_second_file_keeps_the_first() {
    let Some(volume) = Volume::of_mib(32) else { return };
    let models = [model(1, 8), model(2, 8)];
    let repo = Repo::model(REPO).lfs("1.gguf", models[0].clone()).lfs("2.gguf", models[1].clone());
    let hub = built(FakeHub::builder().rate_per_connection(8_000_000).repo(repo));
    let dir = TestDir::with_models(volume.path());
    let mut run = dir.fetch(&hub, [REPO, "--connections", "1"]).start();
    run.wait_until("bytes", |_| hub.bytes_sent(Server::Cdn) > MIB);
    fill(&volume);
    run.finish().exits(21).says("hint:");
    fs::remove_file(volume.path().join("filler")).expect("our own file");
    dir.fetch(&hub, [REPO]).run().succeeds();
    dir.assert_done("1.gguf", &models[0]);
    dir.assert_done("2.gguf", &models[1]);
}
