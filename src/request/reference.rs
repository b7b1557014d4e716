//! Repositories as people write them, with what else such a text carries.

use std::borrow::Cow;

use url::Url;

use super::address::{self, Address};
use super::endpoint::HOSTS;
use super::glob::escape;
use super::{Login, RepoId, RepoKind, RepoPath, Revision, oci};
use crate::content::Sha256;
use crate::words::Invalid;

/// A repository as people write it, with what else the text carried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoRef {
    /// The repository.
    pub repo: RepoId,
    /// `@revision`, or the revision of a pasted URL.
    pub revision: Option<Revision>,
    /// `:QUANT`, as in llama.cpp's `-hf owner/name:Q4_K_M`; empty for its usual one.
    pub quant: Option<String>,
    /// The file of an `hf://…/path` or of a pasted URL.
    pub file: Option<RepoPath>,
    /// The folder of a pasted URL.
    pub folder: Option<RepoPath>,
    /// Scheme, host and path of a pasted URL up to the repository, where it is not the usual Hub.
    pub endpoint: Option<String>,
    /// User name and password of a pasted URL.
    pub login: Option<Login>,
    /// What the file of a plain address must hash to.
    pub sha256: Option<Sha256>,
}

/// What stands between a repository and a revision in an address.
const VERBS: [&str; 6] = ["resolve", "blob", "tree", "raw", "blame", "commits"];
/// Who owns the models of the Hub's first days, which had no owner, by how their names begin.
const OWNERS: [(&str, &str); 11] = [
    ("gpt2", "openai-community"),
    ("openai-gpt", "openai-community"),
    ("bert-", "google-bert"),
    ("distilbert-", "distilbert"),
    ("distilgpt2", "distilbert"),
    ("distilroberta-", "distilbert"),
    ("roberta-", "FacebookAI"),
    ("xlm-", "FacebookAI"),
    ("albert-", "albert"),
    ("t5-", "google-t5"),
    ("xlnet-", "xlnet"),
];

impl RepoRef {
    /// The file or folder it carries, as a FILE would name it.
    pub fn files(&self) -> Option<String> {
        let folder = || self.folder.as_ref().map(|folder| format!("{}/*", escape(folder.as_str())));
        self.file.as_ref().map(ToString::to_string).or_else(folder)
    }

    /// Reads `[KIND/]owner/name[@revision]`, `owner/name:QUANT`, `hf://[KIND/]owner/name[@revision][/path]`,
    /// `oci://registry/name[:tag|@digest]` and `[https://]host/[KIND/]owner/name[:QUANT]` with what the Hub's pages and
    /// downloads append, and `url:https://host/folder/file[#sha256=HEX]` and `file:///folder/file`, which are on no Hub;
    /// KIND is `models`, `datasets` or `spaces`. What is none of these is refused with the spelling that was probably meant.
    pub fn parse(text: &str, kind: RepoKind) -> Result<Self, Invalid> {
        if text.starts_with(oci::SCHEME) {
            let (repo, revision) = oci::parse(text)?;
            return Ok(Self { revision, ..Self::bare(repo) });
        }
        if let Some(address) = address::parse(text) {
            let Address { folder, file, sha256 } = address?;
            return Ok(Self { file, sha256, ..Self::bare(folder) });
        }
        if let Some(rest) = text.strip_prefix("hf://") {
            return Self::parse_hf(rest, kind);
        }
        if text.starts_with("https://") || text.starts_with("http://") {
            return Self::parse_url(text, kind);
        }
        if HOSTS.iter().any(|host| text.strip_prefix(host).is_some_and(|rest| rest.starts_with('/'))) {
            return Self::parse_url(&format!("https://{text}"), kind);
        }
        if let (Some(colon), Some(at)) = (text.find(':'), text.rfind('@'))
            && colon < at.min(text.find('/').unwrap_or(at))
        {
            let why = "a user name and password are a part of an address that begins with https://";
            return Err(Invalid::hidden("repository", why));
        }
        let (text, quant) = split_quant(text);
        let (name, revision) = split_revision(text)?;
        let (kind, name) = split_kind(name, kind);
        Ok(Self { revision, quant, ..Self::of(kind, name)? })
    }

    fn of(kind: RepoKind, name: &str) -> Result<Self, Invalid> {
        // No repository is called so (`huggingface_hub` `utils/_validators.py`): it is git's own address.
        let name = name.strip_suffix(".git").unwrap_or(name);
        RepoId::new(kind, name).map(Self::bare).map_err(|refused| respell(name, refused))
    }

