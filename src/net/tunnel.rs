//! Why a proxy opens no way to a host. The HTTP stack says no more than that it does not, so that the proxy is asked
//! once more, and its answer read.

use reqwest::{Method, Url};

use super::{bad_status, client, remedy};
use crate::error::{Error, Failure};
use crate::request::Proxy;

/// Asks one proxy for ways.
#[derive(Debug, Clone)]
pub(super) struct Tunnels {
    http: reqwest::Client,
    proxy: Proxy,
}

impl Tunnels {
    /// Through the proxy of https.
    pub(super) fn new(builder: reqwest::ClientBuilder, proxy: &Proxy) -> Result<Self, Error> {
        let all = reqwest::Proxy::all(proxy.url().clone()).map_err(client::setup)?;
        let http = builder.proxy(all).build().map_err(client::setup)?;
        Ok(Self { http, proxy: proxy.clone() })
    }

    /// What the proxy says against a way to the host of `url`; nothing if it has changed its mind.
    pub(super) async fn refusal(&self, url: &Url) -> Option<Failure> {
        // To a proxy, a request for http: goes as it is; a CONNECT is the host and the port alone (RFC 9110, 7.1).
        let (host, port) = (url.host_str()?, url.port_or_known_default()?);
        let request = self.http.request(Method::CONNECT, format!("http://{host}:{port}"));
        let answer = request.send().await.ok().filter(|answer| !answer.status().is_success())?;
        Some(bad_status(self.proxy.url(), answer).await)
    }
}

/// The failure to get through, with what the proxy said.
pub(super) fn refused(peer: String, said: Failure) -> Failure {
    Failure::Transport {
        host: peer,
        is_permanent: !said.is_transient(),
        advice: Some(remedy::TUNNEL),
        cause: Box::new(said),
    }
}
