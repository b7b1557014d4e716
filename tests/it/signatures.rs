//! Signed models (`OpenSSF` Model Signing 1.0): what is signed is fetched, what is not is refused, and so is every
//! signature that is not exactly as it has to be.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use fake_hub::{FakeHub, Fault, Payload, Repo, Rule, Server};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519,
    date_time_ymd,
};
use serde_json::{Value, json};

use crate::support::command::{Modelfetch, Run};
use crate::support::signing::{PAYLOAD_TYPE, Signer, add_up, sha256, statement};
use crate::support::{MIB, REPO, TestDir, built, model};

/// One thing that is wrong.
type Edit = fn(&mut Value);
/// What somebody does to a list of parts.
type PartsEdit = fn(&mut Vec<Value>);

fn vector(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/vectors").join(name)
}

/// A folder with two files, a key that is trusted, and whatever signature a test puts there.
struct Folder {
    dir: TestDir,
    signer: Signer,
}

const WEIGHTS: &[u8] = b"many numbers";
const CONFIG: &[u8] = b"{}";

impl Folder {
    fn new() -> Self {
        let (dir, signer) = (TestDir::new(), Signer::new());
        dir.put("weights.bin", WEIGHTS);
        dir.put("sub/config.json", CONFIG);
        signer.write_key(&dir.path().join("key.pub"));
        Self { dir, signer }
    }

    fn statement() -> Value {
        statement(&[("sub/config.json", &sha256(CONFIG)), ("weights.bin", &sha256(WEIGHTS))])
    }

    fn put(&self, signature: &str) {
        self.dir.put("model.sig", signature.as_bytes());
    }

    fn verify<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Run {
        let command = self.dir.command(["verify"]).args(arguments);
        command.arg("--dir").arg(self.dir.models()).run()
    }

    fn verify_by_key(&self) -> Run {
        self.verify(["--trust-key", "key.pub"])
    }

    /// Puts what is signed there and looks at it.
    fn judge(&self, statement: &Value) -> Run {
        self.put(&self.signer.bundle(statement).to_string());
        self.verify_by_key()
    }
}

#[test]
fn a_folder_that_somebody_signed_and_copied_is_compared_with_its_signature() {
    let folder = Folder::new();
    let run = folder.judge(&Folder::statement()).succeeds();
    run.prints("weights.bin").prints("sub/config.json").says(&folder.signer.id());

    folder.dir.put("weights.bin", b"MANY numbers");
    folder.verify_by_key().exits(20).prints("WRONG").prints("weights.bin");
    fs::remove_file(folder.dir.file("weights.bin")).expect("removed");
    folder.verify_by_key().exits(20).prints("missing");
}

#[test]
fn a_file_that_nobody_signed_is_a_fault_unless_it_is_allowed() {
    let folder = Folder::new();
    folder.dir.put("extra.py", b"import os");
    folder.judge(&Folder::statement()).exits(20).prints("extra.py: it is not signed");
    folder.verify(["--trust-key", "key.pub", "--allow-unsigned", "*.py"]).succeeds();
    folder.verify(["--trust-key", "key.pub", "extra.py"]).exits(20);
    folder.verify(["--trust-key", "key.pub", "weights.bin"]).succeeds();
}

#[test]
fn git_s_own_files_and_those_that_the_signature_leaves_out_are_passed_over_but_the_latter_are_told() {
    let folder = Folder::new();
    for name in [
        ".gitattributes",
        ".gitignore",
        ".git/HEAD",
        ".github/w.yml",
        ".modelfetch/x",
        ".cache/huggingface/x",
    ] {
        folder.dir.put(name, b"x");
    }
    folder.judge(&Folder::statement()).succeeds().does_not_say("not vouched for");
    folder.dir.put("cache/x", b"x");
    let mut left_out = Folder::statement();
    left_out["predicate"]["serialization"]["ignore_paths"]
        .as_array_mut()
        .expect("a list")
        .push("cache".into());
    folder.judge(&left_out).succeeds().says("not vouched for: cache");
    for name in ["cache2", "sub/cache", "sub/.gitignore"] {
        let path = folder.dir.put(name, b"x");
        folder.judge(&left_out).exits(20).prints(name);
        fs::remove_file(path).expect("removed");
    }
}

#[test]
fn links_are_what_the_signature_says_of_them() {
    let folder = Folder::new();
    let moved = folder.dir.path().join("elsewhere");
    fs::rename(folder.dir.file("weights.bin"), &moved).expect("moved");
    std::os::unix::fs::symlink(&moved, folder.dir.file("weights.bin")).expect("a link");
    folder.judge(&Folder::statement()).exits(20).prints("it is a link");
    let mut with_links = Folder::statement();
    with_links["predicate"]["serialization"]["allow_symlinks"] = true.into();
    folder.judge(&with_links).succeeds();
    fs::write(&moved, b"MANY numbers").expect("changed");
    folder.judge(&with_links).exits(20).prints("weights.bin");
    fs::write(&moved, WEIGHTS).expect("changed");
    std::os::unix::fs::symlink(folder.dir.path().join("home"), folder.dir.file("more")).expect("a link");
    folder.judge(&with_links).exits(20).prints("a link to a folder");
    fs::remove_file(folder.dir.file("more")).expect("removed");
    std::os::unix::fs::symlink("nowhere", folder.dir.file("dead")).expect("a link");
    folder.judge(&with_links).exits(20).prints("dead");
}

