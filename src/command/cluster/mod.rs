//! `modelfetch cluster …`: what the chart's Jobs do in a cluster, so that they need no kubectl, no curl, no shell and no
//! second image. Two ask the Kubernetes API, and one the server.

mod api;
mod server;

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};

use api::Api;
pub use api::ServiceAccount;
pub use server::{ServerRequest, check_server};

use crate::error::Error;
use crate::report::Reporter;

/// Field manager of every change, so that `kubectl --show-managed-fields` tells who made it.
const FIELD_MANAGER: &str = "modelfetch";

/// One of the two that ask the Kubernetes API.
#[derive(Debug, Clone)]
pub enum Task {
    /// `cluster ensure-claim`
    EnsureClaim(ClaimRequest),
    /// `cluster patch-service`
    PatchService(AddressRequest),
}

/// Does it, and says in a sentence what was found and done.
pub async fn run(
    task: &Task,
    account: &ServiceAccount,
    reporter: Arc<dyn Reporter>,
) -> Result<String, Error> {
    let api = Api::new(account, reporter)?;
    match task {
        Task::EnsureClaim(request) => ensure_claim(request, &api).await,
        Task::PatchService(request) => patch_service(request, &api).await,
    }
}

/// What `cluster ensure-claim` is asked for.
#[derive(Debug, Clone)]
pub struct ClaimRequest {
    /// A file with the `PersistentVolumeClaim` as JSON.
    pub manifest: PathBuf,
}

/// Creates the claim if it is absent; an existing one is never changed. Says what it found.
///
/// The claim cannot be a hook itself: Argo CD deletes hooks before each sync, and the model with
/// it (`argo-cd#3846`). Made here it is there for the `PreSync` download, and the chart's own
/// manifest, which is the same, adopts it in the sync.
async fn ensure_claim(request: &ClaimRequest, api: &Api) -> Result<String, Error> {
    let claim = read_claim(&request.manifest)?;
    let name = claim["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let collection = format!("/api/v1/namespaces/{}/persistentvolumeclaims", api.namespace());
    if let Some(existing) = api.get(&format!("{collection}/{name}")).await? {
        return describe_existing(&name, &existing);
    }
    let created = api.create(&format!("{collection}?fieldManager={FIELD_MANAGER}"), &claim).await?;
    Ok(match created {
        Some(_) => format!("created claim {name} in namespace {}", api.namespace()),
        // Between the question and the order someone else made it.
        None => format!("claim {name} is there: another process was quicker"),
    })
}

fn read_claim(manifest: &std::path::Path) -> Result<Value, Error> {
    let bytes = std::fs::read(manifest).map_err(Error::io("read the claim's manifest", manifest))?;
    let shown = manifest.to_string_lossy();
    let claim: Value = serde_json::from_slice(&bytes)
        .map_err(|why| Error::invalid("claim manifest", &shown, format!("it is no JSON ({why})")))?;
    if claim["kind"] != "PersistentVolumeClaim" || claim["apiVersion"] != "v1" {
        return Err(Error::invalid("claim manifest", &shown, "it is no v1 PersistentVolumeClaim"));
    }
    let name = claim["metadata"]["name"].as_str().unwrap_or_default();
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    if name.is_empty() || !name.chars().all(plain) {
        return Err(Error::invalid("claim manifest", &shown, "metadata.name is no name of an object"));
    }
    Ok(claim)
}

fn describe_existing(name: &str, claim: &Value) -> Result<String, Error> {
    let phase = claim["status"]["phase"].as_str().unwrap_or("of unknown phase");
    if claim["metadata"]["deletionTimestamp"].is_string() {
        return Err(Error::ClaimTerminating { name: name.into() });
    }
    Ok(format!("claim {name} is there ({phase}); it stays as it is"))
}

/// Which controller hands out the address, and so where it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Provider {
    /// `MetalLB`: annotation `metallb.io/loadBalancerIPs`.
    Metallb,
    /// kube-vip: annotation `kube-vip.io/loadbalancerIPs`.
    KubeVip,
    /// Cilium LB-IPAM: annotation `lbipam.cilium.io/ips`.
    Cilium,
    /// The deprecated field `spec.loadBalancerIP`.
    Spec,
}

