//! Every way to fail has the exit number the documentation promises.

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use modelfetch::content::{Computed, Digest, Sha256};
use modelfetch::error::{Advice, EXITS, Error, Failed, Failure, Signal};
use modelfetch::request::{BadToken, Gap, RepoId, RepoKind, TokenInTheClear, TokenSource};

/// The promised number of every variant. The match is exhaustive: a new variant does not compile
/// before its number is written down here, and then the tests want an example of it.
macro_rules! promise {
    ($($variant:ident => $number:literal,)*) => {
        fn promised(error: &Error) -> (&'static str, u8) {
            match error {
                $(Error::$variant { .. } => (stringify!($variant), $number),)*
            }
        }

        const VARIANTS: &[&str] = &[$(stringify!($variant)),*];
    };
}

promise! {
    Internal => 1,
    Invalid => 2,
    NameRefused => 2,
    LayerRefused => 2,
    NotAModel => 2,
    IncompleteSet => 2,
    BadToken => 2,
    TokenInTheClear => 2,
    ClusterRejected => 2,
    Gated => 10,
    Unauthorised => 10,
    NoExchange => 10,
    RegistryRefused => 10,
    ClusterForbidden => 10,
    RepoNotFound => 11,
    RevisionNotFound => 11,
    FileNotFound => 11,
    ShardNotFound => 11,
    NothingMatches => 11,
    LayerGone => 11,
    ObjectNotFound => 11,
    PinMismatch => 12,
    BadSignature => 12,
    Unsigned => 12,
    SignedInParts => 12,
    SignatureContradicted => 12,
    LockContradicted => 12,
    LockOutdated => 12,
    ModelsFailed => 11,
    DigestMismatch => 20,
    ManifestMismatch => 20,
    NotGguf => 20,
    WrongKind => 20,
    BrokenHeader => 20,
    VerifyFailed => 20,
    NoSpace => 21,
    DiskFull => 21,
    Io => 22,
    SameName => 22,
    TooLarge => 24,
    UnknownArchitecture => 25,
    Locked => 23,
    Meddled => 23,
    ClaimTerminating => 23,
    GaveUp => 30,
    Refused => 30,
    ServerNotReady => 30,
    NotAHub => 30,
    NotARegistry => 30,
    KeepsChanging => 30,
    Deadline => 30,
    RateLimited => 31,
    Offline => 32,
    Interrupted => 143,
}

/// One error of every variant.
#[expect(clippy::too_many_lines, reason = "a list")]
fn examples() -> Vec<Error> {
    let repo = || RepoId::new(RepoKind::Model, "o/n").expect("repository");
    let oci = || RepoId::new(RepoKind::Oci, "r.example/m").expect("repository");
    let path = || "a.gguf".parse().expect("path");
    let sha256 = |byte| Sha256::from_bytes([byte; 32]);
    let answer =
        || Box::new(Failure::Wrong { host: "hub.example".into(), why: "a page instead of a file".into() });
    let host = || "hub.example".to_owned();
    let span = Duration::from_secs(90);
    let token = || Some(TokenSource::Variable("HF_TOKEN"));
    vec![
        Error::Internal("impossible".into()),
        Error::invalid("glob", "[", "unclosed"),
        BadToken(TokenSource::Variable("HF_TOKEN")).into(),
        TokenInTheClear { what: "token", endpoint: "http://mirror.example".into(), way: String::new() }
            .into(),
        Error::Gated { repo: repo(), page: "https://hub.example/o/n".into(), token: None, answer: answer() },
        Error::Unauthorised { host: host(), repo: repo(), token: token(), answer: answer() },
        Error::NoExchange {
            host: host(),
            resource: "somebody".into(),
            identity: TokenSource::Variable("HF_OIDC_ID_TOKEN"),
            claims: "subject `x`".into(),
            is_over: false,
            answer: answer(),
        },
        Error::RepoNotFound { host: host(), repo: repo(), token: token() },
        Error::RevisionNotFound { repo: repo(), revision: "v9".parse().expect("revision") },
        Error::FileNotFound { repo: repo(), revision: "v9".parse().expect("revision"), path: path() },
        Error::NameRefused { repo: repo(), name: "a\\b".into(), why: "no `\\`".into() },
        Error::LayerRefused { repo: oci(), name: "d".into(), why: "it is an archive".into() },
        Error::NotAModel {
            repo: oci(),
            revision: "v9".parse().expect("revision"),
            why: "an image".into(),
            instead: "name a model",
        },
        Error::RegistryRefused {
            host: host(),
            repo: oci(),
            login: "no login was sent".into(),
            answer: answer(),
        },
        Error::LayerGone { host: host(), repo: oci(), digest: sha256(1) },
        Error::NotARegistry { host: host(), why: "a page".into() },
        Error::ManifestMismatch { host: host(), repo: oci(), expected: sha256(1), computed: sha256(2) },
        Error::IncompleteSet { index: path(), missing: vec![path()], can_be_had: true },
        Error::ShardNotFound {
            repo: repo(),
            revision: "main".parse().expect("revision"),
            gap: Gap { missing: "m-00002-of-00003.gguf".into(), present: 2, total: 3, is_named: true },
        },
        Error::NothingMatches {
            repo: repo(),
            revision: "v9".parse().expect("revision"),
            wanted: "*.bin".into(),
            quants: vec!["Q8_0".into()],
        },
        Error::PinMismatch { path: path(), pinned: sha256(1), announced: sha256(2) },
        Error::BadSignature { signature: "model.sig".into(), why: "it was changed".into() },
        Error::Unsigned { path: path(), signature: path() },
        Error::SignedInParts { path: path(), parts: 3, size: 3 },
        Error::SignatureContradicted { path: path(), signed: sha256(1), announced: sha256(2) },
        Error::LockContradicted { path: path(), locked: "a".into(), announced: "b".into() },
        Error::LockOutdated { lockfile: "models.lock".into(), differences: vec!["chat: moved".into()] },
        Error::ModelsFailed { failed: failed(), models: 3 },
        Error::DigestMismatch {
            path: path(),
            expected: Digest::Sha256(sha256(1)),
            computed: Computed::Digest(Digest::Sha256(sha256(2))),
            size: 7,
        },
        Error::NotGguf { path: path(), why: "no magic".into() },
        Error::BrokenHeader { path: "a.gguf".into(), why: "it is empty".into() },
        Error::TooLarge {
            path: "a.gguf".into(),
            shares: vec!["card 1 of 8.0 GiB would have to hold up to 9.0 GiB".into()],
            longest_context: Some(4096),
            others: vec!["b.gguf".into()],
        },
        Error::UnknownArchitecture { path: "a.gguf".into(), architecture: "of-tomorrow".into() },
        Error::WrongKind { path: path(), why: "it is a page".into() },
        Error::VerifyFailed { wrong: 1, checked: 2 },
        Error::NoSpace { dir: "/models".into(), need: 2_000_000_000, free: 500_000_000, unfinished: None },
        Error::io("write", "/models/a")(io::ErrorKind::StorageFull.into()),
        Error::io("write", "/models/a")(io::ErrorKind::PermissionDenied.into()),
        Error::SameName { path: path(), other: "A.gguf".into(), dir: "/models".into() },
        Error::Locked { dir: "/models".into(), owner: "process 7".into(), waited: span },
        Error::Meddled { path: "/models/a".into() },
        Error::GaveUp { what: "a.gguf".into(), attempts: 9, elapsed: span, last: answer() },
        Error::Refused { what: "a.gguf".into(), answer: answer() },
        Error::NotAHub { host: host(), why: "an HTML page".into() },
        Error::KeepsChanging { path: path(), host: host(), why: "the etag".into() },
        Error::Deadline { deadline: span, doing: "fetching a.gguf".into() },
        Error::RateLimited { host: host(), wait: span },
        Error::Offline { repo: repo(), wanted: "a.gguf".into(), dir: "/models".into() },
        Error::ClusterForbidden {
            verb: "create",
            object: "claim x".into(),
            namespace: "ns".into(),
            answer: answer(),
        },
        Error::ClusterRejected {
            verb: "create",
            object: "claim x".into(),
            namespace: "ns".into(),
            answer: answer(),
        },
        Error::ObjectNotFound { object: "secret x".into(), namespace: "ns".into() },
        Error::ClaimTerminating { name: "x".into() },
        Error::ServerNotReady {
            url: "http://x:8080/health".into(),
            why: Box::new(Error::Internal("x".into())),
        },
        Error::Interrupted { signal: Signal::Term },
    ]
}

