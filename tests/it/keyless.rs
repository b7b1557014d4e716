//! No token is stored: the Hub gives one for an identity token, as often as one is needed.

use std::fs;
use std::path::Path;
use std::time::Duration;

use fake_hub::{FakeHub, Fault, IdToken, Publisher, Record, Reply, Repo, Rule, Server};

use crate::support::command::Modelfetch;
use crate::support::secret::{TOKEN, assert_no_secret};
use crate::support::{FILE, MIB, REPO, TestDir, built, model};

const USER: &str = "fetcher";

fn publisher() -> Publisher {
    Publisher::user(USER, TOKEN)
}

/// A Hub with a gated repository that this publisher may read.
fn gated(publisher: Publisher) -> FakeHub {
    let repo = Repo::model(REPO).lfs(FILE, model(1, 4)).small("config.json", "{}").gated(&[TOKEN]);
    built(FakeHub::builder().repo(repo).publisher(publisher))
}

fn fetch(dir: &TestDir, hub: &FakeHub, id_token: &str) -> Modelfetch {
    dir.fetch(hub, [REPO, FILE]).env("HF_OIDC_RESOURCE", USER).env("HF_OIDC_ID_TOKEN", id_token)
}

fn exchanges(hub: &FakeHub) -> Vec<Record> {
    let requests = hub.requests_to(Server::Hub).into_iter();
    requests.filter(|record| record.request.path() == "/oauth/token").collect()
}

#[test]
fn a_gated_repository_is_read_with_an_identity_alone() {
    let hub = gated(publisher());
    let dir = TestDir::new();
    let id_token = publisher().id_token().sign();
    let message = dir.path().join("termination-log");
    let run = fetch(&dir, &hub, &id_token)
        .args(["--json", "--verbose", "--progress", "json", "--termination-message"])
        .arg(&message);
    let run = run.run().succeeds();
    dir.assert_published(FILE, &model(1, 4));

    let asked = exchanges(&hub);
    assert_eq!(asked.len(), 1, "one access token is enough for a run");
    let form: serde_json::Value = serde_json::from_slice(&asked[0].request.body).expect("JSON");
    assert_eq!(
        form,
        serde_json::json!({
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token_type": "urn:ietf:params:oauth:token-type:id_token",
            "subject_token": id_token,
            "resource": USER,
        })
    );
    assert_eq!(asked[0].authorization(), None, "the identity token is all that is shown");
    for record in hub.requests() {
        let is_with_token = record.server == Server::Hub && record.request.path() != "/oauth/token";
        assert_eq!(record.authorization().is_some(), is_with_token, "{}", record.request.target);
    }
    let message = fs::read_to_string(message).expect("last words");
    let text = [run.stdout, run.stderr, message, dir.all_text()].concat();
    assert_no_secret(&text);
    assert!(!text.contains(&id_token) && !text.contains("hf_oauth"), "{text}");
}

#[test]
fn a_long_run_exchanges_again_before_its_token_runs_out() {
    let publisher = Publisher { expires_in: 3, lifetime: Duration::from_secs(3), ..publisher() };
    let id_token = publisher.id_token().sign();
    let repo = Repo::model(REPO).lfs(FILE, model(1, 24)).gated(&[TOKEN]);
    let hub = built(
        FakeHub::builder()
            .repo(repo)
            .publisher(publisher)
            .rate_per_connection(3_000_000)
            // Each place of the bytes is good for so long, and the next one is asked for with a token.
            .lifetime(Duration::from_secs(1)),
    );
    let dir = TestDir::new();
    fetch(&dir, &hub, &id_token).args(["--connections", "1"]).run().succeeds();
    dir.assert_done(FILE, &model(1, 24));
    assert!(exchanges(&hub).len() > 2, "in eight seconds: {}", exchanges(&hub).len());
    let refused = hub.requests_to(Server::Hub).into_iter().filter(|record| record.status == 401).count();
    assert_eq!(refused, 0, "none had run out");
}

