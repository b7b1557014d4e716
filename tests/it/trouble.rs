//! What goes wrong on the way ends in the right file, or in one readable error.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use fake_hub::{Bucket, Ending, FakeHub, Fault, RateLimit, Reply, Repo, RetryAfter, Rule, Server};
use rustix::process::Signal;

use crate::support::command::Run;
use crate::support::{FILE, MIB, REPO, TestDir, built, hub, model};

/// One late range meets the fault; the file must arrive all the same.
#[track_caller]
fn survives(name: &str, rule: Rule, arguments: &[&str]) -> Run {
    let model = model(1, 8);
    let hub = hub(&model);
    let hits = hub.fault(rule);
    let dir = TestDir::new();
    let run = dir.fetch(&hub, [REPO, FILE]).args(arguments).run();
    assert_eq!(run.status, Some(0), "{name}: {}", run.stderr);
    assert!(hits.count() >= 1, "{name} was never met");
    dir.assert_done(FILE, &model);
    run
}

/// Every range meets the fault, so that the run must end with this number and no file.
#[track_caller]
fn fails(fault: Fault, number: i32) -> Run {
    fails_when_asked_with(fault, number, &[])
}

#[track_caller]
fn fails_when_asked_with(fault: Fault, number: i32, arguments: &[&str]) -> Run {
    let hub = hub(&model(1, 8));
    hub.fault(Rule::cdn().always().then(fault));
    let dir = TestDir::new();
    let run = dir.fetch(&hub, [REPO, FILE, "--give-up-after", "1s"]).args(arguments).run().exits(number);
    dir.assert_absent(FILE);
    run.at_once().says("hint:")
}

#[test]
fn a_single_200_for_a_range_is_survived_at_any_place() {
    survives("first", Rule::cdn().first_range().then(Fault::IgnoreRange), &[]);
    survives("third", Rule::cdn().nth(3).then(Fault::IgnoreRange), &[]);
    survives("last", Rule::cdn().last_range().then(Fault::IgnoreRange), &[]);
}

