//! A reader of stderr that stands still does not hold the work up, and misses nothing in the end.

use serde_json::Value;

use crate::support::{FILE, REPO, TestDir, hub, model};

#[test]
fn a_download_does_not_wait_for_who_reads_its_progress() {
    for form in ["json", "lines"] {
        let payload = model(1, 8);
        let hub = hub(&payload);
        let dir = TestDir::new();
        let (mut run, stderr) = dir.fetch(&hub, [REPO, FILE, "--progress", form]).start_unheard();
        run.wait_until("the file", |_| dir.file(FILE).is_file());
        run.listen(stderr);
        let run = run.finish().succeeds();
        dir.assert_done(FILE, &payload);
        assert_eq!(run.stdout.trim(), dir.file(FILE).to_string_lossy());
        let last = run.stderr.lines().last().expect("events");
        if form == "json" {
            let last: Value = serde_json::from_str(last).expect("a JSON line");
            assert_eq!((&last["event"], &last["summary"]["exit"]), (&"finished".into(), &0.into()), "{last}");
        } else {
            assert!(run.stderr.contains(FILE), "{}", run.stderr);
        }
    }
}

#[test]
fn an_error_is_told_to_who_reads_late() {
    let hub = hub(&model(1, 1));
    for form in ["json", "lines"] {
        let dir = TestDir::new();
        let (mut run, stderr) = dir.fetch(&hub, [REPO, "absent", "--progress", form]).start_unheard();
        run.wait_until("the Hub's answer", |_| !hub.requests().is_empty());
        run.listen(stderr);
        run.finish().exits(11).says("absent").says("hint");
        hub.clear();
    }
}
