"""What a namespace may have that the chart knows nothing of: a quota, a mesh that puts a sidecar into each pod."""

import base64
import http.server
import json
import ssl
import threading
from contextlib import contextmanager

from cluster import SERVER, STATE, chat, values
from node import ADDRESS

WITHOUT_SIDECAR = {"sidecar.istio.io/inject": "false"}
SIDECAR = {"name": "mesh", "image": "localhost/pause:1", "imagePullPolicy": "Never",
           "resources": {"requests": {"cpu": "10m", "memory": "8Mi"}, "limits": {"memory": "16Mi"}},
           "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}}


def test_every_pod_fits_a_quota(volume, there, hub):
    """With a quota on a resource the API refuses a pod that does not say how much of it it needs."""
    there.apply({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "team"}, "spec": {"hard": {
        "requests.cpu": "1", "requests.memory": "1Gi", "limits.memory": "3Gi", "requests.nvidia.com/gpu": "1",
        "pods": "3", "count/jobs.batch": "3", "persistentvolumeclaims": "1", "requests.storage": "100Mi"}}})

    there.synced(values(hub, resources={"requests": {"cpu": "100m"}}))
    there.synced(values(hub, resources={"requests": {"cpu": "100m"}}, server={"extraArgs": ["--threads", 2]}))

    chat(there.service()["spec"]["clusterIP"])


def test_no_sidecar_keeps_a_job_from_ending(volume, there, hub):
    """A mesh's sidecar never ends, nor does a Job's pod that has one. It asks for the label that keeps it away."""
    with mesh(there, SIDECAR):
        there.synced(values(hub, fetch={"job": {"podLabels": WITHOUT_SIDECAR}}, helpers={"podLabels": WITHOUT_SIDECAR}))

        (server,) = there.list("pods", SERVER)
        assert [container["name"] for container in server["spec"]["containers"]] == ["server", "mesh"]
        assert {job["status"].get("succeeded") for job in there.list("jobs")} == {1}
        chat(there.service()["spec"]["clusterIP"])


def test_a_native_sidecar_ends_with_the_job(volume, there, hub):
    """As Istio 1.24 and later inject it: an init container that goes on running."""
    with mesh(there, SIDECAR | {"restartPolicy": "Always"}, where="initContainers"):
        there.synced(values(hub))

        pods = [*there.list("pods", SERVER), *there.list("pods", "app.kubernetes.io/component=download-model")]
        assert all("mesh" in [c["name"] for c in pod["spec"]["initContainers"]] for pod in pods)
        chat(there.service()["spec"]["clusterIP"])


@contextmanager
def mesh(there, sidecar, where="containers"):
    """A mutating webhook that puts a sidecar into each pod of the namespace that has no label against it."""
    class Injector(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["request"]
            answer = {"uid": review["uid"], "allowed": True}
            patch = injection(review["object"], sidecar, where)
            answer |= {"patchType": "JSONPatch", "patch": base64.b64encode(json.dumps(patch).encode()).decode()}
            body = json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": answer}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer((ADDRESS, 0), Injector)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # The API server's own certificate is for this address too.
    context.load_cert_chain(STATE / "pki/apiserver.crt", STATE / "pki/apiserver.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    hook = {
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": f"mesh-{there.name}"},
        "webhooks": [{
            "name": "sidecar.mesh.example", "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "clientConfig": {"url": f"https://{ADDRESS}:{server.server_port}/inject",
                             "caBundle": base64.b64encode((STATE / "pki/ca.crt").read_bytes()).decode()},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": there.name}},
            "objectSelector": {"matchExpressions": [
                {"key": "sidecar.istio.io/inject", "operator": "NotIn", "values": ["false"]}]},
        }],
    }
    there.apply(hook)
    try:
        yield
    finally:
        there.kubectl("delete", "mutatingwebhookconfiguration", hook["metadata"]["name"])
        server.shutdown()


def injection(pod, sidecar, where):
    if where in pod["spec"]:
        at = f"/spec/{where}/{0 if where == 'initContainers' else '-'}"
        return [{"op": "add", "path": at, "value": sidecar}]
    return [{"op": "add", "path": f"/spec/{where}", "value": [sidecar]}]