#[test]
fn a_folder_that_is_signed_in_parts_is_compared_part_by_part() {
    let folder = Folder::new();
    let parts_by = |algorithm: &str, size: usize| {
        let mut resources = Vec::new();
        for (name, bytes) in [("sub/config.json", CONFIG), ("weights.bin", WEIGHTS)] {
            for (at, part) in bytes.chunks(size).enumerate() {
                let (start, end) = (at * size, at * size + part.len());
                resources.push(json!({"name": format!("{name}:{start}:{end}"), "algorithm": algorithm, "digest": sha256(part)}));
            }
        }
        let mut statement = Folder::statement();
        statement["predicate"]["resources"] = resources.into();
        statement["predicate"]["serialization"]["method"] = "shards".into();
        statement["predicate"]["serialization"]["shard_size"] = size.into();
        add_up(&mut statement);
        statement
    };
    let parts = |size| parts_by("sha256", size);
    folder.judge(&parts(5)).succeeds();
    folder.judge(&parts(1000)).succeeds();
    // As model-signing 1.1.1 calls it.
    folder.judge(&parts_by("sha256-sharded-5", 5)).succeeds();
    for algorithm in ["sha256-sharded-6", "sha256-sharded-", "blake2b-sharded-5"] {
        folder.judge(&parts_by(algorithm, 5)).exits(12).says(algorithm);
    }
    // Of a file without bytes there are no parts.
    folder.dir.put("empty", b"");
    folder.judge(&parts(5)).succeeds();
    folder.dir.put("weights.bin", b"many numberz");
    folder.judge(&parts(5)).exits(20).prints("bytes 10 to 12");
    folder.dir.put("weights.bin", b"many numbers and more");
    folder.judge(&parts(5)).exits(20).prints("should have 12");
    folder.dir.put("weights.bin", WEIGHTS);

    let edits: [(&str, PartsEdit); 7] = [
        ("a part is missing", |parts| drop(parts.remove(2))),
        ("the last part is missing", |parts| drop(parts.pop())),
        ("parts overlap", |parts| parts[3]["name"] = "weights.bin:4:12".into()),
        ("a part is too long", |parts| parts[1]["name"] = "weights.bin:0:6".into()),
        ("a part has no bytes", |parts| parts[1]["name"] = "weights.bin:0:0".into()),
        ("a part ends before it begins", |parts| parts[1]["name"] = "weights.bin:5:0".into()),
        ("a number is not written as usual", |parts| parts[1]["name"] = "weights.bin:00:5".into()),
    ];
    for (what, edit) in edits {
        let mut statement = parts(5);
        let resources = statement["predicate"]["resources"].as_array_mut().expect("a list");
        edit(resources);
        add_up(&mut statement);
        let run = folder.judge(&statement);
        assert!(
            [Some(12), Some(20)].contains(&run.status),
            "{what} was accepted:\n{}{}",
            run.stdout,
            run.stderr
        );
    }
}

/// Everything that a signature must not be; each entry is one thing that is wrong.
fn wrong_statements() -> Vec<(&'static str, Value)> {
    fn resource(statement: &mut Value, at: usize) -> &mut Value {
        &mut statement["predicate"]["resources"][at]
    }
    fn form(statement: &mut Value) -> &mut Value {
        &mut statement["predicate"]["serialization"]
    }
    let adding_up: [(&str, Edit); 28] = [
        ("another type", |s| s["_type"] = "https://in-toto.io/Statement/v0.1".into()),
        ("no type", |s| drop(s.as_object_mut().expect("a map").remove("_type"))),
        ("another predicate", |s| s["predicateType"] = "https://example.com/wrong/v1.0".into()),
        ("an old predicate", |s| s["predicateType"] = "https://model_signing/Digests/v0.1".into()),
        ("a newer predicate", |s| s["predicateType"] = "https://model_signing/signature/v1.1".into()),
        ("no predicate", |s| drop(s.as_object_mut().expect("a map").remove("predicate"))),
        ("something beside the predicate", |s| s["more"] = 1.into()),
        ("something beside the files", |s| s["predicate"]["more"] = 1.into()),
        ("something beside the form", |s| form(s)["more"] = 1.into()),
        ("another hash of all", |s| form(s)["hash_type"] = "blake2b".into()),
        ("another hash of one", |s| resource(s, 1)["algorithm"] = "blake3".into()),
        ("the hash of a part of one", |s| resource(s, 1)["algorithm"] = "sha256-sharded-5".into()),
        ("no hash of one", |s| drop(resource(s, 1).as_object_mut().expect("a map").remove("algorithm"))),
        ("another method", |s| form(s)["method"] = "tensors".into()),
        ("parts without a size", |s| form(s)["method"] = "shards".into()),
        ("files with a size", |s| form(s)["shard_size"] = 5.into()),
        ("links perhaps", |s| form(s)["allow_symlinks"] = "false".into()),
        ("nothing about links", |s| drop(form(s).as_object_mut().expect("a map").remove("allow_symlinks"))),
        ("all is left out", |s| form(s)["ignore_paths"] = json!(["."])),
        ("what is outside is left out", |s| form(s)["ignore_paths"] = json!(["../x"])),
        ("what is absolute is left out", |s| form(s)["ignore_paths"] = json!(["/x"])),
        ("a glob is left out", |s| form(s)["ignore_paths"] = json!(["*.bin"])),
        ("what is left out is no list", |s| form(s)["ignore_paths"] = "weights.bin".into()),
        ("no files", |s| s["predicate"]["resources"] = json!([])),
        ("two models", |s| {
            let subject = s["subject"][0].clone();
            s["subject"].as_array_mut().expect("a list").push(subject);
        }),
        ("a digest in large letters", |s| {
            let digest = resource(s, 1)["digest"].as_str().expect("a digest").to_uppercase();
            resource(s, 1)["digest"] = digest.into();
        }),
        ("a digest that is too short", |s| resource(s, 1)["digest"] = "abcd".into()),
        ("one name twice", |s| {
            let twice = s["predicate"]["resources"][1].clone();
            s["predicate"]["resources"].as_array_mut().expect("a list").push(twice);
        }),
    ];
    let mut wrong: Vec<_> = adding_up
        .into_iter()
        .map(|(what, edit)| {
            let mut statement = Folder::statement();
            edit(&mut statement);
            add_up(&mut statement);
            (what, statement)
        })
        .collect();
    // Names.
    for name in [
        "../weights.bin",
        "/weights.bin",
        "./weights.bin",
        "sub/../weights.bin",
        "sub//weights.bin",
        "weights.bin/",
        ".",
        "..",
        "",
        "sub\\weights.bin",
        "weights\u{0}.bin",
        ".modelfetch/x",
        "C:/weights.bin",
    ] {
        let mut statement = Folder::statement();
        resource(&mut statement, 1)["name"] = name.into();
        statement["predicate"]["resources"]
            .as_array_mut()
            .expect("a list")
            .sort_by_key(|one| one["name"].to_string());
        add_up(&mut statement);
        wrong.push(("a name that no file has", statement));
    }
    // The digest of the model.
    for edit in [
        |s: &mut Value| s["subject"][0]["digest"]["sha256"] = "0".repeat(64).into(),
        |s: &mut Value| s["subject"][0]["digest"] = json!({"sha512": "ab"}),
        |s: &mut Value| drop(s["subject"][0].as_object_mut().expect("a map").remove("digest")),
        |s: &mut Value| s["subject"] = json!([]),
        |s: &mut Value| s["subject"][0]["name"] = "".into(),
    ] {
        let mut statement = Folder::statement();
        edit(&mut statement);
        wrong.push(("another digest of the model", statement));
    }
    let mut backwards = Folder::statement();
    backwards["predicate"]["resources"].as_array_mut().expect("a list").reverse();
    add_up(&mut backwards);
    wrong.push(("another order", backwards));
    wrong
}

