//! Registries that a fetch should not be hurt by. What they do right is tried with a real one, in `tests/registry`.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fake_hub::{FakeHub, Repo};
use serde_json::{Value, json};

use crate::support::registry::{Answer, Asked, FakeRegistry, artifact, digest, good, layer};
use crate::support::secret::{TOKEN, assert_no_secret};
use crate::support::{FILE, REPO, TestDir, built, hub, model};

const LOGIN: &str = "CANARYxOFxTHExREGISTRY";

fn small() -> Vec<u8> {
    (0..70_000_u32).map(|at| u8::try_from(at % 251).expect("a byte")).collect()
}

/// A docker `config.json` for a host.
fn login_for(dir: &TestDir, host: &str) -> String {
    let folder = dir.path().join("docker");
    fs::create_dir_all(&folder).expect("a folder");
    let auths = json!({"auths": {host: {"username": "u", "password": LOGIN}}});
    fs::write(folder.join("config.json"), auths.to_string()).expect("a file");
    folder.to_str().expect("UTF-8").to_owned()
}

#[test]
fn what_is_no_model_or_no_file_ends_with_what_it_is_and_what_to_use() {
    let content = small();
    let image = json!({
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json"},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest(b"x"), "size": 1}],
    });
    let with = |change: fn(&mut Value)| {
        let mut layer = layer("m.bin", &small());
        change(&mut layer);
        artifact(&[layer])
    };
    for (manifest, said, instead) in [
        (image, "it is a container image", "`oras push`"),
        (with(|layer| layer["annotations"] = Value::Null), "has no name", "--exclude"),
        (
            with(|layer| layer["annotations"]["org.cncf.model.filepath"] = json!("../m.bin")),
            "`..`",
            "--exclude",
        ),
        (
            with(|layer| layer["annotations"]["org.cncf.model.filepath"] = json!("/etc/m")),
            "absolute",
            "--exclude",
        ),
        (with(|layer| layer["urls"] = json!(["https://h.example/x"])), "a foreign layer", "--exclude"),
        (
            with(|layer| layer["mediaType"] = json!("application/vnd.cncf.model.weight.v1.tar+gzip")),
            "an archive",
            "oras pull",
        ),
        (with(|layer| layer["digest"] = json!("sha512:00")), "no SHA-256", "--exclude"),
        (json!({"schemaVersion": 1, "fsLayers": []}), "no list of layers", "oras manifest fetch"),
        (json!({"manifests": []}), "an index of 0", "REPOSITORY@sha256"),
    ] {
        let dir = TestDir::new();
        let registry = FakeRegistry::with(&manifest, &[&content]);
        registry.fetch(&dir, []).run().exits(2).says(said).says(instead).at_once();
        assert!(!dir.path().join("m.bin").exists() && dir.all_files().is_empty(), "{manifest}");
    }
}

#[test]
fn what_is_refused_is_in_nobodys_way_who_does_not_want_it() {
    let content = small();
    let mut tar = layer("folder", b"x");
    tar["mediaType"] = json!("application/vnd.cncf.model.weight.v1.tar");
    let registry = FakeRegistry::with(&artifact(&[tar, layer("m.bin", &content)]), &[&content]);
    let dir = TestDir::new();
    registry.fetch(&dir, ["--exclude", "folder"]).run().succeeds();
    assert_eq!(fs::read(dir.file("m.bin")).expect("a file"), content);
    registry.fetch(&dir, []).run().exits(2).says("`folder`").says("cannot be fetched");
}

#[test]
fn a_page_instead_of_a_manifest_is_no_registry() {
    for status in [200, 404] {
        let registry = FakeRegistry::start(move |_, _| {
            (
                status,
                vec![("Content-Type", "text/html; charset=utf-8".into())],
                b"<html>welcome</html>".to_vec(),
            )
        });
        let dir = TestDir::new();
        registry.fetch(&dir, []).run().exits(30).says("does not answer like a registry").at_once();
    }
}

#[test]
fn a_manifest_with_another_digest_than_its_own_is_none() {
    let manifest = artifact(&[layer("m.bin", &small())]).to_string();
    let told = digest(b"another");
    let announced = told.clone();
    let registry = FakeRegistry::start(move |asked, _| {
        let (status, _, body) = good(asked, manifest.as_bytes(), &[small()]);
        (status, vec![("Docker-Content-Digest", announced.clone())], body)
    });
    let dir = TestDir::new();
    registry.fetch(&dir, []).run().exits(20).says("digest mismatch for a manifest").says(&told);
    assert!(dir.all_files().is_empty());
}

