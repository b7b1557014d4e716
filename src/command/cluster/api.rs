//! A Kubernetes API client of three verbs, with the pod's own service account.
//!
//! The `kube` crate would do this too, at the price of a third of this program's size.

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, StatusCode, Url};
use serde_json::Value;

use crate::error::{Error, Failure};
use crate::net;
use crate::report::{Event, Reporter};
use crate::retry::{Budget, Retry, Setback};
use crate::words::host;

/// Where Kubernetes mounts a pod's account.
const ACCOUNT_DIR: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const TIMEOUT: Duration = Duration::from_secs(15);
/// An API server that restarts is back within this time; the Job's own retries take it from there.
const PATIENCE: Duration = Duration::from_mins(1);

/// Where the API server is and who asks it.
#[derive(Debug, Clone)]
pub struct ServiceAccount {
    /// `KUBERNETES_SERVICE_HOST`.
    pub host: String,
    /// `KUBERNETES_SERVICE_PORT`.
    pub port: u16,
    /// The directory with `token`, `ca.crt` and `namespace`.
    pub dir: PathBuf,
    /// `POD_NAMESPACE`, else what the directory says.
    pub namespace: Option<String>,
}

impl ServiceAccount {
    /// From a pod's environment.
    pub fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let need = |name: &'static str| {
            let why = "it is not set: this command runs in a pod with a service account".to_owned();
            variable(name).ok_or_else(|| Error::invalid("environment", name, why))
        };
        let port = need("KUBERNETES_SERVICE_PORT")?;
        Ok(Self {
            host: need("KUBERNETES_SERVICE_HOST")?,
            port: port.parse().map_err(|_| Error::invalid("KUBERNETES_SERVICE_PORT", &port, "no port"))?,
            dir: variable("MODELFETCH_SERVICE_ACCOUNT_DIR").unwrap_or_else(|| ACCOUNT_DIR.into()).into(),
            namespace: variable("POD_NAMESPACE"),
        })
    }
}

impl ServiceAccount {
    /// The token as it is now, to keep it out of messages.
    pub(crate) fn token(&self) -> Option<String> {
        fs::read_to_string(self.dir.join("token")).ok().map(|token| token.trim().to_owned())
    }
}

/// A client of one namespace.
pub(super) struct Api {
    client: net::Client,
    base: Url,
    token: PathBuf,
    namespace: String,
    reporter: Arc<dyn Reporter>,
}

impl Api {
    /// Trusts the cluster's own authority alone, and uses no proxy.
    pub(super) fn new(account: &ServiceAccount, reporter: Arc<dyn Reporter>) -> Result<Self, Error> {
        let read = |name: &str| {
            let path = account.dir.join(name);
            fs::read(&path).map_err(Error::io("read the pod's service account from", path))
        };
        let namespace = match &account.namespace {
            Some(namespace) => namespace.clone(),
            None => String::from_utf8_lossy(&read("namespace")?).trim().to_owned(),
        };
        let host = match account.host.parse() {
            Ok(IpAddr::V6(ip)) => format!("[{ip}]"),
            _ => account.host.clone(),
        };
        let base = format!("https://{host}:{}", account.port);
        Ok(Self {
            client: net::private_client(&read("ca.crt")?)?,
            base: Url::parse(&base).map_err(|why| Error::invalid("API server", &base, why.to_string()))?,
            token: account.dir.join("token"),
            namespace,
            reporter,
        })
    }

    /// The namespace it works in.
    pub(super) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// An object; `None` if there is none.
    pub(super) async fn get(&self, path: &str) -> Result<Option<Value>, Error> {
        self.ask(&Question {
            verb: "get",
            method: Method::GET,
            path,
            body: None,
            absent_ok: StatusCode::NOT_FOUND,
        })
        .await
    }

    /// Creates an object; `None` if it exists already.
    pub(super) async fn create(&self, path: &str, object: &Value) -> Result<Option<Value>, Error> {
        let body = Some(("application/json", object));
        self.ask(&Question {
            verb: "create",
            method: Method::POST,
            path,
            body,
            absent_ok: StatusCode::CONFLICT,
        })
        .await
    }