#[test]
fn a_statement_that_is_not_as_the_specification_has_it_is_refused_though_it_be_signed() {
    let folder = Folder::new();
    folder.judge(&Folder::statement()).succeeds();
    for (what, statement) in wrong_statements() {
        let run = folder.judge(&statement);
        assert_eq!(run.status, Some(12), "{what}: {statement}\n{}{}", run.stdout, run.stderr);
    }
}

#[test]
fn names_in_the_order_that_model_signing_gives_them_are_accepted_as_are_those_in_that_of_the_specification() {
    let folder = Folder::new();
    fs::remove_file(folder.dir.file("weights.bin")).expect("removed");
    folder.dir.put("sub.txt", WEIGHTS);
    // `.` comes before `/`, but the folder `sub` before `sub.txt`.
    let files = [("sub.txt", sha256(WEIGHTS)), ("sub/config.json", sha256(CONFIG))];
    let mut statement = statement(&files.each_ref().map(|(name, digest)| (*name, digest.as_str())));
    folder.judge(&statement).succeeds();
    statement["predicate"]["resources"].as_array_mut().expect("a list").reverse();
    add_up(&mut statement);
    folder.judge(&statement).succeeds();
}

#[test]
fn a_bundle_that_is_not_as_the_specification_has_it_is_refused() {
    let folder = Folder::new();
    let edits: [(&str, Edit); 24] = [
        ("another media type", |b| b["mediaType"] = "application/json".into()),
        ("an older bundle", |b| {
            b["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.1".into();
        }),
        ("a newer bundle", |b| b["mediaType"] = "application/vnd.dev.sigstore.bundle.v0.4+json".into()),
        ("no media type", |b| drop(b.as_object_mut().expect("a map").remove("mediaType"))),
        ("something beside the envelope", |b| b["more"] = 1.into()),
        ("another signature beside the envelope", |b| b["messageSignature"] = json!({"signature": "AA=="})),
        ("no envelope", |b| drop(b.as_object_mut().expect("a map").remove("dsseEnvelope"))),
        ("no material", |b| drop(b.as_object_mut().expect("a map").remove("verificationMaterial"))),
        ("empty material", |b| b["verificationMaterial"] = json!({})),
        ("an empty key", |b| b["verificationMaterial"]["publicKey"] = json!({})),
        ("a key and a chain", |b| {
            b["verificationMaterial"]["x509CertificateChain"] = json!({"certificates": []});
        }),
        ("a chain alone", |b| {
            b["verificationMaterial"] =
                json!({"x509CertificateChain": {"certificates": [{"rawBytes": "AAAA"}]}});
        }),
        ("an identity", |b| {
            b["verificationMaterial"] = json!({"certificate": {"rawBytes": "AAAA"}, "tlogEntries": [{}]});
        }),
        ("a log that is no list", |b| b["verificationMaterial"]["tlogEntries"] = json!({})),
        ("another payload type", |b| b["dsseEnvelope"]["payloadType"] = "application/json".into()),
        ("no signature", |b| b["dsseEnvelope"]["signatures"] = json!([])),
        ("two signatures", |b| {
            let signature = b["dsseEnvelope"]["signatures"][0].clone();
            b["dsseEnvelope"]["signatures"] = json!([signature, signature]);
        }),
        ("a wrong signature and a right one", |b| {
            let signature = b["dsseEnvelope"]["signatures"][0].clone();
            b["dsseEnvelope"]["signatures"] = json!([{"sig": "AAAA"}, signature]);
        }),
        ("something beside the signature", |b| b["dsseEnvelope"]["signatures"][0]["more"] = 1.into()),
        ("something in the envelope", |b| b["dsseEnvelope"]["more"] = 1.into()),
        ("an empty signature", |b| b["dsseEnvelope"]["signatures"][0]["sig"] = "".into()),
        ("a key's name that is no text", |b| b["dsseEnvelope"]["signatures"][0]["keyid"] = 1.into()),
        ("an empty payload", |b| b["dsseEnvelope"]["payload"] = "".into()),
        ("another payload", |b| {
            let mut other = Folder::statement();
            other["subject"][0]["name"] = "other".into();
            b["dsseEnvelope"]["payload"] = BASE64_STANDARD.encode(other.to_string()).into();
        }),
    ];
    for (what, edit) in edits {
        let mut bundle = folder.signer.bundle(&Folder::statement());
        edit(&mut bundle);
        folder.put(&bundle.to_string());
        let run = folder.verify_by_key();
        assert_eq!(run.status, Some(12), "{what} was accepted: {bundle}\n{}{}", run.stdout, run.stderr);
    }
    // A type that was signed, and is another one.
    let payload = Folder::statement().to_string();
    for kind in ["application/vnd.in-toto+json ", "application/json", ""] {
        let material = json!({"publicKey": {"hint": "x"}});
        folder.put(&folder.signer.sealed(kind, payload.as_bytes(), &material).to_string());
        let run = folder.verify_by_key();
        assert_eq!(run.status, Some(12), "{kind:?} was accepted\n{}", run.stdout);
    }
}

#[test]
fn what_the_versions_of_the_format_differ_in_is_accepted_either_way() {
    let folder = Folder::new();
    let edits: [(&str, Edit); 8] = [
        ("the other name of version 0.3", |b| {
            b["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.3".into();
        }),
        ("no keyid", |b| {
            drop(b["dsseEnvelope"]["signatures"][0].as_object_mut().expect("a map").remove("keyid"));
        }),
        ("a null keyid", |b| b["dsseEnvelope"]["signatures"][0]["keyid"] = Value::Null),
        ("a keyid", |b| b["dsseEnvelope"]["signatures"][0]["keyid"] = "mine".into()),
        ("no log", |b| drop(b["verificationMaterial"].as_object_mut().expect("a map").remove("tlogEntries"))),
        ("the key instead of its name", |b| {
            b["verificationMaterial"]["publicKey"] = json!({"rawBytes": "AAAA", "keyDetails": "X"});
        }),
        ("another way to name keys", |b| b["verificationMaterial"]["publicKey"]["hint"] = "acme".into()),
        ("a timestamp", |b| b["verificationMaterial"]["timestampVerificationData"] = json!({})),
    ];
    for (what, edit) in edits {
        let mut bundle = folder.signer.bundle(&Folder::statement());
        edit(&mut bundle);
        folder.put(&bundle.to_string());
        let run = folder.verify_by_key();
        assert_eq!(run.status, Some(0), "{what} was refused\n{}", run.stderr);
    }
    let mut without_left_out = Folder::statement();
    without_left_out["predicate"]["serialization"].as_object_mut().expect("a map").remove("ignore_paths");
    folder.judge(&without_left_out).succeeds();
    let mut with_more = Folder::statement();
    with_more["predicate"]["resources"][0]["annotations"] = json!({"size": 2});
    with_more["subject"][0]["uri"] = "x".into();
    folder.judge(&with_more).succeeds();
}

#[test]
fn a_text_that_two_readers_may_read_in_two_ways_is_refused() {
    let folder = Folder::new();
    let bundle = folder.signer.bundle(&Folder::statement()).to_string();
    let statement = Folder::statement().to_string();
    let twice = |text: &str, key: &str, value: &str| text.replacen('{', &format!("{{\"{key}\":{value},"), 1);
    let signed = |text: &str| folder.signer.bundle_of(text.as_bytes()).to_string();
    let evil = statement.replace(&sha256(WEIGHTS), &sha256(b"evil"));
    let predicate = &evil[evil.find("\"predicate\":").expect("a predicate") + 12..];
    let (payload, _) =
        (bundle.split("\"payload\":\"").nth(1).expect("a payload").split_once('"')).expect("an end");
    let mut texts = vec![
        twice(&bundle, "mediaType", "\"application/json\""),
        twice(&bundle, "dsse\\u0045nvelope", "{}"),
        signed(&twice(&statement, "predicateType", "\"x\"")),
        signed(&statement.replacen(
            '{',
            &format!("{{\"predicate\":{},", predicate.split(",\"predicateType\"").next().expect("a part")),
            1,
        )),
        signed(&statement.replace("\"name\":\"weights.bin\"", "\"name\":\"weights.bin\",\"name\":\"sub/x\"")),
        signed(&format!("{statement} {{}}")),
        signed(&format!("[{statement}]")),
        signed("null"),
        signed("not JSON"),
        format!("{bundle}{bundle}"),
        format!("\u{feff}{bundle}"),
        "[".repeat(100_000),
        String::new(),
        "{}".into(),
    ];
    // Base64 in other forms than the usual one.
    for other in [
        payload.trim_end_matches('=').to_owned() + if payload.ends_with('=') { "" } else { "=" },
        format!("{payload}\\n"),
        format!(" {payload}"),
        payload.replace('+', "-").replace('/', "_") + "-",
    ] {
        texts.push(bundle.replace(payload, &other));
    }
    for text in texts {
        folder.put(&text);
        let run = folder.verify_by_key();
        assert_eq!(
            run.status,
            Some(12),
            "accepted: {}\n{}",
            text.chars().take(400).collect::<String>(),
            run.stderr
        );
    }
}

#[test]
fn bits_that_base64_leaves_over_are_refused() {
    let folder = Folder::new();
    // Spaces until the last group has two or four bits to spare.
    for spaces in 0..3 {
        let payload = format!("{}{}", Folder::statement(), " ".repeat(spaces));
        let bundle = folder.signer.bundle_of(payload.as_bytes());
        let text = bundle["dsseEnvelope"]["payload"].as_str().expect("a payload").to_owned();
        let Some(at) = text.find('=').map(|at| at - 1) else { continue };
        let mut other = text.clone().into_bytes();
        other[at] += 1;
        folder.put(&bundle.to_string().replace(&text, &String::from_utf8(other).expect("ASCII")));
        folder.verify_by_key().exits(12);
        folder.put(&bundle.to_string());
        folder.verify_by_key().succeeds();
    }
}

#[test]
fn a_signature_of_another_key_or_by_another_way_of_signing_is_refused() {
    let folder = Folder::new();
    let statement = Folder::statement();
    let message = |key: &KeyPair| {
        let signer = Signer { key: KeyPair::from_pem(&key.serialize_pem()).expect("a key") };
        signer.bundle(&statement).to_string()
    };
    let stranger = Signer::new();
    folder.put(&stranger.bundle(&statement).to_string());
    folder
        .verify_by_key()
        .exits(12)
        .says("none of the trusted keys")
        .says(stranger.id().trim_start_matches("key:"));
    // Its name says that it is the one that is trusted.
    let mut pretender = stranger.bundle(&statement);
    pretender["verificationMaterial"]["publicKey"]["hint"] =
        folder.signer.id().trim_start_matches("key:").into();
    folder.put(&pretender.to_string());
    folder.verify_by_key().exits(12).says("it was changed, or is broken");
    for algorithm in [&PKCS_ECDSA_P256_SHA256, &PKCS_ED25519] {
        folder.put(&message(&KeyPair::generate_for(algorithm).expect("a key")));
        folder.verify_by_key().exits(12);
    }
    // A trusted key of P-256 is as good.
    let other = Signer { key: KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key") };
    fs::create_dir(folder.dir.path().join("keys")).expect("a folder");
    other.write_key(&folder.dir.path().join("keys/other.pub"));
    folder.signer.write_key(&folder.dir.path().join("keys/mine.pub"));
    folder.put(&other.bundle(&statement).to_string());
    folder.verify_by_key().exits(12);
    folder.verify(["--trust-key", "keys"]).succeeds().says(&other.id());
    folder.verify(["--trust-key", "key.pub", "--trust-key", "keys/other.pub"]).succeeds();
}

#[test]
fn what_is_no_key_or_cannot_be_used_is_told_before_anything_is_asked() {
    let folder = Folder::new();
    folder.put(&folder.signer.sign(&[]));
    // `openssl ecparam -name secp521r1 -genkey -noout | openssl ec -pubout`
    let p521 = "-----BEGIN PUBLIC KEY-----\nMIGbMBAGByqGSM49AgEGBSuBBAAjA4GGAAQBh4J6HVTdYLeACkWUv77awJ1Xev5N\n8IuID6OOGhklfGpzqrk0JFQ/HtZ23sVi0uWGjaj5qrzjWKmN9xleuuFfChkA7M7f\nYE87BI1W2A4xhWV7oLUJ1dsiGKUBHj0OzUko5UxHUxlZHNJs7C/iSG5Qpc3rNIUG\neBA7j+tiCBnFI7fMlMk=\n-----END PUBLIC KEY-----\n";
    let ed25519 = KeyPair::generate_for(&PKCS_ED25519).expect("a key").public_key_pem();
    let private = folder.signer.key.serialize_pem();
    for (text, why) in [
        (p521, "P-521"),
        (&ed25519, "P-256 and P-384"),
        (&private, "no public key"),
        ("no PEM", "no public key"),
        ("", "no public key"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "no public key"),
    ] {
        fs::write(folder.dir.path().join("bad.pub"), text).expect("a file");
        folder
            .verify(["--trust-key", "bad.pub"])
            .exits(2)
            .says("bad.pub")
            .says(why)
            .does_not_say("PRIVATE KEY-----");
        folder.verify(["--trust-cert", "bad.pub"]).exits(2).says("no certificate");
    }
    folder.verify(["--trust-key", "absent.pub"]).exits(2).says("absent.pub");
    fs::create_dir(folder.dir.path().join("empty")).expect("a folder");
    folder.verify(["--trust-key", "empty"]).exits(2).says("no file is in this folder");
    folder.verify(["--signature", "model.sig"]).exits(2).says("--trust-key");
    folder.verify(["--trust-key", "key.pub", "--repair"]).exits(2).says("fetch --trust-key");
    folder.verify(["--trust-key", "key.pub", "--sha256", &"0".repeat(64)]).exits(2);
}

#[test]
fn the_vectors_of_the_specification_are_judged_as_it_says() {
    let folder = Folder::new();
    fs::remove_dir_all(folder.dir.models()).expect("removed");
    folder.dir.put("signme-1", b"signme-1\n");
    folder.dir.put("signme-2", b"signme-2");
    folder.dir.put("ignore-me", b"");
    let key = vector("signing-key-pub.pem");
    let authority = vector("ca-cert.pem");
    let trust =
        ["--trust-key", key.to_str().expect("UTF-8"), "--trust-cert", authority.to_str().expect("UTF-8")];
    let judge = |path: &Path| {
        folder.put(&fs::read_to_string(path).expect("a vector"));
        folder.verify(trust)
    };
    judge(&vector("spec/valid/key.bundle.json")).succeeds().says("key:e8450dec4eb9");
    judge(&vector("spec/valid/certificate.bundle.json")).succeeds().says("certificate:");
    judge(&vector("spec/valid/sigstore.bundle.json")).exits(12).says("keyless");
    let mut refused = 0;
    for kind in ["invalid", "invalid-payload"] {
        for entry in fs::read_dir(vector("spec").join(kind)).expect("vectors") {
            judge(&entry.expect("an entry").path()).exits(12);
            refused += 1;
        }
    }
    assert_eq!(refused, 5);
    // Who trusts the authority between alone has less to trust.
    let between = vector("int-ca-cert.pem");
    folder.put(&fs::read_to_string(vector("spec/valid/certificate.bundle.json")).expect("a vector"));
    folder.verify(["--trust-cert", between.to_str().expect("UTF-8")]).succeeds();
    folder.verify(["--trust-key", key.to_str().expect("UTF-8")]).exits(12).says("--trust-cert");
}

#[test]
fn what_earlier_releases_of_model_signing_wrote_is_judged_by_what_it_says() {
    for entry in fs::read_dir(vector("history")).expect("vectors") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().expect("a name").to_str().expect("UTF-8").to_owned();
        let folder = Folder::new();
        fs::remove_dir_all(folder.dir.models()).expect("removed");
        let is_of_key = name.contains("elliptic-key");
        folder.dir.put("signme-1", if is_of_key { b"signme-1\n" } else { b"signme-1" });
        folder.put(&fs::read_to_string(&path).expect("a vector"));
        let (key, authority) = (vector("signing-key-pub.pem"), vector("ca-cert.pem"));
        let trust = if is_of_key { ("--trust-key", key) } else { ("--trust-cert", authority) };
        let mut arguments = vec![trust.0, trust.1.to_str().expect("UTF-8")];
        // Until 1.0.0 the one of a key is of a model that is one file.
        match name.as_str() {
            "v0.3.1-elliptic-key" | "v1.0.0-elliptic-key" => arguments.push("signme-1"),
            _ => drop(folder.dir.put("signme-2", b"signme-2")),
        }
        let run = folder.verify(arguments.iter().copied());
        let is_refused = name.contains("sigstore") || name.starts_with("v0.2.0");
        assert_eq!(run.status, Some(if is_refused { 12 } else { 0 }), "{name}: {}{}", run.stdout, run.stderr);
    }
}

/// Certificates as a test wants them: an authority, one below it, and a signer's.
struct Chain {
    root: CertifiedIssuer<'static, KeyPair>,
    between: CertifiedIssuer<'static, KeyPair>,
    leaf: Vec<u8>,
    signer: Signer,
}

/// What is special about it.
#[derive(Default)]
struct Special {
    root: Option<fn(&mut CertificateParams)>,
    between: Option<fn(&mut CertificateParams)>,
    leaf: Option<fn(&mut CertificateParams)>,
}

impl Chain {
    fn new(special: &Special) -> Self {
        let authority = |name: &str| {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
            params
        };
        let key = || KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        let mut params = authority("root");
        special.root.inspect(|edit| edit(&mut params));
        let root = CertifiedIssuer::self_signed(params, key()).expect("a certificate");
        let mut params = authority("between");
        special.between.inspect(|edit| edit(&mut params));
        let between = CertifiedIssuer::signed_by(params, key(), &root).expect("a certificate");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "signer");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
        special.leaf.inspect(|edit| edit(&mut params));
        let signer = Signer::new();
        let leaf = params.signed_by(&signer.key, &between).expect("a certificate").der().to_vec();
        Self { root, between, leaf, signer }
    }

    fn bundle(&self, chain: &[&[u8]]) -> String {
        let certificates: Vec<_> =
            chain.iter().map(|der| json!({"rawBytes": BASE64_STANDARD.encode(der)})).collect();
        let material = json!({"x509CertificateChain": {"certificates": certificates}, "tlogEntries": []});
        self.signer.sealed(PAYLOAD_TYPE, Folder::statement().to_string().as_bytes(), &material).to_string()
    }

    fn judge(&self, folder: &Folder, chain: &[&[u8]]) -> Run {
        folder.put(&self.bundle(chain));
        fs::write(folder.dir.path().join("root.pem"), self.root.pem()).expect("a certificate");
        folder.verify(["--trust-cert", "root.pem"])
    }

    fn whole(&self) -> [&[u8]; 2] {
        [&self.leaf, self.between.der()]
    }
}

#[test]
fn a_certificate_leads_to_a_trusted_one_in_whatever_order_its_chain_comes() {
    let folder = Folder::new();
    let chain = Chain::new(&Special::default());
    chain.judge(&folder, &chain.whole()).succeeds().says(&format!("certificate:{}", sha256(&chain.leaf)));
    chain.judge(&folder, &[&chain.leaf, chain.root.der(), chain.between.der()]).succeeds();
    let stranger = Chain::new(&Special::default());
    chain.judge(&folder, &[&chain.leaf, stranger.between.der(), chain.between.der()]).succeeds();
    chain.judge(&folder, &[&chain.leaf]).exits(12).says("does not lead to one that is trusted");
    // Whoever names the signer's own certificate needs no chain.
    let pem = format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        BASE64_STANDARD.encode(&chain.leaf)
    );
    fs::write(folder.dir.path().join("leaf.pem"), pem).expect("a certificate");
    folder.verify(["--trust-cert", "leaf.pem"]).succeeds();
    fs::write(folder.dir.path().join("between.pem"), chain.between.pem()).expect("a certificate");
    folder.verify(["--trust-cert", "between.pem"]).succeeds();
    // The others that are trusted do no harm.
    folder
        .verify(["--trust-cert", "leaf.pem", "--trust-cert", "root.pem", "--trust-key", "key.pub"])
        .succeeds();
}

