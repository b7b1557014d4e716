//! Repositories of an OCI registry as people write them, and who may read them.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use url::Url;

use super::{Commit, Login, RepoId, RepoKind, Revision};
use crate::words::Invalid;

/// What such an address begins with.
pub(super) const SCHEME: &str = "oci://";
/// The registry that Docker means when none is named.
const DOCKER: &str = "docker.io";
/// It has other names in addresses and in logins.
const DOCKER_ALIASES: [&str; 3] = ["index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"];
/// Where it answers.
const DOCKER_API: &str = "registry-1.docker.io";
/// Together with what stands before them on disk they are the name of a folder.
const NAME_MAX: usize = 250;

/// Reads `oci://REGISTRY[:PORT]/NAME[:TAG|@DIGEST]`. Of a tag and a digest the digest counts, as it does for Docker.
pub(super) fn parse(text: &str) -> Result<(RepoId, Option<Revision>), Invalid> {
    // What stands before an `@` behind the registry is no secret.
    let has_secret =
        text.contains(['?', '#']) || text.split('/').nth(2).is_some_and(|host| host.contains('@'));
    let invalid = |why: &str| {
        let mut invalid = Invalid::new("repository", text, why);
        if !has_secret {
            invalid.value = text.chars().take(200).collect();
        }
        invalid
    };
    let expected =
        "expected oci://REGISTRY[:PORT]/NAME[:TAG] or …/NAME@sha256:DIGEST; files are named beside it";
    let rest = text.strip_prefix(SCHEME).ok_or_else(|| invalid(expected))?;
    let (host, path) = rest.split_once('/').ok_or_else(|| invalid(expected))?;
    if host.contains('@') {
        let why = "a user name and password are no part of it: they belong into docker's config.json";
        return Err(Invalid::hidden("repository", why));
    }
    let (path, digest) = match path.split_once('@') {
        Some((path, digest)) => (path, Some(digest)),
        None => (path, None),
    };
    let (name, tag) = match path.rsplit_once(':') {
        Some((name, tag)) => (name, Some(tag)),
        None => (path, None),
    };
    if name.contains(':') || tag.is_some_and(|tag| tag.contains('/')) {
        return Err(invalid(expected));
    }
    let repo = RepoId::new(RepoKind::Oci, &format!("{host}/{name}"))?;
    if let Some(tag) = tag {
        check_tag(tag)?;
    }
    let revision = match digest {
        Some(digest) => match digest.parse::<Commit>() {
            Ok(commit @ Commit::Manifest(_)) => Some(commit.to_string()),
            _ => return Err(invalid("a digest is written sha256: with 64 hex digits behind it")),
        },
        None => tag.map(str::to_owned),
    };
    Ok((repo, revision.map(|revision| revision.parse()).transpose()?))
}

/// `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}` (OCI distribution specification, "Pulling manifests").
fn check_tag(tag: &str) -> Result<(), Invalid> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let is_tag = tag.starts_with(is_word) && tag.len() <= 128;
    if is_tag && tag.chars().all(|c| is_word(c) || matches!(c, '.' | '-')) {
        return Ok(());
    }
    Err(Invalid::new("tag", tag, "expected up to 128 letters, digits, `_`, `.` and `-`"))
}

