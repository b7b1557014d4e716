//! How bytes move when all is well: in parallel, exactly, at the speed that was asked for.

use std::sync::{Condvar, Mutex};
use std::time::Duration;

use fake_hub::{FakeHub, Fault, Payload, Repo, Rule, Server};

use crate::support::{FILE, REPO, TestDir, built, hub, model};

fn slow_hub(model: &Payload, configure: impl FnOnce(fake_hub::Builder) -> fake_hub::Builder) -> FakeHub {
    built(configure(FakeHub::builder()).repo(Repo::model(REPO).lfs(FILE, model.clone())))
}

#[test]
fn eight_connections_work_at_the_same_time() {
    let model = model(1, 32);
    let hub = slow_hub(&model, |hub| hub.rate_per_connection(4_000_000));
    let dir = TestDir::new();
    dir.fetch(&hub, [REPO, FILE, "--connections", "8"]).run().succeeds();
    dir.assert_done(FILE, &model);
    assert_eq!(hub.max_concurrent(Server::Cdn), 8);
}

#[test]
fn one_connection_asks_for_every_byte_exactly_once() {
    let model = model(1, 16);
    let hub = hub(&model);
    let dir = TestDir::new();
    dir.fetch(&hub, [REPO, FILE, "--connections", "1"]).run().succeeds();
    dir.assert_done(FILE, &model);
    let mut position = 0;
    for record in hub.requests_to(Server::Cdn) {
        let (first, last) = record.request.range().expect("every request is ranged");
        assert_eq!((record.status, first), (206, position));
        assert_eq!(record.request.header("accept-encoding"), Some("identity"));
        position = last.expect("an end") + 1;
    }
    assert_eq!(position, model.size());
    assert_eq!(hub.max_concurrent(Server::Cdn), 1);
    assert_eq!(hub.bytes_sent(Server::Cdn), model.size());
}

#[test]
fn the_hub_is_asked_once_per_file_whatever_its_size() {
    let model = model(1, 32);
    let hub = hub(&model);
    TestDir::new().fetch(&hub, [REPO, FILE]).run().succeeds();
    assert_eq!(hub.requests_to(Server::Hub).len(), 1);
    assert!(hub.requests_to(Server::Cdn).len() > 8);
}

#[test]
fn a_slow_connection_does_not_delay_the_whole() {
    let model = model(1, 32);
    // At this rate one range of 1 MiB takes 52 seconds.
    let hub = slow_hub(&model, |hub| hub.slow_connection_every(4, 20_000));
    let dir = TestDir::new();
    let run = dir.fetch(&hub, [REPO, FILE, "--connections", "8"]).run().succeeds();
    dir.assert_done(FILE, &model);
    run.at_once();
}

#[test]
fn on_a_slow_link_connections_do_not_take_from_each_other() {
    let model = model(1, 32);
    let hub = slow_hub(&model, |hub| hub.rate_per_connection(1_000_000));
    let dir = TestDir::new();
    let run = dir.fetch(&hub, [REPO, FILE, "--json"]).run().succeeds();
    dir.assert_done(FILE, &model);
    // What was on its way when the last ranges were shared out, at most. What the server has sent is more: socket
    // buffers take it from a machine that is busy.
    let received = run.json()["bytes_fetched"].as_u64().expect("a number");
    assert!(received < model.size() + model.size() / 10, "{received} bytes of {}", model.size());
}

#[test]
fn a_server_that_punishes_a_crowd_is_served_by_fewer() {
    let model = model(1, 128);
    let hub = slow_hub(&model, |hub| hub.rate_per_connection(8_000_000).punish_above(4, 300_000));
    let dir = TestDir::new();
    let run = dir.fetch(&hub, [REPO, FILE]).run().succeeds();
    dir.assert_done(FILE, &model);
    // With 8 punished connections it would take 56 seconds.
    run.at_once();
}

#[test]
fn a_rate_limit_is_kept() {
    let model = model(1, 16);
    let hub = hub(&model);
    let dir = TestDir::new();
    let run = dir.fetch(&hub, [REPO, FILE, "--limit-rate", "8MiB"]).run().succeeds();
    dir.assert_done(FILE, &model);
    run.not_before(Duration::from_millis(1600)).within(Duration::from_secs(20));
}

#[test]
fn under_a_rate_limit_no_byte_is_paid_for_twice() {
    let model = model(1, 8);
    let hub = hub(&model);
    let dir = TestDir::new();
    let arguments = [REPO, FILE, "--limit-rate", "4MiB", "--connections", "8", "--json"];
    let run = dir.fetch(&hub, arguments).run().succeeds();
    assert_eq!(run.json()["bytes_fetched"], model.size());
}