#[test]
#[expect(clippy::too_many_lines, reason = "a list of chains")]
fn a_chain_that_does_not_hold_is_refused() {
    let folder = Folder::new();
    let good = Chain::new(&Special::default());
    let stranger = Chain::new(&Special::default());
    let refused = |what: &str, chain: &Chain, certificates: &[&[u8]]| {
        let run = chain.judge(&folder, certificates);
        assert_eq!(run.status, Some(12), "{what} was accepted: {}", run.stdout);
    };
    refused("no chain", &good, &[]);
    refused("a chain to somebody else", &good, &[&good.leaf, stranger.between.der(), stranger.root.der()]);
    refused("somebody else's certificate", &good, &[&stranger.leaf, good.between.der()]);
    refused("an authority's certificate first", &good, &[good.between.der(), &good.leaf]);
    let mut changed = good.leaf.clone();
    let at = changed.windows(6).position(|part| part == b"signer").expect("its name");
    changed[at] ^= 1;
    refused("a certificate that was changed", &good, &[&changed, good.between.der()]);
    let mut longer = good.leaf.clone();
    longer.push(0);
    refused("a certificate with something behind it", &good, &[&longer, good.between.der()]);
    let many: Vec<&[u8]> = std::iter::repeat_n(good.between.der().as_ref(), 20).collect();
    refused("very many certificates", &good, &many);

    let specials: [(&str, Special); 14] = [
        (
            "a signer that has run out",
            Special { leaf: Some(|p| p.not_after = date_time_ymd(2020, 1, 1)), ..Special::default() },
        ),
        (
            "a signer of tomorrow",
            Special { leaf: Some(|p| p.not_before = date_time_ymd(2990, 1, 1)), ..Special::default() },
        ),
        (
            "an authority that has run out",
            Special { between: Some(|p| p.not_after = date_time_ymd(2020, 1, 1)), ..Special::default() },
        ),
        (
            "a root that has run out",
            Special { root: Some(|p| p.not_after = date_time_ymd(2020, 1, 1)), ..Special::default() },
        ),
        (
            "a signer for servers",
            Special {
                leaf: Some(|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]),
                ..Special::default()
            },
        ),
        (
            "a signer for other keys",
            Special {
                leaf: Some(|p| p.key_usages = vec![KeyUsagePurpose::KeyEncipherment]),
                ..Special::default()
            },
        ),
        (
            "a signer for nothing",
            Special {
                leaf: Some(|p| {
                    p.key_usages.clear();
                    p.extended_key_usages.clear();
                }),
                ..Special::default()
            },
        ),
        (
            "an authority that is none",
            Special { between: Some(|p| p.is_ca = IsCa::ExplicitNoCa), ..Special::default() },
        ),
        (
            "an authority that says nothing",
            Special { between: Some(|p| p.is_ca = IsCa::NoCa), ..Special::default() },
        ),
        (
            "an authority that may not issue",
            Special {
                between: Some(|p| p.key_usages = vec![KeyUsagePurpose::DigitalSignature]),
                ..Special::default()
            },
        ),
        (
            "an authority for servers",
            Special {
                between: Some(|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]),
                ..Special::default()
            },
        ),
        (
            "a root that allows none between",
            Special {
                root: Some(|p| p.is_ca = IsCa::Ca(BasicConstraints::Constrained(0))),
                ..Special::default()
            },
        ),
        ("a critical extension that nobody knows", Special { leaf: Some(critical), ..Special::default() }),
        ("an authority for certain names", Special { between: Some(limited), ..Special::default() }),
    ];
    for (what, special) in specials {
        let chain = Chain::new(&special);
        refused(what, &chain, &chain.whole());
    }
    for (what, special) in [
        (
            "a root that allows one between",
            Special {
                root: Some(|p| p.is_ca = IsCa::Ca(BasicConstraints::Constrained(1))),
                ..Special::default()
            },
        ),
        (
            "a signer that is an authority too",
            Special {
                leaf: Some(|p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
                ..Special::default()
            },
        ),
        (
            "a signer for signatures",
            Special { leaf: Some(|p| p.extended_key_usages.clear()), ..Special::default() },
        ),
        ("a signer for code", Special { leaf: Some(|p| p.key_usages.clear()), ..Special::default() }),
    ] {
        let chain = Chain::new(&special);
        let run = chain.judge(&folder, &chain.whole());
        assert_eq!(run.status, Some(0), "{what} was refused: {}", run.stderr);
    }
}