    fn bare(repo: RepoId) -> Self {
        Self {
            repo,
            revision: None,
            quant: None,
            file: None,
            folder: None,
            endpoint: None,
            login: None,
            sha256: None,
        }
    }

    /// Where the revision of `owner/name@revision/path` ends, `huggingface_hub` decides like this (`hf_file_system.py`):
    /// at a `/`, but for `refs/pr/N` and `refs/convert/FORMAT`.
    fn parse_hf(rest: &str, kind: RepoKind) -> Result<Self, Invalid> {
        let (kind, rest) = split_kind(rest, kind);
        let slash = rest.match_indices('/').nth(1).map_or(rest.len(), |(at, _)| at);
        let at = rest[..slash].find('@');
        let (name, revision, path) = match at {
            Some(at) => {
                let (revision, path) = split_reference(&rest[at + 1..]);
                (&rest[..at], Some(revision.parse()?), path)
            }
            None => (&rest[..slash], None, rest[slash..].trim_start_matches('/')),
        };
        let (name, quant) = split_quant(name);
        let is_folder = path.ends_with('/');
        let path =
            Some(path.trim_end_matches('/')).filter(|path| !path.is_empty()).map(str::parse).transpose()?;
        let (folder, file) = if is_folder { (path, None) } else { (None, path) };
        Ok(Self { revision, quant, file, folder, ..Self::of(kind, name)? })
    }

    fn parse_url(text: &str, kind: RepoKind) -> Result<Self, Invalid> {
        let shown = text.split(['?', '#']).next().unwrap_or_default();
        let shown = shown.rsplit_once('@').map_or(shown, |(_, host)| host);
        let invalid = |why: &str| Invalid::new("repository URL", shown, why);
        let url = Url::parse(text).map_err(|why| invalid(&why.to_string()))?;
        let parts: Vec<_> = url.path().split('/').filter(|part| !part.is_empty()).collect();
        let verb = parts.iter().enumerate().skip(2).find(|(_, part)| VERBS.contains(part)).map(|(at, _)| at);
        let end = verb.unwrap_or_else(|| {
            parts.len().min(2 + usize::from(parts.first().is_some_and(|part| kind_of(part).is_some())))
        });
        let (before, rest) = parts.split_at(end);
        let Some((name, before)) =
            before.split_last_chunk::<2>().map(|(before, name)| (name.join("/"), before))
        else {
            let refused = invalid("expected https://HOST/OWNER/NAME");
            return Err(parts.first().map_or(refused.clone(), |name| respell(name, refused)));
        };
        let (named, prefix) = match before.split_last() {
            Some((last, prefix)) if kind_of(last).is_some() => (kind_of(last), prefix),
            _ => (None, before),
        };
        let name = decode(&name).ok_or_else(|| invalid("it is not UTF-8"))?;
        let (name, quant) = split_quant(&name);
        let mut reference = Self { quant, ..Self::of(named.unwrap_or(kind), name)? };
        match rest {
            [] => {}
            [verb, rest @ ..] if VERBS.contains(verb) => {
                let rest = rest.join("/");
                let (revision, path) = split_reference(&rest);
                reference.revision = Some(revision.parse()?);
                let path = decode(path).ok_or_else(|| invalid("it is not UTF-8"))?;
                let path = Some(path).filter(|path| !path.is_empty()).map(|path| path.parse()).transpose()?;
                let place = if *verb == "tree" { &mut reference.folder } else { &mut reference.file };
                *place = path;
            }
            ["commit", commit] => reference.revision = Some(commit.parse()?),
            ["discussions", number, ..] => {
                let why =
                    format!("a discussion holds no files; of a pull request write {name}@refs/pr/{number}");
                return Err(invalid(&why));
            }
            path => {
                let path = path.join("/");
                let why = "expected …/resolve/REVISION/FILE, …/blob/… or …/tree/…";
                return Err(invalid(&format!(
                    "{why}; of a file `{path}` write …/{name}/resolve/main/{path}"
                )));
            }
        }
        reference.login = Login::of(&url);
        // The Hub's page about one GGUF file.
        if let Some((_, file)) = url.query_pairs().find(|(key, _)| key == "show_file_info") {
            reference.file = Some(file.parse()?);
            reference.folder = None;
        }
        let is_usual = url.host_str().is_some_and(|host| HOSTS.contains(&host)) && url.port().is_none();
        if !is_usual {
            let origin = url.origin().ascii_serialization();
            reference.endpoint = Some([&[origin.as_str()], prefix].concat().join("/"));
        }
        Ok(reference)
    }
}

fn decode(part: &str) -> Option<Cow<'_, str>> {
    percent_encoding::percent_decode_str(part).decode_utf8().ok()
}

