//! What Xet storage says of the making of a file: who may be asked, and the answer.
//!
//! Nothing depends on it but how many bytes have to be fetched, so every trouble is told in words and is nobody's error.

use std::fmt;
use std::time::Duration;

use percent_encoding::utf8_percent_encode;
use reqwest::header::{ACCEPT_ENCODING, AUTHORIZATION, HeaderValue};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use tracing::debug;
use url::Url;

use super::{COMPONENT, Excess, Hub, Question, api_path, body_of_at_most, parse_url, refusal};
use crate::content::XetHash;
use crate::content::xet::Reconstruction;
use crate::error::Failure;
use crate::net::{self, Watchdog, text_header};
use crate::request::{Endpoint, Place, RepoId};
use crate::retry::Setback;
use crate::stop::blocking;
use crate::words::{chain, host};

/// A longer answer is none: two may be under way in a pod of 128 MiB. One about a file of a terabyte has some 20 MB.
const ANSWER_BYTES_MAX: u64 = 24 << 20;
/// Nor is one with more than a byte for so many bytes of the file, and a megabyte: 100 times as many as they have.
const BYTES_PER_BYTE_MIN: u64 = 512;
/// Pauses before a passing failure is tried again.
const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(2)];

/// Who tells how the files of a revision are made, and the right to ask.
pub struct Cas {
    url: Url,
    authorization: HeaderValue,
}

impl fmt::Debug for Cas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", host(&self.url))
    }
}

/// The answer of the token route (Xet protocol specification 1.1, "Authentication"). `huggingface_hub` reads the same from headers
/// (`utils/_xet.py`).
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Grant {
    access_token: Option<String>,
    cas_url: Option<String>,
}

impl Hub {
    /// Whom the first endpoint names that has such a route. The error says why nobody can be asked.
    pub async fn cas(&self, repo: &RepoId, revision: &str) -> Result<Cas, String> {
        let mut why = "nobody to ask".to_owned();
        // A registry has contents by their digest, and nothing of Xet storage.
        for endpoint in self.endpoints.iter().filter(|endpoint| endpoint.registry().is_none()) {
            match self.cas_of(endpoint, repo, revision).await {
                Ok(cas) => return Ok(cas),
                Err(refused) => why = refused,
            }
        }
        Err(why)
    }

    async fn cas_of(&self, endpoint: &Endpoint, repo: &RepoId, revision: &str) -> Result<Cas, String> {
        let subject = refusal::Subject { repo, revision, path: None };
        let place = format!("{}/xet-read-token/{}", api_path(repo), utf8_percent_encode(revision, COMPONENT));
        let told = match parse_url(&endpoint.join(&place)) {
            Ok(url) => self.page(&url, Question::Get(None), &subject, Excess::Refuse).await,
            Err(setback) => Err(setback),
        };
        let (body, headers, _) = told.map_err(|setback| match setback {
            Setback::Failed(failure) => chain(&failure),
            Setback::Useless(error) | Setback::Final(error) => chain(&error),
        })?;
        let Grant { access_token, cas_url } = serde_json::from_slice(&body).unwrap_or_default();
        let of = |name| text_header(&headers, name);
        let (token, url) = access_token
            .or_else(|| of("x-xet-access-token"))
            .zip(cas_url.or_else(|| of("x-xet-cas-url")))
            .ok_or_else(|| format!("{} names no Xet storage", endpoint.host()))?;
        let authorization =
            net::authorization(&token).ok_or_else(|| format!("{} sends no usable token", endpoint.host()))?;
        Ok(Cas { url: allowed(&url, endpoint.url())?, authorization })
    }

    /// How a file of `size` bytes is made. The error says why that is not known.
    pub async fn reconstruction(
        &self,
        cas: &Cas,
        hash: XetHash,
        size: u64,
    ) -> Result<Reconstruction, String> {
        let mut pauses = PAUSES.into_iter();
        let body = loop {
            match self.ask_cas(cas, hash, bytes_max(size)).await {
                Ok(body) => break body,
                Err(failure) => match pauses.next().filter(|_| may_pass(&failure)) {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => return Err(chain(&failure)),
                },
            }
        };
        let parsed =
            blocking(move || Reconstruction::parse(&body, size)).await.map_err(|why| why.to_string())?;
        parsed.map_err(|why| format!("{} answers with {why}", host(&cas.url)))
    }

