//! Name resolution without glibc: `/etc/resolv.conf` (with Kubernetes' `search` and `ndots`) and
//! `/etc/hosts`, read by hickory. Nothing is asked of any server that is not configured there.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::LookupIpStrategy;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

type Failure = Box<dyn std::error::Error + Send + Sync>;

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
            let addresses: Vec<_> = found.iter().map(|ip| SocketAddr::new(ip, 0)).collect();
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

fn system_resolver() -> Result<TokioResolver, Failure> {
    let mut builder =
        TokioResolver::builder_tokio().map_err(|why| format!("cannot use /etc/resolv.conf: {why}"))?;
    // Both families at once; the HTTP stack tries them side by side.
    builder.options_mut().ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    Ok(builder.build()?)
}
