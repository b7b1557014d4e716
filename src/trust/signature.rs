//! Signatures of models: `OpenSSF` Model Signing 1.0 (`ossf/model-signing-spec`, spec/v1.0.md). A Sigstore bundle holds a
//! DSSE envelope, that an in-toto statement, and that the digest of every file. What the specification forbids is
//! refused, also where the reference implementation (`model-signing` 1.1.1) reads over it.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use sha2::Digest as _;

use super::json::Json;
use super::signer::{Signer, Signers};
use crate::content::Sha256;
use crate::request::RepoPath;

/// A larger signature is refused: it has to be held in memory. 60,000 files are named in it.
pub const BYTES_MAX: u64 = 16 << 20;
/// What a model may hold beside what is signed (section 6.2), at its top alone.
pub const NEVER_SIGNED: [&str; 4] = [".git", ".gitignore", ".gitattributes", ".github"];

/// Bundles as `sigstore_bundle.proto` calls them; of version 0.3 there are two names.
const MEDIA_TYPES: [&str; 2] =
    ["application/vnd.dev.sigstore.bundle.v0.3+json", "application/vnd.dev.sigstore.bundle+json;version=0.3"];
const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
const PREDICATE_TYPE: &str = "https://model_signing/signature/v1.0";
/// What `model-signing` 0.2 wrote, without saying what is left out.
const OLD_PREDICATE_TYPE: &str = "https://model_signing/Digests/v0.1";
/// The name of a model that is one file, as `model-signing` writes it.
const ALONE: &str = ".";

/// What somebody who is trusted has signed. There is none without a signature that was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    signer: Signer,
    statement: Statement,
}

/// What a signature says of a model, whoever made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// What the files are.
    pub files: SignedFiles,
    /// Paths that were left out when it was made, with all that is in them.
    pub left_out: Vec<RepoPath>,
    /// Links stand for what they lead to.
    pub allows_links: bool,
}

/// The files of a signed model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignedFiles {
    /// Files of a folder, by their paths in it.
    Folder(BTreeMap<RepoPath, SignedFile>),
    /// One file, whatever it is called.
    Alone(SignedFile),
}

/// What one file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignedFile {
    /// The digest of all of it.
    Whole(Sha256),
    /// The digest of each part, with the byte at which it ends.
    Parts(Vec<(u64, Sha256)>),
}

impl Signed {
    /// Reads a signature and verifies it.
    pub fn verify(bytes: &[u8], signers: &Signers) -> Result<Self, String> {
        let bundle = Json::parse(bytes)?;
        bundle.check_keys(&["mediaType", "verificationMaterial", "dsseEnvelope"])?;
        let media_type = bundle.text("mediaType")?;
        if !MEDIA_TYPES.contains(&media_type) {
            return Err(format!("it is no Sigstore bundle of version 0.3 but {media_type:?}"));
        }
        let envelope = bundle.map("dsseEnvelope", &["payload", "payloadType", "signatures"])?;
        let payload_type = envelope.text("payloadType")?;
        if payload_type != PAYLOAD_TYPE {
            return Err(format!("its payloadType is {payload_type:?}, expected {PAYLOAD_TYPE:?}"));
        }
        let payload = base64("payload", envelope.text("payload")?)?;
        let [signature] = envelope.list("signatures")? else {
            return Err("it has not exactly one signature".into());
        };
        signature.check_keys(&["sig", "keyid"])?;
        if signature.get("keyid").is_some() {
            signature.text("keyid")?;
        }
        let signature = base64("sig", signature.text("sig")?)?;
        // DSSE's pre-authentication encoding: the type is signed too.
        let mut message =
            format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
        message.extend_from_slice(&payload);
        let material = bundle.get("verificationMaterial").ok_or("`verificationMaterial` is missing")?;
        let signer = signer(material, signers, &message, &signature)?;
        drop(message);
        Ok(Self { signer, statement: Statement::parse(&payload)? })
    }

    /// Who made it.
    pub fn signer(&self) -> &Signer {
        &self.signer
    }

    /// What it says.
    pub fn statement(&self) -> &Statement {
        &self.statement
    }
}

impl Statement {
    /// Reads what was signed (sections 5, 6.5 and 8.3).
    pub fn parse(payload: &[u8]) -> Result<Self, String> {
        read_statement(&Json::parse(payload)?)
    }

    /// What it says of a file; `None` if it does not name it. A model that is one file has no name for it: it is the
    /// only one that is wanted.
    pub fn file(&self, path: &RepoPath, is_alone: bool) -> Option<&SignedFile> {
        match &self.files {
            SignedFiles::Folder(files) => files.get(path),
            SignedFiles::Alone(file) => Some(file).filter(|_| is_alone),
        }
    }
}

/// Whether a path, or a folder it lies in, is one that signatures leave out.
pub fn is_never_signed(path: &str) -> bool {
    NEVER_SIGNED.contains(&path.split('/').next().unwrap_or_default())
}

