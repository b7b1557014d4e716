//! The HTTP client, and the way its requests take.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::{ClientBuilder, Method, RequestBuilder, Response, Url};
use url::Host;

use super::tunnel::Tunnels;
use super::{Certificate, ExtraRoots, dns, remedy, roots, transport, tunnel};
use crate::error::{Error, Failure};
use crate::request::{Proxies, Proxy};
use crate::words::{chain, host};

/// Time for TCP and TLS to the server or proxy.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// An HTTP client; cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    proxies: Arc<Proxies>,
    tunnels: Option<Tunnels>,
    resolver: dns::Resolver,
    trusted: roots::Trusted,
}

/// Whom an answer came through, for messages about what is wrong with it.
#[derive(Debug, Clone)]
struct Through(String);

/// Builds the client: HTTP/1.1, no redirects of its own (the origin of each hop decides about the
/// token), no content decoding.
pub fn client(extra: &ExtraRoots, proxies: Proxies) -> Result<Client, Error> {
    build(roots::load(extra)?, proxies)
}

/// Builds a client that trusts one authority alone and uses no proxy: for a cluster's API server.
pub fn private_client(authority: &[u8]) -> Result<Client, Error> {
    build(roots::only(authority)?, Proxies::default())
}

fn build(roots: roots::Roots, proxies: Proxies) -> Result<Client, Error> {
    let proxies = Arc::new(proxies);
    let resolver = dns::Resolver::default();
    let (tls, trusted) = roots.tls()?;
    let builder = || builder(tls.clone()).dns_resolver(resolver.clone());
    let tunnels = proxies.for_https().map(|proxy| Tunnels::new(builder(), proxy)).transpose()?;
    let mut builder = builder();
    proxies.iter().filter_map(|proxy| proxy.url().host_str()).for_each(|name| resolver.mean(name));
    if proxies.iter().next().is_some() {
        let proxies = Arc::clone(&proxies);
        let way = move |url: &Url| proxies.of(url).map(|proxy| proxy.url().clone());
        builder = builder.proxy(reqwest::Proxy::custom(way));
    }
    Ok(Client { http: builder.build().map_err(setup)?, proxies, tunnels, resolver, trusted })
}

pub(super) fn setup(why: reqwest::Error) -> Error {
    Error::Internal(format!("HTTP client setup: {}", chain(&why.without_url())))
}

fn builder(tls: rustls::ClientConfig) -> ClientBuilder {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        // Not those that the HTTP stack would find by itself.
        .no_proxy()
        .user_agent(concat!("modelfetch/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_keepalive(Duration::from_secs(30))
        .http1_only()
}

impl Client {
    /// Takes a host as named by the user: wherever it is, it is meant.
    pub(crate) fn mean(&self, name: &str) {
        self.resolver.mean(name);
    }

    /// A request that is still to be sent.
    pub(crate) fn request(&self, method: Method, url: &Url) -> RequestBuilder {
        self.http.request(method, url.clone())
    }

    /// Sends a request to `url` and waits for the headers of the answer, whatever its status.
    pub(crate) async fn send(&self, request: RequestBuilder, url: &Url) -> Result<Response, Failure> {
        let mut response = match request.send().await {
            Ok(response) => response,
            Err(cause) => return Err(self.not_sent(url, cause).await),
        };
        if let Some(proxy) = self.proxies.of(url) {
            response.extensions_mut().insert(Through(proxy.host()));
        }
        Ok(response)
    }

    async fn not_sent(&self, url: &Url, cause: reqwest::Error) -> Failure {
        if let Some(tunnels) = &self.tunnels
            && super::causes(&cause).any(remedy::is_refused_way)
            && let Some(said) = Box::pin(tunnels.refusal(url)).await
        {
            return tunnel::refused(self.peer(url), said);
        }
        transport(self.peer(url), cause)
    }

    /// How a request to `url` would get there, in words; who knows the name on that way, and how soon he told it.
    pub(crate) async fn way(&self, url: &Url) -> Result<String, String> {
        let proxy = self.proxies.of(url);
        let way = proxy.map_or_else(
            || "directly".to_owned(),
            |proxy| format!("through the proxy {} of {}", proxy.host(), proxy.variable()),
        );
        let Some(Host::Domain(name)) = proxy.map_or(url, Proxy::url).host() else { return Ok(way) };
        let asked = Instant::now();
        let (addresses, source) = self.resolver.addresses(name).await.map_err(|why| why.to_string())?;
        let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        let milliseconds = asked.elapsed().as_millis();
        Ok(format!("{way}, to {} ({source}, in {milliseconds} ms)", addresses.join(", ")))
    }

    /// The certificates of the servers that were spoken to by TLS, by their names.
    pub(crate) fn certificates(&self) -> Vec<(String, Certificate)> {
        self.trusted.list()
    }

    /// Whether a proxy is on the way to a place.
    pub(crate) fn is_by_proxy(&self, url: &Url) -> bool {
        self.proxies.of(url).is_some()
    }

    /// Host and port of `url`, and those of the proxy before it: either may be what is wrong.
    pub(crate) fn peer(&self, url: &Url) -> String {
        named(url, self.proxies.of(url).map(Proxy::host).as_deref())
    }
}

/// The same of who gave an answer.
pub(crate) fn peer(url: &Url, response: &Response) -> String {
    named(url, response.extensions().get().map(|Through(proxy)| proxy.as_str()))
}

/// The address of whoever gave an answer. Of a proxy's answer there is none but the proxy's.
pub(crate) fn address(response: &Response) -> Option<IpAddr> {
    let address = response.remote_addr().filter(|_| response.extensions().get::<Through>().is_none());
    address.map(|address| address.ip())
}

fn named(url: &Url, proxy: Option<&str>) -> String {
    let host = host(url);
    proxy.map_or_else(|| host.clone(), |proxy| format!("{host} through the proxy {proxy}"))
}
