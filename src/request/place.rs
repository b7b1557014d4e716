//! Which places a client may be sent to only by who meant them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

/// Where a host is, seen from this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// This machine.
    Here,
    /// The local link, where clouds serve credentials, and wherever else they do.
    Link,
    /// Anywhere else; private networks too, because a company's mirror is in one.
    Elsewhere,
}

/// Amazon's service of credentials on IPv6, which is on no link.
const AMAZON: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

impl Place {
    /// Of the host in a URL, however it is spelled.
    pub fn of(url: &Url) -> Self {
        match url.host() {
            Some(Host::Ipv4(ip)) => Self::of_address(ip.into()),
            Some(Host::Ipv6(ip)) => Self::of_address(ip.into()),
            Some(Host::Domain(name)) if is_localhost(name) => Self::Here,
            _ => Self::Elsewhere,
        }
    }

    /// Of an address, in whatever form it carries an older one.
    pub fn of_address(ip: IpAddr) -> Self {
        match canonical(ip) {
            IpAddr::V4(ip) if ip.is_loopback() || ip.is_unspecified() => Self::Here,
            IpAddr::V6(ip) if ip.is_loopback() || ip.is_unspecified() => Self::Here,
            IpAddr::V4(ip) if ip.is_link_local() => Self::Link,
            IpAddr::V6(ip) if ip.is_unicast_link_local() || ip == AMAZON => Self::Link,
            _ => Self::Elsewhere,
        }
    }
}

/// A name that never leaves this machine (RFC 6761, 6.3).
pub fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name.rsplit('.').next().is_some_and(|last| last.eq_ignore_ascii_case("localhost"))
}

/// An IPv4 address for what stands for one: mapped or compatible (RFC 4291, 2.5.5), or translated on its way (RFC 6052, 2.1).
fn canonical(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => match ip.segments() {
            [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0, 0, 0, 0, 0, 0, high, low] if ip.segments()[6] > 0 => {
                Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)).into()
            }
            _ => ip.into(),
        },
        IpAddr::V4(ip) => ip.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_known_in_every_spelling() {
        for (place, hosts) in [
            (
                Place::Here,
                &[
                    "localhost",
                    "LOCALHOST",
                    "localhost.",
                    "a.localhost",
                    "a.localhost.",
                    "127.0.0.1",
                    "127.1",
                    "0x7f.0.0.1",
                    "2130706433",
                    "0.0.0.0",
                    "[::1]",
                    "[::]",
                    "[::ffff:127.0.0.1]",
                    "[::ffff:7f00:1]",
                    "[::127.0.0.1]",
                    "[64:ff9b::127.0.0.1]",
                ][..],
            ),
            (
                Place::Link,
                &[
                    "169.254.169.254",
                    "169.254.1.2",
                    "[fe80::1]",
                    "[::ffff:169.254.169.254]",
                    "[64:ff9b::a9fe:a9fe]",
                    "[fd00:ec2::254]",
                ],
            ),
            (
                Place::Elsewhere,
                &[
                    "huggingface.co",
                    "localhost.example",
                    "notlocalhost",
                    "10.0.0.1",
                    "[fd00::1]",
                    "[::ffff:10.0.0.1]",
                    "[64:ff9b::10.0.0.1]",
                ],
            ),
        ] {
            for host in hosts {
                let url = Url::parse(&format!("http://{host}:8080/x")).expect(host);
                assert_eq!(Place::of(&url), place, "{host}");
            }
        }
    }
}
