//! Several endpoints, and what one of them wants to know of its user.

use std::fs;

use fake_hub::{FakeHub, Reply, Repo, Rule, Server};

use crate::support::secret::TOKEN;
use crate::support::{FILE, REPO, TestDir, built, hub, model};

#[test]
fn what_one_endpoint_lacks_is_asked_of_the_next_one() {
    let model = model(1, 1);
    let empty = built(FakeHub::builder().repo(Repo::model("owner/other").lfs("x.gguf", model.clone())));
    let old = built(FakeHub::builder().repo(Repo::model(REPO).small("README.md", "old")));
    let full = hub(&model);
    for lacking in [&empty, &old] {
        let dir = TestDir::new();
        let endpoints = [REPO, FILE, "--endpoint", &lacking.endpoint(), "--endpoint", &full.endpoint()];
        dir.fetch(&full, endpoints).run().succeeds();
        dir.assert_done(FILE, &model);
    }
    let dir = TestDir::new();
    dir.fetch(&full, [REPO, "*.gguf", "--endpoint", &empty.endpoint(), "--endpoint", &full.endpoint()])
        .run()
        .succeeds();
    dir.assert_done(FILE, &model);
    // Where nobody has it, the first one's word counts.
    let dir = TestDir::new();
    dir.fetch(&full, [REPO, "no.gguf", "--endpoint", &empty.endpoint(), "--endpoint", &full.endpoint()])
        .run()
        .exits(11)
        .says("repository `owner/name` not found")
        .at_once();
}

const LOGIN: &str = "Basic dXNlcjpwYXNz";

/// A mirror that lets nobody in without user name and password.
fn locked(hub: &FakeHub) {
    hub.on(Rule::hub().always(), |request, reply| {
        if request.header("authorization") != Some(LOGIN) {
            *reply = Reply::new(401).header("WWW-Authenticate", "Basic realm=\"Artifacts\"");
        }
    });
}

#[test]
fn a_mirror_gets_the_login_of_its_address_or_of_netrc_and_nobody_else_does() {
    let model = model(1, 1);
    let hub = hub(&model);
    locked(&hub);
    let with_login = hub.endpoint().replace("http://", "http://user:pass@");
    let dir = TestDir::new();
    dir.fetch(&hub, [REPO, FILE, "--endpoint", &with_login]).run().succeeds();
    dir.assert_done(FILE, &model);
    for name in ["home/.netrc", "elsewhere"] {
        let dir = TestDir::new();
        fs::write(dir.path().join(name), "machine 127.0.0.1 login user password pass\n").expect("a file");
        let fetch = dir.fetch(&hub, [REPO, FILE]);
        let fetch = if name == "elsewhere" { fetch.env("NETRC", dir.path().join(name)) } else { fetch };
        fetch.run().succeeds();
        dir.assert_done(FILE, &model);
    }
    let sent = hub.requests();
    let to = |server| sent.iter().filter(move |record| record.server == server);
    assert!(to(Server::Hub).all(|record| record.authorization() == Some(LOGIN)));
    assert!(to(Server::Cdn).all(|record| record.authorization().is_none()));
}

#[test]
fn a_mirror_that_wants_a_login_is_told_as_such() {
    let hub = hub(&model(1, 1));
    locked(&hub);
    let dir = TestDir::new();
    dir.fetch(&hub, [REPO, FILE]).run().exits(10).says("WWW-Authenticate: Basic").says(".netrc");
}

#[test]
fn a_password_does_not_travel_in_the_clear() {
    let dir = TestDir::new();
    dir.command(["fetch", REPO, FILE, "--endpoint", "http://user:pass@mirror.example"])
        .run()
        .exits(2)
        .says("refusing to send a password to http://mirror.example over plain http")
        .does_not_say("pass@");
    dir.command(["fetch", REPO, FILE, "--endpoint", "http://user:pass@localhost:9"])
        .env("HTTP_PROXY", "http://127.0.0.1:9")
        .run()
        .exits(2)
        .says("through the proxy");
}

#[test]
fn netrc_says_nothing_to_whom_the_token_is_for() {
    let model = model(1, 1);
    let hub = built(FakeHub::builder().repo(Repo::model(REPO).lfs(FILE, model).private(&[TOKEN])));
    let dir = TestDir::new();
    fs::write(dir.path().join("home/.netrc"), "machine 127.0.0.1 login user password pass\n")
        .expect("a file");
    dir.fetch(&hub, [REPO, FILE]).env("HF_TOKEN", TOKEN).run().succeeds();
}

#[test]
fn the_password_of_a_pasted_address_opens_its_host_and_no_other() {
    let model = model(1, 1);
    let hub = hub(&model);
    locked(&hub);
    let host = hub.endpoint().replace("http://", "");
    let address = format!("http://user:pass@{host}/{REPO}/resolve/main/{FILE}");
    let dir = TestDir::new();
    dir.command(["fetch", &address, "--dir", "m"]).run().succeeds().does_not_say("pass@");
    assert_eq!(fs::read(dir.path().join("m").join(FILE)).expect("the file"), model.to_vec());

    let other = crate::support::hub(&model);
    let run =
        dir.command(["fetch", &address, "--dir", "n", "--endpoint", &other.endpoint()]).run().succeeds();
    run.says(&format!(
        "the user name and password in the address are those of http://{host}, which is not asked"
    ));
    assert!(other.requests().iter().all(|request| request.authorization().is_none()));
    // Nobody else may read it on the way.
    dir.command(["fetch", "http://user:pass@hub.example/o/n"])
        .run()
        .exits(2)
        .says("refusing to send a password");
}
