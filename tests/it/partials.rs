//! What an interrupted download leaves takes no more room than it has bytes, and costs no more to
//! continue than it is worth.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};

use fake_hub::{Fault, Rule, Server};

use crate::support::{FILE, MIB, REPO, TestDir, hub, model};

#[test]
fn a_part_of_a_file_takes_the_room_of_that_part() {
    let model = model(1, 64);
    let hub = hub(&model);
    hub.fault(Rule::cdn().then(Fault::cut(MIB)));
    hub.fault(Rule::cdn().nth(2).always().then(Fault::status(503)));
    let dir = TestDir::new();
    dir.fetch(&hub, [REPO, FILE, "--connections", "1", "--give-up-after", "500ms"]).run().exits(30);
    let (there, room) =
        (dir.journaled(), fs::metadata(dir.partial()).expect("a partial file").blocks() * 512);
    assert!(there > 0, "nothing was kept");
    assert!(room < there + 4 * MIB, "{there} bytes take {room}");
    hub.clear_faults();
    dir.fetch(&hub, [REPO, FILE]).run().succeeds().says("continuing at");
    dir.assert_done(FILE, &model);
}

#[test]
fn islands_of_single_bytes_are_fetched_again_with_what_lies_between() {
    let model = model(1, 64);
    let hub = hub(&model);
    let dir = TestDir::new();
    let partial = dir.put(&format!(".modelfetch/partial/{}", model.sha256()), b"");
    let file = File::options().write(true).open(&partial).expect("a file");
    file.set_len(model.size()).expect("a length");
    let islands: Vec<_> = (0..500).map(|n| [n * 131_072, n * 131_072 + 1]).collect();
    for [at, _] in &islands {
        let mut byte = [0];
        model.read_at(*at, &mut byte);
        file.write_all_at(&byte, *at).expect("a byte");
    }
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("Linux");
    let journal = serde_json::json!({
        "version": 1,
        "size": model.size(),
        "repo": { "kind": "model", "owner": "owner", "name": "name" },
        "path": FILE,
        "written": islands,
        "boot_id": boot_id.trim(),
    });
    fs::write(partial.with_extension("json"), journal.to_string()).expect("a journal");
    dir.fetch(&hub, [REPO, FILE, "--connections", "4"]).run().succeeds();
    dir.assert_done(FILE, &model);
    let requests = hub.requests_to(Server::Cdn).len();
    assert!(requests <= 40, "{requests} requests");
}