#[test]
fn a_server_without_ranges_is_read_in_one_stream() {
    let model = model(1, 16);
    let hub = built(FakeHub::builder().without_ranges().repo(Repo::model(REPO).lfs(FILE, model.clone())));
    let dir = TestDir::new();
    dir.fetch(&hub, [REPO, FILE]).run().succeeds();
    dir.assert_done(FILE, &model);
    let whole =
        || hub.requests_to(Server::Cdn).iter().filter(|record| record.bytes_sent == model.size()).count();
    // The server may take note of its last byte after the client has left.
    for _ in 0..100 {
        if whole() > 0 {
            break;
        }
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(whole(), 1, "streams that were read to their end");
}

#[test]
fn an_answer_with_another_range_than_asked_is_never_data() {
    let wrong: [(&str, Fault); 6] = [
        ("without", Fault::without_content_range()),
        ("another", Fault::content_range("bytes 0-1048575/8388608")),
        ("garbage", Fault::content_range("bytes 1-0/x")),
        ("shifted", Fault::ShiftRange(4096)),
        ("too long a length", Fault::header("Content-Length", "9999999")),
        ("star", Fault::content_range("bytes */8388608")),
    ];
    for (name, fault) in wrong {
        survives(name, Rule::cdn().nth(3).then(fault), &[]);
    }
}

#[test]
fn a_body_that_ends_early_is_continued() {
    let rule = || Rule::cdn().nth(2);
    survives("cut", rule().then(Fault::cut(300_000)), &[]);
    survives("reset", rule().then(Fault::reset(300_000)), &[]);
    survives("shorter than its range", rule().then(Fault::BodyDelta(1000)), &[]);
    survives("short", rule().then(Fault::short_by(1000)), &[]);
    survives("no answer", rule().then(Fault::NoAnswer(Ending::Close)), &[]);
    survives("reset at once", rule().then(Fault::NoAnswer(Ending::Reset)), &[]);
}

#[test]
fn an_answer_that_is_hardly_http_is_survived() {
    let rule = || Rule::cdn().nth(2);
    survives("garbage", rule().then(Fault::garbage()), &[]);
    survives("a body alone", rule().then(Fault::Http09), &[]);
    survives("too many headers", rule().then(Fault::HeaderBomb(500, 500)), &[]);
    survives("more than announced", rule().then(Fault::ExtraBytes(5000)), &[]);
    survives("longer than its range", rule().then(Fault::BodyDelta(-1000)), &[]);
    survives("chunks without end", rule().then(Fault::EndlessChunks), &[]);
    survives("gzip though refused", rule().then(Fault::Gzip), &[]);
}

#[test]
fn unusual_but_right_answers_are_taken_at_once() {
    for fault in [Fault::Chunked, Fault::CloseDelimited] {
        let run = survives("framing", Rule::cdn().always().then(fault), &[]);
        run.does_not_say("retry");
    }
}

#[test]
fn a_stalled_connection_is_replaced() {
    let rule = Rule::cdn().nth(2).then(Fault::stall(100_000));
    let run = survives("stall", rule, &["--connections", "1", "--stall-timeout", "1s"]);
    run.says("no data from").not_before(Duration::from_secs(1)).at_once();
}

#[test]
fn a_silent_server_is_given_up() {
    fails_when_asked_with(Fault::stall(0), 30, &["--stall-timeout", "1s"])
        .says("gave up on fetching `model.gguf`")
        .says("no data from");
}

#[test]
fn a_last_range_that_never_comes_ends_the_run() {
    // The connections that are done take it over from each other.
    for fault in [Fault::stall(0), Fault::stall(100), Fault::Trickle(0), Fault::Delay(Duration::from_mins(5))]
    {
        let hub = hub(&model(1, 8));
        hub.fault(Rule::cdn().last_range().always().then(fault));
        let dir = TestDir::new();
        let limits = ["--stall-timeout", "2s", "--give-up-after", "3s", "--connections", "4"];
        dir.fetch(&hub, [REPO, FILE]).args(limits).run().exits(30).says("gave up on").at_once();
        dir.assert_absent(FILE);
    }
}

#[test]
fn a_range_that_is_slow_to_begin_is_waited_for() {
    let model = model(1, 8);
    let hub = hub(&model);
    hub.fault(Rule::cdn().last_range().always().then(Fault::Delay(Duration::from_secs(3))));
    let dir = TestDir::new();
    dir.fetch(&hub, [REPO, FILE, "--connections", "4"]).run().succeeds();
    dir.assert_done(FILE, &model);
}

#[test]
fn a_trickle_counts_as_a_stall() {
    let rule = Rule::cdn().nth(2).then(Fault::Trickle(100_000));
    let run = survives("trickle", rule, &["--connections", "1", "--stall-timeout", "2s"]);
    run.at_once();
}

#[test]
fn a_burst_of_server_errors_is_waited_out() {
    for status in [500, 502, 503, 504, 408] {
        survives("burst", Rule::cdn().times(3).then(Fault::status(status)), &[]).says("retry");
    }
    let model = model(1, 1);
    let hub = hub(&model);
    let hits = hub.fault(Rule::resolve().times(2).then(Fault::status(503)));
    let dir = TestDir::new();
    dir.fetch(&hub, [REPO, FILE]).run().succeeds().says("recovered after 2 failures");
    assert_eq!(hits.count(), 2);
}

#[test]
fn errors_that_do_not_end_are_given_up_with_their_cause() {
    fails(Fault::status(503), 30).says("503").says("scripted status 503").says("what has arrived is kept");
    fails(Fault::garbage(), 30).says("gave up on");
    fails(Fault::NoAnswer(Ending::Reset), 30).says("gave up on");
    fails(Fault::Gzip, 30).says("encoded as gzip");
    fails(Fault::status(418), 30).says("418").does_not_say("retry");
}

#[test]
fn a_redirect_that_leads_nowhere_good_is_not_followed() {
    for (fault, why) in [
        (Fault::redirect("file:///etc/passwd"), "a redirect to a file: URL"),
        (Fault::RedirectLoop, "redirects in a circle"),
    ] {
        let asked = |rule: Rule| {
            let hub = hub(&model(1, 8));
            let hits = hub.fault(rule.always().then(fault.clone()));
            let dir = TestDir::new();
            dir.fetch(&hub, [REPO, FILE, "--connections", "1"])
                .run()
                .exits(30)
                .says(why)
                .says("hint: it is how that server, or a proxy before it, is set up; check --endpoint")
                .at_once();
            dir.assert_absent(FILE);
            hits.count()
        };
        // One edge of many may be set up otherwise.
        assert_eq!((asked(Rule::resolve()), asked(Rule::cdn())), (3, 3), "{why}");
    }
}

#[test]
fn an_endpoint_that_is_set_up_wrongly_is_left_for_the_next_one() {
    let model = model(1, 2);
    let (bad, good) = (hub(&model), hub(&model));
    let hits = bad.fault(Rule::hub().always().then(Fault::RedirectLoop));
    let dir = TestDir::new();
    dir.fetch(&bad, [REPO, FILE, "--endpoint", &bad.endpoint(), "--endpoint", &good.endpoint()])
        .run()
        .succeeds()
        .does_not_say("retry")
        .at_once();
    dir.assert_done(FILE, &model);
    assert_eq!(hits.count(), 1);
}

#[test]
fn retry_after_is_obeyed_in_seconds_and_as_a_date() {
    // As a date it has no fractions of a second: 2 to 3 seconds are left when it is sent.
    let date = || httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(3));
    for is_date in [false, true] {
        let hub = hub(&model(1, 1));
        hub.on(Rule::resolve(), move |_, reply| {
            *reply = Reply::new(429);
            reply.set("Retry-After", Some(if is_date { date() } else { "2".to_owned() }));
        });
        let run = TestDir::new().fetch(&hub, [REPO, FILE]).run().succeeds();
        run.not_before(Duration::from_millis(1900)).at_once();
        assert_eq!(hub.requests_to(Server::Hub).len(), 2, "one question more, after the pause");
    }
}