#[test]
fn a_deadline_ends_the_run_and_keeps_what_has_arrived() {
    let model = model(1, 24);
    // Without a deadline it would take more than a minute.
    let hub = slow_hub(&model, |hub| hub.rate_per_connection(100_000));
    let dir = TestDir::new();
    dir.fetch(&hub, [REPO, FILE, "--deadline", "3s", "--connections", "4"])
        .run()
        .exits(30)
        .says("the deadline of 3.0 s passed while downloading")
        .says("hint: what has arrived is kept")
        .at_once();
    assert!(dir.journaled() > 0, "nothing was kept");
    dir.assert_absent(FILE);
    let hub = crate::support::hub(&model);
    dir.fetch(&hub, [REPO, FILE]).run().succeeds().says("continuing at");
    dir.assert_done(FILE, &model);
}

#[test]
fn files_of_one_request_share_the_connections() {
    let models = [1, 2, 3].map(|seed| model(seed, 4));
    let repo = models
        .iter()
        .zip(1..)
        .fold(Repo::model(REPO), |repo, (model, n)| repo.lfs(&format!("{n}.gguf"), model.clone()));
    let hub = built(FakeHub::builder().repo(repo).rate_per_connection(4_000_000));
    // On a busy machine one file may be there before the next is asked for: the first answers wait for each other.
    let (asked, more) = (Mutex::new(0), Condvar::new());
    hub.on(Rule::cdn().times(3), move |_, _| {
        let mut asked = asked.lock().expect("no panic");
        *asked += 1;
        more.notify_all();
        drop(more.wait_timeout_while(asked, Duration::from_secs(8), |asked| *asked < 3));
    });
    let dir = TestDir::new();
    dir.fetch(&hub, [REPO, "--connections", "8"]).run().succeeds();
    models.iter().zip(1..).for_each(|(model, n)| dir.assert_done(&format!("{n}.gguf"), model));
    let most = hub.max_concurrent(Server::Cdn);
    assert!((3..=8).contains(&most), "{most} connections");
}

#[test]
fn content_with_two_names_is_fetched_once() {
    let model = model(1, 4);
    let repo = Repo::model(REPO).lfs("a.gguf", model.clone()).lfs("sub/b.gguf", model.clone());
    let hub = built(FakeHub::builder().repo(repo));
    let dir = TestDir::new();
    dir.fetch(&hub, [REPO]).run().succeeds();
    dir.assert_done("a.gguf", &model);
    dir.assert_done("sub/b.gguf", &model);
    assert!(hub.bytes_sent(Server::Cdn) < 2 * model.size());
}

#[test]
fn a_redirect_of_the_cdn_is_followed() {
    let model = model(1, 4);
    let [edge, origin] = [hub(&model), hub(&model)];
    let signed = origin.signed_url(&model);
    edge.fault(Rule::cdn().always().then(Fault::redirect(signed)));
    let dir = TestDir::new();
    dir.fetch(&edge, [REPO, FILE]).run().succeeds();
    dir.assert_done(FILE, &model);
}

#[test]
fn progress_is_shown_while_bytes_move() {
    let model = model(1, 16);
    let hub = slow_hub(&model, |hub| hub.rate_per_connection(2_000_000));
    let dir = TestDir::new();
    let run = dir.fetch(&hub, [REPO, FILE, "--progress", "json", "--connections", "4"]).run().succeeds();
    let events: Vec<serde_json::Value> =
        run.stderr.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect();
    let far: Vec<_> = events.iter().filter(|event| event["event"] == "progress").collect();
    assert!(far.len() >= 2, "{}", run.stderr);
    assert!(far.iter().any(|event| event["connections"] == 4));
    assert!(events.iter().all(|event| event["schema"] == 1));
    assert_eq!(events.last().expect("events")["event"], "finished");
}

/// Whether the first bytes are those of a GGUF is seen after one latency. Who has to wait for that has asked before.
#[test]
fn far_away_all_connections_ask_before_the_first_bytes_are_there() {
    const FAR: Duration = Duration::from_secs(3);
    let payload = model(31, 64);
    let hub = built(
        FakeHub::builder().repo(Repo::model(REPO).lfs(FILE, payload.clone())).latency(Server::Cdn, FAR),
    );
    let dir = TestDir::new();
    dir.fetch(&hub, [REPO, FILE, "--connections", "4"]).run().succeeds();
    dir.assert_done(FILE, &payload);
    let asked: Vec<_> = hub.requests_to(Server::Cdn).iter().map(|record| record.at).collect();
    let apart = asked[3].duration_since(asked[0]).expect("in order");
    assert!(apart < Duration::from_millis(900), "the fourth asked {apart:?} after the first");
}
