//! `smoke`: in seconds and a few MB, whether a fetch would work.

use fake_hub::{Certificate, FakeHub, Fault, Payload, Reply, Repo, Rule, Server};

use crate::support::names::{self, Answer, Dns};
use crate::support::proxy::Proxy;
use crate::support::volume::Volume;
use crate::support::{FILE, MIB, REPO, TestDir, built, hub, model};

#[test]
fn it_passes_with_a_few_megabytes_and_publishes_nothing() {
    let model = model(1, 64);
    let hub = hub(&model);
    let dir = TestDir::new();
    let run =
        dir.job("smoke", &hub, [REPO, FILE, "--sha256", model.sha256(), "--json"]).run().succeeds().at_once();
    let json = run.json();
    let checks = json["smoke"]["checks"].as_array().expect("checks");
    let names: Vec<_> = checks.iter().map(|check| check["name"].as_str().expect("a name")).collect();
    for part in [
        "owner/name at main",
        "pin of",
        "range at the start",
        "GGUF header",
        "middle",
        "end",
        "room in",
        "write",
    ] {
        assert!(names.iter().any(|name| name.contains(part)), "{part:?} is not in {names:?}");
    }
    assert!(hub.bytes_sent(Server::Cdn) < 3 * MIB, "{} bytes", hub.bytes_sent(Server::Cdn));
    dir.assert_absent(FILE);
    dir.assert_no_leftovers();
    dir.job("smoke", &hub, [REPO, FILE]).run().succeeds().prints("a fetch would work");
}

#[test]
fn it_tells_the_way_to_the_hub_and_what_answers_there() {
    let hub = hub(&model(1, 1));
    let dir = TestDir::new();
    let localhost = hub.endpoint().replace("127.0.0.1", "localhost");
    let smoke = |endpoint: &str| dir.job("smoke", &hub, [REPO, FILE, "--endpoint", endpoint]);
    smoke(&localhost)
        .run()
        .succeeds()
        .prints("directly, to 127.0.0.1")
        .prints(" ms)")
        .prints("answers like a Hub, to anybody");
    let proxy = Proxy::start();
    let run = smoke(&hub.endpoint()).env("HTTP_PROXY", proxy.url()).run().succeeds();
    run.prints(&format!("through the proxy {} of HTTP_PROXY", proxy.url().replace("http://", "")));
    let other = TestDir::new();
    let repo = Repo::model(REPO).lfs(FILE, model(1, 1));
    let safe = built(FakeHub::builder().repo(repo).token("hf_any").tls(other.path().join("tls")));
    let run = other.job("smoke", &safe, [REPO, FILE]).env("SSL_CERT_FILE", safe.ca_file().expect("TLS"));
    run.env("HF_TOKEN", "hf_any")
        .run()
        .succeeds()
        .prints("it is of an authority that is trusted")
        .prints("to the token from HF_TOKEN");
}

#[test]
fn it_tells_who_knows_the_name_and_what_kind_of_mirror_answers() {
    let model = model(1, 1);
    let dir = TestDir::new();
    let hub = hub(&model);
    let smoke = |fault: Fault| {
        hub.clear_faults();
        hub.fault(Rule::resolve().always().then(fault));
        let run = dir.job("smoke", &hub, [REPO, FILE, "--sha256", model.sha256(), "--json"]).run().succeeds();
        let checks = run.json()["smoke"]["checks"].clone();
        let answers = |check: &serde_json::Value| {
            check["name"].as_str().is_some_and(|name| name.starts_with("answers of"))
        };
        let checks: Vec<_> =
            checks.as_array().expect("checks").iter().filter(|check| answers(check)).cloned().collect();
        assert_eq!(checks.len(), 1, "{checks:?}");
        checks[0]["seen"].as_str().expect("words").to_owned()
    };
    assert_eq!(smoke(Fault::All(vec![])), "commit, digest and size are in the headers, as in the Hub's");
    let without = ["X-Repo-Commit", "X-Linked-ETag"].map(Fault::without_header).into();
    let seen = smoke(Fault::All(without));
    assert!(seen.starts_with("without X-Repo-Commit, X-Linked-ETag, "), "{seen}");
    hub.clear_faults();
    hub.fault(Rule::resolve().method("HEAD").always().then(Fault::Reply(Reply::new(405))));
    dir.job("smoke", &hub, [REPO, FILE]).run().succeeds().prints("; HEAD is refused, so that GET is asked");
    hub.clear_faults();
    if names::can_be_set() {
        let named = hub.endpoint().replace("127.0.0.1", "hub.test");
        let run = dir.job("smoke", &hub, [REPO, FILE, "--endpoint", &named]);
        run.with_names(&dir, "127.0.0.1 hub.test\n", "")
            .run()
            .succeeds()
            .prints("to 127.0.0.1 (by /etc/hosts, in ");
        let dns = Dns::start(
            |_, kind| if kind == 1 { Answer::Address([127, 0, 0, 1].into()) } else { Answer::Empty },
        );
        let run = dir.job("smoke", &hub, [REPO, FILE, "--endpoint", &named]);
        let run = run.with_names(&dir, "", &dns.resolv_conf()).run().succeeds();
        run.prints(&format!(
            "(by DNS, of {}, in ",
            dns.resolv_conf().split([' ', '\n']).nth(1).expect("an address")
        ));
    }
}

