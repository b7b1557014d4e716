//! Access tokens in exchange for an identity token (RFC 8693), as the Hub gives them to "trusted publishers" (hub docs
//! `trusted-publishers.md`; `huggingface_hub` 2.4, `_oidc.py`): no secret has to be stored, and what is given is good
//! for an hour.

use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Url};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::Instant;
use tracing::debug;

use super::{Excess, Hub, bounded_body, parse_url};
use crate::error::{Error, Failure};
use crate::net::{self, Watchdog};
use crate::report::Event;
use crate::request::{Endpoint, IdToken, Identity, check_id_token};
use crate::retry::Setback;
use crate::stop::blocking;
use crate::words::{Span, host, one_line};

/// Below an endpoint.
const PLACE: &str = "oauth/token";
const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const SUBJECT_TYPE: &str = "urn:ietf:params:oauth:token-type:id_token";
/// An access token is exchanged for another one so long before it runs out, or in the middle of a shorter life
/// (`_OIDC_REFRESH_MARGIN` in `huggingface_hub` `utils/_auth.py`).
const MARGIN: Duration = Duration::from_mins(5);
/// How long one is good for that does not say so.
const LIFETIME: Duration = Duration::from_hours(1);
/// When a new one is asked for again while the old one is still good.
const PAUSE: Duration = Duration::from_secs(30);

/// The access tokens of a run, by the endpoints that gave them.
#[derive(Default)]
pub(super) struct Grants(Mutex<Vec<Grant>>);

struct Grant {
    endpoint: Endpoint,
    header: HeaderValue,
    /// When another one is asked for.
    renewal: Instant,
    end: Instant,
    /// The endpoint has taken it.
    is_proven: bool,
}

/// What the Hub answers. It says more.
#[derive(Deserialize)]
struct Answer {
    access_token: String,
    expires_in: Option<u64>,
}

impl Hub {
    /// The header with an access token of this endpoint, exchanged anew before it runs out. Many questions may want one at
    /// once; one of them asks.
    pub(super) async fn granted(
        &self,
        endpoint: &Endpoint,
        identity: &Identity,
    ) -> Result<HeaderValue, Setback> {
        let mut grants = self.grants.0.lock().await;
        let at = grants.iter().position(|grant| grant.endpoint == *endpoint);
        if let Some(grant) = at.map(|at| &grants[at]).filter(|grant| Instant::now() < grant.renewal) {
            return Ok(grant.header.clone());
        }
        match self.exchange(endpoint, identity).await {
            Ok(grant) => {
                let header = grant.header.clone();
                grants.retain(|grant| grant.endpoint != *endpoint);
                grants.push(grant);
                Ok(header)
            }
            Err(why) => match at {
                Some(at) if Instant::now() < grants[at].end => {
                    debug!(host = endpoint.host(), ?why, "no other access token yet");
                    grants[at].renewal = Instant::now() + PAUSE;
                    Ok(grants[at].header.clone())
                }
                _ => Err(why),
            },
        }
    }

    /// Takes note of what an endpoint made of an access token; says whether it was good before, and another one may be.
    pub(super) async fn judge_grant(
        &self,
        endpoint: &Endpoint,
        header: &HeaderValue,
        is_refused: bool,
    ) -> bool {
        let mut grants = self.grants.0.lock().await;
        let Some(at) = grants.iter().position(|grant| grant.endpoint == *endpoint) else { return is_refused };
        if grants[at].header != *header {
            // Somebody else has got another one meanwhile.
            return is_refused;
        }
        if !is_refused {
            grants[at].is_proven = true;
            return false;
        }
        let was_good = grants[at].is_proven;
        if was_good {
            grants.remove(at);
        }
        was_good
    }

