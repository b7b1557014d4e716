//! What the headers of an answer tell about a file.

use reqwest::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap};
use reqwest::{Response, StatusCode};
use url::Url;

use crate::content::{Digest, XetHash};
use crate::net::text_header;
use crate::request::Commit;
use crate::source::http::parse_content_range;

/// What `HEAD /{repo}/resolve/{revision}/{path}` tells. A Hub tells all of it; of a mirror, an edge or a cache
/// anything may be missing.
#[derive(Debug, Clone)]
pub struct Head {
    /// `X-Repo-Commit`.
    pub commit: Option<Commit>,
    /// `X-Linked-Etag`: the one header that nobody but a Hub writes, so that it can be believed.
    pub digest: Option<Digest>,
    /// What a Hub's own `ETag` would say. A cache may have put one of its own there (the SHA-1 of the bytes), or
    /// the CDN's, which for a file in Xet storage is 64 digits of another hash.
    pub guess: Option<Digest>,
    /// `X-Linked-Size`, `Content-Length`, or the total of a `Content-Range`, in bytes.
    pub size: Option<u64>,
    /// `X-Xet-Hash`, of a file in Xet storage.
    pub xet_hash: Option<XetHash>,
    /// Where the bytes are: a signed CDN URL, or the Hub itself for small files.
    pub url: Url,
}

impl Head {
    /// What the headers of a single answer tell; the error says what is wrong in them.
    pub fn from_headers(headers: &HeaderMap, url: Url) -> Result<Self, String> {
        let mut facts = Facts::default();
        facts.note_last(StatusCode::OK, headers);
        facts.head(url)
    }
}

/// Headers of the hops of one question; a later hop wins, but not over a linked etag or size.
#[derive(Default)]
pub(super) struct Facts {
    commit: Option<String>,
    linked_etag: Option<String>,
    xet_hash: Option<String>,
    etag: Option<String>,
    /// The commit is named beside the etag.
    is_etag_of_hub: bool,
    linked_size: Option<String>,
    length: Option<u64>,
    /// They were told to a GET alone.
    pub(super) refuses_head: bool,
}

impl Facts {
    /// Takes note of what any hop tells.
    pub(super) fn note(&mut self, headers: &HeaderMap) {
        let take = |fact: &mut Option<String>, name: &str| {
            if let Some(value) = text_header(headers, name) {
                *fact = Some(value);
            }
        };
        take(&mut self.commit, "x-repo-commit");
        take(&mut self.linked_etag, "x-linked-etag");
        take(&mut self.linked_size, "x-linked-size");
        take(&mut self.xet_hash, "x-xet-hash");
    }

    /// Whether nothing more need be asked about the file.
    pub(super) fn tells_all(&self) -> bool {
        self.commit.is_some() && self.linked_size.is_some()
    }

    /// Takes note of the last answer, which has, or would have, the bytes themselves. Its `Content-Length` is theirs unless
    /// they are encoded, and its `ETag` may be a Hub's where the commit, too, is named beside it.
    pub(super) fn note_last(&mut self, status: StatusCode, headers: &HeaderMap) {
        self.note(headers);
        let encoding = text_header(headers, CONTENT_ENCODING.as_str());
        if encoding.is_some_and(|encoding| encoding != "identity") {
            return;
        }
        let text = |name: &str| text_header(headers, name);
        self.length = if status == StatusCode::PARTIAL_CONTENT {
            text(CONTENT_RANGE.as_str()).and_then(|range| parse_content_range(&range)?.2)
        } else {
            text(CONTENT_LENGTH.as_str()).and_then(|length| length.parse().ok())
        };
        self.etag = text(ETAG.as_str());
        self.is_etag_of_hub = headers.contains_key("x-repo-commit");
    }

    /// How the answers differ from the Hub's, in words.
    pub(super) fn manners(&self) -> String {
        let missing: Vec<_> = [
            ("X-Repo-Commit", self.commit.is_none()),
            ("X-Linked-ETag", self.linked_etag.is_none()),
            ("X-Linked-Size and Content-Length", self.linked_size.is_none() && self.length.is_none()),
        ]
        .into_iter()
        .filter_map(|(name, is_missing)| is_missing.then_some(name))
        .collect();
        let told: String = if missing.is_empty() {
            "commit, digest and size are in the headers, as in the Hub's".into()
        } else {
            format!(
                "without {}, what they tell comes from its list of files, a pin or --revision",
                missing.join(", ")
            )
        };
        let etag = self.etag.as_ref().map(|etag| format!("; the ETag is {}", self.kind_of(bare(etag))));
        let head = if self.refuses_head { "; HEAD is refused, so that GET is asked" } else { "" };
        told + head + &etag.unwrap_or_default()
    }

