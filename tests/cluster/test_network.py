"""Network policies, enforced by kube-router, in a namespace that denies everything that none of them allows."""

import secrets
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

import cluster
from chart import CHART, render
from cluster import RELEASE, STATE, Namespace, chat, values
from dns_server import DnsServer
from node import ADDRESS, wait_until

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
def asking(namespace, url, labels):
    """A pod that asks a server for a few seconds: how it ended."""
    name = f"asks-{secrets.token_hex(2)}"
    restricted = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": True,
                  "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}}
    namespace.apply({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels},
        "spec": {"restartPolicy": "Never", "tolerations": [{"operator": "Exists"}], "containers": [{
            "name": "asks", "image": IMAGE, "args": ["cluster", "check-server", url, "--give-up-after", "6s"],
            "securityContext": restricted}]}})
    try:
        wait_until(lambda: namespace.get("pod", name)["status"]["phase"] in ("Succeeded", "Failed"), "an answer or none", 60)
        yield namespace.get("pod", name)["status"]["phase"]
    finally:
        namespace.kubectl("delete", "pod", name, "--wait=false")


def reaches(namespace, url, labels=None):
    with asking(namespace, url, labels or {}) as phase:
        return phase == "Succeeded"


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
    assert out.returncode != 0 and "timed out" in out.stderr, out.stderr
    chat(denying.service()["spec"]["clusterIP"])


def test_helm_test_reaches_the_server_in_it(volume, denying, hub):
    wanted = values(hub, argocd={"enabled": False}, **policies(hub))
    denying.helm("install", RELEASE, CHART, "--wait=watcher", "--wait-for-jobs", "--timeout=2m", values=wanted)

    name = f"{RELEASE}.{denying.name}.svc.cluster.local"
    with DnsServer({name: denying.service()["spec"]["clusterIP"]}, listen=ADDRESS):
        denying.helm("test", RELEASE, "--timeout", "60s")