fn critical(params: &mut CertificateParams) {
    let mut extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![5, 0]);
    extension.set_criticality(true);
    params.custom_extensions.push(extension);
}

fn limited(params: &mut CertificateParams) {
    let names = rcgen::NameConstraints {
        permitted_subtrees: vec![rcgen::GeneralSubtree::DnsName("example.com".into())],
        excluded_subtrees: Vec::new(),
    };
    params.name_constraints = Some(names);
}

#[test]
fn a_certificate_that_was_signed_by_one_of_the_same_name_is_refused() {
    let folder = Folder::new();
    let (good, evil) = (Chain::new(&Special::default()), Chain::new(&Special::default()));
    // A chain of another root with the same names.
    folder.put(&evil.bundle(&[&evil.leaf, evil.between.der(), evil.root.der()]));
    fs::write(folder.dir.path().join("root.pem"), good.root.pem()).expect("a certificate");
    folder.verify(["--trust-cert", "root.pem"]).exits(12);
    // A signer who makes himself an authority.
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "other");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let issuer_params = {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "signer");
        params
    };
    let other = Signer { key: KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).expect("a key") };
    let issuer = Issuer::from_params(&issuer_params, &good.signer.key);
    let leaf = params.signed_by(&other.key, &issuer).expect("a certificate").der().to_vec();
    let chain = Chain { leaf, signer: other, ..good };
    chain.judge(&folder, &[&chain.leaf, chain.between.der()]).exits(12);
}

