//! Every parser of foreign input, and what must hold whatever it is given. Used by the fuzz targets
//! beside this file, and by `tests/it/fuzz.rs`, which replays their seeds.

use modelfetch::catalog::oci::{Challenge, Manifest};
use modelfetch::catalog::{Head, listing, next_page, tree};
use modelfetch::content::look::Look;
use modelfetch::content::xet::{self, Reconstruction};
use modelfetch::content::{Digest, gguf, kind, safetensors};
use modelfetch::memory::{Model, Setup};
use modelfetch::net;
use modelfetch::request::{
    Endpoint, Globs, LoginFile, PemFile, RegistryLogins, RepoKind, RepoPath, RepoRef, Revision, SIGNATURE,
    Shard, Signing, quants,
};
use modelfetch::source::http::parse_content_range;
use modelfetch::store::journal::Journal;
use modelfetch::store::receipt::Receipt;
use modelfetch::trust::{Signed, SignedFile, SignedFiles, Signers, Statement};
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

/// A parser by its name, which is also that of its folder of seeds.
pub(crate) type Parser = (&'static str, fn(&[u8]));

/// All of them.
pub(crate) const PARSERS: [Parser; 14] = [
    ("challenge", challenge),
    ("content_range", content_range),
    ("error_body", error_body),
    ("gguf_header", gguf_header),
    ("headers", headers),
    ("journal", journal),
    ("manifest", manifest),
    ("names", names),
    ("receipt", receipt),
    ("reconstruction", reconstruction),
    ("safetensors", safetensors_header),
    ("signature", signature),
    ("tree", tree_page),
    ("urls", urls),
];

/// `WWW-Authenticate`
pub(crate) fn challenge(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for challenge in Challenge::parse(text) {
        assert!(!challenge.scheme().is_empty() && text.contains(challenge.scheme()), "{text:?}");
        let scope = challenge.scope("o/n");
        assert!(scope.split(' ').all(|scope| scope.ends_with(":pull")), "{text:?}: {scope:?}");
    }
}

/// `Content-Range`
pub(crate) fn content_range(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some((start, end, total)) = parse_content_range(text) {
        assert!(start < end && total.is_none_or(|total| end <= total), "{text:?}");
    }
}

/// The body of an answer that is no success.
pub(crate) fn error_body(data: &[u8]) {
    let words = net::error_words(data);
    assert!(!words.contains(|c: char| c.is_control()), "{words:?}");
    assert!(words.chars().count() <= 700, "{} characters", words.chars().count());
    let secret = "hf_NOBODYxMAYxSEExTHIS";
    let echoed = [b"authorization: Bearer ", secret.as_bytes(), b" ", data].concat();
    let is_fair = !data.windows(secret.len()).any(|part| part == secret.as_bytes());
    assert!(!is_fair || !net::error_words(&echoed).contains(secret));
}

/// The start of a GGUF file.
pub(crate) fn gguf_header(data: &[u8]) {
    let header = gguf::parse(data);
    let mut look = Look::new("m.gguf", data.len() as u64, Some(3));
    let looked = data.chunks(7).try_for_each(|part| look.feed(part)).and_then(|()| look.end());
    let Ok(header) = header else { return assert!(looked.is_err(), "what is no header is strange") };
    assert!(kind::check("m.gguf", data).is_ok(), "a model is neither pointer nor page");
    let is_right = header.check(Some(3), data.len() as u64).is_ok();
    let is_known = (2..=3).contains(&header.version);
    assert_eq!(looked.is_ok(), is_right && (header.is_complete() || !is_known), "in pieces it is the same");
    assert!(header.length <= data.len() as u64 && header.tensors.len() <= data.len());
    assert!(header.text("general.name").is_none_or(|text| text.len() <= 3 * data.len()));
    let Some(model) = Model::new(&[&header]) else { return };
    let setup = Setup { cards: vec![1 << 30, 1 << 34], ..Setup::default() };
    let memory = model.memory(&setup);
    assert_eq!(memory.cards.len(), 2);
    if let Some(longest) = model.longest_context(&setup) {
        assert!(model.memory(&Setup { context: Some(longest), ..setup.clone() }).fits(&setup.cards));
    }
}

/// The headers of an answer, one per line: those of metadata, of rate limits, of redirects and pages.
pub(crate) fn headers(data: &[u8]) {
    let lines = data.split(|byte| *byte == b'\n').filter_map(|line| {
        let at = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..at]).ok()?;
        Some((name, HeaderValue::from_bytes(&line[at + 1..]).ok()?))
    });
    let headers: HeaderMap = lines.collect();
    let _ = net::ordered_wait(&headers);
    let endpoint = Endpoint::parse("https://hub.example/base").expect("an endpoint");
    let url = Url::parse("https://hub.example/base/o/n/resolve/main/f").expect("a URL");
    if let Ok(head) = Head::from_headers(&headers, url.clone()) {
        assert!(head.size.is_none_or(|size| i64::try_from(size).is_ok()));
    }
    if let Ok(target) = net::redirect_target(&url, &headers) {
        assert_eq!(target.scheme(), "https", "{target}");
        let host = target.host_str().expect("a host");
        let is_loopback = host.parse::<std::net::Ipv4Addr>().is_ok_and(|ip| ip.is_loopback());
        assert!(!is_loopback && host != "localhost" && host != "[::1]", "{target}");
    }
    if let Ok(Some(next)) = next_page(&headers, &url, &endpoint) {
        assert!(endpoint.has_origin_of(&next), "{next}");
    }
}