/// Registry and name, where both can be such (OCI distribution specification, "Pulling manifests").
pub(super) fn split(text: &str) -> Result<(String, String), Invalid> {
    let invalid = |why: &str| Invalid::new("repository", text, why);
    let (host, name) = text.split_once('/').ok_or_else(|| invalid("expected REGISTRY/NAME"))?;
    let url = Url::parse(&format!("https://{host}/")).ok().filter(|url| {
        let is_bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        is_bare && url.username().is_empty() && url.password().is_none()
    });
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
    if url.is_none() || !host.chars().all(allowed) {
        return Err(invalid("the registry is written as HOST or HOST:PORT"));
    }
    let mut host = host.to_ascii_lowercase();
    if DOCKER_ALIASES.contains(&host.as_str()) {
        host = DOCKER.into();
    }
    let is_part = |part: &str| {
        let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        part.starts_with(is_word)
            && part.ends_with(is_word)
            && part.chars().all(|c| is_word(c) || matches!(c, '.' | '_' | '-'))
            && !part.contains("..")
    };
    if !name.split('/').all(is_part) {
        let why =
            "the name of a repository has small letters and digits, and between them `.`, `_`, `-` and `/`";
        return Err(invalid(why));
    }
    let is_short = host == DOCKER && !name.contains('/');
    let name = if is_short { format!("library/{name}") } else { name.to_owned() };
    if host.len() + name.len() > NAME_MAX {
        return Err(invalid("registry and name have at most 250 characters together"));
    }
    Ok((host, name))
}

/// Host and port at which a registry answers.
pub(super) fn api_host(registry: &str) -> &str {
    if registry == DOCKER { DOCKER_API } else { registry }
}

/// Who may read from a registry.
#[derive(Clone, PartialEq, Eq)]
pub enum RegistryLogin {
    /// A user name and a password.
    Password(Login),
    /// What a token endpoint takes instead of them (`identitytoken`).
    Identity(String),
    /// A token that the registry itself takes (`registrytoken`).
    Bearer(String),
}

impl std::fmt::Debug for RegistryLogin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RegistryLogin(not shown)")
    }
}

/// The logins of one file that docker, podman, oras and others share.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoginFile {
    /// Where it is.
    path: String,
    /// By registry, or by a registry and the beginning of a name.
    logins: Vec<(String, RegistryLogin)>,
    /// Registries whose logins a program has, and the name of the program; an empty one stands for all.
    helpers: Vec<(String, String)>,
    /// Why nothing could be read.
    fault: Option<String>,
}

/// The logins of all registries. The first file that has one wins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegistryLogins(Vec<LoginFile>);

impl LoginFile {
    /// One that cannot be read.
    pub fn unreadable(path: String, why: &std::io::Error) -> Self {
        Self { path, fault: Some(why.to_string()), ..Self::default() }
    }

    /// Reads what `docker login` writes (docker `config/configfile`, `containers-auth.json`(5)): `auths` with `auth`
    /// (base64 of `USER:PASSWORD`), `username` and `password`, `identitytoken` or `registrytoken`; `credHelpers` and
    /// `credsStore` name programs. An entry that cannot be read is none.
    pub fn parse(path: String, text: &str) -> Self {
        let value: Value = match serde_json::from_str(text) {
            Ok(value) => value,
            Err(why) => return Self { path, fault: Some(why.to_string()), ..Self::default() },
        };
        let entries = |key: &str| value[key].as_object().into_iter().flatten();
        let logins = entries("auths").filter_map(|(key, entry)| Some((place(key), login(entry)?))).collect();
        let program = |name: &Value| format!("docker-credential-{}", name.as_str().unwrap_or_default());
        let mut helpers: Vec<_> =
            entries("credHelpers").map(|(key, name)| (place(key), program(name))).collect();
        if value["credsStore"].as_str().is_some_and(|name| !name.is_empty()) {
            helpers.push((String::new(), program(&value["credsStore"])));
        }
        Self { path, logins, helpers, fault: None }
    }
}

fn login(entry: &Value) -> Option<RegistryLogin> {
    let text = |key: &str| entry[key].as_str().filter(|text| !text.is_empty());
    if let Some(token) = text("identitytoken") {
        return Some(RegistryLogin::Identity(token.to_owned()));
    }
    if let Some(token) = text("registrytoken") {
        return Some(RegistryLogin::Bearer(token.to_owned()));
    }
    let decoded = text("auth").and_then(|auth| BASE64_STANDARD.decode(auth.trim()).ok());
    // docker has written a NUL behind some.
    let decoded = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    let pair = decoded.as_deref().and_then(|text| text.trim_end_matches('\0').split_once(':'));
    let (user, password) = pair.or_else(|| text("username").zip(text("password")))?;
    Some(RegistryLogin::Password(Login::new(user, password)))
}

