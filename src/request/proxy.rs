//! Proxies, as the environment names them.

use std::ffi::OsStr;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use percent_encoding::percent_decode_str;
use url::{Host, Url};

use super::Login;
use crate::words::{Invalid, host};

/// Kinds of proxies that the HTTP stack speaks with.
const SCHEMES: [&str; 6] = ["http", "https", "socks5", "socks5h", "socks4", "socks4a"];
/// What stands for itself in a scheme, a user name, a password, a host and a port (RFC 3986, 3.2).
const PLAIN: &str = "-._~%!$&'()*+,;=:@[]/";

/// Which proxy a request goes through, if any.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    http: Option<Proxy>,
    https: Option<Proxy>,
    exempt: Exempt,
}

/// One proxy. Its user name and password are shown nowhere.
#[derive(Clone)]
pub struct Proxy {
    url: Url,
    variable: &'static str,
}

impl Proxies {
    /// From the variables that curl reads, in its order: small letters first, `ALL_PROXY` last. `HTTP_PROXY` counts
    /// too, which curl leaves to CGI. A variable that cannot be understood is an error, because to do without its
    /// proxy is not what was wanted.
    pub fn read<'a>(variable: impl Fn(&str) -> Option<&'a OsStr>) -> Result<Self, Invalid> {
        let first = |names: &[&'static str]| names.iter().find_map(|name| Some((*name, variable(name)?)));
        let proxy = |names: &[&'static str]| {
            first(names).map(|(variable, value)| Proxy::parse(variable, value)).transpose()
        };
        let exempt = match first(&["no_proxy", "NO_PROXY"]) {
            Some((name, value)) => {
                Exempt(value.to_str().ok_or_else(|| Invalid::hidden(name, "it is no text"))?.to_owned())
            }
            None => Exempt::default(),
        };
        Ok(Self {
            http: proxy(&["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])?,
            https: proxy(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])?,
            exempt,
        })
    }

    /// The proxy that a request for `url` goes through.
    pub fn of(&self, url: &Url) -> Option<&Proxy> {
        let proxy = match url.scheme() {
            "https" => self.https.as_ref(),
            _ => self.http.as_ref(),
        };
        proxy.filter(|_| !self.exempt.covers(url))
    }

    /// The one that https goes through, but to hosts that are exempt.
    pub(crate) fn for_https(&self) -> Option<&Proxy> {
        self.https.as_ref()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Proxy> {
        self.http.iter().chain(&self.https)
    }
}

impl Proxy {
    fn parse(variable: &'static str, value: &OsStr) -> Result<Self, Invalid> {
        let invalid = |why: &str| Invalid::hidden(variable, why);
        let text = value.to_str().ok_or_else(|| invalid("it is no text"))?;
        if text.contains(|c: char| !c.is_ascii_alphanumeric() && !PLAIN.contains(c)) {
            return Err(invalid(
                "it holds a quote, a space or another character that no URL has; in a password write it as %5E for ^, %23 for #",
            ));
        }
        // A name and a port may stand alone, as for curl; a scheme without its slashes is a slip.
        let is_scheme = |word: &str| SCHEMES.contains(&word.to_ascii_lowercase().as_str());
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) if is_scheme(scheme) => (scheme, rest),
            None if !text.split_once(':').is_some_and(|(word, _)| is_scheme(word)) => ("http", text),
            _ => return Err(invalid("expected http://HOST:PORT, https://… or socks5://…")),
        };
        let authority = rest.split('/').next().unwrap_or_default();
        let url = Url::parse(&format!("{scheme}://{authority}")).map_err(|why| invalid(&why.to_string()))?;
        let names_host = |name: &str| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
        };
        let is_host = url.host().is_some_and(|host| match host {
            Host::Domain(name) => names_host(name),
            Host::Ipv4(_) | Host::Ipv6(_) => true,
        });
        if !is_host || url.as_str().parse::<http::Uri>().is_err() {
            // The HTTP stack reads it so, and would pass over what it cannot read without a word.
            return Err(invalid("expected http://HOST:PORT, where HOST is a name or an address"));
        }
        Ok(Self { url, variable })
    }

    /// Its address, with user name and password, for the HTTP stack.
    pub(crate) fn url(&self) -> &Url {
        &self.url
    }

    /// Its host and port.
    pub fn host(&self) -> String {
        host(&self.url)
    }

    /// Its user name and password, to keep them out of messages.
    pub(crate) fn login(&self) -> Option<Login> {
        let plain = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        self.url.password().map(|password| Login::new(&plain(self.url.username()), &plain(password)))
    }

    /// The variable that names it.
    pub fn variable(&self) -> &'static str {
        self.variable
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({} from {})", self.host(), self.variable)
    }
}

/// `NO_PROXY`, by the rules of curl (`lib/noproxy.c`): a lone `*` covers all; a name covers itself and all below
/// it, with or without a dot before or behind it, in any case; an address covers itself, and with `/BITS` its
/// network. Names never cover addresses, nor the other way round, and no entry has a port.
#[derive(Debug, Clone, Default)]
struct Exempt(String);