#[test]
fn a_token_that_runs_out_early_is_exchanged_for_another_one() {
    let publisher = Publisher { lifetime: Duration::from_secs(2), ..publisher() };
    let id_token = publisher.id_token().sign();
    let repo = Repo::model(REPO).lfs(FILE, model(1, 18)).gated(&[TOKEN]);
    let builder = FakeHub::builder().repo(repo).publisher(publisher);
    let hub = built(builder.rate_per_connection(3_000_000).lifetime(Duration::from_secs(1)));
    let dir = TestDir::new();
    fetch(&dir, &hub, &id_token).args(["--connections", "1"]).run().succeeds();
    dir.assert_done(FILE, &model(1, 18));
    assert!(exchanges(&hub).len() > 1);
}

#[test]
fn a_token_that_was_never_good_is_refused_once() {
    let hub = gated(Publisher { lifetime: Duration::ZERO, ..publisher() });
    let dir = TestDir::new();
    fetch(&dir, &hub, &publisher().id_token().sign())
        .run()
        .exits(10)
        .says("the exchange of HF_OIDC_ID_TOKEN for `fetcher`");
    assert_eq!(exchanges(&hub).len(), 1);
}

fn with_file(dir: &TestDir, hub: &FakeHub, file: &Path) -> Modelfetch {
    let named = format!("--id-token-file={}", file.display());
    dir.fetch(hub, [REPO, FILE, "--connections", "1", &named]).env("HF_OIDC_RESOURCE", USER)
}

#[test]
fn a_file_that_is_renewed_meanwhile_is_read_again() {
    let publisher = Publisher { expires_in: 2, lifetime: Duration::from_secs(2), ..publisher() };
    let repo = Repo::model(REPO).lfs(FILE, model(1, 24)).gated(&[TOKEN]);
    let builder = FakeHub::builder().repo(repo).publisher(publisher.clone());
    let hub = built(builder.rate_per_connection(3_000_000).lifetime(Duration::from_secs(1)));
    let dir = TestDir::new();
    let file = dir.path().join("token");
    let first = IdToken { issuer: "https://before.example".into(), ..publisher.id_token() };
    fs::write(&file, first.sign()).expect("a token");
    let mut run = with_file(&dir, &hub, &file).start();
    run.wait_until("bytes", |_| hub.bytes_sent(Server::Cdn) > MIB);
    fs::write(&file, publisher.id_token().sign() + "\n").expect("another token");
    run.finish().succeeds();
    dir.assert_done(FILE, &model(1, 24));
    let tokens: std::collections::BTreeSet<_> =
        exchanges(&hub).into_iter().map(|record| record.request.body).collect();
    assert_eq!(tokens.len(), 2);
}

#[test]
fn a_refused_exchange_says_what_the_token_says_and_exits_10() {
    let good = publisher().id_token();
    let cut = good.sign().rsplit_once('.').map(|(signed, _)| format!("{signed}.AAAA")).expect("a signature");
    for (id_token, words) in [
        (
            IdToken { audience: "https://other.example".into(), ..good.clone() }.sign(),
            "Audience check failed",
        ),
        (IdToken { subject: "somebody".into(), ..good.clone() }.sign(), "subject `somebody`"),
        (IdToken { lifetime: -90, ..good.clone() }.sign(), "that it ran out 1 min 3"),
        (cut, "Signature check failed"),
    ] {
        let hub = gated(publisher());
        let dir = TestDir::new();
        let run = fetch(&dir, &hub, &id_token).run().exits(10);
        let run = run
            .says("gives no access token for `fetcher` in exchange for the id token from HF_OIDC_ID_TOKEN");
        let run = run.says("invalid_grant: ").says("issuer `https://kubernetes.default.svc`").says(words);
        run.says("request id").does_not_say(&id_token);
        assert_eq!(exchanges(&hub).len(), 1, "nobody asks again for what was refused");
        assert_eq!(hub.requests().len(), 1, "nothing is asked without the token that is wanted");
    }
}

#[test]
fn another_resource_and_an_endpoint_without_tokens_are_told() {
    let id_token = publisher().id_token().sign();
    let dir = TestDir::new();
    fetch(&dir, &gated(publisher()), &id_token)
        .env("HF_OIDC_RESOURCE", "datasets/o/n")
        .run()
        .exits(10)
        .says("Repo or user not found")
        .says("in the settings of that repository");
    let mirror = gated(publisher());
    let gone = Fault::Reply(Reply::new(404).body(&b"nothing here"[..]));
    mirror.fault(Rule::hub().path_contains("/oauth/").always().then(gone));
    fetch(&dir, &mirror, &id_token).run().exits(10).says("404").says("asked at /oauth/token");
}

