//! What must be shown nowhere, whoever says it and in whatever form.

use std::fs;

use fake_hub::{Fault, Gguf, Payload, Reply, Repo, Rule};

use crate::support::{FILE, REPO, TestDir, built, hub, model};
use fake_hub::FakeHub;

/// A token of a mirror: it does not begin as those of the Hub do.
const ODD_TOKEN: &str = "AKCp8xSECRETx0123456789";

/// A server that repeats in every header and in the body what it was sent, with this status.
fn repeating(status: u16) -> FakeHub {
    let hub = hub(&model(1, 1));
    hub.on(Rule::hub().always(), move |request, reply| {
        let sent = request.header("authorization").unwrap_or("nothing").to_owned();
        let bare = sent.rsplit(' ').next().unwrap_or_default().to_owned();
        *reply = Reply::new(status)
            .header("X-Error-Message", format!("bad {bare}"))
            .header("X-Request-Id", bare.clone())
            .header("X-Repo-Commit", bare.clone())
            .header("ETag", format!("\"{bare}\""))
            .header("Content-Range", format!("bytes {bare}/1"))
            .header("Location", format!("http://{bare}.example/{bare}"))
            .header("Content-Encoding", bare.clone())
            .body(format!("{{\"error\":\"you sent {bare} as {sent}\"}}").into_bytes());
    });
    hub
}

/// Everything that a run says anywhere.
fn said(dir: &TestDir, run: crate::support::command::Modelfetch) -> String {
    let message = dir.path().join("last-words");
    let metrics = dir.path().join("metrics.prom");
    let run = run
        .args(["--verbose", "--json", "--give-up-after", "1s", "--termination-message"])
        .arg(&message)
        .arg("--metrics-file")
        .arg(&metrics)
        .run();
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    [run.stdout, run.stderr, read(&message), read(&metrics)].concat()
}

#[test]
fn what_a_server_repeats_of_a_token_is_not_shown_whatever_it_begins_with() {
    for status in [200, 302, 400, 401, 403, 404, 418, 500] {
        let hub = repeating(status);
        for progress in ["lines", "json"] {
            let dir = TestDir::new();
            let fetch = dir.fetch(&hub, [REPO, FILE, "--progress", progress]).env("HF_TOKEN", ODD_TOKEN);
            let text = said(&dir, fetch);
            assert!(!text.is_empty() && !text.contains("SECRET"), "{status}, {progress}:\n{text}");
        }
    }
}

#[test]
fn a_short_secret_is_taken_out_as_a_word() {
    for status in [200, 302, 404, 418, 500] {
        let hub = repeating(status);
        let dir = TestDir::new();
        let text = said(&dir, dir.fetch(&hub, [REPO, FILE]).env("HF_TOKEN", "Q7z"));
        assert!(!text.is_empty() && !text.contains("Q7z"), "{status}:\n{text}");
    }
}

#[test]
fn a_secret_in_a_finding_of_smoke_is_not_shown() {
    let header = Gguf { architecture: ODD_TOKEN.into(), ..Gguf::default() };
    let repo = Repo::model(REPO).lfs(FILE, Payload::gguf_with(&header, 1, 1 << 20));
    let hub = built(FakeHub::builder().repo(repo).token(ODD_TOKEN));
    let dir = TestDir::new();
    let text = said(&dir, dir.job("smoke", &hub, [REPO, FILE]).env("HF_TOKEN", ODD_TOKEN));
    assert!(text.contains("GGUF header") && !text.contains("SECRET"), "{text}");
    let run = dir.job("smoke", &hub, [REPO, FILE]).env("HF_TOKEN", ODD_TOKEN).run().succeeds();
    assert!(!run.stdout.contains("SECRET"), "{}", run.stdout);
}

#[test]
fn a_secret_in_the_variable_of_something_else_is_not_shown() {
    let dir = TestDir::new();
    for variable in
        ["MODELFETCH_CONNECTIONS", "MODELFETCH_ENDPOINT", "MODELFETCH_DEADLINE", "MODELFETCH_COLOR"]
    {
        for value in ["hf_SECRET", "https://user:SECRET@host?x", "user:SECRET@host"] {
            dir.command(["fetch", REPO, FILE]).env(variable, value).run().exits(2).does_not_say("SECRET");
        }
    }
}

#[test]
fn a_token_in_the_place_of_a_file_is_not_shown() {
    let hub = hub(&model(1, 1));
    let dir = TestDir::new();
    let token = "hf_SECRETabcdefghijklmnopqrstuvwxyz";
    for arguments in [&[REPO, "--insecure-token", token][..], &[REPO, FILE, "--token-file", token], &[token]]
    {
        let text = said(&dir, dir.fetch(&hub, arguments.iter().copied()));
        assert!(!text.is_empty() && !text.contains("SECRET"), "{arguments:?}:\n{text}");
    }
}

