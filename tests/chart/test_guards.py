"""Values that can't work together fail at render, each with a line that says what to change."""

import pytest

from chart import RenderError, nested, render

SEALED = {"sealedSecret": {"encryptedData": {"loadBalancerIP": "AgBy3i4O"}}}
NO_FETCH = {"fetch": {"mode": "none"}}

REFUSED = {
    # model
    "owner without repository": (
        {"model": {"repo": "ggml-org", "file": "x.gguf"}}, "model.repo=ggml-org is an owner without a repository"),
    "later shard": (
        {"model": {"file": "x-GGUF/x-00002-of-00003.gguf"}}, "is a later shard: name the first one"),
    "local file that is fetched": ({"model": {"localFile": "x.gguf"}}, "set fetch.mode=none"),
    "digest that nothing checks": (
        {**NO_FETCH, "model": {"sha256": "a" * 64}}, "model.sha256 is checked by the fetch, which fetch.mode=none never runs"),
    "mount over the server's own folder": ({"model": {"path": "/app/models"}}, "model.path=/app/models would hide a folder"),
    "mount over the temporary folder": ({"model": {"path": "/tmp"}}, "model.path=/tmp would hide a folder"),
    # fetch
    "one-pod volume with a Job": (
        {"persistence": {"accessModes": ["ReadWriteOncePod"]}}, "admits one pod, so the download Job would wait"),
    "one-pod volume with another mode": (
        {"fetch": {"mode": "initContainer"}, "persistence": {"accessModes": ["ReadWriteOncePod", "ReadWriteMany"]}},
        "ReadWriteOncePod can't be combined"),
    "read-only volume to fetch into": ({"persistence": {"accessModes": ["ReadOnlyMany"]}}, "ReadOnlyMany can't be written"),
    "claim helper without rights": ({"rbac": {"create": False}}, "leaves the PreSync claim helper without rights"),
    # server
    "nothing to serve": ({"server": {"completions": False}}, "leave nothing to serve"),
    "embeddings and reranking": (
        {"server": {"embeddings": True, "extraArgs": ["--reranking"]}}, "need different models"),
    # gpu
    "DRA without GPU": ({"gpu": {"enabled": False, "dra": {"enabled": True}}}, "gpu.dra.enabled=true needs gpu.enabled=true"),
    # address
    "plain and sealed address": (
        {**SEALED, "service": {"loadBalancerIP": "192.0.2.1"}},
        "service.loadBalancerIP and sealedSecret.encryptedData.loadBalancerIP: give the address once"),
    "sealed address and a Secret": (
        {**SEALED, **nested("service.loadBalancer.ipSecret.name", "ip")}, "service.loadBalancer.ipSecret: give the address once"),
    "address without load balancer": ({**SEALED, "service": {"type": "ClusterIP"}}, "needs service.type=LoadBalancer, not ClusterIP"),
    "annotation that the Job writes": (
        {**SEALED, "service": {"annotations": {"metallb.io/loadBalancerIPs": "192.0.2.1"}}}, "keep one"),
    "annotation key without annotation": (
        {"service": {"loadBalancer": {"provider": "spec", "annotationKey": "x/y"}}}, "provider=spec writes no annotation"),
    "two addresses in a field for one": (
        {"service": {"loadBalancerIP": "192.0.2.1,2001:db8::1", "loadBalancer": {"provider": "spec"}}}, "holds one address"),
    "traffic policy without outside": (
        {"service": {"type": "ClusterIP", "externalTrafficPolicy": "Local"}}, "service.externalTrafficPolicy needs service.type"),
    "address Job without rights": (
        {**SEALED, "rbac": {"create": False}, "fetch": {"mode": "initContainer"}}, "leaves the Job that writes the address without rights"),
    # routes
    "completions Ingress without completions": (
        {"server": {"completions": False, "embeddings": True}, "ingresses": {"completions": {"enabled": True, "hosts": ["a"]}}},
        "ingresses.completions.enabled=true needs server.completions=true"),
    "embeddings Ingress without embeddings": (
        {"ingresses": {"embeddings": {"enabled": True, "hosts": ["a"]}}},
        "ingresses.embeddings.enabled=true needs server.embeddings=true"),
    "Ingress without host": (
        {"ingresses": {"completions": {"enabled": True}}}, "needs at least one host in ingresses.completions.hosts"),
    "route without gateway": ({"httpRoute": {"enabled": True}}, "needs a gateway in httpRoute.parentRefs"),
    # scaling
    "fewest above most": (
        {"autoscaling": {"enabled": True, "minReplicas": 3, "maxReplicas": 2}}, "autoscaling.minReplicas=3 is more than maxReplicas=2"),
    "queue length without metrics": (
        {"server": {"metrics": False}, "autoscaling": {"enabled": True}}, "autoscaling.enabled=true needs server.metrics=true"),
    "replicas across nodes on a one-node volume": (
        {"replicaCount": 2, "persistence": {"coLocate": False}}, "2 replicas can't share a ReadWriteOnce claim across nodes"),
    "replicas on a one-pod volume": (
        {"replicaCount": 2, "fetch": {"mode": "initContainer"}, "persistence": {"accessModes": ["ReadWriteOncePod"]}},
        "admits one pod, not 2 replicas"),
    "two monitors": (
        {"metrics": {"serviceMonitor": {"enabled": True}, "podMonitor": {"enabled": True}}}, "would scrape every pod twice"),
    "monitor without metrics": (
        {"server": {"metrics": False}, "metrics": {"podMonitor": {"enabled": True}}}, "need server.metrics=true"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_contradiction_is_refused(name):
    values, message = REFUSED[name]
    with pytest.raises(RenderError) as refusal:
        render(values)
    lines = [line for line in str(refusal.value).splitlines() if line.startswith("  - ")]
    assert any(message in line for line in lines), refusal.value


def test_dra_is_refused_below_kubernetes_1_34():
    values = nested("gpu.dra.enabled", True)
    assert render(values, "--kube-version", "1.34.0").all("ResourceClaimTemplate")
    with pytest.raises(RenderError, match="needs Kubernetes 1.34 or later, this is v1.33.5"):
        render(values, "--kube-version", "1.33.5")


def test_an_old_cluster_is_refused():
    with pytest.raises(RenderError, match="kubeVersion"):
        render(None, "--kube-version", "1.28.0")


def test_all_contradictions_are_told_at_once():
    with pytest.raises(RenderError) as refusal:
        render({"replicaCount": 2, "persistence": {"coLocate": False}, "server": {"completions": False}})
    assert str(refusal.value).count("\n  - ") == 2
