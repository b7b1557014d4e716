//! Mirrors and edges that send a question elsewhere.

use std::sync::atomic::{AtomicU64, Ordering};

use fake_hub::{Certificate, FakeHub, Reply, Repo, Rule, Server};

use crate::support::proxy::Proxy;
use crate::support::secret::TOKEN;
use crate::support::{FILE, REPO, TestDir, built, hub, model};

/// A mirror that answers everything with a redirect to the same place elsewhere.
fn leading_to(base: String, status: u16) -> FakeHub {
    let mirror = built(FakeHub::builder());
    mirror.on(Rule::hub().always(), move |request, reply| {
        *reply = Reply::new(status).header("Location", format!("{base}{}", request.target));
    });
    mirror
}

#[test]
fn a_mirror_may_leave_its_questions_to_the_hub_and_the_token_stays_at_home() {
    let model = model(1, 1);
    let repo = Repo::model(REPO).lfs(FILE, model.clone()).small("a.json", "{}").small("b.json", "[]");
    let real = built(FakeHub::builder().page_size(1).repo(repo));
    for status in [301, 302, 307, 308] {
        let mirror = leading_to(real.endpoint(), status);
        for selection in [FILE, "*.gguf", "a.json"] {
            let dir = TestDir::new();
            dir.fetch(&mirror, [REPO, selection]).env("HF_TOKEN", TOKEN).run().succeeds();
        }
        assert!(mirror.requests().iter().all(|request| request.authorization().is_some()));
    }
    assert!(real.requests().iter().all(|request| request.authorization().is_none()));
}

#[test]
fn a_mirror_may_lead_to_its_own_https() {
    let model = model(1, 1);
    let dir = TestDir::new();
    let repo = Repo::model(REPO).lfs(FILE, model.clone());
    let safe =
        built(FakeHub::builder().repo(repo).tls(dir.path().join("tls")).certificate(Certificate::Sound));
    let plain = leading_to(safe.endpoint(), 301);
    for selection in [FILE, "*.gguf"] {
        let dir = TestDir::new();
        let fetch = dir.fetch(&plain, [REPO, selection]).env("SSL_CERT_FILE", safe.ca_file().expect("TLS"));
        fetch.run().succeeds();
        dir.assert_done(FILE, &model);
    }
}

#[test]
fn a_repository_that_was_renamed_is_found_below_a_path_and_its_new_name_is_told() {
    let model = model(1, 1);
    let hub = hub(&model);
    hub.rename(REPO, "new-owner/new-name");
    let mirror = Proxy::below("/artifacts/hub", &hub.endpoint());
    for endpoint in [hub.endpoint(), mirror.url() + "/artifacts/hub"] {
        for selection in [FILE, "*.gguf"] {
            let dir = TestDir::new();
            let run = dir.fetch(&hub, [REPO, selection, "--endpoint", &endpoint]).run().succeeds();
            let told = run.stderr.matches("`owner/name` is called `new-owner/new-name` now").count();
            assert_eq!(told, 1, "{}", run.stderr);
            dir.assert_done(FILE, &model);
        }
    }
}

#[test]
fn a_cdn_that_leads_on_and_on_is_left_soon() {
    let hub = hub(&model(1, 64));
    let step = AtomicU64::new(0);
    let base = hub.cdn_url();
    hub.on(Rule::cdn().always(), move |_, reply| {
        let step = step.fetch_add(1, Ordering::Relaxed);
        *reply = Reply::new(302).header("Location", format!("{base}/again?step={step}"));
    });
    let dir = TestDir::new();
    dir.fetch(&hub, [REPO, FILE]).run().exits(30).says("more than 5 redirects").at_once();
    let requests = hub.requests_to(Server::Cdn).len();
    assert!(requests < 100, "{requests} requests");
}