// ---- fetch

/// A Hub with a signed model.
struct Bed {
    hub: FakeHub,
    dir: TestDir,
    signer: Signer,
    weights: Payload,
}

const BY_KEY: [&str; 3] = [REPO, "--trust-key", "key.pub"];

impl Bed {
    fn new() -> Self {
        Self::with(|_, _| {})
    }

    fn with(edit: impl FnOnce(&mut fake_hub::Tree, &Signer)) -> Self {
        let (dir, signer, weights) = (TestDir::new(), Signer::new(), model(41, 3));
        signer.write_key(&dir.path().join("key.pub"));
        let signature = signer.sign(&[("config.json", &sha256(CONFIG)), ("m.gguf", weights.sha256())]);
        let repo = Repo::model(REPO)
            .lfs("m.gguf", weights.clone())
            .small("config.json", CONFIG)
            .small(".gitattributes", &b"* lfs"[..])
            .small("model.sig", signature.into_bytes());
        let hub = built(FakeHub::builder().repo(repo));
        hub.push(REPO, "main", |tree| edit(tree, &signer));
        hub.clear();
        Self { hub, dir, signer, weights }
    }

    fn fetch<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Modelfetch {
        self.dir.fetch(&self.hub, arguments)
    }

    fn list(&self) -> Value {
        let run = self.dir.command(["list", "--json", "--dir"]).arg(self.dir.models()).run().succeeds();
        serde_json::from_str::<Value>(&run.stdout).expect("JSON")["held"]["files"].clone()
    }

