//! Mirrors and edges that send a question elsewhere.

use std::sync::atomic::{AtomicU64, Ordering};

use fake_hub::{Certificate, FakeHub, Payload, Reply, Repo, Rule, Server};

use crate::support::command::Modelfetch;
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

/// One machine with two ports, or two names, that only a proxy can reach.
fn behind(proxy: &Proxy, run: Modelfetch) -> Modelfetch {
    run.env("ALL_PROXY", proxy.url()).env("HF_TOKEN", TOKEN)
}

fn place(url: &str) -> String {
    url.rsplit("//").next().expect("a place").to_owned()
}

fn private() -> (FakeHub, Payload) {
    let model = model(1, 1);
    let repo = Repo::model(REPO).lfs(FILE, model.clone()).small("a.json", "{}").private(&[TOKEN]);
    // Whoever is not on this machine may not lead to it.
    (built(FakeHub::builder().repo(repo).cdn_base("http://cdn.test")), model)
}

#[test]
fn what_plain_http_is_given_its_own_https_is_given_too() {
    let model = model(1, 1);
    let folder = TestDir::new();
    let repo = Repo::model(REPO).lfs(FILE, model.clone()).small("a.json", "{}").private(&[TOKEN]);
    let safe = built(FakeHub::builder().repo(repo).tls(folder.path().join("tls")));
    let plain = leading_to("https://localhost".into(), 301);
    let names = vec![("localhost", place(&plain.endpoint())), ("localhost:443", place(&safe.endpoint()))];
    let proxy = Proxy::with_names(names);
    for selection in [FILE, "*"] {
        // By way of the token that https alone may see, and of one that plain http may see, too.
        for given in [&["--token-endpoint", "https://localhost"][..], &["--insecure-token"]] {
            plain.clear();
            let dir = TestDir::new();
            let run = dir.command(["fetch", REPO, selection, "--endpoint", "http://localhost"]).args(given);
            let run = behind(&proxy, run).env("SSL_CERT_FILE", safe.ca_file().expect("TLS"));
            run.env("NO_PROXY", "127.0.0.1").args(["--dir", "."]).run().succeeds();
            let is_told = plain.requests().iter().any(|request| request.authorization().is_some());
            assert_eq!(is_told, given.len() == 1, "{given:?}");
            assert!(dir.path().join(FILE).is_file());
        }
    }
}

#[test]
fn another_name_of_an_endpoint_gets_no_token_and_that_is_told() {
    let (hub, model) = private();
    let www = leading_to("http://hub.test".into(), 301);
    let proxy = Proxy::with_names(vec![
        ("www.hub.test", place(&www.endpoint())),
        ("hub.test", place(&hub.endpoint())),
        ("cdn.test", place(&hub.cdn_url())),
    ]);
    for selection in [FILE, "*.gguf"] {
        let dir = TestDir::new();
        let arguments = ["fetch", REPO, selection, "--insecure-token", "--endpoint", "http://www.hub.test"];
        let run = behind(&proxy, dir.command(arguments)).run().exits(11);
        run.says("the token from HF_TOKEN is not sent to http://hub.test")
            .says("no token was used")
            .at_once();
        assert!(hub.requests().iter().all(|request| request.authorization().is_none()));
        assert!(www.requests().iter().all(|request| request.authorization().is_some()));
        let run = dir.command(arguments).args(["--token-endpoint", "http://hub.test", "--dir", "m"]);
        behind(&proxy, run).run().succeeds();
        assert_eq!(std::fs::read(dir.path().join("m").join(FILE)).expect("the file"), model.to_vec());
        hub.clear();
        www.clear();
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