#[test]
fn retry_after_of_the_cdn_is_obeyed() {
    let model = model(1, 2);
    let hub = hub(&model);
    hub.fault(Rule::cdn().then(Fault::retry_after(503, "2")));
    let dir = TestDir::new();
    dir.fetch(&hub, [REPO, FILE, "--connections", "1"]).run().succeeds().not_before(Duration::from_secs(2));
    dir.assert_done(FILE, &model);
}

#[test]
fn the_rate_limit_header_is_obeyed_before_a_request_is_refused() {
    let limit = RateLimit::new(Bucket::Resolvers, 1, Duration::from_secs(5));
    let repo = Repo::model(REPO).lfs("a.gguf", model(1, 1)).lfs("b.gguf", model(2, 1));
    let hub = built(FakeHub::builder().repo(repo).rate_limit(limit));
    let dir = TestDir::new();
    let run =
        dir.fetch(&hub, [REPO, "a.gguf", "b.gguf"]).run().succeeds().says("grants no more requests for");
    run.not_before(Duration::from_millis(1900));
    let statuses: Vec<_> = hub.requests_to(Server::Hub).iter().map(|record| record.status).collect();
    assert_eq!(statuses, [302, 302]);
}

#[test]
fn a_refusal_for_the_rate_is_waited_for_as_long_as_it_says() {
    thread::scope(|scope| {
        for form in [RetryAfter::Seconds, RetryAfter::Date] {
            scope.spawn(move || {
                let limit = RateLimit::new(Bucket::Resolvers, 1, Duration::from_secs(5));
                let limit = limit.retry_after(form).without_headers();
                let repo = Repo::model(REPO).lfs("a.gguf", model(1, 1)).lfs("b.gguf", model(2, 1));
                let hub = built(FakeHub::builder().repo(repo).rate_limit(limit));
                let dir = TestDir::new();
                let run = dir.fetch(&hub, [REPO, "a.gguf", "b.gguf"]).run().succeeds().says("429");
                run.not_before(Duration::from_millis(1900));
                let statuses: Vec<_> =
                    hub.requests_to(Server::Hub).iter().map(|record| record.status).collect();
                assert_eq!(statuses, [302, 429, 302], "{form:?}");
            });
        }
    });
}

