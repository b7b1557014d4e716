//! Name resolution without glibc, and in its order: `/etc/hosts`, then the servers of `/etc/resolv.conf` (with
//! Kubernetes' `search` and `ndots`), asked by hickory. Nothing is asked of any server that is not configured there.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use futures_util::future::{Either, select};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name as DnsName, RecordType};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::time::timeout;

use crate::request::{Place, is_localhost};

/// Time for the servers to answer: less than a connection has for all of it, so that it is told what it waited for.
const PATIENCE: Duration = Duration::from_secs(8);
/// How much longer than the first family of addresses the other one may take (RFC 8305, 3).
const SECOND_FAMILY: Duration = Duration::from_millis(50);

/// Why a name leads nowhere.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// Nobody is sent there but who meant it.
    #[error("the name {0} stands for an address of the local link, where clouds serve credentials")]
    LinkLocal(String),
    #[error("the name {name} cannot be resolved: {why}")]
    Unknown { name: String, why: String },
    #[error("the name {0} cannot be resolved: no server of /etc/resolv.conf answered within {secs} s", secs = PATIENCE.as_secs())]
    Silent(String),
}

/// Who knows the addresses of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// The file of this machine.
    Hosts,
    /// Nobody but this machine has such a name.
    Machine,
    /// Those of `/etc/resolv.conf`.
    Servers,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hosts => f.write_str("by /etc/hosts"),
            Self::Machine => f.write_str("this machine itself"),
            Self::Servers => {
                let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
                let words = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
                let servers: Vec<_> = words.filter_map(|rest| rest.split_whitespace().next()).collect();
                write!(f, "by DNS, of {}", servers.join(", "))
            }
        }
    }
}

/// Reads the servers when the first name is looked up that is not in `/etc/hosts`.
#[derive(Clone, Default)]
pub(super) struct Resolver(Arc<Shared>);

#[derive(Default)]
struct Shared {
    servers: OnceLock<TokioResolver>,
    /// Names that the user gave, so that whatever they stand for is meant.
    meant: Mutex<HashSet<String>>,
    /// How many connections each name was looked up for.
    turns: Mutex<HashMap<String, usize>>,
}

/// What one question brought: the name that has these addresses, after the search list.
type Answer = Result<(DnsName, Vec<IpAddr>), String>;

impl Resolver {
    /// Takes a name, or an address as a URL has it, as given by the user.
    pub(super) fn mean(&self, name: &str) {
        self.meant().insert(name.trim_matches(['[', ']']).to_ascii_lowercase());
    }

    fn is_meant(&self, name: &str) -> bool {
        self.meant().contains(&name.to_ascii_lowercase())
    }

    /// How many connections were made to a name before this one.
    fn turn(&self, name: &str) -> usize {
        let mut turns = self.0.turns.lock().expect("nothing panics while it holds the turns");
        let turn = turns.entry(name.to_ascii_lowercase()).or_default();
        *turn += 1;
        *turn - 1
    }