/// What cannot be mended by trying again weighs more than what can.
fn failed() -> Vec<Failed> {
    let revision = || "v9".parse().expect("revision");
    let repo = || RepoId::new(RepoKind::Model, "o/n").expect("repository");
    let failed = |model: &str, error| Failed { model: model.into(), error };
    vec![
        failed("chat", Error::Deadline { deadline: Duration::from_secs(90), doing: "fetching".into() }),
        failed("data", Error::RevisionNotFound { repo: repo(), revision: revision() }),
    ]
}

#[test]
fn there_is_an_example_of_every_variant() {
    let shown: BTreeSet<_> = examples().iter().map(|error| promised(error).0).collect();
    assert_eq!(shown, VARIANTS.iter().copied().collect());
}

#[test]
fn every_variant_has_the_promised_exit_number() {
    for error in examples() {
        let (variant, number) = promised(&error);
        assert_eq!(error.exit_number(), number, "{variant}");
    }
    assert_eq!(Error::Interrupted { signal: Signal::Int }.exit_number(), 130);
}

/// The table in the help and the README has a row for each number, and no row nobody reaches.
#[test]
fn the_documented_exit_numbers_are_the_ones_that_occur() {
    let mut occurring: BTreeSet<_> = examples().iter().map(Error::exit_number).collect();
    occurring.extend([0, 130]);
    let documented: BTreeSet<_> = EXITS.iter().map(|exit| exit.number).collect();
    assert_eq!(documented, occurring);
}

/// A Job tries again after a number exactly when the same run can succeed later without a change.
#[test]
fn a_job_retries_what_time_can_heal() {
    let advised = |wanted| -> Vec<u8> {
        EXITS.iter().filter(|exit| exit.advice == wanted).map(|exit| exit.number).collect()
    };
    assert_eq!(advised(Advice::Retry), [1, 23, 30, 31, 32, 130, 143]);
    assert_eq!(advised(Advice::Done), [0]);
}

#[test]
fn every_message_is_readable_and_keeps_secrets() {
    for error in examples() {
        let (variant, _) = promised(&error);
        let text = modelfetch::show::message::error(&error, false);
        assert!(text.starts_with("error: "), "{variant}: {text}");
        assert!(
            !text.contains("signature=") && !text.contains("secret=") && !text.contains('{'),
            "{variant}: {text}"
        );
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{variant}: {text}");
    }
}

/// Every error but bad values, which say themselves what is right, tells what to do next.
#[test]
fn every_error_but_a_plain_refusal_has_a_hint() {
    for error in examples() {
        let (variant, _) = promised(&error);
        let speaks_for_itself = matches!(error, Error::Invalid { .. } | Error::Interrupted { .. });
        assert_eq!(error.hint().is_some(), !speaks_for_itself, "{variant}");
    }
}