    fn vouchers(&self, path: &str) -> Vec<String> {
        let files = self.list();
        let file = files.as_array().expect("a list").iter().find(|file| file["path"] == path);
        let vouchers =
            file.unwrap_or_else(|| panic!("{path} is not in {files}"))["vouched_by"].as_array().cloned();
        vouchers.unwrap_or_default().iter().map(|word| word.as_str().expect("a word").to_owned()).collect()
    }

    /// Nothing but the signature was asked for.
    #[track_caller]
    fn assert_nothing_fetched(&self) {
        self.dir.assert_absent("m.gguf");
        self.dir.assert_absent("config.json");
        assert_eq!(self.hub.bytes_sent(Server::Cdn), 0, "bytes of weights were sent");
    }
}

#[test]
fn the_signature_is_verified_before_the_first_byte_of_a_weight_and_receipts_say_who_vouched() {
    let bed = Bed::new();
    bed.fetch(BY_KEY).run().succeeds().says(&bed.signer.id());
    bed.dir.assert_published("m.gguf", &bed.weights);
    let gets: Vec<_> =
        bed.hub.requests().into_iter().filter(|record| record.request.method == "GET").collect();
    let at = |name: &str| gets.iter().position(|record| record.request.target.contains(name));
    assert!(at("model.sig") < at("m.gguf") || at("m.gguf").is_none(), "{gets:?}");
    let of_signature = gets.iter().filter(|record| record.request.target.contains("model.sig"));
    assert_eq!(of_signature.count(), 1, "what was needed first is not fetched again");
    assert_eq!(bed.vouchers("m.gguf"), ["hub".to_owned(), bed.signer.id()]);
    assert_eq!(bed.vouchers("config.json"), ["hub".to_owned(), bed.signer.id()]);
    assert_eq!(bed.vouchers("model.sig"), ["hub"]);
    let run = bed.dir.command(["list", "--dir"]).arg(bed.dir.models()).run().succeeds();
    assert!(run.stdout.contains(&format!("by hub, {}", bed.signer.id())), "{}", run.stdout);
    // What is there is enough, and is compared with the signature all the same.
    bed.hub.clear();
    bed.fetch(BY_KEY).args(["--offline"]).run().succeeds().says("signed by");
    assert_eq!(bed.hub.requests().len(), 0);
    let commit = bed.hub.commit(REPO, "main").expect("a branch");
    bed.fetch(BY_KEY).args(["--revision", &commit]).run().succeeds();
    bed.fetch(BY_KEY).args(["--revision", &commit]).run().succeeds();
}

#[test]
fn without_the_flag_a_signature_is_a_file_like_others_and_with_it_what_is_there_is_vouched_for_later() {
    let bed = Bed::new();
    bed.fetch([REPO]).run().succeeds();
    assert_eq!(bed.vouchers("m.gguf"), ["hub"]);
    bed.hub.clear();
    bed.fetch(BY_KEY).run().succeeds();
    assert_eq!(bed.hub.bytes_sent(Server::Cdn), 0, "it was fetched twice");
    assert_eq!(bed.vouchers("m.gguf"), ["hub".to_owned(), bed.signer.id()]);
    // Nothing is left to do, and who vouched is not forgotten.
    bed.fetch([REPO]).run().succeeds();
    assert_eq!(bed.vouchers("m.gguf"), ["hub".to_owned(), bed.signer.id()]);
}

#[test]
fn named_files_are_fetched_with_the_signature_and_pins_count_too() {
    let bed = Bed::new();
    let pin = format!("m.gguf={}", bed.weights.sha256());
    bed.fetch([REPO, "m.gguf", "--trust-key", "key.pub", "--sha256", &pin]).run().succeeds();
    bed.dir.assert_published("m.gguf", &bed.weights);
    bed.dir.assert_absent("config.json");
    assert_eq!(bed.vouchers("m.gguf"), ["hub".to_owned(), "pin".to_owned(), bed.signer.id()]);
    bed.fetch([REPO, "*.json", "--trust-key", "key.pub"]).run().succeeds();
    assert_eq!(bed.vouchers("config.json").last(), Some(&bed.signer.id()));
    bed.fetch([REPO, "*.xyz", "--trust-key", "key.pub"]).run().exits(11);
}

#[test]
fn a_model_that_is_not_signed_or_by_nobody_who_is_trusted_is_not_fetched() {
    let bed = Bed::with(|tree, _| {
        tree.remove("model.sig");
    });
    for files in [&[][..], &["m.gguf"], &["*.gguf"]] {
        bed.fetch(BY_KEY).args(files).run().exits(12).says("model.sig");
        bed.assert_nothing_fetched();
    }
    let bed = Bed::new();
    Signer::new().write_key(&bed.dir.path().join("key.pub"));
    bed.fetch(BY_KEY).run().exits(12).says("none of the trusted keys");
    bed.assert_nothing_fetched();
    bed.dir.job("plan", &bed.hub, BY_KEY).run().exits(12);
    bed.dir.job("smoke", &bed.hub, BY_KEY).run().exits(12);
}

