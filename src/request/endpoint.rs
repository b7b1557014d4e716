//! Hubs to ask: the Hub itself, or mirrors of it.

use std::fmt;
use std::sync::Arc;

use percent_encoding::percent_decode_str;
use url::Url;

use super::{Place, Proxies, RegistryLogins, RepoId, Token, oci};
use crate::words::{Invalid, host};

/// Hosts of the public Hub, which people write with and without a scheme. All lead to the first one.
pub(super) const HOSTS: [&str; 4] = ["huggingface.co", "hf.co", "www.huggingface.co", "www.hf.co"];

/// The base URL of a Hub, without a slash at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    url: Url,
    base: String,
    login: Option<Login>,
    /// It is none of a Hub: a repository of a registry, which has contents by their digest alone.
    registry: Option<Arc<RepoId>>,
}

/// A user name and a password for one endpoint, which cannot be printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    user: String,
    password: String,
}

impl Login {
    /// From their plain texts.
    pub fn new(user: &str, password: &str) -> Self {
        Self { user: user.to_owned(), password: password.to_owned() }
    }

    /// Those in a URL, if it has any.
    pub(super) fn of(url: &Url) -> Option<Self> {
        let plain = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let (user, password) = (plain(url.username()), url.password().map(plain));
        (!user.is_empty() || password.is_some())
            .then(|| Self { user, password: password.unwrap_or_default() })
    }

    /// The user name.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The password, for the one request header it is meant for and for keeping it out of messages.
    pub(crate) fn expose(&self) -> &str {
        &self.password
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login(not shown)")
    }
}

impl Endpoint {
    /// The public Hub.
    pub const DEFAULT: &str = "https://huggingface.co";

