//! Answers that will be the same next time are not asked for again for minutes.

use std::thread;
use std::time::Duration;

use fake_hub::{FakeHub, Fault, Reply, Repo, Rule};

use crate::support::{FILE, REPO, TestDir, built, model};

/// Long for a few attempts, short beside the five minutes after which a run gives up.
const SOON: Duration = Duration::from_secs(15);
/// Three redirect loops of 20 hops, or a few attempts of anything else.
const REQUESTS: usize = 3 * 20 + 4;

/// Each request of these meets the fault, over TLS; the run ends by itself before its patience does.
#[track_caller]
fn is_final(name: &str, rule: Rule, fault: Fault, selection: &[&str]) {
    let dir = TestDir::new();
    let repo = Repo::model(REPO).lfs(FILE, model(1, 1));
    let hub = built(FakeHub::builder().repo(repo).tls(dir.path().join("tls")));
    let hits = hub.fault(rule.always().then(fault));
    let authority = hub.ca_file().expect("TLS");
    // Each of several connections would go round its own loop.
    let fetch = dir.fetch(&hub, selection.iter().copied()).args(["--connections", "1"]);
    let fetch = fetch.env("SSL_CERT_FILE", authority);
    let run = fetch.start().finish_within(SOON);
    assert_eq!(run.status, Some(30), "{name}: {}", run.stderr);
    assert!(hits.count() > 0, "{name} was never met");
    assert!(hub.requests().len() <= REQUESTS, "{name}: {} requests", hub.requests().len());
    dir.assert_absent(FILE);
    run.says("hint:");
}

/// For the questions to the Hub and for the bytes, all at the same time.
#[track_caller]
fn is_final_everywhere(fault: &Fault) {
    let questions: [(&str, Rule, &[&str]); 3] = [
        ("HEAD", Rule::resolve(), &[REPO, FILE]),
        ("API", Rule::hub().path_contains("/api/"), &[REPO]),
        ("CDN", Rule::cdn(), &[REPO, FILE]),
    ];
    thread::scope(|scope| {
        for (name, rule, selection) in questions {
            scope.spawn(move || is_final(name, rule, fault.clone(), selection));
        }
    });
}

#[test]
fn a_redirect_from_https_to_http_is_final() {
    is_final_everywhere(&Fault::redirect("http://127.0.0.1:9/model.gguf"));
}

#[test]
fn a_redirect_to_another_scheme_is_final() {
    is_final_everywhere(&Fault::redirect("ftp://127.0.0.1/model.gguf"));
}

#[test]
fn a_redirect_loop_is_final() {
    is_final_everywhere(&Fault::RedirectLoop);
}

#[test]
fn a_list_that_is_too_long_is_final() {
    let page = Reply::new(200).header("Content-Type", "application/json").body(vec![b' '; 9 << 20]);
    is_final("list", Rule::tree(), Fault::Reply(page), &[REPO]);
}