    /// The answer to one question. Its token goes nowhere else, so no redirect is followed.
    async fn ask_cas(&self, cas: &Cas, hash: XetHash, bytes_max: usize) -> Result<Vec<u8>, Failure> {
        let mut url = cas.url.clone();
        url.set_path(&format!("{}/v2/reconstructions/{hash}", cas.url.path().trim_end_matches('/')));
        let request = self
            .http
            .request(Method::GET, &url)
            .header(ACCEPT_ENCODING, "identity")
            .header(AUTHORIZATION, cas.authorization.clone());
        let sent = tokio::time::timeout(self.stall_timeout, self.http.send(request, &url)).await;
        let response = sent.unwrap_or_else(|_| Err(super::stalled(&url, self.stall_timeout)))?;
        debug!(host = host(&url), status = response.status().as_u16(), "reconstruction");
        if response.status() != StatusCode::OK {
            return Err(net::bad_status(&url, response).await);
        }
        net::check_encoding(&url, response.headers())?;
        body_of_at_most(bytes_max, &url, response, Watchdog::new(self.stall_timeout), Excess::Refuse).await
    }
}

/// How long an answer about a file of `size` bytes may be.
fn bytes_max(size: u64) -> usize {
    let bytes = ANSWER_BYTES_MAX.min((1 << 20) + size / BYTES_PER_BYTE_MIN);
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// Who was silent once is not waited for again: bytes may be had meanwhile.
fn may_pass(failure: &Failure) -> bool {
    failure.is_transient() && !matches!(failure, Failure::Stalled { .. }) && failure.ordered_wait().is_none()
}

/// The address of a CAS, if an endpoint may lead there: encrypted, unless the endpoint is on this machine, and not to
/// this machine or its link from elsewhere.
fn allowed(text: &str, endpoint: &Url) -> Result<Url, String> {
    let url: Url = text.parse().map_err(|_| format!("{} names no address of Xet storage", host(endpoint)))?;
    let is_own = Place::of(endpoint) == Place::Here;
    let is_encrypted = url.scheme() == "https" || url.scheme() == "http" && is_own;
    let is_far = match Place::of(&url) {
        Place::Elsewhere => true,
        Place::Here => is_own,
        Place::Link => false,
    };
    let is_plain = url.username().is_empty() && url.password().is_none() && url.query().is_none();
    if is_encrypted && is_far && is_plain && url.has_host() {
        return Ok(url);
    }
    Err(format!(
        "{} leads to Xet storage at {} ({}), which is not followed",
        host(endpoint),
        host(&url),
        url.scheme()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cas_is_encrypted_and_elsewhere_unless_the_endpoint_is_on_this_machine() {
        let allowed = |url: &str, endpoint: &str| allowed(url, &endpoint.parse().expect("a URL")).is_ok();
        for (url, far, near) in [
            ("https://cas.example", true, true),
            ("https://10.1.2.3:8443/cas", true, true),
            ("http://cas.example", false, true),
            ("http://127.0.0.1:8080", false, true),
            ("https://127.0.0.1:8080", false, true),
            ("https://localhost", false, true),
            ("https://169.254.169.254", false, false),
            ("http://[fd00:ec2::254]/", false, false),
            ("https://[::ffff:169.254.169.254]/", false, false),
            ("https://user:word@cas.example", false, false),
            ("https://cas.example/?to=other", false, false),
            ("ftp://cas.example", false, false),
            ("cas.example", false, false),
            ("", false, false),
        ] {
            assert_eq!(allowed(url, "https://hub.example"), far, "{url}");
            assert_eq!(allowed(url, "http://hub.example"), far, "{url}");
            assert_eq!(allowed(url, "http://127.0.0.1:9"), near, "{url}");
        }
    }
}