    /// Changes some fields of an object. An object that is not there yet is waited for: it may be
    /// created in the same sync.
    pub(super) async fn merge_patch(&self, path: &str, patch: &Value) -> Result<(), Error> {
        let body = Some(("application/merge-patch+json", patch));
        let question =
            Question { verb: "patch", method: Method::PATCH, path, body, absent_ok: StatusCode::NOT_FOUND };
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while self.ask(&question).await?.is_none() {
            if tokio::time::Instant::now() >= deadline {
                return Err(Error::ObjectNotFound {
                    object: question.object(),
                    namespace: self.namespace.clone(),
                });
            }
            let (host, object) = (self.host(), question.object());
            self.reporter
                .report(&Event::Asking { what: &format!("{object}, which is not there yet"), host: &host });
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        Ok(())
    }

    fn host(&self) -> String {
        host(&self.base)
    }

    async fn ask(&self, question: &Question<'_>) -> Result<Option<Value>, Error> {
        let budget = Budget::new(PATIENCE, None);
        let what = format!("{} {}", question.verb, question.object());
        let doing = |what: &str, _: &str| what.to_owned();
        let retry = Retry { what: &what, doing, budget: &budget, reporter: &*self.reporter };
        retry.run(|| self.ask_once(question)).await
    }

    async fn ask_once(&self, question: &Question<'_>) -> Result<Option<Value>, Setback> {
        let url = self.base.join(question.path).map_err(|why| {
            Setback::Final(Error::invalid("name of an object", question.path, why.to_string()))
        })?;
        let mut request = self.client.request(question.method.clone(), &url);
        let authorization = self.authorization().map_err(Setback::Final)?;
        request = request.timeout(TIMEOUT).header(AUTHORIZATION, authorization);
        if let Some((kind, body)) = question.body {
            request = request.header(CONTENT_TYPE, kind).body(body.to_string());
        }
        let lost = |cause| net::transport(host(&url), cause);
        let response = request.send().await.map_err(lost)?;
        if response.status() == question.absent_ok {
            return Ok(None);
        }
        if !response.status().is_success() {
            let failure = net::bad_status(&url, response).await;
            return Err(question.explain(failure, &self.namespace));
        }
        let body = response.bytes().await.map_err(lost)?;
        serde_json::from_slice(&body)
            .map(Some)
            .map_err(|why| net::wrong(&url, format!("no JSON object ({why})")).into())
    }

    /// Read anew each time: Kubernetes rotates it.
    fn authorization(&self) -> Result<HeaderValue, Error> {
        let token =
            fs::read_to_string(&self.token).map_err(Error::io("read the pod's token from", &self.token))?;
        net::authorization(token.trim())
            .ok_or_else(|| Error::invalid("pod token", "(not shown)", "no header can carry it"))
    }
}

struct Question<'a> {
    verb: &'static str,
    method: Method,
    path: &'a str,
    body: Option<(&'static str, &'a Value)>,
    /// The status that is an answer too: not there, or there already.
    absent_ok: StatusCode,
}

impl Question<'_> {
    /// `persistentvolumeclaims/llamacpp-app`, for messages.
    fn object(&self) -> String {
        let path = self.path.split('?').next().unwrap_or_default();
        path.splitn(6, '/').nth(5).unwrap_or(path).to_owned()
    }

    /// Turns refusals that a retry does not change into errors that say what to do.
    fn explain(&self, failure: Failure, namespace: &str) -> Setback {
        let Failure::Status { status, .. } = failure else { return failure.into() };
        let (verb, object, namespace) = (self.verb, self.object(), namespace.to_owned());
        match status {
            401 | 403 => {
                Setback::Final(Error::ClusterForbidden { verb, object, namespace, answer: Box::new(failure) })
            }
            400 | 404 | 409 | 422 => {
                Setback::Final(Error::ClusterRejected { verb, object, namespace, answer: Box::new(failure) })
            }
            _ => failure.into(),
        }
    }
}
