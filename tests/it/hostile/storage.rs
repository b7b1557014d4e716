//! Every trouble of an answer, met by the questions about what files in Xet storage are made of: an update never fails
//! for it, nor waits for it, nor is there a wrong file.

use std::time::Duration;

use fake_hub::{CAS_TOKEN, FakeHub, Payload, Record, Repo, Rule, Server};

use super::ROWS;
use super::cell::{MEMORY_MAX_KIB, Often, Place, Row, Scene, Trouble, tells_secret};
use crate::support::secret::{TOKEN, secret_in};
use crate::support::{FILE, MIB, REPO, TestDir, built};

/// An update takes a second on an idle machine. Interim answers without end keep a core busy, and all who wait for it.
const SOON: Duration = Duration::from_mins(1);
/// Directories in which updates follow each other.
const WORKERS: usize = 3;

/// Versions differ in their first megabyte.
fn version(number: u64) -> Payload {
    Payload::joined([Payload::gguf(number, MIB), Payload::random(7, 12 * MIB), Payload::random(8, 6 * MIB)])
}

fn hub_of(version: Payload) -> FakeHub {
    built(FakeHub::builder().token(TOKEN).repo(Repo::model(REPO).xet(FILE, version)))
}

/// A server by its name, and which of its requests are meant.
type Asked = (&'static str, fn() -> Rule);

/// Who is asked.
const ASKED: [Asked; 2] = [
    ("the token route", || Rule::hub().path_contains("xet-read-token")),
    ("the CAS", || Rule::cdn().path_contains("/v2/reconstructions/")),
];

/// Updates a directory again and again, each time to a version of its own, and says what was wrong.
fn play(cells: &[(&Row, usize, Often)], offset: u64) -> Vec<String> {
    let (elsewhere, twin) = (hub_of(version(1_000_001)), hub_of(version(1_000_002)));
    let hub = hub_of(version(offset));
    let dir = TestDir::new();
    dir.fetch(&hub, [REPO, FILE]).env("HF_TOKEN", TOKEN).run().succeeds();
    let mut complaints = Vec::new();
    for (number, (row, asked, often)) in (offset + 1..).zip(cells) {
        let new = version(number);
        hub.push(REPO, "main", |tree| {
            tree.xet(FILE, new.clone());
        });
        hub.clear();
        // Answers of a list are like those of a CAS: JSON, after no redirect.
        let scene = Scene { place: Place::TreePage, often: *often, elsewhere: &elsewhere, twin: &twin };
        let (who, rule) = ASKED[*asked];
        let (times, fault) = match row.trouble {
            Trouble::Answer(fault) => (1, fault),
            Trouble::Burst(times, fault) => (times, fault),
            Trouble::Remote(_) | Trouble::Handshake(..) => unreachable!("they were left out"),
        };
        let rule = if *often == Often::Always { rule().always() } else { rule().times(times) };
        let hits = hub.fault(rule.then(fault(&scene)));
        let run = dir.fetch(&hub, [REPO, FILE, "--verbose", "--json"]).env("HF_TOKEN", TOKEN).run();
        let mut check = |is_right: bool, what: &str| {
            if !is_right {
                complaints.push(format!("{}, {who}, {often:?}: {what}\n{}", row.name, run.stderr));
            }
        };
        check(run.status == Some(0), "a failure");
        check(hits.count() > 0, "the trouble was never met");
        check(std::fs::read(dir.file(FILE)).is_ok_and(|bytes| bytes == new.to_vec()), "a wrong file");
        check(run.time < SOON, "it took too long");
        check(run.peak_kib < MEMORY_MAX_KIB, "too much memory");
        check(run.stderr.matches("warning").count() <= 1, "more than one line of why");
        let text = [&run.stdout, &run.stderr, &dir.all_text()].map(String::as_str).concat();
        check(secret_in(&text).is_none() && !text.contains(CAS_TOKEN), "a secret is shown");
        let strangers = elsewhere.requests().into_iter().chain(twin.requests());
        check(!strangers.into_iter().any(|record| tells_secret(&record)), "a stranger was told a secret");
        let of_hub = |record: &Record| record.authorization().is_some_and(|text| text.contains(TOKEN));
        check(!hub.requests_to(Server::Cdn).iter().any(of_hub), "the CAS was told the Hub's token");
        hub.clear_faults();
    }
    complaints
}

#[test]
fn every_trouble_of_xet_storage_costs_bytes_at_most() {
    let is_met = |row: &&Row| matches!(row.trouble, Trouble::Answer(_) | Trouble::Burst(..));
    let cells: Vec<_> = ROWS
        .iter()
        .filter(is_met)
        .flat_map(|row| {
            [(0, Often::Always), (1, Often::Once), (1, Often::Always)]
                .map(|(asked, often)| (row, asked, often))
        })
        .collect();
    let complaints: Vec<String> = std::thread::scope(|scope| {
        let parts = cells.chunks(cells.len().div_ceil(WORKERS)).zip((0..).step_by(10_000));
        let players: Vec<_> = parts.map(|(part, offset)| scope.spawn(move || play(part, offset))).collect();
        players.into_iter().flat_map(|player| player.join().expect("no panic in a cell")).collect()
    });
    assert!(complaints.is_empty(), "{} of {}:\n\n{}", complaints.len(), cells.len(), complaints.join("\n\n"));
}
