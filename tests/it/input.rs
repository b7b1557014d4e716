//! Bad input: told at once, with what is wrong with it, before anything is asked or written.

use fake_hub::Payload;

use crate::support::{FILE, REPO, TestDir, hub, model};

/// Exits 2, names the value's fault, asks nothing, writes nothing.
#[track_caller]
fn refused(arguments: &[&str], why: &str) {
    let hub = hub(&Payload::random(1, 10));
    let dir = TestDir::new();
    let run = dir.fetch(&hub, arguments.iter().copied()).run();
    assert_eq!(run.status, Some(2), "{arguments:?}: {}", run.stderr);
    assert!(run.stderr.contains(why), "{arguments:?}: {why:?} is not in\n{}", run.stderr);
    assert!(hub.requests().is_empty() && dir.all_files().is_empty(), "{arguments:?}");
}

#[test]
fn a_malformed_repository_is_refused() {
    for repo in [
        "name",
        "a/b/c",
        "../name",
        "owner/..",
        "owner/.name",
        "own er/name",
        "owner/na\\me",
        "owner/näme",
        "/",
        "owner/",
    ] {
        refused(&[repo, FILE], "invalid");
    }
    refused(&["", FILE], "");
    refused(&[&format!("owner/{}", "n".repeat(97)), FILE], "at most 96 characters");
}

#[test]
fn a_malformed_revision_is_refused() {
    for revision in ["../main", "a..b", "/main", "main/", "ma in", "a\\b", "a:b", "ref~1", "a?b", "\u{7}"] {
        refused(&[REPO, FILE, "--revision", revision], "revision");
    }
    refused(&["owner/name@../x", FILE], "revision");
}

#[test]
fn a_malformed_file_name_is_refused() {
    for (file, why) in [
        ("../secret", "`.` and `..` are not allowed"),
        ("a/../b", "`.` and `..` are not allowed"),
        ("/etc/passwd", "an absolute path is not allowed"),
        ("a\\b", "is not allowed"),
        ("C:/windows", "a drive letter is not allowed"),
        ("a//b", "an empty part"),
        ("a/", "an empty part"),
        ("a\nb\tc", "control characters"),
        (".modelfetch/lock", "this tool's own state"),
        ("m-00004-of-00003.gguf", "shard 4 of 3 cannot exist"),
    ] {
        refused(&[REPO, file], why);
    }
    refused(&["hf://owner/name/../x"], "invalid");
}

#[test]
fn a_malformed_pin_is_refused() {
    refused(&[REPO, FILE, "--sha256", "abc"], "expected 64 hex digits, found 3 characters");
    refused(&[REPO, FILE, "--sha256", &"a".repeat(65)], "expected 64 hex digits, found 65");
    refused(&[REPO, FILE, "--sha256", &"g".repeat(64)], "only hex digits are allowed");
    refused(&[REPO, FILE, "--sha256", &"ä".repeat(32)], "hex digits");
    refused(&[REPO, FILE, "--sha256", &format!("../x={}", "a".repeat(64))], "not allowed");
    let digest = "a".repeat(64);
    refused(&[REPO, FILE, "--sha256", &digest, "--sha256", &digest], "a second digest without a file name");
}

#[test]
fn a_malformed_endpoint_or_number_is_refused() {
    refused(&[REPO, FILE, "--endpoint", "huggingface.co"], "endpoint");
    refused(&[REPO, FILE, "--endpoint", "ftp://hub.example"], "expected https://HOST or http://HOST");
    refused(&[REPO, FILE, "--connections", "0"], "from 1 to 64");
    refused(&[REPO, FILE, "--connections", "65"], "from 1 to 64");
    refused(&[REPO, FILE, "--limit-rate", "fast"], "expected bytes per second");
    refused(&[REPO, FILE, "--deadline", "0"], "longer than zero");
    refused(&[REPO, FILE, "--no-such-flag"], "--no-such-flag");
    refused(&[REPO, FILE, "--include", "[z-a]"], "");
}

#[test]
fn the_password_of_an_endpoint_is_not_repeated() {
    let dir = TestDir::new();
    dir.command([
        "plan",
        REPO,
        FILE,
        "--endpoint",
        "https://user:s3cret@hub.example",
        "--offline",
        "--verbose",
    ])
    .run()
    .exits(32)
    .does_not_say("s3cret");
}

#[test]
fn empty_variables_of_proxies_certificates_and_tokens_count_as_absent() {
    let model = model(1, 1);
    let hub = hub(&model);
    let dir = TestDir::new();
    let names = [
        "HF_TOKEN",
        "HF_TOKEN_PATH",
        "HF_HOME",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "MODELFETCH_TERMINATION_MESSAGE",
        "MODELFETCH_METRICS_FILE",
    ];
    let fetch = names.iter().fold(dir.fetch(&hub, [REPO, FILE]), |fetch, name| fetch.env(name, ""));
    fetch.run().succeeds();
    dir.assert_done(FILE, &model);
    assert!(hub.requests().iter().all(|request| request.authorization().is_none()));
}

#[test]
fn a_chart_can_say_everything_with_variables() {
    let model = model(1, 1);
    let hub = hub(&model);
    let dir = TestDir::new();
    dir.command(["fetch"])
        .env("MODELFETCH_REPO", REPO)
        .env("MODELFETCH_FILES", format!("{FILE}\n"))
        .env("MODELFETCH_DIR", dir.models())
        .env("MODELFETCH_ENDPOINT", hub.endpoint())
        .env("MODELFETCH_SHA256", format!("{FILE}={}", model.sha256()))
        .env("MODELFETCH_REVISION", "main")
        .run()
        .succeeds();
    dir.assert_done(FILE, &model);
}