fn kind_of(word: &str) -> Option<RepoKind> {
    [RepoKind::Model, RepoKind::Dataset, RepoKind::Space].into_iter().find(|kind| kind.plural() == word)
}

/// The kind of `datasets/owner/name`; a repository may be called `datasets/name`.
fn split_kind(text: &str, kind: RepoKind) -> (RepoKind, &str) {
    match text.split_once('/').map(|(word, rest)| (kind_of(word), rest)) {
        Some((Some(named), rest)) if rest.contains('/') => (named, rest),
        _ => (kind, text),
    }
}

fn split_quant(text: &str) -> (&str, Option<String>) {
    match text.rsplit_once(':') {
        Some((text, quant)) if !quant.contains('/') => (text, Some(quant.to_owned())),
        _ => (text, None),
    }
}

fn split_revision(text: &str) -> Result<(&str, Option<Revision>), Invalid> {
    match text.split_once('@') {
        Some((name, revision)) => Ok((name, Some(revision.parse()?))),
        None => Ok((text, None)),
    }
}

/// A revision and the path behind it: `refs/pr/1` and `refs/convert/parquet` are of three parts, all others of one.
fn split_reference(text: &str) -> (&str, &str) {
    let parts = if text.starts_with("refs/") { 3 } else { 1 };
    let end = text.match_indices('/').nth(parts - 1).map_or(text.len(), |(at, _)| at);
    (&text[..end], text[end..].trim_start_matches('/'))
}

