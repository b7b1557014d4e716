//! Hubs to ask: the Hub itself, or mirrors of it.

use std::fmt;

use url::Url;

use super::{Place, Proxies, Token};
use crate::words::{Invalid, host};

/// The base URL of a Hub, without a slash at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    url: Url,
    base: String,
}

impl Endpoint {
    /// The public Hub.
    pub const DEFAULT: &str = "https://huggingface.co";

    /// Reads an `http://` or `https://` URL, which may carry a path but no query.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let invalid = |why: &str| Invalid::new("endpoint", &without_userinfo(text), why);
        let url = Url::parse(text).map_err(|why| invalid(&why.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err(invalid("expected https://HOST or http://HOST"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(invalid("a user name or password in the URL would end up in logs; use HF_TOKEN"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(invalid("a query or fragment is not allowed"));
        }
        let base = url.as_str().trim_end_matches('/').to_owned();
        Ok(Self { url, base })
    }

    /// `{endpoint}/{path}`.
    pub fn join(&self, path: &str) -> String {
        format!("{}/{path}", self.base)
    }

    /// Whether `url` has this endpoint's scheme, host and port.
    pub fn has_origin_of(&self, url: &Url) -> bool {
        self.url.origin() == url.origin()
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

fn without_userinfo(text: &str) -> String {
    match (text.split_once("://"), text.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://…@{host}"),
        _ => text.to_owned(),
    }
}

/// The token would travel unencrypted to another machine, or to a proxy.
#[derive(Debug, thiserror::Error)]
#[error("refusing to send a token to {endpoint} over plain http{way}")]
pub struct TokenInTheClear {
    /// Whom it is meant for.
    pub endpoint: Endpoint,
    /// Who would read it on the way, in words; empty if anybody could.
    pub way: String,
}

/// The Hubs of a request, tried in order, and the token with the endpoints it is meant for.
#[derive(Debug, Clone)]
pub struct Endpoints {
    list: Vec<Endpoint>,
    token: Option<Token>,
    token_for: Vec<Endpoint>,
}

impl Endpoints {
    /// Without an endpoint the public Hub is asked. The first endpoint gets the token, like `HF_ENDPOINT` in
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
        let token_for = if token_for.is_empty() { list.iter().take(1).cloned().collect() } else { token_for };
        if token.is_some() && !insecure_token {
            let exposed = |endpoint: &Endpoint| {
                let way = endpoint.exposure(proxies)?;
                Some(TokenInTheClear { endpoint: endpoint.clone(), way })
            };
            token_for.iter().find_map(exposed).map_or(Ok(()), Err)?;
        }
        Ok(Self { list, token, token_for })
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
        self.token.as_ref().filter(|_| self.token_for.iter().any(|endpoint| endpoint.has_origin_of(url)))
    }

    /// The token, whoever it is for: messages about missing rights say where it came from.
    pub fn token(&self) -> Option<&Token> {
        self.token.as_ref()
    }
}
