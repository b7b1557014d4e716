"""Each value changes the render as its sentence in values.yaml says, and is at its documented default."""

import pytest
import yaml

from chart import CHART, Render, RenderError, nested, render
from value_changes import CHANGES, SEALED, merged, variable
from values_table import documented, leaves

DEFAULTS = yaml.safe_load((CHART / "values.yaml").read_text())

# Maps in the form of the Kubernetes API: one row stands for all their keys.
OPEN_MAPS = ("fetch.resources", "podSecurityContext", "securityContext", "strategy", "startupProbe", "readinessProbe", "livenessProbe")


@pytest.mark.parametrize("path", CHANGES)
def test_value_changes_the_render(path):
    change = CHANGES[path]
    after_change = render(merged(change.given, nested(path, change.to)), *change.options)
    assert change.seen(after_change) == change.then
    try:
        before_change = render(change.given, *change.options)
    except RenderError:
        # Refused without the value: that it renders with it is the change.
        return
    try:
        before = change.seen(before_change)
    except (AssertionError, KeyError, IndexError, TypeError, ValueError):
        # There is nothing to see without the value.
        return
    assert before != change.then


def test_every_documented_value_has_a_test():
    paths = {v.path for v in documented((CHART / "values.yaml").read_text())}
    assert paths == set(CHANGES)


def test_every_value_is_documented():
    paths = {v.path for v in documented((CHART / "values.yaml").read_text())}
    undocumented = [p for p in leaves(DEFAULTS) if p not in paths and not p.startswith(tuple(f"{m}." for m in OPEN_MAPS))]
    assert not undocumented


PUBLISHED = {
    "replicaCount": 1,
    "images.server.repository": "ghcr.io/ggml-org/llama.cpp",
    "images.server.name": "server-cuda",
    "images.server.tag": "latest",
    "model.path": "/models",
    "model.alias": "gpt-oss-20b",
    "model.repo": "ggml-org",
    "model.file": "gpt-oss-20b-GGUF/gpt-oss-20b-mxfp4.gguf",
    "model.size": "50Gi",
    "model.sha256": "",
    "server.port": 8080,
    "server.kvCache.size": 8192,
    "server.slots": 4,
    "server.metrics": True,
    "server.completions": True,
    "server.embeddings": False,
    "server.extraArgs": ["-fa", "-ngl", "99"],
    "gpu.enabled": True,
    "gpu.nvidiaResource": "nvidia.com/gpu",
    "gpu.number": 1,
    "resources.requests.memory": "32Gi",
    "resources.limits.memory": "64Gi",
    "persistence.storageClass": "longhorn",
    "service.type": "LoadBalancer",
    "runtimeClassName": "nvidia",
    "nodeSelector.gpu": "true",
    "sealedSecret.encryptedData.loadBalancerIP": "",
}


@pytest.mark.parametrize("path", PUBLISHED)
def test_published_default(path):
    value = DEFAULTS
    for key in path.split("."):
        value = value[key]
    assert value == PUBLISHED[path]


def test_names_of_the_documented_release():
    r: Render = render(SEALED)
    assert r.names("Service") == r.names("Deployment") == r.names("PersistentVolumeClaim") == ["llamacpp-app"]
    assert sorted(r.names("Job")) == ["llamacpp-app-download-model", "llamacpp-app-ensure-claim", "llamacpp-app-lb-ip-patch"]
    assert r.names("SealedSecret") == ["llamacpp-app-lb-ip"]


def test_both_spellings_of_the_repository_name_the_same_file():
    owner = render({"model": {"repo": "ggml-org", "file": "gpt-oss-20b-GGUF/gpt-oss-20b-mxfp4.gguf"}})
    full = render({"model": {"repo": "ggml-org/gpt-oss-20b-GGUF", "file": "gpt-oss-20b-mxfp4.gguf"}})
    assert owner.objects == full.objects
    assert variable("MODELFETCH_REPO")(full) == "ggml-org/gpt-oss-20b-GGUF"
    assert variable("MODELFETCH_FILES")(full) == "gpt-oss-20b-mxfp4.gguf"


@pytest.mark.parametrize("tag", ["", "latest"])
def test_a_floating_tag_is_the_bare_flavour_and_is_pulled_again(tag):
    server = render(nested("images.server.tag", tag)).server
    assert server["image"] == "ghcr.io/ggml-org/llama.cpp:server-cuda"
    assert server["imagePullPolicy"] == "Always"


def test_a_fixed_tag_is_pulled_once():
    assert render(nested("images.server.tag", "b11434")).server["imagePullPolicy"] == "IfNotPresent"


