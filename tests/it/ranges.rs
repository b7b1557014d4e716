//! Servers and caches that answer a question for a range in a way of their own: what starts as asked for is taken, and
//! who never gives such a part is asked for the whole file.

use fake_hub::{FakeHub, Fault, Payload, Reply, Request, Rule, Server};

use crate::support::command::Run;
use crate::support::{FILE, MIB, REPO, TestDir, hub, model};

/// Requests to the CDN without a range.
fn wholes(hub: &FakeHub) -> usize {
    hub.requests_to(Server::Cdn).iter().filter(|record| record.request.header("range").is_none()).count()
}

#[track_caller]
fn brings(hub: &FakeHub, model: &Payload, arguments: &[&str]) -> Run {
    let dir = TestDir::new();
    let run = dir.fetch(hub, [REPO, FILE, "--json"]).args(arguments).run().succeeds().at_once();
    dir.assert_done(FILE, model);
    run
}

/// Parts of another length than asked for, as `Content-Range` says: bytes from the same first one on.
fn of_length(model: &Payload, length: impl Fn(u64) -> u64 + Send + Sync + 'static) -> Fault {
    let all = model.to_vec();
    Fault::hook(move |request: &Request, reply: &mut Reply| {
        let Some((first, Some(last))) = request.range() else { return };
        let end = (first + length(last + 1 - first)).min(all.len() as u64);
        let piece = usize::try_from(first).expect("small")..usize::try_from(end).expect("small");
        let range = format!("bytes {first}-{}/{}", end - 1, all.len());
        *reply = reply.clone().header("Content-Range", range).body(&all[piece]);
    })
}

/// The right part, under the status of a whole file.
fn as_whole(is_marked: bool) -> Fault {
    Fault::hook(move |_, reply| {
        reply.status = 200;
        let range = reply.value("Content-Range").filter(|_| is_marked).map(str::to_owned);
        reply.set("Content-Range", range);
    })
}

#[test]
fn who_never_gives_a_part_that_was_asked_for_is_asked_once_for_the_whole() {
    let model = model(1, 8);
    let multipart = Fault::header("Content-Type", "multipart/byteranges; boundary=b");
    for (name, fault) in [
        ("without a Content-Range", Fault::without_content_range()),
        ("several parts", Fault::All(vec![multipart.clone(), Fault::without_content_range()])),
        ("several parts, said to be one", multipart),
        ("another part", Fault::ShiftRange(4096)),
        ("always the same part", Fault::content_range("bytes 7-77/8388608")),
        ("no range", Fault::content_range("bytes */8388608")),
        ("another unit", Fault::content_range("kilobytes 0-8191/8192")),
        ("another length than it says", Fault::BodyDelta(1000)),
        ("a part as a whole", as_whole(true)),
        ("a part as a whole, unmarked", as_whole(false)),
        ("tiny parts", of_length(&model, |_| 100_000)),
        ("single bytes", of_length(&model, |_| 1)),
        ("no such range", Fault::Reply(Reply::new(416).header("Content-Range", "bytes */8388608"))),
    ] {
        let hub = hub(&model);
        hub.fault(Rule::cdn().ranged().always().then(fault));
        let run = brings(&hub, &model, &[]).says("gives no ranges of `model.gguf`: it is read as a whole");
        assert_eq!(wholes(&hub), 1, "{name}: {}", run.stderr);
        let asked = hub.requests_to(Server::Cdn).len();
        assert!(asked <= 3 + 4 + 1, "{name}: {asked} requests");
    }
}

#[test]
fn parts_of_a_mebibyte_or_more_are_taken_as_they_come() {
    let model = model(1, 12);
    let hub = hub(&model);
    hub.fault(Rule::cdn().always().then(of_length(&model, |asked| asked.min(MIB))));
    let run = brings(&hub, &model, &["--connections", "1"]).does_not_say("retry");
    assert_eq!(run.json()["bytes_fetched"], model.size());
    assert_eq!(hub.requests_to(Server::Cdn).len(), 12);
}

#[test]
fn a_part_that_is_longer_than_asked_for_is_used_as_far_as_it_was_asked_for() {
    let model = model(1, 8);
    for longer in [|asked| asked + 1, |asked| asked + 70_000, |_| u64::MAX / 2] {
        let hub = hub(&model);
        hub.fault(Rule::cdn().always().then(of_length(&model, longer)));
        brings(&hub, &model, &[]).does_not_say("retry");
        assert_eq!(wholes(&hub), 0);
    }
}

#[test]
fn content_range_may_be_written_in_another_way() {
    let model = model(1, 8);
    let write: [fn(&str) -> String; 4] = [
        |text| text.replace("bytes ", "Bytes="),
        |text| text.replace("bytes ", "BYTES: "),
        |text| text.replace("bytes ", ""),
        |text| text.split('/').next().map(|range| format!("{range}/*")).unwrap_or_default(),
    ];
    for write in write {
        let hub = hub(&model);
        hub.on(Rule::cdn().always(), move |_, reply| {
            let text = reply.value("Content-Range").map(write);
            reply.set("Content-Range", text);
        });
        brings(&hub, &model, &[]).does_not_say("retry");
        assert_eq!(wholes(&hub), 0);
    }
}

#[test]
fn one_part_of_several_that_is_odd_is_asked_for_again() {
    let model = model(1, 16);
    let hub = hub(&model);
    // One backend of three.
    for n in [2, 5, 8] {
        hub.fault(Rule::cdn().nth(n).then(Fault::without_content_range()));
    }
    brings(&hub, &model, &["--connections", "1"]).says("a 206 without Content-Range");
    assert_eq!(wholes(&hub), 0);
}

#[test]
fn a_part_that_is_all_of_a_small_file_needs_no_content_range() {
    let model = model(1, 1);
    let hub = hub(&model);
    hub.fault(Rule::cdn().always().then(Fault::without_content_range()));
    brings(&hub, &model, &["--connections", "1"]).does_not_say("retry");
    assert_eq!(hub.requests_to(Server::Cdn).len(), 1);
}

#[test]
fn an_endpoint_whose_parts_are_odd_is_left_for_the_next_one() {
    let model = model(1, 8);
    let (odd, good) = (hub(&model), hub(&model));
    odd.fault(Rule::cdn().always().then(Fault::without_content_range()));
    let endpoints = [odd.endpoint(), good.endpoint()];
    brings(&odd, &model, &["--endpoint", &endpoints[0], "--endpoint", &endpoints[1]])
        .says("a 206 without Content-Range")
        .does_not_say("read as a whole");
    assert_eq!((wholes(&odd), wholes(&good)), (0, 0));
}