    fn meant(&self) -> MutexGuard<'_, HashSet<String>> {
        self.0.meant.lock().expect("nothing panics while it holds the names")
    }

    /// All addresses of a name that it may be looked for at, and who knows them.
    pub(super) async fn addresses(&self, name: &str) -> Result<(Vec<IpAddr>, Source), Trouble> {
        let hosts = std::fs::read("/etc/hosts").unwrap_or_default();
        let mut addresses = in_hosts(&String::from_utf8_lossy(&hosts), name);
        let mut source = Source::Hosts;
        if addresses.is_empty() && is_localhost(name) {
            addresses = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
            source = Source::Machine;
        }
        if addresses.is_empty() {
            (addresses, source) = (self.ask(name).await?, Source::Servers);
        }
        if !self.is_meant(name) {
            // One that the user named by itself is meant under each of its names.
            addresses.retain(|ip| Place::of_address(*ip) != Place::Link || self.is_meant(&ip.to_string()));
            if addresses.is_empty() {
                return Err(Trouble::LinkLocal(name.into()));
            }
        }
        Ok((addresses, source))
    }

    /// The addresses that the servers know; at least one.
    async fn ask(&self, name: &str) -> Result<Vec<IpAddr>, Trouble> {
        let unknown = |why: String| Trouble::Unknown { name: name.into(), why };
        let servers = if let Some(servers) = self.0.servers.get() {
            servers
        } else {
            let servers = servers().map_err(unknown)?;
            self.0.servers.get_or_init(|| servers)
        };
        let question = |family| Box::pin(answer(servers, name, family));
        let both = first_family(question(RecordType::A), question(RecordType::AAAA));
        timeout(PATIENCE, both).await.map_err(|_| Trouble::Silent(name.into()))?.map_err(unknown)
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.clone();
        Box::pin(async move {
            let (addresses, _) = resolver.addresses(name.as_str()).await?;
            let addresses = in_turn(addresses, resolver.turn(name.as_str()));
            Ok(Box::new(addresses.into_iter().map(|ip| SocketAddr::new(ip, 0))) as Addrs)
        })
    }
}

/// The addresses, beginning with another one at each turn: edges behind one name are not equally quick, and a connection
/// that replaces a slow one goes to the next of them. The family that came first stays first, because the HTTP stack
/// tries the other one only after a while.
fn in_turn(addresses: Vec<IpAddr>, turn: usize) -> Vec<IpAddr> {
    let begins_with_v4 = addresses.first().is_some_and(IpAddr::is_ipv4);
    let (mut first, mut other): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv4() == begins_with_v4);
    for family in [&mut first, &mut other] {
        let begin = turn % family.len().max(1);
        family.rotate_left(begin);
    }
    first.extend(other);
    first
}

/// Of two questions for the addresses of one name, in parallel: the answer of the first one that knows some, and of
/// the other one if it comes soon after. A server that does not answer one of them holds up nobody.
async fn first_family(
    v4: impl Future<Output = Answer> + Unpin,
    v6: impl Future<Output = Answer> + Unpin,
) -> Result<Vec<IpAddr>, String> {
    let (first, other) = match select(v4, v6).await {
        Either::Left((first, other)) => (first, Either::Left(other)),
        Either::Right((first, other)) => (first, Either::Right(other)),
    };
    let (name, mut addresses) = match first {
        Ok(first) => first,
        Err(why) => return other.await.map(|(_, addresses)| addresses).map_err(|_| why),
    };
    // Another name of the search list is another host.
    if let Ok(Ok((same, more))) = timeout(SECOND_FAMILY, other).await
        && same == name
    {
        addresses.extend(more);
    }
    Ok(addresses)
}

async fn answer(servers: &TokioResolver, name: &str, family: RecordType) -> Answer {
    let found = servers.lookup(name, family).await.map_err(|why| {
        use hickory_resolver::net::{DnsError, NetError};
        match why {
            NetError::Dns(DnsError::NoRecordsFound(_)) => {
                "there is no such name, or it has no address".into()
            }
            why => why.to_string(),
        }
    })?;
    let addresses: Vec<_> = found.answers().iter().filter_map(|record| record.data.ip_addr()).collect();
    if addresses.is_empty() {
        return Err("it has no address".into());
    }
    Ok((found.query().name().clone(), addresses))
}

/// The addresses of a name in the text of `/etc/hosts` (hosts(5)).
fn in_hosts(text: &str, name: &str) -> Vec<IpAddr> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let has_name = |line: &&str| line.split_whitespace().skip(1).any(|word| word.eq_ignore_ascii_case(name));
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    lines.filter(has_name).filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect()
}