/// Only the usual form, so that two readers cannot take one text for different bytes.
fn base64(what: &str, text: &str) -> Result<Vec<u8>, String> {
    let bytes = BASE64_STANDARD.decode(text).map_err(|why| format!("`{what}` is no base64: {why}"))?;
    if bytes.is_empty() { Err(format!("`{what}` is empty")) } else { Ok(bytes) }
}

/// Who signed, by what the bundle holds to verify it with: one of three (section 4.1).
fn signer(
    material: &Json<'_>,
    signers: &Signers,
    message: &[u8],
    signature: &[u8],
) -> Result<Signer, String> {
    let key = material.get("publicKey");
    let chain = material.get("x509CertificateChain");
    let identity = material.get("certificate");
    if material.get("tlogEntries").is_some() {
        material.list("tlogEntries")?;
    }
    match (key, chain, identity) {
        (Some(key), None, None) => {
            let hint = key.get("hint").map(|_| key.text("hint")).transpose()?;
            if hint.is_none() {
                // Before 1.1.0 the key itself was there. Only trusted ones are used.
                base64("rawBytes", key.text("rawBytes")?)?;
            }
            signers.of_key(hint.unwrap_or_default(), message, signature)
        }
        (None, Some(chain), None) => {
            let chain = chain.list("certificates")?.iter();
            let chain: Vec<_> =
                chain.map(|one| base64("rawBytes", one.text("rawBytes")?)).collect::<Result<_, String>>()?;
            signers.of_chain(&chain, message, signature)
        }
        (None, None, Some(_)) => Err(
            "it was made without a key of its own (Sigstore, keyless), and such identities cannot be verified here".into(),
        ),
        (None, None, None) => Err("`verificationMaterial` has neither a key nor certificates".into()),
        _ => Err("`verificationMaterial` has more than one of key, chain and certificate".into()),
    }
}

fn read_statement(statement: &Json<'_>) -> Result<Statement, String> {
    statement.check_keys(&["_type", "subject", "predicateType", "predicate"])?;
    let kind = statement.text("_type")?;
    if kind != STATEMENT_TYPE {
        return Err(format!("what is signed is a {kind:?}, expected {STATEMENT_TYPE:?}"));
    }
    match statement.text("predicateType")? {
        PREDICATE_TYPE => {}
        OLD_PREDICATE_TYPE => {
            let why = "it is of model-signing 0.2, whose signatures do not say what they cover: have the model signed anew";
            return Err(why.into());
        }
        other => return Err(format!("it says {other:?} of its subject, expected {PREDICATE_TYPE:?}")),
    }
    let [subject] = statement.list("subject")? else { return Err("it has not exactly one subject".into()) };
    if subject.text("name")?.is_empty() {
        return Err("its subject has no name".into());
    }
    let root = subject.get("digest").ok_or("its subject has no digest")?.text("sha256")?;
    let predicate = statement.map("predicate", &["resources", "serialization"])?;
    let form = Form::read(predicate)?;
    let resources = predicate.list("resources")?;
    let resources: Vec<_> =
        resources.iter().map(|resource| form.resource(resource)).collect::<Result<_, _>>()?;
    let mut hasher = sha2::Sha256::new();
    for (_, digest) in &resources {
        hasher.update(digest.as_bytes());
    }
    if Sha256::from_bytes(hasher.finalize().into()).to_string() != root {
        return Err("the digests of its files do not add up to the digest of the model".into());
    }
    check_order(&resources)?;
    let Form { parts, left_out, allows_links } = form;
    Ok(Statement { files: files(resources, parts)?, left_out, allows_links })
}

/// How files became digests (section 5.2.2).
struct Form {
    /// Bytes of each part of a file; `None` if files are whole.
    parts: Option<u64>,
    left_out: Vec<RepoPath>,
    allows_links: bool,
}

/// Where a part of a file begins and ends, and its digest.
type Part = ((u64, u64), Sha256);

/// A file, or a part of it, in bytes from one up to, not including, another.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Name<'a> {
    whole: &'a str,
    path: &'a str,
    part: (u64, u64),
}

impl Form {
    fn read(predicate: &Json<'_>) -> Result<Self, String> {
        let known = ["method", "hash_type", "shard_size", "allow_symlinks", "ignore_paths"];
        let form = predicate.map("serialization", &known)?;
        check_hash(form.text("hash_type")?)?;
        let size = form.get("shard_size");
        let parts = match (form.text("method")?, size) {
            ("files", None) => None,
            ("shards", Some(Json::Number(size))) if *size >= 1.0 && size.fract() == 0.0 && *size < 9e15 =>
            {
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above")]
                Some(*size as u64)
            }
            ("files" | "shards", _) => return Err("its `shard_size` does not fit its `method`".into()),
            (other, _) => return Err(format!("its files were taken apart by {other:?}, which is not known")),
        };
        let Some(Json::Bool(allows_links)) = form.get("allow_symlinks") else {
            return Err("`allow_symlinks` is neither true nor false, or missing".into());
        };
        let left_out = match form.get("ignore_paths") {
            Some(_) => form.list("ignore_paths")?,
            None => &[],
        };
        let left_out = left_out.iter().map(|path| match path {
            Json::Text(path) if !path.contains(['*', '?', '[']) => {
                path.parse().map_err(|why| format!("it leaves out a path that cannot be: {why}"))
            }
            _ => Err("it leaves out what is no path".into()),
        });
        Ok(Self { parts, left_out: left_out.collect::<Result<_, _>>()?, allows_links: *allows_links })
    }

