//! Name resolution without glibc: `/etc/resolv.conf` (with Kubernetes' `search` and `ndots`) and
//! `/etc/hosts`, read by hickory. Nothing is asked of any server that is not configured there.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::LookupIpStrategy;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// A name that nobody is sent to.
#[derive(Debug, thiserror::Error)]
#[error("the name stands for an address of the local link, where clouds serve credentials")]
pub(super) struct LinkLocal;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Reads the system's configuration when the first name is looked up.
#[derive(Clone, Default)]
pub(super) struct Resolver(Arc<OnceLock<TokioResolver>>);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let cell = Arc::clone(&self.0);
        Box::pin(async move {
            let resolver = if let Some(resolver) = cell.get() {
                resolver
            } else {
                let resolver = system_resolver()?;
                cell.get_or_init(|| resolver)
            };
            let found = resolver.lookup_ip(name.as_str()).await?;
            let addresses: Vec<_> =
                found.iter().filter(|ip| !is_link_local(*ip)).map(|ip| SocketAddr::new(ip, 0)).collect();
            if addresses.is_empty() {
                return Err(LinkLocal.into());
            }
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// No Hub is there, but what answers there (a cloud's metadata service) may hand out credentials.
fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
            Some(ip) => ip.is_link_local(),
            None => ip.is_unicast_link_local(),
        },
    }
}

fn system_resolver() -> Result<TokioResolver, BoxError> {
    let mut builder =
        TokioResolver::builder_tokio().map_err(|why| format!("cannot use /etc/resolv.conf: {why}"))?;
    // Both families at once; the HTTP stack tries them side by side.
    builder.options_mut().ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    Ok(builder.build()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_the_local_link_is_known_in_every_form() {
        for link_local in ["169.254.169.254", "fe80::1", "::ffff:169.254.169.254"] {
            assert!(is_link_local(link_local.parse().expect("an address")), "{link_local}");
        }
        for other in ["10.0.0.1", "127.0.0.1", "fd00::1", "::ffff:10.0.0.1"] {
            assert!(!is_link_local(other.parse().expect("an address")), "{other}");
        }
    }
}