#[test]
fn a_file_that_is_not_what_was_signed_is_refused_before_it_is_fetched() {
    let bed = Bed::with(|tree, _| {
        tree.lfs("m.gguf", model(42, 3));
    });
    bed.fetch(BY_KEY).run().exits(12).says("m.gguf").says("signed:");
    bed.assert_nothing_fetched();
}

#[test]
fn a_small_file_that_is_not_what_was_signed_is_never_published() {
    // The Hub says of it a git blob id alone, so that its bytes have to come first.
    let bed = Bed::with(|tree, _| {
        tree.small("config.json", &b"{\"a\":1}"[..]);
    });
    bed.fetch(BY_KEY).run().exits(20).says("config.json");
    bed.dir.assert_absent("config.json");
}

#[test]
fn a_selected_file_that_is_not_signed_is_refused_unless_it_is_allowed() {
    let bed = Bed::with(|tree, _| {
        tree.small("extra.py", &b"import os"[..]);
    });
    bed.fetch(BY_KEY).run().exits(12).says("extra.py").says("--allow-unsigned");
    bed.assert_nothing_fetched();
    bed.fetch(BY_KEY).args(["--exclude", "*.py"]).run().succeeds();
    bed.fetch(BY_KEY).args(["--allow-unsigned", "*.py"]).run().succeeds();
    assert_eq!(bed.vouchers("extra.py"), ["hub"]);
    bed.fetch([REPO, "--allow-unsigned", "*.py"]).run().exits(2).says("--trust-key");
}

#[test]
fn what_a_signature_leaves_out_is_not_signed() {
    let bed = Bed::with(|tree, signer| {
        let weights = model(41, 3);
        let mut statement = statement(&[("m.gguf", weights.sha256())]);
        statement["predicate"]["serialization"]["ignore_paths"] = json!(["config.json"]);
        tree.small("model.sig", signer.bundle(&statement).to_string().into_bytes());
    });
    bed.fetch(BY_KEY).run().exits(12).says("config.json");
    bed.assert_nothing_fetched();
}

#[test]
fn the_signature_of_a_folder_or_of_one_file_may_have_another_name() {
    let bed = Bed::with(|tree, signer| {
        let weights = model(41, 3);
        tree.small("m.gguf.sig", signer.sign(&[(".", weights.sha256())]).into_bytes());
        tree.lfs("sub/m.gguf", model(43, 1));
        tree.small("sub/model.sig", signer.sign(&[("m.gguf", model(43, 1).sha256())]).into_bytes());
    });
    let of_one = ["--trust-key", "key.pub", "--signature", "m.gguf.sig"];
    bed.fetch([REPO, "m.gguf"]).args(of_one).run().succeeds();
    assert_eq!(bed.vouchers("m.gguf").last(), Some(&bed.signer.id()));
    bed.fetch([REPO, "m.gguf", "config.json"]).args(of_one).run().exits(12);
    bed.fetch([REPO, "sub/*", "--trust-key", "key.pub", "--signature", "sub/model.sig"]).run().succeeds();
    bed.dir.assert_published("sub/m.gguf", &model(43, 1));
    bed.fetch([REPO, "sub/m.gguf", "m.gguf", "--trust-key", "key.pub", "--signature", "sub/model.sig"])
        .run()
        .exits(12);
}

#[test]
fn a_file_that_is_signed_in_parts_is_fetched_only_if_there_is_one() {
    let bed = Bed::with(|tree, signer| {
        let weights = model(41, 3);
        let parted = |size: u64| {
            let name = format!("m.gguf:0:{}", size.min(weights.size()));
            let mut statement = statement(&[(name.as_str(), weights.sha256())]);
            statement["predicate"]["serialization"]["method"] = "shards".into();
            statement["predicate"]["serialization"]["shard_size"] = size.into();
            signer.bundle(&statement).to_string().into_bytes()
        };
        tree.small("one.sig", parted(1_000_000_000));
        tree.small("first.sig", parted(MIB));
    });
    let by = |signature| ["m.gguf", "--trust-key", "key.pub", "--signature", signature];
    bed.fetch([REPO]).args(by("first.sig")).run().exits(12).says("parts");
    bed.dir.assert_absent("m.gguf");
    bed.fetch([REPO]).args(by("one.sig")).run().succeeds();
}

#[test]
fn a_manifest_says_for_each_model_whom_it_trusts() {
    let bed = Bed::new();
    fs::create_dir(bed.dir.path().join("keys")).expect("a folder");
    bed.signer.write_key(&bed.dir.path().join("keys/acme.pub"));
    let manifest = |more: &str| {
        let text = format!("[[model]]\nname = \"chat\"\nrepo = \"{REPO}\"\nfiles = [\"m.gguf\"]\n{more}");
        fs::write(bed.dir.path().join("models.toml"), text).expect("a manifest");
    };
    let command = |name: &str| bed.dir.command([name]).env("HF_ENDPOINT", bed.hub.endpoint());
    let fetch = || bed.fetch(["--manifest", "models.toml"]);
    manifest("");
    command("lock").run().succeeds();
    manifest("trust_key = \"keys/acme.pub\"\n");
    fetch().run().exits(2).says("model.sig").says("modelfetch lock");
    command("lock").run().succeeds();
    fetch().args(["--locked"]).run().succeeds().says(&bed.signer.id());
    assert_eq!(bed.vouchers("m.gguf"), ["lock".to_owned(), bed.signer.id()]);
    fetch().run().succeeds();
    // Somebody else is trusted now.
    Signer::new().write_key(&bed.dir.path().join("keys/acme.pub"));
    fetch().args(["--locked"]).run().exits(12).says("chat");
    command("lock").args(["--update"]).run().exits(12);
    for (more, why) in [
        ("trust-key = [\"keys\"]\n", "`trust_key` is probably meant"),
        ("allow_unsigned = [\"*\"]\n", "who may sign"),
        ("trust_key = [\"nowhere\"]\n", "nowhere"),
        ("trust_key = [\"keys\"]\nsignature = \"../x\"\n", "line 6"),
    ] {
        manifest(more);
        fetch().run().exits(2).says(why);
    }
    // The flags are about models that say nothing of their own.
    manifest("");
    fetch().args(["--trust-key", "key.pub"]).run().succeeds().says(&bed.signer.id());
}

#[test]
fn a_page_in_the_place_of_the_signature_is_no_signature() {
    let bed = Bed::new();
    bed.hub.fault(Rule::hub().path_contains("model.sig").method("GET").always().then(Fault::html(200)));
    let run = bed.fetch(BY_KEY).args(["--give-up-after", "2s"]).run();
    assert_ne!(run.status, Some(0), "{}", run.stdout);
    bed.assert_nothing_fetched();
}