impl Exempt {
    fn covers(&self, url: &Url) -> bool {
        if self.0 == "*" {
            return true;
        }
        let mut entries = self.0.split([',', ' ', '\t']).filter(|entry| !entry.is_empty());
        match url.host() {
            Some(Host::Ipv4(ip)) => entries.any(|entry| covers_address(entry, IpAddr::V4(ip))),
            Some(Host::Ipv6(ip)) => entries.any(|entry| covers_address(entry, IpAddr::V6(ip))),
            Some(Host::Domain(name)) => entries.any(|entry| covers_name(entry, name)),
            None => false,
        }
    }
}

fn covers_name(entry: &str, name: &str) -> bool {
    let entry = entry.strip_suffix('.').unwrap_or(entry);
    let entry = entry.strip_prefix('.').unwrap_or(entry).to_ascii_lowercase();
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    match name.strip_suffix(&entry) {
        Some(before) => !entry.is_empty() && (before.is_empty() || before.ends_with('.')),
        None => false,
    }
}

fn covers_address(entry: &str, ip: IpAddr) -> bool {
    let (network, bits) = match entry.split_once('/') {
        Some((network, bits)) => (network, leading_number(bits)),
        None => (entry, Some(0)),
    };
    let Some(bits) = bits else { return false };
    // No bits at all is no network to curl, but the address alone.
    let prefix = |value: u128, width: u32| value >> if bits == 0 { 0 } else { width - bits };
    match (ip, network.parse()) {
        (IpAddr::V4(ip), Ok(IpAddr::V4(network))) if bits <= 32 => {
            prefix(u32::from(ip).into(), 32) == prefix(u32::from(network).into(), 32)
        }
        (IpAddr::V6(ip), Ok(IpAddr::V6(network))) if bits <= 128 => {
            prefix(ip.into(), 128) == prefix(network.into(), 128)
        }
        _ => false,
    }
}