/// The journal of a partial file.
pub(crate) fn journal(data: &[u8]) {
    let Some(journal) = Journal::parse(data) else { return };
    let missing = journal.written.missing(journal.size);
    assert_eq!(journal.written.bytes() + missing.bytes(), journal.size);
    let again = serde_json::to_vec(&journal).expect("a journal is JSON");
    assert_eq!(Journal::parse(&again), Some(journal));
}

/// A manifest of a registry, and the file of logins that is of the same form.
pub(crate) fn manifest(data: &[u8]) {
    if let Ok(Manifest::Files(listed)) = Manifest::parse(data) {
        for entry in &listed.entries {
            assert!(!entry.file.path.as_str().split('/').any(|part| part == ".."));
            assert!(entry.file.content.sha256().is_some());
        }
        let json = listing::to_json(&listed).expect("a listing is JSON");
        // Only such a list is kept.
        let again = listing::parse(&json).filter(|_| listed.refused.is_empty());
        assert!(again.is_none_or(|again| again == listed));
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    let logins = RegistryLogins::new(vec![LoginFile::parse("/f".into(), text)]);
    let repo = RepoRef::parse("oci://r.example/m", RepoKind::Model).expect("a repository").repo;
    let _ = logins.of(&repo);
    assert!(!logins.absence(&repo).is_empty());
}

/// Repositories, revisions, paths, shards and quantizations as people and repositories name them.
pub(crate) fn names(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(path) = text.parse::<RepoPath>() {
        assert_eq!(path.to_string(), text);
        let below = std::path::Path::new("/d").join(path.as_str());
        let is_normal = |part| matches!(part, std::path::Component::Normal(_));
        assert!(below.strip_prefix("/d").expect("below").components().all(is_normal), "{text:?}");
        if let Some(shard) = Shard::parse(path.as_str()) {
            let set: Vec<_> = shard.set().map(|shard| shard.to_string()).collect();
            assert!(set.iter().any(|name| name == text) && set.len() < 100_000);
            // They differ in the number alone; parsing 99,999 of them is a second of a sanitized program.
            assert!(set.iter().take(1000).chain(set.last()).all(|name| name.parse::<RepoPath>().is_ok()));
        }
        let _ = quants([path.as_str()]);
    }
    if let Ok(revision) = text.parse::<Revision>() {
        assert!(!revision.as_str().split('/').any(|part| part == ".."), "{text:?}");
    }
    let _ = Digest::from_etag(text);
}

/// What publish writes, and what `recall` believes.
pub(crate) fn receipt(data: &[u8]) {
    let Some(receipt) = Receipt::parse(data) else { return };
    let again = serde_json::to_vec(&receipt).expect("a receipt is JSON");
    assert_eq!(Receipt::parse(&again), Some(receipt));
}

/// What two files are made of, one per line. What is copied lies in both of them.
pub(crate) fn reconstruction(data: &[u8]) {
    const SIZE: u64 = 40 << 20;
    let mut lines = data.splitn(2, |byte| *byte == b'\n').map(|line| Reconstruction::parse(line, SIZE));
    let (Some(Ok(new)), Some(Ok(old))) = (lines.next(), lines.next()) else { return };
    let mut position = 0;
    for copy in xet::worth_copying(&new, &[&old]).unwrap_or_default() {
        assert!(copy.original == 0 && copy.to.start >= position && copy.to.start < copy.to.end);
        assert!(copy.to.end <= SIZE && copy.from + (copy.to.end - copy.to.start) <= SIZE);
        position = copy.to.end;
    }
}

/// The JSON of a safetensors file, of which all that follows it is data.
pub(crate) fn safetensors_header(data: &[u8]) {
    let size = data.len() as u64 + 8 + 16;
    let Ok(header) = safetensors::parse(data, size) else { return };
    let sum = |at: usize| header.types.values().map(|sums| sums[at]).sum::<u64>();
    assert_eq!(
        (sum(0), sum(2)),
        (header.names.len() as u64, 16),
        "no byte is in two tensors, and none in none"
    );
}

/// The signature of a model, and what it says.
pub(crate) fn signature(data: &[u8]) {
    let file = |text: &[u8]| PemFile { name: "a.pem".into(), text: text.into() };
    let signing = Signing {
        keys: vec![file(include_bytes!("../it/vectors/signing-key-pub.pem"))],
        certificates: vec![file(include_bytes!("../it/vectors/ca-cert.pem"))],
        signature: SIGNATURE.parse().expect("a path"),
        allow_unsigned: Globs::default(),
    };
    let signers = Signers::read(&signing).expect("a key and a certificate");
    let signed = Signed::verify(data, &signers);
    // Whatever is changed of a signature, what it says stays what was signed.
    if let Ok(signed) = signed {
        let SignedFiles::Folder(files) = &signed.statement().files else { panic!("two files were signed") };
        let digest =
            "32dcb1f8e1ae52d5963e56a6ba06ab58b424c15ed2a6b70d2feca1d089370028".parse().expect("a digest");
        assert_eq!(files.get(&"signme-2".parse().expect("a path")), Some(&SignedFile::Whole(digest)));
    }
    if let Ok(Statement { files: SignedFiles::Folder(files), .. }) = Statement::parse(data) {
        assert!(!files.is_empty());
        for (path, file) in files {
            let parsed: Result<RepoPath, _> = path.as_str().parse();
            assert_eq!(parsed, Ok(path));
            if let SignedFile::Parts(parts) = file {
                assert!(parts.windows(2).all(|pair| pair[0].0 < pair[1].0), "{parts:?}");
            }
        }
    }
}

/// A page of the list of files, and the answer about a revision.
pub(crate) fn tree_page(data: &[u8]) {
    let _ = tree::parse_commit(data);
    let Ok(listed) = tree::parse_page(data) else { return };
    for entry in &listed.entries {
        assert!(i64::try_from(entry.file.size()).is_ok());
        assert!(!entry.file.path.as_str().split('/').any(|part| part == ".."));
    }
    let json = listing::to_json(&listed).expect("a listing is JSON");
    assert!(listing::parse(&json).is_none_or(|again| again.names() == listed.names()));
}

/// Repositories as pasted URLs, and endpoints.
pub(crate) fn urls(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let forms = ["", "hf://", "https://", "oci://", "url:https://", "file:///"]
        .map(|scheme| format!("{scheme}{text}"));
    for text in forms {
        if let Ok(reference) = RepoRef::parse(&text, RepoKind::Model) {
            let shown = if reference.repo.is_oci() || reference.repo.is_address() {
                reference.repo.to_string()
            } else {
                format!("hf://{}", reference.repo)
            };
            let again = RepoRef::parse(&shown, RepoKind::Model);
            assert_eq!(again.map(|again| again.repo), Ok(reference.repo), "{text:?}");
        }
        if let Ok(endpoint) = Endpoint::parse(&text) {
            assert!(!endpoint.host().contains('@'), "{text:?}");
            assert!(Endpoint::parse(&endpoint.to_string()).is_ok(), "{text:?}");
        }
    }
}