/// What `cluster patch-service` is asked for.
#[derive(Clone)]
pub struct AddressRequest {
    /// Name of the Service.
    pub service: String,
    /// Where the address is written.
    pub provider: Provider,
    /// Another annotation than the provider's usual one.
    pub annotation: Option<String>,
    /// One address, or several separated by commas for dual stack. From a Secret: never shown.
    pub addresses: String,
}

impl fmt::Debug for AddressRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AddressRequest({} by {:?})", self.service, self.provider)
    }
}

/// Puts the load-balancer address on the Service. Says what it did, without the address.
async fn patch_service(request: &AddressRequest, api: &Api) -> Result<String, Error> {
    let addresses = parse_addresses(&request.addresses, request.provider)?;
    let path = format!(
        "/api/v1/namespaces/{}/services/{}?fieldManager={FIELD_MANAGER}",
        api.namespace(),
        request.service
    );
    api.merge_patch(&path, &patch(request, &addresses)).await?;
    let place = annotation(request).map_or("spec.loadBalancerIP".into(), |key| format!("annotation {key}"));
    Ok(format!("service {}: {place} holds the address from the Secret", request.service))
}

impl Provider {
    fn annotation(self) -> Option<&'static str> {
        match self {
            Self::Metallb => Some("metallb.io/loadBalancerIPs"),
            Self::KubeVip => Some("kube-vip.io/loadbalancerIPs"),
            Self::Cilium => Some("lbipam.cilium.io/ips"),
            Self::Spec => None,
        }
    }
}

fn annotation(request: &AddressRequest) -> Option<String> {
    let usual = request.provider.annotation()?;
    Some(request.annotation.clone().unwrap_or_else(|| usual.into()))
}

/// One place is set and the others are cleared: `MetalLB` gives no address to a Service that has both
/// its annotation and the field (metallb `controller/service.go`).
fn patch(request: &AddressRequest, addresses: &str) -> Value {
    let places = [Provider::Metallb, Provider::KubeVip, Provider::Cilium];
    let mut annotations: serde_json::Map<_, _> = places
        .into_iter()
        .filter_map(Provider::annotation)
        .map(|key| (key.to_owned(), Value::Null))
        .collect();
    let field = match annotation(request) {
        Some(key) => {
            annotations.insert(key, addresses.into());
            Value::Null
        }
        None => addresses.into(),
    };
    json!({ "metadata": { "annotations": annotations }, "spec": { "loadBalancerIP": field } })
}

fn parse_addresses(text: &str, provider: Provider) -> Result<String, Error> {
    let invalid = |why: String| Err(Error::invalid("load-balancer address", "(from the Secret)", why));
    let parts: Vec<_> = text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
    if parts.is_empty() {
        return invalid("LB_IP is empty".into());
    }
    if let Some(at) = parts.iter().position(|part| part.parse::<IpAddr>().is_err()) {
        return invalid(format!("part {} of it is no IP address", at + 1));
    }
    if provider == Provider::Spec && parts.len() > 1 {
        return invalid("spec.loadBalancerIP holds one address only".into());
    }
    Ok(parts.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_checked_and_never_shown() {
        let parse = |text| parse_addresses(text, Provider::Metallb);
        assert_eq!(parse(" 192.0.2.7\n").expect("an address"), "192.0.2.7");
        assert_eq!(parse("192.0.2.7, 2001:db8::7").expect("two addresses"), "192.0.2.7,2001:db8::7");
        for text in ["", " ", "192.0.2.700", "host.example", "192.0.2.0/24"] {
            let error = parse(text).expect_err("no address").to_string();
            assert!(text.trim().is_empty() || !error.contains(text), "{error}");
        }
        assert!(parse_addresses("192.0.2.7,192.0.2.8", Provider::Spec).is_err());
    }

    #[test]
    fn only_one_of_the_two_places_is_set() {
        let request = |provider| AddressRequest {
            service: "s".into(),
            provider,
            annotation: None,
            addresses: String::new(),
        };
        let metallb = patch(&request(Provider::Metallb), "192.0.2.7");
        assert_eq!(metallb["metadata"]["annotations"]["metallb.io/loadBalancerIPs"], "192.0.2.7");
        assert!(metallb["spec"]["loadBalancerIP"].is_null());
        let spec = patch(&request(Provider::Spec), "192.0.2.7");
        assert_eq!(spec["spec"]["loadBalancerIP"], "192.0.2.7");
        assert!(spec["metadata"]["annotations"]["metallb.io/loadBalancerIPs"].is_null());
    }
}