/// A key of such a file as registry, or registry and beginning of a name.
fn place(key: &str) -> String {
    let key = key.split_once("://").map_or(key, |(_, rest)| rest).trim_end_matches('/');
    let key = ["/v1", "/v2"].into_iter().find_map(|end| key.strip_suffix(end)).unwrap_or(key);
    let (host, rest) = key.split_at(key.find('/').unwrap_or(key.len()));
    let host = host.to_ascii_lowercase();
    let host = if DOCKER_ALIASES.contains(&host.as_str()) { DOCKER } else { &host };
    format!("{host}{rest}")
}

impl RegistryLogins {
    /// Those of several files, the first one first.
    pub fn new(files: Vec<LoginFile>) -> Self {
        Self(files)
    }

    /// The login for a repository, and the file it is from: of a file the one for the longest part of the address.
    pub fn of(&self, repo: &RepoId) -> Option<(&RegistryLogin, &str)> {
        let address = format!("{}/{}", repo.owner, repo.name);
        self.0.iter().find_map(|file| {
            let suiting = file.logins.iter().filter(|(place, _)| is_below(&address, place));
            let (_, login) = suiting.max_by_key(|(place, _)| place.len())?;
            Some((login, file.path.as_str()))
        })
    }

    /// Why there is no login for a repository, in words.
    pub fn absence(&self, repo: &RepoId) -> String {
        let host = &repo.owner;
        for file in &self.0 {
            let path = &file.path;
            if let Some(fault) = &file.fault {
                return format!("no login was sent: `{path}` cannot be read ({fault})");
            }
            let suits = |place: &str| place.is_empty() || place == host;
            if let Some((_, program)) = file.helpers.iter().find(|(place, _)| suits(place)) {
                return format!(
                    "no login was sent: `{path}` leaves it to the program {program}, which modelfetch does not run; \
                     write one into `auths`, as `docker login` does without a helper, and name the file with REGISTRY_AUTH_FILE"
                );
            }
        }
        let paths: Vec<_> = self.0.iter().map(|file| format!("`{}`", file.path)).collect();
        let tried = if paths.is_empty() {
            "there is no config.json or auth.json".into()
        } else {
            format!("{host} is not in {}", paths.join(", "))
        };
        format!(
            "no login was sent: {tried}; `docker login {host}` or `oras login {host}` writes one, DOCKER_CONFIG or REGISTRY_AUTH_FILE name the file"
        )
    }

    /// What must not be shown.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = String> {
        self.0.iter().flat_map(|file| &file.logins).flat_map(|(_, login)| match login {
            RegistryLogin::Identity(token) | RegistryLogin::Bearer(token) => vec![token.clone()],
            RegistryLogin::Password(login) => {
                let pair = format!("{}:{}", login.user(), login.expose());
                vec![login.expose().to_owned(), BASE64_STANDARD.encode(pair)]
            }
        })
    }
}

