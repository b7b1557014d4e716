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
    "pasted address": (
        {"model": {"repo": "https://huggingface.co/ggml-org/gpt-oss-20b-GGUF"}}, "is an address: write model.repo=ggml-org/gpt-oss-20b-GGUF"),
    "pasted address of a file": (
        {"model": {"repo": "https://huggingface.co/a/b/blob/v1/Q4/x.gguf?download=true"}},
        "write model.repo=a/b, model.revision=v1, model.file=Q4/x.gguf"),
    "pasted address of another hub": (
        {"model": {"repo": "https://hub.example.com/a/b/resolve/main/x.gguf"}},
        "write model.repo=a/b, model.revision=main, model.file=x.gguf, fetch.endpoints=[https://hub.example.com]"),
    "hf address": ({"model": {"repo": "hf://a/b/x.gguf"}}, "write model.repo=a/b, model.file=x.gguf"),
    "quantization": (
        {"model": {"repo": "ggml-org/gpt-oss-20b-GGUF:Q4_K_M"}}, "names a quantization, and the server is started with a file: write model.repo=ggml-org/gpt-oss-20b-GGUF and"),
    "revision in the repository": ({"model": {"repo": "a/b@v2"}}, "write model.repo=a/b, model.revision=v2"),
    "file in the repository": ({"model": {"repo": "a/b/x.gguf"}}, "has more than owner/name"),
    "no repository": ({"model": {"repo": "https://huggingface.co/a"}}, "is neither an owner nor owner/name"),
    "address as file": ({"model": {"file": "https://huggingface.co/a/b/resolve/main/x.gguf"}}, "model.file=https://huggingface.co/a/b/resolve/main/x.gguf is an address"),
    "two digests of one file": (
        {"model": {"sha256": "a" * 64, "extraSha256": {"gpt-oss-20b-mxfp4.gguf": "b" * 64}}}, "whose digest is model.sha256"),
    "identity without audience": (
        nested("model.hfOidc.resource", "me"), "model.hfOidc.resource and model.hfOidc.audience go together"),
    "audience without resource": (
        nested("model.hfOidc.audience", "https://huggingface.co"), "model.hfOidc.resource and model.hfOidc.audience go together"),
    "identity and token": (
        {"model": {"hfOidc": {"resource": "me", "audience": "x"}, "hfTokenSecret": {"name": "hf"}}}, "two ways to one token"),
    # fetch
    "variable that a value sets": (
        {"fetch": {"extraEnv": [{"name": "MODELFETCH_DIR", "value": "/x"}]}}, "fetch.extraEnv sets MODELFETCH_DIR"),
    "variable twice": (
        {"fetch": {"extraEnv": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}}, "fetch.extraEnv names A twice"),
    "one-pod volume with a Job": (
        {"persistence": {"accessModes": ["ReadWriteOncePod"]}}, "admits one pod, so the download Job would wait"),
    "one-pod volume with another mode": (
        {"fetch": {"mode": "initContainer"}, "persistence": {"accessModes": ["ReadWriteOncePod", "ReadWriteMany"]}},
        "ReadWriteOncePod can't be combined"),
    "read-only volume to fetch into": ({"persistence": {"accessModes": ["ReadOnlyMany"]}}, "ReadOnlyMany can't be written"),
    "claim helper without rights": ({"rbac": {"create": False}}, "leaves the PreSync claim helper without rights"),
    # objects
    "chat template as a Helm template": (
        {"extraObjects": [{"kind": "ConfigMap", "data": {"t": "{% for m in messages %}{{ m['content'] }}{% endfor %}"}}]},
        "extraObjects[0] has `{% for m in messages %}"),
    "alert as a Helm template": (
        {"extraObjects": [{}, "summary: '{{ $labels.pod }} is down'"]}, "extraObjects[1] has `{{ $labels.pod }}`, which is no Helm template"),
    "dashboard as a Helm template": (
        {"extraObjects": [{"data": {"legendFormat": "{{pod}}"}}]}, "has `{{pod}}`, which is no Helm template: put the object into rawObjects"),
    # server
    "nothing to serve": ({"server": {"completions": False}}, "leave nothing to serve"),
    "embeddings and reranking": (
        {"server": {"embeddings": True, "extraArgs": ["--reranking"]}}, "need different models"),
    "reranking twice": ({"server": {"reranking": True, "extraArgs": ["--reranking"]}}, "remove it from server.extraArgs"),
    "server variable twice": (
        {"server": {"extraEnv": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}}, "server.extraEnv names A twice"),
    "volume of the chart's name": (
        {"server": {"extraVolumes": [{"name": "models", "emptyDir": {}}]}}, "server.extraVolumes names a volume models"),
    "volume without a name": ({"server": {"extraVolumes": [{"emptyDir": {}}]}}, "an entry has no name"),
    "volume twice": (
        {"server": {"extraVolumes": [{"name": "a", "emptyDir": {}}, {"name": "a", "emptyDir": {}}]}}, "names a twice"),
    "mount over the models": (
        {"server": {"extraVolumeMounts": [{"name": "a", "mountPath": "/models/"}]}}, "mounts at /models, where the chart mounts its own"),
    "mount twice": (
        {"server": {"extraVolumeMounts": [{"name": "a", "mountPath": "/a"}, {"name": "b", "mountPath": "/a/"}]}}, "mounts at /a twice"),
    "privileges for all": ({"securityContext": {"privileged": True}}, "set privileged in server.securityContext"),
    "root that may not be root": ({"server": {"securityContext": {"runAsUser": 0}}}, "runAsUser=0 with runAsNonRoot=true never starts"),
    "annotation that restarts": ({"podAnnotations": {"checksum/model": "x"}}, "podAnnotations sets checksum/model"),
    # gpu
    "two claims of one's own": (
        {"gpu": {"dra": {"enabled": True, "claimName": "a", "claimTemplateName": "b"}}}, "name one of them"),
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
    "two addresses of one family": (
        {"service": {"loadBalancerIP": "192.0.2.1,192.0.2.2"}}, "at most one IPv4 and one IPv6 address"),
    "three addresses": (
        {"service": {"loadBalancerIP": "192.0.2.1,2001:db8::1,2001:db8::2"}}, "at most one IPv4 and one IPv6 address"),
    "two addresses in a single stack": (
        {"service": {"loadBalancerIP": "192.0.2.1,2001:db8::1", "ipFamilyPolicy": "SingleStack"}}, "SingleStack has one address"),
    "address of another family": (
        {"service": {"loadBalancerIP": "2001:db8::1", "ipFamilies": ["IPv4"]}}, "has an IPv6 address, service.ipFamilies no IPv6"),
    "two families in a single stack": (
        {"service": {"ipFamilies": ["IPv4", "IPv6"]}}, "set service.ipFamilyPolicy to PreferDualStack or RequireDualStack"),
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
    # networkPolicy
    "egress to nobody, which is everybody": (
        {"networkPolicy": {"enabled": True, "extraEgress": [{"to": []}]}}, "networkPolicy.extraEgress[0].to is empty, which means all"),
    "peer that selects nothing": ({"networkPolicy": {"enabled": True, "from": [{}]}}, "networkPolicy.from[0] selects nothing"),
    # volume
    "volume and claim": ({"persistence": {"existingClaim": "a", "volume": {"emptyDir": {}}}}, "name one of them"),
    "volume of two sources": ({"persistence": {"volume": {"nfs": {}, "hostPath": {}}}}, "persistence.volume has one source"),
    "volume with a name": ({"persistence": {"volume": {"name": "a"}}}, "takes the source alone, without a name"),
    "image to fetch into": ({"persistence": {"volume": {"image": {"reference": "a"}}}}, "persistence.volume: an image can't be written"),
    # fit
    "layers beside fit": ({"server": {"fit": True, "extraArgs": ["-ngl", 40]}}, "server.fit=true lets the server decide what `-ngl`"),
    "node port inside the cluster": ({"service": {"type": "ClusterIP", "nodePort": 30000}}, "service.nodePort needs service.type"),
    # keda
    "KEDA without a trigger": ({"keda": {"enabled": True}}, "needs keda.prometheus.serverAddress or keda.triggers"),
    "zero pods that nothing wakes": (
        {"keda": {"enabled": True, "minReplicas": 0, "prometheus": {"serverAddress": "http://p"}}}, "without a pod nobody measures the queue"),
    "KEDA and an autoscaler": (
        {"autoscaling": {"enabled": True}, "keda": {"enabled": True, "triggers": [{"type": "x"}]}}, "autoscaling.enabled and keda.enabled"),
    "fewest above most in KEDA": (
        {"keda": {"enabled": True, "minReplicas": 3, "triggers": [{"type": "x"}]}}, "keda.minReplicas=3 is more than maxReplicas=2"),
    # scaling
    "two autoscalers": ({"autoscaling": {"enabled": True, "external": True}}, "two autoscalers would fight"),
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
