//! The access token. Its value leaves this type only as a request header.

use std::fmt;
use std::path::PathBuf;

use crate::error::Error;

/// A Hub access token that cannot be printed.
#[derive(Clone)]
pub struct Token {
    value: String,
    source: TokenSource,
}

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
    /// nothing is left. A line break or another control character inside is an error, because it
    /// could not be sent and is surely not meant.
    pub fn new(text: &str, source: TokenSource) -> Result<Option<Self>, Error> {
        let value = text.trim();
        if value.is_empty() {
            return Ok(None);
        }
        if !value.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::BadToken { source_of_token: source });
        }
        Ok(Some(Self { value: value.to_owned(), source }))
    }

    /// Where it was found.
    pub fn source(&self) -> &TokenSource {
        &self.source
    }

    /// The `Authorization` header, marked so that the HTTP stack does not print it either.
    pub fn header(&self) -> reqwest::header::HeaderValue {
        let mut header = reqwest::header::HeaderValue::from_str(&format!("Bearer {}", self.value))
            .expect("a token holds only visible ASCII");
        header.set_sensitive(true);
        header
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
