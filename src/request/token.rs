//! The access token. Its value is shown nowhere.

use std::fmt;
use std::path::PathBuf;

/// A Hub access token that cannot be printed.
#[derive(Clone)]
pub struct Token {
    value: String,
    source: TokenSource,
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
        if !value.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(BadToken(source));
        }
        Ok(Some(Self { value: value.to_owned(), source }))
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

    /// The value, for the one request header it is meant for and for keeping it out of messages.
    pub(crate) fn expose(&self) -> &str {
        &self.value
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
        }
    }
}