#[test]
fn an_absurd_wait_ends_the_run_at_once_with_exit_31() {
    for server in [Rule::resolve(), Rule::cdn()] {
        let hub = hub(&model(1, 2));
        hub.fault(server.always().then(Fault::retry_after(429, "86400")));
        let dir = TestDir::new();
        dir.fetch(&hub, [REPO, FILE])
            .run()
            .exits(31)
            .says("limits the rate and asks to wait 24 h 0 min")
            .says("set HF_TOKEN for a higher limit")
            .at_once();
        dir.assert_absent(FILE);
    }
}

#[test]
fn a_server_that_says_again_at_once_for_ever_is_given_up() {
    fails(Fault::retry_after(429, "0"), 30).says("gave up on").says("429");
    fails(Fault::retry_after(503, "Wed, 21 Oct 2015 07:28:00 GMT"), 30).says("gave up on");
}

#[test]
fn eight_connections_that_are_all_told_to_wait_wait_once() {
    // Each of them hears of 120 seconds; together that is no 16 minutes.
    let model = model(1, 16);
    let hub = hub(&model);
    hub.fault(Rule::cdn().always().then(Fault::retry_after(429, "120")));
    let dir = TestDir::new();
    let mut run = dir.fetch(&hub, [REPO, FILE, "--connections", "8"]).start();
    run.wait_for("retry 1 in 2 min");
    std::thread::sleep(Duration::from_secs(2));
    run.signal(Signal::TERM);
    run.finish().exits(143);
}

#[test]
fn a_pause_beyond_the_deadline_is_not_begun() {
    let model = model(1, 16);
    let hub = hub(&model);
    hub.fault(Rule::resolve().always().then(Fault::retry_after(429, "120")));
    let dir = TestDir::new();
    let run = dir.fetch(&hub, [REPO, FILE, "--deadline", "1m"]).run();
    run.exits(31).says("asks to wait 2 min 0 s").at_once();
}

#[test]
fn an_expired_link_is_renewed_once() {
    let model = model(1, 16);
    let hub = built(
        FakeHub::builder().rate_per_connection(2_000_000).repo(Repo::model(REPO).lfs(FILE, model.clone())),
    );
    let dir = TestDir::new();
    let mut run = dir.fetch(&hub, [REPO, FILE, "--connections", "4"]).start();
    run.wait_until("bytes", |_| hub.bytes_sent(Server::Cdn) > 3 * MIB);
    hub.expire_signatures();
    run.finish().succeeds().says("the download link had expired").does_not_say("starting again");
    dir.assert_done(FILE, &model);
    assert_eq!(hub.requests_to(Server::Hub).len(), 2);
}

#[test]
fn links_that_expire_all_the_time_are_renewed_all_the_time() {
    let model = model(1, 16);
    let hub =
        built(FakeHub::builder().uses_per_signature(2).repo(Repo::model(REPO).lfs(FILE, model.clone())));
    let dir = TestDir::new();
    dir.fetch(&hub, [REPO, FILE, "--connections", "2"]).run().succeeds();
    dir.assert_done(FILE, &model);
    assert!(hub.requests_to(Server::Hub).len() >= 3);
}

