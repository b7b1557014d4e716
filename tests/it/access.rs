//! Who may read, and where a token goes: to the Hub it is meant for, and nowhere else.

use std::fs;

use fake_hub::{FakeHub, Fault, Payload, Repo, Rule, Server};
use rustix::process::Signal;

use crate::support::secret::{TOKEN, assert_no_secret};
use crate::support::{FILE, MIB, REPO, TestDir, built, hub, model};

#[test]
fn a_gated_repository_says_where_to_accept_its_conditions() {
    let model = model(1, 1);
    let hub = built(
        FakeHub::builder().repo(Repo::model(REPO).lfs(FILE, model.clone()).gated(&[TOKEN])).token("hf_other"),
    );
    let page = format!("accept the conditions at {}/owner/name", hub.endpoint());
    let dir = TestDir::new();
    let fetch = || dir.fetch(&hub, [REPO, FILE]);
    fetch().run().exits(10).says("access to `owner/name` is gated").says(&page).says("set HF_TOKEN");
    fetch().env("HF_TOKEN", "hf_other").run().exits(10).says(&page).says("the token from HF_TOKEN was used");
    dir.assert_absent(FILE);
    fetch().env("HF_TOKEN", TOKEN).run().succeeds();
    dir.assert_done(FILE, &model);
}

#[test]
fn a_private_repository_looks_missing_until_the_right_token_is_there() {
    let model = model(1, 1);
    let hub = built(
        FakeHub::builder()
            .repo(Repo::model(REPO).lfs(FILE, model.clone()).private(&[TOKEN]))
            .token("hf_other"),
    );
    let dir = TestDir::new();
    let fetch = || dir.fetch(&hub, [REPO, FILE]);
    fetch().run().exits(11).says("or it is private").says("no token was used");
    fetch()
        .env("HF_TOKEN", "hf_other")
        .run()
        .exits(11)
        .says("or it is private")
        .says("the token from HF_TOKEN");
    fetch().env("HF_TOKEN", format!(" {TOKEN}\n")).run().succeeds();
    dir.assert_done(FILE, &model);
}

#[test]
fn a_disabled_repository_and_a_bad_token_exit_10_with_the_servers_words() {
    let hub = built(
        FakeHub::builder()
            .repo(Repo::model(REPO).disabled())
            .repo(Repo::model("open/repo").lfs(FILE, model(1, 1))),
    );
    let dir = TestDir::new();
    dir.fetch(&hub, [REPO, FILE]).run().exits(10).says("Access to this resource is disabled.");
    dir.fetch(&hub, ["open/repo", FILE])
        .env("HF_TOKEN", "hf_expired")
        .run()
        .exits(10)
        .says("Invalid credentials")
        .says("the token from HF_TOKEN was used; check that it is valid")
        .does_not_say("hf_expired");
}

