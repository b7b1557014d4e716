//! What the headers of an answer tell about a file.

use reqwest::header::{CONTENT_LENGTH, ETAG, HeaderMap};
use url::Url;

use crate::content::Digest;
use crate::net::text_header;
use crate::request::Commit;

/// What `HEAD /{repo}/resolve/{revision}/{path}` tells.
#[derive(Debug, Clone)]
pub struct Head {
    /// `X-Repo-Commit`.
    pub commit: Commit,
    /// `X-Linked-Etag` or `ETag`, if it is a digest.
    pub digest: Option<Digest>,
    /// `X-Linked-Size` or `Content-Length`, in bytes.
    pub size: u64,
    /// Where the bytes are: a signed CDN URL, or the Hub itself for small files.
    pub url: Url,
}

impl Head {
    /// What the headers of a single answer tell; the error says what is missing or wrong in them.
    pub fn from_headers(headers: &HeaderMap, url: Url) -> Result<Self, String> {
        let mut facts = Facts::default();
        facts.note(headers, true);
        facts.head(url)
    }
}

/// Headers of the hops of one question; a later hop wins, but not over a linked etag or size.
#[derive(Default)]
pub(super) struct Facts {
    commit: Option<String>,
    linked_etag: Option<String>,
    etag: Option<String>,
    linked_size: Option<String>,
    length: Option<String>,
}

impl Facts {
    /// Takes note of one hop; only the last one's `Content-Length` is that of the file.
    pub(super) fn note(&mut self, headers: &HeaderMap, last: bool) {
        let take = |fact: &mut Option<String>, name: &str| {
            if let Some(value) = text_header(headers, name) {
                *fact = Some(value);
            }
        };
        take(&mut self.commit, "x-repo-commit");
        take(&mut self.linked_etag, "x-linked-etag");
        take(&mut self.linked_size, "x-linked-size");
        take(&mut self.etag, ETAG.as_str());
        if last {
            take(&mut self.length, CONTENT_LENGTH.as_str());
        }
    }

    /// Whether nothing more need be asked about the file.
    pub(super) fn tells_all(&self) -> bool {
        self.commit.is_some() && self.linked_size.is_some()
    }

    /// All of it together; the error says what is missing or wrong.
    pub(super) fn head(self, url: Url) -> Result<Head, String> {
        let commit = self.commit.ok_or("there is no X-Repo-Commit header")?;
        let commit = commit.parse().map_err(|_| format!("X-Repo-Commit is {commit:?}"))?;
        let etag = self.linked_etag.or(self.etag).unwrap_or_default();
        let size = self.linked_size.or(self.length).ok_or("the file's size is missing")?;
        let size = size.parse().ok().filter(|size| i64::try_from(*size).is_ok());
        Ok(Head {
            commit,
            digest: Digest::from_etag(etag.trim_start_matches("W/").trim_matches('"')),
            size: size.ok_or("the file's size is no number that a file can have")?,
            url,
        })
    }
}