    fn kind_of(&self, etag: &str) -> &'static str {
        let is_hex = etag.bytes().all(|byte| byte.is_ascii_hexdigit());
        match etag.len() {
            _ if self.linked_etag.as_deref().map(bare) == Some(etag) => "the digest",
            _ if self.xet_hash.as_deref() == Some(etag) => "the hash of Xet storage",
            32 if is_hex => "an MD5, perhaps, and no digest of a Hub",
            40 if is_hex => "a git id, or the SHA-1 of the bytes",
            64 if is_hex => "a SHA-256, or the hash of Xet storage",
            _ => "its own, and no digest",
        }
    }

    /// All of it together; the error says what is wrong.
    pub(super) fn head(self, url: Url) -> Result<Head, String> {
        let is_possible = |size: &u64| i64::try_from(*size).is_ok();
        let linked_size = match self.linked_size {
            Some(size) => Some(
                size.parse()
                    .ok()
                    .filter(is_possible)
                    .ok_or("the file's size is no number that a file can have")?,
            ),
            None => None,
        };
        let digest = |etag: Option<String>| Digest::from_etag(bare(&etag?));
        // Where the hash of Xet storage is told, it shows that an etag is nothing else.
        let is_xet_hash = |etag: &String| self.xet_hash.as_deref() == Some(bare(etag));
        Ok(Head {
            commit: self.commit.and_then(|commit| commit.parse().ok()),
            digest: digest(self.linked_etag),
            guess: digest(self.etag.filter(|etag| self.is_etag_of_hub && !is_xet_hash(etag))),
            size: linked_size.or(self.length.filter(is_possible)),
            xet_hash: self.xet_hash.as_deref().and_then(|hash| hash.parse().ok()),
            url,
        })
    }
}

/// An etag without its quotes and the mark of a weak one.
fn bare(etag: &str) -> &str {
    etag.trim_start_matches("W/").trim_matches('"')
}

/// Whether a page for people answers instead of a file: a login page has a length and an etag, too.
pub(super) fn is_page(response: &Response, name: &str) -> bool {
    let headers = response.headers();
    let is_html = |kind: String| kind.to_ascii_lowercase().starts_with("text/html");
    let may_be_html = [".html", ".htm"].into_iter().any(|end| name.to_ascii_lowercase().ends_with(end));
    !may_be_html
        && !headers.contains_key("x-repo-commit")
        && text_header(headers, CONTENT_TYPE.as_str()).is_some_and(is_html)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIT: &str = "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd";
    const SHA: &str = "abababababababababababababababababababababababababababababababab";

    fn head(pairs: &[(&'static str, &str)]) -> Head {
        let headers = pairs
            .iter()
            .map(|(name, value)| (name.parse().expect("name"), value.parse().expect("value")))
            .collect();
        Head::from_headers(&headers, "https://h/x".parse().expect("a URL")).expect("facts")
    }

    #[test]
    fn only_a_linked_etag_is_believed_to_be_a_digest() {
        let told = |pairs: &[(&'static str, &str)]| {
            let Head { digest, guess, .. } = head(pairs);
            [digest, guess].map(|digest| digest.map(|digest| digest.to_string().len()))
        };
        assert_eq!(told(&[("x-linked-etag", &format!("\"{SHA}\"")), ("etag", GIT)]), [Some(64), None]);
        assert_eq!(told(&[("etag", GIT)]), [None, None], "nothing says that it is a Hub's");
        assert_eq!(told(&[("etag", GIT), ("x-repo-commit", GIT)]), [None, Some(40)]);
        assert_eq!(told(&[("etag", &format!("W/\"{SHA}\"")), ("x-repo-commit", GIT)]), [None, Some(64)]);
        assert_eq!(told(&[("etag", SHA), ("x-repo-commit", GIT), ("x-xet-hash", SHA)]), [None, None]);
        for own in ["\"d41d8cd98f00b204e9800998ecf8427e\"", &format!("\"{GIT}-gzip\""), "\"5f1-62\""] {
            assert_eq!(told(&[("etag", own), ("x-repo-commit", GIT)]), [None, None], "{own}");
        }
        let encoded = [("etag", GIT), ("x-repo-commit", GIT), ("content-encoding", "gzip")];
        assert_eq!(told(&encoded), [None, None]);
    }

    #[test]
    fn what_is_not_as_the_hub_has_it_is_said_in_words() {
        let manners = |pairs: &[(&'static str, &str)]| {
            let headers = pairs
                .iter()
                .map(|(name, value)| (name.parse().expect("name"), value.parse().expect("value")))
                .collect();
            let mut facts = Facts::default();
            facts.note_last(StatusCode::OK, &headers);
            facts.manners()
        };
        let hub = [("x-repo-commit", GIT), ("x-linked-etag", SHA), ("content-length", "7")];
        assert_eq!(manners(&hub), "commit, digest and size are in the headers, as in the Hub's");
        let without = "without X-Repo-Commit, X-Linked-ETag, what they tell comes from its list of files";
        for (etag, kind) in [
            (GIT, "a git id, or the SHA-1"),
            (&SHA[..32], "an MD5"),
            (SHA, "a SHA-256, or the hash of Xet storage"),
            ("5f1-62", "its own"),
        ] {
            let said = manners(&[("etag", &format!("W/\"{etag}\"")), ("content-length", "7")]);
            assert!(said.starts_with(without) && said.contains(&format!("; the ETag is {kind}")), "{said}");
        }
        assert!(
            manners(&[("etag", SHA), ("x-xet-hash", SHA)]).ends_with("the ETag is the hash of Xet storage")
        );
        assert!(manners(&[]).contains("X-Linked-Size and Content-Length, what"));
    }

    #[test]
    fn the_length_of_an_encoded_body_is_not_that_of_the_file() {
        assert_eq!(head(&[("content-length", "7")]).size, Some(7));
        assert_eq!(head(&[("content-length", "7"), ("x-linked-size", "9")]).size, Some(9));
        assert_eq!(head(&[("content-length", "7"), ("content-encoding", "br")]).size, None);
        let mut facts = Facts::default();
        let range = HeaderMap::from_iter([(CONTENT_RANGE, "bytes 0-0/5".parse().expect("a header"))]);
        facts.note_last(StatusCode::PARTIAL_CONTENT, &range);
        assert_eq!(facts.length, Some(5));
    }
}