#[test]
fn the_token_is_read_where_huggingface_hub_keeps_it() {
    let model = model(1, 1);
    let hub = built(FakeHub::builder().repo(Repo::model(REPO).lfs(FILE, model).private(&[TOKEN])));
    let dir = TestDir::new();
    let secret = dir.path().join("secret");
    fs::write(&secret, format!("{TOKEN}\n")).expect("a file");
    let plan = || dir.job("plan", &hub, [REPO, FILE]);
    plan().env("HF_TOKEN_PATH", &secret).run().succeeds();
    plan().arg("--token-file").arg(&secret).run().succeeds();
    plan().env("HUGGING_FACE_HUB_TOKEN", TOKEN).run().succeeds();
    plan()
        .env("HF_TOKEN", TOKEN)
        .env("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
        .run()
        .exits(11)
        .says("no token was used");
    let stored = dir.path().join("home/.cache/huggingface");
    fs::create_dir_all(&stored).expect("a directory");
    fs::write(stored.join("token"), TOKEN).expect("a file");
    plan().run().succeeds();
}

/// Everything a run wrote anywhere, in every form there is.
fn all_output(dir: &TestDir, hub: &FakeHub, progress: &str, extra: &[&str]) -> String {
    let message = dir.path().join("termination-log");
    let metrics = dir.path().join("metrics.prom");
    let run = dir
        .fetch(hub, [REPO, FILE, "--json", "--verbose", "--progress", progress])
        .args(extra)
        .arg("--termination-message")
        .arg(&message)
        .arg("--metrics-file")
        .arg(&metrics)
        .env("HF_TOKEN", TOKEN)
        .run();
    let read = |path| fs::read_to_string(path).expect("a file that was written");
    [run.stdout, run.stderr, read(&message), read(&metrics), dir.all_text()].concat()
}

#[test]
fn the_token_goes_to_the_endpoint_alone_and_is_never_written() {
    let hub = built(FakeHub::builder().repo(Repo::model(REPO).lfs(FILE, model(1, 8)).gated(&[TOKEN])));
    // Something of everything: a retry, a renewed link, a wrong digest with a clean second start.
    hub.fault(Rule::cdn().nth(2).then(Fault::status(503)));
    hub.fault(Rule::cdn().nth(3).then(Fault::html(403)));
    hub.fault(Rule::cdn().covering(5_000_000).then(Fault::FlipByte(5_000_000)));
    for progress in ["lines", "json"] {
        let dir = TestDir::new();
        assert_no_secret(&all_output(&dir, &hub, progress, &[]));
        dir.assert_published(FILE, &model(1, 8));
    }
    let sent = hub.requests();
    assert!(sent.iter().filter(|r| r.server == Server::Hub).all(|r| r.authorization().is_some()));
    assert!(sent.iter().filter(|r| r.server == Server::Cdn).all(|r| r.authorization().is_none()));
}

#[test]
fn an_error_holds_neither_the_token_nor_a_signed_address() {
    let hub = built(FakeHub::builder().repo(Repo::model(REPO).lfs(FILE, model(1, 8)).gated(&[TOKEN])));
    for fault in [
        Fault::html(403),
        Fault::status(500),
        Fault::garbage(),
        Fault::RedirectLoop,
        Fault::redirect("file:///x"),
    ] {
        hub.clear_faults();
        hub.fault(Rule::cdn().always().then(fault));
        let text = all_output(&TestDir::new(), &hub, "lines", &["--give-up-after", "1s"]);
        assert!(text.contains(r#""exit":30"#), "{text}");
        assert_no_secret(&text);
    }
    hub.clear_faults();
    for fault in [Fault::status(500), Fault::html(200), Fault::garbage()] {
        hub.clear_faults();
        hub.fault(Rule::hub().always().then(fault));
        assert_no_secret(&all_output(&TestDir::new(), &hub, "json", &["--give-up-after", "1s"]));
    }
}

#[test]
fn the_journal_of_a_killed_run_holds_no_secret() {
    let builder = FakeHub::builder().rate_per_connection(4_000_000);
    let hub = built(builder.repo(Repo::model(REPO).lfs(FILE, model(1, 24)).gated(&[TOKEN])));
    let dir = TestDir::new();
    let mut run = dir.fetch(&hub, [REPO, FILE]).env("HF_TOKEN", TOKEN).start();
    run.wait_until("bytes", |_| hub.bytes_sent(Server::Cdn) > 4 * MIB);
    run.signal(Signal::TERM);
    run.finish().exits(143);
    assert!(dir.journaled() > 0);
    assert_no_secret(&dir.all_text());
}

#[test]
fn a_crash_leaves_no_core() {
    let builder = FakeHub::builder().rate_per_connection(4_000_000);
    let hub = built(builder.repo(Repo::model(REPO).lfs(FILE, model(1, 24)).gated(&[TOKEN])));
    let dir = TestDir::new();
    let mut run = dir.fetch(&hub, [REPO, FILE]).env("HF_TOKEN", TOKEN).with_cores().start();
    run.wait_until("bytes", |_| hub.bytes_sent(Server::Cdn) > 4 * MIB);
    run.signal(Signal::ABORT);
    let run = run.finish();
    assert_eq!((run.status, run.dumped_core), (None, false));
}

#[test]
fn a_token_that_is_no_token_is_refused_before_any_request() {
    let hub = hub(&model(1, 1));
    let dir = TestDir::new();
    for token in ["hf_a\nhf_b", "hf_a b", "hf_ä", "hf_\u{7f}"] {
        dir.fetch(&hub, [REPO, FILE])
            .env("HF_TOKEN", token)
            .run()
            .exits(2)
            .says("the token from HF_TOKEN holds")
            .does_not_say(token);
    }
    assert!(hub.requests().is_empty());
}

#[test]
fn a_token_does_not_travel_unencrypted_to_another_machine() {
    let hub = hub(&model(1, 1));
    let dir = TestDir::new();
    dir.fetch(&hub, [REPO, FILE, "--endpoint", "http://mirror.example"])
        .env("HF_TOKEN", TOKEN)
        .run()
        .exits(2)
        .says("refusing to send a token to http://mirror.example over plain http")
        .says("--insecure-token");
}

#[test]
fn a_mirror_helps_out_and_does_not_see_the_token() {
    let model = model(1, 4);
    let repo = || Repo::model(REPO).lfs(FILE, model.clone());
    let troubles: [fn(&FakeHub); 5] = [
        |hub| hub.down(Server::Hub),
        |hub| drop(hub.fault(Rule::hub().always().then(Fault::status(500)))),
        |hub| drop(hub.fault(Rule::hub().always().then(Fault::garbage()))),
        |hub| drop(hub.fault(Rule::hub().always().then(Fault::html(200)))),
        |hub| drop(hub.fault(Rule::hub().always().then(Fault::NoAnswer(fake_hub::Ending::Reset)))),
    ];
    let mirror = built(FakeHub::builder().repo(repo()));
    for make_trouble in troubles {
        let first = built(FakeHub::builder().repo(repo()).token(TOKEN));
        make_trouble(&first);
        let dir = TestDir::new();
        dir.fetch(&first, [REPO, FILE, "--endpoint", &first.endpoint(), "--endpoint", &mirror.endpoint()])
            .env("HF_TOKEN", TOKEN)
            .run()
            .succeeds();
        dir.assert_done(FILE, &model);
        assert!(first.requests().iter().all(|request| request.authorization().is_some()));
    }
    assert!(mirror.requests().len() > 5);
    assert!(mirror.requests().iter().all(|request| request.authorization().is_none()));
}

#[test]
fn a_mirror_gets_the_token_when_it_is_named_for_it() {
    let payload = model(1, 1);
    let private = || FakeHub::builder().repo(Repo::model(REPO).lfs(FILE, payload.clone()).private(&[TOKEN]));
    let [first, mirror] = [built(FakeHub::builder()), built(private())];
    first.fault(Rule::hub().always().then(Fault::status(503)));
    let dir = TestDir::new();
    dir.fetch(&first, [REPO, FILE, "--endpoint", &first.endpoint(), "--endpoint", &mirror.endpoint()])
        .args(["--token-endpoint", &mirror.endpoint()])
        .env("HF_TOKEN", TOKEN)
        .run()
        .succeeds();
    dir.assert_done(FILE, &payload);
    assert!(first.requests().iter().all(|request| request.authorization().is_none()));
    assert!(mirror.requests_to(Server::Hub).iter().all(|request| request.authorization().is_some()));
    assert!(mirror.requests_to(Server::Cdn).iter().all(|request| request.authorization().is_none()));
}

#[test]
fn a_mirror_helps_out_when_the_bytes_do_not_come() {
    let model = model(1, 8);
    let [first, mirror] = [hub(&model), hub(&model)];
    first.down(Server::Cdn);
    let dir = TestDir::new();
    dir.fetch(&first, [REPO, FILE, "--endpoint", &first.endpoint(), "--endpoint", &mirror.endpoint()])
        .run()
        .succeeds();
    dir.assert_done(FILE, &model);
    assert!(mirror.bytes_sent(Server::Cdn) >= model.size());
}

#[test]
fn a_mirror_with_other_content_is_caught_by_the_pin() {
    let (right, wrong) = (model(1, 1), model(2, 1));
    let [first, mirror] = [hub(&right), hub(&wrong)];
    first.down(Server::Hub);
    let dir = TestDir::new();
    dir.fetch(&first, [REPO, FILE, "--endpoint", &first.endpoint(), "--endpoint", &mirror.endpoint()])
        .args(["--sha256", right.sha256()])
        .run()
        .exits(12);
    assert_eq!(mirror.bytes_sent(Server::Cdn), 0);
    dir.assert_absent(FILE);
}

#[test]
fn a_no_from_the_hub_is_final_even_with_a_mirror() {
    let payload = Payload::random(1, 10);
    let first = built(FakeHub::builder().repo(Repo::model(REPO).lfs(FILE, payload).gated(&[TOKEN])));
    let mirror = hub(&model(1, 1));
    let dir = TestDir::new();
    dir.fetch(&first, [REPO, FILE, "--endpoint", &first.endpoint(), "--endpoint", &mirror.endpoint()])
        .run()
        .exits(10);
    assert!(mirror.requests().is_empty());
}