    async fn exchange(&self, endpoint: &Endpoint, identity: &Identity) -> Result<Grant, Setback> {
        let id_token = read(identity.token()).await.map_err(Setback::Final)?;
        self.reporter.report(&Event::Secret(&id_token));
        let url = parse_url(&endpoint.join(PLACE))?;
        self.reporter.report(&Event::Asking { what: "an access token", host: &endpoint.host() });
        let form = json!({
            "grant_type": GRANT_TYPE,
            "subject_token_type": SUBJECT_TYPE,
            "subject_token": id_token,
            "resource": identity.resource(),
        });
        let request = self.http.request(Method::POST, &url);
        let request = request.header(ACCEPT_ENCODING, "identity").header(CONTENT_TYPE, "application/json");
        let request = request.body(form.to_string());
        let [answers, _] = &self.patience;
        let asked = Instant::now();
        let response = answers.wait(&url, || self.http.peer(&url), self.http.send(request, &url)).await?;
        answers.began(&url, asked);
        if !response.status().is_success() {
            return Err(refused(&url, identity, &id_token, net::bad_status(&url, response).await));
        }
        let watchdog = Watchdog::new(self.stall_timeout);
        let body = bounded_body(&url, response, watchdog, Excess::Refuse).await?;
        let answer: Option<Answer> = serde_json::from_slice(&body).ok();
        let Some((Answer { access_token, expires_in }, header)) =
            answer.and_then(|answer| net::authorization(&answer.access_token).map(|header| (answer, header)))
        else {
            return Err(net::misconfigured(&url, format!("no access token at /{PLACE}")).into());
        };
        self.reporter.report(&Event::Secret(&access_token));
        // An answer may not make the clock run over.
        let life = expires_in.map_or(LIFETIME, Duration::from_secs).min(24 * LIFETIME);
        debug!(host = endpoint.host(), seconds = life.as_secs(), "access token");
        let (renewal, end) = (asked + life - MARGIN.min(life / 2), asked + life);
        Ok(Grant { endpoint: endpoint.clone(), header, renewal, end, is_proven: false })
    }
}

/// Reads the identity token, which may be another one than the last time.
async fn read(token: &IdToken) -> Result<String, Error> {
    let text = match token {
        IdToken::Variable(_, text) => text.clone(),
        IdToken::File(path) => {
            let file = path.clone();
            let text = blocking(move || std::fs::read_to_string(file)).await?;
            text.map_err(|why| Error::invalid("id token file", &path.to_string_lossy(), why.to_string()))?
        }
    };
    let text = text.trim();
    check_id_token(text, &token.source())?;
    Ok(text.to_owned())
}

fn refused(url: &Url, identity: &Identity, id_token: &str, answer: Failure) -> Setback {
    if answer.is_transient() {
        return Setback::Failed(answer);
    }
    let claims = Claims::of(id_token, SystemTime::now());
    Setback::Final(Error::NoExchange {
        host: host(url),
        resource: identity.resource().to_owned(),
        identity: identity.token().source(),
        claims: claims.describe(),
        is_over: claims.age.is_some(),
        answer: Box::new(answer),
    })
}

/// What an identity token says of itself, but for its signature: what a trusted publisher is compared with.
struct Claims {
    /// Issuer, subject and audience, in words.
    words: Vec<String>,
    /// How long ago it ran out, if it has.
    age: Option<Duration>,
}

impl Claims {
    fn of(id_token: &str, now: SystemTime) -> Self {
        let payload = id_token.split('.').nth(1).and_then(|part| BASE64_URL_SAFE_NO_PAD.decode(part).ok());
        let claims: Value =
            payload.and_then(|payload| serde_json::from_slice(&payload).ok()).unwrap_or_default();
        let named = |(key, name): (&str, &str)| {
            let text = match claims.get(key)? {
                Value::String(text) => text.clone(),
                Value::Array(several) => {
                    several.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" and ")
                }
                _ => return None,
            };
            Some(format!("{name} `{}`", one_line(&text)))
        };
        let words = [("iss", "issuer"), ("sub", "subject"), ("aud", "audience")];
        let end = claims.get("exp").and_then(Value::as_u64).map(Duration::from_secs);
        let age = end.and_then(|end| now.duration_since(SystemTime::UNIX_EPOCH).ok()?.checked_sub(end));
        Self { words: words.into_iter().filter_map(named).collect(), age }
    }

    fn describe(&self) -> String {
        let mut words = self.words.clone();
        words.extend(self.age.map(|age| format!("and that it ran out {} ago", Span(age))));
        if words.is_empty() { "neither issuer nor subject".into() } else { words.join(", ") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_token_is_described_by_what_a_publisher_is_compared_with() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let described = |payload: &str| {
            let payload = BASE64_URL_SAFE_NO_PAD.encode(payload);
            Claims::of(&format!("e30.{payload}.SIGNATURE"), now).describe()
        };
        for (payload, expected) in [
            (
                r#"{"iss":"https://k8s.example","sub":"system:serviceaccount:ml:fetch","aud":["https://huggingface.co"],"exp":1000001}"#,
                "issuer `https://k8s.example`, subject `system:serviceaccount:ml:fetch`, audience `https://huggingface.co`",
            ),
            (r#"{"aud":["a","b"],"exp":999910}"#, "audience `a and b`, and that it ran out 1 min 30 s ago"),
            (r#"{"sub":"a\nb\u001b[0m"}"#, "subject `a b [0m`"),
            (r#"{"sub":7}"#, "neither issuer nor subject"),
            ("[]", "neither issuer nor subject"),
            ("{", "neither issuer nor subject"),
        ] {
            assert_eq!(described(payload), expected);
        }
    }
}
