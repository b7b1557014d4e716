"""Network policies, enforced by kube-router, in a namespace that denies everything that none of them allows."""

import secrets
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

import cluster
from chart import CHART, render
from cluster import RELEASE, STATE, Namespace, chat, values
from dns_server import DnsServer
from node import ADDRESS, command, wait_until

IMAGE = render().guard["image"]
CLIENT = {"role": "client"}
NODE = [{"ipBlock": {"cidr": f"{ADDRESS}/32"}}]

pytestmark = pytest.mark.skipif(not (STATE / "kube-router.pid").exists(),
                                reason="no kube-router: network policies are not enforced (tests/cluster/router/build)")


@pytest.fixture
def denying(there):
    """The journey's namespace, with the policy that most teams begin with."""
    there.apply({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "deny-all"},
                 "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}})
    return there


def policies(hub):
    """Those of the chart, for a Hub on ports of its own and clients of another namespace."""
    other = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}}, "podSelector": {"matchLabels": CLIENT}}
    ports = [{"port": urlsplit(url).port, "protocol": "TCP"} for url in (hub.endpoint, hub.cdn)]
    return {"networkPolicy": {"enabled": True, "from": [other], "dns": NODE, "extraEgress": [{"ports": ports, "to": NODE}]}}


@contextmanager
def client(namespace, labels):
    """A pod to ask from. It waits for nobody: rules for a pod are there a moment after it."""
    name = f"client-{secrets.token_hex(2)}"
    restricted = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": True,
                  "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}}
    namespace.apply({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels},
        "spec": {"tolerations": [{"operator": "Exists"}], "terminationGracePeriodSeconds": 0, "containers": [{
            "name": "client", "image": IMAGE, "securityContext": restricted,
            "args": ["cluster", "check-server", "http://127.0.0.1:1/", "--give-up-after", "1h"]}]}})
    namespace.kubectl("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=60s")
    address = namespace.get("pod", name)["status"]["podIP"]
    wait_until(lambda: address in command("iptables-save", "-t", "filter"), "the pod's rules", 30)
    try:
        yield name
    finally:
        namespace.kubectl("delete", "pod", name, "--wait=false")


def reaches(namespace, url, labels=None):
    with client(namespace, labels or {}) as name:
        asked = namespace.kubectl("exec", name, "--", "/modelfetch", "cluster", "check-server", url, "--give-up-after", "10s",
                                  check=False)
    return asked.returncode == 0


def test_a_namespace_that_denies_everything(volume, denying, hub):
    root = f"{hub.endpoint}/api/models/{hub.repo}"
    assert reaches(Namespace("default"), root)
    assert not reaches(denying, root)

    denying.synced(values(hub, **policies(hub)))

    service = f"http://{denying.service()['spec']['clusterIP']}:8080"
    assert reaches(Namespace("default"), f"{service}/health", CLIENT)
    assert not reaches(Namespace("default"), f"{service}/health", {"role": "stranger"})
    # The server has no way out, not even to where its model came from.
    out = denying.kubectl("exec", f"deployment/{RELEASE}", "-c", "server", "--", "curl", "--silent", "--show-error",
                          "--max-time", "5", root, check=False)
    # Refused or left without an answer, as the policies are enforced.
    assert out.returncode in (7, 28), out.stderr
    chat(denying.service()["spec"]["clusterIP"])


def test_helm_test_reaches_the_server_in_it(volume, denying, hub):
    wanted = values(hub, argocd={"enabled": False}, **policies(hub))
    denying.helm("install", RELEASE, CHART, "--wait=watcher", "--wait-for-jobs", "--timeout=2m", values=wanted)

    name = f"{RELEASE}.{denying.name}.svc.cluster.local"
    with DnsServer({name: denying.service()["spec"]["clusterIP"]}, listen=ADDRESS):
        denying.helm("test", RELEASE, "--timeout", "60s")
