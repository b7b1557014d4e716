//! Small files: the Hub has them below `/api/resolve-cache/`, where whoever knows the commit need not be led.

use fake_hub::{FakeHub, Fault, Payload, Reply, Repo, Rule};

use crate::support::proxy::Proxy;
use crate::support::{REPO, TestDir, built};

const FILES: usize = 12;

fn name(number: usize) -> String {
    format!("data/part {number}.json")
}

fn content(number: usize) -> Payload {
    Payload::bytes(format!("{{\"number\":{number}}}"))
}

fn repo(files: usize) -> Repo {
    (0..files).fold(Repo::model(REPO), |repo, number| repo.small(&name(number), content(number)))
}

#[track_caller]
fn brings_all(hub: &FakeHub, endpoints: &[&str]) -> TestDir {
    let dir = TestDir::new();
    let named = endpoints.iter().flat_map(|endpoint| ["--endpoint", endpoint]);
    dir.fetch(hub, [REPO, "*.json"]).args(named).run().succeeds().at_once();
    for number in 0..FILES {
        dir.assert_done(&name(number), &content(number));
    }
    dir
}

/// How often places were asked for that hold this text.
fn asked(hub: &FakeHub, part: &str) -> usize {
    hub.requests().iter().filter(|record| record.request.path().contains(part)).count()
}

#[test]
fn each_small_file_of_a_list_costs_one_request() {
    let hub = built(FakeHub::builder().repo(repo(300)));
    let dir = TestDir::new();
    dir.fetch(&hub, [REPO]).run().succeeds();
    let requests = hub.requests();
    assert_eq!(requests.len(), 302, "the commit, the list, and each file");
    assert!(requests.iter().all(|record| record.request.method == "GET"));
    dir.assert_done(&name(299), &content(299));
}

#[test]
fn of_many_files_those_that_changed_or_are_gone_are_fetched_again_and_named_in_order() {
    let hub = built(FakeHub::builder().repo(repo(300)));
    let dir = TestDir::new();
    let first = dir.fetch(&hub, [REPO]).run().succeeds();
    std::fs::write(dir.file(&name(17)), "changed").expect("a file");
    std::fs::remove_file(dir.file(&name(290))).expect("a file");
    hub.clear();
    let second = dir.fetch(&hub, [REPO]).run().succeeds();
    assert_eq!(second.stdout, first.stdout);
    for number in [17, 290] {
        dir.assert_done(&name(number), &content(number));
        assert_eq!(asked(&hub, &format!("part%20{number}.json")), 1, "{number}");
    }
    assert_eq!(hub.requests().iter().filter(|record| record.request.target.contains("part")).count(), 2);
    hub.clear();
    let third = dir.fetch(&hub, [REPO, "--offline"]).run().succeeds().at_once();
    assert_eq!(third.stdout, first.stdout);
}

#[test]
fn a_named_small_file_is_found_where_the_hub_leads_also_below_a_path() {
    let hub = built(FakeHub::builder().repo(repo(1)));
    let mirror = Proxy::below("/artifacts/hub", &hub.endpoint());
    for endpoint in [hub.endpoint(), mirror.url() + "/artifacts/hub"] {
        for selection in [&name(0), "*.json"] {
            let dir = TestDir::new();
            dir.fetch(&hub, [REPO, selection, "--endpoint", &endpoint]).run().succeeds();
            dir.assert_done(&name(0), &content(0));
        }
    }
}

#[test]
fn who_has_no_such_place_is_asked_for_the_file_itself_and_not_for_the_place_again() {
    const PAGE: &str = "<html>what is this?</html>";
    let page = || Reply::new(200).header("Content-Type", "text/html").body(PAGE);
    let statuses = [400, 401, 403, 404, 405, 410, 416, 418, 501].map(Fault::status);
    let pages = [
        Fault::Reply(page()),
        Fault::All(vec![Fault::Reply(page()), Fault::Chunked]),
        // As long as the file.
        Fault::Reply(Reply::new(200).body(r#"{"no":"page"}"#)),
        Fault::redirect("http://169.254.169.254/latest/meta-data"),
        Fault::redirect("/api/resolve-cache/again"),
    ];
    for fault in statuses.into_iter().chain(pages) {
        let mirror = built(FakeHub::builder().repo(repo(FILES)).without_cache());
        mirror.fault(Rule::hub().path_contains("/resolve-cache/").always().then(fault.clone()));
        let dir = TestDir::new();
        let fetch = dir.fetch(&mirror, [REPO, "--connections", "1"]);
        fetch.run().succeeds().does_not_say("retry").at_once();
        dir.assert_done(&name(3), &content(3));
        let places: std::collections::HashSet<_> =
            mirror.requests().iter().map(|record| record.request.path().to_owned()).collect();
        let cached = places.iter().filter(|place| place.contains("/resolve-cache/model")).count();
        assert_eq!(cached, 1, "{fault:?}");
    }
}

#[test]
fn a_place_that_fails_again_and_again_is_left_for_the_file_itself() {
    let mirror = built(FakeHub::builder().repo(repo(FILES)).without_cache());
    mirror.fault(Rule::hub().path_contains("/resolve-cache/").always().then(Fault::status(502)));
    brings_all(&mirror, &[]);
}

#[test]
fn each_endpoint_is_remembered_for_itself() {
    let mirror = built(FakeHub::builder().repo(repo(FILES)).without_cache());
    let hub = built(FakeHub::builder().repo(repo(FILES)));
    brings_all(&hub, &[&mirror.endpoint(), &hub.endpoint()]);
    assert!(asked(&mirror, "/resolve-cache/") > 0);
    assert_eq!(asked(&hub, ""), 0, "the first one has it all");
    mirror.fault(Rule::hub().path_contains("/resolve").always().then(Fault::status(503)));
    brings_all(&hub, &[&mirror.endpoint(), &hub.endpoint()]);
}