def test_a_model_may_be_in_a_registry():
    """The tag or digest is in the reference: the Hub's branch `main` is no tag of it."""
    repo = "oci://registry.example/models/chat:v1"
    r = render({"model": {"repo": repo, "file": "model.gguf"}, "fetch": {"registrySecret": "login"}})
    assert (variable("MODELFETCH_REPO")(r), variable("MODELFETCH_FILES")(r), variable("MODELFETCH_REVISION")(r)) == (repo, "model.gguf", None)
    assert r.server_args[1] == "/models/model.gguf"
    for pod in (r.server_pod, r.job("download-model")["spec"]["template"]["spec"]):
        assert {"name": "registry-login", "secret": {"secretName": "login"}} in pod["volumes"]


PINNED = "sha256:" + "a" * 64


@pytest.mark.parametrize("image,becomes", [
    ({"tag": "server-cuda-b9570"}, "ghcr.io/ggml-org/llama.cpp:server-cuda-b9570"),
    ({"tag": f"server-cuda-b9570@{PINNED}"}, f"ghcr.io/ggml-org/llama.cpp:server-cuda-b9570@{PINNED}"),
    ({"tag": "server-vulkan-b9570"}, "ghcr.io/ggml-org/llama.cpp:server-vulkan-b9570"),
    ({"tag": "server-b9570"}, "ghcr.io/ggml-org/llama.cpp:server-b9570"),
    ({"tag": "server-cuda"}, "ghcr.io/ggml-org/llama.cpp:server-cuda"),
    ({"tag": "full-cuda-b9570"}, "ghcr.io/ggml-org/llama.cpp:full-cuda-b9570"),
    ({"tag": "b9570"}, "ghcr.io/ggml-org/llama.cpp:server-cuda-b9570"),
    ({"tag": f"b9570@{PINNED}"}, f"ghcr.io/ggml-org/llama.cpp:server-cuda-b9570@{PINNED}"),
    ({"tag": "b9570", "digest": PINNED}, f"ghcr.io/ggml-org/llama.cpp:server-cuda-b9570@{PINNED}"),
    ({"digest": PINNED}, f"ghcr.io/ggml-org/llama.cpp@{PINNED}"),
    ({"name": "server", "tag": "server-cuda-b9570"}, "ghcr.io/ggml-org/llama.cpp:server-cuda-b9570"),
    ({"repository": "r.example.com:5000/llama-swap", "name": "", "tag": "v1.2"}, "r.example.com:5000/llama-swap:v1.2"),
    ({"image": f"r.example.com:5000/l:server-cuda-b9570@{PINNED}"}, f"r.example.com:5000/l:server-cuda-b9570@{PINNED}"),
], ids=str)
def test_the_server_image_is_written_as_people_write_it(image, becomes):
    server = render({"images": {"server": image}}).server
    assert server["image"] == becomes
    floats = becomes.endswith(":server-cuda")
    assert server["imagePullPolicy"] == ("Always" if floats else "IfNotPresent")


def test_two_addresses_make_the_service_dual_stack():
    r = render({"service": {"loadBalancerIP": "192.0.2.10, 2001:db8::10"}})
    spec = r.service["spec"]
    assert (spec["ipFamilyPolicy"], spec["ipFamilies"]) == ("RequireDualStack", ["IPv4", "IPv6"])
    assert r.service["metadata"]["annotations"]["metallb.io/loadBalancerIPs"] == "192.0.2.10,2001:db8::10"
    assert r.server_args[r.server_args.index("--host") + 1] == "::", "an IPv4 socket doesn't answer at the pod's IPv6 address"


def test_an_ipv6_address_makes_the_service_ipv6():
    r = render({"service": {"loadBalancerIP": "2001:db8::10", "loadBalancer": {"provider": "spec"}}})
    assert r.service["spec"]["ipFamilies"] == ["IPv6"] and "ipFamilyPolicy" not in r.service["spec"]
    assert r.service["spec"]["loadBalancerIP"] == "2001:db8::10"


def test_a_sealed_pair_of_addresses_asks_for_both_families():
    r = render({**SEALED, "service": {"ipFamilyPolicy": "RequireDualStack"}})
    assert r.service["spec"]["ipFamilyPolicy"] == "RequireDualStack"
    assert r.server_args[r.server_args.index("--host") + 1] == "::"


def test_a_null_replica_count_is_left_to_another_autoscaler():
    assert "replicas" not in render({"replicaCount": None}).deployment["spec"]


def test_storage_class_empty_is_the_default_class_and_dash_is_none():
    assert "storageClassName" not in render(nested("persistence.storageClass", "")).claim["spec"]
    assert render(nested("persistence.storageClass", "-")).claim["spec"]["storageClassName"] == ""