#[test]
fn a_fresh_link_that_is_refused_too_ends_the_run_with_the_servers_words() {
    let hub = hub(&model(1, 8));
    hub.fault(Rule::cdn().always().then(Fault::html(403)));
    let dir = TestDir::new();
    dir.fetch(&hub, [REPO, FILE])
        .run()
        .exits(30)
        .says("403 Forbidden")
        .says("Access denied.")
        .says("the server's own words are above")
        .at_once();
    assert_eq!(hub.requests_to(Server::Hub).len(), 2, "asked again once");
    dir.assert_absent(FILE);
}

#[test]
fn a_link_that_expires_when_a_file_has_begun_again_is_renewed_once_as_well() {
    let model = model(1, 8);
    for refusals in [1, 2] {
        let hub = hub(&model);
        hub.fault(Rule::cdn().covering(3_000_000).then(Fault::FlipByte(3_000_000)));
        for nth in 2..2 + refusals {
            hub.fault(Rule::cdn().covering(0).nth(nth).then(Fault::status(403)));
        }
        let dir = TestDir::new();
        let run = dir.fetch(&hub, [REPO, FILE, "--connections", "1"]).run();
        if refusals == 1 {
            run.succeeds().says("starting again from zero").says("the download link had expired");
            dir.assert_done(FILE, &model);
        } else {
            run.exits(30).says("with a fresh URL");
            dir.assert_absent(FILE);
        }
    }
}

#[test]
fn a_file_that_changes_under_way_begins_again_and_is_never_mixed() {
    let rule = || Rule::cdn().nth(4);
    survives("another size", rule().then(Fault::TotalSize(8_000_000)), &[]).says("starting again from zero");
    survives("no such range", rule().then(Fault::status(416)), &[]).says("starting again from zero");
}

#[test]
fn a_file_that_never_stops_changing_is_given_up() {
    let hub = hub(&model(1, 8));
    let count = Arc::new(AtomicU64::new(0));
    hub.on(Rule::cdn().always(), move |_, reply| {
        let size = 9_000_000 + count.fetch_add(1, Ordering::Relaxed);
        reply.set("Content-Range", Some(format!("bytes 0-1048575/{size}")));
    });
    let dir = TestDir::new();
    dir.fetch(&hub, [REPO, FILE])
        .run()
        .exits(30)
        .says("`model.gguf` keeps changing on")
        .says("its size there is");
    dir.assert_absent(FILE);
    dir.assert_no_leftovers();
}

#[test]
fn a_branch_that_moves_under_way_does_not_change_what_is_fetched() {
    let (old, new) = (model(1, 8), model(2, 8));
    let hub = built(
        FakeHub::builder().rate_per_connection(2_000_000).repo(Repo::model(REPO).lfs(FILE, old.clone())),
    );
    let dir = TestDir::new();
    let mut run = dir.fetch(&hub, [REPO, FILE]).start();
    run.wait_until("bytes", |_| hub.bytes_sent(Server::Cdn) > MIB);
    hub.push(REPO, "main", |tree| {
        tree.lfs(FILE, new.clone());
    });
    hub.expire_signatures();
    run.finish().succeeds();
    dir.assert_done(FILE, &old);
    dir.fetch(&hub, [REPO, FILE]).run().succeeds();
    dir.assert_done(FILE, &new);
}

#[test]
fn a_hub_that_is_down_is_tried_until_the_time_is_over() {
    let hub = hub(&model(1, 1));
    hub.down(Server::Hub);
    let dir = TestDir::new();
    let run = dir.fetch(&hub, [REPO, FILE, "--give-up-after", "2s"]).run().exits(30);
    run.says("gave up on asking").says("retry 1").at_once();
    let mut run = dir.fetch(&hub, [REPO, FILE]).start();
    run.wait_for("retry 1");
    hub.up(Server::Hub).expect("the same port");
    run.finish().succeeds().says("recovered");
}