fn is_below(address: &str, place: &str) -> bool {
    address.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_an_address_is_understood() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        for (text, repo, revision) in [
            ("oci://ghcr.io/o/n:v1", "oci://ghcr.io/o/n", Some("v1")),
            ("oci://GHCR.io/o/n", "oci://ghcr.io/o/n", None),
            ("oci://127.0.0.1:5000/n", "oci://127.0.0.1:5000/n", None),
            ("oci://[::1]:5000/a/b/c:latest", "oci://[::1]:5000/a/b/c", Some("latest")),
            ("oci://docker.io/ai/smollm2:360M-Q4_K_M", "oci://docker.io/ai/smollm2", Some("360M-Q4_K_M")),
            ("oci://index.docker.io/n", "oci://docker.io/library/n", None),
            (&format!("oci://r/n@{digest}"), "oci://r/n", Some(digest.as_str())),
            (&format!("oci://r:1/n:v1@{digest}"), "oci://r:1/n", Some(digest.as_str())),
        ] {
            let (found, at) = parse(text).unwrap_or_else(|why| panic!("{text}: {why}"));
            assert_eq!((found.to_string().as_str(), at.as_ref().map(Revision::as_str)), (repo, revision));
            assert_eq!(parse(repo).expect(repo).0, found, "what is shown can be read");
        }
    }

    #[test]
    fn what_is_no_address_of_a_registry_is_refused_with_the_right_form() {
        for (text, why) in [
            ("oci://", "expected oci://"),
            ("oci://r", "expected oci://"),
            ("oci://r/", "small letters"),
            ("oci://r/N", "small letters"),
            ("oci://r/../n", "small letters"),
            ("oci://r/n/", "small letters"),
            ("oci://r/a..b", "small letters"),
            ("oci://r/n:v1/file.gguf", "files are named beside it"),
            ("oci://r:x/n", "HOST:PORT"),
            ("oci://r?/n", "HOST:PORT"),
            ("oci://r/n:", "tag"),
            ("oci://r/n:a b", "tag"),
            ("oci://r/n@sha512:ab", "sha256:"),
            ("oci://r/n@v1", "sha256:"),
            ("oci://user:SECRET@r/n", "config.json"),
        ] {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.contains(why) && !error.contains("SECRET"), "{text}: {error}");
        }
        assert!(parse(&format!("oci://r/{}", "n".repeat(250))).is_err());
    }

    fn file(text: &str) -> RegistryLogins {
        RegistryLogins::new(vec![LoginFile::parse("/f".into(), text)])
    }

    #[test]
    fn a_login_is_that_of_the_longest_part_of_the_address() {
        let auth = |pair: &str| BASE64_STANDARD.encode(pair);
        let logins = file(&format!(
            r#"{{"auths": {{"r:5000": {{"auth": "{}"}}, "r:5000/team": {{"auth": "{}"}},
                "https://index.docker.io/v1/": {{"username": "d", "password": "three"}},
                "i": {{"auth": "{}", "identitytoken": "four"}}, "b": {{"registrytoken": "five"}}, "empty": {{}}}}}}"#,
            auth("u:one:1"),
            auth("u:two"),
            auth("<token>:"),
        ));
        let found = |address: &str| {
            let (repo, _) = parse(address).expect(address);
            logins.of(&repo).map(|(login, _)| match login {
                RegistryLogin::Password(login) => login.expose().to_owned(),
                RegistryLogin::Identity(token) | RegistryLogin::Bearer(token) => token.clone(),
            })
        };
        for (address, secret) in [
            ("oci://r:5000/n", Some("one:1")),
            ("oci://r:5000/team/n", Some("two")),
            ("oci://r:5000/teams/n", Some("one:1")),
            ("oci://docker.io/ai/n", Some("three")),
            ("oci://i/n", Some("four")),
            ("oci://b/n", Some("five")),
            ("oci://empty/n", None),
            ("oci://r/n", None),
            ("oci://r:50000/n", None),
        ] {
            assert_eq!(found(address).as_deref(), secret, "{address}");
        }
        assert!(logins.secrets().any(|secret| secret == "one:1") && !format!("{logins:?}").contains("one:1"));
    }

    #[test]
    fn why_there_is_no_login_is_told() {
        let (repo, _) = parse("oci://r/n").expect("an address");
        for (text, why) in [
            (r#"{"credHelpers": {"r": "ecr-login"}}"#, "docker-credential-ecr-login"),
            (r#"{"credsStore": "desktop"}"#, "does not run"),
            ("{", "cannot be read"),
            (r#"{"credHelpers": {"other": "x"}}"#, "r is not in `/f`"),
            ("[]", "r is not in `/f`"),
        ] {
            let absence = file(text).absence(&repo);
            assert!(absence.contains(why), "{text}: {absence}");
        }
        assert!(RegistryLogins::default().absence(&repo).contains("`oras login r`"));
    }
}
