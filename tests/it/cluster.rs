//! `cluster …` against a small API server over TLS: what it asks, with whose token, and how it
//! explains a refusal. The chart's own tests on a real cluster ask a real API server.

use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fake_hub::{FakeHub, Fault, Record, Reply, Request, Rule};
use serde_json::{Value, json};
use tempfile::TempDir;

const CLAIMS: &str = "/api/v1/namespaces/applications/persistentvolumeclaims";
const SERVICE: &str = "/api/v1/namespaces/applications/services/llamacpp-app";
const ADDRESS: &str = "192.0.2.77";

/// A pod with its service account, and the API server it speaks to.
struct Pod {
    dir: TempDir,
    server: FakeHub,
}

impl Pod {
    fn new() -> Self {
        let dir = TempDir::new().expect("a directory");
        let server = FakeHub::builder().tls(dir.path()).build().expect("a server on free ports");
        std::fs::rename(dir.path().join("ca.pem"), dir.path().join("ca.crt")).expect("the authority");
        std::fs::write(dir.path().join("token"), "canary-pod-token\n").expect("a token");
        std::fs::write(dir.path().join("namespace"), "applications").expect("a namespace");
        let claim = json!({
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": { "name": "llamacpp-app", "namespace": "applications" },
            "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "50Gi" } } },
        });
        std::fs::write(dir.path().join("claim.json"), claim.to_string()).expect("a manifest");
        Self { dir, server }
    }

    /// What the server answers to requests of this method below this path.
    fn answers(&self, method: &str, path: &str, reply: Reply) {
        self.server.fault(Rule::hub().method(method).path_contains(path).always().then(Fault::Reply(reply)));
    }

    fn run(&self, line: &str) -> Output {
        let port = self.server.endpoint().rsplit(':').next().expect("a port").to_owned();
        let output = Command::new(env!("CARGO_BIN_EXE_modelfetch"))
            .args(line.split_whitespace())
            .env_clear()
            .env("KUBERNETES_SERVICE_HOST", "127.0.0.1")
            .env("KUBERNETES_SERVICE_PORT", port)
            .env("MODELFETCH_SERVICE_ACCOUNT_DIR", self.dir.path())
            .env("MODELFETCH_CLAIM_MANIFEST", self.dir.path().join("claim.json"))
            .env("MODELFETCH_SERVICE", "llamacpp-app")
            .env("LB_IP", ADDRESS)
            // A proxy of the pod is not for the API server.
            .env("HTTPS_PROXY", "http://127.0.0.1:1")
            .output()
            .expect("the program starts");
        for stream in [&output.stdout, &output.stderr] {
            let text = String::from_utf8_lossy(stream);
            assert!(!text.contains("canary-pod-token") && !text.contains(ADDRESS), "a secret in {text}");
        }
        output
    }

