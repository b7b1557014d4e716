//! What names stand for, on machines with every kind of resolver.

use std::net::Ipv4Addr;
use std::time::Duration;

use fake_hub::{FakeHub, Fault, Payload, Repo, Rule, Server};

use crate::support::command::Modelfetch;
use crate::support::names::{self, Answer, Dns};
use crate::support::{FILE, REPO, TestDir, built, hub, model};

/// Time for a small fetch that no resolver holds up; a silent one takes more.
const UNHINDERED: Duration = Duration::from_secs(5);

fn silent(_: &str, _: u16) -> Answer {
    Answer::Silence
}

/// Without a silent server it is over in a moment.
fn fetch(dir: &TestDir, hub: &FakeHub, host: &str) -> Modelfetch {
    let endpoint = hub.endpoint().replace("127.0.0.1", host);
    dir.fetch(hub, [REPO, FILE, "--endpoint", &endpoint])
}

fn setting() -> (Payload, FakeHub, TestDir) {
    let model = model(1, 1);
    let hub = hub(&model);
    (model, hub, TestDir::new())
}

#[test]
fn a_name_in_the_hosts_file_needs_no_server() {
    if !names::can_be_set() {
        return;
    }
    let (model, hub, dir) = setting();
    let dns = Dns::start(silent);
    let hosts = "127.0.0.1 hub.test # only this family\n";
    // With a search list, as in Kubernetes, where the name is not the first one to be asked for.
    let resolv_conf = dns.resolv_conf() + "search a.test b.test\noptions ndots:5\n";
    fetch(&dir, &hub, "hub.test").with_names(&dir, hosts, &resolv_conf).run().succeeds().within(UNHINDERED);
    dir.assert_done(FILE, &model);
    assert_eq!(dns.questions(), 0);
}

#[test]
fn no_server_is_needed_for_this_machine_or_where_none_is_named() {
    if !names::can_be_set() {
        return;
    }
    let (model, hub, dir) = setting();
    let dns = Dns::start(silent);
    fetch(&dir, &hub, "localhost")
        .with_names(&dir, "", &dns.resolv_conf())
        .run()
        .succeeds()
        .within(UNHINDERED);
    dir.assert_done(FILE, &model);
    assert_eq!(dns.questions(), 0);
    let dir = TestDir::new();
    fetch(&dir, &hub, "hub.test")
        .with_names(&dir, "127.0.0.1 hub.test\n", "")
        .run()
        .succeeds()
        .within(UNHINDERED);
    dir.assert_done(FILE, &model);
}

#[test]
fn a_server_that_drops_one_family_holds_up_nobody() {
    if !names::can_be_set() {
        return;
    }
    let (model, hub, dir) = setting();
    let dns = Dns::start(|name, kind| match (name, kind) {
        ("hub.test", 1) => Answer::Address(Ipv4Addr::LOCALHOST),
        _ => Answer::Silence,
    });
    fetch(&dir, &hub, "hub.test")
        .with_names(&dir, "", &dns.resolv_conf())
        .run()
        .succeeds()
        .within(UNHINDERED);
    dir.assert_done(FILE, &model);
    assert!(dns.questions() > 0);
}

#[test]
fn connections_go_over_all_addresses_of_a_name_so_that_a_slow_one_does_not_delay_the_whole() {
    if !names::can_be_set() {
        return;
    }
    let model = model(1, 16);
    let repo = || Repo::model(REPO).lfs(FILE, model.clone());
    // At this rate one range of 1 MiB takes 52 seconds.
    let slow = built(FakeHub::builder().repo(repo()).rate_per_connection(20_000));
    let port = slow.cdn_url().rsplit_once(':').and_then(|(_, port)| port.parse().ok()).expect("a port");
    let quick = FakeHub::builder()
        .repo(repo())
        .listen(Server::Cdn, (Ipv4Addr::new(127, 0, 0, 2), port).into())
        .cdn_base(&format!("http://cdn.test:{port}"));
    let quick = built(quick);
    let hosts = "127.0.0.1 cdn.test\n127.0.0.2 cdn.test\n";
    let dir = TestDir::new();
    dir.fetch(&quick, [REPO, FILE]).with_names(&dir, hosts, "").run().succeeds().at_once();
    dir.assert_done(FILE, &model);
    let sent = [&slow, &quick].map(|hub| hub.bytes_sent(Server::Cdn));
    assert!(sent[0] > 0 && sent[1] > model.size() / 2, "{sent:?} bytes sent");
}

#[test]
fn a_name_that_leads_nowhere_is_told_as_such() {
    if !names::can_be_set() {
        return;
    }
    let (_, hub, dir) = setting();
    let dns = Dns::start(|name, _| match name {
        "empty.test" => Answer::Empty,
        "silent.test" => Answer::Silence,
        _ => Answer::NoName,
    });
    for (host, why) in [
        ("typo.test", "the name typo.test cannot be resolved: there is no such name, or it has no address"),
        ("empty.test", "the name empty.test cannot be resolved: there is no such name, or it has no address"),
        ("silent.test", "the name silent.test cannot be resolved: no server of /etc/resolv.conf answered"),
    ] {
        fetch(&dir, &hub, host)
            .args(["--give-up-after", "1s"])
            .with_names(&dir, "", &dns.resolv_conf())
            .run()
            .exits(30)
            .says(why)
            .says("hint: check the spelling of the name")
            .does_not_say("local link")
            .at_once();
    }
    assert!(hub.requests().is_empty());
}

#[test]
fn an_address_of_the_local_link_is_for_whom_the_user_named_only() {
    if !names::can_be_set() {
        return;
    }
    let (_, hub, dir) = setting();
    let hosts = "169.254.1.2 host.containers.internal elsewhere.test\n";
    // Whoever is there in a test: the way to it is taken.
    let named = |run: Modelfetch| {
        run.args(["--give-up-after", "1s"])
            .with_names(&dir, hosts, "")
            .run()
            .says("host.containers.internal")
            .does_not_say("local link");
    };
    named(fetch(&dir, &hub, "host.containers.internal"));
    named(dir.fetch(&hub, [REPO, FILE]).env("HTTP_PROXY", "http://host.containers.internal:9"));
    hub.fault(Rule::resolve().always().then(Fault::redirect("http://elsewhere.test:9/x")));
    dir.fetch(&hub, [REPO, FILE, "--give-up-after", "1s"])
        .with_names(&dir, hosts, "")
        .run()
        .exits(30)
        .says("the name elsewhere.test stands for an address of the local link");
}
