//! Where an answer may send a client.

use std::net::IpAddr;

use percent_encoding::{CONTROLS, percent_encode};
use reqwest::Url;
use reqwest::header::{HeaderMap, LOCATION};
use url::Host;

use super::{misconfigured, wrong};
use crate::error::Failure;
use crate::request::Place;
use crate::words::host;

/// Redirects followed for one question (`huggingface_hub` `utils/_http.py`).
const REDIRECTS_MAX: usize = 20;
/// And for a range of bytes: one to a CDN, one between its hosts, and some to spare.
const BYTES_REDIRECTS_MAX: usize = 5;

/// The way of one question from server to server: finite, and never in a circle.
#[derive(Debug)]
pub(crate) struct Redirects {
    most: usize,
    /// Whose answer was a redirect.
    left: Vec<Url>,
}

impl Redirects {
    /// Of a question about a file.
    pub(crate) fn of_facts() -> Self {
        Self { most: REDIRECTS_MAX, left: Vec::new() }
    }

    /// Of a request for bytes, of which there are many: who leads one of them on and on leads all of them.
    pub(crate) fn of_bytes() -> Self {
        Self { most: BYTES_REDIRECTS_MAX, left: Vec::new() }
    }

    /// Where the redirect that `from` answered leads. `at` is the address of whoever answered, where that is known.
    pub(crate) fn follow(
        &mut self,
        from: &Url,
        at: Option<IpAddr>,
        headers: &HeaderMap,
    ) -> Result<Url, Failure> {
        let mut target = target(from, at, headers)?;
        target.set_fragment(None);
        self.left.push(from.clone());
        if self.left.contains(&target) {
            return Err(misconfigured(from, format!("redirects in a circle, back to {}", host(&target))));
        }
        if self.left.len() > self.most {
            return Err(misconfigured(from, format!("more than {} redirects", self.most)));
        }
        Ok(target)
    }
}

/// Where a redirect leads. Only http(s), never from encrypted to plain, and never from
/// another machine to this one or to its link (where clouds serve credentials): whatever answers
/// there was not meant. Private networks are fine: a company's mirror is in one.
///
/// A redirect that leads to a place that is refused will do so the next time too; one that names no place at
/// all is taken for a mishap.
pub fn redirect_target(from: &Url, headers: &HeaderMap) -> Result<Url, Failure> {
    target(from, None, headers)
}

/// Where an answer says in another way that something is to be asked. Fails as for a redirect.
pub(crate) fn lead(from: &Url, location: &str) -> Result<Url, Failure> {
    judged(from, None, location, "an address that leads")
}

fn target(from: &Url, at: Option<IpAddr>, headers: &HeaderMap) -> Result<Url, Failure> {
    let location = headers.get(LOCATION).ok_or_else(|| wrong(from, "a redirect without a Location"))?;
    judged(from, at, &ascii(location.as_bytes()), "a redirect")
}

fn judged(from: &Url, at: Option<IpAddr>, location: &str, what: &str) -> Result<Url, Failure> {
    let refused = |why: String| misconfigured(from, format!("{what} {why}"));
    let target = from.join(location).map_err(|why| refused(format!("to no URL ({why})")))?;
    match (from.scheme(), target.scheme()) {
        (_, "https") | ("http", "http") if is_suspicious(from, at, &target) => {
            Err(refused(format!("to {}", host(&target))))
        }
        (_, "https") | ("http", "http") if target.host().is_some() => Ok(target),
        ("https", "http") => Err(refused(format!("to unencrypted {}", host(&target)))),
        (_, scheme) => Err(refused(format!("to a {scheme}: URL"))),
    }
}

/// An address whose bytes beyond ASCII are encoded: they are in none (RFC 3986), but servers write them as the name of
/// a file has them.
fn ascii(location: &[u8]) -> String {
    percent_encode(location, CONTROLS).to_string()
}