/// As C's `atoi`: what follows the digits is not looked at, and no digits are 0.
fn leading_number(text: &str) -> Option<u32> {
    let digits = text.strip_prefix('+').unwrap_or(text);
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    match &digits[..end] {
        "" if text.starts_with('-') => None,
        "" => Some(0),
        digits => u32::from_str(digits).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Proxies, Invalid> {
        Proxies::read(|name| pairs.iter().find(|(n, _)| *n == name).map(|(_, value)| OsStr::new(*value)))
    }

    fn proxy(pairs: &[(&str, &str)], url: &str) -> Option<String> {
        let url = url.parse().expect("a URL");
        read(pairs).expect("proxies").of(&url).map(|proxy| proxy.url().to_string())
    }

    #[test]
    fn the_variables_are_those_of_curl_in_its_order() {
        let all = [
            ("http_proxy", "http://a:1"),
            ("HTTP_PROXY", "http://b:1"),
            ("https_proxy", "http://c:1"),
            ("HTTPS_PROXY", "http://d:1"),
            ("all_proxy", "http://e:1"),
            ("ALL_PROXY", "http://f:1"),
        ];
        let of = |from: usize, url| proxy(&all[from..], url);
        assert_eq!(of(0, "http://x/").as_deref(), Some("http://a:1/"));
        assert_eq!(of(1, "http://x/").as_deref(), Some("http://b:1/"));
        assert_eq!(of(2, "http://x/").as_deref(), Some("http://e:1/"));
        assert_eq!(of(2, "https://x/").as_deref(), Some("http://c:1/"));
        assert_eq!(of(3, "https://x/").as_deref(), Some("http://d:1/"));
        assert_eq!(of(5, "https://x/").as_deref(), Some("http://f:1/"));
        assert_eq!(proxy(&[], "https://x/"), None);
        let exempt = |name| proxy(&[("ALL_PROXY", "http://a:1"), (name, "x")], "http://x/");
        assert_eq!((exempt("no_proxy"), exempt("NO_PROXY")), (None, None));
    }

    #[test]
    fn a_proxy_is_read_in_every_form_that_names_one() {
        for (value, url) in [
            ("http://proxy.example:3128", "http://proxy.example:3128/"),
            ("proxy.example:3128", "http://proxy.example:3128/"),
            ("proxy.example:3128/", "http://proxy.example:3128/"),
            ("http://proxy.example:3128/pac", "http://proxy.example:3128/"),
            ("HTTP://u:p%5Ess@proxy_1:3128", "http://u:p%5Ess@proxy_1:3128/"),
            ("u:p@[2001:db8::1]:3128", "http://u:p@[2001:db8::1]:3128/"),
            ("https://10.0.0.1:443", "https://10.0.0.1/"),
            ("socks5h://proxy.example", "socks5h://proxy.example"),
            ("socks5://u:p@10.0.0.1:1080", "socks5://u:p@10.0.0.1:1080"),
        ] {
            assert_eq!(proxy(&[("HTTP_PROXY", value)], "http://x/").as_deref(), Some(url), "{value}");
        }
    }

    #[test]
    fn a_proxy_that_cannot_be_read_is_named_and_not_shown() {
        for value in [
            "\"http://u:secret@proxy:3128\"",
            "'http://u:secret@proxy:3128'",
            "'secret:3128'",
            "http://u:secr^et@proxy:3128",
            "http://u:secr#et@proxy:3128",
            "http://u:secret@proxy:3128 ",
            " http://u:secret@proxy:3128",
            "http://u:secret@pro xy:3128",
            "http://u:secret@proxy:port",
            "http://u:secret@proxy:99999",
            "http://u:secret@",
            "http://u:secret@:3128",
            "http:/u:secret@proxy:3128",
            "http:u:secret@proxy:3128",
            "://u:secret@proxy:3128",
            "//u:secret@proxy:3128",
            "htp://u:secret@proxy:3128",
            "ftp://u:secret@proxy:3128",
            "http://u:sec%ret@[proxy]:3128",
            "${SECRET}",
            "http://u:sécret@proxy:3128",
        ] {
            for name in ["HTTP_PROXY", "https_proxy", "ALL_PROXY"] {
                let error = read(&[(name, value)]).expect_err(value).to_string();
                assert!(error.contains(name), "{error}");
                assert!(
                    !error.contains("secr") && !error.contains("u:") && !error.contains(value),
                    "{error}"
                );
            }
        }
    }

    /// Each row was tried with curl 7.88.1, but for IPv6 networks, which it reads since 8.0.
    #[test]
    fn no_proxy_is_read_as_curl_reads_it() {
        let direct = [
            ("*", "a.example"),
            ("example", "a.example"),
            (".example", "a.example"),
            (".example", "example"),
            ("example.", "a.example"),
            (".example.", "a.example"),
            ("A.EXAMPLE", "a.example"),
            ("a.example", "a.example."),
            ("a.example.", "a.example"),
            ("x, a.example", "a.example"),
            ("x ,a.example", "a.example"),
            ("x a.example", "a.example"),
            ("x\t,\ta.example", "a.example"),
            (",,a.example", "a.example"),
            (" a.example", "a.example"),
            (".localhost", "localhost"),
            ("127.0.0.1", "127.0.0.1"),
            ("127.0.0.0/8", "127.0.0.1"),
            ("127.0.0.1/32", "127.0.0.1"),
            ("127.0.0.1/0", "127.0.0.1"),
            ("127.0.0.1/", "127.0.0.1"),
            ("127.0.0.1/x", "127.0.0.1"),
            ("127.0.0.0/8x", "127.0.0.1"),
            ("127.0.0.0/+8", "127.0.0.1"),
            ("127.0.0.0/08", "127.0.0.1"),
            ("192.168.0.0/15", "192.169.5.1"),
            ("::1", "[::1]"),
            ("0:0::1", "[::1]"),
            ("::/8", "[::1]"),
            ("::1/128", "[::1]"),
            ("2001:db8::/33", "[2001:db8:4000::7]"),
        ];
        let proxied = [
            (" *", "a.example"),
            ("* ", "a.example"),
            ("*,b", "a.example"),
            ("b,*", "a.example"),
            ("*.example", "a.example"),
            ("..example", "a.example"),
            ("example", "nonexample"),
            ("a.example:1", "a.example"),
            ("http://a.example", "a.example"),
            ("\"a.example\"", "a.example"),
            ("a.example;b", "a.example"),
            (".", "a.example"),
            ("127.0.0.0/33", "127.0.0.1"),
            ("10.0.0.0/0", "127.0.0.1"),
            ("127.0.0.0/", "127.0.0.1"),
            ("127.0.0.0/-8", "127.0.0.1"),
            ("127.0.0.0/255.0.0.0", "127.0.0.1"),
            ("127.", "127.0.0.1"),
            (".0.0.1", "127.0.0.1"),
            ("127.0.0.*", "127.0.0.1"),
            (".127.0.0.1", "127.0.0.1"),
            ("127.0.0.1:1", "127.0.0.1"),
            ("127.1", "127.0.0.1"),
            ("localhost", "127.0.0.1"),
            ("127.0.0.1", "localhost"),
            ("192.168.0.0/17", "192.168.128.1"),
            ("[::1]", "[::1]"),
            ("::/129", "[::1]"),
            ("2001:db8::/33", "[2001:db8:8000::7]"),
            ("::ffff:127.0.0.1", "127.0.0.1"),
            ("127.0.0.0/8", "[::ffff:127.0.0.1]"),
            ("", "a.example"),
        ];
        for (is_direct, rows) in [(true, &direct[..]), (false, &proxied[..])] {
            for (exempt, host) in rows {
                let pairs = [("HTTP_PROXY", "http://p:1"), ("NO_PROXY", *exempt)];
                let went = proxy(&pairs, &format!("http://{host}:8080/x"));
                assert_eq!(went.is_none(), is_direct, "NO_PROXY={exempt:?} and {host}");
            }
        }
    }
}