#[test]
fn a_manifest_is_known_by_its_bytes_where_nobody_tells_its_digest() {
    let manifest = artifact(&[layer("m.bin", &small())]).to_string();
    let expected = digest(manifest.as_bytes());
    let registry = FakeRegistry::start(move |asked, _| {
        let (status, headers, body) = good(asked, manifest.as_bytes(), &[small()]);
        (status, headers.into_iter().filter(|(key, _)| *key != "Docker-Content-Digest").collect(), body)
    });
    let dir = TestDir::new();
    let run = registry.fetch(&dir, ["--json"]).run().succeeds();
    assert_eq!(run.json()["commit"], json!(expected));
}

fn challenge(text: &str) -> Answer {
    let body = br#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#;
    (401, vec![("WWW-Authenticate", text.to_owned())], body.to_vec())
}

#[test]
fn a_registry_that_is_never_content_is_not_asked_again_and_again() {
    for way in ["Basic realm=\"x\"", "Bearer realm=\"http://HOST/token\",service=\"s\"", "Negotiate", ""] {
        let registry = FakeRegistry::start(move |asked, host| {
            if asked.target.starts_with("/token") {
                return (200, vec![], br#"{"token": "CANARYxTOKEN"}"#.to_vec());
            }
            challenge(&way.replace("HOST", host))
        });
        let dir = TestDir::new();
        let run = registry.fetch(&dir, []).env("DOCKER_CONFIG", login_for(&dir, &registry.host)).run();
        assert_no_secret(&run.stderr.replace("where Bearer", ""));
        run.exits(10).says("refused access to").says("401").at_once();
        assert!(registry.asked().len() <= 4, "{way}: {:?}", registry.asked());
    }
}

#[test]
fn a_token_endpoint_sees_the_login_of_its_registry_and_never_the_token_of_the_hub() {
    let content = small();
    let manifest = artifact(&[layer("m.bin", &content)]).to_string();
    let tokens = FakeRegistry::start(|_, _| (200, vec![], br#"{"access_token": "given"}"#.to_vec()));
    let realm = tokens.host.clone();
    let registry = FakeRegistry::start(move |asked, _| {
        if asked.header("authorization") == Some("Bearer given") {
            return good(asked, manifest.as_bytes(), &[small()]);
        }
        challenge(&format!(
            "Bearer realm=\"http://{realm}/token?a=b\",service=\"s\",scope=\"repository:m:pull,push,delete\""
        ))
    });
    let dir = TestDir::new();
    let run = registry
        .fetch(&dir, [])
        .env("HF_TOKEN", TOKEN)
        .env("DOCKER_CONFIG", login_for(&dir, &registry.host))
        .run()
        .succeeds();
    assert_no_secret(&run.stderr);
    let asked = tokens.asked();
    assert_eq!(asked.len(), 1, "one token does for all: {asked:?}");
    assert_eq!(
        asked[0].target, "/token?a=b&service=s&scope=repository%3Am%3Apull",
        "only to read is asked for"
    );
    assert!(asked[0].header("authorization").is_some_and(|shown| shown.starts_with("Basic ")));
    for asked in registry.asked() {
        let shown = asked.header("authorization");
        assert!(shown.is_none() || shown == Some("Bearer given"), "{asked:?}");
    }
    assert_no_secret(&dir.all_text());
}

#[test]
fn a_token_endpoint_that_is_no_place_to_ask_is_not_asked() {
    for realm in ["http://169.254.169.254/token", "ftp://h.example/token", "file:///etc/passwd", ""] {
        let registry =
            FakeRegistry::start(move |_, _| challenge(&format!("Bearer realm=\"{realm}\",service=\"s\"")));
        let dir = TestDir::new();
        registry.fetch(&dir, []).run().exits(10).says("token endpoint").at_once();
    }
}

#[test]
fn bytes_are_fetched_where_a_registry_leads_without_its_token_or_login() {
    let content = small();
    let store = FakeRegistry::start(|asked, _| {
        let mut own = asked.clone();
        own.target = own.target.split('?').next().unwrap_or_default().to_owned();
        good(&own, b"", &[small()])
    });
    let (elsewhere, manifest) = (store.host.clone(), artifact(&[layer("m.bin", &content)]).to_string());
    let registry = FakeRegistry::start(move |asked, _| {
        if asked.header("authorization").is_none() {
            return challenge("Basic realm=\"x\"");
        }
        if asked.target.contains("/blobs/") {
            let place = format!("http://{elsewhere}{}?Signature=CANARYxSIGNATURE", asked.target);
            return (307, vec![("Location", place)], vec![]);
        }
        good(asked, manifest.as_bytes(), &[])
    });
    let dir = TestDir::new();
    let run = registry.fetch(&dir, []).env("DOCKER_CONFIG", login_for(&dir, &registry.host)).run().succeeds();
    assert_eq!(fs::read(dir.file("m.bin")).expect("a file"), content);
    assert!(!store.asked().is_empty());
    assert!(
        store.asked().iter().all(|asked| asked.header("authorization").is_none() && asked.method == "GET")
    );
    assert_no_secret(&run.stderr);
    assert_no_secret(&dir.all_text());
}

#[test]
fn a_login_is_not_sent_to_another_registry() {
    let registry = FakeRegistry::start(|_, _| challenge("Basic realm=\"x\""));
    let dir = TestDir::new();
    let run = registry.fetch(&dir, []).env("DOCKER_CONFIG", login_for(&dir, "other.example")).run();
    run.exits(10).says("no login was sent").says("docker login");
    assert!(registry.asked().iter().all(|asked| asked.header("authorization").is_none()));
}

#[test]
fn a_registry_that_is_busy_is_asked_again() {
    let (manifest, count) =
        (artifact(&[layer("m.bin", &small())]).to_string(), Arc::new(AtomicUsize::new(0)));
    let registry = FakeRegistry::start(move |asked, _| match count.fetch_add(1, Ordering::Relaxed) {
        0 | 2 | 4 => (503, vec![], b"busy".to_vec()),
        _ => good(asked, manifest.as_bytes(), &[small()]),
    });
    registry.fetch(&TestDir::new(), []).run().succeeds();
}

#[test]
fn what_registries_have_is_for_plain_folders() {
    let dir = TestDir::new();
    for place in ["--cache=c", "--local-dir=d"] {
        dir.command(["fetch", "oci://r.example/m", place]).run().exits(2).says("use --dir").at_once();
    }
    dir.command(["fetch", "o/n", "--token-endpoint", "oci://r.example/m"])
        .run()
        .exits(2)
        .says("never the Hub's token");
    dir.command(["fetch", "o/n", "--endpoint", "oci://r.example/m:v1"]).run().exits(2).says("has no tag");
    dir.command(["fetch", "oci://u:CANARY@r.example/m"])
        .run()
        .exits(2)
        .says("config.json")
        .does_not_say("CANARY");
}

/// A registry whose repository `m` has one content.
fn mirror(content: Vec<u8>) -> FakeRegistry {
    FakeRegistry::start(move |asked: &Asked, _| good(asked, b"", std::slice::from_ref(&content)))
}

#[test]
fn a_registry_is_a_mirror_of_the_hub_by_digest() {
    let model = model(91, 4);
    let hub = built(FakeHub::builder().repo(Repo::model(REPO).lfs(FILE, model.clone())).token(TOKEN));
    let (registry, dir) = (mirror(model.to_vec()), TestDir::new());
    let mirror = format!("oci://{}/m", registry.host);
    let run = dir
        .command(["fetch", REPO, FILE, "--endpoint", &mirror, "--endpoint", &hub.endpoint(), "--dir"])
        .arg(dir.models())
        .env("HF_TOKEN", TOKEN)
        .run()
        .succeeds();
    dir.assert_done(FILE, &model);
    assert_no_secret(&run.stderr);
    assert!(registry.asked().iter().any(|asked| asked.method == "GET"), "the bytes came from the registry");
    assert!(registry.asked().iter().all(|asked| asked.header("authorization").is_none()), "and saw no token");
}

#[test]
fn a_mirror_that_lacks_a_content_or_has_other_bytes_costs_nothing_but_time() {
    let model = model(92, 4);
    let mut wrong = model.to_vec();
    wrong[1 << 20] ^= 1;
    let expected = digest(&model.to_vec());
    let liar = FakeRegistry::start(move |asked: &Asked, _| {
        let mut own = asked.clone();
        own.target = own.target.replace(&expected, &digest(&wrong));
        good(&own, b"", std::slice::from_ref(&wrong))
    });
    for registry in [mirror(vec![1]), liar] {
        let (hub, dir) = (hub(&model), TestDir::new());
        let mirror = format!("oci://{}/m", registry.host);
        dir.command(["fetch", REPO, FILE, "--endpoint", &mirror, "--endpoint", &hub.endpoint(), "--dir"])
            .arg(dir.models())
            .run()
            .succeeds();
        dir.assert_done(FILE, &model);
        assert!(!registry.asked().is_empty());
    }
}

#[test]
fn a_mirror_by_digest_stands_in_for_a_hub_that_is_gone_if_the_file_is_pinned() {
    let model = model(93, 2);
    let (registry, dir) = (mirror(model.to_vec()), TestDir::new());
    let mirror = format!("oci://{}/m", registry.host);
    let fetch = |pin: &[&str]| {
        let command = dir.command(["fetch", REPO, FILE, "--endpoint", &mirror, "--dir"]).arg(dir.models());
        command.args(pin).run()
    };
    fetch(&[]).exits(30).says("SHA256 alone").says(&mirror).at_once();
    fetch(&["--sha256", model.sha256()]).succeeds();
    dir.assert_published(FILE, &model);
}