#[test]
fn trouble_at_the_exchange_is_trouble_of_the_network() {
    let id_token = publisher().id_token().sign();
    let dir = TestDir::new();
    let hub = gated(publisher());
    hub.fault(Rule::hub().path_contains("/oauth/").nth(1).then(Fault::status(503)));
    fetch(&dir, &hub, &id_token).run().succeeds();
    for (fault, words) in [(Fault::status(500), "500"), (Fault::html(200), "no access token")] {
        let hub = gated(publisher());
        hub.fault(Rule::hub().path_contains("/oauth/").always().then(fault));
        let dir = TestDir::new();
        fetch(&dir, &hub, &id_token).args(["--give-up-after", "1s"]).run().exits(30).says(words);
    }
    let hub = gated(publisher());
    hub.fault(
        Rule::hub().path_contains("/oauth/").always().then(Fault::redirect("https://elsewhere.example/")),
    );
    let run = fetch(&TestDir::new(), &hub, &id_token).run().exits(10).says("302");
    assert!(!run.stderr.contains("elsewhere"), "the identity goes nowhere else: {}", run.stderr);
}

#[test]
fn files_that_are_there_will_do_when_the_exchange_is_refused() {
    let hub = gated(publisher());
    let dir = TestDir::new();
    fetch(&dir, &hub, &publisher().id_token().sign()).run().succeeds();
    let old = IdToken { lifetime: -90, ..publisher().id_token() }.sign();
    fetch(&dir, &hub, &old).run().succeeds().says("gives no access token").says("verified earlier");
    fetch(&dir, &hub, &old).args(["--require-fresh"]).run().exits(10);
    hub.clear();
    fetch(&dir, &hub, &old).args(["--offline"]).run().succeeds();
    assert!(hub.requests().is_empty());
}

#[test]
fn a_mirror_sees_neither_the_identity_nor_the_token() {
    let first = gated(publisher());
    let mirror = built(FakeHub::builder().repo(Repo::model(REPO).lfs(FILE, model(1, 4))));
    first.fault(Rule::hub().path_contains("/owner/").always().then(Fault::status(500)));
    let dir = TestDir::new();
    fetch(&dir, &first, &publisher().id_token().sign())
        .args(["--endpoint", &first.endpoint(), "--endpoint", &mirror.endpoint()])
        .run()
        .succeeds();
    assert!(mirror.requests().iter().all(|record| record.authorization().is_none()));
    assert!(exchanges(&mirror).is_empty());
}

#[test]
fn all_models_of_a_manifest_share_one_access_token() {
    let hub = gated(publisher());
    let dir = TestDir::new();
    let text = format!(
        "[[model]]\nname = \"a\"\nrepo = \"{REPO}\"\nfiles = [\"{FILE}\"]\n\n[[model]]\nname = \"b\"\nrepo = \"{REPO}\"\nfiles = [\"config.json\"]\n"
    );
    fs::write(dir.path().join("models.toml"), text).expect("a manifest");
    let with = |command: Modelfetch| {
        let command = command.env("HF_ENDPOINT", hub.endpoint()).env("HF_OIDC_RESOURCE", USER);
        command.env("HF_OIDC_ID_TOKEN", publisher().id_token().sign())
    };
    with(dir.command(["lock"])).run().succeeds();
    with(dir.command(["fetch", "--manifest", "models.toml", "--locked", "--dir", "models"])).run().succeeds();
    assert_eq!(exchanges(&hub).len(), 2, "one each");
    hub.clear();
    with(dir.command(["fetch", "--manifest", "models.toml", "--locked", "--dir", "models"])).run().succeeds();
    assert!(hub.requests().is_empty(), "who has nothing to ask needs no token");
}