    /// Reads an `http://` or `https://` URL, which may carry a path, a user name and a password, but no query; or
    /// `oci://REGISTRY/NAME`, a mirror by digest.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let invalid = |why: &str| Invalid::new("endpoint", text, why);
        if text.starts_with(oci::SCHEME) {
            return match oci::parse(text.trim_end_matches('/'))? {
                (repo, None) => {
                    Self::of_registry(repo).ok_or_else(|| invalid("expected oci://REGISTRY/NAME"))
                }
                _ => Err(invalid("a mirror by digest has no tag: expected oci://REGISTRY/NAME")),
            };
        }
        let mut url = Url::parse(text).map_err(|why| invalid(&why.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err(invalid("expected https://HOST or http://HOST"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(invalid("a query or fragment is not allowed"));
        }
        let is_hub = url.host_str().is_some_and(|host| HOSTS.contains(&host)) && url.port().is_none();
        if is_hub && url.scheme() == "https" {
            // Where it leads: a token for one name of the Hub would stay there otherwise.
            url.set_host(Some(HOSTS[0])).map_err(|why| invalid(&why.to_string()))?;
        }
        let login = Login::of(&url);
        // Such a URL has a host, and so may have them or not.
        let _ = url.set_username("").and_then(|()| url.set_password(None));
        let base = url.as_str().trim_end_matches('/').to_owned();
        Ok(Self { url, base, login, registry: None })
    }

    /// A repository of a registry. Whether it speaks TLS is found out when it is asked.
    fn of_registry(repo: RepoId) -> Option<Self> {
        let url = Url::parse(&format!("https://{}/v2/{}/", repo.registry_host(), repo.name)).ok()?;
        Some(Self { url, base: repo.to_string(), login: None, registry: Some(Arc::new(repo)) })
    }

    /// The repository of a registry that it is, if it is none of a Hub.
    pub fn registry(&self) -> Option<&RepoId> {
        self.registry.as_deref()
    }

    /// The same with a login from elsewhere, if it has none of its own.
    #[must_use]
    pub fn or_login(mut self, login: impl FnOnce(&str) -> Option<Login>) -> Self {
        self.login = self.login.or_else(|| login(self.url.host_str()?));
        self
    }

    /// The user name and password that are sent there.
    pub fn login(&self) -> Option<&Login> {
        self.login.as_ref()
    }

    /// Whether it is the public Hub.
    pub fn is_hub(&self) -> bool {
        self.base == Self::DEFAULT
    }

    /// `{endpoint}/{path}`.
    pub fn join(&self, path: &str) -> String {
        format!("{}/{path}", self.base)
    }

    /// Whether `url` is in the repository of a registry, or has this endpoint's scheme, host and port; or, where this is plain http, is of the same host by
    /// https, each at its usual port: who leads there leads to itself, and not the other way round.
    pub fn has_origin_of(&self, url: &Url) -> bool {
        if self.registry.is_some() {
            let is_there = self.url.host() == url.host() && self.url.port() == url.port();
            return is_there && url.path().starts_with(self.url.path());
        }
        let is_at_usual_port = |url: &Url, scheme: &str| url.scheme() == scheme && url.port().is_none();
        let is_its_https = is_at_usual_port(&self.url, "http") && is_at_usual_port(url, "https");
        self.url.origin() == url.origin() || is_its_https && self.url.host() == url.host()
    }

    /// The same place below this endpoint's path, where `url` is one that a Hub names from its own root.
    pub fn below(&self, mut url: Url) -> Url {
        let prefix = self.url.path().trim_end_matches('/');
        let is_of_hub = url.path().starts_with("/api/") || url.path().contains("/resolve/");
        let is_below = url.path().strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/'));
        if self.has_origin_of(&url) && is_of_hub && !is_below {
            url.set_path(&format!("{prefix}{}", url.path()));
        }
        url
    }

    /// The repository that a place of this Hub is in: what stands before `/resolve/`, or behind `/api/KIND/`.
    pub fn repository_in(&self, url: &Url) -> Option<String> {
        let path = url.path().strip_prefix(self.url.path().trim_end_matches('/'))?;
        match path.strip_prefix("/api/") {
            Some(rest) => {
                let mut parts = rest.strip_prefix("resolve-cache/").unwrap_or(rest).split('/');
                let kind = match parts.next()? {
                    "models" => String::new(),
                    kind @ ("datasets" | "spaces") => format!("{kind}/"),
                    _ => return None,
                };
                Some(format!("{kind}{}/{}", parts.next()?, parts.next()?))
            }
            None => Some(path.split_once("/resolve/")?.0.trim_start_matches('/').to_owned()),
        }
    }

    /// Its URL, without user name and password.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Host and port, for messages.
    pub fn host(&self) -> String {
        host(&self.url)
    }

    /// Who could overhear a token that travels there, in words. A proxy reads plain http, and may send it anywhere.
    fn exposure(&self, proxies: &Proxies) -> Option<String> {
        if self.url.scheme() == "https" {
            return None;
        }
        match proxies.of(&self.url) {
            Some(proxy) => Some(format!(" through the proxy {} of {}", proxy.host(), proxy.variable())),
            None => (Place::of(&self.url) != Place::Here).then(String::new),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.base)
    }
}

/// The token would travel unencrypted to another machine, or to a proxy.
#[derive(Debug, thiserror::Error)]
#[error("refusing to send a {what} to {endpoint} over plain http{way}")]
pub struct TokenInTheClear {
    /// A token or a password.
    pub what: &'static str,
    /// Whom it is meant for.
    pub endpoint: String,
    /// Who would read it on the way, in words; empty if anybody could.
    pub way: String,
}

/// The Hubs of a request, tried in order, and the token with the endpoints it is meant for; and how registries are
/// spoken to, whether they are among them or not.
#[derive(Debug, Clone)]
pub struct Endpoints {
    list: Vec<Endpoint>,
    token: Option<Token>,
    token_for: Vec<Endpoint>,
    logins: Arc<RegistryLogins>,
    is_plain_allowed: bool,
}

impl Endpoints {
    /// Without an endpoint the public Hub is asked. The first endpoint that is no registry gets the token, like `HF_ENDPOINT` in
    /// `huggingface_hub`, unless `token_for` names others: then only they do. A token over plain http to another
    /// machine, or through any proxy, is refused unless `insecure_token` says that this is wanted.
    pub fn new(
        list: Vec<Endpoint>,
        token: Option<Token>,
        token_for: Vec<Endpoint>,
        insecure_token: bool,
        proxies: &Proxies,
    ) -> Result<Self, TokenInTheClear> {
        let hub = || Endpoint::parse(Endpoint::DEFAULT).expect("the Hub's URL is one");
        let list = if list.is_empty() { vec![hub()] } else { list };
        let hubs = list.iter().filter(|endpoint| endpoint.registry.is_none());
        let token_for = if token_for.is_empty() { hubs.take(1).cloned().collect() } else { token_for };
        if !insecure_token {
            let exposed = |endpoint: &Endpoint, what| {
                let way = endpoint.exposure(proxies)?;
                Some(TokenInTheClear { what, endpoint: endpoint.to_string(), way })
            };
            let tokens = token_for.iter().filter(|_| token.is_some()).map(|endpoint| (endpoint, "token"));
            let logins = list.iter().filter(|endpoint| endpoint.login.is_some());
            let mut all = tokens.chain(logins.map(|endpoint| (endpoint, "password")));
            all.find_map(|(endpoint, what)| exposed(endpoint, what)).map_or(Ok(()), Err)?;
        }
        let logins = Arc::default();
        Ok(Self { list, token, token_for, logins, is_plain_allowed: insecure_token })
    }

    /// The same with logins for registries.
    #[must_use]
    pub fn with_registry_logins(self, logins: RegistryLogins) -> Self {
        Self { logins: Arc::new(logins), ..self }
    }

    /// Who may read from registries.
    pub fn registry_logins(&self) -> &RegistryLogins {
        &self.logins
    }

    /// Whether registries on other machines may speak plain http.
    pub fn is_plain_allowed(&self) -> bool {
        self.is_plain_allowed
    }

    /// The endpoints in order; never empty.
    pub fn iter(&self) -> impl Iterator<Item = &Endpoint> + Clone {
        self.list.iter()
    }

    /// The names of all hosts that were named, without ports.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        self.list.iter().chain(&self.token_for).filter_map(|endpoint| endpoint.url.host_str())
    }

    /// The token, if `url` belongs to an endpoint it is meant for.
    pub fn token_for(&self, url: &Url) -> Option<&Token> {
        self.token_at(url).map(|(token, _)| token)
    }

    /// The same, with that endpoint.
    pub fn token_at(&self, url: &Url) -> Option<(&Token, &Endpoint)> {
        self.token.as_ref().zip(self.token_for.iter().find(|endpoint| endpoint.has_origin_of(url)))
    }

    /// The user name and password for the endpoint that `url` belongs to. They stand in for the token there: a request
    /// has one of them.
    pub fn login_for(&self, url: &Url) -> Option<&Login> {
        self.list.iter().filter(|endpoint| endpoint.has_origin_of(url)).find_map(Endpoint::login)
    }

    /// The token, whoever it is for: messages about missing rights say where it came from.
    pub fn token(&self) -> Option<&Token> {
        self.token.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_public_hub_is_one_by_all_its_names() {
        for url in
            ["https://hf.co", "https://www.huggingface.co/", "https://HF.co/", "https://huggingface.co"]
        {
            assert!(Endpoint::parse(url).expect(url).is_hub(), "{url}");
        }
        for url in
            ["http://hf.co", "https://hf.co:8443", "https://hf.co.example", "https://mirror.example/hf.co"]
        {
            assert!(!Endpoint::parse(url).expect(url).is_hub(), "{url}");
        }
    }

    #[test]
    fn plain_http_is_at_home_in_its_own_https_and_not_the_other_way_round() {
        let is_home = |endpoint: &str, url: &str| {
            Endpoint::parse(endpoint).expect("endpoint").has_origin_of(&url.parse().expect("URL"))
        };
        for (endpoint, url) in [
            ("http://hub.example", "http://hub.example/x"),
            ("http://hub.example", "https://hub.example/x"),
            ("http://hub.example:80/below", "https://HUB.example:443/x"),
            ("http://hub.example:8080", "http://hub.example:8080/x"),
        ] {
            assert!(is_home(endpoint, url), "{endpoint} and {url}");
        }
        for (endpoint, url) in [
            ("https://hub.example", "http://hub.example/x"),
            ("http://hub.example:8080", "https://hub.example/x"),
            ("http://hub.example", "https://hub.example:8443/x"),
            ("http://www.hub.example", "https://hub.example/x"),
            ("https://hub.example", "https://www.hub.example/x"),
        ] {
            assert!(!is_home(endpoint, url), "{endpoint} and {url}");
        }
    }
}