/// What was probably meant by a name that is none.
fn respell(name: &str, refused: Invalid) -> Invalid {
    let parts: Vec<_> = name.split('/').collect();
    let spelling = match parts[..] {
        [name] if !name.is_empty() => {
            let owner = OWNERS.iter().find(|(prefix, _)| name.starts_with(prefix)).map(|(_, owner)| owner);
            let owner = owner.map_or("its page on the Hub shows which".into(), |owner| {
                format!("here perhaps `{owner}/{name}`")
            });
            format!("expected `owner/name`: models of old have got an owner too, {owner}")
        }
        [owner, name, ..]
            if parts.len() > 2 && RepoId::new(RepoKind::Model, &format!("{owner}/{name}")).is_ok() =>
        {
            let file = parts[2..].join("/");
            format!(
                "expected `owner/name`; of a file write `{owner}/{name} {file}`, or hf://{owner}/{name}/{file}"
            )
        }
        _ => return refused,
    };
    Invalid::new("repository", name, spelling)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> RepoRef {
        RepoRef::parse(text, RepoKind::Model).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    /// Repository, revision, quantization and file or folder, as far as the text has them.
    fn parts(text: &str) -> String {
        let RepoRef { repo, revision, quant, file, folder, .. } = parse(text);
        let revision = revision.map(|revision| format!(" at {revision}")).unwrap_or_default();
        let quant = quant.map(|quant| format!(" quant {quant}")).unwrap_or_default();
        let file = file.map(|file| format!(" file {file}")).unwrap_or_default();
        let folder = folder.map(|folder| format!(" folder {folder}")).unwrap_or_default();
        format!("{repo}{revision}{quant}{file}{folder}")
    }

    #[test]
    fn every_form_of_a_repository_is_understood() {
        for (text, expected) in [
            ("ggml-org/gpt-oss-20b-GGUF", "ggml-org/gpt-oss-20b-GGUF"),
            ("o/n@refs/pr/1", "o/n at refs/pr/1"),
            ("o/n@refs%2Fpr%2F1", "o/n at refs/pr/1"),
            ("o/n@feature/x", "o/n at feature/x"),
            ("o/n:Q4_K_M", "o/n quant Q4_K_M"),
            ("o/n@v1:Q8_0", "o/n at v1 quant Q8_0"),
            ("o/n.git", "o/n"),
            ("datasets/o/n", "datasets/o/n"),
            ("datasets/o/n@~parquet", "datasets/o/n at refs/convert/parquet"),
            ("models/o/n", "o/n"),
            ("datasets/n", "datasets/n"),
            ("hf.co/o/n:Q4_K_M", "o/n quant Q4_K_M"),
            ("hf.co/o/n:latest", "o/n quant latest"),
            ("huggingface.co/datasets/o/n", "datasets/o/n"),
            ("hf://o/n", "o/n"),
            ("hf://o/n:Q8_0", "o/n quant Q8_0"),
            ("hf://datasets/o/n@v1/a/b.bin", "datasets/o/n at v1 file a/b.bin"),
            ("hf://datasets/o/n/data/", "datasets/o/n folder data"),
            ("hf://o/n@refs/pr/1/a.gguf", "o/n at refs/pr/1 file a.gguf"),
            ("hf://o/n@refs%2Fpr%2F1/a.gguf", "o/n at refs/pr/1 file a.gguf"),
            ("hf://o/n@feature%2Fx/a.gguf", "o/n at feature/x file a.gguf"),
            (
                "hf://datasets/o/n@~parquet/default/train/0000.parquet",
                "datasets/o/n at refs/convert/parquet file default/train/0000.parquet",
            ),
            ("hf://o/n/a@b.bin", "o/n file a@b.bin"),
            (
                "https://huggingface.co/o/n/resolve/refs%2Fpr%2F1/a%20b.gguf?download=true",
                "o/n at refs/pr/1 file a b.gguf",
            ),
            ("https://huggingface.co/o/n/blob/refs/pr/1/d/a.gguf", "o/n at refs/pr/1 file d/a.gguf"),
            (
                "https://huggingface.co/datasets/o/n/tree/refs%2Fconvert%2Fparquet/default/train",
                "datasets/o/n at refs/convert/parquet folder default/train",
            ),
            (
                "https://huggingface.co/datasets/o/n/resolve/~parquet/x.parquet",
                "datasets/o/n at refs/convert/parquet file x.parquet",
            ),
            ("https://huggingface.co/o/n/blob/feature%2Fx/a.gguf", "o/n at feature/x file a.gguf"),
            ("https://huggingface.co/o/n/tree/main", "o/n at main"),
            ("https://huggingface.co/o/n/commit/abc123", "o/n at abc123"),
            (
                "https://huggingface.co/o/n/tree/main?show_file_info=m-Q4_K_M.gguf",
                "o/n at main file m-Q4_K_M.gguf",
            ),
            ("https://huggingface.co/o/n.git", "o/n"),
            ("https://huggingface.co/o/n/", "o/n"),
            ("https://huggingface.co/o/n:Q8_0", "o/n quant Q8_0"),
            ("https://huggingface.co/o/n#readme", "o/n"),
            ("https://huggingface.co/o/tree/tree/v1/x", "o/tree at v1 folder x"),
        ] {
            assert_eq!(parts(text), expected, "{text}");
        }
    }

    #[test]
    fn the_usual_hub_is_no_endpoint_and_a_mirror_is_one_with_its_path() {
        for (text, endpoint) in [
            ("https://huggingface.co/o/n", None),
            ("http://www.huggingface.co/o/n", None),
            ("https://hf.co/datasets/o/n", None),
            ("http://127.0.0.1:9/o/n", Some("http://127.0.0.1:9")),
            ("https://huggingface.co:444/o/n", Some("https://huggingface.co:444")),
            ("https://m.example/a/hub/datasets/o/n/resolve/main/x.bin", Some("https://m.example/a/hub")),
            ("https://m.example/a/hub/o/n/resolve/main/x.bin", Some("https://m.example/a/hub")),
        ] {
            let reference = parse(text);
            assert_eq!(
                (reference.endpoint.as_deref(), reference.repo.name.as_str()),
                (endpoint, "n"),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_repository_is_refused_with_the_spelling_that_was_meant() {
        for (text, spelling) in [
            ("gpt2", "`openai-community/gpt2`"),
            ("bert-base-uncased", "`google-bert/bert-base-uncased`"),
            ("hf.co/gpt2", "`openai-community/gpt2`"),
            ("https://h.example/", "OWNER/NAME"),
            ("name", "expected `owner/name`"),
            ("o/n/d/a.gguf", "write `o/n d/a.gguf`"),
            ("https://huggingface.co/o/n/a.gguf", "…/o/n/resolve/main/a.gguf"),
            ("https://huggingface.co/o/n/discussions/3", "o/n@refs/pr/3"),
            ("o/n@", "revision"),
            ("o/n@../x", "`..`"),
            ("hf://o/n@v1/../x", "`..`"),
        ] {
            let error = RepoRef::parse(text, RepoKind::Model).expect_err(text).to_string();
            assert!(error.contains(spelling), "{text}: {error}");
        }
        for text in
            ["", "/b", "a/", "a/..", "a b/c", "a/b@x y", "a/b\n", "https://", "hf://", "hf.co/", "a/.git"]
        {
            assert!(RepoRef::parse(text, RepoKind::Model).is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn no_secret_of_an_address_is_repeated() {
        for text in [
            "https://u:hunter2@h.example/o/n/x?token=hunter2",
            "https://u:hunter2@h.example/o?x=hunter2#hunter2",
        ] {
            let error = RepoRef::parse(text, RepoKind::Model).expect_err(text).to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