#[test]
fn half_a_token_at_the_end_of_a_long_message_is_not_shown_either() {
    let hub = built(FakeHub::builder().repo(Repo::model(REPO).lfs(FILE, model(1, 1))).token(ODD_TOKEN));
    for length in [550, 575, 580, 585, 590, 595, 599] {
        hub.clear_faults();
        let page = format!("{} {ODD_TOKEN} end", "xx ".repeat(length / 3));
        hub.fault(Rule::cdn().always().then(Fault::Reply(Reply::new(418).body(page.into_bytes()))));
        let dir = TestDir::new();
        let text = said(&dir, dir.fetch(&hub, [REPO, FILE]).env("HF_TOKEN", ODD_TOKEN));
        assert!(text.contains("xx xx") && !text.contains("AKC"), "{length}:\n{text}");
    }
}

#[test]
fn passwords_of_endpoints_and_proxies_are_not_shown() {
    for status in [401, 404, 418, 500] {
        let hub = repeating(status);
        let endpoint = hub.endpoint().replace("http://", "http://user:pa%40SECRET@");
        let dir = TestDir::new();
        let fetch = dir.fetch(&hub, [REPO, FILE, "--endpoint", &endpoint]);
        let text = said(&dir, fetch);
        // As it is, as it was written, and as base64 of both together.
        for form in ["SECRET", "dXNlcjpwYUBTRUNSRVQ"] {
            assert!(!text.contains(form), "{status}: {form} in\n{text}");
        }
    }
}

#[test]
fn no_form_of_an_address_is_shown_with_its_password_or_query() {
    let dir = TestDir::new();
    for address in [
        "https://user:SECRET@",
        "https://user:SECRET@host:port",
        "https://user:SE/CRET@host",
        "https://host/?token=SECRET",
        "https://host/?token=SE@CRET",
        "https://host/#SECRET",
        "ftp://user:SECRET@host",
        "user:SECRET@host",
        "//user:SECRET@host",
        "https://user:SECRET@host?x",
    ] {
        for run in [
            dir.command(["fetch", REPO, FILE, "--verbose", "--endpoint", address]),
            dir.command(["fetch", REPO, FILE, "--verbose"]).env("HF_ENDPOINT", address),
            dir.command(["fetch", REPO, FILE, "--verbose", "--token-endpoint", address]),
        ] {
            let run = run.run().exits(2);
            for half in ["SE", "CRET"] {
                assert!(!run.stderr.contains(half), "{address}:\n{}", run.stderr);
            }
        }
    }
    for address in [
        "https://user:SECRET@host/owner",
        "https://host/owner?token=SECRET",
        "https://host/o/n/what/main/x?token=SECRET",
        "https://user:SECRET@host:port/o/n",
        "HTTPS://user:SECRET@host/o/n",
        "https://user:SECRET@host/o/n/blob/main/",
    ] {
        dir.command(["plan", address, "--verbose", "--offline"]).run().does_not_say("SECRET");
    }
}

#[test]
fn names_cannot_turn_the_text_around() {
    const NAME: &str = "model\u{202e}fugg.gguf";
    let hub = built(
        FakeHub::builder().repo(Repo::model(REPO).lfs(NAME, Payload::gguf(1, 1 << 20)).small("a.json", "{}")),
    );
    for progress in ["lines", "json"] {
        for command in ["plan", "fetch"] {
            let dir = TestDir::new();
            let words = dir.path().join("last-words");
            let run = dir
                .job(command, &hub, [REPO, "--progress", progress])
                .arg("--termination-message")
                .arg(&words);
            let run = run.run().succeeds();
            let words = fs::read_to_string(words).expect("last words");
            assert!(words.contains("model\\u202efugg.gguf"), "{words}");
            for text in [&run.stdout, &run.stderr, &words] {
                assert!(!text.contains('\u{202e}'), "{text:?}");
            }
            assert!(run.stdout.contains("model\\u202efugg.gguf"), "{}", run.stdout);
            if command == "fetch" {
                assert!(dir.file(NAME).is_file());
                assert!(run.stderr.contains("model\\u202efugg.gguf"), "{}", run.stderr);
            }
        }
    }
    let dir = TestDir::new();
    let json = dir.fetch(&hub, [REPO, "--json"]).run().succeeds().json();
    let files = json["files"].as_array().expect("files");
    assert!(files.iter().any(|file| file["path"] == NAME), "JSON says the same");
}
