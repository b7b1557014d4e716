//! `owner/name:TAG` takes what llama.cpp takes: its own answers are in `llama_cpp.txt`.

use std::collections::BTreeSet;

use fake_hub::{Fault, Reply, Repo, Rule};
use modelfetch::request::{Quant, Selection};

use crate::support::{REPO, TestDir, built};

/// A listing with what llama.cpp takes from it.
struct Listing {
    why: &'static str,
    tag: &'static str,
    paths: Vec<&'static str>,
    taken: BTreeSet<&'static str>,
}

fn listings() -> Vec<Listing> {
    let blocks = include_str!("llama_cpp.txt").split("\n\n").filter(|block| !block.starts_with('#'));
    let listings = blocks.map(|block| {
        let mut lines = block.lines();
        let (why, tag) = (lines.next().expect("a reason"), lines.next().expect("a tag"));
        let marked: Vec<_> = lines.map(|line| line.split_at(2)).collect();
        let taken = marked.iter().filter(|(mark, _)| *mark == "* ").map(|(_, path)| *path).collect();
        Listing {
            why,
            tag: tag.trim_matches('-'),
            paths: marked.iter().map(|(_, path)| *path).collect(),
            taken,
        }
    });
    listings.collect()
}

#[test]
fn a_tag_takes_what_llama_cpp_takes() {
    let listings = listings();
    assert!(listings.len() >= 20, "{} listings", listings.len());
    for Listing { why, tag, paths, taken } in &listings {
        let quant: Quant = tag.parse().expect("a tag");
        let selection = Selection::new(&[], &[], &[], Some(quant)).expect("a selection");
        let Selection::Matching(patterns) = selection else { panic!("a tag needs the list") };
        let picked = patterns.choose(paths).expect("no name is missing").picked;
        let picked: BTreeSet<_> = picked.into_iter().map(|at| paths[at]).collect();
        assert_eq!(picked, *taken, "{why}");
    }
}

/// The program itself, in the order in which the Hub lists the files; again with the list that lies on the disk.
#[test]
fn the_order_of_the_list_decides_between_two_models_now_and_offline() {
    let names = ["z-Q8_0.gguf", "mmproj-Q4_0.gguf", "a-Q8_0.gguf", "mmproj-F16.gguf"];
    let payload =
        |name: &str| fake_hub::Payload::gguf(name.len() as u64 + u64::from(name.as_bytes()[0]), 10_000);
    let repo = names.iter().fold(Repo::model(REPO), |repo, name| repo.lfs(name, payload(name)));
    let hub = built(fake_hub::FakeHub::builder().repo(repo));
    let entries = names.map(|name| {
        let (oid, sha256) = ("cd".repeat(20), payload(name).sha256().to_owned());
        format!(r#"{{"type":"file","path":"{name}","size":10000,"oid":"{oid}","lfs":{{"oid":"{sha256}","size":10000}}}}"#)
    });
    let list = Reply::new(200).body(format!("[{}]", entries.join(",")).into_bytes());
    hub.fault(Rule::tree().always().then(Fault::Reply(list)));
    for in_cache in [false, true] {
        let dir = TestDir::new();
        for network in ["--require-fresh", "--offline"] {
            let arguments = ["owner/name:q8_0", network];
            let job =
                if in_cache { dir.cache_job("fetch", &hub, arguments) } else { dir.fetch(&hub, arguments) };
            let run = job.run().succeeds();
            let taken: Vec<_> = run.stdout.lines().filter_map(|line| line.rsplit('/').next()).collect();
            assert_eq!(taken, ["z-Q8_0.gguf", "mmproj-Q4_0.gguf"]);
        }
    }
}

#[test]
fn a_part_of_a_set_is_told() {
    let shard =
        |n: u16| fake_hub::Payload::gguf_with(&fake_hub::Gguf::default().shard(n, 3), n.into(), 10_000);
    let names = ["m-Q4_K_M-00001-of-00003.gguf", "m-Q4_K_M-00003-of-00003.gguf"];
    let repo = Repo::model(REPO).lfs(names[0], shard(0)).lfs(names[1], shard(2));
    let hub = built(fake_hub::FakeHub::builder().repo(repo));
    let dir = TestDir::new();
    for command in ["fetch", "smoke", "plan"] {
        let run = dir.job(command, &hub, ["owner/name:Q4_K_M"]).run().succeeds();
        run.says("`m-Q4_K_M-00002-of-00003.gguf` is missing");
    }
    dir.fetch(&hub, [REPO, names[0]]).run().exits(11).says("which has 2 of the 3 shards").says("--include");
}

#[test]
fn a_tag_beside_an_exclusion_leaves_out_the_projector() {
    let repo = Repo::model(REPO)
        .lfs("m-Q8_0.gguf", fake_hub::Payload::gguf(1, 10_000))
        .small("mmproj-F16.gguf", "GGUF");
    let hub = built(fake_hub::FakeHub::builder().repo(repo));
    let dir = TestDir::new();
    let run = dir.fetch(&hub, [REPO, "--quant", "Q8_0", "--exclude", "mmproj*"]).run().succeeds();
    assert!(run.stdout.lines().all(|line| line.ends_with("/m-Q8_0.gguf")), "{}", run.stdout);
    for usual in ["owner/name:", "owner/name:latest"] {
        let run = dir.fetch(&hub, [usual, "--exclude", "mmproj*"]).run().succeeds();
        assert_eq!(run.stdout.lines().count(), 1, "{}", run.stdout);
    }
}
