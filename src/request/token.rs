//! The access token, or what the Hub gives one for. Their values are shown nowhere.

use std::fmt;
use std::path::PathBuf;

use crate::words::Invalid;

/// What opens the Hub. It cannot be printed.
#[derive(Clone)]
pub struct Token {
    value: Value,
    source: TokenSource,
}

/// What there is to show to the Hub.
#[derive(Clone)]
pub(crate) enum Value {
    /// An access token.
    Access(String),
    /// Whoever runs this, for whom the Hub has an access token.
    Identity(Identity),
}

/// An identity token (`OpenID` Connect), and what the access token that is given for it is to be for.
#[derive(Clone)]
pub struct Identity {
    resource: String,
    token: IdToken,
}

/// Where the identity token is.
#[derive(Clone)]
pub enum IdToken {
    /// In a variable, whose value does not change any more.
    Variable(&'static str, String),
    /// In a file, which somebody else renews: the kubelet does.
    File(PathBuf),
}

/// Text that is no token: it holds a character that no header can carry.
#[derive(Debug, thiserror::Error)]
#[error("the token from {0} holds a line break, space or other character that no token has")]
pub struct BadToken(pub TokenSource);

/// Where a token was found, which may be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenSource {
    /// An environment variable.
    Variable(&'static str),
    /// A file.
    File(PathBuf),
    /// The Hub gave it for an identity token.
    Exchange {
        /// Where the identity token was found.
        of: Box<TokenSource>,
        /// What the access token is for.
        resource: String,
    },
}

impl Token {
    /// Takes the text as found. Space around it is dropped, as `huggingface_hub` does; `None` if
    /// nothing is left. A space, a line break or anything but visible ASCII inside is an error, because it
    /// could not be sent and is surely not meant.
    pub fn new(text: &str, source: TokenSource) -> Result<Option<Self>, BadToken> {
        let value = text.trim();
        if value.is_empty() {
            return Ok(None);
        }
        if !is_sendable(value) {
            return Err(BadToken(source));
        }
        Ok(Some(Self { value: Value::Access(value.to_owned()), source }))
    }

    /// What the Hub gives for an identity token.
    pub fn in_exchange(identity: Identity) -> Self {
        let source =
            TokenSource::Exchange { of: identity.token.source().into(), resource: identity.resource.clone() };
        Self { value: Value::Identity(identity), source }
    }

    /// Where it was found.
    pub fn source(&self) -> &TokenSource {
        &self.source
    }

    /// That it was not sent to an endpoint, and how it would be.
    pub fn stays_from(&self, endpoint: &str) -> String {
        let source = &self.source;
        format!(
            "the token from {source} is not sent to {endpoint}; if it is meant for it, name it with --token-endpoint"
        )
    }

    /// What to show to the Hub.
    pub(crate) fn value(&self) -> &Value {
        &self.value
    }

    /// The text that is known now and must be kept out of messages.
    pub(crate) fn expose(&self) -> Option<&str> {
        match &self.value {
            Value::Access(text) | Value::Identity(Identity { token: IdToken::Variable(_, text), .. }) => {
                Some(text)
            }
            Value::Identity(_) => None,
        }
    }
}

/// Whether a header or a form can carry it.
pub(crate) fn is_sendable(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

impl Identity {
    /// `resource` is what the Hub calls so: the name of a user, or a repository, `[KIND/]owner/name`.
    pub fn new(resource: &str, token: IdToken) -> Result<Self, Invalid> {
        let resource = resource.trim();
        let is_name = |part: &str| {
            let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            !part.is_empty() && part.chars().all(is_allowed)
        };
        let parts: Vec<_> = resource.split('/').collect();
        if parts.len() > 3 || !parts.into_iter().all(is_name) {
            let why = "expected a user's name, or a repository as owner/name or datasets/owner/name";
            return Err(Invalid::new("HF_OIDC_RESOURCE", resource, why));
        }
        if let IdToken::Variable(_, text) = &token {
            check_id_token(text, &token.source())?;
        }
        Ok(Self { resource: resource.to_owned(), token })
    }

    /// What the access token is to be for.
    pub fn resource(&self) -> &str {
        &self.resource
    }

    /// Where the identity token is.
    pub fn token(&self) -> &IdToken {
        &self.token
    }
}

impl IdToken {
    /// Where it is, for messages.
    pub fn source(&self) -> TokenSource {
        match self {
            Self::Variable(name, _) => TokenSource::Variable(name),
            Self::File(path) => TokenSource::File(path.clone()),
        }
    }
}

/// Fails for a text that is no identity token: those are JSON Web Tokens (`OpenID` Connect Core, section 2), three parts
/// with dots in between.
pub(crate) fn check_id_token(text: &str, source: &TokenSource) -> Result<(), Invalid> {
    let refused = |why: &str| Err(Invalid::hidden("id token", format!("{source} holds {why}")));
    match text {
        "" => refused("nothing"),
        text if crate::words::is_token(text) => {
            refused("an access token of the Hub, which belongs into HF_TOKEN, without HF_OIDC_RESOURCE")
        }
        text if !is_sendable(text) => refused("a line break, space or other character that no token has"),
        text if text.split('.').filter(|part| !part.is_empty()).count() != 3 => {
            refused("no JSON Web Token, which has three parts with dots in between")
        }
        _ => Ok(()),
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token(from {})", self.source)
    }
}

impl fmt::Display for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => f.write_str(name),
            Self::File(path) => write!(f, "`{}`", path.display()),
            Self::Exchange { of, resource } => write!(f, "the exchange of {of} for `{resource}`"),
        }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity(from {}, for {})", self.token.source(), self.resource)
    }
}
