//! Caches that fetch a file before they pass it on: seconds or minutes to the first byte, and all of it again for each
//! client that has left too soon. And endpoints that say where the bytes are only to who asks for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use fake_hub::{FakeHub, Fault, Payload, Record, Repo, Rule, Server};

use crate::support::secret::TOKEN;
use crate::support::{FILE, MIB, REPO, TestDir, built, hub, model};

/// The time that clients of these tests have, and what a cache takes beyond it.
const PATIENCE: [&str; 2] = ["--stall-timeout", "2s"];
const LATE: Duration = Duration::from_secs(4);

/// A mirror that has the bytes itself, at the address that a Hub redirects from.
fn mirror(content: &Payload) -> FakeHub {
    built(FakeHub::builder().repo(Repo::model(REPO).small(FILE, content.clone())))
}

fn gets(hub: &FakeHub, server: Server) -> Vec<Record> {
    hub.requests_to(server).into_iter().filter(|record| record.request.method == "GET").collect()
}

/// The first GETs that a server gets are late, as many as that.
fn late(hub: &FakeHub, server: Rule, times: u64, fault: Fault) {
    hub.fault(server.method("GET").times(times).then(fault));
}

#[test]
fn a_mirror_that_begins_late_is_asked_by_one_connection_until_it_does() {
    let model = model(1, 8);
    // Before the headers, and after them.
    for fault in [Fault::Delay(LATE), Fault::pause(0, LATE)] {
        let mirror = mirror(&model);
        late(&mirror, Rule::resolve(), 2, fault);
        let dir = TestDir::new();
        let run = dir.fetch(&mirror, [REPO, FILE]).args(PATIENCE).run().succeeds();
        dir.assert_done(FILE, &model);
        run.says("no data from").says("retry 1").does_not_say("retry 2").not_before(LATE);
        let gets = gets(&mirror, Server::Hub);
        let first = gets[0].request.range();
        assert_eq!(gets[1].request.range(), first, "the same range again, with more patience");
        let met = gets.iter().filter(|get| get.request.range() == first).count();
        assert_eq!(met, 2, "nobody else asked for it meanwhile");
    }
}

#[test]
fn a_cdn_that_is_late_is_asked_by_one_connection_after_the_first_time_out() {
    let model = model(1, 8);
    let hub = hub(&model);
    // The first wave, and the one that waits then.
    let begun = Arc::new(AtomicBool::new(false));
    let (early, seen) = (Arc::new(AtomicU64::new(0)), Arc::clone(&begun));
    let count = Arc::clone(&early);
    hub.on(Rule::cdn().always(), move |_, _| {
        if !seen.load(Ordering::Relaxed) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    late(&hub, Rule::cdn(), 5, Fault::Delay(LATE));
    let dir = TestDir::new();
    let mut run = dir.fetch(&hub, [REPO, FILE, "--connections", "4"]).args(PATIENCE).start();
    run.wait_until("bytes", |_| hub.bytes_sent(Server::Cdn) > 0);
    begun.store(true, Ordering::Relaxed);
    run.finish().succeeds();
    dir.assert_done(FILE, &model);
    let early = early.load(Ordering::Relaxed);
    assert!((5..=8).contains(&early), "{early} requests before the first byte");
}

#[test]
fn an_endpoint_that_does_not_begin_is_left_for_the_next_one() {
    let model = model(1, 8);
    let (silent, good) = (mirror(&model), mirror(&model));
    silent.fault(Rule::resolve().method("GET").always().then(Fault::Delay(Duration::from_mins(5))));
    let dir = TestDir::new();
    dir.fetch(&silent, [REPO, FILE, "--endpoint", &silent.endpoint(), "--endpoint", &good.endpoint()])
        .args(PATIENCE)
        .run()
        .succeeds()
        .at_once();
    dir.assert_done(FILE, &model);
    assert_eq!(gets(&silent, Server::Hub).len(), 1);
}

#[test]
fn a_question_that_is_answered_late_is_waited_for() {
    let model = model(1, 1);
    let hub = hub(&model);
    hub.fault(Rule::resolve().method("HEAD").times(2).then(Fault::Delay(LATE)));
    let dir = TestDir::new();
    let run = dir.fetch(&hub, [REPO, FILE]).env("HF_HUB_ETAG_TIMEOUT", "2").run().succeeds();
    run.says("no data from").says("for 2.0 s").says("recovered after 1 failure");
    dir.assert_done(FILE, &model);
}

#[test]
fn the_timeout_of_the_hubs_own_library_is_heard() {
    let model = model(1, 1);
    let hub = hub(&model);
    hub.fault(Rule::cdn().times(1).then(Fault::Delay(LATE)));
    let dir = TestDir::new();
    let run = dir
        .fetch(&hub, [REPO, FILE, "--connections", "1"])
        .env("HF_HUB_DOWNLOAD_TIMEOUT", "2")
        .run()
        .succeeds();
    run.says("no data from").says("for 2.0 s");
    dir.assert_done(FILE, &model);
}

/// An edge that answers a HEAD by itself, and leads a GET to the CDN.
fn leads_gets_alone(hub: &FakeHub) {
    hub.on(Rule::resolve().method("HEAD").always(), |_, reply| {
        reply.status = 200;
        reply.set("Location", None);
    });
}

#[test]
fn where_a_first_get_was_led_to_the_others_go_at_once() {
    let model = model(1, 16);
    let repo = Repo::model(REPO).lfs(FILE, model.clone());
    let hub = built(FakeHub::builder().repo(repo).token(TOKEN));
    leads_gets_alone(&hub);
    let dir = TestDir::new();
    dir.fetch(&hub, [REPO, FILE]).env("HF_TOKEN", TOKEN).run().succeeds().does_not_say("retry");
    dir.assert_done(FILE, &model);
    assert_eq!(gets(&hub, Server::Hub).len(), 1, "calls of the resolver are counted by the Hub");
    let of_cdn = hub.requests_to(Server::Cdn);
    assert!(of_cdn.len() > 4);
    assert!(of_cdn.iter().all(|record| record.request.header("authorization").is_none()));
}

#[test]
fn whoever_led_to_an_address_is_asked_again_when_it_has_expired() {
    let model = model(1, 16);
    let repo = Repo::model(REPO).lfs(FILE, model.clone());
    let hub = built(FakeHub::builder().repo(repo).rate_per_connection(2_000_000));
    leads_gets_alone(&hub);
    let dir = TestDir::new();
    let mut run = dir.fetch(&hub, [REPO, FILE, "--connections", "4"]).start();
    run.wait_until("bytes", |_| hub.bytes_sent(Server::Cdn) > 3 * MIB);
    hub.expire_signatures();
    run.finish().succeeds().says("the download link had expired").does_not_say("starting again");
    dir.assert_done(FILE, &model);
    let asked = hub.requests_to(Server::Hub);
    let heads = asked.iter().filter(|record| record.request.method == "HEAD").count();
    // Of four connections that find it expired each may ask the endpoint before one of them is led on.
    assert!(heads == 1 && asked.len() <= 1 + 1 + 4, "{heads} of {} questions", asked.len());
}