#[test]
fn it_tells_how_long_the_certificates_are_good() {
    for certificate in [Certificate::Sound, Certificate::RunsOut] {
        let dir = TestDir::new();
        let repo = Repo::model(REPO).lfs(FILE, model(1, 1));
        let builder = FakeHub::builder().repo(repo).tls(dir.path().join("tls")).certificate(certificate);
        let hub = built(builder);
        let run = dir.job("smoke", &hub, [REPO, FILE]).env("SSL_CERT_FILE", hub.ca_file().expect("TLS"));
        let run = run.run().succeeds().prints("certificate of 127.0.0.1: it is of an authority that is trusted, fake-hub test authority, and runs out in ");
        // Less than ten days, by some milliseconds or by a day.
        let warned = ["9 days", "10 days"].iter().any(|days| {
            run.stderr.contains(&format!("warning: the certificate of 127.0.0.1 runs out in {days}"))
        });
        assert_eq!(warned, certificate == Certificate::RunsOut, "{}", run.stderr);
    }
}

#[test]
fn what_is_wrong_has_the_number_a_fetch_would_have() {
    let payload = model(1, 8);
    let hub = built(
        FakeHub::builder()
            .repo(Repo::model(REPO).lfs(FILE, payload))
            .repo(Repo::model("owner/gated").lfs(FILE, model(1, 1)).gated(&["hf_right"]))
            .repo(Repo::model("owner/text").lfs(FILE, Payload::bytes("no model".repeat(1000)))),
    );
    let dir = TestDir::new();
    let smoke = |arguments: &[&str]| dir.job("smoke", &hub, arguments.iter().copied());
    smoke(&[REPO, "missing.gguf"]).run().exits(11).says("file `missing.gguf` not found");
    smoke(&["owner/missing", FILE]).run().exits(11);
    smoke(&["owner/name@v9", FILE]).run().exits(11);
    smoke(&["owner/gated", FILE]).run().exits(10).says("accept the conditions at");
    smoke(&[REPO, FILE]).env("HF_TOKEN", "hf_wrong").run().exits(10).says("Invalid credentials");
    smoke(&[REPO, FILE, "--sha256", model(2, 8).sha256()]).run().exits(12);
    smoke(&["owner/text", FILE]).run().exits(20).says("is not a valid GGUF file");
    smoke(&[REPO, FILE, "--offline"]).run().exits(32);
    smoke(&["owner/gated", FILE]).env("HF_TOKEN", "hf_right").run().succeeds();
}

#[test]
fn a_server_without_ranges_or_without_bytes_is_found_out() {
    let hub = built(FakeHub::builder().without_ranges().repo(Repo::model(REPO).lfs(FILE, model(1, 32))));
    let dir = TestDir::new();
    dir.job("smoke", &hub, [REPO, FILE, "--give-up-after", "1s"])
        .run()
        .exits(30)
        .says("the whole file instead of a range")
        .at_once();
    let hub = crate::support::hub(&model(1, 32));
    hub.fault(Rule::cdn().always().then(Fault::html(403)));
    dir.job("smoke", &hub, [REPO, FILE]).run().exits(30).says("Access denied.").at_once();
    hub.down(Server::Cdn);
    dir.job("smoke", &hub, [REPO, FILE, "--give-up-after", "1s"]).run().exits(30).at_once();
}

#[test]
fn a_single_failure_does_not_fail_the_pipeline() {
    let hub = hub(&model(1, 8));
    hub.fault(Rule::cdn().nth(2).then(Fault::status(503)));
    hub.fault(Rule::resolve().then(Fault::status(502)));
    TestDir::new().job("smoke", &hub, [REPO, FILE]).run().succeeds().says("retry");
}

#[test]
fn a_target_without_room_or_right_is_found_out() {
    let Some(volume) = Volume::of_mib(8) else { return };
    let hub = hub(&model(1, 16));
    let dir = TestDir::with_models(volume.path());
    dir.job("smoke", &hub, [REPO, FILE]).run().exits(21).says("not enough space");
    volume.set_read_only(true);
    let small = crate::support::hub(&model(1, 1));
    dir.job("smoke", &small, [REPO, FILE]).run().exits(22).says("mounted read-only");
}