#[test]
fn what_can_be_no_identity_is_refused_before_any_request() {
    let hub = gated(publisher());
    let dir = TestDir::new();
    let base = || dir.fetch(&hub, [REPO, FILE]);
    let good = publisher().id_token().sign();
    for (id_token, words) in [
        (TOKEN, "belongs into HF_TOKEN"),
        ("abc", "no JSON Web Token"),
        ("a.b", "no JSON Web Token"),
        ("a..b", "no JSON Web Token"),
        ("a.b c.d", "line break, space"),
        ("a.b.\u{e4}", "line break, space"),
    ] {
        let run = base().env("HF_OIDC_RESOURCE", USER).env("HF_OIDC_ID_TOKEN", id_token);
        run.run().exits(2).says(words).does_not_say(id_token);
    }
    for resource in ["a b", "https://huggingface.co/me", "a/b/c/d", "/a", "a//b", "a?b"] {
        let run = base().env("HF_OIDC_RESOURCE", resource).env("HF_OIDC_ID_TOKEN", &good);
        run.run().exits(2).says("HF_OIDC_RESOURCE").says("expected a user's name");
    }
    base().env("HF_OIDC_RESOURCE", USER).run().exits(2).says("there is no id token").says("--id-token-file");
    base().args(["--id-token-file", "x"]).run().exits(2).says("set HF_OIDC_RESOURCE too");
    base()
        .args(["--id-token-file", "x", "--token-file", "y"])
        .env("HF_OIDC_RESOURCE", USER)
        .run()
        .exits(2)
        .says("--token-file and --id-token-file");
    let empty = dir.path().join("empty");
    fs::write(&empty, "\n").expect("a file");
    for (file, words) in [(empty, "holds nothing"), (dir.path().join("none"), "No such file")] {
        with_file(&dir, &hub, &file).run().exits(2).says("id token").says(words);
    }
    assert!(hub.requests().is_empty());
    dir.fetch(&hub, [REPO, FILE, "--endpoint", "http://mirror.example"])
        .env("HF_OIDC_RESOURCE", USER)
        .env("HF_OIDC_ID_TOKEN", &good)
        .run()
        .exits(2)
        .says("refusing to send a token to http://mirror.example");
}

#[test]
fn an_identity_comes_before_a_token_and_after_a_token_file() {
    let hub = gated(publisher());
    let dir = TestDir::new();
    let stored = dir.path().join("stored");
    fs::write(&stored, TOKEN).expect("a token");
    let id_token = publisher().id_token().sign();
    let plan = || {
        let plan = dir.job("plan", &hub, [REPO, FILE]);
        plan.env("HF_OIDC_RESOURCE", USER).env("HF_OIDC_ID_TOKEN", &id_token)
    };
    plan().env("HF_TOKEN", "hf_other").run().succeeds();
    assert_eq!(exchanges(&hub).len(), 1);
    hub.clear();
    plan().arg("--token-file").arg(&stored).run().succeeds();
    assert!(exchanges(&hub).is_empty());
    plan().env("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1").run().exits(10).says("is gated");
    assert!(exchanges(&hub).is_empty());
}

#[test]
fn a_server_that_repeats_the_tokens_does_not_put_them_into_a_log() {
    let id_token = publisher().id_token().sign();
    for status in [400, 404, 418, 500] {
        let hub = gated(publisher());
        hub.on(Rule::hub().always(), move |request, reply| {
            let is_exchange = request.path() == "/oauth/token";
            let sent = request.header("authorization").map(str::to_owned);
            let sent = sent.unwrap_or_else(|| String::from_utf8_lossy(&request.body).into_owned());
            if !is_exchange {
                *reply = Reply::new(status).header("X-Error-Message", &sent).body(sent.into_bytes());
            }
        });
        let dir = TestDir::new();
        let run = fetch(&dir, &hub, &id_token).args(["--verbose", "--give-up-after", "1s"]).run();
        assert!(!run.stderr.contains("hf_oauth"), "{}", run.stderr);
        let hub = gated(publisher());
        hub.on(Rule::hub().path_contains("/oauth/").always(), move |request, reply| {
            *reply = Reply::new(status).body(request.body.clone());
        });
        let run = fetch(&dir, &hub, &id_token).args(["--verbose", "--give-up-after", "1s"]).run();
        assert!(!run.stderr.contains(&id_token), "{}", run.stderr);
    }
}