    /// The name and digest of one entry.
    fn resource<'a>(&self, resource: &'a Json<'_>) -> Result<(Name<'a>, Sha256), String> {
        let whole = resource.text("name")?;
        let name = match self.parts {
            None => Name { whole, path: whole, part: (0, 0) },
            Some(_) => Name::of_part(whole).ok_or_else(|| format!("{whole:?} is no part of a file"))?,
        };
        let algorithm = resource.text("algorithm")?;
        // So `model-signing` calls it, as the digest of a part: it is the plain one of its bytes.
        let is_of_part = self.parts.is_some_and(|size| algorithm == format!("sha256-sharded-{size}"));
        if !is_of_part {
            check_hash(algorithm)?;
        }
        let text = resource.text("digest")?;
        let digest: Sha256 = text.parse().map_err(|why| format!("{whole:?}: {why}"))?;
        if digest.to_string() != text {
            return Err(format!("the digest of {whole:?} is not written in small letters"));
        }
        Ok((name, digest))
    }
}

impl<'a> Name<'a> {
    /// `path:start:end`; a path may have colons of its own (section 6.3.2).
    fn of_part(whole: &'a str) -> Option<Self> {
        let mut pieces = whole.rsplitn(3, ':');
        let (end, start, path) = (pieces.next()?, pieces.next()?, pieces.next()?);
        let number = |text: &str| {
            let number: u64 = text.parse().ok()?;
            (number.to_string() == text).then_some(number)
        };
        Some(Self { whole, path, part: (number(start)?, number(end)?) })
    }

    /// As Python compares paths, folder by folder, and then numbers.
    fn by_parts(&self) -> (Vec<&str>, (u64, u64)) {
        (self.path.split('/').collect(), self.part)
    }
}

/// Only what a Hub announces can be compared.
fn check_hash(name: &str) -> Result<(), String> {
    if name == "sha256" {
        return Ok(());
    }
    Err(format!("its digests are {name}; only sha256 can be compared with what a Hub says"))
}

/// The entries are in the order of their names, as texts (section 5.2.1), or as `model-signing` sorts them.
fn check_order(resources: &[(Name<'_>, Sha256)]) -> Result<(), String> {
    let pairs = || resources.windows(2).map(|pair| (&pair[0].0, &pair[1].0));
    if let Some((name, _)) = pairs().find(|(a, b)| a.whole == b.whole) {
        return Err(format!("{:?} is in it twice", name.whole));
    }
    let is_sorted =
        pairs().all(|(a, b)| a.whole < b.whole) || pairs().all(|(a, b)| a.by_parts() < b.by_parts());
    if is_sorted { Ok(()) } else { Err("its files are not in the order of their names".into()) }
}

/// The files that the entries are of.
fn files(resources: Vec<(Name<'_>, Sha256)>, parts: Option<u64>) -> Result<SignedFiles, String> {
    let mut files: BTreeMap<&str, Vec<Part>> = BTreeMap::new();
    for (name, digest) in resources {
        files.entry(name.path).or_default().push((name.part, digest));
    }
    let mut read = Vec::new();
    for (path, mut of_file) in files {
        of_file.sort_unstable_by_key(|(part, _)| *part);
        let file = match (parts, &of_file[..]) {
            (None, [(_, digest)]) => SignedFile::Whole(*digest),
            (None, _) => return Err(format!("{path:?} is in it twice")),
            (Some(size), _) => SignedFile::Parts(in_parts(path, &of_file, size)?),
        };
        read.push((path, file));
    }
    if let [(ALONE, file)] = &read[..] {
        return Ok(SignedFiles::Alone(file.clone()));
    }
    if read.is_empty() {
        return Err("no file is in it".into());
    }
    let named = |(path, file): (&str, _)| {
        let path: RepoPath = path.parse().map_err(|why| format!("a file in it cannot be: {why}"))?;
        Ok((path, file))
    };
    read.into_iter().map(named).collect::<Result<_, String>>().map(SignedFiles::Folder)
}

/// The parts of a file, which leave nothing out and do not overlap; all but the last are equally long.
fn in_parts(path: &str, parts: &[Part], size: u64) -> Result<Vec<(u64, Sha256)>, String> {
    let mut position = 0;
    for (at, ((start, end), _)) in parts.iter().enumerate() {
        let is_last = at + 1 == parts.len();
        let length = end.checked_sub(*start).filter(|length| *start == position && *length > 0);
        if !length.is_some_and(|length| length == size || length < size && is_last) {
            return Err(format!("the parts of {path:?} are not what makes up a file"));
        }
        position = *end;
    }
    Ok(parts.iter().map(|((_, end), digest)| (*end, *digest)).collect())
}