    fn requests(&self) -> Vec<Record> {
        self.server.requests()
    }
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("the program exited by itself")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn body(request: &Request) -> Value {
    serde_json::from_slice(&request.body).expect("JSON")
}

fn object(value: &Value) -> Reply {
    Reply::new(200).header("Content-Type", "application/json").body(value.to_string().into_bytes())
}

fn refusal(status: u16, message: &str) -> Reply {
    let text = json!({ "kind": "Status", "status": "Failure", "message": message, "code": status });
    Reply::new(status).header("Content-Type", "application/json").body(text.to_string().into_bytes())
}

#[test]
fn an_absent_claim_is_created_as_the_manifest_says() {
    let pod = Pod::new();
    pod.answers("GET", CLAIMS, refusal(404, "not found"));
    pod.answers("POST", CLAIMS, object(&json!({ "kind": "PersistentVolumeClaim" })));
    let output = pod.run("cluster ensure-claim");
    assert_eq!(code(&output), 0, "{}", said(&output));
    assert!(said(&output).contains("created claim llamacpp-app in namespace applications"));
    let requests = pod.requests();
    let [get, post] = requests.as_slice() else { panic!("{requests:?}") };
    assert_eq!(get.request.target, format!("{CLAIMS}/llamacpp-app"));
    assert_eq!(post.request.target, format!("{CLAIMS}?fieldManager=modelfetch"));
    assert_eq!(body(&post.request)["spec"]["resources"]["requests"]["storage"], "50Gi");
    assert!(requests.iter().all(|request| request.authorization() == Some("Bearer canary-pod-token")));
}

#[test]
fn an_existing_claim_is_never_changed() {
    let pod = Pod::new();
    pod.answers("GET", CLAIMS, object(&json!({ "metadata": {}, "status": { "phase": "Bound" } })));
    let output = pod.run("cluster ensure-claim");
    assert_eq!(code(&output), 0, "{}", said(&output));
    assert!(said(&output).contains("(Bound); it stays as it is"));
    assert_eq!(pod.requests().len(), 1);
}

#[test]
fn a_claim_that_someone_else_creates_first_is_no_failure() {
    let pod = Pod::new();
    pod.answers("GET", CLAIMS, refusal(404, "not found"));
    pod.answers("POST", CLAIMS, refusal(409, "already exists"));
    let output = pod.run("cluster ensure-claim");
    assert_eq!(code(&output), 0, "{}", said(&output));
}

#[test]
fn a_claim_that_is_being_deleted_is_not_written_to() {
    let pod = Pod::new();
    pod.answers(
        "GET",
        CLAIMS,
        object(&json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:00:00Z" } })),
    );
    let output = pod.run("cluster ensure-claim");
    assert_eq!(code(&output), 23);
    assert!(
        said(&output).contains("claim llamacpp-app is being deleted")
            && said(&output).contains("kubectl get pvc")
    );
}

#[test]
fn a_missing_right_is_named_with_its_verb() {
    let pod = Pod::new();
    let message =
        r#"services "llamacpp-app" is forbidden: User "system:serviceaccount:applications:x" cannot patch"#;
    pod.answers("PATCH", SERVICE, refusal(403, message));
    let output = pod.run("cluster patch-service");
    assert_eq!(code(&output), 10);
    let text = said(&output);
    assert!(text.contains("may not patch services/llamacpp-app in namespace applications"), "{text}");
    assert!(text.contains("is forbidden") && text.contains("hint: the Role"), "{text}");
}

#[test]
fn the_address_goes_where_the_provider_looks_and_nowhere_else() {
    for (provider, key) in [
        ("metallb", "metallb.io/loadBalancerIPs"),
        ("kube-vip", "kube-vip.io/loadbalancerIPs"),
        ("cilium", "lbipam.cilium.io/ips"),
    ] {
        let pod = Pod::new();
        pod.answers("PATCH", SERVICE, object(&json!({})));
        let output = pod.run(&format!("cluster patch-service --provider {provider}"));
        assert_eq!(code(&output), 0, "{}", said(&output));
        let request = &pod.requests()[0].request;
        assert_eq!(request.header("content-type"), Some("application/merge-patch+json"));
        let patch = body(request);
        let annotations = patch["metadata"]["annotations"].as_object().expect("annotations");
        for (name, value) in annotations {
            assert_eq!(value.as_str(), (name == key).then_some(ADDRESS), "{provider}: {name}");
        }
        assert!(annotations.contains_key(key));
        assert!(patch["spec"]["loadBalancerIP"].is_null());
    }
}

#[test]
fn a_service_that_is_not_there_yet_is_waited_for() {
    let pod = Pod::new();
    let created = Arc::new(AtomicBool::new(false));
    let first = Arc::clone(&created);
    pod.server.on(Rule::hub().method("PATCH").always(), move |_, reply| {
        *reply = if first.swap(true, Ordering::Relaxed) {
            object(&json!({}))
        } else {
            refusal(404, "services \"llamacpp-app\" not found")
        };
    });
    let output = pod.run("cluster patch-service --provider spec");
    assert_eq!(code(&output), 0, "{}", said(&output));
    assert_eq!(body(&pod.requests()[1].request)["spec"]["loadBalancerIP"], ADDRESS);
}

#[test]
fn an_api_server_that_restarts_is_asked_again() {
    let pod = Pod::new();
    pod.answers("PATCH", SERVICE, object(&json!({})));
    let hits = pod.server.fault(Rule::hub().method("PATCH").times(2).then(Fault::status(503)));
    let output = pod.run("cluster patch-service");
    assert_eq!(code(&output), 0, "{}", said(&output));
    assert_eq!(hits.count(), 2);
}

/// [`Pod::run`] looks for the address and the token in all that is said.
#[test]
fn neither_address_nor_token_is_shown_whoever_repeats_it() {
    for status in [200, 403, 404, 422, 500] {
        let pod = Pod::new();
        let words = format!("annotation {ADDRESS} by Token canary-pod-token is not welcome");
        pod.answers("PATCH", SERVICE, refusal(status, &words));
        if matches!(status, 404 | 500) {
            // Those are waited for; the next answer ends it.
            pod.server.clear_faults();
            pod.answers("PATCH", SERVICE, refusal(422, &words));
            pod.server.fault(Rule::hub().method("PATCH").then(Fault::Reply(refusal(status, &words))));
        }
        let output = pod.run("cluster patch-service --verbose");
        assert!(said(&output).contains("llamacpp-app"), "{}", said(&output));
    }
}

#[test]
fn an_api_server_with_another_authority_gets_no_token() {
    let pod = Pod::new();
    let other = Pod::new();
    std::fs::copy(other.dir.path().join("ca.crt"), pod.dir.path().join("ca.crt")).expect("another authority");
    let output = pod.run("cluster ensure-claim");
    assert_eq!(code(&output), 30);
    assert!(said(&output).contains("certificate"), "{}", said(&output));
    assert!(pod.requests().is_empty());
}

#[test]
fn outside_a_pod_it_says_what_is_missing() {
    let output = Command::new(env!("CARGO_BIN_EXE_modelfetch"))
        .args(["cluster", "ensure-claim", "--manifest", "claim.json"])
        .env_clear()
        .output()
        .expect("the program starts");
    assert_eq!(code(&output), 2);
    assert!(said(&output).contains("KUBERNETES_SERVICE_"), "{}", said(&output));
}

/// `cluster check-server` with these words, outside any pod.
fn check_server(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_modelfetch"))
        .args(["cluster", "check-server"])
        .args(words)
        .env_clear()
        .env("HTTP_PROXY", "http://127.0.0.1:1")
        .output()
        .expect("the program starts")
}

fn server(first: Option<Fault>) -> FakeHub {
    let server = FakeHub::builder().build().expect("a server on free ports");
    server.fault(Rule::hub().always().then(Fault::Reply(object(&json!({ "status": "ok" })))));
    if let Some(fault) = first {
        server.fault(Rule::hub().path_contains("/health").times(2).then(fault));
    }
    server
}

#[test]
fn a_server_that_still_loads_its_model_is_waited_for() {
    let loading = Reply::new(503).body(br#"{"error":{"message":"Loading model"}}"#.to_vec());
    let server = server(Some(Fault::Reply(loading)));
    let (health, models) =
        (format!("{}/health", server.endpoint()), format!("{}/v1/models", server.endpoint()));
    let output = check_server(&[&health, &models]);
    assert_eq!(code(&output), 0, "{}", said(&output));
    let answered = format!("the server answers at {health} and {models}");
    assert!(said(&output).contains(&answered), "{}", said(&output));
    let asked: Vec<_> = server.requests().iter().map(|record| record.request.target.clone()).collect();
    assert_eq!(asked, ["/health", "/health", "/health", "/v1/models"]);
}

#[test]
fn a_server_that_refuses_is_not_asked_again() {
    for status in [401, 404] {
        let server = server(Some(Fault::status(status)));
        let output = check_server(&[&format!("{}/health", server.endpoint())]);
        assert_eq!(code(&output), 30);
        let text = said(&output);
        assert!(text.contains("not ready at http://") && text.contains(&status.to_string()), "{text}");
        assert!(text.contains("hint: look at the server's pod"), "{text}");
        assert_eq!(server.requests().len(), 1);
    }
}

#[test]
fn a_server_that_is_not_there_is_given_up() {
    let output = check_server(&["http://127.0.0.1:1/health", "--give-up-after", "1s"]);
    assert_eq!(code(&output), 30);
    let text = said(&output);
    assert!(text.contains("not ready at http://127.0.0.1:1/health") && text.contains("gave up"), "{text}");
}

#[test]
fn an_address_that_may_hold_a_secret_is_refused_unseen() {
    for url in ["http://me:canary-password@h/health", "http://h/health?key=canary-password", "ftp://h/"] {
        let output = check_server(&[url]);
        assert_eq!(code(&output), 2);
        assert!(!said(&output).contains("canary-password"), "{}", said(&output));
    }
}