/// Those of `/etc/resolv.conf`; where it names none, the one on this machine (resolv.conf(5)).
fn servers() -> Result<TokioResolver, String> {
    if let Err(why) = std::fs::metadata("/etc/resolv.conf") {
        return Err(format!("it is not in /etc/hosts, and /etc/resolv.conf cannot be read ({why})"));
    }
    let mut builder = TokioResolver::builder_tokio().unwrap_or_else(|_| {
        let local = NameServerConfig::udp_and_tcp(Ipv4Addr::LOCALHOST.into());
        let config = ResolverConfig::from_parts(None, Vec::new(), vec![local]);
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
    });
    builder.options_mut().use_hosts_file = ResolveHosts::Never;
    builder.build().map_err(|why| why.to_string())
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[test]
    fn the_hosts_file_is_read_as_the_system_reads_it() {
        let text = "127.0.0.1\tlocalhost\n# 10.0.0.9 hub.example\n10.0.0.1 other Hub.Example hub # hub2\n\
                    2001:db8::1 hub.example.\n2001:db8::2\thub.example\nnonsense hub.example\n10.0.0.3\n";
        let found = |name| in_hosts(text, name).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(found("hub.example"), ["10.0.0.1", "2001:db8::2"]);
        assert_eq!(found("HUB."), ["10.0.0.1"]);
        assert!(found("hub2").is_empty() && found("example").is_empty() && found("10.0.0.3").is_empty());
    }

    #[test]
    fn each_connection_begins_with_another_address_of_the_first_family() {
        let ips = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("an address")).collect();
        let all: Vec<IpAddr> = ips(&["10.0.0.1", "2001:db8::1", "10.0.0.2", "2001:db8::2", "10.0.0.3"]);
        for (turn, expected) in [
            (0, ["10.0.0.1", "10.0.0.2", "10.0.0.3", "2001:db8::1", "2001:db8::2"]),
            (1, ["10.0.0.2", "10.0.0.3", "10.0.0.1", "2001:db8::2", "2001:db8::1"]),
            (2, ["10.0.0.3", "10.0.0.1", "10.0.0.2", "2001:db8::1", "2001:db8::2"]),
            (usize::MAX - 1, ["10.0.0.3", "10.0.0.1", "10.0.0.2", "2001:db8::1", "2001:db8::2"]),
        ] {
            assert_eq!(in_turn(all.clone(), turn), ips(&expected), "{turn}");
        }
        assert_eq!(in_turn(ips(&["::1"]), 7), ips(&["::1"]));
        assert!(in_turn(Vec::new(), 7).is_empty());
        let resolver = Resolver::default();
        assert_eq!(["a.test", "b.test", "A.test"].map(|name| resolver.turn(name)), [0, 0, 1]);
    }

    #[expect(clippy::unnecessary_wraps, reason = "it is an answer")]
    fn known(name: &str, ip: &str) -> Answer {
        Ok((name.parse().expect("a name"), vec![ip.parse().expect("an address")]))
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_family_that_answers_is_used() {
        let began = tokio::time::Instant::now();
        let v4 = || ready(known("hub.", "10.0.0.1"));
        let v6 = || ready(known("hub.", "2001:db8::1"));
        assert_eq!(first_family(v4(), pending()).await.expect("an address").len(), 1);
        assert_eq!(first_family(pending(), v6()).await.expect("an address").len(), 1);
        assert_eq!(began.elapsed(), SECOND_FAMILY * 2);
        assert_eq!(first_family(v4(), v6()).await.expect("addresses").len(), 2);
        let no = || ready(Answer::Err("no".into()));
        assert_eq!(first_family(no(), v6()).await.expect("an address").len(), 1);
        assert_eq!(first_family(v4(), no()).await.expect("an address").len(), 1);
        assert_eq!(first_family(no(), no()).await.expect_err("nothing"), "no");
        let elsewhere = ready(known("hub.search.", "2001:db8::1"));
        assert_eq!(first_family(v4(), elsewhere).await.expect("an address").len(), 1);
    }
}