/// Whether only a mistake or malice leads there: from elsewhere to this machine, or to an address of the local link
/// that is not that of the one that answered, under this name or another.
fn is_suspicious(from: &Url, at: Option<IpAddr>, target: &Url) -> bool {
    match Place::of(target) {
        Place::Elsewhere => false,
        Place::Here => at.map_or_else(|| Place::of(from), Place::of_address) != Place::Here,
        Place::Link => {
            let answered = at.map(|at| at.to_canonical());
            let leads_to = match target.host() {
                Some(Host::Ipv4(ip)) => Some(ip.into()),
                Some(Host::Ipv6(ip)) => Some(IpAddr::from(ip).to_canonical()),
                _ => None,
            };
            from.host() != target.host() && (answered.is_none() || answered != leads_to)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        text.parse().expect("a URL")
    }

    fn to(location: &str) -> HeaderMap {
        HeaderMap::from_iter([(LOCATION, location.parse().expect("a header"))])
    }

    #[test]
    fn a_redirect_may_not_leave_http_or_lose_encryption() {
        let target = |from: &str, location: &str| redirect_target(&url(from), &to(location));
        for (from, location, leads_to) in [
            ("https://a/b", "/c", "https://a/c"),
            ("http://127.0.0.1:1/", "http://127.0.0.1:2/", "http://127.0.0.1:2/"),
            ("http://a/b", "https://c/d", "https://c/d"),
        ] {
            assert_eq!(target(from, location).ok(), Some(url(leads_to)));
        }
        for (location, why) in [
            ("http://a/c", "unencrypted a"),
            ("https://127.0.0.1/c", "127.0.0.1"),
            ("https://[::1]/", "[::1]"),
            ("https://169.254.169.254/", "169.254.169.254"),
            ("https://x.localhost/", "x.localhost"),
            ("https://localhost./", "localhost."),
            ("https://[::ffff:127.0.0.1]/", "[::ffff:7f00:1]"),
            ("https://[::ffff:169.254.169.254]/", "[::ffff:a9fe:a9fe]"),
            ("https://2130706433/", "127.0.0.1"),
            ("file:///etc/passwd", "a file: URL"),
            ("ftp://a/b", "a ftp: URL"),
            ("data:,x", "a data: URL"),
            ("http:", "no URL"),
            ("https://a:b/", "no URL"),
        ] {
            let failure = target("https://a/b", location).expect_err(location);
            assert!(!failure.is_transient(), "{location} would be asked for again");
            assert!(failure.to_string().contains(why), "{location}: {failure}");
        }
    }

    #[test]
    fn the_local_link_is_left_to_whom_the_user_named() {
        let target = |from: &str, location: &str| redirect_target(&url(from), &to(location)).is_ok();
        assert!(target("http://169.254.1.2:8080/a", "/b"));
        assert!(target("http://169.254.1.2:8080/a", "http://169.254.1.2:8081/b"));
        assert!(!target("http://169.254.1.2:8080/a", "http://169.254.169.254/b"));
        assert!(!target("http://127.0.0.1:8080/a", "http://169.254.169.254/b"));
        assert!(!target("http://169.254.1.2:8080/a", "http://127.0.0.1/b"));
        let answered = |at: &str, location: &str| {
            let at = Some(at.parse().expect("an address that leads"));
            super::target(&url("http://host.containers.internal:8080/a"), at, &to(location)).is_ok()
        };
        assert!(answered("169.254.1.2", "http://169.254.1.2:8080/b"));
        assert!(answered("::ffff:169.254.1.2", "http://169.254.1.2/b"));
        assert!(answered("fe80::1", "http://[fe80::1]:8080/b"));
        assert!(!answered("169.254.1.2", "http://169.254.169.254/b"));
        assert!(!answered("10.0.0.1", "http://169.254.1.2/b"));
    }

    #[test]
    fn a_redirect_that_names_no_place_may_be_a_mishap() {
        let nowhere = redirect_target(&url("https://a/b"), &HeaderMap::new());
        assert!(nowhere.expect_err("no place").is_transient());
    }

    #[test]
    fn bytes_beyond_ascii_are_those_of_a_name() {
        for (bytes, leads_to) in [
            (&b"/\xe4.gguf"[..], "https://a/%E4.gguf"),
            ("/ä b.gguf".as_bytes(), "https://a/%C3%A4%20b.gguf"),
            (b"/a%20b", "https://a/a%20b"),
        ] {
            let location = reqwest::header::HeaderValue::from_bytes(bytes).expect("a header");
            let headers = HeaderMap::from_iter([(LOCATION, location)]);
            assert_eq!(redirect_target(&url("https://a/b"), &headers).ok(), Some(url(leads_to)));
        }
    }

    #[test]
    fn a_circle_is_seen_when_it_closes_and_a_long_way_ends() {
        let mut circle = Redirects::of_facts();
        let second = circle.follow(&url("https://a/1"), None, &to("/2")).expect("a way");
        let third = circle.follow(&second, None, &to("https://b/3")).expect("a way");
        let failure = circle.follow(&third, None, &to("https://a/1#again")).expect_err("a circle");
        assert!(failure.to_string().contains("redirects in a circle, back to a"), "{failure}");
        assert!(!failure.is_transient());
        let itself =
            Redirects::of_facts().follow(&url("https://a/1"), None, &to("/1")).expect_err("a circle");
        assert!(!itself.is_transient());

        let mut way = Redirects::of_facts();
        let mut place = url("https://a/0");
        let end = (1..100).find_map(|step| match way.follow(&place, None, &to(&format!("/{step}"))) {
            Ok(next) => {
                place = next;
                None
            }
            Err(failure) => Some((step, failure)),
        });
        let (step, failure) = end.expect("an end");
        assert_eq!(step, REDIRECTS_MAX + 1);
        assert!(!failure.is_transient() && failure.to_string().contains("more than 20 redirects"));
    }
}
